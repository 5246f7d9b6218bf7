// SPDX-License-Identifier: BSD-2-Clause
/* bh_epoll_*(): waiting on many sockets at the cost of those where something is new.
 *
 * Theory of operation. Who publishes for a socket appends it to a ready ring (ipc/session.h): a transport its slot, the
 * socket server its descriptor. Here each ring has one cursor a session. Whoever waits first drains: reads what is new
 * in every ring and puts the items that watch those sockets on the ready lists of their instances. Only what is on its
 * list is looked at. An entry is a hint: what a socket is ready for says socket_events() alone, so an entry too many
 * costs one look. A reader that was overtaken, or finds the ring of a new incarnation of its writer, looks at all
 * sockets of that ring.
 *
 *     not listed --ring entry, own call, ADD, MOD--> listed --looked at, not ready--> not listed
 *     listed --reported--> listed again at the end (level-triggered), not listed (EPOLLET), not listed nor ever
 * (EPOLLONESHOT)
 *
 * What holds and what is news are read in this order: the writer stores words, then entry, then producer; we read
 * producer, entry, then words. So what a look did not see has its entry still to come. Calls of ours that change a
 * socket (a shutdown, a connect) say so themselves, epoll_touch().
 *
 * Sleeping is session_wait() with a condition that drains and looks. A thread that drains for another's instance need
 * not wake it: who published rings the doorbell if any thread sleeps, and the poller evaluates the condition of all.
 *
 * The kernel's descriptors are in a real epoll instance, which is waited on like one of them.
 *
 * Limits: a drain reads at most a ring's entries, or looks at its sockets once, whatever a lying writer says.
 * Left out: an instance in another one or in bh_poll(). */
#include "servers/client/epoll.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <unistd.h>

#include "servers/client/bulkhead.h"
#include "servers/client/session.h"

#define EVENTS_UNASKED  ((uint32_t)(EPOLLERR | EPOLLHUP))
#define EVENTS_EXCLUDED ((uint32_t)(EPOLLRDHUP | EPOLLPRI | EPOLLONESHOT)) /* with EPOLLEXCLUSIVE, as Linux */

struct epoll_item {
    struct epoll *epoll;
    uint32_t descriptor;
    uint32_t events; /* as asked for */
    bool armed;
    bool listed;
    epoll_data_t data;
    struct epoll_item *watch_next; /* another set's, of the same socket */
    TAILQ_ENTRY(epoll_item) ready;
};

TAILQ_HEAD(epoll_list, epoll_item);

struct epoll {      /* all under epolls.lock */
    uint32_t users; /* threads in bh_epoll_wait() */
    bool closed;    /* the last user frees it */
    bool host_turn; /* the kernel's come first now */
    int host_fd;
    uint32_t hosts; /* at most so many of the kernel's are in it */
    struct epoll_list ready;
    uint32_t ready_count;
};

/* ---- items ---- */
static void item_list(struct epoll_item *i)
{
    if (i->listed || !i->armed)
        return;
    i->listed = true;
    TAILQ_INSERT_TAIL(&i->epoll->ready, i, ready);
    i->epoll->ready_count++;
}

static void item_unlist(struct epoll_item *i)
{
    if (!i->listed)
        return;
    i->listed = false;
    TAILQ_REMOVE(&i->epoll->ready, i, ready);
    i->epoll->ready_count--;
}

/* What it is to be told now. */
static uint32_t item_events(const struct session *s, const struct epoll_item *i)
{
    uint32_t e = (uint32_t)(uint16_t)socket_events(&s->socket[i->descriptor]);
    e &= EPOLLIN | EPOLLOUT | EPOLLRDHUP | EVENTS_UNASKED;
    if ((e & EPOLLIN) != 0)
        e |= EPOLLRDNORM;
    if ((e & EPOLLOUT) != 0)
        e |= EPOLLWRNORM;
    return i->armed ? e & (i->events | EVENTS_UNASKED) : 0;
}

static struct epoll_item *item_find(const struct epolls *p, const struct epoll *e, uint32_t descriptor)
{
    struct epoll_item *i = p->watcher[descriptor];
    while (i != NULL && i->epoll != e)
        i = i->watch_next;
    return i;
}

