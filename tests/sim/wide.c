// SPDX-License-Identifier: BSD-2-Clause
/* The scenario of a seed, wide: networks from a good wire to ones that lose in bursts, go dark, mark, are slow, and
 * take less than they did; applications that read and write slowly or stall for minutes; rings from 4 KiB on; few large
 * transfers, or a storm of small ones; and deaths: of one server, of two at nearly the same time, within a recovery,
 * after single writes, and hangs. */
#include <string.h>

#include "protocols/tcp/tcp.h"
#include "tests/sim/sim.h"

#define SECOND_US 1000000ULL

static bool one_in(uint64_t *random, uint32_t count)
{
    return sim_below(random, count) == 0;
}

/* Evenly spread over the powers of two from `least` to `most`. */
static uint32_t spread(uint64_t *random, uint32_t least, uint32_t most)
{
    uint32_t octaves = 0;
    while (octaves < 31 && least << octaves < most)
        octaves++;
    uint32_t low = least << sim_below(random, octaves);
    uint32_t value = low + sim_below(random, low);
    return value < most ? value : most;
}

static void path_draw(uint64_t *random, struct sim_path *p)
{
    p->quality.delay_us = spread(random, 10, 100000);
    p->quality.jitter_us = sim_below(random, p->quality.delay_us);
    if (!one_in(random, 3)) {
        p->quality.loss = one_in(random, 2) ? 1000 * sim_below(random, 10) : 1000 * sim_below(random, 100);
        p->quality.duplicate = 1000 * sim_below(random, 30);
        p->quality.reorder = 1000 * sim_below(random, 100);
        p->quality.corrupt = 1000 * sim_below(random, 20);
    }
    if (one_in(random, 3)) {
        p->quality.rate = 1000ULL * spread(random, 256, 1000000);
        p->quality.queue = 4 + sim_below(random, 200);
    }
    if (one_in(random, 4)) { /* bursts of 2 to 20 frames */
        p->burst_begin = 1000 + sim_below(random, 9000);
        p->burst_end = 50000 + sim_below(random, 450000);
    }
    if (one_in(random, 8)) {
        p->blackout_us = SECOND_US + sim_below(random, 4000000);
        p->blackout_every_us = p->blackout_us * (4 + sim_below(random, 8));
    }
    if (one_in(random, 4))
        p->mark = spread(random, 1000, 300000);
    if (one_in(random, 4)) {
        p->mtu = 1280 + sim_below(random, SIM_MTU - 1280);
        p->mtu_at_us = spread(random, 1000, 4000000);
    }
}

static void manners_draw(uint64_t *random, struct sim_manners *m)
{
    if (one_in(random, 3))
        m->slow_readers = 500;
    if (one_in(random, 3))
        m->slow_writers = 500;
    if (one_in(random, 6))
        m->stall_us = spread(random, 100000, 150 * (uint32_t)SECOND_US);
    m->cork = one_in(random, 4) ? 300 : 0;
    m->send_size = 4096U << sim_below(random, 7);
    m->receive_size = 4096U << sim_below(random, 7);
}

/* As it is shipped mostly; each of its choices is taken back now and then, on one side or on both. */
static void engine_draw(uint64_t *random, struct sim_engine *e)
{
    static const enum stack_ecn ecn[] = {STACK_ECN_PASSIVE, STACK_ECN_ON, STACK_ECN_ON, STACK_ECN_OFF};
    e->no_sack = one_in(random, 5);
    e->no_pacing = one_in(random, 5);
    e->no_timestamps = one_in(random, 5);
    e->no_mtu_probing = one_in(random, 5);
    e->congestion = (uint8_t)(one_in(random, 4) ? TCP_CONGESTION_RENO : 0);
    e->ecn = ecn[sim_below(random, sizeof ecn / sizeof *ecn)];
}

static void traffic_draw(uint64_t *random, struct sim_scenario *s)
{
    s->both = true;
    s->octets = spread(random, 1, 40000);
    switch (sim_below(random, 4)) {
    case 0: /* few and large */
        s->streams = 1 + sim_below(random, 2);
        s->octets = spread(random, 40000, 700000);
        break;
    case 1: /* a storm of small ones */
        s->streams = 6 + sim_below(random, 7);
        s->octets = spread(random, 1, 2000);
        break;
    default:
        s->streams = 1 + sim_below(random, 4);
    }
    s->datagram_clients = sim_below(random, 3);
    s->datagrams = 1 + sim_below(random, 10);
    s->datagram_most = 16 + sim_below(random, 1400);
    s->refused = sim_below(random, 3);
    s->mortal_us = one_in(random, 3) ? 1U << (8 + sim_below(random, 14)) : 0;
    s->local = one_in(random, 3);
    s->peers = one_in(random, 3) ? 1 + sim_below(random, 4) : 0;
    s->peer_octets = spread(random, 1, 60000);
}

/* A death, and perhaps one more soon after it, while what the first left is still being mended. */
static void deaths_draw(uint64_t *random, struct sim_scenario *s)
{
    uint32_t most = 1 + sim_below(random, 6);
    while (s->kills < most && s->kills + 1 < SIM_KILLS) {
        struct sim_kill *k = &s->kill[s->kills++];
        *k = (struct sim_kill){.write = SIM_ANY};
        k->stack = sim_below(random, SIM_STACKS);
        k->server = (enum server_id)sim_below(random, SERVER_COUNT);
        k->point = 1 + sim_below(random, 64U << sim_below(random, 12));
        k->hang = one_in(random, 10);
        if (one_in(random, 3))
            k->write = 1 + sim_below(random, 60);
        if (!one_in(random, 3))
            continue;
        struct sim_kill *second = &s->kill[s->kills++];
        *second = (struct sim_kill){.write = SIM_ANY};
        second->stack = one_in(random, 4) ? 1 - k->stack : k->stack;
        second->server = one_in(random, 3) ? k->server : (enum server_id)sim_below(random, SERVER_COUNT);
        second->after = 1 + sim_below(random, 200);
        if (one_in(random, 3))
            second->write = 1 + sim_below(random, 20);
    }
    s->stillborn = one_in(random, 10) ? 600 : 0;
}

static void random_partition(uint64_t *random, char *ret)
{
    static const char *const usual[] = {"factored", "factored", "monolithic", "nic+ip|tcp|udp|socket",
                                        "nic|ip|tcp+udp+socket"};
    strcpy(ret, usual[sim_below(random, sizeof usual / sizeof *usual)]);
}

void sim_wide_scenario(struct sim_scenario *s)
{
    uint64_t random = s->seed ^ 0x77696465U;
    path_draw(&random, &s->path[0]);
    s->path[1] = s->path[0];
    if (one_in(&random, 3))
        path_draw(&random, &s->path[1]);
    for (uint32_t k = 0; k < SIM_STACKS; k++) {
        manners_draw(&random, &s->manners[k]);
        engine_draw(&random, &s->engine[k]);
        random_partition(&random, s->partition[k]);
    }
    traffic_draw(&random, s);
    s->can = one_in(&random, 2) ? NETDRV_CAN_ALL : sim_below(&random, NETDRV_CAN_ALL + 1);
    s->dad = STACK_DAD_OFF;
    if (s->crashes)
        deaths_draw(&random, s);
}
