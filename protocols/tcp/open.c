// SPDX-License-Identifier: BSD-2-Clause
/* SEGMENT ARRIVES where there is no connection yet: RFC 9293 3.10.7.1 (CLOSED), 3.10.7.2 (LISTEN) and
 * 3.10.7.3 (SYN-SENT), their steps in the RFC's order. */
#include "protocols/tcp/tcp_arrival.h"

bool reply_push(struct tcp *t, const struct tcp_reply *reply)
{
    if (t->reply_count == TCP_REPLIES)
        return false;
    t->reply[(t->reply_head + t->reply_count++) & (TCP_REPLIES - 1)] = *reply;
    return true;
}

/* RFC 9293 3.10.7.1: an RST for everything but an RST. The queue is bounded: a lost RST is asked for again. */
void reply_reset(struct tcp *t, const struct tcp_segment_in *meta, const struct segment *s)
{
    if (s->flags & TCP_FLAG_RST)
        return;
    struct tcp_reply r = {
        .source = meta->destination,
        .destination = meta->source,
        .source_port = meta->destination_port,
        .destination_port = meta->source_port,
        .flags = TCP_FLAG_RST,
    };
    if (s->flags & TCP_FLAG_ACK) {
        r.seq = s->ack;
    } else {
        r.flags |= TCP_FLAG_ACK;
        r.ack = s->text + s->payload_length + ((s->flags & TCP_FLAG_FIN) ? 1 : 0);
    }
    if (!reply_push(t, &r))
        t->counters.drop_reply_queue++;
}

void arrives_closed(struct arrival *a)
{
    a->t->counters.drop_no_connection++;
    reply_reset(a->t, a->meta, &a->s);
}

/* RFC 9293 3.7.1: MUST assume 536, or 1220 for IPv6, if there is no option. */
uint32_t syn_mss(const struct segment *s, const struct ip_address *peer)
{
    if (s->mss != 0)
        return s->mss;
    return peer->family == ADDRESS_IP6 ? TCP_MSS_DEFAULT_IP6 : TCP_MSS_DEFAULT;
}

/* What the peer's SYN says: sequence number, MSS, window scale, timestamp, SACK, ECN. */
static void take_syn(struct tcp *t, struct tcp_conn *c, uint64_t now_us, const struct segment *s)
{
    c->irs = s->seq;
    c->rcv_nxt = s->seq + 1;
    c->rcv_adv = c->rcv_nxt + u32_min(c->receive_size, UINT16_MAX);
    c->mss = u32_max(TCP_MSS_MIN, u32_min(syn_mss(s, &c->identity.remote), conn_local_mss(t, c)));
    if (s->window_scale >= 0) { /* RFC 7323 2.2: only if both sides sent the option */
        c->flags |= TCP_CONN_WINDOW_SCALE;
        c->send_window_scale = (uint8_t)s->window_scale;
        c->receive_window_scale = conn_window_scale(c->receive_most);
    }
    timestamp_take_syn(t, c, now_us, s);
    sack_take_syn(t, c, s);
    ecn_take_syn(t, c, s);
    c->snd_wnd = c->snd_wnd_max = s->window; /* of a SYN: never scaled */
    c->snd_wl1 = s->seq;
    c->snd_wl2 = s->ack;
    congestion_init(t, c);
    path_begin(t, c);
}

struct tcp_identity identity_of_child(const struct tcp_segment_in *meta)
{
    return (struct tcp_identity){
        .local = meta->destination,
        .remote = meta->source,
        .local_port = meta->destination_port,
        .remote_port = meta->source_port,
        .arena = UINT32_MAX,
    };
}

/* In SYN-RECEIVED, of the peer's SYN; its text and FIN are dropped: not acknowledged, they come again. */
struct tcp_conn *child_new(struct tcp *t, uint64_t now_us, struct tcp_conn *listener, const struct tcp_segment_in *meta,
                           const struct segment *syn, const uint32_t *iss)
{
    struct tcp_identity i = identity_of_child(meta);
    struct tcp_conn *c = conn_new(t, &i, TCP_SYN_RECEIVED, listener->receive_size, listener->send_size);
    if (c == NULL)
        return NULL;
    c->flags |= TCP_CONN_PASSIVE | (listener->flags & TCP_CONN_NODELAY);
    c->options = listener->options;
    c->receive_most = listener->receive_most;
    c->send_most = listener->send_most;
    conn_init_send(t, c, *iss);
    take_syn(t, c, now_us, syn);
    child_add(t, listener, c);
    conn_changed(t, c);
    return c;
}

