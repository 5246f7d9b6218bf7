// SPDX-License-Identifier: BSD-2-Clause
/* Socket options. A table of those that are a number: which of the socket's words keeps it, its range, and what the
 * socket server is asked for, if it concerns anyone but this library. */
#include <errno.h>
#include <limits.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/time.h>

#include "protocols/tcp/tcp.h"
#include "servers/client/bulkhead.h"
#include "servers/client/lane.h"
#include "servers/client/session.h"

#define TTL_DEFAULT         64
#define ECN_BITS            3
#define MAXIMUM_SEGMENT_MIN 88 /* as Linux */
#define CONGESTION_NAME     16 /* octets that TCP_CONGESTION gives, as Linux (TCP_CA_NAME_MAX) */

static const char congestion_name[][CONGESTION_NAME] = {[TCP_CONGESTION_RENO] = "reno",
                                                        [TCP_CONGESTION_CUBIC] = "cubic"};
#define CONGESTION_NAMES ((int)(sizeof congestion_name / sizeof congestion_name[0]))

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
    {IPPROTO_TCP, TCP_KEEPIDLE, OPTION_KEEP_IDLE, CONTROL_OPTION_KEEP_IDLE, 1, 32767, -1, ON_TCP},
    {IPPROTO_TCP, TCP_KEEPINTVL, OPTION_KEEP_INTERVAL, CONTROL_OPTION_KEEP_INTERVAL, 1, 32767, -1, ON_TCP},
    {IPPROTO_TCP, TCP_KEEPCNT, OPTION_KEEP_COUNT, CONTROL_OPTION_KEEP_COUNT, 1, 127, -1, ON_TCP},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, OPTION_USER_TIMEOUT, CONTROL_OPTION_USER_TIMEOUT, 0, INT_MAX, -1, ON_TCP},
    {IPPROTO_TCP, TCP_MAXSEG, OPTION_MAXIMUM_SEGMENT, CONTROL_OPTION_MAXIMUM_SEGMENT, 0, 32767, -1, ON_TCP},
    {IPPROTO_TCP, TCP_CONGESTION, OPTION_CONGESTION, CONTROL_OPTION_CONGESTION, TCP_CONGESTION_RENO,
     TCP_CONGESTION_CUBIC, -1, ON_TCP}, /* by name: see set_congestion() */
    {IPPROTO_TCP, TCP_QUICKACK, OPTION_QUICK_ACK, 0, 0, 1, -1, ON_TCP},
    {SOL_SOCKET, SO_KEEPALIVE, OPTION_KEEPALIVE, CONTROL_OPTION_KEEPALIVE, 0, 1, -1, ON_TCP},
    {SOL_SOCKET, SO_KEEPALIVE, OPTION_KEEPALIVE, 0, 0, 1, -1, ON_UDP},
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
    k->option[OPTION_KEEP_IDLE] = 7200;
    k->option[OPTION_KEEP_INTERVAL] = 75;
    k->option[OPTION_KEEP_COUNT] = 9;
    k->option[OPTION_QUICK_ACK] = 1;
    k->option[OPTION_URGENT_IN_LINE] = 1;
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
    if (t.tv_usec < 0 || t.tv_usec >= 1000000)
        return -EDOM;
    if (t.tv_sec < 0) { /* as Linux: no time at all */
        *ret_us = 0;
        return 0;
    }
    int64_t us = t.tv_sec > INT32_MAX ? FOREVER : (int64_t)t.tv_sec * 1000000 + t.tv_usec;
    *ret_us = us == 0 ? FOREVER : us;
    return 0;
}

/* IPv4's may be an octet, as BSD had it, or nothing, which is 0, as Linux has it. */
static int number_read(int level, const void *value, socklen_t length, int *ret)
{
    if (level == IPPROTO_IP && length < sizeof *ret) {
        *ret = length > 0 ? *(const uint8_t *)value : 0;
        return 0;
    }
    if (length < sizeof *ret)
        return -EINVAL;
    memcpy(ret, value, sizeof *ret);
    return 0;
}

/* With request_lock held: the socket server, of whom a socket that failed to connect has nothing any more: it is told
 * again with the next attempt. */
static int tell(struct session *s, struct socket *k, enum control_option option, uint32_t value)
{
    struct control_request q = {
        .operation = CONTROL_SET_OPTION, .socket = k->id, .generation = k->id_generation, .argument = {option, value}};
    struct control_answer a;
    if (__atomic_load_n(&k->failed, __ATOMIC_RELAXED))
        return 0;
    return lane_call(s, &q, LANE_NO_DESCRIPTOR, &a);
}

