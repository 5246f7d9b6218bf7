// SPDX-License-Identifier: BSD-2-Clause
/* From one life to the next: the store read and written, and the exchange of lists with a transport whose channel is
 * new. */
#include <errno.h>
#include <string.h>

#include "protocols/base/siphash.h"
#include "servers/socket/socket_internal.h"

/* ---- out of the store ---- */
static bool block_sane(const struct socket_block *block, uint32_t index)
{
    const struct socket_request *request = &block->request;
    if (block->kind != BLOCK_SOCKET || (block->id & 0xffff) != index || block->id >> 16 == 0)
        return false;
    return block->state < SOCKET_STATES && block->transport < SESSION_TRANSPORTS && block->session < SESSIONS_MAX &&
           block->descriptor < SESSION_DESCRIPTORS && (request->lane < SESSION_LANES || request->lane == LANE_NONE) &&
           (request->cookie == 0 || (request->cookie & (SOCKETS_MAX - 1)) == index);
}

static void restore_lanes(struct socket_server *server)
{
    for (uint32_t i = 0; i < SESSIONS_MAX * SESSION_LANES; i++) {
        union store_any any;
        enum store_block result = store_read(&server->store, STORE_LANES + i, &any);
        if (result == STORE_BLOCK_CORRUPT)
            server->counters.corrupt_blocks++;
        if (result != STORE_BLOCK_GOOD || any.lane.kind != BLOCK_LANE)
            continue;
        struct lane *lane = &server->session[i / SESSION_LANES].lane[i % SESSION_LANES];
        lane->done = any.lane.sequence;
        lane->session_generation = any.lane.session_generation;
        lane->answer = any.lane.answer;
    }
}

/* tcp reuses its indices: one that a GONE or CLOSING socket had may be another's by now. */
static void derive_connection(struct socket_server *server, const struct socket_block *block)
{
    if (block->transport != SESSION_TCP || block->connection >= CONNECTIONS_MAX)
        return;
    struct connection *connection = &server->connection[block->connection];
    bool older = block->state == SOCKET_CLOSING && connection->state == CONNECTION_OWNED;
    if (block->state == SOCKET_LISTENING || block->state == SOCKET_GONE || older)
        return;
    *connection = (struct connection){.state = CONNECTION_OWNED,
                                      .socket = block->id,
                                      .session = block->session,
                                      .arena = block->arena,
                                      .slot = block->slot,
                                      .generation = block->slot_generation};
}

static void derive(struct socket_server *server, struct socket_entry *entry)
{
    struct socket_block *block = &entry->block;
    struct session_state *session = &server->session[block->session];
    struct list *owner = block->state == SOCKET_FREE ? &server->free : &session->sockets;
    list_append(owner, socket_links(server, LINK_OWNER), socket_index(entry));
    if (block->state == SOCKET_FREE)
        return;
    if (block->bound)
        name_hold(server, entry);
    derive_connection(server, block);
    if (block->request.cookie >> COOKIE_SHIFT > server->cookie_counter)
        server->cookie_counter = block->request.cookie >> COOKIE_SHIFT;
    if (block->request.cookie != 0 && block->request.lane != LANE_NONE) {
        session->lane[block->request.lane].busy = true;
        session->lane[block->request.lane].busy_sequence = block->request.sequence;
    }
}

static void restore_sockets(struct socket_server *server)
{
    uint32_t generation = (uint32_t)server->cookie_counter & 0x7fff; /* for a block that does not tell */
    uint32_t used = store_used(&server->store, 0);
    server->high = used > STORE_SOCKETS ? used - STORE_SOCKETS : 0;
    for (uint32_t i = 0; i < server->high; i++) {
        struct socket_entry *entry = &server->entry[i];
        union store_any any;
        enum store_block result = store_read(&server->store, STORE_SOCKETS + i, &any);
        list_init(&entry->queue);
        if (result == STORE_BLOCK_GOOD && block_sane(&any.socket, i)) {
            entry->block = any.socket;
        } else {
            server->counters.corrupt_blocks += result != STORE_BLOCK_EMPTY;
            entry->block = (struct socket_block){.kind = BLOCK_SOCKET, .id = (generation + 1) << 16 | i};
        }
        derive(server, entry);
    }
}

