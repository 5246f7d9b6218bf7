// SPDX-License-Identifier: BSD-2-Clause
/* The supervisor's part: who is told what after a death, in which order, and what the next incarnation gets. The rules
 * are those of servers/supervisor/{domain,barrier,grant,memory,session}.c; there are no processes and no descriptors.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define SPAWN_LEAST_US    200U /* a new process until it waits in its sandbox: simulated */
#define SPAWN_MORE_US     5000U
#define HEALTHY_US        10000U /* these four as in servers/supervisor/supervisor.h */
#define UNHEALTHY_COLD    3U
#define UNHEALTHY_FREE    5U
#define BACKOFF_US        10000U
#define ARENA_SLOTS       16U
#define ARENA_SLOTS_WIDE  48U
#define ARENA_SEND        8192U
#define ARENA_RECEIVE     8192U
#define ARENA_MOST        65536U /* that the rings of streams may grow to */
#define UDP_RECEIVE       16384U
#define UDP_SMALL         4000U /* octets of a datagram; for larger ones: */
#define UDP_SEND_LARGE    131072U
#define UDP_RECEIVE_LARGE 262144U

static const struct server *const servers[SERVER_COUNT] = {
    [SERVER_NIC] = &server_nic, [SERVER_IP] = &server_ip,         [SERVER_TCP] = &server_tcp,
    [SERVER_UDP] = &server_udp, [SERVER_SOCKET] = &server_socket,
};

bool sim_lives(const struct sim_domain *d)
{
    return d->state == SIM_GRANTED || d->state == SIM_RUNNING;
}

static void tell(struct sim_domain *d, const struct sim_told *t)
{
    if (d->told_count == SIM_TOLD)
        sim_fail(d->sim, "%d messages of the supervisor wait at %s", SIM_TOLD, d->name);
    d->told[(d->told_first + d->told_count++) % SIM_TOLD] = *t;
}

static void index_take(struct sim_stack *k, uint16_t *ret_index, uint16_t *ret_generation)
{
    for (uint16_t i = CAPABILITY_INDEX_DYNAMIC; i < CAPABILITY_TABLE_MAX; i++) {
        if (k->index_used[i])
            continue;
        k->index_used[i] = true;
        k->index_high = i >= k->index_high ? (uint16_t)(i + 1) : k->index_high;
        if (++k->index_generation[i] == 0)
            k->index_generation[i] = 1;
        *ret_index = i;
        *ret_generation = k->index_generation[i];
        return;
    }
    sim_fail(k->sim, "no capability index is free");
}

/* ---- memory ---- */
static void pool_renew(struct sim_stack *k, enum server_id id)
{
    struct sim_memory *m = &k->memory[id];
    sim_segment_free(k->sim, m->pool); /* whoever can still name it, is found out by a fault */
    if (m->pool != NULL)
        k->index_used[m->index] = false;
    m->pool = NULL;
    if (m->pool_octets == 0)
        return;
    m->pool = sim_segment_new(k->sim, m->pool_octets, NULL);
    m->object = k->next_object++;
    index_take(k, &m->index, &m->generation);
}

static void memory_renew(struct sim_stack *k, uint32_t fresh)
{
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        if ((fresh & SERVER_BIT(id)) != 0)
            pool_renew(k, (enum server_id)id);
    for (uint32_t i = 0; i < TOPOLOGY_CHANNELS; i++) {
        const enum server_id *end = topology_channel[i].end;
        if (((SERVER_BIT(end[0]) | SERVER_BIT(end[1])) & fresh) == 0)
            continue;
        for (uint32_t side = 0; side < 2; side++) {
            sim_segment_free(k->sim, k->half[i][side]);
            k->half[i][side] = NULL;
            if (k->memory[end[0]].domain != k->memory[end[1]].domain)
                k->half[i][side] = sim_segment_new(k->sim, sizeof(struct ring_half), k->memory[end[side]].domain);
        }
    }
}

/* ---- deaths ---- */
static uint32_t servers_alive(const struct sim_stack *k)
{
    uint32_t alive = 0;
    for (uint32_t i = 0; i < k->domain_count; i++)
        if (sim_lives(&k->domain[i]))
            alive |= k->domain[i].servers;
    return alive;
}

static uint32_t domain_distance(const struct sim_domain *d, uint32_t dead)
{
    uint32_t distance[SERVER_COUNT], least = UINT32_MAX;
    topology_distances(dead, distance);
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        if (sim_hosts(d, (enum server_id)id) && distance[id] < least)
            least = distance[id];
    return least;
}

