// SPDX-License-Identifier: BSD-2-Clause
/* The side towards tcp and udp. Out: each socket that has something to say stands in its transport's queue, in order,
 * and says it when the ring has room. In: a transport is believed about its own sockets only, and about nothing that
 * its message does not fit. */
#include <errno.h>

#include "servers/socket/socket_internal.h"
#include "servers/work.h"

/* ---- out ---- */
struct message peer_message(uint8_t operation, uint64_t cookie)
{
    struct message message = {
        .operation = operation, .capability = CAPABILITY_INDEX_PEER, .generation = 1, .cookie = cookie};
    message.socket.connection = message.socket.arena = INDEX_NONE;
    return message;
}

uint64_t cookie_next(struct socket_server *server, uint32_t index)
{
    server->global_changed = true;
    return ++server->cookie_counter << COOKIE_SHIFT | index;
}

void peer_queue(struct socket_server *server, struct socket_entry *entry)
{
    list_append(&server->peer[entry->block.transport].send, socket_links(server, LINK_SEND), socket_index(entry));
}

void request_start(struct socket_server *server, struct socket_entry *entry, uint8_t operation, uint8_t lane,
                   uint32_t sequence)
{
    entry->block.request = (struct socket_request){
        .cookie = cookie_next(server, socket_index(entry)), .operation = operation, .lane = lane, .sequence = sequence};
    entry->send_request = true;
    socket_changed(server, entry);
    peer_queue(server, entry);
    server->counters.transport_requests++;
    server->work = true;
}

void request_end(struct socket_server *server, struct socket_entry *entry, int error)
{
    struct socket_request request = entry->block.request;
    if (request.cookie == 0)
        return;
    entry->block.request = (struct socket_request){0};
    entry->send_request = false;
    socket_changed(server, entry);
    if (request.lane == LANE_NONE)
        return;
    lane_answer(server, entry->block.session, request.lane, request.sequence, error, entry);
    server->session[entry->block.session].look = true; /* a request that was written early: kick does not move again */
    server->work = true;
}

struct message socket_message(const struct socket_entry *entry, uint8_t operation, uint64_t cookie)
{
    const struct socket_block *block = &entry->block;
    struct message message = peer_message(operation, cookie);
    message.socket = (struct message_socket){.socket = block->id,
                                             .session = block->session,
                                             .connection = block->connection,
                                             .arena = block->arena,
                                             .slot = block->slot,
                                             .generation = block->slot_generation};
    message.source = block->local;
    message.source_port = block->local_port;
    message.destination = block->remote;
    message.destination_port = block->remote_port;
    if (operation == MESSAGE_CLOSE)
        return message;
    message.socket.argument[1] = block->options;
    message.socket.argument[2] =
        message_tuning(block->ttl, block->traffic_class, block->send_log2, block->receive_log2);
    message.socket.argument[3] = block->user_timeout_ms;
    message.options = block->tcp;
    return message;
}

static struct message request_message(const struct socket_entry *entry)
{
    const struct socket_request *request = &entry->block.request;
    struct message message = socket_message(entry, request->operation, request->cookie);
    switch (request->operation) {
    case MESSAGE_LISTEN:
        message.socket.argument[0] = entry->block.backlog != 0 ? entry->block.backlog : 1;
        break;
    case MESSAGE_CONNECT:
        message.destination = request->address;
        message.destination_port = request->port;
        break;
    case MESSAGE_SET_OPTION:
        message.socket.argument[0] = request->option;
        break;
    default:
        break;
    }
    return message;
}

static bool room(struct port *port)
{
    return port_space(port) >= 2;
}

/* ACCEPTED, then the request. False: no room for all of it. */
static bool socket_send(struct socket_entry *entry, struct port *port)
{
    if (entry->send_accepted && room(port)) {
        struct message message = socket_message(entry, MESSAGE_ACCEPTED, 0);
        entry->send_accepted = !port_push(port, &message);
    }
    if (!entry->send_accepted && entry->send_request && room(port)) {
        struct message message = request_message(entry);
        entry->send_request = !port_push(port, &message);
    }
    return !entry->send_accepted && !entry->send_request;
}

