// SPDX-License-Identifier: BSD-2-Clause
/* Timers of a connection: retransmission in every state that sends, the persist timer, the delayed ACK. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_bench.h"

/* ---- retransmission: back-off and give-up (RFC 6298 5, RFC 9293 3.8.3) ---- */
static const struct {
    enum tcp_state state;
    uint8_t flags;
    uint32_t seq, ack, length;
    uint32_t tries;
} resent[] = {
    {TCP_SYN_SENT, S, 0, 0, 0, 6},          {TCP_SYN_RECEIVED, S | A, 0, 1, 0, 5},
    {TCP_ESTABLISHED, A | P, 1, 1, 50, 15}, {TCP_CLOSE_WAIT, A | P, 1, 2, 50, 15},
    {TCP_FIN_WAIT_1, F | A, 1, 1, 0, 15},   {TCP_CLOSING, F | A, 1, 2, 0, 15},
    {TCP_LAST_ACK, F | A, 1, 2, 0, 15},
};

START_TEST(test_resent_until_given_up)
{
    b.half_close = true; /* its user is there still */
    bench_state(&b, resent[_i].state);
    if (resent[_i].length > 0) {
        make_available(&b, resent[_i].length);
        expect(&b, resent[_i].flags, resent[_i].seq, resent[_i].ack, resent[_i].length);
        expect_silence(&b);
    }
    uint64_t wait = conn_of(&b)->rto_us;
    for (uint32_t i = 0; i < resent[_i].tries; i++) {
        ck_assert_uint_eq(tcp_deadline_us(b.h.t), b.h.now_us + wait);
        advance(&b, wait - 1);
        expect_silence(&b);
        advance(&b, 1);
        expect(&b, resent[_i].flags, resent[_i].seq, resent[_i].ack, resent[_i].length);
        expect_silence(&b);
        ck_assert_int_eq(state_of(&b), resent[_i].state);
        wait = 2 * wait > 120 * SECOND ? 120 * SECOND : 2 * wait;
    }
    ck_assert_uint_eq(counters_of(&b)->retransmits, resent[_i].tries);
    ck_assert_uint_eq(counters_of(&b)->timeouts, resent[_i].tries);
    advance(&b, wait);
    expect_ended(TCP_ERROR_TIMED_OUT);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
}
END_TEST

/* An answer at the last moment: the count starts from zero. */
START_TEST(test_progress_resets_the_count)
{
    established(65535);
    make_available(&b, 20);
    expect(&b, A | P, 1, 1, 20);
    for (uint32_t octet = 1; octet <= 3; octet++) {
        expect_silence(&b);
        for (int i = 0; i < 15; i++) {
            advance(&b, 120 * SECOND);
            expect(&b, A | P, octet, 1, 21 - octet);
            expect_silence(&b);
        }
        inject(&b, A, 1, octet + 1, 0);
        ck_assert_uint_eq(conn_of(&b)->retransmits, 0);
    }
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
}
END_TEST

/* The FIN that was lost with text before it comes again with it; one that was alone comes alone. */
START_TEST(test_fin_is_resent_with_its_text)
{
    established(65535);
    make_available(&b, 100);
    expect(&b, A | P, 1, 1, 100);
    tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
    expect(&b, F | A, 101, 1, 0);
    expect_silence(&b);
    advance(&b, 200 * MS);
    expect(&b, F | A | P, 1, 1, 100);
    expect_silence(&b);
    inject(&b, A, 1, 101, 0); /* the text, not the FIN */
    ck_assert_int_eq(state_of(&b), TCP_FIN_WAIT_1);
    ck_assert_uint_eq(conn_of(&b)->send_acked, 100);
    expect_silence(&b);
    advance(&b, SECOND);
    expect(&b, F | A, 101, 1, 0);
    inject(&b, A, 1, 102, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_FIN_WAIT_2);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
}
END_TEST

START_TEST(test_fin_is_fast_retransmitted)
{
    established(65535);
    make_available(&b, 3 * MSS + 100);
    tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
    for (uint32_t i = 0; i < 3; i++)
        expect(&b, A, 1 + i * MSS, 1, MSS);
    expect(&b, F | A | P, 1 + 3 * MSS, 1, 100);
    expect_silence(&b);
    for (int i = 0; i < 3; i++)
        inject(&b, A, 1, 1, 0);
    expect(&b, A, 1, 1, MSS);
    expect_silence(&b);
    inject(&b, A, 1, 1 + 3 * MSS, 0); /* partial: what is left is the text with its FIN */
    expect(&b, F | A | P, 1 + 3 * MSS, 1, 100);
    expect_silence(&b);
}
END_TEST

