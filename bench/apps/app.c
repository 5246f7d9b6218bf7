// SPDX-License-Identifier: BSD-2-Clause
#include "bench/apps/app.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define BACKLOG_LEAST   128
#define BACKLOG_MOST    4096
#define RECEIVE_BUFFER  (1 << 20)
#define DESCRIPTORS_OWN 64

static const struct argp_option app_options[] = {
    {"stack", 's', "STACK", 0, "bulkhead (default) or linux: whose sockets to use", 10},
    {"run-dir", 'r', "DIR", 0, "run directory of the Bulkhead stack (default: $BULKHEAD_RUN_DIR)", 10},
    {0},
};

static error_t app_option(int key, char *text, struct argp_state *state)
{
    struct app *app = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        app->net = net_find("bulkhead");
        return 0;
    case 's':
        app->net = net_find(text);
        if (app->net == NULL)
            app_usage("there is no stack '%s': say bulkhead or linux", text);
        return 0;
    case 'r':
        app->run_dir = text;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp app_argp = {.options = app_options, .parser = app_option};
const struct argp_child app_children[] = {{.argp = &app_argp}, {0}};

/* --help and the like print and exit by themselves, but only if argp may print errors, too. */
static bool asks_for_help(int argc, char **argv)
{
    static const char *const asking[] = {"--help", "-?", "--usage", "--version", "-V"};
    for (int i = 1; i < argc; i++)
        for (size_t k = 0; k < sizeof asking / sizeof asking[0]; k++)
            if (strcmp(argv[i], asking[k]) == 0)
                return true;
    return false;
}

/* argp's own complaints take two lines, and ours are one. */
void app_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    argp_err_exit_status = 2;
    if (argp_parse(argp, argc, argv, asks_for_help(argc, argv) ? 0 : ARGP_NO_ERRS, NULL, input) != 0)
        app_usage("unknown option, or one without its value: try --help");
    setvbuf(stdout, NULL, _IOLBF, 0);
}

/* Arguments and names are in it, so it may hold anything: what does not print becomes '?', and one line stays one. */
static void say(const char *format, va_list arguments)
{
    char text[1024];
    vsnprintf(text, sizeof text, format, arguments);
    for (char *c = text; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    fprintf(stderr, "%s: %s", program_invocation_short_name, text);
}

void app_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

void app_fail(int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    if (error != 0)
        fprintf(stderr, ": %s", strerror(error));
    fputc('\n', stderr);
    exit(1);
}

void app_attach(const struct app *app)
{
    if (app->net->attach(app->run_dir) == 0)
        return;
    const char *where = app->run_dir != NULL ? app->run_dir : getenv("BULKHEAD_RUN_DIR");
    app_fail(errno, "no stack answers in %s (start one with 'bulkhead up', or give --run-dir)",
             where != NULL ? where : "the default run directory");
}

static bool host_read(const char *host, struct place *ret)
{
    if (inet_pton(AF_INET, host, &ret->in.sin_addr) == 1) {
        ret->in.sin_family = AF_INET;
        ret->length = sizeof ret->in;
        return true;
    }
    ret->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = ret->in.sin_port};
    ret->length = sizeof ret->in6;
    size_t length = strlen(host);
    char inner[INET6_ADDRSTRLEN];
    if (length < 2 || length - 2 >= sizeof inner || host[0] != '[' || host[length - 1] != ']')
        return false;
    snprintf(inner, sizeof inner, "%.*s", (int)(length - 2), host + 1);
    return inet_pton(AF_INET6, inner, &ret->in6.sin6_addr) == 1;
}

bool app_address(const char *text, bool listening, struct place *ret)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    uint64_t port;
    *ret = (struct place){.in = {.sin_family = AF_INET}, .length = sizeof ret->in};
    if (!app_number(colon != NULL ? colon + 1 : text, listening ? 0 : 1, 65535, &port))
        return false;
    ret->in.sin_port = htons((uint16_t)port);
    if (colon == NULL) {
        *ret =
            (struct place){.in6 = {.sin6_family = AF_INET6, .sin6_port = ret->in.sin_port}, .length = sizeof ret->in6};
        return listening;
    }
    if ((size_t)(colon - text) >= sizeof host)
        return false;
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    return host_read(host, ret);
}

const char *app_address_text(const struct place *address)
{
    static char text[INET6_ADDRSTRLEN + 16];
    char host[INET6_ADDRSTRLEN];
    bool six = address->any.sa_family == AF_INET6;
    inet_ntop(address->any.sa_family, six ? (const void *)&address->in6.sin6_addr : (const void *)&address->in.sin_addr,
              host, sizeof host);
    snprintf(text, sizeof text, six ? "[%s]:%u" : "%s:%u", host,
             ntohs(six ? address->in6.sin6_port : address->in.sin_port));
    return text;
}

