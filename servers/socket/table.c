// SPDX-License-Identifier: BSD-2-Clause
/* The table of sockets and what is derived from it: lists, ids, held ports, tcp's connections. Links are indices in one
 * array; an id is never reused while REUSE_DELAY younger ones rest, and then with the next generation. */
#include <string.h>

#include "protocols/base/siphash.h"
#include "servers/socket/socket_internal.h"

/* ---- lists ---- */
static struct link *link_at(struct links links, uint32_t index)
{
    return (struct link *)(links.base + index * links.stride);
}

void list_init(struct list *list)
{
    *list = (struct list){.head = INDEX_NONE, .tail = INDEX_NONE};
}

void list_append(struct list *list, struct links links, uint32_t index)
{
    struct link *link = link_at(links, index);
    if (link->linked)
        return;
    *link = (struct link){.previous = list->tail, .next = INDEX_NONE, .linked = true};
    if (list->tail == INDEX_NONE)
        list->head = index;
    else
        link_at(links, list->tail)->next = index;
    list->tail = index;
    list->count++;
}

void list_remove(struct list *list, struct links links, uint32_t index)
{
    struct link *link = link_at(links, index);
    if (!link->linked)
        return;
    if (link->previous == INDEX_NONE)
        list->head = link->next;
    else
        link_at(links, link->previous)->next = link->next;
    if (link->next == INDEX_NONE)
        list->tail = link->previous;
    else
        link_at(links, link->next)->previous = link->previous;
    link->linked = false;
    list->count--;
}

struct links socket_links(struct socket_server *server, enum socket_link which)
{
    return (struct links){(uint8_t *)&server->entry[0].link[which], sizeof server->entry[0]};
}

struct links connection_links(struct socket_server *server)
{
    return (struct links){(uint8_t *)&server->connection[0].link, sizeof server->connection[0]};
}

/* ---- sockets ---- */
void socket_changed(struct socket_server *server, struct socket_entry *entry)
{
    list_append(&server->changed, socket_links(server, LINK_STORE), socket_index(entry));
}

void socket_word_changed(struct socket_server *server, struct socket_entry *entry)
{
    list_append(&server->words, socket_links(server, LINK_WORD), socket_index(entry));
}

static uint32_t index_take(struct socket_server *server)
{
    if (server->high < SOCKETS_MAX && server->free.count < REUSE_DELAY) {
        server->entry[server->high].block.id = (uint32_t)server->generation_first << 16 | server->high;
        return server->high++;
    }
    uint32_t index = server->free.head;
    if (index != INDEX_NONE)
        list_remove(&server->free, socket_links(server, LINK_OWNER), index);
    return index;
}

struct socket_entry *socket_new(struct socket_server *server, uint32_t session, uint8_t transport, uint32_t descriptor)
{
    uint32_t index = index_take(server);
    if (index == INDEX_NONE)
        return NULL;
    struct socket_entry *entry = &server->entry[index];
    uint32_t generation = (entry->block.id >> 16) + 1;
    if (generation > UINT16_MAX)
        generation = 1;
    entry->block = (struct socket_block){.kind = BLOCK_SOCKET,
                                         .state = SOCKET_OPEN,
                                         .transport = transport,
                                         .id = generation << 16 | index,
                                         .session = session,
                                         .session_generation = server->context->session[session].generation,
                                         .descriptor = descriptor,
                                         .connection = INDEX_NONE,
                                         .arena = INDEX_NONE};
    list_init(&entry->queue);
    entry->send_request = entry->send_accepted = false;
    entry->alive_epoch = server->peer[transport].epoch;
    list_append(&server->session[session].sockets, socket_links(server, LINK_OWNER), index);
    socket_changed(server, entry);
    socket_word_changed(server, entry);
    server->counters.sockets_made++;
    return entry;
}

void socket_free(struct socket_server *server, struct socket_entry *entry)
{
    struct socket_block *block = &entry->block;
    uint32_t index = socket_index(entry);
    listener_drop_queue(server, entry);
    name_release(server, entry);
    list_remove(&server->words, socket_links(server, LINK_WORD), index);
    list_remove(&server->peer[block->transport].send, socket_links(server, LINK_SEND), index);
    list_remove(&server->session[block->session].sockets, socket_links(server, LINK_OWNER), index);
    connection_release(server, entry);
    *block = (struct socket_block){.kind = BLOCK_SOCKET, .state = SOCKET_FREE, .id = block->id};
    entry->send_request = entry->send_accepted = false;
    list_append(&server->free, socket_links(server, LINK_OWNER), index);
    socket_changed(server, entry);
    server->counters.sockets_freed++;
}

struct socket_entry *socket_lookup(struct socket_server *server, uint32_t id)
{
    uint32_t index = id & 0xffff;
    if (index >= server->high)
        return NULL;
    struct socket_entry *entry = &server->entry[index];
    return entry->block.id == id && entry->block.state != SOCKET_FREE ? entry : NULL;
}

