// SPDX-License-Identifier: BSD-2-Clause
/* The TCP server over IPv6, with connections that never leave this machine, and on paths that are too narrow. */
#include "tests/unit/require.h"
#include "tests/unit/server_tcp_peer.h"

static const struct ip_address us6 = HARNESS_ADDRESS6, them6 = HARNESS_PEER6, link6 = HARNESS_LINK;
static const struct ip_address any4 = {.family = ADDRESS_IP4}, any6 = {.family = ADDRESS_IP6};
static const struct ip_address loop4 = {.family = ADDRESS_IP4, .octets = {127, 0, 0, 1}};
static const struct ip_address loop6 = {.family = ADDRESS_IP6, .octets = {[15] = 1}};
static const struct ip_address link_peer = {.family = ADDRESS_IP6, .octets = {0xfe, 0x80, [15] = 9}};
static const struct ip_address group6 = {.family = ADDRESS_IP6, .octets = {0xff, 2, [15] = 1}};
static const struct ip_address broadcast = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 255}};
static const struct ip_address mapped = {.family = ADDRESS_IP6, .octets = {[10] = 255, 255, 10, 77, 0, 1}};

static struct message ask(uint8_t operation, uint32_t socket, struct ip_address local, uint16_t port,
                          struct ip_address remote, uint16_t remote_port, uint32_t options)
{
    struct message m = {.operation = operation,
                        .source = local,
                        .source_port = port,
                        .destination = remote,
                        .destination_port = remote_port};
    m.socket = (struct message_socket){.socket = socket, .argument = {16, options, 0xbb40}};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
    return m;
}

static struct message listen_on(struct ip_address local, uint32_t options)
{
    struct message m = ask(MESSAGE_LISTEN, LISTENER, local, PORT, (struct ip_address){0}, 0, options);
    ck_assert_int_eq(m.socket.error, 0);
    return m;
}

/* As ip does with what is for this machine: headers in a buffer of its own, payload where it was written. */
static uint32_t turn_round(unsigned turns)
{
    uint32_t carried = 0;
    struct message m;
    for (unsigned i = 0; i < turns; i++) {
        harness_turn(h);
        while (harness_sent(h, &m)) {
            ck_assert_uint_eq(m.operation, MESSAGE_SEND);
            ck_assert_uint_eq(m.flags, MESSAGE_DONT_FRAGMENT);
            uint8_t header[64];
            uint64_t cookie = m.cookie;
            memcpy(header, harness_at(h, &m.reference[0]), m.reference[0].length);
            m.flags = 0;
            harness_receive(h, &m, header, m.reference[0].length);
            harness_return(h, cookie);
            carried++;
        }
    }
    return carried;
}

static void exchange(const struct message *a, const struct message *b)
{
    uint8_t big[10000];
    for (uint32_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i * 7);
    for (uint32_t round = 0; round < 4; round++) { /* round the ends of the rings, at odd places */
        uint32_t at = round * (uint32_t)(sizeof big - 1);
        app_write(a, big, sizeof big - 1);
        turn_round(6);
        h->now_us += 50000;
        turn_round(4);
        ck_assert_uint_eq(words(b)->receive_head, at + sizeof big - 1);
        uint8_t *ring = harness_receive_ring(h, b->socket.arena, b->socket.slot);
        for (uint32_t i = 0; i < sizeof big - 1; i++)
            require(ring[(at + i) % HARNESS_RECEIVE] == big[i]);
        harness_app(h, b->socket.arena, b->socket.slot)->receive_tail = at + sizeof big - 1;
        harness_notify(h, b->socket.arena, b->socket.slot);
        turn_round(2);
        ck_assert_uint_eq(words(a)->send_tail, at + sizeof big - 1);
    }
}

static const struct {
    const struct ip_address *listen, *to, *from; /* from NULL: refused */
    uint32_t options;
} local_rows[] = {
    {&any4, &us, &us, 0},
    {&any4, &loop4, &loop4, 0},
    {&any6, &us, &us, 0},
    {&any6, &loop4, &loop4, 0},
    {&any6, &us6, &us6, 0},
    {&any6, &loop6, &loop6, 0},
    {&any6, &link6, &link6, 0},
    {&us6, &us6, &us6, 0},
    {&loop6, &loop6, &loop6, 0},
    {&any4, &us6, NULL, 0},
    {&us6, &loop6, NULL, 0},
    {&any6, &us, NULL, 1U << CONTROL_OPTION_V6_ONLY},
    {&any6, &us6, &us6, 1U << CONTROL_OPTION_V6_ONLY},
};

