// SPDX-License-Identifier: BSD-2-Clause
/* The audit's comparison: a stack of two domains (nic, ip), manage, the supervisor, an application and a stranger, of
 * whom the kernel says what a row of the table adds or changes. A clean stack has no finding; each row has those it
 * names. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "servers/supervisor/audit.h"
#include "tests/unit/suite.h"

enum { NIC, IP, MANAGE, SUPERVISOR, APPLICATION, STRANGER, PROCESSES };
enum { POOL = 100, STATUS, ARENA, ANSWER, BELL, CONTROL, CAPTURE, DEVICE, ELSE };

static struct audit_grants *grants;
static struct audit_facts *facts;
static struct audit_result *result;

static struct audit_grant *grant(ino_t inode, enum audit_object object, const char *name, uint32_t writers,
                                 uint32_t readers)
{
    struct audit_grant *g = &grants->grant[grants->count++];
    *g = (struct audit_grant){
        .file = {1, inode}, .object = object, .writers = writers, .readers = readers, .session = -1};
    strcpy(g->name, name);
    return g;
}

static struct audit_fact *fact(uint32_t process, enum audit_thing thing, ino_t inode, int mode)
{
    struct audit_fact *f = &facts->fact[facts->count++];
    *f = (struct audit_fact){.process = process,
                             .thing = thing,
                             .file = {1, inode},
                             .readable = mode != O_WRONLY,
                             .writable = mode != O_RDONLY,
                             .shared = true,
                             .name = "/memfd:something"};
    return f;
}

static void process(uint32_t index, uint32_t principal, const char *name)
{
    struct audit_process *p = &facts->process[index];
    *p = (struct audit_process){.pid = (pid_t)(10 + index), .principal = principal, .whole = true};
    strcpy(p->name, name);
    p->walls = (struct audit_walls){.seccomp = 2, .filters = 2, .no_new_privileges = 1, .mounts = 1};
    for (unsigned i = 0; i < AUDIT_NAMESPACES; i++)
        p->walls.namespace[i] = 1000 * (index + 1) + i;
    if (principal < AUDIT_PRINCIPALS)
        grants->principal[principal] =
            (struct audit_principal){.pid = p->pid, .own_user_namespace = true, .sandboxed = true};
}

static void setup(void)
{
    grants = calloc(1, sizeof *grants);
    facts = calloc(1, sizeof *facts);
    result = calloc(1, sizeof *result);
    facts->processes = PROCESSES;
    grants->domains = 2;
    process(NIC, 0, "nic");
    process(IP, 1, "ip");
    process(MANAGE, AUDIT_MANAGE, "manage");
    process(SUPERVISOR, AUDIT_SUPERVISOR, "supervisor");
    facts->process[SUPERVISOR].walls.filters = 1; /* in a container that has one */
    process(APPLICATION, AUDIT_PRINCIPALS, "app");
    facts->process[APPLICATION].sessions = 1U << 3;
    process(STRANGER, AUDIT_PRINCIPALS, "stranger");
    grant(POOL, AUDIT_SEGMENT, "pool", 1U << NIC, 1U << IP);
    grant(STATUS, AUDIT_SEGMENT, "status", 1U << IP, 1U << NIC | 1U << AUDIT_SUPERVISOR)->applications = true;
    grant(ARENA, AUDIT_SEGMENT, "arena", 0, 1U << NIC)->session = 3;
    grant(ANSWER, AUDIT_SEGMENT, "answer", 1U << IP, 0)->session = 3;
    grant(BELL, AUDIT_PIPE, "bell", 1U << NIC, 1U << IP)->applications = true;
    grant(CONTROL, AUDIT_SOCKET, "control", 1U << IP, 1U << IP);
    grant(CAPTURE, AUDIT_SEGMENT, "capture", 1U << NIC, 0)->reader = 10 + STRANGER;
    grant(DEVICE, AUDIT_DEVICE, "device", 1U << NIC, 1U << NIC);
    audit_grants_sort(grants);
    fact(NIC, AUDIT_MAPPING, POOL, O_RDWR);
    fact(IP, AUDIT_MAPPING, POOL, O_RDONLY);
    fact(IP, AUDIT_MAPPING, STATUS, O_RDWR);
    fact(SUPERVISOR, AUDIT_MAPPING, STATUS, O_RDONLY);
    fact(SUPERVISOR, AUDIT_DESCRIPTOR, POOL, O_RDWR);
    fact(APPLICATION, AUDIT_MAPPING, STATUS, O_RDONLY);
    fact(APPLICATION, AUDIT_MAPPING, ARENA, O_RDWR);
    fact(NIC, AUDIT_MAPPING, ARENA, O_RDONLY);
    fact(APPLICATION, AUDIT_MAPPING, ANSWER, O_RDWR); /* the stated exception */
    fact(IP, AUDIT_MAPPING, ANSWER, O_RDWR);
    fact(APPLICATION, AUDIT_DESCRIPTOR, BELL, O_WRONLY);
    fact(NIC, AUDIT_DESCRIPTOR, BELL, O_WRONLY);
    fact(IP, AUDIT_DESCRIPTOR, BELL, O_RDONLY);
    fact(IP, AUDIT_DESCRIPTOR, CONTROL, O_RDWR);
    fact(NIC, AUDIT_DESCRIPTOR, ELSE, O_RDWR)->special = AUDIT_NULL;
    fact(NIC, AUDIT_DESCRIPTOR, ELSE, O_RDWR)->special = AUDIT_TIMER;
    struct audit_fact *own = fact(NIC, AUDIT_MAPPING, 0, O_RDWR);
    own->special = AUDIT_ANONYMOUS;
    own->shared = false;
    own = fact(NIC, AUDIT_MAPPING, ELSE, O_RDONLY);
    own->special = AUDIT_PROGRAM;
    own->shared = false;
    own->executable = true;
    fact(STRANGER, AUDIT_MAPPING, CAPTURE, O_RDONLY);
    fact(SUPERVISOR, AUDIT_DESCRIPTOR, ELSE, O_RDWR); /* its own affair */
}

