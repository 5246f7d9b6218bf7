// SPDX-License-Identifier: BSD-2-Clause
/* bh-echo: sends back what it gets, TCP on many connections at once, or UDP. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/apps/serve.h"

#define BUFFER (64U << 10)
#define TURNS  8 /* of one connection, before the others have theirs */

const char *argp_program_version = "bh-echo (Bulkhead)";

struct arguments {
    struct app app;
    struct serving serving;
    bool udp, zero_copy;
    struct place address;
};

struct connection {
    struct client client;
    uint8_t *held; /* received, not yet sent: [start, end) */
    size_t start, end;
};

static error_t option(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->app;
        state->child_inputs[1] = &a->serving;
        return 0;
    case 'u':
        a->udp = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0 || !app_address(text, true, &a->address))
            app_usage("'%s' is not [ADDRESS:]PORT", text);
        return 0;
    case 'z':
        a->zero_copy = true;
        return 0;
    case ARGP_KEY_END:
        if (a->zero_copy && (!a->udp || a->app.net->datagram_peek == NULL))
            app_usage("--zero-copy is for --udp on the stack bulkhead");
        return 0;
    case ARGP_KEY_NO_ARGS:
        app_usage("say on which [ADDRESS:]PORT to listen");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"udp", 'u', NULL, 0, "echo datagrams", 0},
    {"zero-copy", 'z', NULL, 0, "with --udp: from the receive ring to the send ring, with no buffer in between", 0},
    {0}};
static const struct argp argp = {.options = options,
                                 .parser = option,
                                 .args_doc = "[ADDRESS:]PORT",
                                 .doc = "Sends back what it gets.",
                                 .children = serve_children};

/* ---- UDP ---- */
static void echo_datagram(const struct net *net, int fd)
{
    static uint8_t buffer[BUFFER];
    struct place from = {.length = sizeof from.in6};
    ssize_t n = net->recvfrom(fd, buffer, sizeof buffer, 0, &from.any, &from.length);
    if (n >= 0)
        n = net->sendto(fd, buffer, (size_t)n, 0, &from.any, from.length);
    if (n < 0 && errno == ENETDOWN)
        app_fail(errno, "the stack is gone");
}

static void echo_in_place(const struct net *net, int fd)
{
    struct place from = {.length = sizeof from.in6};
    struct iovec piece;
    void *room = NULL;
    int error = net->datagram_peek(fd, &piece, 0, &from.any, &from.length);
    if (error == 0)
        room = net->datagram_reserve(fd, piece.iov_len, 0);
    if (room != NULL) {
        memcpy(room, piece.iov_base, piece.iov_len);
        error = net->datagram_commit(fd, piece.iov_len, &from.any, from.length);
    }
    if ((error != 0 || room == NULL) && errno == ENETDOWN)
        app_fail(errno, "the stack is gone");
    (void)net->datagram_consume(fd); /* one that cannot be answered, too; says EINVAL if there was none */
}

_Noreturn static void serve_udp(const struct arguments *a, int fd)
{
    for (;;) {
        if (a->zero_copy)
            echo_in_place(a->app.net, fd);
        else
            echo_datagram(a->app.net, fd);
    }
}

/* ---- TCP ---- */
/* False: the connection is broken. */
static bool flush(const struct net *net, struct connection *c)
{
    while (c->start < c->end) {
        ssize_t n = net->send(c->client.fd, c->held + c->start, c->end - c->start, MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        c->start += (size_t)n;
    }
    free(c->held);
    c->held = NULL;
    c->start = c->end = 0;
    return true;
}

/* What did not go out at once is held: only then is there a buffer. */
static bool send_or_hold(const struct net *net, struct connection *c, const uint8_t *data, size_t length)
{
    ssize_t n = net->send(c->client.fd, data, length, MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return false;
    size_t sent = n < 0 ? 0 : (size_t)n;
    if (sent == length)
        return true;
    c->held = malloc(length - sent);
    if (c->held == NULL)
        return false;
    memcpy(c->held, data + sent, length - sent);
    c->end = length - sent;
    return true;
}

static enum served serve(struct server *s, struct client *client)
{
    static uint8_t buffer[BUFFER];
    struct connection *c = (struct connection *)client;
    const struct net *net = s->app->net;
    for (int turns = 0; turns < TURNS; turns++) {
        if (!flush(net, c))
            return SERVED_BROKEN;
        client->wants = c->end > 0 ? EPOLLOUT : EPOLLIN;
        if (c->end > 0)
            return SERVED_WAIT;
        ssize_t n = net->recv(client->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? SERVED_WAIT : SERVED_BROKEN;
        if (n == 0)
            return SERVED_OVER;
        client_active(s, client);
        if (!send_or_hold(net, c, buffer, (size_t)n))
            return SERVED_BROKEN;
    }
    return SERVED_WAIT; /* the event comes again: it is level-triggered */
}

static void forget(struct server *s, struct client *client)
{
    (void)s;
    free(((struct connection *)client)->held);
}

static void serve_tcp(const struct arguments *a)
{
    struct server s = {.app = &a->app,
                       .program = "bh-echo",
                       .limits = &a->serving,
                       .client_size = sizeof(struct connection),
                       .serve = serve,
                       .end = forget};
    server_run(&s, &a->address);
    printf("bh-echo: %llu connections, %llu broken off\n", (unsigned long long)s.accepted,
           (unsigned long long)s.broken);
}

int main(int argc, char **argv)
{
    struct arguments a = {.serving = {.connections = 1024}};
    app_parse(&argp, argc, argv, &a);
    app_attach(&a.app);
    if (!a.udp) {
        serve_tcp(&a);
        return 0;
    }
    int fd = app_listen(&a.app, "bh-echo", &a.address, SOCK_DGRAM);
    app_receive_buffer(&a.app, fd);
    serve_udp(&a, fd);
}
