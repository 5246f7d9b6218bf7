// SPDX-License-Identifier: BSD-2-Clause
/* One-way rings of 64-octet slots, two to a channel. A channel has two halves, one segment each: a half is written by
 * one side only and holds the slots and producer index of the ring that this side fills, and the consumer index of
 * the ring that the other side fills. Indices are free-running; capacity is a private constant of each side, never read
 * from shared memory. Messages become visible at ring_flush(), slots are given back at ring_release().
 *
 * Barriers: (A) producer's release store of `producer` pairs with (a) the consumer's acquire load: slots before index.
 *           (B) consumer's release store of `consumer` pairs with (b) the producer's acquire load: reads before reuse.
 */
#ifndef BULKHEAD_IPC_RING_H
#define BULKHEAD_IPC_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/message.h"

#define RING_SLOTS 512U /* power of two */

/* What the end of a channel accuses the other of, as ChannelBroken says it, where the books are evidence. */
#define ACCUSED_SILENT    "says nothing"
#define ACCUSED_KEEPS     "does not give back what it was lent"
#define ACCUSED_RING      "impossible ring index"
#define ACCUSED_NAMES     "goes on naming what it may not"
#define ACCUSED_KEEPS_ONE "does not give back one of its loans"
#define ACCUSED_SENSE     "says what makes no sense"

struct ring_slot {
    _Alignas(64) uint8_t octets[MESSAGE_SLOT_OCTETS];
};

struct ring_half { /* one segment; every word in it has one writer */
    _Alignas(64) uint32_t producer;
    _Alignas(64) uint32_t consumer;
    uint32_t taken, given; /* this side's books, for a judge: loans that came over this channel, and that went back */
    struct ring_slot slot[RING_SLOTS];
};

struct ring { /* private: one side's view of a channel */
    struct ring_half *mine;
    const struct ring_half *peer;
    uint32_t head;          /* slots filled, not all published */
    uint32_t published;     /* what `mine->producer` says */
    uint32_t peer_consumed; /* last known */
    uint32_t tail;          /* slots taken */
    uint32_t released;      /* what `mine->consumer` says */
    uint32_t peer_produced; /* last known */
    bool broken;            /* the peer's indices were impossible: nothing is read or written any more */
};

void ring_init(struct ring *ring, struct ring_half *mine, const struct ring_half *peer);
/* This side's books. */
void ring_account(struct ring *ring, uint32_t taken, uint32_t given);
/* Free slots; re-reads the peer's index only when the cached one says fewer than `wanted`. */
uint32_t ring_space(struct ring *ring, uint32_t wanted);
/* Copies `count` (1..3) slots in; false: no space (nothing changed). */
bool ring_put(struct ring *ring, const void *slots, uint32_t count);
/* Slots that can be taken. */
uint32_t ring_available(struct ring *ring);
/* Untrusted: everything in the peer's half. Copies the next message, once, to *ret (all of it zeroed beyond its slots);
 * false: none, or broken (an impossible index or slot count). */
bool ring_take(struct ring *ring, struct message *ret);
/* For a crash report: up to `most` of the messages taken last, the latest first; returns how many. *ret_fresh of them
 * were not released yet; the peer may have overwritten the others, so they are a guess. */
uint32_t ring_recent(const struct ring *ring, struct message *ret, uint32_t most, uint32_t *ret_fresh);
/* Publish. True if anything was new to the peer. */
bool ring_flush(struct ring *ring);
bool ring_release(struct ring *ring);

#endif
