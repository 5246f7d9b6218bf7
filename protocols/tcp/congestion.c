// SPDX-License-Identifier: BSD-2-Clause
/* Congestion control: slow start and congestion avoidance (RFC 5681), limited transmit (RFC 3042), initial window (RFC
 * 6928). Counted in octets. What is done about losses: newreno.c, recovery.c. */
#include "protocols/tcp/tcp_internal.h"

#define CWND_MAX (1U << 30)

static uint32_t initial_window(uint32_t mss)
{
    return u32_min(10 * mss, u32_max(2 * mss, 14600)); /* RFC 6928 2 */
}

void congestion_init(struct tcp *t, struct tcp_conn *c)
{
    (void)t;
    uint32_t mss = conn_send_mss(c);
    /* RFC 5681 3.1: the initial window after a lost SYN MUST be one segment */
    c->cwnd = (c->flags & TCP_CONN_SYN_RESENT) ? mss : initial_window(mss);
    c->ssthresh = CWND_MAX;
    c->cwnd_acked = 0;
    c->recover = c->iss;
}

static uint32_t half_flight(const struct tcp_conn *c)
{
    uint32_t flight = u32_min(c->snd_max - c->snd_una, c->cwnd); /* 3.2: without what limited transmit sent */
    return u32_max(flight / 2, 2 * conn_send_mss(c));            /* RFC 5681 equation 4 */
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

/* `acked` new octets were acknowledged. Not in fast recovery. */
void congestion_acked(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t acked, uint32_t in_flight)
{
    (void)t;
    (void)now_us;
    c->duplicate_acks = 0;
    if (in_flight >= c->cwnd / 2) /* a window that was not used says nothing (RFC 7661) */
        grow(c, acked);
    if ((c->flags & TCP_CONN_LOSS) && !seq_before(c->snd_una, c->recover))
        c->flags &= ~(uint32_t)TCP_CONN_LOSS;
}

/* A loss, or an ECE: what to come down to (RFC 5681 3.2 step 2). */
void congestion_reduce(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    (void)t;
    (void)now_us;
    c->ssthresh = half_flight(c);
}

void congestion_timeout(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    if (c->retransmits <= 1) /* RFC 5681 3.1: held constant when the same segment times out again */
        congestion_reduce(t, c, now_us);
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
