// SPDX-License-Identifier: BSD-2-Clause
/* The ip server, private to its folder and its tests. */
#ifndef BULKHEAD_SERVERS_IP_IP_H
#define BULKHEAD_SERVERS_IP_IP_H

#include <stdbool.h>
#include <stdint.h>

#include "protocols/arp/arp.h"
#include "protocols/ether/ether.h"
#include "protocols/icmp/icmp.h"
#include "protocols/icmp/icmp6.h"
#include "protocols/ip/pmtu.h"
#include "protocols/ip/reassembly.h"
#include "protocols/ip/route.h"
#include "protocols/ip4/ip4.h"
#include "protocols/ip6/ip6.h"
#include "protocols/ndp/ndp.h"
#include "servers/lent.h"
#include "servers/server.h"

#define IP_BUFFERS_WIRE         192U /* to nic, or waiting to go: twice as many slots, and returned loans, fit in a ring */
#define IP_LOCAL_MAX            128U /* to one transport, of what was sent here and is delivered here */
#define IP_BUFFERS              (IP_BUFFERS_WIRE + 2 * IP_LOCAL_MAX)
#define IP_BUFFER_OCTETS        256U /* as much as nic takes in one part */
#define IP_RESERVED             16U  /* of IP_BUFFERS_WIRE, buffers that transports do not get: ARP, NDP, ICMP */
#define IP_ECHOES               64U  /* ... buffers with echo replies: strangers ask for them */
#define IP_PENDING              128U /* packets that wait for a neighbour's address */
#define IP_PENDING_NEIGHBOUR    64U  /* ... for one neighbour's: the largest datagram in Ethernet's fragments */
#define IP_PENDING_ECHO         4U   /* echo replies among them: each keeps one of nic's receive buffers */
#define IP_LOANS_MAX            ((RECEIVE_BUFFERS - 16U) / 2) /* of nic's buffers with one transport: both together leave some */
#define IP_SLOTS_UDP            40U                           /* of the reassembly area: more than a burst can fill */
#define IP_SLOTS_TCP            8U                            /* its segments come in fragments once in a blue moon */
#define IP_SLOTS_ECHO           4U                            /* ... being echoed */
#define IP_QUOTES               16U   /* ICMPv6 errors on their way that quote more than fits behind our headers */
#define IP_QUOTE_OCTETS         1280U /* the place of each, behind the reassembly area */
#define IP_COOKIES              1024U /* nic's buffer indices are below; also the most that is owed to one neighbour */
#define IP_TRANSPORT_HEADER_MAX 60U
#define IP_TRANSPORT_HEADER_MIN 8U
#define IP_WAITING_MAX          RECEIVE_BUFFERS /* of nic's buffers, with segments that tcp cannot take yet */
#define IP_PATIENCE_US          100000U /* so long, all in all, segments wait for a tcp that gives nothing back */
#define IP_PATIENCE_PART        2U      /* of the time comes back to one that does */
#define IP_PATIENCE_LOOK_US     2000U   /* most that is used up between two looks */
#define IP_SPACE                4U      /* slots: a packet and a batch of returned loans */
#define IP_RETRY_US             200U    /* a ring is full: look again */
#define IP_FRAGMENT_COUNTS      64U     /* counters of identifications, chosen by destination */
#define IP_NIC_PATIENCE_US      50000U  /* so long what is to go out waits for the next nic; then it is dropped */
#define IP_HEAD_FIRST           (ETHER_HEADER_LENGTH + IP4_HEADER_MAX + ICMP_CAPTURE_MAX)   /* copied of every frame */
#define IP_HEAD_MAX             (ETHER_HEADER_LENGTH + IP6_CAPTURE_MAX + ICMP6_CAPTURE_MAX) /* ... of one that needs it */
#define IP_HEAD_QUOTED          (ETHER_HEADER_LENGTH + ICMP6_ERROR_MAX - ICMP6_HEADER_LENGTH) /* ... of one that is quoted */
/* Octets behind the IP headers that fit in one of our buffers. */
#define IP_PACKET_HEAD_MAX (IP_BUFFER_OCTETS - ETHER_HEADER_LENGTH - IP6_HEADER_LENGTH - IP6_FRAGMENT_HEADER_LENGTH)

