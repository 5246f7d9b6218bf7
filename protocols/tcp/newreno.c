// SPDX-License-Identifier: BSD-2-Clause
/* Fast retransmit (RFC 5681 3.2) and recovery (RFC 6582, the "slow but steady" variant) with a peer that does not SACK. With
 * one that does: recovery.c. */
#include "protocols/tcp/tcp_internal.h"

#define CWND_MAX (1U << 30)

/* A duplicate ACK as RFC 5681 2 defines it has come. True: fast retransmit now. */
bool newreno_duplicate_ack(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    if (c->duplicate_acks < UINT8_MAX)
        c->duplicate_acks++;
    if (c->flags & TCP_CONN_RECOVERY) {
        c->cwnd = u32_min(c->cwnd + conn_send_mss(c), CWND_MAX); /* RFC 6582 3.2 step 3 */
        return false;
    }
    /* RFC 6582 3.2 step 2: only if more than `recover` is acknowledged */
    if (c->duplicate_acks != TCP_DUPLICATE_ACKS || !seq_after(c->snd_una, c->recover))
        return false;
    if (path_probe_lost(t, now_us, c))
        c->ssthresh = u32_max(c->cwnd, 2 * conn_send_mss(c));
    else
        congestion_reduce(t, c, now_us);
    c->recover = c->snd_max;
    c->cwnd = c->ssthresh + 3 * conn_send_mss(c);
    c->flags |= TCP_CONN_RECOVERY;
    return true;
}

/* New data was acknowledged in fast recovery. True: partial, the next hole is retransmitted now. */
bool newreno_partial_ack(struct tcp_conn *c, uint32_t acked)
{
    uint32_t mss = conn_send_mss(c);
    if (!seq_before(c->snd_una, c->recover)) { /* RFC 6582 3.2 step 3, full acknowledgment (1) */
        uint32_t flight = c->snd_max - c->snd_una;
        c->cwnd = u32_min(c->ssthresh, u32_max(flight, mss) + mss);
        c->flags &= ~(uint32_t)TCP_CONN_RECOVERY;
        c->duplicate_acks = 0;
        return false;
    }
    c->cwnd -= u32_min(acked, c->cwnd);
    if (acked >= mss)
        c->cwnd += mss;
    c->cwnd = u32_max(c->cwnd, mss);
    return true;
}
