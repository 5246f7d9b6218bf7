// SPDX-License-Identifier: BSD-2-Clause
#include <check.h>
#include <stdlib.h>

#include "protocols/base/checksum.h"
#include "protocols/icmp/icmp6.h"
#include "protocols/icmp/icmp6_wire.h"
#include "protocols/ip6/ip6_wire.h"

#define SECOND 1000000U
#define ADDRESS(...)                                                                                                   \
    {                                                                                                                  \
        .family = ADDRESS_IP6, .octets = { __VA_ARGS__ }                                                               \
    }

static const struct ip_address peer = ADDRESS(0xfd, 0x77, [15] = 1);
static const struct ip6_config own = {
    .own = {{.address = ADDRESS(0xfd, 0x77, [15] = 2), .prefix_length = 64}},
    .own_count = 1,
};
static const struct icmp6_config config = {.ip6 = &own, .errors_per_second = 10, .errors_burst = 3};
#define US own.own[0].address

static struct icmp6 engine;
static struct icmp6_input_out out;
static struct ip6_header from_peer;

static void setup(void)
{
    icmp6_init(&engine, &config, 0);
    from_peer = (struct ip6_header){
        .source = peer, .destination = US, .transport_offset = 40, .protocol = IP_PROTOCOL_ICMP6, .hop_limit = 64};
}

static void seal(uint8_t *message, size_t length)
{
    memset(message + 2, 0, 2);
    uint64_t sum =
        checksum_pseudo_header(&from_peer.source, &from_peer.destination, IP_PROTOCOL_ICMP6, (uint32_t)length);
    be16 checksum = checksum_finish(checksum_add(sum, message, length));
    memcpy(message + 2, &checksum, 2);
}

static bool is_sealed(const struct ip6_header *ip6, const uint8_t *head, size_t head_length, const uint8_t *rest,
                      size_t rest_length)
{
    uint32_t length = (uint32_t)(head_length + rest_length);
    uint64_t sum = checksum_pseudo_header(&ip6->source, &ip6->destination, IP_PROTOCOL_ICMP6, length);
    return be16_get(checksum_finish(checksum_add(checksum_add(sum, head, head_length), rest, rest_length))) == 0;
}

/* As ip does it: the beginning is copied, of the rest there is the sum. */
static enum icmp6_input_result input(const uint8_t *message, size_t length)
{
    size_t captured = length < ICMP6_CAPTURE_MAX ? length : ICMP6_CAPTURE_MAX;
    uint8_t *copy = malloc(captured + (captured == 0));
    memcpy(copy, message, captured);
    uint64_t rest = checksum_add(0, message + captured, length - captured);
    enum icmp6_input_result result = icmp6_input(&engine, &from_peer, copy, captured, length, rest, &out);
    free(copy);
    return result;
}

static uint64_t drops(enum icmp6_input_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case ICMP6_DROP_##name:                                                                                            \
        return engine.counters.drop_##name;
        ICMP6_DROPS(X)
#undef X
    case ICMP6_INPUT_REPLY:
        return engine.counters.echo_replies_out;
    case ICMP6_INPUT_ERROR:
        return engine.counters.errors_in;
    case ICMP6_INPUT_NDP:
        return engine.counters.neighbour_in;
    default:
        return 0;
    }
}

/* An error about a packet of ours: eight octets, then the packet from `quote` on; one change. */
static size_t error_make(uint8_t *bytes, uint8_t type, uint8_t code, uint32_t parameter)
{
    struct ip6_header quoted = {
        .source = US, .destination = peer, .payload_length = 20, .protocol = IP_PROTOCOL_UDP, .hop_limit = 1};
    be32 p = be32_make(parameter);
    memset(bytes, 0, 8);
    bytes[0] = type;
    bytes[1] = code;
    memcpy(bytes + 4, &p, 4);
    ip6_build(&quoted, bytes + 8);
    memcpy(bytes + 48, "\x30\x39\0\x35\0\x14\xaa\xbb", 8);
    return 56;
}

