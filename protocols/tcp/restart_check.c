// SPDX-License-Identifier: BSD-2-Clause
/* Is a block from the store one that the engine could have written? Its checksum is right, but who wrote it may have
 * been taken over, or have lost control of a pointer before the sum was made. So each field that an octet's place, a
 * loop, a timer or another field hangs on is looked at here: one function for each group of fields; what contradicts
 * itself is not put back. What only steers how fast things go is not refused but brought into its bounds (restart.c).
 *
 * What cannot be told from nonsense is left: a TS.Recent or an RCV.NXT that no peer ever said. Such a connection ends
 * by its timers, and nobody else is concerned. */
#include "protocols/tcp/restart.h"

static bool pair_is_sound(const struct tcp_identity *id)
{
    return id->local_port != 0 && id->remote_port != 0 &&
           (id->local.family == ADDRESS_IP4 || id->local.family == ADDRESS_IP6) &&
           id->remote.family == id->local.family && !ip_address_is_any(&id->local) && !ip_address_is_any(&id->remote);
}

static bool ring_is_sound(struct ring_shape ring, uint32_t tail)
{
    if (!ring_size_is_valid(ring.size) || !ring_size_is_valid(ring.next_size) || ring.size > ring.next_size ||
        ring.turn % RING_STEP != 0)
        return false;
    return !ring_grows(&ring) || ring.turn - tail <= 2 * ring.size; /* the turn is not behind, and comes */
}

static bool rings_are_sound(const struct tcp_conn *b)
{
    return ring_is_sound(tcp_send_ring(b), b->send_acked) && ring_is_sound(tcp_receive_ring(b), b->receive_consumed);
}

/* What the user closed, and what of it went out. */
static bool fin_is_sound(const struct tcp_conn *b)
{
    bool out =
        b->state == TCP_FIN_WAIT_1 || b->state == TCP_FIN_WAIT_2 || b->state == TCP_CLOSING || b->state == TCP_LAST_ACK;
    bool one_bit = (b->user_fin | b->fin_sent | b->closed_by_user | b->fin_received | b->accept_pending) <= 1;
    return one_bit && b->fin_sent == out && b->user_fin >= b->fin_sent && b->user_fin >= b->closed_by_user;
}

/* send_acked <= snd_una <= snd_nxt <= snd_max <= all that there is to send. */
static bool send_is_sound(const struct tcp_conn *b)
{
    struct ring_shape ring = tcp_send_ring(b);
    uint32_t end = conn_send_fin_seq(b) + b->fin_sent, out = b->snd_max - b->snd_una;
    uint32_t acked = conn_fin_acked(b) ? b->send_end : b->snd_una - b->iss - 1;
    if (b->send_end - b->send_acked > ring_room(&ring, b->send_acked))
        return false;
    if (b->state == TCP_SYN_RECEIVED)
        return b->snd_una == b->iss && b->send_acked == 0 && b->snd_nxt - b->iss <= out && out <= 1;
    bool came_round =
        b->snd_una == b->iss && acked - b->send_acked <= ring.next_size; /* conn_refresh_offsets() waits */
    if (b->send_acked != acked && !came_round)
        return false;
    return b->snd_nxt - b->snd_una <= out && out <= end - b->snd_una && (!b->fin_sent || b->snd_max == end) &&
           conn_fin_acked(b) == (b->state == TCP_FIN_WAIT_2);
}

/* receive_consumed <= rcv_nxt <= the end of the ring; the edge that was advertised lies in it. */
static bool receive_is_sound(const struct tcp_conn *b)
{
    struct ring_shape ring = tcp_receive_ring(b);
    bool in = b->state == TCP_CLOSE_WAIT || b->state == TCP_CLOSING || b->state == TCP_LAST_ACK;
    uint32_t room = ring_room(&ring, b->receive_consumed), edge = conn_right_edge(b);
    if (b->receive_next != b->rcv_nxt - b->irs - 1 - b->fin_received || b->receive_next - b->receive_consumed > room)
        return false;
    if (b->state == TCP_SYN_RECEIVED && (b->receive_next != 0 || b->receive_consumed != 0))
        return false;
    return b->fin_received == in && !seq_after(b->rcv_adv, edge) && edge - b->rcv_adv <= 2 * (uint64_t)ring.next_size;
}

