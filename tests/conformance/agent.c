// SPDX-License-Identifier: BSD-2-Clause
/* An application that does what a packet script says. A line on stdin is a call:
 *
 *     ID & NAME ARGUMENT...      & in a thread of its own, - in turn
 *
 * arguments are numbers, octets in hexadecimal where said. The line on stdout is what came of it:
 *
 *     ID RESULT ERRNO BEGUN ENDED VALUE     nanoseconds of CLOCK_MONOTONIC; VALUE is - or what the call gave, octets in
 * hexadecimal
 *
 * send and recv are told where in the stream they are: octets there are known (frames.py: pattern()), so that each that
 * is received is checked; VALUE is "wrong" if one is another. Ends with end of file. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/conformance/agent.h"

#define ARGUMENTS_MOST 6
#define LINE_MOST      1024
#define VALUE_MOST     256
#define PATTERN        251

struct call {
    char text[LINE_MOST];
    long id;
    char name[16];
    char *argument[ARGUMENTS_MOST];
    int count;
    char value[2 * VALUE_MOST + 1];
};

static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static long number(const struct call *c, int i)
{
    return i < c->count ? strtol(c->argument[i], NULL, 0) : 0;
}

/* Octets of argument i; how many. */
static size_t octets(const struct call *c, int i, unsigned char *ret, size_t room)
{
    const char *hex = i < c->count ? c->argument[i] : "";
    size_t n = 0;
    unsigned octet;

    for (; n < room && sscanf(hex + 2 * n, "%2x", &octet) == 1; n++) {
        ret[n] = (unsigned char)octet;
        if (hex[2 * n + 1] == '\0')
            break;
    }
    return n;
}

static void value_octets(struct call *c, const unsigned char *octet, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snprintf(c->value + 2 * i, 3, "%02x", octet[i]);
}

static long call_address(struct call *c, int (*f)(int, const struct sockaddr *, socklen_t))
{
    struct sockaddr_storage address = {0};
    size_t n = octets(c, 1, (unsigned char *)&address, sizeof(address));

    return f((int)number(c, 0), (const struct sockaddr *)&address, (socklen_t)n);
}

/* send FD LENGTH FLAGS OFFSET */
static long call_send(struct call *c)
{
    size_t length = (size_t)number(c, 1), offset = (size_t)number(c, 3);
    unsigned char *data = malloc(length + 1);
    ssize_t n;

    if (data == NULL)
        return -1;
    for (size_t i = 0; i < length; i++)
        data[i] = (unsigned char)((offset + i) % PATTERN);
    n = agent_calls.send((int)number(c, 0), data, length, (int)number(c, 2));
    free(data);
    return n;
}

/* recv FD LENGTH FLAGS OFFSET */
static long call_recv(struct call *c)
{
    size_t length = (size_t)number(c, 1), offset = (size_t)number(c, 3);
    unsigned char *data = malloc(length + 1);
    ssize_t n;

    if (data == NULL)
        return -1;
    n = agent_calls.recv((int)number(c, 0), data, length, (int)number(c, 2));
    for (ssize_t i = 0; i < n; i++) {
        if (data[i] != (offset + (size_t)i) % PATTERN)
            strcpy(c->value, "wrong");
    }
    free(data);
    return n;
}

/* setsockopt FD LEVEL NAME VALUE */
static long call_setsockopt(struct call *c)
{
    unsigned char value[VALUE_MOST];
    size_t n = octets(c, 3, value, sizeof(value));

    return agent_calls.setsockopt((int)number(c, 0), (int)number(c, 1), (int)number(c, 2), value, (socklen_t)n);
}

/* getsockopt FD LEVEL NAME LENGTH */
static long call_getsockopt(struct call *c)
{
    unsigned char value[VALUE_MOST] = {0};
    socklen_t n = (socklen_t)number(c, 3);
    int result;

    if (n > sizeof(value))
        n = sizeof(value);
    result = agent_calls.getsockopt((int)number(c, 0), (int)number(c, 1), (int)number(c, 2), value, &n);
    if (result == 0)
        value_octets(c, value, n);
    return result;
}

