// SPDX-License-Identifier: BSD-2-Clause
/* Segments: memory that outlives a domain or is read by another. Each has one writer.
 *
 * Deaths within it: while a domain is watched, its segments are write-protected. A write faults; the handler lifts the
 * protection of that segment, sets the trap flag, and the one instruction that writes runs; the trap that follows
 * counts it, protects the segment again, or, when the count is reached, ends the domain there. So the next incarnation
 * finds exactly what memory held after that instruction, and the servers are the ones of production: nothing is hooked
 * in them. On machines other than x86-64 there is no watching; deaths fall on points only. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define UNPOISON(base, octets) __asan_unpoison_memory_region(base, octets)
#else
#define UNPOISON(base, octets) ((void)(base))
#endif

#define PAGE      4096U
#define TRAP_FLAG 0x100

static struct { /* what the signal handlers see */
    struct sim *sim;
    const struct sim_domain *victim;
    uint64_t count, limit;
    struct sim_segment *stepped; /* NULL: no instruction is under way */
} watch;

static size_t pages(size_t octets)
{
    return (octets + PAGE - 1) & ~(size_t)(PAGE - 1);
}

void *sim_segment_new(struct sim *sim, size_t octets, const struct sim_domain *writer)
{
    for (uint32_t i = 0; i < SIM_SEGMENTS; i++) {
        struct sim_segment *s = &sim->segment[i];
        if (s->base != NULL)
            continue;
        void *base =
            mmap(NULL, pages(octets), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED)
            sim_fail(sim, "no memory for a segment of %zu octets", octets);
        *s = (struct sim_segment){.base = base, .octets = pages(octets), .writer = writer};
        if (i >= sim->segments)
            sim->segments = i + 1;
        return base;
    }
    sim_fail(sim, "more than %d segments: old ones are not given back", SIM_SEGMENTS);
}

void sim_segment_free(struct sim *sim, const void *base)
{
    for (uint32_t i = 0; base != NULL && i < sim->segments; i++) {
        struct sim_segment *s = &sim->segment[i];
        if (s->base != base)
            continue;
        UNPOISON(s->base, s->octets);
        munmap(s->base, s->octets);
        *s = (struct sim_segment){.base = NULL};
        return;
    }
}

static void protect(const struct sim_segment *s, bool writable)
{
    mprotect(s->base, s->octets, writable ? PROT_READ | PROT_WRITE : PROT_READ);
}

static void protect_all(struct sim *sim, const struct sim_domain *writer, bool writable)
{
    for (uint32_t i = 0; i < sim->segments; i++)
        if (sim->segment[i].base != NULL && sim->segment[i].writer == writer)
            protect(&sim->segment[i], writable);
}

void sim_watch(struct sim *sim, const struct sim_domain *victim, uint64_t limit)
{
#ifdef __x86_64__
    watch.sim = sim;
    watch.victim = victim;
    watch.count = 0;
    watch.limit = limit;
    protect_all(sim, victim, false);
#else
    (void)sim, (void)victim, (void)limit;
#endif
}

uint64_t sim_watch_end(struct sim *sim)
{
    if (watch.victim == NULL)
        return 0;
    protect_all(sim, watch.victim, true);
    watch.victim = NULL;
    return watch.count;
}

#ifdef __x86_64__
static void on_fault(int signo, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    const uint8_t *at = info->si_addr;
    for (uint32_t i = 0; watch.victim != NULL && i < watch.sim->segments; i++) {
        struct sim_segment *s = &watch.sim->segment[i];
        if (s->base == NULL || s->writer != watch.victim || at < s->base || at >= s->base + s->octets)
            continue;
        protect(s, true);
        watch.stepped = s;
        c->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
        return;
    }
    signal(signo, SIG_DFL); /* a fault of the code's own: again, and the end */
    static const char text[] = "sim: a server touched memory that is not there (any more)\n";
    ssize_t n = write(2, text, sizeof text - 1);
    (void)n;
    raise(SIGABRT);
}

static void on_trap(int signo, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    (void)signo, (void)info;
    c->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    if (watch.stepped == NULL)
        return;
    watch.count++;
    if (watch.count == watch.limit) {
        watch.stepped = NULL;
        sim_die(watch.sim);
    }
    protect(watch.stepped, false);
    watch.stepped = NULL;
}
#endif

void sim_watch_install(void)
{
#ifdef __x86_64__
    struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sigaction trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &fault, NULL);
    sigaction(SIGTRAP, &trap, NULL);
#endif
}
