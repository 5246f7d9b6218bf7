// SPDX-License-Identifier: BSD-2-Clause
#include <check.h>
#include <stdlib.h>

#include "protocols/base/checksum.h"
#include "protocols/ip4/ip4.h"
#include "protocols/ip4/ip4_wire.h"

static const struct ip4_config config = {
    .own = {{.address = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}}, .prefix_length = 24}},
    .own_count = 1,
};

/* A row changes a good packet (20 octets of header, 8 of payload, from 10.77.0.1 to 10.77.0.2) in
 * one place. */
static const struct {
    const char *name;
    size_t offset;
    const char *octets;
    size_t count;
    enum ip4_result wire, turned;
} rows[] = {
    {"good", 0, "", 0, IP4_OK, IP4_OK},
    {"ttl zero", 8, "\0", 1, IP4_OK, IP4_OK},
    {"reserved flag", 6, "\x80", 1, IP4_OK, IP4_OK},
    {"version 6", 0, "\x65", 1, IP4_DROP_version, IP4_DROP_version},
    {"header length 16", 0, "\x44", 1, IP4_DROP_header_length, IP4_DROP_header_length},
    {"header length 0", 0, "\x40", 1, IP4_DROP_header_length, IP4_DROP_header_length},
    {"header longer than captured", 0, "\x4f", 1, IP4_DROP_header_length, IP4_DROP_header_length},
    {"total length below header", 2, "\0\x13", 2, IP4_DROP_total_length, IP4_DROP_total_length},
    {"total length zero", 2, "\0\0", 2, IP4_DROP_total_length, IP4_DROP_total_length},
    {"total length beyond", 2, "\0\x1d", 2, IP4_DROP_total_length, IP4_DROP_total_length},
    {"total length of the header", 2, "\0\x14", 2, IP4_OK, IP4_OK},
    {"first fragment", 6, "\x20\0", 2, IP4_OK, IP4_OK},
    {"last fragment", 6, "\0\1", 2, IP4_OK, IP4_OK},
    {"more fragments and do not", 6, "\x60\0", 2, IP4_OK, IP4_OK},
    {"more fragments, nothing in it", 2, "\0\x14\0\1\x20\0", 6, IP4_DROP_fragment_length, IP4_DROP_fragment_length},
    {"past the end", 6, "\x1f\xff", 2, IP4_DROP_fragment_overflow, IP4_DROP_fragment_overflow},
    {"source zero", 12, "\0\0\0\0", 4, IP4_DROP_source_zero, IP4_DROP_source_zero},
    {"source loopback", 12, "\x7f\0\0\1", 4, IP4_DROP_source_loopback, IP4_OK},
    {"source multicast", 12, "\xe0\0\0\1", 4, IP4_DROP_source_multicast, IP4_DROP_source_multicast},
    {"source reserved", 12, "\xf0\0\0\1", 4, IP4_DROP_source_reserved, IP4_DROP_source_reserved},
    {"source broadcast", 12, "\xff\xff\xff\xff", 4, IP4_DROP_source_broadcast, IP4_DROP_source_broadcast},
    {"source link broadcast", 12, "\x0a\x4d\0\xff", 4, IP4_DROP_source_broadcast, IP4_DROP_source_broadcast},
    {"source is us", 12, "\x0a\x4d\0\2", 4, IP4_DROP_source_own, IP4_OK},
    {"destination zero", 16, "\0\0\0\0", 4, IP4_DROP_destination_zero, IP4_DROP_destination_zero},
    {"destination loopback", 16, "\x7f\0\0\1", 4, IP4_DROP_destination_loopback, IP4_OK},
    {"destination multicast", 16, "\xe0\0\0\1", 4, IP4_DROP_destination_multicast, IP4_DROP_destination_multicast},
    {"destination reserved", 16, "\xf1\0\0\1", 4, IP4_DROP_destination_reserved, IP4_DROP_destination_reserved},
    {"destination another", 16, "\x0a\x4d\0\3", 4, IP4_DROP_not_ours, IP4_DROP_not_ours},
    {"destination broadcast", 16, "\xff\xff\xff\xff", 4, IP4_OK, IP4_OK},
    {"destination link broadcast", 16, "\x0a\x4d\0\xff", 4, IP4_OK, IP4_OK},
};

static void seal(uint8_t *bytes)
{
    size_t length = (size_t)(bytes[0] & 15) * 4;
    if (length < 20 || length > 28)
        length = 20;
    bytes[10] = bytes[11] = 0;
    be16 sum = checksum_finish(checksum_add(0, bytes, length));
    memcpy(bytes + 10, &sum, 2);
}

static void good(uint8_t bytes[28])
{
    static const uint8_t packet[28] = {0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2};
    memcpy(bytes, packet, sizeof packet);
    seal(bytes);
}

