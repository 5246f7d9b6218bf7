// SPDX-License-Identifier: BSD-2-Clause
/* The window's common part on one engine with a scripted peer, and algorithms beside each other over a bottleneck. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/tcp/congestion.h"
#include "tests/unit/suite.h"
#include "tests/unit/tcp_bench.h"
#include "tests/unit/tcp_link.h"

/* ---- over a bottleneck ---- */
static const struct share {
    const char *name;
    uint32_t rate, queue, rtt_us;
    uint8_t congestion[2];
    double jain;
} shares[] = {
    {"two of CUBIC", 1250000, 50000, 40000, {TCP_CONGESTION_CUBIC, TCP_CONGESTION_CUBIC}, 0.9},
    {"two of CUBIC, a long queue", 1250000, 100000, 40000, {TCP_CONGESTION_CUBIC, TCP_CONGESTION_CUBIC}, 0.9},
    {"two of Reno", 1250000, 50000, 40000, {TCP_CONGESTION_RENO, TCP_CONGESTION_RENO}, 0.9},
    {"CUBIC and Reno", 1250000, 50000, 20000, {TCP_CONGESTION_CUBIC, TCP_CONGESTION_RENO}, 0.9},
};

START_TEST(test_fairness)
{
    const struct share *s = &shares[_i];
    double sum = 0, squares = 0, share[2];
    struct link_config config = {.rate = s->rate,
                                 .queue = s->queue,
                                 .rtt_us = s->rtt_us,
                                 .jitter_us = 1000,
                                 .ring = 1 << 20,
                                 .seed = 7 + (uint64_t)_i,
                                 .gso = true,
                                 .flows = 2,
                                 .congestion = {s->congestion[0], s->congestion[1]}};
    static struct link l;
    link_init(&l, &config);
    link_start(&l, 0);
    link_run(&l, 5 * SECOND);
    link_start(&l, 1); /* comes late */
    link_run(&l, 20 * SECOND);
    l.received[0] = l.received[1] = 0;
    link_run(&l, 60 * SECOND);
    for (int i = 0; i < 2; i++) {
        share[i] = (double)l.received[i] / 60 / s->rate;
        sum += share[i];
        squares += share[i] * share[i];
    }
    double jain = sum * sum / (2 * squares);
    if (getenv("VERBOSE") != NULL)
        printf("%-28s %.3f %.3f of the rate, Jain %.3f, %llu dropped\n", s->name, share[0], share[1], jain,
               (unsigned long long)l.dropped);
    ck_assert_msg(jain >= s->jain, "%s: %.3f and %.3f, Jain %.3f", s->name, share[0], share[1], jain);
    ck_assert_double_ge(sum, 0.85);
    link_fini(&l);
}
END_TEST

/* ---- one engine ---- */
static void fill_ring(void)
{
    make_available(&b, b.send_size - (conn_of(&b)->send_end - conn_of(&b)->send_acked));
}

static uint32_t flight(void)
{
    return (conn_of(&b)->snd_max - conn_of(&b)->snd_una) / MSS;
}

static void send_all(void)
{
    struct tcp_output out;
    while (host_poll(&b.h, &out))
        continue;
    host_drain(&b.h);
}

static void ack_all(void)
{
    inject(&b, A, 1, conn_of(&b)->snd_max - b.iss, 0);
    send_all();
}

static void algorithm_setup(uint8_t congestion)
{
    struct tcp_config config = {
        .connections = 16, .mtu = 1500, .secret = {1, 2, 3}, .congestion = congestion, .no_pacing = true};
    bench_init_with(&b, 0xfffffff0U, &config);
    b.send_size = b.receive_size = 1 << 20;
    established(65535);
}

static void setup_cubic(void)
{
    algorithm_setup(TCP_CONGESTION_CUBIC);
}

/* The default, the option, and an option that is none. */
START_TEST(test_selection)
{
    struct tcp_figures f;
    static const uint8_t rows[][2] = {{TCP_CONGESTION_DEFAULT, TCP_CONGESTION_CUBIC},
                                      {TCP_CONGESTION_RENO, TCP_CONGESTION_RENO},
                                      {TCP_CONGESTION_CUBIC, TCP_CONGESTION_CUBIC},
                                      {200, TCP_CONGESTION_CUBIC}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tcp_set_options(b.h.t, b.h.now_us, b.conn, &(struct tcp_options){.congestion = rows[i][0]});
        expect_silence(&b);
        tcp_figures(b.h.t, b.conn, &f);
        ck_assert_uint_eq(f.congestion, rows[i][1]);
    }
}
END_TEST

