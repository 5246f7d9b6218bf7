// SPDX-License-Identifier: BSD-2-Clause
/* ICMPv6, sans-I/O (RFC 4443): echo answered, errors told to the transport, errors sent, neighbour discovery told apart
 * (ndp_input() takes it). Whatever is to be sent is the result of the call that caused it, so there is no poll, and
 * nothing waits, so there is no deadline. The shape is that of icmp.h. */
#ifndef BULKHEAD_PROTOCOLS_ICMP_ICMP6_H
#define BULKHEAD_PROTOCOLS_ICMP_ICMP6_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"
#include "protocols/icmp/icmp.h"
#include "protocols/ip6/ip6.h"

#define ICMP6_HEADER_LENGTH 8U
/* Octets of a message that the caller copies for icmp6_input(), at most: all it looks at. An even number, and enough
 * for ndp_input(). */
#define ICMP6_CAPTURE_MAX (ICMP6_HEADER_LENGTH + IP6_CAPTURE_MAX + ICMP_QUOTE_OCTETS)
/* Octets of an error, at most: the packet stays within the least MTU (RFC 4443 2.4 (c)). */
#define ICMP6_ERROR_MAX (IP6_MTU_MIN - IP6_HEADER_LENGTH)

enum icmp6_code {
    /* of destination unreachable */
    ICMP6_CODE_NO_ROUTE = 0,
    ICMP6_CODE_PROHIBITED = 1,
    ICMP6_CODE_ADDRESS_UNREACHABLE = 3,
    ICMP6_CODE_PORT_UNREACHABLE = 4,
    /* of time exceeded */
    ICMP6_CODE_HOP_LIMIT = 0,
    ICMP6_CODE_REASSEMBLY = 1,
    /* of parameter problem */
    ICMP6_CODE_HEADER_FIELD = 0,
    ICMP6_CODE_NEXT_HEADER = 1,
    ICMP6_CODE_OPTION = 2,
    ICMP6_CODE_FRAGMENT_CHAIN = 3, /* RFC 7112 */
};

/* One name for result, counter and test. */
#define ICMP6_DROPS(X)                                                                                                 \
    X(short) /* fewer than 8 octets */                                                                                 \
    X(checksum)                                                                                                        \
    X(type)           /* information of a type that we do not speak (RFC 4443 2.4 (b)) */                              \
    X(code)           /* an echo with a code */                                                                        \
    X(source)         /* no source, or an own one from the wire, and not neighbour discovery */                        \
    X(echo_reply)     /* nobody here asks */                                                                           \
    X(no_address)     /* an echo to a group, and no own address to answer from */                                      \
    X(listener)       /* a report of another host */                                                                   \
    X(too_small)      /* packet too big with an MTU below 1280: RFC 8201 4 */                                          \
    X(quote_short)    /* an error without the transport's first eight octets of its packet */                          \
    X(quote_header)   /* the quoted header is malformed */                                                             \
    X(quote_fragment) /* a quoted fragment that is not the first: nobody to tell */                                    \
    X(quote_source)   /* about a packet that we did not send, or that never left this host */

/* Why no error was sent (RFC 4443 2.4 (e), (f)). */
#define ICMP6_WITHHELD(X)                                                                                              \
    X(about_error)      /* about an ICMPv6 error or redirect, or something that may be one */                          \
    X(about_multicast)  /* sent to a group of IP or of the link */                                                     \
    X(about_bad_source) /* the source does not name a single node */                                                   \
    X(about_truncated)  /* too little of the packet at hand to quote */                                                \
    X(no_source)        /* no own address to send it from */                                                           \
    X(rate_limited)