_Static_assert(RING_SLOTS >= 2 * IP_BUFFERS_WIRE + IP_SPACE, "all that is on the way fits in a ring");
_Static_assert(IP_HEAD_QUOTED >= IP_HEAD_MAX && IP_QUOTE_OCTETS >= ICMP6_ERROR_MAX, "it has room");
_Static_assert(IP_BUFFERS <= POOL_BUFFERS_MAX, "one pool");
_Static_assert(IP_SLOTS_UDP + IP_SLOTS_TCP + IP_SLOTS_ECHO + REASSEMBLY_SOURCE_MAX < REASSEMBLY_DATAGRAMS,
               "with all shares out, more than one source's datagrams can be collected");
_Static_assert(IP_SLOTS_UDP >= SERVER_BURST / 2, "a burst of datagrams in two fragments");
_Static_assert(MESSAGE_COOKIE_OWN >= IP_COOKIES, "our cookies are above nic's");

/* One name for code, test and `bulkhead stat`. Those of the engines are shown beside them. */
/* clang-format off */
#define IP_COUNTERS(X)                                                                                                 \
    X(received)                                                                                                        \
    X(sent)                                                                                                            \
    X(delivered_tcp) X(delivered_udp) X(delivered_here) X(fragments_out) X(fragmented) X(loans_home) X(reclaimed)      \
        X(conflicts) X(waited) X(offered_again) X(drop_operation) /* an operation that this neighbour does not have */                            \
        X(drop_right)                  /* no right to the link or the transport */                                     \
        X(drop_reference)              /* outside of what may be named, or not mapped here */                          \
        X(drop_cookie)                 /* a loan that is out already, or an impossible one */                          \
        X(drop_return)                 /* a loan that the neighbour does not hold */                                   \
        X(drop_ether_type)             /* neither IPv4, IPv6 nor ARP */                                                \
        X(drop_group)                  /* unicast in a broadcast frame, or TCP to a group */                           \
        X(drop_no_transport)           /* its server is away, or does not keep up */                                   \
        X(drop_echo)                   /* echo replies enough are on their way */                                      \
        X(drop_local_full)             /* sent here, and the transport holds its share of such */                      \
        X(drop_slots)                  /* reassembled, and its taker holds its share of such */                        \
        X(drop_poison)                 /* has killed this server twice in a row */                                     \
        X(drop_barrier)                /* between two incarnations */                                                  \
        X(drop_send_field)             /* from a transport: a field that its right does not allow */                   \
        X(drop_send_offload)           /* checksum, segmentation or length that cannot be */                           \
        X(drop_send_fragment)          /* to be fragmented, but the checksum is not complete */                        \
        X(drop_send_class)             /* to a group, zero, or from loopback to the wire */                            \
        X(drop_too_long)               /* for the path, and not to be fragmented; the transport is told */             \
        X(drop_tentative)              /* from an address that is not (yet) to be used; the transport is told */       \
        X(drop_no_nic)                 /* nic is away for too long */                                                  \
        X(drop_no_route) X(drop_unresolved) X(drop_pending) X(drop_no_buffer)
/* clang-format on */

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

/* Whose loan something is: a server's (SERVER_IP: nobody's), or one of these. */
enum {
    IP_ORIGIN_SLOT = SERVER_COUNT /* a reassembly buffer */,
    IP_ORIGIN_GROUP /* struct ip_group */,
    IP_ORIGIN_QUOTE /* quote_out[] */
};

struct ip_loan {
    uint8_t origin; /* enum server_id, IP_ORIGIN_* */
    uint32_t cookie;
};

struct ip_group {        /* one loan named by several of our buffers: the fragments of a packet */
    uint32_t references; /* 0: free */
    struct ip_loan loan;
};

struct ip_pending { /* oldest first */
    uint32_t buffer;
    uint32_t sequence; /* what a transport is told if it fails */
    struct ip_address next_hop;
    struct message message;
};

struct ip_kept { /* a transport's SEND that waits for buffers or for nic: the transport is not read meanwhile */
    bool present;
    uint32_t buffers; /* that it needs; 0: it waits for nic */
    struct message message;
};

struct ip_waiting { /* for tcp, oldest first; nic's loans, which are ours meanwhile */
    uint64_t looked_us, earned_us;
    uint32_t patience_us; /* left */
    uint32_t first, count;
    struct ip_loan loan[IP_WAITING_MAX];
    struct message message[IP_WAITING_MAX];
};

#define IP_HOLDER_NONE 0xff

