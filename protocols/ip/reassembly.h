// SPDX-License-Identifier: BSD-2-Clause
/* Reassembly of fragments, both families (RFC 791, RFC 815, RFC 8200 4.5, RFC 5722), sans-I/O: into buffers that the
 * caller hands in and lends on once a datagram is whole. The account of what has come is private; the buffers are
 * written and never read. A caller keeps atomic fragments (RFC 6946) to itself. */
#ifndef BULKHEAD_PROTOCOLS_IP_REASSEMBLY_H
#define BULKHEAD_PROTOCOLS_IP_REASSEMBLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"

#define REASSEMBLY_DATAGRAMS     64U
#define REASSEMBLY_BUFFER_OCTETS 65536U /* of each datagram's buffer */
#define REASSEMBLY_SOURCE_MAX    8U     /* datagrams of one source at once */
#define REASSEMBLY_FRAGMENTS_MAX 256U   /* of one datagram: the largest one in pieces of 256 octets */
#define REASSEMBLY_QUOTE_MAX     312U   /* kept of a first fragment: all its headers */
#define REASSEMBLY_IP4_US        30000000U
#define REASSEMBLY_IP6_US        60000000U /* RFC 8200 4.5 */

/* One name for result, counter and test. */
#define REASSEMBLY_DROPS(X)                                                                                            \
    X(length)    /* empty, or not the last and no multiple of eight */                                                 \
    X(overflow)  /* would end behind octet 65535 of the packet */                                                      \
    X(duplicate) /* exactly what had come already: ignored */                                                          \
    X(overlap)   /* RFC 5722 4: MUST discard the whole datagram */                                                     \
    X(end)       /* beyond the end, or another end: the whole datagram discarded */                                    \
    X(too_many)  /* in too many pieces: the whole datagram discarded */                                                \
    X(discarded) /* of a datagram that was discarded */                                                                \
    X(ecn)       /* RFC 3168 5.3: some pieces not ECN-capable, others marked */                                        \
    X(no_buffer) /* every buffer is lent */

enum reassembly_result {
    REASSEMBLY_HELD = 0,
    REASSEMBLY_COMPLETE = 1, /* *ret is the datagram; its buffer is the caller's until reassembly_release() */
#define X(name) REASSEMBLY_DROP_##name,
    REASSEMBLY_DROPS(X)
#undef X
        REASSEMBLY_RESULTS
};

#define REASSEMBLY_COUNTERS(X)                                                                                         \
    X(fragments_in)                                                                                                    \
    X(datagrams_out)                                                                                                   \
    X(timed_out) X(evicted) X(evicted_source) X(drop_length) X(drop_overflow) X(drop_duplicate) X(drop_overlap)        \
        X(drop_end) X(drop_too_many) X(drop_discarded) X(drop_ecn) X(drop_no_buffer)

struct reassembly_counters {
#define X(name) uint64_t name;
    REASSEMBLY_COUNTERS(X)
#undef X
};

struct reassembly_fragment { /* private copies, checked */
    struct ip_address source;
    struct ip_address destination;
    uint32_t identification;
    uint32_t offset; /* octets */
    uint32_t length;
    uint32_t
        header_octets; /* before the fragmentable part that count towards 65535: IPv4's header, IPv6's extensions */
    bool more;
    uint8_t protocol; /* IPv4: part of the name; IPv6: that of the first fragment counts */
    uint8_t ttl;
    uint8_t traffic_class;
};

enum reassembly_state {
    REASSEMBLY_FREE = 0,
    REASSEMBLY_COLLECTING = 1,
    REASSEMBLY_DISCARDING = 2,
    REASSEMBLY_LENT = 3
};

struct reassembly_piece { /* octets [first, end) */
    uint16_t first, end;
};

struct reassembly_datagram {         /* the engine's own */
    struct reassembly_fragment name; /* what the first fragment said, as far as it has come */
    uint64_t expires_us;
    uint8_t state;
    uint8_t ecn;     /* bit n: a piece with ECN field n has come */
    bool first_seen; /* the piece at offset 0 */
    uint32_t end;    /* 0: not known */
    uint32_t octets; /* that have come */
    uint32_t pieces;
    uint32_t quote_octets;
    struct reassembly_piece piece[REASSEMBLY_FRAGMENTS_MAX]; /* in order, never overlapping */
    uint8_t quote[REASSEMBLY_QUOTE_MAX];
};

struct reassembly {   /* in the caller's memory; the engine's own */
    uint8_t *buffers; /* REASSEMBLY_DATAGRAMS of REASSEMBLY_BUFFER_OCTETS, one behind the other */
    struct reassembly_counters counters;
    uint64_t deadline_us; /* not later than any open one's */
    uint32_t open;        /* being collected or discarded */
    uint32_t latest;      /* the one begun last: a guess */
    struct reassembly_datagram datagram[REASSEMBLY_DATAGRAMS];
};

struct reassembly_output {
    struct ip_address source;
    struct ip_address destination;
    uint32_t buffer; /* its index */
    uint32_t length; /* octets in it */
    uint8_t protocol;
    uint8_t ttl;           /* of the first fragment */
    uint8_t traffic_class; /* of the first fragment, ECN merged */
    uint32_t packet_octets;
    const uint8_t *packet; /* kept of the first fragment, from its IP header on; valid until the release */
};

struct reassembly_expired { /* RFC 792, RFC 4443 3.3: time exceeded, code 1, is due */
    struct ip_address source;
    struct ip_address destination;
    uint32_t quote_octets;
    uint8_t quote[REASSEMBLY_QUOTE_MAX]; /* of the first fragment, IP header and all */
};

void reassembly_init(struct reassembly *t, uint8_t *buffers);

/* Untrusted: payload (wire; `fragment->length` octets that may change at any time: copied once, never looked at).
 * `packet` is the private copy of the packet's beginning, kept of a first fragment. REASSEMBLY_HELD,
 * REASSEMBLY_COMPLETE (with *ret), or REASSEMBLY_DROP_*, counted. */
enum reassembly_result reassembly_input(struct reassembly *t, uint64_t now_us,
                                        const struct reassembly_fragment *fragment, const uint8_t *payload,
                                        const uint8_t *packet, size_t packet_octets, struct reassembly_output *ret)
    __attribute__((warn_unused_result));

/* The caller's buffer is free again. */
void reassembly_release(struct reassembly *t, uint32_t buffer);

/* Lets go of a datagram that has waited too long. True: *ret is to be told to its source; call again. */
bool reassembly_poll(struct reassembly *t, uint64_t now_us, struct reassembly_expired *ret);
uint64_t reassembly_deadline_us(const struct reassembly *t); /* UINT64_MAX: never */

#endif
