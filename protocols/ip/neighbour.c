// SPDX-License-Identifier: BSD-2-Clause
/* The table of neighbours. Theory of operation.
 *
 * NEIGHBOURS_MAX entries, found by a hash over their address. The hash is keyed: whoever sends on the link chooses the
 * addresses, and must not be able to put all of them into one chain. The one found last is tried first: most packets
 * go where the one before went, and need no hash.
 *
 * Each entry has a state and one time at which something is to be done; no time is earlier than the table's deadline.
 * When that is reached, the engine goes through those that are due (neighbour_due()), and one more pass finds the
 * deadline again.
 *
 * What happens at the limit: a lookup always gets an entry. A full table gives up, in this order, one that failed or
 * was never looked up, then the one whose last lookup is the oldest; but once half of all are INCOMPLETE, the oldest of
 * those: whoever makes us ask for strangers that do not answer (RFC 6583) loses us no neighbour that is known. What
 * strangers send of themselves takes only what is free, failed or was never looked up: a flood of it cannot push out a
 * neighbour that is talked to.
 *
 * Left to the engines: who may tell what, what is asked, how often, and when to give up. Read RFC 4861 7.3.2 first. */
#include "protocols/ip/neighbour.h"

#include <string.h>

#include "protocols/base/siphash.h"

void neighbour_table_init(struct neighbour_table *t, const uint8_t secret[16])
{
    memset(t, 0, sizeof *t);
    memcpy(t->secret, secret, sizeof t->secret);
    t->deadline_us = UINT64_MAX;
}

static uint16_t *bucket_of(struct neighbour_table *t, const uint8_t key[16])
{
    return &t->bucket[siphash(t->secret, key, 16) % NEIGHBOURS_MAX];
}

struct neighbour *neighbour_find(struct neighbour_table *t, const uint8_t key[16])
{
    struct neighbour *last = &t->entry[t->last];
    if (last->state != NEIGHBOUR_FREE && memcmp(last->key, key, 16) == 0)
        return last;
    for (uint16_t i = *bucket_of(t, key); i != 0; i = t->entry[i - 1].next)
        if (memcmp(t->entry[i - 1].key, key, 16) == 0) {
            t->last = i - 1U;
            return &t->entry[t->last];
        }
    return NULL;
}

void neighbour_forget(struct neighbour_table *t, struct neighbour *n)
{
    uint16_t number = (uint16_t)(n - t->entry + 1);
    uint16_t *link = bucket_of(t, n->key);
    while (*link != number)
        link = &t->entry[*link - 1].next;
    *link = n->next;
    memset(n, 0, sizeof *n);
}

void neighbour_schedule(struct neighbour_table *t, struct neighbour *n, enum neighbour_state state, uint64_t at_us)
{
    n->state = (uint8_t)state;
    n->tries = 0;
    n->at_us = at_us;
    if (at_us < t->deadline_us)
        t->deadline_us = at_us;
}

/* The entry that is free, or to be given up. NULL: `stranger`, and every entry has been looked up. */
static struct neighbour *victim(struct neighbour_table *t, bool stranger)
{
    struct neighbour *oldest = NULL, *oldest_asked = NULL;
    uint64_t oldest_us = UINT64_MAX, asked_us = UINT64_MAX;
    uint32_t asked = 0;
    for (size_t i = 0; i < NEIGHBOURS_MAX; i++) {
        struct neighbour *n = &t->entry[i];
        if (n->state == NEIGHBOUR_FREE)
            return n;
        uint64_t used_us = n->state == NEIGHBOUR_FAILED ? 0 : n->used_us;
        if (used_us < oldest_us) {
            oldest_us = used_us;
            oldest = n;
        }
        if (n->state != NEIGHBOUR_INCOMPLETE)
            continue;
        asked++;
        if (used_us < asked_us) {
            asked_us = used_us;
            oldest_asked = n;
        }
    }
    if (oldest_us == 0)
        return oldest;
    if (stranger)
        return NULL;
    return asked >= NEIGHBOURS_MAX / 2 ? oldest_asked : oldest;
}

static struct neighbour *entry_new(struct neighbour_table *t, const uint8_t key[16], bool stranger, uint64_t *evicted)
{
    struct neighbour *n = victim(t, stranger);
    if (n == NULL)
        return NULL;
    if (n->state != NEIGHBOUR_FREE) {
        ++*evicted;
        neighbour_forget(t, n);
    }
    uint16_t *bucket = bucket_of(t, key);
    memcpy(n->key, key, sizeof n->key);
    n->next = *bucket;
    n->at_us = UINT64_MAX;
    *bucket = (uint16_t)(n - t->entry + 1);
    return n;
}

struct neighbour *neighbour_learn(struct neighbour_table *t, const uint8_t key[16], uint64_t *evicted)
{
    return entry_new(t, key, true, evicted);
}

struct neighbour *neighbour_use(struct neighbour_table *t, uint64_t now_us, const uint8_t key[16], uint64_t *evicted)
{
    struct neighbour *n = neighbour_find(t, key);
    if (n == NULL) {
        n = entry_new(t, key, false, evicted);
        neighbour_schedule(t, n, NEIGHBOUR_INCOMPLETE, now_us);
    }
    n->used_us = now_us != 0 ? now_us : 1;
    if (n->state == NEIGHBOUR_REACHABLE && now_us >= n->at_us)
        neighbour_schedule(t, n, NEIGHBOUR_STALE, UINT64_MAX);
    else if (n->state == NEIGHBOUR_FAILED && now_us >= n->at_us)
        neighbour_schedule(t, n, NEIGHBOUR_INCOMPLETE, now_us);
    return n;
}

void neighbour_ask_now(struct neighbour_table *t, uint64_t now_us)
{
    for (size_t i = 0; i < NEIGHBOURS_MAX; i++)
        if (t->entry[i].state == NEIGHBOUR_INCOMPLETE && t->entry[i].tries == 0)
            t->entry[i].at_us = t->deadline_us = now_us;
}

struct neighbour *neighbour_due(struct neighbour_table *t, uint64_t now_us, size_t *at)
{
    if (now_us < t->deadline_us)
        return NULL;
    while (*at < NEIGHBOURS_MAX) {
        struct neighbour *n = &t->entry[(*at)++];
        if (n->state != NEIGHBOUR_FREE && now_us >= n->at_us)
            return n;
    }
    t->deadline_us = UINT64_MAX;
    for (size_t i = 0; i < NEIGHBOURS_MAX; i++)
        if (t->entry[i].state != NEIGHBOUR_FREE && t->entry[i].at_us < t->deadline_us)
            t->deadline_us = t->entry[i].at_us;
    return NULL;
}
