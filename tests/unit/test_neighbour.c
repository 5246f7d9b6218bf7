// SPDX-License-Identifier: BSD-2-Clause
#include "protocols/ip/neighbour.h"

#include <stdlib.h>

#include "protocols/base/siphash.h"
#include "tests/unit/suite.h"

#define HALF (NEIGHBOURS_MAX / 2)

struct key {
    uint8_t octets[16];
};

static const uint8_t secret[16] = {1, 2, 3}, other_secret[16] = {4, 5, 6};
static struct neighbour_table table;
static uint64_t evicted;

static struct key nth(uint32_t n)
{
    return (struct key){.octets = {10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}};
}

static struct neighbour *find(uint32_t n)
{
    struct key key = nth(n);
    return neighbour_find(&table, key.octets);
}

static struct neighbour *learn(uint32_t n)
{
    struct key key = nth(n);
    struct neighbour *e = neighbour_learn(&table, key.octets, &evicted);
    if (e != NULL)
        neighbour_schedule(&table, e, NEIGHBOUR_STALE, UINT64_MAX);
    return e;
}

static struct neighbour *use(uint32_t n, uint64_t now_us)
{
    struct key key = nth(n);
    return neighbour_use(&table, now_us, key.octets, &evicted);
}

static uint32_t chain_length(uint32_t bucket)
{
    uint32_t length = 0;
    for (uint16_t i = table.bucket[bucket]; i != 0; i = table.entry[i - 1].next)
        ck_assert_uint_le(++length, NEIGHBOURS_MAX);
    return length;
}

static uint32_t longest_chain(void)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++)
        longest = chain_length(i) > longest ? chain_length(i) : longest;
    return longest;
}

/* What is true at all times: each entry in use is in one chain, and no time is earlier than the deadline. */
static void expect_whole(void)
{
    uint32_t in_use = 0, chained = 0;
    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++) {
        struct neighbour *e = &table.entry[i];
        chained += chain_length(i);
        if (e->state == NEIGHBOUR_FREE)
            continue;
        in_use++;
        ck_assert_ptr_eq(neighbour_find(&table, e->key), e);
        ck_assert_uint_ge(e->at_us, table.deadline_us);
    }
    ck_assert_uint_eq(in_use, chained);
}

static void setup(void)
{
    neighbour_table_init(&table, secret);
    evicted = 0;
}

/* The `count` first keys that fall into one bucket under `secret`. */
static void colliding(uint32_t *ret, uint32_t count)
{
    for (uint32_t n = 0, found = 0; found < count; n++) {
        struct key key = nth(n);
        if (siphash(secret, key.octets, 16) % NEIGHBOURS_MAX == 7)
            ret[found++] = n;
    }
}

START_TEST(test_chains)
{
    uint32_t n[4];
    colliding(n, 4);
    for (uint32_t gone = 0; gone < 4; gone++) {
        setup();
        for (uint32_t i = 0; i < 4; i++)
            ck_assert_ptr_nonnull(learn(n[i]));
        ck_assert_uint_eq(chain_length(7), 4);
        neighbour_forget(&table, find(n[gone]));
        for (uint32_t i = 0; i < 4; i++)
            ck_assert((find(n[i]) == NULL) == (i == gone));
        ck_assert_ptr_nonnull(learn(n[gone]));
        expect_whole();
    }
}
END_TEST

START_TEST(test_one_who_chooses_addresses_cannot_make_a_long_chain)
{
    uint32_t n[NEIGHBOURS_MAX];
    colliding(n, NEIGHBOURS_MAX);
    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++)
        ck_assert_ptr_nonnull(learn(n[i]));
    ck_assert_uint_eq(longest_chain(), NEIGHBOURS_MAX); /* who knows the secret can */
    neighbour_table_init(&table, other_secret);
    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++)
        ck_assert_ptr_nonnull(learn(n[i]));
    ck_assert_uint_le(longest_chain(), 10);
    ck_assert_uint_eq(evicted, 0);
}
END_TEST

START_TEST(test_the_key_is_all_sixteen_octets)
{
    for (size_t i = 0; i < 16; i++) {
        struct key key = nth(1);
        key.octets[i] ^= 0x80;
        ck_assert_ptr_nonnull(neighbour_use(&table, 1, key.octets, &evicted));
        ck_assert_ptr_null(find(1));
    }
    expect_whole();
}
END_TEST

