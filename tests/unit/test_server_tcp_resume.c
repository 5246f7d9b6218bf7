// SPDX-License-Identifier: BSD-2-Clause
/* Connections over the deaths of the tcp server: they go on as if nothing had been, with nothing but time lost. */
#include "servers/tcp/tcp_server.h"
#include "servers/work.h"
#include "tests/unit/server_tcp_peer.h"

/* The socket server's answer to our list: these are its sockets. */
static void own(uint32_t first, uint32_t second)
{
    struct message m = {.operation = MESSAGE_OWNED};
    const uint32_t socket[] = {first, second};
    for (unsigned i = 0; i < 2; i++) {
        m.socket = (struct message_socket){.socket = socket[i], .connection = NONE, .arena = NONE};
        if (socket[i] != 0)
            harness_request(h, &m);
    }
    m = (struct message){.operation = MESSAGE_OWNED_END};
    harness_request(h, &m);
    harness_turn(h);
}

static void drain_told(void)
{
    struct message m;
    while (port_pull(&h->socket_end, &m))
        ;
}

static void goes_on(const struct message *m)
{
    ck_assert_uint_eq(words(m)->generation, m->socket.generation);
    ck_assert_uint_eq(words(m)->state, SLOT_CONNECTED);
    ck_assert_uint_eq(words(m)->error, 0);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_ESTABLISHED);
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), 0);
    ck_assert_uint_eq(harness_counter(h, "tcp_resets_out"), 0);
}

START_TEST(test_data_both_ways_over_deaths)
{
    listen_answer();
    struct message m = accept_one();
    char text[5] = "0000";
    for (unsigned death = 0; death < 12; death++) {
        text[3] = (char)('a' + death);
        peer_write(text, 4);
        app_write(&m, text, 4);
        pump(death % 4);
        harness_restart(h);
        settle();
        own(LISTENER, CHILD);
        settle();
        goes_on(&m);
        ck_assert_uint_eq(words(&m)->receive_head, 4 * (death + 1));
        ck_assert_mem_eq(harness_receive_ring(h, 0, m.socket.slot) + 4 * (uint64_t)death, text, 4);
        ck_assert_mem_eq(peer.receive + 4 * (uint64_t)death, text, 4);
        ck_assert_uint_eq(words(&m)->send_tail, 4 * (death + 1));
        ck_assert_uint_ge(harness_counter(h, "restored"), 2);
    }
}
END_TEST

/* What is on its way is not waited for: it goes out again at once, and no timer went off. */
START_TEST(test_first_unacknowledged_goes_out_at_once)
{
    listen_answer();
    struct message m = accept_one();
    app_write(&m, "again", 5);
    peer.drop = 1;
    pump(1);
    ck_assert_uint_eq(peer.drop, 0);
    harness_restart(h);
    pump(3);
    ck_assert_uint_eq(words(&m)->send_tail, 5);
    ck_assert_mem_eq(peer.receive, "again", 5);
    ck_assert_uint_eq(harness_counter(h, "tcp_timeouts"), 0);
}
END_TEST

/* Established, and accepted by nobody yet: it is told of again, and can be accepted then. */
START_TEST(test_waits_for_accept)
{
    listen_answer();
    peer_connect();
    pump(4);
    struct message before, after;
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &before));
    peer_write("early", 5);
    pump(2);
    harness_restart(h);
    pump(4);
    ck_assert(harness_told(h, MESSAGE_ALIVE, &after));
    ck_assert_uint_eq(after.socket.socket, LISTENER);
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &after));
    ck_assert_uint_eq(after.socket.connection, before.socket.connection);
    ck_assert_uint_eq(after.socket.generation, before.socket.generation);
    ck_assert_uint_eq(after.socket.listener, LISTENER);
    ck_assert_uint_eq(after.destination_port, before.destination_port);
    own(LISTENER, 0);
    struct message accepted = {.operation = MESSAGE_ACCEPTED, .socket = after.socket};
    accepted.socket.socket = CHILD;
    harness_request(h, &accepted);
    harness_turn(h);
    take_slot(&after);
    goes_on(&after);
    ck_assert_uint_eq(words(&after)->receive_head, 5);
    app_write(&after, "late", 4);
    pump(4);
    ck_assert_mem_eq(peer.receive, "late", 4);
}
END_TEST

