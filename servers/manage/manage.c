// SPDX-License-Identifier: BSD-2-Clause
/* Theory of operation. Clients ask over nanomsg, the supervisor answers over the socketpair; this loop sits between and
 * holds nothing that is worth keeping: when it dies, the supervisor starts another and clients ask again. A plane
 * (control, status) has one request on its way at a time, and the two planes' ids differ, so that an answer's id tells
 * where it belongs. A supervisor that does not answer within SUPERVISOR_ANSWER_US is reported to the client; what it
 * says later is dropped. A request to end this very server is answered first and sent on a little later; else the
 * client would ask the next incarnation, and so on for ever. Events are published as they come; nanomsg's PUB drops for
 * a slow subscriber, who sees the gap in the numbers and asks for what is missing. */
#include "servers/manage/manage.h"

#include <errno.h>
#include <limits.h>
#include <nanomsg/nn.h>
#include <nanomsg/pubsub.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int events_open(const char *run_dir, int *ret_socket)
{
    char url[PATH_MAX];
    if (snprintf(url, sizeof(url), "ipc://%s/events", run_dir) >= (int)sizeof(url))
        return -ENAMETOOLONG;
    const char *path = url + strlen("ipc://");
    int fd = nn_socket(AF_SP, NN_PUB);
    if (fd < 0)
        return -nn_errno();
    unlink(path);
    if (nn_bind(fd, url) < 0)
        return -nn_errno();
    *ret_socket = fd;
    return chmod(path, 0666) < 0 ? -errno : 0;
}

int manage_open(struct manage *manage, const char *run_dir, int supervisor)
{
    manage->supervisor = supervisor;
    int result = plane_open(&manage->plane[PLANE_CONTROL], run_dir, "control", true);
    if (result == 0)
        result = plane_open(&manage->plane[PLANE_STATUS], run_dir, "status", false);
    if (result == 0)
        result = events_open(run_dir, &manage->events);
    return result;
}

static const char *server_to_end(const Bulkhead__Manage__Request *request)
{
    switch (request->what_case) {
    case BULKHEAD__MANAGE__REQUEST__WHAT_KILL:
        return request->kill->server;
    case BULKHEAD__MANAGE__REQUEST__WHAT_RESTART:
        return request->restart->server;
    default:
        return "";
    }
}

