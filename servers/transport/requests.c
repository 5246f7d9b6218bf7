// SPDX-License-Identifier: BSD-2-Clause
/* The socket server's side: its requests (idempotent: a repeated one is answered with what is there), our notices to
 * it, and the exchange of lists after either side restarted. */
#include <errno.h>

#include "servers/addresses.h"
#include "servers/transport/transport.h"
#include "servers/work.h"

#define MESSAGE_ROOM 2U /* slots of the longest message to the socket server */

void transport_message_about(const struct transport *t, uint32_t endpoint, uint8_t operation, struct message *ret)
{
    *ret = (struct message){.operation = operation, .capability = CAPABILITY_INDEX_PEER, .generation = 1};
    ret->socket.connection = TRANSPORT_NONE;
    ret->socket.arena = TRANSPORT_NONE;
    if (endpoint == TRANSPORT_NONE)
        return;
    const struct endpoint *e = &t->endpoint[endpoint];
    ret->socket = (struct message_socket){.socket = e->socket,
                                          .session = e->session,
                                          .connection = endpoint,
                                          .arena = e->arena,
                                          .slot = e->slot,
                                          .generation = e->generation,
                                          .listener = e->listener};
    t->operations->address(t, e, ret);
}

void transport_answer(struct transport *t, const struct message *request, uint32_t endpoint, int error)
{
    struct message m;
    transport_message_about(t, endpoint, MESSAGE_ANSWER, &m);
    m.cookie = request->cookie;
    m.socket.socket = request->socket.socket;
    m.socket.session = request->socket.session;
    m.socket.error = error;
    if (port_push(t->socket, &m))
        t->counters.answers++;
}

/* ---- requests that are the same for both ---- */

static void request_close(struct transport *t, uint64_t now_us, const struct message *m)
{
    uint32_t index = endpoint_find(t, &m->socket);
    if (index != TRANSPORT_NONE)
        endpoint_close(t, now_us, index);
    transport_answer(t, m, TRANSPORT_NONE, 0);
}

/* What only one of the two knows of a socket is no dispute: its answer was lost. Each of us compares, and comes to the
 * same end: the socket server tells the user. */
static bool slot_agrees(const struct endpoint *e, const struct message_socket *named)
{
    if (e->session != named->session)
        return false;
    return e->arena == TRANSPORT_NONE || named->arena == TRANSPORT_NONE ||
           (e->arena == named->arena && e->slot == named->slot && e->generation == named->generation);
}

/* The socket server's list is the first that it says on a channel, and once: later it would close what was made since.
 */
static bool list_expected(struct transport *t)
{
    t->counters.drop_list += !t->list_expected;
    return t->list_expected;
}

static void request_owned(struct transport *t, uint64_t now_us, const struct message *m)
{
    if (!list_expected(t))
        return;
    uint32_t index = endpoint_find(t, &m->socket);
    if (index == TRANSPORT_NONE)
        return; /* it learns from our list */
    if (!slot_agrees(&t->endpoint[index], &m->socket)) {
        endpoint_refuse(t, now_us, index);
        return;
    }
    if (t->endpoint[index].socket == 0) /* accepted, but the message was lost with its sender */
        t->operations->request(t, now_us, m);
    t->endpoint[index].flags |= ENDPOINT_OWNED;
}

/* Of a connection that was lost with an earlier life before we heard that anybody had accepted it (our list named
 * it): it is claimed by now or never. */
static bool unclaimed(const struct endpoint *e)
{
    return e->socket == 0 && e->connection == TRANSPORT_NONE && !(e->flags & ENDPOINT_TOLD);
}

/* Whether an application may use its slot without having been told of its end: (cold) the socket server may have
 * forgotten that; else what it forgot is but a damaged block's, and the application has written to the slot. One that
 * has ended uses nothing, and what it wrote is still to be sent: its sockets are on no list, SESSION_END stands for
 * them. */
