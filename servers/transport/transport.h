// SPDX-License-Identifier: BSD-2-Clause
/* What the transport servers (tcp, udp) have in common. Theory of operation: an **endpoint** is a socket as its transport
 * sees it: the socket server's id, the arena slot that it uses, the engine's connection behind it, and what of the slot is on
 * loan to ip. Its index is the `connection` of socket messages. It outlives the engine's connection (an application may
 * read what came before the end, so LOST is not sent for one that still has its slot) and is gone once the user closed it,
 * the engine needs its bytes no longer and every loan is home: only then may its slot be used again.
 *
 * Payload is lent to ip by reference into the application's TX arena, together with a header buffer of our pool; the buffer's
 * index is the cookie, and loan[] remembers for which endpoint and stream offset it went out. The published send_tail is the lower
 * of what the engine is done with and the lowest offset on loan.
 *
 * Order within a burst (rule 4): everything here changes private memory and holds messages back in ports; slot words and
 * doorbells move only in transport_publish(), after the commit. The one exception is notify_consumer: that a notice was
 * read is no state. */
#ifndef BULKHEAD_SERVERS_TRANSPORT_TRANSPORT_H
#define BULKHEAD_SERVERS_TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "servers/server.h"

#define TRANSPORT_NONE           UINT32_MAX
#define TRANSPORT_HEADER_BUFFERS 256U
#define TRANSPORT_HEADER_OCTETS  64U
#define TRANSPORT_HEADER_MAX     60U  /* octets of a received transport header that are copied */
#define TRANSPORT_RETURN_SLOTS   8U   /* of ip's ring, kept for returning loans */
#define TRANSPORT_LOAN_US        1000U /* returned loans ring no bell: look for them this often */
#define TRANSPORT_BLOCKED_US     250U  /* ip's ring or our pool was full: look again */
#define TRANSPORT_COUNTERS_US    10000U

#define TRANSPORT_COUNTERS(X)                                                                      \
    X(received) X(sent) X(loans_out) X(loans_home) X(requests) X(answers) X(notices)               \
    X(notify_taken) X(notify_stale) X(notify_resync) X(slots_given) X(slots_back) X(reclaimed)     \
    X(drop_capability) X(drop_range) X(drop_operation) X(drop_protocol) X(drop_not_local)          \
    X(drop_length) X(drop_checksum) X(drop_return_unknown) X(drop_return_full) X(drop_no_slot)     \
    X(drop_no_endpoint) X(drop_notify_slot) X(drop_send_head) X(drop_receive_tail) X(drop_send_ring) \
    X(drop_request_session) X(drop_unreachable) X(drop_accepted_unknown) X(drop_block_corrupt)     \
    X(drop_slot_disputed) /* of a socket, whose server has it elsewhere: one of the two copies is damaged */ \
    X(drop_block_stale) /* of a session that was, whose index another one has */                   \
    X(drop_poison) X(reset_poison) /* what killed this server twice in a row, and what was lost with it */ \
    X(drop_recovering) X(drop_list)                                                                             \
    X(restored) X(lost_at_restart) X(orphaned)

struct transport_counters {
#define X(name) uint64_t name;
    TRANSPORT_COUNTERS(X)
#undef X
};

enum endpoint_flag {
    ENDPOINT_USED = 1,
    ENDPOINT_DIRTY = 2,       /* in the list of what publish has to write; stays with the index */
    ENDPOINT_FRESH = 4,       /* the slot's generation is not published yet */
    ENDPOINT_CLOSED = 8,      /* the user is done with it */
    ENDPOINT_TOLD = 16,       /* ESTABLISHED was queued or sent */
    ENDPOINT_QUEUED = 32,     /* in the queue of notices; stays with the index */
    ENDPOINT_ESTABLISHED = 64, /* the notice has not gone out yet */
    ENDPOINT_OWNED = 128,      /* reconciliation: the socket server named it */
    ENDPOINT_WAKE = 256,       /* publish rings its session */
};

struct slot_words { /* see struct slot_transport */
    uint32_t send_tail, receive_head, state, error;
    union {
        uint32_t error_count, receive_ring;
    };
    uint32_t path_mtu;
    union {
        uint32_t receive_drops, rings_wanted;
    };
};

struct slot_figures { /* see struct slot_transport */
    uint32_t tcp_kind, srtt_us, rttvar_us, rto_us, cwnd, ssthresh, retransmitted, mss;
};

struct endpoint_tuning { /* tcp; besides the options that are on or off. Lies in the store */
    struct message_options options;
    uint32_t user_timeout_ms;
    uint8_t send_log2, receive_log2; /* sizes of the rings that are wanted; 0: any */
    uint8_t reserved[2];
};

