// SPDX-License-Identifier: BSD-2-Clause
/* Neighbour discovery, host side, sans-I/O (RFC 4861 7, RFC 4862 5.4, RFC 4429): messages and time in, messages and a
 * deadline out. The packets that wait for an address are the caller's. Addresses and routes are static here, so router
 * advertisements and redirects are counted and ignored. The solicited-node groups that this needs are reported to
 * listening switches (RFC 3810). */
#ifndef BULKHEAD_PROTOCOLS_NDP_NDP_H
#define BULKHEAD_PROTOCOLS_NDP_NDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"
#include "protocols/base/own.h"
#include "protocols/ip/neighbour.h"
#include "protocols/ip6/ip6.h"

#define NDP_ENTRIES    NEIGHBOURS_MAX
#define NDP_REPLIES    16U  /* advertisements waiting for ndp_poll() */
#define NDP_OUTPUT_MAX 192U /* octets of a message that ndp_poll() gives */
/* Octets of a message that the caller copies for ndp_input(), at most; a longer message is dropped. */
#define NDP_CAPTURE_MAX 256U

/* RFC 4861 10 */
#define NDP_REACHABLE_US      (30U * 1000000U)
#define NDP_RETRANS_US        1000000U
#define NDP_DELAY_US          (5U * 1000000U) /* DELAY_FIRST_PROBE_TIME */
#define NDP_MULTICAST_SOLICIT 3U
#define NDP_UNICAST_SOLICIT   3U
#define NDP_ADVERTISEMENTS    3U              /* MAX_NEIGHBOR_ADVERTISEMENT */
#define NDP_FAILED_US         (3U * 1000000U) /* ours: not asked again for */
#define NDP_DEFEND_US         1000000U        /* ours: between two defences of an address */
#define NDP_DAD_TRANSMITS     1U              /* DupAddrDetectTransmits, RFC 4862 5.1 */
#define NDP_REPORTS           2U              /* of a group joined: robustness variable, RFC 3810 9.1 */
#define NDP_REPORT_US         1000000U        /* between them: RFC 3810 9.11 */
#define NDP_DAD_DELAY_MAX_US  1000000U        /* MAX_RTR_SOLICITATION_DELAY */

/* One name for result, counter and test. RFC 4861 7.1 unless another is named. */
#define NDP_DROPS(X)                                                                                                   \
    X(short)               /* fewer octets than the type has */                                                        \
    X(long)                /* more than NDP_CAPTURE_MAX */                                                             \
    X(hop_limit)           /* not 255: through a router */                                                             \
    X(code)                /* not zero */                                                                              \
    X(fragmented)          /* RFC 6980 5: MUST silently ignore */                                                      \
    X(target)              /* multicast, unspecified or loopback */                                                    \
    X(option_length)       /* zero, or past the end */                                                                 \
    X(destination)         /* no source, and not to a solicited-node group */                                          \
    X(option_source)       /* no source, and a source link-layer address option */                                     \
    X(solicited_multicast) /* an advertisement to a group that says it was solicited */                                \
    X(link_layer)          /* a group address or zero as link-layer address, or of another length */                   \
    X(own)                 /* our own message come back */                                                             \
    X(source)              /* our address as source, and not about it */                                               \
    X(conflict)            /* another station claims our address; ndp_event() tells */                                 \
    X(not_ours)            /* a solicitation for others */                                                             \
    X(tentative)           /* for an address that is not to be used (RFC 4862 5.4.3) */                                \
    X(not_asked)           /* an advertisement about somebody of whom we know nothing (7.2.5) */                       \
    X(no_address)          /* an advertisement without the address that we lack (7.2.5) */                             \
    X(not_override)        /* another address, but not to take the known one's place (7.2.5) */                        \
    X(table_full)          /* a stranger's solicitation, and every entry is in use */                                  \
    X(reply_queue)         /* more solicitations than answers that can wait */                                         \
    X(router)              /* router solicitation or advertisement: not obeyed */                                      \
    X(redirect)            /* not obeyed */                                                                            \
    X(query)               /* a listener query not from the link (RFC 3810 6.2), or for other groups */                \
    X(type)

/* clang-format off */
#define NDP_COUNTERS(X)                                                                             \
    X(solicitations_in) X(advertisements_in) X(queries_in) X(solicitations_out)                     \
    X(advertisements_out) X(probes_out) X(reports_out) X(resolved) X(failed) X(evicted)             \
    X(duplicates) X(drop_short) X(drop_long) X(drop_hop_limit) X(drop_code) X(drop_fragmented)      \
    X(drop_target) X(drop_option_length) X(drop_destination) X(drop_option_source)                  \
    X(drop_solicited_multicast) X(drop_link_layer) X(drop_own) X(drop_source) X(drop_conflict)      \
    X(drop_not_ours) X(drop_tentative) X(drop_not_asked) X(drop_no_address) X(drop_not_override)    \
    X(drop_table_full) X(drop_reply_queue) X(drop_router) X(drop_redirect) X(drop_query)            \
    X(drop_type)
