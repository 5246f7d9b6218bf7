// SPDX-License-Identifier: BSD-2-Clause
/* IPv6 (RFC 8200): checked parse of a private copy of the headers, extension headers included, into a representation in
 * which malformed things are gone; the build; the classes of addresses (RFC 4291). There is nothing to wait for, so no
 * poll and no deadline. Fragments are told as such: reassembly is the caller's, who then parses the whole packet. */
#ifndef BULKHEAD_PROTOCOLS_IP6_IP6_H
#define BULKHEAD_PROTOCOLS_IP6_IP6_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"
#include "protocols/base/own.h"

#define IP6_HEADER_LENGTH          40U
#define IP6_FRAGMENT_HEADER_LENGTH 8U
#define IP6_MTU_MIN                1280U /* RFC 8200 5 */
#define IP6_HOP_LIMIT_DEFAULT      64U
#define IP6_EXTENSIONS_OCTETS_MAX  256U /* all extension headers of a packet; a limit as RFC 8504 5.3 allows */
#define IP6_EXTENSIONS_MAX         8U
#define IP6_OPTIONS_MAX            8U /* of one header, padding not counted: RFC 8504 5.3 */
/* Octets of a packet that the caller copies for ip6_parse(), at most: all it looks at. */
#define IP6_CAPTURE_MAX (IP6_HEADER_LENGTH + IP6_EXTENSIONS_OCTETS_MAX)

#define IP_PROTOCOL_HOP_BY_HOP          0
#define IP_PROTOCOL_ROUTING             43
#define IP_PROTOCOL_FRAGMENT            44
#define IP_PROTOCOL_ICMP6               58
#define IP_PROTOCOL_NO_NEXT_HEADER      59
#define IP_PROTOCOL_DESTINATION_OPTIONS 60

/* One name for result, counter and test. All but `fragment` and `protocol`, which are the caller's to decide, are
 * results of ip6_parse(). [code]: a parameter problem of that code is called for (see struct ip6_problem). */
#define IP6_DROPS(X)                                                                                                   \
    X(short)              /* fewer than 40 octets */                                                                   \
    X(version)            /* not 6 */                                                                                  \
    X(payload_length)     /* more than is there */                                                                     \
    X(source_unspecified) /* and not ICMPv6: only duplicate address detection has none */                              \
    X(source_loopback)                                                                                                 \
    X(source_multicast)                                                                                                \
    X(source_mapped) /* ::ffff:0:0/96 is never on the wire */                                                          \
    X(source_own)    /* our own address, from the wire, and not ICMPv6 */                                              \
    X(destination_unspecified)                                                                                         \
    X(destination_loopback)                                                                                            \
    X(destination_multicast) /* a group that we are not in */                                                          \
    X(destination_mapped)                                                                                              \
    X(destination_tentative) /* RFC 4862 5.4: not ours yet */                                                          \
    X(not_ours)                                                                                                        \
    X(hop_by_hop)          /* [1] not directly behind the fixed header */                                              \
    X(extension_truncated) /* an extension header runs past the packet */                                              \
    X(extension_limit)     /* more headers or octets of them than IP6_EXTENSIONS_* */                                  \
    X(option_length)       /* [0] an option runs past its header */                                                    \
    X(option_limit)        /* more than IP6_OPTIONS_MAX */                                                             \
    X(option_discard)      /* unknown, of a type that says: discard */                                                 \
    X(option_unknown)      /* [2] unknown, of a type that says: discard and tell */                                    \
    X(routing)             /* [0] segments left, type 0 (RFC 5095) or unknown */                                       \
    X(fragment_length)     /* [0] not the last, and no multiple of eight, or nothing in it */                          \
    X(fragment_overflow)   /* [0] would end behind octet 65535 of the payload */                                       \
    X(fragment_repeated)   /* a second fragment header */                                                              \
    X(fragment_chain)      /* [3] a first fragment without the whole chain: RFC 7112 */                                \
    X(no_next_header)      /* RFC 8200 4.7: there is nothing to deliver */                                             \
    X(fragment)            /* counted by the caller that cannot reassemble */                                          \
    X(protocol)            /* counted by the caller: nobody takes it; [1] is called for */

enum ip6_result {
    IP6_OK = 0,
#define X(name) IP6_DROP_##name,
    IP6_DROPS(X)
#undef X
        IP6_RESULTS
};

/* clang-format off */
#define IP6_COUNTERS(X)                                                                             \
    X(packets_in) X(extensions_in) X(fragments_in) X(atomic_fragments_in) X(drop_short)             \
    X(drop_version) X(drop_payload_length) X(drop_source_unspecified) X(drop_source_loopback)       \
    X(drop_source_multicast) X(drop_source_mapped) X(drop_source_own)                               \
    X(drop_destination_unspecified) X(drop_destination_loopback) X(drop_destination_multicast)      \
    X(drop_destination_mapped) X(drop_destination_tentative) X(drop_not_ours) X(drop_hop_by_hop)    \
    X(drop_extension_truncated) X(drop_extension_limit) X(drop_option_length) X(drop_option_limit)  \
    X(drop_option_discard) X(drop_option_unknown) X(drop_routing) X(drop_fragment_length)           \
    X(drop_fragment_overflow) X(drop_fragment_repeated) X(drop_fragment_chain)                      \
    X(drop_no_next_header) X(drop_fragment) X(drop_protocol)
/* clang-format on */

struct ip6_counters {
#define X(name) uint64_t name;
    IP6_COUNTERS(X)
#undef X
};