/* 0 or a negative errno. */
static int supervisor_send(struct manage *manage, const Bulkhead__Manage__Request *request)
{
    size_t octets = bulkhead__manage__request__get_packed_size(request);
    if (octets > sizeof(manage->buffer))
        return -EMSGSIZE;
    bulkhead__manage__request__pack(request, manage->buffer);
    return send(manage->supervisor, manage->buffer, octets, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void own_end_forward(struct manage *manage)
{
    Bulkhead__Manage__Kill end = BULKHEAD__MANAGE__KILL__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    end.server = "manage";
    end.signal = SIGKILL;
    request.id = manage->end_id;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_KILL;
    request.kill = &end;
    manage->end_id = 0;
    if (supervisor_send(manage, &request) < 0)
        fprintf(stderr, "bulkhead-manage: the supervisor takes no requests now: not killed\n");
}

/* Untrusted no more: plane_receive() checked it. */
static void request_forward(struct manage *manage, struct plane *plane, const Bulkhead__Manage__Request *request)
{
    const struct plane *other = &manage->plane[plane == manage->plane ? PLANE_STATUS : PLANE_CONTROL];
    if (other->id == request->id) {
        plane_refuse(plane, request->id, "this id is in use; ask again with another");
        return;
    }
    if (strcmp(server_to_end(request), "manage") == 0) {
        Bulkhead__Manage__Reply done = BULKHEAD__MANAGE__REPLY__INIT;
        done.id = request->id;
        if (manage->end_id == 0)
            manage->end_us = now_us() + OWN_END_US;
        manage->end_id = request->id;
        plane_answer(plane, &done);
        return;
    }
    if (supervisor_send(manage, request) < 0) {
        plane_refuse(plane, request->id, "the supervisor takes no requests now; try again");
        return;
    }
    plane->deadline_us = now_us() + SUPERVISOR_ANSWER_US;
}

static void plane_serve(struct manage *manage, struct plane *plane)
{
    Bulkhead__Manage__Request *request = NULL;
    if (plane_receive(plane, &request) != PLANE_REQUEST)
        return;
    request_forward(manage, plane, request);
    bulkhead__manage__request__free_unpacked(request, NULL);
}

static void event_publish(struct manage *manage, const Bulkhead__Manage__Event *event)
{
    size_t octets = bulkhead__manage__event__get_packed_size(event);
    if (octets > sizeof(manage->buffer))
        return;
    bulkhead__manage__event__pack(event, manage->buffer);
    /* cannot fail for want of a subscriber; one who missed it sees the gap in the numbers */
    if (nn_send(manage->events, manage->buffer, octets, NN_DONTWAIT) < 0)
        fprintf(stderr, "bulkhead-manage: events: %s\n", nn_strerror(nn_errno()));
}

static void reply_pass_on(struct manage *manage, const Bulkhead__Manage__Reply *reply)
{
    for (int i = 0; i < PLANE_COUNT; i++)
        if (manage->plane[i].id != 0 && manage->plane[i].id == reply->id) {
            plane_answer(&manage->plane[i], reply);
            return;
        }
}

/* 0: goes on; 1: the supervisor is gone; a negative errno. */
static int supervisor_serve(struct manage *manage)
{
    ssize_t octets = recv(manage->supervisor, manage->buffer, sizeof(manage->buffer), MSG_DONTWAIT | MSG_TRUNC);
    if (octets < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : errno == ECONNRESET ? 1 : -errno;
    if (octets == 0)
        return 1;
    Bulkhead__Manage__ToManage *message = NULL;
    if ((size_t)octets <= sizeof(manage->buffer))
        message = bulkhead__manage__to_manage__unpack(NULL, (size_t)octets, manage->buffer);
    if (message == NULL) {
        fprintf(stderr, "bulkhead-manage: dropped a message of the supervisor (%zd octets)\n", octets);
        return 0;
    }
    if (message->reply != NULL)
        reply_pass_on(manage, message->reply);
    if (message->event != NULL)
        event_publish(manage, message->event);
    bulkhead__manage__to_manage__free_unpacked(message, NULL);
    return 0;
}

/* Answers what is overdue. How long poll may sleep, in ms; -1 for ever. */
static int deadlines_serve(struct manage *manage)
{
    uint64_t now = now_us();
    int wait_ms = -1;
    if (manage->end_id != 0 && now >= manage->end_us)
        own_end_forward(manage);
    else if (manage->end_id != 0)
        wait_ms = (int)((manage->end_us - now) / 1000) + 1;
    for (int i = 0; i < PLANE_COUNT; i++) {
        struct plane *plane = &manage->plane[i];
        if (plane->id == 0)
            continue;
        if (now >= plane->deadline_us) {
            plane_refuse(plane, plane->id, "the supervisor did not answer within 5 s; try again");
            continue;
        }
        int left_ms = (int)((plane->deadline_us - now) / 1000) + 1;
        if (wait_ms < 0 || left_ms < wait_ms)
            wait_ms = left_ms;
    }
    return wait_ms;
}

int manage_run(struct manage *manage)
{
    for (;;) {
        int wait_ms = deadlines_serve(manage);
        struct pollfd fds[1 + PLANE_COUNT] = {{.fd = manage->supervisor, .events = POLLIN}};
        for (int i = 0; i < PLANE_COUNT; i++) /* poll skips a negative descriptor */
            fds[1 + i] =
                (struct pollfd){.fd = manage->plane[i].id == 0 ? manage->plane[i].ready : -1, .events = POLLIN};
        if (poll(fds, 1 + PLANE_COUNT, wait_ms) < 0 && errno != EINTR)
            return -errno;
        if (fds[0].revents != 0) {
            int result = supervisor_serve(manage);
            if (result != 0)
                return result < 0 ? result : 0;
        }
        for (int i = 0; i < PLANE_COUNT; i++)
            if ((fds[1 + i].revents & POLLIN) != 0)
                plane_serve(manage, &manage->plane[i]);
    }
}
