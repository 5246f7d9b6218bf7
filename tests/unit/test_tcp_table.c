// SPDX-License-Identifier: BSD-2-Clause
/* One engine, many connections: backlog, full tables, ports, TIME-WAIT, restart. */
#include <check.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_bench.h"

/* ---- tables ---- */
static void peer_opens(uint16_t port)
{
    b.peer_port = port;
    inject(&b, S, 0, 0, 0);
}

START_TEST(test_backlog)
{
    b.backlog = 2;
    bench_state(&b, TCP_LISTEN);
    for (uint16_t port = 1000; port < 1003; port++) { /* backlog + 1 */
        peer_opens(port);
        expect(&b, S | A, 0, 1, 0);
        if (port == 1000)
            inject(&b, A, 1, 1, 0);
        expect_silence(&b);
        if (port == 1000)
            inject(&b, A, 1, 1, 0);
    }
    const struct tcp_conn *l = host_conn(&b.h, b.listener);
    ck_assert_uint_eq(l->accept_queue, 1);
    ck_assert_uint_eq(l->syn_received, 2);
    peer_opens(1003);
    expect(&b, S | A, 0, 1, 0); /* a cookie */
    expect_silence(&b);
    ck_assert_uint_eq(l->syn_received, 2);
    ck_assert_uint_eq(counters_of(&b)->cookies_sent, 1);
    ck_assert_uint_eq(counters_of(&b)->drop_backlog_full, 1); /* one ACK came before its child had a slot */
    struct tcp_segment_in meta = {
        .source = b.peer, .destination = b.h.address, .source_port = 1000, .destination_port = OWN_PORT};
    tcp_accepted(b.h.t, tcp_lookup(b.h.t, &meta));
    ck_assert_uint_eq(l->accept_queue, 0);
    peer_opens(1003);
    expect(&b, S | A, 0, 1, 0);
    tcp_close(b.h.t, b.h.now_us, b.listener); /* the three that are not accepted are reset */
    struct tcp_output out;
    for (int i = 0; i < 3; i++) {
        ck_assert(host_poll(&b.h, &out));
        ck_assert_uint_eq(out.header[13], R | A);
    }
    expect_silence(&b);
    ck_assert_int_eq(host_conn(&b.h, b.listener)->state, TCP_CLOSED);
    ck_assert_int_eq(host_conn(&b.h, tcp_lookup(b.h.t, &meta))->state, TCP_ESTABLISHED);
}
END_TEST

START_TEST(test_child_dies_unaccepted)
{
    bench_state(&b, TCP_SYN_RECEIVED);
    inject(&b, A, 1, 1, 0);
    host_drain(&b.h);
    ck_assert_uint_eq(host_conn(&b.h, b.listener)->accept_queue, 1);
    inject(&b, R, 1, 0, 0);
    expect_ended(TCP_ERROR_RESET);
    ck_assert_uint_eq(host_conn(&b.h, b.listener)->accept_queue, 0);
}
END_TEST

START_TEST(test_table_full)
{
    struct tcp_config config = {.connections = 16, .mtu = 1500, .no_cookies = true};
    bench_fini(&b);
    bench_init_with(&b, 1, &config);
    b.backlog = 100;
    bench_state(&b, TCP_LISTEN);
    for (uint16_t i = 0; i < 15; i++) {
        peer_opens((uint16_t)(1000 + i));
        expect(&b, S | A, 0, 1, 0);
        expect_silence(&b);
    }
    peer_opens(2000);
    expect_silence(&b);
    ck_assert_uint_eq(counters_of(&b)->drop_table_full, 1);
    uint32_t index;
    struct tcp_identity i = {.local = b.h.address, .local_port = 99};
    ck_assert_int_eq(tcp_listen(b.h.t, &i, 1, 4096, 4096, &index), TCP_CALL_TABLE_FULL);
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 9, 4096, 4096, &index), TCP_CALL_TABLE_FULL);
}
END_TEST

