// SPDX-License-Identifier: BSD-2-Clause
/* What a domain gets. All of it follows from the topology table: a new incarnation gets every row that concerns its
 * servers, a survivor the rows that concern the servers in `fresh`. Descriptors are read-only unless the domain is the
 * one writer, and every holder of a doorbell has an open file of its own. */
#include <errno.h>
#include <string.h>

#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"

#define MESSAGE(name, WHAT)                                                                                            \
    to_domain name = BULKHEAD__CONTROL__TO_DOMAIN__INIT;                                                               \
    name.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_##WHAT

typedef Bulkhead__Control__Address control_address;

struct address_list { /* protobuf wants pointers to structs */
    control_address address[STACK_ADDRESSES_MAX];
    control_address *pointer[STACK_ADDRESSES_MAX];
};

static void address_fill(control_address *to, const struct ip_address *from, uint8_t prefix_length)
{
    *to = (control_address)BULKHEAD__CONTROL__ADDRESS__INIT;
    to->family = from->family;
    to->octets.data = (uint8_t *)from->octets;
    to->octets.len = from->family == ADDRESS_IP4 ? 4 : from->family == ADDRESS_IP6 ? 16 : 0;
    to->prefix_length = prefix_length;
}

static uint32_t addresses_fill(const struct supervisor *s, struct address_list *list)
{
    for (uint32_t i = 0; i < s->options.address_count; i++) {
        address_fill(&list->address[i], &s->options.address[i], s->options.prefix_length[i]);
        list->pointer[i] = &list->address[i];
    }
    return s->options.address_count;
}

struct route_list {
    control_address prefix[STACK_ROUTES_MAX], gateway[STACK_ROUTES_MAX];
    Bulkhead__Control__Route route[STACK_ROUTES_MAX];
    Bulkhead__Control__Route *pointer[STACK_ROUTES_MAX];
};

static uint32_t routes_fill(const struct supervisor *s, struct route_list *list)
{
    for (uint32_t i = 0; i < s->options.route_count; i++) {
        const struct stack_route *route = &s->options.route[i];
        address_fill(&list->prefix[i], &route->prefix, route->prefix_length);
        address_fill(&list->gateway[i], &route->gateway, 0);
        list->route[i] = (Bulkhead__Control__Route)BULKHEAD__CONTROL__ROUTE__INIT;
        list->route[i].prefix = &list->prefix[i];
        list->route[i].gateway = &list->gateway[i];
        list->pointer[i] = &list->route[i];
    }
    return s->options.route_count;
}

static void configure(struct supervisor *s, struct domain *d)
{
    Bulkhead__Control__Configure what = BULKHEAD__CONTROL__CONFIGURE__INIT;
    MESSAGE(message, CONFIGURE);
    message.configure = &what;
    struct address_list list;
    struct route_list routes;
    control_address gateway[2], *gateways[2];
    what.incarnation = d->incarnation;
    what.n_address = addresses_fill(s, &list);
    what.address = list.pointer;
    for (unsigned i = 0; i < 2; i++) {
        address_fill(&gateway[i], &s->options.gateway[i], 0);
        gateways[i] = &gateway[i];
    }
    what.gateway = gateways;
    what.n_gateway = 2;
    what.n_route = routes_fill(s, &routes);
    what.route = routes.pointer;
    what.dad = s->options.dad;
    what.mac = (ProtobufCBinaryData){sizeof s->mac.octets, s->mac.octets};
    what.mtu = s->mtu;
    what.secret = (ProtobufCBinaryData){sizeof s->secret, s->secret};
    what.status_fd = 0;
    what.counter_fd = 1;
    what.doorbell_fd = 2;
    int fd[] = {d->status_fd, d->counter_fd, pipe_reopen(d->bell_read, false)};
    control_send(s, d, &message, fd, 3, 1U << 2);
}

static void bells(struct supervisor *s, struct domain *d)
{
    uint32_t neighbours = 0;
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        if ((d->servers & SERVER_BIT(id)) != 0)
            neighbours |= topology_neighbours((enum server_id)id);
    }
    for (uint32_t i = 0; i < s->domain_count; i++) {
        const struct domain *other = &s->domain[i];
        if (other == d || (other->servers & neighbours) == 0)
            continue;
        Bulkhead__Control__Bell what = BULKHEAD__CONTROL__BELL__INIT;
        MESSAGE(message, BELL);
        message.bell = &what;
        what.domain = i;
        what.fd = 0;
        what.status_fd = 1;
        int fd[] = {pipe_reopen(other->bell_write, true), segment_read_only(other->status_fd)};
        control_send(s, d, &message, fd, 2, 3);
    }
}