bool app_number(const char *text, uint64_t least, uint64_t most, uint64_t *ret)
{
    static const struct {
        char letter;
        uint64_t times;
    } units[] = {{'\0', 1}, {'k', 1000}, {'m', 1000000}, {'g', 1000000000}};
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (errno != 0 || (end[0] != '\0' && end[1] != '\0'))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (end[0] != units[i].letter || n > most / units[i].times)
            continue;
        *ret = n * units[i].times;
        return *ret >= least;
    }
    return false;
}

/* A port alone means every address, also where there is no IPv6: a link of less than 1280 octets, say. */
static bool any_of_ip4(const struct place *address, struct place *ret)
{
    if (errno != EAFNOSUPPORT || address->any.sa_family != AF_INET6 ||
        !IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr))
        return false;
    *ret = (struct place){.in = {.sin_family = AF_INET, .sin_port = address->in6.sin6_port}, .length = sizeof ret->in};
    return true;
}

int app_socket_bound(const struct app *app, const struct place *address, int type)
{
    struct place other;
    const struct net *net = app->net;
    int on = 1;
    int fd = net->socket(address->any.sa_family, type, 0);
    if (fd < 0)
        app_fail(errno, "cannot make a socket");
    if (net->setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        app_fail(errno, "cannot set SO_REUSEADDR");
    bool bound = net->bind(fd, &address->any, address->length) == 0;
    if (!bound && any_of_ip4(address, &other)) {
        net->close(fd);
        return app_socket_bound(app, &other, type);
    }
    if (!bound)
        app_fail(errno, "cannot bind to %s", app_address_text(address));
    return fd;
}

static void tell_address(const struct app *app, const char *program, int fd)
{
    struct place bound = {.length = sizeof bound.in6};
    if (app->net->getsockname(fd, &bound.any, &bound.length) < 0)
        app_fail(errno, "cannot tell the socket's address");
    printf("%s: listening on %s\n", program, app_address_text(&bound));
    fflush(stdout);
}

void app_listen_on(const struct app *app, const char *program, int fd, uint64_t backlog)
{
    int n = (int)(backlog < BACKLOG_LEAST ? BACKLOG_LEAST : backlog < BACKLOG_MOST ? backlog : BACKLOG_MOST);
    if (app->net->listen(fd, n) < 0)
        app_fail(errno, "cannot listen");
    tell_address(app, program, fd);
}

int app_listen(const struct app *app, const char *program, const struct place *address, int type)
{
    int fd = app_socket_bound(app, address, type);
    if ((type & SOCK_DGRAM) == 0)
        app_listen_on(app, program, fd, 0);
    else
        tell_address(app, program, fd);
    return fd;
}

void app_descriptors(uint64_t count)
{
    struct rlimit limit;
    count += DESCRIPTORS_OWN;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= count)
        return;
    limit.rlim_cur = count < limit.rlim_max ? count : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit); /* if it is not enough, accept() or socket() says so */
}

void app_receive_buffer(const struct app *app, int fd)
{
    int octets = RECEIVE_BUFFER;
    if (app->net->setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets) < 0)
        app_fail(errno, "cannot set SO_RCVBUF");
}

int app_connect(const struct app *app, const struct place *address, int type)
{
    int fd = app->net->socket(address->any.sa_family, type, 0);
    if (fd < 0)
        app_fail(errno, "cannot make a socket");
    if (app->net->connect(fd, &address->any, address->length) < 0)
        app_fail(errno, "cannot connect to %s", app_address_text(address));
    return fd;
}

uint64_t app_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

void app_print_rate(uint64_t octets, uint64_t ns)
{
    double seconds = (double)ns / 1e9;
    printf("%llu octets %.6f seconds %.3f Gb/s\n", (unsigned long long)octets, seconds,
           seconds > 0 ? (double)octets * 8 / 1e9 / seconds : 0.0);
}

const uint8_t *app_pattern(void)
{
    static uint8_t pattern[2 * PATTERN_PERIOD];
    uint32_t x = 1;
    if (pattern[0] == 0)
        for (uint32_t i = 0; i < PATTERN_PERIOD; i++) {
            x = x * 1664525U + 1013904223U; /* Numerical Recipes' generator: any will do */
            pattern[i] = pattern[i + PATTERN_PERIOD] = (uint8_t)(x >> 24 | 1);
        }
    return pattern;
}
