// SPDX-License-Identifier: BSD-2-Clause
/* Wide runs of seeds in order, shared out to a few processes; the first that fails ends all, and has said how to see it
 * again. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define JOBS_MAX   8U
#define RUN_WALL_S 100U /* of one run: beyond it something turns in a circle */

struct totals {
    uint64_t runs, simulated_us, lost, cold, untold, hangs, octets, late_us;
    uint64_t deaths[SERVER_COUNT];
    uint64_t too_big, marked, in_bursts, in_blackouts, judged;
    uint64_t counter[SERVER_COUNT][STATUS_COUNTERS];
    char name[SERVER_COUNT][STATUS_COUNTERS][STATUS_COUNTER_NAME];
};

_Static_assert(sizeof(struct totals) < 65536, "a pipe holds them while their reader waits");

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add(struct totals *t, const struct sim_result *r)
{
    t->runs++;
    t->simulated_us += r->now_us;
    t->late_us = r->now_us > t->late_us ? r->now_us : t->late_us;
    t->lost += r->connections_lost;
    t->cold += r->cold;
    t->untold += r->untold;
    t->hangs += r->hangs;
    t->octets += r->octets;
    t->too_big += r->too_big;
    t->judged += r->acks_judged;
    t->marked += r->marked;
    t->in_bursts += r->lost_in_bursts;
    t->in_blackouts += r->lost_in_blackouts;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        t->deaths[id] += r->server_deaths[id];
        for (uint32_t i = 0; i < STATUS_COUNTERS; i++) {
            t->counter[id][i] += r->counter[id][i].value;
            if (r->counter[id][i].name[0] != '\0')
                memcpy(t->name[id][i], r->counter[id][i].name, STATUS_COUNTER_NAME);
        }
    }
}

static void merge(struct totals *t, const struct totals *other)
{
    uint64_t *to = &t->runs;
    const uint64_t *from = &other->runs;
    uint64_t late_us = t->late_us > other->late_us ? t->late_us : other->late_us;
    for (size_t i = 0; i < offsetof(struct totals, name) / sizeof *to; i++)
        to[i] += from[i];
    t->late_us = late_us;
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        for (uint32_t i = 0; i < STATUS_COUNTERS; i++)
            if (other->name[id][i][0] != '\0')
                memcpy(t->name[id][i], other->name[id][i], STATUS_COUNTER_NAME);
}

/* The seeds of one process: first + shard, first + shard + of, ... */
static void work(const struct sim_seeds *s, uint32_t shard, uint32_t of, struct totals *t)
{
    static struct sim_result result;
    double until = now_s() + s->seconds;
    for (uint64_t i = shard; i < s->count && now_s() < until; i += of) {
        struct sim_scenario scenario = {.seed = s->first + i, .wide = true, .crashes = s->crashes, .trace = s->trace};
        sim_wide_scenario(&scenario);
        alarm(RUN_WALL_S);
        sim_run(&scenario, NULL, &result);
        alarm(0);
        add(t, &result);
    }
}

static uint64_t counter_of(const struct totals *t, enum server_id id, const char *name)
{
    for (uint32_t i = 0; i < STATUS_COUNTERS; i++)
        if (strcmp(t->name[id][i], name) == 0)
            return t->counter[id][i];
    return 0;
}

static void print_drops(const struct totals *t)
{
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        bool any = false;
        for (uint32_t i = 0; i < STATUS_COUNTERS; i++) {
            if (strstr(t->name[id][i], "drop_") == NULL || t->counter[id][i] == 0)
                continue;
            printf("%s %s %lu", any ? "," : topology_server_name((enum server_id)id), t->name[id][i],
                   t->counter[id][i]);
            any = true;
        }
        printf("%s", any ? "\n" : "");
    }
}

