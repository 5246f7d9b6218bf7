// SPDX-License-Identifier: BSD-2-Clause
/* A message of the management plane as JSON, by its own description: field names are those of ipc/manage.proto, a
 * repeated field's in the plural (`domain` becomes "domains", `counter` "counters", `event` "events"). */
#ifndef BULKHEAD_SERVERS_CLI_JSON_H
#define BULKHEAD_SERVERS_CLI_JSON_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

/* NULL only without memory. */
json_t *json_of_message(const ProtobufCMessage *message);

/* One document and a newline on stdout; takes `document` over. An exit status. */
int json_print(const char *command, json_t *document, size_t flags);

#endif