/* Nobody knows of it but the peer, which has our SYN-ACK: it is the same connection that its ACK completes. */
START_TEST(test_handshake_in_between)
{
    listen_answer();
    peer_connect();
    pump(1);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_ESTABLISHED);
    h->now_us += 100000; /* another time, another initial sequence number */
    harness_restart(h);
    pump(4);
    struct message m;
    ck_assert(harness_told(h, MESSAGE_ALIVE, &m));
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &m));
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    goes_on(&m);
}
END_TEST

/* ACCEPTED died with us: the socket server's list says it again. */
START_TEST(test_accepted_is_said_again)
{
    listen_answer();
    peer_connect();
    pump(4);
    struct message m;
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    take_slot(&m);
    harness_restart(h);
    pump(4);
    drain_told();
    struct message owned = {.operation = MESSAGE_OWNED, .socket = m.socket};
    owned.socket.socket = CHILD;
    harness_request(h, &owned);
    own(LISTENER, 0);
    harness_restart(h);
    pump(4);
    struct message told;
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert_uint_eq(told.socket.socket, LISTENER);
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert_uint_eq(told.socket.socket, CHILD);
    goes_on(&m);
}
END_TEST

/* Closed by its user with text that is not acknowledged: the slot stays until it is, and so does the connection. */
START_TEST(test_closed_with_text_on_its_way)
{
    listen_answer();
    struct message m = accept_one();
    app_write(&m, "farewell", 8);
    peer.drop = 2;
    pump(1);
    close_socket(CHILD);
    harness_restart(h);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    peer.drop = 0;
    pump(6);
    ck_assert_mem_eq(peer.receive, "farewell", 8);
    ck_assert(tcp_conn_at(peer.tcp, peer.conn)->fin_received);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    harness_restart(h); /* FIN-WAIT-2 of nobody */
    tcp_shutdown_send(peer.tcp, h->now_us, peer.conn);
    pump(6);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->error, TCP_ERROR_NONE);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_CLOSED);
    ck_assert_uint_eq(harness_counter(h, "tcp_time_waits"), 1);
}
END_TEST

static bool block_is_there(uint32_t connection)
{
    struct tcp_server *s = h->state;
    union tcp_stored stored;
    return store_read(&s->store, TCP_STORE_CONNECTION(connection), &stored) == STORE_BLOCK_GOOD;
}

/* An RST that was committed and was not out: the next incarnation says it; once it was out nobody does. */
START_TEST(test_farewell)
{
    for (int lost = 0; lost < 2; lost++) {
        listen_answer();
        struct message m = accept_one();
        uint32_t connection = ((struct tcp_server *)h->state)->endpoint[m.socket.connection].connection;
        peer_write("unread", 6);
        pump(3);
        close_socket(CHILD);
        ck_assert(block_is_there(connection)); /* the burst is committed ... */
        if (!lost) {
            pump(1);
            ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->error, TCP_ERROR_RESET);
            ck_assert(!block_is_there(connection));
        }
        uint64_t before = tcp_counters(peer.tcp)->segments_in;
        harness_restart(h);
        pump(3);
        ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->error, TCP_ERROR_RESET);
        ck_assert_int_eq(tcp_counters(peer.tcp)->segments_in > before, lost);
        ck_assert(!block_is_there(connection));
        ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), 0);
        ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
        teardown();
        setup();
    }
}
END_TEST

/* A byte of one block has changed: that connection ends, both ends are told, and nobody else notices. */
START_TEST(test_corrupt_block_costs_its_own)
{
    listen_answer();
    struct message first = accept_one(), m;
    uint32_t first_conn = peer.conn;
    peer_connect();
    pump(4);
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    struct tcp_server *s = h->state;
    union tcp_stored stored;
    uint32_t index = s->endpoint[first.socket.connection].connection;
    ck_assert_int_eq(store_read(&s->store, TCP_STORE_CONNECTION(index), &stored), STORE_BLOCK_GOOD);
    stored.block.conn.snd_max = stored.block.conn.snd_una - 100; /* with a checksum that is right */
    store_put(&s->store, TCP_STORE_CONNECTION(index), &stored);
    store_commit(&s->store);
    harness_restart(h);
    pump(6);
    ck_assert_uint_eq(words(&first)->state & (SLOT_ERROR | SLOT_CLOSED), SLOT_ERROR | SLOT_CLOSED);
    ck_assert_uint_eq(words(&first)->error, ECONNRESET);
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), 1);
    tcp_send_available(peer.tcp, h->now_us, first_conn, 1);
    pump(6);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, first_conn)->error, TCP_ERROR_RESET);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_ESTABLISHED);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED);
}
END_TEST

