// SPDX-License-Identifier: BSD-2-Clause
/* What a domain gets. All of it follows from the topology table: a new incarnation gets every row that concerns its
 * servers, a survivor the rows that concern the servers in `fresh`. Nothing is sent but by a node of the registry
 * (rights.c), and the node says what: descriptors are read-only unless it has WRITE, which the one writer's has. Every
 * holder of a doorbell has an open file of its own. What may not be had is not sent; a domain that cannot be without it
 * is killed by that (control_send). */
#include <errno.h>
#include <string.h>

#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"

#define ENTRY_OCTETS 40 /* of an arena's entry in a message, at most */
#define ENTRIES_MAX  48
_Static_assert(ENTRIES_MAX *ENTRY_OCTETS <= CONTROL_OCTETS_MAX, "they fit into one");

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

/* The descriptor by which `holder` gets this segment. */
static int segment_by(const struct registry_node *node, int fd, uint32_t *owned, uint32_t place)
{
    if (node == NULL)
        return -EACCES;
    if ((node->grant.rights & CAPABILITY_WRITE) != 0)
        return fd;
    *owned |= 1U << place;
    return segment_read_only(fd);
}

static int bell_by(const struct registry_node *node, const struct domain *d)
{
    if (node == NULL)
        return -EACCES;
    bool waits = (node->grant.rights & CAPABILITY_RECEIVE) != 0;
    return pipe_reopen(waits ? d->bell_read : d->bell_write, !waits);
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
    what.ecn = s->options.ecn;
    what.congestion = s->options.congestion;
    what.recovery = s->options.recovery;
    what.no_commit = s->options.no_commit;
    what.mac = (ProtobufCBinaryData){sizeof s->mac.octets, s->mac.octets};
    what.mtu = s->mtu;
    what.secret = (ProtobufCBinaryData){sizeof s->secret, s->secret};
    Bulkhead__Control__Suspect suspect[SUSPECTS_TOLD], *suspects[SUSPECTS_TOLD];
    what.n_suspect = health_suspects(s, d, suspect, SUSPECTS_TOLD);
    for (size_t i = 0; i < what.n_suspect; i++)
        suspects[i] = &suspect[i];
    what.suspect = suspects;
    what.status_fd = 0;
    what.counter_fd = 1;
    what.doorbell_fd = 2;
    what.crash_fd = 3;
    const uint32_t rights = CAPABILITY_READ | CAPABILITY_WRITE;
    uint32_t owned = 1U << 2;
    int fd[] = {segment_by(rights_have(s, d->status_node, d->index, rights), d->status_fd, &owned, 0),
                segment_by(rights_have(s, d->counter_node, d->index, rights), d->counter_fd, &owned, 1),
                bell_by(rights_have(s, d->bell_node, d->index, CAPABILITY_RECEIVE), d),
                segment_by(rights_have(s, d->crash_node, d->index, rights), d->crash_fd, &owned, 3)};
    control_send(s, d, &message, fd, 4, owned);
}

