// SPDX-License-Identifier: BSD-2-Clause
/* SYN cookies: what they carry, what they refuse, and that a flood costs nobody but the flooder. */
#include "protocols/tcp/tcp_internal.h"
#include "tests/unit/suite.h"
#include "tests/unit/tcp_bench.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define STEP     (64ULL * SECOND)

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

static void again(const struct tcp_config *config)
{
    bench_fini(&b);
    bench_init_with(&b, 0xfffffff0U, config);
}

static uint32_t lookup(void)
{
    struct tcp_segment_in meta = {
        .source = b.peer, .destination = b.h.address, .source_port = b.peer_port, .destination_port = b.own_port};
    return tcp_lookup(b.h.t, &meta);
}

static const struct tcp_conn *listener(void)
{
    return host_conn(&b.h, b.listener);
}

/* A listener whose one place in SYN-RECEIVED is taken, by port 999. */
static void full(void)
{
    b.backlog = 0;
    bench_state(&b, TCP_LISTEN);
    b.peer_port = 999;
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    expect_silence(&b);
    ck_assert_uint_eq(listener()->syn_received, 1);
    b.peer_port = PEER_PORT;
}

/* ... goes: the place is free, and no timer is left. */
static void give_up(uint16_t port)
{
    uint16_t own = b.peer_port;
    b.peer_port = port;
    inject(&b, R, 1, 0, 0);
    expect_silence(&b);
    b.peer_port = own;
}

static void ask(void)
{
    uint64_t sent = counters_of(&b)->cookies_sent;
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    ck_assert_uint_eq(b.seen.conn, TCP_NONE);
    ck_assert_uint_eq(counters_of(&b)->cookies_sent, sent + 1);
    ck_assert_uint_eq(lookup(), b.listener);
    expect_silence(&b);
}

/* The peer's ACK: the connection is there, in the state that it should be in. */
static void complete(void)
{
    uint64_t taken = counters_of(&b)->cookies_taken;
    inject(&b, A, 1, 1, 0);
    b.conn = lookup();
    ck_assert_uint_ne(b.conn, b.listener);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    ck_assert_uint_eq(counters_of(&b)->cookies_taken, taken + 1);
    expect_silence(&b);
}

/* The ACK is nobody's: RST, and it was counted as a cookie that is none (or, if not even tried, was not). */
static void refused(uint32_t seq, uint32_t ack, uint64_t counted)
{
    uint64_t before = counters_of(&b)->drop_cookie;
    inject(&b, A, seq, ack, 0);
    expect(&b, R, ack, 0, 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_cookie, before + counted);
    ck_assert_uint_eq(lookup(), b.listener);
}

/* ---- what it carries ---- */
START_TEST(test_plain)
{
    full();
    struct tcp_options o = {.nodelay = 1, .user_timeout_ms = 5000};
    tcp_set_options(b.h.t, b.h.now_us, b.listener, &o);
    bench_options(&b, "\2\4\5\xb4\1\3\3\7", 8); /* a scale, but no timestamps to carry it */
    ask();
    ck_assert_uint_eq(b.seen.header_length, 24);
    ck_assert_mem_eq(b.seen.header + 20, "\2\4\5\xb4", 4);
    ck_assert_uint_eq(seen_window(&b), 65535);
    ck_assert_uint_eq(listener()->syn_received, 1);
    complete();
    const struct tcp_conn *c = conn_of(&b);
    ck_assert_uint_eq(c->irs, b.irs);
    ck_assert_uint_eq(c->iss, b.iss);
    ck_assert_uint_eq(c->snd_una, b.iss + 1);
    ck_assert_uint_eq(c->mss, 1460);
    ck_assert_uint_eq(c->send_window_scale + c->receive_window_scale, 0);
    ck_assert_uint_eq(c->flags & (TCP_CONN_TIMESTAMPS | TCP_CONN_WINDOW_SCALE | TCP_CONN_PASSIVE), TCP_CONN_PASSIVE);
    ck_assert_uint_eq(c->options.user_timeout_ms, 5000);
    ck_assert_uint_eq(c->listener, b.listener);
    ck_assert_uint_eq(listener()->accept_queue, 1);
    ck_assert_uint_eq(listener()->syn_received, 1);
    make_available(&b, 100);
    expect(&b, A | P, 1, 1, 100);
    inject(&b, A, 1, 101, 0);
    tcp_accepted(b.h.t, b.conn);
    expect_silence(&b);
    ck_assert_uint_eq(listener()->accept_queue, 0);
}
END_TEST

