// SPDX-License-Identifier: BSD-2-Clause
/* Blocks in which one field is not what the engine wrote: each is refused, and then nothing has changed; or it is put
 * back, and then the connection is one like others: it falls silent, its next deadline is near, and it goes on when the
 * peer acknowledges. tests/fuzz/fuzz_tcp.c changes any octets. */
#include <check.h>
#include <stddef.h>

#include "tests/unit/tcp_recovery_bench.h"
#include "tests/unit/tcp_restart_bench.h"

enum how { IS, ADD, SET }; /* the value; that much more; these bits, too */

#define FIELD(name) #name, offsetof(struct tcp_conn, name), sizeof(((struct tcp_conn *)NULL)->name)
#define FAR         0x80000000U
#define NEVER       UINT64_MAX

struct row {
    enum tcp_state state;
    const char *name;
    size_t at, size;
    enum how how;
    uint64_t value;
};

#define EST TCP_ESTABLISHED

static const struct row refused[] = {
    {EST, FIELD(state), IS, TCP_CLOSED},
    {EST, FIELD(state), IS, TCP_LISTEN},
    {EST, FIELD(state), IS, TCP_SYN_SENT},
    {EST, FIELD(state), IS, TCP_SYN_RECEIVED},
    {EST, FIELD(state), IS, TCP_FIN_WAIT_1},
    {EST, FIELD(state), IS, TCP_FIN_WAIT_2},
    {EST, FIELD(state), IS, TCP_CLOSE_WAIT},
    {EST, FIELD(state), IS, TCP_LAST_ACK},
    {EST, FIELD(state), IS, TCP_TIME_WAIT},
    {EST, FIELD(state), IS, 77},
    {EST, FIELD(error), IS, TCP_ERROR_RESET},
    {EST, FIELD(identity.local_port), IS, 0},
    {EST, FIELD(identity.remote_port), IS, 0},
    {EST, FIELD(identity.local.family), IS, 9},
    {EST, FIELD(identity.remote.family), IS, ADDRESS_IP6},
    {EST, FIELD(receive_size), IS, 0},
    {EST, FIELD(receive_size), IS, 3000},
    {EST, FIELD(receive_size), IS, FAR},
    {EST, FIELD(receive_next_size), IS, 1024},
    {EST, FIELD(receive_next_size), IS, FAR},
    {EST, FIELD(receive_turn), IS, 7},
    {EST, FIELD(send_size), IS, 5},
    {EST, FIELD(send_size), IS, 512},
    {EST, FIELD(send_next_size), IS, 0},
    {EST, FIELD(send_turn), IS, 1023},
    {EST, FIELD(iss), ADD, 1},
    {EST, FIELD(snd_una), ADD, 1},
    {EST, FIELD(snd_una), ADD, -1ULL},
    {EST, FIELD(snd_una), ADD, FAR},
    {EST, FIELD(snd_nxt), ADD, 1},
    {EST, FIELD(snd_nxt), ADD, FAR},
    {EST, FIELD(snd_nxt), ADD, -(uint64_t)(6 * MSS)},
    {EST, FIELD(snd_max), ADD, -1ULL},
    {EST, FIELD(snd_max), ADD, 2 * MSS},
    {EST, FIELD(snd_max), ADD, FAR},
    {EST, FIELD(send_acked), ADD, 1},
    {EST, FIELD(send_end), ADD, -(uint64_t)(2 * MSS)},
    {EST, FIELD(send_end), ADD, 1U << 21},
    {EST, FIELD(irs), ADD, 1},
    {EST, FIELD(rcv_nxt), ADD, 1},
    {EST, FIELD(rcv_nxt), ADD, FAR},
    {EST, FIELD(rcv_adv), ADD, 1U << 20},
    {EST, FIELD(rcv_adv), ADD, FAR},
    {EST, FIELD(receive_next), ADD, 1},
    {EST, FIELD(receive_consumed), ADD, 2 * MSS},
    {EST, FIELD(receive_consumed), ADD, -(uint64_t)(1U << 20)},
    {EST, FIELD(range_count), IS, TCP_RANGES_MAX + 1},
    {EST, FIELD(range_count), IS, UINT32_MAX},
    {EST, FIELD(range_count), IS, 3},
    {EST, FIELD(range[0].start), ADD, -(uint64_t)MSS},
    {EST, FIELD(range[0].start), ADD, FAR},
    {EST, FIELD(range[0].end), ADD, -(uint64_t)MSS},
    {EST, FIELD(range[0].end), ADD, MSS},
    {EST, FIELD(range[1].start), ADD, -(uint64_t)MSS},
    {EST, FIELD(range[1].end), ADD, 1U << 20},
    {EST, FIELD(flags), SET, TCP_CONN_FIN_KNOWN},
    {EST, FIELD(fin_sent), IS, 1},
    {EST, FIELD(fin_received), IS, 1},
    {EST, FIELD(user_fin), IS, 2},
    {EST, FIELD(closed_by_user), IS, 1},
    {EST, FIELD(accept_pending), IS, 2},
    {EST, FIELD(listener), IS, 99999}, /* it waits to be accepted */
    {EST, FIELD(listener), IS, 1},     /* itself */
    {EST, FIELD(send_window_scale), IS, 15},
    {EST, FIELD(receive_window_scale), IS, 200},
    {EST, FIELD(snd_wnd), IS, UINT32_MAX},
    {EST, FIELD(snd_wnd), IS, 1U << 30},
    {EST, FIELD(snd_wnd_max), IS, 0},
    {EST, FIELD(snd_wnd_max), IS, FAR},
    {EST, FIELD(mss), IS, 0},
    {EST, FIELD(mss), IS, 40},
    {EST, FIELD(mss), IS, 70000},
    {TCP_SYN_RECEIVED, FIELD(snd_una), ADD, 1},
    {TCP_SYN_RECEIVED, FIELD(snd_max), ADD, 1},
    {TCP_SYN_RECEIVED, FIELD(snd_nxt), ADD, 1},
    {TCP_SYN_RECEIVED, FIELD(rcv_nxt), ADD, 1},
    {TCP_SYN_RECEIVED, FIELD(send_acked), IS, 1},
    {TCP_SYN_RECEIVED, FIELD(accept_pending), IS, 1},
    {TCP_SYN_RECEIVED, FIELD(listener), IS, 16},
    {TCP_SYN_RECEIVED, FIELD(listener), IS, TCP_NONE},
    {TCP_SYN_RECEIVED, FIELD(range_count), IS, 1},
    {TCP_FIN_WAIT_1, FIELD(snd_max), ADD, -1ULL},
    {TCP_FIN_WAIT_1, FIELD(fin_sent), IS, 0},
    {TCP_FIN_WAIT_1, FIELD(user_fin), IS, 0},
    {TCP_FIN_WAIT_2, FIELD(snd_una), ADD, -1ULL},
    {TCP_CLOSE_WAIT, FIELD(fin_received), IS, 0},
    {TCP_CLOSE_WAIT, FIELD(fin_seq), ADD, 1},
    {TCP_LAST_ACK, FIELD(snd_una), ADD, 1},
    {TCP_CLOSING, FIELD(state), IS, TCP_FIN_WAIT_1},
};

