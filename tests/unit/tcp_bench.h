// SPDX-License-Identifier: BSD-2-Clause
/* What the tests of one engine against a scripted peer have in common: included by each once. */
#ifndef BULKHEAD_TESTS_UNIT_TCP_BENCH_H
#define BULKHEAD_TESTS_UNIT_TCP_BENCH_H

#include "tests/unit/tcp_harness.h"

#define SECOND 1000000U
#define MS     1000U
#define MSS    1460U

static struct bench b;

static inline void setup(void)
{
    bench_init(&b, 0xfffffff0U); /* sequence numbers wrap in every test */
}

/* Numbers of a test may be those of one algorithm. */
static inline void setup_reno(void)
{
    struct tcp_config config = {.connections = 16, .mtu = 1500, .secret = {1, 2, 3}, .congestion = TCP_CONGESTION_RENO};
    bench_init_with(&b, 0xfffffff0U, &config);
}

static inline void teardown(void)
{
    bench_fini(&b);
}

static inline void established(uint32_t window)
{
    b.window = window;
    bench_state(&b, TCP_ESTABLISHED);
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &(struct tcp_options){.nodelay = 1});
    expect_silence(&b);
}

static inline void expect_ended(enum tcp_error error)
{
    expect_silence(&b);
    ck_assert_uint_ge(b.h.ended, 1);
    ck_assert_uint_eq(b.h.last_ended, b.conn);
    ck_assert_uint_eq(b.h.last_error, error);
    ck_assert_int_eq(state_of(&b), TCP_CLOSED);
}

#endif
