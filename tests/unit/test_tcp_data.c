// SPDX-License-Identifier: BSD-2-Clause
/* One engine against a scripted peer: what is sent when, what is taken when, and the timers. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_bench.h"

/* ---- sending ---- */
START_TEST(test_send_and_ack)
{
    established(65535);
    make_available(&b, 4000);
    expect(&b, A, 1, 1, MSS);
    expect(&b, A, 1 + MSS, 1, MSS);
    expect(&b, A | P, 1 + 2 * MSS, 1, 4000 - 2 * MSS);
    expect_silence(&b);
    inject(&b, A, 1, 1 + MSS, 0);
    ck_assert_uint_eq(conn_of(&b)->send_acked, MSS);
    inject(&b, A, 1, 4001, 0);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->send_acked, 4000);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
    tcp_send_available(b.h.t, b.h.now_us, b.conn, 4000 + b.send_size + 1); /* more than there is room for */
    tcp_send_available(b.h.t, b.h.now_us, b.conn, 3999);                   /* backwards */
    expect_silence(&b);
}
END_TEST

START_TEST(test_super_segments)
{
    struct tcp_config config = {.connections = 4, .mtu = 1500, .gso = true};
    bench_fini(&b);
    bench_init_with(&b, 77, &config);
    b.send_size = 1U << 18;
    bench_options(&b, "\2\4\5\xb4\1\3\3\7", 8);
    established(65535);
    uint32_t sent = 0, largest = 0;
    for (int i = 0; i < 40; i++) { /* the window opens until whole super-segments go out */
        struct tcp_output out;
        make_available(&b, conn_of(&b)->send_acked + b.send_size - conn_of(&b)->send_end);
        while (host_poll(&b.h, &out)) {
            sent += out.payload_length;
            largest = out.payload_length > largest ? out.payload_length : largest;
            bool ring_end = (sent & (b.send_size - 1)) == 0;
            ck_assert(out.payload_length % MSS == 0 || ring_end || sent == conn_of(&b)->send_end);
        }
        inject(&b, A, 1, 1 + sent, 0);
    }
    ck_assert_uint_eq(largest, TCP_SUPER_SEGMENT_MAX / MSS * MSS);
}
END_TEST

START_TEST(test_nagle)
{
    bench_state(&b, TCP_ESTABLISHED);
    make_available(&b, 10);
    expect(&b, A | P, 1, 1, 10); /* nothing unacknowledged: goes at once */
    make_available(&b, 10);
    expect_silence(&b);
    make_available(&b, MSS - 10);
    expect(&b, A | P, 11, 1, MSS);
    inject(&b, A, 1, 11, 0);
    make_available(&b, 5); /* what is in flight is full-sized (Minshall) */
    expect(&b, A | P, 11 + MSS, 1, 5);
    make_available(&b, 5);
    expect_silence(&b);
    inject(&b, A, 1, 16 + MSS, 0);
    expect(&b, A | P, 16 + MSS, 1, 5);
    make_available(&b, 5);
    expect_silence(&b);
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &(struct tcp_options){.nodelay = 1});
    expect(&b, A | P, 21 + MSS, 1, 5);
    expect_silence(&b);
}
END_TEST

START_TEST(test_initial_window)
{
    established(65535);
    make_available(&b, 60000);
    for (uint32_t i = 0; i < 10; i++)
        expect(&b, A, 1 + i * MSS, 1, MSS); /* RFC 6928: 14600 octets */
    expect_silence(&b);
    inject(&b, A, 1, 1 + 10 * MSS, 0);
    ck_assert_uint_eq(conn_of(&b)->cwnd, 20 * MSS);
}
END_TEST

START_TEST(test_window_limits)
{
    established(3000);
    make_available(&b, 10000);
    expect(&b, A, 1, 1, MSS);
    expect(&b, A, 1 + MSS, 1, MSS);
    expect_silence(&b); /* 80 octets of window are left: silly */
    inject(&b, A, 1, 1 + 2 * MSS, 0);
    expect(&b, A, 1 + 2 * MSS, 1, MSS);
    expect(&b, A, 1 + 3 * MSS, 1, MSS);
    expect_silence(&b);
}
END_TEST

