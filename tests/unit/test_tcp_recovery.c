// SPDX-License-Identifier: BSD-2-Clause
/* Losses, with a scripted peer that SACKs: what goes out, when, and what becomes of the window. The stream wraps in
 * every test. Segments are counted from 0; the round trip is 100 ms. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/tcp/recovery.h"
#include "tests/unit/suite.h"
#include "tests/unit/tcp_bench.h"

#define RTT          (100 * MS)
#define SEQ(segment) (1 + (uint32_t)(segment)*MSS)

static void init(bool gso)
{
    struct tcp_config config = {.connections = 4,
                                .mtu = 1500,
                                .secret = {1, 2, 3},
                                .gso = gso,
                                .congestion = TCP_CONGESTION_RENO,
                                .no_pacing = true};
    bench_init_with(&b, 0xfffffff0U, &config);
    b.send_size = 1 << 20;
}

static void setup_sack(void)
{
    init(false);
}

/* With a window of `segments`, and one round trip measured; `syn` are the options of the peer's. */
static void begin_with(uint32_t segments, const char *syn, uint32_t length, bool timestamps)
{
    bench_choose_iss(&b, 0xffffe000U);
    bench_state(&b, TCP_LISTEN);
    b.conn = TCP_NONE;
    bench_options(&b, syn, length);
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    expect_silence(&b);
    advance(&b, RTT);
    b.window = 65535;
    bench_options(&b, "\1\1\x8\xa\0\0\0\1\0\0\0\0", timestamps ? 12 : 0);
    inject(&b, A, 1, 1, 0);
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &(struct tcp_options){.nodelay = 1});
    expect_silence(&b);
    struct tcp_conn *c = &b.h.t->conn[b.conn];
    ck_assert(c->flags & TCP_CONN_SACK);
    c->cwnd = segments * MSS;
    conn_touched(b.h.t, c);
    host_drain(&b.h);
}

static void begin(uint32_t segments)
{
    begin_with(segments, "\2\4\5\xb4\1\1\4\2\1\3\3\7", 12, false);
}

static void sends(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        expect(&b, A, SEQ(i), 1, MSS);
    expect_silence(&b);
}

/* `count` segments are in flight; a round trip has passed. */
static void in_flight(uint32_t count)
{
    begin(count);
    make_available(&b, count * MSS);
    sends(0, count);
    advance(&b, RTT);
}

/* ACK of all before segment `ack`, and blocks: pairs of segments, up to -1. */
static void sack_octets(uint32_t ack, const struct tcp_range *block, uint32_t count)
{
    uint8_t o[40] = {1, 1, 5, (uint8_t)(2 + 8 * count)};
    for (uint32_t i = 0; i < count; i++) {
        be32 edge[2] = {be32_make(b.iss + block[i].start), be32_make(b.iss + block[i].end)};
        memcpy(o + 4 + 8 * i, edge, 8);
    }
    bench_options(&b, (const char *)o, 4 + 8 * count);
    inject(&b, A, 1, ack, 0);
}

static void sack(uint32_t ack, uint32_t from, uint32_t to)
{
    sack_octets(SEQ(ack), &(struct tcp_range){SEQ(from), SEQ(to)}, 1);
}

static struct tcp_scoreboard *board(void)
{
    return board_of(b.h.t, conn_of(&b));
}

/* ---- loss ---- */
START_TEST(test_one_is_lost)
{
    in_flight(10);
    sack(0, 1, 2);
    expect_silence(&b);
    sack(0, 1, 3);
    expect_silence(&b);
    sack(0, 1, 4); /* the third: as three duplicate ACKs */
    sends(0, 1);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 5 * MSS);
    ck_assert_uint_eq(counters_of(&b)->recoveries, 1);
    sack(0, 1, 10);
    expect_silence(&b);
    advance(&b, RTT);
    inject(&b, A, 1, SEQ(10), 0);
    ck_assert_uint_eq(conn_of(&b)->cwnd, 5 * MSS);
    ck_assert_uint_eq(conn_of(&b)->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS), 0);
    ck_assert_uint_eq(counters_of(&b)->retransmits, 1);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 0);
    ck_assert_uint_eq(board()->in_flight + board()->sacked + board()->lost, 0);
}
END_TEST

