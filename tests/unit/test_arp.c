// SPDX-License-Identifier: BSD-2-Clause
#include <check.h>
#include <stdlib.h>

#include "protocols/arp/arp.h"
#include "protocols/arp/arp_wire.h"

#define SECOND 1000000U

static const struct arp_config config = {
    .mac = {{2, 0, 0, 0, 0, 2}},
    .own = {{.address = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}}, .prefix_length = 24}},
    .own_count = 1,
    .restarted = true, /* ours at once; the probing has tests of its own */
};
#define OURS config.own[0].address
static const struct mac_address peer_mac = {{2, 0, 0, 0, 0, 1}};
static const struct mac_address broadcast = {{255, 255, 255, 255, 255, 255}};
static const struct ip_address peer = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}};

static struct arp engine;
static uint64_t now;

static void setup(void)
{
    arp_init(&engine, &config, SECOND);
    now = SECOND;
}

static struct arp_wire packet(uint16_t operation, const struct ip_address *sender, const struct mac_address *mac,
                              const struct ip_address *target)
{
    struct arp_wire w = {.hardware = be16_make(1),
                         .protocol = be16_make(0x0800),
                         .hardware_length = 6,
                         .protocol_length = 4,
                         .operation = be16_make(operation)};
    memcpy(w.sender_ip4, sender->octets, 4);
    memcpy(w.sender_mac, mac->octets, 6);
    memcpy(w.target_ip4, target->octets, 4);
    return w;
}

static enum arp_input_result input(const struct arp_wire *w)
{
    struct ip_address resolved;
    return arp_input(&engine, now, (const uint8_t *)w, sizeof *w, &resolved);
}

static struct arp_wire expect(const struct mac_address *destination, uint16_t operation)
{
    struct arp_output out;
    struct arp_wire w;
    ck_assert_uint_le(arp_deadline_us(&engine), now);
    ck_assert(arp_poll(&engine, now, &out));
    ck_assert(mac_address_equal(&out.destination, destination));
    memcpy(&w, out.packet, sizeof w);
    ck_assert_uint_eq(be16_get(w.operation), operation);
    ck_assert_mem_eq(w.sender_mac, config.mac.octets, 6);
    ck_assert_mem_eq(w.sender_ip4, OURS.octets, 4);
    return w;
}

static void expect_silence(void)
{
    struct arp_output out;
    ck_assert(!arp_poll(&engine, now, &out));
    ck_assert_uint_gt(arp_deadline_us(&engine), now);
}

static void answer(void)
{
    struct arp_wire w = packet(ARP_OPERATION_REPLY, &peer, &peer_mac, &OURS);
    ck_assert_int_eq(input(&w), ARP_INPUT_RESOLVED);
}

static enum arp_lookup_result lookup(struct mac_address *mac)
{
    return arp_lookup(&engine, now, &peer, mac);
}

/* ---- malformed fields ---- */
static const struct {
    const char *name;
    size_t offset;
    const char *octets;
    size_t count;
    enum arp_input_result result;
} rows[] = {
    {"hardware type", 0, "\0\6", 2, ARP_DROP_hardware},
    {"protocol type", 2, "\x86\xdd", 2, ARP_DROP_protocol},
    {"hardware length", 4, "\5", 1, ARP_DROP_lengths},
    {"protocol length", 5, "\x10", 1, ARP_DROP_lengths},
    {"operation zero", 6, "\0\0", 2, ARP_DROP_operation},
    {"operation reverse", 6, "\0\3", 2, ARP_DROP_operation},
    {"sender is a group", 8, "\3\0\0\0\0\1", 6, ARP_DROP_sender_mac},
    {"sender is zero", 8, "\0\0\0\0\0\0", 6, ARP_DROP_sender_mac},
    {"sender is us", 8, "\2\0\0\0\0\2", 6, ARP_DROP_own},
    {"sender multicast address", 14, "\xe0\0\0\1", 4, ARP_DROP_sender_ip4},
    {"sender broadcast address", 14, "\xff\xff\xff\xff", 4, ARP_DROP_sender_ip4},
    {"sender loopback address", 14, "\x7f\0\0\1", 4, ARP_DROP_sender_ip4},
    {"sender has our address", 14, "\x0a\x4d\0\2", 4, ARP_DROP_conflict},
    {"target is another", 24, "\x0a\x4d\0\7", 4, ARP_DROP_not_ours},
};

