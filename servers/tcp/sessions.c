// SPDX-License-Identifier: BSD-2-Clause
/* Between the engine's connections and the slots of sessions: what the application wrote goes to the engine, what the
 * engine changed goes to the store and, once that is committed, to the slot's words. */
#include <errno.h>
#include <string.h>

#include "servers/tcp/tcp_server.h"

static const int errno_of[] = {
    [TCP_ERROR_NONE] = 0,
    [TCP_ERROR_REFUSED] = ECONNREFUSED,
    [TCP_ERROR_RESET] = ECONNRESET,
    [TCP_ERROR_TIMED_OUT] = ETIMEDOUT,
    [TCP_ERROR_UNREACHABLE] = EHOSTUNREACH,
    [TCP_ERROR_ABORTED] = ECONNABORTED,
    [TCP_ERROR_NETWORK] = ENETUNREACH,
    [TCP_ERROR_PROTOCOL] = ENOPROTOOPT,
    [TCP_ERROR_PROHIBITED] = EACCES,
    [TCP_ERROR_PIPE] = EPIPE,
};

uint32_t tcp_endpoint_of(const struct tcp_server *s, uint32_t connection)
{
    return connection < CONNECTIONS_MAX ? s->endpoint_of[connection] - 1U : TRANSPORT_NONE;
}

/* ---- what the application says ---- */

/* Untrusted: words (from the application). A lie about its rings is passed over, and spoils its own payload only. */
static void rings_notified(struct transport *t, uint32_t connection, const struct slot_app *words)
{
    struct tcp *engine = tcp_server_of(t)->engine;
    const struct tcp_conn *c = tcp_conn_at(engine, connection);
    struct ring_shape said;
    if (words->receive_granted > c->receive_next_size)
        tcp_receive_granted(engine, connection, words->receive_granted);
    if (words->send_ring == 0)
        return;
    bool sound = ring_of_word(words->send_ring, c->send_most, &said);
    bool known = sound && said.next_size == c->send_next_size && said.turn == c->send_turn;
    if (!known && (!sound || !tcp_send_grown(engine, connection, &said)))
        t->counters.drop_send_ring++;
}

/* Untrusted: words (from the application). */
static void notified(struct transport *t, uint64_t now_us, uint32_t endpoint, const struct slot_app *words)
{
    struct tcp *engine = tcp_server_of(t)->engine;
    struct endpoint *e = &t->endpoint[endpoint];
    if (e->connection == TRANSPORT_NONE)
        return;
    const struct tcp_conn *c = tcp_conn_at(engine, e->connection);
    if (c->state == TCP_CLOSED) /* in this burst: its rings, that may have grown, are nobody's to judge */
        return;
    tcp_set_cork(engine, now_us, e->connection, (words->flags & SLOT_APP_CORK) != 0);
    rings_notified(t, e->connection, words);
    struct ring_shape ring = tcp_send_ring(c);
    uint32_t room = e->published.send_tail + ring_room(&ring, e->published.send_tail) - c->send_end;
    if (words->send_head - c->send_end > room) {
        t->counters.drop_send_head++;
    } else if (words->send_head != c->send_end) {
        e->send_end = words->send_head;
        tcp_send_available(engine, now_us, e->connection, words->send_head);
    }
    uint32_t unread = e->published.receive_head - c->receive_consumed;
    if (words->receive_tail - c->receive_consumed > unread)
        t->counters.drop_receive_tail++;
    else if (words->receive_tail != c->receive_consumed)
        tcp_receive_consumed(engine, now_us, e->connection, words->receive_tail);
    if (words->flags & SLOT_APP_SHUTDOWN)
        tcp_shutdown_send(engine, now_us, e->connection);
}

/* ---- the endpoint's end ---- */

