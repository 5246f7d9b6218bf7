// SPDX-License-Identifier: BSD-2-Clause
/* Theory of operation. What an application would see is tried: a request to the socket server (a new socket), a
 * connection to a listener that is kept for life, one octet there and back, and a datagram between two sockets that are
 * kept for life. All turn round in ip (127/8 or ::1), so no link and no neighbour is in it, and nobody from outside
 * reaches what listens here.
 *
 * Everything has a deadline, and what can be lost is tried again within it. libbulkhead waits for the socket server's
 * answers itself: a timer's signals end that (EINTR, bulkhead.h). Probe connections end with a reset, so that none is
 * left in TIME_WAIT. A socket that is lost (a cold start) is made again and says nothing of the present. */
#include "servers/prober/probe.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include "servers/client/bulkhead.h"
#include "servers/client/session.h"

#define SIGNAL_US      250000 /* from here on a request loses its patience */
#define CONNECTION_US  400000 /* for each of ... */
#define CONNECTIONS    2
#define DATAGRAM_US    200000 /* likewise */
#define DATAGRAMS      3
#define SLICE_MS       20 /* of a wait, to see how late the machine is */
#define BACKLOG        4
#define STRANGERS_MOST 8 /* that wait in the listener's queue: of attempts that failed */

uint64_t probe_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void prober_init(struct prober *p, int family)
{
    *p = (struct prober){.listener = -1, .datagram = {-1, -1}, .family = family};
}

/* ---- names: a sockaddr_in6 has room for either ---- */

static struct sockaddr *name_of(struct sockaddr_in6 *name)
{
    return (struct sockaddr *)name;
}

static socklen_t name_length(const struct prober *p)
{
    return p->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static struct sockaddr_in6 loopback(const struct prober *p)
{
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in name4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (p->family == AF_INET)
        memcpy(&name, &name4, sizeof name4);
    return name;
}

static bool same_port(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b)
{
    return a->sin6_port == b->sin6_port; /* at the same place in both families */
}
_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port), "same_port()");