static uint64_t drops(const struct arp_counters *c, enum arp_input_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case ARP_DROP_##name:                                                                                              \
        return c->drop_##name;
        ARP_DROPS(X)
#undef X
    default:
        return 0;
    }
}

START_TEST(test_malformed)
{
    struct arp_wire w = packet(ARP_OPERATION_REPLY, &peer, &peer_mac, &OURS);
    memcpy((uint8_t *)&w + rows[_i].offset, rows[_i].octets, rows[_i].count);
    ck_assert_msg(input(&w) == rows[_i].result, "%s", rows[_i].name);
    ck_assert_uint_eq(drops(&engine.counters, rows[_i].result), 1);
}
END_TEST

START_TEST(test_short)
{
    struct arp_wire w = packet(ARP_OPERATION_REPLY, &peer, &peer_mac, &OURS);
    struct ip_address resolved;
    ck_assert_int_eq(arp_input(&engine, now, (uint8_t *)&w, 27, &resolved), ARP_DROP_short);
    ck_assert_uint_eq(engine.counters.drop_short, 1);
}
END_TEST

/* ---- behaviour ---- */
START_TEST(test_resolves)
{
    struct mac_address mac;
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_RESOLVING);
    struct arp_wire w = expect(&broadcast, ARP_OPERATION_REQUEST);
    ck_assert_mem_eq(w.target_ip4, peer.octets, 4);
    expect_silence();
    answer();
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FOUND);
    ck_assert(mac_address_equal(&mac, &peer_mac));
    ck_assert_uint_eq(engine.counters.resolved, 1);
}
END_TEST

START_TEST(test_fails_then_asks_again)
{
    struct mac_address mac;
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_RESOLVING);
        for (unsigned i = 0; i < ARP_TRIES; i++) {
            expect(&broadcast, ARP_OPERATION_REQUEST);
            now += ARP_RETRY_US - 1;
            expect_silence();
            now += 1;
        }
        expect_silence();
        ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FAILED);
        now += ARP_FAILED_US - 1;
        ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FAILED);
        now += 1;
    }
    ck_assert_uint_eq(engine.counters.failed, 2);
}
END_TEST

START_TEST(test_stale_is_used_and_asked_by_unicast)
{
    struct mac_address mac;
    answer();
    now += 1;
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FOUND);
    expect_silence();
    now += ARP_REACHABLE_US;
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FOUND);
    expect(&peer_mac, ARP_OPERATION_REQUEST);
    expect_silence();
    answer();
    now += ARP_REACHABLE_US - 1;
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FOUND);
    expect_silence();
}
END_TEST

START_TEST(test_unused_is_not_asked)
{
    answer();
    now += ARP_REACHABLE_US;
    expect_silence();
    now += 3600ULL * SECOND;
    expect_silence();
    struct mac_address mac;
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FOUND);
    expect(&peer_mac, ARP_OPERATION_REQUEST);
}
END_TEST

START_TEST(test_silent_neighbour_is_given_up)
{
    struct mac_address mac;
    answer();
    now += ARP_REACHABLE_US;
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FOUND);
    for (unsigned i = 0; i < ARP_TRIES; i++, now += ARP_RETRY_US)
        expect(&peer_mac, ARP_OPERATION_REQUEST);
    for (unsigned i = 0; i < ARP_TRIES; i++, now += ARP_RETRY_US) {
        expect(&broadcast, ARP_OPERATION_REQUEST);
        ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_RESOLVING);
    }
    expect_silence();
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FAILED);
}
END_TEST

START_TEST(test_replies)
{
    struct arp_wire w = packet(ARP_OPERATION_REQUEST, &peer, &peer_mac, &OURS);
    ck_assert_int_eq(input(&w), ARP_INPUT_RESOLVED);
    struct arp_wire reply = expect(&peer_mac, ARP_OPERATION_REPLY);
    ck_assert_mem_eq(reply.target_ip4, peer.octets, 4);
    ck_assert_mem_eq(reply.target_mac, peer_mac.octets, 6);
    expect_silence();
}
END_TEST

