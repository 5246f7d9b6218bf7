// SPDX-License-Identifier: BSD-2-Clause
/* bh-flow: one bulk flow for a bounded time, watched at both ends. The end that connects writes as much as it may for
 * --seconds, then resets the connection (what is in flight then shall not burden who comes next) and prints its figures
 * as one line of JSON; --trace writes them each 10 ms, as CSV. The end that listens prints "NANOSECONDS OCTETS" each
 * 100 ms: the monotonic clock, which all processes of a machine share, and what it has read by then. */
#include <errno.h>
#include <inttypes.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <string.h>

#include "bench/apps/app.h"

#define BUFFER   (256U << 10)
#define TRACE_NS 10000000U
#define TELL_NS  100000000U

const char *argp_program_version = "bh-flow (Bulkhead)";

struct arguments {
    struct app app;
    struct place address;
    bool listen, given;
    uint64_t seconds, send_buffer, receive_buffer;
    const char *congestion, *trace;
};

struct watch { /* the sender's figures, each TRACE_NS */
    FILE *trace;
    uint64_t start_ns, next_ns, samples;
    double cwnd, srtt_us; /* sums */
    uint32_t cwnd_max, srtt_max_us;
    struct tcp_info last;
};

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    uint64_t n;
    if (!app_number(text, least, most, &n))
        app_usage("'%s' is not a number from %" PRIu64 " to %" PRIu64, text, least, most);
    return n;
}

static void address(struct arguments *a, const char *text, bool listen)
{
    if (a->given || !app_address(text, listen, &a->address))
        app_usage("'%s': say one numeric ADDRESS:PORT, or --listen PORT", text);
    a->listen = listen;
    a->given = true;
}

static error_t option(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->app;
        return 0;
    case 't':
        a->seconds = number(text, 1, 86400);
        return 0;
    case 'c':
        a->congestion = text;
        return 0;
    case 'T':
        a->trace = text;
        return 0;
    case 'S':
        a->send_buffer = number(text, 1, 1U << 30);
        return 0;
    case 'R':
        a->receive_buffer = number(text, 1, 1U << 30);
        return 0;
    case 'l':
        address(a, text, true);
        return 0;
    case ARGP_KEY_ARG:
        address(a, text, false);
        return 0;
    case ARGP_KEY_END:
        if (!a->given)
            app_usage("say ADDRESS:PORT to send to, or --listen PORT");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"listen", 'l', "[ADDRESS:]PORT", 0, "receive one flow there, and tell each 100 ms how much came", 0},
    {"seconds", 't', "N", 0, "how long to send (default 10)", 0},
    {"congestion", 'c', "NAME", 0, "TCP_CONGESTION: cubic, reno, ... (default: the stack's)", 0},
    {"trace", 'T', "FILE", 0, "the sender's figures each 10 ms, as CSV", 0},
    {"send-buffer", 'S', "N", 0, "SO_SNDBUF (default: the stack's, which may grow it)", 0},
    {"receive-buffer", 'R', "N", 0, "SO_RCVBUF, likewise", 0},
    {0}};
static const struct argp argp = {.options = options,
                                 .parser = option,
                                 .args_doc = "ADDRESS:PORT",
                                 .doc = "One bulk flow for a bounded time, and its figures.",
                                 .children = app_children};

static void set_size(const struct app *app, int fd, int name, uint64_t octets)
{
    int size = (int)octets;
    if (octets != 0 && app->net->setsockopt(fd, SOL_SOCKET, name, &size, sizeof size) < 0)
        app_fail(errno, "cannot set the buffer's size");
}

/* ---- receiving ---- */

static void tell(uint64_t now_ns, uint64_t octets)
{
    printf("%" PRIu64 " %" PRIu64 "\n", now_ns, octets);
    fflush(stdout);
}

/* Until the flow ends, which is a reset mostly. */
static void receive(const struct app *app, int fd)
{
    static uint8_t buffer[BUFFER];
    uint64_t octets = 0, next_ns = app_now_ns();
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    for (ssize_t n = 1; n != 0;) {
        uint64_t now_ns = app_now_ns();
        if (now_ns >= next_ns) {
            tell(now_ns, octets);
            next_ns += TELL_NS;
        }
        if (app->net->poll(&readable, 1, (int)(TELL_NS / 1000000)) <= 0)
            continue;
        n = app->net->recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            break;
        octets += n > 0 ? (uint64_t)n : 0;
    }
    tell(app_now_ns(), octets);
}

static void receive_one(const struct arguments *a)
{
    int listener = app_socket_bound(&a->app, &a->address, SOCK_STREAM);
    set_size(&a->app, listener, SO_RCVBUF, a->receive_buffer);
    app_listen_on(&a->app, "bh-flow", listener, 0);
    int fd = a->app.net->accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        app_fail(errno, "cannot accept");
    receive(&a->app, fd);
}

/* ---- sending ---- */

