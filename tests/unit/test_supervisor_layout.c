// SPDX-License-Identifier: BSD-2-Clause
/* Other partitions: what is laid out anew, and what stays. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "tests/unit/supervisor_harness.h"

#define N SERVER_BIT(SERVER_NIC)
#define I SERVER_BIT(SERVER_IP)
#define T SERVER_BIT(SERVER_TCP)
#define U SERVER_BIT(SERVER_UDP)
#define S SERVER_BIT(SERVER_SOCKET)

static const struct {
    uint32_t servers;
    enum server_id primary;
    uint32_t slots;
} waits[] = {
    {N, SERVER_NIC, N},
    {I, SERVER_IP, I},
    {T, SERVER_TCP, T},
    {U, SERVER_UDP, U},
    {S, SERVER_SOCKET, S},
    {N | I, SERVER_NIC, N},
    {N | U, SERVER_UDP, U}, /* one bell is enough */
    {U | S, SERVER_UDP, U | S},
    {N | I | U | S, SERVER_UDP, U | S},
    {SERVERS_ALL, SERVER_TCP, T | U | S},
};

START_TEST(slots)
{
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        ck_assert_int_eq(layout_primary(waits[i].servers), waits[i].primary);
        ck_assert_uint_eq(layout_slots(waits[i].servers), waits[i].slots);
    }
}
END_TEST

static struct partition partition_of(const char *text)
{
    struct partition p;
    char error[OPTIONS_ERROR];
    ck_assert_int_eq(partition_parse(text, &p, error, sizeof error), 0);
    return p;
}

static void all_dead(void)
{
    for (uint32_t i = 0; i < s->domain_count; i++) {
        s->domain[i].state = DOMAIN_DOWN;
        rights_died(s, &s->domain[i]);
        control_close(s, &s->domain[i]);
        close(end[i]);
    }
}

/* Every server is in the domain that the partition says, woken by its slot, whose descriptors are what they were. */
static void laid_out(const struct partition *p, const struct slot *were)
{
    ck_assert_uint_eq(s->domain_count, p->count);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct domain *d = &s->domain[i];
        ck_assert_str_eq(d->name, p->domain[i].name);
        ck_assert_uint_eq(d->servers, p->domain[i].servers);
        ck_assert_int_eq(d->status_fd, s->slot[d->primary].status_fd);
        ck_assert_ptr_eq(d->status, s->slot[d->primary].status);
        ck_assert_int_ge(d->filter_fd, 0);
        for (unsigned id = 0; id < SERVER_COUNT; id++)
            if ((d->servers & SERVER_BIT(id)) != 0)
                ck_assert_ptr_eq(s->server[id].domain, d);
    }
    ck_assert_mem_eq(s->slot, were, sizeof s->slot);
}

static const char *const path[] = {"monolithic", "tcp|nic+ip+udp+socket", "socket|udp|tcp|ip|nic",
                                   "nic+ip|tcp|udp+socket", "factored"};

START_TEST(any_to_any)
{
    struct slot were[SERVER_COUNT];
    memcpy(were, s->slot, sizeof were);
    start_all();
    all_dead();
    int before = 0;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < sizeof path / sizeof path[0]; i++) {
            struct partition p = partition_of(path[i]);
            s->domain[0].incarnation = 100 + round * 10 + i;
            ck_assert_int_eq(layout_change(s, &p), 0);
            laid_out(&p, were);
            for (uint32_t d = 0; d < s->domain_count; d++)
                ck_assert_uint_eq(s->domain[d].incarnation, 100 + round * 10 + i);
            uint32_t nodes = s->registry.count;
            ck_assert_uint_le(nodes, 128);
        }
        if (round == 0)
            before = descriptors();
    }
    ck_assert_int_eq(descriptors(), before);
}
END_TEST

/* Hears all that the one domain is granted, and counts the slots. */
START_TEST(every_slot_is_granted)
{
    start_all();
    for (uint32_t i = 0; i < SERVER_COUNT; i++)
        ck_assert_uint_eq(hear_all(i, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SLOT), 0);
    all_dead();
    struct partition p = partition_of("monolithic");
    ck_assert_int_eq(layout_change(s, &p), 0);
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    s->domain[0].control = pair[0];
    end[0] = pair[1];
    s->domain[0].state = DOMAIN_STANDBY;
    barrier_advance(s);
    ck_assert_int_eq(s->domain[0].state, DOMAIN_GRANTED);
    ck_assert_uint_eq(hear_all(0, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SLOT), 2);
}
END_TEST

START_TEST(programs_go_along)
{
    all_dead();
    snprintf(s->server[SERVER_TCP].domain->program, OPTIONS_PATH, "/one");
    snprintf(s->server[SERVER_UDP].domain->program, OPTIONS_PATH, "/one");
    snprintf(s->server[SERVER_IP].domain->program, OPTIONS_PATH, "/other");
    struct partition p = partition_of("nic|ip|tcp+udp|socket");
    ck_assert_int_eq(layout_change(s, &p), 0);
    ck_assert_str_eq(s->server[SERVER_TCP].domain->program, "/one");
    ck_assert_str_eq(s->server[SERVER_IP].domain->program, "/other");
    ck_assert_str_eq(s->server[SERVER_NIC].domain->program, "");
    p = partition_of("monolithic"); /* of several: ours */
    ck_assert_int_eq(layout_change(s, &p), 0);
    ck_assert_str_eq(s->domain[0].program, "");
}
END_TEST

