// SPDX-License-Identifier: BSD-2-Clause
/* The supervisor's loop: one epoll, one event at a time (so that no event names something that the one before it
 * closed), deadlines, start and orderly end. All that applications may say is one descriptor among the others, an epoll
 * of its own, so that however many of them speak, a death waits for one of their requests at most. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

#define SLICE_NS 100000 /* the least there is. It sleeps until somebody dies, and then everyone waits for it */

uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static struct epoll_event watch_event(enum watch what, uint32_t index, bool output)
{
    return (struct epoll_event){.events = EPOLLIN | (output ? (uint32_t)EPOLLOUT : 0),
                                .data.u64 = (uint64_t)what << 32 | index};
}

int loop_watch(struct supervisor *s, int fd, enum watch what, uint32_t index)
{
    struct epoll_event event = watch_event(what, index, false);
    int epoll = what == WATCH_LISTENER || what == WATCH_CONNECTION ? s->attach_epoll : s->epoll;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void loop_watch_output(struct supervisor *s, int fd, enum watch what, uint32_t index, bool output)
{
    struct epoll_event event = watch_event(what, index, output);
    epoll_ctl(s->epoll, EPOLL_CTL_MOD, fd, &event);
}

void loop_unwatch(struct supervisor *s, int fd)
{
    if (epoll_ctl(s->epoll, EPOLL_CTL_DEL, fd, NULL) < 0)
        epoll_ctl(s->attach_epoll, EPOLL_CTL_DEL, fd, NULL);
}

static int signals_open(struct supervisor *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGQUIT);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, usual = {.sa_handler = SIG_DFL}, hangup;
    if (sigaction(SIGHUP, NULL, &hangup) < 0)
        return -errno;
    if (hangup.sa_handler != SIG_IGN) /* else it was started to outlive its terminal (nohup) */
        sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || sigaction(SIGPIPE, &ignore, NULL) < 0 ||
        sigaction(SIGCHLD, &usual, NULL) < 0) /* who starts us may ignore it: then nobody learns how a domain died */
        return -errno;
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signals < 0 ? -errno : loop_watch(s, s->signals, WATCH_SIGNALS, 0);
}

static void descriptors_raise(struct supervisor *s)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    rlim_t least = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    s->sessions_most = sessions_affordable(setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : least);
}

static int epolls_open(struct supervisor *s)
{
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->attach_epoll = s->epoll < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
    return s->attach_epoll < 0 ? -errno : loop_watch(s, s->attach_epoll, WATCH_ATTACH, 0);
}

static int secrets_make(struct supervisor *s)
{
    return getrandom(s->secret, sizeof s->secret, 0) == (ssize_t)sizeof s->secret ? 0 : -EIO;
}

int supervisor_start(struct supervisor *s, char ret_error[OPTIONS_ERROR])
{
    s->start_us = s->tick_us = s->watch_us = now_us();
    s->next_object = 1;
    s->audit = (struct process){.pidfd = -1};
    spawn_slice(SLICE_NS);
    memory_init(s);
    events_init(s);
    sessions_init(s);
    descriptors_raise(s);
    int result = epolls_open(s);
    if (result < 0)
        snprintf(ret_error, OPTIONS_ERROR, "cannot start: %s", strerror(-result));
    if (result == 0)
        result = rundir_open(s, ret_error);
    if (result == 0)
        result = device_open(s, ret_error);
    if (result < 0)
        return result;
    crash_open(s);
    result = signals_open(s);
    if (result == 0)
        result = secrets_make(s);
    if (result == 0)
        result = domains_init(s);
    if (result == 0)
        result = attach_listen(s);
    if (result == 0)
        result = capture_listen(s);
    if (result < 0) {
        snprintf(ret_error, OPTIONS_ERROR, "cannot start: %s", strerror(-result));
        return result;
    }
    manage_start(s);
    for (uint32_t i = 0; i < s->domain_count && !s->failed; i++)
        domain_spawn(s, &s->domain[i]);
    return 0;
}

/* ---- the end ---- */

