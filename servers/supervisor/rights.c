// SPDX-License-Identifier: BSD-2-Clause
/* Every grant of the supervisor is a node of one registry (capabilities/registry.h), and nothing is sent that has none:
 * grant.c asks rights_have() for the node by which a domain is to have something, and fills the message from it.
 *
 *   pool             its server's domain -> who it names buffers to -> who that one passes them on to; table entries
 *                    below whoever may use them
 *   ring half, bell, the supervisor, which keeps them -> the domain that writes or waits -> readers, ringers, sessions
 *   status, store,
 *   device
 *   link, transport, the supervisor -> table entries, by protocol and local addresses
 *   sockets
 *   session          the application -> its parts (control, answer, bell, arenas), each an object -> servers
 *
 * A death: what the dead held is gone; its pools and its channels are revoked, and each survivor's share is asked for
 * with PeerLost. The end of a session revokes its node: SessionRemove goes to whoever holds anything of it. Single
 * entries are revoked by Revoke. In all three the acknowledgement is what ends the nodes. */
#include <stdio.h>
#include <string.h>

#include "servers/supervisor/supervisor.h"

#define TABLE(server, peer) ((uint8_t)((server)*SERVER_COUNT + (peer)))
_Static_assert(SERVER_COUNT *SERVER_COUNT <= REGISTRY_TABLES, "a number for each table");

/* What applications can make us take, at most; the rest is for the servers. */
#define NODES_OF_SESSION (4 + 3 * SERVER_COUNT + 7) /* roots; parts at servers; the application's own */
#define NODES_OF_ARENA   (2 + 3 + 3)                /* roots; at its transport and nic; entries of tables */
#define NODES_OF_SERVERS 2048
_Static_assert(SESSIONS_MAX *(NODES_OF_SESSION + SESSION_ARENAS * NODES_OF_ARENA) + NODES_OF_SERVERS <= RIGHTS_NODES,
               "full sessions leave enough for every server");

void rights_init(struct supervisor *s)
{
    registry_init(&s->registry, s->node, RIGHTS_NODES);
}

bool rights_mint(struct supervisor *s, uint32_t under, const struct registry_grant *from, uint32_t *ret_node)
{
    struct registry_grant grant = *from;
    if (grant.object == 0)
        grant.object = s->next_object++;
    grant.addresses = UINT32_MAX;
    return registry_mint(&s->registry, under, &grant, ret_node) == REGISTRY_OK;
}

static void given_back(void *data, const struct registry_node *node)
{
    registry_given_back(data, node->id);
}

void rights_end(struct supervisor *s, uint32_t *node)
{
    registry_revoke(&s->registry, *node, given_back, &s->registry);
    *node = REGISTRY_NONE;
}

/* What its domain, the supervisor or an application has of this object already, in this form. */
static const struct registry_node *held(const struct supervisor *s, uint32_t root, const struct registry_grant *grant)
{
    const struct registry_node *top = registry_node(&s->registry, root), *n = NULL;
    while (top != NULL && (n = registry_walk(&s->registry, top, n)) != NULL) {
        if (n->held && !n->revoked && !n->root && n->grant.holder == grant->holder && n->grant.form == grant->form &&
            (grant->form != REGISTRY_ENTRY || n->grant.table == grant->table))
            return n;
    }
    return NULL;
}

/* Derived from `parent`, of the object of `root`: found, or made. NULL: it may not be had. */
static const struct registry_node *derive(struct supervisor *s, uint32_t root, uint32_t parent,
                                          struct registry_grant grant)
{
    const struct registry_node *top = registry_node(&s->registry, root);
    uint32_t id;
    if (top == NULL)
        return NULL;
    grant.type = top->grant.type;
    memcpy(grant.part, top->grant.part, sizeof grant.part);
    grant.object = top->grant.object;
    if (grant.length == 0)
        grant.length = top->grant.length;
    const struct registry_node *n = held(s, root, &grant);
    if (n == NULL)
        return registry_delegate(&s->registry, parent, &grant, &id) == REGISTRY_OK ? registry_node(&s->registry, id)
                                                                                   : NULL;
    if (registry_parent(&s->registry, n) != registry_node(&s->registry, parent) &&
        registry_adopt(&s->registry, n->id, parent) != REGISTRY_OK)
        return n; /* by way of another: what it comes from is no longer, or has less */
    return n;
}

const struct registry_node *rights_have(struct supervisor *s, uint32_t root, uint32_t holder, uint32_t rights)
{
    const struct registry_grant grant = {
        .holder = (uint16_t)holder, .form = REGISTRY_DESCRIPTOR, .rights = rights, .addresses = 0};
    return derive(s, root, root, grant);
}

