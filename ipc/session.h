// SPDX-License-Identifier: BSD-2-Clause
/* The memory of a session, as the application, the socket server and the transports share it. The application makes and
 * pays for all of it (sealed memfds passed with its hello) and can always write all of it, so: no decision of a server rests
 * on a second reading, nobody reads an RX arena back, and nothing here is shared by two sessions.
 *
 *   control segment  (application writes):   sleep word, kick, request lanes
 *   answer segment   (socket server writes): answer lanes, socket words, ready ring
 *   TX arena         (application writes):   notify ring, a slot_app for each slot, send rings
 *   RX arena         (one transport writes): notify consumer, ready ring, a slot_transport for each slot, receive rings
 *
 * tcp's rings grow in place, each within its reserved place of the arena. The transport begins with the receive ring, once the
 * application has said that it has memory for it (receive_granted), the application with the send ring; each says so in one word
 * that is stored before the stream offset that follows from it, and read after it.
 *
 * A slot is the two rings and two word blocks of one socket. tcp: byte streams. udp: records (struct datagram_record and
 * payload, at 16-octet steps, never wrapping: a record of length DATAGRAM_WRAP fills the end of the ring).
 *
 * A ready ring tells where something is new (ready_producer, ready), so that who waits on thousands of sockets looks at those
 * only. It is a hint with no consumer that its writer knows of: each waiter has a cursor of its own, and looks at everything once
 * when it was overtaken.
 *
 * Barrier (E): the application stores its slot words, full fence, then loads notify_consumer to see whether an earlier entry
 * for this slot is still unread; the transport stores notify_consumer, full fence, then loads slot words (e). */
#ifndef BULKHEAD_IPC_SESSION_H
#define BULKHEAD_IPC_SESSION_H

#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"

#define SESSION_MAGIC       0x42484b31U /* "BHK1" */
#define SESSION_LANES       8
#define SESSION_DESCRIPTORS 4096 /* sockets of one session */
#define SESSION_ARENAS      16
#define ARENA_SLOTS_MAX     1024
#define SLOT_RING_MIN       4096U
#define SLOT_RING_MAX       (4U << 20)

/* ---- attach: over RUNDIR/attach, SOCK_SEQPACKET, fixed sizes ---- */
enum attach_operation { ATTACH_HELLO = 1, ATTACH_ARENA = 2, ATTACH_ANSWER = 3 };
enum session_transport { SESSION_TCP = 0, SESSION_UDP = 1, SESSION_TRANSPORTS = 2 };

struct attach_request {
    uint32_t magic;
    uint32_t operation;
    uint32_t transport;   /* ARENA: enum session_transport */
    uint32_t slots;       /* ARENA: 1..ARENA_SLOTS_MAX */
    uint32_t send_size;   /* ARENA: a power of two, SLOT_RING_MIN..SLOT_RING_MAX */
    uint32_t receive_size;
    uint32_t send_most;   /* ARENA: what each ring has place for, and may grow to (protocols/tcp/ring.h): a power of two ... */
    uint32_t receive_most; /* ... from its size to SLOT_RING_MAX; 0: its size */
}; /* HELLO carries 2 descriptors: control, answer segment. ARENA carries 2: TX, RX arena. */

struct attach_answer {
    uint32_t magic;
    uint32_t operation; /* ATTACH_ANSWER */
    int32_t error;      /* errno value, 0 success */
    uint32_t session;
    uint32_t arena;     /* ARENA: its index */
    uint32_t address_count;
    struct ip_address address[8]; /* HELLO: the stack's own */
}; /* HELLO's answer carries: [0] read end of the session's doorbell; then for socket, tcp, udp: [1 + 2i] write end of the
    * doorbell of the domain that hosts it, [2 + 2i] its status page, read-only. All stay valid across restarts. */