static void close_connection(struct transport *t, uint64_t now_us, uint32_t endpoint)
{
    const struct endpoint *e = &t->endpoint[endpoint];
    if (e->connection == TRANSPORT_NONE)
        return;
    struct tcp *engine = tcp_server_of(t)->engine;
    bool listener = tcp_conn_at(engine, e->connection)->state == TCP_LISTEN;
    if (e->socket == 0) /* nobody ever had it: an end of stream would be a lie */
        tcp_abort(engine, now_us, e->connection);
    else
        tcp_close(engine, now_us, e->connection);
    if (!listener)
        return;
    for (uint32_t i = 0; i < t->endpoint_high; i++) { /* what nobody accepted goes with it */
        const struct endpoint *child = &t->endpoint[i];
        if ((child->flags & ENDPOINT_USED) && child->socket == 0 && child->listener == e->socket)
            endpoint_close(t, now_us, i);
    }
}

/* As after our own death: the peer hears of a reset, the slot's words say so, and the slot stays. */
static void orphaned(struct transport *t, uint64_t now_us, uint32_t endpoint)
{
    struct tcp_server *s = tcp_server_of(t);
    struct endpoint *e = &t->endpoint[endpoint];
    uint32_t connection = e->connection;
    if (connection != TRANSPORT_NONE) {
        tcp_words(s, endpoint);
        e->words.state |= SLOT_ERROR | SLOT_CLOSED;
        e->words.error = ECONNRESET;
        e->connection = TRANSPORT_NONE;
        s->endpoint_of[connection] = 0;
        tcp_abort(s->engine, now_us, connection);
    }
    tcp_held_put(s, endpoint);
}

/* Closed by the user and all acknowledged: what is left (FIN) carries no payload. */
static bool needs_slot(const struct transport *t, const struct endpoint *e)
{
    if (e->connection == TRANSPORT_NONE)
        return false;
    const struct tcp_conn *c = tcp_conn_at(((const struct tcp_server *)t)->engine, e->connection);
    return c->state != TCP_CLOSED && c->state != TCP_LISTEN && c->send_acked != c->send_end;
}

static void released(struct transport *t, const struct endpoint *e)
{
    struct tcp_server *s = tcp_server_of(t);
    if (e->connection == TRANSPORT_NONE) {
        store_erase(&s->store, TCP_STORE_HELD((uint32_t)(e - t->endpoint)));
        return;
    }
    if (needs_slot(t, e)) /* its session's memory goes away under it */
        tcp_abort(s->engine, t->now_us, e->connection);
    s->endpoint_of[e->connection] = 0;
    tcp_block_put(s, e->connection);
}

static uint32_t u16_of(uint32_t n)
{
    return n < UINT16_MAX ? n : UINT16_MAX;
}

static void figures(const struct transport *t, const struct endpoint *e, struct slot_figures *ret)
{
    if (e->connection == TRANSPORT_NONE)
        return;
    struct tcp_figures f;
    tcp_figures(((const struct tcp_server *)t)->engine, e->connection, &f);
    uint32_t kind = (f.scaled ? TCP_KIND_SCALED : 0) | (f.timestamps ? TCP_KIND_TIMESTAMPS : 0) |
                    (f.sack ? TCP_KIND_SACK : 0) | (f.ecn ? TCP_KIND_ECN : 0);
    *ret = (struct slot_figures){.tcp_kind = (uint32_t)f.state | (uint32_t)f.congestion << 4 |
                                             (uint32_t)f.retransmits << 8 |
                                             (uint32_t)f.receive_window_scale << 16 |
                                             (uint32_t)f.send_window_scale << 20 | kind << 24,
                                 .srtt_us = f.srtt_us,
                                 .rttvar_us = f.rttvar_us,
                                 .rto_us = f.rto_us,
                                 .cwnd = f.cwnd,
                                 .ssthresh = f.ssthresh,
                                 .retransmitted = f.retransmitted,
                                 .mss = u16_of(f.mss) | u16_of(f.rcv_mss) << 16};
}

static void address(const struct transport *t, const struct endpoint *e, struct message *ret)
{
    if (e->connection == TRANSPORT_NONE)
        return;
    const struct tcp_identity *id = &tcp_conn_at(((const struct tcp_server *)t)->engine, e->connection)->identity;
    ret->source = id->local;
    ret->source_port = id->local_port;
    ret->destination = id->remote;
    ret->destination_port = id->remote_port;
}

/* ---- what the engine changed ---- */

