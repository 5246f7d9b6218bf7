// SPDX-License-Identifier: BSD-2-Clause
/* The supervisor without processes: domains are the other ends of socketpairs, applications connect for real. Every
 * test ends with the descriptor count that it began with. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"

#define POOL_OCTETS 65536

static struct supervisor *s;
static int end[SERVER_COUNT]; /* the domains' ends of their control sockets */
static char directory[] = "/tmp/test_supervisor-XXXXXX";

static int descriptors(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count;
}

static void setup(void)
{
    char error[OPTIONS_ERROR];
    s = calloc(1, sizeof *s);
    s->manage_link = s->listener = s->device = -1;
    s->manage.pidfd = -1;
    s->device = open("/dev/null", O_RDWR | O_CLOEXEC);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->attach_epoll = epoll_create1(EPOLL_CLOEXEC);
    s->next_object = 1;
    s->started = true;
    s->options.placement = PLACEMENT_NONE;
    s->options.ready_fd = -1;
    ck_assert_int_eq(partition_parse("factored", &s->options.partition, error, sizeof error), 0);
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(s->options.run_dir, sizeof s->options.run_dir, "%s", directory);
    memory_init(s);
    sessions_init(s);
    ck_assert_int_eq(domains_init(s), 0);
    ck_assert_int_eq(attach_listen(s), 0);
    for (uint32_t i = 0; i < s->domain_count; i++) {
        int pair[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        s->domain[i].control = pair[0];
        end[i] = pair[1];
        s->domain[i].state = DOMAIN_STANDBY;
        s->server[i].pool_octets = i == SERVER_SOCKET ? 0 : POOL_OCTETS; /* factored: domain i is server i */
    }
}

static void teardown(void)
{
    char path[64];
    snprintf(path, sizeof path, "%s/attach", directory);
    unlink(path);
    rmdir(directory);
}

/* ---- what the domains hear ---- */

static to_domain *hear(uint32_t domain)
{
    uint8_t octets[CONTROL_OCTETS_MAX];
    ssize_t n = recv(end[domain], octets, sizeof octets, 0);
    return n > 0 ? bulkhead__control__to_domain__unpack(NULL, (size_t)n, octets) : NULL;
}

/* How many of this kind are next in the queue; forgets all that is there. */
static unsigned hear_all(uint32_t domain, int what_case)
{
    unsigned count = 0;
    for (to_domain *m; (m = hear(domain)) != NULL; bulkhead__control__to_domain__free_unpacked(m, NULL))
        count += (int)m->what_case == what_case;
    return count;
}

static void hear_nothing(uint32_t domain)
{
    ck_assert_ptr_null(hear(domain));
}

static void start_all(void)
{
    barrier_advance(s);
    for (uint32_t i = 0; i < s->domain_count; i++) {
        ck_assert_int_eq(s->domain[i].state, DOMAIN_GRANTED);
        s->domain[i].state = DOMAIN_RUNNING;
        ck_assert_uint_eq(hear_all(i, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 1);
    }
}

static void die(uint32_t domain)
{
    s->domain[domain].state = DOMAIN_DOWN;
    s->domain[domain].ack_epoch = 0;
    barrier_advance(s);
}

/* It hears PeerLost of exactly these servers, and says so if it acknowledges. */
static void lets_go(uint32_t domain, uint32_t servers, unsigned objects)
{
    to_domain *m = hear(domain);
    ck_assert_ptr_nonnull(m);
    ck_assert_int_eq(m->what_case, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_LOST);
    uint32_t mask = 0;
    for (size_t i = 0; i < m->peer_lost->n_servers; i++)
        mask |= SERVER_BIT(m->peer_lost->servers[i]);
    ck_assert_uint_eq(mask, servers);
    ck_assert_uint_eq(m->peer_lost->n_objects, objects);
    barrier_acknowledged(s, &s->domain[domain], m->peer_lost->epoch - 1); /* an old one counts for nothing */
    ck_assert_uint_ne(s->domain[domain].ack_epoch, 0);
    barrier_acknowledged(s, &s->domain[domain], m->peer_lost->epoch);
    bulkhead__control__to_domain__free_unpacked(m, NULL);
}

START_TEST(nearest_let_go_first)
{
    start_all();
    uint32_t object = s->server[SERVER_TCP].pool_object;
    uint16_t generation = s->server[SERVER_TCP].pool_generation, index = s->server[SERVER_TCP].pool_index;
    s->domain[SERVER_TCP].incarnation++;
    die(SERVER_TCP);
    hear_nothing(SERVER_NIC);
    hear_nothing(SERVER_UDP);
    lets_go(SERVER_IP, SERVER_BIT(SERVER_TCP), 1);
    hear_nothing(SERVER_NIC); /* socket is as near, and has not acknowledged */
    lets_go(SERVER_SOCKET, SERVER_BIT(SERVER_TCP), 1);
    s->domain[SERVER_TCP].state = DOMAIN_STANDBY;
    barrier_advance(s);
    ck_assert_int_eq(s->domain[SERVER_TCP].state, DOMAIN_STANDBY); /* not before everyone has let go */
    hear_nothing(SERVER_TCP);
    lets_go(SERVER_NIC, SERVER_BIT(SERVER_TCP), 1);
    lets_go(SERVER_UDP, SERVER_BIT(SERVER_TCP), 1);
    ck_assert_int_eq(s->domain[SERVER_TCP].state, DOMAIN_GRANTED);
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 1);
    for (uint32_t i = 0; i < SERVER_COUNT; i++)
        ck_assert_uint_eq(hear_all(i, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_ATTACHED), i == SERVER_TCP ? 0 : 1);
    ck_assert_uint_gt(s->server[SERVER_TCP].pool_object, object);
    ck_assert_uint_eq(s->server[SERVER_TCP].pool_index, index);
    ck_assert_uint_eq(s->server[SERVER_TCP].pool_generation, generation + 1);
}
END_TEST

START_TEST(a_second_death_joins_the_barrier)
{
    start_all();
    die(SERVER_SOCKET);
    lets_go(SERVER_TCP, SERVER_BIT(SERVER_SOCKET), 0);
    die(SERVER_UDP); /* it was told, and never answers */
    lets_go(SERVER_IP, SERVER_BIT(SERVER_SOCKET) | SERVER_BIT(SERVER_UDP), 1);
    ck_assert_uint_eq(s->domain[SERVER_TCP].known & SERVER_BIT(SERVER_SOCKET), 0);
    lets_go(SERVER_TCP, SERVER_BIT(SERVER_UDP), 1); /* as far from udp as nic */
    lets_go(SERVER_NIC, SERVER_BIT(SERVER_SOCKET) | SERVER_BIT(SERVER_UDP), 1);
    for (uint32_t i = SERVER_NIC; i <= SERVER_TCP; i++)
        ck_assert_uint_eq(s->domain[i].known & (SERVER_BIT(SERVER_UDP) | SERVER_BIT(SERVER_SOCKET)), 0);
    hear_all(SERVER_UDP, 0);
    s->domain[SERVER_SOCKET].state = DOMAIN_STANDBY;
    barrier_advance(s);
    ck_assert_int_eq(s->domain[SERVER_SOCKET].state, DOMAIN_GRANTED); /* it does not wait for udp's return */
    to_domain *m;
    for (; (m = hear(SERVER_SOCKET)) != NULL; bulkhead__control__to_domain__free_unpacked(m, NULL)) {
        if (m->what_case == BULKHEAD__CONTROL__TO_DOMAIN__WHAT_CHANNEL)
            ck_assert_uint_ne(m->channel->peer, SERVER_UDP);
    }
}
END_TEST

/* nic's buffers go through ip to udp, which is a neighbour of socket: it lets go of each in its turn. */
START_TEST(each_death_has_its_own_distances)
{
    start_all();
    s->domain[SERVER_NIC].state = DOMAIN_DOWN;
    die(SERVER_SOCKET);
    lets_go(SERVER_UDP, SERVER_BIT(SERVER_SOCKET), 0);
    lets_go(SERVER_TCP, SERVER_BIT(SERVER_SOCKET), 0);
    hear_nothing(SERVER_UDP);
    lets_go(SERVER_IP, SERVER_BIT(SERVER_NIC), 1);
    lets_go(SERVER_TCP, SERVER_BIT(SERVER_NIC), 1);
    lets_go(SERVER_UDP, SERVER_BIT(SERVER_NIC), 1);
    lets_go(SERVER_IP, SERVER_BIT(SERVER_SOCKET), 0);
    for (uint32_t i = SERVER_IP; i <= SERVER_UDP; i++)
        ck_assert_uint_eq(s->domain[i].known & (SERVER_BIT(SERVER_NIC) | SERVER_BIT(SERVER_SOCKET)), 0);
}
END_TEST

/* nic's buffers reach tcp and udp through ip: it starts when they know its pool. */
START_TEST(a_pool_is_known_before_its_owner_starts)
{
    start_all();
    die(SERVER_NIC);
    lets_go(SERVER_IP, SERVER_BIT(SERVER_NIC), 1);
    lets_go(SERVER_TCP, SERVER_BIT(SERVER_NIC), 1);
    lets_go(SERVER_UDP, SERVER_BIT(SERVER_NIC), 1);
    lets_go(SERVER_SOCKET, SERVER_BIT(SERVER_NIC), 1);
    s->domain[SERVER_NIC].state = DOMAIN_STANDBY;
    barrier_advance(s);
    ck_assert_int_eq(s->domain[SERVER_NIC].state, DOMAIN_GRANTED);
    ck_assert_uint_eq(hear_all(SERVER_NIC, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 0);
    for (uint32_t i = SERVER_IP; i < SERVER_COUNT; i++)
        ck_assert_uint_eq(hear_all(i, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_ATTACHED), 1);
    ck_assert_uint_eq(s->domain[SERVER_IP].attach_epoch, 0);
    ck_assert_uint_eq(s->domain[SERVER_SOCKET].attach_epoch, 0);
    barrier_acknowledged(s, &s->domain[SERVER_TCP], s->domain[SERVER_TCP].attach_epoch);
    hear_nothing(SERVER_NIC);
    barrier_acknowledged(s, &s->domain[SERVER_UDP], s->domain[SERVER_UDP].attach_epoch);
    ck_assert_uint_eq(hear_all(SERVER_NIC, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 1);
}
END_TEST

/* Nobody waits for the dead. */
START_TEST(a_start_does_not_wait_for_who_dies)
{
    start_all();
    die(SERVER_NIC);
    for (uint32_t i = SERVER_IP; i < SERVER_COUNT; i++)
        lets_go(i, SERVER_BIT(SERVER_NIC), 1);
    s->domain[SERVER_NIC].state = DOMAIN_STANDBY;
    barrier_advance(s);
    barrier_acknowledged(s, &s->domain[SERVER_TCP], s->domain[SERVER_TCP].attach_epoch);
    hear_all(SERVER_NIC, 0);
    s->domain[SERVER_UDP].attach_epoch = 0; /* as domain_died() does */
    die(SERVER_UDP);
    ck_assert_uint_eq(hear_all(SERVER_NIC, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 1);
}
END_TEST

/* ---- what domains say ---- */

static pid_t victim(struct domain *d)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (;;)
            pause();
    }
    d->process = (struct process){pid, (int)syscall(SYS_pidfd_open, pid, 0)};
    return pid;
}

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

START_TEST(a_broken_channel_ends_both_who_know_each_other)
{
    start_all();
    struct domain *d = &s->domain[SERVER_SOCKET], *tcp = &s->domain[SERVER_TCP];
    pid_t pid = victim(d), neighbour = victim(tcp);
    if (_i == 0)
        d->known &= ~SERVER_BIT(SERVER_TCP); /* it has let that one go: it cannot know */
    if (_i == 1)
        tcp->state = DOMAIN_SPAWNED; /* the one with the broken ring is dead, this is the next */
    send(end[SERVER_SOCKET], "\x2a\x04\x08\x04\x10\x02", 6, 0);
    control_receive(s, d);
    ck_assert_int_eq(d->fault, _i == 1 ? FAULT_NONE : FAULT_PROTOCOL);
    ck_assert_int_eq(tcp->fault, _i == 2 ? FAULT_PROTOCOL : FAULT_NONE);
    kill(pid, SIGKILL);
    kill(neighbour, SIGKILL);
    waitpid(pid, NULL, 0);
    waitpid(neighbour, NULL, 0);
}
END_TEST

START_TEST(standby_is_bounded)
{
    struct domain *d = &s->domain[SERVER_TCP];
    d->state = DOMAIN_SPAWNED;
    pid_t pid = victim(d);
    /* pool_octets 0xffffffff, store_octets 0 */
    ck_assert_int_gt(send(end[SERVER_TCP], "\x0a\x0a\x0a\x05\xff\xff\xff\xff\x0f\x12\x01\x00", 12, 0), 0);
    control_receive(s, d);
    ck_assert_int_eq(d->fault, FAULT_PROTOCOL);
    ck_assert_uint_eq(s->server[SERVER_TCP].pool_octets, POOL_OCTETS);
    waitpid(pid, NULL, 0);
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

/* ---- applications ---- */

static int application(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%.40s/attach", directory);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    attach_accept(s);
    return fd;
}

/* All domains acknowledge whatever an application's answer waits for. */
static void fences_down(void)
{
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        for (unsigned step = 0; step < 2 && s->session[id].fence != FENCE_NONE; step++) {
            uint64_t epoch = s->session[id].epoch;
            for (uint32_t i = 0; i < s->domain_count; i++)
                session_acknowledged(s, &s->domain[i], epoch);
        }
    }
}

static void request_send(int fd, const void *octets, size_t length, const int *passed, uint32_t count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * 4)];
    } ancillary = {0};
    struct iovec part = {(void *)octets, length};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        m.msg_control = ancillary.space;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(c), passed, sizeof(int) * count);
    }
    ck_assert_int_eq(sendmsg(fd, &m, MSG_NOSIGNAL), (ssize_t)length);
    for (uint32_t i = 0; i < CONNECTIONS_ATTACHED; i++) {
        if (s->connection[i].fd >= 0)
            attach_receive(s, i);
    }
}