static void fill_with_used(void)
{
    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++) {
        ck_assert_ptr_nonnull(learn(i));
        use(i, 1000 + i);
    }
}

START_TEST(test_order_of_eviction)
{
    fill_with_used();
    neighbour_schedule(&table, find(200), NEIGHBOUR_FAILED, 5000);
    find(100)->used_us = 0;
    neighbour_forget(&table, find(150));
    use(0, 2000);                                          /* no longer the oldest */
    static const uint32_t leave[] = {150, 100, 200, 1, 2}; /* never used and failed are alike: the first found */
    for (uint32_t i = 0; i < 5; i++) {
        use(1000 + i, 3000 + i)->state = NEIGHBOUR_STALE; /* answered */
        ck_assert_ptr_null(find(leave[i]));
        ck_assert_uint_eq(evicted, i);
    }
    for (uint32_t i = 3; i < NEIGHBOURS_MAX; i++)
        ck_assert(i == 100 || i == 150 || i == 200 || find(i) != NULL);
    ck_assert_ptr_nonnull(find(0));
    expect_whole();
}
END_TEST

START_TEST(test_strangers_take_what_nobody_uses)
{
    fill_with_used();
    ck_assert_ptr_null(learn(1000));
    ck_assert_uint_eq(evicted, 0);
    neighbour_schedule(&table, find(9), NEIGHBOUR_FAILED, 5000);
    ck_assert_ptr_nonnull(learn(1000));
    ck_assert_ptr_null(find(9));
    ck_assert_ptr_nonnull(learn(1001)); /* 1000 was never looked up */
    ck_assert_ptr_null(find(1000));
    use(1001, 3000);
    ck_assert_ptr_null(learn(1002));
    ck_assert_uint_eq(evicted, 2);
    expect_whole();
}
END_TEST

START_TEST(test_the_unanswered_take_no_more_than_half)
{
    fill_with_used();
    for (uint32_t i = 0; i < 2000; i++)
        ck_assert_int_eq(use(1000 + i, 3000 + i)->state, NEIGHBOUR_INCOMPLETE);
    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++)
        ck_assert((find(i) != NULL) == (i >= HALF)); /* the oldest half is gone, the rest stays */
    for (uint32_t i = 0; i < 2000; i++)
        ck_assert((find(1000 + i) != NULL) == (i >= 2000 - HALF)); /* of the unanswered, the latest */
    ck_assert_uint_eq(evicted, 2000);
    neighbour_schedule(&table, find(2999), NEIGHBOUR_REACHABLE, 9000); /* one answered: one below the limit */
    use(4000, 6000);
    ck_assert_ptr_null(find(HALF));
    use(4001, 6001);
    ck_assert_ptr_nonnull(find(HALF + 1));
    expect_whole();
}
END_TEST

START_TEST(test_use)
{
    struct neighbour *e = use(1, 0);
    ck_assert_int_eq(e->state, NEIGHBOUR_INCOMPLETE);
    ck_assert(!neighbour_is_known(e));
    ck_assert_uint_ne(e->used_us, 0); /* at time zero as well */
    ck_assert_uint_eq(table.deadline_us, 0);
    e->tries = 2;
    neighbour_schedule(&table, e, NEIGHBOUR_REACHABLE, 500);
    ck_assert_uint_eq(e->tries, 0);
    ck_assert_int_eq(use(1, 499)->state, NEIGHBOUR_REACHABLE);
    ck_assert_int_eq(use(1, 500)->state, NEIGHBOUR_STALE);
    ck_assert_uint_eq(e->at_us, UINT64_MAX);
    ck_assert(neighbour_is_known(e));
    neighbour_schedule(&table, e, NEIGHBOUR_FAILED, 900);
    ck_assert(!neighbour_is_known(use(1, 899)));
    ck_assert_int_eq(e->state, NEIGHBOUR_FAILED);
    ck_assert_int_eq(use(1, 900)->state, NEIGHBOUR_INCOMPLETE);
    ck_assert_uint_eq(e->at_us, 900);
}
END_TEST

