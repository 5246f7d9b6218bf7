// SPDX-License-Identifier: BSD-2-Clause
/* Two engines, a wire with seeded faults between them, and streams both ways that must arrive whole. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/suite.h"
#include "tests/unit/tcp_app.h"

static uint64_t running_seed; /* for messages */

static void app_step(struct app *a)
{
    if (a->conn == TCP_NONE || a->done)
        return;
    const struct tcp_conn *c = host_conn(a->h, a->conn);
    app_read(a, c);
    if (c->state == TCP_CLOSED || c->state == TCP_TIME_WAIT) {
        a->done = a->read == c->receive_next;
        if (c->error != TCP_ERROR_NONE)
            ck_abort_msg("seed %llu: error %u", (unsigned long long)running_seed, c->error);
        return;
    }
    if (c->state >= TCP_ESTABLISHED)
        app_write(a);
}

static const struct run {
    const char *name;
    uint32_t loss, duplicate, reorder; /* in 1000 */
    bool gso, split;
    uint32_t ring, up, down, slow;
    uint64_t limit_us;         /* simulated: shows that nobody waits for a timeout that should not */
    uint32_t mtu[2], delay_us; /* 0: 1500, and as the wire has it */
    bool no_timestamps[2], no_sack[2], nodelay;
    uint8_t ecn[2]; /* enum tcp_ecn */
    uint32_t mark;
    bool choose_iss; /* of the client: `iss`, so that the streams wrap where it hurts */
    uint32_t iss;
} runs[] = {
    {"clean", 0, 0, 0, false, false, 65536, 3000000, 100000, 0, 3000000},
    {"clean, super-segments", 0, 0, 0, true, false, 262144, 20000000, 20000000, 0, 1000000},
    {"clean, super-segments cut", 0, 0, 0, true, true, 262144, 5000000, 5000000, 0, 1000000},
    {"nothing to send", 0, 0, 0, false, false, 65536, 0, 0, 0, 1000000},
    {"small ring, slow reader", 0, 0, 0, true, false, 4096, 300000, 1000, 700, 20000000},
    {"reordered", 0, 0, 300, false, false, 65536, 2000000, 2000000, 0, 20000000},
    {"reordered super-segments", 0, 0, 300, true, false, 262144, 9000000, 9000000, 0, 20000000},
    {"duplicated", 0, 200, 100, false, false, 65536, 1000000, 1000000, 0, 20000000},
    {"1 % lost", 10, 0, 0, false, false, 65536, 2000000, 2000000, 0, 60000000},
    {"1 % lost, super-segments", 10, 0, 0, true, false, 524288, 9000000, 9000000, 0, 60000000},
    {"1 % lost, cut", 10, 0, 0, true, true, 524288, 5000000, 5000000, 0, 60000000},
    {"everything", 50, 30, 200, true, true, 131072, 1000000, 1000000, 0, 600000000},
    {"everything, slow reader", 50, 30, 200, true, true, 8192, 100000, 100000, 1000, 2400000000},
    {"20 % lost", 200, 0, 0, false, false, 65536, 200000, 200000, 0, 4000000000},
    {"1 % marked", 0, 0, 0, true, true, 524288, 5000000, 5000000, 0, 20000000, .ecn = {TCP_ECN_ON}, .mark = 10},
    {"everything, and marked", 50, 30, 200, true, true, 131072, 1000000, 1000000, 0, 600000000, .ecn = {TCP_ECN_ON}, .mark = 20},
};

static void pair_init(struct host *a, struct host *b, const struct run *r)
{
    static const uint8_t left[4] = {10, 0, 0, 1}, right[4] = {10, 0, 0, 2};
    struct tcp_config config = {.connections = 8, .secret = {9}, .gso = r->gso};
    config.mtu = r->mtu[0] != 0 ? r->mtu[0] : 1500;
    config.no_timestamps = r->no_timestamps[0];
    config.no_sack = r->no_sack[0];
    config.ecn = r->ecn[0];
    host_init(a, left, &config);
    config.secret[0] = 10;
    config.mtu = r->mtu[1] != 0 ? r->mtu[1] : 1500;
    config.no_timestamps = r->no_timestamps[1];
    config.no_sack = r->no_sack[1];
    config.ecn = r->ecn[1];
    host_init(b, right, &config);
}

