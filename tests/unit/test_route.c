// SPDX-License-Identifier: BSD-2-Clause
#include "protocols/ip/route.h"

#include "tests/unit/suite.h"

static struct ip_address four(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    return (struct ip_address){.family = ADDRESS_IP4, .octets = {a, b, c, d}};
}

static struct ip_address six(uint8_t first, uint8_t fourth, uint8_t last)
{
    return (struct ip_address){.family = ADDRESS_IP6, .octets = {first, [3] = fourth, [15] = last}};
}

static void find(const struct route_table *t, struct ip_address to, struct ip_address expected)
{
    struct ip_address hop;
    ck_assert_int_eq(route_find(t, &to, &hop), ROUTE_OK);
    ck_assert(ip_address_equal(&hop, &expected));
}

static enum route_result add(struct route_table *t, struct ip_address prefix, uint8_t length, struct ip_address gateway)
{
    struct route r = {.prefix = prefix, .prefix_length = length, .gateway = gateway};
    return route_add(t, &r);
}

START_TEST(test_longest_prefix)
{
    struct route_table t;
    struct ip_address none = {0}, hop, to = four(192, 0, 2, 1);
    route_table_init(&t);
    ck_assert_int_eq(route_find(&t, &to, &hop), ROUTE_NONE);
    ck_assert_int_eq(add(&t, four(0, 0, 0, 0), 0, four(10, 77, 0, 1)), ROUTE_OK);
    ck_assert_int_eq(add(&t, four(10, 77, 0, 0), 24, none), ROUTE_OK);
    ck_assert_int_eq(add(&t, four(192, 0, 2, 0), 25, four(10, 77, 0, 254)), ROUTE_OK);
    ck_assert_int_eq(add(&t, six(0xfd, 0, 0), 64, none), ROUTE_OK);
    ck_assert_int_eq(add(&t, six(0xfd, 0x40, 0), 26, six(0xfd, 0, 9)), ROUTE_OK);
    find(&t, four(10, 77, 0, 9), four(10, 77, 0, 9));
    find(&t, four(192, 0, 2, 127), four(10, 77, 0, 254));
    find(&t, four(192, 0, 2, 128), four(10, 77, 0, 1));
    find(&t, four(8, 8, 8, 8), four(10, 77, 0, 1));
    find(&t, six(0xfd, 0, 7), six(0xfd, 0, 7));
    find(&t, six(0xfd, 0x7f, 7), six(0xfd, 0, 9));
    to = six(0xfd, 0x80, 7); /* the 25th bit differs, and IPv4's default is not IPv6's */
    ck_assert_int_eq(route_find(&t, &to, &hop), ROUTE_NONE);
    ck_assert_int_eq(add(&t, four(192, 0, 2, 1), 32, none), ROUTE_OK);
    find(&t, four(192, 0, 2, 1), four(192, 0, 2, 1));
    ck_assert_int_eq(add(&t, six(0xfd, 0, 5), 128, six(0xfd, 0, 6)), ROUTE_OK);
    find(&t, six(0xfd, 0, 5), six(0xfd, 0, 6));
    ck_assert_int_eq(add(&t, four(192, 0, 0, 0), 16, four(10, 77, 0, 253)), ROUTE_OK); /* shorter, and later */
    find(&t, four(192, 0, 2, 127), four(10, 77, 0, 254));
    find(&t, four(192, 0, 2, 128), four(10, 77, 0, 253));
}
END_TEST

START_TEST(test_refused)
{
    struct route_table t;
    struct ip_address none = {0};
    route_table_init(&t);
    ck_assert_int_eq(add(&t, none, 0, none), ROUTE_BAD);
    ck_assert_int_eq(add(&t, four(192, 0, 2, 1), 24, none), ROUTE_BAD);
    ck_assert_int_eq(add(&t, four(192, 0, 2, 1), 33, none), ROUTE_BAD);
    ck_assert_int_eq(add(&t, six(0xfd, 0x40, 0), 25, none), ROUTE_BAD);
    ck_assert_int_eq(add(&t, six(0xfd, 0, 0), 129, none), ROUTE_BAD);
    ck_assert_int_eq(add(&t, four(192, 0, 2, 0), 24, six(0xfd, 0, 1)), ROUTE_BAD);
    ck_assert_int_eq(add(&t, four(192, 0, 2, 0), 24, none), ROUTE_OK);
    ck_assert_int_eq(add(&t, four(192, 0, 2, 0), 24, four(10, 0, 0, 1)), ROUTE_EXISTS);
    ck_assert_int_eq(add(&t, four(192, 0, 2, 0), 25, none), ROUTE_OK);
    for (uint8_t i = 2; i < ROUTES_MAX; i++)
        ck_assert_int_eq(add(&t, four(172, 16, i, 0), 24, none), ROUTE_OK);
    ck_assert_int_eq(add(&t, four(172, 17, 0, 0), 24, none), ROUTE_FULL);
}
END_TEST

SUITE_RUN("route", NULL, NULL, test_longest_prefix, test_refused)
