// SPDX-License-Identifier: BSD-2-Clause
/* Who is a suspect, who is poison, and who is neither; what comes after failed starts. */
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "tests/unit/suite.h"
#include "tests/unit/supervisor_harness.h"

#define KEY   0x1234567812345678ULL
#define OTHER 0x8765432187654321ULL

static struct crash_page *page_of(struct domain *d)
{
    void *memory;
    ck_assert_int_eq(segment_map(d->crash_fd, sizeof(struct crash_page), true, &memory), 0);
    return memory;
}

static struct status_page *status_of(struct domain *d)
{
    void *memory;
    ck_assert_int_eq(segment_map(d->status_fd, sizeof(struct status_page), true, &memory), 0);
    return memory;
}

/* A life of `server` that names `key`, clears the suspects in `cleared`, and ends by `signo` or `fault`. */
static void life(enum server_id server, uint64_t key, uint64_t cleared, int signo, enum domain_fault fault)
{
    struct domain *d = &s->domain[server];
    struct crash_page *page = page_of(d);
    d->incarnation++;
    d->state = DOMAIN_RUNNING;
    d->fault = fault;
    page->work[server] = (struct crash_work){.key = key, .cleared = cleared};
    page->incarnation = d->incarnation;
    page->running = server;
    health_died(s, d, signo);
    segment_unmap(page, sizeof *page);
}

/* What the next life is told: 0 nothing, 1 suspect, 2 poison. */
static int told(enum server_id server, uint64_t key)
{
    Bulkhead__Control__Suspect suspect[SUSPECTS_TOLD];
    uint32_t count = health_suspects(s, &s->domain[server], suspect, SUSPECTS_TOLD);
    for (uint32_t i = 0; i < count; i++)
        if (suspect[i].server == (uint32_t)server && suspect[i].key == key)
            return suspect[i].poison ? 2 : 1;
    return 0;
}

static const struct {
    const char *name;
    int signo;
    enum domain_fault fault;
    bool own;
} ends[] = {
    {"SEGV", SIGSEGV, FAULT_NONE, true},
    {"BUS", SIGBUS, FAULT_NONE, true},
    {"ILL", SIGILL, FAULT_NONE, true},
    {"FPE", SIGFPE, FAULT_NONE, true},
    {"ABRT", SIGABRT, FAULT_NONE, true},
    {"SYS", SIGSYS, FAULT_NONE, true},
    {"a loop", SIGKILL, FAULT_LOOP, true},
    {"KILL", SIGKILL, FAULT_NONE, false},
    {"TERM", SIGTERM, FAULT_NONE, false},
    {"exit", 0, FAULT_NONE, false},
    {"a stop", SIGKILL, FAULT_HUNG, false},
    {"asked for", SIGSEGV, FAULT_KILL, false},
    {"a fault, while it was being killed as hung", SIGSEGV, FAULT_HUNG, true},
    {"planned", 0, FAULT_PLANNED, false},
    {"a lie", SIGKILL, FAULT_PROTOCOL, false},
    {"said to lie", SIGKILL, FAULT_ACCUSED, false},
    {"all anew", SIGKILL, FAULT_STACK, false},
    {"not started", SIGKILL, FAULT_START, false},
};

START_TEST(own_faults_make_suspects)
{
    for (uint64_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        uint64_t poisons = s->health.poisons;
        life(SERVER_TCP, KEY + i, 0, ends[i].signo, ends[i].fault);
        ck_assert_msg(told(SERVER_TCP, KEY + i) == (ends[i].own ? 1 : 0), "%s", ends[i].name);
        life(SERVER_TCP, KEY + i, 0, ends[i].signo, ends[i].fault);
        ck_assert_msg(told(SERVER_TCP, KEY + i) == (ends[i].own ? 2 : 0), "%s, twice", ends[i].name);
        ck_assert_uint_eq(s->health.poisons - poisons, ends[i].own);
        ck_assert_int_eq(told(SERVER_UDP, KEY + i), 0);
    }
}
END_TEST

