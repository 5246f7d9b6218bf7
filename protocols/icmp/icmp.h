// SPDX-License-Identifier: BSD-2-Clause
/* ICMP for IPv4, sans-I/O (RFC 792, RFC 1122 3.2.2): echo answered, errors told to the transport, and
 * errors sent. Whatever is to be sent is the result of the call that caused it, so there is
 * no poll, and nothing waits, so there is no deadline. */
#ifndef BULKHEAD_PROTOCOLS_ICMP_ICMP_H
#define BULKHEAD_PROTOCOLS_ICMP_ICMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"
#include "protocols/ip4/ip4.h"

#define ICMP_HEADER_LENGTH 8U
#define ICMP_QUOTE_OCTETS  8U /* of the offending packet's payload */
/* Octets of a message that the caller copies for icmp_input(), at most: all it looks at. An even number. */
#define ICMP_CAPTURE_MAX (ICMP_HEADER_LENGTH + IP4_HEADER_MAX + ICMP_QUOTE_OCTETS)

enum icmp_code { /* of destination unreachable */
    ICMP_CODE_NET_UNREACHABLE = 0,
    ICMP_CODE_HOST_UNREACHABLE = 1,
    ICMP_CODE_PROTOCOL_UNREACHABLE = 2,
    ICMP_CODE_PORT_UNREACHABLE = 3,
    ICMP_CODE_FRAGMENTATION_NEEDED = 4,
    ICMP_CODE_REASSEMBLY = 1,  /* of time exceeded */
    ICMP_CODE_POINTER = 0,     /* of parameter problem */
};

/* One name for result, counter and test. */
#define ICMP_DROPS(X)                                                                              \
    X(short)          /* fewer than 8 octets */                                                    \
    X(checksum)                                                                                    \
    X(type)           /* a type that we do not speak (RFC 1122 3.2.2) */                           \
    X(code)           /* an echo with a code, or an unreachable beyond RFC 1122's sixteen */       \
    X(echo_broadcast) /* an echo to a broadcast (RFC 1122 3.2.2.6: MAY discard) */                 \
    X(echo_reply)     /* nobody here asks */                                                       \
    X(redirect)       /* not obeyed */                                                             \
    X(quote_short)    /* an error without header and eight octets of the packet it is about */     \
    X(quote_header)   /* the quoted header is malformed */                                         \
    X(quote_fragment) /* a quoted fragment that is not the first: nobody to tell */                \
    X(quote_source)   /* about a packet that we did not send, or that never left this host */

/* Why no error was sent (RFC 1122 3.2.2). */
#define ICMP_WITHHELD(X)                                                                           \
    X(about_error)       /* about an ICMP error message */                                         \
    X(about_fragment)    /* about a fragment that is not the first */                              \
    X(about_broadcast)   /* sent to a broadcast or multicast address, of IP or of the link */      \
    X(about_bad_source)  /* the source does not define a single host */                            \
    X(about_truncated)   /* too little of the packet at hand to quote */                           \
    X(rate_limited)

#define ICMP_COUNTERS(X)                                                                           \
    X(messages_in) X(echo_requests_in) X(errors_in) X(echo_replies_out) X(unreachables_out)        \
    X(time_exceeded_out) X(parameter_problems_out) X(drop_short) X(drop_checksum) X(drop_type) X(drop_code) X(drop_echo_broadcast)                \
    X(drop_echo_reply) X(drop_redirect) X(drop_quote_short) X(drop_quote_header)                   \
    X(drop_quote_fragment) X(drop_quote_source) X(withheld_about_error) X(withheld_about_fragment) \
    X(withheld_about_broadcast) X(withheld_about_bad_source) X(withheld_about_truncated)           \
    X(withheld_rate_limited)

struct icmp_counters {
#define X(name) uint64_t name;
    ICMP_COUNTERS(X)
#undef X
};

struct icmp_config {
    const struct ip4_config *ip4; /* the caller's, who keeps it */
    uint32_t errors_per_second;   /* 0: 1000 (RFC 1812 4.3.2.8: SHOULD be limited) */
    uint32_t errors_burst;        /* 0: 50 */
};

