// SPDX-License-Identifier: BSD-2-Clause
/* What the supervisor makes of what the prober says, and what it does not. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/ring.h"
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
    s->prober.process = (struct process){.pid = getpid(), .pidfd = -1};
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

static void is_asked(void)
{
    char asked;
    s->prober.at_us = 0;
    prober_deadlines(s, now_us());
    ck_assert_int_eq(recv(prober, &asked, 1, MSG_DONTWAIT), 1);
}

static void answers(const void *octets, size_t length)
{
    ck_assert_int_eq(send(prober, octets, length, 0), (ssize_t)length);
    prober_receive(s);
}

static void says(const void *octets, size_t length)
{
    is_asked();
    answers(octets, length);
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

#define OWN   (SESSIONS_MAX - 1)
#define NOONE UINT32_MAX
#define TCP   SERVER_BIT(SERVER_TCP)
#define ASKS  SERVER_BIT(SERVER_SOCKET)

/* One end was handed arena 1, slot 2, generation 3; meanwhile tcp has told the socket server of this. */
static const struct {
    const char *name;
    enum probe_end end;
    bool none; /* it was handed nothing */
    struct told {
        uint8_t operation;
        uint32_t session, arena, slot, generation;
        int32_t error;
    } told[2];
    uint32_t since; /* messages */
    unsigned blamed;
    enum { ACCEPTS, ACCEPTS_OTHER, ACCEPTS_SOMEBODYS, ACCEPTS_NONE } accepts; /* what it told tcp */
    uint32_t asked;                                                            /* messages since */
} hands[] = {
    {"nothing was told", PROBE_END_ACCEPTED, .blamed = TCP},
    {"that slot", PROBE_END_ACCEPTED, .told = {{MESSAGE_ESTABLISHED, OWN, 1, 2, 3, 0}}, .blamed = TCP},
    {"another slot", PROBE_END_ACCEPTED, .told = {{MESSAGE_ESTABLISHED, OWN, 1, 4, 3, 0}}, .blamed = ASKS},
    {"another arena", PROBE_END_ACCEPTED, .told = {{MESSAGE_ESTABLISHED, OWN, 0, 2, 3, 0}}, .blamed = ASKS},
    {"another use", PROBE_END_ACCEPTED, .told = {{MESSAGE_ESTABLISHED, OWN, 1, 2, 4, 0}}, .blamed = ASKS},
    {"that slot among others", PROBE_END_ACCEPTED,
     .told = {{MESSAGE_ESTABLISHED, OWN, 1, 4, 3, 0}, {MESSAGE_ESTABLISHED, OWN, 1, 2, 3, 0}}, .blamed = TCP},
    {"two others", PROBE_END_ACCEPTED,
     .told = {{MESSAGE_ESTABLISHED, OWN, 1, 4, 3, 0}, {MESSAGE_ESTABLISHED, OWN, 1, 5, 3, 0}}, .blamed = ASKS},
    {"somebody's", PROBE_END_ACCEPTED, .told = {{MESSAGE_ESTABLISHED, 0, 1, 4, 3, 0}}, .blamed = TCP},
    {"of the other end", PROBE_END_ACCEPTED, .told = {{MESSAGE_ANSWER, OWN, 1, 4, 3, 0}}, .blamed = TCP},
    {"another slot, long ago", PROBE_END_ACCEPTED, .told = {{MESSAGE_ESTABLISHED, OWN, 1, 4, 3, 0}},
     .since = RING_SLOTS / 2 - 8, .blamed = TCP},
    {"accepts another", PROBE_END_ACCEPTED, .told = {{MESSAGE_ESTABLISHED, OWN, 1, 2, 3, 0}}, .blamed = ASKS, ACCEPTS_OTHER},
    {"accepts somebody's", PROBE_END_ACCEPTED, .told = {{MESSAGE_ESTABLISHED, OWN, 1, 2, 3, 0}}, .blamed = ASKS,
     ACCEPTS_SOMEBODYS},
    {"accepts none", PROBE_END_ACCEPTED, .told = {{MESSAGE_ESTABLISHED, OWN, 1, 2, 3, 0}}, .blamed = ASKS, ACCEPTS_NONE},
    {"accepts none, and nothing was accepted", PROBE_END_ACCEPTED, true, .blamed = TCP, .accepts = ACCEPTS_NONE},
    {"accepts none that is to be seen", PROBE_END_ACCEPTED, .told = {{MESSAGE_ESTABLISHED, OWN, 1, 2, 3, 0}}, .blamed = TCP,
     ACCEPTS_NONE, RING_SLOTS / 2 + 8},
    {"accepts none that tcp takes", PROBE_END_ACCEPTED, .told = {{MESSAGE_ESTABLISHED, OWN, 1, 2, 3, 0}}, .blamed = TCP,
     ACCEPTS_NONE, RING_SLOTS / 4},
    {"no accept", PROBE_END_ACCEPTED, true, .told = {{MESSAGE_ESTABLISHED, OWN, 1, 4, 3, 0}}, .blamed = TCP},
    {"connected with that", PROBE_END_CONNECTED, .told = {{MESSAGE_ANSWER, OWN, 1, 2, 3, 0}}, .blamed = TCP},
    {"connected with another", PROBE_END_CONNECTED, .told = {{MESSAGE_ANSWER, OWN, 1, 4, 3, 0}}, .blamed = ASKS},
    {"an answer that has none", PROBE_END_CONNECTED, .told = {{MESSAGE_ANSWER, OWN, NOONE, 0, 0, 0}}, .blamed = TCP},
    {"an error", PROBE_END_CONNECTED, .told = {{MESSAGE_ANSWER, OWN, 1, 4, 3, ECONNREFUSED}}, .blamed = TCP},
};