/* It ends in the burst in which its user would be heard of a ring that has grown: what is written there is no lie. */
START_TEST(test_grown_ring_of_an_ended_connection)
{
    listen_answer();
    struct message m = accept_one();
    tcp_abort(peer.tcp, h->now_us, peer.conn);
    peer_output();
    harness_app(h, m.socket.arena, m.socket.slot)->send_head += HARNESS_SEND + 1;
    harness_notify(h, m.socket.arena, m.socket.slot);
    harness_turn(h);
    ck_assert_uint_eq(words(&m)->error, ECONNRESET);
    ck_assert_uint_eq(harness_counter(h, "drop_send_head"), 0);
}
END_TEST

/* One more connection, accepted by nobody. */
static struct message establish(void)
{
    struct tcp_identity id = {.local = them, .remote = us, .remote_port = PORT};
    struct message m;
    ck_assert_int_eq(tcp_connect(peer.tcp, h->now_us, &id, PEER_RING, PEER_RING, &peer.conn), TCP_CALL_OK);
    pump(4);
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    take_slot(&m);
    return m;
}

/* What the page of our deaths says while one of its timers runs. */
static uint64_t timer_key(const struct tcp_identity *id, enum tcp_work_kind kind)
{
    const struct work_flow flow = {&id->local, &id->remote, id->local_port, id->remote_port, 6};
    uint64_t name = work_key_flow(&h->context, WORK_POLL, &flow, 0);
    return name / TCP_WORK_NAME_STEP * TCP_WORK_NAME_STEP + (uint64_t)kind;
}

/* A timer that we died of once is none of that when it has run, and another one of the same connection says nothing of it; if we
 * died of it twice its connection is reset, alone. */
START_TEST(test_deadly_timer)
{
    static struct crash_work page;
    struct server_work work = {.page = &page, .suspects = 1};
    listen_answer();
    struct message m = accept_one();
    uint32_t first = peer.conn;
    struct message other = establish();
    struct tcp_server *s = h->state;
    struct tcp_identity id = tcp_conn_at(s->engine, s->endpoint[m.socket.connection].connection)->identity;
    work.suspect[0].key = timer_key(&id, TCP_WORK_RETRANSMISSION_TIMER);
    h->context.work = &work;
    harness_restart(h);
    settle();
    own(LISTENER, CHILD);
    ck_assert_uint_eq(work.touched, 0);
    app_write(&m, "again", 5);
    peer.drop = 2; /* the tail loss probe, too */
    for (int i = 0; i < 3; i++) {
        pump(1);
        h->now_us += 3000000;
    }
    pump(4);
    ck_assert_uint_eq(work.touched, 1);
    ck_assert_uint_eq(words(&m)->error, 0);
    work = (struct server_work){.page = &page, .suspects = 1, .suspect = {{work.suspect[0].key, true}}};
    harness_restart(h);
    pump(6);
    ck_assert_uint_eq(words(&m)->error, ECONNRESET);
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), 1);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, first)->error, TCP_ERROR_RESET);
    ck_assert_uint_eq(words(&other)->state, SLOT_CONNECTED);
    h->context.work = NULL;
}
END_TEST

/* The session went while we were dead, and another one has its index: since before we started, or before our first
 * burst. Nothing that the store has is the other's. */
