// SPDX-License-Identifier: BSD-2-Clause
#include "tests/fuzz/server_world.h"

#include <sys/socket.h>
#include <unistd.h>

#define START_US 5000000U
#define ROUNDS   20000 /* more than any input may keep a server busy for */
#define SLOTS    4U
#define RING     4096U
#define MOST     16384U /* that they may grow to */
#define LONG_US  1000000U
#define AGES     16 /* longer than a reassembly may last, and the ICMP error after it */
#define AGE_US   5000000U

const struct server *const world_server = &FUZZ_SERVER_OPERATIONS;

static int device[2] = {-1, -1};

static void notice(void *domain, enum server_id server, const char *text)
{
    (void)domain;
    check(server == FUZZ_SERVER && text != NULL && strlen(text) < 4096);
}

static void session_done(void *domain, uint32_t session)
{
    (void)domain;
    check(session < SESSIONS_MAX);
}

uint16_t world_pool_index(enum server_id owner)
{
    return (uint16_t)(CAPABILITY_INDEX_DYNAMIC + owner);
}

uint16_t world_arena_index(uint32_t session, uint32_t arena)
{
    return (uint16_t)(CAPABILITY_INDEX_ARENA + session * 2 + arena);
}

static uint32_t own_octets(void)
{
    return world_server->pool_buffers * world_server->pool_buffer_octets + world_server->pool_extra_octets;
}

uint32_t world_pool_octets(enum server_id owner)
{
    return owner == FUZZ_SERVER ? own_octets() : WORLD_POOL;
}

static bool has_pool(enum server_id id)
{
    return id != SERVER_SOCKET;
}

/* ---- grants ---- */
static void grant_rights(struct world *w)
{
    for (uint32_t i = 0; i < TOPOLOGY_RIGHTS; i++) {
        const struct topology_right *row = &topology_right[i];
        if (row->server != FUZZ_SERVER)
            continue;
        struct capability entry = {.type = row->type,
                                   .generation = 1,
                                   .rights = row->rights,
                                   .protocol = row->protocol,
                                   .mac = w->config.mac,
                                   .ethertypes = 7,
                                   .address_count = (uint8_t)w->config.address_count};
        memcpy(entry.address, w->config.address, sizeof entry.address);
        check(capability_grant(&w->end[row->peer].here.table, CAPABILITY_INDEX_PEER, &entry));
    }
}

static void grant_pools(struct world *w)
{
    for (uint32_t i = 0; i < TOPOLOGY_POOLS; i++) {
        const struct topology_pool *row = &topology_pool[i];
        if (row->server != FUZZ_SERVER || (w->dead & SERVER_BIT(row->owner)) != 0)
            continue;
        struct capability entry = {.type = CAPABILITY_POOL,
                                   .generation = w->generation[row->owner],
                                   .rights = CAPABILITY_READ,
                                   .object = row->owner,
                                   .size = world_pool_octets(row->owner),
                                   .base = row->owner == FUZZ_SERVER ? w->pool.base : w->foreign[row->owner]};
        check(capability_grant(&w->end[row->peer].here.table, world_pool_index(row->owner), &entry));
    }
}

static void grant_arenas(struct world *w, uint32_t id, bool there)
{
    for (uint32_t i = 0; i < TOPOLOGY_ARENAS; i++) {
        const struct topology_arena *row = &topology_arena[i];
        if (row->server != FUZZ_SERVER)
            continue;
        struct capability_table *table = &w->end[row->peer].here.table;
        uint16_t index = world_arena_index(id, row->transport);
        struct capability entry = {.type = CAPABILITY_POOL,
                                   .generation = 1,
                                   .rights = CAPABILITY_READ,
                                   .object = 100 + id * 2 + row->transport,
                                   .size = (uint32_t)arena_send_octets(SLOTS, MOST),
                                   .base = row->mapped ? (const uint8_t *)w->memory[id].app[row->transport] : NULL};
        if (there)
            check(capability_grant(table, index, &entry));
        else
            capability_revoke(table, index);
    }
}

/* ---- sessions ---- */
static void call(struct world *w, void (*what)(void *state, uint32_t session), uint32_t id)
{
    if (what != NULL && w->state != NULL)
        what(w->state, id);
}

