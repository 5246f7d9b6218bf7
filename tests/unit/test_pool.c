// SPDX-License-Identifier: BSD-2-Clause
#include "ipc/pool.h"

#include "tests/unit/suite.h"

static struct pool pool;
static uint8_t memory[16 * 64];

static void setup(void)
{
    pool_init(&pool, memory, 64, 16);
}

START_TEST(test_last_in_first_out)
{
    uint32_t first = pool_take(&pool), second = pool_take(&pool);
    ck_assert_uint_eq(first, 0);
    pool_put(&pool, second);
    ck_assert_uint_eq(pool_take(&pool), second);
    ck_assert_ptr_eq(pool_buffer(&pool, second), memory + 64);
}
END_TEST

START_TEST(test_runs_dry)
{
    for (int i = 0; i < 16; i++)
        ck_assert_uint_ne(pool_take(&pool), POOL_NONE);
    ck_assert_uint_eq(pool_take(&pool), POOL_NONE);
}
END_TEST

START_TEST(test_only_the_borrower_returns_and_once)
{
    uint32_t i = pool_take(&pool);
    ck_assert(!pool_return(&pool, i, 2)); /* the owner's own */
    ck_assert(pool_lend(&pool, i, 2));
    ck_assert(!pool_return(&pool, i, 3));
    ck_assert(pool_return(&pool, i, 2));
    ck_assert(!pool_return(&pool, i, 2));
    ck_assert(!pool_return(&pool, 16, 2));
    ck_assert(!pool_return(&pool, UINT32_MAX, 2));
    ck_assert(!pool_return(&pool, 0, 99));
    ck_assert(pool_all_home(&pool));
}
END_TEST

START_TEST(test_one_borrower_cannot_take_all)
{
    pool.lent_cap = 4;
    for (int i = 0; i < 4; i++)
        ck_assert(pool_lend(&pool, pool_take(&pool), 1));
    uint32_t more = pool_take(&pool);
    ck_assert(!pool_lend(&pool, more, 1));
    ck_assert(pool_lend(&pool, more, 2));
    ck_assert_uint_eq(pool_reclaim(&pool, 1), 4);
    ck_assert_uint_eq(pool.lent_total, 1);
    ck_assert_uint_eq(pool_reclaim(&pool, 1), 0);
    ck_assert(pool_return(&pool, more, 2));
    ck_assert(pool_all_home(&pool));
}
END_TEST

SUITE_RUN("pool", setup, NULL, test_last_in_first_out, test_runs_dry, test_only_the_borrower_returns_and_once,
          test_one_borrower_cannot_take_all)
