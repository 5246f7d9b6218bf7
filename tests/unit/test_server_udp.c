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

static void setup(void)
{
    struct message m;
    h = harness_new(&server_udp, SERVER_UDP, 17);
    asked_local = any4;
    asked_options = asked_ttl = 0;
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
                        .source = asked_local,
                        .source_port = port,
                        .destination = to,
                        .destination_port = to_port};
    m.socket =
        (struct message_socket){.socket = socket, .connection = UINT32_MAX, .argument = {0, asked_options, asked_ttl}};
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
    uint8_t bytes[548];
    for (uint32_t i = 0; i < 80; i++) {
        memset(bytes, (int)i, sizeof bytes);
        write_record(&m, them, 53, bytes, sizeof bytes);
        harness_turn(h);
        ck_assert(harness_sent(h, &sent[0]));
        ck_assert(!harness_sent(h, &sent[1]));
        const uint8_t *header = harness_at(h, &sent[0].reference[0]);
        be16 pseudo = checksum_fold(checksum_pseudo_header(&us, &them, 17, sizeof bytes + 8));
        ck_assert_uint_eq(sent[0].reference[0].length, 8);
        ck_assert_uint_eq(sent[0].checksum_state, MESSAGE_CHECKSUM_PARTIAL);
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
        {"drop_send_record", {.length = 65508, .port = 1, .family = ADDRESS_IP4, .octets = {10}}, 1520, 0},
        {"drop_send_address", {.port = 1, .family = ADDRESS_IP6}, 32, 0},
        {"drop_send_address", {.port = 1, .family = ADDRESS_IP6, .octets = {[10] = 255, 255, 10}}, 32, 0},
        {"drop_send_address", {.port = 1, .family = 77}, 32, 0},
        {"drop_send_address", {.port = 1, .family = ADDRESS_IP4}, 32, 0},
        {"drop_send_address", {.port = 1, .family = ADDRESS_IP4, .octets = {10}, .flags = 2}, 32, 0},
        {"drop_send_address", {.port = 0}, 32, 0},
        {"drop_send_no_source", {.port = 1, .family = ADDRESS_IP6, .octets = {0xfd}}, 32, 0},
        {"drop_send_broadcast", {.port = 1, .family = ADDRESS_IP4, .octets = {10, 77, 0, 255}}, 32, 0},
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

/* ---- both families, delivery on this machine, errors ---- */

/* A datagram as ip hands it over; state as in struct message. `rest` octets of it are in the arena. */
static void arrives(struct ip_address from, struct ip_address to, uint16_t port, const void *bytes, uint16_t octets,
                    uint8_t state, uint32_t rest, bool with_checksum)
{
    uint8_t datagram[9100];
    const struct udp_header header = {.source_port = 99, .destination_port = port, .payload_length = octets};
    if (state == MESSAGE_CHECKSUM_PARTIAL)
        udp_build_partial(&from, &to, &header, datagram);
    else if (with_checksum)
        udp_build(&from, &to, &header, checksum_add(0, bytes, octets), datagram);
    else
        udp_build_unchecked(&header, datagram);
    memcpy(datagram + UDP_HEADER_LENGTH, bytes, octets);
    struct message m = {.source = from,
                        .destination = to,
                        .source_port = 99,
                        .destination_port = port,
                        .protocol = 17,
                        .ttl = 61,
                        .traffic_class = 0xb8,
                        .checksum_state = state};
    if (rest > 0)
        harness_receive_local(h, &m, datagram, UDP_HEADER_LENGTH + (uint32_t)octets, rest);
    else
        harness_receive(h, &m, datagram, UDP_HEADER_LENGTH + (uint32_t)octets);
    harness_turn(h);
}

static uint32_t head_of(const struct message *m)
{
    return harness_words(h, m->socket.arena, m->socket.slot)->receive_head;
}

START_TEST(test_families)
{
    static const struct {
        const struct ip_address *bound;
        bool only;
        const struct ip_address *from, *to;
        bool hears;
    } rows[] = {
        {&any4, false, &them, &us, true},       {&any4, false, &them6, &us6, false},
        {&any6, false, &them, &us, true},       {&any6, false, &them6, &us6, true},
        {&any6, true, &them, &us, false},       {&any6, true, &them6, &us6, true},
        {&us6, false, &them6, &us6, true},      {&us6, false, &link_peer, &link6, false},
        {&us, false, &them, &us, true},         {&us, false, &loop4, &loop4, false},
        {&loop4, false, &loop4, &loop4, true},  {&any6, false, &loop6, &loop6, true},
        {&loop6, false, &loop6, &loop6, true},  {&any4, false, &them, &broadcast, true},
        {&us, false, &them, &broadcast, false}, {&any4, false, &them, &all, true},
    };
    const uint8_t *payload;
    struct message sent;
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        asked_local = *rows[i].bound;
        asked_options = rows[i].only ? 1U << CONTROL_OPTION_V6_ONLY : 0;
        struct message m = bound(SOCKET + 0x10000 * i, PORT);
        ck_assert(ip_address_equal(&m.source, rows[i].bound)); /* as it was asked for, :: too */
        arrives(*rows[i].from, *rows[i].to, PORT, "hello", 5, MESSAGE_CHECKSUM_NONE, 0, true);
        ck_assert_msg((head_of(&m) > 0) == rows[i].hears, "row %u", i);
        while (harness_sent(h, &sent))
            ck_assert_uint_eq(sent.operation, MESSAGE_UNREACHABLE);
        if (rows[i].hears) {
            struct datagram_record r = read_record(&m, &payload);
            ck_assert_uint_eq(r.family, rows[i].from->family);
            ck_assert_mem_eq(r.octets, rows[i].from->octets, 16);
            ck_assert_uint_eq(r.ttl, 61);
            ck_assert_uint_eq(r.traffic_class, 0xb8);
            ck_assert_mem_eq(payload, "hello", 5);
        }
        request(MESSAGE_CLOSE, SOCKET + 0x10000 * i, 0, none, 0);
    }
    arrives(them, far4, PORT, "x", 1, MESSAGE_CHECKSUM_NONE, 0, true);
    arrives(them6, group6, PORT, "x", 1, MESSAGE_CHECKSUM_NONE, 0, true); /* no group is joined */
    ck_assert_uint_eq(harness_counter(h, "drop_not_local"), 2);
}
END_TEST

