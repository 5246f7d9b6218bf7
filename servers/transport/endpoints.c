// SPDX-License-Identifier: BSD-2-Clause
#include "servers/transport/transport.h"

static void free_push(struct transport *t, uint32_t index)
{
    t->endpoint[index].free_previous = 0;
    t->endpoint[index].free_next = (uint16_t)t->endpoint_free;
    if (t->endpoint_free != 0)
        t->endpoint[t->endpoint_free - 1].free_previous = (uint16_t)(index + 1);
    t->endpoint_free = index + 1;
}

static void free_remove(struct transport *t, uint32_t index)
{
    const struct endpoint *e = &t->endpoint[index];
    if (e->free_previous != 0)
        t->endpoint[e->free_previous - 1].free_next = e->free_next;
    else
        t->endpoint_free = e->free_next;
    if (e->free_next != 0)
        t->endpoint[e->free_next - 1].free_previous = e->free_previous;
}

static struct endpoint *endpoint_fresh(struct transport *t, uint32_t *ret_index)
{
    uint32_t index;
    if (t->endpoint_free != 0) {
        index = t->endpoint_free - 1;
        free_remove(t, index);
    } else if (t->endpoint_high < t->endpoint_max) {
        index = t->endpoint_high++;
    } else {
        return NULL;
    }
    *ret_index = index;
    return &t->endpoint[index];
}

/* After a restart only: the index that the socket server remembers, if nobody has it. */
static struct endpoint *endpoint_wanted(struct transport *t, uint32_t wanted)
{
    if (wanted >= t->endpoint_max || (t->endpoint[wanted].flags & ENDPOINT_USED))
        return NULL;
    while (t->endpoint_high <= wanted)
        free_push(t, t->endpoint_high++);
    free_remove(t, wanted);
    return &t->endpoint[wanted];
}

uint32_t endpoint_new(struct transport *t, uint32_t session, uint32_t socket, uint32_t wanted)
{
    uint32_t index = wanted;
    struct endpoint *e = endpoint_wanted(t, wanted);
    if (e == NULL)
        e = endpoint_fresh(t, &index);
    if (e == NULL)
        return TRANSPORT_NONE;
    uint16_t queues = e->flags & (ENDPOINT_DIRTY | ENDPOINT_QUEUED);
    uint16_t queue_next = e->queue_next;
    *e = (struct endpoint){.session = session,
                           .session_generation = t->context->session[session].generation,
                           .arena = TRANSPORT_NONE,
                           .connection = TRANSPORT_NONE,
                           .queue_next = queue_next,
                           .flags = queues | ENDPOINT_USED};
    t->session[session].endpoints++;
    t->seen |= (uint64_t)1 << session;
    if (socket != 0)
        endpoint_own(t, index, socket);
    return index;
}

void endpoint_own(struct transport *t, uint32_t index, uint32_t socket)
{
    uint16_t *place = &t->by_socket[(socket & 0xffff) % SOCKETS_MAX];
    if (*place != 0 && *place != index + 1) /* of an id that its server no longer has */
        endpoint_close(t, t->now_us, *place - 1U);
    *place = (uint16_t)(index + 1);
    t->endpoint[index].socket = socket;
    t->endpoint[index].flags |= ENDPOINT_OWNED;
}

void endpoint_set_options(struct endpoint *e, const struct message *m)
{
    const uint32_t *argument = m->socket.argument;
    e->options = argument[1];
    e->ttl = (uint8_t)argument[2];
    e->traffic_class = (uint8_t)(argument[2] >> 8);
    e->tuning = (struct endpoint_tuning){.options = m->options,
                                         .user_timeout_ms = argument[3],
                                         .send_log2 = (uint8_t)(argument[2] >> 16),
                                         .receive_log2 = (uint8_t)(argument[2] >> 24)};
}

static void disown(struct transport *t, uint32_t index)
{
    struct endpoint *e = &t->endpoint[index];
    uint16_t *place = &t->by_socket[(e->socket & 0xffff) % SOCKETS_MAX];
    if (e->socket != 0 && *place == index + 1)
        *place = 0;
    e->socket = 0;
}

uint32_t endpoint_of_socket(const struct transport *t, uint32_t socket)
{
    if (socket == 0 || (socket & 0xffff) >= SOCKETS_MAX)
        return TRANSPORT_NONE;
    uint32_t at = t->by_socket[socket & 0xffff];
    return at != 0 && t->endpoint[at - 1].socket == socket ? at - 1 : TRANSPORT_NONE;
}

bool endpoint_nobodys_socket(const struct transport *t, uint32_t socket)
{
    return socket != 0 && (socket & 0xffff) < SOCKETS_MAX && t->by_socket[socket & 0xffff] == 0;
}

