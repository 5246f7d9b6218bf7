// SPDX-License-Identifier: BSD-2-Clause
/* A socket on this side. Its words in the arena are ours to write and kept in private copies (send_head, receive_tail); the
 * transport's are read once an operation, into struct slot_view, and bounded there (rule 3). */
#ifndef BULKHEAD_SERVERS_CLIENT_SOCKET_H
#define BULKHEAD_SERVERS_CLIENT_SOCKET_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "ipc/session.h"
#include "protocols/tcp/ring.h"
#include "servers/client/arena.h"

struct session;

#define DATAGRAM_HEAD ((uint32_t)sizeof(struct datagram_record))

enum socket_phase {
    SOCKET_FREE = 0,
    SOCKET_NEW = 1,        /* no slot */
    SOCKET_LISTENING = 2,
    SOCKET_CONNECTING = 3, /* has a slot; the transport's words tell the outcome */
    SOCKET_STREAM = 4,     /* connected, or was once */
    SOCKET_DATAGRAM = 5,   /* bound: has a slot */
    SOCKET_EPOLL = 6,      /* no socket: an instance of epoll.c has the descriptor */
};

enum socket_option { /* what bh_getsockopt() gives back; all atomic */
    OPTION_NODELAY = 0,
    OPTION_REUSE_ADDRESS,
    OPTION_BROADCAST,
    OPTION_NO_CHECK,
    OPTION_TTL,
    OPTION_TRAFFIC_CLASS,
    OPTION_MTU_DISCOVER,  /* IP_PMTUDISC_* */
    OPTION_V6_ONLY,
    OPTION_RECEIVE_TTL,   /* which control data bh_recvmsg() gives: of IPv4 */
    OPTION_RECEIVE_TOS,
    OPTION_RECEIVE_HOPS,  /* ... of IPv6 */
    OPTION_RECEIVE_CLASS,
    OPTION_KEEPALIVE,
    OPTION_KEEP_IDLE,     /* s */
    OPTION_KEEP_INTERVAL, /* s */
    OPTION_KEEP_COUNT,
    OPTION_USER_TIMEOUT,  /* ms */
    OPTION_MAXIMUM_SEGMENT,
    OPTION_CORK,          /* changed with send_lock held */
    OPTION_QUICK_ACK,
    OPTION_URGENT_IN_LINE, /* always 1 */
    OPTION_CONGESTION,    /* enum tcp_congestion; 0: the stack's default */
    SOCKET_OPTIONS,
};

struct slot_handed { /* the socket server's words, possible or not */
    bool is;         /* there was an answer that gives a slot */
    uint32_t arena, slot, generation;
};

struct socket {
    pthread_mutex_t request_lock; /* who asks the servers for a change: they take one request at a time of a socket */
    pthread_mutex_t send_lock, receive_lock; /* all three, in this order, to change what is not one direction's */
    bool made;           /* the locks are. So far they outlive a use of the entry, and so do: */
    uint32_t phase;      /* enum socket_phase; atomic: what conditions look at */
    uint32_t closes;     /* of this entry: who waited across one is told. Atomic */
    const struct slot_transport *words; /* the transport's: hostile. Atomic; once set never NULL again */
    enum session_transport transport;
    int domain;          /* AF_INET, AF_INET6 */
    uint32_t descriptor;
    uint32_t id, id_generation; /* at the socket server */
    struct arena *arena;
    const struct socket_word *word; /* the socket server's: hostile */
    uint32_t slot, slot_generation;
    struct slot_handed handed;          /* last; for who checks on the socket server */
    struct slot_app *app;               /* ours */
    uint8_t *send_ring;
    const uint8_t *receive_ring;
    uint32_t send_size, receive_size; /* that the rings begin with */
    uint32_t send_shape;      /* streams: of the send ring (ring_word()). Atomic */
    uint32_t receive_granted; /* streams: octets of the receive ring that there is memory for */
    bool send_fixed, receive_fixed; /* streams: do not grow: the size was chosen, or there is no memory. Under its lock */
    uint32_t send_head, receive_tail; /* atomic: conditions look at them */
    uint32_t receive_told;    /* receive_tail when the transport was last notified */
    uint32_t reserved;        /* what bh_send_reserve() gave; datagrams: 1 + what bh_datagram_reserve() did, 0: nothing */
    uint32_t peeked;          /* octets of the ring that bh_datagram_consume() gives back */
    uint32_t send_wanted;     /* octets that the last datagram lacked room for: there is none (POLLOUT) below. Atomic */
    bool shut_read, shut_write; /* atomic */
    bool error_taken;         /* streams: the slot's error was told; listeners: the word's. Atomic */
    uint32_t error_told;      /* datagrams: error_count when an error was last told; atomic */
    bool failed;              /* streams: an attempt to connect did; the next one renews the socket. Atomic */
    bool over;                /* streams: ... and not bh_connect() told of it: end of file, as Linux. Atomic */
    bool named;               /* by bind() */
    bool nonblocking;
    bool connected;           /* datagrams: has a peer. Atomic */
    int32_t option[SOCKET_OPTIONS];
    uint32_t congestion_default; /* as the socket server says: enum tcp_congestion, or anything */
    int64_t send_timeout_us, receive_timeout_us; /* FOREVER: none */
    int32_t linger_s;         /* SO_LINGER; -1: off. Atomic */
    struct arena_rings rings;      /* SO_SNDBUF, SO_RCVBUF; 0: the default */
    struct arena_rings rings_told; /* to the socket server; 0: nothing */
    uint32_t slots_ahead;     /* listeners: kept free for connections to come */
    struct ip_address local, remote;
    uint16_t local_port, remote_port;
};

