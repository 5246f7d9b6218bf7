// SPDX-License-Identifier: BSD-2-Clause
/* What the kernel says against what was granted. What a domain makes for itself is no finding: private memory without a
 * file, its own program, a timer, /dev/null. Everything else must be in a grant, with the same or fewer rights. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "servers/supervisor/audit.h"

#define SECCOMP_FILTER 2

const char *const audit_namespace[AUDIT_NAMESPACES] = {"user", "net", "mnt", "pid", "ipc", "uts"};
const char *const audit_capability[AUDIT_CAPABILITIES] = {"inheritable", "permitted", "effective", "bounding",
                                                          "ambient"};

static int file_compare(const struct file_identity *a, const struct file_identity *b)
{
    if (a->device != b->device)
        return a->device < b->device ? -1 : 1;
    return a->inode == b->inode ? 0 : a->inode < b->inode ? -1 : 1;
}

static int grant_compare(const void *a, const void *b)
{
    return file_compare(&((const struct audit_grant *)a)->file, &((const struct audit_grant *)b)->file);
}

void audit_grants_sort(struct audit_grants *grants)
{
    qsort(grants->grant, grants->count, sizeof grants->grant[0], grant_compare);
}

const struct audit_grant *audit_grant_find(const struct audit_grants *grants, const struct file_identity *file)
{
    struct audit_grant key = {.file = *file};
    return bsearch(&key, grants->grant, grants->count, sizeof grants->grant[0], grant_compare);
}

static void find(struct audit_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void find(struct audit_result *result, const char *format, ...)
{
    if (result->findings < AUDIT_FINDINGS) {
        va_list values;
        va_start(values, format);
        vsnprintf(result->finding[result->findings], AUDIT_LINE, format, values);
        va_end(values);
    }
    result->findings++;
}

/* Adds a name to a list of them, once. */
static void who_add(char who[AUDIT_WHO], const char *name, const char *mark)
{
    char text[AUDIT_NAME + 4];
    snprintf(text, sizeof text, "%s%s", name, mark);
    size_t used = strlen(who), length = strlen(text);
    if (length == 0)
        return;
    for (const char *at = who; (at = strstr(at, text)) != NULL; at++)
        if ((at == who || at[-1] == ' ') && (at[length] == '\0' || at[length] == ','))
            return;
    if (used + length + 3 < AUDIT_WHO)
        snprintf(who + used, AUDIT_WHO - used, "%s%s", used == 0 ? "" : ", ", text);
}

/* ---- one fact against one grant ---- */

static bool is_own_memory(const struct audit_fact *fact)
{
    return fact->thing == AUDIT_MAPPING && !fact->shared && !(fact->executable && fact->writable) &&
           (fact->special == AUDIT_ANONYMOUS || fact->special == AUDIT_PROGRAM);
}

static bool is_of_application(const struct audit_process *process, const struct audit_grant *grant)
{
    return grant->session >= 0 && (process->sessions >> grant->session & 1) != 0;
}

static bool application_may(const struct audit_process *process, const struct audit_grant *grant,
                            const struct audit_fact *fact)
{
    if (is_of_application(process, grant) || grant->object == AUDIT_DEVICE)
        return true; /* /dev/net/tun is one file for all interfaces of the machine: that somebody has it open says
                        nothing */
    if (process->pid == grant->reader && grant->reader != 0)
        return !fact->writable;
    bool less = grant->object == AUDIT_PIPE ? !fact->readable : !fact->writable;
    if (process->abroad && grant->abroad != AUDIT_ABROAD_NONE)
        return less || grant->abroad == AUDIT_ABROAD_ALL;
    return less && grant->applications && process->sessions != 0;
}

static bool principal_may(uint32_t principal, const struct audit_grant *grant, const struct audit_fact *fact)
{
    uint32_t bit = 1U << principal;
    if (principal == AUDIT_SUPERVISOR && fact->thing == AUDIT_DESCRIPTOR)
        return true; /* it keeps one of everything */
    if (grant->object == AUDIT_PIPE)
        return (!fact->readable || (grant->readers & bit) != 0) && (!fact->writable || (grant->writers & bit) != 0);
    return (grant->writers & bit) != 0 || ((grant->readers & bit) != 0 && !fact->writable);
}

static void row_note(struct audit_row *row, const struct audit_process *process, const struct audit_grant *grant,
                     const struct audit_fact *fact)
{
    if (fact->thing == AUDIT_DESCRIPTOR) {
        who_add(row->descriptors, process->name, fact->writable ? " w" : "");
        return;
    }
    char before[AUDIT_WHO];
    memcpy(before, row->writers, sizeof before);
    who_add(fact->writable ? row->writers : row->readers, process->name, "");
    bool news = strcmp(before, row->writers) != 0;
    row->writer_count += news && !is_of_application(process, grant);
}

static const char *how(const struct audit_fact *fact)
{
    if (fact->thing == AUDIT_DESCRIPTOR)
        return fact->writable ? "holds a descriptor, open for writing, of" : "holds a descriptor of";
    return fact->writable ? "maps, writable," : "maps";
}

