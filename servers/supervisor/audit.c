// SPDX-License-Identifier: BSD-2-Clause
/* `bulkhead audit`, the supervisor's part: what was granted to whom follows from the topology table, as the grants
 * themselves do (grant.c), and what is granted is known by the descriptors that are kept of it. The work is done in a
 * fork, which sends the answer itself: however much there is to look at, no death waits for it. One at a time. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/ring.h"
#include "servers/supervisor/audit.h"

#define AUDIT_SECONDS  5
#define ROWS_OCTETS    (80U << 10) /* of a reply; the rows of more sessions than that are left out */
#define BIT(principal) (1U << (principal))
#define NO_SESSION     (-1)

/* ---- what was granted ---- */

/* NULL: there is no such descriptor now, or no room. The name is the format's. */
static struct audit_grant *grant_add(struct audit_grants *grants, int fd, enum audit_object object, uint32_t writers,
                                     uint32_t readers, const char *format, ...) __attribute__((format(printf, 6, 7)));

static struct audit_grant *grant_add(struct audit_grants *grants, int fd, enum audit_object object, uint32_t writers,
                                     uint32_t readers, const char *format, ...)
{
    struct stat st;
    if (fd < 0 || grants->count == AUDIT_GRANTS_MAX || fstat(fd, &st) < 0)
        return NULL;
    struct audit_grant *grant = &grants->grant[grants->count++];
    *grant = (struct audit_grant){.file = {st.st_dev, st.st_ino},
                                  .object = object,
                                  .octets = object == AUDIT_SEGMENT ? (uint64_t)st.st_size : 0,
                                  .writers = writers,
                                  .readers = readers,
                                  .session = NO_SESSION};
    va_list values;
    va_start(values, format);
    vsnprintf(grant->name, sizeof grant->name, format, values);
    va_end(values);
    return grant;
}

/* Domains that host any of these servers. */
static uint32_t hosts_of(const struct supervisor *s, uint32_t servers)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < s->domain_count; i++)
        mask |= (s->domain[i].servers & servers) != 0 ? BIT(i) : 0;
    return mask;
}

static uint32_t neighbours_of(const struct supervisor *s, const struct domain *d)
{
    uint32_t servers = 0;
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        if ((d->servers & SERVER_BIT(id)) != 0)
            servers |= topology_neighbours((enum server_id)id);
    return hosts_of(s, servers) & ~BIT(d->index);
}

/* By which its server is woken: the primary one of a domain, whose name it has then, or one more, or nobody's. */
static void slot_grants(const struct supervisor *s, enum server_id id, struct audit_grants *ret)
{
    const struct domain *d = s->server[id].domain;
    const struct slot *slot = &s->slot[id];
    bool waits = (layout_slots(d->servers) & SERVER_BIT(id)) != 0;
    uint32_t own = waits ? BIT(d->index) : 0, neighbours = d->primary == id ? neighbours_of(s, d) : 0;
    const char *name = d->primary == id ? d->name : topology_server_name(id);
    bool serves = (SERVES_SESSIONS & SERVER_BIT(id)) != 0;
    struct audit_grant *grant =
        grant_add(ret, slot->status_fd, AUDIT_SEGMENT, own, neighbours | BIT(AUDIT_SUPERVISOR), "status-%s", name);
    if (grant != NULL)
        grant->applications = serves;
    grant = grant_add(ret, slot->bell_read, AUDIT_PIPE, neighbours, own, "bell-%s", name);
    if (grant != NULL)
        grant->applications = serves;
}

