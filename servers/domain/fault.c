// SPDX-License-Identifier: BSD-2-Clause
/* Faults that the supervisor asks this domain to do to itself (ToDomain.fault, ipc/inject.h). Theory of operation.
 *
 * Each server has one plan at a time; a new Fault replaces it, one of kind 0 ends it. What is about messages happens in
 * wrappers of the server's ports (ipc/inject_port.h), put there by the first Fault that needs them; the rest at the
 * start of a round, as if it were in the server's burst: all servers of the domain hang with the one that does. Until
 * the first Fault there is no memory, no wrapper, and one test of a pointer a round.
 *
 *  loop, block   at one of the next INJECT_AMONG rounds
 *  slow          SLOW_US_LEAST to SLOW_US_MOST of computing more, by the seed, in `count` rounds
 *  leak, mute    `count` messages; flood: `count` of random content, in every round as many as the ring takes
 *  exhaust       `count` buffers of the server's pool, again and again as they come home; a server without a pool asks
 *                the peer for as many sockets
 *
 * Here a count of 0 is once for what is done to one message or round (hang, slow, messages), and for good for what has
 * no single time (leak, mute, flood, exhaust). What cannot be done is a Log, and no death.
 *
 * #syscalls ppoll clock_gettime */
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "ipc/inject_port.h"
#include "servers/domain/state.h"

#define SLOW_US_LEAST 1000
#define SLOW_US_MOST  20000
#define ASKED_SLOTS   64 /* what a request for a socket names: any of so many slots of ... */
#define ASKED_PLACES  8  /* ... so many sessions, arenas */

struct server_fault {
    struct domain *domain;
    enum server_id server;
    struct inject_plan plan;
    uint32_t peer; /* SERVER_COUNT: all */
};

struct domain_fault {
    struct server_fault server[SERVER_COUNT];
    struct inject_port port[DOMAIN_PORTS];
    bool wrapped[DOMAIN_PORTS];
};

/* The first strike: the supervisor learns that the fault was activated. */
static void struck(void *context, const char *text)
{
    const struct server_fault *fault = context;
    int result = control_send_faulted(&fault->domain->control, fault->server, (uint32_t)fault->plan.kind, text);
    if (result != 0)
        control_log(&fault->domain->control, 4, fault->server, "Faulted not sent", -result);
}

static bool is_chosen(const struct server_fault *fault, const struct domain_port *port)
{
    return port->server == fault->server && (fault->peer == SERVER_COUNT || fault->peer == (uint32_t)port->peer);
}

/* ---- hang ---- */
static void spin_for_ever(void)
{
    volatile uint32_t turns = 0;
    for (;;)
        turns++;
}

static void sleep_for_ever(void)
{
    for (;;)
        (void)ppoll(NULL, 0, NULL, NULL);
}

static void spin_for(uint64_t us)
{
    uint64_t end_us = domain_clock_us() + us;
    while (domain_clock_us() < end_us)
        ;
}

static void hang(struct server_fault *fault)
{
    struct inject_plan *plan = &fault->plan;
    if (plan->skip > 0) {
        plan->skip--;
        return;
    }
    bool loops = plan->kind == INJECT_LOOP;
    (void)inject_strike(plan, loops ? "its burst does not end" : "it sleeps for ever");
    if (loops)
        spin_for_ever();
    sleep_for_ever();
}

static void be_slow(struct server_fault *fault)
{
    char text[INJECT_TEXT];
    uint64_t us = SLOW_US_LEAST + inject_draw(&fault->plan.random, SLOW_US_MOST - SLOW_US_LEAST + 1);
    snprintf(text, sizeof text, "a burst takes %llu us more", (unsigned long long)us);
    if (inject_strike(&fault->plan, text))
        spin_for(us);
}

/* ---- exhaust ---- */
static void exhaust_pool(struct server_fault *fault, struct pool *pool)
{
    while (!inject_over(&fault->plan) && pool_take(pool) != POOL_NONE)
        (void)inject_strike(&fault->plan, "takes the buffers of its pool");
}

static uint32_t new_id(struct inject_plan *plan)
{
    uint32_t index = SOCKETS_MAX / 2 + inject_draw(&plan->random, SOCKETS_MAX / 2); /* the table is used from below */
    return inject_draw(&plan->random, UINT16_MAX) << 16 | index;
}

/* Another socket for somebody: to a transport what the socket server always asks, for nobody who wanted it. */
static struct message request_for_socket(struct inject_plan *plan, enum server_id peer)
{
    struct message m = {.operation = peer == SERVER_TCP ? MESSAGE_LISTEN : MESSAGE_BIND,
                        .capability = CAPABILITY_INDEX_PEER,
                        .generation = 1};
    m.cookie = inject_draw(&plan->random, UINT32_MAX);
    m.socket = (struct message_socket){.socket = new_id(plan),
                                       .session = inject_draw(&plan->random, ASKED_PLACES),
                                       .connection = UINT32_MAX,
                                       .arena = inject_draw(&plan->random, ASKED_PLACES),
                                       .slot = inject_draw(&plan->random, ASKED_SLOTS),
                                       .generation = inject_draw(&plan->random, ASKED_SLOTS),
                                       .listener = UINT32_MAX,
                                       .argument = {1, 0, 0, 0}};
    m.source.family = ADDRESS_IP4;
    m.source_port = (uint16_t)inject_draw(&plan->random, UINT16_MAX);
    return m;
}