static bool hosts(const struct domain *d, enum server_id server)
{
    return (d->servers & SERVER_BIT(server)) != 0;
}

static bool alive(const struct supervisor *s, enum server_id server)
{
    return domain_lives(s->server[server].domain);
}

static void channel_end(struct supervisor *s, struct domain *d, unsigned index, unsigned side)
{
    const struct channel_memory *memory = &s->channel[index];
    enum server_id server = topology_channel[index].end[side], peer = topology_channel[index].end[1 - side];
    Bulkhead__Control__Channel what = BULKHEAD__CONTROL__CHANNEL__INIT;
    MESSAGE(message, CHANNEL);
    message.channel = &what;
    what.server = server;
    what.peer = peer;
    what.peer_domain = s->server[peer].domain->index;
    what.local = s->server[peer].domain == d;
    if (what.local) {
        what.mine_fd = what.peer_fd = -1;
        control_send(s, d, &message, NULL, 0, 0);
        return;
    }
    what.mine_fd = 0;
    what.peer_fd = 1;
    int fd[] = {memory->half[side], segment_read_only(memory->half[1 - side])};
    control_send(s, d, &message, fd, 2, 2);
}

static void channels(struct supervisor *s, struct domain *d, uint32_t fresh)
{
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++) {
        const enum server_id *end = topology_channel[i].end;
        if (((SERVER_BIT(end[0]) | SERVER_BIT(end[1])) & fresh) == 0 || !alive(s, end[0]) || !alive(s, end[1]))
            continue;
        for (unsigned side = 0; side < 2; side++) {
            if (hosts(d, end[side]))
                channel_end(s, d, i, side);
        }
    }
}

static void pool(struct supervisor *s, struct domain *d, enum server_id owner)
{
    const struct server_memory *memory = &s->server[owner];
    Bulkhead__Control__Pool what = BULKHEAD__CONTROL__POOL__INIT;
    MESSAGE(message, POOL);
    message.pool = &what;
    what.object = memory->pool_object;
    what.owner = owner;
    what.octets = memory->pool_octets;
    what.writable = hosts(d, owner);
    what.index = memory->pool_index;
    what.generation = memory->pool_generation;
    what.fd = 0;
    int fd = what.writable ? memory->pool : segment_read_only(memory->pool);
    control_send(s, d, &message, &fd, 1, what.writable ? 0 : 1);
}

static void pools(struct supervisor *s, struct domain *d, uint32_t fresh)
{
    for (unsigned owner = 0; owner < SERVER_COUNT; owner++) {
        bool maps = false;
        for (unsigned id = 0; id < SERVER_COUNT; id++)
            maps =
                maps || (hosts(d, (enum server_id)id) && topology_maps_pool((enum server_id)id, (enum server_id)owner));
        bool news = ((SERVER_BIT(owner) | d->servers) & fresh) != 0;
        if (maps && news && s->server[owner].pool >= 0 && alive(s, (enum server_id)owner))
            pool(s, d, (enum server_id)owner);
    }
}

static void entry_send(struct supervisor *s, struct domain *d, Bulkhead__Control__Capability *what)
{
    MESSAGE(message, CAPABILITY);
    message.capability = what;
    control_send(s, d, &message, NULL, 0, 0);
}

static void right_entries(struct supervisor *s, struct domain *d, uint32_t fresh)
{
    struct address_list list;
    uint32_t addresses = addresses_fill(s, &list);
    for (unsigned i = 0; i < TOPOLOGY_RIGHTS; i++) {
        const struct topology_right *row = &topology_right[i];
        if (!hosts(d, row->server) || ((SERVER_BIT(row->server) | SERVER_BIT(row->peer)) & fresh) == 0)
            continue;
        Bulkhead__Control__Capability what = BULKHEAD__CONTROL__CAPABILITY__INIT;
        what.server = row->server;
        what.peer = row->peer;
        what.index = CAPABILITY_INDEX_PEER;
        what.generation = 1;
        what.type = row->type;
        what.rights = row->rights;
        what.protocol = row->protocol;
        if (row->type == CAPABILITY_LINK)
            what.mac = (ProtobufCBinaryData){sizeof s->mac.octets, s->mac.octets};
        if (row->type == CAPABILITY_TRANSPORT) {
            what.n_address = addresses;
            what.address = list.pointer;
        }
        entry_send(s, d, &what);
    }
}

