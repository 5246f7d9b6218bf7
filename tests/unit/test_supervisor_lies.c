// SPDX-License-Identifier: BSD-2-Clause
/* What domains say: whoever lies is killed, and nobody else is harmed. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/ring.h"
#include "ipc/segment.h"
#include "tests/unit/supervisor_harness.h"

static const struct {
    const char *name;
    const char *octets;
    size_t length;
} lies[] = {
    {"no protobuf", "\xff\xff\xff\xff", 4},
    {"nothing set", "\x7a\x00", 2},
    {"Standby while it runs", "\x0a\x00", 2},
    {"Ready while it runs", "\x12\x02\x08\x01", 4},
    {"SessionDone of tcp", "\x22\x02\x08\x01", 4},
    {"ChannelBroken of a server elsewhere", "\x2a\x04\x08\x00\x10\x01", 6},
    {"ChannelBroken beyond the table", "\x2a\x06\x08\xff\x01\x10\xff\x01", 8},
    {"too long", NULL, CONTROL_OCTETS_MAX + 1},
};

START_TEST(a_lie_ends_the_liar)
{
    static const char zeros[CONTROL_OCTETS_MAX + 1];
    start_all();
    struct domain *d = &s->domain[SERVER_TCP];
    pid_t pid = victim(d);
    const char *octets = lies[_i].octets != NULL ? lies[_i].octets : zeros;
    ck_assert_int_eq(send(end[SERVER_TCP], octets, lies[_i].length, 0), (ssize_t)lies[_i].length);
    control_receive(s, d);
    ck_assert_msg(d->fault == FAULT_PROTOCOL, "%s", lies[_i].name);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    ck_assert_str_eq(s->event[0].kind, "lie");
    ck_assert_str_eq(s->event[0].subject, "tcp");
    ck_assert_uint_eq(s->health.lies, 1);
}
END_TEST

/* After the first lie nothing that a liar says moves anything. */
START_TEST(after_a_lie_nothing_counts)
{
    start_all();
    struct domain *d = &s->domain[SERVER_SOCKET], *tcp = &s->domain[SERVER_TCP];
    pid_t pid = victim(d), neighbour = victim(tcp);
    static const char broken[] = "\x2a\x04\x08\x04\x10\x02"; /* ChannelBroken of socket, with tcp */
    d->ack_epoch = 7;
    send(end[SERVER_SOCKET], "\xff\xff\xff\xff", 4, 0);
    send(end[SERVER_SOCKET], broken, 6, 0);
    send(end[SERVER_SOCKET], "\x1a\x02\x08\x07", 4, 0); /* Ack 7 */
    control_receive(s, d);
    ck_assert_int_eq(d->fault, FAULT_PROTOCOL);
    for (int i = 0; i < 4; i++)
        control_receive(s, d);
    ck_assert_int_eq(tcp->fault, FAULT_NONE);
    ck_assert_uint_eq(d->ack_epoch, 7);
    waitpid(pid, NULL, 0);
    kill(neighbour, SIGKILL);
    waitpid(neighbour, NULL, 0);
}
END_TEST

/* The dead say their last words and that a session is over: they take nobody with them. */
START_TEST(last_words_harm_nobody)
{
    start_all();
    struct domain *d = &s->domain[SERVER_SOCKET], *tcp = &s->domain[SERVER_TCP];
    pid_t neighbour = victim(tcp);
    s->session[5].state = SESSION_ENDING;
    ck_assert(rights_session(s, &s->session[5]));
    ck_assert_ptr_nonnull(rights_have(s, s->session[5].control_node, SERVER_TCP, CAPABILITY_READ));
    d->state = DOMAIN_DOWN;
    send(end[SERVER_SOCKET], "\x2a\x04\x08\x04\x10\x02", 6, 0);
    send(end[SERVER_SOCKET], "\x22\x02\x08\x05", 4, 0); /* SessionDone 5 */
    send(end[SERVER_SOCKET], "\x32\x06\x10\x04\x1a\x02\x07h", 8, 0);
    control_receive(s, d);
    ck_assert_int_eq(tcp->fault, FAULT_NONE);
    ck_assert_int_eq(s->session[5].state, SESSION_REMOVING);
    ck_assert_str_eq(d->last_words, "?h");
    kill(neighbour, SIGKILL);
    waitpid(neighbour, NULL, 0);
}
END_TEST

