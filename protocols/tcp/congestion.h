// SPDX-License-Identifier: BSD-2-Clause
/* What congestion.c, its algorithms (reno in it, cubic.c), hystart.c and pacing.c have between them. */
#ifndef BULKHEAD_PROTOCOLS_TCP_CONGESTION_H
#define BULKHEAD_PROTOCOLS_TCP_CONGESTION_H

#include "protocols/tcp/tcp_internal.h"

#define CWND_MAX (1U << 30) /* also ssthresh before anything was lost */

enum tcp_congestion congestion_algorithm_of(const struct tcp *t, const struct tcp_conn *c);

/* cubic.c */
void cubic_avoid(struct tcp_conn *c, uint64_t now_us, uint32_t acked);   /* congestion avoidance: `acked` octets more */
uint32_t cubic_reduce(struct tcp_conn *c);                               /* a loss or an ECE: the new ssthresh */
void cubic_timed_out(struct tcp_conn *c);                                /* after cubic_reduce() */
void cubic_unused(struct tcp_conn *c, uint64_t now_us, uint64_t for_us); /* the window was not used for so long */
uint32_t cubic_root(uint64_t n);                                         /* floor */
uint32_t cubic_k_ms(uint32_t w_max, uint32_t cwnd, uint32_t mss);
uint32_t cubic_window(uint32_t w_max, uint32_t k_ms, uint64_t t_ms, uint32_t mss); /* W_cubic(t), octets */

/* hystart.c */
enum { HYSTART_UNUSED = 0, HYSTART_SLOW_START = 1, HYSTART_CSS = 2 };
/* A sample, or an ACK without one (UINT32_MAX), in initial slow start. True: it is over. */
bool hystart_round(struct tcp_hystart *h, const struct tcp_conn *c, uint32_t rtt_us);
/* By how much the window grows for `acked` octets. */
uint32_t hystart_growth(const struct tcp_hystart *h, uint32_t acked, uint32_t mss, bool paced);

#endif
