// SPDX-License-Identifier: BSD-2-Clause
/* The socket server between two applications (sessions in plain memory) and tcp and udp, all played by the test. */
#ifndef BULKHEAD_TESTS_UNIT_SOCKET_HARNESS_H
#define BULKHEAD_TESTS_UNIT_SOCKET_HARNESS_H

#include <errno.h>
#include <stdlib.h>

#include "servers/socket/socket_internal.h"
#include "tests/unit/suite.h"
#include "tests/unit/wire_pair.h"

#define OURS                                                                                                           \
    {                                                                                                                  \
        .family = ADDRESS_IP4, .octets = { 10, 77, 0, 2 }                                                              \
    }
#define THEIRS                                                                                                         \
    {                                                                                                                  \
        .family = ADDRESS_IP4, .octets = { 10, 77, 0, 1 }                                                              \
    }
#define OURS6                                                                                                          \
    {                                                                                                                  \
        .family = ADDRESS_IP6, .octets = { 0xfd, 0x77, [15] = 2 }                                                      \
    }
#define THEIRS6                                                                                                        \
    {                                                                                                                  \
        .family = ADDRESS_IP6, .octets = { 0xfd, 0x77, [15] = 1 }                                                      \
    }
static const struct ip_address ours = OURS, theirs = THEIRS, any4 = {.family = ADDRESS_IP4};

static struct stack_config config = {.address = {OURS}, .address_count = 1, .secret = {1, 2, 3}};

/* From the next request on the stack has an address of each family. */
static inline void speak_both(void)
{
    config.address[1] = (struct ip_address)OURS6;
    config.address_count = 2;
}
static struct server_context context;
static struct status_counter counter[STATUS_COUNTERS];
static struct session session[SESSIONS_MAX];
static struct session_control *control[2];
static struct session_answer *answers[2];
static struct wire_pair *tcp, *udp;
static struct socket_server *server;
static uint32_t sessions_done, session_done_last;
static uint64_t now_us;

static inline void session_done(void *domain, uint32_t id)
{
    (void)domain;
    sessions_done++;
    session_done_last = id;
}

static inline void grant(struct wire_pair *w)
{
    struct capability c = {.type = CAPABILITY_SOCKET, .generation = 1, .rights = CAPABILITY_NOTIFY};
    capability_grant(&w->server.table, CAPABILITY_INDEX_PEER, &c);
}

static inline void start(void)
{
    size_t size = (server_socket.state_size(&config) + 63) & ~(size_t)63;
    server = aligned_alloc(64, size);
    memset(server, 0, size);
    ck_assert_int_eq(server_socket.init(server, &context, now_us), 0);
}

/* Between the two a domain lets its ports out. */
static inline void finish(void)
{
    server_socket.commit(server);
    server_socket.publish(server, now_us);
    port_flush(&tcp->server);
    port_flush(&udp->server);
}

static inline void turn(void)
{
    for (int i = 0; i < 8; i++) {
        now_us += 100;
        bool did = server_socket.burst(server, now_us);
        finish();
        if (!did && !server_socket.pending(server))
            return;
    }
}

/* The domain dies and its next incarnation is attached; what the ports held is gone. */
static inline void die_and_start(void)
{
    free(server);
    wire_attach(tcp);
    wire_attach(udp);
    start();
}

static inline void expect_silence(struct wire_pair *w)
{
    struct message m;
    ck_assert(!wire_take(w, &m));
}

static inline struct message expect(struct wire_pair *w, uint8_t operation)
{
    struct message m;
    turn();
    ck_assert(wire_take(w, &m));
    ck_assert_uint_eq(m.operation, operation);
    ck_assert_uint_eq(m.capability, CAPABILITY_INDEX_PEER);
    return m;
}

static inline struct message told(uint8_t operation)
{
    return (struct message){.operation = operation, .capability = CAPABILITY_INDEX_PEER, .generation = 1};
}

static inline void tell(struct wire_pair *w, const struct message *m)
{
    wire_send(w, m);
    turn();
}

static inline void list_end(struct wire_pair *w)
{
    struct message m = told(MESSAGE_ALIVE_END);
    expect(w, MESSAGE_OWNED_END);
    tell(w, &m);
}

static inline void session_grant(uint32_t id)
{
    session[id] = (struct session){.present = true,
                                   .id = id,
                                   .socket_quota = 64,
                                   .control = control[id],
                                   .answer = answers[id],
                                   .bell = {.fd = -1, .sleep = &control[id]->sleep}};
    policy_list_all(&session[id].bind);
    policy_list_all(&session[id].connect);
}

static inline void setup(void)
{
    for (uint32_t i = 0; i < 2; i++) {
        control[i] = calloc(1, sizeof *control[i]);
        answers[i] = calloc(1, sizeof *answers[i]);
        session_grant(i);
    }
    tcp = wire_new();
    udp = wire_new();
    grant(tcp);
    grant(udp);
    context = (struct server_context){.id = SERVER_SOCKET,
                                      .config = &config,
                                      .incarnation = 1,
                                      .device = -1,
                                      .session = session,
                                      .port = {[SERVER_TCP] = &tcp->server, [SERVER_UDP] = &udp->server},
                                      .counter = counter,
                                      .store_octets = server_socket.store_size(),
                                      .session_done = session_done};
    context.store = calloc(1, context.store_octets);
    sessions_done = 0;
    start();
    list_end(tcp);
    list_end(udp);
}

/* ---- the application ---- */
static inline void ask(uint32_t id, uint32_t lane, const struct control_request *request)
{
    control[id]->lane[lane].request = *request;
    __atomic_store_n(&control[id]->lane[lane].sequence, control[id]->lane[lane].sequence + 1, __ATOMIC_RELEASE);
    control[id]->kick++;
}

