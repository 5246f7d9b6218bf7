// SPDX-License-Identifier: BSD-2-Clause
/* Losses, with a scripted peer that SACKs: what goes out, when, and what becomes of the window. */
#include <string.h>

#include "tests/unit/suite.h"
#include "tests/unit/tcp_recovery_bench.h"

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

/* RFC 9937, in whole segments as Linux: which of the SACKs let one out. */
START_TEST(test_proportional_rate_reduction_steps)
{
    static const uint8_t sent[] = {1, 1, 1, 0, 1,
                                   0, 1, 0, 0}; /* two by limited transmit, the lost one, then new ones */
    in_flight(10);
    make_available(&b, 20 * MSS);
    for (uint32_t i = 0; i < sizeof sent; i++) {
        sack(0, 1, i + 2);
        advance(&b, 1000);
        uint32_t octets = 0;
        while (host_poll(&b.h, &b.seen))
            octets += b.seen.payload_length;
        ck_assert_msg(octets == sent[i] * MSS, "SACK %u: %u octets", i, octets);
        host_drain(&b.h);
    }
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

START_TEST(test_loss_with_many_acknowledged)
{
    in_flight(10);
    sack(4, 5, 10);
    sends(4, 1);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 5 * MSS);
}
END_TEST

/* The window comes down from what was in flight when the ACK came that told of the loss; it may be of all of it. */
START_TEST(test_probe_repaired_a_loss)
{
    in_flight(10);
    inject(&b, A, 1, SEQ(9), 0);
    expect_silence(&b);
    advance(&b, 2 * conn_of(&b)->srtt_us + 200 * MS);
    sends(9, 1);
    advance(&b, RTT);
    inject(&b, A, 1, SEQ(10), 0);
    make_available(&b, 8 * MSS);
    sends(10, 8);
    advance(&b, RTT);
    inject(&b, A, 1, SEQ(18), 0);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 4 * MSS);
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

/* A recovery for nothing, and then an ECE, at the time that the row says: what the DSACK undoes is not its reduction.
 */
static const struct {
    const char *name;
    bool during, after, behind; /* the ECE comes in recovery, when it is over, behind the DSACK */
    uint32_t cwnd;
} echoes[] = {
    {"none", false, false, false, 10},
    {"in recovery", true, false, false, 5},
    {"after it", false, true, false, 2},
    {"behind the DSACK", false, false, true, 2},
};

START_TEST(test_undo_and_ecn)
{
    in_flight(10);
    b.h.t->conn[b.conn].flags |= TCP_CONN_ECN;
    sack(0, 1, 4);
    sends(0, 1);
    inject(&b, echoes[_i].during ? A | TCP_FLAG_ECE : A, 1, SEQ(10), 0); /* it was only late */
    make_available(&b, 2 * MSS);
    expect(&b, A | TCP_FLAG_CWR, SEQ(10), 1, MSS);
    expect(&b, P | A, SEQ(11), 1, MSS);
    expect_silence(&b);
    advance(&b, RTT);
    if (echoes[_i].after)
        inject(&b, A | TCP_FLAG_ECE, 1, SEQ(11), 0);
    sack(echoes[_i].after ? 11 : 10, 0, 1);
    if (echoes[_i].behind)
        inject(&b, A | TCP_FLAG_ECE, 1, SEQ(10), 0);
    ck_assert_msg(conn_of(&b)->cwnd / MSS == echoes[_i].cwnd, "%s: %u", echoes[_i].name, conn_of(&b)->cwnd / MSS);
    ck_assert_uint_eq(counters_of(&b)->spurious_recoveries, 1);
    expect_silence(&b);
}
END_TEST

/* ---- timeouts ---- */
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

/* The user waits for a day. The low half of the clock comes round, and says nothing of what went out before. */
START_TEST(test_outage_outlives_the_clock)
{
    in_flight(10);
    uint64_t sent_us = b.h.now_us - RTT;
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &(struct tcp_options){.nodelay = 1, .user_timeout_ms = 86400000});
    inject(&b, A, 1, SEQ(1), 0);
    ck_assert_uint_eq(board()->rack.min_rtt_us, RTT);
    while (tcp_deadline_us(b.h.t) < sent_us + (1ULL << 32)) {
        b.h.now_us = tcp_deadline_us(b.h.t);
        while (host_poll(&b.h, &b.seen))
            ck_assert_uint_le(b.seen.payload_length, MSS);
        host_drain(&b.h);
    }
    b.h.now_us = sent_us + (1ULL << 32) + MS;
    inject(&b, A, 1, SEQ(10), 0);
    expect_silence(&b);
    ck_assert_uint_ge(board()->rack.min_rtt_us, RTT);
    ck_assert_uint_ge(conn_of(&b)->srtt_us, RTT);
    ck_assert_uint_eq(board()->count, 0);
}
END_TEST

