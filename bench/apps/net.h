// SPDX-License-Identifier: BSD-2-Clause
/* The stack that a program here runs on: one table of calls with POSIX's signatures, filled by libbulkhead or by the
 * kernel, so that the same program is measured on both. */
#ifndef BULKHEAD_BENCH_APPS_NET_H
#define BULKHEAD_BENCH_APPS_NET_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct net {
    const char *name;
    int (*attach)(const char *run_dir); /* NULL: from the environment */
    int (*socket)(int domain, int type, int protocol);
    int (*bind)(int fd, const struct sockaddr *address, socklen_t length);
    int (*listen)(int fd, int backlog);
    int (*accept4)(int fd, struct sockaddr *ret_address, socklen_t *length, int flags);
    int (*connect)(int fd, const struct sockaddr *address, socklen_t length);
    ssize_t (*send)(int fd, const void *data, size_t length, int flags); /* with MSG_NOSIGNAL */
    ssize_t (*recv)(int fd, void *ret_data, size_t length, int flags);
    ssize_t (*sendto)(int fd, const void *data, size_t length, int flags, const struct sockaddr *address, socklen_t n);
    ssize_t (*recvfrom)(int fd, void *ret_data, size_t length, int flags, struct sockaddr *ret_address, socklen_t *n);
    int (*shutdown)(int fd, int how);
    int (*close)(int fd);
    int (*getsockname)(int fd, struct sockaddr *ret_address, socklen_t *length);
    int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t length);
    int (*getsockopt)(int fd, int level, int name, void *ret_value, socklen_t *length);
    int (*poll)(struct pollfd *set, nfds_t count, int timeout_ms); /* takes descriptors of the kernel's as well */
    int (*epoll_create1)(int flags);
    int (*epoll_ctl)(int epoll, int operation, int fd, struct epoll_event *event);
    int (*epoll_wait)(int epoll, struct epoll_event *ret_events, int most, int timeout_ms);
    bool fixed_rings; /* SO_SNDBUF and SO_RCVBUF are memory that a connection takes, used or not */
    /* Datagrams without a copy, as bulkhead.h says; NULL where there is no such thing. */
    void *(*datagram_reserve)(int fd, size_t length, int flags);
    int (*datagram_commit)(int fd, size_t length, const struct sockaddr *address, socklen_t n);
    int (*datagram_peek)(int fd, struct iovec *ret_piece, int flags, struct sockaddr *ret_address, socklen_t *n);
    int (*datagram_consume)(int fd);
    /* Sends what it can of a file's octets [offset, offset + length), as sendfile(2); each stack's best way. Octets sent, 0 at the end
     * of the file, or -1 and errno. */
    ssize_t (*send_file)(int fd, int file, off_t offset, size_t length);
};

const struct net *net_find(const char *name); /* "bulkhead" or "linux"; NULL for anything else */

#endif
