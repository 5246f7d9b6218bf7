// SPDX-License-Identifier: BSD-2-Clause
/* Waiting: see session.h. */
#include "servers/client/session.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "servers/client/lane.h"

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

void session_ring(struct session *s, enum session_server server)
{
    struct session_bell *b = &s->bell[server];
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* (c) */
    if ((__atomic_load_n(b->bell.sleep, __ATOMIC_RELAXED) & 1) == 0)
        return;
    pthread_mutex_lock(&b->lock);
    doorbell_ring(&b->bell);
    pthread_mutex_unlock(&b->lock);
}

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

/* A follower is woken by whichever it sleeps on; the poller has neither. */
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

/* The lock is held before and after. 0 (look again) or -EINTR. */
static int wait_as_poller(struct session *s, struct waiter *w)
{
    struct pollfd own[WAIT_EXTRA];
    struct pollfd *set = w->host != NULL ? w->host : own;
    nfds_t n = w->host != NULL ? w->host_count : 0;
    int error = 0;
    s->polling = true;
    doorbell_sleep(&s->control->sleep); /* (C) */
    session_wake_ready(s, w);
    if (!w->ready(s, w->argument)) {
        set[n] = (struct pollfd){.fd = s->doorbell_fd, .events = POLLIN};
        set[n + 1] = (struct pollfd){.fd = s->attach_fd}; /* its end shows as POLLHUP */
        pthread_mutex_unlock(&s->lock);
        int woken = sleep_in_poll(w, set, n + WAIT_EXTRA);
        pthread_mutex_lock(&s->lock);
        if (woken > 0) {
            if (set[n].revents != 0)
                doorbell_drain(s->doorbell_fd);
            if (((set[n].revents | set[n + 1].revents) & (POLLHUP | POLLERR)) != 0)
                __atomic_store_n(&s->gone, true, __ATOMIC_RELAXED);
            w->host_ready = count_ready(set, n);
        }
        error = woken == -EINTR ? -EINTR : 0;
    }
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

static int wait_with_host(struct session *s, struct waiter *w)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    w->wake_fd = fd;
    w->host[w->host_count] = (struct pollfd){.fd = fd, .events = POLLIN};
    pthread_mutex_unlock(&s->lock);
    int woken = sleep_in_poll(w, w->host, w->host_count + 1);
    pthread_mutex_lock(&s->lock);
    w->wake_fd = -1;
    close(fd);
    if (woken > 0)
        w->host_ready = count_ready(w->host, w->host_count);
    return woken < 0 ? woken : 0;
}

static int wait_once(struct session *s, struct waiter *w)
{
    if (!s->polling)
        return wait_as_poller(s, w);
    return w->host == NULL ? wait_on_condition(s, w) : wait_with_host(s, w);
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