void world_session_add(struct world *w, uint32_t id)
{
    const struct world_session *m = &w->memory[id];
    struct session *s = &w->session[id];
    if (s->present)
        return;
    *s = (struct session){.present = true,
                          .id = id,
                          .socket_quota = 8,
                          .control = m->control,
                          .answer = FUZZ_SERVER == SERVER_SOCKET ? m->answer : NULL,
                          .bell = {.fd = -1, .sleep = &m->control->sleep}};
    policy_list_all(&s->bind);
    policy_list_all(&s->connect);
    for (uint32_t t = 0; t < 2; t++) {
        bool owner = topology_transport((enum session_transport)t) == FUZZ_SERVER;
        s->arena[t] = (struct session_arena){.transport = t,
                                             .slots = SLOTS,
                                             .send_size = RING,
                                             .receive_size = RING,
                                             .send_most = MOST,
                                             .receive_most = MOST,
                                             .app = owner || FUZZ_SERVER == SERVER_NIC ? m->app[t] : NULL,
                                             .transport_words = owner ? m->words[t] : NULL,
                                             .capability = world_arena_index(id, t),
                                             .capability_generation = 1};
    }
    grant_arenas(w, id, true);
    call(w, world_server->session_added, id);
}

void world_session_end(struct world *w, uint32_t id)
{
    struct session *s = &w->session[id];
    if (!s->present || s->ending)
        return;
    s->ending = true;
    call(w, world_server->session_ended, id);
}

void world_session_remove(struct world *w, uint32_t id)
{
    world_session_end(w, id);
    if (!w->session[id].present)
        return;
    call(w, world_server->session_removed, id);
    w->session[id] = (struct session){.present = false};
    grant_arenas(w, id, false);
    world_turn(w, 1, false);
}

/* ---- channels ---- */
static void channel_attach(struct world *w, enum server_id peer)
{
    struct world_end *e = &w->end[peer];
    for (unsigned i = 0; i < 2; i++) /* in the slots lies what lay there: half a megabyte that nobody is to believe */
        e->half[i].producer = e->half[i].consumer = 0;
    port_detach(&e->there);
    port_attach(&e->here, &e->half[0], &e->half[1], &w->bell);
    port_attach(&e->there, &e->half[1], &e->half[0], NULL);
    e->loans.count = 0;
}

static void channels_make(struct world *w)
{
    for (unsigned peer = 0; peer < SERVER_COUNT; peer++) {
        struct world_end *e = &w->end[peer];
        if ((topology_neighbours(FUZZ_SERVER) & SERVER_BIT(peer)) == 0)
            continue;
        port_init(&e->here, e->here_table);
        port_init(&e->there, e->there_table);
        channel_attach(w, (enum server_id)peer);
        w->context.port[peer] = &e->here;
    }
}

