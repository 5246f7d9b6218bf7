// SPDX-License-Identifier: BSD-2-Clause
/* A bad network, as a pure engine: frames' lengths and the time in; what becomes of each frame, and when, out. No
 * system call, clock, allocation or global: netdrv/wire.c uses it in real time, a simulation in simulated time. The
 * same seed and the same calls give the same fates.
 *
 *     impair_init(&engine, &config, entries, capacity);       the caller's memory: a place for each copy under way
 *     impair_frame(&engine, now_us, octets, 14, &fate);       a frame is sent: 0, 1 or 2 copies are under way.
 *         The caller copies the frame into its own store at each fate.handle[i] < capacity, and flips bit
 *         fate.corrupt_bit of those copies if it is not IMPAIR_NO_BIT
 *     while (impair_due(&engine, now_us, &handle))            time has come: the caller delivers what it stored there;
 *         the handle is free again
 *     impair_deadline_us(&engine)                             when to look again; UINT64_MAX: nothing is under way
 *
 * In this order, each with its own chance: loss; the queue (config.queue frames under way at most, else the frame is
 * dropped and counted as `full`); the rate, a token bucket, with config.backlog octets waiting for it at most (a
 * router's buffer: what is delayed behind it does not count; else dropped, also as `full`); the delay, plus or minus an
 * evenly spread jitter, which by itself never lets a frame overtake another; reordering: the frame is held back
 * IMPAIR_REORDER_US longer, and those behind it do not wait; corruption: one bit; duplication: a second copy, of the
 * same time, right behind the first. */
#ifndef BULKHEAD_NETDRV_IMPAIR_H
#define BULKHEAD_NETDRV_IMPAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMPAIR_QUEUE_MAX     1024U /* of a wire */
#define IMPAIR_QUEUE_DEFAULT 256U
#define IMPAIR_ALL           1000000U /* chances are of a million */
#define IMPAIR_DELAY_MAX_US  10000000U
#define IMPAIR_RATE_LEAST    8000U           /* bits a second */
#define IMPAIR_RATE_MAX      100000000000ULL /* bits a second */
#define IMPAIR_BUCKET_OCTETS 24576U          /* 16 full frames go out at once */
#define IMPAIR_OCTETS_MAX    1000000000U     /* of burst and backlog */
#define IMPAIR_REORDER_US    1000U
#define IMPAIR_NO_BIT        UINT32_MAX

struct impair_config {                          /* all zero: nothing is impaired */
    uint32_t loss, reorder, duplicate, corrupt; /* of IMPAIR_ALL */
    uint32_t delay_us, jitter_us;               /* up to IMPAIR_DELAY_MAX_US */
    uint32_t queue;                             /* frames, 1..capacity; 0: IMPAIR_QUEUE_DEFAULT */
    uint32_t backlog;                           /* octets waiting for the rate, at most; 0: no limit but the queue */
    uint32_t burst;                             /* octets that the rate lets out at once; 0: IMPAIR_BUCKET_OCTETS */
    uint64_t rate;                              /* bits a second, IMPAIR_RATE_LEAST..IMPAIR_RATE_MAX; 0: any */
    uint64_t seed;
};

struct impair_counters {
    uint64_t lost, full, reordered, duplicated, corrupted;
};

struct impair_entry { /* a copy under way */
    uint64_t at_us;
    uint64_t number; /* first in, first out among those of one time */
    uint32_t handle;
};

struct impair {
    struct impair_config config;
    struct impair_counters counters;
    uint64_t random[4]; /* xoshiro256** */
    uint64_t full_ns;   /* rate: when the bucket is full again */
    uint64_t last_us;   /* the latest time given to a frame in order */
    uint64_t number;
    uint32_t count, capacity;
    struct impair_entry *heap; /* `count` under way, the earliest first; behind them the handles that are free */
};

struct impair_fate {
    uint32_t copies;
    uint32_t handle[2];
    uint32_t corrupt_bit; /* counted from the frame's first octet's lowest bit; IMPAIR_NO_BIT: none */
};

/* Values beyond their limits count as the limit. `entries`: room for `capacity` (1 or more) copies, the engine's from
 * now on. */
void impair_init(struct impair *impair, const struct impair_config *config, struct impair_entry *entries,
                 uint32_t capacity);
/* Whether it does anything at all. */
bool impair_active(const struct impair_config *config);
/* A frame of `octets` is sent; its first `spared` octets are never corrupted. */
void impair_frame(struct impair *impair, uint64_t now_us, uint32_t octets, uint32_t spared, struct impair_fate *ret);
bool impair_due(struct impair *impair, uint64_t now_us, uint32_t *ret_handle);
uint64_t impair_deadline_us(const struct impair *impair);
/* Octets that wait for the rate. */
uint64_t impair_backlog_octets(const struct impair *impair, uint64_t now_us);

/* "loss=1%,delay=5ms,jitter=200us,reorder=2%,duplicate=1%,corrupt=0.1%,rate=100mbit,seed=42,queue=256,
 * backlog=125000,burst=1514", any of them, in any order, each once; "" is none. True; or false, with one line in
 * ret_error that says what to write. */
bool impair_parse(const char *text, struct impair_config *ret, char *ret_error, size_t error_size)
    __attribute__((warn_unused_result));

#endif
