// SPDX-License-Identifier: BSD-2-Clause
/* The TCP server: the engine of protocols/tcp between ip, the socket server and the applications' arenas.
 *
 * Theory of operation. A burst takes segments from ip (header copied once, payload copied once to its final place in
 * the receive ring, the loan returned at once), requests from the socket server, and notices from the sessions' rings;
 * then polls the engine while ip has room and a header buffer is free; then puts every touched connection into the
 * store. commit() makes that the state. publish() moves the slots' words and rings the applications. Payload that is
 * sent is lent by reference to where the application wrote it (servers/transport).
 *
 * Limits: CONNECTIONS_MAX connections and listeners; TCP_TIME_WAITS of TIME-WAIT; TRANSPORT_HEADER_BUFFERS segments on
 * loan; SERVER_BURST messages of each port a burst. At each limit things wait where they are (rings, arenas) or are
 * refused by a counted drop or an errno.
 *
 * Recovery: recover.c. */
#include <errno.h>
#include <string.h>

#include "servers/tcp/tcp_server.h"

_Static_assert(TCP_ECN_PASSIVE == (int)STACK_ECN_PASSIVE && TCP_ECN_OFF == (int)STACK_ECN_OFF &&
                   TCP_ECN_ON == (int)STACK_ECN_ON,
               "one is the other");

#define WARM_CONNECTIONS 64U

static struct tcp_config engine_config(const struct stack_config *config)
{
    struct tcp_config c = {
        .connections = CONNECTIONS_MAX, .time_waits = TCP_TIME_WAITS, .mtu = config->mtu, .gso = true,
        .ecn = (uint8_t)config->ecn, .congestion = config->congestion};
    memcpy(c.secret, config->secret, sizeof c.secret);
    return c;
}

static size_t store_size(void)
{
    return store_octets(sizeof(union tcp_stored), TCP_STORE_BLOCKS);
}

static size_t state_size(const struct stack_config *config)
{
    struct tcp_config c = engine_config(config);
    return transport_align64(sizeof(struct tcp_server)) + tcp_size(&c);
}

/* The engine as init() will make it: tables that are as large with any configuration. */
static void warm(void *state, size_t octets)
{
    static const struct stack_config any;
    struct tcp_server *s = state;
    struct tcp_config c = engine_config(&any);
    if (octets < state_size(&any))
        return;
    tcp_warm((uint8_t *)state + transport_align64(sizeof *s), &c, WARM_CONNECTIONS);
    transport_warm(&s->transport);
    memset(&s->engine, 0,
           offsetof(struct tcp_server, endpoint[TRANSPORT_WARM_ENDPOINTS]) - offsetof(struct tcp_server, engine));
}

static int init(void *state, const struct server_context *context, uint64_t now_us)
{
    struct tcp_server *s = state;
    if (!transport_context_ok(context, store_size()))
        return -EINVAL;
    int error = store_open_kinds(&s->store, context->store, TCP_STORE_VERSION, sizeof(union tcp_stored),
                                 TCP_STORE_BLOCKS, TCP_STORE_KINDS, s->current);
    if (error < 0)
        return error;
    s->store.off = context->config->no_commit;
    struct tcp_config c = engine_config(context->config);
    s->engine = tcp_init((uint8_t *)state + transport_align64(sizeof *s), &c, now_us);
    transport_init(&s->transport, context, &tcp_operations, s->endpoint, s->dirty, TCP_ENDPOINTS, now_us);
    tcp_work_init(s);
    tcp_recover_init(s);
    transport_recovered(&s->transport);
    return 0;
}

static bool burst(void *state, uint64_t now_us)
{
    struct tcp_server *s = state;
    struct transport *t = &s->transport;
    t->now_us = now_us;
    bool did = tcp_farewells_end(s);
    if (s->recovery.running) {
        did |= tcp_recover(s) || tcp_loans_in(s);
    } else {
        did |= tcp_packets_in(s, now_us);
        did |= transport_requests(t, now_us);
        did |= transport_notify(t, now_us);
    }
    did |= tcp_packets_out(s, now_us);
    did |= tcp_touched(s);
    return transport_burst_end(t, now_us, did);
}

static void commit(void *state)
{
    struct tcp_server *s = state;
    store_commit(&s->store);
}

static const char *const engine_counter_name[] = {
#define X(name) "tcp_" #name,
    TCP_COUNTERS(X)
#undef X
};

static void publish(void *state, uint64_t now_us)
{
    struct tcp_server *s = state;
    const struct transport_counter_list list[] = {
        {engine_counter_name, (const uint64_t *)tcp_counters(s->engine),
         sizeof(struct tcp_counters) / sizeof(uint64_t)},
    };
    transport_publish(&s->transport, now_us, list, sizeof list / sizeof list[0]);
}

static uint64_t deadline_us(const void *state)
{
    const struct tcp_server *s = state;
    const struct transport *t = &s->transport;
    uint64_t engine = tcp_deadline_us(s->engine);
    if (!t->ip->attached) /* timers wait until it is back */
        engine = UINT64_MAX;
    else if (t->blocked && engine < t->blocked_us + TRANSPORT_BLOCKED_US)
        engine = t->blocked_us + TRANSPORT_BLOCKED_US;
    uint64_t transport = transport_deadline_us(t);
    if (s->recovery.running && transport > t->now_us + TRANSPORT_BLOCKED_US)
        transport = t->now_us + TRANSPORT_BLOCKED_US;
    return engine < transport ? engine : transport;
}

static bool pending(void *state)
{
    struct tcp_server *s = state;
    if (s->recovery.running) /* notices wait until it is through, and it may have to wait itself */
        return !s->recovery.stuck;
    return s->recovery.kept_count > 0 || transport_notify_pending(&s->transport);
}

static void peer_lost(void *state, enum server_id peer)
{
    tcp_kept_forget(state, peer);
    transport_server_peer_lost(state, peer);
}

/* What they had of ours is lost, and so may be what peers said meanwhile. */
static void peer_attached(void *state, enum server_id peer, uint64_t now_us)
{
    struct tcp_server *s = state;
    transport_server_peer_attached(state, peer, now_us);
    if (peer == SERVER_IP || peer == SERVER_NIC)
        tcp_speak_again(s->engine);
}

/* What ends with it leaves the store with the commit that comes before the supervisor is told: the index may be
 * another's next. */
static void session_removed(void *state, uint32_t session)
{
    transport_server_session_removed(state, session);
    (void)tcp_touched(state);
}

const struct server server_tcp = {
    .name = "tcp",
    .pool_buffers = TRANSPORT_HEADER_BUFFERS,
    .pool_buffer_octets = TRANSPORT_HEADER_OCTETS,
    .store_size = store_size,
    .store_version = TCP_STORE_VERSION,
    .state_size = state_size,
    .warm = warm,
    .init = init,
    .burst = burst,
    .commit = commit,
    .publish = publish,
    .deadline_us = deadline_us,
    .pending = pending,
    .peer_lost = peer_lost,
    .peer_attached = peer_attached,
    .session_added = transport_server_session_added,
    .session_ended = transport_server_session_ended,
    .session_removed = session_removed,
};