static const struct {
    const char *name;
    size_t offset;
    const char *octets;
    size_t count;
    size_t length;
    enum icmp6_input_result result;
} rows[] = {
    {"port unreachable", 0, "", 0, 56, ICMP6_INPUT_ERROR},
    {"of unknown type", 0, "\x64", 1, 56, ICMP6_INPUT_ERROR},
    {"time exceeded", 0, "\3\0", 2, 56, ICMP6_INPUT_ERROR},
    {"too big", 0, "\2\0\0\0\0\0\5\0", 8, 56, ICMP6_INPUT_ERROR},
    {"too big with a code", 0, "\2\7\0\0\0\0\5\0", 8, 56, ICMP6_INPUT_ERROR}, /* RFC 4443 3.2: ignored */
    {"too big for the least", 0, "\2\0\0\0\0\0\4\xff", 8, 56, ICMP6_DROP_too_small},
    {"echo reply", 0, "\x81\0", 2, 56, ICMP6_DROP_echo_reply},
    {"unknown information", 0, "\xc8\0", 2, 56, ICMP6_DROP_type},
    {"another's report", 0, "\x8f\0", 2, 56, ICMP6_DROP_listener},
    {"echo with a code", 0, "\x80\1", 2, 56, ICMP6_DROP_code},
    {"solicitation", 0, "\x87\0", 2, 56, ICMP6_INPUT_NDP},
    {"redirect", 0, "\x89\0", 2, 56, ICMP6_INPUT_NDP},
    {"listener query", 0, "\x82\0", 2, 56, ICMP6_INPUT_NDP},
    {"seven octets", 0, "", 0, 7, ICMP6_DROP_short},
    {"nothing quoted", 0, "", 0, 8, ICMP6_DROP_quote_short},
    {"ports cut off", 0, "", 0, 55, ICMP6_DROP_quote_short},
    {"quoted version", 8, "\x45", 1, 56, ICMP6_DROP_quote_header},
    {"quoted source is the peer", 31, "\1", 1, 56, ICMP6_DROP_quote_source},
    {"quoted source is loopback", 16, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, 56, ICMP6_DROP_quote_source}, /* it never left */
    {"quoted destination is ours", 47, "\2", 1, 56, ICMP6_DROP_quote_source},
    {"quoted later fragment", 14, "\x2c", 1, 56, ICMP6_DROP_quote_fragment}, /* the ports are its header */
    {"quoted chain cut off", 14, "\x3c", 1, 56, ICMP6_DROP_quote_short},
};

START_TEST(test_rows)
{
    uint8_t message[100];
    error_make(message, ICMP6_TYPE_UNREACHABLE, ICMP6_CODE_PORT_UNREACHABLE, 0);
    memcpy(message + rows[_i].offset, rows[_i].octets, rows[_i].count);
    seal(message, rows[_i].length);
    ck_assert_msg(input(message, rows[_i].length) == rows[_i].result, "%s", rows[_i].name);
    ck_assert_uint_eq(drops(rows[_i].result), 1);
}
END_TEST

START_TEST(test_error_in)
{
    uint8_t message[100];
    size_t length = error_make(message, ICMP6_TYPE_PACKET_TOO_BIG, 0, 1400);
    seal(message, length);
    ck_assert_int_eq(input(message, length), ICMP6_INPUT_ERROR);
    ck_assert_uint_eq(out.error.type, ICMP6_TYPE_PACKET_TOO_BIG);
    ck_assert_uint_eq(out.error.next_hop_mtu, 1400);
    ck_assert_uint_eq(out.error.protocol, IP_PROTOCOL_UDP);
    ck_assert_mem_eq(out.error.quoted_octets, "\x30\x39\0\x35\0\x14\xaa\xbb", 8);
    ck_assert(ip_address_equal(&out.error.reporter, &peer));
    ck_assert(ip_address_equal(&out.error.source, &US));
    ck_assert(ip_address_equal(&out.error.destination, &peer));

    error_make(message, ICMP6_TYPE_PACKET_TOO_BIG, 0, 100000);
    seal(message, length);
    ck_assert_int_eq(input(message, length), ICMP6_INPUT_ERROR);
    ck_assert_uint_eq(out.error.next_hop_mtu, 65535);

    error_make(message, ICMP6_TYPE_PARAMETER_PROBLEM, ICMP6_CODE_NEXT_HEADER, 6);
    memmove(message + 56, message + 48, 8); /* behind a fragment header: the ports are found */
    memcpy(message + 48, "\x11\0\0\1\0\0\0\7", 8);
    message[14] = IP_PROTOCOL_FRAGMENT;
    seal(message, 64);
    ck_assert_int_eq(input(message, 64), ICMP6_INPUT_ERROR);
    ck_assert_uint_eq(out.error.pointer, 6);
    ck_assert_uint_eq(out.error.protocol, IP_PROTOCOL_UDP);
    ck_assert_mem_eq(out.error.quoted_octets, "\x30\x39\0\x35", 4);
}
END_TEST

