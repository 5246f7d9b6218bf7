// SPDX-License-Identifier: BSD-2-Clause
#include <check.h>
#include <stdlib.h>

#include "protocols/base/checksum.h"
#include "protocols/base/siphash.h"

/* RFC 1071 4.1, as it stands there: one 16-bit word at a time. */
static uint16_t reference(const uint8_t *bytes, size_t length)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < length; i++)
        sum += i % 2 == 0 ? (uint64_t)bytes[i] << 8 : bytes[i];
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

START_TEST(test_known)
{
    /* RFC 1071 3 */
    static const uint8_t rfc[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    ck_assert_uint_eq(be16_get(checksum_fold(checksum_add(0, rfc, sizeof rfc))), 0xddf2);
    ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(0, rfc, sizeof rfc))), 0x220d);
    ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(0, rfc, 0))), 0xffff);
}
END_TEST

START_TEST(test_every_length_and_offset)
{
    uint8_t bytes[400];
    srand(1);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)rand();
    for (size_t offset = 0; offset < 33; offset++)
        for (size_t length = 0; length + offset <= sizeof bytes; length++)
            ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(0, bytes + offset, length))),
                              reference(bytes + offset, length));
}
END_TEST

START_TEST(test_carries_at_full_size)
{
    static uint8_t bytes[65535];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = 0xff;
    ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(0, bytes, sizeof bytes))), reference(bytes, sizeof bytes));
    ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(UINT64_MAX - 0xffff, bytes, 2))), 0);
}
END_TEST

START_TEST(test_pieces_add_up)
{
    uint8_t bytes[301];
    srand(2);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)rand();
    for (size_t cut = 0; cut < sizeof bytes; cut += 2) {
        uint64_t sum = checksum_add(0, bytes, cut);
        sum = checksum_add(sum, bytes + cut, sizeof bytes - cut);
        ck_assert_uint_eq(be16_get(checksum_finish(sum)), reference(bytes, sizeof bytes));
    }
}
END_TEST

START_TEST(test_pseudo_header)
{
    struct ip_address a = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}};
    struct ip_address b = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}};
    static const uint8_t as_octets[] = {10, 77, 0, 1, 10, 77, 0, 2, 0, 17, 0x12, 0x34};
    ck_assert_uint_eq(be16_get(checksum_finish(checksum_pseudo_header(&a, &b, 17, 0x1234))),
                      reference(as_octets, sizeof as_octets));

    struct ip_address c = {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 1}};
    struct ip_address d = {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 2}};
    static const uint8_t as_octets6[40] = {
        0xfd, 0x77, [15] = 1, [16] = 0xfd, 0x77, [31] = 2, [33] = 1, [34] = 0x12, 0x34, [39] = 6};
    ck_assert_uint_eq(be16_get(checksum_finish(checksum_pseudo_header(&c, &d, 6, 0x11234))),
                      reference(as_octets6, sizeof as_octets6));
}
END_TEST

START_TEST(test_siphash_vectors)
{
    uint8_t key[16], bytes[15];
    for (uint8_t i = 0; i < 16; i++)
        key[i] = i;
    for (uint8_t i = 0; i < 15; i++)
        bytes[i] = i;
    ck_assert_uint_eq(siphash(key, bytes, 15), 0xa129ca6149be45e5U); /* the paper's appendix A */
    ck_assert_uint_eq(siphash(key, bytes, 0), 0x726fdb47dd0e0e31U);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("checksum");
    TCase *c = tcase_create("all");
    tcase_add_test(c, test_known);
    tcase_add_test(c, test_every_length_and_offset);
    tcase_add_test(c, test_carries_at_full_size);
    tcase_add_test(c, test_pieces_add_up);
    tcase_add_test(c, test_pseudo_header);
    tcase_add_test(c, test_siphash_vectors);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
