// SPDX-License-Identifier: BSD-2-Clause
/* The ip server between a nic, a tcp and a udp that the test plays: IPv4, loans, limits, the death of nic. */
#include "tests/unit/ip_harness.h"

/* ---- ARP, ICMP ---- */

START_TEST(test_arp_reply)
{
    arp_frame(ARP_OPERATION_REQUEST, 3);
    struct message m = sent(false);
    struct arp_wire w;
    memcpy(&w, bytes_of(&m) + 14, sizeof w);
    ck_assert_mem_eq(bytes_of(&m), peer_mac.octets, 6);
    ck_assert_mem_eq(bytes_of(&m) + 6, config.mac.octets, 6);
    ck_assert_int_eq(be16_get(w.operation), ARP_OPERATION_REPLY);
    returned(nic, 3);
    all_home();
}
END_TEST

START_TEST(test_echo)
{
    uint8_t message[1000] = {ICMP_TYPE_ECHO, 0, 0, 0, 1, 2, 3, 4, 5};
    be16 sum = checksum_finish(checksum_add(0, message, sizeof message));
    memcpy(message + 2, &sum, 2);
    know_peer();
    packet_frame(5, IP_PROTOCOL_ICMP, message, sizeof message);
    struct message m = sent(true), none;
    ck_assert_uint_eq(m.reference[0].length, 42);
    ck_assert_int_eq(m.reference[1].pool, POOL_NIC);
    ck_assert_uint_eq(m.reference[1].offset, 5 * 2048 + 42);
    ck_assert_uint_eq(m.reference[1].length, 992);
    memcpy(message, bytes_of(&m) + 34, 8);
    ck_assert_int_eq(message[0], ICMP_TYPE_ECHO_REPLY);
    ck_assert_int_eq(be16_get(checksum_finish(checksum_add(0, message, sizeof message))), 0);
    ck_assert_mem_eq(bytes_of(&m) + 26, us.octets, 4);
    ck_assert(!wire_take(nic, &none)); /* the frame is still being read */
    wire_return(nic, (uint32_t)m.cookie);
    burst();
    returned(nic, 5);
    all_home();
}
END_TEST

START_TEST(test_protocol_unreachable)
{
    uint8_t message[16] = {0};
    know_peer();
    packet_frame(5, 132, message, sizeof message);
    struct message m = sent(false);
    ck_assert_uint_eq(m.reference[0].length, 34 + 36);
    ck_assert_int_eq(bytes_of(&m)[34], ICMP_TYPE_UNREACHABLE);
    ck_assert_int_eq(bytes_of(&m)[35], ICMP_CODE_PROTOCOL_UNREACHABLE);
    ck_assert_mem_eq(bytes_of(&m) + 42, frames + 5 * 2048 + 14, 28);
    ck_assert_uint_eq(ip->ip4_counters.drop_protocol, 1);
    returned(nic, 5);
    all_home();
}
END_TEST

START_TEST(test_error_is_told)
{
    uint8_t message[36] = {ICMP_TYPE_UNREACHABLE, ICMP_CODE_FRAGMENTATION_NEEDED, 0, 0, 0, 0, 5, 0};
    struct ip4_header quoted = {
        .source = us, .destination = peer, .total_length = 1400, .protocol = IP_PROTOCOL_TCP, .ttl = 64};
    ip4_build(&quoted, message + 8);
    memcpy(message + 28, "\0\x50\x9c\x40\1\2\3\4", 8);
    be16 sum = checksum_finish(checksum_add(0, message, sizeof message));
    memcpy(message + 2, &sum, 2);
    packet_frame(6, IP_PROTOCOL_ICMP, message, sizeof message);
    struct message m;
    ck_assert(take(tcp, MESSAGE_UNREACHABLE, &m));
    ck_assert(ip_address_equal(&m.source, &us) && ip_address_equal(&m.destination, &peer));
    ck_assert(m.source_port == 80 && m.destination_port == 40000 && m.cookie == 0x01020304);
    ck_assert(m.gso_size == 1280 && m.ttl == ICMP_CODE_FRAGMENTATION_NEEDED &&
              m.traffic_class == ICMP_TYPE_UNREACHABLE);
    returned(nic, 6);
}
END_TEST