START_TEST(test_checksum)
{
    uint8_t message[100];
    for (size_t bit = 0; bit < 56 * 8; bit++) {
        error_make(message, ICMP6_TYPE_UNREACHABLE, ICMP6_CODE_PORT_UNREACHABLE, 0);
        seal(message, 56);
        message[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert_int_eq(input(message, 56), ICMP6_DROP_checksum);
    }
    from_peer.source.octets[15] ^= 4; /* the pseudo-header counts */
    error_make(message, ICMP6_TYPE_UNREACHABLE, ICMP6_CODE_PORT_UNREACHABLE, 0);
    seal(message, 56);
    from_peer.source.octets[15] ^= 4;
    ck_assert_int_eq(input(message, 56), ICMP6_DROP_checksum);
    ck_assert_uint_eq(engine.counters.drop_checksum, 56 * 8 + 1);
}
END_TEST

/* ---- echo ---- */
static const size_t echo_lengths[] = {8, 9, 64, ICMP6_CAPTURE_MAX, ICMP6_CAPTURE_MAX + 1, 60008, 65535};

START_TEST(test_echo)
{
    size_t length = echo_lengths[_i];
    uint8_t *message = malloc(length);
    for (size_t i = 0; i < length; i++)
        message[i] = (uint8_t)(i * 7 + i / 256);
    memcpy(message, "\x80\0\0\0\x12\x34\0\5", 8);
    seal(message, length);
    ck_assert_int_eq(input(message, length), ICMP6_INPUT_REPLY);
    const struct icmp6_reply *r = &out.reply;
    ck_assert_uint_eq(r->payload_offset, 8);
    ck_assert_uint_eq(r->payload_length, length - 8);
    ck_assert_uint_eq(r->header[0], ICMP6_TYPE_ECHO_REPLY);
    ck_assert_mem_eq(r->header + 4, "\x12\x34\0\5", 4);
    ck_assert(ip_address_equal(&r->ip6.source, &US));
    ck_assert(ip_address_equal(&r->ip6.destination, &peer));
    ck_assert_uint_eq(r->ip6.payload_length, length);
    ck_assert(is_sealed(&r->ip6, r->header, 8, message + 8, length - 8));
    free(message);
}
END_TEST

START_TEST(test_echo_to_a_group)
{
    uint8_t message[16] = {ICMP6_TYPE_ECHO};
    from_peer.destination = ip6_all_nodes();
    from_peer.multicast = true;
    seal(message, sizeof message);
    ck_assert_int_eq(input(message, sizeof message), ICMP6_INPUT_REPLY);
    ck_assert(ip_address_equal(&out.reply.ip6.source, &US));
    ck_assert(is_sealed(&out.reply.ip6, out.reply.header, 8, message + 8, 8));

    struct ip6_config none = {.own_count = 0};
    engine.config.ip6 = &none;
    ck_assert_int_eq(input(message, sizeof message), ICMP6_DROP_no_address);
    ck_assert_uint_eq(engine.counters.drop_no_address, 1);
}
END_TEST

START_TEST(test_no_source)
{
    uint8_t message[16] = {ICMP6_TYPE_ECHO};
    from_peer.source_own = true;
    seal(message, sizeof message);
    ck_assert_int_eq(input(message, sizeof message), ICMP6_DROP_source);
    from_peer.source_own = false;
    from_peer.source = (struct ip_address){.family = ADDRESS_IP6};
    seal(message, sizeof message);
    ck_assert_int_eq(input(message, sizeof message), ICMP6_DROP_source);
    ck_assert_uint_eq(engine.counters.drop_source, 2);
}
END_TEST

/* ---- errors sent ---- */
static uint8_t offender[1500];
static struct icmp6_message sent;

static void offender_make(uint8_t protocol, uint8_t first_octet)
{
    struct ip6_header h = {
        .source = peer, .destination = US, .payload_length = 1460, .protocol = protocol, .hop_limit = 3};
    for (size_t i = 0; i < sizeof offender; i++)
        offender[i] = (uint8_t)i;
    ip6_build(&h, offender);
    offender[40] = first_octet;
    from_peer.source = peer;
    from_peer.destination = US;
}

static enum icmp6_error_result error(uint64_t now, uint8_t type, uint8_t code, uint32_t parameter, size_t captured)
{
    return icmp6_error(&engine, now, type, code, parameter, &from_peer, false, offender, captured, &sent);
}

static const struct {
    uint8_t type, code;
    uint32_t parameter;
    size_t captured, length;
} errors[] = {
    {ICMP6_TYPE_UNREACHABLE, ICMP6_CODE_PORT_UNREACHABLE, 0, 48, 56},
    {ICMP6_TYPE_UNREACHABLE, ICMP6_CODE_ADDRESS_UNREACHABLE, 0, 1232, 1240},
    {ICMP6_TYPE_PACKET_TOO_BIG, 0, 1280, 1500, 1240},
    {ICMP6_TYPE_TIME_EXCEEDED, ICMP6_CODE_REASSEMBLY, 0, 101, 109},
    {ICMP6_TYPE_PARAMETER_PROBLEM, ICMP6_CODE_NEXT_HEADER, 6, 40, 48},
};

START_TEST(test_error_out)
{
    offender_make(IP_PROTOCOL_UDP, 0);
    ck_assert_int_eq(error(0, errors[_i].type, errors[_i].code, errors[_i].parameter, errors[_i].captured),
                     ICMP6_ERROR_SEND);
    ck_assert_uint_eq(sent.length, errors[_i].length);
    ck_assert_uint_eq(sent.ip6.payload_length, sent.length);
    ck_assert_uint_eq(sent.bytes[0], errors[_i].type);
    ck_assert_uint_eq(sent.bytes[1], errors[_i].code);
    be32 parameter;
    memcpy(&parameter, sent.bytes + 4, 4);
    ck_assert_uint_eq(be32_get(parameter), errors[_i].parameter);
    ck_assert_mem_eq(sent.bytes + 8, offender, sent.length - 8);
    ck_assert(ip_address_equal(&sent.ip6.source, &US));
    ck_assert(ip_address_equal(&sent.ip6.destination, &peer));
    ck_assert(is_sealed(&sent.ip6, sent.bytes, sent.length, NULL, 0));
    const struct icmp6_counters *c = &engine.counters;
    ck_assert_uint_eq(c->unreachables_out, errors[_i].type == ICMP6_TYPE_UNREACHABLE);
    ck_assert_uint_eq(c->too_bigs_out, errors[_i].type == ICMP6_TYPE_PACKET_TOO_BIG);
    ck_assert_uint_eq(c->time_exceeded_out, errors[_i].type == ICMP6_TYPE_TIME_EXCEEDED);
    ck_assert_uint_eq(c->parameter_problems_out, errors[_i].type == ICMP6_TYPE_PARAMETER_PROBLEM);
}
END_TEST

static enum icmp6_error_result unreachable(size_t captured)
{
    return error(0, ICMP6_TYPE_UNREACHABLE, ICMP6_CODE_PORT_UNREACHABLE, 0, captured);
}

START_TEST(test_withheld)
{
    static const uint8_t errors_in[] = {1, 4, 100, 127, 137};
    for (size_t i = 0; i < sizeof errors_in; i++) {
        offender_make(IP_PROTOCOL_ICMP6, errors_in[i]);
        ck_assert_int_eq(unreachable(100), ICMP6_WITHHELD_about_error);
    }
    offender_make(IP_PROTOCOL_FRAGMENT, IP_PROTOCOL_ICMP6); /* a later fragment: it may be one */
    memcpy(offender + 41, "\0\0\x09", 3);
    ck_assert_int_eq(unreachable(100), ICMP6_WITHHELD_about_error);
    offender_make(IP_PROTOCOL_ICMP6, 128);
    ck_assert_int_eq(unreachable(40), ICMP6_WITHHELD_about_error); /* cut off: it may be one */
    ck_assert_uint_eq(engine.counters.withheld_about_error, 7);
    ck_assert_int_eq(unreachable(39), ICMP6_WITHHELD_about_truncated);
    ck_assert_uint_eq(engine.counters.withheld_about_truncated, 1);

    offender_make(IP_PROTOCOL_UDP, 0);
    from_peer.source = (struct ip_address){.family = ADDRESS_IP6};
    ck_assert_int_eq(unreachable(100), ICMP6_WITHHELD_about_bad_source);
    from_peer.source = ip6_all_nodes();
    ck_assert_int_eq(unreachable(100), ICMP6_WITHHELD_about_bad_source);
    ck_assert_uint_eq(engine.counters.withheld_about_bad_source, 2);

    offender_make(IP_PROTOCOL_UDP, 0);
    struct ip6_config none = {.own_count = 0};
    engine.config.ip6 = &none;
    ck_assert_int_eq(unreachable(100), ICMP6_WITHHELD_no_source);
    ck_assert_uint_eq(engine.counters.withheld_no_source, 1);
}
END_TEST

/* RFC 4443 2.4 (e.3) to (e.5): about what was sent to many, only two errors */
START_TEST(test_withheld_to_groups)
{
    for (int link = 0; link < 2; link++) {
        offender_make(IP_PROTOCOL_UDP, 0);
        icmp6_init(&engine, &config, 0);
        if (link == 0)
            from_peer.destination = ip6_all_nodes();
        static const struct {
            uint8_t type, code;
            enum icmp6_error_result result;
        } cases[] = {
            {ICMP6_TYPE_UNREACHABLE, ICMP6_CODE_PORT_UNREACHABLE, ICMP6_WITHHELD_about_multicast},
            {ICMP6_TYPE_PARAMETER_PROBLEM, ICMP6_CODE_NEXT_HEADER, ICMP6_WITHHELD_about_multicast},
            {ICMP6_TYPE_PARAMETER_PROBLEM, ICMP6_CODE_OPTION, ICMP6_ERROR_SEND},
            {ICMP6_TYPE_PACKET_TOO_BIG, 0, ICMP6_ERROR_SEND},
        };
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            ck_assert_int_eq(icmp6_error(&engine, 0, cases[i].type, cases[i].code, 1280, &from_peer, link == 1,
                                         offender, 100, &sent),
                             cases[i].result);
            if (cases[i].result == ICMP6_ERROR_SEND)
                ck_assert(ip_address_equal(&sent.ip6.source, &US));
        }
        ck_assert_uint_eq(engine.counters.withheld_about_multicast, 2);
    }
}
END_TEST

