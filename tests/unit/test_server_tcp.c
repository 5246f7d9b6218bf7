// SPDX-License-Identifier: BSD-2-Clause
/* The TCP server between a test that plays ip, socket server and application, and a second engine as the peer. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/tcp/tcp.h"
#include "tests/unit/server_harness.h"
#include "tests/unit/suite.h"

#define LISTENER 0x10001U /* socket ids */
#define CHILD    0x10002U
#define ACTIVE   0x10003U
#define PORT     8080
#define NONE     UINT32_MAX

static const struct ip_address us = HARNESS_ADDRESS;
static const struct ip_address them = HARNESS_PEER;

static struct harness *h;

/* ---- the peer: an engine and rings for one connection at a time ---- */
#define PEER_RING 65536U
static struct {
    struct tcp *tcp;
    uint32_t conn;
    uint32_t drop; /* of our segments to it, the next so many */
    bool keep_loans;
    uint64_t kept[64];
    uint32_t kept_count;
    uint8_t receive[PEER_RING], send[PEER_RING];
} peer;

static void peer_new(void)
{
    struct tcp_config config = {.connections = 1024, .mtu = 1500, .gso = true, .secret = "the peer's own"};
    void *memory = aligned_alloc(64, tcp_size(&config));
    memset(memory, 0, tcp_size(&config));
    peer.tcp = tcp_init(memory, &config, h->now_us);
    peer.conn = NONE;
    peer.drop = peer.kept_count = 0;
    peer.keep_loans = false;
}

static void peer_input(const struct message *m)
{
    uint8_t segment[70000];
    uint32_t header = m->reference[0].length, payload = m->reference[1].length;
    memcpy(segment, harness_at(h, &m->reference[0]), header);
    if (payload > 0)
        memcpy(segment + header, harness_at(h, &m->reference[1]), payload);
    ck_assert_uint_eq(m->checksum_state, MESSAGE_CHECKSUM_PARTIAL);
    be16 pseudo = checksum_fold(checksum_pseudo_header(&m->source, &m->destination, 6, header + payload));
    ck_assert_mem_eq(segment + 16, &pseudo, 2);
    const struct tcp_segment_in meta = {.source = m->source,
                                        .destination = m->destination,
                                        .source_port = m->source_port,
                                        .destination_port = m->destination_port,
                                        .gso_size = m->gso_size};
    struct tcp_placement at = {.conn = TCP_NONE};
    uint32_t index = tcp_lookup(peer.tcp, &meta);
    const struct tcp_conn *c = index != TCP_NONE ? tcp_conn_at(peer.tcp, index) : NULL;
    if (c != NULL && c->state == TCP_SYN_RECEIVED && c->identity.arena == NONE) {
        ck_assert_int_eq(tcp_attach(peer.tcp, index, 1, 0, 0, 0, 1), TCP_CALL_OK);
        peer.conn = index;
    }
    if (tcp_input(peer.tcp, h->now_us, index, &meta, segment, header, header + payload, &at) == TCP_INPUT_DONE &&
        at.conn != TCP_NONE)
        for (uint32_t i = 0; i < at.length; i++)
            peer.receive[(at.stream_offset + i) % PEER_RING] = segment[header + at.payload_offset + i];
}

static void peer_output(void)
{
    struct tcp_output o;
    uint8_t segment[70000];
    while (tcp_poll(peer.tcp, h->now_us, &o)) {
        memcpy(segment, o.header, o.header_length);
        for (uint32_t i = 0; i < o.payload_length; i++)
            segment[o.header_length + i] = peer.send[(o.stream_offset + i) % PEER_RING];
        uint32_t octets = o.header_length + o.payload_length;
        be16 sum = checksum_finish(
            checksum_add(checksum_pseudo_header(&o.source, &o.destination, 6, octets), segment, octets));
        memcpy(segment + 16, &sum, 2);
        struct message m = {.source = o.source,
                            .destination = o.destination,
                            .source_port = o.source_port,
                            .destination_port = o.destination_port,
                            .protocol = 6,
                            .gso_size = o.gso_size};
        harness_receive(h, &m, segment, octets);
    }
    uint32_t index;
    while (tcp_next_touched(peer.tcp, &index))
        ;
}

/* Some bursts with the wire between them. */
static void pump(unsigned turns)
{
    struct message m;
    while (turns-- > 0) {
        peer_output();
        harness_turn(h);
        while (harness_sent(h, &m)) {
            ck_assert_uint_eq(m.operation, MESSAGE_SEND);
            if (peer.drop > 0)
                peer.drop--;
            else
                peer_input(&m);
            if (peer.keep_loans)
                peer.kept[peer.kept_count++] = m.cookie;
            else
                harness_return(h, m.cookie);
        }
    }
}

