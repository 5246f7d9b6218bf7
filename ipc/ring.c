// SPDX-License-Identifier: BSD-2-Clause
/* See ring.h. The private half is the authority for all that we wrote; from the peer's half come only its two indices
 * (each read once, checked, and the checked copy used) and the slots (copied once). */
#include "ipc/ring.h"

#include <string.h>

static uint32_t load_acquire(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

void ring_init(struct ring *ring, struct ring_half *mine, const struct ring_half *peer)
{
    *ring = (struct ring){.mine = mine, .peer = peer};
    __atomic_store_n(&mine->producer, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&mine->consumer, 0, __ATOMIC_RELAXED);
    ring_account(ring, 0, 0);
}

void ring_account(struct ring *ring, uint32_t taken, uint32_t given)
{
    __atomic_store_n(&ring->mine->taken, taken, __ATOMIC_RELAXED);
    __atomic_store_n(&ring->mine->given, given, __ATOMIC_RELAXED);
}

uint32_t ring_space(struct ring *ring, uint32_t wanted)
{
    if (ring->broken)
        return 0;
    uint32_t used = ring->head - ring->peer_consumed;
    if (RING_SLOTS - used < wanted) {
        uint32_t consumed = load_acquire(&ring->peer->consumer); /* (b) */
        /* Only what was published can have been consumed, and no more than was not yet known to be. */
        if (consumed - ring->peer_consumed > ring->published - ring->peer_consumed) {
            ring->broken = true;
            return 0;
        }
        ring->peer_consumed = consumed;
        used = ring->head - consumed;
    }
    return RING_SLOTS - used;
}

bool ring_put(struct ring *ring, const void *slots, uint32_t count)
{
    if (ring_space(ring, count) < count)
        return false;
    const uint8_t *from = slots;
    for (uint32_t i = 0; i < count; i++)
        memcpy(ring->mine->slot[(ring->head + i) % RING_SLOTS].octets, from + i * MESSAGE_SLOT_OCTETS,
               MESSAGE_SLOT_OCTETS);
    ring->head += count;
    return true;
}

uint32_t ring_available(struct ring *ring)
{
    if (ring->broken)
        return 0;
    if (ring->peer_produced == ring->tail) {
        uint32_t produced = load_acquire(&ring->peer->producer); /* (a) */
        /* No more than a ring full beyond what we gave back for reuse. */
        if (produced - ring->released > RING_SLOTS || produced - ring->released < ring->tail - ring->released) {
            ring->broken = true;
            return 0;
        }
        ring->peer_produced = produced;
    }
    return ring->peer_produced - ring->tail;
}

bool ring_take(struct ring *ring, struct message *ret)
{
    uint32_t available = ring_available(ring);
    if (available == 0)
        return false;
    struct message copy;
    memcpy(&copy, ring->peer->slot[ring->tail % RING_SLOTS].octets, MESSAGE_SLOT_OCTETS);
    uint32_t count = copy.slot_count;
    if (count == 0 || count > sizeof copy / MESSAGE_SLOT_OCTETS || count > available) {
        ring->broken = true;
        return false;
    }
    uint8_t *to = (uint8_t *)&copy;
    for (uint32_t i = 1; i < count; i++)
        memcpy(to + i * MESSAGE_SLOT_OCTETS, ring->peer->slot[(ring->tail + i) % RING_SLOTS].octets,
               MESSAGE_SLOT_OCTETS);
    memset(to + count * MESSAGE_SLOT_OCTETS, 0, sizeof copy - count * MESSAGE_SLOT_OCTETS);
    ring->tail += count;
    *ret = copy;
    return true;
}

/* Where the message that ends before slot `end` begins, told by what its first slot says of its length. */
static uint32_t message_before(const struct ring *ring, uint32_t end, uint32_t *ret_count)
{
    for (uint32_t count = sizeof(struct message) / MESSAGE_SLOT_OCTETS; count > 0; count--) {
        const uint8_t *first = ring->peer->slot[(end - count) % RING_SLOTS].octets;
        if (first[offsetof(struct message, slot_count)] == count && first[offsetof(struct message, operation)] != 0) {
            *ret_count = count;
            return end - count;
        }
    }
    *ret_count = 0;
    return end;
}

uint32_t ring_recent(const struct ring *ring, struct message *ret, uint32_t most, uint32_t *ret_fresh)
{
    uint32_t found = 0, end = ring->tail, count = 0;
    *ret_fresh = 0;
    for (; ring->peer != NULL && found < most; found++) {
        uint32_t start = message_before(ring, end, &count);
        if (count == 0)
            break;
        ret[found] = (struct message){0};
        for (uint32_t i = 0; i < count; i++)
            memcpy((uint8_t *)&ret[found] + i * MESSAGE_SLOT_OCTETS, ring->peer->slot[(start + i) % RING_SLOTS].octets,
                   MESSAGE_SLOT_OCTETS);
        *ret_fresh += ring->tail - start <= ring->tail - ring->released;
        end = start;
    }
    return found;
}

bool ring_flush(struct ring *ring)
{
    if (ring->head == ring->published)
        return false;
    ring->published = ring->head;
    __atomic_store_n(&ring->mine->producer, ring->head, __ATOMIC_RELEASE); /* (A) */
    return true;
}

bool ring_release(struct ring *ring)
{
    if (ring->tail == ring->released)
        return false;
    ring->released = ring->tail;
    __atomic_store_n(&ring->mine->consumer, ring->tail, __ATOMIC_RELEASE); /* (B) */
    return true;
}
