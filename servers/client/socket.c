// SPDX-License-Identifier: BSD-2-Clause
/* Sockets as the socket server knows them: making, naming, connecting, accepting, closing. */
#include "servers/client/socket.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "servers/client/bulkhead.h"
#include "servers/client/lane.h"
#include "servers/client/session.h"

#define SOCKET_ATTEMPTS  4 /* what was closed counts until its transport has let go of it: 1, 2, 4, 8 ms */
#define CONNECT_ATTEMPTS 8 /* while a new arena is not yet known everywhere: 1, 2, 4 ... 64 ms */

ssize_t bh_result(ssize_t r)
{
    if (r >= 0)
        return r;
    errno = (int)-r;
    return -1;
}

/* ---- descriptors ---- */
uint32_t socket_phase(const struct socket *k)
{
    return __atomic_load_n(&k->phase, __ATOMIC_ACQUIRE);
}

static void socket_set_phase(struct socket *k, enum socket_phase phase)
{
    __atomic_store_n(&k->phase, (uint32_t)phase, __ATOMIC_RELEASE);
}

int socket_find(int fd, struct session **ret_session, struct socket **ret)
{
    struct session *s = session_current();
    uint32_t index = (uint32_t)fd - (uint32_t)BH_DESCRIPTOR_BASE;
    if (s == NULL || index >= SESSION_DESCRIPTORS || socket_phase(&s->socket[index]) == SOCKET_FREE)
        return -EBADF;
    if (socket_phase(&s->socket[index]) == SOCKET_EPOLL)
        return -ENOTSOCK;
    if (session_is_gone(s))
        return -ENETDOWN;
    *ret_session = s;
    *ret = &s->socket[index];
    return 0;
}

