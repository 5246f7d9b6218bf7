// SPDX-License-Identifier: BSD-2-Clause
/* What deaths say about what is still there (DESIGN section 6).
 *
 * Poison. A server names in its crash page what it works on (servers/work.h). What one worked on when it died of a
 * fault of its own - a signal that a fault raises, or a loop; never SIGKILL, an end that was asked for, a lie, a stop -
 * is a suspect from then on. The next incarnation is told, and says in its page when it has worked on a suspect and
 * committed that: then it is none. Who is still one when a server dies over it again is poison, and is refused from
 * then on, for POISON_US. Deaths by other causes change nothing.
 *
 * Escalation. Failed starts in a row - deaths without a healthy interval before them, unless somebody killed - bring
 * first an empty store, then everybody a new life (and an empty store, if nobody can be served without it), and
 * meanwhile pauses that grow (domain.c), as after more than CHURN_DEATHS deaths in CHURN_US, however healthy. Each is an event. What a neighbour says of a domain counts for none of this. The recovery that was asked for (--recovery) says what a death that is none of that goes on from.
 *
 * Untrusted: the crash page. Each word of it is read once; at worst a domain refuses what it is itself sent. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "servers/supervisor/supervisor.h"

#define SETTLE_US 300000 /* a life may need so long until what it serves is as it was */
#define STILL_US  500000 /* who has not moved for so long is the hang watch's */

static bool hosts(const struct domain *d, uint32_t id)
{
    return id < SERVER_COUNT && (d->servers & SERVER_BIT(id)) != 0;
}

/* ---- poison ---- */

static bool own_fault(const struct domain *d, int signo)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};
    if (d->fault == FAULT_LOOP)
        return true;
    if (d->fault == FAULT_KILL || d->fault == FAULT_PLANNED || d->fault == FAULT_STACK)
        return false; /* whatever it died of, it was asked to */
    for (unsigned i = 0; i < sizeof own / sizeof own[0]; i++)
        if (signo == own[i])
            return true;
    return false;
}

static bool page_speaks(const struct domain *d) /* its own handler wrote it */
{
    return __atomic_load_n(&d->crash->incarnation, __ATOMIC_ACQUIRE) == d->incarnation;
}

static uint64_t key_of(const struct domain *d, uint32_t id)
{
    return __atomic_load_n(&d->crash->work[id].key, __ATOMIC_RELAXED);
}

/* Whose turn it was. Servers have their turn in the order of their ids, and all name nothing when a round begins:
 * without better knowledge it is the last one that names something. SERVER_COUNT: nobody's. */
static uint32_t working_server(const struct domain *d)
{
    uint32_t running = page_speaks(d) ? __atomic_load_n(&d->crash->running, __ATOMIC_RELAXED) : SERVER_COUNT;
    if (hosts(d, running))
        return running;
    for (uint32_t id = SERVER_COUNT; id-- > 0;)
        if (hosts(d, id) && key_of(d, id) != CRASH_WORK_NONE)
            return id;
    return SERVER_COUNT;
}

static void suspect_remove(struct server_health *h, uint32_t at)
{
    h->suspects--;
    for (uint32_t i = at; i < h->suspects; i++) {
        h->suspect[i] = h->suspect[i + 1];
        h->since_us[i] = h->since_us[i + 1];
    }
}

static void suspects_clear(struct server_health *h, uint64_t cleared, uint64_t now)
{
    for (uint32_t i = h->suspects; i-- > 0;) {
        bool innocent = (cleared >> i & 1) != 0 && !h->suspect[i].poison;
        if (innocent || now - h->since_us[i] >= POISON_US)
            suspect_remove(h, i);
    }
}

/* True: it is poison now. */
static bool suspect_note(struct server_health *h, uint64_t key, uint64_t now)
{
    for (uint32_t i = 0; i < h->suspects; i++) {
        if (h->suspect[i].key != key)
            continue;
        bool news = !h->suspect[i].poison;
        h->suspect[i].poison = true;
        h->since_us[i] = now;
        return news;
    }
    if (h->suspects == SUSPECTS_KEPT)
        suspect_remove(h, 0);
    h->since_us[h->suspects] = now;
    h->suspect[h->suspects++] = (struct server_suspect){.key = key};
    return false;
}

