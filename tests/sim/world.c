// SPDX-License-Identifier: BSD-2-Clause
/* The scheduler: who runs next is drawn from those who can; when nobody can, time goes on to the next deadline. A run
 * has four parts: both stacks start and their applications serve; clients do what the scenario says; all close and
 * leave; and all loans come home. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define STEP_US        8U                /* most that a step takes */
#define CLOSED         9U                /* a port that nobody has */
#define PROBES_US      (10 * 1000000ULL) /* until addresses are probed */
#define HUNG_LEAST_US  800000U           /* as servers/supervisor: LIVENESS_TICKS of TICK_US */
#define HUNG_MORE_US   200000U
#define ENDING_US      60000000U /* ... SESSION_ENDING_US */
#define COUNTED_US     500000U   /* until the last of the counters are published */
#define START_US       5000000U
#define SETTLE_WIDE_US (20 * 60 * 1000000ULL) /* ... by timers that have backed off to two minutes */
#define SETTLE_US      (3 * 60 * 1000000ULL)  /* for loans to come home, retransmissions and TIME-WAIT included */

enum to { TO_IP4, TO_IP6, TO_LINK_LOCAL, TO_COUNT }; /* a stack's addresses */

static const struct sim *shown; /* what to print when it fails */

uint64_t sim_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

void sim_hash(struct sim *sim, const void *octets, size_t count)
{
    const uint8_t *at = octets;
    uint64_t word;
    for (; count >= sizeof word; count -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        sim_hash_word(sim, word);
    }
    word = 0;
    memcpy(&word, at, count);
    sim_hash_word(sim, word ^ count);
}

bool sim_loses(const struct sim *sim)
{
    const struct impair_config *q = &sim->scenario->quality;
    if (sim->scenario->wide) /* a bounded queue loses as well */
        return true;
    return q->loss + q->corrupt > 0 || sim->hangs > 0;
}

/* ---- what a failure says ---- */
static void show_command(const struct sim *sim)
{
    const struct sim_scenario *s = sim->scenario;
    if (s->wide) {
        fprintf(stderr, "again: tests/sim/sim --seeds 1 --seed %lu%s --trace\n", s->seed,
                s->crashes ? " --crashes" : "");
        return;
    }
    fprintf(stderr, "again: tests/sim/sim --seed %lu", s->seed);
    fprintf(stderr, " --partition '%s,%s'", s->partition[0], s->partition[1]);
    if (s->octets == 0)
        fprintf(stderr, " --datagrams");
    for (uint32_t i = 0; i < s->kills; i++) {
        const struct sim_kill *k = &sim->kill[i];
        if (k->after != 0)
            continue; /* it never came to that */
        fprintf(stderr, " --%s %c:%s@%lu", k->hang ? "hang" : "kill", 'A' + k->stack, topology_server_name(k->server),
                k->point);
        if (k->write != SIM_ANY)
            fprintf(stderr, ".%lu", k->write);
    }
    if (s->dad != STACK_DAD_OFF && !s->both)
        fprintf(stderr, " --dad %s", s->dad == STACK_DAD_ON ? "on" : "optimistic");
    fprintf(stderr, "%s --trace\n", s->both ? " --random" : "");
}

static void on_abort(int signo)
{
    signal(signo, SIG_DFL);
    if (shown != NULL)
        show_command(shown);
    raise(signo);
}

static void show_state(const struct sim *sim)
{
    static const char *const states[] = {"down", "spawned", "standby", "granted", "running"};
    static const char *const phases[] = {"awake", "sleepy", "asleep"};
    for (uint32_t k = 0; k < SIM_STACKS; k++) {
        for (uint32_t i = 0; i < sim->stack[k].domain_count; i++) {
            const struct sim_domain *d = &sim->stack[k].domain[i];
            fprintf(stderr, "  %c %s: %s, %s, incarnation %u, point %lu, wakes at %lu, sleep word %u", 'A' + k, d->name,
                    states[d->state], phases[d->phase], d->incarnation, d->points, d->wake_us, d->status->sleep);
            for (uint32_t id = 0; d->life != NULL && id < SERVER_COUNT; id++)
                if (d->life->server[id].context.pool != NULL)
                    fprintf(stderr, ", %s has %u of %u buffers", topology_server_name((enum server_id)id),
                            d->life->server[id].pool.free_count, d->life->server[id].pool.count);
            fprintf(stderr, "\n");
        }
    }
    for (uint32_t k = 0; k < SIM_APPS; k++)
        if (sim->app[k] != NULL)
            sim_app_show(sim->app[k]);
}

