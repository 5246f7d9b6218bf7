// SPDX-License-Identifier: BSD-2-Clause
/* What an ACK does: the send window, the congestion window, fast retransmit and recovery, round-trip times. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_bench.h"

/* `count` full segments are in flight, from 1 on. */
static void in_flight(uint32_t count)
{
    established(65535);
    make_available(&b, count * MSS);
    for (uint32_t i = 0; i < count; i++)
        expect(&b, A, 1 + i * MSS, 1, MSS);
    expect_silence(&b);
}

/* ---- which ACK is a duplicate (RFC 5681 2) ---- */
static const struct {
    const char *name;
    uint8_t flags;
    int32_t ack; /* from SND.UNA */
    uint32_t length, window;
    bool counts;
} duplicates[] = {
    {"duplicate", A, 0, 0, 65535, true},
    {"with PSH", A | P, 0, 0, 65535, true},
    {"with URG", A | TCP_FLAG_URG, 0, 0, 65535, true},
    {"with text", A, 0, 1, 65535, false},
    {"other window", A, 0, 0, 65534, false},
    {"older", A, -1, 0, 65535, false},
    {"newer", A, 1, 0, 65535, false},
};

START_TEST(test_duplicate)
{
    in_flight(5);
    b.window = duplicates[_i].window;
    inject(&b, duplicates[_i].flags, 1, 1 + (uint32_t)duplicates[_i].ack, duplicates[_i].length);
    ck_assert_msg(conn_of(&b)->duplicate_acks == duplicates[_i].counts, "%s", duplicates[_i].name);
    ck_assert_uint_eq(counters_of(&b)->fast_retransmits, 0);
}
END_TEST

START_TEST(test_no_duplicate_when_nothing_is_in_flight)
{
    established(65535);
    for (int i = 0; i < 5; i++)
        inject(&b, A, 1, 1, 0);
    ck_assert_uint_eq(conn_of(&b)->duplicate_acks, 0);
    expect_silence(&b);
}
END_TEST

/* ---- recovery (RFC 6582) ---- */
static void duplicate_acks(uint32_t ack, int count)
{
    for (int i = 0; i < count; i++)
        inject(&b, A, 1, ack, 0);
}

/* Ten in flight; the first, the fourth and the eighth are lost. */
START_TEST(test_new_reno)
{
    in_flight(10);
    duplicate_acks(1, 3);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 5 * MSS);
    ck_assert_uint_eq(conn_of(&b)->cwnd, 8 * MSS);
    expect(&b, A, 1, 1, MSS);
    expect_silence(&b);
    duplicate_acks(1, 4); /* of the seven that arrived: the window is inflated, nothing new is there */
    ck_assert_uint_eq(conn_of(&b)->cwnd, 12 * MSS);
    expect_silence(&b);
    make_available(&b, 2 * MSS); /* and lets new ones out */
    expect(&b, A, 1 + 10 * MSS, 1, MSS);
    expect(&b, A, 1 + 11 * MSS, 1, MSS);
    expect_silence(&b);
    inject(&b, A, 1, 1 + 3 * MSS, 0); /* partial: deflated by what was acknowledged, less one segment */
    ck_assert_uint_eq(conn_of(&b)->cwnd, 10 * MSS);
    expect(&b, A, 1 + 3 * MSS, 1, MSS);
    expect_silence(&b);
    inject(&b, A, 1, 1 + 7 * MSS, 0); /* partial again */
    ck_assert_uint_eq(conn_of(&b)->cwnd, 7 * MSS);
    expect(&b, A, 1 + 7 * MSS, 1, MSS);
    expect_silence(&b);
    inject(&b, A, 1, 1 + 10 * MSS, 0);             /* all that was in flight when it began: over */
    ck_assert_uint_eq(conn_of(&b)->cwnd, 3 * MSS); /* two in flight and one more, not ssthresh: no burst */
    ck_assert_uint_eq(counters_of(&b)->fast_retransmits, 3);
    expect_silence(&b);
    inject(&b, A, 1, 1 + 12 * MSS, 0);
    expect_silence(&b);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
}
END_TEST