START_TEST(test_default_of_engine)
{
    struct tcp_figures f;
    static const uint8_t rows[][2] = {{TCP_CONGESTION_DEFAULT, TCP_CONGESTION_CUBIC},
                                      {TCP_CONGESTION_RENO, TCP_CONGESTION_RENO},
                                      {77, TCP_CONGESTION_CUBIC}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        teardown();
        algorithm_setup(rows[i][0]);
        tcp_figures(b.h.t, b.conn, &f);
        ck_assert_uint_eq(f.congestion, rows[i][1]);
    }
}
END_TEST

/* Three duplicates: CUBIC comes down to 0.7, Reno to half. */
START_TEST(test_reduction)
{
    for (uint8_t k = TCP_CONGESTION_RENO; k <= TCP_CONGESTION_CUBIC; k++) {
        teardown();
        algorithm_setup(k);
        fill_ring();
        send_all();
        ck_assert_uint_eq(flight(), 10);
        for (int i = 0; i < 3; i++)
            inject(&b, A, 1, 1, 0);
        ck_assert_uint_eq(conn_of(&b)->ssthresh, k == TCP_CONGESTION_RENO ? 5 * MSS : 7 * MSS);
        send_all();
    }
}
END_TEST

/* Another algorithm starts from the window that there is, and knows nothing of the other's past. */
START_TEST(test_change)
{
    fill_ring();
    send_all();
    for (int i = 0; i < 3; i++)
        inject(&b, A, 1, 1, 0);
    send_all();
    ack_all();
    ck_assert_uint_ne(conn_of(&b)->cubic_w_max, 0);
    uint32_t cwnd = conn_of(&b)->cwnd;
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &(struct tcp_options){.congestion = TCP_CONGESTION_RENO});
    send_all();
    ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd);
    ck_assert_uint_eq(conn_of(&b)->cubic_w_max, 0);
}
END_TEST

/* Half of the window in flight is enough to let it double in slow start, not less; an ACK of a SYN does not count. */
START_TEST(test_unused_window_does_not_grow)
{
    uint32_t cwnd = conn_of(&b)->cwnd;
    ck_assert_uint_eq(cwnd, 10 * MSS);
    make_available(&b, 5 * MSS);
    send_all();
    ack_all();
    ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd);
    make_available(&b, 6 * MSS);
    send_all();
    ack_all();
    ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd + 6 * MSS);
}
END_TEST

/* Whoever has more written than the peer, or the pace, lets out does not use the window, and loses none of it (RFC 2861
 * is of users that write little): also while the ring is not full to the last octet, as it is for who waits for a
 * quarter of it. */
START_TEST(test_held_back_by_the_peer)
{
    uint32_t full = b.send_size - b.send_size / 4;
    for (int i = 0; i < 8; i++)
        fill_ring(), send_all(), advance(&b, 10 * MS), ack_all();
    uint32_t cwnd = conn_of(&b)->cwnd;
    ck_assert_uint_gt(cwnd, 65535 + 10 * MSS); /* what the peer advertises */
    for (int i = 0; i < 100; i++) {
        uint32_t held = conn_of(&b)->send_end - conn_of(&b)->send_acked;
        if (held < full)
            make_available(&b, full - held);
        send_all();
        advance(&b, 100 * MS);
        ack_all();
        ck_assert_uint_ge(conn_of(&b)->cwnd, cwnd);
    }
}
END_TEST

