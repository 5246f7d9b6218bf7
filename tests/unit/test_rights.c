// SPDX-License-Identifier: BSD-2-Clause
/* Every operation at every port of every server, under every type and every set of rights: without the right of the
 * topology it is refused and counted, and moves nothing; with it it is looked at. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "servers/topology/topology.h"
#include "tests/unit/suite.h"

#define POOL_INDEX  20
#define POOL_OCTETS 65536U
#define RIGHTS_ALL  127U
#define NOW_US      5000000U

static const struct server *const servers[SERVER_COUNT] = {
    [SERVER_NIC] = &server_nic, [SERVER_IP] = &server_ip,         [SERVER_TCP] = &server_tcp,
    [SERVER_UDP] = &server_udp, [SERVER_SOCKET] = &server_socket,
};
static const uint8_t operations[] = {
    MESSAGE_SEND,   MESSAGE_RECEIVE,  MESSAGE_UNREACHABLE, MESSAGE_BIND,      MESSAGE_LISTEN,      MESSAGE_CONNECT,
    MESSAGE_CLOSE,  MESSAGE_ACCEPTED, MESSAGE_OWNED,       MESSAGE_OWNED_END, MESSAGE_SESSION_END, MESSAGE_SET_OPTION,
    MESSAGE_ANSWER, MESSAGE_ALIVE,    MESSAGE_ESTABLISHED, MESSAGE_LOST,      MESSAGE_ALIVE_END,
};

struct end { /* a channel of the server under test, and the other end of it */
    struct port here, there;
    struct ring_half half[2];
    struct capability here_table[CAPABILITY_TABLE_MAX], there_table[CAPABILITY_TABLE_MAX];
};

static struct end end[SERVER_COUNT];
static uint8_t foreign[POOL_OCTETS];
static struct status_counter counter[STATUS_COUNTERS];
static struct session session[SESSIONS_MAX];
static struct stack_config config = {.address = {{.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}}},
                                     .prefix_length = {24},
                                     .address_count = 1,
                                     .dad = STACK_DAD_OFF,
                                     .mac = {{2, 0, 0, 0, 0, 2}},
                                     .mtu = 1500};
static struct server_context context;
static struct pool pool;
static void *state;

static void notice(void *domain, enum server_id server, const char *text)
{
    (void)domain, (void)server, (void)text;
}

static void session_done(void *domain, uint32_t id)
{
    (void)domain, (void)id;
}

static void connect_end(enum server_id peer)
{
    struct end *e = &end[peer];
    port_init(&e->here, e->here_table);
    port_init(&e->there, e->there_table);
    port_attach(&e->here, &e->half[0], &e->half[1], NULL);
    port_attach(&e->there, &e->half[1], &e->half[0], NULL);
    context.port[peer] = &e->here;
}

static void turn(void)
{
    const struct server *s = servers[context.id];
    for (unsigned i = 0; i < 8; i++) {
        s->burst(state, NOW_US);
        if (s->commit != NULL)
            s->commit(state);
        if (s->publish != NULL)
            s->publish(state, NOW_US);
        for (unsigned p = 0; p < SERVER_COUNT; p++)
            if (context.port[p] != NULL)
                port_flush(context.port[p]);
    }
}

/* Messages that the server has for any neighbour, loans apart. */
static unsigned said(void)
{
    struct message m;
    unsigned count = 0;
    for (unsigned p = 0; p < SERVER_COUNT; p++) {
        if (context.port[p] == NULL)
            continue;
        while (port_pull(&end[p].there, &m))
            count += m.operation != MESSAGE_RETURN;
        port_flush(&end[p].there);
    }
    return count;
}

