// SPDX-License-Identifier: BSD-2-Clause
/* Whether a domain that does not move hangs, or only was not let: a CPU that the host takes away, or that the kernel
 * keeps for itself for a second, stops every domain on it, and a supervisor on another CPU would blame them all. So
 * before one more silent tick, or a deadline that was missed, counts against a domain, its CPU is visited: who runs
 * there himself at once knows that the domain could have. It is excused LIVENESS_EXCUSES times in a row at most, so a
 * domain that hogs its CPU together with others is found out, too. */
#ifndef BULKHEAD_SERVERS_SUPERVISOR_LIVENESS_H
#define BULKHEAD_SERVERS_SUPERVISOR_LIVENESS_H

#include <stdbool.h>
#include <stdint.h>

#define LIVENESS_TICKS    5 /* without a move: hung. Ticks, so that a stalled supervisor blames nobody */
#define LIVENESS_EXCUSES  20
#define LIVENESS_VISIT_US 100000 /* a CPU that takes longer to let us run gives nobody a fair turn */

struct liveness {
    uint64_t counter;
    uint32_t ticks;   /* silent, and counted */
    uint32_t excuses; /* in a row */
};

/* How long it took to get a turn on a CPU, in us; 0 when that cannot be asked. The caller is then back where it may
 * run. */
typedef uint64_t liveness_visit(int cpu);
liveness_visit cpu_visit;

/* A new life. */
void liveness_start(struct liveness *l, uint64_t counter);
/* One tick on; `counter` is what the domain says now, `cpu` where it is pinned, -1 nowhere. True: it hangs. */
bool liveness_tick(struct liveness *l, uint64_t counter, int cpu, liveness_visit *visit);
/* It missed a deadline. True: it could have kept it. */
bool liveness_blames(struct liveness *l, int cpu, liveness_visit *visit);

#endif