/* ... and until the last delayed ACK is out. */
static void settle(void)
{
    pump(6);
    h->now_us += 50000;
    pump(4);
}

/* ---- what the socket server and the application do ---- */
static struct message reconciled(void)
{
    struct message m, last = {0};
    while (port_pull(&h->socket_end, &m)) {
        last = m;
        if (m.operation == MESSAGE_ALIVE_END)
            break;
    }
    return last;
}

static void setup(void)
{
    h = harness_new(&server_tcp, SERVER_TCP, 6);
    harness_arena(h, 0, SESSION_TCP, HARNESS_SLOTS);
    peer_new();
    harness_turn(h);
    ck_assert_uint_eq(reconciled().operation, MESSAGE_ALIVE_END);
}

static void teardown(void)
{
    peer.keep_loans = false;
    for (uint32_t i = 0; i < peer.kept_count; i++)
        harness_return(h, peer.kept[i]);
    pump(4);
    harness_free(h);
    free(peer.tcp);
}

static struct message listen_answer(void)
{
    struct message m = {.operation = MESSAGE_LISTEN, .source = {.family = ADDRESS_IP4}, .source_port = PORT};
    m.socket = (struct message_socket){.socket = LISTENER, .argument = {16}};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
    ck_assert_uint_eq(m.cookie, h->request);
    return m;
}

static void take_slot(const struct message *m)
{
    struct slot_app *app = harness_app(h, m->socket.arena, m->socket.slot);
    ck_assert_uint_eq(harness_words(h, m->socket.arena, m->socket.slot)->generation, m->socket.generation);
    *app = (struct slot_app){.generation = m->socket.generation};
}

/* An accepted connection from the peer. */
static struct message accept_one(void)
{
    struct tcp_identity id = {.local = them, .remote = us, .remote_port = PORT};
    ck_assert_int_eq(tcp_connect(peer.tcp, h->now_us, &id, PEER_RING, PEER_RING, &peer.conn), TCP_CALL_OK);
    pump(4);
    struct message m;
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    ck_assert_uint_eq(m.socket.listener, LISTENER);
    ck_assert_uint_eq(m.socket.socket, 0);
    ck_assert_uint_eq(m.destination_port, tcp_conn_at(peer.tcp, peer.conn)->identity.local_port);
    ck_assert(ip_address_equal(&m.source, &us));
    struct message accepted = {.operation = MESSAGE_ACCEPTED, .socket = m.socket};
    accepted.socket.socket = CHILD;
    harness_request(h, &accepted);
    harness_turn(h);
    take_slot(&m);
    return m;
}

static void app_write(const struct message *m, const void *bytes, uint32_t octets)
{
    struct slot_app *app = harness_app(h, m->socket.arena, m->socket.slot);
    uint8_t *ring = harness_send_ring(h, m->socket.arena, m->socket.slot);
    for (uint32_t i = 0; i < octets; i++)
        ring[(app->send_head + i) % HARNESS_SEND] = ((const uint8_t *)bytes)[i];
    app->send_head += octets;
    harness_notify(h, m->socket.arena, m->socket.slot);
}

static void peer_write(const void *bytes, uint32_t octets)
{
    const struct tcp_conn *c = tcp_conn_at(peer.tcp, peer.conn);
    for (uint32_t i = 0; i < octets; i++)
        peer.send[(c->send_end + i) % PEER_RING] = ((const uint8_t *)bytes)[i];
    tcp_send_available(peer.tcp, h->now_us, peer.conn, c->send_end + octets);
}

static struct message close_socket(uint32_t socket)
{
    struct message m = {.operation = MESSAGE_CLOSE};
    m.socket = (struct message_socket){.socket = socket, .connection = NONE};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
    ck_assert_int_eq(m.socket.error, 0);
    return m;
}

static struct slot_transport *words(const struct message *m)
{
    return harness_words(h, m->socket.arena, m->socket.slot);
}

