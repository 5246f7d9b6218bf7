// SPDX-License-Identifier: BSD-2-Clause
/* The domain's loop, without its sandbox, in a child: the test is its supervisor and its neighbour nic. It hosts two
 * small servers in the places of ip and tcp: what nic sends goes nic -> ip -> tcp -> ip -> nic, over a channel between
 * processes and a local one. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capabilities/filter.h"
#include "capabilities/sandbox.h"
#include "ipc/capture.h"
#include "ipc/control.pb-c.h"
#include "ipc/crash.h"
#include "ipc/segment.h"
#include "ipc/store.h"
#include "servers/domain/domain.h"
#include "tests/unit/suite.h"

#define NIC_DOMAIN     1
#define NIC_POOL       77 /* object ids */
#define TCP_POOL       78
#define ARENA_OBJECT   79
#define POOL_OCTETS    8192U
#define WAIT_MS        10000
#define DEADLY         0xdeadULL /* cookie of a message that kills */
#define DEADLY_ADDRESS 0x18UL
#define STORE_SPACE    4096

/* A sanitizer's runtime makes calls of its own, which the filter refuses. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* ---- two small servers ---- */
enum { SAW_MESSAGE, SAW_REFUSED, SAW_LOST, SAW_ATTACHED, SAW_SESSION, SAW_ENDED, SAW_REMOVED, SAW_INIT, SAWS };

struct small {
    const struct server_context *context;
    uint64_t saw[SAWS];
    bool done_due;
};

static void saw(struct small *s, int what)
{
    __atomic_store_n(&s->context->counter[what].value, ++s->saw[what], __ATOMIC_RELEASE);
}

/* In the child the test library's own descriptors are gone. */
static void must(bool held)
{
    if (!held)
        _exit(99);
}

static size_t small_size(const struct stack_config *config)
{
    (void)config;
    return sizeof(struct small);
}

static size_t small_store(void)
{
    return STORE_SPACE;
}

static int small_init(void *state, const struct server_context *context, uint64_t now_us)
{
    struct small *s = state;
    s->context = context;
    saw(s, SAW_INIT);
    return now_us == 0 || context->config->mtu != 1500 ? -EINVAL : 0;
}

/* Passes on what came from one side to the other, if the reference is one that the sender may name; checks the first
 * octet. */
static bool pass(struct small *s, enum server_id from, enum server_id to)
{
    struct message m;
    struct port *port = s->context->port[from];
    if (!port_pull(port, &m))
        return false;
    const struct capability *c = capability_range(&port->table, m.reference[0].pool, m.reference[0].generation,
                                                  m.reference[0].offset, m.reference[0].length);
    if (c == NULL || (c->base != NULL && c->base[m.reference[0].offset] != 0x42)) {
        saw(s, SAW_REFUSED);
        return true;
    }
    volatile int *volatile nowhere = (volatile int *)DEADLY_ADDRESS;
    if (m.cookie == DEADLY)
        *nowhere = 0;
    saw(s, SAW_MESSAGE);
    m.cookie++;
    port_push(s->context->port[to], &m);
    return true;
}

static bool ip_burst(void *state, uint64_t now_us)
{
    (void)now_us;
    bool moved = false;
    for (int i = 0; i < SERVER_BURST && pass(state, SERVER_NIC, SERVER_TCP); i++)
        moved = true;
    for (int i = 0; i < SERVER_BURST && pass(state, SERVER_TCP, SERVER_NIC); i++)
        moved = true;
    return moved;
}

static bool tcp_burst(void *state, uint64_t now_us)
{
    (void)now_us;
    bool moved = false;
    for (int i = 0; i < SERVER_BURST && pass(state, SERVER_IP, SERVER_IP); i++)
        moved = true;
    return moved;
}

static void tcp_commit(void *state)
{
    struct small *s = state;
    *(uint64_t *)s->context->store = s->saw[SAW_MESSAGE];
}

static void tcp_publish(void *state, uint64_t now_us)
{
    (void)now_us;
    struct small *s = state;
    if (s->done_due)
        s->context->session_done(s->context->domain, 3);
    s->done_due = false;
}

static void small_lost(void *state, enum server_id peer)
{
    must(peer == SERVER_NIC);
    saw(state, SAW_LOST);
}

static void small_attached(void *state, enum server_id peer, uint64_t now_us)
{
    struct small *s = state;
    must(peer == SERVER_NIC && now_us > 0);
    if (s->context->port[SERVER_NIC] != NULL)
        must(s->context->port[SERVER_NIC]->attached);
    saw(s, SAW_ATTACHED);
}

static void small_session_added(void *state, uint32_t session)
{
    struct small *s = state;
    must(s->context->session[session].present && s->context->session[session].uid == 1000);
    saw(s, SAW_SESSION);
}

