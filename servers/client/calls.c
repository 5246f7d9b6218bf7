// SPDX-License-Identifier: BSD-2-Clause
/* The public calls that only check their arguments and hand on: data, names. */
#include <errno.h>

#include "servers/client/bulkhead.h"
#include "servers/client/session.h"

/* ---- data ---- */
static ssize_t send_pieces(int fd, const struct iovec *piece, int count, int flags, const struct sockaddr *address,
                           socklen_t length)
{
    struct session *s;
    struct socket *k;
    struct datagram_about to = {0};
    int error = socket_find(fd, &s, &k);
    if (error == 0 && (flags & ~SEND_FLAGS) != 0)
        error = -EOPNOTSUPP;
    if (error != 0)
        return error;
    if (k->transport == SESSION_TCP) /* whatever the address says, as Linux */
        return stream_send(s, k, piece, count, flags);
    if (address != NULL)
        error = address_read_peer(k, address, length, &to.address, &to.port);
    return error != 0 ? error : datagram_send(s, k, piece, count, flags, &to);
}

static ssize_t receive_pieces(int fd, const struct iovec *piece, int count, int flags, struct sockaddr *ret_address,
                              socklen_t *length)
{
    struct session *s;
    struct socket *k;
    struct datagram_about from = {0};
    int error = socket_find(fd, &s, &k);
    if (error == 0 && (flags & ~RECEIVE_FLAGS) != 0)
        error = -EOPNOTSUPP;
    if (error == 0 && ret_address != NULL && length == NULL)
        error = -EFAULT;
    if (error != 0)
        return error;
    ssize_t n;
    if (k->transport == SESSION_TCP) {
        n = stream_receive(s, k, piece, count, flags);
        if (ret_address != NULL)
            from = (struct datagram_about){.address = k->remote, .port = k->remote_port};
    } else {
        n = datagram_receive(s, k, piece, count, flags, &from);
    }
    if (n >= 0 && ret_address != NULL)
        address_write(k, &from.address, from.port, ret_address, length);
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
/* As Linux: nobody is at the other end any more. */
static bool stream_is_over(const struct socket *k)
{
    return socket_phase(k) == SOCKET_STREAM && (socket_view(k).state & (SLOT_ERROR | SLOT_CLOSED)) != 0;
}

static bool was_connected(struct socket *k)
{
    return k->transport == SESSION_UDP ? socket_is_connected(k) : socket_was_connected(k);
}

int bh_shutdown(int fd, int how)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    if (error == 0 && how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
        error = -EINVAL;
    if (error == 0 && !was_connected(k))
        error = -ENOTCONN;
    if (error != 0)
        return (int)bh_result(error);
    bool over = stream_is_over(k);
    if (how != SHUT_WR)
        __atomic_store_n(&k->shut_read, true, __ATOMIC_RELAXED);
    if (how != SHUT_RD && socket_phase(k) != SOCKET_LISTENING)
        stream_shut_write(s, k);
    epoll_touch(s, k);
    session_wake(s);
    if (how != SHUT_WR && socket_phase(k) == SOCKET_LISTENING)
        socket_listens_no_more(s, k);
    return (int)bh_result(over ? -ENOTCONN : 0);
}

int bh_getsockname(int fd, struct sockaddr *ret_address, socklen_t *length)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    if (error == 0 && (ret_address == NULL || length == NULL))
        error = -EFAULT;
    if (error == 0)
        address_write(k, &k->local, k->local_port, ret_address, length);
    return (int)bh_result(error);
}

int bh_getpeername(int fd, struct sockaddr *ret_address, socklen_t *length)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    if (error == 0 && !was_connected(k))
        error = -ENOTCONN;
    if (error == 0 && (socket_phase(k) == SOCKET_LISTENING || stream_is_over(k)))
        error = -ENOTCONN;
    if (error == 0 && (ret_address == NULL || length == NULL))
        error = -EFAULT;
    if (error == 0)
        address_write(k, &k->remote, k->remote_port, ret_address, length);
    return (int)bh_result(error);
}

int bh_set_nonblocking(int fd, bool on)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    if (error == 0)
        k->nonblocking = on;
    return (int)bh_result(error);
}
