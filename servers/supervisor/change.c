// SPDX-License-Identifier: BSD-2-Clause
/* A restart that somebody asked for (`bulkhead restart`), with another program or the same one. The answer is sent when
 * the next life runs, or when it is clear that it does not.
 *
 * Another program: a process of it, the candidate, is started beside the old one. It has to enter its sandbox and to
 * say what its servers need and which state they keep; if that is not what lies in the stores, or anything else is
 * wrong, the candidate ends and the old one has noticed nothing. Else the old one is asked to end, and the candidate
 * gets the grants. A candidate that ends with its grants, before it runs, has lost: the former program goes on from the
 * store.
 *
 * One such restart for each domain at a time. Untrusted: all that a candidate says. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

#define CANDIDATE_US 2000000 /* to be ready in; together less than who asks waits for */
#define RUNS_US      2500000 /* from then on, or from the request, until the next life has to run */
#define EXIT_SPAWN   127     /* of a process that was never executed */

typedef Bulkhead__Control__FromDomain from_domain;

void change_init(struct supervisor *s)
{
    for (uint32_t i = 0; i < SERVER_COUNT; i++)
        s->change[i] = (struct change){.candidate = {.process = {.pidfd = -1}, .control = -1}};
}

void change_reply(struct supervisor *s, uint64_t id, const char *error)
{
    Bulkhead__Manage__Reply reply = BULKHEAD__MANAGE__REPLY__INIT;
    reply.id = id;
    if (error != NULL)
        reply.error = (char *)(uintptr_t)error;
    manage_reply(s, &reply);
}

static void control_end(struct supervisor *s, struct spare *candidate)
{
    if (candidate->control < 0)
        return;
    loop_unwatch(s, candidate->control);
    close(candidate->control);
    candidate->control = -1;
}

/* It ends, if it is there; its pidfd tells when it has. */
static void candidate_end(struct supervisor *s, struct spare *candidate)
{
    candidate->ready = false;
    control_end(s, candidate);
    process_signal(&candidate->process, SIGKILL);
}

static void failed(struct supervisor *s, struct domain *d, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void failed(struct supervisor *s, struct domain *d, const char *format, ...)
{
    struct change *c = &s->change[d->index];
    char why[EVENT_TEXT];
    va_list values;
    va_start(values, format);
    vsnprintf(why, sizeof why, format, values);
    va_end(values);
    event_add(s, "restart", d->name, d->incarnation, NULL, 0, "%s", why);
    candidate_end(s, &c->candidate);
    change_reply(s, c->id, why);
    c->id = 0;
}

/* ---- the beginning ---- */

/* Untrusted: path (who manages the stack). NULL, or what is wrong. */
static const char *program_check(const char *path)
{
    struct stat st;
    if (path[0] != '/' || strlen(path) >= OPTIONS_PATH)
        return "binary: give an absolute path of at most 255 octets";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? "binary: there is no such file" : "binary: the supervisor may not read it";
    bool runs = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111) != 0;
    bool raises = (st.st_mode & (S_ISUID | S_ISGID)) != 0; /* where there are no user namespaces it would */
    close(fd);
    if (runs && raises)
        return "binary: a set-uid or set-gid program is no domain";
    return runs ? NULL : "binary: not an executable file: chmod 755 it, or name another";
}

static const char *candidate_start(struct supervisor *s, struct domain *d, const char *program)
{
    struct change *c = &s->change[d->index];
    struct domain as = *d;
    snprintf(as.program, sizeof as.program, "%s", program);
    snprintf(c->program, sizeof c->program, "%s", program);
    c->candidate = (struct spare){.process = {.pidfd = -1}, .control = -1};
    c->said[0] = '\0';
    int result = domain_process_start(s, &as, WATCH_CANDIDATE, WATCH_CANDIDATE_CONTROL, &c->candidate);
    if (result == 0)
        return NULL;
    char how[32];
    control_end(s, &c->candidate);
    process_signal(&c->candidate.process, SIGKILL);
    if (c->candidate.process.pidfd >= 0)
        process_reap(&c->candidate.process, how, sizeof how);
    return "binary: no process of it can be started now";
}

