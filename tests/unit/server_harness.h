// SPDX-License-Identifier: BSD-2-Clause
/* A transport server on the bench: its context, channels whose other ends (ip, socket server) the test holds, a session
 * with arenas in plain memory whose application the test is, and a pool that stands for nic's. */
#ifndef BULKHEAD_TESTS_UNIT_SERVER_HARNESS_H
#define BULKHEAD_TESTS_UNIT_SERVER_HARNESS_H

#include "servers/server.h"

#define HARNESS_ADDRESS   {.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}}
#define HARNESS_PEER      {.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}}
#define HARNESS_ADDRESS6  {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 2}}
#define HARNESS_PEER6     {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 1}}
#define HARNESS_LINK      {.family = ADDRESS_IP6, .octets = {0xfe, 0x80, [15] = 2}} /* our link-local one */
#define HARNESS_POOL      20 /* capability of nic's pool */
#define HARNESS_ARENA     30 /* ... of the session's arenas, from here */
#define HARNESS_POOL_SIZE (1U << 20)
#define HARNESS_SLOTS     8U
#define HARNESS_SEND      16384U
#define HARNESS_RECEIVE   16384U

struct harness {
    const struct server *server;
    struct server_context context;
    struct stack_config config;
    struct port ip, socket;         /* the server's ends */
    struct port ip_end, socket_end; /* ours */
    struct ring_half half[4];
    struct capability table[4][CAPABILITY_TABLE_MAX];
    struct pool pool;
    uint8_t *pool_memory;
    uint8_t *foreign; /* nic's pool */
    uint32_t foreign_next; /* cookie of the next RECEIVE */
    uint32_t lent;         /* RECEIVEs whose cookie has not come back */
    struct session session[SESSIONS_MAX];
    struct session_control control;
    struct arena_app *tx[SESSION_ARENAS];
    struct arena_transport *rx[SESSION_ARENAS];
    struct status_counter counter[STATUS_COUNTERS];
    void *state;
    uint64_t now_us;
    uint64_t request; /* cookie of the last */
};

struct harness *harness_new(const struct server *server, enum server_id id, uint8_t protocol);
/* Ends with every loan home, else fails the test. */
void harness_free(struct harness *h);
/* Death and a new incarnation: state, channels and pool are new, store and session are what they were. */
void harness_restart(struct harness *h);
void harness_arena(struct harness *h, uint32_t arena, enum session_transport transport, uint32_t slots);
/* With place for rings `times` as large, a power of two. */
void harness_arena_place(struct harness *h, uint32_t arena, enum session_transport transport, uint32_t slots, uint32_t times);
/* The session's end: the supervisor's word, or the socket server's request first. */
void harness_session_ended(struct harness *h);
void harness_session_end(struct harness *h);
void harness_turn(struct harness *h); /* one burst, committed, published, flushed */
uint64_t harness_counter(struct harness *h, const char *name); /* after a publish */

/* As ip: a transport segment to the server. Returns its cookie. */
uint32_t harness_receive(struct harness *h, struct message *m, const void *bytes, uint32_t octets);
/* The same for what was delivered here: the second reference names the last `rest` octets, in the session's TX arena 0. */
uint32_t harness_receive_local(struct harness *h, struct message *m, const void *bytes, uint32_t octets, uint32_t rest);
/* What the server sent to ip: SENDs come out here, RETURNs are counted. */
bool harness_sent(struct harness *h, struct message *ret);
/* The octets that a reference of the server's names; fails the test when it is none of its. */
const uint8_t *harness_at(struct harness *h, const struct message_reference *r);
void harness_return(struct harness *h, uint64_t cookie); /* a loan goes home */

/* As the socket server. */
void harness_request(struct harness *h, struct message *m); /* operation, arguments; capability and cookie are filled in */
bool harness_told(struct harness *h, uint8_t operation, struct message *ret); /* next message; fails if it is another */

/* As the application. */
struct slot_app *harness_app(struct harness *h, uint32_t arena, uint32_t slot);
struct slot_transport *harness_words(struct harness *h, uint32_t arena, uint32_t slot);
uint8_t *harness_send_ring(struct harness *h, uint32_t arena, uint32_t slot);
uint8_t *harness_receive_ring(struct harness *h, uint32_t arena, uint32_t slot);
void harness_notify(struct harness *h, uint32_t arena, uint32_t slot);

#endif