void supervisor_stop(struct supervisor *s)
{
    Bulkhead__Control__Stop stop = BULKHEAD__CONTROL__STOP__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    if (s->stopping)
        return;
    event_add(s, "stopped", s->options.partition.text, 0, NULL, 0, s->failed ? "did not start" : "orderly end");
    s->stopping = true;
    s->stop_us = now_us() + STOP_US;
    loop_unwatch(s, s->listener);
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP;
    message.stop = &stop;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        struct domain *d = &s->domain[i];
        standby_end(s, d);
        if (domain_lives(d) && d->fault == FAULT_NONE)
            d->fault = FAULT_PLANNED;
        if (domain_lives(d))
            control_send(s, d, &message, NULL, 0, 0);
        else
            domain_kill(d, FAULT_PLANNED);
    }
}

/* True: nothing lives any more. */
static bool stop_advance(struct supervisor *s, uint64_t now)
{
    bool processes = change_stop(s);
    processes = prober_stop(s) || processes;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        struct domain *d = &s->domain[i];
        processes = processes || d->spare.process.pidfd >= 0;
        if (d->process.pidfd < 0)
            continue;
        processes = true;
        if (now >= s->stop_us)
            domain_kill(d, FAULT_HUNG);
    }
    if (s->audit.pidfd >= 0)
        process_signal(&s->audit, SIGKILL);
    if (processes || s->audit.pidfd >= 0)
        return false;
    if (s->manage_link >= 0) {
        s->stop_us = now + STOP_US;
        manage_close(s); /* it ends when it sees that */
    } else if (now >= s->stop_us) {
        process_signal(&s->manage, SIGKILL);
    }
    return s->manage.pidfd < 0;
}

/* ---- the loop ---- */

static void signals_receive(struct supervisor *s)
{
    struct signalfd_siginfo info;
    if (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info)
        supervisor_stop(s);
}

static void dispatch_attach(struct supervisor *s, const struct epoll_event *event)
{
    if (event->data.u64 >> 32 == WATCH_LISTENER)
        attach_accept(s);
    else
        attach_receive(s, (uint32_t)event->data.u64);
}

