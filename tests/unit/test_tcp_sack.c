// SPDX-License-Identifier: BSD-2-Clause
/* Selective acknowledgements, the receiver's side (protocols/tcp/sack.c), against a scripted peer: who agrees to them,
 * what an ACK reports, in which order, and what room that takes. */
#include <check.h>
#include <string.h>

#include "protocols/tcp/tcp_internal.h"
#include "tests/unit/tcp_bench.h"

#define BLOCKS 4
#define STEPS  10

static uint32_t get32(const uint8_t *at)
{
    be32 wire;
    memcpy(&wire, at, sizeof wire);
    return be32_get(wire);
}

static void put32(uint8_t *at, uint32_t value)
{
    be32 wire = be32_make(value);
    memcpy(at, &wire, sizeof wire);
}

static void again(uint32_t irs, const struct tcp_config *config)
{
    bench_fini(&b);
    bench_init_with(&b, irs, config);
}

static const struct tcp_config plain = {.connections = 16, .mtu = 1500, .secret = {1, 2, 3}};

static uint32_t echoed; /* our TSval, seen last */

/* Of the next segment: SYN's options, or a timestamp. */
static void with_options(bool syn, bool timestamps, bool sack)
{
    uint8_t o[20] = {2, 4, 0x05, 0xb4, 1, 1, 1, 1};
    uint32_t n = 4;
    if (sack && syn)
        memcpy(o + n, "\4\2\1\1", 4), n += 4;
    if (timestamps) {
        memcpy(o + n, "\1\1\10\12", 4);
        put32(o + n + 4, 1000);
        put32(o + n + 8, echoed);
        n += 12;
    }
    bench_options(&b, (const char *)o + (syn ? 0 : 4), syn ? n : n - 4);
}

static enum tcp_input_result tell(bool timestamps, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t length)
{
    with_options(false, timestamps, false);
    return inject(&b, flags, seq, ack, length);
}

static void agreed(bool timestamps)
{
    bench_state(&b, TCP_LISTEN);
    b.conn = TCP_NONE;
    b.window = 60000;
    with_options(true, timestamps, true);
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    if (timestamps)
        echoed = get32(b.seen.header + 28);
    expect_silence(&b);
    tell(timestamps, A, 1, 1, 0);
    expect_silence(&b);
    tcp_accepted(b.h.t, b.conn);
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &(struct tcp_options){.nodelay = 1});
    host_drain(&b.h);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    ck_assert(conn_of(&b)->flags & TCP_CONN_SACK);
}

/* Blocks of the segment seen last, relative; the count of them. */
static uint32_t seen_blocks(bool timestamps, struct tcp_range ret[BLOCKS])
{
    uint32_t at = timestamps ? 32 : 20;
    if (b.seen.header_length == at)
        return 0;
    const uint8_t *o = b.seen.header + at;
    ck_assert_mem_eq(o, "\1\1\5", 3);
    uint32_t count = (o[3] - 2U) / 8;
    ck_assert_uint_eq(o[3], 2 + count * 8);
    ck_assert_uint_eq(b.seen.header_length, at + 4 + count * 8);
    ck_assert_uint_le(count, BLOCKS);
    for (uint32_t i = 0; i < count; i++)
        ret[i] = (struct tcp_range){get32(o + 4 + i * 8) - b.irs, get32(o + 8 + i * 8) - b.irs};
    return count;
}

/* ---- examples of the RFCs ---- */
struct step {
    uint32_t start, end;            /* of the segment that comes */
    uint32_t ack;                   /* of the ACK that answers */
    struct tcp_range block[BLOCKS]; /* in it */
};

struct script {
    const char *name;
    uint32_t first; /* number of the first octet of the stream */
    struct step step[STEPS];
};

