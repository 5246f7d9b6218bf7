// SPDX-License-Identifier: BSD-2-Clause
#include <stdlib.h>

#include "protocols/base/checksum.h"
#include "protocols/icmp/icmp6_wire.h"
#include "protocols/ndp/ndp.h"
#include "protocols/ndp/ndp_wire.h"
#include "tests/unit/suite.h"

#define SECOND 1000000ULL
#define ADDRESS(...)                                                                                                   \
    {                                                                                                                  \
        .family = ADDRESS_IP6, .octets = { __VA_ARGS__ }                                                               \
    }

static const struct mac_address own_mac = {{2, 0, 0, 0, 0, 2}}, peer_mac = {{2, 0, 0, 0, 0, 1}},
                                other_mac = {{2, 0, 0, 0, 0, 9}};
static const struct ip_address us = ADDRESS(0xfd, 0x77, [15] = 2), peer = ADDRESS(0xfd, 0x77, [15] = 1),
                               link_local = ADDRESS(0xfe, 0x80, [15] = 2), none = ADDRESS(0);
static const uint8_t advertised = NDP_FLAG_SOLICITED | NDP_FLAG_OVERRIDE;

static struct ndp_config config;
static struct ndp engine;
static uint64_t now;
static struct ndp_output out;
static struct ip_address resolved;

static void start(enum dad_mode dad, bool restarted)
{
    config = (struct ndp_config){.mac = own_mac, .dad = dad, .restarted = restarted, .own_count = 2};
    config.own[0] = (struct ip_own_address){.address = us, .prefix_length = 64};
    config.own[1] = (struct ip_own_address){.address = link_local, .prefix_length = 64};
    now = SECOND;
    ndp_init(&engine, &config, now);
}

static void setup(void)
{
    struct own_event event;
    start(DAD_ON, true);
    for (int i = 0; i < 2; i++) {
        ck_assert(ndp_event(&engine, &event));
        ck_assert_int_eq(event.state, OWN_PREFERRED);
    }
    ck_assert(!ndp_event(&engine, &event));
}

/* ---- what arrives ---- */
struct arriving { /* a solicitation or advertisement with one option */
    struct ip6_header ip6;
    struct mac_address station;
    size_t length;
    uint8_t bytes[40];
};

static struct arriving arriving_make(uint8_t type, const struct ip_address *source,
                                     const struct ip_address *destination, const struct ip_address *target,
                                     const struct mac_address *station, uint8_t flags)
{
    struct arriving a = {.ip6 = {.source = *source, .destination = *destination, .hop_limit = 255},
                         .station = *station};
    struct ndp_wire w = {.type = type, .flags = flags};
    struct ndp_option_wire o = {.type = type == NDP_TYPE_NEIGHBOUR_SOLICITATION ? 1 : 2, .length = 1};
    memcpy(w.target, target->octets, 16);
    memcpy(o.mac, station->octets, 6);
    memcpy(a.bytes, &w, sizeof w);
    memcpy(a.bytes + sizeof w, &o, sizeof o);
    a.length = sizeof w + sizeof o;
    return a;
}

static struct arriving solicitation(const struct ip_address *source, const struct mac_address *station)
{
    struct ip_address group = ip6_solicited_node(&us);
    struct arriving a = arriving_make(NDP_TYPE_NEIGHBOUR_SOLICITATION, source, &group, &us, station, 0);
    if (ip_address_is_any(source))
        a.length = sizeof(struct ndp_wire);
    return a;
}

static struct arriving advertisement(const struct mac_address *station, uint8_t flags)
{
    return arriving_make(NDP_TYPE_NEIGHBOUR_ADVERTISEMENT, &peer, &us, &peer, station, flags);
}

static enum ndp_input_result input(const struct arriving *a)
{
    uint8_t *copy = malloc(a->length + (a->length == 0));
    memcpy(copy, a->bytes, a->length);
    enum ndp_input_result result = ndp_input(&engine, now, &a->ip6, &a->station, copy, a->length, &resolved);
    free(copy);
    return result;
}

static enum ndp_input_result answer(uint8_t flags)
{
    struct arriving a = advertisement(&peer_mac, flags);
    return input(&a);
}

static uint64_t drops(enum ndp_input_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case NDP_DROP_##name:                                                                                              \
        return engine.counters.drop_##name;
        NDP_DROPS(X)
#undef X
    default:
        return 1;
    }
}

/* ---- what leaves ---- */
static void expect_silence(void)
{
    ck_assert(!ndp_poll(&engine, now, &out));
    ck_assert_uint_gt(ndp_deadline_us(&engine), now);
}

