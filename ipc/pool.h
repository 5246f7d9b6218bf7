// SPDX-License-Identifier: BSD-2-Clause
/* Packet buffers in one segment, owned (written) by one server, lent to others by reference. LIFO, so that the working
 * set stays in cache. The account of who holds what is private: a borrower can return only what it was lent, once. */
#ifndef BULKHEAD_IPC_POOL_H
#define BULKHEAD_IPC_POOL_H

#include <stdbool.h>
#include <stdint.h>

#define POOL_NONE        UINT32_MAX
#define POOL_BUFFERS_MAX 1024
#define POOL_BORROWERS   8 /* small ids chosen by the owner: the server ids */

struct pool {
    uint8_t *base;
    uint32_t buffer_octets;
    uint32_t count;
    uint32_t free_count;
    uint32_t lent_cap;                 /* most that one borrower may hold */
    uint32_t lent[POOL_BORROWERS];
    uint32_t lent_total;
    uint16_t free_stack[POOL_BUFFERS_MAX];
    uint8_t holder[POOL_BUFFERS_MAX];  /* POOL_FREE, POOL_OWNER or borrower id + POOL_LENT */
};

void pool_init(struct pool *pool, uint8_t *base, uint32_t buffer_octets, uint32_t count);
/* A free buffer, now the owner's; POOL_NONE if there is none. */
uint32_t pool_take(struct pool *pool);
/* The owner puts back one of its own. */
void pool_put(struct pool *pool, uint32_t index);
/* Owner -> borrower. False: the borrower holds its share already. */
bool pool_lend(struct pool *pool, uint32_t index, uint32_t borrower);
/* Untrusted: index. The borrower gives it back: it is free again. False: not lent to it (count it). */
bool pool_return(struct pool *pool, uint32_t index, uint32_t borrower);
bool pool_is_lent(const struct pool *pool, uint32_t index, uint32_t borrower);
/* After the barrier: everything that a dead borrower held is free. Returns how many. */
uint32_t pool_reclaim(struct pool *pool, uint32_t borrower);

static inline uint8_t *pool_buffer(const struct pool *pool, uint32_t index)
{
    return pool->base + (uint64_t)index * pool->buffer_octets;
}
static inline uint32_t pool_offset(const struct pool *pool, uint32_t index)
{
    return index * pool->buffer_octets;
}
static inline bool pool_all_home(const struct pool *pool)
{
    return pool->free_count == pool->count;
}

#endif
