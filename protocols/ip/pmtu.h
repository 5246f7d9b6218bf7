// SPDX-License-Identifier: BSD-2-Clause
/* Path MTUs by destination, both families (RFC 1191, RFC 8201): what routers report is believed only where it can be
 * true, and for ten minutes. Entries age when they are looked at: no poll, no deadline. */
#ifndef BULKHEAD_PROTOCOLS_IP_PMTU_H
#define BULKHEAD_PROTOCOLS_IP_PMTU_H

#include <stdbool.h>
#include <stdint.h>

#include "protocols/base/address.h"

#define PMTU_SETS    16U
#define PMTU_WAYS    4U
#define PMTU_AGE_US  600000000U /* RFC 1191 6.3: ten minutes; RFC 8201 4: MUST NOT be less than five */
#define PMTU_IP4_MIN 576U  /* Deviates: RFC 1191 3 goes down to 68; what every host must take (RFC 791) is enough */
#define PMTU_IP6_MIN 1280U /* RFC 8200 5 */

/* One name for result, counter and test. */
#define PMTU_DROPS(X)                                                                                                  \
    X(too_small) /* below what every link of the family carries; RFC 8201 4: MUST discard */                           \
    X(too_large) /* not smaller than what is known, or than the packet that it is about */                             \
    X(family)    /* no IP address */

enum pmtu_result {
    PMTU_LOWERED = 0,
#define X(name) PMTU_DROP_##name,
    PMTU_DROPS(X)
#undef X
        PMTU_RESULTS
};

#define PMTU_COUNTERS(X) X(lowered) X(expired) X(evicted) X(drop_too_small) X(drop_too_large) X(drop_family)

struct pmtu_counters {
#define X(name) uint64_t name;
    PMTU_COUNTERS(X)
#undef X
};

struct pmtu_config {
    uint32_t link_mtu;
    uint8_t key[16]; /* so that nobody outside chooses what evicts what */
};

struct pmtu_entry {                /* the engine's own */
    struct ip_address destination; /* ADDRESS_NONE: free */
    uint32_t mtu;
    uint64_t expires_us;
};

struct pmtu { /* in the caller's memory; the engine's own */
    struct pmtu_config config;
    struct pmtu_counters counters;
    uint32_t used;
    struct pmtu_entry entry[PMTU_SETS][PMTU_WAYS];
};

void pmtu_init(struct pmtu *t, const struct pmtu_config *config);
/* IP octets that reach `destination` as far as is known: the link's, or less. */
uint32_t pmtu_get(struct pmtu *t, uint64_t now_us, const struct ip_address *destination);
/* Untrusted: reported_mtu, packet_octets (wire). A router says that a packet of ours of `packet_octets` was too big; 0:
 * it does not say for what (RFC 1191 5, IPv4 only). PMTU_LOWERED, or PMTU_DROP_*, counted. */
enum pmtu_result pmtu_report(struct pmtu *t, uint64_t now_us, const struct ip_address *destination,
                             uint32_t reported_mtu, uint32_t packet_octets) __attribute__((warn_unused_result));
/* The same check, and nothing is remembered: for reports that only the sender of the packet can tell from forged ones
 * (RFC 5927 7). *ret_mtu is what is to be believed if it does. */
enum pmtu_result pmtu_check(struct pmtu *t, const struct ip_address *destination, uint32_t reported_mtu,
                            uint32_t packet_octets, uint32_t *ret_mtu) __attribute__((warn_unused_result));

#endif
