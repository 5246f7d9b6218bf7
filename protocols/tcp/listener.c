// SPDX-License-Identifier: BSD-2-Clause
/* Listeners and their children. A child counts against the backlog from its SYN until it was accepted: in
 * syn_received, then in accept_queue. So long it hangs in its listener's list, because it ends with it. While both
 * fill the backlog SYNs are answered by cookies (cookie.c), which are let in as long as accept_queue alone does not. */
#include "protocols/tcp/tcp_internal.h"

/* Of a listener, and not accepted yet. */
bool conn_is_child(const struct tcp_conn *c)
{
    return (c->flags & TCP_CONN_PASSIVE) && (c->state == TCP_SYN_RECEIVED || c->accept_pending);
}

void child_add(struct tcp *t, struct tcp_conn *listener, struct tcp_conn *child)
{
    uint32_t index = conn_index(t, child);
    struct tcp_side *parent = &t->side[conn_index(t, listener)], *side = &t->side[index];
    child->listener = conn_index(t, listener);
    side->child_prev = TCP_NONE;
    side->child_next = parent->child_head;
    if (parent->child_head != TCP_NONE)
        t->side[parent->child_head].child_prev = index;
    parent->child_head = index;
    listener->syn_received++;
    t->syn_received++;
    conn_touched(t, listener);
}

void child_remove(struct tcp *t, struct tcp_conn *child)
{
    struct tcp_side *side = &t->side[conn_index(t, child)];
    struct tcp_conn *listener = &t->conn[child->listener];
    if (side->child_prev != TCP_NONE)
        t->side[side->child_prev].child_next = side->child_next;
    else
        t->side[child->listener].child_head = side->child_next;
    if (side->child_next != TCP_NONE)
        t->side[side->child_next].child_prev = side->child_prev;
    if (child->accept_pending) {
        listener->accept_queue--;
    } else {
        listener->syn_received--;
        t->syn_received--;
    }
    child->accept_pending = 0;
    conn_touched(t, listener);
}

void child_established(struct tcp *t, struct tcp_conn *child)
{
    struct tcp_conn *listener = &t->conn[child->listener];
    listener->syn_received--;
    t->syn_received--;
    listener->accept_queue++;
    child->accept_pending = 1;
    t->counters.accepts++;
    conn_touched(t, listener);
}

/* ---- after a restart (restart.c) ---- */
static bool was_born_of(const struct tcp_conn *listener, const struct tcp_conn *child)
{
    return listener->state == TCP_LISTEN && listener->identity.local_port == child->identity.local_port;
}

static void adopt(struct tcp *t, struct tcp_conn *listener, struct tcp_conn *child, bool accept_pending)
{
    child->flags |= TCP_CONN_PASSIVE;
    child_add(t, listener, child);
    if (!accept_pending)
        return;
    listener->syn_received--;
    t->syn_received--;
    listener->accept_queue++;
    child->accept_pending = 1;
}

void child_restored(struct tcp *t, struct tcp_conn *child)
{
    struct tcp_side *side = &t->side[conn_index(t, child)];
    bool accept_pending = child->accept_pending;
    if (!conn_is_child(child)) {
        child->listener = child->listener < t->config.connections ? child->listener : TCP_NONE;
        return;
    }
    child->accept_pending = 0;
    if (was_born_of(&t->conn[child->listener], child)) {
        adopt(t, &t->conn[child->listener], child, accept_pending);
        return;
    }
    child->flags &= ~(uint32_t)TCP_CONN_PASSIVE;
    side->orphan = accept_pending ? ORPHAN_ESTABLISHED : ORPHAN_SYN_RECEIVED;
    t->orphans = true;
}

void listener_restored(struct tcp *t, struct tcp_conn *listener)
{
    for (uint32_t i = 0; t->orphans && i < t->fresh; i++) {
        struct tcp_conn *c = &t->conn[i];
        if (t->side[i].orphan == ORPHAN_NONE || c->listener != conn_index(t, listener) || !was_born_of(listener, c))
            continue;
        bool established = c->state != TCP_SYN_RECEIVED;
        t->side[i].orphan = ORPHAN_NONE;
        adopt(t, listener, c, established);
        conn_touched(t, c);
    }
}

void orphans_settle(struct tcp *t)
{
    for (uint32_t i = 0; i < t->fresh; i++) {
        if (t->side[i].orphan == ORPHAN_SYN_RECEIVED && t->conn[i].state == TCP_SYN_RECEIVED)
            conn_reset(t, &t->conn[i], TCP_ERROR_ABORTED);
        t->side[i].orphan = ORPHAN_NONE;
    }
    t->orphans = false;
}

bool accept_queue_is_full(const struct tcp_conn *listener)
{
    return listener->accept_queue > listener->backlog;
}

/* Nor may those who only knock hold more than a quarter of the table, if there is another way to let them in. */
bool syns_are_full(const struct tcp *t, const struct tcp_conn *listener)
{
    return listener->syn_received + listener->accept_queue > listener->backlog ||
           (!t->config.no_cookies && t->syn_received >= u32_max(1, t->config.connections / 4));
}

/* Each turn takes one child off the list. */
void listener_end(struct tcp *t, struct tcp_conn *listener)
{
    const struct tcp_side *side = &t->side[conn_index(t, listener)];
    while (side->child_head != TCP_NONE)
        conn_reset(t, &t->conn[side->child_head], TCP_ERROR_ABORTED);
    conn_end(t, listener, TCP_ERROR_NONE);
}

void tcp_accepted(struct tcp *t, uint32_t index)
{
    if (index >= t->config.connections || !t->conn[index].accept_pending)
        return;
    child_remove(t, &t->conn[index]);
    conn_touched(t, &t->conn[index]);
}

/* Untrusted: header (wire). Parsed on its own: options and payload do not count here. */
bool tcp_completes_handshake(const struct tcp *t, uint32_t index, const uint8_t *header, uint32_t header_length)
{
    const struct tcp_conn *c = index < t->config.connections ? &t->conn[index] : NULL;
    struct segment s;
    if (c == NULL || c->state != TCP_SYN_RECEIVED ||
        segment_parse(header, header_length, header_length, &s) != SEGMENT_OK)
        return false;
    if ((s.flags & (TCP_FLAG_SYN | TCP_FLAG_RST | TCP_FLAG_ACK)) != TCP_FLAG_ACK)
        return false;
    if ((c->flags & TCP_CONN_TIMESTAMPS) && !s.timestamps) /* tcp_input() would drop it */
        return false;
    if ((c->flags & TCP_CONN_PASSIVE) && accept_queue_is_full(&t->conn[c->listener]))
        return false;
    return seq_after(s.ack, c->snd_una) && !seq_after(s.ack, c->snd_max); /* RFC 9293 3.10.7.4, fifth */
}

enum tcp_call_result tcp_attach(struct tcp *t, uint32_t index, uint32_t owner, uint32_t session, uint32_t arena,
                                uint32_t slot, uint32_t generation)
{
    if (index >= t->config.connections)
        return TCP_CALL_BAD_STATE;
    struct tcp_conn *c = &t->conn[index];
    if (c->state != TCP_SYN_RECEIVED || c->identity.arena != UINT32_MAX)
        return TCP_CALL_BAD_STATE;
    c->identity.owner = owner;
    c->identity.session = session;
    c->identity.arena = arena;
    c->identity.slot = slot;
    c->identity.generation = generation;
    conn_touched(t, c);
    return TCP_CALL_OK;
}
