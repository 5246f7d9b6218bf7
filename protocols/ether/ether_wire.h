// SPDX-License-Identifier: BSD-2-Clause
/* Ethernet II as it lies on the wire (RFC 894). */
#ifndef BULKHEAD_PROTOCOLS_ETHER_ETHER_WIRE_H
#define BULKHEAD_PROTOCOLS_ETHER_ETHER_WIRE_H

#include "protocols/base/wire.h"

struct ether_wire {
    uint8_t destination[6];
    uint8_t source[6];
    be16 type;
};
_Static_assert(sizeof(struct ether_wire) == 14, "wire layout");

#define ETHER_TYPE_MIN 0x0600 /* below it is an IEEE 802.3 length */
#define ETHER_TYPE_IP4 0x0800
#define ETHER_TYPE_ARP 0x0806
#define ETHER_TYPE_IP6 0x86dd

#endif
