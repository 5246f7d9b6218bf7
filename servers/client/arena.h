// SPDX-License-Identifier: BSD-2-Clause
/* Arenas: the memory that this application pays for, slots of which sockets use. Added on demand, never taken back. */
#ifndef BULKHEAD_SERVERS_CLIENT_ARENA_H
#define BULKHEAD_SERVERS_CLIENT_ARENA_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/session.h"

#define ARENA_SLOTS_GROWN 64U /* arenas added later are at most this large */

struct session;

struct arena {
    enum session_transport transport;
    uint32_t slots, send_size, receive_size;
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
    bool full[SESSION_TRANSPORTS];       /* the supervisor refused one more: do not ask again. Atomic */
};

/* Makes sure that about `wanted` slots are free, and a quarter of all. 0; a negative errno only if there is not even one arena. */
int arenas_provide(struct session *s, enum session_transport transport, uint32_t wanted);
/* One more, larger than the last. 0 or a negative errno. */
int arenas_add(struct session *s, enum session_transport transport);
/* Untrusted: index, slot (from the socket server). NULL: no such. */
struct arena *arenas_find(struct session *s, enum session_transport transport, uint32_t index, uint32_t slot);
/* The words of a slot were stored: tell the transport, unless it has yet to look at this slot anyway. */
void arena_notify(struct session *s, struct arena *arena, uint32_t slot);
int arenas_set_option(int option, uint32_t value);
uint32_t arenas_ring_size(enum session_transport transport, bool send); /* octets, of the next arena's */

#endif
