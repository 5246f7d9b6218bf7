// SPDX-License-Identifier: BSD-2-Clause
/* The socket server: things done once whoever dies, sessions, reconciliation, full rings, liars. */
#include "tests/unit/socket_harness.h"

/* ---- once and only once ---- */
START_TEST(repeated_request)
{
    new_socket(0, SESSION_TCP, 0);
    for (int i = 0; i < 3; i++) {
        control[0]->kick++;
        ck_assert(server_socket.pending(server));
        turn();
        ck_assert(!server_socket.pending(server));
    }
    ck_assert_uint_eq(server->counters.sockets_made, 1);
    ck_assert_uint_eq(server->counters.requests, 1);
}
END_TEST

START_TEST(nothing_out_before_commit)
{
    uint32_t s = new_socket(0, SESSION_TCP, 0);
    struct control_request connect = naming(CONTROL_CONNECT, s, theirs, 80), other = about(CONTROL_CLOSE, 5);
    ask(0, 0, &connect);
    ask(0, 1, &other);
    struct message m;
    ck_assert(server_socket.burst(server, now_us));
    ck_assert(!answered(0, 1));
    ck_assert(!wire_take(tcp, &m));
    server_socket.commit(server);
    ck_assert(!answered(0, 1));
    server_socket.publish(server, now_us);
    ck_assert(answered(0, 1));
    port_flush(&tcp->server);
    ck_assert(wire_take(tcp, &m));
}
END_TEST

START_TEST(death_before_commit)
{
    struct control_request r = with(about(CONTROL_SOCKET, 0), SESSION_TCP, 7);
    ask(0, 0, &r);
    server_socket.burst(server, now_us);
    die_and_start();
    struct control_answer a = answer_of(0, 0); /* done now, once */
    ck_assert_int_eq(a.error, 0);
    ck_assert_uint_eq(server->session[0].sockets.count, 1);
}
END_TEST

START_TEST(death_after_commit)
{
    struct control_request r = with(about(CONTROL_SOCKET, 0), SESSION_TCP, 7);
    ask(0, 0, &r);
    server_socket.burst(server, now_us);
    server_socket.commit(server);
    die_and_start();
    struct control_answer a = answer_of(0, 0); /* published again, not done again */
    ck_assert_int_eq(a.error, 0);
    ck_assert_uint_eq(server->session[0].sockets.count, 1);
    ck_assert_uint_eq(server->counters.requests, 0);
    ck_assert(socket_lookup(server, a.socket) != NULL);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, a.socket, any4, 80)), 0);
    die_and_start();
    turn();
    uint32_t b = new_socket(0, SESSION_TCP, 8);
    ck_assert_uint_ne(b, a.socket);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, b, any4, 80)), EADDRINUSE); /* the name is held */
}
END_TEST

START_TEST(generations_outlive_us)
{
    uint32_t s = new_socket(0, SESSION_TCP, 0);
    ck_assert_int_eq(call_error(about(CONTROL_CLOSE, s)), 0);
    die_and_start();
    turn();
    for (uint32_t i = 0; i <= REUSE_DELAY; i++) {
        uint32_t n = new_socket(0, SESSION_TCP, 0);
        ck_assert_uint_ne(n, s);
        ck_assert_int_eq(call_error(about(CONTROL_CLOSE, n)), 0);
    }
    ck_assert_int_eq(call_error(about(CONTROL_CLOSE, s)), EBADF);
}
END_TEST

START_TEST(death_in_a_connect)
{
    uint32_t s = new_socket(0, SESSION_TCP, 4);
    struct control_request r = naming(CONTROL_CONNECT, s, theirs, 80);
    ask(0, 3, &r);
    struct message first = expect(tcp, MESSAGE_CONNECT);
    die_and_start(); /* tcp's answer is lost with the channel */
    struct message owned = expect(tcp, MESSAGE_OWNED);
    ck_assert_uint_eq(owned.socket.socket, s);
    expect(tcp, MESSAGE_OWNED_END);
    struct message again = expect(tcp, MESSAGE_CONNECT);
    ck_assert_uint_eq(again.cookie, first.cookie);
    ck_assert_uint_eq(again.destination_port, 80);
    ck_assert(!answered(0, 3));
    ck_assert_int_eq(call_error(with(about(CONTROL_SOCKET, 0), SESSION_TCP, 9)), 0); /* other lanes go on */
    reply(tcp, &again, 0, 11, 40000);
    ck_assert_int_eq(answer_of(0, 3).error, EINPROGRESS);
    expect_silence(tcp); /* asked again once, no more */
}
END_TEST