static void blame(struct supervisor *s, const struct domain *d, const char *how)
{
    uint32_t id = working_server(d);
    uint64_t key = id < SERVER_COUNT ? key_of(d, id) : CRASH_WORK_NONE;
    if (key == CRASH_WORK_NONE || key == CRASH_WORK_OWN)
        return;
    const char *name = topology_server_name((enum server_id)id);
    if (suspect_note(&s->server[id].health, key, now_us())) {
        s->health.poisons++;
        event_add(s, "poison", name, d->incarnation, NULL, 0,
                  "died twice in a row (%s) over %016" PRIx64 ": it is refused for the next %d s", how, key,
                  POISON_US / 1000000);
    } else {
        s->health.suspects++;
        event_add(s, "suspect", name, d->incarnation, NULL, 0, "died (%s) over %016" PRIx64, how, key);
    }
}

void health_died(struct supervisor *s, struct domain *d, int signo)
{
    uint64_t now = now_us();
    bool begun = __atomic_load_n(&d->status->incarnation, __ATOMIC_RELAXED) == d->incarnation; /* after its page */
    bool started = d->state == DOMAIN_RUNNING || (d->state == DOMAIN_GRANTED && d->fault == FAULT_LOOP && begun);
    if (!started && !page_speaks(d))
        return; /* the page is of an earlier life */
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        if (hosts(d, id))
            suspects_clear(&s->server[id].health, __atomic_load_n(&d->crash->work[id].cleared, __ATOMIC_RELAXED), now);
    if (own_fault(d, signo))
        blame(s, d, d->fault == FAULT_LOOP ? "loop" : sigabbrev_np(signo));
}

uint32_t health_suspects(const struct supervisor *s, const struct domain *d, Bulkhead__Control__Suspect *ret,
                         uint32_t most)
{
    uint32_t count = 0;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct server_health *h = &s->server[id].health;
        for (uint32_t i = 0; hosts(d, id) && i < h->suspects && count < most; i++) {
            ret[count] = (Bulkhead__Control__Suspect)BULKHEAD__CONTROL__SUSPECT__INIT;
            ret[count].server = id;
            ret[count].key = h->suspect[i].key;
            ret[count++].poison = h->suspect[i].poison;
        }
    }
    return count;
}

/* ---- hangs and lies ---- */

uint64_t health_hang_us(const struct supervisor *s)
{
    return s->options.hang_ms != 0 ? (uint64_t)s->options.hang_ms * 1000 : HANG_US;
}

uint64_t health_tick_us(const struct supervisor *s)
{
    uint64_t tick = health_hang_us(s) / LIVENESS_TICKS;
    return tick < TICK_US ? tick : TICK_US;
}

void health_hangs(struct supervisor *s, struct domain *d)
{
    uint64_t counter = __atomic_load_n(&d->status->liveness, __ATOMIC_RELAXED), now = now_us();
    bool silent = counter == d->liveness.counter && d->liveness.moved_us != 0;
    bool loops = silent && liveness_loops(&d->liveness, process_cpu_us(d->process.pid), now);
    d->silent_us = silent ? now - d->liveness.moved_us : 0;
    s->health.hangs_loop += d->fault == FAULT_NONE && loops;
    s->health.hangs_stop += d->fault == FAULT_NONE && !loops;
    domain_kill(d, loops ? FAULT_LOOP : FAULT_HUNG);
}

void health_not_ready(struct supervisor *s, struct domain *d)
{
    uint64_t since = d->state == DOMAIN_GRANTED ? d->granted_us : d->spawned_us, now = now_us();
    bool loops = process_cpu_us(d->process.pid) >= (now - since) / LIVENESS_LOOP; /* it has started by so much less */
    if (d->fault == FAULT_NONE) {
        s->health.hangs_start++;
        d->silent_us = now - since;
    }
    domain_kill(d, loops && d->state == DOMAIN_GRANTED ? FAULT_LOOP : FAULT_START);
}

