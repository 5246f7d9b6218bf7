// SPDX-License-Identifier: BSD-2-Clause
/* What RFC 9293's own list (appendix B) and the RFCs beside it ask for, and no other test of one engine against a
 * scripted peer shows. MUST-n are the list's; tests/conformance/rfc says where the others are. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_bench.h"

#define U TCP_FLAG_URG

static void begin_again(const struct tcp_config *config)
{
    bench_fini(&b);
    bench_init_with(&b, 1, config);
}

/* MUST-1, REC-1: with the sign bit set, and scaled as far as it goes. */
START_TEST(test_window_is_unsigned)
{
    static const struct {
        uint32_t raw;
        uint8_t shift;
    } rows[] = {{0x8000, 0}, {0xffff, 0}, {0x8000, 14}, {0xffff, 14}};
    char options[] = "\2\4\5\xb4\1\3\3\0";
    options[7] = (char)rows[_i].shift;
    bench_options(&b, options, 8);
    established(rows[_i].raw);
    inject(&b, A, 1, 1, 0);
    ck_assert_uint_eq(conn_of(&b)->snd_wnd, rows[_i].raw << rows[_i].shift);
    make_available(&b, 2 * MSS);
    expect(&b, A, 1, 1, MSS);
    expect(&b, A | P, 1 + MSS, 1, MSS);
}
END_TEST

/* MUST-69, MUST-65: our options fill whole words, with NOPs and no END before them; the MSS is a SYN's only. */
static void options_are_whole(const struct tcp_output *o)
{
    const uint8_t *option = o->header + sizeof(struct tcp_header);
    uint32_t length = o->header_length - (uint32_t)sizeof(struct tcp_header), at = 0;
    bool syn = o->header[13] & S, mss = false;
    while (at < length) {
        ck_assert_uint_ne(option[at], TCP_OPTION_END);
        mss = mss || option[at] == TCP_OPTION_MSS;
        at += option[at] == TCP_OPTION_NOP ? 1 : option[at + 1];
    }
    ck_assert_uint_eq(at, length);
    ck_assert_uint_eq(o->header_length, (uint32_t)(o->header[12] >> 4) * 4);
    ck_assert(syn == mss);
}

START_TEST(test_headers_are_padded)
{
    static const char *offers[] = {"\2\4\5\xb4\1\1\1\1\1\1\1\1\1\1\1\1", "\2\4\5\xb4\3\3\7\1\1\1\1\1\1\1\1\1",
                                   "\2\4\5\xb4\1\1\x08\x0a\0\0\0\1\0\0\0\0"};
    struct tcp_output o;
    bench_options(&b, offers[_i], 16);
    inject(&b, S, 0, 0, 0); /* nobody listens yet: RST */
    ck_assert(host_poll(&b.h, &o));
    options_are_whole(&o);
    bench_options(&b, offers[_i], 16);
    bench_state(&b, TCP_SYN_RECEIVED);
    options_are_whole(&b.seen);
    ck_assert_uint_gt(b.seen.header_length, 20);
}
END_TEST

/* MUST-5, MUST-6, MUST-64: options that are known and that are not, at even and odd places, in every segment of a
 * connection. */
static const struct {
    const char *name, *octets;
    uint32_t length;
} strange[] = {
    {"unknown", "\xfd\6\1\2\3\4\1\1", 8},
    {"at an odd place", "\1\xfd\3\1\2\4\5\xb4", 8},
    {"odd and cut by the end", "\1\2\4\5\xb4\0\1\2", 8},
    {"experiments", "\xfe\4\1\2\1\xff\2\0", 8},
};