static void small_session_ended(void *state, uint32_t session)
{
    struct small *s = state;
    must(s->context->session[session].ending);
    s->done_due = true;
    saw(s, SAW_ENDED);
}

static void small_session_removed(void *state, uint32_t session)
{
    (void)session;
    saw(state, SAW_REMOVED);
}

static const struct server small_nic = {.name = "nic"};
static const struct server small_ip = {
    .name = "ip",
    .state_size = small_size,
    .init = small_init,
    .burst = ip_burst,
    .peer_lost = small_lost,
    .peer_attached = small_attached,
};
static const struct server small_tcp = {
    .name = "tcp",
    .pool_buffers = 4,
    .pool_buffer_octets = 256,
    .store_size = small_store,
    .state_size = small_size,
    .init = small_init,
    .burst = tcp_burst,
    .commit = tcp_commit,
    .publish = tcp_publish,
    .peer_lost = small_lost,
    .peer_attached = small_attached,
    .session_added = small_session_added,
    .session_ended = small_session_ended,
    .session_removed = small_session_removed,
};
static const struct server *const table[SERVER_COUNT] = {
    [SERVER_NIC] = &small_nic, [SERVER_IP] = &small_ip, [SERVER_TCP] = &small_tcp};

/* ---- the test as supervisor ---- */
typedef Bulkhead__Control__ToDomain to_domain;
#define SAY(f, field, CASE, TYPE, type, ...)                                                                           \
    do {                                                                                                               \
        type inner = TYPE;                                                                                             \
        to_domain m = BULKHEAD__CONTROL__TO_DOMAIN__INIT;                                                              \
        (void)inner;                                                                                                   \
        __VA_ARGS__;                                                                                                   \
        m.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_##CASE;                                                       \
        m.field = &inner;                                                                                              \
        say(f, &m);                                                                                                    \
    } while (0)
#define SAY_(field, CASE, Type, ...)                                                                                   \
    SAY(&f, field, CASE, BULKHEAD__CONTROL__##CASE##__INIT, Bulkhead__Control__##Type, __VA_ARGS__)

static struct fixture {
    int control;
    pid_t child;
    int give[8]; /* to go with the next message */
    uint32_t gives;
    int bell[2], own_bell[2], session_bell[2];
    struct status_page *status, *nic_status;
    struct counter_page *counters;
    struct crash_page *crash;
    int status_fd, counter_fd, crash_fd, nic_status_fd;
    struct port nic; /* our end */
    struct capability entries[CAPABILITY_TABLE_MAX];
    struct doorbell ring;
    uint64_t *store;
    uint8_t *nic_pool;
} f;

static void say(struct fixture *fixture, const to_domain *message)
{
    uint8_t packed[2048];
    union {
        struct cmsghdr head;
        uint8_t octets[CMSG_SPACE(sizeof fixture->give)];
    } ancillary = {.octets = {0}};
    struct iovec part = {packed, bulkhead__control__to_domain__pack(message, packed)};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (fixture->gives > 0) {
        header.msg_control = &ancillary;
        header.msg_controllen = CMSG_SPACE(fixture->gives * sizeof(int));
        ancillary.head = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(fixture->gives * sizeof(int))};
        memcpy(CMSG_DATA(&ancillary.head), fixture->give, fixture->gives * sizeof(int));
    }
    fixture->gives = 0;
    ck_assert_int_eq(sendmsg(fixture->control, &header, MSG_NOSIGNAL), (ssize_t)part.iov_len);
}

static int give(int fd)
{
    f.give[f.gives] = fd;
    return (int)f.gives++;
}

static Bulkhead__Control__FromDomain *hear(void)
{
    uint8_t packed[2048];
    struct pollfd p = {.fd = f.control, .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, WAIT_MS), 1);
    ssize_t n = recv(f.control, packed, sizeof packed, 0);
    ck_assert_msg(n > 0, "the domain is gone");
    Bulkhead__Control__FromDomain *m = bulkhead__control__from_domain__unpack(NULL, (size_t)n, packed);
    ck_assert_ptr_nonnull(m);
    return m;
}

static uint64_t expect(uint32_t what)
{
    Bulkhead__Control__FromDomain *m = hear();
    if (m->what_case == BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_LOG && m->what_case != what)
        ck_abort_msg("the domain says: %s", m->log->text);
    ck_assert_uint_eq(m->what_case, what);
    uint64_t value = what == BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_ACK              ? m->ack->epoch
                     : what == BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_SESSION_DONE   ? m->session_done->session
                     : what == BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_CHANNEL_BROKEN ? m->channel_broken->peer
                     : what == BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_READY          ? m->ready->incarnation
                                                                                   : 0;
    bulkhead__control__from_domain__free_unpacked(m, NULL);
    return value;
}
#define EXPECT(CASE) expect(BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_##CASE)