/* A partial ACK of less than one segment deflates by no more than it is. */
START_TEST(test_small_partial_ack)
{
    in_flight(10);
    duplicate_acks(1, 3);
    expect(&b, A, 1, 1, MSS);
    inject(&b, A, 1, 101, 0);
    ck_assert_uint_eq(conn_of(&b)->cwnd, 8 * MSS - 100);
    expect(&b, A, 101, 1, MSS);
    expect_silence(&b);
}
END_TEST

/* RFC 6582 3.2 step 2: duplicates of what was sent before the timeout start no recovery. */
START_TEST(test_no_recovery_of_before_the_timeout)
{
    in_flight(5);
    advance(&b, 200 * MS);
    expect(&b, A, 1, 1, MSS);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 2 * MSS);
    ck_assert_uint_eq(conn_of(&b)->cwnd, MSS);
    duplicate_acks(1, 5);
    ck_assert_uint_eq(counters_of(&b)->fast_retransmits, 0);
    ck_assert(!(conn_of(&b)->cwnd > MSS));
}
END_TEST

/* RFC 5681 3.1: ssthresh is set once for a segment, however often it is sent again. */
START_TEST(test_second_timeout_keeps_ssthresh)
{
    in_flight(10);
    advance(&b, 200 * MS);
    expect(&b, A, 1, 1, MSS);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 5 * MSS);
    expect_silence(&b);
    advance(&b, 400 * MS);
    expect(&b, A, 1, 1, MSS);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 5 * MSS);
}
END_TEST

/* A timeout in recovery ends it. */
START_TEST(test_timeout_in_recovery)
{
    in_flight(10);
    duplicate_acks(1, 3);
    expect(&b, A, 1, 1, MSS);
    expect_silence(&b);
    advance(&b, SECOND);
    expect(&b, A, 1, 1, MSS);
    ck_assert_uint_eq(conn_of(&b)->cwnd, MSS);
    expect_silence(&b);
    inject(&b, A, 1, 1 + MSS, 0); /* slow start, not recovery */
    ck_assert_uint_eq(conn_of(&b)->cwnd, 2 * MSS);
    expect(&b, A, 1 + MSS, 1, MSS);
    expect(&b, A, 1 + 2 * MSS, 1, MSS);
    expect_silence(&b);
}
END_TEST

/* ---- congestion avoidance ---- */
START_TEST(test_congestion_avoidance)
{
    b.send_size = 1U << 18;
    in_flight(10);
    advance(&b, 200 * MS);
    expect(&b, A, 1, 1, MSS);
    inject(&b, A, 1, 1 + 10 * MSS, 0); /* all of it at once; after a loss one segment for one ACK */
    ck_assert_uint_eq(conn_of(&b)->cwnd, 2 * MSS);
    uint32_t acked = 10, sent = 10, cwnd = 2, counted = 0; /* in segments */
    for (int i = 0; i < 40; i++) {
        make_available(&b, b.send_size - (conn_of(&b)->send_end - conn_of(&b)->send_acked));
        for (; sent < acked + cwnd; sent++)
            expect(&b, A, 1 + sent * MSS, 1, MSS);
        expect_silence(&b);
        inject(&b, A, 1, 1 + ++acked * MSS, 0);
        if (cwnd < 5) { /* ssthresh: half of what was in flight */
            cwnd++;
        } else if (++counted >= cwnd) { /* one segment for each window acknowledged */
            counted -= cwnd++;
        }
        ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd * MSS);
    }
}
END_TEST