/* ---- tests ---- */
START_TEST(test_accept_and_data)
{
    ck_assert_int_eq(listen_answer().socket.error, 0);
    struct message m = accept_one();
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);

    peer_write("hello", 5);
    pump(3);
    ck_assert_uint_eq(words(&m)->receive_head, 5);
    ck_assert_mem_eq(harness_receive_ring(h, m.socket.arena, m.socket.slot), "hello", 5);

    uint8_t big[10000];
    for (uint32_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i * 7);
    for (unsigned round = 0; round < 5; round++) { /* round the ends of both rings */
        app_write(&m, big, sizeof big);
        settle();
        uint32_t at = round * (uint32_t)sizeof big;
        for (uint32_t i = 0; i < sizeof big; i++)
            ck_assert_uint_eq(peer.receive[(at + i) % PEER_RING], big[i]);
        tcp_receive_consumed(peer.tcp, h->now_us, peer.conn, at + sizeof big);
        ck_assert_uint_eq(words(&m)->send_tail, at + sizeof big);

        peer_write(big, sizeof big);
        settle();
        uint8_t *ring = harness_receive_ring(h, m.socket.arena, m.socket.slot);
        for (uint32_t i = 0; i < sizeof big; i++)
            ck_assert_uint_eq(ring[(5 + at + i) % HARNESS_RECEIVE], big[i]);
        ck_assert_uint_eq(words(&m)->receive_head, 5 + at + sizeof big);
        harness_app(h, 0, m.socket.slot)->receive_tail = 5 + at + sizeof big;
        harness_notify(h, 0, m.socket.slot);
        pump(2);
    }
    ck_assert_uint_eq(h->tx[0]->notify_producer, h->rx[0]->notify_consumer);
    close_socket(CHILD);
    pump(4);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    ck_assert(tcp_conn_at(peer.tcp, peer.conn)->fin_received);
}
END_TEST

START_TEST(test_loans_hold_the_tail)
{
    listen_answer();
    struct message m = accept_one();
    peer.keep_loans = true;
    app_write(&m, "0123456789", 10);
    settle(); /* acknowledged by now */
    ck_assert_mem_eq(peer.receive, "0123456789", 10);
    ck_assert_uint_eq(words(&m)->send_tail, 0);
    close_socket(CHILD);
    tcp_close(peer.tcp, h->now_us, peer.conn);
    pump(4);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1); /* the slot waits for its loan */
    peer.keep_loans = false;
    for (uint32_t i = 0; i < peer.kept_count; i++)
        harness_return(h, peer.kept[i]);
    peer.kept_count = 0;
    harness_turn(h);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

static struct message connect_to(uint16_t port)
{
    struct message m = {.operation = MESSAGE_CONNECT, .destination = them, .destination_port = port};
    m.socket = (struct message_socket){.socket = ACTIVE};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
    return m;
}

START_TEST(test_connect)
{
    struct tcp_identity id = {.local = them, .local_port = 80, .arena = NONE};
    uint32_t listener;
    ck_assert_int_eq(tcp_listen(peer.tcp, &id, 4, PEER_RING, PEER_RING, &listener), TCP_CALL_OK);
    struct message m = connect_to(80);
    ck_assert_int_eq(m.socket.error, 0);
    ck_assert_uint_ge(m.source_port, 1024);
    take_slot(&m);
    struct message again = connect_to(80); /* idempotent */
    ck_assert_uint_eq(again.socket.connection, m.socket.connection);
    ck_assert_uint_eq(again.socket.generation, m.socket.generation);
    app_write(&m, "early", 5); /* before it is connected */
    pump(6);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED);
    ck_assert_mem_eq(peer.receive, "early", 5);
    tcp_close(peer.tcp, h->now_us, peer.conn);
    tcp_receive_consumed(peer.tcp, h->now_us, peer.conn, 5);
    pump(4);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED | SLOT_ERROR | SLOT_CLOSED); /* unread: reset */
    close_socket(ACTIVE);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_connect_refused)
{
    struct message m = connect_to(81);
    ck_assert_int_eq(m.socket.error, 0);
    pump(4);
    ck_assert_uint_eq(words(&m)->state, SLOT_ERROR | SLOT_CLOSED);
    ck_assert_uint_eq(words(&m)->error, ECONNREFUSED);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1); /* until it was closed */
    close_socket(ACTIVE);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_peer_closes)
{
    listen_answer();
    struct message m = accept_one();
    peer_write("bye", 3);
    tcp_shutdown_send(peer.tcp, h->now_us, peer.conn);
    pump(4);
    ck_assert_uint_eq(words(&m)->receive_head, 3);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED | SLOT_FIN);
    harness_app(h, 0, m.socket.slot)->flags = SLOT_APP_SHUTDOWN;
    app_write(&m, "bye too", 7);
    pump(4);
    ck_assert_mem_eq(peer.receive, "bye too", 7);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED | SLOT_FIN | SLOT_CLOSED);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1); /* "bye" may still be read */
    close_socket(CHILD);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_close_listener_with_waiting_child)
{
    listen_answer();
    struct tcp_identity id = {.local = them, .remote = us, .remote_port = PORT};
    ck_assert_int_eq(tcp_connect(peer.tcp, h->now_us, &id, PEER_RING, PEER_RING, &peer.conn), TCP_CALL_OK);
    pump(4);
    struct message m;
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    close_socket(LISTENER);
    pump(3);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_CLOSED);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_no_slot)
{
    listen_answer();
    struct tcp_identity id = {.local = them, .remote = us, .remote_port = PORT};
    for (unsigned i = 0; i < HARNESS_SLOTS + 1; i++)
        ck_assert_int_eq(tcp_connect(peer.tcp, h->now_us, &id, PEER_RING, PEER_RING, &peer.conn), TCP_CALL_OK);
    pump(4);
    ck_assert_uint_eq(h->rx[0]->free_slots, 0);
    struct message m;
    for (unsigned i = 0; i < HARNESS_SLOTS; i++)
        ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    ck_assert(!harness_told(h, MESSAGE_ESTABLISHED, &m));
    ck_assert_uint_ge(harness_counter(h, "drop_no_slot"), 1);
    harness_arena(h, 1, SESSION_TCP, 2); /* the application adds one; the peer's next try gets in */
    h->now_us += 2000000;
    pump(4);
    ck_assert_uint_eq(h->rx[1]->free_slots, 1);
}
END_TEST