static const struct row bounded[] = {
    {EST, FIELD(cwnd), IS, 0},
    {EST, FIELD(cwnd), IS, UINT32_MAX},
    {EST, FIELD(ssthresh), IS, 0},
    {EST, FIELD(ssthresh), IS, UINT32_MAX},
    {EST, FIELD(cwnd_acked), IS, UINT32_MAX},
    {EST, FIELD(cubic_w_max), IS, UINT32_MAX},
    {EST, FIELD(cubic_w_est), IS, UINT32_MAX},
    {EST, FIELD(cubic_prior), IS, UINT32_MAX},
    {EST, FIELD(cubic_acked), IS, UINT32_MAX},
    {EST, FIELD(cubic_k_ms), IS, UINT32_MAX},
    {EST, FIELD(cubic_epoch_us), IS, NEVER},
    {EST, FIELD(srtt_us), IS, UINT32_MAX},
    {EST, FIELD(rttvar_us), IS, UINT32_MAX},
    {EST, FIELD(rto_us), IS, 0},
    {EST, FIELD(rto_us), IS, UINT32_MAX},
    {EST, FIELD(probes), IS, 255},
    {EST, FIELD(duplicate_acks), IS, 255},
    {EST, FIELD(acks_owed), IS, UINT32_MAX},
    {EST, FIELD(ack_owed), IS, UINT32_MAX},
    {EST, FIELD(sack_recent_count), IS, UINT32_MAX},
    {EST, FIELD(duplicate.end), IS, 12345},
    {EST, FIELD(duplicate.start), ADD, FAR},
    {EST, FIELD(recover), ADD, FAR},
    {EST, FIELD(cwr_seq), ADD, FAR},
    {EST, FIELD(snd_sml), ADD, FAR},
    {EST, FIELD(snd_wl1), ADD, FAR - 1},
    {EST, FIELD(snd_wl2), ADD, FAR - 1},
    {EST, FIELD(last_ack_sent), ADD, FAR},
    {EST, FIELD(rcv_mss), IS, 0},
    {EST, FIELD(rcv_mss), IS, UINT32_MAX},
    {EST, FIELD(soft_error), IS, 200},
    {EST, FIELD(backlog), IS, UINT32_MAX},
    {EST, FIELD(accept_queue), IS, UINT32_MAX},
    {EST, FIELD(syn_received), IS, UINT32_MAX},
    {EST, FIELD(retransmit_at_us), IS, NEVER},
    {EST, FIELD(retransmit_at_us), IS, 0},
    {EST, FIELD(ack_at_us), IS, NEVER},
    {EST, FIELD(keep_at_us), IS, NEVER},
    {EST, FIELD(state_at_us), IS, 1},
    {EST, FIELD(state_at_us), IS, NEVER},
    {EST, FIELD(challenge_at_us), IS, NEVER},
    {EST, FIELD(rtt_start_us), IS, NEVER},
    {EST, FIELD(received_at_us), IS, NEVER},
    {EST, FIELD(unacked_at_us), IS, NEVER},
    {EST, FIELD(ts_recent_at_us), IS, NEVER},
    {EST, FIELD(receive_most), IS, 3},
    {EST, FIELD(send_most), IS, UINT32_MAX},
    {EST, FIELD(snd_wnd), IS, 0},
    {EST, FIELD(options.congestion), IS, 99},
    {EST, FIELD(options.keepalive), IS, 1},
    {EST, FIELD(options.maximum_segment), IS, 1},
    {EST, FIELD(options.user_timeout_ms), IS, UINT32_MAX},
    {EST, FIELD(flags), SET, TCP_CONN_RECOVERY | TCP_CONN_LOSS | TCP_CONN_PERSIST | TCP_CONN_PROBE_NOW},
    {EST, FIELD(flags), SET, TCP_CONN_RST_NOW | TCP_CONN_RETRANSMIT_ONE | TCP_CONN_KEEP_PROBE},
    {EST, FIELD(flags), SET, 0xffe00000U | TCP_CONN_CWR_STATE | TCP_CONN_CWR},
};

