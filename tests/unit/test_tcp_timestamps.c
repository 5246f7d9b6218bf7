// SPDX-License-Identifier: BSD-2-Clause
/* RFC 7323 timestamps (protocols/tcp/timestamps.c, rtt.c) against a scripted peer: who sends the option when, what is
 * an old duplicate, what is echoed, what a round trip is, and how much room the option leaves in a segment. */
#include <check.h>
#include <string.h>

#include "tests/unit/suite.h"
#include "tests/unit/tcp_bench.h"

#define PEER_CLOCK 0x12345678U
#define ROOM       (MSS - 12U)
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))

static uint32_t clock_base; /* our TSval less the milliseconds */
static uint32_t echoed;     /* TSval of ours that the peer saw last */

static void put32(uint8_t *at, uint32_t value)
{
    be32 wire = be32_make(value);
    memcpy(at, &wire, sizeof wire);
}

static uint32_t get32(const uint8_t *at)
{
    be32 wire;
    memcpy(&wire, at, sizeof wire);
    return be32_get(wire);
}

/* Of the next segment injected; `syn`: with an MSS before it. */
static void with_timestamp(bool syn, uint32_t tsval, uint32_t tsecr)
{
    uint8_t o[16] = {2, 4, 0x05, 0xb4, 1, 1, 8, 10};
    put32(o + 8, tsval);
    put32(o + 12, tsecr);
    bench_options(&b, (const char *)o + (syn ? 0 : 4), syn ? 16 : 12);
}

static enum tcp_input_result tell(uint8_t flags, uint32_t seq, uint32_t ack, uint32_t length, uint32_t tsval)
{
    with_timestamp(false, tsval, echoed);
    return inject(&b, flags, seq, ack, length);
}

/* Where the option is in the segment seen last; NULL: nowhere. */
static const uint8_t *seen_option(void)
{
    static const uint8_t padded[2][4] = {{1, 1, 8, 10}, {4, 2, 8, 10}}; /* SACK-permitted takes the place of padding */
    uint32_t at = b.seen.header[13] & S ? 24 : 20;
    if (b.seen.header_length < at + 12)
        return NULL;
    bool found = memcmp(b.seen.header + at, padded[0], 4) == 0 || memcmp(b.seen.header + at, padded[1], 4) == 0;
    return found ? b.seen.header + at + 4 : NULL;
}

static void check_option(uint32_t tsecr, int line)
{
    const uint8_t *option = seen_option();
    ck_assert_msg(option != NULL, "line %d: no timestamp", line);
    echoed = get32(option);
    ck_assert_msg(echoed == clock_base + (uint32_t)(b.h.now_us / MS), "line %d: TSval %u", line, echoed);
    ck_assert_msg(get32(option + 4) == tsecr, "line %d: TSecr %#x", line, get32(option + 4));
    if (!(b.seen.header[13] & S))
        ck_assert_uint_eq(b.seen.header_length, 32);
}

#define expect_with(flags, seq, ack, length, tsecr)                                                                    \
    do {                                                                                                               \
        expect(&b, flags, seq, ack, length);                                                                           \
        check_option(tsecr, __LINE__);                                                                                 \
    } while (0)

static void learn_clock(void)
{
    ck_assert_ptr_nonnull(seen_option());
    echoed = get32(seen_option());
    clock_base = echoed - (uint32_t)(b.h.now_us / MS);
}

static void again(const struct tcp_config *config)
{
    bench_fini(&b);
    bench_init_with(&b, 0xfffffff0U, config);
}

static const struct tcp_config plain = {.connections = 16, .mtu = 1500, .secret = {1, 2, 3}};

/* A passive open by a peer whose clock says `tsval`; with_options() may have been told before. */
static void agreed(uint32_t tsval)
{
    with_timestamp(true, tsval, 0);
    bench_state(&b, TCP_LISTEN);
    b.conn = TCP_NONE;
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    learn_clock();
    check_option(tsval, __LINE__);
    expect_silence(&b);
    tell(A, 1, 1, 0, tsval);
    expect_silence(&b);
    tcp_accepted(b.h.t, b.conn);
    host_drain(&b.h);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
}

