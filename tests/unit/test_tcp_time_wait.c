// SPDX-License-Identifier: BSD-2-Clause
/* TIME-WAIT: what its records say, answer, refuse, protect; how they end, and how they are put back. */
#include <stdlib.h>

#include "tests/unit/suite.h"
#include "tests/unit/tcp_bench.h"

#define PEER_TS  1000U /* TSval of the peer's last segment */
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void put32(uint8_t *at, uint32_t value)
{
    be32 wire = be32_make(value);
    memcpy(at, &wire, sizeof wire);
}

/* Of the next segment injected. */
static void with_timestamp(uint32_t tsval)
{
    uint8_t o[12] = {1, 1, 8, 10};
    put32(o + 4, tsval);
    bench_options(&b, (const char *)o, sizeof o);
}

static void says(bool timestamps, uint32_t tsval, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t length)
{
    if (timestamps)
        with_timestamp(tsval);
    inject(&b, flags, seq, ack, length);
}

static void again(const struct tcp_config *config)
{
    bench_fini(&b);
    bench_init_with(&b, 0xfffffff0U, config);
}

/* From the peer's port, through a listener, closed by us: RCV.NXT and SND.NXT are 2. */
static void time_wait(bool timestamps)
{
    if (b.listener == TCP_NONE)
        bench_state(&b, TCP_LISTEN);
    b.conn = TCP_NONE;
    says(timestamps, PEER_TS - 2, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    expect_silence(&b);
    says(timestamps, PEER_TS - 1, A, 1, 1, 0);
    tcp_accepted(b.h.t, b.conn);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    expect(&b, F | A, 1, 1, 0);
    says(timestamps, PEER_TS, F | A, 1, 2, 0);
    expect(&b, A, 2, 2, 0);
    expect_silence(&b);
    ck_assert_ptr_nonnull(time_wait_of(&b));
}

static void stays(void)
{
    ck_assert_ptr_nonnull(time_wait_of(&b));
    ck_assert_uint_eq(time_wait_of(&b)->rcv_nxt, b.irs + 2);
}

static uint64_t ends_at(void)
{
    return time_wait_of(&b)->ends_at_us;
}

/* ---- the record ---- */
static void record(bool timestamps)
{
    b.receive_size = 1 << 20;
    time_wait(timestamps);
    const struct tcp_time_wait *r = time_wait_of(&b);
    ck_assert(ip_address_equal(&r->local, &b.h.address) && ip_address_equal(&r->remote, &b.peer));
    ck_assert_uint_eq(r->snd_nxt, b.iss + 2);
    ck_assert_uint_eq(r->rcv_nxt, b.irs + 2);
    ck_assert_uint_eq(r->flags, timestamps ? TCP_TIME_WAIT_TIMESTAMPS : 0);
    ck_assert_uint_eq(r->ts_recent, timestamps ? PEER_TS : 0);
    ck_assert_uint_eq(r->ends_at_us, b.h.now_us + 60 * SECOND);
    ck_assert_uint_eq(r->window, seen_window(&b));
    ck_assert_uint_gt(r->window, 0);
    ck_assert_uint_eq(b.seen.header_length, timestamps ? 32 : 20);
    ck_assert_uint_eq(b.seen.conn, TCP_NONE);
    ck_assert_uint_eq(counters_of(&b)->time_waits, 1);
    ck_assert_int_eq(conn_of(&b)->state, TCP_CLOSED); /* the block is free, and the user was told of a good end */
    ck_assert_uint_eq(conn_of(&b)->error, TCP_ERROR_NONE);
    ck_assert(conn_of(&b)->fin_received);
    ck_assert_uint_eq(b.h.ended, 1);
    struct tcp_segment_in meta = {
        .source = b.peer, .destination = b.h.address, .source_port = b.peer_port, .destination_port = b.own_port};
    ck_assert_uint_eq(tcp_lookup(b.h.t, &meta), b.listener);
}

START_TEST(test_record)
{
    record(false);
}
END_TEST

START_TEST(test_record_with_timestamps)
{
    record(true);
}
END_TEST

/* The FIN and the ACK of ours in one burst: the FIN is acknowledged all the same. */
START_TEST(test_ack_owed_by_closing)
{
    bench_state(&b, TCP_FIN_WAIT_1);
    inject(&b, F | A, 1, 1, 0);
    inject(&b, A, 2, 2, 0);
    expect(&b, A, 2, 2, 0);
    expect_silence(&b);
    stays();
}
END_TEST

/* Nothing of the table is touched before it is used. */
START_TEST(test_costs_nothing_unused)
{
    struct tcp_config config = {.connections = 16, .mtu = 1500, .time_waits = 10000};
    size_t size = tcp_size(&config);
    uint8_t *memory = aligned_alloc(64, size);
    memset(memory, 0, size);
    struct tcp *t = tcp_init(memory, &config, HARNESS_START_US);
    ck_assert_uint_eq(tcp_time_wait_records(t), 10000);
    const uint8_t *at = (const uint8_t *)tcp_time_wait_at(t, 0);
    ck_assert_uint_gt((size_t)(memory + size - at), 10000 * sizeof(struct tcp_time_wait));
    for (; at < memory + size; at++)
        require(*at == 0);
    struct tcp_output out;
    ck_assert(!tcp_poll(t, 1ULL << 40, &out));
    ck_assert(tcp_deadline_us(t) == UINT64_MAX);
    free(memory);
}
END_TEST

/* ---- segments ---- */
static const struct {
    const char *name;
    uint8_t flags;
    uint32_t seq, ack, length;
    bool answered, restarted, ended;
} arrivals[] = {
    {"ACK", A, 2, 2, 0, false, false, false},
    {"ACK in the window", A, 3, 2, 0, true, false, false},
    {"old ACK", A, 1, 2, 0, true, false, false},
    {"ACK beyond the window", A, 2 + 70000, 2, 0, true, false, false},
    {"old text", A, 1, 2, 1, true, false, false},
    {"text after the FIN", A, 2, 2, 100, true, false, false},
    {"text beyond the window", A, 2 + 70000, 2, 100, true, false, false},
    {"FIN again", F | A, 1, 2, 0, true, true, false},
    {"FIN again, with text", F | A, 0, 2, 1, true, true, false},
    {"FIN again, older ACK", F | A, 1, 1, 0, true, true, false},
    {"FIN again, ACK of nothing", F | A, 1, 3, 0, true, false, false},
    {"FIN without ACK", F, 1, 0, 0, true, false, false},
    {"FIN of long ago", F | A, 0, 2, 0, true, false, false},
    {"FIN beyond the window", F | A, 2 + 70000, 2, 0, true, false, false},
    {"another FIN", F | A, 2, 2, 0, true, false, false},
    {"RST", R, 2, 0, 0, false, false, true},
    {"RST and ACK", R | A, 2, 2, 0, false, false, true},
    {"old RST", R, 1, 0, 0, false, false, false},
    {"RST in the window", R, 3, 0, 0, true, false, false},
    {"RST beyond the window", R, 2 + 70000, 0, 0, false, false, false},
    {"old SYN", S, 1, 0, 0, true, false, false},
    {"SYN at RCV.NXT", S, 2, 0, 0, true, false, false},
    {"SYN and ACK", S | A, 3, 2, 0, true, false, false},
    {"no ACK", 0, 2, 0, 1, false, false, false},
};

START_TEST(test_arrivals)
{
    for (unsigned i = 0; i < COUNT(arrivals); i++) {
        b.peer_port = (uint16_t)(6000 + i);
        time_wait(false);
        advance(&b, 2 * SECOND);
        uint64_t before = ends_at();
        inject(&b, arrivals[i].flags, arrivals[i].seq, arrivals[i].ack, arrivals[i].length);
        struct tcp_output out;
        bool answered = host_poll(&b.h, &out);
        ck_assert_msg(answered == arrivals[i].answered, "%s: answer %d", arrivals[i].name, answered);
        if (answered) {
            struct tcp_header h;
            memcpy(&h, out.header, sizeof h);
            ck_assert_msg(h.flags == A && be32_get(h.sequence) == b.iss + 2 && be32_get(h.acknowledgement) == b.irs + 2,
                          "%s", arrivals[i].name);
        }
        expect_silence(&b);
        ck_assert_msg((time_wait_of(&b) == NULL) == arrivals[i].ended, "%s: end", arrivals[i].name);
        if (!arrivals[i].ended)
            ck_assert_msg((ends_at() != before) == arrivals[i].restarted, "%s: restart", arrivals[i].name);
    }
    ck_assert_uint_eq(counters_of(&b)->resets_in, 2);
    ck_assert_uint_eq(counters_of(&b)->resets_out, 0);
    ck_assert_uint_eq(counters_of(&b)->challenge_acks, 3);
    ck_assert_uint_eq(counters_of(&b)->drop_no_ack, 1);
    ck_assert_uint_eq(counters_of(&b)->duplicates, 8);
    ck_assert_uint_eq(counters_of(&b)->drop_out_of_window, 9);
}
END_TEST

/* What carries nothing is answered ten times a second, challenges as those of a connection; a FIN always. */
START_TEST(test_answers_are_limited)
{
    time_wait(false);
    advance(&b, SECOND);
    inject(&b, A, 1, 2, 0);
    expect(&b, A, 2, 2, 0);
    inject(&b, A, 1, 2, 0);
    inject(&b, S, 2, 0, 0);
    expect_silence(&b);
    inject(&b, F | A, 1, 2, 0);
    expect(&b, A, 2, 2, 0);
    advance(&b, 100 * MS);
    inject(&b, S, 2, 0, 0);
    expect(&b, A, 2, 2, 0);
    inject(&b, S, 2, 0, 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->challenge_acks, 1);
    for (int i = 0; i < 300; i++)
        inject(&b, F | A, 1, 2, 0);
    ck_assert_uint_eq(counters_of(&b)->drop_reply_queue, 300 - 256);
    for (int i = 0; i < 256; i++)
        expect(&b, A, 2, 2, 0);
    expect_silence(&b);
}
END_TEST

START_TEST(test_timestamps)
{
    time_wait(true);
    advance(&b, SECOND);
    uint64_t ends = ends_at();
    inject(&b, F | A, 1, 2, 0); /* RFC 7323 3.2: SHOULD be dropped silently */
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_no_timestamp, 1);
    says(true, PEER_TS - 1, F | A, 1, 2, 0); /* PAWS */
    expect(&b, A, 2, 2, 0);
    ck_assert_uint_eq(counters_of(&b)->drop_paws, 1);
    ck_assert_uint_eq(ends_at(), ends);
    says(true, PEER_TS + 7, F | A, 1, 2, 0);
    expect(&b, A, 2, 2, 0);
    uint8_t echo[4];
    put32(echo, PEER_TS + 7);
    ck_assert_mem_eq(b.seen.header + 28, echo, 4);
    ck_assert_uint_eq(ends_at(), ends + SECOND);
    ck_assert_uint_eq(time_wait_of(&b)->ts_recent, PEER_TS + 7);
    ends = ends_at(); /* blind: neither the time nor TS.Recent is anyone's to push */
    says(true, PEER_TS + 1000000, F | A, 1000, 2, 0);
    expect(&b, A, 2, 2, 0);
    says(true, PEER_TS + 1000000, F | A, (uint32_t)-1000, 2, 0);
    expect(&b, A, 2, 2, 0);
    ck_assert_uint_eq(time_wait_of(&b)->ts_recent, PEER_TS + 7);
    ck_assert_uint_eq(ends_at(), ends);
    inject(&b, R, 2, 0, 0); /* of an RST nothing is looked at */
    expect_silence(&b);
    ck_assert_ptr_null(time_wait_of(&b));
}
END_TEST

