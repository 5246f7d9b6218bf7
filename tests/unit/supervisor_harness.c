// SPDX-License-Identifier: BSD-2-Clause
#include "tests/unit/supervisor_harness.h"

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

#include "capabilities/policy_file.h"
#include "ipc/ring.h"
#include "ipc/segment.h"

struct supervisor *s;
int end[SERVER_COUNT];
char directory[] = "/tmp/test_supervisor-XXXXXX";

int descriptors(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count;
}

void setup(void)
{
    char error[OPTIONS_ERROR];
    s = calloc(1, sizeof *s);
    s->manage_link = s->listener = s->device = -1;
    s->manage.pidfd = s->audit.pidfd = -1;
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
    ck_assert_int_eq(policy_file_read(NULL, &s->policy, error, sizeof error), 0);
    for (unsigned i = 0; i < CAPTURES_MAX; i++)
        s->capture[i] = (struct capture_memory){.fd = -1, .segment = -1};
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

void teardown(void)
{
    char path[64];
    snprintf(path, sizeof path, "%s/attach", directory);
    unlink(path);
    rmdir(directory);
}

/* ---- what the domains hear ---- */

static to_domain *batch[SERVER_COUNT]; /* the rest of which is to be heard */
static size_t batch_at[SERVER_COUNT];

to_domain *hear(uint32_t domain)
{
    uint8_t octets[2 * CORK_OCTETS];
    if (batch[domain] == NULL) {
        ssize_t n = recv(end[domain], octets, sizeof octets, 0);
        to_domain *m = n > 0 ? bulkhead__control__to_domain__unpack(NULL, (size_t)n, octets) : NULL;
        if (m == NULL || m->what_case != BULKHEAD__CONTROL__TO_DOMAIN__WHAT_BATCH)
            return m;
        ck_assert_uint_gt(m->batch->n_message, 1);
        ck_assert_uint_eq(m->batch->n_descriptors, m->batch->n_message);
        batch[domain] = m;
        batch_at[domain] = 0;
    }
    const Bulkhead__Control__Batch *all = batch[domain]->batch;
    const ProtobufCBinaryData *one = &all->message[batch_at[domain]++];
    to_domain *m = bulkhead__control__to_domain__unpack(NULL, one->len, one->data);
    if (batch_at[domain] == all->n_message) {
        bulkhead__control__to_domain__free_unpacked(batch[domain], NULL);
        batch[domain] = NULL;
    }
    return m;
}

/* How many of this kind are next in the queue; forgets all that is there. */
unsigned hear_all(uint32_t domain, int what_case)
{
    unsigned count = 0;
    for (to_domain *m; (m = hear(domain)) != NULL; bulkhead__control__to_domain__free_unpacked(m, NULL))
        count += (int)m->what_case == what_case;
    return count;
}

void hear_nothing(uint32_t domain)
{
    ck_assert_ptr_null(hear(domain));
}

void start_all(void)
{
    barrier_advance(s);
    for (uint32_t i = 0; i < s->domain_count; i++) {
        ck_assert_int_eq(s->domain[i].state, DOMAIN_GRANTED);
        s->domain[i].state = DOMAIN_RUNNING;
        ck_assert_uint_eq(hear_all(i, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 1);
    }
}

void die(uint32_t domain)
{
    s->domain[domain].state = DOMAIN_DOWN;
    s->domain[domain].ack_epoch = 0;
    rights_died(s, &s->domain[domain]);
    barrier_advance(s);
}

/* It hears PeerLost of exactly these servers, and says so if it acknowledges. */
void lets_go(uint32_t domain, uint32_t servers, unsigned objects)
{
    to_domain *m = hear(domain);
    ck_assert_ptr_nonnull(m);
    ck_assert_int_eq(m->what_case, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_LOST);
    uint32_t mask = 0;
    for (size_t i = 0; i < m->peer_lost->n_servers; i++)
        mask |= SERVER_BIT(m->peer_lost->servers[i]);
    ck_assert_uint_eq(mask, servers);
    ck_assert_uint_eq(m->peer_lost->n_objects, objects);
    domain_acknowledged(s, &s->domain[domain], m->peer_lost->epoch - 1); /* an old one counts for nothing */
    ck_assert_uint_ne(s->domain[domain].ack_epoch, 0);
    domain_acknowledged(s, &s->domain[domain], m->peer_lost->epoch);
    bulkhead__control__to_domain__free_unpacked(m, NULL);
}

pid_t victim(struct domain *d)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (;;)
            pause();
    }
    d->process = (struct process){pid, (int)syscall(SYS_pidfd_open, pid, 0)};
    return pid;
}

