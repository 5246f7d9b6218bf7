// SPDX-License-Identifier: BSD-2-Clause
/* One engine against a scripted peer: what a user may ask for (linger, cork, backlog), and urgent data. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_bench.h"

static void set_options(struct tcp_options o)
{
    tcp_set_options(b.h.t, b.h.now_us, b.conn, &o);
}

/* ---- linger ---- */

/* RFC 9293 3.10.5 (ABORT): a reset in the states that it names, nothing in the others. */
START_TEST(test_linger_reset)
{
    static const struct {
        enum tcp_state before, state; /* different: after a shutdown */
        uint32_t seq, ack;            /* of the RST; 0: none */
    } rows[] = {
        {TCP_SYN_SENT, TCP_SYN_SENT, 0, 0},      {TCP_ESTABLISHED, TCP_ESTABLISHED, 1, 1},
        {TCP_CLOSE_WAIT, TCP_CLOSE_WAIT, 1, 2},  {TCP_ESTABLISHED, TCP_FIN_WAIT_1, 2, 1},
        {TCP_ESTABLISHED, TCP_FIN_WAIT_2, 2, 1}, {TCP_CLOSE_WAIT, TCP_LAST_ACK, 0, 0},
    };
    bench_state(&b, rows[_i].before);
    set_options((struct tcp_options){.linger_reset = 1});
    expect_silence(&b);
    if (rows[_i].before != rows[_i].state) {
        tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
        expect(&b, F | A, 1, rows[_i].before == TCP_CLOSE_WAIT ? 2 : 1, 0);
    }
    if (rows[_i].state == TCP_FIN_WAIT_2)
        inject(&b, A, 1, 2, 0);
    ck_assert_int_eq(state_of(&b), rows[_i].state);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    if (rows[_i].seq != 0)
        expect(&b, R | A, rows[_i].seq, rows[_i].ack, 0);
    expect_ended(TCP_ERROR_ABORTED);
}
END_TEST

START_TEST(test_linger_reset_with_data)
{
    established(10);
    set_options((struct tcp_options){.nodelay = 1, .linger_reset = 1});
    make_available(&b, 100);
    expect(&b, A, 1, 1, 10);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    expect(&b, R | A, 11, 1, 0);
    expect_ended(TCP_ERROR_ABORTED);
}
END_TEST

/* ---- cork ---- */
static void cork(bool on)
{
    tcp_set_cork(b.h.t, b.h.now_us, b.conn, on);
}

START_TEST(test_cork)
{
    established(10000); /* TCP_NODELAY does not undo it */
    uint32_t mss = conn_of(&b)->mss;
    cork(true);
    make_available(&b, 10);
    expect_silence(&b);
    make_available(&b, mss - 10);
    expect(&b, A | P, 1, 1, mss); /* a whole segment does not wait */
    make_available(&b, 20);
    expect_silence(&b);
    cork(false);
    expect(&b, A | P, 1 + mss, 1, 20);
    expect_silence(&b);
}
END_TEST

START_TEST(test_cork_ceiling)
{
    established(10000);
    cork(true);
    for (uint32_t i = 0; i < 3; i++) {
        make_available(&b, 10);
        expect_silence(&b);
        advance(&b, 200 * MS - 1);
        expect_silence(&b);
        advance(&b, 1);
        expect(&b, A | P, 1 + i * 10, 1, 10);
        expect_silence(&b);
        inject(&b, A, 1, 11 + i * 10, 0);
    }
    ck_assert_uint_eq(counters_of(&b)->zero_window_probes, 0);
    ck_assert_uint_eq(counters_of(&b)->retransmits, 0);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), 0); /* the last ACK had its turn to come */
    expect_silence(&b);
    ck_assert_uint_eq(tcp_deadline_us(b.h.t), UINT64_MAX);
}
END_TEST

/* What it held back is retransmitted like any other. */
START_TEST(test_cork_lost)
{
    established(10000);
    cork(true);
    make_available(&b, 10);
    expect_silence(&b);
    advance(&b, 200 * MS);
    expect(&b, A | P, 1, 1, 10);
    advance(&b, 200 * MS);
    expect(&b, A | P, 1, 1, 10);
    expect_silence(&b);
}
END_TEST

START_TEST(test_cork_fin)
{
    established(10000);
    cork(true);
    make_available(&b, 10);
    expect_silence(&b);
    tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
    expect(&b, A | F | P, 1, 1, 10);
    expect_silence(&b);
}
END_TEST

/* A closed window under a cork is probed as without. */
START_TEST(test_cork_zero_window)
{
    established(0);
    cork(true);
    make_available(&b, 10);
    expect_silence(&b);
    advance(&b, 200 * MS);
    expect(&b, A, 1, 1, 1);
    ck_assert_uint_eq(counters_of(&b)->zero_window_probes, 1);
    b.window = 1000;
    inject(&b, A, 1, 1, 0);
    expect(&b, A | P, 1, 1, 10); /* its first octet was out already, and what is sent again does not wait */
    expect_silence(&b);
}
END_TEST