static void index_is_anothers(bool since_start)
{
    listen_answer();
    struct message m = accept_one();
    connect_to(4444);
    h->session[0].generation++;
    h->session[0].present = !since_start;
    memset(words(&m), 0, sizeof *words(&m));
    harness_restart(h);
    h->session[0].present = true;
    if (since_start)
        h->server->session_added(h->state, 0);
    pump(6);
    ck_assert_uint_eq(harness_counter(h, "drop_block_stale"), 3);
    ck_assert_uint_eq(words(&m)->generation, 0);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    ck_assert_uint_eq(harness_counter(h, "endpoints"), 0);
    ck_assert_int_ne(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_ESTABLISHED); /* it is told */
    harness_restart(h);
    pump(2);
    ck_assert_uint_eq(harness_counter(h, "drop_block_stale"), 0); /* it has left the store */
    ck_assert_uint_le(harness_counter(h, "restored"), since_start); /* its FIN, without a byte of anybody's */
    ck_assert_uint_eq(harness_counter(h, "endpoints"), 0);
}

START_TEST(test_index_is_anothers)
{
    index_is_anothers(false);
}
END_TEST

START_TEST(test_index_is_anothers_since_the_start)
{
    index_is_anothers(true);
}
END_TEST

/* What an application still reads, when its connection has ended and its session too. */
START_TEST(test_held_slot_of_another_session)
{
    listen_answer();
    struct message m = accept_one();
    tcp_abort(peer.tcp, h->now_us, peer.conn);
    pump(3);
    ck_assert_uint_eq(words(&m)->error, ECONNRESET);
    h->session[0].generation++;
    memset(words(&m), 0, sizeof *words(&m));
    harness_restart(h);
    pump(3);
    ck_assert_uint_eq(harness_counter(h, "drop_block_stale"), 2); /* the listener, the slot */
    ck_assert_uint_eq(words(&m)->generation, 0);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

/* ---- blocks that are consistent, with a checksum that is right, and still not what was written ---- */

static uint32_t block_of(const struct message *m, union tcp_stored *ret)
{
    struct tcp_server *s = h->state;
    uint32_t index = s->endpoint[m->socket.connection].connection;
    ck_assert_int_eq(store_read(&s->store, TCP_STORE_CONNECTION(index), ret), STORE_BLOCK_GOOD);
    return index;
}

static void block_set(uint32_t index, const union tcp_stored *stored)
{
    struct tcp_server *s = h->state;
    store_put(&s->store, TCP_STORE_CONNECTION(index), stored);
    store_commit(&s->store);
}

static void is_told_of_its_end(const struct message *m)
{
    ck_assert_uint_eq(words(m)->generation, m->socket.generation);
    ck_assert_uint_eq(words(m)->state & (SLOT_ERROR | SLOT_CLOSED), SLOT_ERROR | SLOT_CLOSED);
    ck_assert_uint_eq(words(m)->error, ECONNRESET);
}

/* A slot that is free, or was when we died: the socket server has it otherwise. It ends alone; what it was given, and what
 * its user has, is touched no more. */
START_TEST(test_slot_disputed)
{
    listen_answer();
    struct message m = accept_one();
    uint32_t first = peer.conn;
    struct message other = establish();
    union tcp_stored stored;
    uint32_t index = block_of(&m, &stored);
    stored.block.conn.identity.slot = HARNESS_SLOTS - 1;
    block_set(index, &stored);
    harness_restart(h);
    harness_turn(h);
    drain_told();
    struct message owned = {.operation = MESSAGE_OWNED, .socket = m.socket};
    owned.socket.socket = CHILD;
    harness_request(h, &owned);
    own(LISTENER, 0);
    pump(6);
    ck_assert_uint_eq(harness_counter(h, "drop_slot_disputed"), 1);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1); /* the other's */
    ck_assert_uint_eq(words(&m)->error, 0);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, first)->error, TCP_ERROR_RESET);
    ck_assert_uint_eq(words(&other)->state, SLOT_CONNECTED);
    struct tcp_server *s = h->state;
    ck_assert_int_ne(store_read(&s->store, TCP_STORE_CONNECTION(index), &stored), STORE_BLOCK_GOOD);
}
END_TEST

/* What came for it would be acknowledged, and have no place. */
static void ring_beyond_its_arena(bool receiving)
{
    listen_answer();
    struct message m = accept_one();
    union tcp_stored stored;
    uint32_t index = block_of(&m, &stored);
    struct tcp_conn *c = &stored.block.conn;
    if (receiving)
        c->receive_size = c->receive_next_size = c->receive_most = 4 * HARNESS_RECEIVE;
    else
        c->send_next_size = c->send_most = 4 * HARNESS_SEND;
    block_set(index, &stored);
    harness_restart(h);
    pump(6);
    is_told_of_its_end(&m);
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), 1);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_CLOSED);
}

