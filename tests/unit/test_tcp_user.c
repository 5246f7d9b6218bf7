// SPDX-License-Identifier: BSD-2-Clause
/* User calls (RFC 9293 3.10.1 to 3.10.6): each in every state, then what a call in one state does in a later one. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_bench.h"

#define CALLS(X)                                                                                                       \
    X(send) X(shutdown) X(close) X(abort) X(consume) X(accepted) X(attach) X(unreachable) X(too_big) X(options)

enum call {
#define X(name) CALL_##name,
    CALLS(X)
#undef X
        CALL_COUNT
};
static const char *call_names[] = {
#define X(name) #name,
    CALLS(X)
#undef X
};

static void call(enum call which, uint32_t index)
{
    struct tcp *t = b.h.t;
    uint64_t now = b.h.now_us;
    switch (which) {
    case CALL_send:
        tcp_send_available(t, now, index, 100);
        break;
    case CALL_shutdown:
        tcp_shutdown_send(t, now, index);
        break;
    case CALL_close:
        tcp_close(t, now, index);
        break;
    case CALL_abort:
        tcp_abort(t, now, index);
        break;
    case CALL_consume:
        tcp_receive_consumed(t, now, index, 1); /* more than there is */
        break;
    case CALL_accepted:
        tcp_accepted(t, index);
        break;
    case CALL_attach:
        ck_assert_int_eq(tcp_attach(t, index, 1, 2, 3, 4, 5), TCP_CALL_BAD_STATE);
        break;
    case CALL_unreachable:
        tcp_unreachable(t, now, index, b.iss, TCP_ERROR_UNREACHABLE);
        break;
    case CALL_too_big:
        tcp_too_big(t, now, index, b.iss, 600);
        break;
    case CALL_options:
        tcp_set_options(t, now, index, &(struct tcp_options){.nodelay = 1});
        break;
    case CALL_COUNT:
        break;
    }
}

/* What goes out: - nothing, F a FIN, T the text, X an RST; then the state that follows, if it is another. */
static const struct {
    enum tcp_state state;
    uint32_t next, max;
    const char *cells[CALL_COUNT]; /* send, shutdown, close, abort; the others do nothing but what is said below */
} rows[] = {
    {TCP_LISTEN, 0, 0, {"-", "-", "-CLOSED", "-CLOSED"}},
    {TCP_SYN_SENT, 0, 1, {"-", "-", "-CLOSED", "-CLOSED", [CALL_unreachable] = "-CLOSED"}},
    {TCP_SYN_RECEIVED, 1, 1, {"-", "-", "-", "X"}},
    {TCP_ESTABLISHED, 1, 1, {"T", "FFIN-WAIT-1", "FFIN-WAIT-1", "XCLOSED"}},
    {TCP_FIN_WAIT_1, 1, 2, {"-", "-", "-", "XCLOSED"}},
    {TCP_FIN_WAIT_2, 1, 2, {"-", "-", "-", "XCLOSED"}},
    {TCP_CLOSE_WAIT, 2, 1, {"T", "FLAST-ACK", "FLAST-ACK", "XCLOSED"}},
    {TCP_CLOSING, 2, 2, {"-", "-", "-", "-CLOSED"}},
    {TCP_LAST_ACK, 2, 2, {"-", "-", "-", "-CLOSED"}},
    {TCP_TIME_WAIT, 2, 2, {"-", "-", "-", "?"}},
};

static const char *state_names[] = {"CLOSED",     "LISTEN",     "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1",
                                    "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING",  "LAST-ACK",     "TIME-WAIT"};

static void check_state(const char *says, enum tcp_state was)
{
    const char *name = says[1] != '\0' ? says + 1 : state_names[says[0] == 'X' ? TCP_CLOSED : was];
    if (strcmp(name, "TIME-WAIT") == 0)
        ck_assert(bench_in_time_wait(&b));
    else
        ck_assert_str_eq(state_names[state_of(&b)], name);
}

static void check_call(size_t r, enum call which)
{
    const char *says = rows[r].cells[which] != NULL ? rows[r].cells[which] : "-";
    setup();
    b.half_close = true;
    bench_state(&b, rows[r].state);
    uint32_t mss = conn_of(&b)->mss;
    call(which, b.conn);
    switch (says[0]) {
    case 'T':
        expect(&b, A | P, rows[r].max, rows[r].next, 100);
        break;
    case 'F':
        expect(&b, F | A, rows[r].max, rows[r].next, 0);
        break;
    case 'X':
        expect(&b, R | A, rows[r].max, rows[r].next, 0);
        break;
    default:
        break;
    }
    expect_silence(&b);
    if (says[0] != '?')
        check_state(says, rows[r].state);
    if (says[0] == '-' && says[1] == '\0')
        ck_assert_uint_eq(conn_of(&b)->mss, mss);
    teardown();
}

START_TEST(test_call_in_state)
{
    for (int which = 0; which < CALL_COUNT; which++)
        check_call((size_t)_i, (enum call)which);
}
END_TEST