static void ask(int fd, const void *octets, size_t length, const int *passed, uint32_t count)
{
    request_send(fd, octets, length, passed, count);
    fences_down();
}

/* The error of the answer; -1: closed. Its descriptors are counted and closed. */
static int answered(int fd, unsigned *ret_descriptors)
{
    struct attach_answer answer;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * 16)];
    } ancillary;
    struct iovec part = {&answer, sizeof answer};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary};
    if (recvmsg(fd, &m, 0) != (ssize_t)sizeof answer)
        return -1;
    unsigned count = 0;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c != NULL) {
        count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (unsigned i = 0; i < count; i++)
            close(((int *)CMSG_DATA(c))[i]);
    }
    if (ret_descriptors != NULL)
        *ret_descriptors = count;
    return answer.error;
}

static void pair_make(int fd[2], size_t one, size_t other)
{
    fd[0] = segment_create("test", one);
    fd[1] = segment_create("test", other);
    ck_assert(fd[0] >= 0 && fd[1] >= 0);
}

static void pair_close(const int fd[2])
{
    close(fd[0]);
    close(fd[1]);
}

static int hello(int fd)
{
    static const struct attach_request request = {.magic = SESSION_MAGIC, .operation = ATTACH_HELLO};
    int passed[2];
    unsigned count = 0;
    pair_make(passed, sizeof(struct session_control), sizeof(struct session_answer));
    ask(fd, &request, sizeof request, passed, 2);
    pair_close(passed);
    int error = answered(fd, &count);
    ck_assert_uint_eq(count, error == 0 ? 7 : 0);
    return error;
}

