// SPDX-License-Identifier: BSD-2-Clause
/* The UDP server between a test that plays ip, socket server, application and the peer. */
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

static struct harness *h;

static void setup(void)
{
    struct message m;
    h = harness_new(&server_udp, SERVER_UDP, 17);
    harness_arena(h, 0, SESSION_UDP, HARNESS_SLOTS);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &m));
}

static void teardown(void)
{
    harness_free(h);
}

static struct message request(uint8_t operation, uint32_t socket, uint16_t port, struct ip_address to, uint16_t to_port)
{
    struct message m = {.operation = operation,
                        .source = {.family = ADDRESS_IP4},
                        .source_port = port,
                        .destination = to,
                        .destination_port = to_port};
    m.socket = (struct message_socket){.socket = socket, .connection = UINT32_MAX};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
    ck_assert_uint_eq(m.cookie, h->request);
    return m;
}

static struct message bound(uint32_t socket, uint16_t port)
{
    struct message m = request(MESSAGE_BIND, socket, port, none, 0);
    ck_assert_int_eq(m.socket.error, 0);
    *harness_app(h, m.socket.arena, m.socket.slot) = (struct slot_app){.generation = m.socket.generation};
    ck_assert_uint_eq(harness_words(h, m.socket.arena, m.socket.slot)->generation, m.socket.generation);
    return m;
}

static void from_peer(uint16_t port, const void *bytes, uint16_t octets)
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
static struct datagram_record read_record(const struct message *m, const uint8_t **ret_payload)
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

static void write_record(const struct message *m, struct ip_address to, uint16_t port, const void *bytes,
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

START_TEST(test_receive)
{
    struct message m = bound(SOCKET, PORT);
    ck_assert_uint_eq(m.source_port, PORT);
    const uint8_t *payload;
    uint8_t bytes[1400];
    for (uint32_t i = 0; i < 40; i++) { /* round the ring more than twice */
        memset(bytes, (int)i, sizeof bytes);
        from_peer(PORT, bytes, (uint16_t)(sizeof bytes - i));
        struct datagram_record r = read_record(&m, &payload);
        ck_assert_uint_eq(r.length, sizeof bytes - i);
        ck_assert_uint_eq(r.port, 99);
        ck_assert_uint_eq(r.family, ADDRESS_IP4);
        ck_assert_mem_eq(r.octets, them.octets, 4);
        ck_assert_mem_eq(payload, bytes, r.length);
    }
    for (uint32_t i = 0; i < 20; i++) /* nobody reads */
        from_peer(PORT, bytes, sizeof bytes);
    ck_assert_uint_ge(harness_counter(h, "drop_receive_full"), 8);
    from_peer(PORT, "", 0);
    request(MESSAGE_CLOSE, SOCKET, 0, none, 0);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_send)
{
    struct message m = bound(SOCKET, 0), sent[3];
    ck_assert_uint_ge(m.source_port, 1024);
    uint8_t bytes[1400];
    for (uint32_t i = 0; i < 40; i++) {
        memset(bytes, (int)i, sizeof bytes);
        write_record(&m, them, 53, bytes, sizeof bytes);
        harness_turn(h);
        ck_assert(harness_sent(h, &sent[0]));
        ck_assert(!harness_sent(h, &sent[1]));
        const uint8_t *header = harness_at(h, &sent[0].reference[0]);
        be16 pseudo = checksum_fold(checksum_pseudo_header(&us, &them, 17, sizeof bytes + 8));
        ck_assert_uint_eq(sent[0].reference[0].length, 8);
        ck_assert_mem_eq(header + 6, &pseudo, 2);
        ck_assert_uint_eq((unsigned)(header[0] << 8 | header[1]), m.source_port);
        ck_assert_uint_eq(sent[0].checksum_offset, 6);
        ck_assert(ip_address_equal(&sent[0].source, &us));
        ck_assert_uint_eq(sent[0].reference[1].length, sizeof bytes);
        ck_assert_mem_eq(harness_at(h, &sent[0].reference[1]), bytes, sizeof bytes);
        harness_return(h, sent[0].cookie);
        harness_turn(h);
        ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->send_tail, harness_app(h, 0, m.socket.slot)->send_head);
    }
    uint32_t tail = harness_words(h, 0, m.socket.slot)->send_tail;
    for (uint32_t i = 0; i < 3; i++)
        write_record(&m, them, 53, "abc", 3);
    harness_turn(h);
    for (uint32_t i = 0; i < 3; i++)
        ck_assert(harness_sent(h, &sent[i]));
    harness_return(h, sent[1].cookie); /* out of order: the tail waits for the first */
    harness_return(h, sent[2].cookie);
    request(MESSAGE_CLOSE, SOCKET, 0, none, 0);
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->send_tail, tail);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    harness_return(h, sent[0].cookie);
    harness_turn(h);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_connected)
{
    struct message m = bound(SOCKET, PORT), sent;
    ck_assert_int_eq(request(MESSAGE_CONNECT, SOCKET, 0, them, 98).socket.error, 0);
    from_peer(PORT, "not from 98", 11);
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->receive_head, 0);
    write_record(&m, none, 0, "x", 1);
    harness_turn(h);
    while (harness_sent(h, &sent) && sent.operation == MESSAGE_UNREACHABLE)
        ;
    ck_assert_uint_eq(sent.operation, MESSAGE_SEND);
    ck_assert_uint_eq(sent.destination_port, 98);
    harness_return(h, sent.cookie);
    ck_assert_int_eq(request(MESSAGE_CONNECT, SOCKET, 0, none, 0).socket.error, 0); /* taken off */
    from_peer(PORT, "from anyone", 11);
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->receive_head, 48);
}
END_TEST

