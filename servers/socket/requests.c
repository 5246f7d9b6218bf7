// SPDX-License-Identifier: BSD-2-Clause
/* What applications ask for, one function an operation, errors as POSIX names them. An operation that needs the
 * transport leaves its request in the socket's block and ends in transport.c when the answer comes. */
#include <errno.h>
#include <string.h>

#include "protocols/ip4/ip4.h"
#include "servers/socket/socket_internal.h"


/* ---- checks ---- */
static bool family_known(const struct socket_server *server, uint8_t family)
{
    const struct stack_config *config = server->context->config;
    for (uint32_t i = 0; i < config->address_count && i < STACK_ADDRESSES_MAX; i++) {
        if (config->address[i].family == family)
            return true;
    }
    return false;
}

static bool address_local(const struct socket_server *server, const struct ip_address *address)
{
    const struct stack_config *config = server->context->config;
    if (ip_address_is_any(address))
        return true;
    for (uint32_t i = 0; i < config->address_count && i < STACK_ADDRESSES_MAX; i++) {
        if (ip_address_equal(&config->address[i], address))
            return true;
    }
    return false;
}

/* Untrusted: address. 0 or EAFNOSUPPORT; *ret has no stray octets. */
static int address_take(const struct socket_server *server, const struct ip_address *address, struct ip_address *ret)
{
    if ((address->family != ADDRESS_IP4 && address->family != ADDRESS_IP6) || !family_known(server, address->family))
        return EAFNOSUPPORT;
    struct ip_address copy = {.family = address->family};
    memcpy(copy.octets, address->octets, address->family == ADDRESS_IP4 ? 4 : sizeof copy.octets);
    *ret = copy;
    return 0;
}

static int quota_check(const struct socket_server *server, uint32_t session, uint32_t descriptor)
{
    if (descriptor >= SESSION_DESCRIPTORS)
        return EINVAL;
    if (server->session[session].sockets.count >= server->context->session[session].socket_quota)
        return EMFILE;
    return 0;
}

/* 0 or EACCES. */
static int policy_check(struct socket_server *server, const struct call *call, uint32_t operation,
                        const struct ip_address *address, uint16_t port)
{
    const struct session *session = &server->context->session[call->session];
    uint8_t protocol = call->socket->block.transport == SESSION_TCP ? IP_PROTOCOL_TCP : IP_PROTOCOL_UDP;
    if (request_permitted(session, operation, protocol, address, port))
        return 0;
    server->counters.refused_by_policy++;
    return EACCES;
}

static int wait_for(struct socket_server *server, const struct call *call, uint8_t operation)
{
    request_start(server, call->socket, operation, call->lane, call->sequence);
    return CALL_WAITS;
}

/* ---- operations ---- */
static int call_socket(struct socket_server *server, struct call *call)
{
    uint32_t transport = call->request.argument[0], descriptor = call->request.argument[1];
    if (transport >= SESSION_TRANSPORTS || server->peer[transport].port == NULL)
        return EPROTONOSUPPORT;
    int error = quota_check(server, call->session, descriptor);
    if (error != 0)
        return error;
    call->socket = socket_new(server, call->session, (uint8_t)transport, descriptor);
    return call->socket == NULL ? ENOBUFS : 0;
}

/* tcp: the name is kept here. 0, EADDRINUSE. */
static int bind_here(struct socket_server *server, struct socket_entry *entry, const struct ip_address *address,
                     uint16_t port)
{
    if (port == 0)
        port = name_choose(server, entry, address);
    else if (name_conflict(server, entry, address, port, false))
        return EADDRINUSE;
    if (port == 0)
        return EADDRINUSE;
    entry->block.local = *address;
    entry->block.local_port = port;
    entry->block.state = SOCKET_BOUND;
    name_hold(server, entry);
    socket_changed(server, entry);
    return 0;
}

static int call_bind(struct socket_server *server, struct call *call)
{
    struct socket_block *block = &call->socket->block;
    struct ip_address address;
    if (block->state != SOCKET_OPEN)
        return EINVAL;
    int error = address_take(server, &call->request.address, &address);
    if (error != 0)
        return error;
    if (!address_local(server, &address))
        return EADDRNOTAVAIL;
    error = policy_check(server, call, CONTROL_BIND, &address, call->request.port);
    if (error != 0)
        return error;
    if (block->transport == SESSION_TCP)
        return bind_here(server, call->socket, &address, call->request.port);
    block->local = address;
    block->local_port = call->request.port;
    return wait_for(server, call, MESSAGE_BIND);
}