struct endpoint {
    uint32_t socket;     /* id at the socket server; 0: not accepted yet, or closed */
    uint32_t session;
    uint32_t session_generation;
    uint32_t arena;      /* TRANSPORT_NONE: no slot (listener) */
    uint32_t slot;
    uint32_t generation; /* of the slot's use */
    uint32_t connection; /* the engine's index; TRANSPORT_NONE: gone */
    uint32_t listener;   /* socket id of the listener that it came from, 0 none */
    uint32_t send_end;   /* stream offset known to be written */
    uint32_t send_size;  /* of the send ring, as it is now; 0: as the arena says */
    struct slot_words words;     /* send_tail here: what the engine is done with, loans not counted */
    struct slot_words published;
    uint32_t options;    /* 1 << enum control_option of those that are on */
    uint8_t ttl;         /* 0: the default */
    uint8_t traffic_class;
    struct endpoint_tuning tuning;
    uint16_t loan_first; /* buffer + 1, 0 none */
    uint16_t free_next;  /* endpoint + 1 */
    uint16_t free_previous;
    uint16_t queue_next; /* endpoint + 1 */
    uint16_t flags;      /* ENDPOINT_* */
};

struct loan { /* of a header buffer */
    uint32_t endpoint; /* TRANSPORT_NONE: no payload went with it */
    uint32_t offset;   /* stream offset of the payload */
    uint16_t next, previous; /* buffer + 1 */
};

struct arena_slots {
    uint32_t slots;    /* 0: not granted */
    uint32_t free;
    uint32_t notify_consumer;
    uint32_t ready_producer;
    bool rescan;       /* look at every slot's words, whatever the notify ring says */
    bool dirty;        /* free_slots to be published */
    uint64_t used[ARENA_SLOTS_MAX / 64];
    uint16_t holder[ARENA_SLOTS_MAX]; /* endpoint + 1 */
};

struct session_slots {
    bool ended;        /* nothing new for it */
    bool end_early;    /* SESSION_END came, and it has not ended */
    bool end_asked;    /* SESSION_END came, its LOST has not gone out */
    uint32_t endpoints;
    struct arena_slots arena[SESSION_ARENAS];
};

struct transport;

struct transport_operations {
    uint8_t protocol;               /* IP protocol number */
    bool broadcasts;                /* are received */
    enum session_transport session_transport;
    /* Fills the addresses and ports of a message about an endpoint. */
    void (*address)(const struct transport *t, const struct endpoint *e, struct message *ret);
    /* BIND, LISTEN, CONNECT, ACCEPTED, SET_OPTION. Untrusted: m (from socket). There is room for one answer. */
    void (*request)(struct transport *t, uint64_t now_us, const struct message *m);
    /* The user is done: tell the engine. The final words of the slot have been handed to notified(). */
    void (*close)(struct transport *t, uint64_t now_us, uint32_t endpoint);
    /* Untrusted: words (from the application, one private copy; its generation is right). */
    void (*notified)(struct transport *t, uint64_t now_us, uint32_t endpoint, const struct slot_app *words);
    /* Its user is no longer known, but has its slot: the engine lets go of it, and its words tell the user so. */
    void (*orphaned)(struct transport *t, uint64_t now_us, uint32_t endpoint);
    /* Closed by the user, but the engine still wants bytes of its slot. */
    bool (*needs_slot)(const struct transport *t, const struct endpoint *e);
    /* The endpoint ends now; its connection, if any, goes on without it. */
    void (*released)(struct transport *t, const struct endpoint *e);
    /* Its figures, to be published with its words; NULL: there are none. */
    void (*figures)(const struct transport *t, const struct endpoint *e, struct slot_figures *ret);
};

struct transport { /* first member of the server's state */
    const struct server_context *context;
    const struct transport_operations *operations;
    struct port *ip, *socket;
    struct port_returns returns;    /* to ip */
    struct transport_counters counters;
    struct endpoint *endpoint;
    uint32_t endpoint_max;
    uint32_t endpoint_high;         /* those from here on were never used */
    uint32_t endpoint_free;         /* + 1 */
    uint16_t *dirty;                /* endpoint_max of them */
    uint32_t dirty_count;
    uint32_t queue_first, queue_last; /* notices; + 1 */
    uint16_t uses;                  /* counter in the generation of a slot's use */
    uint32_t loans;                 /* outstanding */
    bool blocked;                   /* output waits for ip or for header buffers */
    uint64_t now_us, blocked_us;    /* of the last burst */
    uint64_t counters_at_us;        /* when they were copied last */
    bool counters_stale;
    bool counters_named;            /* their names are on the page */
    uint64_t bells;                 /* sessions to ring, a bit each */
    bool alive_sending;             /* reconciliation: our list is under way */
    bool list_expected;             /* ... and the other has not ended yet */
    uint32_t alive_cursor;
    uint64_t end_asked;             /* sessions with end_asked, a bit each */
    uint64_t seen;                  /* sessions that ever had an endpoint or arena: the memory of others is not looked at */
    uint16_t active[SESSIONS_MAX * SESSION_ARENAS]; /* granted arenas: session * SESSION_ARENAS + arena */
    uint32_t active_count;
    uint16_t notify[ARENA_SLOTS_MAX];
    struct loan loan[POOL_BUFFERS_MAX];
    uint16_t by_socket[SOCKETS_MAX]; /* endpoint + 1, under the low 16 bits of the id */
    struct session_slots session[SESSIONS_MAX];
};
_Static_assert(SESSIONS_MAX == 64, "bits of a word");

