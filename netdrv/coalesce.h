// SPDX-License-Identifier: BSD-2-Clause
/* Coalescing on receipt (GRO), for devices that do not: TCP segments of one flow that came one behind the other become
 * a super-frame, with the offload fields that a device would have given. Checksums are verified on the way. Pure code
 * on the receiver's own memory; nothing is held back: who reads a burst begins, adds, and ends within it.
 *
 * Frames are put together only if nothing but sequence number, PSH and (with DF) the IPv4 identification differs, all
 * but the last have the same payload, and none carries a flag but ACK and PSH, an IP option or an extension header: to
 * the receiver it is as if they had come one by one. */
#ifndef BULKHEAD_NETDRV_COALESCE_H
#define BULKHEAD_NETDRV_COALESCE_H

#include "netdrv/segment.h"

struct coalescer {  /* all zero: empty */
    uint8_t *frame; /* the caller's, of NETDRV_FRAME_MAX octets; NULL: empty */
    uint32_t octets, count;
    uint32_t next_sequence;
    uint16_t size; /* payload octets of the first */
    bool closed;   /* nothing can follow: PSH, a short one, no room for another */
    struct segment_layout layout;
};

/* Untrusted: frame (wire; a private copy). True: others may follow it; it is held in place until coalesce_end(). */
bool coalesce_begin(struct coalescer *coalescer, uint8_t *frame, uint32_t octets);
/* Untrusted: frame (wire; a private copy). True: it is in, copied, and no longer needed. */
bool coalesce_add(struct coalescer *coalescer, const uint8_t *frame, uint32_t octets);
/* What has become of the frame that it began with: its length, its offload fields. The coalescer is empty then. */
void coalesce_end(struct coalescer *coalescer, uint32_t *ret_octets, struct netdrv_offload *ret_offload);

#endif