static void print(const struct sim_seeds *s, const struct totals *t, double seconds)
{
    printf(
        "seeds %lu to %lu%s: %lu runs in %.1f s (%.0f a second), %.0f s simulated (the longest %.0f), %.1f MB read\n",
        s->first, s->first + s->count - 1, s->crashes ? " with crashes" : "", t->runs, seconds,
        (double)t->runs / seconds, (double)t->simulated_us / 1e6, (double)t->late_us / 1e6, (double)t->octets / 1e6);
    printf("network: %lu lost in bursts, %lu in blackouts, %lu too big for the path, %lu marked\n", t->in_bursts,
           t->in_blackouts, t->too_big, t->marked);
    printf(
        "tcp: %lu segments out, %lu in, %lu retransmitted, %lu timeouts, %lu fast retransmits; %lu ACKs judged by the "
        "store\n",
        counter_of(t, SERVER_TCP, "tcp_segments_out"), counter_of(t, SERVER_TCP, "tcp_segments_in"),
        counter_of(t, SERVER_TCP, "tcp_retransmits"), counter_of(t, SERVER_TCP, "tcp_timeouts"),
        counter_of(t, SERVER_TCP, "tcp_fast_retransmits"), t->judged);
    if (s->crashes) {
        printf("deaths:");
        for (uint32_t id = 0; id < SERVER_COUNT; id++)
            printf(" %s %lu", topology_server_name((enum server_id)id), t->deaths[id]);
        printf(", %lu by hanging; %lu connection ends lost, %lu stores forgotten, %lu sockets gave up after that\n",
               t->hangs, t->lost, t->cold, t->untold);
    }
    print_drops(t);
}

/* ---- processes ---- */
static bool take_all(int fd, void *to, size_t octets)
{
    uint8_t *at = to;
    while (octets > 0) {
        ssize_t n = read(fd, at, octets);
        if (n <= 0)
            return false;
        at += n;
        octets -= (size_t)n;
    }
    return true;
}

static pid_t begin(const struct sim_seeds *s, uint32_t shard, uint32_t of, int *ret_fd)
{
    int end[2];
    if (pipe(end) < 0)
        return -1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid != 0) {
        close(end[1]);
        *ret_fd = end[0];
        return pid;
    }
    static struct totals t;
    close(end[0]);
    work(s, shard, of, &t);
    fflush(stdout);
    const uint8_t *at = (const uint8_t *)&t;
    for (size_t left = sizeof t; left > 0;) {
        ssize_t n = write(end[1], at, left);
        if (n <= 0)
            _exit(1);
        at += n;
        left -= (size_t)n;
    }
    _exit(0);
}

static int work_shared(const struct sim_seeds *s, uint32_t jobs, struct totals *t)
{
    static struct totals part;
    pid_t pid[JOBS_MAX];
    int fd[JOBS_MAX], failed = 0;
    for (uint32_t i = 0; i < jobs; i++)
        if ((pid[i] = begin(s, s->shard * jobs + i, s->shards * jobs, &fd[i])) < 0)
            return 1;
    for (uint32_t ended = 0; ended < jobs; ended++) {
        int status;
        pid_t who = wait(&status);
        for (uint32_t i = 0; i < jobs; i++)
            if (pid[i] == who)
                pid[i] = 0;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        failed = 1;
        for (uint32_t i = 0; i < jobs; i++)
            if (pid[i] > 0)
                kill(pid[i], SIGTERM);
    }
    for (uint32_t i = 0; i < jobs; i++) {
        if (failed == 0 && take_all(fd[i], &part, sizeof part))
            merge(t, &part);
        close(fd[i]);
    }
    return failed;
}

int sim_seeds(const struct sim_seeds *s)
{
    static struct totals t;
    double from = now_s();
    uint32_t jobs = s->jobs < JOBS_MAX ? s->jobs : JOBS_MAX;
    int failed = 0;
    if (jobs <= 1)
        work(s, s->shard, s->shards, &t);
    else
        failed = work_shared(s, jobs, &t);
    if (failed == 0)
        print(s, &t, now_s() - from);
    return failed;
}
