// SPDX-License-Identifier: BSD-2-Clause
/* One engine against a scripted peer: opening, options, RST, closing; every state. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_bench.h"

/* ---- opening ---- */
START_TEST(test_states)
{
    bench_state(&b, (enum tcp_state)_i); /* asserts the state */
}
END_TEST

START_TEST(test_active_open)
{
    bench_state(&b, TCP_SYN_SENT);
    bench_options(&b, "\2\4\2\0\1\3\3\7", 8);
    inject(&b, S | A, 0, 1, 0);
    expect(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    ck_assert_uint_eq(conn_of(&b)->mss, 512);
    ck_assert_uint_eq(conn_of(&b)->send_window_scale, 7);
    ck_assert_uint_eq(counters_of(&b)->connects, 1);
}
END_TEST

START_TEST(test_text_on_syn_ack)
{
    bench_state(&b, TCP_SYN_SENT);
    inject(&b, S | A | F, 0, 1, 10);
    expect(&b, A, 1, 12, 0);
    ck_assert_int_eq(state_of(&b), TCP_CLOSE_WAIT);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 10);
}
END_TEST

START_TEST(test_simultaneous_open)
{
    bench_state(&b, TCP_SYN_SENT);
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    ck_assert_int_eq(state_of(&b), TCP_SYN_RECEIVED);
    inject(&b, S | A, 0, 1, 0);
    expect(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
}
END_TEST

/* One that does not acknowledge our SYN changes nothing (the harness looks for what was not reported). */
START_TEST(test_simultaneous_open_bad_ack)
{
    bench_state(&b, TCP_SYN_SENT);
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    expect_silence(&b);
    inject(&b, S | A, 0, 7, 0);
    expect(&b, R, 7, 0, 0);
    expect_silence(&b);
    inject(&b, S | A, 0, 1, 0);
    expect(&b, A, 1, 1, 0);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
}
END_TEST

START_TEST(test_refused)
{
    bench_state(&b, TCP_SYN_SENT);
    inject(&b, R, 0, 0, 0);     /* no ACK: not for us */
    inject(&b, R | A, 0, 0, 0); /* not our SYN */
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_SYN_SENT);
    inject(&b, R | A, 0, 1, 0);
    expect_ended(TCP_ERROR_REFUSED);
}
END_TEST

START_TEST(test_unreachable)
{
    bench_state(&b, TCP_SYN_SENT);
    tcp_unreachable(b.h.t, b.h.now_us, b.conn, b.iss + 2, TCP_ERROR_UNREACHABLE);
    ck_assert_int_eq(state_of(&b), TCP_SYN_SENT);
    tcp_unreachable(b.h.t, b.h.now_us, b.conn, b.iss, TCP_ERROR_UNREACHABLE);
    expect_ended(TCP_ERROR_UNREACHABLE);
}
END_TEST

START_TEST(test_unreachable_is_soft)
{
    bench_state(&b, TCP_ESTABLISHED);
    tcp_unreachable(b.h.t, b.h.now_us, b.conn, b.iss + 1, TCP_ERROR_UNREACHABLE);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
}
END_TEST

START_TEST(test_bad_ack_of_syn)
{
    bench_state(&b, TCP_SYN_SENT);
    inject(&b, S | A, 0, 2, 0);
    expect(&b, R, 2, 0, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_SYN_SENT);
}
END_TEST

/* SYN: 1, 2, 4, ... s; six retransmissions, then TIMED_OUT. */
START_TEST(test_syn_timeout)
{
    bench_state(&b, TCP_SYN_SENT);
    uint64_t rto = SECOND;
    for (int i = 0; i < 6; i++, rto *= 2) {
        ck_assert_uint_eq(tcp_deadline_us(b.h.t), b.h.now_us + rto);
        advance(&b, rto - 1);
        expect_silence(&b);
        advance(&b, 1);
        expect(&b, S, 0, 0, 0);
        expect_silence(&b);
    }
    advance(&b, rto);
    expect_ended(TCP_ERROR_TIMED_OUT);
}
END_TEST

START_TEST(test_syn_ack_timeout)
{
    bench_state(&b, TCP_SYN_RECEIVED);
    uint64_t rto = SECOND;
    for (int i = 0; i < 5; i++, rto *= 2) {
        advance(&b, rto);
        expect(&b, S | A, 0, 1, 0);
        expect_silence(&b);
    }
    ck_assert_uint_eq(host_conn(&b.h, b.listener)->syn_received, 1);
    advance(&b, rto);
    expect_ended(TCP_ERROR_TIMED_OUT);
    ck_assert_uint_eq(host_conn(&b.h, b.listener)->syn_received, 0);
}
END_TEST