/* ---- timers ---- */
START_TEST(test_retransmission)
{
    established(65535);
    make_available(&b, 100);
    expect(&b, A | P, 1, 1, 100);
    uint64_t rto = conn_of(&b)->rto_us;
    ck_assert_uint_eq(rto, 200 * MS); /* the handshake took no time */
    expect_silence(&b);
    for (int i = 0; i < 15; i++) {
        ck_assert_uint_eq(tcp_deadline_us(b.h.t), b.h.now_us + rto);
        advance(&b, rto - 1);
        expect_silence(&b);
        advance(&b, 1);
        expect(&b, A | P, 1, 1, 100);
        ck_assert_uint_eq(conn_of(&b)->cwnd, MSS);
        expect_silence(&b);
        rto = rto * 2 > 120 * SECOND ? 120 * SECOND : rto * 2;
    }
    advance(&b, rto);
    expect_ended(TCP_ERROR_TIMED_OUT);
    ck_assert_uint_eq(counters_of(&b)->retransmits, 15);
}
END_TEST

/* What filled a small window and was lost is sent again, whatever was written since (RFC 6298 5.4). */
START_TEST(test_retransmission_into_a_small_window)
{
    established(65535);
    make_available(&b, 7300);
    for (uint32_t i = 0; i < 5; i++)
        expect(&b, i == 4 ? A | P : A, 1 + i * MSS, 1, MSS);
    b.window = 700;
    inject(&b, A, 1, 7301, 0);
    make_available(&b, 700);
    expect(&b, A | P, 7301, 1, 700);
    make_available(&b, 5000);
    expect_silence(&b);
    b.h.now_us += 2 * SECOND;
    expect(&b, A, 7301, 1, 700);
    expect_silence(&b);
}
END_TEST

START_TEST(test_go_back)
{
    established(65535);
    make_available(&b, 3 * MSS);
    for (uint32_t i = 0; i < 3; i++)
        expect(&b, A, 1 + i * MSS, 1, MSS);
    advance(&b, 200 * MS);
    expect(&b, A, 1, 1, MSS);
    expect_silence(&b);
    inject(&b, A, 1, 1 + MSS, 0); /* slow start from one segment */
    expect(&b, A, 1 + MSS, 1, MSS);
    expect(&b, A, 1 + 2 * MSS, 1, MSS);
    expect_silence(&b);
    inject(&b, A, 1, 1 + 3 * MSS, 0);
    expect_silence(&b);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
}
END_TEST

START_TEST(test_round_trip_time)
{
    established(65535);
    advance(&b, SECOND);
    make_available(&b, 100);
    expect(&b, A | P, 1, 1, 100);
    advance(&b, 80 * MS);
    inject(&b, A, 1, 101, 0);
    /* first sample was the handshake's (1 us at least), this is the second: 3/4 rttvar + 1/4 difference */
    ck_assert_uint_eq(conn_of(&b)->srtt_us, 80 * MS / 8 + 1);
    make_available(&b, 100);
    expect(&b, A | P, 101, 1, 100);
    uint32_t srtt = conn_of(&b)->srtt_us;
    advance(&b, 5 * SECOND);
    expect(&b, A | P, 101, 1, 100);
    inject(&b, A, 1, 201, 0);
    ck_assert_uint_eq(conn_of(&b)->srtt_us, srtt); /* Karn */
}
END_TEST

static void four_in_flight(uint32_t more)
{
    established(65535);
    make_available(&b, (4 + more) * MSS);
    for (uint32_t i = 0; i < 4 + more; i++)
        expect(&b, A, 1 + i * MSS, 1, MSS);
    expect_silence(&b);
}

