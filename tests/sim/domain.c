// SPDX-License-Identifier: BSD-2-Clause
/* What a domain does, step by step, as servers/domain/loop.c does it: rounds while anything moves; then it says that it
 * sleeps, looks at every input again, and waits for its bell (rung by ipc/doorbell.c, bell.c), its deadline, the device
 * or the supervisor. Input that nobody rang for is a lost wake-up, and the end of the run. */
#include <string.h>
#include <sys/mman.h>

#include "tests/sim/sim.h"

#define LIFE_OCTETS  (96U << 20) /* reserved; what is not touched costs nothing */
#define SLEEP_MAX_US 100000U     /* these four as in servers/domain/loop.c */
#define STUCK_US     50U
#define STUCK_MAX_US 1600U
#define OVERDUE_US   1000U

static const struct server *const servers[SERVER_COUNT] = {
    [SERVER_NIC] = &server_nic, [SERVER_IP] = &server_ip,         [SERVER_TCP] = &server_tcp,
    [SERVER_UDP] = &server_udp, [SERVER_SOCKET] = &server_socket,
};

void *sim_private(struct sim_domain *d, size_t octets)
{
    void *at = d->life_memory + d->life_used;
    d->life_used += (octets + 4095) & ~(size_t)4095;
    if (d->life_used > LIFE_OCTETS)
        sim_fail(d->sim, "%s needs more than %u MB", d->name, LIFE_OCTETS >> 20);
    return at;
}

void sim_domain_clear(struct sim_domain *d)
{
    if (d->life_memory != NULL)
        munmap(d->life_memory, LIFE_OCTETS);
    d->life_memory = NULL;
    d->life = NULL;
    d->life_used = 0;
    d->told_first = d->told_count = 0;
}

/* ---- start ---- */
static void port_make(struct sim_domain *d, enum server_id server, enum server_id peer)
{
    struct sim_life *l = d->life;
    struct sim_port *p = sim_private(d, sizeof *p);
    struct capability *entries = sim_private(d, CAPABILITY_TABLE_MAX * sizeof *entries);
    p->domain = d;
    p->server = server;
    p->peer = peer;
    port_init(&p->port, entries);
    sim_port_watch(d, &p->port);
    p->port.wrapper = p;
    l->port[l->port_count++] = p;
    l->server[server].port[peer] = p;
    l->server[server].context.port[peer] = &p->port;
}

static void server_grant(struct sim_domain *d, enum server_id id)
{
    struct sim_server *at = &d->life->server[id];
    const struct sim_memory *m = &d->stack->memory[id];
    at->server = servers[id];
    at->context = (struct server_context){.id = id,
                                          .config = &d->stack->config,
                                          .incarnation = d->incarnation,
                                          .store = m->store,
                                          .store_octets = m->store_octets,
                                          .device = id == SERVER_NIC ? (int)d->stack->index : -1,
                                          .driver = {.can = d->sim->scenario->can},
                                          .session = d->life->session,
                                          .counter = d->counter[id],
                                          .session_done = sim_session_done,
                                          .notice = sim_notice,
                                          .domain = d};
    if (m->pool == NULL)
        return;
    pool_init(&at->pool, m->pool, servers[id]->pool_buffer_octets, servers[id]->pool_buffers);
    at->context.pool = &at->pool;
    at->context.pool_capability = m->index;
    at->context.pool_generation = m->generation;
}

static void grants(struct sim_domain *d, uint32_t alive)
{
    d->life_memory =
        mmap(NULL, LIFE_OCTETS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (d->life_memory == MAP_FAILED)
        sim_fail(d->sim, "no memory for a life of %s", d->name);
    d->life = sim_private(d, sizeof *d->life);
    d->life->stuck_us = STUCK_US;
    doorbell_wake(&d->status->sleep);
    for (uint32_t i = 0; i < d->stack->domain_count; i++) {
        const struct sim_domain *other = &d->stack->domain[i];
        d->life->bell[i] = (struct doorbell){.fd = other->bell, .sleep = &other->status->sleep};
    }
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        if (sim_hosts(d, (enum server_id)id))
            server_grant(d, (enum server_id)id);
    for (uint32_t i = 0; i < TOPOLOGY_CHANNELS; i++)
        for (uint32_t side = 0; side < 2; side++)
            if (sim_hosts(d, topology_channel[i].end[side]))
                port_make(d, topology_channel[i].end[side], topology_channel[i].end[1 - side]);
    sim_stage_channels(d, d->servers, alive);
    for (uint32_t i = 0; i < d->life->port_count; i++)
        sim_take_staged(d->life->port[i]);
    sim_entries(d, d->servers, alive);
}

static void granted(struct sim_domain *d, const struct sim_told *t)
{
    grants(d, t->alive);
    for (uint32_t id = 0; id < SIM_SESSIONS; id++) {
        if (t->granted[id] == 0)
            continue;
        sim_told_session(d, id, (t->granted[id] & GRANTED_ENDING) != 0);
        for (uint32_t i = 0; i + 1 < (t->granted[id] & ~GRANTED_ENDING); i++)
            sim_told_arena(d, id, i);
    }
}

static void start(struct sim_domain *d)
{
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        struct sim_server *at = &d->life->server[id];
        if (at->server == NULL)
            continue;
        sim_point(d);
        at->state = sim_private(d, at->server->state_size(&d->stack->config));
        int result = at->server->init(at->state, &at->context, d->sim->now_us);
        if (result != 0)
            sim_fail(d->sim, "%c: %s does not start: %d", 'A' + d->stack->index, at->server->name, result);
    }
    sim_point(d);
    d->life->started = true;
    d->state = SIM_RUNNING;
    d->phase = PHASE_AWAKE;
    d->ready_us = d->sim->now_us;
    sim_supervisor_ready(d);
}