/* The peer's last SYN is answered when our own time is nearly up: the answer's answer still finds us. */
START_TEST(test_repeated_syn_is_waited_for)
{
    bench_state(&b, TCP_SYN_RECEIVED);
    uint64_t rto = SECOND;
    for (int i = 0; i < 5; i++, rto *= 2) {
        advance(&b, rto);
        expect(&b, S | A, 0, 1, 0);
    }
    advance(&b, rto - 30000);
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    advance(&b, rto - 1);
    ck_assert_int_eq(state_of(&b), TCP_SYN_RECEIVED);
    expect_silence(&b);
    advance(&b, 1);
    expect_ended(TCP_ERROR_TIMED_OUT);
}
END_TEST

START_TEST(test_repeated_syn)
{
    bench_state(&b, TCP_SYN_RECEIVED);
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    inject(&b, S, 0, 0, 0); /* limited */
    expect_silence(&b);
    inject(&b, S, 5, 0, 0); /* another SYN in the window: back to LISTEN */
    expect_ended(TCP_ERROR_RESET);
}
END_TEST

START_TEST(test_not_attached)
{
    b.h.attach = false;
    bench_state(&b, TCP_SYN_RECEIVED);
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_SYN_RECEIVED);
    ck_assert_uint_eq(counters_of(&b)->drop_backlog_full, 1);
    ck_assert_int_eq(tcp_attach(b.h.t, b.conn, 1, 2, 3, 4, 5), TCP_CALL_OK);
    ck_assert_int_eq(tcp_attach(b.h.t, b.conn, 1, 2, 3, 4, 5), TCP_CALL_BAD_STATE);
    inject(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    ck_assert_uint_eq(conn_of(&b)->identity.slot, 4);
}
END_TEST

/* ---- options ---- */
static const struct {
    const char *name, *octets;
    uint32_t length;
    bool good;
} options[] = {
    {"mss", "\2\4\5\xb4", 4, true},
    {"mss, scale", "\2\4\5\xb4\1\3\3\7", 8, true},
    {"unknown", "\xfd\4\1\1", 4, true},
    {"unknown of length 2", "\xfd\2\1\1", 4, true},
    {"end, then rubbish", "\0\2\0\0", 4, true},
    {"40 octets of NOP", "\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1", 40, true},
    {"unknown, 40 octets", "\xfd(aaaabbbbccccddddeeeeffffgggghhhhiiiijj", 40, true},
    {"kind at the end", "\1\1\1\2", 4, false},
    {"length zero", "\xfd\0\1\1", 4, false},
    {"length one", "\xfd\1\1\1", 4, false},
    {"length beyond", "\xfd\5\1\1", 4, false},
    {"length 255", "\xfd\xff\1\1", 4, false},
    {"mss of length 2", "\2\2\1\1", 4, false},
    {"mss of length 3", "\2\3\1\1", 4, false},
    {"mss of length 5", "\2\5\5\xb4\1\1\1\1", 8, false},
    {"mss cut", "\1\2\4\5", 4, false},
    {"scale of length 2", "\3\2\1\1", 4, false},
    {"scale of length 4", "\3\4\7\7", 4, false},
};

START_TEST(test_options)
{
    bench_state(&b, TCP_LISTEN);
    b.conn = TCP_NONE;
    bench_options(&b, options[_i].octets, options[_i].length);
    inject(&b, S, 0, 0, 0);
    if (options[_i].good)
        expect(&b, S | A, 0, 1, 0);
    expect_silence(&b);
    ck_assert_msg(counters_of(&b)->drop_options == !options[_i].good, "%s", options[_i].name);
}
END_TEST

