// SPDX-License-Identifier: BSD-2-Clause
#include <check.h>
#include <stdlib.h>

#include "protocols/ip4/ip4.h"
#include "protocols/ip6/ip6.h"
#include "protocols/ip6/ip6_wire.h"

#define ADDRESS(...)                                                                                                   \
    {                                                                                                                  \
        .family = ADDRESS_IP6, .octets = { __VA_ARGS__ }                                                               \
    }

static const struct ip_address peer = ADDRESS(0xfd, 0x77, [15] = 1);
static const struct ip6_config config = {
    .own = {{.address = ADDRESS(0xfd, 0x77, [13] = 1, [15] = 2), .prefix_length = 64},
            {.address = ADDRESS(0xfe, 0x80, [13] = 1, [15] = 2), .prefix_length = 64},
            {.address = ADDRESS(0xfd, 0x77, [14] = 1, [15] = 3), .prefix_length = 64, .tentative = true}},
    .own_count = 3,
};

static struct ip6_counters counters;
static struct ip6_header header;
static struct ip6_problem problem;

static void setup(void)
{
    memset(&counters, 0, sizeof counters);
    memset(&header, 0, sizeof header);
}

static uint64_t drops(enum ip6_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case IP6_DROP_##name:                                                                                              \
        return counters.drop_##name;
        IP6_DROPS(X)
#undef X
    default:
        return counters.packets_in;
    }
}

/* A packet from the peer to us with `length` octets behind the fixed header. */
static size_t packet_make(uint8_t *bytes, uint8_t next, const void *behind, size_t length)
{
    struct ip6_header h = {.source = peer,
                           .destination = config.own[0].address,
                           .payload_length = (uint16_t)length,
                           .protocol = next,
                           .hop_limit = 64};
    ip6_build(&h, bytes);
    memcpy(bytes + IP6_HEADER_LENGTH, behind, length);
    return IP6_HEADER_LENGTH + length;
}

/* On a copy of exactly that size, so that a sanitizer sees a read behind it. */
static enum ip6_result parse_part(const uint8_t *bytes, size_t captured, size_t available, bool turned)
{
    uint8_t *copy = malloc(captured + (captured == 0));
    memcpy(copy, bytes, captured);
    enum ip6_result result = ip6_parse(&counters, &config, turned, copy, captured, available, &header, &problem);
    free(copy);
    return result;
}

static enum ip6_result parse(const uint8_t *bytes, size_t length)
{
    size_t captured = length < IP6_CAPTURE_MAX ? length : IP6_CAPTURE_MAX;
    return parse_part(bytes, captured, length, false);
}

