// SPDX-License-Identifier: BSD-2-Clause
/* POSIX's calls as Linux has them: the same random calls on streams of libbulkhead and of the kernel, each on its own
 * loopback; after every one results, errno and what was given back are equal, and soon what each socket is ready for
 * and has to be read. Inside a lab: posix FIRST LAST, seeds; each is a run of STEPS calls, the same every time. Sockets
 * do not block, so what takes time is waited for by its effect.
 *
 * Left out is what bulkhead.h says is different, and odd corners of Linux: a second attempt after one that failed,
 * shutdown() before there is a connection and of a listener, a name for a socket that failed to connect. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "bench/apps/net.h"
#include "servers/client/bulkhead.h"

#define SOCKETS      6
#define STEPS        60
#define OCTETS       2048
#define SETTLE_TRIES 500 /* of 2 ms */
#define NOBODY       1   /* a port */

enum { LINUX, BULKHEAD, STACKS };

struct pair {
    int fd[STACKS]; /* -1: closed */
    uint16_t port;  /* bound there; 0: not */
    bool tried;     /* to connect */
};

struct result { /* of one call on one stack */
    long value;
    int error;
    char more[64]; /* what else was given back */
    char octets[OCTETS];
};

static const struct net *net[STACKS];
static struct pair pair[SOCKETS];
static struct result result[STACKS];
static uint16_t next_port = 20000;
static uint64_t state;
static char what[96];

static unsigned any(unsigned below)
{
    state ^= state << 13; /* Marsaglia, Xorshift RNGs (2003) */
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 20) % below);
}