struct slot_view { /* private copy of the transport's words, bounded */
    uint32_t space;     /* octets that may be written at send_head */
    uint32_t room;      /* ... once all that was written is acknowledged: what the send ring holds now */
    uint32_t available; /* octets to be read at receive_tail */
    uint32_t state;
    int error;          /* not told yet (datagrams), or of the connection's end (streams) */
    uint32_t error_count;
    uint32_t path_mtu;
};

struct datagram_about { /* of one to be sent, or received */
    struct ip_address address; /* the other end's. To be sent, ADDRESS_NONE: the connected one */
    uint16_t port;
    uint8_t ttl;               /* to be sent, 0: the socket's */
    uint8_t traffic_class;
    uint8_t flags;             /* to be sent: DATAGRAM_* */
    uint32_t length;           /* received: payload octets */
};

/* ---- growth.c: streams ---- */
/* Where octets lie now. Untrusted: the transport's word. */
struct ring_shape stream_send_shape(const struct socket *k);
struct ring_shape stream_receive_shape(const struct socket *k);
void stream_rings_begin(struct socket *k); /* a new slot */
/* If the transport says that more would be used, and the size was not chosen. send_lock is held. */
void stream_grow_send(struct socket *k);
/* The same; true: the transport is to be told. receive_lock is held. */
bool stream_grow_receive(struct socket *k);

/* ---- socket.c ---- */
/* The socket of a descriptor. 0, -EBADF, -ENOTSOCK or -ENETDOWN. */
int socket_find(int fd, struct session **ret_session, struct socket **ret);
int socket_take_descriptor(struct session *s, uint32_t *ret); /* 0 or -EMFILE */
/* A slot as an answer names it. 0 or -EPROTO. Both locks are held. */
int socket_take_slot(struct session *s, struct socket *k, const struct control_answer *a);
struct slot_view socket_view(const struct socket *k);
/* POLL* bits that hold now, asked for or not. No lock needed. */
short socket_events(const struct socket *k);
/* Waits until one of `events`, or POLLERR or POLLHUP, holds. 0, -EAGAIN (also after the timeout), -EINTR, -ENETDOWN, -EBADF: it
 * was closed meanwhile. */
int socket_wait(struct session *s, struct socket *k, uint32_t closes, short events, int flags, int64_t deadline_us);
/* The same until a stream has so many octets to be read, or its end. */
int socket_wait_octets(struct session *s, struct socket *k, uint32_t closes, uint32_t octets, int flags, int64_t deadline_us);
/* The pending error of a socket, once: a positive errno, or 0. */
int socket_take_error(struct socket *k);
/* The same of a listener, by its word. */
int socket_take_word(struct socket *k);
/* What it asks for: chosen ones, else the default. */
struct arena_rings socket_rings(const struct socket *k);
/* A connection attempt that has succeeded makes it a stream. 0; -EAGAIN: under way; else why it failed (once). No lock. */
int socket_settle(struct socket *k);
/* udp: a port of its own, if it has none. 0 or a negative errno. No lock. */
int socket_bind_any(struct session *s, struct socket *k);
/* A stream: it is or was connected, or listens. The outcome of an attempt that has failed stays untold: SO_ERROR and the
 * like are to say it. */