START_TEST(test_bad_headers)
{
    struct tcp_segment_in meta = {
        .source = b.peer, .destination = b.h.address, .source_port = 1, .destination_port = 2};
    uint8_t header[60] = {[12] = 0x50, [13] = A};
    static const struct {
        uint32_t header_length, segment_length;
        uint8_t data_offset;
    } rows[] = {
        {0, 0, 0x50},   {19, 19, 0x50}, {20, 20, 0x40}, {20, 20, 0x00},
        {20, 24, 0x60}, {60, 40, 0xf0}, {20, 20, 0xf0}, {40, 60, 0xf0},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tcp_placement p;
        header[12] = rows[i].data_offset;
        ck_assert_int_eq(
            tcp_input(b.h.t, b.h.now_us, TCP_NONE, &meta, header, rows[i].header_length, rows[i].segment_length, &p),
            TCP_INPUT_DROPPED);
        ck_assert_uint_eq(counters_of(&b)->drop_header, i + 1);
        ck_assert_uint_eq(p.conn, TCP_NONE);
    }
    expect_silence(&b);
}
END_TEST

START_TEST(test_window_scale)
{
    b.receive_size = 1U << 20;
    bench_options(&b, "\2\4\5\xb4\1\3\3\x0f", 8); /* 15 is taken as 14 */
    bench_state(&b, TCP_ESTABLISHED);
    ck_assert_uint_eq(b.seen.header_length, 28);
    ck_assert_uint_eq(memcmp(b.seen.header + 20, "\2\4\5\xb4\1\3\3\5", 8), 0);
    ck_assert_uint_eq(seen_window(&b), 65535); /* of a SYN: not scaled */
    ck_assert_uint_eq(conn_of(&b)->send_window_scale, 14);
    inject(&b, A | P, 1, 1, 100);
    inject(&b, A | P, 101, 1, 3000);
    expect(&b, A, 1, 3101, 0);
    ck_assert_uint_eq(seen_window(&b), ((1U << 20) - 3100) >> 5);
    consume(&b, 3100);
    inject(&b, A | P, 3101, 1, 3200);
    expect(&b, A, 1, 6301, 0);
    ck_assert_uint_eq(seen_window(&b), ((1U << 20) - 3200) >> 5);
}
END_TEST

/* Whatever the scale, the ring holds what is promised: a peer that fills it to the last octet, and resets then, is
 * heard. */
START_TEST(test_window_scale_of_a_full_ring)
{
    b.receive_size = 1U << 17;
    bench_options(&b, "\2\4\5\xb4\1\3\3\x0e", 8);
    bench_state(&b, TCP_ESTABLISHED);
    uint32_t unit = 1U << conn_of(&b)->receive_window_scale, next = 1, length = 1459;
    ck_assert_uint_gt(unit, 1);
    for (int i = 0; i < 200 && length != 0; i++) {
        struct tcp_output out;
        inject(&b, A | P, next, 1, length);
        next += length;
        advance(&b, 200000); /* the delayed ACK */
        while (host_poll(&b.h, &out))
            b.seen = out;
        ck_assert_uint_eq(seen_ack(&b) - b.irs, next); /* all of it was taken */
        ck_assert_uint_le(next + seen_window(&b) * unit, 1 + b.receive_size);
        length = seen_window(&b) * unit < 1459 ? seen_window(&b) * unit : 1459;
    }
    ck_assert_uint_eq(seen_window(&b), 0);
    ck_assert_uint_gt(next + unit, 1 + b.receive_size);
    inject(&b, R | A, next, 1, 0);
    host_drain(&b.h);
    ck_assert_uint_eq(b.h.ended, 1);
}
END_TEST

START_TEST(test_no_window_scale)
{
    b.receive_size = 1U << 20;
    bench_options(&b, "\2\4\5\xb4", 4);
    bench_state(&b, TCP_SYN_RECEIVED);
    ck_assert_uint_eq(b.seen.header_length, 24);
    inject(&b, A, 1, 1, 0);
    inject(&b, A | P, 1, 1, 5000);
    expect(&b, A, 1, 5001, 0);
    ck_assert_uint_eq(seen_window(&b), 65535);
    ck_assert_uint_eq(conn_of(&b)->rcv_adv, conn_of(&b)->rcv_nxt + 65535); /* what was said, no more */
}
END_TEST

/* ---- RST and SYN in every state ---- */
static void state_with_offsets(enum tcp_state state, uint32_t *seq, uint32_t *ack)
{
    bench_state(&b, state);
    *seq = conn_of(&b)->rcv_nxt - b.irs;
    *ack = conn_of(&b)->snd_max - b.iss;
}

