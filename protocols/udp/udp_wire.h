// SPDX-License-Identifier: BSD-2-Clause
/* The UDP header as it lies on the wire (RFC 768). */
#ifndef BULKHEAD_PROTOCOLS_UDP_UDP_WIRE_H
#define BULKHEAD_PROTOCOLS_UDP_UDP_WIRE_H

#include "protocols/base/wire.h"

struct udp_wire {
    be16 source_port;
    be16 destination_port;
    be16 length;
    be16 checksum;
};
_Static_assert(sizeof(struct udp_wire) == 8, "wire layout");

#endif
