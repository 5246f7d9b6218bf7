// SPDX-License-Identifier: BSD-2-Clause
/* Any damage to a store: opening and reading it ends, stays inside, and never yields a block that fails its checksum.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/store.h"

#define BLOCKS 8
#define OCTETS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _Alignas(64) static uint8_t memory[64 + 2 * BLOCKS * 128];
    uint8_t current[BLOCKS], block[OCTETS];
    struct store store;
    memset(memory, 0, sizeof memory);
    if (store_octets(OCTETS, BLOCKS) != sizeof memory || store_open(&store, memory, 1, OCTETS, BLOCKS, current) != 0)
        abort();
    for (size_t at = 0; at + 4 <= size; at += 4) {
        const uint8_t *d = data + at;
        memset(block, d[2], sizeof block);
        switch (d[0] % 6) {
        case 0:
            store_put(&store, d[1] % BLOCKS, block);
            break;
        case 1:
            store_erase(&store, d[1] % BLOCKS);
            break;
        case 2:
            store_commit(&store);
            break;
        case 3:
            memory[(d[1] * 256u + d[2]) % sizeof memory] ^= d[3];
            break;
        case 4:
            if (store_open(&store, memory, 1, OCTETS, BLOCKS, current) != 0)
                return 0;
            break;
        default:
            if (store_read(&store, d[1] % BLOCKS, block) == STORE_BLOCK_GOOD)
                for (unsigned i = 1; i < OCTETS; i++)
                    if (block[i] != block[0])
                        abort();
        }
    }
    return 0;
}