static void *shared(size_t octets, int *ret_fd)
{
    void *memory;
    *ret_fd = segment_create("test", octets);
    ck_assert_int_ge(*ret_fd, 0);
    ck_assert_int_eq(segment_map(*ret_fd, octets, true, &memory), 0);
    return memory;
}

static void become(void)
{
    int filter = filter_create(0);
    uint32_t servers[] = {SERVER_IP, SERVER_TCP};
    SAY_(become, BECOME, Become, inner.name = (char *)"ip+tcp", inner.n_servers = 2, inner.servers = servers,
         inner.filter_fd = give(filter));
    close(filter);
}

/* A process in namespaces of its own, or (not `apart`) in ours. Its uid is not mapped: it needs none. */
static pid_t child_start(bool apart)
{
    const unsigned long spaces = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
    if (!apart)
        return fork();
    pid_t pid = (pid_t)syscall(SYS_clone, spaces | CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    return pid >= 0 ? pid : (pid_t)syscall(SYS_clone, spaces | SIGCHLD, NULL, NULL, NULL, NULL);
}

static void setup_child(bool sandboxed)
{
    int pair[2];
    f = (struct fixture){.gives = 0};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(pipe2(f.bell, O_NONBLOCK) | pipe2(f.own_bell, O_NONBLOCK) | pipe2(f.session_bell, O_NONBLOCK), 0);
    f.status = shared(sizeof *f.status, &f.status_fd);
    f.counters = shared(sizeof *f.counters, &f.counter_fd);
    f.crash = shared(sizeof *f.crash, &f.crash_fd);
    f.nic_status = shared(sizeof *f.nic_status, &f.nic_status_fd);
    f.ring = (struct doorbell){.fd = f.own_bell[1], .sleep = &f.status->sleep};
    f.control = pair[0];
    f.child = child_start(sandboxed);
    ck_assert_int_ge(f.child, 0);
    if (f.child == 0) {
        close(pair[0]);
        sandbox_handle_signals();
        if (!sandboxed)
            _exit(domain_run(pair[1], 1U << SERVER_IP | 1U << SERVER_TCP, table));
        dup2(pair[1], DOMAIN_CONTROL_FD);
        close_range(DOMAIN_CONTROL_FD + 1, ~0U, 0);
        _exit(domain_main(DOMAIN_CONTROL_FD, table));
    }
    close(pair[1]);
    if (sandboxed)
        become();
    EXPECT(STANDBY);
}

static void setup(void)
{
    setup_child(false);
}

static int status_of_end(void)
{
    int status = 0;
    if (f.child > 0)
        ck_assert_int_eq(waitpid(f.child, &status, 0), f.child);
    f.child = 0;
    return status;
}

static void teardown(void)
{
    close(f.control);
    int status = status_of_end();
    ck_assert_msg(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
}

/* ---- grants ---- */
static void configure(uint32_t mtu)
{
    uint8_t four[4] = {10, 77, 0, 2}, secret[16] = {1};
    Bulkhead__Control__Address a = BULKHEAD__CONTROL__ADDRESS__INIT, *list[1] = {&a};
    a.family = 4, a.octets.len = 4, a.octets.data = four, a.prefix_length = 24;
    SAY_(configure, CONFIGURE, Configure, inner.incarnation = 5, inner.n_address = 1, inner.address = list,
         inner.mtu = mtu, inner.mac.len = 6, inner.mac.data = secret, inner.secret.len = 16, inner.secret.data = secret,
         inner.status_fd = give(f.status_fd), inner.counter_fd = give(f.counter_fd),
         inner.doorbell_fd = give(f.own_bell[0]), inner.crash_fd = give(f.crash_fd));
}

static void bell(void)
{
    SAY_(bell, BELL, Bell, inner.domain = NIC_DOMAIN, inner.fd = give(f.bell[1]),
         inner.status_fd = give(f.nic_status_fd));
}

static void channel_to_nic(void)
{
    int ours, theirs;
    struct ring_half *our_half = shared(sizeof *our_half, &ours), *their_half = shared(sizeof *their_half, &theirs);
    SAY_(channel, CHANNEL, Channel, inner.server = SERVER_IP, inner.peer = SERVER_NIC, inner.peer_domain = NIC_DOMAIN,
         inner.mine_fd = give(theirs), inner.peer_fd = give(ours));
    port_init(&f.nic, f.entries);
    port_attach(&f.nic, our_half, their_half, &f.ring);
    close(ours);
    close(theirs);
}

static void pool_entry(uint32_t server, uint32_t peer, uint32_t object, uint32_t index, bool mapped)
{
    SAY_(capability, CAPABILITY, Capability, inner.server = server, inner.peer = peer, inner.index = index,
         inner.type = CAPABILITY_POOL, inner.generation = 1, inner.rights = CAPABILITY_READ, inner.object = object,
         inner.size = POOL_OCTETS, inner.mapped = mapped);
}

static void pool(uint32_t object, uint32_t owner, bool writable, uint8_t **ret)
{
    int fd;
    uint8_t *memory = shared(POOL_OCTETS, &fd);
    SAY_(pool, POOL, Pool, inner.object = object, inner.owner = owner, inner.fd = give(fd), inner.octets = POOL_OCTETS,
         inner.writable = writable, inner.index = 20, inner.generation = 1);
    close(fd);
    if (ret != NULL)
        *ret = memory;
}

static void store(void)
{
    int fd;
    f.store = shared(STORE_SPACE, &fd);
    SAY_(store, STORE, Store, inner.server = SERVER_TCP, inner.fd = give(fd), inner.octets = STORE_SPACE);
    close(fd);
}

static void start(void)
{
    SAY_(start, START, Start, inner.base = inner.base);
}

static void grant_all(void)
{
    configure(1500);
    bell();
    channel_to_nic();
    SAY_(channel, CHANNEL, Channel, inner.server = SERVER_TCP, inner.peer = SERVER_IP, inner.local = true);
    SAY_(channel, CHANNEL, Channel, inner.server = SERVER_IP, inner.peer = SERVER_TCP, inner.local = true);
    pool_entry(SERVER_IP, SERVER_NIC, NIC_POOL, 30, true); /* its mapping comes later */
    pool(NIC_POOL, SERVER_NIC, false, &f.nic_pool);
    pool_entry(SERVER_TCP, SERVER_IP, NIC_POOL, 30, true);
    pool_entry(SERVER_IP, SERVER_TCP, NIC_POOL, 30, false);
    pool(TCP_POOL, SERVER_TCP, true, NULL);
    store();
    f.nic_pool[100] = 0x42;
}

static uint64_t value_of(uint32_t server, uint32_t what)
{
    return __atomic_load_n(&f.counters->counter[server][what].value, __ATOMIC_ACQUIRE);
}

static void until(bool (*is)(uint64_t), uint64_t argument)
{
    for (int ms = 0; ms < WAIT_MS; ms++) {
        if (is(argument))
            return;
        usleep(1000);
    }
    ck_abort_msg("waited in vain");
}

static void send_to_ip(uint64_t cookie, uint32_t offset, uint32_t length)
{
    struct message m = {.operation = MESSAGE_RECEIVE, .capability = 1, .generation = 1, .cookie = cookie};
    m.reference[0] = (struct message_reference){.pool = 30, .generation = 1, .offset = offset, .length = length};
    ck_assert(port_push(&f.nic, &m));
    port_flush(&f.nic);
}

static bool nic_has_message(uint64_t argument)
{
    (void)argument;
    return port_pending(&f.nic);
}

static void comes_back(uint64_t cookie)
{
    struct message m;
    until(nic_has_message, 0);
    ck_assert(port_pull(&f.nic, &m));
    ck_assert_uint_eq(m.cookie, cookie + 3); /* each of the three hops adds one */
    port_flush(&f.nic);
}

static void started(void)
{
    grant_all();
    start();
    ck_assert_uint_eq(EXPECT(READY), 5);
}

/* All that was said before has been heard. */
static void fence(void)
{
    SAY_(peer_attached, PEER_ATTACHED, PeerAttached, inner.epoch = 99);
    ck_assert_uint_eq(EXPECT(ACK), 99);
}

/* ---- tests ---- */
START_TEST(messages_pass_between_processes_and_within)
{
    started();
    ck_assert_uint_eq(f.status->incarnation, 5);
    for (uint64_t i = 0; i < 2000; i++) {
        send_to_ip(i, 100, 50);
        comes_back(i);
    }
    ck_assert_uint_eq(value_of(SERVER_TCP, SAW_MESSAGE), 2000);
    ck_assert_uint_eq(*f.store, 2000);
}
END_TEST

static bool liveness_beyond(uint64_t seen)
{
    return __atomic_load_n(&f.status->liveness, __ATOMIC_RELAXED) > seen;
}

/* A packet from nic to tcp between these addresses, of this family. */
static void send_packet(uint8_t family)
{
    struct message m = {.operation = MESSAGE_RECEIVE, .capability = 1, .generation = 1, .protocol = 6, .ttl = 9};
    m.source = (struct ip_address){.family = family, .octets = {10, 77, 0, 1}};
    m.destination = (struct ip_address){.family = family, .octets = {10, 77, 0, 2}};
    m.traffic_class = 0xa5;
    m.reference[0] = (struct message_reference){.pool = 30, .generation = 1, .offset = 100, .length = 50};
    ck_assert(port_push(&f.nic, &m));
    port_flush(&f.nic);
}

START_TEST(a_capture_has_packets)
{
    static const uint8_t four[] = {0x45, 0xa5, 0,  70, 0, 0,  0x40, 0, 9, 6,   0x5c,
                                   0x71, 10,   77, 0,  1, 10, 77,   0, 2, 0x42};
    static const uint8_t six[] = {0x6a, 0x50, 0, 0, 0, 50, 6, 9, 10, 77, 0, 1};
    static uint8_t octets[CAPTURE_SNAP_MAX];
    int fd;
    struct capture_reader reader;
    struct capture_record record;
    struct capture_ring *ring = shared(sizeof *ring, &fd);
    started();
    capture_reader_init(&reader, ring);
    SAY_(capture, CAPTURE, Capture, inner.server = SERVER_TCP, inner.peer = SERVER_IP, inner.on = true,
         inner.fd = give(fd), inner.snap = CAPTURE_SNAP_MAX);
    fence();
    ck_assert_uint_eq(ring->incarnation, 5);
    send_packet(ADDRESS_IP4);
    comes_back(0);
    send_packet(ADDRESS_IP6);
    comes_back(0);
    for (unsigned i = 0; i < 4; i++) { /* each was pulled, and pushed */
        ck_assert(capture_read(&reader, &record, octets));
        ck_assert_uint_eq(record.direction, CAPTURE_INBOUND);
        ck_assert_uint_eq(record.original, i < 2 ? 70 : 90);
        ck_assert_uint_eq(record.length, record.original);
        ck_assert_mem_eq(octets, i < 2 ? four : six, i < 2 ? sizeof four : sizeof six);
        ck_assert_uint_eq(octets[i < 2 ? 20 : 40], 0x42);
    }
    ck_assert(!capture_read(&reader, &record, octets));
    SAY_(capture, CAPTURE, Capture, inner.server = SERVER_TCP, inner.peer = SERVER_IP, inner.fd = -1);
    fence();
    send_packet(ADDRESS_IP4);
    comes_back(0);
    ck_assert(!capture_read(&reader, &record, octets));
    close(fd);
}
END_TEST

START_TEST(liveness_moves_while_idle)
{
    started();
    until(liveness_beyond, __atomic_load_n(&f.status->liveness, __ATOMIC_RELAXED) + 2);
}
END_TEST

static bool ip_refused(uint64_t count)
{
    return value_of(SERVER_IP, SAW_REFUSED) == count;
}

START_TEST(a_dead_peer_is_drained_and_let_go_and_its_successor_taken)
{
    started();
    uint32_t servers[] = {SERVER_NIC}, objects[] = {NIC_POOL};
    for (uint64_t i = 0; i < 100; i++)
        send_to_ip(i, 100, 50); /* published before its death: all of it is taken */
    SAY_(peer_lost, PEER_LOST, PeerLost, inner.epoch = 9, inner.n_servers = 1, inner.servers = servers,
         inner.n_objects = 1, inner.objects = objects);
    ck_assert_uint_eq(EXPECT(ACK), 9);
    ck_assert_uint_eq(value_of(SERVER_IP, SAW_LOST), 1);
    ck_assert_uint_eq(value_of(SERVER_TCP, SAW_LOST), 1);
    ck_assert_uint_eq(value_of(SERVER_TCP, SAW_MESSAGE), 100);

    uint8_t *fresh;
    channel_to_nic();
    pool(NIC_POOL + 100, SERVER_NIC, false, &fresh);
    fresh[7] = 0x42;
    send_to_ip(1, 7, 1); /* before it is attached: nobody looks */
    fence();
    until(liveness_beyond, __atomic_load_n(&f.status->liveness, __ATOMIC_RELAXED) + 1);
    ck_assert_uint_eq(value_of(SERVER_IP, SAW_REFUSED), 0);
    SAY_(peer_attached, PEER_ATTACHED, PeerAttached, inner.epoch = 10, inner.n_servers = 1, inner.servers = servers);
    ck_assert_uint_eq(EXPECT(ACK), 10);
    ck_assert_uint_eq(value_of(SERVER_IP, SAW_ATTACHED), 1);
    ck_assert_uint_eq(value_of(SERVER_TCP, SAW_ATTACHED), 1);
    /* the entry of the dead one's pool is gone: its index names nothing */
    until(ip_refused, 1);
}
END_TEST

START_TEST(a_new_pool_behind_the_same_index_works)
{
    started();
    uint32_t servers[] = {SERVER_NIC}, objects[] = {NIC_POOL};
    SAY_(peer_lost, PEER_LOST, PeerLost, inner.epoch = 1, inner.n_servers = 1, inner.servers = servers,
         inner.n_objects = 1, inner.objects = objects);
    EXPECT(ACK);
    channel_to_nic();
    uint8_t *fresh;
    pool(NIC_POOL + 100, SERVER_NIC, false, &fresh);
    fresh[7] = 0x42;
    pool_entry(SERVER_IP, SERVER_NIC, NIC_POOL + 100, 30, true);
    pool_entry(SERVER_TCP, SERVER_IP, NIC_POOL + 100, 30, true);
    pool_entry(SERVER_IP, SERVER_TCP, NIC_POOL + 100, 30, false);
    SAY_(peer_attached, PEER_ATTACHED, PeerAttached, inner.epoch = 2, inner.n_servers = 1, inner.servers = servers);
    EXPECT(ACK);
    send_to_ip(50, 7, 10);
    comes_back(50);
}
END_TEST

START_TEST(a_lying_ring_costs_its_channel_only)
{
    started();
    struct ring_half *half = f.nic.ring.mine;
    __atomic_store_n(&half->producer, 0x7fffffffU, __ATOMIC_RELEASE);
    doorbell_ring(&f.ring);
    ck_assert_uint_eq(EXPECT(CHANNEL_BROKEN), SERVER_NIC);
    until(liveness_beyond, __atomic_load_n(&f.status->liveness, __ATOMIC_RELAXED) + 2);
    struct pollfd p = {.fd = f.control, .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, 0), 0); /* said once */
}
END_TEST

static bool tcp_saw_session(uint64_t count)
{
    return value_of(SERVER_TCP, SAW_SESSION) == count;
}

static void grant_session(void)
{
    int control, answer;
    shared(sizeof(struct session_control), &control);
    shared(sizeof(struct session_answer), &answer);
    SAY_(session, SESSION, Session, inner.id = 3, inner.uid = 1000, inner.control_fd = give(control),
         inner.answer_fd = give(answer), inner.bell_fd = give(f.session_bell[1]));
    close(control);
    close(answer);
}

static void grant_arena(void)
{
    int app, words;
    uint8_t *tx = shared(arena_send_octets(2, SLOT_RING_MIN), &app);
    shared(arena_receive_octets(2, SLOT_RING_MIN), &words);
    tx[5] = 0x42;
    SAY_(arena, ARENA, Arena, inner.session = 3, inner.transport = SESSION_TCP, inner.slots = 2,
         inner.send_size = SLOT_RING_MIN, inner.receive_size = SLOT_RING_MIN, inner.object = ARENA_OBJECT,
         inner.index = 40, inner.generation = 1, inner.app_fd = give(app), inner.transport_fd = give(words));
    close(app);
    close(words);
}

START_TEST(a_session_comes_and_goes)
{
    started();
    grant_session();
    grant_arena();
    until(tcp_saw_session, 2);
    pool_entry(SERVER_IP, SERVER_NIC, ARENA_OBJECT, 30, true); /* in the place of nic's pool: nic may name the arena */
    pool_entry(SERVER_TCP, SERVER_IP, ARENA_OBJECT, 30, true);
    fence();
    send_to_ip(1, 5, 1);
    comes_back(1);
    SAY_(session_ended, SESSION_ENDED, SessionEnded, inner.session = 3);
    ck_assert_uint_eq(EXPECT(SESSION_DONE), 3);
    SAY_(session_remove, SESSION_REMOVE, SessionRemove, inner.session = 3, inner.epoch = 12);
    ck_assert_uint_eq(EXPECT(ACK), 12);
    ck_assert_uint_eq(value_of(SERVER_TCP, SAW_REMOVED), 1);
    send_to_ip(2, 5, 1);
    until(ip_refused, 1);
    grant_session(); /* the place can be had again */
    until(tcp_saw_session, 3);
}
END_TEST

/* An application's memory that cannot be mapped costs its session and nobody else. */
START_TEST(a_session_without_memory_harms_nobody)
{
    started();
    int control, sealed, words, app;
    shared(sizeof(struct session_control), &control);
    sealed = memfd_create("answer", MFD_ALLOW_SEALING);
    ck_assert_int_eq(ftruncate(sealed, (off_t)segment_round(sizeof(struct session_answer))), 0);
    ck_assert_int_eq(fcntl(sealed, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    SAY_(session, SESSION, Session, inner.id = 3, inner.uid = 1000, inner.control_fd = give(control),
         inner.answer_fd = give(sealed), inner.bell_fd = give(f.session_bell[1]));
    EXPECT(LOG);
    until(tcp_saw_session, 1);
    shared(arena_send_octets(2, SLOT_RING_MIN), &app);
    words = memfd_create("words", MFD_ALLOW_SEALING);
    ck_assert_int_eq(ftruncate(words, (off_t)arena_receive_octets(2, SLOT_RING_MIN)), 0);
    ck_assert_int_eq(fcntl(words, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    SAY_(arena, ARENA, Arena, inner.session = 3, inner.transport = SESSION_TCP, inner.slots = 2,
         inner.send_size = SLOT_RING_MIN, inner.receive_size = SLOT_RING_MIN, inner.object = ARENA_OBJECT,
         inner.index = 40, inner.generation = 1, inner.app_fd = give(app), inner.transport_fd = give(words));
    EXPECT(LOG);
    SAY_(arena, ARENA, Arena, inner.session = 3, inner.arena = 1, inner.transport = SESSION_TCP, inner.slots = 2,
         inner.send_size = SLOT_RING_MIN, inner.receive_size = SLOT_RING_MIN, inner.object = ARENA_OBJECT + 1,
         inner.index = 41, inner.generation = 1, inner.app_fd = give(f.status_fd), inner.transport_fd = -1); /* short */
    EXPECT(LOG);
    send_to_ip(1, 100, 50);
    comes_back(1); /* all others are served */
    SAY_(session_ended, SESSION_ENDED, SessionEnded, inner.session = 3);
    ck_assert_uint_eq(EXPECT(SESSION_DONE), 3);
    SAY_(session_remove, SESSION_REMOVE, SessionRemove, inner.session = 3, inner.epoch = 12);
    ck_assert_uint_eq(EXPECT(ACK), 12);
    SAY_(session, SESSION, Session, inner.id = 3, inner.uid = 1000, inner.control_fd = -1, inner.answer_fd = -1,
         inner.bell_fd = -1); /* the supervisor had no descriptor left for it */
    EXPECT(LOG);
    until(tcp_saw_session, 2);
    fence();
    close(control);
    close(sealed);
    close(app);
    close(words);
}
END_TEST

START_TEST(it_ends_as_told)
{
    static const struct {
        uint32_t signal; /* 0: Stop */
        bool start;
        int status;
    } ends[] = {{0, true, DOMAIN_EXIT_STOP},
                {0, false, DOMAIN_EXIT_STOP},
                {SIGTERM, true, 128 + SIGTERM},
                {SIGABRT, true, 128 + SIGABRT}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (i > 0)
            setup();
        if (ends[i].start)
            started();
        if (ends[i].signal == 0)
            SAY_(stop, STOP, Stop, inner.base = inner.base);
        else
            SAY_(raise, RAISE, Raise, inner.signal = ends[i].signal);
        int status = status_of_end();
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), ends[i].status);
    }
}
END_TEST

START_TEST(a_raised_fault_is_a_fault)
{
    started();
    SAY_(raise, RAISE, Raise, inner.signal = SIGILL);
    int status = status_of_end();
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 128 + SIGILL);
    ck_assert_uint_eq(f.crash->signal, SIGILL);
    ck_assert_uint_eq(f.crash->incarnation, 5);
    ck_assert_uint_eq(f.crash->running, SERVER_COUNT); /* no server's turn */
    ck_assert_uint_ge(f.crash->frame_count, 3);
}
END_TEST

/* A fault in the middle of a burst: whose, where, with which messages, and the packet it was at. */
START_TEST(a_fault_is_told)
{
    started();
    for (uint64_t i = 0; i < 3; i++) {
        send_to_ip(i, 100, 50);
        comes_back(i);
    }
    send_to_ip(DEADLY, 100, 50);
    int status = status_of_end();
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 128 + SIGSEGV);
    const struct crash_page *page = f.crash;
    ck_assert_uint_eq(page->signal, SIGSEGV);
    ck_assert_uint_eq(page->address, DEADLY_ADDRESS);
    ck_assert_uint_eq(page->running, SERVER_IP);
    ck_assert_uint_ge(page->frame_count, 3);
    ck_assert_uint_eq(page->packet_octets, 50);
    ck_assert_uint_eq(page->packet_server, SERVER_IP);
    ck_assert_uint_eq(page->packet_peer, SERVER_NIC);
    ck_assert_uint_eq(page->packet[0], 0x42);
    bool found = false;
    for (uint32_t p = 0; p < page->port_count; p++) {
        const struct crash_port *port = &page->port[p];
        if (port->server != SERVER_IP || port->peer != SERVER_NIC)
            continue;
        ck_assert_uint_eq(port->messages, 4);
        ck_assert_uint_eq(port->fresh, 1);
        ck_assert_uint_eq(port->message[0].cookie, DEADLY);
        ck_assert_uint_eq(port->message[1].cookie, 2);
        found = true;
    }
    ck_assert(found);
}
END_TEST

START_TEST(a_closed_socket_ends_it)
{
    started();
    close(f.control);
    f.control = -1;
    ck_assert_int_eq(WEXITSTATUS(status_of_end()), DOMAIN_EXIT_CONTROL);
}
END_TEST

/* All of it once more with the filter that domains get: a call that it lacks ends the domain. */
START_TEST(the_same_in_its_sandbox)
{
    SAY_(stop, STOP, Stop, inner.base = inner.base);
    status_of_end();
    if (SANITIZED)
        return;
    setup_child(true);
    started();
    grant_session();
    grant_arena();
    for (uint64_t i = 0; i < 100; i++) {
        send_to_ip(i, 100, 50);
        comes_back(i);
    }
    until(liveness_beyond, __atomic_load_n(&f.status->liveness, __ATOMIC_RELAXED) + 2);
    SAY_(session_ended, SESSION_ENDED, SessionEnded, inner.session = 3);
    EXPECT(SESSION_DONE);
    SAY_(session_remove, SESSION_REMOVE, SessionRemove, inner.session = 3, inner.epoch = 12);
    EXPECT(ACK);
    uint32_t servers[] = {SERVER_NIC}, objects[] = {NIC_POOL};
    SAY_(peer_lost, PEER_LOST, PeerLost, inner.epoch = 9, inner.n_servers = 1, inner.servers = servers,
         inner.n_objects = 1, inner.objects = objects);
    EXPECT(ACK);
    SAY_(raise, RAISE, Raise, inner.signal = SIGSEGV);
    int status = status_of_end();
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGSEGV, "status %#x", (unsigned)status);
}
END_TEST

