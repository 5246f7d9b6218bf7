// SPDX-License-Identifier: BSD-2-Clause
/* What the files of the socket server share. Theory of operation: socket.c. */
#ifndef BULKHEAD_SERVERS_SOCKET_SOCKET_INTERNAL_H
#define BULKHEAD_SERVERS_SOCKET_SOCKET_INTERNAL_H

#include "ipc/store.h"
#include "servers/server.h"

#define INDEX_NONE    UINT32_MAX
#define LANE_NONE     UINT8_MAX
#define BACKLOG_MAX   4096U
#define NAME_BUCKETS  1024U  /* power of two */
#define REUSE_DELAY   64U    /* ids that rest in the free list before the oldest is used again */
#define EPHEMERAL_MIN 32768U /* as Linux */
#define EPHEMERAL_MAX 60999U
#define COOKIE_SHIFT  14 /* a cookie is counter << 14 | index of the socket: increasing, and found without a search */
_Static_assert(SOCKETS_MAX == 1U << COOKIE_SHIFT, "an index fits a cookie");

/* One name for code, test and `bulkhead stat`. */
#define SOCKET_COUNTERS(X)                                                                                             \
    X(requests)                                                                                                        \
    X(refused)                                                                                                         \
    X(sockets_made) X(sockets_freed) X(transport_requests) X(established) X(accepts) X(lost) X(gone_at_reconciliation) \
        X(relistened) X(rebound) X(reconciliations) X(sessions_added) X(sessions_done) X(orphans) X(corrupt_blocks)    \
            X(stale_blocks) X(drop_capability) X(drop_operation) X(drop_malformed) X(drop_unknown_socket)              \
                X(drop_stale_answer) X(drop_no_listener) X(drop_backlog_full) X(drop_not_lost) X(refused_by_policy)    \
                    X(drop_poison) X(drop_slot_disputed)

struct socket_counters {
#define X(name) uint64_t name;
    SOCKET_COUNTERS(X)
#undef X
};

/* ---- the store: blocks of one size; kinds at fixed ranges of indices ---- */
enum block_kind { BLOCK_GLOBAL = 1, BLOCK_LANE = 2, BLOCK_SOCKET = 3 };
#define STORE_LANES   1U
#define STORE_SOCKETS (STORE_LANES + SESSIONS_MAX * SESSION_LANES)
#define STORE_BLOCKS  (STORE_SOCKETS + SOCKETS_MAX)
#define STORE_VERSION 0x534f4304U

enum socket_state { /* values are in the store */
                    SOCKET_FREE = 0,
                    SOCKET_OPEN = 1,
                    SOCKET_BOUND = 2, /* tcp: here only; udp: the transport has it */
                    SOCKET_LISTENING = 3,
                    SOCKET_CONNECTED = 4, /* the transport has it; tcp: perhaps still in SYN-SENT */
                    SOCKET_GONE = 5,      /* the transport has let go of it, the application has not */
                    SOCKET_CLOSING = 6,   /* the application has let go of it, the transport has not answered */
                    SOCKET_STATES
};

struct socket_request {   /* asked of the transport, kept until answered */
    uint64_t cookie;      /* 0: none */
    uint8_t operation;    /* enum message_operation */
    uint8_t lane;         /* of the session that waits for it, or LANE_NONE */
    uint8_t then_connect; /* udp: BIND on behalf of a CONNECT */
    uint8_t reserved;
    uint32_t sequence;         /* of that lane */
    struct ip_address address; /* CONNECT: the remote */
    uint16_t port;
    uint16_t reserved1;
    uint32_t option; /* SET_OPTION: which */
    uint32_t reserved2;
};

struct socket_block {  /* flat, in the store as it is */
    uint8_t kind;      /* BLOCK_SOCKET */
    uint8_t state;     /* enum socket_state; SOCKET_FREE blocks keep the generation */
    uint8_t transport; /* enum session_transport */
    uint8_t bound;     /* tcp: holds its local port against others */
    uint32_t id;       /* generation << 16 | index */
    uint32_t session;
    uint32_t session_generation;
    uint32_t descriptor;
    uint32_t connection; /* transport's index, INDEX_NONE */
    uint32_t arena;      /* INDEX_NONE: no slot */
    uint32_t slot;
    uint32_t slot_generation;
    struct ip_address local, remote;
    uint16_t local_port, remote_port;
    int32_t error;
    uint32_t options; /* 1 << enum control_option, of those that are on or off */
    uint32_t backlog;
    uint8_t ttl; /* 0: the default */
    uint8_t traffic_class;
    uint8_t send_log2; /* of the ring sizes wanted; 0: any */
    uint8_t receive_log2;
    uint32_t user_timeout_ms;
    struct message_options tcp;
    uint32_t reserved;
    struct socket_request request;
};

struct lane_block {
    uint32_t kind;
    uint32_t sequence; /* last one answered */
    struct control_answer answer;
    uint32_t session_generation;
    uint32_t reserved;
};