START_TEST(test_no_port)
{
    struct message m;
    from_peer(PORT, "x", 1);
    ck_assert(port_pull(&h->ip_end, &m)); /* before the loan comes back */
    ck_assert_uint_eq(m.operation, MESSAGE_UNREACHABLE);
    ck_assert(ip_address_equal(&m.source, &us));
    ck_assert_uint_eq(m.source_port, PORT);
    ck_assert_uint_eq(m.destination_port, 99);
    ck_assert_uint_eq(m.reference[0].length, 9);
    ck_assert_uint_eq(harness_counter(h, "udp_drop_no_port"), 1);
}
END_TEST

START_TEST(test_names)
{
    bound(SOCKET, PORT);
    ck_assert_int_eq(request(MESSAGE_BIND, OTHER, PORT, none, 0).socket.error, EADDRINUSE);
    struct message m = request(MESSAGE_BIND, SOCKET, 1234, none, 0); /* repeated: what is there */
    ck_assert_int_eq(m.socket.error, 0);
    ck_assert_uint_eq(m.source_port, PORT);
    request(MESSAGE_CLOSE, SOCKET, 0, none, 0);
    bound(OTHER, PORT);
    for (uint32_t i = 0; i < HARNESS_SLOTS; i++)
        m = request(MESSAGE_BIND, 0x20010 + i, 0, none, 0);
    ck_assert_int_eq(m.socket.error, ENOBUFS);
    ck_assert_int_eq(request(MESSAGE_LISTEN, 0x30009, PORT, none, 0).socket.error, EOPNOTSUPP);
    ck_assert_int_eq(request(MESSAGE_BIND, 0, PORT, none, 0).socket.error, EINVAL);
}
END_TEST

START_TEST(test_restart)
{
    struct message m = bound(SOCKET, PORT), sent, told;
    const uint8_t *payload;
    request(MESSAGE_CONNECT, SOCKET, 0, them, 99);
    from_peer(PORT, "one", 3);
    write_record(&m, none, 0, "sent", 4);
    harness_turn(h);
    ck_assert(harness_sent(h, &sent));
    write_record(&m, none, 0, "not sent", 8);
    harness_restart(h);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert_uint_eq(told.socket.socket, SOCKET);
    ck_assert_uint_eq(told.socket.generation, m.socket.generation);
    ck_assert_uint_eq(told.source_port, PORT);
    ck_assert_uint_eq(told.destination_port, 99);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
    ck_assert(harness_sent(h, &sent));
    ck_assert_mem_eq(harness_at(h, &sent.reference[1]), "not sent", 8);
    ck_assert(!harness_sent(h, &told));
    harness_return(h, sent.cookie);
    from_peer(PORT, "two", 3);
    ck_assert_uint_eq(read_record(&m, &payload).length, 3);
    ck_assert_mem_eq(payload, "one", 3);
    ck_assert_uint_eq(read_record(&m, &payload).length, 3);
    ck_assert_mem_eq(payload, "two", 3);
    request(MESSAGE_CLOSE, SOCKET, 0, none, 0);
    harness_restart(h);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
}
END_TEST

START_TEST(test_session_end)
{
    bound(SOCKET, PORT);
    struct message m = {.operation = MESSAGE_SESSION_END};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_LOST, &m));
    ck_assert_uint_eq(m.socket.connection, UINT32_MAX);
    ck_assert_int_eq(request(MESSAGE_BIND, OTHER, 0, none, 0).socket.error, ESHUTDOWN);
}
END_TEST

START_TEST(test_application_lies)
{
    static const struct {
        const char *counter;
        struct datagram_record record;
        uint32_t send_head, receive_tail;
    } lies[] = {
        {"drop_send_head", {0}, HARNESS_SEND + 16, 0},
        {"drop_send_head", {0}, 7, 0},
        {"drop_receive_tail", {0}, 0, 16},
        {"drop_receive_tail", {0}, 0, UINT32_MAX},
        {"drop_send_record", {.length = 17, .port = 1, .family = ADDRESS_IP4}, 48, 0},
        {"drop_send_record", {.length = UINT32_MAX - 1}, 32, 0},
        {"drop_send_record", {.length = UINT32_MAX - 40}, 32, 0},
        {"drop_send_record", {.length = DATAGRAM_WRAP}, 32, 0},
        {"drop_send_record", {.length = 0}, 16, 0},
        {"drop_send_address", {.port = 1, .family = ADDRESS_IP6}, 32, 0},
        {"drop_send_address", {.port = 1, .family = 77}, 32, 0},
        {"drop_send_address", {.port = 1, .family = ADDRESS_IP4}, 32, 0},
        {"drop_send_address", {.port = 0}, 32, 0},
        {"drop_send_too_big", {.length = 1473, .port = 1, .family = ADDRESS_IP4, .octets = {1}}, 1520, 0},
    };
    for (uint32_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct message m = bound(SOCKET + 0x10000 * i, PORT), sent;
        struct slot_app *app = harness_app(h, 0, m.socket.slot);
        memcpy(harness_send_ring(h, 0, m.socket.slot), &lies[i].record, sizeof lies[i].record);
        app->send_head = lies[i].send_head;
        app->receive_tail = lies[i].receive_tail;
        uint64_t before = harness_counter(h, lies[i].counter);
        harness_notify(h, 0, m.socket.slot);
        ck_assert_msg(harness_counter(h, lies[i].counter) > before, "row %u: %s", i, lies[i].counter);
        ck_assert(!harness_sent(h, &sent));
        request(MESSAGE_CLOSE, SOCKET + 0x10000 * i, 0, none, 0);
        ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    }
}
END_TEST

SUITE_RUN("server_udp", setup, teardown, test_receive, test_send, test_connected, test_no_port, test_names,
          test_restart, test_session_end, test_application_lies)
