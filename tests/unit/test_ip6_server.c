// SPDX-License-Identifier: BSD-2-Clause
/* The ip server and IPv6: echo, errors, neighbours, conflict detection, one family alone. */
#include "tests/unit/ip_harness.h"

static uint32_t icmp6_frame(uint32_t cookie, uint8_t *bytes, uint32_t octets)
{
    be16 sum = icmp6_sum(&peer6, &us6, bytes, octets);
    memcpy(bytes + 2, &sum, 2);
    packet6_frame(cookie, IP_PROTOCOL_ICMP6, bytes, octets);
    return cookie;
}

START_TEST(test_echo)
{
    uint8_t message[1000] = {ICMP6_TYPE_ECHO, 0, 0, 0, 1, 2, 3, 4, 5}, frame[1100];
    struct message none;
    know_peer();
    icmp6_frame(5, message, sizeof message);
    struct message m = sent(true);
    ck_assert_uint_eq(frame_of(&m, frame, sizeof frame), 54 + sizeof message);
    ck_assert_int_eq(m.reference[1].pool, POOL_NIC);
    ck_assert_mem_eq(frame, peer_mac.octets, 6);
    ck_assert_mem_eq(frame + 22, us6.octets, 16);
    ck_assert_int_eq(frame[54], ICMP6_TYPE_ECHO_REPLY);
    ck_assert_int_eq(be16_get(icmp6_sum(&us6, &peer6, frame + 54, sizeof message)), 0);
    ck_assert(!wire_take(nic, &none)); /* the frame is still being read */
    wire_return(nic, (uint32_t)m.cookie);
    burst();
    returned(nic, 5);
    all_home();
}
END_TEST

START_TEST(test_deliver)
{
    struct message m;
    packet6_frame(9, IP_PROTOCOL_TCP, segment, sizeof segment);
    ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
    ck_assert(m.reference[0].offset == 9 * 2048 + 54 && m.reference[0].length == 40 && m.cookie == 9);
    ck_assert(m.source_port == 40000 && m.destination_port == 80 && m.ttl == 255 && m.traffic_class == (4 << 2 | 1));
    ck_assert(ip_address_equal(&m.source, &peer6) && ip_address_equal(&m.destination, &us6));
    wire_return(tcp, 9);
    burst();
    returned(nic, 9);
    all_home();
}
END_TEST

START_TEST(test_extension_headers)
{
    struct message m;
    uint8_t bytes[600] = {IP_PROTOCOL_DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0, IP_PROTOCOL_UDP, 24, 1, 196};
    memcpy(bytes + 208, segment, sizeof segment);
    bytes[12 + 196 - 2 - 194] = 0;
    packet6_frame(9, IP_PROTOCOL_HOP_BY_HOP, bytes, sizeof bytes);
    ck_assert(take(udp, MESSAGE_RECEIVE, &m));
    ck_assert_uint_eq(m.reference[0].offset, 9 * 2048 + 54 + 208);
    ck_assert(m.source_port == 40000 && m.destination_port == 80);
    wire_return(udp, 9);
    burst();
    returned(nic, 9);
    all_home();
}
END_TEST

START_TEST(test_next_header_unknown)
{
    uint8_t message[1400] = {7}, frame[2000];
    memset(message + 8, 0x5a, sizeof message - 8);
    know_peer();
    packet6_frame(5, 132, message, sizeof message);
    struct message m = sent(false);
    uint32_t length = frame_of(&m, frame, sizeof frame);
    ck_assert_uint_eq(length, 14 + 1280); /* RFC 4443 2.4 (c): as much as fits */
    ck_assert_mem_eq(frame + 54 + 8, frames + 5 * 2048 + 14, 1280 - 48);
    ck_assert(frame[54] == ICMP6_TYPE_PARAMETER_PROBLEM && frame[55] == ICMP6_CODE_NEXT_HEADER && frame[61] == 6);
    ck_assert_int_eq(be16_get(icmp6_sum(&us6, &peer6, frame + 54, length - 54)), 0);
    ck_assert_uint_eq(ip->ip6_counters.drop_protocol, 1);
    returned(nic, 5);
    all_home();
}
END_TEST

