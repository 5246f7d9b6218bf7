// SPDX-License-Identifier: BSD-2-Clause
/* What crosses the rings between nic, ip and the transports, and the device, counted for conservation.c. */
#ifndef BULKHEAD_SERVERS_SUPERVISOR_TRAFFIC_H
#define BULKHEAD_SERVERS_SUPERVISOR_TRAFFIC_H

#include <stdbool.h>
#include <stdint.h>

#include "servers/supervisor/conservation.h"

struct supervisor;

enum traffic_ring {
    TRAFFIC_UP,
    TRAFFIC_DOWN,
    TRAFFIC_FROM_TCP,
    TRAFFIC_FROM_UDP,
    TRAFFIC_TO_TCP,
    TRAFFIC_TO_UDP,
    TRAFFIC_RINGS
};

struct traffic {
    struct conservation conservation;
    uint32_t said[TRAFFIC_RINGS], taken[TRAFFIC_RINGS]; /* up to where they were heard */
    uint32_t used;                                      /* mask of own addresses: something came for them once */
    int counters, query;                                /* descriptors, for the device; 0: not yet, -1: not to be had */
    uint64_t read, written;                             /* of the device, at the last look */
    uint64_t looked_us;                                 /* 0: not yet */
    bool device_begun;
};

void traffic_tick(struct supervisor *s, uint64_t now); /* every TICK_US */

#endif
