// SPDX-License-Identifier: BSD-2-Clause
/* What the supervisor tells about itself and its domains. Replies are made of heap parts as protobuf-c would have
 * unpacked them, so that one call frees them. Where memory fails, parts are missing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

#define EVENTS_IN_A_REPLY 100
#define COUNTERS_MAX      (SERVER_COUNT * STATUS_COUNTERS * 2 + 12 + sizeof(struct health_counters) / sizeof(uint64_t))
#define WALLS_OWN         "uid per domain"
#define WALLS_ONE         "one uid: hostile applications at the level of ptrace are outside the model"

static char *text_new(const char *text)
{
    char *copy = strdup(text);
    return copy != NULL ? copy : (char *)protobuf_c_empty_string;
}

/* Private memory of a process, KiB; 0 unknown. */
static uint64_t private_kib(pid_t pid)
{
    char path[48], line[128];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    uint64_t sum = 0, kib;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Private_Clean: %lu kB", &kib) == 1 || sscanf(line, "Private_Dirty: %lu kB", &kib) == 1)
            sum += kib;
    }
    fclose(file);
    return sum;
}

static const char *state_name(const struct domain *d)
{
    if (d->state == DOMAIN_RUNNING)
        return "running";
    if (d->state == DOMAIN_DOWN)
        return d->retry_us == UINT64_MAX ? "restarting" : "failed"; /* repartition.c */
    return d->noticed_us != 0 ? "restarting" : "starting";
}

static Bulkhead__Manage__Domain *domain_status(const struct domain *d)
{
    Bulkhead__Manage__Domain *m = malloc(sizeof *m);
    if (m == NULL)
        return NULL;
    bulkhead__manage__domain__init(m);
    m->index = d->index;
    m->name = text_new(d->name);
    m->servers = calloc(SERVER_COUNT, sizeof *m->servers);
    for (unsigned id = 0; id < SERVER_COUNT && m->servers != NULL; id++) {
        if ((d->servers & SERVER_BIT(id)) != 0)
            m->servers[m->n_servers++] = text_new(topology_server_name((enum server_id)id));
    }
    m->pid = (uint32_t)d->process.pid;
    m->uid = d->uid;
    m->program = text_new(d->program);
    m->incarnation = d->incarnation;
    m->spare_pid = d->spare.ready ? (uint32_t)d->spare.process.pid : 0;
    m->state = text_new(state_name(d));
    m->bursts = __atomic_load_n(&d->status->bursts, __ATOMIC_RELAXED);
    if (d->state == DOMAIN_RUNNING)
        m->uptime_us = now_us() - d->ready_us;
    m->unhealthy = d->unhealthy;
    if (d->state == DOMAIN_DOWN && d->retry_us > now_us())
        m->backoff_us = d->retry_us - now_us();
    if (d->process.pid != 0) {
        m->private_kib = private_kib(d->process.pid);
        m->cpu_us = process_cpu_us(d->process.pid);
    }
    return m;
}

const char *status_walls(const struct supervisor *s)
{
    return s->own_uids ? WALLS_OWN : WALLS_ONE;
}

void status_ps(struct supervisor *s, Bulkhead__Manage__Reply *reply)
{
    Bulkhead__Manage__DomainList *list = malloc(sizeof *list);
    if (list == NULL)
        return;
    bulkhead__manage__domain_list__init(list);
    list->domain = calloc(s->domain_count, sizeof(Bulkhead__Manage__Domain *));
    for (uint32_t i = 0; i < s->domain_count && list->domain != NULL; i++) {
        Bulkhead__Manage__Domain *m = domain_status(&s->domain[i]);
        if (m != NULL)
            list->domain[list->n_domain++] = m;
    }
    list->partition = text_new(s->options.partition.text);
    list->supervisor_pid = (uint32_t)getpid();
    list->walls = text_new(status_walls(s));
    list->uptime_us = now_us() - s->start_us;
    for (uint32_t i = 0; i < SESSIONS_MAX; i++)
        list->sessions += s->session[i].state != SESSION_FREE && !s->session[i].prober;
    list->prober_pid = (uint32_t)s->prober.process.pid;
    reply->ps = list;
}

static void counter_add(Bulkhead__Manage__CounterList *list, const char *server, const char *name, uint64_t value)
{
    Bulkhead__Manage__Counter *m = list->n_counter < COUNTERS_MAX ? malloc(sizeof *m) : NULL;
    if (m == NULL)
        return;
    bulkhead__manage__counter__init(m);
    m->server = text_new(server);
    m->name = text_new(name);
    m->value = value;
    list->counter[list->n_counter++] = m;
}