/* Begun from an empty store although there were earlier lives: applications have sockets that we know nothing of. */
enum cold {
    COLD_NOT = 0,
    COLD_TOLD = 1,   /* the words of their descriptors say so; the transports hear of it with each of our lists */
    COLD_UNTOLD = 2, /* the words are still to be written */
};

struct global_block {
    uint32_t kind;
    uint32_t cold;           /* enum cold */
    uint64_t cookie_counter; /* last one used */
};

union store_any {
    struct socket_block socket;
    struct lane_block lane;
    struct global_block global;
};
_Static_assert(sizeof(struct socket_block) == 160, "lies in the store: no padding");
_Static_assert(sizeof(union store_any) % 8 == 0, "a block is made of words");

/* ---- derived, in private memory ---- */
struct list {
    uint32_t head, tail, count;
};
struct link {
    uint32_t previous, next;
    bool linked;
};
struct links { /* where the links of an array of things are */
    uint8_t *base;
    size_t stride;
};

enum socket_link {
    LINK_OWNER, /* sockets of a session; free ones: the free list; neither: closing, without a session */
    LINK_SEND,  /* has something for its transport */
    LINK_NAME,  /* holds a local port */
    LINK_STORE, /* changed in this burst */
    LINK_WORD,  /* its socket_word is to be written */
    SOCKET_LINKS
};

struct socket_entry {
    struct socket_block block;
    struct link link[SOCKET_LINKS];
    struct list queue;    /* listener: connections not accepted yet */
    uint32_t alive_epoch; /* reconciliation in which the transport last spoke of it */
    bool send_request;
    bool send_accepted;
};

enum connection_state { CONNECTION_UNKNOWN = 0, CONNECTION_QUEUED, CONNECTION_REFUSED, CONNECTION_OWNED };
struct connection { /* one of tcp's connections, by its index there */
    uint8_t state;
    uint16_t local_port, remote_port;
    uint32_t socket; /* QUEUED: id of the listener; OWNED: of the socket */
    uint32_t session, arena, slot, generation;
    struct ip_address local, remote;
    struct link link; /* QUEUED: in its listener's queue; REFUSED: to be closed */
};

struct lane {
    uint32_t done;               /* sequence of `answer` */
    uint32_t session_generation; /* of a restored one */
    uint32_t busy_sequence;
    bool busy;    /* its request waits for a transport */
    bool changed; /* for the store */
    bool publish;
    struct control_answer answer;
};

struct session_state {
    bool known, ending, done;
    bool look;          /* scan the lanes whatever kick says */
    bool lanes_changed; /* some lane: changed */
    bool publish;       /* some lane: publish */
    bool ring;
    bool done_due;
    bool end_send[SESSION_TRANSPORTS]; /* SESSION_END is still to be pushed */
    bool end_done[SESSION_TRANSPORTS]; /* the transport holds none of its memory */
    uint32_t last_kick;
    uint32_t ready_producer; /* of the answer segment's ready ring */
    struct list sockets;
    struct lane lane[SESSION_LANES];
};

enum reconcile_phase { RECONCILE_DONE = 0, RECONCILE_OWNED, RECONCILE_END };
struct peer {
    enum server_id server;
    struct port *port; /* NULL: not in this topology */
    uint32_t epoch;    /* counts reconciliations */
    bool hearing;      /* between attach and ALIVE_END */
    uint8_t phase;     /* enum reconcile_phase: our own list */
    uint32_t cursor;
    struct list send;
};

struct socket_server {
    const struct server_context *context;
    uint64_t now_us;
    bool started;              /* the first burst has been */
    uint8_t cold;              /* enum cold */
    uint16_t generation_first; /* the ids of new indices begin after it */
    bool work;                 /* something was done outside a burst that commit() and publish() must see */
    bool global_changed;
    uint64_t cookie_counter;
    uint32_t high; /* socket indices from here on were never used */
    struct list free, changed, words;
    struct list refused; /* connections that tcp is to close */
    struct peer peer[SESSION_TRANSPORTS];
    struct session_state session[SESSIONS_MAX];
    struct list name_bucket[NAME_BUCKETS];
    struct socket_counters counters;
    struct store store;
    uint8_t store_current[STORE_BLOCKS];
    struct socket_entry entry[SOCKETS_MAX];
    struct connection connection[CONNECTIONS_MAX];
};

