// SPDX-License-Identifier: BSD-2-Clause
/* The system calls that are left to a domain: made here, in the supervisor, with libseccomp; installed by the domain
 * itself as the last step of its sandbox (capabilities/sandbox.h), which needs no library for it. */
#ifndef BULKHEAD_CAPABILITIES_FILTER_H
#define BULKHEAD_CAPABILITIES_FILTER_H

#include <stdint.h>

#define FILTER_CONTROL_FD 3 /* the only descriptor that a domain may send and receive messages on */

enum filter_need {                    /* beyond what every domain needs; merged for a domain of several servers */
                   FILTER_DEVICE = 1, /* a device is read and written in pieces */
};

/* A sealed memfd with struct sock_filter[] for a domain with these needs. A descriptor or a negative errno. */
int filter_create(uint32_t needs) __attribute__((warn_unused_result));

#endif
