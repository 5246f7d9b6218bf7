// SPDX-License-Identifier: BSD-2-Clause
/* The ip server, private to its folder and its tests. */
#ifndef BULKHEAD_SERVERS_IP_IP_H
#define BULKHEAD_SERVERS_IP_IP_H

#include <stdbool.h>
#include <stdint.h>

#include "protocols/arp/arp.h"
#include "protocols/ether/ether.h"
#include "protocols/icmp/icmp.h"
#include "protocols/ip4/ip4.h"
#include "servers/server.h"

#define IP_BUFFERS            192U /* twice as many slots, and returned loans, fit in a ring */
#define IP_BUFFER_OCTETS      256U
#define IP_RESERVED           16U  /* buffers that transports do not get: ARP, ICMP */
#define IP_PENDING            64U  /* packets that wait for a neighbour's address */
#define IP_PENDING_NEIGHBOUR  16U  /* ... for one neighbour's */
#define IP_PENDING_ECHO       4U   /* echo replies among them: each keeps one of nic's receive buffers */
#define IP_LOANS_MAX          ((RECEIVE_BUFFERS - 16U) / 2) /* of nic's buffers with one transport: both together leave some */
#define IP_COOKIES            1024U /* nic's buffer indices are below; also the most that is owed to one neighbour */
#define IP_TRANSPORT_HEADER_MAX 60U
#define IP_TRANSPORT_HEADER_MIN 8U
#define IP_SPACE              4U   /* slots: a packet and a batch of returned loans */
#define IP_RETRY_US           200U /* a ring is full: look again */
#define IP_HEAD_MAX           (ETHER_HEADER_LENGTH + IP4_HEADER_MAX + ICMP_CAPTURE_MAX) /* copied of a frame */

/* One name for code, test and `bulkhead stat`. Those of the engines are shown beside them. */
#define IP_COUNTERS(X)                                                                             \
    X(received) X(sent) X(delivered_tcp) X(delivered_udp) X(loans_home) X(reclaimed)               \
    X(drop_operation)     /* an operation that this neighbour does not have */                     \
    X(drop_right)         /* no right to the link or the transport */                              \
    X(drop_reference)     /* outside of what may be named, or not mapped here */                   \
    X(drop_cookie)        /* a loan that is out already, or an impossible one */                   \
    X(drop_return)        /* a loan that the neighbour does not hold */                            \
    X(drop_ether_type)    /* neither IPv4 nor ARP */                                               \
    X(drop_group)         /* unicast in a broadcast frame, or TCP to a broadcast address */        \
    X(drop_no_transport)  /* its server is away, or does not keep up */                            \
    X(drop_barrier)       /* between two incarnations */                                           \
    X(drop_send_field)    /* from a transport: a field that its right does not allow */            \
    X(drop_send_offload)  /* checksum, segmentation or length that cannot be */                    \
    X(drop_send_class)    /* to ourselves, loopback, a group, zero */                              \
    X(drop_no_route) X(drop_unresolved) X(drop_pending) X(drop_no_buffer)

struct ip_counters {
#define X(name) uint64_t name;
    IP_COUNTERS(X)
#undef X
};

/* Cookies that go home to one neighbour as soon as its ring has room. */
struct ip_owed {
    struct port_returns batch;
    uint32_t first, count;
    uint32_t cookie[IP_COOKIES];
};

/* Who gets what back when one of our buffers comes home. SERVER_IP: nobody. SERVER_NIC: a buffer of nic's that we named as
 * payload (echo). */
struct ip_out {
    uint8_t origin; /* enum server_id */
    bool lent;      /* to nic */
    uint32_t cookie;
};

struct ip_pending { /* oldest first */
    uint32_t buffer;
    uint32_t sequence; /* what a transport is told if it fails */
    struct ip_address next_hop;
    struct message message;
};

#define IP_HOLDER_NONE 0xff

