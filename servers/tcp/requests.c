// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>

#include "servers/addresses.h"
#include "servers/tcp/tcp_server.h"

static const int errno_of_call[] = {
    [TCP_CALL_OK] = 0,
    [TCP_CALL_TABLE_FULL] = ENOBUFS,
    [TCP_CALL_IN_USE] = EADDRINUSE,
    [TCP_CALL_NO_PORT] = EADDRNOTAVAIL,
    [TCP_CALL_BAD_STATE] = EINVAL,
};

/* The engine's any-address of both families is ADDRESS_NONE; the socket server asks for it as :: without V6_ONLY. */
static struct ip_address listen_address(const struct message *m)
{
    bool only = (m->socket.argument[1] >> CONTROL_OPTION_V6_ONLY & 1) != 0;
    bool both = m->source.family == ADDRESS_IP6 && ip_address_is_any(&m->source) && !only;
    return both ? (struct ip_address){0} : m->source;
}

static bool is_on(const struct endpoint *e, enum control_option option)
{
    return (e->options >> option & 1) != 0;
}

void tcp_options_apply(struct tcp_server *s, const struct endpoint *e, uint32_t connection)
{
    const struct message_options *o = &e->tuning.options;
    const struct tcp_options options = {.nodelay = is_on(e, CONTROL_OPTION_NODELAY),
                                        .keepalive = is_on(e, CONTROL_OPTION_KEEPALIVE),
                                        .linger_reset = is_on(e, CONTROL_OPTION_LINGER_RESET),
                                        .keep_idle_s = o->keep_idle_s,
                                        .keep_interval_s = o->keep_interval_s,
                                        .keep_count = o->keep_count,
                                        .maximum_segment = o->maximum_segment,
                                        .congestion = o->congestion,
                                        .user_timeout_ms = e->tuning.user_timeout_ms};
    tcp_set_options(s->engine, s->transport.now_us, connection, &options);
}

/* The ring sizes that were asked for; 0: any. */
static struct session_arena sizes_wanted(const struct endpoint *e)
{
    const struct endpoint_tuning *t = &e->tuning;
    return (struct session_arena){.send_size = t->send_log2 > 0 && t->send_log2 < 32 ? 1U << t->send_log2 : 0,
                                  .receive_size =
                                      t->receive_log2 > 0 && t->receive_log2 < 32 ? 1U << t->receive_log2 : 0};
}

static int listen_new(struct tcp_server *s, const struct message *m, uint32_t *ret_endpoint)
{
    struct transport *t = &s->transport;
    int error = transport_new_socket_error(t, m);
    if (error != 0)
        return error;
    if (m->source_port == 0)
        return EINVAL;
    uint32_t e = endpoint_new(t, m->socket.session, m->socket.socket, TRANSPORT_NONE);
    if (e == TRANSPORT_NONE)
        return ENOBUFS;
    endpoint_set_options(&t->endpoint[e], m);
    const struct session_arena wanted = sizes_wanted(&t->endpoint[e]);
    const struct session_arena *sizes = transport_first_arena(t, m->socket.session, &wanted);
    if (sizes == NULL) {
        endpoint_release(t, e);
        return ENOBUFS;
    }
    const struct tcp_identity id = {.local = listen_address(m),
                                    .local_port = m->source_port,
                                    .owner = m->socket.socket,
                                    .session = m->socket.session,
                                    .arena = UINT32_MAX};
    uint32_t index;
    enum tcp_call_result result =
        tcp_listen(s->engine, &id, m->socket.argument[0], sizes->receive_size, sizes->send_size, &index);
    if (result != TCP_CALL_OK) {
        endpoint_release(t, e);
        return errno_of_call[result];
    }
    tcp_ring_limits(s->engine, index, sizes->receive_most, sizes->send_most);
    t->endpoint[e].connection = index;
    s->endpoint_of[index] = (uint16_t)(e + 1);
    tcp_options_apply(s, &t->endpoint[e], index);
    *ret_endpoint = e;
    return 0;
}

/* A request that is repeated, or a new backlog. */
static int listen_again(struct tcp_server *s, const struct message *m, uint32_t endpoint)
{
    struct endpoint *e = &s->transport.endpoint[endpoint];
    if (e->connection == TRANSPORT_NONE)
        return EINVAL;
    enum tcp_call_result result = tcp_set_backlog(s->engine, e->connection, m->socket.argument[0]);
    if (result != TCP_CALL_OK)
        return errno_of_call[result];
    endpoint_set_options(e, m);
    tcp_options_apply(s, e, e->connection);
    tcp_block_put(s, e->connection);
    return 0;
}

/* Where from; NULL: nowhere. `to` is not m's: a loopback address is its own source. */
static const struct ip_address *connect_source(const struct transport *t, const struct message *m)
{
    return ip_address_is_any(&m->source) ? address_source(t->context->config, &m->destination) : &m->source;
}

static int remote_error(const struct transport *t, const struct message *m)
{
    const struct ip_address *to = &m->destination;
    if (!address_family_known(to->family) || address_is_mapped(to) ||
        (m->source.family != to->family && !ip_address_is_any(&m->source)))
        return EAFNOSUPPORT;
    if (m->destination_port == 0)
        return ECONNREFUSED;
    if (ip_address_is_any(to) || address_is_multicast(to) || address_is_broadcast(t->context->config, to) ||
        (to->family == ADDRESS_IP4 && to->octets[0] >= 240))
        return ENETUNREACH;
    const struct ip_address *from = connect_source(t, m);
    if (from == NULL)
        return ENETUNREACH;
    return address_reaches(t->context->config, from, to) ? 0 : EINVAL;
}