/* More connections one after another than there are records of TIME-WAIT: the oldest give way. */
START_TEST(test_time_wait_gives_way)
{
    b.backlog = 100;
    bench_state(&b, TCP_LISTEN);
    for (uint16_t i = 0; i < 100; i++) {
        b.conn = TCP_NONE;
        peer_opens((uint16_t)(1000 + i));
        expect(&b, S | A, 0, 1, 0);
        expect_silence(&b);
        inject(&b, A, 1, 1, 0);
        tcp_accepted(b.h.t, b.conn);
        tcp_close(b.h.t, b.h.now_us, b.conn);
        expect(&b, F | A, 1, 1, 0);
        inject(&b, F | A, 1, 2, 0);
        expect(&b, A, 2, 2, 0);
        expect_silence(&b);
        ck_assert_int_eq(state_of(&b), TCP_TIME_WAIT);
        advance(&b, 10 * MS);
    }
    ck_assert_uint_ge(counters_of(&b)->time_wait_reused, 100 - 2 * 16);
    ck_assert_uint_eq(counters_of(&b)->time_waits, 100);
    ck_assert_uint_eq(counters_of(&b)->drop_table_full, 0);
    b.peer_port = 1099;
    inject(&b, F | A, 1, 2, 0); /* the newest is still there */
    expect(&b, A, 2, 2, 0);
}
END_TEST

START_TEST(test_reopen_in_time_wait)
{
    bench_state(&b, TCP_TIME_WAIT);
    uint32_t snd_max = conn_of(&b)->snd_max, old = b.conn;
    inject(&b, S, 1, 0, 0); /* old: answered with an ACK */
    expect(&b, A, 2, 2, 0);
    b.irs += 10;
    b.conn = TCP_NONE;
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
    ck_assert_int_gt((int32_t)(b.iss - snd_max), 0);
    expect_silence(&b);
    ck_assert_ptr_null(time_wait_of(&b));
    ck_assert_int_eq(state_of(&b), TCP_SYN_RECEIVED);
    ck_assert_uint_eq(b.conn, old); /* its index had long been free */
    ck_assert_uint_eq(counters_of(&b)->time_wait_reused, 1);
}
END_TEST

START_TEST(test_ports)
{
    struct tcp_config config = {.connections = 64, .mtu = 1500};
    bench_fini(&b);
    bench_init_with(&b, 1, &config);
    bool seen[65536] = {false};
    for (int i = 0; i < 60; i++) {
        uint32_t index;
        ck_assert_int_eq(host_connect(&b.h, &b.peer, 0, 9, 4096, 4096, &index), TCP_CALL_OK);
        uint16_t port = host_conn(&b.h, index)->identity.local_port;
        ck_assert(port >= 32768 && port <= 60999 && !seen[port]);
        seen[port] = true;
    }
    uint32_t index;
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 1, 9, 4096, 4096, &index), TCP_CALL_OK);
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 1, 9, 4096, 4096, &index), TCP_CALL_IN_USE);
    ck_assert_int_eq(host_connect(&b.h, &b.h.address, 9, 9, 4096, 4096, &index), TCP_CALL_OK); /* itself */
    ck_assert_int_eq(host_connect(&b.h, &b.h.address, 9, 9, 4096, 4096, &index), TCP_CALL_IN_USE);
    ck_assert_int_eq(host_connect(&b.h, &b.peer, 1, 9, 5000, 4096, &index), TCP_CALL_BAD_STATE);
}
END_TEST

