// SPDX-License-Identifier: BSD-2-Clause
/* bh-load: traffic whose every octet is checked by both ends, paced, for runs in which something is broken on purpose.
 * The end that connects has flows of four kinds at once: bulk both ways at a rate; request and answer with a pause;
 * short connections one after the other; datagrams that are answered. An established connection that breaks is not made
 * again; short connections are the probe, so they are. Each 50 ms it says in a line of JSON how the flows do; SIGTERM
 * ends: streams are closed in order and drained, then there is a line for each flow and one for each kind. Times are
 * the monotonic clock's, in nanoseconds, which all processes of a machine share. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/apps/load.h"

#define FLOWS_MAX    1024
#define EVENTS       128
#define MS           1000000ULL
#define TELL_NS      (50 * MS)
#define TRY_NS       (250 * MS) /* patience of a short connection */
#define UDP_TRY_NS   (60 * MS)
#define TRY_LATER_NS (20 * MS)
#define MOVING_NS    (150 * MS)
#define BUCKET_NS    (10 * MS)
#define BUCKETS      6000
#define SHORT_OCTETS 200

const char *argp_program_version = "bh-load (Bulkhead)";
volatile int load_ending;
static volatile int marked;

struct flow {
    enum load_kind kind;
    struct load_stream s;
    struct load_hello hello;
    bool connecting, live, closing;
    uint64_t begun_ns, next_ns, sent_ns; /* of the connection; next action; latest request */
    uint64_t last_ns, gap_ns, gap_at_ns; /* latest progress, the longest pause and when it began */
    uint64_t rounds, failed, broken, connects, lost, late,
        answered_ns; /* latter: when the latest success had been begun */
    uint64_t error_ns;
    uint16_t port;
    bool stuck;
};

struct kind_figures {
    uint64_t last_ns, gap_ns, gap_at_ns;
    uint32_t bucket[BUCKETS]; /* octets of progress */
};

struct load {
    struct app app;
    struct place address;
    bool serve, bind, given;
    uint64_t flows[LOAD_KINDS], rate, request, answer, pause_ns, seed, drain_ns;
    struct flow flow[FLOWS_MAX];
    struct kind_figures kind[LOAD_KINDS];
    size_t count;
    int epoll;
    uint64_t start_ns, now_ns, tell_ns;
};
static struct load load;

/* ---- options ---- */
static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    uint64_t n;
    if (!app_number(text, least, most, &n))
        app_usage("'%s' is not a number from %" PRIu64 " to %" PRIu64, text, least, most);
    return n;
}

static void address(struct load *l, const char *text, bool serve)
{
    if (l->given || !app_address(text, serve, &l->address))
        app_usage("'%s': say one numeric ADDRESS:PORT, or --serve or --bind PORT", text);
    l->serve = serve;
    l->given = true;
}

static error_t option(int key, char *text, struct argp_state *state)
{
    struct load *l = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &l->app;
        return 0;
    case 'b':
    case 'r':
    case 's':
    case 'u':
        l->flows[key == 'b'   ? LOAD_BULK
                 : key == 'r' ? LOAD_RR
                 : key == 's' ? LOAD_SHORT
                              : LOAD_UDP] = number(text, 0, FLOWS_MAX / LOAD_KINDS);
        return 0;
    case 'R':
        l->rate = number(text, 1, 1U << 31);
        return 0;
    case 'q':
        l->request = number(text, 1, 1U << 20);
        return 0;
    case 'a':
        l->answer = number(text, 1, 1U << 20);
        return 0;
    case 'p':
        l->pause_ns = number(text, 0, 100000) * MS;
        return 0;
    case 'S':
        l->seed = number(text, 0, UINT64_MAX);
        return 0;
    case 'D':
        l->drain_ns = number(text, 0, 100000) * MS;
        return 0;
    case 'l':
        address(l, text, true);
        return 0;
    case 'B':
        address(l, text, true);
        l->bind = true;
        return 0;
    case ARGP_KEY_ARG:
        address(l, text, false);
        return 0;
    case ARGP_KEY_END:
        if (!l->given)
            app_usage("say ADDRESS:PORT to connect to, or --serve or --bind PORT");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"serve", 'l', "[ADDRESS:]PORT", 0, "be the other end, of TCP and UDP; what became of each connection as JSON", 0},
    {"bind", 'B', "[ADDRESS:]PORT", 0, "be no end: bind a datagram socket, close it, and again after each pause", 0},
    {"bulk", 'b', "N", 0, "streams both ways", 0},
    {"rate", 'R', "N", 0, "octets a second of each, each way (default 1m)", 0},
    {"rr", 'r', "N", 0, "connections of request and answer", 0},
    {"request", 'q', "N", 0, "octets of a request (default 400)", 0},
    {"answer", 'a', "N", 0, "octets of an answer (default 2000)", 0},
    {"pause", 'p', "MS", 0, "between an answer and the next request, connection, datagram (default 5)", 0},
    {"short", 's', "N", 0, "so many short connections at a time, again and again", 0},
    {"udp", 'u', "N", 0, "so many datagrams at a time", 0},
    {"seed", 'S', "N", 0, "of the octets", 0},
    {"drain", 'D', "MS", 0, "patience with streams at the end (default 2000)", 0},
    {0}};