/* In congestion avoidance all of it has to have been in flight. */
START_TEST(test_unused_window_in_avoidance)
{
    fill_ring();
    send_all();
    for (int i = 0; i < 3; i++)
        inject(&b, A, 1, 1, 0);
    for (int i = 0; i < 40 && conn_of(&b)->cwnd <= conn_of(&b)->ssthresh; i++)
        advance(&b, 100 * MS), send_all(), ack_all();
    ck_assert_uint_gt(conn_of(&b)->cwnd, conn_of(&b)->ssthresh);
    while (conn_of(&b)->snd_una != conn_of(&b)->snd_max)
        ack_all();
    ck_assert_uint_eq(conn_of(&b)->send_end, conn_of(&b)->send_acked);
    uint32_t cwnd = conn_of(&b)->cwnd;
    uint64_t epoch_us = conn_of(&b)->cubic_epoch_us;
    ck_assert_uint_ne(epoch_us, 0);
    for (int i = 0; i < 10; i++) { /* one of seven */
        advance(&b, 10 * MS);
        make_available(&b, MSS);
        send_all();
        ack_all();
    }
    ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd);
    ck_assert_uint_ge(conn_of(&b)->cubic_epoch_us, epoch_us + 90 * MS); /* RFC 9438 5.8 */
    epoch_us = conn_of(&b)->cubic_epoch_us;
    make_available(&b, MSS);
    send_all();
    for (int i = 0; i < 10; i++) { /* one or two of seven: something is always in flight */
        make_available(&b, MSS);
        send_all();
        advance(&b, 10 * MS);
        inject(&b, A, 1, conn_of(&b)->snd_una - b.iss + MSS, 0);
    }
    ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd);
    ck_assert_uint_ge(conn_of(&b)->cubic_epoch_us, epoch_us + 90 * MS);
}
END_TEST

static void grow_to(uint32_t segments)
{
    while (conn_of(&b)->cwnd < segments * MSS) {
        fill_ring();
        advance(&b, 10 * MS);
        send_all();
        ack_all();
    }
    while (conn_of(&b)->snd_una != conn_of(&b)->snd_max)
        ack_all();
    ck_assert_uint_eq(conn_of(&b)->send_end, conn_of(&b)->send_acked);
}

/* RFC 2861, RFC 5681 4.1: silent for one, two and many timeouts; what the path carried is remembered. */
START_TEST(test_idle)
{
    b.window = 65535;
    grow_to(40);
    static const uint32_t timeouts[] = {1, 2, 30};
    for (size_t i = 0; i < 3; i++) {
        grow_to(40);
        uint32_t cwnd = conn_of(&b)->cwnd, expected = cwnd;
        advance(&b, timeouts[i] * conn_of(&b)->rto_us + 1000);
        make_available(&b, 100);
        send_all();
        for (uint32_t n = 0; n < timeouts[i] && expected > 10 * MSS; n++)
            expected = u32_max(expected / 2, 10 * MSS);
        ck_assert_uint_eq(conn_of(&b)->cwnd, expected);
        ck_assert_uint_ge(conn_of(&b)->ssthresh, cwnd / 4 * 3);
        ack_all();
    }
    grow_to(40);
    uint32_t cwnd = conn_of(&b)->cwnd; /* shorter silences do nothing */
    advance(&b, conn_of(&b)->rto_us - 1000);
    make_available(&b, 100);
    send_all();
    ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd);
}
END_TEST

static void use_two_segments(uint64_t for_us)
{
    for (uint64_t us = 0; us < for_us; us += 10 * MS) {
        advance(&b, 10 * MS);
        make_available(&b, 2 * MSS);
        send_all();
        ack_all();
    }
}

/* RFC 2861 2: a window of which little is used comes half way down to that (or to the initial one) each timeout. */
START_TEST(test_application_limited)
{
    grow_to(44);
    use_two_segments(conn_of(&b)->rto_us + 50 * MS); /* counts what was used before, too */
    uint32_t cwnd = conn_of(&b)->cwnd, ssthresh = conn_of(&b)->ssthresh;
    use_two_segments(conn_of(&b)->rto_us);
    ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd - (cwnd - 10 * MSS) / 2);
    ck_assert_uint_ge(conn_of(&b)->ssthresh, ssthresh);
    use_two_segments(40 * conn_of(&b)->rto_us);
    ck_assert_uint_ge(conn_of(&b)->cwnd, 10 * MSS);
    ck_assert_uint_le(conn_of(&b)->cwnd, 10 * MSS + 2);
}
END_TEST

