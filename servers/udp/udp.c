// SPDX-License-Identifier: BSD-2-Clause
/* The UDP server: bindings of protocols/udp between ip, the socket server and the applications' arenas.
 *
 * Theory of operation. A burst takes datagrams from ip (header copied once, payload copied once into a record of the
 * receive ring, the loan returned at once; nobody there: ip is asked for an ICMP error), requests from the socket
 * server, and notices from the sessions' rings; then sockets with records to send have their turns while ip has room
 * and a header buffer is free. Payload goes out by reference to where the application wrote it (servers/transport).
 * Sockets that changed are put into the store; commit() makes that the state, publish() moves the slots' words and
 * rings the applications.
 *
 * Errors that no call waits for (ICMP about a connected socket's datagrams, a broadcast without leave, too long for the
 * path with DONT_FRAGMENT) are told by the slot's error and error_count, and kept in the store until then.
 *
 * A socket on :: is bound to ADDRESS_NONE in the engine, both families, unless V6_ONLY; IPv4 senders are shown as IPv4.
 *
 * Limits: DATAGRAM_SOCKETS_MAX sockets; a full receive ring drops (counted, for the socket too), as UDP may; a lie in
 * the send ring costs what was written before it; DATAGRAM_MOST octets a datagram, taken apart and put together by ip.
 *
 * Left out: multicast groups to join, UDP-Lite, jumbograms, errors of sockets without a peer (counted).
 * Read RFC 768 and RFC 1122 4.1. */
#include <errno.h>
#include <string.h>

#include "servers/udp/udp_server.h"

static struct udp_config engine_config(const struct stack_config *config)
{
    struct udp_config c = {.bindings = DATAGRAM_SOCKETS_MAX};
    memcpy(c.secret, config->secret, sizeof c.secret);
    return c;
}

static size_t store_size(void)
{
    return store_octets(sizeof(struct udp_block), DATAGRAM_SOCKETS_MAX);
}

static size_t state_size(const struct stack_config *config)
{
    struct udp_config c = engine_config(config);
    return transport_align64(sizeof(struct udp_server)) + udp_size(&c);
}

static void warm(void *state, size_t octets)
{
    struct udp_server *s = state;
    size_t rest = offsetof(struct udp_server, engine);
    transport_warm(&s->transport);
    memset((uint8_t *)state + rest, 0, octets - rest); /* init() has most of it zeroed once more */
}

static int init(void *state, const struct server_context *context, uint64_t now_us)
{
    struct udp_server *s = state;
    if (!transport_context_ok(context, store_size()))
        return -EINVAL;
    int error = store_open(&s->store, context->store, UDP_STORE_VERSION, sizeof(struct udp_block), DATAGRAM_SOCKETS_MAX,
                           s->current);
    if (error < 0)
        return error;
    s->store.off = context->config->no_commit;
    struct udp_config c = engine_config(context->config);
    s->engine = udp_init((uint8_t *)state + transport_align64(sizeof *s), &c, now_us);
    transport_init(&s->transport, context, &udp_operations, s->endpoint, s->dirty, DATAGRAM_SOCKETS_MAX, now_us);
    udp_recover(s);
    transport_recovered(&s->transport);
    return 0;
}

static bool burst(void *state, uint64_t now_us)
{
    struct udp_server *s = state;
    struct transport *t = &s->transport;
    t->now_us = now_us;
    bool did = !s->begun;
    if (!s->begun)
        transport_forget_absent(t);
    s->begun = true;
    did |= udp_packets_in(s);
    did |= transport_requests(t, now_us);
    did |= transport_notify(t, now_us);
    did |= udp_packets_out(s);
    udp_blocks_put(s);
    return transport_burst_end(t, now_us, did);
}

static void commit(void *state)
{
    struct udp_server *s = state;
    store_commit(&s->store);
}

static const char *const engine_counter_name[] = {
#define X(name) "udp_" #name,
    UDP_COUNTERS(X)
#undef X
};
static const char *const own_counter_name[] = {
#define X(name) #name,
    UDP_SERVER_COUNTERS(X)
#undef X
};

static void publish(void *state, uint64_t now_us)
{
    struct udp_server *s = state;
    const struct transport_counter_list list[] = {
        {own_counter_name, (const uint64_t *)&s->counters, sizeof s->counters / sizeof(uint64_t)},
        {engine_counter_name, (const uint64_t *)udp_counters(s->engine),
         sizeof(struct udp_counters) / sizeof(uint64_t)},
    };
    transport_publish(&s->transport, now_us, list, sizeof list / sizeof list[0]);
}

static uint64_t deadline_us(const void *state)
{
    const struct udp_server *s = state;
    return transport_deadline_us(&s->transport);
}

static bool pending(void *state)
{
    struct udp_server *s = state;
    bool turns = s->ready_first != 0 && !s->transport.blocked && s->transport.ip->attached;
    return turns || transport_notify_pending(&s->transport);
}

const struct server server_udp = {
    .name = "udp",
    .pool_buffers = TRANSPORT_HEADER_BUFFERS,
    .pool_buffer_octets = TRANSPORT_HEADER_OCTETS,
    .store_size = store_size,
    .store_version = UDP_STORE_VERSION,
    .state_size = state_size,
    .warm = warm,
    .init = init,
    .burst = burst,
    .commit = commit,
    .publish = publish,
    .deadline_us = deadline_us,
    .pending = pending,
    .peer_lost = transport_server_peer_lost,
    .peer_attached = transport_server_peer_attached,
    .session_added = transport_server_session_added,
    .session_ended = transport_server_session_ended,
    .session_removed = transport_server_session_removed,
};
