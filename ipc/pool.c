// SPDX-License-Identifier: BSD-2-Clause
#include "ipc/pool.h"

#include <assert.h>

enum { POOL_FREE = 0, POOL_OWNER = 1, POOL_LENT = 2 };

void pool_init(struct pool *pool, uint8_t *base, uint32_t buffer_octets, uint32_t count)
{
    assert(count <= POOL_BUFFERS_MAX);
    *pool = (struct pool){
        .base = base, .buffer_octets = buffer_octets, .count = count, .free_count = count, .lent_cap = count};
    for (uint32_t i = 0; i < count; i++) /* the lowest is on top */
        pool->free_stack[i] = (uint16_t)(count - 1 - i);
}

uint32_t pool_take(struct pool *pool)
{
    if (pool->free_count == 0)
        return POOL_NONE;
    uint32_t index = pool->free_stack[--pool->free_count];
    pool->holder[index] = POOL_OWNER;
    return index;
}

static void set_free(struct pool *pool, uint32_t index)
{
    pool->holder[index] = POOL_FREE;
    pool->free_stack[pool->free_count++] = (uint16_t)index;
}

void pool_put(struct pool *pool, uint32_t index)
{
    assert(index < pool->count && pool->holder[index] == POOL_OWNER);
    set_free(pool, index);
}

bool pool_lend(struct pool *pool, uint32_t index, uint32_t borrower)
{
    assert(index < pool->count && borrower < POOL_BORROWERS && pool->holder[index] == POOL_OWNER);
    if (pool->lent[borrower] >= pool->lent_cap)
        return false;
    pool->holder[index] = (uint8_t)(POOL_LENT + borrower);
    pool->lent[borrower]++;
    pool->lent_total++;
    return true;
}

static void come_home(struct pool *pool, uint32_t index, uint32_t borrower)
{
    pool->lent[borrower]--;
    pool->lent_total--;
    set_free(pool, index);
}

bool pool_is_lent(const struct pool *pool, uint32_t index, uint32_t borrower)
{
    return index < pool->count && borrower < POOL_BORROWERS && pool->holder[index] == POOL_LENT + borrower;
}

bool pool_return(struct pool *pool, uint32_t index, uint32_t borrower)
{
    if (!pool_is_lent(pool, index, borrower))
        return false;
    come_home(pool, index, borrower);
    return true;
}

uint32_t pool_reclaim(struct pool *pool, uint32_t borrower)
{
    uint32_t reclaimed = 0;
    if (borrower >= POOL_BORROWERS || pool->lent[borrower] == 0)
        return 0;
    for (uint32_t i = 0; i < pool->count; i++) {
        if (pool->holder[i] == POOL_LENT + borrower) {
            come_home(pool, i, borrower);
            reclaimed++;
        }
    }
    return reclaimed;
}
