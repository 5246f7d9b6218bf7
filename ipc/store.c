// SPDX-License-Identifier: BSD-2-Clause
/* See store.h. On the checksum: XXH3 (libxxhash) of the payload, mixed with the block's index and the copy's number,
 * presence and length, so that a copy that strays to another block's place does not pass for good. (Not XXH3's seed:
 * each call with one derives a secret of its own.) */
#include "ipc/store.h"

#include <errno.h>
#include <string.h>

#include <xxhash.h>

#define STORE_MAGIC 0x42484b53544f5234ULL /* "BHKSTOR4" */
#define COPY_NONE   2
#define TOGETHER    64U /* blocks of one kind that lie side by side, if there are several kinds: pages of their own */

struct store_header { /* first 64 octets */
    uint64_t magic;
    uint32_t version;
    uint32_t block_octets;
    uint32_t block_count;
    uint32_t kinds;
    uint64_t committed;             /* the store-wide word: bursts up to this number are the state */
    uint32_t used[STORE_KINDS_MAX]; /* of each kind: the rest was never written; raised before the first write */
    uint8_t reserved1[16];
};

struct store_copy {
    uint64_t burst; /* 0: never written */
    uint64_t checksum;
    uint32_t present; /* 0: the block ended with this burst */
    uint32_t octets;  /* of payload that were written; the rest is zero */
    uint8_t payload[];
};
_Static_assert(sizeof(struct store_header) == 64, "layout");
_Static_assert(sizeof(struct store_copy) == 24, "layout");

static size_t copy_octets(uint32_t block_octets)
{
    return (sizeof(struct store_copy) + block_octets + 63) & ~(size_t)63;
}

size_t store_octets(uint32_t block_octets, uint32_t count)
{
    return sizeof(struct store_header) + 2 * (size_t)count * copy_octets(block_octets);
}

/* Where a block lies: of a kind with few blocks next to no page is ever touched, however many others have. */
static uint32_t place_of(uint32_t index, uint32_t kinds)
{
    if (kinds == 1)
        return index;
    uint32_t kind = index % kinds, number = index / kinds;
    return (number / TOGETHER * kinds + kind) * TOGETHER + number % TOGETHER;
}

/* Up to the last of `used` blocks of a kind. */
static uint32_t places_to(uint32_t used, uint32_t kind, uint32_t kinds)
{
    return used == 0 ? 0 : place_of((used - 1) * kinds + kind, kinds) + 1;
}

static bool kinds_fit(uint32_t kinds, uint32_t block_count)
{
    return kinds == 1 || (kinds > 1 && kinds <= STORE_KINDS_MAX && block_count % (kinds * TOGETHER) == 0);
}

static struct store_copy *copy_at(const struct store *store, uint32_t index, unsigned which)
{
    size_t at = sizeof(struct store_header) +
                (2 * (size_t)place_of(index, store->kinds) + which) * copy_octets(store->block_octets);
    return (struct store_copy *)(store->memory + at);
}

static uint64_t copy_checksum(uint32_t index, const struct store_copy *copy)
{
    uint64_t which[3] = {copy->burst, (uint64_t)index << 32 | copy->octets, copy->present};
    return XXH3_64bits(copy->payload, copy->octets) ^ XXH3_64bits(which, sizeof which);
}

/* The newest copy whose number is at most `committed`; newer ones are erased (their burst never happened). */
static uint8_t choose_copy(struct store *store, uint32_t index, uint64_t committed)
{
    uint64_t burst[2];
    for (unsigned i = 0; i < 2; i++) {
        struct store_copy *copy = copy_at(store, index, i);
        burst[i] = copy->burst;
        if (burst[i] > committed) {
            copy->burst = 0;
            burst[i] = 0;
        }
    }
    if (burst[0] == 0 && burst[1] == 0)
        return COPY_NONE;
    return burst[1] > burst[0];
}

static bool header_is_ours(const struct store_header *header, const struct store *store, uint32_t version)
{
    if (header->magic != STORE_MAGIC || header->version != version || header->block_octets != store->block_octets ||
        header->block_count != store->block_count || header->kinds != store->kinds)
        return false;
    for (uint32_t kind = 0; kind < store->kinds; kind++)
        if (header->used[kind] > store->block_count / store->kinds)
            return false;
    return true;
}