void sim_fail(const struct sim *sim, const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    fprintf(stderr, "sim: at %.6f s, step %lu: ", (double)sim->now_us / 1e6, sim->steps);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    show_state(sim);
    show_command(sim);
    exit(1);
}

/* A run that never ends, in the wall's time. */
static void on_alarm(int signo)
{
    (void)signo;
    if (shown != NULL)
        sim_fail(shown, "the run does not come to an end");
}

void sim_note(struct sim *sim, const char *format, ...)
{
    if (!sim->scenario->trace)
        return;
    va_list arguments;
    printf("%12.6f ", (double)sim->now_us / 1e6);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

/* ---- the scheduler ---- */
static void domain_dies(struct sim_domain *d)
{
    struct sim *sim = d->sim;
    (void)sim_watch_end(sim);
    sim->watch_point = 0;
    sim->running = NULL;
    d->hung_us = 0;
    sim->deaths++;
    sim_note(sim, "%c %s dies at point %lu", 'A' + d->stack->index, d->name, d->points);
    sim_hash_word(sim, d->points);
    sim_supervisor_died(d);
}

/* It stops where it is, with all that it has published and half of what it has not, until that is noticed. */
static void domain_hangs(struct sim_domain *d)
{
    struct sim *sim = d->sim;
    (void)sim_watch_end(sim);
    sim->watch_point = 0;
    sim->running = NULL;
    sim->hanging = false;
    sim->hangs++;
    d->hung_us =
        sim->now_us + (d->state == SIM_RUNNING ? HUNG_LEAST_US + sim_below(&sim->random, HUNG_MORE_US) : START_US);
    sim_note(sim, "%c %s hangs at point %lu", 'A' + d->stack->index, d->name, d->points);
}

static void domain_runs(struct sim_domain *d)
{
    struct sim *sim = d->sim;
    sim_hash_word(sim, sim->now_us * 16 + d->index + 8 * d->stack->index);
    if (d->hung_us != 0) {
        domain_dies(d);
        return;
    }
    if (setjmp(sim->death) != 0) {
        if (sim->hanging)
            domain_hangs(d);
        else
            domain_dies(d);
        return;
    }
    sim->running = d;
    sim_domain_step(d);
    sim->running = NULL;
    if (sim->watch_point != 0) { /* what the step wrote after its last point */
        uint64_t writes = sim_watch_end(sim);
        if (sim->counted != NULL)
            sim->counted(sim, sim->watch_point, writes);
        sim->watch_point = 0;
    }
}

struct choice {
    struct sim_domain *domain;
    struct sim_app *app;
};

#define CHOICES (SIM_STACKS * SERVER_COUNT + SIM_APPS)
static uint32_t choices(struct sim *sim, struct choice ret[CHOICES], uint64_t *ret_next_us)
{
    uint32_t count = 0;
    uint64_t next_us = sim_peer_deadline(sim);
    for (uint32_t k = 0; k < SIM_STACKS; k++) {
        for (uint32_t i = 0; i < sim->stack[k].domain_count; i++) {
            struct sim_domain *d = &sim->stack[k].domain[i];
            if (sim_domain_can_step(d))
                ret[count++] = (struct choice){.domain = d};
            else if (sim_domain_deadline(d) < next_us)
                next_us = sim_domain_deadline(d);
        }
    }
    for (uint32_t k = 0; k < SIM_APPS; k++) {
        if (sim->app[k] == NULL)
            continue;
        if (sim_app_can_step(sim->app[k]))
            ret[count++] = (struct choice){.app = sim->app[k]};
        else if (sim_app_deadline(sim->app[k]) < next_us)
            next_us = sim_app_deadline(sim->app[k]);
    }
    *ret_next_us = next_us;
    return count;
}

static void step(struct sim *sim)
{
    struct choice choice[CHOICES];
    uint64_t next_us;
    uint32_t count = choices(sim, choice, &next_us);
    if (sim->now_us - sim->progress_us > SIM_HANG_US)
        sim_fail(sim, "nothing has got on for %llu simulated minutes", SIM_HANG_US / 60000000);
    if (++sim->steps > SIM_STEPS_MAX)
        sim_fail(sim, "more than %llu steps", SIM_STEPS_MAX);
    if (sim_peer_deadline(sim) <= sim->now_us)
        sim_peer_step(sim);
    else if (count == 0) {
        if (next_us == SIM_NEVER || next_us <= sim->now_us)
            sim_fail(sim, "nobody can do anything, ever");
        sim->now_us = next_us;
        return;
    }
    if (count == 0)
        return;
    struct choice c = choice[sim_below(&sim->random, count)];
    if (c.domain != NULL)
        domain_runs(c.domain);
    else
        sim_app_step(c.app);
    sim->now_us += 1 + sim_below(&sim->random, STEP_US);
}

/* ---- what must hold in the end ---- */
static bool all_home(const struct sim *sim)
{
    for (uint32_t k = 0; k < SIM_STACKS; k++) {
        for (uint32_t i = 0; i < sim->stack[k].domain_count; i++) {
            const struct sim_domain *d = &sim->stack[k].domain[i];
            if (d->state != SIM_RUNNING || d->hung_us != 0 || d->told_count > 0)
                return false;
            for (uint32_t id = 0; id < SERVER_COUNT; id++)
                if (d->life->server[id].context.pool != NULL && !pool_all_home(&d->life->server[id].pool))
                    return false;
        }
    }
    return true;
}

static bool all_drained(const struct sim *sim)
{
    return all_home(sim) && sim_tcp_drained(&sim->stack[0]) && sim_tcp_drained(&sim->stack[1]);
}

/* Counters that only a lie or a mistake of a neighbour moves. */
static bool counts_mistakes(const struct sim *sim, enum server_id server, const char *name)
{
    static const char *const mistakes[] = {
        "drop_return",        "drop_return_unknown", "drop_cookie",       "drop_reference",    "drop_capability",
        "drop_range",         "drop_link",           "drop_source",       "drop_type",         "drop_operation",
        "drop_right",         "drop_protocol",       "drop_send_field",   "drop_send_offload", "drop_header",
        "drop_offload",       "drop_send_head",      "drop_receive_tail", "drop_send_ring",    "drop_notify_slot",
        "drop_block_corrupt", "corrupt_blocks",      "refused_ip",        "refused_nic",       "refused_tcp",
        "refused_udp",        "refused_socket",      "drop_slot_disputed",
    };
    static const char *const of_forced[] = {"drop_reference", "drop_range"}; /* drop_range: of one's own segments */
    for (uint32_t i = 0; sim->forced > 0 && i < sizeof of_forced / sizeof *of_forced; i++)
        if (strcmp(name, of_forced[i]) == 0)
            return false;
    if (sim->forced > 0 && strncmp(name, "refused", 7) == 0)
        return false;
    for (uint32_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        if (strcmp(name, mistakes[i]) == 0)
            return true;
    return server == SERVER_IP && strcmp(name, "refused") == 0; /* elsewhere it is requests */
}

static void check_counters(const struct sim *sim)
{
    for (uint32_t k = 0; k < SIM_STACKS; k++) {
        for (uint32_t id = 0; id < SERVER_COUNT; id++) {
            const struct sim_domain *d = sim->stack[k].memory[id].domain;
            for (uint32_t i = 0; i < STATUS_COUNTERS; i++)
                if (d->counter[id][i].value != 0 && counts_mistakes(sim, (enum server_id)id, d->counter[id][i].name))
                    sim_fail(sim, "%c %s counted %s %lu times", 'A' + k, topology_server_name((enum server_id)id),
                             d->counter[id][i].name, d->counter[id][i].value);
        }
    }
}

/* ---- a run ---- */
static void addresses_make(struct stack_config *c, uint8_t number, bool conflict)
{
    static const uint8_t link_local[16] = {0xfe, 0x80, [11] = 0xff, [12] = 0xfe};
    c->address[TO_IP4] = (struct ip_address){.family = ADDRESS_IP4, .octets = {10, 77, 0, number}};
    c->address[TO_IP6] = (struct ip_address){.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = number}};
    c->address[TO_LINK_LOCAL].family = ADDRESS_IP6;
    memcpy(c->address[TO_LINK_LOCAL].octets, link_local, sizeof link_local);
    c->address[TO_LINK_LOCAL].octets[15] = number;
    c->prefix_length[TO_IP4] = 24;
    c->prefix_length[TO_IP6] = c->prefix_length[TO_LINK_LOCAL] = 64;
    c->address_count = TO_COUNT;
    for (uint32_t i = TO_IP4; conflict && i <= TO_IP6; i++, c->address_count++) {
        c->address[c->address_count] = c->address[i];
        c->address[c->address_count].octets[i == TO_IP4 ? 3 : 15] = 99;
        c->prefix_length[c->address_count] = c->prefix_length[i];
    }
}

static void stack_make(struct sim *sim, uint32_t index)
{
    struct sim_stack *k = &sim->stack[index];
    const char *text = sim->scenario->partition[index];
    char error[128];
    k->sim = sim;
    k->index = index;
    if (partition_parse(text, &k->partition, error, sizeof error) != 0)
        sim_fail(sim, "%s", error);
    k->config = (struct stack_config){.dad = sim->scenario->dad,
                                      .ecn = sim->scenario->engine[index].ecn,
                                      .congestion = sim->scenario->engine[index].congestion,
                                      .mac = {{2, 0, 0, 0, 0, (uint8_t)(1 + index)}},
                                      .mtu = SIM_MTU};
    addresses_make(&k->config, (uint8_t)(1 + index), sim->scenario->conflict);
    for (uint32_t i = 0; i < sizeof k->config.secret; i++)
        k->config.secret[i] = (uint8_t)(sim->scenario->seed >> i % 8) ^ (uint8_t)(16 * index + i);
    sim_stack_start(k);
}

/* An address of the other stack, or of a client's own. */
struct ip_address sim_target(struct sim *sim, uint32_t from, uint32_t number)
{
    static const struct ip_address loopback[] = {{.family = ADDRESS_IP4, .octets = {127, 0, 0, 1}},
                                                 {.family = ADDRESS_IP6, .octets = {[15] = 1}}};
    if (!sim->scenario->both && number % 2 == 0) /* a short run has one of each family, and one within the stack */
        return sim->stack[1 - from].config.address[(sim->scenario->seed + number / 2) % 2 == 0 ? TO_IP4 : TO_IP6];
    if (!sim->scenario->both)
        return loopback[(sim->scenario->seed + number / 2) % 2];
    if (!sim->scenario->local || sim_chance(&sim->random, 600))
        return sim->stack[1 - from].config.address[sim_below(&sim->random, TO_COUNT)];
    uint32_t which = sim_below(&sim->random, TO_COUNT + 2);
    return which < TO_COUNT ? sim->stack[from].config.address[which] : loopback[which - TO_COUNT];
}

static void clients_begin(struct sim *sim)
{
    const struct sim_scenario *s = sim->scenario;
    for (uint32_t k = 0; k < (s->both ? 2 : 1); k++) {
        for (uint32_t i = 0; i < s->streams; i++) { /* drawn in an order that every compiler keeps */
            struct ip_address to = sim_target(sim, k, i);
            uint32_t up = sim_below(&sim->random, s->octets);
            uint32_t down = sim_below(&sim->random, s->octets);
            uint32_t how = s->both ? sim_below(&sim->random, 4) : i % 2 * STREAM_SERVER_FIRST;
            sim_app_stream(sim->app[k], &to, SIM_PORT, up, down, how);
        }
        for (uint32_t i = 0; i < s->peers; i++) {
            struct ip_address to = sim_peer_address();
            bool odd = sim_below(&sim->random, 3) == 0;
            uint32_t up = sim_below(&sim->random, s->peer_octets);
            uint32_t down = sim_below(&sim->random, s->peer_octets);
            uint32_t how = sim_below(&sim->random, 4) | (odd ? STREAM_ODD : 0);
            sim_app_stream(sim->app[k], &to, odd ? SIM_PORT + 1 : SIM_PORT, up, down, how);
        }
        for (uint32_t i = 0; i < s->datagram_clients; i++) {
            struct ip_address to = sim_target(sim, k, 2 + i);
            sim_app_datagrams(sim->app[k], &to, SIM_PORT, s->datagrams, s->datagram_most);
        }
        for (uint32_t i = 0; i < s->refused; i++) {
            struct ip_address to = sim_target(sim, k, i);
            sim_app_refused(sim->app[k], &to, CLOSED);
        }
    }
}

/* Before addresses are probed, and while an address that both have is fought for, nothing is asked for. */
static void probe(struct sim *sim)
{
    if (sim->scenario->dad == STACK_DAD_OFF)
        return;
    for (uint64_t until = sim->now_us + PROBES_US; sim->now_us < until;)
        step(sim);
    sim->progress_us = sim->now_us;
}

static void check_conflicts(const struct sim *sim)
{
    if (!sim->scenario->conflict && sim->conflicts > 0)
        sim_fail(sim, "%u address conflicts were told of and there is none", sim->conflicts);
    if (sim->scenario->conflict && sim->scenario->dad != STACK_DAD_OFF && sim->conflicts < 2 && sim->deaths == 0 &&
        !sim_loses(sim))
        sim_fail(sim, "two addresses are on both stacks and %u conflicts were told of", sim->conflicts);
}

static uint64_t frames_of(const struct sim *sim)
{
    uint64_t frames = 0;
    for (uint32_t k = 0; k < SIM_STACKS; k++)
        frames += sim->account[k].taken + sim->account[k].given;
    return frames;
}

/* Until what was counted is published, and nothing was underway meanwhile. */
static void settle_accounts(struct sim *sim, uint64_t settle_us)
{
    uint64_t until = sim->now_us + COUNTED_US, most = sim->now_us + settle_us, frames = frames_of(sim);
    while (sim->now_us < until) {
        step(sim);
        if (frames == frames_of(sim) && all_drained(sim))
            continue;
        if (sim->now_us > most)
            sim_fail(sim, "all was over, and frames come and go, or a connection, a reply or a loan is there again");
        until = sim->now_us + COUNTED_US;
        frames = frames_of(sim);
    }
}

static void check_end(struct sim *sim)
{
    sim->peer_over = true;
    uint64_t settle_us = sim->scenario->wide ? SETTLE_WIDE_US : SETTLE_US;
    for (uint64_t until = sim->now_us + settle_us; !all_home(sim) && sim->now_us < until;)
        step(sim);
    if (!all_home(sim))
        sim_fail(sim, "loans are not home");
    sim->progress_us = sim->now_us;
    for (uint64_t until = sim->now_us + settle_us; !all_drained(sim) && sim->now_us < until;) {
        sim->progress_us = sim->now_us;
        step(sim);
    }
    if (!all_drained(sim))
        sim_fail(sim, "a connection, a reply or a timer of tcp is left");
    if (sim->cold == 0) /* a server that has forgotten all is at odds with who has not */
        check_counters(sim);
    check_conflicts(sim);
    sim_peer_end(sim);
    settle_accounts(sim, settle_us);
    sim_account_check(sim);
}

/* What a life has counted goes to the run's sums. */
void sim_counters_add(struct sim *sim, struct sim_domain *d)
{
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        for (uint32_t i = 0; sim_hosts(d, (enum server_id)id) && i < STATUS_COUNTERS; i++) {
            struct status_counter *from = &d->counter[id][i], *to = &sim->counter[id][i];
            if (from->name[0] == '\0')
                break;
            memcpy(to->name, from->name, sizeof to->name);
            to->value += from->value;
            from->value = 0;
        }
    }
}

