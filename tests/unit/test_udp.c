// SPDX-License-Identifier: BSD-2-Clause
#include <check.h>
#include <stdlib.h>

#include "protocols/base/checksum.h"
#include "protocols/udp/udp.h"

static const struct ip_address us = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}};
static const struct ip_address loopback = {.family = ADDRESS_IP4, .octets = {127, 0, 0, 1}};
static const struct ip_address peer = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}};
static const struct ip_address other = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 9}};
static const struct ip_address any = {.family = ADDRESS_IP4};
static const struct ip_address none = {0};
static const struct ip_address us6 = {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 2}};
static const struct ip_address peer6 = {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 1}};
static const struct ip_address any6 = {.family = ADDRESS_IP6};

/* ---- header ---- */
static const struct {
    const char *name;
    const char *bytes; /* eight */
    size_t captured, available;
    enum udp_result result;
    uint16_t payload_length;
} rows[] = {
    {"good", "\x80\0\0\x35\0\x0c\1\2", 8, 12, UDP_OK, 4},
    {"empty", "\x80\0\0\x35\0\x08\1\2", 8, 8, UDP_OK, 0},
    {"octets behind", "\x80\0\0\x35\0\x0c\1\2", 8, 40, UDP_OK, 4},
    {"source port zero", "\0\0\0\x35\0\x0c\1\2", 8, 12, UDP_OK, 4},
    {"captured short", "\x80\0\0\x35\0\x0c\1\2", 7, 12, UDP_DROP_short, 0},
    {"short", "\x80\0\0\x35\0\x0c\1\2", 7, 7, UDP_DROP_short, 0},
    {"length below header", "\x80\0\0\x35\0\7\1\2", 8, 12, UDP_DROP_length, 0},
    {"length zero", "\x80\0\0\x35\0\0\1\2", 8, 12, UDP_DROP_length, 0},
    {"length beyond", "\x80\0\0\x35\0\x0d\1\2", 8, 12, UDP_DROP_length, 0},
    {"destination port zero", "\x80\0\0\0\0\x0c\1\2", 8, 12, UDP_DROP_port, 0},
};

static uint64_t drops(const struct udp_counters *c, enum udp_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case UDP_DROP_##name:                                                                                              \
        return c->drop_##name;
        UDP_DROPS(X)
#undef X
    default:
        return c->datagrams_in;
    }
}

START_TEST(test_parse)
{
    struct udp_counters counters = {0};
    struct udp_header h = {.payload_length = 777};
    ck_assert_msg(udp_parse(&counters, (const uint8_t *)rows[_i].bytes, rows[_i].captured, rows[_i].available, &h) ==
                      rows[_i].result,
                  "%s", rows[_i].name);
    ck_assert_uint_eq(drops(&counters, rows[_i].result), 1);
    ck_assert_uint_eq(h.payload_length, rows[_i].result == UDP_OK ? rows[_i].payload_length : 777);
}
END_TEST

START_TEST(test_checksum)
{
    struct udp_counters counters = {0};
    struct udp_header h = {.source_port = 1000, .destination_port = 53, .payload_length = 5};
    uint64_t sum = checksum_add(0, "hello", 5);
    uint8_t bytes[8];
    udp_build(&us, &peer, &h, sum, bytes);
    ck_assert_int_eq(udp_verify(&counters, &us, &peer, bytes, sum), UDP_OK);
    ck_assert_int_eq(udp_verify(&counters, &us, &other, bytes, sum), UDP_DROP_checksum);
    ck_assert_int_eq(udp_verify(&counters, &us, &peer, bytes, sum + 1), UDP_DROP_checksum);
    ck_assert_uint_eq(counters.drop_checksum, 2);
    bytes[6] = bytes[7] = 0;
    ck_assert_int_eq(udp_verify(&counters, &us, &peer, bytes, sum + 1), UDP_OK);
    ck_assert_uint_eq(counters.without_checksum, 1);
    struct ip_address six = {.family = ADDRESS_IP6};
    ck_assert_int_eq(udp_verify(&counters, &six, &six, bytes, sum), UDP_DROP_checksum);

    udp_build_partial(&us, &peer, &h, bytes); /* what an offload finishes */
    be16 finished = checksum_finish(checksum_add(sum, bytes, 8));
    memcpy(bytes + 6, &finished, 2);
    ck_assert_int_eq(udp_verify(&counters, &us, &peer, bytes, sum), UDP_OK);
}
END_TEST