/* clang-format on */

struct ndp_counters {
#define X(name) uint64_t name;
    NDP_COUNTERS(X)
#undef X
};

struct ndp_config {
    struct mac_address mac;
    struct ip_own_address own[IP_OWN_MAX]; /* IPv6 ones only; `tentative` is not looked at */
    uint32_t own_count;
    enum dad_mode dad;
    bool restarted;     /* an earlier incarnation did it all: preferred at once, no probe, no announcement */
    uint8_t secret[16]; /* for the random delays, and the table's hash */
};

struct ndp_reply {
    uint8_t destination[16]; /* zero: all nodes */
    struct mac_address mac;
    uint8_t own; /* index: the target */
};

struct ndp_own {
    struct own_claim claim;
    uint8_t probes;             /* left */
    uint8_t announcements;      /* left */
    uint8_t reports;            /* listener reports left */
    bool joining;               /* they report a change, not an answer to a query */
    uint64_t probe_at_us;       /* next probe, or the end of the wait after the last; UINT64_MAX: none */
    uint64_t announce_at_us;
    uint64_t report_at_us;
};

struct ndp { /* in the caller's memory; the engine's own */
    struct ndp_config config;
    struct ndp_counters counters;
    uint32_t reply_first, reply_count;
    struct ndp_reply reply[NDP_REPLIES];
    struct ndp_own own[IP_OWN_MAX];
    struct neighbour_table neighbours;
};

/* Starts duplicate address detection as `config` says. What each own address is, ndp_event() tells. */
void ndp_init(struct ndp *t, const struct ndp_config *config, uint64_t now_us);

enum ndp_input_result {
    NDP_INPUT_DONE = 0,     /* an answer may be queued */
    NDP_INPUT_RESOLVED = 1, /* *ret is (still, or newly) known: send what waits for it */
#define X(name) NDP_DROP_##name,
    NDP_DROPS(X)
#undef X
        NDP_INPUT_RESULTS
};

/* For what icmp6_input() says is ICMP6_INPUT_NDP: it has verified the checksum.
 * Untrusted: message (wire; a private copy, from the ICMPv6 header on, of all `length` octets or the first
 * NDP_CAPTURE_MAX). `station`: source of the frame, told with a conflict that names none.
 * NDP_INPUT_DONE, NDP_INPUT_RESOLVED (with *ret), or NDP_DROP_*, counted. */
enum ndp_input_result ndp_input(struct ndp *t, uint64_t now_us, const struct ip6_header *ip6,
                                const struct mac_address *station, const uint8_t *message, size_t length,
                                struct ip_address *ret) __attribute__((warn_unused_result));

enum ndp_lookup_result {
    NDP_LOOKUP_FOUND = 0,     /* *ret is the station (of a multicast group: its Ethernet group) */
    NDP_LOOKUP_RESOLVING = 1, /* asked; look up again after NDP_INPUT_RESOLVED or at the deadline */
    NDP_LOOKUP_FAILED = 2,    /* nobody has it (for now), it is no IPv6 address, or no own address is usable */
};

/* The station of an on-link address or group; starts asking when it is not known. */
enum ndp_lookup_result ndp_lookup(struct ndp *t, uint64_t now_us, const struct ip_address *address,
                                  struct mac_address *ret) __attribute__((warn_unused_result));

/* A layer above had an answer from `address` (a next hop): reachable (RFC 4861 7.3.1). */
void ndp_confirm(struct ndp *t, uint64_t now_us, const struct ip_address *address);

/* Queues NDP_ADVERTISEMENTS unsolicited advertisements of each usable own address (RFC 4861 7.2.6). */
void ndp_announce(struct ndp *t);

/* What happened to an own address, one at a time: true with *ret. To be called after ndp_init(), ndp_input() and
 * ndp_poll() until it is false. */
bool ndp_event(struct ndp *t, struct own_event *ret);

struct ndp_output {
    struct mac_address destination; /* of the Ethernet frame */
    struct ip6_header ip6; /* complete, for ip6_build(); protocol ICMPv6, or hop-by-hop for a listener report */
    uint32_t length;       /* of `message` */
    uint8_t message[NDP_OUTPUT_MAX]; /* behind the fixed header, checksum included */
};

/* One message at a time; false: nothing (more) to send now. */
bool ndp_poll(struct ndp *t, uint64_t now_us, struct ndp_output *ret);
/* When ndp_poll() may have something, an own address become usable, or a lookup another answer; 0 for now, UINT64_MAX
 * for never. */
uint64_t ndp_deadline_us(const struct ndp *t);

#endif