static int set_number(struct session *s, struct socket *k, const struct option_row *r, int number)
{
    if (number == -1 && r->automatic >= 0)
        number = r->automatic;
    else if (r->most == 1)
        number = number != 0;
    if (r->option == OPTION_TRAFFIC_CLASS && k->transport == SESSION_TCP) /* RFC 3168 6.1: ECN's bits are TCP's own */
        number = (number & ~ECN_BITS) | (socket_option(k, OPTION_TRAFFIC_CLASS) & ECN_BITS);
    if (number < r->least || number > r->most || (r->option == OPTION_V6_ONLY && socket_phase(k) != SOCKET_NEW))
        return -EINVAL;
    if (r->option == OPTION_MAXIMUM_SEGMENT && number != 0 && number < MAXIMUM_SEGMENT_MIN)
        return -EINVAL;
    bool whether = r->control == CONTROL_OPTION_DONT_FRAGMENT;
    uint32_t value = whether ? number == IP_PMTUDISC_DO : (uint32_t)number;
    int error = r->control != 0 ? tell(s, k, (enum control_option)r->control, value) : 0;
    if (error != 0)
        return error;
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
    if (error == 0 && k->transport == SESSION_TCP && __atomic_load_n(&k->linger_s, __ATOMIC_RELAXED) == 0)
        error = tell(s, k, CONTROL_OPTION_LINGER_RESET, 1);
    return error;
}

/* ---- setting: what is no number, or not only kept ---- */
static int set_linger(struct session *s, struct socket *k, const void *value, socklen_t length)
{
    struct linger l;
    if (length < sizeof l)
        return -EINVAL;
    memcpy(&l, value, sizeof l);
    int32_t after = -1;
    if (l.l_onoff != 0)
        after = l.l_linger < 0 ? INT_MAX : l.l_linger;
    pthread_mutex_lock(&k->request_lock);
    int32_t before = __atomic_load_n(&k->linger_s, __ATOMIC_RELAXED);
    bool reset = k->transport == SESSION_TCP && (before == 0) != (after == 0);
    int error = reset ? tell(s, k, CONTROL_OPTION_LINGER_RESET, after == 0) : 0;
    if (error == 0)
        __atomic_store_n(&k->linger_s, after, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&k->request_lock);
    return error;
}

static uint32_t ring_for(int octets)
{
    uint32_t size = SLOT_RING_MIN;
    while (size < SLOT_RING_MAX && (int64_t)size < octets)
        size *= 2;
    return size;
}

/* Of the slot that the socket will have; once it has one, or is a listener, there is nothing to change. */
static int set_size(struct socket *k, bool send, int octets)
{
    pthread_mutex_lock(&k->send_lock);
    pthread_mutex_lock(&k->receive_lock);
    if (socket_phase(k) == SOCKET_NEW)
        *(send ? &k->rings.send : &k->rings.receive) = ring_for(octets);
    pthread_mutex_unlock(&k->receive_lock);
    pthread_mutex_unlock(&k->send_lock);
    return 0;
}

static int set_congestion(struct session *s, struct socket *k, const char *name, socklen_t length)
{
    size_t n = strnlen(name, length < CONGESTION_NAME ? length : CONGESTION_NAME - 1);
    if (n == 0)
        return -EINVAL;
    for (int i = TCP_CONGESTION_RENO; i < CONGESTION_NAMES; i++) {
        if (n != strlen(congestion_name[i]) || memcmp(name, congestion_name[i], n) != 0)
            continue;
        pthread_mutex_lock(&k->request_lock);
        int error = set_number(s, k, row_of(k, IPPROTO_TCP, TCP_CONGESTION), i);
        pthread_mutex_unlock(&k->request_lock);
        return error;
    }
    return -ENOENT;
}

/* 1: none of these. */
static int set_special(struct session *s, struct socket *k, int level, int name, const void *value, socklen_t length)
{
    int number, error;
    bool stream = level == IPPROTO_TCP && k->transport == SESSION_TCP;
    if (stream && name == TCP_CONGESTION)
        return set_congestion(s, k, value, length);
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO))
        return set_timeout(name == SO_RCVTIMEO ? &k->receive_timeout_us : &k->send_timeout_us, value, length);
    if (level == SOL_SOCKET && name == SO_LINGER)
        return set_linger(s, k, value, length);
    bool size = level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_SNDBUF);
    bool in_line = level == SOL_SOCKET && name == SO_OOBINLINE;
    if (!size && !in_line && !(stream && name == TCP_CORK))
        return 1;
    error = number_read(level, value, length, &number);
    if (error == 0 && size)
        error = set_size(k, name == SO_SNDBUF, number);
    else if (error == 0 && !in_line)
        stream_set_cork(s, k, number != 0);
    return error;
}

