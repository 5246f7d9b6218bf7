// SPDX-License-Identifier: BSD-2-Clause
/* The Internet checksum (RFC 1071). Sums are carried unfolded in 64 bits in host order of 16-bit big-endian
 * words' ones-complement arithmetic, so partial sums over even-length pieces may simply be added. */
#ifndef BULKHEAD_PROTOCOLS_BASE_CHECKSUM_H
#define BULKHEAD_PROTOCOLS_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"
#include "protocols/base/wire.h"

/* Adds `length` octets at `bytes` to `sum`. Only the last piece of a message may have an odd length. */
uint64_t checksum_add(uint64_t sum, const void *bytes, size_t length);

/* The TCP/UDP pseudo-header of either family (RFC 9293 3.1, RFC 8200 8.1). Both addresses have the same
 * family. `length` is that of the transport header plus payload. */
uint64_t checksum_pseudo_header(const struct ip_address *source, const struct ip_address *destination,
                                uint8_t protocol, uint32_t length);

/* Folds to 16 bits WITHOUT complement: what a partial-checksum offload wants in the checksum field. */
be16 checksum_fold(uint64_t sum);

/* Folds and complements: the value for a header's checksum field; 0x0000 where the sum of a message with a
 * correct checksum field is taken. */
be16 checksum_finish(uint64_t sum);

#endif