START_TEST(other_deaths_change_nothing)
{
    life(SERVER_TCP, KEY, 0, SIGSEGV, FAULT_NONE);
    life(SERVER_TCP, KEY, 0, SIGKILL, FAULT_KILL);
    life(SERVER_TCP, OTHER, 0, SIGSEGV, FAULT_NONE);
    ck_assert_int_eq(told(SERVER_TCP, KEY), 1);
    ck_assert_int_eq(told(SERVER_TCP, OTHER), 1);
    life(SERVER_TCP, KEY, 0, SIGSEGV, FAULT_NONE);
    ck_assert_int_eq(told(SERVER_TCP, KEY), 2);
    ck_assert_int_eq(told(SERVER_TCP, OTHER), 1);
}
END_TEST

START_TEST(what_went_well_since_is_cleared)
{
    life(SERVER_TCP, KEY, 0, SIGSEGV, FAULT_NONE);
    life(SERVER_TCP, OTHER, 0, SIGSEGV, FAULT_NONE);
    life(SERVER_TCP, KEY, 1, SIGSEGV, FAULT_NONE); /* the first of the two that it was told of */
    ck_assert_int_eq(told(SERVER_TCP, KEY), 1);
    ck_assert_int_eq(told(SERVER_TCP, OTHER), 1);
    life(SERVER_TCP, 0, 1, SIGKILL, FAULT_KILL); /* now that is the other one */
    ck_assert_int_eq(told(SERVER_TCP, OTHER), 0);
    ck_assert_int_eq(told(SERVER_TCP, KEY), 1);
    life(SERVER_TCP, KEY, 0, SIGSEGV, FAULT_NONE);
    life(SERVER_TCP, 0, 1, SIGKILL, FAULT_KILL);
    ck_assert_int_eq(told(SERVER_TCP, KEY), 2); /* poison is not worked on: that is a lie */
}
END_TEST

START_TEST(poison_is_forgotten)
{
    struct server_health *h = &s->server[SERVER_TCP].health;
    life(SERVER_TCP, KEY, 0, SIGSEGV, FAULT_NONE);
    life(SERVER_TCP, KEY, 0, SIGSEGV, FAULT_NONE);
    h->since_us[0] -= POISON_US;
    life(SERVER_TCP, 0, 0, SIGKILL, FAULT_KILL);
    ck_assert_int_eq(told(SERVER_TCP, KEY), 0);
}
END_TEST

START_TEST(the_latest_suspects_are_kept)
{
    for (uint64_t i = 0; i <= SUSPECTS_KEPT; i++)
        life(SERVER_TCP, KEY + i, 0, SIGSEGV, FAULT_NONE);
    ck_assert_int_eq(told(SERVER_TCP, KEY), 0);
    for (uint64_t i = 1; i <= SUSPECTS_KEPT; i++)
        ck_assert_int_eq(told(SERVER_TCP, KEY + i), 1);
}
END_TEST

START_TEST(nobody_is_blamed_for_what_is_nobodys)
{
    struct domain *d = &s->domain[SERVER_TCP];
    life(SERVER_TCP, CRASH_WORK_OWN, 0, SIGSEGV, FAULT_NONE);
    life(SERVER_TCP, CRASH_WORK_NONE, 0, SIGSEGV, FAULT_NONE);
    ck_assert_uint_eq(s->server[SERVER_TCP].health.suspects, 0);
    life(SERVER_TCP, KEY, 0, SIGKILL, FAULT_KILL);
    d->incarnation++; /* which does not get as far as a page */
    d->state = DOMAIN_STANDBY;
    d->fault = FAULT_NONE;
    health_died(s, d, SIGSYS);
    ck_assert_uint_eq(s->server[SERVER_TCP].health.suspects, 0);
    d->state = DOMAIN_GRANTED; /* it loops before it has opened its page: what is there is the last one's */
    d->fault = FAULT_LOOP;
    health_died(s, d, SIGKILL);
    ck_assert_uint_eq(s->server[SERVER_TCP].health.suspects, 0);
    status_of(d)->incarnation = d->incarnation;
    health_died(s, d, SIGKILL);
    ck_assert_uint_eq(s->server[SERVER_TCP].health.suspects, 1);
}
END_TEST