static const struct registry_node *entry_have(struct supervisor *s, uint32_t root, uint32_t parent,
                                              struct registry_grant grant, enum server_id server, enum server_id peer)
{
    grant.holder = (uint16_t)s->server[server].domain->index;
    grant.form = REGISTRY_ENTRY;
    grant.table = TABLE(server, peer);
    return derive(s, root, parent, grant);
}

bool rights_name(const struct supervisor *s, enum server_id server, enum server_id peer, uint16_t index,
                 uint16_t generation, uint64_t offset, uint64_t length)
{
    const struct registry_node *node = registry_entry(&s->registry, TABLE(server, peer), index, generation);
    return node != NULL && (length == 0 || (offset <= node->grant.length && length <= node->grant.length - offset));
}

/* ---- pools ---- */
static bool hosts(const struct domain *d, enum server_id server)
{
    return (d->servers & SERVER_BIT(server)) != 0;
}

/* The domain that hands `d` the buffers of this pool; NULL: it is dead. */
static struct domain *passes_on(const struct supervisor *s, const struct domain *d, enum server_id owner)
{
    for (unsigned i = 0; i < TOPOLOGY_POOLS; i++) {
        const struct topology_pool *row = &topology_pool[i];
        if (row->owner == owner && hosts(d, row->server) && !hosts(d, row->peer))
            return domain_lives(s->server[row->peer].domain) ? s->server[row->peer].domain : NULL;
    }
    return NULL;
}

static const struct registry_node *pool_by(struct supervisor *s, const struct domain *d, enum server_id owner,
                                           unsigned hops)
{
    const struct server_memory *m = &s->server[owner];
    const struct registry_node *root = registry_node(&s->registry, m->pool_node), *parent = root;
    if (root == NULL || hosts(d, owner))
        return root;
    const struct domain *from = hops < SERVER_COUNT ? passes_on(s, d, owner) : NULL;
    if (from != NULL)
        parent = pool_by(s, from, owner, hops + 1);
    const struct registry_grant grant = {
        .holder = (uint16_t)d->index, .form = REGISTRY_DESCRIPTOR, .rights = CAPABILITY_READ};
    return derive(s, m->pool_node, parent != NULL ? parent->id : root->id, grant);
}

const struct registry_node *rights_pool(struct supervisor *s, const struct domain *d, enum server_id owner)
{
    return pool_by(s, d, owner, 0);
}

const struct registry_node *rights_pool_entry(struct supervisor *s, const struct topology_pool *row)
{
    const struct server_memory *m = &s->server[row->owner];
    const struct domain *peer = s->server[row->peer].domain;
    const struct registry_node *by = domain_lives(peer) ? rights_pool(s, peer, row->owner) : NULL;
    const struct registry_grant grant = {
        .rights = CAPABILITY_READ, .index = m->pool_index, .generation = m->pool_generation};
    return entry_have(s, m->pool_node, by != NULL ? by->id : m->pool_node, grant, row->server, row->peer);
}

/* ---- rights of the topology, arenas ---- */
const struct registry_node *rights_entry(struct supervisor *s, const struct topology_right *row, uint32_t addresses)
{
    static const uint8_t rooted_in[] = {[CAPABILITY_LINK] = RIGHTS_LINK,
                                        [CAPABILITY_TRANSPORT] = RIGHTS_TRANSPORT,
                                        [CAPABILITY_SOCKET] = RIGHTS_SOCKET};
    uint32_t root = s->right_node[rooted_in[row->type]];
    const struct registry_grant grant = {.rights = row->rights,
                                         .protocol = row->protocol,
                                         .addresses = row->type == CAPABILITY_TRANSPORT ? addresses : 0,
                                         .index = CAPABILITY_INDEX_PEER,
                                         .generation = 1};
    return entry_have(s, root, root, grant, row->server, row->peer);
}

const struct registry_node *rights_arena_entry(struct supervisor *s, const struct arena_memory *arena,
                                               const struct topology_arena *row)
{
    const struct registry_grant grant = {
        .rights = CAPABILITY_READ, .index = arena->index, .generation = arena->generation};
    return entry_have(s, arena->app_node, arena->app_node, grant, row->server, row->peer);
}

