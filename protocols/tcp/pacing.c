// SPDX-License-Identifier: BSD-2-Clause
/* Pacing: what the window lets out at once goes out over the round trip, so that a queue on the way need not take it
 * all. As Linux: twice the rate of a window a round trip in slow start, 1.2 times after, in super-segments of a
 * millisecond, and the first window is not paced. A path of less than a millisecond is not paced at all: its interval
 * is below what the timer of the host can tell apart, and its bursts are small. */
#include "protocols/tcp/tcp_internal.h"

#define PACING_RTT_MIN_US 1000U
#define PACING_REACH_US   50U /* what the host may be late by; so much early is as good as now */
#define PACING_SIZE_US    1000U
#define PACING_LATE_US    4000U /* what a host that comes late may make up for at once */
#define PACING_FIRST      10U   /* segments */
#define RATIO_UNIT        10U   /* ratios of the rate are in tenths */

static bool is_paced(const struct tcp *t, const struct tcp_conn *c)
{
    const struct tcp_pacing *p = &t->sender[conn_index(t, c)].pacing;
    uint32_t rtt_us = p->min_rtt_us != 0 ? p->min_rtt_us : c->srtt_us;
    return !t->config.no_pacing && rtt_us >= PACING_RTT_MIN_US && c->srtt_us >= PACING_RTT_MIN_US &&
           (c->snd_max - c->iss > PACING_FIRST * conn_send_mss(c) || p->next_us != 0);
}

/* Octets, in tenths. As Linux of all that is out, if that is more than the window: in recovery the window is what is in
 * flight and a little more, and what is held back would make it less. */
static uint64_t rate_per_srtt(const struct tcp_conn *c)
{
    uint32_t window = u32_max(c->cwnd, u32_max(c->snd_nxt - c->snd_una, conn_send_mss(c)));
    return (uint64_t)window * (c->cwnd < c->ssthresh / 2 ? 20 : 12);
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
    if (!is_paced(t, c) || s->pacing.next_us <= now_us + PACING_REACH_US) {
        s->pace_at_us = 0;
        return false;
    }
    if (s->pace_at_us == 0)
        t->counters.paced++;
    s->pace_at_us = s->pacing.next_us;
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

/* `length` octets went out. As Linux, who is late has up to half of the next interval for it. Deviates: or some
 * milliseconds, if that is more. Linux's timer is an interrupt; ours is a process that others keep from the processor,
 * and with less its rate would be a super-segment each time that it comes. */
void pacing_sent(struct tcp *t, const struct tcp_conn *c, uint64_t now_us, uint32_t length)
{
    struct tcp_pacing *p = &t->sender[conn_index(t, c)].pacing;
    if (!is_paced(t, c))
        return;
    uint64_t interval_us = (uint64_t)length * c->srtt_us * RATIO_UNIT / rate_per_srtt(c);
    if (p->next_us >= now_us) {
        p->next_us += interval_us;
        return;
    }
    uint64_t late_us = p->next_us == 0 ? 0 : now_us - p->next_us;
    uint64_t most_us = interval_us / 2 > PACING_LATE_US ? interval_us / 2 : PACING_LATE_US;
    p->next_us = now_us + interval_us - (late_us < most_us ? late_us : most_us);
}