static const struct script scripts[] = {
    {"RFC 2018 5 case 1: the last four of eight are lost",
     5000,
     {{5000, 5500, 5500, {{0}}}, {5500, 6000, 6000, {{0}}}, {6000, 6500, 6500, {{0}}}, {6500, 7000, 7000, {{0}}}}},
    {"RFC 2018 5 case 2: the first of eight is lost",
     5000,
     {{5500, 6000, 5000, {{5500, 6000}}},
      {6000, 6500, 5000, {{5500, 6500}}},
      {6500, 7000, 5000, {{5500, 7000}}},
      {7000, 7500, 5000, {{5500, 7500}}},
      {7500, 8000, 5000, {{5500, 8000}}},
      {8000, 8500, 5000, {{5500, 8500}}},
      {8500, 9000, 5000, {{5500, 9000}}},
      {5000, 5500, 9000, {{0}}}}},
    {"RFC 2018 5 case 3: every other is lost",
     5000,
     {{5000, 5500, 5500, {{0}}},
      {6000, 6500, 5500, {{6000, 6500}}},
      {7000, 7500, 5500, {{7000, 7500}, {6000, 6500}}},
      {8000, 8500, 5500, {{8000, 8500}, {7000, 7500}, {6000, 6500}}},
      {6500, 7000, 5500, {{6000, 7500}, {8000, 8500}}},
      {5500, 6000, 7500, {{8000, 8500}}}}},
    {"RFC 2883 4.1: a duplicate segment",
     3000,
     {{3000, 3500, 3500, {{0}}}, {3500, 4000, 4000, {{0}}}, {3000, 3500, 4000, {{3000, 3500}}}}},
    {"RFC 2883 4.2: one out of order and a duplicate",
     3000,
     {{3000, 3500, 3500, {{0}}},
      {3500, 4000, 4000, {{0}}},
      {4500, 5000, 4000, {{4500, 5000}}},
      {3000, 3500, 4000, {{3000, 3500}, {4500, 5000}}},
      {4000, 4500, 5000, {{0}}}}},
    {"RFC 2883 4.3: a duplicate of one out of order",
     3500,
     {{3500, 4000, 4000, {{0}}},
      {4500, 5000, 4000, {{4500, 5000}}},
      {5000, 5500, 4000, {{4500, 5500}}},
      {5000, 5500, 4000, {{5000, 5500}, {4500, 5500}}}}},
    {"RFC 2883 4.4: a single duplicate subsegment",
     500,
     {{500, 1000, 1000, {{0}}},
      {2000, 2500, 1000, {{2000, 2500}}},
      {1000, 1500, 1500, {{2000, 2500}}},
      {1000, 2000, 2500, {{1000, 1500}}}}},
    {"RFC 2883 4.5: two non-contiguous duplicate subsegments covered by the ACK",
     500,
     {{500, 1000, 1000, {{0}}},
      {3000, 3500, 1000, {{3000, 3500}}},
      {1000, 1500, 1500, {{3000, 3500}}},
      {2000, 2500, 1500, {{2000, 2500}, {3000, 3500}}},
      {1000, 2500, 2500, {{1000, 1500}, {3000, 3500}}}}},
    {"RFC 2883 4.6: two non-contiguous duplicate subsegments not covered by the ACK",
     500,
     {{500, 1000, 1000, {{0}}},
      {1500, 2000, 1000, {{1500, 2000}}},
      {2500, 3000, 1000, {{2500, 3000}, {1500, 2000}}},
      {1500, 3000, 1000, {{1500, 2000}, {1500, 3000}}}}},
    {"a duplicate of what lies in the middle of a range",
     1,
     {{1001, 2001, 1, {{1001, 2001}}}, {1501, 1601, 1, {{1501, 1601}, {1001, 2001}}}, {1, 1001, 2001, {{0}}}}},
    {"a duplicate, what it is part of, and then the latest",
     1,
     {{1001, 2001, 1, {{1001, 2001}}},
      {3001, 4001, 1, {{3001, 4001}, {1001, 2001}}},
      {1501, 1601, 1, {{1501, 1601}, {1001, 2001}, {3001, 4001}}},
      {1, 1001, 2001, {{3001, 4001}}}}},
    {"a range that grows and grows does not push the others out",
     1,
     {{301, 401, 1, {{301, 401}}},
      {101, 201, 1, {{101, 201}, {301, 401}}},
      {501, 601, 1, {{501, 601}, {101, 201}, {301, 401}}},
      {601, 701, 1, {{501, 701}, {101, 201}, {301, 401}}},
      {701, 801, 1, {{501, 801}, {101, 201}, {301, 401}}},
      {801, 901, 1, {{501, 901}, {101, 201}, {301, 401}}},
      {901, 999, 1, {{501, 999}, {101, 201}, {301, 401}}}}},
    {"the latest first, when an older range grows",
     1,
     {{101, 201, 1, {{101, 201}}},
      {301, 401, 1, {{301, 401}, {101, 201}}},
      {201, 251, 1, {{101, 251}, {301, 401}}},
      {501, 601, 1, {{501, 601}, {101, 251}, {301, 401}}},
      {251, 301, 1, {{101, 401}, {501, 601}}}}},
};
#define SCRIPTS (sizeof scripts / sizeof scripts[0])

