// SPDX-License-Identifier: BSD-2-Clause
/* Who else has a word of shared memory mapped, and reads it. */
#ifndef BULKHEAD_SERVERS_INJECT_READERS_H
#define BULKHEAD_SERVERS_INJECT_READERS_H

#include "servers/inject/maps.h"
#include "servers/inject/trace.h"

#define READERS_PLACES 512U

struct readers {
    struct { /* where other processes have our shared memory */
        pid_t pid;
        struct map map;
    } place[READERS_PLACES];
    uint32_t places;
    struct tracee tracee[TRACE_JOINED]; /* those that are watched */
    uint32_t count;
};

/* Looks who has any of these kinds mapped, but the supervisor. It takes milliseconds: before the victim is stopped. */
void readers_find(struct readers *readers, pid_t victim, const struct maps *maps, enum map_kind kinds);
/* Each of their threads that has the word gets a watchpoint on it. At most TRACE_JOINED. */
void readers_watch(struct readers *readers, const struct map *map, uint64_t address);
/* Lets all go. */
void readers_leave(struct readers *readers);
/* "ip", of a thread: what it calls itself. */
void reader_name(const struct tracee *tracee, char *ret, size_t size);

#endif
