// SPDX-License-Identifier: BSD-2-Clause
/* Explicit congestion notification (protocols/tcp/ecn.c) against a scripted peer: who agrees to it, what is ECT, what a
 * mark does at the receiver, what its echo does at the sender. */
#include <check.h>
#include <string.h>

#include "protocols/tcp/tcp_internal.h"
#include "tests/unit/suite.h"
#include "tests/unit/tcp_bench.h"

#define E TCP_FLAG_ECE
#define C TCP_FLAG_CWR

static const struct tcp_config plain = {
    .connections = 16, .mtu = 1500, .secret = {1, 2, 3}, .congestion = TCP_CONGESTION_RENO};

static void again(enum tcp_ecn mode, bool gso)
{
    struct tcp_config config = plain;
    config.ecn = (uint8_t)mode;
    config.gso = gso;
    bench_fini(&b);
    bench_init_with(&b, 0xfffffff0U, &config);
    b.send_size = 1 << 18;
}

/* A passive open by a peer that asks, or not. */
static void open_passive(bool asks, bool gso)
{
    again(TCP_ECN_PASSIVE, gso);
    bench_state(&b, TCP_LISTEN);
    b.conn = TCP_NONE;
    b.window = 60000;
    bench_options(&b, "\2\4\5\xb4", 4);
    inject(&b, asks ? S | E | C : S, 0, 0, 0);
    expect(&b, asks ? S | A | E : S | A, 0, 1, 0);
    ck_assert_uint_eq(b.seen.ecn, ECN_NOT_ECT);
    expect_silence(&b);
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    tcp_accepted(b.h.t, b.conn);
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &(struct tcp_options){.nodelay = 1});
    host_drain(&b.h);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
}

static void agreed(bool gso)
{
    open_passive(true, gso);
    ck_assert_uint_eq(counters_of(&b)->ecn_connections, 1);
}

static bool figure(void)
{
    struct tcp_figures f;
    tcp_figures(b.h.t, b.conn, &f);
    return f.ecn;
}

static void marked(uint8_t codepoint, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t length)
{
    b.ecn = codepoint;
    inject(&b, flags, seq, ack, length);
}

#define expect_codepoint(flags, seq, ack, length, codepoint)                                                           \
    do {                                                                                                               \
        expect(&b, flags, seq, ack, length);                                                                           \
        ck_assert_uint_eq(b.seen.ecn, codepoint);                                                                      \
    } while (0)

/* ---- who agrees ---- */
START_TEST(test_passive)
{
    static const struct {
        enum tcp_ecn mode;
        uint8_t syn, codepoint, answer;
    } rows[] = {
        {TCP_ECN_PASSIVE, S, 0, S | A},         {TCP_ECN_PASSIVE, S | E | C, 0, S | A | E},
        {TCP_ECN_PASSIVE, S | E, 0, S | A},     {TCP_ECN_PASSIVE, S | C, 0, S | A},
        {TCP_ECN_PASSIVE, S | E | C, 2, S | A}, {TCP_ECN_PASSIVE, S | E | C, 3, S | A},
        {TCP_ECN_ON, S | E | C, 0, S | A | E},  {TCP_ECN_ON, S, 0, S | A},
        {TCP_ECN_OFF, S | E | C, 0, S | A},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool agrees = rows[i].answer & E;
        again(rows[i].mode, false);
        bench_state(&b, TCP_LISTEN);
        b.conn = TCP_NONE;
        b.window = 1000;
        marked(rows[i].codepoint, rows[i].syn, 0, 0, 0);
        expect_codepoint(rows[i].answer, 0, 1, 0, ECN_NOT_ECT);
        advance(&b, SECOND);
        expect_codepoint(rows[i].answer, 0, 1, 0, ECN_NOT_ECT); /* lost: it says so again */
        expect_silence(&b);
        inject(&b, A, 1, 1, 0);
        ck_assert_int_eq(figure(), agrees);
        make_available(&b, 10);
        expect_codepoint(A, 1, 1, 10, agrees ? ECN_ECT0 : ECN_NOT_ECT);
        ck_assert_uint_eq(counters_of(&b)->ecn_connections, agrees);
    }
}
END_TEST

