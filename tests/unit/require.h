// SPDX-License-Identifier: BSD-2-Clause
#ifndef BULKHEAD_TESTS_UNIT_REQUIRE_H
#define BULKHEAD_TESTS_UNIT_REQUIRE_H

#include <check.h>

/* As ck_assert(), which writes a message at every call, passed or not: for what is asked of each octet of many. */
#define require(condition)                                                                             \
    do {                                                                                               \
        if (!(condition))                                                                              \
            ck_abort_msg("%s:%d: %s", __FILE__, __LINE__, #condition);                                 \
    } while (0)

#endif
