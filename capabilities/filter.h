// SPDX-License-Identifier: BSD-2-Clause
/* The system calls that are left to a domain: made here, in the supervisor, with libseccomp; installed by the domain
 * itself as the last step of its sandbox (capabilities/sandbox.h), which needs no library for it. */
#ifndef BULKHEAD_CAPABILITIES_FILTER_H
#define BULKHEAD_CAPABILITIES_FILTER_H

#include <stddef.h>
#include <stdint.h>

#define FILTER_CONTROL_FD 3 /* the only descriptor that a domain may send and receive messages on */

enum filter_need {                    /* beyond what every domain needs; merged for a domain of several servers */
                   FILTER_DEVICE = 1, /* a device is read and written in pieces */
};

/* A sealed memfd with struct sock_filter[] for a domain with these needs. A descriptor or a negative errno. */
int filter_create(uint32_t needs) __attribute__((warn_unused_result));

/* For a process that is no domain and ran before: the calling one's filter, in all its threads. */
struct filter_calls {
    const int *call; /* allowed whatever the arguments */
    size_t count;
    const int *command; /* of fcntl(2) */
    size_t commands;
};

/* From here on only these, and mappings that are not executable; another call kills the process. 0 or a negative errno.
 */
int filter_calls_only(const struct filter_calls *allowed) __attribute__((warn_unused_result));

#endif
