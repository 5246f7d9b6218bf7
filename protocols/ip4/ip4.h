// SPDX-License-Identifier: BSD-2-Clause
/* IPv4 (RFC 791, RFC 1122 3.2.1): checked parse of a private copy of a header into a representation in which
 * malformed things are gone, the build, and the classes of addresses. There is
 * nothing to wait for, so no poll and no deadline. Fragments are told as such: reassembly is the caller's. */
#ifndef BULKHEAD_PROTOCOLS_IP4_IP4_H
#define BULKHEAD_PROTOCOLS_IP4_IP4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"
#include "protocols/base/own.h"

#define IP4_HEADER_MIN  20U
#define IP4_HEADER_MAX  60U
#define IP4_TTL_DEFAULT 64U /* RFC 1122 3.2.1.7; the value is RFC 1340's */

#define IP_PROTOCOL_ICMP 1
#define IP_PROTOCOL_TCP  6
#define IP_PROTOCOL_UDP  17

/* One name for result, counter and test. All but `fragment` and `protocol`, which are the caller's to
 * decide, are results of ip4_parse(). */
#define IP4_DROPS(X)                                                                               \
    X(short)                 /* fewer than 20 octets */                                            \
    X(version)               /* not 4 */                                                           \
    X(header_length)         /* below 20 octets, or more than are there */                         \
    X(total_length)          /* below the header's, or more than are there */                      \
    X(checksum)                                                                                    \
    X(options)               /* an option's length runs past the header */                         \
    X(source_route)          /* RFC 7126: dropped by default */                                    \
    X(fragment_length)       /* not the last, and no multiple of eight, or nothing in it */        \
    X(fragment_overflow)     /* would end behind octet 65535 */                                    \
    X(source_zero)           /* from here on martians, RFC 1122 3.2.1.3 and RFC 1812 5.3.7 */      \
    X(source_loopback)                                                                             \
    X(source_multicast)                                                                            \
    X(source_reserved)       /* 240/4 */                                                           \
    X(source_broadcast)                                                                            \
    X(source_own)            /* our own address, from the wire */                                  \
    X(destination_zero)                                                                            \
    X(destination_loopback)                                                                        \
    X(destination_multicast) /* no group is joined */                                              \
    X(destination_reserved)                                                                        \
    X(not_ours)              /* RFC 1122 3.2.1.3: MUST silently discard */                         \
    X(fragment)              /* counted by the caller that cannot reassemble */                    \
    X(protocol)              /* counted by the caller: nobody takes it */

enum ip4_result {
    IP4_OK = 0,
#define X(name) IP4_DROP_##name,
    IP4_DROPS(X)
#undef X
    IP4_RESULTS
};

#define IP4_COUNTERS(X)                                                                            \
    X(packets_in) X(options_in) X(drop_short) X(drop_version) X(drop_header_length)                \
    X(drop_total_length) X(drop_checksum) X(drop_options) X(drop_source_route)                     \
    X(drop_fragment_length) X(drop_fragment_overflow) X(drop_source_zero) X(drop_source_loopback)  \
    X(drop_source_multicast) X(drop_source_reserved) X(drop_source_broadcast) X(drop_source_own)   \
    X(drop_destination_zero) X(drop_destination_loopback) X(drop_destination_multicast)            \
    X(drop_destination_reserved) X(drop_not_ours) X(drop_fragment) X(drop_protocol)

struct ip4_counters {
#define X(name) uint64_t name;
    IP4_COUNTERS(X)
#undef X
};

struct ip4_config {
    /* IPv4 ones only. Prefix lengths 31 and 32 have no directed broadcast (RFC 3021); a tentative one is nobody's. */
    struct ip_own_address own[IP_OWN_MAX];
    uint32_t own_count;
};

enum ip4_class { /* what an address is to this host */
    IP4_CLASS_UNICAST = 0, /* somebody else's */
    IP4_CLASS_OURS,
    IP4_CLASS_LOOPBACK,
    IP4_CLASS_BROADCAST, /* limited, or the link's own */
    IP4_CLASS_MULTICAST,
    IP4_CLASS_RESERVED,
    IP4_CLASS_ZERO, /* 0/8 */
};

enum ip4_class ip4_classify(const struct ip4_config *config, const struct ip_address *address);

/* The usable own address to speak to `destination` from: itself, then one whose link it is on, then the first.
 * 127.0.0.1 for 127/8. NULL: there is none. */
const struct ip_address *ip4_source_select(const struct ip4_config *config, const struct ip_address *destination);

struct ip4_header {
    struct ip_address source;
    struct ip_address destination;
    uint16_t total_length; /* octets, header and payload */
    uint16_t identification;
    uint16_t fragment_offset; /* octets */
    uint8_t header_length;    /* octets; a build always writes 20 */
    uint8_t protocol;
    uint8_t ttl;
    uint8_t dscp;
    uint8_t ecn;
    bool dont_fragment;
    bool more_fragments;
    bool broadcast;  /* found by the parse: the destination is a broadcast address */
    uint8_t pointer; /* with IP4_DROP_options: the octet at fault, for a parameter problem (RFC 1122 3.2.2.5) */
};

static inline bool ip4_is_fragment(const struct ip4_header *h)
{
    return h->more_fragments || h->fragment_offset != 0;
}

/* Untrusted: bytes (wire; a private copy of `captured` octets of a packet of which `available` octets are
 * there, padding included). `turned`: the packet comes from this host itself, so that loopback and our own
 * address may be its source and loopback its destination. RFC 1122 3.2.1.7: any TTL is accepted. Options are
 * skipped. Counts. IP4_OK or IP4_DROP_*; *ret only with IP4_OK and IP4_DROP_options. */
enum ip4_result ip4_parse(struct ip4_counters *counters, const struct ip4_config *config, bool turned,
                          const uint8_t *bytes, size_t captured, size_t available,
                          struct ip4_header *ret) __attribute__((warn_unused_result));

/* Moves the counter of a drop that the caller decided. */
void ip4_count(struct ip4_counters *counters, enum ip4_result result);

/* Writes 20 octets, checksum included. Options are not built. */
void ip4_build(const struct ip4_header *header, uint8_t *ret_bytes);

#endif