/* ---- what the server says ---- */
static bool range_ok(const struct message_reference *r)
{
    uint64_t end = (uint64_t)r->offset + r->length;
    if (r->length == 0)
        return true;
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        if (has_pool((enum server_id)id) && r->pool == world_pool_index((enum server_id)id))
            return end <= world_pool_octets((enum server_id)id);
    for (uint32_t id = 0; id < WORLD_SESSIONS; id++)
        for (uint32_t t = 0; t < 2; t++)
            if (r->pool == world_arena_index(id, t))
                return end <= arena_send_octets(SLOTS, MOST);
    return false;
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void segment_remember(struct world *w, const struct message *m)
{
    const uint8_t *h = w->pool.base + m->reference[0].offset;
    w->tcp = (struct world_tcp){.source_port = (uint16_t)(h[0] << 8 | h[1]),
                                .destination_port = (uint16_t)(h[2] << 8 | h[3]),
                                .sequence = get32(h + 4),
                                .acknowledgement = get32(h + 8),
                                .length = m->reference[1].length + (h[13] & 1U) + (h[13] >> 1 & 1U)};
}

/* Which operations a server says to whom. */
static bool may_say(enum server_id peer, uint8_t operation)
{
    bool transport = FUZZ_SERVER == SERVER_TCP || FUZZ_SERVER == SERVER_UDP;
    if (FUZZ_SERVER == SERVER_SOCKET)
        return operation >= MESSAGE_BIND && operation <= MESSAGE_SET_OPTION;
    if (transport && peer == SERVER_SOCKET)
        return operation >= MESSAGE_ANSWER && operation <= MESSAGE_ALIVE_END;
    if (operation == MESSAGE_RETURN)
        return true;
    if (FUZZ_SERVER == SERVER_NIC)
        return operation == MESSAGE_RECEIVE;
    if (FUZZ_SERVER == SERVER_IP)
        return peer == SERVER_NIC ? operation == MESSAGE_SEND
                                  : operation == MESSAGE_RECEIVE || operation == MESSAGE_UNREACHABLE;
    return operation == MESSAGE_SEND || (FUZZ_SERVER == SERVER_UDP && operation == MESSAGE_UNREACHABLE);
}

static void heard(struct world *w, enum server_id peer, const struct message *m)
{
    struct world_end *e = &w->end[peer];
    bool lends = m->operation == MESSAGE_SEND || m->operation == MESSAGE_RECEIVE || m->operation == MESSAGE_UNREACHABLE;
    check(may_say(peer, m->operation));
    if (!lends) {
        if (m->operation != MESSAGE_RETURN)
            e->seen = *m;
        return;
    }
    check(range_ok(&m->reference[0]) && range_ok(&m->reference[1]));
    if (m->operation == MESSAGE_UNREACHABLE)
        return;
    e->seen = *m;
    e->loans.cookie[e->loans.count++ % WORLD_LOANS] = (uint32_t)m->cookie;
    if (FUZZ_SERVER == SERVER_TCP && m->reference[0].length >= 20)
        segment_remember(w, m);
}

static void hear(struct world *w)
{
    struct message m;
    for (unsigned peer = 0; peer < SERVER_COUNT; peer++) {
        struct world_end *e = &w->end[peer];
        if (w->context.port[peer] == NULL || !e->here.attached)
            continue;
        for (unsigned n = 0; port_pull(&e->there, &m); n++) {
            check(n <= RING_SLOTS);
            heard(w, (enum server_id)peer, &m);
        }
        port_flush(&e->there);
        check(e->there.counters.malformed == 0 && (!e->there.ring.broken || e->here.ring.broken));
    }
}

static bool round_once(struct world *w, bool listen)
{
    bool moved = world_server->burst(w->state, w->now_us);
    if (world_server->commit != NULL)
        world_server->commit(w->state);
    if (world_server->publish != NULL)
        world_server->publish(w->state, w->now_us);
    for (unsigned peer = 0; peer < SERVER_COUNT; peer++)
        if (w->context.port[peer] != NULL)
            port_flush(w->context.port[peer]);
    if (listen)
        hear(w);
    if (world_server->pending != NULL)
        (void)world_server->pending(w->state);
    if (world_server->deadline_us != NULL)
        (void)world_server->deadline_us(w->state);
    return moved;
}

void world_turn(struct world *w, unsigned rounds, bool listen)
{
    for (unsigned i = 0; i < rounds; i++)
        if (!round_once(w, listen))
            return;
}

void world_settle(struct world *w)
{
    for (unsigned i = 0; round_once(w, true); i++)
        check(i < ROUNDS);
}

/* ---- deaths ---- */
static void revoke_pools(struct world *w, enum server_id owner)
{
    for (unsigned peer = 0; peer < SERVER_COUNT; peer++)
        if (w->context.port[peer] != NULL)
            capability_revoke(&w->end[peer].here.table, world_pool_index(owner));
}

void world_lose(struct world *w, enum server_id peer)
{
    if (peer == FUZZ_SERVER || (w->dead & SERVER_BIT(peer)) != 0)
        return;
    world_turn(w, 64, true);
    w->dead |= SERVER_BIT(peer);
    if (w->context.port[peer] != NULL)
        port_detach(&w->end[peer].here);
    if (world_server->peer_lost != NULL)
        world_server->peer_lost(w->state, peer);
    revoke_pools(w, peer);
    world_turn(w, 1, false);
}

/* True: it was dead. */
static bool attach(struct world *w, enum server_id peer)
{
    if ((w->dead & SERVER_BIT(peer)) == 0)
        return false;
    w->dead &= ~SERVER_BIT(peer);
    w->generation[peer]++;
    grant_pools(w);
    if (w->context.port[peer] != NULL)
        channel_attach(w, peer);
    if (world_server->peer_attached != NULL)
        world_server->peer_attached(w->state, peer, w->now_us);
    return true;
}

void world_attach(struct world *w, enum server_id peer)
{
    if (attach(w, peer))
        world_turn(w, 1, true);
}

/* ---- lives ---- */
/* A store that it does not know is forgotten, as the supervisor does it after some starts that failed. */
static void start(struct world *w)
{
    if (own_octets() > 0)
        pool_init(&w->pool, w->pool.base, world_server->pool_buffer_octets, world_server->pool_buffers);
    w->context.pool = own_octets() > 0 ? &w->pool : NULL;
    w->context.pool_capability = world_pool_index(FUZZ_SERVER);
    w->context.pool_generation = w->generation[FUZZ_SERVER];
    w->context.incarnation++;
    memset(w->counter, 0, sizeof w->counter);
    if (world_server->init(w->state, &w->context, w->now_us) == 0)
        return;
    check(w->damaged);
    region_zero(w->state, w->state_octets);
    region_zero(w->store, w->context.store_octets);
    check(world_server->init(w->state, &w->context, w->now_us) == 0);
}

void world_restart(struct world *w)
{
    if (w->restarts++ >= WORLD_RESTARTS)
        return;
    region_zero(w->state, w->state_octets);
    w->generation[FUZZ_SERVER]++;
    for (unsigned peer = 0; peer < SERVER_COUNT; peer++) {
        w->end[peer].lies = 0;
        memset(w->end[peer].here.table.refused, 0, sizeof w->end[peer].here.table.refused);
        if (w->context.port[peer] != NULL)
            channel_attach(w, (enum server_id)peer);
    }
    w->dead = 0;
    grant_pools(w);
    start(w);
}

static void configure(struct world *w)
{
    w->config = (struct stack_config){.address = {{.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}},
                                                  {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 2}},
                                                  {.family = ADDRESS_IP6, .octets = {0xfe, 0x80, [15] = 2}}},
                                      .prefix_length = {24, 64, 64},
                                      .address_count = 3,
                                      .gateway = {{.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}},
                                                  {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 1}}},
                                      .dad = STACK_DAD_OFF,
                                      .mac = {{2, 0, 0, 0, 0, 2}},
                                      .mtu = 1500};
}

