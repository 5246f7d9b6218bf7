// SPDX-License-Identifier: BSD-2-Clause
/* The Internet checksum. The long part is added in the machine's own octet order in two vectors of
 * 64-bit lanes, low and high halves of each word apart, so that no carry is lost (2^32 words would
 * be needed to overflow a lane); RFC 1071 2(B) allows it: the sum of swapped words is the swapped
 * sum. */
#include "protocols/base/checksum.h"

#include <stdbool.h>
#include <string.h>

typedef uint64_t lanes __attribute__((vector_size(16)));

#define HOST_IS_LITTLE (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

static uint32_t fold16(uint64_t sum)
{
    sum = (sum & 0xffffffffU) + (sum >> 32);
    sum = (sum & 0xffffffffU) + (sum >> 32);
    sum = (sum & 0xffffU) + (sum >> 16);
    sum = (sum & 0xffffU) + (sum >> 16);
    return (uint32_t)((sum & 0xffffU) + (sum >> 16));
}

static lanes load(const uint8_t *p)
{
    lanes x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* Whole blocks of 64 octets, in host order. */
static uint64_t sum_blocks(const uint8_t *p, size_t blocks)
{
    lanes low = {0}, high = {0}, low2 = {0}, high2 = {0};
    for (size_t i = 0; i < blocks; i++, p += 64) {
        lanes a = load(p), b = load(p + 16), c = load(p + 32), d = load(p + 48);
        low += (a & 0xffffffffU) + (c & 0xffffffffU);
        high += (a >> 32) + (c >> 32);
        low2 += (b & 0xffffffffU) + (d & 0xffffffffU);
        high2 += (b >> 32) + (d >> 32);
    }
    low += low2 + high + high2;
    return low[0] + low[1];
}

/* What is left, fewer than 64 octets; an odd last octet counts as followed by a zero. */
static uint64_t sum_rest(const uint8_t *p, size_t length)
{
    uint64_t sum = 0;
    for (; length >= 4; length -= 4, p += 4) {
        uint32_t word;
        memcpy(&word, p, sizeof word);
        sum += word;
    }
    if (length >= 2) {
        uint16_t word;
        memcpy(&word, p, sizeof word);
        sum += word;
        length -= 2;
        p += 2;
    }
    if (length == 1)
        sum += HOST_IS_LITTLE ? p[0] : (uint64_t)p[0] << 8;
    return sum;
}

uint64_t checksum_add(uint64_t sum, const void *bytes, size_t length)
{
    const uint8_t *p = bytes;
    size_t blocks = length / 64;
    uint32_t part = fold16(sum_blocks(p, blocks) + sum_rest(p + blocks * 64, length % 64));
    if (HOST_IS_LITTLE)
        part = ((part & 0xffU) << 8) | (part >> 8);
    return sum + part;
}

uint64_t checksum_pseudo_header(const struct ip_address *source, const struct ip_address *destination, uint8_t protocol,
                                uint32_t length)
{
    size_t octets = source->family == ADDRESS_IP6 ? 16 : 4;
    uint64_t sum = checksum_add(0, source->octets, octets);
    sum = checksum_add(sum, destination->octets, octets);
    return sum + protocol + (length >> 16) + (length & 0xffffU);
}

be16 checksum_fold(uint64_t sum)
{
    return be16_make((uint16_t)fold16(sum));
}

be16 checksum_finish(uint64_t sum)
{
    return be16_make((uint16_t)~fold16(sum));
}
