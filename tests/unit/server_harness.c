// SPDX-License-Identifier: BSD-2-Clause
#include "tests/unit/server_harness.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const struct ip_address our_address = HARNESS_ADDRESS, our_address6 = HARNESS_ADDRESS6, our_link = HARNESS_LINK;

static void *fresh(size_t octets)
{
    void *memory = aligned_alloc(4096, (octets + 4095) & ~(size_t)4095);
    ck_assert_ptr_nonnull(memory);
    memset(memory, 0, octets);
    return memory;
}

static void grant(struct port *port, uint16_t index, struct capability capability)
{
    ck_assert(capability_grant(&port->table, index, &capability));
}

static void attach_channels(struct harness *h)
{
    memset(h->half, 0, sizeof h->half);
    port_attach(&h->ip, &h->half[0], &h->half[1], NULL);
    port_attach(&h->ip_end, &h->half[1], &h->half[0], NULL);
    port_attach(&h->socket, &h->half[2], &h->half[3], NULL);
    port_attach(&h->socket_end, &h->half[3], &h->half[2], NULL);
}

static void start(struct harness *h)
{
    size_t pool = (size_t)h->server->pool_buffers * h->server->pool_buffer_octets + h->server->pool_extra_octets;
    h->pool_memory = fresh(pool);
    pool_init(&h->pool, h->pool_memory, h->server->pool_buffer_octets, h->server->pool_buffers);
    h->state = fresh(h->server->state_size(&h->config));
    h->context.incarnation++;
    memset(h->counter, 0, sizeof h->counter);
    attach_channels(h);
    ck_assert_int_eq(h->server->init(h->state, &h->context, h->now_us), 0);
}

static void grant_tables(struct harness *h, uint8_t protocol)
{
    const struct capability transport = {.type = CAPABILITY_TRANSPORT,
                                         .generation = 1,
                                         .rights = CAPABILITY_SEND | CAPABILITY_RECEIVE,
                                         .protocol = protocol,
                                         .address_count = 1,
                                         .address = {our_address}};
    const struct capability socket = {.type = CAPABILITY_SOCKET, .generation = 1, .rights = CAPABILITY_REQUEST};
    const struct capability pool = {.type = CAPABILITY_POOL,
                                    .generation = 1,
                                    .rights = CAPABILITY_READ,
                                    .size = HARNESS_POOL_SIZE,
                                    .base = h->foreign};
    grant(&h->ip, CAPABILITY_INDEX_PEER, transport);
    grant(&h->ip, HARNESS_POOL, pool);
    grant(&h->socket, CAPABILITY_INDEX_PEER, socket);
}

struct harness *harness_new(const struct server *server, enum server_id id, uint8_t protocol)
{
    struct harness *h = fresh(sizeof *h);
    h->server = server;
    h->now_us = 1000000;
    h->config = (struct stack_config){.address = {our_address, our_link, our_address6},
                                      .prefix_length = {24, 64, 64},
                                      .address_count = 3,
                                      .mtu = 1500,
                                      .secret = "not very secret"};
    port_init(&h->ip, h->table[0]);
    port_init(&h->ip_end, h->table[1]);
    port_init(&h->socket, h->table[2]);
    port_init(&h->socket_end, h->table[3]);
    h->foreign = fresh(HARNESS_POOL_SIZE);
    grant_tables(h, protocol);
    h->session[0] =
        (struct session){.present = true, .control = &h->control, .bell = {.fd = -1, .sleep = &h->control.sleep}};
    policy_list_all(&h->session[0].bind);
    policy_list_all(&h->session[0].connect);
    h->context = (struct server_context){.id = id,
                                         .config = &h->config,
                                         .pool = &h->pool,
                                         .pool_capability = 50,
                                         .pool_generation = 3,
                                         .device = -1,
                                         .session = h->session,
                                         .counter = h->counter};
    h->context.port[SERVER_IP] = &h->ip;
    h->context.port[SERVER_SOCKET] = &h->socket;
    h->context.store_octets = server->store_size();
    h->context.store = fresh(h->context.store_octets);
    start(h);
    return h;
}

