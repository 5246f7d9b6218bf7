// SPDX-License-Identifier: BSD-2-Clause
/* A new incarnation. Listeners, connections and TIME-WAITs go on from their blocks. One whose block fails its checksum
 * or its invariants is lost, alone (and all are, but listeners, if the stack was started to recover no more than
 * those): the application is told by its slot's words: the endpoint stays without a connection, in a block of its own,
 * and its slot is given to nobody else until the user closes it (or is found not to own it). The peer is told by an
 * RST, and only in the burst after that the connection's block ends: a death on the way tells it again, which does no
 * harm. Until all are told no input is taken, so that no new connection gets the index of a block that still counts:
 * what ip sends meanwhile is kept (packets.c). */
#include <errno.h>

#include "servers/tcp/tcp_server.h"

static bool goes_on(const struct tcp_server *s, const struct tcp_block *b)
{
    if (b->ended)
        return false;
    return s->transport.context->config->recovery == STACK_RECOVERY_RESUME || b->conn.state == TCP_LISTEN ||
           b->conn.state == TCP_SYN_SENT;
}

/* What a connection without an endpoint still does, it does without a byte of its user's. */
static bool goes_on_alone(const struct tcp_block *b)
{
    const struct tcp_conn *c = &b->conn;
    bool young = c->state == TCP_SYN_RECEIVED && c->identity.arena == UINT32_MAX;
    return b->endpoint == TRANSPORT_NONE && (young || (c->closed_by_user && c->send_acked == c->send_end));
}

/* What is acknowledged has its place in the arena. */
static bool rings_fit(const struct session_arena *a, const struct tcp_conn *c)
{
    return a == NULL || (c->receive_size <= a->receive_most && c->receive_next_size <= a->receive_most &&
                         c->send_size <= a->send_most && c->send_next_size <= a->send_most);
}

static bool slot_again(struct transport *t, uint32_t index, const struct tcp_conn *c)
{
    struct endpoint *e = &t->endpoint[index];
    e->arena = c->identity.arena;
    e->slot = c->identity.slot;
    e->generation = c->identity.generation;
    if (rings_fit(slot_arena(t, e), c) && slot_restore(t, index))
        return true;
    e->arena = TRANSPORT_NONE;
    return false;
}

/* The endpoint of a connection or listener, as its block has it. TRANSPORT_NONE: it cannot be. */
static uint32_t endpoint_again(struct tcp_server *s, const struct tcp_block *b)
{
    struct transport *t = &s->transport;
    const struct tcp_identity *id = &b->conn.identity;
    bool named = endpoint_nobodys_socket(t, b->socket);
    bool nobodys = b->socket == 0 && b->conn.state != TCP_LISTEN && (b->conn.closed_by_user || b->listener != 0);
    if (id->session >= SESSIONS_MAX || b->endpoint >= TCP_ENDPOINTS || !(named || nobodys))
        return TRANSPORT_NONE;
    if (!transport_session_same(t, id->session, b->session_generation)) {
        t->counters.drop_block_stale++;
        return TRANSPORT_NONE;
    }
    uint32_t index = endpoint_new(t, id->session, b->socket, b->endpoint);
    if (index == TRANSPORT_NONE)
        return TRANSPORT_NONE;
    if (index != b->endpoint || (b->conn.state != TCP_LISTEN && !slot_again(t, index, &b->conn))) {
        endpoint_release(t, index);
        return TRANSPORT_NONE;
    }
    struct endpoint *e = &t->endpoint[index];
    e->session_generation = b->session_generation;
    e->listener = b->listener;
    e->send_end = b->conn.send_end;
    e->options = b->options;
    e->ttl = b->ttl;
    e->traffic_class = b->traffic_class;
    e->tuning = b->tuning;
    if (b->conn.closed_by_user)
        e->flags |= ENDPOINT_CLOSED;
    else if (b->socket == 0 && b->conn.state >= TCP_ESTABLISHED) /* our list says so again */
        e->flags |= ENDPOINT_TOLD;
    return index;
}

static bool restore(struct tcp_server *s, uint32_t index, const struct tcp_block *b)
{
    struct transport *t = &s->transport;
    uint32_t e = TRANSPORT_NONE;
    if (!goes_on_alone(b)) {
        e = endpoint_again(s, b);
        if (e == TRANSPORT_NONE)
            return false;
    }
    if (tcp_restore(s->engine, index, &b->conn) != TCP_CALL_OK) {
        if (e != TRANSPORT_NONE)
            endpoint_release(t, e);
        return false;
    }
    t->counters.restored++;
    (void)tcp_work_name(s, index); /* poison is not put back */
    if (e == TRANSPORT_NONE)
        return true;
    const struct session_arena *a = slot_arena(t, &t->endpoint[e]);
    t->endpoint[e].connection = index;
    s->endpoint_of[index] = (uint16_t)(e + 1);
    if (a != NULL) /* no growth beyond it */
        tcp_ring_limits(s->engine, index, a->receive_most, a->send_most);
    if (b->conn.state != TCP_LISTEN)
        tcp_words(s, e);
    t->endpoint[e].published = t->endpoint[e].words;
    endpoint_dirty(t, e, true);
    return true;
}