static void run_once(const struct run *r, uint64_t seed)
{
    struct host client, server;
    struct wire w;
    running_seed = seed;
    pair_init(&client, &server, r);
    wire_init(&w, &client, &server, seed);
    uint64_t start_us = HARNESS_START_US;
    if (r->choose_iss)
        start_us = host_time_of_iss(&client, &server.address, 4000, 80, r->iss);
    w.now_us = client.now_us = server.now_us = start_us;
    w.delay_us = r->delay_us != 0 ? r->delay_us : w.delay_us;
    w.loss = r->loss;
    w.duplicate = r->duplicate;
    w.reorder = r->reorder;
    w.split = r->split;
    w.mark = r->mark;
    uint32_t listener = host_listen(&server, 80, 4, r->ring, r->ring);
    tcp_set_options(server.t, server.now_us, listener, &(struct tcp_options){.nodelay = r->nodelay});
    struct app up = {&client, TCP_NONE, r->up, 0, 0, 1, 2, r->slow, false};
    struct app down = {&server, TCP_NONE, r->down, 0, 0, 2, 1, r->slow, false};
    ck_assert_int_eq(host_connect(&client, &server.address, r->choose_iss ? 4000 : 0, 80, r->ring, r->ring, &up.conn),
                     TCP_CALL_OK);
    /* still twice, with the applications' turn between: nothing will happen any more */
    for (int still = 0; (!up.done || !down.done) && still < 2;) {
        uint32_t read = up.read + down.read;
        still = wire_step(&w, start_us + r->limit_us) ? 0 : still + 1;
        app_step(&up);
        app_step(&down);
        for (uint32_t i = 0; down.conn == TCP_NONE && i < 8; i++) {
            if (host_conn(&server, i)->accept_pending && host_conn(&server, i)->listener == listener) {
                down.conn = i;
                tcp_accepted(server.t, i);
            }
        }
        host_drain(&client);
        host_drain(&server);
        if (up.read + down.read != read)
            still = 0;
    }
    ck_assert_msg(up.done && down.done, "%s, seed %llu: at %llu us up %u of %u, down %u of %u (%d %d)", r->name,
                  (unsigned long long)seed, (unsigned long long)w.now_us, down.read, r->up, up.read, r->down,
                  host_conn(&client, up.conn)->state,
                  down.conn == TCP_NONE ? -1 : host_conn(&server, down.conn)->state);
    ck_assert_uint_eq(down.read, r->up);
    ck_assert_uint_eq(up.read, r->down);
    const struct tcp_counters *of = tcp_counters(client.t);
    if (r->mark > 0 && r->up > 1000000 && r->loss == 0) /* nothing but marks, and they are heeded */
        ck_assert(of->ce_in > 0 && of->ece_in > 0 && of->retransmits == 0);
    if (getenv("VERBOSE") != NULL)
        printf("%-28s seed %llu: %8.3f s, %llu packets, %llu lost, %llu timeouts, %llu fast\n", r->name,
               (unsigned long long)seed, (double)(w.now_us - start_us) / 1e6, (unsigned long long)w.carried,
               (unsigned long long)w.lost, (unsigned long long)tcp_counters(client.t)->timeouts,
               (unsigned long long)tcp_counters(client.t)->fast_retransmits);
    wire_fini(&w);
    host_fini(&client);
    host_fini(&server);
}

START_TEST(test_streams)
{
    const char *only = getenv("SEED");
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1;
    uint64_t count = only != NULL ? 1 : runs[_i].loss + runs[_i].reorder > 0 ? 8 : 1;
    for (uint64_t seed = first; seed < first + count; seed++)
        run_once(&runs[_i], seed);
}
END_TEST

/* ---- whatever the seed says ---- */
#define RANDOM_RUNS   40 /* in each of RANDOM_GROUPS tests */
#define RANDOM_GROUPS 10