/* clang-format off */
#define ICMP6_COUNTERS(X)                                                                           \
    X(messages_in) X(echo_requests_in) X(errors_in) X(neighbour_in) X(echo_replies_out)             \
    X(unreachables_out) X(too_bigs_out) X(time_exceeded_out) X(parameter_problems_out)              \
    X(drop_short) X(drop_checksum) X(drop_type) X(drop_code) X(drop_source) X(drop_echo_reply)      \
    X(drop_no_address) X(drop_listener) X(drop_too_small) X(drop_quote_short) X(drop_quote_header)  \
    X(drop_quote_fragment) X(drop_quote_source) X(withheld_about_error)                             \
    X(withheld_about_multicast) X(withheld_about_bad_source) X(withheld_about_truncated)            \
    X(withheld_no_source) X(withheld_rate_limited)
/* clang-format on */

struct icmp6_counters {
#define X(name) uint64_t name;
    ICMP6_COUNTERS(X)
#undef X
};

struct icmp6_config {
    const struct ip6_config *ip6; /* the caller's, who keeps it */
    uint32_t errors_per_second;   /* 0: 1000 (RFC 4443 2.4 (f): MUST be limited) */
    uint32_t errors_burst;        /* 0: 50 */
};

struct icmp6 { /* in the caller's memory; the engine's own */
    struct icmp6_config config;
    struct icmp6_counters counters;
    struct icmp_bucket bucket;
};

void icmp6_init(struct icmp6 *t, const struct icmp6_config *config, uint64_t now_us);

struct icmp6_reply {       /* an echo reply: IP header, these eight octets, then the request's own payload */
    struct ip6_header ip6; /* complete, for ip6_build() */
    uint8_t header[ICMP6_HEADER_LENGTH];
    uint32_t payload_offset; /* from the start of the received ICMPv6 message */
    uint32_t payload_length;
};

struct icmp6_input_out {
    struct icmp6_reply reply;
    struct icmp_error
        error; /* addresses of family IPv6; next_hop_mtu with packet too big, pointer with parameter problem */
};

enum icmp6_input_result {
    ICMP6_INPUT_REPLY = 0, /* ret->reply is to be sent */
    ICMP6_INPUT_ERROR = 1, /* ret->error is to be told to the transport of its protocol */
    ICMP6_INPUT_NDP = 2,   /* the message is for ndp_input() */
#define X(name) ICMP6_DROP_##name,
    ICMP6_DROPS(X)
#undef X
        ICMP6_INPUT_RESULTS
};

/* Untrusted: message (wire; a private copy of the first `captured` octets, an even number unless it is all).
 * `length` is that of the whole message; `rest_sum` the checksum_add() of the octets behind those captured.
 * ICMP6_INPUT_REPLY, ICMP6_INPUT_ERROR, ICMP6_INPUT_NDP, or ICMP6_DROP_*, counted. */
enum icmp6_input_result icmp6_input(struct icmp6 *t, const struct ip6_header *ip6, const uint8_t *message,
                                    size_t captured, size_t length, uint64_t rest_sum, struct icmp6_input_out *ret)
    __attribute__((warn_unused_result));

struct icmp6_message {     /* an error, complete */
    struct ip6_header ip6; /* for ip6_build() */
    uint32_t length;
    uint8_t bytes[ICMP6_ERROR_MAX];
};

enum icmp6_error_result {
    ICMP6_ERROR_SEND = 0, /* *ret is to be sent */
#define X(name) ICMP6_WITHHELD_##name,
    ICMP6_WITHHELD(X)
#undef X
        ICMP6_ERROR_RESULTS
};

/* Untrusted: packet (wire; a private copy of the beginning of the offending packet from its fixed header on; as much of
 * it as is at hand and fits is quoted). `type`: ICMP6_TYPE_* of an error. `parameter`: MTU or pointer, else 0. `ip6`:
 * its source and destination are looked at. `link_group`: it came in a broadcast or multicast frame. ICMP6_ERROR_SEND
 * (with *ret), or ICMP6_WITHHELD_*, counted. */
enum icmp6_error_result icmp6_error(struct icmp6 *t, uint64_t now_us, uint8_t type, uint8_t code, uint32_t parameter,
                                    const struct ip6_header *ip6, bool link_group, const uint8_t *packet,
                                    size_t captured, struct icmp6_message *ret) __attribute__((warn_unused_result));

#endif