void tcp_block_put(struct tcp_server *s, uint32_t connection)
{
    const struct tcp_conn *c = tcp_conn_at(s->engine, connection);
    struct tcp_block *b = c->state == TCP_CLOSED ? NULL : store_begin(&s->store, TCP_STORE_CONNECTION(connection));
    if (b == NULL)
        return; /* erased when the engine reports it */
    uint32_t e = tcp_endpoint_of(s, connection);
    uint32_t used = (uint32_t)(offsetof(struct tcp_conn, range) + c->range_count * sizeof c->range[0]);
    memset(b, 0, offsetof(struct tcp_block, conn));
    memcpy(&b->conn, c, used);
    b->endpoint = e;
    if (e != TRANSPORT_NONE) {
        const struct endpoint *from = &s->transport.endpoint[e];
        b->socket = from->socket;
        b->listener = from->listener;
        b->options = from->options;
        b->session_generation = from->session_generation;
        b->ttl = from->ttl;
        b->traffic_class = from->traffic_class;
        b->tuning = from->tuning;
    }
    store_end(&s->store, TCP_STORE_CONNECTION(connection), (uint32_t)offsetof(struct tcp_block, conn) + used);
}

void tcp_held_put(struct tcp_server *s, uint32_t endpoint)
{
    const struct endpoint *e = &s->endpoint[endpoint];
    union tcp_stored stored;
    memset(&stored, 0, sizeof stored.held);
    stored.held = (struct tcp_held){.socket = e->socket,
                                    .session = e->session,
                                    .arena = e->arena,
                                    .slot = e->slot,
                                    .generation = e->generation,
                                    .listener = e->listener,
                                    .send_end = e->send_end,
                                    .words = e->words,
                                    .session_generation = e->session_generation};
    store_put_part(&s->store, TCP_STORE_HELD(endpoint), &stored, sizeof stored.held);
}

static uint32_t log2_of(uint32_t octets)
{
    return octets == 0 ? 0 : (uint32_t)__builtin_ctz(octets);
}

void tcp_words(struct tcp_server *s, uint32_t endpoint)
{
    const struct tcp *engine = s->engine;
    struct endpoint *e = &s->endpoint[endpoint];
    struct slot_words *w = &e->words;
    const struct tcp_conn *c = tcp_conn_at(engine, e->connection);
    struct tcp_figures f;
    tcp_figures(engine, e->connection, &f);
    struct ring_shape receive = tcp_receive_ring(c), send = tcp_send_ring(c);
    w->receive_ring = ring_word(&receive);
    w->rings_wanted = log2_of(f.send_wanted) | log2_of(f.receive_wanted) << 8;
    e->send_size = ring_room(&send, c->send_acked);
    w->send_tail = c->send_acked;
    w->receive_head = c->receive_next;
    if (c->state >= TCP_ESTABLISHED)
        w->state |= SLOT_CONNECTED;
    if (c->fin_received)
        w->state |= SLOT_FIN;
    if (c->error != TCP_ERROR_NONE) {
        w->state |= SLOT_ERROR;
        w->error = (uint32_t)errno_of[c->error];
    }
    if (tcp_send_drained(engine, e->connection))
        w->state |= SLOT_DRAINED;
    if (c->state == TCP_CLOSED)
        w->state |= SLOT_CLOSED;
}

/* A listener's connection that was there, and ended before the socket server heard of it: accept() gives it all the
 * same, as on Linux, and who has it hears of its end. This is the last moment at which there is an address to tell. */
static bool told_at_last(struct transport *t, uint32_t endpoint, const struct tcp_conn *c)
{
    const struct endpoint *e = &t->endpoint[endpoint];
    bool was_there = c->snd_una != c->iss;
    return was_there && e->listener != 0 && e->arena != TRANSPORT_NONE && !(e->flags & ENDPOINT_CLOSED) &&
           transport_notice_now(t, endpoint);
}