/* ---- RFC 6191 2 ---- */
static const struct {
    bool had;      /* timestamps: the old connection */
    bool has;      /* the SYN */
    int32_t newer; /* its TSval than the last */
    int32_t above; /* its sequence number than RCV.NXT */
    bool honoured;
} reopenings[] = {
    {true, true, 1, -100000, true}, {true, true, 1, 5, true},         {true, true, 0, 1, true},
    {true, true, 0, 0, false},      {true, true, 0, -5, false},       {true, true, -1, 5, false},
    {true, false, 0, 1, true},      {true, false, 0, 0, false},       {true, false, 0, -7, false},
    {false, true, -2000, -7, true}, {false, true, 0, 9, true},        {false, false, 0, 1, true},
    {false, false, 0, 0, false},    {false, false, 0, -70000, false}, {false, false, 0, 100000, true},
};

START_TEST(test_reopening)
{
    b.backlog = 64;
    for (unsigned i = 0; i < COUNT(reopenings); i++) {
        b.peer_port = (uint16_t)(6000 + i);
        uint32_t irs = b.irs;
        time_wait(reopenings[i].had);
        uint32_t old = time_wait_of(&b)->snd_nxt;
        uint64_t reused = counters_of(&b)->time_wait_reused;
        advance(&b, SECOND);
        b.conn = TCP_NONE;
        says(reopenings[i].has, PEER_TS + (uint32_t)reopenings[i].newer, S, 2 + (uint32_t)reopenings[i].above, 0, 0);
        if (reopenings[i].honoured) {
            b.irs += 2 + (uint32_t)reopenings[i].above;
            expect(&b, S | A, 0, 1, 0);
            ck_assert_msg((int32_t)(b.iss - old - 65535) >= 0, "row %u: ISN", i);
            ck_assert_uint_eq(counters_of(&b)->time_wait_reused, reused + 1);
            ck_assert_ptr_null(time_wait_of(&b));
            inject(&b, R, 1, 0, 0);
            expect_silence(&b);
        } else {
            expect(&b, A, 2, 2, 0);
            ck_assert_uint_eq(counters_of(&b)->time_wait_reused, reused);
            stays();
        }
        b.irs = irs;
    }
}
END_TEST