static bool may_be_used(const struct transport *t, const struct endpoint *e, bool cold)
{
    struct slot_app words;
    if (t->context->session[e->session].ending || t->session[e->session].end_early)
        return false;
    return e->socket != 0 && e->arena != TRANSPORT_NONE &&
           (cold || (e->connection != TRANSPORT_NONE && slot_read(t, e, &words)));
}

static void request_owned_end(struct transport *t, uint64_t now_us, const struct message *m)
{
    bool cold = m->socket.argument[0] != 0;
    if (!list_expected(t))
        return;
    t->list_expected = false;
    for (uint32_t i = 0; i < t->endpoint_high; i++) {
        struct endpoint *e = &t->endpoint[i];
        bool open = (e->flags & ENDPOINT_USED) && !(e->flags & ENDPOINT_CLOSED);
        bool unowned = open && (unclaimed(e) || (e->socket != 0 && !(e->flags & ENDPOINT_OWNED)));
        if (unowned && may_be_used(t, e, cold))
            endpoint_orphan(t, now_us, i);
        else if (unowned)
            endpoint_close(t, now_us, i);
        else
            e->flags &= (uint16_t)~ENDPOINT_OWNED;
    }
}

/* Untrusted: session (of the socket server; in range). */
void transport_session_end(struct transport *t, uint64_t now_us, uint32_t session)
{
    t->session[session].end_early = false;
    t->session[session].end_asked = true;
    t->end_asked |= (uint64_t)1 << session;
    for (uint32_t i = 0; i < t->endpoint_high; i++)
        if ((t->endpoint[i].flags & ENDPOINT_USED) && t->endpoint[i].session == session)
            endpoint_close(t, now_us, i);
}

/* The supervisor's word decides whether one that is there has ended: this may be about the last one of that index,
 * which was ended by force meanwhile; or it has overtaken that word, and is done when it comes. */
static void request_session_end(struct transport *t, uint64_t now_us, const struct message *m)
{
    uint32_t session = m->socket.session;
    if (session >= SESSIONS_MAX)
        t->counters.drop_request_session++;
    else if (t->context->session[session].present && !t->context->session[session].ending)
        t->session[session].end_early = true;
    else
        transport_session_end(t, now_us, session);
}

static void request_take(struct transport *t, uint64_t now_us, const struct message *m)
{
    if (capability_lookup(&t->socket->table, m->capability, m->generation, CAPABILITY_SOCKET, CAPABILITY_REQUEST) ==
        NULL) {
        t->counters.drop_capability++;
        port_makes_no_sense(t->socket);
        return;
    }
    t->counters.requests++;
    const struct message_socket *about = &m->socket;
    uint64_t name = (uint64_t)about->socket << 32 | (uint64_t)m->operation << 16 | (about->session & 0xffff);
    if (!server_works_on(t->context, work_key_numbers(t->context, WORK_REQUEST, name, m->cookie))) {
        t->counters.drop_poison++;
        if (m->cookie != 0) /* somebody waits for it */
            transport_answer(t, m, TRANSPORT_NONE, ECONNRESET);
        return;
    }
    switch (m->operation) {
    case MESSAGE_CLOSE:
        request_close(t, now_us, m);
        break;
    case MESSAGE_OWNED:
        request_owned(t, now_us, m);
        break;
    case MESSAGE_OWNED_END:
        request_owned_end(t, now_us, m);
        break;
    case MESSAGE_SESSION_END:
        request_session_end(t, now_us, m);
        break;
    case MESSAGE_BIND:
    case MESSAGE_LISTEN:
    case MESSAGE_CONNECT:
    case MESSAGE_ACCEPTED:
    case MESSAGE_SET_OPTION:
        t->operations->request(t, now_us, m);
        break;
    default:
        t->counters.drop_operation++;
        port_foreign(t->socket);
    }
}

bool transport_requests(struct transport *t, uint64_t now_us)
{
    struct message m;
    uint32_t taken = 0;
    while (taken < SERVER_BURST && port_space(t->socket) >= MESSAGE_ROOM && port_pull(t->socket, &m)) {
        request_take(t, now_us, &m);
        taken++;
    }
    return taken > 0;
}

/* ---- notices ---- */