START_TEST(test_zero_sum_is_sent_as_ones)
{
    struct udp_counters counters = {0};
    struct udp_header h = {.destination_port = 1, .payload_length = 2};
    uint8_t bytes[8];
    for (uint32_t v = 0; v < 0x10000; v++) {
        uint8_t payload[2] = {(uint8_t)(v >> 8), (uint8_t)v};
        uint64_t sum = checksum_add(0, payload, 2);
        udp_build(&us, &peer, &h, sum, bytes);
        ck_assert(bytes[6] != 0 || bytes[7] != 0);
        ck_assert_int_eq(udp_verify(&counters, &us, &peer, bytes, sum), UDP_OK);
    }
}
END_TEST

START_TEST(test_no_checksum)
{
    struct udp_counters counters = {0};
    struct udp_header h = {.source_port = 1000, .destination_port = 53, .payload_length = 5}, got;
    uint8_t bytes[8];
    memset(bytes, 0xee, sizeof bytes);
    udp_build_unchecked(&h, bytes);
    ck_assert_mem_eq(bytes, "\3\xe8\0\x35\0\x0d\0\0", 8);
    ck_assert_int_eq(udp_parse(&counters, bytes, 8, 13, &got), UDP_OK);
    ck_assert(!got.has_checksum);
    ck_assert_int_eq(udp_verify(&counters, &us, &peer, bytes, 12345), UDP_OK);
}
END_TEST

/* ---- table ---- */
static const struct udp_config config = {.bindings = 16, .secret = "0123456789abcde"};
static struct udp *table;
static void *memory;

static void setup(void)
{
    memory = aligned_alloc(64, udp_size(&config));
    table = udp_init(memory, &config, 1);
}

static void teardown(void)
{
    free(memory);
}

static uint32_t bound(const struct ip_address *local, uint16_t port, bool shared)
{
    uint32_t index = UDP_NONE;
    ck_assert_int_eq(udp_bind(table, local, port, shared, 7, &index), UDP_CALL_OK);
    return index;
}

START_TEST(test_bind_lookup_unbind)
{
    ck_assert_uint_eq(udp_lookup(table, &peer, 9, &us, 53), UDP_NONE);
    uint32_t i = bound(&any, 53, false);
    ck_assert_uint_eq(udp_lookup(table, &peer, 9, &us, 53), i);
    ck_assert_uint_eq(udp_lookup(table, &peer, 9, &us, 54), UDP_NONE);
    ck_assert_uint_eq(udp_lookup(table, &peer, 9, &us, 53 + 1024), UDP_NONE); /* same bucket */
    ck_assert_uint_eq(udp_binding_at(table, i)->owner, 7);
    ck_assert_int_eq(udp_unbind(table, i), UDP_CALL_OK);
    ck_assert_int_eq(udp_unbind(table, i), UDP_CALL_BAD_STATE);
    ck_assert_int_eq(udp_unbind(table, 99), UDP_CALL_BAD_STATE);
    ck_assert_ptr_null(udp_binding_at(table, i));
    ck_assert_uint_eq(udp_lookup(table, &peer, 9, &us, 53), UDP_NONE);
}
END_TEST

