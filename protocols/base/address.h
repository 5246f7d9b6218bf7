// SPDX-License-Identifier: BSD-2-Clause
/* Addresses carry their family everywhere. The layout is fixed-width and padding-free: it also travels in
 * ring messages and lies in stores. */
#ifndef BULKHEAD_PROTOCOLS_BASE_ADDRESS_H
#define BULKHEAD_PROTOCOLS_BASE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    ADDRESS_NONE = 0, /* unspecified, any family */
    ADDRESS_IP4 = 4,
    ADDRESS_IP6 = 6,
};

struct ip_address {
    uint8_t family; /* ADDRESS_* */
    uint8_t reserved[3];
    uint8_t octets[16]; /* IPv4 in the first four, the rest zero */
};
_Static_assert(sizeof(struct ip_address) == 20, "travels in messages");

struct mac_address {
    uint8_t octets[6];
};

static inline struct ip_address ip_address_from_ip4(const uint8_t octets[4])
{
    struct ip_address a = {.family = ADDRESS_IP4};
    memcpy(a.octets, octets, 4);
    return a;
}

static inline bool ip_address_equal(const struct ip_address *a, const struct ip_address *b)
{
    return a->family == b->family && memcmp(a->octets, b->octets, sizeof a->octets) == 0;
}

/* True for ADDRESS_NONE and for the all-zero address of either family (INADDR_ANY, in6addr_any). */
static inline bool ip_address_is_any(const struct ip_address *a)
{
    static const uint8_t zero[16];
    return memcmp(a->octets, zero, sizeof zero) == 0;
}

static inline bool mac_address_equal(const struct mac_address *a, const struct mac_address *b)
{
    return memcmp(a->octets, b->octets, sizeof a->octets) == 0;
}

#endif
