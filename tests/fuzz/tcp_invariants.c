// SPDX-License-Identifier: BSD-2-Clause
#include "tests/fuzz/tcp_invariants.h"

#include "protocols/tcp/recovery.h"
#include "tests/fuzz/fuzz.h"

/* ---- connections, timers, tables ---- */
/* As ring.h says: [tail, tail + octets) is live. The tail of a growth that began when nothing was is at its turn. */
static void check_ring(const struct ring_shape *r, uint32_t most, uint32_t tail, uint32_t octets)
{
    check(ring_size_is_valid(r->size) && ring_size_is_valid(r->next_size));
    check(r->size <= r->next_size && r->next_size <= most && r->turn % RING_STEP == 0);
    check(octets <= ring_room(r, tail) && (!ring_grows(r) || !seq_after(tail, r->turn)));
}

static void check_conn(const struct tcp_conn *c)
{
    if (c->state < TCP_SYN_SENT)
        return;
    struct ring_shape send = tcp_send_ring(c), receive = tcp_receive_ring(c);
    check_ring(&send, c->send_most, c->send_acked, c->send_end - c->send_acked);
    check(!seq_before(c->snd_nxt, c->snd_una) && !seq_before(c->snd_max, c->snd_nxt));
    check(c->range_count <= TCP_RANGES_MAX);
    check(conn_send_mss(c) >= TCP_MSS_MIN - TIMESTAMPS_OCTETS && conn_send_mss(c) <= TCP_SUPER_SEGMENT_MAX);
    check(c->rto_us > 0 && c->receive_window_scale <= 14 && c->send_window_scale <= 14);
    if (c->state == TCP_SYN_SENT)
        return;
    check_ring(&receive, c->receive_most, c->receive_consumed, c->receive_next - c->receive_consumed);
    check(c->range_count == 0 || c->range[c->range_count - 1].end - c->irs - 1 - c->receive_consumed <=
                                     ring_room(&receive, c->receive_consumed));
    check(c->sack_recent_count <= sizeof c->sack_recent / sizeof c->sack_recent[0]);
    check(!seq_after(c->duplicate.start, c->duplicate.end));
    check(c->cwnd > 0 && c->ssthresh > 0);
    for (uint32_t i = 0; i < c->range_count; i++) {
        check(seq_after(c->range[i].start, i == 0 ? c->rcv_nxt : c->range[i - 1].end));
        check(seq_after(c->range[i].end, c->range[i].start) && !seq_after(c->range[i].end, conn_right_edge(c)));
    }
}

static uint64_t deadline_of(const struct tcp *t, const struct tcp_conn *c)
{
    const struct tcp_sender *s = &t->sender[conn_index(t, c)];
    const uint64_t at[] = {c->retransmit_at_us, c->ack_at_us,      c->state_at_us,
                           c->keep_at_us,       s->recovery_at_us, s->pace_at_us};
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < sizeof at / sizeof at[0]; i++)
        if (at[i] != 0 && at[i] < first)
            first = at[i];
    return first;
}

static void check_heap(const struct tcp *t)
{
    for (uint32_t i = 0; i < t->heap_count; i++) {
        check(t->side[t->heap[i].index].heap_position == i);
        check(i == 0 || t->heap[(i - 1) / 2].at_us <= t->heap[i].at_us);
    }
    for (uint32_t i = 0; i < t->fresh; i++) {
        uint64_t at_us = deadline_of(t, &t->conn[i]);
        uint32_t position = t->side[i].heap_position;
        check(t->conn[i].state != TCP_CLOSED || (position == TCP_NONE && at_us == UINT64_MAX));
        check(position == TCP_NONE ? at_us == UINT64_MAX : position < t->heap_count);
        check(position == TCP_NONE || t->heap[position].at_us <= at_us);
    }
}

