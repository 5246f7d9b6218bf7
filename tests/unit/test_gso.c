// SPDX-License-Identifier: BSD-2-Clause
/* Segmentation and checksums in software (netdrv/segment.c): every field of every frame, of TCP and UDP over IPv4 and
 * IPv6. The checksums are verified as a receiver would: the sum over all of it, with the pseudo-header, is zero. */
#include "netdrv/segment.h"

#include <string.h>

#include "protocols/base/checksum.h"
#include "tests/unit/suite.h"

#define TCP 6
#define UDP 17

struct packet {
    uint8_t header[200];
    uint32_t octets;
    struct netdrv_offload offload;
};

static uint8_t payload[60000], frame[2000];

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
    return get16(at) << 16 | get16(at + 2);
}

/* Headers of a super-frame; `options`: octets of IPv4 options, or of an IPv6 destination options header. */
static struct packet packet_of(unsigned family, unsigned protocol, unsigned options, unsigned size)
{
    struct packet p = {.octets = 14};
    uint8_t *ip = p.header + 14;
    put16(p.header + 12, family == 4 ? 0x0800 : 0x86dd);
    if (family == 4) {
        ip[0] = (uint8_t)(0x40 | (5 + options / 4));
        put16(ip + 2, 0xdead); /* of the super-frame: nobody looks */
        put16(ip + 4, 0xfffe); /* identification: wraps */
        ip[6] = 0x40;
        ip[8] = 64;
        ip[9] = (uint8_t)protocol;
        memset(ip + 20, 1, options);
    } else {
        ip[0] = 0x60;
        ip[6] = (uint8_t)(options > 0 ? 60 : protocol);
        ip[7] = 64;
        if (options > 0) {
            ip[40] = (uint8_t)protocol;
            ip[41] = (uint8_t)(options / 8 - 1);
        }
    }
    for (unsigned i = 0; i < (family == 4 ? 8 : 32); i++)
        ip[(family == 4 ? 12 : 8) + i] = (uint8_t)(0x31 * i + 7);
    p.octets += (family == 4 ? 20 : 40) + options;
    uint8_t *t = p.header + p.octets;
    put16(t, 8080);
    put16(t + 2, 40000);
    if (protocol == TCP) {
        put16(t + 4, 0xffff);
        put16(t + 6, 0xff00);              /* sequence: wraps */
        t[12] = 0x80;                      /* 12 octets of options */
        t[13] = 0x80 | 0x10 | 0x08 | 0x01; /* CWR ACK PSH FIN */
        for (unsigned i = 0; i < 12; i++) /* as timestamps: each segment has them as they are */
            t[20 + i] = (uint8_t)(0xa0 + i);
    }
    p.offload = (struct netdrv_offload){.gso_type = protocol == UDP ? MESSAGE_GSO_UDP
                                                    : family == 4   ? MESSAGE_GSO_TCP4
                                                                    : MESSAGE_GSO_TCP6,
                                        .gso_size = (uint16_t)size,
                                        .checksum_state = MESSAGE_CHECKSUM_PARTIAL,
                                        .checksum_start = (uint16_t)p.octets,
                                        .checksum_offset = protocol == TCP ? 16 : 6};
    p.octets += protocol == TCP ? 32 : 8;
    p.offload.header_octets = (uint8_t)p.octets;
    return p;
}

static void verify_sums(const struct packet *p, unsigned family, unsigned protocol, uint32_t octets)
{
    struct ip_address source = {.family = (uint8_t)family}, destination = {.family = (uint8_t)family};
    const uint8_t *ip = frame + 14;
    uint32_t start = p->offload.checksum_start;
    memcpy(source.octets, ip + (family == 4 ? 12 : 8), family == 4 ? 4 : 16);
    memcpy(destination.octets, ip + (family == 4 ? 16 : 24), family == 4 ? 4 : 16);
    uint64_t sum = checksum_pseudo_header(&source, &destination, (uint8_t)protocol, octets - start);
    ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(sum, frame + start, octets - start))), 0);
    if (family == 4)
        ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(0, ip, start - 14))), 0);
}