/* What the socket server says after a restart: these sockets (0: none) are its, and no others. */
static void owned(const struct message *first, uint32_t first_socket, uint32_t second_socket)
{
    struct message m = {.operation = MESSAGE_OWNED};
    m.socket = first->socket;
    m.socket.socket = first_socket;
    if (first_socket != 0)
        harness_request(h, &m);
    m.socket = (struct message_socket){.socket = second_socket, .connection = NONE};
    if (second_socket != 0)
        harness_request(h, &m);
    m = (struct message){.operation = MESSAGE_OWNED_END};
    harness_request(h, &m);
    harness_turn(h);
}

/* The list of a new incarnation names the listener and the socket, and no more. */
static void alive_are(uint32_t first, uint32_t second)
{
    struct message told;
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert_uint_eq(told.socket.socket, first);
    if (second != 0) {
        ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
        ck_assert_uint_eq(told.socket.socket, second);
    }
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
}

/* Another connection from the peer, as far as ESTABLISHED. */
static struct message establish(void)
{
    struct tcp_identity id = {.local = them, .remote = us, .remote_port = PORT};
    ck_assert_int_eq(tcp_connect(peer.tcp, h->now_us, &id, PEER_RING, PEER_RING, &peer.conn), TCP_CALL_OK);
    pump(4);
    struct message m;
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    return m;
}

START_TEST(test_restart)
{
    listen_answer();
    struct message m = accept_one();
    peer_write("lost", 4);
    pump(3);
    connect_to(4444); /* its SYN is out, nobody answered yet */
    peer.drop = 1;
    pump(1);
    harness_restart(h);
    harness_turn(h);
    ck_assert_uint_eq(words(&m)->generation, m.socket.generation);
    ck_assert_uint_eq(words(&m)->state, SLOT_ERROR | SLOT_CLOSED);
    ck_assert_uint_eq(words(&m)->error, ECONNRESET);
    ck_assert_uint_eq(words(&m)->receive_head, 4);
    struct message told;
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert_uint_eq(told.socket.socket, LISTENER);
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told)); /* until its CLOSE */
    ck_assert_uint_eq(told.socket.socket, CHILD);
    struct message second;
    ck_assert(harness_told(h, MESSAGE_ALIVE, &second)); /* the attempt goes on; here it ends refused */
    ck_assert_uint_eq(second.socket.socket, ACTIVE);
    pump(4);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->error, TCP_ERROR_RESET);
    while (port_pull(&h->socket_end, &second))
        ;
    close_socket(CHILD);
    m = accept_one(); /* the listener is there */
    ck_assert_uint_eq(m.socket.generation >> 16, 2);
    harness_restart(h); /* the block of the one that was told is gone */
    pump(3);
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), 1);
}
END_TEST

