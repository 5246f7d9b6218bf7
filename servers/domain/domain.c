// SPDX-License-Identifier: BSD-2-Clause
/* A domain's life: Become, sandbox, Standby, grants, Start, Ready, the loop, and the end. See README.md.
 *
 * #syscalls mmap(no PROT_EXEC) munmap timerfd_create exit_group rt_sigreturn */
#include "servers/domain/domain.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "capabilities/sandbox.h"
#include "servers/domain/crash.h"
#include "servers/domain/state.h"

#define WARM_OCTETS_MAX (512U << 10) /* of a state that is not large, and does not say what of it is touched first */
#define CANARY_PLACE    4096         /* a page, as it is compared by others */
#define STOPPED         1            /* a handler's outcome: an orderly end */

void *domain_memory(size_t octets)
{
    void *memory = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

struct domain_server *domain_server_at(struct domain *domain, uint32_t id)
{
    return id < SERVER_COUNT && domain->server[id].server != NULL ? &domain->server[id] : NULL;
}

static void session_done(void *pointer, uint32_t session)
{
    struct domain *domain = pointer;
    int result = control_send_session_done(&domain->control, session);
    if (result != 0)
        control_log(&domain->control, 3, SERVER_SOCKET, "SessionDone not sent", -result);
}

static void notice(void *pointer, enum server_id server, const char *text)
{
    struct domain *domain = pointer;
    control_log(&domain->control, 4, server, text, 0);
}

static int start_server(struct domain *domain, struct domain_server *at)
{
    struct server_context *c = &at->context;
    if (at->server->pool_buffers > 0 && c->pool == NULL)
        return -ENOBUFS;
    if (at->server->store_size != NULL && c->store == NULL)
        return -ENODATA;
    c->config = &domain->config;
    c->work = &at->work;
    c->incarnation = domain->incarnation;
    c->session = domain->session;
    c->counter = domain->counters->counter[c->id];
    c->session_done = session_done;
    c->notice = notice;
    c->domain = domain;
    size_t octets = at->server->state_size(&domain->config);
    if (octets > at->state_octets)
        at->state = domain_memory(octets);
    return at->state == NULL ? -ENOMEM : at->server->init(at->state, c, domain->now_us);
}

static int start(struct domain *domain, struct control_message *message)
{
    (void)message;
    if (!domain->configured || domain->started)
        return -EPROTO;
    domain->now_us = domain_clock_us();
    for (uint32_t id = 0; id < SERVER_COUNT; id++) { /* from the device upwards */
        struct domain_server *at = &domain->server[id];
        int result = at->server != NULL ? start_server(domain, at) : 0;
        if (result < 0) {
            control_log(&domain->control, 3, id, "a server does not start", -result);
            return result;
        }
    }
    if (domain->crash != NULL)
        __atomic_store_n(&domain->crash->canary, (uint64_t)(uintptr_t)domain->canary, __ATOMIC_RELEASE);
    domain->started = true;
    counters_of_ports(domain);
    return control_send_ready(&domain->control, domain->incarnation);
}

/* Dies of the signal as if by a fault of a server's own: where the processor or the filter would send it, they do. */
static int die(struct domain *domain, struct control_message *message)
{
    (void)domain;
    int signo = (int)(message->what->raise->signal & 0x7f);
    volatile int *volatile nowhere = NULL;
    volatile int zero = 0;
    switch (signo) {
    case SIGSEGV:
        *nowhere = 0;
        break;
    case SIGFPE:
        zero = signo / zero; /* 1 / x needs no division */
        break;
    case SIGILL:
        __builtin_trap();
    case SIGSYS:
        syscall(SYS_getppid); /* the filter refuses it */
        break;
    default:
        raise(signo);
    }
    _exit(SANDBOX_EXIT_SIGNAL + signo);
}

static int stop(struct domain *domain, struct control_message *message)
{
    (void)domain, (void)message;
    return STOPPED;
}

static int batch(struct domain *domain, struct control_message *message)
{
    int result = 0;
    for (size_t i = 0; i < message->what->batch->n_message && result == 0; i++) {
        struct control_message one;
        result = control_batch_at(&domain->control, message, i, &one);
        if (result == 0)
            result = domain_dispatch(domain, &one);
    }
    return result;
}

int domain_dispatch(struct domain *domain, struct control_message *message)
{
    static domain_handler *const handlers[] = {
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_CONFIGURE] = grant_configure,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SLOT] = grant_slot,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_BELL] = grant_bell,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_CHANNEL] = grant_channel,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_CAPABILITY] = grant_capability,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_POOL] = grant_pool,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STORE] = grant_store,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_DEVICE] = grant_device,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SESSION] = session_grant,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_ARENA] = session_arena_grant,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_LOST] = barrier_peer_lost,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_ATTACHED] = barrier_peer_attached,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SESSION_ENDED] = session_end,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SESSION_REMOVE] = session_remove,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START] = start,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_RAISE] = die,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP] = stop,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_CAPTURE] = capture_set,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_FAULT] = fault_set,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_REVOKE] = grant_revoke,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_CAPABILITIES] = grant_capabilities,
        [BULKHEAD__CONTROL__TO_DOMAIN__WHAT_BATCH] = batch,
    };
    uint32_t what = (uint32_t)message->what->what_case;
    domain_handler *handler = what < sizeof handlers / sizeof handlers[0] ? handlers[what] : NULL;
    int result = handler != NULL ? handler(domain, message) : -EPROTO;
    control_release(message);
    if (result < 0) {
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(message->what->base.descriptor, what);
        control_log(&domain->control, 3, DOMAIN_NOBODY, field != NULL ? field->name : "message", -result);
    }
    return result;
}