/* What else it is woken by. */
static void slots(struct supervisor *s, struct domain *d)
{
    for (uint32_t left = layout_slots(d->servers) & ~SERVER_BIT(d->primary); left != 0; left &= left - 1) {
        const struct slot *slot = &s->slot[__builtin_ctz(left)];
        Bulkhead__Control__Slot what = BULKHEAD__CONTROL__SLOT__INIT;
        MESSAGE(message, SLOT);
        message.slot = &what;
        what.status_fd = 0;
        what.doorbell_fd = 1;
        bool may = rights_have(s, slot->status_node, d->index, CAPABILITY_READ | CAPABILITY_WRITE) != NULL &&
                   rights_have(s, slot->bell_node, d->index, CAPABILITY_RECEIVE) != NULL;
        int fd[] = {may ? slot->status_fd : -EACCES, may ? pipe_reopen(slot->bell_read, false) : -EACCES};
        control_send(s, d, &message, fd, 2, 1U << 1);
    }
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
        uint32_t owned = 3;
        int fd[] = {
            bell_by(rights_have(s, other->bell_node, d->index, CAPABILITY_SEND), other),
            segment_by(rights_have(s, other->status_node, d->index, CAPABILITY_READ), other->status_fd, &owned, 1)};
        control_send(s, d, &message, fd, 2, owned);
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
    const struct registry_node *mine = rights_have(s, memory->node[side], d->index, CAPABILITY_READ | CAPABILITY_WRITE);
    const struct registry_node *theirs = rights_have(s, memory->node[1 - side], d->index, CAPABILITY_READ);
    uint32_t owned = 0;
    int fd[] = {segment_by(mine, memory->half[side], &owned, 0), segment_by(theirs, memory->half[1 - side], &owned, 1)};
    control_send(s, d, &message, fd, 2, owned);
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
    const struct registry_node *node = rights_pool(s, d, owner);
    Bulkhead__Control__Pool what = BULKHEAD__CONTROL__POOL__INIT;
    MESSAGE(message, POOL);
    message.pool = &what;
    what.owner = owner;
    if (node != NULL) {
        what.object = node->grant.object;
        what.octets = (uint32_t)node->grant.length;
        what.writable = (node->grant.rights & CAPABILITY_WRITE) != 0;
    }
    what.index = memory->pool_index;
    what.generation = memory->pool_generation;
    what.fd = 0;
    uint32_t owned = 0;
    int fd = segment_by(node, memory->pool, &owned, 0);
    control_send(s, d, &message, &fd, 1, owned);
}

static void pools(struct supervisor *s, struct domain *d, uint32_t fresh)
{
    for (unsigned owner = 0; owner < SERVER_COUNT; owner++) {
        bool maps = false;
        for (unsigned id = 0; id < SERVER_COUNT; id++)
            maps =
                maps || (hosts(d, (enum server_id)id) && topology_maps_pool((enum server_id)id, (enum server_id)owner));
        bool news = ((SERVER_BIT(owner) | d->servers) & fresh) != 0;
        if (!maps || s->server[owner].pool < 0 || !alive(s, (enum server_id)owner))
            continue;
        if (news)
            pool(s, d, (enum server_id)owner);
        else
            rights_pool(s, d, (enum server_id)owner); /* has it; by way of whoever is back */
    }
}

/* The entry of a table that `node` stands for; what a node does not know is in `what` already. */
static void entry_fill(const struct registry_node *node, Bulkhead__Control__Capability *what)
{
    what->server = node->grant.table / SERVER_COUNT;
    what->peer = node->grant.table % SERVER_COUNT;
    what->index = node->grant.index;
    what->generation = node->grant.generation;
    what->rights = node->grant.rights;
    what->protocol = node->grant.protocol;
    if (what->type == CAPABILITY_POOL) {
        what->object = node->grant.object;
        what->size = (uint32_t)node->grant.length;
    }
}

static void entry_send(struct supervisor *s, struct domain *d, const struct registry_node *node,
                       Bulkhead__Control__Capability *what)
{
    if (node == NULL)
        return; /* revoked there */
    MESSAGE(message, CAPABILITY);
    message.capability = what;
    entry_fill(node, what);
    control_send(s, d, &message, NULL, 0, 0);
}

/* Those of arenas go together: with many sessions they are most of what a restart has to say. */
struct entry_list {
    Bulkhead__Control__Capability entry[ENTRIES_MAX], *pointer[ENTRIES_MAX];
    uint32_t count;
};

static void entries_send(struct supervisor *s, struct domain *d, struct entry_list *list)
{
    Bulkhead__Control__Capabilities what = BULKHEAD__CONTROL__CAPABILITIES__INIT;
    MESSAGE(message, CAPABILITIES);
    message.capabilities = &what;
    what.entry = list->pointer;
    what.n_entry = list->count;
    if (list->count > 0)
        control_send(s, d, &message, NULL, 0, 0);
    list->count = 0;
}

