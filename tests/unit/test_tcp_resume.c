// SPDX-License-Identifier: BSD-2-Clause
/* tcp_restore(): what goes out first in each state, what of the connection is as it was, and blocks that are not what
 * they should be. The peer is scripted; test_tcp_restart.c has streams. */
#include <stddef.h>

#include "tests/unit/suite.h"
#include "tests/unit/tcp_recovery_bench.h"
#include "tests/unit/tcp_restart_bench.h"

static void sack_bench(void)
{
    bench_fini(&b);
    init(false);
}

/* ---- what goes out first ---- */
static const struct {
    enum tcp_state state;
    uint8_t flags;
    uint32_t seq, ack;
} first[] = {
    {TCP_SYN_SENT, S, 0, 0},       {TCP_SYN_RECEIVED, S | A, 0, 1}, {TCP_ESTABLISHED, A, 1, 1},
    {TCP_FIN_WAIT_1, F | A, 1, 1}, {TCP_FIN_WAIT_2, A, 2, 1},       {TCP_CLOSE_WAIT, A, 1, 2},
    {TCP_CLOSING, F | A, 1, 2},    {TCP_LAST_ACK, F | A, 1, 2},
};

START_TEST(test_first_segment)
{
    for (int from_last = 0; from_last < 2; from_last++) {
        for (unsigned i = 0; i < sizeof first / sizeof first[0]; i++) {
            bench_state(&b, first[i].state);
            advance(&b, 10 * SECOND); /* every timer is overdue */
            host_restart(&b.h, from_last);
            ck_assert_int_eq(state_of(&b), first[i].state);
            expect(&b, first[i].flags, first[i].seq, first[i].ack, 0);
            expect_silence(&b);
            ck_assert_int_eq(state_of(&b), first[i].state);
            ck_assert_uint_eq(counters_of(&b)->timeouts, 0);
            bench_fini(&b);
            bench_init(&b, 0xfffffff0U);
        }
    }
}
END_TEST

/* Whatever was to go on goes on to its end. */
START_TEST(test_states_end)
{
    bench_state(&b, TCP_FIN_WAIT_1);
    host_restart(&b.h, false);
    expect(&b, F | A, 1, 1, 0);
    inject(&b, F | A, 1, 2, 0);
    expect(&b, A, 2, 2, 0);
    expect_silence(&b);
    ck_assert(bench_in_time_wait(&b));
    bench_fini(&b);
    bench_init(&b, 5);
    bench_state(&b, TCP_LAST_ACK);
    host_restart(&b.h, false);
    expect(&b, F | A, 1, 2, 0);
    inject(&b, A, 2, 2, 0);
    expect_ended(TCP_ERROR_NONE);
}
END_TEST

START_TEST(test_orphan_in_fin_wait_2_ends)
{
    bench_state(&b, TCP_FIN_WAIT_2);
    host_restart(&b.h, false);
    expect(&b, A, 2, 1, 0);
    expect_silence(&b);
    advance(&b, 60 * SECOND);
    expect_ended(TCP_ERROR_NONE);
    ck_assert_uint_eq(counters_of(&b)->orphans_ended, 1);
}
END_TEST

/* ---- listeners and children ---- */
START_TEST(test_child_finds_its_listener)
{
    for (int from_last = 0; from_last < 2; from_last++) {
        bench_state(&b, TCP_SYN_RECEIVED);
        host_restart(&b.h, from_last);
        ck_assert_uint_eq(host_conn(&b.h, b.listener)->syn_received, 1);
        expect(&b, S | A, 0, 1, 0);
        inject(&b, A, 1, 1, 0);
        expect_silence(&b);
        ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
        ck_assert_uint_eq(host_conn(&b.h, b.listener)->syn_received, 0);
        ck_assert_uint_eq(host_conn(&b.h, b.listener)->accept_queue, 1);
        host_restart(&b.h, from_last);
        ck_assert_uint_eq(host_conn(&b.h, b.listener)->accept_queue, 1);
        ck_assert_uint_eq(conn_of(&b)->accept_pending, 1);
        expect(&b, A, 1, 1, 0);
        tcp_accepted(b.h.t, b.conn);
        host_drain(&b.h);
        ck_assert_uint_eq(host_conn(&b.h, b.listener)->accept_queue, 0);
        host_restart(&b.h, from_last);
        ck_assert_uint_eq(host_conn(&b.h, b.listener)->accept_queue, 0);
        expect(&b, A, 1, 1, 0);
        bench_fini(&b);
        bench_init(&b, 7);
    }
}
END_TEST