uint32_t endpoint_find(const struct transport *t, const struct message_socket *named)
{
    uint32_t index = endpoint_of_socket(t, named->socket);
    if (index != TRANSPORT_NONE)
        return index;
    if (named->connection >= t->endpoint_high || named->generation == 0)
        return TRANSPORT_NONE;
    const struct endpoint *e = &t->endpoint[named->connection];
    bool waits = (e->flags & ENDPOINT_USED) && !(e->flags & ENDPOINT_CLOSED) && e->socket == 0;
    return waits && e->generation == named->generation ? named->connection : TRANSPORT_NONE;
}

void endpoint_dirty(struct transport *t, uint32_t index, bool wake)
{
    struct endpoint *e = &t->endpoint[index];
    if (wake)
        e->flags |= ENDPOINT_WAKE;
    if (e->flags & ENDPOINT_DIRTY)
        return;
    e->flags |= ENDPOINT_DIRTY;
    t->dirty[t->dirty_count++] = (uint16_t)index;
}

void endpoint_established(struct transport *t, uint32_t index)
{
    struct endpoint *e = &t->endpoint[index];
    e->flags |= ENDPOINT_TOLD | ENDPOINT_ESTABLISHED;
    if (e->flags & ENDPOINT_QUEUED)
        return;
    e->flags |= ENDPOINT_QUEUED;
    e->queue_next = 0;
    if (t->queue_last != 0)
        t->endpoint[t->queue_last - 1].queue_next = (uint16_t)(index + 1);
    else
        t->queue_first = index + 1;
    t->queue_last = index + 1;
}

void endpoint_close(struct transport *t, uint64_t now_us, uint32_t index)
{
    struct endpoint *e = &t->endpoint[index];
    if (e->flags & ENDPOINT_CLOSED)
        return;
    struct slot_app words;
    if (slot_read(t, e, &words))
        t->operations->notified(t, now_us, index, &words);
    e->flags |= ENDPOINT_CLOSED;
    e->flags &= (uint16_t)~ENDPOINT_ESTABLISHED;
    t->operations->close(t, now_us, index);
    disown(t, index);
    endpoint_try_release(t, index);
}

void endpoint_refuse(struct transport *t, uint64_t now_us, uint32_t index)
{
    struct endpoint *e = &t->endpoint[index];
    t->counters.drop_slot_disputed++;
    if (e->arena == TRANSPORT_NONE) {
        endpoint_close(t, now_us, index);
        return;
    }
    disown(t, index);
    e->flags |= ENDPOINT_CLOSED;
    e->flags &= (uint16_t)~ENDPOINT_ESTABLISHED;
    t->operations->close(t, now_us, index); /* a socket that is nobody's: an RST */
    endpoint_release(t, index);
}

void endpoint_orphan(struct transport *t, uint64_t now_us, uint32_t index)
{
    struct endpoint *e = &t->endpoint[index];
    disown(t, index);
    e->listener = 0;
    e->flags &= (uint16_t) ~(ENDPOINT_TOLD | ENDPOINT_ESTABLISHED | ENDPOINT_OWNED);
    t->operations->orphaned(t, now_us, index);
    endpoint_dirty(t, index, true);
    t->counters.orphaned++;
}

void endpoint_try_release(struct transport *t, uint32_t index)
{
    const struct endpoint *e = &t->endpoint[index];
    if ((e->flags & ENDPOINT_CLOSED) && e->loan_first == 0 && !t->operations->needs_slot(t, e))
        endpoint_release(t, index);
}

static void forget_loans(struct transport *t, struct endpoint *e)
{
    while (e->loan_first != 0) {
        struct loan *l = &t->loan[e->loan_first - 1];
        e->loan_first = l->next;
        *l = (struct loan){.endpoint = TRANSPORT_NONE};
    }
}

void endpoint_release(struct transport *t, uint32_t index)
{
    struct endpoint *e = &t->endpoint[index];
    if (!(e->flags & ENDPOINT_USED))
        return;
    t->operations->released(t, e);
    forget_loans(t, e);
    slot_put(t, index);
    disown(t, index);
    struct session_slots *s = &t->session[e->session];
    s->endpoints--;
    e->flags &= ENDPOINT_DIRTY | ENDPOINT_QUEUED;
    e->generation = 0;
    free_push(t, index);
}

uint32_t endpoint_send_tail(const struct transport *t, const struct endpoint *e)
{
    uint32_t tail = e->words.send_tail;
    for (uint32_t at = e->loan_first; at != 0; at = t->loan[at - 1].next)
        if ((int32_t)(t->loan[at - 1].offset - tail) < 0)
            tail = t->loan[at - 1].offset;
    return tail;
}