static bool is_sealed(size_t offset)
{
    uint32_t length = out.length - (uint32_t)offset;
    uint64_t sum = checksum_pseudo_header(&out.ip6.source, &out.ip6.destination, IP_PROTOCOL_ICMP6, length);
    return be16_get(checksum_finish(checksum_add(sum, out.message + offset, length))) == 0;
}

/* The message is of this type, about `target`, sealed, and goes where its destination is. */
static struct ndp_wire expect(uint8_t type, const struct ip_address *source, const struct ip_address *destination,
                              const struct ip_address *target, const struct mac_address *station)
{
    struct ndp_wire w;
    struct mac_address group = ip6_multicast_mac(destination);
    ck_assert_uint_le(ndp_deadline_us(&engine), now);
    ck_assert(ndp_poll(&engine, now, &out));
    memcpy(&w, out.message, sizeof w);
    ck_assert_uint_eq(w.type, type);
    ck_assert_uint_eq(out.ip6.hop_limit, 255);
    ck_assert_uint_eq(out.ip6.protocol, IP_PROTOCOL_ICMP6);
    ck_assert_uint_eq(out.ip6.payload_length, out.length);
    ck_assert(ip_address_equal(&out.ip6.source, source));
    ck_assert(ip_address_equal(&out.ip6.destination, destination));
    ck_assert_mem_eq(w.target, target->octets, 16);
    ck_assert(mac_address_equal(&out.destination, station != NULL ? station : &group));
    ck_assert(is_sealed(0));
    return w;
}

static void expect_option(uint8_t type)
{
    if (type == 0) {
        ck_assert_uint_eq(out.length, sizeof(struct ndp_wire));
        return;
    }
    ck_assert_uint_eq(out.length, 32);
    ck_assert_uint_eq(out.message[24], type);
    ck_assert_uint_eq(out.message[25], 1);
    ck_assert_mem_eq(out.message + 26, own_mac.octets, 6);
}

static void expect_question(void)
{
    struct ip_address group = ip6_solicited_node(&peer);
    expect(NDP_TYPE_NEIGHBOUR_SOLICITATION, &us, &group, &peer, NULL);
    expect_option(NDP_OPTION_SOURCE);
}

static void expect_unicast_question(void)
{
    expect(NDP_TYPE_NEIGHBOUR_SOLICITATION, &us, &peer, &peer, &peer_mac);
    expect_option(NDP_OPTION_SOURCE);
}

static void expect_advertisement(const struct ip_address *destination, const struct mac_address *station, uint8_t flags)
{
    struct ndp_wire w = expect(NDP_TYPE_NEIGHBOUR_ADVERTISEMENT, &us, destination, &us, station);
    ck_assert_uint_eq(w.flags, flags);
    expect_option(NDP_OPTION_TARGET);
}

static void expect_event(const struct ip_address *address, enum own_state state, bool conflict)
{
    struct own_event event;
    ck_assert(ndp_event(&engine, &event));
    ck_assert(ip_address_equal(&event.address, address));
    ck_assert_int_eq(event.state, state);
    ck_assert_int_eq(event.conflict, conflict);
    if (conflict)
        ck_assert(mac_address_equal(&event.station, &other_mac));
}

static void expect_no_event(void)
{
    struct own_event event;
    ck_assert(!ndp_event(&engine, &event));
}

static enum ndp_lookup_result lookup(struct mac_address *mac)
{
    return ndp_lookup(&engine, now, &peer, mac);
}