/* Of nobody: an index beyond the table, one never used, one that is free again. */
START_TEST(test_call_of_nobody)
{
    setup();
    bench_state(&b, TCP_SYN_SENT);
    uint32_t indices[] = {TCP_NONE, 16, 15, b.conn};
    tcp_abort(b.h.t, b.h.now_us, b.conn);
    expect_silence(&b);
    for (size_t i = 0; i < sizeof indices / sizeof indices[0]; i++) {
        for (int which = 0; which < CALL_COUNT; which++) {
            call((enum call)which, indices[i]);
            expect_silence(&b);
            ck_assert_msg(tcp_drained(b.h.t), "%s", call_names[which]);
        }
    }
    teardown();
}
END_TEST

/* A segment for a connection that has just ended, or an index that never was one, is answered as if there were none. */
START_TEST(test_segment_for_nobody)
{
    setup();
    bench_state(&b, TCP_ESTABLISHED);
    uint32_t indices[] = {TCP_NONE, 16, 15, b.conn};
    struct tcp_segment_in meta = {
        .source = b.peer, .destination = b.h.address, .source_port = PEER_PORT, .destination_port = OWN_PORT};
    struct tcp_header h = {.acknowledgement = be32_make(b.iss + 7), .data_offset = 0x50, .flags = A};
    uint8_t bytes[sizeof h];
    memcpy(bytes, &h, sizeof h);
    inject(&b, R, 1, 0, 0); /* it has ended, and its host does not know yet */
    for (size_t i = 0; i < sizeof indices / sizeof indices[0]; i++) {
        struct tcp_placement p;
        ck_assert_int_eq(tcp_input(b.h.t, b.h.now_us, indices[i], &meta, bytes, 20, 25, &p), TCP_INPUT_DROPPED);
        ck_assert_uint_eq(p.conn, TCP_NONE);
        expect(&b, R, 7, 0, 0);
    }
    ck_assert_uint_eq(counters_of(&b)->drop_no_connection, 4);
    expect_silence(&b);
    teardown();
}
END_TEST

/* ---- what is said early is done later ---- */
START_TEST(test_text_and_fin_wait_for_establishment)
{
    for (int passive = 0; passive < 2; passive++) {
        setup();
        bench_state(&b, passive ? TCP_SYN_RECEIVED : TCP_SYN_SENT);
        make_available(&b, 100);
        tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
        expect_silence(&b);
        inject(&b, passive ? A : S | A, (uint32_t)passive, 1, 0);
        expect(&b, F | A | P, 1, 1, 100);
        ck_assert_int_eq(state_of(&b), TCP_FIN_WAIT_1);
        expect_silence(&b);
        teardown();
    }
}
END_TEST

START_TEST(test_close_in_syn_received)
{
    setup();
    bench_state(&b, TCP_SYN_RECEIVED);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    expect_silence(&b);
    inject(&b, A, 1, 1, 0);
    expect(&b, F | A, 1, 1, 0);
    ck_assert_int_eq(state_of(&b), TCP_FIN_WAIT_1);
    expect_silence(&b);
    teardown();
}
END_TEST

/* Half-close, the peer first: what is written in CLOSE-WAIT goes out, then the FIN. */
START_TEST(test_half_close_of_the_peer)
{
    setup();
    established(2 * MSS);
    inject(&b, F | A, 1, 1, 10);
    expect(&b, A, 1, 12, 0);
    ck_assert_uint_eq(conn_of(&b)->receive_next, 10);
    make_available(&b, 3 * MSS);
    expect(&b, A, 1, 12, MSS);
    expect(&b, A, 1 + MSS, 12, MSS);
    tcp_shutdown_send(b.h.t, b.h.now_us, b.conn);
    expect_silence(&b); /* the window is full, and the FIN comes last */
    ck_assert_int_eq(state_of(&b), TCP_CLOSE_WAIT);
    inject(&b, A, 12, 1 + 2 * MSS, 0);
    expect(&b, F | A | P, 1 + 2 * MSS, 12, MSS);
    ck_assert_int_eq(state_of(&b), TCP_LAST_ACK);
    consume(&b, 10); /* no use in telling a window to who is done */
    expect_silence(&b);
    inject(&b, A, 12, 2 + 3 * MSS, 0);
    expect_ended(TCP_ERROR_NONE);
    ck_assert_uint_eq(conn_of(&b)->send_acked, 3 * MSS);
    teardown();
}
END_TEST

/* A shutdown becomes a close: FIN-WAIT-2 then ends by itself. */
START_TEST(test_close_in_fin_wait_2)
{
    setup();
    b.half_close = true;
    bench_state(&b, TCP_FIN_WAIT_2);
    ck_assert(tcp_deadline_us(b.h.t) == UINT64_MAX);
    tcp_close(b.h.t, b.h.now_us, b.conn);
    tcp_close(b.h.t, b.h.now_us, b.conn); /* once is enough */
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_FIN_WAIT_2);
    advance(&b, 60 * SECOND);
    expect_ended(TCP_ERROR_NONE);
    teardown();
}
END_TEST