static void agreed_at_once(uint32_t tsval)
{
    agreed(tsval);
    struct tcp_options o = conn_of(&b)->options;
    o.nodelay = 1;
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &o);
    expect_silence(&b);
}

/* ---- who sends it ---- */
enum opening { ACTIVE, PASSIVE, SIMULTANEOUS };

static void peer_syn(bool offers, uint8_t flags, uint32_t seq, uint32_t ack)
{
    if (offers)
        with_timestamp(true, PEER_CLOCK, 0);
    else
        bench_options(&b, "\2\4\5\xb4", 4);
    inject(&b, flags, seq, ack, 0);
}

static void peer_says(bool agreed_on, uint8_t flags, uint32_t seq, uint32_t ack)
{
    if (agreed_on)
        with_timestamp(false, PEER_CLOCK, echoed);
    inject(&b, flags, seq, ack, 0);
}

static void open_in(enum opening opening, bool ours, bool peers)
{
    if (opening == PASSIVE) {
        bench_state(&b, TCP_LISTEN);
        b.conn = TCP_NONE;
        peer_syn(peers, S, 0, 0);
        expect(&b, S | A, 0, 1, 0);
        ck_assert_int_eq(seen_option() != NULL, ours && peers);
        expect_silence(&b);
        peer_says(ours && peers, A, 1, 1);
        return;
    }
    bench_state(&b, TCP_CLOSED);
    ck_assert_int_eq(host_connect(&b.h, &b.peer, OWN_PORT, PEER_PORT, 65536, 65536, &b.conn), TCP_CALL_OK);
    expect(&b, S, 0, 0, 0);
    ck_assert_int_eq(seen_option() != NULL, ours);
    if (ours)
        ck_assert_uint_eq(get32(seen_option() + 4), 0); /* 3.2: SHOULD, without ACK */
    if (opening == ACTIVE) {
        peer_syn(peers, S | A, 0, 1);
        expect(&b, A, 1, 1, 0);
        return;
    }
    peer_syn(peers, S, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    ck_assert_int_eq(seen_option() != NULL, ours && peers);
    if (ours && peers)
        ck_assert_uint_eq(get32(seen_option() + 4), PEER_CLOCK);
    peer_says(ours && peers, S | A, 0, 1);
    expect(&b, A, 1, 1, 0);
}

START_TEST(test_negotiation)
{
    for (int row = 0; row < 12; row++) {
        bool ours = row & 1, peers = row & 2;
        struct tcp_config config = plain;
        config.no_timestamps = !ours;
        again(&config);
        open_in((enum opening)(row / 4), ours, peers);
        ck_assert_msg(state_of(&b) == TCP_ESTABLISHED, "row %d", row);
        make_available(&b, 10);
        expect(&b, A, 1, 1, 10);
        ck_assert_msg(b.seen.header_length == (ours && peers ? 32 : 20), "row %d", row);
        peer_says(ours && peers, A, 1, 11);
        ck_assert_uint_eq(conn_of(&b)->send_acked, 10);
    }
}
END_TEST

/* Not agreed on: what the peer says all the same counts for nothing. */
START_TEST(test_not_agreed_on)
{
    established(65535);
    tell(A, 1, 1, 10, PEER_CLOCK);
    tell(A, 11, 1, 10, PEER_CLOCK - 1);
    inject(&b, A, 21, 1, 10);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 30);
    advance(&b, 40 * MS);
    expect(&b, A, 1, 31, 0);
    ck_assert_uint_eq(b.seen.header_length, 20);
    make_available(&b, MSS);
    expect(&b, A | P, 1, 31, MSS);
    advance(&b, SECOND);
    expect(&b, A | P, 1, 31, MSS);
    tell(A, 31, 1 + MSS, 0, PEER_CLOCK);
    ck_assert_uint_eq(conn_of(&b)->srtt_us, 1); /* Karn */
}
END_TEST