static void tell(struct ring_half *half, const struct told *told)
{
    const struct message m = {.operation = told->operation,
                              .slot_count = 2,
                              .socket = {.session = told->session,
                                         .arena = told->arena,
                                         .slot = told->slot,
                                         .generation = told->generation,
                                         .error = told->error}};
    for (unsigned i = 0; told->operation != 0 && i < 2; i++)
        memcpy(half->slot[half->producer++ % RING_SLOTS].octets, (const uint8_t *)&m + i * MESSAGE_SLOT_OCTETS,
               MESSAGE_SLOT_OCTETS);
}

START_TEST(what_it_was_handed_is_what_tcp_gave)
{
    struct probe_report r = report_of(PROBE_SERVED, PROBE_FAILED, PROBE_SERVED);
    r.stage = hands[_i].end == PROBE_END_ACCEPTED ? PROBE_STAGE_OCTETS : PROBE_STAGE_CONNECT;
    r.handed = (uint8_t)(hands[_i].none ? 0 : PROBE_END_BIT(hands[_i].end));
    r.slot[hands[_i].end] = (struct probe_slot){.arena = 1, .slot = 2, .generation = 3};
    ck_assert_int_eq(hello(application()), 0);
    ck_assert(s->session[OWN].prober);
    ck_assert_int_eq(memory_renew(s, TCP), 0);
    struct ring_half *of_tcp = half_of(SERVER_TCP, SERVER_SOCKET), *of_socket = half_of(SERVER_SOCKET, SERVER_TCP);
    judge_tick(s, now_us());
    for (unsigned probes = 0; probes < 2; probes++) {
        is_asked();
        const struct told accepted = {hands[_i].accepts == ACCEPTS_NONE ? MESSAGE_CLOSE : MESSAGE_ACCEPTED,
                                      hands[_i].accepts == ACCEPTS_SOMEBODYS ? 0 : OWN, 1,
                                      hands[_i].accepts == ACCEPTS_OTHER ? 4 : 2, 3, 0};
        tell(of_socket, &accepted);
        for (uint32_t i = 0; i < hands[_i].asked; i++)
            tell(of_socket, &(struct told){.operation = MESSAGE_CLOSE});
        for (unsigned i = 0; i < 2; i++)
            tell(of_tcp, &hands[_i].told[i]);
        for (uint32_t i = 0; i < hands[_i].since; i++)
            tell(of_tcp, &(struct told){.operation = MESSAGE_LOST});
        s->prober.elimination.since_us -= ELIMINATE_GUESS_US;
        answers(&r, sizeof r);
    }
    ck_assert_msg(blamed() == hands[_i].blamed, "%s: %x", hands[_i].name, blamed());
    segment_unmap(of_tcp, sizeof *of_tcp);
    segment_unmap(of_socket, sizeof *of_socket);
}
END_TEST

static void say(struct ring_half *half, uint8_t operation, uint32_t connection)
{
    const struct message m = {.operation = operation, .slot_count = 2, .socket = {.connection = connection}};
    for (unsigned i = 0; i < 2; i++)
        memcpy(half->slot[half->producer++ % RING_SLOTS].octets, (const uint8_t *)&m + i * MESSAGE_SLOT_OCTETS,
               MESSAGE_SLOT_OCTETS);
}

enum { ENDS_ALL, ENDS_FEW, ENDS_OTHERS, ACCEPTS_ONE, NOTHING_SEEN, ENDS };