void harness_restart(struct harness *h)
{
    free(h->state);
    free(h->pool_memory);
    h->lent = 0;
    start(h);
}

void harness_free(struct harness *h)
{
    harness_turn(h);
    struct message m;
    while (harness_sent(h, &m))
        harness_return(h, m.cookie);
    harness_turn(h);
    ck_assert_msg(pool_all_home(&h->pool), "%u of %u header buffers are home", h->pool.free_count, h->pool.count);
    ck_assert_uint_eq(h->lent, 0);
    for (uint32_t i = 0; i < SESSION_ARENAS; i++) {
        free(h->tx[i]);
        free(h->rx[i]);
    }
    free(h->state);
    free(h->pool_memory);
    free(h->foreign);
    free(h->context.store);
    free(h);
}

void harness_arena(struct harness *h, uint32_t arena, enum session_transport transport, uint32_t slots)
{
    harness_arena_place(h, arena, transport, slots, 1);
}

void harness_arena_place(struct harness *h, uint32_t arena, enum session_transport transport, uint32_t slots,
                         uint32_t times)
{
    h->tx[arena] = fresh(arena_send_octets(slots, times * HARNESS_SEND));
    h->rx[arena] = fresh(arena_receive_octets(slots, times * HARNESS_RECEIVE));
    h->session[0].arena[arena] = (struct session_arena){.transport = transport,
                                                        .slots = slots,
                                                        .send_size = HARNESS_SEND,
                                                        .receive_size = HARNESS_RECEIVE,
                                                        .send_most = times * HARNESS_SEND,
                                                        .receive_most = times * HARNESS_RECEIVE,
                                                        .app = h->tx[arena],
                                                        .transport_words = h->rx[arena],
                                                        .capability = (uint16_t)(HARNESS_ARENA + arena),
                                                        .capability_generation = 1};
    const struct capability pool = {.type = CAPABILITY_POOL,
                                    .generation = 1,
                                    .rights = CAPABILITY_READ,
                                    .size = (uint32_t)arena_send_octets(slots, times * HARNESS_SEND),
                                    .base = (const uint8_t *)h->tx[arena]};
    grant(&h->ip, (uint16_t)(HARNESS_ARENA + arena), pool);
    h->server->session_added(h->state, 0);
}

void harness_turn(struct harness *h)
{
    port_flush(&h->ip_end);
    port_flush(&h->socket_end);
    h->now_us += 100;
    h->server->burst(h->state, h->now_us);
    h->server->commit(h->state);
    h->server->publish(h->state, h->now_us);
    port_flush(&h->ip);
    port_flush(&h->socket);
}

uint64_t harness_counter(struct harness *h, const char *name)
{
    h->now_us += 20000;
    harness_turn(h);
    for (uint32_t i = 0; i < STATUS_COUNTERS; i++)
        if (strcmp(h->counter[i].name, name) == 0)
            return h->counter[i].value;
    ck_abort_msg("no counter %s", name);
    return 0;
}

uint32_t harness_receive(struct harness *h, struct message *m, const void *bytes, uint32_t octets)
{
    uint32_t cookie = h->foreign_next++ % 16;
    uint32_t offset = cookie * (HARNESS_POOL_SIZE / 16) + 34;
    memcpy(h->foreign + offset, bytes, octets);
    m->operation = MESSAGE_RECEIVE;
    m->capability = CAPABILITY_INDEX_PEER;
    m->generation = 1;
    m->cookie = cookie;
    m->reference[0] = (struct message_reference){HARNESS_POOL, 1, offset, octets};
    ck_assert(port_push(&h->ip_end, m));
    h->lent++;
    return cookie;
}

