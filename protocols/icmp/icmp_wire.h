// SPDX-License-Identifier: BSD-2-Clause
/* ICMP as it lies on the wire (RFC 792, RFC 1191 4). */
#ifndef BULKHEAD_PROTOCOLS_ICMP_ICMP_WIRE_H
#define BULKHEAD_PROTOCOLS_ICMP_ICMP_WIRE_H

#include "protocols/base/wire.h"

struct icmp_wire {
    uint8_t type;
    uint8_t code;
    be16 checksum;
    union {
        struct {
            be16 identifier;
            be16 sequence;
        } echo;
        struct {
            be16 unused;
            be16 next_hop_mtu; /* only with ICMP_CODE_FRAGMENTATION_NEEDED */
        } unreachable;
        uint8_t pointer[4]; /* of a parameter problem, in the first */
    };
};
_Static_assert(sizeof(struct icmp_wire) == 8, "wire layout");

#define ICMP_TYPE_ECHO_REPLY        0
#define ICMP_TYPE_UNREACHABLE       3
#define ICMP_TYPE_SOURCE_QUENCH     4
#define ICMP_TYPE_REDIRECT          5
#define ICMP_TYPE_ECHO              8
#define ICMP_TYPE_TIME_EXCEEDED     11
#define ICMP_TYPE_PARAMETER_PROBLEM 12

#endif