/* Asked to take a signal that kills nobody, it is no victim for the rest of its life. */
START_TEST(who_survives_a_signal_answers_for_itself)
{
    struct domain *d = &s->domain[SERVER_TCP];
    start_all();
    d->fault = FAULT_KILL;
    d->kill_us = now_us();
    domain_tick(s, d);
    ck_assert_int_eq(d->fault, FAULT_KILL);
    d->kill_us -= SURVIVED_US;
    domain_tick(s, d);
    ck_assert_int_eq(d->fault, FAULT_NONE);
}
END_TEST

/* No handler runs in a loop: it is the last one in the round that names something. */
START_TEST(a_loop_of_several_servers_is_the_last_ones)
{
    struct domain *d = &s->domain[SERVER_IP];
    struct crash_page *page = page_of(d);
    d->servers |= SERVER_BIT(SERVER_TCP) | SERVER_BIT(SERVER_NIC);
    d->state = DOMAIN_RUNNING;
    d->fault = FAULT_LOOP;
    d->incarnation = 2;
    page->work[SERVER_NIC].key = KEY;
    page->work[SERVER_TCP].key = OTHER;
    page->work[SERVER_SOCKET].key = KEY; /* not hosted here */
    health_died(s, d, SIGKILL);
    segment_unmap(page, sizeof *page);
    ck_assert_int_eq(s->server[SERVER_TCP].health.suspects, 1);
    ck_assert_uint_eq(s->server[SERVER_TCP].health.suspect[0].key, OTHER);
    ck_assert_int_eq(s->server[SERVER_NIC].health.suspects, 0);
}
END_TEST

START_TEST(the_whole_stack_is_the_last_step)
{
    start_all();
    struct domain *d = &s->domain[SERVER_IP], *udp = &s->domain[SERVER_UDP];
    pid_t pid = victim(udp);
    s->server[SERVER_IP].store = segment_create("store", 4096);
    s->server[SERVER_UDP].store = segment_create("store", 4096);
    d->state = DOMAIN_DOWN;
    d->process.pidfd = -1;
    for (d->unhealthy = 1; d->unhealthy < UNHEALTHY_STACK; d->unhealthy++) {
        health_escalate(s, d);
        ck_assert_str_eq(health_recovery(s, d), d->unhealthy == UNHEALTHY_COLD ? "cold" : "resume");
        ck_assert_int_eq(s->server[SERVER_IP].store >= 0, d->unhealthy < UNHEALTHY_COLD);
        ck_assert_int_eq(udp->fault, FAULT_NONE);
    }
    health_escalate(s, d);
    ck_assert_str_eq(health_recovery(s, d), "cold");
    ck_assert_int_eq(udp->fault, FAULT_STACK);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_int_ge(s->server[SERVER_UDP].store, 0); /* as long as it may still be written */
    ck_assert_str_eq(health_recovery(s, udp), "cold");
    ck_assert_int_lt(s->server[SERVER_UDP].store, 0);
    ck_assert_str_eq(health_recovery(s, udp), "resume");
    ck_assert_uint_eq(s->health.restarts_stack, 1);
}
END_TEST

/* Whatever reaches one transport: the other keeps its connections, and the names of all stay. */
START_TEST(a_transport_costs_the_others_no_state)
{
    start_all();
    struct domain *d = &s->domain[SERVER_UDP], *tcp = &s->domain[SERVER_TCP];
    pid_t pid = victim(tcp);
    s->server[SERVER_TCP].store = segment_create("store", 4096);
    s->server[SERVER_SOCKET].store = segment_create("store", 4096);
    d->state = s->domain[SERVER_SOCKET].state = DOMAIN_DOWN;
    d->process.pidfd = s->domain[SERVER_SOCKET].process.pidfd = -1;
    d->unhealthy = UNHEALTHY_STACK;
    health_escalate(s, d);
    ck_assert_str_eq(health_recovery(s, d), "cold");
    ck_assert_int_eq(tcp->fault, FAULT_STACK);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_str_eq(health_recovery(s, tcp), "resume");
    ck_assert_int_ge(s->server[SERVER_TCP].store, 0);
    ck_assert_int_ge(s->server[SERVER_SOCKET].store, 0);
}
END_TEST