/* RFC 826, "Packet Reception": who speaks to another is merged if he is known, never added, whatever he says; another's
 * request is not answered. */
START_TEST(test_strangers_are_not_added)
{
    static const struct ip_address third = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 3}};
    static const uint16_t operations[] = {ARP_OPERATION_REQUEST, ARP_OPERATION_REPLY};
    for (unsigned i = 0; i < 2; i++) {
        struct mac_address mac;
        struct arp_wire w = packet(operations[i], &peer, &peer_mac, &third);
        arp_init(&engine, &config, now);
        ck_assert_int_eq(input(&w), ARP_DROP_not_ours);
        expect_silence();
        ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_RESOLVING);
    }
}
END_TEST

/* ... nor is anything but a request, though it teaches us who has the address. */
START_TEST(test_only_requests_are_answered)
{
    struct mac_address mac;
    struct arp_wire w = packet(ARP_OPERATION_REPLY, &peer, &peer_mac, &OURS);
    ck_assert_int_eq(input(&w), ARP_INPUT_RESOLVED);
    expect_silence();
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FOUND);
}
END_TEST

START_TEST(test_probe_is_answered_and_not_learned)
{
    static const struct ip_address zero = {.family = ADDRESS_IP4};
    struct arp_wire w = packet(ARP_OPERATION_REQUEST, &zero, &peer_mac, &OURS);
    ck_assert_int_eq(input(&w), ARP_INPUT_DONE);
    expect(&peer_mac, ARP_OPERATION_REPLY);
    struct mac_address mac;
    ck_assert_int_eq(arp_lookup(&engine, now, &zero, &mac), ARP_LOOKUP_RESOLVING);
}
END_TEST

START_TEST(test_reply_queue_is_bounded)
{
    struct arp_wire w = packet(ARP_OPERATION_REQUEST, &peer, &peer_mac, &OURS);
    for (unsigned i = 0; i < ARP_REPLIES; i++)
        ck_assert_int_eq(input(&w), ARP_INPUT_RESOLVED);
    ck_assert_int_eq(input(&w), ARP_DROP_reply_queue);
    ck_assert_uint_eq(engine.counters.drop_reply_queue, 1);
    for (unsigned i = 0; i < ARP_REPLIES; i++)
        expect(&peer_mac, ARP_OPERATION_REPLY);
    expect_silence();
}
END_TEST

START_TEST(test_conflict_is_defended_now_and_then)
{
    struct arp_wire w = packet(ARP_OPERATION_REPLY, &OURS, &peer_mac, &peer);
    ck_assert_int_eq(input(&w), ARP_DROP_conflict);
    struct arp_wire announcement = expect(&broadcast, ARP_OPERATION_REQUEST);
    ck_assert_mem_eq(announcement.target_ip4, OURS.octets, 4);
    now += ARP_DEFEND_US - 1;
    ck_assert_int_eq(input(&w), ARP_DROP_conflict);
    expect_silence();
    now += 1;
    ck_assert_int_eq(input(&w), ARP_DROP_conflict);
    expect(&broadcast, ARP_OPERATION_REQUEST);
    ck_assert_uint_eq(engine.counters.drop_conflict, 3);
    ck_assert_uint_eq(engine.counters.announcements_out, 2);
}
END_TEST

START_TEST(test_change_of_station_is_merged)
{
    static const struct mac_address other = {{2, 0, 0, 0, 0, 9}};
    static const struct ip_address third = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 3}};
    struct mac_address mac;
    answer();
    struct arp_wire w = packet(ARP_OPERATION_REQUEST, &peer, &other, &third); /* not even for us */
    ck_assert_int_eq(input(&w), ARP_INPUT_RESOLVED);
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FOUND);
    ck_assert(mac_address_equal(&mac, &other));
}
END_TEST

static struct ip_address nth(uint32_t n)
{
    return (struct ip_address){.family = ADDRESS_IP4, .octets = {10, 78, (uint8_t)(n >> 8), (uint8_t)n}};
}

