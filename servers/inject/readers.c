// SPDX-License-Identifier: BSD-2-Clause
/* No watchpoint in one process sees what another reads of memory that both have mapped: each gets its own, for the
 * moment between the damage and the first read of it. */
#include "servers/inject/readers.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void reader_watch(struct readers *readers, pid_t thread, uint64_t address)
{
    if (readers->count == TRACE_JOINED)
        return;
    struct tracee *tracee = &readers->tracee[readers->count];
    if (trace_join(thread, tracee) < 0)
        return;
    if (trace_stop(tracee) != TRACE_STOPPED || !trace_watch(tracee, address)) {
        trace_close(tracee);
        return;
    }
    trace_go(tracee);
    readers->count++;
}

static void threads_watch(struct readers *readers, pid_t pid, uint64_t address)
{
    char path[48];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *folder = opendir(path);
    const struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]))
            reader_watch(readers, atoi(entry->d_name), address);
    if (folder != NULL)
        closedir(folder);
}

/* One of ours? */
static bool is_shared(const struct maps *maps, const struct map *map, enum map_kind kinds)
{
    for (uint32_t i = 0; i < maps->count; i++)
        if ((maps->map[i].kind & kinds) != 0 && maps->map[i].inode == map->inode && map->inode != 0 &&
            strcmp(maps->map[i].name, map->name) == 0)
            return true;
    return false;
}

static void places_find(struct readers *readers, pid_t pid, const struct maps *maps, enum map_kind kinds)
{
    char path[48], line[MAPS_LINE];
    struct map map;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && readers->places < READERS_PLACES && fgets(line, sizeof line, file) != NULL) {
        if (strstr(line, "/memfd:") == NULL || !map_parse_read(line, &map) || !is_shared(maps, &map, kinds))
            continue;
        readers->place[readers->places].pid = pid;
        readers->place[readers->places++].map = map;
    }
    if (file != NULL)
        fclose(file);
}

void readers_find(struct readers *readers, pid_t victim, const struct maps *maps, enum map_kind kinds)
{
    DIR *folder = opendir("/proc");
    const struct dirent *entry;
    readers->places = 0;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 0 && pid != victim && pid != getpid() && pid != getppid())
            places_find(readers, pid, maps, kinds);
    }
    if (folder != NULL)
        closedir(folder);
}

void readers_watch(struct readers *readers, const struct map *map, uint64_t address)
{
    uint64_t at = address - map->start + map->offset;
    readers->count = 0;
    for (uint32_t i = 0; i < readers->places; i++) {
        const struct map *other = &readers->place[i].map;
        if (other->inode == map->inode && at >= other->offset && at - other->offset < other->end - other->start)
            threads_watch(readers, readers->place[i].pid, other->start + at - other->offset);
    }
}

void readers_leave(struct readers *readers)
{
    for (uint32_t i = 0; i < readers->count; i++)
        trace_close(&readers->tracee[i]);
    readers->count = 0;
}

void reader_name(const struct tracee *tracee, char *ret, size_t size)
{
    char path[48];
    snprintf(path, sizeof path, "/proc/%d/comm", tracee->pid);
    FILE *file = fopen(path, "re");
    snprintf(ret, size, "another");
    if (file != NULL && fgets(ret, (int)size, file) != NULL)
        ret[strcspn(ret, "\n")] = '\0';
    if (file != NULL)
        fclose(file);
}