START_TEST(test_reset_in_state)
{
    enum tcp_state state = (enum tcp_state)_i;
    uint32_t seq, ack;
    state_with_offsets(state, &seq, &ack);
    inject(&b, R, seq - 1, 0, 0); /* out of window */
    inject(&b, R, seq + 70000, 0, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), state);
    inject(&b, R, seq + 1, 0, 0); /* in the window: challenge ACK */
    expect(&b, A, ack, seq, 0);
    inject(&b, R, seq + 1, 0, 0); /* limited */
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), state);
    ck_assert_uint_eq(counters_of(&b)->challenge_acks, 1);
    inject(&b, R, seq, 0, 0);
    if (state >= TCP_CLOSING)
        expect_ended(TCP_ERROR_NONE);
    else
        expect_ended(state == TCP_CLOSE_WAIT ? TCP_ERROR_PIPE : TCP_ERROR_RESET);
    ck_assert_uint_eq(counters_of(&b)->resets_in, 1);
}
END_TEST

START_TEST(test_syn_in_state)
{
    enum tcp_state state = (enum tcp_state)_i;
    uint32_t seq, ack;
    state_with_offsets(state, &seq, &ack);
    inject(&b, S | A, seq + 1, ack, 0);
    expect(&b, A, ack, seq, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), state);
}
END_TEST

START_TEST(test_challenges_are_limited)
{
    struct tcp_config config = {.connections = 16, .mtu = 1500};
    bench_fini(&b);
    bench_init_with(&b, 1, &config);
    bench_state(&b, TCP_ESTABLISHED);
    advance(&b, 10 * SECOND);
    uint32_t answered = 0;
    for (int i = 0; i < 300; i++) { /* 3 s, one every 10 ms: the connection's limit is ten a second */
        struct tcp_output out;
        inject(&b, R, 2, 0, 0);
        answered += host_poll(&b.h, &out);
        host_drain(&b.h);
        advance(&b, 10 * MS);
    }
    ck_assert_uint_eq(answered, 30);
}
END_TEST

/* Connections of one peer leave those of others their challenges, and tell nothing of them (CVE-2016-5696). */
START_TEST(test_challenges_are_not_shared)
{
    struct tcp_config config = {.connections = 64, .mtu = 1500};
    struct tcp_output out;
    bench_fini(&b);
    bench_init_with(&b, 1, &config);
    bench_state(&b, TCP_ESTABLISHED);
    uint16_t victim = b.peer_port;
    uint32_t iss = b.iss, conn = b.conn;
    for (uint16_t i = 1; i <= 20; i++) { /* the attacker's own */
        b.peer_port = (uint16_t)(victim + i);
        b.conn = TCP_NONE;
        inject(&b, S, 0, 0, 0);
        expect(&b, S | A, 0, 1, 0);
        expect_silence(&b);
        inject(&b, A, 1, 1, 0);
        tcp_accepted(b.h.t, b.conn);
    }
    host_drain(&b.h);
    for (int n = 0; n < 8; n++) { /* 160 challenges within 0.8 s */
        for (uint16_t i = 1; i <= 20; i++) {
            b.peer_port = (uint16_t)(victim + i);
            inject(&b, R, 2, 0, 0);
        }
        while (host_poll(&b.h, &out))
            ;
        advance(&b, 100 * MS);
    }
    b.peer_port = victim;
    b.iss = iss;
    b.conn = conn;
    inject(&b, R, 2, 0, 0);
    expect(&b, A, 1, 1, 0);
    ck_assert_uint_eq(counters_of(&b)->challenge_acks, 161);
}
END_TEST

/* ---- segments for nobody ---- */
START_TEST(test_no_connection)
{
    inject(&b, A, 7, 9, 10);
    expect(&b, R, 9, 0, 0);
    inject(&b, S, 7, 0, 10);
    struct tcp_output out;
    ck_assert(host_poll(&b.h, &out));
    ck_assert_uint_eq(out.header[13], R | A);
    ck_assert_uint_eq(out.conn, TCP_NONE);
    struct tcp_header h;
    memcpy(&h, out.header, sizeof h);
    ck_assert_uint_eq(be32_get(h.sequence), 0);
    ck_assert_uint_eq(be32_get(h.acknowledgement), b.irs + 18);
    inject(&b, R, 7, 9, 0);
    inject(&b, R | A, 7, 9, 0);
    expect_silence(&b);
    for (int i = 0; i < 300; i++)
        inject(&b, A, 7, 9, 0);
    ck_assert_uint_eq(counters_of(&b)->drop_reply_queue, 300 - 256);
    for (int i = 0; i < 256; i++)
        expect(&b, R, 9, 0, 0);
    expect_silence(&b);
}
END_TEST

