// SPDX-License-Identifier: BSD-2-Clause
/* The socket server: every operation, with good and bad arguments. */
#include "tests/unit/socket_harness.h"

/* ---- sockets ---- */
START_TEST(socket_arguments)
{
    static const struct {
        uint32_t transport, descriptor;
        int error;
    } rows[] = {
        {SESSION_TCP, 0, 0},
        {SESSION_UDP, SESSION_DESCRIPTORS - 1, 0},
        {2, 0, EPROTONOSUPPORT},
        {UINT32_MAX, 0, EPROTONOSUPPORT},
        {SESSION_TCP, SESSION_DESCRIPTORS, EINVAL},
        {SESSION_TCP, UINT32_MAX, EINVAL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct control_request r = with(about(CONTROL_SOCKET, 0), rows[i].transport, rows[i].descriptor);
        ck_assert_int_eq(call(&r).error, rows[i].error);
    }
    ck_assert_uint_eq(server->counters.sockets_made, 2);
    ck_assert_uint_eq(server->counters.refused, 4);
    ck_assert_int_eq(call_error(about(0, 0)), EOPNOTSUPP);
    ck_assert_int_eq(call_error(about(99, 0)), EOPNOTSUPP);
}
END_TEST

START_TEST(socket_quota)
{
    session[0].socket_quota = 3;
    uint32_t s = 0;
    for (uint32_t i = 0; i < 3; i++)
        s = new_socket(0, SESSION_TCP, i);
    ck_assert_int_eq(call_error(with(about(CONTROL_SOCKET, 0), SESSION_TCP, 4)), EMFILE);
    new_socket(1, SESSION_TCP, 0); /* the other's own */
    ck_assert_int_eq(call_error(about(CONTROL_CLOSE, s)), 0);
    new_socket(0, SESSION_TCP, 2);
    expect_silence(tcp);
}
END_TEST

START_TEST(table_full)
{
    session[0].socket_quota = UINT32_MAX;
    for (uint32_t i = 0; i < SOCKETS_MAX; i++)
        new_socket(0, SESSION_TCP, 0);
    ck_assert_int_eq(call_error(with(about(CONTROL_SOCKET, 0), SESSION_TCP, 0)), ENOBUFS);
}
END_TEST

START_TEST(ids_rest_before_reuse)
{
    uint32_t first = new_socket(0, SESSION_TCP, 0), s = first;
    uint32_t rest = 0;
    do {
        ck_assert_int_eq(call_error(about(CONTROL_CLOSE, s)), 0);
        ck_assert_int_eq(call_error(about(CONTROL_CLOSE, s)), EBADF);
        s = new_socket(0, SESSION_TCP, 0);
        rest++;
    } while ((s & 0xffff) != (first & 0xffff));
    ck_assert_uint_ge(rest, REUSE_DELAY);
    ck_assert_uint_eq(s >> 16, (first >> 16) + 1);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, first, any4, 80)), EBADF); /* stale generation */
}
END_TEST

START_TEST(foreign_socket)
{
    uint32_t s = new_socket(1, SESSION_TCP, 0);
    for (uint32_t operation = CONTROL_BIND; operation <= CONTROL_SET_OPTION; operation++)
        ck_assert_int_eq(call_error(naming(operation, s, any4, 80)), EBADF);
    struct control_request r = about(CONTROL_CLOSE, s);
    r.generation++;
    ask(1, 0, &r);
    ck_assert_int_eq(answer_of(1, 0).error, EBADF);
}
END_TEST

/* ---- names ---- */
START_TEST(tcp_bind)
{
    static const struct {
        struct ip_address address;
        uint16_t port;
        int error;
    } rows[] = {
        {{.family = ADDRESS_IP6}, 80, EAFNOSUPPORT},
        {{.family = ADDRESS_NONE}, 80, EAFNOSUPPORT},
        {{.family = 77}, 80, EAFNOSUPPORT},
        {THEIRS, 80, EADDRNOTAVAIL},
        {OURS, 80, 0},
        {{.family = ADDRESS_IP4}, 0, 0},
        {{.family = ADDRESS_IP4}, 8080, 0},
        {OURS, 65535, 0},
        {OURS, 1, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t s = new_socket(0, SESSION_TCP, 0);
        struct control_request r = naming(CONTROL_BIND, s, rows[i].address, rows[i].port);
        struct control_answer a = call(&r);
        ck_assert_int_eq(a.error, rows[i].error);
        if (a.error != 0)
            continue;
        if (rows[i].port != 0)
            ck_assert_uint_eq(a.local_port, rows[i].port);
        ck_assert_uint_ge(a.local_port, 1);
        ck_assert_int_eq(call_error(r), EINVAL); /* bound already */
        ck_assert_int_eq(call_error(about(CONTROL_CLOSE, s)), 0);
    }
    expect_silence(tcp); /* names are kept here */
}
END_TEST

START_TEST(tcp_name_conflicts)
{
    uint32_t a = new_socket(0, SESSION_TCP, 0), b = new_socket(0, SESSION_TCP, 1), c = new_socket(1, SESSION_TCP, 0);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, a, ours, 80)), 0);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, b, any4, 80)), EADDRINUSE);
    struct control_request r = naming(CONTROL_BIND, c, ours, 80);
    ask(1, 0, &r);
    ck_assert_int_eq(answer_of(1, 0).error, EADDRINUSE); /* whoever has it */
    ck_assert_int_eq(call_error(option(b, CONTROL_OPTION_REUSE_ADDRESS, 1)), 0);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, b, any4, 80)), EADDRINUSE); /* both must say so */
    ck_assert_int_eq(call_error(option(a, CONTROL_OPTION_REUSE_ADDRESS, 1)), 0);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, b, any4, 80)), 0);
    r = with(about(CONTROL_LISTEN, a), 8, 0);
    ask(0, 1, &r);
    struct message m = expect(tcp, MESSAGE_LISTEN);
    ck_assert_int_eq(call_error(with(about(CONTROL_LISTEN, b), 8, 0)), EADDRINUSE);
    reply(tcp, &m, 0, 0, 80);
    ck_assert_int_eq(answer_of(0, 1).error, 0);
    ck_assert_int_eq(call_error(about(CONTROL_CLOSE, a)), 0);
    expect(tcp, MESSAGE_CLOSE);
    r = with(about(CONTROL_LISTEN, b), 8, 0); /* the name is free though tcp has not answered */
    ask(0, 1, &r);
    expect(tcp, MESSAGE_LISTEN);
}
END_TEST

