// SPDX-License-Identifier: BSD-2-Clause
/* bh-sink: reads all that a peer sends and says how much and how fast. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/apps/peer.h"

#define BUFFER (256U << 10)

const char *argp_program_version = "bh-sink (Bulkhead)";

struct arguments {
    struct app app;
    struct peer peer;
    bool check;
};

static error_t option(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->app;
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
                                 .children = app_children};

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

static bool drain(void *input, int fd)
{
    static uint8_t buffer[BUFFER];
    const struct arguments *a = input;
    uint64_t octets = 0, start_ns = 0;
    ssize_t n;
    while ((n = a->app.net->recv(fd, buffer, sizeof buffer, 0)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            fprintf(stderr, "bh-sink: after %llu octets: %s\n", (unsigned long long)octets, strerror(errno));
            return false;
        }
        if (octets == 0)
            start_ns = app_now_ns();
        if (a->check && !matches(octets, buffer, (size_t)n)) {
            fprintf(stderr, "bh-sink: wrong octets after %llu good ones\n", (unsigned long long)octets);
            return false;
        }
        octets += (uint64_t)n;
    }
    app_print_rate(octets, octets == 0 ? 0 : app_now_ns() - start_ns);
    return true;
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    app_parse(&argp, argc, argv, &a);
    return peer_run(&a.app, &a.peer, "bh-sink", drain, &a);
}