struct ip {
    struct server_context context;
    struct port *nic;
    struct pool *pool;
    struct ip4_config config; /* of the one IPv4 address */
    struct ip4_routes routes;
    struct arp arp;
    struct icmp icmp;
    struct ether_counters ether_counters;
    struct ip4_counters ip4_counters;
    struct ip_counters counters;
    uint16_t identification;
    bool moved;             /* counters since they were shown */
    bool recheck;           /* pending packets are to be looked at */
    uint16_t barrier_left[SERVER_COUNT]; /* messages until an old return cannot be in the ring any more */
    uint8_t barrier;        /* mask of transports whose old returns may still lie in their rings: see ip.c */
    uint64_t retry_us;
    uint32_t held[SERVER_COUNT];  /* of nic's buffers, by each transport */
    uint8_t holder[IP_COOKIES];   /* of nic's buffers: enum server_id, or IP_HOLDER_NONE */
    struct ip_out out[IP_BUFFERS];
    uint32_t pending_count;
    struct ip_pending pending[IP_PENDING];
    struct ip_owed owed[SERVER_COUNT];
};

/* A received frame: the copy that counts, and where the rest lies. */
struct ip_frame {
    const struct message *message;
    const uint8_t *base; /* of the frame in nic's buffer: may change at any time */
    uint32_t length;
    uint32_t captured;
    uint8_t head[IP_HEAD_MAX];
};

/* ---- ip.c ---- */
/* A loan is to go home to `server`. */
void ip_owe(struct ip *ip, enum server_id server, uint32_t cookie);
/* One of nic's buffers is ours no more. */
void ip_frame_done(struct ip *ip, uint32_t cookie);
/* Tells a transport of an error about a packet of its own; `m` has addresses, ports and protocol of that packet. Lost
 * if its ring is full. */
void ip_tell(struct ip *ip, const struct message *m, uint32_t sequence, uint8_t type, uint8_t code, uint16_t mtu);
struct port *ip_transport_port(struct ip *ip, uint8_t protocol, enum server_id *ret); /* NULL: none */

/* ---- receive.c ---- */
/* Untrusted: m (from nic; a private copy). */
void ip_receive(struct ip *ip, uint64_t now_us, const struct message *m);

/* ---- send.c ---- */
/* Untrusted: m (from a transport; a private copy). SEND; there is room for it. */
void ip_send(struct ip *ip, uint64_t now_us, enum server_id from, const struct message *m);
/* Untrusted: m (from a transport). UNREACHABLE: nobody takes this datagram. */
void ip_send_unreachable(struct ip *ip, uint64_t now_us, enum server_id from, const struct message *m);
void ip_send_icmp(struct ip *ip, uint64_t now_us, const struct icmp_message *icmp);
void ip_send_echo_reply(struct ip *ip, uint64_t now_us, const struct icmp_reply *reply, const struct ip_frame *frame,
                        uint32_t icmp_offset);

/* ---- neighbour.c ---- */
/* Takes a buffer with everything but the destination hardware address, and its message to nic. */
void ip_transmit(struct ip *ip, uint64_t now_us, uint32_t buffer, const struct message *m,
                 const struct ip_address *next_hop, uint32_t sequence);
/* A buffer is given up: whoever lent something with it gets that back. */
void ip_buffer_done(struct ip *ip, uint32_t buffer);
bool ip_neighbours_poll(struct ip *ip, uint64_t now_us); /* ARP out, pending packets; true: something moved */
/* Drops pending packets that came from `origin`. */
void ip_pending_drop(struct ip *ip, enum server_id origin);
/* One SEND message for a buffer of ours that holds `header_octets`. */
struct message ip_send_message(const struct ip *ip, uint32_t buffer, uint32_t header_octets);
/* Writes Ethernet (destination left zero) and IP headers to a buffer. */
void ip_headers_build(struct ip *ip, uint32_t buffer, const struct ip4_header *header);

#define IP_HEADERS (ETHER_HEADER_LENGTH + IP4_HEADER_MIN) /* octets before the transport header */

#endif
