// SPDX-License-Identifier: BSD-2-Clause
/* A new incarnation of the host: blocks from the store are put back, in whatever order, peers of those that cannot be
 * are told. The blocks' checksums were verified by the host; restart_check.c says which contradict themselves. Of the
 * others what steers how fast things go is brought into its bounds here, times into the past and deadlines near; what
 * is not in the store, and what goes out first, is resume.c's.
 *
 * A connection counts in its listener until it was accepted. One whose listener was not put back yet is nobody's child
 * so long (struct tcp_side: orphan); it becomes one when the listener is put back. At the first tcp_poll() those that
 * have found none are on their own: in SYN-RECEIVED they end, else they go on, as accepted. */
#include "protocols/tcp/restart.h"
#include "protocols/tcp/congestion.h"

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

static void restore_listener(struct tcp_conn *c, const struct tcp_conn *block, uint32_t connections)
{
    c->identity = block->identity;
    c->state = TCP_LISTEN;
    c->backlog = u32_min(block->backlog, connections);
    restore_rings(c, block);
    c->flags = block->flags & TCP_CONN_NODELAY;
    c->options = block->options;
}

/* The SYN goes out again at the next turn, which is no timeout. Untrusted: block (who wrote the store may have been
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
}

/* ---- connections ---- */
static uint32_t u32_between(uint32_t least, uint32_t value, uint32_t most)
{
    return u32_max(least, u32_min(value, most));
}

/* It has happened. */
static uint64_t past(const struct tcp *t, uint64_t at_us)
{
    return at_us < t->started_us ? at_us : t->started_us;
}

/* It comes within `most_us`. */
static uint64_t deadline(const struct tcp *t, uint64_t at_us, uint64_t most_us)
{
    return at_us < t->started_us + most_us ? at_us : t->started_us + most_us;
}

/* Within 2^30 before `to`, or `otherwise`. */
static uint32_t behind(uint32_t seq, uint32_t to, uint32_t otherwise)
{
    return to - seq <= 1U << 30 ? seq : otherwise;
}

static void bound_congestion(const struct tcp *t, struct tcp_conn *c)
{
    uint32_t mss = conn_send_mss(c);
    c->cwnd = u32_between(mss, c->cwnd, CWND_MAX);
    c->ssthresh = u32_between(2 * mss, c->ssthresh, CWND_MAX);
    c->cwnd_acked = u32_min(c->cwnd_acked, CWND_MAX);
    c->cubic_w_max = u32_min(c->cubic_w_max, CWND_MAX);
    c->cubic_w_est = u32_min(c->cubic_w_est, CWND_MAX);
    c->cubic_prior = u32_min(c->cubic_prior, CWND_MAX);
    c->cubic_acked = u32_min(c->cubic_acked, CWND_MAX);
    c->cubic_k_ms = u32_min(c->cubic_k_ms, 1U << 21); /* the largest that cubic_root() gives */
    c->cubic_epoch_us = past(t, c->cubic_epoch_us);
    c->recover = behind(c->recover, c->snd_max, c->snd_una - 1);
    c->cwr_seq = behind(c->cwr_seq, c->snd_max, c->snd_una);
    c->duplicate_acks = 0;
}

static void bound_timing(const struct tcp *t, struct tcp_conn *c)
{
    c->srtt_us = u32_min(c->srtt_us, t->config.rto_max_us);
    c->rttvar_us = u32_min(c->rttvar_us, t->config.rto_max_us);
    c->rto_us = u32_between(t->config.rto_min_us, c->rto_us, t->config.rto_max_us);
    c->probes = (uint8_t)u32_min(c->probes, 30);
    c->ts_recent_at_us = past(t, c->ts_recent_at_us);
    c->received_at_us = past(t, c->received_at_us);
    c->unacked_at_us = past(t, c->unacked_at_us);
    c->challenge_at_us = deadline(t, c->challenge_at_us, TCP_CHALLENGE_GAP_US);
    c->rtt_start_us = 0; /* Karn: something goes out again */
    c->ack_at_us = 0;    /* an ACK goes out at once */
    c->ack_owed = 0;
    c->retransmit_at_us = deadline(t, c->retransmit_at_us, t->config.rto_max_us);
    if (c->state != TCP_FIN_WAIT_2 || !c->closed_by_user)
        c->state_at_us = 0;
    else
        c->state_at_us = deadline(t, c->state_at_us != 0 ? c->state_at_us : UINT64_MAX, TCP_ORPHAN_US);
    keepalive_restored(c, t->started_us);
    patience_restored(c, t->started_us);
}