static bool refused_send(struct socket_server *server, struct port *port)
{
    bool did = false;
    while (server->refused.count > 0 && room(port)) { /* ends: the ring fills */
        uint32_t index = server->refused.head;
        const struct connection *connection = &server->connection[index];
        struct message message = peer_message(MESSAGE_CLOSE, cookie_next(server, 0));
        message.socket = (struct message_socket){.session = connection->session,
                                                 .connection = index,
                                                 .arena = connection->arena,
                                                 .slot = connection->slot,
                                                 .generation = connection->generation};
        if (!port_push(port, &message))
            break;
        connection_forget(server, index);
        did = true;
    }
    return did;
}

bool session_ends_send(struct socket_server *server, enum session_transport t)
{
    bool did = false;
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        if (!server->session[i].end_send[t] || !room(server->peer[t].port))
            continue;
        struct message message = peer_message(MESSAGE_SESSION_END, 0);
        message.socket.session = i;
        server->session[i].end_send[t] = !port_push(server->peer[t].port, &message);
        did = true;
    }
    return did;
}

bool peer_send(struct socket_server *server, enum session_transport t)
{
    struct peer *transport = &server->peer[t];
    struct port *port = transport->port;
    if (port == NULL || !port->attached)
        return false;
    bool did = false;
    if (transport->phase != RECONCILE_DONE)
        did = reconcile_step(server, t);
    if (transport->phase != RECONCILE_DONE)
        return did;
    while (transport->send.count > 0 && room(port)) { /* ends: the ring fills */
        uint32_t index = transport->send.head;
        if (!socket_send(&server->entry[index], port))
            break;
        list_remove(&transport->send, socket_links(server, LINK_SEND), index);
        did = true;
    }
    if (t == SESSION_TCP)
        did |= refused_send(server, port);
    return session_ends_send(server, t) || did;
}

bool peer_held_back(const struct socket_server *server, enum session_transport t)
{
    const struct peer *transport = &server->peer[t];
    if (transport->port == NULL || !transport->port->attached)
        return false;
    if (transport->phase != RECONCILE_DONE || transport->send.count > 0 ||
        (t == SESSION_TCP && server->refused.count > 0))
        return true;
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        if (server->session[i].end_send[t])
            return true;
    }
    return false;
}

/* ---- in: answers ---- */
static bool slot_sane(const struct message_socket *socket)
{
    return socket->arena < SESSION_ARENAS && socket->slot < ARENA_SLOTS_MAX;
}

static void take_slot(struct socket_server *server, struct socket_entry *entry, const struct message *message)
{
    struct socket_block *block = &entry->block;
    block->connection = message->socket.connection;
    block->arena = message->socket.arena;
    block->slot = message->socket.slot;
    block->slot_generation = message->socket.generation;
    if (message->source.family != ADDRESS_NONE)
        block->local = message->source;
    if (message->source_port != 0 && !block->bound) /* a name that is held is not for the transport to change */
        block->local_port = message->source_port;
    if (block->transport != SESSION_TCP || block->connection >= CONNECTIONS_MAX)
        return;
    connection_forget(server, block->connection);
    struct connection *connection = &server->connection[block->connection];
    *connection = (struct connection){.state = CONNECTION_OWNED,
                                      .socket = block->id,
                                      .session = block->session,
                                      .arena = block->arena,
                                      .slot = block->slot,
                                      .generation = block->slot_generation};
}

static void unname(struct socket_entry *entry)
{
    entry->block.local = (struct ip_address){0};
    entry->block.local_port = 0;
}

static void bind_done(struct socket_server *server, struct socket_entry *entry, const struct message *message,
                      int error)
{
    struct socket_request request = entry->block.request;
    if (error != 0) {
        unname(entry);
        request_end(server, entry, error);
        return;
    }
    take_slot(server, entry, message);
    entry->block.state = SOCKET_BOUND;
    if (!request.then_connect) {
        request_end(server, entry, 0);
        return;
    }
    request_start(server, entry, MESSAGE_CONNECT, request.lane, request.sequence);
    entry->block.request.address = request.address;
    entry->block.request.port = request.port;
}