/* The engine is done with it; the endpoint stays until its user is, too: also over our death. */
static void connection_gone(struct transport *t, uint32_t endpoint, const struct tcp_conn *c)
{
    struct endpoint *e = &t->endpoint[endpoint];
    bool known = e->socket != 0 || ((e->flags & ENDPOINT_TOLD) && !(e->flags & ENDPOINT_ESTABLISHED)) ||
                 told_at_last(t, endpoint, c);
    e->connection = TRANSPORT_NONE;
    if (!known) { /* the socket server was not told of it, and need not be now */
        e->flags &= (uint16_t)~ENDPOINT_ESTABLISHED;
        e->flags |= ENDPOINT_CLOSED;
    }
    endpoint_try_release(t, endpoint);
    if ((e->flags & ENDPOINT_USED) && !(e->flags & ENDPOINT_CLOSED) && e->arena != TRANSPORT_NONE)
        tcp_held_put(tcp_server_of(t), endpoint);
}

static void connection_touched(struct tcp_server *s, uint32_t index)
{
    struct transport *t = &s->transport;
    const struct tcp_conn *c = tcp_conn_at(s->engine, index);
    uint32_t endpoint = tcp_endpoint_of(s, index);
    if (endpoint != TRANSPORT_NONE && t->endpoint[endpoint].arena != TRANSPORT_NONE) {
        struct endpoint *e = &t->endpoint[endpoint];
        tcp_words(s, endpoint);
        endpoint_dirty(t, endpoint, false);
        if (c->state >= TCP_ESTABLISHED && e->listener != 0 && e->socket == 0 &&
            !(e->flags & (ENDPOINT_TOLD | ENDPOINT_CLOSED)))
            endpoint_established(t, endpoint);
    }
    if (c->state == TCP_CLOSED) {
        s->endpoint_of[index] = 0;
        if (endpoint != TRANSPORT_NONE)
            connection_gone(t, endpoint, c);
        if (!tcp_farewell_begin(s, index))
            store_erase(&s->store, TCP_STORE_CONNECTION(index));
        return;
    }
    if (!tcp_is_named(s->engine, index) && !tcp_work_name(s, index)) {
        t->counters.reset_poison++;
        tcp_abort(s->engine, t->now_us, index); /* it is touched by that, and comes again */
    }
    if (endpoint != TRANSPORT_NONE)
        endpoint_try_release(t, endpoint);
    tcp_block_put(s, index);
}

/* A group is written whole: its records are one block of the store. */
void tcp_time_waits_put(struct tcp_server *s, uint32_t group)
{
    union tcp_stored stored;
    bool any = false;
    memset(&stored, 0, sizeof stored.time_wait);
    for (uint32_t i = 0; i < TCP_TIME_WAIT_GROUP; i++) {
        uint32_t record = group * TCP_TIME_WAIT_GROUP + i;
        if (record >= TCP_TIME_WAITS)
            break;
        stored.time_wait[i] = *tcp_time_wait_at(s->engine, record);
        any |= stored.time_wait[i].local.family != ADDRESS_NONE;
    }
    if (any)
        store_put_part(&s->store, TCP_STORE_TIME_WAITS(group), &stored, sizeof stored.time_wait);
    else
        store_erase(&s->store, TCP_STORE_TIME_WAITS(group));
}

/* Those that begin or end together are neighbours mostly: their group is written once. */
static bool time_waits_touched(struct tcp_server *s)
{
    uint32_t record, group = TRANSPORT_NONE;
    while (tcp_next_touched_time_wait(s->engine, &record)) {
        if (group != TRANSPORT_NONE && group != record / TCP_TIME_WAIT_GROUP)
            tcp_time_waits_put(s, group);
        group = record / TCP_TIME_WAIT_GROUP;
    }
    if (group != TRANSPORT_NONE)
        tcp_time_waits_put(s, group);
    return group != TRANSPORT_NONE;
}

bool tcp_touched(struct tcp_server *s)
{
    uint32_t index;
    bool did = time_waits_touched(s);
    while (tcp_next_touched(s->engine, &index) && index < CONNECTIONS_MAX) {
        connection_touched(s, index);
        did = true;
    }
    return did;
}

const struct transport_operations tcp_operations = {
    .protocol = 6,
    .session_transport = SESSION_TCP,
    .address = address,
    .request = tcp_request,
    .close = close_connection,
    .orphaned = orphaned,
    .notified = notified,
    .needs_slot = needs_slot,
    .released = released,
    .figures = figures,
};