/* All ports to one peer: the table must be large, so without the harness's rings. */
START_TEST(test_ports_exhausted)
{
    struct tcp_config config = {.connections = 30000, .mtu = 1500, .time_wait_us = 60 * SECOND};
    void *memory = aligned_alloc(64, tcp_size(&config));
    memset(memory, 0, tcp_size(&config));
    struct tcp *t = tcp_init(memory, &config, HARNESS_START_US);
    struct tcp_identity i = {.local = b.h.address, .remote = b.peer, .remote_port = 9};
    uint32_t index = 0;
    for (int n = 0; n < 60999 - 32768 + 1; n++)
        if (tcp_connect(t, HARNESS_START_US, &i, 4096, 4096, &index) != TCP_CALL_OK)
            ck_abort_msg("connection %d", n);
    ck_assert_int_eq(tcp_connect(t, HARNESS_START_US, &i, 4096, 4096, &index), TCP_CALL_NO_PORT);
    i.remote_port = 10;
    ck_assert_int_eq(tcp_connect(t, HARNESS_START_US, &i, 4096, 4096, &index), TCP_CALL_OK);
    struct tcp_output out;
    for (uint32_t n = 0; n < config.connections; n++)
        tcp_abort(t, HARNESS_START_US, n);
    ck_assert(!tcp_poll(t, HARNESS_START_US, &out));
    while (tcp_next_touched(t, &index))
        continue;
    ck_assert(tcp_drained(t));
    free(memory);
}
END_TEST

START_TEST(test_listen_conflicts)
{
    static const uint8_t other[4] = {10, 77, 0, 3};
    struct tcp_identity any = {.local_port = 80}, i = {.local_port = 80};
    uint32_t index;
    host_listen(&b.h, 80, 1, 4096, 4096);
    ck_assert_int_eq(tcp_listen(b.h.t, &any, 1, 4096, 4096, &index), TCP_CALL_IN_USE);
    i.local = b.h.address;
    ck_assert_int_eq(tcp_listen(b.h.t, &i, 1, 4096, 4096, &index), TCP_CALL_IN_USE);
    i.local = ip_address_from_ip4(other);
    ck_assert_int_eq(tcp_listen(b.h.t, &i, 1, 4096, 4096, &index), TCP_CALL_OK);
    any.local_port = 81;
    ck_assert_int_eq(tcp_listen(b.h.t, &any, 1, 4096, 4096, &index), TCP_CALL_OK);
    struct tcp_segment_in meta = {
        .source = b.peer, .destination = b.h.address, .source_port = 5, .destination_port = 81};
    ck_assert_uint_eq(tcp_lookup(b.h.t, &meta), index);
    meta.destination_port = 82;
    ck_assert_uint_eq(tcp_lookup(b.h.t, &meta), TCP_NONE);
}
END_TEST

/* Who hears a segment to an address: the listener on it, else that on any of its family, or of both. */
static const struct ip_address address_none = {0}, any4 = {.family = ADDRESS_IP4}, any6 = {.family = ADDRESS_IP6},
                               us4 = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}},
                               us6 = {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 2}};
static const struct {
    const struct ip_address *listening[2], *destination;
    int hears; /* -1: nobody */
} hearing[] = {
    {{&address_none, NULL}, &us4, 0}, {{&address_none, NULL}, &us6, 0}, {{&any4, NULL}, &us4, 0},
    {{&any4, NULL}, &us6, -1},        {{&any6, NULL}, &us4, -1},        {{&any6, NULL}, &us6, 0},
    {{&us4, NULL}, &us4, 0},          {{&us4, NULL}, &us6, -1},         {{&us6, NULL}, &us4, -1},
    {{&us6, NULL}, &us6, 0},          {{&any4, &any6}, &us4, 0},        {{&any4, &any6}, &us6, 1},
    {{&us4, &any6}, &us4, 0},         {{&us6, &us4}, &us4, 1},          {{&us6, &us4}, &us6, 0},
};