/* The ACK waits for no other: the RFCs' receivers acknowledge every segment. */
static void play_step(const struct script *s, const struct step *step, bool timestamps)
{
    uint32_t shift = s->first - 1; /* the first octet is 1 */
    struct tcp_range got[BLOCKS] = {{0}};
    tell(timestamps, A, step->start - shift, 1, step->end - step->start);
    advance(&b, TCP_DELAYED_ACK_US);
    expect(&b, A, 1, step->ack - shift, 0);
    uint32_t count = seen_blocks(timestamps, got);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        struct tcp_range want = step->block[i];
        if (want.end != 0)
            want = (struct tcp_range){want.start - shift, want.end - shift};
        ck_assert_msg(want.start == got[i].start && want.end == got[i].end, "%s: segment %u: block %u is %u-%u of %u",
                      s->name, step->start, i, got[i].start + shift, got[i].end + shift, count);
    }
    expect_silence(&b); /* one ACK, and a duplicate is told once */
}

START_TEST(test_examples)
{
    const struct script *s = &scripts[_i % SCRIPTS];
    bool timestamps = _i / SCRIPTS % 2 != 0;
    again(_i / SCRIPTS / 2 != 0 ? 0xfffff800U : 7, &plain); /* sequence numbers wrap within, or not */
    agreed(timestamps);
    for (uint32_t i = 0; i < STEPS && s->step[i].end != 0; i++)
        play_step(s, &s->step[i], timestamps);
}
END_TEST

/* ---- limits ---- */

/* Ten ranges: as many as fit, the latest first; they come down in turn; nothing that is held goes unsaid for ever. */
START_TEST(test_more_than_fit)
{
    bool timestamps = _i != 0;
    uint32_t most = timestamps ? 3 : 4, count = 0;
    struct tcp_range got[BLOCKS];
    agreed(timestamps);
    for (uint32_t i = 0; i < 10; i++) {
        tell(timestamps, A, 101 + i * 200, 1, 100);
        expect(&b, A, 1, 1, 0);
        count = seen_blocks(timestamps, got);
        ck_assert_uint_eq(count, i + 1 < most ? i + 1 : most);
        for (uint32_t k = 0; k < count; k++)
            ck_assert_uint_eq(got[k].start, 101 + (i - k) * 200);
        expect_silence(&b);
    }
    for (uint32_t i = 9; i > 0; i--) { /* holes are filled from the right: all ranges become one */
        tell(timestamps, A, 1 + i * 200, 1, 100);
        expect(&b, A, 1, 1, 0);
        count = seen_blocks(timestamps, got);
        ck_assert_uint_eq(got[0].start, 101 + (i - 1) * 200);
        ck_assert_uint_eq(got[0].end, 2001);
        ck_assert_uint_eq(count, i < most ? i : most);
        expect_silence(&b);
    }
    tell(timestamps, A, 1, 1, 100);
    expect(&b, A, 1, 2001, 0);
    ck_assert_uint_eq(seen_blocks(timestamps, got), 0);
    ck_assert_uint_eq(conn_of(&b)->sack_recent_count, 0);
}
END_TEST

/* One ACK for a super-segment out of order, and one for each of a burst of them. */
START_TEST(test_one_ack_each)
{
    agreed(false);
    for (uint32_t i = 0; i < 3; i++) {
        b.gso_size = 1000;
        tell(false, A, 1001 + i * 6000, 1, 5000);
    }
    for (uint32_t i = 0; i < 3; i++)
        expect(&b, A, 1, 1, 0);
    expect_silence(&b);
}
END_TEST

