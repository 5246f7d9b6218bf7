// SPDX-License-Identifier: BSD-2-Clause
/* Pacing: when segments go out, how large they are, and what it does to a queue that is shorter than a window. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/tcp/congestion.h"
#include "tests/unit/suite.h"
#include "tests/unit/tcp_bench.h"
#include "tests/unit/tcp_link.h"

/* ---- one engine ---- */
static void setup_paced(void)
{
    struct tcp_config config = {.connections = 16, .mtu = 1500, .secret = {1, 2, 3}, .gso = true};
    bench_init_with(&b, 0xfffffff0U, &config);
    b.send_size = b.receive_size = 1 << 20;
}

/* Goes out now; octets. */
static uint32_t send_now(uint32_t *ret_largest)
{
    struct tcp_output out;
    uint32_t octets = 0;
    while (host_poll(&b.h, &out)) {
        octets += out.payload_length;
        if (ret_largest != NULL && out.payload_length > *ret_largest)
            *ret_largest = out.payload_length;
    }
    host_drain(&b.h);
    return octets;
}

/* The first window is out, `rtt_us` have passed, and all of it is acknowledged; the ring is full. */
static void one_round_trip(uint64_t rtt_us)
{
    established(65535);
    make_available(&b, 10 * MSS);
    ck_assert_uint_eq(send_now(NULL), 10 * MSS); /* not paced */
    advance(&b, rtt_us);
    inject(&b, A, 1, 1 + 10 * MSS, 0);
    b.h.t->conn[b.conn].srtt_us = (uint32_t)rtt_us; /* the handshake took no time */
    b.h.t->sender[b.conn].pacing.min_rtt_us = (uint32_t)rtt_us;
    conn_touched(b.h.t, &b.h.t->conn[b.conn]);
    make_available(&b, b.send_size);
}

/* In slow start at twice the rate of a window a round trip: but for a first window, which waits for nothing, it takes
 * half of one. */
START_TEST(test_spread)
{
    one_round_trip(100 * MS);
    uint32_t window = conn_of(&b)->cwnd, largest = 0, sent = send_now(&largest), times = 1;
    uint64_t start_us = b.h.now_us;
    ck_assert_uint_eq(window, 20 * MSS);
    while (sent + MSS <= window) {
        uint64_t at_us = tcp_deadline_us(b.h.t);
        ck_assert(at_us > b.h.now_us && at_us <= b.h.now_us + 20 * MS);
        b.h.now_us = at_us;
        sent += send_now(&largest);
        times++;
    }
    ck_assert_uint_eq(sent, window);
    ck_assert_uint_eq(largest, 2 * MSS);
    ck_assert_uint_eq(times, 5);
    ck_assert_uint_ge(b.h.now_us - start_us, 15 * MS);
    ck_assert_uint_le(b.h.now_us - start_us, 20 * MS);
    ck_assert_uint_eq(counters_of(&b)->paced, 4);
    ck_assert_uint_eq(counters_of(&b)->zero_window_probes, 0);
}
END_TEST

/* A host that comes every 2 ms, where a super-segment is a millisecond's: the rate is what it would be. */
START_TEST(test_late_each_time)
{
    one_round_trip(100 * MS);
    struct tcp_conn *c = &b.h.t->conn[b.conn];
    c->cwnd = c->ssthresh = 500 * MSS;
    ck_assert_uint_eq(pacing_limit(b.h.t, c), 6 * MSS);
    ck_assert_uint_ge(send_now(NULL), 4 * 6 * MSS); /* at the start, too */
    advance(&b, 2 * MS);
    ck_assert_uint_eq(send_now(NULL), 2 * 6 * MSS);
}
END_TEST

#define FULL (12 * MSS) /* of 20: a first window, and the segment that does not fit */