/* The one that is said to have lied, and not its neighbour, unless that one says so all the time. */
START_TEST(a_broken_channel_ends_who_wrote_it)
{
    start_all();
    struct domain *d = &s->domain[SERVER_SOCKET], *tcp = &s->domain[SERVER_TCP];
    pid_t pid = victim(d), neighbour = victim(tcp);
    if (_i == 0)
        d->known &= ~SERVER_BIT(SERVER_TCP); /* it has let that one go: it cannot know */
    if (_i == 1)
        tcp->state = DOMAIN_SPAWNED; /* the one with the broken ring is dead, this is the next */
    if (_i == 3) {
        d->accusations = ACCUSATIONS_FREE;
        d->accused_since_us = now_us();
    }
    if (_i == 4) {
        d->accusations = ACCUSATIONS_FREE;
        d->accused_since_us = now_us() - ACCUSATIONS_US - 1;
    }
    send(end[SERVER_SOCKET], "\x2a\x04\x08\x04\x10\x02", 6, 0);
    control_receive(s, d);
    ck_assert_int_eq(d->fault, _i == 0 || _i == 3 ? FAULT_PROTOCOL : FAULT_NONE);
    ck_assert_int_eq(tcp->fault, _i >= 2 ? FAULT_ACCUSED : FAULT_NONE);
    kill(pid, SIGKILL);
    kill(neighbour, SIGKILL);
    waitpid(pid, NULL, 0);
    waitpid(neighbour, NULL, 0);
}
END_TEST

/* What the books of the accused say of it. */
static const struct {
    const char *name, *why;
    bool speaks, keeps, gives, believed;
    uint16_t names; /* it says so much and names this; 0: it says nothing that can be read */
    uint8_t returns; /* loans, with it */
} books[] = {
    {"silent", ACCUSED_SILENT, false, false, false, true, 0},
    {"not silent", ACCUSED_SILENT, true, false, false, false, 0},
    {"keeps", ACCUSED_KEEPS, true, true, false, true, 0},
    {"has nothing", ACCUSED_KEEPS, true, false, false, false, 0},
    {"gives back", ACCUSED_KEEPS, true, true, true, false, 0},
    {"keeps one", ACCUSED_KEEPS_ONE, true, true, true, true, 0},
    {"keeps none", ACCUSED_KEEPS_ONE, true, false, true, false, 0},
    {"ring is broken", ACCUSED_RING, true, false, false, true, 0}, /* a message of no slots */
    {"ring is sound", ACCUSED_RING, false, false, false, false, 0},
    {"names too little to tell", ACCUSED_NAMES, true, false, true, true, 0},
    {"names what it may", ACCUSED_NAMES, true, false, true, false, CAPABILITY_INDEX_PEER},
    {"names what it may not", ACCUSED_NAMES, true, false, true, true, 999},
    {"no evidence", "says what nobody knows", true, false, true, true, 0},
    {"makes sense", ACCUSED_SENSE, true, false, true, false, CAPABILITY_INDEX_PEER},
    {"returns loans, and never had one", ACCUSED_SENSE, true, false, true, true, CAPABILITY_INDEX_PEER, 1},
    {"beats in no name", ACCUSED_SENSE, true, false, true, true, 999},
    {"makes no sense", ACCUSED_SENSE, true, false, true, true, 0}, /* no message */
};

static void say_with(struct ring_half *half, uint16_t name, uint8_t returns)
{
    const struct message m = {
        .operation = MESSAGE_RETURN, .slot_count = 1, .capability = name, .generation = 1, .count = returns};
    for (unsigned i = 0; i < 2; i++)
        memcpy(half->slot[half->producer++ % RING_SLOTS].octets, &m, MESSAGE_SLOT_OCTETS);
}

