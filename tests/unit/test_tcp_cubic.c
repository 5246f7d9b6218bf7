// SPDX-License-Identifier: BSD-2-Clause
/* The integers of cubic.c against the formulas of RFC 9438 in doubles, and what its sections 4.3 to 4.10 want. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/tcp/congestion.h"
#include "tests/unit/suite.h"

#define START_US 5000000U
#define SECOND   1000000U

/* As require(), which costs a write for each call, passed or not. */
#define require(condition, ...)                                                                                        \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
    } while (0)

static struct tcp_conn conn; /* nothing of cubic.c looks at the engine */

static void setup(void)
{
    conn = (struct tcp_conn){.mss = 1000, .state = TCP_ESTABLISHED, .ssthresh = CWND_MAX, .srtt_us = 50000};
}

static uint64_t random_next(void)
{
    static uint64_t x = 88172645463325252U;
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

static uint32_t random_between(uint32_t low, uint32_t high) /* by magnitude */
{
    double a = log(low), b = log((double)high + 1);
    uint32_t n = (uint32_t)exp(a + (b - a) * (double)(random_next() >> 11) / 9007199254740992.0);
    return n < low ? low : n > high ? high : n;
}

START_TEST(test_root)
{
    for (uint64_t i = 0; i < 200000; i++) {
        uint64_t n = i < 1000 ? i : random_next() >> (1 + random_next() % 50);
        uint64_t r = cubic_root(n);
        require(r * r * r <= n && (r + 1) * (r + 1) * (r + 1) > n, "%llu", (unsigned long long)n);
    }
    ck_assert_uint_eq(cubic_root(26999), 29);
    ck_assert_uint_eq(cubic_root(27000), 30);
}
END_TEST

/* 4.2: K and W_cubic(t), windows of 2 to 2^20 segments, t of 0 to 300 s. */
START_TEST(test_formulas)
{
    for (int i = 0; i < 200000; i++) {
        uint32_t mss = random_between(88, 65000);
        uint32_t most = CWND_MAX / mss < 1U << 20 ? CWND_MAX / mss : 1U << 20;
        uint32_t w_max = random_between(2, most) * mss;
        uint32_t cwnd = (uint32_t)(w_max * (0.1 + 0.9 * (double)(random_next() % 1000) / 1000));
        uint64_t t_ms = random_between(1, 300001) - 1;
        double k = cbrt(((double)w_max - cwnd) / mss / 0.4);
        uint32_t k_ms = cubic_k_ms(w_max, cwnd, mss);
        require(fabs(k * 1000 - k_ms) <= 1.001, "K %f, not %u ms", k, k_ms);
        double d = ((double)t_ms - k_ms) / 1000, w = 0.4 * d * d * d * mss + w_max;
        w = w < 0 ? 0 : w > CWND_MAX ? CWND_MAX : w;
        uint32_t got = cubic_window(w_max, k_ms, t_ms, mss);
        require(fabs(w - got) <= 1.001, "W(%llu ms) %f, not %u", (unsigned long long)t_ms, w, got);
    }
}
END_TEST

/* What cannot be must not be computed wrongly either: nothing overflows. */
START_TEST(test_limits)
{
    ck_assert_uint_eq(cubic_window(CWND_MAX, 0, UINT64_MAX, UINT16_MAX), CWND_MAX);
    ck_assert_uint_eq(cubic_window(0, 0, UINT64_MAX, 76), CWND_MAX);
    ck_assert_uint_eq(cubic_window(CWND_MAX, UINT32_MAX, 0, UINT16_MAX), 0);
    ck_assert_uint_eq(cubic_window(CWND_MAX, 0, 0, 76), CWND_MAX);
    ck_assert_uint_le(cubic_k_ms(CWND_MAX, 0, 76), 1U << 21);
    ck_assert_uint_eq(cubic_k_ms(100, 100, 76), 0);
    ck_assert_uint_eq(cubic_k_ms(0, 100, 76), 0);
    conn.cwnd = CWND_MAX;
    conn.cubic_epoch_us = 1;
    conn.cubic_w_est = CWND_MAX;
    for (int i = 0; i < 100; i++)
        cubic_avoid(&conn, UINT64_MAX / 2, CWND_MAX);
    ck_assert_uint_le(conn.cwnd, CWND_MAX);
    conn.cubic_epoch_us = UINT64_MAX; /* a clock that went back */
    conn.cwnd = 2000;
    cubic_avoid(&conn, 1, 1000);
    ck_assert_uint_ge(conn.cwnd, 2000);
}
END_TEST

/* A whole epoch, ACK by ACK, against a model in doubles: convex, concave and friendly. */
struct model {
    double cwnd, w_max, k, w_est, prior;
};

static void model_ack(struct model *m, double t, double rtt, double segments)
{
    m->w_est += (m->w_est < m->prior ? 9.0 / 17 : 1) * segments / m->cwnd;
    double d = t - m->k, w = 0.4 * d * d * d + m->w_max, ahead = t + rtt - m->k;
    if (w < m->w_est) {
        m->cwnd = fmax(m->cwnd, m->w_est);
        return;
    }
    double target = fmin(fmax(0.4 * ahead * ahead * ahead + m->w_max, m->cwnd), 1.5 * m->cwnd);
    m->cwnd += (target - m->cwnd) * segments / m->cwnd;
}

static const struct epoch {
    uint32_t w_max; /* segments */
    uint32_t rtt_us;
    uint32_t mss;
} epochs[] = {{10, 1000, 1000},    {20, 100000, 1460},    {100, 20000, 1448}, {100, 100000, 536},
              {1000, 50000, 1448}, {10000, 100000, 1448}, {4, 300000, 8948},  {1000, 5000, 1448}};

START_TEST(test_epoch)
{
    const struct epoch *e = &epochs[_i];
    conn.mss = e->mss;
    conn.cwnd = e->w_max * e->mss;
    conn.srtt_us = e->rtt_us;
    conn.ssthresh = cubic_reduce(&conn);
    ck_assert_uint_eq(conn.ssthresh, (uint32_t)((uint64_t)e->w_max * e->mss * 7 / 10));
    conn.cwnd = conn.ssthresh;
    double start = (double)conn.cwnd / e->mss;
    struct model m = {start, e->w_max, cbrt((e->w_max - start) / 0.4), start, e->w_max};
    uint64_t now_us = START_US, end_us = START_US + 60 * SECOND;
    for (uint32_t n = 0; now_us < end_us && m.cwnd < 1.4 * e->w_max; n++) {
        uint32_t acked = n % 3 == 0 ? e->mss / 2 : 2 * e->mss; /* delayed ACKs, and odd ones */
        cubic_avoid(&conn, now_us, acked);
        model_ack(&m, (double)(now_us - START_US) / 1e6, e->rtt_us / 1e6, (double)acked / e->mss);
        double off = fabs((double)conn.cwnd / e->mss - m.cwnd);
        require(off <= 1.5 + m.cwnd * 0.01, "after %llu us %f, not %f", (unsigned long long)(now_us - START_US),
                (double)conn.cwnd / e->mss, m.cwnd);
        now_us += (uint64_t)e->rtt_us * acked / conn.cwnd + 1;
    }
    ck_assert_double_gt(m.cwnd, e->w_max); /* the epoch was long enough to see all of it */
}
END_TEST

/* 4.3: at a small bandwidth-delay product it has what Reno with beta 0.7 and alpha 9/17 would have, at least. */
START_TEST(test_friendly_region)
{
    conn.cwnd = 10000;
    conn.srtt_us = 2000;
    conn.cwnd = conn.ssthresh = cubic_reduce(&conn);
    double w_est = 7;
    for (uint64_t now_us = START_US; now_us < START_US + 100000; now_us += 2000 / 7) {
        cubic_avoid(&conn, now_us, 1000);
        w_est += (w_est < 10 ? 9.0 / 17 : 1) * 1000 / conn.cwnd;
        ck_assert_double_ge(conn.cwnd / 1000.0 + 1.01, w_est);
    }
    ck_assert_double_gt(w_est, 12); /* CUBIC alone would be at 7.1 */
    ck_assert_uint_eq(conn.cwnd, conn.cubic_w_est);
}
END_TEST

/* 4.7: who has less than last time leaves room. */
START_TEST(test_fast_convergence)
{
    conn.cwnd = 100000;
    ck_assert_uint_eq(cubic_reduce(&conn), 70000);
    ck_assert_uint_eq(conn.cubic_w_max, 100000);
    conn.cwnd = 80000;
    ck_assert_uint_eq(cubic_reduce(&conn), 56000);
    ck_assert_uint_eq(conn.cubic_w_max, 68000);
    ck_assert_uint_eq(conn.cubic_prior, 80000);
    conn.cwnd = 68000; /* not below: as it is */
    ck_assert_uint_eq(cubic_reduce(&conn), 47600);
    ck_assert_uint_eq(conn.cubic_w_max, 68000);
    conn.cwnd = 1000; /* 4.6: two segments at least */
    ck_assert_uint_eq(cubic_reduce(&conn), 2000);
}
END_TEST

/* NewReno lets cwnd grow in recovery: that is no window to remember. */
START_TEST(test_reduction_in_recovery)
{
    conn.cwnd = 150000;
    conn.ssthresh = 70000;
    conn.flags = TCP_CONN_RECOVERY;
    ck_assert_uint_eq(cubic_reduce(&conn), 49000);
    ck_assert_uint_eq(conn.cubic_prior, 70000);
}
END_TEST

/* 4.8: after a timeout W_max is where congestion avoidance begins, and K is 0. */
START_TEST(test_timeout)
{
    conn.cwnd = 100000;
    conn.ssthresh = cubic_reduce(&conn);
    cubic_timed_out(&conn);
    conn.cwnd = conn.ssthresh;
    cubic_avoid(&conn, START_US, 1000);
    ck_assert_uint_eq(conn.cubic_w_max, 70000);
    ck_assert_uint_eq(conn.cubic_k_ms, 0);
    ck_assert_uint_eq(conn.cubic_epoch_us, START_US);
}
END_TEST

/* 4.2: time in which the window was not used is not part of t. */
START_TEST(test_unused_time)
{
    conn.cwnd = 100000;
    conn.cwnd = conn.ssthresh = cubic_reduce(&conn);
    cubic_unused(&conn, START_US, 1000000); /* no epoch: nothing to move */
    ck_assert_uint_eq(conn.cubic_epoch_us, 0);
    cubic_avoid(&conn, START_US, 1000);
    cubic_unused(&conn, START_US + 3000000, 2000000);
    ck_assert_uint_eq(conn.cubic_epoch_us, START_US + 2000000);
    cubic_unused(&conn, START_US + 3000000, 5000000); /* never beyond now */
    ck_assert_uint_eq(conn.cubic_epoch_us, START_US + 3000000);
}
END_TEST

/* 4.2: what it grows towards is W_cubic a round trip from now. */
START_TEST(test_target_is_a_round_trip_ahead)
{
    conn.cwnd = 1000000;
    conn.cwnd = conn.ssthresh = cubic_reduce(&conn);
    conn.srtt_us = 2 * SECOND;
    cubic_avoid(&conn, START_US, 0);
    cubic_avoid(&conn, START_US, conn.cwnd); /* a window: all the way */
    double k = cbrt(300 / 0.4), w = 1000 + 0.4 * pow(2 - k, 3);
    require(fabs(conn.cwnd / 1000.0 - w) < 0.2, "%u, not %f segments", conn.cwnd, w);
}
END_TEST

/* 4.4, 4.5: no more than half as much again in a round trip. */
START_TEST(test_growth_is_bounded)
{
    conn.cwnd = 10000;
    cubic_avoid(&conn, START_US, 1000);
    uint32_t before = conn.cwnd;
    cubic_avoid(&conn, START_US + 300 * (uint64_t)SECOND, before);
    ck_assert_uint_le(conn.cwnd, before + before / 2);
    ck_assert_uint_gt(conn.cwnd, before + before / 3);
    before = conn.cwnd;
    cubic_avoid(&conn, START_US + 300 * (uint64_t)SECOND, 10 * before); /* an ACK of ten windows */
    ck_assert_uint_le(conn.cwnd, before + before / 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tcp_cubic");
    TCase *tc = tcase_create("tcp_cubic");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, test_root);
    tcase_add_test(tc, test_formulas);
    tcase_add_test(tc, test_limits);
    tcase_add_loop_test(tc, test_epoch, 0, sizeof epochs / sizeof epochs[0]);
    tcase_add_test(tc, test_friendly_region);
    tcase_add_test(tc, test_fast_convergence);
    tcase_add_test(tc, test_reduction_in_recovery);
    tcase_add_test(tc, test_timeout);
    tcase_add_test(tc, test_unused_time);
    tcase_add_test(tc, test_target_is_a_round_trip_ahead);
    tcase_add_test(tc, test_growth_is_bounded);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
