// SPDX-License-Identifier: BSD-2-Clause
/* A question to the manage server, and its answer. */
#ifndef BULKHEAD_SERVERS_CLI_CLIENT_H
#define BULKHEAD_SERVERS_CLI_CLIENT_H

#include <stdbool.h>

#include "ipc/manage.pb-c.h"
#include "servers/cli/cli.h"

/* Sends the request (its id is filled in) to the status socket, or with `change` to the control socket, resends it
 * until answered or some seconds are over. CLI_OK and *ret_reply (to be freed), or CLI_FAILED after one line on stderr.
 */
int client_ask(const struct cli_arguments *arguments, bool change, Bulkhead__Manage__Request *request,
               Bulkhead__Manage__Reply **ret_reply) __attribute__((warn_unused_result));

/* A nanomsg socket subscribed to every event; or -1 after one line on stderr. */
int client_subscribe(const struct cli_arguments *arguments);

/* The socket RUNDIR/name takes connections: 0, or a negative errno. */
int client_probe(const char *run_dir, const char *name);

#endif