static const struct attach_request arena_request = {.magic = SESSION_MAGIC,
                                                    .operation = ATTACH_ARENA,
                                                    .transport = SESSION_TCP,
                                                    .slots = 4,
                                                    .send_size = 8192,
                                                    .receive_size = 16384};

static void arena_pair(int fd[2], const struct attach_request *r)
{
    pair_make(fd, arena_send_octets(r->slots, r->send_size), arena_receive_octets(r->slots, r->receive_size));
}

static void hang_up(int fd)
{
    close(fd);
    for (uint32_t i = 0; i < CONNECTIONS_ATTACHED; i++) {
        if (s->connection[i].fd >= 0)
            attach_receive(s, i);
    }
}

/* SessionRemove comes to all; each acknowledges. */
static void remove_all(uint32_t session)
{
    session_done(s, session);
    ck_assert_int_eq(s->session[session].state, SESSION_REMOVING);
    uint64_t epoch = s->session[session].epoch;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        ck_assert_uint_eq(hear_all(i, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SESSION_REMOVE), 1);
        session_acknowledged(s, &s->domain[i], epoch);
    }
    ck_assert_int_eq(s->session[session].state, SESSION_FREE);
}

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
        ck_assert_uint_eq(hear_all(SERVER_IP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_CAPABILITY), 1);
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
            session_acknowledged(s, &s->domain[i], epoch);
    }
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_ARENA), 1);
    ck_assert_int_eq(answered(fd, NULL), -1);               /* nothing yet */
    session_acknowledged(s, &s->domain[SERVER_TCP], epoch); /* an old one */
    ck_assert_int_eq(answered(fd, NULL), -1);
    session_acknowledged(s, &s->domain[SERVER_TCP], s->session[0].epoch);
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
            session_acknowledged(s, &s->domain[i], s->session[0].epoch);
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
    request[0].reserved[1] = _i == RESERVED;
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
    {"beyond the quota", {.slots = 64, .send_size = SLOT_RING_MAX, .receive_size = 8192}, EDQUOT},
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
    Suite *suite = suite_create("supervisor");
    TCase *tests = tcase_create("supervisor");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, nearest_let_go_first);
    tcase_add_test(tests, a_second_death_joins_the_barrier);
    tcase_add_test(tests, each_death_has_its_own_distances);
    tcase_add_test(tests, a_pool_is_known_before_its_owner_starts);
    tcase_add_test(tests, a_start_does_not_wait_for_who_dies);
    tcase_add_loop_test(tests, a_lie_ends_the_liar, 0, sizeof lies / sizeof lies[0]);
    tcase_add_test(tests, after_a_lie_nothing_counts);
    tcase_add_test(tests, last_words_harm_nobody);
    tcase_add_loop_test(tests, a_broken_channel_ends_both_who_know_each_other, 0, 3);
    tcase_add_test(tests, standby_is_bounded);
    tcase_add_test(tests, logs_are_rationed);
    tcase_add_test(tests, a_session_comes_and_goes_without_a_trace);
    tcase_add_test(tests, the_answer_waits_for_the_grants);
    tcase_add_test(tests, the_dead_need_not_acknowledge);
    tcase_add_loop_test(tests, nonsense_closes_the_connection, 0, BENDS);
    tcase_add_loop_test(tests, a_bad_arena_is_refused, 0, sizeof arenas / sizeof arenas[0]);
    tcase_add_test(tests, memory_that_can_shrink_or_is_not_writable_is_refused);
    tcase_add_test(tests, what_was_granted_cannot_be_sealed);
    tcase_add_test(tests, a_lease_is_refused_at_once);
    tcase_add_test(tests, one_user_cannot_have_all_sessions);
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
