// SPDX-License-Identifier: BSD-2-Clause
/* Applications: what they attach with, and what they leave behind. Every test ends with the descriptors it began with.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "tests/unit/supervisor_harness.h"

START_TEST(a_session_comes_and_goes_without_a_trace)
{
    start_all();
    int before = descriptors();
    for (unsigned round = 0; round < 3; round++) {
        int fd = application(), passed[2];
        ck_assert_int_eq(hello(fd), 0);
        arena_pair(passed, &arena_request);
        ask(fd, &arena_request, sizeof arena_request, passed, 2);
        ck_assert_int_eq(answered(fd, NULL), 0);
        ask(fd, &arena_request, sizeof arena_request, passed, 2); /* the same memory again */
        ck_assert_int_eq(answered(fd, NULL), EINVAL);
        pair_close(passed);
        ck_assert_uint_eq(hear_all(SERVER_NIC, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_ARENA), 1);
        ck_assert_uint_eq(hear_all(SERVER_UDP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_ARENA), 0);
        ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_ARENA), 1);
        ck_assert_uint_eq(hear_all(SERVER_IP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_CAPABILITIES), 1);
        session_done(s, 0); /* a lie: the application is there */
        ck_assert_int_eq(s->session[0].state, SESSION_ACTIVE);
        hang_up(fd);
        ck_assert_int_eq(s->session[0].state, SESSION_ENDING);
        ck_assert_uint_eq(hear_all(SERVER_SOCKET, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SESSION_ENDED), 1);
        for (uint32_t i = 0; i < s->domain_count; i++)
            hear_all(i, 0);
        remove_all(0);
    }
    ck_assert_int_eq(descriptors(), before);
}
END_TEST

/* An arena's transport gets it when those who pass its references on know it, and the application is answered after
 * that. */
START_TEST(the_answer_waits_for_the_grants)
{
    start_all();
    int fd = application(), passed[2];
    ck_assert_int_eq(hello(fd), 0);
    for (uint32_t i = 0; i < s->domain_count; i++)
        hear_all(i, 0);
    arena_pair(passed, &arena_request);
    request_send(fd, &arena_request, sizeof arena_request, passed, 2);
    pair_close(passed);
    uint64_t epoch = s->session[0].epoch;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_ARENA), 0);
        if (i == SERVER_UDP)
            session_forget_domain(s, &s->domain[i]); /* it died meanwhile */
        else if (i != SERVER_TCP)
            domain_acknowledged(s, &s->domain[i], epoch);
    }
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_ARENA), 1);
    ck_assert_int_eq(answered(fd, NULL), -1);              /* nothing yet */
    domain_acknowledged(s, &s->domain[SERVER_TCP], epoch); /* an old one */
    ck_assert_int_eq(answered(fd, NULL), -1);
    domain_acknowledged(s, &s->domain[SERVER_TCP], s->session[0].epoch);
    ck_assert_int_eq(answered(fd, NULL), 0);
}
END_TEST

/* A transport that starts while an arena is on its way to it has it once. */
START_TEST(an_arena_is_granted_once)
{
    start_all();
    int fd = application(), passed[2];
    ck_assert_int_eq(hello(fd), 0);
    for (uint32_t i = 0; i < s->domain_count; i++)
        hear_all(i, 0);
    die(SERVER_TCP);
    session_forget_domain(s, &s->domain[SERVER_TCP]);
    arena_pair(passed, &arena_request);
    request_send(fd, &arena_request, sizeof arena_request, passed, 2);
    pair_close(passed);
    s->domain[SERVER_TCP].state = DOMAIN_STANDBY;
    s->domain[SERVER_TCP].incarnation++;
    for (unsigned wave = 0; wave < SERVER_COUNT; wave++) /* who is nearer lets go first */
        for (uint32_t i = 0; i < s->domain_count; i++)
            if (s->domain[i].ack_epoch != 0)
                domain_acknowledged(s, &s->domain[i], s->domain[i].ack_epoch);
    ck_assert_int_eq(s->domain[SERVER_TCP].state, DOMAIN_GRANTED);
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_ARENA), 1);
    uint64_t epoch = s->session[0].epoch;
    for (uint32_t i = 0; i < s->domain_count; i++)
        domain_acknowledged(s, &s->domain[i], epoch);
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_ARENA), 0);
    domain_acknowledged(s, &s->domain[SERVER_TCP], s->session[0].epoch);
    ck_assert_int_eq(answered(fd, NULL), 0);
}
END_TEST