/* ---- control lanes: one request in flight on each; requests are numbered, a repeated one gets the same answer ---- */
enum control_operation {
    CONTROL_SOCKET = 1,  /* argument[0] enum session_transport, [1] descriptor (index of its socket_word) -> socket */
    CONTROL_BIND = 2,    /* address, port -> local; udp: arena, slot. The any-address of IPv6 is of both families, unless
                          * CONTROL_OPTION_V6_ONLY is set; v4-mapped addresses come as IPv4 */
    CONTROL_LISTEN = 3,  /* argument[0] backlog -> local. Of one that listens already: its new backlog; 0: what waits
                          * is reset, and what comes, until it listens again */
    CONTROL_CONNECT = 4, /* address, port -> local, arena, slot; tcp: EINPROGRESS, then slot_transport.state tells. udp: also
                          * again, and ADDRESS_NONE with port 0 dissolves the association -> local */
    CONTROL_ACCEPT = 5,  /* argument[1] descriptor of the new socket -> socket, remote, arena, slot; or EAGAIN */
    CONTROL_CLOSE = 6,
    CONTROL_SET_OPTION = 7, /* argument[0] enum control_option, [1] value */
};
enum control_option {
    CONTROL_OPTION_NODELAY = 1,
    CONTROL_OPTION_REUSE_ADDRESS = 2,
    CONTROL_OPTION_BROADCAST = 3,      /* udp: may send to broadcast addresses */
    CONTROL_OPTION_TTL = 4,            /* 1..255; IPv6: hop limit */
    CONTROL_OPTION_TRAFFIC_CLASS = 5,  /* DSCP and ECN */
    CONTROL_OPTION_DONT_FRAGMENT = 6,  /* udp: 0, 1. Too long for the path: EMSGSIZE */
    CONTROL_OPTION_V6_ONLY = 7,        /* before bind */
    CONTROL_OPTION_NO_CHECK = 8,       /* udp over IPv4: send no checksum */
    CONTROL_OPTION_KEEPALIVE = 9,      /* tcp */
    CONTROL_OPTION_LINGER_RESET = 10,  /* tcp: closing resets the connection (SO_LINGER with 0 s), also when the application dies */
    CONTROL_OPTION_KEEP_IDLE = 11,     /* tcp: seconds, 1..32767 */
    CONTROL_OPTION_KEEP_INTERVAL = 12, /* tcp: seconds, 1..32767 */
    CONTROL_OPTION_KEEP_COUNT = 13,    /* tcp: 1..127 */
    CONTROL_OPTION_USER_TIMEOUT = 14,  /* tcp: ms, 0 none (RFC 5482) */
    CONTROL_OPTION_MAXIMUM_SEGMENT = 15, /* tcp: octets, 88..32767, 0 none; once connected: of what is sent from then on */
    CONTROL_OPTION_SEND_SIZE = 16,     /* octets of the send ring, a power of two; 0 any. Before there is a slot; of a listener: */
    CONTROL_OPTION_RECEIVE_SIZE = 17,  /* ... those of its connections. An arena with rings of these sizes has to be there */
    CONTROL_OPTION_CONGESTION = 18,    /* tcp: enum tcp_congestion, not 0 */
};

struct control_request { /* 64 octets */
    uint32_t operation;
    uint32_t socket;     /* id and generation, as SOCKET or ACCEPT answered */
    uint32_t generation;
    uint32_t argument[4];
    struct ip_address address;
    uint16_t port;
    uint16_t reserved;
    uint32_t reserved1[3];
};

struct control_answer { /* 96 octets */
    int32_t error; /* errno value */
    uint32_t socket;
    uint32_t generation;
    uint32_t arena;
    uint32_t slot;
    uint32_t slot_generation;
    struct ip_address local;
    struct ip_address remote;
    uint16_t local_port;
    uint16_t remote_port;
    uint32_t congestion; /* tcp: what 0, the default, stands for */
    uint32_t reserved[6];
};
_Static_assert(sizeof(struct control_request) == 64, "layout");
_Static_assert(sizeof(struct control_answer) == 96, "layout");