START_TEST(test_local_connection)
{
    struct message child;
    listen_on(*local_rows[_i].listen, local_rows[_i].options);
    struct message m = ask(MESSAGE_CONNECT, ACTIVE, (struct ip_address){0}, 0, *local_rows[_i].to, PORT, 0);
    ck_assert_int_eq(m.socket.error, 0);
    take_slot(&m);
    turn_round(6);
    if (local_rows[_i].from == NULL) {
        ck_assert_uint_eq(words(&m)->state, SLOT_ERROR | SLOT_CLOSED);
        ck_assert_uint_eq(words(&m)->error, ECONNREFUSED);
        return;
    }
    ck_assert(ip_address_equal(&m.source, local_rows[_i].from));
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED);
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &child));
    ck_assert(ip_address_equal(&child.source, local_rows[_i].to));
    ck_assert(ip_address_equal(&child.destination, local_rows[_i].from));
    struct message accepted = {.operation = MESSAGE_ACCEPTED, .socket = child.socket};
    accepted.socket.socket = CHILD;
    harness_request(h, &accepted);
    harness_turn(h);
    take_slot(&child);
    exchange(&m, &child);
    exchange(&child, &m);
    close_socket(ACTIVE);
    turn_round(4);
    ck_assert_uint_eq(words(&child)->state, SLOT_CONNECTED | SLOT_FIN);
    close_socket(CHILD);
    turn_round(4);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

/* RFC 9293 3.5 figure 7 with both sides one: a socket that is connected to itself hears what it says. */
START_TEST(test_self_connect)
{
    const struct ip_address *to = _i == 0 ? &us : &loop6;
    struct message m = ask(MESSAGE_CONNECT, ACTIVE, *to, PORT, *to, PORT, 0);
    ck_assert_int_eq(m.socket.error, 0);
    take_slot(&m);
    turn_round(6);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED);
    exchange(&m, &m);
    close_socket(ACTIVE);
    turn_round(6);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_ip6_peer)
{
    struct tcp_identity id = {.local = them6, .local_port = 80, .arena = NONE};
    uint32_t listener;
    struct message m, sent;
    ck_assert_int_eq(tcp_listen(peer.tcp, &id, 4, PEER_RING, PEER_RING, &listener), TCP_CALL_OK);
    m = ask(MESSAGE_CONNECT, ACTIVE, any6, 0, them6, 80, 0);
    ck_assert_int_eq(m.socket.error, 0);
    ck_assert(ip_address_equal(&m.source, &us6));
    take_slot(&m);
    ck_assert(harness_sent(h, &sent));
    const uint8_t *syn = harness_at(h, &sent.reference[0]);
    ck_assert_uint_eq(syn[20], 2);
    ck_assert_uint_eq((unsigned)(syn[22] << 8 | syn[23]), 1500 - 60);
    ck_assert_uint_eq(sent.ttl, 0x40); /* the socket's options */
    ck_assert_uint_eq(sent.traffic_class, 0xb8); /* less the bits of ECN (RFC 3168 5): they are TCP's own */
    peer_input(&sent);
    harness_return(h, sent.cookie);
    settle();
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED);
    uint8_t big[10000];
    for (uint32_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i * 7);
    app_write(&m, big, sizeof big);
    uint8_t gso = MESSAGE_GSO_NONE;
    for (unsigned i = 0; i < 8; i++) {
        peer_output();
        harness_turn(h);
        while (harness_sent(h, &sent)) {
            ck_assert(sent.gso_size <= 1440);
            if (sent.gso_size > 0)
                gso = sent.gso_type;
            peer_input(&sent);
            harness_return(h, sent.cookie);
        }
    }
    settle();
    ck_assert_uint_eq(gso, MESSAGE_GSO_TCP6);
    ck_assert_mem_eq(peer.receive, big, sizeof big);
    peer_write("hello", 5);
    pump(3);
    ck_assert_mem_eq(harness_receive_ring(h, m.socket.arena, m.socket.slot), "hello", 5);
}
END_TEST

