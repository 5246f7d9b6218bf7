// SPDX-License-Identifier: BSD-2-Clause
/* bh_poll(): linear in the set, but who waits looks at a large one again only when something is new. The kernel's
 * descriptors are gathered into an array of their own for ppoll(). */
#include <errno.h>
#include <stdlib.h>

#include "servers/client/bulkhead.h"
#include "servers/client/session.h"

#define SMALL_SET 64
#define FEW       16 /* looked at sooner than asked for whether there is news */

struct poll_set {
    const struct pollfd *set;
    nfds_t count;
    struct news *news;
};

static bool is_host(const struct pollfd *p)
{
    return p->fd >= 0 && !bh_is_descriptor(p->fd);
}

static short events_of(struct session *s, const struct pollfd *p)
{
    uint32_t index = (uint32_t)p->fd - (uint32_t)BH_DESCRIPTOR_BASE;
    if (s == NULL || index >= SESSION_DESCRIPTORS)
        return POLLNVAL;
    if (session_is_gone(s) && socket_phase(&s->socket[index]) != SOCKET_FREE)
        return POLLERR | POLLHUP;
    return (short)(socket_events(&s->socket[index]) & (p->events | POLLERR | POLLHUP | POLLNVAL));
}

static bool any_ready(struct session *s, const void *argument)
{
    const struct poll_set *p = argument;
    if (p->count > FEW && !news_moved(s, p->news))
        return false; /* as the last time */
    for (nfds_t i = 0; i < p->count; i++)
        if (bh_is_descriptor(p->set[i].fd) && events_of(s, &p->set[i]) != 0) {
            p->news->known = false; /* who is woken by this asks again */
            return true;
        }
    return false;
}

/* Writes revents of ours. How many are not 0. */
static int mark_own(struct session *s, struct pollfd *set, nfds_t count)
{
    int ready = 0;
    for (nfds_t i = 0; i < count; i++) {
        if (!bh_is_descriptor(set[i].fd)) {
            set[i].revents = 0;
            continue;
        }
        set[i].revents = events_of(s, &set[i]);
        ready += set[i].revents != 0;
    }
    return ready;
}

static nfds_t gather_host(const struct pollfd *set, nfds_t count, struct pollfd *ret)
{
    nfds_t n = 0;
    for (nfds_t i = 0; i < count; i++)
        if (is_host(&set[i]))
            ret[n++] = (struct pollfd){.fd = set[i].fd, .events = set[i].events};
    return n;
}

static int mark_host(struct pollfd *set, nfds_t count, const struct pollfd *host)
{
    int ready = 0;
    for (nfds_t i = 0, n = 0; i < count; i++) {
        if (!is_host(&set[i]))
            continue;
        set[i].revents = host[n++].revents;
        ready += set[i].revents != 0;
    }
    return ready;
}

/* None of the set was ready when `news` was news. */
static int poll_wait(struct session *s, struct pollfd *set, nfds_t count, struct pollfd *host, nfds_t hosts,
                     int timeout_ms, struct news *news)
{
    struct poll_set p = {.set = set, .count = count, .news = news};
    struct waiter w = {.ready = any_ready,
                       .argument = &p,
                       .deadline_us = timeout_ms < 0 ? FOREVER : session_now_us() + (int64_t)timeout_ms * 1000,
                       .host = hosts > 0 ? host : NULL,
                       .host_count = hosts};
    for (;;) {
        int error = session_wait(s, &w);
        if (error == -ETIMEDOUT)
            return 0;
        if (error != 0)
            return error;
        int ready = mark_own(s, set, count);
        if (w.host_ready > 0)
            ready += mark_host(set, count, host);
        if (ready > 0)
            return ready;
    } /* another thread was faster, and took what there was */
}

static int poll_once(struct session *s, struct pollfd *set, nfds_t count, struct pollfd *host, int timeout_ms)
{
    struct news news = {0};
    if (s != NULL && count > FEW)
        (void)news_moved(s, &news);
    int ready = mark_own(s, set, count);
    nfds_t hosts = gather_host(set, count, host);
    if (ready == 0 && timeout_ms == 0 && s != NULL && !session_is_gone(s) && session_look(s))
        ready = mark_own(s, set, count);
    if (hosts == 0 && (ready > 0 || timeout_ms == 0))
        return ready;
    if (ready > 0 || timeout_ms == 0 || s == NULL) { /* without a session there is nothing but the kernel's */
        if (poll(host, hosts, ready > 0 ? 0 : timeout_ms) < 0)
            return -errno;
        return ready + mark_host(set, count, host);
    }
    return poll_wait(s, set, count, host, hosts, timeout_ms, &news);
}

int bh_poll(struct pollfd *set, nfds_t count, int timeout_ms)
{
    struct pollfd small[SMALL_SET + WAIT_EXTRA];
    struct pollfd *host = small;
    if (count > SMALL_SET) {
        if (count > SIZE_MAX / sizeof *host - WAIT_EXTRA)
            return (int)bh_result(-EINVAL);
        host = malloc((count + WAIT_EXTRA) * sizeof *host);
    }
    if (host == NULL)
        return (int)bh_result(-ENOMEM);
    int r = poll_once(session_current(), set, count, host, timeout_ms);
    if (host != small)
        free(host);
    return (int)bh_result(r);
}
