// SPDX-License-Identifier: BSD-2-Clause
/* The store: what an incarnation finds after its predecessor died at any single write of a commit. */
#include "ipc/store.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/suite.h"

#define BLOCKS 8
#define OCTETS 64

static uint8_t *memory;
static uint8_t current[BLOCKS];

static void setup(void)
{
    memory = aligned_alloc(64, store_octets(OCTETS, BLOCKS));
    memset(memory, 0, store_octets(OCTETS, BLOCKS));
}

static void teardown(void)
{
    free(memory);
}

static struct store opened(void *at)
{
    struct store store;
    ck_assert_int_eq(store_open(&store, at, 1, OCTETS, BLOCKS, current), 0);
    return store;
}

static void put_value(struct store *store, uint32_t index, uint8_t value)
{
    uint8_t block[OCTETS];
    memset(block, value, sizeof block);
    store_put(store, index, block);
}

/* The value of a block, -1 empty, -2 corrupt. */
static int value_of(struct store *store, uint32_t index)
{
    uint8_t block[OCTETS];
    switch (store_read(store, index, block)) {
    case STORE_BLOCK_GOOD:
        for (unsigned i = 1; i < OCTETS; i++)
            ck_assert_uint_eq(block[i], block[0]);
        return block[0];
    case STORE_BLOCK_CORRUPT:
        return -2;
    default:
        return -1;
    }
}

START_TEST(test_committed_is_found)
{
    struct store store = opened(memory);
    put_value(&store, 3, 7);
    put_value(&store, 5, 8);
    store_commit(&store);
    put_value(&store, 3, 9);
    store_erase(&store, 5);
    store_commit(&store);
    struct store next = opened(memory);
    ck_assert_int_eq(value_of(&next, 3), 9);
    ck_assert_int_eq(value_of(&next, 5), -1);
    ck_assert_int_eq(value_of(&next, 0), -1);
    ck_assert_uint_eq(store_used(&next, 0), 6);
}
END_TEST

START_TEST(test_uncommitted_never_happened)
{
    struct store store = opened(memory);
    put_value(&store, 0, 1);
    put_value(&store, 1, 1);
    store_commit(&store);
    put_value(&store, 0, 2);
    store_erase(&store, 1);
    put_value(&store, 2, 2);
    struct store next = opened(memory);
    ck_assert_int_eq(value_of(&next, 0), 1);
    ck_assert_int_eq(value_of(&next, 1), 1);
    ck_assert_int_eq(value_of(&next, 2), -1);
    /* A number that was erased is used again: the old copy must not come back with it. */
    put_value(&next, 7, 3);
    store_commit(&next);
    struct store third = opened(memory);
    ck_assert_int_eq(value_of(&third, 0), 1);
    ck_assert_int_eq(value_of(&third, 2), -1);
    ck_assert_int_eq(value_of(&third, 7), 3);
}
END_TEST

START_TEST(test_last_put_of_a_burst_counts)
{
    struct store store = opened(memory);
    put_value(&store, 0, 1);
    store_commit(&store);
    put_value(&store, 0, 2);
    put_value(&store, 0, 3);
    store_erase(&store, 0);
    put_value(&store, 0, 4);
    store_commit(&store);
    struct store next = opened(memory);
    ck_assert_int_eq(value_of(&next, 0), 4);
}
END_TEST

START_TEST(test_damage_is_seen)
{
    struct store store = opened(memory);
    put_value(&store, 2, 5);
    store_commit(&store);
    /* flip each octet of the block's copies in turn: never another value */
    size_t octets = store_octets(OCTETS, BLOCKS);
    for (size_t i = 64; i < octets; i++) {
        memory[i] ^= 0x10;
        struct store next = opened(memory);
        int v = value_of(&next, 2);
        ck_assert_msg(v == 5 || v == -1 || v == -2, "octet %zu: %d", i, v);
        memory[i] ^= 0x10;
        if (v != 5) { /* opening may have erased the damaged copy: start over */
            memset(memory, 0, octets);
            store = opened(memory);
            put_value(&store, 2, 5);
            store_commit(&store);
        }
    }
}
END_TEST

/* A death between any two octets written in a burst: the memory before the burst, overlaid with a prefix (in address
 * order, and in reverse) of what the burst changed, without and with the commit word. */
START_TEST(test_death_at_any_write)
{
    size_t octets = store_octets(OCTETS, BLOCKS);
    struct store store = opened(memory);
    for (uint32_t i = 0; i < 4; i++)
        put_value(&store, i, 10);
    store_commit(&store);
    for (uint32_t i = 0; i < 4; i++)
        put_value(&store, i, 20);
    store_commit(&store);
    uint8_t *before = malloc(octets), *after = malloc(octets), *torn = aligned_alloc(64, octets);
    memcpy(before, memory, octets);
    for (uint32_t i = 0; i < 4; i++)
        put_value(&store, i, 30);
    memcpy(after, memory, octets); /* all of the burst but its commit */
    for (size_t cut = 64; cut <= octets; cut += 8) {
        for (int reverse = 0; reverse < 2; reverse++) {
            memcpy(torn, before, octets);
            size_t from = reverse ? cut : 64, to = reverse ? octets : cut;
            memcpy(torn + from, after + from, to - from);
            struct store next = opened(torn);
            for (uint32_t i = 0; i < 4; i++)
                ck_assert_int_eq(value_of(&next, i), 20);
        }
    }
    store_commit(&store);
    struct store next = opened(memory);
    for (uint32_t i = 0; i < 4; i++)
        ck_assert_int_eq(value_of(&next, i), 30);
    free(before);
    free(after);
    free(torn);
}
END_TEST

