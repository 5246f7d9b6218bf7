// SPDX-License-Identifier: BSD-2-Clause
/* Lies to every neighbour, a batch at a time: each message is refused and counted there. */
#include <stdlib.h>
#include <string.h>

#include "tests/hostile/hostile.h"

#define BATCH   48
#define GARBAGE 4000

struct message hostile_seen[SERVER_COUNT];

static const uint8_t operations[] = {
    MESSAGE_SEND, MESSAGE_RECEIVE, MESSAGE_RETURN, MESSAGE_UNREACHABLE, MESSAGE_BIND, MESSAGE_LISTEN, MESSAGE_CONNECT,
    MESSAGE_CLOSE, MESSAGE_ACCEPTED, MESSAGE_OWNED, MESSAGE_OWNED_END, MESSAGE_SESSION_END, MESSAGE_SET_OPTION, MESSAGE_ANSWER,
    MESSAGE_ESTABLISHED, MESSAGE_ALIVE, MESSAGE_LOST, MESSAGE_ALIVE_END,
};
#define OPERATIONS (sizeof operations / sizeof operations[0])

static void all_ports(const struct server_context *context, const struct message *m, unsigned count)
{
    for (unsigned i = 0; i < SERVER_COUNT; i++) {
        struct port *port = context->port[i];
        for (unsigned n = 0; port != NULL && n < count; n++)
            (void)port_push(port, m);
    }
}

static const char *each_operation(const struct server_context *context, uint16_t capability, uint16_t generation)
{
    for (unsigned i = 0; i < OPERATIONS; i++) {
        struct message m = {.operation = operations[i], .capability = capability, .generation = generation, .cookie = i};
        all_ports(context, &m, 4);
    }
    return "told";
}

static const char *not_granted(const struct server_context *context)
{
    return each_operation(context, 5, 1);
}

static const char *beyond_the_table(const struct server_context *context)
{
    return each_operation(context, UINT16_MAX, 1);
}

static const char *stale_generation(const struct server_context *context)
{
    return each_operation(context, CAPABILITY_INDEX_PEER, 2);
}

/* Each operation at each neighbour, whatever right it takes: with its right capability and nothing else in it. */
static const char *other_rights(const struct server_context *context)
{
    return each_operation(context, CAPABILITY_INDEX_PEER, 1);
}

static const char *references(const struct server_context *context, uint16_t pool, uint16_t generation, uint32_t offset,
                              uint32_t length)
{
    static const uint8_t packets[] = {MESSAGE_SEND, MESSAGE_RECEIVE, MESSAGE_UNREACHABLE};
    for (unsigned i = 0; i < sizeof packets; i++) {
        struct message m = {.operation = packets[i],
                            .capability = CAPABILITY_INDEX_PEER,
                            .generation = 1,
                            .cookie = i,
                            .reference = {{pool, generation, offset, length}, {pool, generation, offset, length}},
                            .source = context->config->address[0],
                            .destination = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}},
                            .protocol = 17};
        all_ports(context, &m, BATCH / 4);
    }
    return "told";
}

static const char *every_pool(const struct server_context *context)
{
    for (uint16_t index = 0; index < 64; index++)
        (void)references(context, index, 1, 0, 64);
    return "told";
}

static const char *beyond_the_pool(const struct server_context *context)
{
    return references(context, context->pool_capability, context->pool_generation, UINT32_MAX - 16, 64);
}

static const char *stale_pool(const struct server_context *context)
{
    return references(context, context->pool_capability, (uint16_t)(context->pool_generation - 1), 0, 64);
}

static const char *loans_not_held(const struct server_context *context)
{
    struct message m = {.operation = MESSAGE_RETURN, .capability = CAPABILITY_INDEX_PEER, .generation = 1, .count = MESSAGE_RETURNS_MAX};
    for (uint32_t first = 0; first < 2048; first += MESSAGE_RETURNS_MAX) {
        for (uint32_t i = 0; i < MESSAGE_RETURNS_MAX; i++)
            m.returned[i] = first + i;
        all_ports(context, &m, 1);
    }
    for (uint32_t i = 0; i < MESSAGE_RETURNS_MAX; i++)
        m.returned[i] = UINT32_MAX - i;
    all_ports(context, &m, 2);
    return "told";
}

static const char *garbage(const struct server_context *context)
{
    struct message m;
    for (unsigned n = 0; n < GARBAGE; n++) {
        uint8_t *octets = (uint8_t *)&m;
        for (size_t i = 0; i < sizeof m; i++)
            octets[i] = rand() % 4 == 0 ? (uint8_t)rand() : 0;
        m.operation = operations[(unsigned)rand() % OPERATIONS];
        if (rand() % 8 != 0) { /* an envelope that passes, and a right: what comes next is looked at */
            m.flags = 0;
            m.count = m.operation == MESSAGE_RETURN ? (uint8_t)(rand() % (MESSAGE_RETURNS_MAX + 1)) : 0;
            m.capability = CAPABILITY_INDEX_PEER;
            m.generation = 1;
            memset(m.reserved1, 0, sizeof m.reserved1);
        }
        all_ports(context, &m, 1);
        if (n % 64 == 63)
            for (unsigned i = 0; i < SERVER_COUNT; i++)
                if (context->port[i] != NULL)
                    port_flush(context->port[i]);
    }
    return "told";
}

/* What a neighbour had lent, named again after its death: the capability is gone with the pool. The notice before asks for
 * the death. */
static const char *after_revocation(const struct server_context *context)
{
    for (unsigned i = 0; i < SERVER_COUNT; i++) {
        const struct message_reference *r = &hostile_seen[i].reference[0];
        if (r->length > 0)
            return references(context, r->pool, r->generation, r->offset, r->length);
    }
    return "nothing there to attack";
}

/* An impossible index: the channel is stopped, and nothing else. */
static const char *impossible_index(const struct server_context *context)
{
    for (unsigned i = 0; i < SERVER_COUNT; i++)
        if (context->port[i] != NULL && context->port[i]->attached)
            context->port[i]->ring.head += 3 * RING_SLOTS; /* published with the next flush */
    return "told";
}

const struct attack messages[] = {
    {"not_granted", not_granted},     {"beyond_the_table", beyond_the_table}, {"stale_generation", stale_generation},
    {"other_rights", other_rights},   {"every_pool", every_pool},             {"beyond_the_pool", beyond_the_pool},
    {"stale_pool", stale_pool},       {"loans_not_held", loans_not_held},     {"garbage", garbage},
    {"after_revocation", after_revocation}, {"impossible_index", impossible_index},
};
const unsigned messages_count = sizeof messages / sizeof messages[0];