int store_open_kinds(struct store *store, void *memory, uint32_t version, uint32_t block_octets, uint32_t block_count,
                     uint32_t kinds, uint8_t *current)
{
    struct store_header *header = memory;
    if (!kinds_fit(kinds, block_count))
        return -EINVAL;
    *store = (struct store){
        .memory = memory, .block_octets = block_octets, .block_count = block_count, .kinds = kinds, .current = current};
    if (header->magic == 0) {
        header->version = version;
        header->block_octets = block_octets;
        header->block_count = block_count;
        header->kinds = kinds;
        header->committed = 0;
        memset(header->used, 0, sizeof header->used);
        __atomic_store_n(&header->magic, STORE_MAGIC, __ATOMIC_RELEASE);
    } else if (!header_is_ours(header, store, version)) {
        return -EINVAL;
    }
    uint64_t committed = __atomic_load_n(&header->committed, __ATOMIC_ACQUIRE); /* (d) */
    memset(current, COPY_NONE, block_count);
    for (uint32_t kind = 0; kind < kinds; kind++)
        for (uint32_t i = kind; i / kinds < header->used[kind]; i += kinds)
            current[i] = choose_copy(store, i, committed);
    store->burst = committed + 1;
    return 0;
}

int store_open(struct store *store, void *memory, uint32_t version, uint32_t block_octets, uint32_t block_count,
               uint8_t *current)
{
    return store_open_kinds(store, memory, version, block_octets, block_count, 1, current);
}

enum store_block store_read(const struct store *store, uint32_t index, void *ret)
{
    if (store->current[index] == COPY_NONE)
        return STORE_BLOCK_EMPTY;
    const struct store_copy *copy = copy_at(store, index, store->current[index]);
    if (copy->octets > store->block_octets || copy->checksum != copy_checksum(index, copy))
        return STORE_BLOCK_CORRUPT;
    if (!copy->present)
        return STORE_BLOCK_EMPTY;
    memcpy(ret, copy->payload, copy->octets);
    memset((uint8_t *)ret + copy->octets, 0, store->block_octets - copy->octets);
    return STORE_BLOCK_GOOD;
}

