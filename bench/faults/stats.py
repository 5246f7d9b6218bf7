# SPDX-License-Identifier: BSD-2-Clause
"""Figures: rates with their confidence interval, percentiles."""
import math


def wilson(hits, of, z=1.959964):
    """The 95 % confidence interval of hits/of (Wilson, JASA 22, 1927): right also for rates near 0 and 1, where the campaign's are.
    None when there is nothing to tell from."""
    if of == 0:
        return None
    if not 0 <= hits <= of:
        raise ValueError(f"{hits} of {of}")
    rate, square = hits / of, z * z
    middle = (rate + square / (2 * of)) / (1 + square / of)
    half = z / (1 + square / of) * math.sqrt(rate * (1 - rate) / of + square / (4 * of * of))
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    return low, 1.0 if hits == of else min(1.0, middle + half)


def percentile(values, percent):
    """Nearest rank; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def percent_text(share):
    """Per cent with one decimal; with more beside 0 and 100, which stand alone for exactly that."""
    if share in (0, 1):
        return f"{100 * share:.0f}"
    for decimals in (1, 2, 3):
        shown = f"{100 * share:.{decimals}f}"
        if 1 <= float(shown) <= 99 or (decimals > 1 and float(shown) not in (0, 100)):
            break
    return shown


def rate_text(hits, of):
    interval = wilson(hits, of)
    if interval is None:
        return "-"
    return f"{hits}/{of} = {percent_text(hits / of)} % [{percent_text(interval[0])}, {percent_text(interval[1])}]"