struct icmp_bucket { /* limits the errors sent; of icmp.c and icmp6.c */
    uint64_t tokens_us;   /* credit */
    uint64_t most_us;
    uint64_t cost_us;     /* of an error: 1000000 / errors_per_second */
    uint64_t refilled_us;
};

/* Zero as either number is the default of struct icmp_config. */
void icmp_bucket_init(struct icmp_bucket *bucket, uint32_t errors_per_second, uint32_t errors_burst, uint64_t now_us);
bool icmp_bucket_take(struct icmp_bucket *bucket, uint64_t now_us);

struct icmp { /* in the caller's memory; the engine's own */
    struct icmp_config config;
    struct icmp_counters counters;
    struct icmp_bucket bucket;
};

void icmp_init(struct icmp *t, const struct icmp_config *config, uint64_t now_us);

struct icmp_reply { /* an echo reply: IP header, these eight octets, then the request's own payload */
    struct ip4_header ip4; /* complete, for ip4_build() */
    uint8_t header[ICMP_HEADER_LENGTH];
    uint32_t payload_offset; /* from the start of the received ICMP message */
    uint32_t payload_length;
};

struct icmp_error { /* of either family, checked; about a packet that we (or somebody in our name) sent */
    uint8_t type;          /* ICMP_TYPE_*, ICMP6_TYPE_* of an error */
    uint8_t code;
    uint8_t protocol;      /* of the quoted packet */
    uint8_t quoted_octets[ICMP_QUOTE_OCTETS]; /* the beginning of its payload */
    uint16_t next_hop_mtu; /* with "fragmentation needed" (0: not told, RFC 1191 5), "packet too big" (65535: or more) */
    uint32_t pointer;      /* with "parameter problem" */
    struct ip_address reporter;
    struct ip_address source; /* of the quoted packet: ours */
    struct ip_address destination;
};

struct icmp_input_out {
    struct icmp_reply reply;
    struct icmp_error error;
};

enum icmp_input_result {
    ICMP_INPUT_REPLY = 0, /* ret->reply is to be sent */
    ICMP_INPUT_ERROR = 1, /* ret->error is to be told to the transport of its protocol */
#define X(name) ICMP_DROP_##name,
    ICMP_DROPS(X)
#undef X
    ICMP_INPUT_RESULTS
};

/* Untrusted: message (wire; a private copy of the first `captured` octets, an even number unless it is all).
 * `length` is that of the whole message; `rest_sum` the checksum_add() of the octets behind those captured.
 * ICMP_INPUT_REPLY, ICMP_INPUT_ERROR, or ICMP_DROP_*, counted. */
enum icmp_input_result icmp_input(struct icmp *t, const struct ip4_header *ip4, const uint8_t *message,
                                  size_t captured, size_t length, uint64_t rest_sum,
                                  struct icmp_input_out *ret) __attribute__((warn_unused_result));

struct icmp_message { /* an error, complete */
    struct ip4_header ip4; /* for ip4_build() */
    uint8_t bytes[ICMP_HEADER_LENGTH + IP4_HEADER_MAX + ICMP_QUOTE_OCTETS];
    uint32_t length;
};

enum icmp_error_result {
    ICMP_ERROR_SEND = 0, /* *ret is to be sent */
#define X(name) ICMP_WITHHELD_##name,
    ICMP_WITHHELD(X)
#undef X
    ICMP_ERROR_RESULTS
};

/* Untrusted: packet (wire; a private copy of the offending packet from its IP header on, that was parsed
 * into `ip4`). `type`: unreachable, time exceeded or parameter problem. `parameter`: MTU of the next hop, or pointer,
 * else 0. `link_group`: it came in a broadcast or multicast frame.
 * ICMP_ERROR_SEND (with *ret), or ICMP_WITHHELD_*, counted. */
enum icmp_error_result icmp_error(struct icmp *t, uint64_t now_us, uint8_t type, uint8_t code, uint16_t parameter,
                                  const struct ip4_header *ip4, bool link_group, const uint8_t *packet,
                                  size_t captured, struct icmp_message *ret) __attribute__((warn_unused_result));

#endif
