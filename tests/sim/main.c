// SPDX-License-Identifier: BSD-2-Clause
/* sim: one run, a sweep over every place where a server may die, or random runs until a time is up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/sim.h"

#define USAGE                                                                                                          \
    "usage: sim [--seed N] [--partition P[,P]] [--kill|--hang [A:|B:]SERVER@POINT[.WRITE]]... [--dad on|optimistic]\n" \
    "           [--random] [--datagrams] [--trace]\n"                                                                  \
    "       sim --sweep [SERVER] [--writes] [--twice] [--pairs] [--hangs] [--every N] [--seconds S] [--dad ...]\n"     \
    "           every place where it can die, one after another\n"                                                     \
    "       sim --seeds N [--seed FIRST] [--crashes] [--jobs N] [--shard I/N] [--seconds S] [--trace]\n"                 \
    "           wide random runs of N seeds in order, each followed from its seed alone; ends at the first that fails\n"  \
    "       sim --soak --seconds S [--seed N] [--trace]   random runs with random deaths\n"

#define TWICE_WITHIN 60U /* points */

static struct sim_scenario scenario = {.dad = STACK_DAD_OFF};
static struct {
    struct sim_seeds seeds;
    bool sweep, writes, twice, pairs, hang, soak, random;
    const char *server;
    uint32_t seconds, every;
} option = {.every = 1, .seconds = 1000000, .seeds = {.jobs = 1, .shards = 1}};

static _Noreturn void usage(const char *what)
{
    fprintf(stderr, "sim: %s\n" USAGE, what);
    exit(2);
}

/* ---- scenarios ---- */
static void short_scenario(struct sim_scenario *s)
{
    s->quality = (struct impair_config){.delay_us = 20, .jitter_us = 10};
    s->streams = 2;
    s->octets = 6000;
    s->datagram_clients = 2;
    s->datagrams = 2;
    s->datagram_most = 3000;
    s->refused = 1;
    s->mortal_us = 20000;
    s->local = true;
    s->can = NETDRV_CAN_ALL;
}

static void random_partition(uint64_t *random, char *ret)
{
    uint32_t group[SERVER_COUNT], used = 0;
    for (uint32_t i = 0; i < SERVER_COUNT; i++)
        group[i] = sim_below(random, SERVER_COUNT);
    ret[0] = '\0';
    for (uint32_t g = 0; g < SERVER_COUNT; g++) {
        bool first = true;
        for (uint32_t i = 0; i < SERVER_COUNT; i++) {
            if (group[i] != g)
                continue;
            strcat(ret, first ? (used > 0 ? "|" : "") : "+");
            strcat(ret, topology_server_name((enum server_id)i));
            first = false;
            used++;
        }
    }
}

