// SPDX-License-Identifier: BSD-2-Clause
/* Which domain hosts which servers, and what of a domain outlives that.
 *
 * Slots. A slot is a doorbell and the page whose word says whether the waiter sleeps. There is one for each server, for
 * good: an application is given those of socket, tcp and udp with its hello, and rings them for as long as it lives,
 * whoever hosts them by then. A domain waits for its primary slot, by which its neighbours wake it, and for those of
 * the other servers that it hosts and applications ring; a domain with one server has one slot. A page's one writer is
 * the domain that hosts its server.
 *
 * Pages of counters and of deaths go by the domain's index: none but the supervisor reads them, and every life
 * counts from nothing. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "capabilities/filter.h"
#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"

/* One that applications ring, if there is any: it is needed in any case. */
enum server_id layout_primary(uint32_t servers)
{
    uint32_t rung = servers & SERVES_SESSIONS;
    return (enum server_id)__builtin_ctz(rung != 0 ? rung : servers);
}

uint32_t layout_slots(uint32_t servers)
{
    return SERVER_BIT(layout_primary(servers)) | (servers & SERVES_SESSIONS);
}

/* Through a read-only open file, so that our mapping cannot become writable either. */
int memory_watch(int fd, size_t size, void **ret)
{
    int copy = segment_read_only(fd);
    if (copy < 0)
        return copy;
    int result = segment_map(copy, size, false, ret);
    close(copy);
    return result;
}

static int watched_create(const char *name, size_t size, int *ret_fd, void **ret)
{
    int fd = segment_create(name, size);
    int result = fd < 0 ? fd : memory_watch(fd, size, ret);
    if (result == 0)
        *ret_fd = fd;
    else if (fd >= 0)
        close(fd);
    return result;
}

static int slot_make(struct slot *slot)
{
    int pipe_ends[2];
    void *status;
    if (pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    slot->bell_read = pipe_ends[0];
    slot->bell_write = pipe_ends[1];
    int result = watched_create("status", sizeof(struct status_page), &slot->status_fd, &status);
    if (result == 0)
        slot->status = status;
    return result;
}

/* The pages of a domain, made when there is one with this index for the first time. */
static int pages_make(struct domain *d)
{
    void *counters = NULL, *crash = NULL;
    if (d->counters != NULL)
        return 0;
    int result = watched_create("counters", sizeof(struct counter_page), &d->counter_fd, &counters);
    if (result == 0)
        result = watched_create("crash", sizeof(struct crash_page), &d->crash_fd, &crash);
    d->counters = counters;
    d->crash = crash;
    return result;
}

/* An empty domain: no process, no life yet. */
static void domain_place(struct supervisor *s, uint32_t index, const struct partition_domain *from)
{
    struct domain *d = &s->domain[index];
    enum server_id primary = layout_primary(from->servers);
    const struct slot *slot = &s->slot[primary];
    const struct domain old = *d;
    *d = (struct domain){.index = index,
                         .name = from->name,
                         .servers = from->servers,
                         .primary = primary,
                         .control = -1,
                         .process = {.pidfd = -1},
                         .spare = {.process = {.pidfd = -1}, .control = -1},
                         .logs_left = LOGS_A_TICK,
                         .filter_fd = -1,
                         .status_fd = slot->status_fd,
                         .bell_read = slot->bell_read,
                         .bell_write = slot->bell_write,
                         .bell_node = slot->bell_node,
                         .status_node = slot->status_node,
                         .status = slot->status,
                         .counter_fd = old.counter_fd,
                         .counters = old.counters,
                         .counter_node = old.counter_node,
                         .crash_fd = old.crash_fd,
                         .crash = old.crash,
                         .crash_node = old.crash_node};
    d->queue_end = &d->queue;
    s->own_uids = spawn_uid(index, &d->uid);
    d->cpu = spawn_cpu(s->options.placement, index);
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        if ((d->servers & SERVER_BIT(id)) != 0)
            s->server[id].domain = d;
}

static int layout_filter(const struct supervisor *s, uint32_t servers)
{
    bool reads_device = (servers & SERVER_BIT(SERVER_NIC)) != 0 && s->options.driver == NETDRV_TAP;
    return filter_create(reads_device ? FILTER_DEVICE : 0);
}

int domains_init(struct supervisor *s)
{
    int result = 0;
    change_init(s);
    s->domain_count = s->options.partition.count;
    for (unsigned id = 0; id < SERVER_COUNT && result == 0; id++)
        result = slot_make(&s->slot[id]);
    if (result == 0 && !rights_begin(s))
        result = -ENOSPC;
    for (uint32_t i = 0; i < s->domain_count && result == 0; i++) {
        domain_place(s, i, &s->options.partition.domain[i]);
        result = pages_make(&s->domain[i]);
        if (result == 0)
            result = s->domain[i].filter_fd = layout_filter(s, s->domain[i].servers);
        if (result >= 0)
            result = rights_domain(s, &s->domain[i]) ? 0 : -ENOSPC;
    }
    return result;
}

/* ---- another partition ---- */

/* What is left there of other servers; all are dead, so the one writer of the page is whoever writes it now. */
static void counters_clear(const struct domain *d)
{
    void *memory;
    if (segment_map(d->counter_fd, sizeof(struct counter_page), true, &memory) < 0)
        return; /* a few old figures until they are counted anew */
    memset(memory, 0, sizeof(struct counter_page));
    segment_unmap(memory, sizeof(struct counter_page));
}

/* The program that a domain of these servers goes on with: that of all of them, if it is one. */
static void program_choose(const struct supervisor *s, uint32_t servers, char ret[OPTIONS_PATH])
{
    const char *program = NULL;
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        const char *own = s->server[id].domain->program;
        if ((servers & SERVER_BIT(id)) == 0)
            continue;
        if (program != NULL && strcmp(program, own) != 0)
            own = "";
        program = own;
    }
    memcpy(ret, program, strlen(program) + 1);
}