static void sample(const struct app *app, int fd, struct watch *w, uint64_t now_ns)
{
    struct tcp_info i = {0};
    socklen_t length = sizeof i;
    if (app->net->getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &length) < 0)
        return;
    w->last = i;
    w->samples++;
    w->cwnd += i.tcpi_snd_cwnd;
    w->srtt_us += i.tcpi_rtt;
    w->cwnd_max = i.tcpi_snd_cwnd > w->cwnd_max ? i.tcpi_snd_cwnd : w->cwnd_max;
    w->srtt_max_us = i.tcpi_rtt > w->srtt_max_us ? i.tcpi_rtt : w->srtt_max_us;
    if (w->trace != NULL)
        fprintf(w->trace, "%.1f,%u,%u,%u,%u,%u,%u,%u,%u,%u,%u,%u,%u\n", (double)(now_ns - w->start_ns) / 1e6,
                i.tcpi_snd_cwnd, i.tcpi_snd_ssthresh, i.tcpi_rtt, i.tcpi_rttvar, i.tcpi_rto, i.tcpi_unacked,
                i.tcpi_sacked, i.tcpi_lost, i.tcpi_retrans, i.tcpi_total_retrans, i.tcpi_ca_state, i.tcpi_backoff);
}

static void figures(const struct arguments *a, int fd, const struct watch *w, uint64_t octets, const char *end)
{
    char congestion[16] = "";
    socklen_t length = sizeof congestion - 1;
    const struct tcp_info *i = &w->last;
    double n = w->samples > 0 ? (double)w->samples : 1;
    if (a->app.net->getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, &length) < 0)
        congestion[0] = '\0';
    printf("{\"start_ns\": %" PRIu64 ", \"octets\": %" PRIu64 ", \"end\": \"%s\", \"congestion\": \"%s\", \"mss\": %u, "
           "\"options\": %u, \"cwnd_mean\": %.1f, \"cwnd_max\": %u, \"cwnd\": %u, \"ssthresh\": %u, \"srtt_mean_us\": "
           "%.0f, "
           "\"srtt_max_us\": %u, \"rttvar_us\": %u, \"rto_us\": %u, \"retransmits\": %u, \"rwnd_limited_us\": %llu, "
           "\"sndbuf_limited_us\": %llu}\n",
           w->start_ns, octets, end, congestion, i->tcpi_snd_mss, i->tcpi_options, w->cwnd / n, w->cwnd_max,
           i->tcpi_snd_cwnd, i->tcpi_snd_ssthresh, w->srtt_us / n, w->srtt_max_us, i->tcpi_rttvar, i->tcpi_rto,
           i->tcpi_total_retrans, (unsigned long long)i->tcpi_rwnd_limited, (unsigned long long)i->tcpi_sndbuf_limited);
    fflush(stdout);
}

/* How it ended: "time", or the error's text. */
static const char *pour(const struct arguments *a, int fd, struct watch *w, uint64_t *ret_octets)
{
    const uint8_t *pattern = app_pattern();
    struct pollfd writable = {.fd = fd, .events = POLLOUT};
    uint64_t octets = 0, end_ns = w->start_ns + a->seconds * 1000000000U;
    for (uint64_t now_ns = w->start_ns; now_ns < end_ns; now_ns = app_now_ns()) {
        if (now_ns >= w->next_ns) {
            sample(&a->app, fd, w, now_ns);
            w->next_ns += TRACE_NS;
        }
        ssize_t n = a->app.net->send(fd, pattern + octets % PATTERN_PERIOD, PATTERN_PERIOD, MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return strerror(errno);
        octets += n > 0 ? (uint64_t)n : 0;
        *ret_octets = octets;
        if (n < 0)
            a->app.net->poll(&writable, 1, (int)(TRACE_NS / 1000000));
    }
    return "time";
}

static void send_one(const struct arguments *a)
{
    const struct net *net = a->app.net;
    struct linger reset = {.l_onoff = 1};
    struct watch watch = {.trace = a->trace != NULL ? fopen(a->trace, "we") : NULL};
    uint64_t octets = 0;
    if (a->trace != NULL && watch.trace == NULL)
        app_fail(errno, "cannot write '%s'", a->trace);
    if (watch.trace != NULL)
        fputs("ms,cwnd,ssthresh,srtt_us,rttvar_us,rto_us,unacked,sacked,lost,retrans,total_retrans,ca_state,backoff\n",
              watch.trace);
    int fd = net->socket(a->address.any.sa_family, SOCK_STREAM, 0);
    if (fd < 0)
        app_fail(errno, "cannot make a socket");
    if (a->congestion != NULL &&
        net->setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, a->congestion, (socklen_t)strlen(a->congestion)) < 0)
        app_fail(errno, "cannot set the congestion control '%s'", a->congestion);
    set_size(&a->app, fd, SO_SNDBUF, a->send_buffer);
    if (net->setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) < 0)
        app_fail(errno, "cannot set SO_LINGER");
    if (net->connect(fd, &a->address.any, a->address.length) < 0)
        app_fail(errno, "cannot connect to %s", app_address_text(&a->address));
    watch.start_ns = watch.next_ns = app_now_ns();
    const char *end = pour(a, fd, &watch, &octets);
    figures(a, fd, &watch, octets, end);
    net->close(fd);
    if (watch.trace != NULL && fclose(watch.trace) != 0)
        app_fail(errno, "cannot write '%s'", a->trace);
}

int main(int argc, char **argv)
{
    struct arguments a = {.seconds = 10};
    app_parse(&argp, argc, argv, &a);
    app_attach(&a.app);
    if (a.listen)
        receive_one(&a);
    else
        send_one(&a);
    return 0;
}
