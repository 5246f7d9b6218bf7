// SPDX-License-Identifier: BSD-2-Clause
/* Inside bh-httpd. A connection takes one request at a time: READING it (and, for PUT, its body, straight to a file),
 * then SENDING the head of the response and the file. What follows in the same piece of input (pipelining) is held
 * until the response is out. */
#ifndef BULKHEAD_BENCH_APPS_HTTPD_H
#define BULKHEAD_BENCH_APPS_HTTPD_H

#include <http_parser.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/apps/serve.h"

#define HTTPD_PATH_MAX  1024
#define HTTPD_FIELD_MAX 24   /* of the names of the header fields that we look at */
#define HTTPD_VALUE_MAX 128  /* and of their values: a longer one is as none */
#define HTTPD_HEAD_MAX  4096 /* of a response; a small file goes out in one piece with it */
#define HTTPD_INPUT     (256U << 10)

struct httpd {
    struct app app;
    int root;       /* descriptor of the directory that is served: nothing outside it is reached */
    bool read_only; /* no PUT */
    uint64_t puts;  /* names of temporary files */
    uint64_t requests;
};

enum connection_state { CONNECTION_READING, CONNECTION_SENDING };

struct upload {
    int parent, file; /* -1: none */
    char temporary[48];
    char name[256];
    bool created;
};

enum header { /* fields of a request that we look at */
              HEADER_EXPECT,
              HEADER_HOST,
              HEADER_RANGE,
              HEADER_IF_RANGE,
              HEADER_IF_MATCH,
              HEADER_IF_NONE_MATCH,
              HEADER_IF_MODIFIED_SINCE,
              HEADER_IF_UNMODIFIED_SINCE,
              HEADER_CONTENT_RANGE,
              HEADERS
};

struct version { /* of a file: what validators are made of */
    off_t size;
    time_t modified;
    char tag[64]; /* ETag, a strong one, with its quotes */
};

struct connection {
    struct client client;
    struct httpd *httpd;
    enum connection_state state;
    bool progress;
    http_parser parser;
    /* the request */
    char path[HTTPD_PATH_MAX];
    size_t path_length; /* HTTPD_PATH_MAX: too long */
    char field[HTTPD_FIELD_MAX], value[HTTPD_VALUE_MAX];
    size_t field_length, value_length;
    char header[HEADERS][HTTPD_VALUE_MAX]; /* empty: was not there */
    unsigned hosts;
    bool in_value, keep_alive;
    unsigned status; /* of the response; 0 undecided */
    struct upload upload;
    /* the response */
    char head[HTTPD_HEAD_MAX];
    size_t head_length, head_sent;
    int file;          /* -1: none */
    off_t offset, end; /* of the file, to send */
    struct version version;
    /* input that is not parsed yet */
    char *held;
    size_t held_length;
};

/* ---- conditions.c: RFC 9110 sections 13 and 14 ---- */
/* Untrusted: c->header (the peer). What becomes of a GET or HEAD of a file that is there: 200, 206 with [*ret_offset,
 * *ret_end) of it, 304, 412, or 416. */
unsigned conditions_apply(const struct connection *c, off_t *ret_offset, off_t *ret_end);
#define HTTP_DATE_OCTETS 32
void http_date(time_t t, char ret[HTTP_DATE_OCTETS]);

/* ---- request.c ---- */
void request_begin(struct connection *c);
/* Untrusted: data (the peer). Parses up to the end of one request; octets taken. c->state is SENDING once there is a
 * response, also to nonsense. */
size_t request_parse(struct connection *c, const char *data, size_t length);
/* Drops what the request holds open: files, a half-done upload. */
void request_end(struct connection *c);

/* ---- files.c: the request's path is relative to the root and never leaves it. HTTP status, or 0 for success. ---- */
/* Untrusted: path (the peer). Opens a regular file. */
unsigned file_open(const struct httpd *h, const char *path, int *ret_file, struct version *ret_version);
unsigned upload_open(struct httpd *h, const char *path, struct upload *ret);
unsigned upload_write(struct upload *u, const char *data, size_t length);
unsigned upload_finish(struct upload *u); /* renames it into place: 201 created, 204 replaced, or an error */
void upload_abandon(struct upload *u);    /* nothing if it is not open */

#endif