uint32_t harness_receive_local(struct harness *h, struct message *m, const void *bytes, uint32_t octets, uint32_t rest)
{
    uint32_t size = (uint32_t)arena_send_octets(h->session[0].arena[0].slots, HARNESS_SEND);
    ck_assert_uint_le(rest, HARNESS_SEND);
    memcpy((uint8_t *)h->tx[0] + size - rest, (const uint8_t *)bytes + octets - rest, rest);
    m->reference[1] = (struct message_reference){HARNESS_ARENA, 1, size - rest, rest};
    return harness_receive(h, m, bytes, octets - rest);
}

bool harness_sent(struct harness *h, struct message *ret)
{
    struct message m;
    while (port_pull(&h->ip_end, &m)) {
        if (m.operation != MESSAGE_RETURN) {
            ck_assert_uint_eq(m.capability, CAPABILITY_INDEX_PEER);
            *ret = m;
            return true;
        }
        ck_assert_uint_ge(h->lent, m.count);
        h->lent -= m.count;
    }
    return false;
}

const uint8_t *harness_at(struct harness *h, const struct message_reference *r)
{
    if (r->pool == h->context.pool_capability) {
        ck_assert_uint_eq(r->generation, h->context.pool_generation);
        ck_assert_uint_le(r->offset + r->length, h->pool.count * h->pool.buffer_octets);
        return h->pool_memory + r->offset;
    }
    if (r->pool == HARNESS_POOL)
        return h->foreign + r->offset;
    uint32_t arena = r->pool - HARNESS_ARENA;
    ck_assert_uint_lt(arena, SESSION_ARENAS);
    const struct session_arena *a = &h->session[0].arena[arena];
    ck_assert_uint_ge(r->offset, arena_send_offset(a->slots));
    ck_assert_uint_le(r->offset + r->length, arena_send_octets(a->slots, a->send_most));
    return (const uint8_t *)h->tx[arena] + r->offset;
}

void harness_return(struct harness *h, uint64_t cookie)
{
    struct message m = {.operation = MESSAGE_RETURN, .count = 1, .capability = CAPABILITY_INDEX_PEER, .generation = 1};
    m.returned[0] = (uint32_t)cookie;
    ck_assert(port_push(&h->ip_end, &m));
}

void harness_request(struct harness *h, struct message *m)
{
    m->capability = CAPABILITY_INDEX_PEER;
    m->generation = 1;
    m->cookie = ++h->request;
    ck_assert(port_push(&h->socket_end, m));
}

void harness_session_ended(struct harness *h)
{
    h->session[0].ending = true;
    h->server->session_ended(h->state, 0);
}

void harness_session_end(struct harness *h)
{
    struct message m = {.operation = MESSAGE_SESSION_END};
    harness_session_ended(h);
    harness_request(h, &m);
}

bool harness_told(struct harness *h, uint8_t operation, struct message *ret)
{
    if (!port_pull(&h->socket_end, ret))
        return false;
    ck_assert_uint_eq(ret->operation, operation);
    return true;
}

struct slot_app *harness_app(struct harness *h, uint32_t arena, uint32_t slot)
{
    return &h->tx[arena]->slot[slot];
}

struct slot_transport *harness_words(struct harness *h, uint32_t arena, uint32_t slot)
{
    return &h->rx[arena]->slot[slot];
}

uint8_t *harness_send_ring(struct harness *h, uint32_t arena, uint32_t slot)
{
    const struct session_arena *a = &h->session[0].arena[arena];
    return (uint8_t *)h->tx[arena] + arena_send_offset(a->slots) + (size_t)slot * a->send_most;
}

uint8_t *harness_receive_ring(struct harness *h, uint32_t arena, uint32_t slot)
{
    const struct session_arena *a = &h->session[0].arena[arena];
    return (uint8_t *)h->rx[arena] + arena_receive_offset(a->slots) + (size_t)slot * a->receive_most;
}

void harness_notify(struct harness *h, uint32_t arena, uint32_t slot)
{
    struct arena_app *app = h->tx[arena];
    app->notify[app->notify_producer % ARENA_SLOTS_MAX] = slot;
    app->notify_producer++;
}