static const struct {
    const char *name;
    const struct ip_address *first, *second;
    bool first_shared, second_shared;
    enum udp_call_result result;
} overlaps[] = {
    {"any, any", &any, &any, false, false, UDP_CALL_IN_USE},
    {"any, ours", &any, &us, false, false, UDP_CALL_IN_USE},
    {"ours, any", &us, &none, false, false, UDP_CALL_IN_USE},
    {"ours, ours", &us, &us, false, false, UDP_CALL_IN_USE},
    {"ours, loopback", &us, &loopback, false, false, UDP_CALL_OK},
    {"one shares", &any, &us, true, false, UDP_CALL_IN_USE},
    {"both share", &any, &us, true, true, UDP_CALL_OK},
    {"any of one family, of the other", &any, &any6, false, false, UDP_CALL_OK},
    {"any of IPv4, ours of IPv6", &any, &us6, false, false, UDP_CALL_OK},
    {"any of IPv6, ours of IPv6", &any6, &us6, false, false, UDP_CALL_IN_USE},
    {"any of both, any of IPv4", &none, &any, false, false, UDP_CALL_IN_USE},
    {"any of IPv6, any of both", &any6, &none, false, false, UDP_CALL_IN_USE},
    {"any of both, ours of IPv6", &none, &us6, false, false, UDP_CALL_IN_USE},
    {"any of both, twice", &none, &none, false, false, UDP_CALL_IN_USE},
    {"any of both, twice, both share", &none, &none, true, true, UDP_CALL_OK},
};

START_TEST(test_in_use)
{
    uint32_t index;
    bound(overlaps[_i].first, 53, overlaps[_i].first_shared);
    ck_assert_msg(udp_bind(table, overlaps[_i].second, 53, overlaps[_i].second_shared, 8, &index) ==
                      overlaps[_i].result,
                  "%s", overlaps[_i].name);
}
END_TEST

START_TEST(test_most_specific)
{
    uint32_t wide = bound(&any, 53, true);
    uint32_t local = bound(&us, 53, true);
    uint32_t connected = bound(&any, 53, true);
    ck_assert_int_eq(udp_connect(table, connected, &us, &peer, 9), UDP_CALL_OK);
    ck_assert_uint_eq(udp_lookup(table, &peer, 9, &us, 53), connected);
    ck_assert_uint_eq(udp_lookup(table, &peer, 8, &us, 53), local);
    ck_assert_uint_eq(udp_lookup(table, &other, 9, &us, 53), local);
    ck_assert_uint_eq(udp_lookup(table, &peer, 9, &loopback, 53), wide);
    uint32_t last = bound(&us, 53, true);
    ck_assert_uint_eq(udp_lookup(table, &other, 9, &us, 53), last);
}
END_TEST

START_TEST(test_connect)
{
    uint32_t i = bound(&any, 53, false);
    ck_assert_int_eq(udp_connect(table, i, &us, &peer, 0), UDP_CALL_BAD_STATE);
    ck_assert_int_eq(udp_connect(table, i, &us, &any, 9), UDP_CALL_BAD_STATE);
    ck_assert_int_eq(udp_connect(table, 3, &us, &peer, 9), UDP_CALL_BAD_STATE);
    ck_assert_int_eq(udp_connect(table, i, &us, &peer, 9), UDP_CALL_OK);
    ck_assert(ip_address_equal(&udp_binding_at(table, i)->local, &us));
    ck_assert_uint_eq(udp_lookup(table, &other, 9, &us, 53), UDP_NONE); /* deaf to others */
    ck_assert_int_eq(udp_connect(table, i, &none, &none, 0), UDP_CALL_OK);
    ck_assert_uint_eq(udp_lookup(table, &other, 9, &us, 53), i);
}
END_TEST