/* Written where it lies: of what was begun and not ended nothing is there, of what was committed all of it. */
START_TEST(test_written_in_place)
{
    struct store store = opened(memory);
    put_value(&store, 3, 7);
    store_commit(&store);
    uint8_t *block = store_begin(&store, 3);
    memset(block, 9, OCTETS / 2);
    struct store torn = opened(memory);
    ck_assert_int_eq(value_of(&torn, 3), 7);
    block = store_begin(&torn, 3);
    memset(block, 9, OCTETS);
    store_end(&torn, 3, OCTETS);
    store_commit(&torn);
    struct store next = opened(memory);
    ck_assert_int_eq(value_of(&next, 3), 9);
    memset(store_begin(&next, 3), 5, 8);
    store_end(&next, 3, 8);
    store_commit(&next);
    uint8_t got[OCTETS], due[OCTETS] = {5, 5, 5, 5, 5, 5, 5, 5};
    ck_assert_int_eq(store_read(&next, 3, got), STORE_BLOCK_GOOD);
    ck_assert_mem_eq(got, due, OCTETS);
}
END_TEST

/* Good in its own place only. */
START_TEST(test_copy_elsewhere_is_corrupt)
{
    struct store store = opened(memory);
    put_value(&store, 1, 7);
    put_value(&store, 2, 7);
    store_commit(&store);
    size_t stride = (store_octets(OCTETS, BLOCKS) - store_octets(OCTETS, 0)) / BLOCKS, first = store_octets(OCTETS, 0);
    memcpy(memory + first + 2 * stride, memory + first + stride, stride);
    ck_assert_int_eq(value_of(&store, 2), -2);
    ck_assert_int_eq(value_of(&store, 1), 7);
}
END_TEST

START_TEST(test_off_keeps_nothing)
{
    struct store store = opened(memory);
    store.off = true;
    ck_assert_ptr_null(store_begin(&store, 3));
    put_value(&store, 3, 7);
    store_commit(&store);
    store_erase(&store, 3);
    struct store next = opened(memory);
    ck_assert_uint_eq(store_used(&next, 0), 0);
    ck_assert_int_eq(value_of(&next, 3), -1);
}
END_TEST

START_TEST(test_other_layout_is_refused)
{
    struct store store = opened(memory);
    store_commit(&store);
    ck_assert_int_lt(store_open(&store, memory, 2, OCTETS, BLOCKS, current), 0);
    ck_assert_int_lt(store_open(&store, memory, 1, OCTETS + 8, BLOCKS, current), 0);
    memory[0] ^= 1;
    ck_assert_int_lt(store_open(&store, memory, 1, OCTETS, BLOCKS, current), 0);
}
END_TEST

static enum store_block verified(const void *copy, uint32_t *ret_block, uint32_t *ret_good)
{
    return store_verify(copy, store_octets(OCTETS, BLOCKS), ret_block, ret_good);
}

/* A look from outside sees the committed blocks, and every octet of theirs that is another; what is not committed is no matter. */
START_TEST(test_verified_from_outside)
{
    uint32_t block = 0, good = 0;
    size_t octets = store_octets(OCTETS, BLOCKS), at = 0;
    ck_assert_int_eq(verified(memory, &block, &good), STORE_BLOCK_EMPTY);
    ck_assert_uint_eq(store_extent(memory, octets), 64);
    struct store store = opened(memory);
    ck_assert(!store_payload(memory, octets, 0, &at));
    put_value(&store, 1, 7);
    put_value(&store, 2, 8);
    store_commit(&store);
    put_value(&store, 2, 9); /* begun, not committed */
    ck_assert_int_eq(verified(memory, &block, &good), STORE_BLOCK_GOOD);
    ck_assert_uint_eq(good, 2);
    ck_assert_uint_eq(store_extent(memory, octets), store_octets(OCTETS, 3));
    ck_assert(store_payload(memory, octets, 0, &at));
    for (unsigned i = 0; i < OCTETS; i++) {
        memory[at + i] ^= 0x10;
        ck_assert_int_eq(verified(memory, &block, &good), STORE_BLOCK_CORRUPT);
        ck_assert_uint_eq(block, 1);
        memory[at + i] ^= 0x10;
    }
    ck_assert(store_payload(memory, octets, (uint64_t)(OCTETS + 5) << 32 | 3, &at)); /* the second's sixth octet */
    memory[at] ^= 0x10;
    ck_assert_int_eq(verified(memory, &block, &good), STORE_BLOCK_CORRUPT);
    ck_assert_uint_eq(block, 2);
    memory[at] ^= 0x10;
    size_t first = at;
    ck_assert(store_payload(memory, octets, 1, &at) && at == first - 5);
    store_commit(&store);
    ck_assert_int_eq(verified(memory, &block, &good), STORE_BLOCK_GOOD);
}
END_TEST