START_TEST(listen_arguments)
{
    uint32_t u = new_socket(0, SESSION_UDP, 0), s = new_socket(0, SESSION_TCP, 1);
    ck_assert_int_eq(call_error(with(about(CONTROL_LISTEN, u), 1, 0)), EOPNOTSUPP);
    ck_assert_int_eq(call_error(with(about(CONTROL_ACCEPT, u), 0, 1)), EOPNOTSUPP);
    ck_assert_int_eq(call_error(with(about(CONTROL_ACCEPT, s), 0, 1)), EINVAL);
    struct control_request r =
        with(about(CONTROL_LISTEN, s), 0, 0); /* unbound: an ephemeral port; backlog at least one */
    ask(0, 0, &r);
    struct message m = expect(tcp, MESSAGE_LISTEN);
    ck_assert_uint_ge(m.source_port, EPHEMERAL_MIN);
    ck_assert_uint_eq(m.socket.argument[0], 1);
    r = with(about(CONTROL_LISTEN, s), 5, 0);
    ask(0, 1, &r);
    ck_assert_int_eq(answer_of(0, 1).error, EALREADY);
    reply(tcp, &m, EADDRINUSE, INDEX_NONE, 0);
    ck_assert_int_eq(answer_of(0, 0).error, EADDRINUSE);
    r = with(about(CONTROL_LISTEN, s), UINT32_MAX, 0); /* the socket may be tried again */
    ask(0, 0, &r);
    m = expect(tcp, MESSAGE_LISTEN);
    ck_assert_uint_eq(m.socket.argument[0], 1); /* an int, negative */
    reply(tcp, &m, 0, 3, m.source_port);
    ck_assert_uint_eq(answer_of(0, 0).local_port, m.source_port);
    r = with(about(CONTROL_LISTEN, s), 9, 0); /* a new backlog */
    ask(0, 0, &r);
    m = expect(tcp, MESSAGE_LISTEN);
    ck_assert_uint_eq(m.socket.argument[0], 9);
    ck_assert_uint_eq(m.socket.socket, s);
    reply(tcp, &m, 0, 3, m.source_port);
    ck_assert_int_eq(answer_of(0, 0).error, 0);
    ck_assert_int_eq(call_error(naming(CONTROL_CONNECT, s, theirs, 80)), EOPNOTSUPP);
    ck_assert_int_eq(call_error(with(about(CONTROL_ACCEPT, s), 0, 9)), EAGAIN);
}
END_TEST

/* ---- connections ---- */
START_TEST(tcp_connect)
{
    uint32_t s = new_socket(0, SESSION_TCP, 4);
    ck_assert_int_eq(call_error(naming(CONTROL_CONNECT, s, any4, 80)), EADDRNOTAVAIL);
    ck_assert_int_eq(call_error(naming(CONTROL_CONNECT, s, theirs, 0)), ECONNREFUSED);
    ck_assert_int_eq(call_error(naming(CONTROL_CONNECT, s, (struct ip_address){.family = 6, .octets = {1}}, 80)),
                     EAFNOSUPPORT);
    ck_assert_int_eq(call_error(naming(CONTROL_CONNECT, s, (struct ip_address){0}, 80)), EAFNOSUPPORT);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, ours, 5000)), 0);
    struct control_request r = naming(CONTROL_CONNECT, s, theirs, 80);
    ask(0, 0, &r);
    struct message m = expect(tcp, MESSAGE_CONNECT);
    ck_assert_uint_eq(m.socket.socket, s);
    ck_assert_uint_eq(m.source_port, 5000);
    ck_assert(ip_address_equal(&m.source, &ours) && ip_address_equal(&m.destination, &theirs));
    ck_assert_uint_eq(m.destination_port, 80);
    reply(tcp, &m, ENOBUFS, INDEX_NONE, 0);
    ck_assert_int_eq(answer_of(0, 0).error, ENOBUFS);
    ask(0, 0, &r); /* as after adding an arena */
    m = expect(tcp, MESSAGE_CONNECT);
    reply(tcp, &m, 0, 11, 5000);
    struct control_answer a = answer_of(0, 0);
    ck_assert_int_eq(a.error, EINPROGRESS);
    ck_assert_uint_eq(a.arena, 1);
    ck_assert_uint_eq(a.slot, 5);
    ck_assert_uint_eq(a.slot_generation, 9);
    ck_assert_uint_eq(a.local_port, 5000);
    ck_assert_uint_eq(a.remote_port, 80);
    ck_assert_int_eq(call_error(r), EISCONN);
    ck_assert_int_eq(call_error(with(about(CONTROL_LISTEN, s), 1, 0)), EINVAL);
    struct message lost = told(MESSAGE_LOST);
    lost.socket.socket = s;
    lost.socket.error = ECONNREFUSED;
    tell(tcp, &lost);
    ck_assert_uint_eq(answers[0]->word[4].error, ECONNREFUSED);
    ck_assert_int_eq(call_error(r), ECONNREFUSED);
    ck_assert_int_eq(call_error(about(CONTROL_CLOSE, s)), 0);
    expect_silence(tcp); /* it has let go already */
}
END_TEST