/* The first commit of a store has this block: without it nothing was ever known here, or nothing any more.
 * Ids of sockets that a cold start forgot are not given again: what their users still ask is about no socket. */
static void restore_cold(struct socket_server *server, enum store_block found, const struct global_block *global)
{
    uint64_t seed = server->context->incarnation;
    server->cold = found == STORE_BLOCK_GOOD && global->cold <= COLD_UNTOLD ? (uint8_t)global->cold : COLD_NOT;
    if (found == STORE_BLOCK_EMPTY && seed > 1)
        server->cold = COLD_UNTOLD;
    server->global_changed = found == STORE_BLOCK_EMPTY;
    if (server->cold != COLD_NOT)
        server->generation_first = (uint16_t)(siphash(server->context->config->secret, &seed, sizeof seed) & 0x7fff);
}

/* What was answered before is not done again. Untrusted: the answer segment (the application can write it, too): a lie
 * about its own requests harms nobody else. */
void recover_lanes_cold(struct socket_server *server, uint32_t session)
{
    const struct session_answer *answers = server->context->session[session].answer;
    struct session_state *state = &server->session[session];
    for (uint32_t i = 0; i < SESSION_LANES && answers != NULL; i++) {
        struct lane *lane = &state->lane[i];
        if (lane->done != 0 || lane->busy)
            continue;
        lane->session_generation = server->context->session[session].generation;
        lane->done = __atomic_load_n(&answers->lane[i].sequence, __ATOMIC_ACQUIRE);
        lane->answer = answers->lane[i].answer;
        lane->changed = lane->done != 0;
        state->lanes_changed |= lane->changed;
    }
}

int recover_store(struct socket_server *server)
{
    const struct server_context *context = server->context;
    if (context->store == NULL || context->store_octets < store_octets(sizeof(union store_any), STORE_BLOCKS))
        return -EINVAL;
    int error = store_open(&server->store, context->store, STORE_VERSION, sizeof(union store_any), STORE_BLOCKS,
                           server->store_current);
    if (error < 0)
        return error;
    server->store.off = context->config->no_commit;
    union store_any any;
    enum store_block result = store_read(&server->store, 0, &any);
    if (result == STORE_BLOCK_GOOD && any.global.kind == BLOCK_GLOBAL)
        server->cookie_counter = any.global.cookie_counter;
    restore_lanes(server);
    restore_sockets(server);
    restore_cold(server, result, &any.global);
    if (result == STORE_BLOCK_CORRUPT) { /* cookies keep increasing: far above what is known to have been used */
        server->counters.corrupt_blocks++;
        server->cookie_counter += 1U << 20;
    }
    return 0;
}

/* ---- into the store ---- */
static void commit_lanes(struct socket_server *server, uint32_t session)
{
    struct session_state *state = &server->session[session];
    for (uint32_t i = 0; i < SESSION_LANES; i++) {
        struct lane *lane = &state->lane[i];
        union store_any any = {.lane = {.kind = BLOCK_LANE,
                                        .sequence = lane->done,
                                        .answer = lane->answer,
                                        .session_generation = server->context->session[session].generation}};
        uint32_t index = STORE_LANES + session * SESSION_LANES + i;
        if (lane->changed && lane->done != 0)
            store_put(&server->store, index, &any);
        else if (lane->changed)
            store_erase(&server->store, index);
        lane->changed = false;
    }
    state->lanes_changed = false;
}

void recover_commit(struct socket_server *server)
{
    while (server->changed.count > 0) { /* at most the sockets there are */
        uint32_t index = server->changed.head;
        union store_any any = {.socket = server->entry[index].block};
        list_remove(&server->changed, socket_links(server, LINK_STORE), index);
        store_put(&server->store, STORE_SOCKETS + index, &any);
    }
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        if (server->session[i].lanes_changed)
            commit_lanes(server, i);
    }
    if (server->global_changed) {
        union store_any any = {
            .global = {.kind = BLOCK_GLOBAL, .cold = server->cold, .cookie_counter = server->cookie_counter}};
        store_put(&server->store, 0, &any);
        server->global_changed = false;
    }
    store_commit(&server->store);
}