/* RFC 8985 6.2 step 5: too few arrive after it, a quarter of the round trip decides. */
START_TEST(test_reordering_timer)
{
    in_flight(2);
    sack(0, 1, 2);
    expect_silence(&b);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), b.h.now_us + RTT / 4);
    advance(&b, RTT / 4 - 1);
    expect_silence(&b);
    advance(&b, 1);
    sends(0, 1);
    ck_assert_uint_eq(counters_of(&b)->rack_marked, 1);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 0);
}
END_TEST

START_TEST(test_several_are_lost)
{
    in_flight(20);
    static const struct tcp_range blocks[] = {{SEQ(10), SEQ(20)}, {SEQ(6), SEQ(9)}, {SEQ(1), SEQ(5)}};
    sack_octets(SEQ(0), blocks, 3);
    ck_assert_uint_eq(board()->lost, 3 * MSS);
    expect(&b, A, SEQ(0), 1, MSS);
    expect(&b, A, SEQ(5), 1, MSS);
    expect(&b, A, SEQ(9), 1, MSS);
    expect_silence(&b);
    advance(&b, RTT);
    inject(&b, A, 1, SEQ(20), 0);
    ck_assert_uint_eq(counters_of(&b)->recoveries, 1);
    ck_assert_uint_eq(conn_of(&b)->cwnd, 10 * MSS);
}
END_TEST

/* What was sent after the retransmission arrives: it is lost again, and no timeout is needed to know. */
START_TEST(test_retransmission_is_lost)
{
    in_flight(10);
    make_available(&b, 10 * MSS);
    sack(0, 1, 10);
    expect(&b, A, SEQ(0), 1, MSS);
    advance(&b, 1); /* the rest goes out a little later */
    while (host_poll(&b.h, &b.seen))
        continue;
    ck_assert_uint_ge(conn_of(&b)->snd_max - b.iss, SEQ(12));
    host_drain(&b.h);
    advance(&b, RTT);
    sack(0, 1, 11);
    expect(&b, A, SEQ(0), 1, MSS);
    ck_assert_uint_eq(counters_of(&b)->recoveries, 1);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 0);
    host_drain(&b.h);
}
END_TEST

/* RFC 9937: with one of twenty lost, half of what arrives goes out again, and at the end ssthresh is in flight. */
START_TEST(test_proportional_rate_reduction)
{
    in_flight(20);
    make_available(&b, 40 * MSS);
    uint32_t sent = 0;
    for (uint32_t i = 2; i <= 20; i++) {
        sack(0, 1, i);
        while (host_poll(&b.h, &b.seen))
            sent += b.seen.payload_length / MSS;
        host_drain(&b.h);
        if (conn_of(&b)->flags & TCP_CONN_RECOVERY) {
            struct tcp_episode *r = &board()->recovery;
            ck_assert_uint_le(r->prr_out, (r->prr_delivered + 1) / 2 + MSS);
            ck_assert_uint_ge(r->prr_out + MSS, r->prr_delivered / 2);
        }
    }
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 10 * MSS);
    ck_assert_uint_ge(board()->in_flight, 9 * MSS);
    ck_assert_uint_le(board()->in_flight, 10 * MSS);
    ck_assert_uint_ge(sent, 10);
    ck_assert_uint_le(sent, 12);
}
END_TEST

/* As Linux: what is lost of a window that the recovery has answered for does not lower ssthresh again. */
START_TEST(test_timeout_in_recovery)
{
    in_flight(10);
    sack(0, 1, 4);
    sends(0, 1);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 5 * MSS);
    while (counters_of(&b)->timeouts == 0) {
        b.h.now_us = tcp_deadline_us(b.h.t);
        while (host_poll(&b.h, &b.seen)) {
        }
    }
    host_drain(&b.h);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 5 * MSS);
    ck_assert_uint_eq(conn_of(&b)->cwnd, MSS);
}
END_TEST

/* RFC 5681 equation 4: of what was in flight, of which the ACK that tells of the loss has taken some off. */
START_TEST(test_flight_before_the_ack)
{
    in_flight(10);
    sack(2, 3, 6);
    ck_assert(conn_of(&b)->flags & TCP_CONN_RECOVERY);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 5 * MSS);
    sends(2, 1);
}
END_TEST

