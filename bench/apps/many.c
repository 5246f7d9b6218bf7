// SPDX-License-Identifier: BSD-2-Clause
#include "bench/apps/many.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/apps/serve.h"

#define EVENTS      256
#define STEP        7919U /* of the pattern from one connection to the next: a prime */
#define REFUSED_NS  5000000U
#define PATIENCE_NS 10000000000U /* without any progress, unless somebody asks for reports */
#define FINE_BITS   5U           /* of the histogram: 32 steps in each power of two */
#define HISTOGRAM   (64U << FINE_BITS)
#define GOODBYE_NS  3000000000U
#define COMMAND_MAX 64

enum talk_state { TALK_NONE, TALK_CONNECTING, TALK_TALKING };

struct talk { /* one connection */
    int fd;
    enum talk_state state;
    uint32_t waits_for; /* as the set knows it */
    uint32_t moved_in;  /* the mark after which it began and completed a round trip */
    bool pauses;        /* is in the queue of those */
    bool renewed;       /* lost, and not back yet */
    uint64_t retry_ns;  /* TALK_NONE: when to connect */
    uint64_t trips, start_ns;
    TAILQ_ENTRY(talk) queue;
    size_t sent, received; /* of the round trip under way */
};

TAILQ_HEAD(talks, talk);

struct figures { /* since the mark */
    uint64_t start_ns, trips, moved, lost, refused, renewed, longest_ns, lost_first_ns, lost_last_ns, back_ns;
    uint32_t histogram[HISTOGRAM];
};

struct run {
    const struct many *what;
    const struct net *net;
    struct talk *talk;
    struct talks paused;     /* the pause is the same for all, so the first is due first */
    uint64_t paced_ns, pace; /* so many may still begin in this millisecond */
    int epoll;
    uint64_t now_ns, progress_ns;
    uint64_t open, trips, lost, refused, renewed, wrong; /* in all */
    uint32_t marks;
    bool reconnects, ended;
    struct figures since;
    char command[COMMAND_MAX];
    size_t command_length;
};

/* ---- the histogram ---- */
static uint32_t bucket_of(uint64_t ns)
{
    uint32_t exponent = 63U - (uint32_t)__builtin_clzll(ns | 1);
    if (exponent < FINE_BITS)
        return (uint32_t)ns;
    return (exponent - FINE_BITS + 1) << FINE_BITS | (uint32_t)(ns >> (exponent - FINE_BITS) & ((1U << FINE_BITS) - 1));
}

static double bucket_us(uint32_t bucket) /* its middle */
{
    uint32_t shift = bucket >> FINE_BITS;
    if (shift == 0)
        return (double)bucket / 1e3;
    uint64_t least = (uint64_t)((1U << FINE_BITS) | (bucket & ((1U << FINE_BITS) - 1))) << (shift - 1);
    return ((double)least + (double)(1ULL << (shift - 1)) / 2) / 1e3;
}

static double percentile_us(const struct figures *f, double share)
{
    uint64_t wanted = (uint64_t)((double)f->trips * share), seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM; i++) {
        seen += f->histogram[i];
        if (seen > wanted)
            return bucket_us(i);
    }
    return 0;
}

/* ---- reports ---- */
static double since_ms(const struct run *r, uint64_t ns)
{
    return ns == 0 ? 0.0 : (double)(ns - r->since.start_ns) / 1e6;
}

static void report(const struct run *r)
{
    const struct figures *f = &r->since;
    double seconds = (double)(app_now_ns() - f->start_ns) / 1e9;
    printf("{\"stack\": \"%s\", \"connections\": %llu, \"open\": %llu, \"round_trips\": %llu, \"lost\": %llu, "
           "\"refused\": %llu, \"renewed\": %llu, \"wrong\": %llu, ",
           r->net->name, (unsigned long long)r->what->connections, (unsigned long long)r->open,
           (unsigned long long)r->trips, (unsigned long long)r->lost, (unsigned long long)r->refused,
           (unsigned long long)r->renewed, (unsigned long long)r->wrong);
    printf("\"since_mark\": {\"seconds\": %.6f, \"round_trips\": %llu, \"rate\": %.0f, \"moved\": %llu, "
           "\"lost\": %llu, \"refused\": %llu, \"renewed\": %llu, \"median_us\": %.2f, \"p99_us\": %.2f, "
           "\"longest_ms\": %.3f, \"lost_first_ms\": %.3f, \"lost_last_ms\": %.3f, \"back_ms\": %.3f}}\n",
           seconds, (unsigned long long)f->trips, (double)f->trips / seconds, (unsigned long long)f->moved,
           (unsigned long long)f->lost, (unsigned long long)f->refused, (unsigned long long)f->renewed,
           percentile_us(f, 0.5), percentile_us(f, 0.99), (double)f->longest_ns / 1e6, since_ms(r, f->lost_first_ns),
           since_ms(r, f->lost_last_ns), since_ms(r, f->back_ns));
    fflush(stdout);
}