int socket_take_descriptor(struct session *s, uint32_t *ret)
{
    int error = -EMFILE;
    pthread_mutex_lock(&s->lock);
    lane_reclaim(s);
    if (s->free_descriptors > 0) {
        *ret = s->free_descriptor[--s->free_descriptors];
        error = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return error;
}

void socket_free_descriptor(struct session *s, uint32_t descriptor)
{
    pthread_mutex_lock(&s->lock);
    s->free_descriptor[s->free_descriptors++] = (uint16_t)descriptor;
    pthread_mutex_unlock(&s->lock);
}

/* As Linux: all that was set on the listener, but not O_NONBLOCK. */
static void socket_inherit(struct socket *k, const struct socket *listener)
{
    for (int i = 0; i < SOCKET_OPTIONS; i++)
        k->option[i] = socket_option(listener, (enum socket_option)i);
    k->send_timeout_us = listener->send_timeout_us;
    k->receive_timeout_us = listener->receive_timeout_us;
    k->linger_s = __atomic_load_n(&listener->linger_s, __ATOMIC_RELAXED);
    k->rings = listener->rings;
}

/* Of the entry's last use, all that ends with a use. A thread may still be on its way out of a call for that one: it
 * finds its locks as they were. */
static void socket_clear(struct socket *k)
{
    size_t lasting = offsetof(struct socket, transport);
    memset((uint8_t *)k + lasting, 0, sizeof *k - lasting);
    if (k->made)
        return;
    pthread_mutex_init(&k->request_lock, NULL);
    pthread_mutex_init(&k->send_lock, NULL);
    pthread_mutex_init(&k->receive_lock, NULL);
    k->made = true;
}

/* Fills an entry that nobody sees yet; the phase makes it visible. `listener`: it was accepted there, and has its
 * options; else NULL. */
static int socket_open(struct session *s, uint32_t descriptor, enum session_transport transport, int domain,
                       bool nonblocking, const struct control_answer *a, const struct socket *listener)
{
    struct socket *k = &s->socket[descriptor];
    socket_clear(k);
    k->transport = transport;
    k->domain = domain;
    k->descriptor = descriptor;
    k->id = a->socket;
    k->id_generation = a->generation;
    k->word = &s->answer->word[descriptor];
    k->nonblocking = nonblocking;
    k->send_timeout_us = k->receive_timeout_us = FOREVER;
    k->linger_s = -1;
    k->local = a->local;
    k->remote = a->remote;
    k->local_port = a->local_port;
    k->remote_port = a->remote_port;
    k->congestion_default = a->congestion;
    socket_options_default(k);
    if (listener != NULL)
        socket_inherit(k, listener);
    int error = listener == NULL ? 0 : socket_take_slot(s, k, a);
    if (error == 0)
        socket_set_phase(k, listener == NULL ? SOCKET_NEW : SOCKET_STREAM);
    return error;
}

static void socket_lock(struct socket *k)
{
    pthread_mutex_lock(&k->request_lock);
    pthread_mutex_lock(&k->send_lock);
    pthread_mutex_lock(&k->receive_lock);
}

static void socket_unlock(struct socket *k)
{
    pthread_mutex_unlock(&k->receive_lock);
    pthread_mutex_unlock(&k->send_lock);
    pthread_mutex_unlock(&k->request_lock);
}

int socket_take_slot(struct session *s, struct socket *k, const struct control_answer *a)
{
    struct arena *arena = arenas_find(s, k->transport, a->arena, a->slot);
    k->handed = (struct slot_handed){true, a->arena, a->slot, a->slot_generation};
    if (arena == NULL)
        return -EPROTO;
    if (k->arena == arena && k->slot == a->slot && k->slot_generation == a->slot_generation)
        return 0; /* a datagram socket that is connected after it was bound */
    k->arena = arena;
    k->slot = a->slot;
    k->slot_generation = a->slot_generation;
    k->app = &arena->app->slot[a->slot];
    k->send_ring = arena->send_rings + (size_t)a->slot * arena->send_most;
    k->receive_ring = arena->receive_rings + (size_t)a->slot * arena->receive_most;
    k->send_size = arena->send_size;
    k->receive_size = arena->receive_size;
    k->send_head = k->receive_tail = k->receive_told = 0;
    k->reserved = k->peeked = k->send_wanted = 0;
    k->error_taken = false;
    k->error_told = 0;
    __atomic_store_n(&k->app->send_head, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&k->app->receive_tail, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&k->app->flags, stream_app_flags(k), __ATOMIC_RELAXED);
    stream_rings_begin(k);
    __atomic_store_n(&k->app->generation, a->slot_generation, __ATOMIC_RELEASE);
    __atomic_store_n(&k->words, &arena->words->slot[a->slot], __ATOMIC_RELEASE);
    __atomic_store_n(&arena->holder[a->slot], (uint16_t)(k->descriptor + 1), __ATOMIC_RELAXED);
    return 0;
}

/* A request about a socket. */
static struct control_request request_of(const struct socket *k, enum control_operation operation)
{
    return (struct control_request){.operation = operation, .socket = k->id, .generation = k->id_generation};
}

int64_t socket_deadline_us(int64_t timeout_us)
{
    return timeout_us == FOREVER ? FOREVER : session_now_us() + timeout_us;
}

/* ---- socket, close ---- */
static void sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_nsec = (long)ms * 1000000};
    nanosleep(&t, NULL);
}

static int socket_make(struct session *s, enum session_transport transport, int domain, bool nonblocking, uint32_t *ret)
{
    int error = arenas_provide(s, transport, arenas_default(transport), 1);
    if (error == 0)
        error = socket_take_descriptor(s, ret);
    if (error != 0)
        return error;
    struct control_request q = {.operation = CONTROL_SOCKET, .argument = {transport, *ret}};
    struct control_answer a;
    error = lane_call(s, &q, *ret, &a);
    for (int i = 0; error == -EMFILE && i < SOCKET_ATTEMPTS; i++) {
        sleep_ms(1U << i);
        error = lane_call(s, &q, *ret, &a);
    }
    if (error == 0)
        error = socket_open(s, *ret, transport, domain, nonblocking, &a, NULL);
    if (error != 0 && error != -EINTR) /* interrupted: it is the lane's */
        socket_free_descriptor(s, *ret);
    return error;
}