/* ---- malformed messages: one change of a good solicitation, or advertisement ---- */
#define LENGTH_OFFSET 25
static const struct {
    const char *name;
    size_t offset;
    const char *octets;
    size_t count;
    size_t length; /* 0: unchanged */
    enum ndp_input_result solicitation, advertisement;
} rows[] = {
    {"good", 0, "", 0, 0, NDP_INPUT_RESOLVED, NDP_DROP_not_asked},
    {"without an option", 0, "", 0, 24, NDP_INPUT_DONE, NDP_DROP_not_asked},
    {"seven octets", 0, "", 0, 7, NDP_DROP_short, NDP_DROP_short},
    {"short", 0, "", 0, 23, NDP_DROP_short, NDP_DROP_short},
    {"code", 1, "\1", 1, 0, NDP_DROP_code, NDP_DROP_code},
    {"target group", 8, "\xff\2", 2, 0, NDP_DROP_target, NDP_DROP_target},
    {"target zero", 8, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, 0, NDP_DROP_target, NDP_DROP_target},
    {"target loopback", 8, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, 0, NDP_DROP_target, NDP_DROP_target},
    {"target another", 23, "\7", 1, 0, NDP_DROP_not_ours, NDP_DROP_not_asked},
    {"option of no length", LENGTH_OFFSET, "\0", 1, 0, NDP_DROP_option_length, NDP_DROP_option_length},
    {"option past the end", LENGTH_OFFSET, "\2", 1, 0, NDP_DROP_option_length, NDP_DROP_option_length},
    {"option cut off", 0, "", 0, 31, NDP_DROP_option_length, NDP_DROP_option_length},
    {"option of two units", LENGTH_OFFSET, "\2", 1, 40, NDP_DROP_link_layer, NDP_DROP_link_layer},
    {"unknown option", 24, "\x0e", 1, 0, NDP_INPUT_DONE, NDP_DROP_not_asked},
    {"group as station", 26, "\3", 1, 0, NDP_DROP_link_layer, NDP_DROP_link_layer},
    {"zero as station", 26, "\0\0\0\0\0\0", 6, 0, NDP_DROP_link_layer, NDP_DROP_link_layer},
    {"our station", 26, "\2\0\0\0\0\2", 6, 0, NDP_DROP_own, NDP_DROP_own},
    {"router solicitation", 0, "\x85", 1, 0, NDP_DROP_router, NDP_DROP_router},
    {"router advertisement", 0, "\x86", 1, 0, NDP_DROP_router, NDP_DROP_router},
    {"redirect", 0, "\x89", 1, 0, NDP_DROP_redirect, NDP_DROP_redirect},
    {"not ours to take", 0, "\x80", 1, 0, NDP_DROP_type, NDP_DROP_type},
};

static void send_malformed(size_t row, bool solicits)
{
    struct arriving a = solicits ? solicitation(&peer, &peer_mac) : advertisement(&peer_mac, advertised);
    enum ndp_input_result result = solicits ? rows[row].solicitation : rows[row].advertisement;
    setup();
    memcpy(a.bytes + rows[row].offset, rows[row].octets, rows[row].count);
    if (rows[row].length != 0)
        a.length = rows[row].length;
    ck_assert_msg(input(&a) == result && drops(result) == 1, "%s %d", rows[row].name, solicits);
}

START_TEST(test_too_many_addresses)
{
    start(DAD_OFF, false);
    for (unsigned i = 0; i < IP_OWN_MAX; i++) {
        config.own[i] = (struct ip_own_address){.address = us, .prefix_length = 64};
        config.own[i].address.octets[14] = (uint8_t)i;
    }
    config.own_count = 1000;
    ndp_init(&engine, &config, now);
    struct own_event event;
    for (unsigned i = 0; i < IP_OWN_MAX; i++)
        ck_assert(ndp_event(&engine, &event));
    ck_assert(!ndp_event(&engine, &event));
}
END_TEST

START_TEST(test_malformed)
{
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        send_malformed(row, true);
        send_malformed(row, false);
    }
}
END_TEST

START_TEST(test_not_from_the_link)
{
    struct arriving a = solicitation(&peer, &peer_mac);
    a.ip6.hop_limit = 254;
    ck_assert_int_eq(input(&a), NDP_DROP_hop_limit);
    a = solicitation(&peer, &peer_mac);
    a.ip6.fragment_header = true; /* RFC 6980 */
    ck_assert_int_eq(input(&a), NDP_DROP_fragmented);
    static const uint8_t much[NDP_CAPTURE_MAX + 8] = {NDP_TYPE_NEIGHBOUR_SOLICITATION};
    a.ip6.fragment_header = false;
    ck_assert_int_eq(ndp_input(&engine, now, &a.ip6, &peer_mac, much, sizeof much, &resolved), NDP_DROP_long);
    a = solicitation(&peer, &own_mac);
    a.length = 24;
    ck_assert_int_eq(input(&a), NDP_DROP_own); /* our own frame come back */
    a = solicitation(&us, &peer_mac);
    a.ip6.source_own = true;
    ck_assert_int_eq(input(&a), NDP_DROP_source);
    a = advertisement(&peer_mac, advertised);
    a.ip6.source_own = true;
    ck_assert_int_eq(input(&a), NDP_DROP_source);
    ck_assert_uint_eq(engine.counters.drop_source, 2);
    expect_silence();
}
END_TEST

