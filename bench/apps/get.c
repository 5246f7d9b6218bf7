// SPDX-License-Identifier: BSD-2-Clause
/* bh-get: downloads one file by HTTP/1.1 from a numeric address: all of it, a range, what is missing of it, or in
 * pieces over several connections at once. It tries again only if asked to, and then goes on where it was, if the file
 * is still the same one (If-Match). */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench/apps/fetch.h"

#define PIECES_MAX 64
#define RETRIES_NS 100000000L

const char *argp_program_version = "bh-get (Bulkhead)";

struct arguments {
    struct app app;
    const char *text, *output;
    struct url url;
    uint64_t parallel, retries;
    bool quiet, ranged, resume;
    uint64_t first, last;
};

struct piece {
    struct fetch fetch;
    uint64_t retries, octets;
    bool good;
    pthread_t thread;
};

/* ---- options ---- */
/* "FIRST-LAST", "FIRST-", "-LENGTH". */
static bool range_option(struct arguments *a, const char *text)
{
    char first[24];
    const char *dash = strchr(text, '-');
    if (dash == NULL || (size_t)(dash - text) >= sizeof first || (dash == text && dash[1] == '\0'))
        return false;
    snprintf(first, sizeof first, "%.*s", (int)(dash - text), text);
    a->first = a->last = FETCH_END;
    a->ranged = true;
    return (first[0] == '\0' || app_number(first, 0, INT64_MAX, &a->first)) &&
           (dash[1] == '\0' || app_number(dash + 1, 0, INT64_MAX, &a->last)) &&
           (first[0] == '\0' || a->first <= a->last);
}

static void check(struct arguments *a)
{
    if (!url_read(a->text, &a->url))
        app_usage("'%s' is not http://ADDRESS[:PORT]/PATH with a numeric address ([ADDRESS] for IPv6)", a->text);
    if (a->output != NULL && strcmp(a->output, "-") == 0)
        a->output = NULL;
    if (a->output == NULL && (a->resume || a->parallel > 1))
        app_usage("--continue and --parallel want a file: say --output FILE");
    if (a->ranged + a->resume + (a->parallel > 1) > 1)
        app_usage("--range, --continue and --parallel: one of them only");
}

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
    case 'C':
        a->resume = true;
        return 0;
    case 'R':
        if (!range_option(a, text))
            app_usage("'%s' is not FIRST-LAST, FIRST- or -LENGTH", text);
        return 0;
    case 'P':
        if (!app_number(text, 1, PIECES_MAX, &a->parallel))
            app_usage("'%s' is not a number from 1 to %d", text, PIECES_MAX);
        return 0;
    case 't':
        if (!app_number(text, 0, 1000000, &a->retries))
            app_usage("'%s' is not a number from 0 to 1m", text);
        return 0;
    case ARGP_KEY_ARG:
        if (a->text != NULL)
            app_usage("'%s': one URL only", text);
        a->text = text;
        return 0;
    case ARGP_KEY_NO_ARGS:
        app_usage("say which URL to get");
        return 0;
    case ARGP_KEY_SUCCESS:
        check(a);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"output", 'o', "FILE", 0, "where to write it (default: stdout)", 0},
    {"range", 'R', "RANGE", 0, "only these octets: FIRST-LAST, FIRST- or -LENGTH", 0},
    {"continue", 'C', NULL, 0, "what is missing after the octets that FILE has already", 0},
    {"parallel", 'P', "N", 0, "over so many connections at once, a piece each", 0},
    {"retries", 't', "N", 0, "try again so many times, where it was broken off (default 0)", 0},
    {"quiet", 'q', NULL, 0, "no line with octets and rate on stderr", 0},
    {0}};
static const struct argp argp = {.options = options,
                                 .parser = option,
                                 .args_doc = "http://ADDRESS[:PORT]/PATH",
                                 .doc = "Downloads a file by HTTP/1.1.",
                                 .children = app_children};

