// SPDX-License-Identifier: BSD-2-Clause
/* Congestion control: slow start, congestion avoidance, fast retransmit (RFC 5681), NewReno recovery
 * (RFC 6582, the "slow but steady" variant), limited transmit (RFC 3042), initial window (RFC 6928). Counted in
 * octets. Another algorithm would take the place of this file. */
#include "protocols/tcp/tcp_internal.h"

#define CWND_MAX (1U << 30)

static uint32_t initial_window(uint32_t mss)
{
    return u32_min(10 * mss, u32_max(2 * mss, 14600)); /* RFC 6928 2 */
}

void congestion_init(struct tcp_conn *c)
{
    uint32_t mss = conn_send_mss(c);
    /* RFC 5681 3.1: the initial window after a lost SYN MUST be one segment */
    c->cwnd = (c->flags & TCP_CONN_SYN_RESENT) ? mss : initial_window(mss);
    c->ssthresh = CWND_MAX;
    c->cwnd_acked = 0;
    c->recover = c->iss;
}

static uint32_t half_flight(const struct tcp_conn *c)
{
    return u32_max((c->snd_max - c->snd_una) / 2, 2 * conn_send_mss(c)); /* RFC 5681 equation 4 */
}

static void grow(struct tcp_conn *c, uint32_t acked)
{
    if (c->cwnd < c->ssthresh) {
        /* Deviates: RFC 5681 3.1 adds at most one SMSS an ACK; receivers that coalesce (GRO) send one for
         * 64 KB, so, as Linux, all that was acknowledged counts; after a timeout one SMSS (RFC 3465 2.3). No ACK
         * leads beyond ssthresh. */
        uint32_t most = (c->flags & TCP_CONN_LOSS) ? u32_min(acked, conn_send_mss(c)) : acked;
        c->cwnd = u32_min(c->cwnd + most, c->ssthresh);
    } else {
        c->cwnd_acked += acked; /* RFC 5681 3.1, by counting octets (RECOMMENDED) */
        if (c->cwnd_acked >= c->cwnd) {
            c->cwnd_acked -= c->cwnd;
            c->cwnd += conn_send_mss(c);
        }
    }
    c->cwnd = u32_min(c->cwnd, CWND_MAX);
}

/* `acked` new octets were acknowledged, `flight` were in flight before. Not in fast recovery. */
void congestion_acked(struct tcp_conn *c, uint32_t acked, uint32_t flight)
{
    c->duplicate_acks = 0;
    if (flight >= c->cwnd / 2) /* a window that was not used says nothing (RFC 7661) */
        grow(c, acked);
    if ((c->flags & TCP_CONN_LOSS) && !seq_before(c->snd_una, c->recover))
        c->flags &= ~(uint32_t)TCP_CONN_LOSS;
}

/* A duplicate ACK as RFC 5681 2 defines it has come. True: fast retransmit now. */
bool congestion_duplicate_ack(struct tcp_conn *c)
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
    c->ssthresh = half_flight(c);
    c->recover = c->snd_max;
    c->cwnd = c->ssthresh + 3 * conn_send_mss(c);
    c->flags |= TCP_CONN_RECOVERY;
    return true;
}

/* New data was acknowledged in fast recovery. True: partial, the next hole is retransmitted now. */
bool congestion_partial_ack(struct tcp_conn *c, uint32_t acked)
{
    uint32_t mss = conn_send_mss(c);
    if (!seq_before(c->snd_una, c->recover)) { /* RFC 6582 3.2 step 3, full acknowledgment (1) */
        uint32_t flight = c->snd_max - c->snd_una;
        c->cwnd = u32_min(c->ssthresh, u32_max(flight, mss) + mss);
        c->flags &= ~(uint32_t)TCP_CONN_RECOVERY;
        c->duplicate_acks = 0;
        c->cwnd_acked = 0;
        return false;
    }
    c->cwnd -= u32_min(acked, c->cwnd);
    if (acked >= mss)
        c->cwnd += mss;
    c->cwnd = u32_max(c->cwnd, mss);
    return true;
}

void congestion_timeout(struct tcp_conn *c)
{
    if (c->retransmits <= 1) /* RFC 5681 3.1: held constant when the same segment times out again */
        c->ssthresh = half_flight(c);
    c->cwnd = conn_send_mss(c); /* the loss window */
    c->cwnd_acked = 0;
    c->recover = c->snd_max; /* RFC 6582 3.2 step 4 */
    c->duplicate_acks = 0;
    c->flags &= ~(uint32_t)(TCP_CONN_RECOVERY | TCP_CONN_RETRANSMIT_ONE);
    c->flags |= TCP_CONN_LOSS;
}

/* Never less than a segment, which may grow (maximum_segment). */
uint32_t congestion_window(const struct tcp_conn *c)
{
    uint32_t cwnd = u32_max(c->cwnd, conn_send_mss(c));
    if ((c->flags & TCP_CONN_RECOVERY) || c->duplicate_acks == 0)
        return cwnd;
    return cwnd + u32_min(c->duplicate_acks, TCP_DUPLICATE_ACKS - 1) * conn_send_mss(c); /* RFC 3042 2 */
}
