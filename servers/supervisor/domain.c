// SPDX-License-Identifier: BSD-2-Clause
/* The lives of a domain: DOWN -> SPAWNED (told what to become) -> STANDBY (sandboxed) -> GRANTED -> RUNNING -> dead ->
 * ... The next process is spawned as soon as the last one is dead for certain; it waits in STANDBY until the barrier is
 * done. A death without a healthy interval before it counts; after UNHEALTHY_FREE of them in a row the next start
 * waits, longer each time. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"

#define SEND_BUFFER (1 << 20) /* most grants go out without waiting */

static int become(const struct domain *d, int control)
{
    Bulkhead__Control__Become what = BULKHEAD__CONTROL__BECOME__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    uint32_t servers[SERVER_COUNT];
    what.name = (char *)d->name;
    what.servers = servers;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        if ((d->servers & SERVER_BIT(id)) != 0)
            servers[what.n_servers++] = id;
    }
    what.filter_fd = 0;
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_BECOME;
    message.become = &what;
    return control_send_first(control, &message, d->filter_fd);
}

uint64_t domain_backoff_us(const struct domain *d)
{
    uint32_t failed = d->unhealthy > UNHEALTHY_FREE ? d->unhealthy - UNHEALTHY_FREE : 0;
    uint32_t steps = failed > d->churn ? failed : d->churn;
    if (steps == 0)
        return 0;
    uint32_t doublings = steps - 1;
    uint64_t us = doublings < 16 ? (uint64_t)BACKOFF_FIRST_US << doublings : BACKOFF_LAST_US;
    return us < BACKOFF_LAST_US ? us : BACKOFF_LAST_US;
}

static void retry_later(struct supervisor *s, struct domain *d)
{
    uint64_t wait = domain_backoff_us(d);
    d->state = DOMAIN_DOWN;
    d->retry_us = now_us() + wait;
    s->health.restarts_waited += wait > 0;
    if (wait > 0 && d->unhealthy > UNHEALTHY_FREE)
        event_add(s, "backoff", d->name, d->incarnation, &wait, 1, "%u failed starts in a row: waits %lu ms",
                  d->unhealthy, wait / 1000);
    else if (wait > 0)
        event_add(s, "backoff", d->name, d->incarnation, &wait, 1,
                  "died again and again, more than %d times in %d s: waits %lu ms", CHURN_DEATHS, CHURN_US / 1000000,
                  wait / 1000);
}

/* Each of its lives is healthy, and short. `counted`: it died of something of its own. */
static void churn_note(struct domain *d, bool counted)
{
    if (d->state == DOMAIN_RUNNING && d->noticed_us - d->ready_us >= CHURN_US)
        d->churn = d->churn_deaths = 0;
    if (!counted)
        return;
    if (d->churn_deaths == 0 || d->noticed_us - d->churn_since_us > CHURN_US) {
        d->churn_since_us = d->noticed_us;
        d->churn_deaths = 0;
    }
    d->churn_deaths++;
    if (d->churn > 0 || d->churn_deaths > CHURN_DEATHS)
        d->churn++;
}

int domain_process_start(struct supervisor *s, const struct domain *d, enum watch process, enum watch control,
                         struct spare *ret)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    int size = SEND_BUFFER;
    if (setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    struct stat st;
    if (fstat(pair[1], &st) == 0)
        ret->control_file = (struct file_identity){st.st_dev, st.st_ino};
    struct spawn_request request = {.program = d->program[0] != '\0' ? d->program : "bulkhead-domain",
                                    .control = pair[1],
                                    .uid = d->uid,
                                    .cpu = d->cpu,
                                    .settles = true,
                                    .buried = &s->buried};
    int result = spawn_process(&request, &ret->process);
    close(pair[1]);
    ret->control = pair[0];
    if (result == 0)
        result = loop_watch(s, ret->process.pidfd, process, d->index);
    if (result == 0)
        result = loop_watch(s, ret->control, control, d->index);
    return result == 0 ? become(d, ret->control) : result;
}