static void verify_frame(const struct packet *p, unsigned family, unsigned protocol, unsigned index, bool last,
                         uint32_t octets, uint32_t done)
{
    const uint8_t *ip = frame + 14, *t = frame + p->offload.checksum_start;
    verify_sums(p, family, protocol, octets);
    ck_assert_mem_eq(frame + p->octets, payload + done, octets - p->octets);
    if (family == 4) {
        ck_assert_uint_eq(get16(ip + 2), octets - 14);
        ck_assert_uint_eq(get16(ip + 4), (0xfffe + index) & 0xffff);
        ck_assert_uint_eq(ip[6], 0x40);
    } else {
        ck_assert_uint_eq(get16(ip + 4), octets - 54);
    }
    if (protocol == UDP) {
        ck_assert_uint_eq(get16(t + 4), octets - p->offload.checksum_start);
        return;
    }
    ck_assert_uint_eq(get32(t + 4), 0xffffff00U + done);
    ck_assert_uint_eq(t[13], 0x10U | (index == 0 ? 0x80U : 0) | (last ? 0x09U : 0));
    ck_assert_uint_eq(t[12], 0x80);
    ck_assert_mem_eq(t + 20, p->header + p->offload.checksum_start + 20, 12);
}

static void segments(unsigned family, unsigned protocol, unsigned options, unsigned size, uint32_t total)
{
    struct packet p = packet_of(family, protocol, options, size);
    struct segmenter s;
    uint32_t done = 0, octets;
    unsigned count = 0;
    ck_assert_msg(segment_offload_fits(&p.offload, p.header, p.octets, 1500), "IPv%u, %u, %u", family, protocol,
                  options);
    ck_assert(segment_begin(&s, &p.offload, p.header, p.octets, payload, total));
    for (; (octets = segment_next(&s, frame)) > 0; count++) {
        uint32_t length = octets - p.octets;
        ck_assert_uint_eq(segment_left(&s), (total - done - length + size - 1) / size);
        ck_assert_uint_eq(length, total - done < size ? total - done : size);
        verify_frame(&p, family, protocol, count, done + length == total, octets, done);
        done += length;
    }
    ck_assert_uint_eq(done, total);
    ck_assert_uint_eq(count, total == 0 ? 1 : (total + size - 1) / size);
    ck_assert_uint_eq(segment_next(&s, frame), 0);
}

START_TEST(test_segments)
{
    static const uint32_t totals[] = {0, 1, 1399, 1400, 1401, 2800, 2801, 59999};
    for (unsigned family = 4; family <= 6; family += 2) {
        for (unsigned i = 0; i < sizeof totals / sizeof totals[0]; i++) {
            segments(family, TCP, 0, 1400, totals[i]);
            segments(family, TCP, 8, 1400, totals[i]);
            segments(family, UDP, 0, 1400, totals[i]);
            segments(family, UDP, 8, 1399, totals[i]);
        }
        segments(family, TCP, 0, 8, 4000);
        segments(family, UDP, 0, 8, 4000);
    }
}
END_TEST

/* Without segmentation only the checksum is written; a UDP sum of zero becomes all ones. */
START_TEST(test_checksum_only)
{
    for (unsigned family = 4; family <= 6; family += 2) {
        struct packet p = packet_of(family, UDP, 0, 0);
        struct segmenter s;
        bool ones = false;
        p.offload.gso_type = MESSAGE_GSO_NONE;
        put16(p.header + p.offload.checksum_start + 4, 10);
        ck_assert(segment_offload_fits(&p.offload, p.header, p.octets, 1500));
        for (unsigned value = 0; value < 0x10000; value++) {
            put16(payload, value);
            ck_assert(segment_begin(&s, &p.offload, p.header, p.octets, payload, 2));
            ck_assert_uint_eq(segment_next(&s, frame), p.octets + 2);
            unsigned sum = get16(frame + p.offload.checksum_start + 6);
            ck_assert_uint_ne(sum, 0);
            ones = ones || sum == 0xffff;
            ck_assert_uint_eq(segment_next(&s, frame), 0);
        }
        ck_assert(ones);
        ck_assert_mem_eq(frame + 14, p.header + 14, 20); /* lengths and identification are ip's */
    }
}
END_TEST

/* An ICMPv6 message has one too. */
START_TEST(test_icmp6)
{
    struct packet p = packet_of(6, 58, 0, 0);
    struct segmenter s;
    p.octets = 14 + 40 + 8;
    p.offload =
        (struct netdrv_offload){.checksum_state = MESSAGE_CHECKSUM_PARTIAL, .checksum_start = 54, .checksum_offset = 2};
    ck_assert(segment_offload_fits(&p.offload, p.header, p.octets, 1500));
    ck_assert(segment_begin(&s, &p.offload, p.header, p.octets, payload, 101));
    uint32_t octets = segment_next(&s, frame);
    ck_assert_uint_eq(octets, p.octets + 101);
    verify_sums(&p, 6, 58, octets);
}
END_TEST

