// SPDX-License-Identifier: BSD-2-Clause
/* Path MTU of one connection: reports that are believed at once, later, or never (RFC 5927 7.2), black holes, and the
 * search for what passes (RFC 4821). */
#include "tests/unit/suite.h"
#include "tests/unit/tcp_bench.h"

static uint32_t una(void) /* relative */
{
    return conn_of(&b)->send_acked + 1;
}

/* Keeps the window full; the peer acknowledges each segment that is not larger than `passes`, and repeats itself for
 * each one behind the first that did not arrive. */
static uint32_t largest_seen;

static void path_of(uint32_t passes, uint32_t rounds)
{
    static struct {
        uint32_t start, end;
    } held[256];
    uint32_t count = 0;
    for (uint32_t r = 0; r < rounds; r++) {
        struct tcp_output out;
        const struct tcp_conn *c = conn_of(&b);
        make_available(&b, c->send_acked + b.send_size - c->send_end);
        advance(&b, 10 * MS);
        uint32_t arrived = 0;
        while (arrived < 200 && host_poll(&b.h, &out)) {
            largest_seen = out.payload_length > largest_seen ? out.payload_length : largest_seen;
            if (out.payload_length == 0 || out.payload_length > passes)
                continue;
            require(count < 256);
            held[count].start = out.stream_offset + 1;
            held[count++].end = out.stream_offset + 1 + out.payload_length;
            arrived++;
        }
        if (arrived == 0) { /* all were lost */
            advance(&b, tcp_deadline_us(b.h.t) - b.h.now_us);
            continue;
        }
        uint32_t next = una();
        for (uint32_t n = 0; n < arrived; n++) {
            for (uint32_t i = 0; i < count; i++) {
                if ((int32_t)(held[i].end - next) > 0 && (int32_t)(held[i].start - next) <= 0) {
                    next = held[i].end;
                    i = UINT32_MAX;
                }
            }
            inject(&b, A, 1, next, 0);
        }
        uint32_t kept = 0;
        for (uint32_t i = 0; i < count; i++)
            if ((int32_t)(held[i].end - next) > 0)
                held[kept++] = held[i];
        count = kept;
    }
}

static void lively(void)
{
    b.send_size = 1U << 17;
    established(65535);
    path_of(MSS, 3);
    ck_assert_uint_eq(conn_of(&b)->mss, MSS);
}

START_TEST(test_no_search_without_need)
{
    lively();
    largest_seen = 0;
    path_of(MSS, 40);
    ck_assert_uint_eq(largest_seen, MSS);
    ck_assert_uint_eq(counters_of(&b)->mtu_probes, 0);
}
END_TEST

/* RFC 5927 7.2: segments of this size arrive, so who says that they do not has to be right about one more. */
START_TEST(test_report_refuted)
{
    struct tcp_output out;
    lively();
    uint32_t at = b.iss + una();
    make_available(&b, MSS);
    ck_assert(host_poll(&b.h, &out));
    tcp_too_big(b.h.t, b.h.now_us, b.conn, at, 600);
    ck_assert_uint_eq(counters_of(&b)->too_big_delayed, 1);
    ck_assert_uint_eq(conn_of(&b)->mss, MSS);
    inject(&b, A, 1, una() + MSS, 0);
    path_of(MSS, 3);
    advance(&b, 10 * SECOND);
    path_of(MSS, 3); /* what was in flight timed out: the report was about an older one */
    ck_assert_uint_eq(conn_of(&b)->mss, MSS);
    ck_assert_uint_eq(counters_of(&b)->drop_too_big, 1);
}
END_TEST