/* What a transport has lost of names its list tells after its restart, and nothing else does. */
START_TEST(names_are_not_lost)
{
    uint32_t u = new_socket(0, SESSION_UDP, 0), l = new_listener(80, 4);
    struct control_request r = naming(CONTROL_BIND, u, any4, 53);
    ask(0, 0, &r);
    struct message m = expect(udp, MESSAGE_BIND), lost = told(MESSAGE_LOST);
    reply(udp, &m, 0, 11, 53);
    ck_assert_int_eq(answer_of(0, 0).error, 0);
    lost.socket.socket = u;
    tell(udp, &lost);
    lost.socket.socket = l;
    tell(tcp, &lost);
    ck_assert_uint_eq(server->counters.drop_not_lost, 2);
    ck_assert_uint_eq(server->counters.lost, 0);
    struct message e = established(l, 5);
    tell(tcp, &e);
    ck_assert_uint_eq(answers[0]->word[3].accept_ready, 1);
}
END_TEST

START_TEST(close_asks_the_transport)
{
    uint32_t s = new_connected(11);
    ck_assert_int_eq(call_error(about(CONTROL_CLOSE, s)), 0); /* at once */
    struct message m = expect(tcp, MESSAGE_CLOSE);
    ck_assert_uint_eq(m.socket.connection, 11);
    ck_assert_uint_eq(m.socket.generation, 9);
    ck_assert_int_eq(call_error(about(CONTROL_CLOSE, s)), EBADF);
    uint64_t freed = server->counters.sockets_freed;
    reply(tcp, &m, 0, INDEX_NONE, 0);
    ck_assert_uint_eq(server->counters.sockets_freed, freed + 1);
}
END_TEST

START_TEST(close_overtakes_a_request)
{
    uint32_t s = new_socket(0, SESSION_TCP, 4);
    struct control_request r = naming(CONTROL_CONNECT, s, theirs, 80);
    ask(0, 1, &r);
    struct message connect = expect(tcp, MESSAGE_CONNECT);
    ck_assert_int_eq(call_error(about(CONTROL_CLOSE, s)), 0);
    ck_assert_int_eq(answer_of(0, 1).error, EBADF);
    struct message close = expect(tcp, MESSAGE_CLOSE);
    ck_assert_uint_gt(close.cookie, connect.cookie);
    reply(tcp, &connect, 0, 11, 40000);
    ck_assert_uint_eq(server->counters.drop_stale_answer, 1);
    reply(tcp, &close, 0, INDEX_NONE, 0);
    ck_assert(socket_lookup(server, s) == NULL);
}
END_TEST

START_TEST(udp_names)
{
    uint32_t s = new_socket(0, SESSION_UDP, 2);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, theirs, 53)), EADDRNOTAVAIL);
    struct control_request r = naming(CONTROL_BIND, s, ours, 0);
    ask(0, 0, &r);
    struct message m = expect(udp, MESSAGE_BIND);
    reply(udp, &m, EADDRINUSE, INDEX_NONE, 0);
    ck_assert_int_eq(answer_of(0, 0).error, EADDRINUSE);
    ask(0, 0, &r);
    m = expect(udp, MESSAGE_BIND);
    ck_assert_uint_eq(m.source_port, 0);
    reply(udp, &m, 0, 4, 40001);
    struct control_answer a = answer_of(0, 0);
    ck_assert_int_eq(a.error, 0);
    ck_assert_uint_eq(a.local_port, 40001);
    ck_assert_uint_eq(a.slot, 5);
    r = naming(CONTROL_CONNECT, s, theirs, 53);
    ask(0, 0, &r);
    m = expect(udp, MESSAGE_CONNECT);
    reply(udp, &m, 0, 4, 40001);
    ck_assert_int_eq(answer_of(0, 0).error, 0);
    r = naming(CONTROL_CONNECT, s, (struct ip_address){0}, 0);
    ask(0, 0, &r);
    m = expect(udp, MESSAGE_CONNECT);
    ck_assert_uint_eq(m.destination.family, ADDRESS_NONE);
    reply(udp, &m, 0, 4, 40001);
    ck_assert_uint_eq(answer_of(0, 0).remote_port, 0);
}
END_TEST

START_TEST(udp_connect_binds_first)
{
    uint32_t s = new_socket(0, SESSION_UDP, 2);
    ck_assert_int_eq(call_error(naming(CONTROL_CONNECT, s, (struct ip_address){0}, 0)), 0);
    struct control_request r = naming(CONTROL_CONNECT, s, theirs, 53);
    ask(0, 0, &r);
    struct message m = expect(udp, MESSAGE_BIND);
    reply(udp, &m, 0, 4, 40001);
    ck_assert(!answered(0, 0));
    m = expect(udp, MESSAGE_CONNECT);
    ck_assert_uint_eq(m.destination_port, 53);
    ck_assert_uint_eq(m.socket.connection, 4);
    reply(udp, &m, 0, 4, 40001);
    struct control_answer a = answer_of(0, 0);
    ck_assert_int_eq(a.error, 0);
    ck_assert_uint_eq(a.remote_port, 53);
    ck_assert_uint_eq(a.local_port, 40001);
}
END_TEST

