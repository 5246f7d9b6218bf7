// SPDX-License-Identifier: BSD-2-Clause
/* The message layout of every ring: slots of one cache line, one to three to a message. Fixed width, no
 * pointers, reserved octets zero. A receiver copies a message once (port_pull), looks up the capability that it
 * names in its own table for that channel, and only then looks at arguments. */
#ifndef BULKHEAD_IPC_MESSAGE_H
#define BULKHEAD_IPC_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"

#define MESSAGE_SLOT_OCTETS 64
#define MESSAGE_SLOTS_MAX   3
#define MESSAGE_RETURNS_MAX 12

enum message_operation {
    MESSAGE_NONE = 0,
    /* packets, down: transport -> ip -> nic. ref[0] headers (in the sender's header pool), ref[1] payload (an
     * arena, a receive pool, or length 0); cookie: the sender's id of the loan, given back by RETURN. */
    MESSAGE_SEND = 1,
    /* packets, up: nic -> ip -> transport. ref[0] where the next layer's header begins; ref[1] length 0, or, for what was
     * sent here and delivered here, the rest of the payload in the sender's arena. Cookie: nic's buffer, or from
     * MESSAGE_COOKIE_OWN on one of ip's own (delivered here, reassembled). */
    MESSAGE_RECEIVE = 2,
    /* loans home: `count` cookies of messages that this side had received. */
    MESSAGE_RETURN = 3,
    /* ip -> transport: an ICMP error about something it sent; meta names the quoted packet (source is ours). */
    MESSAGE_UNREACHABLE = 4,

    /* socket -> transport: requests; cookie is the request id, answered once by ANSWER with the same cookie. */
    MESSAGE_BIND = 16,    /* udp: meta.source:source_port */
    MESSAGE_LISTEN = 17,  /* tcp */
    MESSAGE_CONNECT = 18, /* tcp, udp */
    MESSAGE_CLOSE = 19,
    MESSAGE_ACCEPTED = 20,     /* tcp: the application took the connection; no answer */
    MESSAGE_OWNED = 21,        /* reconciliation: the socket server knows this socket; no answer */
    MESSAGE_OWNED_END = 22,    /* ... and no others; argument[0] 1: it began from an empty store, and applications may have more */
    MESSAGE_SESSION_END = 23,  /* session is gone: close all of it; no answer */
    MESSAGE_SET_OPTION = 24,   /* argument[0] option */
    /* LISTEN: argument[0] backlog; of one that listens already: its new backlog. BIND, LISTEN, CONNECT, SET_OPTION, ACCEPTED and
     * OWNED carry all options of the socket: argument[1] those that are on, as bits 1 << enum control_option; [2] see message_tuning();
     * [3] user timeout in ms, 0 none; and `options` */
    /* transport -> socket */
    MESSAGE_ANSWER = 32,
    MESSAGE_ESTABLISHED = 33,  /* tcp: a listener has a new connection */
    MESSAGE_ALIVE = 34,        /* reconciliation: this socket exists here; socket 0: a slot that is kept for whoever accepted its connection */
    MESSAGE_LOST = 35,         /* this connection is gone (closed, reset, or lost with an incarnation) */
    MESSAGE_ALIVE_END = 36,    /* ... and no others */
};

#define MESSAGE_DONT_FRAGMENT 1U   /* SEND: too long for the path is UNREACHABLE to the sender, not fragments */
#define MESSAGE_COOKIE_OWN    1024U /* RECEIVE, ip -> transport: cookies below are nic's */

struct message_reference { /* a part of a buffer: pool capability in the receiver's table, offset, length */
    uint16_t pool;
    uint16_t generation;
    uint32_t offset;
    uint32_t length;
};

