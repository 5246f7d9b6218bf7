// SPDX-License-Identifier: BSD-2-Clause
/* ARP, sans-I/O (RFC 826, RFC 1122 2.3.2, RFC 5227): packets and time in, packets and a deadline out.
 * The packets that wait for an address are the caller's. */
#ifndef BULKHEAD_PROTOCOLS_ARP_ARP_H
#define BULKHEAD_PROTOCOLS_ARP_ARP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"
#include "protocols/base/own.h"
#include "protocols/ip/neighbour.h"

#define ARP_ENTRIES       NEIGHBOURS_MAX
#define ARP_REPLIES       16U /* replies waiting for arp_poll() */
#define ARP_PACKET_LENGTH 28U

#define ARP_REACHABLE_US (30U * 1000000U) /* as ReachableTime of RFC 4861 */
#define ARP_RETRY_US     1000000U         /* RFC 1122 2.3.2.1: at most one a second for one address */
#define ARP_TRIES        3U
#define ARP_FAILED_US    (3U * 1000000U)
/* RFC 5227 1.1 */
#define ARP_PROBE_WAIT_US        1000000U /* random, before the first probe */
#define ARP_PROBES               3U
#define ARP_PROBE_MIN_US         1000000U /* random, between probes */
#define ARP_PROBE_MAX_US         (2U * 1000000U)
#define ARP_ANNOUNCE_WAIT_US     (2U * 1000000U)
#define ARP_ANNOUNCEMENTS        2U
#define ARP_ANNOUNCE_INTERVAL_US (2U * 1000000U)
#define ARP_DEFEND_US            (10U * 1000000U) /* DEFEND_INTERVAL */

/* One name for result, counter and test. */
#define ARP_DROPS(X)                                                                               \
    X(short)        /* fewer than 28 octets */                                                     \
    X(hardware)     /* not Ethernet */                                                             \
    X(protocol)     /* not IPv4 */                                                                 \
    X(lengths)      /* address lengths other than 6 and 4 */                                       \
    X(operation)    /* neither request nor reply */                                                \
    X(sender_mac)   /* a group address or zero as sender */                                        \
    X(sender_ip4)   /* a multicast, broadcast or loopback sender */                                \
    X(own)          /* our own packet come back */                                                 \
    X(conflict)     /* another station claims our address; arp_event() tells */                    \
    X(tentative)    /* a request for an address that is not to be used */                          \
    X(not_ours)     /* about others, of whom we know nothing */                                    \
    X(table_full)   /* a stranger's request, and every entry is in use */                          \
    X(reply_queue)  /* more requests than replies that can wait */

#define ARP_COUNTERS(X)                                                                            \
    X(requests_in) X(replies_in) X(requests_out) X(replies_out) X(announcements_out)               \
    X(probes_out) X(duplicates) X(resolved) X(failed) X(evicted) X(drop_short) X(drop_hardware)    \
    X(drop_protocol) X(drop_lengths) X(drop_operation) X(drop_sender_mac) X(drop_sender_ip4)       \
    X(drop_own) X(drop_conflict) X(drop_tentative) X(drop_not_ours) X(drop_table_full)             \
    X(drop_reply_queue)

struct arp_counters {
#define X(name) uint64_t name;
    ARP_COUNTERS(X)
#undef X
};

struct arp_config {
    struct mac_address mac;
    struct ip_own_address own[IP_OWN_MAX]; /* IPv4 ones only; `tentative` is not looked at */
    uint32_t own_count;
    enum dad_mode dad;
    bool restarted;     /* an earlier incarnation did it all: ours at once, no probe, no announcement */
    uint8_t secret[16]; /* for the random delays, and the table's hash */
};

struct arp_reply {
    uint8_t ip4[4];
    struct mac_address mac;
    uint8_t own; /* index: the sender */
};

struct arp_own {
    struct own_claim claim; /* never OWN_OPTIMISTIC: ARP has no such restraint */
    uint8_t probes;         /* left */
    uint8_t announcements;  /* left */
    uint64_t at_us;         /* of the next probe or announcement, or of the end of the wait; UINT64_MAX: none */
};

struct arp { /* in the caller's memory; the engine's own */
    struct arp_config config;
    struct arp_counters counters;
    uint32_t reply_first, reply_count;
    struct arp_own own[IP_OWN_MAX];
    struct arp_reply reply[ARP_REPLIES];
    struct neighbour_table neighbours;
};

/* Starts conflict detection as `config` says: DAD_ON probes before an address is ours, DAD_OPTIMISTIC announces and
 * defends it, DAD_OFF does neither. What each own address is, arp_event() tells. */
void arp_init(struct arp *t, const struct arp_config *config, uint64_t now_us);

enum arp_input_result {
    ARP_INPUT_DONE = 0,     /* a reply may be queued */
    ARP_INPUT_RESOLVED = 1, /* RFC 826's merge flag: *ret is (still, or newly) known: send what waits for it */
#define X(name) ARP_DROP_##name,
    ARP_DROPS(X)
#undef X
    ARP_INPUT_RESULTS
};

/* Untrusted: bytes (wire; a private copy behind the Ethernet header; padding is allowed).
 * ARP_INPUT_DONE, ARP_INPUT_RESOLVED (with *ret), or ARP_DROP_*, counted. */
enum arp_input_result arp_input(struct arp *t, uint64_t now_us, const uint8_t *bytes, size_t length,
                                struct ip_address *ret) __attribute__((warn_unused_result));

enum arp_lookup_result {
    ARP_LOOKUP_FOUND = 0,     /* *ret is the station */
    ARP_LOOKUP_RESOLVING = 1, /* asked; look up again after ARP_INPUT_RESOLVED or at the deadline */
    ARP_LOOKUP_FAILED = 2,    /* nobody has it (for now), it is no IPv4 address, or no own address is usable */
};

/* The station of an on-link address; starts asking when it is not known. */
enum arp_lookup_result arp_lookup(struct arp *t, uint64_t now_us, const struct ip_address *address,
                                  struct mac_address *ret) __attribute__((warn_unused_result));

/* Queues an announcement of each usable own address (RFC 5227 2.3). */
void arp_announce(struct arp *t);

/* What happened to an own address, one at a time: true with *ret. To be called after arp_init(), arp_input() and
 * arp_poll() until it is false. */
bool arp_event(struct arp *t, struct own_event *ret);

struct arp_output {
    struct mac_address destination; /* of the Ethernet frame */
    uint8_t packet[ARP_PACKET_LENGTH];
};

/* One packet at a time; false: nothing (more) to send now. */
bool arp_poll(struct arp *t, uint64_t now_us, struct arp_output *ret);
/* When arp_poll() may have something, an own address become usable, or a lookup another answer; 0 for now, UINT64_MAX for never. */
uint64_t arp_deadline_us(const struct arp *t);

#endif