/* A window too small for the whole, which is held back for longer than 200 ms: the probe goes out. */
START_TEST(test_cork_small_window)
{
    established(100);
    b.window = 40;
    inject(&b, A, 1, 1, 0);
    cork(true);
    make_available(&b, 5000);
    expect_silence(&b);
    advance(&b, 200 * MS);
    expect_silence(&b);
    advance(&b, 200 * MS);
    expect(&b, A, 1, 1, 40);
}
END_TEST

/* ---- backlog ---- */
static void peer_opens(uint16_t port)
{
    b.peer_port = port;
    inject(&b, S, 0, 0, 0);
}

START_TEST(test_set_backlog)
{
    b.backlog = 0;
    struct tcp_config config = {.connections = 16, .mtu = 1500, .no_cookies = true};
    bench_fini(&b);
    bench_init_with(&b, 7, &config);
    b.backlog = 1;
    bench_state(&b, TCP_LISTEN);
    peer_opens(1000);
    expect(&b, S | A, 0, 1, 0);
    peer_opens(1001);
    expect(&b, S | A, 0, 1, 0);
    peer_opens(1002);
    expect_silence(&b);
    ck_assert_int_eq(tcp_set_backlog(b.h.t, b.listener, 5), TCP_CALL_OK);
    peer_opens(1002);
    expect(&b, S | A, 0, 1, 0);
    ck_assert_int_eq(tcp_set_backlog(b.h.t, b.listener, 0), TCP_CALL_OK);
    peer_opens(1003);
    expect_silence(&b);
    ck_assert_int_eq(tcp_set_backlog(b.h.t, b.listener, UINT32_MAX), TCP_CALL_OK);
    ck_assert_uint_eq(host_conn(&b.h, b.listener)->backlog, 16);
    struct tcp_segment_in meta = {
        .source = b.peer, .destination = b.h.address, .source_port = 1000, .destination_port = OWN_PORT};
    ck_assert_int_eq(tcp_set_backlog(b.h.t, tcp_lookup(b.h.t, &meta), 5), TCP_CALL_BAD_STATE);
    ck_assert_int_eq(tcp_set_backlog(b.h.t, TCP_NONE, 5), TCP_CALL_BAD_STATE);
}
END_TEST

/* ---- urgent data ---- */

/* RFC 6093 5: what is urgent stays in line; the pointer, wherever it points to, is not looked at. */
START_TEST(test_urgent)
{
    static const uint16_t pointer[] = {0, 1, 9, 10, 11, 0x7fff, 0x8000, 0xffff};
    established(1000);
    uint32_t seq = 1;
    for (unsigned i = 0; i < sizeof pointer / sizeof pointer[0]; i++) {
        struct tcp_segment_in meta = {
            .source = b.peer, .destination = b.h.address, .source_port = b.peer_port, .destination_port = b.own_port};
        struct tcp_header h = {
            .source_port = be16_make(b.peer_port),
            .destination_port = be16_make(b.own_port),
            .sequence = be32_make(b.irs + seq),
            .acknowledgement = be32_make(b.iss + 1),
            .data_offset = sizeof h / 4 << 4,
            .flags = TCP_FLAG_ACK | TCP_FLAG_URG,
            .window = be16_make(1000),
            .urgent = be16_make(pointer[i]),
        };
        uint8_t header[TCP_HEADER_MAX] = {0}, payload[10];
        for (unsigned k = 0; k < sizeof payload; k++)
            payload[k] = (uint8_t)(seq + k);
        memcpy(header, &h, sizeof h);
        ck_assert_int_eq(host_input(&b.h, &meta, header, sizeof h, payload, sizeof payload), TCP_INPUT_DONE);
        ck_assert_int_eq(host_input(&b.h, &meta, header, sizeof h, NULL, 0), TCP_INPUT_DROPPED); /* old by now */
        seq += 10;
        ck_assert_uint_eq(conn_of(&b)->receive_next, seq - 1);
        for (uint32_t k = 1; k < seq; k++)
            ck_assert_uint_eq(b.h.receive_ring[b.conn][k - 1], (uint8_t)k);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        test_linger_reset_with_data,
        test_cork,
        test_cork_ceiling,
        test_cork_lost,
        test_cork_fin,
        test_cork_zero_window,
        test_cork_small_window,
        test_set_backlog,
        test_urgent,
    };
    Suite *suite = suite_create("tcp_options");
    TCase *tc = tcase_create("tcp_options");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_linger_reset, 0, 6);
    for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