START_TEST(test_child_without_listener)
{
    bench_state(&b, TCP_SYN_RECEIVED);
    b.h.shadow[b.listener].state = TCP_CLOSED; /* it cannot be put back */
    host_restart(&b.h, false);
    expect(&b, R | A, 1, 1, 0);
    expect_ended(TCP_ERROR_ABORTED);
    bench_fini(&b);
    bench_init(&b, 5);
    bench_state(&b, TCP_SYN_RECEIVED);
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    b.h.shadow[b.listener].state = TCP_CLOSED;
    host_restart(&b.h, false);
    expect(&b, A, 1, 1, 0);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    ck_assert_uint_eq(conn_of(&b)->accept_pending, 0);
}
END_TEST

/* ---- what was in flight ---- */
static bool below; /* not we die but what is below us */

static void restart(void)
{
    if (below)
        tcp_speak_again(b.h.t);
    else
        host_restart(&b.h, false);
}

static void restart_in_flight(uint32_t segments)
{
    sack_bench();
    in_flight(segments);
    const struct tcp_conn was = *conn_of(&b);
    advance(&b, below ? RTT : SECOND); /* the retransmission timer is overdue */
    restart();
    expect(&b, A, SEQ(0), 1, MSS);
    expect_silence(&b);
    const struct tcp_conn *c = conn_of(&b);
    ck_assert_uint_eq(c->cwnd, was.cwnd);
    ck_assert_uint_eq(c->ssthresh, was.ssthresh);
    ck_assert_uint_eq(c->rto_us, was.rto_us);
    ck_assert_uint_eq(c->srtt_us, was.srtt_us);
    ck_assert_uint_eq(c->retransmits, 0);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 0);
    ck_assert_uint_eq(c->retransmit_at_us, b.h.now_us + c->rto_us);
    advance(&b, RTT);
}

static void peer_had_all(void)
{
    restart_in_flight(10);
    sack_octets(SEQ(10), &(struct tcp_range){SEQ(0), SEQ(1)}, 1);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->snd_una, conn_of(&b)->snd_max);
    ck_assert_uint_ge(conn_of(&b)->cwnd, 10 * MSS);
    ck_assert_uint_eq(counters_of(&b)->retransmits, 1);
    make_available(&b, MSS);
    expect(&b, A, SEQ(10), 1, MSS);
}

/* The tail never left the host: the answer to the probe is enough to send it, all of it, in one go. */
static void peer_lacks_the_tail(void)
{
    for (int closed_a_hole = 0; closed_a_hole < 2; closed_a_hole++) {
        restart_in_flight(10);
        if (closed_a_hole)
            inject(&b, A, 1, SEQ(4), 0);
        else /* it had the probe already */
            sack_octets(SEQ(4), &(struct tcp_range){SEQ(0), SEQ(1)}, 1);
        sends(4, 6);
        uint32_t cwnd = 14 * MSS; /* slow start: four are acknowledged */
        ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd);
        ck_assert_uint_eq(counters_of(&b)->retransmits, 7);
        advance(&b, RTT);
        inject(&b, A, 1, SEQ(10), 0);
        expect_silence(&b);
        ck_assert_uint_eq(conn_of(&b)->cwnd, cwnd);
        ck_assert_uint_gt(conn_of(&b)->ssthresh, cwnd); /* and goes on */
        ck_assert_uint_eq(board()->count, 0);
    }
}

START_TEST(test_peer_had_all)
{
    peer_had_all();
}
END_TEST

