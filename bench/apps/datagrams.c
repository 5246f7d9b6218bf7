// SPDX-License-Identifier: BSD-2-Clause
/* Each datagram is its number (8 octets, the first first) and a piece of the pattern that depends on it, so that an
 * answer is right, wrong, or the second of its kind. Shorter ones are only compared and counted. One that is not
 * answered in time is given up, so that the window moves on; its answer still counts when it comes. */
#include "bench/apps/datagrams.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NUMBER_OCTETS 8U
#define STEP          7919U /* of the pattern from one datagram to the next: a prime */

struct run {
    const struct datagrams *what;
    const struct net *net;
    int fd;
    uint8_t *answered_bit; /* one for each number */
    uint8_t payload[DATAGRAM_SIZE_MAX], answer[DATAGRAM_SIZE_MAX + 1];
    uint64_t sent, answered, duplicate, wrong, errors;
    int last_error;
    uint64_t given_up;            /* of those sent, so many are not waited for */
    uint64_t start_ns, answer_ns; /* of the last answer */
    uint64_t gap_ns;              /* longest between two answers */
};

static void payload_make(uint64_t number, uint32_t size, uint8_t *ret)
{
    uint8_t head[NUMBER_OCTETS];
    for (uint32_t i = 0; i < NUMBER_OCTETS; i++)
        head[i] = (uint8_t)(number >> 8 * (NUMBER_OCTETS - 1 - i));
    uint32_t n = size < NUMBER_OCTETS ? 0 : NUMBER_OCTETS;
    memcpy(ret, head, n);
    memcpy(ret + n, app_pattern() + number * STEP % PATTERN_PERIOD * (n != 0), size - n);
}

/* ---- answers ---- */
static uint64_t number_of(const uint8_t *answer)
{
    uint64_t number = 0;
    for (uint32_t i = 0; i < NUMBER_OCTETS; i++)
        number = number << 8 | answer[i];
    return number;
}

static void answer_check(struct run *r, size_t octets)
{
    static uint8_t expected[DATAGRAM_SIZE_MAX];
    uint32_t size = r->what->size;
    uint64_t number = octets == size && size >= NUMBER_OCTETS ? number_of(r->answer) : 0;
    if (octets == size && number < r->sent)
        payload_make(number, size, expected);
    if (octets != size || number >= r->sent || memcmp(r->answer, expected, size) != 0) {
        r->wrong++;
        return;
    }
    bool again = size < NUMBER_OCTETS ? r->answered == r->sent : (r->answered_bit[number / 8] >> (number % 8) & 1) != 0;
    if (again) {
        r->duplicate++;
        return;
    }
    r->answered_bit[number / 8] = (uint8_t)(r->answered_bit[number / 8] | 1U << number % 8);
    uint64_t now = app_now_ns();
    if (r->answered++ > 0 && now - r->answer_ns > r->gap_ns)
        r->gap_ns = now - r->answer_ns;
    r->answer_ns = now;
}

static void note_error(struct run *r)
{
    if (errno == EAGAIN || errno == EINTR)
        return;
    if (errno == ENETDOWN)
        app_fail(errno, "the stack is gone");
    r->errors++;
    r->last_error = errno;
}

static void answers_take(struct run *r)
{
    for (int i = 0; i < 64; i++) {
        ssize_t n = r->net->recv(r->fd, r->answer, sizeof r->answer, MSG_DONTWAIT);
        if (n < 0) {
            note_error(r);
            return;
        }
        answer_check(r, (size_t)n);
    }
}

/* ---- sending ---- */
static bool window_open(const struct run *r)
{
    uint64_t settled = r->answered + r->given_up;
    return r->sent < r->what->count && (settled >= r->sent || r->sent - settled < r->what->window);
}

static uint64_t due_ns(const struct run *r)
{
    return r->what->rate == 0 ? 0 : r->start_ns + (uint64_t)((double)r->sent * 1e9 / (double)r->what->rate);
}