START_TEST(test_rules_of_source_and_destination)
{
    struct arriving a = solicitation(&none, &peer_mac);
    a.length = 32; /* with the option */
    ck_assert_int_eq(input(&a), NDP_DROP_option_source);
    a = solicitation(&none, &peer_mac);
    a.ip6.destination = us;
    ck_assert_int_eq(input(&a), NDP_DROP_destination);
    a = advertisement(&peer_mac, advertised);
    a.ip6.destination = ip6_all_nodes();
    ck_assert_int_eq(input(&a), NDP_DROP_solicited_multicast);
    a = advertisement(&peer_mac, NDP_FLAG_OVERRIDE);
    a.ip6.source = none;
    ck_assert_int_eq(input(&a), NDP_DROP_source);
    ck_assert_uint_eq(engine.counters.drop_option_source, 1);
    ck_assert_uint_eq(engine.counters.drop_destination, 1);
    ck_assert_uint_eq(engine.counters.drop_solicited_multicast, 1);
}
END_TEST

/* ---- neighbours: RFC 4861 7.3.2 ---- */
START_TEST(test_resolves)
{
    struct mac_address mac;
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_RESOLVING);
    expect_question();
    expect_silence();
    ck_assert_int_eq(answer(advertised), NDP_INPUT_RESOLVED);
    ck_assert(ip_address_equal(&resolved, &peer));
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    ck_assert(mac_address_equal(&mac, &peer_mac));
    now += NDP_REACHABLE_US - 1;
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    expect_silence();
    ck_assert_uint_eq(engine.counters.resolved, 1);
}
END_TEST

START_TEST(test_fails_then_asks_again)
{
    struct mac_address mac;
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_RESOLVING);
        for (unsigned i = 0; i < NDP_MULTICAST_SOLICIT; i++, now++) {
            expect_question();
            now += NDP_RETRANS_US - 1;
            expect_silence();
        }
        expect_silence();
        ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FAILED);
        now += NDP_FAILED_US - 1;
        ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FAILED);
        now++;
    }
    ck_assert_uint_eq(engine.counters.failed, 2);
    expect_silence();
    struct arriving a = advertisement(&peer_mac, advertised); /* forgotten */
    ck_assert_int_eq(input(&a), NDP_DROP_not_asked);
}
END_TEST

START_TEST(test_stale_is_used_and_probed)
{
    struct mac_address mac;
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_RESOLVING);
    expect_question();
    ck_assert_int_eq(answer(advertised), NDP_INPUT_RESOLVED);
    now += NDP_REACHABLE_US;
    expect_silence();
    now += 3600 * SECOND;
    expect_silence(); /* not in use: nobody is asked */
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    now += NDP_DELAY_US - 1;
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    expect_silence();
    now++;
    expect_unicast_question();
    ck_assert_int_eq(answer(advertised), NDP_INPUT_RESOLVED);
    now += NDP_REACHABLE_US - 1;
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    expect_silence();
}
END_TEST

START_TEST(test_silent_neighbour_is_forgotten)
{
    struct mac_address mac;
    struct arriving a = solicitation(&peer, &peer_mac);
    ck_assert_int_eq(input(&a), NDP_INPUT_RESOLVED);
    expect_advertisement(&peer, &peer_mac, advertised);
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND); /* STALE */
    now += NDP_DELAY_US;
    for (unsigned i = 0; i < NDP_UNICAST_SOLICIT; i++, now += NDP_RETRANS_US) {
        expect_unicast_question();
        ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    }
    expect_silence();
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_RESOLVING); /* everybody is asked: the station may be another */
    expect_question();
}
END_TEST

START_TEST(test_confirmation_saves_the_probe)
{
    struct mac_address mac;
    struct arriving a = solicitation(&peer, &peer_mac);
    ndp_confirm(&engine, now, &peer); /* a stranger: nothing */
    ck_assert_int_eq(input(&a), NDP_INPUT_RESOLVED);
    expect_advertisement(&peer, &peer_mac, advertised);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
        expect_silence();
        ndp_confirm(&engine, now, &peer);
        now += NDP_REACHABLE_US;
    }
}
END_TEST

/* RFC 4861 7.2.5 */
START_TEST(test_advertisements)
{
    struct mac_address mac;
    struct arriving a = advertisement(&peer_mac, advertised);
    a.length = 24;
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_RESOLVING);
    expect_question();
    ck_assert_int_eq(input(&a), NDP_DROP_no_address);
    ck_assert_uint_eq(engine.counters.drop_no_address, 1);
    ck_assert_int_eq(answer(0), NDP_INPUT_RESOLVED); /* unsolicited: STALE */
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    expect_silence();
    ck_assert_uint_eq(ndp_deadline_us(&engine), now + NDP_DELAY_US);
    ck_assert_int_eq(answer(advertised), NDP_INPUT_RESOLVED); /* REACHABLE */

    a = advertisement(&other_mac, NDP_FLAG_SOLICITED);
    ck_assert_int_eq(input(&a), NDP_DROP_not_override);
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND); /* the same station, but no longer trusted: DELAY */
    ck_assert(mac_address_equal(&mac, &peer_mac));
    now += NDP_DELAY_US;
    expect_unicast_question();

    a = advertisement(&other_mac, NDP_FLAG_OVERRIDE); /* moved: STALE with the new station */
    ck_assert_int_eq(input(&a), NDP_INPUT_RESOLVED);
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    ck_assert(mac_address_equal(&mac, &other_mac));
    a.length = 24;
    a.bytes[4] = NDP_FLAG_SOLICITED; /* without an address: still there */
    ck_assert_int_eq(input(&a), NDP_INPUT_RESOLVED);
    now += NDP_REACHABLE_US - 1;
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    expect_silence();
}
END_TEST

