// SPDX-License-Identifier: BSD-2-Clause
/* A new incarnation: every socket goes on, bound and connected as it was, its rings where they were. Datagrams that
 * were sent are not sent again; what was received and committed is published (again). */
#include "servers/udp/udp_server.h"

static bool bind_again(struct udp_server *s, uint32_t index, const struct udp_block *b)
{
    struct endpoint *e = &s->endpoint[index];
    const struct udp_binding was = {.bound = b->bound,
                                    .local = b->local,
                                    .remote = b->remote,
                                    .local_port = b->local_port,
                                    .remote_port = b->remote_port,
                                    .owner = index,
                                    .shared = b->shared != 0,
                                    .order = b->order};
    e->options = b->options;
    e->ttl = b->ttl;
    e->traffic_class = b->traffic_class;
    return udp_restore(s->engine, &was, &e->connection) == UDP_CALL_OK;
}

static bool slot_again(struct udp_server *s, uint32_t index, const struct udp_block *b)
{
    struct endpoint *e = &s->endpoint[index];
    e->arena = b->arena;
    e->slot = b->slot;
    e->generation = b->generation;
    if (slot_restore(&s->transport, index))
        return true;
    e->arena = TRANSPORT_NONE;
    return false;
}

/* The application's tail is not known: as if its ring were full, until it is looked at. */
static void rings_again(struct udp_server *s, uint32_t index, const struct udp_block *b)
{
    struct endpoint *e = &s->endpoint[index];
    const struct session_arena *a = slot_arena(&s->transport, e);
    e->words = (struct slot_words){.send_tail = b->send_next,
                                   .receive_head = b->receive_head,
                                   .state = b->orphan ? SLOT_ERROR | SLOT_CLOSED : 0,
                                   .error = b->error,
                                   .error_count = b->error_count,
                                   .path_mtu = b->path_mtu,
                                   .receive_drops = b->receive_drops};
    e->published = e->words;
    e->send_end = b->send_next;
    s->side[index].send_head = s->side[index].send_next = b->send_next;
    s->side[index].receive_tail = b->receive_head - (a != NULL ? a->receive_size : 0);
    endpoint_dirty(&s->transport, index, true);
}

/* Untrusted: words (from the application), and our own of an earlier time, which it can write, too: a lie about its own
 * rings harms nobody else. What it had not read stays to be read if that can be so; what was not sent yet is not sent.
 */
static void rings_as_said(struct udp_server *s, uint32_t index, const struct session_arena *a)
{
    struct endpoint *e = &s->endpoint[index];
    const struct slot_transport *ours = &a->transport_words->slot[e->slot];
    struct slot_app words = {0};
    uint32_t head = __atomic_load_n(&ours->receive_head, __ATOMIC_RELAXED);
    if (!slot_read(&s->transport, e, &words)) /* it has not been used yet */
        head = 0;
    uint32_t tail = words.receive_tail & ~(DATAGRAM_STEP - 1U), sent = words.send_head & ~(DATAGRAM_STEP - 1U);
    if (head % DATAGRAM_STEP != 0 || head - tail > a->receive_size)
        head = tail;
    s->side[index].receive_tail = tail;
    s->side[index].send_head = s->side[index].send_next = e->send_end = sent;
    e->words = (struct slot_words){.send_tail = sent,
                                   .receive_head = head,
                                   .error = __atomic_load_n(&ours->error, __ATOMIC_RELAXED), /* that it counts last */
                                   .error_count = __atomic_load_n(&ours->error_count, __ATOMIC_RELAXED)};
    e->published = e->words;
    endpoint_dirty(&s->transport, index, true);
}

bool udp_slot_again(struct udp_server *s, uint32_t endpoint, const struct message_socket *was)
{
    struct endpoint *e = &s->endpoint[endpoint];
    e->arena = was->arena;
    e->slot = was->slot;
    e->generation = was->generation;
    if (!slot_restore(&s->transport, endpoint)) {
        e->arena = TRANSPORT_NONE; /* it is another's */
        return false;
    }
    const struct session_arena *a = slot_arena(&s->transport, e);
    if (a == NULL)
        return false;
    rings_as_said(s, endpoint, a);
    s->counters.sockets_again++;
    return true;
}

static bool restore(struct udp_server *s, uint32_t index, const struct udp_block *b)
{
    struct transport *t = &s->transport;
    if ((b->socket == 0) != (b->orphan != 0) || b->session >= SESSIONS_MAX || b->receive_head % DATAGRAM_STEP != 0 ||
        b->send_next % DATAGRAM_STEP != 0 || (b->socket != 0 && !endpoint_nobodys_socket(t, b->socket)))
        return false; /* an orphan's 0 is nobody's */
    if (!transport_session_same(t, b->session, b->session_generation)) {
        t->counters.drop_block_stale++;
        return false;
    }
    uint32_t got = endpoint_new(t, b->session, b->socket, index);
    if (got != index) /* cannot be: the table was empty, and indices come in order */
        return false;
    t->endpoint[index].session_generation = b->session_generation;
    if (!slot_again(s, index, b) || (!b->orphan && !bind_again(s, index, b))) {
        endpoint_release(t, index);
        return false;
    }
    rings_again(s, index, b);
    return true;
}

void udp_recover(struct udp_server *s)
{
    struct transport_counters *count = &s->transport.counters;
    for (uint32_t i = 0; i < store_used(&s->store, 0); i++) {
        struct udp_block b;
        enum store_block found = store_read(&s->store, i, &b);
        if (found == STORE_BLOCK_EMPTY)
            continue;
        if (found == STORE_BLOCK_GOOD && restore(s, i, &b)) {
            count->restored++;
            continue;
        }
        if (found == STORE_BLOCK_CORRUPT)
            count->drop_block_corrupt++;
        else
            count->lost_at_restart++;
        store_erase(&s->store, i);
    }
}