START_TEST(test_active)
{
    static const struct {
        enum tcp_ecn mode;
        uint8_t syn, answer;
        bool agrees;
    } rows[] = {
        {TCP_ECN_PASSIVE, S, S | A | E, false},    {TCP_ECN_OFF, S, S | A | E, false},
        {TCP_ECN_ON, S | E | C, S | A | E, true},  {TCP_ECN_ON, S | E | C, S | A, false},
        {TCP_ECN_ON, S | E | C, S | A | C, false}, {TCP_ECN_ON, S | E | C, S | A | E | C, false}, /* a mirror, 6.1.1 */
        {TCP_ECN_PASSIVE, S, S | E | C, false},    {TCP_ECN_ON, S | E | C, S, false},             /* at once */
        {TCP_ECN_ON, S | E | C, S | E | C, true},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        again(rows[i].mode, false);
        bench_state(&b, TCP_CLOSED);
        b.window = 1000;
        ck_assert_int_eq(host_connect(&b.h, &b.peer, OWN_PORT, PEER_PORT, 65536, 65536, &b.conn), TCP_CALL_OK);
        expect_codepoint(rows[i].syn, 0, 0, 0, ECN_NOT_ECT);
        inject(&b, rows[i].answer, 0, 1, 0);
        if (rows[i].answer & A) {
            expect_codepoint(A, 1, 1, 0, ECN_NOT_ECT);
        } else {
            expect_codepoint(rows[i].agrees ? S | A | E : S | A, 0, 1, 0, ECN_NOT_ECT);
            inject(&b, A, 1, 1, 0);
        }
        ck_assert_msg(figure() == rows[i].agrees, "row %u", i);
        make_available(&b, 10);
        expect_codepoint(A, 1, 1, 10, rows[i].agrees ? ECN_ECT0 : ECN_NOT_ECT);
    }
}
END_TEST

/* 6.1.1.1: the second SYN does not ask. The answer to the first may come all the same: marks are echoed, nothing is
 * ECT. */
START_TEST(test_fallback)
{
    again(TCP_ECN_ON, false);
    bench_state(&b, TCP_CLOSED);
    b.window = 1000;
    ck_assert_int_eq(host_connect(&b.h, &b.peer, OWN_PORT, PEER_PORT, 65536, 65536, &b.conn), TCP_CALL_OK);
    expect(&b, S | E | C, 0, 0, 0);
    advance(&b, SECOND);
    expect(&b, S, 0, 0, 0);
    inject(&b, S | A | E, 0, 1, 0);
    expect(&b, A, 1, 1, 0);
    make_available(&b, 10);
    expect_codepoint(A, 1, 1, 10, ECN_NOT_ECT);
    marked(ECN_CE, A, 1, 11, 10);
    expect(&b, A | E, 11, 11, 0);
}
END_TEST

/* ---- a mark at the receiver ---- */

/* 6.1.3: at once, and in every segment, of text too, until CWR. */
START_TEST(test_echo)
{
    agreed(false);
    bench_slow_acks(&b);
    marked(ECN_ECT0, A, 1, 1, 100);
    expect_silence(&b); /* no mark: the ACK is delayed */
    marked(ECN_CE, A, 101, 1, 100);
    expect_codepoint(A | E, 1, 201, 0, ECN_NOT_ECT);
    expect_silence(&b);
    marked(ECN_ECT0, A, 201, 1, 100);
    advance(&b, TCP_DELAYED_ACK_US);
    expect(&b, A | E, 1, 301, 0);
    make_available(&b, 10);
    expect_codepoint(A | E, 1, 301, 10, ECN_ECT0);
    marked(ECN_ECT0, A | C, 301, 11, 100);
    advance(&b, TCP_DELAYED_ACK_US);
    expect(&b, A, 11, 401, 0);
    marked(ECN_CE, A | C, 401, 11, 100); /* CWR and another mark: anew */
    expect(&b, A | E, 11, 501, 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->ce_in, 2);
}
END_TEST

/* Where a mark counts, and where not. */
START_TEST(test_marks)
{
    static const struct {
        const char *name;
        bool agreed, counts;
        uint32_t seq, length;
        uint16_t gso_size;
    } rows[] = {
        {"in order", true, true, 1, 100, 0},
        {"out of order", true, true, 101, 100, 0},
        {"a super-segment", true, true, 1, 1000, 100},
        {"not agreed on", false, false, 101, 100, 0},
        {"no text", true, false, 1, 0, 0},
        {"outside of the window (6.1.5)", true, false, 100000, 100, 0},
        {"below the window (6.1.5)", true, false, 0U - 100, 100, 0},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        open_passive(rows[i].agreed, false);
        b.gso_size = rows[i].gso_size;
        marked(ECN_CE, A, rows[i].seq, 1, rows[i].length);
        ck_assert_msg(counters_of(&b)->ce_in == rows[i].counts, "%s", rows[i].name);
        ck_assert_msg(((conn_of(&b)->flags & TCP_CONN_ECE) != 0) == rows[i].counts, "%s", rows[i].name);
        while (host_poll(&b.h, &b.seen))
            ck_assert_msg((b.seen.header[13] & E) == (rows[i].counts ? E : 0), "%s", rows[i].name);
    }
}
END_TEST

/* ---- what is ECT ---- */