int bh_socket(int domain, int type, int protocol)
{
    struct session *s;
    uint32_t descriptor;
    int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (domain != AF_INET && domain != AF_INET6)
        return (int)bh_result(-EAFNOSUPPORT);
    if (kind != SOCK_STREAM && kind != SOCK_DGRAM)
        return (int)bh_result(-ESOCKTNOSUPPORT);
    if (protocol != 0 && protocol != (kind == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP))
        return (int)bh_result(-EPROTONOSUPPORT);
    int error = session_get(&s);
    if (error == 0 && session_is_gone(s))
        error = -ENETDOWN;
    if (error == 0)
        error = socket_make(s, kind == SOCK_STREAM ? SESSION_TCP : SESSION_UDP, domain, (type & SOCK_NONBLOCK) != 0,
                            &descriptor);
    return error != 0 ? (int)bh_result(error) : BH_DESCRIPTOR_BASE + (int)descriptor;
}

/* A close that has to wait; but not if another thread was faster: it may be another socket by now. */
static void close_lingers(struct session *s, struct socket *k, uint32_t closes)
{
    pthread_mutex_lock(&k->request_lock);
    bool same = socket_closes(k) == closes;
    if (same) {
        epoll_forget(s, k->descriptor); /* at once, as Linux: nobody else is to be told of it meanwhile */
        stream_shut_write(s, k);
    }
    pthread_mutex_unlock(&k->request_lock);
    if (same)
        stream_linger(s, k, closes);
}

int bh_close(int fd)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    if (error == -ENOTSOCK)
        return (int)bh_result(epoll_close(session_current(), (uint32_t)(fd - BH_DESCRIPTOR_BASE)));
    if (error != 0 && error != -ENETDOWN)
        return (int)bh_result(error);
    if (error == -ENETDOWN) {
        s = session_current();
        k = &s->socket[fd - BH_DESCRIPTOR_BASE];
    }
    uint32_t closes = socket_closes(k);
    if (error == 0 && socket_was_connected(k) && stream_lingers(k))
        close_lingers(s, k, closes);
    socket_lock(k);
    if (socket_closes(k) != closes) { /* another thread was faster, and it may be another socket by now */
        socket_unlock(k);
        return (int)bh_result(-EBADF);
    }
    __atomic_fetch_add(&k->closes, 1, __ATOMIC_RELAXED);
    uint32_t phase = __atomic_exchange_n(&k->phase, SOCKET_FREE, __ATOMIC_ACQ_REL);
    struct control_request q = request_of(k, CONTROL_CLOSE);
    uint32_t descriptor = k->descriptor;
    socket_unlock(k);
    if (phase == SOCKET_FREE)
        return (int)bh_result(-EBADF); /* another thread was faster */
    epoll_forget(s, descriptor);
    session_wake(s);
    /* Lanes are served in any order: what holds a port by name is waited for, so that the next bind() finds it free. */
    struct control_answer a;
    if (phase == SOCKET_STREAM && error == 0 && lane_post_close(s, &q, descriptor))
        return 0;
    if (error == 0) /* a socket that the server does not know is closed */
        error = lane_call(s, &q, descriptor, &a);
    if (error != -EINTR)
        socket_free_descriptor(s, descriptor);
    return 0;
}

/* ---- bind, listen ---- */
/* udp. Both locks are held. */
static int datagram_take(struct session *s, struct socket *k, const struct control_answer *a)
{
    int error = socket_take_slot(s, k, a);
    if (error == 0 && socket_phase(k) == SOCKET_NEW)
        socket_set_phase(k, SOCKET_DATAGRAM);
    return error;
}

struct arena_rings socket_rings(const struct socket *k)
{
    struct arena_rings r = arenas_default(k->transport);
    return (struct arena_rings){.send = k->rings.send != 0 ? k->rings.send : r.send,
                                .receive = k->rings.receive != 0 ? k->rings.receive : r.receive};
}

static bool rings_equal(struct arena_rings a, struct arena_rings b)
{
    return a.send == b.send && a.receive == b.receive;
}

static int ring_tell(struct session *s, const struct socket *k, enum control_option option, uint32_t octets)
{
    struct control_request q = request_of(k, CONTROL_SET_OPTION);
    struct control_answer a;
    q.argument[0] = option;
    q.argument[1] = octets;
    return lane_call(s, &q, LANE_NO_DESCRIPTOR, &a);
}

