// SPDX-License-Identifier: BSD-2-Clause
/* Requests: libhttp-parser's callbacks, and the response that follows from what they saw. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "bench/apps/httpd.h"

/* ---- the response ---- */
static const char *reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } rows[] = {
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {414, "URI Too Long"},
        {500, "Internal Server Error"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].status == status)
            return rows[i].reason;
    return "Error";
}

/* Writes the head and turns to sending. An error comes with its reason as the body. */
static void respond(struct connection *c, unsigned status)
{
    char body[64] = "";
    bool with_file = status == 200 && (c->file >= 0 || c->parser.method == HTTP_HEAD);
    off_t octets = c->end;
    if (!with_file && status != 204) {
        snprintf(body, sizeof body, "%u %s\n", status, reason(status));
        octets = (off_t)strlen(body);
    }
    char length[48] = "";
    if (status != 204) /* RFC 9110 8.6: MUST NOT send Content-Length with 204 */
        snprintf(length, sizeof length, "Content-Length: %lld\r\n", (long long)octets);
    int n = snprintf(c->head, sizeof c->head, "HTTP/1.1 %u %s\r\nServer: bh-httpd\r\n%s%s%s\r\n%s", status,
                     reason(status), length, status == 405 ? "Allow: GET, HEAD, PUT\r\n" : "",
                     c->keep_alive ? "" : "Connection: close\r\n", c->parser.method == HTTP_HEAD ? "" : body);
    c->head_length = (size_t)n;
    c->head_sent = 0;
    c->status = status;
    c->state = CONNECTION_SENDING;
    c->httpd->requests++;
}

/* ---- the path ---- */
static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes c->path in place: without query and leading slashes. 0, or the status of a refusal. */
static unsigned path_decode(struct connection *c)
{
    if (c->path_length >= HTTPD_PATH_MAX)
        return 414;
    c->path[c->path_length] = '\0';
    char *from = c->path, *to = c->path;
    if (*from != '/')
        return 400;
    while (*from == '/')
        from++;
    for (; *from != '\0' && *from != '?' && *from != '#'; from++) {
        char octet = *from;
        if (octet == '%') {
            int high = hex(from[1]), low = high < 0 ? -1 : hex(from[2]);
            if (low < 0 || high * 16 + low == 0)
                return 400;
            octet = (char)(high * 16 + low);
            from += 2;
        }
        *to++ = octet;
    }
    *to = '\0';
    return c->path[0] == '/' ? 403 : 0;
}

/* ---- callbacks: 0 goes on, anything else stops the parser ---- */
static int on_url(http_parser *p, const char *at, size_t length)
{
    struct connection *c = p->data;
    if (length >= HTTPD_PATH_MAX - c->path_length) {
        c->path_length = HTTPD_PATH_MAX;
        return 0;
    }
    memcpy(c->path + c->path_length, at, length);
    c->path_length += length;
    return 0;
}

static void header_done(struct connection *c)
{
    if (c->in_value && c->field_length < HTTPD_VALUE_MAX && c->value_length < HTTPD_VALUE_MAX) {
        c->field[c->field_length] = c->value[c->value_length] = '\0';
        if (strcasecmp(c->field, "expect") == 0 && strcasecmp(c->value, "100-continue") == 0)
            c->expects_continue = true;
    }
    c->in_value = false;
    c->field_length = c->value_length = 0;
}

static void keep(char *where, size_t *length, const char *at, size_t more)
{
    if (more < HTTPD_VALUE_MAX - *length)
        memcpy(where + *length, at, more);
    *length = more < HTTPD_VALUE_MAX - *length ? *length + more : HTTPD_VALUE_MAX;
}

static int on_header_field(http_parser *p, const char *at, size_t length)
{
    struct connection *c = p->data;
    if (c->in_value)
        header_done(c);
    keep(c->field, &c->field_length, at, length);
    return 0;
}

static int on_header_value(http_parser *p, const char *at, size_t length)
{
    struct connection *c = p->data;
    c->in_value = true;
    keep(c->value, &c->value_length, at, length);
    return 0;
}

static int on_headers_complete(http_parser *p)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct connection *c = p->data;
    header_done(c);
    c->keep_alive = http_should_keep_alive(p) != 0;
    unsigned status = path_decode(c);
    if (status == 0 && p->method == HTTP_PUT)
        status = upload_open(c->httpd, c->path, &c->upload);
    else if (status == 0 && p->method != HTTP_GET && p->method != HTTP_HEAD)
        status = 405;
    c->status = status;
    if (status == 0 &&
        c->expects_continue) /* the ring is empty now; one who misses it sends anyway (RFC 9110 10.1.1) */
        (void)!c->httpd->app.net->send(c->fd, go_on, sizeof go_on - 1, MSG_DONTWAIT);
    if (status != 0 && c->expects_continue)
        c->keep_alive = false; /* whether the body still comes is not known */
    return status != 0 && c->expects_continue ? -1 : 0;
}

/* The body of a refused request is read and dropped. */
static int on_body(http_parser *p, const char *at, size_t length)
{
    struct connection *c = p->data;
    if (c->status == 0 && c->upload.file >= 0)
        c->status = upload_write(&c->upload, at, length);
    return 0;
}

static int on_message_complete(http_parser *p)
{
    struct connection *c = p->data;
    if (c->status == 0 && p->method == HTTP_PUT) {
        c->status = upload_finish(&c->upload);
    } else if (c->status == 0) {
        off_t size = 0;
        c->status = file_open(c->httpd, c->path, &c->file, &size);
        if (c->status == 0) {
            c->end = size;
            c->status = 200;
        }
    }
    if (p->method == HTTP_HEAD && c->file >= 0) {
        close(c->file);
        c->file = -1;
    }
    respond(c, c->status);
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void request_begin(struct connection *c)
{
    http_parser_init(&c->parser, HTTP_REQUEST);
    c->parser.data = c;
    c->state = CONNECTION_READING;
    c->path_length = c->field_length = c->value_length = 0;
    c->in_value = c->expects_continue = false;
    c->status = 0;
    c->upload = (struct upload){.parent = -1, .file = -1};
    c->file = -1;
    c->offset = c->end = 0;
}

size_t request_parse(struct connection *c, const char *data, size_t length)
{
    size_t n = http_parser_execute(&c->parser, &settings, data, length);
    enum http_errno error = HTTP_PARSER_ERRNO(&c->parser);
    bool upgrade = c->parser.upgrade != 0;
    if (c->state == CONNECTION_READING && ((error != HPE_OK && error != HPE_PAUSED) || upgrade)) {
        c->keep_alive = false;
        respond(c, c->status != 0 ? c->status : 400);
    }
    if (error == HPE_PAUSED && n < length && c->state == CONNECTION_SENDING)
        http_parser_pause(&c->parser, 0);
    return n;
}

void request_end(struct connection *c)
{
    upload_abandon(&c->upload);
    if (c->file >= 0)
        close(c->file);
    c->file = -1;
}
