// SPDX-License-Identifier: BSD-2-Clause
/* The capability table at the receiving end of a channel (DESIGN section 5). It lives in private memory of the
 * receiver; entries come from the supervisor only. A message names an entry by index and generation; the table
 * says what it is and what may be done with it. Rights come from here, never from the message. */
#ifndef BULKHEAD_CAPABILITIES_TABLE_H
#define BULKHEAD_CAPABILITIES_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocols/base/address.h"

#define CAPABILITY_TABLE_MAX 1024 /* entries of one table */
#define CAPABILITY_ADDRESSES 8

enum capability_type {
    CAPABILITY_NONE = 0,
    CAPABILITY_POOL = 1,      /* buffers: a pool or an arena */
    CAPABILITY_LINK = 2,      /* send and receive frames with these addresses and ethertypes */
    CAPABILITY_TRANSPORT = 3, /* send and receive IP of this protocol, these local addresses */
    CAPABILITY_SOCKET = 4,    /* socket requests and notices of one transport */
    CAPABILITY_MANAGE = 5,
    CAPABILITY_TYPES
};

enum capability_right {
    CAPABILITY_READ = 1,    /* POOL: name buffers in it */
    CAPABILITY_SEND = 2,
    CAPABILITY_RECEIVE = 4,
    CAPABILITY_REQUEST = 8, /* SOCKET: ask */
    CAPABILITY_NOTIFY = 16, /* SOCKET: tell */
    CAPABILITY_INSPECT = 32,
    CAPABILITY_RESTART = 64,
    CAPABILITY_WRITE = 128, /* descriptors */
};

enum capability_ethertype { /* LINK: what frames may carry */
    CAPABILITY_ETHER_IP4 = 1,
    CAPABILITY_ETHER_ARP = 2,
    CAPABILITY_ETHER_IP6 = 4,
};

struct capability {
    uint16_t type; /* enum capability_type */
    uint16_t generation;
    uint32_t rights;
    uint32_t object;     /* supervisor's id of the object (pools: unique per segment) */
    uint32_t size;       /* POOL: octets that may be named */
    const uint8_t *base; /* POOL: the mapping, NULL where the receiver only passes references on */
    /* LINK: source hardware address and ethertypes that frames must carry. TRANSPORT: protocol and local addresses */
    struct mac_address mac;
    uint8_t ethertypes; /* enum capability_ethertype */
    uint8_t protocol;
    uint8_t address_count;
    struct ip_address address[CAPABILITY_ADDRESSES];
};

enum capability_refusal {
    CAPABILITY_REFUSED_INDEX,
    CAPABILITY_REFUSED_GENERATION,
    CAPABILITY_REFUSED_TYPE,
    CAPABILITY_REFUSED_RIGHTS,
    CAPABILITY_REFUSED_RANGE,
    CAPABILITY_REFUSALS
};

struct capability_table {
    struct capability *entry; /* CAPABILITY_TABLE_MAX of them, owner's memory */
    uint32_t high;            /* none was ever placed from here on: their pages are not worth a look */
    uint64_t refused[CAPABILITY_REFUSALS];
};

void capability_table_init(struct capability_table *table, struct capability *entries);
/* Places (or replaces) an entry; false: index out of range. */
bool capability_grant(struct capability_table *table, uint16_t index, const struct capability *capability);
void capability_revoke(struct capability_table *table, uint16_t index);

/* Untrusted: index, generation. NULL: refused and counted; else an entry of that type with all of `rights`. */
const struct capability *capability_lookup(struct capability_table *table, uint16_t index, uint16_t generation,
                                           enum capability_type type, uint32_t rights);
/* Untrusted: index, generation, offset, length. As lookup for POOL with READ, and [offset, offset + length)
 * must lie within it. */
const struct capability *capability_range(struct capability_table *table, uint16_t index, uint16_t generation,
                                          uint32_t offset, uint32_t length);
/* TRANSPORT: whether `address` is among its local ones. */
bool capability_has_address(const struct capability *capability, const struct ip_address *address);

#endif
