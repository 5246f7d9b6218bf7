// SPDX-License-Identifier: BSD-2-Clause
/* Selective acknowledgements, the receiver's side: RFC 2018 section 4, RFC 2883 section 4.
 *
 * While text is held out of order every segment with an ACK carries the option, as far as there is room: first the range
 * in which the segment lies that came last, so that the peer learns of each even if only one ACK of several arrives;
 * then those reported before, the latest first; then the rest. What is remembered for that is where the last four
 * segments out of order began (sack_recent[]), not the ranges: they grow and melt together.
 *
 * Text that came a second time is told once, in front (RFC 2883: D-SACK): the peer learns that it sent something again
 * without need. Of several such pieces of one segment the first is told. One that waits to be told grows if the
 * next touches it; else the next goes untold (as Linux), as if that ACK were lost.
 *
 * What was reported is kept: never reneged on (RFC 2018 8). The sender's side: recovery.c. */
#include "protocols/tcp/tcp_internal.h"

/* RFC 2018 2: only if both SYNs carried the option. */
void sack_take_syn(const struct tcp *t, struct tcp_conn *c, const struct segment *s)
{
    if (s->sack_permitted && !t->config.no_sack)
        c->flags |= TCP_CONN_SACK;
}

/* The range held in which `seq` lies; NULL: none. */
static const struct tcp_range *range_at(const struct tcp_conn *c, uint32_t seq)
{
    for (uint32_t i = 0; i < c->range_count; i++)
        if (!seq_before(seq, c->range[i].start) && seq_before(seq, c->range[i].end))
            return &c->range[i];
    return NULL;
}

/* Keeps of sack_recent[] what lies in a range, but for `except`. */
static void recent_keep(struct tcp_conn *c, const struct tcp_range *except)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->sack_recent_count; i++) {
        const struct tcp_range *r = range_at(c, c->sack_recent[i]);
        if (r != NULL && r != except)
            c->sack_recent[kept++] = c->sack_recent[i];
    }
    c->sack_recent_count = kept;
}

void sack_take(struct tcp_conn *c, uint32_t start)
{
    if (!(c->flags & TCP_CONN_SACK))
        return;
    recent_keep(c, range_at(c, start));
    c->sack_recent_count = u32_min(c->sack_recent_count, TCP_SACK_BLOCKS_MAX - 1);
    memmove(&c->sack_recent[1], &c->sack_recent[0], c->sack_recent_count * sizeof c->sack_recent[0]);
    c->sack_recent[0] = start;
    c->sack_recent_count++;
}

void sack_advance(struct tcp_conn *c)
{
    if (c->sack_recent_count > 0)
        recent_keep(c, NULL);
}

/* The first part of [start, end) that has been received before; a FIN takes a place as text does. */
static bool duplicate_part(const struct tcp_conn *c, uint32_t start, uint32_t end, struct tcp_range *ret)
{
    if (seq_before(start, c->rcv_nxt)) {
        *ret = (struct tcp_range){start, seq_min(end, c->rcv_nxt)};
        return true;
    }
    for (uint32_t i = 0; i < c->range_count; i++) {
        const struct tcp_range *r = &c->range[i];
        if (seq_before(start, r->end) && seq_after(end, r->start)) {
            *ret = (struct tcp_range){seq_max(start, r->start), seq_min(end, r->end)};
            return true;
        }
    }
    return false;
}

/* Untrusted: s (wire), which may lie anywhere. Nothing is said of what is further back than a window. */
bool sack_note_duplicate(struct tcp_conn *c, const struct segment *s)
{
    uint32_t end = s->text + s->payload_length + ((s->flags & TCP_FLAG_FIN) ? 1 : 0);
    struct tcp_range part, *d = &c->duplicate;
    if (!(c->flags & TCP_CONN_SACK) || (s->flags & (TCP_FLAG_SYN | TCP_FLAG_RST)) || end == s->text ||
        !seq_after(s->text, c->rcv_nxt - c->receive_size) || !duplicate_part(c, s->text, end, &part))
        return false;
    if (d->start == d->end)
        *d = part;
    else if (!seq_after(part.start, d->end) && !seq_before(part.end, d->start))
        *d = (struct tcp_range){seq_min(d->start, part.start), seq_max(d->end, part.end)};
    return true;
}

/* A FIN behind the last range is held as its text is. */
static struct tcp_range block_of(const struct tcp_conn *c, const struct tcp_range *r)
{
    bool fin = (c->flags & TCP_CONN_FIN_KNOWN) && r->end == c->fin_seq;
    return (struct tcp_range){r->start, r->end + (fin ? 1 : 0)};
}

struct report {
    uint32_t count, most;
    struct tcp_range *block;
    bool told[TCP_RANGES_MAX];
};

static void report_add(const struct tcp_conn *c, struct report *p, const struct tcp_range *r)
{
    if (r == NULL || p->told[r - c->range] || p->count >= p->most)
        return;
    p->told[r - c->range] = true;
    p->block[p->count++] = block_of(c, r);
}

/* conn_sack_blocks() of them. */
uint32_t sack_report(const struct tcp_conn *c, struct tcp_range ret[TCP_SACK_BLOCKS_MAX])
{
    struct report p = {.most = conn_sack_blocks(c), .block = ret};
    if (p.most > 0 && c->duplicate.start != c->duplicate.end) {
        ret[p.count++] = c->duplicate;
        report_add(c, &p, range_at(c, c->duplicate.start)); /* RFC 2883 4 (4): then what it is part of */
    }
    for (uint32_t i = 0; i < c->sack_recent_count; i++)
        report_add(c, &p, range_at(c, c->sack_recent[i]));
    for (uint32_t i = c->range_count; i > 0; i--)
        report_add(c, &p, &c->range[i - 1]);
    return p.count;
}

/* RFC 2883 4 (2): each duplicate at most once. */
void sack_reported(struct tcp *t, struct tcp_conn *c)
{
    if (c->duplicate.start == c->duplicate.end)
        return;
    c->duplicate = (struct tcp_range){0, 0};
    t->counters.dsacks_out++;
}
