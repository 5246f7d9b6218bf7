// SPDX-License-Identifier: BSD-2-Clause
/* Pacing: what the window lets out at once goes out over the round trip, so that a queue on the way need not take it
 * all. As Linux: twice the rate of a window a round trip in slow start, 1.2 times after, in super-segments of a
 * millisecond. A bucket that leaks at this rate: as much as a first window may have (RFC 6928) goes out at once at any
 * time, or what the host may have missed: Linux's timer is an interrupt; ours is a process that others keep from the
 * processor for some milliseconds, and with less its rate would be a super-segment each time that it comes. So small a window is not paced at all: a segment that waits delays the ACK of those before it, and the round
 * trip seems to be longer than it is. Nor is a path of less than a millisecond: its interval is below what the timer of
 * the host can tell apart, and its bursts are small. */
#include "protocols/tcp/tcp_internal.h"

#define PACING_RTT_MIN_US 1000U
#define PACING_REACH_US   50U /* what the host may be late by; so much early is as good as now */
#define PACING_SIZE_US    1000U
#define PACING_LATE_US    4000U /* what a host that comes late may make up for at once */
#define PACING_BURST      10U /* segments that wait for nothing */
#define RATIO_UNIT        10U /* ratios of the rate are in tenths */

/* As Linux all that is out, if that is more than the window: in recovery the window is what is in flight and a little
 * more, and what is held back would make it less. */
static uint32_t paced_window(const struct tcp_conn *c)
{
    return u32_max(c->cwnd, u32_max(c->snd_nxt - c->snd_una, conn_send_mss(c)));
}

static bool is_paced(const struct tcp *t, const struct tcp_conn *c)
{
    const struct tcp_pacing *p = &t->sender[conn_index(t, c)].pacing;
    uint32_t rtt_us = p->min_rtt_us != 0 ? p->min_rtt_us : c->srtt_us;
    return !t->config.no_pacing && rtt_us >= PACING_RTT_MIN_US && c->srtt_us >= PACING_RTT_MIN_US &&
           paced_window(c) > PACING_BURST * conn_send_mss(c);
}

/* Octets, in tenths. */
static uint64_t rate_per_srtt(const struct tcp_conn *c)
{
    return (uint64_t)paced_window(c) * (c->cwnd < c->ssthresh / 2 ? 20 : 12);
}

/* Octets that wait for nothing. */
static uint32_t burst_of(const struct tcp_conn *c)
{
    uint64_t late = rate_per_srtt(c) * PACING_LATE_US / RATIO_UNIT / c->srtt_us;
    return late < UINT32_MAX ? u32_max((uint32_t)late, PACING_BURST * conn_send_mss(c)) : UINT32_MAX;
}

/* What has leaked out of the bucket by now. */
static void leak(struct tcp_pacing *p, const struct tcp_conn *c, uint64_t now_us)
{
    uint64_t elapsed_us = now_us > p->leaked_us ? now_us - p->leaked_us : 0;
    uint64_t octets = elapsed_us < c->srtt_us ? elapsed_us * rate_per_srtt(c) / RATIO_UNIT / c->srtt_us : UINT32_MAX;
    if (octets == 0 && p->filled > 0)
        return;
    p->filled -= octets < p->filled ? (uint32_t)octets : p->filled;
    p->leaked_us = now_us;
}

/* Each sample. */
void pacing_rtt(struct tcp *t, const struct tcp_conn *c, uint32_t rtt_us)
{
    struct tcp_pacing *p = &t->sender[conn_index(t, c)].pacing;
    if (p->min_rtt_us == 0 || rtt_us < p->min_rtt_us)
        p->min_rtt_us = u32_max(rtt_us, 1);
}

/* New text is to wait, until pace_at_us. */
bool pacing_holds(struct tcp *t, const struct tcp_conn *c, uint64_t now_us)
{
    struct tcp_sender *s = &t->sender[conn_index(t, c)];
    uint64_t wait_us = 0;
    if (is_paced(t, c)) {
        uint32_t burst = burst_of(c);
        leak(&s->pacing, c, now_us);
        if (s->pacing.filled > burst)
            wait_us = (uint64_t)(s->pacing.filled - burst) * c->srtt_us * RATIO_UNIT / rate_per_srtt(c);
    }
    if (wait_us <= PACING_REACH_US) {
        s->pace_at_us = 0;
        return false;
    }
    if (s->pace_at_us == 0)
        t->counters.paced++;
    s->pace_at_us = now_us + wait_us;
    timer_sync(t, c);
    return true;
}

/* The most that one super-segment should have. */
uint32_t pacing_limit(const struct tcp *t, const struct tcp_conn *c)
{
    if (!is_paced(t, c))
        return UINT32_MAX;
    uint64_t octets = rate_per_srtt(c) * PACING_SIZE_US / RATIO_UNIT / c->srtt_us;
    return octets < UINT32_MAX ? u32_max((uint32_t)octets, 2 * conn_send_mss(c)) : UINT32_MAX;
}

/* `length` octets went out. */
void pacing_sent(struct tcp *t, const struct tcp_conn *c, uint64_t now_us, uint32_t length)
{
    struct tcp_pacing *p = &t->sender[conn_index(t, c)].pacing;
    if (!is_paced(t, c)) {
        p->filled = 0;
        return;
    }
    leak(p, c, now_us);
    p->filled += length;
}
