// SPDX-License-Identifier: BSD-2-Clause
/* One-way rings of whole frames between two stacks on one machine (netdrv/wire.c). A link has two halves, one segment
 * each, written by one stack only: the slots and producer index of the ring that it fills, the consumer index of the
 * ring that the other fills, and its sleep word (doorbell.h). Indices run freely; the capacity is a private constant of
 * each side. Frames become visible at frame_ring_flush().
 *
 * The indices outlive their writer: a new incarnation of the same side goes on from the words in its own half. A frame
 * that was being written is not published, one that was taken and not given back is taken twice.
 *
 * Barriers: (A) producer's release store of `producer` pairs with (a) the consumer's acquire load: frames before index.
 *           (B) consumer's release store of `consumer` pairs with (b) the producer's acquire load: reads before reuse.
 */
#ifndef BULKHEAD_IPC_FRAME_RING_H
#define BULKHEAD_IPC_FRAME_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define FRAME_RING_SLOTS   512U /* power of two */
#define FRAME_OCTETS_LEAST 14U
#define FRAME_OCTETS_MAX   2044U

struct frame_slot {
    _Alignas(64) uint32_t octets;
    uint8_t frame[FRAME_OCTETS_MAX];
};
_Static_assert(sizeof(struct frame_slot) == 2048, "layout");

struct frame_half { /* one segment; every word in it has one writer */
    _Alignas(64) uint32_t producer;
    _Alignas(64) uint32_t consumer;
    _Alignas(64) uint32_t sleep; /* odd: its nic sleeps on its doorbell */
    struct frame_slot slot[FRAME_RING_SLOTS];
};
_Static_assert(offsetof(struct frame_half, slot) == 192, "layout");

struct frame_ring { /* private: one side's view of the link */
    struct frame_half *mine;
    const struct frame_half *peer;
    uint32_t head;          /* frames filled, not all published */
    uint32_t published;     /* what `mine->producer` says */
    uint32_t peer_consumed; /* last known */
    uint32_t tail;          /* frames taken */
    uint32_t released;      /* what `mine->consumer` says */
    uint32_t peer_produced; /* last known */
    bool broken;            /* the peer's indices or a length were impossible: nothing is read or written any more */
};

/* Untrusted: peer. Goes on from the indices in `mine`, which an earlier incarnation may have written. */
void frame_ring_init(struct frame_ring *ring, struct frame_half *mine, const struct frame_half *peer);
/* Copies a frame gathered from parts in. False: no room, broken, or no frame (too short, too long): nothing changed. */
bool frame_ring_put(struct frame_ring *ring, const struct iovec *part, unsigned count);
/* Frames that can be taken. */
uint32_t frame_ring_available(struct frame_ring *ring);
/* Untrusted: everything in the peer's half. Copies the next frame, once, to `buffer` (FRAME_OCTETS_MAX octets). Its
 * length; 0: none, or broken. */
uint32_t frame_ring_take(struct frame_ring *ring, uint8_t *buffer);
/* Publishes both indices. True: something is new to the peer. */
bool frame_ring_flush(struct frame_ring *ring);

#endif
