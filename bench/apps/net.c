// SPDX-License-Identifier: BSD-2-Clause
#include "bench/apps/net.h"

#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "servers/client/bulkhead.h"


#define FILE_CHUNK (64U << 10) /* read before it goes to the stack, which sends while the next is read */

static ssize_t min_size(ssize_t a, ssize_t b)
{
    return a < b ? a : b;
}

/* The file is read straight into the send ring. */
static ssize_t bulkhead_send_file(int fd, int file, off_t offset, size_t length)
{
    struct iovec piece[2];
    ssize_t room = bh_send_reserve(fd, piece, 0);
    if (room <= 0)
        return room;
    room = min_size(room, length < FILE_CHUNK ? (ssize_t)length : (ssize_t)FILE_CHUNK);
    piece[0].iov_len = (size_t)min_size((ssize_t)piece[0].iov_len, room);
    piece[1].iov_len = (size_t)room - piece[0].iov_len;
    ssize_t n = preadv(file, piece, 2, offset);
    if (n > 0 && bh_send_commit(fd, (size_t)n) < 0)
        return -1;
    return n;
}

static ssize_t linux_send_file(int fd, int file, off_t offset, size_t length)
{
    return sendfile(fd, file, &offset, length);
}

static int linux_attach(const char *run_dir)
{
    (void)run_dir;
    return 0;
}

static ssize_t linux_send(int fd, const void *data, size_t length, int flags)
{
    return send(fd, data, length, flags | MSG_NOSIGNAL);
}

static const struct net stacks[] = {
    {
        .name = "bulkhead",
        .attach = bh_attach,
        .socket = bh_socket,
        .bind = bh_bind,
        .listen = bh_listen,
        .accept4 = bh_accept4,
        .connect = bh_connect,
        .send = bh_send,
        .recv = bh_recv,
        .sendto = bh_sendto,
        .recvfrom = bh_recvfrom,
        .shutdown = bh_shutdown,
        .close = bh_close,
        .getsockname = bh_getsockname,
        .setsockopt = bh_setsockopt,
        .getsockopt = bh_getsockopt,
        .poll = bh_poll,
        .epoll_create1 = bh_epoll_create1,
        .epoll_ctl = bh_epoll_ctl,
        .epoll_wait = bh_epoll_wait,
        .fixed_rings = true,
        .datagram_reserve = bh_datagram_reserve,
        .datagram_commit = bh_datagram_commit,
        .datagram_peek = bh_datagram_peek,
        .datagram_consume = bh_datagram_consume,
        .send_file = bulkhead_send_file,
    },
    {
        .name = "linux",
        .attach = linux_attach,
        .socket = socket,
        .bind = bind,
        .listen = listen,
        .accept4 = accept4,
        .connect = connect,
        .send = linux_send,
        .recv = recv,
        .sendto = sendto,
        .recvfrom = recvfrom,
        .shutdown = shutdown,
        .close = close,
        .getsockname = getsockname,
        .setsockopt = setsockopt,
        .getsockopt = getsockopt,
        .poll = poll,
        .epoll_create1 = epoll_create1,
        .epoll_ctl = epoll_ctl,
        .epoll_wait = epoll_wait,
        .send_file = linux_send_file,
    },
};

const struct net *net_find(const char *name)
{
    for (size_t i = 0; i < sizeof stacks / sizeof stacks[0]; i++)
        if (strcmp(stacks[i].name, name) == 0)
            return &stacks[i];
    return NULL;
}