START_TEST(test_lost_slot_is_kept_until_close)
{
    listen_answer();
    struct message m = accept_one();
    for (unsigned death = 0; death < 3; death++) {
        harness_restart(h);
        pump(4);
        alive_are(LISTENER, CHILD);
        owned(&m, CHILD, LISTENER);
        ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    }
    struct message other = establish();
    ck_assert_uint_ne(other.socket.slot, m.socket.slot);
    ck_assert_uint_ne(other.socket.connection, m.socket.connection);
    ck_assert_uint_eq(words(&m)->generation, m.socket.generation);
    ck_assert_uint_eq(words(&m)->error, ECONNRESET);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 2);
    close_socket(CHILD);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    harness_restart(h);
    pump(4);
    alive_are(LISTENER, 0); /* `other` was accepted by nobody */
    owned(&m, 0, LISTENER);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_lost_and_accepted_at_once)
{
    listen_answer();
    struct message m = establish(); /* accepted at the socket server; its ACCEPTED died with us */
    take_slot(&m);
    harness_restart(h);
    pump(2);
    alive_are(LISTENER, 0);
    owned(&m, CHILD, LISTENER);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    ck_assert_uint_eq(words(&m)->error, ECONNRESET);
    harness_restart(h); /* now with an owner */
    pump(2);
    alive_are(LISTENER, CHILD);
    ck_assert_uint_eq(words(&m)->error, ECONNRESET);
    owned(&m, 0, LISTENER); /* closed meanwhile */
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    struct message told;
    ck_assert(!harness_told(h, MESSAGE_ALIVE, &told));
}
END_TEST

START_TEST(test_lost_and_session_ends)
{
    listen_answer();
    accept_one();
    harness_restart(h);
    pump(2);
    alive_are(LISTENER, CHILD);
    struct message m = {.operation = MESSAGE_SESSION_END};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_LOST, &m));
    ck_assert_uint_eq(m.socket.connection, NONE);
    harness_restart(h);
    pump(2);
    ck_assert_uint_eq(harness_counter(h, "restored"), 0);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_lost_with_its_session)
{
    listen_answer();
    accept_one();
    struct session_arena arena = h->session[0].arena[0];
    h->session[0].present = false; /* it went while we were dead */
    harness_restart(h);
    harness_turn(h);
    owned(&(struct message){0}, 0, 0);
    pump(2);
    h->session[0].present = true;
    h->session[0].arena[0] = arena;
    h->server->session_added(h->state, 0);
    pump(2);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_unread_data_of_an_ended_connection)
{
    listen_answer();
    struct message m = accept_one();
    peer_write("bye", 3);
    tcp_shutdown_send(peer.tcp, h->now_us, peer.conn);
    pump(4);
    harness_app(h, 0, m.socket.slot)->flags = SLOT_APP_SHUTDOWN;
    app_write(&m, "bye too", 7);
    pump(4);
    const uint32_t over = SLOT_CONNECTED | SLOT_FIN | SLOT_CLOSED;
    ck_assert_uint_eq(words(&m)->state, over);
    for (unsigned death = 0; death < 2; death++) {
        harness_restart(h);
        pump(2);
        alive_are(LISTENER, CHILD);
        owned(&m, CHILD, LISTENER);
        ck_assert_uint_eq(words(&m)->generation, m.socket.generation);
        ck_assert_uint_eq(words(&m)->state, over);
        ck_assert_uint_eq(words(&m)->error, 0);
        ck_assert_uint_eq(words(&m)->receive_head, 3);
    }
    struct message other = establish();
    ck_assert_uint_ne(other.socket.slot, m.socket.slot);
    peer_write("other", 5);
    pump(3);
    ck_assert_mem_eq(harness_receive_ring(h, 0, m.socket.slot), "bye", 3);
    ck_assert_mem_eq(harness_receive_ring(h, 0, other.socket.slot), "other", 5);
    close_socket(CHILD);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    harness_restart(h);
    pump(2);
    alive_are(LISTENER, 0);
}
END_TEST

/* As one who cannot see our SYN-ACK: the acknowledgement is a guess. */
static void blind_ack(uint16_t port, uint32_t ack, uint8_t flags)
{
    uint8_t segment[20] = {(uint8_t)(port >> 8),
                           (uint8_t)port,
                           PORT >> 8,
                           PORT & 0xff,
                           [8] = (uint8_t)(ack >> 24),
                           (uint8_t)(ack >> 16),
                           (uint8_t)(ack >> 8),
                           (uint8_t)ack,
                           5 << 4,
                           flags,
                           0xff,
                           0xff};
    segment[7] = flags == 0x10; /* after the SYN */
    struct message m = {.source = them,
                        .destination = us,
                        .source_port = port,
                        .destination_port = PORT,
                        .protocol = 6,
                        .checksum_state = MESSAGE_CHECKSUM_VALID};
    harness_receive(h, &m, segment, sizeof segment);
    harness_turn(h);
}