struct ip {
    struct server_context context;
    struct port *nic;
    struct pool *pool;
    struct ip4_config ip4_config;
    struct ip6_config ip6_config;
    struct route_table routes;
    struct arp arp;
    struct ndp ndp;
    struct icmp icmp;
    struct icmp6 icmp6;
    struct pmtu pmtu;
    struct reassembly reassembly;
    struct ether_counters ether_counters;
    struct ip4_counters ip4_counters;
    struct ip6_counters ip6_counters;
    struct ip_counters counters;
    uint16_t identification;                     /* of packets that are never fragmented: anything (RFC 6864 4.1) */
    uint32_t fragment_count[IP_FRAGMENT_COUNTS]; /* of those that are: RFC 7739 5.3 */
    bool moved;                                  /* counters since they were shown */
    bool recheck;                                /* pending packets are to be looked at */
    uint16_t barrier_left[SERVER_COUNT];         /* messages until an old return cannot be in the ring any more */
    uint8_t barrier; /* mask of transports whose old returns may still lie in their rings: see ip.c */
    uint64_t retry_us;
    uint64_t nic_lost_us;                      /* since when there is none; UINT64_MAX: the next burst notes it */
    uint32_t held[SERVER_COUNT];               /* of nic's buffers, by each transport */
    uint8_t holder[IP_COOKIES];                /* of nic's buffers: enum server_id, or IP_HOLDER_NONE */
    uint8_t slot_holder[REASSEMBLY_DATAGRAMS]; /* likewise; SERVER_IP: being echoed */
    bool quote_out[IP_QUOTES];                 /* an error on its way quotes from there */
    struct ip_loan out[IP_BUFFERS];            /* what goes home when one of our buffers comes home */
    struct ip_group group[IP_BUFFERS];
    uint32_t group_next; /* where to look for a free one */
    struct ip_kept kept[SERVER_COUNT];
    uint32_t turn;   /* which transport is read first: each in its turn */
    uint32_t echoes; /* buffers with echo replies */
    uint32_t pending_count;
    struct ip_pending pending[IP_PENDING];
    struct ip_owed owed[SERVER_COUNT];
    struct ip_waiting waiting;
    uint32_t lent_turn;
    struct lent lent[IP_COOKIES]; /* of those that holder[] says are with tcp */
};

/* A received frame: the copy that counts, and where the rest lies. */
struct ip_frame {
    const struct message *message;
    const uint8_t *base; /* of the frame in nic's buffer: may change at any time */
    uint32_t length;
    uint32_t captured;
    bool group; /* a broadcast or multicast frame */
    struct mac_address station;
    uint8_t head[IP_HEAD_QUOTED];
};

/* A received packet whose IP headers are done with, of either family, from a frame or reassembled. */
struct ip_datagram {
    struct ip_address source, destination;
    uint8_t protocol, ttl, traffic_class;
    bool group;                         /* the destination's or the frame's: nobody is told of errors */
    struct mac_address station;         /* who sent the frame */
    struct ip_loan loan;                /* SERVER_NIC or IP_ORIGIN_SLOT */
    struct message_reference reference; /* of the payload */
    const uint8_t *payload;             /* where it lies: in nic's buffer it may change at any time */
    uint32_t captured;                  /* octets of it in `head`: the copy that counts */
    const uint8_t *head;
    const uint8_t *packet; /* the copy from the IP header on */
    uint32_t packet_captured;
    const struct message *message; /* of nic; NULL: reassembled */
    union {
        struct ip4_header ip4;
        struct ip6_header ip6;
    };
};

/* A packet to be sent, but for what is in front of it. */
struct ip_packet {
    struct ip_address source, destination;
    uint16_t source_port, destination_port; /* and these two: what a transport is told if it fails */
    uint32_t sequence;
    uint8_t protocol, ttl, traffic_class;
    uint8_t gso_type, checksum_state;
    uint16_t gso_size, checksum_offset;
    bool dont_fragment;
    struct ip_loan loan; /* goes home once nobody names `payload` any more */
    struct message_reference payload;
    uint32_t head_octets;
    uint8_t head[IP_PACKET_HEAD_MAX];
};

enum ip_class { /* what an address is to this stack */
                IP_CLASS_UNICAST,
                IP_CLASS_OURS,
                IP_CLASS_TENTATIVE,
                IP_CLASS_LOOPBACK,
                IP_CLASS_BROADCAST,
                IP_CLASS_OTHER, /* multicast, reserved, zero */
};