START_TEST(test_peer_lacks_the_tail)
{
    peer_lacks_the_tail();
}
END_TEST

/* ---- what is below has died, and is back ---- */
START_TEST(test_below_peer_had_all)
{
    below = true;
    peer_had_all();
}
END_TEST

START_TEST(test_below_peer_lacks_the_tail)
{
    below = true;
    peer_lacks_the_tail();
}
END_TEST

START_TEST(test_below_speaks)
{
    for (unsigned i = 0; i < sizeof first / sizeof first[0]; i++) {
        bench_state(&b, first[i].state);
        expect_silence(&b);
        tcp_speak_again(b.h.t);
        expect(&b, first[i].flags, first[i].seq, first[i].ack, 0);
        expect_silence(&b);
        ck_assert_int_eq(state_of(&b), first[i].state);
        ck_assert_uint_eq(counters_of(&b)->timeouts, 0);
        bench_fini(&b);
        bench_init(&b, 0xfffffff0U);
    }
}
END_TEST

START_TEST(test_below_in_recovery)
{
    sack_bench();
    in_flight(10);
    sack(0, 5, 6);
    expect_silence(&b);
    sack(0, 5, 9);
    struct tcp_output out;
    while (host_poll(&b.h, &out))
        continue; /* lost below, all of it */
    ck_assert(conn_of(&b)->flags & TCP_CONN_RECOVERY);
    uint32_t ssthresh = conn_of(&b)->ssthresh;
    advance(&b, RTT / 2);
    tcp_speak_again(b.h.t);
    expect(&b, A, SEQ(0), 1, MSS);
    advance(&b, RTT);
    sack(1, 5, 9);
    expect(&b, A, SEQ(1), 1, MSS);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, ssthresh);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 0);
}
END_TEST

/* What it reports as there is not sent again, the rest is; also where a block ends within what was a segment. */
START_TEST(test_peer_lacks_the_middle)
{
    restart_in_flight(10);
    const struct tcp_range blocks[2] = {{SEQ(0), SEQ(1)}, {SEQ(5) + 100, SEQ(8) + 40}};
    sack_octets(SEQ(2), blocks, 2);
    expect(&b, A, SEQ(2), 1, MSS);
    expect(&b, A, SEQ(3), 1, MSS);
    expect(&b, A, SEQ(4), 1, MSS);
    expect(&b, A, SEQ(5), 1, 100);
    expect(&b, A, SEQ(8) + 40, 1, MSS);
    expect(&b, A, SEQ(9) + 40, 1, MSS - 40);
    expect_silence(&b);
}
END_TEST

/* An ACK that was under way before says nothing of the probe. */
START_TEST(test_older_ack)
{
    sack_bench();
    in_flight(10);
    host_restart(&b.h, false);
    expect(&b, A, SEQ(0), 1, MSS);
    expect_silence(&b);
    advance(&b, RTT / 4);
    inject(&b, A, 1, SEQ(4), 0);
    expect_silence(&b);
    ck_assert_uint_eq(board()->lost, 0);
    ck_assert_uint_eq(board()->in_flight, 6 * MSS);
}
END_TEST

/* The peer says nothing at all: the tail is probed, before the timeout. */
START_TEST(test_probe_unanswered)
{
    restart_in_flight(10);
    advance(&b, 2 * RTT);
    expect(&b, A, SEQ(9), 1, MSS);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 0);
}
END_TEST

/* One that was in recovery has had its reduction. */
START_TEST(test_in_recovery)
{
    sack_bench();
    in_flight(10);
    sack(0, 5, 10);
    struct tcp_output out;
    while (host_poll(&b.h, &out))
        continue;
    host_drain(&b.h);
    ck_assert(conn_of(&b)->flags & TCP_CONN_RECOVERY);
    uint32_t ssthresh = conn_of(&b)->ssthresh;
    host_restart(&b.h, false);
    expect(&b, A, SEQ(0), 1, MSS);
    expect_silence(&b);
    ck_assert(!(conn_of(&b)->flags & TCP_CONN_RECOVERY));
    ck_assert_uint_eq(conn_of(&b)->cwnd, ssthresh);
    advance(&b, RTT);
    sack(1, 5, 10);
    sends(1, 4);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, ssthresh);
    advance(&b, RTT);
    inject(&b, A, 1, SEQ(10), 0);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->cwnd, ssthresh);
}
END_TEST