static void listen_done(struct socket_server *server, struct socket_entry *entry, const struct message *message,
                        int error)
{
    bool again = entry->block.state == SOCKET_LISTENING; /* a new backlog, or it was missing at reconciliation */
    if (error != 0) {
        listener_drop_queue(server, entry);
        request_end(server, entry, error);
        if (again)
            socket_gone(server, entry, error);
        return;
    }
    entry->block.connection = message->socket.connection;
    entry->block.state = SOCKET_LISTENING;
    request_end(server, entry, 0);
}

static void connect_done(struct socket_server *server, struct socket_entry *entry, const struct message *message,
                         int error)
{
    struct socket_block *block = &entry->block;
    if (error != 0) {
        request_end(server, entry, error);
        return;
    }
    bool dissolved = block->request.address.family == ADDRESS_NONE;
    if (block->transport == SESSION_TCP)
        take_slot(server, entry, message);
    else if (message->source.family != ADDRESS_NONE)
        block->local = message->source;
    block->remote = block->request.address;
    block->remote_port = block->request.port;
    block->state = dissolved ? SOCKET_BOUND : SOCKET_CONNECTED;
    request_end(server, entry, block->transport == SESSION_TCP ? EINPROGRESS : 0);
}

/* Whether a success names a slot; a transport that names an impossible one has failed. */
static bool wants_slot(const struct socket_entry *entry)
{
    uint8_t operation = entry->block.request.operation;
    return operation == MESSAGE_BIND || (operation == MESSAGE_CONNECT && entry->block.transport == SESSION_TCP);
}

/* The socket was lost while its request was under way. If the request has made something anew nobody will use it. */
static void answered_gone(struct socket_server *server, struct socket_entry *entry, int error)
{
    uint8_t operation = entry->block.request.operation;
    bool made =
        error == 0 && (operation == MESSAGE_BIND || operation == MESSAGE_LISTEN || operation == MESSAGE_CONNECT);
    int told = error != 0 ? error : ECONNRESET;
    request_end(server, entry, operation == MESSAGE_SET_OPTION ? 0 : told); /* it is kept, as of any that is gone */
    if (made)
        request_start(server, entry, MESSAGE_CLOSE, LANE_NONE, 0);
}

/* What names a datagram socket that udp has, or had. */
static bool is_about_old(const struct socket_block *block)
{
    bool bind = block->request.operation == MESSAGE_BIND && block->state != SOCKET_OPEN;
    return block->transport == SESSION_UDP && (bind || block->request.operation == MESSAGE_CONNECT);
}

/* udp had lost the socket that it was to bind again or to connect, and has given it another slot: not the one that is
 * being used. */
static bool made_anew(const struct socket_block *block, const struct message_socket *socket)
{
    return is_about_old(block) && (block->arena != socket->arena || block->slot != socket->slot ||
                                   block->slot_generation != socket->generation);
}

static void on_answer(struct socket_server *server, enum session_transport t, const struct message *message)
{
    struct socket_entry *entry = &server->entry[message->cookie & (SOCKETS_MAX - 1)];
    struct socket_block *block = &entry->block;
    if (message->cookie == 0 || block->state == SOCKET_FREE || block->transport != t ||
        block->request.cookie != message->cookie) {
        server->counters.drop_stale_answer++; /* also the answer to a request that a CLOSE has overtaken */
        return;
    }
    int error = message->socket.error;
    if (error < 0 || error > 4095 || (error == 0 && wants_slot(entry) && !slot_sane(&message->socket))) {
        server->counters.drop_malformed++;
        error = ENOBUFS;
    }
    if (!request_wants_endpoint(block)) /* else the list alone says whether it is there */
        entry->alive_epoch = server->peer[t].epoch;
    entry->send_request = false;
    socket_changed(server, entry);
    bool again = is_about_old(block) && block->request.lane == LANE_NONE;            /* and it cannot be made again */
    if ((error == 0 && made_anew(block, &message->socket)) || (error != 0 && again)) /* ahead of its ALIVE_END */
        socket_gone(server, entry, ECONNRESET);
    if (block->state == SOCKET_GONE) {
        answered_gone(server, entry, error);
        return;
    }
    switch (block->request.operation) {
    case MESSAGE_BIND:
        bind_done(server, entry, message, error);
        break;
    case MESSAGE_LISTEN:
        listen_done(server, entry, message, error);
        break;
    case MESSAGE_CONNECT:
        connect_done(server, entry, message, error);
        break;
    case MESSAGE_CLOSE:
        socket_free(server, entry);
        break;
    case MESSAGE_SET_OPTION: /* to one who does not know the socket: it is kept here, and goes along with the next
                                request */
        if (error != ENOTCONN || !socket_make_again(server, entry))
            request_end(server, entry, error == ENOTCONN ? 0 : error);
        break;
    default:
        request_end(server, entry, error);
        break;
    }
}

