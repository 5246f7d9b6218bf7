// SPDX-License-Identifier: BSD-2-Clause
/* The ip server: what RFC 1122 and its like ask for and no other test shows. tests/conformance/rfc says where the
 * others are. */
#include "tests/unit/ip_harness.h"

static const struct mac_address all = {{255, 255, 255, 255, 255, 255}}, group_mac = {{0x33, 0x33, 0, 0, 0, 1}};
static const struct ip_address directed = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 255}};
static const struct ip_address limited = {.family = ADDRESS_IP4, .octets = {255, 255, 255, 255}};
static const struct ip_address all_nodes = {.family = ADDRESS_IP6, .octets = {0xff, 2, [15] = 1}};

/* A packet of peer's in a frame to `station`. Its length goes to *ret_length. */
static uint8_t *put(uint32_t cookie, const struct mac_address *station, const struct ip_address *destination,
                    uint8_t protocol, uint32_t octets, uint32_t *ret_length)
{
    bool six = destination->family == ADDRESS_IP6;
    uint8_t *frame = frames + cookie * 2048, *packet = frame + ETHER_HEADER_LENGTH;
    struct ether_header ether = {
        .destination = *station, .source = peer_mac, .type = six ? ETHER_TYPE_IP6 : ETHER_TYPE_IP4};
    struct ip4_header h = {.source = peer,
                           .destination = *destination,
                           .total_length = (uint16_t)(20 + octets),
                           .protocol = protocol,
                           .ttl = 63,
                           .dscp = 46};
    struct ip6_header h6 = {.source = peer6,
                            .destination = *destination,
                            .payload_length = (uint16_t)octets,
                            .protocol = protocol,
                            .hop_limit = 63,
                            .dscp = 46};
    ether_build(&ether, frame);
    if (six)
        ip6_build(&h6, packet);
    else
        ip4_build(&h, packet);
    uint32_t head = six ? 40 : 20;
    memcpy(packet + head, segment, octets < sizeof segment ? octets : sizeof segment);
    *ret_length = ETHER_HEADER_LENGTH + head + octets;
    return packet;
}

static void arrives(const struct mac_address *station, const struct ip_address *destination, uint8_t protocol)
{
    uint32_t length;
    put(2, station, destination, protocol, sizeof segment, &length);
    frame_send(2, length);
}

/* RFC 1122 3.3.6, RFC 9293 3.9.2.3 (MUST-57): what a frame to all brings is for all, and never TCP. */
static const struct {
    const char *name;
    const struct mac_address *station;
    const struct ip_address *destination;
    uint8_t protocol;
    bool taken;
} groups[] = {
    {"UDP to us in a broadcast", &all, &us, IP_PROTOCOL_UDP, false},
    {"TCP to us in a broadcast", &all, &us, IP_PROTOCOL_TCP, false},
    {"UDP to the network", &all, &directed, IP_PROTOCOL_UDP, true},
    {"UDP to all", &all, &limited, IP_PROTOCOL_UDP, true},
    {"TCP to the network", &all, &directed, IP_PROTOCOL_TCP, false},
    {"TCP to all", &all, &limited, IP_PROTOCOL_TCP, false},
    {"TCP to the network, in a frame to us", &config.mac, &directed, IP_PROTOCOL_TCP, false},
    {"UDP to us6 in a group's frame", &group_mac, &us6, IP_PROTOCOL_UDP, false},
    {"TCP to us6 in a group's frame", &group_mac, &us6, IP_PROTOCOL_TCP, false},
    {"UDP to all nodes", &group_mac, &all_nodes, IP_PROTOCOL_UDP, true},
    {"TCP to all nodes", &group_mac, &all_nodes, IP_PROTOCOL_TCP, false},
};

START_TEST(test_group_frames)
{
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        struct message m;
        uint64_t before = ip->counters.drop_group;
        arrives(groups[i].station, groups[i].destination, groups[i].protocol);
        ck_assert_msg(wire_take(udp, &m) == groups[i].taken, "%s", groups[i].name);
        ck_assert_msg(ip->counters.drop_group - before == !groups[i].taken, "%s", groups[i].name);
        if (groups[i].taken)
            wire_return(udp, (uint32_t)m.cookie);
        burst();
        returned(nic, 2);
        nobody_says_anything();
    }
    all_home();
}
END_TEST