/* 6.1.4 to 6.1.6. */
START_TEST(test_what_is_ect)
{
    agreed(false);
    make_available(&b, 100);
    expect_codepoint(A | P, 1, 1, 100, ECN_ECT0);
    expect_silence(&b);
    advance(&b, SECOND);
    expect_codepoint(A | P, 1, 1, 100, ECN_NOT_ECT); /* sent again */
    expect_silence(&b);
    b.window = 0;
    inject(&b, A, 1, 101, 0);
    make_available(&b, 100);
    expect_silence(&b);
    advance(&b, SECOND);
    expect_codepoint(A, 101, 1, 1, ECN_NOT_ECT); /* a probe */
    b.window = 60000;
    inject(&b, A, 1, 102, 0);
    expect_codepoint(A | P | C, 102, 1, 99, ECN_ECT0); /* CWR: the timeout */
    inject(&b, A, 1, 201, 0);
    tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
    expect_codepoint(F | A, 201, 1, 0, ECN_NOT_ECT);
    expect_silence(&b);
}
END_TEST

/* ---- an echo at the sender ---- */

/* `segments` of new text go out, each ECT; the first says CWR or not. */
static void send_segments(uint32_t from, uint32_t segments, bool cwr)
{
    for (uint32_t i = 0; i < segments; i++)
        expect_codepoint(A | (i == 0 && cwr ? C : 0), 1 + (from + i) * MSS, 1, MSS, ECN_ECT0);
}

/* 6.1.2: half, once for a window; CWR once; no growth by an ACK that says ECE. */
START_TEST(test_reduction)
{
    agreed(false);
    make_available(&b, 40 * MSS);
    send_segments(0, 10, false);
    expect_silence(&b);
    inject(&b, A | E, 1, 1 + 2 * MSS, 0);
    ck_assert_uint_eq(conn_of(&b)->cwnd, 5 * MSS);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 5 * MSS);
    expect_silence(&b);
    inject(&b, A | E, 1, 1 + 6 * MSS, 0); /* the same window */
    ck_assert_uint_eq(conn_of(&b)->cwnd, 5 * MSS);
    send_segments(10, 1, true);
    expect_silence(&b);
    inject(&b, A | E, 1, 1 + 10 * MSS, 0); /* all that was out then, but not CWR */
    ck_assert_uint_eq(conn_of(&b)->cwnd, 5 * MSS);
    send_segments(11, 4, false);
    expect_silence(&b);
    inject(&b, A | E, 1, 1 + 11 * MSS, 0); /* CWR: this is another mark */
    ck_assert_uint_eq(conn_of(&b)->cwnd, 5 * MSS / 2);
    inject(&b, A, 1, 1 + 15 * MSS, 0);
    send_segments(15, 1, true);
    ck_assert_uint_eq(counters_of(&b)->ece_in, 4);
    ck_assert_uint_eq(counters_of(&b)->fast_retransmits, 0);
    ck_assert_uint_eq(counters_of(&b)->retransmits, 0);
}
END_TEST

/* Never below two segments; nor for who did not agree, nor for an old ACK. */
START_TEST(test_reduction_limits)
{
    static const struct {
        bool agreed;
        uint32_t sent, ack; /* segments out, acknowledged by the ACK that says ECE */
        uint32_t cwnd;      /* segments, after it */
    } rows[] = {
        {true, 1, 1, 2},
        {true, 3, 0, 2},
        {true, 10, 0, 5},
        {false, 10, 0, 10},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        open_passive(rows[i].agreed, false);
        make_available(&b, rows[i].sent * MSS);
        for (uint32_t k = 0; k < rows[i].sent; k++)
            expect(&b, A, 1 + k * MSS, 1, MSS);
        inject(&b, A | E, 1, 1 + rows[i].ack * MSS, 0);
        ck_assert_msg(conn_of(&b)->cwnd == rows[i].cwnd * MSS, "row %u: %u", i, conn_of(&b)->cwnd);
    }
    open_passive(true, false);
    make_available(&b, 20 * MSS);
    send_segments(0, 10, false);
    inject(&b, A, 1, 1 + 2 * MSS, 0);
    inject(&b, A | E, 1, 1 + MSS, 0);
    ck_assert_uint_eq(counters_of(&b)->ece_in, 0);
}
END_TEST

/* CWR is for one segment alone, whatever could go out at once. */
START_TEST(test_no_super_segment_says_cwr)
{
    agreed(true);
    make_available(&b, 120 * MSS);
    uint32_t sent = 0;
    for (uint32_t window = 10; window <= 40; window *= 2) {
        uint32_t from = sent;
        while (host_poll(&b.h, &b.seen)) {
            ck_assert_uint_eq(b.seen.ecn, ECN_ECT0);
            sent += b.seen.payload_length;
        }
        ck_assert_uint_eq(sent - from, window * MSS);
        host_drain(&b.h);
        inject(&b, window < 40 ? A : A | E, 1, 1 + sent, 0);
    }
    expect_codepoint(A | C, 1 + sent, 1, MSS, ECN_ECT0);
    ck_assert_uint_eq(b.seen.gso_size, 0);
    expect_codepoint(A, 1 + sent + MSS, 1, 5 * MSS, ECN_ECT0);
    ck_assert_uint_eq(b.seen.gso_size, MSS);
}
END_TEST