static const struct argp argp = {.options = options,
                                 .parser = option,
                                 .args_doc = "ADDRESS:PORT",
                                 .doc = "Traffic that both ends check octet by octet.",
                                 .children = app_children};

/* ---- progress ---- */
static void gap_note(uint64_t now_ns, uint64_t *last_ns, uint64_t *gap_ns, uint64_t *gap_at_ns)
{
    if (now_ns - *last_ns > *gap_ns) {
        *gap_ns = now_ns - *last_ns;
        *gap_at_ns = *last_ns;
    }
    *last_ns = now_ns;
}

static void progress(struct flow *f, uint64_t octets)
{
    struct kind_figures *k = &load.kind[f->kind];
    uint64_t bucket = (load.now_ns - load.start_ns) / BUCKET_NS;
    gap_note(load.now_ns, &f->last_ns, &f->gap_ns, &f->gap_at_ns);
    gap_note(load.now_ns, &k->last_ns, &k->gap_ns, &k->gap_at_ns);
    if (bucket < BUCKETS)
        k->bucket[bucket] += (uint32_t)octets;
}

/* ---- a flow's connection ---- */
static void flow_close(struct flow *f)
{
    if (f->s.fd >= 0)
        load.app.net->close(f->s.fd); /* leaves the set */
    f->s.fd = -1;
    f->live = f->connecting = false;
}

static void flow_broken(struct flow *f, int error)
{
    if (f->error_ns == 0)
        f->error_ns = load.now_ns;
    f->s.error = error;
    f->failed++;
    f->broken += !f->connecting && error != ETIMEDOUT; /* not by our own impatience */
    flow_close(f);
    f->next_ns = load.now_ns + TRY_LATER_NS; /* of a short one */
}

static void flow_open(struct flow *f)
{
    const struct net *net = load.app.net;
    bool udp = f->kind == LOAD_UDP;
    int on = 1, fd = net->socket(load.address.any.sa_family,
                                 (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = udp ? EPOLLIN : EPOLLIN | EPOLLOUT, .data.ptr = f};
    f->hello.key = load_mix(f->hello.key + f->kind);
    f->connects++;
    f->begun_ns = load.now_ns;
    f->s = (struct load_stream){
        .fd = fd, .out_key = f->hello.key, .in_key = load_answer_key(f->hello.key), .wrong = f->s.wrong};
    if (fd < 0 || net->epoll_ctl(load.epoll, EPOLL_CTL_ADD, fd, &event) < 0 ||
        (!udp && net->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) ||
        (net->connect(fd, &load.address.any, load.address.length) < 0 && errno != EINPROGRESS)) {
        flow_broken(f, errno);
        return;
    }
    f->connecting = !udp;
    f->live = true;
}

static void flow_connected(struct flow *f)
{
    const struct net *net = load.app.net;
    struct place own = {.length = sizeof own.in6};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = f};
    ssize_t n = net->send(f->s.fd, &f->hello, sizeof f->hello, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == ENOTCONN || errno == EINTR))
        return;
    if (n != (ssize_t)sizeof f->hello || net->epoll_ctl(load.epoll, EPOLL_CTL_MOD, f->s.fd, &event) < 0) {
        flow_broken(f, n < 0 ? errno : EPROTO);
        return;
    }
    if (net->getsockname(f->s.fd, &own.any, &own.length) == 0)
        f->port = ntohs(own.any.sa_family == AF_INET6 ? own.in6.sin6_port : own.in.sin_port);
    f->connecting = false;
    f->next_ns = load.now_ns;
    if (f->last_ns == 0)
        f->last_ns = load.now_ns;
}