struct message_socket { /* arguments of the socket operations, in the first slot after the head */
    uint32_t socket;      /* id in the socket server's table */
    uint32_t session;
    uint32_t connection;  /* transport's own index of the socket, UINT32_MAX none */
    uint32_t arena;       /* index in the session, UINT32_MAX none */
    uint32_t slot;
    uint32_t generation;  /* of the slot's use */
    uint32_t listener;    /* ESTABLISHED: socket id of the listener */
    int32_t error;        /* ANSWER, LOST: an errno value, positive; 0 success */
    uint32_t argument[4]; /* LISTEN: [0] backlog; SET_OPTION; ... */
};

struct message_options { /* tcp; what carries options has besides the arguments */
    uint16_t keep_idle_s;     /* 0: the default */
    uint16_t keep_interval_s; /* 0: the default */
    uint16_t maximum_segment; /* TCP_MAXSEG, octets; 0: none */
    uint8_t keep_count;       /* 0: the default */
    uint8_t congestion;       /* enum tcp_congestion; 0: the default */
};

/* argument[2]: TTL (0 the default), traffic class, and the base-2 logarithms of the ring sizes that are wanted (0: any). */
static inline uint32_t message_tuning(uint8_t ttl, uint8_t traffic_class, uint8_t send_log2, uint8_t receive_log2)
{
    return (uint32_t)ttl | (uint32_t)traffic_class << 8 | (uint32_t)send_log2 << 16 | (uint32_t)receive_log2 << 24;
}

struct message { /* slot 0 */
    uint8_t operation;  /* enum message_operation */
    uint8_t flags;      /* SEND: MESSAGE_DONT_FRAGMENT; others: zero */
    uint8_t slot_count; /* 1..MESSAGE_SLOTS_MAX, set by port_push from what the operation needs */
    uint8_t count;      /* RETURN: cookies in `returned` */
    uint16_t capability; /* what is operated upon, in the receiver's table for this channel */
    uint16_t generation;
    uint64_t cookie;
    union {
        struct message_reference reference[2];
        uint32_t returned[MESSAGE_RETURNS_MAX];
        struct message_socket socket;
    };
    /* slot 1 */
    struct ip_address source; /* RECEIVE: of the packet; SEND: ours. Socket operations: the local address */
    struct ip_address destination; /* socket operations: the remote address */
    uint16_t source_port;          /* host order */
    uint16_t destination_port;
    uint8_t protocol;              /* IP protocol number */
    uint8_t ttl;
    uint8_t traffic_class;         /* DSCP and ECN */
    uint8_t gso_type;              /* enum message_gso */
    union {
        struct {
            uint16_t gso_size;        /* payload octets of each segment, 0 none */
            uint8_t checksum_state;   /* enum message_checksum */
            uint8_t header_octets;    /* link-to-transport header octets, for nic's GSO */
            uint16_t checksum_start;  /* PARTIAL: from the start of the packet named by reference[0] */
            uint16_t checksum_offset; /* from checksum_start */
        };
        struct message_options options; /* socket operations */
    };
    uint8_t reserved1[8];
};

enum message_gso { MESSAGE_GSO_NONE = 0, MESSAGE_GSO_TCP4 = 1, MESSAGE_GSO_TCP6 = 2, MESSAGE_GSO_UDP = 3 };
enum message_checksum {
    MESSAGE_CHECKSUM_NONE = 0,    /* RECEIVE: nobody looked; SEND: complete in the packet */
    MESSAGE_CHECKSUM_PARTIAL = 1, /* the field holds the folded pseudo-header: finish it on the way out; on receipt: trusted (never left this host) */
    MESSAGE_CHECKSUM_VALID = 2,   /* RECEIVE: verified below */
};

_Static_assert(sizeof(struct message_reference) == 12, "layout");
_Static_assert(offsetof(struct message, reference) == 16, "layout");
_Static_assert(sizeof(struct message_options) == 8, "layout");
_Static_assert(sizeof(struct message_socket) == 48, "fills the first slot");
_Static_assert(offsetof(struct message, source) == MESSAGE_SLOT_OCTETS, "second slot");
_Static_assert(sizeof(struct message) == 2 * MESSAGE_SLOT_OCTETS, "two slots");

#endif
