// SPDX-License-Identifier: BSD-2-Clause
/* One engine against a scripted peer: when it gives up. Silent peers, user timeouts, orphans, what ICMP says. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_bench.h"

static void set_options(struct tcp_options o)
{
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &o);
}

/* ---- keepalive ---- */
static void probed(uint64_t after_us)
{
    advance(&b, after_us - 1);
    expect_silence(&b);
    advance(&b, 1);
    expect(&b, A, 0, 1, 0); /* SND.NXT - 1, no data */
    expect_silence(&b);
}

START_TEST(test_keepalive_defaults)
{
    established(1000);
    set_options((struct tcp_options){.keepalive = 1});
    probed((uint64_t)7200 * SECOND);
    for (int i = 1; i < 9; i++)
        probed(75 * SECOND);
    ck_assert_uint_eq(counters_of(&b)->keepalive_probes, 9);
    advance(&b, 75 * SECOND);
    expect(&b, R | A, 1, 1, 0);
    expect_ended(TCP_ERROR_TIMED_OUT);
    ck_assert_uint_eq(counters_of(&b)->keepalive_ended, 1);
}
END_TEST

static const struct tcp_options quick = {.keepalive = 1, .keep_idle_s = 10, .keep_interval_s = 2, .keep_count = 3};

START_TEST(test_keepalive_answered)
{
    established(1000);
    set_options(quick);
    for (int i = 0; i < 20; i++) {
        probed(10 * SECOND);
        probed(2 * SECOND);
        inject(&b, A, 1, 1, 0);
        expect_silence(&b);
        ck_assert_uint_eq(conn_of(&b)->keep_probes, 0);
        ck_assert_uint_gt(conn_of(&b)->keep_at_us, b.h.now_us);
    }
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
}
END_TEST

/* What arrives puts the timer off, without touching it. */
START_TEST(test_keepalive_lazy)
{
    established(1000);
    set_options(quick);
    uint64_t at_us = conn_of(&b)->keep_at_us;
    advance(&b, 9 * SECOND);
    inject(&b, A, 1, 1, 10);
    advance(&b, 40 * MS);
    expect(&b, A, 1, 11, 0);
    ck_assert_uint_eq(conn_of(&b)->keep_at_us, at_us);
    advance(&b, 10 * SECOND - 40 * MS - 1);
    expect_silence(&b);
    advance(&b, 1);
    expect(&b, A, 0, 11, 0);
    inject(&b, A, 12, 9, 0);                        /* not in order, but acceptable: it lives */
    ck_assert_uint_eq(conn_of(&b)->keep_probes, 1); /* ... no: the ACK is of nothing that was sent */
    inject(&b, A, 11, 1, 0);
    ck_assert_uint_eq(conn_of(&b)->keep_probes, 0);
}
END_TEST

/* RFC 9293 3.8.4: only when nothing was heard, and nothing is in flight. */
START_TEST(test_keepalive_not_in_flight)
{
    established(1000);
    set_options(quick);
    make_available(&b, 5);
    expect(&b, A | P, 1, 1, 5);
    while (state_of(&b) != TCP_CLOSED) {
        advance(&b, 500 * MS);
        struct tcp_output out;
        while (host_poll(&b.h, &out))
            ck_assert_uint_eq(out.payload_length, 5);
    }
    host_drain(&b.h);
    ck_assert_uint_eq(counters_of(&b)->keepalive_probes, 0);
    ck_assert_uint_eq(b.h.last_error, TCP_ERROR_TIMED_OUT);
}
END_TEST

START_TEST(test_keepalive_user_timeout)
{
    established(1000);
    struct tcp_options o = quick;
    o.user_timeout_ms = 21000;
    set_options(o);
    probed(10 * SECOND);
    for (int i = 0; i < 5; i++) /* more than keep_count */
        probed(2 * SECOND);
    advance(&b, 2 * SECOND);
    expect(&b, R | A, 1, 1, 0);
    expect_ended(TCP_ERROR_TIMED_OUT);
}
END_TEST