START_TEST(test_solicitation_resolves_what_waits)
{
    struct mac_address mac;
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_RESOLVING);
    expect_question();
    struct arriving a = solicitation(&peer, &peer_mac);
    ck_assert_int_eq(input(&a), NDP_INPUT_RESOLVED);
    ck_assert(ip_address_equal(&resolved, &peer));
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    expect_advertisement(&peer, &peer_mac, advertised);
    a = solicitation(&peer, &other_mac); /* another station: STALE with it */
    ck_assert_int_eq(input(&a), NDP_INPUT_RESOLVED);
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    ck_assert(mac_address_equal(&mac, &other_mac));
}
END_TEST

START_TEST(test_answer_without_an_address_goes_back)
{
    struct arriving a = solicitation(&peer, &peer_mac);
    a.length = 24;
    ck_assert_int_eq(input(&a), NDP_INPUT_DONE);
    expect_advertisement(&peer, &peer_mac, advertised);
    a = solicitation(&none, &peer_mac); /* another host's probe for what is ours */
    ck_assert_int_eq(input(&a), NDP_INPUT_DONE);
    struct ip_address everybody = ip6_all_nodes();
    expect_advertisement(&everybody, NULL, NDP_FLAG_OVERRIDE);
    expect_silence();
    expect_no_event();
}
END_TEST

START_TEST(test_reply_queue_is_bounded)
{
    struct arriving a = solicitation(&peer, &peer_mac);
    for (unsigned i = 0; i < NDP_REPLIES; i++)
        ck_assert_int_eq(input(&a), NDP_INPUT_RESOLVED);
    ck_assert_int_eq(input(&a), NDP_DROP_reply_queue);
    ck_assert_uint_eq(engine.counters.drop_reply_queue, 1);
    for (unsigned i = 0; i < NDP_REPLIES; i++)
        expect_advertisement(&peer, &peer_mac, advertised);
    expect_silence();
}
END_TEST

static struct ip_address nth(uint32_t n)
{
    return (struct ip_address)ADDRESS(0xfd, 0x77, 1, [14] = (uint8_t)(n >> 8), (uint8_t)n);
}

static enum ndp_input_result hear_from(const struct ip_address *source)
{
    struct arriving a = solicitation(source, &peer_mac);
    enum ndp_input_result result = input(&a);
    ck_assert(ndp_poll(&engine, now, &out));
    return result;
}

START_TEST(test_strangers_do_not_evict_the_used)
{
    struct mac_address mac;
    ck_assert_int_eq(hear_from(&peer), NDP_INPUT_RESOLVED);
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    for (uint32_t i = 0; i < 3000; i++, now += 10) {
        struct ip_address a = nth(i);
        ck_assert_int_eq(hear_from(&a), NDP_INPUT_RESOLVED);
    }
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    expect_silence();
    ck_assert_uint_eq(engine.counters.evicted, 3001 - NDP_ENTRIES);
}
END_TEST

/* Whoever makes us ask for many who are not there, an echo from each of a whole prefix, loses us no known neighbour. */
START_TEST(test_the_absent_do_not_evict_the_known)
{
    struct mac_address mac;
    ck_assert_int_eq(hear_from(&peer), NDP_INPUT_RESOLVED);
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
    for (uint32_t i = 0; i < 3000; i++, now += 10) {
        struct ip_address a = nth(i);
        ck_assert_int_eq(ndp_lookup(&engine, now, &a, &mac), NDP_LOOKUP_RESOLVING);
    }
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FOUND);
}
END_TEST