static void domain_grants(const struct domain *d, struct audit_grants *ret)
{
    uint32_t own = BIT(d->index);
    struct audit_grant *grant;
    grant_add(ret, d->counter_fd, AUDIT_SEGMENT, own, BIT(AUDIT_SUPERVISOR), "counters-%s", d->name);
    grant_add(ret, d->crash_fd, AUDIT_SEGMENT, own, BIT(AUDIT_SUPERVISOR), "crash-%s", d->name);
    grant_add(ret, d->filter_fd, AUDIT_SEGMENT, 0, own, "filter-%s", d->name);
    if (ret->count < AUDIT_GRANTS_MAX && d->process.pid != 0) {
        grant = &ret->grant[ret->count++];
        *grant = (struct audit_grant){
            .file = d->control_file, .object = AUDIT_SOCKET, .writers = own, .readers = own, .session = NO_SESSION};
        snprintf(grant->name, sizeof grant->name, "control-%s", d->name);
    }
    if (ret->count < AUDIT_GRANTS_MAX && d->spare.process.pid != 0) {
        own = BIT(AUDIT_SPARE + d->index);
        grant = &ret->grant[ret->count++];
        *grant = (struct audit_grant){.file = d->spare.control_file,
                                      .object = AUDIT_SOCKET,
                                      .writers = own,
                                      .readers = own,
                                      .session = NO_SESSION};
        snprintf(grant->name, sizeof grant->name, "control-spare-%s", d->name);
    }
}

static uint32_t pool_readers(const struct supervisor *s, enum server_id owner)
{
    uint32_t servers = 0;
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        servers |= topology_maps_pool((enum server_id)id, owner) ? SERVER_BIT(id) : 0;
    return hosts_of(s, servers);
}

static void of_wire(struct audit_grant *grant, enum audit_abroad abroad)
{
    if (grant != NULL)
        grant->abroad = abroad;
}

/* As grant_device() of grant.c has it; the stack at the other end has what its supervisor said hello with. */
static void wire_grants(const struct supervisor *s, uint32_t nic, struct audit_grants *ret)
{
    const struct wire_link *wire = &s->wire;
    struct ucred who;
    socklen_t size = sizeof who;
    of_wire(grant_add(ret, wire->bell_read, AUDIT_PIPE, 0, nic, "wire-bell-in"), AUDIT_ABROAD_LESS);
    if (wire->peer < 0)
        return;
    of_wire(grant_add(ret, wire->mine, AUDIT_SEGMENT, nic, 0, "wire-out"), AUDIT_ABROAD_LESS);
    of_wire(grant_add(ret, wire->peer, AUDIT_SEGMENT, 0, nic, "wire-in"), AUDIT_ABROAD_ALL);
    of_wire(grant_add(ret, wire->peer_bell, AUDIT_PIPE, nic, 0, "wire-bell-out"), AUDIT_ABROAD_ALL);
    if (getsockopt(wire->socket, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0)
        ret->abroad = who.pid;
}

static void server_grants(const struct supervisor *s, struct audit_grants *ret)
{
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        const struct server_memory *memory = &s->server[id];
        const char *name = topology_server_name((enum server_id)id);
        uint32_t own = BIT(memory->domain->index);
        grant_add(ret, memory->pool, AUDIT_SEGMENT, own, pool_readers(s, (enum server_id)id), "pool-%s", name);
        grant_add(ret, memory->store, AUDIT_SEGMENT, own, 0, "store-%s", name);
    }
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++)
        for (unsigned side = 0; side < 2; side++) {
            enum server_id from = topology_channel[i].end[side], to = topology_channel[i].end[1 - side];
            grant_add(ret, s->channel[i].half[side], AUDIT_SEGMENT, BIT(s->server[from].domain->index),
                      BIT(s->server[to].domain->index) | (s->channel[i].seen[side] != NULL ? BIT(AUDIT_SUPERVISOR) : 0),
                      "ring-%s-%s", topology_server_name(from), topology_server_name(to));
        }
    for (unsigned i = 0; i < CAPTURES_MAX; i++) {
        const struct capture_memory *c = &s->capture[i];
        const enum server_id *end = topology_channel[c->channel].end;
        enum server_id server = end[0] == SERVER_IP ? end[1] : end[0];
        struct audit_grant *grant =
            grant_add(ret, c->segment, AUDIT_SEGMENT, BIT(s->server[server].domain->index), 0, "capture-%s-%s",
                      topology_server_name(end[0]), topology_server_name(end[1]));
        if (grant != NULL)
            grant->reader = c->pid;
    }
    uint32_t nic = BIT(s->server[SERVER_NIC].domain->index);
    grant_add(ret, s->device, AUDIT_DEVICE, nic, nic, "device");
    wire_grants(s, nic, ret);
}

