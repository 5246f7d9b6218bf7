// SPDX-License-Identifier: BSD-2-Clause
/* Octets of connected streams: between the caller's memory and the rings of the socket's slot. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "servers/client/bulkhead.h"
#include "servers/client/session.h"

#define SEND_CHUNK (64U << 10) /* copied before the transport is told, so that it sends while we copy on */
#define PIECES_MAX 1024

/* ---- pieces ---- */
ssize_t iovec_total(const struct iovec *piece, int count)
{
    size_t total = 0;
    if (count < 0 || count > PIECES_MAX)
        return -EINVAL;
    for (int i = 0; i < count; i++) {
        if (piece[i].iov_len > (size_t)SSIZE_MAX - total)
            return -EINVAL;
        total += piece[i].iov_len;
    }
    return (ssize_t)total;
}

/* Octets from here on that lie in one run of both: piece[i] less `skip`, the ring from `offset`, `left` wanted. */
static uint32_t run(const struct iovec *piece, size_t skip, const struct ring_shape *shape, uint32_t offset,
                    uint32_t left)
{
    size_t n = piece->iov_len - skip;
    uint32_t most = ring_run(shape, offset);
    n = n < left ? n : left;
    return n < most ? (uint32_t)n : most;
}

uint32_t iovec_copy_in(uint8_t *ring, const struct ring_shape *shape, uint32_t offset, uint32_t room,
                       const struct iovec *piece, int count, size_t skip)
{
    uint32_t done = 0;
    for (int i = 0; i < count && done < room;) {
        if (skip >= piece[i].iov_len) {
            skip -= piece[i++].iov_len;
            continue;
        }
        uint32_t n = run(&piece[i], skip, shape, offset + done, room - done);
        memcpy(ring + ring_position(shape, offset + done), (const uint8_t *)piece[i].iov_base + skip, n);
        done += n;
        skip += n;
    }
    return done;
}

uint32_t iovec_copy_out(const uint8_t *ring, const struct ring_shape *shape, uint32_t offset, uint32_t room,
                        const struct iovec *piece, int count, size_t skip)
{
    uint32_t done = 0;
    for (int i = 0; i < count && done < room;) {
        if (skip >= piece[i].iov_len) {
            skip -= piece[i++].iov_len;
            continue;
        }
        uint32_t n = run(&piece[i], skip, shape, offset + done, room - done);
        memcpy((uint8_t *)piece[i].iov_base + skip, ring + ring_position(shape, offset + done), n);
        done += n;
        skip += n;
    }
    return done;
}

/* Two are enough: no more is live than has room before the ring's end and again before this place, also while it grows.
 */
static int ring_pieces(uint8_t *ring, const struct ring_shape *shape, uint32_t offset, uint32_t length,
                       struct iovec ret[2])
{
    uint32_t run_length = ring_run(shape, offset);
    uint32_t first = length < run_length ? length : run_length;
    ret[0] = (struct iovec){.iov_base = ring + ring_position(shape, offset), .iov_len = first};
    ret[1] = (struct iovec){.iov_base = ring, .iov_len = length - first};
    return (int)length;
}

/* ---- both directions ---- */
/* 0 once it is connected; waits for an attempt under way. */
static int stream_enter(struct session *s, struct socket *k, int flags, int64_t deadline_us)
{
    uint32_t closes = socket_closes(k);
    for (;;) {
        uint32_t phase = socket_phase(k);
        if (phase == SOCKET_STREAM)
            return 0;
        if (phase != SOCKET_CONNECTING)
            return -ENOTCONN;
        int error = socket_settle(k);
        if (error == -EAGAIN)
            error = socket_wait(s, k, closes, POLLOUT, flags, deadline_us);
        if (error != 0)
            return error;
    }
}

/* ---- sending ---- */
void socket_publish_send(struct session *s, struct socket *k, uint32_t head)
{
    __atomic_store_n(&k->send_head, head, __ATOMIC_RELAXED);
    __atomic_store_n(&k->app->send_head, head, __ATOMIC_RELEASE);
    arena_notify(s, k->arena, k->slot);
}

/* Room now; 0: none, -EPIPE: nothing can be sent (any more). */
static ssize_t send_room(const struct socket *k)
{
    if (socket_phase(k) != SOCKET_STREAM || __atomic_load_n(&k->shut_write, __ATOMIC_RELAXED))
        return -EPIPE;
    struct slot_view v = socket_view(k);
    return (v.state & (SLOT_ERROR | SLOT_CLOSED)) != 0 ? -EPIPE : (ssize_t)v.space;
}