void domain_needs(struct supervisor *s, const struct domain *d, const struct server_needs needs[SERVER_COUNT])
{
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        struct server_memory *m = &s->server[id];
        if ((d->servers & SERVER_BIT(id)) == 0)
            continue;
        bool fits = needs[id].store_version == m->store_version && needs[id].store_octets <= m->store_octets;
        if (m->store >= 0 && !fits && memory_forget_stores(s, SERVER_BIT(id)))
            event_add(s, "cold", topology_server_name((enum server_id)id), d->incarnation, NULL, 0,
                      "its program keeps another state (version %u, not %u): it starts with an empty store",
                      needs[id].store_version, m->store_version);
        m->pool_octets = needs[id].pool_octets;
        if (m->store >= 0) /* the store is there for good */
            continue;
        m->store_octets = needs[id].store_octets;
        m->store_version = needs[id].store_version;
    }
}

void domain_process_take(struct supervisor *s, struct domain *d, struct spare *from)
{
    d->process = from->process;
    d->last_pid = d->process.pid;
    d->control = from->control;
    d->control_file = from->control_file;
    loop_watch_output(s, d->process.pidfd, WATCH_PROCESS, d->index, false);
    loop_watch_output(s, d->control, WATCH_CONTROL, d->index, false);
    from->process = (struct process){.pidfd = -1};
    from->control = -1;
    from->ready = false;
    domain_needs(s, d, from->needs);
}

void domain_spawn(struct supervisor *s, struct domain *d)
{
    d->incarnation++;
    d->fault = FAULT_NONE;
    d->known = d->losing = d->accusations = d->late = 0;
    d->ack_epoch = d->attach_epoch = d->kill_us = 0;
    d->start_waits = false;
    d->last_words[0] = '\0';
    if (change_take(s, d) || standby_take(s, d)) {
        d->spawned_us = now_us();
        domain_standby(s, d);
        return;
    }
    struct spare started = {.process = {.pidfd = -1}, .control = -1};
    d->state = DOMAIN_SPAWNED;
    d->deadline_us = now_us() + START_US;
    int result = domain_process_start(s, d, WATCH_PROCESS, WATCH_CONTROL, &started);
    d->spawned_us = now_us();
    d->process = started.process;
    d->last_pid = d->process.pid;
    d->control = started.control;
    d->control_file = started.control_file;
    if (result == 0)
        return;
    event_add(s, "failed", d->name, d->incarnation, NULL, 0, "cannot be started: %s", strerror(-result));
    snprintf(d->last_words, sizeof d->last_words, "cannot be started: %s", strerror(-result));
    if (d->process.pidfd >= 0) {
        domain_kill(d, FAULT_START); /* its pidfd may not be watched: collect it here */
        char text[32];
        process_reap(&d->process, text, sizeof text);
    }
    control_close(s, d);
    d->program[0] = '\0'; /* if that is why: the one beside us is there */
    d->unhealthy++;
    retry_later(s, d);
}

void domain_kill(struct domain *d, enum domain_fault fault)
{
    if (d->process.pidfd < 0)
        return;
    if (d->fault == FAULT_NONE)
        d->fault = fault;
    if (d->kill_us == 0 && fault != FAULT_NONE) /* else it is dying already, nobody knows since when */
        d->kill_us = now_us();
    process_signal(&d->process, SIGKILL);
}

void domain_restart(struct supervisor *s, struct domain *d)
{
    Bulkhead__Control__Stop stop = BULKHEAD__CONTROL__STOP__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    if (!domain_lives(d)) {
        domain_kill(d, FAULT_PLANNED);
        return;
    }
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP;
    message.stop = &stop;
    d->fault = FAULT_PLANNED;
    d->kill_us = now_us();
    d->deadline_us = d->kill_us + RESTART_US;
    control_send(s, d, &message, NULL, 0, 0);
}

