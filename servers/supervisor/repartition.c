// SPDX-License-Identifier: BSD-2-Clause
/* Another partition, by the one primitive: every domain ends in order (one that hangs is killed), the same servers are
 * laid out anew (layout.c), and the next incarnations go on from what outlives domains: stores, sessions and their
 * arenas, slots, the device, the secrets. Everything is granted afresh; applications notice nothing but the time.
 *
 *   NONE -> ENDING -> STARTING -> NONE                                        answered
 *                        |
 *                        +-> BACK_ENDING -> BACK_STARTING -> NONE             answered with what went wrong
 *
 * A domain of the new partition that fails to start UNHEALTHY_BACK times in a row, or is not there in time, is the
 * reason to go back; that is before its store is held to be what it cannot start from. If the former one does not
 * start either, the usual escalation (domain.c) goes on with it. All phases together take less than who asks waits. */
#include <stdio.h>
#include <string.h>

#include "servers/supervisor/supervisor.h"

#define UNHEALTHY_BACK 2
#define RUNS_US        2000000 /* from the spawn until all run */
_Static_assert(UNHEALTHY_BACK < UNHEALTHY_COLD, "nothing is lost before");
_Static_assert(2 * (RUNS_US + RESTART_US) < 5000000, "SUPERVISOR_ANSWER_US of the manage server");

bool repartition_is_on(const struct supervisor *s)
{
    return s->repartition.phase != REPARTITION_NONE;
}

bool repartition_ends_all(const struct supervisor *s)
{
    return s->repartition.phase == REPARTITION_ENDING || s->repartition.phase == REPARTITION_BACK_ENDING;
}

static void end_all(struct supervisor *s, enum repartition_phase phase)
{
    s->repartition.phase = phase;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        s->domain[i].retry_us = UINT64_MAX;
        standby_end(s, &s->domain[i]);
        domain_restart(s, &s->domain[i]);
    }
    repartition_advance(s);
}

const char *repartition_start(struct supervisor *s, uint64_t id, const char *partition)
{
    struct repartition *r = &s->repartition;
    struct partition to;
    if (repartition_is_on(s))
        return "the stack is being repartitioned already: wait for that";
    if (!s->started || s->stopping || change_is_on(s, 0))
        return "the stack is starting, ending or restarting a server: wait for that";
    if (partition_parse(partition, &to, r->why, sizeof r->why) < 0)
        return r->why;
    if (strcmp(to.text, s->options.partition.text) == 0)
        return "that is the partition already";
    *r = (struct repartition){.id = id, .since_us = now_us(), .from = s->options.partition, .to = to};
    event_add(s, "repartition", to.text, 0, NULL, 0, "from %s, as asked", r->from.text);
    end_all(s, REPARTITION_ENDING);
    return NULL;
}

static bool all_gone(const struct supervisor *s)
{
    for (uint32_t i = 0; i < s->domain_count; i++)
        if (s->domain[i].process.pidfd >= 0 || s->domain[i].spare.process.pidfd >= 0)
            return false;
    return true;
}

static void start_all(struct supervisor *s, enum repartition_phase phase)
{
    s->repartition.phase = phase;
    s->repartition.deadline_us = now_us() + RUNS_US;
    for (uint32_t i = 0; i < s->domain_count; i++)
        domain_spawn(s, &s->domain[i]);
    barrier_advance(s);
}

static void go_back(struct supervisor *s, const struct domain *d, const char *how)
{
    struct repartition *r = &s->repartition;
    snprintf(r->why, sizeof r->why, "%.48s did not start: %.40s%s%.60s", d->name, how,
             d->last_words[0] != '\0' ? ", " : "", d->last_words);
    event_add(s, "repartition", r->from.text, 0, NULL, 0, "%s: back to what was", r->why);
    end_all(s, REPARTITION_BACK_ENDING);
}

/* All are dead: the next ones. */
void repartition_advance(struct supervisor *s)
{
    struct repartition *r = &s->repartition;
    if (!repartition_ends_all(s) || s->stopping || !all_gone(s))
        return;
    bool back = r->phase == REPARTITION_BACK_ENDING;
    if (!back)
        r->ended_us = now_us();
    int result = layout_change(s, back ? &r->from : &r->to);
    if (result < 0 && !back)
        snprintf(r->why, sizeof r->why, "cannot be laid out: %s", strerror(-result));
    start_all(s, back || result < 0 ? REPARTITION_BACK_STARTING : REPARTITION_STARTING);
}

bool repartition_died(struct supervisor *s, struct domain *d, const char *how)
{
    if (s->repartition.phase == REPARTITION_STARTING && d->unhealthy >= UNHEALTHY_BACK) {
        go_back(s, d, how);
        return true;
    }
    if (!repartition_ends_all(s))
        return false;
    d->recovery = health_recovery(s, d); /* as for any other end */
    repartition_advance(s);
    return true;
}

static void done(struct supervisor *s, const char *error)
{
    struct repartition *r = &s->repartition;
    r->phase = REPARTITION_NONE;
    change_reply(s, r->id, error);
}

static const struct domain *not_running(const struct supervisor *s)
{
    for (uint32_t i = 0; i < s->domain_count; i++)
        if (s->domain[i].state != DOMAIN_RUNNING)
            return &s->domain[i];
    return NULL;
}

void repartition_ready(struct supervisor *s)
{
    struct repartition *r = &s->repartition;
    bool back = r->phase == REPARTITION_BACK_STARTING;
    if ((r->phase != REPARTITION_STARTING && !back) || not_running(s) != NULL)
        return;
    uint64_t now = now_us();
    uint64_t span[] = {now - r->since_us, r->ended_us - r->since_us, now - r->ended_us};
    event_add(s, "repartition", s->options.partition.text, s->domain[0].incarnation, span, 3,
              "%s: nobody was served for %.2f ms: ended after %.2f ms, then runs after %.2f ms", back ? "back" : "done",
              (double)span[0] / 1000, (double)span[1] / 1000, (double)span[2] / 1000);
    char line[EVENT_TEXT];
    snprintf(line, sizeof line, "%.150s: the former partition goes on", r->why);
    done(s, back ? line : NULL);
}

void repartition_deadlines(struct supervisor *s, uint64_t now)
{
    struct repartition *r = &s->repartition;
    if ((r->phase != REPARTITION_STARTING && r->phase != REPARTITION_BACK_STARTING) || now < r->deadline_us)
        return;
    if (r->phase == REPARTITION_STARTING) {
        go_back(s, not_running(s), "not in time");
        return;
    }
    char line[EVENT_TEXT];
    snprintf(line, sizeof line, "%.100s; nor does the former partition yet: `bulkhead events` says more", r->why);
    done(s, line);
}

uint64_t repartition_deadline(const struct supervisor *s)
{
    bool starts = s->repartition.phase == REPARTITION_STARTING || s->repartition.phase == REPARTITION_BACK_STARTING;
    return starts ? s->repartition.deadline_us : 0;
}