static uint64_t drops(const struct ip4_counters *c, enum ip4_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case IP4_DROP_##name:                                                                                              \
        return c->drop_##name;
        IP4_DROPS(X)
#undef X
    default:
        return c->packets_in;
    }
}

START_TEST(test_parse)
{
    struct ip4_counters counters = {0};
    struct ip4_header h = {.ttl = 99};
    uint8_t bytes[28];
    good(bytes);
    memcpy(bytes + rows[_i].offset, rows[_i].octets, rows[_i].count);
    seal(bytes);
    ck_assert_msg(ip4_parse(&counters, &config, false, bytes, 28, 28, &h) == rows[_i].wire, "%s", rows[_i].name);
    ck_assert_uint_eq(drops(&counters, rows[_i].wire), 1);
    if (rows[_i].wire != IP4_OK)
        ck_assert_uint_eq(h.ttl, 99);
    counters = (struct ip4_counters){0};
    ck_assert_msg(ip4_parse(&counters, &config, true, bytes, 28, 28, &h) == rows[_i].turned, "%s", rows[_i].name);
    ck_assert_uint_eq(drops(&counters, rows[_i].turned), 1);
}
END_TEST

START_TEST(test_checksum_and_short)
{
    struct ip4_counters counters = {0};
    struct ip4_header h;
    uint8_t bytes[28];
    for (size_t bit = 0; bit < 160; bit++) {
        good(bytes);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert_int_ne(ip4_parse(&counters, &config, false, bytes, 28, 28, &h), IP4_OK);
    }
    good(bytes);
    bytes[5] ^= 1;
    uint64_t before = counters.drop_checksum;
    ck_assert_int_eq(ip4_parse(&counters, &config, false, bytes, 28, 28, &h), IP4_DROP_checksum);
    ck_assert_uint_eq(counters.drop_checksum, before + 1);
    ck_assert_int_eq(ip4_parse(&counters, &config, false, bytes, 19, 19, &h), IP4_DROP_short);
    ck_assert_uint_eq(counters.drop_short, 1);
    good(bytes);
    ck_assert_int_eq(ip4_parse(&counters, &config, false, bytes, 20, 46, &h), IP4_OK); /* padding */
    ck_assert_uint_eq(h.total_length, 28);
}
END_TEST

static const struct {
    const char *name;
    const char *octets; /* eight */
    enum ip4_result result;
    uint8_t pointer;
} options[] = {
    {"end", "\0\xff\xff\xff\xff\xff\xff\xff", IP4_OK},
    {"nops", "\1\1\1\1\1\1\1\1", IP4_OK},
    {"router alert", "\x94\4\0\0\0\0\0\0", IP4_OK},
    {"unknown, to the end", "\x1e\x08\0\0\0\0\0\0", IP4_OK},
    {"length past the header", "\x1e\x09\0\0\0\0\0\0", IP4_DROP_options, 20},
    {"length zero", "\x1e\0\0\0\0\0\0\0", IP4_DROP_options, 20},
    {"length one", "\1\1\x1e\1\0\0\0\0", IP4_DROP_options, 22},
    {"no length", "\1\1\1\1\1\1\1\x1e", IP4_DROP_options, 27},
    {"loose source route", "\x83\7\4\x0a\0\0\1\0", IP4_DROP_source_route},
    {"strict source route", "\1\x89\7\4\x0a\0\0\1", IP4_DROP_source_route},
};

START_TEST(test_options)
{
    struct ip4_counters counters = {0};
    struct ip4_header h;
    uint8_t bytes[28];
    good(bytes);
    bytes[0] = 0x47;
    memcpy(bytes + 20, options[_i].octets, 8);
    seal(bytes);
    ck_assert_msg(ip4_parse(&counters, &config, false, bytes, 28, 28, &h) == options[_i].result, "%s",
                  options[_i].name);
    ck_assert_uint_eq(drops(&counters, options[_i].result), 1);
    if (options[_i].result == IP4_OK) {
        ck_assert_uint_eq(h.header_length, 28);
        ck_assert_uint_eq(counters.options_in, 1);
    } else if (options[_i].result == IP4_DROP_options) { /* what a parameter problem needs */
        ck_assert_uint_eq(h.pointer, options[_i].pointer);
        ck_assert(ip_address_equal(&h.destination, &config.own[0].address));
        bytes[19] = 7; /* not ours: whatever is wrong behind is nobody's business */
        seal(bytes);
        ck_assert_int_eq(ip4_parse(&counters, &config, false, bytes, 28, 28, &h), IP4_DROP_not_ours);
    }
}
END_TEST

