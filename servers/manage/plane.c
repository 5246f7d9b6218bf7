// SPDX-License-Identifier: BSD-2-Clause
#include "servers/manage/plane.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <nanomsg/nn.h>
#include <nanomsg/reqrep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVER_NAME_MAX 64 /* or a domain's: nic+ip */
#define SIGNAL_MAX      64

int plane_open(struct plane *plane, const char *run_dir, const char *name, bool may_change)
{
    *plane = (struct plane){.name = name, .may_change = may_change};
    plane->socket = nn_socket(AF_SP, NN_REP);
    if (plane->socket < 0)
        return -nn_errno();
    int octets = REQUEST_OCTETS_MAX;
    size_t size = sizeof(plane->ready);
    char url[PATH_MAX];
    if (snprintf(url, sizeof(url), "ipc://%s/%s", run_dir, name) >= (int)sizeof(url))
        return -ENAMETOOLONG;
    const char *path = url + strlen("ipc://");
    unlink(path); /* an earlier incarnation's */
    if (nn_setsockopt(plane->socket, NN_SOL_SOCKET, NN_RCVMAXSIZE, &octets, sizeof(octets)) < 0 ||
        nn_bind(plane->socket, url) < 0 ||
        nn_getsockopt(plane->socket, NN_SOL_SOCKET, NN_RCVFD, &plane->ready, &size) < 0)
        return -nn_errno();
    return chmod(path, may_change ? 0600 : 0666) < 0 ? -errno : 0;
}

static bool server_name_fits(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > SERVER_NAME_MAX)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!islower((unsigned char)name[i]) && name[i] != '+')
            return false;
    return true;
}

/* NULL, or why this request is not for the supervisor. */
static const char *request_objection(const Bulkhead__Manage__Request *request, bool may_change)
{
    static const char bad_name[] = "no such server; `bulkhead ps` shows the names";
    static const char changes[] = "the status socket only reads; send this to the control socket";
    bool known = true;
    switch (request->what_case) {
    case BULKHEAD__MANAGE__REQUEST__WHAT_PS:
        known = request->ps->base.n_unknown_fields == 0;
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_STAT:
        known = request->stat->base.n_unknown_fields == 0;
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_EVENTS:
        known = request->events->base.n_unknown_fields == 0;
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_KILL:
        if (!may_change)
            return changes;
        if (!server_name_fits(request->kill->server))
            return bad_name;
        if (request->kill->signal == 0 || request->kill->signal > SIGNAL_MAX)
            return "no such signal; `kill -l` lists them";
        known = request->kill->base.n_unknown_fields == 0;
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_RESTART:
        if (!may_change)
            return changes;
        if (!server_name_fits(request->restart->server))
            return bad_name;
        known = request->restart->base.n_unknown_fields == 0;
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_DOWN:
        if (!may_change)
            return changes;
        known = request->down->base.n_unknown_fields == 0;
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_AUDIT:
        if (!may_change)
            return changes;
        known = request->audit->base.n_unknown_fields == 0;
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_CAPS:
        known = request->caps->base.n_unknown_fields == 0;
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_REPARTITION:
        if (!may_change)
            return changes;
        known = request->repartition->base.n_unknown_fields == 0;
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_REVOKE:
        if (!may_change)
            return changes;
        known = request->revoke->base.n_unknown_fields == 0;
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT__NOT_SET:
    default:
        known = false;
    }
    if (!known || request->base.n_unknown_fields != 0)
        return "this request is not known here; use the bulkhead command of the same build";
    return NULL;
}

/* To whoever nanomsg received from last. A client that is gone loses its answer; REQ would have asked again. */
static void plane_send(const struct plane *plane, const uint8_t *bytes, size_t octets)
{
    if (nn_send(plane->socket, bytes, octets, NN_DONTWAIT) < 0 && nn_errno() != EAGAIN)
        fprintf(stderr, "bulkhead-manage: %s: answer lost: %s\n", plane->name, nn_strerror(nn_errno()));
}

/* Untrusted: bytes (from a client). */
static enum plane_outcome plane_take(struct plane *plane, const uint8_t *bytes, size_t octets,
                                     Bulkhead__Manage__Request **ret_request)
{
    Bulkhead__Manage__Request *request = NULL;
    if (octets <= REQUEST_OCTETS_MAX)
        request = bulkhead__manage__request__unpack(NULL, octets, bytes);
    if (request == NULL) {
        plane_refuse(plane, 0, "malformed request; use the bulkhead command of the same build");
        return PLANE_NOTHING;
    }
    const char *objection = NULL;
    const struct kept_reply *kept = replies_find(&plane->replies, request->id);
    if (kept != NULL)
        plane_send(plane, kept->bytes, kept->octets);
    else if (request->id == 0)
        plane_refuse(plane, 0, "a request needs an id other than 0");
    else if ((objection = request_objection(request, plane->may_change)) != NULL)
        plane_refuse(plane, request->id, objection);
    else {
        plane->id = request->id;
        *ret_request = request;
        return PLANE_REQUEST;
    }
    bulkhead__manage__request__free_unpacked(request, NULL);
    return PLANE_NOTHING;
}

enum plane_outcome plane_receive(struct plane *plane, Bulkhead__Manage__Request **ret_request)
{
    void *bytes = NULL;
    int octets = nn_recv(plane->socket, &bytes, NN_MSG, NN_DONTWAIT);
    if (octets < 0)
        return PLANE_NOTHING;
    enum plane_outcome outcome = plane_take(plane, bytes, (size_t)octets, ret_request);
    nn_freemsg(bytes);
    return outcome;
}

void plane_answer(struct plane *plane, const Bulkhead__Manage__Reply *reply)
{
    size_t octets = bulkhead__manage__reply__get_packed_size(reply);
    uint8_t *bytes = malloc(octets > 0 ? octets : 1);
    plane->id = 0;
    if (bytes == NULL) {
        plane_send(plane, NULL, 0); /* an empty Reply: id 0, which no client waits for */
        return;
    }
    bulkhead__manage__reply__pack(reply, bytes);
    plane_send(plane, bytes, octets);
    if (reply->id != 0)
        replies_keep(&plane->replies, reply->id, bytes, octets);
    else
        free(bytes);
}

void plane_refuse(struct plane *plane, uint64_t id, const char *why)
{
    Bulkhead__Manage__Reply reply = BULKHEAD__MANAGE__REPLY__INIT;
    reply.id = id;
    reply.error = (char *)(uintptr_t)why;
    plane_answer(plane, &reply);
}
