// SPDX-License-Identifier: BSD-2-Clause
/* What the programs here have in common: the options --stack and --run-dir, addresses on the command line, one-line
 * errors, time, the pattern that bh-source writes and bh-sink checks. Exit status: 0, 1 a failure told on stderr, 2
 * wrong usage. */
#ifndef BULKHEAD_BENCH_APPS_APP_H
#define BULKHEAD_BENCH_APPS_APP_H

#include <argp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/apps/net.h"

struct place { /* an address and port of either family */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    };
    socklen_t length;
};

struct app { /* input of app_argp */
    const struct net *net;
    const char *run_dir;
};

extern const struct argp app_argp;
extern const struct argp_child app_children[]; /* give it &app in ARGP_KEY_INIT: state->child_inputs[0] */

/* Parses the command line; wrong usage exits with 2. */
void app_parse(const struct argp *argp, int argc, char **argv, void *input);
/* Wrong usage: one line; exits with 2. */
_Noreturn void app_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Attaches; exits with 1 and one line if there is no stack. */
void app_attach(const struct app *app);
/* One line, with errno's text if `error` is not 0; exits with 1. */
_Noreturn void app_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "ADDRESS:PORT" or "[ADDRESS6]:PORT", numeric; for listening also "PORT" (any address of both
 * families). False: none of them. */
bool app_address(const char *text, bool listening, struct place *ret);
const char *app_address_text(const struct place *address); /* valid until the next call */
/* A number up to `most`, at least `least`, with an optional k, m or g (1000s). False: not one. */
bool app_number(const char *text, uint64_t least, uint64_t most, uint64_t *ret);
/* A bound and listening (SOCK_STREAM) socket, its address told on stdout; exits with 1 if that fails. */
int app_listen(const struct app *app, const char *program, const struct place *address, int type);
/* The same in two steps, for what has to be set in between. `backlog` is taken as a hint. */
int app_socket_bound(const struct app *app, const struct place *address, int type);
void app_listen_on(const struct app *app, const char *program, int fd, uint64_t backlog);
void app_descriptors(uint64_t count); /* raises the limit of open files, as far as it goes */
/* As large a receive buffer as the stack gives: Linux's holds a datagram or two of the largest otherwise. */
void app_receive_buffer(const struct app *app, int fd);
int app_connect(const struct app *app, const struct place *address, int type); /* exits with 1 */
uint64_t app_now_ns(void);
void app_print_rate(uint64_t octets, uint64_t ns); /* "N octets S seconds R Gb/s" */

#define PATTERN_PERIOD 65521U /* a prime: a piece that is lost, doubled or moved does not fit */
/* Octet i of the stream is app_pattern()[i % PATTERN_PERIOD]; PATTERN_PERIOD more follow, so any place has a run. */
const uint8_t *app_pattern(void);

#endif
