// SPDX-License-Identifier: BSD-2-Clause
/* bh-httpd: a static HTTP/1.1 file server on either stack; GET, HEAD, PUT, keep-alive. One thread, one poll set. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/apps/httpd.h"

#define CONNECTIONS  1024
#define IDLE_NS      60000000000ULL /* without progress */
#define SEND_TURNS   8              /* pieces of a file before the others have their turn */
#define ACCEPT_TURNS 64

const char *argp_program_version = "bh-httpd (Bulkhead)";

struct arguments {
    struct httpd httpd;
    struct place address;
    const char *directory;
};

static volatile sig_atomic_t ending;

static void on_signal(int number)
{
    (void)number;
    ending = 1;
}

static error_t option(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->httpd.app;
        return 0;
    case 'l':
        if (!app_address(text, true, &a->address))
            app_usage("'%s' is not [ADDRESS:]PORT", text);
        return 0;
    case 'o':
        a->httpd.read_only = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->directory != NULL)
            app_usage("'%s': one directory only", text);
        a->directory = text;
        return 0;
    case ARGP_KEY_NO_ARGS:
        app_usage("say which DIRECTORY to serve");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"listen", 'l', "[ADDRESS:]PORT", 0, "where to listen (default: port 80)", 0},
    {"read-only", 'o', NULL, 0, "refuse PUT", 0},
    {0}};
static const struct argp argp = {.options = options,
                                 .parser = option,
                                 .args_doc = "DIRECTORY",
                                 .doc = "Serves the files of DIRECTORY by HTTP/1.1: GET, HEAD and PUT.",
                                 .children = app_children};

/* ---- one connection. Each step: 1 there may be more to do, 0 wait, -1 it is over ---- */
static int again_or_over(void)
{
    return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

/* Octets after the end of a request are held for when its response is out. False: no memory. */
static bool hold(struct connection *c, const char *data, size_t length)
{
    char *held = NULL;
    if (length > 0) {
        held = malloc(length);
        if (held == NULL)
            return false;
        memcpy(held, data, length);
    }
    free(c->held);
    c->held = held;
    c->held_length = length;
    return true;
}

static int step_parse(struct connection *c, const char *data, size_t length)
{
    size_t n = request_parse(c, data, length);
    return hold(c, data + n, length - n) ? 1 : -1;
}

static int step_read(struct connection *c)
{
    static char input[HTTPD_INPUT];
    if (c->held_length > 0) {
        char *data = c->held;
        size_t length = c->held_length;
        c->held = NULL;
        c->held_length = 0;
        int r = step_parse(c, data, length);
        free(data);
        return r;
    }
    ssize_t n = c->httpd->app.net->recv(c->fd, input, sizeof input, MSG_DONTWAIT);
    if (n <= 0)
        return n == 0 ? -1 : again_or_over();
    c->active_ns = app_now_ns();
    return step_parse(c, input, (size_t)n);
}

static int step_send(struct connection *c)
{
    const struct net *net = c->httpd->app.net;
    ssize_t n;
    if (c->head_sent < c->head_length) {
        n = net->send(c->fd, c->head + c->head_sent, c->head_length - c->head_sent, MSG_DONTWAIT);
        c->head_sent += n > 0 ? (size_t)n : 0;
    } else if (c->file >= 0 && c->offset < c->end) {
        n = net->send_file(c->fd, c->file, c->offset, (size_t)(c->end - c->offset));
        c->offset += n > 0 ? n : 0;
        if (n == 0)
            return -1; /* the file got shorter: the promised length cannot be kept */
    } else {
        request_end(c);
        if (!c->keep_alive)
            return -1;
        request_begin(c);
        return 1;
    }
    if (n < 0)
        return again_or_over();
    c->active_ns = app_now_ns();
    return 1;
}

/* False: the connection is over. */
static bool serve(struct connection *c)
{
    for (int turns = 0; turns < SEND_TURNS; turns++) {
        int r = c->state == CONNECTION_READING ? step_read(c) : step_send(c);
        if (r <= 0)
            return r == 0;
    }
    return true;
}

static void connection_end(struct connection *c)
{
    request_end(c);
    c->httpd->app.net->shutdown(c->fd, SHUT_WR);
    c->httpd->app.net->close(c->fd);
    free(c->held);
    free(c);
}

/* ---- all of them ---- */
static struct connection *connection_new(struct httpd *h, int fd)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL) {
        h->app.net->close(fd);
        return NULL;
    }
    c->httpd = h;
    c->fd = fd;
    c->active_ns = app_now_ns();
    request_begin(c);
    return c;
}