static void fact_check(const struct audit_facts *facts, const struct audit_grants *grants,
                       const struct audit_fact *fact, struct audit_result *ret)
{
    const struct audit_process *process = &facts->process[fact->process];
    uint32_t who = process->principal;
    const struct audit_grant *grant = fact->special == AUDIT_FILE ? audit_grant_find(grants, &fact->file) : NULL;
    if (who < AUDIT_PRINCIPALS)
        (fact->thing == AUDIT_MAPPING ? ret->mappings : ret->descriptors)[who]++;
    bool allowed;
    if (grant != NULL) {
        row_note(&ret->row[grant - grants->grant], process, grant, fact);
        allowed = who < AUDIT_PRINCIPALS ? principal_may(who, grant, fact) : application_may(process, grant, fact);
    } else if (!audit_is_domain(grants, who)) {
        return; /* not the stack's, and not a domain's */
    } else {
        allowed = is_own_memory(fact) ||
                  (fact->thing == AUDIT_DESCRIPTOR && (fact->special == AUDIT_NULL || fact->special == AUDIT_TIMER));
    }
    if (allowed)
        return;
    if (who < AUDIT_PRINCIPALS)
        ret->broken[who] = true;
    find(ret, "%s (pid %d) %s %s: not granted", process->name, process->pid, how(fact),
         grant != NULL ? grant->name : fact->name);
}

/* ---- the walls of a domain ---- */

static void namespaces_check(const struct audit_facts *facts, const struct audit_process *process,
                             const struct audit_principal *expected, struct audit_result *ret)
{
    for (uint32_t i = 0; i < facts->processes; i++) {
        const struct audit_process *other = &facts->process[i];
        if (other == process || other->principal >= AUDIT_PRINCIPALS || !other->whole)
            continue;
        if (other->principal < process->principal) /* said of it already */
            continue;
        for (unsigned n = 0; n < AUDIT_NAMESPACES; n++) {
            if (n == 0 && !expected->own_user_namespace)
                continue; /* started by a root that may make none: its uid is its own */
            if (other->walls.namespace[n] == process->walls.namespace[n])
                find(ret, "%s (pid %d) shares the %s namespace of %s", process->name, process->pid, audit_namespace[n],
                     other->name);
        }
    }
}

static void walls_check(const struct audit_facts *facts, const struct audit_grants *grants,
                        const struct audit_process *process, uint32_t outer_filters, struct audit_result *ret)
{
    const struct audit_principal *expected = &grants->principal[process->principal];
    const struct audit_walls *walls = &process->walls;
    bool domain = audit_is_domain(grants, process->principal);
    uint32_t before = ret->findings;
    if (walls->seccomp != SECCOMP_FILTER || walls->filters <= outer_filters)
        find(ret, "%s (pid %d) has no system call filter", process->name, process->pid);
    if (walls->no_new_privileges != 1)
        find(ret, "%s (pid %d) may gain privileges", process->name, process->pid);
    for (unsigned c = 0; c < AUDIT_CAPABILITIES; c++)
        if (walls->capabilities[c] != 0)
            find(ret, "%s (pid %d) has %s capabilities %016lx", process->name, process->pid, audit_capability[c],
                 (unsigned long)walls->capabilities[c]);
    for (unsigned u = 0; u < 4; u++)
        if (walls->uid[u] != expected->uid) {
            find(ret, "%s (pid %d) has uid %u, not %u", process->name, process->pid, walls->uid[u], expected->uid);
            break;
        }
    if (domain && (walls->root_entries != 0 || walls->mounts != 1))
        find(ret, "%s (pid %d) has a root directory with %u entries and %u mounts, not an empty one", process->name,
             process->pid, walls->root_entries, walls->mounts);
    if (domain)
        namespaces_check(facts, process, expected, ret);
    if (ret->findings != before)
        ret->broken[process->principal] = true;
}

static uint32_t filters_of_supervisor(const struct audit_facts *facts)
{
    for (uint32_t i = 0; i < facts->processes; i++)
        if (facts->process[i].principal == AUDIT_SUPERVISOR)
            return facts->process[i].walls.filters; /* those that it runs under itself, in a container */
    return 0;
}

/* Each principal that lives is among the facts, and whole. */
static void presence_check(const struct audit_facts *facts, const struct audit_grants *grants, struct audit_result *ret)
{
    for (uint32_t p = 0; p < AUDIT_PRINCIPALS; p++) {
        const struct audit_principal *principal = &grants->principal[p];
        bool there = false;
        for (uint32_t i = 0; i < facts->processes; i++)
            there = there || (facts->process[i].principal == p && facts->process[i].whole);
        if (principal->pid != 0 && (!there || !principal->sandboxed))
            ret->unsettled = true;
    }
}

void audit_compare(const struct audit_facts *facts, const struct audit_grants *grants, struct audit_result *ret)
{
    uint32_t outer_filters = filters_of_supervisor(facts);
    presence_check(facts, grants, ret);
    for (uint32_t i = 0; i < facts->processes; i++) {
        const struct audit_process *process = &facts->process[i];
        if (process->principal < AUDIT_PRINCIPALS && process->principal != AUDIT_SUPERVISOR && process->whole &&
            grants->principal[process->principal].sandboxed)
            walls_check(facts, grants, process, outer_filters, ret);
    }
    for (uint32_t i = 0; i < facts->count; i++) {
        uint32_t who = facts->process[facts->fact[i].process].principal;
        if (who >= AUDIT_PRINCIPALS || grants->principal[who].sandboxed)
            fact_check(facts, grants, &facts->fact[i], ret);
    }
    for (uint32_t i = 0; i < grants->count; i++)
        if (ret->row[i].writer_count > 1)
            find(ret, "%s has %u writers: %.100s", grants->grant[i].name, ret->row[i].writer_count,
                 ret->row[i].writers);
    if (facts->cut)
        find(ret, "there was more to look at than the audit has room for");
}