static void bad_capability_index(void)
{
    pool_entry(SERVER_IP, SERVER_NIC, 1, CAPABILITY_TABLE_MAX, false);
}
static void bad_capability_server(void)
{
    pool_entry(SERVER_UDP, SERVER_IP, 1, 20, false);
}
static void bad_channel_self(void)
{
    SAY_(channel, CHANNEL, Channel, inner.server = SERVER_IP, inner.peer = SERVER_IP, inner.local = true);
}
static void bad_channel_bell(void)
{
    SAY_(channel, CHANNEL, Channel, inner.server = SERVER_IP, inner.peer = SERVER_NIC, inner.peer_domain = 15);
}
static void bad_configure_no_descriptor(void)
{
    SAY_(configure, CONFIGURE, Configure, inner.mtu = 1500);
}
static void bad_mtu_refused_by_server(void)
{
    configure(1400);
    pool(TCP_POOL, SERVER_TCP, true, NULL);
    store();
    start();
}
static void bad_start_unconfigured(void)
{
    start();
}
static void bad_arena(void)
{
    SAY_(arena, ARENA, Arena, inner.session = 3, inner.slots = ARENA_SLOTS_MAX + 1, inner.send_size = SLOT_RING_MIN,
         inner.receive_size = SLOT_RING_MIN, inner.app_fd = -1);
}
static void bad_session(void)
{
    SAY_(session, SESSION, Session, inner.id = SESSIONS_MAX);
}
static void bad_store_small(void)
{
    int fd;
    shared(STORE_SPACE, &fd);
    SAY_(store, STORE, Store, inner.server = SERVER_TCP, inner.fd = give(fd), inner.octets = STORE_SPACE / 2);
}
static void bad_pool_longer_than_its_segment(void)
{
    int fd;
    shared(POOL_OCTETS, &fd);
    SAY_(pool, POOL, Pool, inner.object = 5, inner.owner = SERVER_NIC, inner.fd = give(fd),
         inner.octets = 2 * POOL_OCTETS);
}
START_TEST(an_impossible_grant_ends_it_with_a_word)
{
    static void (*const bad[])(void) = {
        bad_capability_index,
        bad_capability_server,
        bad_channel_self,
        bad_channel_bell,
        bad_configure_no_descriptor,
        bad_mtu_refused_by_server,
        bad_start_unconfigured,
        bad_arena,
        bad_session,
        bad_store_small,
        bad_pool_longer_than_its_segment,
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (i > 0)
            setup();
        bad[i]();
        EXPECT(LOG);
        int status = status_of_end();
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), DOMAIN_EXIT_INIT);
    }
}
END_TEST

SUITE_RUN("domain", setup, teardown, messages_pass_between_processes_and_within, liveness_moves_while_idle,
          a_dead_peer_is_drained_and_let_go_and_its_successor_taken, a_new_pool_behind_the_same_index_works,
          a_lying_ring_costs_its_channel_only, a_session_comes_and_goes, a_session_without_memory_harms_nobody,
          it_ends_as_told, a_raised_fault_is_a_fault, a_fault_is_told, a_capture_has_packets, the_same_in_its_sandbox,
          a_closed_socket_ends_it, an_impossible_grant_ends_it_with_a_word)
