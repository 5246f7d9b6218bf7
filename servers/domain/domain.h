// SPDX-License-Identifier: BSD-2-Clause
/* A domain: one sandboxed process that hosts one or more servers in one event loop, with nothing but what its
 * supervisor grants it over a control socket (ipc/control.proto). */
#ifndef BULKHEAD_SERVERS_DOMAIN_DOMAIN_H
#define BULKHEAD_SERVERS_DOMAIN_DOMAIN_H

#include "servers/server.h"

#define DOMAIN_CONTROL_FD 3 /* inherited */

/* How a domain ends, apart from SANDBOX_EXIT_SIGNAL + signal. */
enum domain_exit {
    DOMAIN_EXIT_STOP = 0,     /* asked to */
    DOMAIN_EXIT_CONTROL = 2,  /* the control socket is closed or stuck: the supervisor is gone */
    DOMAIN_EXIT_PROTOCOL = 3, /* the supervisor said something impossible */
    DOMAIN_EXIT_SANDBOX = 4,
    DOMAIN_EXIT_INIT = 5, /* a server refused to start (its store is of another layout, ...) */
};

/* All of a domain's life from Standby on, without the sandbox: takes grants, starts the servers of the mask `servers`
 * (bits 1 << enum server_id) out of `table`, runs until told to stop or the socket closes. Returns an enum domain_exit.
 * Tests and the simulator pass tables of their own. */
int domain_run(int control_fd, uint32_t servers, const struct server *const table[SERVER_COUNT]);

/* The binary's whole job: Become, sandbox, domain_run(). */
int domain_main(int control_fd, const struct server *const table[SERVER_COUNT]);

#endif