static void entry_add(struct supervisor *s, struct domain *d, struct entry_list *list, const struct registry_node *node,
                      bool mapped)
{
    if (node == NULL)
        return; /* revoked there */
    if (list->count == ENTRIES_MAX)
        entries_send(s, d, list);
    Bulkhead__Control__Capability *what = list->pointer[list->count] = &list->entry[list->count];
    list->count++;
    *what = (Bulkhead__Control__Capability)BULKHEAD__CONTROL__CAPABILITY__INIT;
    what->type = CAPABILITY_POOL;
    what->mapped = mapped;
    entry_fill(node, what);
}

/* What a stack with these addresses has to say on a link. */
static uint32_t ethertypes(const struct supervisor *s)
{
    uint32_t types = 0;
    for (uint32_t i = 0; i < s->options.address_count; i++)
        types |= s->options.address[i].family == ADDRESS_IP6 ? (uint32_t)CAPABILITY_ETHER_IP6
                                                             : CAPABILITY_ETHER_IP4 | CAPABILITY_ETHER_ARP;
    return types;
}

static void right_entries(struct supervisor *s, struct domain *d, uint32_t fresh)
{
    struct address_list list;
    uint32_t addresses = addresses_fill(s, &list);
    for (unsigned i = 0; i < TOPOLOGY_RIGHTS; i++) {
        const struct topology_right *row = &topology_right[i];
        if (!hosts(d, row->server) || ((SERVER_BIT(row->server) | SERVER_BIT(row->peer)) & fresh) == 0)
            continue;
        const struct registry_node *node = rights_entry(s, row, (1U << addresses) - 1);
        Bulkhead__Control__Capability what = BULKHEAD__CONTROL__CAPABILITY__INIT;
        what.type = row->type;
        if (row->type == CAPABILITY_LINK)
            what.ethertypes = ethertypes(s);
        if (row->type == CAPABILITY_LINK)
            what.mac = (ProtobufCBinaryData){sizeof s->mac.octets, s->mac.octets};
        control_address *local[STACK_ADDRESSES_MAX];
        what.address = local;
        for (uint32_t a = 0; a < addresses && node != NULL; a++) {
            if ((node->grant.addresses & 1U << a) != 0)
                local[what.n_address++] = list.pointer[a];
        }
        entry_send(s, d, node, &what);
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
        what.type = CAPABILITY_POOL;
        what.mapped = true;
        entry_send(s, d, rights_pool_entry(s, row), &what);
    }
}

static void arena_entries(struct supervisor *s, struct domain *d, const struct arena_memory *arena, uint32_t fresh,
                          struct entry_list *list)
{
    for (unsigned i = 0; i < TOPOLOGY_ARENAS; i++) {
        const struct topology_arena *row = &topology_arena[i];
        if (row->transport != arena->transport || !hosts(d, row->server) ||
            ((SERVER_BIT(row->server) | SERVER_BIT(row->peer)) & fresh) == 0)
            continue;
        entry_add(s, d, list, rights_arena_entry(s, arena, row), row->mapped);
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
    mapped = mapped && rights_have(s, arena->app_node, d->index, CAPABILITY_READ) != NULL;
    owner = owner && mapped && rights_have(s, arena->words_node, d->index, CAPABILITY_READ | CAPABILITY_WRITE) != NULL;
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
    what.send_most = arena->send_most;
    what.receive_most = arena->receive_most;
    what.object = arena->object;
    what.index = arena->index;
    what.generation = arena->generation;
    what.app_fd = mapped ? 0 : -1;
    what.transport_fd = owner ? 1 : -1;
    int fd[2] = {arena->app, arena->words};
    control_send(s, d, &message, fd, (uint32_t)mapped + owner, 0);
    if (hosts(d, topology_transport(arena->transport)))
        s->session[session->id].arena[index].owner_incarnation = d->incarnation + 1;
}

void grant_arena(struct supervisor *s, struct domain *d, const struct session_memory *session, uint32_t index)
{
    struct entry_list list = {.count = 0};
    arena_memory_send(s, d, session, index);
    arena_entries(s, d, &session->arena[index], SERVERS_ALL, &list);
    entries_send(s, d, &list);
}

struct rule_message { /* the lists of a session's rule */
    control_address prefix[2][POLICY_SPANS];
    Bulkhead__Control__Span span[2][POLICY_SPANS];
    Bulkhead__Control__Span *pointer[2][POLICY_SPANS];
};

static void list_fill(const struct policy_list *list, struct rule_message *ret, unsigned which)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct policy_span *from = &list->span[i];
        Bulkhead__Control__Span *to = ret->pointer[which][i] = &ret->span[which][i];
        *to = (Bulkhead__Control__Span)BULKHEAD__CONTROL__SPAN__INIT;
        address_fill(&ret->prefix[which][i], &from->prefix, from->prefix_length);
        to->prefix = &ret->prefix[which][i];
        to->protocol = from->protocol;
        to->port_first = from->port_first;
        to->port_last = from->port_last;
    }
}