/* More errors than there are places for what they quote: cut short, and every place comes home, whoever dies. */
START_TEST(test_errors_at_once)
{
    uint8_t message[1400] = {7}, frame[2000];
    uint32_t cookies[IP_QUOTES + 2];
    struct message m;
    know_peer();
    for (uint32_t i = 0; i < IP_QUOTES + 2; i++) {
        packet6_frame(5, 132, message, sizeof message);
        ck_assert(take(nic, MESSAGE_SEND, &m));
        ck_assert_uint_eq(frame_of(&m, frame, sizeof frame), i < IP_QUOTES ? 14 + 1280 : 54 + IP_PACKET_HEAD_MAX);
        ck_assert_int_eq(be16_get(icmp6_sum(&us6, &peer6, frame + 54, frame_of(&m, frame, sizeof frame) - 54)), 0);
        cookies[i] = (uint32_t)m.cookie;
        returned(nic, 5);
    }
    wire_return(nic, cookies[3]);
    burst();
    packet6_frame(5, 132, message, sizeof message);
    ck_assert(take(nic, MESSAGE_SEND, &m));
    ck_assert_uint_eq(frame_of(&m, frame, sizeof frame), 14 + 1280);
    port_detach(&nic->server);
    server_ip.peer_lost(ip, SERVER_NIC);
    ck_assert(ip->quote_out[3]); /* the dead one's may still be read: until the barrier */
    wire_attach(nic);
    server_ip.peer_attached(ip, SERVER_NIC, now);
    all_home();
}
END_TEST

START_TEST(test_port_unreachable)
{
    uint8_t datagram_bytes[20] = {0x9c, 0x40, 0, 53, 0, 20, 0, 0}, frame[2000];
    struct message m, ask = {.operation = MESSAGE_UNREACHABLE,
                             .capability = CAPABILITY_INDEX_PEER,
                             .generation = 1,
                             .reference = {{POOL_NIC, 1, 5 * 2048 + 54, 20}},
                             .source = us6,
                             .destination = peer6,
                             .protocol = IP_PROTOCOL_UDP,
                             .ttl = 63};
    know_peer();
    packet6_frame(5, IP_PROTOCOL_UDP, datagram_bytes, sizeof datagram_bytes);
    ck_assert(take(udp, MESSAGE_RECEIVE, &m));
    wire_send(udp, &ask);
    wire_return(udp, (uint32_t)m.cookie);
    m = sent(false);
    ck_assert_uint_eq(frame_of(&m, frame, sizeof frame), 54 + 8 + 40 + 20);
    ck_assert(frame[54] == ICMP6_TYPE_UNREACHABLE && frame[55] == ICMP6_CODE_PORT_UNREACHABLE);
    ck_assert_mem_eq(frame + 54 + 48, datagram_bytes, 20);
    returned(nic, 5);
    uint8_t large[1300] = {0x9c, 0x40, 0, 53};
    memset(large + 8, 0xa5, sizeof large - 8);
    packet6_frame(5, IP_PROTOCOL_UDP, large, sizeof large);
    ck_assert(take(udp, MESSAGE_RECEIVE, &m));
    ask.reference[0].length = sizeof large;
    wire_send(udp, &ask);
    wire_return(udp, (uint32_t)m.cookie);
    m = sent(false);
    ck_assert_uint_eq(frame_of(&m, frame, sizeof frame), 14 + 1280);
    ck_assert_mem_eq(frame + 54 + 48, large, 1280 - 88);
    returned(nic, 5);
    ask.source = peer6; /* not its address */
    wire_send(udp, &ask);
    ask.source = us; /* two families */
    wire_send(udp, &ask);
    nobody_says_anything();
    ck_assert_uint_eq(ip->counters.drop_send_field, 2);
    all_home();
}
END_TEST

