// SPDX-License-Identifier: BSD-2-Clause
/* Whether a domain that does not move hangs, or only was not let: a CPU that the host takes away, or that the kernel
 * keeps for itself for a second, stops every domain on it, and a supervisor on another CPU would blame them all. So
 * before one more silent tick, or a deadline that was missed, counts against a domain, it is asked whether the domain
 * waits for a turn itself (it is runnable, and uses nothing), and whether others get turns where it is pinned. For that
 * a sentry lives on each such CPU: a thread of the supervisor that does nothing but answer. The supervisor waits for
 * the answer for LIVENESS_WAIT_US at most, since whatever it waits for delays everyone's recovery. Who waits for a turn
 * is excused for as long as that lasts: it cannot pretend to, for it would get one. Otherwise a domain is excused
 * LIVENESS_EXCUSES times in a row at most, so one that hogs its CPU together with others is found out, too. */
#ifndef BULKHEAD_SERVERS_SUPERVISOR_LIVENESS_H
#define BULKHEAD_SERVERS_SUPERVISOR_LIVENESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LIVENESS_TICKS   5 /* without a move: hung, at least. Ticks, so that a stalled supervisor blames nobody */
#define LIVENESS_EXCUSES 20
#define LIVENESS_LOOP                                                                                                  \
    32 /* who used one part in this many of its silence is in a loop; who stands still uses nothing ... */
#define LIVENESS_LOOP_US  10000      /* ... and so much, however long that took on a starved CPU */
#define LIVENESS_BUSY_US  100000     /* who used so much since it moved was let run, whatever its CPU is like */
#define LIVENESS_VISIT_US 100000     /* a CPU that takes longer to let us run gives nobody a fair turn */
#define LIVENESS_WAIT_US  1000       /* that a visit takes at most */
#define LIVENESS_FRESH_US 500000     /* an answer says something of now for so long */
#define LIVENESS_UNKNOWN  UINT64_MAX /* no answer so far */

struct liveness {
    uint64_t counter;
    uint32_t ticks;            /* silent, and counted */
    uint32_t excuses;          /* in a row */
    uint64_t moved_us, cpu_us; /* when it was last seen to have moved, and the CPU time that it had used by then */
};

/* How long it takes to get a turn on a CPU, in us; 0 when that cannot be asked. */
typedef uint64_t liveness_visit(int cpu);
liveness_visit cpu_visit;       /* asks its sentry */
liveness_visit cpu_is_withheld; /* LIVENESS_UNKNOWN: the answer for a domain that liveness_starves() */

liveness_visit cpu_is_given; /* 0: the answer for one that is liveness_busy() */

uint64_t process_cpu_us(pid_t pid); /* user and system time; 0: unknown */
bool process_runnable(pid_t pid);   /* it runs, or waits for a CPU and for nothing else */

/* A new life. */
void liveness_start(struct liveness *l, uint64_t counter);
/* One tick on; `counter` is what the domain says now, `cpu` where it is pinned, -1 nowhere. True: it hangs, which
 * `most` silent ticks say. */
bool liveness_tick(struct liveness *l, uint64_t counter, uint32_t most, int cpu, liveness_visit *visit);
/* Of one that hangs: whether it is busy all the same. `cpu_us`: what it has used by now. */
bool liveness_loops(const struct liveness *l, uint64_t cpu_us, uint64_t now_us);
/* Of one that is silent or late: it is runnable, and was hardly let run since it moved. */
bool liveness_starves(const struct liveness *l, pid_t pid, uint64_t now_us);
/* It was let run for longer than anything takes that it has to do between two moves. */
bool liveness_busy(const struct liveness *l, uint64_t cpu_us);
/* It missed a deadline. True: it could have kept it. */
bool liveness_blames(struct liveness *l, int cpu, liveness_visit *visit);

#endif
