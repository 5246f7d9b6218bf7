// SPDX-License-Identifier: BSD-2-Clause
/* Socket options. A table of those that are a number: which of the socket's words keeps it, its range, and what the
 * socket server is asked for, if it concerns anyone but this library. */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/time.h>

#include "servers/client/bulkhead.h"
#include "servers/client/lane.h"
#include "servers/client/session.h"

#define TTL_DEFAULT 64

enum { ON_TCP = 1, ON_UDP = 2, ON_BOTH = 3 };

struct option_row {
    int level, name;
    enum socket_option option;
    uint32_t control; /* enum control_option; 0: kept here */
    int least, most;  /* 0, 1: anything but 0 is 1 */
    int automatic;    /* what -1 asks for; -1: it is no value */
    uint8_t on;
};

static const struct option_row rows[] = {
    {IPPROTO_TCP, TCP_NODELAY, OPTION_NODELAY, CONTROL_OPTION_NODELAY, 0, 1, -1, ON_TCP},
    {SOL_SOCKET, SO_REUSEADDR, OPTION_REUSE_ADDRESS, CONTROL_OPTION_REUSE_ADDRESS, 0, 1, -1, ON_BOTH},
    {SOL_SOCKET, SO_BROADCAST, OPTION_BROADCAST, CONTROL_OPTION_BROADCAST, 0, 1, -1, ON_UDP},
    {SOL_SOCKET, SO_NO_CHECK, OPTION_NO_CHECK, CONTROL_OPTION_NO_CHECK, 0, 1, -1, ON_UDP},
    {IPPROTO_IP, IP_TTL, OPTION_TTL, CONTROL_OPTION_TTL, 1, 255, TTL_DEFAULT, ON_BOTH},
    {IPPROTO_IP, IP_TOS, OPTION_TRAFFIC_CLASS, CONTROL_OPTION_TRAFFIC_CLASS, 0, 255, -1, ON_BOTH},
    {IPPROTO_IP, IP_MTU_DISCOVER, OPTION_MTU_DISCOVER, CONTROL_OPTION_DONT_FRAGMENT, IP_PMTUDISC_DONT, IP_PMTUDISC_DO,
     -1, ON_UDP},
    {IPPROTO_IP, IP_RECVTTL, OPTION_RECEIVE_TTL, 0, 0, 1, -1, ON_UDP},
    {IPPROTO_IP, IP_RECVTOS, OPTION_RECEIVE_TOS, 0, 0, 1, -1, ON_UDP},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, OPTION_TTL, CONTROL_OPTION_TTL, 1, 255, TTL_DEFAULT, ON_BOTH},
    {IPPROTO_IPV6, IPV6_TCLASS, OPTION_TRAFFIC_CLASS, CONTROL_OPTION_TRAFFIC_CLASS, 0, 255, 0, ON_BOTH},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, OPTION_MTU_DISCOVER, CONTROL_OPTION_DONT_FRAGMENT, IPV6_PMTUDISC_DONT,
     IPV6_PMTUDISC_DO, -1, ON_UDP},
    {IPPROTO_IPV6, IPV6_V6ONLY, OPTION_V6_ONLY, CONTROL_OPTION_V6_ONLY, 0, 1, -1, ON_BOTH},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, OPTION_RECEIVE_HOPS, 0, 0, 1, -1, ON_UDP},
    {IPPROTO_IPV6, IPV6_RECVTCLASS, OPTION_RECEIVE_CLASS, 0, 0, 1, -1, ON_UDP},
};

void socket_options_default(struct socket *k)
{
    k->option[OPTION_TTL] = TTL_DEFAULT;
    k->option[OPTION_MTU_DISCOVER] = IP_PMTUDISC_WANT;
}

int32_t socket_option(const struct socket *k, enum socket_option option)
{
    return __atomic_load_n(&k->option[option], __ATOMIC_RELAXED);
}

static const struct option_row *row_of(const struct socket *k, int level, int name)
{
    int on = k->transport == SESSION_TCP ? ON_TCP : ON_UDP;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct option_row *r = &rows[i];
        if (r->level == level && r->name == name && (r->on & on) != 0)
            return level == IPPROTO_IPV6 && k->domain != AF_INET6 ? NULL : r;
    }
    return NULL;
}

/* ---- setting ---- */
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

/* IPv4's may be an octet, as BSD had it. */
static int number_read(int level, const void *value, socklen_t length, int *ret)
{
    if (level == IPPROTO_IP && length >= 1 && length < sizeof *ret) {
        *ret = *(const uint8_t *)value;
        return 0;
    }
    if (length < sizeof *ret)
        return -EINVAL;
    memcpy(ret, value, sizeof *ret);
    return 0;
}

