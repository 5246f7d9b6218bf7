// SPDX-License-Identifier: BSD-2-Clause
/* The public calls that only check their arguments and hand on: data, names, options. */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/time.h>

#include "servers/client/bulkhead.h"
#include "servers/client/lane.h"
#include "servers/client/session.h"

/* ---- addresses ---- */
int address_read(const struct sockaddr *address, socklen_t length, struct ip_address *ret, uint16_t *ret_port)
{
    struct sockaddr_in in;
    if (address == NULL || length < sizeof(sa_family_t))
        return -EINVAL;
    if (address->sa_family != AF_INET)
        return -EAFNOSUPPORT;
    if (length < sizeof in)
        return -EINVAL;
    memcpy(&in, address, sizeof in);
    uint8_t octets[4];
    memcpy(octets, &in.sin_addr, sizeof octets);
    *ret = ip_address_from_ip4(octets);
    *ret_port = ntohs(in.sin_port);
    return 0;
}

void address_write(const struct ip_address *address, uint16_t port, struct sockaddr *ret, socklen_t *length)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    memcpy(&in.sin_addr, address->octets, sizeof in.sin_addr);
    memcpy(ret, &in, *length < sizeof in ? *length : sizeof in);
    *length = sizeof in;
}

/* ---- data ---- */
#define SEND_FLAGS    (MSG_DONTWAIT | MSG_NOSIGNAL)
#define RECEIVE_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_PEEK | MSG_WAITALL | MSG_TRUNC)

static ssize_t send_pieces(int fd, const struct iovec *piece, int count, int flags, const struct sockaddr *address,
                           socklen_t length)
{
    struct session *s;
    struct socket *k;
    struct ip_address to;
    uint16_t port = 0;
    int error = socket_find(fd, &s, &k);
    if (error == 0 && (flags & ~SEND_FLAGS) != 0)
        error = -EOPNOTSUPP;
    if (error != 0)
        return error;
    if (k->transport == SESSION_TCP)
        return address != NULL ? -EISCONN : stream_send(s, k, piece, count, flags);
    if (address == NULL)
        return datagram_send(s, k, piece, count, flags, NULL, 0);
    error = address_read(address, length, &to, &port);
    if (error == 0 && port == 0)
        error = -EINVAL;
    return error != 0 ? error : datagram_send(s, k, piece, count, flags, &to, port);
}

static ssize_t receive_pieces(int fd, const struct iovec *piece, int count, int flags, struct sockaddr *ret_address,
                              socklen_t *length)
{
    struct session *s;
    struct socket *k;
    struct ip_address from;
    uint16_t port = 0;
    int error = socket_find(fd, &s, &k);
    if (error == 0 && (flags & ~RECEIVE_FLAGS) != 0)
        error = -EOPNOTSUPP;
    if (error != 0)
        return error;
    ssize_t n;
    if (k->transport == SESSION_TCP) {
        if ((flags & MSG_TRUNC) != 0)
            return -EOPNOTSUPP;
        n = stream_receive(s, k, piece, count, flags);
        from = k->remote;
        port = k->remote_port;
    } else {
        from = (struct ip_address){0};
        n = datagram_receive(s, k, piece, count, flags, &from, &port);
    }
    if (n >= 0 && ret_address != NULL)
        address_write(&from, port, ret_address, length);
    return n;
}

ssize_t bh_send(int fd, const void *data, size_t length, int flags)
{
    return bh_sendto(fd, data, length, flags, NULL, 0);
}

ssize_t bh_sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *address,
                  socklen_t address_length)
{
    struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = length};
    return bh_result(send_pieces(fd, &piece, 1, flags, address, address_length));
}

ssize_t bh_writev(int fd, const struct iovec *piece, int count)
{
    return bh_result(send_pieces(fd, piece, count, 0, NULL, 0));
}

ssize_t bh_recv(int fd, void *ret_data, size_t length, int flags)
{
    return bh_recvfrom(fd, ret_data, length, flags, NULL, NULL);
}

ssize_t bh_recvfrom(int fd, void *ret_data, size_t length, int flags, struct sockaddr *ret_address,
                    socklen_t *address_length)
{
    struct iovec piece = {.iov_base = ret_data, .iov_len = length};
    return bh_result(receive_pieces(fd, &piece, 1, flags, ret_address, address_length));
}

ssize_t bh_readv(int fd, const struct iovec *piece, int count)
{
    return bh_result(receive_pieces(fd, piece, count, 0, NULL, NULL));
}

/* ---- the ends of a connection ---- */
static void shut_write(struct session *s, struct socket *k)
{
    pthread_mutex_lock(&k->send_lock);
    if (socket_phase(k) == SOCKET_STREAM && !k->shut_write) {
        __atomic_store_n(&k->app->flags, SLOT_APP_SHUTDOWN, __ATOMIC_RELEASE);
        arena_notify(s, k->arena, k->slot);
    }
    __atomic_store_n(&k->shut_write, true, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&k->send_lock);
}

int bh_shutdown(int fd, int how)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    if (error == 0 && how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
        error = -EINVAL;
    if (error == 0 && (socket_settle(k) != 0 || (k->transport == SESSION_UDP && !k->connected)))
        error = -ENOTCONN;
    if (error != 0)
        return (int)bh_result(error);
    if (how != SHUT_WR)
        __atomic_store_n(&k->shut_read, true, __ATOMIC_RELAXED);
    if (how != SHUT_RD && socket_phase(k) != SOCKET_LISTENING)
        shut_write(s, k);
    session_wake(s);
    return 0;
}

int bh_getsockname(int fd, struct sockaddr *ret_address, socklen_t *length)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    if (error == 0)
        address_write(&k->local, k->local_port, ret_address, length);
    return (int)bh_result(error);
}

