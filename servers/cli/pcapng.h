// SPDX-License-Identifier: BSD-2-Clause
/* A pcapng file (draft-ietf-opsawg-pcapng) of one interface: section header, interface description, enhanced packet and
 * interface statistics blocks, in this machine's byte order. libpcap writes only the older format, which has neither
 * directions nor counts of what was lost. */
#ifndef BULKHEAD_SERVERS_CLI_PCAPNG_H
#define BULKHEAD_SERVERS_CLI_PCAPNG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum pcapng_direction { PCAPNG_UNKNOWN = 0, PCAPNG_INBOUND = 1, PCAPNG_OUTBOUND = 2 }; /* bits of epb_flags */

struct pcapng_packet {
    uint64_t time_ns; /* since 1970 */
    uint32_t captured, original;
    enum pcapng_direction direction;
    const uint8_t *octets;
};

/* All return false when the file does not take it. */
bool pcapng_begin(FILE *file, const char *interface, uint16_t link_type, uint32_t snap);
bool pcapng_packet(FILE *file, const struct pcapng_packet *packet);
bool pcapng_end(FILE *file, uint64_t time_ns, uint64_t received, uint64_t lost);

#endif