START_TEST(test_report_confirmed)
{
    lively();
    make_available(&b, MSS);
    struct tcp_output out;
    while (host_poll(&b.h, &out))
        ;
    tcp_too_big(b.h.t, b.h.now_us, b.conn, b.iss + una(), 1200);
    expect_silence(&b);
    ck_assert_uint_eq(conn_of(&b)->mss, MSS);
    advance(&b, tcp_deadline_us(b.h.t) - b.h.now_us);
    expect(&b, A, una(), 1, 1160);
    ck_assert_uint_eq(conn_of(&b)->mss, 1160);
    ck_assert_uint_eq(counters_of(&b)->mss_lowered, 1);
}
END_TEST

/* Nothing is reported, and nothing of full size arrives any more: smaller ones do, and the search finds what passes. */
START_TEST(test_black_hole)
{
    static const uint32_t passes[] = {1024, 1100, 1300, 1400, 1459, 512, 700};
    for (unsigned i = 0; i < sizeof passes / sizeof passes[0]; i++) {
        lively();
        path_of(passes[i], 400);
        uint32_t mss = conn_of(&b)->mss;
        ck_assert_uint_le(mss, passes[i]);
        ck_assert_uint_gt(mss + 8, passes[i]);
        ck_assert_uint_ge(counters_of(&b)->black_holes, 1);
        uint64_t probes = counters_of(&b)->mtu_probes;
        path_of(passes[i], 50); /* the search is over */
        ck_assert_uint_eq(counters_of(&b)->mtu_probes, probes);
        advance(&b, 601 * (uint64_t)SECOND);
        path_of(MSS, 200); /* ten minutes later the path is as it was */
        ck_assert_uint_gt(conn_of(&b)->mss + 8, MSS);
        teardown();
        setup();
    }
}
END_TEST

/* The link went away, and came back. */
START_TEST(test_outage)
{
    lively();
    path_of(0, 6);
    ck_assert_uint_lt(conn_of(&b)->mss, MSS);
    path_of(MSS, 200);
    ck_assert_uint_gt(conn_of(&b)->mss + 8, MSS);
}
END_TEST

/* RFC 4821 7.6.2: the loss of a probe alone is no congestion. */
START_TEST(test_probe_lost)
{
    lively();
    path_of(0, 6);
    uint32_t cwnd = 0;
    for (int i = 0; i < 200 && counters_of(&b)->mtu_probes_lost == 0; i++) {
        cwnd = conn_of(&b)->cwnd;
        path_of(conn_of(&b)->mss, 1);
    }
    path_of(conn_of(&b)->mss, 3);
    ck_assert_uint_ge(conn_of(&b)->ssthresh, cwnd);
    ck_assert_uint_ge(conn_of(&b)->cwnd, cwnd);
    ck_assert_uint_ge(counters_of(&b)->fast_retransmits, 1);
    ck_assert_uint_eq(counters_of(&b)->mtu_probes_lost, 1);
}
END_TEST

/* RFC 1191 6.3: after a report none within ten minutes. */
START_TEST(test_search_after_report)
{
    b.send_size = 1U << 17;
    established(65535);
    make_available(&b, 3000);
    expect(&b, A, 1, 1, MSS);
    tcp_too_big(b.h.t, b.h.now_us, b.conn, b.iss + 1, 1000);
    ck_assert_uint_eq(conn_of(&b)->mss, 960);
    path_of(960, 400);
    ck_assert_uint_eq(counters_of(&b)->mtu_probes, 0);
    advance(&b, 600 * (uint64_t)SECOND);
    path_of(MSS, 200);
    ck_assert_uint_gt(conn_of(&b)->mss + 8, MSS);
}
END_TEST

START_TEST(test_off)
{
    struct tcp_config config = {.connections = 4, .mtu = 1500, .no_mtu_probing = true};
    bench_fini(&b);
    bench_init_with(&b, 77, &config);
    lively();
    path_of(0, 8);
    ck_assert_uint_eq(conn_of(&b)->mss, MSS);
}
END_TEST

SUITE_RUN("tcp_path", setup, teardown, test_no_search_without_need, test_report_refuted, test_report_confirmed,
          test_black_hole, test_outage, test_probe_lost, test_search_after_report, test_off)