/* Each ACK: a first sample that was wrong is forgotten within a window. RTTVAR falls once a round trip. */
START_TEST(test_sample_of_each_ack)
{
    in_flight(10);
    struct tcp_conn *c = &b.h.t->conn[b.conn];
    c->srtt_us = 10 * RTT;
    c->rttvar_us = 20 * RTT;
    for (uint32_t i = 1; i <= 8; i++)
        inject(&b, A, 1, SEQ(i), 0);
    ck_assert_uint_lt(conn_of(&b)->srtt_us, 5 * RTT);
    ck_assert_uint_ge(conn_of(&b)->rttvar_us, 15 * RTT);
    expect_silence(&b);
}
END_TEST

/* ---- 7: the end of a flight ---- */
START_TEST(test_tail_is_lost)
{
    in_flight(10);
    inject(&b, A, 1, SEQ(6), 0); /* the rest is lost */
    expect_silence(&b);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), b.h.now_us + 2 * conn_of(&b)->srtt_us + 2 * MS);
    advance(&b, 2 * conn_of(&b)->srtt_us + 2 * MS);
    sends(9, 1);
    ck_assert_uint_eq(counters_of(&b)->loss_probes, 1);
    advance(&b, RTT);
    sack(6, 9, 10);
    sends(6, 1);
    advance(&b, RTT);
    sack(7, 9, 10);
    sends(7, 2); /* RFC 9937: an ACK that brings no other loss lets one more out */
    ck_assert_uint_eq(counters_of(&b)->timeouts, 0);
}
END_TEST

/* The FIN went out alone; if it is lost, so may be what was before it. */
START_TEST(test_probe_with_fin)
{
    begin(10);
    make_available(&b, 3 * MSS);
    sends(0, 3);
    advance(&b, MS);
    tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
    expect(&b, F | A, SEQ(3), 1, 0);
    expect_silence(&b);
    b.h.now_us = tcp_deadline_us(b.h.t);
    expect(&b, F | A, SEQ(2), 1, MSS);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->loss_probes, 1);
    inject(&b, A, 1, SEQ(3) + 1, 0);
    expect_silence(&b);
    ck_assert_uint_eq(board()->count, 0);
}
END_TEST

START_TEST(test_probe_takes_new_text)
{
    in_flight(4);
    inject(&b, A, 1, SEQ(2), 0);
    expect_silence(&b);
    b.h.t->conn[b.conn].cwnd = 2 * MSS;
    make_available(&b, MSS);
    expect_silence(&b);
    advance(&b, 2 * conn_of(&b)->srtt_us + 2 * MS);
    sends(4, 1);
    ck_assert_uint_eq(counters_of(&b)->loss_probes, 1);
    ck_assert_uint_eq(counters_of(&b)->retransmits, 0);
}
END_TEST

static const struct {
    const char *name;
    bool more, dsack, duplicate, active, reduced;
} probes[] = {
    {"repaired: something beyond is acknowledged", true, false, false, false, true},
    {"both arrived: a D-SACK", false, true, false, false, false},
    {"both arrived: a duplicate ACK", false, false, true, false, false},
    {"not known yet", false, false, false, true, false},
};

/* 7.4.2 */
START_TEST(test_probe_is_acknowledged)
{
    in_flight(10);
    inject(&b, A, 1, SEQ(9), 0);
    expect_silence(&b);
    advance(&b, 2 * conn_of(&b)->srtt_us + 200 * MS);
    sends(9, 1);
    uint32_t cwnd = conn_of(&b)->cwnd;
    advance(&b, RTT);
    if (probes[_i].dsack)
        sack(10, 9, 10);
    else
        inject(&b, A, 1, SEQ(10), 0);
    if (probes[_i].duplicate) {
        make_available(&b, MSS); /* something is in flight */
        sends(10, 1);
        inject(&b, A, 1, SEQ(10), 0);
    }
    if (probes[_i].more) {
        make_available(&b, MSS);
        sends(10, 1);
        inject(&b, A, 1, SEQ(11), 0);
    }
    ck_assert_msg(board()->probe.active == probes[_i].active, "%s", probes[_i].name);
    ck_assert_msg((conn_of(&b)->cwnd < cwnd) == probes[_i].reduced, "%s", probes[_i].name);
    host_drain(&b.h);
}
END_TEST

/* ---- no loss ---- */
START_TEST(test_reordering)
{
    in_flight(4);
    sack(0, 1, 2);
    expect_silence(&b);
    advance(&b, RTT / 4 - 1);
    inject(&b, A, 1, SEQ(4), 0);
    expect_silence(&b);
    ck_assert(board()->rack.reordering_seen);
    make_available(&b, 4 * MSS);
    sends(4, 4);
    advance(&b, RTT);
    sack(4, 5, 8); /* three, but the path reorders */
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->retransmits, 0);
}
END_TEST

