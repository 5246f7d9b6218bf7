// SPDX-License-Identifier: BSD-2-Clause
/* What the engine says that a send ring should have, and how it takes that it has grown. Streams over rings that grow:
 * test_tcp_ring.c. */
#include <stdlib.h>

#include "protocols/tcp/congestion.h"
#include "tests/unit/suite.h"
#include "tests/unit/tcp_bench.h"

#define RING (256U << 10)

/* Nothing was written yet; a round trip of 20 ms is known. */
static void begin(void)
{
    b.send_size = RING;
    established(65535);
    b.h.t->sender[b.conn].autotune.rtt_us = 20 * MS;
    tcp_ring_limits(b.h.t, b.conn, b.receive_size, 8 * RING);
    expect_silence(&b);
}

static uint32_t wanted(void)
{
    struct tcp_figures f;
    tcp_figures(b.h.t, b.conn, &f);
    return f.send_wanted;
}

static void pump(void)
{
    while (host_poll(&b.h, &b.seen)) {
    }
    host_drain(&b.h);
}

/* As soon as the user fills the ring, so that the larger one is there when the stream comes round to its beginning. */
START_TEST(test_wanted_in_slow_start)
{
    begin();
    make_available(&b, RING / 2);
    ck_assert_uint_eq(wanted(), 0);
    make_available(&b, RING / 2);
    ck_assert_uint_eq(wanted(), 2 * RING);
    pump();
}
END_TEST

/* Not when the path is known, nor on a short one. */
START_TEST(test_not_wanted)
{
    begin();
    b.h.t->conn[b.conn].ssthresh = 10 * MSS;
    make_available(&b, RING);
    ck_assert_uint_eq(wanted(), 0);
    b.h.t->conn[b.conn].ssthresh = CWND_MAX;
    b.h.t->sender[b.conn].autotune.rtt_us = MS;
    conn_touched(b.h.t, &b.h.t->conn[b.conn]);
    pump();
    inject(&b, A, 1, 1 + MSS, 0);
    ck_assert_uint_eq(wanted(), 0);
    pump();
}
END_TEST

/* Before the first octet a growth is over at once, on both sides: the next may begin. */
START_TEST(test_growth_before_the_first_octet)
{
    begin();
    struct ring_shape shape = ring_make(RING);
    for (uint32_t size = 2 * RING; size <= 8 * RING; size *= 2) {
        ck_assert(ring_grow(&shape, size, 0));
        ck_assert(tcp_send_grown(b.h.t, b.conn, &shape));
        ck_assert(ring_settle(&shape, 0));
    }
    ck_assert_uint_eq(conn_of(&b)->send_next_size, 8 * RING);
    pump();
}
END_TEST

/* All was acknowledged when the user began to grow the ring: for him it is over before he has said so. */
START_TEST(test_growth_that_is_over)
{
    begin();
    struct ring_shape shape = ring_make(RING);
    ck_assert(ring_grow(&shape, 2 * RING, 0));
    ck_assert(ring_settle(&shape, 0));
    struct ring_shape ahead = shape;
    ahead.size = 4 * RING; /* which it cannot be */
    ck_assert(!tcp_send_grown(b.h.t, b.conn, &ahead));
    ck_assert(tcp_send_grown(b.h.t, b.conn, &shape));
    ck_assert_uint_eq(conn_of(&b)->send_size, 2 * RING);
    ck_assert_uint_eq(conn_of(&b)->send_next_size, 2 * RING);
    pump();
}
END_TEST

SUITE_RUN("tcp_autotune", setup, teardown, test_wanted_in_slow_start, test_not_wanted,
          test_growth_before_the_first_octet, test_growth_that_is_over)