/* False: no room. */
static bool notice_send(struct transport *t, uint32_t index)
{
    struct endpoint *e = &t->endpoint[index];
    if (!(e->flags & ENDPOINT_ESTABLISHED))
        return true; /* withdrawn */
    struct message m;
    transport_message_about(t, index, MESSAGE_ESTABLISHED, &m);
    if (!port_push(t->socket, &m))
        return false;
    t->counters.notices++;
    e->flags &= (uint16_t)~ENDPOINT_ESTABLISHED;
    return true;
}

bool transport_notice_now(struct transport *t, uint32_t endpoint)
{
    struct endpoint *e = &t->endpoint[endpoint];
    e->flags |= ENDPOINT_TOLD | ENDPOINT_ESTABLISHED;
    return notice_send(t, endpoint);
}

static bool session_ends(struct transport *t)
{
    bool did = false;
    for (uint64_t left = t->end_asked; left != 0; left &= left - 1) {
        uint32_t session = (uint32_t)__builtin_ctzll(left);
        if (t->session[session].endpoints > 0)
            continue;
        struct message m;
        transport_message_about(t, TRANSPORT_NONE, MESSAGE_LOST, &m);
        m.socket.session = session;
        if (!port_push(t->socket, &m))
            break;
        t->session[session].end_asked = false;
        t->end_asked &= ~((uint64_t)1 << session);
        did = true;
    }
    return did;
}

/* Our list, as far as there is room: sockets as ALIVE, connections that nobody accepted yet as ESTABLISHED, and slots
 * that are kept for whoever may have accepted them as ALIVE without a socket: its ACCEPTED may have been lost. */
static bool alive_send(struct transport *t)
{
    struct message m;
    bool did = false;
    for (; t->alive_cursor < t->endpoint_high; t->alive_cursor++) {
        const struct endpoint *e = &t->endpoint[t->alive_cursor];
        if (!(e->flags & ENDPOINT_USED) || (e->flags & ENDPOINT_CLOSED))
            continue;
        bool told = (e->flags & ENDPOINT_TOLD) != 0;
        if (e->socket == 0 && !told && (!unclaimed(e) || e->listener == 0)) /* an orphan's slot is nobody's */
            continue;
        transport_message_about(t, t->alive_cursor, e->socket == 0 && told ? MESSAGE_ESTABLISHED : MESSAGE_ALIVE, &m);
        if (!port_push(t->socket, &m))
            return did;
        did = true;
    }
    transport_message_about(t, TRANSPORT_NONE, MESSAGE_ALIVE_END, &m);
    if (port_push(t->socket, &m)) {
        t->alive_sending = false;
        did = true;
    }
    return did;
}

bool transport_notices(struct transport *t)
{
    bool did = t->alive_sending && alive_send(t);
    while (t->queue_first != 0) {
        uint32_t index = t->queue_first - 1;
        struct endpoint *e = &t->endpoint[index];
        if (!notice_send(t, index))
            return did;
        t->queue_first = e->queue_next;
        if (t->queue_first == 0)
            t->queue_last = 0;
        e->flags &= (uint16_t)~ENDPOINT_QUEUED;
        did = true;
    }
    return session_ends(t) || did;
}

void transport_reconcile(struct transport *t)
{
    t->alive_sending = true;
    t->list_expected = true;
    t->alive_cursor = 0;
    for (uint32_t i = 0; i < t->endpoint_high; i++)
        t->endpoint[i].flags &= (uint16_t)~ENDPOINT_OWNED;
}

int transport_new_socket_error(const struct transport *t, const struct message *m)
{
    if (m->socket.socket == 0 || (m->socket.socket & 0xffff) >= SOCKETS_MAX)
        return EINVAL;
    if (!transport_session_open(t, m->socket.session))
        return ESHUTDOWN;
    if (m->source.family != ADDRESS_NONE && !address_family_known(m->source.family))
        return EAFNOSUPPORT;
    if (!ip_address_is_any(&m->source) && !address_is_ours(t->context->config, &m->source))
        return EADDRNOTAVAIL;
    return 0;
}
