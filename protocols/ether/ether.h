// SPDX-License-Identifier: BSD-2-Clause
/* Ethernet II headers (RFC 894, RFC 1122 2.3.3): a checked parse of private octets and the build. There is
 * no state, so no poll and no deadline. IEEE 802.3 length framing (RFC 1042) is not spoken: counted drop. */
#ifndef BULKHEAD_PROTOCOLS_ETHER_ETHER_H
#define BULKHEAD_PROTOCOLS_ETHER_ETHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"

#define ETHER_HEADER_LENGTH 14U

/* One name for result, counter and test. */
#define ETHER_DROPS(X)                                                                             \
    X(short)       /* fewer than 14 octets */                                                      \
    X(source)      /* a group address or zero as source */                                         \
    X(length_type) /* a length where the type should be */                                         \
    X(not_ours)    /* addressed to another station */

enum ether_result {
    ETHER_OK = 0,
#define X(name) ETHER_DROP_##name,
    ETHER_DROPS(X)
#undef X
    ETHER_RESULTS
};

struct ether_counters {
    uint64_t frames_in;
#define X(name) uint64_t drop_##name;
    ETHER_DROPS(X)
#undef X
};
#define ETHER_COUNTERS(X)                                                                          \
    X(frames_in) X(drop_short) X(drop_source) X(drop_length_type) X(drop_not_ours)

struct ether_header {
    struct mac_address destination;
    struct mac_address source;
    uint16_t type;
    bool group; /* the destination is broadcast or multicast */
};

static inline bool mac_address_is_group(const struct mac_address *a)
{
    return (a->octets[0] & 1) != 0;
}

/* Untrusted: bytes (wire; a private copy). `own` is our station address; a frame to it or to a group is
 * accepted. Counts. ETHER_OK or ETHER_DROP_*; *ret only with ETHER_OK. */
enum ether_result ether_parse(struct ether_counters *counters, const struct mac_address *own,
                              const uint8_t *bytes, size_t length, struct ether_header *ret)
    __attribute__((warn_unused_result));

/* Writes 14 octets (`group` is not looked at). */
void ether_build(const struct ether_header *header, uint8_t *ret_bytes);

#endif
