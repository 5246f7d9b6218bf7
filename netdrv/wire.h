// SPDX-License-Identifier: BSD-2-Clause
/* The wire between two stacks, one side's private state: see wire.c. */
#ifndef BULKHEAD_NETDRV_WIRE_H
#define BULKHEAD_NETDRV_WIRE_H

#include "ipc/doorbell.h"
#include "ipc/frame_ring.h"
#include "netdrv/impair.h"

#define WIRE_QUEUE_OCTETS ((size_t)IMPAIR_QUEUE_MAX * FRAME_OCTETS_MAX)

struct wire_grant {          /* what a wire is, beside the doorbell that its owner waits on */
    struct frame_half *mine; /* NULL: no link just now */
    const struct frame_half *peer;
    int bell;       /* write end of the peer's doorbell, non-blocking */
    uint8_t *queue; /* WIRE_QUEUE_OCTETS of private memory for frames under way; NULL: nothing is impaired */
    struct impair_config impair;
};

struct wire {
    struct frame_ring ring;
    struct doorbell bell;
    bool linked;
    bool asleep; /* our sleep word is odd */
    uint8_t *queue;
    uint16_t queued_octets[IMPAIR_QUEUE_MAX];
    struct impair impair;
    struct impair_entry under_way[IMPAIR_QUEUE_MAX];
    uint64_t late; /* frames whose time came when there was no room, or no link */
};

#endif
