// SPDX-License-Identifier: BSD-2-Clause
#include <check.h>
#include <stdlib.h>

#include "protocols/base/checksum.h"
#include "protocols/icmp/icmp.h"
#include "protocols/icmp/icmp_wire.h"
#include "protocols/ip4/ip4_wire.h"

#define SECOND 1000000U

static const struct ip_address us = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}};
static const struct ip_address peer = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}};
static const struct ip4_config own = {
    .own = {{.address = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}}, .prefix_length = 24}},
    .own_count = 1,
};
static const struct icmp_config config = {
    .ip4 = &own,
    .errors_per_second = 10,
    .errors_burst = 3,
};

static struct icmp engine;
static struct icmp_input_out out;
static struct ip4_header from_peer;

static void setup(void)
{
    icmp_init(&engine, &config, 0);
    from_peer = (struct ip4_header){.source = peer,
                                    .destination = us,
                                    .header_length = 20,
                                    .total_length = 28,
                                    .protocol = IP_PROTOCOL_ICMP,
                                    .ttl = 64};
}

static void seal(uint8_t *message, size_t length)
{
    message[2] = message[3] = 0;
    be16 sum = checksum_finish(checksum_add(0, message, length));
    memcpy(message + 2, &sum, 2);
}

static enum icmp_input_result input(const uint8_t *message, size_t length)
{
    size_t captured = length > ICMP_CAPTURE_MAX ? ICMP_CAPTURE_MAX : length;
    uint64_t rest = checksum_add(0, message + captured, length - captured);
    return icmp_input(&engine, &from_peer, message, captured, length, rest, &out);
}

START_TEST(test_echo)
{
    static const size_t lengths[] = {8, 9, 64, 76, 77, 1400, 1401};
    uint8_t message[1500] = {ICMP_TYPE_ECHO, 0, 0, 0, 0x12, 0x34, 0, 1};
    size_t length = lengths[_i];
    for (size_t i = 8; i < length; i++)
        message[i] = (uint8_t)(i * 7);
    seal(message, length);
    ck_assert_int_eq(input(message, length), ICMP_INPUT_REPLY);
    ck_assert_uint_eq(out.reply.payload_offset, 8);
    ck_assert_uint_eq(out.reply.payload_length, length - 8);
    memcpy(message, out.reply.header, 8);
    ck_assert_uint_eq(message[0], ICMP_TYPE_ECHO_REPLY);
    ck_assert_mem_eq(message + 4, "\x12\x34\0\1", 4);
    ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(0, message, length))), 0);
    ck_assert(ip_address_equal(&out.reply.ip4.source, &us));
    ck_assert(ip_address_equal(&out.reply.ip4.destination, &peer));
    ck_assert_uint_eq(out.reply.ip4.total_length, 20 + length);
    ck_assert_uint_eq(engine.counters.echo_replies_out, 1);
}
END_TEST

START_TEST(test_echo_of_zeros)
{
    uint8_t message[8] = {ICMP_TYPE_ECHO};
    seal(message, 8);
    ck_assert_int_eq(input(message, 8), ICMP_INPUT_REPLY);
    ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(0, out.reply.header, 8))), 0);
}
END_TEST