/* Sorted, disjoint, not adjacent, above rcv_nxt, within the ring. */
static bool ranges_are_sound(const struct tcp_conn *b)
{
    uint32_t at = 0, most = conn_right_edge(b) - b->rcv_nxt;
    if (b->range_count > TCP_RANGES_MAX || (b->range_count > 0 && (b->fin_received || b->state == TCP_SYN_RECEIVED)))
        return false;
    for (uint32_t i = 0; i < b->range_count; i++) {
        uint32_t start = b->range[i].start - b->rcv_nxt, end = b->range[i].end - b->rcv_nxt;
        if (start <= at || end <= start || end > most)
            return false;
        at = end;
    }
    return true;
}

/* The peer's FIN, once it is known: behind all text. */
static bool fin_seq_is_sound(const struct tcp_conn *b)
{
    bool known = b->flags & TCP_CONN_FIN_KNOWN;
    if (!known || b->fin_received)
        return known == b->fin_received && (!known || b->rcv_nxt == b->fin_seq + 1);
    uint32_t last = b->range_count > 0 ? b->range[b->range_count - 1].end - b->rcv_nxt : 1;
    uint32_t at = b->fin_seq - b->rcv_nxt;
    return b->state != TCP_SYN_RECEIVED && at >= last && at <= conn_right_edge(b) - b->rcv_nxt;
}

static bool windows_are_sound(const struct tcp_conn *b)
{
    uint32_t most = (uint32_t)UINT16_MAX << TCP_WINDOW_SCALE_MAX;
    bool scaled = b->flags & TCP_CONN_WINDOW_SCALE;
    return b->send_window_scale <= TCP_WINDOW_SCALE_MAX && b->receive_window_scale <= TCP_WINDOW_SCALE_MAX &&
           (scaled || (b->send_window_scale == 0 && b->receive_window_scale == 0)) && b->snd_wnd <= most &&
           b->snd_wnd <= b->snd_wnd_max && b->snd_wnd_max <= most;
}

static bool segments_are_sound(const struct tcp_conn *b)
{
    return b->mss >= TCP_MSS_MIN && b->mss <= TCP_SUPER_SEGMENT_MAX;
}

/* A child counts in its listener. */
static bool child_is_sound(const struct tcp *t, uint32_t index, const struct tcp_conn *b)
{
    bool passive = b->flags & TCP_CONN_PASSIVE;
    if (b->accept_pending && (!passive || b->state == TCP_SYN_RECEIVED))
        return false;
    return !conn_is_child(b) || (b->listener < t->config.connections && b->listener != index);
}

bool conn_is_sound(const struct tcp *t, uint32_t index, const struct tcp_conn *b)
{
    return b->state >= TCP_SYN_RECEIVED && b->state <= TCP_LAST_ACK && b->error == TCP_ERROR_NONE &&
           pair_is_sound(&b->identity) && rings_are_sound(b) && fin_is_sound(b) && send_is_sound(b) &&
           receive_is_sound(b) && ranges_are_sound(b) && fin_seq_is_sound(b) && windows_are_sound(b) &&
           segments_are_sound(b) && child_is_sound(t, index, b);
}

bool listener_is_sound(const struct tcp_conn *b)
{
    return b->state == TCP_LISTEN && b->identity.local_port != 0 && b->identity.remote_port == 0 &&
           ip_address_is_any(&b->identity.remote) && conn_size_is_valid(b->receive_size) &&
           conn_size_is_valid(b->send_size) && !b->closed_by_user && b->error == TCP_ERROR_NONE;
}

/* Nothing is acknowledged yet, so there is nothing to contradict: the attempt can go on. */
bool syn_sent_is_sound(const struct tcp_conn *b)
{
    const struct tcp_identity *id = &b->identity;
    return b->state == TCP_SYN_SENT && id->local_port != 0 && id->remote_port != 0 &&
           (id->local.family == ADDRESS_IP4 || id->local.family == ADDRESS_IP6) &&
           id->remote.family == id->local.family && conn_size_is_valid(b->receive_size) &&
           conn_size_is_valid(b->send_size) && b->error == TCP_ERROR_NONE && !b->closed_by_user && !b->fin_sent &&
           b->snd_una == b->iss && b->snd_max - b->iss <= 1 && b->range_count == 0 && b->send_acked == 0 &&
           b->send_end <= b->send_size && b->receive_next == 0 && b->receive_consumed == 0;
}
