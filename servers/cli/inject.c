// SPDX-License-Identifier: BSD-2-Clause
/* `bulkhead inject`: answered when the fault is in place; whether and when it is activated is an event. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "servers/cli/client.h"
#include "servers/cli/json.h"

/* The stack runs in another directory: files of --place are named from the root. CLI_OK, or the exit status after a
 * message. */
static int place_absolute(const struct cli_arguments *arguments, char *ret, size_t size)
{
    const char *place = arguments->place != NULL ? arguments->place : "", *path = place;
    char folder[PATH_MAX] = "";
    if (strncmp(place, "to:", 3) == 0 || strncmp(place, "from:", 5) == 0)
        path = strchr(place, ':') + 1;
    if (path != place && path[0] != '/' && getcwd(folder, sizeof(folder)) == NULL)
        return cli_failed(arguments->command, "cannot tell the working directory: %s", strerror(errno));
    int n = snprintf(ret, size, "%.*s%s%s%s", (int)(path - place), place, folder, folder[0] != '\0' ? "/" : "", path);
    return n < (int)size ? CLI_OK : cli_wrong(arguments->command, "--place is too long");
}

static int reply_print(const struct cli_arguments *arguments, char *text)
{
    if (!arguments->json) {
        puts(cli_printable(text));
        return CLI_OK;
    }
    json_t *document = json_pack("{s:s, s:s, s:I, s:s}", "server", arguments->server, "fault", arguments->fault, "seed",
                                 (json_int_t)arguments->seed, "text", cli_printable(text));
    return json_print(arguments->command, document, JSON_INDENT(2));
}

int cli_inject(const struct cli_arguments *arguments)
{
    Bulkhead__Manage__Inject inject = BULKHEAD__MANAGE__INJECT__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    Bulkhead__Manage__Reply *reply = NULL;
    char place[PATH_MAX];
    int status = place_absolute(arguments, place, sizeof(place));
    if (status == CLI_OK && arguments->count > UINT32_MAX)
        status = cli_wrong(arguments->command, "--count is at most %u", UINT32_MAX);
    if (status != CLI_OK)
        return status;
    inject.server = (char *)(uintptr_t)arguments->server;
    inject.fault = (char *)(uintptr_t)arguments->fault;
    inject.peer = arguments->peer != NULL ? (char *)(uintptr_t)arguments->peer : inject.peer;
    inject.seed = arguments->seed;
    inject.count = (uint32_t)arguments->count;
    inject.place = place;
    inject.timeout_ms = arguments->timeout_ms;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_INJECT;
    request.inject = &inject;
    status = client_ask(arguments, true, &request, &reply);
    if (status != CLI_OK)
        return status;
    status = reply_print(arguments, reply->text);
    bulkhead__manage__reply__free_unpacked(reply, NULL);
    return status;
}
