// SPDX-License-Identifier: BSD-2-Clause
/* The sockets calls that agent.c makes, of the one or the other: agent_bulkhead.c or agent_kernel.c is linked with it.
 * All as POSIX has them. */
#ifndef BULKHEAD_TESTS_CONFORMANCE_AGENT_H
#define BULKHEAD_TESTS_CONFORMANCE_AGENT_H

#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

struct agent_calls {
    int (*attach)(void); /* before the first */
    int (*socket)(int domain, int type, int protocol);
    int (*bind)(int fd, const struct sockaddr *address, socklen_t length);
    int (*connect)(int fd, const struct sockaddr *address, socklen_t length);
    int (*listen)(int fd, int backlog);
    int (*accept)(int fd);
    ssize_t (*send)(int fd, const void *data, size_t length, int flags);
    ssize_t (*recv)(int fd, void *data, size_t length, int flags);
    int (*close)(int fd);
    int (*shutdown)(int fd, int how);
    int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t length);
    int (*getsockopt)(int fd, int level, int name, void *value, socklen_t *length);
    int (*nonblock)(int fd, int on);
    int (*ioctl)(int fd, unsigned long request, int *value);
    int (*poll)(struct pollfd *set, nfds_t count, int timeout_ms);
};

extern const struct agent_calls agent_calls;

#endif
