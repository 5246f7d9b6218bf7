// SPDX-License-Identifier: BSD-2-Clause
/* bh-source: writes a number of octets to a peer and says how fast they went. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/apps/peer.h"

const char *argp_program_version = "bh-source (Bulkhead)";

struct arguments {
    struct app app;
    struct peer peer;
    uint64_t octets, write_octets;
};

static error_t option(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->app;
        return 0;
    case 'n':
        if (!app_number(text, 0, UINT64_MAX / 16, &a->octets))
            app_usage("'%s' is not a number of octets", text);
        return 0;
    case 'w':
        if (!app_number(text, 1, PATTERN_PERIOD, &a->write_octets))
            app_usage("'%s' is not a number from 1 to %u", text, PATTERN_PERIOD);
        return 0;
    default:
        return peer_option(&a->peer, key, text);
    }
}

static const struct argp_option options[] = {
    PEER_OPTIONS,
    {"octets", 'n', "N", 0, "how many to write, with k, m or g for thousands (default 100m)", 0},
    {"write", 'w', "N", 0, "octets of one write (default 65521)", 0},
    {0}};
static const struct argp argp = {.options = options,
                                 .parser = option,
                                 .args_doc = "ADDRESS:PORT",
                                 .doc = "Writes octets to a peer and prints octets, seconds and the rate. The time "
                                        "runs until the peer, having read all, closes.",
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
    struct arguments a = {.octets = 100000000, .write_octets = PATTERN_PERIOD};
    app_parse(&argp, argc, argv, &a);
    return peer_run(&a.app, &a.peer, "bh-source", pour, &a);
}
