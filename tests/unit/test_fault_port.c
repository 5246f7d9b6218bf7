// SPDX-License-Identifier: BSD-2-Clause
#include "ipc/fault_port.h"

#include <check.h>
#include <string.h>

#include "tests/unit/suite.h"
#include "tests/unit/wire_pair.h"

#define ALWAYS FAULT_ONE_IN

static struct wire_pair *w;
static struct fault_port fault;

static void setup(void)
{
    w = wire_new();
}

static void teardown(void)
{
    free(w);
}

static void harm(struct fault_chances chances)
{
    fault_port_init(&fault, &w->server, &chances, 42);
}

static void say(uint64_t cookie)
{
    struct message m = {.operation = MESSAGE_SEND, .cookie = cookie};
    ck_assert(port_push(&w->server, &m));
    port_flush(&w->server);
}

static void hears(uint64_t cookie)
{
    struct message m;
    ck_assert(port_pull(&w->test, &m));
    ck_assert_uint_eq(m.cookie, cookie);
    port_flush(&w->test);
}

static void hears_nothing(void)
{
    struct message m;
    ck_assert(!port_pull(&w->test, &m));
}

/* The side with faults looks for messages: what it holds back comes nearer to its time. */
static void looks(uint32_t times)
{
    struct message m;
    for (uint32_t i = 0; i < times; i++)
        ck_assert(!port_pull(&w->server, &m));
    port_flush(&w->server);
}

START_TEST(without_faults_all_passes)
{
    harm((struct fault_chances){0});
    for (uint64_t i = 0; i < 1000; i++) {
        say(i);
        hears(i);
    }
    hears_nothing();
    ck_assert_uint_eq(fault.counters.passed, 1000);
}
END_TEST

START_TEST(drop)
{
    harm((struct fault_chances){.drop = ALWAYS});
    say(1);
    hears_nothing();
    ck_assert_uint_eq(fault.counters.dropped, 1);
}
END_TEST

START_TEST(duplicate)
{
    harm((struct fault_chances){.duplicate = ALWAYS});
    say(1);
    hears(1);
    hears(1);
    hears_nothing();
    ck_assert_uint_eq(fault.counters.duplicated, 1);
}
END_TEST

START_TEST(reorder)
{
    harm((struct fault_chances){.reorder = ALWAYS});
    say(1);
    fault.chances.reorder = 0;
    hears_nothing();
    say(2);
    hears(2);
    hears(1);
    hears_nothing();
    ck_assert_uint_eq(fault.counters.reordered, 1);
}
END_TEST

START_TEST(delay)
{
    harm((struct fault_chances){.delay = ALWAYS});
    for (uint64_t i = 0; i < FAULT_HELD_MAX / 2; i++)
        say(i);
    looks(FAULT_DELAY_MAX + 1);
    uint64_t seen = 0;
    struct message m;
    while (port_pull(&w->test, &m))
        seen |= 1U << m.cookie;
    ck_assert_uint_eq(seen, (1U << FAULT_HELD_MAX / 2) - 1);
    ck_assert_uint_eq(fault.counters.delayed, FAULT_HELD_MAX / 2);
}
END_TEST

START_TEST(more_than_can_be_held_goes_out)
{
    harm((struct fault_chances){.delay = ALWAYS});
    uint32_t heard = 0;
    struct message m;
    for (uint64_t i = 0; i < 100; i++)
        say(i);
    looks(FAULT_DELAY_MAX + 1);
    while (port_pull(&w->test, &m))
        heard++;
    ck_assert_uint_eq(heard, 100);
}
END_TEST

START_TEST(stall)
{
    harm((struct fault_chances){0});
    struct message m = {.operation = MESSAGE_SEND};
    ck_assert(port_push(&w->test, &m));
    port_flush(&w->test);
    fault.stalled = true;
    ck_assert(!port_push(&w->server, &m));
    ck_assert(!port_pull(&w->server, &m));
    ck_assert_uint_eq(fault.counters.refused, 1);
    fault.stalled = false;
    ck_assert(port_pull(&w->server, &m));
}
END_TEST

START_TEST(only_the_operations_named)
{
    harm((struct fault_chances){.drop = ALWAYS, .operations = 1U << MESSAGE_UNREACHABLE});
    say(1);
    struct message m = {.operation = MESSAGE_UNREACHABLE};
    ck_assert(port_push(&w->server, &m));
    hears(1);
    hears_nothing();
}
END_TEST

/* Whatever arrives: what the other side is given has an envelope that can be, and the worst that happens is that this
 * channel stops. */
START_TEST(the_receiver_survives_corruption)
{
    uint64_t broken = 0, malformed = 0, given = 0;
    harm((struct fault_chances){.corrupt = ALWAYS});
    for (uint64_t i = 0; i < 20000; i++) {
        struct message m;
        say(i);
        while (port_pull(&w->test, &m)) {
            ck_assert_uint_ge(m.slot_count, 1);
            ck_assert_uint_le(m.slot_count, MESSAGE_SLOTS_MAX);
            ck_assert_uint_le(m.count, MESSAGE_RETURNS_MAX);
            given++;
        }
        port_flush(&w->test);
        if (w->test.ring.broken) {
            broken++;
            malformed += w->test.counters.malformed;
            w->test.counters.malformed = 0;
            wire_attach(w);
        }
    }
    malformed += w->test.counters.malformed;
    ck_assert_uint_eq(fault.counters.corrupted, 20000);
    ck_assert_uint_gt(broken, 0);
    ck_assert_uint_gt(malformed, 0);
    ck_assert_uint_gt(given, 0);
}
END_TEST

START_TEST(a_new_life_hears_nothing_of_the_old)
{
    harm((struct fault_chances){.reorder = ALWAYS});
    say(1);
    fault.chances.reorder = 0;
    wire_attach(w);
    looks(FAULT_DELAY_MAX);
    hears_nothing();
    say(2);
    hears(2);
    hears_nothing();
}
END_TEST

START_TEST(a_seed_says_what_happens)
{
    const struct fault_chances some = {
        .drop = 9000, .duplicate = 9000, .delay = 9000, .reorder = 9000, .corrupt = 9000};
    struct fault_counters first = {0};
    for (int run = 0; run < 2; run++) {
        struct message m;
        wire_attach(w);
        harm(some);
        for (uint64_t i = 0; i < 2000; i++) {
            say(i);
            while (port_pull(&w->test, &m))
                ;
            port_flush(&w->test);
            if (w->test.ring.broken)
                wire_attach(w);
        }
        ck_assert(run == 0 || memcmp(&first, &fault.counters, sizeof first) == 0);
        first = fault.counters;
    }
    ck_assert_uint_gt(first.dropped, 0);
    ck_assert_uint_gt(first.duplicated, 0);
    ck_assert_uint_gt(first.delayed, 0);
    ck_assert_uint_gt(first.reordered, 0);
    ck_assert_uint_gt(first.passed, 0);
}
END_TEST

START_TEST(removed_it_does_nothing)
{
    harm((struct fault_chances){.drop = ALWAYS});
    fault_port_remove(&w->server);
    say(1);
    hears(1);
}
END_TEST

SUITE_RUN("fault_port", setup, teardown, without_faults_all_passes, drop, duplicate, reorder, delay,
          more_than_can_be_held_goes_out, stall, only_the_operations_named, the_receiver_survives_corruption,
          a_new_life_hears_nothing_of_the_old, a_seed_says_what_happens, removed_it_does_nothing)