/* Waits for room with the lock given up in between. Octets, -EPIPE, or what socket_wait() says. */
static ssize_t send_await(struct session *s, struct socket *k, int flags, int64_t deadline_us)
{
    ssize_t room;
    uint32_t closes = socket_closes(k);
    while ((room = send_room(k)) == 0) {
        pthread_mutex_unlock(&k->send_lock);
        int error = socket_wait(s, k, closes, POLLOUT, flags, deadline_us);
        pthread_mutex_lock(&k->send_lock);
        if (error != 0 || socket_closes(k) != closes)
            return error != 0 ? error : -EBADF;
    }
    return room;
}

static ssize_t error_or(struct socket *k, ssize_t otherwise)
{
    int error = socket_take_error(k);
    return error != 0 ? -error : otherwise;
}

ssize_t stream_send(struct session *s, struct socket *k, const struct iovec *piece, int count, int flags)
{
    int64_t deadline = socket_deadline_us(k->send_timeout_us);
    ssize_t total = iovec_total(piece, count);
    int error = total < 0 ? (int)total : stream_enter(s, k, flags, deadline);
    if (error != 0)
        return error == -ENOTCONN ? -EPIPE : error; /* as Linux; POSIX has ENOTCONN */
    ssize_t done = 0, room = 0;
    pthread_mutex_lock(&k->send_lock);
    k->reserved = 0;
    if (total == 0 && send_room(k) < 0)
        room = -EPIPE;
    while (done < total) {
        stream_grow_send(k);
        room = send_await(s, k, flags, deadline);
        if (room < 0)
            break;
        uint32_t most = room < SEND_CHUNK ? (uint32_t)room : SEND_CHUNK;
        struct ring_shape shape = stream_send_shape(k);
        uint32_t n = iovec_copy_in(k->send_ring, &shape, k->send_head, most, piece, count, (size_t)done);
        socket_publish_send(s, k, k->send_head + n);
        done += n;
    }
    pthread_mutex_unlock(&k->send_lock);
    if (done > 0 || room >= 0)
        return done;
    return room == -EPIPE ? error_or(k, -EPIPE) : room;
}

static ssize_t stream_reserve(struct session *s, struct socket *k, struct iovec ret[2], int flags)
{
    int64_t deadline = socket_deadline_us(k->send_timeout_us);
    ssize_t room = stream_enter(s, k, flags, deadline);
    if (room < 0)
        return room;
    pthread_mutex_lock(&k->send_lock);
    stream_grow_send(k);
    room = send_await(s, k, flags, deadline);
    if (room > 0) {
        struct ring_shape shape = stream_send_shape(k);
        k->reserved = (uint32_t)room;
        ring_pieces(k->send_ring, &shape, k->send_head, (uint32_t)room, ret);
    }
    pthread_mutex_unlock(&k->send_lock);
    return room == -EPIPE ? error_or(k, -EPIPE) : room;
}

static int stream_commit(struct session *s, struct socket *k, size_t length)
{
    int error = 0;
    pthread_mutex_lock(&k->send_lock);
    if (length > k->reserved) {
        error = -EINVAL;
    } else if (socket_phase(k) != SOCKET_STREAM || k->shut_write) {
        error = -EPIPE;
    } else if (length > 0) {
        k->reserved -= (uint32_t)length;
        socket_publish_send(s, k, k->send_head + (uint32_t)length);
    }
    pthread_mutex_unlock(&k->send_lock);
    return error;
}

/* ---- receiving ---- */
/* The peer's window follows from what we consumed; a quarter of the ring is worth telling. */
void socket_publish_receive(struct session *s, struct socket *k, uint32_t tail)
{
    __atomic_store_n(&k->receive_tail, tail, __ATOMIC_RELAXED);
    __atomic_store_n(&k->app->receive_tail, tail, __ATOMIC_RELEASE);
    bool grew = k->transport == SESSION_TCP && stream_grow_receive(k);
    if (!grew && tail - k->receive_told < k->receive_size / 4)
        return;
    k->receive_told = tail;
    arena_notify(s, k->arena, k->slot);
}

/* Octets to be read now, fewer than `least` only before the end; 0: end of file; -EAGAIN: not yet; -EPIPE: the
 * connection is gone. */
static ssize_t receive_available(const struct socket *k, uint32_t least)
{
    if (socket_phase(k) != SOCKET_STREAM || __atomic_load_n(&k->shut_read, __ATOMIC_RELAXED))
        return 0;
    struct slot_view v = socket_view(k);
    bool ended = (v.state & (SLOT_FIN | SLOT_ERROR | SLOT_CLOSED)) != 0;
    if (v.available >= least || (v.available > 0 && ended))
        return v.available;
    if ((v.state & SLOT_FIN) != 0)
        return 0;
    return ended ? -EPIPE : -EAGAIN;
}