/* Received, or held. */
static bool duplicate_is_sound(const struct tcp_conn *c)
{
    struct tcp_range d = c->duplicate;
    bool found = d.end - d.start <= 1U << 30 && c->rcv_nxt - d.end <= 1U << 30;
    for (uint32_t i = 0; i < c->range_count; i++)
        found |=
            !seq_before(d.start, c->range[i].start) && seq_before(d.start, d.end) && !seq_after(d.end, c->range[i].end);
    return found;
}

/* What was heard of the peer, and is owed to it. */
static void bound_receiving(const struct tcp *t, struct tcp_conn *c)
{
    uint32_t edge = seq_max(conn_right_edge(c), c->rcv_nxt);
    c->rcv_mss = u32_between(1, c->rcv_mss, conn_local_mss(t, c));
    c->snd_wl1 = behind(c->snd_wl1, edge, c->rcv_nxt - 1);
    c->snd_wl2 = behind(c->snd_wl2, c->snd_una, c->snd_una);
    c->last_ack_sent = behind(c->last_ack_sent, c->rcv_nxt, c->rcv_nxt);
    c->acks_owed = conn_is_synchronized(c) ? u32_min(c->acks_owed, TCP_ACKS_OWED_MAX) : 0; /* none to a mere SYN */
    c->sack_recent_count = u32_min(c->sack_recent_count, TCP_SACK_BLOCKS_MAX);
    if (!duplicate_is_sound(c))
        c->duplicate = (struct tcp_range){0, 0};
    c->soft_error = c->soft_error <= TCP_ERROR_PROHIBITED ? c->soft_error : TCP_ERROR_NONE;
}

#define KEPT_FLAGS                                                                                                     \
    (TCP_CONN_NODELAY | TCP_CONN_PERSIST | TCP_CONN_RECOVERY | TCP_CONN_LOSS | TCP_CONN_FIN_KNOWN |                    \
     TCP_CONN_WINDOW_SCALE | TCP_CONN_PASSIVE | TCP_CONN_SYN_RESENT | TCP_CONN_TIMESTAMPS | TCP_CONN_CORK |            \
     TCP_CONN_CORK_OVER | TCP_CONN_SACK | TCP_CONN_ECN | TCP_CONN_ECE | TCP_CONN_CWR | TCP_CONN_CWR_STATE |            \
     TCP_CONN_NOT_ECT)

static void restore_conn(struct tcp *t, struct tcp_conn *c, const struct tcp_conn *block)
{
    memcpy(c, block, offsetof(struct tcp_conn, range) + block->range_count * sizeof block->range[0]);
    c->flags &= KEPT_FLAGS;
    if (!(c->flags & TCP_CONN_ECN)) /* nothing would take them off */
        c->flags &= ~(uint32_t)(TCP_CONN_ECE | TCP_CONN_CWR | TCP_CONN_CWR_STATE);
    c->backlog = c->accept_queue = c->syn_received = 0;
    c->receive_most = most_or(block->receive_most, block->receive_next_size);
    c->send_most = most_or(block->send_most, block->send_next_size);
    c->mss = u32_min(c->mss, conn_local_mss(t, c));
    c->snd_sml = behind(c->snd_sml, c->snd_max, c->snd_una);
    bound_congestion(t, c);
    bound_timing(t, c);
    bound_receiving(t, c);
    c->flags |= TCP_CONN_ACK_NOW;
    resume_begin(t, c);
    child_restored(t, c);
}

enum tcp_call_result tcp_restore(struct tcp *t, uint32_t index, const struct tcp_conn *block)
{
    bool listener = block->state == TCP_LISTEN, attempt = block->state == TCP_SYN_SENT;
    bool sound = listener  ? listener_is_sound(block)
                 : attempt ? syn_sent_is_sound(block)
                           : conn_is_sound(t, index, block);
    if (!sound)
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
        listener_restored(t, c);
    } else if (attempt) {
        restore_syn_sent(t, c, block);
    } else {
        restore_conn(t, c, block);
    }
    demux_insert(t, index);
    conn_changed(t, c);
    return TCP_CALL_OK;
}

/* ---- those that are not put back ---- */

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