static void with_options(int scale, uint32_t tsval, uint32_t tsecr)
{
    uint8_t o[20] = {2, 4, 0x05, 0xb4, 1, 1, 8, 10};
    static const uint8_t nothing[4] = {1, 1, 1, 1}, scaled[4] = {1, 3, 3, 0};
    put32(o + 8, tsval);
    put32(o + 12, tsecr);
    memcpy(o + 16, scale < 0 ? nothing : scaled, 4);
    if (scale >= 0)
        o[19] = (uint8_t)scale;
    bench_options(&b, (const char *)o, sizeof o);
}

/* All scales, and none, in the low bits of TSval. */
START_TEST(test_timestamps)
{
    b.receive_size = 1 << 20;
    full();
    for (int scale = -1; scale <= 14; scale++) {
        b.peer_port++;
        advance(&b, 11 * MS);
        with_options(scale, 700, 0);
        ask();
        ck_assert_uint_eq(b.seen.header_length, scale < 0 ? 36 : 40);
        uint32_t tsval = get32(b.seen.header + 28);
        ck_assert_uint_eq(get32(b.seen.header + 32), 700);
        ck_assert_uint_eq(tsval & 63, scale < 0 ? 15 : scale);
        with_options(-1, 705, tsval);
        b.window = 1000;
        complete();
        const struct tcp_conn *c = conn_of(&b);
        ck_assert_uint_eq(c->ts_recent, 705);
        ck_assert(c->flags & TCP_CONN_TIMESTAMPS);
        ck_assert_int_eq((c->flags & TCP_CONN_WINDOW_SCALE) != 0, scale >= 0);
        ck_assert_uint_eq(c->send_window_scale, scale < 0 ? 0 : scale);
        ck_assert_uint_eq(c->receive_window_scale, scale < 0 ? 0 : 5);
        ck_assert_uint_eq(c->snd_wnd, scale < 0 ? 1000 : 1000U << scale);
        make_available(&b, 1);
        expect(&b, A | P, 1, 1, 1);
        uint32_t later = get32(b.seen.header + 24) - tsval; /* the clock never goes back, and was hardly wrong */
        ck_assert_uint_lt(later, 128);
        tcp_abort(b.h.t, b.h.now_us, b.conn);
        expect(&b, R | A, 2, 1, 0);
        expect_silence(&b);
    }
}
END_TEST

START_TEST(test_no_timestamps)
{
    struct tcp_config config = {.connections = 16, .mtu = 1500, .secret = {1, 2, 3}, .no_timestamps = true};
    again(&config);
    full();
    with_options(7, 700, 0);
    ask();
    ck_assert_uint_eq(b.seen.header_length, 24);
    with_options(-1, 705, 7);
    complete();
    ck_assert_uint_eq(conn_of(&b)->flags & (TCP_CONN_TIMESTAMPS | TCP_CONN_WINDOW_SCALE), 0);
}
END_TEST

static const struct {
    uint16_t offered, ip4, ip6;
} classes[] = {
    {0, 536, 1220},     {1, 88, 88},        {88, 88, 88},       {535, 88, 88},
    {536, 536, 536},    {1219, 536, 536},   {1220, 1220, 1220}, {1359, 1220, 1340},
    {1400, 1400, 1380}, {1439, 1400, 1420}, {1440, 1440, 1440}, {1460, 1460, 1440},
    {8939, 1460, 1440}, {8940, 1460, 8940}, {8960, 8960, 8940}, {65535, 8960, 8940},
};