/* ---- what there is from the start ---- */
static bool slot_mint(struct supervisor *s, uint32_t id)
{
    struct slot *slot = &s->slot[id];
    struct registry_grant grant = {.holder = HOLDER_SUPERVISOR, .part = {(uint8_t)id}};
    grant.type = OBJECT_BELL;
    grant.rights = CAPABILITY_SEND | CAPABILITY_RECEIVE;
    bool all = rights_mint(s, REGISTRY_NONE, &grant, &slot->bell_node);
    grant.rights = CAPABILITY_READ | CAPABILITY_WRITE;
    grant.type = OBJECT_STATUS;
    grant.length = sizeof(struct status_page);
    return all && rights_mint(s, REGISTRY_NONE, &grant, &slot->status_node);
}

bool rights_domain(struct supervisor *s, struct domain *d)
{
    struct registry_grant grant = {.holder = HOLDER_SUPERVISOR,
                                   .part = {(uint8_t)d->index},
                                   .rights = CAPABILITY_READ | CAPABILITY_WRITE,
                                   .type = OBJECT_COUNTERS,
                                   .length = sizeof(struct counter_page)};
    bool all = rights_mint(s, REGISTRY_NONE, &grant, &d->counter_node);
    grant.type = OBJECT_CRASH;
    grant.length = sizeof(struct crash_page);
    return all && rights_mint(s, REGISTRY_NONE, &grant, &d->crash_node);
}

void rights_domain_end(struct supervisor *s, struct domain *d)
{
    rights_end(s, &d->counter_node);
    rights_end(s, &d->crash_node);
}

bool rights_begin(struct supervisor *s)
{
    static const struct {
        uint8_t type;
        uint32_t rights;
    } roots[RIGHTS_ROOTS] = {
        [RIGHTS_LINK] = {OBJECT_LINK, CAPABILITY_SEND | CAPABILITY_RECEIVE},
        [RIGHTS_TRANSPORT] = {OBJECT_TRANSPORT, CAPABILITY_SEND | CAPABILITY_RECEIVE},
        [RIGHTS_SOCKET] = {OBJECT_SOCKET, CAPABILITY_REQUEST | CAPABILITY_NOTIFY},
        [RIGHTS_DEVICE] = {OBJECT_DEVICE, CAPABILITY_READ | CAPABILITY_WRITE},
    };
    bool all = true;
    for (unsigned i = 0; i < RIGHTS_ROOTS && all; i++) {
        const struct registry_grant grant = {
            .holder = HOLDER_SUPERVISOR, .type = roots[i].type, .rights = roots[i].rights};
        all = rights_mint(s, REGISTRY_NONE, &grant, &s->right_node[i]);
    }
    for (uint32_t id = 0; id < SERVER_COUNT && all; id++)
        all = slot_mint(s, id);
    return all;
}

/* ---- deaths ---- */
struct revocation {
    struct supervisor *s;
    uint32_t holder; /* it is dead */
};

static void left_behind(void *data, const struct registry_node *node)
{
    const struct revocation *revocation = data;
    if (node->grant.holder == revocation->holder || node->grant.holder >= HOLDER_SUPERVISOR)
        registry_given_back(&revocation->s->registry, node->id); /* others are asked with PeerLost */
}

void rights_died(struct supervisor *s, const struct domain *d)
{
    struct revocation revocation = {s, d->index};
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        if (hosts(d, (enum server_id)id))
            registry_revoke(&s->registry, s->server[id].pool_node, left_behind, &revocation);
    }
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++) {
        if (!hosts(d, topology_channel[i].end[0]) && !hosts(d, topology_channel[i].end[1]))
            continue;
        registry_revoke(&s->registry, s->channel[i].node[0], left_behind, &revocation);
        registry_revoke(&s->registry, s->channel[i].node[1], left_behind, &revocation);
        for (unsigned side = 0; side < 2; side++) /* a new channel: nothing said on the old one is heard on it */
            registry_table_renew(&s->registry, TABLE(topology_channel[i].end[side], topology_channel[i].end[1 - side]),
                                 CAPABILITY_INDEX_PEER);
    }
    registry_drop(&s->registry, (uint16_t)d->index);
}

/* Whether it went with one of these servers: another dead one's share is asked for in its own turn. */
static bool went_with(const struct registry_grant *grant, uint32_t lost)
{
    uint32_t of = grant->type == OBJECT_POOL   ? SERVER_BIT(grant->part[0])
                  : grant->type == OBJECT_RING ? SERVER_BIT(grant->part[0]) | SERVER_BIT(grant->part[1])
                                               : SERVERS_ALL;
    return (of & lost) != 0;
}

