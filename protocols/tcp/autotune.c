// SPDX-License-Identifier: BSD-2-Clause
/* How large the rings of a connection should be: no larger than its path needs, so that they stay in the cache.
 *
 * Theory of operation. A connection begins with small rings. What a ring should have is only said here (tcp_figures()):
 * memory is the user's, who grants it (tcp_receive_granted()) or grows the ring itself (tcp_send_grown()), or does not.
 * How a ring grows: ring.h.
 *
 * Receiving (dynamic right-sizing; Fisk and Feng 2001, as Linux tcp_rcv_space_adjust): a round is a round trip. What
 * the user has consumed in one is what the peer could send in it; for the window not to hold the peer up it has to be
 * twice that; and as the peer may double it in each of the next rounds (slow start), and a ring that grows does so
 * when the stream comes round to its beginning, four times that in a round that had twice as much as the one before. A
 * user who reads slowly consumes little, and gets no ring to leave data in.
 *
 * Sending (as Linux tcp_sndbuf_expand): the octets of a congestion window stay in the ring until they are acknowledged,
 * one round trip later, when those of the next window are to be there: twice the window. In slow start four times that,
 * and more once the user has filled the ring: it grows only when the stream has come round.
 *
 * Deviates from Linux: none of this while the ring as it is lets AUTOTUNE_PER_US through, by the least round trip that
 * was measured. On a short path a larger ring would only fill, with a longer queue behind a slower cache.
 *
 * Left out: a receiver that has no round-trip time at all (it took a cookie, and never sent) keeps its ring; nothing
 * shrinks. */
#include "protocols/tcp/tcp_internal.h"

#define AUTOTUNE_PER_US 250U /* octets: 2 Gbit/s. A ring of 256 KiB stays as it is on a path of up to 1 ms */

static bool path_is_short(const struct tcp_autotune *tune, uint32_t size)
{
    return tune->rtt_us == 0 || tune->rtt_us < size / AUTOTUNE_PER_US;
}

/* The power of two for `octets` of a ring that has `size` and may have `most`; 0: there is nothing to be done. */
static uint32_t size_for(uint64_t octets, uint32_t size, uint32_t most)
{
    uint32_t wanted = size;
    while (wanted < octets && wanted < most)
        wanted *= 2;
    return wanted > size ? wanted : 0;
}

static struct tcp_autotune *tune_of(const struct tcp *t, const struct tcp_conn *c)
{
    return &t->sender[conn_index(t, c)].autotune;
}

void autotune_measured(const struct tcp *t, const struct tcp_conn *c, uint32_t rtt_us)
{
    struct tcp_autotune *tune = tune_of(t, c);
    if (tune->rtt_us == 0 || rtt_us < tune->rtt_us)
        tune->rtt_us = rtt_us;
}

/* The ring should have room for a window that is going to be. Before anything was lost nobody knows it: a user who
 * fills the ring is given more, so that it is there when the stream has come round. */
static uint64_t send_octets(const struct tcp_conn *c)
{
    uint64_t window = c->cwnd;
    if (c->cwnd >= c->ssthresh)
        return 2 * window;
    bool full = c->send_end - c->send_acked > c->send_next_size / 2;
    return full && 8 * window < c->send_next_size ? c->send_next_size + 1ULL : 8 * window;
}

/* New data was acknowledged, or written. */
void autotune_send(struct tcp *t, const struct tcp_conn *c)
{
    struct tcp_autotune *tune = tune_of(t, c);
    tune->send_wanted = 0;
    if (c->send_next_size >= c->send_most || path_is_short(tune, c->send_next_size))
        return;
    tune->send_wanted = size_for(send_octets(c), c->send_next_size, c->send_most);
}

/* The user has consumed more. */
void autotune_consumed(struct tcp *t, uint64_t now_us, const struct tcp_conn *c)
{
    struct tcp_autotune *tune = tune_of(t, c);
    if (c->receive_next_size >= c->receive_most)
        tune->receive_wanted = 0;
    if (c->receive_next_size >= c->receive_most || path_is_short(tune, c->receive_next_size) ||
        (tune->round_us != 0 && now_us - tune->round_us < tune->rtt_us))
        return;
    if (tune->round_us != 0) {
        uint32_t copied = c->receive_consumed - tune->round_consumed;
        uint32_t more = copied > tune->copied ? copied - tune->copied : 0;
        uint64_t wanted = 2 * ((uint64_t)copied + 3 * (uint64_t)u32_min(more, copied));
        tune->receive_wanted = size_for(wanted, c->receive_next_size, c->receive_most);
        tune->copied = copied;
    }
    tune->round_us = now_us;
    tune->round_consumed = c->receive_consumed;
}

static bool limit_is_valid(uint32_t most, uint32_t next_size)
{
    return ring_size_is_valid(most) && most >= next_size;
}

void tcp_ring_limits(struct tcp *t, uint32_t index, uint32_t receive_most, uint32_t send_most)
{
    struct tcp_conn *c = index < t->config.connections ? &t->conn[index] : NULL;
    if (c == NULL || c->state == TCP_CLOSED || !limit_is_valid(receive_most, c->receive_next_size) ||
        !limit_is_valid(send_most, c->send_next_size))
        return;
    c->receive_most = receive_most;
    c->send_most = send_most;
    conn_touched(t, c);
}

void tcp_receive_granted(struct tcp *t, uint32_t index, uint32_t octets)
{
    struct tcp_conn *c = index < t->config.connections ? &t->conn[index] : NULL;
    if (c == NULL || !conn_is_synchronized(c) || octets > c->receive_most)
        return;
    struct tcp_autotune *tune = tune_of(t, c);
    uint32_t edge = seq_max(conn_right_edge(c), c->rcv_adv) - c->irs - 1;
    struct ring_shape ring = tcp_receive_ring(c);
    if (tune->receive_wanted == 0 || !ring_grow(&ring, octets, edge))
        return;
    c->receive_next_size = ring.next_size;
    c->receive_turn = ring.turn;
    if (tune->receive_wanted <= octets)
        tune->receive_wanted = 0;
    t->counters.rings_grown++;
    conn_touched(t, c);
}

bool tcp_send_grown(struct tcp *t, uint32_t index, const struct ring_shape *shape)
{
    struct tcp_conn *c = index < t->config.connections ? &t->conn[index] : NULL;
    if (c == NULL || !conn_is_synchronized(c))
        return false;
    struct ring_shape ring = tcp_send_ring(c);
    if (ring_settle(&ring, c->send_acked)) { /* its turn was where the stream began: nothing had to be acknowledged */
        c->send_size = ring.size;
        conn_touched(t, c);
    }
    bool before = (int32_t)(shape->turn - c->send_end) < 0 || shape->turn - c->send_end > 2 * ring.size;
    if (before || shape->next_size > c->send_most || !ring_grow(&ring, shape->next_size, shape->turn) ||
        ring.turn != shape->turn)
        return false;
    if (shape->size != ring.size &&
        (!ring_settle(&ring, c->send_acked) || shape->size != ring.size)) /* over already? */
        return false;
    c->send_size = ring.size;
    c->send_next_size = ring.next_size;
    c->send_turn = ring.turn;
    tune_of(t, c)->send_wanted = 0;
    t->counters.rings_grown++;
    conn_touched(t, c);
    return true;
}