static void signals_set(uint64_t us)
{
    struct itimerval timer = {.it_interval.tv_usec = (suseconds_t)us, .it_value.tv_usec = (suseconds_t)us};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void drop(int *fd)
{
    if (*fd >= 0)
        bh_close(*fd);
    *fd = -1;
}

/* What a failed call says of who was to serve it. */
static enum probe_outcome outcome_of(int error)
{
    return error == ENOBUFS || error == ENOMEM || error == EMFILE || error == ENOSPC || error == ENETDOWN
               ? PROBE_UNKNOWN
               : PROBE_FAILED;
}

static bool is_lost(int error) /* the socket is; not its server's fault now */
{
    return error == EBADF || error == ECONNRESET;
}

/* True: there is something of `events`. */
static bool await(struct prober *p, int fd, short events, uint64_t until_us)
{
    for (uint64_t now = probe_now_us(); now < until_us; now = probe_now_us()) {
        struct pollfd one = {.fd = fd, .events = events};
        int n = bh_poll(&one, 1, SLICE_MS);
        uint64_t took = probe_now_us() - now;
        if (took > SLICE_MS * 1000 && took - SLICE_MS * 1000 > p->late_us)
            p->late_us = took - SLICE_MS * 1000;
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
    return false;
}

/* ---- TCP ---- */

static enum probe_outcome listener_make(struct prober *p)
{
    struct sockaddr_in6 any = loopback(p);
    struct linger reset = {.l_onoff = 1};
    socklen_t length = sizeof p->at;
    p->listener = bh_socket(p->family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (p->listener >= 0 && bh_bind(p->listener, name_of(&any), name_length(p)) == 0 &&
        bh_setsockopt(p->listener, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0 &&
        bh_listen(p->listener, BACKLOG) == 0 && bh_getsockname(p->listener, name_of(&p->at), &length) == 0)
        return PROBE_SERVED;
    enum probe_outcome outcome = outcome_of(errno);
    drop(&p->listener);
    return outcome;
}

/* The end of the connection that `own` is the name of; -1: it did not come. */
static int connection_take(struct prober *p, const struct sockaddr_in6 *own, uint64_t until_us)
{
    for (unsigned i = 0; i < STRANGERS_MOST && await(p, p->listener, POLLIN, until_us); i++) {
        struct sockaddr_in6 from = {0};
        socklen_t length = sizeof from;
        int fd = bh_accept4(p->listener, name_of(&from), &length, SOCK_NONBLOCK);
        if (fd >= 0 && same_port(&from, own))
            return fd;
        if (fd < 0 && is_lost(errno))
            drop(&p->listener);
        if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED)
            return -1;
        drop(&fd);
    }
    return -1;
}

static bool octet_goes(struct prober *p, int from, int to, uint8_t octet, uint64_t until_us)
{
    uint8_t got = (uint8_t)~octet;
    return bh_send(from, &octet, 1, 0) == 1 && await(p, to, POLLIN, until_us) && bh_recv(to, &got, 1, 0) == 1 &&
           got == octet;
}

/* What the socket server has handed out for that end. */
static void handed_note(int fd, enum probe_end end, struct probe_report *ret)
{
    struct session *s;
    struct socket *k;
    if (socket_find(fd, &s, &k) < 0 || !k->handed.is)
        return;
    ret->slot[end] = (struct probe_slot){k->handed.arena, k->handed.slot, k->handed.generation};
    ret->handed = (uint8_t)(ret->handed | PROBE_END_BIT(end));
}

/* `fd`: a socket. True: an octet came, and came back. *ret: how far it got, with which slots. */
static bool connection_works(struct prober *p, int fd, uint64_t until_us, struct probe_report *ret)
{
    struct sockaddr_in6 own = {0};
    socklen_t length = sizeof own;
    struct linger reset = {.l_onoff = 1};
    int error = 0;
    socklen_t size = sizeof error;
    ret->stage = PROBE_STAGE_UNKNOWN;
    ret->handed = 0;
    if (bh_setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) < 0)
        return false;
    ret->stage = PROBE_STAGE_CALL;
    int result = bh_connect(fd, name_of(&p->at), name_length(p)), why = errno;
    handed_note(fd, PROBE_END_CONNECTED, ret);
    if (result < 0 && why != EINPROGRESS) {
        ret->stage = why == EINTR ? PROBE_STAGE_CALL : PROBE_STAGE_CONNECT; /* an error is an answer */
        return false;
    }
    ret->stage = PROBE_STAGE_CONNECT;
    if (!await(p, fd, POLLOUT, until_us) || bh_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error != 0 ||
        bh_getsockname(fd, name_of(&own), &length) < 0)
        return false;
    ret->stage = PROBE_STAGE_ACCEPT;
    int end = connection_take(p, &own, until_us);
    uint8_t octet = (uint8_t)p->sequence;
    ret->stage = end >= 0 ? PROBE_STAGE_OCTETS : PROBE_STAGE_ACCEPT;
    handed_note(end, PROBE_END_ACCEPTED, ret);
    bool works =
        end >= 0 && octet_goes(p, fd, end, octet, until_us) && octet_goes(p, end, fd, (uint8_t)(octet + 1), until_us);
    drop(&end);
    return works;
}

/* A socket by which the socket server shows that it answers, or -1. */
static int request(struct prober *p, struct probe_report *ret)
{
    int fd = bh_socket(p->family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ret->request = fd >= 0 ? PROBE_SERVED : (uint8_t)outcome_of(errno);
    p->unserved = fd < 0 ? p->unserved + 1 : 0;
    return fd;
}

/* After an attempt that failed: a listener that the stack has forgotten is no proof of anything, the next one is. */
static bool listener_is_lost(struct prober *p)
{
    int fd = bh_accept4(p->listener, NULL, NULL, SOCK_NONBLOCK);
    bool lost = fd < 0 && is_lost(errno);
    drop(&fd);
    if (lost)
        drop(&p->listener);
    return lost;
}

static void tcp(struct prober *p, struct probe_report *ret)
{
    int fd = request(p, ret);
    if (fd < 0)
        return;
    ret->tcp = PROBE_FAILED;
    for (unsigned i = 0; i < CONNECTIONS && ret->tcp == PROBE_FAILED && fd >= 0; i++) {
        enum probe_outcome made = p->listener < 0 ? listener_make(p) : PROBE_SERVED;
        if (made != PROBE_SERVED)
            ret->tcp = (uint8_t)made;
        else if (connection_works(p, fd, probe_now_us() + CONNECTION_US, ret))
            ret->tcp = PROBE_SERVED;
        else if (p->listener < 0 || listener_is_lost(p))
            ret->tcp = PROBE_UNKNOWN;
        drop(&fd);
        fd = ret->tcp == PROBE_FAILED && i + 1 < CONNECTIONS ? request(p, ret) : -1;
    }
}

/* ---- UDP ---- */

static void datagrams_drop(struct prober *p)
{
    drop(&p->datagram[0]);
    drop(&p->datagram[1]);
}

static enum probe_outcome datagrams_make(struct prober *p)
{
    struct sockaddr_in6 name[2];
    for (unsigned i = 0; i < 2; i++) {
        socklen_t length = sizeof name[i];
        name[i] = loopback(p);
        p->datagram[i] = bh_socket(p->family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (p->datagram[i] < 0 || bh_bind(p->datagram[i], name_of(&name[i]), name_length(p)) < 0 ||
            bh_getsockname(p->datagram[i], name_of(&name[i]), &length) < 0)
            return outcome_of(errno);
    }
    for (unsigned i = 0; i < 2; i++)
        if (bh_connect(p->datagram[i], name_of(&name[1 - i]), name_length(p)) < 0)
            return outcome_of(errno);
    return PROBE_SERVED;
}

/* Also what an earlier try has sent may come. False, with errno. */
static bool datagram_goes(struct prober *p, unsigned from, uint32_t value, uint64_t until_us)
{
    int to = p->datagram[1 - from];
    if (bh_send(p->datagram[from], &value, sizeof value, 0) < 0)
        return false;
    errno = ETIMEDOUT;
    while (await(p, to, POLLIN, until_us)) {
        uint32_t got = 0;
        ssize_t n = bh_recv(to, &got, sizeof got, MSG_TRUNC);
        if (n == (ssize_t)sizeof got && got == value)
            return true;
        if (n < 0 && errno != EAGAIN)
            return false;
        errno = ETIMEDOUT;
    }
    return false;
}

static void udp(struct prober *p, struct probe_report *ret)
{
    if (p->datagram[0] < 0) {
        enum probe_outcome made = ret->request == PROBE_SERVED ? datagrams_make(p) : PROBE_UNKNOWN;
        if (made != PROBE_SERVED) {
            datagrams_drop(p);
            ret->udp = (uint8_t)made;
            return;
        }
    }
    ret->udp = PROBE_FAILED;
    for (unsigned i = 0; i < DATAGRAMS && ret->udp == PROBE_FAILED; i++) {
        uint64_t until_us = probe_now_us() + DATAGRAM_US;
        uint32_t value = p->sequence * 2;
        if (datagram_goes(p, 0, value, until_us) && datagram_goes(p, 1, value + 1, until_us)) {
            ret->udp = PROBE_SERVED;
        } else if (is_lost(errno)) {
            datagrams_drop(p);
            ret->udp = PROBE_UNKNOWN;
        }
    }
}

void probe(struct prober *p, struct probe_report *ret)
{
    *ret = (struct probe_report){.magic = PROBE_MAGIC, .sequence = ++p->sequence, .began_us = probe_now_us()};
    p->late_us = 0;
    signals_set(SIGNAL_US);
    tcp(p, ret);
    udp(p, ret);
    signals_set(0);
    ret->took_us = (uint32_t)(probe_now_us() - ret->began_us);
    ret->late_us = (uint32_t)p->late_us;
}