/* 6.1.2: CWR after a loss, too; and an ECE while it is repaired changes nothing. */
START_TEST(test_loss)
{
    agreed(false);
    make_available(&b, 40 * MSS);
    send_segments(0, 10, false);
    for (int i = 0; i < 2; i++)
        inject(&b, A, 1, 1, 0);
    send_segments(10, 2, false); /* limited transmit */
    inject(&b, A, 1, 1, 0);
    expect_codepoint(A, 1, 1, MSS, ECN_NOT_ECT); /* sent again: nothing is said of it (6.1.5) */
    uint32_t ssthresh = conn_of(&b)->ssthresh;
    inject(&b, A | E, 1, 1, 0);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, ssthresh);
    inject(&b, A, 1, 1 + 12 * MSS, 0);
    expect_codepoint(A | C, 1 + 12 * MSS, 1, MSS, ECN_ECT0);
    expect_codepoint(A, 1 + 13 * MSS, 1, MSS, ECN_ECT0);
}
END_TEST

/* ---- SYN cookies: as Linux, one bit of TSval each ---- */
START_TEST(test_cookie)
{
    static const struct {
        enum tcp_ecn mode;
        bool no_sack, timestamps, sack, ecn; /* the peer's */
        uint32_t bits;
    } rows[] = {
        {TCP_ECN_PASSIVE, false, true, true, true, 15 | 16 | 32}, {TCP_ECN_PASSIVE, false, true, true, false, 15 | 16},
        {TCP_ECN_PASSIVE, false, true, false, true, 15 | 32},     {TCP_ECN_OFF, false, true, true, true, 15 | 16},
        {TCP_ECN_PASSIVE, true, true, true, true, 15 | 32},       {TCP_ECN_PASSIVE, false, false, true, true, 0},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tcp_config config = plain;
        config.ecn = (uint8_t)rows[i].mode;
        config.no_sack = rows[i].no_sack;
        bench_fini(&b);
        bench_init_with(&b, 7, &config);
        b.backlog = 0;
        bench_state(&b, TCP_LISTEN);
        b.peer_port = 999;
        inject(&b, S, 0, 0, 0);
        expect(&b, S | A, 0, 1, 0); /* the one place there is */
        b.peer_port = PEER_PORT;
        b.window = 1000;
        uint8_t o[20] = {2, 4, 5, 0xb4, 1, 1, 1, 1, 1, 1, 8, 10, 0, 0, 2, 0};
        if (rows[i].sack)
            memcpy(o + 4, "\4\2", 2);
        uint32_t n = rows[i].timestamps ? 20 : 8;
        bench_options(&b, (const char *)o, n);
        inject(&b, rows[i].ecn ? S | E | C : S, 0, 0, 0);
        bool ecn = rows[i].bits & 32, sack = rows[i].bits & 16;
        expect(&b, ecn ? S | A | E : S | A, 0, 1, 0);
        ck_assert_uint_eq(counters_of(&b)->cookies_sent, 1);
        ck_assert_uint_eq(b.seen.header_length, rows[i].timestamps ? 36 : 24);
        if (rows[i].timestamps) {
            ck_assert_uint_eq(b.seen.header[31] & 63, rows[i].bits);
            ck_assert_mem_eq(b.seen.header + 24, sack ? "\4\2" : "\1\1", 2);
            uint8_t back[12] = {1, 1, 8, 10, 0, 0, 2, 1};
            memcpy(back + 8, b.seen.header + 28, 4);
            bench_options(&b, (const char *)back, 12);
        }
        const struct tcp_segment_in meta = {
            .source = b.peer, .destination = b.h.address, .source_port = b.peer_port, .destination_port = b.own_port};
        inject(&b, A, 1, 1, 0);
        b.conn = tcp_lookup(b.h.t, &meta);
        ck_assert_uint_eq(counters_of(&b)->cookies_taken, 1);
        ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
        ck_assert_int_eq((conn_of(&b)->flags & TCP_CONN_SACK) != 0, sack);
        ck_assert_int_eq(figure(), ecn);
        expect_silence(&b);
    }
}
END_TEST

SUITE_RUN("tcp_ecn", setup, teardown, test_passive, test_active, test_fallback, test_echo, test_marks, test_what_is_ect,
          test_reduction, test_reduction_limits, test_no_super_segment_says_cwr, test_loss, test_cookie)