/* With nobody listening, or no room, the old connection's rest is not disturbed. */
START_TEST(test_reopening_needs_a_listener)
{
    b.backlog = 0;
    time_wait(false);
    uint16_t port = b.peer_port;
    uint32_t iss = b.iss;
    b.peer_port = 7000;
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    expect_silence(&b);
    b.peer_port = port;
    b.iss = iss;
    inject(&b, S, 10, 0, 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_backlog_full, 1);
    ck_assert_uint_eq(counters_of(&b)->cookies_sent, 0);
    stays();
    tcp_abort(b.h.t, b.h.now_us, b.listener);
    struct tcp_output out;
    ck_assert(host_poll(&b.h, &out)); /* RST to the other */
    inject(&b, S, 10, 0, 0);
    expect(&b, A, 2, 2, 0);
    stays();
}
END_TEST

/* ---- our own ports ---- */
static enum tcp_call_result connect_again(uint32_t *ret_index)
{
    return host_connect(&b.h, &b.peer, b.own_port, b.peer_port, 4096, 4096, ret_index);
}

START_TEST(test_connect_again)
{
    uint32_t index;
    time_wait(false);
    advance(&b, 30 * SECOND);
    ck_assert_int_eq(connect_again(&index), TCP_CALL_IN_USE);
    b.peer_port++;
    time_wait(true);
    uint32_t old = time_wait_of(&b)->snd_nxt;
    advance(&b, SECOND - 1);
    ck_assert_int_eq(connect_again(&index), TCP_CALL_IN_USE);
    advance(&b, 1);
    ck_assert_int_eq(connect_again(&index), TCP_CALL_OK);
    ck_assert_int_ge((int32_t)(host_conn(&b.h, index)->iss - old - 65535), 0);
    ck_assert_ptr_null(time_wait_of(&b));
    ck_assert_uint_eq(counters_of(&b)->time_wait_reused, 1);
}
END_TEST