START_TEST(cookies_increase_over_lives)
{
    uint64_t last = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t s = new_socket(0, SESSION_TCP, 4);
        struct control_request r = naming(CONTROL_CONNECT, s, theirs, 80), close = about(CONTROL_CLOSE, s);
        ask(0, 0, &r);
        struct message m = expect(tcp, MESSAGE_CONNECT);
        ck_assert_uint_gt(m.cookie >> COOKIE_SHIFT, last);
        reply(tcp, &m, EADDRNOTAVAIL, INDEX_NONE, 0);
        last = m.cookie >> COOKIE_SHIFT;
        ck_assert_int_eq(call(&close).error, 0);
        die_and_start();
        list_end(tcp);
    }
}
END_TEST

START_TEST(death_in_an_accept)
{
    uint32_t l = new_listener(80, 4);
    struct message e = established(l, 30);
    tell(tcp, &e);
    struct control_request r = with(about(CONTROL_ACCEPT, l), 0, 9);
    ask(0, 0, &r);
    server_socket.burst(server, now_us);
    die_and_start(); /* nothing was committed: tcp tells of it again, the request is still there */
    ck_assert_uint_eq(expect(tcp, MESSAGE_OWNED).socket.socket, l);
    expect(tcp, MESSAGE_OWNED_END);
    ck_assert_int_eq(answer_of(0, 0).error, EAGAIN);
    tell(tcp, &e);
    ask(0, 0, &r);
    server_socket.burst(server, now_us);
    server_socket.commit(server);
    die_and_start();    /* neither the answer nor ACCEPTED went out */
    wire_send(tcp, &e); /* in tcp's list, which is here before ours has gone out */
    struct message alive = told(MESSAGE_ALIVE), end = told(MESSAGE_ALIVE_END);
    alive.socket.socket = l;
    wire_send(tcp, &alive);
    wire_send(tcp, &end);
    struct control_answer a = answer_of(0, 0);
    ck_assert_int_eq(a.error, 0);
    ck_assert_uint_eq(answers[0]->word[3].accept_ready, 0); /* known to be owned */
    struct message m = expect(tcp, MESSAGE_OWNED);
    m = m.socket.socket == l ? expect(tcp, MESSAGE_OWNED) : m;
    ck_assert_uint_eq(m.socket.socket, a.socket);
    ck_assert_uint_eq(m.socket.connection, 30);
    ck_assert_uint_eq(m.socket.generation, 130);
    ck_assert_int_eq(call_error(r), EAGAIN);
}
END_TEST

/* ---- sessions ---- */
static void release(struct wire_pair *w, uint32_t id)
{
    struct message m = told(MESSAGE_LOST);
    m.socket.connection = INDEX_NONE;
    m.socket.session = id;
    tell(w, &m);
}

START_TEST(session_ends)
{
    new_connected(1);
    uint32_t l = new_listener(80, 4);
    struct message e = established(l, 30);
    tell(tcp, &e);
    struct control_request r = naming(CONTROL_CONNECT, new_socket(0, SESSION_TCP, 8), theirs, 80);
    ask(0, 2, &r);
    struct message connect = expect(tcp, MESSAGE_CONNECT);
    release(tcp, 0); /* a lie */
    server_socket.session_ended(server, 0);
    ck_assert_uint_eq(expect(tcp, MESSAGE_SESSION_END).socket.session, 0);
    expect(udp, MESSAGE_SESSION_END);
    expect_silence(tcp);
    reply(tcp, &connect, 0, 2, 40000);
    ck_assert(!answered(0, 2));
    release(tcp, 0);
    ck_assert_uint_eq(sessions_done, 0);
    die_and_start(); /* the supervisor grants it again, as ending */
    session[0].ending = true;
    server_socket.session_added(server, 0);
    server_socket.session_ended(server, 0); /* idempotent */
    expect(udp, MESSAGE_SESSION_END);       /* first: what it had is on no list */
    expect(udp, MESSAGE_OWNED_END);
    expect(tcp, MESSAGE_SESSION_END); /* first: what it had is on no list */
    expect(tcp, MESSAGE_OWNED_END);
    release(udp, 0);
    ck_assert_uint_eq(sessions_done, 0);
    release(tcp, 0);
    ck_assert_uint_eq(sessions_done, 1);
    ck_assert_uint_eq(session_done_last, 0);
    release(tcp, 0);
    ck_assert_uint_eq(sessions_done, 1);
    server_socket.session_removed(server, 0);
    memset(control[0], 0, sizeof *control[0]);
    memset(answers[0], 0, sizeof *answers[0]);
    session_grant(0);
    server_socket.session_added(server, 0); /* a new one under the same number */
    new_socket(0, SESSION_TCP, 0);
    sessions_done = 0;
}
END_TEST