static void pool_entries(struct supervisor *s, struct domain *d, uint32_t fresh)
{
    for (unsigned i = 0; i < TOPOLOGY_POOLS; i++) {
        const struct topology_pool *row = &topology_pool[i];
        const struct server_memory *memory = &s->server[row->owner];
        uint32_t concerned = SERVER_BIT(row->server) | SERVER_BIT(row->peer) | SERVER_BIT(row->owner);
        if (!hosts(d, row->server) || (concerned & fresh) == 0 || !alive(s, row->owner) || memory->pool < 0)
            continue;
        Bulkhead__Control__Capability what = BULKHEAD__CONTROL__CAPABILITY__INIT;
        what.server = row->server;
        what.peer = row->peer;
        what.index = memory->pool_index;
        what.generation = memory->pool_generation;
        what.type = CAPABILITY_POOL;
        what.rights = CAPABILITY_READ;
        what.object = memory->pool_object;
        what.size = memory->pool_octets;
        what.mapped = true;
        entry_send(s, d, &what);
    }
}

static void arena_entries(struct supervisor *s, struct domain *d, const struct arena_memory *arena, uint32_t fresh)
{
    for (unsigned i = 0; i < TOPOLOGY_ARENAS; i++) {
        const struct topology_arena *row = &topology_arena[i];
        if (row->transport != arena->transport || !hosts(d, row->server) ||
            ((SERVER_BIT(row->server) | SERVER_BIT(row->peer)) & fresh) == 0)
            continue;
        Bulkhead__Control__Capability what = BULKHEAD__CONTROL__CAPABILITY__INIT;
        what.server = row->server;
        what.peer = row->peer;
        what.index = arena->index;
        what.generation = arena->generation;
        what.type = CAPABILITY_POOL;
        what.rights = CAPABILITY_READ;
        what.object = arena->object;
        what.size = (uint32_t)arena_send_octets(arena->slots, arena->send_size);
        what.mapped = row->mapped;
        entry_send(s, d, &what);
    }
}

static void arena_memory_send(struct supervisor *s, struct domain *d, const struct session_memory *session,
                              uint32_t index)
{
    const struct arena_memory *arena = &session->arena[index];
    bool owner = hosts(d, topology_transport(arena->transport)), named = owner, mapped = owner;
    for (unsigned i = 0; i < TOPOLOGY_ARENAS; i++) {
        bool here = topology_arena[i].transport == arena->transport && hosts(d, topology_arena[i].server);
        named = named || here;
        mapped = mapped || (here && topology_arena[i].mapped);
    }
    if (!named)
        return;
    Bulkhead__Control__Arena what = BULKHEAD__CONTROL__ARENA__INIT;
    MESSAGE(message, ARENA);
    message.arena = &what;
    what.session = session->id;
    what.arena = index;
    what.transport = arena->transport;
    what.slots = arena->slots;
    what.send_size = arena->send_size;
    what.receive_size = arena->receive_size;
    what.object = arena->object;
    what.index = arena->index;
    what.generation = arena->generation;
    what.app_fd = mapped ? 0 : -1;
    what.transport_fd = owner ? 1 : -1;
    int fd[2] = {arena->app, arena->words};
    control_send(s, d, &message, fd, (uint32_t)mapped + owner, 0);
}

void grant_arena(struct supervisor *s, struct domain *d, const struct session_memory *session, uint32_t index)
{
    arena_memory_send(s, d, session, index);
    arena_entries(s, d, &session->arena[index], SERVERS_ALL);
}

void grant_session(struct supervisor *s, struct domain *d, const struct session_memory *session)
{
    bool answers = hosts(d, SERVER_SOCKET);
    if (!answers && !hosts(d, SERVER_TCP) && !hosts(d, SERVER_UDP))
        return;
    Bulkhead__Control__Session what = BULKHEAD__CONTROL__SESSION__INIT;
    MESSAGE(message, SESSION);
    message.session = &what;
    what.id = session->id;
    what.uid = session->uid;
    what.pid = session->pid;
    what.socket_quota = SESSION_SOCKETS;
    what.ending = session->state == SESSION_ENDING;
    what.control_fd = 0;
    what.bell_fd = 1;
    what.answer_fd = answers ? 2 : -1;
    int fd[3] = {session->control, pipe_reopen(session->bell_write, true), session->answer};
    if (fd[1] >= 0) {
        control_send(s, d, &message, fd, answers ? 3 : 2, 1U << 1);
        return;
    }
    what.control_fd = what.bell_fd = what.answer_fd = -1; /* no descriptors left: a session without memory, no death */
    control_send(s, d, &message, NULL, 0, 0);
}

