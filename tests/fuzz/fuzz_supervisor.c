// SPDX-License-Identifier: BSD-2-Clause
/* What the supervisor hears from those whom it does not trust: domains over their control sockets, applications that
 * attach, and the manage server; with the deaths of domains in between. There are no processes: a domain is the other
 * end of a socketpair, its death a change of state. The supervisor lives on from one input to the next; before each,
 * all domains are honest for a while, and then nothing is stuck   every domain runs, every session is gone nothing is
 * left    as many descriptors and as many entries of the registry as at the beginning */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "capabilities/policy_file.h"
#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"
#include "tests/fuzz/fuzz.h"

#define POOL_OCTETS 65536U
#define CLIENTS     4U
#define HONEST      64    /* steps in which everything is to come to rest */
#define DESCRIPTORS 1024U /* more are never open */

static struct supervisor supervisor, *const s = &supervisor;
static int end[SERVER_COUNT], client[CLIENTS], manage_end = -1;
static uint32_t nodes_before;

/* Pools and stores apart, of which domains may ask for. */
static unsigned descriptors(void)
{
    static struct pollfd all[DESCRIPTORS]; /* of events none is asked for: those that are not open say POLLNVAL */
    unsigned count = 0;
    for (int i = 0; i < (int)DESCRIPTORS; i++)
        all[i] = (struct pollfd){.fd = i};
    check(poll(all, DESCRIPTORS, 0) >= 0 && (all[DESCRIPTORS - 1].revents & POLLNVAL) != 0);
    for (unsigned i = 0; i < DESCRIPTORS; i++)
        count += (all[i].revents & POLLNVAL) == 0;
    for (uint32_t i = 0; i < SERVER_COUNT; i++)
        count -= (s->server[i].pool >= 0) + (s->server[i].store >= 0);
    return count;
}

static uint32_t memory_mask(void) /* which servers have a pool, and which a store */
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < SERVER_COUNT; i++)
        mask |= (uint32_t)(s->server[i].pool >= 0) << i | (uint32_t)(s->server[i].store >= 0) << (i + SERVER_COUNT);
    return mask;
}

/* ---- the world, once ---- */
static void pair_make(int fd[2])
{
    check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == 0);
}

static void domains_make(void)
{
    for (uint32_t i = 0; i < s->domain_count; i++) {
        int pair[2];
        pair_make(pair);
        s->domain[i].control = pair[0];
        end[i] = pair[1];
        s->domain[i].state = DOMAIN_STANDBY;
        s->domain[i].process.pidfd = open("/dev/null", O_RDWR | O_CLOEXEC); /* no signal reaches anybody */
        s->server[i].pool_octets = i == SERVER_SOCKET ? 0 : POOL_OCTETS;    /* factored: domain i is server i */
    }
}

static void supervisor_make(void)
{
    char error[OPTIONS_ERROR];
    s->manage_link = s->listener = -1;
    s->manage.pidfd = s->audit.pidfd = -1;
    s->device = open("/dev/null", O_RDWR | O_CLOEXEC);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->attach_epoll = epoll_create1(EPOLL_CLOEXEC);
    s->next_object = 1;
    s->started = true;
    s->options.placement = PLACEMENT_NONE;
    s->options.ready_fd = -1;
    snprintf(s->options.run_dir, sizeof s->options.run_dir, "/nowhere");
    check(partition_parse("factored", &s->options.partition, error, sizeof error) == 0);
    check(policy_file_read(NULL, &s->policy, error, sizeof error) == 0);
    for (unsigned i = 0; i < CAPTURES_MAX; i++)
        s->capture[i] = (struct capture_memory){.fd = -1, .segment = -1};
    for (uint32_t i = 0; i < CONNECTIONS_ATTACHED; i++)
        s->connection[i] = (struct connection){.fd = -1, .session = -1};
    memory_init(s);
    sessions_init(s);
    check(domains_init(s) == 0);
    domains_make();
    int pair[2];
    pair_make(pair);
    s->manage_link = pair[0];
    manage_end = pair[1];
    for (unsigned i = 0; i < CLIENTS; i++)
        client[i] = -1;
    barrier_advance(s);
}

/* ---- everybody is honest ---- */
static void drain(int fd)
{
    static char octets[1 << 18];
    while (recv(fd, octets, sizeof octets, MSG_DONTWAIT) > 0) /* descriptors that came along are closed by the kernel */
        ;
}