static void sessions_place(struct world *w)
{
    for (uint32_t id = 0; id < WORLD_SESSIONS; id++) {
        struct world_session *m = &w->memory[id];
        m->control = region_place(sizeof *m->control);
        m->answer = region_place(sizeof *m->answer);
        for (uint32_t t = 0; t < 2; t++) {
            m->app[t] = region_place(arena_send_octets(SLOTS, MOST));
            m->words[t] = region_place(arena_receive_octets(SLOTS, MOST));
        }
    }
}

static struct world *build(void)
{
    struct world *w = region_place(sizeof *w);
    configure(w);
    w->now_us = START_US;
    w->bell = (struct doorbell){.fd = -1, .sleep = &w->sleep};
    w->context = (struct server_context){.id = FUZZ_SERVER,
                                         .config = &w->config,
                                         .session = w->session,
                                         .counter = w->counter,
                                         .notice = notice,
                                         .session_done = session_done,
                                         .device = device[0]};
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        w->generation[id] = 1;
        if (id != FUZZ_SERVER && has_pool((enum server_id)id))
            w->foreign[id] = region_place(WORLD_POOL);
    }
    sessions_place(w);
    channels_make(w);
    if (own_octets() > 0)
        w->pool.base = region_place(own_octets());
    if (world_server->store_size != NULL) {
        w->context.store_octets = world_server->store_size();
        w->context.store = w->store = region_place_pages(w->context.store_octets);
    }
    grant_rights(w);
    grant_pools(w);
    w->state_octets = world_server->state_size(&w->config);
    void *state = region_place_pages(w->state_octets);
    for (uint32_t id = 0; id < WORLD_SESSIONS; id++)
        world_session_add(w, id);
    w->state = state;
    start(w);
    world_turn(w, 8, true);
    return w;
}

struct world *world_make(void)
{
    region_make();
    if (FUZZ_SERVER == SERVER_NIC)
        check(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, device) == 0);
    struct world *w = build();
    region_freeze();
    return w;
}

void world_reset(struct world *w)
{
    static uint8_t frame[65536];
    (void)w;
    region_reset();
    for (unsigned i = 0; i < 2 && device[i] >= 0; i++)
        while (read(device[i], frame, sizeof frame) >= 0)
            ;
}

int world_device(void)
{
    return device[1];
}

/* ---- the end ---- */
static uint64_t drops(const struct world *w)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < STATUS_COUNTERS; i++)
        if (strncmp(w->counter[i].name, "drop_", 5) == 0)
            sum += w->counter[i].value;
    for (unsigned peer = 0; peer < SERVER_COUNT; peer++) {
        sum += w->end[peer].here.counters.malformed;
        for (unsigned i = 0; i < CAPABILITY_REFUSALS; i++)
            sum += w->end[peer].here.table.refused[i];
    }
    return sum;
}

void world_finish(struct world *w)
{
    uint64_t lies = 0;
    world_settle(w);
    w->now_us += LONG_US; /* counters are published now and then */
    world_settle(w);
    for (unsigned peer = 0; peer < SERVER_COUNT; peer++)
        lies += w->end[peer].lies;
    check(drops(w) >= lies);
    for (uint32_t id = 0; id < WORLD_SESSIONS; id++)
        world_session_remove(w, id);
    for (unsigned peer = 0; peer < SERVER_COUNT; peer++) /* channels that work again */
        world_lose(w, (enum server_id)peer);
    for (unsigned peer = 0; peer < SERVER_COUNT; peer++)
        world_attach(w, (enum server_id)peer);
    for (unsigned i = 0; i < AGES; i++) { /* what waits for an answer does not get one */
        w->now_us += AGE_US;
        world_turn(w, 16, true);
    }
    for (unsigned peer = 0; peer < SERVER_COUNT; peer++)
        world_lose(w, (enum server_id)peer);
    for (unsigned peer = 0; peer < SERVER_COUNT; peer++)
        (void)attach(w, (enum server_id)peer); /* and nothing is said to it yet */
    check(own_octets() == 0 || pool_all_home(&w->pool));
}