/* ---- the persist timer (RFC 9293 3.8.6.1) ---- */
/* The window is taken back while text is in flight: a lost one turns into probes, not into retransmissions of all. */
START_TEST(test_window_taken_back)
{
    established(65535);
    make_available(&b, 3 * MSS);
    for (uint32_t i = 0; i < 3; i++)
        expect(&b, A, 1 + i * MSS, 1, MSS);
    b.window = 0;
    inject(&b, A, 1, 1 + MSS, 0);
    expect_silence(&b);
    uint64_t at = tcp_deadline_us(b.h.t);
    b.h.now_us = at;
    expect(&b, A, 1 + MSS, 1, 1); /* one octet */
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->zero_window_probes, 1);
    inject(&b, A, 1, 1 + MSS, 0);
    expect_silence(&b);
    b.window = 65535;
    inject(&b, A, 1, 2 + MSS, 0); /* it opens; the congestion window is one segment and one octet: no crumb goes out */
    expect(&b, A, 2 + MSS, 1, MSS);
    expect_silence(&b);
    inject(&b, A, 1, 2 + 2 * MSS, 0);
    expect(&b, A | P, 2 + 2 * MSS, 1, MSS - 1);
    expect_silence(&b);
    inject(&b, A, 1, 1 + 3 * MSS, 0);
    expect_silence(&b);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
}
END_TEST

/* The last octet went as a probe and is acknowledged with the window still closed: nothing is left to probe with. */
START_TEST(test_probe_takes_the_last_octet)
{
    established(0);
    make_available(&b, 1);
    expect_silence(&b);
    advance(&b, 200 * MS);
    expect(&b, A | P, 1, 1, 1);
    inject(&b, A, 1, 2, 0);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->send_acked, 1);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
    make_available(&b, 10); /* and it starts again */
    expect_silence(&b);
    advance(&b, conn_of(&b)->rto_us);
    expect(&b, A, 2, 1, 1);
}
END_TEST

/* A probe octet that was taken moves on: the next probe is the next octet. */
START_TEST(test_probes_move_on)
{
    established(0);
    make_available(&b, 3);
    for (uint32_t i = 0; i < 3; i++) {
        expect_silence(&b);
        b.h.now_us = tcp_deadline_us(b.h.t);
        expect(&b, i == 2 ? A | P : A, 1 + i, 1, 1);
        inject(&b, A, 1, 2 + i, 0);
    }
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->zero_window_probes, 3);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
}
END_TEST

/* The window closes behind text and a FIN that were out before; then an ACK of all of it comes. Nothing is left to
 * probe with. */
START_TEST(test_fin_acknowledged_while_probing)
{
    established(100);
    make_available(&b, 10);
    tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
    expect(&b, F | A | P, 1, 1, 10);
    b.window = 0;
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    advance(&b, conn_of(&b)->rto_us);
    expect(&b, A, 1, 1, 1);
    expect_silence(&b);
    if (_i == 1) /* what is below us was away, and is back */
        tcp_speak_again(b.h.t);
    b.window = 1000;
    inject(&b, A, 1, 12, 0);
    ck_assert_int_eq(state_of(&b), TCP_FIN_WAIT_2);
    if (_i == 1) /* what is below us was away, and is back */
        expect(&b, A, 12, 1, 0);
    expect_silence(&b);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
    advance(&b, 3600 * SECOND);
    expect_silence(&b);
}
END_TEST

/* Both windows were closed, both sides probed, and both took the octet: each speaks from the octet before, and what it
 * acknowledges counts all the same. */
START_TEST(test_crossed_probes)
{
    established(0);
    make_available(&b, 10);
    expect_silence(&b);
    advance(&b, 200 * MS);
    expect(&b, A, 1, 1, 1);
    inject(&b, A, 1, 1, 1); /* the peer's probe */
    expect_silence(&b);
    b.window = 1000;
    inject(&b, A, 1, 2, 0); /* and its ACK of ours, from the same place */
    expect(&b, A | P, 2, 2, 9);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->send_acked, 1);
}
END_TEST

