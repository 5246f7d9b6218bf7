// SPDX-License-Identifier: BSD-2-Clause
/* Inside bh-httpd. A connection takes one request at a time: READING it (and, for PUT, its body, straight to a file), then
 * SENDING the head of the response and the file. What follows in the same piece of input (pipelining) is held until
 * the response is out. */
#ifndef BULKHEAD_BENCH_APPS_HTTPD_H
#define BULKHEAD_BENCH_APPS_HTTPD_H

#include <http_parser.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/apps/app.h"

#define HTTPD_PATH_MAX  1024
#define HTTPD_VALUE_MAX 32   /* of the header values that we look at */
#define HTTPD_HEAD_MAX  512
#define HTTPD_INPUT     (256U << 10)

struct httpd {
    struct app app;
    int root;          /* descriptor of the directory that is served: nothing outside it is reached */
    bool read_only;    /* no PUT */
    uint64_t puts;     /* names of temporary files */
    uint64_t requests;
};

enum connection_state { CONNECTION_READING, CONNECTION_SENDING };

struct upload {
    int parent, file; /* -1: none */
    char temporary[48];
    char name[256];
    bool created;
};

struct connection {
    struct httpd *httpd;
    int fd;
    enum connection_state state;
    uint64_t active_ns; /* last progress */
    http_parser parser;
    /* the request */
    char path[HTTPD_PATH_MAX];
    size_t path_length; /* HTTPD_PATH_MAX: too long */
    char field[HTTPD_VALUE_MAX], value[HTTPD_VALUE_MAX];
    size_t field_length, value_length;
    bool in_value, expects_continue, keep_alive;
    unsigned status;    /* of the response; 0 undecided */
    struct upload upload;
    /* the response */
    char head[HTTPD_HEAD_MAX];
    size_t head_length, head_sent;
    int file;           /* -1: none */
    off_t offset, end;  /* of the file, to send */
    /* input that is not parsed yet */
    char *held;
    size_t held_length;
};

/* ---- request.c ---- */
void request_begin(struct connection *c);
/* Untrusted: data (the peer). Parses up to the end of one request; octets taken. c->state is SENDING once there is a
 * response, also to nonsense. */
size_t request_parse(struct connection *c, const char *data, size_t length);
/* Drops what the request holds open: files, a half-done upload. */
void request_end(struct connection *c);

/* ---- files.c: the request's path is relative to the root and never leaves it. HTTP status, or 0 for success. ---- */
/* Untrusted: path (the peer). Opens a regular file; *ret_size its size. */
unsigned file_open(const struct httpd *h, const char *path, int *ret_file, off_t *ret_size);
unsigned upload_open(struct httpd *h, const char *path, struct upload *ret);
unsigned upload_write(struct upload *u, const char *data, size_t length);
unsigned upload_finish(struct upload *u); /* renames it into place: 201 created, 204 replaced, or an error */
void upload_abandon(struct upload *u);    /* nothing if it is not open */

#endif