static struct tcp_time_wait record_of(uint16_t local_port, uint16_t remote_port, uint64_t ends_at_us)
{
    return (struct tcp_time_wait){.local = b.h.address,
                                  .remote = b.peer,
                                  .local_port = local_port,
                                  .remote_port = remote_port,
                                  .snd_nxt = 1000,
                                  .rcv_nxt = 2000,
                                  .ts_recent = PEER_TS,
                                  .flags = TCP_TIME_WAIT_TIMESTAMPS,
                                  .window = 4000,
                                  .ends_at_us = ends_at_us};
}

/* All ephemeral ports to one peer are in TIME-WAIT, but some. */
START_TEST(test_free_ports_first)
{
    struct tcp_config config = {.connections = 16, .mtu = 1500, .time_waits = 30000};
    again(&config);
    uint32_t n = 0, index, low = 0;
    for (uint32_t port = 32768; port <= 60999; port++) {
        struct tcp_time_wait r = record_of((uint16_t)port, 9, HARNESS_START_US + 60 * SECOND);
        if (port % 100 != 0)
            ck_assert_int_eq(tcp_restore_time_wait(b.h.t, n++, &r), TCP_CALL_OK);
    }
    host_drain(&b.h);
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 9, 4096, 4096, &index), TCP_CALL_OK); /* none has rested */
    ck_assert_uint_eq(host_conn(&b.h, index)->identity.local_port % 100, 0);
    advance(&b, 2 * SECOND);
    for (int i = 0; i < 10; i++) { /* a hundred are looked at, two or three free ones among them */
        ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 9, 4096, 4096, &index), TCP_CALL_OK);
        low += host_conn(&b.h, index)->identity.local_port % 100 == 0;
    }
    ck_assert_uint_eq(low, 10);
    ck_assert_uint_eq(counters_of(&b)->time_wait_reused, 0);
}
END_TEST