const char *change_start(struct supervisor *s, struct domain *d, uint64_t id, const char *program)
{
    struct change *c = &s->change[d->index];
    const char *error = NULL;
    if (c->id != 0 || c->candidate.process.pidfd >= 0)
        return "it is being restarted already: wait for that";
    if (repartition_is_on(s))
        return "the stack is being repartitioned: wait for that";
    if (program[0] == '\0' && d->process.pidfd < 0)
        return "it is being restarted just now: wait for that";
    if (program[0] != '\0')
        error = program_check(program);
    if (error == NULL && program[0] != '\0')
        error = candidate_start(s, d, program);
    if (error != NULL)
        return error;
    c->id = id;
    c->incarnation = 0;
    c->deadline_us = now_us() + (program[0] != '\0' ? CANDIDATE_US : RUNS_US);
    event_add(s, "restart", d->name, d->incarnation, NULL, 0, "as asked%s%s", program[0] != '\0' ? ", with " : "",
              program);
    if (program[0] == '\0') {
        c->program[0] = '\0';
        c->incarnation = d->incarnation + 1;
        domain_restart(s, d);
    }
    return NULL;
}

bool change_is_on(const struct supervisor *s, uint64_t id)
{
    for (uint32_t i = 0; i < SERVER_COUNT; i++)
        if (s->change[i].id != 0 && (id == 0 || s->change[i].id == id))
            return true;
    return false;
}

/* ---- the candidate ---- */

/* The first server of the domain whose store it cannot go on from; SERVER_COUNT: none. */
static unsigned misfit(const struct supervisor *s, const struct domain *d, const struct spare *candidate)
{
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        const struct server_memory *m = &s->server[id];
        const struct server_needs *needs = &candidate->needs[id];
        if ((d->servers & SERVER_BIT(id)) != 0 && m->store >= 0 &&
            (needs->store_version != m->store_version || needs->store_octets > m->store_octets))
            return id;
    }
    return SERVER_COUNT;
}

/* It is sandboxed and fits: now the old one ends. */
static void candidate_ready(struct supervisor *s, struct domain *d)
{
    struct change *c = &s->change[d->index];
    unsigned id = misfit(s, d, &c->candidate);
    if (id < SERVER_COUNT) {
        failed(s, d, "binary: it keeps the state of %s as version %u, and there is version %u: it cannot go on from it",
               topology_server_name((enum server_id)id), c->candidate.needs[id].store_version,
               s->server[id].store_version);
        return;
    }
    c->candidate.ready = true;
    process_hold(&c->candidate.process);
    c->deadline_us = now_us() + RUNS_US;
    c->incarnation = d->incarnation + 1;
    if (d->process.pidfd >= 0) {
        domain_restart(s, d);
        return;
    }
    domain_spawn(s, d); /* it was between two lives */
    barrier_advance(s);
}

static void candidate_ended(struct supervisor *s, struct domain *d)
{
    char how[48];
    struct change *c = &s->change[d->index];
    bool waited_for = c->id != 0 && c->candidate.control >= 0;
    loop_unwatch(s, c->candidate.process.pidfd);
    process_reap(&c->candidate.process, how, sizeof how);
    control_end(s, &c->candidate);
    c->candidate.ready = false;
    if (!waited_for)
        return;
    char never[24];
    snprintf(never, sizeof never, "exit status %d", EXIT_SPAWN);
    if (strcmp(how, never) == 0)
        failed(s, d, "binary: it cannot be executed: no program for this machine, or not for others than its owner");
    else
        failed(s, d, "binary: it ended before it was ready: %s%s%.80s", how, c->said[0] != '\0' ? ", " : "", c->said);
}

