// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "bench/apps/steady.h"

#define WAIT_MS 100
#define STACK   (256U << 10) /* of a thread: a chunk lies on it */

/* ---- epoll, poll ---- */
static void add(struct steady_set *set, int fd, uint32_t id)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = id};
    if (set->wait == STEADY_EPOLL && set->net->epoll_ctl(set->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        app_fail(errno, "cannot wait for a descriptor");
}

void steady_set_begin(struct steady_set *set)
{
    if (set->wait == STEADY_EPOLL)
        set->epoll = set->net->epoll_create1(EPOLL_CLOEXEC);
    if (set->epoll < 0)
        app_fail(errno, "cannot make an epoll set");
    add(set, STDIN_FILENO, STEADY_STDIN);
    if (set->listener >= 0)
        add(set, set->listener, STEADY_LISTENER);
}

void steady_set_listener_closed(struct steady_set *set)
{
    set->net->close(set->listener);
    set->listener = -1;
}

void steady_set_change(struct steady_set *set, struct steady_stream *s)
{
    uint32_t wanted = (s->ended ? 0U : EPOLLIN) | (steady_owes(s) ? EPOLLOUT : 0U);
    if (s->closed)
        return;
    if (steady_over(s)) {
        s->closed = true;
        set->net->close(s->fd); /* leaves the set */
        return;
    }
    if (wanted == s->waits_for || set->wait == STEADY_BLOCK)
        return;
    struct epoll_event event = {.events = wanted, .data.u32 = (uint32_t)(s - set->stream)};
    int operation = s->waits_for == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (set->wait == STEADY_EPOLL && set->net->epoll_ctl(set->epoll, operation, s->fd, &event) < 0)
        app_fail(errno, "cannot wait for a stream");
    s->waits_for = wanted;
}

static uint32_t wait_epoll(struct steady_set *set, struct steady_ready *ret)
{
    static struct epoll_event event[STEADY_READY];
    int n = set->net->epoll_wait(set->epoll, event, STEADY_READY, WAIT_MS);
    if (n < 0 && errno != EINTR)
        app_fail(errno, "epoll_wait");
    for (int i = 0; i < n; i++)
        ret[i] = (struct steady_ready){event[i].data.u32, event[i].events};
    return n < 0 ? 0 : (uint32_t)n;
}

static uint32_t wait_poll(struct steady_set *set, struct steady_ready *ret)
{
    static struct pollfd poll[STEADY_READY];
    static uint32_t id[STEADY_READY];
    uint32_t count = 0, found = 0;
    poll[count] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    id[count++] = STEADY_STDIN;
    if (set->listener >= 0) {
        poll[count] = (struct pollfd){.fd = set->listener, .events = POLLIN};
        id[count++] = STEADY_LISTENER;
    }
    for (uint32_t i = 0; i < set->count && set->wait == STEADY_POLL; i++) {
        if (set->stream[i].closed)
            continue;
        poll[count] = (struct pollfd){.fd = set->stream[i].fd, .events = (short)set->stream[i].waits_for};
        id[count++] = i;
    }
    int n = set->net->poll(poll, count, WAIT_MS);
    if (n < 0 && errno != EINTR)
        app_fail(errno, "poll");
    for (uint32_t i = 0; i < count && n > 0; i++)
        if (poll[i].revents != 0)
            ret[found++] = (struct steady_ready){id[i], (uint32_t)poll[i].revents};
    return found;
}

uint32_t steady_set_wait(struct steady_set *set, struct steady_ready *ret)
{
    return set->wait == STEADY_EPOLL ? wait_epoll(set, ret) : wait_poll(set, ret);
}

/* ---- blocking calls ---- */
static void begin(void *(*run)(void *), struct steady_stream *s)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &attributes, run, s);
    if (error != 0)
        app_fail(error, "cannot make a thread");
    pthread_attr_destroy(&attributes);
}

static void *bulk_sender(void *argument)
{
    struct steady_stream *s = argument;
    while (!s->shut && !s->lost) {
        (void)steady_send(s, 0);
        steady_finish(s);
    }
    return NULL;
}

static void *talker(void *argument)
{
    struct steady_stream *s = argument;
    while (!steady_over(s)) {
        while (steady_owes(s))
            (void)steady_send(s, 0);
        steady_finish(s);
        if (!steady_over(s))
            (void)steady_receive(s, 0);
    }
    return NULL;
}

static void *receiver(void *argument)
{
    struct steady_stream *s = argument;
    while (!s->known && !s->lost && !s->ended)
        (void)steady_receive(s, 0);
    if (s->known && s->kind == STEADY_REQUESTS)
        return talker(s);
    begin(bulk_sender, s);
    while (!s->ended && !s->lost)
        (void)steady_receive(s, 0);
    return NULL;
}

void steady_threads(struct steady_stream *s)
{
    begin(receiver, s);
}