START_TEST(test_port_unreachable)
{
    uint8_t datagram[20] = {0x9c, 0x40, 0, 53, 0, 20, 0, 0};
    struct message m, ask = {.operation = MESSAGE_UNREACHABLE,
                             .capability = CAPABILITY_INDEX_PEER,
                             .generation = 1,
                             .reference = {{POOL_NIC, 1, 5 * 2048 + 34, 20}},
                             .source = us,
                             .destination = peer,
                             .protocol = IP_PROTOCOL_UDP,
                             .ttl = 63};
    know_peer();
    packet_frame(5, IP_PROTOCOL_UDP, datagram, sizeof datagram);
    ck_assert(take(udp, MESSAGE_RECEIVE, &m));
    wire_send(udp, &ask);
    wire_return(udp, (uint32_t)m.cookie);
    m = sent(false);
    ck_assert_int_eq(bytes_of(&m)[35], ICMP_CODE_PORT_UNREACHABLE);
    ck_assert_mem_eq(bytes_of(&m) + 62, datagram, 8);
    ck_assert_mem_eq(bytes_of(&m) + 54, peer.octets, 4);
    returned(nic, 5);
    ask.source = peer; /* not its address */
    wire_send(udp, &ask);
    nobody_says_anything();
    ck_assert_uint_eq(ip->counters.drop_send_field, 1);
    all_home();
}
END_TEST

/* ---- delivery ---- */

START_TEST(test_deliver)
{
    struct message m;
    packet_frame(9, IP_PROTOCOL_TCP, segment, sizeof segment);
    ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
    ck_assert(m.capability == CAPABILITY_INDEX_PEER && m.reference[0].pool == POOL_NIC);
    ck_assert(m.reference[0].offset == 9 * 2048 + 34 && m.reference[0].length == 40);
    ck_assert(m.source_port == 40000 && m.destination_port == 80 && m.protocol == IP_PROTOCOL_TCP);
    ck_assert(m.ttl == 63 && m.traffic_class == (4 << 2 | 1) && m.checksum_state == MESSAGE_CHECKSUM_NONE);
    ck_assert(ip_address_equal(&m.source, &peer) && ip_address_equal(&m.destination, &us));
    wire_return(udp, 9); /* not udp's to return */
    wire_return(tcp, 8);
    wire_return(tcp, 4000000);
    nobody_says_anything();
    ck_assert_uint_eq(ip->counters.drop_return, 3);
    frame_send(9, 60); /* nic lends it twice */
    ck_assert_uint_eq(ip->counters.drop_cookie, 1);
    wire_return(tcp, 9);
    burst();
    returned(nic, 9);
    all_home();
}
END_TEST

START_TEST(test_padding_is_cut)
{
    struct message m;
    packet_frame(1, IP_PROTOCOL_TCP, segment, 20);
    ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
    wire_return(tcp, 1);
    burst();
    returned(nic, 1);
    frame_send(1, 60);
    ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
    ck_assert_uint_eq(m.reference[0].length, 20);
}
END_TEST

START_TEST(test_offload_up)
{
    static const struct {
        uint8_t checksum_state, gso_type, expect_state, expect_gso;
        uint16_t start;
    } rows[] = {
        {MESSAGE_CHECKSUM_PARTIAL, MESSAGE_GSO_TCP4, MESSAGE_CHECKSUM_PARTIAL, MESSAGE_GSO_TCP4, 34},
        {MESSAGE_CHECKSUM_PARTIAL, MESSAGE_GSO_NONE, MESSAGE_CHECKSUM_NONE, MESSAGE_GSO_NONE, 30},
        {MESSAGE_CHECKSUM_VALID, MESSAGE_GSO_UDP, MESSAGE_CHECKSUM_VALID, MESSAGE_GSO_NONE, 0},
        {77, 77, MESSAGE_CHECKSUM_NONE, MESSAGE_GSO_NONE, 34},
    };
    packet_frame(1, IP_PROTOCOL_TCP, segment, sizeof segment);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct message m;
        ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
        wire_return(tcp, 1);
        burst();
        returned(nic, 1);
        struct message in = {.operation = MESSAGE_RECEIVE,
                             .capability = CAPABILITY_INDEX_PEER,
                             .generation = 1,
                             .cookie = 1,
                             .reference = {{POOL_NIC, 1, 2048, 74}},
                             .checksum_state = rows[i].checksum_state,
                             .checksum_start = rows[i].start,
                             .checksum_offset = 16,
                             .gso_type = rows[i].gso_type,
                             .gso_size = 1448};
        wire_send(nic, &in);
        burst();
        ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
        ck_assert_int_eq(m.checksum_state, rows[i].expect_state);
        ck_assert_int_eq(m.gso_type, rows[i].expect_gso);
        ck_assert_int_eq(m.gso_size, rows[i].expect_gso != 0 ? 1448 : 0);
        wire_return(tcp, 1);
        burst();
        returned(nic, 1);
        packet_frame(1, IP_PROTOCOL_TCP, segment, sizeof segment);
    }
}
END_TEST