/* What went out later timed out, too, and is not taken for the first of what is lost. */
START_TEST(test_reneging_with_more_in_flight)
{
    in_flight(4);
    sack(0, 1, 4);
    sends(0, 1);
    inject(&b, A, 1, SEQ(1), 0);
    advance(&b, MS);
    make_available(&b, MSS);
    sends(4, 1);
    b.h.t->sender[b.conn].recovery_at_us = 0; /* the probe is looked at elsewhere */
    advance(&b, 2 * conn_of(&b)->rto_us);
    sends(1, 1);
    ck_assert_uint_eq(counters_of(&b)->reneged, 1);
    inject(&b, A, 1, SEQ(2), 0);
    sends(2, 2);
}
END_TEST

/* RFC 4821 7.6.4: the probe was lost, but not it alone. Its octets are acknowledged when they have gone out again, in
 * smaller segments: that says nothing of its size. */
START_TEST(test_path_probe_is_inconclusive)
{
    begin(20);
    struct tcp_conn *c = &b.h.t->conn[b.conn];
    struct tcp_path *path = &b.h.t->sender[b.conn].path;
    make_available(&b, 1000);
    expect(&b, A, 1, 1, 1000);
    expect_silence(&b);
    c->mss = 1000;
    path->high = 1460;
    conn_touched(b.h.t, c);
    host_drain(&b.h);
    make_available(&b, 6230);
    expect(&b, A, 1001, 1, 1230);
    ck_assert_uint_eq(b.seen.gso_size, 0);
    for (uint32_t i = 0; i < 5; i++)
        expect(&b, A, 2231 + i * 1000, 1, 1000);
    expect_silence(&b);
    advance(&b, RTT);
    sack_octets(1, &(struct tcp_range){2231, 7231}, 1);
    expect(&b, A, 1, 1, 1000);
    expect(&b, A, 1001, 1, 1000);
    expect(&b, A, 2001, 1, 230);
    expect_silence(&b);
    advance(&b, RTT);
    inject(&b, A, 1, 7231, 0);
    ck_assert_uint_eq(conn_of(&b)->mss, 1000);
    ck_assert_uint_eq(path->probe_size, 0);
    ck_assert_uint_eq(counters_of(&b)->mtu_probes, 1);
    ck_assert_uint_eq(counters_of(&b)->mtu_probes_lost, 0);
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

/* The option that reports a duplicate takes room in the segment that it goes with, and none after: the record knows how
 * large its segments were. */
START_TEST(test_super_segment_beside_a_dsack)
{
    init(true);
    begin(40);
    inject(&b, A, 1, 1, 100);
    inject(&b, A, 1, 1, 100); /* twice */
    make_available(&b, 10 * (MSS - 12));
    expect(&b, P | A, 1, 101, 10 * (MSS - 12));
    ck_assert_uint_eq(b.seen.gso_size, MSS - 12);
    expect_silence(&b);
    b.irs += 100;
    sack_octets(1, &(struct tcp_range){1 + (MSS - 12), 1 + 2 * (MSS - 12)}, 1);
    ck_assert_uint_eq(board()->sacked, MSS - 12);
    expect(&b, A, 1, 1, MSS - 12);
    expect_silence(&b);
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
                                  test_proportional_rate_reduction_steps,
                                  test_tail_is_lost,
                                  test_probe_with_fin,
                                  test_probe_takes_new_text,
                                  test_probe_repaired_a_loss,
                                  test_loss_with_many_acknowledged,
                                  test_reordering,
                                  test_dsack,
                                  test_spurious_timeout,
                                  test_true_timeout,
                                  test_timestamps_tell,
                                  test_reneging,
                                  test_outage_outlives_the_clock,
                                  test_reneging_with_more_in_flight,
                                  test_path_probe_is_inconclusive};
    for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++)
        add(tc, tests[i], 0);
    add(tc, test_probe_is_acknowledged, sizeof probes / sizeof probes[0]);
    add(tc, test_undo_and_ecn, sizeof echoes / sizeof echoes[0]);
    add(tc, test_lies, sizeof lies / sizeof lies[0]);
    tcase_add_checked_fixture(gso, NULL, teardown);
    add(gso, test_super_segments, 0);
    add(gso, test_super_segment_beside_a_dsack, 0);
    suite_add_tcase(suite, tc);
    suite_add_tcase(suite, gso);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