START_TEST(test_blind_ack_takes_no_slot)
{
    listen_answer();
    struct message m, reply;
    blind_ack(5555, 0, 0x02);
    uint32_t iss = 0;
    while (harness_sent(h, &reply)) {
        const uint8_t *header = harness_at(h, &reply.reference[0]);
        iss = (uint32_t)header[4] << 24 | (uint32_t)header[5] << 16 | (uint32_t)header[6] << 8 | header[7];
        harness_return(h, reply.cookie);
    }
    const uint32_t guesses[] = {0, iss, iss + 2, iss + 0x80000001};
    for (unsigned i = 0; i < sizeof guesses / sizeof guesses[0]; i++) {
        blind_ack(5555, guesses[i], 0x10);
        ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    }
    ck_assert_uint_eq(harness_counter(h, "slots_given"), 0);
    ck_assert(!harness_told(h, MESSAGE_ESTABLISHED, &m));
    blind_ack(5555, iss + 1, 0x10);
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
}
END_TEST

START_TEST(test_session_index_again)
{
    struct session_arena arena = h->session[0].arena[0];
    h->server->session_removed(h->state, 0);
    h->session[0].present = false;
    struct message m = {.operation = MESSAGE_SESSION_END};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_LOST, &m)); /* nothing of it is here */
    ck_assert_uint_eq(m.socket.connection, NONE);
    h->session[0].present = true;
    h->session[0].arena[0] = arena;
    h->server->session_added(h->state, 0);
    ck_assert_int_eq(listen_answer().socket.error, 0);
}
END_TEST

/* ip takes nothing: the recovery waits without asking for another burst at once. */
START_TEST(test_restart_while_ip_is_full)
{
    enum {
        LOST = 600
    }; /* more than the engine's queue of RSTs, the pool of headers and the ring to ip have room for */
    harness_arena(h, 1, SESSION_TCP, LOST);
    listen_answer();
    for (uint32_t i = 0; i < LOST; i++) {
        struct message m = establish();
        m.operation = MESSAGE_ACCEPTED;
        m.socket.socket = CHILD + i;
        harness_request(h, &m);
        harness_turn(h);
    }
    harness_restart(h);
    for (unsigned i = 0; i < 100; i++)
        harness_turn(h);
    ck_assert(!h->server->burst(h->state, h->now_us));
    ck_assert(!h->server->pending(h->state));
    harness_notify(h, 0, 0); /* not taken before the recovery is through: no reason to come back either */
    ck_assert(!h->server->pending(h->state));
    uint64_t deadline = h->server->deadline_us(h->state);
    ck_assert_uint_gt(deadline, h->now_us);
    ck_assert_uint_le(deadline, h->now_us + 250);
    pump(40); /* there is room */
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), LOST);
    ck_assert(!h->server->pending(h->state));
    ck_assert_uint_eq(h->rx[0]->free_slots + h->rx[1]->free_slots, HARNESS_SLOTS);
    for (uint32_t i = 0; i < 1024; i++)
        ck_assert_int_eq(tcp_conn_at(peer.tcp, i)->state, TCP_CLOSED);
    struct message told; /* what is told to the socket server waits for room, too */
    for (uint32_t alive = 0; alive < LOST + 1;) {
        if (!port_pull(&h->socket_end, &told))
            harness_turn(h);
        else
            alive += told.operation == MESSAGE_ALIVE;
    }
    owned(&told, 0, 0);
    ck_assert_uint_eq(h->rx[0]->free_slots + h->rx[1]->free_slots, HARNESS_SLOTS + LOST);
}
END_TEST

START_TEST(test_reconcile)
{
    listen_answer();
    struct message m = accept_one(), told;
    h->server->peer_lost(h->state, SERVER_SOCKET);
    h->server->peer_attached(h->state, SERVER_SOCKET, h->now_us);
    struct message owned = {.operation = MESSAGE_OWNED};
    owned.socket.socket = LISTENER;
    owned.socket.connection = NONE;
    harness_request(h, &owned);
    owned.operation = MESSAGE_OWNED_END;
    owned.socket = (struct message_socket){0};
    harness_request(h, &owned);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told)); /* CHILD was not owned: closed already */
    ck_assert_uint_eq(told.socket.socket, LISTENER);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
    pump(4);
    ck_assert(tcp_conn_at(peer.tcp, peer.conn)->fin_received);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    (void)m;
}
END_TEST