static void test_classes(bool ip6)
{
    struct tcp_config config = {.connections = 64, .mtu = 9000, .secret = {1, 2, 3}};
    static const struct ip_address six[2] = {{.family = ADDRESS_IP6, .octets = {0xfd, 1}},
                                             {.family = ADDRESS_IP6, .octets = {0xfd, 2}}};
    again(&config);
    if (ip6) {
        b.h.address = six[0];
        b.peer = six[1];
    }
    full();
    for (unsigned i = 0; i < COUNT(classes); i++) {
        uint8_t o[4] = {2, 4, (uint8_t)(classes[i].offered >> 8), (uint8_t)classes[i].offered};
        b.peer_port++;
        bench_options(&b, (const char *)o, classes[i].offered != 0 ? 4 : 0);
        ask();
        complete();
        ck_assert_uint_eq(conn_of(&b)->mss, ip6 ? classes[i].ip6 : classes[i].ip4);
        tcp_accepted(b.h.t, b.conn);
        host_drain(&b.h);
    }
}

START_TEST(test_classes_ip4)
{
    test_classes(false);
}
END_TEST

START_TEST(test_classes_ip6)
{
    test_classes(true);
}
END_TEST

/* Text and FIN with the ACK count at once. */
START_TEST(test_text_and_fin)
{
    full();
    ask();
    inject(&b, F | A, 1, 1, 10);
    b.conn = lookup();
    expect(&b, A, 1, 12, 0);
    ck_assert_int_eq(state_of(&b), TCP_CLOSE_WAIT);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 10);
    expect_silence(&b);
}
END_TEST

/* ---- what it refuses ---- */
START_TEST(test_forged)
{
    full();
    ask();
    refused(1, 2, 1);
    refused(1, 0, 1);
    for (uint32_t bit = 0; bit < 32; bit++) /* of the hash, of the class, of the step */
        refused(1, ((b.iss ^ 1U << bit) - b.iss) + 1, 1);
    refused(2, 1, 1);
    refused(0, 1, 1);
    b.peer_port++;
    refused(1, 1, 1);
    b.peer_port--;
    b.peer.octets[3]++;
    refused(1, 1, 1);
    b.peer.octets[3]--;
    ck_assert_uint_eq(counters_of(&b)->cookies_taken, 0);
    complete();
}
END_TEST

/* Good in its own step and the next; cookies are sent to others all the time. */
START_TEST(test_old)
{
    b.h.now_us = 10 * STEP + STEP - 1;
    full();
    ask();
    uint32_t iss = b.iss;
    give_up(999);
    b.h.now_us = 12 * STEP - 1;
    complete();
    tcp_abort(b.h.t, b.h.now_us, b.conn);
    expect(&b, R | A, 1, 1, 0);
    expect_silence(&b);
    advance(&b, 1);
    b.peer_port = 998;
    inject(&b, S, 0, 0, 0); /* kept */
    expect(&b, S | A, 0, 1, 0);
    expect_silence(&b);
    b.peer_port = 997;
    ask();
    b.peer_port = PEER_PORT;
    b.iss = iss;
    refused(1, 1, 1);
}
END_TEST

/* ACKs are not even looked at but for two minutes after a cookie went out. */
START_TEST(test_only_lately)
{
    bench_state(&b, TCP_LISTEN);
    refused(1, 1, 0);
    tcp_close(b.h.t, b.h.now_us, b.listener);
    host_drain(&b.h);
    b.listener = TCP_NONE;
    full();
    ask();
    give_up(999);
    advance(&b, 120 * SECOND - 1);
    refused(1, 7, 1);
    advance(&b, 1);
    refused(1, 1, 0);
}
END_TEST