START_TEST(test_ring_beyond_its_arena_receiving)
{
    ring_beyond_its_arena(true);
}
END_TEST

START_TEST(test_ring_beyond_its_arena_sending)
{
    ring_beyond_its_arena(false);
}
END_TEST

START_TEST(test_growth_stays_within_the_arena)
{
    listen_answer();
    struct message m = accept_one();
    union tcp_stored stored;
    uint32_t index = block_of(&m, &stored);
    stored.block.conn.receive_most = stored.block.conn.send_most = 4 * HARNESS_RECEIVE;
    block_set(index, &stored);
    harness_restart(h);
    pump(4);
    goes_on(&m);
    const struct tcp_server *s = h->state;
    const struct tcp_conn *c = tcp_conn_at(s->engine, s->endpoint[m.socket.connection].connection);
    ck_assert_uint_eq(c->receive_most, HARNESS_RECEIVE);
    ck_assert_uint_eq(c->send_most, HARNESS_SEND);
}
END_TEST

/* The first names an endpoint that is another's: what is kept of it takes nobody's place. */
START_TEST(test_lost_takes_no_place)
{
    listen_answer();
    struct message first = establish(), second = establish();
    union tcp_stored stored;
    uint32_t index = block_of(&first, &stored), at = stored.block.endpoint;
    uint32_t other = block_of(&second, &stored);
    stored.block.endpoint = at; /* as good as any */
    block_set(other, &stored);
    (void)store_read(&((struct tcp_server *)h->state)->store, TCP_STORE_CONNECTION(index), &stored);
    stored.block.endpoint = 0; /* the listener's */
    block_set(index, &stored);
    harness_restart(h);
    pump(6);
    is_told_of_its_end(&first);
    ck_assert_uint_eq(words(&second)->generation, second.socket.generation);
    ck_assert_uint_eq(words(&second)->state, SLOT_CONNECTED);
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), 1);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_ESTABLISHED);
}
END_TEST

/* The socket that it names has the listener's index. */
START_TEST(test_socket_of_another_generation)
{
    listen_answer();
    struct message m = accept_one(), told;
    union tcp_stored stored;
    uint32_t index = block_of(&m, &stored);
    stored.block.socket = LISTENER + 0x10000;
    block_set(index, &stored);
    harness_restart(h);
    pump(4);
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert_uint_eq(told.socket.socket, LISTENER);
    drain_told();
    own(LISTENER, 0);
    (void)establish(); /* it listens */
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), 1);
}
END_TEST

/* One connection twice: the peer of the one that goes on hears nothing of the other. */
START_TEST(test_copy_of_a_block)
{
    listen_answer();
    struct message m = accept_one();
    union tcp_stored stored;
    uint32_t index = block_of(&m, &stored);
    block_set(index + 1, &stored);
    harness_restart(h);
    pump(6);
    own(LISTENER, CHILD);
    settle();
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), 1);
    ck_assert_uint_eq(harness_counter(h, "tcp_resets_out"), 0);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_ESTABLISHED);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED);
    app_write(&m, "on", 2);
    settle();
    ck_assert_mem_eq(peer.receive, "on", 2);
}
END_TEST

/* ---- any octets: of a block, and of what an application may write ---- */
#define ROUNDS 20U

static uint32_t chance_state;

static uint32_t chance(uint32_t below)
{
    chance_state = chance_state * 1664525U + 1013904223U;
    return (uint32_t)((uint64_t)chance_state * below >> 32);
}

static uint32_t odd_word(uint32_t was)
{
    const uint32_t odd[] = {0,
                            1,
                            UINT32_MAX,
                            was + 1,
                            was - 1,
                            was ^ 1U << chance(32),
                            0x80000000U + was,
                            chance(64),
                            1U << chance(32),
                            was + (1U << chance(32)),
                            chance(UINT32_MAX),
                            16384,
                            16385};
    return odd[chance(sizeof odd / sizeof odd[0])];
}