/* A FIN behind a range is held with it; its duplicate is one. */
START_TEST(test_fin)
{
    struct tcp_range got[BLOCKS];
    agreed(false);
    tell(false, F | A, 101, 1, 100);
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(seen_blocks(false, got), 1);
    ck_assert_uint_eq(got[0].start, 101);
    ck_assert_uint_eq(got[0].end, 202);
    expect_silence(&b);
    tell(false, A, 1, 1, 100);
    expect(&b, A, 1, 202, 0);
    ck_assert_uint_eq(b.seen.header_length, 20);
    tell(false, F | A, 201, 1, 0);
    expect(&b, A, 1, 202, 0);
    ck_assert_uint_eq(seen_blocks(false, got), 1);
    ck_assert_uint_eq(got[0].start, 201);
    ck_assert_uint_eq(got[0].end, 202);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->dsacks_out, 1);
}
END_TEST

/* The original that was late is refused by its timestamp, and reported all the same. */
START_TEST(test_late_original)
{
    struct tcp_range got[BLOCKS];
    agreed(true);
    tell(true, A, 1, 1, 100);
    advance(&b, TCP_DELAYED_ACK_US);
    expect(&b, A, 1, 101, 0);
    with_options(false, true, false);
    put32(b.options + 4, 999); /* older */
    inject(&b, A, 1, 1, 100);
    expect(&b, A, 1, 101, 0);
    ck_assert_uint_eq(counters_of(&b)->drop_paws, 1);
    ck_assert_uint_eq(seen_blocks(true, got), 1);
    ck_assert(got[0].start == 1 && got[0].end == 101);
    expect_silence(&b);
}
END_TEST

/* An octet that was received before, with an ACK of what was never sent: answered so often at most (RFC 5961 7). What
 * is to be reported has changed all the same, and whoever keeps the block hears of it (the harness compares). */
START_TEST(test_unanswered_is_touched)
{
    agreed(false);
    tell(false, A, 1, 1, 1000);
    advance(&b, TCP_DELAYED_ACK_US);
    expect(&b, A, 1, 1001, 0);
    tell(false, A, 1001, 5000, 0);
    expect(&b, A, 1, 1001, 0);
    tell(false, A, 1000, 5000, 1);
    expect_silence(&b);
}
END_TEST

/* Duplicates that touch are one; what lies further back than a window is not talked about; an empty one, an RST, a SYN
 * are none. */
START_TEST(test_duplicates)
{
    struct tcp_range got[BLOCKS];
    agreed(false);
    tell(false, A, 1, 1, 1000);
    advance(&b, TCP_DELAYED_ACK_US);
    expect(&b, A, 1, 1001, 0);
    tell(false, A, 1, 1, 100);
    tell(false, A, 101, 1, 100);
    tell(false, A, 501, 1, 100);
    expect(&b, A, 1, 1001, 0);
    ck_assert_uint_eq(seen_blocks(false, got), 1);
    ck_assert(got[0].start == 1 && got[0].end == 201);
    expect_silence(&b);
    static const struct {
        uint8_t flags;
        uint32_t seq, length;
        bool answered;
    } rows[] = {
        {A, 1001U - 65536, 100, true}, {A, 500, 0, true},   {S | A, 500, 10, true},
        {R | A, 500, 10, false},       {A, 1001, 0, false},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        advance(&b, SECOND);
        tell(false, rows[i].flags, rows[i].seq, 1, rows[i].length);
        if (rows[i].answered) {
            expect(&b, A, 1, 1001, 0);
            ck_assert_msg(b.seen.header_length == 20, "row %u", i);
        }
        expect_silence(&b);
    }
    ck_assert_uint_eq(counters_of(&b)->dsacks_out, 1);
}
END_TEST