static void result_fill(struct sim *sim, struct sim_result *ret)
{
    for (uint32_t k = 0; k < SIM_STACKS; k++)
        for (uint32_t i = 0; i < sim->stack[k].domain_count; i++)
            sim_counters_add(sim, &sim->stack[k].domain[i]);
    *ret = (struct sim_result){.hash = sim->hash,
                               .now_us = sim->now_us,
                               .steps = sim->steps,
                               .deaths = sim->deaths,
                               .connections_lost = sim_connections_lost,
                               .cold = sim->cold,
                               .untold = sim->untold,
                               .hangs = sim->hangs,
                               .octets = sim->octets,
                               .acks_judged = sim->acks_judged,
                               .too_big = sim->too_big,
                               .marked = sim->marked,
                               .lost_in_bursts = sim->lost_in_bursts,
                               .lost_in_blackouts = sim->lost_in_blackouts};
    memcpy(ret->counter, sim->counter, sizeof ret->counter);
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        ret->server_deaths[id] = sim->stack[0].deaths[id] + sim->stack[1].deaths[id];
    for (uint32_t k = 0; k < SIM_STACKS; k++)
        for (uint32_t id = 0; id < SERVER_COUNT; id++)
            ret->points[k][id] = sim->stack[k].memory[id].domain->points;
}

