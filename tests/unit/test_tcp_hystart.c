// SPDX-License-Identifier: BSD-2-Clause
/* HyStart++ (RFC 9406 4.2): rounds are made up, samples fed. */
#include "protocols/tcp/congestion.h"
#include "tests/unit/suite.h"

#define WINDOW  10000U
#define NOTHING UINT32_MAX

static struct tcp_hystart h;
static struct tcp_conn conn;

static void setup(void)
{
    h = (struct tcp_hystart){0};
    conn = (struct tcp_conn){.snd_una = 0xffffff00U, .snd_max = 0xffffff00U + WINDOW}; /* wraps */
}

/* One round of so many samples of rtt_ms; true: slow start is over. */
static bool round_of(uint32_t samples, uint32_t rtt_ms)
{
    bool over = false;
    for (uint32_t i = 0; i < samples; i++)
        over = hystart_round(&h, &conn, rtt_ms * 1000) || over;
    conn.snd_una = h.round_end; /* all of it is acknowledged, and as much sent */
    conn.snd_max = conn.snd_una + WINDOW;
    return over;
}

/* What a rise from 80 ms to this, in ms, does. The threshold is an eighth, from 4 to 16 ms. */
static const struct rise {
    uint32_t before, after;
    bool ends;
} rises[] = {{80, 90, true},   {80, 89, false},   {8, 12, true},  {8, 11, false},
             {400, 416, true}, {400, 415, false}, {80, 70, false}};

START_TEST(test_rise)
{
    const struct rise *r = &rises[_i];
    round_of(8, r->before);
    round_of(8, r->after);
    ck_assert_int_eq(h.phase, r->ends ? HYSTART_CSS : HYSTART_SLOW_START);
}
END_TEST

/* N_RTT_SAMPLE: seven say nothing. */
START_TEST(test_too_few_samples)
{
    for (uint32_t i = 0; i < 20; i++)
        ck_assert(!round_of(7, 20 + 20 * i));
    ck_assert_int_eq(h.phase, HYSTART_SLOW_START);
    round_of(8, 1000);
    ck_assert_int_eq(h.phase, HYSTART_CSS);
}
END_TEST

/* ACKs without samples make rounds, but no minimum. */
START_TEST(test_no_samples)
{
    for (uint32_t i = 0; i < 20; i++) {
        ck_assert(!hystart_round(&h, &conn, NOTHING));
        conn.snd_una = conn.snd_max;
        conn.snd_max += WINDOW;
    }
    ck_assert_int_eq(h.phase, HYSTART_SLOW_START);
    ck_assert_uint_eq(h.min_us, NOTHING);
}
END_TEST

/* An ACK of all that is in flight begins a round of nothing: the one before it is not forgotten. */
START_TEST(test_empty_round)
{
    round_of(8, 50);
    conn.snd_max = conn.snd_una;
    hystart_round(&h, &conn, NOTHING);
    conn.snd_max = conn.snd_una + WINDOW;
    round_of(8, 60);
    ck_assert_int_eq(h.phase, HYSTART_CSS);
}
END_TEST

/* The least of a round counts: queues of others that come and go do not end slow start. */
START_TEST(test_least_counts)
{
    round_of(8, 50);
    hystart_round(&h, &conn, 51000);
    round_of(20, 500);
    ck_assert_int_eq(h.phase, HYSTART_SLOW_START);
}
END_TEST

/* CSS_ROUNDS: the one in which it began counts. */
START_TEST(test_css_ends_in_avoidance)
{
    round_of(8, 50);
    ck_assert(!round_of(8, 60));
    ck_assert_int_eq(h.phase, HYSTART_CSS);
    for (int i = 0; i < 4; i++)
        ck_assert(!round_of(8, 62));
    ck_assert(hystart_round(&h, &conn, 62000));
}
END_TEST

START_TEST(test_false_alarm)
{
    round_of(8, 50);
    round_of(8, 60);
    round_of(8, 60); /* not below: it was the queue */
    ck_assert_int_eq(h.phase, HYSTART_CSS);
    round_of(8, 59);
    ck_assert_int_eq(h.phase, HYSTART_SLOW_START);
    for (int i = 0; i < 20; i++)
        ck_assert(!round_of(8, 60));
    ck_assert_int_eq(h.phase, HYSTART_SLOW_START);
}
END_TEST

START_TEST(test_growth)
{
    ck_assert_uint_eq(hystart_growth(&h, 64000, 1000, true), 64000);
    ck_assert_uint_eq(hystart_growth(&h, 64000, 1000, false), 8000); /* L */
    ck_assert_uint_eq(hystart_growth(&h, 2000, 1000, false), 2000);
    h.phase = HYSTART_CSS;
    ck_assert_uint_eq(hystart_growth(&h, 64000, 1000, true), 16000);
    ck_assert_uint_eq(hystart_growth(&h, 64000, 1000, false), 2000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tcp_hystart");
    TCase *tc = tcase_create("tcp_hystart");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_loop_test(tc, test_rise, 0, sizeof rises / sizeof rises[0]);
    tcase_add_test(tc, test_too_few_samples);
    tcase_add_test(tc, test_no_samples);
    tcase_add_test(tc, test_empty_round);
    tcase_add_test(tc, test_least_counts);
    tcase_add_test(tc, test_css_ends_in_avoidance);
    tcase_add_test(tc, test_false_alarm);
    tcase_add_test(tc, test_growth);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
