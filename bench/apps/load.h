// SPDX-License-Identifier: BSD-2-Clause
/* What the two ends of bh-load share. Every stream is a counter-mode pattern: octet n of the stream with key k is a
 * function of k and n alone, so that an octet that is lost, doubled, moved or of another stream does not fit, and
 * neither end keeps a copy. */
#ifndef BULKHEAD_BENCH_APPS_LOAD_H
#define BULKHEAD_BENCH_APPS_LOAD_H

#include "bench/apps/app.h"

#define LOAD_MAGIC    0x62686c64U
#define LOAD_RIGHT    UINT64_MAX /* as the first wrong octet: there is none */
#define LOAD_TICK_MS  4
#define LOAD_DATAGRAM 512

enum load_kind { LOAD_BULK, LOAD_RR, LOAD_SHORT, LOAD_UDP, LOAD_KINDS };
extern const char *const load_kind_name[LOAD_KINDS];

/* What the connecting end says first on each connection, in its own octet order (both ends are on one machine). A
 * datagram has it too: request octets of the pattern follow, and the answer is the same with the other end's pattern.
 */
struct load_hello {
    uint32_t magic, kind;
    uint64_t key;
    uint32_t request, answer; /* octets; of LOAD_BULK: each way a second */
};

struct load_stream { /* one TCP connection, either end */
    int fd;
    uint64_t out_key, in_key, sent, received, wrong; /* wrong: first octet that is, or LOAD_RIGHT */
    bool eof;
    int error; /* errno of its end; 0: none */
};

uint64_t load_mix(uint64_t x);
void load_fill(uint64_t key, uint64_t offset, uint8_t *ret, size_t length);
size_t load_check(uint64_t key, uint64_t offset, const uint8_t *data,
                  size_t length); /* how many are right, from the first on */
static inline uint64_t load_answer_key(uint64_t key)
{
    return load_mix(key ^ 0x616e73776572U);
}
/* Sends what is missing up to offset `due`, as far as it goes now. */
void load_push(const struct net *net, struct load_stream *s, uint64_t due);
/* Reads and checks what is there now. Octets. */
uint64_t load_pull(const struct net *net, struct load_stream *s);

_Noreturn void load_serve(const struct app *app, const struct place *address);
/* Work for who names sockets. What fails in it is no matter: a call that waits for a dead server is made again. */
_Noreturn void load_bind(const struct app *app, const struct place *address, uint64_t pause_ns);
extern volatile int load_ending; /* a signal asked for the end */

#endif
