// SPDX-License-Identifier: BSD-2-Clause
#include "servers/inject/maps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum map_kind kind;
} kinds[] = {
    {"stack", MAP_STACK}, {"heap", MAP_HEAP},   {"store", MAP_STORE}, {"pool", MAP_POOL},
    {"ring", MAP_RING},   {"arena", MAP_ARENA}, {"other", MAP_OTHER},
};

/* Segments by the names that the supervisor gives them; what it did not name, an application did. */
static const struct {
    const char *prefix;
    enum map_kind kind;
} segments[] = {
    {"store-", MAP_STORE}, {"pool-", MAP_POOL},     {"ring-", MAP_RING},  {"wire", MAP_RING},
    {"status", MAP_OTHER}, {"counters", MAP_OTHER}, {"crash", MAP_OTHER}, {"capture", MAP_OTHER},
};

bool map_kind_find(const char *name, size_t length, enum map_kind *ret)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strlen(kinds[i].name) == length && memcmp(kinds[i].name, name, length) == 0) {
            *ret = kinds[i].kind;
            return true;
        }
    }
    return false;
}

const char *map_kind_name(enum map_kind kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].kind == kind)
            return kinds[i].name;
    return "?";
}

static enum map_kind kind_of(const char *path, char sharing)
{
    static const char memfd[] = "/memfd:";
    if (strcmp(path, "[stack]") == 0)
        return MAP_STACK;
    if (sharing == 'p')
        return MAP_HEAP;
    if (strncmp(path, memfd, sizeof memfd - 1) != 0)
        return MAP_OTHER;
    for (size_t i = 0; i < sizeof segments / sizeof segments[0]; i++)
        if (strncmp(path + sizeof memfd - 1, segments[i].prefix, strlen(segments[i].prefix)) == 0)
            return segments[i].kind;
    return MAP_ARENA;
}

/* With its rights, "rw-s". */
static bool line_parse(const char *line, struct map *ret, char rights[5])
{
    char path[256] = "";
    struct map map = {0};
    if (sscanf(line, "%lx-%lx %4s %lx %*x:%*x %lu %255s", &map.start, &map.end, rights, &map.offset, &map.inode, path) <
            5 ||
        strlen(rights) != 4 || map.start >= map.end)
        return false;
    map.kind = kind_of(path, rights[3]);
    const char *name = strncmp(path, "/memfd:", 7) == 0 ? path + 7 : path[0] == '\0' ? "anonymous" : path;
    snprintf(map.name, sizeof map.name, "%.*s", MAPS_NAME - 1, name);
    *ret = map;
    return true;
}

bool map_parse(const char *line, struct map *ret)
{
    char rights[5];
    struct map map;
    if (!line_parse(line, &map, rights) || rights[0] != 'r' || rights[1] != 'w')
        return false;
    *ret = map;
    return true;
}

bool map_parse_read(const char *line, struct map *ret)
{
    char rights[5];
    struct map map;
    if (!line_parse(line, &map, rights) || rights[0] != 'r')
        return false;
    *ret = map;
    return true;
}

int maps_read(pid_t pid, struct maps *ret)
{
    char path[48], line[MAPS_LINE];
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    ret->count = 0;
    while (ret->count < MAPS_MAX && fgets(line, sizeof line, file) != NULL)
        ret->count += map_parse(line, &ret->map[ret->count]);
    fclose(file);
    return ret->count > 0 ? 0 : -ESRCH;
}
