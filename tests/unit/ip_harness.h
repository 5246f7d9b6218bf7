// SPDX-License-Identifier: BSD-2-Clause
/* The ip server between a nic, a tcp and a udp that the test plays: what the tests of servers/ip share. */
#ifndef BULKHEAD_TESTS_UNIT_IP_HARNESS_H
#define BULKHEAD_TESTS_UNIT_IP_HARNESS_H

#include "servers/ip/ip.h"

#include <stdlib.h>

#include "protocols/arp/arp_wire.h"
#include "protocols/base/checksum.h"
#include "protocols/ether/ether_wire.h"
#include "protocols/icmp/icmp6_wire.h"
#include "protocols/icmp/icmp_wire.h"
#include "protocols/ip4/ip4_wire.h"
#include "protocols/ndp/ndp_wire.h"
#include "tests/unit/suite.h"
#include "tests/unit/wire_pair.h"

#define POOL_NIC 16
#define POOL_IP  17
#define POOL_TCP 18
#define ARENA    19
#define SECOND   1000000U
#define FRAMES   (IP_LOANS_MAX + IP_WAITING_MAX + 8)

extern const struct ip_address us, us6, peer, peer6, loopback, loopback6;
extern const struct mac_address peer_mac;
extern struct stack_config config; /* setup() makes it anew */
extern struct server_context context;
extern struct wire_pair *nic, *tcp, *udp;
extern struct pool pool;
extern struct ip *ip;
extern uint8_t frames[FRAMES * 2048], headers[4096], arena[100000];
extern uint64_t now;
extern char noticed[160]; /* the last notice */

void setup(void); /* both families, no conflict detection */
void start(void); /* the same with what is in `config` now */
void teardown(void);
void burst(void);
void all_home(void); /* every buffer, every loan */

/* ---- what ip says ---- */
bool take(struct wire_pair *w, uint8_t operation, struct message *ret);
void nobody_says_anything(void);
struct message sent(bool keep); /* the frame that nic was told to send; the loan goes home at once unless `keep` */
const uint8_t *bytes_of(const struct message *m); /* of reference[0], in ip's pool */
const uint8_t *at(const struct message_reference *r);
void returned(struct wire_pair *w, uint32_t cookie);
/* The frame as it leaves: headers and payload. Its length. */
uint32_t frame_of(const struct message *m, uint8_t *ret, uint32_t size);

/* ---- frames from the wire, in buffer `cookie` of nic ---- */
void frame_send(uint32_t cookie, uint32_t length);
void packet_frame(uint32_t cookie, uint8_t protocol, const void *payload, uint32_t octets);
void packet6_frame(uint32_t cookie, uint8_t protocol, const void *payload, uint32_t octets);
/* A fragment of either family (of peer's: `from`). */
void fragment_frame(uint32_t cookie, const struct ip_address *from, uint8_t protocol, uint32_t identification,
                    uint32_t offset, bool more, const void *payload, uint32_t octets);
void arp_frame(uint16_t operation, uint32_t cookie);
void advertisement_frame(uint32_t cookie); /* of peer6 */
void know_peer(void);                      /* both addresses */
be16 icmp6_sum(const struct ip_address *from, const struct ip_address *to, const void *bytes, uint32_t octets);

/* ---- what transports send ---- */
struct message good(void); /* a TCP super-segment to peer */
/* A datagram with a complete checksum from `source`, `octets` of payload at the beginning of the arena. */
struct message datagram(const struct ip_address *source, const struct ip_address *destination, uint32_t octets);
extern const uint8_t segment[40];

#endif
