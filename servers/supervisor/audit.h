// SPDX-License-Identifier: BSD-2-Clause
/* The audit: what the kernel says of every process (facts, audit_facts.c) against what the supervisor granted (grants,
 * audit.c), compared by a function that asks nobody (audit_compare.c).
 *
 * A principal is who things are granted to: a domain by its index, then manage, the supervisor, and the spare of each
 * domain. All other
 * processes may have nothing, but for applications: the memory of their own session, which they can always write (the
 * stated exception of DESIGN rule 1), the pages that say who sleeps, read-only, and the doorbells of who serves them.
 */
#ifndef BULKHEAD_SERVERS_SUPERVISOR_AUDIT_H
#define BULKHEAD_SERVERS_SUPERVISOR_AUDIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "servers/supervisor/supervisor.h"

#define AUDIT_MANAGE       SERVER_COUNT
#define AUDIT_SUPERVISOR   (SERVER_COUNT + 1)
#define AUDIT_SPARE        (SERVER_COUNT + 2) /* of domain 0, ...: they are granted nothing but their control sockets */
#define AUDIT_PRINCIPALS   (AUDIT_SPARE + SERVER_COUNT)
#define AUDIT_GRANTS_MAX   (SESSIONS_MAX * (3 + 2 * SESSION_ARENAS) + 96)
#define AUDIT_FACTS_MAX    32768
#define AUDIT_PROCESSES    2048 /* with anything to tell */
#define AUDIT_FINDINGS     64   /* told; more are counted */
#define AUDIT_LINE         200
#define AUDIT_NAME         40
#define AUDIT_WHO          160
#define AUDIT_NAMESPACES   6
#define AUDIT_CAPABILITIES 5 /* sets */

/* ---- grants ---- */
enum audit_object { AUDIT_SEGMENT, AUDIT_PIPE, AUDIT_SOCKET, AUDIT_DEVICE };
enum audit_abroad { /* what the stack at the other end of the wire may have of it */
    AUDIT_ABROAD_NONE,
    AUDIT_ABROAD_LESS, /* it is ours: read it, or ring it */
    AUDIT_ABROAD_ALL,  /* it is theirs */
};

struct audit_grant {
    struct file_identity file;
    enum audit_object object;
    char name[AUDIT_NAME];
    uint64_t octets;
    uint32_t writers, readers; /* masks of principals; PIPE: of who may hold which end */
    int32_t session;           /* whose application pays for it, -1 none */
    bool applications;         /* of any session: may read it, or ring it */
    pid_t reader;              /* a process that may read it, 0 none: the capture command */
    enum audit_abroad abroad;
};

struct audit_principal {
    pid_t pid; /* 0: down */
    char name[AUDIT_NAME];
    uint32_t uid;
    bool own_user_namespace;
    bool sandboxed; /* false: still on its way */
};

struct audit_application {
    uint32_t session, uid;
    pid_t pid;
};

struct audit_grants {
    struct audit_principal principal[AUDIT_PRINCIPALS];
    uint32_t domains; /* principals 0 to here */
    pid_t abroad;     /* the supervisor at the other end of the wire, 0 none */
    uint32_t applications;
    struct audit_application application[SESSIONS_MAX];
    uint32_t count;
    struct audit_grant grant[AUDIT_GRANTS_MAX]; /* sorted by audit_grants_sort() */
};

static inline bool audit_is_domain(const struct audit_grants *grants, uint32_t principal) /* or its spare */
{
    return principal < grants->domains || (principal >= AUDIT_SPARE && principal < AUDIT_SPARE + grants->domains);
}
void audit_grants_sort(struct audit_grants *grants);
const struct audit_grant *audit_grant_find(const struct audit_grants *grants, const struct file_identity *file);

/* ---- facts ---- */
enum audit_thing { AUDIT_MAPPING, AUDIT_DESCRIPTOR };
enum audit_special { AUDIT_FILE, AUDIT_ANONYMOUS, AUDIT_PROGRAM, AUDIT_NULL, AUDIT_TIMER };

struct audit_fact {
    uint32_t process;
    enum audit_thing thing;
    enum audit_special special; /* memory without a file, the program itself, /dev/null, a timer */
    struct file_identity file;
    bool readable, writable; /* a mapping that could be made writable is */
    bool executable, shared;
    char name[AUDIT_NAME];
};

struct audit_walls {
    uint32_t uid[4];
    uint32_t seccomp, filters, no_new_privileges;
    uint64_t capabilities[AUDIT_CAPABILITIES]; /* inheritable, permitted, effective, bounding, ambient */
    ino_t namespace[AUDIT_NAMESPACES];
    uint32_t root_entries, mounts;
};

struct audit_process {
    pid_t pid;
    uint32_t principal; /* AUDIT_PRINCIPALS: none of them */
    uint64_t sessions;  /* mask: whose application it is */
    bool abroad;        /* of the stack at the other end of the wire */
    bool whole;         /* all of it could be read */
    char name[AUDIT_NAME];
    struct audit_walls walls; /* of principals */
};

struct audit_facts {
    uint32_t processes, count, unseen;
    bool cut; /* there was more than fits */
    struct audit_process process[AUDIT_PROCESSES];
    struct audit_fact fact[AUDIT_FACTS_MAX];
};

extern const char *const audit_namespace[AUDIT_NAMESPACES]; /* as in /proc/PID/ns */
extern const char *const audit_capability[AUDIT_CAPABILITIES];

/* Asks the kernel; only what concerns grants is kept of processes that are no principals. */
void audit_collect(const struct audit_grants *grants, struct audit_facts *ret);

/* ---- comparison ---- */
struct audit_row { /* of one grant */
    char writers[AUDIT_WHO], readers[AUDIT_WHO], descriptors[AUDIT_WHO];
    uint32_t writer_count; /* applications in their own session's memory not counted */
};

struct audit_result {
    uint32_t findings; /* all of them; AUDIT_FINDINGS are kept */
    char finding[AUDIT_FINDINGS][AUDIT_LINE];
    bool unsettled; /* somebody came or went meanwhile */
    bool broken[AUDIT_PRINCIPALS];
    uint32_t mappings[AUDIT_PRINCIPALS], descriptors[AUDIT_PRINCIPALS];
    struct audit_row row[AUDIT_GRANTS_MAX]; /* one for each grant */
};

/* Pure. *ret is zeroed by the caller. */
void audit_compare(const struct audit_facts *facts, const struct audit_grants *grants, struct audit_result *ret);

#endif