START_TEST(test_rested_ports_last)
{
    struct tcp_config config = {.connections = 16, .mtu = 1500, .time_waits = 30000};
    again(&config);
    uint32_t index;
    for (uint32_t port = 32768; port <= 60999; port++) {
        struct tcp_time_wait r = record_of((uint16_t)port, 9, HARNESS_START_US + 60 * SECOND);
        ck_assert_int_eq(tcp_restore_time_wait(b.h.t, port - 32768, &r), TCP_CALL_OK);
    }
    host_drain(&b.h);
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 9, 4096, 4096, &index), TCP_CALL_NO_PORT);
    advance(&b, SECOND);
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 9, 4096, 4096, &index), TCP_CALL_OK);
    ck_assert_uint_eq(counters_of(&b)->time_wait_reused, 1);
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 10, 4096, 4096, &index), TCP_CALL_OK);
    ck_assert_uint_eq(counters_of(&b)->time_wait_reused, 1);
}
END_TEST

/* ---- ends ---- */
START_TEST(test_gathered)
{
    time_wait(false);
    uint64_t first = ends_at();
    advance(&b, 400 * MS);
    b.peer_port++;
    time_wait(false);
    advance(&b, 100 * MS);
    b.peer_port++;
    time_wait(false);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), first + SECOND);
    b.h.now_us = first + SECOND - 1;
    expect_silence(&b);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), first + SECOND);
    advance(&b, 1);
    struct tcp_output out;
    uint32_t record, ended = 0;
    ck_assert(!host_poll(&b.h, &out));
    while (tcp_next_touched_time_wait(b.h.t, &record)) {
        ck_assert_uint_eq(tcp_time_wait_at(b.h.t, record)->local.family, ADDRESS_NONE);
        b.h.time_wait[record] = *tcp_time_wait_at(b.h.t, record);
        ended++;
    }
    ck_assert_uint_eq(ended, 3);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
    inject(&b, F | A, 1, 2, 0); /* nobody's now */
    expect(&b, R, 2, 0, 0);
}
END_TEST

/* A FIN that comes again makes the oldest the youngest. */
START_TEST(test_oldest_gives_way)
{
    struct tcp_config config = {.connections = 16, .mtu = 1500, .time_waits = 2};
    uint32_t first = 0;
    again(&config);
    for (uint16_t port = 1; port <= 2; port++) {
        b.peer_port = port;
        time_wait(false);
        first = port == 1 ? b.iss : first;
        advance(&b, SECOND);
    }
    b.peer_port = 1;
    b.iss = first;
    inject(&b, F | A, 1, 2, 0);
    expect(&b, A, 2, 2, 0);
    b.peer_port = 3;
    time_wait(false);
    ck_assert_uint_eq(counters_of(&b)->time_wait_reused, 1);
    b.peer_port = 2;
    ck_assert_ptr_null(time_wait_of(&b));
    b.peer_port = 1;
    ck_assert_ptr_nonnull(time_wait_of(&b));
}
END_TEST

/* ---- restart ---- */
START_TEST(test_restore)
{
    time_wait(true);
    struct tcp_time_wait r = *time_wait_of(&b), other;
    uint32_t iss = b.iss, index;
    bench_fini(&b);
    bench_init(&b, 0xfffffff0U);
    b.iss = iss;
    ck_assert_int_eq(tcp_restore_time_wait(b.h.t, 32, &r), TCP_CALL_IN_USE); /* there are 32 */
    ck_assert_int_eq(tcp_restore_time_wait(b.h.t, 7, &r), TCP_CALL_OK);
    ck_assert_int_eq(tcp_restore_time_wait(b.h.t, 8, &r), TCP_CALL_IN_USE);
    other = record_of(1, 2, HARNESS_START_US);
    ck_assert_int_eq(tcp_restore_time_wait(b.h.t, 7, &other), TCP_CALL_IN_USE);
    ck_assert_int_eq(tcp_restore_time_wait(b.h.t, 3, &other), TCP_CALL_OK); /* below one that is there */
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 3, 4, 4096, 4096, &index), TCP_CALL_OK);
    other = record_of(3, 4, HARNESS_START_US);
    ck_assert_int_eq(tcp_restore_time_wait(b.h.t, 4, &other), TCP_CALL_IN_USE);
    tcp_abort(b.h.t, b.h.now_us, index);
    host_drain(&b.h);
    says(true, PEER_TS, F | A, 1, 2, 0);
    expect(&b, A, 2, 2, 0); /* not an RST */
    ck_assert_int_eq(connect_again(&index), TCP_CALL_IN_USE);
    b.peer_port++;
    time_wait(true); /* finds a free record */
}
END_TEST

