// SPDX-License-Identifier: BSD-2-Clause
/* What the kernel says, from /proc. Domains are non-dumpable and in user namespaces of their own: only who made these
 * may look, and that is the supervisor. Runs in a process of its own (audit.c), so it may take its time; still every
 * loop has a limit. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "servers/supervisor/audit.h"

#define PATH_OCTETS   64
#define LINE_OCTETS   512
#define ENTRIES_MAX   65536 /* of one directory */
#define ANCESTORS_MAX 64

/* Keeps the fact, if it is of a principal or concerns a grant. */
static void fact_add(const struct audit_grants *grants, struct audit_facts *facts, const struct audit_fact *fact)
{
    bool principal = facts->process[fact->process].principal < AUDIT_PRINCIPALS;
    bool granted = fact->special == AUDIT_FILE && audit_grant_find(grants, &fact->file) != NULL;
    if (!principal && !granted)
        return;
    if (facts->count == AUDIT_FACTS_MAX)
        facts->cut = true;
    else
        facts->fact[facts->count++] = *fact;
}

/* ---- memory ---- */

/* One line of maps or smaps that begins a mapping. */
static bool mapping_read(const char *line, const char *program, struct audit_fact *fact)
{
    unsigned major = 0, minor = 0;
    unsigned long inode = 0;
    char rights[5];
    int path = 0;
    if (sscanf(line, "%*x-%*x %4s %*x %x:%x %lu %n", rights, &major, &minor, &inode, &path) != 4 || path == 0)
        return false;
    const char *name = line + path;
    fact->readable = rights[0] == 'r';
    fact->writable = rights[1] == 'w';
    fact->executable = rights[2] == 'x';
    fact->shared = rights[3] == 's';
    fact->file = (struct file_identity){makedev(major, minor), inode};
    fact->special = inode == 0 ? AUDIT_ANONYMOUS : strcmp(name, program) == 0 ? AUDIT_PROGRAM : AUDIT_FILE;
    text_copy(fact->name, sizeof fact->name, name, strlen(name));
    return true;
}

/* False: it may not be read, or has gone. */
static bool mappings_collect(const struct audit_grants *grants, struct audit_facts *facts, uint32_t process,
                             const char *program)
{
    char path[PATH_OCTETS], line[LINE_OCTETS];
    snprintf(path, sizeof path, "/proc/%d/smaps", facts->process[process].pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    struct audit_fact fact = {.process = process, .thing = AUDIT_MAPPING};
    bool pending = false, any = false;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (pending && strncmp(line, "VmFlags:", 8) == 0 && fact.shared && strstr(line, " mw") != NULL)
            fact.writable = true; /* it may be made so */
        if (!isxdigit((unsigned char)line[0]) || isupper((unsigned char)line[0]))
            continue;
        if (pending)
            fact_add(grants, facts, &fact);
        pending = mapping_read(line, program, &fact);
        any = any || pending;
    }
    if (pending)
        fact_add(grants, facts, &fact);
    fclose(file);
    return any;
}

/* Of other processes: whether any mapping is of a grant. The whole smaps is then worth its price. */
static bool mappings_concern(const struct audit_grants *grants, pid_t pid, bool *ret_concern)
{
    char path[PATH_OCTETS], line[LINE_OCTETS];
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    struct audit_fact fact;
    *ret_concern = false;
    while (fgets(line, sizeof line, file) != NULL)
        if (mapping_read(line, "", &fact) && audit_grant_find(grants, &fact.file) != NULL)
            *ret_concern = true;
    fclose(file);
    return true;
}

/* ---- descriptors ---- */