START_TEST(test_broadcast_reaches_all)
{
    asked_options = 1U << CONTROL_OPTION_REUSE_ADDRESS;
    struct message a = bound(SOCKET, PORT), b = bound(OTHER, PORT), u;
    arrives(them, broadcast, PORT, "x", 1, MESSAGE_CHECKSUM_NONE, 0, true);
    ck_assert_uint_eq(head_of(&a), 48);
    ck_assert_uint_eq(head_of(&b), 48);
    from_peer(PORT, "x", 1); /* the last bound */
    ck_assert_uint_eq(head_of(&a), 48);
    ck_assert_uint_eq(head_of(&b), 96);
    arrives(them, broadcast, PORT + 1, "x", 1, MESSAGE_CHECKSUM_NONE, 0, true);
    ck_assert(!harness_sent(h, &u)); /* no error about a broadcast */
}
END_TEST

/* The payload in two pieces, at odd and even places, of every kind of checksum. */
START_TEST(test_local_delivery)
{
    static const uint32_t rests[] = {9000, 8999, 4000, 4001, 1, 0};
    uint8_t bytes[9000];
    const uint8_t *payload;
    asked_local = any6;
    struct message m = bound(SOCKET, PORT);
    for (uint32_t i = 0; i < sizeof rests / sizeof rests[0]; i++) {
        for (uint32_t b = 0; b < sizeof bytes; b++)
            bytes[b] = (uint8_t)(b * 7 + i);
        for (uint8_t state = MESSAGE_CHECKSUM_NONE; state <= MESSAGE_CHECKSUM_VALID; state++) {
            arrives(us6, us6, PORT, bytes, sizeof bytes, state, rests[i], true);
            ck_assert_msg(head_of(&m) != harness_app(h, 0, m.socket.slot)->receive_tail, "rest %u", rests[i]);
            ck_assert_uint_eq(read_record(&m, &payload).length, sizeof bytes);
            ck_assert_mem_eq(payload, bytes, sizeof bytes);
        }
    }
    static const struct {
        struct message_reference second;
        const char *counter;
    } lies[] = {
        {{HARNESS_ARENA, 1, UINT32_MAX, 4}, "drop_range"}, {{HARNESS_ARENA, 2, 0, 4}, "drop_range"},
        {{HARNESS_ARENA + 1, 1, 0, 4}, "drop_range"},      {{1, 1, 0, 4}, "drop_range"},
        {{HARNESS_POOL, 1, 0, 65536}, "drop_length"},      {{HARNESS_ARENA, 1, 0, 3}, "udp_drop_length"},
    };
    for (uint32_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint8_t header[8] = {0, 99, PORT >> 8, PORT & 255, 0, 12};
        struct message l = {.source = us,
                            .destination = us,
                            .source_port = 99,
                            .destination_port = PORT,
                            .protocol = 17,
                            .checksum_state = MESSAGE_CHECKSUM_PARTIAL};
        l.reference[1] = lies[i].second;
        uint64_t before = harness_counter(h, lies[i].counter);
        harness_receive(h, &l, header, sizeof header);
        ck_assert_msg(harness_counter(h, lies[i].counter) == before + 1, "row %u", i);
    }
    struct message own = {.operation = MESSAGE_RECEIVE, .capability = 1, .generation = 9, .cookie = 2047}, back;
    ck_assert(port_push(&h->ip_end, &own)); /* ip's own cookies come home like nic's */
    harness_turn(h);
    bool home = false;
    while (port_pull(&h->ip_end, &back))
        for (uint32_t i = 0; back.operation == MESSAGE_RETURN && i < back.count; i++) {
            home |= back.returned[i] == 2047;
            h->lent -= back.returned[i] != 2047;
        }
    ck_assert(home);
}
END_TEST