static struct sockaddr_in at(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void store(int stack, long value)
{
    result[stack].value = value;
    result[stack].error = value < 0 ? errno : 0;
}

static void pause_us(long us)
{
    struct timespec t = {.tv_nsec = us * 1000};
    nanosleep(&t, NULL);
}

/* ---- calls: each on both stacks. False: there is nothing to call ---- */
static bool do_bind(struct pair *p)
{
    struct sockaddr_in a = at(next_port++);
    if (p->tried)
        return false;
    snprintf(what, sizeof what, "bind");
    for (int i = 0; i < STACKS; i++)
        store(i, net[i]->bind(p->fd[i], (struct sockaddr *)&a, sizeof a));
    if (result[LINUX].value == 0)
        p->port = ntohs(a.sin_port);
    return true;
}

static bool do_listen(struct pair *p)
{
    if (p->tried || (p->port == 0 && any(4) != 0))
        return false;
    snprintf(what, sizeof what, "listen");
    for (int i = 0; i < STACKS; i++)
        store(i, net[i]->listen(p->fd[i], 5));
    return true;
}

/* bh_connect() may know the outcome at once: then it is what Linux says a little later. */
static void connect_outcome(const struct pair *p, struct sockaddr_in *a)
{
    int error = 0;
    socklen_t length = sizeof error;
    for (int i = 0; i < STACKS; i++) {
        struct pollfd set = {.fd = p->fd[i], .events = POLLOUT};
        net[i]->poll(&set, 1, 2000);
    }
    if (result[BULKHEAD].error == EINPROGRESS)
        return;
    net[LINUX]->getsockopt(p->fd[LINUX], SOL_SOCKET, SO_ERROR, &error, &length);
    result[LINUX].value = error != 0 ? -1 : 0;
    result[LINUX].error = error;
    if (error != 0) /* ECONNABORTED: now it is as new there, too */
        net[LINUX]->connect(p->fd[LINUX], (struct sockaddr *)a, sizeof *a);
}

static bool do_connect(struct pair *p)
{
    uint16_t port = NOBODY;
    for (int i = 0; i < SOCKETS; i++)
        if (&pair[i] != p && pair[i].port != 0 && any(3) != 0)
            port = pair[i].port;
    struct sockaddr_in a = at(port);
    if (p->tried)
        return false;
    snprintf(what, sizeof what, "connect to %u", port);
    for (int i = 0; i < STACKS; i++)
        store(i, net[i]->connect(p->fd[i], (struct sockaddr *)&a, sizeof a));
    p->tried = true;
    if (result[LINUX].error == EINPROGRESS)
        connect_outcome(p, &a);
    return true;
}

static bool do_send(struct pair *p)
{
    size_t length = any(4) != 0 ? 1 + any(1000) : any(2);
    char octets[OCTETS];
    for (size_t i = 0; i < length; i++)
        octets[i] = (char)any(256);
    snprintf(what, sizeof what, "send %zu", length);
    for (int i = 0; i < STACKS; i++)
        store(i, net[i]->send(p->fd[i], octets, length, 0));
    return true;
}

static bool do_recv(struct pair *p)
{
    static const int flag[] = {0, 0, 0, MSG_PEEK, MSG_WAITALL, MSG_TRUNC, MSG_PEEK | MSG_TRUNC};
    size_t length = any(8) != 0 ? 1 + any(1500) : 0;
    int flags = flag[any(sizeof flag / sizeof flag[0])];
    snprintf(what, sizeof what, "recv %zu, %#x", length, (unsigned)flags);
    for (int i = 0; i < STACKS; i++)
        store(i, net[i]->recv(p->fd[i], result[i].octets, length, flags));
    return true;
}

static bool do_shutdown(struct pair *p)
{
    int how = (int)any(4);
    struct sockaddr_in a;
    socklen_t length = sizeof a;
    if (getpeername(p->fd[LINUX], (struct sockaddr *)&a, &length) < 0)
        return false;
    snprintf(what, sizeof what, "shutdown %d", how);
    for (int i = 0; i < STACKS; i++)
        store(i, net[i]->shutdown(p->fd[i], how));
    return true;
}

static bool do_close(struct pair *p)
{
    snprintf(what, sizeof what, "close");
    for (int i = 0; i < STACKS; i++)
        store(i, net[i]->close(p->fd[i]));
    *p = (struct pair){.fd = {-1, -1}};
    return true;
}

static bool do_names(struct pair *p)
{
    bool peer = any(2) != 0;
    snprintf(what, sizeof what, peer ? "getpeername" : "getsockname");
    for (int i = 0; i < STACKS; i++) {
        struct sockaddr_in a = {0};
        socklen_t length = sizeof a;
        int (*linux_call)(int, struct sockaddr *, socklen_t *) = peer ? getpeername : getsockname;
        int (*call)(int, struct sockaddr *, socklen_t *) = peer ? bh_getpeername : bh_getsockname;
        store(i, (i == LINUX ? linux_call : call)(p->fd[i], (struct sockaddr *)&a, &length));
        bool failed = p->tried && !peer; /* perhaps: Linux has forgotten the address */
        snprintf(result[i].more, sizeof result[i].more, "%x %u %d", failed ? 0 : a.sin_addr.s_addr, length,
                 p->port != 0 ? ntohs(a.sin_port) : a.sin_port != 0);
    }
    return true;
}

static const struct {
    int level, name;
    unsigned most; /* what is set: up to that; 0: it is only asked for */
} options[] = {
    {SOL_SOCKET, SO_ERROR, 0},          {SOL_SOCKET, SO_ERROR, 0},
    {SOL_SOCKET, SO_ACCEPTCONN, 0},     {SOL_SOCKET, SO_TYPE, 0},
    {SOL_SOCKET, SO_LINGER, 0},         {IPPROTO_TCP, TCP_NODELAY, 2},
    {SOL_SOCKET, SO_KEEPALIVE, 2},      {IPPROTO_TCP, TCP_CORK, 2},
    {IPPROTO_TCP, TCP_KEEPIDLE, 33000}, {IPPROTO_TCP, TCP_KEEPINTVL, 33000},
    {IPPROTO_TCP, TCP_KEEPCNT, 130},    {IPPROTO_TCP, TCP_USER_TIMEOUT, 100000},
    {SOL_SOCKET, SO_REUSEADDR, 2},      {IPPROTO_IP, IP_TOS, 256},
    {IPPROTO_IP, IP_TTL, 257},
};

static bool do_option(struct pair *p)
{
    unsigned o = any(sizeof options / sizeof options[0]);
    bool set = options[o].most != 0 && any(2) != 0;
    int value = (int)any(options[o].most + 2) - 1;
    socklen_t size = any(8) != 0 ? sizeof value : 1 + any(7);
    snprintf(what, sizeof what, "%ssockopt %d, %d: %d of %u", set ? "set" : "get", options[o].level, options[o].name,
             value, size);
    for (int i = 0; i < STACKS; i++) {
        int number[2] = {set ? value : 0, 0};
        socklen_t length = set ? size : sizeof number;
        store(i, set ? net[i]->setsockopt(p->fd[i], options[o].level, options[o].name, number, length)
                     : net[i]->getsockopt(p->fd[i], options[o].level, options[o].name, number, &length));
        snprintf(result[i].more, sizeof result[i].more, "%d %d %u", number[0], number[1], length);
    }
    return true;
}

/* A socket for a free place: accepted, if there is a listener, or new. */
static void make(struct pair *p)
{
    const struct pair *from = &pair[any(SOCKETS)];
    bool accepted = from->fd[LINUX] >= 0 && from->port != 0;
    snprintf(what, sizeof what, accepted ? "accept" : "socket");
    for (int i = 0; i < STACKS; i++) {
        struct sockaddr_in a = {0};
        socklen_t length = sizeof a;
        store(i, accepted ? net[i]->accept4(from->fd[i], (struct sockaddr *)&a, &length, SOCK_NONBLOCK)
                          : net[i]->socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
        snprintf(result[i].more, sizeof result[i].more, "%x %u", a.sin_addr.s_addr, length);
        p->fd[i] = (int)result[i].value;
        result[i].value = result[i].value < 0 ? -1 : 0;
    }
}

/* ---- comparing ---- */
static int readable(int stack, int fd)
{
    int n = 0;
    int r = stack == LINUX ? ioctl(fd, FIONREAD, &n) : bh_ioctl(fd, FIONREAD, &n);
    return r < 0 ? -errno : n;
}

/* Of one socket: ready for what, and octets to be read, as one number. */
static int64_t look(int stack, const struct pair *p)
{
    struct pollfd set = {.fd = p->fd[stack], .events = POLLIN | POLLOUT | POLLRDHUP};
    if (set.fd < 0)
        return 0;
    net[stack]->poll(&set, 1, 0);
    return ((int64_t)readable(stack, set.fd) << 16) + set.revents;
}

static const struct pair *first_unlike(void)
{
    for (int i = 0; i < SOCKETS; i++)
        if (look(LINUX, &pair[i]) != look(BULKHEAD, &pair[i]))
            return &pair[i];
    return NULL;
}

/* Twice the same, for what is on its way. */
static const struct pair *settle(void)
{
    const struct pair *unlike = &pair[0];
    for (int tries = 0, same = 0; tries < SETTLE_TRIES && same < 2; tries++) {
        pause_us(tries < 3 ? 300 : 2000);
        unlike = first_unlike();
        same = unlike == NULL ? same + 1 : 0;
    }
    return unlike;
}

static bool equal_results(void)
{
    const struct result *a = &result[LINUX], *b = &result[BULKHEAD];
    return a->value == b->value && a->error == b->error && strcmp(a->more, b->more) == 0 &&
           memcmp(a->octets, b->octets, OCTETS) == 0;
}

static bool step(uint64_t seed, int number)
{
    static bool (*const calls[])(struct pair *) = {do_bind,     do_listen, do_listen, do_connect, do_connect,
                                                   do_send,     do_send,   do_recv,   do_recv,    do_recv,
                                                   do_shutdown, do_close,  do_names,  do_option,  do_option};
    int index = (int)any(SOCKETS);
    memset(result, 0, sizeof result);
    if (pair[index].fd[LINUX] < 0)
        make(&pair[index]);
    else if (!calls[any(sizeof calls / sizeof calls[0])](&pair[index]))
        return true;
    if (!equal_results()) {
        printf("seed %lu step %d socket %d %s: linux %ld %s [%s], bulkhead %ld %s [%s]\n", seed, number, index, what,
               result[LINUX].value, strerror(result[LINUX].error), result[LINUX].more, result[BULKHEAD].value,
               strerror(result[BULKHEAD].error), result[BULKHEAD].more);
        return false;
    }
    const struct pair *unlike = settle();
    if (unlike != NULL)
        printf("seed %lu step %d, after %s of socket %d: socket %d linux %#lx, bulkhead %#lx\n", seed, number, what,
               index, (int)(unlike - pair), look(LINUX, unlike), look(BULKHEAD, unlike));
    return unlike == NULL;
}

static bool run(uint64_t seed)
{
    static const struct linger reset = {.l_onoff = 1};
    bool good = true;
    state = seed * 0x9e3779b97f4a7c15ULL + 1;
    for (int i = 0; i < SOCKETS; i++)
        pair[i] = (struct pair){.fd = {-1, -1}};
    for (int i = 0; i < STEPS && good; i++)
        good = step(seed, i);
    for (int i = 0; i < SOCKETS; i++)
        for (int k = 0; k < STACKS; k++)
            if (pair[i].fd[k] >= 0) {
                net[k]->setsockopt(pair[i].fd[k], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
                net[k]->close(pair[i].fd[k]);
            }
    return good;
}

/* ---- several threads at once: no call may know of another ---- */
static void *set_often(void *argument)
{
    const int *fd = argument;
    for (int i = 0; i < 200; i++) {
        int on = i & 1;
        if (bh_setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
            return strerror(errno);
    }
    return NULL;
}

static bool options_at_once(void)
{
    struct sockaddr_in a = at(next_port++);
    pthread_t thread[3];
    bool good = true;
    int listener = bh_socket(AF_INET, SOCK_STREAM, 0), fd = bh_socket(AF_INET, SOCK_STREAM, 0);
    if (bh_bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || bh_listen(listener, 1) < 0 ||
        bh_connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
        return false;
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, set_often, &fd);
    for (int i = 0; i < 3; i++) {
        void *error = NULL;
        pthread_join(thread[i], &error);
        if (error != NULL)
            printf("setsockopt while another thread does: %s\n", (const char *)error);
        good = good && error == NULL;
    }
    bh_close(fd);
    bh_close(listener);
    return good;
}

int main(int argc, char **argv)
{
    net[LINUX] = net_find("linux");
    net[BULKHEAD] = net_find("bulkhead");
    if (argc != 3 || net[BULKHEAD]->attach(NULL) < 0) {
        fprintf(stderr, "usage: posix FIRST LAST, inside a lab\n");
        return 2;
    }
    uint64_t first = strtoull(argv[1], NULL, 10), last = strtoull(argv[2], NULL, 10), bad = 0;
    for (uint64_t seed = first; seed <= last; seed++)
        bad += !run(seed);
    bad += !options_at_once();
    printf("%lu of %lu runs are unlike\n", bad, last - first + 1);
    return bad != 0;
}
