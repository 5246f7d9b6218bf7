// SPDX-License-Identifier: BSD-2-Clause
/* The loop. A round: every server's burst, then every commit, every publish, every flush; a bell is rung by the flush
 * that has something for a sleeper. Rounds go on while anything moves. When nothing does, the domain says that it
 * sleeps, runs one more round if any input is there after all (barrier (C): what came before the word is seen by that
 * round, what comes after it rings), and waits for its bell, the supervisor, the device or the earliest deadline.
 *
 * Limits: ROUNDS_MAX rounds or LOOK_US between looks at the control socket, LOOK_MESSAGES messages a look, SLEEP_MAX_US
 * asleep (the liveness counter moves). Input that no server will take, because what it leads to is full, does not spin:
 * space is returned without a bell, so it is looked for again after STUCK_US, then less and less often.
 *
 * Timers: setting one is the dearest part of a short sleep (on a virtual machine it leaves the guest), and most sleeps
 * end by a bell. So the timer is a timerfd that stays armed over many sleeps and is set anew only for an earlier
 * deadline; it may go off for one that has moved away, which costs a round.
 *
 * #syscalls ppoll read write timerfd_settime clock_gettime exit_group */
#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "servers/domain/state.h"

#define ROUNDS_MAX    64
#define LOOK_US       100 /* after a death everyone waits for the last one to look */
#define COUNTERS_US   1000
#define LOOK_MESSAGES 64
#define SLEEP_MAX_US  100000
#define STUCK_US      50 /* doubled each time */
#define STUCK_MAX_US  1600
#define OVERDUE_US    1000 /* a deadline that a round did not serve is not served faster by spinning */

uint64_t domain_clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void domain_accuse(struct domain *domain, struct domain_port *port, const char *why)
{
    port->broken = true;
    port_detach(&port->port);
    int result = control_send_broken(&domain->control, port->server, port->peer, why);
    (void)result; /* a socket that takes no message is noticed by the loop's next look */
}

static void detach_broken(struct domain *domain)
{
    for (uint32_t p = 0; p < domain->port_count; p++) {
        struct domain_port *port = domain->port[p];
        bool wrong = port->port.ring.broken || port->port.senseless;
        if (!port->port.attached || !wrong || port->broken)
            continue;
        domain_accuse(domain, port, port->port.ring.broken ? ACCUSED_RING : ACCUSED_SENSE);
    }
}

/* All that this server worked on in the burst is committed, and it lives. */
static void work_done(struct server_work *work)
{
    if (work->page == NULL)
        return;
    __atomic_store_n(&work->page->key, CRASH_WORK_NONE, __ATOMIC_RELAXED);
    for (; work->touched != 0; work->touched &= work->touched - 1) {
        work->suspect[__builtin_ctzll(work->touched)].key = CRASH_WORK_NONE;
        uint64_t cleared = work->page->cleared | (work->touched & -work->touched);
        __atomic_store_n(&work->page->cleared, cleared, __ATOMIC_RELAXED);
    }
}

static void poison_forget(struct domain *domain)
{
    if (domain->poison_until_us == 0 || domain->now_us < domain->poison_until_us)
        return;
    domain->poison_until_us = 0;
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        domain->server[id].work.suspects = 0;
}

void domain_settle(struct domain *domain)
{
    for (uint32_t id = 0; id < SERVER_COUNT && domain->started; id++) {
        const struct domain_server *at = &domain->server[id];
        if (at->server != NULL && at->server->commit != NULL)
            at->server->commit(at->state);
    }
    for (uint32_t id = 0; id < SERVER_COUNT && domain->started; id++) {
        const struct domain_server *at = &domain->server[id];
        if (at->server != NULL && at->server->publish != NULL)
            at->server->publish(at->state, domain->now_us);
    }
    for (uint32_t p = 0; p < domain->port_count; p++)
        port_flush(&domain->port[p]->port);
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        if (domain->server[id].server != NULL)
            work_done(&domain->server[id].work);
}

bool domain_round(struct domain *domain)
{
    bool moved = false;
    domain->now_us = domain_clock_us();
    if (domain->fault != NULL)
        moved = fault_round(domain);
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct domain_server *at = &domain->server[id];
        domain->running = id;
        if (at->server != NULL)
            moved |= at->server->burst(at->state, domain->now_us);
    }
    domain->running = SERVER_COUNT;
    domain_settle(domain);
    detach_broken(domain);
    struct status_page *status = domain->status;
    __atomic_store_n(&status->liveness, status->liveness + 1, __ATOMIC_RELAXED);
    if (moved)
        __atomic_store_n(&status->bursts, status->bursts + 1, __ATOMIC_RELAXED);
    return moved;
}

static bool anything_pending(struct domain *domain)
{
    for (uint32_t p = 0; p < domain->port_count; p++)
        if (port_pending(&domain->port[p]->port))
            return true;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct domain_server *at = &domain->server[id];
        if (at->server != NULL && at->server->pending != NULL && at->server->pending(at->state))
            return true;
    }
    return false;
}

/* The device to wait for; -1: none, or no buffer free for what it has. */
static int wanted_device(const struct domain *domain)
{
    for (uint32_t id = 0; id < SERVER_COUNT && !domain->device_gone; id++) {
        const struct domain_server *at = &domain->server[id];
        if (at->server != NULL && at->context.device >= 0 && at->server->wants_device != NULL &&
            at->server->wants_device(at->state))
            return at->context.device;
    }
    return -1;
}