static void mark(struct run *r)
{
    r->since = (struct figures){.start_ns = app_now_ns()};
    r->marks++;
}

/* ---- one connection ---- */
static void talk_lost(struct run *r, struct talk *t, bool refused)
{
    struct figures *f = &r->since;
    r->net->close(t->fd); /* leaves the set */
    if (t->pauses)
        TAILQ_REMOVE(&r->paused, t, queue);
    t->pauses = false;
    r->open -= t->state == TALK_TALKING;
    if (refused) {
        r->refused++;
        f->refused++;
    } else {
        r->lost++;
        f->lost++;
        f->lost_last_ns = app_now_ns();
        f->lost_first_ns = f->lost_first_ns != 0 ? f->lost_first_ns : f->lost_last_ns;
    }
    t->state = TALK_NONE;
    t->renewed = true;
    t->retry_ns = refused ? r->now_ns + REFUSED_NS : 0;
}

/* The octets of the round trip under way, from `at` on. */
static const uint8_t *talk_octets(const struct run *r, const struct talk *t, size_t at)
{
    uint64_t number = (uint64_t)(t - r->talk);
    return app_pattern() + (number * STEP + t->trips * r->what->size + at) % PATTERN_PERIOD;
}

/* False: the connection is broken. */
static bool talk_wait(struct run *r, struct talk *t, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)(t - r->talk) + 1};
    if (events == t->waits_for)
        return true;
    t->waits_for = events;
    return r->net->epoll_ctl(r->epoll, EPOLL_CTL_MOD, t->fd, &event) == 0;
}