static void exhaust_peer(struct server_fault *fault, struct domain_port *port)
{
    for (uint32_t i = 0; i < RING_SLOTS && port->port.attached && !inject_over(&fault->plan); i++) {
        const struct message m = request_for_socket(&fault->plan, port->peer);
        if (!inject_push(&port->port, &m))
            break;
        (void)inject_strike(&fault->plan, "asks for all the sockets there are");
    }
}

static bool exhaust(struct domain *domain, struct server_fault *fault)
{
    struct pool *pool = domain->server[fault->server].context.pool;
    if (pool != NULL) {
        exhaust_pool(fault, pool);
        return false;
    }
    for (uint32_t p = 0; p < domain->port_count; p++)
        if (is_chosen(fault, domain->port[p]))
            exhaust_peer(fault, domain->port[p]);
    return !inject_over(&fault->plan);
}

/* ---- a round ---- */
static void ports_round(struct domain *domain, struct server_fault *fault)
{
    for (uint32_t p = 0; p < domain->port_count; p++) {
        struct inject_port *port = &domain->fault->port[p];
        if (!domain->fault->wrapped[p] || port->plan != &fault->plan)
            continue;
        inject_round(&domain->port[p]->port, port);
        if (fault->plan.kind == INJECT_FLOOD)
            inject_flood(&domain->port[p]->port, port);
    }
}

static bool server_round(struct domain *domain, struct server_fault *fault)
{
    switch (fault->plan.kind) {
    case INJECT_LOOP:
    case INJECT_BLOCK:
        hang(fault);
        return false;
    case INJECT_SLOW:
        be_slow(fault);
        return false;
    case INJECT_EXHAUST:
        return exhaust(domain, fault);
    default:
        ports_round(domain, fault);
        return fault->plan.kind == INJECT_FLOOD && !inject_over(&fault->plan);
    }
}

/* Who floods does not sleep: space is given back without a bell. */
bool fault_round(struct domain *domain)
{
    bool moved = false;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        struct server_fault *fault = &domain->fault->server[id];
        if (domain->server[id].server == NULL || fault->plan.kind == INJECT_NONE)
            continue;
        domain->running = id;
        moved |= server_round(domain, fault);
    }
    domain->running = SERVER_COUNT;
    return moved;
}

/* ---- the order ---- */
static bool is_known(uint32_t kind)
{
    return kind <= INJECT_SLOW || (kind >= INJECT_LEAK && kind <= INJECT_EXHAUST) ||
           (kind >= INJECT_FIELD && kind <= INJECT_LOST_BELL);
}

static bool is_of_messages(uint32_t kind)
{
    return kind >= INJECT_FIELD || kind == INJECT_LEAK || kind == INJECT_MUTE || kind == INJECT_FLOOD;
}

static uint32_t count_of(uint32_t kind, uint32_t count)
{
    return count == 0 && kind >= INJECT_LEAK && kind <= INJECT_EXHAUST ? INJECT_FOR_GOOD : count;
}

static const char *name_of(const struct domain *domain, enum server_id id)
{
    return domain->table[id] != NULL ? domain->table[id]->name : "peer";
}

/* Of the ports that are chosen; the server's others go on without. Returns how many. */
static uint32_t wrap(struct domain *domain, struct server_fault *fault)
{
    uint32_t chosen = 0;
    for (uint32_t p = 0; p < domain->port_count; p++) {
        struct domain_port *port = domain->port[p];
        struct inject_port *inject = &domain->fault->port[p];
        if (port->server != fault->server)
            continue;
        inject->plan = is_chosen(fault, port) ? &fault->plan : NULL;
        chosen += inject->plan != NULL;
        if (inject->plan == NULL || domain->fault->wrapped[p])
            continue;
        inject->server = name_of(domain, port->server);
        inject->peer = name_of(domain, port->peer);
        inject_wrap(&port->port, inject);
        domain->fault->wrapped[p] = true;
    }
    return chosen;
}

static const char *refusal(const struct domain *domain, const Bulkhead__Control__Fault *m)
{
    if (!domain->started || m->server >= SERVER_COUNT || domain->server[m->server].server == NULL)
        return "a fault for a server that is not here";
    if (!is_known(m->kind))
        return "a fault of no known kind";
    if (m->peer > SERVER_COUNT || (m->peer < SERVER_COUNT && domain->server[m->server].port[m->peer] == NULL))
        return "a fault for a channel that is not there";
    return NULL;
}

int fault_set(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Fault *m = message->what->fault;
    const char *why_not = refusal(domain, m);
    if (why_not == NULL && domain->fault == NULL)
        domain->fault = domain_memory(sizeof *domain->fault);
    if (why_not == NULL && domain->fault == NULL)
        why_not = "no memory for a fault";
    if (why_not != NULL) {
        control_log(&domain->control, 4, m->server, why_not, 0);
        return 0;
    }
    struct server_fault *fault = &domain->fault->server[m->server];
    *fault = (struct server_fault){.domain = domain, .server = (enum server_id)m->server, .peer = m->peer};
    inject_plan_init(&fault->plan, (enum inject_kind)m->kind, m->seed, count_of(m->kind, m->count), struck, fault);
    if (is_of_messages(m->kind) && wrap(domain, fault) == 0)
        control_log(&domain->control, 4, m->server, "a fault of messages, and no channel", 0);
    return 0;
}