/* The one found last is tried before its chain: not when it is another's by now. */
START_TEST(test_the_last_found_is_not_found_when_gone)
{
    for (uint32_t i = 0; i < 3; i++)
        ck_assert_ptr_nonnull(learn(i));
    struct neighbour *e = find(2);
    ck_assert_ptr_eq(find(2), e);
    ck_assert_ptr_ne(find(1), e);
    find(2);
    neighbour_forget(&table, e);
    ck_assert_ptr_null(find(2));
    struct key zero = {0};
    ck_assert_ptr_null(neighbour_find(&table, zero.octets));
    ck_assert_ptr_eq(learn(3), e); /* in its place */
    ck_assert_ptr_null(find(2));
    ck_assert_ptr_eq(find(3), e);
}
END_TEST

START_TEST(test_due)
{
    size_t at = 0;
    for (uint32_t i = 0; i < 4; i++)
        neighbour_schedule(&table, learn(i), NEIGHBOUR_REACHABLE, 100 * (i + 1));
    ck_assert_uint_eq(table.deadline_us, 100);
    ck_assert_ptr_null(neighbour_due(&table, 99, &at));
    ck_assert_uint_eq(at, 0);
    ck_assert_ptr_eq(neighbour_due(&table, 200, &at), find(0));
    neighbour_forget(&table, find(0));
    ck_assert_ptr_eq(neighbour_due(&table, 200, &at), find(1));
    find(1)->at_us = 350;
    ck_assert_uint_le(table.deadline_us, 200); /* not found again yet: who stops here comes again */
    ck_assert_ptr_null(neighbour_due(&table, 200, &at));
    ck_assert_uint_eq(table.deadline_us, 300);
    neighbour_forget(&table, find(2));
    at = 0;
    ck_assert_ptr_null(neighbour_due(&table, 300, &at));
    ck_assert_uint_eq(table.deadline_us, 350);
    neighbour_forget(&table, find(1));
    neighbour_forget(&table, find(3));
    at = 0;
    ck_assert_ptr_null(neighbour_due(&table, 400, &at));
    ck_assert_uint_eq(table.deadline_us, UINT64_MAX);
}
END_TEST

START_TEST(test_ask_now)
{
    struct neighbour *unasked = use(1, 100), *asked = use(2, 100), *known = learn(3);
    unasked->at_us = asked->at_us = table.deadline_us = 1100; /* as after a try; nobody could ask for the first */
    asked->tries = 1;
    neighbour_ask_now(&table, 200);
    ck_assert_uint_eq(unasked->at_us, 200);
    ck_assert_uint_eq(asked->at_us, 1100);
    ck_assert_uint_eq(known->at_us, UINT64_MAX);
    ck_assert_uint_eq(table.deadline_us, 200);
}
END_TEST

START_TEST(test_whole_after_anything)
{
    srand(1);
    for (uint64_t now_us = 1; now_us < 20000; now_us++) {
        uint32_t n = (uint32_t)rand() % 600;
        struct neighbour *e = find(n);
        switch (rand() % 4) {
        case 0:
            if (e == NULL)
                learn(n);
            break;
        case 1:
            use(n, now_us);
            break;
        case 2:
            if (e != NULL)
                neighbour_forget(&table, e);
            break;
        default:
            if (e != NULL)
                neighbour_schedule(&table, e, (enum neighbour_state)(1 + rand() % 6), now_us + (uint64_t)rand() % 500);
            break;
        }
        for (size_t at = 0; (e = neighbour_due(&table, now_us, &at)) != NULL;)
            neighbour_schedule(&table, e, NEIGHBOUR_STALE, UINT64_MAX);
        if (now_us % 16 == 0)
            expect_whole();
    }
    ck_assert_uint_gt(evicted, 0);
}
END_TEST

SUITE_RUN("neighbour", setup, NULL, test_chains, test_one_who_chooses_addresses_cannot_make_a_long_chain,
          test_the_key_is_all_sixteen_octets, test_order_of_eviction, test_strangers_take_what_nobody_uses,
          test_the_unanswered_take_no_more_than_half, test_use, test_the_last_found_is_not_found_when_gone, test_due,
          test_ask_now, test_whole_after_anything)