/* Headers that lie lead nowhere. */
START_TEST(test_verified_nonsense)
{
    size_t octets = store_octets(OCTETS, BLOCKS), at = 0;
    struct store store = opened(memory);
    put_value(&store, 1, 7);
    store_commit(&store);
    uint8_t *header = malloc(64);
    memcpy(header, memory, 64);
    for (unsigned i = 0; i < 48; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            uint32_t block = 0, good = 0;
            memory[i] ^= (uint8_t)(1U << bit);
            size_t extent = store_extent(memory, octets);
            ck_assert_uint_ge(extent, 64);
            ck_assert_uint_le(extent, octets);
            (void)!verified(memory, &block, &good);
            (void)store_payload(memory, octets, (uint64_t)i << 32 | bit, &at);
            memcpy(memory, header, 64);
        }
    }
    memset(memory + 16, 0xff, 8); /* block_count, kinds */
    uint32_t block = 0, good = 0;
    ck_assert_int_eq(verified(memory, &block, &good), STORE_BLOCK_CORRUPT);
    ck_assert_uint_eq(block, STORE_HEADER);
    free(header);
}
END_TEST

#define KINDS       2U
#define KIND_BLOCKS 256U

static uint8_t current_of_kinds[KIND_BLOCKS];

static int open_kinds(struct store *store, void *at, uint32_t kinds)
{
    return store_open_kinds(store, at, 1, OCTETS, KIND_BLOCKS, kinds, current_of_kinds);
}

/* Each has a place of its own; a kind of which nothing was used is not looked at, whatever lies there. */
START_TEST(test_kinds_lie_apart)
{
    size_t octets = store_octets(OCTETS, KIND_BLOCKS), at_first = store_octets(OCTETS, 64);
    uint8_t *at = aligned_alloc(64, octets);
    memset(at, 0, octets);
    struct store store;
    ck_assert_int_eq(open_kinds(&store, at, KINDS), 0);
    for (uint32_t i = 0; i < 64; i++) /* kind 0 */
        put_value(&store, KINDS * i, (uint8_t)i);
    store_commit(&store);
    ck_assert_uint_eq(store_extent(at, octets), at_first);
    memset(at + at_first, 1, octets - at_first);
    ck_assert_int_eq(open_kinds(&store, at, KINDS), 0);
    for (size_t i = at_first; i < octets; i++) /* of a burst that has not happened, it would have been erased */
        ck_assert_uint_eq(at[i], 1);
    ck_assert_uint_eq(store_used(&store, 0), 64);
    ck_assert_uint_eq(store_used(&store, 1), 0);
    for (uint32_t i = 0; i < KIND_BLOCKS; i++)
        ck_assert_int_eq(value_of(&store, i), i % KINDS == 0 && i / KINDS < 64 ? (int)i / 2 : -1);
    memset(at + at_first, 0, octets - at_first);
    for (uint32_t i = 0; i < KIND_BLOCKS; i++)
        put_value(&store, i, (uint8_t)(i * 7));
    store_commit(&store);
    ck_assert_int_eq(open_kinds(&store, at, KINDS), 0);
    for (uint32_t i = 0; i < KIND_BLOCKS; i++)
        ck_assert_int_eq(value_of(&store, i), (uint8_t)(i * 7));
    uint32_t block, good;
    ck_assert_int_eq(store_verify(at, octets, &block, &good), STORE_BLOCK_GOOD);
    ck_assert_uint_eq(good, KIND_BLOCKS);
    ck_assert_uint_eq(store_extent(at, octets), octets);
    free(at);
}
END_TEST

START_TEST(test_other_kinds_are_refused)
{
    size_t octets = store_octets(OCTETS, KIND_BLOCKS);
    uint8_t *at = aligned_alloc(64, octets);
    memset(at, 0, octets);
    struct store store;
    ck_assert_int_lt(open_kinds(&store, at, 0), 0);
    ck_assert_int_lt(open_kinds(&store, at, 3), 0); /* no whole number of blocks that lie together */
    ck_assert_int_lt(open_kinds(&store, at, STORE_KINDS_MAX + 1), 0);
    ck_assert_int_eq(open_kinds(&store, at, KINDS), 0);
    store_commit(&store);
    ck_assert_int_lt(open_kinds(&store, at, 1), 0);
    free(at);
}
END_TEST

SUITE_RUN("store", setup, teardown, test_committed_is_found, test_uncommitted_never_happened,
          test_last_put_of_a_burst_counts, test_damage_is_seen, test_death_at_any_write, test_written_in_place,
          test_copy_elsewhere_is_corrupt, test_off_keeps_nothing, test_other_layout_is_refused, test_kinds_lie_apart,
          test_other_kinds_are_refused, test_verified_from_outside, test_verified_nonsense)
