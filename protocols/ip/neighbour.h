// SPDX-License-Identifier: BSD-2-Clause
/* The table of neighbours that ARP and neighbour discovery both keep: who is on the link, at which station, how sure we
 * are of it, and when something is to be done about it. What is done is the engine's that owns the table. */
#ifndef BULKHEAD_PROTOCOLS_IP_NEIGHBOUR_H
#define BULKHEAD_PROTOCOLS_IP_NEIGHBOUR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"

#define NEIGHBOURS_MAX 256U

/* RFC 4861 7.3.2; the first and the last are ours. */
enum neighbour_state {
    NEIGHBOUR_FREE = 0,
    NEIGHBOUR_INCOMPLETE = 1, /* everybody is asked, no answer yet */
    NEIGHBOUR_REACHABLE = 2,
    NEIGHBOUR_STALE = 3,  /* not heard of lately, and not in use */
    NEIGHBOUR_DELAY = 4,  /* in use again; not asked yet */
    NEIGHBOUR_PROBE = 5,  /* in use, and asked itself */
    NEIGHBOUR_FAILED = 6, /* nobody answered: not asked again for a while */
};

struct neighbour {
    uint8_t key[16]; /* an address's octets: IPv4 in the first four, the rest zero */
    struct mac_address mac;
    uint8_t state;    /* enum neighbour_state */
    uint8_t tries;    /* questions sent in this state; the engine counts */
    uint16_t next;    /* hash chain, index + 1 */
    uint64_t used_us; /* of the last lookup; 0: never looked up */
    uint64_t at_us;   /* when something is to be done; UINT64_MAX: never */
};

struct neighbour_table { /* in the memory of the engine that owns it */
    uint8_t secret[16];
    uint32_t last;                   /* index of the one found last */
    uint64_t deadline_us;            /* not later than any at_us */
    uint16_t bucket[NEIGHBOURS_MAX]; /* index + 1 */
    struct neighbour entry[NEIGHBOURS_MAX];
};

/* Its station can be sent to, sure or not. */
static inline bool neighbour_is_known(const struct neighbour *n)
{
    return n->state != NEIGHBOUR_FREE && n->state != NEIGHBOUR_INCOMPLETE && n->state != NEIGHBOUR_FAILED;
}

/* `secret`: of the hash, whose keys are chosen by whoever sends on the link. */
void neighbour_table_init(struct neighbour_table *t, const uint8_t secret[16]);

/* NULL: unknown. */
struct neighbour *neighbour_find(struct neighbour_table *t, const uint8_t key[16]);
/* A stranger told of itself: an entry in no state yet, to be scheduled at once. NULL: all are in use.
 * `*evicted` counts an entry given up for it, here and below. */
struct neighbour *neighbour_learn(struct neighbour_table *t, const uint8_t key[16], uint64_t *evicted);
/* Looked up: the entry, made INCOMPLETE and due if there was none or its FAILED is over, STALE if its REACHABLE is.
 * Never NULL. */
struct neighbour *neighbour_use(struct neighbour_table *t, uint64_t now_us, const uint8_t key[16], uint64_t *evicted);

/* Enters a state, for (if not left before) something to be done at `at_us`. */
void neighbour_schedule(struct neighbour_table *t, struct neighbour *n, enum neighbour_state state, uint64_t at_us);
void neighbour_forget(struct neighbour_table *t, struct neighbour *n);
/* Those that nobody could be asked for yet are due now. */
void neighbour_ask_now(struct neighbour_table *t, uint64_t now_us);

/* The next whose time has come, from index *at on, which moves behind it; what is to be done moves its at_us past now.
 * NULL: no more, and deadline_us is found again. Whoever stops before that comes again with *at zero. */
struct neighbour *neighbour_due(struct neighbour_table *t, uint64_t now_us, size_t *at);

#endif
