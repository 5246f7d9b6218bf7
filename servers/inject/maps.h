// SPDX-License-Identifier: BSD-2-Clause
/* What a process has mapped, from the text of /proc/PID/maps. */
#ifndef BULKHEAD_SERVERS_INJECT_MAPS_H
#define BULKHEAD_SERVERS_INJECT_MAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MAPS_MAX  1024
#define MAPS_NAME 32
#define MAPS_LINE 4096

enum map_kind { /* bits */
                MAP_STACK = 1 << 0,
                MAP_HEAP = 1 << 1, /* private and writable: heap, anonymous, data of the program */
                MAP_STORE = 1 << 2,
                MAP_POOL = 1 << 3,
                MAP_RING = 1 << 4,
                MAP_ARENA = 1 << 5, /* memory of sessions */
                MAP_OTHER = 1 << 6, /* status, counters, crash page */
                MAP_ANY = (1 << 7) - 1,
                MAP_FOR_OTHERS = MAP_POOL | MAP_RING | MAP_ARENA, /* written to be read by others */
};

struct map {
    uint64_t start, end;
    uint64_t offset, inode; /* of what is mapped */
    enum map_kind kind;
    char name[MAPS_NAME]; /* "store-tcp", "[stack]"; cut */
};

struct maps {
    uint32_t count;
    struct map map[MAPS_MAX]; /* the writable ones, in the order of their addresses */
};

/* One line. False: it is not writable, or not what the kernel writes. */
bool map_parse(const char *line, struct map *ret) __attribute__((warn_unused_result));
/* The same of what may be read, written or not. */
bool map_parse_read(const char *line, struct map *ret) __attribute__((warn_unused_result));
/* 0, or a negative errno. */
int maps_read(pid_t pid, struct maps *ret) __attribute__((warn_unused_result));
/* By the name in "stack:0x10"; false: there is none. */
bool map_kind_find(const char *name, size_t length, enum map_kind *ret);
const char *map_kind_name(enum map_kind kind);

#endif