/* ESTABLISHED: five segments and two that wait are not acknowledged, two ranges are held; the rest as the bench has it.
 */
static struct tcp_conn block_in(enum tcp_state state)
{
    struct tcp_output out;
    if (state != TCP_ESTABLISHED) {
        bench_init(&b, 0xfffffff0U);
        bench_state(&b, state);
        return *conn_of(&b);
    }
    init(false);
    in_flight(5);
    inject(&b, A, SEQ(1), 1, MSS);
    inject(&b, A, SEQ(3), 1, MSS);
    make_available(&b, MSS);
    while (host_poll(&b.h, &out))
        continue;
    host_drain(&b.h);
    ck_assert_uint_eq(conn_of(&b)->range_count, 2);
    return *conn_of(&b);
}

static void change(struct tcp_conn *block, const struct row *row)
{
    uint8_t *at = (uint8_t *)block + row->at;
    uint64_t value = 0;
    memcpy(&value, at, row->size); /* the tests run on little-endian machines, as all the rest does */
    value = row->how == IS ? row->value : row->how == ADD ? value + row->value : (value | row->value);
    memcpy(at, &value, row->size);
}

START_TEST(test_refused)
{
    const struct row *row = &refused[_i];
    struct tcp_conn good = block_in(row->state), bad = good;
    uint32_t conn = b.conn;
    change(&bad, row);
    b.h.shadow[conn].state = TCP_CLOSED;
    host_restart(&b.h, false);
    ck_assert_msg(tcp_restore(b.h.t, conn, &bad) == TCP_CALL_BAD_STATE, "%s", row->name);
    ck_assert_int_eq(tcp_conn_at(b.h.t, conn)->state, TCP_CLOSED);
    ck_assert_int_eq(tcp_restore(b.h.t, conn, &good), TCP_CALL_OK);
    ck_assert_int_eq(tcp_restore(b.h.t, conn, &good), TCP_CALL_IN_USE);
    ck_assert_int_eq(tcp_restore(b.h.t, 16, &good), TCP_CALL_IN_USE);
    host_drain(&b.h);
    bench_fini(&b);
}
END_TEST