static void domain_honest(struct domain *d)
{
    d->fault = FAULT_NONE;
    d->kill_us = d->deadline_us = 0;
    d->accusations = 0;
    d->logs_left = LOGS_A_TICK;
    if (d->state == DOMAIN_DOWN || d->state == DOMAIN_SPAWNED) {
        d->state = DOMAIN_STANDBY;
        barrier_advance(s);
    }
    if (d->ack_epoch != 0)
        domain_acknowledged(s, d, d->ack_epoch);
    if (d->attach_epoch != 0)
        domain_acknowledged(s, d, d->attach_epoch);
    if (d->state == DOMAIN_GRANTED && !d->start_waits)
        domain_ready(s, d);
}

static bool at_rest(void)
{
    bool rest = true;
    for (uint32_t i = 0; i < s->domain_count; i++)
        rest = rest && s->domain[i].state == DOMAIN_RUNNING && s->domain[i].ack_epoch == 0;
    for (uint32_t id = 0; id < SESSIONS_MAX; id++)
        rest = rest && s->session[id].state == SESSION_FREE;
    return rest;
}

static void sessions_honest(void)
{
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        struct session_memory *session = &s->session[id];
        if (session->state == SESSION_FREE)
            continue;
        session_done(s, id);
        for (uint32_t i = 0; i < s->domain_count; i++)
            domain_acknowledged(s, &s->domain[i], session->epoch);
    }
}

static void honest(void)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (client[i] >= 0)
            close(client[i]);
        client[i] = -1;
    }
    for (uint32_t i = 0; i < CONNECTIONS_ATTACHED; i++)
        attach_close(s, i);
    for (unsigned n = 0; n == 0 || !at_rest(); n++) {
        check(n < HONEST);
        for (uint32_t i = 0; i < s->domain_count; i++) {
            drain(end[i]);
            control_flush(s, &s->domain[i]);
            domain_honest(&s->domain[i]);
        }
        sessions_honest();
    }
    for (uint32_t i = 0; i < s->domain_count; i++) {
        do
            drain(end[i]);
        while (s->domain[i].queue != NULL && (control_flush(s, &s->domain[i]), true));
        if (s->domain[i].revoke_epoch != 0)
            domain_acknowledged(s, &s->domain[i], s->domain[i].revoke_epoch);
        drain(end[i]);
    }
    drain(manage_end);
    memory_let_go(s); /* as the loop does when the next life runs */
    s->stopping = false;
    s->place_freed = false;
    s->session_events_left = SESSION_EVENTS_BURST;
}

