// SPDX-License-Identifier: BSD-2-Clause
/* What applications ask for, one function an operation, errors as POSIX names them. An operation that needs the
 * transport leaves its request in the socket's block and ends in transport.c when the answer comes. */
#include <errno.h>
#include <string.h>

#include "protocols/tcp/tcp.h"
#include "servers/addresses.h"
#include "servers/socket/socket_internal.h"

/* ---- checks ---- */
static bool family_known(const struct socket_server *server, uint8_t family)
{
    const struct stack_config *config = server->context->config;
    for (uint32_t i = 0; i < address_count(config); i++) {
        if (config->address[i].family == family)
            return true;
    }
    return false;
}

/* Untrusted: address. It is left without stray octets, so that addresses can be compared. */
static void address_clean(struct ip_address *address)
{
    struct ip_address copy = {.family = address->family};
    if (address->family != ADDRESS_NONE)
        memcpy(copy.octets, address->octets, address->family == ADDRESS_IP4 ? 4 : sizeof copy.octets);
    *address = copy;
}

/* 0 or EAFNOSUPPORT. */
static int address_check(const struct socket_server *server, const struct ip_address *address)
{
    bool speaks = address_family_known(address->family) && family_known(server, address->family);
    return speaks && !address_is_mapped(address) ? 0 : EAFNOSUPPORT;
}

static int quota_check(const struct socket_server *server, uint32_t session, uint32_t descriptor)
{
    if (descriptor >= SESSION_DESCRIPTORS)
        return EINVAL;
    if (server->session[session].sockets.count >= server->context->session[session].socket_quota)
        return EMFILE;
    return 0;
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
    const struct ip_address *address = &call->request.address;
    if (block->state != SOCKET_OPEN)
        return EINVAL;
    int error = address_check(server, address);
    if (error != 0)
        return error;
    if (!ip_address_is_any(address) && !address_is_ours(server->context->config, address))
        return EADDRNOTAVAIL;
    if (block->transport == SESSION_TCP)
        return bind_here(server, call->socket, address, call->request.port);
    block->local = *address;
    block->local_port = call->request.port;
    return wait_for(server, call, MESSAGE_BIND);
}

static uint32_t backlog_take(uint32_t wanted) /* Untrusted: wanted, an int there */
{
    int32_t backlog = (int32_t)wanted;
    return backlog < 1 ? 1 : backlog > (int32_t)BACKLOG_MAX ? BACKLOG_MAX : (uint32_t)backlog;
}

/* A listener that was shut down, as Linux: what waits is reset. What comes is, too, when tcp tells of it; Deviates: on
 * Linux it is refused. */
static int listen_no_more(struct socket_server *server, struct socket_entry *entry)
{
    entry->block.backlog = 0;
    while (entry->queue.count > 0) { /* at most the connections there are */
        uint32_t index = entry->queue.head;
        connection_forget(server, index);
        connection_refuse(server, index);
    }
    socket_changed(server, entry);
    return 0;
}

