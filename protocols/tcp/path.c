// SPDX-License-Identifier: BSD-2-Clause
/* The path's MTU, as it bears on one connection: what ICMP reports and when it is believed (RFC 1191, RFC 8201, RFC
 * 5927 7), what to do when segments vanish and nothing is reported, and how to find out that larger ones pass (RFC
 * 4821).
 *
 * Three things move c->mss, the largest segment (options included):
 *   down, by ICMP    at once if no segment of the present size was acknowledged yet (then nothing speaks against it);
 * else a forger may have sent it, and it is kept until a timeout says the same (RFC 5927 7.2). What is acknowledged
 * meanwhile refutes it down, by a black hole   segments time out BLACK_HOLE_TIMEOUTS times in a row (RFC 4821 7.7):
 * BASE_MSS, then half of it up, by probes    after either, between what passes and what was lost or reported: one
 * segment of new data that is larger than the others. It is acknowledged: it is the new size. It alone is lost: a
 * smaller one is tried, and the loss says nothing of congestion (4821 7.6.2, 7.6.3). Ten minutes after the last report
 * or the end of a search the next one begins (RFC 1191 6.3: not before)
 *
 * Nothing of this is in the store but c->mss: a new incarnation stays at the size that it found and does not probe. */
#include "protocols/tcp/recovery.h"

#define BASE_MSS               1024U /* RFC 4821 7.2, as Linux */
#define BLACK_HOLE_TIMEOUTS    4U    /* as Linux: tcp_retries1 more were for nothing, too */
#define SEARCH_OVER            8U    /* octets between what passes and what does not: near enough, as Linux */
#define SEARCH_AGAIN_US        600000000U
#define PROBE_WINDOW_SUSPECTED 4U  /* of the first, which tells a black hole from an outage */
#define PROBE_WINDOW           11U /* segments of cwnd that leave room for the loss of one to be seen (7.4), as Linux */

static struct tcp_path *path_of(const struct tcp *t, const struct tcp_conn *c)
{
    return &t->sender[conn_index(t, c)].path;
}

/* RFC 1191 5: without a size 576 octets; RFC 8201 4: never below 1280. Deviates: of IPv4 never below 552 (RFC 1191 3:
 * 68), as Linux: a forged report shall not cut the stream into crumbs. */
static uint32_t mss_of_mtu(const struct tcp_conn *c, uint32_t mtu)
{
    if (c->identity.remote.family == ADDRESS_IP6)
        return u32_max(mtu, 1280) - 60;
    return u32_max(mtu == 0 ? 576 : mtu, 552) - 40;
}

/* What passes whatever there is on the way. */
static uint32_t mss_least(const struct tcp_conn *c)
{
    return mss_of_mtu(c, 1);
}

/* Segments that were larger than this do not count as larger: they are sent again, and the next search begins later. */
static void lower(struct tcp *t, uint64_t now_us, struct tcp_conn *c, uint32_t mss, bool reported)
{
    struct tcp_path *p = path_of(t, c);
    p->high = u32_max(p->high, c->mss);
    p->search_at_us = reported ? now_us + SEARCH_AGAIN_US : 0;
    p->suspected = !reported;
    p->full_acked = false;
    p->probe_size = p->reported_mtu = 0;
    c->mss = mss;
    t->counters.mss_lowered++;
}

/* What is in flight has the old size: it goes out again, in the new one. */
static void resend(struct tcp *t, struct tcp_conn *c)
{
    if (c->flags & TCP_CONN_SACK)
        recovery_resend_all(t, c);
    else
        c->snd_nxt = c->snd_una;
    c->rtt_start_us = 0;
}

void tcp_too_big(struct tcp *t, uint64_t now_us, uint32_t index, uint32_t sequence, uint32_t mtu)
{
    struct tcp_conn *c = conn_of_user(t, index);
    bool ours = c != NULL && c->state != TCP_LISTEN && conn_is_synchronized(c) && !seq_before(sequence, c->snd_una) &&
                seq_before(sequence, c->snd_max);
    if (!ours || mss_of_mtu(c, mtu) >= c->mss) {
        t->counters.drop_too_big++;
        return;
    }
    struct tcp_path *p = path_of(t, c);
    bool of_probe = p->probe_size != 0 && sequence == p->probe_seq;
    if (p->full_acked && !of_probe) {
        p->reported_mtu = mtu == 0 ? 576 : mtu;
        p->reported_seq = sequence;
        t->counters.too_big_delayed++;
        return;
    }
    if (!of_probe) {
        lower(t, now_us, c, mss_of_mtu(c, mtu), true);
        resend(t, c);
    }
    conn_changed(t, c);
}

