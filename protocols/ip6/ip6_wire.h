// SPDX-License-Identifier: BSD-2-Clause
/* The IPv6 header and its extension headers as they lie on the wire (RFC 8200 3, 4). */
#ifndef BULKHEAD_PROTOCOLS_IP6_IP6_WIRE_H
#define BULKHEAD_PROTOCOLS_IP6_IP6_WIRE_H

#include "protocols/base/wire.h"

struct ip6_wire {
    be32 version_class_flow; /* version 4 bits, traffic class 8, flow label 20 */
    be16 payload_length;
    uint8_t next_header;
    uint8_t hop_limit;
    uint8_t source[16];
    uint8_t destination[16];
};
_Static_assert(sizeof(struct ip6_wire) == 40, "wire layout");

struct ip6_extension_wire { /* how hop-by-hop, routing and destination options begin */
    uint8_t next_header;
    uint8_t length;       /* in units of eight octets, without the first eight */
    uint8_t routing_type; /* routing header only; options begin here in the others */
    uint8_t segments_left;
};
_Static_assert(sizeof(struct ip6_extension_wire) == 4, "wire layout");

struct ip6_fragment_wire {
    uint8_t next_header;
    uint8_t reserved;
    be16 offset_more; /* offset in units of eight octets in the high 13 bits, "more" in the lowest */
    be32 identification;
};
_Static_assert(sizeof(struct ip6_fragment_wire) == 8, "wire layout");

#define IP6_FRAGMENT_OFFSET 0xfff8U
#define IP6_FRAGMENT_MORE   0x0001U

#define IP6_OPTION_PAD1         0
#define IP6_OPTION_PADN         1
#define IP6_OPTION_ROUTER_ALERT 5

#endif