static void item_free(struct epolls *p, struct epoll_item *i)
{
    struct epoll_item **at = &p->watcher[i->descriptor];
    while (*at != i) /* it is there */
        at = &(*at)->watch_next;
    __atomic_store_n(at, i->watch_next, __ATOMIC_RELAXED);
    item_unlist(i);
    free(i);
}

/* ---- what is new ---- */
/* True: some of them are of an instance in which a thread waits. */
static bool watchers_list(struct epolls *p, uint32_t descriptor)
{
    bool waited = false;
    for (struct epoll_item *i = p->watcher[descriptor]; i != NULL; i = i->watch_next) {
        item_list(i);
        waited |= i->listed && i->epoll->users > 0;
    }
    return waited;
}

/* Untrusted: entry (from the ring's writer). Of an arena a slot, else a descriptor. */
static void entry_look(struct epolls *p, const struct arena *a, uint32_t entry)
{
    uint32_t descriptor = entry;
    if (a != NULL) {
        if (entry >= a->slots)
            return;
        descriptor = __atomic_load_n(&a->holder[entry], __ATOMIC_RELAXED) - 1U;
    }
    if (descriptor < SESSION_DESCRIPTORS)
        watchers_list(p, descriptor);
}

/* Untrusted: producer, ring. At most `entries` are read; if some were lost, or may have been while we read, all are
 * looked at. The entry that overwrites the oldest of `entries` comes after the producer that counts as many. */
static void ring_drain(struct epolls *p, const uint32_t *producer, const uint32_t *ring, uint32_t entries,
                       uint32_t *cursor, const struct arena *a)
{
    uint32_t from = *cursor, to = __atomic_load_n(producer, __ATOMIC_ACQUIRE);
    if (to == from)
        return;
    for (uint32_t n = 0; to - from < entries && n < to - from; n++)
        entry_look(p, a, __atomic_load_n(&ring[(from + n) % entries], __ATOMIC_ACQUIRE));
    if (__atomic_load_n(producer, __ATOMIC_RELAXED) - from >= entries)
        for (uint32_t n = 0; n < (a != NULL ? a->slots : SESSION_DESCRIPTORS); n++)
            entry_look(p, a, n);
    *cursor = to;
}

static void epolls_drain(struct session *s)
{
    struct epolls *p = &s->epolls;
    for (uint32_t i = 0; i < SESSION_ARENAS; i++) {
        const struct arena *a = __atomic_load_n(&s->arenas.arena[i], __ATOMIC_ACQUIRE);
        if (a != NULL)
            ring_drain(p, &a->words->ready_producer, a->words->ready, ARENA_SLOTS_MAX, &p->cursor[i], a);
    }
    ring_drain(p, &s->answer->ready_producer, s->answer->ready, SESSION_DESCRIPTORS, &p->answer_cursor, NULL);
}

static bool update(uint32_t *known, uint32_t now)
{
    bool moved = *known != now;
    *known = now;
    return moved;
}

bool news_moved(struct session *s, struct news *news)
{
    bool moved = !news->known;
    news->known = true;
    moved |= update(&news->changes, __atomic_load_n(&s->epolls.changes, __ATOMIC_ACQUIRE));
    for (uint32_t i = 0; i < SESSION_ARENAS; i++) {
        const struct arena *a = __atomic_load_n(&s->arenas.arena[i], __ATOMIC_ACQUIRE);
        if (a != NULL)
            moved |= update(&news->producer[i], __atomic_load_n(&a->words->ready_producer, __ATOMIC_ACQUIRE));
    }
    uint32_t answers = __atomic_load_n(&s->answer->ready_producer, __ATOMIC_ACQUIRE);
    return update(&news->producer[SESSION_ARENAS], answers) || moved;
}

/* (F): the change was stored before the list of watchers is read; who adds one stores it before it looks at the socket.
 */
void epoll_touch(struct session *s, const struct socket *k)
{
    struct epolls *p = &s->epolls;
    __atomic_fetch_add(&p->changes, 1, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&p->watcher[k->descriptor], __ATOMIC_RELAXED) == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    bool waited = watchers_list(p, k->descriptor);
    pthread_mutex_unlock(&p->lock);
    if (waited)
        session_wake(s);
}

void epoll_forget(struct session *s, uint32_t descriptor)
{
    struct epolls *p = &s->epolls;
    pthread_mutex_lock(&p->lock);
    while (p->watcher[descriptor] != NULL)
        item_free(p, p->watcher[descriptor]);
    pthread_mutex_unlock(&p->lock);
    __atomic_fetch_add(&p->changes, 1, __ATOMIC_RELEASE);
}

