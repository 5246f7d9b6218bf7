// SPDX-License-Identifier: BSD-2-Clause
/* Datagrams: records in the rings of the socket's slot. A record lies in one piece at a multiple of DATAGRAM_STEP; one
 * of length DATAGRAM_WRAP stands for the rest of the ring. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "servers/client/bulkhead.h"
#include "servers/client/session.h"

#define UDP_HEADER 8U
#define IP4_HEADER 20U
#define IP6_HEADER 40U

static uint32_t record_octets(uint32_t payload)
{
    return DATAGRAM_HEAD + ((payload + DATAGRAM_STEP - 1) & ~(DATAGRAM_STEP - 1));
}

/* ---- sending ---- */
/* Room for a record in one piece at send_head? What is left of the ring before its start is given up as soon as it is
 * free, so there is always room in the end for a record of up to the whole ring. */
static bool send_fits(struct session *s, struct socket *k, uint32_t record)
{
    static const uint32_t wrap = DATAGRAM_WRAP;
    uint32_t place = k->send_head & (k->send_size - 1);
    uint32_t left = k->send_size - place, need = record;
    if (record > left) {
        need = left;
        if (socket_view(k).space >= left) {
            memcpy(k->send_ring + place, &wrap, sizeof wrap);
            socket_publish_send(s, k, k->send_head + left);
            need = record;
        }
    }
    bool fits = need == record && socket_view(k).space >= need;
    bool wanted = __atomic_exchange_n(&k->send_wanted, fits ? 0 : need, __ATOMIC_RELAXED) != 0;
    if (fits && wanted)
        epoll_touch(s, k); /* less will do from now on */
    return fits;
}

/* What the next call says of the socket: an error that was not told, then that there is no such socket any more. */
static int datagram_error(struct socket *k)
{
    int error = socket_take_error(k);
    if (error != 0)
        return -error;
    return (socket_view(k).state & SLOT_CLOSED) != 0 ? -EBADF : 0;
}

/* Waits for room with the lock given up in between. */
static int send_await(struct session *s, struct socket *k, uint32_t record, int flags, int64_t deadline_us)
{
    uint32_t closes = socket_closes(k);
    for (;;) {
        if (socket_phase(k) != SOCKET_DATAGRAM || k->shut_write)
            return -EPIPE;
        int error = datagram_error(k);
        if (error != 0)
            return error;
        if (send_fits(s, k, record))
            return 0;
        pthread_mutex_unlock(&k->send_lock);
        error = socket_wait(s, k, closes, POLLOUT, flags, deadline_us);
        pthread_mutex_lock(&k->send_lock);
        if (error != 0 || socket_closes(k) != closes)
            return error != 0 ? error : -EBADF;
    }
}

static bool is_loopback(const struct ip_address *address)
{
    static const struct ip_address loopback6 = {.family = ADDRESS_IP6, .octets = {[15] = 1}};
    return (address->family == ADDRESS_IP4 && address->octets[0] == 127) || ip_address_equal(address, &loopback6);
}

/* What stays on this host meets no MTU. */
static bool is_here(const struct session *s, const struct ip_address *address)
{
    if (is_loopback(address))
        return true;
    for (uint32_t i = 0; i < s->address_count; i++)
        if (ip_address_equal(address, &s->address[i]))
            return true;
    return false;
}

/* May a datagram of this length go there? The lock is held. */
static int send_allowed(const struct session *s, const struct socket *k, size_t length, const struct datagram_about *to)
{
    static const struct ip_address broadcast = {.family = ADDRESS_IP4, .octets = {255, 255, 255, 255}};
    const struct ip_address *address = to->address.family != ADDRESS_NONE ? &to->address : &k->remote;
    uint32_t path_mtu = socket_view(k).path_mtu;
    if (address->family != ADDRESS_NONE && !ip_address_is_any(&k->local) && k->local.family != address->family)
        return -ENETUNREACH; /* bound to an address of the other family */
    if (to->address.family != ADDRESS_NONE && is_loopback(&k->local) && !is_here(s, address))
        return -EINVAL;
    if (ip_address_equal(address, &broadcast) && socket_option(k, OPTION_BROADCAST) == 0)
        return -EACCES;
    if (length > DATAGRAM_MOST || record_octets((uint32_t)length) > k->send_size)
        return -EMSGSIZE;
    uint32_t packet = (uint32_t)length + UDP_HEADER + (address->family == ADDRESS_IP6 ? IP6_HEADER : IP4_HEADER);
    if (socket_option(k, OPTION_MTU_DISCOVER) == IP_PMTUDISC_DO && path_mtu != 0 && packet > path_mtu &&
        !is_here(s, address))
        return -EMSGSIZE;
    return 0;
}

/* The head of the record whose payload lies, or will lie, behind it, and off it goes. */
static void record_publish(struct session *s, struct socket *k, uint32_t length, const struct datagram_about *to)
{
    struct datagram_record record = {.length = length,
                                     .port = to->port,
                                     .family = to->address.family,
                                     .ttl = to->ttl,
                                     .traffic_class = to->traffic_class,
                                     .flags = to->flags};
    memcpy(record.octets, to->address.octets, sizeof record.octets);
    memcpy(k->send_ring + (k->send_head & (k->send_size - 1)), &record, sizeof record);
    socket_publish_send(s, k, k->send_head + record_octets(length));
}

