// SPDX-License-Identifier: BSD-2-Clause
#include "servers/inject/maps.h"

#include <string.h>
#include <unistd.h>

#include "tests/unit/suite.h"

static const struct row {
    const char *line;
    enum map_kind kind; /* 0: not writable, or nonsense */
    const char *name;
    uint64_t start, end;
} rows[] = {
    {"7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]\n", MAP_STACK, "[stack]",
     0x7ffc00000000, 0x7ffc00021000},
    {"01000000-01021000 rw-p 00000000 00:00 0    [heap]\n", MAP_HEAP, "[heap]", 0x1000000, 0x1021000},
    {"7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n", MAP_HEAP, "anonymous", 0x7f0000000000, 0x7f0000001000},
    {"00501000-00506000 rw-p 00101000 fd:00 77   /b/bulkhead-domain\n", MAP_HEAP, "/b/bulkhead-domain", 0x501000,
     0x506000},
    {"7f0000000000-7f0000001000 rw-s 00000000 00:01 9   /memfd:store-tcp (deleted)\n", MAP_STORE, "store-tcp",
     0x7f0000000000, 0x7f0000001000},
    {"7f0000000000-7f0000001000 rw-s 00000000 00:01 9   /memfd:pool-ip (deleted)\n", MAP_POOL, "pool-ip",
     0x7f0000000000, 0x7f0000001000},
    {"7f0000000000-7f0000001000 rw-s 00000000 00:01 9   /memfd:ring-tcp-ip (deleted)\n", MAP_RING, "ring-tcp-ip",
     0x7f0000000000, 0x7f0000001000},
    {"7f0000000000-7f0000001000 rw-s 00000000 00:01 9   /memfd:status (deleted)\n", MAP_OTHER, "status", 0x7f0000000000,
     0x7f0000001000},
    {"7f0000000000-7f0000001000 rw-s 00000000 00:01 9   /memfd:bh-rx (deleted)\n", MAP_ARENA, "bh-rx", 0x7f0000000000,
     0x7f0000001000},
    {"7f0000000000-7f0000001000 r--s 00000000 00:01 9   /memfd:pool-nic (deleted)\n", 0, "", 0, 0},
    {"00401000-004c0000 r-xp 00001000 fd:00 77   /b/bulkhead-domain\n", 0, "", 0, 0},
    {"7f0000001000-7f0000000000 rw-p 00000000 00:00 0 \n", 0, "", 0, 0},
    {"", 0, "", 0, 0},
    {"rw-p", 0, "", 0, 0},
    {"7f0000000000-7f0000001000 rw", 0, "", 0, 0},
};

START_TEST(test_lines)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct map map;
        bool parsed = map_parse(rows[i].line, &map);
        ck_assert_msg(parsed == (rows[i].kind != 0), "%s", rows[i].line);
        if (!parsed)
            continue;
        ck_assert_msg(map.kind == rows[i].kind, "%s: %s", rows[i].line, map_kind_name(map.kind));
        ck_assert_str_eq(map.name, rows[i].name);
        ck_assert(map.start == rows[i].start && map.end == rows[i].end);
    }
}
END_TEST

START_TEST(test_what_may_only_be_read)
{
    struct map map;
    ck_assert(map_parse_read("7f0000000000-7f0000001000 r--s 00003000 00:01 9   /memfd:pool-nic (deleted)\n", &map));
    ck_assert(map.kind == MAP_POOL && map.offset == 0x3000 && map.inode == 9);
    ck_assert(!map_parse_read("7f0000000000-7f0000001000 ---s 00003000 00:01 9   /memfd:pool-nic (deleted)\n", &map));
}
END_TEST

START_TEST(test_long_name_is_cut)
{
    char line[600];
    struct map map;
    memset(line, 'x', sizeof line);
    memcpy(line, "1000-2000 rw-p 0 0:0 0 /", 24);
    line[sizeof line - 1] = '\0';
    ck_assert(map_parse(line, &map));
    ck_assert_uint_eq(strlen(map.name), MAPS_NAME - 1);
}
END_TEST

START_TEST(test_own)
{
    static struct maps maps;
    uint64_t here = (uint64_t)(uintptr_t)&here;
    unsigned stacks = 0;
    ck_assert_int_eq(maps_read(getpid(), &maps), 0);
    for (uint32_t i = 0; i < maps.count; i++)
        stacks += maps.map[i].kind == MAP_STACK && here >= maps.map[i].start && here < maps.map[i].end;
    ck_assert_uint_eq(stacks, 1);
    ck_assert_int_lt(maps_read(-1, &maps), 0);
}
END_TEST

START_TEST(test_names)
{
    enum map_kind kind = MAP_OTHER;
    ck_assert(map_kind_find("store:0x10", 5, &kind));
    ck_assert_int_eq(kind, MAP_STORE);
    ck_assert(!map_kind_find("stor", 4, &kind));
    ck_assert_str_eq(map_kind_name(MAP_ARENA), "arena");
}
END_TEST

SUITE_RUN("maps", NULL, NULL, test_lines, test_what_may_only_be_read, test_long_name_is_cut, test_own, test_names)
