// SPDX-License-Identifier: BSD-2-Clause
/* A store: blocks of one size in a segment that outlives its domain (DESIGN rule 4). Each block has two copies. A burst's
 * changes go to the spare copies, each with a checksum and the burst's number; one store-wide word, released last, commits
 * them all. Recovery takes of each block the newest copy whose number is at most that word and erases the newer ones.
 * Nothing spans blocks.
 *
 * Barrier (D): release store of `committed`, after all copies of the burst; pairs with (d): the acquire load in store_open(). */
#ifndef BULKHEAD_IPC_STORE_H
#define BULKHEAD_IPC_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_KINDS_MAX 4U

struct store {
    uint8_t *memory;
    uint32_t block_octets;
    uint32_t block_count;
    uint32_t kinds;
    uint64_t burst;      /* number of the burst being gathered */
    bool dirty;          /* something was put since the last commit */
    bool off;            /* measurements only: nothing is put from now on */
    uint8_t *current;    /* for each block: 0, 1, or 2 for "none"; caller's memory, block_count octets */
};

enum store_block {
    STORE_BLOCK_EMPTY = 0,
    STORE_BLOCK_GOOD = 1,
    STORE_BLOCK_CORRUPT = 2, /* the newest committed copy fails its checksum */
};

/* Octets of segment for `count` blocks of `block_octets` (a multiple of 8). */
size_t store_octets(uint32_t block_octets, uint32_t count);
/* Opens a fresh (all zero) store or one left by an earlier incarnation. 0, or -EINVAL: written by another layout
 * (`version`, sizes). `current` has block_count octets. */
int store_open(struct store *store, void *memory, uint32_t version, uint32_t block_octets, uint32_t block_count,
               uint8_t *current) __attribute__((warn_unused_result));
/* The same of blocks of several kinds, block i of kind i % kinds: each lies apart, so that an incarnation touches no more of it
 * than was used of it. block_count is a multiple of 64 times `kinds`. */
int store_open_kinds(struct store *store, void *memory, uint32_t version, uint32_t block_octets, uint32_t block_count,
                     uint32_t kinds, uint8_t *current) __attribute__((warn_unused_result));
/* Of that kind (the only one: 0), blocks that were ever written come before its block number this: i / kinds. */
uint32_t store_used(const struct store *store, uint32_t kind);
/* The committed state of a block, copied to `ret` (block_octets) if good. */
enum store_block store_read(const struct store *store, uint32_t index, void *ret);
/* Within a burst: the new state of a block, or its end. Later puts of the same burst replace earlier ones. */
void store_put(struct store *store, uint32_t index, const void *block);
/* The same of a block of which all behind the first `octets` is zero. */
void store_put_part(struct store *store, uint32_t index, const void *block, uint32_t octets);
/* The same without a copy of it: the caller writes the block, which has its first `octets` and is zero behind them, to where
 * store_begin() says, and ends that before anything else is done with the store. NULL: the store is off, and there is no end. */
void *store_begin(struct store *store, uint32_t index) __attribute__((warn_unused_result));
void store_end(struct store *store, uint32_t index, uint32_t octets);
void store_erase(struct store *store, uint32_t index);
/* Makes the whole burst the state of the store. Nothing of the burst may be let out before. */
void store_commit(struct store *store);

/* ---- a look from outside, at a copy of a store: nothing of it is believed ---- */
#define STORE_HEADER UINT32_MAX
/* Octets of the part that was ever written, from the first 64 of `octets`; 64 if there is nothing, or only nonsense. */
size_t store_extent(const void *header, size_t octets);
/* Of a copy of that part: CORRUPT and which block in *ret_block (STORE_HEADER: not even that); EMPTY: nothing was ever
 * written; or GOOD. *ret_good counts the blocks that are there. */
enum store_block store_verify(const void *copy, size_t octets, uint32_t *ret_block, uint32_t *ret_good);
/* Where in it an octet of a committed block is, which by `random` (0: the first). False: there is none. */
bool store_payload(const void *copy, size_t octets, uint64_t random, size_t *ret_at);

#endif