START_TEST(test_strangers_do_not_evict_the_used)
{
    struct mac_address mac;
    answer();
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FOUND);
    for (uint32_t i = 0; i < 3000; i++, now += 10) {
        struct ip_address a = nth(i);
        struct arp_wire w = packet(ARP_OPERATION_REPLY, &a, &peer_mac, &OURS);
        ck_assert_int_eq(input(&w), ARP_INPUT_RESOLVED);
    }
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FOUND);
    expect_silence();
    ck_assert_uint_eq(engine.counters.evicted, 3001 - ARP_ENTRIES);
}
END_TEST

/* Whoever makes us ask for many who are not there, an echo from each of a whole prefix, loses us no known neighbour. */
START_TEST(test_the_absent_do_not_evict_the_known)
{
    struct mac_address mac;
    answer();
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FOUND);
    for (uint32_t i = 0; i < 3000; i++, now += 10) {
        struct ip_address a = nth(i);
        ck_assert_int_eq(arp_lookup(&engine, now, &a, &mac), ARP_LOOKUP_RESOLVING);
    }
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FOUND);
}
END_TEST

START_TEST(test_full_table_reuses_the_oldest_used)
{
    struct mac_address mac;
    for (uint32_t i = 0; i < ARP_ENTRIES; i++, now++) {
        struct ip_address a = nth(i);
        struct arp_wire w = packet(ARP_OPERATION_REPLY, &a, &peer_mac, &OURS);
        ck_assert_int_eq(input(&w), ARP_INPUT_RESOLVED);
        ck_assert_int_eq(arp_lookup(&engine, now, &a, &mac), ARP_LOOKUP_FOUND);
    }
    struct arp_wire w = packet(ARP_OPERATION_REPLY, &peer, &peer_mac, &OURS);
    ck_assert_int_eq(input(&w), ARP_DROP_table_full);
    struct ip_address first = nth(0), second = nth(1);
    ck_assert_int_eq(arp_lookup(&engine, now++, &first, &mac), ARP_LOOKUP_FOUND);
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_RESOLVING); /* takes the place of nth(1) */
    ck_assert_int_eq(arp_lookup(&engine, ++now, &first, &mac), ARP_LOOKUP_FOUND);
    ck_assert_int_eq(arp_lookup(&engine, ++now, &second, &mac), ARP_LOOKUP_RESOLVING);
}
END_TEST

/* ---- RFC 5227 ---- */
static void only_ours(enum dad_mode dad)
{
    struct arp_config c = config;
    c.dad = dad;
    c.restarted = false;
    now = SECOND;
    arp_init(&engine, &c, now);
}

static void expect_event(enum own_state state, bool conflict)
{
    struct own_event event;
    ck_assert(arp_event(&engine, &event));
    ck_assert(ip_address_equal(&event.address, &OURS));
    ck_assert_int_eq(event.state, state);
    ck_assert_int_eq(event.conflict, conflict);
    if (conflict)
        ck_assert(mac_address_equal(&event.station, &peer_mac));
    ck_assert(!arp_event(&engine, &event));
}

static void expect_no_event(void)
{
    struct own_event event;
    ck_assert(!arp_event(&engine, &event));
}

static void expect_probe(void)
{
    struct arp_output out;
    struct arp_wire w;
    ck_assert_uint_le(arp_deadline_us(&engine), now);
    ck_assert(arp_poll(&engine, now, &out));
    memcpy(&w, out.packet, sizeof w);
    ck_assert(mac_address_equal(&out.destination, &broadcast));
    ck_assert_uint_eq(be16_get(w.operation), ARP_OPERATION_REQUEST);
    ck_assert_mem_eq(w.sender_ip4, "\0\0\0\0", 4);
    ck_assert_mem_eq(w.target_ip4, OURS.octets, 4);
}

static void expect_announcement(void)
{
    struct arp_wire w = expect(&broadcast, ARP_OPERATION_REQUEST);
    ck_assert_mem_eq(w.target_ip4, OURS.octets, 4);
}

