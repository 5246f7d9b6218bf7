// SPDX-License-Identifier: BSD-2-Clause
/* bh-sink: reads all that a peer sends and says how much and how fast. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/apps/peer.h"
#include "bench/apps/serve.h"

#define BUFFER (256U << 10)
#define TURNS  4 /* of one connection, before the others have theirs */

const char *argp_program_version = "bh-sink (Bulkhead)";

struct arguments {
    struct app app;
    struct serving serving;
    struct peer peer;
    bool check;
};

struct drained { /* of one connection */
    uint64_t octets, start_ns;
};

static error_t option(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->app;
        state->child_inputs[1] = &a->serving;
        return 0;
    case 'c':
        a->check = true;
        return 0;
    default:
        return peer_option(&a->peer, key, text);
    }
}

static const struct argp_option options[] = {
    PEER_OPTIONS, {"check", 'c', NULL, 0, "the octets are to be those of bh-source", 0}, {0}};
static const struct argp argp = {.options = options,
                                 .parser = option,
                                 .args_doc = "ADDRESS:PORT",
                                 .doc = "Reads all that a peer sends and prints octets, seconds and the rate. The "
                                        "time runs from the first octet to the end of file.",
                                 .children = serve_children};

static bool matches(uint64_t offset, const uint8_t *data, size_t length)
{
    const uint8_t *pattern = app_pattern();
    while (length > 0) {
        size_t n = length < PATTERN_PERIOD ? length : PATTERN_PERIOD;
        if (memcmp(data, pattern + offset % PATTERN_PERIOD, n) != 0)
            return false;
        data += n;
        offset += n;
        length -= n;
    }
    return true;
}

/* False: the octets are wrong. */
static bool take(const struct arguments *a, struct drained *d, const uint8_t *data, size_t length)
{
    if (d->octets == 0)
        d->start_ns = app_now_ns();
    if (a->check && !matches(d->octets, data, length)) {
        fprintf(stderr, "bh-sink: wrong octets after %llu good ones\n", (unsigned long long)d->octets);
        return false;
    }
    d->octets += length;
    return true;
}

static void broken_off(const struct drained *d)
{
    fprintf(stderr, "bh-sink: after %llu octets: %s\n", (unsigned long long)d->octets, strerror(errno));
}

static void print_rate(const struct drained *d)
{
    app_print_rate(d->octets, d->octets == 0 ? 0 : app_now_ns() - d->start_ns);
}

static bool drain(void *input, int fd)
{
    static uint8_t buffer[BUFFER];
    const struct arguments *a = input;
    struct drained d = {0};
    ssize_t n;
    while ((n = a->app.net->recv(fd, buffer, sizeof buffer, 0)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            broken_off(&d);
            return false;
        }
        if (!take(a, &d, buffer, (size_t)n))
            return false;
    }
    print_rate(&d);
    return true;
}

/* ---- many at once: --listen --forever ---- */
struct connection {
    struct client client;
    struct drained drained;
};

struct serving_sink {
    struct server server;
    const struct arguments *arguments;
};

static enum served serve(struct server *s, struct client *client)
{
    static uint8_t buffer[BUFFER];
    const struct arguments *a = ((struct serving_sink *)s)->arguments;
    struct drained *d = &((struct connection *)client)->drained;
    for (int turns = 0; turns < TURNS; turns++) {
        ssize_t n = s->app->net->recv(client->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return SERVED_WAIT;
        if (n < 0)
            broken_off(d);
        if (n == 0)
            print_rate(d);
        if (n <= 0)
            return n == 0 ? SERVED_OVER : SERVED_BROKEN;
        client_active(s, client);
        if (!take(a, d, buffer, (size_t)n))
            return SERVED_BROKEN;
    }
    return SERVED_WAIT;
}

int main(int argc, char **argv)
{
    struct arguments a = {.serving = {.connections = 256}};
    app_parse(&argp, argc, argv, &a);
    if (!a.peer.listen || !a.peer.forever)
        return peer_run(&a.app, &a.peer, "bh-sink", drain, &a);
    struct serving_sink s = {.server = {.app = &a.app,
                                        .program = "bh-sink",
                                        .limits = &a.serving,
                                        .client_size = sizeof(struct connection),
                                        .serve = serve},
                             .arguments = &a};
    app_attach(&a.app);
    server_run(&s.server, &a.peer.address);
    return 0;
}