START_TEST(session_end_waits_for_the_dead)
{
    new_connected(1);
    port_detach(&tcp->server);
    server_socket.peer_lost(server, SERVER_TCP);
    server_socket.session_ended(server, 0);
    expect(udp, MESSAGE_SESSION_END);
    release(udp, 0);
    ck_assert_uint_eq(sessions_done, 0);
    ck_assert_uint_eq(server_socket.deadline_us(server), UINT64_MAX);
    wire_attach(tcp);
    server_socket.peer_attached(server, SERVER_TCP, now_us);
    expect(tcp, MESSAGE_SESSION_END); /* first: what it had is on no list */
    expect(tcp, MESSAGE_OWNED_END);
    release(tcp, 0);
    ck_assert_uint_eq(sessions_done, 1);
}
END_TEST

START_TEST(session_that_never_comes_back)
{
    uint32_t s = new_connected(1);
    new_socket(0, SESSION_TCP, 9);
    session[0].present = false;
    die_and_start();
    expect(tcp, MESSAGE_OWNED);
    expect(tcp, MESSAGE_OWNED_END);
    struct message m = expect(tcp, MESSAGE_CLOSE);
    ck_assert_uint_eq(m.socket.socket, s);
    ck_assert_uint_eq(server->counters.orphans, 2);
    reply(tcp, &m, 0, INDEX_NONE, 0);
    ck_assert(socket_lookup(server, s) == NULL);
    memset(control[0], 0, sizeof *control[0]);
    memset(answers[0], 0, sizeof *answers[0]);
    session_grant(0);
    server_socket.session_added(server, 0);
    new_socket(0, SESSION_TCP, 0);
}
END_TEST

/* ... and another has its index before we are there, who does not hear of what the last one asked. */
START_TEST(session_index_is_anothers)
{
    uint32_t s = new_connected(1);
    struct control_request r = naming(CONTROL_CONNECT, new_socket(0, SESSION_TCP, 9), theirs, 80);
    ask(0, 1, &r);
    expect(tcp, MESSAGE_CONNECT);
    memset(control[0], 0, sizeof *control[0]);
    memset(answers[0], 0, sizeof *answers[0]);
    session[0].generation++;
    die_and_start();
    expect(tcp, MESSAGE_OWNED);
    expect(tcp, MESSAGE_OWNED);
    expect(tcp, MESSAGE_OWNED_END);
    for (int i = 0; i < 2; i++)
        ck_assert_uint_eq(expect(tcp, MESSAGE_CLOSE).socket.session, 0);
    ck_assert_uint_gt(server->counters.stale_blocks, 2); /* lanes, too */
    ck_assert_uint_eq(server->counters.orphans, 2);
    ck_assert_uint_eq(server->session[0].sockets.count, 0);
    ck_assert_int_eq(socket_lookup(server, s)->block.state, SOCKET_CLOSING);
    for (uint32_t i = 0; i < SESSION_LANES; i++)
        ck_assert_uint_eq(answers[0]->lane[i].sequence, 0);
    new_socket(0, SESSION_TCP, 0);
    uint64_t stale = server->counters.stale_blocks;
    die_and_start();
    expect(tcp, MESSAGE_OWNED);
    expect(tcp, MESSAGE_OWNED);
    expect(tcp, MESSAGE_OWNED_END);
    for (int i = 0; i < 2; i++) {
        struct message m = expect(tcp, MESSAGE_CLOSE);
        reply(tcp, &m, 0, INDEX_NONE, 0);
    }
    ck_assert_uint_lt(server->counters.stale_blocks, stale); /* what closes still has its old name */
    ck_assert_uint_eq(server->session[0].sockets.count, 1);
    ck_assert(socket_lookup(server, s) == NULL);
}
END_TEST