START_TEST(test_fast_retransmit)
{
    four_in_flight(1);
    for (int i = 0; i < 2; i++)
        inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    inject(&b, A, 1, 1, 5); /* has text: no duplicate */
    b.window--;
    inject(&b, A, 6, 1, 0); /* other window: no duplicate */
    b.window++;
    inject(&b, A, 6, 1, 0); /* again other */
    advance(&b, 40 * MS);
    expect(&b, A, 1 + 5 * MSS, 6, 0);
    expect_silence(&b);
    inject(&b, A, 6, 1, 0);
    expect(&b, A, 1, 6, MSS);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->fast_retransmits, 1);
    inject(&b, A, 6, 1 + 2 * MSS, 0); /* partial: the next hole */
    expect(&b, A, 1 + 2 * MSS, 6, MSS);
    expect_silence(&b);
    inject(&b, A, 6, 1 + 5 * MSS, 0);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 2 * MSS);
    ck_assert_uint_le(conn_of(&b)->cwnd, 2 * MSS);
}
END_TEST

/* `recover` follows over more than half of the sequence space without loss. */
START_TEST(test_fast_retransmit_after_gigabytes)
{
    established(65535);
    b.send_size = conn_of(&b)->send_size;
    uint32_t sent = 0;
    for (uint64_t total = 0; total < 2400000000ULL;) {
        struct tcp_output out;
        uint32_t before = sent;
        tcp_send_available(b.h.t, b.h.now_us, b.conn, conn_of(&b)->send_acked + b.send_size);
        while (tcp_poll(b.h.t, b.h.now_us, &out))
            sent += out.payload_length;
        total += sent - before;
        inject(&b, A, 1, 1 + sent, 0);
    }
    struct tcp_output out;
    tcp_send_available(b.h.t, b.h.now_us, b.conn, conn_of(&b)->send_acked + b.send_size);
    while (tcp_poll(b.h.t, b.h.now_us, &out))
        ;
    uint64_t before = tcp_counters(b.h.t)->fast_retransmits;
    for (int i = 0; i < 3; i++)
        inject(&b, A, 1, 1 + sent, 0);
    while (tcp_poll(b.h.t, b.h.now_us, &out))
        ;
    ck_assert_uint_eq(tcp_counters(b.h.t)->fast_retransmits, before + 1);
}
END_TEST

START_TEST(test_limited_transmit)
{
    established(65535);
    make_available(&b, 20 * MSS);
    for (uint32_t i = 0; i < 10; i++)
        expect(&b, A, 1 + i * MSS, 1, MSS);
    expect_silence(&b);
    inject(&b, A, 1, 1, 0);
    expect(&b, A, 1 + 10 * MSS, 1, MSS);
    inject(&b, A, 1, 1, 0);
    expect(&b, A, 1 + 11 * MSS, 1, MSS);
    expect_silence(&b);
    inject(&b, A, 1, 1, 0);
    expect(&b, A, 1, 1, MSS); /* the third: fast retransmit */
    expect_silence(&b);
}
END_TEST

/* A probe is one octet, further and further apart, for ever as long as it is answered. */
START_TEST(test_zero_window)
{
    established(0);
    make_available(&b, 5000);
    expect_silence(&b);
    uint64_t interval = 200 * MS;
    for (uint64_t i = 1; i <= 40; i++) {
        ck_assert_uint_eq(tcp_deadline_us(b.h.t), b.h.now_us + interval);
        advance(&b, interval);
        expect(&b, A, 1, 1, 1);
        expect_silence(&b);
        ck_assert_uint_eq(counters_of(&b)->zero_window_probes, i);
        inject(&b, A, 1, 1, 0);
        expect_silence(&b);
        interval = interval * 2 > 120 * SECOND ? 120 * SECOND : interval * 2;
    }
    b.window = 20000;
    inject(&b, A, 1, 2, 0); /* it took the octet */
    expect(&b, A, 2, 1, MSS);
    expect(&b, A, 2 + MSS, 1, MSS);
    expect(&b, A, 2 + 2 * MSS, 1, MSS);
    expect(&b, A | P, 2 + 3 * MSS, 1, 4999 - 3 * MSS);
    expect_silence(&b);
    inject(&b, A, 1, 5001, 0);
    expect_silence(&b);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
}
END_TEST

