// SPDX-License-Identifier: BSD-2-Clause
/* Congestion control: what its algorithms have in common, and Reno. Slow start and congestion avoidance (RFC 5681),
 * limited transmit (RFC 3042), initial window (RFC 6928), windows that are not used (RFC 2861, RFC 7661, as Linux).
 * Counted in octets. CUBIC: cubic.c; the end of initial slow start: hystart.c. What is done about losses: newreno.c,
 * recovery.c.
 *
 * A window grows only while it is what holds the sender back: all of it was in flight at some time in the last window
 * sent, or in slow start half of it. One that was not filled for a timeout comes half way down to what was used, and
 * one that nothing was sent from for a timeout is halved for each, not below the initial window. */
#include "protocols/tcp/congestion.h"

static void reno_avoid(struct tcp_conn *c, uint32_t acked)
{
    c->cwnd_acked += acked; /* RFC 5681 3.1, by counting octets (RECOMMENDED) */
    if (c->cwnd_acked >= c->cwnd) {
        c->cwnd_acked -= c->cwnd;
        c->cwnd += conn_send_mss(c);
    }
}

static uint32_t reno_reduce(const struct tcp_usage *u, const struct tcp_conn *c)
{
    uint32_t flight = c->snd_max - c->snd_una;
    if (!(c->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS))) {
        flight = u32_max(flight, u->flight); /* before the ACK that tells of the loss */
        flight = u32_min(flight, c->cwnd);   /* RFC 5681 3.2 step 2: MUST NOT include what limited transmit sent */
    }
    return u32_max(flight / 2, 2 * conn_send_mss(c)); /* equation 4 */
}

/* Untrusted: options.congestion (host; store): what is none is the default. */
enum tcp_congestion congestion_algorithm_of(const struct tcp *t, const struct tcp_conn *c)
{
    uint8_t wanted = c->options.congestion;
    if (wanted == TCP_CONGESTION_DEFAULT || wanted > TCP_CONGESTION_CUBIC)
        wanted = t->config.congestion;
    return wanted == TCP_CONGESTION_RENO ? TCP_CONGESTION_RENO : TCP_CONGESTION_CUBIC;
}

static bool is_cubic(const struct tcp *t, const struct tcp_conn *c)
{
    return congestion_algorithm_of(t, c) == TCP_CONGESTION_CUBIC;
}

static struct tcp_sender *sender_of(struct tcp *t, const struct tcp_conn *c)
{
    return &t->sender[conn_index(t, c)];
}

static uint32_t initial_window(uint32_t mss)
{
    return u32_min(10 * mss, u32_max(2 * mss, 14600)); /* RFC 6928 2 */
}

static void forget_epoch(struct tcp_conn *c)
{
    c->cwnd_acked = c->cubic_acked = 0;
    c->cubic_w_max = c->cubic_prior = 0;
    c->cubic_epoch_us = 0;
}

void congestion_init(struct tcp *t, struct tcp_conn *c)
{
    (void)t;
    uint32_t mss = conn_send_mss(c);
    /* RFC 5681 3.1: the initial window after a lost SYN MUST be one segment */
    c->cwnd = (c->flags & TCP_CONN_SYN_RESENT) ? mss : initial_window(mss);
    c->ssthresh = CWND_MAX;
    c->recover = c->iss;
    forget_epoch(c);
}

/* The user asks for another algorithm: it starts from the window that there is. */
void congestion_changed(const struct tcp *t, struct tcp_conn *c, const struct tcp_options *old)
{
    struct tcp_conn was = {.options = *old};
    if (congestion_algorithm_of(t, &was) != congestion_algorithm_of(t, c))
        forget_epoch(c);
}

/* ---- growth ---- */
static bool in_initial_slow_start(const struct tcp_conn *c)
{
    return c->ssthresh >= CWND_MAX && c->cwnd < c->ssthresh && conn_is_synchronized(c);
}

static void hystart_look(struct tcp *t, struct tcp_conn *c, uint32_t rtt_us)
{
    if (!in_initial_slow_start(c) || !is_cubic(t, c))
        return;
    if (hystart_round(&sender_of(t, c)->hystart, c, rtt_us))
        c->ssthresh = c->cwnd; /* RFC 9406 4.2 */
}

/* Every sample of the round trip; before congestion_acked() of the same ACK. */
void congestion_rtt(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t rtt_us)
{
    (void)now_us;
    pacing_rtt(t, c, rtt_us);
    hystart_look(t, c, rtt_us);
}