bool socket_at_transport(const struct socket_entry *entry)
{
    const struct socket_block *block = &entry->block;
    switch (block->state) {
    case SOCKET_LISTENING:
    case SOCKET_CONNECTED:
        return true;
    case SOCKET_BOUND:
        return block->transport == SESSION_UDP || block->request.cookie != 0;
    case SOCKET_FREE:
        return false;
    case SOCKET_GONE: /* but for what a late request has made there */
        return block->request.operation == MESSAGE_CLOSE;
    default:
        return block->request.cookie != 0;
    }
}

/* ---- local ports of tcp sockets ---- */
static struct list *name_list(struct socket_server *server, uint16_t port)
{
    return &server->name_bucket[port & (NAME_BUCKETS - 1)];
}

void name_hold(struct socket_server *server, struct socket_entry *entry)
{
    entry->block.bound = 1;
    list_append(name_list(server, entry->block.local_port), socket_links(server, LINK_NAME), socket_index(entry));
}

void name_release(struct socket_server *server, struct socket_entry *entry)
{
    list_remove(name_list(server, entry->block.local_port), socket_links(server, LINK_NAME), socket_index(entry));
    entry->block.bound = 0;
}

/* Whether some address belongs to both names. */
static bool names_overlap(const struct socket_entry *entry, const struct ip_address *name,
                          const struct socket_entry *other, const struct ip_address *theirs)
{
    if (socket_takes_both(&entry->block, name) || socket_takes_both(&other->block, theirs))
        return true;
    if (name->family != theirs->family)
        return false;
    return ip_address_is_any(name) || ip_address_is_any(theirs) || ip_address_equal(name, theirs);
}

static bool in_the_way(const struct socket_entry *entry, const struct socket_entry *other,
                       const struct ip_address *address, bool listening)
{
    if (!names_overlap(entry, address, other, &other->block.local))
        return false;
    if (other->block.state == SOCKET_LISTENING || other->block.request.operation == MESSAGE_LISTEN)
        return true;
    uint32_t shared = entry->block.options & other->block.options & 1U << CONTROL_OPTION_REUSE_ADDRESS;
    return !listening && shared == 0;
}

bool name_conflict(struct socket_server *server, const struct socket_entry *entry, const struct ip_address *address,
                   uint16_t port, bool listening)
{
    uint32_t index = name_list(server, port)->head;
    while (index != INDEX_NONE) { /* at most the sockets there are */
        const struct socket_entry *other = &server->entry[index];
        if (other != entry && other->block.local_port == port && in_the_way(entry, other, address, listening))
            return true;
        index = other->link[LINK_NAME].next;
    }
    return false;
}

uint16_t name_choose(struct socket_server *server, const struct socket_entry *entry, const struct ip_address *address)
{
    /* RFC 6056 3.3.1: SHOULD be unpredictable: a keyed hash of the time and the socket says where to begin. */
    uint64_t seed[2] = {server->now_us, entry->block.id};
    uint32_t range = EPHEMERAL_MAX - EPHEMERAL_MIN + 1;
    uint32_t start = (uint32_t)(siphash(server->context->config->secret, seed, sizeof seed) % range);
    for (uint32_t i = 0; i < range; i++) {
        uint16_t port = (uint16_t)(EPHEMERAL_MIN + (start + i) % range);
        if (!name_conflict(server, entry, address, port, false))
            return port;
    }
    return 0;
}

/* ---- connections that tcp told of ---- */
void connection_forget(struct socket_server *server, uint32_t index)
{
    struct connection *connection = &server->connection[index];
    struct socket_entry *listener;
    if (connection->state == CONNECTION_REFUSED) {
        list_remove(&server->refused, connection_links(server), index);
    } else if (connection->state == CONNECTION_QUEUED) {
        listener = &server->entry[connection->socket & 0xffff]; /* lives: its end empties its queue */
        list_remove(&listener->queue, connection_links(server), index);
        socket_word_changed(server, listener);
    }
    connection->state = CONNECTION_UNKNOWN;
}

void connection_queue(struct socket_server *server, uint32_t index, struct socket_entry *listener)
{
    server->connection[index].state = CONNECTION_QUEUED;
    server->connection[index].socket = listener->block.id;
    list_append(&listener->queue, connection_links(server), index);
    socket_word_changed(server, listener);
}

void connection_refuse(struct socket_server *server, uint32_t index)
{
    server->connection[index].state = CONNECTION_REFUSED;
    list_append(&server->refused, connection_links(server), index);
}

void connection_release(struct socket_server *server, const struct socket_entry *entry)
{
    if (entry->block.transport != SESSION_TCP || entry->block.connection >= CONNECTIONS_MAX)
        return;
    struct connection *connection = &server->connection[entry->block.connection];
    if (connection->state == CONNECTION_OWNED && connection->socket == entry->block.id)
        connection->state = CONNECTION_UNKNOWN;
}

void listener_drop_queue(struct socket_server *server, struct socket_entry *listener)
{
    while (listener->queue.count > 0)
        connection_forget(server, listener->queue.head);
}