/* One ACK of all that was in flight before a timeout leads no further than ssthresh. */
START_TEST(test_slow_start_ends_at_ssthresh)
{
    in_flight(10);
    advance(&b, 200 * MS);
    expect(&b, A, 1, 1, MSS);
    inject(&b, A, 1, 1 + MSS, 0);
    expect(&b, A, 1 + MSS, 1, MSS);
    expect(&b, A, 1 + 2 * MSS, 1, MSS);
    inject(&b, A, 1, 1 + 10 * MSS, 0);
    make_available(&b, 10 * MSS);
    for (uint32_t i = 10; i < 13; i++)
        expect(&b, A, 1 + i * MSS, 1, MSS);
    expect_silence(&b);
    inject(&b, A, 1, 1 + 13 * MSS, 0);
    ck_assert_uint_eq(conn_of(&b)->cwnd, 5 * MSS);
}
END_TEST

/* RFC 7661: what was not used does not grow. */
START_TEST(test_unused_window_does_not_grow)
{
    established(65535);
    for (uint32_t i = 0; i < 20; i++) {
        make_available(&b, MSS);
        expect(&b, A, 1 + i * MSS, 1, MSS);
        inject(&b, A, 1, 1 + (i + 1) * MSS, 0);
    }
    ck_assert_uint_eq(conn_of(&b)->cwnd, 10 * MSS);
}
END_TEST

/* ---- segment sizes and initial windows (RFC 9293 3.7.1, RFC 6928 2) ---- */
static const struct {
    const char *name;
    uint8_t family;
    uint32_t mtu;
    const char *option; /* of the peer's SYN */
    uint32_t offered, mss, window;
} sizes[] = {
    {"Ethernet", ADDRESS_IP4, 1500, "\2\4\5\xb4", 1460, 1460, 14600},
    {"Ethernet, IPv6", ADDRESS_IP6, 1500, "\2\4\5\xa0", 1440, 1440, 14400},
    {"no option", ADDRESS_IP4, 1500, "\1\1\1\1", 1460, 536, 5360},
    {"no option, IPv6", ADDRESS_IP6, 1500, "\1\1\1\1", 1440, 1220, 12200},
    {"the peer offers less", ADDRESS_IP4, 1500, "\2\4\2\0", 1460, 512, 5120},
    {"the peer offers more", ADDRESS_IP4, 1500, "\2\4\xff\xff", 1460, 1460, 14600},
    {"the peer offers nothing", ADDRESS_IP4, 1500, "\2\4\0\0", 1460, 536, 5360},
    {"the peer offers crumbs", ADDRESS_IP4, 1500, "\2\4\0\1", 1460, 88, 880},
    {"two segments are more", ADDRESS_IP4, 9000, "\2\4\x23\0", 8960, 8960, 17920},
    {"between", ADDRESS_IP4, 2540, "\2\4\x09\xc4", 2500, 2500, 14600},
    {"narrow link", ADDRESS_IP4, 576, "\2\4\5\xb4", 536, 536, 5360},
    {"narrowest link, IPv6", ADDRESS_IP6, 1280, "\2\4\5\xb4", 1220, 1220, 12200},
    {"no link", ADDRESS_IP4, 30, "\2\4\5\xb4", 88, 88, 880},
};

static void family(uint8_t which)
{
    if (which != ADDRESS_IP6)
        return;
    b.h.address = (struct ip_address){.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 2}};
    b.peer = (struct ip_address){.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 1}};
}

START_TEST(test_sizes)
{
    struct tcp_config config = {.connections = 4, .mtu = sizes[_i].mtu, .no_timestamps = true};
    bench_fini(&b);
    bench_init_with(&b, 5, &config);
    family(sizes[_i].family);
    bench_options(&b, sizes[_i].option, 4);
    bench_state(&b, TCP_SYN_RECEIVED);
    ck_assert_mem_eq(b.seen.header + 20, "\2\4", 2);
    ck_assert_msg((uint32_t)(b.seen.header[22] << 8 | b.seen.header[23]) == sizes[_i].offered, "%s", sizes[_i].name);
    inject(&b, A, 1, 1, 0);
    ck_assert_msg(conn_of(&b)->mss == sizes[_i].mss, "%s", sizes[_i].name);
    ck_assert_msg(conn_of(&b)->cwnd == sizes[_i].window, "%s", sizes[_i].name);
    expect_silence(&b);
    make_available(&b, 2 * sizes[_i].mss);
    expect(&b, A, 1, 1, sizes[_i].mss);
}
END_TEST

