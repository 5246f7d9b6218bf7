// SPDX-License-Identifier: BSD-2-Clause
/* Out-of-order data. It lies already at its final place in the receive ring; what is kept here is which parts
 * are there: at most TCP_RANGES_MAX ranges, sorted, disjoint, not adjacent, all above rcv_nxt. */
#include "protocols/tcp/tcp_internal.h"

/* Takes off at both ends of [*start, *end) what is held. False: all of it is. What lies between may be held in parts:
 * it comes once more. */
bool ranges_trim(const struct tcp_conn *c, uint32_t *start, uint32_t *end)
{
    uint32_t s = *start, e = *end;
    for (uint32_t i = 0; i < c->range_count; i++) {
        const struct tcp_range *r = &c->range[i];
        if (!seq_before(s, r->start) && seq_before(s, r->end))
            s = r->end;
        if (seq_before(r->start, e) && !seq_after(e, r->end))
            e = r->start;
    }
    if (!seq_before(s, e))
        return false;
    *start = s;
    *end = e;
    return true;
}

/* So many octets of [start, end) are held. */
uint32_t ranges_held(const struct tcp_conn *c, uint32_t start, uint32_t end)
{
    uint32_t held = 0;
    for (uint32_t i = 0; i < c->range_count; i++) {
        uint32_t from = seq_max(start, c->range[i].start), to = seq_min(end, c->range[i].end);
        held += seq_before(from, to) ? to - from : 0;
    }
    return held;
}

/* Adds [start, end), and makes one range of it and all that it touches. False: there is no room for one more. */
bool ranges_insert(struct tcp_conn *c, uint32_t start, uint32_t end)
{
    uint32_t first = 0;
    while (first < c->range_count && seq_before(c->range[first].end, start))
        first++;
    uint32_t next = first; /* behind the last that it touches */
    while (next < c->range_count && !seq_after(c->range[next].start, end))
        next++;
    uint32_t touched = next - first;
    if (touched == 0 && c->range_count == TCP_RANGES_MAX)
        return false;
    struct tcp_range whole = {start, end};
    if (touched > 0)
        whole = (struct tcp_range){seq_min(start, c->range[first].start), seq_max(end, c->range[next - 1].end)};
    memmove(&c->range[first + 1], &c->range[next], (c->range_count - next) * sizeof c->range[0]);
    c->range[first] = whole;
    c->range_count += 1 - touched;
    return true;
}

/* rcv_nxt has moved: takes up the ranges that it has reached. */
void ranges_advance(struct tcp_conn *c)
{
    uint32_t gone = 0;
    while (gone < c->range_count && !seq_after(c->range[gone].start, c->rcv_nxt)) {
        c->rcv_nxt = seq_max(c->rcv_nxt, c->range[gone].end);
        gone++;
    }
    if (gone == 0)
        return;
    c->range_count -= gone;
    memmove(&c->range[0], &c->range[gone], c->range_count * sizeof c->range[0]);
}