/* ---- reconciliation ---- */
START_TEST(transport_dies)
{
    uint32_t kept = new_connected(1), gone = new_connected(2), l = new_listener(80, 4);
    struct message e = established(l, 30);
    tell(tcp, &e);
    ck_assert_uint_eq(answers[0]->word[3].accept_ready, 1);
    struct control_request r = naming(CONTROL_CONNECT, new_socket(0, SESSION_TCP, 40), theirs, 80);
    ask(0, 1, &r);
    struct message before = expect(tcp, MESSAGE_CONNECT);
    port_detach(&tcp->server);
    server_socket.peer_lost(server, SERVER_TCP);
    turn();
    ck_assert_uint_eq(answers[0]->word[3].accept_ready, 0);
    uint32_t closing = new_socket(0, SESSION_TCP, 41);
    ck_assert_int_eq(call_error(about(CONTROL_CLOSE, closing)), 0);
    struct control_request late = naming(CONTROL_CONNECT, new_socket(0, SESSION_TCP, 42), theirs, 81);
    ask(0, 2, &late); /* while nobody is there: it waits */
    turn();
    wire_attach(tcp);
    server_socket.peer_attached(server, SERVER_TCP, now_us);
    for (int i = 0; i < 5; i++) /* kept, gone, listener, and those being connected */
        expect(tcp, MESSAGE_OWNED);
    expect(tcp, MESSAGE_OWNED_END);
    ck_assert_uint_eq(expect(tcp, MESSAGE_CONNECT).cookie, before.cookie);
    ck_assert_uint_eq(expect(tcp, MESSAGE_CONNECT).destination_port, 81);
    struct message m = told(MESSAGE_ALIVE);
    m.socket = (struct message_socket){.socket = kept, .connection = 1, .arena = INDEX_NONE};
    tell(tcp, &m);
    m.socket.socket = 0x7fff0000; /* unknown here */
    tell(tcp, &m);
    m = told(MESSAGE_ALIVE_END);
    tell(tcp, &m);
    ck_assert_uint_eq(socket_lookup(server, kept)->block.state, SOCKET_CONNECTED);
    ck_assert_uint_eq(socket_lookup(server, gone)->block.state, SOCKET_GONE);
    ck_assert_uint_eq(answers[0]->word[22].error, ECONNRESET);
    ck_assert_uint_eq(answers[0]->word[21].error, 0);
    m = expect(tcp, MESSAGE_LISTEN); /* it was not there: made again */
    ck_assert_uint_eq(m.socket.socket, l);
    ck_assert_uint_eq(m.source_port, 80);
    reply(tcp, &m, 0, 7, 80);
    tell(tcp, &e);
    ck_assert_uint_eq(answers[0]->word[3].accept_ready, 1);
    m = told(MESSAGE_ALIVE_END); /* once only */
    tell(tcp, &m);
    ck_assert_uint_eq(server->counters.drop_operation, 1);
    expect_silence(tcp);
}
END_TEST

static void go_and_come_back(struct wire_pair *w, enum server_id id)
{
    port_detach(&w->server);
    server_socket.peer_lost(server, id);
    turn();
    wire_attach(w);
    server_socket.peer_attached(server, id, now_us);
}

/* tcp has an accepted connection without a socket, because ACCEPTED was lost with it. Its whole list comes before we
 * say ours: the socket is claimed all the same, or its slot would be another's while it is used. Lies claim nothing. */
