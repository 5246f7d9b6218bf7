// SPDX-License-Identifier: BSD-2-Clause
#include "bench/apps/fetch.h"

#include <errno.h>
#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define INPUT       (256U << 10)
#define REQUEST_MAX 2048
#define FIELD_MAX   32
#define RANGE_MAX   96

struct answer { /* one that is being parsed */
    struct fetch *fetch;
    http_parser parser;
    char field[FIELD_MAX], value[FETCH_TAG_MAX];
    size_t field_length, value_length;
    bool in_value, complete, failed;
    uint64_t offset; /* of the next octet in the file */
    char tag[FETCH_TAG_MAX], range[FETCH_TAG_MAX];
};

static bool failed(struct fetch *f, int error, const char *what)
{
    snprintf(f->error, sizeof f->error, error != 0 ? "%s after %llu octets: %s" : "%s after %llu octets", what,
             (unsigned long long)f->octets, strerror(error));
    return false;
}

/* ---- the request ---- */
bool url_read(const char *text, struct url *ret)
{
    struct http_parser_url u;
    http_parser_url_init(&u);
    if (http_parser_parse_url(text, strlen(text), 0, &u) != 0 || (u.field_set & (1 << UF_HOST)) == 0 ||
        strncmp(text, "http://", 7) != 0)
        return false;
    unsigned port = (u.field_set & (1 << UF_PORT)) != 0 ? u.port : 80;
    const char *host = text + u.field_data[UF_HOST].off;
    int length = u.field_data[UF_HOST].len;
    bool six = memchr(host, ':', (size_t)length) != NULL; /* the parser took the brackets off */
    snprintf(ret->host, sizeof ret->host, six ? "[%.*s]:%u" : "%.*s:%u", length, host, port);
    if (!app_address(ret->host, false, &ret->address))
        return false;
    const char *path = (u.field_set & (1 << UF_PATH)) != 0 ? text + u.field_data[UF_PATH].off : "/";
    int n = snprintf(ret->path, sizeof ret->path, "%.*s", (int)strcspn(path, "#"), path);
    return n > 0 && (size_t)n < sizeof ret->path;
}

static void range_field(const struct fetch *f, char *ret, size_t size)
{
    unsigned long long first = f->first, last = f->last;
    if (!f->ranged)
        ret[0] = '\0';
    else if (f->first == FETCH_END)
        snprintf(ret, size, "Range: bytes=-%llu\r\n", last);
    else if (f->last == FETCH_END)
        snprintf(ret, size, "Range: bytes=%llu-\r\n", first);
    else
        snprintf(ret, size, "Range: bytes=%llu-%llu\r\n", first, last);
}

static bool request_send(struct fetch *f, int fd)
{
    char request[REQUEST_MAX], range[RANGE_MAX], match[FETCH_TAG_MAX + 16] = "";
    range_field(f, range, sizeof range);
    if (f->tag[0] != '\0')
        snprintf(match, sizeof match, "If-Match: %s\r\n", f->tag);
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n%s%sConnection: close\r\n\r\n",
                          f->url->path, f->url->host, range, match);
    for (int sent = 0; sent < length;) {
        ssize_t n = f->app->net->send(fd, request + sent, (size_t)(length - sent), 0);
        if (n < 0 && errno != EINTR)
            return failed(f, errno, "cannot send the request");
        sent += n > 0 ? (int)n : 0;
    }
    return true;
}

/* ---- the answer ---- */
static void keep(char *where, size_t size, size_t *length, const char *at, size_t more)
{
    if (more < size - *length)
        memcpy(where + *length, at, more);
    *length = more < size - *length ? *length + more : size;
}

static void header_done(struct answer *a)
{
    const struct {
        const char *name;
        char *where;
    } rows[] = {{"etag", a->tag}, {"content-range", a->range}};
    for (size_t i = 0; a->in_value && i < sizeof rows / sizeof rows[0]; i++)
        if (a->field_length == strlen(rows[i].name) && a->value_length < sizeof a->value &&
            strncasecmp(rows[i].name, a->field, a->field_length) == 0) {
            memcpy(rows[i].where, a->value, a->value_length);
            rows[i].where[a->value_length] = '\0';
        }
    a->in_value = false;
    a->field_length = a->value_length = 0;
}

static int on_header_field(http_parser *p, const char *at, size_t length)
{
    struct answer *a = p->data;
    if (a->in_value)
        header_done(a);
    keep(a->field, sizeof a->field, &a->field_length, at, length);
    return 0;
}