/* What can fail: the filters of the new domains, and their pages. */
static int layout_prepare(struct supervisor *s, const struct partition *to, int ret_filter[SERVER_COUNT])
{
    int result = 0;
    for (uint32_t i = 0; i < SERVER_COUNT; i++)
        ret_filter[i] = -1;
    for (uint32_t i = 0; i < to->count && result >= 0; i++) {
        result = pages_make(&s->domain[i]);
        if (result >= 0)
            result = ret_filter[i] = layout_filter(s, to->domain[i].servers);
    }
    for (uint32_t i = 0; i < to->count && result < 0; i++)
        if (ret_filter[i] >= 0)
            close(ret_filter[i]);
    return result < 0 ? result : 0;
}

/* No server sees the number of an incarnation twice, wherever it lives. */
static uint32_t incarnation_last(const struct supervisor *s)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < s->domain_count; i++)
        last = s->domain[i].incarnation > last ? s->domain[i].incarnation : last;
    return last;
}

int layout_change(struct supervisor *s, const struct partition *to)
{
    char program[SERVER_COUNT][OPTIONS_PATH];
    int filter[SERVER_COUNT], result = layout_prepare(s, to, filter);
    if (result < 0)
        return result;
    uint32_t incarnation = incarnation_last(s);
    for (uint32_t i = 0; i < to->count; i++)
        program_choose(s, to->domain[i].servers, program[i]);
    for (uint32_t i = 0; i < s->domain_count; i++) {
        close(s->domain[i].filter_fd);
        s->domain[i].filter_fd = -1;
        rights_domain_end(s, &s->domain[i]);
    }
    s->options.partition = *to;
    s->domain_count = to->count;
    for (uint32_t i = 0; i < to->count; i++) {
        struct domain *d = &s->domain[i];
        domain_place(s, i, &s->options.partition.domain[i]);
        d->filter_fd = filter[i];
        d->incarnation = incarnation;
        memcpy(d->program, program[i], sizeof d->program);
        counters_clear(d);
        if (!rights_domain(s, d))
            result = -ENOSPC;
    }
    sessions_relaid(s);
    return result;
}