START_TEST(test_layout_of_syn)
{
    static const uint8_t before[] = {2, 4, 0x05, 0xb4, 4, 2, 8, 10}, after[] = {1, 3, 3, 1};
    bench_state(&b, TCP_SYN_SENT);
    ck_assert_uint_eq(b.seen.header_length, 40);
    ck_assert_mem_eq(b.seen.header + 20, before, sizeof before);
    ck_assert_mem_eq(b.seen.header + 36, after, sizeof after);
}
END_TEST

START_TEST(test_bad_length)
{
    bench_state(&b, TCP_LISTEN);
    for (uint8_t length = 0; length <= 12; length++) {
        char o[12] = {8};
        o[1] = (char)length;
        bench_options(&b, o, 12);
        uint64_t drops = counters_of(&b)->drop_options;
        if (length == 10)
            continue;
        ck_assert_int_eq(inject(&b, S, 0, 0, 0), TCP_INPUT_DROPPED);
        ck_assert_msg(counters_of(&b)->drop_options == drops + 1, "length %d", length);
    }
    expect_silence(&b);
}
END_TEST

static uint32_t offset_of(uint16_t own_port, uint8_t secret)
{
    struct tcp_config config = plain;
    config.secret[5] = secret;
    again(&config);
    b.own_port = own_port;
    ck_assert_int_eq(host_connect(&b.h, &b.peer, own_port, PEER_PORT, 65536, 65536, &b.conn), TCP_CALL_OK);
    expect(&b, S, 0, 0, 0);
    learn_clock();
    return clock_base;
}

/* The same for each incarnation; nothing to be learnt from one connection about another, nor of the time since boot. */
START_TEST(test_clock_offset)
{
    uint32_t first = offset_of(1000, 0);
    ck_assert_uint_eq(offset_of(1000, 0), first);
    ck_assert_uint_ne(offset_of(1001, 0), first);
    ck_assert_uint_ne(offset_of(1000, 1), first);
    ck_assert_uint_ne(first, 0);
    ck_assert_uint_ne(b.iss - clock_base, offset_of(1001, 0) - b.iss);
}
END_TEST

START_TEST(test_every_segment)
{
    agreed_at_once(PEER_CLOCK);
    advance(&b, 7 * MS);
    make_available(&b, 3 * ROOM + 10);
    for (uint32_t i = 0; i < 3; i++)
        expect_with(A, 1 + i * ROOM, 1, ROOM, PEER_CLOCK);
    expect_with(A | P, 1 + 3 * ROOM, 1, 10, PEER_CLOCK);
    advance(&b, 1 * MS);
    for (int i = 0; i < 3; i++)
        tell(A, 1, 1, 0, PEER_CLOCK + 1);
    expect_with(A, 1, 1, ROOM, PEER_CLOCK + 1); /* fast retransmit */
    tell(A, 1, 1 + 3 * ROOM, 0, PEER_CLOCK + 2);
    advance(&b, SECOND);
    expect_with(A | P, 1 + 3 * ROOM, 1, 10, PEER_CLOCK + 2); /* timeout */
    b.window = 0;
    tell(A, 1, 11 + 3 * ROOM, 0, PEER_CLOCK + 3);
    make_available(&b, 5);
    expect_silence(&b);
    advance(&b, SECOND);
    expect_with(A, 11 + 3 * ROOM, 1, 1, PEER_CLOCK + 3); /* window probe */
    b.window = 1000;
    tell(A, 1, 11 + 3 * ROOM, 0, PEER_CLOCK + 4);
    expect_with(A | P, 11 + 3 * ROOM, 1, 5, PEER_CLOCK + 4);
    tell(A, 1, 16 + 3 * ROOM, 0, PEER_CLOCK + 5);
    tell(A, 1, 16 + 3 * ROOM, 9, PEER_CLOCK + 6);
    advance(&b, 40 * MS);
    expect_with(A, 16 + 3 * ROOM, 10, 0, PEER_CLOCK + 6); /* delayed ACK */
    tell(A, 0, 16 + 3 * ROOM, 0, PEER_CLOCK + 7);         /* as a keepalive probe */
    expect_with(A, 16 + 3 * ROOM, 10, 0, PEER_CLOCK + 6);
    consume(&b, 9);
    tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
    expect_with(F | A, 16 + 3 * ROOM, 10, 0, PEER_CLOCK + 6);
    advance(&b, 2 * SECOND);
    expect_with(F | A, 16 + 3 * ROOM, 10, 0, PEER_CLOCK + 6);
    tcp_abort(b.h.t, b.h.now_us, b.conn);
    expect_with(R | A, 17 + 3 * ROOM, 10, 0, PEER_CLOCK + 6); /* 3.2: SHOULD */
}
END_TEST