START_TEST(test_zero_window_unanswered)
{
    established(0);
    make_available(&b, 5000);
    expect_silence(&b);
    for (int i = 0; i < 15; i++) {
        advance(&b, 120 * SECOND);
        expect(&b, A, 1, 1, 1);
        expect_silence(&b);
    }
    advance(&b, 120 * SECOND);
    expect_ended(TCP_ERROR_TIMED_OUT);
}
END_TEST

START_TEST(test_small_window_override)
{
    established(100); /* smaller than half of the largest window: only after a while */
    b.window = 40;
    inject(&b, A, 1, 1, 0);
    make_available(&b, 5000);
    expect_silence(&b);
    advance(&b, 200 * MS);
    expect(&b, A, 1, 1, 40);
}
END_TEST

/* Many timers, set and moved in disorder: each goes off at its time. */
START_TEST(test_many_timers)
{
    struct tcp_config config = {.connections = 64, .mtu = 1500};
    uint64_t due[64] = {0}, rto[64] = {0};
    uint32_t index, fired = 0;
    struct tcp_output out;
    bench_fini(&b);
    bench_init_with(&b, 1, &config);
    for (uint32_t i = 0; i < 60; i++) {
        advance(&b, (i * 7919) % 1000);
        ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 9, 4096, 4096, &index), TCP_CALL_OK);
        ck_assert(host_poll(&b.h, &out));
        rto[index] = SECOND;
        due[index] = b.h.now_us + SECOND;
    }
    while (fired < 300) {
        uint64_t next = UINT64_MAX;
        for (uint32_t i = 0; i < 60; i++)
            next = due[i] < next ? due[i] : next;
        expect_silence(&b);
        ck_assert_uint_eq(tcp_deadline_us(b.h.t), next);
        b.h.now_us = next;
        while (host_poll(&b.h, &out)) {
            ck_assert_uint_eq(due[out.conn], next);
            rto[out.conn] *= 2;
            due[out.conn] = next + rto[out.conn];
            fired++;
        }
    }
}
END_TEST

/* A deadline that moves away lets the next one through. */
START_TEST(test_timer_moves_away)
{
    uint32_t other;
    struct tcp_output out;
    established(65535);
    uint64_t start = b.h.now_us;
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 9, 4096, 4096, &other), TCP_CALL_OK);
    ck_assert(host_poll(&b.h, &out));
    advance(&b, 750 * MS);
    make_available(&b, 200);
    expect(&b, A | P, 1, 1, 200);
    expect_silence(&b);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), start + 950 * MS);
    advance(&b, 100 * MS);
    inject(&b, A, 1, 101, 0); /* RFC 6298 5.3: the timer starts again */
    expect_silence(&b);
    ck_assert_uint_gt(conn_of(&b)->retransmit_at_us, start + SECOND);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), start + SECOND);
    tcp_abort(b.h.t, b.h.now_us, other);
    expect_silence(&b);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), conn_of(&b)->retransmit_at_us);
}
END_TEST

/* ---- receiving ---- */
START_TEST(test_delayed_ack)
{
    established(65535);
    bench_slow_acks(&b);
    inject(&b, A, 1, 1, 100);
    expect_silence(&b);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), b.h.now_us + 40 * MS);
    advance(&b, 40 * MS);
    expect(&b, A, 1, 101, 0);
    expect_silence(&b);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
    inject(&b, A, 101, 1, MSS);
    expect_silence(&b);
    inject(&b, A, 101 + MSS, 1, MSS);
    expect(&b, A, 1, 101 + 2 * MSS, 0);
    b.gso_size = MSS;
    inject(&b, A, 101 + 2 * MSS, 1, 10 * MSS);
    expect(&b, A, 1, 101 + 12 * MSS, 0);
    inject(&b, A, 101 + 12 * MSS, 1, 10);
    make_available(&b, 10); /* text carries the ACK */
    expect(&b, A | P, 1, 111 + 12 * MSS, 10);
    expect_silence(&b);
}
END_TEST