static void orphan(struct socket_server *server, struct session_state *state, uint32_t index)
{
    struct socket_entry *entry = &server->entry[index];
    server->counters.orphans++;
    list_remove(&state->sockets, socket_links(server, LINK_OWNER), index);
    if (entry->block.state != SOCKET_CLOSING)
        socket_close(server, entry);
}

/* What is of an earlier session that had this index. */
static void forget_stale(struct socket_server *server, uint32_t session)
{
    struct session_state *state = &server->session[session];
    uint32_t now = server->context->session[session].generation, next;
    for (uint32_t i = 0; i < SESSION_LANES; i++) { /* first: what a stale request keeps busy is no lane of this one */
        struct lane *lane = &state->lane[i];
        if (lane->done == 0 || lane->session_generation == now)
            continue;
        server->counters.stale_blocks++;
        *lane = (struct lane){.changed = true, .busy = lane->busy, .busy_sequence = lane->busy_sequence};
        state->lanes_changed = true;
    }
    for (uint32_t i = state->sockets.head; i != INDEX_NONE; i = next) {
        struct socket_block *block = &server->entry[i].block;
        next = server->entry[i].link[LINK_OWNER].next;
        if (block->session_generation == now)
            continue;
        if (block->request.cookie != 0 && block->request.lane != LANE_NONE)
            state->lane[block->request.lane].busy = false;
        block->request.lane = LANE_NONE; /* who asked is gone */
        server->counters.stale_blocks++;
        orphan(server, state, i);
    }
}

/* Sessions are granted again before the first burst; what is left of others has no owner any more. */
void recover_orphans(struct socket_server *server)
{
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        struct session_state *state = &server->session[i];
        if (state->known) {
            forget_stale(server, i);
            continue;
        }
        while (state->sockets.count > 0) /* at most the sockets there are */
            orphan(server, state, state->sockets.head);
        session_forget(server, i);
    }
}

/* ---- lists exchanged with a transport ---- */
void peer_forget(struct socket_server *server, enum session_transport t)
{
    struct peer *transport = &server->peer[t];
    while (transport->send.count > 0) { /* all of it is said again, out of the table */
        uint32_t index = transport->send.head;
        list_remove(&transport->send, socket_links(server, LINK_SEND), index);
    }
    transport->phase = RECONCILE_DONE;
    transport->hearing = false;
    server->work = true;
    if (t != SESSION_TCP)
        return;
    while (server->refused.count > 0)
        connection_forget(server, server->refused.head);
    for (uint32_t i = 0; i < server->high; i++)
        listener_drop_queue(server, &server->entry[i]); /* those that live are told of again */
}

void reconcile_begin(struct socket_server *server, enum session_transport t)
{
    struct peer *transport = &server->peer[t];
    peer_forget(server, t);
    transport->epoch++;
    transport->hearing = true;
    transport->phase = RECONCILE_OWNED;
    transport->cursor = 0;
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        struct session_state *state = &server->session[i];
        if (state->known && state->ending && !state->end_done[t])
            state->end_send[t] = true;
    }
    server->counters.reconciliations++;
}

static bool push_owned(struct socket_entry *entry, struct port *port)
{
    if (port_space(port) < 2)
        return false;
    struct message message = socket_message(entry, MESSAGE_OWNED, 0);
    if (!port_push(port, &message))
        return false;
    entry->send_accepted = false; /* OWNED says it */
    return true;
}

static void queue_pending(struct socket_server *server, enum session_transport t, bool closes)
{
    for (uint32_t i = 0; i < server->high; i++) {
        struct socket_entry *entry = &server->entry[i];
        const struct socket_request *request = &entry->block.request;
        if (entry->block.state == SOCKET_FREE || entry->block.transport != t)
            continue;
        if ((request->cookie == 0 && !entry->send_accepted) || (request->operation == MESSAGE_CLOSE) != closes)
            continue;
        entry->send_request = request->cookie != 0;
        peer_queue(server, entry);
    }
}

