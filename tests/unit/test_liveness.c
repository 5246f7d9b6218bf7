// SPDX-License-Identifier: BSD-2-Clause
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

/* Until there is an answer, for ten seconds. */
static uint64_t visit_answered(int cpu)
{
    uint64_t took = LIVENESS_UNKNOWN;
    for (unsigned i = 0; i < 1000 && took == LIVENESS_UNKNOWN; i++) {
        took = cpu_visit(cpu);
        if (took == LIVENESS_UNKNOWN)
            usleep(10000);
    }
    return took;
}

START_TEST(test_visit)
{
    cpu_set_t before, after;
    ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &before))
            ck_assert_uint_lt(visit_answered(cpu), 10000000);
    ck_assert_uint_eq(cpu_visit(-1), 0);
    ck_assert_uint_eq(cpu_visit(CPU_SETSIZE), 0);
    ck_assert_int_eq(sched_getaffinity(0, sizeof after, &after), 0);
    ck_assert(CPU_EQUAL(&before, &after));
}
END_TEST

static uint64_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Of `policy`, pinned to `cpu`, busy for some seconds at most. */
static pid_t hog(int cpu, int policy)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
    sched_setscheduler(0, policy, &(struct sched_param){0});
    for (uint64_t end = clock_us() + 5000000; clock_us() < end;)
        ;
    _exit(0);
}

static void hogs_end(const pid_t *pid, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        kill(pid[i], SIGKILL);
        waitpid(pid[i], NULL, 0);
    }
}

/* Nobody gets a turn there, as nearly as can be made without privilege: the visitor does not wait for one. */
START_TEST(a_visit_does_not_wait)
{
    enum { HOGS = 4 };
    pid_t pid[HOGS];
    cpu_set_t all, others;
    int cpu = 0, unknown = 0;
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    if (CPU_COUNT(&all) < 2)
        return;
    while (!CPU_ISSET((unsigned)cpu, &all))
        cpu++;
    others = all;
    CPU_CLR((unsigned)cpu, &others);
    ck_assert_int_eq(sched_setaffinity(0, sizeof others, &others), 0); /* we ourselves are not in the way */
    ck_assert_int_eq(sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0}), 0);
    visit_answered(cpu); /* the sentry has our class */
    ck_assert_int_eq(sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0}), 0);
    for (unsigned i = 0; i < HOGS; i++)
        pid[i] = hog(cpu, SCHED_OTHER);
    usleep(50000);
    for (unsigned i = 0; i < 50; i++) {
        uint64_t start = clock_us(), took = cpu_visit(cpu);
        unknown += took > LIVENESS_VISIT_US;
        ck_assert_uint_lt(clock_us() - start, 500000);
        usleep(2000);
    }
    hogs_end(pid, HOGS);
    ck_assert_int_gt(unknown, 0);
    ck_assert_uint_ne(visit_answered(cpu), LIVENESS_UNKNOWN); /* it is back */
}
END_TEST

/* Who is runnable and gets no turn is not silent by choice; who sleeps, stands or burns its CPU is. */
START_TEST(a_starved_one_is_told_apart)
{
    enum { HOGS = 4, STARVED = HOGS };
    pid_t pid[HOGS + 1];
    cpu_set_t all;
    int cpu = 0;
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    while (!CPU_ISSET((unsigned)cpu, &all))
        cpu++;
    for (unsigned i = 0; i < HOGS; i++)
        pid[i] = hog(cpu, SCHED_OTHER);
    pid[STARVED] = hog(cpu, SCHED_IDLE);
    usleep(100000);
    uint64_t now = clock_us();
    l = (struct liveness){.moved_us = now, .cpu_us = process_cpu_us(pid[STARVED])};
    usleep(200000);
    ck_assert(liveness_starves(&l, pid[STARVED], now + 10000000));
    l.cpu_us = 0;
    l.moved_us = now - 50000;
    ck_assert(!liveness_starves(&l, pid[0], clock_us())); /* one of four: a loop */
    kill(pid[STARVED], SIGSTOP);
    for (unsigned i = 0; i < 500 && process_runnable(pid[STARVED]); i++)
        usleep(10000);
    l.cpu_us = process_cpu_us(pid[STARVED]);
    ck_assert(!liveness_starves(&l, pid[STARVED], clock_us()));
    hogs_end(pid, HOGS + 1);
    ck_assert(!process_runnable(pid[0]));
}
END_TEST

START_TEST(who_was_let_run_is_not_excused)
{
    l = (struct liveness){.counter = 7, .moved_us = 1, .cpu_us = 500};
    ck_assert(!liveness_busy(&l, 500 + LIVENESS_BUSY_US - 1));
    ck_assert(!liveness_busy(&l, 0)); /* unknown */
    ck_assert(liveness_busy(&l, 500 + LIVENESS_BUSY_US));
    ck_assert(liveness_blames(&l, 0, cpu_is_given));
    for (unsigned i = 0; i < 10 * LIVENESS_EXCUSES; i++)
        ck_assert(!liveness_tick(&l, l.counter, LIVENESS_TICKS, 0, cpu_is_withheld)); /* a kill would be no help */
    ck_assert_uint_eq(ticks_until_hung(100), LIVENESS_TICKS); /* as soon as it is let run, as ever */
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
          test_deadline, test_visit, a_visit_does_not_wait, a_starved_one_is_told_apart, who_was_let_run_is_not_excused,
          a_loop_burns_its_cpu)