/* ---- transport.c ---- */
/* What a few sessions need of it is there before it is needed; most of the rest is never touched, and is not to be unmapped
 * page by page when the server dies. */
#define TRANSPORT_WARM_SESSIONS  4
#define TRANSPORT_WARM_ENDPOINTS 256
void transport_warm(struct transport *t);
/* `t` is zeroed; endpoint and dirty are `endpoint_max` elements each. */
void transport_init(struct transport *t, const struct server_context *context,
                    const struct transport_operations *operations, struct endpoint *endpoint, uint16_t *dirty,
                    uint32_t endpoint_max, uint64_t now_us);
/* For struct server: `state` begins with a struct transport. */
void transport_server_peer_lost(void *state, enum server_id peer);
void transport_server_peer_attached(void *state, enum server_id peer, uint64_t now_us);
void transport_server_session_added(void *state, uint32_t session);
void transport_server_session_ended(void *state, uint32_t session);
void transport_server_session_removed(void *state, uint32_t session);
uint64_t transport_deadline_us(const struct transport *t);
/* After what the store has of the last life was taken up: `t` tells of it when the socket server is there. */
void transport_recovered(struct transport *t);
/* The end of a burst's work: notices, our list, returned loans. `did`: there was work before. What burst() returns. */
bool transport_burst_end(struct transport *t, uint64_t now_us, bool did);
struct transport_counter_list { /* of the server, besides our own */
    const char *const *name;
    const uint64_t *value;
    uint32_t count;
};
/* publish(): slot words, doorbells, and now and then the status page. */
void transport_publish(struct transport *t, uint64_t now_us, const struct transport_counter_list *list, uint32_t count);
/* Untrusted: m (from socket). What is wrong with a request for a new socket before the engine is asked: an errno value;
 * 0: nothing. */
int transport_new_socket_error(const struct transport *t, const struct message *m);
/* Whether a context has all that a transport server needs, its store `octets` long. */
bool transport_context_ok(const struct server_context *context, size_t octets);
static inline size_t transport_align64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

/* ---- endpoints.c ---- */
/* A new endpoint without slot; `wanted` is its index if that is free, TRANSPORT_NONE for any. TRANSPORT_NONE: table full. */
uint32_t endpoint_new(struct transport *t, uint32_t session, uint32_t socket, uint32_t wanted);
void endpoint_own(struct transport *t, uint32_t index, uint32_t socket);
/* Untrusted: m (LISTEN, CONNECT, SET_OPTION, BIND; from socket). */
void endpoint_set_options(struct endpoint *e, const struct message *m);
/* Untrusted: socket. TRANSPORT_NONE: unknown. */
uint32_t endpoint_of_socket(const struct transport *t, uint32_t socket);
/* After a restart. Untrusted: socket (store). No endpoint is of it, or of an older or younger one of its index. */
bool endpoint_nobodys_socket(const struct transport *t, uint32_t socket);
/* Untrusted: named (from socket). By id, else a connection not accepted yet by index and generation. */
uint32_t endpoint_find(const struct transport *t, const struct message_socket *named);
void endpoint_dirty(struct transport *t, uint32_t index, bool wake);
void endpoint_established(struct transport *t, uint32_t index); /* the socket server is to be told */
/* The user is done with it. */
void endpoint_close(struct transport *t, uint64_t now_us, uint32_t index);
/* Nobody can close it any more, but an application uses its slot: that is told, and stays its own until the session ends,
 * or at most until the socket server's next list (it has no claim to make). */
void endpoint_orphan(struct transport *t, uint64_t now_us, uint32_t index);
/* Its slot, as we have it, may be another's: it ends, and nothing of it is looked at. */
void endpoint_refuse(struct transport *t, uint64_t now_us, uint32_t index);
/* Ends it if nothing needs it any more. */
void endpoint_try_release(struct transport *t, uint32_t index);
/* Ends it, whatever needs it. */
void endpoint_release(struct transport *t, uint32_t index);
/* What of its send stream may be overwritten. */
uint32_t endpoint_send_tail(const struct transport *t, const struct endpoint *e);

