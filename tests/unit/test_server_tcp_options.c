// SPDX-License-Identifier: BSD-2-Clause
/* The tcp server: options from the socket server's messages to the engine, ring sizes, what slot words say of a
 * connection besides its data, and errors of connect. */
#include "tests/unit/server_tcp_peer.h"

#include "servers/tcp/tcp_server.h"

static const struct tcp_conn *conn_of(const struct message *m)
{
    const struct tcp_server *s = h->state;
    return tcp_conn_at(s->engine, s->endpoint[m->socket.connection].connection);
}

#define ON(option) (1U << CONTROL_OPTION_##option)

static const struct message_options tuned = {
    .keep_idle_s = 30, .keep_interval_s = 7, .keep_count = 4, .maximum_segment = 1200, .congestion = 1};

static struct message ask(uint8_t operation, uint32_t socket, uint32_t backlog, uint32_t on, uint32_t tuning)
{
    struct message m = {.operation = operation, .source = {.family = ADDRESS_IP4}, .options = tuned};
    if (operation == MESSAGE_LISTEN)
        m.source_port = PORT;
    if (operation == MESSAGE_CONNECT) {
        m.destination = them;
        m.destination_port = 80;
    }
    m.socket = (struct message_socket){.socket = socket, .connection = NONE, .argument = {backlog, on, tuning, 45000}};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
    return m;
}

static void options_are_there(const struct tcp_options *o)
{
    ck_assert_uint_eq(o->nodelay, 1);
    ck_assert_uint_eq(o->keepalive, 1);
    ck_assert_uint_eq(o->linger_reset, 0);
    ck_assert_uint_eq(o->keep_idle_s, 30);
    ck_assert_uint_eq(o->keep_interval_s, 7);
    ck_assert_uint_eq(o->keep_count, 4);
    ck_assert_uint_eq(o->maximum_segment, 1200);
    ck_assert_uint_eq(o->congestion, 1);
    ck_assert_uint_eq(o->user_timeout_ms, 45000);
}

START_TEST(test_options_of_a_listener)
{
    struct message listener = ask(MESSAGE_LISTEN, LISTENER, 16, ON(NODELAY) | ON(KEEPALIVE), 0);
    ck_assert_int_eq(listener.socket.error, 0);
    options_are_there(&conn_of(&listener)->options);
    struct message m = {.socket.argument = {0, ON(NODELAY) | ON(KEEPALIVE), 0, 45000}, .options = tuned};
    m = accept_with(&m);
    options_are_there(&conn_of(&m)->options);
    harness_restart(h); /* the listener keeps them, and so do those that it makes */
    pump(2);
    ck_assert_uint_eq(reconciled().operation, MESSAGE_ALIVE_END);
    options_are_there(&conn_of(&listener)->options);
    free(peer.tcp);
    peer_new();
    h->now_us += 1000000;
    peer_connect();
    pump(4);
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    options_are_there(&conn_of(&m)->options);
}
END_TEST

/* The application has set the listener's between a connection's arrival and its accept(): what both sides have from
 * then on is what ACCEPTED says, or, if that was lost, OWNED. */
START_TEST(test_options_at_accept)
{
    ask(MESSAGE_LISTEN, LISTENER, 16, ON(LINGER_RESET), 0);
    peer_connect();
    pump(4);
    struct message m, told;
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    ck_assert_uint_eq(conn_of(&m)->options.linger_reset, 1);
    ck_assert_uint_eq(conn_of(&m)->options.keep_idle_s, 30);
    const struct message_options since = {.keep_idle_s = 60, .maximum_segment = 1000};
    struct message owner = {
        .operation = _i == 0 ? MESSAGE_ACCEPTED : MESSAGE_OWNED, .socket = m.socket, .options = since};
    owner.socket.socket = CHILD;
    owner.socket.argument[1] = ON(NODELAY);
    owner.socket.argument[2] = message_tuning(9, 0x10, 0, 0);
    owner.socket.argument[3] = 1000;
    harness_request(h, &owner);
    harness_turn(h);
    const struct tcp_server *s = h->state;
    for (int i = 0; i < 2; i++) {
        const struct tcp_options *o = &conn_of(&m)->options;
        ck_assert_uint_eq(o->nodelay, 1);
        ck_assert_uint_eq(o->linger_reset, 0);
        ck_assert_uint_eq(o->keep_idle_s, 60);
        ck_assert_uint_eq(o->keep_interval_s, 0);
        ck_assert_uint_eq(o->maximum_segment, 1000);
        ck_assert_uint_eq(o->user_timeout_ms, 1000);
        ck_assert_uint_eq(s->transport.endpoint[m.socket.connection].ttl, 9);
        ck_assert_uint_eq(s->transport.endpoint[m.socket.connection].traffic_class, 0x10);
        harness_request(h, &owner); /* once more changes nothing */
        harness_turn(h);
    }
    ck_assert(!harness_told(h, MESSAGE_LOST, &told));
}
END_TEST

