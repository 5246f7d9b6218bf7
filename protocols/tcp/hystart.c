// SPDX-License-Identifier: BSD-2-Clause
/* HyStart++ (RFC 9406): slow start ends before it has filled the queue. A round is a window: from where snd_max was to
 * its acknowledgment. When the least round trip of a round is an eighth above that of the one before, growth goes down
 * to a quarter (conservative slow start); was it a false alarm, the least round trip falls again and slow start goes
 * on; else after five such rounds congestion avoidance begins. Only in initial slow start (ssthresh is CWND_MAX), and
 * only with N_RTT_SAMPLE samples a round: a connection of which one segment at a time is timed (rtt.c) is not
 * concerned. */
#include "protocols/tcp/congestion.h"

#define MIN_RTT_THRESH_US  4000U
#define MAX_RTT_THRESH_US  16000U
#define MIN_RTT_DIVISOR    8U
#define N_RTT_SAMPLE       8U
#define CSS_GROWTH_DIVISOR 4U
#define CSS_ROUNDS         5U
#define L_UNPACED          8U
#define NO_RTT             UINT32_MAX

/* One without a sample (nothing was in flight when it began) is not over, but begins again. */
static void round_begin(struct tcp_hystart *h, const struct tcp_conn *c)
{
    h->round_end = c->snd_max;
    if (h->phase != HYSTART_UNUSED && h->min_us == NO_RTT)
        return;
    h->last_min_us = h->phase == HYSTART_UNUSED ? NO_RTT : h->min_us;
    h->min_us = NO_RTT;
    h->samples = 0;
    if (h->phase == HYSTART_CSS)
        h->css_rounds++;
    if (h->phase == HYSTART_UNUSED)
        h->phase = HYSTART_SLOW_START;
}

/* 4.2: enough is known of this round. */
static void look(struct tcp_hystart *h)
{
    if (h->phase == HYSTART_CSS) {
        if (h->min_us < h->css_baseline_us) /* it was not the queue */
            h->phase = HYSTART_SLOW_START;
        return;
    }
    if (h->last_min_us == NO_RTT)
        return;
    uint32_t threshold = u32_max(MIN_RTT_THRESH_US, u32_min(h->last_min_us / MIN_RTT_DIVISOR, MAX_RTT_THRESH_US));
    if (h->min_us < h->last_min_us + threshold)
        return;
    h->css_baseline_us = h->min_us;
    h->css_rounds = 0;
    h->phase = HYSTART_CSS;
}

bool hystart_round(struct tcp_hystart *h, const struct tcp_conn *c, uint32_t rtt_us)
{
    if (h->phase == HYSTART_UNUSED || !seq_before(c->snd_una, h->round_end))
        round_begin(h, c);
    if (h->phase == HYSTART_CSS && h->css_rounds >= CSS_ROUNDS)
        return true;
    if (rtt_us == NO_RTT)
        return false;
    h->min_us = u32_min(h->min_us, rtt_us);
    if (h->samples < N_RTT_SAMPLE)
        h->samples++;
    if (h->samples >= N_RTT_SAMPLE)
        look(h);
    return false;
}

/* 4.2, 4.3: L bounds what one ACK adds where nothing else spreads the burst that follows it. */
uint32_t hystart_growth(const struct tcp_hystart *h, uint32_t acked, uint32_t mss, bool paced)
{
    uint32_t growth = paced ? acked : u32_min(acked, L_UNPACED * mss);
    return h->phase == HYSTART_CSS ? growth / CSS_GROWTH_DIVISOR : growth;
}