static int connect_engine(struct tcp_server *s, uint64_t now_us, const struct message *m, uint32_t endpoint)
{
    struct transport *t = &s->transport;
    struct endpoint *e = &t->endpoint[endpoint];
    endpoint_set_options(e, m);
    const struct session_arena wanted = sizes_wanted(e);
    if (!slot_take(t, endpoint, &wanted))
        return ENOBUFS;
    const struct session_arena *a = slot_arena(t, e);
    const struct tcp_identity id = {.local = *connect_source(t, m),
                                    .remote = m->destination,
                                    .local_port = m->source_port,
                                    .remote_port = m->destination_port,
                                    .owner = m->socket.socket,
                                    .session = e->session,
                                    .arena = e->arena,
                                    .slot = e->slot,
                                    .generation = e->generation};
    uint32_t index;
    enum tcp_call_result result = tcp_connect(s->engine, now_us, &id, a->receive_size, a->send_size, &index);
    if (result != TCP_CALL_OK)
        return errno_of_call[result];
    tcp_ring_limits(s->engine, index, a->receive_most, a->send_most);
    e->connection = index;
    s->endpoint_of[index] = (uint16_t)(endpoint + 1);
    tcp_options_apply(s, e, index);
    return 0;
}

static int connect_new(struct tcp_server *s, uint64_t now_us, const struct message *m, uint32_t *ret_endpoint)
{
    struct transport *t = &s->transport;
    int error = transport_new_socket_error(t, m);
    if (error == 0)
        error = remote_error(t, m);
    if (error != 0)
        return error;
    uint32_t e = endpoint_new(t, m->socket.session, m->socket.socket, TRANSPORT_NONE);
    if (e == TRANSPORT_NONE)
        return ENOBUFS;
    error = connect_engine(s, now_us, m, e);
    if (error != 0) {
        endpoint_release(t, e);
        return error;
    }
    *ret_endpoint = e;
    return 0;
}

static void make(struct tcp_server *s, uint64_t now_us, const struct message *m)
{
    uint32_t e = endpoint_of_socket(&s->transport, m->socket.socket);
    int error = 0;
    if (e == TRANSPORT_NONE)
        error = m->operation == MESSAGE_LISTEN ? listen_new(s, m, &e) : connect_new(s, now_us, m, &e);
    else if (m->operation == MESSAGE_LISTEN)
        error = listen_again(s, m, e);
    transport_answer(&s->transport, m, e, error);
}

/* The socket server has an owner for a connection (or says in its list that it had), with options that are its own from
 * then on: those of its listener at this time, where we gave it those of the time it came. */
static void accepted(struct tcp_server *s, const struct message *m)
{
    struct transport *t = &s->transport;
    uint32_t index = endpoint_find(t, &m->socket);
    if (index == TRANSPORT_NONE || m->socket.socket == 0 || (m->socket.socket & 0xffff) >= SOCKETS_MAX) {
        t->counters.drop_accepted_unknown++;
        struct message lost;
        transport_message_about(t, TRANSPORT_NONE, MESSAGE_LOST, &lost);
        lost.socket = m->socket;
        lost.socket.error = ECONNRESET;
        if (m->socket.socket != 0 && port_push(t->socket, &lost))
            t->counters.notices++;
        return;
    }
    struct endpoint *e = &t->endpoint[index];
    if (e->socket != 0)
        return; /* repeated */
    endpoint_own(t, index, m->socket.socket);
    e->listener = 0;
    e->flags &= (uint16_t)~ENDPOINT_ESTABLISHED;
    endpoint_set_options(e, m);
    if (e->connection == TRANSPORT_NONE) { /* over already: its slot says so */
        tcp_held_put(s, index);
        return;
    }
    tcp_accepted(s->engine, e->connection);
    tcp_options_apply(s, e, e->connection);
    tcp_block_put(s, e->connection);
}

static void set_option(struct tcp_server *s, const struct message *m)
{
    struct transport *t = &s->transport;
    uint32_t e = endpoint_find(t, &m->socket);
    int error = 0;
    if (e == TRANSPORT_NONE) {
        error = ENOTCONN;
    } else {
        uint32_t connection = t->endpoint[e].connection;
        endpoint_set_options(&t->endpoint[e], m);
        if (connection != TRANSPORT_NONE) {
            tcp_options_apply(s, &t->endpoint[e], connection);
            tcp_block_put(s, connection);
        }
    }
    transport_answer(t, m, e, error);
}

void tcp_request(struct transport *t, uint64_t now_us, const struct message *m)
{
    struct tcp_server *s = tcp_server_of(t);
    switch (m->operation) {
    case MESSAGE_LISTEN:
    case MESSAGE_CONNECT:
        make(s, now_us, m);
        break;
    case MESSAGE_ACCEPTED:
    case MESSAGE_OWNED:
        accepted(s, m);
        break;
    case MESSAGE_SET_OPTION:
        set_option(s, m);
        break;
    default: /* BIND: ports of tcp sockets are the socket server's until they listen or connect */
        transport_answer(t, m, TRANSPORT_NONE, EOPNOTSUPP);
    }
}