/* ---- instances ---- */
/* The lock is held. 0, -EBADF, -EINVAL: it is something else. */
static int epoll_find(struct session *s, int fd, struct epoll **ret)
{
    uint32_t index = (uint32_t)fd - (uint32_t)BH_DESCRIPTOR_BASE;
    if (fd >= 0 && !bh_is_descriptor(fd))
        return -EINVAL;
    if (index >= SESSION_DESCRIPTORS || socket_phase(&s->socket[index]) == SOCKET_FREE)
        return -EBADF;
    *ret = s->epolls.instance[index];
    return *ret != NULL ? 0 : -EINVAL;
}

static void epoll_free(struct epoll *e)
{
    close(e->host_fd);
    free(e);
}

static struct epoll *epoll_new(void)
{
    struct epoll *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    TAILQ_INIT(&e->ready);
    e->host_fd = epoll_create1(EPOLL_CLOEXEC);
    if (e->host_fd >= 0)
        return e;
    free(e);
    return NULL;
}

int bh_epoll_create1(int flags)
{
    struct session *s;
    uint32_t descriptor;
    if ((flags & ~EPOLL_CLOEXEC) != 0)
        return (int)bh_result(-EINVAL);
    int error = session_get(&s);
    if (error == 0 && session_is_gone(s))
        error = -ENETDOWN;
    if (error != 0)
        return (int)bh_result(error);
    struct epoll *e = epoll_new();
    if (e == NULL)
        return (int)bh_result(-EMFILE);
    error = socket_take_descriptor(s, &descriptor);
    if (error != 0) {
        epoll_free(e);
        return (int)bh_result(error);
    }
    pthread_mutex_lock(&s->epolls.lock);
    s->epolls.instance[descriptor] = e;
    pthread_mutex_unlock(&s->epolls.lock);
    __atomic_store_n(&s->socket[descriptor].phase, (uint32_t)SOCKET_EPOLL, __ATOMIC_RELEASE);
    return BH_DESCRIPTOR_BASE + (int)descriptor;
}

/* Every item of an instance. The lock is held. */
static void items_free(struct epolls *p, struct epoll *e)
{
    for (uint32_t d = 0; d < SESSION_DESCRIPTORS; d++) {
        struct epoll_item *i = item_find(p, e, d);
        if (i != NULL)
            item_free(p, i);
    }
}

int epoll_close(struct session *s, uint32_t descriptor)
{
    struct epolls *p = &s->epolls;
    pthread_mutex_lock(&p->lock);
    struct epoll *e = p->instance[descriptor];
    if (e == NULL) { /* another thread was faster */
        pthread_mutex_unlock(&p->lock);
        return -EBADF;
    }
    p->instance[descriptor] = NULL;
    items_free(p, e);
    e->closed = true;
    __atomic_store_n(&s->socket[descriptor].phase, (uint32_t)SOCKET_FREE, __ATOMIC_RELEASE);
    __atomic_fetch_add(&p->changes, 1, __ATOMIC_RELEASE);
    bool waited = e->users > 0;
    if (!waited)
        epoll_free(e);
    pthread_mutex_unlock(&p->lock);
    if (waited)
        session_wake(s);
    socket_free_descriptor(s, descriptor);
    return 0;
}

void epoll_forked(struct session *s)
{
    for (uint32_t d = 0; d < SESSION_DESCRIPTORS; d++)
        if (s->epolls.instance[d] != NULL)
            close(s->epolls.instance[d]->host_fd);
}

