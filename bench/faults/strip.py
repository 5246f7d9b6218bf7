# SPDX-License-Identifier: BSD-2-Clause
"""A strip plot as SVG: a row for each spread of times, on a logarithmic scale."""
import html
import math

WIDTH, LEFT, RIGHT, ROW, TOP, FOOT = 480, 112, 18, 32, 6, 24
BINS_A_DECADE = 10
UNITS = ((1e6, "s"), (1e3, "ms"), (1, "\u00b5s"))


def decades(spreads):
    """The whole powers of ten around all values (1 us at least)."""
    values = [max(1, v) for s in spreads for v in (s.values[0], s.most)]
    least = math.floor(math.log10(min(values)))
    return least, max(least + 1, math.ceil(math.log10(max(values))))


def tick_text(us):
    size, unit = next((u for u in UNITS if us >= u[0]))
    return f"{us / size:.0f} {unit}"


def density(spread, x, least, most, middle):
    """A mirrored histogram as one path."""
    bins = [0] * ((most - least) * BINS_A_DECADE + 1)
    for v in spread.values:
        bins[int((math.log10(max(1, v)) - least) * BINS_A_DECADE)] += 1
    top, path = max(bins), []
    for i, n in enumerate(bins):
        if n:
            half = 1.5 + (ROW / 2 - 4.5) * n / top
            begin, end = x(10 ** (least + i / BINS_A_DECADE)), x(10 ** (least + (i + 1) / BINS_A_DECADE))
            path.append(f"M{begin + .4:.1f} {middle - half:.1f}H{end - .4:.1f}V{middle + half:.1f}H{begin + .4:.1f}z")
    return f'<path class="density" d="{"".join(path)}"/>'


def row(spread, index, x, least, most):
    middle = TOP + ROW * index + ROW / 2
    p50, p99, far = (x(v) for v in spread[2:])
    said = html.escape(f"{spread.name}: {len(spread.values)} times, median {spread.p50 / 1000:.2f} ms, p99 {spread.p99 / 1000:.2f} ms, max {spread.most / 1000:.2f} ms")
    high = ROW / 2 - 3
    return (f'<g><title>{said}</title><text x="0" y="{middle + 4:.1f}">{html.escape(spread.name)}</text>{density(spread, x, least, most, middle)}'
            f'<path class="p50" d="M{p50:.1f} {middle - high:.1f}V{middle + high:.1f}"/>'
            f'<circle class="most" cx="{far:.1f}" cy="{middle:.1f}" r="4"/>'
            f'<path class="p99" d="M{p99:.1f} {middle - 1:.1f}l4.5 -8h-9z"/></g>')


def plot(title, spreads, least, most):
    def x(us):
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(max(1, us)) - least) / (most - least)
    foot = TOP + ROW * len(spreads)
    lines = [f'<path class="axis" d="M{x(10 ** d):.1f} {TOP}V{foot + 4}"/><text class="dim" x="{x(10 ** d):.1f}" y="{foot + 17}" text-anchor="middle">{tick_text(10 ** d)}</text>'
             for d in range(least, most + 1)]
    rows = [row(s, i, x, least, most) for i, s in enumerate(spreads)]
    return (f'<svg viewBox="0 0 {WIDTH} {foot + FOOT}" role="img" aria-label="{html.escape(title)}; the table beneath has the figures">{"".join(lines)}{"".join(rows)}</svg>')
