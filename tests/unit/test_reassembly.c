// SPDX-License-Identifier: BSD-2-Clause
#include "protocols/ip/reassembly.h"

#include <stdlib.h>

#include "tests/unit/suite.h"

static struct reassembly *t;
static uint8_t *buffers, octets[65536];
static struct reassembly_output whole;
static uint64_t now;

static void setup(void)
{
    buffers = malloc(REASSEMBLY_DATAGRAMS * REASSEMBLY_BUFFER_OCTETS);
    t = malloc(sizeof *t);
    for (uint32_t i = 0; i < sizeof octets; i++)
        octets[i] = (uint8_t)(i * 7 + i / 251);
    reassembly_init(t, buffers);
    now = 1000;
}

static void teardown(void)
{
    free(buffers);
    free(t);
}

static struct reassembly_fragment fragment(uint8_t source, uint32_t id, uint32_t offset, uint32_t length, bool more)
{
    return (struct reassembly_fragment){.source = {.family = ADDRESS_IP4, .octets = {10, 0, 0, source}},
                                        .destination = {.family = ADDRESS_IP4, .octets = {10, 0, 0, 1}},
                                        .identification = id,
                                        .offset = offset,
                                        .length = length,
                                        .header_octets = 20,
                                        .more = more,
                                        .protocol = 17,
                                        .ttl = (uint8_t)(64 - offset / 8),
                                        .traffic_class = 0x12};
}

static enum reassembly_result put(struct reassembly_fragment f)
{
    static const uint8_t packet[28] = {0x45, 1, 2, 3};
    return reassembly_input(t, now, &f, octets + f.offset, packet, sizeof packet, &whole);
}

static enum reassembly_result in(uint32_t offset, uint32_t length, bool more)
{
    return put(fragment(2, 7, offset, length, more));
}

static void is_whole(uint32_t length)
{
    ck_assert_uint_eq(whole.length, length);
    ck_assert_mem_eq(buffers + whole.buffer * REASSEMBLY_BUFFER_OCTETS, octets, length);
    ck_assert(whole.protocol == 17 && whole.ttl == 64 && whole.packet[1] == 1 && whole.packet_octets == 28);
    reassembly_release(t, whole.buffer);
}

static void none_left(void)
{
    for (uint32_t i = 0; i < REASSEMBLY_DATAGRAMS; i++)
        ck_assert_int_eq(t->datagram[i].state, REASSEMBLY_FREE);
    ck_assert(reassembly_deadline_us(t) == UINT64_MAX);
}

START_TEST(test_any_order)
{
    static const uint8_t orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}, {1, 3, 0, 2}};
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        for (unsigned k = 0; k < 4; k++) {
            uint32_t at = orders[i][k] * 800U;
            bool last = orders[i][k] == 3;
            enum reassembly_result expected = k == 3 ? REASSEMBLY_COMPLETE : REASSEMBLY_HELD;
            ck_assert_int_eq(in(at, last ? 13 : 800, !last), expected);
            if (k < 3) /* the same again */
                ck_assert_int_eq(in(at, last ? 13 : 800, !last), REASSEMBLY_DROP_duplicate);
        }
        is_whole(2413);
    }
    ck_assert_uint_eq(t->counters.datagrams_out, 4);
    ck_assert_uint_eq(t->counters.drop_duplicate, 12);
    none_left();
}
END_TEST

START_TEST(test_largest)
{
    for (uint32_t at = 0; at < 65515; at += 256)
        ck_assert_int_eq(in(at, at + 256 < 65515 ? 256 : 65515 - at, at + 256 < 65515),
                         at + 256 < 65515 ? REASSEMBLY_HELD : REASSEMBLY_COMPLETE);
    is_whole(65515);
    none_left();
}
END_TEST

/* RFC 791: 65535 octets with the header; the first fragment's may be longer than that of the others (options not
 * copied). */
START_TEST(test_longer_with_the_first_header)
{
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t at = 512; at < 65515; at += 512)
            ck_assert_int_eq(in(at, at + 512 < 65515 ? 512 : 65515 - at, at + 512 < 65515), REASSEMBLY_HELD);
        struct reassembly_fragment first = fragment(2, 7, 0, 512, true);
        first.header_octets = pass == 0 ? 24 : 20;
        ck_assert_int_eq(put(first), pass == 0 ? REASSEMBLY_DROP_overflow : REASSEMBLY_COMPLETE);
    }
    is_whole(65515);
    ck_assert_uint_eq(t->counters.drop_overflow, 1);
    none_left();
}
END_TEST

