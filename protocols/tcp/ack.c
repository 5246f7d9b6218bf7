// SPDX-License-Identifier: BSD-2-Clause
/* SEGMENT ARRIVES, fifth step: the ACK field (RFC 9293 3.10.7.4). */
#include "protocols/tcp/tcp_arrival.h"

static uint32_t segment_window(const struct arrival *a)
{
    /* RFC 7323 2.2: the window of a segment with SYN MUST NOT be scaled */
    return (a->s.flags & TCP_FLAG_SYN) ? a->s.window : a->s.window << a->c->send_window_scale;
}

/* SYN-RECEIVED: the ACK of our SYN makes it ESTABLISHED. */
static bool ack_in_syn_received(struct arrival *a)
{
    struct tcp *t = a->t;
    struct tcp_conn *c = a->c;
    if (!seq_after(a->s.ack, c->snd_una) || seq_after(a->s.ack, c->snd_max)) {
        t->counters.drop_bad_ack++;
        reply_reset(t, a->meta, &a->s);
        return false;
    }
    bool full = (c->flags & TCP_CONN_PASSIVE) && accept_queue_is_full(&t->conn[c->listener]);
    if (c->identity.arena == UINT32_MAX || full) { /* nobody has given it a place: the peer sends this again */
        t->counters.drop_backlog_full++;
        return false;
    }
    c->state = TCP_ESTABLISHED;
    c->snd_wnd = c->snd_wnd_max = segment_window(a);
    c->snd_wl1 = a->s.seq;
    c->snd_wl2 = a->s.ack;
    c->snd_nxt = c->snd_max;
    congestion_init(t, c);
    if (c->flags & TCP_CONN_PASSIVE)
        child_established(t, c);
    return true;
}

/* RFC 5961 5.2 and RFC 9293: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT, or an ACK and drop. */
static bool ack_is_acceptable(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    if (!seq_after(a->s.ack, c->snd_max) && !seq_before(a->s.ack, c->snd_una - c->snd_wnd_max))
        return true;
    a->t->counters.drop_bad_ack++;
    challenge(a);
    return false;
}

#define RECOVER_REACH (1U << 30) /* recover is kept this near, so that comparisons with it hold (RFC 6582) */

static void window_without_sack(struct arrival *a, uint32_t acked, uint32_t flight)
{
    if (!(a->c->flags & TCP_CONN_RECOVERY))
        congestion_acked(a->t, a->c, a->now_us, acked, flight);
    else if (newreno_partial_ack(a->c, acked))
        a->c->flags |= TCP_CONN_RETRANSMIT_ONE;
}

static void ack_of_new_data(struct arrival *a, bool echoed)
{
    struct tcp_conn *c = a->c;
    uint32_t flight = c->snd_max - c->snd_una, acked = a->s.ack - c->snd_una;
    uint32_t edge = c->snd_una + c->snd_wnd;
    c->snd_una = a->s.ack;
    c->snd_nxt = seq_max(c->snd_nxt, c->snd_una);
    c->snd_sml = seq_max(c->snd_sml, c->snd_una); /* keeps it in reach of comparisons, and so: */
    if (c->snd_una - c->recover > RECOVER_REACH && !(c->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS)))
        c->recover = c->snd_una - 1;
    c->snd_wnd = seq_after(edge, c->snd_una) ? edge - c->snd_una : 0; /* until the segment says more */
    rtt_acked(a->t, c, a->now_us, &a->s);
    path_acked(a->t, a->now_us, c, acked);
    autotune_send(a->t, c);
    if (!(c->flags & TCP_CONN_SACK)) { /* else: recovery_acked() */
        window_without_sack(a, echoed ? 0 : acked, flight);
        resume_acked_in_order(a->t, a->now_us, c, &a->s);
    }
    if (c->flags & TCP_CONN_PERSIST) {
        if (!seq_before(c->snd_una, conn_send_fin_seq(c))) { /* all text is; its FIN, too, if it was out before */
            c->flags &= ~(uint32_t)(TCP_CONN_PERSIST | TCP_CONN_PROBE_NOW);
            c->retransmit_at_us = 0;
        }
    } else if (c->snd_una == c->snd_max) {
        c->retransmit_at_us = 0; /* RFC 6298 5.2 */
    } else {                     /* RFC 6298 5.3; in recovery too: RFC 6582 4, the slow but steady variant */
        c->retransmit_at_us = a->now_us + c->rto_us;
    }
    c->unacked_at_us = c->retransmit_at_us != 0 ? a->now_us : 0;
    c->retransmits = 0;
}

/* RFC 5681 2: something is outstanding, no data, no SYN or FIN, the greatest ACK so far, the same window. */
static bool ack_is_duplicate(const struct arrival *a)
{
    const struct tcp_conn *c = a->c;
    return a->s.ack == c->snd_una && c->snd_max != c->snd_una && a->s.payload_length == 0 &&
           !(a->s.flags & (TCP_FLAG_SYN | TCP_FLAG_FIN)) && segment_window(a) == c->snd_wnd &&
           !(c->flags & TCP_CONN_PERSIST);
}

/* RFC 9293 3.10.7.4: the newest segment's window counts. */
static void update_send_window(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    if (seq_before(a->s.ack, c->snd_una))
        return;
    if (!seq_before(c->snd_wl1, a->s.seq) && (c->snd_wl1 != a->s.seq || seq_after(c->snd_wl2, a->s.ack)))
        return;
    c->snd_wnd = segment_window(a);
    c->snd_wnd_max = u32_max(c->snd_wnd_max, c->snd_wnd);
    c->snd_wl1 = a->s.seq;
    c->snd_wl2 = a->s.ack;
    if (c->flags & TCP_CONN_PERSIST)
        c->retransmits = 0; /* RFC 9293 3.8.6.1: MUST allow it to stay open as long as it answers */
}

/* What the ACK of our FIN does. */
static bool fin_was_acked(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    if (!conn_fin_acked(c))
        return true;
    switch (c->state) {
    case TCP_FIN_WAIT_1:
        conn_fin_wait_2(c, a->now_us);
        return true;
    case TCP_CLOSING:
        conn_time_wait(a->t, a->now_us, c, 0);
        return false;
    case TCP_LAST_ACK:
        conn_last_acked(a->t, a->now_us, c);
        return false;
    default:
        return true;
    }
}

bool check_ack(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    if (!(a->s.flags & TCP_FLAG_ACK)) {
        a->t->counters.drop_no_ack++;
        return false;
    }
    if (c->state == TCP_SYN_RECEIVED) {
        if (!ack_in_syn_received(a))
            return false;
    } else if (!ack_is_acceptable(a)) {
        return false;
    }
    a->result = TCP_INPUT_DONE;
    conn_heard(c, a->now_us);
    uint32_t old_una = c->snd_una;
    bool duplicate = ack_is_duplicate(a);
    bool echoed = ecn_echoed(a->t, a->now_us, c, &a->s);
    if (seq_after(a->s.ack, c->snd_una))
        ack_of_new_data(a, echoed);
    else if (duplicate && !(c->flags & TCP_CONN_SACK) && newreno_duplicate_ack(a->t, c, a->now_us))
        c->flags |= TCP_CONN_RETRANSMIT_ONE;
    if (c->flags & TCP_CONN_SACK)
        recovery_acked(a->t, c, a->now_us, &a->s, old_una, duplicate, echoed);
    update_send_window(a);
    return fin_was_acked(a);
}
