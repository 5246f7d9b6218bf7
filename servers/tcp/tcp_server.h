// SPDX-License-Identifier: BSD-2-Clause
/* What the files of the TCP server share. */
#ifndef BULKHEAD_SERVERS_TCP_TCP_SERVER_H
#define BULKHEAD_SERVERS_TCP_TCP_SERVER_H

#include "ipc/store.h"
#include "protocols/tcp/tcp.h"
#include "servers/transport/transport.h"

#define TCP_STORE_VERSION 1U
#define TCP_ENDPOINTS     CONNECTIONS_MAX /* the socket server's table of connections has as many */
#define TCP_TOLD_MAX      64U                        /* lost connections told of in one burst */

struct tcp_block { /* one in the store for each connection and listener, under the engine's index */
    struct tcp_conn conn;
    uint32_t socket;   /* id of the owner; 0: not accepted, or closed */
    uint32_t endpoint; /* TRANSPORT_NONE: the slot has been given back */
    uint32_t listener; /* socket id */
    uint32_t reserved;
};
_Static_assert(sizeof(struct tcp_block) % 8 == 0, "lies in the store");

struct tcp_told { /* a lost connection whose application is being told; its block goes in the next burst */
    uint32_t block;
    uint32_t endpoint; /* TRANSPORT_NONE: nobody to tell */
};

struct tcp_recovery {
    bool running;
    uint32_t cursor;
    uint32_t told_count;
    struct tcp_told told[TCP_TOLD_MAX];
};

struct tcp_server {
    struct transport transport; /* first: operations get a pointer to it */
    struct tcp *engine;
    struct store store;
    struct tcp_recovery recovery;
    uint16_t endpoint_of[CONNECTIONS_MAX]; /* endpoint + 1, 0 none */
    uint8_t current[CONNECTIONS_MAX];      /* the store's */
    uint16_t dirty[TCP_ENDPOINTS];
    struct endpoint endpoint[TCP_ENDPOINTS];
};

static inline struct tcp_server *tcp_server_of(struct transport *t)
{
    return (struct tcp_server *)t;
}

/* packets.c */
bool tcp_packets_in(struct tcp_server *s, uint64_t now_us);
bool tcp_packets_out(struct tcp_server *s, uint64_t now_us);
/* requests.c */
void tcp_request(struct transport *t, uint64_t now_us, const struct message *m);
/* sessions.c */
extern const struct transport_operations tcp_operations;
uint32_t tcp_endpoint_of(const struct tcp_server *s, uint32_t connection);
void tcp_block_put(struct tcp_server *s, uint32_t connection);
bool tcp_touched(struct tcp_server *s); /* blocks to the store, words to the endpoints */
/* recover.c */
void tcp_recover_init(struct tcp_server *s);
bool tcp_recover(struct tcp_server *s); /* part of the work; recovery.running: more is left */

#endif