/* The first sixteen go out at once, and again after a pause, when the peer begins with one segment. */
START_TEST(test_quick_ack)
{
    established(65535);
    uint32_t at = 1;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 16; i++, at += 100) {
            inject(&b, A, at, 1, 100);
            expect(&b, A, 1, at + 100, 0);
        }
        inject(&b, A, at, 1, 100);
        expect_silence(&b);
        advance(&b, 40 * MS);
        expect(&b, A, 1, at += 100, 0);
        advance(&b, conn_of(&b)->rto_us);
    }
}
END_TEST

/* Who answers what comes needs no other ACK, until he does not answer. */
START_TEST(test_quick_ack_of_a_dialogue)
{
    established(65535);
    make_available(&b, 10);
    expect(&b, A | P, 1, 1, 10);
    inject(&b, A, 1, 11, 100);
    expect_silence(&b);
    make_available(&b, 10);
    expect(&b, A | P, 11, 101, 10);
    inject(&b, A, 101, 21, 100);
    expect_silence(&b);
    advance(&b, 40 * MS);
    expect(&b, A, 21, 201, 0);
    inject(&b, A, 201, 21, 100);
    expect(&b, A, 21, 301, 0);
}
END_TEST

START_TEST(test_out_of_order)
{
    established(65535);
    bench_slow_acks(&b);
    inject(&b, A, 1001, 1, 1000);
    expect(&b, A, 1, 1, 0);
    inject(&b, A, 3001, 1, 1000);
    expect(&b, A, 1, 1, 0);
    inject(&b, A, 1501, 1, 1000); /* 2001 to 2501 is new */
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(conn_of(&b)->range_count, 2);
    ck_assert_uint_eq(counters_of(&b)->octets_in, 2500);
    inject(&b, A, 1, 1, 5000); /* covers both, the second hole, and more */
    expect(&b, A, 1, 5001, 0);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 5000);
    ck_assert_uint_eq(conn_of(&b)->range_count, 0);
    ck_assert_uint_eq(counters_of(&b)->octets_in, 5000);
}
END_TEST

/* Without SACK a peer does not know what is held: it sends the first again, and that fills what it covers. */
START_TEST(test_one_segment_fills_many_holes)
{
    established(65535);
    for (uint32_t i = 0; i < 5; i++) { /* each 100 octets, behind a hole of 100; the last is not reached */
        inject(&b, A, 101 + 200 * i, 1, 100);
        expect(&b, A, 1, 1, 0);
    }
    inject(&b, A, 1, 1, 750);
    expect(&b, A, 1, 801, 0);
    ck_assert_uint_eq(conn_of(&b)->range_count, 1);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 800);
    ck_assert_uint_eq(counters_of(&b)->octets_in, 900);
    inject(&b, A, 801, 1, 100);
    expect(&b, A, 1, 1001, 0);
    ck_assert_uint_eq(conn_of(&b)->range_count, 0);
    ck_assert_uint_eq(counters_of(&b)->octets_in, 1000);
}
END_TEST

START_TEST(test_out_of_order_over_ranges)
{
    established(65535);
    for (uint32_t i = 0; i < 5; i++) {
        inject(&b, A, 1001 + 200 * i, 1, 100);
        expect(&b, A, 1, 1, 0);
    }
    inject(&b, A, 951, 1, 400); /* begins in a hole, ends in one: 1001 and 1201 lie within */
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(conn_of(&b)->range_count, 4);
    inject(&b, A, 1401, 1, 300); /* begins and ends in what is held */
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(conn_of(&b)->range_count, 3);
    inject(&b, A, 1351, 1, 50); /* touches both its neighbours */
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(conn_of(&b)->range_count, 2);
    ck_assert_uint_eq(counters_of(&b)->octets_in, 850);
    inject(&b, A, 1, 1, 950);
    expect(&b, A, 1, 1701, 0);
    inject(&b, A, 1701, 1, 100);
    expect(&b, A, 1, 1901, 0);
    ck_assert_uint_eq(conn_of(&b)->range_count, 0);
    ck_assert_uint_eq(counters_of(&b)->octets_in, 1900);
}
END_TEST

