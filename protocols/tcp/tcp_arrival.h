// SPDX-License-Identifier: BSD-2-Clause
/* SEGMENT ARRIVES, shared by input.c, open.c and ack.c. */
#ifndef BULKHEAD_PROTOCOLS_TCP_TCP_ARRIVAL_H
#define BULKHEAD_PROTOCOLS_TCP_TCP_ARRIVAL_H

#include "protocols/tcp/tcp_internal.h"

struct arrival { /* one segment on its way through the steps */
    struct tcp *t;
    uint64_t now_us;
    struct tcp_conn *c;
    const struct tcp_segment_in *meta;
    struct segment s;
    struct tcp_placement *placement;
    enum tcp_input_result result;
};

/* open.c */
void arrives_closed(struct arrival *a);
void arrives_listen(struct arrival *a, const uint32_t *floor);
bool arrives_syn_sent(struct arrival *a);

/* input.c */
void challenge(struct arrival *a); /* RFC 5961: an ACK, not too often */

/* ack.c: fifth, check the ACK field. False: the segment goes no further. */
bool check_ack(struct arrival *a);

#endif
