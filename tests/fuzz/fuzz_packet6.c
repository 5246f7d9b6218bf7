// SPDX-License-Identifier: BSD-2-Clause
/* Any IPv6 packet through ip6, icmp6 and ndp in the order in which the ip server uses them, each on an exact-size
 * private copy so that ASan sees a read behind its end. The first octet says whether the packet came turned round and
 * in what state the own addresses are; the checksum of an ICMPv6 message is mended, or the fuzzer would never get past
 * it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/icmp/icmp6.h"
#include "protocols/ip6/ip6.h"
#include "protocols/ndp/ndp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW 1000000U

static const struct mac_address own_mac = {{2, 0, 0, 0, 0, 2}}, peer_mac = {{2, 0, 0, 0, 0, 1}};
static struct ip6_config config = {
    .own = {{.address = {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 2}}, .prefix_length = 64},
            {.address = {.family = ADDRESS_IP6, .octets = {0xfe, 0x80, [15] = 2}}, .prefix_length = 64}},
    .own_count = 2,
};

static void check(bool condition)
{
    if (!condition)
        abort();
}

static uint8_t *copy_of(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length + (length == 0));
    memcpy(copy, bytes, length);
    return copy;
}

/* What is sent is well-formed: we would take it ourselves, were it to us. */
static void check_sent(const struct ip6_header *ip6, const uint8_t *message, size_t length)
{
    uint8_t packet[IP6_HEADER_LENGTH + ICMP6_ERROR_MAX], again[IP6_HEADER_LENGTH];
    struct ip6_counters counters = {0};
    struct ip6_header header;
    struct ip6_problem problem;
    check(length <= ICMP6_ERROR_MAX && ip6->payload_length == length);
    ip6_build(ip6, packet);
    memcpy(packet + IP6_HEADER_LENGTH, message, length);
    size_t captured = length + IP6_HEADER_LENGTH < IP6_CAPTURE_MAX ? length + IP6_HEADER_LENGTH : IP6_CAPTURE_MAX;
    enum ip6_result result =
        ip6_parse(&counters, &config, true, packet, captured, length + IP6_HEADER_LENGTH, &header, &problem);
    check(result == IP6_OK || result == IP6_DROP_not_ours || result == IP6_DROP_destination_multicast ||
          result == IP6_DROP_destination_tentative);
    ip6_build(ip6, again);
    check(memcmp(again, packet, sizeof again) == 0);
}

static void error(const struct ip6_header *header, uint8_t type, uint8_t code, uint32_t parameter, const uint8_t *bytes,
                  size_t length)
{
    static struct icmp6_message message;
    struct icmp6 engine;
    struct icmp6_config icmp = {.ip6 = &config};
    uint8_t *copy = copy_of(bytes, length);
    icmp6_init(&engine, &icmp, 1);
    if (icmp6_error(&engine, 2, type, code, parameter, header, false, copy, length, &message) == ICMP6_ERROR_SEND)
        check_sent(&message.ip6, message.bytes, message.length);
    free(copy);
}

static void ndp(const struct ip6_header *header, const uint8_t *bytes, size_t length, uint8_t how)
{
    static struct ndp engine;
    struct ndp_config c = {.mac = own_mac, .own_count = 2, .dad = how % 3U, .restarted = (how & 4) != 0};
    struct ip_address resolved, peer = header->source;
    struct mac_address mac;
    struct ndp_output out;
    struct own_event event;
    memcpy(c.own, config.own, sizeof c.own);
    ndp_init(&engine, &c, NOW);
    check(ndp_lookup(&engine, NOW, &peer, &mac) <= NDP_LOOKUP_FAILED); /* the answer may be wanted */
    uint8_t *copy = copy_of(bytes, length < NDP_CAPTURE_MAX ? length : NDP_CAPTURE_MAX);
    enum ndp_input_result result = ndp_input(&engine, NOW, header, &peer_mac, copy, length, &resolved);
    check(result < NDP_INPUT_RESULTS);
    if (result == NDP_INPUT_RESOLVED)
        check(ndp_lookup(&engine, NOW, &resolved, &mac) == NDP_LOOKUP_FOUND);
    for (uint64_t now = NOW, step = 0; step < 8; step++, now += 1000000)
        for (int n = 0; ndp_poll(&engine, now, &out); n++) {
            check(n < 100);
            check_sent(&out.ip6, out.message, out.length);
        }
    for (int n = 0; ndp_event(&engine, &event); n++)
        check(n < 2);
    free(copy);
}

static void icmp(const struct ip6_header *header, uint8_t *bytes, size_t length, uint8_t how)
{
    struct icmp6 engine;
    struct icmp6_config c = {.ip6 = &config};
    struct icmp6_input_out out;
    if (length >= 4) {
        memset(bytes + 2, 0, 2);
        uint64_t sum =
            checksum_pseudo_header(&header->source, &header->destination, IP_PROTOCOL_ICMP6, (uint32_t)length);
        be16 checksum = checksum_finish(checksum_add(sum, bytes, length));
        memcpy(bytes + 2, &checksum, sizeof checksum);
    }
    size_t captured = length < ICMP6_CAPTURE_MAX ? length : ICMP6_CAPTURE_MAX;
    uint8_t *copy = copy_of(bytes, captured);
    icmp6_init(&engine, &c, 1);
    uint64_t rest = checksum_add(0, bytes + captured, length - captured);
    switch (icmp6_input(&engine, header, copy, captured, length, rest, &out)) {
    case ICMP6_INPUT_REPLY:
        check(out.reply.payload_offset + out.reply.payload_length == length);
        check(ip6_classify(&config, &out.reply.ip6.source) == IP6_CLASS_OURS ||
              ip6_classify(&config, &out.reply.ip6.source) == IP6_CLASS_LOOPBACK);
        break;
    case ICMP6_INPUT_NDP:
        ndp(header, copy, length, how);
        break;
    case ICMP6_DROP_checksum:
        abort();
    default:
        break;
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ip6_counters counters = {0};
    struct ip6_header header;
    struct ip6_problem problem;
    if (size == 0)
        return 0;
    bool turned = (data[0] & 8) != 0;
    config.own[1].tentative = (data[0] & 16) != 0;
    uint8_t *packet = copy_of(data + 1, size - 1);
    size_t available = size - 1, captured = available < IP6_CAPTURE_MAX ? available : IP6_CAPTURE_MAX;
    uint8_t *copy = copy_of(packet, captured);
    enum ip6_result result = ip6_parse(&counters, &config, turned, copy, captured, available, &header, &problem);
    check(result < IP6_RESULTS && (result != IP6_OK || !problem.called_for));
    if (problem.called_for) {
        check(problem.pointer < available);
        error(&header, 4, problem.code, problem.pointer, packet, available);
    }
    if (result == IP6_OK && header.is_fragment) {
        check(header.fragment.data_offset < IP6_HEADER_LENGTH + header.payload_length);
        check(header.fragment.next_header_at < header.fragment.unfragmentable_length);
        error(&header, 3, ICMP6_CODE_REASSEMBLY, 0, packet, available);
    } else if (result == IP6_OK) {
        check(header.transport_offset <= captured && ip6_transport_length(&header) <= available);
        check(packet[header.protocol_at] == header.protocol);
        error(&header, 1, ICMP6_CODE_PORT_UNREACHABLE, 0, packet, available);
        if (header.protocol == IP_PROTOCOL_ICMP6)
            icmp(&header, packet + header.transport_offset, ip6_transport_length(&header), data[0]);
    }
    free(copy);
    free(packet);
    return 0;
}