/* RFC 9293 3.10.7.2, third. `floor`: the initial sequence number lies above it (MAY-2), or NULL. That is more than a
 * cookie can promise. */
static void open_passively(struct arrival *a, struct tcp_conn *listener, const uint32_t *floor)
{
    struct tcp *t = a->t;
    bool cookie = floor == NULL && !t->config.no_cookies;
    if (accept_queue_is_full(listener) || (syns_are_full(t, listener) && !cookie)) {
        t->counters.drop_backlog_full++;
        return;
    }
    if (syns_are_full(t, listener)) {
        cookie_send(a);
        return;
    }
    struct tcp_identity i = identity_of_child(a->meta);
    uint32_t iss = isn_make(t, a->now_us, &i);
    if (floor != NULL && !seq_after(iss, *floor))
        iss = *floor;
    if (child_new(t, a->now_us, listener, a->meta, &a->s, &iss) == NULL)
        t->counters.drop_table_full++;
    else
        a->result = TCP_INPUT_DONE;
}

/* Second, check for an ACK. One that a cookie was sent for would have been let in, had there been room. */
static void listen_ack(struct arrival *a)
{
    if (!cookie_is_good(a->t, a->now_us, a->meta, &a->s))
        arrives_closed(a);
    else if (accept_queue_is_full(a->c))
        a->t->counters.drop_backlog_full++;
    else
        a->t->counters.drop_table_full++;
}

void arrives_listen(struct arrival *a, const uint32_t *floor)
{
    struct tcp_conn *listener = a->c;
    if (a->s.flags & TCP_FLAG_RST) { /* first */
        a->t->counters.drop_no_connection++;
        return;
    }
    if (a->s.flags & TCP_FLAG_ACK) { /* second */
        listen_ack(a);
        return;
    }
    if (!(a->s.flags & TCP_FLAG_SYN)) { /* fourth */
        a->t->counters.drop_no_ack++;
        return;
    }
    open_passively(a, listener, floor);
}

/* Fourth, with an acceptable ACK: ESTABLISHED. */
static void open_established(struct arrival *a)
{
    struct tcp *t = a->t;
    struct tcp_conn *c = a->c;
    c->snd_una = a->s.ack;
    c->snd_nxt = c->snd_max;
    take_syn(t, c, a->now_us, &a->s);
    rtt_acked(t, c, a->now_us, &a->s);
    c->retransmits = 0;
    c->retransmit_at_us = c->unacked_at_us = 0;
    c->state = TCP_ESTABLISHED;
    c->flags |= TCP_CONN_ACK_NOW;
    conn_heard(c, a->now_us);
}

/* Fourth, without ACK: the other side opens at the same time. SYN-ACK goes out in place of our SYN. */
static void open_simultaneously(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    c->state = TCP_SYN_RECEIVED;
    c->snd_nxt = c->iss;
    c->retransmits = 0;
    c->retransmit_at_us = 0;
    c->rtt_start_us = 0;
    take_syn(a->t, c, a->now_us, &a->s);
}

/* True: the segment's text and FIN are still to be looked at (sixth step and on of the other states). */
bool arrives_syn_sent(struct arrival *a)
{
    struct tcp *t = a->t;
    struct tcp_conn *c = a->c;
    const struct segment *s = &a->s;
    bool ack = s->flags & TCP_FLAG_ACK;
    if (ack && (!seq_after(s->ack, c->iss) || seq_after(s->ack, c->snd_max))) { /* first */
        t->counters.drop_bad_ack++;
        reply_reset(t, a->meta, s);
        return false;
    }
    if (s->flags & TCP_FLAG_RST) { /* second */
        if (ack) {                 /* RFC 5961 3.2 too: only with an acceptable ACK */
            t->counters.resets_in++;
            conn_end(t, c, TCP_ERROR_REFUSED);
            a->result = TCP_INPUT_DONE;
        } else {
            t->counters.drop_no_ack++;
        }
        return false;
    }
    if (!(s->flags & TCP_FLAG_SYN)) { /* fifth; the third is security */
        t->counters.drop_no_ack++;
        return false;
    }
    a->result = TCP_INPUT_DONE;
    if (!ack) {
        open_simultaneously(a);
        return false;
    }
    open_established(a);
    return true;
}
