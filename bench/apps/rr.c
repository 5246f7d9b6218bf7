// SPDX-License-Identifier: BSD-2-Clause
/* bh-rr: asks bh-echo for round trips of one octet, on one connection or many at once, or for
 * connections of one octet each, one after another. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#include "bench/apps/many.h"

#define ANSWER_LIMIT_S 5

const char *argp_program_version = "bh-rr (Bulkhead)";

struct arguments {
    struct app app;
    struct place address[MANY_PEERS];
    uint64_t addresses, count, connections, size, pause_ms;
    bool connects, udp, reports;
};

static error_t option(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->app;
        return 0;
    case 'n':
        if (!app_number(text, 1, 10000000, &a->count))
            app_usage("'%s' is not a number from 1 to 10m", text);
        return 0;
    case 'N':
        if (!app_number(text, 1, 100000, &a->connections))
            app_usage("'%s' is not a number from 1 to 100k", text);
        return 0;
    case 'z':
        if (!app_number(text, 1, MANY_SIZE_MAX, &a->size))
            app_usage("'%s' is not a number from 1 to %d", text, MANY_SIZE_MAX);
        return 0;
    case 'p':
        if (!app_number(text, 0, 1000000, &a->pause_ms))
            app_usage("'%s' is not a number from 0 to 1m", text);
        return 0;
    case 'i':
        a->reports = true;
        return 0;
    case 'c':
        a->connects = true;
        return 0;
    case 'u':
        a->udp = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->addresses == MANY_PEERS || !app_address(text, false, &a->address[a->addresses++]))
            app_usage("'%s' is not a numeric ADDRESS:PORT, or one too many", text);
        return 0;
    case ARGP_KEY_END:
        if (a->connections == 0 && (a->reports || a->pause_ms != 0 || a->size != 1 || a->addresses != 1))
            app_usage("--size, --pause, --reports and several addresses are for --connections");
        if (a->connections != 0 && (a->connects || a->udp))
            app_usage("--connections is neither for --connects nor for --udp");
        return 0;
    case ARGP_KEY_NO_ARGS:
        app_usage("say ADDRESS:PORT of a bh-echo");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"count", 'n', "N", 0, "how many (default 10k)", 0},
    {"connects", 'c', NULL, 0, "a connection for each: connect, one round trip, close", 0},
    {"connections", 'N', "N", 0,
     "so many at once, each with a round trip under way; connection i is with address i modulo their number", 0},
    {"size", 'z', "N", 0, "with --connections: octets of a round trip, each way (default 1), all checked", 0},
    {"pause", 'p', "MS", 0, "with --connections: between two round trips of a connection (default 0)", 0},
    {"reports", 'i', NULL, 0,
     "with --connections: until the end of stdin; each line there (mark, report, reconnect) is answered by one of JSON",
     0},
    {"udp", 'u', NULL, 0, "datagrams", 0},
    {0}};
static const struct argp argp = {.options = options,
                                 .parser = option,
                                 .args_doc = "ADDRESS:PORT...",
                                 .doc = "Round trips of one octet with a bh-echo: prints their number, median and "
                                        "99th percentile in microseconds, and how many there were in a second.",
                                 .children = app_children};

static int open_peer(const struct arguments *a)
{
    struct timeval limit = {.tv_sec = ANSWER_LIMIT_S};
    int on = 1;
    int fd = app_connect(&a->app, a->address, a->udp ? SOCK_DGRAM : SOCK_STREAM);
    if (a->app.net->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0)
        app_fail(errno, "cannot set SO_RCVTIMEO");
    if (!a->udp && !a->connects && a->app.net->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        app_fail(errno, "cannot set TCP_NODELAY");
    return fd;
}

static void round_trip(const struct arguments *a, int fd, uint64_t done)
{
    char octet = 'x';
    if (a->app.net->send(fd, &octet, 1, 0) != 1)
        app_fail(errno, "cannot send after %llu round trips", (unsigned long long)done);
    errno = 0;
    if (a->app.net->recv(fd, &octet, 1, 0) != 1)
        app_fail(errno, "no answer after %llu round trips", (unsigned long long)done);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void report(const struct arguments *a, uint64_t *ns, uint64_t total_ns)
{
    qsort(ns, a->count, sizeof *ns, compare);
    printf("%llu %s median %.2f us p99 %.2f us %.0f a second\n", (unsigned long long)a->count,
           a->connects ? "connections" : "round trips", (double)ns[a->count / 2] / 1e3,
           (double)ns[a->count - 1 - a->count / 100] / 1e3, (double)a->count * 1e9 / (double)total_ns);
}

static int run_many(const struct arguments *a)
{
    struct many what = {.app = &a->app,
                        .peer = a->address,
                        .peers = a->addresses,
                        .connections = a->connections,
                        .count = a->count,
                        .size = a->size,
                        .pause_ms = a->pause_ms,
                        .reports = a->reports};
    app_attach(&a->app);
    return many_run(&what);
}

int main(int argc, char **argv)
{
    struct arguments a = {.count = 10000, .size = 1};
    app_parse(&argp, argc, argv, &a);
    if (a.connections != 0)
        return run_many(&a);
    uint64_t *ns = calloc(a.count, sizeof *ns);
    if (ns == NULL)
        app_fail(errno, "cannot remember %llu times", (unsigned long long)a.count);
    app_attach(&a.app);
    int fd = a.connects ? -1 : open_peer(&a);
    uint64_t first = app_now_ns(), last = first;
    for (uint64_t i = 0; i < a.count; i++) {
        if (a.connects)
            fd = open_peer(&a);
        round_trip(&a, fd, i);
        if (a.connects)
            a.app.net->close(fd);
        uint64_t now = app_now_ns();
        ns[i] = now - last;
        last = now;
    }
    if (!a.connects)
        a.app.net->close(fd);
    report(&a, ns, last - first);
    free(ns);
    return 0;
}
