// SPDX-License-Identifier: BSD-2-Clause
/* bh-source --udp: numbered datagrams to an echo, and a check of every answer. */
#ifndef BULKHEAD_BENCH_APPS_DATAGRAMS_H
#define BULKHEAD_BENCH_APPS_DATAGRAMS_H

#include "bench/apps/app.h"

#define DATAGRAM_SIZE_MAX 65507

struct datagrams {
    uint32_t size;    /* payload octets; from 8 on each carries its number */
    uint64_t count;
    uint64_t rate;    /* a second; 0: no limit */
    uint64_t window;  /* not answered yet */
    uint64_t wait_ms; /* for an answer */
};

/* Sends and prints one JSON document. 0; 1 if an answer was wrong, or there was none. */
int datagrams_run(const struct app *app, const struct place *peer, const struct datagrams *what);

#endif