/* An endpoint that keeps its slot without a connection. TRANSPORT_NONE: it cannot be. */
static uint32_t hold(struct tcp_server *s, uint32_t wanted, const struct tcp_held *held)
{
    struct transport *t = &s->transport;
    bool knowable = held->session < SESSIONS_MAX && held->arena < SESSION_ARENAS &&
                    transport_session_same(t, held->session, held->session_generation);
    if (held->socket != 0)
        knowable = knowable && endpoint_nobodys_socket(t, held->socket);
    uint32_t index = knowable ? endpoint_new(t, held->session, held->socket, wanted) : TRANSPORT_NONE;
    if (index == TRANSPORT_NONE)
        return TRANSPORT_NONE;
    struct endpoint *e = &t->endpoint[index];
    e->arena = held->arena;
    e->slot = held->slot;
    e->generation = held->generation;
    if (!slot_restore(t, index)) {
        e->arena = TRANSPORT_NONE;
        endpoint_release(t, index);
        return TRANSPORT_NONE;
    }
    e->session_generation = held->session_generation;
    e->listener = held->listener;
    e->send_end = held->send_end;
    e->words = held->words;
    endpoint_dirty(t, index, true);
    return index;
}

/* Of a connection that does not go on. Its slot is its user's as long as there is one. */
static void hold_lost(struct tcp_server *s, const struct tcp_block *b)
{
    const struct tcp_identity *id = &b->conn.identity;
    if (b->endpoint >= TCP_ENDPOINTS || b->conn.closed_by_user || id->arena >= SESSION_ARENAS)
        return;
    const struct endpoint *e = &s->endpoint[b->endpoint];
    if ((e->flags & ENDPOINT_USED) && e->session == id->session && e->generation == id->generation &&
        e->session_generation == b->session_generation)
        return; /* held since an earlier death; only its peer was not told yet */
    struct tcp_held held = {.socket = b->socket,
                            .session = id->session,
                            .arena = id->arena,
                            .slot = id->slot,
                            .generation = id->generation,
                            .listener = b->listener,
                            .send_end = b->conn.send_end,
                            .words = {.send_tail = b->conn.send_acked, .receive_head = b->conn.receive_next},
                            .session_generation = b->session_generation};
    const struct ring_shape ring = tcp_receive_ring(&b->conn);
    held.words.receive_ring =
        ring_size_is_valid(ring.size) && ring_size_is_valid(ring.next_size) ? ring_word(&ring) : 0;
    held.words.state = SLOT_ERROR | SLOT_CLOSED;
    held.words.error = ECONNRESET;
    uint32_t index = hold(s, b->endpoint, &held);
    if (index != TRANSPORT_NONE)
        tcp_held_put(s, index);
}

/* False: it ends here. */
static bool held_again(struct tcp_server *s, uint32_t endpoint, const struct tcp_held *held)
{
    struct transport *t = &s->transport;
    if (held->session < SESSIONS_MAX && !transport_session_same(t, held->session, held->session_generation))
        t->counters.drop_block_stale++;
    uint32_t index = hold(s, endpoint, held);
    if (index != TRANSPORT_NONE && index != endpoint) /* cannot be: these come first, each under its own index */
        endpoint_release(t, index);
    t->counters.restored += index == endpoint;
    return index == endpoint;
}

static bool read_block(struct tcp_server *s, uint32_t index, union tcp_stored *ret)
{
    enum store_block found = store_read(&s->store, index, ret);
    if (found == STORE_BLOCK_CORRUPT) {
        s->transport.counters.drop_block_corrupt++;
        store_erase(&s->store, index);
    }
    return found == STORE_BLOCK_GOOD;
}

/* Its block is there, and was not put back. */
static bool is_lost(const struct tcp_server *s, uint32_t index, union tcp_stored *ret)
{
    return tcp_conn_at(s->engine, index)->state == TCP_CLOSED &&
           store_read(&s->store, TCP_STORE_CONNECTION(index), ret) == STORE_BLOCK_GOOD;
}

/* What cannot be put back leaves the store. */
static void time_waits_again(struct tcp_server *s, uint32_t group, const struct tcp_time_wait *records)
{
    bool all = true;
    for (uint32_t i = 0; i < TCP_TIME_WAIT_GROUP; i++) {
        uint32_t record = group * TCP_TIME_WAIT_GROUP + i;
        if (records[i].local.family == ADDRESS_NONE)
            continue;
        bool restored = tcp_restore_time_wait(s->engine, record, &records[i]) == TCP_CALL_OK;
        s->transport.counters.drop_block_corrupt += !restored;
        all = all && restored;
    }
    if (!all)
        tcp_time_waits_put(s, group);
}