START_TEST(test_after_a_timeout)
{
    sack_bench();
    timed_out(10);
    uint32_t ssthresh = conn_of(&b)->ssthresh;
    host_restart(&b.h, false);
    expect(&b, A, SEQ(0), 1, MSS);
    expect_silence(&b);
    ck_assert(conn_of(&b)->flags & TCP_CONN_LOSS);
    advance(&b, RTT);
    sack_octets(SEQ(2), &(struct tcp_range){SEQ(0), SEQ(1)}, 1);
    expect(&b, A, SEQ(2), 1, MSS);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, ssthresh);
    ck_assert_uint_le(conn_of(&b)->cwnd, 3 * MSS);
}
END_TEST

/* A peer without SACK: what is left goes out again when the probe was answered. */
START_TEST(test_without_sack)
{
    b.send_size = 1 << 20;
    established(65535);
    b.h.t->conn[b.conn].cwnd = 10 * MSS;
    conn_touched(b.h.t, &b.h.t->conn[b.conn]);
    make_available(&b, 10 * MSS);
    sends(0, 10);
    advance(&b, RTT);
    host_restart(&b.h, false);
    expect(&b, A, SEQ(0), 1, MSS);
    expect_silence(&b);
    advance(&b, RTT);
    inject(&b, A, 1, SEQ(4), 0);
    sends(4, 6);
    ck_assert_uint_ge(conn_of(&b)->cwnd, 10 * MSS);
}
END_TEST

/* ---- closed windows, and what is held ---- */
START_TEST(test_closed_window)
{
    established(0);
    inject(&b, A, 1, 1, 0);
    make_available(&b, 100);
    expect_silence(&b);
    ck_assert(conn_of(&b)->flags & TCP_CONN_PERSIST);
    host_restart(&b.h, false);
    expect(&b, P | A, 1, 1, 1); /* perhaps it has opened meanwhile */
    expect_silence(&b);
    ck_assert(conn_of(&b)->flags & TCP_CONN_PERSIST);
    ck_assert_uint_gt(conn_of(&b)->retransmit_at_us, b.h.now_us);
    b.window = 1000;
    inject(&b, A, 1, 1, 0);
    expect(&b, A, 1, 1, 100);
}
END_TEST

/* Text out of order lies in the arena: it is reported, and not wanted again. */
START_TEST(test_held_text)
{
    sack_bench();
    begin(10);
    inject(&b, A, SEQ(1), 1, MSS);
    inject(&b, A, SEQ(3), 1, MSS);
    struct tcp_output out;
    while (host_poll(&b.h, &out))
        continue;
    host_drain(&b.h);
    host_restart(&b.h, false);
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(b.seen.header_length, 20 + 4 + 16);
    expect_silence(&b);
    inject(&b, A, 1, 1, MSS);
    expect(&b, A, 1, SEQ(2), 0);
    inject(&b, A, SEQ(2), 1, MSS);
    expect(&b, A, 1, SEQ(4), 0);
}
END_TEST

START_TEST(test_window_is_not_taken_back)
{
    b.receive_size = 4096;
    established(65535);
    inject(&b, A, 1, 1, 1000);
    expect(&b, A, 1, 1001, 0);
    expect_silence(&b);
    uint32_t window = seen_window(&b);
    host_restart(&b.h, false);
    expect(&b, A, 1, 1001, 0);
    ck_assert_uint_eq(seen_window(&b), window);
}
END_TEST