START_TEST(the_dead_need_not_acknowledge)
{
    start_all();
    int before = descriptors();
    int fd = application();
    ck_assert_int_eq(hello(fd), 0);
    hang_up(fd);
    session_done(s, 0);
    for (uint32_t i = 0; i < s->domain_count; i++) {
        ck_assert_int_eq(s->session[0].state, SESSION_REMOVING);
        if (i == SERVER_UDP)
            session_forget_domain(s, &s->domain[i]);
        else
            domain_acknowledged(s, &s->domain[i], s->session[0].epoch);
    }
    ck_assert_int_eq(s->session[0].state, SESSION_FREE);
    for (uint32_t i = 0; i < s->domain_count; i++)
        hear_all(i, 0);
    ck_assert_int_eq(descriptors(), before);
}
END_TEST

enum bend { SHORT, LONG, MAGIC, OPERATION, RESERVED, ONE_FD, THREE_FDS, NO_FD, ARENA_FIRST, BENDS };

START_TEST(nonsense_closes_the_connection)
{
    start_all();
    int before = descriptors();
    int fd = application(), passed[3];
    struct attach_request request[2] = {{.magic = SESSION_MAGIC, .operation = ATTACH_HELLO}};
    pair_make(passed, sizeof(struct session_control), sizeof(struct session_answer));
    passed[2] = passed[0];
    request[0].magic ^= _i == MAGIC;
    request[0].operation = _i == OPERATION ? 77 : _i == ARENA_FIRST ? ATTACH_ARENA : ATTACH_HELLO;
    request[0].receive_most = _i == RESERVED;
    size_t length = sizeof request[0] + (_i == LONG ? 4 : 0) - (_i == SHORT ? 4 : 0);
    ask(fd, request, length, passed, _i == ONE_FD ? 1 : _i == THREE_FDS ? 3 : _i == NO_FD ? 0 : 2);
    ck_assert_int_eq(answered(fd, NULL), -1);
    pair_close(passed);
    close(fd);
    ck_assert_uint_eq(s->refused_attaches, 1);
    ck_assert_int_eq(descriptors(), before);
}
END_TEST

static const struct {
    const char *name;
    struct attach_request request;
    int error;
} arenas[] = {
    {"transport", {.transport = 2, .slots = 4, .send_size = 8192, .receive_size = 8192}, EINVAL},
    {"no slots", {.slots = 0, .send_size = 8192, .receive_size = 8192}, EINVAL},
    {"too many slots", {.slots = ARENA_SLOTS_MAX + 1, .send_size = 8192, .receive_size = 8192}, EINVAL},
    {"ring too small", {.slots = 4, .send_size = 2048, .receive_size = 8192}, EINVAL},
    {"ring no power of two", {.slots = 4, .send_size = 8192, .receive_size = 12288}, EINVAL},
    {"ring too large", {.slots = 1, .send_size = 8192, .receive_size = SLOT_RING_MAX * 2}, EINVAL},
    {"place smaller than the ring",
     {.slots = 1, .send_size = 8192, .receive_size = 16384, .receive_most = 8192},
     EINVAL},
    {"place no power of two", {.slots = 1, .send_size = 8192, .receive_size = 8192, .send_most = 12288}, EINVAL},
    {"place too large", {.slots = 1, .send_size = 8192, .receive_size = 8192, .send_most = SLOT_RING_MAX * 2}, EINVAL},
    {"place beyond the quota",
     {.slots = 64, .send_size = 8192, .receive_size = 8192, .receive_most = SLOT_RING_MAX, .send_most = SLOT_RING_MAX},
     EDQUOT},
    {"place of more than half of the quota",
     {.slots = 25, .send_size = 8192, .receive_size = 8192, .receive_most = SLOT_RING_MAX, .send_most = SLOT_RING_MAX},
     EDQUOT},
    {"less memory than place", {.slots = 4, .send_size = 8192, .receive_size = 16384, .receive_most = 32768}, EINVAL},
    {"beyond the quota", {.slots = 96, .send_size = SLOT_RING_MAX, .receive_size = 8192}, EDQUOT},
    {"other size than said", {.slots = 5, .send_size = 8192, .receive_size = 16384}, EINVAL},
};