/* ---- accept ---- */
START_TEST(accept_one)
{
    uint32_t l = new_listener(80, 4);
    struct message e = established(l, 30);
    tell(tcp, &e);
    uint32_t ready = answers[0]->ready_producer;
    tell(tcp, &e); /* told again */
    ck_assert_uint_eq(answers[0]->word[3].accept_ready, 1);
    ck_assert_uint_eq(answers[0]->ready[(ready - 1) % SESSION_DESCRIPTORS], 3);
    ck_assert_int_eq(call_error(with(about(CONTROL_ACCEPT, l), 0, SESSION_DESCRIPTORS)), EINVAL);
    struct control_request r = with(about(CONTROL_ACCEPT, l), 0, 9);
    struct control_answer a = call(&r);
    ck_assert_int_eq(a.error, 0);
    ck_assert_uint_ne(a.socket, l);
    ck_assert_uint_eq(a.remote_port, 40030);
    ck_assert_uint_eq(a.local_port, 80);
    ck_assert_uint_eq(a.arena, 2);
    ck_assert_uint_eq(a.slot, 30);
    ck_assert_uint_eq(a.slot_generation, 130);
    ck_assert_uint_eq(answers[0]->word[3].accept_ready, 0);
    ck_assert_uint_gt(answers[0]->ready_producer - ready, 0);
    ck_assert_uint_le(answers[0]->ready_producer - ready, 4); /* who watches them looks at two words */
    struct message m = expect(tcp, MESSAGE_ACCEPTED);
    ck_assert_uint_eq(m.socket.socket, a.socket);
    ck_assert_uint_eq(m.socket.connection, 30);
    ck_assert_uint_eq(m.socket.generation, 130);
    ck_assert_int_eq(call(&r).error, EAGAIN);
    tell(tcp, &e); /* it is owned */
    ck_assert_int_eq(call(&r).error, EAGAIN);
    expect_silence(tcp);
}
END_TEST

/* What waits for one that was shut down is closed, and what comes, until it listens again. */
START_TEST(listener_shut_down)
{
    uint32_t l = new_listener(80, 4);
    struct message e[3] = {established(l, 30), established(l, 31), established(l, 32)};
    tell(tcp, &e[0]);
    tell(tcp, &e[1]);
    ck_assert_uint_eq(answers[0]->word[3].accept_ready, 2);
    ck_assert_int_eq(call_error(with(about(CONTROL_LISTEN, l), 0, 0)), 0);
    ck_assert_uint_eq(answers[0]->word[3].accept_ready, 0);
    ck_assert_uint_eq(expect(tcp, MESSAGE_CLOSE).socket.connection, 30);
    ck_assert_uint_eq(expect(tcp, MESSAGE_CLOSE).socket.connection, 31);
    tell(tcp, &e[2]);
    ck_assert_uint_eq(expect(tcp, MESSAGE_CLOSE).socket.connection, 32);
    ck_assert_int_eq(call_error(with(about(CONTROL_ACCEPT, l), 0, 9)), EAGAIN);
    expect_silence(tcp);
    struct control_request r = with(about(CONTROL_LISTEN, l), 2, 0);
    ask(0, 0, &r);
    struct message m = expect(tcp, MESSAGE_LISTEN);
    ck_assert_uint_eq(m.socket.argument[0], 2);
    reply(tcp, &m, 0, 7, 80);
    ck_assert_int_eq(answer_of(0, 0).error, 0);
    struct message again = established(l, 33);
    tell(tcp, &again);
    ck_assert_uint_eq(answers[0]->word[3].accept_ready, 1);
}
END_TEST

START_TEST(accept_refusals)
{
    uint32_t l = new_listener(80, 2);
    for (uint32_t i = 0; i < 3; i++) {
        struct message e = established(l, i);
        tell(tcp, &e);
    }
    expect_silence(tcp);
    struct message e = established(l, 3);
    tell(tcp, &e);
    struct message m = expect(tcp, MESSAGE_CLOSE);
    ck_assert_uint_eq(server->counters.drop_backlog_full, 1);
    ck_assert_uint_eq(m.socket.socket, 0);
    ck_assert_uint_eq(m.socket.connection, 3);
    ck_assert_uint_eq(m.socket.generation, 103);
    e = established(l + (1 << 16), 4);
    tell(tcp, &e);
    expect(tcp, MESSAGE_CLOSE);
    e = established(l, 5);
    e.socket.session = 1; /* not the listener's */
    tell(tcp, &e);
    expect(tcp, MESSAGE_CLOSE);
    ck_assert_uint_eq(server->counters.drop_no_listener, 2);
    e = established(l, 0);
    e.operation = MESSAGE_LOST;
    e.socket.listener = 0;
    tell(tcp, &e); /* died before anybody accepted it */
    ck_assert_uint_eq(answers[0]->word[3].accept_ready, 2);
    session[0].socket_quota = 1;
    ck_assert_int_eq(call_error(with(about(CONTROL_ACCEPT, l), 0, 9)), EMFILE);
    ck_assert_int_eq(call_error(about(CONTROL_CLOSE, l)), 0); /* its queue goes with it */
    ck_assert_uint_eq(expect(tcp, MESSAGE_CLOSE).socket.socket, l);
    ck_assert_uint_eq(server->connection[1].state, CONNECTION_UNKNOWN);
}
END_TEST

