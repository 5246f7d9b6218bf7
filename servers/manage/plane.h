// SPDX-License-Identifier: BSD-2-Clause
/* One REP socket of the management plane: `control` takes every request, `status` only those that read. A plane has at
 * most one request on its way to the supervisor; the next is not taken from nanomsg before this one is answered. */
#ifndef BULKHEAD_SERVERS_MANAGE_PLANE_H
#define BULKHEAD_SERVERS_MANAGE_PLANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/manage.pb-c.h"
#include "servers/manage/replies.h"

#define REQUEST_OCTETS_MAX 65536

struct plane {
    const char *name;
    bool may_change;
    int socket;           /* nanomsg's */
    int ready;            /* a descriptor to poll: there is a request */
    uint64_t id;          /* of the request on its way; 0: none */
    uint64_t deadline_us; /* CLOCK_MONOTONIC, when it is answered with an error */
    struct replies replies;
};

/* Binds ipc://<run_dir>/<name> with this file mode. 0, or a negative errno. */
int plane_open(struct plane *plane, const char *run_dir, const char *name, bool may_change)
    __attribute__((warn_unused_result));

enum plane_outcome {
    PLANE_NOTHING, /* no request waits, or it is answered already (from memory, or refused) */
    PLANE_REQUEST, /* *ret_request is to go to the supervisor; answer with plane_answer() */
};

/* Untrusted: what a client sent. *ret_request holds only known fields, checked; the caller frees it
 * with bulkhead__manage__request__free_unpacked(). */
enum plane_outcome plane_receive(struct plane *plane, Bulkhead__Manage__Request **ret_request);

/* Answers the request on its way (or, with `id` of a refused one, that) and remembers the answer. */
void plane_answer(struct plane *plane, const Bulkhead__Manage__Reply *reply);

/* The same, with nothing but one line of error. */
void plane_refuse(struct plane *plane, uint64_t id, const char *why);

#endif
