// SPDX-License-Identifier: BSD-2-Clause
/* bh_ioctl(): the few requests that programs make of sockets. */
#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "servers/client/bulkhead.h"
#include "servers/client/session.h"

/* Octets of the next datagram: it is looked at, and stays. */
static int datagram_octets(struct session *s, struct socket *k, int *ret)
{
    struct datagram_about about;
    struct iovec none = {0};
    ssize_t n = 0;
    if (socket_phase(k) == SOCKET_DATAGRAM && socket_view(k).available > 0)
        n = datagram_receive(s, k, &none, 1, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT, &about);
    *ret = n > 0 ? (int)n : 0;
    return n < 0 && n != -EAGAIN ? (int)n : 0;
}

static bool has_slot(struct socket *k)
{
    return k->transport == SESSION_TCP ? socket_was_connected(k) : socket_phase(k) == SOCKET_DATAGRAM;
}

static int queued(struct session *s, struct socket *k, bool to_read, int *ret)
{
    if (socket_phase(k) == SOCKET_LISTENING)
        return -EINVAL;
    if (to_read && k->transport == SESSION_UDP)
        return datagram_octets(s, k, ret);
    struct slot_view v = {0};
    if (has_slot(k))
        v = socket_view(k);
    uint32_t octets = to_read ? v.available : v.room - v.space;
    *ret = octets < INT_MAX ? (int)octets : INT_MAX;
    return 0;
}

static int request_run(struct session *s, struct socket *k, unsigned long request, int *argument)
{
    switch (request) {
    case FIONBIO:
        k->nonblocking = *argument != 0;
        return 0;
    case FIONREAD: /* SIOCINQ */
        return queued(s, k, true, argument);
    case SIOCOUTQ: /* TIOCOUTQ */
        return queued(s, k, false, argument);
    default:
        return -ENOTTY;
    }
}

int bh_ioctl(int fd, unsigned long request, ...)
{
    struct session *s;
    struct socket *k;
    va_list list;
    va_start(list, request);
    int *argument = va_arg(list, int *);
    va_end(list);
    int error = socket_find(fd, &s, &k);
    if (error == 0 && argument == NULL)
        error = -EFAULT;
    return (int)bh_result(error != 0 ? error : request_run(s, k, request, argument));
}
