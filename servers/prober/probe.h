// SPDX-License-Identifier: BSD-2-Clause
/* One probe of the stack from its outside, by what every application has: libbulkhead. */
#ifndef BULKHEAD_SERVERS_PROBER_PROBE_H
#define BULKHEAD_SERVERS_PROBER_PROBE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "servers/prober/report.h"

struct prober {
    int listener;    /* kept for life; -1: to be made */
    int datagram[2]; /* connected to each other, likewise */
    int family;
    struct sockaddr_in6 at;      /* the listener's name, of that family */
    uint32_t sequence, unserved; /* requests in a row */
    uint64_t late_us;
};

uint64_t probe_now_us(void);
void prober_init(struct prober *p, int family);
/* Takes two seconds at most, and the socket server's patience (half a second) for each request that it does not answer.
 */
void probe(struct prober *p, struct probe_report *ret);

#endif