START_TEST(test_families)
{
    uint32_t both = bound(&none, 53, true), four = bound(&any, 53, true);
    ck_assert_uint_eq(udp_lookup(table, &peer, 9, &us, 53), four); /* any of one family before any of both */
    ck_assert_uint_eq(udp_lookup(table, &peer6, 9, &us6, 53), both);
    uint32_t six = bound(&any6, 54, false);
    ck_assert_uint_eq(udp_lookup(table, &peer, 9, &us, 54), UDP_NONE);
    ck_assert_uint_eq(udp_lookup(table, &peer6, 9, &us6, 54), six);
    ck_assert_int_eq(udp_connect(table, six, &us, &peer, 9), UDP_CALL_BAD_STATE);
    ck_assert_int_eq(udp_connect(table, both, &us6, &peer, 9), UDP_CALL_BAD_STATE); /* a source of the other family */
    ck_assert_int_eq(udp_connect(table, both, &us, &peer, 9), UDP_CALL_OK);
    ck_assert_uint_eq(udp_lookup(table, &peer6, 9, &us6, 53), UDP_NONE);
    ck_assert_int_eq(udp_connect(table, both, &us6, &peer6, 9), UDP_CALL_OK); /* to another at once */
    ck_assert_uint_eq(udp_lookup(table, &peer6, 9, &us6, 53), both);
    ck_assert_int_eq(udp_connect(table, both, &none, &none, 0), UDP_CALL_OK);
    ck_assert_uint_eq(udp_binding_at(table, both)->local.family, ADDRESS_NONE);
    ck_assert_uint_eq(udp_lookup(table, &peer6, 8, &us6, 53), both);
}
END_TEST

START_TEST(test_next)
{
    uint32_t a = bound(&any, 53, true), specific = bound(&us, 53, true), c = bound(&any, 53, true);
    bound(&any, 53 + 1024, false); /* same bucket */
    bound(&any6, 53, true);
    uint32_t i = udp_next(table, UDP_NONE, &peer, 9, &other, 53);
    ck_assert_uint_eq(i, c);
    i = udp_next(table, i, &peer, 9, &other, 53);
    ck_assert_uint_eq(i, a);
    ck_assert_uint_eq(udp_next(table, i, &peer, 9, &other, 53), UDP_NONE);
    ck_assert_uint_eq(udp_next(table, c, &peer, 9, &us, 53), specific);
    ck_assert_uint_eq(udp_next(table, UDP_NONE, &peer, 9, &us, 55), UDP_NONE);
}
END_TEST

START_TEST(test_full_and_ephemeral)
{
    uint32_t index = UDP_NONE;
    uint16_t first = 0, ascending = 0;
    for (unsigned i = 0; i < 16; i++) {
        uint32_t at = bound(&any, 0, false);
        uint16_t port = udp_binding_at(table, at)->local_port;
        ck_assert(port >= UDP_EPHEMERAL_MIN && port <= UDP_EPHEMERAL_MAX);
        ascending = (uint16_t)(ascending + (port == first + 1));
        first = port;
    }
    ck_assert_uint_lt(ascending, 4); /* no sequence that could be guessed */
    ck_assert_int_eq(udp_bind(table, &any, 0, false, 8, &index), UDP_CALL_TABLE_FULL);
    ck_assert_int_eq(udp_bind(table, &any, 1, false, 8, &index), UDP_CALL_TABLE_FULL);
    ck_assert_uint_eq(index, UDP_NONE);
    for (uint32_t i = 0; i < 16; i++)
        ck_assert_int_eq(udp_unbind(table, i), UDP_CALL_OK);
    for (uint32_t i = 0; i < 16; i++)
        bound(&any, (uint16_t)(i + 1), false);
}
END_TEST

START_TEST(test_ephemeral_ports_end)
{
    struct udp_config big = {.bindings = 30000};
    void *more = aligned_alloc(64, udp_size(&big));
    struct udp *t = udp_init(more, &big, 1);
    uint32_t index, count = 0;
    while (udp_bind(t, &us, (uint16_t)(UDP_EPHEMERAL_MIN + count), false, 0, &index) == UDP_CALL_OK &&
           UDP_EPHEMERAL_MIN + count < UDP_EPHEMERAL_MAX)
        count++;
    ck_assert_int_eq(udp_bind(t, &any, 0, false, 0, &index), UDP_CALL_NO_PORT);
    ck_assert_int_eq(udp_bind(t, &loopback, 0, false, 0, &index), UDP_CALL_OK);
    free(more);
}
END_TEST