START_TEST(test_checksums_in)
{
    asked_local = any6;
    struct message m = bound(SOCKET, PORT);
    arrives(them, us, PORT, "x", 1, MESSAGE_CHECKSUM_NONE, 0, false); /* IPv4: none is fine */
    ck_assert_uint_eq(head_of(&m), 48);
    arrives(them6, us6, PORT, "x", 1, MESSAGE_CHECKSUM_NONE, 0, false);
    arrives(them6, us6, PORT, "x", 1, MESSAGE_CHECKSUM_VALID, 0, false);
    ck_assert_uint_eq(head_of(&m), 48);
    ck_assert_uint_eq(harness_counter(h, "udp_drop_checksum"), 2);
    arrives(them6, us6, PORT, "x", 1, MESSAGE_CHECKSUM_VALID, 0, true);
    ck_assert_uint_eq(head_of(&m), 96);
}
END_TEST

START_TEST(test_super_datagram)
{
    static const struct {
        uint8_t type;
        uint16_t size;
        uint32_t records, last;
    } rows[] = {
        {MESSAGE_GSO_UDP, 100, 4, 50}, {MESSAGE_GSO_UDP, 350, 1, 350}, {MESSAGE_GSO_UDP, 1000, 1, 350},
        {MESSAGE_GSO_UDP, 0, 0, 0},    {MESSAGE_GSO_UDP, 2, 0, 0},     {MESSAGE_GSO_TCP4, 100, 0, 0},
    };
    uint8_t datagram[358];
    const uint8_t *payload;
    struct message m = bound(SOCKET, PORT);
    const struct udp_header header = {.source_port = 99, .destination_port = PORT, .payload_length = 350};
    udp_build_partial(&them, &us, &header, datagram);
    for (uint32_t i = 0; i < 350; i++)
        datagram[8 + i] = (uint8_t)i;
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct message r = {.source = them,
                            .destination = us,
                            .source_port = 99,
                            .destination_port = PORT,
                            .protocol = 17,
                            .checksum_state = MESSAGE_CHECKSUM_PARTIAL,
                            .gso_type = rows[i].type,
                            .gso_size = rows[i].size};
        harness_receive(h, &r, datagram, sizeof datagram);
        harness_turn(h);
        for (uint32_t k = 0; k < rows[i].records; k++) {
            uint32_t want = k + 1 < rows[i].records ? rows[i].size : rows[i].last;
            ck_assert_uint_eq(read_record(&m, &payload).length, want);
            ck_assert_mem_eq(payload, datagram + 8 + k * rows[i].size, want);
        }
        ck_assert_uint_eq(head_of(&m), harness_app(h, 0, m.socket.slot)->receive_tail);
    }
    ck_assert_uint_eq(harness_counter(h, "drop_receive_gso"), 3);
}
END_TEST