START_TEST(accepted_is_claimed)
{
    uint32_t l = new_listener(80, 4);
    struct message e = established(l, 30), m = told(MESSAGE_ALIVE);
    tell(tcp, &e);
    struct control_request r = with(about(CONTROL_ACCEPT, l), 0, 9);
    ask(0, 0, &r);
    uint32_t s = answer_of(0, 0).socket;
    go_and_come_back(tcp, SERVER_TCP);
    m.socket = e.socket;
    m.socket.listener = 0;
    m.socket.connection += _i == 1;
    m.socket.arena += _i == 2;
    m.socket.slot += _i == 3;
    m.socket.generation += _i == 4;
    m.socket.connection |= _i == 5 ? 1U << 31 : 0;
    wire_send(tcp, &m);
    m = told(MESSAGE_ALIVE);
    m.socket.socket = l;
    wire_send(tcp, &m);
    m = told(MESSAGE_ALIVE_END);
    wire_send(tcp, &m);
    ck_assert_uint_eq(expect(tcp, MESSAGE_OWNED).socket.socket, l);
    ck_assert_uint_eq(socket_lookup(server, s)->block.state, _i == 0 ? SOCKET_CONNECTED : SOCKET_GONE);
    ck_assert_uint_eq(server->counters.drop_malformed, _i == 5);
    if (_i != 0)
        return;
    m = expect(tcp, MESSAGE_OWNED);
    ck_assert_uint_eq(m.socket.socket, s);
    ck_assert_uint_eq(m.socket.connection, e.socket.connection);
    ck_assert_uint_eq(m.socket.generation, e.socket.generation);
}
END_TEST

/* tcp begins anew, while an option is under way for a connection that it does not know any more: that it answers does
 * not make it alive. */
/* A transport that has a socket in another slot than its user has damaged one of the two copies: the socket is gone. */
START_TEST(slot_disputed)
{
    uint32_t s = new_connected(1), other = new_connected(2);
    struct message m = told(MESSAGE_ALIVE);
    go_and_come_back(tcp, SERVER_TCP);
    m.socket = (struct message_socket){.socket = s, .connection = 1, .arena = 1, .slot = 6, .generation = 9};
    wire_send(tcp, &m);
    m.socket = (struct message_socket){.socket = other, .connection = 2, .arena = 1, .slot = 5, .generation = 9};
    wire_send(tcp, &m);
    m = told(MESSAGE_ALIVE_END);
    wire_send(tcp, &m);
    ck_assert_uint_eq(expect(tcp, MESSAGE_OWNED).socket.socket, other);
    expect(tcp, MESSAGE_OWNED_END);
    ck_assert_int_eq(socket_lookup(server, s)->block.state, SOCKET_GONE);
    ck_assert_int_eq(socket_lookup(server, s)->block.error, ECONNRESET);
    ck_assert_int_eq(socket_lookup(server, other)->block.state, SOCKET_CONNECTED);
    ck_assert_uint_eq(server->counters.drop_slot_disputed, 1);
}
END_TEST

START_TEST(lost_while_an_option_is_set)
{
    uint32_t s = new_connected(2);
    struct control_request r = with(about(CONTROL_SET_OPTION, s), CONTROL_OPTION_NODELAY, 1);
    ask(0, 0, &r);
    expect(tcp, MESSAGE_SET_OPTION);
    go_and_come_back(tcp, SERVER_TCP);
    expect(tcp, MESSAGE_OWNED);
    expect(tcp, MESSAGE_OWNED_END);
    struct message m = expect(tcp, MESSAGE_SET_OPTION);
    reply(tcp, &m, ENOTCONN, INDEX_NONE, 0); /* ahead of its list, which is empty */
    ck_assert_int_eq(answer_of(0, 0).error, 0);
    m = told(MESSAGE_ALIVE_END);
    tell(tcp, &m);
    ck_assert_uint_eq(socket_lookup(server, s)->block.state, SOCKET_GONE);
    ck_assert_uint_eq(answers[0]->word[22].error, ECONNRESET);
}
END_TEST

