// SPDX-License-Identifier: BSD-2-Clause
/* The serving end of bh-load: TCP and UDP on one port. A connection says in its hello what it wants: octets at a rate,
 * or an answer to each request. Both ways are checked; what became of each connection is a line of JSON when it ends or
 * the program does. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "bench/apps/load.h"

#define EVENTS  128
#define RING    (64 << 10)
#define BACKLOG 256

struct served {
    struct load_stream s;
    struct load_hello hello;
    size_t greeted; /* octets of the hello that are there */
    uint64_t start_ns;
    LIST_ENTRY(served) link;
};
LIST_HEAD(served_list, served);

struct load_server {
    const struct app *app;
    int epoll, listener, datagrams;
    struct served_list open;
    uint64_t connections, failed, wrong_datagrams, answers;
};

/* ---- one connection ---- */
static void tell(const struct served *c, bool open)
{
    printf("{\"served\": \"%s\", \"key\": %" PRIu64 ", \"sent\": %" PRIu64 ", \"received\": %" PRIu64
           ", \"wrong\": %" PRId64 ", \"eof\": %s, \"error\": \"%s\", \"open\": %s}\n",
           c->greeted == sizeof c->hello ? load_kind_name[c->hello.kind] : "none", c->hello.key, c->s.sent,
           c->s.received, (int64_t)c->s.wrong, c->s.eof ? "true" : "false", c->s.error != 0 ? strerror(c->s.error) : "",
           open ? "true" : "false");
}

static void served_end(struct load_server *server, struct served *c)
{
    bool quiet = c->hello.kind == LOAD_SHORT && c->s.error == 0 && c->s.wrong == LOAD_RIGHT;
    if (!quiet)
        tell(c, false);
    server->failed += c->s.error != 0;
    LIST_REMOVE(c, link);
    server->app->net->close(c->s.fd);
    free(c);
}

static bool hello_read(const struct net *net, struct served *c)
{
    ssize_t n = net->recv(c->s.fd, (uint8_t *)&c->hello + c->greeted, sizeof c->hello - c->greeted, MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        c->s.error = errno;
    c->s.eof = n == 0;
    c->greeted += n > 0 ? (size_t)n : 0;
    if (c->greeted < sizeof c->hello)
        return false;
    if (c->hello.magic != LOAD_MAGIC || c->hello.kind >= LOAD_UDP || c->hello.request == 0) {
        c->hello.kind = LOAD_BULK;
        c->s.wrong = 0; /* what came first is not what was sent */
        c->s.error = EPROTO;
        return false;
    }
    c->s.in_key = c->hello.key;
    c->s.out_key = load_answer_key(c->hello.key);
    c->start_ns = app_now_ns();
    return true;
}

/* What the connection is owed by now. */
static uint64_t due(const struct served *c)
{
    if (c->hello.kind == LOAD_BULK)
        return c->s.eof ? c->s.sent : (app_now_ns() - c->start_ns) / 1000 * c->hello.answer / 1000000;
    return c->s.received / c->hello.request * c->hello.answer;
}

/* False: it is over. */
static bool served_turn(struct load_server *server, struct served *c)
{
    const struct net *net = server->app->net;
    if (c->greeted < sizeof c->hello && !hello_read(net, c))
        return c->s.error == 0 && !c->s.eof;
    load_pull(net, &c->s);
    uint64_t until = due(c);
    load_push(net, &c->s, until);
    return c->s.error == 0 && (!c->s.eof || c->s.sent < until);
}

static void accept_some(struct load_server *server)
{
    const struct net *net = server->app->net;
    for (int turns = 0; turns < BACKLOG; turns++) {
        int fd = net->accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct served *c = fd >= 0 ? calloc(1, sizeof *c) : NULL;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (fd < 0)
            return;
        if (c == NULL || net->epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
            free(c);
            net->close(fd);
            return;
        }
        c->s = (struct load_stream){.fd = fd, .wrong = LOAD_RIGHT};
        server->connections++;
        LIST_INSERT_HEAD(&server->open, c, link);
    }
}

/* ---- datagrams ---- */
static void answer_some(struct load_server *server)
{
    const struct net *net = server->app->net;
    uint8_t data[sizeof(struct load_hello) + LOAD_DATAGRAM];
    struct load_hello hello;
    for (int turns = 0; turns < BACKLOG; turns++) {
        struct place from = {.length = sizeof from.in6};
        ssize_t n = net->recvfrom(server->datagrams, data, sizeof data, MSG_DONTWAIT, &from.any, &from.length);
        if (n < 0)
            return;
        memcpy(&hello, data, sizeof hello);
        size_t length = (size_t)n - sizeof hello;
        if ((size_t)n < sizeof hello || hello.magic != LOAD_MAGIC || length != hello.request ||
            length > LOAD_DATAGRAM || load_check(hello.key, 0, data + sizeof hello, length) < length) {
            server->wrong_datagrams++;
            continue;
        }
        load_fill(load_answer_key(hello.key), 0, data + sizeof hello, length);
        server->answers += net->sendto(server->datagrams, data, (size_t)n, MSG_DONTWAIT, &from.any, from.length) == n;
    }
}

/* ---- all of it ---- */
static void start(struct load_server *server, const struct place *address)
{
    const struct net *net = server->app->net;
    int on = 1, octets = RING;
    struct epoll_event event[2] = {{.events = EPOLLIN, .data.ptr = &server->listener},
                                   {.events = EPOLLIN, .data.ptr = &server->datagrams}};
    server->datagrams = app_socket_bound(server->app, address, SOCK_DGRAM | SOCK_NONBLOCK);
    app_receive_buffer(server->app, server->datagrams);
    server->listener = app_socket_bound(server->app, address, SOCK_STREAM | SOCK_NONBLOCK);
    if (net->setsockopt(server->listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        net->setsockopt(server->listener, SOL_SOCKET, SO_SNDBUF, &octets, sizeof octets) < 0 ||
        net->setsockopt(server->listener, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets) < 0)
        app_fail(errno, "cannot set the listener's options");
    app_listen_on(server->app, "bh-load", server->listener, BACKLOG);
    server->epoll = net->epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll < 0 || net->epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->listener, &event[0]) < 0 ||
        net->epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->datagrams, &event[1]) < 0)
        app_fail(errno, "cannot wait for connections");
}