START_TEST(test_source)
{
    static const struct {
        const struct ip_address *bound, *to, *source; /* NULL: does not go */
    } rows[] = {
        {&any4, &them, &us},     {&any4, &far4, &us},      {&any4, &loop4, &loop4},     {&any4, &them6, NULL},
        {&any6, &them, &us},     {&any6, &them6, &us6},    {&any6, &link_peer, &link6}, {&any6, &far6, &us6},
        {&any6, &loop6, &loop6}, {&any6, &group6, &link6}, {&any6, &us6, &us6},         {&us6, &them6, &us6},
        {&us6, &them, NULL},     {&link6, &far6, &link6},  {&any6, &mapped, NULL},
    };
    struct message sent;
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        asked_local = *rows[i].bound;
        struct message m = bound(SOCKET + 0x10000 * i, PORT);
        write_record(&m, *rows[i].to, 53, "x", 1);
        harness_turn(h);
        bool goes = harness_sent(h, &sent);
        ck_assert_msg(goes == (rows[i].source != NULL), "row %u", i);
        if (goes) {
            ck_assert_msg(ip_address_equal(&sent.source, rows[i].source), "row %u", i);
            ck_assert(ip_address_equal(&sent.destination, rows[i].to));
            ck_assert_uint_eq(sent.ttl, rows[i].to == &group6 ? 1 : 0);
            harness_return(h, sent.cookie);
        }
        request(MESSAGE_CLOSE, SOCKET + 0x10000 * i, 0, none, 0);
    }
}
END_TEST

static struct message one_sent(const struct message *m, struct ip_address to, uint32_t octets)
{
    static const uint8_t bytes[9000];
    struct message sent;
    write_record(m, to, 53, bytes, octets);
    harness_turn(h);
    ck_assert(harness_sent(h, &sent));
    ck_assert_uint_eq(sent.reference[1].length, octets);
    harness_return(h, sent.cookie);
    return sent;
}