/* ---- in: what the transport tells ---- */
static bool same_connection(const struct connection *connection, const struct message_socket *socket)
{
    return connection->session == socket->session && connection->arena == socket->arena &&
           connection->slot == socket->slot && connection->generation == socket->generation;
}

static void on_established(struct socket_server *server, enum session_transport t, const struct message *message)
{
    const struct message_socket *socket = &message->socket;
    if (socket->connection >= CONNECTIONS_MAX || socket->session >= SESSIONS_MAX || !slot_sane(socket)) {
        server->counters.drop_malformed++;
        return;
    }
    struct connection *connection = &server->connection[socket->connection];
    if (connection->state != CONNECTION_UNKNOWN && same_connection(connection, socket)) { /* told again */
        if (connection->state == CONNECTION_OWNED) /* ACCEPTED was lost: it is in the transport's list all the same */
            server->entry[connection->socket & (SOCKETS_MAX - 1)].alive_epoch = server->peer[t].epoch;
        return;
    }
    connection_forget(server, socket->connection);
    *connection = (struct connection){.session = socket->session,
                                      .arena = socket->arena,
                                      .slot = socket->slot,
                                      .generation = socket->generation,
                                      .local = message->source,
                                      .remote = message->destination,
                                      .local_port = message->source_port,
                                      .remote_port = message->destination_port};
    struct socket_entry *listener = socket_lookup(server, socket->listener);
    if (listener == NULL || listener->block.transport != t || listener->block.session != socket->session ||
        (listener->block.state != SOCKET_LISTENING && listener->block.request.operation != MESSAGE_LISTEN)) {
        server->counters.drop_no_listener++;
        connection_refuse(server, socket->connection);
        return;
    }
    if (listener->block.backlog == 0 || listener->queue.count > listener->block.backlog) {
        server->counters.drop_backlog_full++;
        connection_refuse(server, socket->connection);
        return;
    }
    server->counters.established++;
    connection_queue(server, socket->connection, listener);
}

/* A slot that is kept for whoever accepted its connection: if that is a socket of ours, our list says so. */
static void on_alive_unclaimed(struct socket_server *server, enum session_transport t,
                               const struct message_socket *socket)
{
    if (t != SESSION_TCP || socket->connection >= CONNECTIONS_MAX) {
        server->counters.drop_malformed++;
        return;
    }
    const struct connection *connection = &server->connection[socket->connection];
    if (connection->state == CONNECTION_OWNED && same_connection(connection, socket))
        server->entry[connection->socket & (SOCKETS_MAX - 1)].alive_epoch = server->peer[t].epoch;
}

/* Whether the transport has it where its user has it; what only one of us knows is no dispute. Else one of the two copies
 * is damaged: the transport hears of ours, and ends it; here it is gone with the end of the list. */
static bool slot_agrees(const struct socket_block *block, const struct message_socket *told)
{
    if (block->session != told->session)
        return false;
    return block->arena == INDEX_NONE || told->arena == INDEX_NONE ||
           (block->arena == told->arena && block->slot == told->slot && block->slot_generation == told->generation);
}

static void on_alive(struct socket_server *server, enum session_transport t, const struct message *message)
{
    if (message->socket.socket == 0) {
        on_alive_unclaimed(server, t, &message->socket);
        return;
    }
    struct socket_entry *entry = socket_lookup(server, message->socket.socket);
    if (entry == NULL || entry->block.transport != t)
        server->counters.drop_unknown_socket++; /* it will not be in our list, so the transport closes it */
    else if (!slot_agrees(&entry->block, &message->socket))
        server->counters.drop_slot_disputed++;
    else
        entry->alive_epoch = server->peer[t].epoch;
}

