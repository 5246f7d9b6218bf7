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

/* cookie.c */
void cookie_send(struct arrival *a); /* in answer to a SYN */

/* open.c */
void arrives_closed(struct arrival *a);
void arrives_listen(struct arrival *a, const uint32_t *floor);
bool arrives_syn_sent(struct arrival *a);

/* input.c */
void challenge(struct arrival *a); /* RFC 5961: an ACK, not too often */
bool challenge_is_allowed(uint64_t now_us, uint64_t *not_before_us);
bool addresses_are_sane(const struct tcp_conn *c, const struct tcp_segment_in *meta);

/* time_wait.c. False: it belongs to no TIME-WAIT. */
bool arrives_time_wait(struct arrival *a);

/* ack.c: fifth, check the ACK field. False: the segment goes no further. */
bool check_ack(struct arrival *a);

#endif