START_TEST(test_not_a_cookie)
{
    full();
    ask();
    inject(&b, R | A, 1, 1, 0);
    expect_silence(&b);
    inject(&b, S | A, 0, 1, 0);
    expect(&b, R, 1, 0, 0);
    inject(&b, 0, 1, 0, 0);
    expect_silence(&b);
    bench_options(&b, "\2\3\0\0", 4);
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_options, 1);
    ck_assert_uint_eq(counters_of(&b)->drop_cookie + counters_of(&b)->cookies_taken, 0);
    struct ip_address peer = b.peer;
    uint64_t drops = counters_of(&b)->drop_header;
    b.peer = b.h.address; /* LAND */
    b.peer_port = b.own_port;
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_header, drops + 1);
    ck_assert_uint_eq(counters_of(&b)->drop_cookie, 0);
    b.peer = peer;
    b.peer_port = PEER_PORT;
    uint8_t nothing[20] = {0};
    struct tcp_segment_in meta = {.source = b.peer, .destination = b.h.address};
    ck_assert_uint_eq(tcp_open_cookie(b.h.t, b.h.now_us, TCP_NONE, &meta, nothing, 20), TCP_NONE);
    ck_assert_uint_eq(tcp_open_cookie(b.h.t, b.h.now_us, b.listener, &meta, nothing, 19), b.listener);
    complete();
    ck_assert_uint_eq(tcp_open_cookie(b.h.t, b.h.now_us, b.conn, &meta, nothing, 20), b.conn);
}
END_TEST

/* What a TIME-WAIT has is no cookie's. */
START_TEST(test_time_wait_first)
{
    bench_state(&b, TCP_TIME_WAIT);
    tcp_close(b.h.t, b.h.now_us, b.listener);
    host_drain(&b.h);
    uint32_t iss = b.iss;
    full();
    b.peer_port = 5;
    ask();
    b.peer_port = PEER_PORT;
    b.iss = iss;
    inject(&b, A, 2, 2, 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_cookie, 0);
    ck_assert_ptr_nonnull(time_wait_of(&b));
}
END_TEST

/* The peer, who has said 100 octets, closes, and then we do; it says as its last what `flags` are. */
static void both_close_with(uint8_t flags)
{
    inject(&b, A | F, 101, 1, 0);
    expect(&b, A, 1, 102, 0);
    tcp_receive_consumed(b.h.t, b.h.now_us, b.conn, 100);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    expect(&b, A | F, 1, 102, 0);
    inject(&b, flags, 102, 2, 0);
    expect_silence(&b);
    ck_assert_int_eq(host_conn(&b.h, b.conn)->state, TCP_CLOSED);
}

static void both_close(void)
{
    both_close_with(A);
}

static void open_with_text(void)
{
    inject(&b, A | P, 1, 1, 100);
    b.conn = lookup();
    ck_assert_uint_ne(b.conn, b.listener);
    tcp_accepted(b.h.t, b.conn);
    expect(&b, A, 1, 101, 0);
}

/* A copy of the first text comes when all is over: it opens no second connection, and nobody is owed an answer. */
static void late_copy(void)
{
    uint64_t taken = counters_of(&b)->cookies_taken;
    inject(&b, A | P, 1, 1, 100);
    expect_silence(&b);
    ck_assert_uint_eq(lookup(), b.listener);
    ck_assert_uint_eq(counters_of(&b)->cookies_taken, taken);
    ck_assert_ptr_nonnull(time_wait_of(&b));
}

START_TEST(test_spent)
{
    full();
    ask();
    open_with_text();
    both_close();
    ck_assert_uint_eq(counters_of(&b)->time_waits, 1);
    late_copy();
    give_up(999);
    advance(&b, 62 * SECOND);
    expect_silence(&b);
    ck_assert_ptr_null(time_wait_of(&b));
}
END_TEST

/* The peer, which closed first, resets what comes after. */
START_TEST(test_spent_and_reset)
{
    full();
    ask();
    open_with_text();
    both_close_with(R);
    late_copy();
}
END_TEST

/* The peer begins anew from the same port, in the flood still: it is let in as ever. Until then the old one is guarded. */
START_TEST(test_spent_and_again)
{
    full();
    ask();
    open_with_text();
    both_close();
    uint32_t irs = b.irs, iss = b.iss;
    b.irs += 5000;
    ask();
    uint32_t next = b.iss;
    b.irs = irs;
    b.iss = iss;
    late_copy();
    b.irs += 5000;
    b.iss = next;
    complete();
    ck_assert_ptr_null(time_wait_of(&b));
    ck_assert_uint_eq(counters_of(&b)->cookies_taken, 2);
    ck_assert_uint_eq(counters_of(&b)->time_wait_reused, 1);
}
END_TEST

