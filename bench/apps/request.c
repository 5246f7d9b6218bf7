// SPDX-License-Identifier: BSD-2-Clause
/* Requests: libhttp-parser's callbacks, and the response that follows from what they saw. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
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
        {206, "Partial Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {412, "Precondition Failed"},
        {414, "URI Too Long"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].status == status)
            return rows[i].reason;
    return "Error";
}

static bool with_file(unsigned status)
{
    return status == 200 || status == 206;
}

/* What a response says of the file itself. */
static int version_fields(const struct connection *c, unsigned status, char *ret, size_t size)
{
    char modified[HTTP_DATE_OCTETS], range[96] = "";
    const struct version *v = &c->version;
    if (v->tag[0] == '\0')
        return snprintf(ret, size, "%s", "");
    http_date(v->modified, modified);
    if (status == 206)
        snprintf(range, sizeof range, "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)c->offset,
                 (long long)c->end - 1, (long long)v->size);
    else if (status == 416)
        snprintf(range, sizeof range, "Content-Range: bytes */%lld\r\n", (long long)v->size);
    return snprintf(ret, size, "Accept-Ranges: bytes\r\nETag: %s\r\nLast-Modified: %s\r\n%s", v->tag, modified, range);
}

static int length_field(const struct connection *c, unsigned status, const char *body, char *ret, size_t size)
{
    if (status == 204 || status == 304) /* RFC 9110 8.6: MUST NOT send Content-Length with 204; 304 has no body */
        return snprintf(ret, size, "%s", "");
    return snprintf(ret, size, "Content-Length: %lld\r\n",
                    with_file(status) ? (long long)(c->end - c->offset) : (long long)strlen(body));
}

/* A small file, or the start of a large one, goes out with the head. */
static void head_fill(struct connection *c)
{
    size_t room = sizeof c->head - c->head_length;
    size_t length = c->end - c->offset < (off_t)room ? (size_t)(c->end - c->offset) : room;
    ssize_t n = c->file < 0 ? 0 : pread(c->file, c->head + c->head_length, length, c->offset);
    if (n <= 0)
        return;
    c->head_length += (size_t)n;
    c->offset += n;
}

/* Writes the head and turns to sending. An error comes with its reason as the body. */
static void respond(struct connection *c, unsigned status)
{
    char body[64] = "", date[HTTP_DATE_OCTETS], length[48], version[320];
    bool head_only = c->parser.method == HTTP_HEAD;
    if (status >= 400)
        snprintf(body, sizeof body, "%u %s\n", status, reason(status));
    http_date(time(NULL), date);
    length_field(c, status, body, length, sizeof length);
    version_fields(c, status, version, sizeof version);
    int n = snprintf(c->head, sizeof c->head, "HTTP/1.1 %u %s\r\nDate: %s\r\nServer: bh-httpd\r\n%s%s%s%s\r\n%s",
                     status, reason(status), date, length, version, status == 405 ? "Allow: GET, HEAD, PUT\r\n" : "",
                     c->keep_alive ? "" : "Connection: close\r\n", head_only ? "" : body);
    c->head_length = (size_t)n;
    c->head_sent = 0;
    c->status = status;
    c->state = CONNECTION_SENDING;
    c->httpd->requests++;
    if (head_only || !with_file(status))
        c->end = c->offset;
    head_fill(c);
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
    static const char *const names[HEADERS] = {
        [HEADER_EXPECT] = "expect",
        [HEADER_HOST] = "host",
        [HEADER_RANGE] = "range",
        [HEADER_IF_RANGE] = "if-range",
        [HEADER_IF_MATCH] = "if-match",
        [HEADER_IF_NONE_MATCH] = "if-none-match",
        [HEADER_IF_MODIFIED_SINCE] = "if-modified-since",
        [HEADER_IF_UNMODIFIED_SINCE] = "if-unmodified-since",
        [HEADER_CONTENT_RANGE] = "content-range",
    };
    for (size_t i = 0; c->in_value && c->field_length < HTTPD_FIELD_MAX && i < HEADERS; i++) {
        if (strlen(names[i]) != c->field_length || strncasecmp(names[i], c->field, c->field_length) != 0)
            continue;
        c->hosts += i == HEADER_HOST;
        if (c->value_length < HTTPD_VALUE_MAX) {
            memcpy(c->header[i], c->value, c->value_length);
            c->header[i][c->value_length] = '\0';
        }
    }
    c->in_value = false;
    c->field_length = c->value_length = 0;
}