START_TEST(test_listener_takes_only_syn)
{
    bench_state(&b, TCP_LISTEN);
    inject(&b, A, 7, 9, 0);
    expect(&b, R, 9, 0, 0);
    inject(&b, S | A, 7, 9, 0);
    expect(&b, R, 9, 0, 0);
    inject(&b, R, 7, 0, 0);
    inject(&b, F, 7, 0, 0);
    inject(&b, 0, 7, 0, 100);
    expect_silence(&b);
}
END_TEST

START_TEST(test_land)
{
    bench_state(&b, TCP_LISTEN);
    b.peer = b.h.address;
    b.peer_port = OWN_PORT;
    inject(&b, S, 7, 0, 0);
    inject(&b, A, 7, 0, 0);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_header, 2);
}
END_TEST

START_TEST(test_no_answer_to_many)
{
    static const uint8_t rows[][4] = {{224, 0, 0, 1}, {255, 255, 255, 255}, {0, 0, 0, 0}};
    for (uint32_t i = 0; i < 3; i++) {
        b.peer = ip_address_from_ip4(rows[i]);
        inject(&b, S, 1, 0, 0);
        expect_silence(&b);
    }
}
END_TEST

/* ---- closing ---- */
START_TEST(test_active_close)
{
    bench_state(&b, TCP_FIN_WAIT_2);
    inject(&b, F | A, 1, 2, 0);
    expect(&b, A, 2, 2, 0);
    ck_assert_int_eq(state_of(&b), TCP_TIME_WAIT);
    expect_silence(&b);
    advance(&b, 59 * SECOND);
    inject(&b, F | A, 1, 2, 0); /* starts it again */
    expect(&b, A, 2, 2, 0);
    expect_silence(&b);
    advance(&b, 59 * SECOND);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_TIME_WAIT);
    advance(&b, 2 * SECOND);
    expect_ended(TCP_ERROR_NONE);
}
END_TEST

START_TEST(test_simultaneous_close)
{
    bench_state(&b, TCP_CLOSING);
    inject(&b, A, 2, 2, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_TIME_WAIT);
}
END_TEST

START_TEST(test_passive_close)
{
    bench_state(&b, TCP_LAST_ACK);
    inject(&b, A, 2, 1, 0); /* not of the FIN */
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_LAST_ACK);
    inject(&b, A, 2, 2, 0);
    expect_ended(TCP_ERROR_NONE);
}
END_TEST

START_TEST(test_passive_close_with_text)
{
    bench_state(&b, TCP_CLOSE_WAIT);
    make_available(&b, 100);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    expect(&b, F | A | P, 1, 2, 100);
    expect_silence(&b);
    inject(&b, A, 2, 102, 0);
    expect_ended(TCP_ERROR_NONE);
    ck_assert_uint_eq(conn_of(&b)->send_acked, 100); /* told although it ended in the same moment */
}
END_TEST

START_TEST(test_fin_is_sent_again)
{
    bench_state(&b, TCP_FIN_WAIT_1);
    advance(&b, 200 * MS);
    expect(&b, F | A, 1, 1, 0);
    advance(&b, 400 * MS);
    expect(&b, F | A, 1, 1, 0);
    inject(&b, F | A, 1, 2, 0);
    expect(&b, A, 2, 2, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_TIME_WAIT);
}
END_TEST

START_TEST(test_half_close)
{
    established(65535);
    make_available(&b, 10);
    tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
    expect(&b, F | A | P, 1, 1, 10);
    make_available(&b, 10); /* too late */
    expect_silence(&b);
    inject(&b, A, 1, 12, 0);
    ck_assert_int_eq(state_of(&b), TCP_FIN_WAIT_2);
    ck_assert_uint_eq(conn_of(&b)->send_acked, 10);
    expect_silence(&b);
    advance(&b, 300 * SECOND); /* not an orphan: stays */
    expect_silence(&b);
    inject(&b, A, 1, 12, 3000);
    expect(&b, A, 12, 3001, 0);
    inject(&b, A | F, 3001, 12, 0);
    expect(&b, A, 12, 3002, 0);
    ck_assert_int_eq(state_of(&b), TCP_TIME_WAIT);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 3000);
}
END_TEST

START_TEST(test_orphan)
{
    bench_state(&b, TCP_FIN_WAIT_2);
    advance(&b, 60 * SECOND - 1);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_FIN_WAIT_2);
    advance(&b, 1);
    expect_ended(TCP_ERROR_NONE);
}
END_TEST