/* Who comes late catches up, but with a first window at most. */
START_TEST(test_late)
{
    one_round_trip(100 * MS);
    ck_assert_uint_eq(send_now(NULL), FULL);
    advance(&b, 10 * MS); /* 4 segments */
    ck_assert_uint_eq(send_now(NULL), 4 * MSS);
    conn_touched(b.h.t, &b.h.t->conn[b.conn]);
    b.h.t->conn[b.conn].cwnd = 100 * MSS;
    advance(&b, 90 * MS); /* 180 */
    ck_assert_uint_eq(send_now(NULL), FULL);
}
END_TEST

/* A window of as many segments as go out at once: no wait, and a debt from before is forgotten. */
START_TEST(test_small_window)
{
    one_round_trip(100 * MS);
    ck_assert_uint_eq(send_now(NULL), FULL);
    advance(&b, MS);
    inject(&b, A, 1, conn_of(&b)->snd_max - b.iss, 0);
    b.h.t->conn[b.conn].cwnd = 10 * MSS;
    conn_touched(b.h.t, &b.h.t->conn[b.conn]);
    conn_ready(b.h.t, &b.h.t->conn[b.conn]);
    ck_assert_uint_eq(send_now(NULL), 10 * MSS);
    ck_assert_uint_eq(b.h.t->sender[b.conn].pacing.filled, 0);
}
END_TEST

/* Nothing below a millisecond, whatever the window. */
START_TEST(test_short_path)
{
    one_round_trip(900);
    ck_assert_uint_eq(send_now(NULL), conn_of(&b)->cwnd);
    ck_assert_uint_eq(counters_of(&b)->paced, 0);
}
END_TEST

/* Nor when it is only the queue, ours or another's, that makes the round trip long. */
START_TEST(test_short_path_with_a_queue)
{
    one_round_trip(900);
    b.h.t->conn[b.conn].srtt_us = 5 * MS;
    ck_assert_uint_eq(pacing_limit(b.h.t, conn_of(&b)), UINT32_MAX);
    ck_assert_uint_eq(send_now(NULL), conn_of(&b)->cwnd);
    ck_assert_uint_eq(counters_of(&b)->paced, 0);
}
END_TEST

/* Waiting for its turn is not being held back by the peer's window, even with nothing in flight. */
START_TEST(test_no_probe)
{
    one_round_trip(100 * MS);
    ck_assert_uint_eq(send_now(NULL), FULL);
    advance(&b, MS);
    inject(&b, A, 1, conn_of(&b)->snd_max - b.iss, 0);
    ck_assert_uint_eq(send_now(NULL), 0);
    ck_assert(!(conn_of(&b)->flags & TCP_CONN_PERSIST));
    b.h.now_us = tcp_deadline_us(b.h.t);
    ck_assert_uint_eq(send_now(NULL), 2 * MSS);
}
END_TEST

/* A millisecond's worth: 1.2 * window / RTT when congestion is avoided. */
START_TEST(test_size)
{
    struct tcp_conn *c = &b.h.t->conn[0];
    one_round_trip(100 * MS);
    c = &b.h.t->conn[b.conn];
    c->cwnd = 1000 * MSS;
    c->ssthresh = 1000 * MSS;
    ck_assert_uint_eq(pacing_limit(b.h.t, c), 12 * MSS);
    c->ssthresh = CWND_MAX;
    ck_assert_uint_eq(pacing_limit(b.h.t, c), 20 * MSS);
    c->cwnd = 11 * MSS;
    ck_assert_uint_eq(pacing_limit(b.h.t, c), 2 * MSS);
    c->cwnd = 10 * MSS;
    ck_assert_uint_eq(pacing_limit(b.h.t, c), UINT32_MAX);
    c->ssthresh = 10 * MSS;
    c->snd_una -= 1000 * MSS; /* in recovery: what is out counts, not what PRR leaves of the window */
    ck_assert_uint_eq(pacing_limit(b.h.t, c), 12 * MSS);
    c->snd_una += 1000 * MSS;
    conn_touched(b.h.t, c);
    send_now(NULL);
}
END_TEST