START_TEST(test_restore_ends_in_time)
{
    struct tcp_time_wait r = record_of(1, 2, HARNESS_START_US + 1000000ULL * SECOND); /* of a clock that was wrong */
    ck_assert_int_eq(tcp_restore_time_wait(b.h.t, 0, &r), TCP_CALL_OK);
    r = record_of(1, 3, 0);
    ck_assert_int_eq(tcp_restore_time_wait(b.h.t, 1, &r), TCP_CALL_OK);
    host_drain(&b.h);
    ck_assert_uint_eq(tcp_time_wait_at(b.h.t, 0)->ends_at_us, HARNESS_START_US + 60 * SECOND);
    ck_assert_uint_eq(tcp_time_wait_at(b.h.t, 1)->ends_at_us,
                      HARNESS_START_US + 60 * SECOND); /* the queue is in order */
    advance(&b, 5 * SECOND);
    time_wait(false);
    r = record_of(1, 4, UINT64_MAX);
    ck_assert_int_eq(tcp_restore_time_wait(b.h.t, 9, &r), TCP_CALL_OK);
    host_drain(&b.h);
    ck_assert_uint_eq(tcp_time_wait_at(b.h.t, 9)->ends_at_us, ends_at()); /* also late */
}
END_TEST

/* Of ports: 1 to 2 is good; each row spoils one thing. */
START_TEST(test_restore_unsound)
{
    for (int i = 0; i < 8; i++) {
        struct tcp_time_wait r = record_of(1, 2, HARNESS_START_US);
        uint8_t *const octet[] = {&r.local.family, &r.remote.family, &r.flags, &r.window_scale};
        static const uint8_t wrong[] = {ADDRESS_NONE, ADDRESS_IP6, TCP_TIME_WAIT_FLAGS + 1, 15};
        if (i < 4)
            *octet[i] = wrong[i];
        else if (i == 4)
            r.local_port = 0;
        else if (i == 5)
            r.remote_port = 0;
        else if (i == 6)
            r.local.family = r.remote.family = 9;
        ck_assert_int_eq(tcp_restore_time_wait(b.h.t, 0, &r), i < 7 ? TCP_CALL_BAD_STATE : TCP_CALL_OK);
    }
    host_drain(&b.h);
}
END_TEST

/* The SYN of an attempt that the store has, and a TIME-WAIT of the same four-tuple, cannot both be. */
START_TEST(test_restore_syn_sent_against_record)
{
    bench_state(&b, TCP_SYN_SENT);
    struct tcp_conn block = *conn_of(&b);
    struct tcp_time_wait r = record_of(OWN_PORT, PEER_PORT, HARNESS_START_US);
    bench_fini(&b);
    bench_init(&b, 1);
    ck_assert_int_eq(tcp_restore_time_wait(b.h.t, 0, &r), TCP_CALL_OK);
    ck_assert_int_eq(tcp_restore(b.h.t, 0, &block), TCP_CALL_IN_USE);
    host_drain(&b.h);
}
END_TEST

SUITE_RUN("tcp_time_wait", setup, teardown, test_record, test_record_with_timestamps, test_ack_owed_by_closing,
          test_costs_nothing_unused, test_arrivals, test_answers_are_limited, test_timestamps, test_reopening,
          test_reopening_needs_a_listener, test_connect_again, test_free_ports_first, test_rested_ports_last,
          test_gathered, test_oldest_gives_way, test_restore, test_restore_ends_in_time, test_restore_unsound,
          test_restore_syn_sent_against_record)
