// SPDX-License-Identifier: BSD-2-Clause
/* The socket server between liars: transports without rights, and any octets from applications and transports. */
#include "tests/unit/socket_harness.h"

START_TEST(transport_without_right)
{
    uint32_t s = new_connected(1);
    struct message m = told(MESSAGE_LOST);
    m.socket.socket = s;
    m.generation = 2;
    tell(tcp, &m);
    m.generation = 1;
    m.capability = 2;
    tell(tcp, &m);
    ck_assert_uint_eq(server->counters.drop_capability, 2);
    m.capability = CAPABILITY_INDEX_PEER;
    tell(udp, &m); /* not udp's */
    ck_assert_uint_eq(server->counters.drop_unknown_socket, 1);
    m = told(MESSAGE_BIND);
    tcp->server.strict = true;
    tell(tcp, &m);
    ck_assert(tcp->server.senseless);
    tcp->server.strict = tcp->server.senseless = false;
    m = established(s, 5);
    tell(udp, &m);
    ck_assert_uint_eq(server->counters.drop_operation, 2);
    m = established(s, CONNECTIONS_MAX);
    tell(tcp, &m);
    ck_assert_uint_eq(server->counters.drop_malformed, 1);
    ck_assert_uint_eq(socket_lookup(server, s)->block.state, SOCKET_CONNECTED);
}
END_TEST

START_TEST(transport_names_impossible_slot)
{
    uint32_t s = new_socket(0, SESSION_TCP, 4);
    struct control_request r = naming(CONTROL_CONNECT, s, theirs, 80);
    ask(0, 0, &r);
    struct message m = expect(tcp, MESSAGE_CONNECT), a = told(MESSAGE_ANSWER);
    a.cookie = m.cookie;
    a.socket = (struct message_socket){.socket = s, .arena = SESSION_ARENAS, .slot = 0};
    tell(tcp, &a);
    ck_assert_int_eq(answer_of(0, 0).error, ENOBUFS);
    ck_assert_uint_eq(server->counters.drop_malformed, 1);
}
END_TEST

static uint64_t seed;
static uint32_t any_of(uint32_t limit)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % limit;
}

static void any_octets(void *memory, size_t octets)
{
    uint8_t *at = memory;
    for (size_t i = 0; i < octets; i++)
        at[i] = (uint8_t)any_of(256);
}

static struct control_request any_request(void)
{
    static const struct ip_address address[] = {OURS, THEIRS, {.family = ADDRESS_IP4}, {.family = 6}, {0}};
    struct control_request r;
    any_octets(&r, sizeof r);
    if (any_of(16) == 0)
        return r;
    uint32_t index = any_of(80);
    r.operation = any_of(9);
    r.socket = any_of(8) ? server->entry[index].block.id : r.socket;
    r.generation = r.socket >> 16;
    r.argument[0] = any_of(3);
    r.argument[1] = any_of(any_of(8) ? 64 : 5000);
    r.address = address[any_of(5)];
    r.port = (uint16_t)any_of(4);
    return r;
}

static struct message any_message(void)
{
    static const uint8_t operation[] = {MESSAGE_ANSWER,    MESSAGE_ESTABLISHED, MESSAGE_ALIVE, MESSAGE_LOST,
                                        MESSAGE_ALIVE_END, MESSAGE_SEND,        MESSAGE_CLOSE};
    struct message m = told(operation[any_of(any_of(4) ? 4 : sizeof operation)]);
    const struct socket_block *block = &server->entry[any_of(80)].block;
    m.cookie = any_of(8) ? block->request.cookie : any_of(1U << 31);
    m.socket = (struct message_socket){.socket = any_of(4) ? block->id : 0,
                                       .session = any_of(any_of(8) ? 2 : 90),
                                       .connection = any_of(20) ? any_of(90) : INDEX_NONE,
                                       .arena = any_of(20),
                                       .slot = any_of(1100),
                                       .generation = any_of(4),
                                       .listener = server->entry[any_of(80)].block.id,
                                       .error = (int)any_of(8) - 4};
    if (m.operation == MESSAGE_ANSWER && any_of(2))
        m.socket.error = 0;
    m.source = any_of(2) ? ours : (struct ip_address){0};
    m.source_port = (uint16_t)any_of(3);
    return m;
}

static void check_account(void)
{
    uint32_t in_use = 0, listed = server->free.count;
    for (uint32_t i = 0; i < server->high; i++)
        in_use += server->entry[i].block.state != SOCKET_FREE;
    ck_assert_uint_eq(in_use + server->free.count, server->high);
    for (uint32_t i = 0; i < 2; i++) {
        ck_assert_uint_le(server->session[i].sockets.count, 64);
        listed += server->session[i].sockets.count;
    }
    ck_assert_uint_eq(listed, server->high);
}

/* Two applications and two transports that say anything, deaths of all of them in between. */
START_TEST(liars)
{
    seed = 1000 + (uint64_t)_i;
    struct message m;
    for (uint32_t i = 0; i < 6000; i++) {
        uint32_t id = any_of(2), lane = any_of(SESSION_LANES);
        struct control_request r = any_request();
        ask(id, lane, &r);
        struct wire_pair *w = any_of(3) ? tcp : udp;
        for (uint32_t n = any_of(4); n > 0; n--) {
            m = any_message();
            if (port_push(&w->test, &m))
                port_flush(&w->test);
        }
        server_socket.burst(server, now_us += 50);
        if (any_of(300) == 0) {
            die_and_start();
            continue;
        }
        finish();
        while (any_of(4) && (wire_take(tcp, &m) || wire_take(udp, &m)))
            ;
        if (any_of(300) == 0) {
            port_detach(&w->server);
            server_socket.peer_lost(server, w == tcp ? SERVER_TCP : SERVER_UDP);
            server_socket.burst(server, now_us);
            finish();
            wire_attach(w);
            server_socket.peer_attached(server, w == tcp ? SERVER_TCP : SERVER_UDP, now_us);
        }
        if (i % 64 == 0)
            check_account();
    }
    check_account();
    ck_assert_uint_gt(server->counters.requests + server->counters.reconciliations, 0);
    sessions_done = 0;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server_socket_lies");
    TCase *tc = tcase_create("server_socket_lies");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, transport_without_right);
    tcase_add_test(tc, transport_names_impossible_slot);
    tcase_add_loop_test(tc, liars, 0, 8);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