static void say(struct ring_half *half, uint16_t name)
{
    say_with(half, name, 0);
}

START_TEST(books_are_evidence)
{
    char octets[128] = "\x2a\x00\x08\x04\x10\x02\x1a";
    size_t length = strlen(books[_i].why);
    start_all();
    struct domain *d = &s->domain[SERVER_SOCKET], *tcp = &s->domain[SERVER_TCP];
    pid_t pid = victim(d), neighbour = victim(tcp);
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_TCP)), 0);
    struct ring_half *half = half_of(SERVER_TCP, SERVER_SOCKET);
    uint64_t now = now_us() - 2000000;
    for (unsigned n = 0; n < 10; n++, now += 200000) {
        half->producer += books[_i].speaks && books[_i].names == 0;
        if (books[_i].names != 0)
            say_with(half, books[_i].names, books[_i].returns);
        half->taken = half->given + (books[_i].keeps ? 3 : 0);
        half->given += books[_i].gives;
        half->taken += books[_i].gives;
        judge_tick(s, now);
    }
    octets[1] = (char)(6 + length);
    octets[7] = (char)length;
    memcpy(octets + 8, books[_i].why, length);
    send(end[SERVER_SOCKET], octets, 8 + length, 0);
    control_receive(s, d);
    ck_assert_msg((tcp->fault == FAULT_ACCUSED) == books[_i].believed, "%s", books[_i].name);
    ck_assert_msg((d->fault == FAULT_PROTOCOL) == !books[_i].believed, "%s", books[_i].name);
    segment_unmap(half, sizeof *half);
    kill(pid, SIGKILL);
    kill(neighbour, SIGKILL);
    waitpid(pid, NULL, 0);
    waitpid(neighbour, NULL, 0);
}
END_TEST

/* Indices that contradict each other: tcp, whom the socket server accuses, wrote producer and consumer, the socket
 * server `read` and `said`. All were at 1000 when they were looked at. */
static const struct {
    const char *name;
    uint32_t producer, read, said, consumer;
    bool believed;
} indices[] = {
    {"it says too much", 1000 + 0x40000, 1000, 1000, 1000, true},
    {"what it says goes back", 900, 1000, 1000, 1000, true},
    {"it has read what was not said", 1000, 1000, 1000, 1000 + 0x40000, true},
    {"it forgets what it has read", 1000, 1000, 1000 + 100, 1000 - 0x40000, true},
    {"the accuser has read what was not said", 1000, 1000 + 0x40000, 1000, 1000, false},
    {"the accuser forgets what it has read", 1000 + 10, 1000 - 0x40000, 1000, 1000, false},
    {"the accuser says too much", 1000, 1000, 1000 + 0x40000, 1000, false},
    {"what the accuser says goes back", 1000, 1000, 900, 1000, false},
    {"nobody knows", 1010, 1020, 1000, 1000, true},
};

START_TEST(indices_are_evidence)
{
    start_all();
    struct domain *d = &s->domain[SERVER_SOCKET], *tcp = &s->domain[SERVER_TCP];
    pid_t pid = victim(d), neighbour = victim(tcp);
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_TCP)), 0);
    struct ring_half *of_tcp = half_of(SERVER_TCP, SERVER_SOCKET), *of_socket = half_of(SERVER_SOCKET, SERVER_TCP);
    of_tcp->producer = of_tcp->consumer = of_socket->producer = of_socket->consumer = 1000;
    judge_tick(s, now_us());
    judge_tick(s, now_us());
    of_tcp->producer = indices[_i].producer;
    of_tcp->consumer = indices[_i].consumer;
    of_socket->producer = indices[_i].said;
    of_socket->consumer = indices[_i].read;
    judge_tick(s, now_us()); /* what it sees now is no evidence */
    ck_assert_msg(judge_believes(s, SERVER_SOCKET, SERVER_TCP, ACCUSED_RING, now_us()) == indices[_i].believed, "%s",
                  indices[_i].name);
    segment_unmap(of_tcp, sizeof *of_tcp);
    segment_unmap(of_socket, sizeof *of_socket);
    kill(pid, SIGKILL);
    kill(neighbour, SIGKILL);
    waitpid(pid, NULL, 0);
    waitpid(neighbour, NULL, 0);
}
END_TEST