/* A row changes a good "port unreachable" about a UDP datagram of ours: 8 + 20 + 8 octets. */
static const struct {
    const char *name;
    size_t length, offset;
    const char *octets;
    size_t count;
    enum icmp_input_result result;
} rows[] = {
    {"good", 36, 0, "", 0, ICMP_INPUT_ERROR},
    {"fragmentation needed", 36, 0, "\3\4\0\0\0\0\5\x78", 8, ICMP_INPUT_ERROR},
    {"time exceeded", 36, 0, "\x0b\0", 2, ICMP_INPUT_ERROR},
    {"parameter problem", 36, 0, "\x0c\0", 2, ICMP_INPUT_ERROR},
    {"short", 7, 0, "", 0, ICMP_DROP_short},
    {"empty", 0, 0, "", 0, ICMP_DROP_short},
    {"unreachable code", 36, 1, "\x10", 1, ICMP_DROP_code},
    {"echo code", 36, 0, "\x08\1", 2, ICMP_DROP_code},
    {"echo reply", 36, 0, "\0\0", 2, ICMP_DROP_echo_reply},
    {"redirect", 36, 0, "\5\0", 2, ICMP_DROP_redirect},
    {"source quench", 36, 0, "\4\0", 2, ICMP_DROP_type},
    {"timestamp", 36, 0, "\x0d\0", 2, ICMP_DROP_type},
    {"no quote", 8, 0, "", 0, ICMP_DROP_quote_short},
    {"quote one short", 35, 0, "", 0, ICMP_DROP_quote_short},
    {"quote's options not there", 36, 8, "\x46", 1, ICMP_DROP_quote_short},
    {"quoted version", 36, 8, "\x65", 1, ICMP_DROP_quote_header},
    {"quoted header length", 36, 8, "\x44", 1, ICMP_DROP_quote_header},
    {"quoted fragment", 36, 14, "\0\1", 2, ICMP_DROP_quote_fragment},
    {"quoted first fragment", 36, 14, "\x20\0", 2, ICMP_INPUT_ERROR},
    {"quoted source", 36, 20, "\x0a\x4d\0\7", 4, ICMP_DROP_quote_source},
    {"quoted source is loopback", 36, 20, "\x7f\0\0\1", 4, ICMP_DROP_quote_source}, /* it never left */
    {"quoted destination is loopback", 36, 24, "\x7f\0\0\1", 4, ICMP_DROP_quote_source},
    {"quoted destination is ours", 36, 24, "\x0a\x4d\0\2", 4, ICMP_DROP_quote_source},
};

static uint64_t drops(const struct icmp_counters *c, enum icmp_input_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case ICMP_DROP_##name:                                                                                             \
        return c->drop_##name;
        ICMP_DROPS(X)
#undef X
    default:
        return c->errors_in;
    }
}

static void unreachable_packet(uint8_t message[36])
{
    static const uint8_t packet[36] = {3, 3, 0,  0,  0, 0, 0,  0,  0x45, 0, 0,    40, 0,    1,    0, 0,  64, 17,
                                       0, 0, 10, 77, 0, 2, 10, 77, 0,    1, 0x80, 1,  0x14, 0xe9, 0, 20, 0,  0};
    memcpy(message, packet, 36);
}

START_TEST(test_input)
{
    uint8_t message[36];
    unreachable_packet(message);
    memcpy(message + rows[_i].offset, rows[_i].octets, rows[_i].count);
    if (rows[_i].length >= 8)
        seal(message, rows[_i].length);
    ck_assert_msg(input(message, rows[_i].length) == rows[_i].result, "%s", rows[_i].name);
    ck_assert_uint_eq(drops(&engine.counters, rows[_i].result), 1);
    if (rows[_i].result != ICMP_INPUT_ERROR)
        return;
    ck_assert_uint_eq(out.error.type, message[0]);
    ck_assert_uint_eq(out.error.code, message[1]);
    ck_assert_uint_eq(out.error.protocol, IP_PROTOCOL_UDP);
    ck_assert(ip_address_equal(&out.error.source, &us));
    ck_assert(ip_address_equal(&out.error.destination, &peer));
    ck_assert_mem_eq(out.error.quoted_octets, message + 28, 8);
    ck_assert_uint_eq(out.error.next_hop_mtu, message[1] == 4 ? 1400 : 0);
}
END_TEST

START_TEST(test_checksum)
{
    uint8_t message[200] = {ICMP_TYPE_ECHO};
    seal(message, sizeof message);
    message[150] ^= 4; /* behind what is captured */
    ck_assert_int_eq(input(message, sizeof message), ICMP_DROP_checksum);
    message[150] ^= 4;
    message[5] ^= 1;
    ck_assert_int_eq(input(message, sizeof message), ICMP_DROP_checksum);
    ck_assert_uint_eq(engine.counters.drop_checksum, 2);
}
END_TEST