/* ... and finds the accept queue full, which 999 fills: the SYN comes again, and what is guarded stays so. */
START_TEST(test_spent_and_full)
{
    full();
    uint32_t irs = b.irs, iss = b.iss;
    ask();
    uint32_t cookie = b.iss;
    open_with_text();
    both_close();
    b.peer_port = 999;
    b.iss = iss;
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_uint_eq(listener()->accept_queue, 1);
    b.peer_port = PEER_PORT;
    b.iss = cookie;
    b.irs += 5000;
    inject(&b, S, 0, 0, 0);
    expect_silence(&b);
    b.irs = irs;
    late_copy();
}
END_TEST

/* Of the table such a record takes no more than half. */
START_TEST(test_spent_by_many)
{
    struct tcp_config config = {.connections = 16, .mtu = 1500, .secret = {1, 2, 3}, .time_waits = 4};
    again(&config);
    full();
    for (uint16_t i = 0; i < 5; i++) {
        b.peer_port = (uint16_t)(2000 + i);
        ask();
        open_with_text();
        both_close();
    }
    ck_assert_uint_eq(counters_of(&b)->cookies_taken, 5);
    ck_assert_uint_eq(counters_of(&b)->time_waits, 2);
    ck_assert_uint_eq(counters_of(&b)->time_wait_reused, 0);
}
END_TEST

/* Who came without a cookie leaves nothing when his peer closed first, nor who came of one long ago. */
START_TEST(test_not_spent)
{
    full();
    uint32_t iss = b.iss;
    ask();
    complete();
    tcp_accepted(b.h.t, b.conn);
    uint32_t cookie = b.iss, of_cookie = b.conn;
    inject(&b, A | P, 1, 1, 100);
    advance(&b, 40 * MS);
    expect(&b, A, 1, 101, 0);
    b.peer_port = 999;
    b.iss = iss;
    open_with_text();
    both_close();
    b.peer_port = PEER_PORT;
    b.iss = cookie;
    b.conn = of_cookie;
    advance(&b, STEP);
    b.peer_port = 998;
    inject(&b, S, 0, 0, 0); /* kept */
    expect(&b, S | A, 0, 1, 0);
    b.peer_port = 997;
    ask();
    advance(&b, STEP);
    inject(&b, R, 1, 0, 0);
    b.peer_port = PEER_PORT;
    b.iss = cookie;
    while (host_poll(&b.h, &(struct tcp_output){0})) /* 998's SYN-ACK */
        ;
    both_close();
    ck_assert_uint_eq(counters_of(&b)->cookies_taken, 1);
    ck_assert_uint_eq(counters_of(&b)->time_waits, 0);
}
END_TEST

/* ---- limits ---- */
START_TEST(test_off)
{
    struct tcp_config config = {.connections = 16, .mtu = 1500, .secret = {1, 2, 3}, .no_cookies = true};
    again(&config);
    full();
    inject(&b, S, 0, 0, 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_backlog_full, 1);
    ck_assert_uint_eq(counters_of(&b)->cookies_sent, 0);
    refused(1, 1, 0);
}
END_TEST

/* SYNs, and the ACK that would complete, wait until someone was accepted. */
START_TEST(test_accept_queue_full)
{
    full();
    uint32_t first = 0, iss = b.iss;
    ask();
    uint32_t cookie = b.iss;
    b.peer_port = 999;
    b.iss = iss;
    inject(&b, A, 1, 1, 0);
    first = lookup();
    expect_silence(&b);
    ck_assert_uint_eq(listener()->accept_queue, 1);
    uint64_t drops = counters_of(&b)->drop_backlog_full;
    b.peer_port = 5;
    inject(&b, S, 0, 0, 0);
    b.peer_port = PEER_PORT;
    b.iss = cookie;
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_backlog_full, drops + 2);
    ck_assert_uint_eq(counters_of(&b)->drop_cookie, 0);
    tcp_accepted(b.h.t, first);
    complete();
}
END_TEST

