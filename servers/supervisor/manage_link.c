// SPDX-License-Identifier: BSD-2-Clause
/* The link to the manage server, which talks nanomsg to the world so that nobody else has to. It is a domain that
 * carries no packet: when it dies it is started again and clients ask once more. What it does not take at once is
 * dropped: events are numbered and kept, requests are repeated. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

#define REQUEST_OCTETS 4096
#define REPLY_OCTETS   (128U << 10)
#define REPLY_BUFFER   (512 << 10)
#define SHORT_LIFE_US  1000000
#define RETRY_US       500000
#define SIGNALS_MAX    31

static void link_send(struct supervisor *s, const Bulkhead__Manage__ToManage *message)
{
    size_t size = bulkhead__manage__to_manage__get_packed_size(message);
    uint8_t *octets = s->manage_link >= 0 && size <= REPLY_OCTETS ? malloc(size) : NULL;
    if (octets != NULL)
        bulkhead__manage__to_manage__pack(message, octets);
    if (octets == NULL || send(s->manage_link, octets, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        s->manage_dropped++;
    free(octets);
}

/* CHANGES_KEPT: none. */
static unsigned change_of(const struct supervisor *s, uint64_t id)
{
    unsigned i = 0;
    while (i < CHANGES_KEPT && (id == 0 || s->changes[i].id != id))
        i++;
    return i;
}

void manage_reply(struct supervisor *s, Bulkhead__Manage__Reply *reply)
{
    unsigned change = change_of(s, reply->id);
    if (change < CHANGES_KEPT && reply->error != NULL) /* for who asks again because this one is lost */
        text_copy(s->changes[change].error, sizeof s->changes[change].error, reply->error, strlen(reply->error));
    Bulkhead__Manage__ToManage message = BULKHEAD__MANAGE__TO_MANAGE__INIT;
    message.reply = reply;
    link_send(s, &message);
}

void manage_send_event(struct supervisor *s, const struct event *event)
{
    Bulkhead__Manage__ToManage message = BULKHEAD__MANAGE__TO_MANAGE__INIT;
    Bulkhead__Manage__Event what = BULKHEAD__MANAGE__EVENT__INIT;
    message.event = &what;
    what.number = event->number;
    what.time_us = event->time_us;
    what.kind = (char *)event->kind;
    what.subject = (char *)event->subject;
    what.incarnation = event->incarnation;
    what.text = (char *)event->text;
    what.n_span_us = event->spans;
    what.span_us = (uint64_t *)event->span_us;
    link_send(s, &message);
}

void manage_start(struct supervisor *s)
{
    int pair[2], size = REPLY_BUFFER;
    s->manage_retry_us = now_us() + RETRY_US;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    if (setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    struct spawn_request request = {
        .program = "bulkhead-manage", .argument = s->options.run_dir, .control = pair[1], .uid = geteuid(), .cpu = -1};
    int result = spawn_process(&request, &s->manage);
    close(pair[1]);
    s->manage_since_us = now_us();
    if (result < 0 || loop_watch(s, s->manage.pidfd, WATCH_MANAGE_PROCESS, 0) < 0 ||
        loop_watch(s, pair[0], WATCH_MANAGE, 0) < 0) {
        char text[32];
        close(pair[0]);
        process_signal(&s->manage, SIGKILL);
        if (s->manage.pidfd >= 0)
            process_reap(&s->manage, text, sizeof text);
        event_add(s, "failed", "manage", 0, NULL, 0, "cannot be started: %s", strerror(result < 0 ? -result : ENOMEM));
        return;
    }
    s->manage_link = pair[0];
}

void manage_close(struct supervisor *s)
{
    if (s->manage_link < 0)
        return;
    loop_unwatch(s, s->manage_link);
    close(s->manage_link);
    s->manage_link = -1;
}

void manage_died(struct supervisor *s)
{
    char how[48];
    uint64_t now = now_us();
    loop_unwatch(s, s->manage.pidfd);
    process_reap(&s->manage, how, sizeof how);
    manage_close(s);
    if (s->stopping)
        return;
    s->manage_retry_us = now + (now - s->manage_since_us < SHORT_LIFE_US ? RETRY_US : 0);
    event_add(s, "died", "manage", 0, NULL, 0, "%s", how);
    if (s->manage_retry_us <= now)
        manage_start(s);
}

/* ---- requests ---- */

struct domain *domain_find(struct supervisor *s, const char *name)
{
    enum server_id id;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (strcmp(s->domain[i].name, name) == 0)
            return &s->domain[i];
    }
    return topology_server_find(name, strlen(name), &id) ? s->server[id].domain : NULL;
}

static char *reply_error(const char *format, const char *what)
{
    char line[EVENT_TEXT], copy[64];
    text_copy(copy, sizeof copy, what, strlen(what));
    snprintf(line, sizeof line, format, copy);
    return strdup(line);
}

static char *unknown(const char *name)
{
    return reply_error("no server or domain named '%s': nic, ip, tcp, udp, socket, or what `bulkhead ps` shows", name);
}

