// SPDX-License-Identifier: BSD-2-Clause
/* `bulkhead inject`: faults that are put into a domain for evaluation, and what watches them. Three ways: a signal, as
 * `bulkhead kill` has it; a message, after which the domain misbehaves by itself (servers/domain/fault.c); or a process
 * beside the domains, bulkhead-inject, which traces the victim for a short while and changes its memory or its code
 * (servers/inject, which knows those classes by name). The injector says over its descriptor 3, one datagram each,
 * first octet and then text: 'R' it is in place, 'X' why not, 'E' an event. It is as trusted as the supervisor, whose
 * uid it has; a fault of its own costs the request. Bounded: INJECTORS_MAX at once, one a domain, each ends after its
 * timeout. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/inject.h"
#include "servers/supervisor/supervisor.h"

#define TIMEOUT_MS     2000
#define TIMEOUT_MS_MAX 600000
#define PLACE_OCTETS   1024

static const struct {
    const char *name;
    uint32_t signal;       /* 0: not by a signal */
    enum inject_kind kind; /* INJECT_NONE: not by the domain itself */
} faults[] = {
    {"kill", SIGKILL, INJECT_NONE}, {"segv", SIGSEGV, INJECT_NONE},     {"abort", SIGABRT, INJECT_NONE},
    {"stop", SIGSTOP, INJECT_NONE}, {"loop", 0, INJECT_LOOP},           {"block", 0, INJECT_BLOCK},
    {"slow", 0, INJECT_SLOW},       {"leak", 0, INJECT_LEAK},           {"mute", 0, INJECT_MUTE},
    {"flood", 0, INJECT_FLOOD},     {"exhaust", 0, INJECT_EXHAUST},     {"field", 0, INJECT_FIELD},
    {"drop", 0, INJECT_DROP},       {"duplicate", 0, INJECT_DUPLICATE}, {"reorder", 0, INJECT_REORDER},
    {"replay", 0, INJECT_REPLAY},   {"forge", 0, INJECT_FORGE},         {"lost-bell", 0, INJECT_LOST_BELL},
};
#define FAULTS (sizeof faults / sizeof faults[0])

/* One line in s->inject_error, printable whatever the request says. */
static const char *refuse(struct supervisor *s, const char *format, const char *what)
{
    char copy[100];
    text_copy(copy, sizeof copy, what, strlen(what));
    snprintf(s->inject_error, sizeof s->inject_error, format, copy);
    return s->inject_error;
}

static void answer(struct supervisor *s, uint64_t id, const char *text, const char *error)
{
    Bulkhead__Manage__Reply reply = BULKHEAD__MANAGE__REPLY__INIT;
    reply.id = id;
    reply.text = (char *)(uintptr_t)text;
    reply.error = (char *)(uintptr_t)error;
    manage_reply(s, &reply);
}

static const char *by_signal(struct supervisor *s, const struct domain *d, uint64_t id,
                             const Bulkhead__Manage__Inject *request, uint32_t signo)
{
    Bulkhead__Manage__Kill kill = BULKHEAD__MANAGE__KILL__INIT;
    char text[EVENT_TEXT];
    kill.server = request->server;
    kill.signal = signo;
    event_add(s, "inject", d->name, d->incarnation, NULL, 0, "%s: activated", request->fault);
    char *error = serve_kill(s, &kill);
    if (error != NULL) {
        refuse(s, "%s", error);
        free(error);
        return s->inject_error;
    }
    snprintf(text, sizeof text, "%s: signal %s to '%s'", request->fault, sigabbrev_np((int)signo), d->name);
    answer(s, id, text, "");
    return NULL;
}

/* The server that is meant, when a domain is named: its first. */
static enum server_id server_meant(const struct domain *d, const char *name)
{
    enum server_id id;
    return topology_server_find(name, strlen(name), &id) ? id : (enum server_id)__builtin_ctz(d->servers);
}