/* Who says that its neighbours lie, again and again, makes nobody forget anything. */
START_TEST(accusations_bring_no_cold_start)
{
    struct domain *d = &s->domain[SERVER_UDP];
    start_all();
    s->server[SERVER_UDP].store = segment_create("store", 4096);
    for (d->unhealthy = 1; d->unhealthy <= UNHEALTHY_STACK; d->unhealthy++) {
        d->accusations = ACCUSATIONS_FREE + 1;
        health_escalate(s, d);
    }
    ck_assert_int_ge(s->server[SERVER_UDP].store, 0);
    ck_assert_uint_eq(s->health.restarts_cold + s->health.restarts_stack, 0);
}
END_TEST

/* Said to lie at each of its starts: that is no failed start of its own. */
START_TEST(the_accused_is_not_counted)
{
    start_all();
    struct domain *d = &s->domain[SERVER_TCP];
    for (unsigned i = 0; i < 2; i++) {
        pid_t pid = victim(d);
        d->state = DOMAIN_RUNNING;
        d->ready_us = now_us();
        d->unhealthy = 1;
        d->fault = FAULT_NONE;
        health_lies(s, d, i == 0 ? &s->domain[SERVER_IP] : NULL, "its indices");
        ck_assert_int_eq(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
        s->stopping = true; /* no next life in this test */
        domain_died(s, d);
        s->stopping = false;
        ck_assert_uint_eq(d->unhealthy, i == 0 ? 1 : 2);
    }
}
END_TEST

/* Dies of `signo`, by `fault` if it was asked to; its life was healthy and lasted for `lived_us`. */
static void dies(struct domain *d, int signo, enum domain_fault fault, uint64_t lived_us)
{
    struct status_page *status = status_of(d);
    pid_t pid = victim(d);
    d->state = DOMAIN_RUNNING;
    d->ready_us = now_us() - lived_us;
    d->started_bursts = 0;
    status->bursts = lived_us > 0 ? HEALTHY_BURSTS : 0;
    d->fault = fault;
    d->kill_us = 0;
    kill(pid, signo);
    ck_assert_int_eq(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
    s->stopping = true; /* no next life in this test */
    domain_died(s, d);
    s->stopping = false;
    segment_unmap(status, sizeof *status);
}

/* Whoever kills with SIGKILL, as often as he likes and as soon as it starts, brings it no step nearer to an empty store. */
START_TEST(a_kill_from_outside_is_not_counted)
{
    static const struct {
        int signo;
        enum domain_fault fault;
        uint32_t counted;
    } rows[] = {{SIGKILL, FAULT_NONE, 0}, {SIGKILL, FAULT_KILL, 0},  {SIGSEGV, FAULT_KILL, 0}, {SIGKILL, FAULT_STACK, 0},
                {SIGSEGV, FAULT_NONE, 1}, {SIGABRT, FAULT_NONE, 1},  {SIGKILL, FAULT_HUNG, 1}, {SIGKILL, FAULT_LOOP, 1},
                {SIGKILL, FAULT_START, 1}, {SIGKILL, FAULT_PROTOCOL, 1}};
    struct domain *d = &s->domain[SERVER_TCP];
    start_all();
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        d->unhealthy = UNHEALTHY_COLD - 1;
        d->churn_deaths = 0;
        dies(d, rows[i].signo, rows[i].fault, 0);
        ck_assert_msg(d->unhealthy == UNHEALTHY_COLD - 1 + rows[i].counted, "row %u", i);
        ck_assert_msg(d->churn_deaths == rows[i].counted, "row %u", i);
    }
    for (unsigned i = 0; i < 3 * CHURN_DEATHS; i++)
        dies(d, SIGKILL, FAULT_NONE, HEALTHY_US);
    ck_assert_uint_eq(d->unhealthy, 0);
    ck_assert_uint_eq(d->churn, 0);
}
END_TEST

/* Healthy each time, and dead soon after: pauses, longer and longer, until it has lived for long. */
START_TEST(who_dies_again_and_again_waits)
{
    struct domain *d = &s->domain[SERVER_TCP];
    start_all();
    for (unsigned i = 0; i < CHURN_DEATHS; i++) {
        dies(d, SIGSEGV, FAULT_NONE, HEALTHY_US);
        ck_assert_uint_eq(d->churn, 0);
        ck_assert_uint_eq(domain_backoff_us(d), 0);
    }
    for (uint64_t us = BACKOFF_FIRST_US; us < BACKOFF_LAST_US; us *= 2) {
        dies(d, SIGSEGV, FAULT_NONE, HEALTHY_US);
        ck_assert_uint_eq(domain_backoff_us(d), us);
        ck_assert_uint_eq(d->unhealthy, 0);
    }
    d->churn_since_us -= CHURN_US + 1; /* they come more slowly now, for that reason */
    dies(d, SIGSEGV, FAULT_NONE, HEALTHY_US);
    ck_assert_uint_eq(domain_backoff_us(d), BACKOFF_LAST_US);
    dies(d, SIGKILL, FAULT_NONE, HEALTHY_US); /* neither counts nor excuses */
    ck_assert_uint_eq(domain_backoff_us(d), BACKOFF_LAST_US);
    dies(d, SIGSEGV, FAULT_NONE, CHURN_US);
    ck_assert_uint_eq(domain_backoff_us(d), 0);
}
END_TEST

/* A death now and then is none of that. */
START_TEST(who_dies_now_and_then_does_not_wait)
{
    struct domain *d = &s->domain[SERVER_TCP];
    start_all();
    for (unsigned i = 0; i < 4 * CHURN_DEATHS; i++) {
        dies(d, SIGSEGV, FAULT_NONE, HEALTHY_US);
        d->churn_since_us -= CHURN_US / CHURN_DEATHS + 1;
        ck_assert_uint_eq(domain_backoff_us(d), 0);
    }
}
END_TEST

START_TEST(recovery_none_keeps_nothing)
{
    s->options.recovery = STACK_RECOVERY_NONE;
    s->server[SERVER_TCP].store = segment_create("store", 4096);
    ck_assert_str_eq(health_recovery(s, &s->domain[SERVER_TCP]), "none");
    ck_assert_int_lt(s->server[SERVER_TCP].store, 0);
    ck_assert_uint_eq(s->health.restarts_none, 1);
}
END_TEST

START_TEST(a_hang_is_a_loop_or_a_stop)
{
    start_all();
    struct domain *d = &s->domain[SERVER_TCP];
    static volatile unsigned busy;
    for (unsigned loops = 0; loops < 2; loops++) {
        pid_t pid = loops == 0 ? victim(d) : fork();
        while (pid == 0)
            busy++;
        if (loops != 0)
            d->process = (struct process){pid, (int)syscall(SYS_pidfd_open, pid, 0), false};
        d->fault = FAULT_NONE;
        d->liveness = (struct liveness){.moved_us = now_us(), .cpu_us = process_cpu_us(pid)};
        d->liveness.counter = d->status->liveness;
        for (unsigned i = 0; i < 1000 && process_cpu_us(pid) - d->liveness.cpu_us < 20000; i++)
            usleep(loops != 0 ? 10000 : 100);
        health_hangs(s, d);
        ck_assert_int_eq(d->fault, loops != 0 ? FAULT_LOOP : FAULT_HUNG);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        close(d->process.pidfd);
    }
    ck_assert(s->health.hangs_loop == 1 && s->health.hangs_stop == 1);
}
END_TEST

SUITE_RUN("supervisor_health", setup, teardown, own_faults_make_suspects, other_deaths_change_nothing,
          what_went_well_since_is_cleared, poison_is_forgotten, the_latest_suspects_are_kept,
          nobody_is_blamed_for_what_is_nobodys, a_loop_of_several_servers_is_the_last_ones,
          the_whole_stack_is_the_last_step, a_transport_costs_the_others_no_state, accusations_bring_no_cold_start, who_survives_a_signal_answers_for_itself,
          the_accused_is_not_counted, a_kill_from_outside_is_not_counted,
          who_dies_again_and_again_waits, who_dies_now_and_then_does_not_wait, recovery_none_keeps_nothing, a_hang_is_a_loop_or_a_stop)