/* ---- an earlier life ---- */
static struct udp_binding was(const struct ip_address *remote, uint16_t remote_port, uint64_t order)
{
    return (struct udp_binding){.bound = any,
                                .local = remote->family != ADDRESS_NONE ? us : any,
                                .remote = *remote,
                                .local_port = 53,
                                .remote_port = remote_port,
                                .owner = 70 + (uint32_t)order,
                                .shared = true,
                                .order = order};
}

/* In whatever order they are put back: the last bound hears, as before; and what is bound now is later than all. */
START_TEST(test_restore)
{
    struct udp_binding early = was(&none, 0, 3), late = was(&none, 0, 900), connected = was(&peer, 9, 20);
    uint32_t first = UDP_NONE, second = UDP_NONE, third = UDP_NONE;
    ck_assert_int_eq(udp_restore(table, &late, &first), UDP_CALL_OK);
    ck_assert_int_eq(udp_restore(table, &connected, &second), UDP_CALL_OK);
    ck_assert_int_eq(udp_restore(table, &early, &third), UDP_CALL_OK);
    ck_assert_uint_eq(udp_binding_at(table, first)->owner, 970);
    ck_assert_uint_eq(udp_lookup(table, &peer, 9, &us, 53), second);
    ck_assert_uint_eq(udp_lookup(table, &other, 9, &us, 53), first);
    ck_assert_int_eq(udp_unbind(table, first), UDP_CALL_OK); /* the first of its chain */
    ck_assert_uint_eq(udp_lookup(table, &other, 9, &us, 53), third);
    uint32_t now = bound(&any, 53, true);
    ck_assert_uint_gt(udp_binding_at(table, now)->order, 900);
    ck_assert_int_eq(udp_unbind(table, third), UDP_CALL_OK); /* the last */
    ck_assert_uint_eq(udp_lookup(table, &other, 9, &us, 53), now);
}
END_TEST

START_TEST(test_restore_of_nonsense)
{
    uint32_t index = UDP_NONE;
    struct udp_binding no_port = was(&none, 0, 3), no_order = was(&none, 0, 0), no_peer_port = was(&peer, 0, 3);
    no_port.local_port = 0;
    ck_assert_int_eq(udp_restore(table, &no_port, &index), UDP_CALL_BAD_STATE);
    ck_assert_int_eq(udp_restore(table, &no_order, &index), UDP_CALL_BAD_STATE);
    ck_assert_int_eq(udp_restore(table, &no_peer_port, &index), UDP_CALL_BAD_STATE);
    ck_assert_uint_eq(udp_lookup(table, &peer, 9, &us, 53), UDP_NONE);
    for (uint32_t i = 0; i < config.bindings; i++)
        bound(&us, (uint16_t)(1000 + i), false);
    struct udp_binding good = was(&none, 0, 3);
    ck_assert_int_eq(udp_restore(table, &good, &index), UDP_CALL_TABLE_FULL);
    ck_assert_uint_eq(index, UDP_NONE);
}
END_TEST

START_TEST(test_counters_are_of_the_engine)
{
    struct udp_header h;
    ck_assert_int_eq(udp_parse(udp_counters(table), (const uint8_t *)"1234567", 7, 7, &h), UDP_DROP_short);
    ck_assert_uint_eq(udp_counters(table)->drop_short, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("udp");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, test_parse, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, test_checksum);
    tcase_add_test(c, test_zero_sum_is_sent_as_ones);
    tcase_add_test(c, test_bind_lookup_unbind);
    tcase_add_loop_test(c, test_in_use, 0, (int)(sizeof overlaps / sizeof overlaps[0]));
    tcase_add_test(c, test_most_specific);
    tcase_add_test(c, test_connect);
    tcase_add_test(c, test_families);
    tcase_add_test(c, test_next);
    tcase_add_test(c, test_full_and_ephemeral);
    tcase_add_test(c, test_ephemeral_ports_end);
    tcase_add_test(c, test_no_checksum);
    tcase_add_test(c, test_restore);
    tcase_add_test(c, test_restore_of_nonsense);
    tcase_add_test(c, test_counters_are_of_the_engine);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