/* RFC 5681 3.1: one segment, if the SYN or its answer was lost. RFC 6298 5.7: and an RTO of 3 s. */
START_TEST(test_initial_window_after_a_lost_syn)
{
    for (int passive = 0; passive < 2; passive++) {
        teardown();
        setup();
        bench_state(&b, passive ? TCP_SYN_RECEIVED : TCP_SYN_SENT);
        advance(&b, SECOND);
        expect(&b, passive ? S | A : S, 0, (uint32_t)passive, 0);
        if (!passive)
            bench_options(&b, "\2\4\5\xb4", 4);
        inject(&b, passive ? A : S | A, (uint32_t)passive, 1, 0);
        ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
        ck_assert_uint_eq(conn_of(&b)->cwnd, MSS);
        ck_assert_uint_ge(conn_of(&b)->rto_us, 3 * SECOND);
    }
}
END_TEST

/* ---- the send window (RFC 9293 3.10.7.4) ---- */
static const struct {
    const char *name;
    int32_t seq; /* from the segment that updated it last */
    uint32_t ack, window, expected;
} updates[] = {
    {"newer segment", 10, 101, 500, 500},
    {"newer segment with an older ACK", 10, 51, 500, 1000}, /* SND.UNA is beyond */
    {"same segment, same ACK", 0, 101, 500, 500},
    {"same segment, newer ACK", 0, 151, 500, 500},
    {"older segment, newer ACK", -1, 151, 500, 950}, /* the edge stays */
    {"older segment, same ACK", -1, 101, 500, 1000},
};

START_TEST(test_window_update)
{
    established(65535);
    make_available(&b, 200);
    expect(&b, A | P, 1, 1, 200);
    inject(&b, A, 1, 1, 20); /* so that there is something older */
    b.window = 1000;
    inject(&b, A, 21, 101, 0);
    ck_assert_uint_eq(conn_of(&b)->snd_wnd, 1000);
    b.window = updates[_i].window;
    /* the older one carries text that is new, as only so it is acceptable */
    inject(&b, A, 21 + (uint32_t)updates[_i].seq, updates[_i].ack, updates[_i].seq < 0 ? 5 : 0);
    ck_assert_msg(conn_of(&b)->snd_wnd == updates[_i].expected, "%s: %u", updates[_i].name, conn_of(&b)->snd_wnd);
}
END_TEST

/* The window shrinks below what is in flight: nothing more goes out until it opens (RFC 9293 3.8.6: MUST be robust). */
START_TEST(test_window_shrinks)
{
    in_flight(4);
    make_available(&b, 2 * MSS);
    expect(&b, A, 1 + 4 * MSS, 1, MSS);
    expect(&b, A, 1 + 5 * MSS, 1, MSS);
    b.window = MSS;
    inject(&b, A, 1, 1 + MSS, 0); /* five in flight, room for one */
    make_available(&b, MSS);
    expect_silence(&b);
    inject(&b, A, 1, 1 + 6 * MSS, 0);
    expect(&b, A, 1 + 6 * MSS, 1, MSS);
    expect_silence(&b);
}
END_TEST

/* ---- round-trip times (RFC 6298) ---- */
static void round_trip(uint64_t us)
{
    uint32_t next = conn_of(&b)->snd_max - b.iss;
    make_available(&b, 100);
    expect(&b, A | P, next, 1, 100);
    advance(&b, us);
    inject(&b, A, 1, next + 100, 0);
}