/* A packet waits for a neighbour solicitation's answer, and its sender is told if there is none. */
START_TEST(test_resolution)
{
    struct message m = datagram(&us6, &peer6, 100), up;
    wire_send(udp, &m);
    m = sent(false);
    ck_assert_mem_eq(bytes_of(&m), "\x33\x33\xff\0\0\1", 6);
    ck_assert_int_eq(bytes_of(&m)[54], NDP_TYPE_NEIGHBOUR_SOLICITATION);
    advertisement_frame(0);
    m = sent(true);
    returned(nic, 0);
    ck_assert_mem_eq(bytes_of(&m), peer_mac.octets, 6);
    ck_assert(m.reference[0].length == 62 && m.reference[1].length == 100);
    wire_return(nic, (uint32_t)m.cookie);
    burst();
    returned(udp, 99);
    m = datagram(&us6, &peer6, 100);
    m.destination.octets[15] = 9;
    wire_send(udp, &m);
    for (unsigned i = 0; i < NDP_MULTICAST_SOLICIT; i++, now += NDP_RETRANS_US)
        sent(false);
    burst();
    ck_assert(take(udp, MESSAGE_UNREACHABLE, &up));
    ck_assert(up.traffic_class == ICMP6_TYPE_UNREACHABLE && up.ttl == ICMP6_CODE_ADDRESS_UNREACHABLE);
    returned(udp, 99);
    all_home();
}
END_TEST

START_TEST(test_send_refused)
{
    static const struct {
        const char *name;
        size_t counter;
        uint8_t first, last;
        uint8_t gso_type;
    } rows[] = {
#define AT(name) offsetof(struct ip_counters, name)
        {"multicast", AT(drop_send_class), 0xff, 1, MESSAGE_GSO_NONE},
        {"unspecified", AT(drop_send_class), 0, 0, MESSAGE_GSO_NONE},
        {"no route", AT(drop_no_route), 0x20, 1, MESSAGE_GSO_NONE},
        {"TCP's segmentation", AT(drop_send_offload), 0xfd, 1, MESSAGE_GSO_TCP6},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const uint64_t *count = (const uint64_t *)(const void *)((const char *)&ip->counters + rows[i].counter);
        struct message m = datagram(&us6, &peer6, 100);
        m.destination.octets[0] = rows[i].first;
        m.destination.octets[1] = rows[i].first == 0 ? 0 : m.destination.octets[1];
        m.destination.octets[15] = rows[i].last;
        m.checksum_state = rows[i].gso_type != 0 ? MESSAGE_CHECKSUM_PARTIAL : MESSAGE_CHECKSUM_NONE;
        m.gso_type = rows[i].gso_type;
        m.gso_size = 1000;
        uint64_t before = *count;
        wire_send(udp, &m);
        burst();
        ck_assert_msg(*count == before + 1, "%s", rows[i].name);
        ck_assert(wire_take(udp, &m));
        if (m.operation == MESSAGE_UNREACHABLE)
            ck_assert(wire_take(udp, &m));
        ck_assert(m.operation == MESSAGE_RETURN && m.returned[0] == 99);
        nobody_says_anything();
    }
    all_home();
}
END_TEST

/* ---- own addresses ---- */