/* ---- ip.c ---- */
enum ip_class ip_classify(const struct ip *ip, const struct ip_address *address);
/* Tells a transport of an error about a packet of its own; `m` has addresses, ports and protocol of that packet. Lost
 * if its ring is full. */
void ip_tell(struct ip *ip, const struct message *m, uint32_t sequence, uint8_t type, uint8_t code, uint32_t mtu);
enum ip_reason { IP_REASON_ROUTE, IP_REASON_HOST, IP_REASON_PORT, IP_REASON_TOO_BIG };
/* The same, type and code by reason and family. */
void ip_tell_reason(struct ip *ip, const struct message *m, uint32_t sequence, enum ip_reason reason, uint32_t mtu);
struct port *ip_transport_port(struct ip *ip, uint8_t protocol, enum server_id *ret); /* NULL: none */

/* ---- counters.c ---- */
void ip_counters_place(struct status_counter *page);
void ip_publish(void *state, uint64_t now_us);

/* ---- loans.c ---- */
/* A loan is to go home to `server`. */
void ip_owe(struct ip *ip, enum server_id server, uint32_t cookie);
bool ip_owed_flush(struct ip *ip, enum server_id server);
/* One of nic's buffers is ours no more. */
void ip_frame_done(struct ip *ip, uint32_t cookie);
void ip_loan_done(struct ip *ip, const struct ip_loan *loan);
/* A buffer is given up, or came home: whoever lent something with it gets that back. */
void ip_buffer_done(struct ip *ip, uint32_t buffer);
/* Whose loan it is in the end. */
uint8_t ip_buffer_origin(const struct ip *ip, uint32_t buffer);
/* One loan, to be named by `references` buffers. */
struct ip_loan ip_group_make(struct ip *ip, const struct ip_loan *loan, uint32_t references);
/* A buffer for what goes to nic; POOL_NONE: none, counted. */
uint32_t ip_buffer_take(struct ip *ip, const struct ip_loan *loan);
uint32_t ip_buffers_free(const struct ip *ip); /* of IP_BUFFERS_WIRE */
/* Those that are not for `from` (enum server_id): the reserve, and what others' kept packets wait for. */
uint32_t ip_buffers_promised(const struct ip *ip, uint8_t from);
/* Untrusted: m. RETURN. */
void ip_returned_by_nic(struct ip *ip, const struct message *m);
void ip_returned_by_transport(struct ip *ip, uint64_t now_us, enum server_id from, const struct message *m);
void ip_nic_lost(struct ip *ip);
void ip_nic_attached(struct ip *ip);
void ip_transport_lost(struct ip *ip, enum server_id transport);
void ip_transport_attached(struct ip *ip, enum server_id transport);

/* ---- receive.c ---- */
/* Untrusted: m (from nic; a private copy). */
void ip_receive(struct ip *ip, uint64_t now_us, const struct message *m);
/* Copies more of the frame's beginning, up to `octets`. */
void ip_capture(struct ip_frame *frame, uint32_t octets);
/* Hands it to whoever takes its protocol. True: its loan is not ours to give back any more. */
bool ip_deliver(struct ip *ip, uint64_t now_us, const struct ip_datagram *d);

/* ---- receive6.c ---- */
bool ip_receive6(struct ip *ip, uint64_t now_us, struct ip_frame *frame);
/* A reassembled IPv6 packet; its loan is taken care of. */
void ip_reassembled6(struct ip *ip, uint64_t now_us, const struct reassembly_output *whole);

/* ---- fragments.c ---- */
/* Untrusted: payload (in nic's buffer). The copied packet's beginning is at `packet`. */
void ip_fragment(struct ip *ip, uint64_t now_us, const struct reassembly_fragment *fragment, const uint8_t *payload,
                 const uint8_t *packet, uint32_t captured);
/* Of a reassembled datagram: `offset` octets of its buffer are headers still. */
struct ip_datagram ip_reassembled(const struct ip *ip, const struct reassembly_output *whole, uint32_t offset);
/* A slot is handed on to `holder` (SERVER_IP: echoed); false: it holds its share. */
bool ip_slot_lend(struct ip *ip, uint32_t slot, enum server_id holder);
bool ip_fragments_poll(struct ip *ip, uint64_t now_us);