static void of_session(struct audit_grant *grant, const struct session_memory *session)
{
    if (grant != NULL)
        grant->session = (int32_t)session->id;
}

/* As arena_memory_send() of grant.c has it. */
static void arena_grants(const struct supervisor *s, const struct session_memory *session, uint32_t index,
                         struct audit_grants *ret)
{
    const struct arena_memory *arena = &session->arena[index];
    uint32_t owner = SERVER_BIT(topology_transport(arena->transport)), servers = owner;
    for (unsigned i = 0; i < TOPOLOGY_ARENAS; i++)
        if (topology_arena[i].transport == arena->transport && topology_arena[i].mapped)
            servers |= SERVER_BIT(topology_arena[i].server);
    of_session(
        grant_add(ret, arena->app, AUDIT_SEGMENT, 0, hosts_of(s, servers), "session%u-send%u", session->id, index),
        session);
    of_session(
        grant_add(ret, arena->words, AUDIT_SEGMENT, hosts_of(s, owner), 0, "session%u-receive%u", session->id, index),
        session);
}

static void session_grants(const struct supervisor *s, const struct session_memory *session, struct audit_grants *ret)
{
    uint32_t served = hosts_of(s, SERVES_SESSIONS), answers = hosts_of(s, SERVER_BIT(SERVER_SOCKET));
    if (session->state == SESSION_FREE)
        return;
    of_session(grant_add(ret, session->control, AUDIT_SEGMENT, 0, served, "session%u-control", session->id), session);
    of_session(grant_add(ret, session->answer, AUDIT_SEGMENT, answers, 0, "session%u-answer", session->id), session);
    of_session(grant_add(ret, session->bell_read, AUDIT_PIPE, served, 0, "session%u-bell", session->id), session);
    for (uint32_t i = 0; i < session->arenas; i++)
        arena_grants(s, session, i, ret);
    ret->application[ret->applications++] =
        (struct audit_application){.session = session->id, .uid = session->uid, .pid = (pid_t)session->pid};
}

static void principals_fill(const struct supervisor *s, struct audit_grants *ret)
{
    ret->domains = s->domain_count;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        const struct domain *d = &s->domain[i];
        struct audit_principal *p = &ret->principal[i];
        *p = (struct audit_principal){.pid = d->process.pid,
                                      .uid = d->uid,
                                      .own_user_namespace = d->process.user_namespace,
                                      .sandboxed = d->state == DOMAIN_STANDBY || domain_lives(d)};
        text_copy(p->name, sizeof p->name, d->name, strlen(d->name));
        p = &ret->principal[AUDIT_SPARE + i];
        *p = (struct audit_principal){.pid = d->spare.process.pid,
                                      .uid = d->uid,
                                      .own_user_namespace = d->spare.process.user_namespace,
                                      .sandboxed = d->spare.ready};
        snprintf(p->name, sizeof p->name, "spare-%.32s", d->name);
    }
    ret->principal[AUDIT_MANAGE] = (struct audit_principal){.pid = s->manage.pid,
                                                            .uid = geteuid(),
                                                            .own_user_namespace = s->manage.user_namespace,
                                                            .sandboxed = s->manage.pid != 0,
                                                            .name = "manage"};
    ret->principal[AUDIT_SUPERVISOR] =
        (struct audit_principal){.pid = getppid(), .uid = geteuid(), .sandboxed = true, .name = "supervisor"};
}

/* Called in the fork. */
static void grants_fill(const struct supervisor *s, struct audit_grants *ret)
{
    principals_fill(s, ret);
    for (uint32_t i = 0; i < s->domain_count; i++)
        domain_grants(&s->domain[i], ret);
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        slot_grants(s, (enum server_id)id, ret);
    server_grants(s, ret);
    for (uint32_t id = 0; id < SESSIONS_MAX; id++)
        session_grants(s, &s->session[id], ret);
    audit_grants_sort(ret);
}

