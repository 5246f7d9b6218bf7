// SPDX-License-Identifier: BSD-2-Clause
/* A domain's part of what the supervisor says: channels, table entries, sessions, and the death of a peer. The order of
 * things is that of servers/domain/{grants,objects,sessions,barrier}.c; memory is at hand instead of being mapped. */
#include "tests/sim/sim.h"

#define DRAIN_ROUNDS 64 /* as in servers/domain/barrier.c */

/* ---- channels ---- */
void sim_take_staged(struct sim_port *p)
{
    if (p->staged[0] == NULL)
        return;
    port_detach(&p->port);
    port_attach(&p->port, p->staged[0], p->staged[1], p->staged_bell);
    p->staged[0] = NULL;
}

static void stage_local(struct sim_domain *d, struct sim_port *one, struct sim_port *other)
{
    if (one->staged[0] != NULL || one->port.attached)
        return;
    struct ring_half *half[2] = {sim_private(d, sizeof **half), sim_private(d, sizeof **half)};
    one->staged[0] = other->staged[1] = half[0];
    one->staged[1] = other->staged[0] = half[1];
    one->staged_bell = other->staged_bell = NULL;
}

void sim_stage_channels(struct sim_domain *d, uint32_t fresh, uint32_t alive)
{
    struct sim_stack *k = d->stack;
    for (uint32_t i = 0; i < TOPOLOGY_CHANNELS; i++) {
        const enum server_id *end = topology_channel[i].end;
        if (((SERVER_BIT(end[0]) | SERVER_BIT(end[1])) & fresh) == 0)
            continue;
        for (uint32_t side = 0; side < 2; side++) {
            struct sim_domain *peer = k->memory[end[1 - side]].domain;
            if (!sim_hosts(d, end[side]) || (peer->servers & alive) == 0)
                continue;
            struct sim_port *p = d->life->server[end[side]].port[end[1 - side]];
            if (peer == d) {
                stage_local(d, p, d->life->server[end[1 - side]].port[end[side]]);
                continue;
            }
            p->staged[0] = k->half[i][side];
            p->staged[1] = k->half[i][1 - side];
            p->staged_bell = &d->life->bell[peer->index];
        }
    }
}

/* ---- table entries ---- */
static void grant(struct sim_domain *d, enum server_id server, enum server_id peer, uint16_t index,
                  const struct capability *entry)
{
    if (!capability_grant(&d->life->server[server].port[peer]->port.table, index, entry))
        sim_fail(d->sim, "capability index %u", index);
}

static void entries_of_rights(struct sim_domain *d, uint32_t fresh)
{
    const struct stack_config *config = &d->stack->config;
    for (uint32_t i = 0; i < TOPOLOGY_RIGHTS; i++) {
        const struct topology_right *row = &topology_right[i];
        if (!sim_hosts(d, row->server) || ((SERVER_BIT(row->server) | SERVER_BIT(row->peer)) & fresh) == 0)
            continue;
        struct capability entry = {
            .type = row->type, .generation = 1, .rights = row->rights, .protocol = row->protocol};
        if (row->type == CAPABILITY_LINK)
            entry.mac = config->mac,
            entry.ethertypes = CAPABILITY_ETHER_IP4 | CAPABILITY_ETHER_ARP | CAPABILITY_ETHER_IP6;
        for (uint32_t a = 0; row->type == CAPABILITY_TRANSPORT && a < config->address_count; a++)
            entry.address[entry.address_count++] = config->address[a];
        grant(d, row->server, row->peer, CAPABILITY_INDEX_PEER, &entry);
    }
}

static void entries_of_pools(struct sim_domain *d, uint32_t fresh, uint32_t alive)
{
    for (uint32_t i = 0; i < TOPOLOGY_POOLS; i++) {
        const struct topology_pool *row = &topology_pool[i];
        const struct sim_memory *m = &d->stack->memory[row->owner];
        uint32_t concerned = SERVER_BIT(row->server) | SERVER_BIT(row->peer) | SERVER_BIT(row->owner);
        if (!sim_hosts(d, row->server) || (concerned & fresh) == 0 || (m->domain->servers & alive) == 0 ||
            m->pool == NULL)
            continue;
        struct capability entry = {.type = CAPABILITY_POOL,
                                   .generation = m->generation,
                                   .rights = CAPABILITY_READ,
                                   .object = m->object,
                                   .size = m->pool_octets,
                                   .base = m->pool};
        grant(d, row->server, row->peer, m->index, &entry);
    }
}

static void entries_of_arena(struct sim_domain *d, const struct sim_arena *a, uint32_t fresh)
{
    for (uint32_t i = 0; i < TOPOLOGY_ARENAS; i++) {
        const struct topology_arena *row = &topology_arena[i];
        if (row->transport != a->transport || !sim_hosts(d, row->server) ||
            ((SERVER_BIT(row->server) | SERVER_BIT(row->peer)) & fresh) == 0)
            continue;
        struct capability entry = {.type = CAPABILITY_POOL,
                                   .generation = a->generation,
                                   .rights = CAPABILITY_READ,
                                   .object = a->object,
                                   .size = (uint32_t)arena_send_octets(a->slots, a->send_most),
                                   .base = row->mapped ? (const uint8_t *)a->app : NULL};
        grant(d, row->server, row->peer, a->index, &entry);
    }
}

void sim_entries(struct sim_domain *d, uint32_t fresh, uint32_t alive)
{
    entries_of_rights(d, fresh);
    entries_of_pools(d, fresh, alive);
    for (uint32_t id = 0; id < SIM_SESSIONS; id++) {
        const struct sim_session *s = &d->stack->session[id];
        bool there = s->state == SESSION_ATTACHING || s->state == SESSION_ACTIVE || s->state == SESSION_ENDING;
        for (uint32_t i = 0; there && i < s->arenas; i++)
            entries_of_arena(d, &s->arena[i], fresh);
    }
}