/* Another station claims our IPv6 address. */
static void claim(void)
{
    uint8_t bytes[32] = {NDP_TYPE_NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, NDP_FLAG_OVERRIDE};
    static const struct ip_address all = {.family = ADDRESS_IP6, .octets = {0xff, 2, [15] = 1}};
    struct ip6_header h = {.source = peer6,
                           .destination = all,
                           .payload_length = sizeof bytes,
                           .protocol = IP_PROTOCOL_ICMP6,
                           .hop_limit = 255};
    struct ether_header ether = {.destination = {{0x33, 0x33, 0, 0, 0, 1}}, .source = peer_mac, .type = ETHER_TYPE_IP6};
    memcpy(bytes + 8, us6.octets, 16);
    bytes[24] = NDP_OPTION_TARGET;
    bytes[25] = 1;
    memcpy(bytes + 26, peer_mac.octets, 6);
    be16 sum = icmp6_sum(&peer6, &all, bytes, sizeof bytes);
    memcpy(bytes + 2, &sum, 2);
    ether_build(&ether, frames);
    ip6_build(&h, frames + 14);
    memcpy(frames + 54, bytes, sizeof bytes);
    frame_send(0, 54 + sizeof bytes);
}

static void drain(void)
{
    struct message m;
    burst();
    while (wire_take(nic, &m))
        if (m.operation == MESSAGE_SEND)
            wire_return(nic, (uint32_t)m.cookie);
    burst();
}

START_TEST(test_conflict_is_told)
{
    claim();
    ck_assert_str_ne(noticed, "");
    ck_assert_ptr_nonnull(strstr(noticed, "fd77::2"));
    ck_assert_ptr_nonnull(strstr(noticed, "02:00:00:00:00:01"));
    ck_assert_uint_eq(ip->counters.conflicts, 1);
}
END_TEST

static void restart(enum stack_dad dad, uint32_t incarnation)
{
    teardown();
    config.dad = dad;
    context.incarnation = incarnation;
    start();
}

/* An address that is being probed is nobody's: what is sent from it is refused and told, what comes to it dropped. */
START_TEST(test_tentative)
{
    restart(STACK_DAD_ON, 1);
    drain();
    for (unsigned i = 0; i < 2; i++) {
        struct message m = i == 0 ? datagram(&us, &peer, 10) : datagram(&us6, &peer6, 10), up;
        wire_send(udp, &m);
        burst();
        ck_assert(take(udp, MESSAGE_UNREACHABLE, &up));
        ck_assert(up.source_port == 53);
        returned(udp, 99);
    }
    ck_assert_uint_eq(ip->counters.drop_tentative, 2);
    packet6_frame(9, IP_PROTOCOL_TCP, segment, sizeof segment);
    packet_frame(9, IP_PROTOCOL_TCP, segment, sizeof segment);
    struct message m;
    ck_assert(!wire_take(tcp, &m));
    for (unsigned i = 0; i < 20; i++, now += SECOND)
        drain(); /* probes, announcements */
    ck_assert(!ip->ip4_config.own[0].tentative && !ip->ip6_config.own[0].tentative);
    ck_assert_uint_gt(ip->arp.counters.probes_out, 0);
    ck_assert_uint_gt(ip->ndp.counters.probes_out, 0);
    packet6_frame(9, IP_PROTOCOL_TCP, segment, sizeof segment);
    ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
}
END_TEST

START_TEST(test_duplicate)
{
    restart(STACK_DAD_ON, 1);
    drain();
    claim();
    for (unsigned i = 0; i < 20; i++, now += SECOND)
        drain();
    ck_assert(ip->ip6_config.own[0].tentative && !ip->ip4_config.own[0].tentative);
    ck_assert_ptr_nonnull(strstr(noticed, "not used"));
    packet6_frame(9, IP_PROTOCOL_TCP, segment, sizeof segment);
    ck_assert_uint_eq(ip->counters.delivered_tcp, 0);
    struct message m = datagram(&us6, &us6, 10);
    wire_send(udp, &m);
    burst();
    ck_assert_uint_eq(ip->counters.drop_tentative, 1);
}
END_TEST

