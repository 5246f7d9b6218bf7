// SPDX-License-Identifier: BSD-2-Clause
/* See impair.h. Copies under way are a binary heap by time; what each costs is at most a few hundred steps of it. */
#include "netdrv/impair.h"

/* ---- chance: xoshiro256** (Blackman, Vigna: "Scrambled Linear Pseudorandom Number Generators", 2021), seeded by
 * SplitMix64 as its authors advise ---- */

static uint64_t rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static uint64_t split_mix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

static uint64_t next(struct impair *impair)
{
    uint64_t *s = impair->random;
    uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* Below `bound` (not 0), from the upper half: evenly enough for a network. */
static uint32_t below(struct impair *impair, uint32_t bound)
{
    return (uint32_t)((next(impair) >> 32) * bound >> 32);
}

static bool happens(struct impair *impair, uint32_t chance)
{
    return chance != 0 && below(impair, IMPAIR_ALL) < chance;
}

/* ---- the heap ---- */

static bool before(const struct impair_entry *a, const struct impair_entry *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

static void swap(struct impair_entry *a, struct impair_entry *b)
{
    struct impair_entry t = *a;
    *a = *b;
    *b = t;
}

static uint32_t enter(struct impair *impair, uint64_t at_us)
{
    struct impair_entry *heap = impair->heap;
    uint32_t i = impair->count++, handle = heap[i].handle;
    heap[i] = (struct impair_entry){.at_us = at_us, .number = impair->number++, .handle = handle};
    for (; i > 0 && before(&heap[i], &heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&heap[i], &heap[(i - 1) / 2]);
    return handle;
}

bool impair_due(struct impair *impair, uint64_t now_us, uint32_t *ret_handle)
{
    struct impair_entry *heap = impair->heap;
    if (impair->count == 0 || heap[0].at_us > now_us)
        return false;
    *ret_handle = heap[0].handle;
    swap(&heap[0], &heap[--impair->count]);
    for (uint32_t i = 0, least;; i = least) {
        least = i;
        for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < impair->count; child++) {
            if (before(&heap[child], &heap[least]))
                least = child;
        }
        if (least == i)
            return true;
        swap(&heap[i], &heap[least]);
    }
}

uint64_t impair_deadline_us(const struct impair *impair)
{
    return impair->count > 0 ? impair->heap[0].at_us : UINT64_MAX;
}

/* ---- fates ---- */

static uint32_t at_most(uint32_t value, uint32_t most)
{
    return value < most ? value : most;
}

void impair_init(struct impair *impair, const struct impair_config *config, struct impair_entry *entries,
                 uint32_t capacity)
{
    *impair = (struct impair){.config = *config, .heap = entries, .capacity = capacity};
    struct impair_config *c = &impair->config;
    c->loss = at_most(c->loss, IMPAIR_ALL);
    c->reorder = at_most(c->reorder, IMPAIR_ALL);
    c->duplicate = at_most(c->duplicate, IMPAIR_ALL);
    c->corrupt = at_most(c->corrupt, IMPAIR_ALL);
    c->delay_us = at_most(c->delay_us, IMPAIR_DELAY_MAX_US);
    c->jitter_us = at_most(c->jitter_us, IMPAIR_DELAY_MAX_US);
    c->queue = at_most(c->queue == 0 ? IMPAIR_QUEUE_DEFAULT : c->queue, capacity);
    c->burst = at_most(c->burst == 0 ? IMPAIR_BUCKET_OCTETS : c->burst, IMPAIR_OCTETS_MAX);
    if (c->rate != 0 && c->rate < IMPAIR_RATE_LEAST)
        c->rate = IMPAIR_RATE_LEAST;
    if (c->rate > IMPAIR_RATE_MAX)
        c->rate = IMPAIR_RATE_MAX;
    uint64_t state = c->seed;
    for (unsigned i = 0; i < 4; i++)
        impair->random[i] = split_mix(&state);
    for (uint32_t i = 0; i < capacity; i++)
        entries[i].handle = i;
}

bool impair_active(const struct impair_config *c)
{
    return (c->loss | c->reorder | c->duplicate | c->corrupt | c->delay_us | c->jitter_us) != 0 || c->rate != 0;
}

static uint64_t octets_ns(const struct impair *impair, uint64_t octets)
{
    return octets * 8 * 1000000000ULL / impair->config.rate;
}

/* When the next frame conforms, in nanoseconds from now; 0: at once. */
static uint64_t wait_ns(const struct impair *impair, uint64_t now_us)
{
    uint64_t conforms_ns = now_us * 1000 + octets_ns(impair, impair->config.burst);
    return impair->full_ns > conforms_ns ? impair->full_ns - conforms_ns : 0;
}

uint64_t impair_backlog_octets(const struct impair *impair, uint64_t now_us)
{
    if (impair->config.rate == 0)
        return 0;
    return (uint64_t)((double)wait_ns(impair, now_us) * (double)impair->config.rate / 8e9);
}

/* A token bucket, told by the time at which it is full again (the generic cell rate algorithm of ITU-T I.371). */
static uint64_t departs_us(struct impair *impair, uint64_t now_us, uint32_t octets)
{
    if (impair->config.rate == 0)
        return now_us;
    uint64_t now_ns = now_us * 1000;
    if (impair->full_ns < now_ns)
        impair->full_ns = now_ns;
    impair->full_ns += octets_ns(impair, octets);
    return now_us + (wait_ns(impair, now_us) + 999) / 1000;
}

static uint64_t arrives_us(struct impair *impair, uint64_t departure_us)
{
    const struct impair_config *c = &impair->config;
    uint64_t at_us = departure_us + c->delay_us;
    if (c->jitter_us > 0) {
        uint64_t up_us = at_us + below(impair, 2 * c->jitter_us + 1);
        at_us = up_us > departure_us + c->jitter_us ? up_us - c->jitter_us : departure_us;
    }
    if (at_us < impair->last_us)
        at_us = impair->last_us;
    if (happens(impair, c->reorder)) {
        impair->counters.reordered++;
        return at_us + IMPAIR_REORDER_US;
    }
    return impair->last_us = at_us;
}

void impair_frame(struct impair *impair, uint64_t now_us, uint32_t octets, uint32_t spared, struct impair_fate *ret)
{
    const struct impair_config *c = &impair->config;
    *ret = (struct impair_fate){.corrupt_bit = IMPAIR_NO_BIT};
    if (happens(impair, c->loss)) {
        impair->counters.lost++;
        return;
    }
    if (impair->count >= c->queue || (c->backlog != 0 && impair_backlog_octets(impair, now_us) + octets > c->backlog)) {
        impair->counters.full++;
        return;
    }
    uint64_t at_us = arrives_us(impair, departs_us(impair, now_us, octets));
    if (spared < octets && happens(impair, c->corrupt)) {
        impair->counters.corrupted++;
        ret->corrupt_bit = 8 * spared + below(impair, 8 * (octets - spared));
    }
    ret->handle[ret->copies++] = enter(impair, at_us);
    if (impair->count < c->queue && happens(impair, c->duplicate)) {
        impair->counters.duplicated++;
        ret->handle[ret->copies++] = enter(impair, at_us);
    }
}
