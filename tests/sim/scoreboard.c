// SPDX-License-Identifier: BSD-2-Clause
/* What must hold of a sender that gets SACKs, judged whenever its engine took or gave a segment (watch.c):
 *
 *   sums       the records lie one behind the other from snd_una to snd_nxt, each is of one kind, and the octets in
 *              flight, SACKED and lost are theirs
 *   SACKED     a segment that lies in a block, as it was read off the wire, is not sent again, but after a timeout; not
 *              where the size of segments has changed: the engine knows whole segments only, and they are others then
 *   in flight  whatever goes out, is within the window, or at most what probes and limited transmit add to it; one
 *              segment, after a timeout or as a probe (RFC 8985 7.3), goes out whatever the window says
 *
 * Not where the engine ran out of records, and says so: it then knows less exactly what is in flight. */
#include "protocols/tcp/recovery.h"
#include "tests/sim/watch.h"

#define LIMITED 3U /* segments above cwnd: RFC 3042's two or RFC 8985's probe, and the one that is not full */

static bool is_kept(const struct tcp *t, const struct tcp_conn *c)
{
    return (c->flags & TCP_CONN_SACK) != 0 && c->state >= TCP_ESTABLISHED && tcp_counters(t)->flights_full == 0;
}

void scoreboard_check(const struct watched *w, const struct tcp *t, const struct tcp_conn *c)
{
    if (!is_kept(t, c))
        return;
    const struct tcp_scoreboard *b = board_of(t, c);
    uint32_t octets[3] = {0}, count = 0, at = c->snd_una;
    for (uint32_t i = b->first; i != 0; i = t->flight[i - 1].next, count++) {
        const struct tcp_flight *f = &t->flight[i - 1];
        if (f->start != at || !seq_after(f->end, f->start) || f->flags > TCP_FLIGHT_LOST)
            watch_wrong(w, "a record of what is in flight begins elsewhere", f->start, at);
        octets[f->flags] += f->end - f->start;
        at = f->end;
    }
    if (count != b->count || (count > 0 && at != c->snd_nxt))
        watch_wrong(w, "the records end elsewhere", at, c->snd_nxt);
    if (octets[0] != b->in_flight || octets[TCP_FLIGHT_SACKED] != b->sacked || octets[TCP_FLIGHT_LOST] != b->lost)
        watch_wrong(w, "the sums of what is in flight are wrong", w->iss + octets[0], w->iss + b->in_flight);
}

/* ---- what the peer reported ---- */
void scoreboard_reported(struct watched *w, const struct tcp_conn *c, uint32_t ack, struct tcp_range block)
{
    if (!seq_before(block.start, block.end) || seq_after(block.end, c->snd_max) || !seq_after(block.start, ack) ||
        seq_after(ack, c->snd_max) || seq_before(block.start, c->snd_una) || (c->flags & TCP_CONN_SACK) == 0)
        return;
    for (uint32_t i = 0; i < w->reports;) { /* what lies in it says no more; pieces that touch stay pieces */
        const struct tcp_range *r = &w->report[i];
        if (!seq_before(r->start, block.start) && !seq_after(r->end, block.end))
            w->report[i] = w->report[--w->reports];
        else
            i++;
    }
    if (w->reports < sizeof w->report / sizeof w->report[0])
        w->report[w->reports++] = block;
}

/* All of it is forgotten with a timeout, after which the engine may doubt it (RFC 2018 8), and below the ACK. */
static void reports_keep(struct watched *w, const struct tcp *t, const struct tcp_conn *c)
{
    w->cut_anew = w->cut_anew || (w->mss != 0 && c->mss != w->mss);
    w->mss = c->mss;
    if (w->cut_anew || c->retransmits > 0 || (c->flags & (TCP_CONN_LOSS | TCP_CONN_PERSIST)) || !is_kept(t, c))
        w->reports = 0;
    for (uint32_t i = 0; i < w->reports;)
        if (!seq_after(w->report[i].end, c->snd_una))
            w->report[i] = w->report[--w->reports];
        else
            i++;
}

/* [seq, end) has just gone out. What is sent again beside more options than before leaves a rest that the peer may have
 * got with the segment after it: as many octets as options may take. */
#define OPTIONS_MOST 40U

void scoreboard_sent(struct watched *w, const struct tcp *t, const struct tcp_conn *c, uint32_t seq, uint32_t end)
{
    reports_keep(w, t, c);
    for (uint32_t i = 0; i < w->reports; i++)
        if (!seq_before(seq, w->report[i].start) && !seq_after(end, w->report[i].end) && end - seq > OPTIONS_MOST)
            watch_wrong(w, "what the peer reported is sent again", seq, w->report[i].start);
    uint32_t mss = u32_max(c->mss, TCP_MSS_MIN);
    bool alone = end - seq <= mss && ((c->flags & TCP_CONN_LOSS) != 0 || board_of(t, c)->probe.active);
    if (is_kept(t, c) && !alone && (c->flags & TCP_CONN_PERSIST) == 0 &&
        board_of(t, c)->in_flight > c->cwnd + LIMITED * mss)
        watch_wrong(w, "more is in flight than cwnd", w->iss + board_of(t, c)->in_flight, w->iss + c->cwnd);
}
