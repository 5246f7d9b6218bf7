// SPDX-License-Identifier: BSD-2-Clause
/* ICMPv6 as it lies on the wire (RFC 4443 2.1). */
#ifndef BULKHEAD_PROTOCOLS_ICMP_ICMP6_WIRE_H
#define BULKHEAD_PROTOCOLS_ICMP_ICMP6_WIRE_H

#include "protocols/base/wire.h"

struct icmp6_wire {
    uint8_t type;
    uint8_t code;
    be16 checksum;
    be32 parameter; /* MTU, pointer, identifier and sequence, or unused, by type */
};
_Static_assert(sizeof(struct icmp6_wire) == 8, "wire layout");

#define ICMP6_TYPE_UNREACHABLE       1
#define ICMP6_TYPE_PACKET_TOO_BIG    2
#define ICMP6_TYPE_TIME_EXCEEDED     3
#define ICMP6_TYPE_PARAMETER_PROBLEM 4
#define ICMP6_TYPE_ERROR_LAST        127 /* the high bit tells information from errors */
#define ICMP6_TYPE_ECHO              128
#define ICMP6_TYPE_ECHO_REPLY        129
#define ICMP6_TYPE_LISTENER_QUERY    130
#define ICMP6_TYPE_LISTENER_REPORT   131
#define ICMP6_TYPE_LISTENER_DONE     132
#define ICMP6_TYPE_LISTENER_REPORT2  143 /* RFC 3810 */

#endif
