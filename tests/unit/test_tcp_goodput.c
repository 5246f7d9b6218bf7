// SPDX-License-Identifier: BSD-2-Clause
/* Two engines over a path that loses at random: what arrives is what the window of Reno allows (Mathis et al. 1997,
 * equation 3), not what timeouts leave of it. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/suite.h"
#include "tests/unit/tcp_link.h"

static const struct row {
    const char *name;
    uint32_t loss, rtt_us; /* in 10000 */
    double least;          /* of the formula */
    double timeouts;       /* a second, at most */
    bool gso, no_timestamps;
} rows[] = {
    {"0.1 %", 10, 20000, 0.7, 0.1, false, false},        {"1 %", 100, 20000, 0.7, 0.2, false, false},
    {"1 %, gso", 100, 20000, 0.7, 0.2, true, false},     {"1 %, no timestamps", 100, 20000, 0.7, 0.2, true, true},
    {"1 %, 100 ms", 100, 100000, 0.7, 0.2, true, false}, {"5 %", 500, 20000, 0.6, 1.0, true, false},
    {"10 %", 1000, 20000, 0.5, 2.0, true, false},
};

START_TEST(test_goodput)
{
    const struct row *r = &rows[_i];
    static struct link l;
    uint32_t seconds = 60;
    link_init(&l, &(struct link_config){.rate = 125000000,
                                        .queue = 4000000,
                                        .rtt_us = r->rtt_us,
                                        .jitter_us = 50,
                                        .ring = 1 << 20,
                                        .loss = r->loss,
                                        .seed = 5,
                                        .gso = r->gso,
                                        .no_timestamps = r->no_timestamps,
                                        .flows = 1,
                                        .congestion = {TCP_CONGESTION_RENO}});
    link_start(&l, 0);
    link_run(&l, seconds * 1000000ULL);
    const struct tcp_counters *k = tcp_counters(l.sender.t);
    double rate = (double)l.received[0] / seconds;
    double formula = 1448 / (r->rtt_us / 1e6) * sqrt(1.5 / (r->loss / 1e4));
    if (getenv("VERBOSE") != NULL)
        printf("%-20s %8.0f KB/s, formula %8.0f (%.2f), timeouts %llu, recoveries %llu, probes %llu, lost %llu, resent "
               "%llu, "
               "spurious %llu %llu\n",
               r->name, rate / 1e3, formula / 1e3, rate / formula, (unsigned long long)k->timeouts,
               (unsigned long long)k->recoveries, (unsigned long long)k->loss_probes, (unsigned long long)l.lost,
               (unsigned long long)k->retransmits, (unsigned long long)k->spurious_recoveries,
               (unsigned long long)k->spurious_timeouts);
    ck_assert_msg(rate >= r->least * formula, "%s: %.0f KB/s, the formula says %.0f", r->name, rate / 1e3,
                  formula / 1e3);
    ck_assert_msg((double)k->timeouts <= r->timeouts * seconds, "%s: %llu timeouts", r->name,
                  (unsigned long long)k->timeouts);
    link_fini(&l);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tcp_goodput");
    TCase *tc = tcase_create("tcp_goodput");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_goodput, 0, sizeof rows / sizeof rows[0]);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
