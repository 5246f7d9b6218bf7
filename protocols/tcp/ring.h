// SPDX-License-Identifier: BSD-2-Clause
/* Rings of octets that grow in place. Engine, tcp server and client library all find an octet of a stream with this.
 *
 * Theory of operation. The place of a ring is reserved at the largest size that it may ever have; pages that nobody has
 * touched cost nothing. The ring begins with `size` octets of it. An octet is named by its stream offset (modulo 2^32),
 * and lies at
 *
 *     position(offset) = (offset - turn) mod size         before the turn
 *                        (offset - turn) mod next_size    from the turn on
 *
 * where sizes are powers of two, next_size >= size, and `turn` is the stream offset from which the larger ring counts.
 *
 * Whoever writes the ring begins a growth: the new turn is the lowest offset that is a whole number of rings after the
 * old turn and not before any octet that is, or was promised to be, live. So (1) no octet that is live moves: it is
 * before the new turn, and (offset - new turn) mod size is (offset - old turn) mod size. (2) The octets [turn, turn +
 * size) are at the same positions under both sizes, which are those of the octets one `size` before them; the octets
 * [turn + size, turn + next_size) are at positions size.. that no octet before the turn has. So two live octets never
 * share a position if
 *
 *     at most `size` octets are live while the tail (the first live one) is before the turn,
 *     at most `next_size` once the tail is at the turn or behind it: then all live ones count by next_size alone.
 *
 * ring_room() says that. When the tail has reached the turn the growth is over (ring_settle()): size = next_size, the
 * turn stays as the ring's origin, and the next growth may begin. Who reads octets that are live gets the right
 * position from a shape that is newer than they are, because a growth begins only when the one before it is over, for
 * both sides: the beginner has seen the other's tail.
 *
 * Each turn is a multiple of the sizes before it, so of RING_STEP: a whole shape fits one word of shared memory
 * (ring_word()), and is never seen torn. No I/O, no state. */
#ifndef BULKHEAD_PROTOCOLS_TCP_RING_H
#define BULKHEAD_PROTOCOLS_TCP_RING_H

#include <stdbool.h>
#include <stdint.h>

#define RING_STEP     1024U /* the smallest ring */
#define RING_SIZE_MAX (1U << 30)

struct ring_shape {
    uint32_t size, next_size; /* powers of two from RING_STEP; equal: it does not grow now */
    uint32_t turn;
};

static inline bool ring_size_is_valid(uint32_t size)
{
    return size >= RING_STEP && size <= RING_SIZE_MAX && (size & (size - 1)) == 0;
}

static inline struct ring_shape ring_make(uint32_t size)
{
    return (struct ring_shape){.size = size, .next_size = size};
}

static inline bool ring_grows(const struct ring_shape *r)
{
    return r->next_size != r->size;
}

static inline bool ring_before_turn(const struct ring_shape *r, uint32_t offset)
{
    return ring_grows(r) && (int32_t)(offset - r->turn) < 0;
}

/* The size that counts for the octet at `offset`. */
static inline uint32_t ring_size_at(const struct ring_shape *r, uint32_t offset)
{
    return ring_before_turn(r, offset) ? r->size : r->next_size;
}

static inline uint32_t ring_position(const struct ring_shape *r, uint32_t offset)
{
    return (offset - r->turn) & (ring_size_at(r, offset) - 1);
}

/* How many octets from `offset` on lie in one piece: it ends at the end of the ring, and so at the turn. */
static inline uint32_t ring_run(const struct ring_shape *r, uint32_t offset)
{
    return ring_size_at(r, offset) - ring_position(r, offset);
}

/* How many octets may be live from `tail`, the first of them. */
static inline uint32_t ring_room(const struct ring_shape *r, uint32_t tail)
{
    return ring_size_at(r, tail);
}

/* All before `tail` is done with. True: a growth is over. */
static inline bool ring_settle(struct ring_shape *r, uint32_t tail)
{
    if (!ring_grows(r) || ring_before_turn(r, tail))
        return false;
    r->size = r->next_size;
    return true;
}

/* Begins a growth to next_size; no octet from `edge` on is live, or promised. False: one is under way, or it is none.
 */
static inline bool ring_grow(struct ring_shape *r, uint32_t next_size, uint32_t edge)
{
    if (ring_grows(r) || !ring_size_is_valid(next_size) || next_size <= r->size)
        return false;
    r->turn += (edge - r->turn + r->size - 1) & ~(r->size - 1);
    r->next_size = next_size;
    return true;
}

/* ---- one word of shared memory: turn | log2 next_size << 5 | log2 size; 0: not written yet ---- */
static inline uint32_t ring_word(const struct ring_shape *r)
{
    return r->turn | (uint32_t)__builtin_ctz(r->next_size) << 5 | (uint32_t)__builtin_ctz(r->size);
}

/* Untrusted: word (from who shares the memory). False: it is no shape of a ring that may have `most` octets. */
static inline bool ring_of_word(uint32_t word, uint32_t most, struct ring_shape *ret)
{
    struct ring_shape r = {
        .size = 1U << (word & 31), .next_size = 1U << (word >> 5 & 31), .turn = word & ~(RING_STEP - 1)};
    bool sound =
        ring_size_is_valid(r.size) && ring_size_is_valid(r.next_size) && r.size <= r.next_size && r.next_size <= most;
    if (sound)
        *ret = r;
    return sound;
}

#endif
