// SPDX-License-Identifier: BSD-2-Clause
/* bh-get's transport: one GET on one connection, whole or a range, straight to its place in a file. */
#ifndef BULKHEAD_BENCH_APPS_FETCH_H
#define BULKHEAD_BENCH_APPS_FETCH_H

#include "bench/apps/app.h"

#define FETCH_TEXT_MAX 512
#define FETCH_TAG_MAX  128
#define FETCH_END      UINT64_MAX /* up to the end of the file */

struct url {
    struct place address;
    char host[96]; /* for the Host field */
    char path[1024];
};

struct fetch {
    const struct app *app;
    const struct url *url;
    int file;                /* written to */
    bool to_offset;          /* octet n of the file goes to offset n; else in sequence */
    bool ranged;             /* ask for [first, last], with or without `last` */
    uint64_t first, last;    /* first FETCH_END: the last `last` octets */
    char tag[FETCH_TAG_MAX]; /* of the version that is wanted; empty: any. Set from the answer */
    /* what came */
    unsigned status;
    uint64_t octets, total; /* total: of the whole file, FETCH_END if it was not told */
    bool again;             /* it failed in a way that another attempt may mend */
    char error[FETCH_TEXT_MAX];
};

/* "http://ADDRESS[:PORT]/PATH", numeric. */
bool url_read(const char *text, struct url *ret);
/* Untrusted: what the server sends. False: f->error says what went wrong in one line; what came before it is written. A
 * 416 is told as such: f->status. May be called from several threads, each with its own `f`. */
bool fetch_run(struct fetch *f);

#endif