START_TEST(test_options_of_a_connection)
{
    struct message m = ask(MESSAGE_CONNECT, ACTIVE, 0, ON(NODELAY) | ON(KEEPALIVE), 0);
    ck_assert_int_eq(m.socket.error, 0);
    options_are_there(&conn_of(&m)->options);
    ck_assert_int_eq(ask(MESSAGE_SET_OPTION, ACTIVE, 0, ON(LINGER_RESET), 0).socket.error, 0);
    ck_assert_uint_eq(conn_of(&m)->options.keepalive, 0);
    ck_assert_uint_eq(conn_of(&m)->options.linger_reset, 1);
}
END_TEST

/* RFC 9293 3.9.1.9: the class and the TTL may change while the connection lives; its next segment has them. */
START_TEST(test_class_changes)
{
    struct message sent, m = ask(MESSAGE_CONNECT, ACTIVE, 0, 0, message_tuning(9, 0x10, 0, 0));
    ck_assert_int_eq(m.socket.error, 0);
    ck_assert(harness_sent(h, &sent));
    ck_assert(sent.ttl == 9 && sent.traffic_class == 0x10);
    harness_return(h, sent.cookie);
    ck_assert_int_eq(ask(MESSAGE_SET_OPTION, ACTIVE, 0, 0, message_tuning(77, 0xb8, 0, 0)).socket.error, 0);
    h->now_us += 1000000;
    harness_turn(h); /* the SYN again */
    ck_assert(harness_sent(h, &sent));
    ck_assert(sent.ttl == 77 && sent.traffic_class == 0xb8);
    harness_return(h, sent.cookie);
}
END_TEST

START_TEST(test_new_backlog)
{
    struct message m = ask(MESSAGE_LISTEN, LISTENER, 16, 0, 0);
    ck_assert_uint_eq(conn_of(&m)->backlog, 16);
    struct message again = ask(MESSAGE_LISTEN, LISTENER, 3, ON(KEEPALIVE), 0);
    ck_assert_int_eq(again.socket.error, 0);
    ck_assert_uint_eq(again.socket.connection, m.socket.connection);
    ck_assert_uint_eq(conn_of(&m)->backlog, 3);
    ck_assert_uint_eq(conn_of(&m)->options.keepalive, 1);
    m = ask(MESSAGE_CONNECT, ACTIVE, 0, 0, 0);
    ck_assert_int_eq(ask(MESSAGE_LISTEN, ACTIVE, 3, 0, 0).socket.error, EINVAL);
    harness_restart(h);
    pump(2);
    ck_assert_uint_eq(reconciled().operation, MESSAGE_ALIVE_END);
    const struct tcp_server *s = h->state;
    ck_assert_uint_eq(tcp_conn_at(s->engine, s->endpoint[again.socket.connection].connection)->backlog, 3);
}
END_TEST

/* Arena 0 has rings of 16 KiB each; arena 1 receive rings of 8 KiB. */
START_TEST(test_ring_sizes)
{
    const uint32_t small = message_tuning(0, 0, 0, 13), none = message_tuning(0, 0, 12, 0);
    ck_assert_int_eq(ask(MESSAGE_LISTEN, LISTENER, 4, 0, small).socket.error, ENOBUFS);
    ck_assert_int_eq(ask(MESSAGE_CONNECT, ACTIVE, 0, 0, small).socket.error, ENOBUFS);
    harness_arena(h, 1, SESSION_TCP, 2);
    h->session[0].arena[1].receive_size = h->session[0].arena[1].receive_most = 8192;
    ck_assert_int_eq(ask(MESSAGE_CONNECT, ACTIVE, 0, 0, none).socket.error, ENOBUFS);
    struct message m = ask(MESSAGE_CONNECT, ACTIVE, 0, 0, small);
    ck_assert_int_eq(m.socket.error, 0);
    ck_assert_uint_eq(m.socket.arena, 1);
    ck_assert_uint_eq(conn_of(&m)->receive_size, 8192);
    close_socket(ACTIVE);
    ck_assert_int_eq(ask(MESSAGE_LISTEN, LISTENER, 4, 0, small).socket.error, 0);
    m = accept_one();
    ck_assert_uint_eq(m.socket.arena, 1);
    m = ask(MESSAGE_CONNECT, ACTIVE, 0, 0, 0); /* any */
    ck_assert_uint_eq(m.socket.arena, 0);
    m = ask(MESSAGE_CONNECT, ACTIVE + 1, 0, 0, message_tuning(0, 0, 255, 200)); /* nonsense is none */
    ck_assert_int_eq(m.socket.error, 0);
}
END_TEST

