// SPDX-License-Identifier: BSD-2-Clause
/* When text that came in order is acknowledged (RFC 9293 3.8.6.3: SHOULD delay, MUST within 0.5 s, SHOULD at once for
 * every second full-sized segment). What came out of order, or fills a gap, is at once (input.c).
 *
 * A sender whose window is a segment or two gets on by the ACK of each: one that is delayed costs it many round trips
 * of a short path. So, as Linux, the first ACKs go out at once: when text comes for the first time, when it comes
 * again after a pause of a timeout (the sender begins with one segment), and when it comes twice (the sender did not
 * get the ACK). Not where the user answers what comes: there the answer carries it. */
#include "protocols/tcp/tcp_arrival.h"

#define QUICK_ACKS 16U

static struct tcp_quick *quick_of(const struct tcp *t, const struct tcp_conn *c)
{
    return &t->sender[conn_index(t, c)].quick;
}

/* So many segments, at once; no more than half the window has room for, or they would hold up a slow user's peer. */
static void begin(const struct tcp_conn *c, struct tcp_quick *q)
{
    uint32_t segments = u32_max(c->receive_size / 2 / u32_max(c->rcv_mss, 1), 2);
    q->left = (uint8_t)u32_max(q->left, u32_min(segments, QUICK_ACKS));
}

/* `octets` of text came in order. */
void ack_text(struct tcp *t, uint64_t now_us, struct tcp_conn *c, uint32_t octets)
{
    struct tcp_quick *q = quick_of(t, c);
    if (q->text_at_us == 0 || now_us - q->text_at_us > c->rto_us)
        begin(c, q);
    q->text_at_us = now_us > 0 ? now_us : 1;
    c->ack_owed += octets;
    if (c->ack_owed > c->rcv_mss || (q->left > 0 && !q->interactive))
        c->flags |= TCP_CONN_ACK_NOW;
    else if (c->ack_at_us == 0)
        c->ack_at_us = now_us + TCP_DELAYED_ACK_US;
}

/* Text came that was there before: the caller acknowledges it at once. */
void ack_duplicate(const struct tcp *t, const struct tcp_conn *c)
{
    struct tcp_quick *q = quick_of(t, c);
    begin(c, q);
    q->interactive = false;
}

/* Something goes out, and an ACK with it. */
void ack_sent(const struct tcp *t, uint64_t now_us, struct tcp_conn *c, bool with_text)
{
    struct tcp_quick *q = quick_of(t, c);
    if (with_text && (q->text_at_us == 0 || now_us - q->text_at_us < TCP_DELAYED_ACK_US))
        q->interactive = true;
    if (c->ack_owed > 0 && q->left > 0)
        q->left--;
    c->flags &= ~(uint32_t)TCP_CONN_ACK_NOW;
    c->ack_owed = 0;
    c->ack_at_us = 0;
}

/* The user did not answer in time. */
void ack_delayed(const struct tcp *t, struct tcp_conn *c)
{
    quick_of(t, c)->interactive = false;
    c->ack_at_us = 0;
    c->flags |= TCP_CONN_ACK_NOW;
}
