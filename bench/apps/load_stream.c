// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <string.h>

#include "bench/apps/load.h"

#define BUFFER (64U << 10)
#define TURNS  16

const char *const load_kind_name[LOAD_KINDS] = {"bulk", "rr", "short", "udp"};

uint64_t load_mix(uint64_t x) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
    x = (x ^ x >> 27) * 0x94d049bb133111ebU;
    return x ^ x >> 31;
}

void load_fill(uint64_t key, uint64_t offset, uint8_t *ret, size_t length)
{
    for (size_t i = 0; i < length;) {
        uint64_t word = load_mix(key + (offset + i) / 8) >> (offset + i) % 8 * 8;
        size_t n = 8 - (offset + i) % 8;
        n = n < length - i ? n : length - i;
        memcpy(ret + i, &word, n);
        i += n;
    }
}

size_t load_check(uint64_t key, uint64_t offset, const uint8_t *data, size_t length)
{
    static uint8_t want[BUFFER];
    for (size_t at = 0; at < length; at += sizeof want) {
        size_t n = length - at < sizeof want ? length - at : sizeof want;
        load_fill(key, offset + at, want, n);
        if (memcmp(want, data + at, n) == 0)
            continue;
        while (want[at % sizeof want] == data[at])
            at++;
        return at;
    }
    return length;
}

static bool would_block(void)
{
    return errno == EAGAIN || errno == EINTR;
}

void load_push(const struct net *net, struct load_stream *s, uint64_t due)
{
    static uint8_t buffer[BUFFER];
    for (int turns = 0; s->error == 0 && s->sent < due && turns < TURNS; turns++) {
        size_t n = due - s->sent < sizeof buffer ? (size_t)(due - s->sent) : sizeof buffer;
        load_fill(s->out_key, s->sent, buffer, n);
        ssize_t sent = net->send(s->fd, buffer, n, MSG_DONTWAIT);
        if (sent < 0) {
            s->error = would_block() ? 0 : errno;
            return;
        }
        s->sent += (uint64_t)sent;
    }
}

uint64_t load_pull(const struct net *net, struct load_stream *s)
{
    static uint8_t buffer[BUFFER];
    uint64_t before = s->received;
    for (int turns = 0; s->error == 0 && !s->eof && turns < TURNS; turns++) {
        ssize_t n = net->recv(s->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0) {
            s->error = would_block() ? 0 : errno;
            break;
        }
        s->eof = n == 0;
        size_t right = load_check(s->in_key, s->received, buffer, (size_t)n);
        if (right < (size_t)n && s->wrong == LOAD_RIGHT)
            s->wrong = s->received + right;
        s->received += (uint64_t)n;
    }
    return s->received - before;
}