/* A datagram of this length is next, at send_head. On success the lock is held. */
static int send_begin(struct session *s, struct socket *k, size_t length, const struct datagram_about *to, int flags)
{
    int64_t deadline = socket_deadline_us(k->send_timeout_us);
    if (to->address.family != ADDRESS_NONE && to->port == 0)
        return -EINVAL;
    int error = socket_bind_any(s, k);
    if (error != 0)
        return error;
    pthread_mutex_lock(&k->send_lock);
    k->reserved = 0;
    error = send_allowed(s, k, length, to);
    if (error == 0)
        error = send_await(s, k, record_octets((uint32_t)length), flags, deadline);
    if (error != 0)
        pthread_mutex_unlock(&k->send_lock);
    return error;
}

ssize_t datagram_send(struct session *s, struct socket *k, const struct iovec *piece, int count, int flags,
                      const struct datagram_about *to)
{
    ssize_t total = iovec_total(piece, count);
    if (total < 0)
        return total;
    if (to->address.family == ADDRESS_NONE && !socket_is_connected(k))
        return -EDESTADDRREQ;
    int error = send_begin(s, k, (size_t)total, to, flags);
    if (error != 0)
        return error;
    uint32_t place = k->send_head & (k->send_size - 1);
    const struct ring_shape shape = ring_make(k->send_size);
    iovec_copy_in(k->send_ring, &shape, place + DATAGRAM_HEAD, (uint32_t)total, piece, count, 0);
    record_publish(s, k, (uint32_t)total, to);
    pthread_mutex_unlock(&k->send_lock);
    return total;
}

static int datagram_reserve(struct session *s, struct socket *k, size_t length, int flags, void **ret)
{
    static const struct datagram_about later = {0}; /* where to is said with the commit */
    int error = send_begin(s, k, length, &later, flags);
    if (error != 0)
        return error;
    k->reserved = (uint32_t)length + 1;
    *ret = k->send_ring + (k->send_head & (k->send_size - 1)) + DATAGRAM_HEAD;
    pthread_mutex_unlock(&k->send_lock);
    return 0;
}

static int datagram_commit(struct session *s, struct socket *k, size_t length, const struct datagram_about *to)
{
    int error = 0;
    if (to->address.family == ADDRESS_NONE && !socket_is_connected(k))
        return -EDESTADDRREQ;
    if (to->address.family != ADDRESS_NONE && to->port == 0)
        return -EINVAL;
    pthread_mutex_lock(&k->send_lock);
    if (length >= k->reserved)
        error = -EINVAL;
    else if (socket_phase(k) != SOCKET_DATAGRAM || k->shut_write)
        error = -EPIPE;
    else
        error = send_allowed(s, k, length, to);
    if (error == 0)
        error = datagram_error(k);
    if (error == 0) {
        k->reserved = 0;
        record_publish(s, k, (uint32_t)length, to);
    }
    pthread_mutex_unlock(&k->send_lock);
    return error;
}

/* ---- receiving ---- */
/* The next record, copied, with its place in the ring. False: there is none. Untrusted: the ring (from udp); one that
 * makes no sense is passed over with all that follows. */
static bool datagram_next(struct session *s, struct socket *k, struct datagram_record *ret, uint32_t *ret_place)
{
    for (int wraps = 0; wraps < 2; wraps++) {
        uint32_t available = socket_view(k).available;
        uint32_t place = k->receive_tail & (k->receive_size - 1);
        uint32_t left = k->receive_size - place;
        struct datagram_record r = {0};
        if (available == 0)
            return false;
        memcpy(&r, k->receive_ring + place, left < DATAGRAM_HEAD ? left : DATAGRAM_HEAD);
        if (r.length == DATAGRAM_WRAP && left <= available) {
            socket_publish_receive(s, k, k->receive_tail + left);
            continue;
        }
        if (r.length <= UINT16_MAX && record_octets(r.length) <= left && record_octets(r.length) <= available) {
            *ret = r;
            *ret_place = place;
            return true;
        }
        socket_publish_receive(s, k, k->receive_tail + available);
    }
    return false;
}

/* An error comes before the datagrams that wait, as Linux has it. */
static int receive_await(struct session *s, struct socket *k, struct datagram_record *ret, uint32_t *ret_place,
                         int flags, int64_t deadline_us)
{
    uint32_t closes = socket_closes(k);
    for (;;) {
        int error = socket_take_error(k);
        if (error != 0)
            return -error;
        if (datagram_next(s, k, ret, ret_place))
            return 0;
        if ((socket_view(k).state & SLOT_CLOSED) != 0)
            return -EBADF;
        if (socket_phase(k) != SOCKET_DATAGRAM || __atomic_load_n(&k->shut_read, __ATOMIC_RELAXED))
            return -ESHUTDOWN;
        pthread_mutex_unlock(&k->receive_lock);
        error = socket_wait(s, k, closes, POLLIN, flags, deadline_us);
        pthread_mutex_lock(&k->receive_lock);
        if (error != 0 || socket_closes(k) != closes)
            return error != 0 ? error : -EBADF;
    }
}