/* ---- options ---- */
START_TEST(options)
{
    uint32_t u = new_socket(0, SESSION_UDP, 0), s = new_connected(1), l = new_listener(80, 4);
    ck_assert_int_eq(call_error(option(u, CONTROL_OPTION_NODELAY, 1)), ENOPROTOOPT);
    ck_assert_int_eq(call_error(option(s, 0, 1)), ENOPROTOOPT);
    ck_assert_int_eq(call_error(option(s, UINT32_MAX, 1)), ENOPROTOOPT);
    struct control_request r = option(s, CONTROL_OPTION_NODELAY, 7);
    ask(0, 0, &r);
    struct message m = expect(tcp, MESSAGE_SET_OPTION);
    ck_assert_uint_eq(m.socket.argument[0], CONTROL_OPTION_NODELAY);
    ck_assert_uint_eq(m.socket.argument[1], 1U << CONTROL_OPTION_NODELAY);
    reply(tcp, &m, 0, 1, 0);
    ck_assert_int_eq(answer_of(0, 0).error, 0);
    r = option(l, CONTROL_OPTION_NODELAY, 1); /* for what it makes from now on */
    ask(0, 0, &r);
    m = expect(tcp, MESSAGE_SET_OPTION);
    ck_assert_uint_eq(m.socket.socket, l);
    reply(tcp, &m, 0, 7, 0);
    ck_assert_int_eq(answer_of(0, 0).error, 0);
    struct message e = established(l, 30);
    tell(tcp, &e);
    uint32_t a = call(&(struct control_request){
                          .operation = CONTROL_ACCEPT, .socket = l, .generation = l >> 16, .argument = {0, 9}})
                     .socket;
    expect(tcp, MESSAGE_ACCEPTED);
    expect_silence(tcp); /* which has said them all */
    r = option(a, CONTROL_OPTION_KEEPALIVE, 1);
    ask(0, 0, &r);
    m = expect(tcp, MESSAGE_SET_OPTION);
    ck_assert_uint_eq(m.socket.argument[1], 1U << CONTROL_OPTION_NODELAY | 1U << CONTROL_OPTION_KEEPALIVE);
    reply(tcp, &m, ENOTCONN, INDEX_NONE, 0); /* tcp has lost it: no reason to say so here */
    ck_assert_int_eq(answer_of(0, 0).error, 0);
    struct message lost = told(MESSAGE_LOST);
    lost.socket.socket = a;
    lost.socket.error = ECONNRESET;
    r = option(a, CONTROL_OPTION_KEEPALIVE, 0);
    ask(0, 0, &r);
    m = expect(tcp, MESSAGE_SET_OPTION);
    tell(tcp, &lost); /* while it is under way: it is the connection that was reset, not the option that was refused */
    reply(tcp, &m, 0, 1, 0);
    ck_assert_int_eq(answer_of(0, 0).error, 0);
    ck_assert_int_eq(call_error(option(a, CONTROL_OPTION_NODELAY, 0)), 0); /* as Linux: who is gone may still be set */
    expect_silence(tcp);
}
END_TEST

static const struct {
    uint32_t option, value;
} tuned[] = {
    {CONTROL_OPTION_KEEPALIVE, 1},       {CONTROL_OPTION_LINGER_RESET, 1},
    {CONTROL_OPTION_KEEP_IDLE, 600},     {CONTROL_OPTION_KEEP_INTERVAL, 32767},
    {CONTROL_OPTION_KEEP_COUNT, 127},    {CONTROL_OPTION_USER_TIMEOUT, 123456789},
    {CONTROL_OPTION_SEND_SIZE, 16384},   {CONTROL_OPTION_MAXIMUM_SEGMENT, 536},
    {CONTROL_OPTION_CONGESTION, 1},
    {CONTROL_OPTION_RECEIVE_SIZE, 4096}, {CONTROL_OPTION_TTL, 9},
};

static void expect_tuned(const struct message *m)
{
    ck_assert_uint_eq(m->socket.argument[1], 1U << CONTROL_OPTION_KEEPALIVE | 1U << CONTROL_OPTION_LINGER_RESET);
    ck_assert_uint_eq(m->socket.argument[2], message_tuning(9, 0, 14, 12));
    ck_assert_uint_eq(m->socket.argument[3], 123456789);
    ck_assert_uint_eq(m->options.keep_idle_s, 600);
    ck_assert_uint_eq(m->options.keep_interval_s, 32767);
    ck_assert_uint_eq(m->options.keep_count, 127);
    ck_assert_uint_eq(m->options.maximum_segment, 536);
    ck_assert_uint_eq(m->options.congestion, 1);
}