/* False: it would have to wait. */
static bool send_one(struct run *r)
{
    payload_make(r->sent, r->what->size, r->payload);
    if (r->net->send(r->fd, r->payload, r->what->size, MSG_DONTWAIT) < 0) {
        if (errno == EMSGSIZE)
            app_fail(errno, "datagrams of %u octets do not go there", r->what->size);
        bool full = errno == EAGAIN;
        note_error(r);
        return !full;
    }
    r->sent++;
    return true;
}

static uint64_t wait_ns(const struct run *r)
{
    return r->what->wait_ms * 1000000;
}

/* Waits for an answer, or room, or the next one's time. */
static void wait_some(const struct run *r, bool full, uint64_t now, uint64_t last_ns)
{
    uint64_t until = last_ns + wait_ns(r);
    if (window_open(r) && !full && due_ns(r) < until)
        until = due_ns(r);
    uint64_t left_ns = until > now ? until - now : 0, left_ms = left_ns / 1000000;
    if (left_ns > 0 && left_ms == 0 && !full) { /* less than poll() can wait */
        struct timespec t = {.tv_nsec = (long)left_ns};
        nanosleep(&t, NULL);
        return;
    }
    struct pollfd p = {.fd = r->fd, .events = (short)(POLLIN | (full ? POLLOUT : 0))};
    if (r->net->poll(&p, 1, (int)left_ms) < 0 && errno != EINTR)
        app_fail(errno, "cannot wait");
}

static bool finished(const struct run *r)
{
    return r->sent == r->what->count && r->answered + r->given_up >= r->sent;
}

static void run(struct run *r)
{
    uint64_t last_ns = app_now_ns(), last_settled = 0; /* when anything last moved */
    r->start_ns = last_ns;
    while (!finished(r)) {
        bool full = false, sent = false, idle = r->sent <= r->answered + r->given_up;
        for (int i = 0; i < 32 && !full && window_open(r) && app_now_ns() >= due_ns(r); i++, sent = true)
            full = !send_one(r);
        answers_take(r);
        uint64_t now = app_now_ns(), settled = r->answered + r->duplicate + r->wrong;
        if (settled != last_settled || (sent && idle))
            last_ns = now;
        last_settled = settled;
        if (now - last_ns >= wait_ns(r)) {
            r->given_up = r->sent > r->answered ? r->sent - r->answered : 0;
            last_ns = now;
        } else if ((!sent || full) && !finished(r)) {
            wait_some(r, full, now, last_ns);
        }
    }
}

static int report(const struct run *r, const char *stack)
{
    double seconds = (double)(app_now_ns() - r->start_ns) / 1e9;
    printf("{\"stack\": \"%s\", \"size\": %u, \"sent\": %llu, \"answered\": %llu, \"lost\": %llu, \"wrong\": %llu, "
           "\"duplicate\": %llu, \"errors\": %llu, \"last_error\": \"%s\", \"seconds\": %.6f, \"rate\": %.0f, "
           "\"longest_gap_ms\": %.3f}\n",
           stack, r->what->size, (unsigned long long)r->sent, (unsigned long long)r->answered,
           (unsigned long long)(r->sent - r->answered), (unsigned long long)r->wrong, (unsigned long long)r->duplicate,
           (unsigned long long)r->errors, r->errors != 0 ? strerrorname_np(r->last_error) : "", seconds,
           (double)r->answered / seconds, (double)r->gap_ns / 1e6);
    if (r->wrong > 0 || r->answered == 0) {
        fprintf(stderr, "bh-source: %llu wrong answers, %llu right ones\n", (unsigned long long)r->wrong,
                (unsigned long long)r->answered);
        return 1;
    }
    return 0;
}

int datagrams_run(const struct app *app, const struct place *peer, const struct datagrams *what)
{
    static struct run r;
    app_attach(app);
    r.what = what;
    r.net = app->net;
    r.fd = app_connect(app, peer, SOCK_DGRAM);
    app_receive_buffer(app, r.fd);
    r.answered_bit = calloc(what->count / 8 + 1, 1);
    if (r.answered_bit == NULL)
        app_fail(errno, "cannot remember %llu answers", (unsigned long long)what->count);
    run(&r);
    app->net->close(r.fd);
    int status = report(&r, app->net->name);
    free(r.answered_bit);
    return status;
}