START_TEST(a_session_that_ends_is_asked_for_in_the_new_domains)
{
    all_dead();
    s->session[3].state = SESSION_REMOVING;
    s->session[3].unseen = SERVER_BIT(4); /* domain 4, which will not be */
    s->server[SERVER_SOCKET].store = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct partition p = partition_of("tcp|nic+ip+udp+socket");
    ck_assert_int_eq(layout_change(s, &p), 0);
    ck_assert_uint_eq(s->session[3].unseen, 1U << 1);
}
END_TEST

static const struct {
    const char *partition, *says;
} refused[] = {
    {"", "a name is missing"},
    {"nic|ip|tcp|udp", "'socket' is missing"},
    {"nic|ip|tcp|udp|socket|nic", "more than 5 domains"},
    {"nic+nic|ip|tcp|udp|socket", "there twice"},
    {"everything", "no server named"},
    {"factored", "already"},
    {"nic|ip|tcp|udp|socket", "already"},
};

START_TEST(a_partition_that_is_refused_changes_nothing)
{
    start_all();
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const char *says = repartition_start(s, 1, refused[i].partition);
        ck_assert_ptr_nonnull(says);
        ck_assert_ptr_nonnull(strstr(says, refused[i].says));
        ck_assert(!repartition_is_on(s));
    }
    ck_assert_uint_eq(hear_all(0, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP), 0);
}
END_TEST

/* The reply that the manage server got: NULL: none. */
static char *answer(int fd)
{
    static char text[EVENT_TEXT];
    uint8_t octets[4096];
    for (ssize_t n; (n = recv(fd, octets, sizeof octets, MSG_DONTWAIT)) > 0;) {
        Bulkhead__Manage__ToManage *m = bulkhead__manage__to_manage__unpack(NULL, (size_t)n, octets);
        bool is_reply = m->reply != NULL;
        if (is_reply)
            snprintf(text, sizeof text, "%lu %s", m->reply->id, m->reply->error);
        bulkhead__manage__to_manage__free_unpacked(m, NULL);
        if (is_reply)
            return text;
    }
    return NULL;
}

/* Here no domain can be started: there is no program beside this one. */
START_TEST(back_to_what_was)
{
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    s->manage_link = pair[0];
    start_all();
    ck_assert_ptr_null(repartition_start(s, 77, "monolithic"));
    ck_assert_uint_eq(hear_all(0, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP), 1);
    ck_assert_int_eq(s->repartition.phase, REPARTITION_STARTING); /* nobody had a process */
    ck_assert_uint_eq(s->domain_count, 1);
    ck_assert_ptr_nonnull(repartition_start(s, 78, "factored"));
    ck_assert_ptr_null(answer(pair[1]));
    repartition_deadlines(s, now_us() + 10000000);
    ck_assert_int_eq(s->repartition.phase, REPARTITION_BACK_STARTING);
    ck_assert_str_eq(s->options.partition.text, "nic|ip|tcp|udp|socket");
    ck_assert_uint_eq(s->domain_count, SERVER_COUNT);
    for (uint32_t i = 0; i < SERVER_COUNT; i++) {
        s->domain[i].state = DOMAIN_RUNNING;
        repartition_ready(s);
    }
    ck_assert(!repartition_is_on(s));
    const char *said = answer(pair[1]);
    ck_assert_ptr_nonnull(said);
    ck_assert_ptr_nonnull(strstr(said, "77 nic+ip+tcp+udp+socket did not start"));
    ck_assert_ptr_nonnull(strstr(said, "the former partition goes on"));
}
END_TEST

static const struct {
    const char *program, *says;
} programs[] = {
    {"relative", "absolute path"},
    {"/nonexistent/file", "no such file"},
    {"/etc/passwd", "not an executable file"},
    {"/tmp", "not an executable file"},
    {"/dev/null", "not an executable file"},
};

START_TEST(a_program_that_is_none_is_refused)
{
    start_all();
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        const char *says = change_start(s, &s->domain[2], 5, programs[i].program);
        ck_assert_ptr_nonnull(says);
        ck_assert_ptr_nonnull(strstr(says, programs[i].says));
        ck_assert(!change_is_on(s, 0));
    }
    ck_assert_uint_eq(hear_all(2, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP), 0);
    char longer[2 * OPTIONS_PATH];
    memset(longer, '/', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    ck_assert_ptr_nonnull(change_start(s, &s->domain[2], 5, longer));
}
END_TEST

SUITE_RUN("supervisor_layout", setup, teardown, slots, any_to_any, every_slot_is_granted, programs_go_along,
          a_session_that_ends_is_asked_for_in_the_new_domains, a_partition_that_is_refused_changes_nothing,
          back_to_what_was, a_program_that_is_none_is_refused)