/* RFC 9293 3.8.6.1: MUST stay open as long as probes are answered; and ends if they are not any more. */
START_TEST(test_probes_stop_being_answered)
{
    established(0);
    make_available(&b, 100);
    expect_silence(&b);
    for (int i = 0; i < 30; i++) {
        advance(&b, 120 * SECOND);
        expect(&b, A, 1, 1, 1);
        inject(&b, A, 1, 1, 0);
        expect_silence(&b);
    }
    for (int i = 0; i < 15; i++) {
        advance(&b, 120 * SECOND);
        expect(&b, A, 1, 1, 1);
        expect_silence(&b);
    }
    advance(&b, 120 * SECOND);
    expect_ended(TCP_ERROR_TIMED_OUT);
}
END_TEST

/* A FIN needs no room: nothing before it waits, so it goes. With text before it, it waits behind the text. */
START_TEST(test_fin_and_closed_window)
{
    established(0);
    tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
    expect(&b, F | A, 1, 1, 0);
    expect_silence(&b);
    teardown();
    setup();
    established(0);
    make_available(&b, 2);
    tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    b.h.now_us = tcp_deadline_us(b.h.t);
    expect(&b, A, 1, 1, 1);
    b.window = 65535;
    inject(&b, A, 1, 1, 0);
    expect(&b, F | A | P, 1, 1, 2);
    ck_assert_int_eq(state_of(&b), TCP_FIN_WAIT_1);
    expect_silence(&b);
}
END_TEST

/* ---- silly windows (RFC 9293 3.8.6.2) ---- */
/* Receiver: the edge moves by a segment or half of the ring, whichever is less, or not at all. (Without a scale one
 * octet of 65536 could not be told before.) */
static const struct {
    uint32_t ring, consumed;
    bool told; /* by a segment of its own, as the window was closed */
} opened[] = {
    {4096, 1, false},   {4096, 535, false}, {4096, 1459, false},  {4096, 1460, true},  {4096, 4096, true},
    {1024, 511, false}, {1024, 512, true},  {65536, 1458, false}, {65536, 1460, true}, {65536, 65536, true},
};

START_TEST(test_window_is_opened)
{
    b.receive_size = opened[_i].ring;
    established(65535);
    for (uint32_t at = 0; at < opened[_i].ring; at += MSS) {
        uint32_t left = opened[_i].ring - at;
        struct tcp_output out;
        inject(&b, A, 1 + at, 1, left < MSS ? left : MSS);
        while (host_poll(&b.h, &out))
            continue;
    }
    advance(&b, 40 * MS);
    struct tcp_output out;
    while (host_poll(&b.h, &out))
        continue;
    ck_assert_uint_eq(conn_of(&b)->receive_next, opened[_i].ring);
    host_drain(&b.h);
    consume(&b, opened[_i].consumed);
    if (opened[_i].told) {
        expect(&b, A, 1, 1 + opened[_i].ring, 0);
        ck_assert_uint_eq(seen_window(&b), opened[_i].consumed > 65535 ? 65535 : opened[_i].consumed);
    }
    expect_silence(&b);
}
END_TEST

/* Sender: what fills no segment, and is not all there is, waits for half of the largest window, or for the timer. */
static const struct {
    uint32_t largest, now, written;
    uint32_t sent; /* at once */
} silly[] = {
    {65535, 1000, 5000, 0},    {65535, 1459, 5000, 0},   {65535, 1460, 5000, 1460},
    {65535, 1000, 1000, 1000}, {65535, 1000, 999, 999},  {1000, 499, 5000, 0},
    {1000, 500, 5000, 500},    {1000, 1000, 5000, 1000}, {65535, 2000, 5000, 1460},
};

START_TEST(test_sender_avoids_silly_windows)
{
    b.window = silly[_i].largest;
    bench_state(&b, TCP_ESTABLISHED);
    b.window = silly[_i].now;
    inject(&b, A, 1, 1, 0);
    make_available(&b, silly[_i].written);
    if (silly[_i].sent > 0)
        expect(&b, A, 1, 1, silly[_i].sent);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->snd_max - b.iss - 1, silly[_i].sent);
    if (silly[_i].sent > 0)
        return;
    b.h.now_us = tcp_deadline_us(b.h.t); /* RFC 9293 3.8.6.2.1: the override timeout */
    expect(&b, A, 1, 1, silly[_i].now);
}
END_TEST