/* ---- fixed header and addresses: one change of a good UDP packet of 48 octets ---- */
#define SOURCE      8
#define DESTINATION 24
static const struct {
    const char *name;
    size_t offset;
    const char *octets;
    size_t count;
    enum ip6_result wire, turned;
} rows[] = {
    {"good", 0, "", 0, IP6_OK, IP6_OK},
    {"hop limit zero", 7, "\0", 1, IP6_OK, IP6_OK},
    {"flow label", 1, "\x0f\xff\xff", 3, IP6_OK, IP6_OK},
    {"version 4", 0, "\x40", 1, IP6_DROP_version, IP6_DROP_version},
    {"payload beyond", 4, "\0\x09", 2, IP6_DROP_payload_length, IP6_DROP_payload_length},
    {"payload shorter", 4, "\0\x07", 2, IP6_OK, IP6_OK},
    {"source unspecified", SOURCE, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, IP6_DROP_source_unspecified, IP6_OK},
    {"source loopback", SOURCE, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, IP6_DROP_source_loopback, IP6_OK},
    {"source group", SOURCE, "\xff\2\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, IP6_DROP_source_multicast,
     IP6_DROP_source_multicast},
    {"source mapped", SOURCE, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x4d\0\1", 16, IP6_DROP_source_mapped,
     IP6_DROP_source_mapped},
    {"source is us", SOURCE, "\xfd\x77\0\0\0\0\0\0\0\0\0\0\0\1\0\2", 16, IP6_DROP_source_own, IP6_OK},
    {"source is our tentative", SOURCE, "\xfd\x77\0\0\0\0\0\0\0\0\0\0\0\0\1\3", 16, IP6_DROP_source_own, IP6_OK},
    {"to unspecified", DESTINATION, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, IP6_DROP_destination_unspecified,
     IP6_DROP_destination_unspecified},
    {"to loopback", DESTINATION, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, IP6_DROP_destination_loopback, IP6_OK},
    {"to mapped", DESTINATION, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x4d\0\2", 16, IP6_DROP_destination_mapped,
     IP6_DROP_destination_mapped},
    {"to our link-local", DESTINATION, "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\1\0\2", 16, IP6_OK, IP6_OK},
    {"to our tentative", DESTINATION, "\xfd\x77\0\0\0\0\0\0\0\0\0\0\0\0\1\3", 16, IP6_DROP_destination_tentative,
     IP6_DROP_destination_tentative},
    {"to another", DESTINATION, "\xfd\x77\0\0\0\0\0\0\0\0\0\0\0\0\0\7", 16, IP6_DROP_not_ours, IP6_DROP_not_ours},
    {"to all nodes", DESTINATION, "\xff\2\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, IP6_OK, IP6_OK},
    {"to all nodes of the interface", DESTINATION, "\xff\1\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16,
     IP6_DROP_destination_multicast, IP6_OK},
    {"to our solicited-node group", DESTINATION, "\xff\2\0\0\0\0\0\0\0\0\0\1\xff\1\0\2", 16, IP6_OK, IP6_OK},
    {"to our tentative's group", DESTINATION, "\xff\2\0\0\0\0\0\0\0\0\0\1\xff\0\1\3", 16, IP6_OK, IP6_OK},
    {"to another's group", DESTINATION, "\xff\2\0\0\0\0\0\0\0\0\0\1\xff\1\0\3", 16, IP6_DROP_destination_multicast,
     IP6_DROP_destination_multicast},
    {"to all routers", DESTINATION, "\xff\2\0\0\0\0\0\0\0\0\0\0\0\0\0\2", 16, IP6_DROP_destination_multicast,
     IP6_DROP_destination_multicast},
};

START_TEST(test_parse)
{
    uint8_t bytes[48];
    for (int turned = 0; turned < 2; turned++) {
        enum ip6_result result = turned ? rows[_i].turned : rows[_i].wire;
        setup();
        packet_make(bytes, IP_PROTOCOL_UDP, "\0\1\0\2\0\x08\0\0", 8);
        memcpy(bytes + rows[_i].offset, rows[_i].octets, rows[_i].count);
        ck_assert_msg(parse_part(bytes, 48, 48, turned) == result, "%s", rows[_i].name);
        ck_assert_uint_eq(drops(result), 1);
        ck_assert(!problem.called_for);
        ck_assert_uint_eq(header.protocol, result == IP6_OK ? IP_PROTOCOL_UDP : 0); /* untouched with a drop */
    }
}
END_TEST

START_TEST(test_short)
{
    uint8_t bytes[48];
    packet_make(bytes, IP_PROTOCOL_UDP, "\0\1\0\2\0\x08\0\0", 8);
    ck_assert_int_eq(parse_part(bytes, 39, 39, false), IP6_DROP_short);
    ck_assert_uint_eq(counters.drop_short, 1);
    ck_assert_int_eq(parse_part(bytes, 40, 60, false), IP6_OK); /* padding; the transport is not looked at */
    ck_assert_uint_eq(header.payload_length, 8);
    ck_assert_uint_eq(ip6_transport_length(&header), 8);
    ip6_count(&counters, IP6_DROP_protocol);
    ip6_count(&counters, IP6_DROP_fragment);
    ck_assert_uint_eq(counters.drop_protocol + counters.drop_fragment, 2);
}
END_TEST

/* Duplicate address detection: no source, or somebody else with our address, is for ICMPv6 alone. */
START_TEST(test_detection)
{
    uint8_t bytes[48];
    packet_make(bytes, IP_PROTOCOL_ICMP6, "\x88\0\0\0\0\0\0\0", 8);
    memcpy(bytes + SOURCE, config.own[2].address.octets, 16);
    ck_assert_int_eq(parse(bytes, 48), IP6_OK);
    ck_assert(header.source_own);
    memset(bytes + SOURCE, 0, 16);
    ck_assert_int_eq(parse(bytes, 48), IP6_OK);
    ck_assert(!header.source_own);
    packet_make(bytes, IP_PROTOCOL_FRAGMENT, "\x3a\0\0\x08\0\0\0\1", 8); /* not even ICMPv6 in pieces */
    memset(bytes + SOURCE, 0, 16);
    bytes[5] = 16;
    ck_assert_int_eq(parse_part(bytes, 48, 56, false), IP6_DROP_source_unspecified);
}
END_TEST

/* ---- the chain: what is behind the fixed header of a packet to us ---- */
#define DATA8       "\0\1\0\2\0\x08\0\0"
#define PAD8        "\1\4\0\0\0\0"
#define BYTES(text) text, sizeof text - 1
static const struct {
    const char *name;
    uint8_t next;
    const char *octets;
    size_t count;
    enum ip6_result result;
    int code; /* of a parameter problem; -1: none */
    uint32_t pointer;
    bool to_group;
} chains[] = {
    {"hop-by-hop", 0, BYTES("\x11\0" PAD8 DATA8), IP6_OK, -1, 0, false},
    {"router alert", 0, BYTES("\x11\0\5\2\0\0\1\0" DATA8), IP6_OK, -1, 0, false},
    {"all padding of one", 0, BYTES("\x11\0\0\0\0\0\0\0" DATA8), IP6_OK, -1, 0, false},
    {"destination options", 60, BYTES("\x11\0" PAD8 DATA8), IP6_OK, -1, 0, false},
    {"both, and routing without segments", 0,
     BYTES("\x2b\0" PAD8 "\x3c\0\0\0\0\0\0\0"
           "\x11\0" PAD8 DATA8),
     IP6_OK, -1, 0, false},
    {"hop-by-hop second", 60, BYTES("\0\0" PAD8 "\x11\0" PAD8 DATA8), IP6_DROP_hop_by_hop, 1, 40, false},
    {"truncated", 60, BYTES("\x11\0\1"), IP6_DROP_extension_truncated, -1, 0, false},
    {"nothing where a header should be", 60, BYTES(""), IP6_DROP_extension_truncated, -1, 0, false},
    {"longer than the packet", 60, BYTES("\x11\2" PAD8 DATA8), IP6_DROP_extension_truncated, -1, 0, false},
    {"nine headers", 60,
     BYTES("\x3c\0" PAD8 "\x3c\0" PAD8 "\x3c\0" PAD8 "\x3c\0" PAD8 "\x3c\0" PAD8 "\x3c\0" PAD8 "\x3c\0" PAD8
           "\x3c\0" PAD8 "\x11\0" PAD8 DATA8),
     IP6_DROP_extension_limit, -1, 0, false},
    {"eight headers", 60,
     BYTES("\x3c\0" PAD8 "\x3c\0" PAD8 "\x3c\0" PAD8 "\x3c\0" PAD8 "\x3c\0" PAD8 "\x3c\0" PAD8 "\x3c\0" PAD8
           "\x11\0" PAD8 DATA8),
     IP6_OK, -1, 0, false},
    {"option past the header", 60, BYTES("\x11\0\1\5\0\0\0\0" DATA8), IP6_DROP_option_length, 0, 43, false},
    {"option without a length", 60, BYTES("\x11\0\1\3\0\0\0\x1e" DATA8), IP6_DROP_option_length, 0, 47, false},
    {"option to skip", 60, BYTES("\x11\0\x1e\4\0\0\0\0" DATA8), IP6_OK, -1, 0, false},
    {"option to discard", 60, BYTES("\x11\0\x5e\4\0\0\0\0" DATA8), IP6_DROP_option_discard, -1, 0, false},
    {"option to tell", 60, BYTES("\x11\0\1\0\x9e\2\0\0" DATA8), IP6_DROP_option_unknown, 2, 44, false},
    {"option to tell a group", 0, BYTES("\x11\0\x9e\4\0\0\0\0" DATA8), IP6_DROP_option_unknown, 2, 42, true},
    {"option to tell, no group", 0, BYTES("\x11\0\xc2\4\0\0\0\0" DATA8), IP6_DROP_option_unknown, 2, 42, false},
    {"option not to tell a group", 0, BYTES("\x11\0\xc2\4\0\0\0\0" DATA8), IP6_DROP_option_unknown, -1, 0, true},
    {"nine options", 60, BYTES("\x11\2\x1e\0\x1e\0\x1e\0\x1e\0\x1e\0\x1e\0\x1e\0\x1e\0\x1e\0\1\2\0\0" DATA8),
     IP6_DROP_option_limit, -1, 0, false},
    {"eight options", 60, BYTES("\x11\2\x1e\0\x1e\0\x1e\0\x1e\0\x1e\0\x1e\0\x1e\0\x1e\0\1\4\0\0\0\0" DATA8), IP6_OK, -1,
     0, false},
    {"routing type 0", 43, BYTES("\x11\0\0\1\0\0\0\0" DATA8), IP6_DROP_routing, 0, 42, false},
    {"routing of unknown type", 43, BYTES("\x11\0\x63\1\0\0\0\0" DATA8), IP6_DROP_routing, 0, 42, false},
    {"no next header", 59, BYTES(DATA8), IP6_DROP_no_next_header, -1, 0, false},
    {"no next header behind one", 60, BYTES("\x3b\0" PAD8), IP6_DROP_no_next_header, -1, 0, false},
    {"first fragment", 44, BYTES("\x11\0\0\1\0\0\0\7" DATA8), IP6_OK, -1, 0, false},
    {"later fragment", 44, BYTES("\x11\0\0\x09\0\0\0\7" DATA8), IP6_OK, -1, 0, false},
    {"last fragment, odd", 44, BYTES("\x11\0\0\x08\0\0\0\7\1\2\3"), IP6_OK, -1, 0, false},
    {"fragment of odd length", 44, BYTES("\x11\0\0\x09\0\0\0\7\1\2\3"), IP6_DROP_fragment_length, 0, 4, false},
    {"empty fragment", 44, BYTES("\x11\0\0\x08\0\0\0\7"), IP6_DROP_fragment_length, 0, 4, false},
    {"fragment past the end", 44, BYTES("\x11\0\xff\xf8\0\0\0\7" DATA8), IP6_DROP_fragment_overflow, 0, 42, false},
    {"fragment header cut off", 44, BYTES("\x11\0\0\1\0\0\0"), IP6_DROP_extension_truncated, -1, 0, false},
    {"fragment in a fragment", 44, BYTES("\x2c\0\0\1\0\0\0\7\x11\0\0\1\0\0\0\7" DATA8), IP6_DROP_fragment_repeated, -1,
     0, false},
    {"fragment in an atomic one", 44, BYTES("\x2c\0\0\0\0\0\0\7\x11\0\0\0\0\0\0\7" DATA8), IP6_DROP_fragment_repeated,
     -1, 0, false},
    {"chain cut by the fragment", 44, BYTES("\x3c\0\0\1\0\0\0\7\x11\1" PAD8), IP6_DROP_fragment_chain, 3, 0, false},
    {"chain ends with the fragment", 44, BYTES("\x3c\0\0\1\0\0\0\7\x11\0" PAD8), IP6_DROP_fragment_chain, 3, 0, false},
    {"chain within the fragment", 44, BYTES("\x3c\0\0\1\0\0\0\7\x11\0\x9e\4\0\0\0\0" DATA8), IP6_OK, -1, 0, false},
};

START_TEST(test_chain)
{
    uint8_t bytes[400];
    size_t length = packet_make(bytes, chains[_i].next, chains[_i].octets, chains[_i].count);
    if (chains[_i].to_group)
        memcpy(bytes + DESTINATION, ip6_all_nodes().octets, 16);
    ck_assert_msg(parse(bytes, length) == chains[_i].result, "%s", chains[_i].name);
    ck_assert_uint_eq(drops(chains[_i].result), 1);
    ck_assert_msg(problem.called_for == (chains[_i].code >= 0), "%s", chains[_i].name);
    if (chains[_i].code >= 0) {
        ck_assert_int_eq(problem.code, chains[_i].code);
        ck_assert_msg(problem.pointer == chains[_i].pointer, "%s: %u", chains[_i].name, problem.pointer);
        ck_assert(ip_address_equal(&header.source, &peer)); /* whom to tell */
    }
    if (chains[_i].result == IP6_OK && !header.is_fragment) {
        ck_assert_uint_eq(header.protocol, IP_PROTOCOL_UDP);
        ck_assert_uint_eq(ip6_transport_length(&header), 8);
        ck_assert_mem_eq(bytes + header.transport_offset, DATA8, 8);
        ck_assert_uint_eq(bytes[header.protocol_at], IP_PROTOCOL_UDP);
    }
}
END_TEST

START_TEST(test_chain_beyond_the_copy)
{
    uint8_t bytes[600] = {0}, behind[560] = {IP_PROTOCOL_UDP, 31, 1, 252}; /* 256 octets, one option fills them */
    size_t length = packet_make(bytes, 60, behind, sizeof behind);
    ck_assert_int_eq(parse(bytes, length), IP6_OK);
    behind[3] = 253;
    length = packet_make(bytes, 60, behind, sizeof behind);
    ck_assert_int_eq(parse(bytes, length), IP6_DROP_option_length);
    behind[1] = 32;
    length = packet_make(bytes, 60, behind, sizeof behind);
    ck_assert_int_eq(parse(bytes, length), IP6_DROP_extension_limit);
    ck_assert_int_eq(parse_part(bytes, length, length, false), IP6_DROP_extension_limit); /* whatever is captured */
}
END_TEST

START_TEST(test_fragments_are_told)
{
    uint8_t bytes[100];
    size_t length = packet_make(bytes, 0, BYTES("\x2c\0" PAD8 "\x11\0\0\x11\1\2\3\4" DATA8 DATA8));
    ck_assert_int_eq(parse(bytes, length), IP6_OK);
    ck_assert(header.is_fragment && header.fragment_header);
    ck_assert_uint_eq(header.fragment.offset, 16);
    ck_assert(header.fragment.more);
    ck_assert_uint_eq(header.fragment.identification, 0x01020304);
    ck_assert_uint_eq(header.fragment.unfragmentable_length, 48);
    ck_assert_uint_eq(header.fragment.data_offset, 56);
    ck_assert_uint_eq(header.fragment.next_header, 17);
    ck_assert_uint_eq(header.fragment.next_header_at, 40);
    ck_assert_uint_eq(counters.fragments_in, 1);
    ck_assert_uint_eq(counters.extensions_in, 1);

    length = packet_make(bytes, 44, BYTES("\x11\0\0\0\1\2\3\4" DATA8)); /* RFC 6946: a packet like any other */
    ck_assert_int_eq(parse(bytes, length), IP6_OK);
    ck_assert(!header.is_fragment && header.fragment_header);
    ck_assert_uint_eq(header.transport_offset, 48);
    ck_assert_uint_eq(counters.atomic_fragments_in, 1);
}
END_TEST

/* What we build we can read, and a reassembled packet is its first fragment's unfragmentable part, patched. */
START_TEST(test_build)
{
    struct ip6_header h = {.source = peer,
                           .destination = config.own[0].address,
                           .flow_label = 0x12345,
                           .payload_length = 24,
                           .protocol = IP_PROTOCOL_FRAGMENT,
                           .hop_limit = 9,
                           .dscp = 46,
                           .ecn = 3};
    struct ip6_fragment f = {.identification = 0xdeadbeef, .offset = 1232, .more = true, .next_header = 6};
    uint8_t bytes[64] = {0};
    ip6_build(&h, bytes);
    ip6_fragment_build(&f, bytes + 40);
    ck_assert_mem_eq(bytes, "\x6b\xb1\x23\x45\0\x18\x2c\x09", 8);
    ck_assert_int_eq(parse(bytes, 64), IP6_OK);
    ck_assert_uint_eq(header.flow_label, 0x12345);
    ck_assert_uint_eq(header.dscp, 46);
    ck_assert_uint_eq(header.ecn, 3);
    ck_assert_uint_eq(header.hop_limit, 9);
    ck_assert_uint_eq(header.fragment.offset, 1232);
    ck_assert(header.fragment.more);
    ck_assert_uint_eq(header.fragment.identification, 0xdeadbeef);

    memmove(bytes + 40, bytes + 48, 16);
    bytes[header.fragment.next_header_at] = header.fragment.next_header;
    bytes[5] = 16;
    ck_assert_int_eq(parse(bytes, 56), IP6_OK);
    ck_assert_uint_eq(header.protocol, IP_PROTOCOL_TCP);
    ck_assert_uint_eq(header.transport_offset, 40);
}
END_TEST

static const struct {
    const char *name;
    uint8_t next;
    const char *octets;
    size_t count;
    int protocol; /* -1: not found */
    size_t offset;
} finds[] = {
    {"plain", 17, BYTES(DATA8), 17, 40},
    {"cut off at the fixed header", 17, BYTES(""), -1, 0},
    {"behind two", 0, BYTES("\x3c\0" PAD8 "\x06\0" PAD8 DATA8), 6, 56},
    {"first fragment", 44, BYTES("\x3a\0\0\1\0\0\0\7" DATA8), 58, 48},
    {"later fragment", 44, BYTES("\x3a\0\0\x09\0\0\0\7" DATA8), -1, 0},
    {"fragment in a fragment", 44, BYTES("\x2c\0\0\1\0\0\0\7\x3a\0\0\1\0\0\0\7" DATA8), -1, 0},
    {"cut off in a header", 60, BYTES("\x06\4" PAD8 DATA8), -1, 0},
    {"cut off in the fragment header", 44, BYTES("\x06\0\0\0"), -1, 0},
    {"nothing follows", 59, BYTES(""), 59, 40},
};

START_TEST(test_find)
{
    uint8_t bytes[100], protocol;
    size_t offset;
    size_t length = packet_make(bytes, finds[_i].next, finds[_i].octets, finds[_i].count);
    bool found = ip6_transport_find(bytes, length, &protocol, &offset);
    ck_assert_msg(found == (finds[_i].protocol >= 0), "%s", finds[_i].name);
    if (found) {
        ck_assert_int_eq(protocol, finds[_i].protocol);
        ck_assert_uint_eq(offset, finds[_i].offset);
    }
    ck_assert(!ip6_transport_find(bytes, 39, &protocol, &offset));
}
END_TEST

/* ---- addresses ---- */
START_TEST(test_addresses)
{
    static const struct mac_address station = {{2, 0x11, 0x22, 0x33, 0x44, 0x55}};
    struct ip_address a = ip6_link_local_of(&station);
    ck_assert_mem_eq(a.octets, "\xfe\x80\0\0\0\0\0\0\0\x11\x22\xff\xfe\x33\x44\x55", 16);
    ck_assert(ip6_is_link_local(&a) && !ip6_is_link_local(&peer));
    struct ip_address group = ip6_solicited_node(&a);
    ck_assert_mem_eq(group.octets, "\xff\2\0\0\0\0\0\0\0\0\0\1\xff\x33\x44\x55", 16);
    ck_assert(ip6_is_multicast(&group) && !ip6_is_multicast(&a));
    struct mac_address mac = ip6_multicast_mac(&group);
    ck_assert_mem_eq(mac.octets, "\x33\x33\xff\x33\x44\x55", 6);
    ck_assert(ip6_prefix_match(&peer, &config.own[0].address, 109)); /* the first difference is in bit 110 */
    ck_assert(!ip6_prefix_match(&peer, &config.own[0].address, 112));
    ck_assert(ip6_prefix_match(&peer, &peer, 255));
}
END_TEST

START_TEST(test_source)
{
    struct ip_address global = ADDRESS(0x20, 0x01, [15] = 1), neighbour = ADDRESS(0xfe, 0x80, [15] = 9);
    struct ip_address one = ADDRESS([15] = 1), all = ip6_all_nodes();
    ck_assert_ptr_eq(ip6_source_select(&config, &config.own[1].address), &config.own[1].address);
    ck_assert_ptr_eq(ip6_source_select(&config, &peer), &config.own[0].address);
    ck_assert_ptr_eq(ip6_source_select(&config, &global), &config.own[0].address);
    ck_assert_ptr_eq(ip6_source_select(&config, &neighbour), &config.own[1].address);
    ck_assert_ptr_eq(ip6_source_select(&config, &all), &config.own[1].address);
    ck_assert(ip_address_equal(ip6_source_select(&config, &one), &one));
    struct ip6_config more = config; /* the longest common prefix, and nothing tentative */
    more.own[1].address = (struct ip_address)ADDRESS(0x20, [15] = 2);
    ck_assert_ptr_eq(ip6_source_select(&more, &global), &more.own[1].address);
    more.own[1].tentative = true;
    ck_assert_ptr_eq(ip6_source_select(&more, &global), &more.own[0].address);
    more.own[0].tentative = true;
    ck_assert_ptr_null(ip6_source_select(&more, &global));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ip6");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_loop_test(c, test_parse, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, test_short);
    tcase_add_test(c, test_detection);
    tcase_add_loop_test(c, test_chain, 0, (int)(sizeof chains / sizeof chains[0]));
    tcase_add_test(c, test_chain_beyond_the_copy);
    tcase_add_test(c, test_fragments_are_told);
    tcase_add_test(c, test_build);
    tcase_add_loop_test(c, test_find, 0, (int)(sizeof finds / sizeof finds[0]));
    tcase_add_test(c, test_addresses);
    tcase_add_test(c, test_source);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
