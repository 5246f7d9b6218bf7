// SPDX-License-Identifier: BSD-2-Clause
/* See frame_ring.h. From the peer's half come its two indices and the lengths (each read once, checked, and the checked
 * copy used) and the frames (copied once). */
#include "ipc/frame_ring.h"

#include <string.h>

static uint32_t load_acquire(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

void frame_ring_init(struct frame_ring *ring, struct frame_half *mine, const struct frame_half *peer)
{
    uint32_t head = load_acquire(&mine->producer), tail = load_acquire(&mine->consumer);
    *ring = (struct frame_ring){.mine = mine,
                                .peer = peer,
                                .head = head,
                                .published = head,
                                .peer_consumed = load_acquire(&peer->consumer),
                                .tail = tail,
                                .released = tail,
                                .peer_produced = tail};
    ring->broken = head - ring->peer_consumed > FRAME_RING_SLOTS;
}

static bool has_room(struct frame_ring *ring)
{
    if (ring->head - ring->peer_consumed < FRAME_RING_SLOTS)
        return true;
    uint32_t consumed = load_acquire(&ring->peer->consumer); /* (b) */
    /* Only what was published can have been consumed, and no more than was not yet known to be. */
    if (consumed - ring->peer_consumed > ring->published - ring->peer_consumed) {
        ring->broken = true;
        return false;
    }
    ring->peer_consumed = consumed;
    return ring->head - consumed < FRAME_RING_SLOTS;
}

bool frame_ring_put(struct frame_ring *ring, const struct iovec *part, unsigned count)
{
    size_t octets = 0;
    for (unsigned i = 0; i < count; i++)
        octets += part[i].iov_len;
    if (ring->broken || octets < FRAME_OCTETS_LEAST || octets > FRAME_OCTETS_MAX || !has_room(ring))
        return false;
    struct frame_slot *slot = &ring->mine->slot[ring->head % FRAME_RING_SLOTS];
    uint8_t *to = slot->frame;
    for (unsigned i = 0; i < count; to += part[i++].iov_len)
        memcpy(to, part[i].iov_base, part[i].iov_len);
    slot->octets = (uint32_t)octets;
    ring->head++;
    return true;
}

uint32_t frame_ring_available(struct frame_ring *ring)
{
    if (ring->broken)
        return 0;
    if (ring->peer_produced == ring->tail) {
        uint32_t produced = load_acquire(&ring->peer->producer); /* (a) */
        /* No more than a ring full beyond what we gave back for reuse. */
        if (produced - ring->released > FRAME_RING_SLOTS || produced - ring->released < ring->tail - ring->released) {
            ring->broken = true;
            return 0;
        }
        ring->peer_produced = produced;
    }
    return ring->peer_produced - ring->tail;
}

uint32_t frame_ring_take(struct frame_ring *ring, uint8_t *buffer)
{
    if (frame_ring_available(ring) == 0)
        return 0;
    const struct frame_slot *slot = &ring->peer->slot[ring->tail % FRAME_RING_SLOTS];
    uint32_t octets = __atomic_load_n(&slot->octets, __ATOMIC_RELAXED);
    if (octets < FRAME_OCTETS_LEAST || octets > FRAME_OCTETS_MAX) {
        ring->broken = true;
        return 0;
    }
    memcpy(buffer, slot->frame, octets);
    ring->tail++;
    return octets;
}

bool frame_ring_flush(struct frame_ring *ring)
{
    bool news = ring->head != ring->published;
    if (ring->tail != ring->released) {
        ring->released = ring->tail;
        __atomic_store_n(&ring->mine->consumer, ring->tail, __ATOMIC_RELEASE); /* (B) */
    }
    if (news) {
        ring->published = ring->head;
        __atomic_store_n(&ring->mine->producer, ring->head, __ATOMIC_RELEASE); /* (A) */
    }
    return news;
}
