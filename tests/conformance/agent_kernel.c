// SPDX-License-Identifier: BSD-2-Clause
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/conformance/agent.h"

static int agent_attach(void)
{
    return 0;
}

static int agent_accept(int fd)
{
    return accept(fd, NULL, NULL);
}

static ssize_t agent_send(int fd, const void *data, size_t length, int flags)
{
    return send(fd, data, length, flags | MSG_NOSIGNAL);
}

static int agent_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    return connect(fd, address, length);
}

static int agent_bind(int fd, const struct sockaddr *address, socklen_t length)
{
    return bind(fd, address, length);
}

static int agent_nonblock(int fd, int on)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 ? flags : fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

static int agent_ioctl(int fd, unsigned long request, int *value)
{
    return ioctl(fd, request, value);
}

const struct agent_calls agent_calls = {
    .attach = agent_attach,
    .socket = socket,
    .bind = agent_bind,
    .connect = agent_connect,
    .listen = listen,
    .accept = agent_accept,
    .send = agent_send,
    .recv = recv,
    .close = close,
    .shutdown = shutdown,
    .setsockopt = setsockopt,
    .getsockopt = getsockopt,
    .nonblock = agent_nonblock,
    .ioctl = agent_ioctl,
    .poll = poll,
};
