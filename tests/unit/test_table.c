// SPDX-License-Identifier: BSD-2-Clause
/* The capability table: each way in which a message can ask for what it was not granted. */
#include "capabilities/table.h"

#include <stddef.h>

#include "tests/unit/suite.h"

static struct capability entries[CAPABILITY_TABLE_MAX];
static struct capability_table table;

static void setup(void)
{
    capability_table_init(&table, entries);
    capability_grant(
        &table, 20,
        &(struct capability){.type = CAPABILITY_POOL, .generation = 3, .rights = CAPABILITY_READ, .size = 1000});
    capability_grant(&table, 21,
                     &(struct capability){.type = CAPABILITY_TRANSPORT, .generation = 1, .rights = CAPABILITY_SEND});
}

static void teardown(void)
{
    for (uint16_t i = 0; i < CAPABILITY_TABLE_MAX; i++)
        capability_revoke(&table, i);
}

static const struct row {
    uint16_t index, generation;
    enum capability_type type;
    uint32_t rights;
    int refusal; /* -1: granted */
} rows[] = {
    {20, 3, CAPABILITY_POOL, CAPABILITY_READ, -1},
    {21, 1, CAPABILITY_TRANSPORT, CAPABILITY_SEND, -1},
    {0, 0, CAPABILITY_POOL, CAPABILITY_READ, CAPABILITY_REFUSED_INDEX},
    {22, 3, CAPABILITY_POOL, CAPABILITY_READ, CAPABILITY_REFUSED_INDEX},
    {CAPABILITY_TABLE_MAX, 3, CAPABILITY_POOL, CAPABILITY_READ, CAPABILITY_REFUSED_INDEX},
    {UINT16_MAX, 3, CAPABILITY_POOL, CAPABILITY_READ, CAPABILITY_REFUSED_INDEX},
    {20, 2, CAPABILITY_POOL, CAPABILITY_READ, CAPABILITY_REFUSED_GENERATION},
    {20, 4, CAPABILITY_POOL, CAPABILITY_READ, CAPABILITY_REFUSED_GENERATION},
    {20, 3, CAPABILITY_TRANSPORT, CAPABILITY_READ, CAPABILITY_REFUSED_TYPE},
    {20, 3, CAPABILITY_POOL, CAPABILITY_READ | CAPABILITY_SEND, CAPABILITY_REFUSED_RIGHTS},
    {21, 1, CAPABILITY_TRANSPORT, CAPABILITY_RECEIVE, CAPABILITY_REFUSED_RIGHTS},
};

START_TEST(test_lookup)
{
    const struct row *r = &rows[_i];
    const struct capability *c = capability_lookup(&table, r->index, r->generation, r->type, r->rights);
    ck_assert(r->refusal < 0 ? c == &entries[r->index] : c == NULL);
    for (int i = 0; i < CAPABILITY_REFUSALS; i++)
        ck_assert_uint_eq(table.refused[i], i == r->refusal);
}
END_TEST

static const struct {
    uint32_t offset, length;
    bool good;
} ranges[] = {
    {0, 1000, true},        {999, 1, true},
    {1000, 0, true},        {0, 1001, false},
    {1000, 1, false},       {1001, 0, false},
    {UINT32_MAX, 2, false}, {1, UINT32_MAX, false},
    {500, 501, false},      {UINT32_MAX, UINT32_MAX, false},
};

START_TEST(test_range)
{
    ck_assert((capability_range(&table, 20, 3, ranges[_i].offset, ranges[_i].length) != NULL) == ranges[_i].good);
    ck_assert_uint_eq(table.refused[CAPABILITY_REFUSED_RANGE], !ranges[_i].good);
}
END_TEST

START_TEST(test_revoked_is_gone)
{
    capability_revoke(&table, 20);
    ck_assert_ptr_null(capability_range(&table, 20, 3, 0, 1));
    ck_assert(!capability_grant(&table, CAPABILITY_TABLE_MAX, &entries[21]));
}
END_TEST

START_TEST(test_addresses)
{
    struct ip_address mine = ip_address_from_ip4((uint8_t[]){10, 0, 0, 1});
    struct ip_address other = ip_address_from_ip4((uint8_t[]){10, 0, 0, 2});
    struct capability c = {.address_count = 1, .address = {mine, other}};
    ck_assert(capability_has_address(&c, &mine));
    ck_assert(!capability_has_address(&c, &other));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("table");
    TCase *tc = tcase_create("table");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_lookup, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_loop_test(tc, test_range, 0, (int)(sizeof ranges / sizeof ranges[0]));
    tcase_add_test(tc, test_revoked_is_gone);
    tcase_add_test(tc, test_addresses);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