/* ---- ctl ---- */
static int item_add(struct session *s, struct epoll *e, uint32_t descriptor, const struct epoll_event *event)
{
    struct epolls *p = &s->epolls;
    if (item_find(p, e, descriptor) != NULL)
        return -EEXIST;
    if ((event->events & EPOLLEXCLUSIVE) != 0 && (event->events & EVENTS_EXCLUDED) != 0)
        return -EINVAL;
    struct epoll_item *i = calloc(1, sizeof *i);
    if (i == NULL)
        return -ENOMEM;
    i->epoll = e;
    i->descriptor = descriptor;
    i->events = event->events;
    i->data = event->data;
    i->armed = true;
    i->watch_next = p->watcher[descriptor];
    __atomic_store_n(&p->watcher[descriptor], i, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* (f) */
    item_list(i);
    return 0;
}

static int item_modify(struct epolls *p, struct epoll *e, uint32_t descriptor, const struct epoll_event *event)
{
    struct epoll_item *i = item_find(p, e, descriptor);
    if (i == NULL)
        return -ENOENT;
    if (((event->events | i->events) & EPOLLEXCLUSIVE) != 0)
        return -EINVAL;
    i->events = event->events;
    i->data = event->data;
    i->armed = true;
    item_list(i);
    return 0;
}

/* Of one of this library's sockets. The lock is held. */
static int socket_control(struct session *s, struct epoll *e, int operation, int fd, const struct epoll_event *event)
{
    uint32_t d = (uint32_t)(fd - BH_DESCRIPTOR_BASE);
    uint32_t phase = d < SESSION_DESCRIPTORS ? socket_phase(&s->socket[d]) : SOCKET_FREE;
    if (phase == SOCKET_FREE)
        return -EBADF;
    if (phase == SOCKET_EPOLL)
        return -EINVAL;
    if (operation == EPOLL_CTL_MOD)
        return item_modify(&s->epolls, e, d, event);
    if (operation == EPOLL_CTL_ADD)
        return session_is_gone(s) ? -ENETDOWN : item_add(s, e, d, event);
    struct epoll_item *i = item_find(&s->epolls, e, d);
    if (i == NULL)
        return -ENOENT;
    item_free(&s->epolls, i);
    return 0;
}

static int host_control(struct epoll *e, int operation, int fd, struct epoll_event *event)
{
    if (epoll_ctl(e->host_fd, operation, fd, event) < 0)
        return -errno;
    if (operation == EPOLL_CTL_ADD)
        e->hosts++;
    else if (operation == EPOLL_CTL_DEL && e->hosts > 0)
        e->hosts--;
    return 0;
}

int bh_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    struct session *s = session_current();
    struct epoll *e;
    if (s == NULL)
        return (int)bh_result(-EBADF);
    if (operation != EPOLL_CTL_ADD && operation != EPOLL_CTL_MOD && operation != EPOLL_CTL_DEL)
        return (int)bh_result(-EINVAL);
    if (operation != EPOLL_CTL_DEL && event == NULL)
        return (int)bh_result(-EFAULT);
    pthread_mutex_lock(&s->epolls.lock);
    int error = epoll_find(s, epoll, &e);
    if (error == 0)
        error =
            bh_is_descriptor(fd) ? socket_control(s, e, operation, fd, event) : host_control(e, operation, fd, event);
    bool waited = error == 0 && e->ready_count > 0 && e->users > 0;
    pthread_mutex_unlock(&s->epolls.lock);
    if (waited)
        session_wake(s);
    return (int)bh_result(error);
}

/* ---- wait ---- */
/* Is anything ready? What is on the list and is not leaves it. The lock is held. */
static bool list_look(const struct session *s, const struct epoll *e)
{
    struct epoll_item *i;
    while ((i = TAILQ_FIRST(&e->ready)) != NULL) {
        if (item_events(s, i) != 0)
            return true;
        item_unlist(i);
    }
    return false;
}

static bool epoll_ready(struct session *s, const void *argument)
{
    const struct epoll *e = argument;
    pthread_mutex_lock(&s->epolls.lock);
    epolls_drain(s);
    bool ready = e->closed || list_look(s, e);
    pthread_mutex_unlock(&s->epolls.lock);
    return ready;
}

static void item_tell(struct epoll_item *i, uint32_t events, struct epoll_event *ret)
{
    ret->events = events;
    ret->data = i->data;
    if ((i->events & EPOLLONESHOT) != 0)
        i->armed = false;
}

/* Level-triggered ones go to the end: each has its turn, however few are asked for. */
static int list_take(const struct session *s, struct epoll *e, struct epoll_event *ret, int most)
{
    int n = 0;
    for (uint32_t left = e->ready_count; left > 0 && n < most; left--) {
        struct epoll_item *i = TAILQ_FIRST(&e->ready);
        uint32_t events = item_events(s, i);
        item_unlist(i);
        if (events == 0)
            continue;
        item_tell(i, events, &ret[n++]);
        if ((i->events & EPOLLET) == 0)
            item_list(i);
    }
    return n;
}