START_TEST(test_who_hears)
{
    uint32_t index[2] = {TCP_NONE, TCP_NONE};
    for (int i = 0; i < 2 && hearing[_i].listening[i] != NULL; i++) {
        struct tcp_identity id = {.local = *hearing[_i].listening[i], .local_port = OWN_PORT};
        ck_assert_int_eq(tcp_listen(b.h.t, &id, 1, 4096, 4096, &index[i]), TCP_CALL_OK);
        ck_assert_int_eq(tcp_listen(b.h.t, &id, 1, 4096, 4096, &index[i]), TCP_CALL_IN_USE);
    }
    struct tcp_segment_in meta = {.source = *hearing[_i].destination,
                                  .destination = *hearing[_i].destination,
                                  .source_port = 5,
                                  .destination_port = OWN_PORT};
    meta.source.octets[15]++; /* another host; of IPv4 nobody looks there */
    meta.source.octets[3]++;
    ck_assert_uint_eq(tcp_lookup(b.h.t, &meta), hearing[_i].hears < 0 ? TCP_NONE : index[hearing[_i].hears]);
    meta.destination_port++;
    ck_assert_uint_eq(tcp_lookup(b.h.t, &meta), TCP_NONE);
}
END_TEST

/* Connections that differ in one place only, in as few chains as there can be: each is found. */
static struct tcp_segment_in differs(uint32_t i, int place)
{
    struct tcp_segment_in meta = {
        .source = b.peer, .destination = b.h.address, .source_port = 9, .destination_port = 1000};
    meta.source.octets[3] = (uint8_t)(100 + (place == 0 ? i : 0));
    meta.source_port = (uint16_t)(meta.source_port + (place == 1 ? i : 0));
    meta.destination_port = (uint16_t)(meta.destination_port + (place == 2 ? i : 0));
    return meta;
}

START_TEST(test_each_is_found)
{
    uint32_t index[15];
    for (uint32_t i = 0; i < 15; i++) {
        struct tcp_segment_in m = differs(i, _i);
        ck_assert_int_eq(host_connect(&b.h, &m.source, m.destination_port, m.source_port, 4096, 4096, &index[i]),
                         TCP_CALL_OK);
    }
    for (int round = 0; round < 2; round++) { /* then without every other one */
        for (uint32_t i = 0; i < 16; i++) {
            struct tcp_segment_in m = differs(i, _i);
            bool gone = i == 15 || (round == 1 && i % 2 == 1);
            ck_assert_uint_eq(tcp_lookup(b.h.t, &m), gone ? TCP_NONE : index[i]);
        }
        for (uint32_t i = 1; i < 15 && round == 0; i += 2)
            tcp_abort(b.h.t, b.h.now_us, index[i]);
    }
}
END_TEST

/* ---- restart ---- */
START_TEST(test_restore_listener)
{
    bench_state(&b, TCP_SYN_RECEIVED);
    struct tcp_conn listener = *host_conn(&b.h, b.listener), child = *conn_of(&b);
    bench_fini(&b);
    bench_init(&b, 5);
    child.listener = TCP_NONE;
    ck_assert_int_eq(tcp_restore(b.h.t, 3, &child), TCP_CALL_BAD_STATE);
    ck_assert_int_eq(tcp_restore(b.h.t, 99, &listener), TCP_CALL_IN_USE);
    ck_assert_int_eq(tcp_restore(b.h.t, 3, &listener), TCP_CALL_OK);
    ck_assert_int_eq(tcp_restore(b.h.t, 3, &listener), TCP_CALL_IN_USE);
    ck_assert_int_eq(tcp_restore(b.h.t, 4, &listener), TCP_CALL_IN_USE);
    listener.identity.local_port = 81;
    listener.receive_size = 5000;
    ck_assert_int_eq(tcp_restore(b.h.t, 4, &listener), TCP_CALL_BAD_STATE);
    host_drain(&b.h);
    ck_assert_uint_eq(host_conn(&b.h, 3)->syn_received, 0);
    inject(&b, S, 0, 0, 0);
    expect(&b, S | A, 0, 1, 0);
}
END_TEST