START_TEST(test_echo_to_broadcast)
{
    uint8_t message[8] = {ICMP_TYPE_ECHO};
    seal(message, 8);
    from_peer.broadcast = true;
    ck_assert_int_eq(input(message, 8), ICMP_DROP_echo_broadcast);
    ck_assert_uint_eq(engine.counters.drop_echo_broadcast, 1);
}
END_TEST

/* ---- errors sent ---- */
static uint8_t offender[80];
static struct ip4_header offender_header;
static struct icmp_message sent;

static void offender_make(uint8_t protocol)
{
    offender_header = (struct ip4_header){
        .source = peer, .destination = us, .total_length = 48, .header_length = 20, .protocol = protocol, .ttl = 64};
    memset(offender, 0xab, sizeof offender);
    ip4_build(&offender_header, offender);
}

static enum icmp_error_result unreachable(uint64_t now, size_t captured)
{
    return icmp_error(&engine, now, ICMP_TYPE_UNREACHABLE, ICMP_CODE_PORT_UNREACHABLE, 0, &offender_header, false,
                      offender, captured, &sent);
}

START_TEST(test_unreachable)
{
    offender_make(IP_PROTOCOL_UDP);
    ck_assert_int_eq(unreachable(0, 48), ICMP_ERROR_SEND);
    ck_assert_uint_eq(sent.length, 36);
    ck_assert_mem_eq(sent.bytes + 8, offender, 28);
    ck_assert_uint_eq(sent.bytes[0], 3);
    ck_assert_uint_eq(sent.bytes[1], 3);
    ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(0, sent.bytes, sent.length))), 0);
    ck_assert(ip_address_equal(&sent.ip4.destination, &peer));
    ck_assert(ip_address_equal(&sent.ip4.source, &us));
    ck_assert_uint_eq(sent.ip4.total_length, 56);
    ck_assert_uint_eq(engine.counters.unreachables_out, 1);
}
END_TEST

/* RFC 792: the header and 64 bits; or what there is of it. */
START_TEST(test_quotes_what_there_is)
{
    static const struct {
        size_t captured;
        uint16_t total;
        uint32_t quoted;
    } lengths[] = {{48, 48, 28}, {28, 48, 28}, {25, 48, 25}, {20, 48, 20}, {48, 24, 24}, {22, 21, 21}};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        setup();
        offender_make(IP_PROTOCOL_UDP);
        offender_header.total_length = lengths[i].total;
        ck_assert_int_eq(unreachable(0, lengths[i].captured), ICMP_ERROR_SEND);
        ck_assert_uint_eq(sent.length, 8 + lengths[i].quoted);
        ck_assert_mem_eq(sent.bytes + 8, offender, lengths[i].quoted);
        ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(0, sent.bytes, sent.length))), 0);
        ck_assert_uint_eq(sent.ip4.total_length, 28 + lengths[i].quoted);
    }
}
END_TEST

static const struct {
    uint8_t type, code;
    uint16_t parameter;
    const char *octets; /* behind the checksum */
} errors[] = {
    {ICMP_TYPE_UNREACHABLE, ICMP_CODE_HOST_UNREACHABLE, 0, "\0\0\0\0"},
    {ICMP_TYPE_UNREACHABLE, ICMP_CODE_FRAGMENTATION_NEEDED, 1400, "\0\0\5\x78"},
    {ICMP_TYPE_TIME_EXCEEDED, ICMP_CODE_REASSEMBLY, 0, "\0\0\0\0"},
    {ICMP_TYPE_PARAMETER_PROBLEM, ICMP_CODE_POINTER, 22, "\x16\0\0\0"},
};

START_TEST(test_errors)
{
    offender_make(IP_PROTOCOL_UDP);
    ck_assert_int_eq(icmp_error(&engine, 0, errors[_i].type, errors[_i].code, errors[_i].parameter, &offender_header,
                                false, offender, 48, &sent),
                     ICMP_ERROR_SEND);
    ck_assert_uint_eq(sent.bytes[0], errors[_i].type);
    ck_assert_uint_eq(sent.bytes[1], errors[_i].code);
    ck_assert_mem_eq(sent.bytes + 4, errors[_i].octets, 4);
    ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(0, sent.bytes, sent.length))), 0);
    const struct icmp_counters *c = &engine.counters;
    ck_assert_uint_eq(c->unreachables_out, errors[_i].type == ICMP_TYPE_UNREACHABLE);
    ck_assert_uint_eq(c->time_exceeded_out, errors[_i].type == ICMP_TYPE_TIME_EXCEEDED);
    ck_assert_uint_eq(c->parameter_problems_out, errors[_i].type == ICMP_TYPE_PARAMETER_PROBLEM);
}
END_TEST