static void teardown(void)
{
    free(grants);
    free(facts);
    free(result);
}

static void expect(uint32_t count, const char *text)
{
    memset(result, 0, sizeof *result);
    audit_compare(facts, grants, result);
    ck_assert_msg(result->findings == count, "%u findings, not %u: %s", result->findings, count, result->finding[0]);
    bool found = count == 0;
    for (uint32_t i = 0; i < count; i++)
        found = found || strstr(result->finding[i], text) != NULL;
    ck_assert_msg(found, "not found: %s; but: %s", text, result->finding[0]);
}

START_TEST(test_clean)
{
    expect(0, "");
    ck_assert(!result->unsettled);
    const struct audit_row *row =
        &result->row[audit_grant_find(grants, &(struct file_identity){1, POOL}) - grants->grant];
    ck_assert_str_eq(row->writers, "nic");
    ck_assert_str_eq(row->readers, "ip");
    ck_assert_str_eq(row->descriptors, "supervisor w");
    row = &result->row[audit_grant_find(grants, &(struct file_identity){1, ANSWER}) - grants->grant];
    ck_assert_uint_eq(row->writer_count, 1); /* the application is not counted in its own */
}
END_TEST

START_TEST(test_facts)
{
    static const struct {
        const char *name;
        uint32_t process;
        enum audit_thing thing;
        ino_t inode;
        int mode;
        uint32_t findings;
        const char *text;
    } rows[] = {
        {"reader writes", IP, AUDIT_MAPPING, POOL, O_RDWR, 2, "ip (pid 11) maps, writable, pool: not granted"},
        {"two writers", IP, AUDIT_MAPPING, POOL, O_RDWR, 2, "pool has 2 writers: nic, ip"},
        {"supervisor writes", SUPERVISOR, AUDIT_MAPPING, STATUS, O_RDWR, 2, "status has 2 writers"},
        {"reader holds a writable descriptor", IP, AUDIT_DESCRIPTOR, POOL, O_RDWR, 1, "open for writing"},
        {"reader holds a descriptor", IP, AUDIT_DESCRIPTOR, POOL, O_RDONLY, 0, ""},
        {"segment of others", IP, AUDIT_MAPPING, ARENA, O_RDONLY, 1, "ip (pid 11) maps arena"},
        {"unknown segment", NIC, AUDIT_MAPPING, ELSE, O_RDONLY, 1, "nic (pid 10) maps /memfd:something"},
        {"unknown descriptor", NIC, AUDIT_DESCRIPTOR, ELSE, O_RDONLY, 1, "holds a descriptor"},
        {"wrong end of a pipe", NIC, AUDIT_DESCRIPTOR, BELL, O_RDONLY, 1, "bell"},
        {"control socket of others", NIC, AUDIT_DESCRIPTOR, CONTROL, O_RDWR, 1, "control"},
        {"stranger reads", STRANGER, AUDIT_MAPPING, POOL, O_RDONLY, 1, "stranger (pid 15) maps pool"},
        {"stranger writes", STRANGER, AUDIT_MAPPING, POOL, O_RDWR, 2, "pool has 2 writers: nic, stranger"},
        {"stranger in a session", STRANGER, AUDIT_MAPPING, ARENA, O_RDWR, 1, "stranger (pid 15) maps, writable, arena"},
        {"stranger rings", STRANGER, AUDIT_DESCRIPTOR, BELL, O_WRONLY, 1, "bell"},
        {"stranger writes the capture", STRANGER, AUDIT_MAPPING, CAPTURE, O_RDWR, 1, "capture"},
        {"application writes status", APPLICATION, AUDIT_MAPPING, STATUS, O_RDWR, 2, "status has 2 writers"},
        {"application drains a bell", APPLICATION, AUDIT_DESCRIPTOR, BELL, O_RDONLY, 1, "bell"},
        {"application maps a pool", APPLICATION, AUDIT_MAPPING, POOL, O_RDONLY, 1, "pool"},
        {"manage maps a pool", MANAGE, AUDIT_MAPPING, POOL, O_RDONLY, 1, "manage (pid 12) maps pool"},
        {"another tun", STRANGER, AUDIT_DESCRIPTOR, DEVICE, O_RDWR, 0, ""},
        {"device of others", IP, AUDIT_DESCRIPTOR, DEVICE, O_RDWR, 1, "ip (pid 11) holds a descriptor"},
        {"own device", NIC, AUDIT_DESCRIPTOR, DEVICE, O_RDWR, 0, ""},
        {"stranger's own", STRANGER, AUDIT_MAPPING, ELSE, O_RDWR, 0, ""},
    };
    uint32_t before = facts->count;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        facts->count = before;
        fact(rows[i].process, rows[i].thing, rows[i].inode, rows[i].mode);
        expect(rows[i].findings, rows[i].text);
    }
}
END_TEST

