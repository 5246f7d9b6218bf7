// SPDX-License-Identifier: BSD-2-Clause
/* Explicit congestion notification (RFC 3168 section 6).
 *
 * Agreed on in the SYNs: ECE and CWR in the one, ECE in the other. Who asks for it gets it, unless the configuration
 * says no; we ask if it says so. A SYN that is sent again does not ask (6.1.1.1: there are hosts and boxes that drop
 * one that does); after that no packet of ours is ECT, but what the peer marks is echoed all the same (6.1.1).
 *
 * Text that is new goes out as ECT(0): not SYNs, pure ACKs, retransmissions and probes (6.1.4 to 6.1.6). A router that
 * would drop it marks it CE. The receiver then says ECE in every segment until it sees CWR (6.1.3); the sender comes
 * down as for a loss, once for a window, and says CWR with the next new text (6.1.2). So it does when it comes down for
 * a loss.
 *
 * A super-segment never carries CWR: whoever cuts it up would have to know that only the first piece may. One that
 * comes marked is marked as a whole: what puts them together never mixes codepoints.
 *
 * Left out: AccECN (RFC 9768), ECN in SYN-ACKs (RFC 5562), the nonce (RFC 3540, historic). */
#include "protocols/tcp/tcp_arrival.h"

#define ECN_SETUP (TCP_FLAG_ECE | TCP_FLAG_CWR)

/* A SYN that is ECT is not one of RFC 3168. */
bool ecn_is_asked_for(const struct tcp *t, const struct segment *syn)
{
    return t->config.ecn != TCP_ECN_OFF && (syn->flags & ECN_SETUP) == ECN_SETUP && syn->ecn == ECN_NOT_ECT;
}

/* 6.1.1. What the peer's SYN says: which of two that cross, too, if ours asked; or its SYN-ACK. */
void ecn_take_syn(struct tcp *t, struct tcp_conn *c, const struct segment *s)
{
    bool agreed = (s->flags & TCP_FLAG_ACK) ? (s->flags & ECN_SETUP) == TCP_FLAG_ECE : ecn_is_asked_for(t, s);
    bool asks = t->config.ecn == TCP_ECN_ON;
    if (!agreed || (!(c->flags & TCP_CONN_PASSIVE) && !asks))
        return;
    c->flags |= TCP_CONN_ECN;
    t->counters.ecn_connections++;
}

/* What our SYN or SYN-ACK says of it. */
uint8_t ecn_syn_flags(const struct tcp *t, struct tcp_conn *c)
{
    if (c->state == TCP_SYN_RECEIVED)
        return (c->flags & TCP_CONN_ECN) ? TCP_FLAG_ECE : 0;
    if (t->config.ecn != TCP_ECN_ON)
        return 0;
    if (!(c->flags & TCP_CONN_SYN_RESENT))
        return ECN_SETUP;
    c->flags |= TCP_CONN_NOT_ECT; /* 6.1.1: MUST NOT, after a SYN that did not ask */
    return 0;
}

/* 6.1.3. Of an acceptable segment (6.1.5: what lies outside of the window is not looked at). CWR first: with CE in the
 * same segment it begins anew. */
void ecn_received(struct tcp *t, struct tcp_conn *c, const struct segment *s)
{
    if (!(c->flags & TCP_CONN_ECN) || s->payload_length == 0)
        return;
    if (s->flags & TCP_FLAG_CWR)
        c->flags &= ~(uint32_t)TCP_CONN_ECE;
    if (s->ecn != ECN_CE)
        return;
    t->counters.ce_in++;
    if (!(c->flags & TCP_CONN_ECE))
        c->flags |= TCP_CONN_ECE | TCP_CONN_ACK_NOW;
}

/* The window has come down, for whatever reason. */
void ecn_reduced(struct tcp_conn *c)
{
    if (!(c->flags & TCP_CONN_ECN))
        return;
    c->flags |= TCP_CONN_CWR | TCP_CONN_CWR_STATE;
    c->cwr_seq = c->snd_max;
}

/* 6.1.2. An acceptable ACK that says ECE: not twice in a window, which is over when more is acknowledged than was out
 * then, for with that CWR went; nor while what was lost is repaired. True: the window does not grow by this ACK.
 * snd_una is still that of before. */
bool ecn_echoed(struct tcp *t, uint64_t now_us, struct tcp_conn *c, const struct segment *s)
{
    if (!(c->flags & TCP_CONN_ECN) || seq_before(s->ack, c->snd_una))
        return false;
    if ((c->flags & TCP_CONN_CWR_STATE) && seq_after(s->ack, c->cwr_seq))
        c->flags &= ~(uint32_t)TCP_CONN_CWR_STATE;
    if ((s->flags & (TCP_FLAG_ECE | TCP_FLAG_SYN)) != TCP_FLAG_ECE)
        return false;
    t->counters.ece_in++;
    congestion_confirmed(t, c);
    if (c->flags & (TCP_CONN_CWR_STATE | TCP_CONN_RECOVERY | TCP_CONN_LOSS))
        return true;
    congestion_reduce(t, c, now_us);
    /* 6.1.2 waits for the timer when one segment is the window already; it is never less than two here (RFC 5681 eq. 4)
     */
    c->cwnd = u32_min(c->cwnd, u32_max(c->ssthresh, 2 * conn_send_mss(c)));
    c->cwnd_acked = 0;
    ecn_reduced(c);
    return true;
}

/* New text goes out: the flags that it carries, and its codepoint. */
uint8_t ecn_new_text(struct tcp_conn *c, uint8_t *ret_codepoint)
{
    if (!(c->flags & TCP_CONN_ECN))
        return 0;
    bool cwr = c->flags & TCP_CONN_CWR;
    c->flags &= ~(uint32_t)TCP_CONN_CWR;
    *ret_codepoint = (c->flags & TCP_CONN_NOT_ECT) ? ECN_NOT_ECT : ECN_ECT0;
    return cwr ? TCP_FLAG_CWR : 0;
}