START_TEST(test_checksums_out)
{
    static const struct {
        const struct ip_address *from, *to;
        uint32_t octets, options;
        uint8_t state;
        bool zero;
    } rows[] = {
        {&us, &them, 548, 0, MESSAGE_CHECKSUM_PARTIAL, false},
        {&us, &them, 549, 0, MESSAGE_CHECKSUM_NONE, false},
        {&us, &them, 9000, 0, MESSAGE_CHECKSUM_NONE, false},
        {&us6, &them6, 1232, 0, MESSAGE_CHECKSUM_PARTIAL, false},
        {&us6, &them6, 1233, 0, MESSAGE_CHECKSUM_NONE, false},
        {&us, &them, 10, 1U << CONTROL_OPTION_NO_CHECK, MESSAGE_CHECKSUM_NONE, true},
        {&us, &them, 9000, 1U << CONTROL_OPTION_NO_CHECK, MESSAGE_CHECKSUM_NONE, true},
        {&us6, &them6, 10, 1U << CONTROL_OPTION_NO_CHECK, MESSAGE_CHECKSUM_PARTIAL, false},
    };
    asked_local = any6;
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct udp_counters counters = {0};
        uint8_t header[8];
        asked_options = rows[i].options;
        struct message m = bound(SOCKET + 0x10000 * i, PORT);
        struct message sent = one_sent(&m, *rows[i].to, rows[i].octets);
        memcpy(header, harness_at(h, &sent.reference[0]), 8);
        ck_assert_msg(sent.checksum_state == rows[i].state, "row %u", i);
        ck_assert_msg((header[6] == 0 && header[7] == 0) == rows[i].zero, "row %u", i);
        if (rows[i].state == MESSAGE_CHECKSUM_NONE)
            ck_assert_int_eq(udp_verify(&counters, rows[i].from, rows[i].to, header, 0), UDP_OK);
        request(MESSAGE_CLOSE, SOCKET + 0x10000 * i, 0, none, 0);
    }
}
END_TEST

START_TEST(test_options)
{
    asked_ttl = 0x2000 | 7; /* traffic class, TTL */
    asked_options = 1U << CONTROL_OPTION_DONT_FRAGMENT;
    struct message m = bound(SOCKET, PORT);
    const struct slot_transport *words = harness_words(h, 0, m.socket.slot);
    ck_assert_uint_eq(words->path_mtu, 1500);
    for (unsigned life = 0; life < 2; life++) { /* ... and after a restart */
        struct message sent = one_sent(&m, them, 1);
        ck_assert_uint_eq(sent.ttl, 7);
        ck_assert_uint_eq(sent.traffic_class, 0x20);
        ck_assert_uint_eq(sent.flags, MESSAGE_DONT_FRAGMENT);
        uint32_t told = words->error_count;
        static const uint8_t long_one[1473];
        write_record(&m, them, 53, long_one, sizeof long_one);
        write_record(&m, broadcast, 53, "x", 1);
        harness_turn(h);
        ck_assert(!harness_sent(h, &sent));
        ck_assert_uint_eq(words->error_count, told + 2);
        ck_assert_uint_eq(words->error, EACCES);
        one_sent(&m, them, 1472);
        harness_restart(h);
        harness_turn(h);
        while (port_pull(&h->socket_end, &sent))
            ;
    }
    ck_assert_uint_eq(words->error_count, 4);
    asked_ttl = 0;
    asked_options = 1U << CONTROL_OPTION_BROADCAST;
    ck_assert_int_eq(request(MESSAGE_SET_OPTION, SOCKET, 0, none, 0).socket.error, 0);
    ck_assert_uint_eq(one_sent(&m, broadcast, 1).ttl, 0);
    ck_assert_uint_eq(one_sent(&m, them, 9000).flags, 0);
    ck_assert_int_eq(request(MESSAGE_SET_OPTION, OTHER, 0, none, 0).socket.error, ENOTCONN);
    struct slot_app *app = harness_app(h, 0, m.socket.slot);
    uint32_t at = app->send_head % HARNESS_SEND;
    write_record(&m, them, 53, "x", 1); /* a datagram's own TTL and traffic class */
    struct datagram_record *r = (struct datagram_record *)(void *)(harness_send_ring(h, 0, m.socket.slot) + at);
    ck_assert_uint_eq(r->length, 1);
    r->ttl = 3;
    r->traffic_class = 5;
    r->flags = DATAGRAM_TRAFFIC_CLASS;
    harness_turn(h);
    struct message sent;
    ck_assert(harness_sent(h, &sent));
    ck_assert_uint_eq(sent.ttl, 3);
    ck_assert_uint_eq(sent.traffic_class, 5);
    harness_return(h, sent.cookie);
}
END_TEST