START_TEST(test_cork)
{
    listen_answer();
    struct message m = accept_one();
    harness_app(h, 0, m.socket.slot)->flags = SLOT_APP_CORK;
    app_write(&m, "abc", 3);
    pump(4);
    ck_assert_uint_eq(words(&m)->send_tail, 0);
    app_write(&m, "def", 3);
    harness_app(h, 0, m.socket.slot)->flags = 0;
    pump(4);
    settle();
    ck_assert_uint_eq(words(&m)->send_tail, 6);
    ck_assert_mem_eq(peer.receive, "abcdef", 6);
    harness_app(h, 0, m.socket.slot)->flags = SLOT_APP_CORK;
    app_write(&m, "gh", 2);
    pump(4);
    ck_assert_mem_ne(peer.receive + 6, "gh", 2);
    h->now_us += 200000;
    settle();
    ck_assert_mem_eq(peer.receive + 6, "gh", 2);
}
END_TEST

START_TEST(test_drained)
{
    listen_answer();
    struct message m = accept_one();
    app_write(&m, "all", 3);
    settle();
    ck_assert_uint_eq(words(&m)->send_tail, 3);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED); /* the FIN is not out */
    peer.drop = 1;
    harness_app(h, 0, m.socket.slot)->flags = SLOT_APP_SHUTDOWN;
    harness_notify(h, 0, m.socket.slot);
    pump(4);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED); /* ... nor here, acknowledged */
    h->now_us += 1000000;
    settle();
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED | SLOT_DRAINED);
}
END_TEST

START_TEST(test_figures)
{
    listen_answer();
    struct message m = accept_one();
    app_write(&m, "first", 5);
    peer.drop = 1;
    pump(2);
    h->now_us += 1000000;
    settle();
    const struct slot_transport *w = words(&m);
    const struct tcp_conn *c = conn_of(&m);
    ck_assert_uint_eq(w->tcp_kind & 0xf, TCP_ESTABLISHED);
    ck_assert_uint_eq(w->tcp_kind >> 4 & 0xf, TCP_CONGESTION_CUBIC);
    ck_assert_uint_eq(w->tcp_kind >> 24 & TCP_KIND_SCALED, TCP_KIND_SCALED);
    ck_assert_uint_eq(w->tcp_kind >> 16 & 0xf, c->receive_window_scale);
    ck_assert_uint_eq(w->tcp_kind >> 20 & 0xf, c->send_window_scale);
    ck_assert_uint_eq(w->retransmitted, 1);
    ck_assert_uint_eq(w->cwnd, c->cwnd);
    ck_assert_uint_eq(w->ssthresh, c->ssthresh);
    ck_assert_uint_eq(w->rto_us, c->rto_us);
    ck_assert_uint_eq(w->srtt_us, c->srtt_us);
    ck_assert_uint_eq(w->rttvar_us, c->rttvar_us);
    ck_assert_uint_eq(w->mss & 0xffff, c->mss - 12U); /* of what goes out: timestamps take theirs */
    ck_assert_uint_eq(w->mss >> 16, c->rcv_mss);
    app_write(&m, "lost", 4); /* while it is being sent again */
    peer.drop = 3;
    pump(2);
    h->now_us += 500000;
    pump(2);
    ck_assert_uint_ge(w->tcp_kind >> 8 & 0xff, 1);
    tcp_abort(peer.tcp, h->now_us, peer.conn);
    peer.drop = 0;
    pump(4);
    ck_assert_uint_eq(words(&m)->tcp_kind, TCP_CLOSED);
}
END_TEST

/* ---- closing ---- */

/* SO_LINGER with 0 s holds, too, when the application dies. */
START_TEST(test_linger_reset_of_a_dead_application)
{
    const struct message on = {.socket.argument = {0, _i == 0 ? ON(LINGER_RESET) : 0}};
    ask(MESSAGE_LISTEN, LISTENER, 4, on.socket.argument[1], 0);
    accept_with(&on);
    harness_session_end(h);
    pump(4);
    const struct tcp_conn *c = tcp_conn_at(peer.tcp, peer.conn);
    ck_assert_uint_eq(c->state, _i == 0 ? TCP_CLOSED : TCP_CLOSE_WAIT);
    ck_assert_uint_eq(c->error, _i == 0 ? TCP_ERROR_RESET : TCP_ERROR_NONE);
}
END_TEST