/* ---- the report ---- */

static char *text_new(const char *text)
{
    char *copy = strdup(text);
    return copy != NULL ? copy : (char *)protobuf_c_empty_string;
}

static int name_compare(const void *a, const void *b)
{
    return strverscmp((*(const struct audit_grant *const *)a)->name, (*(const struct audit_grant *const *)b)->name);
}

static Bulkhead__Manage__AuditSegment *segment_report(const struct audit_grant *grant, const struct audit_row *row)
{
    Bulkhead__Manage__AuditSegment *m = malloc(sizeof *m);
    if (m == NULL)
        return NULL;
    bulkhead__manage__audit_segment__init(m);
    m->name = text_new(grant->name);
    m->octets = grant->octets;
    m->writers = text_new(row->writers);
    m->readers = text_new(row->readers);
    m->descriptors = text_new(row->descriptors);
    m->note = text_new(grant->session >= 0 ? "its application's own: always writable to it" : "");
    return m;
}

/* Memory first, by name; what is no memory has a row if anybody but the supervisor has it. */
static void segments_report(const struct audit_grants *grants, const struct audit_result *result,
                            Bulkhead__Manage__AuditReport *report)
{
    const struct audit_grant **order = calloc(grants->count, sizeof(const struct audit_grant *));
    report->segment = calloc(grants->count, sizeof(Bulkhead__Manage__AuditSegment *));
    size_t octets = 0;
    for (uint32_t i = 0; i < grants->count && order != NULL; i++)
        order[i] = &grants->grant[i];
    if (order != NULL)
        qsort(order, grants->count, sizeof(const struct audit_grant *), name_compare);
    for (uint32_t i = 0; i < grants->count && order != NULL && report->segment != NULL; i++) {
        const struct audit_row *row = &result->row[order[i] - grants->grant];
        Bulkhead__Manage__AuditSegment *m =
            order[i]->object == AUDIT_SEGMENT && octets < ROWS_OCTETS ? segment_report(order[i], row) : NULL;
        if (m != NULL) {
            octets += bulkhead__manage__audit_segment__get_packed_size(m);
            report->segment[report->n_segment++] = m;
        }
    }
    free(order);
}

static void sets_text(const struct audit_walls *walls, char *ret, size_t size)
{
    size_t used = 0;
    ret[0] = '\0';
    for (unsigned c = 0; c < AUDIT_CAPABILITIES && used < size; c++)
        if (walls->capabilities[c] != 0)
            used += (size_t)snprintf(ret + used, size - used, "%s%s", used == 0 ? "" : "+", audit_capability[c]);
    if (used == 0)
        snprintf(ret, size, "none");
}

static void namespaces_text(const struct audit_walls *walls, const struct audit_walls *outside, char *ret, size_t size)
{
    size_t used = 0;
    ret[0] = '\0';
    for (unsigned n = 0; n < AUDIT_NAMESPACES && used < size; n++)
        if (walls->namespace[n] != outside->namespace[n])
            used += (size_t)snprintf(ret + used, size - used, "%s%s", used == 0 ? "" : "+", audit_namespace[n]);
}

static const struct audit_process *process_of(const struct audit_facts *facts, uint32_t principal)
{
    static const struct audit_process none;
    for (uint32_t i = 0; i < facts->processes; i++)
        if (facts->process[i].principal == principal)
            return &facts->process[i];
    return &none;
}

