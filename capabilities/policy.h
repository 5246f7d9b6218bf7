// SPDX-License-Identifier: BSD-2-Clause
/* What applications may get. The rules are looked through in order; the first that matches who attaches is the one that
 * holds for its session, and no rule is no session. Whatever a rule does not name in its lists is refused. Flat and
 * bounded: the supervisor reads a policy (policy_file.h) and hands the rule of a session on to the servers that check.
 */
#ifndef BULKHEAD_CAPABILITIES_POLICY_H
#define BULKHEAD_CAPABILITIES_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "protocols/base/address.h"

#define POLICY_RULES         32
#define POLICY_SPANS         16 /* of one list */
#define POLICY_SESSIONS_MOST 64 /* what a rule may say: no more than there is */
#define POLICY_SOCKETS_MOST  4096
#define POLICY_MEMORY_MOST   384        /* MiB */
#define POLICY_ANY           UINT32_MAX /* uid, gid: everybody's */

struct policy_span {  /* these ports of these addresses */
    uint8_t protocol; /* IP protocol number, 0 any */
    uint8_t prefix_length;
    uint16_t port_first, port_last;
    struct ip_address prefix; /* ADDRESS_NONE: every address of every family */
};

struct policy_list {
    uint32_t count;
    struct policy_span span[POLICY_SPANS];
};

struct policy_limits {
    uint32_t sessions;      /* at a time, of one uid */
    uint32_t sockets;       /* at a time, of one session */
    uint64_t memory_octets; /* of one session */
};

struct policy_rule {
    uint32_t uid, gid; /* both must match */
    bool attach;       /* false: refused, whatever follows */
    struct policy_limits limits;
    struct policy_list bind;    /* local addresses; port 0 is one that the stack chooses */
    struct policy_list connect; /* remote ones, also those of datagrams */
};

struct policy {
    uint32_t count;
    struct policy_rule rule[POLICY_RULES];
};

/* The first rule for them; NULL: none. `gid` is the primary one of who attaches. */
const struct policy_rule *policy_match(const struct policy *policy, uint32_t uid, uint32_t gid);
bool policy_permits(const struct policy_list *list, uint8_t protocol, const struct ip_address *address, uint16_t port);
/* A list that permits everything: one span. */
void policy_list_all(struct policy_list *ret);

#endif