START_TEST(test_keepalive_off)
{
    established(1000);
    set_options(quick);
    advance(&b, 9 * SECOND);
    set_options((struct tcp_options){.nodelay = 1});
    advance(&b, (uint64_t)86400 * SECOND);
    expect_silence(&b);
    set_options(quick); /* a whole idle time from now, however long ago the peer was heard */
    probed(10 * SECOND);
    struct tcp_options o = quick;
    o.keep_idle_s = 5; /* is over already */
    set_options(o);
    expect(&b, A, 0, 1, 0);
    o.keep_idle_s = 100;
    inject(&b, A, 1, 1, 0);
    set_options(o);
    probed(100 * SECOND);
}
END_TEST

/* From the listener, and before the connection is there. */
START_TEST(test_keepalive_inherited)
{
    bench_state(&b, TCP_LISTEN);
    tcp_set_options(b.h.t, b.h.now_us, b.listener, &quick);
    b.conn = TCP_NONE;
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    expect_silence(&b);
    inject(&b, A, 1, 1, 0);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    probed(10 * SECOND);
}
END_TEST

START_TEST(test_keepalive_active)
{
    bench_state(&b, TCP_SYN_SENT);
    set_options(quick);
    ck_assert_uint_eq(conn_of(&b)->keep_at_us, 0);
    inject(&b, S | A, 0, 1, 0);
    expect(&b, A, 1, 1, 0);
    probed(10 * SECOND);
}
END_TEST

START_TEST(test_keepalive_half_closed)
{
    bench_state(&b, TCP_FIN_WAIT_2);
    set_options(quick);
    advance(&b, 10 * SECOND);
    expect(&b, A, 1, 1, 0);     /* our FIN is 1 */
    inject(&b, A | F, 1, 2, 0); /* TIME-WAIT or its record: nothing is probed any more */
    expect(&b, A, 2, 2, 0);
    advance(&b, 30 * SECOND);
    expect_silence(&b);
}
END_TEST

/* ---- user timeout ---- */

/* Retransmits until the end; returns when that was. */
static uint64_t given_up_after(void)
{
    uint64_t begin_us = b.h.now_us;
    struct tcp_output out;
    for (int i = 0; i < 1000 && b.h.ended == 0; i++) {
        uint64_t at_us = tcp_deadline_us(b.h.t);
        ck_assert_uint_ne(at_us, UINT64_MAX);
        if (at_us > b.h.now_us)
            b.h.now_us = at_us;
        while (host_poll(&b.h, &out))
            ck_assert(!(out.header[13] & R));
        host_drain(&b.h);
    }
    ck_assert_uint_eq(b.h.ended, 1);
    return b.h.now_us - begin_us;
}

START_TEST(test_user_timeout)
{
    established(1000);
    set_options((struct tcp_options){.user_timeout_ms = 5000});
    make_available(&b, 5);
    ck_assert_uint_eq(given_up_after(), 5 * SECOND);
    ck_assert_uint_eq(b.h.last_error, TCP_ERROR_TIMED_OUT);
    ck_assert_uint_eq(counters_of(&b)->user_timeouts, 1);
}
END_TEST

/* It takes the place of the number of retransmissions (some 15 minutes). */
START_TEST(test_user_timeout_long)
{
    established(1000);
    set_options((struct tcp_options){.user_timeout_ms = 7200000});
    make_available(&b, 5);
    ck_assert_uint_eq(given_up_after(), (uint64_t)7200 * SECOND);
}
END_TEST

/* Set while the next retransmission is far away. */
START_TEST(test_user_timeout_late)
{
    established(1000);
    make_available(&b, 5);
    expect(&b, A | P, 1, 1, 5);
    for (uint64_t us = 200 * MS; us < 60 * SECOND; us *= 2) {
        advance(&b, us);
        expect(&b, A | P, 1, 1, 5);
    }
    set_options((struct tcp_options){.user_timeout_ms = 60000}); /* 51 s are over, the next one is due in 51 s */
    ck_assert_uint_lt(given_up_after(), 60 * SECOND - 51 * SECOND + 1);
}
END_TEST

START_TEST(test_user_timeout_progress)
{
    established(1000);
    set_options((struct tcp_options){.user_timeout_ms = 5000});
    make_available(&b, 500);
    expect(&b, A | P, 1, 1, 500);
    for (uint32_t i = 1; i <= 10; i++) {
        advance(&b, 4 * SECOND);
        struct tcp_output out;
        while (host_poll(&b.h, &out))
            ;
        inject(&b, A, 1, 1 + i * 10, 0);
    }
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    ck_assert_uint_eq(given_up_after(), 5 * SECOND);
}
END_TEST