/* Everything follows from the seed; a partition and deaths only where none were given. */
static void random_scenario(struct sim_scenario *s)
{
    uint64_t random = s->seed ^ 0x72616e646f6dU;
    bool bad = sim_below(&random, 3) > 0;
    s->quality.delay_us = 10 + sim_below(&random, 2000);
    s->quality.jitter_us = sim_below(&random, 500);
    if (bad) {
        s->quality.loss = 1000 * sim_below(&random, 50);
        s->quality.duplicate = 1000 * sim_below(&random, 30);
        s->quality.reorder = 1000 * sim_below(&random, 100);
        s->quality.corrupt = 1000 * sim_below(&random, 20);
    }
    s->both = true;
    s->streams = sim_below(&random, 4);
    s->octets = 1 + sim_below(&random, 40000);
    s->datagram_clients = 1 + sim_below(&random, 3);
    s->datagrams = 1 + sim_below(&random, 20);
    s->datagram_most = 16 + sim_below(&random, 1400);
    s->refused = sim_below(&random, 3);
    s->mortal_us = sim_below(&random, 2) > 0 ? 1U << (8 + sim_below(&random, 14)) : 0;
    s->local = sim_below(&random, 2) > 0;
    s->can = sim_below(&random, NETDRV_CAN_ALL + 1);
    if (sim_below(&random, 5) == 0 && s->dad == STACK_DAD_OFF) {
        s->dad = sim_below(&random, 2) > 0 ? STACK_DAD_ON : STACK_DAD_OPTIMISTIC;
        s->conflict = true;
    }
    if (sim_below(&random, 3) == 0) { /* each is lost with any of its fragments */
        s->datagram_most = 16 + sim_below(&random, DATAGRAM_MOST - 15);
        s->datagrams = 1 + sim_below(&random, 6);
        s->quality.loss = s->quality.loss / 10;
        s->quality.corrupt = s->quality.corrupt / 10;
    }
    for (uint32_t k = 0; k < SIM_STACKS; k++) {
        char partition[PARTITION_TEXT];
        random_partition(&random, partition);
        if (s->partition[k][0] == '\0')
            memcpy(s->partition[k], partition, sizeof partition);
    }
    s->stillborn = sim_below(&random, 8) == 0 ? 600 : 0;
    uint32_t kills = sim_below(&random, 8);
    for (uint32_t i = 0; i < kills; i++) {
        struct sim_kill k = {.write = SIM_ANY};
        k.stack = sim_below(&random, 2);
        k.server = (enum server_id)sim_below(&random, SERVER_COUNT);
        uint32_t late = 6 + sim_below(&random, 8);
        k.point = 1 + sim_below(&random, 1U << late);
        if (sim_below(&random, 3) == 0)
            k.write = 1 + sim_below(&random, 60);
        k.hang = sim_below(&random, 8) == 0;
        if (s->kills < SIM_KILLS && !option.random)
            s->kill[s->kills++] = k;
    }
}

static void fill(struct sim_scenario *s)
{
    bool datagrams = s->octets == 0 && s->datagrams != 0; /* --datagrams was given */
    if (option.random || option.soak)
        random_scenario(s);
    else
        short_scenario(s);
    for (uint32_t k = 0; k < SIM_STACKS; k++)
        if (s->partition[k][0] == '\0')
            strcpy(s->partition[k], "factored");
    if (datagrams)
        s->streams = s->octets = 0;
}