void socket_gone(struct socket_server *server, struct socket_entry *entry, int error)
{
    listener_drop_queue(server, entry);
    name_release(server, entry);
    connection_release(server, entry);
    entry->block.state = SOCKET_GONE;
    entry->block.error = error;
    entry->send_accepted = false;
    socket_changed(server, entry);
    socket_word_changed(server, entry);
}

/* Without a socket: of a session that has ended, or of a connection that nobody has accepted. */
static void on_lost_unowned(struct socket_server *server, enum session_transport t, const struct message_socket *socket)
{
    if (socket->connection == INDEX_NONE) {
        session_released(server, socket->session, t);
        return;
    }
    if (t != SESSION_TCP || socket->connection >= CONNECTIONS_MAX) {
        server->counters.drop_malformed++;
        return;
    }
    struct connection *connection = &server->connection[socket->connection];
    bool queued = connection->state == CONNECTION_QUEUED || connection->state == CONNECTION_REFUSED;
    if (queued && connection->generation == socket->generation)
        connection_forget(server, socket->connection);
    else
        server->counters.drop_unknown_socket++;
}

static void on_lost(struct socket_server *server, enum session_transport t, const struct message *message)
{
    if (message->socket.socket == 0) {
        on_lost_unowned(server, t, &message->socket);
        return;
    }
    struct socket_entry *entry = socket_lookup(server, message->socket.socket);
    if (entry == NULL || entry->block.transport != t || !socket_at_transport(entry)) {
        server->counters.drop_unknown_socket++; /* also: it crossed our CLOSE */
        return;
    }
    if (entry->block.state == SOCKET_CLOSING)
        return; /* the answer to CLOSE comes */
    if (t != SESSION_TCP || entry->block.state == SOCKET_LISTENING) {
        server->counters.drop_not_lost++; /* a name is ours to know; what a transport has lost of them its list tells */
        return;
    }
    int error = message->socket.error;
    server->counters.lost++;
    socket_gone(server, entry, error < 0 || error > 4095 ? ECONNRESET : error);
}

static void on_alive_end(struct socket_server *server, enum session_transport t, const struct message *message)
{
    (void)message;
    if (!server->peer[t].hearing) {
        server->counters.drop_operation++;
        return;
    }
    server->peer[t].hearing = false;
    reconcile_alive_end(server, t);
}

struct notice {
    void (*run)(struct socket_server *server, enum session_transport t, const struct message *message);
    bool tcp_only;
};
static const struct notice notices[] = {
    [MESSAGE_ANSWER] = {on_answer, false},       [MESSAGE_ESTABLISHED] = {on_established, true},
    [MESSAGE_ALIVE] = {on_alive, false},         [MESSAGE_LOST] = {on_lost, false},
    [MESSAGE_ALIVE_END] = {on_alive_end, false},
};

/* Untrusted: message (from the transport). */
static void on_message(struct socket_server *server, enum session_transport t, const struct message *message)
{
    struct port *port = server->peer[t].port;
    if (capability_lookup(&port->table, message->capability, message->generation, CAPABILITY_SOCKET,
                          CAPABILITY_NOTIFY) == NULL) {
        server->counters.drop_capability++;
        port_makes_no_sense(port);
        return;
    }
    uint8_t operation = message->operation;
    if (operation >= sizeof notices / sizeof notices[0] || notices[operation].run == NULL ||
        (notices[operation].tcp_only && t != SESSION_TCP)) {
        server->counters.drop_operation++;
        port_foreign(port);
        return;
    }
    const struct message_socket *about = &message->socket;
    uint64_t name = (uint64_t)about->socket << 32 | (uint64_t)operation << 24 | (about->connection & 0xffffff);
    if (server_works_on(server->context, work_key_numbers(server->context, WORK_NOTICE, name, message->cookie)))
        notices[operation].run(server, t, message);
    else
        server->counters.drop_poison++;
}

bool peer_receive(struct socket_server *server, enum session_transport t)
{
    struct port *port = server->peer[t].port;
    if (port == NULL || !port->attached)
        return false;
    struct message message;
    uint32_t count = 0;
    while (count < SERVER_BURST && port_pull(port, &message)) {
        on_message(server, t, &message);
        count++;
    }
    return count > 0;
}
