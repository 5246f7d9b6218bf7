// SPDX-License-Identifier: BSD-2-Clause
/* What a socket is ready for, and waiting until it is. */
#include <errno.h>

#include "servers/client/lane.h"
#include "servers/client/session.h"

/* Errors of datagrams come and go: what is told is that there was one since the last. */
static void datagram_view(const struct socket *k, const struct slot_transport *t, struct slot_view *ret)
{
    uint32_t told = __atomic_load_n(&k->error_told, __ATOMIC_RELAXED);
    ret->error_count = __atomic_load_n(&t->error_count, __ATOMIC_ACQUIRE);
    uint32_t error = __atomic_load_n(&t->error, __ATOMIC_ACQUIRE);
    ret->error = ret->error_count != told && error < 4096 ? (int)error : 0;
    ret->path_mtu = __atomic_load_n(&t->path_mtu, __ATOMIC_RELAXED);
}

/* Untrusted: the socket server's word, read once. What it says of the socket: 0, or an errno value. */
static int word_error(const struct socket *k)
{
    uint32_t error = __atomic_load_n(&k->word->error, __ATOMIC_ACQUIRE);
    return error < 4096 ? (int)error : EIO;
}

int socket_take_word(struct socket *k)
{
    int error = word_error(k);
    return error != 0 && __atomic_exchange_n(&k->error_taken, true, __ATOMIC_RELAXED) ? 0 : error;
}

/* The transport has forgotten the socket, or the socket server has: the slot says nothing of it. */
static struct slot_view view_of_gone(struct slot_view v, int error)
{
    v.state |= SLOT_ERROR | SLOT_CLOSED;
    if (v.error == 0)
        v.error = error;
    return v;
}

/* Untrusted: the transport's words, each read once. The state first: what it says of the stream's end holds for the
 * indices that are read after it. */
static struct slot_view slot_view(const struct socket *k)
{
    struct slot_view v = {0};
    const struct slot_transport *t = __atomic_load_n(&k->words, __ATOMIC_ACQUIRE);
    if (t == NULL || __atomic_load_n(&t->generation, __ATOMIC_ACQUIRE) != k->slot_generation)
        return v; /* it has not begun to use this slot for us: no news */
    if (k->transport == SESSION_UDP)
        datagram_view(k, t, &v);
    v.state = __atomic_load_n(&t->state, __ATOMIC_ACQUIRE);
    uint32_t error = __atomic_load_n(&t->error, __ATOMIC_ACQUIRE);
    if ((v.state & SLOT_ERROR) != 0 && k->transport == SESSION_TCP)
        v.error = error > 0 && error < 4096 ? (int)error : ECONNRESET;
    bool stream = k->transport == SESSION_TCP;
    uint32_t send_tail = __atomic_load_n(&t->send_tail, __ATOMIC_ACQUIRE);
    uint32_t held = __atomic_load_n(&k->send_head, __ATOMIC_RELAXED) - send_tail;
    struct ring_shape send = stream ? stream_send_shape(k) : ring_make(k->send_size);
    v.room = ring_room(&send, send_tail);
    v.space = held <= v.room ? v.room - held : 0;
    uint32_t head = __atomic_load_n(&t->receive_head, __ATOMIC_ACQUIRE);
    uint32_t receive_tail = __atomic_load_n(&k->receive_tail, __ATOMIC_RELAXED);
    struct ring_shape receive = stream ? stream_receive_shape(k) : ring_make(k->receive_size);
    v.available = head - receive_tail <= ring_room(&receive, receive_tail) ? head - receive_tail : 0;
    return v;
}

struct slot_view socket_view(const struct socket *k)
{
    int error = word_error(k); /* before the slot, which may say more */
    struct slot_view v = slot_view(k);
    return error == 0 ? v : view_of_gone(v, error);
}