/* Text that goes out while something is held carries the option, and is shorter for it: never more than the MTU. */
START_TEST(test_room)
{
    struct tcp_config config = plain;
    bool timestamps = _i != 0;
    uint32_t own = timestamps ? 12 : 0;
    struct tcp_range got[BLOCKS];
    config.gso = true;
    again(7, &config);
    agreed(timestamps);
    tell(timestamps, A, 101, 1, 100);
    tell(timestamps, A, 301, 1, 100);
    make_available(&b, 10 * MSS);
    expect(&b, A, 1, 1, 0);
    expect(&b, A, 1, 1, 0);
    uint32_t mss = MSS - own - 4 - 2 * 8;
    ck_assert(host_poll(&b.h, &b.seen));
    ck_assert_uint_eq(seen_blocks(timestamps, got), 2);
    ck_assert_uint_eq(b.seen.gso_size, mss);
    ck_assert_uint_eq(b.seen.payload_length % mss, 0);
    ck_assert_uint_eq(20U + b.seen.header_length + b.seen.gso_size, 1500);
    uint32_t sent = b.seen.payload_length;
    tell(timestamps, A, 1, 1 + sent, 100);
    tell(timestamps, A, 201, 1 + sent, 100);
    ck_assert(host_poll(&b.h, &b.seen));
    ck_assert_uint_eq(seen_ack(&b) - b.irs, 401);
    ck_assert_uint_eq(b.seen.header_length, 20 + own);
    ck_assert_uint_eq(b.seen.gso_size, MSS - own);
}
END_TEST

/* A duplicate is told with text, and only there. */
START_TEST(test_room_of_duplicate)
{
    struct tcp_range got[BLOCKS];
    agreed(false);
    tell(false, A, 1, 1, 1000);
    advance(&b, TCP_DELAYED_ACK_US);
    expect(&b, A, 1, 1001, 0);
    tell(false, A, 1, 1, 1000);
    make_available(&b, 2 * MSS);
    expect(&b, A, 1, 1001, MSS - 12);
    ck_assert_uint_eq(seen_blocks(false, got), 1);
    expect(&b, A, 1 + MSS - 12, 1001, MSS);
    ck_assert_uint_eq(b.seen.header_length, 20);
    expect(&b, A | P, 1 + 2 * MSS - 12, 1001, 12);
    expect_silence(&b);
}
END_TEST

/* ---- options ---- */
START_TEST(test_parse)
{
    static const struct {
        const char *name;
        uint8_t flags, length, option[40];
        enum segment_result result;
        bool permitted;
        uint8_t count;
    } rows[] = {
        {"permitted", S, 4, {4, 2, 1, 1}, SEGMENT_OK, true, 0},
        {"permitted, not of a SYN", A, 4, {4, 2, 1, 1}, SEGMENT_OK, false, 0},
        {"permitted, too long", S, 4, {4, 3, 1, 1}, SEGMENT_BAD_OPTIONS, false, 0},
        {"permitted, too short", S, 4, {4, 1, 1, 1}, SEGMENT_BAD_OPTIONS, false, 0},
        {"no block", A, 4, {5, 2, 1, 1}, SEGMENT_BAD_OPTIONS, false, 0},
        {"half a block", A, 8, {1, 1, 5, 6}, SEGMENT_BAD_OPTIONS, false, 0},
        {"a block and a bit", A, 16, {1, 5, 11}, SEGMENT_BAD_OPTIONS, false, 0},
        {"longer than there is", A, 12, {1, 1, 5, 18}, SEGMENT_BAD_OPTIONS, false, 0},
        {"one", A, 12, {1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9}, SEGMENT_OK, false, 1},
        {"four", A, 36, {1, 1, 5, 34, 0, 0, 0, 1, 0, 0, 0, 9}, SEGMENT_OK, false, 4},
        {"four at the end", A, 40, {1, 1, 1, 1, 1, 1, 5, 34, 0, 0, 0, 1, 0, 0, 0, 9}, SEGMENT_OK, false, 4},
        {"five do not fit", A, 40, {5, 42}, SEGMENT_BAD_OPTIONS, false, 0},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t header[60] = {0};
        struct segment s = {0};
        header[12] = (uint8_t)((20U + rows[i].length) / 4 << 4);
        header[13] = rows[i].flags;
        memcpy(header + 20, rows[i].option, rows[i].length);
        enum segment_result r = segment_parse(header, 20U + rows[i].length, 20U + rows[i].length, &s);
        ck_assert_msg(r == rows[i].result, "%s: %d", rows[i].name, r);
        ck_assert_msg(s.sack_permitted == rows[i].permitted && s.sack_count == rows[i].count, "%s", rows[i].name);
        if (s.sack_count > 0)
            ck_assert_msg(s.sack[0].start == 1 && s.sack[0].end == 9, "%s", rows[i].name);
    }
}
END_TEST