static void rule_fill(const struct policy_rule *rule, struct rule_message *memory, Bulkhead__Control__Session *ret)
{
    list_fill(&rule->bind, memory, 0);
    list_fill(&rule->connect, memory, 1);
    ret->n_bind = rule->bind.count;
    ret->bind = memory->pointer[0];
    ret->n_connect = rule->connect.count;
    ret->connect = memory->pointer[1];
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
    what.generation = session->generation;
    what.uid = session->uid;
    what.pid = session->pid;
    what.socket_quota = session->rule.limits.sockets;
    what.ending = session->state == SESSION_ENDING;
    what.control_fd = 0;
    what.bell_fd = 1;
    what.answer_fd = answers ? 2 : -1;
    struct rule_message rule;
    rule_fill(&session->rule, &rule, &what);
    bool may = rights_have(s, session->control_node, d->index, CAPABILITY_READ) != NULL &&
               rights_have(s, session->bell_node, d->index, CAPABILITY_SEND) != NULL &&
               (!answers || rights_have(s, session->answer_node, d->index, CAPABILITY_READ | CAPABILITY_WRITE) != NULL);
    int fd[3] = {session->control, may ? pipe_reopen(session->bell_write, true) : -EACCES, session->answer};
    if (fd[1] >= 0) {
        control_send(s, d, &message, fd, answers ? 3 : 2, 1U << 1);
        return;
    }
    what.control_fd = what.bell_fd = what.answer_fd = -1; /* no descriptors left: a session without memory, no death */
    control_send(s, d, &message, NULL, 0, 0);
}

static void sessions(struct supervisor *s, struct domain *d)
{
    struct entry_list list = {.count = 0};
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        const struct session_memory *session = &s->session[id];
        if (session->state != SESSION_ACTIVE && session->state != SESSION_ENDING)
            continue;
        grant_session(s, d, session);
        for (uint32_t i = 0; i < session->arenas; i++) {
            arena_memory_send(s, d, session, i);
            arena_entries(s, d, &session->arena[i], SERVERS_ALL, &list);
        }
    }
    entries_send(s, d, &list);
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
        bool may = rights_have(s, s->server[id].store_node, d->index, CAPABILITY_READ | CAPABILITY_WRITE) != NULL;
        int fd = may ? s->server[id].store : -EACCES;
        control_send(s, d, &message, &fd, 1, 0);
    }
}

