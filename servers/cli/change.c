// SPDX-License-Identifier: BSD-2-Clause
/* The commands that change something: kill, restart, repartition, down. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "servers/cli/client.h"

#define DOWN_MS 15000

static int change(const struct cli_arguments *arguments, Bulkhead__Manage__Request *request)
{
    Bulkhead__Manage__Reply *reply = NULL;
    int status = client_ask(arguments, true, request, &reply);
    if (status == CLI_OK)
        bulkhead__manage__reply__free_unpacked(reply, NULL);
    return status;
}

int cli_kill(const struct cli_arguments *arguments)
{
    Bulkhead__Manage__Kill kill = BULKHEAD__MANAGE__KILL__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    kill.server = (char *)(uintptr_t)arguments->server;
    kill.signal = arguments->signal;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_KILL;
    request.kill = &kill;
    return change(arguments, &request);
}

int cli_restart(const struct cli_arguments *arguments)
{
    Bulkhead__Manage__Restart restart = BULKHEAD__MANAGE__RESTART__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    char path[PATH_MAX];
    restart.server = (char *)(uintptr_t)arguments->server;
    if (arguments->binary != NULL) {
        if (realpath(arguments->binary, path) == NULL)
            return cli_failed(arguments->command, "%s: %s", arguments->binary, strerror(errno));
        restart.binary = path;
    }
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_RESTART;
    request.restart = &restart;
    return change(arguments, &request);
}

int cli_repartition(const struct cli_arguments *arguments)
{
    struct partition partition;
    char error[OPTIONS_ERROR];
    if (partition_parse(arguments->partition, &partition, error, sizeof error) < 0)
        return cli_wrong(arguments->command, "%s", error);
    Bulkhead__Manage__Repartition repartition = BULKHEAD__MANAGE__REPARTITION__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    repartition.partition = partition.text;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_REPARTITION;
    request.repartition = &repartition;
    return change(arguments, &request);
}

/* A descriptor of the supervisor's process, to wait for its end; or -1 after a message. */
static int supervisor_open(const struct cli_arguments *arguments)
{
    Bulkhead__Manage__Ps ps = BULKHEAD__MANAGE__PS__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    Bulkhead__Manage__Reply *reply = NULL;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_PS;
    request.ps = &ps;
    if (client_ask(arguments, false, &request, &reply) != CLI_OK)
        return -1;
    pid_t pid = reply->ps == NULL ? 0 : (pid_t)reply->ps->supervisor_pid;
    bulkhead__manage__reply__free_unpacked(reply, NULL);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        cli_failed(arguments->command, "cannot watch the supervisor (pid %d): %s; run this in its pid namespace", pid,
                   strerror(errno));
    return fd;
}

int cli_down(const struct cli_arguments *arguments)
{
    Bulkhead__Manage__Down down = BULKHEAD__MANAGE__DOWN__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_DOWN;
    request.down = &down;
    int supervisor = supervisor_open(arguments);
    if (supervisor < 0)
        return CLI_FAILED;
    int status = change(arguments, &request);
    struct pollfd gone = {.fd = supervisor, .events = POLLIN};
    if (status == CLI_OK && poll(&gone, 1, DOWN_MS) != 1)
        status = cli_failed(arguments->command, "the supervisor did not end within %d s; kill it", DOWN_MS / 1000);
    close(supervisor);
    return status;
}