/* ---- domains ---- */
static void hear(uint32_t i, const void *octets, size_t length)
{
    struct domain *d = &s->domain[i];
    if (send(end[i], octets, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length)
        control_receive(s, d);
}

static void domain_octets(struct input *in)
{
    uint8_t octets[CONTROL_OCTETS_MAX + 1];
    uint32_t i = input_8(in) % SERVER_COUNT;
    size_t length = input_8(in) == 0xff ? sizeof octets : input_8(in);
    input_octets(in, octets, length);
    hear(i, octets, length);
}

static uint64_t some_epoch(struct input *in, const struct domain *d)
{
    uint8_t how = input_8(in);
    switch (how % 5) {
    case 0:
        return d->ack_epoch;
    case 1:
        return d->attach_epoch;
    case 2:
        return d->revoke_epoch;
    case 3:
        return s->session[how / 5 % 4].epoch;
    default:
        return s->epoch - how / 5 % 8;
    }
}

static void domain_message(struct input *in)
{
    Bulkhead__Control__FromDomain m = BULKHEAD__CONTROL__FROM_DOMAIN__INIT;
    Bulkhead__Control__Standby standby = BULKHEAD__CONTROL__STANDBY__INIT;
    Bulkhead__Control__Ready ready = BULKHEAD__CONTROL__READY__INIT;
    Bulkhead__Control__Ack ack = BULKHEAD__CONTROL__ACK__INIT;
    Bulkhead__Control__SessionDone done = BULKHEAD__CONTROL__SESSION_DONE__INIT;
    Bulkhead__Control__ChannelBroken broken = BULKHEAD__CONTROL__CHANNEL_BROKEN__INIT;
    Bulkhead__Control__Log log = BULKHEAD__CONTROL__LOG__INIT;
    uint32_t i = input_8(in) % SERVER_COUNT, pools[2] = {0};
    uint64_t stores[2] = {0};
    uint8_t octets[512], how = input_8(in);
    char text[64];
    input_octets(in, text, how >> 4);
    text[how >> 4] = '\0';
    m.what_case = (Bulkhead__Control__FromDomain__WhatCase)(1 + input_8(in) % 6);
    switch ((int)m.what_case) {
    case 1:
        pools[0] = how & 1 ? input_32(in) : POOL_OCTETS;
        stores[0] = how & 2 ? (uint64_t)input_32(in) << (how >> 2 & 31) : 0;
        standby.n_pool_octets = standby.n_store_octets = how & 8 ? 2 : 1;
        standby.pool_octets = pools;
        standby.store_octets = stores;
        m.standby = &standby;
        break;
    case 2:
        ready.incarnation = how & 1 ? input_32(in) : s->domain[i].incarnation;
        m.ready = &ready;
        break;
    case 3:
        ack.epoch = some_epoch(in, &s->domain[i]);
        m.ack = &ack;
        break;
    case 4:
        done.session = how & 1 ? input_32(in) : input_8(in) % 4;
        m.session_done = &done;
        break;
    case 5:
        broken.server = how & 1 ? input_32(in) : i;
        broken.peer = how & 2 ? input_32(in) : input_8(in) % SERVER_COUNT;
        broken.why = text;
        m.channel_broken = &broken;
        break;
    default:
        log.server = how & 1 ? input_32(in) : i;
        log.text = text;
        m.log = &log;
    }
    hear(i, octets, bulkhead__control__from_domain__pack(&m, octets));
}

static void domain_dies(struct input *in)
{
    struct domain *d = &s->domain[input_8(in) % SERVER_COUNT];
    if (d->state == DOMAIN_DOWN) {
        d->state = DOMAIN_SPAWNED;
        d->fault = FAULT_NONE;
        d->kill_us = 0;
        return;
    }
    d->state = DOMAIN_DOWN;
    d->ack_epoch = d->attach_epoch = 0;
    d->start_waits = false;
    rights_died(s, d);
    barrier_advance(s);
}

static void domain_acts_well(struct input *in)
{
    domain_honest(&s->domain[input_8(in) % SERVER_COUNT]);
}

/* ---- applications ---- */
static void client_new(uint32_t at)
{
    int pair[2];
    uint32_t place = 0;
    while (place < CONNECTIONS_ATTACHED && s->connection[place].fd >= 0)
        place++;
    if (place == CONNECTIONS_ATTACHED)
        return;
    pair_make(pair);
    client[at] = pair[1];
    s->connection[place] = (struct connection){.fd = pair[0], .session = -1, .since_us = now_us()};
    check(loop_watch(s, pair[0], WATCH_CONNECTION, place) == 0);
}

static void request_send(int to, const void *octets, size_t length, const int *fd, uint32_t count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * 4)];
    } ancillary = {0};
    struct iovec part = {(void *)(uintptr_t)octets, length};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        m.msg_control = ancillary.space;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(c), fd, sizeof(int) * count);
    }
    (void)!sendmsg(to, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int some_memory(struct input *in, size_t right)
{
    uint8_t how = input_8(in);
    size_t octets = how & 1 ? input_8(in) * 4096U : right;
    if ((how & 2) != 0)
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    int fd = segment_create("fuzz", octets <= 1U << 20 ? octets : 4096);
    if ((how & 4) != 0 && fd >= 0) { /* read-only */
        int other = segment_read_only(fd);
        close(fd);
        return other;
    }
    return fd;
}

static void application(struct input *in)
{
    uint32_t at = input_8(in) % CLIENTS;
    uint8_t how = input_8(in);
    bool arena = (how & 1) != 0;
    if (client[at] < 0)
        client_new(at);
    if (client[at] < 0)
        return;
    struct attach_request r = {.magic = SESSION_MAGIC,
                               .operation = arena ? ATTACH_ARENA : ATTACH_HELLO,
                               .transport = input_8(in) % 3,
                               .slots = arena ? input_8(in) % 8 : 0,
                               .send_size = arena ? 4096U << input_8(in) % 4 : 0,
                               .receive_size = arena ? 4096U << input_8(in) % 4 : 0};
    size_t read = arena ? arena_send_octets(r.slots, r.send_size) : sizeof(struct session_control);
    size_t written = arena ? arena_receive_octets(r.slots, r.receive_size) : sizeof(struct session_answer);
    if ((how & 2) != 0)
        ((uint32_t *)(void *)&r)[input_8(in) % (sizeof r / 4)] = input_32(in);
    uint32_t count = how & 4 ? input_8(in) % 5 : 2;
    int fd[4];
    for (uint32_t i = 0; i < count; i++)
        fd[i] = i == 1 && (how & 8) != 0 ? dup(fd[0]) : some_memory(in, i == 0 ? read : written);
    uint32_t there = 0;
    while (there < count && fd[there] >= 0)
        there++;
    request_send(client[at], &r, how & 16 ? input_8(in) % sizeof r : sizeof r, fd, there);
    for (uint32_t i = 0; i < count; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    for (uint32_t i = 0; i < CONNECTIONS_ATTACHED; i++)
        if (s->connection[i].fd >= 0)
            attach_receive(s, i);
    drain(client[at]);
    if ((how & 32) != 0) {
        close(client[at]);
        client[at] = -1;
        for (uint32_t i = 0; i < CONNECTIONS_ATTACHED; i++)
            if (s->connection[i].fd >= 0)
                attach_receive(s, i);
    }
    if (s->place_freed)
        attach_waiting(s);
}

/* ---- the manage server ---- */
static void manage(struct input *in)
{
    static const char *const names[] = {"nic", "ip", "tcp", "udp", "socket", "manage", "nic+ip", ""};
    Bulkhead__Manage__Request r = BULKHEAD__MANAGE__REQUEST__INIT;
    Bulkhead__Manage__Kill kill = BULKHEAD__MANAGE__KILL__INIT;
    Bulkhead__Manage__Restart restart = BULKHEAD__MANAGE__RESTART__INIT;
    Bulkhead__Manage__EventsSince events = BULKHEAD__MANAGE__EVENTS_SINCE__INIT;
    Bulkhead__Manage__Caps caps = BULKHEAD__MANAGE__CAPS__INIT;
    Bulkhead__Manage__Revoke revoke = BULKHEAD__MANAGE__REVOKE__INIT;
    uint8_t octets[512], what = input_8(in);
    char *name = (char *)(uintptr_t)names[input_8(in) % (sizeof names / sizeof names[0])];
    r.id = input_8(in) % 16;
    switch (what % 5) {
    case 0:
        kill.server = name;
        kill.signal = input_8(in);
        r.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_KILL;
        r.kill = &kill;
        break;
    case 1:
        restart.server = name;
        r.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_RESTART;
        r.restart = &restart;
        break;
    case 2:
        events.number = s->event_count - input_8(in) % 64;
        events.limit = input_8(in) % 8;
        r.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_EVENTS;
        r.events = &events;
        break;
    case 3:
        caps.skip = input_16(in) % 1024;
        r.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_CAPS;
        r.caps = &caps;
        break;
    default: /* of what sessions have; of the stack's own there would be no way back */
        revoke.id = nodes_before + input_8(in);
        r.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_REVOKE;
        r.revoke = &revoke;
    }
    size_t length = bulkhead__manage__request__pack(&r, octets);
    if (send(manage_end, octets, length, MSG_DONTWAIT) == (ssize_t)length)
        manage_receive(s);
    drain(manage_end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const steps[])(struct input * in) = {domain_message, application, domain_acts_well, domain_dies,
                                                       domain_octets,  application, domain_message,   manage};
    struct input in = {data, size};
    if (s->epoll == 0) {
        supervisor_make();
        honest();
        honest();
    }
    unsigned descriptors_before = descriptors();
    uint32_t mask = memory_mask();
    nodes_before = s->registry.count;
    for (unsigned n = 0; in.left > 0 && n < 64; n++)
        steps[input_8(&in) % (sizeof steps / sizeof steps[0])](&in);
    honest();
    check(descriptors() == descriptors_before);
    check(s->registry.count == nodes_before ||
          mask != memory_mask()); /* else what domains asked for has its entries, too */
    return 0;
}