static uint32_t backlog_take(uint32_t wanted) /* Untrusted: wanted, an int there */
{
    int32_t backlog = (int32_t)wanted;
    return backlog < 1 ? 1 : backlog > (int32_t)BACKLOG_MAX ? BACKLOG_MAX : (uint32_t)backlog;
}

static int call_listen(struct socket_server *server, struct call *call)
{
    struct socket_block *block = &call->socket->block;
    if (block->transport != SESSION_TCP)
        return EOPNOTSUPP;
    if (block->state == SOCKET_LISTENING) /* Deviates: POSIX would have the backlog changed; it stays */
        return 0;
    if (block->state != SOCKET_OPEN && block->state != SOCKET_BOUND)
        return EINVAL;
    if (block->state == SOCKET_OPEN) {
        struct ip_address any = {.family = server->context->config->address[0].family};
        int error = policy_check(server, call, CONTROL_LISTEN, &any, 0);
        if (error == 0)
            error = bind_here(server, call->socket, &any, 0);
        if (error != 0)
            return error;
    }
    if (name_conflict(server, call->socket, &block->local, block->local_port, true))
        return EADDRINUSE;
    block->backlog = backlog_take(call->request.argument[0]);
    return wait_for(server, call, MESSAGE_LISTEN);
}

static int connect_start(struct socket_server *server, struct call *call, const struct ip_address *remote,
                         uint16_t port)
{
    struct socket_block *block = &call->socket->block;
    bool bind_first = block->transport == SESSION_UDP && block->state == SOCKET_OPEN;
    if (bind_first)
        block->local = (struct ip_address){.family = remote->family};
    int result = wait_for(server, call, bind_first ? MESSAGE_BIND : MESSAGE_CONNECT);
    block->request.then_connect = bind_first;
    block->request.address = *remote;
    block->request.port = port;
    return result;
}

static int call_connect(struct socket_server *server, struct call *call)
{
    struct socket_block *block = &call->socket->block;
    struct ip_address remote;
    if (block->state == SOCKET_LISTENING)
        return EOPNOTSUPP;
    if (block->state == SOCKET_CONNECTED && block->transport == SESSION_TCP)
        return EISCONN;
    if (block->transport == SESSION_UDP && call->request.address.family == ADDRESS_NONE) { /* dissolve */
        if (block->state == SOCKET_OPEN)
            return 0;
        return connect_start(server, call, &(struct ip_address){0}, 0);
    }
    int error = address_take(server, &call->request.address, &remote);
    if (error != 0)
        return error;
    if (block->local.family != ADDRESS_NONE && block->local.family != remote.family)
        return EAFNOSUPPORT;
    if (ip_address_is_any(&remote) || call->request.port == 0)
        return EADDRNOTAVAIL;
    error = policy_check(server, call, CONTROL_CONNECT, &remote, call->request.port);
    return error != 0 ? error : connect_start(server, call, &remote, call->request.port);
}

static void accepted_fill(struct socket_block *block, uint32_t index, const struct connection *connection)
{
    block->state = SOCKET_CONNECTED;
    block->connection = index;
    block->arena = connection->arena;
    block->slot = connection->slot;
    block->slot_generation = connection->generation;
    block->local = connection->local;
    block->remote = connection->remote;
    block->local_port = connection->local_port;
    block->remote_port = connection->remote_port;
}