START_TEST(test_full_table_reuses_the_oldest_used)
{
    struct mac_address mac;
    for (uint32_t i = 0; i < NDP_ENTRIES; i++, now++) {
        struct ip_address a = nth(i);
        ck_assert_int_eq(hear_from(&a), NDP_INPUT_RESOLVED);
        ck_assert_int_eq(ndp_lookup(&engine, now, &a, &mac), NDP_LOOKUP_FOUND);
    }
    ck_assert_int_eq(hear_from(&peer), NDP_DROP_table_full);
    struct ip_address first = nth(0), second = nth(1);
    ck_assert_int_eq(ndp_lookup(&engine, now++, &first, &mac), NDP_LOOKUP_FOUND);
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_RESOLVING); /* takes the place of nth(1) */
    ck_assert_int_eq(ndp_lookup(&engine, ++now, &first, &mac), NDP_LOOKUP_FOUND);
    ck_assert_int_eq(ndp_lookup(&engine, ++now, &second, &mac), NDP_LOOKUP_RESOLVING);
}
END_TEST

START_TEST(test_lookup_of_others)
{
    struct mac_address mac;
    struct ip_address four = {.family = ADDRESS_IP4}, group = ip6_all_nodes();
    ck_assert_int_eq(ndp_lookup(&engine, now, &four, &mac), NDP_LOOKUP_FAILED);
    ck_assert_int_eq(ndp_lookup(&engine, now, &group, &mac), NDP_LOOKUP_FOUND);
    ck_assert_mem_eq(mac.octets, "\x33\x33\0\0\0\1", 6);
    struct ip_address near = ADDRESS(0xfe, 0x80, [15] = 1), near_group = ip6_solicited_node(&near);
    ck_assert_int_eq(ndp_lookup(&engine, now, &near, &mac), NDP_LOOKUP_RESOLVING);
    expect(NDP_TYPE_NEIGHBOUR_SOLICITATION, &link_local, &near_group, &near, NULL);
}
END_TEST

/* ---- own addresses ---- */
static void expect_report(const struct ip_address *address, const struct ip_address *source, uint8_t record)
{
    struct ndp_report_wire w;
    ck_assert(ndp_poll(&engine, now, &out));
    ck_assert_uint_eq(out.ip6.protocol, IP_PROTOCOL_HOP_BY_HOP);
    ck_assert_uint_eq(out.ip6.hop_limit, 1);
    ck_assert_uint_eq(out.length, sizeof w);
    memcpy(&w, out.message, sizeof w);
    ck_assert_uint_eq(w.type, ICMP6_TYPE_LISTENER_REPORT2);
    ck_assert_uint_eq(w.record_type, record);
    struct ip_address group = ip6_solicited_node(address);
    ck_assert_mem_eq(w.group, group.octets, 16);
    ck_assert(ip_address_equal(&out.ip6.source, source));
    ck_assert_mem_eq(out.destination.octets, "\x33\x33\0\0\0\x16", 6);
    ck_assert(is_sealed(8));

    uint8_t packet[100]; /* what we send we could read, were we in the group */
    struct ip6_config there = {.own_count = 0};
    struct ip6_counters counters = {0};
    struct ip6_problem problem;
    struct ip6_header header = out.ip6;
    header.destination = ip6_all_nodes();
    ip6_build(&header, packet);
    memcpy(packet + 40, out.message, out.length);
    ck_assert_int_eq(ip6_parse(&counters, &there, false, packet, 40 + out.length, 40 + out.length, &header, &problem),
                     IP6_OK);
    ck_assert_uint_eq(header.transport_offset, 48);
}

static void expect_probe(const struct ip_address *address)
{
    struct ip_address group = ip6_solicited_node(address);
    expect(NDP_TYPE_NEIGHBOUR_SOLICITATION, &none, &group, address, NULL);
    expect_option(0);
}

static void only_us(enum dad_mode dad)
{
    start(dad, false);
    config.own_count = 1;
    ndp_init(&engine, &config, now);
}

START_TEST(test_probes_before_use)
{
    struct mac_address mac;
    only_us(DAD_ON);
    expect_no_event();
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_RESOLVING); /* nobody to ask as */
    now = SECOND + NDP_DAD_DELAY_MAX_US;
    expect_report(&us, &none, NDP_RECORD_CHANGE_TO_EXCLUDE);
    expect_probe(&us);
    struct arriving a = solicitation(&peer, &peer_mac);
    ck_assert_int_eq(input(&a), NDP_DROP_tentative);
    ck_assert_uint_eq(engine.counters.drop_tentative, 1);
    expect_silence();
    now += NDP_RETRANS_US - 1;
    expect_silence();
    now++;
    expect_report(&us, &none, NDP_RECORD_CHANGE_TO_EXCLUDE);
    struct ip_address everybody = ip6_all_nodes();
    expect_advertisement(&everybody, NULL, NDP_FLAG_OVERRIDE);
    expect_question(); /* what waited */
    expect_event(&us, OWN_PREFERRED, false);
    expect_no_event();
    expect_silence();
    ck_assert_uint_eq(engine.counters.probes_out, 1);
    ck_assert_uint_eq(engine.counters.reports_out, 2);
}
END_TEST

