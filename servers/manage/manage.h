// SPDX-License-Identifier: BSD-2-Clause
/* The manage server: three nanomsg sockets on one side, the supervisor's socketpair on the other. */
#ifndef BULKHEAD_SERVERS_MANAGE_MANAGE_H
#define BULKHEAD_SERVERS_MANAGE_MANAGE_H

#include <stdint.h>

#include "servers/manage/plane.h"

enum { PLANE_CONTROL, PLANE_STATUS, PLANE_COUNT };

#define SUPERVISOR_ANSWER_US  5000000
#define OWN_END_US            50000
#define SUPERVISOR_OCTETS_MAX 262144

struct manage {
    int supervisor; /* SOCK_SEQPACKET: out Request, in ToManage */
    int events;     /* nanomsg's PUB */
    struct plane plane[PLANE_COUNT];
    uint64_t end_id; /* of a request to kill or restart this server itself; 0: none */
    uint64_t end_us; /* when that goes to the supervisor: the answer is out by then */
    uint8_t buffer[SUPERVISOR_OCTETS_MAX];
};

/* Opens and binds the sockets; this starts nanomsg's threads. 0 or a negative errno. */
int manage_open(struct manage *manage, const char *run_dir, int supervisor) __attribute__((warn_unused_result));

/* Runs until the supervisor closes its end (0), or something breaks (a negative errno). */
int manage_run(struct manage *manage) __attribute__((warn_unused_result));

#endif