struct control_lane_app { /* written last: sequence (release) */
    _Alignas(64) uint32_t sequence;
    struct control_request request;
};
struct control_lane_socket { /* written last: sequence (release), equal to the request's */
    _Alignas(64) uint32_t sequence;
    struct control_answer answer;
};

struct session_control { /* control segment */
    _Alignas(64) uint32_t sleep; /* odd: some thread of the session sleeps on its doorbell */
    _Alignas(64) uint32_t kick;  /* moves when any lane has a new request */
    struct control_lane_app lane[SESSION_LANES];
};

struct socket_word { /* what the socket server tells of one descriptor */
    uint32_t accept_ready; /* listener: connections waiting */
    uint32_t error;        /* errno value: the socket is gone, whatever its slot says. 0 again with the descriptor's next one */
};
/* Ready rings: entry n is in ready[n % entries]; ready_producer counts those written, and is stored (release) after its entry. A
 * reader that is more than the ring behind has lost some; one that finds itself so after it read an entry may have read a newer one. */
static inline uint32_t ready_start(uint32_t incarnation) /* of a producer: far from where any other incarnation left off */
{
    return (incarnation + 1) * 2654435761U; /* so every reader finds itself overtaken */
}
struct session_answer { /* answer segment */
    struct control_lane_socket lane[SESSION_LANES];
    struct socket_word word[SESSION_DESCRIPTORS];
    _Alignas(64) uint32_t ready_producer; /* descriptors whose word has changed */
    _Alignas(64) uint32_t ready[SESSION_DESCRIPTORS];
};

/* ---- arenas ---- */
struct slot_app {
    _Alignas(64) uint32_t generation; /* of the slot's use: others are stale */
    uint32_t send_head;               /* stream offset written to */
    uint32_t receive_tail;            /* stream offset consumed to */
    uint32_t flags;                   /* SLOT_APP_* */
    uint32_t send_ring;               /* tcp: its shape (ring_word()); 0: as the arena says. Stored before send_head */
    uint32_t receive_granted;         /* tcp: octets of the receive ring that there is memory for; 0: the arena's size */
};
#define SLOT_APP_SHUTDOWN 1U /* FIN after send_head */
#define SLOT_APP_CORK     2U /* tcp: what fills no segment waits, at most 200 ms (TCP_CORK) */

struct slot_transport { /* written by the transport at publish time, generation last on a new use */
    _Alignas(64) uint32_t generation;
    uint32_t send_tail;    /* stream offset: bytes before it may be overwritten */
    uint32_t receive_head; /* stream offset received to */
    uint32_t state;        /* SLOT_* bits */
    uint32_t error;        /* errno value, with SLOT_ERROR; udp: the latest, see error_count */
    union {
        uint32_t error_count; /* udp: from 0 in each use of the slot, moves with each error of the connected socket (ICMP); the
                               * application remembers which it has told. Stored after error */
        uint32_t receive_ring; /* tcp: its shape (ring_word()); 0: as the arena says. Stored before receive_head */
    };
    uint32_t path_mtu;     /* udp: IP octets to the connected peer, of the link for a socket without one; 0 not known */
    union {
        uint32_t receive_drops; /* udp: datagrams for which the receive ring had no room */
        uint32_t rings_wanted;  /* tcp: log2 of what the send ring should grow to, and of the receive ring << 8; 0: it need not */
    };
    uint32_t tcp_kind;      /* tcp figures (struct tcp_info): state, congestion (enum) << 4, retransmits << 8, window scales (send << 20 | receive << 16), */
                            /* ... TCP_KIND_* << 24. All of them are of the last burst that touched the connection */
    uint32_t srtt_us, rttvar_us, rto_us;
    uint32_t cwnd, ssthresh; /* octets */
    uint32_t retransmitted;  /* segments, in all */
    uint32_t mss;            /* to send, and of the peer's << 16 */
};
#define TCP_KIND_TIMESTAMPS 1U
#define TCP_KIND_SACK       2U
#define TCP_KIND_SCALED     4U
#define TCP_KIND_ECN        8U
#define SLOT_CONNECTED 1U
#define SLOT_FIN       2U /* the peer has finished: end of file after receive_head */
#define SLOT_ERROR     4U
#define SLOT_DRAINED   16U /* tcp: all that was sent, FIN included, is acknowledged */
#define SLOT_CLOSED    8U /* the connection is gone; udp: the socket is, after a cold start of the socket server */