START_TEST(test_session_end)
{
    listen_answer();
    accept_one();
    struct message m = {.operation = MESSAGE_SESSION_END};
    harness_request(h, &m);
    harness_turn(h);
    pump(4);
    ck_assert(harness_told(h, MESSAGE_LOST, &m));
    ck_assert_uint_eq(m.socket.connection, NONE);
    ck_assert_uint_eq(m.socket.socket, 0);
    ck_assert(!harness_told(h, MESSAGE_LOST, &m));
    ck_assert_int_eq(listen_answer().socket.error, ESHUTDOWN);
}
END_TEST

START_TEST(test_ip_restart)
{
    listen_answer();
    struct message m = accept_one();
    peer.keep_loans = true;
    peer.drop = 1;
    app_write(&m, "again", 5);
    pump(1);
    ck_assert_uint_eq(peer.kept_count, 1);
    h->server->peer_lost(h->state, SERVER_IP);
    h->server->peer_attached(h->state, SERVER_IP, h->now_us);
    peer.keep_loans = false;
    peer.kept_count = 0;
    ck_assert(pool_all_home(&h->pool));
    h->now_us += 3000000;
    settle();
    ck_assert_mem_eq(peer.receive, "again", 5); /* retransmitted */
    ck_assert_uint_eq(words(&m)->send_tail, 5);
}
END_TEST

/* ---- lies ---- */
START_TEST(test_application_lies)
{
    listen_answer();
    struct message m = accept_one();
    struct slot_app *app = harness_app(h, 0, m.socket.slot);
    static const struct {
        const char *counter;
        struct slot_app words; /* generation: added to the right one */
    } lies[] = {
        {"notify_stale", {.generation = 1, .send_head = 5}}, {"drop_send_head", {.send_head = HARNESS_SEND + 1}},
        {"drop_send_head", {.send_head = UINT32_MAX}},       {"drop_receive_tail", {.receive_tail = 1}},
        {"drop_receive_tail", {.receive_tail = UINT32_MAX}},
    };
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        *app = lies[i].words;
        app->generation += m.socket.generation;
        uint64_t before = harness_counter(h, lies[i].counter);
        harness_notify(h, 0, m.socket.slot);
        ck_assert_uint_gt(harness_counter(h, lies[i].counter), before);
    }
    *app = (struct slot_app){.generation = m.socket.generation};
    harness_notify(h, 0, HARNESS_SLOTS);
    harness_notify(h, 0, UINT32_MAX);
    ck_assert_uint_eq(harness_counter(h, "drop_notify_slot"), 2);
    h->tx[0]->notify_producer += ARENA_SLOTS_MAX + 1;
    app_write(&m, "x", 0);
    app->send_head = 3;
    memcpy(harness_send_ring(h, 0, m.socket.slot), "yes", 3);
    pump(4);
    ck_assert_uint_eq(harness_counter(h, "notify_resync"), 1);
    ck_assert_mem_eq(peer.receive, "yes", 3); /* found by looking at every slot */
}
END_TEST

static void receive_lie(struct message lie, const char *counter)
{
    uint8_t segment[40] = {0};
    struct message m = {.source = them,
                        .destination = us,
                        .source_port = 1,
                        .destination_port = PORT,
                        .protocol = 6,
                        .checksum_state = MESSAGE_CHECKSUM_VALID};
    uint64_t before = harness_counter(h, counter);
    if (lie.protocol != 0)
        m.protocol = lie.protocol;
    if (lie.destination.family != 0)
        m.destination = lie.destination;
    m.checksum_state = lie.checksum_state;
    m.operation = MESSAGE_RECEIVE;
    m.capability = lie.capability;
    m.generation = 1;
    m.cookie = 3;
    memcpy(h->foreign + 64, segment, sizeof segment);
    m.reference[0] = lie.reference[0];
    ck_assert(port_push(&h->ip_end, &m));
    h->lent++;
    ck_assert_msg(harness_counter(h, counter) > before, "%s", counter);
}