START_TEST(test_share_and_absence)
{
    struct message m;
    for (uint32_t i = 0; i < IP_LOANS_MAX; i++)
        packet_frame(i, IP_PROTOCOL_TCP, segment, sizeof segment);
    for (uint32_t i = 0; i < IP_LOANS_MAX; i++)
        ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
    ip->waiting.patience_us = 0; /* test_ip_waiting.c */
    packet_frame(IP_LOANS_MAX + 1, IP_PROTOCOL_TCP, segment, sizeof segment);
    returned(nic, IP_LOANS_MAX + 1);
    ck_assert_uint_eq(ip->counters.drop_no_transport, 1);
    packet_frame(IP_LOANS_MAX + 1, IP_PROTOCOL_UDP, segment, sizeof segment); /* another has a share of its own */
    ck_assert(take(udp, MESSAGE_RECEIVE, &m));

    port_detach(&tcp->server);
    server_ip.peer_lost(ip, SERVER_TCP);
    packet_frame(IP_LOANS_MAX + 2, IP_PROTOCOL_TCP, segment, sizeof segment);
    returned(nic, IP_LOANS_MAX + 2);
    wire_attach(tcp);
    server_ip.peer_attached(ip, SERVER_TCP, now);
    burst();
    ck_assert_uint_eq(ip->counters.offered_again, IP_LOANS_MAX); /* test_ip_again.c */
    for (uint32_t i = 0; i < IP_LOANS_MAX; i++)
        wire_return(tcp, i);
    uint32_t home = 0;
    burst();
    while (take(nic, MESSAGE_RETURN, &m))
        home += m.count;
    ck_assert_uint_eq(home, IP_LOANS_MAX);
    wire_return(udp, IP_LOANS_MAX + 1);
    burst();
    returned(nic, IP_LOANS_MAX + 1);
    all_home();
}
END_TEST