/* Every option of a stream, with every request, over deaths on either side, and to the connections of a listener. */
START_TEST(options_of_streams_travel)
{
    uint32_t s = new_socket(0, SESSION_TCP, 3);
    for (size_t i = 0; i < sizeof tuned / sizeof tuned[0]; i++)
        ck_assert_int_eq(call_error(option(s, tuned[i].option, tuned[i].value)), 0);
    expect_silence(tcp);
    struct control_request r = with(about(CONTROL_LISTEN, s), 4, 0);
    ask(0, 0, &r);
    struct message m = expect(tcp, MESSAGE_LISTEN);
    expect_tuned(&m);
    reply(tcp, &m, 0, 7, m.source_port);
    die_and_start();
    m = expect(tcp, MESSAGE_OWNED);
    expect_tuned(&m);
    expect(tcp, MESSAGE_OWNED_END);
    m = told(MESSAGE_ALIVE_END); /* tcp has lost all: it listens again, with all of them */
    r = option(s, CONTROL_OPTION_KEEPALIVE, 1);
    ask(0, 1, &r);
    turn();
    expect(tcp, MESSAGE_SET_OPTION);
    ck_assert(!answered(0, 1));
    tell(tcp, &m);
    m = expect(tcp, MESSAGE_LISTEN);
    expect_tuned(&m);
    ck_assert_int_eq(answer_of(0, 1).error, 0); /* said by LISTEN */
    r = option(s, CONTROL_OPTION_KEEPALIVE, 1); /* while that is not answered */
    ask(0, 2, &r);
    struct message before = m;
    m = expect(tcp, MESSAGE_LISTEN);
    expect_tuned(&m);
    reply(tcp, &before, 0, 7, m.source_port);
    ck_assert(!answered(0, 2));
    reply(tcp, &m, 0, 7, m.source_port);
    ck_assert_int_eq(answer_of(0, 2).error, 0);
    struct message e = established(s, 30);
    tell(tcp, &e);
    uint32_t a = call(&(struct control_request){
                          .operation = CONTROL_ACCEPT, .socket = s, .generation = s >> 16, .argument = {0, 9}})
                     .socket;
    m = expect(tcp, MESSAGE_ACCEPTED); /* tcp has given it those of the time it came */
    expect_tuned(&m);
    r = option(a, CONTROL_OPTION_KEEP_COUNT, 127);
    ask(0, 0, &r);
    m = expect(tcp, MESSAGE_SET_OPTION);
    ck_assert_uint_eq(m.socket.socket, a);
    expect_tuned(&m);
}
END_TEST

/* Sizes are those of the slot that a request is going to take. */
START_TEST(ring_sizes_in_time)
{
    static const uint32_t sizes[] = {CONTROL_OPTION_SEND_SIZE, CONTROL_OPTION_RECEIVE_SIZE};
    uint32_t s = new_connected(1), l = new_listener(80, 4), u = new_socket(0, SESSION_UDP, 0);
    uint32_t bound = new_socket(0, SESSION_TCP, 5);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, bound, any4, 81)), 0);
    struct control_request r = naming(CONTROL_BIND, u, any4, 53);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(call_error(option(s, sizes[i], 8192)), EINVAL);
        ck_assert_int_eq(call_error(option(l, sizes[i], 8192)), EINVAL);
        ck_assert_int_eq(call_error(option(bound, sizes[i], 8192)), 0);
        ck_assert_int_eq(call_error(option(u, sizes[i], 8192)), 0);
    }
    ask(0, 0, &r);
    struct message m = expect(udp, MESSAGE_BIND);
    ck_assert_uint_eq(m.socket.argument[2], message_tuning(0, 0, 13, 13));
    reply(udp, &m, 0, 4, 53);
    ck_assert_int_eq(answer_of(0, 0).error, 0);
    ck_assert_int_eq(call_error(option(u, CONTROL_OPTION_SEND_SIZE, 8192)), EINVAL);
    expect_silence(tcp);
}
END_TEST

START_TEST(option_values)
{
    static const struct {
        uint32_t transport, which, value;
        int error;
    } rows[] = {
        {SESSION_TCP, CONTROL_OPTION_TTL, 0, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_TTL, 256, EINVAL},
        {SESSION_UDP, CONTROL_OPTION_TTL, UINT32_MAX, EINVAL},
        {SESSION_UDP, CONTROL_OPTION_TTL, 255, 0},
        {SESSION_TCP, CONTROL_OPTION_TRAFFIC_CLASS, 256, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_TRAFFIC_CLASS, 0, 0},
        {SESSION_TCP, CONTROL_OPTION_DONT_FRAGMENT, 1, ENOPROTOOPT},
        {SESSION_TCP, CONTROL_OPTION_NO_CHECK, 1, ENOPROTOOPT},
        {SESSION_UDP, CONTROL_OPTION_NO_CHECK, 7, 0},
        {SESSION_TCP, CONTROL_OPTION_BROADCAST, 1, 0},
        {SESSION_UDP, CONTROL_OPTION_V6_ONLY, 1, 0},
        {SESSION_UDP, CONTROL_OPTION_KEEPALIVE, 1, ENOPROTOOPT},
        {SESSION_TCP, CONTROL_OPTION_KEEP_IDLE, 0, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_KEEP_IDLE, 32767, 0},
        {SESSION_TCP, CONTROL_OPTION_KEEP_IDLE, 32768, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_KEEP_INTERVAL, 0, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_KEEP_INTERVAL, 32768, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_KEEP_COUNT, 0, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_KEEP_COUNT, 128, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_USER_TIMEOUT, 0, 0},
        {SESSION_TCP, CONTROL_OPTION_USER_TIMEOUT, INT32_MAX, 0},
        {SESSION_TCP, CONTROL_OPTION_USER_TIMEOUT, 1U << 31, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_MAXIMUM_SEGMENT, 0, 0},
        {SESSION_TCP, CONTROL_OPTION_MAXIMUM_SEGMENT, 87, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_MAXIMUM_SEGMENT, 88, 0},
        {SESSION_TCP, CONTROL_OPTION_MAXIMUM_SEGMENT, 32767, 0},
        {SESSION_TCP, CONTROL_OPTION_MAXIMUM_SEGMENT, 32768, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_CONGESTION, 0, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_CONGESTION, 1, 0},
        {SESSION_TCP, CONTROL_OPTION_CONGESTION, 2, 0},
        {SESSION_TCP, CONTROL_OPTION_CONGESTION, 3, EINVAL},
        {SESSION_UDP, CONTROL_OPTION_CONGESTION, 1, ENOPROTOOPT},
        {SESSION_TCP, CONTROL_OPTION_SEND_SIZE, 0, 0},
        {SESSION_TCP, CONTROL_OPTION_SEND_SIZE, 2048, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_SEND_SIZE, 4096, 0},
        {SESSION_UDP, CONTROL_OPTION_SEND_SIZE, 5000, EINVAL},
        {SESSION_UDP, CONTROL_OPTION_RECEIVE_SIZE, SLOT_RING_MAX, 0},
        {SESSION_TCP, CONTROL_OPTION_RECEIVE_SIZE, SLOT_RING_MAX * 2, EINVAL},
        {SESSION_TCP, CONTROL_OPTION_CONGESTION + 1, 1, ENOPROTOOPT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t s = new_socket(0, rows[i].transport, 0);
        ck_assert_msg(call_error(option(s, rows[i].which, rows[i].value)) == rows[i].error, "row %zu", i);
    }
    uint32_t s = new_socket(0, SESSION_TCP, 0);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, any4, 81)), 0);
    ck_assert_int_eq(call_error(option(s, CONTROL_OPTION_V6_ONLY, 1)), EINVAL); /* the name is taken already */
    expect_silence(tcp);
    expect_silence(udp);
}
END_TEST