static Bulkhead__Manage__AuditDomain *domain_report(const struct audit_grants *grants, const struct audit_facts *facts,
                                                    const struct audit_result *result, uint32_t principal)
{
    const struct audit_principal *expected = &grants->principal[principal];
    const struct audit_process *process = process_of(facts, principal);
    const struct audit_walls *walls = &process->walls, *outside = &process_of(facts, AUDIT_SUPERVISOR)->walls;
    Bulkhead__Manage__AuditDomain *m = malloc(sizeof *m);
    char text[64];
    if (m == NULL)
        return NULL;
    bulkhead__manage__audit_domain__init(m);
    m->name = text_new(expected->name);
    m->pid = (uint32_t)expected->pid;
    m->uid = walls->uid[0];
    snprintf(text, sizeof text, walls->seccomp == 2 ? "filter" : "mode %u", walls->seccomp);
    m->seccomp = text_new(text);
    sets_text(walls, text, sizeof text);
    m->capabilities = text_new(text);
    namespaces_text(walls, outside, text, sizeof text);
    m->namespaces = text_new(text);
    snprintf(text, sizeof text, "%u entries, %u mounts", walls->root_entries, walls->mounts);
    m->root = text_new(walls->root_entries == 0 && walls->mounts == 1 ? "empty" : text);
    m->mappings = result->mappings[principal];
    m->descriptors = result->descriptors[principal];
    m->verdict = text_new(expected->pid == 0          ? "down"
                          : !expected->sandboxed      ? "starting"
                          : result->broken[principal] ? "broken"
                                                      : "held");
    return m;
}

static void report_fill(const struct supervisor *s, const struct audit_grants *grants, const struct audit_facts *facts,
                        const struct audit_result *result, Bulkhead__Manage__AuditReport *report)
{
    report->walls = text_new(status_walls(s));
    report->unseen = facts->unseen;
    report->unsettled = result->unsettled;
    segments_report(grants, result, report);
    report->domain = calloc(AUDIT_PRINCIPALS, sizeof(Bulkhead__Manage__AuditDomain *));
    for (uint32_t p = 0; p < AUDIT_PRINCIPALS && report->domain != NULL; p++) {
        bool spare = p >= AUDIT_SPARE && audit_is_domain(grants, p) && grants->principal[p].pid != 0;
        Bulkhead__Manage__AuditDomain *m =
            p < grants->domains || p == AUDIT_MANAGE || spare ? domain_report(grants, facts, result, p) : NULL;
        if (m != NULL)
            report->domain[report->n_domain++] = m;
    }
    report->finding = calloc(AUDIT_FINDINGS + 1, sizeof(char *));
    for (uint32_t i = 0; i < result->findings && i < AUDIT_FINDINGS && report->finding != NULL; i++)
        report->finding[report->n_finding++] = text_new(result->finding[i]);
    if (result->findings > AUDIT_FINDINGS && report->finding != NULL)
        report->finding[report->n_finding++] = text_new("... and more");
}

/* ---- in the fork ---- */

static void __attribute__((noreturn)) auditor(struct supervisor *s, uint64_t id)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    alarm(AUDIT_SECONDS);
    Bulkhead__Manage__Reply reply = BULKHEAD__MANAGE__REPLY__INIT;
    Bulkhead__Manage__AuditReport report = BULKHEAD__MANAGE__AUDIT_REPORT__INIT;
    struct audit_grants *grants = calloc(1, sizeof *grants);
    struct audit_facts *facts = calloc(1, sizeof *facts);
    struct audit_result *result = calloc(1, sizeof *result);
    reply.id = id;
    if (grants == NULL || facts == NULL || result == NULL) {
        reply.error = "no memory for an audit: try again";
    } else {
        grants_fill(s, grants);
        audit_collect(grants, facts);
        audit_compare(facts, grants, result);
        report_fill(s, grants, facts, result, &report);
        reply.audit = &report;
    }
    manage_reply(s, &reply);
    _exit(0);
}

const char *audit_start(struct supervisor *s, uint64_t id)
{
    if (s->audit.pidfd >= 0)
        return "an audit is on its way: try again";
    pid_t pid = fork();
    if (pid == 0)
        auditor(s, id);
    int pidfd = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
    s->audit = (struct process){.pid = pid, .pidfd = pidfd};
    if (pidfd >= 0 && loop_watch(s, pidfd, WATCH_AUDIT, 0) == 0)
        return NULL;
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    if (pidfd >= 0)
        close(pidfd);
    s->audit = (struct process){.pidfd = -1};
    return "no process for an audit: try again";
}

void audit_ended(struct supervisor *s)
{
    char text[32];
    loop_unwatch(s, s->audit.pidfd);
    process_reap(&s->audit, text, sizeof text);
}