static int on_header_value(http_parser *p, const char *at, size_t length)
{
    struct answer *a = p->data;
    a->in_value = true;
    keep(a->value, sizeof a->value, &a->value_length, at, length);
    return 0;
}

/* "bytes FIRST-LAST/TOTAL" that is what was asked for. */
static bool range_fits(struct answer *a)
{
    struct fetch *f = a->fetch;
    unsigned long long first, last, total;
    if (sscanf(a->range, "bytes %llu-%llu/%llu", &first, &last, &total) != 3 || last < first || last >= total)
        return false;
    if (f->first != FETCH_END && (first != f->first || (f->last != FETCH_END && last > f->last)))
        return false;
    a->offset = first;
    f->total = total;
    return true;
}

static int on_headers_complete(http_parser *p)
{
    struct answer *a = p->data;
    struct fetch *f = a->fetch;
    unsigned long long total;
    header_done(a);
    f->status = p->status_code;
    if (p->status_code == 416 && sscanf(a->range, "bytes */%llu", &total) == 1)
        f->total = total;
    if (p->status_code / 100 == 1)
        return 0;
    if (p->status_code != 200 && p->status_code != 206) {
        snprintf(f->error, sizeof f->error, "the server answers %u", p->status_code);
        f->again = p->status_code >= 500;
    } else if (p->status_code == 206 && (!f->ranged || !range_fits(a))) {
        snprintf(f->error, sizeof f->error, "the server sends another range than it was asked for");
    } else if (p->status_code == 200 && f->ranged) {
        snprintf(f->error, sizeof f->error, "the server does not serve ranges of this file");
    } else {
        snprintf(f->tag, sizeof f->tag, "%s", strncmp(a->tag, "W/", 2) == 0 ? "" : a->tag);
        return 0;
    }
    a->failed = true;
    return -1;
}

static int on_body(http_parser *p, const char *at, size_t length)
{
    struct answer *a = p->data;
    struct fetch *f = a->fetch;
    while (length > 0) {
        ssize_t n = f->to_offset ? pwrite(f->file, at, length, (off_t)a->offset) : write(f->file, at, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            a->failed = true;
            failed(f, errno, "cannot write");
            return -1;
        }
        at += n;
        length -= (size_t)n;
        a->offset += (uint64_t)n;
        f->octets += (uint64_t)n;
    }
    return 0;
}

static int on_message_complete(http_parser *p)
{
    struct answer *a = p->data;
    a->complete = p->status_code / 100 != 1;
    return 0;
}

static bool receive(struct fetch *f, int fd, struct answer *a, char *input)
{
    static const http_parser_settings settings = {.on_header_field = on_header_field,
                                                  .on_header_value = on_header_value,
                                                  .on_headers_complete = on_headers_complete,
                                                  .on_body = on_body,
                                                  .on_message_complete = on_message_complete};
    while (!a->complete) {
        ssize_t n = f->app->net->recv(fd, input, INPUT, 0);
        if (n < 0 && errno == EINTR)
            continue;
        f->again = true;
        if (n < 0)
            return failed(f, errno, "broken off");
        size_t parsed = http_parser_execute(&a->parser, &settings, input, (size_t)n);
        if (n == 0 && !a->complete)
            return failed(f, 0, "the server closed, before the end,");
        f->again = f->again && !a->failed;
        if (a->failed)
            return false;
        if (HTTP_PARSER_ERRNO(&a->parser) != HPE_OK || parsed != (size_t)n)
            return failed(f, 0, "the server's answer is not HTTP, or too long,");
    }
    f->again = false;
    return true;
}

static bool exchange(struct fetch *f, int fd)
{
    struct answer a = {.fetch = f};
    char *input = malloc(INPUT);
    if (input == NULL)
        return failed(f, errno, "no memory");
    http_parser_init(&a.parser, HTTP_RESPONSE);
    a.parser.data = &a;
    f->again = true;
    bool good = request_send(f, fd) && receive(f, fd, &a, input);
    free(input);
    return good;
}

bool fetch_run(struct fetch *f)
{
    const struct net *net = f->app->net;
    const struct place *address = &f->url->address;
    f->octets = 0;
    f->status = 0;
    f->total = FETCH_END;
    f->again = false;
    int fd = net->socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return failed(f, errno, "cannot make a socket");
    bool good = net->connect(fd, &address->any, address->length) == 0;
    if (good) {
        good = exchange(f, fd);
    } else {
        f->again = true;
        snprintf(f->error, sizeof f->error, "cannot connect to %s: %s", f->url->host, strerror(errno));
    }
    net->close(fd);
    return good;
}