/* ---- slots.c ---- */
void transport_session_added(struct transport *t, uint32_t session);
void transport_session_removed(struct transport *t, uint64_t now_us, uint32_t session);
/* After a restart. Untrusted: session, generation (store; session is in range). False: the index is another's by now, and
 * what the store has is nobody's. True too if it is nobody's yet: that is seen when it is granted. */
bool transport_session_same(const struct transport *t, uint32_t session, uint32_t generation);
/* In the first burst: what there is of sessions that went while we were dead. Their indices may be others' next. */
void transport_forget_absent(struct transport *t);
void transport_session_end(struct transport *t, uint64_t now_us, uint32_t session); /* all that it has is closed (requests.c) */
bool transport_session_open(const struct transport *t, uint32_t session); /* untrusted: session */
/* First arena of ours of a session with these ring sizes (0: any); NULL none. */
const struct session_arena *transport_first_arena(const struct transport *t, uint32_t session,
                                                  const struct session_arena *like);
/* Gives an endpoint a free slot of its session; `like`: only arenas with its sizes (0: any), NULL any. False: none. */
bool slot_take(struct transport *t, uint32_t endpoint, const struct session_arena *like);
/* After a restart: the endpoint's arena, slot and generation are set and in use. False: taken, or impossible. */
bool slot_restore(struct transport *t, uint32_t endpoint);
void slot_put(struct transport *t, uint32_t endpoint);
/* The granted arena of an endpoint's slot; NULL: none. */
const struct session_arena *slot_arena(const struct transport *t, const struct endpoint *e);
uint8_t *slot_receive_ring(const struct session_arena *arena, uint32_t slot);
const uint8_t *slot_send_ring(const struct session_arena *arena, uint32_t slot);
/* Untrusted: the application's words of a slot, copied once. False: no arena, or of another use. */
bool slot_read(const struct transport *t, const struct endpoint *e, struct slot_app *ret);
bool transport_notify(struct transport *t, uint64_t now_us); /* reads notify rings; true: something was there */
bool transport_notify_pending(const struct transport *t);
void transport_publish_slots(struct transport *t); /* slot words, doorbells */

/* ---- packets.c ---- */
struct transport_packet { /* transport header and payload in the lender's buffer: may change at any time */
    struct {
        const uint8_t *bytes;
        uint32_t octets;
    } part[2]; /* the second, if any: payload in the arena that it was sent from */
    uint32_t octets; /* of both */
    uint32_t header_octets; /* at most what the first part has */
    uint8_t header[TRANSPORT_HEADER_MAX]; /* the copy that counts */
};
/* How many messages may be taken from ip so that every loan can be returned. */
uint32_t transport_receive_budget(struct transport *t);
/* Untrusted: m (from ip). True: *ret is set and the datagram is for this stack. */
bool transport_packet_receive(struct transport *t, const struct message *m, struct transport_packet *ret);
/* `octets` of the packet from `offset` on; they are there. */
void transport_packet_copy(const struct transport_packet *p, uint32_t offset, uint8_t *to, uint32_t octets);
uint64_t transport_packet_sum(const struct transport_packet *p, uint32_t offset, uint32_t octets);
/* When the sender below did not verify it, over the copied header and the payload where it lies. */
bool transport_checksum(struct transport *t, const struct message *m, const struct transport_packet *p);
/* True: it was a RETURN. */
bool transport_loans_home(struct transport *t, const struct message *m);
void transport_give_back(struct transport *t, const struct message *m); /* m: a RECEIVE */
void transport_reclaim(struct transport *t); /* after the barrier: ip holds nothing of ours any more */
bool transport_can_send(struct transport *t);
/* transport_can_send() was true. m: addresses, ports, offload fields; reference[1].length octets of payload of `endpoint` from stream
 * offset `offset` (not across the end of the ring) at `place` of the send ring. */
void transport_packet_send(struct transport *t, struct message *m, const uint8_t *header, uint32_t header_octets,
                    uint32_t endpoint, uint32_t offset, uint32_t place, uint32_t payload_octets);

/* ---- requests.c ---- */
bool transport_requests(struct transport *t, uint64_t now_us);
/* Answers a request about an endpoint (TRANSPORT_NONE: nothing but the error). */
void transport_answer(struct transport *t, const struct message *request, uint32_t endpoint, int error);
void transport_message_about(const struct transport *t, uint32_t endpoint, uint8_t operation, struct message *ret);
bool transport_notices(struct transport *t);
/* ESTABLISHED without waiting for its turn. False: there is no room. */
bool transport_notice_now(struct transport *t, uint32_t endpoint);
void transport_reconcile(struct transport *t); /* our list is to be sent (again) */

#endif