/* The spare copy, or the one that was put in this burst, in the state of a burst that has not happened. */
static struct store_copy *copy_begin(struct store *store, uint32_t index)
{
    struct store_header *header = (struct store_header *)store->memory;
    uint32_t *used = &header->used[index % store->kinds], number = index / store->kinds;
    if (number >= *used) /* before the copy: what is below `used` is looked at by the next incarnation */
        __atomic_store_n(used, number + 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(
        __ATOMIC_SEQ_CST); /* written in this order: the reader comes after our death, on a coherent machine */
    unsigned which = store->current[index] == COPY_NONE ? 0 : store->current[index];
    struct store_copy *copy = copy_at(store, index, which);
    if (copy->burst != store->burst) { /* else: put again in this burst, in place */
        which ^= store->current[index] != COPY_NONE;
        copy = copy_at(store, index, which);
    }
    copy->burst = store->burst;
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* from here on the copy is of a burst that has not happened */
    store->current[index] = (uint8_t)which;
    return copy;
}

static void copy_end(struct store *store, uint32_t index, struct store_copy *copy, bool present, uint32_t octets)
{
    copy->present = present;
    copy->octets = octets;
    copy->checksum = copy_checksum(index, copy);
    store->dirty = true;
}

void *store_begin(struct store *store, uint32_t index)
{
    return store->off ? NULL : copy_begin(store, index)->payload;
}

void store_end(struct store *store, uint32_t index, uint32_t octets)
{
    copy_end(store, index, copy_at(store, index, store->current[index]), true, octets);
}

static void put(struct store *store, uint32_t index, const void *block, uint32_t octets)
{
    if (store->off)
        return;
    struct store_copy *copy = copy_begin(store, index);
    if (block != NULL)
        memcpy(copy->payload, block, octets);
    copy_end(store, index, copy, block != NULL, octets);
}

void store_put(struct store *store, uint32_t index, const void *block)
{
    put(store, index, block, store->block_octets);
}

void store_put_part(struct store *store, uint32_t index, const void *block, uint32_t octets)
{
    put(store, index, block, octets < store->block_octets ? octets : store->block_octets);
}

void store_erase(struct store *store, uint32_t index)
{
    if (store->current[index] != COPY_NONE)
        put(store, index, NULL, 0);
}

void store_commit(struct store *store)
{
    if (!store->dirty)
        return;
    struct store_header *header = (struct store_header *)store->memory;
    __atomic_store_n(&header->committed, store->burst, __ATOMIC_RELEASE); /* (D) */
    store->burst++;
    store->dirty = false;
}

uint32_t store_used(const struct store *store, uint32_t kind)
{
    return ((const struct store_header *)store->memory)->used[kind];
}

/* ---- from outside ---- */

static bool header_fits(const struct store_header *header, size_t octets)
{
    size_t copy = copy_octets(header->block_octets);
    bool fits = header->magic == STORE_MAGIC && header->block_octets > 0 && header->block_octets <= octets &&
                header->block_count <= (octets - sizeof *header) / (2 * copy) &&
                kinds_fit(header->kinds, header->block_count);
    for (uint32_t kind = 0; fits && kind < header->kinds; kind++)
        fits = header->used[kind] <= header->block_count / header->kinds;
    return fits;
}

size_t store_extent(const void *memory, size_t octets)
{
    const struct store_header *header = memory;
    uint32_t places = 0;
    if (octets < sizeof *header || !header_fits(header, octets))
        return sizeof *header;
    for (uint32_t kind = 0; kind < header->kinds; kind++) {
        uint32_t last = places_to(header->used[kind], kind, header->kinds);
        places = last > places ? last : places;
    }
    return sizeof *header + 2 * (size_t)places * copy_octets(header->block_octets);
}

/* The newest committed copy of a block, or NULL. */
static const struct store_copy *committed_copy(const struct store *store, uint32_t index)
{
    uint64_t committed = ((const struct store_header *)store->memory)->committed;
    const struct store_copy *newest = NULL;
    for (unsigned i = 0; i < 2; i++) {
        const struct store_copy *copy = copy_at(store, index, i);
        if (copy->burst != 0 && copy->burst <= committed && (newest == NULL || copy->burst > newest->burst))
            newest = copy;
    }
    return newest;
}

static struct store seen(const void *memory)
{
    const struct store_header *header = memory;
    return (struct store){.memory = (uint8_t *)(uintptr_t)memory,
                          .block_octets = header->block_octets,
                          .block_count = header->block_count,
                          .kinds = header->kinds};
}

static bool was_written(const struct store *store, uint32_t index)
{
    return index / store->kinds < store_used(store, index % store->kinds);
}

enum store_block store_verify(const void *memory, size_t octets, uint32_t *ret_block, uint32_t *ret_good)
{
    const struct store_header *header = memory;
    const struct store store = seen(memory);
    *ret_block = STORE_HEADER;
    *ret_good = 0;
    if (header->magic == 0)
        return STORE_BLOCK_EMPTY;
    if (!header_fits(header, octets))
        return STORE_BLOCK_CORRUPT;
    for (uint32_t i = 0; i < header->block_count; i++) {
        const struct store_copy *copy = was_written(&store, i) ? committed_copy(&store, i) : NULL;
        *ret_block = i;
        if (copy != NULL && (copy->octets > header->block_octets || copy->checksum != copy_checksum(i, copy)))
            return STORE_BLOCK_CORRUPT;
        *ret_good += copy != NULL && copy->present;
    }
    return STORE_BLOCK_GOOD;
}

static bool is_payload(const struct store_copy *copy, const struct store_header *header)
{
    return copy != NULL && copy->present && copy->octets > 0 && copy->octets <= header->block_octets;
}

bool store_payload(const void *memory, size_t octets, uint64_t random, size_t *ret_at)
{
    const struct store_header *header = memory;
    const struct store store = seen(memory);
    uint32_t blocks = header_fits(header, octets) ? header->block_count : 0, count = 0;
    for (uint32_t i = 0; i < blocks; i++)
        count += was_written(&store, i) && is_payload(committed_copy(&store, i), header);
    uint32_t left = count == 0 ? 0 : (uint32_t)(random % count);
    for (uint32_t i = 0; i < blocks && count > 0; i++) {
        const struct store_copy *copy = was_written(&store, i) ? committed_copy(&store, i) : NULL;
        if (!is_payload(copy, header) || left-- > 0)
            continue;
        *ret_at = (size_t)(copy->payload - (const uint8_t *)memory) + (random >> 32) % copy->octets;
        return true;
    }
    return false;
}