/* What a SYN says, octet for octet as Linux's. */
START_TEST(test_layout_of_syn)
{
    static const struct {
        bool timestamps, sack;
        uint32_t length;
        uint8_t before[8], after[4];
    } rows[] = {
        {true, true, 40, {2, 4, 5, 0xb4, 4, 2, 8, 10}, {1, 3, 3, 1}},
        {true, false, 40, {2, 4, 5, 0xb4, 1, 1, 8, 10}, {1, 3, 3, 1}},
        {false, true, 32, {2, 4, 5, 0xb4, 1, 1, 4, 2}, {1, 3, 3, 1}},
        {false, false, 28, {2, 4, 5, 0xb4, 1, 3, 3, 1}, {1, 3, 3, 1}},
    };
    struct tcp_config config = plain;
    config.no_timestamps = !rows[_i].timestamps;
    config.no_sack = !rows[_i].sack;
    again(7, &config);
    bench_state(&b, TCP_SYN_SENT);
    ck_assert_uint_eq(b.seen.header_length, rows[_i].length);
    ck_assert_mem_eq(b.seen.header + 20, rows[_i].before, 8);
    ck_assert_mem_eq(b.seen.header + rows[_i].length - 4, rows[_i].after, 4);
}
END_TEST

/* ---- who agrees ---- */
static bool seen_permitted(void)
{
    for (uint32_t i = 20; i + 1 < b.seen.header_length; i += b.seen.header[i] == 1 ? 1 : b.seen.header[i + 1])
        if (b.seen.header[i] == 4)
            return true;
    return false;
}

/* Only if both offer it: opened by us, by the peer, by both at once. */
START_TEST(test_negotiation)
{
    bool ours = _i & 1, peers = _i & 2;
    struct tcp_config config = plain;
    config.no_sack = !ours;
    again(7, &config);
    if (_i < 4) {
        bench_state(&b, TCP_LISTEN);
        b.conn = TCP_NONE;
        with_options(true, false, peers);
        inject(&b, S, 0, 0, 0);
        expect(&b, S | A, 0, 1, 0);
        ck_assert_int_eq(seen_permitted(), ours && peers);
        expect_silence(&b);
        inject(&b, A, 1, 1, 0);
    } else {
        bench_state(&b, TCP_CLOSED);
        ck_assert_int_eq(host_connect(&b.h, &b.peer, OWN_PORT, PEER_PORT, 65536, 65536, &b.conn), TCP_CALL_OK);
        expect(&b, S, 0, 0, 0);
        ck_assert_int_eq(seen_permitted(), ours);
        with_options(true, false, peers);
        if (_i < 8) {
            inject(&b, S | A, 0, 1, 0);
            expect(&b, A, 1, 1, 0);
        } else {
            inject(&b, S, 0, 0, 0);
            expect(&b, S | A, 0, 1, 0);
            ck_assert_int_eq(seen_permitted(), ours && peers);
            inject(&b, A, 1, 1, 0);
        }
    }
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    struct tcp_figures f;
    tcp_figures(b.h.t, b.conn, &f);
    ck_assert_int_eq(f.sack, ours && peers);
    inject(&b, A, 101, 1, 100);
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(b.seen.header_length, ours && peers ? 32 : 20);
    expect_silence(&b);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("tcp_sack");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, test_examples, 0, (int)SCRIPTS * 4);
    tcase_add_loop_test(c, test_more_than_fit, 0, 2);
    tcase_add_test(c, test_unanswered_is_touched);
    tcase_add_test(c, test_one_ack_each);
    tcase_add_test(c, test_fin);
    tcase_add_test(c, test_late_original);
    tcase_add_test(c, test_duplicates);
    tcase_add_loop_test(c, test_room, 0, 2);
    tcase_add_test(c, test_room_of_duplicate);
    tcase_add_test(c, test_parse);
    tcase_add_loop_test(c, test_layout_of_syn, 0, 4);
    tcase_add_loop_test(c, test_negotiation, 0, 12);
    Suite *suite = suite_create("tcp_sack");
    suite_add_tcase(suite, c);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