static void scribble(void *where, uint32_t octets, uint32_t times)
{
    while (times-- > 0) {
        uint8_t *at = (uint8_t *)where + 4 * chance(octets / 4);
        uint32_t word;
        memcpy(&word, at, sizeof word);
        word = odd_word(word);
        memcpy(at, &word, sizeof word);
    }
}

/* The first connection, which nobody touched. */
static void first_goes_on(const struct message *first, uint32_t conn, uint32_t *octets)
{
    ck_assert_uint_eq(words(first)->generation, first->socket.generation);
    ck_assert_uint_eq(words(first)->state, SLOT_CONNECTED);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, conn)->state, TCP_ESTABLISHED);
    app_write(first, "x", 1);
    peer.conn = conn;
    peer_write("y", 1);
    settle();
    *octets += 1;
    ck_assert_uint_eq(words(first)->send_tail, *octets);
    ck_assert_uint_eq(words(first)->receive_head, *octets);
    ck_assert_uint_eq(harness_receive_ring(h, 0, first->socket.slot)[*octets - 1], 'y');
    harness_app(h, 0, first->socket.slot)->receive_tail = *octets;
}

START_TEST(test_any_octets_of_a_block)
{
    listen_answer();
    struct message first = accept_one(), second;
    uint32_t conn = peer.conn, octets = 0;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        chance_state = i * 7919U;
        second = establish();
        union tcp_stored stored;
        uint32_t index = block_of(&second, &stored);
        scribble(&stored, sizeof stored.block, 1 + chance(3));
        block_set(index, &stored);
        harness_restart(h);
        pump(4);
        drain_told();
        if (i % 3 != 0)
            harness_restart(h);
        h->now_us += 100000;
        pump(4);
        drain_told();
        own(LISTENER, CHILD); /* and not the second */
        drain_told();
        ck_assert_msg(words(&first)->state == SLOT_CONNECTED, "round %u", i);
        first_goes_on(&first, conn, &octets);
        struct message m = {.operation = MESSAGE_CLOSE};
        m.socket = second.socket;
        harness_request(h, &m);
        pump(4);
        drain_told();
    }
    ck_assert_uint_ge(h->rx[0]->free_slots, 1);
}
END_TEST

START_TEST(test_any_words_while_dead)
{
    listen_answer();
    struct message first = accept_one(), second;
    uint32_t conn = peer.conn, octets = 0;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        chance_state = i * 7919U;
        second = establish();
        peer_write("some", 4);
        pump(3);
        struct slot_app *app = harness_app(h, 0, second.socket.slot);
        scribble(app, sizeof *app, 1 + chance(4));
        app->generation = second.socket.generation;
        h->tx[0]->notify_producer = odd_word(h->tx[0]->notify_producer);
        scribble(h->tx[0]->notify, sizeof h->tx[0]->notify, 8);
        harness_restart(h);
        pump(4);
        scribble(app, sizeof *app, 1);
        harness_notify(h, 0, second.socket.slot);
        pump(4);
        drain_told();
        own(LISTENER, CHILD);
        drain_told();
        ck_assert_msg(words(&first)->state == SLOT_CONNECTED, "round %u", i);
        first_goes_on(&first, conn, &octets);
        struct message m = {.operation = MESSAGE_CLOSE};
        m.socket = second.socket;
        harness_request(h, &m);
        pump(4);
        drain_told();
    }
}
END_TEST

SUITE_RUN("server_tcp_resume", setup, teardown, test_data_both_ways_over_deaths,
          test_first_unacknowledged_goes_out_at_once, test_waits_for_accept, test_handshake_in_between,
          test_accepted_is_said_again, test_closed_with_text_on_its_way, test_farewell, test_corrupt_block_costs_its_own, test_slot_disputed, test_deadly_timer, test_grown_ring_of_an_ended_connection, test_index_is_anothers,
          test_index_is_anothers_since_the_start, test_held_slot_of_another_session,
          test_growth_stays_within_the_arena, test_lost_takes_no_place, test_copy_of_a_block,
          test_socket_of_another_generation, test_any_octets_of_a_block, test_any_words_while_dead,
          test_ring_beyond_its_arena_receiving, test_ring_beyond_its_arena_sending)
