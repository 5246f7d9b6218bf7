// SPDX-License-Identifier: BSD-2-Clause
/* Two engines, streams both ways, and deaths: again and again one of the two is replaced by a new engine that has
 * nothing but the blocks that were reported last. The streams arrive whole, no connection is lost, and nobody waits for
 * a timeout that the wire did not cause. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/tcp/recovery.h"
#include "tests/unit/tcp_app.h"
#include "tests/unit/tcp_restart_bench.h"

/* One that has ended is known by what was reported of it: it is not put back. */
static const struct tcp_conn *conn_seen(const struct app *a)
{
    const struct tcp_conn *c = host_conn(a->h, a->conn);
    return c->state == TCP_CLOSED ? &a->h->shadow[a->conn] : c;
}

static void app_step(struct app *a)
{
    if (a->conn == TCP_NONE || a->done)
        return;
    const struct tcp_conn *c = conn_seen(a);
    app_read(a, c);
    if (c->state == TCP_CLOSED) {
        a->done = a->read == c->receive_next;
        require(c->error == TCP_ERROR_NONE);
        return;
    }
    if (c->state >= TCP_ESTABLISHED)
        app_write(a);
}

/* What the application's words tell a new incarnation. */
static void app_again(struct app *a)
{
    if (a->conn == TCP_NONE || a->done || host_conn(a->h, a->conn)->state == TCP_CLOSED)
        return;
    tcp_send_available(a->h->t, a->h->now_us, a->conn, a->written);
    tcp_receive_consumed(a->h->t, a->h->now_us, a->conn, a->read);
    if (a->said_all)
        tcp_shutdown_send(a->h->t, a->h->now_us, a->conn);
}

/* ---- the pair ---- */
static const struct run {
    const char *name;
    uint32_t loss, reorder; /* in 1000 */
    uint32_t deaths;        /* in 1000 steps */
    uint32_t dead_us;       /* so long what comes is lost */
    bool gso, split, no_sack, no_timestamps, only_client;
    uint32_t ring, up, down, slow, delay_us;
    uint64_t limit_us; /* simulated */
    uint32_t timeouts; /* at most, of both */
    uint32_t mark;
} runs[] = {
    {"clean", .deaths = 150, .gso = true, .ring = 262144, .up = 5000000, .down = 5000000, .limit_us = 2000000},
    {"clean, long path", .deaths = 150, .gso = true, .split = true, .ring = 262144, .up = 3000000, .down = 0,
     .delay_us = 20000, .limit_us = 12000000},
    {"no timestamps", .deaths = 150, .gso = true, .no_timestamps = true, .ring = 262144, .up = 3000000, .down = 0,
     .delay_us = 20000, .limit_us = 12000000},
    {"one side dies", .deaths = 150, .only_client = true, .ring = 65536, .up = 1000000, .down = 1000000,
     .limit_us = 4000000},
    {"deaf while dead", .deaths = 60, .dead_us = 3000, .gso = true, .split = true, .ring = 262144, .up = 5000000,
     .down = 1000000, .delay_us = 500, .limit_us = 60000000, .timeouts = 100},
    {"deaf, 1 % lost", .loss = 10, .deaths = 60, .dead_us = 3000, .gso = true, .split = true, .ring = 262144,
     .up = 2000000, .down = 1000000, .delay_us = 500, .limit_us = 120000000, .timeouts = 1000},
    {"closed windows", .deaths = 200, .gso = true, .ring = 4096, .up = 300000, .down = 100000, .slow = 700,
     .limit_us = 60000000, .timeouts = 100},
    {"reordered", .reorder = 200, .deaths = 60, .gso = true, .ring = 262144, .up = 3000000, .down = 3000000,
     .limit_us = 20000000, .timeouts = 10},
    {"no SACK", .deaths = 150, .gso = true, .no_sack = true, .ring = 65536, .up = 2000000, .down = 500000,
     .delay_us = 1000, .limit_us = 60000000, .timeouts = 100},
    {"no SACK, deaf, 1 % lost", .loss = 10, .deaths = 60, .dead_us = 3000, .no_sack = true, .ring = 65536, .up = 500000,
     .down = 500000, .delay_us = 500, .limit_us = 300000000, .timeouts = 1000},
    {"1 % marked", .deaths = 150, .gso = true, .split = true, .ring = 262144, .up = 3000000, .down = 3000000,
     .limit_us = 20000000, .mark = 10},
    {"short", .deaths = 300, .dead_us = 100, .ring = 65536, .up = 1000, .down = 1000, .limit_us = 60000000,
     .timeouts = 100},
    {"nothing to send", .deaths = 300, .ring = 65536, .limit_us = 10000000, .timeouts = 100},
};

struct pair {
    const struct run *run;
    struct host client, server;
    struct wire w;
    struct app up, down;
    uint32_t listener, deaths;
    uint64_t timeouts;
};