/* Before a request that gives a slot, or slots: some with the right rings are there, and the servers know which these
 * are, unless there is but one kind. Both locks are held. 0 or a negative errno. */
static int slot_prepare(struct session *s, struct socket *k, uint32_t wanted)
{
    struct arena_rings r = socket_rings(k);
    int error = arenas_provide(s, k->transport, r, wanted);
    bool told = rings_equal(k->rings_told, r);
    if (error != 0 || told || (k->rings_told.send == 0 && !arenas_have_others(s, k->transport, r)))
        return error;
    error = ring_tell(s, k, CONTROL_OPTION_SEND_SIZE, r.send);
    if (error == 0)
        error = ring_tell(s, k, CONTROL_OPTION_RECEIVE_SIZE, r.receive);
    if (error == 0)
        k->rings_told = r;
    return error;
}

/* Such a request: some patience until all know of the memory that was just added, and more if there is none. */
static int slot_call(struct session *s, const struct socket *k, const struct control_request *q,
                     struct control_answer *ret)
{
    struct arena_rings r = socket_rings(k);
    int error = lane_call(s, q, LANE_NO_DESCRIPTOR, ret);
    for (int i = 0; error == -ENOBUFS && i < CONNECT_ATTEMPTS; i++) {
        if (arenas_free(s, k->transport, r) == 0 || i == CONNECT_ATTEMPTS / 2)
            (void)arenas_add(s, k->transport, r); /* fails if another thread just did, too: try again in any case */
        error = lane_call(s, q, LANE_NO_DESCRIPTOR, ret);
        if (error == -ENOBUFS)
            sleep_ms(1U << i);
    }
    return error;
}

static int socket_bind(struct session *s, struct socket *k, const struct ip_address *address, uint16_t port)
{
    struct control_request q = request_of(k, CONTROL_BIND);
    struct control_answer a;
    q.address = *address;
    q.port = port;
    if (socket_phase(k) != SOCKET_NEW || k->local_port != 0)
        return -EINVAL;
    int error = k->transport == SESSION_UDP ? slot_prepare(s, k, 1) : 0;
    if (error == 0)
        error = slot_call(s, k, &q, &a);
    if (error == 0 && k->transport == SESSION_UDP)
        error = datagram_take(s, k, &a);
    if (error == 0) {
        k->local = a.local;
        k->local_port = a.local_port;
    }
    return error;
}

/* A stream whose attempt has failed is used up at the socket server. As Linux has it it may be used as before: by a new
 * socket there with the same options, and the name that bind() gave. Nothing if that is not so. Both locks are held. */
static int connect_renew(struct session *s, struct socket *k)
{
    struct control_request q = request_of(k, CONTROL_CLOSE);
    struct control_answer a;
    if (!__atomic_load_n(&k->failed, __ATOMIC_RELAXED))
        return 0;
    int error = lane_call(s, &q, LANE_NO_DESCRIPTOR, &a);
    if (error == 0 || error == -EBADF) {
        q = (struct control_request){.operation = CONTROL_SOCKET, .argument = {k->transport, k->descriptor}};
        error = lane_call(s, &q, LANE_NO_DESCRIPTOR, &a);
    }
    if (error != 0)
        return error;
    k->id = a.socket;
    k->id_generation = a.generation;
    k->rings_told = (struct arena_rings){0};
    __atomic_store_n(&k->failed, false, __ATOMIC_RELAXED);
    error = socket_options_again(s, k);
    uint16_t port = k->local_port;
    k->local_port = 0;
    return error == 0 && k->named ? socket_bind(s, k, &k->local, port) : error;
}

/* Of the socket's domain; in6addr_any is of both families unless IPV6_V6ONLY is set. */
static struct ip_address any_of(const struct socket *k)
{
    return (struct ip_address){.family = k->domain == AF_INET6 ? ADDRESS_IP6 : ADDRESS_IP4};
}

