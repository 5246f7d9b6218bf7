// SPDX-License-Identifier: BSD-2-Clause
/* What the servers here have in common: one thread, one epoll set, a bounded table of connections. A server gives three
 * calls and a struct that begins with a struct client; serve.c accepts, waits, ends those that are idle, and makes
 * room.
 *
 * Limits: --connections at once. At that the one that was idle longest gives way if it was so for SERVE_SPARE_NS; else
 * the listener leaves the set, and who comes waits in its backlog. */
#ifndef BULKHEAD_BENCH_APPS_SERVE_H
#define BULKHEAD_BENCH_APPS_SERVE_H

#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "bench/apps/app.h"

#define SERVE_SPARE_NS 1000000000U

struct serving {          /* input of serve_argp; 0: by itself */
    uint64_t connections; /* the program's default, before its options are parsed */
    uint64_t send_buffer, receive_buffer;
    uint64_t idle_s; /* 0: for ever */
};

extern const struct argp_child serve_children[]; /* child_inputs[0] a struct app, [1] a struct serving */

enum served { SERVED_WAIT, SERVED_OVER, SERVED_BROKEN };

struct client {
    int fd;
    uint32_t wants;     /* EPOLLIN or EPOLLOUT: what the next event is to be; serve() sets it */
    bool again;         /* serve() has more to do without an event */
    uint32_t waits_for; /* as the set knows it */
    bool queued;
    uint64_t active_ns;
    TAILQ_ENTRY(client) age, queue;
};
TAILQ_HEAD(clients, client);

struct server {
    const struct app *app;
    const char *program;
    const struct serving *limits;
    size_t client_size;
    void (*begin)(struct server *s, struct client *c); /* the struct is zero but for the client; may be NULL */
    enum served (*serve)(struct server *s, struct client *c);
    void (*end)(struct server *s, struct client *c); /* what it holds besides the descriptor; may be NULL */
    int epoll, listener;
    bool paused; /* the listener is not in the set */
    uint64_t now_ns, retry_ns;
    uint64_t count, accepted, broken;
    struct clients by_age, again;
};

/* SO_SNDBUF and SO_RCVBUF of a socket before it listens or connects: as asked, else, on Bulkhead, so that `connections`
 * fit into a session's memory. */
void serve_buffers(const struct app *app, const struct serving *limits, int fd);
/* Listens and serves until SIGTERM or SIGINT; then ends all, and s->accepted and s->broken tell how many there were. */
void server_run(struct server *s, const struct place *address);
void client_active(struct server *s, struct client *c); /* it made progress */

#endif