/* RFC 4862 5.4.3, 5.4.4: by another's probe, or its answer to ours */
START_TEST(test_duplicate)
{
    for (int how = 0; how < 2; how++) {
        struct mac_address mac;
        only_us(DAD_ON);
        now = SECOND + NDP_DAD_DELAY_MAX_US;
        expect_report(&us, &none, NDP_RECORD_CHANGE_TO_EXCLUDE);
        expect_probe(&us);
        struct ip_address everybody = ip6_all_nodes();
        struct arriving a = how == 0 ? solicitation(&none, &other_mac)
                                     : arriving_make(NDP_TYPE_NEIGHBOUR_ADVERTISEMENT, &us, &everybody, &us, &other_mac,
                                                     NDP_FLAG_OVERRIDE);
        a.ip6.source_own = how == 1;
        ck_assert_int_eq(input(&a), NDP_DROP_conflict);
        expect_event(&us, OWN_DUPLICATE, true);
        ck_assert_int_eq(input(&a), how == 0 ? NDP_DROP_tentative : NDP_DROP_conflict);
        expect_no_event(); /* told once */
        now += 3600 * SECOND;
        expect_silence();
        ndp_announce(&engine);
        expect_silence();
        ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_FAILED);
        ck_assert_uint_eq(engine.counters.duplicates, 1);
    }
}
END_TEST

/* RFC 4429: in use at once, but nobody's cache is overridden */
START_TEST(test_optimistic)
{
    struct mac_address mac;
    struct ip_address everybody = ip6_all_nodes(), group = ip6_solicited_node(&peer);
    only_us(DAD_OPTIMISTIC);
    expect_event(&us, OWN_OPTIMISTIC, false);
    expect_report(&us, &none, NDP_RECORD_CHANGE_TO_EXCLUDE);
    expect_probe(&us);
    expect_advertisement(&everybody, NULL, 0);
    ck_assert_int_eq(lookup(&mac), NDP_LOOKUP_RESOLVING);
    expect(NDP_TYPE_NEIGHBOUR_SOLICITATION, &us, &group, &peer, NULL);
    expect_option(0);
    struct arriving a = solicitation(&peer, &peer_mac);
    ck_assert_int_eq(input(&a), NDP_INPUT_RESOLVED);
    expect_advertisement(&peer, &peer_mac, NDP_FLAG_SOLICITED);
    a = solicitation(&none, &other_mac);
    ck_assert_int_eq(input(&a), NDP_INPUT_DONE);
    expect_advertisement(&everybody, NULL, 0);
    now += NDP_RETRANS_US;
    expect_report(&us, &none, NDP_RECORD_CHANGE_TO_EXCLUDE);
    expect_advertisement(&everybody, NULL, NDP_FLAG_OVERRIDE);
    expect_event(&us, OWN_PREFERRED, false);
    expect_silence();

    only_us(DAD_OPTIMISTIC); /* and given up when somebody has it */
    a = arriving_make(NDP_TYPE_NEIGHBOUR_ADVERTISEMENT, &us, &everybody, &us, &other_mac, NDP_FLAG_OVERRIDE);
    expect_event(&us, OWN_OPTIMISTIC, false);
    ck_assert_int_eq(input(&a), NDP_DROP_conflict);
    expect_event(&us, OWN_DUPLICATE, true);
    expect_silence();
}
END_TEST

START_TEST(test_off_and_restarted)
{
    only_us(DAD_OFF);
    expect_event(&us, OWN_PREFERRED, false);
    expect_report(&us, &none, NDP_RECORD_CHANGE_TO_EXCLUDE);
    expect_silence();
    struct ip_address everybody = ip6_all_nodes();
    struct arriving a =
        arriving_make(NDP_TYPE_NEIGHBOUR_ADVERTISEMENT, &us, &everybody, &us, &other_mac, NDP_FLAG_OVERRIDE);
    ck_assert_int_eq(input(&a), NDP_DROP_conflict);
    expect_event(&us, OWN_PREFERRED, true); /* told, not defended */
    expect_silence();

    for (int dad = DAD_ON; dad <= DAD_OFF; dad++) {
        start((enum dad_mode)dad, true);
        expect_event(&us, OWN_PREFERRED, false);
        expect_event(&link_local, OWN_PREFERRED, false);
        expect_silence();
        ck_assert_uint_eq(ndp_deadline_us(&engine), UINT64_MAX);
    }
}
END_TEST