int socket_bind_any(struct session *s, struct socket *k)
{
    struct ip_address any = any_of(k);
    int error = 0;
    if (socket_phase(k) == SOCKET_DATAGRAM)
        return 0;
    socket_lock(k);
    if (socket_phase(k) == SOCKET_NEW)
        error = socket_bind(s, k, &any, 0);
    socket_unlock(k);
    epoll_touch(s, k);
    return error;
}

int bh_bind(int fd, const struct sockaddr *address, socklen_t length)
{
    struct session *s;
    struct socket *k;
    struct ip_address local;
    uint16_t port;
    int error = socket_find(fd, &s, &k);
    if (error == 0)
        error = address_read(k, address, length, &local, &port);
    if (error == -ENETUNREACH || (error == 0 && k->domain == AF_INET6 && address->sa_family != AF_INET6))
        error = -EINVAL; /* as Linux: a name of the wrong family is no name */
    if (error != 0)
        return (int)bh_result(error);
    socket_lock(k);
    error = connect_renew(s, k);
    if (error == 0)
        error = socket_bind(s, k, &local, port);
    k->named = k->named || error == 0;
    socket_unlock(k);
    epoll_touch(s, k);
    return (int)bh_result(error);
}

static int socket_listen(struct session *s, struct socket *k, uint32_t backlog)
{
    uint32_t phase = socket_phase(k);
    if (k->transport != SESSION_TCP)
        return -EOPNOTSUPP;
    if (phase != SOCKET_NEW && phase != SOCKET_LISTENING)
        return -EINVAL;
    int error =
        phase == SOCKET_NEW ? slot_prepare(s, k, backlog) : arenas_provide(s, SESSION_TCP, socket_rings(k), backlog);
    struct ip_address any = any_of(k);
    if (error == 0 && phase == SOCKET_NEW && k->local_port == 0)
        error = socket_bind(s, k, &any, 0);
    struct control_request q = request_of(k, CONTROL_LISTEN);
    struct control_answer a;
    q.argument[0] = backlog;
    if (error == 0)
        error = slot_call(s, k, &q, &a);
    if (error == 0) {
        k->slots_ahead = backlog / 2 + 1;
        k->local = a.local;
        k->local_port = a.local_port;
        __atomic_store_n(&k->shut_read, false, __ATOMIC_RELAXED);
        socket_set_phase(k, SOCKET_LISTENING);
    }
    return error;
}

static bool socket_accepts(const struct socket *k)
{
    return socket_phase(k) == SOCKET_LISTENING && !__atomic_load_n(&k->shut_read, __ATOMIC_RELAXED);
}

void socket_listens_no_more(struct session *s, struct socket *k)
{
    struct control_answer a;
    pthread_mutex_lock(&k->request_lock);
    struct control_request q = request_of(k, CONTROL_LISTEN); /* with a backlog of 0 */
    if (socket_phase(k) == SOCKET_LISTENING && !socket_accepts(k))
        (void)lane_call(s, &q, LANE_NO_DESCRIPTOR, &a); /* in vain: here it is over all the same */
    pthread_mutex_unlock(&k->request_lock);
}

int bh_listen(int fd, int backlog)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    if (error != 0)
        return (int)bh_result(error);
    socket_lock(k);
    error = connect_renew(s, k);
    if (error == 0)
        error = socket_listen(s, k, backlog < 1 ? 1 : (uint32_t)backlog);
    socket_unlock(k);
    epoll_touch(s, k);
    return (int)bh_result(error);
}

/* ---- accept ---- */
/* One attempt: a connection that waits becomes a socket. Its descriptor; -EAGAIN: none waits. */
static int socket_accept(struct session *s, const struct socket *listener, int flags)
{
    uint32_t descriptor;
    struct control_answer a;
    /* In time for the next ones; without it they wait at the peer. */
    (void)arenas_provide(s, SESSION_TCP, socket_rings(listener), listener->slots_ahead);
    int error = socket_take_descriptor(s, &descriptor);
    if (error != 0)
        return error;
    struct control_request q = request_of(listener, CONTROL_ACCEPT);
    q.argument[1] = descriptor;
    error = lane_call(s, &q, descriptor, &a);
    if (error == 0)
        error = socket_open(s, descriptor, SESSION_TCP, listener->domain, (flags & SOCK_NONBLOCK) != 0, &a, listener);
    if (error != 0 && error != -EINTR) /* interrupted: it is the lane's */
        socket_free_descriptor(s, descriptor);
    return error != 0 ? error : (int)descriptor;
}

