// SPDX-License-Identifier: BSD-2-Clause
#include "servers/cli/pcapng.h"

#include <string.h>

#define BLOCK_SECTION    0x0a0d0d0aU
#define BLOCK_INTERFACE  1U
#define BLOCK_STATISTICS 5U
#define BLOCK_PACKET     6U
#define BYTE_ORDER_MAGIC 0x1a2b3c4dU

enum { OPTION_END = 0, IF_NAME = 2, IF_TSRESOL = 9, EPB_FLAGS = 2, ISB_IFRECV = 4, ISB_IFDROP = 5, SHB_USERAPPL = 4 };

static bool put(FILE *file, const void *octets, size_t length)
{
    static const uint8_t zero[4];
    size_t padding = (4 - length % 4) % 4;
    return fwrite(octets, 1, length, file) == length && fwrite(zero, 1, padding, file) == padding;
}

static uint32_t padded(size_t length)
{
    return (uint32_t)((length + 3) & ~(size_t)3);
}

static bool option(FILE *file, uint16_t code, const void *octets, size_t length)
{
    uint16_t head[2] = {code, (uint16_t)length};
    return put(file, head, sizeof head) && put(file, octets, length);
}

static bool options_end(FILE *file, uint32_t total)
{
    uint16_t end[2] = {OPTION_END, 0};
    return put(file, end, sizeof end) && put(file, &total, sizeof total);
}

static uint32_t option_octets(size_t length)
{
    return 4 + padded(length);
}

static bool section(FILE *file)
{
    static const char program[] = "bulkhead capture";
    const struct {
        uint32_t type, total, magic;
        uint16_t major, minor;
        int64_t length;
    } head = {BLOCK_SECTION, 24 + option_octets(strlen(program)) + 8, BYTE_ORDER_MAGIC, 1, 0, -1};
    return put(file, &head, sizeof head) && option(file, SHB_USERAPPL, program, strlen(program)) &&
           options_end(file, head.total);
}

bool pcapng_begin(FILE *file, const char *interface, uint16_t link_type, uint32_t snap)
{
    static const uint8_t nanoseconds = 9;
    const struct {
        uint32_t type, total;
        uint16_t link, reserved;
        uint32_t snap;
    } head = {BLOCK_INTERFACE, 16 + option_octets(strlen(interface)) + option_octets(1) + 8, link_type, 0, snap};
    return section(file) && put(file, &head, sizeof head) && option(file, IF_NAME, interface, strlen(interface)) &&
           option(file, IF_TSRESOL, &nanoseconds, 1) && options_end(file, head.total);
}

bool pcapng_packet(FILE *file, const struct pcapng_packet *packet)
{
    uint32_t flags = packet->direction;
    uint32_t total = 28 + padded(packet->captured) + option_octets(sizeof flags) + 8;
    const uint32_t head[] = {
        BLOCK_PACKET,     total,           0, (uint32_t)(packet->time_ns >> 32), (uint32_t)packet->time_ns,
        packet->captured, packet->original};
    return put(file, head, sizeof head) && put(file, packet->octets, packet->captured) &&
           option(file, EPB_FLAGS, &flags, sizeof flags) && options_end(file, total);
}

bool pcapng_end(FILE *file, uint64_t time_ns, uint64_t received, uint64_t lost)
{
    uint32_t total = 20 + 2 * option_octets(sizeof received) + 8;
    const uint32_t head[] = {BLOCK_STATISTICS, total, 0, (uint32_t)(time_ns >> 32), (uint32_t)time_ns};
    return put(file, head, sizeof head) && option(file, ISB_IFRECV, &received, sizeof received) &&
           option(file, ISB_IFDROP, &lost, sizeof lost) && options_end(file, total) && fflush(file) == 0;
}