void tcp_recover_init(struct tcp_server *s)
{
    uint32_t used = store_used(&s->store, TCP_KIND_CONNECTION), held = store_used(&s->store, TCP_KIND_HELD);
    union tcp_stored stored;
    bool lost = false;
    for (uint32_t i = 0; i < held; i++)
        if (read_block(s, TCP_STORE_HELD(i), &stored) && !held_again(s, i, &stored.held))
            store_erase(&s->store, TCP_STORE_HELD(i));
    for (uint32_t i = 0; i < used; i++) {
        if (!read_block(s, TCP_STORE_CONNECTION(i), &stored))
            continue;
        const struct tcp_block *b = &stored.block;
        lost |= !goes_on(s, b) || !tcp_works_on_restore(s, &b->conn.identity) || !restore(s, i, b);
    }
    server_works_alone(s->transport.context);
    for (uint32_t i = 0; lost && i < used; i++) /* when all others have the endpoints that they had */
        if (is_lost(s, i, &stored))
            hold_lost(s, &stored.block);
    for (uint32_t i = 0; i < store_used(&s->store, TCP_KIND_TIME_WAITS) && i < TCP_TIME_WAIT_GROUPS; i++)
        if (read_block(s, TCP_STORE_TIME_WAITS(i), &stored))
            time_waits_again(s, i, stored.time_wait);
    s->recovery.running = used > 0 || held > 0;
    uint32_t index; /* what was put back is in the store as it is */
    while (tcp_next_touched(s->engine, &index) || tcp_next_touched_time_wait(s->engine, &index))
        ;
}

/* What they lent before is home. */
static void release_closed(struct transport *t)
{
    for (uint32_t i = 0; i < t->endpoint_high; i++)
        if (t->endpoint[i].flags & ENDPOINT_CLOSED)
            endpoint_try_release(t, i);
}

static void forget_told(struct tcp_server *s)
{
    struct tcp_recovery *r = &s->recovery;
    for (uint32_t i = 0; i < r->told_count; i++)
        store_erase(&s->store, TCP_STORE_CONNECTION(r->told[i]));
    r->told_count = 0;
}

/* Its peer knows another block's connection by these addresses, which goes on. */
static bool is_anothers(const struct tcp_server *s, const struct tcp_identity *id)
{
    const struct tcp_segment_in meta = {.source = id->remote,
                                        .destination = id->local,
                                        .source_port = id->remote_port,
                                        .destination_port = id->local_port};
    uint32_t connection = tcp_lookup(s->engine, &meta);
    return connection != TCP_NONE && tcp_conn_at(s->engine, connection)->state != TCP_LISTEN;
}

/* False: the engine has no room for more RSTs now. */
static bool tell_peer(struct tcp_server *s, uint32_t index)
{
    struct tcp_recovery *r = &s->recovery;
    union tcp_stored stored;
    if (!is_lost(s, index, &stored))
        return true;
    const struct tcp_conn *lost = &stored.block.conn;
    bool peer_cares = lost->state != TCP_LISTEN && !is_anothers(s, &lost->identity);
    if (peer_cares && s->transport.ip->attached && !tcp_reset_lost(s->engine, lost))
        return false;
    s->transport.counters.lost_at_restart += !stored.block.ended;
    r->told[r->told_count++] = index;
    return true;
}

/* An RST that is lost is not sent again, and ip, when it is as new as we are, has to find the neighbours first. */
static bool may_tell(const struct tcp_server *s)
{
    const struct tcp_recovery *r = &s->recovery;
    if (r->told_count == TCP_TOLD_MAX)
        return false;
    return s->transport.loans + r->told_count < TCP_TOLD_MAX || s->transport.now_us >= r->patient_until_us;
}

bool tcp_recover(struct tcp_server *s)
{
    struct tcp_recovery *r = &s->recovery;
    uint32_t begin = r->cursor, used = store_used(&s->store, TCP_KIND_CONNECTION);
    bool moved = r->told_count > 0 || !r->begun;
    if (!r->begun) {
        r->patient_until_us = s->transport.now_us + TCP_TELL_US;
        transport_forget_absent(&s->transport);
        release_closed(&s->transport);
    }
    r->begun = true;
    forget_told(s);
    while (may_tell(s) && r->cursor < used && tell_peer(s, r->cursor))
        r->cursor++;
    moved |= r->cursor != begin;
    r->running = r->told_count > 0 || r->cursor < used;
    r->stuck = !moved;
    return moved;
}
