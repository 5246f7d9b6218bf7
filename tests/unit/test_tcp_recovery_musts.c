// SPDX-License-Identifier: BSD-2-Clause
/* Loss recovery: what its RFCs say MUST, MUST NOT or SHOULD be and no other test shows (tests/conformance/rfc). */
#include "tests/unit/suite.h"
#include "tests/unit/tcp_recovery_bench.h"

/* RFC 2883 5: the block is compared with the ACK beside it, not with what is acknowledged by now. */
START_TEST(test_old_ack_is_no_dsack)
{
    in_flight(10);
    inject(&b, A, 1, SEQ(6), 0);
    sack(2, 3, 4); /* overtaken */
    ck_assert_uint_eq(counters_of(&b)->dsacks_in, 0);
    ck_assert_uint_eq(counters_of(&b)->drop_sack, 0);
    ck_assert_uint_eq(board()->rack.reo_wnd_mult, 0);
    sack(6, 3, 4);
    ck_assert_uint_eq(counters_of(&b)->dsacks_in, 1);
    expect_silence(&b);
}
END_TEST

/* RFC 3042 2. */
START_TEST(test_limited_transmit_needs_a_block)
{
    in_flight(10);
    make_available(&b, 5 * MSS);
    expect_silence(&b);
    for (int i = 0; i < 2; i++) {
        inject(&b, A, 1, SEQ(0), 0);
        expect_silence(&b);
    }
    sack(0, 1, 2);
    sends(10, 1);
    sack(0, 1, 2); /* nothing new */
    expect_silence(&b);
}
END_TEST

/* ---- RFC 4821 7.4 ---- */

/* Of text without end no more than `segments` of the size that passes goes out, and nothing else. */
static void no_probe(uint32_t segments)
{
    make_available(&b, 100000 - (conn_of(&b)->send_end - conn_of(&b)->send_acked));
    while (host_poll(&b.h, &b.seen)) {
        ck_assert_uint_le(b.seen.payload_length, 1000);
        ck_assert_uint_gt(segments--, 0);
    }
    host_drain(&b.h);
    ck_assert_uint_eq(counters_of(&b)->mtu_probes, 0);
}

START_TEST(test_no_path_probe_when_it_would_harm)
{
    begin(10);
    struct tcp_conn *c = &b.h.t->conn[b.conn];
    c->mss = 1000;
    c->cwnd = 10 * 1000;
    b.h.t->sender[b.conn].path.high = 1460;
    conn_touched(b.h.t, c);
    host_drain(&b.h);
    no_probe(10); /* the window is small */
    advance(&b, RTT);
    c->cwnd = 40 * 1000;
    sack_octets(1, &(struct tcp_range){1001, 8001}, 1);
    ck_assert(c->flags & TCP_CONN_RECOVERY);
    c->cwnd = 40 * 1000;
    conn_touched(b.h.t, c);
    host_drain(&b.h);
    no_probe(40); /* something is lost */
    advance(&b, RTT);
    inject(&b, A, 1, c->snd_max - c->iss, 0);
    ck_assert_uint_eq(c->flags & TCP_CONN_RECOVERY, 0);
    c->cwnd = 40 * 1000;
    make_available(&b, 10000);
    ck_assert(host_poll(&b.h, &b.seen)); /* now */
    ck_assert_uint_eq(b.seen.payload_length, 1230);
    while (host_poll(&b.h, &b.seen))
        continue;
    host_drain(&b.h);
    ck_assert_uint_eq(counters_of(&b)->mtu_probes, 1);
}
END_TEST

/* ---- RFC 5682 2.1 ---- */

/* Twice in a row, or (1) with progress between: what comes then, from before, undoes nothing. */
START_TEST(test_second_timeout_is_true)
{
    timed_out(10);
    if (_i == 1) {
        inject(&b, A, 1, SEQ(1), 0);
        sends(1, 2);
    }
    b.h.t->sender[b.conn].recovery_at_us = 0;
    advance(&b, conn_of(&b)->rto_us);
    sends(_i == 1 ? 1 : 0, 1);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 2);
    make_available(&b, 10 * MSS);
    inject(&b, A, 1, SEQ(_i + 1), 0);
    inject(&b, A, 1, SEQ(8), 0); /* of which some never went out again */
    ck_assert_uint_eq(counters_of(&b)->spurious_timeouts, 0);
    ck_assert(conn_of(&b)->flags & TCP_CONN_LOSS);
    ck_assert_uint_lt(conn_of(&b)->cwnd, 10 * MSS);
    while (host_poll(&b.h, &b.seen))
        continue;
    host_drain(&b.h);
}
END_TEST

START_TEST(test_frto_without_new_text)
{
    timed_out(10);
    inject(&b, A, 1, SEQ(1), 0);
    sends(1, 2); /* there is nothing new: it goes on with what is lost */
    inject(&b, A, 1, SEQ(5), 0);
    ck_assert_uint_eq(counters_of(&b)->spurious_timeouts, 0);
    ck_assert(conn_of(&b)->flags & TCP_CONN_LOSS);
    ck_assert_uint_lt(conn_of(&b)->cwnd, 10 * MSS);
    while (host_poll(&b.h, &b.seen))
        continue;
    host_drain(&b.h);
}
END_TEST

/* ---- RFC 8985 ---- */