/* Held back by the peer's window: it does not grow, but does not shrink either. */
START_TEST(test_peer_limited)
{
    grow_to(88);
    uint32_t cwnd = conn_of(&b)->cwnd;
    for (int i = 0; i < 60; i++) {
        fill_ring();
        send_all();
        advance(&b, 10 * MS);
        inject(&b, A, 1, conn_of(&b)->snd_max - b.iss, 0);
    }
    send_all();
    ck_assert_uint_lt(flight(), cwnd / MSS / 2 + 1);
    ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd);
}
END_TEST

/* RFC 9438 4.9: an undone reduction leaves no trace. */
START_TEST(test_undo)
{
    struct tcp *t = b.h.t;
    struct tcp_conn *c = &t->conn[b.conn], was;
    c->cwnd = 50 * MSS;
    c->ssthresh = 40 * MSS;
    c->cubic_w_max = 60 * MSS;
    c->cubic_epoch_us = 77;
    c->cubic_k_ms = 5;
    c->cubic_w_est = 4;
    c->cwnd_acked = 3;
    was = *c;
    congestion_save(t, c);
    c->retransmits = 1;
    congestion_timeout(t, c, b.h.now_us);
    ck_assert_uint_eq(c->cwnd, MSS);
    ck_assert_uint_eq(c->ssthresh, 35 * MSS);
    ck_assert_uint_eq(c->cubic_w_max, 0);
    congestion_restore(t, c);
    ck_assert_uint_eq(c->cwnd, was.cwnd);
    ck_assert_uint_eq(c->ssthresh, was.ssthresh);
    ck_assert_uint_eq(c->cubic_w_max, was.cubic_w_max);
    ck_assert_uint_eq(c->cubic_epoch_us, was.cubic_epoch_us);
    ck_assert_uint_eq(c->cubic_k_ms, was.cubic_k_ms);
    ck_assert_uint_eq(c->cubic_w_est, was.cubic_w_est);
    ck_assert_uint_eq(c->cwnd_acked, was.cwnd_acked);
    ck_assert_uint_eq(c->cubic_prior, was.cubic_prior);
    c->cwnd = MSS; /* only once */
    congestion_restore(t, c);
    ck_assert_uint_eq(c->cwnd, MSS);
    conn_touched(t, c);
}
END_TEST

/* RFC 9406 in the engine: round trips that rise end initial slow start, without a loss, and only the initial one. */
START_TEST(test_slow_start_ends_by_the_round_trip)
{
    struct tcp *t = b.h.t;
    struct tcp_conn *c = &t->conn[b.conn];
    for (uint32_t rtt_ms = 50; rtt_ms < 200 && c->ssthresh == CWND_MAX; rtt_ms += 20) {
        fill_ring();
        send_all();
        advance(&b, rtt_ms * MS);
        uint32_t end = c->snd_max - b.iss, at = c->snd_una - b.iss;
        for (; at < end && c->ssthresh == CWND_MAX; at += MSS) {
            congestion_rtt(t, c, b.h.now_us, rtt_ms * MS);
            conn_touched(t, c);
            inject(&b, A, 1, u32_min(at + MSS, end), 0);
        }
    }
    ck_assert_uint_lt(c->ssthresh, CWND_MAX);
    ck_assert_uint_gt(c->ssthresh, 15 * MSS);
    ck_assert_uint_eq(t->counters.retransmits, 0);
    send_all();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tcp_congestion");
    TCase *tc = tcase_create("tcp_congestion"), *links = tcase_create("links");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup_cubic, teardown);
    tcase_add_test(tc, test_selection);
    tcase_add_test(tc, test_default_of_engine);
    tcase_add_test(tc, test_reduction);
    tcase_add_test(tc, test_change);
    tcase_add_test(tc, test_unused_window_does_not_grow);
    tcase_add_test(tc, test_held_back_by_the_peer);
    tcase_add_test(tc, test_unused_window_in_avoidance);
    tcase_add_test(tc, test_idle);
    tcase_add_test(tc, test_application_limited);
    tcase_add_test(tc, test_peer_limited);
    tcase_add_test(tc, test_undo);
    tcase_add_test(tc, test_slow_start_ends_by_the_round_trip);
    suite_add_tcase(suite, tc);
    tcase_set_timeout(links, 60);
    tcase_add_loop_test(links, test_fairness, 0, sizeof shares / sizeof shares[0]);
    suite_add_tcase(suite, links);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
