// SPDX-License-Identifier: BSD-2-Clause
/* Spares: when there is to be one, what makes it the domain's process, and what becomes of those that end or lie. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/supervisor_harness.h"

static struct domain *d;
static int spare_end; /* the spare's end of its control socket */

/* A process that has been told what to become. */
static pid_t spare_make(void)
{
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    struct domain other = {.index = d->index};
    pid_t pid = victim(&other);
    d->spare.process = other.process;
    d->spare.control = pair[0];
    d->spare.since_us = now_us();
    spare_end = pair[1];
    ck_assert_int_eq(loop_watch(s, other.process.pidfd, WATCH_SPARE, d->index), 0);
    ck_assert_int_eq(loop_watch(s, pair[0], WATCH_SPARE_CONTROL, d->index), 0);
    return pid;
}

static void spare_says(const char *octets, size_t length)
{
    ck_assert_int_eq(send(spare_end, octets, length, 0), (ssize_t)length);
    standby_event(s, d, WATCH_SPARE_CONTROL);
}

/* pool_octets 4096, store_octets 8192, store_version `version` */
static void spare_ready(uint8_t version)
{
    char octets[] = "\x0a\x0b\x0a\x02\x80\x20\x12\x02\x80\x40\x1a\x01?";
    octets[12] = (char)version;
    spare_says(octets, 13);
}

static void spare_ends(void)
{
    standby_event(s, d, WATCH_SPARE);
    close(spare_end);
}

static void begin(void)
{
    setup();
    d = &s->domain[SERVER_TCP];
    start_all();
}

static void end_of_test(void)
{
    if (d->spare.process.pid != 0) {
        kill(d->spare.process.pid, SIGKILL);
        waitpid(d->spare.process.pid, NULL, 0);
    }
    teardown();
}

START_TEST(is_wanted_while_the_domain_runs)
{
    ck_assert_uint_eq(standby_deadline(s), 0);
    standby_make(s, d);
    ck_assert_uint_gt(standby_deadline(s), now_us()); /* not on the critical path */
    d->state = DOMAIN_DOWN;
    ck_assert_uint_eq(standby_deadline(s), 0);
    d->state = DOMAIN_RUNNING;
    s->started = false;
    ck_assert_uint_eq(standby_deadline(s), 0);
    s->started = true;
    s->stopping = true;
    ck_assert_uint_eq(standby_deadline(s), 0);
    s->stopping = false;
    standby_end(s, d);
    ck_assert_uint_eq(standby_deadline(s), 0);
    s->options.no_standby = true;
    standby_make(s, d);
    ck_assert_uint_eq(standby_deadline(s), 0);
}
END_TEST

