// SPDX-License-Identifier: BSD-2-Clause
/* The socket server: the control plane. It knows which sockets there are, whose they are, what they are called, and
 * which connections wait to be accepted; it sees no payload and maps no arena.
 *
 * Theory of operation. An application writes a request to one of its session's lanes and moves `kick` (lanes.c). The
 * request is copied, checked and done (requests.c): at once where the table suffices, else by a request to the
 * transport that lies in the socket's block until its ANSWER comes (transport.c). Two counters make everything happen
 * once: the sequence of a lane, and the cookie of a transport request. Both are in the store with what they led to, so
 * a death on either side is answered by saying the same again.
 *
 *     OPEN --BIND--> BOUND --LISTEN--> LISTENING        (tcp binds here; udp, LISTEN and CONNECT ask the transport)
 *       \--------------\-----CONNECT--> CONNECTED <--ACCEPT-- connection queued at a listener
 *     any --LOST, or absent from ALIVE--> GONE          any --CLOSE--> CLOSING --ANSWER--> free
 *
 * What is stored: for each socket a block (identity, name, slot, the request in flight), for each lane its last answer,
 * and the last cookie (recover.c). What is derived: lists, held ports, accept queues. A connection that was not
 * accepted belongs to tcp and is told of again; one that was is in the block, and OWNED says so if ACCEPTED was lost.
 *
 * A session that ended frees its sockets here at once; its memory goes back to the supervisor when both transports have
 * said that they hold none of it (sessions.c).
 *
 * Rule 4: burst() changes private memory and pushes messages (held back by the ports), commit() stores every changed
 * block, publish() writes answers and socket words.
 *
 * Limits: SOCKETS_MAX sockets, each session its quota, BACKLOG_MAX connections to a listener, CONNECTIONS_MAX in all; a
 * burst takes SERVER_BURST messages of each transport and what is on the lanes. When a ring is full what is to be
 * said stays in its queue and is tried again after a millisecond; what is to be heard is always heard, so that two full
 * rings cannot wait for each other.
 *
 * Two families: :: without V6_ONLY takes the name of IPv4, too, and such a socket may connect to either. Which address
 * is the source is the transport's choice. What BIND, CONNECT and LISTEN may is asked in one place (permit.c).
 *
 * Left out: a second CONNECT after a failed one. To read first: POSIX.1-2017 System Interfaces 2.10 (Sockets). */
#include <string.h>

#include "servers/counters.h"
#include "servers/socket/socket_internal.h"

#define RETRY_US 1000 /* a ring was full */

_Static_assert(sizeof(struct socket_counters) / sizeof(uint64_t) <= STATUS_COUNTERS, "all of them fit the page");

static void names_publish(const struct socket_server *server)
{
    struct status_counter *page = server->context->counter;
    uint32_t place = 0;
    if (page == NULL)
        return;
#define X(name) place = counters_name(page, place, #name);
    SOCKET_COUNTERS(X)
#undef X
}

static void counters_publish(const struct socket_server *server)
{
    struct status_counter *page = server->context->counter;
    uint32_t place = 0;
    if (page == NULL)
        return;
#define X(name) place = counters_value(page, place, server->counters.name);
    SOCKET_COUNTERS(X)
#undef X
}

static size_t server_store_size(void)
{
    return store_octets(sizeof(union store_any), STORE_BLOCKS);
}

static size_t server_state_size(const struct stack_config *config)
{
    (void)config;
    return sizeof(struct socket_server);
}

static int server_init(void *state, const struct server_context *context, uint64_t now_us)
{
    static const enum server_id servers[SESSION_TRANSPORTS] = {[SESSION_TCP] = SERVER_TCP, [SESSION_UDP] = SERVER_UDP};
    struct socket_server *server = state;
    server->context = context;
    server->now_us = now_us;
    struct list *lists[] = {&server->free, &server->changed, &server->words, &server->refused};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        list_init(lists[i]);
    for (uint32_t i = 0; i < NAME_BUCKETS; i++)
        list_init(&server->name_bucket[i]);
    for (uint32_t i = 0; i < SESSIONS_MAX; i++)
        list_init(&server->session[i].sockets);
    for (int t = 0; t < SESSION_TRANSPORTS; t++) {
        server->peer[t] = (struct peer){.server = servers[t], .port = context->port[servers[t]]};
        list_init(&server->peer[t].send);
    }
    int error = recover_store(server);
    if (error < 0)
        return error;
    names_publish(server);
    for (int t = 0; t < SESSION_TRANSPORTS; t++) {
        if (server->peer[t].port != NULL && server->peer[t].port->attached)
            reconcile_begin(server, (enum session_transport)t);
    }
    for (uint32_t i = 0; i < SESSIONS_MAX; i++)
        session_begin(server, i);
    return 0;
}

static bool server_burst(void *state, uint64_t now_us)
{
    struct socket_server *server = state;
    bool did = server->work;
    server->work = false;
    server->now_us = now_us;
    if (!server->started) {
        server->started = true;
        recover_orphans(server);
    }
    for (int t = 0; t < SESSION_TRANSPORTS; t++)
        did |= peer_receive(server, (enum session_transport)t);
    did |= lanes_burst(server);
    for (int t = 0; t < SESSION_TRANSPORTS; t++)
        did |= peer_send(server, (enum session_transport)t);
    if (did)
        counters_publish(server);
    return did;
}

static void server_commit(void *state)
{
    recover_commit(state);
}

static void server_publish(void *state, uint64_t now_us)
{
    (void)now_us;
    lanes_publish(state);
    sessions_publish(state);
}

static uint64_t server_deadline_us(const void *state)
{
    const struct socket_server *server = state;
    for (int t = 0; t < SESSION_TRANSPORTS; t++) {
        if (peer_held_back(server, (enum session_transport)t))
            return server->now_us + RETRY_US;
    }
    return UINT64_MAX;
}

static bool server_pending(void *state)
{
    const struct socket_server *server = state;
    return server->work || lanes_pending(server);
}

static bool transport_of(const struct socket_server *server, enum server_id id, enum session_transport *ret)
{
    for (int t = 0; t < SESSION_TRANSPORTS; t++) {
        if (server->peer[t].server == id && server->peer[t].port != NULL) {
            *ret = (enum session_transport)t;
            return true;
        }
    }
    return false;
}

static void server_peer_lost(void *state, enum server_id peer)
{
    enum session_transport t;
    if (transport_of(state, peer, &t))
        peer_forget(state, t);
}

static void server_peer_attached(void *state, enum server_id peer, uint64_t now_us)
{
    struct socket_server *server = state;
    enum session_transport t;
    server->now_us = now_us;
    if (transport_of(server, peer, &t) && server->peer[t].port->attached)
        reconcile_begin(server, t);
}

static void server_session_added(void *state, uint32_t session)
{
    session_begin(state, session);
}

static void server_session_ended(void *state, uint32_t session)
{
    sessions_end(state, session);
}

static void server_session_removed(void *state, uint32_t session)
{
    session_forget(state, session);
}

const struct server server_socket = {
    .name = "socket",
    .store_size = server_store_size,
    .store_version = STORE_VERSION,
    .state_size = server_state_size,
    .init = server_init,
    .burst = server_burst,
    .commit = server_commit,
    .publish = server_publish,
    .deadline_us = server_deadline_us,
    .pending = server_pending,
    .peer_lost = server_peer_lost,
    .peer_attached = server_peer_attached,
    .session_added = server_session_added,
    .session_ended = server_session_ended,
    .session_removed = server_session_removed,
};