static int call_accept(struct socket_server *server, struct call *call)
{
    struct socket_entry *listener = call->socket;
    if (listener->block.transport != SESSION_TCP)
        return EOPNOTSUPP;
    if (listener->block.state != SOCKET_LISTENING)
        return EINVAL;
    int error = quota_check(server, call->session, call->request.argument[1]);
    if (error != 0)
        return error;
    uint32_t index = listener->queue.head;
    if (index == INDEX_NONE)
        return EAGAIN;
    struct socket_entry *entry = socket_new(server, call->session, SESSION_TCP, call->request.argument[1]);
    if (entry == NULL)
        return ENOBUFS;
    struct connection *connection = &server->connection[index];
    connection_forget(server, index);
    connection->state = CONNECTION_OWNED;
    connection->socket = entry->block.id;
    accepted_fill(&entry->block, index, connection);
    entry->block.options = listener->block.options & 1U << CONTROL_OPTION_NODELAY;
    entry->send_accepted = true;
    if (entry->block.options != 0) {
        request_start(server, entry, MESSAGE_SET_OPTION, LANE_NONE, 0);
        entry->block.request.argument[0] = CONTROL_OPTION_NODELAY;
        entry->block.request.argument[1] = 1;
    }
    peer_queue(server, entry);
    server->counters.accepts++;
    call->socket = entry;
    return 0;
}

void socket_close(struct socket_server *server, struct socket_entry *entry)
{
    bool tell = socket_at_transport(entry);
    request_end(server, entry, EBADF); /* whoever waits for this socket on another lane */
    if (!tell) {
        socket_free(server, entry);
        return;
    }
    listener_drop_queue(server, entry);
    name_release(server, entry);
    entry->block.state = SOCKET_CLOSING;
    request_start(server, entry, MESSAGE_CLOSE, LANE_NONE, 0);
}

static int call_close(struct socket_server *server, struct call *call)
{
    socket_close(server, call->socket);
    call->socket = NULL;
    return 0;
}

static int call_set_option(struct socket_server *server, struct call *call)
{
    struct socket_block *block = &call->socket->block;
    uint32_t option = call->request.argument[0], value = call->request.argument[1] != 0;
    bool nodelay = option == CONTROL_OPTION_NODELAY && block->transport == SESSION_TCP;
    if (!nodelay && option != CONTROL_OPTION_REUSE_ADDRESS)
        return ENOPROTOOPT;
    block->options = (block->options & ~(1U << option)) | value << option;
    socket_changed(server, call->socket);
    if (!nodelay || block->state != SOCKET_CONNECTED)
        return 0;
    wait_for(server, call, MESSAGE_SET_OPTION);
    block->request.argument[0] = option;
    block->request.argument[1] = value;
    return CALL_WAITS;
}

/* ---- the table ---- */
struct operation {
    int (*run)(struct socket_server *server, struct call *call);
    bool alone;  /* not while the transport works on an earlier request for the socket */
    bool living; /* not when the transport has let go of it */
};
static const struct operation operations[] = {
    [CONTROL_SOCKET] = {call_socket, false, false},       [CONTROL_BIND] = {call_bind, true, true},
    [CONTROL_LISTEN] = {call_listen, true, true},         [CONTROL_CONNECT] = {call_connect, true, true},
    [CONTROL_ACCEPT] = {call_accept, false, true},        [CONTROL_CLOSE] = {call_close, false, false},
    [CONTROL_SET_OPTION] = {call_set_option, true, true},
};

static struct socket_entry *socket_of(struct socket_server *server, const struct call *call)
{
    struct socket_entry *entry = socket_lookup(server, call->request.socket);
    if (entry == NULL || call->request.generation != entry->block.id >> 16)
        return NULL;
    if (entry->block.session != call->session || entry->block.state == SOCKET_CLOSING)
        return NULL;
    return entry;
}

int call_run(struct socket_server *server, struct call *call)
{
    uint32_t number = call->request.operation;
    if (number >= sizeof operations / sizeof operations[0] || operations[number].run == NULL)
        return EOPNOTSUPP;
    const struct operation *operation = &operations[number];
    if (number != CONTROL_SOCKET) {
        call->socket = socket_of(server, call);
        if (call->socket == NULL)
            return EBADF;
        const struct socket_block *block = &call->socket->block;
        if (operation->living && block->state == SOCKET_GONE)
            return block->error != 0 ? block->error : EINVAL;
        /* An option that nobody waits for (it came with a connection) gives way to the next one. */
        bool gives_way = number == CONTROL_SET_OPTION && block->request.operation == MESSAGE_SET_OPTION &&
                         block->request.lane == LANE_NONE;
        if (operation->alone && block->request.cookie != 0 && !gives_way)
            return EALREADY;
    }
    return operation->run(server, call);
}
