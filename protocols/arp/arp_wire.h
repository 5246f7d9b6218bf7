// SPDX-License-Identifier: BSD-2-Clause
/* ARP for IPv4 over Ethernet as it lies on the wire (RFC 826). */
#ifndef BULKHEAD_PROTOCOLS_ARP_ARP_WIRE_H
#define BULKHEAD_PROTOCOLS_ARP_ARP_WIRE_H

#include "protocols/base/wire.h"

struct arp_wire {
    be16 hardware;
    be16 protocol;
    uint8_t hardware_length;
    uint8_t protocol_length;
    be16 operation;
    uint8_t sender_mac[6];
    uint8_t sender_ip4[4];
    uint8_t target_mac[6];
    uint8_t target_ip4[4];
};
_Static_assert(sizeof(struct arp_wire) == 28, "wire layout");

#define ARP_HARDWARE_ETHERNET 1
#define ARP_OPERATION_REQUEST 1
#define ARP_OPERATION_REPLY   2

#endif