static void sessions(struct supervisor *s, struct domain *d)
{
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        const struct session_memory *session = &s->session[id];
        if (session->state != SESSION_ACTIVE && session->state != SESSION_ENDING)
            continue;
        grant_session(s, d, session);
        for (uint32_t i = 0; i < session->arenas; i++)
            grant_arena(s, d, session, i);
    }
}

static void stores(struct supervisor *s, struct domain *d)
{
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        if (!hosts(d, (enum server_id)id) || s->server[id].store < 0)
            continue;
        Bulkhead__Control__Store what = BULKHEAD__CONTROL__STORE__INIT;
        MESSAGE(message, STORE);
        message.store = &what;
        what.server = id;
        what.octets = s->server[id].store_octets;
        what.fd = 0;
        control_send(s, d, &message, &s->server[id].store, 1, 0);
    }
}

static void device(struct supervisor *s, struct domain *d)
{
    if (!hosts(d, SERVER_NIC))
        return;
    Bulkhead__Control__Device what = BULKHEAD__CONTROL__DEVICE__INIT;
    MESSAGE(message, DEVICE);
    message.device = &what;
    what.server = SERVER_NIC;
    what.fd = 0;
    control_send(s, d, &message, &s->device, 1, 0);
}

/* All but Start: barrier_start(). */
static void grant_all(struct supervisor *s, struct domain *d)
{
    configure(s, d);
    bells(s, d);
    channels(s, d, d->servers);
    right_entries(s, d, d->servers);
    pools(s, d, d->servers);
    pool_entries(s, d, d->servers);
    stores(s, d);
    device(s, d);
    sessions(s, d);
    d->start_waits = true;
}

/* Somebody between them may pass on what names a buffer of a fresh pool before this one has looked at its grants. */
static bool must_know_first(const struct domain *d, uint32_t fresh)
{
    for (unsigned owner = 0; owner < SERVER_COUNT; owner++) {
        if ((fresh & SERVER_BIT(owner)) == 0 || (topology_neighbours((enum server_id)owner) & d->servers) != 0)
            continue;
        for (unsigned id = 0; id < SERVER_COUNT; id++) {
            if (hosts(d, (enum server_id)id) && topology_maps_pool((enum server_id)id, (enum server_id)owner))
                return true;
        }
    }
    return false;
}

static void grant_news(struct supervisor *s, struct domain *d, uint32_t fresh)
{
    channels(s, d, fresh);
    right_entries(s, d, fresh);
    pools(s, d, fresh);
    pool_entries(s, d, fresh);
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        const struct session_memory *session = &s->session[id];
        for (uint32_t i = 0; i < session->arenas && session->state != SESSION_REMOVING; i++)
            arena_entries(s, d, &session->arena[i], fresh);
    }
    Bulkhead__Control__PeerAttached what = BULKHEAD__CONTROL__PEER_ATTACHED__INIT;
    MESSAGE(message, PEER_ATTACHED);
    uint32_t servers[SERVER_COUNT];
    message.peer_attached = &what;
    what.epoch = ++s->epoch;
    what.servers = servers;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        if ((fresh & SERVER_BIT(id)) != 0)
            servers[what.n_servers++] = id;
    }
    control_send(s, d, &message, NULL, 0, 0);
    if (must_know_first(d, fresh)) {
        d->attach_epoch = what.epoch;
        d->attach_deadline_us = now_us() + ACKNOWLEDGE_US;
    }
}

void grant_standby(struct supervisor *s)
{
    uint32_t fresh = 0, living = 0;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (s->domain[i].state == DOMAIN_STANDBY)
            fresh |= s->domain[i].servers;
        if (domain_lives(&s->domain[i]))
            living |= s->domain[i].servers;
    }
    int result = memory_renew(s, fresh);
    uint64_t now = now_us();
    for (uint32_t i = 0; i < s->domain_count; i++) {
        struct domain *d = &s->domain[i];
        if (d->state == DOMAIN_STANDBY && result < 0) {
            text_copy(d->last_words, sizeof d->last_words, strerror(-result), EVENT_TEXT);
            domain_kill(d, FAULT_GRANT);
        } else if (d->state == DOMAIN_STANDBY) {
            d->state = DOMAIN_GRANTED;
            d->granted_us = now;
            d->deadline_us = now + START_US;
        }
    }
    for (uint32_t i = 0; i < s->domain_count && result == 0; i++) {
        struct domain *d = &s->domain[i];
        if (!domain_lives(d))
            continue;
        if ((d->servers & fresh) != 0)
            grant_all(s, d);
        else
            grant_news(s, d, fresh);
        d->known = (living | fresh) & ~d->servers;
    }
    barrier_start(s);
}