/* The supervisor's patience with it has ended: what is left is reset. */
START_TEST(test_session_removed_by_force)
{
    static const uint8_t bytes[HARNESS_SEND];
    struct message told;
    listen_answer();
    struct message m = accept_one();
    app_write(&m, bytes, sizeof bytes);
    for (unsigned i = 0; i < 4; i++) { /* nothing arrives */
        harness_turn(h);
        while (harness_sent(h, &told))
            harness_return(h, told.cookie);
    }
    harness_session_end(h);
    harness_turn(h);
    ck_assert(!harness_told(h, MESSAGE_LOST, &told)); /* it keeps its place until all is sent */
    h->server->session_removed(h->state, 0);
    harness_turn(h);
    bool reset = false;
    while (harness_sent(h, &told)) {
        reset = reset || (harness_at(h, &told.reference[0])[13] & 0x04) != 0;
        harness_return(h, told.cookie);
    }
    ck_assert(reset);
}
END_TEST

/* ---- errors of connect ---- */
static const struct {
    bool ip6;
    uint8_t type, code;
    int error;
} unreachable_rows[] = {
    {false, 3, 0, ENETUNREACH},   {false, 3, 1, EHOSTUNREACH},   {false, 3, 2, ENOPROTOOPT},
    {false, 3, 3, ECONNREFUSED},  {false, 3, 6, ENETUNREACH},    {false, 3, 10, EHOSTUNREACH},
    {false, 3, 13, EHOSTUNREACH}, {false, 3, 255, EHOSTUNREACH}, {false, 11, 0, EHOSTUNREACH},
    {true, 1, 0, ENETUNREACH},    {true, 1, 1, EACCES},          {true, 1, 2, EHOSTUNREACH},
    {true, 1, 3, EHOSTUNREACH},   {true, 1, 4, ECONNREFUSED},    {true, 1, 5, EACCES},
    {true, 1, 6, EACCES},         {true, 1, 255, EHOSTUNREACH},  {true, 3, 0, EHOSTUNREACH},
};

START_TEST(test_connect_unreachable)
{
    struct message m = {.operation = MESSAGE_CONNECT, .destination_port = 80};
    m.destination = unreachable_rows[_i].ip6 ? (struct ip_address)HARNESS_PEER6 : them;
    m.socket = (struct message_socket){.socket = ACTIVE};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
    ck_assert_int_eq(m.socket.error, 0);
    struct message sent, u = {.operation = MESSAGE_UNREACHABLE, .capability = CAPABILITY_INDEX_PEER, .generation = 1};
    ck_assert(harness_sent(h, &sent));
    const uint8_t *header = harness_at(h, &sent.reference[0]);
    u.cookie = (uint32_t)header[4] << 24 | (uint32_t)header[5] << 16 | (uint32_t)header[6] << 8 | header[7];
    harness_return(h, sent.cookie);
    u.source = sent.source;
    u.source_port = sent.source_port;
    u.destination = sent.destination;
    u.destination_port = sent.destination_port;
    u.protocol = 6;
    u.traffic_class = unreachable_rows[_i].type;
    u.ttl = unreachable_rows[_i].code;
    ck_assert(port_push(&h->ip_end, &u));
    harness_turn(h);
    ck_assert_uint_eq(words(&m)->state, SLOT_ERROR | SLOT_CLOSED);
    ck_assert_int_eq((int)words(&m)->error, unreachable_rows[_i].error);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("server_tcp_options");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_options_of_a_listener);
    tcase_add_loop_test(c, test_options_at_accept, 0, 2);
    tcase_add_test(c, test_options_of_a_connection);
    tcase_add_test(c, test_class_changes);
    tcase_add_test(c, test_new_backlog);
    tcase_add_test(c, test_ring_sizes);
    tcase_add_test(c, test_cork);
    tcase_add_test(c, test_drained);
    tcase_add_test(c, test_figures);
    tcase_add_loop_test(c, test_linger_reset_of_a_dead_application, 0, 2);
    tcase_add_test(c, test_session_removed_by_force);
    tcase_add_loop_test(c, test_connect_unreachable, 0, (int)(sizeof unreachable_rows / sizeof unreachable_rows[0]));
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