/* ---- waiting.c ---- */
/* RECEIVE to a transport, or to wait for it. False: dropped and counted; the loan is still the caller's to give back.
 */
bool ip_hand_up(struct ip *ip, uint64_t now_us, enum server_id to, const struct ip_loan *loan,
                const struct message *up);
bool ip_waiting_poll(struct ip *ip, uint64_t now_us);    /* true: something moved */
void ip_patience_earned(struct ip *ip, uint64_t now_us); /* tcp gave something back */
void ip_waiting_forget(struct ip *ip);                   /* nic is dead: what waits is tcp's now or never */

/* ---- again.c ---- */
void ip_lent(struct ip *ip, const struct ip_loan *loan, const struct message *up); /* one of nic's, to tcp */
/* A new incarnation is there: segments that the last one held go to it, all else of nic's that it held goes home. */
void ip_offer_again(struct ip *ip, enum server_id transport);

/* ---- icmp.c ---- */
bool ip_receive_icmp(struct ip *ip, uint64_t now_us, const struct ip_datagram *d);
bool ip_receive_icmp6(struct ip *ip, uint64_t now_us, const struct ip_datagram *d, const struct mac_address *station);
void ip_error4(struct ip *ip, uint64_t now_us, uint8_t type, uint8_t code, uint8_t pointer,
               const struct ip4_header *ip4, bool group, const uint8_t *packet, uint32_t captured);
void ip_error6(struct ip *ip, uint64_t now_us, uint8_t type, uint8_t code, uint32_t parameter,
               const struct ip6_header *ip6, bool group, const uint8_t *packet, uint32_t captured);
/* Untrusted: m (from a transport). UNREACHABLE: nobody takes this datagram. */
void ip_send_unreachable(struct ip *ip, uint64_t now_us, enum server_id from, const struct message *m);

/* ---- send.c ---- */
/* Untrusted: m (from a transport; a private copy). SEND. False: to be kept and tried again. */
bool ip_send(struct ip *ip, uint64_t now_us, enum server_id from, const struct message *m);

/* ---- local.c ---- */
/* To the transport that has the packet's protocol; p->loan is taken care of. */
void ip_deliver_here(struct ip *ip, const struct ip_packet *p);

/* ---- output.c ---- */
enum ip_output_result {
    IP_OUTPUT_DONE = 0, /* on its way, or dropped and counted; the loan is taken care of */
    IP_OUTPUT_LATER,    /* as many buffers as *ret_buffers are not there now; nothing was done */
    IP_OUTPUT_TOO_LONG, /* for the path: *ret_mtu; nothing was done */
};
enum ip_output_result ip_output(struct ip *ip, uint64_t now_us, const struct ip_packet *p, uint32_t *ret_mtu,
                                uint32_t *ret_buffers) __attribute__((warn_unused_result));
/* What ip itself has to say: what cannot go out now is dropped. */
void ip_output_own(struct ip *ip, uint64_t now_us, const struct ip_packet *p);
struct message ip_message_of(const struct ip_packet *p); /* what ip_tell() wants to know of it */
/* One SEND message for a buffer of ours that holds `header_octets`. */
struct message ip_send_message(const struct ip *ip, uint32_t buffer, uint32_t header_octets);

/* ---- neighbour.c ---- */
/* Takes a buffer with everything but the destination hardware address, and its message to nic. */
void ip_transmit(struct ip *ip, uint64_t now_us, uint32_t buffer, const struct message *m,
                 const struct ip_address *next_hop, uint32_t sequence);
/* A buffer with its destination hardware address goes to nic, or is given up. */
void ip_push(struct ip *ip, uint32_t buffer, const struct message *m, const struct mac_address *destination);
bool ip_neighbours_poll(struct ip *ip, uint64_t now_us); /* ARP, NDP, pending packets; true: something moved */
uint64_t ip_neighbours_deadline_us(const struct ip *ip);
/* Drops pending packets that came from `origin`. */
void ip_pending_drop(struct ip *ip, enum server_id origin);
void ip_neighbours_init(struct ip *ip, uint64_t now_us);
void ip_neighbours_announce(struct ip *ip); /* nic is new */

static inline uint16_t ip_port_at(const uint8_t *header, unsigned offset)
{
    return (uint16_t)((unsigned)header[offset] << 8 | header[offset + 1]);
}

#endif