START_TEST(a_bad_arena_is_refused)
{
    start_all();
    int fd = application(), passed[2];
    ck_assert_int_eq(hello(fd), 0);
    int before = descriptors();
    struct attach_request request = arenas[_i].request;
    request.magic = SESSION_MAGIC;
    request.operation = ATTACH_ARENA;
    arena_pair(passed, &arena_request);
    ask(fd, &request, sizeof request, passed, 2);
    ck_assert_msg(answered(fd, NULL) == arenas[_i].error, "%s", arenas[_i].name);
    pair_close(passed);
    ck_assert_int_eq(descriptors(), before);
    ck_assert_int_eq(s->session[0].state, SESSION_ACTIVE); /* and the session goes on */
}
END_TEST

START_TEST(memory_that_can_shrink_or_is_not_writable_is_refused)
{
    static const struct attach_request request = {.magic = SESSION_MAGIC, .operation = ATTACH_HELLO};
    start_all();
    int fd = application(), passed[2], loose = memfd_create("loose", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(ftruncate(loose, (off_t)segment_round(sizeof(struct session_control))), 0);
    pair_make(passed, sizeof(struct session_control), sizeof(struct session_answer));
    int read_only = segment_read_only(passed[1]);
    const int tried[][2] = {{loose, passed[1]}, {null, passed[1]}, {passed[0], read_only}, {passed[1], passed[0]}};
    for (unsigned i = 0; i < sizeof tried / sizeof tried[0]; i++) {
        ask(fd, &request, sizeof request, tried[i], 2);
        ck_assert_int_eq(answered(fd, NULL), EINVAL);
    }
    ask(fd, &request, sizeof request, passed, 2);
    ck_assert_int_eq(answered(fd, NULL), 0);
}
END_TEST

/* What it can seal later, the next incarnation of a server cannot map. */
START_TEST(what_was_granted_cannot_be_sealed)
{
    static const struct attach_request request = {.magic = SESSION_MAGIC, .operation = ATTACH_HELLO};
    start_all();
    int fd = application(), passed[2], arena[2];
    pair_make(passed, sizeof(struct session_control), sizeof(struct session_answer));
    ask(fd, &request, sizeof request, passed, 2);
    ck_assert_int_eq(answered(fd, NULL), 0);
    ck_assert_int_lt(fcntl(passed[1], F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    arena_pair(arena, &arena_request);
    ask(fd, &arena_request, sizeof arena_request, arena, 2);
    ck_assert_int_eq(answered(fd, NULL), 0);
    ck_assert_int_lt(fcntl(arena[1], F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    pair_close(arena);
    arena_pair(arena, &arena_request);
    ck_assert_int_eq(fcntl(arena[1], F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    ask(fd, &arena_request, sizeof arena_request, arena, 2);
    ck_assert_int_eq(answered(fd, NULL), EINVAL);
}
END_TEST

START_TEST(a_lease_is_refused_at_once)
{
    static const struct attach_request request = {.magic = SESSION_MAGIC, .operation = ATTACH_HELLO};
    start_all();
    int fd = application(), passed[2], before = descriptors();
    signal(SIGIO, SIG_IGN);
    pair_make(passed, sizeof(struct session_control), sizeof(struct session_answer));
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", passed[0]);
    int holder = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(fcntl(holder, F_SETLEASE, F_WRLCK), 0);
    ask(fd, &request, sizeof request, passed, 2);
    ck_assert_int_eq(answered(fd, NULL), EACCES);
    pair_close(passed);
    close(holder);
    ck_assert_int_eq(descriptors(), before);
}
END_TEST

START_TEST(one_user_cannot_have_all_sessions)
{
    start_all();
    s->sessions_most = 8;
    for (unsigned i = 0; i < 6; i++) {
        ck_assert_int_eq(hello(application()), 0);
        for (uint32_t d = 0; d < s->domain_count; d++)
            hear_all(d, 0);
    }
    ck_assert_int_eq(hello(application()), EDQUOT);
    for (unsigned i = 0; i < 2; i++) {
        s->session[i].uid++; /* another's */
        ck_assert_int_eq(hello(application()), 0);
    }
    ck_assert_int_eq(hello(application()), ENOSPC);
    ck_assert_uint_eq(sessions_affordable(20000), SESSIONS_MAX);
    ck_assert_uint_ge(sessions_affordable(4096), 48);
    ck_assert_uint_lt(sessions_affordable(1024), 16);
    ck_assert_uint_eq(sessions_affordable(64), 1);
}
END_TEST

static void all_acknowledge(uint32_t session)
{
    uint64_t epoch = s->session[session].epoch;
    ck_assert_int_eq(s->session[session].state, SESSION_REMOVING);
    for (uint32_t d = 0; d < s->domain_count; d++) {
        hear_all(d, 0);
        domain_acknowledged(s, &s->domain[d], epoch);
    }
    ck_assert_int_eq(s->session[session].state, SESSION_FREE);
}

/* What an application that is gone has still to send keeps its place for a minute. */
START_TEST(a_session_does_not_end_for_ever)
{
    start_all();
    int before = descriptors(), fd = application();
    ck_assert_int_eq(hello(fd), 0);
    hang_up(fd);
    uint64_t ended_us = s->session[0].ended_us;
    sessions_deadlines(s, ended_us + SESSION_ENDING_US - 1);
    ck_assert_int_eq(s->session[0].state, SESSION_ENDING);
    sessions_deadlines(s, ended_us + SESSION_ENDING_US);
    all_acknowledge(0);
    session_done(s, 0); /* the socket server's, which came too late */
    ck_assert_int_eq(s->session[0].state, SESSION_FREE);
    ck_assert_int_eq(descriptors(), before);
}
END_TEST

static void tcp_dies(void)
{
    die(SERVER_TCP);
    session_forget_domain(s, &s->domain[SERVER_TCP]);
}

/* What has a store may have something of it there: nobody gets its index before the next incarnation has been without
 * it for a burst. */
START_TEST(an_index_rests_until_stores_have_forgotten_it)
{
    bool dies_first = _i == 0;
    start_all();
    s->server[SERVER_TCP].store = dup(end[SERVER_TCP]); /* whatever it is */
    int before = descriptors(), fd = application();
    ck_assert_int_eq(hello(fd), 0);
    hang_up(fd);
    if (dies_first)
        tcp_dies();
    sessions_deadlines(s, s->session[0].ended_us + SESSION_ENDING_US);
    ck_assert_int_eq(s->session[0].state, SESSION_REMOVING);
    uint64_t epoch = s->session[0].epoch;
    for (uint32_t d = 0; d < s->domain_count; d++) {
        hear_all(d, 0);
        if (d != SERVER_TCP)
            domain_acknowledged(s, &s->domain[d], epoch);
    }
    if (!dies_first)
        tcp_dies();
    ck_assert_int_eq(s->session[0].state, SESSION_REMOVING);
    sessions_deadlines(s, s->session[0].deadline_us); /* nobody can be blamed */
    domain_ready(s, &s->domain[SERVER_TCP]);
    ck_assert_int_eq(s->session[0].state, SESSION_REMOVING);
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SESSION_REMOVE), 1);
    domain_acknowledged(s, &s->domain[SERVER_TCP], epoch);
    ck_assert_int_eq(s->session[0].state, SESSION_FREE);
    ck_assert_int_eq(descriptors(), before);
}
END_TEST

static void hello_send(int fd)
{
    static const struct attach_request request = {.magic = SESSION_MAGIC, .operation = ATTACH_HELLO};
    int passed[2];
    pair_make(passed, sizeof(struct session_control), sizeof(struct session_answer));
    ask(fd, &request, sizeof request, passed, 2);
    pair_close(passed);
}

/* ... or until somebody wants the place: the oldest first, and of the same user if it is the user's share that is full.
 */
START_TEST(a_place_that_is_wanted_is_freed)
{
    static const unsigned left[] = {4, 2, 1}; /* in this order */
    start_all();
    s->sessions_most = 8;
    int fd[6];
    for (unsigned i = 0; i < 6; i++) {
        fd[i] = application();
        ck_assert_int_eq(hello(fd[i]), 0);
        for (uint32_t d = 0; d < s->domain_count; d++)
            hear_all(d, 0);
    }
    int before = descriptors();
    for (unsigned i = 0; i < 3; i++) {
        hang_up(fd[left[i]]);
        s->session[left[i]].ended_us = 1000 + i;
    }
    for (unsigned i = 0; i < 3; i++) {
        int waiting = application();
        hello_send(waiting);
        ck_assert_int_eq(answered(waiting, NULL), -1); /* not yet */
        all_acknowledge(left[i]);
        ck_assert(s->place_freed);
        attach_waiting(s);
        ck_assert(!s->place_freed);
        fences_down();
        ck_assert_int_eq(answered(waiting, NULL), 0);
        ck_assert_int_eq(s->session[left[i]].state, SESSION_ACTIVE);
        for (uint32_t d = 0; d < s->domain_count; d++)
            hear_all(d, 0);
    }
    ck_assert_int_eq(descriptors(), before); /* three came for three */
    ck_assert_int_eq(hello(application()), EDQUOT);
    s->session[0].uid++;
    s->session[0].state = SESSION_ENDING;
    ck_assert_int_eq(hello(application()), 0);      /* there is room */
    ck_assert_int_eq(hello(application()), EDQUOT); /* another's that ends does not help */
    ck_assert_int_eq(s->session[0].state, SESSION_ENDING);
}
END_TEST

/* Whoever waits for a place and goes leaves nothing behind; nor may it ask twice. */
START_TEST(a_hello_that_waits_can_be_given_up)
{
    start_all();
    s->sessions_most = 2;
    int fd = application();
    ck_assert_int_eq(hello(fd), 0);
    ck_assert_int_eq(hello(application()), 0);
    hang_up(fd);
    for (uint32_t d = 0; d < s->domain_count; d++)
        hear_all(d, 0);
    int before = descriptors();
    for (unsigned i = 0; i < 2; i++) {
        int waiting = application();
        hello_send(waiting);
        ck_assert_int_eq(s->session[0].state, SESSION_REMOVING);
        if (i == 0)
            hang_up(waiting);
        else
            hello_send(waiting);
        if (i == 1)
            close(waiting);
        ck_assert_int_eq(descriptors(), before);
    }
    all_acknowledge(0);
    attach_waiting(s);
    ck_assert_int_eq(s->session[0].state, SESSION_FREE);
}
END_TEST

START_TEST(session_events_are_rationed)
{
    start_all();
    for (unsigned i = 0; i < 2 * SESSION_EVENTS_BURST; i++) {
        int fd = application();
        ck_assert_int_eq(hello(fd), 0);
        hang_up(fd);
        for (uint32_t d = 0; d < s->domain_count; d++)
            hear_all(d, 0);
        remove_all(0);
    }
    ck_assert_uint_eq(s->event_count, SESSION_EVENTS_BURST);
    sessions_tick(s);
    ck_assert_uint_eq(s->event_count, SESSION_EVENTS_BURST + 1);
    ck_assert_str_eq(s->event[SESSION_EVENTS_BURST].text, "192 more came or went");
    sessions_tick(s);
    ck_assert_uint_eq(s->event_count, SESSION_EVENTS_BURST + 1);
    ck_assert_uint_eq(s->session_events_left, 1);
}
END_TEST

static rlim_t descriptors_limit(rlim_t most)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t was = limit.rlim_cur;
    limit.rlim_cur = most;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return was;
}

static int first_free(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

START_TEST(without_descriptors_nobody_spins_or_dies)
{
    start_all();
    int fd = application();
    ck_assert_int_eq(hello(fd), 0);
    hear_all(SERVER_TCP, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%.40s/attach", directory);
    int waiting = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(connect(waiting, (struct sockaddr *)&a, sizeof a), 0);
    struct epoll_event event;
    ck_assert_int_eq(epoll_wait(s->attach_epoll, &event, 1, 0), 1);
    rlim_t was = descriptors_limit((rlim_t)first_free());
    attach_accept(s);
    grant_session(s, &s->domain[SERVER_TCP], &s->session[0]);
    descriptors_limit(was);
    ck_assert_int_eq(epoll_wait(s->attach_epoll, &event, 1, 0), 0);
    attach_tick(s);
    ck_assert_int_eq(epoll_wait(s->attach_epoll, &event, 1, 0), 1);
    ck_assert_int_eq(s->domain[SERVER_TCP].fault, FAULT_NONE);
    to_domain *m = hear(SERVER_TCP);
    ck_assert_ptr_nonnull(m);
    ck_assert_int_eq(m->session->bell_fd, -1);
    ck_assert_int_eq(m->session->control_fd, -1);
    bulkhead__control__to_domain__free_unpacked(m, NULL);
}
END_TEST

START_TEST(sessions_and_connections_are_bounded)
{
    int fd[SESSIONS_MAX + 1];
    start_all();
    int before = descriptors();
    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        fd[i] = application();
        ck_assert_int_eq(hello(fd[i]), 0);
        s->session[i].uid += i; /* of as many users */
        for (uint32_t d = 0; d < s->domain_count; d++)
            hear_all(d, 0);
    }
    fd[SESSIONS_MAX] = application();
    ck_assert_int_eq(hello(fd[SESSIONS_MAX]), ENOSPC);
    close(fd[SESSIONS_MAX]);
    int full = descriptors();
    for (unsigned i = 0; i < 200; i++) { /* they say nothing, and are put out one by one */
        int silent = application();
        ck_assert_int_le(descriptors(), full + CONNECTIONS_WAITING + 2);
        close(silent);
    }
    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        hang_up(fd[i]);
        for (uint32_t d = 0; d < s->domain_count; d++)
            hear_all(d, 0);
        remove_all(i);
    }
    ck_assert_int_eq(descriptors(), before);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervisor_sessions");
    TCase *tests = tcase_create("supervisor_sessions");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_session_comes_and_goes_without_a_trace);
    tcase_add_test(tests, the_answer_waits_for_the_grants);
    tcase_add_test(tests, an_arena_is_granted_once);
    tcase_add_test(tests, the_dead_need_not_acknowledge);
    tcase_add_loop_test(tests, nonsense_closes_the_connection, 0, BENDS);
    tcase_add_loop_test(tests, a_bad_arena_is_refused, 0, sizeof arenas / sizeof arenas[0]);
    tcase_add_test(tests, memory_that_can_shrink_or_is_not_writable_is_refused);
    tcase_add_test(tests, what_was_granted_cannot_be_sealed);
    tcase_add_test(tests, a_lease_is_refused_at_once);
    tcase_add_test(tests, one_user_cannot_have_all_sessions);
    tcase_add_test(tests, a_session_does_not_end_for_ever);
    tcase_add_loop_test(tests, an_index_rests_until_stores_have_forgotten_it, 0, 2);
    tcase_add_test(tests, a_place_that_is_wanted_is_freed);
    tcase_add_test(tests, a_hello_that_waits_can_be_given_up);
    tcase_add_test(tests, session_events_are_rationed);
    tcase_add_test(tests, without_descriptors_nobody_spins_or_dies);
    tcase_add_test(tests, sessions_and_connections_are_bounded);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