static bool flag(const bool *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

int socket_take_error(struct socket *k)
{
    uint32_t told = __atomic_load_n(&k->error_told, __ATOMIC_RELAXED);
    struct slot_view v = socket_view(k);
    if (k->transport == SESSION_UDP && (v.state & SLOT_CLOSED) != 0) {
        __atomic_store_n(&k->error_told, v.error_count, __ATOMIC_RELAXED);
        if (__atomic_exchange_n(&k->error_taken, true, __ATOMIC_RELAXED))
            return 0;
        return v.error != 0 ? v.error : ECONNRESET;
    }
    if (v.error == 0)
        return 0;
    if (k->transport == SESSION_UDP) /* once, also with several threads */
        return __atomic_compare_exchange_n(&k->error_told, &told, v.error_count, false, __ATOMIC_RELAXED,
                                           __ATOMIC_RELAXED)
                   ? v.error
                   : 0;
    if (__atomic_exchange_n(&k->error_taken, true, __ATOMIC_RELAXED))
        return 0;
    return v.error;
}

#define OVER (POLLIN | POLLOUT | POLLRDHUP | POLLHUP)

static short stream_events(const struct socket *k)
{
    struct slot_view v = socket_view(k);
    bool gone = (v.state & (SLOT_ERROR | SLOT_CLOSED)) != 0;
    bool fin = (v.state & SLOT_FIN) != 0;
    bool no_more = flag(&k->shut_write);
    bool ended = fin || gone || flag(&k->shut_read);
    int e = 0;
    if (v.available > 0 || ended)
        e |= POLLIN;
    if ((v.room != 0 && v.space >= v.room / 4) || gone || no_more)
        e |= POLLOUT;
    if (ended)
        e |= POLLRDHUP;
    if (gone || (ended && no_more))
        e |= POLLHUP;
    if (v.error != 0 && !flag(&k->error_taken))
        e |= POLLERR;
    return (short)e;
}

static short connecting_events(const struct socket *k)
{
    struct slot_view v = socket_view(k);
    if ((v.state & SLOT_CONNECTED) != 0)
        return stream_events(k);
    return (v.state & (SLOT_ERROR | SLOT_CLOSED)) != 0 ? OVER | POLLERR : 0;
}

/* As Linux: one that failed to connect is at its end, unless bh_connect() has said so: then it is as new. */
static short new_events(const struct socket *k)
{
    if (k->transport != SESSION_TCP)
        return POLLOUT;
    return flag(&k->over) ? OVER : POLLOUT | POLLHUP;
}

/* Writable: half of the ring is free, or as much as the largest datagram takes; but not while there is no room for the
 * one that was tried last, or who sends it when told to would be told again at once. */
static short datagram_events(const struct socket *k)
{
    struct slot_view v = socket_view(k);
    uint32_t room = k->send_size / 2 < DATAGRAM_HEAD + DATAGRAM_MOST ? k->send_size / 2 : DATAGRAM_HEAD + DATAGRAM_MOST;
    uint32_t wanted = __atomic_load_n(&k->send_wanted, __ATOMIC_RELAXED);
    int e = v.space >= (room > wanted ? room : wanted) || flag(&k->shut_write) ? POLLOUT : 0;
    if (v.available > 0 || flag(&k->shut_read))
        e |= POLLIN;
    if (v.error != 0)
        e |= POLLIN | POLLOUT | POLLERR;
    if ((v.state & SLOT_CLOSED) != 0)
        e |= POLLIN | POLLOUT | POLLERR | POLLHUP;
    return (short)e;
}

static short listener_events(const struct socket *k)
{
    int e = __atomic_load_n(&k->word->accept_ready, __ATOMIC_ACQUIRE) != 0 ? POLLIN : 0;
    if (word_error(k) != 0)
        e |= POLLIN | POLLERR | POLLHUP;
    if (flag(&k->shut_read))
        e |= POLLIN | POLLHUP;
    return (short)e;
}

short socket_events(const struct socket *k)
{
    switch (socket_phase(k)) {
    case SOCKET_NEW:
        return new_events(k);
    case SOCKET_LISTENING:
        return listener_events(k);
    case SOCKET_CONNECTING:
        return connecting_events(k);
    case SOCKET_STREAM:
        return stream_events(k);
    case SOCKET_DATAGRAM:
        return datagram_events(k);
    default:
        return POLLNVAL;
    }
}

uint32_t socket_closes(const struct socket *k)
{
    return __atomic_load_n(&k->closes, __ATOMIC_RELAXED);
}

struct socket_condition {
    const struct socket *socket;
    uint32_t closes;
    short events;
    uint32_t octets; /* 0: whatever there is; else no less than so many to be read */
};

static bool socket_ready(struct session *s, const void *argument)
{
    (void)s;
    const struct socket_condition *c = argument;
    return socket_closes(c->socket) != c->closes || (socket_events(c->socket) & c->events) != 0 ||
           (c->octets != 0 && socket_view(c->socket).available >= c->octets);
}

static int condition_wait(struct session *s, const struct socket_condition *c, int flags, int64_t deadline_us)
{
    const struct socket *k = c->socket;
    if (socket_closes(k) != c->closes || socket_phase(k) == SOCKET_FREE)
        return -EBADF; /* closed since the caller looked */
    if (socket_ready(s, c))
        return 0;
    if (k->nonblocking || (flags & MSG_DONTWAIT) != 0)
        return session_look(s) ? -ENETDOWN : -EAGAIN;
    struct waiter w = {.ready = socket_ready, .argument = c, .deadline_us = deadline_us};
    int error = session_wait(s, &w);
    if (session_is_gone(s))
        return -ENETDOWN;
    if (socket_closes(k) != c->closes || socket_phase(k) == SOCKET_FREE)
        return -EBADF;
    return error == -ETIMEDOUT ? -EAGAIN : error;
}

#define ENDS (POLLERR | POLLHUP | POLLNVAL)

int socket_wait(struct session *s, struct socket *k, uint32_t closes, short events, int flags, int64_t deadline_us)
{
    const struct socket_condition c = {.socket = k, .closes = closes, .events = (short)(events | ENDS)};
    return condition_wait(s, &c, flags, deadline_us);
}

int socket_wait_octets(struct session *s, struct socket *k, uint32_t closes, uint32_t octets, int flags,
                       int64_t deadline_us)
{
    const struct socket_condition c = {.socket = k, .closes = closes, .events = POLLRDHUP | ENDS, .octets = octets};
    return condition_wait(s, &c, flags, deadline_us);
}