static bool talk_send(struct run *r, struct talk *t)
{
    size_t left = r->what->size - t->sent;
    ssize_t n = r->net->send(t->fd, talk_octets(r, t, t->sent), left, MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return false;
    t->sent += n > 0 ? (size_t)n : 0;
    return talk_wait(r, t, t->sent < r->what->size ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static bool talk_begin(struct run *r, struct talk *t)
{
    t->sent = t->received = 0;
    t->start_ns = app_now_ns();
    return talk_send(r, t);
}

static void trip_done(struct run *r, struct talk *t)
{
    struct figures *f = &r->since;
    uint64_t now_ns = app_now_ns(), ns = now_ns - t->start_ns;
    t->trips++;
    r->trips++;
    f->trips++;
    f->histogram[bucket_of(ns)]++;
    f->longest_ns = ns > f->longest_ns ? ns : f->longest_ns;
    if (t->moved_in != r->marks && t->start_ns >= f->start_ns) {
        t->moved_in = r->marks;
        f->moved++;
    }
    if (t->renewed) {
        t->renewed = false;
        r->renewed++;
        f->renewed++;
        f->back_ns = now_ns;
    }
    r->progress_ns = now_ns;
}

static bool talk_receive(struct run *r, struct talk *t)
{
    uint8_t data[MANY_SIZE_MAX];
    ssize_t n = r->net->recv(t->fd, data, t->pauses ? 1 : r->what->size - t->received, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    r->wrong += n > 0 && t->pauses; /* nobody asked */
    if (n == 0 || t->pauses)
        return false;
    if (memcmp(data, talk_octets(r, t, t->received), (size_t)n) != 0)
        r->wrong++;
    t->received += (size_t)n;
    if (t->received < r->what->size)
        return true;
    trip_done(r, t);
    if (r->what->pause_ms == 0)
        return talk_begin(r, t);
    t->pauses = true;
    t->retry_ns = r->progress_ns + r->what->pause_ms * 1000000;
    TAILQ_INSERT_TAIL(&r->paused, t, queue);
    return true;
}

/* Those whose pause is over; not all at once if many are, or they would stay together for ever. Milliseconds until the
 * next ones, at most `most`. */
static int go_on_after_pause(struct run *r, int most)
{
    struct talk *t;
    if (r->now_ns >= r->paced_ns + 1000000) {
        r->paced_ns = r->now_ns;
        r->pace = 1 + 2 * r->what->connections / (r->what->pause_ms + 1);
    }
    for (; r->pace > 0 && (t = TAILQ_FIRST(&r->paused)) != NULL && t->retry_ns <= r->now_ns; r->pace--) {
        TAILQ_REMOVE(&r->paused, t, queue);
        t->pauses = false;
        if (!talk_begin(r, t))
            talk_lost(r, t, false);
    }
    t = TAILQ_FIRST(&r->paused);
    if (t == NULL)
        return most;
    uint64_t left_ms = t->retry_ns <= r->now_ns ? 1 : (t->retry_ns - r->now_ns) / 1000000 + 1;
    return left_ms < (uint64_t)most ? (int)left_ms : most;
}

static bool talk_connected(struct run *r, struct talk *t)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (r->net->getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error != 0)
        return false;
    t->state = TALK_TALKING;
    r->open++;
    return talk_begin(r, t);
}

static void talk_event(struct run *r, struct talk *t, uint32_t events)
{
    bool good = true, connecting = t->state == TALK_CONNECTING;
    if (t->state == TALK_NONE)
        return;
    if (connecting)
        good = talk_connected(r, t);
    else if ((events & EPOLLOUT) != 0 && t->sent < r->what->size)
        good = talk_send(r, t);
    if (good && !connecting && (events & ~(uint32_t)EPOLLOUT) != 0)
        good = talk_receive(r, t);
    if (!good)
        talk_lost(r, t, t->state == TALK_CONNECTING);
}

static void talk_connect(struct run *r, struct talk *t)
{
    const struct place *peer = &r->what->peer[(uint64_t)(t - r->talk) % r->what->peers];
    const struct serving limits = {.connections = r->what->connections};
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = (uint64_t)(t - r->talk) + 1};
    int on = 1;
    t->fd = r->net->socket(peer->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0)
        app_fail(errno, "cannot make a socket");
    serve_buffers(r->what->app, &limits, t->fd);
    if (r->net->setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        app_fail(errno, "cannot set TCP_NODELAY");
    t->state = TALK_CONNECTING;
    t->waits_for = EPOLLOUT;
    bool begun = r->net->connect(t->fd, &peer->any, peer->length) == 0 || errno == EINPROGRESS;
    if (!begun || r->net->epoll_ctl(r->epoll, EPOLL_CTL_ADD, t->fd, &event) < 0)
        talk_lost(r, t, true);
}

/* ---- all of them ---- */
/* Makes those that are not there, once all have been there or it was asked for. True: some have to wait. */
static bool connect_lost(struct run *r)
{
    bool waits = false;
    if (r->open == r->what->connections || (!r->reconnects && r->lost > 0))
        return false;
    for (uint64_t i = 0; i < r->what->connections; i++) {
        struct talk *t = &r->talk[i];
        if (t->state == TALK_NONE && r->now_ns >= t->retry_ns)
            talk_connect(r, t);
        waits = waits || t->state == TALK_NONE;
    }
    return waits;
}

static void command_do(struct run *r, const char *command)
{
    if (strcmp(command, "mark") == 0)
        mark(r);
    else if (strcmp(command, "reconnect") == 0)
        r->reconnects = true;
    else if (strcmp(command, "report") != 0)
        app_fail(0, "'%s' is not mark, report or reconnect", command);
    report(r);
}

static void commands_read(struct run *r)
{
    ssize_t n = read(STDIN_FILENO, r->command + r->command_length, sizeof r->command - r->command_length);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0) {
        r->net->epoll_ctl(r->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
        r->ended = true;
        return;
    }
    r->command_length += (size_t)n;
    char *end;
    while ((end = memchr(r->command, '\n', r->command_length)) != NULL) {
        *end = '\0';
        command_do(r, r->command);
        r->command_length -= (size_t)(end + 1 - r->command);
        memmove(r->command, end + 1, r->command_length);
    }
    if (r->command_length == sizeof r->command)
        app_fail(0, "a line on stdin is too long");
}

static void turn(struct run *r)
{
    struct epoll_event event[EVENTS];
    bool waits = connect_lost(r);
    int n = r->net->epoll_wait(r->epoll, event, EVENTS, go_on_after_pause(r, waits ? 5 : 1000));
    if (n < 0 && errno != EINTR)
        app_fail(errno, "cannot wait");
    r->now_ns = app_now_ns();
    for (int i = 0; i < n && !r->ended; i++) {
        if (event[i].data.u64 == 0)
            commands_read(r);
        else
            talk_event(r, &r->talk[event[i].data.u64 - 1], event[i].events);
        if (!r->what->reports)
            r->ended = r->trips >= r->what->count || r->lost > 0;
    }
    if (!r->what->reports && r->now_ns > r->progress_ns && r->now_ns - r->progress_ns > PATIENCE_NS)
        app_fail(0, "no answer after %llu round trips", (unsigned long long)r->trips);
}

static void begin(struct run *r)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0};
    r->talk = calloc(r->what->connections, sizeof *r->talk);
    if (r->talk == NULL)
        app_fail(errno, "cannot remember %llu connections", (unsigned long long)r->what->connections);
    app_descriptors(r->what->connections);
    r->epoll = r->net->epoll_create1(EPOLL_CLOEXEC);
    if (r->epoll < 0)
        app_fail(errno, "cannot make an epoll set");
    if (r->what->reports && r->net->epoll_ctl(r->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
        app_fail(errno, "cannot wait for stdin");
    TAILQ_INIT(&r->paused);
    r->now_ns = r->progress_ns = app_now_ns();
    mark(r);
}

/* True: it is over. */
static bool talk_drain(const struct run *r, const struct talk *t)
{
    uint8_t data[MANY_SIZE_MAX];
    ssize_t n;
    while ((n = r->net->recv(t->fd, data, sizeof data, MSG_DONTWAIT)) > 0)
        ;
    return n == 0 || (errno != EAGAIN && errno != EINTR);
}

/* Says that it has finished and waits for the peers to say so, too: closing with an answer on its way would reset them.
 */
static void end(struct run *r)
{
    struct epoll_event event[EVENTS];
    uint64_t until_ns = app_now_ns() + GOODBYE_NS, left = 0;
    for (uint64_t i = 0; i < r->what->connections; i++) {
        struct talk *t = &r->talk[i];
        left += t->state == TALK_TALKING;
        if (t->state == TALK_TALKING && r->net->shutdown(t->fd, SHUT_WR) == 0)
            talk_wait(r, t, EPOLLIN);
    }
    while (left > 0 && app_now_ns() < until_ns) {
        int n = r->net->epoll_wait(r->epoll, event, EVENTS, 100);
        for (int i = 0; i < n; i++) {
            struct talk *t = event[i].data.u64 == 0 ? NULL : &r->talk[event[i].data.u64 - 1];
            if (t == NULL || t->state != TALK_TALKING || !talk_drain(r, t))
                continue;
            r->net->close(t->fd);
            t->state = TALK_NONE;
            left--;
        }
    }
    for (uint64_t i = 0; i < r->what->connections; i++)
        if (r->talk[i].state != TALK_NONE)
            r->net->close(r->talk[i].fd);
    r->net->close(r->epoll);
    free(r->talk);
}

int many_run(const struct many *what)
{
    static struct run r;
    r = (struct run){.what = what, .net = what->app->net};
    begin(&r);
    bool all_open = false;
    while (!r.ended) {
        turn(&r);
        if (!what->reports && !all_open &&
            r.open == what->connections) { /* the time of connecting is not that of trips */
            all_open = true;
            mark(&r);
            r.trips = 0;
        }
    }
    const struct figures *f = &r.since;
    if (!what->reports)
        printf("%llu round trips on %llu connections median %.2f us p99 %.2f us %.0f a second\n",
               (unsigned long long)f->trips, (unsigned long long)what->connections, percentile_us(f, 0.5),
               percentile_us(f, 0.99), (double)f->trips * 1e9 / (double)(app_now_ns() - f->start_ns));
    end(&r);
    if (r.wrong == 0 && (what->reports || r.lost == 0))
        return 0;
    fprintf(stderr, "bh-rr: %llu wrong answers, %llu connections lost\n", (unsigned long long)r.wrong,
            (unsigned long long)r.lost);
    return 1;
}
