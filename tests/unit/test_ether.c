// SPDX-License-Identifier: BSD-2-Clause
#include <check.h>
#include <stdlib.h>

#include "protocols/ether/ether.h"
#include "protocols/ether/ether_wire.h"

static const struct mac_address own = {{2, 0, 0, 0, 0, 2}};

#define GOOD                                                                                                           \
    "\2\0\0\0\0\2"                                                                                                     \
    "\2\0\0\0\0\1"                                                                                                     \
    "\x08\0"

static const struct {
    const char *name;
    size_t length;
    const char *bytes;
    enum ether_result result;
    bool group;
} rows[] = {
    {"ours", 14, GOOD, ETHER_OK, false},
    {"broadcast", 14,
     "\xff\xff\xff\xff\xff\xff"
     "\2\0\0\0\0\1"
     "\x08\6",
     ETHER_OK, true},
    {"multicast", 14,
     "\1\0\x5e\0\0\1"
     "\2\0\0\0\0\1"
     "\x08\0",
     ETHER_OK, true},
    {"nothing", 0, GOOD, ETHER_DROP_short, false},
    {"one short", 13, GOOD, ETHER_DROP_short, false},
    {"source is broadcast", 14,
     "\2\0\0\0\0\2"
     "\xff\xff\xff\xff\xff\xff"
     "\x08\0",
     ETHER_DROP_source, false},
    {"source is multicast", 14,
     "\2\0\0\0\0\2"
     "\3\0\0\0\0\1"
     "\x08\0",
     ETHER_DROP_source, false},
    {"source is zero", 14,
     "\2\0\0\0\0\2"
     "\0\0\0\0\0\0"
     "\x08\0",
     ETHER_DROP_source, false},
    {"802.3 length", 14,
     "\2\0\0\0\0\2"
     "\2\0\0\0\0\1"
     "\5\xff",
     ETHER_DROP_length_type, false},
    {"least type", 14,
     "\2\0\0\0\0\2"
     "\2\0\0\0\0\1"
     "\6\0",
     ETHER_OK, false},
    {"another station", 14,
     "\2\0\0\0\0\3"
     "\2\0\0\0\0\1"
     "\x08\0",
     ETHER_DROP_not_ours, false},
};

static uint64_t drops(const struct ether_counters *c, enum ether_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case ETHER_DROP_##name:                                                                                            \
        return c->drop_##name;
        ETHER_DROPS(X)
#undef X
    default:
        return c->frames_in;
    }
}

START_TEST(test_parse)
{
    struct ether_counters counters = {0};
    struct ether_header h = {.type = 7};
    ck_assert_msg(ether_parse(&counters, &own, (const uint8_t *)rows[_i].bytes, rows[_i].length, &h) == rows[_i].result,
                  "%s", rows[_i].name);
    ck_assert_uint_eq(drops(&counters, rows[_i].result), 1);
    if (rows[_i].result == ETHER_OK)
        ck_assert_int_eq(h.group, rows[_i].group);
    else
        ck_assert_uint_eq(h.type, 7); /* untouched */
}
END_TEST

START_TEST(test_build)
{
    struct ether_header h = {.destination = own, .source = {{2, 0, 0, 0, 0, 1}}, .type = ETHER_TYPE_IP4};
    uint8_t bytes[ETHER_HEADER_LENGTH];
    ether_build(&h, bytes);
    ck_assert_mem_eq(bytes, GOOD, sizeof bytes);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ether");
    TCase *c = tcase_create("all");
    tcase_add_loop_test(c, test_parse, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, test_build);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