/* RFC 2525 2.17: unread text makes an RST of the FIN, in the states that still have a user to lose it. */
START_TEST(test_close_with_unread_text)
{
    static const struct {
        enum tcp_state state;
        bool reset;
    } unread[] = {{TCP_ESTABLISHED, true}, {TCP_FIN_WAIT_1, true}, {TCP_FIN_WAIT_2, true}, {TCP_CLOSE_WAIT, true}};
    for (size_t i = 0; i < sizeof unread / sizeof unread[0]; i++) {
        setup();
        b.half_close = true;
        bool close_wait = unread[i].state == TCP_CLOSE_WAIT;
        bench_state(&b, close_wait ? TCP_ESTABLISHED : unread[i].state);
        uint32_t max = conn_of(&b)->snd_max - b.iss;
        inject(&b, close_wait ? F | A : A, 1, conn_of(&b)->snd_una - b.iss, 10);
        if (close_wait)
            expect(&b, A, 1, 12, 0);
        tcp_close(b.h.t, b.h.now_us, b.conn);
        expect(&b, R | A, max, close_wait ? 12 : 11, 0);
        expect_ended(TCP_ERROR_ABORTED);
        teardown();
    }
}
END_TEST

/* ---- sizes ---- */
START_TEST(test_ring_sizes)
{
    static const uint32_t bad[] = {0, 1, 512, 1023, 1025, 65535, 1U << 31, UINT32_MAX};
    static const uint32_t good[] = {TCP_RING_MIN, 65536, TCP_RING_MAX};
    struct tcp_identity listening = {.local = {.family = ADDRESS_IP4}, .local_port = 81};
    uint32_t index = TCP_NONE;
    setup();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(tcp_listen(b.h.t, &listening, 1, bad[i], 4096, &index), TCP_CALL_BAD_STATE);
        ck_assert_int_eq(tcp_listen(b.h.t, &listening, 1, 4096, bad[i], &index), TCP_CALL_BAD_STATE);
        ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 9, bad[i], 4096, &index), TCP_CALL_BAD_STATE);
        ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 9, 4096, bad[i], &index), TCP_CALL_BAD_STATE);
    }
    ck_assert_uint_eq(index, TCP_NONE);
    expect_silence(&b);
    ck_assert(tcp_drained(b.h.t));
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 9, good[i], good[i], &index), TCP_CALL_OK);
    teardown();
}
END_TEST

/* ---- before a slot is spent ---- */
START_TEST(test_completes_handshake)
{
    static const struct {
        const char *name;
        uint8_t flags, data_offset;
        uint32_t ack, length;
        bool completes;
    } segments[] = {
        {"ACK", A, 0x50, 1, 20, true},         {"with FIN and PSH", A | F | P, 0x50, 1, 20, true},
        {"of nothing", A, 0x50, 0, 20, false}, {"of what was not sent", A, 0x50, 2, 20, false},
        {"no ACK", 0, 0x50, 1, 20, false},     {"SYN-ACK", S | A, 0x50, 1, 20, false},
        {"RST", R | A, 0x50, 1, 20, false},    {"short", A, 0x50, 1, 19, false},
        {"bad offset", A, 0x40, 1, 20, false}, {"options beyond", A, 0x60, 1, 20, false},
    };
    setup();
    bench_state(&b, TCP_SYN_RECEIVED);
    for (size_t i = 0; i < sizeof segments / sizeof segments[0]; i++) {
        struct tcp_header h = {.acknowledgement = be32_make(b.iss + segments[i].ack),
                               .data_offset = segments[i].data_offset,
                               .flags = segments[i].flags};
        uint8_t bytes[sizeof h];
        memcpy(bytes, &h, sizeof h);
        ck_assert_msg(tcp_completes_handshake(b.h.t, b.conn, bytes, segments[i].length) == segments[i].completes, "%s",
                      segments[i].name);
        ck_assert(!tcp_completes_handshake(b.h.t, b.listener, bytes, segments[i].length));
        ck_assert(!tcp_completes_handshake(b.h.t, TCP_NONE, bytes, segments[i].length));
    }
    expect_silence(&b); /* only asked */
    ck_assert_int_eq(state_of(&b), TCP_SYN_RECEIVED);
    teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tcp_user");
    TCase *tc = tcase_create("tcp_user");
    const TTest *const tests[] = {
        test_call_of_nobody,
        test_segment_for_nobody,
        test_text_and_fin_wait_for_establishment,
        test_close_in_syn_received,
        test_half_close_of_the_peer,
        test_close_in_fin_wait_2,
        test_close_with_unread_text,
        test_ring_sizes,
        test_completes_handshake,
    };
    tcase_add_loop_test(tc, test_call_in_state, 0, (int)(sizeof rows / sizeof rows[0]));
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