static bool all_apps(const struct sim *sim, bool (*are)(const struct sim_app *a))
{
    for (uint32_t i = 0; i < SIM_APPS; i++)
        if (sim->app[i] != NULL && !are(sim->app[i]))
            return false;
    return true;
}

/* A peer that keeps its window closed holds what was sent to it: the session ends by force then. */
static void end_sessions(struct sim *sim)
{
    for (uint64_t until = SIM_NEVER; !all_apps(sim, sim_app_gone);) {
        step(sim);
        if (until == SIM_NEVER && all_apps(sim, sim_app_left))
            until = sim->now_us + ENDING_US;
        for (uint32_t i = 0; i < SIM_APPS && sim->peer != NULL && sim->now_us >= until; i++)
            if (sim->app[i] != NULL && !sim_app_gone(sim->app[i]))
                sim_app_force(sim->app[i]);
    }
}

static void play(struct sim *sim)
{
    for (uint32_t k = 0; k < SIM_STACKS; k++) {
        sim->app[k] = sim_app_new(&sim->stack[k], sim_random(&sim->random));
        sim_app_serve(sim->app[k], SIM_PORT);
    }
    while (!sim_app_serving(sim->app[0]) || !sim_app_serving(sim->app[1]))
        step(sim);
    probe(sim);
    clients_begin(sim);
    sim_mortals_begin(sim);
    sim_peer_begin(sim);
    while (!sim_mortals_done(sim) || !all_apps(sim, sim_app_clients_done) || !sim_peer_done(sim)) {
        step(sim);
        sim_mortals_step(sim);
    }
    for (uint32_t i = 0; i < SIM_APPS; i++)
        if (sim->app[i] != NULL)
            sim_app_leave(sim->app[i]);
    end_sessions(sim);
    check_end(sim);
}

