// SPDX-License-Identifier: BSD-2-Clause
#include <sched.h>

#include "servers/supervisor/liveness.h"
#include "tests/unit/suite.h"

static uint64_t took_us;
static unsigned visits;

static uint64_t visit(int cpu)
{
    (void)cpu;
    visits++;
    return took_us;
}

static struct liveness l;

static void setup(void)
{
    took_us = 10;
    visits = 0;
    liveness_start(&l, 7);
}

static unsigned ticks_until_hung(unsigned most)
{
    for (unsigned i = 1; i <= most; i++)
        if (liveness_tick(&l, 7, LIVENESS_TICKS, 0, visit))
            return i;
    return 0;
}

START_TEST(test_silent)
{
    ck_assert_uint_eq(ticks_until_hung(100), LIVENESS_TICKS);
}
END_TEST

START_TEST(test_a_move_starts_over)
{
    ck_assert_uint_eq(ticks_until_hung(LIVENESS_TICKS - 1), 0);
    ck_assert(!liveness_tick(&l, 8, LIVENESS_TICKS, 0, visit));
    ck_assert_uint_eq(visits, LIVENESS_TICKS - 1); /* who moves is not visited */
    for (unsigned i = 1; i < LIVENESS_TICKS; i++)
        ck_assert(!liveness_tick(&l, 8, LIVENESS_TICKS, 0, visit));
    ck_assert(liveness_tick(&l, 8, LIVENESS_TICKS, 0, visit));
}
END_TEST

/* Nobody gets a turn there: nobody is guilty, for a while. */
START_TEST(test_cpu_is_away)
{
    took_us = LIVENESS_VISIT_US + 1;
    ck_assert_uint_eq(ticks_until_hung(LIVENESS_EXCUSES), 0);
    ck_assert_uint_eq(ticks_until_hung(100), LIVENESS_TICKS);
    ck_assert_uint_eq(visits, LIVENESS_EXCUSES);
}
END_TEST

START_TEST(test_cpu_is_back)
{
    took_us = LIVENESS_VISIT_US + 1;
    ck_assert_uint_eq(ticks_until_hung(3), 0);
    took_us = 10;
    ck_assert_uint_eq(ticks_until_hung(100), LIVENESS_TICKS);
}
END_TEST

START_TEST(test_deadline)
{
    ck_assert(liveness_blames(&l, 0, visit));
    took_us = LIVENESS_VISIT_US + 1;
    for (unsigned i = 0; i < LIVENESS_EXCUSES; i++)
        ck_assert(!liveness_blames(&l, 0, visit));
    ck_assert(liveness_blames(&l, 0, visit));
}
END_TEST

START_TEST(test_visit)
{
    cpu_set_t before, after;
    ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &before))
            ck_assert_uint_lt(cpu_visit(cpu), 5000000);
    ck_assert_uint_eq(cpu_visit(-1), 0);
    ck_assert_uint_eq(cpu_visit(CPU_SETSIZE), 0);
    ck_assert_int_eq(sched_getaffinity(0, sizeof after, &after), 0);
    ck_assert(CPU_EQUAL(&before, &after));
}
END_TEST

START_TEST(a_loop_burns_its_cpu)
{
    l = (struct liveness){.moved_us = 1000000, .cpu_us = 500};
    ck_assert(!liveness_loops(&l, 500, 2000000));
    ck_assert(!liveness_loops(&l, 400, 1000000)); /* unknown */
    ck_assert(!liveness_loops(&l, 1500, 2000000));
    ck_assert(liveness_loops(&l, 500 + 200000 / LIVENESS_LOOP, 1200000));
    ck_assert(liveness_loops(&l, 500 + LIVENESS_LOOP_US, 60000000)); /* starved, but it does not rest */
}
END_TEST

SUITE_RUN("liveness", setup, NULL, test_silent, test_a_move_starts_over, test_cpu_is_away, test_cpu_is_back,
          test_deadline, test_visit, a_loop_burns_its_cpu)