static inline bool answered(uint32_t id, uint32_t lane)
{
    return answers[id]->lane[lane].sequence == control[id]->lane[lane].sequence;
}

static inline struct control_answer answer_of(uint32_t id, uint32_t lane)
{
    turn();
    ck_assert(answered(id, lane));
    return answers[id]->lane[lane].answer;
}

static inline struct control_request about(uint32_t operation, uint32_t socket)
{
    return (struct control_request){.operation = operation, .socket = socket, .generation = socket >> 16};
}

static inline struct control_answer call(const struct control_request *request)
{
    ask(0, 0, request);
    return answer_of(0, 0);
}

static inline int call_error(struct control_request request)
{
    return call(&request).error;
}

static uint32_t new_socket(uint32_t id, uint32_t transport, uint32_t descriptor)
{
    struct control_request r = {.operation = CONTROL_SOCKET, .argument = {transport, descriptor}};
    ask(id, 0, &r);
    struct control_answer a = answer_of(id, 0);
    ck_assert_int_eq(a.error, 0);
    ck_assert_uint_eq(a.generation, a.socket >> 16);
    ck_assert_uint_ne(a.generation, 0);
    return a.socket;
}

static inline struct control_request naming(uint32_t operation, uint32_t socket, struct ip_address address,
                                            uint16_t port)
{
    struct control_request r = about(operation, socket);
    r.address = address;
    r.port = port;
    return r;
}

static inline struct control_request option(uint32_t socket, uint32_t which, uint32_t value)
{
    struct control_request r = about(CONTROL_SET_OPTION, socket);
    r.argument[0] = which;
    r.argument[1] = value;
    return r;
}

static inline struct control_request with(struct control_request r, uint32_t argument0, uint32_t argument1)
{
    r.argument[0] = argument0;
    r.argument[1] = argument1;
    return r;
}

/* ---- the transports ---- */
static inline void reply(struct wire_pair *w, const struct message *request, int error, uint32_t connection,
                         uint16_t port)
{
    struct message m = told(MESSAGE_ANSWER);
    m.cookie = request->cookie;
    m.socket = (struct message_socket){.socket = request->socket.socket,
                                       .session = request->socket.session,
                                       .connection = connection,
                                       .arena = 1,
                                       .slot = 5,
                                       .generation = 9,
                                       .error = error};
    m.source = ours;
    m.source_port = port;
    tell(w, &m);
}

static inline uint32_t new_listener(uint16_t port, uint32_t backlog)
{
    uint32_t s = new_socket(0, SESSION_TCP, 3);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, any4, port)), 0);
    struct control_request r = with(about(CONTROL_LISTEN, s), backlog, 0);
    ask(0, 0, &r);
    struct message m = expect(tcp, MESSAGE_LISTEN);
    ck_assert_uint_eq(m.source_port, port);
    ck_assert_uint_eq(m.socket.argument[0], backlog);
    ck_assert(!answered(0, 0));
    reply(tcp, &m, 0, 7, port);
    ck_assert_int_eq(answer_of(0, 0).error, 0);
    return s;
}

static inline struct message established(uint32_t listener, uint32_t connection)
{
    struct message m = told(MESSAGE_ESTABLISHED);
    m.socket = (struct message_socket){
        .listener = listener, .connection = connection, .arena = 2, .slot = connection, .generation = 100 + connection};
    m.source = ours;
    m.source_port = 80;
    m.destination = theirs;
    m.destination_port = (uint16_t)(40000 + connection);
    return m;
}

static inline uint32_t new_connected(uint32_t connection)
{
    uint32_t s = new_socket(0, SESSION_TCP, 20 + connection);
    struct control_request r = naming(CONTROL_CONNECT, s, theirs, 80);
    ask(0, 0, &r);
    struct message m = expect(tcp, MESSAGE_CONNECT);
    reply(tcp, &m, 0, connection, 40000);
    ck_assert_int_eq(answer_of(0, 0).error, EINPROGRESS);
    return s;
}

/* Whatever a test did, the account is right: everything is closed, everything is free, nothing waits. */
static inline void teardown(void)
{
    struct message m;
    for (uint32_t i = 0; i < 2; i++)
        server_socket.session_ended(server, i);
    for (int i = 0; i < 20; i++) {
        turn();
        while (wire_take(tcp, &m) || wire_take(udp, &m))
            ;
    }
    for (uint32_t i = 0; i < 2; i++) {
        struct message lost = told(MESSAGE_LOST);
        lost.socket.connection = INDEX_NONE;
        lost.socket.session = i;
        wire_send(tcp, &lost);
        wire_send(udp, &lost);
    }
    turn();
    uint32_t taken = 0;
    for (uint32_t i = 0; i < server->high; i++)
        taken += server->entry[i].block.state != SOCKET_FREE && server->entry[i].block.state != SOCKET_CLOSING;
    ck_assert_uint_eq(taken, 0);
    ck_assert_uint_eq(server->changed.count, 0);
    ck_assert_uint_eq(server->words.count, 0);
    ck_assert_uint_eq(server->refused.count, 0);
    for (uint32_t i = 0; i < NAME_BUCKETS; i++)
        ck_assert_uint_eq(server->name_bucket[i].count, 0);
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++)
        ck_assert_uint_eq(server->connection[i].state, CONNECTION_UNKNOWN);
    ck_assert_uint_eq(sessions_done, 2);
    for (uint32_t i = 0; i < 2; i++) {
        server_socket.session_removed(server, i);
        free(control[i]);
        free(answers[i]);
    }
    free(server);
    free(context.store);
    free(tcp);
    free(udp);
}

#endif
