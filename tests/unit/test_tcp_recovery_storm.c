// SPDX-License-Identifier: BSD-2-Clause
/* A peer that acknowledges anything, opens and closes its window, marks, lies and falls silent for hours, and routers
 * that report any size: what is in flight is known all the same, no deadline lies in the past, and when the peer is
 * honest again all that was to be sent arrives. */
#include <stdlib.h>

#include "tests/unit/suite.h"
#include "tests/unit/tcp_recovery_bench.h"

static uint64_t dice;

static uint32_t below(uint32_t n)
{
    dice = dice * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(dice >> 33) % n;
}

static uint32_t una(void) /* relative, as what follows */
{
    return conn_of(&b)->snd_una - b.iss;
}

static void check_board(void)
{
    const struct tcp_conn *c = conn_of(&b);
    const struct tcp_scoreboard *s = board();
    uint32_t octets[3] = {0}, count = 0, at = c->snd_una, waiting = 0;
    for (const struct tcp_flight *f = flight_at(b.h.t, s->first); f != NULL; f = flight_at(b.h.t, f->next), count++) {
        require(f->start == at && seq_before(f->start, f->end) && f->mss > 0 && f->flags < 3);
        octets[f->flags] += f->end - f->start;
        waiting += f->flags == 0;
        at = f->end;
    }
    for (const struct tcp_flight *f = flight_at(b.h.t, s->oldest); f != NULL; f = flight_at(b.h.t, f->newer), waiting--)
        require(f->flags == 0);
    require(count == s->count && waiting == 0 && (count == 0 || at == c->snd_nxt));
    require(octets[0] == s->in_flight && octets[1] == s->sacked && octets[2] == s->lost);
}

static void take_turns(void)
{
    uint32_t turns = 0;
    while (host_poll(&b.h, &b.seen))
        require(turns++ < 3000);
    host_drain(&b.h);
    if (state_of(&b) == TCP_CLOSED)
        return;
    const struct tcp_conn *c = conn_of(&b);
    check_board();
    require(tcp_deadline_us(b.h.t) > b.h.now_us);
    require(c->cwnd >= conn_send_mss(c) && c->cwnd <= 1U << 30);
    bool waits = c->snd_una != c->snd_max || c->send_end != c->send_acked;
    require(!waits || tcp_deadline_us(b.h.t) <= b.h.now_us + 130 * (uint64_t)SECOND);
}

static void acknowledge(void)
{
    struct tcp_range block[3];
    uint32_t out = conn_of(&b)->snd_max - conn_of(&b)->snd_una, count = below(4), ack = una();
    ack += below(3) == 0 ? below(out + 1) : below(8) == 0 ? out : 0;
    ack -= below(10) == 0 ? below(5000) : 0;
    for (uint32_t i = 0; i < count; i++) {
        block[i].start = una() + below(out + 3000) - (below(6) == 0 ? 3000 : 0);
        block[i].start -= (below(4) != 0) * ((block[i].start - 1) % MSS);
        block[i].end = block[i].start + (below(3) == 0 ? below(9000) : MSS * (1 + below(10)));
    }
    b.window = below(8) == 0 ? 0 : below(8) == 0 ? below(30) : 65535;
    if (below(8) == 0) /* twice: a D-SACK goes out */
        inject(&b, A, 1 - 100, ack, 100);
    if (count == 0) {
        inject(&b, below(8) == 0 ? A | TCP_FLAG_ECE : A, 1, ack, 0);
        return;
    }
    sack_octets(ack, block, count);
}

static void any_event(void)
{
    uint64_t deadline_us = tcp_deadline_us(b.h.t);
    switch (below(12)) {
    case 0:
        make_available(&b, below(2) == 0 ? below(3000) : below(b.send_size / 2));
        break;
    case 1:
        tcp_too_big(b.h.t, b.h.now_us, b.conn, b.iss + una() + below(conn_of(&b)->snd_max - conn_of(&b)->snd_una + 1),
                    500 + below(1200));
        break;
    case 2:
        advance(&b, below(20) == 0 ? below(UINT32_MAX) : below(SECOND));
        break;
    case 3:
    case 4:
        if (deadline_us != UINT64_MAX && deadline_us > b.h.now_us)
            advance(&b, deadline_us - b.h.now_us);
        break;
    default:
        advance(&b, below(200));
        acknowledge();
        break;
    }
}

/* Until all is acknowledged. */
static void honest(void)
{
    for (int i = 0; i < 3000 && conn_of(&b)->send_acked != conn_of(&b)->send_end; i++) {
        b.window = 65535;
        inject(&b, A, 1, conn_of(&b)->snd_max - b.iss, 0);
        take_turns();
        if (tcp_deadline_us(b.h.t) != UINT64_MAX)
            advance(&b, tcp_deadline_us(b.h.t) - b.h.now_us);
        take_turns();
    }
    require(conn_of(&b)->send_acked == conn_of(&b)->send_end && board()->count == 0);
}

START_TEST(test_storm)
{
    uint32_t ended = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct tcp_config config = {.connections = 4,
                                    .mtu = 1500,
                                    .secret = {1, 2, 3},
                                    .gso = seed % 2 == 0,
                                    .congestion = seed % 3 == 0 ? TCP_CONGESTION_RENO : TCP_CONGESTION_CUBIC,
                                    .no_pacing = seed % 5 == 0};
        bench_init_with(&b, 0xfffffff0U, &config);
        b.send_size = 1 << 19;
        begin(10);
        inject(&b, A, 1, 1, 100);
        b.irs += 100;
        dice = seed;
        if (seed % 2 == 0)
            b.h.t->conn[b.conn].flags |= TCP_CONN_ECN;
        tcp_set_options(b.h.t, b.h.now_us, b.conn,
                        &(struct tcp_options){.nodelay = seed % 4 == 0, .user_timeout_ms = UINT32_MAX});
        for (int i = 0; i < 3000 && state_of(&b) != TCP_CLOSED; i++) {
            any_event();
            take_turns();
        }
        ended += state_of(&b) == TCP_CLOSED;
        if (state_of(&b) != TCP_CLOSED)
            honest();
        bench_fini(&b);
    }
    ck_assert_uint_lt(ended, 8);
}
END_TEST

SUITE_RUN("tcp_recovery_storm", NULL, NULL, test_storm)
