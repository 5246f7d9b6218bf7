// SPDX-License-Identifier: BSD-2-Clause
#include "servers/supervisor/liveness.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SENTRIES_MAX 8
#define STACK_OCTETS 65536

/* Of the process, not of a supervisor: threads cannot be had twice on one CPU to any good. The supervisor writes
 * `asked` and `asked_us`, the sentry the rest. */
static struct sentry {
    int cpu;
    bool there;        /* else it could not be made: nothing can be asked */
    uint64_t asked_us; /* A: before `asked` */
    uint64_t took_us;  /* B: before `answered`. Of the latest answer */
    uint32_t asked, answered;
} sentries[SENTRIES_MAX];
static uint32_t sentry_count;

static uint64_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void futex_wait(const uint32_t *word, uint32_t value, const struct timespec *most)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, most, NULL, 0);
}

static void futex_wake(const uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *sentry_run(void *argument)
{
    struct sentry *y = argument;
    cpu_set_t there;
    CPU_ZERO(&there);
    CPU_SET((unsigned)y->cpu, &there);
    bool stands = sched_setaffinity(0, sizeof there, &there) == 0; /* comes back when it runs there */
    for (uint32_t done = 0;;) {
        uint32_t asked = __atomic_load_n(&y->asked, __ATOMIC_ACQUIRE); /* A */
        if (asked == done) {
            futex_wait(&y->asked, asked, NULL);
            continue;
        }
        done = asked;
        uint64_t took = clock_us() - __atomic_load_n(&y->asked_us, __ATOMIC_RELAXED);
        __atomic_store_n(&y->took_us, stands ? took : 0, __ATOMIC_RELAXED);
        __atomic_store_n(&y->answered, done, __ATOMIC_RELEASE); /* B */
        futex_wake(&y->answered);
    }
    return NULL;
}

static bool sentry_start(struct sentry *y)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_OCTETS);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    bool there = pthread_create(&thread, &attributes, sentry_run, y) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return there;
}

/* NULL: there is none. */
static struct sentry *sentry_of(int cpu)
{
    struct sentry *y = sentries;
    while (y < sentries + sentry_count && y->cpu != cpu)
        y++;
    if (y == sentries + SENTRIES_MAX)
        return NULL;
    if (y == sentries + sentry_count) {
        *y = (struct sentry){.cpu = cpu};
        y->there = sentry_start(y);
        sentry_count++;
    }
    return y->there ? y : NULL;
}

/* True: it has answered the latest question. */
static bool sentry_waits(const struct sentry *y, uint64_t most_us)
{
    uint64_t end = clock_us() + most_us, now;
    uint32_t answered;
    while ((answered = __atomic_load_n(&y->answered, __ATOMIC_ACQUIRE)) != y->asked) { /* B */
        now = clock_us();
        if (now >= end)
            return false;
        struct timespec left = {0, (long)(end - now) * 1000};
        futex_wait(&y->answered, answered, &left);
    }
    return true;
}

uint64_t cpu_visit(int cpu)
{
    struct sentry *y = cpu >= 0 && cpu < CPU_SETSIZE ? sentry_of(cpu) : NULL;
    if (y == NULL)
        return 0;
    if (!sentry_waits(y, 0))
        return LIVENESS_UNKNOWN; /* it was asked for somebody else, or a tick ago */
    uint64_t now = clock_us(), took = LIVENESS_UNKNOWN;
    if (y->asked != 0 && now - y->asked_us <= LIVENESS_FRESH_US)
        took = __atomic_load_n(&y->took_us, __ATOMIC_RELAXED);
    __atomic_store_n(&y->asked_us, now, __ATOMIC_RELAXED);
    __atomic_store_n(&y->asked, y->asked + 1, __ATOMIC_RELEASE); /* A */
    futex_wake(&y->asked);
    return sentry_waits(y, LIVENESS_WAIT_US) ? __atomic_load_n(&y->took_us, __ATOMIC_RELAXED) : took;
}

uint64_t cpu_is_withheld(int cpu)
{
    (void)cpu;
    return LIVENESS_UNKNOWN;
}

uint64_t cpu_is_given(int cpu)
{
    (void)cpu;
    return 0;
}

bool process_runnable(pid_t pid)
{
    char path[32], line[128];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    size_t n = file != NULL ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file != NULL)
        fclose(file);
    line[n] = '\0';
    const char *name_end = strrchr(line, ')'); /* the name may have any octets; nothing behind it has this one */
    return name_end != NULL && name_end[1] == ' ' && name_end[2] == 'R';
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
    if (visit == cpu_is_withheld) /* its next life would not be let run either */
        return false;
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

bool liveness_starves(const struct liveness *l, pid_t pid, uint64_t now_us)
{
    return l->moved_us != 0 && !liveness_loops(l, process_cpu_us(pid), now_us) && process_runnable(pid);
}

bool liveness_busy(const struct liveness *l, uint64_t cpu_us)
{
    return l->moved_us != 0 && cpu_us >= l->cpu_us + LIVENESS_BUSY_US;
}