/* What goes wrong, and with it the whole datagram: what comes later is not the beginning of another. */
START_TEST(test_discarded)
{
    static const struct {
        const char *name;
        uint32_t offset, length;
        bool more;
        enum reassembly_result result;
        bool discards;
    } rows[] = {
        {"beginning overlaps", 1592, 800, true, REASSEMBLY_DROP_overlap, true},
        {"end overlaps", 8, 800, true, REASSEMBLY_DROP_overlap, true},
        {"within", 808, 8, true, REASSEMBLY_DROP_overlap, true},
        {"around", 0, 2400, true, REASSEMBLY_DROP_overlap, true},
        {"longer, same beginning", 800, 808, true, REASSEMBLY_DROP_overlap, true},
        {"behind the end", 4000, 8, true, REASSEMBLY_DROP_end, true},
        {"another end", 4000, 8, false, REASSEMBLY_DROP_end, true},
        {"an end before what is there", 1600, 8, false, REASSEMBLY_DROP_end, true},
        {"no multiple of eight", 0, 13, true, REASSEMBLY_DROP_length, false},
        {"offset no multiple of eight", 4, 8, true, REASSEMBLY_DROP_length, false},
        {"empty", 0, 0, true, REASSEMBLY_DROP_length, false},
        {"empty last", 0, 0, false, REASSEMBLY_DROP_length, false},
        {"behind 65535", 65512, 8, false, REASSEMBLY_DROP_overflow, false},
        {"far behind", UINT32_MAX - 7, 8, false, REASSEMBLY_DROP_overflow, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        now += 2 * REASSEMBLY_IP4_US;
        struct reassembly_expired e;
        while (reassembly_poll(t, now, &e))
            ;
        ck_assert_int_eq(in(800, 800, true), REASSEMBLY_HELD);
        ck_assert_int_eq(in(2400, 800, false), REASSEMBLY_HELD);
        ck_assert_msg(in(rows[i].offset, rows[i].length, rows[i].more) == rows[i].result, "%s", rows[i].name);
        ck_assert_int_eq(in(0, 800, true), rows[i].discards ? REASSEMBLY_DROP_discarded : REASSEMBLY_HELD);
        ck_assert_int_eq(in(1600, 800, true), rows[i].discards ? REASSEMBLY_DROP_discarded : REASSEMBLY_COMPLETE);
        if (!rows[i].discards)
            is_whole(3200);
    }
    ck_assert_uint_eq(t->counters.drop_overlap, 5);
    ck_assert_uint_eq(t->counters.drop_end, 3);
    ck_assert_uint_eq(t->counters.drop_length, 4);
    ck_assert_uint_eq(t->counters.drop_overflow, 2);
    ck_assert_uint_eq(t->counters.drop_discarded, 16);
}
END_TEST

START_TEST(test_too_many_pieces)
{
    for (uint32_t i = 0; i < REASSEMBLY_FRAGMENTS_MAX; i++)
        ck_assert_int_eq(in(i * 16, 8, true), REASSEMBLY_HELD);
    ck_assert_int_eq(in(8, 8, true), REASSEMBLY_DROP_too_many);
    ck_assert_int_eq(in(24, 8, true), REASSEMBLY_DROP_discarded);
}
END_TEST

START_TEST(test_names)
{
    struct reassembly_fragment f = fragment(2, 7, 0, 8, true);
    ck_assert_int_eq(put(f), REASSEMBLY_HELD);
    f.offset = 8;
    f.more = false;
    f.protocol = 6; /* IPv4: another datagram */
    ck_assert_int_eq(put(f), REASSEMBLY_HELD);
    f.protocol = 17;
    f.identification = 8;
    ck_assert_int_eq(put(f), REASSEMBLY_HELD);
    f.identification = 7;
    f.destination.octets[3] = 9;
    ck_assert_int_eq(put(f), REASSEMBLY_HELD);
    f.destination.octets[3] = 1;
    ck_assert_int_eq(put(f), REASSEMBLY_COMPLETE);
    is_whole(16);

    f = fragment(2, 7, 8, 8, false);
    f.source.family = f.destination.family = ADDRESS_IP6;
    f.protocol = 6; /* IPv6: only the first fragment's counts */
    ck_assert_int_eq(put(f), REASSEMBLY_HELD);
    f.offset = 0;
    f.more = true;
    f.protocol = 17;
    f.ttl = 64;
    ck_assert_int_eq(put(f), REASSEMBLY_COMPLETE);
    is_whole(16);
}
END_TEST

START_TEST(test_ecn)
{
    static const struct {
        uint8_t first, second, whole;
        enum reassembly_result result;
    } rows[] = {
        {0xb8, 0xb8, 0xb8, REASSEMBLY_COMPLETE}, {0x02, 0x01, 0x02, REASSEMBLY_COMPLETE},
        {0x02, 0x03, 0x03, REASSEMBLY_COMPLETE}, {0x03, 0x02, 0x03, REASSEMBLY_COMPLETE},
        {0x00, 0x03, 0x00, REASSEMBLY_DROP_ecn},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reassembly_fragment f = fragment(2, 7, 0, 8, true);
        f.traffic_class = rows[i].first;
        ck_assert_int_eq(put(f), REASSEMBLY_HELD);
        f = fragment(2, 7, 8, 8, false);
        f.traffic_class = rows[i].second;
        ck_assert_int_eq(put(f), rows[i].result);
        if (rows[i].result != REASSEMBLY_COMPLETE)
            continue;
        ck_assert_uint_eq(whole.traffic_class, rows[i].whole);
        is_whole(16);
    }
    none_left();
}
END_TEST

START_TEST(test_time)
{
    struct reassembly_expired e;
    struct reassembly_fragment six = fragment(3, 9, 0, 8, true);
    six.source.family = six.destination.family = ADDRESS_IP6;
    ck_assert_int_eq(in(0, 8, true), REASSEMBLY_HELD);
    ck_assert_int_eq(put(fragment(2, 8, 8, 8, true)), REASSEMBLY_HELD);
    ck_assert_int_eq(put(six), REASSEMBLY_HELD);
    ck_assert_uint_eq(reassembly_deadline_us(t), now + REASSEMBLY_IP4_US);
    now += REASSEMBLY_IP4_US - 1;
    ck_assert(!reassembly_poll(t, now, &e));
    now++;
    ck_assert(reassembly_poll(t, now, &e)); /* of the other the first fragment never came */
    ck_assert(e.source.octets[3] == 2 && e.quote_octets == 28 && e.quote[0] == 0x45);
    ck_assert(!reassembly_poll(t, now, &e));
    ck_assert_uint_eq(reassembly_deadline_us(t), now + REASSEMBLY_IP6_US - REASSEMBLY_IP4_US);
    now += REASSEMBLY_IP6_US;
    ck_assert(reassembly_poll(t, now, &e));
    ck_assert_uint_eq(t->counters.timed_out, 3);
    none_left();
    ck_assert_int_eq(in(8, 8, false), REASSEMBLY_HELD); /* begins anew */
}
END_TEST

START_TEST(test_limits)
{
    for (uint8_t i = 0; i < REASSEMBLY_SOURCE_MAX; i++, now++)
        ck_assert_int_eq(put(fragment(2, i, 0, 8, true)), REASSEMBLY_HELD);
    ck_assert_int_eq(put(fragment(2, 100, 0, 8, true)), REASSEMBLY_HELD); /* the oldest of this source goes */
    ck_assert_uint_eq(t->counters.evicted_source, 1);
    ck_assert_int_eq(put(fragment(2, 1, 8, 8, false)), REASSEMBLY_COMPLETE);
    is_whole(16);
    for (uint8_t i = 0; i < REASSEMBLY_DATAGRAMS - (REASSEMBLY_SOURCE_MAX - 1); i++, now++)
        ck_assert_int_eq(put(fragment((uint8_t)(10 + i), 1, 0, 8, true)), REASSEMBLY_HELD);
    ck_assert_uint_eq(t->counters.evicted, 0);
    ck_assert_int_eq(put(fragment(99, 1, 0, 8, true)), REASSEMBLY_HELD); /* the oldest of all goes */
    ck_assert_uint_eq(t->counters.evicted, 1);
    ck_assert_int_eq(put(fragment(2, 2, 8, 8, false)), REASSEMBLY_HELD);
    ck_assert_uint_eq(t->counters.evicted, 2);
}
END_TEST

START_TEST(test_lent_ones_stay)
{
    for (uint8_t i = 0; i < REASSEMBLY_DATAGRAMS; i++) {
        ck_assert_int_eq(put(fragment(i, 1, 0, 8, true)), REASSEMBLY_HELD);
        ck_assert_int_eq(put(fragment(i, 1, 8, 8, false)), REASSEMBLY_COMPLETE);
    }
    ck_assert_int_eq(put(fragment(99, 1, 0, 8, true)), REASSEMBLY_DROP_no_buffer);
    reassembly_release(t, 5);
    reassembly_release(t, 5);
    reassembly_release(t, 4000);
    ck_assert_int_eq(put(fragment(99, 1, 0, 8, true)), REASSEMBLY_HELD);
    ck_assert_int_eq(put(fragment(98, 1, 0, 8, true)), REASSEMBLY_HELD); /* gives way to this */
    ck_assert_uint_eq(t->counters.evicted, 1);
    ck_assert_uint_eq(t->counters.drop_no_buffer, 1);
}
END_TEST

SUITE_RUN("reassembly", setup, teardown, test_any_order, test_largest, test_longer_with_the_first_header,
          test_discarded, test_too_many_pieces, test_names, test_ecn, test_time, test_limits, test_lent_ones_stay)
