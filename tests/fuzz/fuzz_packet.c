// SPDX-License-Identifier: BSD-2-Clause
/* Any frame through the parsers in the order in which ip and udp use them, each on an exact-size private copy so that
 * ASan sees a read behind its end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/arp/arp.h"
#include "protocols/base/checksum.h"
#include "protocols/ether/ether.h"
#include "protocols/icmp/icmp.h"
#include "protocols/icmp/icmp_wire.h"
#include "protocols/ip4/ip4.h"
#include "protocols/udp/udp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct mac_address own_mac = {{2, 0, 0, 0, 0, 2}};
static const struct ip4_config ip4_config = {
    .own = {{.address = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}}, .prefix_length = 24}}, .own_count = 1};

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

static void icmp(const struct ip4_header *header, const uint8_t *bytes, size_t length)
{
    struct icmp engine;
    struct icmp_config config = {.ip4 = &ip4_config};
    struct icmp_input_out out;
    size_t captured = length < ICMP_CAPTURE_MAX ? length : ICMP_CAPTURE_MAX;
    uint8_t *copy = copy_of(bytes, captured);
    icmp_init(&engine, &config, 1);
    uint64_t rest = checksum_add(0, bytes + captured, length - captured);
    if (icmp_input(&engine, header, copy, captured, length, rest, &out) == ICMP_INPUT_REPLY)
        check(out.reply.payload_offset + out.reply.payload_length <= length);
    free(copy);
}

static void unreachable(const struct ip4_header *header, const uint8_t *bytes, size_t length)
{
    struct icmp engine;
    struct icmp_config config = {.ip4 = &ip4_config};
    struct icmp_message message;
    uint8_t *copy = copy_of(bytes, length);
    icmp_init(&engine, &config, 1);
    if (icmp_error(&engine, 2, ICMP_TYPE_UNREACHABLE, ICMP_CODE_PORT_UNREACHABLE, 0, header, false, copy, length,
                   &message) == ICMP_ERROR_SEND)
        check(message.length <= sizeof message.bytes);
    free(copy);
}

static void udp(const struct ip4_header *header, const uint8_t *bytes, size_t length)
{
    struct udp_counters counters = {0};
    struct udp_header parsed;
    size_t captured = length < UDP_HEADER_LENGTH ? length : UDP_HEADER_LENGTH;
    uint8_t *copy = copy_of(bytes, captured);
    if (udp_parse(&counters, copy, captured, length, &parsed) == UDP_OK) {
        check(parsed.payload_length + UDP_HEADER_LENGTH <= length);
        uint64_t sum = checksum_add(0, bytes + UDP_HEADER_LENGTH, parsed.payload_length);
        enum udp_result verified = udp_verify(&counters, &header->source, &header->destination, copy, sum);
        check(verified == UDP_OK || verified == UDP_DROP_checksum);
    }
    free(copy);
}

static void ip4(const uint8_t *bytes, size_t length)
{
    struct ip4_counters counters = {0};
    struct ip4_header header;
    size_t captured = length < IP4_HEADER_MAX ? length : IP4_HEADER_MAX;
    uint8_t *copy = copy_of(bytes, captured);
    if (ip4_parse(&counters, &ip4_config, false, copy, captured, length, &header) == IP4_OK) {
        check(header.header_length <= captured && header.total_length <= length &&
              header.header_length <= header.total_length);
        const uint8_t *payload = bytes + header.header_length;
        size_t octets = (size_t)header.total_length - header.header_length;
        icmp(&header, payload, octets);
        udp(&header, payload, octets);
        unreachable(&header, bytes, header.total_length);
    }
    free(copy);
}

static void arp(const uint8_t *bytes, size_t length)
{
    static struct arp engine;
    struct arp_config config = {.mac = own_mac, .own = {ip4_config.own[0]}, .own_count = 1};
    struct arp_output out;
    struct own_event event;
    config.restarted = length % 2 == 0; /* in use at once, or being probed */
    struct ip_address resolved;
    uint8_t *copy = copy_of(bytes, length);
    arp_init(&engine, &config, 1);
    enum arp_input_result result = arp_input(&engine, 1000000, copy, length, &resolved);
    check(result < ARP_INPUT_RESULTS);
    for (uint64_t now = 1000000; now < 10000000; now += 500000)
        for (int n = 0; arp_poll(&engine, now, &out); n++)
            check(n < 100);
    for (int n = 0; arp_event(&engine, &event); n++)
        check(n < 1);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ether_counters counters = {0};
    struct ether_header header;
    size_t captured = size < ETHER_HEADER_LENGTH ? size : ETHER_HEADER_LENGTH;
    uint8_t *copy = copy_of(data, captured);
    if (ether_parse(&counters, &own_mac, copy, captured, &header) == ETHER_OK)
        check(captured == ETHER_HEADER_LENGTH);
    free(copy);
    if (captured == ETHER_HEADER_LENGTH) { /* whatever the type says: both, so that the fuzzer need not find it */
        arp(data + ETHER_HEADER_LENGTH, size - ETHER_HEADER_LENGTH);
        ip4(data + ETHER_HEADER_LENGTH, size - ETHER_HEADER_LENGTH);
    }
    return 0;
}