static bool name_ok(const char name[STATUS_COUNTER_NAME])
{
    size_t length = strnlen(name, STATUS_COUNTER_NAME);
    return length > 0 && length < STATUS_COUNTER_NAME &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.") == length;
}

/* Untrusted: row (domain). Each counter is copied once. */
static void row_add(Bulkhead__Manage__CounterList *list, const char *server, const struct status_counter *row)
{
    for (unsigned i = 0; i < STATUS_COUNTERS; i++) {
        char name[STATUS_COUNTER_NAME];
        memcpy(name, row[i].name, sizeof name);
        uint64_t value = __atomic_load_n(&row[i].value, __ATOMIC_RELAXED);
        if (name_ok(name))
            counter_add(list, server, name, value);
    }
}

void status_stat(struct supervisor *s, Bulkhead__Manage__Reply *reply)
{
    Bulkhead__Manage__CounterList *list = malloc(sizeof *list);
    if (list == NULL)
        return;
    bulkhead__manage__counter_list__init(list);
    reply->stat = list;
    list->counter = calloc(COUNTERS_MAX, sizeof(Bulkhead__Manage__Counter *));
    if (list->counter == NULL)
        return;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        const struct domain *d = &s->domain[i];
        for (unsigned row = 0; row < STATUS_SERVERS; row++) {
            bool hosted = row < SERVER_COUNT && (d->servers & SERVER_BIT(row)) != 0;
            if (hosted || row >= SERVER_COUNT) /* the rows beyond the servers are the domain's own */
                row_add(list, hosted ? topology_server_name((enum server_id)row) : d->name, d->counters->counter[row]);
        }
    }
    counter_add(list, "supervisor", "deaths", s->deaths);
    counter_add(list, "supervisor", "spares_taken", s->spares_taken);
    counter_add(list, "supervisor", "longest_turn_us", s->longest_turn_us);
#define X(name) counter_add(list, "supervisor", #name, s->health.name);
    HEALTH_COUNTERS(X)
#undef X
    counter_add(list, "supervisor", "probes", s->prober.reports);
    counter_add(list, "supervisor", "probes_failed", s->prober.failures);
    counter_add(list, "supervisor", "probes_excused", s->prober.excused);
    counter_add(list, "supervisor", "probes_refused", s->prober.refused);
    counter_add(list, "supervisor", "attaches_refused", s->refused_attaches);
    counter_add(list, "supervisor", "attaches_refused_by_policy", s->policy_refusals);
    counter_add(list, "supervisor", "manage_dropped", s->manage_dropped);
}

static Bulkhead__Manage__Event *event_status(const struct event *event)
{
    Bulkhead__Manage__Event *m = malloc(sizeof *m);
    if (m == NULL)
        return NULL;
    bulkhead__manage__event__init(m);
    m->number = event->number;
    m->time_us = event->time_us;
    m->kind = text_new(event->kind);
    m->subject = text_new(event->subject);
    m->incarnation = event->incarnation;
    m->text = text_new(event->text);
    m->span_us = calloc(EVENT_SPANS, sizeof *m->span_us);
    for (uint32_t i = 0; i < event->spans && m->span_us != NULL; i++)
        m->span_us[m->n_span_us++] = event->span_us[i];
    return m;
}

void status_events(struct supervisor *s, uint64_t since, uint32_t limit, Bulkhead__Manage__Reply *reply)
{
    Bulkhead__Manage__EventList *list = malloc(sizeof *list);
    if (list == NULL)
        return;
    bulkhead__manage__event_list__init(list);
    reply->events = list;
    if (limit == 0 || limit > EVENTS_IN_A_REPLY)
        limit = EVENTS_IN_A_REPLY;
    uint64_t oldest = s->event_count > EVENTS_KEPT ? s->event_count - EVENTS_KEPT : 0;
    if (since < oldest)
        since = oldest;
    list->event = calloc(limit, sizeof(Bulkhead__Manage__Event *));
    for (uint64_t n = since; n < s->event_count && list->n_event < limit && list->event != NULL; n++) {
        Bulkhead__Manage__Event *m = event_status(&s->event[n % EVENTS_KEPT]);
        if (m != NULL)
            list->event[list->n_event++] = m;
    }
}
