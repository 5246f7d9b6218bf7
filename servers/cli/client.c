// SPDX-License-Identifier: BSD-2-Clause
#include "servers/cli/client.h"

#include <errno.h>
#include <nanomsg/nn.h>
#include <nanomsg/pubsub.h>
#include <nanomsg/reqrep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RESEND_MS        500
#define ANSWER_MS        7000 /* more than the manage server gives the supervisor */
#define REOPEN_TRIES     100  /* a manage server that was killed is back by then */
#define REOPEN_WAIT_MS   20
#define REPLY_OCTETS_MAX (1 << 20)

int client_probe(const char *run_dir, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", run_dir, name) >= (int)sizeof(address.sun_path))
        return -ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int result = connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    close(fd);
    return result;
}

/* The supervisor answers (it does, of another type of socket), the management plane is not there yet. */
static bool starting(const struct cli_arguments *arguments, int result)
{
    return result == -ENOENT && client_probe(arguments->run_dir, "attach") == -EPROTOTYPE;
}

/* nanomsg would wait silently for a stack that is not there; a refused connection may be one that is just back. */
static int stack_find(const struct cli_arguments *arguments, const char *name)
{
    int result = client_probe(arguments->run_dir, name);
    for (int i = 0; (result == -ECONNREFUSED || starting(arguments, result)) && i < REOPEN_TRIES; i++) {
        nanosleep(&(struct timespec){.tv_nsec = REOPEN_WAIT_MS * 1000000L}, NULL);
        result = client_probe(arguments->run_dir, name);
    }
    switch (result) {
    case 0:
        return CLI_OK;
    case -EACCES:
    case -EPERM:
        return cli_failed(arguments->command, "not permitted to use %s/%s; run this as who started the stack",
                          arguments->run_dir, name);
    default:
        return cli_failed(arguments->command,
                          "no stack runs in %s; start one with `bulkhead up`, or name another with --run-dir",
                          arguments->run_dir);
    }
}

static int socket_connect(const struct cli_arguments *arguments, int protocol, const char *name, int receive_ms)
{
    char url[sizeof(arguments->run_dir) + 32];
    snprintf(url, sizeof(url), "ipc://%s/%s", arguments->run_dir, name);
    int fd = nn_socket(AF_SP, protocol);
    int limit = REPLY_OCTETS_MAX;
    if (fd < 0 || nn_setsockopt(fd, NN_SOL_SOCKET, NN_RCVMAXSIZE, &limit, sizeof(limit)) < 0 ||
        nn_setsockopt(fd, NN_SOL_SOCKET, NN_RCVTIMEO, &receive_ms, sizeof(receive_ms)) < 0 ||
        nn_setsockopt(fd, NN_SOL_SOCKET, NN_SNDTIMEO, &receive_ms, sizeof(receive_ms)) < 0 || nn_connect(fd, url) < 0) {
        cli_failed(arguments->command, "cannot connect to %s: %s", url, nn_strerror(nn_errno()));
        if (fd >= 0)
            nn_close(fd);
        return -1;
    }
    return fd;
}

int client_subscribe(const struct cli_arguments *arguments)
{
    if (stack_find(arguments, "events") != CLI_OK)
        return -1;
    int fd = socket_connect(arguments, NN_SUB, "events", RESEND_MS);
    if (fd >= 0)
        nn_setsockopt(fd, NN_SUB, NN_SUB_SUBSCRIBE, "", 0);
    return fd;
}

/* Untrusted: the answer. */
static Bulkhead__Manage__Reply *exchange(int fd, const Bulkhead__Manage__Request *request)
{
    size_t octets = bulkhead__manage__request__get_packed_size(request);
    uint8_t *bytes = malloc(octets);
    if (bytes == NULL)
        return NULL;
    bulkhead__manage__request__pack(request, bytes);
    int sent = nn_send(fd, bytes, octets, 0);
    free(bytes);
    void *answer = NULL;
    int got = sent < 0 ? -1 : nn_recv(fd, &answer, NN_MSG, 0);
    if (got < 0)
        return NULL;
    Bulkhead__Manage__Reply *reply = bulkhead__manage__reply__unpack(NULL, (size_t)got, answer);
    nn_freemsg(answer);
    return reply;
}

/* The process's one socket for questions of this kind; -1 (told): there is none. It is never closed: libnanomsg (1.1.5)
 * may abort in nn_close() of an NN_REQ, when it lets go of its request a second time (nanomsg issue 389); a command
 * ends soon. */
static int socket_of_questions(const struct cli_arguments *arguments, bool change, const char *name)
{
    static int open_ones[2] = {-1, -1};
    int *fd = &open_ones[change];
    if (*fd < 0 && (*fd = socket_connect(arguments, NN_REQ, name, ANSWER_MS)) >= 0) {
        int resend_ms = RESEND_MS;
        nn_setsockopt(*fd, NN_REQ, NN_REQ_RESEND_IVL, &resend_ms, sizeof(resend_ms));
    }
    return *fd;
}

int client_ask(const struct cli_arguments *arguments, bool change, Bulkhead__Manage__Request *request,
               Bulkhead__Manage__Reply **ret_reply)
{
    const char *name = change ? "control" : "status";
    while (request->id == 0)
        if (getrandom(&request->id, sizeof(request->id), 0) < 0)
            return cli_failed(arguments->command, "no random numbers: %s", strerror(errno));
    int status = stack_find(arguments, name);
    if (status != CLI_OK)
        return status;
    int fd = socket_of_questions(arguments, change, name);
    if (fd < 0)
        return CLI_FAILED;
    Bulkhead__Manage__Reply *reply = exchange(fd, request);
    if (reply == NULL)
        return cli_failed(arguments->command, "no answer from the stack in %s; look at its log, or start it anew",
                          arguments->run_dir);
    if (reply->error[0] == '\0' && reply->id == request->id) {
        *ret_reply = reply;
        return CLI_OK;
    }
    status = cli_failed(arguments->command, "%s",
                        reply->error[0] != '\0' ? reply->error : "an answer to something else came");
    bulkhead__manage__reply__free_unpacked(reply, NULL);
    return status;
}