static void descriptor_collect(const struct audit_grants *grants, struct audit_facts *facts, uint32_t process,
                               const char *number)
{
    char path[PATH_OCTETS], name[LINE_OCTETS], line[LINE_OCTETS];
    struct stat st;
    pid_t pid = facts->process[process].pid;
    snprintf(path, sizeof path, "/proc/%d/fd/%.10s", pid, number);
    ssize_t length = readlink(path, name, sizeof name - 1);
    if (length < 0 || stat(path, &st) < 0)
        return; /* closed meanwhile */
    name[length] = '\0';
    snprintf(path, sizeof path, "/proc/%d/fdinfo/%.10s", pid, number);
    FILE *file = fopen(path, "re");
    unsigned flags = O_RDWR;
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "flags: %o", &flags) == 1)
            break;
    if (file != NULL)
        fclose(file);
    struct audit_fact fact = {.process = process,
                              .thing = AUDIT_DESCRIPTOR,
                              .file = {st.st_dev, st.st_ino},
                              .readable = (flags & O_ACCMODE) != O_WRONLY,
                              .writable = (flags & O_ACCMODE) != O_RDONLY};
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
        fact.special = AUDIT_NULL;
    else if (strcmp(name, "anon_inode:[timerfd]") == 0)
        fact.special = AUDIT_TIMER;
    text_copy(fact.name, sizeof fact.name, name, (size_t)length);
    fact_add(grants, facts, &fact);
}

static bool descriptors_collect(const struct audit_grants *grants, struct audit_facts *facts, uint32_t process)
{
    char path[PATH_OCTETS];
    snprintf(path, sizeof path, "/proc/%d/fd", facts->process[process].pid);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return false;
    struct dirent *entry;
    for (unsigned i = 0; i < ENTRIES_MAX && (entry = readdir(directory)) != NULL; i++)
        if (isdigit((unsigned char)entry->d_name[0]))
            descriptor_collect(grants, facts, process, entry->d_name);
    closedir(directory);
    return true;
}

/* ---- walls ---- */

static bool status_read(pid_t pid, struct audit_walls *ret)
{
    static const char *const sets[AUDIT_CAPABILITIES] = {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"};
    char path[PATH_OCTETS], line[LINE_OCTETS];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    unsigned seen = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        seen += sscanf(line, "Uid: %u %u %u %u", &ret->uid[0], &ret->uid[1], &ret->uid[2], &ret->uid[3]) == 4;
        seen += sscanf(line, "NoNewPrivs: %u", &ret->no_new_privileges) == 1;
        seen += sscanf(line, "Seccomp: %u", &ret->seccomp) == 1;
        seen += sscanf(line, "Seccomp_filters: %u", &ret->filters) == 1;
        for (unsigned c = 0; c < AUDIT_CAPABILITIES; c++)
            if (strncmp(line, sets[c], strlen(sets[c])) == 0)
                seen += sscanf(line + strlen(sets[c]), "%lx", &ret->capabilities[c]) == 1;
    }
    fclose(file);
    return seen == 4 + AUDIT_CAPABILITIES;
}

static uint32_t root_entries(pid_t pid)
{
    char path[PATH_OCTETS];
    snprintf(path, sizeof path, "/proc/%d/root/", pid);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return 1;
    uint32_t count = 0;
    struct dirent *entry;
    while (count < ENTRIES_MAX && (entry = readdir(directory)) != NULL)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(directory);
    return count;
}

static uint32_t mounts_count(pid_t pid)
{
    char path[PATH_OCTETS];
    snprintf(path, sizeof path, "/proc/%d/mountinfo", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    uint32_t count = 0;
    for (int c; count < ENTRIES_MAX && (c = fgetc(file)) != EOF;)
        count += c == '\n';
    fclose(file);
    return count;
}

static bool walls_collect(pid_t pid, struct audit_walls *ret)
{
    char path[PATH_OCTETS];
    struct stat st;
    for (unsigned i = 0; i < AUDIT_NAMESPACES; i++) {
        snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, audit_namespace[i]);
        if (stat(path, &st) < 0)
            return false;
        ret->namespace[i] = st.st_ino;
    }
    ret->root_entries = root_entries(pid);
    ret->mounts = mounts_count(pid);
    return status_read(pid, ret);
}

/* ---- processes ---- */

static pid_t parent_of(pid_t pid)
{
    char path[PATH_OCTETS], line[LINE_OCTETS];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    pid_t parent = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "PPid: %d", &parent) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return parent;
}