/* RFC 1122 3.2.1.6, 3.2.1.7; RFC 8200 3: what transport asks for is what goes out; a TTL of zero never does. */
START_TEST(test_traffic_class_and_ttl)
{
    static const struct {
        uint8_t ttl, class, out;
    } rows[] = {{0, 0, 64}, {1, 0, 1}, {255, 0xff, 255}, {9, 0xb8, 9}, {0, 3, 64}};
    know_peer();
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        bool six = i % 2;
        struct message m = datagram(six ? &us6 : &us, six ? &peer6 : &peer, 10);
        m.ttl = rows[i / 2].ttl;
        m.traffic_class = rows[i / 2].class;
        wire_send(udp, &m);
        m = sent(false);
        const uint8_t *packet = bytes_of(&m) + 14;
        ck_assert_uint_eq(packet[six ? 7 : 8], rows[i / 2].out);
        ck_assert(six || (packet[6] & 0x80) == 0); /* RFC 791 3.1: reserved, zero */
        ck_assert(!six || ((packet[1] & 15) == 0 && packet[2] == 0 && packet[3] == 0)); /* RFC 6437 3: no flow label */
        ck_assert_uint_eq(six ? (uint8_t)(packet[0] << 4 | packet[1] >> 4) : packet[1], rows[i / 2].class);
        returned(udp, 99);
    }
    all_home();
}
END_TEST

/* RFC 1122 3.3.6: to all, at once; nobody is asked for a station. */
START_TEST(test_broadcast_out)
{
    const struct ip_address *to[] = {&directed, &limited};
    for (unsigned i = 0; i < 2; i++) {
        struct message m = datagram(&us, to[i], 10);
        wire_send(udp, &m);
        m = sent(false);
        ck_assert_mem_eq(bytes_of(&m), all.octets, 6);
        ck_assert_mem_eq(bytes_of(&m) + 30, to[i]->octets, 4);
        returned(udp, 99);
        nobody_says_anything();
    }
    all_home();
}
END_TEST

/* RFC 1122 3.2.2.5: what is wrong with an option is told, and where; 3.2.2: without the class of what it is about. */
START_TEST(test_parameter_problem)
{
    uint32_t length;
    know_peer();
    uint8_t *packet = put(2, &config.mac, &us, IP_PROTOCOL_UDP, 40, &length);
    packet[0] = 0x46; /* of the 40 octets the first four are options */
    memcpy(packet + 20, "\1\x1e\x04\0", 4);
    be16 none = be16_make(0);
    memcpy(packet + 10, &none, 2);
    be16 sum = checksum_finish(checksum_add(0, packet, 24));
    memcpy(packet + 10, &sum, 2);
    frame_send(2, length);
    struct message m = sent(false);
    const uint8_t *error = bytes_of(&m) + 14;
    ck_assert_uint_eq(error[1], 0); /* RFC 1122 3.2.2: SHOULD */
    ck_assert_uint_eq(error[20], ICMP_TYPE_PARAMETER_PROBLEM);
    ck_assert_uint_eq(error[24], 21);
    ck_assert_mem_eq(error + 28, packet, 24 + 8);
    returned(nic, 2);
    all_home();
}
END_TEST

START_TEST(test_errors_have_no_class)
{
    static const struct ip_address *const to[] = {&us, &us6};
    know_peer();
    for (unsigned six = 0; six < 2; six++) {
        arrives(&config.mac, to[six], 200); /* nobody's protocol */
        struct message m = sent(false);
        const uint8_t *packet = bytes_of(&m) + 14;
        ck_assert_uint_eq(six ? (uint8_t)(packet[0] << 4 | packet[1] >> 4) : packet[1], 0);
        ck_assert_uint_gt(packet[six ? 7 : 8], 1);
        returned(nic, 2);
    }
    all_home();
}
END_TEST

/* RFC 7739 5.3, RFC 8200 4.5: identifications to one destination go up by one, from where nobody without the secret can
 * tell. */
static uint32_t identification_sent(void)
{
    struct message m = datagram(&us6, &peer6, 3000);
    be32 id = {0};
    wire_send(udp, &m);
    for (burst(); wire_take(nic, &m); burst()) {
        memcpy(&id, bytes_of(&m) + 14 + 40 + 4, sizeof id);
        wire_return(nic, (uint32_t)m.cookie);
    }
    returned(udp, 99);
    return be32_get(id);
}

START_TEST(test_identifications)
{
    uint32_t first[3];
    for (unsigned i = 0; i < 3; i++) {
        teardown();
        setup();
        teardown();
        config.secret[i] ^= 0x10;
        start();
        struct message m;
        for (unsigned k = 0; k < 10; k++, now += 5 * SECOND)
            for (burst(); wire_take(nic, &m);)
                wire_return(nic, (uint32_t)m.cookie);
        burst();
        know_peer();
        first[i] = identification_sent();
        for (uint32_t k = 1; k < 5; k++)
            ck_assert_uint_eq(identification_sent(), first[i] + k);
    }
    ck_assert(first[0] - first[1] + 8 > 16 && first[1] - first[2] + 8 > 16 && first[0] - first[2] + 8 > 16);
}
END_TEST

SUITE_RUN("ip_musts", setup, teardown, test_group_frames, test_traffic_class_and_ttl, test_broadcast_out,
          test_parameter_problem, test_errors_have_no_class, test_identifications)