static bool was_healthy(const struct domain *d)
{
    uint64_t bursts = __atomic_load_n(&d->status->bursts, __ATOMIC_RELAXED);
    return d->state == DOMAIN_RUNNING && d->noticed_us - d->ready_us >= HEALTHY_US &&
           bursts - d->started_bursts >= HEALTHY_BURSTS;
}

/* The dead one's words in shared memory: nobody is to believe that it sleeps, or is awake, for good. */
static void status_clear(const struct slot *slot)
{
    uint32_t word = __atomic_load_n(&slot->status->sleep, __ATOMIC_RELAXED);
    void *memory; /* writable only now: the page has one writer at any time */
    if ((word & 1) == 0 || segment_map(slot->status_fd, sizeof(struct status_page), true, &memory) < 0)
        return;
    struct status_page *status = memory;
    __atomic_store_n(&status->sleep, word + 1, __ATOMIC_RELAXED);
    segment_unmap(memory, sizeof(struct status_page));
}

static void died_event(struct supervisor *s, const struct domain *d, const char *how)
{
    static const char *const faults[] = {
        [FAULT_NONE] = "",
        [FAULT_PLANNED] = ", as asked",
        [FAULT_KILL] = ", as asked",
        [FAULT_LOOP] = ": hangs: it loops",
        [FAULT_HUNG] = ": hangs: it stands still",
        [FAULT_START] = ": did not get ready in time, killed",
        [FAULT_PROTOCOL] = ": killed for a lie",
        [FAULT_ACCUSED] = ": killed for what a neighbour calls a lie",
        [FAULT_UNSERVED] = ": killed because it serves nobody",
        [FAULT_GRANT] = ": killed",
        [FAULT_STACK] = ": all start anew",
    };
    uint64_t span = d->kill_us != 0 ? d->noticed_us - d->kill_us : 0;
    char text[128];
    bool hangs = d->fault == FAULT_LOOP || d->fault == FAULT_HUNG;
    if (hangs && d->silent_us > 0)
        snprintf(text, sizeof text, "%s%s, silent for %lu ms, killed", how, faults[d->fault], d->silent_us / 1000);
    else
        snprintf(text, sizeof text, "%s%s", how, hangs ? ": hangs: does not answer, killed" : faults[d->fault]);
    bool noted = !s->stopping && d->fault != FAULT_PLANNED && d->fault != FAULT_STACK;
    if (noted)
        crash_note(s, d, text);
    event_add(s, "died", d->name, d->incarnation, &span, d->kill_us != 0 ? 1 : 0, "%s%s%s%s%.60s", text,
              noted ? "; report: " : "", noted ? s->crash.file : "",
              d->last_words[0] != '\0' ? "; its last words: " : "", d->last_words);
}

static void died(struct supervisor *s, struct domain *d)
{
    char how[48];
    d->noticed_us = now_us();
    loop_unwatch(s, d->process.pidfd);
    int signo = process_bury(&d->process, &s->buried, how, sizeof how);
    health_died(s, d, signo);
    bool healthy = was_healthy(d) || d->fault == FAULT_PLANNED;
    /* who kills on purpose shall see what the stack does, not the back-off; nor is one to blame for another's failed starts, or
     * for what a neighbour says */
    bool killed = signo == SIGKILL && d->fault == FAULT_NONE; /* from outside: says nothing of it or its store */
    bool counted = !killed && d->fault != FAULT_KILL && d->fault != FAULT_STACK && d->fault != FAULT_ACCUSED &&
                   d->fault != FAULT_UNSERVED;
    d->unhealthy = healthy ? 0 : d->unhealthy + counted;
    churn_note(d, counted && d->fault != FAULT_PLANNED);
    d->state = DOMAIN_DOWN;
    d->ack_epoch = d->attach_epoch = d->deadline_us = d->revoke_deadline_us = 0;
    control_receive(s, d); /* its last words may wait */
    control_close(s, d);
    died_event(s, d, how);
    d->died_kill_us = d->kill_us;
    s->deaths++;
    for (uint32_t left = layout_slots(d->servers); left != 0; left &= left - 1)
        status_clear(&s->slot[__builtin_ctz(left)]);
    rights_died(s, d);
    session_forget_domain(s, d);
    if (s->stopping)
        return;
    change_died(s, d, how);
    if (repartition_died(s, d, how))
        return;
    if (!s->started && d->unhealthy > UNHEALTHY_FREE) {
        fprintf(stderr, "bulkhead: domain %s does not start: %s%s%s\n", d->name, how,
                d->last_words[0] != '\0' ? ": " : "", d->last_words);
        s->failed = true;
        supervisor_stop(s);
        return;
    }
    if (!healthy && counted)
        health_escalate(s, d);
    d->recovery = health_recovery(s, d);
    if (domain_backoff_us(d) > 0)
        retry_later(s, d);
    else
        domain_spawn(s, d);
    barrier_advance(s);
}

