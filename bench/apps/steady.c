// SPDX-License-Identifier: BSD-2-Clause
#include "bench/apps/steady.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench/apps/serve.h"

#define COMMAND_MAX 64
#define PATIENCE_NS 20000000000U /* of the end */

const char *argp_program_version = "bh-steady (Bulkhead)";

struct arguments {
    struct app app;
    struct place address;
    bool listens, given;
    uint64_t bulk, requests, connections;
    enum steady_wait wait;
};

struct run {
    const struct arguments *a;
    struct steady_set set;
    char command[COMMAND_MAX];
    size_t command_length;
    bool ending;
    uint64_t end_ns;
};

/* ---- options ---- */
static bool wait_read(const char *text, enum steady_wait *ret)
{
    static const char *const names[] = {[STEADY_EPOLL] = "epoll", [STEADY_POLL] = "poll", [STEADY_BLOCK] = "block"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i]) != 0)
            continue;
        *ret = (enum steady_wait)i;
        return true;
    }
    return false;
}

static error_t option(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->app;
        return 0;
    case 'l':
        a->listens = true;
        return 0;
    case 'b':
    case 'q':
        if (!app_number(text, 0, STEADY_STREAMS / 2, key == 'b' ? &a->bulk : &a->requests))
            app_usage("'%s' is not a number from 0 to %u", text, STEADY_STREAMS / 2);
        return 0;
    case 'n':
        if (!app_number(text, 1, STEADY_STREAMS, &a->connections))
            app_usage("'%s' is not a number from 1 to %u", text, STEADY_STREAMS);
        return 0;
    case 'w':
        if (!wait_read(text, &a->wait))
            app_usage("'%s' is not a way to wait: say epoll, poll or block", text);
        return 0;
    case ARGP_KEY_ARG:
        if (a->given || !app_address(text, a->listens, &a->address))
            app_usage("'%s' is not a numeric ADDRESS:PORT (with --listen before it: or PORT), or one too many", text);
        a->given = true;
        return 0;
    case ARGP_KEY_END:
        if (a->listens != (a->bulk + a->requests == 0))
            app_usage("say --bulk or --requests, or --listen");
        return 0;
    case ARGP_KEY_NO_ARGS:
        app_usage("say the ADDRESS:PORT of another bh-steady, or --listen and where");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"listen", 'l', NULL, 0, "accept, and do what those that connect want", 0},
    {"bulk", 'b', "N", 0, "streams that carry as much as goes, both ways", 0},
    {"requests", 'q', "N", 0, "streams of requests and answers", 0},
    {"connections", 'n', "N", 0, "with --listen: so many are expected (default 128)", 0},
    {"wait", 'w', "HOW", 0, "epoll (default), poll, or block: a thread for each direction", 0},
    {0}};
static const struct argp argp = {.options = options,
                                 .parser = option,
                                 .args_doc = "ADDRESS:PORT",
                                 .doc = "Connections that are made once and have to last, each octet checked at both "
                                        "ends. Lines on stdin (report, mark, unsent, streams, stop) are answered by "
                                        "JSON.",
                                 .children = app_children};

