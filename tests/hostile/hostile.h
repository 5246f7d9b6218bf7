// SPDX-License-Identifier: BSD-2-Clause
/* A domain that has been taken over: the real binary with one server (HOSTILE_SERVER) that, once it has run for a while,
 * makes one attack a life, in the order of its incarnations. What it tries is told beforehand with a notice ("attack NAME");
 * what came of it is either its death, which the supervisor sees, or a second notice ("NAME: RESULT"). */
#ifndef BULKHEAD_TESTS_HOSTILE_HOSTILE_H
#define BULKHEAD_TESTS_HOSTILE_HOSTILE_H

#include "servers/server.h"

struct attack {
    const char *name;
    /* NULL or empty: nothing to tell. Otherwise what came of it. It may not come back. */
    const char *(*make)(const struct server_context *context);
};

extern const struct attack calls[];    /* system calls: none comes back */
extern const struct attack memory[];   /* pages of others, and more rights to one's own */
extern const struct attack messages[]; /* lies to neighbours */
extern const unsigned calls_count, memory_count, messages_count;

/* What was pulled by the hostile server from each peer: the newest message that named a buffer. */
extern struct message hostile_seen[SERVER_COUNT];

#endif
