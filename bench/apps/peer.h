// SPDX-License-Identifier: BSD-2-Clause
/* Where bh-sink and bh-source get their connection from: connect to ADDRESS:PORT, or --listen on [ADDRESS:]PORT. */
#ifndef BULKHEAD_BENCH_APPS_PEER_H
#define BULKHEAD_BENCH_APPS_PEER_H

#include "bench/apps/app.h"

struct peer {
    struct place address;
    bool listen, given, forever;
};

#define PEER_OPTIONS                                                                                                   \
    {"listen", 'l', "[ADDRESS:]PORT", 0, "wait for a connection there instead of making one", 0},                      \
    {                                                                                                                  \
        "forever", 'k', NULL, 0, "with --listen: serve on after the first connection", 0                                \
    }

/* The keys of PEER_OPTIONS and the argument. */
error_t peer_option(struct peer *peer, int key, char *text);
/* Connects or accepts and calls `serve`, which is to return false for a failure that it told. Exit status. */
int peer_run(const struct app *app, const struct peer *peer, const char *program, bool (*serve)(void *input, int fd),
             void *input);

#endif