static void begin(enum server_id id)
{
    const struct server *s = servers[id];
    uint32_t octets = s->pool_buffers * s->pool_buffer_octets + s->pool_extra_octets;
    memset(end, 0, sizeof end);
    context = (struct server_context){.id = id,
                                      .config = &config,
                                      .incarnation = 1,
                                      .session = session,
                                      .counter = counter,
                                      .notice = notice,
                                      .session_done = session_done,
                                      .device = -1};
    for (unsigned peer = 0; peer < SERVER_COUNT; peer++)
        if ((topology_neighbours(id) & SERVER_BIT(peer)) != 0)
            connect_end((enum server_id)peer);
    if (octets > 0) {
        pool_init(&pool, calloc(1, octets), s->pool_buffer_octets, s->pool_buffers);
        context.pool = &pool;
        context.pool_capability = POOL_INDEX + 1;
        context.pool_generation = 1;
    }
    if (s->store_size != NULL) {
        context.store_octets = s->store_size();
        context.store = calloc(1, context.store_octets);
    }
    if (id == SERVER_NIC)
        context.device = open("/dev/null", O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(posix_memalign(&state, 64, s->state_size(&config)), 0);
    memset(state, 0, s->state_size(&config));
    ck_assert_int_eq(s->init(state, &context, NOW_US), 0);
    turn();
    (void)said();
}

static void finish(void)
{
    if (context.device >= 0)
        close(context.device);
    if (context.pool != NULL)
        free(pool.base);
    free(context.store);
    free(state);
}

static uint64_t refused(enum server_id peer)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < CAPABILITY_REFUSALS; i++)
        sum += end[peer].here.table.refused[i];
    return sum;
}

static void grant(const struct topology_right *row, uint16_t type, uint32_t rights)
{
    struct capability entry = {.type = type,
                               .generation = 1,
                               .rights = rights,
                               .protocol = row->protocol,
                               .mac = config.mac,
                               .ethertypes = 7,
                               .address = {config.address[0]},
                               .address_count = 1};
    const struct capability buffers = {
        .type = CAPABILITY_POOL, .generation = 1, .rights = CAPABILITY_READ, .size = POOL_OCTETS, .base = foreign};
    ck_assert(capability_grant(&end[row->peer].here.table, CAPABILITY_INDEX_PEER, &entry));
    ck_assert(capability_grant(&end[row->peer].here.table, POOL_INDEX, &buffers));
}

static void tell(enum server_id peer, uint8_t operation)
{
    static uint64_t cookie;
    bool socket = operation >= MESSAGE_BIND;
    struct message m = {.operation = operation,
                        .capability = CAPABILITY_INDEX_PEER,
                        .generation = 1,
                        .cookie = cookie++ % 64,
                        .protocol = 17,
                        .source = config.address[0],
                        .destination = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}},
                        .source_port = 7,
                        .destination_port = 9};
    if (socket)
        m.socket = (struct message_socket){.socket = 0x10001, .connection = UINT32_MAX, .arena = UINT32_MAX};
    else
        m.reference[0] = (struct message_reference){POOL_INDEX, 1, 64, 64};
    ck_assert(port_push(&end[peer].there, &m));
    port_flush(&end[peer].there);
    turn();
}

/* Without it nothing is said to anybody, and the refusal is counted; operations that the port does not have may be
 * dropped before anybody looks at rights. */
static void check_without(const struct topology_right *row, uint16_t type, uint32_t rights)
{
    unsigned refusals = 0;
    grant(row, type, rights);
    for (unsigned i = 0; i < sizeof operations; i++) {
        uint64_t before = refused(row->peer);
        tell(row->peer, operations[i]);
        ck_assert_msg(said() == 0, "%s did operation %u of %s with type %u, rights %x", servers[row->server]->name,
                      operations[i], servers[row->peer]->name, type, rights);
        refusals += refused(row->peer) > before;
    }
    ck_assert_msg(refusals > 0, "%s refused nothing of %s with type %u, rights %x", servers[row->server]->name,
                  servers[row->peer]->name, type, rights);
}

