// SPDX-License-Identifier: BSD-2-Clause
/* A channel in plain memory: one end for the server under test, the other for the test. */
#ifndef BULKHEAD_TESTS_UNIT_WIRE_PAIR_H
#define BULKHEAD_TESTS_UNIT_WIRE_PAIR_H

#include <stdlib.h>
#include <string.h>

#include "ipc/port.h"
#include "servers/server.h"

struct wire_pair {
    struct ring_half half[2];
    struct capability entry[2][CAPABILITY_TABLE_MAX];
    struct port server, test;
};

static inline void wire_attach(struct wire_pair *w)
{
    memset(w->half, 0, sizeof w->half);
    port_attach(&w->server, &w->half[0], &w->half[1], NULL);
    port_attach(&w->test, &w->half[1], &w->half[0], NULL);
}

static inline struct wire_pair *wire_new(void)
{
    struct wire_pair *w = aligned_alloc(64, sizeof *w);
    memset(w, 0, sizeof *w);
    port_init(&w->server, w->entry[0]);
    port_init(&w->test, w->entry[1]);
    wire_attach(w);
    return w;
}

static inline void wire_grant_pool(struct wire_pair *w, uint16_t index, const uint8_t *base,
                                   uint32_t size)
{
    struct capability c = {.type = CAPABILITY_POOL,
                           .generation = 1,
                           .rights = CAPABILITY_READ,
                           .base = base,
                           .size = size};
    capability_grant(&w->server.table, index, &c);
}

static inline void wire_send(struct wire_pair *w, const struct message *m)
{
    if (!port_push(&w->test, m))
        abort();
    port_flush(&w->test);
}

static inline void wire_return(struct wire_pair *w, uint32_t cookie)
{
    struct message m = {.operation = MESSAGE_RETURN,
                        .capability = CAPABILITY_INDEX_PEER,
                        .generation = 1,
                        .count = 1,
                        .returned = {cookie}};
    wire_send(w, &m);
}

static inline bool wire_take(struct wire_pair *w, struct message *ret)
{
    bool taken = port_pull(&w->test, ret);
    port_flush(&w->test);
    return taken;
}

#endif
