// SPDX-License-Identifier: BSD-2-Clause
/* Where a domain may die, and the watch over messages and buffers. A point is passed before and after every message
 * that a server pushes or pulls, and between all steps of a round. A death leaves memory as it is and goes back to the
 * scheduler: what was published stays published, what was not is lost.
 *
 * Freed buffers are poisoned (for the address sanitizer, and with octets that no packet has) and used again as late as
 * possible, so that whoever still looks at one is found. */
#include <string.h>

#include "ipc/pool.h"
#include "tests/sim/sim.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(base, octets)   __asan_poison_memory_region(base, octets)
#define UNPOISON(base, octets) __asan_unpoison_memory_region(base, octets)
#else
#define POISON(base, octets)   ((void)(base))
#define UNPOISON(base, octets) ((void)(base))
#endif
#define POISON_OCTETS 2048U

void sim_die(struct sim *sim)
{
    longjmp(sim->death, 1);
}

/* The plan's next death may be counted from this one. */
static void plan_next(struct sim *sim, uint32_t next)
{
    struct sim_kill *k = &sim->kill[next];
    if (next >= sim->kills || k->after == 0)
        return;
    k->point = sim->stack[k->stack].memory[k->server].domain->points + k->after;
    k->after = 0;
}

static bool dies_here(struct sim *sim, struct sim_domain *d)
{
    for (uint32_t i = 0; i < sim->kills; i++) {
        struct sim_kill *k = &sim->kill[i];
        if (k->done || k->stack != d->stack->index || !sim_hosts(d, k->server) || d->points != k->point ||
            k->after != 0)
            continue;
        k->done = true;
        sim->hanging = k->hang;
        plan_next(sim, i + 1);
        if (k->write == SIM_ANY)
            return true;
        sim->watch_point = d->points;
        sim_watch(sim, d, k->write);
    }
    return false;
}

void sim_point(struct sim_domain *d)
{
    struct sim *sim = d->sim;
    if (sim->running != d)
        return;
    if (sim->watch_point != 0) { /* the writes after the point before this one are over */
        uint64_t writes = sim_watch_end(sim);
        if (sim->counted != NULL)
            sim->counted(sim, sim->watch_point, writes);
        sim->watch_point = 0;
    }
    d->points++;
    if (dies_here(sim, d))
        sim_die(sim);
    const struct sim_kill *count = sim->scenario->kill;
    if (sim->scenario->count_writes && count->stack == d->stack->index && sim_hosts(d, count->server)) {
        sim->watch_point = d->points;
        sim_watch(sim, d, 0);
    }
}

/* ---- ports ---- */
static const char *const operation_names[] = {
    [MESSAGE_SEND] = "SEND",
    [MESSAGE_RECEIVE] = "RECEIVE",
    [MESSAGE_RETURN] = "RETURN",
    [MESSAGE_UNREACHABLE] = "UNREACHABLE",
    [MESSAGE_BIND] = "BIND",
    [MESSAGE_LISTEN] = "LISTEN",
    [MESSAGE_CONNECT] = "CONNECT",
    [MESSAGE_CLOSE] = "CLOSE",
    [MESSAGE_ACCEPTED] = "ACCEPTED",
    [MESSAGE_OWNED] = "OWNED",
    [MESSAGE_OWNED_END] = "OWNED_END",
    [MESSAGE_SESSION_END] = "SESSION_END",
    [MESSAGE_SET_OPTION] = "SET_OPTION",
    [MESSAGE_ANSWER] = "ANSWER",
    [MESSAGE_ESTABLISHED] = "ESTABLISHED",
    [MESSAGE_ALIVE] = "ALIVE",
    [MESSAGE_LOST] = "LOST",
    [MESSAGE_ALIVE_END] = "ALIVE_END",
};

static void show(const struct sim_port *p, const char *verb, const struct message *m)
{
    const char *name =
        m->operation < sizeof operation_names / sizeof *operation_names ? operation_names[m->operation] : NULL;
    sim_hash(p->domain->sim, m, sizeof *m);
    sim_note(p->domain->sim, "%c %s@%lu %s %s %s cookie %lx count %u", 'A' + p->domain->stack->index,
             topology_server_name(p->server), p->domain->points, verb, name != NULL ? name : "?",
             topology_server_name(p->peer), m->cookie, m->count);
}

static bool watched_push(struct port *port, const struct message *message)
{
    struct sim_port *p = port->wrapper;
    sim_point(p->domain);
    bool pushed = port_ring_operations.push(port, message);
    if (pushed)
        show(p, "to", message);
    return pushed;
}

static bool watched_pull(struct port *port, struct message *ret)
{
    struct sim_port *p = port->wrapper;
    if (!port_ring_operations.pull(port, ret))
        return false;
    show(p, "from", ret);
    sim_point(p->domain);
    return true;
}

static const struct port_operations watched_operations = {.push = watched_push, .pull = watched_pull};

void sim_port_watch(struct sim_domain *d, struct port *port)
{
    (void)d;
    port->operations = &watched_operations;
}

/* ---- pools (the linker puts these before the ones of ipc/pool.c) ---- */
uint32_t __real_pool_take(struct pool *pool);
void __real_pool_put(struct pool *pool, uint32_t index);
bool __real_pool_return(struct pool *pool, uint32_t index, uint32_t borrower);
uint32_t __real_pool_reclaim(struct pool *pool, uint32_t borrower);
uint32_t __wrap_pool_take(struct pool *pool);
void __wrap_pool_put(struct pool *pool, uint32_t index);
bool __wrap_pool_return(struct pool *pool, uint32_t index, uint32_t borrower);
uint32_t __wrap_pool_reclaim(struct pool *pool, uint32_t borrower);

/* Those that came home since `before` go to the bottom of the stack. */
static void came_home(struct pool *pool, uint32_t before)
{
    for (uint32_t i = before; i < pool->free_count; i++) {
        uint16_t index = pool->free_stack[i];
        uint32_t octets = pool->buffer_octets < POISON_OCTETS ? pool->buffer_octets : POISON_OCTETS;
        memset(pool_buffer(pool, index), 0xdd, octets);
        POISON(pool_buffer(pool, index), pool->buffer_octets);
        memmove(pool->free_stack + 1, pool->free_stack, i * sizeof *pool->free_stack);
        pool->free_stack[0] = index;
    }
}

uint32_t __wrap_pool_take(struct pool *pool)
{
    uint32_t index = __real_pool_take(pool);
    if (index != POOL_NONE)
        UNPOISON(pool_buffer(pool, index), pool->buffer_octets);
    return index;
}

void __wrap_pool_put(struct pool *pool, uint32_t index)
{
    uint32_t before = pool->free_count;
    __real_pool_put(pool, index);
    came_home(pool, before);
}

bool __wrap_pool_return(struct pool *pool, uint32_t index, uint32_t borrower)
{
    uint32_t before = pool->free_count;
    bool ok = __real_pool_return(pool, index, borrower);
    came_home(pool, before);
    return ok;
}

uint32_t __wrap_pool_reclaim(struct pool *pool, uint32_t borrower)
{
    uint32_t before = pool->free_count;
    uint32_t count = __real_pool_reclaim(pool, borrower);
    came_home(pool, before);
    return count;
}