START_TEST(test_super_segment_out_of_order)
{
    established(65535);
    b.gso_size = 1000;
    inject(&b, A, 1001, 1, 5000);
    for (int i = 0; i < 5; i++) /* one duplicate ACK for each of its segments */
        expect(&b, A, 1, 1, 0);
    expect_silence(&b);
}
END_TEST

START_TEST(test_ranges_full)
{
    established(65535);
    for (uint32_t i = 0; i < TCP_RANGES_MAX; i++) {
        inject(&b, A, 101 + 200 * i, 1, 100);
        expect(&b, A, 1, 1, 0);
    }
    inject(&b, A, 101 + 200 * TCP_RANGES_MAX, 1, 100);
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(counters_of(&b)->drop_ranges_full, 1);
    inject(&b, A, 101 + 200 * (TCP_RANGES_MAX - 1), 1, 300); /* but it may be part of the last */
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(counters_of(&b)->drop_ranges_full, 1);
    ck_assert_uint_eq(conn_of(&b)->range_count, TCP_RANGES_MAX);
    inject(&b, A, 201, 1, 100); /* joins two */
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(conn_of(&b)->range_count, TCP_RANGES_MAX - 1);
    inject(&b, A, 1, 1, 100);
    expect(&b, A, 1, 401, 0);
}
END_TEST

START_TEST(test_fin_out_of_order)
{
    established(65535);
    inject(&b, A | F, 101, 1, 100);
    expect(&b, A, 1, 1, 0);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    inject(&b, A, 1, 1, 400); /* beyond the FIN there is nothing */
    expect(&b, A, 1, 202, 0);
    ck_assert_int_eq(state_of(&b), TCP_CLOSE_WAIT);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 200);
    ck_assert_uint_eq(conn_of(&b)->fin_received, 1);
}
END_TEST

START_TEST(test_receive_window)
{
    b.receive_size = 4096;
    established(65535);
    inject(&b, A, 1, 1, 3000);
    expect(&b, A, 1, 3001, 0);
    ck_assert_uint_eq(seen_window(&b), 1096);
    inject(&b, A, 3001, 1, 3000); /* trimmed */
    expect(&b, A, 1, 4097, 0);
    ck_assert_uint_eq(seen_window(&b), 0);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 4096);
    inject(&b, A, 4097, 1, 1); /* a probe */
    expect(&b, A, 1, 4097, 0);
    consume(&b, 100); /* silly */
    expect_silence(&b);
    inject(&b, A, 4097, 1, 1); /* another: taken, there is room; the edge stays */
    advance(&b, 40 * MS);
    expect(&b, A, 1, 4098, 0);
    ck_assert_uint_eq(seen_window(&b), 0);
    consume(&b, 3997);
    expect(&b, A, 1, 4098, 0);
    ck_assert_uint_eq(seen_window(&b), 4096);
    consume(&b, 5); /* more than there is: ignored */
    ck_assert_uint_eq(conn_of(&b)->receive_consumed, 4097);
    inject(&b, A | F, 4098, 1, 0);
    expect(&b, A, 1, 4099, 0);
}
END_TEST

START_TEST(test_fin_at_closed_window)
{
    b.receive_size = 1024;
    established(65535);
    inject(&b, A | F, 1, 1, 1024);
    expect(&b, A, 1, 1026, 0);
    ck_assert_int_eq(state_of(&b), TCP_CLOSE_WAIT);
}
END_TEST

START_TEST(test_out_of_window)
{
    b.receive_size = 4096;
    established(65535);
    inject(&b, A, 4097, 1, 10);
    expect(&b, A, 1, 1, 0);
    inject(&b, A, 0xfffffff0U, 1, 10);
    expect(&b, A, 1, 1, 0);
    inject(&b, A, 0, 1, 0); /* as a keepalive: answered, but not too often */
    expect(&b, A, 1, 1, 0);
    inject(&b, A, 0, 1, 0);
    expect_silence(&b);
    advance(&b, 100 * MS);
    inject(&b, A, 0, 1, 0);
    expect(&b, A, 1, 1, 0);
    expect_silence(&b);
}
END_TEST