/* 6.2 step 2: what was sent again is acknowledged half a round trip later, so it was the original that came: what went
 * out between the two is not older than what arrived last. */
START_TEST(test_answered_too_fast)
{
    in_flight(10);
    sack(0, 1, 4);
    sends(0, 1);
    advance(&b, _i == 0 ? RTT / 2 : RTT);
    sack(1, 2, 4);
    ck_assert_uint_eq(board()->lost + board()->in_flight, 6 * MSS);
    ck_assert_uint_eq(board()->lost > 0, _i == 1); /* a round trip later they are lost indeed */
    while (host_poll(&b.h, &b.seen))
        continue;
    host_drain(&b.h);
}
END_TEST

/* 6.2 step 2: likewise, however late, if the echo is from before. */
START_TEST(test_answered_with_an_older_echo)
{
    static const char syn[] = "\2\4\5\xb4\4\2\x8\xa\0\0\0\1\0\0\0\0";
    begin_with(10, syn, sizeof syn - 1, true);
    uint32_t mss = conn_send_mss(conn_of(&b));
    uint8_t o[24] = {1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 0, 1, 1, 5, 10};
    make_available(&b, 10 * mss);
    for (uint32_t i = 0; i < 10; i++)
        expect(&b, A, 1 + i * mss, 1, mss);
    expect_silence(&b);
    memcpy(o + 8, b.seen.header + 24, 4); /* TSval of what went out first */
    be32 edge[2] = {be32_make(b.iss + 1 + mss), be32_make(b.iss + 1 + 4 * mss)};
    memcpy(o + 16, edge, sizeof edge);
    advance(&b, RTT);
    bench_options(&b, (const char *)o, 24);
    inject(&b, A, 1, 1, 0);
    expect(&b, A, 1, 1, mss);
    expect_silence(&b);
    advance(&b, RTT);
    if (_i == 1) {
        be32 now = be32_make(timestamp_clock(b.h.t, b.h.now_us, conn_of(&b)->ts_offset));
        memcpy(o + 8, &now, sizeof now);
    }
    bench_options(&b, (const char *)o, 12);
    inject(&b, A, 1, 1 + 4 * mss, 0);
    ck_assert_uint_eq(board()->lost + board()->in_flight, 6 * mss);
    ck_assert_uint_eq(board()->lost > 0, _i == 1);
    while (host_poll(&b.h, &b.seen))
        continue;
    host_drain(&b.h);
}
END_TEST

static const struct {
    const char *name;
    uint32_t segments, rto_us, after_us; /* of two round trips; 0: when the retransmission timer would go off */
} waits[] = {
    {"one: its ACK may be delayed", 1, SECOND, 200 * MS},
    {"two", 2, SECOND, 2 * MS},
    {"not after the retransmission timer", 1, 350 * MS, 0},
};

/* 7.2 */
START_TEST(test_time_of_the_probe)
{
    begin(10);
    b.h.t->conn[b.conn].rto_us = waits[_i].rto_us;
    make_available(&b, waits[_i].segments * MSS);
    sends(0, waits[_i].segments);
    uint32_t wait_us = 2 * conn_of(&b)->srtt_us + waits[_i].after_us;
    wait_us = waits[_i].after_us != 0 ? wait_us : waits[_i].rto_us;
    ck_assert_msg(tcp_deadline_us(b.h.t) == b.h.now_us + wait_us, "%s", waits[_i].name);
    advance(&b, wait_us - 1);
    expect_silence(&b);
    advance(&b, 1);
    sends(waits[_i].segments - 1, 1);
    ck_assert_uint_eq(counters_of(&b)->loss_probes, 1);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 0);
}
END_TEST

/* 7.3: with one probe out the retransmission timer is next, counted from it. */
START_TEST(test_one_probe_at_a_time)
{
    in_flight(3);
    b.h.t->conn[b.conn].rto_us = SECOND;
    b.h.t->conn[b.conn].cwnd = 10 * MSS;
    advance(&b, tcp_deadline_us(b.h.t) - b.h.now_us);
    sends(2, 1);
    uint64_t timeout_us = b.h.now_us + SECOND;
    ck_assert_uint_eq(counters_of(&b)->loss_probes, 1);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), timeout_us);
    make_available(&b, MSS);
    sends(3, 1);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), timeout_us);
    advance(&b, SECOND);
    sends(0, 1);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 1);
    advance(&b, conn_of(&b)->rto_us);
    sends(0, 1);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 2);
    ck_assert_uint_eq(counters_of(&b)->loss_probes, 1);
}
END_TEST

int main(void)
{
    const struct {
        const TTest *test;
        int rows;
    } tests[] = {{test_old_ack_is_no_dsack, 1},
                 {test_limited_transmit_needs_a_block, 1},
                 {test_no_path_probe_when_it_would_harm, 1},
                 {test_second_timeout_is_true, 2},
                 {test_frto_without_new_text, 1},
                 {test_answered_too_fast, 2},
                 {test_answered_with_an_older_echo, 2},
                 {test_time_of_the_probe, sizeof waits / sizeof waits[0]},
                 {test_one_probe_at_a_time, 1}};
    Suite *suite = suite_create("tcp_recovery_musts");
    TCase *tc = tcase_create("tcp_recovery_musts");
    tcase_add_checked_fixture(tc, setup_sack, teardown);
    for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_loop_test(tc, tests[i].test, 0, tests[i].rows);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