/* What a lying sender may say of its headers. Each row changes one thing of a good packet. */
#define REFUSED(family, protocol, ...)                                                                                 \
    do {                                                                                                               \
        struct packet p = packet_of(family, protocol, 8, 1400);                                                        \
        uint8_t *ip = p.header + 14, *t = p.header + p.offload.checksum_start;                                         \
        (void)ip, (void)t;                                                                                             \
        ck_assert(segment_offload_fits(&p.offload, p.header, p.octets, 1500));                                         \
        __VA_ARGS__;                                                                                                   \
        ck_assert_msg(!segment_offload_fits(&p.offload, p.header, p.octets, 1500), #__VA_ARGS__);                      \
    } while (0)

START_TEST(test_refused)
{
    REFUSED(4, TCP, p.offload.gso_type = MESSAGE_GSO_TCP6);
    REFUSED(4, TCP, p.offload.gso_type = MESSAGE_GSO_UDP);
    REFUSED(6, TCP, p.offload.gso_type = MESSAGE_GSO_TCP4);
    REFUSED(6, UDP, p.offload.gso_type = MESSAGE_GSO_TCP6);
    REFUSED(4, UDP, p.offload.gso_type = MESSAGE_GSO_UDP + 1);
    REFUSED(4, TCP, p.offload.gso_size = 0);
    REFUSED(4, TCP, p.offload.gso_size = 7);
    REFUSED(4, TCP, p.offload.gso_size = 1500 - 28 - 32 + 1);
    REFUSED(6, UDP, p.offload.gso_size = 1500 - 48 - 8 + 1);
    REFUSED(4, TCP, p.offload.header_octets--);
    REFUSED(4, TCP, p.octets -= 4, p.offload.header_octets -= 4);
    REFUSED(4, TCP, p.octets += 4, p.offload.header_octets += 4);
    REFUSED(4, TCP, p.offload.checksum_start += 2);
    REFUSED(4, TCP, p.offload.checksum_offset = 6);
    REFUSED(4, UDP, p.offload.checksum_offset = 16);
    REFUSED(4, TCP, p.offload.checksum_state = MESSAGE_CHECKSUM_NONE);
    REFUSED(4, TCP, p.offload.checksum_state = MESSAGE_CHECKSUM_VALID);
    REFUSED(4, TCP, p.offload.checksum_state = 200);
    REFUSED(4, TCP, p.header[12] = 0x86, p.header[13] = 0xdd);
    REFUSED(4, TCP, p.header[12] = 0x08, p.header[13] = 0x06);
    REFUSED(4, TCP, ip[0] = 0x44);
    REFUSED(4, TCP, ip[0] = 0x4f);
    REFUSED(4, TCP, ip[0] = 0x57);
    REFUSED(4, TCP, ip[6] = 0x20);
    REFUSED(4, TCP, ip[7] = 1);
    REFUSED(4, TCP, ip[9] = UDP);
    REFUSED(4, TCP, ip[9] = 1);
    REFUSED(4, TCP, t[12] = 0x40);
    REFUSED(4, TCP, t[12] = 0xf0);
    REFUSED(6, TCP, ip[0] = 0x45);
    REFUSED(6, TCP, ip[6] = 44); /* a fragment */
    REFUSED(6, TCP, ip[6] = 43); /* a routing header */
    REFUSED(6, TCP, ip[40] = 44);
    REFUSED(6, TCP, ip[40] = 58);
    REFUSED(6, TCP, ip[41] = 1);
    REFUSED(6, TCP, ip[41] = 255);
    for (uint32_t octets = 0; octets < 14 + 28 + 32; octets++)
        REFUSED(4, TCP, p.octets = octets, p.offload.header_octets = (uint8_t)octets);
    for (uint32_t octets = 0; octets < 14 + 48 + 8; octets++)
        REFUSED(6, UDP, p.octets = octets, p.offload.header_octets = (uint8_t)octets);
}
END_TEST

static void fill(void)
{
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)(i * 7 + i / 251);
}

SUITE_RUN("gso", fill, NULL, test_segments, test_checksum_only, test_icmp6, test_refused)