/* ---- rounds ---- */
void sim_domain_settle(struct sim_domain *d)
{
    struct sim_life *l = d->life;
    for (uint32_t id = 0; id < SERVER_COUNT && l->started; id++) {
        if (l->server[id].server == NULL || l->server[id].server->commit == NULL)
            continue;
        sim_point(d);
        l->server[id].server->commit(l->server[id].state);
    }
    for (uint32_t id = 0; id < SERVER_COUNT && l->started; id++) {
        if (l->server[id].server == NULL || l->server[id].server->publish == NULL)
            continue;
        sim_point(d);
        l->server[id].server->publish(l->server[id].state, d->sim->now_us);
    }
    for (uint32_t p = 0; p < l->port_count; p++) {
        if (l->port[p]->port.ring.head != l->port[p]->port.ring.published)
            sim_point(d);
        port_flush(&l->port[p]->port);
    }
    sim_point(d);
}

static void check_ports(struct sim_domain *d)
{
    for (uint32_t p = 0; p < d->life->port_count; p++) {
        const struct sim_port *port = d->life->port[p];
        if (port->port.ring.broken || port->port.counters.malformed != 0)
            sim_fail(d->sim, "%c: the ring from %s to %s is broken", 'A' + d->stack->index,
                     topology_server_name(port->peer), topology_server_name(port->server));
    }
}

bool sim_domain_round(struct sim_domain *d)
{
    bool moved = false;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct sim_server *at = &d->life->server[id];
        if (at->server == NULL)
            continue;
        sim_point(d);
        moved |= at->server->burst(at->state, d->sim->now_us);
    }
    sim_domain_settle(d);
    check_ports(d);
    return moved;
}

static bool anything_pending(struct sim_domain *d)
{
    struct sim_life *l = d->life;
    for (uint32_t p = 0; p < l->port_count; p++)
        if (port_pending(&l->port[p]->port))
            return true;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct sim_server *at = &l->server[id];
        if (at->server != NULL && at->server->pending != NULL && at->server->pending(at->state))
            return true;
    }
    return false;
}

/* ---- sleep ---- */
static uint64_t server_deadline(const struct sim_domain *d)
{
    uint64_t now_us = d->sim->now_us, at_us = now_us + SLEEP_MAX_US;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct sim_server *at = &d->life->server[id];
        uint64_t t =
            at->server != NULL && at->server->deadline_us != NULL ? at->server->deadline_us(at->state) : SIM_NEVER;
        if (t < at_us)
            at_us = t;
    }
    return at_us <= now_us ? now_us + OVERDUE_US : at_us;
}

/* Second half of going to sleep: what came before the word was seen, what comes after it rings. */
static void look_again(struct sim_domain *d)
{
    struct sim_life *l = d->life;
    d->stuck = false;
    if (anything_pending(d)) {
        d->phase = PHASE_AWAKE;
        if (sim_domain_round(d)) {
            l->stuck_us = STUCK_US;
            doorbell_wake(&d->status->sleep);
            return;
        }
        d->stuck = true;
        d->wake_us = d->sim->now_us + l->stuck_us;
        l->stuck_us = l->stuck_us < STUCK_MAX_US ? 2 * l->stuck_us : STUCK_MAX_US;
    } else {
        l->stuck_us = STUCK_US;
        d->wake_us = server_deadline(d);
    }
    d->phase = PHASE_ASLEEP;
}

static bool rung(const struct sim_domain *d)
{
    return sim_bell_rung(d->sim, d->bell);
}

static bool device_ready(const struct sim_domain *d)
{
    const struct sim_server *nic = &d->life->server[SERVER_NIC];
    return nic->server != NULL && nic->server->wants_device(nic->state) &&
           sim_link_deadline(d->sim->link, d->stack->index) <= d->sim->now_us;
}

static bool may_wake(const struct sim_domain *d)
{
    return d->wake_us <= d->sim->now_us || rung(d) || device_ready(d);
}

