// SPDX-License-Identifier: BSD-2-Clause
/* What the files of the TCP server share. */
#ifndef BULKHEAD_SERVERS_TCP_TCP_SERVER_H
#define BULKHEAD_SERVERS_TCP_TCP_SERVER_H

#include "ipc/store.h"
#include "protocols/tcp/tcp.h"
#include "servers/transport/transport.h"

#define TCP_STORE_VERSION 8U
#define TCP_ENDPOINTS     CONNECTIONS_MAX /* the socket server's table of connections has as many */
#define TCP_TIME_WAITS    (2U * CONNECTIONS_MAX)
#define TCP_KEPT_MAX      256U /* messages of ip kept until the recovery is through: all that it may lend */
#define TCP_TOLD_MAX      48U  /* RSTs on their way to lost peers: fewer than ip keeps for a neighbour it has to find */
#define TCP_TELL_US       50000U /* of a recovery, in which it waits for that */

struct tcp_block { /* one in the store for each connection and listener, under the engine's index */
    uint32_t socket;   /* id of the owner; 0: not accepted, or closed */
    uint32_t endpoint; /* TRANSPORT_NONE: the slot has been given back */
    uint32_t listener; /* socket id */
    uint32_t options;  /* 1 << enum control_option */
    uint32_t session_generation; /* of identity.session */
    uint8_t ttl, traffic_class;
    uint8_t ended; /* the connection is gone; the block says to whom an RST is on its way (farewell.c) */
    uint8_t reserved;
    struct endpoint_tuning tuning;
    struct tcp_conn conn; /* last: see tcp_block_put() */
};
_Static_assert(sizeof(struct tcp_block) % 8 == 0, "lies in the store");

struct tcp_held {    /* one for each endpoint whose connection has ended: the slot stays its user's until CLOSE */
    uint32_t socket; /* 0: not accepted */
    uint32_t session, arena, slot, generation;
    uint32_t listener;
    uint32_t send_end;
    struct slot_words words;
    uint32_t session_generation;
};

#define TCP_TIME_WAIT_GROUP  6U /* in one block */
#define TCP_TIME_WAIT_GROUPS ((TCP_TIME_WAITS + TCP_TIME_WAIT_GROUP - 1) / TCP_TIME_WAIT_GROUP)

union tcp_stored {
    struct tcp_block block;
    struct tcp_held held;
    struct tcp_time_wait time_wait[TCP_TIME_WAIT_GROUP];
};
_Static_assert(sizeof(union tcp_stored) == sizeof(struct tcp_block), "blocks of one size");
_Static_assert(TCP_ENDPOINTS == CONNECTIONS_MAX && TCP_TIME_WAIT_GROUPS <= CONNECTIONS_MAX,
               "one block of each kind for each index");

/* Kinds of the store, so that a new incarnation reads no more of each than was used. */
enum { TCP_KIND_CONNECTION, TCP_KIND_HELD, TCP_KIND_TIME_WAITS, TCP_STORE_KINDS };
#define TCP_STORE_BLOCKS            (TCP_STORE_KINDS * CONNECTIONS_MAX)
#define TCP_STORE_CONNECTION(index) (TCP_STORE_KINDS * (index) + TCP_KIND_CONNECTION)
#define TCP_STORE_HELD(endpoint)    (TCP_STORE_KINDS * (endpoint) + TCP_KIND_HELD)
#define TCP_STORE_TIME_WAITS(group) (TCP_STORE_KINDS * (group) + TCP_KIND_TIME_WAITS)

struct tcp_recovery {
    bool running;
    bool begun; /* the first burst has been: sessions are granted */
    bool stuck; /* neither told nor ended anything: ip or the header pool is to make room first */
    uint64_t patient_until_us;
    uint32_t cursor; /* connections before it are seen to */
    uint32_t told_count;
    uint32_t kept_first, kept_count; /* what ip sent meanwhile, oldest first */
    struct message kept[TCP_KEPT_MAX];
    uint32_t told[TCP_TOLD_MAX]; /* connections whose peer is being told; their blocks go in the next burst */
};

struct tcp_server {
    struct transport transport; /* first: operations get a pointer to it */
    struct tcp *engine;
    struct tcp_work work; /* what the engine is at, in the page of our deaths */
    uint64_t suspect[SUSPECTS_MAX];
    struct store store;
    struct tcp_recovery recovery;
    uint16_t endpoint_of[CONNECTIONS_MAX]; /* endpoint + 1, 0 none */
    uint16_t farewell[CONNECTIONS_MAX];    /* connections whose blocks say that they have ended */
    uint32_t farewells;
    uint8_t current[TCP_STORE_BLOCKS];     /* the store's */
    uint16_t dirty[TCP_ENDPOINTS];
    struct endpoint endpoint[TCP_ENDPOINTS];
};

static inline struct tcp_server *tcp_server_of(struct transport *t)
{
    return (struct tcp_server *)t;
}

/* packets.c */
bool tcp_packets_in(struct tcp_server *s, uint64_t now_us);
bool tcp_loans_in(
    struct tcp_server *s); /* instead, while the recovery is stuck: the rest is kept until it is through */
void tcp_kept_forget(struct tcp_server *s, enum server_id peer); /* which is dead: what names its buffers */
bool tcp_packets_out(struct tcp_server *s, uint64_t now_us);
/* poison.c. False: it is poison, and was dealt with */
bool tcp_works_on_segment(struct tcp_server *s, uint64_t now_us, const struct message *m, const struct transport_packet *p);
bool tcp_works_on_output(struct tcp_server *s, uint64_t now_us, const struct tcp_output *o);
void tcp_work_init(struct tcp_server *s);
void tcp_work_done(struct tcp_server *s); /* after its turn: what it was watched for is known to whom it may concern */
/* A connection has a name from its first burst on, or since it was put back. False: it is poison. */
bool tcp_work_name(struct tcp_server *s, uint32_t connection);
/* A connection whose block is being put back. False: it is not to be. */
bool tcp_works_on_restore(const struct tcp_server *s, const struct tcp_identity *id);
/* requests.c */
void tcp_request(struct transport *t, uint64_t now_us, const struct message *m);
void tcp_options_apply(struct tcp_server *s, const struct endpoint *e,
                       uint32_t connection); /* those of e to the engine's */
/* sessions.c */
extern const struct transport_operations tcp_operations;
uint32_t tcp_endpoint_of(const struct tcp_server *s, uint32_t connection);
void tcp_words(struct tcp_server *s, uint32_t endpoint); /* those of its connection */
void tcp_block_put(struct tcp_server *s, uint32_t connection);
void tcp_held_put(struct tcp_server *s, uint32_t endpoint); /* its connection has ended */
void tcp_time_waits_put(struct tcp_server *s, uint32_t group);
bool tcp_touched(struct tcp_server *s); /* blocks to the store, words to the endpoints */
/* farewell.c */
bool tcp_farewell_begin(struct tcp_server *s, uint32_t connection); /* it has ended. False: nobody is told of that */
bool tcp_farewells_end(struct tcp_server *s); /* of those who were told in an earlier burst; true: there were some */
/* recover.c */
void tcp_recover_init(struct tcp_server *s);
bool tcp_recover(struct tcp_server *s); /* part of the work; true: it went on; recovery.running: more is left */

#endif