static int call_listen(struct socket_server *server, struct call *call)
{
    struct socket_block *block = &call->socket->block;
    if (block->transport != SESSION_TCP)
        return EOPNOTSUPP;
    if (block->state == SOCKET_LISTENING && call->request.argument[0] == 0)
        return listen_no_more(server, call->socket);
    if (block->state == SOCKET_LISTENING) { /* a new backlog; what is queued already stays */
        block->backlog = backlog_take(call->request.argument[0]);
        return wait_for(server, call, MESSAGE_LISTEN);
    }
    if (block->state != SOCKET_OPEN && block->state != SOCKET_BOUND)
        return EINVAL;
    if (block->state == SOCKET_OPEN) {
        uint8_t family = call->request.address.family; /* else that of the stack's first address */
        struct ip_address any = {.family = family_known(server, family) ? family
                                                                        : server->context->config->address[0].family};
        int error = bind_here(server, call->socket, &any, 0);
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
    const struct ip_address *remote = &call->request.address;
    if (block->state == SOCKET_LISTENING)
        return EOPNOTSUPP;
    if (block->state == SOCKET_CONNECTED && block->transport == SESSION_TCP)
        return EISCONN;
    if (block->transport == SESSION_UDP && call->request.address.family == ADDRESS_NONE) { /* dissolve */
        if (block->state == SOCKET_OPEN)
            return 0;
        return connect_start(server, call, &(struct ip_address){0}, 0);
    }
    int error = address_check(server, remote);
    if (error != 0)
        return error;
    bool fits = block->local.family == ADDRESS_NONE || block->local.family == remote->family ||
                socket_takes_both(block, &block->local);
    if (block->transport == SESSION_TCP && !fits) /* udp knows what it was bound to before it was connected */
        return EAFNOSUPPORT;
    if (call->request.port == 0 && block->transport == SESSION_TCP)
        return ECONNREFUSED; /* as who is asked there would say, and so Linux */
    if (ip_address_is_any(remote) || call->request.port == 0)
        return EADDRNOTAVAIL;
    return connect_start(server, call, remote, call->request.port);
}

static void accepted_fill(struct socket_block *block, uint32_t index, const struct connection *connection,
                          const struct socket_block *listener)
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
    /* All options are the listener's as they are now, as the application sees them; its transport, that has given it
     * those of the time it came, hears of them in ACCEPTED. Deviates: Linux leaves it those of the time it came. */
    block->options = listener->options;
    block->ttl = listener->ttl;
    block->traffic_class = listener->traffic_class;
    block->send_log2 = listener->send_log2;
    block->receive_log2 = listener->receive_log2;
    block->user_timeout_ms = listener->user_timeout_ms;
    block->tcp = listener->tcp;
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
    accepted_fill(&entry->block, index, connection, &listener->block);
    entry->send_accepted = true;
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

#define MAXIMUM_SEGMENT_MIN 88U /* as Linux (TCP_MIN_MSS): less would be nothing but headers */

static uint8_t ring_log2(uint32_t octets) /* a power of two, or 0 */
{
    return octets != 0 ? (uint8_t)__builtin_ctz(octets) : 0;
}

#define OF_TCP  (1U << SESSION_TCP)
#define OF_UDP  (1U << SESSION_UDP)
#define OF_BOTH (OF_TCP | OF_UDP)
struct option_rule {
    uint32_t transports;  /* 0: no such option */
    uint32_t least, most; /* both 0: on or off */
    uint32_t told;        /* transports that are told of a change */
};
static const struct option_rule option_rules[] = {
    [CONTROL_OPTION_NODELAY] = {OF_TCP, 0, 0, OF_TCP},
    [CONTROL_OPTION_REUSE_ADDRESS] = {OF_BOTH, 0, 0, 0},
    [CONTROL_OPTION_BROADCAST] = {OF_BOTH, 0, 0, OF_UDP},
    [CONTROL_OPTION_TTL] = {OF_BOTH, 1, 255, OF_BOTH},
    [CONTROL_OPTION_TRAFFIC_CLASS] = {OF_BOTH, 0, 255, OF_BOTH},
    [CONTROL_OPTION_DONT_FRAGMENT] = {OF_UDP, 0, 0, OF_UDP},
    [CONTROL_OPTION_V6_ONLY] = {OF_BOTH, 0, 0, 0},
    [CONTROL_OPTION_NO_CHECK] = {OF_UDP, 0, 0, OF_UDP},
    [CONTROL_OPTION_KEEPALIVE] = {OF_TCP, 0, 0, OF_TCP},
    [CONTROL_OPTION_LINGER_RESET] = {OF_TCP, 0, 0, OF_TCP},
    [CONTROL_OPTION_KEEP_IDLE] = {OF_TCP, 1, 32767, OF_TCP},
    [CONTROL_OPTION_KEEP_INTERVAL] = {OF_TCP, 1, 32767, OF_TCP},
    [CONTROL_OPTION_KEEP_COUNT] = {OF_TCP, 1, 127, OF_TCP},
    [CONTROL_OPTION_USER_TIMEOUT] = {OF_TCP, 0, INT32_MAX, OF_TCP},
    [CONTROL_OPTION_MAXIMUM_SEGMENT] = {OF_TCP, 0, 32767,
                                        OF_TCP}, /* also later, as Linux: for what is sent from then on */
    [CONTROL_OPTION_SEND_SIZE] = {OF_BOTH, 0, SLOT_RING_MAX, 0},
    [CONTROL_OPTION_RECEIVE_SIZE] = {OF_BOTH, 0, SLOT_RING_MAX, 0},
    [CONTROL_OPTION_CONGESTION] = {OF_TCP, TCP_CONGESTION_RENO, TCP_CONGESTION_CUBIC, OF_TCP},
};

static void option_store(struct socket_block *block, uint32_t option, uint32_t value)
{
    switch (option) {
    case CONTROL_OPTION_TTL:
        block->ttl = (uint8_t)value;
        break;
    case CONTROL_OPTION_TRAFFIC_CLASS:
        block->traffic_class = (uint8_t)value;
        break;
    case CONTROL_OPTION_KEEP_IDLE:
        block->tcp.keep_idle_s = (uint16_t)value;
        break;
    case CONTROL_OPTION_KEEP_INTERVAL:
        block->tcp.keep_interval_s = (uint16_t)value;
        break;
    case CONTROL_OPTION_KEEP_COUNT:
        block->tcp.keep_count = (uint8_t)value;
        break;
    case CONTROL_OPTION_USER_TIMEOUT:
        block->user_timeout_ms = value;
        break;
    case CONTROL_OPTION_MAXIMUM_SEGMENT:
        block->tcp.maximum_segment = (uint16_t)value;
        break;
    case CONTROL_OPTION_CONGESTION:
        block->tcp.congestion = (uint8_t)value;
        break;
    case CONTROL_OPTION_SEND_SIZE:
        block->send_log2 = ring_log2(value);
        break;
    case CONTROL_OPTION_RECEIVE_SIZE:
        block->receive_log2 = ring_log2(value);
        break;
    default:
        block->options = (block->options & ~(1U << option)) | (value != 0 ? 1U : 0U) << option;
        break;
    }
}

/* What a range does not say. Sizes are of the slot that a request will take: too late once there is one, or will be
 * some (of a listener). 0 or EINVAL. */
static int option_check_more(const struct socket_block *block, uint32_t option, uint32_t value)
{
    bool late = block->state != SOCKET_OPEN && (block->state != SOCKET_BOUND || block->transport == SESSION_UDP);
    switch (option) {
    case CONTROL_OPTION_V6_ONLY:
        return block->state != SOCKET_OPEN ? EINVAL : 0;
    case CONTROL_OPTION_MAXIMUM_SEGMENT:
        return value != 0 && value < MAXIMUM_SEGMENT_MIN ? EINVAL : 0;
    case CONTROL_OPTION_SEND_SIZE:
    case CONTROL_OPTION_RECEIVE_SIZE:
        return late || (value & (value - 1)) != 0 || (value != 0 && value < SLOT_RING_MIN) ? EINVAL : 0;
    default:
        return 0;
    }
}

/* Untrusted: option, value. 0 or an errno value. */
static int option_check(const struct socket_block *block, uint32_t option, uint32_t value)
{
    if (option >= sizeof option_rules / sizeof option_rules[0])
        return ENOPROTOOPT;
    const struct option_rule *rule = &option_rules[option];
    if ((rule->transports >> block->transport & 1) == 0)
        return ENOPROTOOPT;
    if (rule->most != 0 && (value < rule->least || value > rule->most))
        return EINVAL;
    return option_check_more(block, option, value);
}

/* tcp has lost a listener and is asked to make it again, of which nobody waits for the outcome: whoever has a LISTEN or
 * an option for it asks once more, with all that is known now. */
static bool relistens(const struct socket_block *block)
{
    return block->state == SOCKET_LISTENING && block->request.operation == MESSAGE_LISTEN &&
           block->request.lane == LANE_NONE;
}

/* ... or a datagram socket: what is asked next makes it again, too, if this has not. */
static bool binds_again(const struct socket_block *block)
{
    bool asked = block->request.operation == MESSAGE_BIND || block->request.operation == MESSAGE_CONNECT;
    return block->transport == SESSION_UDP && block->state != SOCKET_OPEN && asked && block->request.lane == LANE_NONE;
}

static int call_set_option(struct socket_server *server, struct call *call)
{
    struct socket_block *block = &call->socket->block;
    uint32_t option = call->request.argument[0], value = call->request.argument[1];
    int error = option_check(block, option, value);
    if (error != 0)
        return error;
    option_store(block, option, value);
    socket_changed(server, call->socket);
    bool told = (option_rules[option].told >> block->transport & 1) != 0 && socket_at_transport(call->socket);
    if (!told)
        return 0;
    if (relistens(block))
        return wait_for(server, call, MESSAGE_LISTEN); /* says it, too */
    wait_for(server, call, MESSAGE_SET_OPTION);
    block->request.option = option;
    return CALL_WAITS;
}

/* ---- the table ---- */
struct operation {
    int (*run)(struct socket_server *server, struct call *call);
    bool alone;  /* not while the transport works on an earlier request for the socket */
    bool living; /* not when the transport has let go of it */
    bool asks;   /* whether it is permitted */
};
static const struct operation operations[] = {
    [CONTROL_SOCKET] = {call_socket, false, false, false},        [CONTROL_BIND] = {call_bind, true, true, true},
    [CONTROL_LISTEN] = {call_listen, true, true, true},           [CONTROL_CONNECT] = {call_connect, true, true, true},
    [CONTROL_ACCEPT] = {call_accept, false, true, false},         [CONTROL_CLOSE] = {call_close, false, false, false},
    [CONTROL_SET_OPTION] = {call_set_option, true, false, false},
};

/* What is asked for is what the request names, of LISTEN what the socket is called. 0 or an errno value. */
static int permitted(struct socket_server *server, const struct call *call)
{
    const struct socket_block *block = &call->socket->block;
    bool listen = call->request.operation == CONTROL_LISTEN;
    int error =
        request_permitted(&server->context->session[call->session], (enum control_operation)call->request.operation,
                          (enum session_transport)block->transport, listen ? &block->local : &call->request.address,
                          listen ? block->local_port : call->request.port);
    server->counters.refused_by_policy += error == EACCES;
    return error;
}

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
        bool gives_way = relistens(block) && (number == CONTROL_LISTEN || number == CONTROL_SET_OPTION);
        gives_way |= binds_again(block) && (number == CONTROL_CONNECT || number == CONTROL_SET_OPTION);
        if (operation->alone && block->request.cookie != 0 && !gives_way)
            return EALREADY;
    }
    address_clean(&call->request.address);
    int error = operation->asks ? permitted(server, call) : 0;
    return error != 0 ? error : operation->run(server, call);
}