/* ---- table.c ---- */
void list_init(struct list *list);
void list_append(struct list *list, struct links links, uint32_t index);
void list_remove(struct list *list, struct links links, uint32_t index); /* nothing if it is not linked */
struct links socket_links(struct socket_server *server, enum socket_link which);
struct links connection_links(struct socket_server *server);
static inline bool socket_option(const struct socket_block *block, enum control_option option)
{
    return (block->options >> option & 1) != 0;
}
/* Whether a name that is an any-address of IPv6 is one of IPv4, too (RFC 3493 5.3). */
static inline bool socket_takes_both(const struct socket_block *block, const struct ip_address *name)
{
    return name->family == ADDRESS_IP6 && ip_address_is_any(name) && !socket_option(block, CONTROL_OPTION_V6_ONLY);
}
static inline uint32_t socket_index(const struct socket_entry *entry)
{
    return entry->block.id & 0xffff;
}
/* NULL: the table is full. State SOCKET_OPEN, owned by the session. */
struct socket_entry *socket_new(struct socket_server *server, uint32_t session, uint8_t transport, uint32_t descriptor);
void socket_free(struct socket_server *server, struct socket_entry *entry);
/* Untrusted: id. NULL: no such socket, or an older generation of it. */
struct socket_entry *socket_lookup(struct socket_server *server, uint32_t id);
void socket_changed(struct socket_server *server, struct socket_entry *entry);
void socket_word_changed(struct socket_server *server, struct socket_entry *entry);
bool socket_at_transport(const struct socket_entry *entry);               /* its transport knows it, or may come to */
void name_hold(struct socket_server *server, struct socket_entry *entry); /* takes local_port */
void name_release(struct socket_server *server, struct socket_entry *entry);
/* Whether another tcp socket stands in the way of `entry` at local:local_port. `listening`: only listeners do. */
bool name_conflict(struct socket_server *server, const struct socket_entry *entry, const struct ip_address *address,
                   uint16_t port, bool listening);
uint16_t name_choose(struct socket_server *server, const struct socket_entry *entry, const struct ip_address *address);
void connection_queue(struct socket_server *server, uint32_t index, struct socket_entry *listener);
void connection_refuse(struct socket_server *server, uint32_t index);
void connection_forget(struct socket_server *server, uint32_t index); /* out of whatever list it is in */
void connection_release(struct socket_server *server, const struct socket_entry *entry); /* if the entry owns one */
void listener_drop_queue(struct socket_server *server, struct socket_entry *listener);

/* ---- lanes.c ---- */
bool lanes_burst(struct socket_server *server);
bool lanes_pending(const struct socket_server *server);
/* `entry` NULL: an answer without a socket. Nothing if that lane does not wait for this sequence. */
void lane_answer(struct socket_server *server, uint32_t session, uint8_t lane, uint32_t sequence, int error,
                 const struct socket_entry *entry);
void lanes_publish(struct socket_server *server);

/* ---- requests.c ---- */
struct call {
    uint32_t session, sequence;
    uint8_t lane;
    struct control_request request; /* a private copy */
    struct socket_entry *socket;    /* in: what the request names; out: what the answer tells of */
};
#define CALL_WAITS (-1)
/* An errno value for the answer, or CALL_WAITS: the transport has to be asked. */
int call_run(struct socket_server *server, struct call *call);
/* The application's CLOSE, also without an application. */
void socket_close(struct socket_server *server, struct socket_entry *entry);

/* ---- permit.c ---- */
/* Untrusted: address, port (the session's; of LISTEN its bound name). 0 or an errno value. Port 0: one is chosen; an
 * address of ADDRESS_NONE: none is named. */
int request_permitted(const struct session *session, enum control_operation operation, enum session_transport protocol,
                      const struct ip_address *address, uint16_t port);

/* ---- transport.c ---- */
bool peer_receive(struct socket_server *server, enum session_transport t);
bool peer_send(struct socket_server *server, enum session_transport t);
bool session_ends_send(struct socket_server *server, enum session_transport t); /* as far as there is room */
bool peer_held_back(const struct socket_server *server, enum session_transport t);
void peer_queue(struct socket_server *server, struct socket_entry *entry); /* something to send: in order */
/* Replaces the entry's request by a new one. */
void request_start(struct socket_server *server, struct socket_entry *entry, uint8_t operation, uint8_t lane,
                   uint32_t sequence);
void request_end(struct socket_server *server, struct socket_entry *entry, int error); /* answers its lane */
uint64_t cookie_next(struct socket_server *server, uint32_t index);
struct message peer_message(uint8_t operation, uint64_t cookie);
/* About a socket: what it is called, where it is, and, but for CLOSE, all of its options. */
struct message socket_message(const struct socket_entry *entry, uint8_t operation, uint64_t cookie);
void socket_gone(struct socket_server *server, struct socket_entry *entry, int error);

/* ---- recover.c ---- */
int recover_store(struct socket_server *server);
void recover_commit(struct socket_server *server);
void recover_lanes_cold(struct socket_server *server, uint32_t session);
void recover_orphans(struct socket_server *server);
void reconcile_begin(struct socket_server *server, enum session_transport t);
/* A datagram socket that udp does not know and ours does: bound (and connected) again, in the slot that it has. False:
 * it is none, or has no slot. */
bool socket_make_again(struct socket_server *server, struct socket_entry *entry);
bool reconcile_step(struct socket_server *server, enum session_transport t);
/* Whether the request in flight is about something that the transport has to have already. */
bool request_wants_endpoint(const struct socket_block *block);
void reconcile_alive_end(struct socket_server *server, enum session_transport t);
void peer_forget(struct socket_server *server, enum session_transport t);

/* ---- sessions.c ---- */
void session_begin(struct socket_server *server, uint32_t session);
void sessions_end(struct socket_server *server, uint32_t session);
void session_forget(struct socket_server *server, uint32_t session);
void session_released(struct socket_server *server, uint32_t session, enum session_transport t);
void sessions_publish(struct socket_server *server);

#endif