START_TEST(test_probes_announces_is_ours)
{
    struct mac_address mac;
    only_ours(DAD_ON);
    expect_no_event();
    ck_assert_uint_le(arp_deadline_us(&engine), now + ARP_PROBE_WAIT_US);
    now += ARP_PROBE_WAIT_US;
    for (unsigned i = 0; i < ARP_PROBES; i++) {
        expect_probe();
        expect_silence();
        if (i + 1 == ARP_PROBES)
            break;
        ck_assert_uint_ge(arp_deadline_us(&engine), now + ARP_PROBE_MIN_US);
        ck_assert_uint_le(arp_deadline_us(&engine), now + ARP_PROBE_MAX_US);
        now = arp_deadline_us(&engine);
    }
    struct arp_wire w = packet(ARP_OPERATION_REQUEST, &peer, &peer_mac, &OURS);
    ck_assert_int_eq(input(&w), ARP_DROP_tentative);
    ck_assert_uint_eq(engine.counters.drop_tentative, 1);
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_RESOLVING); /* nobody to ask as */
    expect_silence();
    now += ARP_ANNOUNCE_WAIT_US - 1;
    expect_silence();
    expect_no_event();
    now++;
    expect_announcement();
    expect_event(OWN_PREFERRED, false);
    w = expect(&broadcast, ARP_OPERATION_REQUEST); /* what waited */
    ck_assert_mem_eq(w.target_ip4, peer.octets, 4);
    answer();
    expect_silence();
    now += ARP_ANNOUNCE_INTERVAL_US;
    expect_announcement();
    expect_silence();
    ck_assert_uint_eq(engine.counters.probes_out, ARP_PROBES);
}
END_TEST

/* RFC 5227 2.1.1: a packet from the address, another's probe for it; not our own come back */
START_TEST(test_duplicate)
{
    static const struct ip_address zero = {.family = ADDRESS_IP4};
    for (int how = 0; how < 2; how++) {
        struct mac_address mac;
        only_ours(DAD_ON);
        now += ARP_PROBE_WAIT_US;
        expect_probe();
        struct arp_wire w = packet(ARP_OPERATION_REQUEST, &zero, &config.mac, &OURS);
        ck_assert_int_eq(input(&w), ARP_DROP_own);
        w = how == 0 ? packet(ARP_OPERATION_REPLY, &OURS, &peer_mac, &zero)
                     : packet(ARP_OPERATION_REQUEST, &zero, &peer_mac, &OURS);
        ck_assert_int_eq(input(&w), ARP_DROP_conflict);
        expect_event(OWN_DUPLICATE, true);
        ck_assert_int_eq(input(&w), how == 0 ? ARP_DROP_conflict : ARP_DROP_tentative);
        expect_no_event();
        now += 3600ULL * SECOND;
        arp_announce(&engine);
        expect_silence();
        ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_FAILED);
        ck_assert_uint_eq(engine.counters.duplicates, 1);
    }
}
END_TEST

START_TEST(test_optimistic_off_and_restarted)
{
    struct arp_wire w = packet(ARP_OPERATION_REPLY, &OURS, &peer_mac, &peer);
    only_ours(DAD_OPTIMISTIC);
    expect_event(OWN_PREFERRED, false);
    expect_announcement();
    expect_silence();
    now += ARP_ANNOUNCE_INTERVAL_US;
    expect_announcement();
    expect_silence();
    ck_assert_int_eq(input(&w), ARP_DROP_conflict);
    expect_announcement(); /* defended, and told as often */
    expect_event(OWN_PREFERRED, true);
    ck_assert_int_eq(input(&w), ARP_DROP_conflict);
    expect_no_event();

    only_ours(DAD_OFF);
    expect_event(OWN_PREFERRED, false);
    expect_silence();
    ck_assert_int_eq(input(&w), ARP_DROP_conflict);
    expect_event(OWN_PREFERRED, true);
    expect_silence();

    struct arp_config c = config;
    for (int dad = DAD_ON; dad <= DAD_OFF; dad++) {
        c.dad = (enum dad_mode)dad;
        arp_init(&engine, &c, now);
        expect_event(OWN_PREFERRED, false);
        expect_silence();
        ck_assert_uint_eq(arp_deadline_us(&engine), UINT64_MAX);
    }
}
END_TEST