static void revoke(struct sim_domain *d, uint32_t object)
{
    for (uint32_t p = 0; p < d->life->port_count; p++) {
        struct capability_table *table = &d->life->port[p]->port.table;
        for (uint16_t i = CAPABILITY_INDEX_DYNAMIC; i < d->stack->index_high; i++) /* those from here on never were */
            if (table->entry[i].type == CAPABILITY_POOL && table->entry[i].object == object)
                capability_revoke(table, i);
    }
}

/* ---- sessions ---- */
typedef void session_call(void *state, uint32_t session);

static void call_servers(struct sim_domain *d, size_t which, uint32_t session)
{
    for (uint32_t id = 0; id < SERVER_COUNT && d->life->started; id++) {
        const struct sim_server *at = &d->life->server[id];
        if (at->server == NULL)
            continue;
        session_call *const call = *(session_call *const *)((const char *)at->server + which);
        if (call != NULL)
            call(at->state, session);
        sim_point(d);
    }
}

void sim_told_session(struct sim_domain *d, uint32_t id, bool ending)
{
    const struct sim_session *from = &d->stack->session[id];
    if (!sim_hosts(d, SERVER_SOCKET) && !sim_hosts(d, SERVER_TCP) && !sim_hosts(d, SERVER_UDP))
        return;
    struct session *s = &d->life->session[id];
    *s = (struct session){.present = true,
                          .ending = ending,
                          .id = id,
                          .generation = from->generation,
                          .socket_quota = 64,
                          .control = from->control,
                          .answer = sim_hosts(d, SERVER_SOCKET) ? from->answer : NULL,
                          .bell = {.fd = from->bell, .sleep = &from->control->sleep}};
    policy_list_all(&s->bind);
    policy_list_all(&s->connect);
    call_servers(d, offsetof(struct server, session_added), id);
}

void sim_told_arena(struct sim_domain *d, uint32_t id, uint32_t arena)
{
    const struct sim_arena *from = &d->stack->session[id].arena[arena];
    struct session *s = &d->life->session[id];
    entries_of_arena(d, from, SERVERS_ALL);
    if (!s->present)
        return;
    bool owner = sim_hosts(d, topology_transport(from->transport)), mapped = owner;
    for (uint32_t i = 0; i < TOPOLOGY_ARENAS; i++)
        mapped = mapped || (topology_arena[i].transport == from->transport && topology_arena[i].mapped &&
                            sim_hosts(d, topology_arena[i].server));
    s->arena[arena] = (struct session_arena){.transport = from->transport,
                                             .slots = from->slots,
                                             .send_size = from->send_size,
                                             .receive_size = from->receive_size,
                                             .send_most = from->send_most,
                                             .receive_most = from->receive_most,
                                             .app = mapped ? from->app : NULL,
                                             .transport_words = owner ? from->words : NULL,
                                             .capability = from->index,
                                             .capability_generation = from->generation};
    call_servers(d, offsetof(struct server, session_added), id);
}

void sim_told_ended(struct sim_domain *d, uint32_t id)
{
    struct session *s = &d->life->session[id];
    if (!s->present || s->ending)
        return;
    s->ending = true;
    call_servers(d, offsetof(struct server, session_ended), id);
}

void sim_told_remove(struct sim_domain *d, uint32_t id)
{
    call_servers(d, offsetof(struct server, session_removed), id);
    d->life->session[id] = (struct session){.present = false};
    for (uint32_t i = 0; i < d->stack->session[id].arenas; i++)
        revoke(d, d->stack->session[id].arena[i].object);
    sim_domain_settle(d);
}

/* ---- a peer's death and its successor ---- */
void sim_told_lost(struct sim_domain *d, const struct sim_told *t)
{
    for (uint32_t i = 0; d->life->started && i < DRAIN_ROUNDS && sim_domain_round(d); i++)
        ;
    for (uint32_t p = 0; p < d->life->port_count; p++) {
        struct sim_port *port = d->life->port[p];
        if ((t->servers & SERVER_BIT(port->peer)) == 0)
            continue;
        port_detach(&port->port);
        port->staged[0] = NULL;
    }
    for (uint32_t id = 0; id < SERVER_COUNT && d->life->started; id++) {
        const struct sim_server *at = &d->life->server[id];
        for (uint32_t lost = 0; at->server != NULL && at->server->peer_lost != NULL && lost < SERVER_COUNT; lost++) {
            if ((t->servers & SERVER_BIT(lost)) == 0)
                continue;
            sim_point(d);
            at->server->peer_lost(at->state, (enum server_id)lost);
        }
    }
    for (uint32_t i = 0; i < t->objects; i++)
        revoke(d, t->object[i]);
    sim_domain_settle(d);
}

void sim_told_attached(struct sim_domain *d, const struct sim_told *t)
{
    for (uint32_t p = 0; p < d->life->port_count; p++)
        if ((t->servers & SERVER_BIT(d->life->port[p]->peer)) != 0)
            sim_take_staged(d->life->port[p]);
    for (uint32_t id = 0; id < SERVER_COUNT && d->life->started; id++) {
        const struct sim_server *at = &d->life->server[id];
        for (uint32_t peer = 0; at->server != NULL && at->server->peer_attached != NULL && peer < SERVER_COUNT;
             peer++) {
            if ((t->servers & SERVER_BIT(peer)) == 0)
                continue;
            sim_point(d);
            at->server->peer_attached(at->state, (enum server_id)peer, d->sim->now_us);
        }
    }
    sim_domain_settle(d);
}