START_TEST(test_withheld)
{
    offender_make(IP_PROTOCOL_ICMP);
    offender[20] = ICMP_TYPE_TIME_EXCEEDED;
    ck_assert_int_eq(unreachable(0, 48), ICMP_WITHHELD_about_error);
    offender_make(IP_PROTOCOL_UDP);
    offender_header.fragment_offset = 8;
    ck_assert_int_eq(unreachable(0, 48), ICMP_WITHHELD_about_fragment);
    offender_make(IP_PROTOCOL_UDP);
    offender_header.broadcast = true;
    ck_assert_int_eq(unreachable(0, 48), ICMP_WITHHELD_about_broadcast);
    offender_make(IP_PROTOCOL_UDP);
    offender_header.destination.octets[0] = 224;
    ck_assert_int_eq(unreachable(0, 48), ICMP_WITHHELD_about_broadcast);
    offender_make(IP_PROTOCOL_UDP);
    ck_assert_int_eq(icmp_error(&engine, 0, ICMP_TYPE_UNREACHABLE, ICMP_CODE_PORT_UNREACHABLE, 0, &offender_header,
                                true, offender, 48, &sent),
                     ICMP_WITHHELD_about_broadcast);
    offender_header.source.octets[0] = 255;
    ck_assert_int_eq(unreachable(0, 48), ICMP_WITHHELD_about_bad_source);
    offender_make(IP_PROTOCOL_UDP);
    ck_assert_int_eq(unreachable(0, 19), ICMP_WITHHELD_about_truncated);
    const struct icmp_counters *c = &engine.counters;
    ck_assert_uint_eq(c->withheld_about_error, 1);
    ck_assert_uint_eq(c->withheld_about_fragment, 1);
    ck_assert_uint_eq(c->withheld_about_broadcast, 3);
    ck_assert_uint_eq(c->withheld_about_bad_source, 1);
    ck_assert_uint_eq(c->withheld_about_truncated, 1);
    ck_assert_uint_eq(c->unreachables_out, 0);
}
END_TEST

START_TEST(test_rate)
{
    offender_make(IP_PROTOCOL_UDP);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(unreachable(0, 48), ICMP_ERROR_SEND);
    ck_assert_int_eq(unreachable(0, 48), ICMP_WITHHELD_rate_limited);
    ck_assert_int_eq(unreachable(SECOND / 10 - 1, 48), ICMP_WITHHELD_rate_limited);
    ck_assert_int_eq(unreachable(SECOND / 10, 48), ICMP_ERROR_SEND);
    ck_assert_int_eq(unreachable(SECOND / 10, 48), ICMP_WITHHELD_rate_limited);
    for (int i = 0; i < 3; i++) /* never more than the burst */
        ck_assert_int_eq(unreachable(100 * SECOND, 48), ICMP_ERROR_SEND);
    ck_assert_int_eq(unreachable(100 * SECOND, 48), ICMP_WITHHELD_rate_limited);
    ck_assert_uint_eq(engine.counters.withheld_rate_limited, 4);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("icmp");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_loop_test(c, test_echo, 0, 7);
    tcase_add_test(c, test_echo_of_zeros);
    tcase_add_loop_test(c, test_input, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, test_checksum);
    tcase_add_test(c, test_echo_to_broadcast);
    tcase_add_test(c, test_unreachable);
    tcase_add_test(c, test_quotes_what_there_is);
    tcase_add_loop_test(c, test_errors, 0, (int)(sizeof errors / sizeof errors[0]));
    tcase_add_test(c, test_withheld);
    tcase_add_test(c, test_rate);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