/* The oldest datagram. On success the lock is held. */
static int receive_begin(struct session *s, struct socket *k, int flags, struct datagram_about *ret,
                         uint32_t *ret_place)
{
    int64_t deadline = socket_deadline_us(k->receive_timeout_us);
    struct datagram_record r;
    int error = socket_bind_any(s, k);
    if (error != 0)
        return error;
    pthread_mutex_lock(&k->receive_lock);
    k->peeked = 0;
    error = receive_await(s, k, &r, ret_place, flags, deadline);
    if (error != 0) {
        pthread_mutex_unlock(&k->receive_lock);
        return error;
    }
    *ret = (struct datagram_about){.address = {.family = r.family},
                                   .port = r.port,
                                   .ttl = r.ttl,
                                   .traffic_class = r.traffic_class,
                                   .length = r.length};
    memcpy(ret->address.octets, r.octets, sizeof r.octets);
    return 0;
}

ssize_t datagram_receive(struct session *s, struct socket *k, const struct iovec *piece, int count, int flags,
                         struct datagram_about *ret)
{
    ssize_t total = iovec_total(piece, count);
    uint32_t place;
    int error = total < 0 ? (int)total : receive_begin(s, k, flags, ret, &place);
    if (error != 0)
        return error == -ESHUTDOWN ? 0 : error;
    const struct ring_shape shape = ring_make(k->receive_size);
    uint32_t copied = iovec_copy_out(k->receive_ring, &shape, place + DATAGRAM_HEAD, ret->length, piece, count, 0);
    if ((flags & MSG_PEEK) == 0)
        socket_publish_receive(s, k, k->receive_tail + record_octets(ret->length));
    pthread_mutex_unlock(&k->receive_lock);
    return (flags & MSG_TRUNC) != 0 ? (ssize_t)ret->length : (ssize_t)copied;
}

static int datagram_peek(struct session *s, struct socket *k, int flags, struct iovec *ret_piece,
                         struct datagram_about *ret)
{
    uint32_t place;
    int error = receive_begin(s, k, flags, ret, &place);
    if (error != 0)
        return error;
    k->peeked = record_octets(ret->length);
    *ret_piece = (struct iovec){.iov_base = (uint8_t *)(uintptr_t)k->receive_ring + place + DATAGRAM_HEAD,
                                .iov_len = ret->length};
    pthread_mutex_unlock(&k->receive_lock);
    return 0;
}

static int datagram_consume(struct session *s, struct socket *k)
{
    int error = 0;
    pthread_mutex_lock(&k->receive_lock);
    if (k->peeked == 0 || socket_phase(k) != SOCKET_DATAGRAM)
        error = -EINVAL;
    else
        socket_publish_receive(s, k, k->receive_tail + k->peeked);
    k->peeked = 0;
    pthread_mutex_unlock(&k->receive_lock);
    return error;
}

/* ---- the public calls without a copy ---- */
static int datagram_find(int fd, int flags, struct session **ret_session, struct socket **ret)
{
    int error = socket_find(fd, ret_session, ret);
    if (error == 0 && ((*ret)->transport != SESSION_UDP || (flags & ~SEND_FLAGS) != 0))
        error = -EOPNOTSUPP;
    return error;
}

void *bh_datagram_reserve(int fd, size_t length, int flags)
{
    struct session *s;
    struct socket *k;
    void *payload = NULL;
    int error = datagram_find(fd, flags, &s, &k);
    if (error == 0)
        error = datagram_reserve(s, k, length, flags, &payload);
    return bh_result(error) == 0 ? payload : NULL;
}

int bh_datagram_commit(int fd, size_t length, const struct sockaddr *address, socklen_t address_length)
{
    struct session *s;
    struct socket *k;
    struct datagram_about to = {0};
    int error = datagram_find(fd, 0, &s, &k);
    if (error == 0 && address != NULL)
        error = address_read_peer(k, address, address_length, &to.address, &to.port);
    return (int)bh_result(error != 0 ? error : datagram_commit(s, k, length, &to));
}

int bh_datagram_peek(int fd, struct iovec *ret_piece, int flags, struct sockaddr *ret_address, socklen_t *length)
{
    struct session *s;
    struct socket *k;
    struct datagram_about from;
    int error = datagram_find(fd, flags, &s, &k);
    if (error == 0 && ret_address != NULL && length == NULL)
        error = -EFAULT;
    if (error == 0)
        error = datagram_peek(s, k, flags, ret_piece, &from);
    if (error == 0 && ret_address != NULL)
        address_write(k, &from.address, from.port, ret_address, length);
    return (int)bh_result(error);
}

int bh_datagram_consume(int fd)
{
    struct session *s;
    struct socket *k;
    int error = datagram_find(fd, 0, &s, &k);
    return (int)bh_result(error != 0 ? error : datagram_consume(s, k));
}