START_TEST(test_ip_lies)
{
    struct message sent;
    const struct message_reference good = {HARNESS_POOL, 1, 64, 40};
    receive_lie((struct message){.capability = 2, .reference = {good}}, "drop_capability");
    receive_lie((struct message){.capability = HARNESS_POOL, .reference = {good}}, "drop_capability");
    receive_lie((struct message){.capability = 1, .reference = {{HARNESS_POOL + 1, 1, 64, 40}}}, "drop_range");
    receive_lie((struct message){.capability = 1, .reference = {{HARNESS_POOL, 2, 64, 40}}}, "drop_range");
    receive_lie((struct message){.capability = 1, .reference = {{HARNESS_POOL, 1, HARNESS_POOL_SIZE, 40}}},
                "drop_range");
    receive_lie((struct message){.capability = 1, .reference = {{HARNESS_POOL, 1, UINT32_MAX, 40}}}, "drop_range");
    receive_lie((struct message){.capability = 1, .reference = {{1, 1, 64, 40}}}, "drop_range");
    receive_lie((struct message){.capability = 1, .reference = {good}, .protocol = 17}, "drop_protocol");
    receive_lie((struct message){.capability = 1, .reference = {good}, .destination = them}, "drop_not_local");
    receive_lie((struct message){.capability = 1, .reference = {{HARNESS_POOL, 1, 64, 0}}}, "drop_length");
    receive_lie((struct message){.capability = 1, .reference = {good}}, "drop_checksum");
    receive_lie((struct message){.capability = 1, .reference = {good}, .checksum_state = MESSAGE_CHECKSUM_VALID},
                "tcp_drop_header");
    while (harness_sent(h, &sent))
        ck_abort_msg("an answer to a lie");
    harness_return(h, 0); /* never lent */
    harness_return(h, UINT32_MAX);
    ck_assert_uint_eq(harness_counter(h, "drop_return_unknown"), 2);
    struct message m = {.operation = MESSAGE_BIND, .capability = 1, .generation = 1};
    ck_assert(port_push(&h->ip_end, &m));
    ck_assert_uint_eq(harness_counter(h, "drop_operation"), 1);
}
END_TEST

START_TEST(test_socket_lies)
{
    static const struct {
        uint8_t operation;
        struct message_socket socket;
        uint16_t port;
        int error;
    } lies[] = {
        {MESSAGE_LISTEN, {.socket = 0}, PORT, EINVAL},
        {MESSAGE_LISTEN, {.socket = 0x1ffff}, PORT, EINVAL},
        {MESSAGE_LISTEN, {.socket = LISTENER, .session = 1}, PORT, ESHUTDOWN},
        {MESSAGE_LISTEN, {.socket = LISTENER, .session = UINT32_MAX}, PORT, ESHUTDOWN},
        {MESSAGE_LISTEN, {.socket = LISTENER}, 0, EINVAL},
        {MESSAGE_CONNECT, {.socket = LISTENER}, 0, EAFNOSUPPORT},
        {MESSAGE_BIND, {.socket = LISTENER}, 0, EOPNOTSUPP},
        {MESSAGE_SET_OPTION, {.socket = LISTENER}, 0, ENOTCONN},
        {MESSAGE_CLOSE, {.socket = LISTENER, .connection = UINT32_MAX}, 0, 0},
        {MESSAGE_CLOSE, {.socket = 0, .connection = 7, .generation = 1}, 0, 0},
    };
    struct message m;
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        m = (struct message){.operation = lies[i].operation, .source_port = lies[i].port};
        m.socket = lies[i].socket;
        harness_request(h, &m);
        harness_turn(h);
        ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
        ck_assert_msg(m.socket.error == lies[i].error, "row %u: %d", i, m.socket.error);
    }
    m = (struct message){.operation = MESSAGE_ACCEPTED};
    m.socket = (struct message_socket){.socket = CHILD, .connection = 1, .generation = 9};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_LOST, &m));
    m = (struct message){.operation = MESSAGE_SESSION_END};
    m.socket.session = SESSIONS_MAX;
    harness_request(h, &m);
    ck_assert_uint_eq(harness_counter(h, "drop_request_session"), 1);
    m = (struct message){.operation = MESSAGE_SEND};
    harness_request(h, &m);
    ck_assert_uint_eq(harness_counter(h, "drop_operation"), 1);
}
END_TEST

SUITE_RUN("server_tcp", setup, teardown, test_accept_and_data, test_loans_hold_the_tail, test_connect,
          test_connect_refused, test_peer_closes, test_close_listener_with_waiting_child, test_no_slot, test_restart,
          test_lost_slot_is_kept_until_close, test_lost_and_accepted_at_once, test_lost_and_session_ends,
          test_lost_with_its_session, test_unread_data_of_an_ended_connection, test_blind_ack_takes_no_slot,
          test_session_index_again, test_restart_while_ip_is_full, test_reconcile, test_session_end, test_ip_restart,
          test_application_lies, test_ip_lies, test_socket_lies)