/* All of them with every request, so that a transport that has forgotten them knows them again. */
START_TEST(options_travel)
{
    uint32_t s = new_socket(0, SESSION_UDP, 0);
    ck_assert_int_eq(call_error(option(s, CONTROL_OPTION_TTL, 9)), 0);
    ck_assert_int_eq(call_error(option(s, CONTROL_OPTION_TRAFFIC_CLASS, 0xb8)), 0);
    ck_assert_int_eq(call_error(option(s, CONTROL_OPTION_BROADCAST, 1)), 0);
    expect_silence(udp);
    struct control_request r = naming(CONTROL_BIND, s, any4, 53);
    ask(0, 0, &r);
    struct message m = expect(udp, MESSAGE_BIND);
    ck_assert_uint_eq(m.socket.argument[1], 1U << CONTROL_OPTION_BROADCAST);
    ck_assert_uint_eq(m.socket.argument[2], 0xb809);
    reply(udp, &m, 0, 4, 53);
    r = option(s, CONTROL_OPTION_BROADCAST, 0);
    ask(0, 0, &r);
    m = expect(udp, MESSAGE_SET_OPTION);
    ck_assert_uint_eq(m.socket.argument[0], CONTROL_OPTION_BROADCAST);
    ck_assert_uint_eq(m.socket.argument[1], 0);
    ck_assert_uint_eq(m.socket.argument[2], 0xb809);
    die_and_start(); /* unanswered: said again by the next life */
    m = expect(udp, MESSAGE_OWNED);
    m = expect(udp, MESSAGE_OWNED_END);
    m = expect(udp, MESSAGE_SET_OPTION);
    ck_assert_uint_eq(m.socket.argument[2], 0xb809);
    reply(udp, &m, 0, 4, 53);
    ck_assert_int_eq(answer_of(0, 0).error, 0);
}
END_TEST

START_TEST(tcp_names_of_two_families)
{
    static const struct {
        struct ip_address first, second;
        bool only; /* V6_ONLY, on both */
        int error;
    } rows[] = {
        {{.family = ADDRESS_IP6}, {.family = ADDRESS_IP4}, false, EADDRINUSE},
        {{.family = ADDRESS_IP6}, {.family = ADDRESS_IP4}, true, 0},
        {{.family = ADDRESS_IP4}, {.family = ADDRESS_IP6}, false, EADDRINUSE},
        {{.family = ADDRESS_IP4}, {.family = ADDRESS_IP6}, true, 0},
        {OURS, {.family = ADDRESS_IP6}, false, EADDRINUSE},
        {OURS6, {.family = ADDRESS_IP4}, false, 0},
        {OURS6, {.family = ADDRESS_IP6}, true, EADDRINUSE},
        {OURS6, OURS, false, 0},
        {OURS6, OURS6, false, EADDRINUSE},
        {{.family = ADDRESS_IP4, .octets = {127, 0, 0, 1}}, OURS, false, 0},
        {{.family = ADDRESS_IP6, .octets = {[15] = 1}}, OURS6, false, 0},
    };
    speak_both();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t a = new_socket(0, SESSION_TCP, 0), b = new_socket(0, SESSION_TCP, 1);
        ck_assert_int_eq(call_error(option(a, CONTROL_OPTION_V6_ONLY, rows[i].only)), 0);
        ck_assert_int_eq(call_error(option(b, CONTROL_OPTION_V6_ONLY, rows[i].only)), 0);
        ck_assert_msg(call_error(naming(CONTROL_BIND, a, rows[i].first, 80)) == 0, "row %zu", i);
        ck_assert_msg(call_error(naming(CONTROL_BIND, b, rows[i].second, 80)) == rows[i].error, "row %zu", i);
        ck_assert_int_eq(call_error(about(CONTROL_CLOSE, a)), 0);
        ck_assert_int_eq(call_error(about(CONTROL_CLOSE, b)), 0);
    }
}
END_TEST

