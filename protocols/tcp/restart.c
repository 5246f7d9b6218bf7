// SPDX-License-Identifier: BSD-2-Clause
/* A new incarnation of the host: blocks from the store are put back, peers of those that cannot be are told.
 * The blocks' checksums were verified by the host; their invariants are checked here. */
#include "protocols/tcp/tcp_internal.h"

static uint32_t most_or(uint32_t most, uint32_t size)
{
    return conn_size_is_valid(most) && most > size ? most : size;
}

/* Nothing grows before it is connected. */
static void restore_rings(struct tcp_conn *c, const struct tcp_conn *block)
{
    c->receive_size = c->receive_next_size = block->receive_size;
    c->send_size = c->send_next_size = block->send_size;
    c->receive_most = most_or(block->receive_most, block->receive_size);
    c->send_most = most_or(block->send_most, block->send_size);
}

static bool listener_is_sound(const struct tcp_conn *b)
{
    return b->state == TCP_LISTEN && b->identity.local_port != 0 && b->identity.remote_port == 0 &&
           ip_address_is_any(&b->identity.remote) && conn_size_is_valid(b->receive_size) &&
           conn_size_is_valid(b->send_size) && !b->closed_by_user && b->error == TCP_ERROR_NONE;
}

/* Nothing is acknowledged yet, so there is nothing to contradict: the attempt can go on. */
static bool syn_sent_is_sound(const struct tcp_conn *b)
{
    const struct tcp_identity *id = &b->identity;
    return b->state == TCP_SYN_SENT && id->local_port != 0 && id->remote_port != 0 &&
           (id->local.family == ADDRESS_IP4 || id->local.family == ADDRESS_IP6) &&
           id->remote.family == id->local.family && conn_size_is_valid(b->receive_size) &&
           conn_size_is_valid(b->send_size) && b->error == TCP_ERROR_NONE && !b->closed_by_user && !b->fin_sent &&
           b->snd_una == b->iss && b->snd_max - b->iss <= 1 && b->range_count == 0 && b->send_acked == 0 &&
           b->send_end <= b->send_size && b->receive_next == 0 && b->receive_consumed == 0;
}

static void restore_listener(struct tcp_conn *c, const struct tcp_conn *block, uint32_t connections)
{
    c->identity = block->identity;
    c->state = TCP_LISTEN;
    c->backlog = u32_min(block->backlog, connections);
    restore_rings(c, block);
    c->flags = block->flags & TCP_CONN_NODELAY;
    c->options = block->options;
    /* its children are gone: both counts start from zero */
}

/* The SYN goes out again at the next turn: its timer is overdue. Untrusted: block (who wrote the store may have been
 * taken over). What a SYN-ACK will say is not taken from it, what is taken has been looked at or cannot do harm. */
static void restore_syn_sent(struct tcp *t, struct tcp_conn *c, const struct tcp_conn *block)
{
    c->identity = block->identity;
    c->state = TCP_SYN_SENT;
    restore_rings(c, block);
    conn_init_send(t, c, block->iss);
    c->snd_max = block->snd_max;
    c->send_end = block->send_end;
    c->user_fin = block->user_fin != 0;
    c->options = block->options;
    c->flags = block->flags & (TCP_CONN_NODELAY | TCP_CONN_CORK | TCP_CONN_SYN_RESENT);
    c->soft_error = block->soft_error <= TCP_ERROR_PROHIBITED ? block->soft_error : 0;
    c->retransmits = block->retransmits;
    c->retransmitted = block->retransmitted;
    c->rto_us = u32_max(t->config.rto_min_us, u32_min(block->rto_us, t->config.rto_max_us));
    c->unacked_at_us = block->unacked_at_us < t->started_us ? block->unacked_at_us : t->started_us;
    c->retransmit_at_us = 1;
}

enum tcp_call_result tcp_restore(struct tcp *t, uint32_t index, const struct tcp_conn *block)
{
    bool listener = listener_is_sound(block);
    if (!listener && !syn_sent_is_sound(block))
        return TCP_CALL_BAD_STATE;
    const struct tcp_identity *id = &block->identity;
    if (index >= t->config.connections || t->side[index].used ||
        (listener ? demux_listener_conflicts(t, id)
                  : demux_conn(t, &id->local, id->local_port, &id->remote, id->remote_port) != TCP_NONE ||
                        time_wait_find(t, &id->local, id->local_port, &id->remote, id->remote_port) != TCP_NONE))
        return TCP_CALL_IN_USE;
    struct tcp_conn *c = conn_allocate_at(t, index);
    if (listener) {
        restore_listener(c, block, t->config.connections);
        t->cookies_until_us = t->started_us + COOKIE_LIFE_US; /* there may be cookies of the last incarnation */
    } else {
        restore_syn_sent(t, c, block);
    }
    demux_insert(t, index);
    conn_changed(t, c);
    return TCP_CALL_OK;
}

/* One RST may not be enough: the peer takes it only at its RCV.NXT (RFC 5961 3.2), which is snd_una if what
 * was in flight is lost, snd_max if all of it has arrived. Anything between is challenged, and the answer to
 * that is an RST that fits. */
bool tcp_reset_lost(struct tcp *t, const struct tcp_conn *block)
{
    if (block->state < TCP_SYN_RECEIVED || block->state > TCP_TIME_WAIT)
        return true;
    uint32_t wanted = block->snd_una == block->snd_max ? 1 : 2;
    if (t->reply_count + wanted > TCP_REPLIES)
        return false;
    struct tcp_reply r = {
        .source = block->identity.local,
        .destination = block->identity.remote,
        .source_port = block->identity.local_port,
        .destination_port = block->identity.remote_port,
        .seq = block->snd_max,
        .ack = block->rcv_nxt,
        .flags = TCP_FLAG_RST | TCP_FLAG_ACK,
        .timestamps = (block->flags & TCP_CONN_TIMESTAMPS) != 0,
        .ts_offset = block->ts_offset,
        .tsecr = block->ts_recent,
    };
    bool queued = reply_push(t, &r);
    r.seq = block->snd_una;
    return wanted == 1 ? queued : queued && reply_push(t, &r);
}
