// SPDX-License-Identifier: BSD-2-Clause
/* bh-echo: sends back what it gets, TCP on many connections at once, or UDP. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/apps/app.h"

#define BUFFER      (64U << 10)
#define CONNECTIONS 1024

const char *argp_program_version = "bh-echo (Bulkhead)";

struct arguments {
    struct app app;
    bool udp, zero_copy;
    struct place address;
};

struct connection {
    int fd;
    uint8_t *held; /* received, not yet sent: [start, end) of BUFFER octets */
    size_t start, end;
    bool finished; /* the peer has */
};

static error_t option(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->app;
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
                                 .children = app_children};

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
/* False: the connection is over. */
static bool flush(const struct net *net, struct connection *c)
{
    while (c->start < c->end) {
        ssize_t n = net->send(c->fd, c->held + c->start, c->end - c->start, MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        c->start += (size_t)n;
    }
    c->start = c->end = 0;
    return !c->finished;
}

static bool serve(const struct net *net, struct connection *c)
{
    for (int turns = 0; turns < 8; turns++) {
        if (!flush(net, c))
            return false;
        if (c->end > 0 || c->finished)
            return true; /* wait for room */
        ssize_t n = net->recv(c->fd, c->held, BUFFER, MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        c->finished = n == 0;
        c->end = (size_t)n;
        if (c->finished)
            return false;
    }
    return true;
}

static size_t accept_all(const struct net *net, int listener, struct connection *connection, size_t count)
{
    while (count < CONNECTIONS) {
        int fd = net->accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == ENETDOWN || errno == EBADF || errno == EINVAL))
            app_fail(errno, "cannot accept any more");
        if (fd < 0)
            break;
        uint8_t *held = malloc(BUFFER);
        if (held == NULL) {
            net->close(fd);
            break;
        }
        connection[count++] = (struct connection){.fd = fd, .held = held};
    }
    return count;
}

static void serve_tcp(const struct app *app, int listener)
{
    static struct connection connection[CONNECTIONS];
    static struct pollfd set[CONNECTIONS + 1];
    const struct net *net = app->net;
    size_t count = 0;
    for (;;) {
        set[0] = (struct pollfd){.fd = count < CONNECTIONS ? listener : -1, .events = POLLIN};
        for (size_t i = 0; i < count; i++)
            set[i + 1] = (struct pollfd){.fd = connection[i].fd, .events = connection[i].end > 0 ? POLLOUT : POLLIN};
        if (net->poll(set, count + 1, -1) < 0 && errno != EINTR)
            app_fail(errno, "cannot wait");
        for (size_t i = count; i-- > 0;) { /* downwards: the last takes the place of one that ends */
            if (set[i + 1].revents == 0 || serve(net, &connection[i]))
                continue;
            net->close(connection[i].fd);
            free(connection[i].held);
            connection[i] = connection[--count];
        }
        if (set[0].revents != 0)
            count = accept_all(net, listener, connection, count);
    }
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    app_parse(&argp, argc, argv, &a);
    app_attach(&a.app);
    int fd = app_listen(&a.app, "bh-echo", &a.address, a.udp ? SOCK_DGRAM : SOCK_STREAM | SOCK_NONBLOCK);
    if (a.udp) {
        app_receive_buffer(&a.app, fd);
        serve_udp(&a, fd);
    }
    serve_tcp(&a.app, fd);
}