static size_t accept_some(struct httpd *h, int listener, struct connection **connection, size_t count)
{
    for (int turns = 0; turns < ACCEPT_TURNS && count < CONNECTIONS; turns++) {
        int fd = h->app.net->accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == ENETDOWN || errno == EBADF || errno == EINVAL))
            app_fail(errno, "cannot accept any more");
        struct connection *c = fd < 0 ? NULL : connection_new(h, fd);
        if (c == NULL)
            break;
        if (serve(c))
            connection[count++] = c;
        else
            connection_end(c);
    }
    return count;
}

/* Input that is held needs no event. */
static bool has_work(const struct connection *c)
{
    return c->state == CONNECTION_READING && c->held_length > 0;
}

static int fill_set(struct pollfd *set, int listener, struct connection *const *connection, size_t count)
{
    int timeout_ms = 1000;
    set[0] = (struct pollfd){.fd = count < CONNECTIONS ? listener : -1, .events = POLLIN};
    for (size_t i = 0; i < count; i++) {
        const struct connection *c = connection[i];
        set[i + 1] = (struct pollfd){.fd = c->fd, .events = c->state == CONNECTION_READING ? POLLIN : POLLOUT};
        if (has_work(c))
            timeout_ms = 0;
    }
    return timeout_ms;
}

static size_t serve_all(struct pollfd *set, struct connection **connection, size_t count)
{
    uint64_t now_ns = app_now_ns();
    for (size_t i = count; i-- > 0;) { /* downwards: the last takes the place of one that ends */
        struct connection *c = connection[i];
        bool idle = now_ns > c->active_ns && now_ns - c->active_ns > IDLE_NS;
        if (!idle && ((set[i + 1].revents == 0 && !has_work(c)) || serve(c)))
            continue;
        connection_end(c);
        connection[i] = connection[--count];
    }
    return count;
}

static void run(struct httpd *h, int listener)
{
    static struct connection *connection[CONNECTIONS];
    static struct pollfd set[CONNECTIONS + 1];
    size_t count = 0;
    while (!ending) {
        int timeout_ms = fill_set(set, listener, connection, count);
        int n = h->app.net->poll(set, count + 1, timeout_ms);
        if (n < 0 && errno != EINTR)
            app_fail(errno, "cannot wait");
        if (n < 0)
            continue;
        count = serve_all(set, connection, count);
        if (set[0].revents != 0)
            count = accept_some(h, listener, connection, count);
    }
    while (count > 0)
        connection_end(connection[--count]);
    h->app.net->close(listener);
    printf("bh-httpd: %llu requests\n", (unsigned long long)h->requests);
}

int main(int argc, char **argv)
{
    struct arguments a = {
        .address = {.in = {.sin_family = AF_INET, .sin_port = htons(80)}, .length = sizeof(struct sockaddr_in)}};
    struct sigaction end = {.sa_handler = on_signal};
    app_parse(&argp, argc, argv, &a);
    a.httpd.root = open(a.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (a.httpd.root < 0)
        app_fail(errno, "cannot open the directory '%s'", a.directory);
    app_attach(&a.httpd.app);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    run(&a.httpd, app_listen(&a.httpd.app, "bh-httpd", &a.address, SOCK_STREAM | SOCK_NONBLOCK));
    close(a.httpd.root);
    return 0;
}