/* The attempt goes on: the SYN goes out again at once, with the same sequence number. */
START_TEST(test_restore_syn_sent)
{
    bench_state(&b, TCP_SYN_SENT);
    struct tcp_conn block = *conn_of(&b), bad = block;
    uint32_t iss = b.iss;
    bench_fini(&b);
    bench_init(&b, 5);
    bad.snd_una++;
    ck_assert_int_eq(tcp_restore(b.h.t, 3, &bad), TCP_CALL_BAD_STATE);
    ck_assert_int_eq(tcp_restore(b.h.t, 3, &block), TCP_CALL_OK);
    ck_assert_int_eq(tcp_restore(b.h.t, 4, &block), TCP_CALL_IN_USE);
    host_drain(&b.h);
    b.conn = 3;
    expect(&b, S, 0, 0, 0);
    ck_assert_uint_eq(b.iss, iss);
    inject(&b, S | A, 0, 1, 0);
    expect(&b, A, 1, 1, 0);
    expect_silence(&b);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
}
END_TEST

/* ---- blocks that are not what they should be ---- */
#define FIELD(name) #name, offsetof(struct tcp_conn, name), sizeof(((struct tcp_conn *)NULL)->name)

static const struct {
    enum tcp_state state;
    const char *name;
    size_t at, size;
    uint32_t value; /* that the field shall not have */
} corruptions[] = {
    {TCP_LISTEN, FIELD(identity.local_port), 0},
    {TCP_LISTEN, FIELD(identity.remote_port), 9},
    {TCP_LISTEN, FIELD(identity.remote.octets[0]), 1},
    {TCP_LISTEN, FIELD(receive_size), 1000},
    {TCP_LISTEN, FIELD(send_size), 0},
    {TCP_LISTEN, FIELD(closed_by_user), 1},
    {TCP_LISTEN, FIELD(error), TCP_ERROR_RESET},
    {TCP_LISTEN, FIELD(state), TCP_ESTABLISHED},
    {TCP_SYN_SENT, FIELD(identity.local_port), 0},
    {TCP_SYN_SENT, FIELD(identity.remote_port), 0},
    {TCP_SYN_SENT, FIELD(receive_size), 1U << 31},
    {TCP_SYN_SENT, FIELD(send_size), 3},
    {TCP_SYN_SENT, FIELD(error), TCP_ERROR_TIMED_OUT},
    {TCP_SYN_SENT, FIELD(closed_by_user), 1},
    {TCP_SYN_SENT, FIELD(fin_sent), 1},
    {TCP_SYN_SENT, FIELD(snd_una), 0x12345678},
    {TCP_SYN_SENT, FIELD(snd_max), 0x12345678},
    {TCP_SYN_SENT, FIELD(range_count), 1},
    {TCP_SYN_SENT, FIELD(send_acked), 1},
    {TCP_SYN_SENT, FIELD(send_end), 65537},
    {TCP_SYN_SENT, FIELD(receive_next), 1},
    {TCP_SYN_SENT, FIELD(receive_consumed), 1},
    {TCP_SYN_SENT, FIELD(identity.local.family), 9},
    {TCP_SYN_SENT, FIELD(identity.remote.family), ADDRESS_IP6},
    {TCP_SYN_SENT, FIELD(state), 77},
};

static void corrupt(struct tcp_conn *block, int row)
{
    uint8_t *at = (uint8_t *)block + corruptions[row].at;
    uint16_t small = (uint16_t)corruptions[row].value;
    if (corruptions[row].size == sizeof small)
        memcpy(at, &small, sizeof small);
    else if (corruptions[row].size == 1)
        *at = (uint8_t)small;
    else
        memcpy(at, &corruptions[row].value, sizeof corruptions[row].value);
}

START_TEST(test_restore_of_nonsense)
{
    bench_state(&b, corruptions[_i].state);
    struct tcp_conn good = *conn_of(&b), bad = good;
    bench_fini(&b);
    bench_init(&b, 5);
    corrupt(&bad, _i);
    ck_assert_msg(tcp_restore(b.h.t, 3, &bad) == TCP_CALL_BAD_STATE, "%s", corruptions[_i].name);
    ck_assert(tcp_drained(b.h.t));
    ck_assert_int_eq(tcp_restore(b.h.t, 3, &good), TCP_CALL_OK);
    host_drain(&b.h);
}
END_TEST

