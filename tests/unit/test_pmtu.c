// SPDX-License-Identifier: BSD-2-Clause
#include "protocols/ip/pmtu.h"

#include "tests/unit/suite.h"

static struct pmtu t;
static const struct ip_address host = {.family = ADDRESS_IP4, .octets = {192, 0, 2, 1}};
static const struct ip_address host6 = {.family = ADDRESS_IP6, .octets = {0xfd, [15] = 1}};

static void setup(void)
{
    struct pmtu_config config = {.link_mtu = 1500, .key = {1, 2, 3}};
    pmtu_init(&t, &config);
}

START_TEST(test_reports)
{
    static const struct {
        const char *name;
        uint8_t family;
        uint32_t reported, packet;
        enum pmtu_result result;
        uint32_t mtu;
    } rows[] = {
        {"lower", ADDRESS_IP4, 1400, 1500, PMTU_LOWERED, 1400},
        {"raise", ADDRESS_IP4, 1450, 1500, PMTU_DROP_too_large, 1400},
        {"the same again", ADDRESS_IP4, 1400, 1500, PMTU_DROP_too_large, 1400},
        {"as long as the packet", ADDRESS_IP4, 1300, 1300, PMTU_DROP_too_large, 1400},
        {"too small", ADDRESS_IP4, 575, 1500, PMTU_DROP_too_small, 1400},
        {"old router", ADDRESS_IP4, 0, 1400, PMTU_LOWERED, 1006},
        {"old router again", ADDRESS_IP4, 0, 1006, PMTU_LOWERED, 576},
        {"old router, smallest", ADDRESS_IP4, 0, 576, PMTU_DROP_too_large, 576},
        {"lower", ADDRESS_IP6, 1400, 1500, PMTU_LOWERED, 1400},
        {"too small", ADDRESS_IP6, 1279, 1500, PMTU_DROP_too_small, 1400},
        {"no MTU", ADDRESS_IP6, 0, 1500, PMTU_DROP_too_small, 1400},
        {"smallest", ADDRESS_IP6, 1280, 1400, PMTU_LOWERED, 1280},
        {"no family", ADDRESS_NONE, 1400, 1500, PMTU_DROP_family, 1500},
        {"above the link's", ADDRESS_IP6, 9000, 9100, PMTU_DROP_too_large, 1280},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ip_address to = rows[i].family == ADDRESS_IP4 ? host : host6;
        to.family = rows[i].family;
        ck_assert_msg(pmtu_report(&t, 5, &to, rows[i].reported, rows[i].packet) == rows[i].result, "%s", rows[i].name);
        ck_assert_msg(pmtu_get(&t, 5, &to) == rows[i].mtu, "%s", rows[i].name);
    }
    ck_assert_uint_eq(t.counters.lowered, 5);
    ck_assert_uint_eq(t.counters.drop_too_large, 5);
    ck_assert_uint_eq(t.counters.drop_too_small, 3);
    ck_assert_uint_eq(t.counters.drop_family, 1);
}
END_TEST

START_TEST(test_expires)
{
    struct ip_address other = host;
    other.octets[3] = 2;
    ck_assert_int_eq(pmtu_report(&t, 100, &host, 1400, 1500), PMTU_LOWERED);
    ck_assert_uint_eq(pmtu_get(&t, 100, &other), 1500);
    ck_assert_uint_eq(pmtu_get(&t, 99 + PMTU_AGE_US, &host), 1400);
    ck_assert_uint_eq(pmtu_get(&t, 100 + PMTU_AGE_US, &host), 1500);
    ck_assert_uint_eq(t.counters.expired, 1);
    ck_assert_uint_eq(t.used, 0);
}
END_TEST

START_TEST(test_bounded)
{
    struct ip_address to = host;
    for (uint32_t i = 0; i < 1000; i++) {
        to.octets[2] = (uint8_t)(i >> 8);
        to.octets[3] = (uint8_t)i;
        ck_assert_int_eq(pmtu_report(&t, i, &to, 1400, 1500), PMTU_LOWERED);
        ck_assert_uint_eq(pmtu_get(&t, i, &to), 1400); /* the newest is always known */
    }
    ck_assert_uint_eq(t.used, PMTU_SETS * PMTU_WAYS);
    ck_assert_uint_eq(t.counters.evicted, 1000 - PMTU_SETS * PMTU_WAYS);
}
END_TEST

/* Judged, counted if it is bad, and nothing is remembered. */
START_TEST(test_check)
{
    static const struct {
        uint32_t reported, packet;
        enum pmtu_result result;
        uint32_t mtu;
    } rows[] = {
        {1400, 1500, PMTU_LOWERED, 1400},     {0, 1500, PMTU_LOWERED, 1492},       {1500, 1501, PMTU_DROP_too_large, 0},
        {1400, 1400, PMTU_DROP_too_large, 0}, {575, 1500, PMTU_DROP_too_small, 0}, {9000, 9001, PMTU_DROP_too_large, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t mtu = 0;
        ck_assert_int_eq(pmtu_check(&t, &host, rows[i].reported, rows[i].packet, &mtu), rows[i].result);
        if (rows[i].result == PMTU_LOWERED)
            ck_assert_uint_eq(mtu, rows[i].mtu);
        ck_assert_uint_eq(pmtu_get(&t, 5, &host), 1500);
    }
    ck_assert_uint_eq(t.counters.lowered, 0);
    ck_assert_uint_eq(t.counters.drop_too_large, 3);
    ck_assert_uint_eq(t.counters.drop_too_small, 1);
    ck_assert_uint_eq(t.used, 0);
}
END_TEST

SUITE_RUN("pmtu", setup, NULL, test_check, test_reports, test_expires, test_bounded)