/* What its servers will touch first is there before it is needed: a page that is not costs a microsecond when everyone
 * waits. */
static void warm(struct domain *domain)
{
    static const struct stack_config any;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        struct domain_server *at = &domain->server[id];
        if (at->server == NULL)
            continue;
        at->state_octets = at->server->state_size(&any);
        at->state = domain_memory(at->state_octets);
        if (at->state == NULL)
            at->state_octets = 0;
        else if (at->server->warm != NULL)
            at->server->warm(at->state, at->state_octets);
        else if (at->state_octets <= WARM_OCTETS_MAX)
            memset(at->state, 0, at->state_octets);
    }
}

/* It lies in the middle of one private mapping, on a page of its own, without a guard on either side: behind all that this
 * file keeps of the domain and before what it keeps of sessions, so that what runs out of either, or is wild, hits it. */
static void canary_fill(uint8_t *canary)
{
    for (uint32_t n = 0; n < CRASH_CANARY; n++)
        canary[n] = (uint8_t)(n * 151 + 43);
}

static struct domain *domain_new(int control_fd, uint32_t servers, const struct server *const table[SERVER_COUNT])
{
    size_t before = (sizeof(struct domain) + CANARY_PLACE - 1) / CANARY_PLACE * CANARY_PLACE;
    uint8_t *memory = domain_memory(before + CRASH_CANARY + SESSIONS_MAX * sizeof(struct session));
    if (memory == NULL)
        return NULL;
    struct domain *domain = (struct domain *)(void *)memory;
    struct session *sessions = (struct session *)(void *)(memory + before + CRASH_CANARY);
    domain->canary = memory + before;
    canary_fill(domain->canary);
    domain->control.fd = control_fd;
    domain->table = table;
    domain->servers = servers;
    domain->session = sessions;
    domain->doorbell = -1;
    domain->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (domain->timer < 0)
        return NULL;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        domain->server[id].server = servers & (1U << id) ? table[id] : NULL;
        domain->server[id].context.id = (enum server_id)id;
        domain->server[id].context.device = -1;
    }
    return domain;
}

static int exit_of(const struct domain *domain, int result)
{
    if (result == STOPPED)
        return DOMAIN_EXIT_STOP;
    if (result == -EPIPE || result == -EAGAIN || result == -ECONNRESET)
        return DOMAIN_EXIT_CONTROL;
    return domain->started ? DOMAIN_EXIT_PROTOCOL : DOMAIN_EXIT_INIT;
}