static struct run random_run(uint64_t seed)
{
    static const uint32_t edges[] = {0xffffffffU, 0x7fffffffU, 0xffff0000U, 0x7fffff00U, 0};
    static const uint32_t mtus[] = {128, 296, 576, 1280, 1500, 9000};
    struct wire dice = {.seed = seed * 0x9e3779b97f4a7c15U + 7};
    struct run r = {.name = "random", .limit_us = 40000000000};
    r.loss = wire_random(&dice, 3) == 0 ? 0 : wire_random(&dice, 120);
    r.duplicate = wire_random(&dice, 2) == 0 ? 0 : wire_random(&dice, 150);
    r.reorder = wire_random(&dice, 2) == 0 ? 0 : wire_random(&dice, 500);
    r.gso = wire_random(&dice, 2);
    r.split = wire_random(&dice, 2);
    r.ring = 1024U << wire_random(&dice, 9);
    r.up = wire_random(&dice, 4) == 0 ? wire_random(&dice, 3) : wire_random(&dice, 60000);
    r.down = wire_random(&dice, 4) == 0 ? wire_random(&dice, 3) : wire_random(&dice, 60000);
    r.slow = wire_random(&dice, 4) == 0 ? 100 + wire_random(&dice, 2000) : 0;
    r.mtu[0] = mtus[wire_random(&dice, 6)];
    r.mtu[1] = mtus[wire_random(&dice, 6)];
    r.delay_us = 1 + wire_random(&dice, 50000);
    r.no_timestamps[0] = wire_random(&dice, 4) == 0;
    r.no_timestamps[1] = wire_random(&dice, 4) == 0;
    r.nodelay = wire_random(&dice, 2);
    r.choose_iss = wire_random(&dice, 4) != 0;
    r.iss = edges[wire_random(&dice, 5)] - wire_random(&dice, 40000);
    r.no_sack[0] = wire_random(&dice, 6) == 0;
    r.no_sack[1] = wire_random(&dice, 6) == 0;
    r.ecn[0] = (uint8_t)wire_random(&dice, 3);
    r.ecn[1] = (uint8_t)wire_random(&dice, 3);
    r.mark = wire_random(&dice, 100);
    return r;
}

START_TEST(test_random)
{
    const char *only = getenv("SEED");
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : (uint64_t)_i * RANDOM_RUNS;
    for (uint64_t seed = first; seed < first + (only != NULL ? 1 : RANDOM_RUNS); seed++) {
        struct run r = random_run(seed);
        run_once(&r, seed);
    }
}
END_TEST

/* Both sides connect to each other at once: one connection, in both directions. */
START_TEST(test_simultaneous_open)
{
    struct host left, right;
    struct wire w;
    pair_init(&left, &right, &(struct run){0});
    wire_init(&w, &left, &right, 1);
    struct app a = {&left, TCP_NONE, 5000, 0, 0, 1, 2, 0, false};
    struct app b = {&right, TCP_NONE, 7000, 0, 0, 2, 1, 0, false};
    ck_assert_int_eq(host_connect(&left, &right.address, 7, 8, 65536, 65536, &a.conn), TCP_CALL_OK);
    ck_assert_int_eq(host_connect(&right, &left.address, 8, 7, 65536, 65536, &b.conn), TCP_CALL_OK);
    for (int still = 0; (!a.done || !b.done) && still < 2;) {
        still = wire_step(&w, HARNESS_START_US + 500000) ? 0 : still + 1;
        app_step(&a);
        app_step(&b);
        host_drain(&left);
        host_drain(&right);
    }
    ck_assert(a.done && b.done);
    ck_assert_uint_eq(a.read, 7000);
    ck_assert_uint_eq(b.read, 5000);
    wire_fini(&w);
    host_fini(&left);
    host_fini(&right);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tcp_stream");
    TCase *tc = tcase_create("tcp_stream");
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, test_streams, 0, (int)(sizeof runs / sizeof runs[0]));
    tcase_add_loop_test(tc, test_random, 0, RANDOM_GROUPS);
    tcase_add_test(tc, test_simultaneous_open);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
