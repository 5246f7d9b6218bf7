// SPDX-License-Identifier: BSD-2-Clause
#include "servers/supervisor/liveness.h"

#include <sched.h>
#include <time.h>

static uint64_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t cpu_visit(int cpu)
{
    cpu_set_t home, there;
    CPU_ZERO(&there);
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof home, &home) < 0)
        return 0;
    CPU_SET((unsigned)cpu, &there);
    uint64_t start = clock_us();
    if (sched_setaffinity(0, sizeof there, &there) < 0) /* comes back when it runs there */
        return 0;
    uint64_t took = clock_us() - start;
    int result = sched_setaffinity(0, sizeof home, &home);
    (void)result; /* it was possible before */
    return took;
}

uint64_t process_cpu_us(pid_t pid)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void liveness_start(struct liveness *l, uint64_t counter)
{
    *l = (struct liveness){.counter = counter};
}

bool liveness_blames(struct liveness *l, int cpu, liveness_visit *visit)
{
    if (l->excuses >= LIVENESS_EXCUSES || visit(cpu) <= LIVENESS_VISIT_US)
        return true;
    l->excuses++;
    return false;
}

bool liveness_tick(struct liveness *l, uint64_t counter, uint32_t most, int cpu, liveness_visit *visit)
{
    if (counter != l->counter) {
        liveness_start(l, counter);
        return false;
    }
    if (liveness_blames(l, cpu, visit))
        l->ticks++; /* those that are excused in between count for nothing: it has not moved in any of them */
    return l->ticks >= most;
}

bool liveness_loops(const struct liveness *l, uint64_t cpu_us, uint64_t now_us)
{
    uint64_t used = cpu_us > l->cpu_us ? cpu_us - l->cpu_us : 0;
    return used >= LIVENESS_LOOP_US || (used > 0 && used >= (now_us - l->moved_us) / LIVENESS_LOOP);
}