static void tell_lost(struct sim_domain *d, uint32_t lost)
{
    struct sim_told t = {.what = TELL_LOST, .servers = lost, .epoch = ++d->stack->epoch};
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        if ((lost & SERVER_BIT(id)) != 0 && d->stack->memory[id].pool != NULL)
            t.object[t.objects++] = d->stack->memory[id].object;
    d->losing = lost;
    d->ack_epoch = t.epoch;
    tell(d, &t);
}

static uint32_t nearest_to(const struct sim_stack *k, uint32_t dead)
{
    uint32_t mask = 0, least = UINT32_MAX;
    for (uint32_t i = 0; i < k->domain_count; i++) {
        if (!sim_lives(&k->domain[i]) || (k->domain[i].known & dead) == 0)
            continue;
        uint32_t distance = domain_distance(&k->domain[i], dead);
        if (distance < least)
            mask = 0;
        if (distance <= least)
            mask |= 1U << i;
        least = distance < least ? distance : least;
    }
    return mask;
}

static bool tell_next(struct sim_stack *k)
{
    uint32_t dead = SERVERS_ALL & ~servers_alive(k), lost[SERVER_COUNT] = {0}, any = 0;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        uint32_t nearest = (dead & SERVER_BIT(id)) != 0 ? nearest_to(k, SERVER_BIT(id)) : 0;
        for (uint32_t i = 0; i < k->domain_count; i++)
            lost[i] |= (nearest & (1U << i)) != 0 ? SERVER_BIT(id) : 0;
        any |= nearest;
    }
    for (uint32_t i = 0; i < k->domain_count; i++)
        if (lost[i] != 0)
            tell_lost(&k->domain[i], lost[i]);
    return any != 0;
}

static void start_all(struct sim_stack *k)
{
    const struct sim_told t = {.what = TELL_START};
    for (uint32_t i = 0; i < k->domain_count; i++)
        if (sim_lives(&k->domain[i]) && k->domain[i].attach_epoch != 0)
            return;
    for (uint32_t i = 0; i < k->domain_count; i++) {
        if (k->domain[i].state == SIM_GRANTED && k->domain[i].start_waits)
            tell(&k->domain[i], &t);
        k->domain[i].start_waits = false;
    }
}

static bool must_know_first(const struct sim_domain *d, uint32_t fresh)
{
    for (uint32_t owner = 0; owner < SERVER_COUNT; owner++) {
        if ((fresh & SERVER_BIT(owner)) == 0 || (topology_neighbours((enum server_id)owner) & d->servers) != 0)
            continue;
        for (uint32_t id = 0; id < SERVER_COUNT; id++)
            if (sim_hosts(d, (enum server_id)id) && topology_maps_pool((enum server_id)id, (enum server_id)owner))
                return true;
    }
    return false;
}

static uint32_t concerns(const struct sim_domain *d)
{
    uint32_t mask = 0;
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        mask |= sim_hosts(d, (enum server_id)id) ? topology_concerns((enum server_id)id) : 0;
    return mask & ~d->servers;
}

static void grant_standby(struct sim_stack *k)
{
    uint32_t fresh = 0, living = servers_alive(k);
    for (uint32_t i = 0; i < k->domain_count; i++)
        if (k->domain[i].state == SIM_STANDBY)
            fresh |= k->domain[i].servers;
    memory_renew(k, fresh);
    for (uint32_t i = 0; i < k->domain_count; i++)
        if (k->domain[i].state == SIM_STANDBY)
            k->domain[i].state = SIM_GRANTED;
    for (uint32_t i = 0; i < k->domain_count; i++) {
        struct sim_domain *d = &k->domain[i];
        if (!sim_lives(d))
            continue;
        d->known = (living | fresh) & concerns(d);
        if (((d->servers | concerns(d)) & fresh) == 0)
            continue;
        struct sim_told t = {.what = TELL_GRANTS, .servers = fresh, .alive = living | fresh};
        for (uint32_t id = 0; id < SIM_SESSIONS; id++) {
            const struct sim_session *s = &k->session[id];
            if (s->state == SESSION_ATTACHING || s->state == SESSION_ACTIVE || s->state == SESSION_ENDING)
                t.granted[id] = (uint8_t)(1 + s->arenas + (s->state == SESSION_ENDING ? GRANTED_ENDING : 0));
        }
        if ((d->servers & fresh) == 0) {
            t.what = TELL_NEWS;
            tell(d, &t);
            t.what = TELL_ATTACHED;
            t.epoch = ++k->epoch;
            d->attach_epoch = must_know_first(d, fresh) ? t.epoch : 0;
        } else {
            d->start_waits = true;
        }
        tell(d, &t);
    }
    start_all(k);
}