/* ---- streams ---- */
static void stream_new(struct run *r, int fd, bool connected, enum steady_kind kind)
{
    struct steady_stream *s = &r->set.stream[r->set.count];
    int on = 1;
    s->number = r->set.count;
    s->kind = kind;
    if (r->a->app.net->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        app_fail(errno, "cannot set TCP_NODELAY");
    steady_stream_begin(s, r->a->app.net, fd, connected);
    r->set.count++;
    if (r->set.wait == STEADY_BLOCK)
        steady_threads(s);
    steady_set_change(&r->set, s);
}

static void connect_all(struct run *r)
{
    const struct arguments *a = r->a;
    const struct net *net = a->app.net;
    const struct serving limits = {.connections = a->connections};
    for (uint64_t i = 0; i < a->bulk + a->requests; i++) {
        int fd = net->socket(a->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            app_fail(errno, "cannot make a socket");
        serve_buffers(&a->app, &limits, fd);
        if (net->connect(fd, &a->address.any, a->address.length) < 0)
            app_fail(errno, "cannot connect to %s", app_address_text(&a->address));
        stream_new(r, fd, true, i < a->bulk ? STEADY_BULK : STEADY_REQUESTS);
    }
    printf("bh-steady: connected %u\n", r->set.count);
}

static int listener_new(const struct arguments *a)
{
    const struct serving limits = {.connections = a->connections};
    int fd = app_socket_bound(&a->app, &a->address, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC);
    serve_buffers(&a->app, &limits, fd);
    app_listen_on(&a->app, "bh-steady", fd, a->connections);
    return fd;
}

static void accept_one(struct run *r)
{
    int fd = r->a->app.net->accept4(r->set.listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (fd < 0 || r->set.count == STEADY_STREAMS)
        app_fail(fd < 0 ? errno : 0, "cannot accept a connection");
    stream_new(r, fd, false, STEADY_BULK);
}

static void stream_event(struct run *r, struct steady_stream *s, uint32_t events)
{
    if (s->closed)
        return;
    if (events & ~(uint32_t)EPOLLOUT)
        (void)steady_receive(s, MSG_DONTWAIT);
    (void)steady_send(s, MSG_DONTWAIT);
    steady_finish(s);
    steady_set_change(&r->set, s);
}

/* ---- reports ---- */
struct totals {
    uint64_t lost, wrong, sent, received, over;
    double gap_ms, longest_ms;
};

static struct totals totals_of(const struct run *r)
{
    struct totals t = {0};
    uint64_t now_ns = app_now_ns();
    for (uint32_t i = 0; i < r->set.count; i++) {
        const struct steady_stream *s = &r->set.stream[i];
        double gap_ms = (double)steady_gap_ns(s, now_ns) / 1e6, longest_ms = (double)s->longest_ns / 1e6;
        t.lost += s->lost;
        t.over += steady_over(s);
        t.wrong += s->wrong;
        t.sent += s->sent;
        t.received += s->received;
        t.gap_ms = gap_ms > t.gap_ms ? gap_ms : t.gap_ms;
        t.longest_ms = longest_ms > t.longest_ms ? longest_ms : t.longest_ms;
    }
    return t;
}

static void totals_print(const struct run *r)
{
    struct totals t = totals_of(r);
    printf("{\"streams\": %u, \"lost\": %llu, \"over\": %llu, \"wrong\": %llu, \"sent\": %llu, \"received\": %llu, "
           "\"gap_ms\": %.3f, \"longest_ms\": %.3f",
           r->set.count, (unsigned long long)t.lost, (unsigned long long)t.over, (unsigned long long)t.wrong,
           (unsigned long long)t.sent, (unsigned long long)t.received, t.gap_ms, t.longest_ms);
}

static void stream_print(const struct steady_stream *s)
{
    printf("{\"number\": %u, \"kind\": \"%s\", \"port\": %u, \"sent\": %llu, \"received\": %llu, \"wrong\": %llu, ",
           s->number, s->kind == STEADY_BULK ? "bulk" : "request", s->local_port, (unsigned long long)s->sent,
           (unsigned long long)s->received, (unsigned long long)s->wrong);
    printf("\"first_wrong\": %lld, \"lost\": %s, \"error\": \"%s\", \"whole\": %s, \"longest_ms\": %.3f}",
           s->first_wrong == STEADY_NONE ? -1LL : (long long)s->first_wrong, s->lost ? "true" : "false",
           !s->lost        ? ""
           : s->error == 0 ? "end of file"
                           : strerror(s->error),
           !s->lost && s->shut && s->ended ? "true" : "false", (double)s->longest_ns / 1e6);
}

static void streams_print(const struct run *r)
{
    totals_print(r);
    printf(", \"stream\": [");
    for (uint32_t i = 0; i < r->set.count; i++) {
        printf("%s", i == 0 ? "" : ", ");
        stream_print(&r->set.stream[i]);
    }
    printf("]}\n");
}

/* What gaps are counted from: threads that receive may count one that began before. */
static void mark(struct run *r)
{
    for (uint32_t i = 0; i < r->set.count; i++)
        r->set.stream[i].gap_ns = 0;
}

static void unsent_print(const struct run *r)
{
    uint64_t unsent = 0;
    for (uint32_t i = 0; i < r->set.count; i++) {
        int octets = 0;
        const struct steady_stream *s = &r->set.stream[i];
        if (s->kind == STEADY_BULK && !s->closed && !s->lost && ioctl(s->fd, SIOCOUTQ, &octets) == 0)
            unsent += (uint64_t)octets;
    }
    printf("{\"unsent\": %llu}\n", (unsigned long long)unsent);
}

/* ---- the run ---- */
static void stop(struct run *r)
{
    r->ending = true;
    r->end_ns = app_now_ns() + PATIENCE_NS;
    for (uint32_t i = 0; i < r->set.count; i++) {
        struct steady_stream *s = &r->set.stream[i];
        if (!s->connected)
            continue;
        s->stopping = true;
        if (r->set.wait != STEADY_BLOCK) {
            steady_finish(s);
            steady_set_change(&r->set, s);
        }
    }
}

static void command_do(struct run *r, const char *command)
{
    if (strcmp(command, "stop") == 0) {
        stop(r);
    } else if (strcmp(command, "unsent") == 0) {
        unsent_print(r);
    } else if (strcmp(command, "streams") == 0) {
        streams_print(r);
    } else if (strcmp(command, "report") == 0 || strcmp(command, "mark") == 0) {
        totals_print(r);
        printf("}\n");
        if (command[0] == 'm')
            mark(r);
    } else {
        app_fail(0, "'%s' is not report, mark, unsent, streams or stop", command);
    }
    fflush(stdout);
}

static void commands_read(struct run *r)
{
    ssize_t n = read(STDIN_FILENO, r->command + r->command_length, sizeof r->command - r->command_length);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0)
        app_fail(0, "stdin ended before 'stop'");
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

static bool over(const struct run *r)
{
    if (!r->ending)
        return false;
    return totals_of(r).over == r->set.count || app_now_ns() > r->end_ns;
}

static void turn(struct run *r)
{
    static struct steady_ready ready[STEADY_READY];
    uint32_t n = steady_set_wait(&r->set, ready);
    for (uint32_t i = 0; i < n; i++) {
        if (ready[i].id == STEADY_STDIN)
            commands_read(r);
        else if (ready[i].id == STEADY_LISTENER)
            accept_one(r);
        else
            stream_event(r, &r->set.stream[ready[i].id], ready[i].events);
    }
}

int main(int argc, char **argv)
{
    static struct steady_stream streams[STEADY_STREAMS];
    struct arguments a = {.connections = 128};
    app_parse(&argp, argc, argv, &a);
    (void)app_pattern(); /* before there are threads */
    app_descriptors(a.connections + a.bulk + a.requests);
    app_attach(&a.app);
    struct run r = {.a = &a, .set = {.net = a.app.net, .wait = a.wait, .listener = -1, .stream = streams}};
    if (a.listens)
        r.set.listener = listener_new(&a);
    steady_set_begin(&r.set);
    if (!a.listens)
        connect_all(&r);
    while (!over(&r))
        turn(&r);
    streams_print(&r);
    struct totals t = totals_of(&r);
    return t.lost == 0 && t.wrong == 0 && t.over == r.set.count ? 0 : 1;
}