static int standby(struct domain *domain)
{
    uint32_t pool_octets[SERVER_COUNT], store_version[SERVER_COUNT];
    uint64_t store_octets[SERVER_COUNT];
    size_t count = 0;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct server *server = domain->server[id].server;
        if (server == NULL)
            continue;
        pool_octets[count] = server->pool_buffers * server->pool_buffer_octets + server->pool_extra_octets;
        store_version[count] = server->store_version;
        store_octets[count++] = server->store_size != NULL ? server->store_size() : 0;
    }
    return control_send_standby(&domain->control, pool_octets, store_octets, store_version, count);
}

int domain_run(int control_fd, uint32_t servers, const struct server *const table[SERVER_COUNT])
{
    struct domain *domain = domain_new(control_fd, servers, table);
    if (domain == NULL)
        return DOMAIN_EXIT_INIT;
    domain->running = SERVER_COUNT;
    crash_watch(domain, __builtin_frame_address(0));
    warm(domain);
    int result = standby(domain);
    while (result == 0 && !domain->started) {
        struct control_message message;
        result = control_receive(&domain->control, true, &message);
        if (result == CONTROL_MESSAGE)
            result = domain_dispatch(domain, &message);
    }
    if (result == 0)
        result = domain_loop(domain);
    return exit_of(domain, result);
}

/* Domains on one core hand over when the waker sleeps, not in the middle of its round: one switch a hop instead of two
 * (measured: a chain of five in lock-step takes two thirds of the time). A refusal costs speed only. */
static void do_not_preempt_the_waker(void)
{
    struct sched_param none = {0};
    (void)sched_setscheduler(0, SCHED_BATCH, &none);
}

/* Its code and constants, as far as they are in memory for others already. A refusal costs speed only. */
static void program_populate(void)
{
    extern const char __executable_start[], _end[];
    uintptr_t begin = (uintptr_t)__executable_start & ~(uintptr_t)4095;
    (void)madvise((void *)begin, ((uintptr_t)_end - begin + 4095) & ~(uintptr_t)4095, MADV_POPULATE_READ);
}

/* What this process is to be, and then the sandbox. The mask of servers, or a negative errno. */
static int become(struct control *control, const struct server *const table[SERVER_COUNT])
{
    struct control_message message;
    int result = control_receive(control, true, &message);
    if (result < 0)
        return result;
    uint32_t servers = 0;
    int filter = -1;
    if (message.what->what_case == BULKHEAD__CONTROL__TO_DOMAIN__WHAT_BECOME) {
        const Bulkhead__Control__Become *m = message.what->become;
        for (size_t i = 0; i < m->n_servers; i++)
            if (m->servers[i] < SERVER_COUNT && table[m->servers[i]] != NULL)
                servers |= 1U << m->servers[i];
        filter = control_take(&message, m->filter_fd);
    }
    control_release(&message);
    if (servers == 0 || filter < 0)
        return -EPROTO;
    do_not_preempt_the_waker();
    program_populate();
    struct sandbox_failure failure;
    result = sandbox_enter(filter, &failure);
    close(filter);
    if (result < 0)
        control_log(control, 3, DOMAIN_NOBODY, failure.step, failure.error);
    return result < 0 ? result : (int)servers;
}

int domain_main(int control_fd, const struct server *const table[SERVER_COUNT])
{
    sandbox_handle_signals();
    struct control *control = domain_memory(sizeof *control);
    if (control == NULL)
        return DOMAIN_EXIT_INIT;
    control->fd = control_fd;
    int servers = become(control, table);
    munmap(control, sizeof *control);
    if (servers < 0)
        return servers == -EPIPE ? DOMAIN_EXIT_CONTROL : DOMAIN_EXIT_SANDBOX;
    return domain_run(control_fd, (uint32_t)servers, table);
}