/* The stack is gone, and with it all that is watched. */
static int gone_take(struct epolls *p, const struct epoll *e, struct epoll_event *ret, int most)
{
    int n = 0;
    for (uint32_t d = 0; d < SESSION_DESCRIPTORS && n < most; d++) {
        struct epoll_item *i = item_find(p, e, d);
        if (i != NULL && i->armed)
            item_tell(i, EVENTS_UNASKED, &ret[n++]);
    }
    return n;
}

static int host_take(const struct epoll *e, uint32_t hosts, struct epoll_event *ret, int most)
{
    int n = hosts > 0 && most > 0 ? epoll_wait(e->host_fd, ret, most, 0) : 0;
    return n > 0 ? n : 0;
}

/* What is ready now. Events, or -EBADF: it was closed. */
static int epoll_take(struct session *s, struct epoll *e, struct epoll_event *ret, int most)
{
    struct epolls *p = &s->epolls;
    pthread_mutex_lock(&p->lock);
    uint32_t hosts = e->hosts;
    e->host_turn = !e->host_turn;
    int n = e->host_turn ? host_take(e, hosts, ret, most) : 0;
    if (session_is_gone(s)) {
        n += gone_take(p, e, ret + n, most - n);
    } else {
        epolls_drain(s);
        n += list_take(s, e, ret + n, most - n);
    }
    bool closed = e->closed, host_turn = e->host_turn;
    pthread_mutex_unlock(&p->lock);
    if (!host_turn)
        n += host_take(e, hosts, ret + n, most - n);
    return closed ? -EBADF : n;
}

/* Nothing of the stack will be ready any more: of the kernel's there may be. */
static int gone_wait(const struct epoll *e, struct epoll_event *ret, int most, int64_t deadline_us)
{
    int64_t left_ms = deadline_us == FOREVER ? -1 : (deadline_us - session_now_us() + 999) / 1000;
    if (e->hosts == 0)
        return -ENETDOWN;
    int n = epoll_wait(e->host_fd, ret, most, deadline_us == FOREVER ? -1 : left_ms > 0 ? (int)left_ms : 0);
    return n < 0 ? -errno : n;
}

static int epoll_sleep(struct session *s, struct epoll *e, struct epoll_event *ret, int most, int timeout_ms)
{
    int64_t deadline = timeout_ms < 0 ? FOREVER : session_now_us() + (int64_t)timeout_ms * 1000;
    struct pollfd host[1 + WAIT_EXTRA] = {{.fd = e->host_fd, .events = POLLIN}};
    struct waiter w = {.ready = epoll_ready, .argument = e, .deadline_us = deadline, .host = host, .host_count = 1};
    for (;;) {
        int error = session_wait(s, &w);
        int n = epoll_take(s, e, ret, most);
        if (n != 0)
            return n;
        if (session_is_gone(s))
            return gone_wait(e, ret, most, deadline);
        if (error != 0)
            return error == -ETIMEDOUT ? 0 : error;
    }
}

static struct epoll *epoll_enter(struct session *s, int fd, int *ret_error)
{
    struct epoll *e = NULL;
    pthread_mutex_lock(&s->epolls.lock);
    *ret_error = epoll_find(s, fd, &e);
    if (*ret_error == 0)
        e->users++;
    pthread_mutex_unlock(&s->epolls.lock);
    return e;
}

static void epoll_leave(struct session *s, struct epoll *e)
{
    pthread_mutex_lock(&s->epolls.lock);
    if (--e->users == 0 && e->closed)
        epoll_free(e);
    pthread_mutex_unlock(&s->epolls.lock);
}

int bh_epoll_wait(int epoll, struct epoll_event *ret_events, int most, int timeout_ms)
{
    struct session *s = session_current();
    int error = s == NULL ? -EBADF : most <= 0 ? -EINVAL : ret_events == NULL ? -EFAULT : 0;
    struct epoll *e = error == 0 ? epoll_enter(s, epoll, &error) : NULL;
    if (error != 0)
        return (int)bh_result(error);
    int n = epoll_take(s, e, ret_events, most);
    if (n == 0 && timeout_ms == 0 && !session_is_gone(s) && session_look(s))
        n = epoll_take(s, e, ret_events, most);
    if (n == 0 && (timeout_ms != 0 || session_is_gone(s)))
        n = epoll_sleep(s, e, ret_events, most, timeout_ms);
    epoll_leave(s, e);
    return (int)bh_result(n);
}
