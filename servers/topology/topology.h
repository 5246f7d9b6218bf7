// SPDX-License-Identifier: BSD-2-Clause
/* The one table that names servers, channels and rights, and the parser that groups servers into domains. */
#ifndef BULKHEAD_SERVERS_TOPOLOGY_TOPOLOGY_H
#define BULKHEAD_SERVERS_TOPOLOGY_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "servers/server.h"

#define PARTITION_TEXT 64 /* the longest partition: all names and separators, with room */
#define SERVER_BIT(id) (1U << (id))
#define SERVERS_ALL    (SERVER_BIT(SERVER_COUNT) - 1)

struct topology_channel {
    enum server_id end[2]; /* lower, upper */
};

struct topology_right { /* what `peer` may ask of `server`: entry CAPABILITY_INDEX_PEER of its table for that channel */
    enum server_id server, peer;
    uint16_t type;    /* enum capability_type */
    uint32_t rights;  /* enum capability_right */
    uint8_t protocol; /* TRANSPORT */
};

struct topology_pool { /* `peer` may name buffers of `owner`'s pool to `server` (which has it mapped) */
    enum server_id owner, server, peer;
};

struct topology_arena { /* a transport may have its TX arenas named to `server` by `peer` */
    enum session_transport transport;
    enum server_id server, peer;
    bool mapped; /* the server reads it; else it only passes references on */
};

#define TOPOLOGY_CHANNELS 5
#define TOPOLOGY_RIGHTS   10
#define TOPOLOGY_POOLS    11
#define TOPOLOGY_ARENAS   6
extern const struct topology_channel topology_channel[TOPOLOGY_CHANNELS];
extern const struct topology_right topology_right[TOPOLOGY_RIGHTS];
extern const struct topology_pool topology_pool[TOPOLOGY_POOLS];
extern const struct topology_arena topology_arena[TOPOLOGY_ARENAS];

const char *topology_server_name(enum server_id id);
bool topology_server_find(const char *name, size_t length, enum server_id *ret);
enum server_id topology_transport(enum session_transport transport); /* the server that serves its arenas */
/* By its name, its lower end first: "nic-ip". */
bool topology_channel_find(const char *name, uint32_t *ret);
/* Servers that `server` has a channel with, as a mask of SERVER_BIT(). */
uint32_t topology_neighbours(enum server_id server);
/* Hops from the nearest server of the mask `from`, for each server; UINT32_MAX where there is no way. */
void topology_distances(uint32_t from, uint32_t ret_distance[SERVER_COUNT]);
/* Whether `server` reads buffers of `owner`'s pool, or owns it. */
bool topology_maps_pool(enum server_id server, enum server_id owner);
/* Servers of which `server` can hold anything, or they of it: a channel's end, buffers of a pool, loans of TX arenas. When one of
 * them dies it has to let go of that; of another's death it need not know. */
uint32_t topology_concerns(enum server_id server);

struct partition_domain {
    char name[PARTITION_TEXT]; /* "nic+ip" */
    uint32_t servers;          /* mask */
};

struct partition {
    uint32_t count;
    struct partition_domain domain[SERVER_COUNT];
    char text[PARTITION_TEXT];
};

/* "nic|ip|tcp|udp|socket", any grouping with '+', "factored" or "monolithic". Every server exactly once. 0, or -EINVAL
 * with one line in `ret_error` that says what is wrong. */
int partition_parse(const char *text, struct partition *ret, char *ret_error, size_t error_size)
    __attribute__((warn_unused_result));

#endif
