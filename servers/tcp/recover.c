// SPDX-License-Identifier: BSD-2-Clause
/* A new incarnation. Listeners, and connections whose SYN was out, go on from their blocks. Of every other one the peer is
 * told by an RST and the application by its slot's words; only after that was published, in the next burst, the block
 * ends: a death on the way tells both again, which does no harm. Until all are told no input is taken, so that no new
 * connection gets the index of a block that still counts. */
#include <errno.h>

#include "servers/tcp/tcp_server.h"

static bool restore_endpoint(struct tcp_server *s, uint32_t index, const struct tcp_block *b)
{
    struct transport *t = &s->transport;
    const struct tcp_identity *id = &b->conn.identity;
    bool knowable = b->socket != 0 && (b->socket & 0xffff) < SOCKETS_MAX && id->session < SESSIONS_MAX &&
                    endpoint_of_socket(t, b->socket) == TRANSPORT_NONE;
    uint32_t e = knowable ? endpoint_new(t, id->session, b->socket, b->endpoint) : TRANSPORT_NONE;
    if (e == TRANSPORT_NONE)
        return false;
    if (b->conn.state == TCP_SYN_SENT) {
        t->endpoint[e].arena = id->arena;
        t->endpoint[e].slot = id->slot;
        t->endpoint[e].generation = id->generation;
        if (!slot_restore(t, e)) {
            t->endpoint[e].arena = TRANSPORT_NONE;
            endpoint_release(t, e);
            return false;
        }
    }
    if (tcp_restore(s->engine, index, &b->conn) != TCP_CALL_OK) {
        endpoint_release(t, e);
        return false;
    }
    t->endpoint[e].connection = index;
    t->endpoint[e].send_end = b->conn.send_end;
    s->endpoint_of[index] = (uint16_t)(e + 1);
    endpoint_dirty(t, e, true);
    t->counters.restored++;
    return true;
}

void tcp_recover_init(struct tcp_server *s)
{
    for (uint32_t i = 0; i < store_used(&s->store); i++) {
        struct tcp_block b;
        enum store_block found = store_read(&s->store, i, &b);
        if (found == STORE_BLOCK_EMPTY)
            continue;
        if (found == STORE_BLOCK_CORRUPT) {
            s->transport.counters.drop_block_corrupt++;
            store_erase(&s->store, i);
            continue;
        }
        bool goes_on = b.conn.state == TCP_LISTEN || b.conn.state == TCP_SYN_SENT;
        if (!goes_on || !restore_endpoint(s, i, &b))
            s->recovery.running = true;
    }
    uint32_t index; /* what was put back is in the store as it is */
    while (tcp_next_touched(s->engine, &index))
        ;
}

static uint32_t tell_application(struct tcp_server *s, const struct tcp_block *b)
{
    struct transport *t = &s->transport;
    const struct tcp_identity *id = &b->conn.identity;
    if (b->endpoint == TRANSPORT_NONE || id->arena >= SESSION_ARENAS || id->session >= SESSIONS_MAX ||
        !t->context->session[id->session].present)
        return TRANSPORT_NONE;
    uint32_t index = endpoint_new(t, id->session, 0, TRANSPORT_NONE);
    if (index == TRANSPORT_NONE)
        return TRANSPORT_NONE;
    struct endpoint *e = &t->endpoint[index];
    e->arena = id->arena;
    e->slot = id->slot;
    e->generation = id->generation;
    e->flags |= ENDPOINT_CLOSED;
    if (!slot_restore(t, index)) {
        e->arena = TRANSPORT_NONE;
        endpoint_release(t, index);
        return TRANSPORT_NONE;
    }
    e->words = (struct slot_words){.send_tail = b->conn.send_acked,
                                   .receive_head = b->conn.receive_next,
                                   .state = SLOT_ERROR | SLOT_CLOSED,
                                   .error = ECONNRESET};
    endpoint_dirty(t, index, true);
    return index;
}

static void forget_told(struct tcp_server *s)
{
    struct tcp_recovery *r = &s->recovery;
    for (uint32_t i = 0; i < r->told_count; i++) {
        if (r->told[i].endpoint != TRANSPORT_NONE)
            endpoint_release(&s->transport, r->told[i].endpoint);
        store_erase(&s->store, r->told[i].block);
    }
    r->told_count = 0;
}

/* False: the engine has no room for more RSTs now. */
static bool tell_one(struct tcp_server *s, uint32_t index)
{
    struct tcp_recovery *r = &s->recovery;
    struct tcp_block b;
    if (tcp_conn_at(s->engine, index)->state != TCP_CLOSED ||
        store_read(&s->store, index, &b) != STORE_BLOCK_GOOD)
        return true;
    bool peer_cares = b.conn.state != TCP_LISTEN && b.conn.state != TCP_TIME_WAIT;
    if (peer_cares && s->transport.ip->attached && !tcp_reset_lost(s->engine, &b.conn))
        return false;
    s->transport.counters.lost_at_restart++;
    r->told[r->told_count++] = (struct tcp_told){index, tell_application(s, &b)};
    return true;
}

bool tcp_recover(struct tcp_server *s)
{
    struct tcp_recovery *r = &s->recovery;
    forget_told(s);
    while (r->told_count < TCP_TOLD_MAX && r->cursor < store_used(&s->store) && tell_one(s, r->cursor))
        r->cursor++;
    r->running = r->told_count > 0 || r->cursor < store_used(&s->store);
    return true;
}