START_TEST(test_text_after_close)
{
    bench_state(&b, TCP_FIN_WAIT_2);
    inject(&b, A, 1, 2, 10);
    expect(&b, R, 2, 0, 0); /* as if there had never been a connection: RFC 9293 3.5.2 group 1 */
    expect_ended(TCP_ERROR_ABORTED);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_after_close, 1);
}
END_TEST

START_TEST(test_close_with_unread)
{
    established(65535);
    inject(&b, A, 1, 1, 10);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    expect(&b, R | A, 1, 11, 0);
    expect_ended(TCP_ERROR_ABORTED);
}
END_TEST

START_TEST(test_close_waits_for_data)
{
    established(2 * MSS);
    make_available(&b, 3 * MSS);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    expect(&b, A, 1, 1, MSS);
    expect(&b, A, 1 + MSS, 1, MSS);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    inject(&b, A, 1, 1 + 2 * MSS, 0);
    expect(&b, F | A | P, 1 + 2 * MSS, 1, MSS);
    ck_assert_int_eq(state_of(&b), TCP_FIN_WAIT_1);
    expect_silence(&b);
}
END_TEST

START_TEST(test_close_in_syn_sent)
{
    bench_state(&b, TCP_SYN_SENT);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    expect_ended(TCP_ERROR_NONE);
}
END_TEST

START_TEST(test_abort_in_state)
{
    enum tcp_state state = (enum tcp_state)_i;
    uint32_t seq, ack;
    state_with_offsets(state, &seq, &ack);
    tcp_abort(b.h.t, b.h.now_us, b.conn);
    if (state >= TCP_SYN_RECEIVED && state <= TCP_CLOSE_WAIT)
        expect(&b, R | A, ack, seq, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), state == TCP_TIME_WAIT ? TCP_TIME_WAIT : TCP_CLOSED); /* which is nobody's */
}
END_TEST

/* The port is full just when an RST is due: it is kept, and the index is not used again before. */
START_TEST(test_reset_is_not_lost)
{
    established(65535);
    tcp_abort(b.h.t, b.h.now_us, b.conn);
    host_drain(&b.h);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), 0);
    uint32_t index = TCP_NONE;
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 9, 4096, 4096, &index), TCP_CALL_OK);
    ck_assert_uint_ne(index, b.conn);
    expect(&b, R | A, 1, 1, 0);
}
END_TEST

#define ROWS(array) (int)(sizeof array / sizeof array[0])

int main(void)
{
    const TTest *const tests[] = {
        test_active_open,
        test_text_on_syn_ack,
        test_simultaneous_open,
        test_simultaneous_open_bad_ack,
        test_refused,
        test_unreachable,
        test_unreachable_is_soft,
        test_bad_ack_of_syn,
        test_syn_timeout,
        test_syn_ack_timeout,
        test_repeated_syn_is_waited_for,
        test_repeated_syn,
        test_not_attached,
        test_bad_headers,
        test_window_scale,
        test_window_scale_of_a_full_ring,
        test_no_window_scale,
        test_challenges_are_limited,
        test_challenges_are_not_shared,
        test_no_connection,
        test_listener_takes_only_syn,
        test_land,
        test_no_answer_to_many,
        test_active_close,
        test_simultaneous_close,
        test_passive_close,
        test_passive_close_with_text,
        test_fin_is_sent_again,
        test_half_close,
        test_orphan,
        test_text_after_close,
        test_close_with_unread,
        test_close_waits_for_data,
        test_close_in_syn_sent,
        test_reset_is_not_lost,
    };
    Suite *suite = suite_create("tcp");
    TCase *tc = tcase_create("tcp");
    tcase_add_checked_fixture(tc, setup, teardown);
    for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tc, tests[i]);
    tcase_add_loop_test(tc, test_states, TCP_LISTEN, TCP_TIME_WAIT + 1);
    tcase_add_loop_test(tc, test_options, 0, ROWS(options));
    tcase_add_loop_test(tc, test_reset_in_state, TCP_SYN_RECEIVED, TCP_TIME_WAIT + 1);
    tcase_add_loop_test(tc, test_syn_in_state, TCP_ESTABLISHED, TCP_TIME_WAIT + 1);
    tcase_add_loop_test(tc, test_abort_in_state, TCP_LISTEN, TCP_TIME_WAIT + 1);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