void sim_supervisor_advance(struct sim_stack *k)
{
    bool standby = false, all_standby = true;
    start_all(k);
    for (uint32_t i = 0; i < k->domain_count; i++) {
        const struct sim_domain *d = &k->domain[i];
        if (sim_lives(d) && d->ack_epoch != 0)
            return;
        standby = standby || d->state == SIM_STANDBY;
        all_standby = all_standby && d->state == SIM_STANDBY;
    }
    if (tell_next(k))
        return;
    /* the first time all start together */
    if (standby && (k->started || all_standby || servers_alive(k) != 0))
        grant_standby(k);
}

static void spawn(struct sim_domain *d)
{
    d->incarnation++;
    d->known = d->losing = 0;
    d->ack_epoch = d->attach_epoch = 0;
    d->start_waits = false;
    d->state = SIM_SPAWNED;
    d->phase = PHASE_AWAKE;
    d->stillborn = d->stack->started && d->sim->stillborn < SIM_STILLBORN &&
                   sim_chance(&d->sim->random, d->sim->scenario->stillborn);
    d->sim->stillborn += d->stillborn;
    d->spawned_at_us = d->sim->now_us + SPAWN_LEAST_US + sim_below(&d->sim->random, SPAWN_MORE_US);
    if (d->unhealthy > UNHEALTHY_FREE)
        d->spawned_at_us += (uint64_t)BACKOFF_US << (d->unhealthy - UNHEALTHY_FREE - 1);
}

static void session_next(struct sim_stack *k, struct sim_session *s);

/* Perhaps it is its store that it cannot start from. */
static void forget_stores(struct sim_domain *d)
{
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        struct sim_memory *m = &d->stack->memory[id];
        if (!sim_hosts(d, (enum server_id)id) || m->store == NULL)
            continue;
        sim_segment_free(d->sim, m->store);
        m->store = sim_segment_new(d->sim, m->store_octets, d);
        d->sim->cold++;
        d->stack->cold[id]++;
    }
}

static bool keeps_store(const struct sim_domain *d)
{
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        if (sim_hosts(d, (enum server_id)id) && d->stack->memory[id].store != NULL)
            return true;
    return false;
}

void sim_supervisor_died(struct sim_domain *d)
{
    struct sim_stack *k = d->stack;
    bool healthy = d->state == SIM_RUNNING && d->sim->now_us - d->ready_us >= HEALTHY_US;
    d->unhealthy = healthy ? 0 : d->unhealthy + 1;
    if (d->unhealthy == UNHEALTHY_COLD)
        forget_stores(d);
    sim_counters_add(d->sim, d);
    sim_domain_clear(d);
    if ((d->status->sleep & 1) != 0) /* nobody is to believe that it sleeps */
        d->status->sleep++;
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        k->deaths[id] += sim_hosts(d, (enum server_id)id);
    d->state = SIM_DOWN;
    for (uint32_t i = 0; i < SIM_SESSIONS; i++) {
        k->session[i].waiting &= ~(1U << d->index);
        if (k->session[i].state == SESSION_REMOVING && keeps_store(d) && !sim_is_hasty(k->sim))
            k->session[i].unseen |= 1U << d->index;
        session_next(k, &k->session[i]);
    }
    spawn(d);
    sim_supervisor_advance(k);
}

void sim_supervisor_standby(struct sim_domain *d)
{
    d->state = SIM_STANDBY;
    sim_supervisor_advance(d->stack);
}

void sim_supervisor_ready(struct sim_domain *d)
{
    struct sim_stack *k = d->stack;
    bool all = true;
    for (uint32_t i = 0; i < SIM_SESSIONS; i++) {
        struct sim_session *s = &k->session[i];
        if (s->state != SESSION_REMOVING || (s->unseen & 1U << d->index) == 0)
            continue;
        const struct sim_told t = {.what = TELL_REMOVE, .session = i, .epoch = s->epoch};
        s->unseen &= ~(1U << d->index);
        s->waiting |= 1U << d->index;
        tell(d, &t);
    }
    for (uint32_t i = 0; i < k->domain_count; i++)
        all = all && k->domain[i].state == SIM_RUNNING;
    k->started = k->started || all;
}