/* Returned loans may wait for a deadline; who died between publishing and ringing is seen to by the supervisor;
 * anything else should have rung. */
static bool only_returns(struct sim_domain *d)
{
    struct sim_life *l = d->life;
    for (uint32_t p = 0; p < l->port_count; p++) {
        const struct ring *ring = &l->port[p]->port.ring;
        if (!port_pending(&l->port[p]->port) || !sim_lives(d->stack->memory[l->port[p]->peer].domain))
            continue;
        for (uint32_t at = ring->tail; at != ring->peer->producer; at++)
            if (((const struct message *)(const void *)&ring->peer->slot[at % RING_SLOTS])->operation != MESSAGE_RETURN)
                return false;
    }
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct sim_server *at = &l->server[id];
        if (at->server != NULL && at->server->pending != NULL && at->server->pending(at->state))
            return false;
    }
    return true;
}

static void wake(struct sim_domain *d)
{
    if (!rung(d) && d->told_count == 0 && !d->stuck && !device_ready(d) && !only_returns(d))
        sim_fail(d->sim, "%c %s sleeps, has input, and nobody rang", 'A' + d->stack->index, d->name);
    doorbell_drain(d->bell);
    doorbell_wake(&d->status->sleep);
    d->phase = PHASE_AWAKE;
}

/* ---- steps ---- */
static void told(struct sim_domain *d)
{
    const struct sim_told t = d->told[d->told_first];
    d->told_first = (d->told_first + 1) % SIM_TOLD;
    d->told_count--;
    static const char *const names[] = {"grants",  "start", "news",          "attached", "lost",
                                        "session", "arena", "session ended", "remove"};
    sim_note(d->sim, "%c %s is told: %s, servers %x of %x", 'A' + d->stack->index, d->name, names[t.what], t.servers,
             t.alive);
    switch (t.what) {
    case TELL_GRANTS:
        granted(d, &t);
        break;
    case TELL_START:
        start(d);
        break;
    case TELL_NEWS:
        sim_stage_channels(d, t.servers, t.alive);
        sim_entries(d, t.servers, t.alive);
        break;
    case TELL_ATTACHED:
        sim_told_attached(d, &t);
        break;
    case TELL_LOST:
        sim_told_lost(d, &t);
        break;
    case TELL_SESSION:
        sim_told_session(d, t.session, false);
        break;
    case TELL_ARENA:
        sim_told_arena(d, t.session, t.arena);
        break;
    case TELL_ENDED:
        sim_told_ended(d, t.session);
        break;
    case TELL_REMOVE:
        sim_told_remove(d, t.session);
        break;
    }
    sim_point(d);
    if (t.epoch != 0)
        sim_supervisor_acknowledged(d, t.epoch);
}

bool sim_domain_can_step(struct sim_domain *d)
{
    if (d->hung_us != 0)
        return d->hung_us <= d->sim->now_us;
    if (d->state != SIM_GRANTED && d->state != SIM_RUNNING)
        return d->state == SIM_SPAWNED && d->spawned_at_us <= d->sim->now_us;
    if (d->told_count > 0)
        return true;
    return d->state == SIM_RUNNING && (d->phase != PHASE_ASLEEP || may_wake(d));
}

uint64_t sim_domain_deadline(const struct sim_domain *d)
{
    if (d->hung_us != 0)
        return d->hung_us;
    if (d->state == SIM_SPAWNED)
        return d->spawned_at_us;
    if (d->state != SIM_RUNNING || d->phase != PHASE_ASLEEP)
        return SIM_NEVER;
    const struct sim_server *nic = &d->life->server[SERVER_NIC];
    uint64_t device = nic->server != NULL && nic->server->wants_device(nic->state)
                          ? sim_link_deadline(d->sim->link, d->stack->index)
                          : SIM_NEVER;
    return device < d->wake_us ? device : d->wake_us;
}

void sim_domain_step(struct sim_domain *d)
{
    if (d->state == SIM_SPAWNED) {
        if (d->stillborn)
            sim_die(d->sim);
        sim_supervisor_standby(d);
        return;
    }
    sim_point(d);
    /* The supervisor is looked at between rounds, not before each. */
    bool look = d->phase == PHASE_ASLEEP || (d->phase == PHASE_AWAKE && sim_chance(&d->sim->random, 500));
    if (d->told_count > 0 && (d->state == SIM_GRANTED || look)) {
        if (d->phase == PHASE_ASLEEP && d->state == SIM_RUNNING)
            wake(d);
        told(d);
        return;
    }
    switch (d->phase) {
    case PHASE_ASLEEP:
        wake(d);
        break;
    case PHASE_AWAKE:
        if (!sim_domain_round(d)) {
            doorbell_sleep(&d->status->sleep);
            d->phase = PHASE_SLEEPY;
        }
        break;
    case PHASE_SLEEPY:
        look_again(d);
        break;
    }
}