START_TEST(test_refused_frames)
{
    static const struct {
        uint16_t capability, generation;
        struct message_reference reference;
        uint32_t cookie;
        size_t counter;
        bool home;
    } rows[] = {
#define AT(name) offsetof(struct ip_counters, name)
        {2, 1, {POOL_NIC, 1, 0, 60}, 1, AT(drop_right), true},
        {1, 2, {POOL_NIC, 1, 0, 60}, 1, AT(drop_right), true},
        {POOL_NIC, 1, {POOL_NIC, 1, 0, 60}, 1, AT(drop_right), true},
        {1, 1, {POOL_NIC, 1, 0, 60}, IP_COOKIES, AT(drop_cookie), false},
        {1, 1, {POOL_NIC, 2, 0, 60}, 1, AT(drop_reference), true},
        {1, 1, {POOL_TCP, 1, 0, 60}, 1, AT(drop_reference), true},
        {1, 1, {POOL_NIC, 1, sizeof frames - 59, 60}, 1, AT(drop_reference), true},
        {1, 1, {POOL_NIC, 1, UINT32_MAX, UINT32_MAX}, 1, AT(drop_reference), true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const uint64_t *count = (const uint64_t *)(const void *)((const char *)&ip->counters + rows[i].counter);
        uint64_t before = *count;
        struct message m = {.operation = MESSAGE_RECEIVE,
                            .capability = rows[i].capability,
                            .generation = rows[i].generation,
                            .cookie = rows[i].cookie,
                            .reference = {rows[i].reference}};
        wire_send(nic, &m);
        burst();
        ck_assert_msg(*count == before + 1, "row %zu", i);
        if (rows[i].home)
            returned(nic, rows[i].cookie);
        nobody_says_anything();
    }
    all_home();
}
END_TEST

/* ---- sending ---- */

START_TEST(test_send)
{
    struct message m = good();
    wire_send(tcp, &m);
    m = sent(false); /* first the question who has it */
    ck_assert_uint_eq(m.reference[0].length, 42);
    ck_assert_int_eq(bytes_of(&m)[0], 0xff);
    arp_frame(ARP_OPERATION_REPLY, 0);
    m = sent(true);
    returned(nic, 0);
    ck_assert(m.reference[0].pool == POOL_IP && m.reference[0].length == 66 && m.header_octets == 66);
    ck_assert(m.reference[1].pool == ARENA && m.reference[1].offset == 500 && m.reference[1].length == 5000);
    ck_assert(m.checksum_state == MESSAGE_CHECKSUM_PARTIAL && m.checksum_start == 34 && m.checksum_offset == 16);
    ck_assert(m.gso_type == MESSAGE_GSO_TCP4 && m.gso_size == 1448);
    ck_assert_mem_eq(bytes_of(&m), peer_mac.octets, 6);
    ck_assert_mem_eq(bytes_of(&m) + 34, headers, 32);
    struct ip4_counters counters = {0};
    struct ip4_header h;
    struct ip4_config there = {.own = {{.address = peer, .prefix_length = 24}}, .own_count = 1};
    ck_assert_int_eq(ip4_parse(&counters, &there, false, bytes_of(&m) + 14, 52, 5052, &h), IP4_OK);
    ck_assert(h.total_length == 5052 && h.ttl == 64 && h.dont_fragment && h.protocol == IP_PROTOCOL_TCP);
    nobody_says_anything();
    wire_return(nic, (uint32_t)m.cookie);
    burst();
    returned(tcp, 77);
    wire_return(nic, (uint32_t)m.cookie); /* twice */
    burst();
    ck_assert_uint_eq(ip->counters.drop_return, 1);
    all_home();
}
END_TEST

/* The loan comes home, and perhaps a word why before it. */
static void refused(void)
{
    struct message m;
    ck_assert(wire_take(tcp, &m));
    if (m.operation == MESSAGE_UNREACHABLE)
        ck_assert(wire_take(tcp, &m));
    ck_assert_int_eq(m.operation, MESSAGE_RETURN);
    ck_assert(m.count == 1 && m.returned[0] == 77);
    nobody_says_anything();
}

#define ROW(counter_, ...)                                                                                             \
    do {                                                                                                               \
        struct message m = good();                                                                                     \
        __VA_ARGS__;                                                                                                   \
        uint64_t before = ip->counters.counter_;                                                                       \
        wire_send(tcp, &m);                                                                                            \
        burst();                                                                                                       \
        ck_assert_msg(ip->counters.counter_ == before + 1, #counter_ ": " #__VA_ARGS__);                               \
        refused();                                                                                                     \
    } while (0)

START_TEST(test_send_refused)
{
    know_peer();
    ROW(drop_right, m.capability = 3);
    ROW(drop_right, m.capability = ARENA);
    ROW(drop_right, m.generation = 0);
    ROW(drop_send_field, m.reference[0].length = 7);
    ROW(drop_send_field, m.reference[0].length = 61);
    ROW(drop_send_field, m.protocol = IP_PROTOCOL_UDP);
    ROW(drop_send_field, m.protocol = IP_PROTOCOL_ICMP);
    ROW(drop_send_field, m.source = peer);
    ROW(drop_send_field, m.source.family = ADDRESS_IP6);
    ROW(drop_send_field, m.source_port = 81);
    ROW(drop_send_field, m.destination_port = 81);
    ROW(drop_reference, m.reference[0].pool = 99);
    ROW(drop_reference, m.reference[0].pool = ARENA); /* not mapped here: a header there cannot be checked */
    ROW(drop_reference, m.reference[0].offset = sizeof headers - 31);
    ROW(drop_reference, m.reference[1].pool = 99);
    ROW(drop_reference, m.reference[1].generation = 2);
    ROW(drop_reference, m.reference[1].offset = 95001);
    ROW(drop_send_offload, m.reference[1].length = 65535);
    ROW(drop_too_long, m.gso_type = MESSAGE_GSO_NONE);
    ROW(drop_send_offload, m.gso_type = MESSAGE_GSO_UDP);
    ROW(drop_send_offload, m.gso_type = 200);
    ROW(drop_send_offload, m.gso_size = 0);
    ROW(drop_too_long, m.gso_size = 1449);
    ROW(drop_send_offload, m.checksum_state = MESSAGE_CHECKSUM_NONE);
    ROW(drop_send_offload, m.checksum_state = MESSAGE_CHECKSUM_VALID);
    ROW(drop_send_offload, m.checksum_start = 1);
    ROW(drop_send_offload, m.checksum_offset = 31);
    ROW(drop_send_class, m.source = loopback);
    ROW(drop_send_class, m.destination.octets[0] = 224);
    ROW(drop_send_class, m.destination.octets[3] = 255);
    ROW(drop_send_class, m.destination.octets[0] = 0);
    ROW(drop_send_field, m.destination.family = ADDRESS_IP6);
    ROW(drop_no_route, m.destination.octets[0] = 11);
    static const struct message senseless[] = {
        {.operation = MESSAGE_CONNECT, .capability = 1, .generation = 1},
        {.operation = MESSAGE_RETURN, .count = 1, .capability = 1, .generation = 2},
    };
    for (unsigned i = 0; i < 4; i++) {
        struct wire_pair *from = i < 2 ? tcp : nic;
        from->server.strict = true;
        wire_send(from, &senseless[i % 2]);
        burst();
        ck_assert(from->server.senseless);
        from->server.strict = from->server.senseless = false;
    }
    ck_assert_uint_eq(ip->counters.drop_operation, 2);
    all_home();
}
END_TEST

START_TEST(test_unresolved)
{
    struct message m = good(), up;
    wire_send(tcp, &m);
    for (unsigned i = 0; i < ARP_TRIES; i++, now += ARP_RETRY_US) {
        sent(false);
        nobody_says_anything();
        ck_assert_uint_eq(server_ip.deadline_us(ip), now + ARP_RETRY_US);
    }
    burst();
    ck_assert(take(tcp, MESSAGE_UNREACHABLE, &up));
    ck_assert(up.cookie == 0x01020304 && up.source_port == 80 && up.traffic_class == ICMP_TYPE_UNREACHABLE &&
              up.ttl == ICMP_CODE_HOST_UNREACHABLE && ip_address_equal(&up.destination, &peer));
    returned(tcp, 77);
    wire_send(tcp, &m); /* the negative cache */
    burst();
    ck_assert(take(tcp, MESSAGE_UNREACHABLE, &up));
    returned(tcp, 77);
    ck_assert_uint_eq(ip->counters.drop_unresolved, 2);
    all_home();
}
END_TEST

START_TEST(test_pending_is_bounded)
{
    uint32_t back = 0;
    struct message m;
    for (uint32_t i = 0; i < 300; i++) {
        m = good();
        m.cookie = 1000 + i;
        m.destination.octets[3] = (uint8_t)(i < 80 ? 9 : 10 + i % 100);
        wire_send(tcp, &m);
        burst();
        while (take(nic, MESSAGE_SEND, &m)) /* questions */
            wire_return(nic, (uint32_t)m.cookie);
        while (take(tcp, MESSAGE_RETURN, &m))
            for (unsigned k = 0; k < m.count; k++)
                ck_assert_uint_eq(m.returned[k], 1000 + back++); /* the oldest first */
        if (i == 79)
            ck_assert_uint_eq(ip->pending_count, IP_PENDING_NEIGHBOUR);
    }
    ck_assert_uint_eq(ip->pending_count, IP_PENDING);
    ck_assert_uint_eq(back, 300 - IP_PENDING);
    ck_assert_uint_eq(ip->counters.drop_pending, 300 - IP_PENDING);
}
END_TEST

START_TEST(test_backpressure)
{
    struct message m;
    know_peer();
    uint32_t outstanding = 0;
    for (uint32_t i = 0; i < 220; i++) {
        m = good();
        m.cookie = i;
        wire_send(tcp, &m);
        burst();
        while (take(nic, MESSAGE_SEND, &m))
            outstanding++;
    }
    ck_assert_uint_eq(outstanding, IP_BUFFERS_WIRE - IP_RESERVED);
    ck_assert_uint_ne(server_ip.deadline_us(ip), UINT64_MAX); /* looks again by itself */
    arp_frame(ARP_OPERATION_REQUEST, 2);                      /* what is reserved still answers */
    ck_assert(take(nic, MESSAGE_SEND, &m));
    ck_assert_uint_eq(m.reference[0].length, 42);
}
END_TEST

/* ---- the death of nic ---- */

START_TEST(test_nic_dies)
{
    struct message m = good();
    know_peer();
    packet_frame(9, IP_PROTOCOL_TCP, segment, sizeof segment);
    packet_frame(10, IP_PROTOCOL_TCP, segment, sizeof segment);
    ck_assert(take(tcp, MESSAGE_RECEIVE, &m) && take(tcp, MESSAGE_RECEIVE, &m));
    m = good();
    wire_send(tcp, &m);
    sent(true); /* nic dies with it */
    port_detach(&nic->server);
    server_ip.peer_lost(ip, SERVER_NIC);
    wire_return(tcp, 9); /* of the dead nic: must not free the next one's buffer 9 */
    wire_attach(nic);
    server_ip.peer_attached(ip, SERVER_NIC, now);
    struct message in = {.operation = MESSAGE_RECEIVE,
                         .capability = CAPABILITY_INDEX_PEER,
                         .generation = 1,
                         .cookie = 9,
                         .reference = {{POOL_NIC, 1, 9 * 2048, 74}}};
    wire_send(nic, &in);
    burst();
    ck_assert_uint_eq(ip->counters.drop_return, 0);
    ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
    returned(tcp, 77);
    ck_assert(take(nic, MESSAGE_SEND, &m)); /* announces itself to the link again */
    ck_assert_mem_eq(bytes_of(&m) + 12, "\x08\x06", 2);
    wire_return(nic, (uint32_t)m.cookie);
    while (take(nic, MESSAGE_SEND, &m)) {
        ck_assert_mem_eq(bytes_of(&m) + 12, "\x86\xdd", 2);
        wire_return(nic, (uint32_t)m.cookie);
    }
    burst();
    ck_assert_uint_eq(ip->held[SERVER_TCP], 1);
    ck_assert(pool_all_home(&pool));
}
END_TEST

/* An old return behind so much that one burst does not reach it. */
START_TEST(test_nic_dies_with_full_rings)
{
    struct message m;
    know_peer();
    packet_frame(9, IP_PROTOCOL_TCP, segment, sizeof segment);
    ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
    port_detach(&nic->server);
    server_ip.peer_lost(ip, SERVER_NIC);
    for (unsigned i = 0; i < SERVER_BURST + 10; i++) {
        m = good();
        m.capability = 9; /* refused at once */
        wire_send(tcp, &m);
    }
    wire_return(tcp, 9);
    wire_attach(nic);
    server_ip.peer_attached(ip, SERVER_NIC, now);
    struct message in = {.operation = MESSAGE_RECEIVE,
                         .capability = CAPABILITY_INDEX_PEER,
                         .generation = 1,
                         .cookie = 9,
                         .reference = {{POOL_NIC, 1, 9 * 2048, 74}}};
    wire_send(nic, &in);
    burst();
    ck_assert_uint_eq(ip->counters.drop_barrier, 1);
    ck_assert_uint_eq(ip->counters.drop_return, 0);
    ck_assert_uint_eq(ip->held[SERVER_TCP], 0);
    wire_send(nic, &in);
    burst();
    ck_assert_uint_eq(ip->held[SERVER_TCP], 1);
    ck_assert_uint_eq(ip->counters.drop_barrier, 1);
}
END_TEST

/* The ring is empty while nic is away, and an old return comes after: it is still none of the next nic's. */
START_TEST(test_late_return_of_a_dead_nic)
{
    struct message m;
    know_peer();
    packet_frame(9, IP_PROTOCOL_TCP, segment, sizeof segment);
    ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
    port_detach(&nic->server);
    server_ip.peer_lost(ip, SERVER_NIC);
    burst();
    wire_return(tcp, 9);
    wire_attach(nic);
    server_ip.peer_attached(ip, SERVER_NIC, now);
    packet_frame(9, IP_PROTOCOL_TCP, segment, sizeof segment);
    ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
    ck_assert_uint_eq(ip->held[SERVER_TCP], 1);
    ck_assert_uint_eq(ip->counters.drop_return, 0);
}
END_TEST

/* A device slower than both: what comes home is for each in its turn, whoever asks for more. */
START_TEST(test_fair)
{
    static const enum server_id ids[] = {SERVER_TCP, SERVER_UDP};
    struct wire_pair *const pairs[] = {tcp, udp};
    know_peer();
    for (unsigned greedy = 0; greedy < 2; greedy++) {
        uint32_t cookies[IP_BUFFERS], out = 0, sent_by[2] = {0};
        for (uint32_t round = 0; round < 400; round++) {
            for (unsigned i = 0; i < 2; i++) {
                struct message m = i == 0 ? good() : datagram(&us, &peer, 100);
                for (uint32_t k = i == greedy ? 40 : 1; k > 0 && port_space(&pairs[i]->test) > 8; k--)
                    wire_send(pairs[i], &m);
            }
            server_ip.burst(ip, now);
            port_flush(&nic->server);
            port_flush(&tcp->server);
            port_flush(&udp->server);
            for (struct message m; wire_take(nic, &m); cookies[out++] = (uint32_t)m.cookie)
                sent_by[m.protocol == IP_PROTOCOL_UDP]++;
            for (unsigned i = 0; i < 3 && out > 0; i++)
                wire_return(nic, cookies[--out]);
            for (struct message m; wire_take(tcp, &m) || wire_take(udp, &m);)
                ;
        }
        ck_assert_msg(sent_by[!greedy] > 100, "%u of the other's", sent_by[!greedy]);
        for (; out > 0; out--)
            wire_return(nic, cookies[out - 1]);
        for (unsigned i = 0; i < 2; i++) { /* what waits is forgotten */
            port_detach(&pairs[i]->server);
            server_ip.peer_lost(ip, ids[i]);
            wire_attach(pairs[i]);
            server_ip.peer_attached(ip, ids[i], now);
        }
        nobody_says_anything();
        all_home();
    }
}
END_TEST

/* Strangers ask for more echoes than the device can send: transports and neighbours still have their buffers. */
START_TEST(test_echo_flood)
{
    uint8_t request[16] = {ICMP_TYPE_ECHO, 0, 0, 0, 1, 2, 3, 4};
    be16 sum = checksum_finish(checksum_add(0, request, sizeof request));
    uint32_t cookies[IP_BUFFERS], out = 0;
    struct message m;
    know_peer();
    memcpy(request + 2, &sum, 2);
    for (uint32_t i = 0; i < 88; i++)
        packet_frame(i, IP_PROTOCOL_ICMP, request, sizeof request);
    ck_assert_uint_eq(ip->echoes, IP_ECHOES);
    ck_assert_uint_eq(ip->counters.drop_echo, 88 - IP_ECHOES);
    while (wire_take(nic, &m))
        if (m.operation == MESSAGE_SEND)
            cookies[out++] = (uint32_t)m.cookie;
    ck_assert_uint_eq(out, IP_ECHOES);
    wire_return(nic, cookies[--out]);
    burst();
    ck_assert_uint_eq(ip->echoes, IP_ECHOES - 1);
    port_detach(&nic->server); /* and of a dead nic there are none */
    server_ip.peer_lost(ip, SERVER_NIC);
    ck_assert_uint_eq(ip->echoes, 0);
    wire_attach(nic);
    server_ip.peer_attached(ip, SERVER_NIC, now);
    ck_assert_uint_eq(ip->echoes, 0);
    all_home();
}
END_TEST

/* An answer to a neighbour that cannot go out now: nic's return brings us back to it, we do not turn on the spot. */
START_TEST(test_no_room_to_answer)
{
    struct message m;
    while (pool_take(&pool) != POOL_NONE)
        ;
    arp_frame(ARP_OPERATION_REQUEST, 0);
    ck_assert(take(nic, MESSAGE_RETURN, &m));
    ck_assert_uint_eq(ip->arp.reply_count, 1);
    ck_assert_uint_gt(server_ip.deadline_us(ip), now);
    for (uint32_t i = 0; i < IP_BUFFERS; i++)
        pool_put(&pool, i);
    sent(false);
    all_home();
}
END_TEST

SUITE_RUN("ip", setup, teardown, test_arp_reply, test_echo, test_protocol_unreachable, test_error_is_told,
          test_port_unreachable, test_deliver, test_padding_is_cut, test_offload_up, test_share_and_absence,
          test_refused_frames, test_send, test_send_refused, test_unresolved, test_pending_is_bounded,
          test_backpressure, test_nic_dies, test_nic_dies_with_full_rings, test_late_return_of_a_dead_nic, test_fair,
          test_echo_flood, test_no_room_to_answer)
