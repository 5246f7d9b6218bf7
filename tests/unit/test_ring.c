// SPDX-License-Identifier: BSD-2-Clause
/* Rings and doorbells: order, limits, and the peer that lies about its indices. */
#include "ipc/ring.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/doorbell.h"
#include "tests/unit/suite.h"

static struct ring_half *left, *right;
static struct ring a, b; /* a writes left, b writes right */

static void setup(void)
{
    left = aligned_alloc(64, sizeof *left);
    right = aligned_alloc(64, sizeof *right);
    memset(left, 0, sizeof *left);
    memset(right, 0, sizeof *right);
    ring_init(&a, left, right);
    ring_init(&b, right, left);
}

static void teardown(void)
{
    free(left);
    free(right);
}

static struct message numbered(uint64_t cookie, uint8_t slots)
{
    return (struct message){.operation = MESSAGE_SEND,
                            .slot_count = slots,
                            .cookie = cookie,
                            .source_port = slots > 1 ? (uint16_t)cookie : 0};
}

START_TEST(test_nothing_is_seen_before_flush)
{
    struct message m = numbered(1, 2), got;
    ck_assert(ring_put(&a, &m, 2));
    ck_assert(!ring_take(&b, &got));
    ck_assert(ring_flush(&a));
    ck_assert(!ring_flush(&a));
    ck_assert(ring_take(&b, &got));
    ck_assert_mem_eq(&got, &m, sizeof m);
    ck_assert(!ring_take(&b, &got));
}
END_TEST

START_TEST(test_order_and_wrap)
{
    uint64_t put = 0, taken = 0;
    srand(1);
    while (taken < 20000) {
        for (int n = rand() % 300; n > 0; n--) {
            struct message m = numbered(put, (uint8_t)(1 + put % 2));
            if (!ring_put(&a, &m, m.slot_count))
                break;
            put++;
        }
        ring_flush(&a);
        struct message got;
        for (int n = rand() % 300; n > 0 && ring_take(&b, &got); n--) {
            ck_assert_uint_eq(got.cookie, taken);
            ck_assert_uint_eq(got.slot_count, 1 + taken % 2);
            ck_assert_uint_eq(got.source_port, taken % 2 ? (uint16_t)taken : 0);
            taken++;
        }
        ring_release(&b);
    }
    ck_assert(!a.broken && !b.broken);
}
END_TEST

START_TEST(test_full_until_released)
{
    struct message m = numbered(0, 1), got;
    for (unsigned i = 0; i < RING_SLOTS; i++)
        ck_assert(ring_put(&a, &m, 1));
    ck_assert(!ring_put(&a, &m, 1));
    ring_flush(&a);
    ck_assert(ring_take(&b, &got));
    ck_assert(!ring_put(&a, &m, 1)); /* taken, but not released */
    ring_release(&b);
    ck_assert(ring_put(&a, &m, 1));
    ck_assert(!ring_put(&a, &m, 1));
}
END_TEST

/* Every impossible index stops the ring; nothing is read or written through it afterwards. */
START_TEST(test_lying_producer)
{
    static const uint32_t lies[] = {RING_SLOTS + 1, RING_SLOTS * 2, 0x7fffffff, 0x80000000, UINT32_MAX};
    struct message got;
    left->producer = lies[_i];
    ck_assert(!ring_take(&b, &got));
    ck_assert(b.broken);
    left->producer = 1;
    ck_assert(!ring_take(&b, &got));
    ck_assert_uint_eq(ring_available(&b), 0);
}
END_TEST

START_TEST(test_producer_going_back)
{
    struct message m = numbered(0, 1), got;
    for (int i = 0; i < 3; i++)
        ring_put(&a, &m, 1);
    ring_flush(&a);
    for (int i = 0; i < 3; i++)
        ck_assert(ring_take(&b, &got));
    ring_release(&b);
    left->producer = 2;
    ck_assert(!ring_take(&b, &got));
    ck_assert(b.broken);
}
END_TEST