/* ioctl FD REQUEST */
static long call_ioctl(struct call *c)
{
    int value = 0;
    int result = agent_calls.ioctl((int)number(c, 0), (unsigned long)number(c, 1), &value);

    snprintf(c->value, sizeof(c->value), "%d", value);
    return result;
}

/* poll FD EVENTS MILLISECONDS */
static long call_poll(struct call *c)
{
    struct pollfd one = {.fd = (int)number(c, 0), .events = (short)number(c, 1)};
    int result = agent_calls.poll(&one, 1, (int)number(c, 2));

    snprintf(c->value, sizeof(c->value), "%d", one.revents);
    return result;
}

static long call_socket(struct call *c)
{
    return agent_calls.socket((int)number(c, 0), (int)number(c, 1), (int)number(c, 2));
}

static long call_bind(struct call *c)
{
    return call_address(c, agent_calls.bind);
}

static long call_connect(struct call *c)
{
    return call_address(c, agent_calls.connect);
}

static long call_listen(struct call *c)
{
    return agent_calls.listen((int)number(c, 0), (int)number(c, 1));
}

static long call_accept(struct call *c)
{
    return agent_calls.accept((int)number(c, 0));
}

static long call_close(struct call *c)
{
    return agent_calls.close((int)number(c, 0));
}

static long call_shutdown(struct call *c)
{
    return agent_calls.shutdown((int)number(c, 0), (int)number(c, 1));
}

static long call_nonblock(struct call *c)
{
    return agent_calls.nonblock((int)number(c, 0), (int)number(c, 1));
}

static const struct {
    const char *name;
    long (*make)(struct call *);
} table[] = {
    {"socket", call_socket},
    {"bind", call_bind},
    {"connect", call_connect},
    {"listen", call_listen},
    {"accept", call_accept},
    {"send", call_send},
    {"recv", call_recv},
    {"close", call_close},
    {"shutdown", call_shutdown},
    {"setsockopt", call_setsockopt},
    {"getsockopt", call_getsockopt},
    {"nonblock", call_nonblock},
    {"ioctl", call_ioctl},
    {"poll", call_poll},
};

static long make(struct call *c)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].name, c->name) == 0)
            return table[i].make(c);
    }
    errno = ENOSYS;
    return -1;
}

static void *run(void *of)
{
    struct call *c = of;
    int64_t begun = now_ns();
    long result;
    int error;

    errno = 0;
    result = make(c);
    error = result < 0 ? errno : 0;
    pthread_mutex_lock(&output);
    printf("%ld %ld %d %" PRId64 " %" PRId64 " %s\n", c->id, result, error, begun, now_ns(),
           c->value[0] ? c->value : "-");
    fflush(stdout);
    pthread_mutex_unlock(&output);
    free(c);
    return NULL;
}

/* Whether the line is a call. ret_background: in a thread. */
static int parse(struct call *c, int *ret_background)
{
    char *rest = c->text, *save = NULL;
    const char *id = strtok_r(rest, " \n", &save), *mode = strtok_r(NULL, " \n", &save),
               *name = strtok_r(NULL, " \n", &save);

    if (id == NULL || mode == NULL || name == NULL)
        return 0;
    c->id = strtol(id, NULL, 10);
    snprintf(c->name, sizeof(c->name), "%s", name);
    while (c->count < ARGUMENTS_MOST && (c->argument[c->count] = strtok_r(NULL, " \n", &save)) != NULL)
        c->count++;
    *ret_background = mode[0] == '&';
    return 1;
}

int main(void)
{
    if (agent_calls.attach() != 0) {
        perror("agent: attach");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct call *c = calloc(1, sizeof(*c));
        int background = 0;
        pthread_t thread;

        if (c == NULL || fgets(c->text, sizeof(c->text), stdin) == NULL) {
            free(c);
            return 0;
        }
        if (!parse(c, &background)) {
            fputs("agent: not a call\n", stderr);
            free(c);
            return 1;
        }
        if (!background)
            run(c);
        else if (pthread_create(&thread, NULL, run, c) == 0)
            pthread_detach(thread);
        else
            return 1;
    }
}