/* ---- what else there was ---- */
START_TEST(test_rings_grow_on)
{
    sack_bench();
    b.receive_size = b.send_size = 4096;
    begin(10);
    tcp_ring_limits(b.h.t, b.conn, 65536, 65536);
    b.h.t->sender[b.conn].autotune.receive_wanted = 8192;
    tcp_receive_granted(b.h.t, b.conn, 8192);
    struct ring_shape send = tcp_send_ring(conn_of(&b)), receive = tcp_receive_ring(conn_of(&b));
    ck_assert(ring_grow(&send, 16384, 100) && tcp_send_grown(b.h.t, b.conn, &send) && ring_grows(&receive));
    host_drain(&b.h);
    host_restart(&b.h, false);
    struct ring_shape again[2] = {tcp_send_ring(conn_of(&b)), tcp_receive_ring(conn_of(&b))};
    ck_assert(memcmp(&again[0], &send, sizeof send) == 0 && memcmp(&again[1], &receive, sizeof receive) == 0);
    ck_assert_uint_eq(conn_of(&b)->receive_most, 65536);
    expect(&b, A, 1, 1, 0);
}
END_TEST

START_TEST(test_cwr_goes_with_the_next_text)
{
    sack_bench();
    b.h.t->config.ecn = b.h.config.ecn = TCP_ECN_ON;
    begin(10);
    struct tcp_conn *c = &b.h.t->conn[b.conn];
    c->flags |= TCP_CONN_ECN | TCP_CONN_CWR | TCP_CONN_CWR_STATE;
    conn_touched(b.h.t, c);
    host_drain(&b.h);
    host_restart(&b.h, false);
    expect(&b, A, 1, 1, 0);
    make_available(&b, MSS);
    expect(&b, A | TCP_FLAG_CWR, 1, 1, MSS);
    ck_assert_uint_eq(b.seen.ecn, ECN_ECT0);
}
END_TEST

/* A larger segment was out, to find out whether it passes: what it carried goes out in the usual size. */
START_TEST(test_mtu_probe_is_out)
{
    sack_bench();
    begin(20);
    struct tcp_conn *c = &b.h.t->conn[b.conn];
    c->mss = 1000;
    c->cwnd = 20 * 1000;
    struct tcp_path *path = &b.h.t->sender[b.conn].path;
    path->high = 1460;
    path->highest = 1460;
    make_available(&b, 8000);
    expect(&b, A, 1, 1, 1230);
    ck_assert_uint_eq(counters_of(&b)->mtu_probes, 1);
    struct tcp_output out;
    while (host_poll(&b.h, &out))
        continue;
    host_drain(&b.h);
    advance(&b, RTT);
    host_restart(&b.h, false);
    expect(&b, A, 1, 1, 1000);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->mss, 1000);
    advance(&b, RTT);
    inject(&b, A, 1, 1001, 0);
    expect(&b, A, 1001, 1, 1000);
}
END_TEST

START_TEST(test_options_and_timers_stay)
{
    established(65535);
    struct tcp_options o = {
        .nodelay = 1, .keepalive = 1, .keep_idle_s = 10, .keep_interval_s = 3, .user_timeout_ms = 5000};
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &o);
    tcp_set_cork(b.h.t, b.h.now_us, b.conn, true);
    make_available(&b, 100);
    expect_silence(&b);
    const struct tcp_conn was = *conn_of(&b);
    advance(&b, 50 * MS);
    host_restart(&b.h, false);
    const struct tcp_conn *c = conn_of(&b);
    ck_assert(memcmp(&c->options, &o, sizeof o) == 0);
    ck_assert_uint_eq(c->keep_at_us, was.keep_at_us);
    ck_assert_uint_eq(c->retransmit_at_us, was.retransmit_at_us); /* the cork's */
    ck_assert_uint_eq(c->unacked_at_us, was.unacked_at_us);
    expect(&b, A, 1, 1, 0);
    expect_silence(&b);
    advance(&b, 150 * MS);
    expect(&b, P | A, 1, 1, 100);
}
END_TEST