/* As lost_and_made_again, but that the answer comes before the end of the list. */
START_TEST(made_anew_before_the_list_ends)
{
    uint32_t s = new_socket(0, SESSION_UDP, 2);
    struct control_request r = naming(CONTROL_BIND, s, ours, 53);
    ask(0, 0, &r);
    struct message m = expect(udp, MESSAGE_BIND);
    reply(udp, &m, 0, 4, 53);
    r = naming(CONTROL_CONNECT, s, theirs, 53);
    ask(0, 0, &r);
    expect(udp, MESSAGE_CONNECT);
    go_and_come_back(udp, SERVER_UDP);
    expect(udp, MESSAGE_OWNED);
    expect(udp, MESSAGE_OWNED_END);
    m = expect(udp, MESSAGE_CONNECT);
    struct message answer = told(MESSAGE_ANSWER);
    answer.cookie = m.cookie;
    answer.socket = (struct message_socket){.socket = s, .connection = 4, .arena = 1, .slot = 5, .generation = 10};
    tell(udp, &answer); /* the slot is the same, the socket that has it is not */
    ck_assert_int_eq(answer_of(0, 0).error, ECONNRESET);
    m = told(MESSAGE_ALIVE_END);
    tell(udp, &m);
    ck_assert_uint_eq(answers[0]->word[2].error, ECONNRESET);
    m = expect(udp, MESSAGE_CLOSE);
    ck_assert_uint_eq(m.socket.socket, s);
    reply(udp, &m, 0, INDEX_NONE, 0);
}
END_TEST

/* udp comes back without a socket: it is bound (and connected) again, in the slot that its application uses. */
static const struct {
    const char *name;
    uint8_t asked; /* by the application, and under way when udp dies */
    bool connected;
    int error; /* of udp, to what makes it again */
    bool elsewhere;
    uint8_t state;
} losses[] = {
    {"bound", 0, false, 0, false, SOCKET_BOUND},
    {"connected", 0, true, 0, false, SOCKET_CONNECTED},
    {"bound, its slot is another's", 0, false, ENOBUFS, false, SOCKET_GONE},
    {"connected, its name is another's", 0, true, EADDRINUSE, false, SOCKET_GONE},
    {"bound, in another slot", 0, false, 0, true, SOCKET_GONE},
    {"being connected", MESSAGE_CONNECT, false, 0, false, SOCKET_CONNECTED},
    {"being connected, in another slot", MESSAGE_CONNECT, false, 0, true, SOCKET_GONE},
    {"an option is set", MESSAGE_SET_OPTION, false, 0, false, SOCKET_BOUND},
    {"an option of a connected one is set", MESSAGE_SET_OPTION, true, 0, false, SOCKET_CONNECTED},
};

static uint32_t new_datagram_socket(bool connected)
{
    uint32_t s = new_socket(0, SESSION_UDP, 2);
    struct control_request r = naming(CONTROL_BIND, s, ours, 53);
    ask(0, 0, &r);
    struct message m = expect(udp, MESSAGE_BIND);
    ck_assert_uint_eq(m.socket.generation, 0);
    reply(udp, &m, 0, 4, 53);
    if (!connected)
        return s;
    r = naming(CONTROL_CONNECT, s, theirs, 53);
    ask(0, 0, &r);
    m = expect(udp, MESSAGE_CONNECT);
    reply(udp, &m, 0, 4, 53);
    return s;
}

START_TEST(lost_and_made_again)
{
    bool connects = losses[_i].connected || losses[_i].asked == MESSAGE_CONNECT;
    uint32_t s = new_datagram_socket(losses[_i].connected);
    struct control_request r = losses[_i].asked == MESSAGE_CONNECT
                                   ? naming(CONTROL_CONNECT, s, theirs, 53)
                                   : with(about(CONTROL_SET_OPTION, s), CONTROL_OPTION_BROADCAST, 1);
    if (losses[_i].asked != 0) {
        ask(0, 0, &r);
        expect(udp, losses[_i].asked);
    }
    go_and_come_back(udp, SERVER_UDP);
    ck_assert_uint_eq(expect(udp, MESSAGE_OWNED).socket.socket, s);
    list_end(udp);
    struct message m;
    if (losses[_i].asked == MESSAGE_SET_OPTION)
        expect(udp, MESSAGE_SET_OPTION); /* said again ahead of their list, which makes it of no use */
    m = expect(udp, connects ? MESSAGE_CONNECT : MESSAGE_BIND);
    ck_assert_uint_eq(m.socket.socket, s);
    ck_assert_uint_eq(m.socket.arena, 1);
    ck_assert_uint_eq(m.socket.slot, 5);
    ck_assert_uint_eq(m.socket.generation, 9);
    ck_assert_uint_eq(m.source_port, 53);
    ck_assert_uint_eq(m.destination_port, connects ? 53 : 0);
    if (losses[_i].asked == MESSAGE_SET_OPTION)
        ck_assert_uint_eq(m.socket.argument[1] >> CONTROL_OPTION_BROADCAST & 1, 1);
    struct message answer = told(MESSAGE_ANSWER);
    answer.cookie = m.cookie;
    answer.socket = m.socket;
    answer.socket.error = losses[_i].error;
    answer.socket.generation += losses[_i].elsewhere;
    tell(udp, &answer);
    bool gone = losses[_i].state == SOCKET_GONE;
    ck_assert_msg(socket_lookup(server, s)->block.state == losses[_i].state, "%s", losses[_i].name);
    ck_assert_uint_eq(answers[0]->word[2].error, gone ? ECONNRESET : 0);
    if (losses[_i].asked != 0)
        ck_assert_int_eq(answer_of(0, 0).error, gone ? ECONNRESET : 0);
    if (losses[_i].elsewhere) /* nobody would use it */
        ck_assert_uint_eq(expect(udp, MESSAGE_CLOSE).socket.socket, s);
    expect_silence(udp);
}
END_TEST

