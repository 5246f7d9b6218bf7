// SPDX-License-Identifier: BSD-2-Clause
/* What watch.c knows of a connection, and scoreboard.c of what it sends. */
#ifndef BULKHEAD_TESTS_SIM_WATCH_H
#define BULKHEAD_TESTS_SIM_WATCH_H

#include "protocols/tcp/tcp_internal.h"
#include "tests/sim/sim.h"

#define WATCHED_REPORTS 32U

struct watched { /* a connection, under the engine's index */
    bool used, acked, edged, pending, gone;
    uint32_t iss, irs;
    struct ip_address local, remote;
    uint16_t local_port, remote_port;
    uint32_t peer_ack;  /* the highest that the engine took */
    uint32_t peer_edge; /* the highest right edge that the peer gave */
    uint32_t ack;       /* the last that went out */
    uint32_t edge;      /* the right edge that went out */
    uint32_t stored;    /* rcv_nxt that is in the store; `gone`: there is no block (any more) */
    uint32_t mss;       /* of what went out last */
    bool cut_anew;      /* it has changed */
    uint32_t reports;   /* ranges that the peer SACKed */
    struct tcp_range report[WATCHED_REPORTS];
};

_Noreturn void watch_wrong(const struct watched *w, const char *what, uint32_t value, uint32_t limit);

void scoreboard_check(const struct watched *w, const struct tcp *t, const struct tcp_conn *c);
void scoreboard_reported(struct watched *w, const struct tcp_conn *c, uint32_t ack, struct tcp_range block);
void scoreboard_sent(struct watched *w, const struct tcp *t, const struct tcp_conn *c, uint32_t seq, uint32_t end);

#endif
