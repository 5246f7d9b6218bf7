// SPDX-License-Identifier: BSD-2-Clause
/* Integers in wire order. Each is a one-member struct, so that a forgotten swap does not compile. All of
 * them have alignment 1: a header struct made of them may lie at any offset of a private copy. */
#ifndef BULKHEAD_PROTOCOLS_BASE_WIRE_H
#define BULKHEAD_PROTOCOLS_BASE_WIRE_H

#include <stdint.h>

struct be16 {
    uint8_t octet[2];
};
struct be32 {
    uint8_t octet[4];
};
typedef struct be16 be16;
typedef struct be32 be32;

static inline uint16_t be16_get(be16 v)
{
    return (uint16_t)(((unsigned)v.octet[0] << 8) | v.octet[1]);
}

static inline be16 be16_make(uint16_t v)
{
    return (be16){{(uint8_t)(v >> 8), (uint8_t)v}};
}

static inline uint32_t be32_get(be32 v)
{
    return ((uint32_t)v.octet[0] << 24) | ((uint32_t)v.octet[1] << 16) |
           ((uint32_t)v.octet[2] << 8) | v.octet[3];
}

static inline be32 be32_make(uint32_t v)
{
    return (be32){{(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}};
}

#endif
