// SPDX-License-Identifier: BSD-2-Clause
/* What the tests of the udp server have in common: the test plays ip, socket server, application and the peer. Included
 * by each once. */
#ifndef BULKHEAD_TESTS_UNIT_SERVER_UDP_PEER_H
#define BULKHEAD_TESTS_UNIT_SERVER_UDP_PEER_H

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/udp/udp.h"
#include "tests/unit/server_harness.h"
#include "tests/unit/suite.h"

#define SOCKET 0x10001U
#define OTHER  0x10002U
#define PORT   5353

static const struct ip_address us = HARNESS_ADDRESS;
static const struct ip_address them = HARNESS_PEER;
static const struct ip_address none = {0};
static const struct ip_address us6 = HARNESS_ADDRESS6, them6 = HARNESS_PEER6, link6 = HARNESS_LINK;
static const struct ip_address link_peer = {.family = ADDRESS_IP6, .octets = {0xfe, 0x80, [15] = 9}};
static const struct ip_address any4 = {.family = ADDRESS_IP4}, any6 = {.family = ADDRESS_IP6};
static const struct ip_address far4 = {.family = ADDRESS_IP4, .octets = {192, 0, 2, 1}};
static const struct ip_address far6 = {.family = ADDRESS_IP6, .octets = {0x20, 1, 0xd, 0xb8, [15] = 1}};
static const struct ip_address loop4 = {.family = ADDRESS_IP4, .octets = {127, 0, 0, 7}};
static const struct ip_address loop6 = {.family = ADDRESS_IP6, .octets = {[15] = 1}};
static const struct ip_address broadcast = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 255}};
static const struct ip_address all = {.family = ADDRESS_IP4, .octets = {255, 255, 255, 255}};
static const struct ip_address group6 = {.family = ADDRESS_IP6, .octets = {0xff, 2, [15] = 1}};
static const struct ip_address mapped = {.family = ADDRESS_IP6, .octets = {[10] = 255, 255, 10, 77, 0, 1}};

static struct harness *h;
static struct ip_address asked_local; /* of the next requests */
static uint32_t asked_options, asked_ttl;
static struct message_socket asked_socket; /* its slot is named, if it has a generation */

static inline void setup(void)
{
    struct message m;
    h = harness_new(&server_udp, SERVER_UDP, 17);
    asked_local = any4;
    asked_options = asked_ttl = 0;
    harness_arena(h, 0, SESSION_UDP, HARNESS_SLOTS);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &m));
}

static inline void teardown(void)
{
    harness_free(h);
}

static inline struct message request(uint8_t operation, uint32_t socket, uint16_t port, struct ip_address to,
                                     uint16_t to_port)
{
    struct message m = {.operation = operation,
                        .source = asked_local,
                        .source_port = port,
                        .destination = to,
                        .destination_port = to_port};
    m.socket =
        (struct message_socket){.socket = socket, .connection = UINT32_MAX, .argument = {0, asked_options, asked_ttl}};
    if (asked_socket.generation != 0) {
        m.socket.arena = asked_socket.arena;
        m.socket.slot = asked_socket.slot;
        m.socket.generation = asked_socket.generation;
    }
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
    ck_assert_uint_eq(m.cookie, h->request);
    return m;
}

static inline struct message bound(uint32_t socket, uint16_t port)
{
    struct message m = request(MESSAGE_BIND, socket, port, none, 0);
    ck_assert_int_eq(m.socket.error, 0);
    *harness_app(h, m.socket.arena, m.socket.slot) = (struct slot_app){.generation = m.socket.generation};
    ck_assert_uint_eq(harness_words(h, m.socket.arena, m.socket.slot)->generation, m.socket.generation);
    return m;
}

static inline void from_peer(uint16_t port, const void *bytes, uint16_t octets)
{
    uint8_t datagram[2000];
    const struct udp_header header = {.source_port = 99, .destination_port = port, .payload_length = octets};
    udp_build(&them, &us, &header, checksum_add(0, bytes, octets), datagram);
    memcpy(datagram + UDP_HEADER_LENGTH, bytes, octets);
    struct message m = {.source = them, .destination = us, .source_port = 99, .destination_port = port, .protocol = 17};
    harness_receive(h, &m, datagram, UDP_HEADER_LENGTH + (uint32_t)octets);
    harness_turn(h);
}

/* Reads the record at the application's receive tail and moves it on. */
static inline struct datagram_record read_record(const struct message *m, const uint8_t **ret_payload)
{
    struct slot_app *app = harness_app(h, 0, m->socket.slot);
    const uint8_t *ring = harness_receive_ring(h, 0, m->socket.slot);
    struct datagram_record r;
    uint32_t at = app->receive_tail % HARNESS_RECEIVE, first;
    memcpy(&first, ring + at, sizeof first);
    if (first == DATAGRAM_WRAP) {
        app->receive_tail += HARNESS_RECEIVE - at;
        at = 0;
    }
    memcpy(&r, ring + at, sizeof r);
    *ret_payload = ring + at + sizeof r;
    app->receive_tail += ((uint32_t)sizeof r + r.length + 15) & ~15U;
    ck_assert_int_le((int32_t)(app->receive_tail - harness_words(h, 0, m->socket.slot)->receive_head), 0);
    return r;
}

static inline void write_record(const struct message *m, struct ip_address to, uint16_t port, const void *bytes,
                                uint32_t octets)
{
    struct slot_app *app = harness_app(h, 0, m->socket.slot);
    uint8_t *ring = harness_send_ring(h, 0, m->socket.slot);
    uint32_t at = app->send_head % HARNESS_SEND, need = (32 + octets + 15) & ~15U;
    if (HARNESS_SEND - at < need) {
        uint32_t wrap = DATAGRAM_WRAP;
        memcpy(ring + at, &wrap, 4);
        app->send_head += HARNESS_SEND - at;
        at = 0;
    }
    struct datagram_record r = {.length = octets, .port = port, .family = to.family};
    memcpy(r.octets, to.octets, 16);
    memcpy(ring + at, &r, sizeof r);
    memcpy(ring + at + sizeof r, bytes, octets);
    app->send_head += need;
    harness_notify(h, 0, m->socket.slot);
}

#endif