/* ---- the kinds ---- */
static void bulk_turn(struct flow *f)
{
    if (!f->closing)
        load_push(load.app.net, &f->s, (load.now_ns - f->begun_ns) / 1000 * f->hello.request / 1000000);
}

static bool round_open(const struct flow *f)
{
    return f->s.received < f->s.sent / f->hello.request * f->hello.answer || f->s.sent % f->hello.request != 0;
}

static void rr_turn(struct flow *f)
{
    uint64_t until = (f->rounds + 1) * f->hello.request;
    if (f->s.received >= (f->rounds + 1) * f->hello.answer) { /* answered */
        f->rounds++;
        f->answered_ns = f->sent_ns;
        f->next_ns = load.now_ns + load.pause_ns;
        return;
    }
    if (load.now_ns < f->next_ns || (f->closing && !round_open(f)))
        return;
    if (f->s.sent == f->rounds * f->hello.request)
        f->sent_ns = load.now_ns;
    load_push(load.app.net, &f->s, until);
}

static void short_turn(struct flow *f)
{
    load_push(load.app.net, &f->s, f->hello.request);
    if (f->s.error != 0 || f->s.received < f->hello.answer)
        return;
    f->rounds++;
    f->answered_ns = f->begun_ns;
    flow_close(f);
    f->next_ns = load.now_ns + load.pause_ns;
}

static void udp_receive(struct flow *f)
{
    uint8_t data[sizeof f->hello + LOAD_DATAGRAM];
    struct load_hello hello;
    for (int turns = 0; turns < EVENTS; turns++) {
        ssize_t n = load.app.net->recv(f->s.fd, data, sizeof data, MSG_DONTWAIT);
        if (n < 0) {
            f->failed += errno != EAGAIN && errno != EINTR; /* what ICMP told: not the end */
            return;
        }
        memcpy(&hello, data, sizeof hello);
        size_t length = (size_t)n - sizeof hello;
        bool right = (size_t)n >= sizeof hello && hello.magic == LOAD_MAGIC && length == f->hello.request &&
                     load_check(load_answer_key(hello.key), 0, data + sizeof hello, length) == length;
        if (!right) {
            f->s.wrong = f->s.wrong == LOAD_RIGHT ? f->rounds : f->s.wrong;
        } else if (hello.key != f->hello.key) {
            f->late++; /* or doubled */
        } else {
            f->rounds++;
            f->s.received += length;
            f->answered_ns = f->sent_ns;
            f->next_ns = load.now_ns + load.pause_ns;
            f->hello.key = load_mix(f->hello.key);
            f->sent_ns = 0;
            progress(f, length);
        }
    }
}

static void udp_turn(struct flow *f)
{
    uint8_t data[sizeof f->hello + LOAD_DATAGRAM];
    if (f->closing || load.now_ns < f->next_ns || (f->sent_ns != 0 && load.now_ns < f->sent_ns + UDP_TRY_NS))
        return;
    f->lost += f->sent_ns != 0;
    f->hello.key = load_mix(f->hello.key);
    memcpy(data, &f->hello, sizeof f->hello);
    load_fill(f->hello.key, 0, data + sizeof f->hello, f->hello.request);
    size_t length = sizeof f->hello + f->hello.request;
    f->sent_ns = load.now_ns;
    if (load.app.net->send(f->s.fd, data, length, MSG_DONTWAIT) == (ssize_t)length)
        f->s.sent += f->hello.request;
}

static void (*const kind_turn[LOAD_KINDS])(struct flow *) = {bulk_turn, rr_turn, short_turn, udp_turn};

static void flow_begin(struct flow *f)
{
    bool again = f->kind == LOAD_SHORT || f->connects == 0;
    if (again && !f->closing && load.now_ns >= f->next_ns)
        flow_open(f);
}

static void flow_turn(struct flow *f)
{
    if (!f->live) {
        flow_begin(f);
        return;
    }
    if (f->connecting && load.now_ns - f->begun_ns > TRY_NS && f->kind == LOAD_SHORT)
        flow_broken(f, ETIMEDOUT);
    if (f->connecting)
        return;
    if (f->kind != LOAD_UDP) {
        uint64_t n = load_pull(load.app.net, &f->s);
        if (n > 0)
            progress(f, n);
    }
    kind_turn[f->kind](f);
    if (!f->live)
        return;
    if (f->s.error == 0 && f->s.eof && !f->closing)
        f->s.error = EPIPE; /* it ended, and nobody asked for it */
    if (f->s.error == 0 && f->kind == LOAD_SHORT && load.now_ns - f->begun_ns > 2 * TRY_NS)
        f->s.error = ETIMEDOUT;
    if (f->s.error != 0)
        flow_broken(f, f->s.error);
}