/* What does not fit in makes it `size` long. */
static void keep(char *where, size_t size, size_t *length, const char *at, size_t more)
{
    if (more < size - *length)
        memcpy(where + *length, at, more);
    *length = more < size - *length ? *length + more : size;
}

static int on_header_field(http_parser *p, const char *at, size_t length)
{
    struct connection *c = p->data;
    if (c->in_value)
        header_done(c);
    keep(c->field, sizeof c->field, &c->field_length, at, length);
    return 0;
}

static int on_header_value(http_parser *p, const char *at, size_t length)
{
    struct connection *c = p->data;
    c->in_value = true;
    keep(c->value, sizeof c->value, &c->value_length, at, length);
    return 0;
}

/* What is refused before its body is looked at. 0: nothing. */
static unsigned refusal(const struct connection *c)
{
    const http_parser *p = &c->parser;
    if (c->hosts > 1 || (c->hosts == 0 && p->http_major == 1 && p->http_minor == 1))
        return 400; /* RFC 9112 3.2: MUST, of a 1.1 request without Host or with several */
    if (p->method != HTTP_PUT && p->method != HTTP_GET && p->method != HTTP_HEAD)
        return 405;
    if (p->method == HTTP_PUT && c->header[HEADER_CONTENT_RANGE][0] != '\0')
        return 400; /* RFC 9110 14.5: a part of a file is not taken for all of it */
    if (c->header[HEADER_EXPECT][0] != '\0' && strcasecmp(c->header[HEADER_EXPECT], "100-continue") != 0)
        return 417;
    return 0;
}

static int on_headers_complete(http_parser *p)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct connection *c = p->data;
    header_done(c);
    bool expects = c->header[HEADER_EXPECT][0] != '\0';
    c->keep_alive = http_should_keep_alive(p) != 0;
    unsigned status = path_decode(c);
    status = status != 0 ? status : refusal(c);
    if (status == 0 && p->method == HTTP_PUT)
        status = upload_open(c->httpd, c->path, &c->upload);
    c->status = status;
    if (status == 0 && expects) /* the ring is empty now; one who misses it sends anyway (RFC 9110 10.1.1) */
        (void)!c->httpd->app.net->send(c->client.fd, go_on, sizeof go_on - 1, MSG_DONTWAIT);
    if (status != 0 && expects)
        c->keep_alive = false; /* whether the body still comes is not known */
    return status != 0 && expects ? -1 : 0;
}

/* The body of a refused request is read and dropped. */
static int on_body(http_parser *p, const char *at, size_t length)
{
    struct connection *c = p->data;
    if (c->status == 0 && c->upload.file >= 0)
        c->status = upload_write(&c->upload, at, length);
    return 0;
}

static unsigned file_begin(struct connection *c)
{
    unsigned status = file_open(c->httpd, c->path, &c->file, &c->version);
    if (status != 0)
        return status;
    c->end = c->version.size;
    return conditions_apply(c, &c->offset, &c->end);
}

static int on_message_complete(http_parser *p)
{
    struct connection *c = p->data;
    if (c->status == 0)
        c->status = p->method == HTTP_PUT ? upload_finish(&c->upload) : file_begin(c);
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
    c->in_value = false;
    c->hosts = 0;
    c->version.tag[0] = '\0';
    for (size_t i = 0; i < HEADERS; i++)
        c->header[i][0] = '\0';
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
        respond(c, c->status != 0 ? c->status : error == HPE_HEADER_OVERFLOW ? 431 : 400);
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