/* So much is said between tcp and the socket server that what tcp told it of the prober's connection is overwritten. */
START_TEST(who_ends_all_is_to_blame)
{
    struct probe_report r = report_of(PROBE_SERVED, PROBE_FAILED, PROBE_SERVED);
    r.stage = PROBE_STAGE_ACCEPT;
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_TCP)), 0);
    struct ring_half *of_tcp = half_of(SERVER_TCP, SERVER_SOCKET), *of_socket = half_of(SERVER_SOCKET, SERVER_TCP);
    if (_i != NOTHING_SEEN)
        judge_tick(s, now_us());
    for (unsigned probes = 0; probes < 2; probes++) {
        is_asked();
        for (uint32_t i = 0; i < RING_SLOTS; i++) {
            say(of_tcp, MESSAGE_ESTABLISHED, i);
            if (_i != ENDS_FEW || i % 64 == 0)
                say(of_socket, MESSAGE_CLOSE, _i == ENDS_OTHERS ? i + RING_SLOTS : i);
            else
                say(of_socket, MESSAGE_OWNED, i);
        }
        if (_i == ACCEPTS_ONE)
            say(of_socket, MESSAGE_ACCEPTED, 1);
        s->prober.elimination.since_us -= ELIMINATE_GUESS_US;
        answers(&r, sizeof r);
    }
    ck_assert_uint_eq(blamed(), SERVER_BIT(_i == ENDS_ALL ? SERVER_SOCKET : SERVER_TCP));
    segment_unmap(of_tcp, sizeof *of_tcp);
    segment_unmap(of_socket, sizeof *of_socket);
}
END_TEST

/* What udp and ip said to each other, and whether ip has taken it. */
static const struct {
    const char *name;
    uint8_t sends[2], receives[2]; /* last octets of source and destination; 0, 0: nothing was said */
    bool untaken, full;
    enum server_id blamed;
} deliveries[] = {
    {"nothing was sent", {0, 0}, {0, 0}, .blamed = SERVER_UDP},
    {"nothing was delivered", {2, 2}, {0, 0}, .blamed = SERVER_IP},
    {"it was delivered", {2, 2}, {2, 2}, .blamed = SERVER_UDP},
    {"what another host sent was delivered", {2, 2}, {1, 2}, .blamed = SERVER_IP},
    {"it went to another host", {2, 1}, {0, 0}, .blamed = SERVER_UDP},
    {"ip has not looked", {2, 2}, {0, 0}, .untaken = true, .blamed = SERVER_UDP},
    {"udp does not take any", {2, 2}, {0, 0}, .full = true, .blamed = SERVER_UDP},
};

static void carry(struct ring_half *half, uint8_t operation, const uint8_t ends[2])
{
    const struct message m = {.operation = operation,
                              .slot_count = 2,
                              .protocol = 17,
                              .source = {.octets = {10, 0, 0, ends[0]}, .family = ADDRESS_IP4},
                              .destination = {.octets = {10, 0, 0, ends[1]}, .family = ADDRESS_IP4}};
    for (unsigned i = 0; ends[0] != 0 && i < 2; i++)
        memcpy(half->slot[half->producer++ % RING_SLOTS].octets, (const uint8_t *)&m + i * MESSAGE_SLOT_OCTETS,
               MESSAGE_SLOT_OCTETS);
}

static void give_back(struct ring_half *half) /* more than a beat */
{
    const struct message m = {.operation = MESSAGE_RETURN, .slot_count = 1, .count = 1};
    memcpy(half->slot[half->producer++ % RING_SLOTS].octets, &m, MESSAGE_SLOT_OCTETS);
}

START_TEST(what_ip_delivers_to_nobody_is_its_fault)
{
    const struct probe_report r = report_of(PROBE_SERVED, PROBE_SERVED, PROBE_FAILED);
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_UDP)), 0);
    struct ring_half *of_udp = half_of(SERVER_UDP, SERVER_IP), *of_ip = half_of(SERVER_IP, SERVER_UDP);
    judge_tick(s, now_us());
    for (unsigned probes = 0; probes < 2; probes++) {
        is_asked();
        give_back(of_udp);
        carry(of_udp, MESSAGE_SEND, deliveries[_i].sends);
        give_back(of_ip);
        carry(of_ip, MESSAGE_RECEIVE, deliveries[_i].receives);
        of_ip->consumer = of_udp->producer - (deliveries[_i].untaken ? 2 : 0);
        of_udp->consumer = of_ip->producer - (deliveries[_i].full ? RING_SLOTS / 2 : 0);
        s->prober.elimination.since_us -= ELIMINATE_GUESS_US;
        answers(&r, sizeof r);
    }
    ck_assert_msg(blamed() == SERVER_BIT(deliveries[_i].blamed), "%s: %x", deliveries[_i].name, blamed());
    segment_unmap(of_udp, sizeof *of_udp);
    segment_unmap(of_ip, sizeof *of_ip);
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
    tcase_add_loop_test(tc, what_it_was_handed_is_what_tcp_gave, 0, sizeof hands / sizeof hands[0]);
    tcase_add_loop_test(tc, who_ends_all_is_to_blame, 0, ENDS);
    tcase_add_loop_test(tc, what_ip_delivers_to_nobody_is_its_fault, 0, sizeof deliveries / sizeof deliveries[0]);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