/* A count that is not its operation's, and messages behind it: its reader cannot find the next one. */
START_TEST(a_count_of_slots_is_evidence)
{
    start_all();
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_TCP)), 0);
    struct ring_half *half = half_of(SERVER_TCP, SERVER_SOCKET);
    judge_tick(s, now_us());
    for (unsigned i = 0; i < 4; i++)
        say(half, CAPABILITY_INDEX_PEER);
    ck_assert(!judge_believes(s, SERVER_SOCKET, SERVER_TCP, ACCUSED_RING, now_us()));
    half->slot[0].octets[offsetof(struct message, slot_count)] = 3;
    ck_assert(judge_believes(s, SERVER_SOCKET, SERVER_TCP, ACCUSED_RING, now_us()));
    segment_unmap(half, sizeof *half);
}
END_TEST

START_TEST(who_keeps_is_seen)
{
    start_all();
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_TCP)), 0);
    struct ring_half *half = half_of(SERVER_TCP, SERVER_SOCKET);
    uint64_t now = now_us();
    judge_tick(s, now);
    half->taken = 2;
    judge_tick(s, now += 200000);
    ck_assert(!judge_keeps(s, SERVER_TCP, SERVER_SOCKET, now));
    now += 2000000;
    ck_assert(judge_keeps(s, SERVER_TCP, SERVER_SOCKET, now));
    ck_assert(!judge_keeps(s, SERVER_SOCKET, SERVER_TCP, now));
    half->given = 1;
    ck_assert(!judge_keeps(s, SERVER_TCP, SERVER_SOCKET, now));
    half->given = 2;
    judge_tick(s, now);
    ck_assert(!judge_keeps(s, SERVER_TCP, SERVER_SOCKET, now + 2000000));
    segment_unmap(half, sizeof *half);
}
END_TEST

START_TEST(a_beat_says_nothing)
{
    start_all();
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_TCP)), 0);
    struct ring_half *half = half_of(SERVER_TCP, SERVER_SOCKET);
    ck_assert(judge_spoke(s, SERVER_TCP, SERVER_SOCKET, 0)); /* nobody has looked yet */
    judge_tick(s, now_us());
    say(half, CAPABILITY_INDEX_PEER);
    ck_assert(!judge_spoke(s, SERVER_TCP, SERVER_SOCKET, 0));
    half->slot[1].octets[offsetof(struct message, count)] = 1;
    ck_assert(judge_spoke(s, SERVER_TCP, SERVER_SOCKET, 0));
    ck_assert(!judge_spoke(s, SERVER_TCP, SERVER_SOCKET, half->producer));
    half->producer += RING_SLOTS;
    ck_assert(judge_spoke(s, SERVER_TCP, SERVER_SOCKET, half->producer - RING_SLOTS));
    segment_unmap(half, sizeof *half);
}
END_TEST