START_TEST(test_reset_of_a_lost_connection)
{
    agreed(PEER_CLOCK);
    struct tcp_conn block = *conn_of(&b);
    struct tcp_config config = plain;
    again(&config);
    advance(&b, 3 * MS);
    b.iss = block.iss;
    ck_assert(tcp_reset_lost(b.h.t, &block));
    expect_with(R | A, 1, 1, 0, PEER_CLOCK);
}
END_TEST

START_TEST(test_missing)
{
    agreed(PEER_CLOCK);
    ck_assert_int_eq(inject(&b, A, 1, 1, 10), TCP_INPUT_DROPPED); /* 3.2: SHOULD drop silently */
    ck_assert_int_eq(inject(&b, F | A, 1, 1, 0), TCP_INPUT_DROPPED);
    ck_assert_int_eq(inject(&b, S | A, 1, 1, 0), TCP_INPUT_DROPPED);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_no_timestamp, 3);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 0);
    inject(&b, S, 500, 0, 0); /* the peer has started anew */
    expect_with(A, 1, 1, 0, PEER_CLOCK);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED); /* 3.2: MUST NOT abort */
    inject(&b, R, 1, 0, 0);
    expect_ended(TCP_ERROR_RESET);
}
END_TEST

START_TEST(test_missing_in_handshake)
{
    advance(&b, 30ULL * 24 * 3600 * SECOND); /* the age of TS.Recent counts from the SYN */
    bench_state(&b, TCP_LISTEN);
    b.conn = TCP_NONE;
    peer_syn(true, S, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    learn_clock();
    expect_silence(&b);
    struct tcp_header h = {
        .sequence = be32_make(b.irs + 1), .acknowledgement = be32_make(b.iss + 1), .data_offset = 0x50, .flags = A};
    ck_assert(!tcp_completes_handshake(b.h.t, b.conn, (const uint8_t *)&h, sizeof h));
    inject(&b, A, 1, 1, 0);
    ck_assert_int_eq(state_of(&b), TCP_SYN_RECEIVED);
    ck_assert_uint_eq(counters_of(&b)->drop_no_timestamp, 1);
    tell(A, 1, 1, 0, PEER_CLOCK - 1); /* older than the SYN */
    ck_assert_int_eq(state_of(&b), TCP_SYN_RECEIVED);
    ck_assert_uint_eq(counters_of(&b)->drop_paws, 1);
    expect_with(A, 1, 1, 0, PEER_CLOCK);
    tell(A, 1, 1, 0, PEER_CLOCK);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
}
END_TEST

/* ---- old duplicates ---- */
START_TEST(test_paws)
{
    static const uint32_t recents[] = {1, 1000, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff};
    static const struct {
        uint32_t ahead;
        bool old;
    } rows[] = {{0, false},         {1, false},         {0x7fffffff, false}, {0x80000000, true},
                {0x80000001, true}, {0xffffff00, true}, {0xffffffff, true}};
    for (size_t r = 0; r < COUNT(recents); r++) {
        for (size_t i = 0; i < COUNT(rows); i++) {
            again(&plain);
            agreed(recents[r]);
            uint32_t tsval = recents[r] + rows[i].ahead;
            tell(A, 1, 1, 10, tsval);
            ck_assert_msg(counters_of(&b)->drop_paws == rows[i].old, "%#x after %#x", tsval, recents[r]);
            ck_assert_uint_eq(conn_of(&b)->receive_next, rows[i].old ? 0 : 10);
            if (!rows[i].old)
                advance(&b, 40 * MS);
            expect_with(A, 1, rows[i].old ? 1 : 11, 0, rows[i].old ? recents[r] : tsval); /* 5.3 R1: an ACK */
        }
    }
}
END_TEST

/* What a sequence number that has wrapped would let in: the window and the numbers fit, the time does not. */
START_TEST(test_old_duplicate)
{
    agreed(PEER_CLOCK);
    tell(A, 1, 1, 2000, PEER_CLOCK + 50);
    consume(&b, 2000);
    tell(A, 5001, 1, 1000, PEER_CLOCK + 49); /* beyond a hole */
    tell(F | A, 2001, 1, 0, PEER_CLOCK + 49);
    tell(S, 2001, 1, 0, PEER_CLOCK + 49);
    ck_assert_uint_eq(counters_of(&b)->drop_paws, 3);
    ck_assert_uint_eq(conn_of(&b)->range_count, 0);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    expect_with(A, 1, 2001, 0, PEER_CLOCK + 50);
    for (int i = 0; i < 5; i++) /* without text: not an answer to each */
        tell(A, 2001, 1, 0, PEER_CLOCK + 49);
    expect_silence(&b);
    advance(&b, SECOND);
    tell(A, 2001, 1, 0, PEER_CLOCK + 49);
    expect_with(A, 1, 2001, 0, PEER_CLOCK + 50);
    tell(R, 2001, 0, 0, PEER_CLOCK - 1000); /* 5.2: an RST MUST NOT be subject to it */
    expect_ended(TCP_ERROR_RESET);
}
END_TEST

START_TEST(test_idle_for_days)
{
    const uint64_t day = 24ULL * 3600 * SECOND;
    agreed(PEER_CLOCK);
    advance(&b, 24 * day);
    tell(A, 1, 1, 10, PEER_CLOCK - 1);
    expect_with(A, 1, 1, 0, PEER_CLOCK);
    advance(&b, 1);
    tell(A, 1, 1, 10, PEER_CLOCK - 1); /* 5.5: no longer valid */
    advance(&b, 40 * MS);
    expect_with(A, 1, 11, 0, PEER_CLOCK - 1);
    tell(A, 11, 1, 10, PEER_CLOCK - 2); /* valid again */
    ck_assert_uint_eq(counters_of(&b)->drop_paws, 2);
    expect_with(A, 1, 11, 0, PEER_CLOCK - 1);
}
END_TEST

START_TEST(test_syn_that_says_zero)
{
    agreed(0);
    tell(A, 1, 1, 10, 0x90000000U);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 10);
    tell(A, 11, 1, 10, 0x8fffffffU);
    ck_assert_uint_eq(counters_of(&b)->drop_paws, 1);
}
END_TEST

