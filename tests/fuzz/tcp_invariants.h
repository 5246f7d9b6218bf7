// SPDX-License-Identifier: BSD-2-Clause
/* What the TCP engine keeps at any time, from within; aborts where it does not. */
#ifndef BULKHEAD_TESTS_FUZZ_TCP_INVARIANTS_H
#define BULKHEAD_TESTS_FUZZ_TCP_INVARIANTS_H

#include "protocols/tcp/tcp_internal.h"

#define CONNECTIONS 8U /* of the engines that are looked at */
#define TIME_WAITS  4U

void check_engine(const struct tcp *t);

#endif
