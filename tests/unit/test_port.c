// SPDX-License-Identifier: BSD-2-Clause
/* Ports: envelopes that lie, detachment, returned loans in batches, when a bell is rung. */
#include "ipc/port.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/suite.h"

static struct ring_half *half[2];
static struct port a, b;
static struct capability *entries[2];

static void setup(void)
{
    for (int i = 0; i < 2; i++) {
        half[i] = aligned_alloc(64, sizeof *half[i]);
        memset(half[i], 0, sizeof *half[i]);
        entries[i] = calloc(CAPABILITY_TABLE_MAX, sizeof *entries[i]);
    }
    port_init(&a, entries[0]);
    port_init(&b, entries[1]);
    port_attach(&a, half[0], half[1], NULL);
    port_attach(&b, half[1], half[0], NULL);
}

static void teardown(void)
{
    for (int i = 0; i < 2; i++) {
        free(half[i]);
        free(entries[i]);
    }
}

START_TEST(test_held_until_flush)
{
    struct message m = {.operation = MESSAGE_SEND, .cookie = 9}, got;
    ck_assert(port_push(&a, &m));
    ck_assert(!port_pending(&b));
    port_flush(&a);
    ck_assert(port_pending(&b));
    ck_assert(port_pull(&b, &got));
    ck_assert_uint_eq(got.cookie, 9);
    ck_assert_uint_eq(got.slot_count, 2);
}
END_TEST

START_TEST(test_unknown_operation_is_not_pushed)
{
    static const uint8_t unknown[] = {0, 5, 15, 25, 31, 37, 255};
    struct message m = {.operation = unknown[_i]};
    ck_assert(!port_push(&a, &m));
}
END_TEST

/* Each row: a raw message as a lying peer would write it. The good one behind it still arrives. */
START_TEST(test_malformed_envelopes)
{
    static const struct message bad[] = {
        {.operation = MESSAGE_NONE, .slot_count = 1},
        {.operation = 200, .slot_count = 1},
        {.operation = MESSAGE_SEND, .slot_count = 1},
        {.operation = MESSAGE_RETURN, .slot_count = 2},
        {.operation = MESSAGE_SEND, .slot_count = 2, .flags = 2},
        {.operation = MESSAGE_RECEIVE, .slot_count = 2, .flags = MESSAGE_DONT_FRAGMENT},
        {.operation = MESSAGE_SEND, .slot_count = 2, .count = 1},
        {.operation = MESSAGE_RETURN, .slot_count = 1, .count = MESSAGE_RETURNS_MAX + 1},
        {.operation = MESSAGE_SEND, .slot_count = 2, .reserved1 = {0, 1}},
    };
    struct message good = {.operation = MESSAGE_RETURN, .count = 1}, got;
    ck_assert(ring_put(&a.ring, &bad[_i], bad[_i].slot_count));
    ck_assert(port_push(&a, &good));
    port_flush(&a);
    ck_assert(port_pull(&b, &got));
    ck_assert_uint_eq(got.operation, MESSAGE_RETURN);
    ck_assert_uint_eq(b.counters.malformed, 1);
    ck_assert(!b.ring.broken);
}
END_TEST

/* Who is strict hears nothing more after such a message, and gives it not back, until the channel is a new one. */
START_TEST(test_strict)
{
    const struct message m = {.operation = MESSAGE_SEND, .cookie = 9};
    struct message got;
    b.strict = true;
    for (unsigned i = 0; i < 3; i++)
        ck_assert(port_push(&a, &m));
    half[0]->slot[2].octets[offsetof(struct message, flags)] = 0xff;
    port_flush(&a);
    ck_assert(port_pull(&b, &got));
    if (_i == 0)
        ck_assert(!port_pull(&b, &got));
    else
        port_foreign(&b);
    ck_assert(b.senseless);
    ck_assert(!port_pending(&b));
    ck_assert(!port_pull(&b, &got));
    port_flush(&b);
    ck_assert_uint_eq(half[1]->consumer, 0);
    ck_assert_uint_eq(b.counters.malformed + b.counters.foreign, 1);
    port_attach(&a, half[0], half[1], NULL);
    port_attach(&b, half[1], half[0], NULL);
    ck_assert(port_push(&a, &m));
    port_flush(&a);
    ck_assert(port_pull(&b, &got));
}
END_TEST

