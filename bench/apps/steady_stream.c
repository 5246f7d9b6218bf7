// SPDX-License-Identifier: BSD-2-Clause
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "bench/apps/steady.h"

#define STEP       7919U  /* of the pattern from one stream to the next: a prime */
#define OTHER_WAY  31337U /* and from one direction to the other */
#define CHUNK      65000U /* at once; less than the pattern's period */
#define MAGIC      "bhs"
#define MAGIC_SIZE 3U

void steady_stream_begin(struct steady_stream *s, const struct net *net, int fd, bool connected)
{
    struct place here = {.length = sizeof here.in6};
    s->net = net;
    s->fd = fd;
    s->connected = connected;
    s->first_wrong = STEADY_NONE;
    s->last_ns = app_now_ns();
    if (net->getsockname(fd, &here.any, &here.length) == 0)
        s->local_port = ntohs(here.any.sa_family == AF_INET6 ? here.in6.sin6_port : here.in.sin_port);
    if (!connected)
        return;
    uint32_t number = htonl(s->number);
    memcpy(s->head, MAGIC, MAGIC_SIZE);
    s->head[MAGIC_SIZE] = (uint8_t)s->kind;
    memcpy(s->head + MAGIC_SIZE + 1, &number, sizeof number);
    s->known = true;
}

static void lose(struct steady_stream *s, int error)
{
    s->lost = true;
    s->error = error;
}

/* Octets of the pattern at `offset` behind the head; `out` of the connecting end's direction. */
static const uint8_t *octets(const struct steady_stream *s, bool out, uint64_t offset)
{
    return app_pattern() + (s->number * (uint64_t)STEP + (out ? 0 : OTHER_WAY) + offset) % PATTERN_PERIOD;
}

static uint64_t payload_of(const struct steady_stream *s, bool sent)
{
    uint64_t all = sent ? s->sent : s->received;
    uint64_t head = sent == s->connected ? STEADY_HEAD : 0;
    return all > head ? all - head : 0;
}

/* What may have been sent by now, behind the head. */
static uint64_t limit(const struct steady_stream *s)
{
    uint64_t received = payload_of(s, false);
    if (!s->known)
        return 0;
    if (s->kind == STEADY_BULK)
        return s->stopping ? payload_of(s, true) : UINT64_MAX;
    if (!s->connected)
        return received / STEADY_REQUEST * STEADY_ANSWER;
    uint64_t answered = received / STEADY_ANSWER * STEADY_REQUEST, sent = payload_of(s, true);
    return s->stopping && sent == answered ? sent : answered + STEADY_REQUEST;
}

bool steady_owes(const struct steady_stream *s)
{
    if (s->lost || s->shut)
        return false;
    return (s->connected && s->sent < STEADY_HEAD) || payload_of(s, true) < limit(s);
}

bool steady_over(const struct steady_stream *s)
{
    return s->lost || (s->shut && s->ended);
}

bool steady_send(struct steady_stream *s, int flags)
{
    if (!steady_owes(s))
        return false;
    const uint8_t *data = s->head + s->sent;
    uint64_t length = STEADY_HEAD - s->sent, at = payload_of(s, true);
    if (!s->connected || s->sent >= STEADY_HEAD) {
        data = octets(s, s->connected, at);
        length = limit(s) - at;
    }
    ssize_t n = s->net->send(s->fd, data, length < CHUNK ? length : CHUNK, flags);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        lose(s, errno);
    if (n > 0)
        s->sent += (uint64_t)n;
    return n > 0;
}

static void head_received(struct steady_stream *s, const uint8_t *data, size_t length)
{
    memcpy(s->head + s->received, data, length);
    if (s->received + length < STEADY_HEAD)
        return;
    uint32_t number;
    memcpy(&number, s->head + MAGIC_SIZE + 1, sizeof number);
    s->number = ntohl(number);
    s->kind = s->head[MAGIC_SIZE] == STEADY_BULK ? STEADY_BULK : STEADY_REQUESTS;
    s->known = memcmp(s->head, MAGIC, MAGIC_SIZE) == 0;
    if (!s->known)
        lose(s, EPROTO);
}

static void check(struct steady_stream *s, const uint8_t *data, size_t length)
{
    uint64_t at = payload_of(s, false);
    const uint8_t *due = octets(s, !s->connected, at);
    if (memcmp(data, due, length) == 0)
        return;
    for (size_t i = 0; i < length; i++) {
        if (data[i] == due[i])
            continue;
        s->wrong++;
        if (s->first_wrong == STEADY_NONE)
            s->first_wrong = at + i;
    }
}

static void moved(struct steady_stream *s)
{
    uint64_t now_ns = app_now_ns(), gap_ns = now_ns - s->last_ns;
    if (gap_ns > s->gap_ns)
        s->gap_ns = gap_ns;
    if (gap_ns > s->longest_ns)
        s->longest_ns = gap_ns;
    s->last_ns = now_ns;
}

/* An end of the stream is due at the end that connected when it has said so itself, at the other one when nothing is
 * half done. */
static void end_received(struct steady_stream *s)
{
    bool whole = s->known && (s->kind == STEADY_BULK || payload_of(s, false) % STEADY_REQUEST == 0);
    s->ended = true;
    if (s->connected ? !s->shut : !whole)
        lose(s, 0);
    s->stopping = true;
}

bool steady_receive(struct steady_stream *s, int flags)
{
    uint8_t data[CHUNK];
    bool head = !s->connected && s->received < STEADY_HEAD;
    if (s->lost || s->ended)
        return false;
    ssize_t n = s->net->recv(s->fd, data, head ? STEADY_HEAD - s->received : sizeof data, flags);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        lose(s, errno);
    if (n < 0)
        return false;
    if (n == 0) {
        end_received(s);
        return true;
    }
    moved(s);
    if (head)
        head_received(s, data, (size_t)n);
    else
        check(s, data, (size_t)n);
    s->received += (uint64_t)n;
    return true;
}

void steady_finish(struct steady_stream *s)
{
    bool answered = s->kind == STEADY_BULK || !s->connected ||
                    payload_of(s, true) / STEADY_REQUEST * STEADY_ANSWER == payload_of(s, false);
    if (!s->stopping || s->lost || s->shut || steady_owes(s) || !answered)
        return;
    if (s->net->shutdown(s->fd, SHUT_WR) < 0)
        lose(s, errno);
    s->shut = true;
}

uint64_t steady_gap_ns(const struct steady_stream *s, uint64_t now_ns)
{
    uint64_t last_ns = s->last_ns;
    uint64_t present = !s->ended && now_ns > last_ns ? now_ns - last_ns : 0;
    return present > s->gap_ns ? present : (uint64_t)s->gap_ns;
}