/* All probes are out but the answer to the last one may have come while nobody listened: it goes out again. */
static void keepalive_over_a_death(const struct tcp_options *o)
{
    established(65535);
    tcp_set_options(b.h.t, b.h.now_us, b.conn, o);
    advance(&b, 10 * SECOND);
    expect(&b, A, 0, 1, 0);
    for (int i = 1; i < 3; i++) {
        advance(&b, 2 * SECOND);
        expect(&b, A, 0, 1, 0);
    }
    host_drain(&b.h);
    b.h.now_us += 3600 * SECOND;
    host_restart(&b.h, false);
    struct tcp_output out;
    unsigned probes = 0;
    while (host_poll(&b.h, &out)) {
        ck_assert_uint_eq(out.header[13], A);
        probes++;
    }
    ck_assert_uint_ge(probes, 1);
    ck_assert_uint_eq(counters_of(&b)->keepalive_probes, 1);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    advance(&b, 10 * SECOND);
    expect(&b, A, 0, 1, 0); /* an idle time later, from the first again */
    ck_assert_uint_eq(conn_of(&b)->keep_probes, 1);
}

START_TEST(test_keepalive_over_a_death)
{
    struct tcp_options o = {.keepalive = 1, .keep_idle_s = 10, .keep_interval_s = 2, .keep_count = 3};
    keepalive_over_a_death(&o);
    bench_fini(&b);
    bench_init(&b, 5);
    o.user_timeout_ms = 21000;
    keepalive_over_a_death(&o);
}
END_TEST

/* ... but a peer that is really silent is given up as soon as that one has had its time. */
START_TEST(test_keepalive_ends_over_a_death)
{
    struct tcp_options o = {.keepalive = 1, .keep_idle_s = 10, .keep_interval_s = 2, .keep_count = 1};
    struct tcp_output out;
    established(65535);
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &o);
    advance(&b, 10 * SECOND);
    expect(&b, A, 0, 1, 0);
    host_drain(&b.h);
    host_restart(&b.h, false);
    while (host_poll(&b.h, &out))
        ;
    advance(&b, 2 * SECOND);
    expect(&b, R | A, 1, 1, 0);
    ck_assert_int_eq(state_of(&b), TCP_CLOSED);
}
END_TEST

/* The user's patience ended while the host was dead: the peer can answer what goes out again. */
START_TEST(test_user_timeout_over_a_death)
{
    const struct tcp_options o = {.user_timeout_ms = 5000};
    struct tcp_output out;
    sack_bench();
    in_flight(1);
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &o);
    for (unsigned i = 0; i < 20 && counters_of(&b)->timeouts < 3; i++) {
        b.h.now_us = tcp_deadline_us(b.h.t);
        while (host_poll(&b.h, &out))
            ;
    }
    host_drain(&b.h);
    uint32_t rto_us = conn_of(&b)->rto_us;
    ck_assert_uint_gt(rto_us, 1 * SECOND); /* a long way, or a bad one */
    b.h.now_us += 3600 * SECOND;
    host_restart(&b.h, false);
    while (host_poll(&b.h, &out))
        ;
    advance(&b, rto_us - 1);
    while (host_poll(&b.h, &out)) /* a loss probe at most */
        ;
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    inject(&b, A, 1, SEQ(1), 0);
    ck_assert_uint_eq(conn_of(&b)->snd_una, conn_of(&b)->snd_max);
    expect_silence(&b);
}
END_TEST

SUITE_RUN("tcp_resume", setup, teardown, test_first_segment, test_states_end, test_orphan_in_fin_wait_2_ends,
          test_child_finds_its_listener, test_child_without_listener, test_peer_had_all, test_peer_lacks_the_tail,
          test_below_peer_had_all, test_below_peer_lacks_the_tail, test_below_speaks, test_below_in_recovery,
          test_peer_lacks_the_middle, test_older_ack, test_probe_unanswered, test_in_recovery, test_after_a_timeout,
          test_without_sack, test_closed_window, test_held_text, test_window_is_not_taken_back, test_rings_grow_on,
          test_cwr_goes_with_the_next_text, test_mtu_probe_is_out, test_options_and_timers_stay,
          test_keepalive_over_a_death, test_keepalive_ends_over_a_death, test_user_timeout_over_a_death)
