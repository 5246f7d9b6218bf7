// SPDX-License-Identifier: BSD-2-Clause
/* Doorbells and the page that says whether their owner sleeps. The sleep word is a counter: odd while asleep. The ringer
 * remembers the last value that it rang for, so nobody is rung twice in one sleep.
 *
 * Barrier (C): the sleeper stores the odd word, full fence, looks at all its inputs again, sleeps; it pairs with (c): the
 * ringer publishes its index, full fence, loads the word. One of the two sees the other. */
#ifndef BULKHEAD_IPC_DOORBELL_H
#define BULKHEAD_IPC_DOORBELL_H

#include <stdbool.h>
#include <stdint.h>

#define STATUS_COUNTERS     256 /* of one server */
#define STATUS_COUNTER_NAME 32
#define STATUS_SERVERS      8

struct status_counter {
    char name[STATUS_COUNTER_NAME]; /* zero-terminated */
    uint64_t value;
};

struct status_page { /* a segment: written by one domain, read by its neighbours and the supervisor */
    _Alignas(64) uint32_t sleep;     /* odd: asleep */
    _Alignas(64) uint64_t liveness;  /* moves at least every 100 ms while the loop runs */
    uint64_t bursts;
    uint32_t incarnation;
    uint32_t reserved;
};

struct counter_page { /* a segment of its own: written by one domain, read by the supervisor only */
    struct status_counter counter[STATUS_SERVERS][STATUS_COUNTERS];
};

struct doorbell { /* private to the ringer */
    int fd;                /* write end, non-blocking; -1: none */
    const uint32_t *sleep; /* the owner's word */
    uint32_t rung_for;     /* last odd value that was rung for */
};

/* Rings if the owner says that it sleeps. Call after publishing; it contains fence (c). */
void doorbell_ring(struct doorbell *bell);
/* The owner's side. */
void doorbell_sleep(uint32_t *sleep); /* makes the word odd; fence (C): check every input again afterwards */
void doorbell_wake(uint32_t *sleep);  /* makes it even */
void doorbell_drain(int read_fd);     /* empties the pipe; bounded */

#endif
