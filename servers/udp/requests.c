// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>

#include "servers/udp/udp_server.h"

static const int errno_of_call[] = {
    [UDP_CALL_OK] = 0,
    [UDP_CALL_TABLE_FULL] = ENOBUFS,
    [UDP_CALL_IN_USE] = EADDRINUSE,
    [UDP_CALL_NO_PORT] = EADDRNOTAVAIL,
    [UDP_CALL_BAD_STATE] = EINVAL,
};

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
    if (!slot_take(t, index, NULL)) {
        endpoint_release(t, index);
        return ENOBUFS;
    }
    uint32_t binding;
    bool shared = m->operation == MESSAGE_BIND && m->socket.argument[0] != 0;
    enum udp_call_result result = udp_bind(s->engine, &m->source, m->source_port, shared, index, &binding);
    if (result != UDP_CALL_OK) {
        endpoint_release(t, index);
        return errno_of_call[result];
    }
    t->endpoint[index].connection = binding;
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

static int connect_error(struct udp_server *s, uint32_t endpoint, const struct message *m)
{
    struct transport *t = &s->transport;
    const struct ip_address *local = transport_local(t, ADDRESS_IP4);
    if (m->destination.family != ADDRESS_NONE && m->destination.family != ADDRESS_IP4)
        return EAFNOSUPPORT;
    if (local == NULL)
        return EADDRNOTAVAIL;
    enum udp_call_result result =
        udp_connect(s->engine, t->endpoint[endpoint].connection, local, &m->destination, m->destination_port);
    if (result == UDP_CALL_OK)
        udp_touch(s, endpoint);
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
    case MESSAGE_SET_OPTION: /* none that says anything to udp after the bind */
        transport_answer(t, m, endpoint_of_socket(t, m->socket.socket), 0);
        break;
    case MESSAGE_LISTEN:
        transport_answer(t, m, TRANSPORT_NONE, EOPNOTSUPP);
        break;
    default: /* ACCEPTED */
        t->counters.drop_operation++;
    }
}
