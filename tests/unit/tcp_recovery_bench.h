// SPDX-License-Identifier: BSD-2-Clause
/* A connection with a scripted peer that SACKs, for the tests of loss recovery: included by each once. The stream wraps
 * in every test. Segments are counted from 0; the round trip is 100 ms. */
#ifndef BULKHEAD_TESTS_UNIT_TCP_RECOVERY_BENCH_H
#define BULKHEAD_TESTS_UNIT_TCP_RECOVERY_BENCH_H

#include <string.h>

#include "protocols/tcp/recovery.h"
#include "tests/unit/tcp_bench.h"

#define RTT          (100 * MS)
#define SEQ(segment) (1 + (uint32_t)(segment)*MSS)

static inline void init(bool gso)
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

static inline void setup_sack(void)
{
    init(false);
}

/* With a window of `segments`, and one round trip measured; `syn` are the options of the peer's. */
static inline void begin_with(uint32_t segments, const char *syn, uint32_t length, bool timestamps)
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

static inline void begin(uint32_t segments)
{
    begin_with(segments, "\2\4\5\xb4\1\1\4\2\1\3\3\7", 12, false);
}

static inline void sends(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        expect(&b, A, SEQ(i), 1, MSS);
    expect_silence(&b);
}

/* `count` segments are in flight; a round trip has passed. */
static inline void in_flight(uint32_t count)
{
    begin(count);
    make_available(&b, count * MSS);
    sends(0, count);
    advance(&b, RTT);
}

/* ACK of all before segment `ack`, and blocks: pairs of segments, up to -1. */
static inline void sack_octets(uint32_t ack, const struct tcp_range *block, uint32_t count)
{
    uint8_t o[40] = {1, 1, 5, (uint8_t)(2 + 8 * count)};
    for (uint32_t i = 0; i < count; i++) {
        be32 edge[2] = {be32_make(b.iss + block[i].start), be32_make(b.iss + block[i].end)};
        memcpy(o + 4 + 8 * i, edge, 8);
    }
    bench_options(&b, (const char *)o, 4 + 8 * count);
    inject(&b, A, 1, ack, 0);
}

static inline void sack(uint32_t ack, uint32_t from, uint32_t to)
{
    sack_octets(SEQ(ack), &(struct tcp_range){SEQ(from), SEQ(to)}, 1);
}

static inline struct tcp_scoreboard *board(void)
{
    return board_of(b.h.t, conn_of(&b));
}

static inline void timed_out(uint32_t count)
{
    in_flight(count);
    struct tcp_sender *s = &b.h.t->sender[b.conn];
    s->recovery_at_us = 0; /* the probe is looked at elsewhere */
    advance(&b, conn_of(&b)->rto_us);
    sends(0, 1);
    ck_assert_uint_eq(counters_of(&b)->timeouts, 1);
    ck_assert_uint_eq(conn_of(&b)->cwnd, MSS);
}

#endif