START_TEST(addresses_of_two_families)
{
    static const struct ip_address mapped = {.family = ADDRESS_IP6, .octets = {[10] = 255, 255, 10, 77, 0, 2}};
    static const struct ip_address theirs6 = THEIRS6, ours6 = OURS6, any6 = {.family = ADDRESS_IP6};
    static const struct ip_address loop6 = {.family = ADDRESS_IP6, .octets = {[15] = 1}};
    uint32_t s = new_socket(0, SESSION_TCP, 0), u = new_socket(0, SESSION_UDP, 1);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, loop6, 80)), EAFNOSUPPORT); /* not spoken here */
    speak_both();
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, theirs6, 80)), EADDRNOTAVAIL);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, mapped, 80)), EAFNOSUPPORT);
    ck_assert_int_eq(call_error(naming(CONTROL_CONNECT, s, mapped, 80)), EAFNOSUPPORT);
    struct ip_address stray = ours;
    stray.octets[9] = 1; /* octets that no IPv4 address has do not count */
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, stray, 80)), 0);
    ck_assert_int_eq(call_error(naming(CONTROL_CONNECT, s, theirs6, 80)), EAFNOSUPPORT);
    s = new_socket(0, SESSION_TCP, 2);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, ours6, 80)), 0);
    ck_assert_int_eq(call_error(naming(CONTROL_CONNECT, s, theirs, 80)), EAFNOSUPPORT);
    s = new_socket(0, SESSION_TCP, 3);
    struct control_request r = naming(CONTROL_BIND, s, any6, 90);
    struct control_answer a = call(&r);
    ck_assert(ip_address_equal(&a.local, &any6));
    r = naming(CONTROL_CONNECT, s, theirs, 80); /* :: may speak IPv4 */
    ask(0, 0, &r);
    struct message m = expect(tcp, MESSAGE_CONNECT);
    ck_assert(ip_address_equal(&m.destination, &theirs));
    reply(tcp, &m, 0, 1, 90);
    a = answer_of(0, 0);
    ck_assert(ip_address_equal(&a.local, &ours));
    r = naming(CONTROL_CONNECT, u, theirs6, 53);
    ask(0, 0, &r);
    m = expect(udp, MESSAGE_BIND);
    ck_assert(ip_address_equal(&m.source, &any6));
    reply(udp, &m, EADDRINUSE, INDEX_NONE, 0);
    ck_assert_int_eq(answer_of(0, 0).error, EADDRINUSE);
    s = new_socket(0, SESSION_TCP, 4); /* LISTEN without a name: of the family that is asked for */
    r = with(about(CONTROL_LISTEN, s), 4, 0);
    r.address.family = ADDRESS_IP6;
    ask(0, 0, &r);
    m = expect(tcp, MESSAGE_LISTEN);
    ck_assert_uint_eq(m.source.family, ADDRESS_IP6);
    reply(tcp, &m, 0, 2, m.source_port);
    ck_assert_int_eq(answer_of(0, 0).error, 0);
}
END_TEST

START_TEST(what_is_permitted)
{
    const struct session gone = {.present = true, .ending = true};
    struct session here = {.present = true};
    ck_assert_int_eq(request_permitted(&here, CONTROL_BIND, SESSION_TCP, &any4, 1), EACCES);
    policy_list_all(&here.bind);
    ck_assert_int_eq(request_permitted(&here, CONTROL_CONNECT, SESSION_TCP, &any4, 1), EACCES);
    ck_assert_int_eq(request_permitted(&here, CONTROL_BIND, SESSION_TCP, &any4, 1), 0);
    ck_assert_int_eq(request_permitted(&gone, CONTROL_BIND, SESSION_TCP, &any4, 1), EPERM);
    ck_assert_int_eq(request_permitted(&(struct session){0}, CONTROL_CONNECT, SESSION_UDP, &theirs, 1), EPERM);
}
END_TEST

START_TEST(udp_shared_name)
{
    uint32_t s = new_socket(0, SESSION_UDP, 0);
    ck_assert_int_eq(call_error(option(s, CONTROL_OPTION_REUSE_ADDRESS, 1)), 0);
    struct control_request r = naming(CONTROL_BIND, s, any4, 53);
    ask(0, 0, &r);
    ck_assert_uint_eq(expect(udp, MESSAGE_BIND).socket.argument[1], 1U << CONTROL_OPTION_REUSE_ADDRESS);
}
END_TEST

START_TEST(counters_shown)
{
    new_socket(0, SESSION_TCP, 0);
    ck_assert_str_eq(counter[0].name, "requests");
    ck_assert_uint_ge(counter[0].value, 1);
    ck_assert_str_eq(counter[2].name, "sockets_made");
}
END_TEST

#define TESTS(X)                                                                                                       \
    X(socket_arguments)                                                                                                \
    X(socket_quota)                                                                                                    \
    X(table_full)                                                                                                      \
    X(ids_rest_before_reuse)                                                                                           \
    X(foreign_socket)                                                                                                  \
    X(tcp_bind)                                                                                                        \
    X(tcp_name_conflicts) X(listen_arguments) X(tcp_connect) X(names_are_not_lost) X(close_asks_the_transport) X(close_overtakes_a_request)  \
        X(udp_names) X(udp_connect_binds_first) X(accept_one) X(accept_refusals) X(listener_shut_down) X(options)      \
            X(option_values) X(options_travel) X(options_of_streams_travel) X(ring_sizes_in_time)                      \
                X(tcp_names_of_two_families) X(addresses_of_two_families) X(what_is_permitted) X(udp_shared_name)      \
                    X(counters_shown)

int main(void)
{
    Suite *suite = suite_create("server_socket");
    TCase *tc = tcase_create("server_socket");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
#define X(name) tcase_add_test(tc, name);
    TESTS(X)
#undef X
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