int bh_getpeername(int fd, struct sockaddr *ret_address, socklen_t *length)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    if (error == 0 && (k->transport == SESSION_UDP ? !k->connected : socket_settle(k) != 0))
        error = -ENOTCONN;
    if (error == 0 && socket_phase(k) == SOCKET_LISTENING)
        error = -ENOTCONN;
    if (error == 0)
        address_write(&k->remote, k->remote_port, ret_address, length);
    return (int)bh_result(error);
}

/* ---- options ---- */
int bh_set_nonblocking(int fd, bool on)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    if (error == 0)
        k->nonblocking = on;
    return (int)bh_result(error);
}

static int set_timeout(int64_t *ret_us, const void *value, socklen_t length)
{
    struct timeval t;
    if (length < sizeof t)
        return -EINVAL;
    memcpy(&t, value, sizeof t);
    if (t.tv_sec < 0 || t.tv_usec < 0 || t.tv_usec >= 1000000)
        return -EDOM;
    int64_t us = t.tv_sec > INT32_MAX ? FOREVER : (int64_t)t.tv_sec * 1000000 + t.tv_usec;
    *ret_us = us == 0 ? FOREVER : us;
    return 0;
}

static int set_control(struct session *s, struct socket *k, enum control_option option, bool *ret, const void *value,
                       socklen_t length)
{
    int on;
    if (length < sizeof on)
        return -EINVAL;
    memcpy(&on, value, sizeof on);
    struct control_request q = {.operation = CONTROL_SET_OPTION,
                                .socket = k->id,
                                .generation = k->id_generation,
                                .argument = {option, on != 0}};
    struct control_answer a;
    int error = lane_call(s, &q, LANE_NO_DESCRIPTOR, &a);
    if (error == 0)
        *ret = on != 0;
    return error;
}

static int set_option(struct session *s, struct socket *k, int level, int name, const void *value, socklen_t length)
{
    if (value == NULL)
        return -EFAULT;
    if (level == IPPROTO_TCP && name == TCP_NODELAY && k->transport == SESSION_TCP)
        return set_control(s, k, CONTROL_OPTION_NODELAY, &k->nodelay, value, length);
    if (level != SOL_SOCKET)
        return -ENOPROTOOPT;
    switch (name) {
    case SO_REUSEADDR:
        return set_control(s, k, CONTROL_OPTION_REUSE_ADDRESS, &k->reuse_address, value, length);
    case SO_RCVTIMEO:
        return set_timeout(&k->receive_timeout_us, value, length);
    case SO_SNDTIMEO:
        return set_timeout(&k->send_timeout_us, value, length);
    default:
        return -ENOPROTOOPT;
    }
}

int bh_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    return (int)bh_result(error != 0 ? error : set_option(s, k, level, name, value, length));
}

static int pending_error(struct session *s, struct socket *k)
{
    int error = 0;
    if (socket_phase(k) == SOCKET_LISTENING) {
        uint32_t told = __atomic_load_n(&s->answer->word[k->descriptor].error, __ATOMIC_ACQUIRE);
        return told < 4096 ? (int)told : EIO;
    }
    if (socket_phase(k) == SOCKET_CONNECTING)
        error = socket_settle(k); /* its failure is told here */
    if (error != 0)
        return error == -EAGAIN ? 0 : -error;
    uint32_t phase = socket_phase(k);
    return phase == SOCKET_STREAM || phase == SOCKET_DATAGRAM ? socket_take_error(k) : 0;
}

static int get_number(struct session *s, struct socket *k, int level, int name, int *ret)
{
    if (level == IPPROTO_TCP && name == TCP_NODELAY && k->transport == SESSION_TCP) {
        *ret = k->nodelay;
        return 0;
    }
    if (level != SOL_SOCKET)
        return -ENOPROTOOPT;
    bool stream = k->transport == SESSION_TCP;
    switch (name) {
    case SO_ERROR:
        *ret = pending_error(s, k);
        return 0;
    case SO_TYPE:
        *ret = stream ? SOCK_STREAM : SOCK_DGRAM;
        return 0;
    case SO_DOMAIN:
        *ret = AF_INET;
        return 0;
    case SO_PROTOCOL:
        *ret = stream ? IPPROTO_TCP : IPPROTO_UDP;
        return 0;
    case SO_ACCEPTCONN:
        *ret = socket_phase(k) == SOCKET_LISTENING && !__atomic_load_n(&k->shut_read, __ATOMIC_RELAXED);
        return 0;
    case SO_REUSEADDR:
        *ret = k->reuse_address;
        return 0;
    case SO_SNDBUF: /* 0: it has no slot yet */
        *ret = (int)k->send_size;
        return 0;
    case SO_RCVBUF:
        *ret = (int)k->receive_size;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

static int get_option(struct session *s, struct socket *k, int level, int name, void *ret_value, socklen_t *length)
{
    int number = 0;
    struct timeval t = {0};
    const void *from = &number;
    socklen_t size = sizeof number;
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
        int64_t us = name == SO_RCVTIMEO ? k->receive_timeout_us : k->send_timeout_us;
        if (us != FOREVER)
            t = (struct timeval){.tv_sec = us / 1000000, .tv_usec = us % 1000000};
        from = &t;
        size = sizeof t;
    } else {
        int error = get_number(s, k, level, name, &number);
        if (error != 0)
            return error;
    }
    *length = *length < size ? *length : size;
    memcpy(ret_value, from, *length);
    return 0;
}

int bh_getsockopt(int fd, int level, int name, void *ret_value, socklen_t *length)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    return (int)bh_result(error != 0 ? error : get_option(s, k, level, name, ret_value, length));
}