/* ... that of a connection in SYN-RECEIVED, too. */
START_TEST(test_accept_queue_full_of_cookies)
{
    full();
    uint32_t iss = b.iss;
    ask();
    complete();
    b.peer_port = 999;
    b.iss = iss;
    uint64_t drops = counters_of(&b)->drop_backlog_full;
    uint8_t ack[20] = {0};
    put32(ack + 4, b.irs + 1);
    put32(ack + 8, b.iss + 1);
    ack[12] = 5 << 4;
    ack[13] = A;
    ck_assert(!tcp_completes_handshake(b.h.t, lookup(), ack, sizeof ack));
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_backlog_full, drops + 1);
    ck_assert_int_eq(host_conn(&b.h, lookup())->state, TCP_SYN_RECEIVED);
    tcp_accepted(b.h.t, b.conn);
    ck_assert(tcp_completes_handshake(b.h.t, lookup(), ack, sizeof ack));
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_int_eq(host_conn(&b.h, lookup())->state, TCP_ESTABLISHED);
}
END_TEST

START_TEST(test_table_full)
{
    struct tcp_config config = {.connections = 4, .mtu = 1500, .secret = {1, 2, 3}};
    again(&config);
    full();
    ask();
    uint32_t index, iss = b.iss;
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 1, 2, 4096, 4096, &index), TCP_CALL_OK);
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 1, 3, 4096, 4096, &index), TCP_CALL_OK);
    expect(&b, S, 0, 0, 0);
    expect(&b, S, 0, 0, 0);
    b.iss = iss;
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_table_full, 1);
    tcp_abort(b.h.t, b.h.now_us, index);
    host_drain(&b.h);
    complete();
}
END_TEST

/* Whatever the backlogs say, SYNs hold no more than a quarter of the table. */
START_TEST(test_quarter_of_the_table)
{
    b.backlog = 100;
    bench_state(&b, TCP_LISTEN);
    for (uint16_t i = 0; i < 16; i++) {
        b.peer_port = (uint16_t)(1000 + i);
        inject(&b, S, 0, 0, 0);
        expect(&b, S | A, 0, 1, 0);
        expect_silence(&b);
    }
    ck_assert_uint_eq(listener()->syn_received, 4);
    ck_assert_uint_eq(counters_of(&b)->cookies_sent, 12);
    complete(); /* the last */
    b.peer_port = 1000;
    inject(&b, R, 1, 0, 0);
    host_drain(&b.h);
    b.peer_port = 1015 + 1;
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    ck_assert_uint_eq(listener()->syn_received, 4);
    ck_assert_uint_eq(counters_of(&b)->cookies_sent, 12);
}
END_TEST

/* No slot for it now: it waits as one whose SYN was kept. */
START_TEST(test_no_slot)
{
    advance(&b, 600 * SECOND);
    full();
    tcp_set_options(b.h.t, b.h.now_us, b.listener, &(struct tcp_options){.user_timeout_ms = 60000});
    ask();
    b.h.attach = false;
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    b.conn = lookup();
    ck_assert_int_eq(state_of(&b), TCP_SYN_RECEIVED);
    ck_assert_uint_eq(listener()->syn_received, 2);
    for (unsigned i = 0; i < 3; i++) {
        advance(&b, SECOND << i);
        struct tcp_output out;
        bool again_sent = false;
        while (host_poll(&b.h, &out))
            again_sent |= out.conn == b.conn && out.header[13] == (S | A) && get32(out.header + 4) == b.iss;
        ck_assert(again_sent);
    }
    ck_assert_int_eq(tcp_attach(b.h.t, b.conn, 1, 1, 0, 0, 1), TCP_CALL_OK);
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
}
END_TEST