/* What was said since, of which session; and not what is overwritten by now. */
START_TEST(what_was_told_is_seen)
{
    start_all();
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_TCP)), 0);
    struct ring_half *half = half_of(SERVER_TCP, SERVER_SOCKET);
    struct message m = {
        .operation = MESSAGE_ESTABLISHED, .slot_count = sizeof m / MESSAGE_SLOT_OCTETS, .socket.session = 5};
    judge_tick(s, now_us());
    say(half, CAPABILITY_INDEX_PEER);
    uint32_t from = half->producer;
    ck_assert(!judge_told(s, SERVER_TCP, SERVER_SOCKET, 0, MESSAGE_ESTABLISHED, 5));
    for (unsigned i = 0; i < m.slot_count; i++)
        memcpy(half->slot[half->producer++].octets, (uint8_t *)&m + i * MESSAGE_SLOT_OCTETS, MESSAGE_SLOT_OCTETS);
    ck_assert(judge_told(s, SERVER_TCP, SERVER_SOCKET, 0, MESSAGE_ESTABLISHED, 5));
    ck_assert(judge_told(s, SERVER_TCP, SERVER_SOCKET, from, MESSAGE_ESTABLISHED, 5));
    ck_assert(!judge_told(s, SERVER_TCP, SERVER_SOCKET, from, MESSAGE_ANSWER, 5));
    ck_assert(!judge_told(s, SERVER_TCP, SERVER_SOCKET, from, MESSAGE_ESTABLISHED, 6));
    ck_assert(!judge_told(s, SERVER_TCP, SERVER_SOCKET, half->producer, MESSAGE_ESTABLISHED, 5));
    ck_assert(!judge_told(s, SERVER_SOCKET, SERVER_TCP, 0, MESSAGE_ESTABLISHED, 5));
    half->producer += RING_SLOTS;
    ck_assert(!judge_told(s, SERVER_TCP, SERVER_SOCKET, from, MESSAGE_ESTABLISHED, 5));
    segment_unmap(half, sizeof *half);
}
END_TEST

/* ... and of a nic whose device has something to read. */
static const struct {
    const char *name;
    bool readable, taken, lent, full, blamed, nic_stands, ip_stands;
} devices[] = {
    {"nothing there", false, false, false, false, false, false, false},
    {"does not read", true, false, false, false, true, false, false},
    {"reads", true, true, false, false, false, false, false},
    {"ip has its buffers", true, false, true, false, false, false, false},
    {"ip does not read", true, false, false, true, false, false, false},
    {"is not let run", true, false, false, false, false, true, false},
    {"ip is not let run", true, false, false, false, false, false, true},
};

START_TEST(a_device_is_read)
{
    int ends[2];
    start_all();
    struct domain *nic = &s->domain[SERVER_NIC], *ip = &s->domain[SERVER_IP];
    pid_t pid = victim(nic);
    nic->state = ip->state = DOMAIN_RUNNING;
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_NIC)), 0);
    struct ring_half *of_nic = half_of(SERVER_NIC, SERVER_IP), *of_ip = half_of(SERVER_IP, SERVER_NIC);
    ck_assert_int_eq(pipe(ends), 0);
    close(s->device);
    s->device = ends[0];
    ck_assert(!devices[_i].readable || write(ends[1], "x", 1) == 1);
    of_nic->producer = devices[_i].full ? RING_SLOTS : 0;
    of_ip->taken = devices[_i].lent ? RECEIVE_BUFFERS : 0;
    const struct status_page *seen[2] = {nic->status, ip->status};
    static struct status_page page[2];
    nic->status = &page[0];
    ip->status = &page[1];
    uint64_t now = now_us();
    for (unsigned n = 0; n < 14; n++, now += 200000) {
        page[0].liveness += !devices[_i].nic_stands;
        page[1].liveness += !devices[_i].ip_stands;
        of_ip->taken += devices[_i].taken;
        of_ip->given += devices[_i].taken;
        judge_tick(s, now);
    }
    nic->status = seen[0];
    ip->status = seen[1];
    ck_assert_msg((nic->fault == FAULT_PROTOCOL) == devices[_i].blamed, "%s", devices[_i].name);
    ck_assert_int_eq(ip->fault, FAULT_NONE);
    close(ends[1]);
    segment_unmap(of_nic, sizeof *of_nic);
    segment_unmap(of_ip, sizeof *of_ip);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

START_TEST(standby_is_bounded)
{
    struct domain *d = &s->domain[SERVER_TCP];
    d->state = DOMAIN_SPAWNED;
    pid_t pid = victim(d);
    /* pool_octets 0xffffffff, store_octets 0, store_version 0 */
    ck_assert_int_gt(send(end[SERVER_TCP], "\x0a\x0d\x0a\x05\xff\xff\xff\xff\x0f\x12\x01\x00\x1a\x01\x00", 15, 0), 0);
    control_receive(s, d);
    ck_assert_int_eq(d->fault, FAULT_PROTOCOL);
    ck_assert_uint_eq(s->server[SERVER_TCP].pool_octets, POOL_OCTETS);
    waitpid(pid, NULL, 0);
}
END_TEST