/* ---- one run ---- */
static int one(void)
{
    struct sim_result first, again;
    fill(&scenario);
    sim_run(&scenario, NULL, &first);
    scenario.trace = false;
    sim_run(&scenario, NULL, &again);
    printf("seed %lu: trace %016lx, %lu steps, %.3f s simulated, %u deaths, %u connection ends lost; "
           "points",
           scenario.seed, first.hash, first.steps, (double)first.now_us / 1e6, first.deaths, first.connections_lost);
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        printf(" %s %lu", topology_server_name((enum server_id)id), first.points[0][id]);
    printf("\n");
    if (first.hash == again.hash)
        return 0;
    fprintf(stderr, "sim: the same seed gave another trace the second time: %016lx\n", again.hash);
    return 1;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- sweep ---- */
static uint64_t *writes_at;
static uint64_t writes_room;

static void count_writes(struct sim *sim, uint64_t point, uint64_t writes)
{
    (void)sim;
    if (point >= writes_room) {
        uint64_t room = 2 * point + 1024;
        writes_at = realloc(writes_at, room * sizeof *writes_at);
        memset(writes_at + writes_room, 0, (room - writes_room) * sizeof *writes_at);
        writes_room = room;
    }
    writes_at[point] += writes;
}

/* One run with this death; with --twice another one soon after it, while what the first left is still being mended;
 * with
 * --pairs of another server. */
static void sweep_run(struct sim_scenario *s, enum server_id id, uint64_t point, uint64_t write, uint64_t number)
{
    struct sim_result result;
    uint64_t random = number;
    s->kills = option.twice || option.pairs ? 2 : 1;
    s->kill[0] = (struct sim_kill){.server = id, .point = point, .write = write, .hang = option.hang};
    s->kill[1] = (struct sim_kill){.server = id, .after = 1 + sim_below(&random, TWICE_WITHIN), .write = SIM_ANY};
    if (option.pairs)
        s->kill[1].server = (enum server_id)((id + 1 + number % (SERVER_COUNT - 1)) % SERVER_COUNT);
    sim_run(s, NULL, &result);
    if (result.deaths + result.hangs == 0) { /* one that hangs when all is done is found after the end */
        fprintf(stderr, "sim: %s did not die at %lu\n", topology_server_name(id), point);
        exit(1);
    }
}

static uint64_t sweep_writes(struct sim_scenario *s, const struct sim_result *base, enum server_id id, double until,
                             uint64_t *number)
{
    struct sim_result result;
    uint64_t runs = 0;
    s->kills = 1;
    s->count_writes = true;
    s->kill[0] = (struct sim_kill){.server = id, .point = SIM_NEVER, .write = SIM_ANY};
    free(writes_at);
    writes_at = NULL;
    writes_room = 0;
    sim_run(s, count_writes, &result);
    s->count_writes = false;
    if (result.hash != base->hash) {
        fprintf(stderr, "sim: watching writes changed the run\n");
        exit(1);
    }
    for (uint64_t point = 1; point < writes_room; point++) {
        for (uint64_t w = 1; w <= writes_at[point] && now_s() < until; w++) {
            if ((*number)++ % option.every != 0)
                continue;
            sweep_run(s, id, point, w, *number);
            runs++;
        }
    }
    return runs;
}

static uint64_t sweep_points(struct sim_scenario *s, const struct sim_result *base, enum server_id id, double until,
                             uint64_t *number)
{
    uint64_t runs = 0;
    for (uint64_t point = 1; point <= base->points[0][id] && now_s() < until; point++) {
        if ((*number)++ % option.every != 0)
            continue;
        sweep_run(s, id, point, SIM_ANY, *number);
        runs++;
    }
    return runs;
}

static int sweep(void)
{
    struct sim_result base;
    double until = now_s() + option.seconds;
    fill(&scenario);
    sim_run(&scenario, NULL, &base);
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        if (option.server != NULL && strcmp(option.server, topology_server_name((enum server_id)id)) != 0)
            continue;
        uint64_t number = scenario.seed;
        double server_until = option.server != NULL ? until : now_s() + (until - now_s()) / (SERVER_COUNT - id);
        uint64_t runs = option.writes ? sweep_writes(&scenario, &base, (enum server_id)id, server_until, &number)
                                      : sweep_points(&scenario, &base, (enum server_id)id, server_until, &number);
        printf("%s: died at %lu of %lu %s, and all was well%s\n", topology_server_name((enum server_id)id), runs,
               option.writes ? number - scenario.seed : base.points[0][id], option.writes ? "writes" : "points",
               now_s() >= server_until ? " (time was up)" : "");
        fflush(stdout);
    }
    return 0;
}

static int soak(void)
{
    double until = now_s() + option.seconds;
    uint64_t runs = 0, deaths = 0, lost = 0, cold = 0, untold = 0;
    for (; now_s() < until && !(scenario.trace && runs == 1); runs++) {
        struct sim_scenario s = {.seed = scenario.seed + runs, .dad = STACK_DAD_OFF, .trace = scenario.trace};
        struct sim_result result;
        fill(&s);
        sim_run(&s, NULL, &result);
        deaths += result.deaths;
        lost += result.connections_lost;
        cold += result.cold;
        untold += result.untold;
    }
    printf("seeds %lu to %lu: %lu runs, %lu deaths, %lu connection ends lost with tcp, %lu stores forgotten, %lu "
           "sockets gave up after that\n",
           scenario.seed, scenario.seed + runs - 1, runs, deaths, lost, cold, untold);
    return 0;
}

/* ---- command line ---- */
static uint64_t number_of(const char *text, char **ret_end)
{
    uint64_t n = strtoull(text, ret_end, 10);
    if (*ret_end == text)
        usage("a number is missing");
    return n;
}

static void parse_kill(const char *text, bool hang)
{
    struct sim_kill *k = &scenario.kill[scenario.kills++];
    if (scenario.kills > SIM_KILLS)
        usage("too many --kill");
    *k = (struct sim_kill){.write = SIM_ANY, .hang = hang};
    if (text[0] != '\0' && text[1] == ':') {
        k->stack = text[0] == 'B';
        text += 2;
    }
    const char *at = strchr(text, '@');
    if (at == NULL || !topology_server_find(text, (size_t)(at - text), &k->server))
        usage("--kill wants SERVER@POINT or SERVER@POINT.WRITE, with A: or B: before it for one of the stacks");
    char *end;
    k->point = number_of(at + 1, &end);
    if (*end == '.')
        k->write = number_of(end + 1, &end);
}