static const char *by_domain(struct supervisor *s, struct domain *d, uint64_t id,
                             const Bulkhead__Manage__Inject *request, enum inject_kind kind)
{
    Bulkhead__Control__Fault what = BULKHEAD__CONTROL__FAULT__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    enum server_id server = server_meant(d, request->server), peer = SERVER_COUNT;
    char text[EVENT_TEXT];
    if (request->peer[0] != '\0' && !topology_server_find(request->peer, strlen(request->peer), &peer))
        return refuse(s, "no server named '%s': --peer is one of nic, ip, tcp, udp, socket", request->peer);
    if (peer != SERVER_COUNT && (topology_neighbours(server) & SERVER_BIT(peer)) == 0)
        return refuse(s, "no channel leads to '%s' from there: `bulkhead caps` shows the channels", request->peer);
    what.server = server;
    what.kind = kind;
    what.peer = peer;
    what.seed = request->seed;
    what.count = request->count;
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_FAULT;
    message.fault = &what;
    control_send(s, d, &message, NULL, 0, 0);
    snprintf(text, sizeof text, "%s: %s was told to, peer %s, seed %lu", request->fault, topology_server_name(server),
             peer == SERVER_COUNT ? "any" : topology_server_name(peer), request->seed);
    answer(s, id, text, "");
    return NULL;
}

/* ---- by the injector ---- */

static struct injector *injector_free(struct supervisor *s, const struct domain *d, const char **ret_error)
{
    struct injector *found = NULL;
    *ret_error = "as many injections as may be are on their way: try again when one of them has ended";
    for (uint32_t i = 0; i < INJECTORS_MAX; i++) {
        if (s->injector[i].domain == d) {
            *ret_error = refuse(s, "an injection into '%s' is on its way: wait for its event", d->name);
            return NULL;
        }
        if (s->injector[i].domain == NULL)
            found = &s->injector[i];
    }
    return found;
}

static int injector_spawn(struct supervisor *s, struct injector *at, const struct domain *d,
                          const Bulkhead__Manage__Inject *request, enum server_id server)
{
    char pid[16], seed[24], timeout[16], canary[24];
    uint32_t ms = request->timeout_ms == 0 ? TIMEOUT_MS : request->timeout_ms;
    int pair[2];
    snprintf(pid, sizeof pid, "%d", d->process.pid);
    snprintf(seed, sizeof seed, "%lu", request->seed);
    snprintf(timeout, sizeof timeout, "%u", ms < TIMEOUT_MS_MAX ? ms : TIMEOUT_MS_MAX);
    snprintf(canary, sizeof canary, "%lu", __atomic_load_n(&d->crash->canary, __ATOMIC_RELAXED));
    const char *argument[] = {"bulkhead-inject", pid,    request->fault, seed, topology_server_name(server),
                              timeout,           canary, request->place, NULL};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    int result = spawn_beside(argument, pair[1], &at->process);
    close(pair[1]);
    if (result == 0)
        result = loop_watch(s, pair[0], WATCH_INJECTOR, (uint32_t)(at - s->injector));
    if (result == 0) {
        at->reports = pair[0];
        return 0;
    }
    close(pair[0]);
    if (at->process.pidfd >= 0) {
        char text[32];
        process_signal(&at->process, SIGKILL);
        process_reap(&at->process, text, sizeof text);
    }
    return result;
}

static const char *by_injector(struct supervisor *s, struct domain *d, uint64_t id,
                               const Bulkhead__Manage__Inject *request)
{
    const char *error;
    if (strlen(request->place) > PLACE_OCTETS)
        return "--place is too long";
    struct injector *at = injector_free(s, d, &error);
    if (at == NULL)
        return error;
    *at = (struct injector){.process = {0, -1, false}, .id = id, .incarnation = d->incarnation};
    int result = injector_spawn(s, at, d, request, server_meant(d, request->server));
    if (result < 0)
        return refuse(s, "bulkhead-inject cannot be started: %s", strerror(-result));
    at->domain = d;
    at->golden = strcmp(request->fault, "coverage") == 0;
    return NULL;
}