uint32_t rights_ask_lost(struct supervisor *s, const struct domain *d, uint32_t lost, uint64_t epoch, uint32_t *objects,
                         uint32_t most)
{
    uint32_t count = 0, position = 0;
    for (const struct registry_node *n; (n = registry_next(&s->registry, &position)) != NULL;) {
        if (n->grant.holder != d->index || !n->held || !n->revoked || n->epoch != 0 || !went_with(&n->grant, lost))
            continue;
        registry_ask(&s->registry, n->id, epoch);
        bool listed = n->grant.type != OBJECT_POOL;
        for (uint32_t i = 0; i < count; i++)
            listed = listed || objects[i] == n->grant.object;
        if (!listed && count < most)
            objects[count++] = n->grant.object;
    }
    return count;
}

/* ---- sessions ---- */
bool rights_session(struct supervisor *s, struct session_memory *session)
{
    struct registry_grant grant = {.holder = HOLDER_SESSION(session->id), .part = {(uint8_t)session->id}};
    grant.rights = CAPABILITY_READ | CAPABILITY_WRITE;
    grant.type = OBJECT_SESSION;
    if (!rights_mint(s, REGISTRY_NONE, &grant, &session->node))
        return false;
    grant.type = OBJECT_CONTROL;
    grant.length = sizeof(struct session_control);
    bool all = rights_mint(s, session->node, &grant, &session->control_node);
    grant.type = OBJECT_ANSWER;
    grant.length = sizeof(struct session_answer);
    all = all && rights_mint(s, session->node, &grant, &session->answer_node);
    grant = (struct registry_grant){.holder = HOLDER_SUPERVISOR,
                                    .type = OBJECT_SESSION_BELL,
                                    .part = {(uint8_t)session->id},
                                    .rights = CAPABILITY_SEND | CAPABILITY_RECEIVE};
    return all && rights_mint(s, session->node, &grant, &session->bell_node);
}

bool rights_arena(struct supervisor *s, const struct session_memory *session, struct arena_memory *arena)
{
    struct registry_grant grant = {.holder = HOLDER_SESSION(session->id),
                                   .type = OBJECT_SEND_ARENA,
                                   .part = {(uint8_t)session->id, (uint8_t)session->arenas},
                                   .rights = CAPABILITY_READ | CAPABILITY_WRITE,
                                   .object = arena->object,
                                   .index = arena->index,
                                   .generation = arena->generation,
                                   .length = arena_send_octets(arena->slots, arena->send_most)};
    if (!rights_mint(s, session->node, &grant, &arena->app_node))
        return false;
    grant.type = OBJECT_RECEIVE_ARENA;
    grant.object = grant.index = grant.generation = 0;
    grant.length = arena_receive_octets(arena->slots, arena->receive_most);
    return rights_mint(s, session->node, &grant, &arena->words_node);
}

struct session_end {
    struct registry *registry;
    struct session_memory *session;
};

static void session_take(void *data, const struct registry_node *node)
{
    const struct session_end *end = data;
    if (node->grant.holder >= HOLDER_SUPERVISOR) {
        registry_given_back(end->registry, node->id);
        return;
    }
    end->session->waiting |= 1U << node->grant.holder;
    registry_ask(end->registry, node->id, end->session->epoch);
}

void rights_session_end(struct supervisor *s, struct session_memory *session)
{
    struct session_end end = {&s->registry, session};
    registry_revoke(&s->registry, session->node, session_take, &end);
    registry_drop(&s->registry, HOLDER_SESSION(session->id));
}

/* ---- single entries ---- */
const char *rights_revoke(struct supervisor *s, uint32_t id)
{
    const struct registry_node *n = registry_node(&s->registry, id);
    if (n == NULL || n->revoked)
        return "no such grant (any more): `bulkhead caps` shows them";
    if (n->grant.form != REGISTRY_ENTRY)
        return "only entries of tables are revoked alone: what is mapped ends with its domain or session";
    struct domain *d = &s->domain[n->grant.holder];
    Bulkhead__Control__Revoke what = BULKHEAD__CONTROL__REVOKE__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_REVOKE;
    message.revoke = &what;
    what.epoch = ++s->epoch;
    what.server = n->grant.table / SERVER_COUNT;
    what.peer = n->grant.table % SERVER_COUNT;
    what.index = n->grant.index;
    what.generation = n->grant.generation;
    registry_revoke(&s->registry, id, NULL, NULL);
    registry_ask(&s->registry, id, what.epoch);
    d->revoke_epoch = what.epoch;
    d->revoke_deadline_us = now_us() + ACKNOWLEDGE_US;
    control_send(s, d, &message, NULL, 0, 0);
    return NULL;
}

void rights_acknowledged(struct supervisor *s, struct domain *d, uint64_t epoch)
{
    registry_acknowledge(&s->registry, (uint16_t)d->index, epoch);
    if (epoch == d->revoke_epoch)
        d->revoke_deadline_us = 0;
}