START_TEST(test_options_in_any_segment)
{
#define WITH() bench_options(&b, strange[_i].octets, strange[_i].length)
    bench_state(&b, TCP_LISTEN);
    b.conn = TCP_NONE;
    WITH();
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    host_drain(&b.h);
    WITH();
    inject(&b, A, 1, 1, 0);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    WITH();
    inject(&b, A, 1, 1, 100);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 100);
    WITH();
    inject(&b, A, 201, 1, 100); /* out of order */
    expect(&b, A, 1, 101, 0);
    WITH();
    inject(&b, A | F, 101, 1, 100); /* the FIN is beyond text that was seen: not taken */
    expect(&b, A, 1, 301, 0);
    WITH();
    inject(&b, A | F, 301, 1, 0);
    expect(&b, A, 1, 302, 0);
    ck_assert_int_eq(state_of(&b), TCP_CLOSE_WAIT);
    WITH();
    inject(&b, R, 302, 0, 0);
    expect_ended(TCP_ERROR_PIPE);
    ck_assert_uint_eq(counters_of(&b)->drop_options, 0);
#undef WITH
}
END_TEST

/* ... and an MSS at an odd place counts. */
START_TEST(test_mss_at_an_odd_place)
{
    for (uint32_t at = 0; at < 4; at++) {
        char octets[8] = {1, 1, 1, 1, 1, 1, 1, 1};
        memcpy(octets + at, "\2\4\2\0", 4);
        bench_fini(&b);
        bench_init(&b, at);
        bench_options(&b, octets, sizeof octets);
        bench_state(&b, TCP_ESTABLISHED);
        ck_assert_uint_eq(conn_of(&b)->mss, 512);
    }
}
END_TEST

/* MUST-66, MAY-8: while our window is closed, for however long, text is not taken; what a segment acknowledges is, and
 * its URG and RST are seen. */
START_TEST(test_closed_window)
{
    b.receive_size = 1024;
    established(65535);
    inject(&b, A, 1, 1, 1024);
    advance(&b, 40 * MS);
    expect(&b, A, 1, 1025, 0);
    ck_assert_uint_eq(seen_window(&b), 0);
    for (unsigned hour = 0; hour < 48; hour++) {
        advance(&b, 3600ULL * SECOND);
        inject(&b, A, 1025, 1, 1);
        expect(&b, A, 1, 1025, 0);
        ck_assert_uint_eq(seen_window(&b), 0);
    }
    make_available(&b, 10);
    expect(&b, A | P, 1, 1025, 10);
    inject(&b, A | U, 1025, 11, 5);
    expect(&b, A, 11, 1025, 0);
    ck_assert_uint_eq(conn_of(&b)->send_acked, 10);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 1024);
    inject(&b, R, 1026, 0, 0); /* beyond the window */
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    inject(&b, R | U, 1025, 0, 0);
    expect_ended(TCP_ERROR_RESET);
}
END_TEST

/* MUST-8, SHLD-1, MUST-9 */
static uint32_t first_number(const struct tcp_config *config, uint64_t at_us, uint8_t remote, uint16_t local_port,
                             uint16_t remote_port)
{
    struct ip_address to = b.peer;
    uint32_t index;
    begin_again(config);
    b.h.now_us = at_us;
    to.octets[3] = remote;
    ck_assert_int_eq(host_connect(&b.h, &to, local_port, remote_port, 4096, 4096, &index), TCP_CALL_OK);
    return host_conn(&b.h, index)->iss;
}

START_TEST(test_initial_sequence_numbers)
{
    struct tcp_config config = {.connections = 4, .mtu = 1500, .secret = {1, 2, 3}}, other = config;
    uint64_t at = 5 * SECOND;
    uint32_t iss = first_number(&config, at, 1, 1000, 80);
    for (uint64_t later = 4; later <= 4ULL << 33; later *= 2) /* one every 4 us, round and round */
        ck_assert_uint_eq(first_number(&config, at + later, 1, 1000, 80), (uint32_t)(iss + later / 4));
    for (unsigned octet = 0; octet < sizeof other.secret; octet++) { /* each octet of the secret counts */
        other = config;
        other.secret[octet] ^= 0x80;
        uint32_t moved = first_number(&other, at, 1, 1000, 80) - iss;
        ck_assert_msg(moved != 0, "octet %u", octet);
    }
    uint32_t differences[3] = {
        /* so do addresses and ports, and not in a way that one of them shows for the others */
        first_number(&config, at, 2, 1000, 80) - iss,
        first_number(&config, at, 1, 1001, 80) - iss,
        first_number(&config, at, 1, 1000, 81) - iss,
    };
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_ne(differences[i], 0);
    ck_assert_uint_ne(first_number(&config, at, 2, 1001, 80) - iss, differences[0] + differences[1]);
}
END_TEST

