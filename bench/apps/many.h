// SPDX-License-Identifier: BSD-2-Clause
/* bh-rr --connections: round trips on many connections at once, each with one under way all the time, every octet
 * checked.
 *
 * With `reports` it goes on until the end of stdin, where each line is a request that is answered by one JSON document:
 *   mark       the figures of `since_mark` begin anew
 *   report     nothing but the answer
 *   reconnect  connections that were lost, and those that will be, are made again; until then none is */
#ifndef BULKHEAD_BENCH_APPS_MANY_H
#define BULKHEAD_BENCH_APPS_MANY_H

#include "bench/apps/app.h"

#define MANY_PEERS    8
#define MANY_SIZE_MAX 16384

struct many {
    const struct app *app;
    const struct place *peer; /* connection i is with peer i % peers */
    uint64_t peers, connections;
    uint64_t count;    /* round trips in all */
    uint64_t size;     /* octets of one, each way */
    uint64_t pause_ms; /* of a connection, between two of its round trips */
    bool reports;
};

/* Exit status: 1 if an octet was wrong or, without `reports`, a connection was lost. */
int many_run(const struct many *what);

#endif