START_TEST(test_detached_is_silent)
{
    struct message m = {.operation = MESSAGE_SEND}, got;
    ck_assert(port_push(&a, &m));
    port_flush(&a);
    port_detach(&b);
    ck_assert(!port_pull(&b, &got));
    ck_assert(!port_push(&b, &m));
    ck_assert_uint_eq(port_space(&b), 0);
    port_flush(&b);
}
END_TEST

START_TEST(test_returns_travel_in_batches)
{
    struct port_returns returns = {0};
    struct message got;
    for (uint32_t i = 0; i < 30; i++)
        ck_assert(port_return(&a, &returns, i));
    ck_assert(port_returns_flush(&a, &returns));
    ck_assert(port_returns_flush(&a, &returns));
    port_flush(&a);
    uint32_t expected = 0;
    for (int n = 0; port_pull(&b, &got); n++) {
        ck_assert_uint_eq(got.count, n < 2 ? MESSAGE_RETURNS_MAX : 30 - 2 * MESSAGE_RETURNS_MAX);
        for (unsigned i = 0; i < got.count; i++)
            ck_assert_uint_eq(got.returned[i], expected++);
    }
    ck_assert_uint_eq(expected, 30);
    ck_assert_uint_eq(b.counters.strays, 30); /* none of them was out */
}
END_TEST

START_TEST(test_bell_for_packets_not_for_single_returns)
{
    int p[2];
    char byte;
    ck_assert_int_eq(pipe2(p, O_NONBLOCK), 0);
    uint32_t asleep = 1;
    struct doorbell bell = {.fd = p[1], .sleep = &asleep};
    a.bell = &bell;
    struct message returned = {.operation = MESSAGE_RETURN, .count = 6}, packet = {.operation = MESSAGE_SEND};
    for (int i = 0; i < 2; i++) {
        port_push(&a, &returned);
        port_flush(&a);
        ck_assert_int_eq(read(p[0], &byte, 1), -1);
    }
    port_push(&a, &returned); /* 18 by now */
    port_flush(&a);
    ck_assert_int_eq(read(p[0], &byte, 1), 1);
    asleep = 3;
    port_push(&a, &packet);
    port_flush(&a);
    ck_assert_int_eq(read(p[0], &byte, 1), 1);
    close(p[0]);
    close(p[1]);
}
END_TEST

/* Whoever asks for a little more room than a message needs learns of what the peer has given back. */
START_TEST(test_space_is_seen_again)
{
    struct message m = {.operation = MESSAGE_SEND}, got;
    while (port_space(&a) >= 8)
        ck_assert(port_push(&a, &m));
    port_flush(&a);
    while (port_pull(&b, &got))
        ;
    ck_assert_uint_lt(port_space(&a), 8);
    port_flush(&b);
    ck_assert_uint_eq(port_space(&a), RING_SLOTS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("port");
    TCase *tc = tcase_create("port");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_held_until_flush);
    tcase_add_loop_test(tc, test_unknown_operation_is_not_pushed, 0, 7);
    tcase_add_loop_test(tc, test_malformed_envelopes, 0, 9);
    tcase_add_loop_test(tc, test_strict, 0, 2);
    tcase_add_test(tc, test_space_is_seen_again);
    tcase_add_test(tc, test_detached_is_silent);
    tcase_add_test(tc, test_returns_travel_in_batches);
    tcase_add_test(tc, test_bell_for_packets_not_for_single_returns);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