START_TEST(test_bad_acks)
{
    established(65535);
    inject(&b, 0, 1, 0, 10); /* no ACK */
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_no_ack, 1);
    inject(&b, A, 1, 2, 10); /* of what was not sent */
    expect(&b, A, 1, 1, 0);
    advance(&b, SECOND);
    inject(&b, A, 1, 1U - 70000U, 10); /* older than the largest window */
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(counters_of(&b)->drop_bad_ack, 2);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 0);
    inject(&b, A, 1, 1U - 100U, 10); /* old, but plausible: the text counts */
    ck_assert_uint_eq(conn_of(&b)->receive_next, 10);
}
END_TEST

/* ---- path MTU ---- */
static void resent_in(uint32_t mss)
{
    struct tcp_output out;
    uint32_t sent = 0;
    while (host_poll(&b.h, &out)) {
        ck_assert_uint_eq(out.stream_offset, sent);
        ck_assert_uint_eq(out.payload_length, 4000 - sent < mss ? 4000 - sent : mss);
        sent += out.payload_length;
    }
    ck_assert_uint_eq(sent, 4000);
}

START_TEST(test_too_big)
{
    static const struct {
        uint32_t mtu, mss;
    } rows[] = {{1000, 960}, {0, 536}, {551, 512}}; /* the last: less than any link there is has */
    established(65535);
    make_available(&b, 4000);
    resent_in(MSS);
    uint32_t una = b.iss + 1;
    tcp_too_big(b.h.t, b.h.now_us, b.conn, una - 1, 1000);    /* acknowledged long ago */
    tcp_too_big(b.h.t, b.h.now_us, b.conn, una + 4000, 1000); /* never sent */
    tcp_too_big(b.h.t, b.h.now_us, b.conn, una, 1500);        /* no news */
    tcp_too_big(b.h.t, b.h.now_us, 99, una, 1000);
    tcp_too_big(b.h.t, b.h.now_us, b.listener, una, 1000);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->mss, MSS);
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t cwnd = conn_of(&b)->cwnd;
        tcp_too_big(b.h.t, b.h.now_us, b.conn, una + 1460, rows[i].mtu);
        resent_in(rows[i].mss);
        ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd);
        tcp_too_big(b.h.t, b.h.now_us, b.conn, una + 1460, rows[i].mtu); /* of another segment of the old size */
        expect_silence(&b);
    }
    tcp_too_big(b.h.t, b.h.now_us, b.conn, una + 1460, 68); /* plausible, and forged */
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->mss_lowered, 3);
    inject(&b, A, 1, 4001, 0);
    make_available(&b, 600);
    expect(&b, A, 4001, 1, 512);
    expect(&b, A | P, 4513, 1, 88);
    inject(&b, A, 1, 4601, 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        test_send_and_ack,
        test_super_segments,
        test_nagle,
        test_initial_window,
        test_window_limits,
        test_retransmission,
        test_retransmission_into_a_small_window,
        test_fast_retransmit_after_gigabytes,
        test_go_back,
        test_round_trip_time,
        test_fast_retransmit,
        test_limited_transmit,
        test_zero_window,
        test_zero_window_unanswered,
        test_small_window_override,
        test_many_timers,
        test_timer_moves_away,
        test_delayed_ack,
        test_quick_ack,
        test_quick_ack_of_a_dialogue,
        test_out_of_order,
        test_one_segment_fills_many_holes,
        test_out_of_order_over_ranges,
        test_super_segment_out_of_order,
        test_ranges_full,
        test_fin_out_of_order,
        test_receive_window,
        test_fin_at_closed_window,
        test_out_of_window,
        test_bad_acks,
        test_too_big,
    };
    Suite *suite = suite_create("tcp_data");
    TCase *tc = tcase_create("tcp_data");
    tcase_add_checked_fixture(tc, setup_reno, teardown);
    for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
