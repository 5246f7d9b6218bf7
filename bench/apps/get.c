// SPDX-License-Identifier: BSD-2-Clause
/* bh-get: downloads one file by HTTP/1.1 from a numeric address. */
#include <errno.h>
#include <fcntl.h>
#include <http_parser.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/apps/app.h"

#define INPUT       (256U << 10)
#define REQUEST_MAX 2048

const char *argp_program_version = "bh-get (Bulkhead)";

struct arguments {
    struct app app;
    const char *url, *output;
    bool quiet;
};

struct download {
    const char *name;
    int file;
    uint64_t octets;
    bool complete;
};

static error_t option(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->app;
        return 0;
    case 'o':
        a->output = text;
        return 0;
    case 'q':
        a->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->url != NULL)
            app_usage("'%s': one URL only", text);
        a->url = text;
        return 0;
    case ARGP_KEY_NO_ARGS:
        app_usage("say which URL to get");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {{"output", 'o', "FILE", 0, "where to write it (default: stdout)", 0},
                                             {"quiet", 'q', NULL, 0, "no line with octets and rate on stderr", 0},
                                             {0}};
static const struct argp argp = {.options = options,
                                 .parser = option,
                                 .args_doc = "http://ADDRESS[:PORT]/PATH",
                                 .doc = "Downloads a file by HTTP/1.1.",
                                 .children = app_children};

/* ---- the request ---- */
static bool url_read(const char *url, struct place *ret_address, char *ret_request, size_t size)
{
    struct http_parser_url u;
    char place[96];
    http_parser_url_init(&u);
    if (http_parser_parse_url(url, strlen(url), 0, &u) != 0 || (u.field_set & (1 << UF_HOST)) == 0 ||
        strncmp(url, "http://", 7) != 0)
        return false;
    unsigned port = (u.field_set & (1 << UF_PORT)) != 0 ? u.port : 80;
    const char *host = url + u.field_data[UF_HOST].off;
    int length = u.field_data[UF_HOST].len;
    bool six = memchr(host, ':', (size_t)length) != NULL; /* the parser took the brackets off */
    snprintf(place, sizeof place, six ? "[%.*s]:%u" : "%.*s:%u", length, host, port);
    if (!app_address(place, false, ret_address))
        return false;
    const char *path = (u.field_set & (1 << UF_PATH)) != 0 ? url + u.field_data[UF_PATH].off : "/";
    int n = snprintf(ret_request, size, "GET %.*s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                     (int)strcspn(path, "#"), path, place);
    return n > 0 && (size_t)n < size;
}

static void send_all(const struct net *net, int fd, const char *data)
{
    for (size_t length = strlen(data); length > 0;) {
        ssize_t n = net->send(fd, data, length, 0);
        if (n < 0 && errno != EINTR)
            app_fail(errno, "cannot send the request");
        data += n > 0 ? n : 0;
        length -= n > 0 ? (size_t)n : 0;
    }
}

/* ---- the response ---- */
static int on_headers_complete(http_parser *p)
{
    if (p->status_code / 100 != 2)
        app_fail(0, "the server answers %u", p->status_code);
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t length)
{
    struct download *d = p->data;
    d->octets += length;
    while (length > 0) {
        ssize_t n = write(d->file, at, length);
        if (n < 0 && errno != EINTR)
            app_fail(errno, "cannot write '%s'", d->name);
        at += n > 0 ? n : 0;
        length -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int on_message_complete(http_parser *p)
{
    struct download *d = p->data;
    d->complete = true;
    return 0;
}

/* Untrusted: what the server sends. */
static void receive(const struct net *net, int fd, struct download *d)
{
    static char input[INPUT];
    static const http_parser_settings settings = {
        .on_headers_complete = on_headers_complete, .on_body = on_body, .on_message_complete = on_message_complete};
    http_parser parser;
    http_parser_init(&parser, HTTP_RESPONSE);
    parser.data = d;
    while (!d->complete) {
        ssize_t n = net->recv(fd, input, sizeof input, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            app_fail(errno, "broken off after %llu octets", (unsigned long long)d->octets);
        size_t parsed = http_parser_execute(&parser, &settings, input, (size_t)n);
        if (HTTP_PARSER_ERRNO(&parser) != HPE_OK || parsed != (size_t)n)
            app_fail(0, "the server's answer is not HTTP, or too short (after %llu octets)",
                     (unsigned long long)d->octets);
        if (n == 0 && !d->complete)
            app_fail(0, "the server closed after %llu octets, before the end", (unsigned long long)d->octets);
    }
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    struct place address;
    char request[REQUEST_MAX];
    app_parse(&argp, argc, argv, &a);
    if (!url_read(a.url, &address, request, sizeof request))
        app_usage("'%s' is not http://ADDRESS[:PORT]/PATH with a numeric address ([ADDRESS] for IPv6)", a.url);
    app_attach(&a.app);
    bool to_file = a.output != NULL && strcmp(a.output, "-") != 0;
    struct download d = {.name = to_file ? a.output : "stdout", .file = STDOUT_FILENO};
    uint64_t start_ns = app_now_ns();
    int fd = app_connect(&a.app, &address, SOCK_STREAM);
    if (to_file)
        d.file = open(a.output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (d.file < 0)
        app_fail(errno, "cannot write '%s'", d.name);
    send_all(a.app.net, fd, request);
    receive(a.app.net, fd, &d);
    a.app.net->close(fd);
    if (close(d.file) < 0)
        app_fail(errno, "cannot write '%s'", d.name);
    double seconds = (double)(app_now_ns() - start_ns) / 1e9;
    if (!a.quiet)
        fprintf(stderr, "%llu octets %.6f seconds %.3f Gb/s\n", (unsigned long long)d.octets, seconds,
                (double)d.octets * 8 / 1e9 / seconds);
    return 0;
}