/* What of `acked` is left for congestion avoidance. Deviates: RFC 5681 3.1 adds at most one SMSS an ACK; receivers that
 * coalesce (GRO) send one for 64 KB, so, as Linux, all that was acknowledged counts; after a timeout, where an ACK may
 * be for what had arrived before it, one SMSS (RFC 3465 2.3), unless SACK tells. No ACK leads beyond ssthresh. */
static uint32_t slow_start(struct tcp *t, struct tcp_conn *c, uint32_t acked)
{
    uint32_t mss = conn_send_mss(c), most = acked;
    if (in_initial_slow_start(c) && is_cubic(t, c))
        most = hystart_growth(&sender_of(t, c)->hystart, acked, mss, !t->config.no_pacing);
    else if ((c->flags & (TCP_CONN_LOSS | TCP_CONN_SACK)) == TCP_CONN_LOSS)
        most = u32_min(acked, mss);
    uint32_t room = c->ssthresh - c->cwnd;
    c->cwnd += u32_min(most, room);
    return most > room ? most - room : 0;
}

static void grow(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t acked)
{
    if (c->cwnd < c->ssthresh)
        acked = slow_start(t, c, acked);
    if (acked > 0 && c->cwnd >= c->ssthresh) {
        if (is_cubic(t, c))
            cubic_avoid(c, now_us, acked);
        else
            reno_avoid(c, acked);
    }
    c->cwnd = u32_min(c->cwnd, CWND_MAX);
}

/* As Linux's tcp_is_cwnd_limited(): in slow start half is enough, so that it may double. */
static bool window_is_used(const struct tcp_usage *u, const struct tcp_conn *c, uint32_t in_flight)
{
    uint32_t most = u32_max(u->flight, in_flight);
    if (u->limited || in_flight + conn_send_mss(c) > c->cwnd)
        return true;
    return c->cwnd < c->ssthresh && c->cwnd / 2 < most;
}

/* Reno does not look at the time. */
static void note_unused(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    uint64_t since_us = sender_of(t, c)->usage.looked_us;
    if (since_us != 0 && is_cubic(t, c))
        cubic_unused(c, now_us, now_us - since_us);
}

/* `acked` new octets were acknowledged. Not in fast recovery. */
void congestion_acked(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t acked, uint32_t in_flight)
{
    struct tcp_usage *u = &sender_of(t, c)->usage;
    c->duplicate_acks = 0;
    hystart_look(t, c, UINT32_MAX);
    if (acked == 1 && c->snd_una == c->iss + 1) /* our SYN */
        return;
    if (window_is_used(u, c, in_flight))
        grow(t, c, now_us, acked);
    else
        note_unused(t, c, now_us);
    u->looked_us = now_us;
    if ((c->flags & TCP_CONN_LOSS) && !seq_before(c->snd_una, c->recover))
        c->flags &= ~(uint32_t)TCP_CONN_LOSS;
}

/* ---- windows that are not used ---- */

/* RFC 2861 2: what the path carried before it fell silent, or nearly. */
static void remember_window(struct tcp_conn *c)
{
    c->ssthresh = u32_max(c->ssthresh, c->cwnd / 4 * 3);
}

/* RFC 5681 4.1: SHOULD not begin with more than the initial window after a timeout without sending; RFC 2861: halved
 * for each timeout. As Linux both. Nothing is in flight, and something is about to be sent. */
void congestion_resume(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    struct tcp_usage *u = &sender_of(t, c)->usage;
    uint32_t floor = u32_min(initial_window(conn_send_mss(c)), c->cwnd);
    uint64_t idle_us = u->sent_us != 0 ? now_us - u->sent_us : 0;
    note_unused(t, c, now_us);
    u->looked_us = now_us;
    conn_touched(t, c);
    if (idle_us <= c->rto_us)
        return;
    remember_window(c);
    for (; idle_us > c->rto_us && c->cwnd > floor; idle_us -= c->rto_us)
        c->cwnd = u32_max(c->cwnd / 2, floor);
    u->sent_us = u->used_us = now_us;
    u->used = 0;
}

/* RFC 2861 2: half way to what was used. A sender whose ring is half full or more was held back by the peer, or the
 * pace, not by its user: who waits for room is woken when a quarter is free, so the ring is hardly ever full to the
 * last octet. */
static void shrink_unused(struct tcp_usage *u, struct tcp_conn *c, uint64_t now_us)
{
    uint32_t used = u32_max(u->used, initial_window(conn_send_mss(c)));
    bool open = !(c->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS)) && c->duplicate_acks == 0;
    if (open && used < c->cwnd && c->send_end - c->send_acked < c->send_size / 2) {
        remember_window(c);
        c->cwnd = c->cwnd - (c->cwnd - used) / 2;
    }
    u->used = 0;
    u->used_us = now_us;
}