/* MUST-11: back to LISTEN if it came from there, refused if we began. */
START_TEST(test_reset_in_syn_received)
{
    bench_state(&b, TCP_SYN_RECEIVED);
    inject(&b, R, 1, 0, 0);
    expect_ended(TCP_ERROR_RESET);
    ck_assert_int_eq(host_conn(&b.h, b.listener)->state, TCP_LISTEN);
    ck_assert_uint_eq(host_conn(&b.h, b.listener)->syn_received, 0);
    bench_fini(&b);
    bench_init(&b, 7);
    bench_state(&b, TCP_SYN_SENT);
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    ck_assert_int_eq(state_of(&b), TCP_SYN_RECEIVED);
    inject(&b, R, 1, 0, 0);
    expect_ended(TCP_ERROR_REFUSED);
}
END_TEST

/* SHLD-2: what an RST carries does not matter; none of it is data. */
START_TEST(test_reset_with_text)
{
    bench_state(&b, (enum tcp_state)_i);
    uint32_t seq = _i >= TCP_CLOSE_WAIT ? 2 : 1;
    inject(&b, R | A, seq, 1, 40);
    enum tcp_error error = _i == TCP_CLOSE_WAIT ? TCP_ERROR_PIPE : TCP_ERROR_RESET;
    expect_ended(_i >= TCP_CLOSING ? TCP_ERROR_NONE : error);
    ck_assert_uint_eq(counters_of(&b)->octets_in, 0);
    ck_assert_uint_eq(counters_of(&b)->resets_in, 1);
}
END_TEST

/* MUST-41, MUST-42: a listener comes, and goes, while the port has a connection in each state of being made. */
START_TEST(test_passive_open_beside_connections)
{
    uint32_t sent, received, listener, other;
    struct tcp_output o;
    ck_assert_int_eq(host_connect(&b.h, &b.peer, OWN_PORT, 9, 4096, 4096, &sent), TCP_CALL_OK);
    ck_assert(host_poll(&b.h, &o));
    host_drain(&b.h);
    b.conn = TCP_NONE;
    bench_state(&b, TCP_SYN_RECEIVED); /* listens, too, beside the one in SYN-SENT */
    received = b.conn;
    listener = b.listener;
    host_drain(&b.h);
    struct tcp_conn before[2] = {*host_conn(&b.h, sent), *host_conn(&b.h, received)};
    ck_assert_int_eq(before[0].state, TCP_SYN_SENT);
    ck_assert_int_eq(before[1].state, TCP_SYN_RECEIVED);
    struct tcp_identity id = {.local = b.h.address, .local_port = OWN_PORT};
    ck_assert_int_eq(tcp_listen(b.h.t, &id, 1, 4096, 4096, &other), TCP_CALL_IN_USE);
    ck_assert_int_eq(tcp_listen(b.h.t, &id, 1, 4095, 4096, &other), TCP_CALL_BAD_STATE);
    id.local.octets[15]++; /* of another address: beside them all */
    id.local.octets[3]++;
    ck_assert_int_eq(tcp_listen(b.h.t, &id, 1, 4096, 4096, &other), TCP_CALL_OK);
    host_drain(&b.h);
    ck_assert_mem_eq(host_conn(&b.h, sent), &before[0], sizeof before[0]);
    ck_assert_mem_eq(host_conn(&b.h, received), &before[1], sizeof before[1]);
    ck_assert_uint_eq(host_conn(&b.h, listener)->syn_received, 1);
    inject(&b, A, 1, 1, 0);
    ck_assert_int_eq(host_conn(&b.h, received)->state, TCP_ESTABLISHED);
}
END_TEST

