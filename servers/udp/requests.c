// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>

#include "servers/addresses.h"
#include "servers/udp/udp_server.h"

static const int errno_of_call[] = {
    [UDP_CALL_OK] = 0,
    [UDP_CALL_TABLE_FULL] = ENOBUFS,
    [UDP_CALL_IN_USE] = EADDRINUSE,
    [UDP_CALL_NO_PORT] = EADDRNOTAVAIL,
    [UDP_CALL_BAD_STATE] = EINVAL,
};

/* Where the socket server says :: both families are meant, unless only IPv6 is wanted. */
static struct ip_address bound_address(const struct message *m)
{
    bool only = (m->socket.argument[1] >> CONTROL_OPTION_V6_ONLY & 1) != 0;
    bool both = m->source.family == ADDRESS_IP6 && ip_address_is_any(&m->source) && !only;
    return both ? (struct ip_address){0} : m->source;
}

/* One that we have lost (a flood closed it, or the store is gone) and its owner has not comes with the slot that it
 * has. */
static bool take_slot(struct udp_server *s, const struct message *m, uint32_t index)
{
    if (m->socket.arena != TRANSPORT_NONE && m->socket.generation != 0)
        return udp_slot_again(s, index, &m->socket);
    uint32_t tuning = m->socket.argument[2], send_log2 = tuning >> 16 & 0x1f, receive_log2 = tuning >> 24 & 0x1f;
    const struct session_arena wanted = {.send_size = 1U << send_log2, .receive_size = 1U << receive_log2};
    return slot_take(&s->transport, index, send_log2 != 0 && receive_log2 != 0 ? &wanted : NULL);
}

static int bind_new(struct udp_server *s, const struct message *m, uint32_t *ret_endpoint)
{
    struct transport *t = &s->transport;
    int error = transport_new_socket_error(t, m);
    if (error != 0)
        return error;
    uint32_t index = endpoint_new(t, m->socket.session, m->socket.socket, TRANSPORT_NONE);
    if (index == TRANSPORT_NONE)
        return ENOBUFS;
    s->side[index].receive_tail = s->side[index].send_head = s->side[index].send_next = 0;
    if (!take_slot(s, m, index)) {
        endpoint_release(t, index);
        return ENOBUFS;
    }
    uint32_t binding;
    struct endpoint *e = &t->endpoint[index];
    endpoint_set_options(e, m);
    e->words.path_mtu = t->context->config->mtu;
    const struct ip_address local = bound_address(m);
    enum udp_call_result result =
        udp_bind(s->engine, &local, m->source_port, udp_option(e, CONTROL_OPTION_REUSE_ADDRESS), index, &binding);
    if (result != UDP_CALL_OK) {
        endpoint_release(t, index);
        return errno_of_call[result];
    }
    e->connection = binding;
    udp_touch(s, index);
    *ret_endpoint = index;
    return 0;
}

static void request_bind(struct udp_server *s, const struct message *m)
{
    uint32_t index = endpoint_of_socket(&s->transport, m->socket.socket);
    int error = index == TRANSPORT_NONE ? bind_new(s, m, &index) : 0;
    transport_answer(&s->transport, m, index, error);
}

/* Errors as Linux has them. 0: may be. */
static int remote_error(const struct udp_server *s, const struct endpoint *e, const struct ip_address *to)
{
    const struct udp_binding *b = udp_binding_at(s->engine, e->connection);
    if (to->family == ADDRESS_NONE)
        return 0;
    if (!address_family_known(to->family) || address_is_mapped(to))
        return EAFNOSUPPORT;
    if (b == NULL || (b->bound.family != ADDRESS_NONE && b->bound.family != to->family))
        return EAFNOSUPPORT;
    if (address_is_broadcast(s->transport.context->config, to) && !udp_option(e, CONTROL_OPTION_BROADCAST))
        return EACCES;
    if (!address_reaches(s->transport.context->config, &b->bound, to))
        return EINVAL;
    return address_source(s->transport.context->config, to) == NULL ? ENETUNREACH : 0;
}

static int connect_error(struct udp_server *s, uint32_t endpoint, const struct message *m)
{
    static const struct ip_address none;
    struct transport *t = &s->transport;
    struct endpoint *e = &t->endpoint[endpoint];
    int error = remote_error(s, e, &m->destination);
    if (error != 0)
        return error;
    const struct ip_address *local = address_source(t->context->config, &m->destination);
    enum udp_call_result result =
        udp_connect(s->engine, e->connection, local != NULL ? local : &none, &m->destination, m->destination_port);
    if (result == UDP_CALL_OK) {
        e->words.path_mtu = t->context->config->mtu;
        udp_touch(s, endpoint);
    }
    return errno_of_call[result];
}

static void request_connect(struct udp_server *s, const struct message *m)
{
    uint32_t index = endpoint_of_socket(&s->transport, m->socket.socket);
    int error = index == TRANSPORT_NONE ? bind_new(s, m, &index) : 0;
    if (error == 0)
        error = connect_error(s, index, m);
    transport_answer(&s->transport, m, index, error);
}

static void request_option(struct udp_server *s, const struct message *m)
{
    struct transport *t = &s->transport;
    uint32_t index = endpoint_of_socket(t, m->socket.socket);
    if (index != TRANSPORT_NONE) {
        endpoint_set_options(&t->endpoint[index], m);
        udp_touch(s, index);
    }
    transport_answer(t, m, index, index != TRANSPORT_NONE ? 0 : ENOTCONN);
}

void udp_request(struct transport *t, uint64_t now_us, const struct message *m)
{
    (void)now_us;
    struct udp_server *s = udp_server_of(t);
    switch (m->operation) {
    case MESSAGE_BIND:
        request_bind(s, m);
        break;
    case MESSAGE_CONNECT:
        request_connect(s, m);
        break;
    case MESSAGE_SET_OPTION:
        request_option(s, m);
        break;
    case MESSAGE_LISTEN:
        transport_answer(t, m, TRANSPORT_NONE, EOPNOTSUPP);
        break;
    default: /* ACCEPTED */
        t->counters.drop_operation++;
    }
}