void domain_died(struct supervisor *s, struct domain *d)
{
    died(s, d);
    if (!supervisor_holds(s))
        crash_write(s);
}

void domain_standby(struct supervisor *s, struct domain *d)
{
    d->state = DOMAIN_STANDBY;
    d->standby_us = now_us();
    d->deadline_us = 0;
    barrier_advance(s);
}

static double ms(uint64_t from_us, uint64_t to_us)
{
    return to_us > from_us ? (double)(to_us - from_us) / 1000 : 0;
}

static void restored_event(struct supervisor *s, const struct domain *d)
{
    uint64_t span[EVENT_SPANS] = {d->died_kill_us != 0 ? d->noticed_us - d->died_kill_us : 0,
                                  d->standby_us - d->noticed_us, d->granted_us - d->noticed_us,
                                  d->ready_us - d->noticed_us};
    char noticed[48] = "";
    if (d->died_kill_us != 0)
        snprintf(noticed, sizeof noticed, "noticed %.2f ms after the kill; ", ms(d->died_kill_us, d->noticed_us));
    event_add(s, "restored", d->name, d->incarnation, span, EVENT_SPANS,
              "%sfrom the notice on: next process waits %.2f ms, everyone let go %.2f ms, runs %.2f ms; recovery %s",
              noticed, ms(d->noticed_us, d->standby_us), ms(d->noticed_us, d->granted_us),
              ms(d->noticed_us, d->ready_us), d->recovery != NULL ? d->recovery : "none");
}

static void all_started(struct supervisor *s)
{
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (s->domain[i].state != DOMAIN_RUNNING)
            return;
    }
    s->started = true;
    uint64_t span = now_us() - s->start_us;
    event_add(s, "started", s->options.partition.text, 1, &span, 1, "all domains run after %.2f ms",
              (double)span / 1000);
    if (s->options.ready_fd >= 0) {
        ssize_t n = write(s->options.ready_fd, "r", 1);
        (void)n; /* who asked for it may be gone */
        close(s->options.ready_fd);
        s->options.ready_fd = -1;
    }
}

void domain_ready(struct supervisor *s, struct domain *d)
{
    d->state = DOMAIN_RUNNING;
    d->ready_us = now_us();
    d->deadline_us = 0;
    liveness_start(&d->liveness, __atomic_load_n(&d->status->liveness, __ATOMIC_RELAXED));
    d->started_bursts = __atomic_load_n(&d->status->bursts, __ATOMIC_RELAXED);
    d->unplaced = d->cpu >= 0;
    process_hold(&d->process);
    if (d->noticed_us != 0)
        restored_event(s, d);
    session_domain_ready(s, d);
    standby_make(s, d);
    change_ready(s, d);
    repartition_ready(s);
    if (!s->started)
        all_started(s);
}

void domain_settle(struct domain *d)
{
    process_place(&d->process, d->cpu);
    d->unplaced = false;
}

/* Untrusted: epoch (domain); it counts for what was asked with it. What it has given back is gone before anybody goes on
 * because of it. */
void domain_acknowledged(struct supervisor *s, struct domain *d, uint64_t epoch)
{
    d->late = 0;
    rights_acknowledged(s, d, epoch);
    barrier_acknowledged(s, d, epoch);
    session_acknowledged(s, d, epoch);
}