/* The peer is to know of all the room there is before somebody waits for octets with some unread. */
static void receive_tell(struct session *s, struct socket *k)
{
    if (k->receive_told == k->receive_tail)
        return;
    k->receive_told = k->receive_tail;
    arena_notify(s, k->arena, k->slot);
}

/* What there is counts, however little, when the wait is over. */
static ssize_t receive_await_least(struct session *s, struct socket *k, uint32_t least, int flags, int64_t deadline_us)
{
    ssize_t n;
    uint32_t closes = socket_closes(k);
    while ((n = receive_available(k, least)) == -EAGAIN) {
        if (least > 1)
            receive_tell(s, k);
        pthread_mutex_unlock(&k->receive_lock);
        int error = socket_wait_octets(s, k, closes, least, flags, deadline_us);
        pthread_mutex_lock(&k->receive_lock);
        if (socket_closes(k) != closes)
            return error != 0 ? error : -EBADF;
        if (error != 0) {
            n = error == -EAGAIN || error == -EINTR ? receive_available(k, 1) : error;
            return n == -EAGAIN ? error : n;
        }
    }
    return n;
}

static ssize_t receive_await(struct session *s, struct socket *k, int flags, int64_t deadline_us)
{
    return receive_await_least(s, k, 1, flags, deadline_us);
}

/* MSG_PEEK and MSG_WAITALL: what is waited for. No more of the ring than the transport fills for sure whatever it holds
 * back of its window; Linux waits for what never comes. */
static uint32_t peek_least(const struct socket *k, ssize_t total, int flags)
{
    uint32_t most = k->receive_size / 4;
    if ((flags & (MSG_PEEK | MSG_WAITALL)) != (MSG_PEEK | MSG_WAITALL) || total < 1)
        return 1;
    return total < (ssize_t)most ? (uint32_t)total : most;
}

/* MSG_TRUNC: as Linux they are counted and not copied (tcp(7)). */
static uint32_t receive_take(const struct socket *k, uint32_t there, const struct iovec *piece, int count, size_t done,
                             size_t wanted, int flags)
{
    if ((flags & MSG_TRUNC) != 0)
        return there < wanted ? there : (uint32_t)wanted;
    struct ring_shape shape = stream_receive_shape(k);
    return iovec_copy_out(k->receive_ring, &shape, k->receive_tail, there, piece, count, done);
}

ssize_t stream_receive(struct session *s, struct socket *k, const struct iovec *piece, int count, int flags)
{
    int64_t deadline = socket_deadline_us(k->receive_timeout_us);
    ssize_t total = iovec_total(piece, count);
    int error = total < 0 ? (int)total : stream_enter(s, k, flags, deadline);
    if (error == -ENOTCONN && __atomic_load_n(&k->over, __ATOMIC_RELAXED))
        return 0;
    if (error != 0)
        return error;
    bool all = (flags & MSG_WAITALL) != 0 && (flags & MSG_PEEK) == 0;
    ssize_t done = 0, n = 0;
    pthread_mutex_lock(&k->receive_lock);
    while (done < total ? done == 0 || all : total == 0) { /* of nothing as well: there has to be some, as Linux */
        n = receive_await_least(s, k, peek_least(k, total, flags), flags, deadline);
        if (n <= 0 || total == 0)
            break;
        uint32_t got = receive_take(k, (uint32_t)n, piece, count, (size_t)done, (size_t)(total - done), flags);
        if ((flags & MSG_PEEK) == 0)
            socket_publish_receive(s, k, k->receive_tail + got);
        done += got;
    }
    pthread_mutex_unlock(&k->receive_lock);
    if (done > 0 || n > 0)
        return done;
    return n == -EPIPE ? error_or(k, 0) : n;
}

static ssize_t stream_peek(struct session *s, struct socket *k, struct iovec ret[2], int flags)
{
    int64_t deadline = socket_deadline_us(k->receive_timeout_us);
    ssize_t n = stream_enter(s, k, flags, deadline);
    if (n < 0)
        return n;
    pthread_mutex_lock(&k->receive_lock);
    n = receive_await(s, k, flags, deadline);
    if (n >= 0) {
        struct ring_shape shape = stream_receive_shape(k);
        ring_pieces((uint8_t *)(uintptr_t)k->receive_ring, &shape, k->receive_tail, (uint32_t)n, ret);
    }
    pthread_mutex_unlock(&k->receive_lock);
    return n == -EPIPE ? error_or(k, 0) : n;
}