/* As Linux: a window that stays closed for so long, answered or not. */
START_TEST(test_user_timeout_zero_window)
{
    established(0);
    set_options((struct tcp_options){.user_timeout_ms = 5000});
    make_available(&b, 500);
    uint64_t begin_us = b.h.now_us;
    expect_silence(&b);
    struct tcp_output out;
    for (int i = 0; i < 100 && b.h.ended == 0; i++) {
        b.h.now_us = tcp_deadline_us(b.h.t);
        bool probe = host_poll(&b.h, &out);
        host_drain(&b.h);
        if (probe && b.h.ended == 0)
            inject(&b, A, 1, 1, 0);
    }
    ck_assert_uint_eq(b.h.now_us - begin_us, 5 * SECOND);
    ck_assert_uint_eq(b.h.last_error, TCP_ERROR_TIMED_OUT);
    ck_assert_uint_eq(counters_of(&b)->user_timeouts, 1);
}
END_TEST

/* Shorter than the retransmission timeout: there is one more try all the same, and time to answer it. */
START_TEST(test_user_timeout_short)
{
    established(_i == 0 ? 1000 : 0);
    set_options((struct tcp_options){.user_timeout_ms = 100});
    make_available(&b, 5);
    if (_i == 0)
        expect(&b, A | P, 1, 1, 5);
    expect_silence(&b);
    b.h.now_us = tcp_deadline_us(b.h.t);
    expect(&b, _i == 0 ? A | P : A, 1, 1, 5 - 4 * (uint32_t)_i);
    expect_silence(&b);
    advance(&b, 100 * MS);
    expect_silence(&b);
    b.window = 1000;
    inject(&b, A, 1, 6 - 4 * (uint32_t)_i, 0);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    ck_assert_uint_eq(counters_of(&b)->user_timeouts, 0);
}
END_TEST

START_TEST(test_user_timeout_syn)
{
    bench_state(&b, TCP_SYN_SENT);
    set_options((struct tcp_options){.user_timeout_ms = 4000});
    ck_assert_uint_eq(given_up_after(), 4 * SECOND);
    ck_assert_uint_eq(b.h.last_error, TCP_ERROR_TIMED_OUT);
}
END_TEST

/* ---- orphans ---- */
START_TEST(test_orphan_retries)
{
    bench_state(&b, _i == 0 ? TCP_ESTABLISHED : TCP_CLOSE_WAIT);
    b.window = 1000;
    inject(&b, A, _i == 0 ? 1 : 2, 1, 0);
    make_available(&b, 5);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    (void)given_up_after(); /* asserts that no RST went out */
    ck_assert_uint_eq(b.h.last_error, TCP_ERROR_TIMED_OUT);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 8);
    ck_assert_uint_eq(counters_of(&b)->orphans_ended, 1);
}
END_TEST

START_TEST(test_orphan_fin_wait_2)
{
    bench_state(&b, TCP_FIN_WAIT_2);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    advance(&b, 60 * SECOND);
    expect_ended(TCP_ERROR_NONE);
    ck_assert_uint_eq(counters_of(&b)->orphans_ended, 1);
}
END_TEST

/* The peer answers every probe, and would for ever: it lives until they are two minutes apart. */
START_TEST(test_orphan_zero_window)
{
    established(0);
    make_available(&b, 500);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    expect_silence(&b);
    for (uint64_t apart_us = conn_of(&b)->rto_us; apart_us < 120 * SECOND; apart_us *= 2) {
        advance(&b, apart_us);
        expect(&b, A, 1, 1, 1);
        inject(&b, A, 1, 1, 0);
        expect_silence(&b);
    }
    advance(&b, 120 * SECOND);
    expect(&b, R | A, 2, 1, 0); /* it lives, and is told */
    expect_ended(TCP_ERROR_TIMED_OUT);
    ck_assert_uint_eq(counters_of(&b)->orphans_ended, 1);
}
END_TEST

