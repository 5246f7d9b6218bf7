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

struct own_claim { /* what conflict detection knows of an own address; the engines add timers and messages */
    struct ip_address address;
    uint8_t state;              /* enum own_state */
    bool event, conflict;       /* something is to be told */
    struct mac_address station; /* with `conflict` */
    uint64_t defended_us;       /* 0: never */
};

void own_claim_enter(struct own_claim *c, enum own_state state);
/* What is to be told of it since the last time: true with *ret. */
bool own_claim_event(struct own_claim *c, struct own_event *ret);

enum own_contest {
    OWN_CONTEST_AGAIN = 0,  /* nothing new */
    OWN_CONTEST_LOST = 1,   /* it is OWN_DUPLICATE now */
    OWN_CONTEST_DEFEND = 2, /* ours: to be announced */
};

/* Another station claims the address. What is being probed is lost (RFC 5227 2.1.1, RFC 4862 5.4.5); what is in use is
 * defended, but not again within `defend_us` (RFC 5227 2.4 (c)), and told as often. */
enum own_contest own_claim_contest(struct own_claim *c, uint64_t now_us, uint64_t defend_us,
                                   const struct mac_address *station) __attribute__((warn_unused_result));

#endif