/* MUST-58, MUST-59: however much came before we speak, in order and not, one ACK answers it. */
START_TEST(test_acks_are_aggregated)
{
    established(65535);
    for (uint32_t i = 0; i < 10; i++)
        inject(&b, A, 1 + i * MSS, 1, MSS);
    expect(&b, A, 1, 1 + 10 * MSS, 0);
    expect_silence(&b);
    for (uint32_t i = 10; i < 20; i++)
        inject(&b, A, 1 + i * MSS, 1, MSS);
    make_available(&b, 10);
    expect(&b, A | P, 1, 1 + 20 * MSS, 10); /* text carries it */
    expect_silence(&b);
    inject(&b, A | F, 1 + 20 * MSS, 1, MSS);
    expect(&b, A, 11, 2 + 21 * MSS, 0); /* text and FIN at once */
    expect_silence(&b);
}
END_TEST

/* RFC 5681 3.2 steps 1 and 2, RFC 3042 2: what limited transmit sends neither changes the window nor counts in what is
 * halved. */
START_TEST(test_limited_transmit_keeps_the_window)
{
    struct tcp_config config = {.connections = 4, .mtu = 1500, .congestion = TCP_CONGESTION_RENO};
    begin_again(&config);
    established(65535);
    ck_assert_uint_ge(conn_of(&b)->ssthresh, 65535U << 14); /* RFC 5681 3.1: SHOULD be as high as a window can be */
    make_available(&b, 20 * MSS);
    for (uint32_t i = 0; i < 10; i++)
        expect(&b, A, 1 + i * MSS, 1, MSS);
    for (uint32_t i = 10; i < 12; i++) {
        inject(&b, A, 1, 1, 0);
        expect(&b, A, 1 + i * MSS, 1, MSS);
        ck_assert_uint_eq(conn_of(&b)->cwnd, 10 * MSS);
    }
    inject(&b, A, 1, 1, 0);
    ck_assert_uint_eq(conn_of(&b)->ssthresh, 5 * MSS);
    expect(&b, A, 1, 1, MSS);
}
END_TEST

/* RFC 6056 3.3.3: where the ports of a destination begin depends on the secret, the address and the port there. */
static uint16_t first_port(uint8_t secret, uint8_t remote, uint16_t remote_port)
{
    struct tcp_config config = {.connections = 4, .mtu = 1500, .secret = {[3] = secret}};
    struct ip_address to = b.peer;
    uint32_t index;
    begin_again(&config);
    to.octets[3] = remote;
    ck_assert_int_eq(host_connect(&b.h, &to, 0, remote_port, 4096, 4096, &index), TCP_CALL_OK);
    return host_conn(&b.h, index)->identity.local_port;
}

START_TEST(test_ports_are_not_foreseen)
{
    unsigned same[3] = {0};
    for (uint8_t i = 1; i < 64; i++) { /* of 28232 ports; two of 63 may meet by chance, not more */
        same[0] += first_port(i, 1, 80) == first_port(0, 1, 80);
        same[1] += first_port(0, (uint8_t)(1 + i), 80) == first_port(0, 1, 80);
        same[2] += first_port(0, 1, (uint16_t)(80 + i)) == first_port(0, 1, 80);
    }
    ck_assert_uint_le(same[0], 2);
    ck_assert_uint_le(same[1], 2);
    ck_assert_uint_le(same[2], 2);
}
END_TEST