struct arena_app { /* start of the TX arena */
    _Alignas(64) uint32_t notify_producer;
    _Alignas(64) uint32_t notify[ARENA_SLOTS_MAX]; /* slot numbers; ring of ARENA_SLOTS_MAX */
    struct slot_app slot[]; /* `slots` of them, then at a page boundary the send rings */
};
struct arena_transport { /* start of the RX arena */
    _Alignas(64) uint32_t notify_consumer;
    _Alignas(64) uint32_t free_slots; /* tcp: slots not in use in this arena, a hint to add one in time */
    _Alignas(64) uint32_t ready_producer; /* slots that a waiter should look at */
    _Alignas(64) uint32_t ready[ARENA_SLOTS_MAX];
    struct slot_transport slot[];     /* then at a page boundary the receive rings */
};

struct datagram_record { /* head of a datagram in udp rings; payload follows */
    uint32_t length;  /* payload octets, or DATAGRAM_WRAP */
    uint16_t port;    /* the other end's; 0 in a send: the connected one */
    uint8_t family;   /* ADDRESS_IP4, ADDRESS_IP6 */
    uint8_t ttl;           /* received: of the packet; send: 0 the socket's */
    uint8_t traffic_class; /* received: of the packet; send: with flags, else the socket's */
    uint8_t flags;         /* send: DATAGRAM_* */
    uint8_t reserved[6];
    uint8_t octets[16]; /* the other end's address */
};
_Static_assert(sizeof(struct datagram_record) == 32, "layout");
#define DATAGRAM_WRAP UINT32_MAX
#define DATAGRAM_TRAFFIC_CLASS 1U /* traffic_class holds */
#define DATAGRAM_MOST          65507U /* payload octets, over IPv4 and IPv6 alike */
#define DATAGRAM_STEP 16U

#define SESSION_PAGE 4096U

static inline size_t arena_send_offset(uint32_t slots) /* of slot 0's send ring in the TX arena */
{
    size_t n = offsetof(struct arena_app, slot) + slots * sizeof(struct slot_app);
    return (n + SESSION_PAGE - 1) & ~(size_t)(SESSION_PAGE - 1);
}
static inline size_t arena_receive_offset(uint32_t slots)
{
    size_t n = offsetof(struct arena_transport, slot) + slots * sizeof(struct slot_transport);
    return (n + SESSION_PAGE - 1) & ~(size_t)(SESSION_PAGE - 1);
}
/* Of what an ARENA says of a ring: its place, and whether that is sound. */
static inline uint32_t arena_ring_most(uint32_t size, uint32_t most)
{
    return most == 0 ? size : most;
}
static inline bool arena_ring_is_valid(uint32_t size, uint32_t most)
{
    return size >= SLOT_RING_MIN && most >= size && most <= SLOT_RING_MAX && ((size & (size - 1)) | (most & (most - 1))) == 0;
}
/* With place for rings of so many octets each. */
static inline size_t arena_send_octets(uint32_t slots, uint32_t send_most)
{
    return arena_send_offset(slots) + (size_t)slots * send_most;
}
static inline size_t arena_receive_octets(uint32_t slots, uint32_t receive_most)
{
    return arena_receive_offset(slots) + (size_t)slots * receive_most;
}

#endif
