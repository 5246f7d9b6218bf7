// SPDX-License-Identifier: BSD-2-Clause
#include "bench/apps/serve.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>

#define EVENTS         256
#define ACCEPT_TURNS   64
#define TICK_MS        1000
#define RETRY_MS       50           /* who waits for room looks again */
#define BUFFER_DEFAULT (256U << 10) /* of libbulkhead: no need to say it */
#define BUFFER_LEAST   (4U << 10)
#define BUFFERS_BUDGET                                                                                                 \
    (160U << 20) /* of the 256 MiB that the default policy gives a session; a quarter of all slots is spare */
#define CONNECTIONS_MAX 1000000

static volatile sig_atomic_t ending;

static void on_signal(int number)
{
    (void)number;
    ending = 1;
}

/* ---- options ---- */
static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    uint64_t n;
    if (!app_number(text, least, most, &n))
        app_usage("'%s' is not a number from %llu to %llu", text, (unsigned long long)least, (unsigned long long)most);
    return n;
}

static error_t serve_option(int key, char *text, struct argp_state *state)
{
    struct serving *s = state->input;
    switch (key) {
    case 'N':
        s->connections = number(text, 1, CONNECTIONS_MAX);
        return 0;
    case 'S':
        s->send_buffer = number(text, 1, 1U << 30);
        return 0;
    case 'R':
        s->receive_buffer = number(text, 1, 1U << 30);
        return 0;
    case 'I':
        s->idle_s = number(text, 0, 1000000);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option serve_options[] = {
    {"connections", 'N', "N", 0, "at most so many at once; the longest idle gives way, or the next one waits", 5},
    {"send-buffer", 'S', "OCTETS", 0, "of each connection (default: what --connections leave room for)", 5},
    {"receive-buffer", 'R', "OCTETS", 0, "likewise", 5},
    {"idle", 'I', "S", 0, "a connection without progress ends after so many seconds; 0: it does not", 5},
    {0}};
static const struct argp serve_argp = {.options = serve_options, .parser = serve_option};
const struct argp_child serve_children[] = {{.argp = &app_argp}, {.argp = &serve_argp}, {0}};

/* ---- buffers ---- */
/* The largest power of two that `connections` pairs of rings leave room for. */
static uint64_t buffer_that_fits(uint64_t connections)
{
    uint64_t octets = BUFFER_DEFAULT;
    while (octets > BUFFER_LEAST && 2 * octets * connections > BUFFERS_BUDGET)
        octets /= 2;
    return octets;
}

void serve_buffers(const struct app *app, const struct serving *limits, int fd)
{
    const struct {
        int name;
        uint64_t asked;
    } row[] = {{SO_SNDBUF, limits->send_buffer}, {SO_RCVBUF, limits->receive_buffer}};
    uint64_t fits = app->net->fixed_rings ? buffer_that_fits(limits->connections) : BUFFER_DEFAULT;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        int octets = (int)(row[i].asked != 0 ? row[i].asked : fits);
        if (row[i].asked == 0 && fits == BUFFER_DEFAULT)
            continue;
        if (app->net->setsockopt(fd, SOL_SOCKET, row[i].name, &octets, sizeof octets) < 0)
            app_fail(errno, "cannot set the size of a buffer to %d", octets);
    }
}

/* ---- one connection ---- */
void client_active(struct server *s, struct client *c)
{
    c->active_ns = s->now_ns;
    TAILQ_REMOVE(&s->by_age, c, age);
    TAILQ_INSERT_TAIL(&s->by_age, c, age);
}

static void client_end(struct server *s, struct client *c)
{
    const struct net *net = s->app->net;
    if (s->end != NULL)
        s->end(s, c);
    net->shutdown(c->fd, SHUT_WR);
    net->close(c->fd); /* leaves the set */
    TAILQ_REMOVE(&s->by_age, c, age);
    if (c->queued)
        TAILQ_REMOVE(&s->again, c, queue);
    free(c);
    s->count--;
}

static void client_queue(struct server *s, struct client *c)
{
    if (c->again && !c->queued)
        TAILQ_INSERT_TAIL(&s->again, c, queue);
    else if (!c->again && c->queued)
        TAILQ_REMOVE(&s->again, c, queue);
    c->queued = c->again;
}

static void client_serve(struct server *s, struct client *c)
{
    c->again = false;
    enum served r = s->serve(s, c);
    bool waits = r == SERVED_WAIT;
    if (waits && c->wants != c->waits_for) {
        struct epoll_event event = {.events = c->wants, .data.ptr = c};
        waits = s->app->net->epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &event) == 0;
        c->waits_for = c->wants;
    }
    if (waits) {
        client_queue(s, c);
        return;
    }
    s->broken += r != SERVED_OVER;
    client_end(s, c);
}