static void icmp(struct ip_address from, struct ip_address to, uint16_t port, uint8_t type, uint8_t code, uint16_t mtu)
{
    struct message m = {.operation = MESSAGE_UNREACHABLE,
                        .capability = CAPABILITY_INDEX_PEER,
                        .generation = 1,
                        .source = from,
                        .destination = to,
                        .source_port = PORT,
                        .destination_port = port,
                        .protocol = 17,
                        .traffic_class = type,
                        .ttl = code,
                        .gso_size = mtu};
    ck_assert(port_push(&h->ip_end, &m));
    harness_turn(h);
}

START_TEST(test_errors)
{
    static const struct {
        bool six;
        uint8_t type, code;
        int error; /* 0: none of ours */
    } rows[] = {
        {false, 3, 0, ENETUNREACH},
        {false, 3, 1, EHOSTUNREACH},
        {false, 3, 2, ENOPROTOOPT},
        {false, 3, 3, ECONNREFUSED},
        {false, 3, 13, EHOSTUNREACH},
        {false, 3, 99, EHOSTUNREACH},
        {false, 11, 0, EHOSTUNREACH},
        {false, 12, 0, EPROTO},
        {false, 4, 0, 0},
        {false, 3, 4, 0},
        {true, 1, 0, ENETUNREACH},
        {true, 1, 1, EACCES},
        {true, 1, 3, EHOSTUNREACH},
        {true, 1, 4, ECONNREFUSED},
        {true, 2, 0, 0},
        {true, 3, 0, EHOSTUNREACH},
        {true, 4, 0, EPROTO},
        {true, 1, 200, EHOSTUNREACH},
        {true, 129, 0, 0},
    };
    asked_local = any6;
    struct message m = bound(SOCKET, PORT);
    const struct slot_transport *words = harness_words(h, 0, m.socket.slot);
    icmp(us, them, 98, 3, 3, 0);
    ck_assert_uint_eq(words->error_count, 0); /* no peer: nobody can tell what it is about */
    ck_assert_uint_eq(harness_counter(h, "errors_unconnected"), 1);
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct ip_address *from = rows[i].six ? &us6 : &us, *to = rows[i].six ? &them6 : &them;
        ck_assert_int_eq(request(MESSAGE_CONNECT, SOCKET, 0, *to, 98).socket.error, 0);
        uint32_t told = words->error_count;
        icmp(*from, *to, 98, rows[i].type, rows[i].code, 0);
        ck_assert_msg(words->error_count == told + (rows[i].error != 0), "row %u", i);
        if (rows[i].error != 0)
            ck_assert_msg(words->error == (uint32_t)rows[i].error, "row %u: %u", i, words->error);
        icmp(*from, *to, 97, rows[i].type, rows[i].code, 0); /* of another's datagram */
        icmp(*from, far4, 98, rows[i].type, rows[i].code, 0);
        ck_assert_uint_eq(words->error_count, told + (rows[i].error != 0));
    }
    uint32_t told = words->error_count;
    icmp(us6, them6, 98, 2, 0, 1300); /* fragments from now on; that is no error */
    ck_assert_uint_eq(words->path_mtu, 1300);
    icmp(us6, them6, 98, 2, 0, 1279);
    icmp(us6, them6, 98, 2, 0, 9000);
    ck_assert_uint_eq(words->path_mtu, 1300);
    ck_assert_uint_eq(words->error_count, told);
    asked_options = 1U << CONTROL_OPTION_DONT_FRAGMENT;
    request(MESSAGE_SET_OPTION, SOCKET, 0, none, 0);
    icmp(us6, them6, 98, 2, 0, 1290);
    ck_assert_uint_eq(words->error, EMSGSIZE);
    ck_assert_uint_eq(words->error_count, told + 1);
    memset(h->rx[0]->slot, 0, sizeof h->rx[0]->slot[0]);
    harness_restart(h); /* the error is still there to be told */
    harness_turn(h);
    ck_assert_uint_eq(words->error, EMSGSIZE);
    ck_assert_uint_eq(words->error_count, told + 1);
    ck_assert_uint_eq(words->path_mtu, 1290);
    struct message lie = {.operation = MESSAGE_UNREACHABLE, .capability = 7, .generation = 1};
    ck_assert(port_push(&h->ip_end, &lie));
    ck_assert_uint_eq(harness_counter(h, "drop_capability"), 1);
    lie = (struct message){.operation = MESSAGE_UNREACHABLE, .capability = 1, .generation = 1, .protocol = 17};
    ck_assert(port_push(&h->ip_end, &lie));
    ck_assert_uint_eq(harness_counter(h, "drop_unreachable"), 1);
}
END_TEST

