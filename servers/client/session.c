// SPDX-License-Identifier: BSD-2-Clause
/* Waiting: see session.h. */
#include "servers/client/session.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "servers/client/lane.h"

#define LOOK_US 10000

int64_t session_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

bool session_is_gone(const struct session *s)
{
    return __atomic_load_n(&s->gone, __ATOMIC_RELAXED);
}

void session_set_gone(struct session *s)
{
    __atomic_store_n(&s->gone, true, __ATOMIC_RELAXED);
}

bool session_look(struct session *s)
{
    struct pollfd end = {.fd = s->attach_fd}; /* its end shows as POLLHUP */
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    int64_t now = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
    if (session_is_gone(s))
        return true;
    if (now - __atomic_load_n(&s->looked_us, __ATOMIC_RELAXED) < LOOK_US)
        return false;
    __atomic_store_n(&s->looked_us, now, __ATOMIC_RELAXED);
    if (poll(&end, 1, 0) > 0 && (end.revents & (POLLHUP | POLLERR)) != 0)
        session_set_gone(s);
    return session_is_gone(s);
}

/* ---- bells ---- */
/* Takes the SIGPIPE that this thread's write just raised, which is blocked. */
static void pipe_signal_consume(const sigset_t *pipe_signal)
{
    static const struct timespec at_once;
    while (sigtimedwait(pipe_signal, NULL, &at_once) < 0 && errno == EINTR)
        ;
}

/* A ring that writes. The application's SIGPIPE is none of our business: it is blocked meanwhile, and one that we raise
 * is taken, unless one was pending before (which takes a thread that had it blocked). */