void health_lies(struct supervisor *s, struct domain *d, const struct domain *accuser, const char *what)
{
    char text[EVENT_TEXT];
    if (d->process.pidfd < 0 || health_lied(d))
        return;
    text_copy(text, sizeof text, what, strlen(what));
    s->health.lies++;
    event_add(s, "lie", d->name, d->incarnation, NULL, 0, "%.120s%s%.40s", text, accuser != NULL ? "; says " : "",
              accuser != NULL ? accuser->name : "");
    domain_kill(d, accuser != NULL ? FAULT_ACCUSED : FAULT_PROTOCOL);
}

bool health_has_reason(struct supervisor *s, uint64_t since, uint64_t now)
{
    if (change_is_on(s, 0) || repartition_is_on(s))
        return true;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        const struct domain *d = &s->domain[i];
        const struct liveness *l = &d->liveness;
        if (d->state != DOMAIN_RUNNING || since < d->ready_us + SETTLE_US || d->fault != FAULT_NONE)
            return true;
        if (inject_slows(s, d))
            return true;
        bool moved = __atomic_load_n(&d->status->liveness, __ATOMIC_RELAXED) != l->counter;
        if (!moved && l->moved_us != 0 && now - l->moved_us >= STILL_US)
            return true;
        if (!moved && liveness_starves(l, d->process.pid, now))
            return true;
    }
    return false;
}

void health_unserved(struct supervisor *s, struct domain *d, const char *who, const char *what)
{
    if (d->process.pidfd < 0 || d->fault != FAULT_NONE)
        return;
    s->health.unserved++;
    event_add(s, "unserved", d->name, d->incarnation, NULL, 0, "%s; says %s: a new life for it", what, who);
    domain_kill(d, FAULT_UNSERVED);
}

/* ---- escalation ---- */

#define TRANSPORTS (SERVER_BIT(SERVER_TCP) | SERVER_BIT(SERVER_UDP))

/* Everybody's state may be what nobody can start from. Without nic, ip or socket there is no service to anyone, so that is worth
 * all state; without one transport the others serve: whatever reaches it can cost them a new life, and nothing that they keep. */
static void stack_anew(struct supervisor *s, struct domain *d)
{
    bool all_cold = (d->servers & ~TRANSPORTS) != 0;
    s->health.restarts_stack++;
    event_add(s, "stack", d->name, d->incarnation, NULL, 0, "%u failed starts in a row: all domains start anew, with %s",
              d->unhealthy,
              all_cold ? "empty stores; sockets end with ECONNRESET" : "what they keep; only its own store is empty");
    for (uint32_t i = 0; i < s->domain_count; i++) {
        struct domain *each = &s->domain[i];
        if (each == d || (all_cold && each->process.pidfd >= 0))
            each->cold = true;
        else if (all_cold)
            memory_forget_stores(s, each->servers);
        if (each != d && domain_lives(each))
            domain_kill(each, FAULT_STACK);
    }
}

void health_escalate(struct supervisor *s, struct domain *d)
{
    if (d->accusations > ACCUSATIONS_FREE)
        return; /* it or its neighbour lies: no reason to forget what anybody keeps */
    if (d->unhealthy == UNHEALTHY_COLD && memory_forget_stores(s, d->servers)) {
        s->health.restarts_cold++;
        event_add(s, "cold", d->name, d->incarnation, NULL, 0,
                  "%u failed starts in a row: the next one has an empty store", d->unhealthy);
    }
    if (d->unhealthy == UNHEALTHY_STACK && s->started)
        stack_anew(s, d);
}

const char *health_recovery(struct supervisor *s, struct domain *d)
{
    static const char *const names[] = {
        [STACK_RECOVERY_RESUME] = "resume", [STACK_RECOVERY_LISTENERS] = "listeners", [STACK_RECOVERY_NONE] = "none"};
    bool none = s->options.recovery == STACK_RECOVERY_NONE;
    s->health.restarts_resume += s->options.recovery == STACK_RECOVERY_RESUME;
    s->health.restarts_listeners += s->options.recovery == STACK_RECOVERY_LISTENERS;
    s->health.restarts_none += none;
    if (none || d->cold)
        memory_forget_stores(s, d->servers);
    bool cold = d->cold || d->unhealthy == UNHEALTHY_COLD;
    d->cold = false;
    return cold ? "cold" : names[s->options.recovery];
}