int application(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%.40s/attach", directory);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    attach_accept(s);
    return fd;
}

/* All domains acknowledge whatever an application's answer waits for. */
void fences_down(void)
{
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        for (unsigned step = 0; step < 2 && s->session[id].fence != FENCE_NONE; step++) {
            uint64_t epoch = s->session[id].epoch;
            for (uint32_t i = 0; i < s->domain_count; i++)
                domain_acknowledged(s, &s->domain[i], epoch);
        }
    }
}

void request_send(int fd, const void *octets, size_t length, const int *passed, uint32_t count)
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

void ask(int fd, const void *octets, size_t length, const int *passed, uint32_t count)
{
    request_send(fd, octets, length, passed, count);
    fences_down();
}

/* The error of the answer; -1: closed. Its descriptors are counted and closed. */
int answered(int fd, unsigned *ret_descriptors)
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

void pair_make(int fd[2], size_t one, size_t other)
{
    fd[0] = segment_create("test", one);
    fd[1] = segment_create("test", other);
    ck_assert(fd[0] >= 0 && fd[1] >= 0);
}

void pair_close(const int fd[2])
{
    close(fd[0]);
    close(fd[1]);
}

int hello(int fd)
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

const struct attach_request arena_request = {.magic = SESSION_MAGIC,
                                             .operation = ATTACH_ARENA,
                                             .transport = SESSION_TCP,
                                             .slots = 4,
                                             .send_size = 8192,
                                             .receive_size = 16384};

void arena_pair(int fd[2], const struct attach_request *r)
{
    pair_make(fd, arena_send_octets(r->slots, r->send_size), arena_receive_octets(r->slots, r->receive_size));
}

void hang_up(int fd)
{
    close(fd);
    for (uint32_t i = 0; i < CONNECTIONS_ATTACHED; i++) {
        if (s->connection[i].fd >= 0)
            attach_receive(s, i);
    }
}

/* SessionRemove comes to all who hold anything of it; each acknowledges. */
void remove_all(uint32_t session)
{
    session_done(s, session);
    ck_assert_int_eq(s->session[session].state, SESSION_REMOVING);
    uint64_t epoch = s->session[session].epoch;
    uint32_t holders = s->session[session].waiting, served = SERVER_BIT(SERVER_TCP) | SERVER_BIT(SERVER_UDP);
    served |= SERVER_BIT(SERVER_SOCKET);
    ck_assert_uint_eq(holders & served, served);
    if (s->session[session].arenas == 0)
        ck_assert_uint_eq(holders, served);
    for (uint32_t i = 0; i < s->domain_count; i++) {
        ck_assert_uint_eq(hear_all(i, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SESSION_REMOVE), holders >> i & 1);
        domain_acknowledged(s, &s->domain[i], epoch);
    }
    ck_assert_int_eq(s->session[session].state, SESSION_FREE);
}

struct ring_half *half_of(enum server_id from, enum server_id to)
{
    void *memory = NULL;
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++)
        for (unsigned side = 0; side < 2; side++)
            if (topology_channel[i].end[side] == from && topology_channel[i].end[1 - side] == to)
                ck_assert_int_eq(segment_map(s->channel[i].half[side], sizeof(struct ring_half), true, &memory), 0);
    return memory;
}