/* ---- what is echoed (4.3) ---- */
START_TEST(test_echo)
{
    agreed(PEER_CLOCK);
    tell(A, 1, 1, 100, PEER_CLOCK + 10);
    tell(A, 101, 1, 100, PEER_CLOCK + 11);
    advance(&b, 40 * MS);
    expect_with(A, 1, 201, 0, PEER_CLOCK + 10); /* (A) the first of those that the ACK is for */
    tell(A, 301, 1, 100, PEER_CLOCK + 20);
    expect_with(A, 1, 201, 0, PEER_CLOCK + 10); /* (B) not what lies beyond a hole */
    tell(A, 201, 1, 100, PEER_CLOCK + 30);
    expect_with(A, 1, 401, 0, PEER_CLOCK + 30); /* (C) what fills it */
    tell(A, 401, 2, 10, PEER_CLOCK + 40);       /* an ACK of what was never sent */
    expect_with(A, 1, 401, 0, PEER_CLOCK + 30);
    advance(&b, SECOND);
    tell(A, 401 + 200000, 1, 10, PEER_CLOCK + 50); /* out of the window */
    expect_with(A, 1, 401, 0, PEER_CLOCK + 30);
    tell(A, 301, 1, 100, PEER_CLOCK + 50); /* received before: this one is answered */
    expect_with(A, 1, 401, 0, PEER_CLOCK + 50);
    tell(A, 301, 2, 100, PEER_CLOCK + 55); /* ... with a bad ACK */
    expect_with(A, 1, 401, 0, PEER_CLOCK + 50);
    tell(A, 401 - 65536, 1, 100, PEER_CLOCK + 55); /* ... from beyond a window */
    expect_with(A, 1, 401, 0, PEER_CLOCK + 50);
    tell(R, 402, 0, 0, PEER_CLOCK + 60);
    advance(&b, SECOND);
    tell(R, 402, 0, 0, PEER_CLOCK + 60);
    expect_with(A, 1, 401, 0, PEER_CLOCK + 50); /* 5.2: MUST NOT update by an RST */
    tell(A, 401, 1, 0, PEER_CLOCK + 70);
    tell(A, 401, 1, 10, PEER_CLOCK + 70);
    advance(&b, 40 * MS);
    expect_with(A, 1, 411, 0, PEER_CLOCK + 70);
}
END_TEST