static void client_new(struct server *s, int fd)
{
    struct client *c = calloc(1, s->client_size);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (c == NULL || s->app->net->epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        free(c);
        s->app->net->close(fd);
        return;
    }
    c->fd = fd;
    c->wants = c->waits_for = EPOLLIN;
    c->active_ns = s->now_ns;
    TAILQ_INSERT_TAIL(&s->by_age, c, age);
    s->count++;
    s->accepted++;
    if (s->begin != NULL)
        s->begin(s, c);
    client_serve(s, c);
}

/* ---- all of them ---- */
static void listener_pause(struct server *s, bool pause)
{
    struct epoll_event event = {.events = EPOLLIN};
    if (pause != s->paused &&
        s->app->net->epoll_ctl(s->epoll, pause ? EPOLL_CTL_DEL : EPOLL_CTL_ADD, s->listener, &event) < 0)
        app_fail(errno, "cannot wait for connections");
    s->paused = pause;
    s->retry_ns = s->now_ns + RETRY_MS * 1000000ULL;
}

/* True: there is room for one more, if need be that of one which was idle. */
static bool room_for_one(struct server *s)
{
    struct client *oldest = TAILQ_FIRST(&s->by_age);
    if (s->count < s->limits->connections)
        return true;
    if (oldest == NULL || s->now_ns - oldest->active_ns < SERVE_SPARE_NS)
        return false;
    client_end(s, oldest);
    return true;
}

static void accept_some(struct server *s)
{
    for (int turns = 0; turns < ACCEPT_TURNS; turns++) {
        if (!room_for_one(s)) {
            listener_pause(s, true);
            return;
        }
        int fd = s->app->net->accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            client_new(s, fd);
            continue;
        }
        if (errno == ENETDOWN || errno == EBADF || errno == EINVAL)
            app_fail(errno, "cannot accept any more");
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            listener_pause(s, true);
        if (errno != ECONNABORTED)
            return;
    }
}

static void end_idle(struct server *s)
{
    uint64_t limit_ns = s->limits->idle_s * 1000000000U;
    struct client *c;
    while (limit_ns > 0 && (c = TAILQ_FIRST(&s->by_age)) != NULL && s->now_ns - c->active_ns > limit_ns)
        client_end(s, c);
}

/* Those with more to do: each once, and whoever queues itself anew has its next turn after the events. */
static void serve_queued(struct server *s)
{
    struct client *last = TAILQ_LAST(&s->again, clients), *c;
    bool end = last == NULL;
    while (!end && (c = TAILQ_FIRST(&s->again)) != NULL) {
        end = c == last;
        TAILQ_REMOVE(&s->again, c, queue);
        c->queued = false;
        client_serve(s, c);
    }
}

static void turn(struct server *s)
{
    struct epoll_event event[EVENTS];
    bool arrivals = false;
    int timeout_ms = !TAILQ_EMPTY(&s->again) ? 0 : s->paused ? RETRY_MS : TICK_MS;
    int n = s->app->net->epoll_wait(s->epoll, event, EVENTS, timeout_ms);
    if (n < 0 && errno != EINTR)
        app_fail(errno, "cannot wait");
    s->now_ns = app_now_ns();
    for (int i = 0; i < n; i++)
        if (event[i].data.ptr == NULL)
            arrivals = true;
        else
            client_serve(s, event[i].data.ptr);
    serve_queued(s);
    end_idle(s); /* after the events: none names one that is gone */
    if (s->paused && s->now_ns >= s->retry_ns)
        listener_pause(s, false);
    if (arrivals && !s->paused)
        accept_some(s);
}

static void server_start(struct server *s, const struct place *address)
{
    const struct net *net = s->app->net;
    struct sigaction end = {.sa_handler = on_signal};
    int on = 1;
    app_descriptors(s->limits->connections);
    s->listener = app_socket_bound(s->app, address, SOCK_STREAM | SOCK_NONBLOCK);
    serve_buffers(s->app, s->limits, s->listener);
    if (net->setsockopt(s->listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) /* accepted ones inherit it */
        app_fail(errno, "cannot set TCP_NODELAY");
    app_listen_on(s->app, s->program, s->listener, s->limits->connections);
    s->epoll = net->epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll < 0)
        app_fail(errno, "cannot make an epoll set");
    TAILQ_INIT(&s->by_age);
    TAILQ_INIT(&s->again);
    s->paused = true;
    listener_pause(s, false);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
}

void server_run(struct server *s, const struct place *address)
{
    struct client *c;
    server_start(s, address);
    while (!ending)
        turn(s);
    while ((c = TAILQ_FIRST(&s->by_age)) != NULL)
        client_end(s, c);
    s->app->net->close(s->epoll);
    s->app->net->close(s->listener);
}