/* Who wrote the store may have been taken over: whatever the rest of the block says, the attempt is one like others. */
START_TEST(test_restore_takes_no_more_than_it_needs)
{
    bench_state(&b, TCP_SYN_SENT);
    struct tcp_conn good = *conn_of(&b), bad;
    bench_fini(&b);
    bench_init(&b, 5);
    memset(&bad, 0xff, sizeof bad);
    bad.identity = good.identity;
    bad.state = good.state;
    bad.error = bad.closed_by_user = bad.fin_sent = 0;
    bad.send_acked = bad.receive_next = bad.receive_consumed = bad.range_count = bad.retransmits = 0;
    bad.send_end = 100;
    bad.user_fin = 0;
    bad.send_size = good.send_size;
    bad.receive_size = good.receive_size;
    bad.iss = bad.snd_una = good.iss;
    bad.snd_max = good.snd_max;
    memset(&bad.options, 0, sizeof bad.options);
    ck_assert_int_eq(tcp_restore(b.h.t, 3, &bad), TCP_CALL_OK);
    tcp_set_cork(b.h.t, b.h.now_us, 3, false);
    host_drain(&b.h);
    b.conn = 3;
    expect(&b, S, 0, 0, 0);
    expect_silence(&b);
    ck_assert_uint_le(tcp_deadline_us(b.h.t) - b.h.now_us, 240 * SECOND);
    if (_i == 0) { /* at the same time: it came from no listener */
        inject(&b, S, 0, 0, 0);
        expect(&b, S | A, 0, 1, 0);
        inject(&b, R, 1, 0, 0);
        ck_assert_int_eq(state_of(&b), TCP_CLOSED);
        ck_assert_int_eq(conn_of(&b)->error, TCP_ERROR_REFUSED);
        return;
    }
    inject(&b, S | A, 0, 1, 0);
    expect(&b, A | P, 1, 1, 100);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->accept_pending, 0);
    tcp_accepted(b.h.t, b.conn);
    tcp_abort(b.h.t, b.h.now_us, b.conn);
    expect(&b, R | A, 101, 1, 0);
}
END_TEST

START_TEST(test_reset_lost)
{
    established(65535);
    make_available(&b, 100);
    expect(&b, A | P, 1, 1, 100);
    expect_silence(&b);
    struct tcp_conn lost = *conn_of(&b);
    uint32_t iss = b.iss;
    bench_fini(&b);
    bench_init(&b, 0xfffffff0U);
    b.iss = iss;
    for (int i = 0; i < 128; i++)
        ck_assert(tcp_reset_lost(b.h.t, &lost));
    ck_assert(!tcp_reset_lost(b.h.t, &lost));
    for (int i = 0; i < 128; i++) {
        expect(&b, R | A, 101, 1, 0);
        expect(&b, R | A, 1, 1, 0);
    }
    expect_silence(&b);
    lost.state = TCP_LISTEN;
    ck_assert(tcp_reset_lost(b.h.t, &lost));
    expect_silence(&b);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        test_backlog,
        test_child_dies_unaccepted,
        test_table_full,
        test_time_wait_gives_way,
        test_reopen_in_time_wait,
        test_ports,
        test_ports_exhausted,
        test_listen_conflicts,
        test_restore_listener,
        test_restore_syn_sent,
        test_reset_lost,
    };
    Suite *suite = suite_create("tcp_table");
    TCase *tc = tcase_create("tcp_table");
    tcase_add_checked_fixture(tc, setup, teardown);
    for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tc, tests[i]);
    tcase_add_loop_test(tc, test_each_is_found, 0, 3);
    tcase_add_loop_test(tc, test_restore_takes_no_more_than_it_needs, 0, 2);
    tcase_add_loop_test(tc, test_who_hears, 0, (int)(sizeof hearing / sizeof hearing[0]));
    tcase_add_loop_test(tc, test_restore_of_nonsense, 0, (int)(sizeof corruptions / sizeof corruptions[0]));
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
