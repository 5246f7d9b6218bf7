// SPDX-License-Identifier: BSD-2-Clause
/* The routing table of a host, both families in one: the longest prefix wins (RFC 1122 3.3.1, RFC 4861 5.2). There is
 * nothing to wait for, so no poll and no deadline. */
#ifndef BULKHEAD_PROTOCOLS_IP_ROUTE_H
#define BULKHEAD_PROTOCOLS_IP_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocols/base/address.h"

#define ROUTES_MAX 48U

struct route {
    struct ip_address prefix;
    struct ip_address gateway; /* ADDRESS_NONE: on-link */
    uint8_t prefix_length;
};

struct route_table { /* longest prefix first */
    uint32_t count;
    struct route route[ROUTES_MAX];
};

enum route_result {
    ROUTE_OK = 0,
    ROUTE_FULL = 1,
    ROUTE_BAD = 2,    /* no family, prefix too long, octets behind it set, or a gateway of another family */
    ROUTE_EXISTS = 3, /* the prefix has a route */
    ROUTE_NONE = 4,   /* no route to the destination */
};

void route_table_init(struct route_table *table);
/* OK, FULL, BAD, EXISTS. */
enum route_result route_add(struct route_table *table, const struct route *route) __attribute__((warn_unused_result));
/* Whom to hand a packet for `destination` to on the link. OK, NONE. */
enum route_result route_find(const struct route_table *table, const struct ip_address *destination,
                             struct ip_address *ret_next_hop) __attribute__((warn_unused_result));

/* The address with all octets behind the prefix cleared; `prefix_length` is at most the family's. */
struct ip_address route_prefix(const struct ip_address *address, uint8_t prefix_length);
/* 32, 128; 0 for no family. */
uint8_t route_prefix_most(uint8_t family);

#endif