/* ---- reports ---- */
static void tell(void)
{
    size_t open = 0, moving = 0, lost = 0, first = 0;
    uint64_t stillest_ns = UINT64_MAX, probe_ns = 0, udp_ns = 0;
    for (size_t i = 0; i < load.count; i++) {
        struct flow *f = &load.flow[i];
        bool stream = f->kind == LOAD_BULK || f->kind == LOAD_RR;
        open += stream && f->live && !f->connecting;
        lost += stream && f->connects > 0 && !f->live;
        moving += f->live && load.now_ns - f->last_ns < MOVING_NS;
        first += f->answered_ns != 0 || (f->kind == LOAD_BULK && f->s.received > 0);
        if (stream && f->live && f->last_ns < stillest_ns)
            stillest_ns = f->last_ns;
        uint64_t *latest = f->kind == LOAD_UDP ? &udp_ns : &probe_ns;
        if (!stream && f->answered_ns > *latest)
            *latest = f->answered_ns;
    }
    printf("{\"at\": %" PRIu64
           ", \"flows\": %zu, \"open\": %zu, \"moving\": %zu, \"lost\": %zu, \"served\": %zu, \"stillest\": %" PRIu64
           ", \"probe\": %" PRIu64 ", \"udp\": %" PRIu64 "}\n",
           load.now_ns, load.count, open, moving, lost, first, stillest_ns == UINT64_MAX ? 0 : stillest_ns, probe_ns,
           udp_ns);
    fflush(stdout);
}

static void flow_tell(struct flow *f)
{
    printf("{\"flow\": \"%s\", \"key\": %" PRIu64 ", \"port\": %u, \"connects\": %" PRIu64 ", \"failed\": %" PRIu64
           ", \"broken\": %" PRIu64 ", \"rounds\": %" PRIu64 ", \"sent\": %" PRIu64 ", \"received\": %" PRIu64
           ", \"wrong\": %" PRId64 ", \"error\": \"%s\", \"error_ns\": %" PRIu64 ", \"gap_ns\": %" PRIu64
           ", \"gap_at_ns\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"late\": %" PRIu64 ", \"eof\": %s, \"stuck\": %s}\n",
           load_kind_name[f->kind], f->hello.key, f->port, f->connects, f->failed, f->broken, f->rounds, f->s.sent,
           f->s.received, (int64_t)f->s.wrong, f->s.error != 0 ? strerror(f->s.error) : "", f->error_ns, f->gap_ns,
           f->gap_at_ns, f->lost, f->late, f->s.eof ? "true" : "false", f->stuck ? "true" : "false");
}

static void kind_tell(enum load_kind kind, uint64_t end_ns)
{
    const struct kind_figures *k = &load.kind[kind];
    uint64_t buckets = (end_ns - load.start_ns) / BUCKET_NS;
    if (load.flows[kind] == 0)
        return;
    printf("{\"kind\": \"%s\", \"flows\": %" PRIu64 ", \"start_ns\": %" PRIu64 ", \"end_ns\": %" PRIu64
           ", \"gap_ns\": %" PRIu64 ", \"gap_at_ns\": %" PRIu64 ", \"bucket_ns\": %llu, \"octets\": [",
           load_kind_name[kind], load.flows[kind], load.start_ns, end_ns, k->gap_ns, k->gap_at_ns, BUCKET_NS);
    for (uint64_t i = 0; i < buckets && i < BUCKETS; i++)
        printf("%s%u", i > 0 ? "," : "", k->bucket[i]);
    printf("]}\n");
}

/* ---- all of it ---- */
/* From now on are the longest pauses. */
static void mark(void)
{
    for (size_t i = 0; i < load.count; i++)
        load.flow[i].gap_ns = 0;
    for (enum load_kind kind = 0; kind < LOAD_KINDS; kind++)
        load.kind[kind].gap_ns = 0;
    marked = 0;
}