/* ---- restart ---- */
START_TEST(test_restart)
{
    full();
    ask();
    uint32_t iss = b.iss;
    struct tcp_conn block = *listener();
    for (int restored = 0; restored < 2; restored++) {
        bench_fini(&b);
        bench_init(&b, 0xfffffff0U);
        b.iss = iss;
        b.backlog = 0;
        if (!restored) {
            bench_state(&b, TCP_LISTEN);
            refused(1, 1, 0); /* nothing says that there were any */
            continue;
        }
        ck_assert_int_eq(tcp_restore(b.h.t, 0, &block), TCP_CALL_OK);
        b.listener = 0;
        host_drain(&b.h);
        complete();
    }
}
END_TEST

/* ---- the flood ---- */
static uint32_t lcg;

static void flood(uint32_t syns)
{
    struct ip_address peer = b.peer;
    for (uint32_t i = 0; i < syns; i++) {
        lcg = lcg * 1664525 + 1013904223;
        b.peer.octets[2] = (uint8_t)(lcg >> 24);
        b.peer.octets[3] = (uint8_t)(lcg >> 16 | 1);
        b.peer_port = (uint16_t)(i % 60000 + 1);
        inject(&b, S, 0, 0, 0);
        b.conn = TCP_NONE;
        struct tcp_output out;
        while (i % 100 == 99 && host_poll(&b.h, &out)) /* a burst */
            continue;
        if (i % 100 == 99)
            host_drain(&b.h);
    }
    b.peer = peer;
}

START_TEST(test_flood)
{
    bench_state(&b, TCP_ESTABLISHED);
    uint32_t other = b.conn, other_iss = b.iss;
    for (unsigned round = 0; round < 10; round++) {
        flood(10000);
        ck_assert_uint_le(listener()->syn_received, b.backlog + 1);
        b.peer_port = (uint16_t)(60001 + round); /* who means it gets in */
        ask();
        complete();
        tcp_accepted(b.h.t, b.conn);
        make_available(&b, 10);
        expect(&b, A | P, 1, 1, 10);
        tcp_abort(b.h.t, b.h.now_us, b.conn);
        expect(&b, R | A, 11, 1, 0);
        expect_silence(&b);
        b.peer_port = PEER_PORT; /* and who was there notices nothing */
        b.conn = other;
        b.iss = other_iss;
        inject(&b, A, 1 + 100 * round, 1, 100);
        host_drain(&b.h);
        advance(&b, 40 * MS);
        expect(&b, A, 1, 101 + 100 * round, 0);
        expect_silence(&b);
    }
    ck_assert_uint_ge(counters_of(&b)->cookies_sent, 99000);
    ck_assert_uint_eq(counters_of(&b)->cookies_taken, 10);
    ck_assert_uint_eq(counters_of(&b)->drop_table_full, 0);
    for (uint32_t i = 0; i < 300; i++) { /* a burst larger than the queue of replies */
        b.peer_port = (uint16_t)(1000 + i);
        inject(&b, S, 0, 0, 0);
    }
    ck_assert_uint_eq(counters_of(&b)->drop_reply_queue, 300 - 256);
    struct tcp_output out;
    for (int i = 0; i < 100; i++) { /* the flood is over: who knocked and went is given up */
        advance(&b, 10 * SECOND);
        while (host_poll(&b.h, &out))
            continue;
        host_drain(&b.h);
    }
    ck_assert_uint_eq(listener()->syn_received, 0);
    b.peer_port = 3;
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    ck_assert_uint_eq(listener()->syn_received, 1); /* kept */
}
END_TEST

SUITE_RUN("tcp_cookie", setup, teardown, test_plain, test_timestamps, test_no_timestamps, test_classes_ip4,
          test_classes_ip6, test_text_and_fin, test_forged, test_old, test_only_lately, test_not_a_cookie,
          test_time_wait_first, test_spent, test_spent_and_reset,
          test_spent_and_again, test_spent_and_full, test_spent_by_many, test_not_spent, test_off, test_accept_queue_full,
          test_accept_queue_full_of_cookies, test_table_full, test_quarter_of_the_table, test_no_slot, test_restart,
          test_flood)