static int set_option(struct session *s, struct socket *k, int level, int name, const void *value, socklen_t length)
{
    int number;
    if (value == NULL && length > 0)
        return -EFAULT;
    int error = set_special(s, k, level, name, value, length);
    if (error <= 0)
        return error;
    const struct option_row *r = row_of(k, level, name);
    if (r == NULL)
        return -ENOPROTOOPT;
    error = number_read(level, value, length, &number);
    if (error != 0)
        return error;
    pthread_mutex_lock(&k->request_lock);
    error = set_number(s, k, r, number);
    pthread_mutex_unlock(&k->request_lock);
    return error;
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

/* Of the ring there is, grown or not; without one of what there will be. */
static uint32_t ring_now(const struct socket *k, bool send)
{
    struct arena_rings chosen = socket_rings(k);
    uint32_t size = send ? k->send_size : k->receive_size;
    if (socket_phase(k) == SOCKET_NEW || size == 0)
        return send ? chosen.send : chosen.receive;
    if (k->transport != SESSION_TCP)
        return size;
    return send ? stream_send_shape(k).next_size : stream_receive_shape(k).next_size;
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
        *ret = (int)ring_now(k, true);
        return 0;
    case SO_RCVBUF:
        *ret = (int)ring_now(k, false);
        return 0;
    case SO_OOBINLINE:
        *ret = socket_option(k, OPTION_URGENT_IN_LINE);
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
    if (level == IPPROTO_TCP && name == TCP_MAXSEG && r != NULL) {
        *ret = (int)stream_segment_size(k);
        return 0;
    }
    if (level == IPPROTO_TCP && name == TCP_CORK && k->transport == SESSION_TCP) {
        *ret = socket_option(k, OPTION_CORK);
        return 0;
    }
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

union option_value {
    int number;
    struct timeval time;
    struct linger linger;
    struct tcp_info info;
    char name[CONGESTION_NAME];
};

/* What was asked for, what the connection has, or what it would have. */
static uint32_t congestion_of(const struct socket *k)
{
    const uint32_t known[] = {(uint32_t)socket_option(k, OPTION_CONGESTION), stream_congestion(k), k->congestion_default};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i] == TCP_CONGESTION_RENO || known[i] == TCP_CONGESTION_CUBIC)
            return known[i];
    return TCP_CONGESTION_CUBIC;
}

static struct timeval time_of(int64_t us)
{
    struct timeval t = {0};
    if (us != FOREVER)
        t = (struct timeval){.tv_sec = us / 1000000, .tv_usec = us % 1000000};
    return t;
}

/* What is no number. How many octets; 0: none of these. */
static socklen_t get_special(struct socket *k, int level, int name, union option_value *ret)
{
    bool stream = level == IPPROTO_TCP && k->transport == SESSION_TCP;
    if (stream && name == TCP_INFO) {
        stream_figures(k, &ret->info);
        return sizeof ret->info;
    }
    if (stream && name == TCP_CONGESTION) {
        memcpy(ret->name, congestion_name[congestion_of(k)], sizeof ret->name);
        return sizeof ret->name;
    }
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
        ret->time = time_of(name == SO_RCVTIMEO ? k->receive_timeout_us : k->send_timeout_us);
        return sizeof ret->time;
    }
    if (level == SOL_SOCKET && name == SO_LINGER) {
        int32_t s = __atomic_load_n(&k->linger_s, __ATOMIC_RELAXED);
        ret->linger = (struct linger){.l_onoff = s >= 0, .l_linger = s >= 0 ? s : 0};
        return sizeof ret->linger;
    }
    return 0;
}

static int get_option(struct socket *k, int level, int name, void *ret_value, socklen_t *length)
{
    union option_value value = {0};
    if (ret_value == NULL || length == NULL)
        return -EFAULT;
    socklen_t size = get_special(k, level, name, &value);
    if (size == 0) {
        int error = get_number(k, level, name, &value.number);
        if (error != 0)
            return error;
        size = sizeof value.number;
    }
    *length = *length < size ? *length : size;
    memcpy(ret_value, &value, *length);
    return 0;
}

int bh_getsockopt(int fd, int level, int name, void *ret_value, socklen_t *length)
{
    struct session *s;
    struct socket *k;
    int error = socket_find(fd, &s, &k);
    return (int)bh_result(error != 0 ? error : get_option(k, level, name, ret_value, length));
}