/* At the end of input an end of octets on their way is waited for by the caller, who signals after the clients are
 * done. */
static void finish(struct load_server *server)
{
    struct served *c;
    LIST_FOREACH(c, &server->open, link)
    tell(c, true);
    printf("{\"served\": \"all\", \"connections\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"wrong_datagrams\": %" PRIu64
           ", \"answers\": %" PRIu64 "}\n",
           server->connections, server->failed, server->wrong_datagrams, server->answers);
    fflush(stdout);
}

static void turn(struct load_server *server)
{
    struct epoll_event event[EVENTS];
    struct served *c, *next;
    int n = server->app->net->epoll_wait(server->epoll, event, EVENTS, LOAD_TICK_MS);
    if (n < 0 && errno != EINTR)
        app_fail(errno, "cannot wait");
    accept_some(server);
    answer_some(server);
    for (c = LIST_FIRST(&server->open); c != NULL; c = next) {
        next = LIST_NEXT(c, link);
        if (!served_turn(server, c))
            served_end(server, c);
    }
}

void load_serve(const struct app *app, const struct place *address)
{
    struct load_server server = {.app = app};
    LIST_INIT(&server.open);
    start(&server, address);
    while (!load_ending)
        turn(&server);
    finish(&server);
    exit(0);
}

void load_bind(const struct app *app, const struct place *address, uint64_t pause_ns)
{
    const struct timespec pause = {(time_t)(pause_ns / 1000000000), (long)(pause_ns % 1000000000)};
    for (bool told = false; !load_ending; told = true) {
        int fd = app->net->socket(address->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        int bound = fd < 0 ? -1 : app->net->bind(fd, &address->any, address->length);
        if (!told && bound < 0)
            app_fail(errno, "cannot bind");
        if (!told)
            puts("bh-load: binds");
        fflush(stdout);
        if (fd >= 0)
            app->net->close(fd);
        nanosleep(&pause, NULL);
    }
    exit(0);
}