static int set_number(struct session *s, struct socket *k, const struct option_row *r, int number)
{
    if (number == -1 && r->automatic >= 0)
        number = r->automatic;
    else if (r->most == 1)
        number = number != 0;
    if (number < r->least || number > r->most || (r->option == OPTION_V6_ONLY && socket_phase(k) != SOCKET_NEW))
        return -EINVAL;
    if (r->control != 0) {
        bool whether = r->control == CONTROL_OPTION_DONT_FRAGMENT;
        struct control_request q = {.operation = CONTROL_SET_OPTION,
                                    .socket = k->id,
                                    .generation = k->id_generation,
                                    .argument = {r->control, whether ? number == IP_PMTUDISC_DO : (uint32_t)number}};
        struct control_answer a;
        int error = lane_call(s, &q, LANE_NO_DESCRIPTOR, &a);
        if (error != 0)
            return error;
    }
    __atomic_store_n(&k->option[r->option], number, __ATOMIC_RELAXED);
    return 0;
}

int socket_options_again(struct session *s, struct socket *k)
{
    struct socket fresh = {0};
    int error = 0;
    socket_options_default(&fresh);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && error == 0; i++) {
        const struct option_row *r = row_of(k, rows[i].level, rows[i].name);
        int number = socket_option(k, rows[i].option);
        if (r == &rows[i] && r->control != 0 && number != fresh.option[r->option])
            error = set_number(s, k, r, number);
    }
    return error;
}

static int set_option(struct session *s, struct socket *k, int level, int name, const void *value, socklen_t length)
{
    int number;
    if (value == NULL)
        return -EFAULT;
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO))
        return set_timeout(name == SO_RCVTIMEO ? &k->receive_timeout_us : &k->send_timeout_us, value, length);
    const struct option_row *r = row_of(k, level, name);
    bool sizes = level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_SNDBUF); /* the arena's: nothing to change */
    if (r == NULL && !sizes)
        return -ENOPROTOOPT;
    int error = number_read(level, value, length, &number);
    return error != 0 || sizes ? error : set_number(s, k, r, number);
}

int bh_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    return (int)bh_result(error != 0 ? error : set_option(s, k, level, name, value, length));
}

/* ---- getting ---- */
static int pending_error(struct socket *k)
{
    int error = 0;
    if (socket_phase(k) == SOCKET_LISTENING)
        return socket_take_word(k);
    if (socket_phase(k) == SOCKET_CONNECTING)
        error = socket_settle(k); /* its failure is told here */
    if (error != 0)
        return error == -EAGAIN ? 0 : -error;
    uint32_t phase = socket_phase(k);
    return phase == SOCKET_STREAM || phase == SOCKET_DATAGRAM ? socket_take_error(k) : 0;
}

static int get_socket_number(struct socket *k, int name, int *ret)
{
    bool stream = k->transport == SESSION_TCP;
    switch (name) {
    case SO_ERROR:
        *ret = pending_error(k);
        return 0;
    case SO_TYPE:
        *ret = stream ? SOCK_STREAM : SOCK_DGRAM;
        return 0;
    case SO_DOMAIN:
        *ret = k->domain;
        return 0;
    case SO_PROTOCOL:
        *ret = stream ? IPPROTO_TCP : IPPROTO_UDP;
        return 0;
    case SO_ACCEPTCONN:
        *ret = socket_phase(k) == SOCKET_LISTENING && !__atomic_load_n(&k->shut_read, __ATOMIC_RELAXED);
        return 0;
    case SO_SNDBUF:
        *ret = (int)(k->send_size != 0 ? k->send_size : arenas_ring_size(k->transport, true));
        return 0;
    case SO_RCVBUF:
        *ret = (int)(k->receive_size != 0 ? k->receive_size : arenas_ring_size(k->transport, false));
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

static bool asks_for_mtu(const struct socket *k, int level, int name)
{
    return k->transport == SESSION_UDP && ((level == IPPROTO_IP && name == IP_MTU) ||
                                           (level == IPPROTO_IPV6 && name == IPV6_MTU && k->domain == AF_INET6));
}

static int get_number(struct socket *k, int level, int name, int *ret)
{
    const struct option_row *r = row_of(k, level, name);
    if (r != NULL) {
        *ret = socket_option(k, r->option);
        return 0;
    }
    if (asks_for_mtu(k, level, name)) {
        uint32_t mtu = socket_is_connected(k) ? socket_view(k).path_mtu : 0;
        *ret = mtu <= UINT16_MAX ? (int)mtu : UINT16_MAX;
        return mtu != 0 ? 0 : -ENOTCONN;
    }
    return level == SOL_SOCKET ? get_socket_number(k, name, ret) : -ENOPROTOOPT;
}

static int get_option(struct socket *k, int level, int name, void *ret_value, socklen_t *length)
{
    int number = 0;
    struct timeval t = {0};
    const void *from = &number;
    socklen_t size = sizeof number;
    if (ret_value == NULL || length == NULL)
        return -EFAULT;
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
        int64_t us = name == SO_RCVTIMEO ? k->receive_timeout_us : k->send_timeout_us;
        if (us != FOREVER)
            t = (struct timeval){.tv_sec = us / 1000000, .tv_usec = us % 1000000};
        from = &t;
        size = sizeof t;
    } else {
        int error = get_number(k, level, name, &number);
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
    return (int)bh_result(error != 0 ? error : get_option(k, level, name, ret_value, length));
}