/* snd_una has moved by `acked`. */
void path_acked(struct tcp *t, uint64_t now_us, struct tcp_conn *c, uint32_t acked)
{
    struct tcp_path *p = path_of(t, c);
    p->full_acked |= acked >= conn_send_mss(c);
    if (p->reported_mtu != 0 && seq_after(c->snd_una, p->reported_seq)) {
        p->reported_mtu = 0;
        t->counters.drop_too_big++;
    }
    if (p->probe_size == 0 || seq_before(c->snd_una, p->probe_seq + p->probe_octets))
        return;
    c->mss = p->probe_size;
    c->cwnd = u32_max(c->cwnd, conn_send_mss(c)); /* in recovery it may be a segment of before */
    p->probe_size = 0;
    if (p->high - c->mss < SEARCH_OVER)
        p->search_at_us = now_us + SEARCH_AGAIN_US;
}

/* Nobody knows what became of the larger one: it counts as too large. */
static void probe_failed(struct tcp *t, uint64_t now_us, struct tcp_conn *c)
{
    struct tcp_path *p = path_of(t, c);
    p->high = p->probe_size - 1;
    p->probe_size = 0;
    t->counters.mtu_probes_lost++;
    if (p->high < c->mss + SEARCH_OVER)
        p->search_at_us = now_us + SEARCH_AGAIN_US;
}

/* [start, end) goes out again, in pieces that pass: when it is acknowledged nobody knows if the probe that it was part
 * of arrived. Neither did it fail, if more was lost than it alone (RFC 4821 7.6.4: inconclusive), as Linux. */
void path_resent(struct tcp *t, const struct tcp_conn *c, uint32_t start, uint32_t end)
{
    struct tcp_path *p = path_of(t, c);
    if (p->probe_size != 0 && seq_before(start, p->probe_seq + p->probe_octets) && seq_after(end, p->probe_seq))
        p->probe_size = 0;
}

/* What begins at snd_una is lost. True: it was a probe, and no sign of congestion. */
bool path_probe_lost(struct tcp *t, uint64_t now_us, struct tcp_conn *c)
{
    const struct tcp_path *p = path_of(t, c);
    if (p->probe_size == 0 || p->probe_seq != c->snd_una)
        return false;
    probe_failed(t, now_us, c);
    return true;
}

/* The retransmission timer went off; c->retransmits counts it. */
void path_timeout(struct tcp *t, uint64_t now_us, struct tcp_conn *c)
{
    struct tcp_path *p = path_of(t, c);
    if (p->probe_size != 0)
        probe_failed(t, now_us, c);
    if (p->reported_mtu != 0 && mss_of_mtu(c, p->reported_mtu) < c->mss) {
        lower(t, now_us, c, mss_of_mtu(c, p->reported_mtu), true);
        return;
    }
    bool full = c->snd_max - c->snd_una >= conn_send_mss(c);
    if (t->config.no_mtu_probing || c->retransmits < BLACK_HOLE_TIMEOUTS || !full || c->mss <= mss_least(c))
        return;
    lower(t, now_us, c, u32_max(mss_least(c), c->mss > BASE_MSS ? BASE_MSS : c->mss / 2), false);
    t->counters.black_holes++;
}

/* Of the next larger size that is to be tried: octets of payload; 0: none now. `usable`: what may go out. */
uint32_t path_probe_due(const struct tcp *t, uint64_t now_us, const struct tcp_conn *c, uint32_t available,
                        uint32_t usable)
{
    struct tcp_path *p = path_of(t, c);
    if (p->high == 0 || p->probe_size != 0 || now_us < p->search_at_us || t->config.no_mtu_probing)
        return 0;
    if (p->search_at_us != 0) { /* a new search, up to what the link and the peer take */
        p->high = p->highest;
        p->search_at_us = 0;
    }
    uint32_t mss = conn_send_mss(c), options = c->mss - mss,
             window = p->suspected ? PROBE_WINDOW_SUSPECTED : PROBE_WINDOW;
    uint32_t size = p->suspected ? p->high : (c->mss + p->high + 1) / 2, octets = size - options;
    uint32_t offset = c->snd_nxt - c->iss - 1, ring = conn_send_run(c, offset);
    bool calm = !(c->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS | TCP_CONN_PERSIST)) && c->duplicate_acks == 0 &&
                conn_segment_mss(c) == mss && c->snd_nxt == c->snd_max && c->options.maximum_segment == 0;
    bool room =
        c->cwnd >= window * mss && octets <= usable && octets <= ring && available >= octets + TCP_DUPLICATE_ACKS * mss;
    return calm && room && p->high >= c->mss + SEARCH_OVER ? octets : 0;
}

/* It goes out now, at snd_nxt. */
void path_probe_sent(struct tcp *t, struct tcp_conn *c, uint32_t octets)
{
    struct tcp_path *p = path_of(t, c);
    p->probe_size = octets + c->mss - conn_send_mss(c);
    p->probe_octets = octets;
    p->probe_seq = c->snd_nxt;
    p->suspected = false;
    t->counters.mtu_probes++;
}

/* The handshake has said what the peer takes. */
void path_begin(struct tcp *t, const struct tcp_conn *c)
{
    *path_of(t, c) = (struct tcp_path){.highest = c->mss};
}