/* RFC 6298 5.3: an ACK of something new gives what is still in flight all of its time. */
START_TEST(test_timer_is_set_anew)
{
    established(65535);
    make_available(&b, 3 * MSS);
    for (uint32_t i = 0; i < 3; i++)
        expect(&b, A | (i == 2 ? P : 0), 1 + i * MSS, 1, MSS);
    advance(&b, 150 * MS);
    inject(&b, A, 1, 1 + MSS, 0);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->retransmit_at_us, b.h.now_us + conn_of(&b)->rto_us);
    inject(&b, A, 1, 1, 0); /* an old one does not */
    advance(&b, 10 * MS);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->retransmit_at_us, b.h.now_us - 10 * MS + conn_of(&b)->rto_us);
}
END_TEST

/* RFC 7413 4.2: who does not have it answers as if it had not been asked for. */
START_TEST(test_fast_open_is_declined)
{
    static const struct {
        const char *octets;
        uint32_t length;
    } asked[] = {{"\x22\2\1\1", 4},
                 {"\x22\x0a"
                  "12345678\1\1",
                  12},
                 {"\x22\5"
                  "123\1\1\1",
                  8}};
    bench_state(&b, TCP_LISTEN);
    b.conn = TCP_NONE;
    bench_options(&b, asked[_i].octets, asked[_i].length);
    inject(&b, S, 0, 0, 100);
    expect(&b, S | A, 0, 1, 0);
    for (uint32_t at = 20; at < b.seen.header_length;) {
        ck_assert_uint_ne(b.seen.header[at], 34);
        at += b.seen.header[at] == TCP_OPTION_NOP ? 1 : b.seen.header[at + 1];
    }
    host_drain(&b.h);
    inject(&b, A, 1, 1, 100); /* the text comes again */
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 100);
}
END_TEST

/* RFC 7323 3.2: what does not acknowledge has nothing to echo. */
START_TEST(test_syn_echoes_nothing)
{
    bench_state(&b, TCP_SYN_SENT);
    ck_assert_mem_eq(b.seen.header + 26, "\x08\x0a", 2);
    ck_assert_mem_eq(b.seen.header + 32, "\0\0\0\0", 4);
}
END_TEST

/* RFC 5961 5.2: how old an ACK may be is decided by the largest window that the peer has ever offered, not by its
 * present one. */
START_TEST(test_largest_window_ever)
{
    established(60000);
    inject(&b, A, 1, 1, 0);
    b.window = 100;
    inject(&b, A, 1, 1, 10);
    advance(&b, SECOND);
    expect(&b, A, 1, 11, 0);
    ck_assert_uint_eq(conn_of(&b)->snd_wnd, 100);
    inject(&b, A, 11, 1U - 60000U, 10);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 20);
    uint64_t bad = counters_of(&b)->drop_bad_ack;
    inject(&b, A, 21, 0U - 60000U, 10);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 20);
    ck_assert_uint_eq(counters_of(&b)->drop_bad_ack, bad + 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tcp_musts");
    TCase *tc = tcase_create("tcp_musts");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_window_is_unsigned, 0, 4);
    tcase_add_loop_test(tc, test_headers_are_padded, 0, 3);
    tcase_add_loop_test(tc, test_options_in_any_segment, 0, (int)(sizeof strange / sizeof strange[0]));
    tcase_add_test(tc, test_mss_at_an_odd_place);
    tcase_add_test(tc, test_closed_window);
    tcase_add_test(tc, test_initial_sequence_numbers);
    tcase_add_test(tc, test_reset_in_syn_received);
    tcase_add_loop_test(tc, test_reset_with_text, TCP_ESTABLISHED, TCP_TIME_WAIT);
    tcase_add_test(tc, test_passive_open_beside_connections);
    tcase_add_test(tc, test_acks_are_aggregated);
    tcase_add_test(tc, test_limited_transmit_keeps_the_window);
    tcase_add_test(tc, test_ports_are_not_foreseen);
    tcase_add_test(tc, test_timer_is_set_anew);
    tcase_add_loop_test(tc, test_fast_open_is_declined, 0, 3);
    tcase_add_test(tc, test_syn_echoes_nothing);
    tcase_add_test(tc, test_largest_window_ever);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