/* ... and what its application asks meanwhile is not refused. */
START_TEST(asked_while_made_again)
{
    uint32_t s = new_datagram_socket(false);
    go_and_come_back(udp, SERVER_UDP);
    expect(udp, MESSAGE_OWNED);
    list_end(udp);
    expect(udp, MESSAGE_BIND);
    struct control_request r = with(about(CONTROL_SET_OPTION, s), CONTROL_OPTION_BROADCAST, 1);
    ask(0, 0, &r);
    struct message m = expect(udp, MESSAGE_SET_OPTION);
    reply(udp, &m, ENOTCONN, INDEX_NONE, 0);
    m = expect(udp, MESSAGE_BIND);
    reply(udp, &m, 0, 4, 53);
    ck_assert_int_eq(answer_of(0, 0).error, 0);
    ck_assert_uint_eq(socket_lookup(server, s)->block.state, SOCKET_BOUND);
}
END_TEST

START_TEST(long_list)
{
    session[0].socket_quota = 600;
    for (uint32_t i = 0; i < 600; i++)
        new_connected(i);
    die_and_start();
    uint32_t owned = 0;
    struct message m = {0};
    turn();
    ck_assert_uint_ne(server_socket.deadline_us(server), UINT64_MAX); /* it did not fit */
    for (int i = 0; i < 700 && m.operation != MESSAGE_OWNED_END; i++) {
        if (wire_take(tcp, &m))
            owned += m.operation == MESSAGE_OWNED;
        turn();
    }
    ck_assert_uint_eq(owned, 600);
    ck_assert_uint_eq(m.operation, MESSAGE_OWNED_END);
    for (uint32_t i = 0; i < 600; i++) {
        m = told(MESSAGE_ALIVE);
        m.socket = (struct message_socket){.socket = server->entry[i].block.id, .arena = INDEX_NONE};
        tell(tcp, &m);
    }
    m = told(MESSAGE_ALIVE_END);
    tell(tcp, &m);
    ck_assert_uint_eq(server->counters.gone_at_reconciliation, 0);
    ck_assert_uint_eq(server_socket.deadline_us(server), UINT64_MAX);
}
END_TEST

START_TEST(full_ring)
{
    uint32_t made[400];
    session[0].socket_quota = 500;
    for (uint32_t i = 0; i < 400; i++)
        made[i] = new_connected(i);
    for (uint32_t i = 0; i < 400; i++)
        ck_assert_int_eq(call_error(about(CONTROL_CLOSE, made[i])), 0); /* tcp hears nothing, nobody waits */
    ck_assert_uint_le(server_socket.deadline_us(server), now_us + 1000);
    for (uint32_t i = 0; i < 400; i++)
        ck_assert_uint_eq(expect(tcp, MESSAGE_CLOSE).socket.socket, made[i]); /* all, in order */
    expect_silence(tcp);
    ck_assert_uint_eq(server_socket.deadline_us(server), UINT64_MAX);
}
END_TEST