START_TEST(test_bounded)
{
    const struct row *row = &bounded[_i];
    struct tcp_output out;
    (void)block_in(row->state);
    change(&b.h.shadow[b.conn], row);
    host_restart(&b.h, false);
    for (int n = 0; host_poll(&b.h, &out); n++)
        ck_assert_msg(n < 50, "%s: it does not fall silent", row->name);
    host_drain(&b.h);
    const struct tcp_conn *c = conn_of(&b);
    uint64_t deadline = tcp_deadline_us(b.h.t);
    ck_assert_msg(c->state == row->state && c->error == 0, "%s", row->name);
    ck_assert_msg(deadline > b.h.now_us && deadline <= b.h.now_us + 120 * SECOND, "%s: %llu", row->name,
                  (unsigned long long)deadline);
    ck_assert(c->retransmit_at_us != 0 && c->retransmit_at_us <= b.h.now_us + 120 * SECOND);
    ck_assert(c->rto_us >= 200 * MS && c->rto_us <= 120 * SECOND && c->srtt_us <= 120 * SECOND);
    ck_assert(c->cwnd <= 1U << 30 && c->ssthresh <= 1U << 30 && c->cubic_w_est <= 1U << 30);
    ck_assert(c->challenge_at_us <= b.h.now_us + SECOND && c->keep_at_us <= b.h.now_us + 7200ULL * SECOND);
    ck_assert(c->received_at_us <= b.h.now_us && c->unacked_at_us <= b.h.now_us && c->state_at_us == 0);
    ck_assert(c->sack_recent_count <= 4 && c->soft_error == 0 && c->accept_queue == 0 && c->syn_received == 0);
    advance(&b, RTT);
    b.window = 4000;
    inject(&b, A, 1, c->snd_max - c->iss, MSS);
    ck_assert_msg(c->snd_una == c->snd_max, "%s", row->name);
    inject(&b, A, SEQ(2), c->snd_max - c->iss, MSS);
    ck_assert_uint_eq(c->receive_next, 4 * MSS); /* with what was held */
    inject(&b, A, SEQ(4), c->snd_max - c->iss, 0);
    ck_assert_msg(c->snd_wnd == 4000U << c->send_window_scale, "%s", row->name);
    while (host_poll(&b.h, &out))
        continue;
    host_drain(&b.h);
    bench_fini(&b);
}
END_TEST

/* A peer that is still to acknowledge our SYN is owed no duplicate ACKs: it would take them for a loss. */
START_TEST(test_no_acks_owed_to_syn)
{
    (void)block_in(TCP_SYN_RECEIVED);
    b.h.shadow[b.conn].acks_owed = UINT32_MAX;
    host_restart(&b.h, false);
    ck_assert_uint_eq(conn_of(&b)->acks_owed, 0);
    expect(&b, S | A, 0, 1, 0);
    expect_silence(&b);
    inject(&b, A, 1, 1, 0);
    ck_assert_int_eq(state_of(&b), TCP_ESTABLISHED);
    expect_silence(&b);
    bench_fini(&b);
}
END_TEST

/* Where the SYNs did not agree on it nobody would ever answer the one, or take the other for said. */
START_TEST(test_no_congestion_marks_without_ecn)
{
    const uint32_t marks = TCP_CONN_ECE | TCP_CONN_CWR | TCP_CONN_CWR_STATE;
    struct tcp_output out;
    (void)block_in(TCP_ESTABLISHED);
    ck_assert_uint_eq(conn_of(&b)->flags & TCP_CONN_ECN, 0);
    b.h.shadow[b.conn].flags |= marks;
    host_restart(&b.h, false);
    ck_assert_uint_eq(conn_of(&b)->flags & marks, 0);
    int n = 0;
    for (; host_poll(&b.h, &out); n++)
        ck_assert_uint_eq(out.header[13] & (TCP_FLAG_ECE | TCP_FLAG_CWR), 0);
    ck_assert_int_gt(n, 0);
    host_drain(&b.h);
    bench_fini(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tcp_restart_check");
    TCase *tc = tcase_create("blocks");
    tcase_add_loop_test(tc, test_refused, 0, (int)(sizeof refused / sizeof refused[0]));
    tcase_add_loop_test(tc, test_bounded, 0, (int)(sizeof bounded / sizeof bounded[0]));
    tcase_add_test(tc, test_no_acks_owed_to_syn);
    tcase_add_test(tc, test_no_congestion_marks_without_ecn);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