/* It answers none. */
START_TEST(test_orphan_zero_window_silent)
{
    established(0);
    make_available(&b, 500);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    expect_silence(&b);
    for (int i = 0; i < 8; i++) {
        advance(&b, 120 * SECOND);
        expect(&b, A, 1, 1, 1);
    }
    advance(&b, 120 * SECOND);
    expect(&b, R | A, 2, 1, 0);
    expect_ended(TCP_ERROR_TIMED_OUT);
}
END_TEST

/* ---- what ICMP says ---- */
START_TEST(test_unreachable_ends_syn_sent)
{
    static const enum tcp_error why[] = {TCP_ERROR_REFUSED, TCP_ERROR_NETWORK, TCP_ERROR_PROTOCOL,
                                         TCP_ERROR_PROHIBITED};
    bench_state(&b, TCP_SYN_SENT);
    tcp_unreachable(b.h.t, b.h.now_us, b.conn, b.iss + 2, why[_i]);
    tcp_unreachable(b.h.t, b.h.now_us, b.conn, b.iss - 1, why[_i]);
    ck_assert_uint_eq(counters_of(&b)->drop_unreachable, 2);
    tcp_unreachable(b.h.t, b.h.now_us, b.conn, b.iss, why[_i]);
    expect_ended(why[_i]);
}
END_TEST

START_TEST(test_soft_error)
{
    established(1000);
    make_available(&b, 5);
    expect(&b, A | P, 1, 1, 5);
    tcp_unreachable(b.h.t, b.h.now_us, b.conn, b.iss + 7, TCP_ERROR_NETWORK);
    tcp_unreachable(b.h.t, b.h.now_us, b.conn, b.iss, TCP_ERROR_NETWORK);
    ck_assert_uint_eq(counters_of(&b)->drop_unreachable, 2);
    ck_assert_uint_eq(counters_of(&b)->soft_errors, 0);
    tcp_unreachable(b.h.t, b.h.now_us, b.conn, b.iss + 1, TCP_ERROR_NETWORK);
    ck_assert_uint_eq(counters_of(&b)->soft_errors, 1);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    (void)given_up_after();
    ck_assert_uint_eq(b.h.last_error, TCP_ERROR_NETWORK);
}
END_TEST

START_TEST(test_soft_error_forgotten)
{
    established(1000);
    make_available(&b, 5);
    expect(&b, A | P, 1, 1, 5);
    tcp_unreachable(b.h.t, b.h.now_us, b.conn, b.iss + 1, TCP_ERROR_UNREACHABLE);
    inject(&b, A, 1, 1, 0);
    (void)given_up_after();
    ck_assert_uint_eq(b.h.last_error, TCP_ERROR_TIMED_OUT);
}
END_TEST

START_TEST(test_unreachable_nobody)
{
    bench_state(&b, TCP_LISTEN);
    tcp_unreachable(b.h.t, b.h.now_us, b.listener, 0, TCP_ERROR_UNREACHABLE);
    tcp_unreachable(b.h.t, b.h.now_us, TCP_NONE, 0, TCP_ERROR_UNREACHABLE);
    ck_assert_uint_eq(counters_of(&b)->drop_unreachable, 2);
    ck_assert_int_eq(host_conn(&b.h, b.listener)->state, TCP_LISTEN);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        test_keepalive_defaults,
        test_keepalive_answered,
        test_keepalive_lazy,
        test_keepalive_not_in_flight,
        test_keepalive_user_timeout,
        test_keepalive_off,
        test_keepalive_inherited,
        test_keepalive_active,
        test_keepalive_half_closed,
        test_user_timeout,
        test_user_timeout_long,
        test_user_timeout_late,
        test_user_timeout_progress,
        test_user_timeout_zero_window,
        test_user_timeout_syn,
        test_orphan_fin_wait_2,
        test_orphan_zero_window,
        test_orphan_zero_window_silent,
        test_soft_error,
        test_soft_error_forgotten,
        test_unreachable_nobody,
    };
    Suite *suite = suite_create("tcp_keepalive");
    TCase *tc = tcase_create("tcp_keepalive");
    tcase_add_checked_fixture(tc, setup, teardown);
    for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tc, tests[i]);
    tcase_add_loop_test(tc, test_user_timeout_short, 0, 2);
    tcase_add_loop_test(tc, test_orphan_retries, 0, 2);
    tcase_add_loop_test(tc, test_unreachable_ends_syn_sent, 0, 4);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