static int socket_accept_wait(struct session *s, struct socket *k, int flags)
{
    int64_t deadline = socket_deadline_us(k->receive_timeout_us);
    uint32_t closes = socket_closes(k);
    for (;;) {
        if (!socket_accepts(k))
            return -EINVAL;
        int r = socket_wait(s, k, closes, POLLIN, 0, deadline);
        if (r == 0 && !socket_accepts(k))
            return -EINVAL;
        if (r == 0)
            r = -socket_take_word(k);
        if (r == 0)
            r = socket_accept(s, k, flags);
        if (r != -EAGAIN || k->nonblocking || (deadline != FOREVER && session_now_us() >= deadline))
            return r;
    }
}

int bh_accept4(int fd, struct sockaddr *ret_address, socklen_t *length, int flags)
{
    struct session *s;
    struct socket *k;
    int r = socket_find(fd, &s, &k);
    if (r == 0 && (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0)
        r = -EINVAL;
    if (r == 0 && ret_address != NULL && length == NULL)
        r = -EFAULT;
    if (r == 0 && k->transport != SESSION_TCP)
        r = -EOPNOTSUPP;
    if (r == 0)
        r = socket_accept_wait(s, k, flags);
    if (r < 0)
        return (int)bh_result(r);
    const struct socket *made = &s->socket[r];
    if (ret_address != NULL)
        address_write(made, &made->remote, made->remote_port, ret_address, length);
    return BH_DESCRIPTOR_BASE + r;
}

int bh_accept(int fd, struct sockaddr *ret_address, socklen_t *length)
{
    return bh_accept4(fd, ret_address, length, 0);
}

/* ---- connect ---- */
/* udp, not bound yet. The socket server would bind to any address of the peer's family; a socket of both may have a
 * peer of the other one next. */
static int connect_binds(struct session *s, struct socket *k, const struct ip_address *to)
{
    struct ip_address any = any_of(k);
    if (k->transport != SESSION_UDP || socket_phase(k) != SOCKET_NEW || to->family == any.family)
        return 0;
    return socket_bind(s, k, &any, 0);
}

/* Asks for the connection; the phase is CONNECTING, or DATAGRAM, afterwards. Both locks are held. */
static int socket_connect_start(struct session *s, struct socket *k, const struct ip_address *to, uint16_t port)
{
    struct control_request q;
    struct control_answer a;
    int error = connect_renew(s, k);
    if (error == 0)
        error = connect_binds(s, k, to);
    if (error == 0 && socket_phase(k) == SOCKET_NEW)
        error = slot_prepare(s, k, 1);
    if (error != 0)
        return error;
    q = request_of(k, CONTROL_CONNECT);
    q.address = *to;
    q.port = port;
    error = slot_call(s, k, &q, &a);
    if (error != 0 && error != -EINPROGRESS)
        return error;
    error = k->transport == SESSION_UDP ? datagram_take(s, k, &a) : socket_take_slot(s, k, &a);
    if (error != 0)
        return error;
    k->local = a.local;
    k->local_port = a.local_port;
    k->remote = *to;
    k->remote_port = port;
    __atomic_store_n(&k->connected, true, __ATOMIC_RELAXED);
    __atomic_store_n(&k->over, false, __ATOMIC_RELAXED);
    if (k->transport == SESSION_TCP)
        socket_set_phase(k, SOCKET_CONNECTING);
    return 0;
}

bool socket_is_connected(const struct socket *k)
{
    return __atomic_load_n(&k->connected, __ATOMIC_RELAXED);
}

int socket_settle(struct socket *k)
{
    uint32_t connecting = SOCKET_CONNECTING;
    uint32_t phase = socket_phase(k);
    if (phase != SOCKET_CONNECTING)
        return phase == SOCKET_NEW ? -ENOTCONN : 0;
    struct slot_view v = socket_view(k);
    uint32_t next = (v.state & SLOT_CONNECTED) != 0 ? SOCKET_STREAM : SOCKET_NEW;
    if ((v.state & (SLOT_CONNECTED | SLOT_ERROR | SLOT_CLOSED)) == 0)
        return -EAGAIN;
    if (!__atomic_compare_exchange_n(&k->phase, &connecting, next, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return 0; /* another thread did, and has told the outcome */
    if (next == SOCKET_STREAM)
        return 0;
    __atomic_store_n(&k->over, true, __ATOMIC_RELAXED);
    __atomic_store_n(&k->failed, true, __ATOMIC_RELAXED);
    epoll_touch(session_current(), k);
    return v.error != 0 ? -v.error : -ECONNABORTED;
}

bool socket_was_connected(struct socket *k)
{
    if (socket_phase(k) == SOCKET_CONNECTING && (socket_view(k).state & SLOT_CONNECTED) == 0)
        return false;
    return socket_settle(k) == 0;
}

static int socket_connect_wait(struct session *s, struct socket *k)
{
    int64_t deadline = socket_deadline_us(k->send_timeout_us);
    uint32_t closes = socket_closes(k);
    int error = socket_settle(k);
    while (error == -EAGAIN) {
        error = socket_wait(s, k, closes, POLLOUT, 0, deadline);
        if (error != 0)
            return error == -EAGAIN ? -EINPROGRESS : error;
        error = socket_settle(k);
    }
    return error;
}

static int socket_connect_any(struct session *s, struct socket *k, const struct ip_address *to, uint16_t port)
{
    if (socket_phase(k) == SOCKET_CONNECTING) { /* a second call: the first one's outcome */
        int error = socket_settle(k);
        if (error == -EAGAIN && k->nonblocking)
            return session_look(s) ? -ENETDOWN : -EALREADY;
        return error == -EAGAIN ? socket_connect_wait(s, k) : error;
    }
    socket_lock(k);
    uint32_t phase = socket_phase(k);
    int error = 0;
    if (phase == SOCKET_STREAM)
        error = -EISCONN;
    else if (phase == SOCKET_LISTENING)
        error = -EISCONN; /* as Linux */
    else if (phase == SOCKET_FREE)
        error = -EBADF;
    else
        error = socket_connect_start(s, k, to, port);
    socket_unlock(k);
    epoll_touch(s, k);
    if (error != 0 || k->transport == SESSION_UDP)
        return error;
    return socket_connect_wait(s, k);
}

static int socket_connect(struct session *s, struct socket *k, const struct ip_address *to, uint16_t port)
{
    int error = socket_connect_any(s, k, to, port);
    if (error != 0 && __atomic_exchange_n(&k->over, false, __ATOMIC_RELAXED))
        epoll_touch(s, k);
    return error;
}

/* A datagram socket has no peer any more, and no error of it to tell. */
static int socket_dissolve(struct session *s, struct socket *k)
{
    struct control_request q = request_of(k, CONTROL_CONNECT); /* to ADDRESS_NONE */
    struct control_answer a;
    int error = 0;
    socket_lock(k);
    if (socket_phase(k) == SOCKET_DATAGRAM)
        error = lane_call(s, &q, LANE_NO_DESCRIPTOR, &a);
    if (error == 0 && socket_is_connected(k)) {
        __atomic_store_n(&k->connected, false, __ATOMIC_RELAXED);
        k->local = a.local;
        k->local_port = a.local_port;
        (void)socket_take_error(k);
    }
    socket_unlock(k);
    return error;
}

int bh_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    struct session *s;
    struct socket *k;
    struct ip_address to;
    uint16_t port;
    int error = socket_find(fd, &s, &k);
    if (error == 0 && k->transport == SESSION_UDP && address != NULL && length >= sizeof(sa_family_t) &&
        address->sa_family == AF_UNSPEC)
        return (int)bh_result(socket_dissolve(s, k));
    if (error == 0)
        error = address_read_peer(k, address, length, &to, &port);
    if (error == 0)
        error = socket_connect(s, k, &to, port);
    return (int)bh_result(error);
}