START_TEST(test_own_memory)
{
    struct audit_fact *f = fact(NIC, AUDIT_MAPPING, 0, O_RDWR);
    f->special = AUDIT_ANONYMOUS;
    expect(1, "maps, writable,"); /* shared with whom? */
    f->shared = false;
    expect(0, "");
    f->executable = true;
    expect(1, "maps, writable,");
}
END_TEST

#define WALL(member, value, text)                                                                                      \
    do {                                                                                                               \
        struct audit_walls saved = facts->process[IP].walls;                                                           \
        facts->process[IP].walls.member = value;                                                                       \
        expect(1, text);                                                                                               \
        ck_assert(result->broken[1]);                                                                                  \
        ck_assert(!result->broken[0]);                                                                                 \
        facts->process[IP].walls = saved;                                                                              \
    } while (0)

START_TEST(test_walls)
{
    WALL(seccomp, 0, "ip (pid 11) has no system call filter");
    WALL(seccomp, 1, "ip (pid 11) has no system call filter");
    WALL(filters, 1, "ip (pid 11) has no system call filter"); /* only that of the container */
    WALL(no_new_privileges, 0, "may gain privileges");
    WALL(uid[2], 1, "has uid 1, not 0");
    WALL(root_entries, 1, "root directory with 1 entries");
    WALL(mounts, 2, "2 mounts");
    WALL(namespace[1], facts -> process[SUPERVISOR].walls.namespace[1], "shares the net namespace of supervisor");
    WALL(namespace[0], facts -> process[MANAGE].walls.namespace[0], "shares the user namespace of manage");
    for (unsigned i = 0; i < AUDIT_CAPABILITIES; i++)
        WALL(capabilities[i], 1ULL << 21, audit_capability[i]);
    facts->process[IP].walls.namespace[3] = facts->process[NIC].walls.namespace[3];
    expect(1, "nic (pid 10) shares the pid namespace of ip");
    expect(1, "");
}
END_TEST

START_TEST(test_without_user_namespaces)
{
    facts->process[IP].walls.namespace[0] = facts->process[SUPERVISOR].walls.namespace[0];
    expect(1, "shares the user namespace");
    grants->principal[1].own_user_namespace = false; /* started so, by a root that may make none */
    expect(0, "");
}
END_TEST

START_TEST(test_comes_and_goes)
{
    grants->principal[1].sandboxed = false; /* on its way: no walls yet */
    facts->process[IP].walls.seccomp = 0;
    expect(0, "");
    ck_assert(result->unsettled);
    grants->principal[1].sandboxed = true;
    facts->process[IP] = (struct audit_process){.pid = 11, .principal = 1}; /* died while it was looked at */
    expect(0, "");
    ck_assert(result->unsettled);
    grants->principal[1].pid = 0; /* is down */
    facts->process[IP].principal = AUDIT_PRINCIPALS;
    facts->count = 0;
    expect(0, "");
    ck_assert(!result->unsettled);
}
END_TEST

START_TEST(test_limits)
{
    facts->cut = true;
    expect(1, "more to look at");
    facts->cut = false;
    for (uint32_t i = 0; i < 2 * AUDIT_FINDINGS; i++)
        fact(NIC, AUDIT_DESCRIPTOR, ELSE, O_RDWR);
    memset(result, 0, sizeof *result);
    audit_compare(facts, grants, result);
    ck_assert_uint_eq(result->findings, 2 * AUDIT_FINDINGS);
}
END_TEST

SUITE_RUN("audit_compare", setup, teardown, test_clean, test_facts, test_own_memory, test_walls,
          test_without_user_namespaces, test_comes_and_goes, test_limits)