START_TEST(test_conflict_is_defended_now_and_then)
{
    struct ip_address everybody = ip6_all_nodes();
    struct arriving a =
        arriving_make(NDP_TYPE_NEIGHBOUR_ADVERTISEMENT, &us, &everybody, &us, &other_mac, NDP_FLAG_OVERRIDE);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(input(&a), NDP_DROP_conflict);
        expect_advertisement(&everybody, NULL, NDP_FLAG_OVERRIDE);
        expect_event(&us, OWN_PREFERRED, true);
        now += NDP_DEFEND_US - 1;
        ck_assert_int_eq(input(&a), NDP_DROP_conflict);
        expect_silence();
        expect_no_event();
        now++;
    }
    ck_assert_uint_eq(engine.counters.drop_conflict, 6);
}
END_TEST

START_TEST(test_announces)
{
    struct ip_address everybody = ip6_all_nodes();
    config.own_count = 1;
    ndp_init(&engine, &config, now);
    ndp_announce(&engine);
    for (unsigned i = 0; i < NDP_ADVERTISEMENTS; i++, now++) {
        expect_advertisement(&everybody, NULL, NDP_FLAG_OVERRIDE);
        now += NDP_RETRANS_US - 1;
        expect_silence();
    }
    expect_silence();
}
END_TEST

static enum ndp_input_result ask_listeners(const struct ip_address *source, const struct ip_address *group,
                                           uint16_t delay_ms, uint8_t hop_limit, size_t length)
{
    struct ndp_query_wire q = {.type = ICMP6_TYPE_LISTENER_QUERY, .response_delay = be16_make(delay_ms)};
    struct ip6_header h = {.source = *source, .destination = ip6_all_nodes(), .hop_limit = hop_limit};
    memcpy(q.group, group->octets, 16);
    return ndp_input(&engine, now, &h, &peer_mac, (const uint8_t *)&q, length, &resolved);
}

START_TEST(test_listener_queries)
{
    struct ip_address router = ADDRESS(0xfe, 0x80, [15] = 1), group = ip6_solicited_node(&us);
    struct ip_address other = ip6_solicited_node(&peer);
    ck_assert_int_eq(ask_listeners(&router, &none, 1000, 1, 24), NDP_INPUT_DONE);
    now += SECOND;
    expect_report(&us, &link_local, NDP_RECORD_IS_EXCLUDE);
    expect_report(&link_local, &link_local, NDP_RECORD_IS_EXCLUDE);
    expect_silence();
    ck_assert_int_eq(ask_listeners(&router, &group, 0, 1, 24), NDP_INPUT_DONE);
    expect_report(&us, &link_local, NDP_RECORD_IS_EXCLUDE);
    expect_report(&link_local, &link_local, NDP_RECORD_IS_EXCLUDE); /* the two have one group */
    expect_silence();
    ck_assert_uint_eq(engine.counters.queries_in, 2);
    ck_assert_int_eq(ask_listeners(&router, &other, 0, 1, 24), NDP_DROP_query);
    ck_assert_int_eq(ask_listeners(&peer, &none, 0, 1, 24), NDP_DROP_query);
    ck_assert_int_eq(ask_listeners(&router, &none, 0, 255, 24), NDP_DROP_query);
    ck_assert_int_eq(ask_listeners(&router, &none, 0, 1, 23), NDP_DROP_short);
    ck_assert_uint_eq(engine.counters.drop_query, 3);
    expect_silence();
    ck_assert_int_eq(ask_listeners(&router, &none, 0xffff, 1, 24), NDP_INPUT_DONE); /* 2 hours and 20 minutes at most */
    now += 8388 * SECOND;
    expect_report(&us, &link_local, NDP_RECORD_IS_EXCLUDE);
}
END_TEST

SUITE_RUN("ndp", setup, NULL, test_malformed, test_not_from_the_link, test_rules_of_source_and_destination,
          test_resolves, test_fails_then_asks_again, test_stale_is_used_and_probed, test_silent_neighbour_is_forgotten,
          test_confirmation_saves_the_probe, test_advertisements, test_solicitation_resolves_what_waits,
          test_answer_without_an_address_goes_back, test_reply_queue_is_bounded, test_strangers_do_not_evict_the_used,
          test_the_absent_do_not_evict_the_known, test_full_table_reuses_the_oldest_used, test_lookup_of_others,
          test_too_many_addresses, test_probes_before_use, test_duplicate, test_optimistic, test_off_and_restarted,
          test_conflict_is_defended_now_and_then, test_announces, test_listener_queries)