static void dispatch(struct supervisor *s, const struct epoll_event *event)
{
    struct epoll_event inner;
    uint32_t index = (uint32_t)event->data.u64;
    switch ((enum watch)(event->data.u64 >> 32)) {
    case WATCH_SIGNALS:
        signals_receive(s);
        break;
    case WATCH_PROCESS:
        domain_died(s, &s->domain[index]);
        break;
    case WATCH_CONTROL:
        if ((event->events & EPOLLOUT) != 0)
            control_flush(s, &s->domain[index]);
        if ((event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
            control_receive(s, &s->domain[index]);
        break;
    case WATCH_SPARE:
    case WATCH_SPARE_CONTROL:
        standby_event(s, &s->domain[index], (enum watch)(event->data.u64 >> 32));
        repartition_advance(s);
        break;
    case WATCH_CANDIDATE:
    case WATCH_CANDIDATE_CONTROL:
        change_event(s, index, (enum watch)(event->data.u64 >> 32));
        break;
    case WATCH_MANAGE_PROCESS:
        manage_died(s);
        break;
    case WATCH_MANAGE:
        manage_receive(s);
        break;
    case WATCH_CAPTURE_LISTENER:
        capture_accept(s);
        break;
    case WATCH_CAPTURE:
        capture_receive(s, index);
        break;
    case WATCH_AUDIT:
        audit_ended(s);
        break;
    case WATCH_INJECTOR:
        inject_ended(s, index);
        break;
    case WATCH_WIRE:
        wire_receive(s);
        break;
    case WATCH_WIRE_LISTENER:
        wire_accept(s);
        break;
    case WATCH_PROBER_PROCESS:
        prober_died(s);
        break;
    case WATCH_PROBER:
        prober_receive(s);
        break;
    case WATCH_ATTACH:
        if (epoll_wait(s->attach_epoll, &inner, 1, 0) == 1)
            dispatch_attach(s, &inner);
        break;
    default:
        break;
    }
}

static void deadlines(struct supervisor *s, uint64_t now)
{
    bool tick = now - s->tick_us >= TICK_US, watch = now - s->watch_us >= health_tick_us(s);
    if (tick) {
        s->tick_us = now;
        attach_tick(s);
        sessions_tick(s);
        wire_tick(s);
        judge_tick(s, now);
        traffic_tick(s, now);
    }
    if (watch)
        s->watch_us = now;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (tick)
            domain_tick(s, &s->domain[i]);
        if (watch)
            domain_watch(s, &s->domain[i]);
        domain_deadlines(s, &s->domain[i], now);
    }
    sessions_deadlines(s, now);
    standby_deadlines(s, now);
    change_deadlines(s, now);
    repartition_deadlines(s, now);
    prober_deadlines(s, now);
    if (s->place_freed)
        attach_waiting(s);
    if (s->manage.pidfd < 0 && !s->stopping && now >= s->manage_retry_us)
        manage_start(s);
}

static void earlier(uint64_t *least, uint64_t deadline)
{
    if (deadline != 0 && deadline < *least)
        *least = deadline;
}

/* Until the next incarnation runs, and a moment more: what we and the manage server do might take the CPU from its
 * first burst, and from who passes on what it sends. 0: nothing waits. */
static uint64_t held_until(const struct supervisor *s)
{
    uint64_t until = 0;
    for (uint32_t i = 0; i < s->domain_count && s->started && !s->stopping; i++) {
        const struct domain *d = &s->domain[i];
        bool on_its_way = d->state != DOMAIN_RUNNING && d->state != DOMAIN_SPAWNED;
        uint64_t end = on_its_way ? d->noticed_us + HOLD_US : d->state == DOMAIN_RUNNING ? d->ready_us + HOLD_ON_US : 0;
        until = end > until ? end : until;
    }
    return until;
}

bool supervisor_holds(const struct supervisor *s)
{
    return now_us() < held_until(s);
}

static uint64_t next_deadline(struct supervisor *s)
{
    uint64_t least = s->tick_us + TICK_US;
    earlier(&least, standby_deadline(s));
    earlier(&least, change_deadline(s));
    earlier(&least, repartition_deadline(s));
    earlier(&least, prober_deadline(s));
    earlier(&least, s->watch_us + health_tick_us(s));
    for (uint32_t i = 0; i < s->domain_count; i++) {
        const struct domain *d = &s->domain[i];
        if (d->state == DOMAIN_DOWN && !s->stopping)
            earlier(&least, d->retry_us);
        if (d->ack_epoch != 0)
            earlier(&least, d->ack_deadline_us);
        if (d->state != DOMAIN_DOWN)
            earlier(&least, d->deadline_us);
    }
    if (s->manage.pidfd < 0 && !s->stopping)
        earlier(&least, s->manage_retry_us);
    if (supervisor_holds(s))
        earlier(&least, held_until(s));
    return least;
}

/* From one wait to the next: so long a death may have had to wait. */
static void turn_ends(struct supervisor *s)
{
    uint64_t took = s->turn_us != 0 ? now_us() - s->turn_us : 0;
    s->longest_turn_us = took > s->longest_turn_us ? took : s->longest_turn_us;
}

/* One domain a turn: to put it elsewhere may mean to wait for its CPU. True: there is another. */
static bool settle(struct supervisor *s)
{
    unsigned left = 0;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        struct domain *d = &s->domain[i];
        if (d->unplaced && d->state == DOMAIN_RUNNING && left++ == 0)
            domain_settle(d);
    }
    return left > 1;
}

/* What had to wait is done, if its time has come. When there is more to do, 0: no matter. */
static uint64_t held(struct supervisor *s)
{
    if (supervisor_holds(s))
        return held_until(s);
    crash_write(s);
    events_push(s);
    memory_let_go(s);
    return settle(s) ? 1 : 0;
}

int supervisor_run(struct supervisor *s)
{
    for (;;) {
        uint64_t waits = held(s), now = now_us();
        deadlines(s, now);
        if (s->stopping && stop_advance(s, now))
            break;
        uint64_t until = next_deadline(s);
        earlier(&until, waits);
        uint64_t wait_us = until > now ? until - now : 0;
        turn_ends(s);
        struct timespec wait = {(time_t)(wait_us / 1000000), (long)(wait_us % 1000000) * 1000};
        struct epoll_event event;
        int n = epoll_pwait2(s->epoll, &event, 1, &wait, NULL);
        if (n < 0 && errno != EINTR)
            return 1; /* our own mistake; the domains end with us */
        uint64_t turn = now_us();
        if (n == 1)
            dispatch(s, &event);
        s->turn_us = turn;
    }
    return s->failed ? 1 : 0;
}
