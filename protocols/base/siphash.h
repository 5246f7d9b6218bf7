// SPDX-License-Identifier: BSD-2-Clause
/* SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012): for what an outsider must not
 * guess or collide: ports, initial sequence numbers, hash tables over remote addresses. */
#ifndef BULKHEAD_PROTOCOLS_BASE_SIPHASH_H
#define BULKHEAD_PROTOCOLS_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint8_t key[16], const void *bytes, size_t length);

#endif