START_TEST(test_lying_consumer)
{
    static const uint32_t lies[] = {RING_SLOTS + 1, 0x80000000, UINT32_MAX};
    struct message m = numbered(0, 1);
    for (unsigned i = 0; i < RING_SLOTS; i++)
        ring_put(&a, &m, 1);
    ring_flush(&a);
    right->consumer = lies[_i];
    ck_assert(!ring_put(&a, &m, 1));
    ck_assert(a.broken);
}
END_TEST

START_TEST(test_bad_slot_counts)
{
    static const uint8_t counts[] = {0, 3, 255, 2 /* but only one is there */};
    struct message m = numbered(0, counts[_i]), got;
    ring_put(&a, &m, 1);
    ring_flush(&a);
    ck_assert(!ring_take(&b, &got));
    ck_assert(b.broken);
}
END_TEST

#define THREAD_MESSAGES 200000
static int bell_pipe[2];
static uint32_t sleep_word;

static void *produce(void *unused)
{
    struct doorbell bell = {.fd = bell_pipe[1], .sleep = &sleep_word};
    for (uint64_t i = 0; i < THREAD_MESSAGES;) {
        for (unsigned n = 1 + (unsigned)(i % 40); n > 0 && i < THREAD_MESSAGES; n--) {
            struct message m = numbered(i, 2);
            if (!ring_put(&a, &m, 2))
                break;
            i++;
        }
        if (ring_flush(&a))
            doorbell_ring(&bell);
    }
    return unused;
}

/* Two threads, the consumer sleeping whenever there is nothing: nothing lost, no wake-up lost (the poll would time
 * out). */
START_TEST(test_threads_with_doorbell)
{
    ck_assert_int_eq(pipe2(bell_pipe, O_NONBLOCK), 0);
    pthread_t thread;
    pthread_create(&thread, NULL, produce, NULL);
    for (uint64_t taken = 0; taken < THREAD_MESSAGES;) {
        struct message got;
        while (ring_take(&b, &got))
            ck_assert_uint_eq(got.cookie, taken++);
        ring_release(&b);
        doorbell_sleep(&sleep_word);
        if (ring_available(&b) == 0 && taken < THREAD_MESSAGES) {
            struct pollfd p = {.fd = bell_pipe[0], .events = POLLIN};
            ck_assert_int_eq(poll(&p, 1, 10000), 1);
        }
        doorbell_wake(&sleep_word);
        doorbell_drain(bell_pipe[0]);
    }
    pthread_join(thread, NULL);
    close(bell_pipe[0]);
    close(bell_pipe[1]);
}
END_TEST

START_TEST(test_awake_is_not_rung)
{
    int p[2];
    char byte;
    ck_assert_int_eq(pipe2(p, O_NONBLOCK), 0);
    uint32_t word = 0;
    struct doorbell bell = {.fd = p[1], .sleep = &word};
    doorbell_ring(&bell);
    ck_assert_int_eq(read(p[0], &byte, 1), -1);
    doorbell_sleep(&word);
    doorbell_ring(&bell);
    doorbell_ring(&bell); /* the same sleep: once */
    ck_assert_int_eq(read(p[0], &byte, 1), 1);
    ck_assert_int_eq(read(p[0], &byte, 1), -1);
    doorbell_wake(&word);
    doorbell_ring(&bell);
    doorbell_sleep(&word);
    doorbell_ring(&bell);
    ck_assert_int_eq(read(p[0], &byte, 1), 1);
    close(p[0]);
    close(p[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ring");
    TCase *tc = tcase_create("ring");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_nothing_is_seen_before_flush);
    tcase_add_test(tc, test_order_and_wrap);
    tcase_add_test(tc, test_full_until_released);
    tcase_add_loop_test(tc, test_lying_producer, 0, 5);
    tcase_add_test(tc, test_producer_going_back);
    tcase_add_loop_test(tc, test_lying_consumer, 0, 3);
    tcase_add_loop_test(tc, test_bad_slot_counts, 0, 4);
    tcase_add_test(tc, test_threads_with_doorbell);
    tcase_add_test(tc, test_awake_is_not_rung);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