/* ... and an IPv4 address that another station answers for while we probe it. */
START_TEST(test_duplicate4)
{
    restart(STACK_DAD_ON, 1);
    drain();
    struct arp_wire w = {.hardware = be16_make(1),
                         .protocol = be16_make(ETHER_TYPE_IP4),
                         .hardware_length = 6,
                         .protocol_length = 4,
                         .operation = be16_make(ARP_OPERATION_REPLY)};
    struct ether_header ether = {.destination = config.mac, .source = peer_mac, .type = ETHER_TYPE_ARP};
    memcpy(w.sender_mac, peer_mac.octets, 6);
    memcpy(w.sender_ip4, us.octets, 4);
    ether_build(&ether, frames);
    memcpy(frames + 14, &w, sizeof w);
    frame_send(0, 60);
    for (unsigned i = 0; i < 20; i++, now += SECOND)
        drain();
    ck_assert(ip->ip4_config.own[0].tentative && !ip->ip6_config.own[0].tentative);
    ck_assert_ptr_nonnull(strstr(noticed, "10.77.0.2 is also claimed by 02:00:00:00:00:01: not used"));
}
END_TEST

START_TEST(test_restarted_never_probes)
{
    restart(STACK_DAD_ON, 2);
    ck_assert(!ip->ip4_config.own[0].tentative && !ip->ip6_config.own[0].tentative);
    for (unsigned i = 0; i < 20; i++, now += SECOND)
        drain();
    ck_assert_uint_eq(ip->arp.counters.probes_out + ip->ndp.counters.probes_out, 0);
}
END_TEST

/* ---- one family alone ---- */

START_TEST(test_one_family)
{
    for (unsigned family = 0; family < 2; family++) {
        teardown();
        config.address[0] = family == 0 ? us : us6;
        config.prefix_length[0] = family == 0 ? 24 : 64;
        config.address_count = 1;
        start();
        drain();
        for (unsigned f = 0; f < 2; f++) {
            struct message m = f == 0 ? datagram(&us, &us, 10) : datagram(&us6, &us6, 10);
            wire_send(udp, &m);
            burst();
            ck_assert(wire_take(udp, &m));
            ck_assert_int_eq(m.operation, f == family ? MESSAGE_RECEIVE : MESSAGE_RETURN);
        }
        packet_frame(9, IP_PROTOCOL_TCP, segment, sizeof segment);
        packet6_frame(10, IP_PROTOCOL_TCP, segment, sizeof segment);
        struct message m;
        ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
        ck_assert_uint_eq(m.cookie, family == 0 ? 9 : 10);
        ck_assert(!wire_take(tcp, &m));
    }
}
END_TEST

START_TEST(test_routes)
{
    teardown();
    config.gateway[1] = peer6;
    config.route[0] = (struct stack_route){
        .prefix = {.family = ADDRESS_IP4, .octets = {192, 0, 2}}, .prefix_length = 24, .gateway = peer};
    config.route_count = 1;
    start();
    drain();
    know_peer();
    static const struct ip_address far = {.family = ADDRESS_IP4, .octets = {192, 0, 2, 7}};
    static const struct ip_address far6 = {.family = ADDRESS_IP6, .octets = {0x20, 1, [15] = 7}};
    for (unsigned f = 0; f < 2; f++) {
        struct message m = f == 0 ? datagram(&us, &far, 10) : datagram(&us6, &far6, 10);
        wire_send(udp, &m);
        m = sent(false);
        ck_assert_mem_eq(bytes_of(&m), peer_mac.octets, 6);
        returned(udp, 99);
    }
    struct stack_config bad = config;
    bad.route[0].prefix.octets[3] = 1;
    struct server_context c = context;
    c.config = &bad;
    memset(ip, 0, server_ip.state_size(&bad));
    ck_assert_int_lt(server_ip.init(ip, &c, now), 0);
}
END_TEST

SUITE_RUN("ip6_server", setup, teardown, test_echo, test_deliver, test_extension_headers, test_next_header_unknown,
          test_errors_at_once, test_port_unreachable, test_resolution, test_send_refused, test_conflict_is_told,
          test_tentative, test_duplicate, test_duplicate4, test_restarted_never_probes, test_one_family, test_routes)