char *serve_kill(struct supervisor *s, const Bulkhead__Manage__Kill *request)
{
    if (request->signal == 0 || request->signal > SIGNALS_MAX)
        return strdup("signal: give a number from 1 to 31");
    int signo = (int)request->signal;
    if (strcmp(request->server, "manage") == 0) {
        process_signal(&s->manage, SIGKILL);
        return NULL;
    }
    struct domain *d = domain_find(s, request->server);
    if (d == NULL)
        return unknown(request->server);
    if (d->process.pidfd < 0 || !domain_lives(d))
        return reply_error("'%s' is being restarted just now: try again", d->name);
    event_add(s, "kill", d->name, d->incarnation, NULL, 0, "signal %s, as asked", sigabbrev_np(signo));
    if (signo == SIGKILL) {
        domain_kill(d, FAULT_KILL);
    } else if (signo == SIGSTOP || signo == SIGCONT) {
        process_signal(&d->process, signo);
        d->kill_us = signo == SIGSTOP ? now_us() : 0;
    } else {
        Bulkhead__Control__Raise what = BULKHEAD__CONTROL__RAISE__INIT;
        to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
        message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_RAISE;
        message.raise = &what;
        what.signal = request->signal;
        d->kill_us = now_us();
        d->fault = FAULT_KILL;
        control_send(s, d, &message, NULL, 0, 0);
    }
    return NULL;
}

/* NULL: the answer comes later. */
static char *serve_restart(struct supervisor *s, uint64_t id, const Bulkhead__Manage__Restart *request)
{
    struct domain *d = domain_find(s, request->server);
    if (d == NULL)
        return unknown(request->server);
    const char *error = change_start(s, d, id, request->binary);
    return error != NULL ? strdup(error) : NULL;
}

static char *serve_revoke(struct supervisor *s, const Bulkhead__Manage__Revoke *request)
{
    const char *error = rights_revoke(s, request->id);
    return error != NULL ? strdup(error) : NULL;
}

/* A client that got no answer, because the manage server died meanwhile, asks again with the same id: done is done, and what was
 * refused stays refused. False: it is a new one. True: *ret_error is NULL or a copy of what was said. */
static bool done_before(struct supervisor *s, uint64_t id, char **ret_error)
{
    unsigned i = change_of(s, id);
    if (i < CHANGES_KEPT) {
        *ret_error = s->changes[i].error[0] != '\0' ? strdup(s->changes[i].error) : NULL;
        return true;
    }
    i = (unsigned)(s->change_count++ % CHANGES_KEPT);
    s->changes[i].id = id;
    s->changes[i].error[0] = '\0';
    return false;
}

/* False: the answer comes later. */
static bool serve(struct supervisor *s, const Bulkhead__Manage__Request *request, Bulkhead__Manage__Reply *reply)
{
    char *error = NULL;
    const char *refusal;
    switch (request->what_case) {
    case BULKHEAD__MANAGE__REQUEST__WHAT_PS:
        status_ps(s, reply);
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_STAT:
        status_stat(s, reply);
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_EVENTS:
        status_events(s, request->events->number, request->events->limit, reply);
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_KILL:
        if (!done_before(s, request->id, &error))
            error = serve_kill(s, request->kill);
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_RESTART:
        if (request->id != 0 && change_is_on(s, request->id))
            return false;
        if (done_before(s, request->id, &error))
            break;
        error = serve_restart(s, request->id, request->restart);
        if (error == NULL)
            return false;
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_REPARTITION:
        if (repartition_is_on(s) && s->repartition.id == request->id)
            return false;
        if (done_before(s, request->id, &error))
            break;
        refusal = repartition_start(s, request->id, request->repartition->partition);
        if (refusal == NULL)
            return false;
        error = strdup(refusal);
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_CAPS:
        status_caps(s, request->caps->skip, reply);
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_REVOKE:
        if (!done_before(s, request->id, &error))
            error = serve_revoke(s, request->revoke);
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_DOWN:
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_AUDIT:
        refusal = audit_start(s, request->id);
        if (refusal == NULL)
            return false;
        error = strdup(refusal);
        break;
    case BULKHEAD__MANAGE__REQUEST__WHAT_INJECT:
        if (inject_is_on(s, request->id))
            return false;
        if (done_before(s, request->id, &error))
            break;
        refusal = inject_start(s, request->id, request->inject);
        if (refusal == NULL)
            return false;
        error = strdup(refusal);
        break;
    default:
        error = strdup("this request is not known here");
    }
    if (error != NULL)
        reply->error = error;
    return true;
}

void manage_receive(struct supervisor *s)
{
    uint8_t octets[REQUEST_OCTETS];
    ssize_t n = recv(s->manage_link, octets, sizeof octets, MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        process_signal(&s->manage, SIGKILL);
        manage_close(s);
        return;
    }
    Bulkhead__Manage__Request *request =
        (size_t)n <= sizeof octets ? bulkhead__manage__request__unpack(NULL, (size_t)n, octets) : NULL;
    Bulkhead__Manage__Reply *reply = malloc(sizeof *reply);
    if (request != NULL && reply != NULL) {
        bulkhead__manage__reply__init(reply);
        reply->id = request->id;
        if (serve(s, request, reply))
            manage_reply(s, reply);
        if (request->what_case == BULKHEAD__MANAGE__REQUEST__WHAT_DOWN)
            supervisor_stop(s);
        bulkhead__manage__reply__free_unpacked(reply, NULL);
        reply = NULL;
    }
    free(reply);
    if (request != NULL)
        bulkhead__manage__request__free_unpacked(request, NULL);
}