/* The retransmission was for nothing: the window is as it was, and RACK waits longer. */
START_TEST(test_dsack)
{
    in_flight(10);
    uint32_t cwnd = conn_of(&b)->cwnd;
    sack(0, 1, 4);
    sends(0, 1);
    inject(&b, A, 1, SEQ(10), 0); /* it was only late */
    ck_assert_uint_lt(conn_of(&b)->cwnd, cwnd);
    advance(&b, RTT);
    sack(10, 0, 1);
    ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd);
    ck_assert_uint_eq(counters_of(&b)->dsacks_in, 1);
    ck_assert_uint_eq(counters_of(&b)->spurious_recoveries, 1);
    ck_assert_uint_eq(board()->rack.reo_wnd_mult, 1);
    expect_silence(&b);
}
END_TEST

/* ---- timeouts ---- */
static void timed_out(uint32_t count)
{
    in_flight(count);
    struct tcp_sender *s = &b.h.t->sender[b.conn];
    s->recovery_at_us = 0; /* the probe is looked at elsewhere */
    advance(&b, conn_of(&b)->rto_us);
    sends(0, 1);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 1);
    ck_assert_uint_eq(conn_of(&b)->cwnd, MSS);
}

/* RFC 5682 3.1 steps 2 b, 3 b. */
START_TEST(test_spurious_timeout)
{
    timed_out(10);
    inject(&b, A, 1, SEQ(1), 0); /* may be either */
    make_available(&b, 5 * MSS);
    sends(10, 2);                /* new text */
    inject(&b, A, 1, SEQ(2), 0); /* that went out once only */
    ck_assert_uint_eq(counters_of(&b)->spurious_timeouts, 1);
    ck_assert_uint_ge(conn_of(&b)->cwnd, 10 * MSS);
    ck_assert_uint_eq(board()->lost, 0);
    ck_assert_uint_eq(conn_of(&b)->flags & TCP_CONN_LOSS, 0);
    while (host_poll(&b.h, &b.seen))
        ck_assert_uint_ge(b.seen.stream_offset, 12 * MSS);
    host_drain(&b.h);
    ck_assert_uint_eq(counters_of(&b)->retransmits, 1);
}
END_TEST

/* Steps 2 b, 3 a: what was lost goes out; what is SACKED does not. */
START_TEST(test_true_timeout)
{
    timed_out(10);
    inject(&b, A, 1, SEQ(1), 0);
    make_available(&b, 2 * MSS);
    sends(10, 2);
    sack(1, 10, 12);
    ck_assert_uint_eq(counters_of(&b)->spurious_timeouts, 0);
    for (uint32_t i = 1; i < 10; i++) {
        expect(&b, A, SEQ(i), 1, MSS);
        sack(i + 1, 10, 12);
    }
    inject(&b, A, 1, SEQ(12), 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 1);
    ck_assert_uint_eq(conn_of(&b)->flags & TCP_CONN_LOSS, 0);
}
END_TEST

/* RFC 4015: the ACK echoes what was said before the retransmission. */
START_TEST(test_timestamps_tell)
{
    static const char syn[] = "\2\4\5\xb4\4\2\x8\xa\0\0\0\1\0\0\0\0";
    begin_with(10, syn, sizeof syn - 1, true);
    uint32_t mss = conn_send_mss(conn_of(&b));
    make_available(&b, 10 * mss);
    for (uint32_t i = 0; i < 10; i++)
        expect(&b, A, 1 + i * mss, 1, mss);
    uint8_t echo[12] = {1, 1, 8, 10, 0, 0, 0, 2};
    memcpy(echo + 8, b.seen.header + 24, 4); /* TSval of what went out first */
    expect_silence(&b);
    b.h.t->sender[b.conn].recovery_at_us = 0;
    advance(&b, RTT + conn_of(&b)->rto_us);
    expect(&b, A, 1, 1, mss);
    expect_silence(&b);
    bench_options(&b, (const char *)echo, 12);
    inject(&b, A, 1, 1 + mss, 0);
    ck_assert_uint_eq(counters_of(&b)->spurious_timeouts, 1);
    ck_assert_uint_ge(conn_of(&b)->cwnd, 10 * mss);
    expect_silence(&b);
}
END_TEST