START_TEST(test_rto)
{
    bench_state(&b, TCP_SYN_SENT);
    advance(&b, 100 * MS);
    bench_options(&b, "\2\4\5\xb4", 4);
    inject(&b, S | A, 0, 1, 0);
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(conn_of(&b)->srtt_us, 100 * MS); /* 2.2 */
    ck_assert_uint_eq(conn_of(&b)->rttvar_us, 50 * MS);
    ck_assert_uint_eq(conn_of(&b)->rto_us, 300 * MS);
    round_trip(100 * MS); /* 2.3: RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R'| */
    ck_assert_uint_eq(conn_of(&b)->srtt_us, 100 * MS);
    ck_assert_uint_eq(conn_of(&b)->rttvar_us, 37500);
    ck_assert_uint_eq(conn_of(&b)->rto_us, 300 * MS); /* 200 ms are the least above SRTT */
    round_trip(180 * MS);
    ck_assert_uint_eq(conn_of(&b)->srtt_us, 110 * MS);
    ck_assert_uint_eq(conn_of(&b)->rttvar_us, 48125);
    for (int i = 0; i < 100; i++)
        round_trip(400 * MS);
    ck_assert_uint_lt(conn_of(&b)->rttvar_us, 5 * MS);
    ck_assert_uint_gt(conn_of(&b)->rto_us, 595 * MS); /* long and steady: an ACK may be delayed as ever */
    for (int i = 0; i < 100; i++)
        round_trip(0);
    ck_assert_uint_ge(conn_of(&b)->srtt_us, 1);
    ck_assert_uint_eq(conn_of(&b)->rto_us, 200 * MS); /* as short as it gets */
}
END_TEST

START_TEST(test_rto_is_bounded)
{
    struct tcp_config config = {.connections = 4,
                                .mtu = 1500,
                                .rto_initial_us = 2 * SECOND,
                                .rto_min_us = SECOND,
                                .rto_max_us = 3 * SECOND,
                                .retries = 4,
                                .no_timestamps = true};
    bench_fini(&b);
    bench_init_with(&b, 1, &config);
    bench_state(&b, TCP_SYN_SENT);
    ck_assert_uint_eq(conn_of(&b)->rto_us, 2 * SECOND);
    advance(&b, 1900 * MS);
    inject(&b, S | A, 0, 1, 0);
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(conn_of(&b)->rto_us, 3 * SECOND); /* not 5.7 s */
    make_available(&b, 100);
    expect(&b, A | P, 1, 1, 100);
    for (int i = 0; i < 4; i++) {
        expect_silence(&b);
        ck_assert_uint_eq(tcp_deadline_us(b.h.t), b.h.now_us + 3 * SECOND);
        advance(&b, 3 * SECOND);
        expect(&b, A | P, 1, 1, 100);
    }
    expect_silence(&b);
    advance(&b, 3 * SECOND);
    expect_ended(TCP_ERROR_TIMED_OUT);
}
END_TEST

/* After a back-off an ACK of new data brings the estimate back, though nothing was timed (Karn). */
START_TEST(test_back_off_ends)
{
    in_flight(2);
    uint32_t rto = conn_of(&b)->rto_us;
    advance(&b, rto);
    expect(&b, A, 1, 1, MSS);
    expect_silence(&b);
    advance(&b, 2 * rto);
    expect(&b, A, 1, 1, MSS);
    ck_assert_uint_eq(conn_of(&b)->rto_us, 4 * rto);
    inject(&b, A, 1, 1 + MSS, 0);
    ck_assert_uint_eq(conn_of(&b)->rto_us, rto);
}
END_TEST