START_TEST(test_rate)
{
    offender_make(IP_PROTOCOL_UDP, 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(unreachable(48), ICMP6_ERROR_SEND);
    ck_assert_int_eq(unreachable(48), ICMP6_WITHHELD_rate_limited);
    ck_assert_int_eq(error(SECOND / 10 - 1, ICMP6_TYPE_TIME_EXCEEDED, 1, 0, 48), ICMP6_WITHHELD_rate_limited);
    ck_assert_int_eq(error(SECOND / 10, ICMP6_TYPE_TIME_EXCEEDED, 1, 0, 48), ICMP6_ERROR_SEND);
    ck_assert_uint_eq(engine.counters.withheld_rate_limited, 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("icmp6");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_loop_test(c, test_rows, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, test_error_in);
    tcase_add_test(c, test_checksum);
    tcase_add_loop_test(c, test_echo, 0, (int)(sizeof echo_lengths / sizeof echo_lengths[0]));
    tcase_add_test(c, test_echo_to_a_group);
    tcase_add_test(c, test_no_source);
    tcase_add_loop_test(c, test_error_out, 0, (int)(sizeof errors / sizeof errors[0]));
    tcase_add_test(c, test_withheld);
    tcase_add_test(c, test_withheld_to_groups);
    tcase_add_test(c, test_rate);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