static void candidate_said(struct supervisor *s, struct domain *d)
{
    uint8_t octets[CONTROL_OCTETS_MAX];
    struct change *c = &s->change[d->index];
    ssize_t n = recv(c->candidate.control, octets, sizeof octets, MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { /* it is dying: its pidfd tells */
        loop_unwatch(s, c->candidate.control);
        process_signal(&c->candidate.process, SIGKILL);
        return;
    }
    from_domain *m =
        (size_t)n <= sizeof octets ? bulkhead__control__from_domain__unpack(NULL, (size_t)n, octets) : NULL;
    if (m != NULL && m->what_case == BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_LOG)
        text_copy(c->said, sizeof c->said, m->log->text, strlen(m->log->text));
    else if (m != NULL && m->what_case == BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_STANDBY && !c->candidate.ready &&
             control_standby_read(d, m->standby, c->candidate.needs))
        candidate_ready(s, d);
    else
        failed(s, d, "binary: what it says makes no sense: it is no bulkhead-domain of this version");
    if (m != NULL)
        bulkhead__control__from_domain__free_unpacked(m, NULL);
}

void change_event(struct supervisor *s, uint32_t index, enum watch what)
{
    if (what == WATCH_CANDIDATE)
        candidate_ended(s, &s->domain[index]);
    else if (s->change[index].candidate.control >= 0)
        candidate_said(s, &s->domain[index]);
}

bool change_take(struct supervisor *s, struct domain *d)
{
    struct change *c = &s->change[d->index];
    if (!c->candidate.ready || c->candidate.control < 0 || s->stopping)
        return false;
    domain_process_take(s, d, &c->candidate);
    memcpy(c->former, d->program, sizeof c->former);
    memcpy(d->program, c->program, sizeof d->program);
    standby_end(s, d); /* the next one is of this program */
    return true;
}

/* ---- the end ---- */

void change_ready(struct supervisor *s, const struct domain *d)
{
    struct change *c = &s->change[d->index];
    if (c->id == 0 || c->incarnation == 0 || d->incarnation < c->incarnation)
        return;
    change_reply(s, c->id, NULL);
    c->id = 0;
}

void change_died(struct supervisor *s, struct domain *d, const char *how)
{
    struct change *c = &s->change[d->index];
    if (c->id == 0 || c->incarnation == 0 || d->incarnation < c->incarnation)
        return;
    if (c->program[0] == '\0') {
        failed(s, d, "its next life ended before it ran (%s): the one after that is on its way", how);
        return;
    }
    memcpy(d->program, c->former, sizeof d->program);
    standby_end(s, d);
    failed(s, d, "binary: it ended before it ran (%s%s%.60s): the former program goes on", how,
           d->last_words[0] != '\0' ? ", " : "", d->last_words);
}

void change_deadlines(struct supervisor *s, uint64_t now)
{
    for (uint32_t i = 0; i < s->domain_count; i++) {
        const struct change *c = &s->change[i];
        if (c->id == 0 || now < c->deadline_us)
            continue;
        if (c->incarnation == 0)
            failed(s, &s->domain[i], "binary: it is not ready after %u ms", CANDIDATE_US / 1000);
        else
            failed(s, &s->domain[i], "its next life does not run after %u ms: `bulkhead events` says more",
                   RUNS_US / 1000);
    }
}

uint64_t change_deadline(const struct supervisor *s)
{
    uint64_t least = 0;
    for (uint32_t i = 0; i < s->domain_count; i++)
        if (s->change[i].id != 0 && (least == 0 || s->change[i].deadline_us < least))
            least = s->change[i].deadline_us;
    return least;
}

bool change_stop(struct supervisor *s)
{
    bool any = false;
    for (uint32_t i = 0; i < SERVER_COUNT; i++) {
        any = any || s->change[i].candidate.process.pidfd >= 0;
        candidate_end(s, &s->change[i].candidate);
    }
    return any;
}
