// SPDX-License-Identifier: BSD-2-Clause
/* A wrapper around a ring port that does its messages harm: for evaluating what a fault of one server reaches. Same two
 * operations. What this side pushes is dropped, said twice, said later, said in another order or changed, by chance
 * from a seed; a stalled port neither takes nor gives. A dropped or changed message takes its loan with it: that is a
 * fault like another, and the mask of operations says which messages are touched at all. A changed one goes past the
 * checks of our own side, as a taken-over server's would: its envelope, too, is whatever it is.
 *
 * It lies directly on the ring, under any other wrapper. What it holds back belongs to one life of the channel. */
#ifndef BULKHEAD_IPC_FAULT_PORT_H
#define BULKHEAD_IPC_FAULT_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/port.h"

#define FAULT_ONE_IN    65536U /* chances are of so many */
#define FAULT_HELD_MAX  8U     /* held back at a time; more go out at once */
#define FAULT_DELAY_MAX 32U    /* pushes and pulls that a delayed message waits for, at most */

struct fault_chances { /* of FAULT_ONE_IN messages; the first that strikes is the one */
    uint32_t drop, duplicate, delay, reorder, corrupt;
    uint64_t operations; /* bit (1 << enum message_operation) for each that may be harmed; 0: all */
};

struct fault_counters {
    uint64_t passed, dropped, duplicated, delayed, reordered, corrupted, refused; /* refused: while stalled */
};

struct fault_port {
    struct fault_chances chances;
    struct fault_counters counters;
    uint64_t random;
    bool stalled;
    uint32_t held_count;
    struct {
        struct message message;
        uint32_t turns; /* pushes and pulls until it goes out */
    } held[FAULT_HELD_MAX];
    uint32_t attachments; /* of the port: the life that held[] belongs to */
};

/* Puts itself into `port`, which is the ring's own until then (port_init()). The caller keeps `fault` as long as it is
 * used. */
void fault_port_init(struct fault_port *fault, struct port *port, const struct fault_chances *chances, uint64_t seed);
void fault_port_remove(struct port *port); /* what is held back is dropped */

#endif