static void pair_init(struct pair *p, const struct run *r, uint64_t seed)
{
    static const uint8_t left[4] = {10, 0, 0, 1}, right[4] = {10, 0, 0, 2};
    struct tcp_config config = {.connections = 8,
                                .secret = {9},
                                .gso = r->gso,
                                .mtu = 1500,
                                .no_sack = r->no_sack,
                                .no_timestamps = r->no_timestamps,
                                .ecn = r->mark > 0 ? TCP_ECN_ON : TCP_ECN_PASSIVE};
    *p = (struct pair){.run = r};
    host_init(&p->client, left, &config);
    config.secret[0] = 10;
    host_init(&p->server, right, &config);
    wire_init(&p->w, &p->client, &p->server, seed);
    p->w.delay_us = r->delay_us != 0 ? r->delay_us : p->w.delay_us;
    p->w.loss = r->loss;
    p->w.reorder = r->reorder;
    p->w.split = r->split;
    p->w.mark = r->mark;
    p->listener = host_listen(&p->server, 80, 4, r->ring, r->ring);
    p->up = (struct app){&p->client, TCP_NONE, r->up, 0, 0, 1, 2, r->slow, false, false};
    p->down = (struct app){&p->server, TCP_NONE, r->down, 0, 0, 2, 1, r->slow, false, false};
    ck_assert_int_eq(host_connect(&p->client, &p->server.address, 0, 80, r->ring, r->ring, &p->up.conn), TCP_CALL_OK);
    host_drain(&p->client);
    host_drain(&p->server);
}

/* Packets on their way to `to` that arrive, or left, at `from_us` or later and before `until_us`. */
static void wire_drop(struct wire *w, int to, uint64_t from_us, uint64_t until_us)
{
    for (struct packet **at = &w->flying[to]; *at != NULL;) {
        struct packet *packet = *at;
        if (packet->at_us < from_us || packet->at_us >= until_us) {
            at = &packet->next;
            continue;
        }
        *at = packet->next;
        free(packet);
    }
}

/* Of the last burst perhaps nothing has left the host, and nothing is heard until it lives again. */
static void die(struct pair *p, int side)
{
    struct host *h = p->w.end[side];
    if (wire_random(&p->w, 2) == 0)
        wire_drop(&p->w, !side, p->w.now_us + p->w.delay_us, UINT64_MAX);
    p->w.now_us += p->run->dead_us;
    if (p->run->dead_us > 0)
        wire_drop(&p->w, side, 0, p->w.now_us);
    p->timeouts += tcp_counters(h->t)->timeouts;
    h->now_us = p->w.now_us;
    host_restart(h, wire_random(&p->w, 2) == 0);
    app_again(side == 0 ? &p->up : &p->down);
    p->deaths++;
}

static void accept_one(struct pair *p)
{
    for (uint32_t i = 0; p->down.conn == TCP_NONE && i < 8; i++)
        if (host_conn(&p->server, i)->accept_pending && host_conn(&p->server, i)->listener == p->listener) {
            p->down.conn = i;
            tcp_accepted(p->server.t, i);
        }
}

static void run_once(const struct run *r, uint64_t seed)
{
    static struct pair p;
    pair_init(&p, r, seed);
    for (int still = 0; (!p.up.done || !p.down.done) && still < 2;) {
        uint32_t read = p.up.read + p.down.read;
        still = wire_step(&p.w, HARNESS_START_US + r->limit_us) ? 0 : still + 1;
        app_step(&p.up);
        app_step(&p.down);
        accept_one(&p);
        host_drain(&p.client);
        host_drain(&p.server);
        if (wire_random(&p.w, 1000) < r->deaths)
            die(&p, r->only_client ? 0 : (int)wire_random(&p.w, 2));
        if (p.up.read + p.down.read != read)
            still = 0;
    }
    p.timeouts += tcp_counters(p.client.t)->timeouts + tcp_counters(p.server.t)->timeouts;
    if (getenv("VERBOSE") != NULL)
        printf("%-26s seed %llu: %8.3f s, %u deaths, %llu packets, %llu timeouts\n", r->name, (unsigned long long)seed,
               (double)(p.w.now_us - HARNESS_START_US) / 1e6, p.deaths, (unsigned long long)p.w.carried,
               (unsigned long long)p.timeouts);
    ck_assert_msg(p.up.done && p.down.done && p.down.read == r->up && p.up.read == r->down,
                  "%s, seed %llu: at %llu us, after %u deaths: up %u of %u, down %u of %u (%d %d)", r->name,
                  (unsigned long long)seed, (unsigned long long)p.w.now_us, p.deaths, p.down.read, r->up, p.up.read,
                  r->down, host_conn(&p.client, p.up.conn)->state,
                  p.down.conn == TCP_NONE ? -1 : host_conn(&p.server, p.down.conn)->state);
    ck_assert_msg(p.timeouts <= r->timeouts, "%s, seed %llu: %llu timeouts", r->name, (unsigned long long)seed,
                  (unsigned long long)p.timeouts);
    wire_fini(&p.w);
    host_fini(&p.client);
    host_fini(&p.server);
}

START_TEST(test_streams_survive)
{
    const char *only = getenv("SEED");
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1, count = only != NULL ? 1 : 12;
    for (uint64_t seed = first; seed < first + count; seed++)
        run_once(&runs[_i], seed);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tcp_restart");
    TCase *tc = tcase_create("streams");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_streams_survive, 0, (int)(sizeof runs / sizeof runs[0]));
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