void sim_supervisor_acknowledged(struct sim_domain *d, uint64_t epoch)
{
    struct sim_stack *k = d->stack;
    if (d->attach_epoch == epoch) {
        d->attach_epoch = 0;
        start_all(k);
    }
    if (d->ack_epoch == epoch) {
        d->known &= ~d->losing;
        d->losing = 0;
        d->ack_epoch = 0;
        sim_supervisor_advance(k);
        return;
    }
    for (uint32_t i = 0; i < SIM_SESSIONS; i++) {
        if (k->session[i].epoch != epoch)
            continue;
        k->session[i].waiting &= ~(1U << d->index);
        session_next(k, &k->session[i]);
    }
}

/* ---- sessions ---- */
static uint32_t tell_living(struct sim_stack *k, const struct sim_told *t, const struct sim_domain *only,
                            const struct sim_domain *without)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < k->domain_count; i++) {
        struct sim_domain *d = &k->domain[i];
        if (!sim_lives(d) || d == without || (only != NULL && d != only))
            continue;
        tell(d, t);
        mask |= 1U << i;
    }
    return mask;
}

static void arena_make(struct sim_stack *k, struct sim_session *s)
{
    enum session_transport transport = s->arenas == 0 ? SESSION_TCP : SESSION_UDP;
    uint32_t most = k->sim->scenario->datagram_most;
    const struct sim_manners *m = &k->sim->scenario->manners[k->index];
    struct sim_arena *a = &s->arena[s->arenas++];
    *a = (struct sim_arena){.transport = transport,
                            .slots = ARENA_SLOTS,
                            .send_size = transport == SESSION_UDP && most > UDP_SMALL ? UDP_SEND_LARGE : ARENA_SEND,
                            .receive_size = transport == SESSION_TCP ? ARENA_RECEIVE
                                            : most > UDP_SMALL       ? UDP_RECEIVE_LARGE
                                                                     : UDP_RECEIVE,
                            .object = k->next_object++};
    if (transport == SESSION_TCP && m->send_size != 0) {
        a->slots = ARENA_SLOTS_WIDE;
        a->send_size = m->send_size;
        a->receive_size = m->receive_size;
    }
    a->send_most = transport != SESSION_TCP || a->send_size > ARENA_MOST ? a->send_size : ARENA_MOST;
    a->receive_most = transport != SESSION_TCP || a->receive_size > ARENA_MOST ? a->receive_size : ARENA_MOST;
    index_take(k, &a->index, &a->generation);
    a->app = sim_segment_new(k->sim, arena_send_octets(a->slots, a->send_most), NULL);
    a->words = sim_segment_new(k->sim, arena_receive_octets(a->slots, a->receive_most),
                               k->memory[topology_transport(transport)].domain);
}

static void session_free(struct sim_stack *k, struct sim_session *s)
{
    for (uint32_t i = 0; i < s->arenas; i++) {
        k->index_used[s->arena[i].index] = false;
        sim_segment_free(k->sim, s->arena[i].app);
        sim_segment_free(k->sim, s->arena[i].words);
    }
    sim_segment_free(k->sim, s->control);
    sim_segment_free(k->sim, s->answer);
    sim_bell_free(k->sim, s->bell);
    *s = (struct sim_session){.id = s->id};
}

/* Everyone who was asked has answered: the next grant, or the end. An arena goes to its transport last. */
static void session_next(struct sim_stack *k, struct sim_session *s)
{
    while (s->waiting == 0 && s->state == SESSION_ATTACHING) {
        struct sim_told t = {.what = TELL_ARENA, .session = s->id, .epoch = ++k->epoch};
        s->epoch = t.epoch;
        if (s->stage == 2 * SIM_ARENAS) {
            s->state = SESSION_ACTIVE;
            return;
        }
        if (s->stage % 2 == 0)
            arena_make(k, s);
        t.arena = s->arenas - 1;
        const struct sim_domain *owner = k->memory[topology_transport(s->arena[t.arena].transport)].domain;
        s->waiting = s->stage++ % 2 == 0 ? tell_living(k, &t, NULL, owner) : tell_living(k, &t, owner, NULL);
    }
    if (s->waiting == 0 && s->unseen == 0 && s->state == SESSION_REMOVING)
        session_free(k, s);
}