/* ---- delayed ACKs (RFC 9293 3.8.6.3) ---- */
START_TEST(test_delayed_ack_is_one)
{
    established(65535);
    bench_slow_acks(&b);
    uint64_t first = b.h.now_us;
    for (uint32_t i = 0; i < 5; i++) { /* small ones: the timer of the first counts, and it is set once */
        inject(&b, A, 1 + 10 * i, 1, 10);
        expect_silence(&b);
        ck_assert_uint_eq(tcp_deadline_us(b.h.t), first + 40 * MS);
        advance(&b, MS);
    }
    b.h.now_us = first + 40 * MS;
    expect(&b, A, 1, 51, 0);
    expect_silence(&b);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
}
END_TEST

/* Text that takes the ACK with it leaves no timer behind. */
START_TEST(test_text_carries_the_ack)
{
    established(65535);
    inject(&b, A, 1, 1, 10);
    make_available(&b, 10);
    expect(&b, A | P, 1, 11, 10);
    inject(&b, A, 11, 11, 0);
    expect_silence(&b);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
}
END_TEST

#define ROWS(array) (int)(sizeof array / sizeof array[0])

/* ---- whose turn it is ---- */
START_TEST(test_says_what_it_is_at)
{
    enum { NAME = 5 * TCP_WORK_NAME_STEP };
    uint64_t word = 7, watched[TCP_WORK_KINDS];
    struct tcp_work work = {
        .word = &word, .nobody = UINT64_MAX, .watched = watched, .watched_count = TCP_WORK_KINDS};
    for (uint64_t kind = 0; kind < TCP_WORK_KINDS; kind++)
        watched[kind] = NAME + kind;
    established(65535);
    tcp_tell_work(b.h.t, &work);
    ck_assert(!tcp_is_named(b.h.t, b.conn));
    tcp_name(b.h.t, b.conn, NAME);
    make_available(&b, 20);
    expect(&b, A | P, 1, 1, 20);
    ck_assert_uint_eq(word, NAME + TCP_WORK_OUTPUT);
    expect_silence(&b);
    ck_assert_uint_eq(word, UINT64_MAX);
    ck_assert_uint_eq(work.worked_on, 1U << TCP_WORK_OUTPUT);
    work.worked_on = 0;
    advance(&b, conn_of(&b)->rto_us);
    expect(&b, A | P, 1, 1, 20);
    ck_assert_uint_eq(work.worked_on, 1U << TCP_WORK_OUTPUT | 1U << TCP_WORK_RETRANSMISSION_TIMER);
    inject(&b, A | P, 1, 21, 10);
    expect_silence(&b);
    work.worked_on = 0;
    advance(&b, SECOND);
    expect(&b, A, 21, 11, 0);
    ck_assert_uint_eq(work.worked_on, 1U << TCP_WORK_OUTPUT | 1U << TCP_WORK_ACK_TIMER);
    tcp_tell_work(b.h.t, NULL);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        test_progress_resets_the_count,
        test_fin_is_resent_with_its_text,
        test_fin_is_fast_retransmitted,
        test_window_taken_back,
        test_probe_takes_the_last_octet,
        test_probes_move_on,
        test_crossed_probes,
        test_probes_stop_being_answered,
        test_fin_and_closed_window,
        test_delayed_ack_is_one,
        test_says_what_it_is_at,
        test_text_carries_the_ack,
    };
    Suite *suite = suite_create("tcp_timer");
    TCase *tc = tcase_create("tcp_timer");
    tcase_add_checked_fixture(tc, setup, teardown);
    for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tc, tests[i]);
    tcase_add_loop_test(tc, test_resent_until_given_up, 0, ROWS(resent));
    tcase_add_loop_test(tc, test_window_is_opened, 0, ROWS(opened));
    tcase_add_loop_test(tc, test_fin_acknowledged_while_probing, 0, 2);
    tcase_add_loop_test(tc, test_sender_avoids_silly_windows, 0, ROWS(silly));
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
