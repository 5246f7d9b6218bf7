// SPDX-License-Identifier: BSD-2-Clause
/* Between bindings and the slots of sessions: what the application says of its two rings, and what the store and the
 * slot's words say of them afterwards. */
#include <errno.h>

#include "protocols/ip4/ip4.h"
#include "servers/udp/udp_server.h"

void udp_touch(struct udp_server *s, uint32_t endpoint)
{
    endpoint_dirty(&s->transport, endpoint, false);
    if (s->side[endpoint].touched)
        return;
    s->side[endpoint].touched = true;
    s->touched[s->touched_count++] = (uint16_t)endpoint;
}

void udp_ready(struct udp_server *s, uint32_t endpoint)
{
    struct udp_side *side = &s->side[endpoint];
    if (side->ready)
        return;
    side->ready = true;
    side->ready_next = 0;
    if (s->ready_last != 0)
        s->side[s->ready_last - 1].ready_next = (uint16_t)(endpoint + 1);
    else
        s->ready_first = endpoint + 1;
    s->ready_last = endpoint + 1;
}

void udp_blocks_put(struct udp_server *s)
{
    for (uint32_t i = 0; i < s->touched_count; i++) {
        uint32_t index = s->touched[i];
        const struct endpoint *e = &s->endpoint[index];
        s->side[index].touched = false;
        if (!(e->flags & ENDPOINT_USED) || (e->flags & ENDPOINT_CLOSED) || s->store.off)
            continue; /* erased */
        static const struct udp_binding none;
        bool orphan = e->connection == TRANSPORT_NONE;
        const struct udp_binding *b = orphan ? &none : udp_binding_at(s->engine, e->connection);
        if (b == NULL)
            continue;
        const struct udp_block block = {.socket = e->socket,
                                        .session = e->session,
                                        .arena = e->arena,
                                        .slot = e->slot,
                                        .generation = e->generation,
                                        .receive_head = e->words.receive_head,
                                        .send_next = s->side[index].send_next,
                                        .options = e->options,
                                        .error = e->words.error,
                                        .error_count = e->words.error_count,
                                        .path_mtu = e->words.path_mtu,
                                        .receive_drops = e->words.receive_drops,
                                        .order = b->order,
                                        .bound = b->bound,
                                        .local = b->local,
                                        .remote = b->remote,
                                        .local_port = b->local_port,
                                        .remote_port = b->remote_port,
                                        .ttl = e->ttl,
                                        .traffic_class = e->traffic_class,
                                        .shared = b->shared,
                                        .orphan = orphan,
                                        .session_generation = e->session_generation};
        store_put(&s->store, index, &block);
    }
    s->touched_count = 0;
}

/* Untrusted: words (from the application). */
static void receive_tail_said(struct udp_server *s, uint32_t endpoint, const struct slot_app *words)
{
    const struct endpoint *e = &s->endpoint[endpoint];
    struct udp_side *side = &s->side[endpoint];
    uint32_t unread = e->published.receive_head - side->receive_tail;
    if (words->receive_tail - side->receive_tail > unread || words->receive_tail % DATAGRAM_STEP != 0)
        s->transport.counters.drop_receive_tail++;
    else
        side->receive_tail = words->receive_tail;
}

bool udp_room(struct udp_server *s, uint32_t endpoint, uint32_t size, uint32_t octets)
{
    const struct endpoint *e = &s->endpoint[endpoint];
    const struct udp_side *side = &s->side[endpoint];
    struct slot_app words;
    if (size - (e->words.receive_head - side->receive_tail) < octets && slot_read(&s->transport, e, &words))
        receive_tail_said(s, endpoint, &words); /* the application need not notify of what it consumed */
    return size - (e->words.receive_head - side->receive_tail) >= octets;
}

/* Untrusted: words (from the application). */
static void notified(struct transport *t, uint64_t now_us, uint32_t endpoint, const struct slot_app *words)
{
    (void)now_us;
    struct udp_server *s = udp_server_of(t);
    const struct endpoint *e = &t->endpoint[endpoint];
    struct udp_side *side = &s->side[endpoint];
    const struct session_arena *a = slot_arena(t, e);
    if (a == NULL)
        return;
    receive_tail_said(s, endpoint, words);
    uint32_t room = e->published.send_tail + a->send_size - side->send_head;
    if (words->send_head - side->send_head > room || words->send_head % DATAGRAM_STEP != 0) {
        t->counters.drop_send_head++;
        return;
    }
    side->send_head = words->send_head;
    t->endpoint[endpoint].send_end = words->send_head;
    if (side->send_head != side->send_next)
        udp_ready(s, endpoint);
}

/* Nothing more is received; what was written before is still sent. The store forgets it now. */
static void close_socket(struct transport *t, uint64_t now_us, uint32_t endpoint)
{
    (void)now_us;
    store_erase(&udp_server_of(t)->store, endpoint);
}

/* Its port is another's to have; what was received stays to be read. */
static void orphaned(struct transport *t, uint64_t now_us, uint32_t endpoint)
{
    (void)now_us;
    struct udp_server *s = udp_server_of(t);
    struct endpoint *e = &t->endpoint[endpoint];
    struct udp_side *side = &s->side[endpoint];
    if (e->connection != TRANSPORT_NONE && udp_unbind(s->engine, e->connection) != UDP_CALL_OK)
        t->counters.drop_no_endpoint++;
    e->connection = TRANSPORT_NONE;
    side->send_next = side->send_head; /* its place in the queue is empty */
    e->words.send_tail = side->send_next;
    e->words.state |= SLOT_ERROR | SLOT_CLOSED;
    udp_tell_error(s, endpoint, ECONNRESET);
}

static bool needs_slot(const struct transport *t, const struct endpoint *e)
{
    const struct udp_side *side = &((const struct udp_server *)t)->side[e - t->endpoint];
    return side->send_next != side->send_head;
}

static void released(struct transport *t, const struct endpoint *e)
{
    struct udp_server *s = udp_server_of(t);
    uint32_t index = (uint32_t)(e - t->endpoint);
    if (e->connection != TRANSPORT_NONE && udp_unbind(s->engine, e->connection) != UDP_CALL_OK)
        t->counters.drop_no_endpoint++;
    store_erase(&s->store, index);
    s->side[index].send_next = s->side[index].send_head; /* its place in the queue is empty */
}

static void address(const struct transport *t, const struct endpoint *e, struct message *ret)
{
    const struct udp_binding *b = udp_binding_at(((const struct udp_server *)t)->engine, e->connection);
    if (b == NULL)
        return;
    ret->source = b->local; /* of both families: as it was asked for */
    if (b->local.family == ADDRESS_NONE)
        ret->source.family = ADDRESS_IP6;
    ret->source_port = b->local_port;
    ret->destination = b->remote;
    ret->destination_port = b->remote_port;
}

const struct transport_operations udp_operations = {
    .protocol = IP_PROTOCOL_UDP,
    .broadcasts = true,
    .session_transport = SESSION_UDP,
    .address = address,
    .request = udp_request,
    .close = close_socket,
    .orphaned = orphaned,
    .notified = notified,
    .needs_slot = needs_slot,
    .released = released,
};