/* Two pieces whose checksum nobody has looked at; the first ends at an odd place. */
START_TEST(test_checksum_of_pieces)
{
    listen_answer();
    struct message m = accept_one();
    uint8_t bytes[300];
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 5 + 1);
    for (uint32_t first = 0; first < 60; first += 3) {
        struct tcp_output o;
        uint8_t segment[400];
        peer_write(bytes, sizeof bytes);
        ck_assert(tcp_poll(peer.tcp, h->now_us, &o));
        ck_assert_uint_eq(o.payload_length, sizeof bytes);
        memcpy(segment, o.header, o.header_length);
        memcpy(segment + o.header_length, bytes, sizeof bytes);
        uint32_t octets = o.header_length + o.payload_length;
        be16 sum = checksum_finish(
            checksum_add(checksum_pseudo_header(&o.source, &o.destination, 6, octets), segment, octets));
        memcpy(segment + 16, &sum, 2);
        struct message r = {.source = o.source,
                            .destination = o.destination,
                            .source_port = o.source_port,
                            .destination_port = o.destination_port,
                            .protocol = 6};
        harness_receive_local(h, &r, segment, octets, (uint32_t)sizeof bytes - first);
        settle();
        ck_assert_uint_eq(tcp_conn_at(peer.tcp, peer.conn)->send_acked, (first / 3 + 1) * sizeof bytes);
        harness_app(h, 0, m.socket.slot)->receive_tail = (first / 3 + 1) * (uint32_t)sizeof bytes;
        harness_notify(h, 0, m.socket.slot);
    }
    ck_assert_uint_eq(harness_counter(h, "drop_checksum"), 0);
}
END_TEST

START_TEST(test_connect_errors)
{
    static const struct {
        const struct ip_address *local, *remote;
        int error;
    } rows[] = {
        {&any6, &mapped, EAFNOSUPPORT}, {&us6, &them, EAFNOSUPPORT},      {&us, &them6, EAFNOSUPPORT},
        {&any6, &group6, ENETUNREACH},  {&any4, &broadcast, ENETUNREACH}, {&any6, &any6, ENETUNREACH},
        {&them, &them, EADDRNOTAVAIL},  {&them6, &them6, EADDRNOTAVAIL},  {&any6, &link_peer, 0},
        {&loop4, &them, EINVAL},        {&loop6, &them6, EINVAL},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct message m = ask(MESSAGE_CONNECT, ACTIVE + 0x10000 * i, *rows[i].local, 0, *rows[i].remote, 80, 0);
        ck_assert_msg(m.socket.error == rows[i].error, "row %u: %d", i, m.socket.error);
        if (m.socket.error == 0)
            ck_assert(ip_address_equal(&m.source, &link6));
    }
    pump(2);
    ck_assert_uint_ge(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
}
END_TEST

static void too_big(const struct message *m, uint64_t sequence, uint8_t type, uint8_t code, uint16_t mtu)
{
    struct message u = {.operation = MESSAGE_UNREACHABLE,
                        .capability = CAPABILITY_INDEX_PEER,
                        .generation = 1,
                        .cookie = sequence,
                        .source = m->source,
                        .source_port = m->source_port,
                        .destination = m->destination,
                        .destination_port = m->destination_port,
                        .protocol = 6,
                        .traffic_class = type,
                        .ttl = code,
                        .gso_size = mtu};
    ck_assert(port_push(&h->ip_end, &u));
    harness_turn(h);
}

/* What ICMP quotes is the sequence number of what was too long. */
START_TEST(test_path_mtu)
{
    static const uint8_t bytes[5000];
    struct message m, sent;
    listen_answer();
    m = accept_one();
    app_write(&m, bytes, sizeof bytes);
    harness_turn(h);
    ck_assert(harness_sent(h, &sent));
    const uint8_t *header = harness_at(h, &sent.reference[0]);
    uint32_t sequence = (uint32_t)header[4] << 24 | (uint32_t)header[5] << 16 | (uint32_t)header[6] << 8 | header[7];
    ck_assert_uint_gt(sent.gso_size, 1000); /* segments of 1460 */
    struct message refused = sent;
    do /* none of them gets through */
        harness_return(h, sent.cookie);
    while (harness_sent(h, &sent));
    too_big(&refused, sequence - 1, 3, 4, 1000);
    ck_assert(!harness_sent(h, &sent));
    ck_assert_uint_eq(harness_counter(h, "tcp_drop_too_big"), 1);
    too_big(&refused, sequence, 3, 4, 1000);
    ck_assert(harness_sent(h, &sent));
    do {
        ck_assert_uint_le(sent.gso_size > 0 ? sent.gso_size : sent.reference[1].length, 960);
        peer_input(&sent);
        harness_return(h, sent.cookie);
    } while (harness_sent(h, &sent));
    settle();
    ck_assert_uint_eq(words(&m)->send_tail, sizeof bytes);
    ck_assert_uint_eq(harness_counter(h, "tcp_mss_lowered"), 1);
    too_big(&refused, sequence, 3, 1, 0); /* soft: nothing happens to a connection that lives */
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("server_tcp_local");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, test_local_connection, 0, (int)(sizeof local_rows / sizeof local_rows[0]));
    tcase_add_loop_test(c, test_self_connect, 0, 2);
    tcase_add_test(c, test_ip6_peer);
    tcase_add_test(c, test_checksum_of_pieces);
    tcase_add_test(c, test_connect_errors);
    tcase_add_test(c, test_path_mtu);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
