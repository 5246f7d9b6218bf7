// SPDX-License-Identifier: BSD-2-Clause
/* bh-source: writes a number of octets to a peer and says how fast they went; or datagrams to a bh-echo, and what
 * became of them (datagrams.c). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/apps/datagrams.h"
#include "bench/apps/peer.h"

const char *argp_program_version = "bh-source (Bulkhead)";

struct arguments {
    struct app app;
    struct peer peer;
    uint64_t octets, write_octets;
    bool udp;
    struct datagrams datagrams;
};

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    uint64_t n;
    if (!app_number(text, least, most, &n))
        app_usage("'%s' is not a number from %llu to %llu", text, (unsigned long long)least, (unsigned long long)most);
    return n;
}

static error_t datagram_option(struct arguments *a, int key, char *text)
{
    switch (key) {
    case 'u':
        a->udp = true;
        return 0;
    case 'z':
        a->datagrams.size = (uint32_t)number(text, 0, DATAGRAM_SIZE_MAX);
        return 0;
    case 'c':
        a->datagrams.count = number(text, 1, 100000000);
        return 0;
    case 'R':
        a->datagrams.rate = number(text, 0, 100000000);
        return 0;
    case 'W':
        a->datagrams.window = number(text, 1, 100000);
        return 0;
    case 't':
        a->datagrams.wait_ms = number(text, 1, 3600000);
        return 0;
    case ARGP_KEY_END:
        if (a->udp && a->peer.listen)
            app_usage("--udp wants the ADDRESS:PORT of a bh-echo --udp, not --listen");
        break;
    }
    return peer_option(&a->peer, key, text);
}

static error_t option(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->app;
        return 0;
    case 'n':
        a->octets = number(text, 0, UINT64_MAX / 16);
        return 0;
    case 'w':
        a->write_octets = number(text, 1, PATTERN_PERIOD);
        return 0;
    default:
        return datagram_option(a, key, text);
    }
}

static const struct argp_option options[] = {
    PEER_OPTIONS,
    {"octets", 'n', "N", 0, "how many to write, with k, m or g for thousands (default 100m)", 0},
    {"write", 'w', "N", 0, "octets of one write (default 65521)", 0},
    {"udp", 'u', NULL, 0, "datagrams to a bh-echo --udp: count the answers and print what is lost, as JSON", 1},
    {"size", 'z', "N", 0, "octets of a datagram (default 64)", 1},
    {"count", 'c', "N", 0, "how many (default 10k)", 1},
    {"rate", 'R', "N", 0, "at most so many a second (default 0: as the answers come)", 1},
    {"window", 'W', "N", 0, "at most so many that are not answered (default 32)", 1},
    {"wait", 't', "MS", 0, "an answer that has not come by then is lost (default 500)", 1},
    {0}};
static const struct argp argp = {.options = options,
                                 .parser = option,
                                 .args_doc = "ADDRESS:PORT",
                                 .doc = "Writes octets to a peer and prints octets, seconds and the rate. The time "
                                        "runs until the peer, having read all, closes. With --udp: sends datagrams "
                                        "and checks each answer.",
                                 .children = app_children};

static bool failed(const char *what, uint64_t octets)
{
    fprintf(stderr, "bh-source: %s after %llu octets: %s\n", what, (unsigned long long)octets, strerror(errno));
    return false;
}

static bool pour(void *input, int fd)
{
    const struct arguments *a = input;
    const uint8_t *pattern = app_pattern();
    uint64_t start_ns = app_now_ns();
    uint8_t end[256];
    uint64_t octets = 0;
    while (octets < a->octets) {
        uint64_t left = a->octets - octets;
        ssize_t n =
            a->app.net->send(fd, pattern + octets % PATTERN_PERIOD, left < a->write_octets ? left : a->write_octets, 0);
        if (n < 0 && errno != EINTR)
            return failed("stopped", octets);
        octets += n > 0 ? (uint64_t)n : 0;
    }
    if (a->app.net->shutdown(fd, SHUT_WR) < 0)
        return failed("cannot finish", octets);
    ssize_t n;
    while ((n = a->app.net->recv(fd, end, sizeof end, 0)) != 0)
        if (n < 0 && errno != EINTR)
            return failed("the peer did not take all", octets);
    app_print_rate(octets, app_now_ns() - start_ns);
    return true;
}

int main(int argc, char **argv)
{
    struct arguments a = {.octets = 100000000, .write_octets = PATTERN_PERIOD, .datagrams = {64, 10000, 0, 32, 500}};
    app_parse(&argp, argc, argv, &a);
    if (a.udp)
        return datagrams_run(&a.app, &a.peer.address, &a.datagrams);
    return peer_run(&a.app, &a.peer, "bh-source", pour, &a);
}