void domain_tick(struct supervisor *s, struct domain *d)
{
    d->logs_left = LOGS_A_TICK;
    if (d->fault == FAULT_KILL && d->state == DOMAIN_RUNNING && now_us() - d->kill_us >= SURVIVED_US) {
        d->fault = FAULT_NONE; /* that signal is not one that it dies of: what comes is its own doing again */
        d->kill_us = 0;
    }
    if (inject_slows(s, d))
        d->liveness = (struct liveness){0}; /* it waits for its tracer: no hang */
}

/* How to learn whether it could have done what it has not. */
static liveness_visit *visit_of(const struct domain *d)
{
    if (liveness_busy(&d->liveness, process_cpu_us(d->process.pid)))
        return cpu_is_given;
    return liveness_starves(&d->liveness, d->process.pid, now_us()) ? cpu_is_withheld : cpu_visit;
}

void domain_watch(struct supervisor *s, struct domain *d)
{
    uint64_t counter = __atomic_load_n(&d->status->liveness, __ATOMIC_RELAXED);
    if (d->state != DOMAIN_RUNNING || counter != d->liveness.counter || d->liveness.moved_us == 0) {
        liveness_start(&d->liveness, counter);
        d->liveness.moved_us = now_us();
        d->liveness.cpu_us = process_cpu_us(d->process.pid);
    } else if (liveness_tick(&d->liveness, counter, (uint32_t)(health_hang_us(s) / health_tick_us(s)), d->cpu,
                             visit_of(d))) {
        health_hangs(s, d);
    }
}

void domain_is_late(struct supervisor *s, struct domain *d)
{
    liveness_visit *visit = visit_of(d);
    bool silent = __atomic_load_n(&d->status->liveness, __ATOMIC_RELAXED) == d->liveness.counter;
    if (silent && visit == cpu_is_withheld)
        return; /* who moves, but does not answer, has its turns */
    if (d->late < LATE_MAX && (!silent || !liveness_blames(&d->liveness, d->cpu, visit)))
        d->late++;
    else
        health_hangs(s, d);
}

/* An answer that was asked for with *epoch (0: none) is late. Perhaps it is there, and who is late is the supervisor. */
static void acknowledgement_due(struct supervisor *s, struct domain *d, const uint64_t *epoch, uint64_t *deadline_us,
                                uint64_t now)
{
    if (*epoch == 0 || *deadline_us == 0 || now < *deadline_us)
        return;
    control_receive(s, d);
    if (d->state == DOMAIN_DOWN || *epoch == 0 || *deadline_us == 0 || now < *deadline_us)
        return;
    *deadline_us = now + health_hang_us(s);
    domain_is_late(s, d);
}

/* Standby, Ready or its end is late. */
static void start_due(struct supervisor *s, struct domain *d, uint64_t now)
{
    if (d->deadline_us != 0 && now >= d->deadline_us)
        control_receive(s, d); /* likewise */
    if (d->state == DOMAIN_DOWN || d->deadline_us == 0 || now < d->deadline_us)
        return;
    bool excused = d->fault == FAULT_NONE && d->late < LATE_MAX && visit_of(d) == cpu_is_withheld;
    d->late += excused;
    d->deadline_us = now + (excused ? health_hang_us(s) : START_US);
    if (!excused)
        health_not_ready(s, d);
}

void domain_deadlines(struct supervisor *s, struct domain *d, uint64_t now)
{
    if (d->state == DOMAIN_DOWN) {
        if (!s->stopping && now >= d->retry_us)
            domain_spawn(s, d);
        return;
    }
    acknowledgement_due(s, d, &d->ack_epoch, &d->ack_deadline_us, now);
    acknowledgement_due(s, d, &d->revoke_epoch, &d->revoke_deadline_us, now);
    acknowledgement_due(s, d, &d->attach_epoch, &d->attach_deadline_us, now);
    start_due(s, d, now);
}
