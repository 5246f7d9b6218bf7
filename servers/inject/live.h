// SPDX-License-Identifier: BSD-2-Clause
/* Words of a process that are in use, and the moment at which a fault in them is met. */
#ifndef BULKHEAD_SERVERS_INJECT_LIVE_H
#define BULKHEAD_SERVERS_INJECT_LIVE_H

#include "servers/inject/inject.h"
#include "servers/inject/maps.h"
#include "servers/inject/trace.h"

#define PAGE 4096U
#define WORD 8U

struct live {
    uint64_t address;   /* aligned to WORD; 0: none was found in time */
    uint32_t bit, bits; /* those of it that are in use */
    uint64_t reader;    /* live_read(): where the instruction is that reads it */
};

/* Whether it is of these kinds, and of the server that is meant. */
bool live_wanted(const struct injection *injection, const struct map *map, enum map_kind kinds);
/* Addresses of pages that are there, of the live part only of a stack; to be freed. NULL: no memory. */
uint64_t *live_pages(const struct injection *injection, const struct maps *maps, enum map_kind kinds, uint64_t sp,
                     size_t *ret_count);

/* Each: the process is stopped, and afterwards too, unless TRACE_GONE comes back; then it has ended. Else
 * TRACE_STOPPED. live_read(): before an instruction that reads the word. */
enum trace_event live_read(struct injection *injection, struct tracee *tracee, csh decoder, const struct maps *maps,
                           enum map_kind kinds, struct live *ret);
/* Behind an instruction that wrote the word, which nobody has been told of yet. */
enum trace_event live_written(struct injection *injection, struct tracee *tracee, const struct maps *maps,
                              enum map_kind kinds, struct live *ret);
/* Behind a system call that read the word from a device. */
enum trace_event live_received(struct injection *injection, struct tracee *tracee, const struct maps *maps,
                               enum map_kind kinds, struct live *ret);
/* In a committed block of a store: what the next life reads. It does not run in between. */
void live_stored(struct injection *injection, const struct tracee *tracee, const struct maps *maps, struct live *ret);

#endif