bool socket_was_connected(struct socket *k);
uint32_t socket_phase(const struct socket *k);
uint32_t socket_closes(const struct socket *k); /* of this entry, so far: who waits across one uses another socket */
bool socket_is_connected(const struct socket *k); /* datagrams: has a peer */
int32_t socket_option(const struct socket *k, enum socket_option option);
void socket_options_default(struct socket *k);
int socket_options_again(struct session *s, struct socket *k); /* tells a new socket at the server. 0 or a negative errno */
/* A listener, shut down: what waits there is reset, and so is what comes, until it listens again. No lock. */
void socket_listens_no_more(struct session *s, struct socket *k);
int64_t socket_deadline_us(int64_t timeout_us);
void socket_free_descriptor(struct session *s, uint32_t descriptor);
ssize_t bh_result(ssize_t r); /* negative errno to -1 and errno */

/* ---- address.c ---- */
/* A name that a bind() gives, or where something is to go: for the socket's domain, so v4-mapped addresses come out as IPv4.
 * 0, -EFAULT, -EINVAL, -EAFNOSUPPORT, -ENETUNREACH (IPv4 and IPV6_V6ONLY). */
int address_read(const struct socket *k, const struct sockaddr *address, socklen_t length, struct ip_address *ret,
                 uint16_t *ret_port);
/* The same for a destination: the any-address is this host (as Linux), a port has to be there. */
int address_read_peer(const struct socket *k, const struct sockaddr *address, socklen_t length, struct ip_address *ret,
                      uint16_t *ret_port);
/* As the socket's domain says it. What there is no room for is cut off; *length says what there was. */
void address_write(const struct socket *k, const struct ip_address *address, uint16_t port, struct sockaddr *ret,
                   socklen_t *length);

/* ---- calls.c ---- */
#define SEND_FLAGS    (MSG_DONTWAIT | MSG_NOSIGNAL)
#define RECEIVE_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_PEEK | MSG_WAITALL | MSG_TRUNC)

/* ---- stream.c, datagram.c: both take and give the locks they need; flags were checked. Octets, or a negative errno. ---- */
ssize_t stream_send(struct session *s, struct socket *k, const struct iovec *piece, int count, int flags);
ssize_t stream_receive(struct session *s, struct socket *k, const struct iovec *piece, int count, int flags);
ssize_t datagram_send(struct session *s, struct socket *k, const struct iovec *piece, int count, int flags,
                      const struct datagram_about *to);
ssize_t datagram_receive(struct session *s, struct socket *k, const struct iovec *piece, int count, int flags,
                         struct datagram_about *ret);
/* No more is sent: after what was, end of file at the peer. Nothing if so already, or not connected. No lock. */
void stream_shut_write(struct session *s, struct socket *k);
void stream_set_cork(struct session *s, struct socket *k, bool on); /* TCP_CORK, also before there is a connection. No lock. */
/* A close that has to wait for what was sent (SO_LINGER), once no more is; ends when it was closed since `closes`. No lock. */
void stream_linger(struct session *s, struct socket *k, uint32_t closes);
bool stream_lingers(const struct socket *k); /* it has to */
uint32_t stream_app_flags(const struct socket *k); /* SLOT_APP_* that its slot is to have */

/* ---- figures.c ---- */
struct tcp_info;
void stream_figures(const struct socket *k, struct tcp_info *ret); /* linux/tcp.h's */
uint32_t stream_congestion(const struct socket *k); /* enum tcp_congestion, or anything; 0: not known */
uint32_t stream_segment_size(const struct socket *k); /* TCP_MAXSEG: what is sent; before it is known what was asked for */

/* Words of ours that changed are stored; k's lock of that direction is held. */
void socket_publish_send(struct session *s, struct socket *k, uint32_t head);
void socket_publish_receive(struct session *s, struct socket *k, uint32_t tail);
/* Copies between a ring (size a power of two, at stream offset) and pieces, from `skip` octets into them. */
uint32_t iovec_copy_in(uint8_t *ring, const struct ring_shape *shape, uint32_t offset, uint32_t room, const struct iovec *piece, int count,
                       size_t skip);
uint32_t iovec_copy_out(const uint8_t *ring, const struct ring_shape *shape, uint32_t offset, uint32_t room, const struct iovec *piece,
                        int count, size_t skip);
ssize_t iovec_total(const struct iovec *piece, int count); /* -EINVAL: too many or too large */

#endif