/* ---- addresses ---- */

struct ip6_config {
    struct ip_own_address own[IP_OWN_MAX]; /* IPv6 ones only */
    uint32_t own_count;
};

enum ip6_class {                        /* what an address is to this host */
                 IP6_CLASS_UNICAST = 0, /* somebody else's */
                 IP6_CLASS_OURS,
                 IP6_CLASS_TENTATIVE, /* ours, but not (yet) to be used */
                 IP6_CLASS_LOOPBACK,  /* ::1 */
                 IP6_CLASS_GROUP, /* a multicast group that we are in: all nodes, or solicited-node of an own address */
                 IP6_CLASS_MULTICAST,   /* another group */
                 IP6_CLASS_MAPPED,      /* ::ffff:0:0/96 */
                 IP6_CLASS_UNSPECIFIED, /* :: */
};

enum ip6_class ip6_classify(const struct ip6_config *config, const struct ip_address *address);

struct ip_address ip_address_from_ip6(const uint8_t octets[16]);
bool ip6_is_link_local(const struct ip_address *address); /* fe80::/10 */
bool ip6_is_multicast(const struct ip_address *address);
bool ip6_prefix_match(const struct ip_address *a, const struct ip_address *b, uint8_t prefix_length);
struct ip_address ip6_solicited_node(const struct ip_address *address); /* RFC 4291 2.7.1 */
struct ip_address ip6_all_nodes(void);                                  /* ff02::1 */
struct mac_address ip6_multicast_mac(const struct ip_address *group);   /* RFC 2464 7 */
/* fe80::/64 and the modified EUI-64 of the station (RFC 2464 5, RFC 4291 A). */
struct ip_address ip6_link_local_of(const struct mac_address *station);

/* The usable own address to speak to `destination` from: itself, then equal scope, then the longest common prefix
 * (RFC 6724 5, rules 1, 2 and 8). ::1 for ::1. NULL: there is none. */
const struct ip_address *ip6_source_select(const struct ip6_config *config, const struct ip_address *destination);

/* ---- headers ---- */

struct ip6_fragment { /* all lengths in octets */
    uint32_t identification;
    uint16_t offset;                /* of this piece in the fragmentable part */
    uint16_t unfragmentable_length; /* fixed header and the extension headers before the fragment header */
    uint16_t data_offset;           /* of this piece, from the start of the fixed header */
    uint16_t next_header_at; /* the octet before it that names the fragment header: reassembly puts next_header there */
    uint8_t next_header;     /* with which the fragmentable part begins */
    bool more;
};

struct ip6_header {
    struct ip_address source;
    struct ip_address destination;
    uint32_t flow_label;
    uint16_t payload_length;   /* behind the fixed header: octets */
    uint16_t transport_offset; /* from the start of the fixed header; a build does not look at it */
    uint16_t protocol_at;      /* the octet that names `protocol`: pointer of a parameter problem of code 1 */
    uint8_t protocol;          /* the last next header; of a build, the first */
    uint8_t hop_limit;
    uint8_t dscp;
    uint8_t ecn;
    bool is_fragment;     /* then protocol, protocol_at, transport_offset do not count but `fragment` does */
    bool fragment_header; /* came in fragments, if only in one: set by the parse of an atomic fragment, and by the
                             caller for what it reassembled (RFC 6980: no neighbour discovery in these) */
    bool multicast;       /* found by the parse: the destination is a group */
    bool source_own;      /* found by the parse: from the wire with an own address as source; only ICMPv6, and only
                             good for the detection of duplicates */
    struct ip6_fragment fragment;
};

static inline uint32_t ip6_transport_length(const struct ip6_header *h)
{
    return IP6_HEADER_LENGTH + (uint32_t)h->payload_length - h->transport_offset;
}

struct ip6_problem { /* the ICMPv6 parameter problem that a drop calls for (icmp6_error() decides whether it is sent) */
    bool called_for;
    uint8_t code;
    uint32_t pointer;
};

/* Untrusted: bytes (wire; a private copy of `captured` octets, IP6_CAPTURE_MAX or all, of a packet of which `available`
 * octets are there, padding included). `turned`: the packet comes from this host itself, so that ::1 and own addresses
 * may be its source and ::1 its destination. Counts. IP6_OK or IP6_DROP_*. *ret with IP6_OK; *ret_problem always, and
 * if it is called for, *ret has the fields of the fixed header. */
enum ip6_result ip6_parse(struct ip6_counters *counters, const struct ip6_config *config, bool turned,
                          const uint8_t *bytes, size_t captured, size_t available, struct ip6_header *ret,
                          struct ip6_problem *ret_problem) __attribute__((warn_unused_result));

/* Moves the counter of a drop that the caller decided. */
void ip6_count(struct ip6_counters *counters, enum ip6_result result);

/* What a packet, whole or cut off (quoted in an error), carries, without any check but of lengths. False: the chain
 * does not end within `length`, or it is a fragment that is not the first.
 * Untrusted: packet (wire; private, from the fixed header on). */
bool ip6_transport_find(const uint8_t *packet, size_t length, uint8_t *ret_protocol, size_t *ret_offset);

/* Writes 40 octets; `protocol` is the next header. */
void ip6_build(const struct ip6_header *header, uint8_t *ret_bytes);
/* Writes IP6_FRAGMENT_HEADER_LENGTH octets from next_header, offset, more and identification. */
void ip6_fragment_build(const struct ip6_fragment *fragment, uint8_t *ret_bytes);

#endif