static int stream_consume(struct session *s, struct socket *k, size_t length)
{
    int error = 0;
    pthread_mutex_lock(&k->receive_lock);
    if (socket_phase(k) != SOCKET_STREAM)
        error = -ENOTCONN;
    else if (length > socket_view(k).available)
        error = -EINVAL;
    else if (length > 0)
        socket_publish_receive(s, k, k->receive_tail + (uint32_t)length);
    pthread_mutex_unlock(&k->receive_lock);
    return error;
}

/* ---- what the transport is told besides octets ---- */
uint32_t stream_app_flags(const struct socket *k)
{
    uint32_t shut = __atomic_load_n(&k->shut_write, __ATOMIC_RELAXED) ? SLOT_APP_SHUTDOWN : 0;
    return shut | (socket_option(k, OPTION_CORK) != 0 ? SLOT_APP_CORK : 0);
}

/* send_lock is held. */
static void flags_publish(struct session *s, struct socket *k)
{
    uint32_t phase = socket_phase(k);
    if (k->transport != SESSION_TCP || (phase != SOCKET_STREAM && phase != SOCKET_CONNECTING))
        return;
    __atomic_store_n(&k->app->flags, stream_app_flags(k), __ATOMIC_RELEASE);
    arena_notify(s, k->arena, k->slot);
}

void stream_shut_write(struct session *s, struct socket *k)
{
    pthread_mutex_lock(&k->send_lock);
    if (!__atomic_exchange_n(&k->shut_write, true, __ATOMIC_RELAXED))
        flags_publish(s, k);
    pthread_mutex_unlock(&k->send_lock);
}

void stream_set_cork(struct session *s, struct socket *k, bool on)
{
    pthread_mutex_lock(&k->send_lock);
    if (__atomic_exchange_n(&k->option[OPTION_CORK], on, __ATOMIC_RELAXED) != on)
        flags_publish(s, k);
    pthread_mutex_unlock(&k->send_lock);
}

struct linger_condition {
    const struct socket *socket;
    uint32_t closes;
};

static bool linger_over(struct session *s, const void *argument)
{
    (void)s;
    const struct linger_condition *c = argument;
    return __atomic_load_n(&c->socket->closes, __ATOMIC_RELAXED) != c->closes ||
           socket_phase(c->socket) != SOCKET_STREAM ||
           (socket_view(c->socket).state & (SLOT_DRAINED | SLOT_ERROR | SLOT_CLOSED)) != 0;
}

/* As Linux's tcp_close(): also of a non-blocking socket; not if data was not read, for then the close resets. */
bool stream_lingers(const struct socket *k)
{
    return k->transport == SESSION_TCP && __atomic_load_n(&k->linger_s, __ATOMIC_RELAXED) > 0 &&
           socket_phase(k) == SOCKET_STREAM && socket_view(k).available == 0;
}

void stream_linger(struct session *s, struct socket *k, uint32_t closes)
{
    struct linger_condition c = {.socket = k, .closes = closes};
    int32_t linger_s = __atomic_load_n(&k->linger_s, __ATOMIC_RELAXED);
    struct waiter w = {
        .ready = linger_over, .argument = &c, .deadline_us = session_now_us() + linger_s * INT64_C(1000000)};
    if (!linger_over(s, &c))
        (void)session_wait(s, &w); /* a signal ends it, too */
}

/* ---- the public calls without a copy ---- */
static int stream_find(int fd, struct session **ret_session, struct socket **ret)
{
    int error = socket_find(fd, ret_session, ret);
    return error == 0 && (*ret)->transport != SESSION_TCP ? -EOPNOTSUPP : error;
}

ssize_t bh_send_reserve(int fd, struct iovec ret_piece[2], int flags)
{
    struct session *s;
    struct socket *k;
    ssize_t r = stream_find(fd, &s, &k);
    return bh_result(r < 0 ? r : stream_reserve(s, k, ret_piece, flags));
}

int bh_send_commit(int fd, size_t length)
{
    struct session *s;
    struct socket *k;
    int r = stream_find(fd, &s, &k);
    return (int)bh_result(r < 0 ? r : stream_commit(s, k, length));
}

ssize_t bh_receive_peek(int fd, struct iovec ret_piece[2], int flags)
{
    struct session *s;
    struct socket *k;
    ssize_t r = stream_find(fd, &s, &k);
    return bh_result(r < 0 ? r : stream_peek(s, k, ret_piece, flags));
}

int bh_receive_consume(int fd, size_t length)
{
    struct session *s;
    struct socket *k;
    int r = stream_find(fd, &s, &k);
    return (int)bh_result(r < 0 ? r : stream_consume(s, k, length));
}
