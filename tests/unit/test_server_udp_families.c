// SPDX-License-Identifier: BSD-2-Clause
/* The UDP server: both families, delivery on this machine, checksums, options, errors. */
#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/server_udp_peer.h"

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

/* ip sleeps; what it has from us is at home when it knows that its RECEIVE is, and our sender may wait for that. */
START_TEST(test_local_delivery_rings)
{
    const uint32_t asleep[] = {1, 3};
    int fd[2];
    char c;
    struct doorbell bell = {.sleep = &asleep[0]};
    struct message m = bound(SOCKET, PORT);
    ck_assert_int_eq(pipe2(fd, O_NONBLOCK), 0);
    bell.fd = fd[1];
    h->ip.bell = &bell;
    arrives(us, us, PORT, "abcd", 4, MESSAGE_CHECKSUM_PARTIAL, 4, true);
    ck_assert_int_eq(read(fd[0], &c, 1), 1);
    bell.sleep = &asleep[1]; /* again */
    arrives(them, us, PORT, "abcd", 4, MESSAGE_CHECKSUM_VALID, 0, true);
    ck_assert_int_eq(read(fd[0], &c, 1), -1); /* nobody waits for it */
    ck_assert_uint_eq(head_of(&m), 96);
    h->ip.bell = NULL;
    close(fd[0]);
    close(fd[1]);
}
END_TEST

/* RFC 1122 3.2.1.3 (g): MUST NOT appear outside a host. */
START_TEST(test_loopback_stays)
{
    asked_local = loop4;
    struct message m = bound(SOCKET, PORT), sent;
    write_record(&m, them, 98, "x", 1);
    harness_turn(h);
    ck_assert(!harness_sent(h, &sent));
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->error, EINVAL);
    ck_assert_uint_eq(harness_counter(h, "drop_send_no_source"), 1);
    ck_assert_int_eq(request(MESSAGE_CONNECT, SOCKET, 0, them, 98).socket.error, EINVAL);
    write_record(&m, us, 98, "x", 1);
    harness_turn(h);
    ck_assert(harness_sent(h, &sent));
    harness_return(h, sent.cookie);
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
        int error; /* 0: not told */
    } rows[] = {
        {false, 3, 0, 0}, /* soft */
        {false, 3, 1, 0},
        {false, 3, 2, ENOPROTOOPT},
        {false, 3, 3, ECONNREFUSED},
        {false, 3, 5, 0},
        {false, 3, 6, ENETUNREACH},
        {false, 3, 7, EHOSTDOWN},
        {false, 3, 12, 0},
        {false, 3, 13, EHOSTUNREACH},
        {false, 3, 99, 0},
        {false, 11, 0, 0},
        {false, 12, 0, EPROTO},
        {false, 4, 0, 0},
        {false, 3, 4, 0}, /* fragments from now on */
        {true, 1, 0, 0},
        {true, 1, 1, EACCES},
        {true, 1, 3, 0},
        {true, 1, 4, ECONNREFUSED},
        {true, 2, 0, 0},
        {true, 3, 0, 0},
        {true, 4, 0, EPROTO},
        {true, 1, 200, EPROTO},
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
    ck_assert_uint_eq(harness_counter(h, "errors_soft"), 9);
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

/* A socket of both families that is connected over IPv6, with an error not told yet. */
/* More than half of the ring, and no room in one piece on either side of where the last one ended. */
START_TEST(test_large_after_small)
{
    struct message m = bound(SOCKET, PORT);
    static uint8_t bytes[9000] = {7};
    const uint8_t *payload;
    uint32_t got = 0;
    for (uint32_t i = 0; i < 8; i++) { /* 8 * 1040 = 8320 octets: behind half */
        arrives(them, us, PORT, bytes, 1000, MESSAGE_CHECKSUM_NONE, 0, true);
        read_record(&m, &payload);
    }
    for (uint32_t i = 0; i < 4; i++) {
        arrives(them, us, PORT, bytes, sizeof bytes, MESSAGE_CHECKSUM_NONE, 0, true);
        struct slot_app *app = harness_app(h, 0, m.socket.slot);
        uint32_t left = HARNESS_RECEIVE - app->receive_tail % HARNESS_RECEIVE;
        if (head_of(&m) - app->receive_tail == left) { /* nothing but a wrap: the application passes over it */
            app->receive_tail += left;
        } else if (head_of(&m) != app->receive_tail) {
            ck_assert_uint_eq(read_record(&m, &payload).length, sizeof bytes);
            ck_assert_mem_eq(payload, bytes, sizeof bytes);
            got++;
        }
    }
    ck_assert_uint_eq(got, 3);
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->receive_drops, 1);
    ck_assert_uint_eq(harness_counter(h, "drop_receive_full"), 1);
}
END_TEST