static void parse_shard(const char *text)
{
    char *end;
    option.seeds.shard = (uint32_t)number_of(text, &end);
    if (*end != '/')
        usage("--shard wants I/N, I from 0 on");
    option.seeds.shards = (uint32_t)number_of(end + 1, &end);
    if (option.seeds.shard >= option.seeds.shards)
        usage("--shard wants I/N, I below N");
}

static void parse_dad(const char *text)
{
    if (strcmp(text, "on") != 0 && strcmp(text, "optimistic") != 0)
        usage("--dad wants on or optimistic");
    scenario.dad = strcmp(text, "on") == 0 ? STACK_DAD_ON : STACK_DAD_OPTIMISTIC;
    scenario.conflict = true;
}

static void parse_partition(const char *text)
{
    const char *comma = strchr(text, ',');
    size_t length = comma != NULL ? (size_t)(comma - text) : strlen(text);
    const char *second = comma != NULL ? comma + 1 : text;
    if (length >= PARTITION_TEXT || strlen(second) >= PARTITION_TEXT)
        usage("a partition is too long");
    memcpy(scenario.partition[0], text, length);
    strcpy(scenario.partition[1], second);
}

static void parse(int count, char **argument)
{
    char *end;
    for (int i = 1; i < count; i++) {
        const char *name = argument[i], *value = i + 1 < count ? argument[i + 1] : NULL;
        bool takes = true;
        if (strcmp(name, "--seed") == 0 && value != NULL)
            scenario.seed = number_of(value, &end);
        else if (strcmp(name, "--partition") == 0 && value != NULL)
            parse_partition(value);
        else if (strcmp(name, "--kill") == 0 && value != NULL)
            parse_kill(value, false);
        else if (strcmp(name, "--hang") == 0 && value != NULL)
            parse_kill(value, true);
        else if (strcmp(name, "--dad") == 0 && value != NULL)
            parse_dad(value);
        else if (strcmp(name, "--seconds") == 0 && value != NULL)
            option.seconds = (uint32_t)number_of(value, &end);
        else if (strcmp(name, "--seeds") == 0 && value != NULL)
            option.seeds.count = number_of(value, &end);
        else if (strcmp(name, "--jobs") == 0 && value != NULL)
            option.seeds.jobs = (uint32_t)number_of(value, &end);
        else if (strcmp(name, "--shard") == 0 && value != NULL)
            parse_shard(value);
        else if (strcmp(name, "--every") == 0 && value != NULL)
            option.every = (uint32_t)number_of(value, &end);
        else
            takes = false;
        if (takes) {
            i++;
            continue;
        }
        if (strcmp(name, "--trace") == 0)
            scenario.trace = true;
        else if (strcmp(name, "--crashes") == 0)
            option.seeds.crashes = true;
        else if (strcmp(name, "--datagrams") == 0)
            scenario.datagrams = 1;
        else if (strcmp(name, "--random") == 0)
            option.random = true;
        else if (strcmp(name, "--soak") == 0)
            option.soak = true;
        else if (strcmp(name, "--twice") == 0)
            option.twice = true;
        else if (strcmp(name, "--pairs") == 0)
            option.pairs = true;
        else if (strcmp(name, "--hangs") == 0)
            option.hang = true;
        else if (strcmp(name, "--writes") == 0)
            option.writes = true;
        else if (strcmp(name, "--sweep") == 0) {
            option.sweep = true;
            if (value != NULL && value[0] != '-')
                option.server = argument[++i];
        } else
            usage("what is that?");
    }
    if (option.every == 0)
        usage("--every wants a number from 1 on");
}

int main(int count, char **argument)
{
    parse(count, argument);
    sim_watch_install();
    if (option.seeds.count != 0) {
        option.seeds.first = scenario.seed;
        option.seeds.seconds = option.seconds;
        option.seeds.trace = scenario.trace;
        return sim_seeds(&option.seeds);
    }
    return option.sweep ? sweep() : option.soak ? soak() : one();
}
