// SPDX-License-Identifier: BSD-2-Clause
/* The attachment of this process to the stack, and the one place where its threads wait.
 *
 * Theory of operation. There is one session a process, made by the first call and kept until the process ends; the attach
 * connection stays open for that time, because its end of file is how the supervisor learns that we died, and how we
 * learn that the stack is gone. A forked child drops what it inherited and attaches anew.
 *
 * Waiting: servers ring one doorbell for all that happens in a session, and only if control.sleep is odd. Every waiting thread
 * puts a struct waiter in a list, under the session's lock. The first is the poller: it makes the word odd, then
 * (barrier C) evaluates the condition of every waiter in the list, and sleeps in ppoll() on the doorbell only if none
 * holds. When it wakes it makes the word even, evaluates all again and wakes those whose condition holds; when it leaves it
 * passes the role on. A thread that joins while the poller sleeps evaluates its own condition under the lock, so after the
 * word became odd: what happens later rings. Followers sleep in ppoll() with an eventfd of their own and the
 * kernel's descriptors that they watch, so that a signal ends the wait of any thread; without a descriptor to spare on a
 * condition variable. What another thread of ours changes (a shutdown, a close) rings no
 * doorbell: session_wake() evaluates all conditions and wakes whom it concerns, the poller by the session's eventfd.
 *
 * The end of the stack shows as the end of the attach connection, to the poller; who does not wait looks there before it says
 * that nothing is ready (session_look), and a bell that nobody holds any more (EPIPE) says it, too: the supervisor holds all.
 *
 * Locks, in this order: a socket's, the session's (lock), epoll's or an arena's. Conditions are evaluated under the session's lock
 * by any thread: they read atomically and take no lock but epoll's. */
#ifndef BULKHEAD_SERVERS_CLIENT_SESSION_H
#define BULKHEAD_SERVERS_CLIENT_SESSION_H

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/doorbell.h"
#include "ipc/session.h"
#include "servers/client/arena.h"
#include "servers/client/epoll.h"
#include "servers/client/socket.h"

#define FOREVER INT64_MAX
#define SPARE_WAKES 8 /* eventfds kept for who waits next */

enum session_server { TO_SOCKET = 0, TO_TCP = 1, TO_UDP = 2, TO_SERVERS = 3 };

struct session_bell {
    pthread_mutex_t lock;
    struct doorbell bell;
};

struct lane {
    bool busy;
    bool abandoned;      /* nobody waits for the answer: `descriptor` (or LANE_NO_DESCRIPTOR) is free once it is there */
    bool undo;           /* abandoned, and what it made is to be closed first */
    uint32_t sequence;   /* of the last request */
    uint32_t descriptor;
};

struct session {
    int attach_fd, doorbell_fd;
    int wake_fd;                         /* an eventfd: other threads wake the poller */
    struct session_control *control;     /* we write */
    const struct session_answer *answer; /* the socket server writes: hostile */
    struct session_bell bell[TO_SERVERS];
    uint32_t id;
    uint32_t address_count;
    struct ip_address address[8];

    pthread_mutex_t attach_lock; /* one request at a time on the attach connection */

    pthread_mutex_t lock;        /* all below */
    struct waiter *waiters;
    bool polling;
    bool gone;                   /* the stack is; atomic */
    int64_t looked_us;           /* when session_look() last asked the kernel; atomic */
    struct lane lane[SESSION_LANES];
    uint32_t abandoned;
    pthread_cond_t lane_free;
    uint16_t free_descriptor[SESSION_DESCRIPTORS]; /* a stack */
    uint32_t free_descriptors;
    int spare_wake[SPARE_WAKES];
    uint32_t spare_wakes;

    struct arenas arenas;
    struct epolls epolls;  /* its lock: below the session's */
    struct socket *socket; /* SESSION_DESCRIPTORS; entries are reused, never freed */
};

struct waiter {
    bool (*ready)(struct session *s, const void *argument); /* under the session's lock, by any thread */
    const void *argument;
    int64_t deadline_us;     /* FOREVER: none */
    struct pollfd *host;     /* the kernel's descriptors; room for WAIT_EXTRA more behind them. NULL: none */
    nfds_t host_count;
    int host_ready;          /* out: how many have revents */
    /* private */
    struct waiter *next;
    pthread_cond_t *wake;
    int wake_fd;
};
#define WAIT_EXTRA 3

/* The session of this process, attached if need be. 0 or a negative errno. */
int session_get(struct session **ret);
struct session *session_current(void); /* NULL: not attached */
int session_attach(const char *run_dir);
/* 0: ready, or some of host is, or the session is gone; else -ETIMEDOUT, -EINTR. */
int session_wait(struct session *s, struct waiter *w);
/* After publishing for that server; contains barrier (c). Raises no SIGPIPE. */
void session_ring(struct session *s, enum session_server server);
/* After a change of ours that a waiting thread's condition may depend on. Not under the session's lock. */
void session_wake(struct session *s);
bool session_is_gone(const struct session *s);
/* The same, but asks the kernel, at most every 10 ms: for who is about to say that there is nothing, and does not wait. */
bool session_look(struct session *s);
void session_set_gone(struct session *s);
int64_t session_now_us(void);
/* One exchange on the attach connection; `fd` are passed. 0 or a negative errno. The caller holds attach_lock. A request
 * without a proper answer ends the session (-ENETDOWN): a late answer would be taken for the next one's. */
int session_exchange(struct session *s, const struct attach_request *request, const int fd[2], struct attach_answer *ret);

#endif
