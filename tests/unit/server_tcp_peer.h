// SPDX-License-Identifier: BSD-2-Clause
/* What the tests of the tcp server have in common: the harness plays ip and socket, a second TCP engine the peer. Included by
 * each once. */
#ifndef BULKHEAD_TESTS_UNIT_SERVER_TCP_PEER_H
#define BULKHEAD_TESTS_UNIT_SERVER_TCP_PEER_H

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

static inline void peer_new(void)
{
    struct tcp_config config = {.connections = 1024, .mtu = 1500, .gso = true, .secret = "the peer's own"};
    void *memory = aligned_alloc(64, tcp_size(&config));
    memset(memory, 0, tcp_size(&config));
    peer.tcp = tcp_init(memory, &config, h->now_us);
    peer.conn = NONE;
    peer.drop = peer.kept_count = 0;
    peer.keep_loans = false;
}

static inline void peer_input(const struct message *m)
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

static inline void peer_output(void)
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
static inline void pump(unsigned turns)
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
static inline void settle(void)
{
    pump(6);
    h->now_us += 50000;
    pump(4);
}

/* ---- what the socket server and the application do ---- */
static inline struct message reconciled(void)
{
    struct message m, last = {0};
    while (port_pull(&h->socket_end, &m)) {
        last = m;
        if (m.operation == MESSAGE_ALIVE_END)
            break;
    }
    return last;
}

static inline void setup(void)
{
    h = harness_new(&server_tcp, SERVER_TCP, 6);
    harness_arena(h, 0, SESSION_TCP, HARNESS_SLOTS);
    peer_new();
    harness_turn(h);
    ck_assert_uint_eq(reconciled().operation, MESSAGE_ALIVE_END);
}

static inline void teardown(void)
{
    peer.keep_loans = false;
    for (uint32_t i = 0; i < peer.kept_count; i++)
        harness_return(h, peer.kept[i]);
    pump(4);
    harness_free(h);
    free(peer.tcp);
}

static inline struct message listen_answer(void)
{
    struct message m = {.operation = MESSAGE_LISTEN, .source = {.family = ADDRESS_IP4}, .source_port = PORT};
    m.socket = (struct message_socket){.socket = LISTENER, .argument = {16}};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
    ck_assert_uint_eq(m.cookie, h->request);
    return m;
}

static inline void take_slot(const struct message *m)
{
    struct slot_app *app = harness_app(h, m->socket.arena, m->socket.slot);
    ck_assert_uint_eq(harness_words(h, m->socket.arena, m->socket.slot)->generation, m->socket.generation);
    *app = (struct slot_app){.generation = m->socket.generation};
}

/* Its SYN goes out with the next pump(). */
static inline void peer_connect(void)
{
    struct tcp_identity id = {.local = them, .remote = us, .remote_port = PORT};
    ck_assert_int_eq(tcp_connect(peer.tcp, h->now_us, &id, PEER_RING, PEER_RING, &peer.conn), TCP_CALL_OK);
}

/* An accepted connection from the peer. `with`: the options that it has from then on. */
static inline struct message accept_with(const struct message *with)
{
    peer_connect();
    pump(4);
    struct message m;
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    ck_assert_uint_eq(m.socket.listener, LISTENER);
    ck_assert_uint_eq(m.socket.socket, 0);
    ck_assert_uint_eq(m.destination_port, tcp_conn_at(peer.tcp, peer.conn)->identity.local_port);
    ck_assert(ip_address_equal(&m.source, &us));
    struct message accepted = {.operation = MESSAGE_ACCEPTED, .socket = m.socket, .options = with->options};
    memcpy(accepted.socket.argument, with->socket.argument, sizeof accepted.socket.argument);
    accepted.socket.socket = CHILD;
    harness_request(h, &accepted);
    harness_turn(h);
    take_slot(&m);
    return m;
}

static inline struct message accept_one(void)
{
    return accept_with(&(struct message){0});
}

static inline void app_write(const struct message *m, const void *bytes, uint32_t octets)
{
    struct slot_app *app = harness_app(h, m->socket.arena, m->socket.slot);
    uint8_t *ring = harness_send_ring(h, m->socket.arena, m->socket.slot);
    for (uint32_t i = 0; i < octets; i++)
        ring[(app->send_head + i) % HARNESS_SEND] = ((const uint8_t *)bytes)[i];
    app->send_head += octets;
    harness_notify(h, m->socket.arena, m->socket.slot);
}

static inline void peer_write(const void *bytes, uint32_t octets)
{
    const struct tcp_conn *c = tcp_conn_at(peer.tcp, peer.conn);
    for (uint32_t i = 0; i < octets; i++)
        peer.send[(c->send_end + i) % PEER_RING] = ((const uint8_t *)bytes)[i];
    tcp_send_available(peer.tcp, h->now_us, peer.conn, c->send_end + octets);
}

static inline struct message close_socket(uint32_t socket)
{
    struct message m = {.operation = MESSAGE_CLOSE};
    m.socket = (struct message_socket){.socket = socket, .connection = NONE};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
    ck_assert_int_eq(m.socket.error, 0);
    return m;
}

static inline struct slot_transport *words(const struct message *m)
{
    return harness_words(h, m->socket.arena, m->socket.slot);
}

static inline struct message connect_to(uint16_t port)
{
    struct message m = {.operation = MESSAGE_CONNECT, .destination = them, .destination_port = port};
    m.socket = (struct message_socket){.socket = ACTIVE};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
    return m;
}

#endif