/* RFC 2018 8 */
START_TEST(test_reneging)
{
    in_flight(4);
    sack(0, 1, 4);
    sends(0, 1);
    inject(&b, A, 1, SEQ(1), 0); /* and of the others it knows nothing any more */
    expect_silence(&b);
    advance(&b, 2 * conn_of(&b)->rto_us);
    ck_assert_uint_eq(counters_of(&b)->reneged, 0);
    sends(1, 1);
    ck_assert_uint_eq(counters_of(&b)->reneged, 1);
    ck_assert_uint_eq(board()->sacked, 0);
    inject(&b, A, 1, SEQ(2), 0);
    sends(2, 2);
}
END_TEST

/* ---- a peer that lies ---- */
static const struct {
    const char *name;
    uint32_t start, end;
    uint32_t dropped, sacked; /* octets */
} lies[] = {
    {"inverted", SEQ(3), SEQ(2), 1, 0},
    {"empty", SEQ(3), SEQ(3), 1, 0},
    {"never sent", SEQ(3), SEQ(11), 1, 0},
    {"far beyond", SEQ(3), 0x70000000U, 1, 0},
    {"far below", 0x90000000U, SEQ(0), 1, 0},
    {"begins at the ACK", SEQ(0), SEQ(2), 1, 0},
    {"begins below, ends above", 0, SEQ(2), 1, 0},
    {"less than a segment", SEQ(3) + 1, SEQ(4) - 1, 0, 0},
    {"one and two pieces", SEQ(3) - 7, SEQ(4) + 7, 0, MSS},
    {"good", SEQ(3), SEQ(5), 0, 2 * MSS},
};

START_TEST(test_lies)
{
    in_flight(10);
    sack_octets(SEQ(0), &(struct tcp_range){lies[_i].start, lies[_i].end}, 1);
    ck_assert_msg(counters_of(&b)->drop_sack == lies[_i].dropped, "%s", lies[_i].name);
    ck_assert_msg(board()->sacked == lies[_i].sacked, "%s", lies[_i].name);
    ck_assert_uint_eq(board()->in_flight + board()->sacked, 10 * MSS);
    expect_silence(&b);
}
END_TEST

/* ---- super-segments ---- */
START_TEST(test_super_segments)
{
    init(true);
    begin(40);
    make_available(&b, 40 * MSS);
    for (uint32_t i = 0; i < 4; i++)
        expect(&b, A, SEQ(10 * i), 1, 10 * MSS);
    expect_silence(&b);
    ck_assert_uint_eq(board()->count, 1); /* one burst */
    advance(&b, RTT);
    sack(0, 4, 40);
    ck_assert_uint_eq(board()->lost, 4 * MSS);
    expect(&b, A, SEQ(0), 1, 4 * MSS);
    ck_assert_uint_eq(b.seen.gso_size, MSS);
    expect_silence(&b);
    ck_assert_uint_eq(board()->count, 2);
}
END_TEST

static void add(TCase *tc, const TTest *test, int count)
{
    if (count > 0)
        tcase_add_loop_test(tc, test, 0, count);
    else
        tcase_add_test(tc, test);
}

int main(void)
{
    Suite *suite = suite_create("tcp_recovery");
    TCase *tc = tcase_create("tcp_recovery"), *gso = tcase_create("super_segments");
    tcase_add_checked_fixture(tc, setup_sack, teardown);
    const TTest *const tests[] = {test_one_is_lost,
                                  test_reordering_timer,
                                  test_several_are_lost,
                                  test_retransmission_is_lost,
                                  test_proportional_rate_reduction,
                                  test_timeout_in_recovery,
                                  test_flight_before_the_ack,
                                  test_sample_of_each_ack,
                                  test_tail_is_lost,
                                  test_probe_with_fin,
                                  test_probe_takes_new_text,
                                  test_reordering,
                                  test_dsack,
                                  test_spurious_timeout,
                                  test_true_timeout,
                                  test_timestamps_tell,
                                  test_reneging};
    for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++)
        add(tc, tests[i], 0);
    add(tc, test_probe_is_acknowledged, sizeof probes / sizeof probes[0]);
    add(tc, test_lies, sizeof lies / sizeof lies[0]);
    tcase_add_checked_fixture(gso, NULL, teardown);
    add(gso, test_super_segments, 0);
    suite_add_tcase(suite, tc);
    suite_add_tcase(suite, gso);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