bool inject_is_on(const struct supervisor *s, uint64_t id)
{
    for (uint32_t i = 0; i < INJECTORS_MAX; i++)
        if (s->injector[i].domain != NULL && s->injector[i].id == id && id != 0)
            return true;
    return false;
}

bool inject_slows(const struct supervisor *s, const struct domain *d)
{
    for (uint32_t i = 0; i < INJECTORS_MAX; i++)
        if (s->injector[i].domain == d && s->injector[i].golden)
            return true;
    return false;
}

const char *inject_start(struct supervisor *s, uint64_t id, const Bulkhead__Manage__Inject *request)
{
    struct domain *d = domain_find(s, request->server);
    if (d == NULL)
        return refuse(s, "no server or domain named '%s': nic, ip, tcp, udp, socket, or what `bulkhead ps` shows",
                      request->server);
    if (d->process.pidfd < 0 || d->state != DOMAIN_RUNNING)
        return refuse(s, "'%s' is being restarted just now: try again", d->name);
    for (size_t i = 0; i < FAULTS; i++) {
        if (strcmp(faults[i].name, request->fault) != 0)
            continue;
        if (request->place[0] != '\0')
            return refuse(s, "'%s' has no place: leave out --place", request->fault);
        return faults[i].signal != 0 ? by_signal(s, d, id, request, faults[i].signal)
                                     : by_domain(s, d, id, request, faults[i].kind);
    }
    return by_injector(s, d, id, request);
}

static void report(struct supervisor *s, struct injector *at, const char *what)
{
    if (what[0] == 'E')
        event_add(s, "inject", at->domain->name, at->incarnation, NULL, 0, "%s", what + 1);
    else if (at->id != 0)
        answer(s, at->id, what[0] == 'X' ? "" : what + 1, what[0] == 'X' ? what + 1 : "");
    at->id = what[0] == 'E' ? at->id : 0;
}

static void injector_end(struct supervisor *s, struct injector *at)
{
    char text[32];
    loop_unwatch(s, at->process.pidfd);
    process_reap(&at->process, text, sizeof text);
    if (at->last_words[0] != '\0')
        report(s, at, at->last_words);
    if (at->id != 0)
        report(s, at, "Xbulkhead-inject ended before it was done: try again");
    at->domain = NULL;
}

/* It says no more: it has ended, or is about to. Its pidfd tells; nobody waits for that here. */
static void injector_silent(struct supervisor *s, struct injector *at)
{
    loop_unwatch(s, at->reports);
    close(at->reports);
    at->reports = -1;
    process_signal(&at->process, SIGKILL);
    if (loop_watch(s, at->process.pidfd, WATCH_INJECTOR, (uint32_t)(at - s->injector)) < 0)
        injector_end(s, at);
}

void inject_ended(struct supervisor *s, uint32_t index)
{
    struct injector *at = &s->injector[index];
    char octets[INJECT_TEXT];
    if (at->reports < 0) {
        injector_end(s, at);
        return;
    }
    ssize_t n = recv(at->reports, octets, sizeof octets, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 1) {
        injector_silent(s, at);
        return;
    }
    text_copy(at->last_words, sizeof at->last_words, octets, (size_t)n);
    if (octets[0] == 'R') { /* all else waits for its end: then it may be followed by another request */
        report(s, at, at->last_words);
        at->last_words[0] = '\0';
    }
}

/* Untrusted: what (domain). It is believed about itself, as often as it may log. */
void inject_struck(struct supervisor *s, struct domain *d, const Bulkhead__Control__Faulted *what)
{
    char text[EVENT_TEXT];
    if (d->logs_left == 0 || what->kind == INJECT_NONE)
        return;
    for (size_t i = 0; i < FAULTS; i++) {
        if ((uint32_t)faults[i].kind != what->kind)
            continue;
        d->logs_left--;
        text_copy(text, sizeof text, what->text, strlen(what->text));
        event_add(s, "inject", d->name, d->incarnation, NULL, 0, "%s: activated: %s", faults[i].name, text);
        return;
    }
}