static void turn(void)
{
    struct epoll_event event[EVENTS];
    int n = load.app.net->epoll_wait(load.epoll, event, EVENTS, LOAD_TICK_MS);
    if (n < 0 && errno != EINTR)
        app_fail(errno, "cannot wait");
    load.now_ns = app_now_ns();
    if (marked)
        mark();
    for (int i = 0; i < n; i++) {
        struct flow *f = event[i].data.ptr;
        if (f->connecting)
            flow_connected(f);
        else if (f->live && f->kind == LOAD_UDP)
            udp_receive(f);
    }
    for (size_t i = 0; i < load.count; i++)
        flow_turn(&load.flow[i]);
    if (load.now_ns >= load.tell_ns) {
        tell();
        load.tell_ns = load.now_ns + TELL_NS;
    }
}

/* No new rounds. True: every stream has its end, or is broken. */
static bool drained(void)
{
    bool all = true;
    for (size_t i = 0; i < load.count; i++) {
        struct flow *f = &load.flow[i];
        bool stream = f->live && (f->kind == LOAD_BULK || f->kind == LOAD_RR);
        if (stream && f->closing && !f->s.eof && (f->kind == LOAD_BULK || !round_open(f)) && f->next_ns != UINT64_MAX) {
            load.app.net->shutdown(f->s.fd, SHUT_WR);
            f->next_ns = UINT64_MAX;
        }
        if (stream && f->closing && f->s.eof)
            flow_close(f);
        f->closing = true;
        all = all && !(f->live && f->kind != LOAD_UDP);
    }
    return all;
}

/* Pauses that have not ended count as well, but not the time that the end takes. */
static void gaps_end(void)
{
    for (size_t i = 0; i < load.count; i++) {
        struct flow *f = &load.flow[i];
        if (f->live || f->kind == LOAD_SHORT)
            gap_note(load.now_ns, &f->last_ns, &f->gap_ns, &f->gap_at_ns);
    }
    for (enum load_kind kind = 0; kind < LOAD_KINDS; kind++)
        gap_note(load.now_ns, &load.kind[kind].last_ns, &load.kind[kind].gap_ns, &load.kind[kind].gap_at_ns);
}

static void drain(void)
{
    uint64_t until_ns = load.now_ns + load.drain_ns, end_ns = load.now_ns;
    gaps_end();
    while (!drained() && load.now_ns < until_ns)
        turn();
    for (size_t i = 0; i < load.count; i++) {
        struct flow *f = &load.flow[i];
        f->stuck = f->live && (f->kind == LOAD_BULK || f->kind == LOAD_RR);
        flow_tell(f);
    }
    for (enum load_kind kind = 0; kind < LOAD_KINDS; kind++)
        kind_tell(kind, end_ns);
    fflush(stdout);
}

static void flows_make(void)
{
    const struct load_hello hello[LOAD_KINDS] = {
        [LOAD_BULK] = {.request = (uint32_t)load.rate, .answer = (uint32_t)load.rate},
        [LOAD_RR] = {.request = (uint32_t)load.request, .answer = (uint32_t)load.answer},
        [LOAD_SHORT] = {.request = SHORT_OCTETS, .answer = SHORT_OCTETS},
        [LOAD_UDP] = {.request = LOAD_DATAGRAM},
    };
    for (enum load_kind kind = 0; kind < LOAD_KINDS; kind++) {
        for (uint64_t i = 0; i < load.flows[kind]; i++) {
            struct flow *f = &load.flow[load.count++];
            *f = (struct flow){.kind = kind, .hello = hello[kind], .s = {.fd = -1, .wrong = LOAD_RIGHT}};
            f->hello.magic = LOAD_MAGIC;
            f->hello.kind = kind;
            f->hello.key = load_mix(load_mix(load.seed) + load.count);
            f->last_ns = load.start_ns;
        }
        load.kind[kind].last_ns = load.start_ns;
    }
}

static void on_signal(int number)
{
    if (number == SIGUSR1)
        marked = 1;
    else
        load_ending = 1;
}

int main(int argc, char **argv)
{
    struct sigaction end = {.sa_handler = on_signal};
    load = (struct load){.rate = 1000000, .request = 400, .answer = 2000, .pause_ns = 5 * MS, .drain_ns = 2000 * MS};
    app_parse(&argp, argc, argv, &load);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGUSR1, &end, NULL);
    app_attach(&load.app);
    if (load.bind)
        load_bind(&load.app, &load.address, load.pause_ns);
    if (load.serve)
        load_serve(&load.app, &load.address);
    load.epoll = load.app.net->epoll_create1(EPOLL_CLOEXEC);
    if (load.epoll < 0)
        app_fail(errno, "cannot wait for connections");
    load.start_ns = load.now_ns = app_now_ns();
    flows_make();
    while (!load_ending)
        turn();
    drain();
    return 0;
}