/* What a host reads of a connection (TCP_INFO), and whether all that was written has arrived, FIN included. */
START_TEST(test_figures)
{
    struct tcp_figures f;
    bench_options(&b, "\2\4\5\xb4\1\3\3\7", 8);
    bench_state(&b, TCP_SYN_RECEIVED);
    advance(&b, 80 * MS);
    inject(&b, A, 1, 1, 0);
    make_available(&b, 3 * MSS);
    for (uint32_t i = 0; i < 3; i++)
        expect(&b, A, 1 + i * MSS, 1, MSS);
    expect_silence(&b);
    advance(&b, 280 * MS); /* SRTT of the handshake + 200 ms */
    expect(&b, A, 1, 1, MSS);
    expect_silence(&b);
    tcp_figures(b.h.t, b.conn, &f);
    ck_assert_uint_eq(f.state, TCP_ESTABLISHED);
    ck_assert(f.scaled && !f.timestamps && f.send_window_scale == 7 && f.receive_window_scale == 1);
    ck_assert(f.retransmits == 1 && f.retransmitted == 1);
    ck_assert(f.srtt_us == 80 * MS && f.rttvar_us == 40 * MS && f.rto_us == 560 * MS);
    ck_assert(f.mss == MSS && f.cwnd == MSS && f.ssthresh == 2 * MSS);
    inject(&b, A, 1, 1 + 3 * MSS, 0);
    expect_silence(&b);
    ck_assert(!tcp_send_drained(b.h.t, b.conn)); /* nothing is in flight, but the FIN is not out */
    tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
    expect(&b, F | A, 1 + 3 * MSS, 1, 0);
    ck_assert(!tcp_send_drained(b.h.t, b.conn));
    inject(&b, A, 1, 2 + 3 * MSS, 0);
    ck_assert(tcp_send_drained(b.h.t, b.conn));
    tcp_figures(b.h.t, b.conn, &f);
    ck_assert_uint_eq(f.state, TCP_FIN_WAIT_2);
    ck_assert_uint_eq(f.retransmits, 0);
}
END_TEST

/* ---- path MTU, IPv6 (RFC 8201 4) ---- */
START_TEST(test_too_big_ip6)
{
    static const struct {
        uint32_t mtu, mss;
    } reports[] = {{1400, 1340}, {1279, 1220}, {0, 1220}, {1300, 1220}};
    family(ADDRESS_IP6);
    bench_options(&b, "\2\4\5\xa0", 4);
    established(65535);
    make_available(&b, 1440);
    expect(&b, A | P, 1, 1, 1440);
    for (size_t i = 0; i < sizeof reports / sizeof reports[0]; i++) {
        tcp_too_big(b.h.t, b.h.now_us, b.conn, b.iss + 1, reports[i].mtu);
        ck_assert_uint_eq(conn_of(&b)->mss, reports[i].mss);
    }
    expect(&b, A, 1, 1, 1220);
    expect(&b, A | P, 1221, 1, 220);
    ck_assert_uint_eq(counters_of(&b)->mss_lowered, 2);
    ck_assert_uint_eq(counters_of(&b)->drop_too_big, 2);
}
END_TEST

#define ROWS(array) (int)(sizeof array / sizeof array[0])

int main(void)
{
    const TTest *const tests[] = {
        test_no_duplicate_when_nothing_is_in_flight,
        test_new_reno,
        test_small_partial_ack,
        test_no_recovery_of_before_the_timeout,
        test_second_timeout_keeps_ssthresh,
        test_timeout_in_recovery,
        test_congestion_avoidance,
        test_slow_start_ends_at_ssthresh,
        test_unused_window_does_not_grow,
        test_initial_window_after_a_lost_syn,
        test_window_shrinks,
        test_rto,
        test_rto_is_bounded,
        test_back_off_ends,
        test_figures,
        test_too_big_ip6,
    };
    Suite *suite = suite_create("tcp_ack");
    TCase *tc = tcase_create("tcp_ack");
    tcase_add_checked_fixture(tc, setup_reno, teardown);
    for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tc, tests[i]);
    tcase_add_loop_test(tc, test_duplicate, 0, ROWS(duplicates));
    tcase_add_loop_test(tc, test_sizes, 0, ROWS(sizes));
    tcase_add_loop_test(tc, test_window_update, 0, ROWS(updates));
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