START_TEST(test_connect_families)
{
    static const struct {
        const struct ip_address *bound, *to;
        int error;
        const struct ip_address *local;
    } rows[] = {
        {&any6, &them, 0, &us},
        {&any6, &them6, 0, &us6},
        {&any6, &link_peer, 0, &link6},
        {&any6, &loop6, 0, &loop6},
        {&any4, &them6, EAFNOSUPPORT, NULL},
        {&us6, &them, EAFNOSUPPORT, NULL},
        {&any6, &mapped, EAFNOSUPPORT, NULL},
        {&any4, &broadcast, EACCES, NULL},
        {&any4, &all, EACCES, NULL},
        {&any4, &loop4, 0, &loop4},
        {&any4, &any4, EINVAL, NULL},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        asked_local = *rows[i].bound;
        bound(SOCKET + 0x10000 * i, PORT);
        struct message m = request(MESSAGE_CONNECT, SOCKET + 0x10000 * i, 0, *rows[i].to, 98);
        ck_assert_msg(m.socket.error == rows[i].error, "row %u: %d", i, m.socket.error);
        if (rows[i].local != NULL)
            ck_assert_msg(ip_address_equal(&m.source, rows[i].local), "row %u", i);
        m = request(MESSAGE_CONNECT, SOCKET + 0x10000 * i, 0, none, 0);
        ck_assert_int_eq(m.socket.error, 0);
        ck_assert_msg(ip_address_equal(&m.source, rows[i].bound), "row %u", i); /* as before */
        request(MESSAGE_CLOSE, SOCKET + 0x10000 * i, 0, none, 0);
    }
    asked_local = far4;
    ck_assert_int_eq(request(MESSAGE_BIND, OTHER, PORT, none, 0).socket.error, EADDRNOTAVAIL);
    asked_local = (struct ip_address){.family = 9};
    ck_assert_int_eq(request(MESSAGE_BIND, OTHER, PORT, none, 0).socket.error, EAFNOSUPPORT);
}
END_TEST

START_TEST(test_receive_drops_are_told)
{
    uint8_t bytes[1400] = {0};
    struct message m = bound(SOCKET, PORT);
    for (uint32_t i = 0; i < 20; i++)
        from_peer(PORT, bytes, sizeof bytes);
    uint64_t full = harness_counter(h, "drop_receive_full");
    ck_assert_uint_gt(full, 0);
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->receive_drops, full);
}
END_TEST

SUITE_RUN("server_udp", setup, teardown, test_receive, test_send, test_connected, test_no_port, test_names,
          test_restart, test_session_end, test_application_lies, test_families, test_broadcast_reaches_all,
          test_local_delivery, test_checksums_in, test_super_datagram, test_source, test_checksums_out, test_options,
          test_errors, test_connect_families, test_receive_drops_are_told)