/* Something went out; what is in flight now says how much of the window is used. As Linux's tcp_cwnd_validate(). */
void congestion_sent(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    struct tcp_usage *u = &sender_of(t, c)->usage;
    uint32_t flight = c->snd_nxt - c->snd_una;
    bool limited = flight + conn_send_mss(c) > c->cwnd;
    u->sent_us = now_us;
    if (!seq_before(c->snd_una, u->window_end) || limited || (!u->limited && flight > u->flight)) {
        u->limited = limited;
        u->flight = flight;
        u->window_end = c->snd_nxt;
    }
    if (u->limited || u->used_us == 0) {
        u->used = 0;
        u->used_us = now_us;
        return;
    }
    u->used = u32_max(u->used, flight);
    if (now_us - u->used_us >= c->rto_us)
        shrink_unused(u, c, now_us);
}

/* ---- reduction ---- */

/* A loss, or an ECE: what to come down to (RFC 5681 3.2 step 2). Before TCP_CONN_RECOVERY is set. */
void congestion_reduce(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    (void)now_us;
    c->ssthresh = is_cubic(t, c) ? cubic_reduce(c) : reno_reduce(&sender_of(t, c)->usage, c);
    ecn_reduced(c);
}

void congestion_timeout(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    bool reduced = (c->flags & TCP_CONN_RECOVERY) && seq_before(c->snd_una, c->recover);
    /* RFC 5681 3.1: held constant when the same segment times out again; as Linux also within a recovery, which has
     * answered for this window */
    if (c->retransmits <= 1 && !reduced)
        congestion_reduce(t, c, now_us);
    if (is_cubic(t, c))
        cubic_timed_out(c);
    c->cwnd_acked = 0;
    c->cwnd = conn_send_mss(c); /* the loss window */
    c->recover = c->snd_max;    /* RFC 6582 3.2 step 4 */
    c->duplicate_acks = 0;
    c->flags &= ~(uint32_t)(TCP_CONN_RECOVERY | TCP_CONN_RETRANSMIT_ONE);
    c->flags |= TCP_CONN_LOSS;
}

/* Before a reduction that may prove to be for nothing (RFC 9438 4.9). */
void congestion_save(struct tcp *t, const struct tcp_conn *c)
{
    sender_of(t, c)->prior = (struct tcp_congestion_prior){.cwnd = c->cwnd,
                                                           .ssthresh = c->ssthresh,
                                                           .cwnd_acked = c->cwnd_acked,
                                                           .cubic_w_max = c->cubic_w_max,
                                                           .cubic_w_est = c->cubic_w_est,
                                                           .cubic_prior = c->cubic_prior,
                                                           .cubic_k_ms = c->cubic_k_ms,
                                                           .cubic_acked = c->cubic_acked,
                                                           .cubic_epoch_us = c->cubic_epoch_us};
}

/* It was for nothing: the window and its algorithm are as they were, or better. Once for each congestion_save(). */
void congestion_restore(struct tcp *t, struct tcp_conn *c)
{
    struct tcp_congestion_prior *p = &sender_of(t, c)->prior;
    if (p->cwnd == 0)
        return;
    c->cwnd = u32_max(c->cwnd, p->cwnd);
    c->ssthresh = u32_max(c->ssthresh, p->ssthresh);
    c->cwnd_acked = p->cwnd_acked;
    c->cubic_w_max = p->cubic_w_max;
    c->cubic_w_est = p->cubic_w_est;
    c->cubic_prior = p->cubic_prior;
    c->cubic_k_ms = p->cubic_k_ms;
    c->cubic_acked = p->cubic_acked;
    c->cubic_epoch_us = p->cubic_epoch_us;
    c->flags &= ~(uint32_t)(TCP_CONN_CWR | TCP_CONN_CWR_STATE); /* the next ECE is not answered by this reduction */
    *p = (struct tcp_congestion_prior){0};
}

/* There is congestion, whatever becomes of what was taken for lost: as Linux, what was saved is not put back. */
void congestion_confirmed(struct tcp *t, const struct tcp_conn *c)
{
    sender_of(t, c)->prior = (struct tcp_congestion_prior){0};
}

/* Never less than a segment, which may grow (maximum_segment). */
uint32_t congestion_window(const struct tcp_conn *c)
{
    uint32_t cwnd = u32_max(c->cwnd, conn_send_mss(c));
    if ((c->flags & TCP_CONN_RECOVERY) || c->duplicate_acks == 0)
        return cwnd;
    return cwnd + u32_min(c->duplicate_acks, TCP_DUPLICATE_ACKS - 1) * conn_send_mss(c); /* RFC 3042 2 */
}