START_TEST(becomes_the_process)
{
    pid_t pid = spare_make();
    ck_assert(!standby_take(s, d)); /* it has not said that it is ready */
    ck_assert(!d->spare.ready);
    spare_ready(3);
    ck_assert(d->spare.ready);
    ck_assert_uint_eq(standby_deadline(s), 0); /* there is one */
    d->control = -1;                           /* the dead one's */
    d->state = DOMAIN_DOWN;
    domain_spawn(s, d);
    ck_assert_int_eq(d->process.pid, pid);
    ck_assert_int_eq(d->spare.process.pid, 0);
    ck_assert_int_ge(d->state, DOMAIN_STANDBY);
    ck_assert_uint_eq(s->server[SERVER_TCP].pool_octets, 4096);
    ck_assert_uint_eq(s->server[SERVER_TCP].store_version, 3);
    ck_assert_uint_eq(s->spares_taken, 1);
    ck_assert(!standby_take(s, d));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

/* The manage server would take the CPU from those who let the next life in. */
START_TEST(a_death_is_told_after_the_recovery)
{
    pid_t pid = spare_make(), dead = victim(d);
    spare_ready(3);
    d->control = -1;
    uint64_t told = s->events_pushed;
    kill(dead, SIGKILL);
    ck_assert_int_eq(waitid(P_PID, (id_t)dead, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
    domain_died(s, d);
    ck_assert_int_eq(d->process.pid, pid);
    ck_assert_str_eq(s->event[(s->event_count - 1) % EVENTS_KEPT].kind, "died");
    ck_assert_uint_eq(s->events_pushed, told);
    ck_assert(supervisor_holds(s));
    d->noticed_us = 1; /* long ago */
    ck_assert(!supervisor_holds(s));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

/* Both at once, as when memory runs out: what has ended is no next life. */
START_TEST(a_dead_one_is_not_taken)
{
    pid_t pid = spare_make();
    spare_ready(3);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
    ck_assert(!standby_take(s, d));
    ck_assert_int_eq(d->spare.process.pid, pid);
}
END_TEST

START_TEST(another_layout_is_a_cold_start)
{
    struct server_memory *m = &s->server[SERVER_TCP];
    struct server_needs needs[SERVER_COUNT] = {
        [SERVER_TCP] = {.pool_octets = 4096, .store_octets = 8192, .store_version = 3}};
    domain_needs(s, d, needs);
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_TCP)), 0);
    ck_assert_int_ge(m->store, 0);
    spare_make();
    spare_ready(3);
    ck_assert(standby_fits(s, d));
    d->spare.needs[SERVER_TCP].store_version = 4;
    ck_assert(!standby_fits(s, d));
    d->spare.needs[SERVER_TCP] = needs[SERVER_TCP];
    d->spare.needs[SERVER_TCP].store_octets += 64;
    ck_assert(!standby_fits(s, d));

    domain_needs(s, d, needs);
    ck_assert_int_ge(m->store, 0); /* the same again: kept */
    needs[SERVER_TCP].store_version = 4;
    domain_needs(s, d, needs);
    ck_assert_int_lt(m->store, 0);
    ck_assert_uint_eq(m->store_version, 4);
    ck_assert_str_eq(s->event[0].kind, "cold");
}
END_TEST

START_TEST(a_lie_ends_it)
{
    static const struct {
        const char *octets;
        size_t length;
        bool ready; /* before it */
    } rows[] = {
        {"\x0a\x0b\x0a\x02\x80\x20\x12\x02\x80\x40\x1a\x01\x03", 13, true},          /* Standby again */
        {"\x0a\x0d\x0a\x05\xff\xff\xff\xff\x0f\x12\x01\x00\x1a\x01\x00", 15, false}, /* too much */
        {"\x0a\x08\x0a\x02\x80\x20\x12\x02\x80\x40", 10, false},                     /* no version */
        {"\x12\x02\x08\x01", 4, false},                                              /* Ready */
        {"\x1a\x02\x08\x01", 4, true},                                               /* Ack */
        {"nonsense", 8, false},
    };
    pid_t pid = spare_make();
    uint32_t state = d->state;
    if (rows[_i].ready)
        spare_ready(3);
    spare_says(rows[_i].octets, rows[_i].length);
    ck_assert_int_lt(d->spare.control, 0);
    ck_assert(!standby_take(s, d));
    int status;
    ck_assert_int_eq(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
    spare_ends();
    ck_assert_int_eq(d->spare.process.pid, 0);
    ck_assert_uint_eq(s->buried.count, 1); /* dead; what is left of it goes when the next process is made */
    ck_assert_int_eq(waitpid(pid, &status, WNOHANG), pid);
    ck_assert_uint_gt(standby_deadline(s), now_us());
    ck_assert_uint_eq(d->state, state);
    ck_assert_str_eq(s->event[0].kind, "spare");
}
END_TEST

START_TEST(next_ones_come_later_and_later)
{
    uint64_t before = 0;
    for (int i = 0; i < 20; i++) {
        kill(spare_make(), SIGKILL);
        standby_event(s, d, WATCH_SPARE_CONTROL); /* nothing there */
        spare_ends();
        uint64_t wait = d->spare.make_us - now_us();
        ck_assert_uint_ge(wait + 1000, before < 9000000 ? before : 9000000);
        ck_assert_uint_le(wait, 10000000);
        before = wait;
    }
    ck_assert_uint_gt(before, 9000000);
}
END_TEST

/* There is no program beside this test. */
START_TEST(cannot_be_started)
{
    for (uint32_t i = 0; i < 3; i++) {
        d->spare.make_us = 1;
        standby_deadlines(s, now_us());
        ck_assert_int_eq(d->spare.process.pid, 0);
        ck_assert_int_lt(d->spare.control, 0);
        ck_assert_uint_eq(d->spare.failures, i + 1);
        ck_assert_uint_gt(standby_deadline(s), now_us());
    }
}
END_TEST

/* What was a program when it was named is a FIFO now, into which nobody writes. */
START_TEST(a_fifo_is_not_waited_for)
{
    snprintf(d->program, sizeof d->program, "%s/program", directory);
    ck_assert_int_eq(mkfifo(d->program, 0700), 0);
    d->spare.make_us = 1;
    standby_deadlines(s, now_us());
    unlink(d->program);
    ck_assert_int_eq(d->spare.process.pid, 0);
    ck_assert_uint_eq(d->spare.failures, 1);
}
END_TEST

START_TEST(one_at_a_time)
{
    struct domain *other = &s->domain[SERVER_UDP];
    pid_t pid = spare_make();
    other->spare.make_us = 1;
    standby_deadlines(s, now_us());
    ck_assert_uint_eq(other->spare.failures, 0);
    ck_assert_uint_gt(standby_deadline(s), now_us());
    standby_deadlines(s, now_us() + START_US + 1); /* it is given up */
    ck_assert_int_eq(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
    spare_ends();
    standby_deadlines(s, now_us());
    ck_assert_uint_eq(other->spare.failures, 1); /* tried, see cannot_be_started */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervisor_standby");
    TCase *tests = tcase_create("supervisor_standby");
    tcase_add_checked_fixture(tests, begin, end_of_test);
    tcase_add_test(tests, is_wanted_while_the_domain_runs);
    tcase_add_test(tests, becomes_the_process);
    tcase_add_test(tests, a_death_is_told_after_the_recovery);
    tcase_add_test(tests, a_dead_one_is_not_taken);
    tcase_add_test(tests, another_layout_is_a_cold_start);
    tcase_add_loop_test(tests, a_lie_ends_it, 0, 6);
    tcase_add_test(tests, next_ones_come_later_and_later);
    tcase_add_test(tests, cannot_be_started);
    tcase_add_test(tests, a_fifo_is_not_waited_for);
    tcase_add_test(tests, one_at_a_time);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