static bool descends(pid_t pid, pid_t ancestor)
{
    for (unsigned i = 0; i < ANCESTORS_MAX && pid > 0; i++, pid = parent_of(pid))
        if (pid == ancestor)
            return true;
    return false;
}

/* An application is who attached, and its forked family; what is left of a family whose head has gone is told by uid.
 */
static uint64_t sessions_of(const struct audit_grants *grants, pid_t pid)
{
    uint64_t sessions = 0;
    char path[PATH_OCTETS];
    struct stat st;
    for (uint32_t i = 0; i < grants->applications; i++) {
        const struct audit_application *a = &grants->application[i];
        snprintf(path, sizeof path, "/proc/%d", a->pid);
        bool orphan = a->pid <= 0 || stat(path, &st) < 0;
        if (orphan)
            snprintf(path, sizeof path, "/proc/%d", pid);
        if (orphan ? stat(path, &st) == 0 && st.st_uid == a->uid : descends(pid, a->pid))
            sessions |= 1ULL << a->session;
    }
    return sessions;
}

static void name_read(struct audit_process *process)
{
    char path[PATH_OCTETS], comm[24] = "process";
    snprintf(path, sizeof path, "/proc/%d/comm", process->pid);
    FILE *file = fopen(path, "re");
    if (file != NULL && fgets(comm, sizeof comm, file) == NULL)
        comm[0] = '\0';
    if (file != NULL)
        fclose(file);
    comm[strcspn(comm, "\n")] = '\0';
    text_copy(process->name, sizeof process->name, comm, sizeof comm);
    size_t used = strlen(process->name);
    snprintf(process->name + used, sizeof process->name - used, "[%d]", process->pid);
}

static uint32_t principal_of(const struct audit_grants *grants, pid_t pid)
{
    uint32_t p = 0;
    while (p < AUDIT_PRINCIPALS && grants->principal[p].pid != pid)
        p++;
    return p;
}

static void principal_collect(const struct audit_grants *grants, struct audit_facts *facts, uint32_t index)
{
    struct audit_process *process = &facts->process[index];
    char path[PATH_OCTETS], program[LINE_OCTETS];
    memcpy(process->name, grants->principal[process->principal].name, sizeof process->name);
    snprintf(path, sizeof path, "/proc/%d/exe", process->pid);
    ssize_t length = readlink(path, program, sizeof program - 1);
    if (length < 0)
        return;
    program[length] = '\0';
    process->whole = walls_collect(process->pid, &process->walls) && mappings_collect(grants, facts, index, program) &&
                     descriptors_collect(grants, facts, index);
}

/* Any other process is kept only if it has something of the stack's. */
static bool other_collect(const struct audit_grants *grants, struct audit_facts *facts, uint32_t index)
{
    struct audit_process *process = &facts->process[index];
    uint32_t before = facts->count;
    bool concern = false;
    if (!mappings_concern(grants, process->pid, &concern) || !descriptors_collect(grants, facts, index)) {
        facts->unseen++;
        return false;
    }
    if (concern)
        mappings_collect(grants, facts, index, "");
    if (facts->count == before)
        return false;
    process->sessions = sessions_of(grants, process->pid);
    process->abroad = grants->abroad != 0 && descends(process->pid, grants->abroad);
    name_read(process);
    return true;
}

void audit_collect(const struct audit_grants *grants, struct audit_facts *ret)
{
    DIR *directory = opendir("/proc");
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        pid_t pid = (pid_t)atoi(entry->d_name);
        if (pid <= 0 || pid == getpid()) /* the auditor itself has what the supervisor has */
            continue;
        if (ret->processes == AUDIT_PROCESSES) {
            ret->cut = true;
            break;
        }
        uint32_t index = ret->processes, principal = principal_of(grants, pid);
        ret->process[index] = (struct audit_process){.pid = pid, .principal = principal};
        bool kept = true;
        if (principal < AUDIT_PRINCIPALS)
            principal_collect(grants, ret, index);
        else
            kept = other_collect(grants, ret, index);
        ret->processes += kept;
    }
    if (directory != NULL)
        closedir(directory);
}
