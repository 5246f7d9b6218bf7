// SPDX-License-Identifier: BSD-2-Clause
/* The addresses that are this host's own, and what conflict detection (RFC 5227 for IPv4, RFC 4862 5.4 and RFC 4429 for
 * IPv6) says of each. One list of either family goes to ip4/arp, one to ip6/ndp/icmp6. */
#ifndef BULKHEAD_PROTOCOLS_BASE_OWN_H
#define BULKHEAD_PROTOCOLS_BASE_OWN_H

#include <stdbool.h>
#include <stdint.h>

#include "protocols/base/address.h"

#define IP_OWN_MAX 8U

struct ip_own_address {
    struct ip_address address;
    uint8_t prefix_length; /* of the link */
    bool tentative;        /* not to be used: being probed, or a duplicate. Set by who reads arp_event(), ndp_event() */
};

enum dad_mode {
    DAD_ON = 0,         /* probe before use */
    DAD_OPTIMISTIC = 1, /* use at once, announce and defend */
    DAD_OFF = 2,        /* neither */
};

enum own_state {
    OWN_TENTATIVE = 0,  /* being probed: not to be used */
    OWN_OPTIMISTIC = 1, /* being probed, in use with the restraint of RFC 4429 (IPv6) */
    OWN_PREFERRED = 2,  /* ours */
    OWN_DUPLICATE = 3,  /* another station has it: not to be used; stays so */
};

static inline bool own_state_is_usable(enum own_state state)
{
    return state == OWN_OPTIMISTIC || state == OWN_PREFERRED;
}

struct own_event { /* something happened to an own address since it was last told */
    struct ip_address address;
    enum own_state state;       /* what it is now */
    bool conflict;              /* another station claimed it (again) */
    struct mac_address station; /* with `conflict`: which */
};

#endif
