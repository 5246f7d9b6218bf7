// SPDX-License-Identifier: BSD-2-Clause
#include <stddef.h>

#include "servers/client/bulkhead.h"
#include "tests/conformance/agent.h"

static int agent_attach(void)
{
    return bh_attach(NULL);
}

static int agent_accept(int fd)
{
    return bh_accept(fd, NULL, NULL);
}

static int agent_nonblock(int fd, int on)
{
    return bh_set_nonblocking(fd, on != 0);
}

static int agent_ioctl(int fd, unsigned long request, int *value)
{
    return bh_ioctl(fd, request, value);
}

const struct agent_calls agent_calls = {
    .attach = agent_attach,
    .socket = bh_socket,
    .bind = bh_bind,
    .connect = bh_connect,
    .listen = bh_listen,
    .accept = agent_accept,
    .send = bh_send,
    .recv = bh_recv,
    .close = bh_close,
    .shutdown = bh_shutdown,
    .setsockopt = bh_setsockopt,
    .getsockopt = bh_getsockopt,
    .nonblock = agent_nonblock,
    .ioctl = agent_ioctl,
    .poll = bh_poll,
};
