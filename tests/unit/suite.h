// SPDX-License-Identifier: BSD-2-Clause
/* The main() that every unit test has: one suite, one test case, an optional fixture. */
#ifndef BULKHEAD_TESTS_UNIT_SUITE_H
#define BULKHEAD_TESTS_UNIT_SUITE_H

#include <check.h>

static inline int suite_run(const char *name, SFun setup, SFun teardown, const TTest *const tests[],
                            unsigned count)
{
    Suite *suite = suite_create(name);
    TCase *tc = tcase_create(name);
    tcase_set_timeout(tc, 60);
    if (setup != NULL || teardown != NULL)
        tcase_add_checked_fixture(tc, setup, teardown);
    for (unsigned i = 0; i < count; i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

#define SUITE_RUN(name, setup, teardown, ...)                                                      \
    int main(void)                                                                                 \
    {                                                                                              \
        const TTest *const tests[] = {__VA_ARGS__};                                                \
        return suite_run(name, setup, teardown, tests, sizeof tests / sizeof tests[0]);            \
    }

#endif