/* ---- one piece ---- */
/* After a failure: what is still missing is asked for. False: there is no going on. */
static bool piece_go_on(struct piece *p)
{
    struct fetch *f = &p->fetch;
    struct timespec t = {.tv_nsec = RETRIES_NS};
    if (!f->again || p->retries == 0)
        return false;
    if (f->octets > 0 && f->ranged && f->first == FETCH_END)
        return false; /* the end of a file whose size is not known */
    f->first = f->ranged ? f->first : 0;
    f->last = f->ranged ? f->last : FETCH_END;
    f->first += f->first == FETCH_END ? 0 : f->octets;
    f->ranged = f->ranged || f->octets > 0;
    p->retries--;
    nanosleep(&t, NULL);
    return true;
}

static bool piece_run(struct piece *p)
{
    do {
        p->good = fetch_run(&p->fetch);
        p->octets += p->fetch.octets;
    } while (!p->good && piece_go_on(p));
    return p->good;
}

static void *piece_thread(void *input)
{
    piece_run(input);
    return NULL;
}

static struct piece piece_of(const struct arguments *a, int file)
{
    return (struct piece){.fetch = {.app = &a->app, .url = &a->url, .file = file}, .retries = a->retries};
}

/* ---- the three ways ---- */
static uint64_t get_one(const struct arguments *a, int file)
{
    struct piece p = piece_of(a, file);
    struct stat st;
    p.fetch.ranged = a->ranged;
    p.fetch.first = a->first;
    p.fetch.last = a->last;
    if (a->resume && fstat(file, &st) == 0 && st.st_size > 0) {
        p.fetch.ranged = p.fetch.to_offset = true;
        p.fetch.first = (uint64_t)st.st_size;
        p.fetch.last = FETCH_END;
    }
    if (!piece_run(&p) && !(p.fetch.status == 416 && a->resume && p.fetch.total == p.fetch.first))
        app_fail(0, "%s", p.fetch.error);
    return p.octets;
}

/* The first octet tells the size and the version; then the pieces. */
static uint64_t get_pieces(const struct arguments *a, int file)
{
    static struct piece piece[PIECES_MAX];
    struct piece probe = piece_of(a, file);
    uint64_t octets = 0;
    probe.fetch.ranged = probe.fetch.to_offset = true;
    if (!piece_run(&probe)) {
        if (probe.fetch.status == 416 && probe.fetch.total == 0)
            return 0; /* an empty file */
        app_fail(0, "%s", probe.fetch.error);
    }
    uint64_t total = probe.fetch.total, each = (total + a->parallel - 1) / a->parallel;
    for (uint64_t i = 0; i < a->parallel && i * each < total; i++) {
        piece[i] = probe;
        piece[i].octets = 0;
        piece[i].retries = a->retries;
        piece[i].fetch.first = i * each;
        piece[i].fetch.last = (i + 1) * each < total ? (i + 1) * each - 1 : total - 1;
        int error = pthread_create(&piece[i].thread, NULL, piece_thread, &piece[i]);
        if (error != 0)
            app_fail(error, "cannot start a thread");
    }
    for (uint64_t i = 0; i < a->parallel && i * each < total; i++) {
        pthread_join(piece[i].thread, NULL);
        if (!piece[i].good)
            app_fail(0, "%s", piece[i].fetch.error);
        octets += piece[i].octets;
    }
    return octets;
}

int main(int argc, char **argv)
{
    struct arguments a = {.parallel = 1};
    app_parse(&argp, argc, argv, &a);
    app_attach(&a.app);
    int file = STDOUT_FILENO;
    if (a.output != NULL)
        file = open(a.output, O_WRONLY | O_CREAT | O_CLOEXEC | (a.resume ? 0 : O_TRUNC), 0644);
    if (file < 0)
        app_fail(errno, "cannot write '%s'", a.output);
    uint64_t start_ns = app_now_ns();
    uint64_t octets = a.parallel > 1 ? get_pieces(&a, file) : get_one(&a, file);
    if (close(file) < 0)
        app_fail(errno, "cannot write '%s'", a.output != NULL ? a.output : "stdout");
    double seconds = (double)(app_now_ns() - start_ns) / 1e9;
    if (!a.quiet)
        fprintf(stderr, "%llu octets %.6f seconds %.3f Gb/s\n", (unsigned long long)octets, seconds,
                (double)octets * 8 / 1e9 / seconds);
    return 0;
}