void sim_run(const struct sim_scenario *scenario, void (*counted)(struct sim *, uint64_t, uint64_t),
             struct sim_result *ret)
{
    struct sim *sim = calloc(1, sizeof *sim);
    shown = sim;
    signal(SIGABRT, on_abort);
    signal(SIGALRM, on_alarm);
    sim->scenario = scenario;
    sim->random = scenario->seed;
    sim->hash = scenario->seed;
    sim->now_us = sim->progress_us = 1000000;
    sim->counted = counted;
    sim->kills = scenario->kills;
    memcpy(sim->kill, scenario->kill, sizeof sim->kill);
    sim_connections_lost = 0;
    sim_tcp_watch_begin(sim);
    sim->link = sim_link_new(sim, scenario);
    for (uint32_t k = 0; k < SIM_STACKS; k++)
        stack_make(sim, k);
    play(sim);
    result_fill(sim, ret);
    for (uint32_t k = 0; k < SIM_STACKS; k++) {
        sim_app_free(sim->app[k]);
        sim_app_free(sim->app[SIM_STACKS + k]);
        sim_stack_free(&sim->stack[k]);
    }
    sim_link_free(sim->link);
    free(sim->peer);
    for (uint32_t i = 0; i < SIM_SEGMENTS; i++)
        sim_segment_free(sim, sim->segment[i].base);
    free(sim);
    shown = NULL;
}
