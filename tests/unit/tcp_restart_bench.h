// SPDX-License-Identifier: BSD-2-Clause
/* The death of a host's engine: a new one goes on from what was reported last. */
#ifndef BULKHEAD_TESTS_UNIT_TCP_RESTART_BENCH_H
#define BULKHEAD_TESTS_UNIT_TCP_RESTART_BENCH_H

#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_harness.h"

/* Blocks are put back from the first on, or from the last. */
static inline void host_restart(struct host *h, bool from_last)
{
    uint32_t connections = h->config.connections;
    size_t size = tcp_size(&h->config);
    memset(h->memory, 0, size);
    h->t = tcp_init(h->memory, &h->config, h->now_us);
    for (uint32_t n = 0; n < connections; n++) {
        uint32_t i = from_last ? connections - 1 - n : n;
        if (h->shadow[i].state != TCP_CLOSED)
            ck_assert_msg(tcp_restore(h->t, i, &h->shadow[i]) == TCP_CALL_OK, "block %u in state %d", i,
                          h->shadow[i].state);
    }
    for (uint32_t i = 0; i < tcp_time_wait_records(h->t); i++)
        if (h->time_wait[i].local.family != ADDRESS_NONE)
            ck_assert_int_eq(tcp_restore_time_wait(h->t, i, &h->time_wait[i]), TCP_CALL_OK);
    host_drain(h);
}

#endif
