// SPDX-License-Identifier: BSD-2-Clause
/* Out-of-order data. It lies already at its final place in the receive ring; what is kept here is which parts
 * are there: at most TCP_RANGES_MAX ranges, sorted, disjoint, not adjacent, all above rcv_nxt. */
#include "protocols/tcp/tcp_internal.h"

/* Makes of [*start, *end) its first part that is not held yet. False: all of it is held. */
bool ranges_clip(const struct tcp_conn *c, uint32_t *start, uint32_t *end)
{
    uint32_t s = *start, e = *end;
    for (uint32_t i = 0; i < c->range_count; i++) {
        const struct tcp_range *r = &c->range[i];
        if (!seq_before(s, r->end))
            continue;
        if (seq_before(s, r->start)) {
            e = seq_min(e, r->start);
            break;
        }
        s = r->end;
    }
    if (!seq_before(s, e))
        return false;
    *start = s;
    *end = e;
    return true;
}

/* Adds [start, end), of which nothing is held. False: there is no room for one more range. */
bool ranges_insert(struct tcp_conn *c, uint32_t start, uint32_t end)
{
    uint32_t at = 0;
    while (at < c->range_count && seq_before(c->range[at].start, start))
        at++;
    bool joins_left = at > 0 && c->range[at - 1].end == start;
    bool joins_right = at < c->range_count && c->range[at].start == end;
    if (joins_left && joins_right) {
        c->range[at - 1].end = c->range[at].end;
        c->range_count--;
        memmove(&c->range[at], &c->range[at + 1], (c->range_count - at) * sizeof c->range[0]);
    } else if (joins_left) {
        c->range[at - 1].end = end;
    } else if (joins_right) {
        c->range[at].start = start;
    } else {
        if (c->range_count == TCP_RANGES_MAX)
            return false;
        memmove(&c->range[at + 1], &c->range[at], (c->range_count - at) * sizeof c->range[0]);
        c->range[at] = (struct tcp_range){start, end};
        c->range_count++;
    }
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