START_TEST(test_fields_and_build)
{
    struct ip4_header out = {.source = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}},
                             .destination = config.own[0].address,
                             .total_length = 1500,
                             .identification = 0xbeef,
                             .fragment_offset = 1480,
                             .header_length = 20,
                             .protocol = 6,
                             .ttl = 61,
                             .dscp = 46,
                             .ecn = 2,
                             .more_fragments = true};
    struct ip4_header in;
    struct ip4_counters counters = {0};
    uint8_t bytes[20];
    ip4_build(&out, bytes);
    ck_assert_int_eq(ip4_parse(&counters, &config, false, bytes, 20, 1500, &in), IP4_OK);
    ck_assert_mem_eq(&in.source, &out.source, sizeof in.source);
    ck_assert_uint_eq(in.total_length, 1500);
    ck_assert_uint_eq(in.identification, 0xbeef);
    ck_assert_uint_eq(in.fragment_offset, 1480);
    ck_assert(in.more_fragments && !in.dont_fragment && ip4_is_fragment(&in));
    ck_assert(in.protocol == 6 && in.ttl == 61 && in.dscp == 46 && in.ecn == 2 && !in.broadcast);
    out.fragment_offset = 0;
    out.more_fragments = false;
    out.dont_fragment = true;
    ip4_build(&out, bytes);
    ck_assert_int_eq(ip4_parse(&counters, &config, false, bytes, 20, 1500, &in), IP4_OK);
    ck_assert(in.dont_fragment && !ip4_is_fragment(&in));
}
END_TEST

static struct ip_address ip4_of(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    return (struct ip_address){.family = ADDRESS_IP4, .octets = {a, b, c, d}};
}

START_TEST(test_classes)
{
    struct ip4_config point = {.own = {{.address = ip4_of(10, 0, 0, 1), .prefix_length = 31}}, .own_count = 1};
    struct ip_address a = ip4_of(10, 77, 0, 255);
    ck_assert_int_eq(ip4_classify(&config, &a), IP4_CLASS_BROADCAST);
    a = ip4_of(10, 77, 1, 255);
    ck_assert_int_eq(ip4_classify(&config, &a), IP4_CLASS_UNICAST);
    a = ip4_of(10, 0, 0, 0);
    ck_assert_int_eq(ip4_classify(&point, &a), IP4_CLASS_UNICAST);
    ck_assert_int_eq(ip4_classify(&point, &point.own[0].address), IP4_CLASS_OURS);
}
END_TEST

/* Two links; the third address is not to be used (yet), but its link's broadcast is known. */
START_TEST(test_several_addresses)
{
    struct ip4_config several = {.own = {{.address = ip4_of(10, 77, 0, 2), .prefix_length = 24},
                                         {.address = ip4_of(192, 0, 2, 2), .prefix_length = 28},
                                         {.address = ip4_of(198, 51, 100, 2), .prefix_length = 24, .tentative = true}},
                                 .own_count = 3};
    static const struct {
        uint8_t octets[4];
        enum ip4_class class;
        int source; /* -1: loopback */
    } cases[] = {
        {{10, 77, 0, 2}, IP4_CLASS_OURS, 0},       {{192, 0, 2, 2}, IP4_CLASS_OURS, 1},
        {{192, 0, 2, 15}, IP4_CLASS_BROADCAST, 1}, {{10, 77, 0, 255}, IP4_CLASS_BROADCAST, 0},
        {{192, 0, 2, 255}, IP4_CLASS_UNICAST, 0},  {{192, 0, 2, 3}, IP4_CLASS_UNICAST, 1},
        {{198, 51, 100, 2}, IP4_CLASS_UNICAST, 0}, {{198, 51, 100, 255}, IP4_CLASS_BROADCAST, 0},
        {{127, 1, 2, 3}, IP4_CLASS_LOOPBACK, -1},  {{203, 0, 113, 1}, IP4_CLASS_UNICAST, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ip_address a = ip_address_from_ip4(cases[i].octets), loopback = ip4_of(127, 0, 0, 1);
        ck_assert_int_eq(ip4_classify(&several, &a), cases[i].class);
        const struct ip_address *source = ip4_source_select(&several, &a);
        ck_assert(ip_address_equal(source, cases[i].source < 0 ? &loopback : &several.own[cases[i].source].address));
    }
    several.own_count = 0;
    ck_assert_ptr_null(ip4_source_select(&several, &several.own[0].address));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ip4");
    TCase *c = tcase_create("all");
    tcase_add_loop_test(c, test_parse, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_loop_test(c, test_options, 0, (int)(sizeof options / sizeof options[0]));
    tcase_add_test(c, test_checksum_and_short);
    tcase_add_test(c, test_fields_and_build);
    tcase_add_test(c, test_classes);
    tcase_add_test(c, test_several_addresses);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