/* The connection ends while it waits: no timer stays behind (host_fini() looks). */
START_TEST(test_end_while_waiting)
{
    one_round_trip(100 * MS);
    send_now(NULL);
    ck_assert_uint_ne(b.h.t->sender[b.conn].pace_at_us, 0);
    tcp_abort(b.h.t, b.h.now_us, b.conn);
    send_now(NULL);
    ck_assert_uint_eq(b.h.t->sender[b.conn].pace_at_us, 0);
}
END_TEST

/* ---- over a bottleneck ---- */
static const struct bottleneck {
    uint32_t rate, rtt_us, quarters; /* queue, in quarters of a bandwidth-delay product */
} bottlenecks[] = {
    {1250000, 20000, 1},  {1250000, 20000, 2},  {1250000, 20000, 4},   {1250000, 100000, 1}, {1250000, 100000, 2},
    {1250000, 100000, 4}, {12500000, 20000, 1}, {12500000, 20000, 2},  {12500000, 20000, 4}, {12500000, 5000, 1},
    {12500000, 5000, 4},  {12500000, 1000, 4},  {12500000, 100000, 1},
};

struct outcome {
    double share; /* of the rate */
    uint64_t dropped;
    double early; /* of the rate, in the first 20 round trips */
};

static struct outcome measure(const struct bottleneck *p, bool no_pacing)
{
    static struct link l;
    uint32_t product = (uint32_t)((uint64_t)p->rate * p->rtt_us / 1000000);
    uint32_t queue = product / 4 * p->quarters;
    struct link_config config = {.rate = p->rate,
                                 .queue = queue > 6000 ? queue : 6000,
                                 .rtt_us = p->rtt_us,
                                 .jitter_us = p->rtt_us / 50,
                                 .ring = 1 << 20,
                                 .seed = 3,
                                 .gso = true,
                                 .no_pacing = no_pacing,
                                 .flows = 1};
    link_init(&l, &config);
    link_start(&l, 0);
    uint64_t early_us = 20 * (uint64_t)p->rtt_us;
    link_run(&l, early_us);
    struct outcome o = {.early = (double)l.received[0] * 1e6 / (double)early_us / p->rate};
    link_run(&l, 20 * SECOND - early_us);
    o.share = (double)l.received[0] / 20 / p->rate;
    o.dropped = l.dropped;
    link_fini(&l);
    return o;
}

/* What decided that it is on: more goodput where the queue is short, no less elsewhere. (Not fewer drops: without it
 * the first burst that does not fit ends slow start early.) */
START_TEST(test_against_bursts)
{
    double share[2] = {0, 0}, short_queue[2] = {0, 0};
    for (size_t i = 0; i < sizeof bottlenecks / sizeof bottlenecks[0]; i++) {
        const struct bottleneck *p = &bottlenecks[i];
        struct outcome o[2] = {measure(p, true), measure(p, false)};
        for (int k = 0; k < 2; k++) {
            share[k] += o[k].share;
            short_queue[k] += p->quarters == 1 ? o[k].share : 0;
        }
        if (getenv("VERBOSE") != NULL)
            printf(
                "%3u Mb/s %3u ms queue %u/4: bursts %.3f (first %.3f) %4llu dropped, paced %.3f (first %.3f) %4llu\n",
                p->rate / 125000, p->rtt_us / 1000, p->quarters, o[0].share, o[0].early,
                (unsigned long long)o[0].dropped, o[1].share, o[1].early, (unsigned long long)o[1].dropped);
        ck_assert_double_ge(o[1].share, 0.93 * o[0].share);
    }
    ck_assert_double_ge(share[1], share[0]);
    ck_assert_double_ge(short_queue[1], 1.03 * short_queue[0]);
}
END_TEST

SUITE_RUN("tcp_pacing", setup_paced, teardown, test_spread, test_late, test_late_each_time, test_small_window, test_short_path,
          test_short_path_with_a_queue, test_no_probe, test_size, test_end_while_waiting, test_against_bursts)