static void bell_write(struct session *s, struct doorbell *bell)
{
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigemptyset(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    bool was_blocked = sigismember(&before, SIGPIPE) == 1;
    if (was_blocked)
        sigpending(&pending);
    errno = 0;
    doorbell_ring(bell);
    if (errno == EPIPE) {
        session_set_gone(s);
        if (sigismember(&pending, SIGPIPE) == 0)
            pipe_signal_consume(&pipe_signal);
    }
    if (!was_blocked)
        pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void session_ring(struct session *s, enum session_server server)
{
    struct session_bell *b = &s->bell[server];
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* (c) */
    if ((__atomic_load_n(b->bell.sleep, __ATOMIC_RELAXED) & 1) == 0)
        return;
    int error = errno;
    pthread_mutex_lock(&b->lock);
    if (__atomic_load_n(b->bell.sleep, __ATOMIC_RELAXED) != b->bell.rung_for)
        bell_write(s, &b->bell);
    pthread_mutex_unlock(&b->lock);
    errno = error;
}

/* ---- waiting ---- */

static void waiter_add(struct session *s, struct waiter *w)
{
    w->next = s->waiters;
    s->waiters = w;
}

static void waiter_remove(struct session *s, const struct waiter *w)
{
    struct waiter **p = &s->waiters;
    while (*p != w) /* each is in the list once, as long as it is in session_wait() */
        p = &(*p)->next;
    *p = w->next;
}

/* Each is woken by what it sleeps on; one that does not sleep yet, or no more, has neither. */
static void waiter_wake(const struct waiter *w)
{
    if (w->wake != NULL)
        pthread_cond_signal(w->wake);
    if (w->wake_fd >= 0)
        eventfd_write(w->wake_fd, 1);
}

/* Wakes every waiter but `self` whose condition holds. */
static void session_wake_ready(struct session *s, const struct waiter *self)
{
    lane_reclaim(s);
    for (struct waiter *w = s->waiters; w != NULL; w = w->next)
        if (w != self && (session_is_gone(s) || w->ready(s, w->argument)))
            waiter_wake(w);
}

void session_wake(struct session *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->waiters != NULL)
        session_wake_ready(s, NULL);
    pthread_mutex_unlock(&s->lock);
}

static struct timespec until(int64_t deadline_us)
{
    int64_t left = deadline_us - session_now_us();
    left = left > 0 ? left : 0;
    return (struct timespec){.tv_sec = left / 1000000, .tv_nsec = left % 1000000 * 1000};
}

static int sleep_in_poll(struct waiter *w, struct pollfd *set, nfds_t count)
{
    struct timespec left = {0};
    if (w->deadline_us != FOREVER)
        left = until(w->deadline_us);
    int n = ppoll(set, count, w->deadline_us == FOREVER ? NULL : &left, NULL);
    return n < 0 ? -errno : n;
}

static int count_ready(const struct pollfd *set, nfds_t count)
{
    int ready = 0;
    for (nfds_t i = 0; i < count; i++)
        ready += set[i].revents != 0;
    return ready;
}

/* The poller's sleep. The lock is held before and after. 0 or -EINTR. */
static int poller_sleep(struct session *s, struct waiter *w)
{
    struct pollfd own[WAIT_EXTRA];
    struct pollfd *set = w->host != NULL ? w->host : own;
    nfds_t n = w->host != NULL ? w->host_count : 0;
    eventfd_t wakes;
    set[n] = (struct pollfd){.fd = s->doorbell_fd, .events = POLLIN};
    set[n + 1] = (struct pollfd){.fd = s->attach_fd}; /* its end shows as POLLHUP */
    set[n + 2] = (struct pollfd){.fd = s->wake_fd, .events = POLLIN};
    w->wake_fd = s->wake_fd;
    pthread_mutex_unlock(&s->lock);
    int woken = sleep_in_poll(w, set, n + WAIT_EXTRA);
    pthread_mutex_lock(&s->lock);
    w->wake_fd = -1;
    if (woken <= 0)
        return woken == -EINTR ? -EINTR : 0;
    if (set[n].revents != 0)
        doorbell_drain(s->doorbell_fd);
    if (set[n + 2].revents != 0)
        (void)eventfd_read(s->wake_fd, &wakes);
    if (((set[n].revents | set[n + 1].revents) & (POLLHUP | POLLERR)) != 0)
        session_set_gone(s);
    w->host_ready = count_ready(set, n);
    return 0;
}

/* The lock is held before and after. 0 (look again) or -EINTR. */
static int wait_as_poller(struct session *s, struct waiter *w)
{
    s->polling = true;
    doorbell_sleep(&s->control->sleep); /* (C) */
    session_wake_ready(s, w);
    int error = session_is_gone(s) || w->ready(s, w->argument) ? 0 : poller_sleep(s, w);
    doorbell_wake(&s->control->sleep);
    s->polling = false;
    session_wake_ready(s, w);
    return error;
}

/* The same, while another thread is the poller. */
static int wait_on_condition(struct session *s, struct waiter *w)
{
    pthread_cond_t wake;
    pthread_condattr_t attribute;
    pthread_condattr_init(&attribute);
    pthread_condattr_setclock(&attribute, CLOCK_MONOTONIC);
    pthread_cond_init(&wake, &attribute);
    pthread_condattr_destroy(&attribute);
    w->wake = &wake;
    if (w->deadline_us == FOREVER) {
        pthread_cond_wait(&wake, &s->lock);
    } else {
        struct timespec t = {.tv_sec = w->deadline_us / 1000000, .tv_nsec = w->deadline_us % 1000000 * 1000};
        pthread_cond_timedwait(&wake, &s->lock, &t);
    }
    w->wake = NULL;
    pthread_cond_destroy(&wake);
    return 0;
}

static int spare_take(struct session *s)
{
    return s->spare_wakes > 0 ? s->spare_wake[--s->spare_wakes] : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void spare_put(struct session *s, int fd)
{
    eventfd_t wakes;
    if (s->spare_wakes == SPARE_WAKES) {
        close(fd);
        return;
    }
    (void)eventfd_read(fd, &wakes);
    s->spare_wake[s->spare_wakes++] = fd;
}

/* The same, so that a signal ends it, and what the kernel has for it. */
static int wait_in_poll(struct session *s, struct waiter *w)
{
    struct pollfd own;
    struct pollfd *set = w->host != NULL ? w->host : &own;
    nfds_t n = w->host != NULL ? w->host_count : 0;
    int fd = spare_take(s);
    if (fd < 0 && w->host == NULL)
        return wait_on_condition(s, w); /* no descriptor to spare */
    if (fd < 0)
        return -errno;
    w->wake_fd = fd;
    set[n] = (struct pollfd){.fd = fd, .events = POLLIN};
    pthread_mutex_unlock(&s->lock);
    int woken = sleep_in_poll(w, set, n + 1);
    pthread_mutex_lock(&s->lock);
    w->wake_fd = -1;
    spare_put(s, fd);
    if (woken > 0)
        w->host_ready = count_ready(set, n);
    return woken < 0 ? woken : 0;
}

static int wait_once(struct session *s, struct waiter *w)
{
    if (!s->polling)
        return wait_as_poller(s, w);
    return wait_in_poll(s, w);
}

int session_wait(struct session *s, struct waiter *w)
{
    int result = 0;
    w->host_ready = 0;
    w->wake = NULL;
    w->wake_fd = -1;
    pthread_mutex_lock(&s->lock);
    waiter_add(s, w);
    while (!session_is_gone(s) && !w->ready(s, w->argument)) {
        result = w->deadline_us != FOREVER && session_now_us() >= w->deadline_us ? -ETIMEDOUT : wait_once(s, w);
        if (result != 0 || w->host_ready > 0)
            break;
    }
    waiter_remove(s, w);
    if (!s->polling && s->waiters != NULL)
        waiter_wake(s->waiters); /* the next poller */
    pthread_mutex_unlock(&s->lock);
    return result;
}
