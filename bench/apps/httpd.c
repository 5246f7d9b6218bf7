// SPDX-License-Identifier: BSD-2-Clause
/* bh-httpd: a static HTTP/1.1 file server on either stack; GET with ranges and conditions, HEAD, PUT,
 * keep-alive and pipelining. One thread, one epoll set (serve.c). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/apps/httpd.h"

#define TURNS 8 /* of one connection, before the others have theirs */

const char *argp_program_version = "bh-httpd (Bulkhead)";

struct arguments {
    struct httpd httpd;
    struct serving serving;
    struct place address;
    const char *directory;
};

struct serving_httpd {
    struct server server;
    struct httpd *httpd;
};

static error_t option(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->httpd.app;
        state->child_inputs[1] = &a->serving;
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
    {"listen", 'l', "[ADDRESS:]PORT", 0, "where to listen (default: port 80, both families)", 0},
    {"read-only", 'o', NULL, 0, "refuse PUT", 0},
    {0}};
static const struct argp argp = {
    .options = options,
    .parser = option,
    .args_doc = "DIRECTORY",
    .doc = "Serves the files of DIRECTORY by HTTP/1.1: GET with ranges and conditions, HEAD and PUT.",
    .children = serve_children};

/* ---- one connection ---- */
enum step { STEP_MORE, STEP_WAIT, STEP_OVER, STEP_BROKEN };

static enum step wait_or_broken(void)
{
    return errno == EAGAIN || errno == EINTR ? STEP_WAIT : STEP_BROKEN;
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

static enum step step_parse(struct connection *c, const char *data, size_t length)
{
    size_t n = request_parse(c, data, length);
    return hold(c, data + n, length - n) ? STEP_MORE : STEP_BROKEN;
}

static enum step step_read(struct connection *c)
{
    static char input[HTTPD_INPUT];
    if (c->held_length > 0) {
        char *data = c->held;
        size_t length = c->held_length;
        c->held = NULL;
        c->held_length = 0;
        enum step r = step_parse(c, data, length);
        free(data);
        return r;
    }
    ssize_t n = c->httpd->app.net->recv(c->client.fd, input, sizeof input, MSG_DONTWAIT);
    if (n <= 0)
        return n == 0 ? STEP_OVER : wait_or_broken();
    c->progress = true;
    return step_parse(c, input, (size_t)n);
}

static enum step step_next_request(struct connection *c)
{
    request_end(c);
    if (!c->keep_alive)
        return STEP_OVER;
    request_begin(c);
    return STEP_MORE;
}

static enum step step_send(struct connection *c)
{
    const struct net *net = c->httpd->app.net;
    ssize_t n;
    if (c->head_sent < c->head_length) {
        n = net->send(c->client.fd, c->head + c->head_sent, c->head_length - c->head_sent, MSG_DONTWAIT);
        c->head_sent += n > 0 ? (size_t)n : 0;
    } else if (c->file >= 0 && c->offset < c->end) {
        n = net->send_file(c->client.fd, c->file, c->offset, (size_t)(c->end - c->offset));
        c->offset += n > 0 ? n : 0;
        if (n == 0)
            return STEP_BROKEN; /* the file got shorter: the promised length cannot be kept */
    } else {
        return step_next_request(c);
    }
    if (n < 0)
        return wait_or_broken();
    c->progress = true;
    return STEP_MORE;
}

/* ---- all of them ---- */
static struct httpd *httpd_of(struct server *s)
{
    return ((struct serving_httpd *)s)->httpd;
}

static void begin(struct server *s, struct client *client)
{
    struct connection *c = (struct connection *)client;
    c->httpd = httpd_of(s);
    request_begin(c);
}

static enum served serve(struct server *s, struct client *client)
{
    struct connection *c = (struct connection *)client;
    enum step r = STEP_MORE;
    for (int turns = 0; turns < TURNS && r == STEP_MORE; turns++) {
        r = c->state == CONNECTION_READING ? step_read(c) : step_send(c);
        if (c->progress)
            client_active(s, client);
        c->progress = false;
    }
    if (r == STEP_OVER || r == STEP_BROKEN)
        return r == STEP_OVER ? SERVED_OVER : SERVED_BROKEN;
    client->wants = c->state == CONNECTION_READING ? EPOLLIN : EPOLLOUT;
    client->again = c->state == CONNECTION_READING && c->held_length > 0;
    return SERVED_WAIT;
}

static void end(struct server *s, struct client *client)
{
    struct connection *c = (struct connection *)client;
    (void)s;
    request_end(c);
    free(c->held);
}

int main(int argc, char **argv)
{
    struct arguments a = {
        .serving = {.connections = 256, .idle_s = 60},
        .address = {.in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)}, .length = sizeof(struct sockaddr_in6)}};
    app_parse(&argp, argc, argv, &a);
    a.httpd.root = open(a.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (a.httpd.root < 0)
        app_fail(errno, "cannot open the directory '%s'", a.directory);
    app_attach(&a.httpd.app);
    app_descriptors(3 * a.serving.connections); /* each may have a file open, and its folder */
    struct serving_httpd s = {.server = {.app = &a.httpd.app,
                                         .program = "bh-httpd",
                                         .limits = &a.serving,
                                         .client_size = sizeof(struct connection),
                                         .begin = begin,
                                         .serve = serve,
                                         .end = end},
                              .httpd = &a.httpd};
    server_run(&s.server, &a.address);
    close(a.httpd.root);
    printf("bh-httpd: %llu requests\n", (unsigned long long)a.httpd.requests);
    return 0;
}