/* Every unanswered request again: first what gives names back, then what takes them. */
static void say_again(struct socket_server *server, enum session_transport t)
{
    struct peer *transport = &server->peer[t];
    while (transport->send.count > 0)
        list_remove(&transport->send, socket_links(server, LINK_SEND), transport->send.head);
    queue_pending(server, t, true);
    queue_pending(server, t, false);
}

static bool ends_left(const struct socket_server *server, enum session_transport t)
{
    for (uint32_t i = 0; i < SESSIONS_MAX; i++)
        if (server->session[i].end_send[t])
            return true;
    return false;
}

bool reconcile_step(struct socket_server *server, enum session_transport t)
{
    struct peer *transport = &server->peer[t];
    bool did = false;
    while (transport->phase == RECONCILE_OWNED && transport->cursor < server->high) {
        struct socket_entry *entry = &server->entry[transport->cursor];
        if (entry->block.transport == t && socket_at_transport(entry) && !push_owned(entry, transport->port))
            return did;
        transport->cursor++;
        did = true;
    }
    transport->phase = RECONCILE_END;
    did |= session_ends_send(server, t); /* first: what they had is on no list */
    if (ends_left(server, t))
        return did;
    struct message message = peer_message(MESSAGE_OWNED_END, 0);
    message.socket.argument[0] = server->cold != COLD_NOT;
    if (port_space(transport->port) < 2 || !port_push(transport->port, &message))
        return did;
    transport->phase = RECONCILE_DONE;
    say_again(server, t);
    return true;
}

bool request_wants_endpoint(const struct socket_block *block)
{
    uint8_t operation = block->request.operation;
    return operation == MESSAGE_SET_OPTION || (operation == MESSAGE_CONNECT && block->transport == SESSION_UDP);
}

/* Whether it can be made again by what is known here: it has its slot, and the application uses that still. */
static bool is_made_again(const struct socket_block *block)
{
    return block->transport == SESSION_UDP && block->arena != INDEX_NONE && block->slot_generation != 0 &&
           (block->state == SOCKET_BOUND || block->state == SOCKET_CONNECTED);
}

bool socket_make_again(struct socket_server *server, struct socket_entry *entry)
{
    struct socket_block *block = &entry->block;
    if (!is_made_again(block))
        return false;
    bool connected = block->state == SOCKET_CONNECTED;
    request_end(server, entry, 0); /* a SET_OPTION: this carries all of them */
    server->counters.rebound++;
    request_start(server, entry, connected ? MESSAGE_CONNECT : MESSAGE_BIND, LANE_NONE, 0);
    if (connected) {
        block->request.address = block->remote;
        block->request.port = block->remote_port;
    }
    return true;
}

void reconcile_alive_end(struct socket_server *server, enum session_transport t)
{
    uint32_t epoch = server->peer[t].epoch;
    for (uint32_t i = 0; i < server->high; i++) {
        struct socket_entry *entry = &server->entry[i];
        struct socket_block *block = &entry->block;
        bool asked =
            block->request.cookie != 0 && !request_wants_endpoint(block); /* then its answer says what is there */
        if (block->transport != t || entry->alive_epoch == epoch || asked || !socket_at_transport(entry))
            continue;
        if (block->state == SOCKET_LISTENING) { /* a cold start: the name is ours to know, so it listens again */
            request_end(server, entry, 0);      /* a SET_OPTION: LISTEN carries all of them */
            server->counters.relistened++;
            request_start(server, entry, MESSAGE_LISTEN, LANE_NONE, 0);
        } else if (block->request.operation == MESSAGE_CONNECT && is_made_again(block)) {
            continue; /* that makes it again, with the slot that it has */
        } else if (!socket_make_again(server, entry)) {
            server->counters.gone_at_reconciliation++;
            socket_gone(server, entry, ECONNRESET);
        }
    }
}