/* The supervisor did not run for long. What was said in time counts before anybody is blamed. */
START_TEST(a_late_supervisor_blames_nobody)
{
    struct domain *d = &s->domain[SERVER_TCP];
    start_all();
    pid_t pid = victim(d);
    uint64_t past = now_us() - 1;
    send(end[SERVER_TCP], "\x1a\x02\x08\x7f", 4, 0); /* Ack 127 */
    if (_i == 0) {
        d->attach_epoch = 127;
        d->attach_deadline_us = past;
    } else if (_i == 1) {
        d->revoke_epoch = 127;
        d->revoke_deadline_us = past;
    } else {
        s->session[5].state = SESSION_ACTIVE;
        ck_assert(rights_session(s, &s->session[5]));
        s->session[5].fence = FENCE_HELLO;
        s->session[5].waiting = 1U << d->index;
        s->session[5].epoch = 127;
        s->session[5].deadline_us = past;
    }
    domain_deadlines(s, d, now_us());
    sessions_deadlines(s, now_us());
    ck_assert_int_eq(d->fault, FAULT_NONE);
    d->attach_epoch = 126; /* and who says nothing is blamed */
    d->attach_deadline_us = past;
    domain_deadlines(s, d, now_us());
    ck_assert_int_eq(d->fault, FAULT_HUNG);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

START_TEST(ready_is_heard_before_the_deadline)
{
    struct domain *d = &s->domain[SERVER_TCP];
    start_all();
    pid_t pid = victim(d);
    d->incarnation = 1;
    d->state = DOMAIN_GRANTED;
    d->deadline_us = now_us() - 1;
    send(end[SERVER_TCP], "\x12\x02\x08\x01", 4, 0); /* Ready */
    domain_deadlines(s, d, now_us());
    ck_assert_int_eq(d->fault, FAULT_NONE);
    ck_assert_int_eq(d->state, DOMAIN_RUNNING);
    d->deadline_us = now_us() - 1;
    domain_deadlines(s, d, now_us());
    ck_assert_int_ne(d->fault, FAULT_NONE);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

START_TEST(logs_are_rationed)
{
    start_all();
    for (int i = 0; i < 200; i++)
        send(end[SERVER_TCP], "\x32\x06\x10\x02\x1a\x02\x07h", 8, 0);
    for (int i = 0; i < 10; i++)
        control_receive(s, &s->domain[SERVER_TCP]);
    ck_assert_uint_eq(s->event_count, LOGS_A_TICK);
    ck_assert_str_eq(s->event[0].text, "?h");
    ck_assert_str_eq(s->event[0].subject, "tcp");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervisor_lies");
    TCase *tests = tcase_create("supervisor_lies");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, a_lie_ends_the_liar, 0, sizeof lies / sizeof lies[0]);
    tcase_add_test(tests, after_a_lie_nothing_counts);
    tcase_add_test(tests, last_words_harm_nobody);
    tcase_add_loop_test(tests, a_broken_channel_ends_who_wrote_it, 0, 5);
    tcase_add_loop_test(tests, books_are_evidence, 0, sizeof books / sizeof books[0]);
    tcase_add_test(tests, a_count_of_slots_is_evidence);
    tcase_add_test(tests, who_keeps_is_seen);
    tcase_add_test(tests, what_was_told_is_seen);
    tcase_add_test(tests, a_beat_says_nothing);
    tcase_add_loop_test(tests, indices_are_evidence, 0, sizeof indices / sizeof indices[0]);
    tcase_add_loop_test(tests, a_device_is_read, 0, sizeof devices / sizeof devices[0]);
    tcase_add_test(tests, standby_is_bounded);
    tcase_add_loop_test(tests, a_late_supervisor_blames_nobody, 0, 3);
    tcase_add_test(tests, ready_is_heard_before_the_deadline);
    tcase_add_test(tests, logs_are_rationed);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