/* ---- stores ---- */
START_TEST(store_of_another_kind)
{
    struct server_context other = context;
    size_t size = (server_socket.state_size(&config) + 63) & ~(size_t)63;
    void *state = aligned_alloc(64, size);
    memset(state, 0, size);
    other.store_octets -= 64;
    ck_assert_int_eq(server_socket.init(state, &other, 0), -EINVAL);
    free(state);
}
END_TEST

START_TEST(corrupt_block)
{
    uint32_t s = new_socket(0, SESSION_TCP, 0);
    size_t copy = store_octets(sizeof(union store_any), 1) - 64; /* both copies of one block */
    uint8_t *at = (uint8_t *)context.store + 64 + STORE_SOCKETS * copy;
    for (size_t i = 24; i < copy; i++)
        at[i] ^= 0x5a;
    die_and_start();
    turn();
    ck_assert_uint_eq(server->counters.corrupt_blocks, 1);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, any4, 80)), EBADF);
    new_socket(0, SESSION_TCP, 0);
}
END_TEST

/* The store was forgotten: who has a socket hears that it is gone, and nothing that was answered is done again. */
START_TEST(cold_start)
{
    new_socket(0, SESSION_TCP, 3);
    uint32_t old = new_listener(80, 4);
    struct control_request again = naming(CONTROL_BIND, old, any4, 81);
    struct control_answer before = answers[0]->lane[0].answer;
    memset(context.store, 0, context.store_octets);
    context.incarnation = 2;
    for (int life = 0; life < 2; life++) { /* dies before anybody is told */
        die_and_start();
        server_socket.burst(server, now_us);
        if (life > 0)
            server_socket.commit(server);
        else /* in the middle of it */
            store_put(&server->store, STORE_SOCKETS + 9, &(union store_any){0});
    }
    die_and_start();
    ck_assert_uint_eq(expect(tcp, MESSAGE_OWNED_END).socket.argument[0], 1);
    ck_assert_uint_eq(expect(udp, MESSAGE_OWNED_END).socket.argument[0], 1);
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t d = 0; d < SESSION_DESCRIPTORS; d++)
            ck_assert_uint_eq(answers[i]->word[d].error, ECONNRESET);
    ck_assert_uint_eq(server->counters.requests, 0);
    ck_assert_mem_eq(&answers[0]->lane[0].answer, &before, sizeof before);
    uint32_t fresh = new_socket(0, SESSION_TCP, 3);
    ck_assert_uint_ne(fresh, old);
    ck_assert_uint_eq(answers[0]->word[3].error, 0);
    ck_assert_uint_eq(answers[0]->word[4].error, ECONNRESET);
    ck_assert_int_eq(call_error(again), EBADF);
    die_and_start(); /* no second time */
    ck_assert_uint_eq(expect(tcp, MESSAGE_OWNED_END).socket.argument[0], 1);
    ck_assert_uint_eq(answers[0]->word[3].error, 0);
    ck_assert(socket_lookup(server, fresh) != NULL);
}
END_TEST

#define TESTS(X)                                                                                                       \
    X(repeated_request)                                                                                                \
    X(nothing_out_before_commit)                                                                                       \
    X(death_before_commit)                                                                                             \
    X(death_after_commit)                                                                                              \
    X(generations_outlive_us)                                                                                          \
    X(death_in_a_connect)                                                                                              \
    X(cookies_increase_over_lives)                                                                                     \
    X(death_in_an_accept)                                                                                              \
    X(session_ends) X(session_end_waits_for_the_dead) X(session_that_never_comes_back) X(session_index_is_anothers)    \
        X(transport_dies) X(asked_while_made_again) X(long_list) X(full_ring) X(store_of_another_kind)                 \
            X(corrupt_block) X(cold_start) X(lost_while_an_option_is_set) X(slot_disputed)                             \
                X(made_anew_before_the_list_ends)

int main(void)
{
    Suite *suite = suite_create("server_socket_recovery");
    TCase *tc = tcase_create("server_socket_recovery");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
#define X(name) tcase_add_test(tc, name);
    TESTS(X)
#undef X
    tcase_add_loop_test(tc, accepted_is_claimed, 0, 6);
    tcase_add_loop_test(tc, lost_and_made_again, 0, sizeof losses / sizeof losses[0]);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