START_TEST(every_operation_under_every_set_of_rights)
{
    const struct topology_right *row = &topology_right[_i];
    begin(row->server);
    for (uint16_t type = 0; type < CAPABILITY_TYPES; type++) {
        for (uint32_t rights = 0; rights <= RIGHTS_ALL; rights++) {
            if (type != row->type || (rights & row->rights) != row->rights)
                check_without(row, type, rights);
        }
    }
    /* With the right, and no other, something is not refused any more. */
    grant(row, row->type, row->rights);
    unsigned taken = 0;
    for (unsigned i = 0; i < sizeof operations; i++) {
        uint64_t before = refused(row->peer);
        tell(row->peer, operations[i]);
        taken += refused(row->peer) == before;
        (void)said();
    }
    ck_assert_uint_gt(taken, 0);
    finish();
}
END_TEST

/* A generation that has passed, an index that was revoked, one that never was, one beyond the table. */
START_TEST(stale_and_revoked_capabilities)
{
    const struct topology_right *row = &topology_right[_i];
    begin(row->server);
    for (unsigned how = 0; how < 4; how++) {
        grant(row, row->type, row->rights);
        struct capability *entry = &end[row->peer].here_table[CAPABILITY_INDEX_PEER];
        if (how == 0)
            entry->generation = 2;
        if (how == 1)
            capability_revoke(&end[row->peer].here.table, CAPABILITY_INDEX_PEER);
        unsigned refusals = 0;
        for (unsigned i = 0; i < sizeof operations; i++) {
            struct message m = {.operation = operations[i],
                                .generation = 1,
                                .capability = how == 2   ? 7
                                              : how == 3 ? UINT16_MAX
                                                         : CAPABILITY_INDEX_PEER};
            uint64_t before = refused(row->peer);
            ck_assert(port_push(&end[row->peer].there, &m));
            port_flush(&end[row->peer].there);
            turn();
            ck_assert_uint_eq(said(), 0);
            refusals += refused(row->peer) > before;
        }
        ck_assert_uint_gt(refusals, 0);
    }
    finish();
}
END_TEST

/* With the right, a message of which one 32-bit word is wrong, each word in turn: it is dropped or done, and afterwards
 * the server has given back what it was lent and serves as before. (What it reads or writes beyond is the sanitizers'
 * to see.) */
START_TEST(every_word_of_every_message)
{
    static const uint32_t values[] = {0,       1,          0xff,       0x100,      0xffff,
                                      0x10000, 0x7fffffff, 0x80000000, 0xfffffff0, UINT32_MAX};
    const struct topology_right *row = &topology_right[_i];
    const size_t words = sizeof(struct message) / sizeof(uint32_t), first = offsetof(struct message, cookie) / 4;
    begin(row->server);
    grant(row, row->type, row->rights);
    for (unsigned i = 0; i < sizeof operations; i++) {
        for (size_t word = first; word < words; word++) {
            for (unsigned v = 0; v < sizeof values / sizeof values[0]; v++) {
                struct message m = {.operation = operations[i],
                                    .capability = CAPABILITY_INDEX_PEER,
                                    .generation = 1,
                                    .reference = {{POOL_INDEX, 1, 64, 64}},
                                    .source = config.address[0],
                                    .destination = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}},
                                    .protocol = 17};
                memcpy((uint8_t *)&m + word * sizeof(uint32_t), &values[v], sizeof values[v]);
                ck_assert(port_push(&end[row->peer].there, &m));
                port_flush(&end[row->peer].there);
                turn();
                (void)said();
            }
        }
    }
    ck_assert(!end[row->peer].here.ring.broken);
    ck_assert(context.pool == NULL || context.pool->free_count + context.pool->lent_total <= context.pool->count);
    uint64_t before = refused(row->peer);
    grant(row, row->type, 0);
    for (unsigned i = 0; i < sizeof operations; i++)
        tell(row->peer, operations[i]);
    ck_assert_uint_gt(refused(row->peer), before);
    finish();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rights");
    TCase *tests = tcase_create("rights");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, every_operation_under_every_set_of_rights, 0, TOPOLOGY_RIGHTS);
    tcase_add_loop_test(tests, stale_and_revoked_capabilities, 0, TOPOLOGY_RIGHTS);
    tcase_add_loop_test(tests, every_word_of_every_message, 0, TOPOLOGY_RIGHTS);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
