// SPDX-License-Identifier: BSD-2-Clause
/* Sets of sockets that are waited on: bh_epoll_*(). See epoll.c. */
#ifndef BULKHEAD_SERVERS_CLIENT_EPOLL_H
#define BULKHEAD_SERVERS_CLIENT_EPOLL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/session.h"

struct session;
struct socket;
struct epoll;
struct epoll_item;

struct epolls { /* of a session */
    pthread_mutex_t lock;
    struct epoll *instance[SESSION_DESCRIPTORS];     /* by descriptor */
    struct epoll_item *watcher[SESSION_DESCRIPTORS]; /* by descriptor: a list. Its head is atomic */
    uint32_t cursor[SESSION_ARENAS];                 /* in their ready rings */
    uint32_t answer_cursor;                          /* in the answer segment's */
    uint32_t changes;                                /* made by calls of ours. Atomic */
};

struct news { /* what was known when someone last looked at many sockets; zeroed: nothing */
    bool known;
    uint32_t changes;
    uint32_t producer[SESSION_ARENAS + 1];
};
/* Whether a look at any socket may give another answer than at the last call with these. Before the sockets are looked
 * at. */
bool news_moved(struct session *s, struct news *news);

/* A call of ours changed what a socket is ready for: after the change, before the call returns. Not under the session's
 * lock. */
void epoll_touch(struct session *s, const struct socket *k);
/* A socket is closed: it leaves every set. Before its descriptor is free. */
void epoll_forget(struct session *s, uint32_t descriptor);
/* The descriptor is that of an instance. 0 or -EBADF. */
int epoll_close(struct session *s, uint32_t descriptor);
/* In the child of a fork: gives up what it inherited. */
void epoll_forked(struct session *s);

#endif
