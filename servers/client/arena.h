// SPDX-License-Identifier: BSD-2-Clause
/* Arenas: the memory that this application pays for, slots of which sockets use. Added on demand, never taken back.
 *
 * A stream's rings begin with the sizes that are asked for, and grow (growth.c) within their places. Only the first arena of
 * the default sizes has place for that: what is reserved counts against the quota, touched or not, and who has many connections
 * shall have room for them. Where the policy grants little it has none either: the supervisor lets it take no more than half.
 *
 * All slots of an arena have rings of the same sizes; a socket takes a slot of the sizes that it wants (SO_SNDBUF, SO_RCVBUF),
 * so there are arenas of several sizes side by side, each kind with free slots of its own. A first arena of a kind is about
 * as large as the first of the default sizes, each further one twice as large as the last, or as many slots as are wanted, up
 * to ARENA_OCTETS_GROWN. */
#ifndef BULKHEAD_SERVERS_CLIENT_ARENA_H
#define BULKHEAD_SERVERS_CLIENT_ARENA_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/session.h"

#define ARENA_OCTETS_GROWN (32U << 20) /* arenas added later have at most so much of rings (12 ms to fault in), but a slot */

#define ARENA_OCTETS_RESERVED (128U << 20) /* for rings to grow, of an arena */

struct session;

struct arena_rings { /* octets of each slot's, powers of two */
    uint32_t send, receive;
};

struct arena {
    enum session_transport transport;
    uint32_t slots, send_size, receive_size;
    uint32_t send_most, receive_most;    /* the place that each ring has, of which a stream's may grow to use more */
    struct arena_app *app;               /* we write */
    const struct arena_transport *words; /* the transport writes: hostile */
    uint8_t *send_rings;
    const uint8_t *receive_rings;
    bool fresh;                          /* free_slots was not published yet: all are free. Atomic */
    pthread_mutex_t lock;                /* the notify ring's producer end */
    uint32_t producer;
    uint32_t notified[ARENA_SLOTS_MAX];  /* by slot: 1 + place of its last entry; 0 none */
    uint16_t holder[ARENA_SLOTS_MAX];    /* by slot: 1 + descriptor that used it last; 0 none. Atomic */
};

struct arenas {
    struct arena *arena[SESSION_ARENAS]; /* by the supervisor's index; atomic, once set it stays */
    uint32_t refused[SESSION_TRANSPORTS]; /* the supervisor refused one more of a single slot with rings of so many octets
                                           * together: do not ask for such again; 0: it did not. Atomic */
};

/* Makes sure that about `wanted` slots with such rings are free, and a quarter of all of them (a hint, at most as many as make
 * ARENA_OCTETS_GROWN). 0; a negative errno only if there is not even one arena of them. */
int arenas_provide(struct session *s, enum session_transport transport, struct arena_rings rings, uint32_t wanted);
/* One more, larger than the last. 0 or a negative errno. */
int arenas_add(struct session *s, enum session_transport transport, struct arena_rings rings);
/* How many slots seem to be free. */
uint32_t arenas_free(struct session *s, enum session_transport transport, struct arena_rings rings);
/* Whether there are arenas with rings of other sizes, so that who wants these has to say so. */
bool arenas_have_others(struct session *s, enum session_transport transport, struct arena_rings rings);
struct arena_rings arenas_default(enum session_transport transport); /* of who did not ask for any */
/* Untrusted: index, slot (from the socket server). NULL: no such. */
struct arena *arenas_find(struct session *s, enum session_transport transport, uint32_t index, uint32_t slot);
/* The words of a slot were stored: tell the transport, unless it has yet to look at this slot anyway. */
void arena_notify(struct session *s, struct arena *arena, uint32_t slot);
int arenas_set_option(int option, uint32_t value);

#endif