/* Who was bound to any address speaks from one while it is connected: others may have taken the port since. */
START_TEST(test_restart_of_names_let_in)
{
    static const uint32_t sockets[] = {SOCKET, OTHER, 0x10003};
    struct message told;
    bound(SOCKET, PORT);
    ck_assert_int_eq(request(MESSAGE_CONNECT, SOCKET, 0, them, 99).socket.error, 0);
    asked_local = loop4;
    bound(OTHER, PORT);
    ck_assert_int_eq(request(MESSAGE_CONNECT, SOCKET, 0, none, 0).socket.error, 0); /* and is taken off again */
    asked_local = any6;
    asked_options = 1U << CONTROL_OPTION_V6_ONLY;
    bound(sockets[2], PORT);
    harness_restart(h);
    harness_turn(h);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
        ck_assert_uint_eq(told.socket.socket, sockets[i]);
        ck_assert_uint_eq(told.source_port, PORT);
    }
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
}
END_TEST

/* The last bound hears, whatever index it has, also after a restart; and one that is bound later still hears then. */
START_TEST(test_restart_keeps_order)
{
    asked_options = 1U << CONTROL_OPTION_REUSE_ADDRESS;
    struct message first = bound(SOCKET, PORT), last, told;
    (void)first;
    last = bound(OTHER, PORT);
    request(MESSAGE_CLOSE, SOCKET, 0, none, 0);
    first = last;
    last = bound(0x10003, PORT); /* takes the first one's place */
    ck_assert_uint_lt(last.socket.connection, first.socket.connection);
    for (uint32_t life = 0; life < 3; life++) {
        from_peer(PORT, "x", 1);
        ck_assert_uint_eq(head_of(&first), 0);
        ck_assert_uint_eq(head_of(&last), 48 * (life + 1));
        harness_restart(h);
        harness_turn(h);
        ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
        ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
        ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
    }
    struct message later = bound(0x10004, PORT);
    from_peer(PORT, "x", 1);
    ck_assert_uint_eq(head_of(&later), 48);
}
END_TEST

START_TEST(test_restart_of_both)
{
    asked_local = any6;
    struct message m = bound(SOCKET, PORT), told;
    ck_assert_int_eq(request(MESSAGE_CONNECT, SOCKET, 0, them6, 99).socket.error, 0);
    icmp(us6, them6, 99, 1, 4, 0);
    harness_restart(h);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert(ip_address_equal(&told.source, &us6));
    ck_assert(ip_address_equal(&told.destination, &them6));
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->error, ECONNREFUSED);
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->error_count, 1);
    arrives(them6, us6, PORT, "x", 1, MESSAGE_CHECKSUM_NONE, 0, true);
    ck_assert_uint_eq(head_of(&m), 48);
    from_peer(PORT, "x", 1); /* not the peer's */
    ck_assert_uint_eq(head_of(&m), 48);
    told = request(MESSAGE_CONNECT, SOCKET, 0, none, 0);
    ck_assert(ip_address_equal(&told.source, &any6));
    from_peer(PORT, "x", 1); /* both families again */
    ck_assert_uint_eq(head_of(&m), 96);
}
END_TEST

SUITE_RUN("server_udp_families", setup, teardown, test_families, test_broadcast_reaches_all, test_local_delivery,
          test_checksums_in, test_super_datagram, test_source, test_checksums_out, test_options, test_errors,
          test_connect_families, test_receive_drops_are_told, test_restart_of_both, test_large_after_small,
          test_restart_of_names_let_in, test_local_delivery_rings, test_loopback_stays, test_restart_keeps_order)