struct sim_session *sim_session_attach(struct sim_stack *k)
{
    for (uint32_t i = 0; i < SIM_SESSIONS; i++) {
        struct sim_session *s = &k->session[i];
        if (s->state != SESSION_FREE)
            continue;
        *s = (struct sim_session){
            .state = SESSION_ATTACHING, .id = i, .generation = ++k->sessions_made, .epoch = ++k->epoch};
        s->control = sim_segment_new(k->sim, sizeof *s->control, NULL);
        s->answer = sim_segment_new(k->sim, sizeof *s->answer, k->memory[SERVER_SOCKET].domain);
        s->bell = sim_bell_new(k->sim);
        struct sim_told t = {.what = TELL_SESSION, .session = i, .epoch = s->epoch};
        s->waiting = tell_living(k, &t, NULL, NULL);
        session_next(k, s);
        return s;
    }
    sim_fail(k->sim, "more than %d sessions", SIM_SESSIONS);
}

void sim_session_end(struct sim_stack *k, struct sim_session *s)
{
    struct sim_told t = {.what = TELL_ENDED, .session = s->id};
    s->state = SESSION_ENDING;
    tell_living(k, &t, NULL, NULL);
}

void sim_session_done(void *domain, uint32_t session)
{
    struct sim_stack *k = ((struct sim_domain *)domain)->stack;
    struct sim_session *s = &k->session[session];
    if (session >= SIM_SESSIONS || s->state != SESSION_ENDING)
        return;
    struct sim_told t = {.what = TELL_REMOVE, .session = session, .epoch = ++k->epoch};
    s->state = SESSION_REMOVING;
    s->epoch = t.epoch;
    s->unseen = 0;
    for (uint32_t i = 0; i < k->domain_count && !sim_is_hasty(k->sim); i++)
        if (k->domain[i].state != SIM_RUNNING && keeps_store(&k->domain[i]))
            s->unseen |= 1U << i;
    s->waiting = tell_living(k, &t, NULL, NULL);
    session_next(k, s);
}

void sim_session_force(struct sim_stack *k, struct sim_session *s)
{
    if (s->state != SESSION_ENDING)
        return;
    k->sim->forced++;
    sim_note(k->sim, "%c session %u is ended by force", 'A' + k->index, s->id);
    sim_session_done(&k->domain[0], s->id);
}

void sim_notice(void *domain, enum server_id server, const char *text)
{
    struct sim_domain *d = domain;
    d->sim->conflicts += strstr(text, "conflict") != NULL;
    sim_note(d->sim, "%c %s says: %s", 'A' + d->stack->index, topology_server_name(server), text);
}

/* ---- the stack ---- */
static void domain_make(struct sim_stack *k, uint32_t index)
{
    struct sim_domain *d = &k->domain[index];
    *d = (struct sim_domain){.sim = k->sim, .stack = k, .index = index, .servers = k->partition.domain[index].servers};
    memcpy(d->name, k->partition.domain[index].name, sizeof d->name);
    d->status = sim_segment_new(k->sim, sizeof *d->status, NULL);
    d->bell = sim_bell_new(k->sim);
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        if (!sim_hosts(d, (enum server_id)id))
            continue;
        struct sim_memory *m = &k->memory[id];
        const struct server *server = servers[id];
        m->domain = d;
        m->pool_octets = server->pool_buffers * server->pool_buffer_octets + server->pool_extra_octets;
        m->store_octets = server->store_size != NULL ? server->store_size() : 0;
        m->store = m->store_octets > 0 ? sim_segment_new(k->sim, m->store_octets, d) : NULL;
        d->counter[id] = sim_segment_new(k->sim, STATUS_COUNTERS * sizeof *d->counter[id], NULL);
    }
}

void sim_stack_start(struct sim_stack *k)
{
    k->next_object = 1;
    k->domain_count = k->partition.count;
    for (uint32_t i = 0; i < k->domain_count; i++)
        domain_make(k, i);
    for (uint32_t i = 0; i < k->domain_count; i++)
        spawn(&k->domain[i]);
}

void sim_stack_free(struct sim_stack *k)
{
    for (uint32_t i = 0; i < SIM_SESSIONS; i++)
        if (k->session[i].state != SESSION_FREE)
            session_free(k, &k->session[i]);
    for (uint32_t i = 0; i < k->domain_count; i++) {
        sim_domain_clear(&k->domain[i]);
        sim_bell_free(k->sim, k->domain[i].bell);
    }
}
