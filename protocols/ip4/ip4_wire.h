// SPDX-License-Identifier: BSD-2-Clause
/* The IPv4 header as it lies on the wire (RFC 791 3.1). */
#ifndef BULKHEAD_PROTOCOLS_IP4_IP4_WIRE_H
#define BULKHEAD_PROTOCOLS_IP4_IP4_WIRE_H

#include "protocols/base/wire.h"

struct ip4_wire {
    uint8_t version_length; /* version in the high four bits, header length in words in the low */
    uint8_t service;        /* DSCP in the high six bits, ECN in the low two */
    be16 total_length;
    be16 identification;
    be16 fragment; /* IP4_FLAG_*, offset in units of eight octets */
    uint8_t ttl;
    uint8_t protocol;
    be16 checksum;
    uint8_t source[4];
    uint8_t destination[4];
};
_Static_assert(sizeof(struct ip4_wire) == 20, "wire layout");

#define IP4_FLAG_DONT_FRAGMENT  0x4000U
#define IP4_FLAG_MORE_FRAGMENTS 0x2000U
#define IP4_FRAGMENT_OFFSET     0x1fffU

#define IP4_OPTION_END                 0
#define IP4_OPTION_NOP                 1
#define IP4_OPTION_LOOSE_SOURCE_ROUTE  131
#define IP4_OPTION_STRICT_SOURCE_ROUTE 137

#endif