static void check_accounts(const struct tcp *t)
{
    uint32_t syn_received[CONNECTIONS] = {0}, accept_queue[CONNECTIONS] = {0}, used = 0, syns = 0;
    for (uint32_t i = 0; i < t->fresh; i++) {
        const struct tcp_conn *c = &t->conn[i];
        used += t->side[i].used;
        check(t->side[i].used || c->state == TCP_CLOSED);
        if (!conn_is_child(c))
            continue;
        check(c->listener < CONNECTIONS && t->conn[c->listener].state == TCP_LISTEN);
        syns += c->state == TCP_SYN_RECEIVED;
        *(c->accept_pending ? &accept_queue[c->listener] : &syn_received[c->listener]) += 1;
    }
    check(used + t->free.count == t->fresh && syns == t->syn_received);
    for (uint32_t i = 0; i < t->fresh; i++)
        check(t->conn[i].state != TCP_LISTEN ||
              (t->conn[i].syn_received == syn_received[i] && t->conn[i].accept_queue == accept_queue[i]));
    const struct tcp_time_waits *w = &t->time_wait;
    check(w->live.count + w->free.count == w->fresh);
    uint64_t last = 0;
    for (uint32_t r = w->live.head; r != TCP_NONE; r = w->side[r].list_next) {
        const struct tcp_time_wait *x = &w->record[r];
        check(x->ends_at_us >= last);
        last = x->ends_at_us;
        check(time_wait_find(t, &x->local, x->local_port, &x->remote, x->remote_port) == r);
        check(demux_conn(t, &x->local, x->local_port, &x->remote, x->remote_port) == TCP_NONE);
    }
}

/* ---- the scoreboard ---- */
static uint32_t check_in_order(const struct tcp *t, const struct tcp_conn *c)
{
    const struct tcp_scoreboard *b = board_of(t, c);
    uint32_t count = 0, in_flight = 0, sacked = 0, lost = 0, going = 0, last = 0;
    bool own = false, sack_hint = b->sack_hint == 0, lost_hint = b->lost_hint == 0, lost_before = false;
    for (uint32_t at = b->first; at != 0; at = flight_at(t, at)->next) {
        const struct tcp_flight *f = flight_at(t, at), *prev = flight_at(t, f->prev);
        uint32_t octets = f->end - f->start;
        check(at <= t->flight_fresh && count++ < t->config.flights && f->prev == last);
        check(seq_before(f->start, f->end) && f->sends > 0 && f->mss > 0);
        check(!seq_before(f->start, prev != NULL ? prev->end : c->snd_una) && !seq_after(f->end, c->snd_max));
        check(f->flags == 0 || f->flags == TCP_FLIGHT_SACKED || f->flags == TCP_FLIGHT_LOST);
        check(at - 1 >= t->config.connections || at - 1 == conn_index(t, c));
        *(f->flags == TCP_FLIGHT_SACKED ? &sacked : f->flags == TCP_FLIGHT_LOST ? &lost : &in_flight) += octets;
        own |= at - 1 == conn_index(t, c);
        going += f->flags == 0;
        sack_hint |= at == b->sack_hint;
        lost_hint |= at == b->lost_hint;
        lost_before |= f->flags == TCP_FLIGHT_LOST && !lost_hint;
        last = at;
    }
    check(b->last == last && b->count == count && b->own == own && sack_hint && lost_hint && !lost_before);
    check(b->in_flight == in_flight && b->sacked == sacked && b->lost == lost);
    return going;
}

/* Records of the shared pool that the connection has. */
static uint32_t check_scoreboard(const struct tcp *t, const struct tcp_conn *c)
{
    const struct tcp_scoreboard *b = board_of(t, c);
    uint32_t going = check_in_order(t, c), count = 0, last = 0;
    for (uint32_t at = b->oldest; at != 0; at = flight_at(t, at)->newer) {
        check(count++ < going && flight_at(t, at)->flags == 0 && flight_at(t, at)->older == last);
        last = at;
    }
    check(count == going && b->newest == last);
    check(b->count == 0 || (c->state >= TCP_SYN_RECEIVED && (c->flags & TCP_CONN_SACK) != 0));
    check(b->count == 0 || seq_before(c->snd_una, c->snd_max));
    return b->count - b->own;
}

static void check_flights(const struct tcp *t)
{
    uint32_t used = 0, spare = 0;
    for (uint32_t i = 0; i < t->fresh; i++) {
        const struct tcp_sender *s = &t->sender[i];
        used += check_scoreboard(t, &t->conn[i]);
        check(t->conn[i].state >= TCP_SYN_SENT ||
              (s->board.count == 0 && s->recovery_at_us == 0 && s->pace_at_us == 0));
    }
    for (uint32_t at = t->flight_free; at != TCP_NONE; at = t->flight[at].next) {
        check(at >= t->config.connections && at < t->flight_fresh && t->flight[at].end == t->flight[at].start);
        check(spare++ < t->config.flights);
    }
    check(t->flight_fresh >= t->config.connections && t->flight_fresh <= t->config.flights);
    check(used + spare == t->flight_fresh - t->config.connections);
}

void check_engine(const struct tcp *t)
{
    for (uint32_t i = 0; i < t->fresh; i++)
        check_conn(&t->conn[i]);
    check_heap(t);
    check_accounts(t);
    check_flights(t);
}