/* ---- the round trip ---- */
static uint32_t srtt_after(uint32_t sample_us)
{
    return 1 + sample_us / 8; /* the handshake took 1 us at most */
}

/* A segment, its retransmission 200 ms later, and 30 ms later an ACK that echoes `tsecr` relative to the first. */
static void acked_after_resend(int32_t tsecr_ms)
{
    again(&plain);
    agreed_at_once(PEER_CLOCK);
    advance(&b, SECOND + 300); /* not at a tick */
    make_available(&b, 100);
    expect_with(A | P, 1, 1, 100, PEER_CLOCK);
    uint32_t first = echoed;
    advance(&b, 200 * MS);
    expect_with(A | P, 1, 1, 100, PEER_CLOCK);
    ck_assert_uint_eq(echoed - first, 200);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->rto_us, 400 * MS);
    advance(&b, 30 * MS);
    with_timestamp(false, PEER_CLOCK + 1, first + (uint32_t)tsecr_ms);
    inject(&b, A, 1, 101, 0);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->send_acked, 100);
}

START_TEST(test_round_trip_of_a_retransmission)
{
    static const struct {
        int32_t tsecr_ms;
        uint32_t sample_us; /* 0: none */
    } rows[] = {
        {200, 30 * MS}, {0, 230 * MS}, {230, 1}, /* in less than a tick */
        {-1, 0},        {231, 0},      {INT32_MIN, 0}, {INT32_MAX, 0}, {-100000, 0}, {100000, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        acked_after_resend(rows[i].tsecr_ms);
        uint32_t srtt = rows[i].sample_us == 0 ? 1 : srtt_after(rows[i].sample_us);
        ck_assert_msg(conn_of(&b)->srtt_us == srtt, "row %zu: %u us, not %u", i, conn_of(&b)->srtt_us, srtt);
        ck_assert_uint_lt(conn_of(&b)->rto_us, 400 * MS); /* the back-off is over */
        make_available(&b, 10);
        expect_with(A | P, 101, 1, 10, PEER_CLOCK + 1);
        srtt = conn_of(&b)->srtt_us;
        advance(&b, 80 * MS); /* what was not retransmitted is timed by our own clock, whatever is echoed */
        with_timestamp(false, PEER_CLOCK + 2, 0);
        inject(&b, A, 1, 111, 0);
        ck_assert_uint_eq(conn_of(&b)->srtt_us, srtt - srtt / 8 + 80 * MS / 8);
    }
}
END_TEST

START_TEST(test_round_trip_of_a_fast_retransmission)
{
    agreed_at_once(PEER_CLOCK);
    advance(&b, SECOND);
    make_available(&b, 5 * ROOM);
    for (uint32_t i = 0; i < 5; i++)
        expect_with(A | (i == 4 ? P : 0), 1 + i * ROOM, 1, ROOM, PEER_CLOCK);
    advance(&b, 50 * MS);
    for (int i = 0; i < 3; i++)
        tell(A, 1, 1, 0, PEER_CLOCK);
    expect_with(A, 1, 1, ROOM, PEER_CLOCK);
    advance(&b, 24 * MS);
    tell(A, 1, 1 + 5 * ROOM, 0, PEER_CLOCK + 1);
    ck_assert_uint_eq(conn_of(&b)->srtt_us, srtt_after(24 * MS));
}
END_TEST

START_TEST(test_round_trip_of_the_handshake)
{
    for (int active = 0; active < 2; active++) {
        again(&plain);
        if (active) {
            bench_state(&b, TCP_SYN_SENT);
        } else {
            with_timestamp(true, PEER_CLOCK, 0);
            bench_state(&b, TCP_SYN_RECEIVED);
        }
        advance(&b, SECOND);
        expect(&b, active ? S : S | A, 0, active ? 0 : 1, 0);
        learn_clock();
        advance(&b, 40 * MS);
        with_timestamp(active, PEER_CLOCK, echoed);
        inject(&b, active ? S | A : A, active ? 0 : 1, 1, 0);
        ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
        ck_assert_uint_eq(conn_of(&b)->srtt_us, 40 * MS);
        ck_assert_uint_eq(conn_of(&b)->rto_us, 3 * SECOND); /* RFC 6298 5.7 */
        if (active)
            expect_with(A, 1, 1, 0, PEER_CLOCK);
    }
}
END_TEST

/* ---- the room that is left ---- */
START_TEST(test_effective_mss)
{
    agreed_at_once(PEER_CLOCK);
    ck_assert_uint_eq(conn_of(&b)->mss, MSS);
    ck_assert_uint_eq(conn_of(&b)->cwnd, 10 * ROOM);
    make_available(&b, 60000);
    for (uint32_t i = 0; i < 10; i++)
        expect_with(A, 1 + i * ROOM, 1, ROOM, PEER_CLOCK);
    expect_silence(&b);
    for (int i = 0; i < 3; i++)
        tell(A, 1, 1, 0, PEER_CLOCK);
    expect_with(A, 1, 1, ROOM, PEER_CLOCK);
    tcp_too_big(b.h.t, b.h.now_us, b.conn, b.iss + 1, 1000);
    expect_with(A, 1, 1, 960 - 12, PEER_CLOCK);
}
END_TEST

/* Nagle: a full segment is one that is full with the option in it. */
START_TEST(test_full_segment)
{
    agreed(PEER_CLOCK);
    make_available(&b, 10);
    expect_with(A | P, 1, 1, 10, PEER_CLOCK);
    make_available(&b, ROOM - 1);
    expect_silence(&b);
    make_available(&b, 1);
    expect_with(A | P, 11, 1, ROOM, PEER_CLOCK);
    tell(A, 1, 11, 0, PEER_CLOCK);
    make_available(&b, 5); /* what is in flight is full (Minshall) */
    expect_with(A | P, 11 + ROOM, 1, 5, PEER_CLOCK);
}
END_TEST

START_TEST(test_super_segments)
{
    struct tcp_config config = plain;
    config.gso = true;
    again(&config);
    b.send_size = 1U << 18;
    agreed_at_once(PEER_CLOCK);
    uint32_t sent = 0, largest = 0;
    for (int i = 0; i < 80; i++) {
        make_available(&b, conn_of(&b)->send_acked + b.send_size - conn_of(&b)->send_end);
        while (host_poll(&b.h, &b.seen)) { /* which looks at gso_size */
            check_option(PEER_CLOCK, __LINE__);
            sent += b.seen.payload_length;
            largest = b.seen.payload_length > largest ? b.seen.payload_length : largest;
            bool ring_end = (sent & (b.send_size - 1)) == 0;
            ck_assert(b.seen.payload_length % ROOM == 0 || ring_end || sent == conn_of(&b)->send_end);
        }
        tell(A, 1, 1 + sent, 0, PEER_CLOCK);
    }
    ck_assert_uint_gt(largest, 10 * ROOM);
    ck_assert_uint_eq(largest % ROOM, 0);
}
END_TEST

/* The estimate of the peer's full segment: two of them are acknowledged at once. */
START_TEST(test_acks_of_full_segments)
{
    agreed(PEER_CLOCK);
    bench_slow_acks(&b);
    tell(A, 1, 1, ROOM, PEER_CLOCK);
    tell(A, 1 + ROOM, 1, ROOM, PEER_CLOCK);
    ck_assert_uint_eq(conn_of(&b)->rcv_mss, ROOM);
    expect_with(A, 1, 1 + 2 * ROOM, 0, PEER_CLOCK);
    tell(A, 1 + 2 * ROOM, 1, ROOM, PEER_CLOCK);
    expect_silence(&b);
    tell(A, 1 + 3 * ROOM, 1, MSS, PEER_CLOCK); /* more than fits */
    ck_assert_uint_eq(conn_of(&b)->rcv_mss, ROOM);
}
END_TEST

/* TCP_MAXSEG: offered, and kept to; of a listener by its children. */
static uint32_t offered(void)
{
    return (uint32_t)b.seen.header[22] << 8 | b.seen.header[23];
}

START_TEST(test_maximum_segment)
{
    static const struct {
        uint16_t maximum;
        uint32_t mss;
    } rows[] = {{600, 600}, {1, 88}, {1460, 1460}, {9000, 1460}};
    for (size_t i = 0; i < COUNT(rows) * 2; i++) {
        const struct tcp_options o = {.nodelay = 1, .maximum_segment = rows[i / 2].maximum};
        uint32_t mss = rows[i / 2].mss, octets = i % 2 ? 12 : 0;
        again(&plain);
        bench_state(&b, TCP_LISTEN);
        tcp_set_options(b.h.t, b.h.now_us, b.listener, &o);
        b.conn = TCP_NONE;
        peer_syn(i % 2, S, 0, 0);
        expect(&b, S | A, 0, 1, 0);
        ck_assert_uint_eq(offered(), mss);
        expect_silence(&b);
        peer_says(i % 2, A, 1, 1);
        make_available(&b, 5000);
        expect(&b, A, 1, 1, mss - octets);
        ck_assert_uint_eq(conn_of(&b)->options.maximum_segment, rows[i / 2].maximum);
    }
}
END_TEST

START_TEST(test_maximum_segment_of_a_connection)
{
    struct tcp_options o = {.nodelay = 1, .maximum_segment = 500};
    ck_assert_int_eq(host_connect(&b.h, &b.peer, OWN_PORT, PEER_PORT, 65536, 65536, &b.conn), TCP_CALL_OK);
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &o);
    expect(&b, S, 0, 0, 0);
    ck_assert_uint_eq(offered(), 500);
    learn_clock();
    peer_syn(true, S | A, 0, 1);
    expect_with(A, 1, 1, 0, PEER_CLOCK);
    make_available(&b, 500);
    expect_with(A, 1, 1, 488, PEER_CLOCK);
    expect_with(A | P, 489, 1, 12, PEER_CLOCK);
    advance(&b, SECOND);
    expect_with(A, 1, 1, 488, PEER_CLOCK); /* the congestion window is one segment now */
    o.maximum_segment = 1400;              /* which grows */
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &o);
    tell(A, 1, 501, 0, PEER_CLOCK);
    make_available(&b, 5000);
    expect_with(A, 501, 1, 1388, PEER_CLOCK);
}
END_TEST

SUITE_RUN("tcp_timestamps", setup, teardown, test_negotiation, test_not_agreed_on, test_layout_of_syn, test_bad_length,
          test_clock_offset, test_every_segment, test_reset_of_a_lost_connection, test_missing,
          test_missing_in_handshake, test_paws, test_old_duplicate, test_idle_for_days, test_syn_that_says_zero,
          test_echo, test_round_trip_of_a_retransmission, test_round_trip_of_a_fast_retransmission,
          test_round_trip_of_the_handshake, test_effective_mss, test_full_segment, test_super_segments,
          test_acks_of_full_segments, test_maximum_segment, test_maximum_segment_of_a_connection)