static uint64_t deadline_us(const struct domain *domain)
{
    uint64_t at_us = domain->now_us + SLEEP_MAX_US;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct domain_server *at = &domain->server[id];
        uint64_t t =
            at->server != NULL && at->server->deadline_us != NULL ? at->server->deadline_us(at->state) : UINT64_MAX;
        if (t < at_us)
            at_us = t;
    }
    return at_us <= domain->now_us ? domain->now_us + OVERDUE_US : at_us;
}

static struct timespec timespec_of_us(uint64_t us)
{
    return (struct timespec){.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
}

/* 0, or a negative errno. */
static int arm(struct domain *domain, uint64_t at_us)
{
    if (domain->armed_us != 0 && domain->armed_us <= at_us)
        return 0;
    struct itimerspec when = {.it_value = timespec_of_us(at_us)};
    if (timerfd_settime(domain->timer, TFD_TIMER_ABSTIME, &when, NULL) < 0)
        return -errno;
    domain->armed_us = at_us;
    return 0;
}

static void timer_went_off(struct domain *domain)
{
    uint64_t times;
    if (read(domain->timer, &times, sizeof times) == sizeof times)
        domain->armed_us = 0;
}

/* `most`: NULL until the timer. 0, or a negative errno. */
static int wait(struct domain *domain, const struct timespec *most)
{
    enum { BELL, CONTROL, TIMER, DEVICE, SLOTS, WAITED = SLOTS + DOMAIN_SLOTS };
    struct pollfd inputs[WAITED] = {[BELL] = {.fd = domain->doorbell, .events = POLLIN},
                                    [CONTROL] = {.fd = domain->control.fd, .events = POLLIN},
                                    [TIMER] = {.fd = domain->timer, .events = POLLIN},
                                    [DEVICE] = {.fd = wanted_device(domain), .events = POLLIN}};
    for (uint32_t i = 0; i < domain->slot_count; i++)
        inputs[SLOTS + i] = (struct pollfd){.fd = domain->slot[i].doorbell, .events = POLLIN};
    uint32_t count = domain->slot_count > 0 ? SLOTS + domain->slot_count : inputs[DEVICE].fd >= 0 ? SLOTS : DEVICE;
    int n = ppoll(inputs, count, most, NULL);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    if (inputs[BELL].revents & POLLIN)
        doorbell_drain(domain->doorbell);
    for (uint32_t i = 0; i < domain->slot_count; i++)
        if (inputs[SLOTS + i].revents & POLLIN)
            doorbell_drain(domain->slot[i].doorbell);
    if (inputs[TIMER].revents & POLLIN)
        timer_went_off(domain);
    if (inputs[CONTROL].revents != 0)
        domain->looked_us = 0; /* look now */
    if ((inputs[DEVICE].revents & (POLLERR | POLLHUP | POLLNVAL)) && !(inputs[DEVICE].revents & POLLIN)) {
        domain->device_gone = true;
        control_log(&domain->control, 3, SERVER_NIC, "the device is gone", 0);
    }
    return 0;
}

/* Room is given back without a bell: a short sleep, then a look. 0, or a negative errno. */
static int wait_for_room(struct domain *domain)
{
    struct timespec most = timespec_of_us(domain->stuck_us);
    domain->stuck_us = domain->stuck_us < STUCK_MAX_US ? 2 * domain->stuck_us : STUCK_MAX_US;
    return wait(domain, &most);
}

/* By every word that may be looked at: barrier (C) for each of them. */
static void fall_asleep(struct domain *domain)
{
    for (uint32_t i = 0; i < domain->slot_count; i++)
        doorbell_sleep(&domain->slot[i].status->sleep);
    doorbell_sleep(&domain->status->sleep);
}

static void wake_up(struct domain *domain)
{
    doorbell_wake(&domain->status->sleep);
    for (uint32_t i = 0; i < domain->slot_count; i++)
        doorbell_wake(&domain->slot[i].status->sleep);
}

/* Nothing moved. 0, or a negative errno. */
static int idle(struct domain *domain)
{
    int result = 0;
    bool stuck = false, moved = false;
    fall_asleep(domain);
    if (anything_pending(domain)) {
        moved = domain_round(domain);
        stuck = !moved;
    }
    if (!stuck)
        domain->stuck_us = STUCK_US;
    if (stuck) {
        result = wait_for_room(domain);
    } else if (!moved) {
        result = arm(domain, deadline_us(domain));
        if (result == 0)
            result = wait(domain, NULL);
    }
    wake_up(domain);
    return result;
}

static void counters_later(struct domain *domain)
{
    if (domain->now_us - domain->counted_us < COUNTERS_US)
        return;
    domain->counted_us = domain->now_us;
    counters_of_ports(domain);
}

/* What the supervisor says. 0, or as domain_dispatch(). */
static int look(struct domain *domain)
{
    struct control_message message;
    for (int i = 0; i < LOOK_MESSAGES; i++) {
        int result = control_receive(&domain->control, false, &message);
        if (result != CONTROL_MESSAGE)
            return result;
        result = domain_dispatch(domain, &message);
        if (result != 0)
            return result;
    }
    return 0;
}

int domain_loop(struct domain *domain)
{
    for (;;) {
        bool moved = true;
        for (int i = 0; moved && i < ROUNDS_MAX; i++) {
            moved = domain_round(domain);
            if (domain->now_us - domain->looked_us >= LOOK_US)
                break;
        }
        int result = domain->now_us - domain->watched_us >= WATCH_TICK_US ? watch_tick(domain) : 0;
        if (result != 0)
            return result;
        if (domain->now_us - domain->looked_us >= LOOK_US) {
            domain->looked_us = domain->now_us;
            counters_later(domain);
            poison_forget(domain);
            result = look(domain);
        } else if (!moved) {
            result = idle(domain);
        }
        if (result != 0)
            return result;
    }
}
