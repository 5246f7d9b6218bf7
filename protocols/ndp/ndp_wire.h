// SPDX-License-Identifier: BSD-2-Clause
/* Neighbour discovery as it lies on the wire (RFC 4861 4), and the multicast listener report (RFC 3810 5.2). */
#ifndef BULKHEAD_PROTOCOLS_NDP_NDP_WIRE_H
#define BULKHEAD_PROTOCOLS_NDP_NDP_WIRE_H

#include "protocols/base/wire.h"

struct ndp_wire { /* solicitation and advertisement; options follow */
    uint8_t type;
    uint8_t code;
    be16 checksum;
    uint8_t flags; /* advertisement only; NDP_FLAG_* */
    uint8_t reserved[3];
    uint8_t target[16];
};
_Static_assert(sizeof(struct ndp_wire) == 24, "wire layout");

struct ndp_option_wire { /* source or target link-layer address over Ethernet (RFC 2464 6) */
    uint8_t type;
    uint8_t length; /* in units of eight octets */
    uint8_t mac[6];
};
_Static_assert(sizeof(struct ndp_option_wire) == 8, "wire layout");

struct ndp_query_wire { /* RFC 3810 5.1; what a version 2 query has more is not looked at */
    uint8_t type;
    uint8_t code;
    be16 checksum;
    be16 response_delay; /* milliseconds; a floating point code from 32768 on */
    be16 reserved;
    uint8_t group[16];
};
_Static_assert(sizeof(struct ndp_query_wire) == 24, "wire layout");

struct ndp_report_wire { /* RFC 3810 5.2 with one record, behind a hop-by-hop header with a router alert (RFC 2711) */
    uint8_t next_header;
    uint8_t extension_length;
    uint8_t alert[4];
    uint8_t padding[2];
    uint8_t type; /* the ICMPv6 message begins here */
    uint8_t code;
    be16 checksum;
    be16 reserved;
    be16 records;
    uint8_t record_type;
    uint8_t auxiliary_length;
    be16 sources;
    uint8_t group[16];
};
_Static_assert(sizeof(struct ndp_report_wire) == 36, "wire layout");

#define NDP_RECORD_IS_EXCLUDE        2
#define NDP_RECORD_CHANGE_TO_EXCLUDE 4

#define NDP_TYPE_ROUTER_SOLICITATION     133
#define NDP_TYPE_ROUTER_ADVERTISEMENT    134
#define NDP_TYPE_NEIGHBOUR_SOLICITATION  135
#define NDP_TYPE_NEIGHBOUR_ADVERTISEMENT 136
#define NDP_TYPE_REDIRECT                137

#define NDP_FLAG_ROUTER    0x80U
#define NDP_FLAG_SOLICITED 0x40U
#define NDP_FLAG_OVERRIDE  0x20U

#define NDP_OPTION_SOURCE 1
#define NDP_OPTION_TARGET 2

#endif