static void impair_fill(Bulkhead__Control__Impair *to, const struct impair_config *from)
{
    *to = (Bulkhead__Control__Impair)BULKHEAD__CONTROL__IMPAIR__INIT;
    to->loss = from->loss;
    to->reorder = from->reorder;
    to->duplicate = from->duplicate;
    to->corrupt = from->corrupt;
    to->delay_us = from->delay_us;
    to->jitter_us = from->jitter_us;
    to->queue = from->queue;
    to->rate = from->rate;
    to->seed = from->seed;
    to->backlog = from->backlog;
    to->burst = from->burst;
}

void grant_device(struct supervisor *s, struct domain *d, bool again)
{
    if (!hosts(d, SERVER_NIC))
        return;
    Bulkhead__Control__Device what = BULKHEAD__CONTROL__DEVICE__INIT;
    Bulkhead__Control__Impair impair;
    MESSAGE(message, DEVICE);
    bool wire = s->options.driver == NETDRV_WIRE;
    int fd[4];
    uint32_t count = 0, owned = 0;
    message.device = &what;
    what.server = SERVER_NIC;
    bool granted = rights_have(s, s->right_node[RIGHTS_DEVICE], d->index, CAPABILITY_READ | CAPABILITY_WRITE) !=
                   NULL; /* a wire's link, too */
    what.kind = s->options.driver;
    what.can = s->device_can;
    what.fd = what.mine_fd = what.peer_fd = what.bell_fd = -1;
    if (!again) {
        what.fd = (int32_t)count;
        owned |= wire ? 1U << count : 0;
        fd[count++] = !granted ? -EACCES : wire ? pipe_reopen(s->wire.bell_read, false) : s->device;
    }
    if (wire) {
        impair_fill(&impair, &s->options.impair);
        what.impair = &impair;
    }
    if (wire && granted && s->wire.peer >= 0) {
        what.mine_fd = (int32_t)count;
        fd[count++] = s->wire.mine;
        what.peer_fd = (int32_t)count;
        fd[count++] = s->wire.peer;
        what.bell_fd = (int32_t)count;
        owned |= 1U << count;
        fd[count++] = pipe_reopen(s->wire.peer_bell, true);
    }
    control_send(s, d, &message, fd, count, owned);
}

/* All but Start: barrier_start(). */
static void grant_all(struct supervisor *s, struct domain *d)
{
    configure(s, d);
    slots(s, d);
    bells(s, d);
    channels(s, d, d->servers);
    right_entries(s, d, d->servers);
    pools(s, d, d->servers);
    pool_entries(s, d, d->servers);
    stores(s, d);
    grant_device(s, d, false);
    sessions(s, d);
    capture_grant(s, d);
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
    struct entry_list list = {.count = 0};
    channels(s, d, fresh);
    right_entries(s, d, fresh);
    pools(s, d, fresh);
    pool_entries(s, d, fresh);
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        const struct session_memory *session = &s->session[id];
        for (uint32_t i = 0; i < session->arenas && session->state != SESSION_REMOVING; i++)
            arena_entries(s, d, &session->arena[i], fresh, &list);
    }
    entries_send(s, d, &list);
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

static uint32_t concerns(const struct domain *d)
{
    uint32_t mask = 0;
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        mask |= hosts(d, (enum server_id)id) ? topology_concerns((enum server_id)id) : 0;
    return mask & ~d->servers;
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
        if (domain_lives(d) && (d->servers & fresh) != 0) { /* they have most to do: before the others' are put together */
            control_cork(d);
            grant_all(s, d);
            d->known = (living | fresh) & concerns(d);
            control_uncork(s, d);
        }
    }
    for (uint32_t i = 0; i < s->domain_count && result == 0; i++) {
        struct domain *d = &s->domain[i];
        if (!domain_lives(d) || (d->servers & fresh) != 0)
            continue;
        control_cork(d);
        if ((concerns(d) & fresh) != 0)
            grant_news(s, d, fresh);
        d->known = (living | fresh) & concerns(d);
    }
    barrier_start(s);
    for (uint32_t i = 0; i < s->domain_count; i++)
        control_uncork(s, &s->domain[i]);
}
