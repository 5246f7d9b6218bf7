// SPDX-License-Identifier: BSD-2-Clause
#include "tests/unit/domain_harness.h"

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
#include "ipc/control.pb-c.h"
#include "ipc/segment.h"
#include "ipc/store.h"
#include "servers/domain/domain.h"

/* ---- two small servers ---- */
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
    if (m.operation == MESSAGE_RETURN)
        return true;
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
struct fixture f;

void say(struct fixture *fixture, const to_domain *message)
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

int give(int fd)
{
    f.give[f.gives] = fd;
    return (int)f.gives++;
}

Bulkhead__Control__FromDomain *hear(void)
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

uint64_t expect(uint32_t what)
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

void *shared(size_t octets, int *ret_fd)
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

void setup_child(bool sandboxed)
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

void setup(void)
{
    setup_child(false);
}

int status_of_end(void)
{
    int status = 0;
    if (f.child > 0)
        ck_assert_int_eq(waitpid(f.child, &status, 0), f.child);
    f.child = 0;
    return status;
}

void teardown(void)
{
    close(f.control);
    int status = status_of_end();
    ck_assert_msg(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
}

/* ---- grants ---- */
void configure(uint32_t mtu)
{
    uint8_t four[4] = {10, 77, 0, 2}, secret[16] = {1};
    Bulkhead__Control__Address a = BULKHEAD__CONTROL__ADDRESS__INIT, *list[1] = {&a};
    a.family = 4, a.octets.len = 4, a.octets.data = four, a.prefix_length = 24;
    SAY_(configure, CONFIGURE, Configure, inner.incarnation = 5, inner.n_address = 1, inner.address = list,
         inner.mtu = mtu, inner.mac.len = 6, inner.mac.data = secret, inner.secret.len = 16, inner.secret.data = secret,
         inner.status_fd = give(f.status_fd), inner.counter_fd = give(f.counter_fd),
         inner.doorbell_fd = give(f.own_bell[0]), inner.crash_fd = give(f.crash_fd));
}

void bell(void)
{
    SAY_(bell, BELL, Bell, inner.domain = NIC_DOMAIN, inner.fd = give(f.bell[1]),
         inner.status_fd = give(f.nic_status_fd));
}

void channel_to_nic(void)
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

void pool_entry(uint32_t server, uint32_t peer, uint32_t object, uint32_t index, bool mapped)
{
    SAY_(capability, CAPABILITY, Capability, inner.server = server, inner.peer = peer, inner.index = index,
         inner.type = CAPABILITY_POOL, inner.generation = 1, inner.rights = CAPABILITY_READ, inner.object = object,
         inner.size = POOL_OCTETS, inner.mapped = mapped);
}

void pool(uint32_t object, uint32_t owner, bool writable, uint8_t **ret)
{
    int fd;
    uint8_t *memory = shared(POOL_OCTETS, &fd);
    SAY_(pool, POOL, Pool, inner.object = object, inner.owner = owner, inner.fd = give(fd), inner.octets = POOL_OCTETS,
         inner.writable = writable, inner.index = 20, inner.generation = 1);
    close(fd);
    if (ret != NULL)
        *ret = memory;
}

void store(void)
{
    int fd;
    f.store = shared(STORE_SPACE, &fd);
    SAY_(store, STORE, Store, inner.server = SERVER_TCP, inner.fd = give(fd), inner.octets = STORE_SPACE);
    close(fd);
}

void start(void)
{
    SAY_(start, START, Start, inner.base = inner.base);
}

void grant_all(void)
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

uint64_t value_of(uint32_t server, uint32_t what)
{
    return __atomic_load_n(&f.counters->counter[server][what].value, __ATOMIC_ACQUIRE);
}

void until(bool (*is)(uint64_t), uint64_t argument)
{
    for (int ms = 0; ms < WAIT_MS; ms++) {
        if (is(argument))
            return;
        usleep(1000);
    }
    ck_abort_msg("waited in vain");
}

void send_to_ip(uint64_t cookie, uint32_t offset, uint32_t length)
{
    struct message m = {.operation = MESSAGE_RECEIVE, .capability = 1, .generation = 1, .cookie = cookie};
    m.reference[0] = (struct message_reference){.pool = 30, .generation = 1, .offset = offset, .length = length};
    ck_assert(port_push(&f.nic, &m));
    port_flush(&f.nic);
}

bool nic_has_message(uint64_t argument)
{
    (void)argument;
    if (!f.nic_has)
        f.nic_has = port_pull(&f.nic, &f.nic_message); /* not for a beat */
    return f.nic_has;
}

bool nic_pull(struct message *ret)
{
    bool has = nic_has_message(0);
    *ret = f.nic_message;
    f.nic_has = false;
    return has;
}

void comes_back(uint64_t cookie)
{
    struct message m;
    until(nic_has_message, 0);
    ck_assert(nic_pull(&m));
    ck_assert_uint_eq(m.cookie, cookie + 3); /* each of the three hops adds one */
    port_flush(&f.nic);
}

void started(void)
{
    grant_all();
    start();
    ck_assert_uint_eq(EXPECT(READY), 5);
}

/* All that was said before has been heard. */
void fence(void)
{
    SAY_(peer_attached, PEER_ATTACHED, PeerAttached, inner.epoch = 99);
    ck_assert_uint_eq(EXPECT(ACK), 99);
}

bool liveness_beyond(uint64_t seen)
{
    return __atomic_load_n(&f.status->liveness, __ATOMIC_RELAXED) > seen;
}

bool ip_refused(uint64_t count)
{
    return value_of(SERVER_IP, SAW_REFUSED) == count;
}

bool tcp_saw_session(uint64_t count)
{
    return value_of(SERVER_TCP, SAW_SESSION) == count;
}

void grant_session(void)
{
    int control, answer;
    shared(sizeof(struct session_control), &control);
    shared(sizeof(struct session_answer), &answer);
    SAY_(session, SESSION, Session, inner.id = 3, inner.uid = 1000, inner.control_fd = give(control),
         inner.answer_fd = give(answer), inner.bell_fd = give(f.session_bell[1]));
    close(control);
    close(answer);
}

void grant_arena(void)
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
