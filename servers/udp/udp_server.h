// SPDX-License-Identifier: BSD-2-Clause
/* What the files of the UDP server share. */
#ifndef BULKHEAD_SERVERS_UDP_UDP_SERVER_H
#define BULKHEAD_SERVERS_UDP_UDP_SERVER_H

#include "ipc/store.h"
#include "protocols/udp/udp.h"
#include "servers/transport/transport.h"

#define UDP_STORE_VERSION 5U
#define UDP_TURN          16U /* datagrams that one socket sends before the next has its turn */

#define UDP_SERVER_COUNTERS(X)                                                                     \
    X(drop_receive_full) X(drop_receive_too_big) X(drop_receive_gso) X(drop_send_record)           \
    X(drop_send_too_big) X(drop_send_address) X(drop_send_no_source) X(drop_send_broadcast)        \
    X(unreachable_sent) X(drop_unreachable_full) X(errors_told) X(errors_unconnected) X(errors_soft)              \
    X(gso_received) X(drop_send_policy) X(sockets_again)

struct udp_server_counters {
#define X(name) uint64_t name;
    UDP_SERVER_COUNTERS(X)
#undef X
};

struct udp_block { /* one in the store for each socket, under the endpoint's index */
    uint32_t socket, session, arena, slot, generation;
    uint32_t receive_head; /* stream offsets, committed before they are published */
    uint32_t send_next;    /* records before it have been sent */
    uint32_t options;      /* 1 << enum control_option */
    uint32_t error, error_count, path_mtu, receive_drops;
    uint64_t order; /* of binding */
    struct ip_address bound, local, remote;
    uint16_t local_port, remote_port;
    uint8_t ttl, traffic_class;
    uint8_t shared; /* when it was bound */
    uint8_t orphan; /* nobody's: only the slot is kept */
    uint32_t session_generation;
};
_Static_assert(sizeof(struct udp_block) % 8 == 0, "lies in the store");

struct udp_side { /* of an endpoint */
    uint32_t receive_tail; /* as far as is known */
    uint32_t send_head;
    uint32_t send_next;
    uint16_t ready_next;   /* endpoint + 1 */
    bool ready;            /* in the queue of those with something to send */
    bool touched;          /* in the list of those to be put into the store */
};

struct udp_server {
    struct transport transport; /* first: operations get a pointer to it */
    struct udp *engine;
    struct store store;
    struct udp_server_counters counters;
    uint32_t ready_first, ready_last; /* endpoint + 1 */
    uint32_t touched_count;
    uint16_t touched[DATAGRAM_SOCKETS_MAX];
    uint16_t dirty[DATAGRAM_SOCKETS_MAX];
    uint8_t current[DATAGRAM_SOCKETS_MAX]; /* the store's */
    bool begun; /* the first burst has been: sessions are granted */
    struct udp_side side[DATAGRAM_SOCKETS_MAX];
    struct endpoint endpoint[DATAGRAM_SOCKETS_MAX];
};

static inline struct udp_server *udp_server_of(struct transport *t)
{
    return (struct udp_server *)t;
}

static inline uint32_t udp_record_octets(uint32_t payload)
{
    return ((uint32_t)sizeof(struct datagram_record) + payload + DATAGRAM_STEP - 1) & ~(DATAGRAM_STEP - 1);
}

static inline bool udp_option(const struct endpoint *e, enum control_option option)
{
    return (e->options >> option & 1) != 0;
}

/* receive.c */
bool udp_packets_in(struct udp_server *s);
/* send.c */
bool udp_packets_out(struct udp_server *s);
/* errors.c */
/* Tells a socket of an error that no call of its waits for. */
void udp_tell_error(struct udp_server *s, uint32_t endpoint, int error);
/* Untrusted: m (from ip; it quotes what it was told by the wire). An ICMP error about a datagram of ours. */
void udp_icmp_error(struct udp_server *s, const struct message *m);
/* requests.c */
void udp_request(struct transport *t, uint64_t now_us, const struct message *m);
/* sessions.c */
extern const struct transport_operations udp_operations;
void udp_touch(struct udp_server *s, uint32_t endpoint); /* its words and its block have changed */
void udp_ready(struct udp_server *s, uint32_t endpoint); /* it may have something to send */
void udp_blocks_put(struct udp_server *s);
bool udp_room(struct udp_server *s, uint32_t endpoint, uint32_t size, uint32_t octets); /* in the receive ring */
/* recover.c */
/* The slot that `was` names, for a socket that was bound before: its application goes on where it is. False: it is
 * another's, or not there. */
bool udp_slot_again(struct udp_server *s, uint32_t endpoint, const struct message_socket *was);
void udp_recover(struct udp_server *s);

#endif