START_TEST(test_several_addresses)
{
    static const struct ip_address second = {.family = ADDRESS_IP4, .octets = {192, 0, 2, 2}};
    static const struct ip_address there = {.family = ADDRESS_IP4, .octets = {192, 0, 2, 1}};
    struct arp_config c = config;
    struct arp_output out;
    struct mac_address mac;
    c.own[1] = (struct ip_own_address){.address = second, .prefix_length = 24};
    c.own_count = 2;
    arp_init(&engine, &c, now);
    ck_assert_int_eq(arp_lookup(&engine, now, &there, &mac), ARP_LOOKUP_RESOLVING);
    ck_assert(arp_poll(&engine, now, &out));
    ck_assert_mem_eq(out.packet + 14, second.octets, 4); /* asked from the address on its link */
    struct arp_wire w = packet(ARP_OPERATION_REQUEST, &there, &peer_mac, &second);
    ck_assert_int_eq(input(&w), ARP_INPUT_RESOLVED);
    ck_assert(arp_poll(&engine, now, &out));
    ck_assert_mem_eq(out.packet + 14, second.octets, 4); /* answered from the address asked for */
    arp_announce(&engine);
    ck_assert(arp_poll(&engine, now, &out) && arp_poll(&engine, now, &out));
    ck_assert(!arp_poll(&engine, now, &out));
}
END_TEST

/* What failed and is not asked for again is forgotten, and wakes nobody any more. */
START_TEST(test_failed_is_forgotten)
{
    struct mac_address mac;
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_RESOLVING);
    for (unsigned i = 0; i < ARP_TRIES; i++, now += ARP_RETRY_US)
        expect(&broadcast, ARP_OPERATION_REQUEST);
    expect_silence();
    ck_assert_uint_eq(arp_deadline_us(&engine), now + ARP_FAILED_US);
    now += ARP_FAILED_US;
    expect_silence();
    ck_assert_uint_eq(arp_deadline_us(&engine), UINT64_MAX);
    ck_assert_int_eq(lookup(&mac), ARP_LOOKUP_RESOLVING);
}
END_TEST

START_TEST(test_too_many_addresses)
{
    struct arp_config c = config;
    for (unsigned i = 0; i < IP_OWN_MAX; i++)
        c.own[i] =
            (struct ip_own_address){.address = {ADDRESS_IP4, .octets = {10, 0, (uint8_t)i, 2}}, .prefix_length = 24};
    c.own_count = 1000;
    arp_init(&engine, &c, now);
    arp_announce(&engine);
    struct arp_output out;
    for (unsigned i = 0; i < IP_OWN_MAX; i++)
        ck_assert(arp_poll(&engine, now, &out));
    expect_silence();
}
END_TEST

START_TEST(test_other_families_fail)
{
    struct ip_address six = {.family = ADDRESS_IP6};
    struct mac_address mac;
    ck_assert_int_eq(arp_lookup(&engine, now, &six, &mac), ARP_LOOKUP_FAILED);
    ck_assert_uint_eq(arp_deadline_us(&engine), UINT64_MAX);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("arp");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_loop_test(c, test_malformed, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, test_short);
    tcase_add_test(c, test_resolves);
    tcase_add_test(c, test_fails_then_asks_again);
    tcase_add_test(c, test_stale_is_used_and_asked_by_unicast);
    tcase_add_test(c, test_unused_is_not_asked);
    tcase_add_test(c, test_silent_neighbour_is_given_up);
    tcase_add_test(c, test_replies);
    tcase_add_test(c, test_strangers_are_not_added);
    tcase_add_test(c, test_only_requests_are_answered);
    tcase_add_test(c, test_probe_is_answered_and_not_learned);
    tcase_add_test(c, test_reply_queue_is_bounded);
    tcase_add_test(c, test_conflict_is_defended_now_and_then);
    tcase_add_test(c, test_change_of_station_is_merged);
    tcase_add_test(c, test_strangers_do_not_evict_the_used);
    tcase_add_test(c, test_the_absent_do_not_evict_the_known);
    tcase_add_test(c, test_full_table_reuses_the_oldest_used);
    tcase_add_test(c, test_probes_announces_is_ours);
    tcase_add_test(c, test_duplicate);
    tcase_add_test(c, test_optimistic_off_and_restarted);
    tcase_add_test(c, test_several_addresses);
    tcase_add_test(c, test_other_families_fail);
    tcase_add_test(c, test_failed_is_forgotten);
    tcase_add_test(c, test_too_many_addresses);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
