// SPDX-License-Identifier: BSD-2-Clause
/* What the supervisor makes of what the prober says, and what it does not. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "tests/unit/suite.h"
#include "tests/unit/supervisor_harness.h"

static int prober; /* its end */
static pid_t victims[SERVER_COUNT];

static void link_setup(void)
{
    int pair[2];
    setup();
    start_all();
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        s->domain[id].state = DOMAIN_RUNNING;
        victims[id] = victim(&s->domain[id]);
    }
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    prober_init(s);
    s->prober.socket = pair[0];
    s->prober.was_well = true;
    s->prober.process = (struct process){getpid(), -1, false, 0};
    prober = pair[1];
}

static void link_teardown(void)
{
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        kill(victims[id], SIGKILL);
        waitpid(victims[id], NULL, 0);
    }
    teardown();
}

/* It is asked, and says this. */
static void says(const void *octets, size_t length)
{
    char asked;
    s->prober.at_us = 0;
    prober_deadlines(s, now_us());
    ck_assert_int_eq(recv(prober, &asked, 1, MSG_DONTWAIT), 1);
    ck_assert_int_eq(send(prober, octets, length, 0), (ssize_t)length);
    prober_receive(s);
}

static struct probe_report report_of(uint8_t request, uint8_t tcp, uint8_t udp)
{
    return (struct probe_report){
        .magic = PROBE_MAGIC, .began_us = now_us(), .request = request, .tcp = tcp, .udp = udp};
}

/* For long enough. */
static void fails_twice(struct probe_report r)
{
    says(&r, sizeof r);
    s->prober.elimination.since_us -= ELIMINATE_GUESS_US; /* time goes by */
    says(&r, sizeof r);
}

static unsigned blamed(void)
{
    unsigned mask = 0;
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        mask |= s->domain[id].fault == FAULT_UNSERVED ? SERVER_BIT(id) : 0;
    return mask;
}

START_TEST(who_serves_nobody_has_a_new_life)
{
    fails_twice(report_of(PROBE_SERVED, PROBE_FAILED, PROBE_SERVED));
    ck_assert_uint_eq(blamed(), SERVER_BIT(SERVER_TCP));
    ck_assert_uint_eq(s->health.unserved, 1);
    ck_assert_uint_eq(s->prober.failures, 2);
    struct domain *d = &s->domain[SERVER_TCP];
    d->state = DOMAIN_RUNNING;
    ck_assert_uint_eq(d->unhealthy, 0);
}
END_TEST

START_TEST(well_is_well)
{
    fails_twice(report_of(PROBE_SERVED, PROBE_SERVED, PROBE_SERVED));
    ck_assert_uint_eq(blamed(), 0);
    ck_assert_uint_eq(s->prober.reports, 2);
    ck_assert_uint_eq(s->prober.failures, 0);
}
END_TEST

enum { LATE, EARLY, STARTING, PLANNED, STILL, CHANGE, GOLDEN, NEVER_WELL, EXCUSES };

START_TEST(what_has_another_reason_blames_nobody)
{
    struct probe_report r = report_of(PROBE_FAILED, PROBE_UNKNOWN, PROBE_FAILED);
    struct domain *d = &s->domain[SERVER_UDP];
    d->ready_us = r.began_us - 1000000;
    if (_i == LATE)
        r.late_us = 1000000;
    else if (_i == EARLY)
        d->ready_us = r.began_us - 1000;
    else if (_i == STARTING)
        d->state = DOMAIN_GRANTED;
    else if (_i == PLANNED)
        d->fault = FAULT_PLANNED;
    else if (_i == STILL)
        d->liveness = (struct liveness){.counter = d->status->liveness, .moved_us = now_us() - 2000000};
    else if (_i == CHANGE)
        s->change[0].id = 1;
    else if (_i == GOLDEN)
        s->injector[0] = (struct injector){.domain = d, .golden = true};
    else if (_i == NEVER_WELL)
        s->prober.was_well = false;
    fails_twice(r);
    ck_assert_uint_eq(blamed(), _i < EXCUSES ? 0 : SERVER_BIT(SERVER_SOCKET));
    ck_assert_uint_eq(s->prober.excused, _i < EXCUSES ? 2 : 0);
}
END_TEST

START_TEST(nonsense_is_counted)
{
    struct probe_report r = report_of(PROBE_FAILED, PROBE_FAILED, PROBE_FAILED), bad = r;
    bad.udp = PROBE_OUTCOMES;
    char longer[sizeof r + 1] = {0};
    memcpy(longer, &r, sizeof r);
    says(&bad, sizeof bad);
    ck_assert_uint_eq(s->prober.refused, 1);
    s->prober.asked_us = 0;
    says(&r, sizeof r - 1);
    s->prober.asked_us = 0;
    says(longer, sizeof longer);
    ck_assert_uint_eq(s->prober.refused, 3);
    s->prober.asked_us = 0;
    for (unsigned i = 0; i < 5; i++) { /* what nobody asked for */
        ck_assert_int_eq(send(prober, &r, sizeof r, 0), (ssize_t)sizeof r);
        prober_receive(s);
    }
    ck_assert_uint_eq(s->prober.refused, 8);
    ck_assert_uint_eq(s->prober.reports, 0);
    ck_assert_uint_eq(blamed(), 0);
}
END_TEST

START_TEST(its_session_counts_against_nobody)
{
    s->policy.rule[0].limits.sessions = 1;
    s->policy.count = 1;
    ck_assert_int_eq(hello(application()), 0);
    ck_assert_int_eq(s->session[SESSIONS_MAX - 1].state, SESSION_ACTIVE);
    ck_assert(s->session[SESSIONS_MAX - 1].prober);
    s->prober.process.pid = 0; /* from here on it is an application */
    ck_assert_int_eq(hello(application()), 0);
    ck_assert_int_eq(s->session[0].state, SESSION_ACTIVE);
    ck_assert(!s->session[0].prober);
    ck_assert_int_eq(hello(application()), EDQUOT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervisor_prober");
    TCase *tc = tcase_create("supervisor_prober");
    tcase_add_checked_fixture(tc, link_setup, link_teardown);
    tcase_add_test(tc, who_serves_nobody_has_a_new_life);
    tcase_add_test(tc, well_is_well);
    tcase_add_loop_test(tc, what_has_another_reason_blames_nobody, 0, EXCUSES + 1);
    tcase_add_test(tc, nonsense_is_counted);
    tcase_add_test(tc, its_session_counts_against_nobody);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
