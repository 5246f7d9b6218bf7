// SPDX-License-Identifier: BSD-2-Clause
/* Coalescing on receipt (netdrv/coalesce.c): what segmentation took apart comes together again, and nothing else does.
 */
#include "netdrv/coalesce.h"

#include <string.h>

#include "protocols/base/checksum.h"
#include "tests/unit/suite.h"

#define SIZE  1000U
#define TOTAL 60000U

static uint8_t payload[TOTAL], train[NETDRV_FRAME_MAX];
static struct frame {
    uint8_t bytes[1600];
    uint32_t octets;
} frames[TOTAL / SIZE + 1];
static uint32_t header_octets;

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* `total` octets of one flow as frames, the last with PSH; how many. */
static uint32_t flow(unsigned family, uint32_t total)
{
    uint8_t header[100] = {0}, *ip = header + 14, *tcp = ip + (family == 4 ? 20 : 40);
    struct segmenter s;
    uint32_t count = 0;
    for (uint32_t i = 0; i < TOTAL; i++)
        payload[i] = (uint8_t)(i * 7 + i / 255);
    put16(header + 12, family == 4 ? 0x0800 : 0x86dd);
    ip[0] = family == 4 ? 0x45 : 0x60;
    ip[family == 4 ? 9 : 6] = 6;
    ip[family == 4 ? 6 : 7] = 0x40;
    ip[family == 4 ? 8 : 1] = 0x40; /* TTL; something of class and flow */
    memset(ip + (family == 4 ? 12 : 8), 0x21, family == 4 ? 8 : 32);
    put16(tcp, 8080);
    put16(tcp + 2, 40000);
    tcp[4] = tcp[5] = tcp[6] = 0xff; /* the sequence number wraps */
    tcp[12] = 0x80;
    tcp[13] = 0x18;
    memset(tcp + 20, 1, 12);
    header_octets = (uint32_t)(tcp + 32 - header);
    struct netdrv_offload o = {.gso_type = family == 4 ? MESSAGE_GSO_TCP4 : MESSAGE_GSO_TCP6,
                               .gso_size = SIZE,
                               .checksum_state = MESSAGE_CHECKSUM_PARTIAL};
    ck_assert(segment_begin(&s, &o, header, header_octets, payload, total));
    while ((frames[count].octets = segment_next(&s, frames[count].bytes)) > 0)
        count++;
    return count;
}

/* After a change: its sums are right again. */
static void resum(struct frame *f)
{
    struct segment_layout l;
    struct segmenter s;
    struct netdrv_offload o = {.checksum_state = MESSAGE_CHECKSUM_PARTIAL};
    uint8_t copy[1600];
    if (!segment_layout_read(f->bytes, f->octets, &l))
        return;
    segment_lengths_write(&l, f->bytes, f->octets);
    ck_assert(segment_begin(&s, &o, f->bytes, f->octets, NULL, 0));
    ck_assert_uint_eq(segment_next(&s, copy), f->octets);
    memcpy(f->bytes, copy, f->octets);
}

static bool begin(struct coalescer *c, const struct frame *f)
{
    *c = (struct coalescer){.frame = NULL};
    memcpy(train, f->bytes, f->octets);
    return coalesce_begin(c, train, f->octets);
}

START_TEST(test_together)
{
    static const uint32_t totals[] = {1, SIZE, SIZE + 1, 2 * SIZE, 17 * SIZE + 5, TOTAL};
    struct coalescer c;
    struct segment_layout l;
    struct netdrv_offload o;
    uint32_t octets;
    for (unsigned family = 4; family <= 6; family += 2) {
        for (unsigned i = 0; i < sizeof totals / sizeof totals[0]; i++) {
            uint32_t count = flow(family, totals[i]);
            ck_assert(begin(&c, &frames[0]));
            for (uint32_t f = 1; f < count; f++)
                ck_assert_msg(coalesce_add(&c, frames[f].bytes, frames[f].octets), "IPv%u, %u of %u", family, f, count);
            ck_assert(!coalesce_add(&c, frames[0].bytes, frames[0].octets)); /* PSH ended it */
            coalesce_end(&c, &octets, &o);
            ck_assert_ptr_null(c.frame);
            ck_assert_uint_eq(octets, header_octets + totals[i]);
            ck_assert_mem_eq(train + header_octets, payload, totals[i]);
            ck_assert_int_eq(o.checksum_state, MESSAGE_CHECKSUM_VALID);
            ck_assert_int_eq(o.gso_type, count == 1    ? MESSAGE_GSO_NONE
                                         : family == 4 ? MESSAGE_GSO_TCP4
                                                       : MESSAGE_GSO_TCP6);
            ck_assert_uint_eq(o.gso_size, count == 1 ? 0 : SIZE);
            ck_assert(segment_layout_read(train, octets, &l));
            const uint8_t *length = train + (family == 4 ? 16 : 18);
            ck_assert_uint_eq((unsigned)length[0] << 8 | length[1], octets - (family == 4 ? 14 : 54));
            if (family == 4)
                ck_assert_uint_eq(be16_get(checksum_finish(checksum_add(0, train + 14, 20))), 0);
            ck_assert_uint_eq(train[l.transport + 13], 0x18);
        }
    }
}
END_TEST

/* One thing about the second frame is another: it does not join. `sums`: they are made right for it. */
#define APART(family, sums, ...)                                                                                       \
    do {                                                                                                               \
        struct coalescer c;                                                                                            \
        ck_assert_uint_eq(flow(family, 3 * SIZE), 3);                                                                  \
        struct frame *f = &frames[1];                                                                                  \
        uint8_t *ip = f->bytes + 14, *tcp = ip + (family == 4 ? 20 : 40);                                              \
        (void)ip, (void)tcp;                                                                                           \
        __VA_ARGS__;                                                                                                   \
        if (sums)                                                                                                      \
            resum(f);                                                                                                  \
        ck_assert(begin(&c, &frames[0]));                                                                              \
        ck_assert_msg(!coalesce_add(&c, f->bytes, f->octets), #__VA_ARGS__);                                           \
        ck_assert_uint_eq(c.octets, frames[0].octets);                                                                 \
    } while (0)

START_TEST(test_apart)
{
    APART(4, true, f->bytes[0] ^= 2); /* hardware addresses */
    APART(4, true, f->bytes[7] ^= 2);
    APART(4, true, ip[1] ^= 1);   /* ECN */
    APART(4, true, ip[8]--);      /* TTL */
    APART(4, true, ip[6] = 0);    /* may be fragmented */
    APART(4, true, ip[6] = 0x60); /* is a fragment */
    APART(4, true, ip[15] ^= 1);  /* addresses */
    APART(4, true, ip[19] ^= 1);
    APART(6, true, ip[3] ^= 1); /* flow label */
    APART(6, true, ip[7]--);
    APART(6, true, ip[23] ^= 1);
    APART(6, true, ip[39] ^= 1);
    for (unsigned family = 4; family <= 6; family += 2) {
        APART(family, true, tcp[1] ^= 1); /* ports */
        APART(family, true, tcp[3] ^= 1);
        APART(family, true, tcp[7]++);       /* sequence */
        APART(family, true, tcp[11]++);      /* acknowledgement */
        APART(family, true, tcp[15]++);      /* window */
        APART(family, true, tcp[19]++);      /* urgent */
        APART(family, true, tcp[25] = 0);    /* an option */
        APART(family, true, tcp[12] = 0x70); /* their length */
        for (unsigned flag = 1; flag < 256; flag <<= 1) {
            if (flag != 8)
                APART(family, true, tcp[13] ^= (uint8_t)flag);
        }
        APART(family, true, *f = frames[2]);                   /* one is missing */
        APART(family, true, f->octets = header_octets);        /* no payload */
        APART(family, false, f->bytes[f->octets - 1] ^= 0x10); /* damaged */
        APART(family, false, tcp[16] ^= 0x10);
        APART(family, false, f->octets++); /* padded */
        APART(family, false, f->octets = 20);
    }
    APART(4, false, ip[10] ^= 1); /* the header is damaged */
}
END_TEST

/* What may not even be first: not verified, not told as verified. */
START_TEST(test_not_first)
{
    struct coalescer c;
    for (unsigned family = 4; family <= 6; family += 2) {
        flow(family, SIZE);
        ck_assert(begin(&c, &frames[0]));
        frames[0].bytes[header_octets] ^= 1;
        ck_assert(!begin(&c, &frames[0]) && c.frame == NULL);
    }
}
END_TEST

/* A shorter one ends the train, a longer one does not join, and no train is longer than an IP packet. */
START_TEST(test_ends)
{
    struct coalescer c;
    flow(4, 3 * SIZE);
    frames[1].octets -= 10;
    resum(&frames[1]);
    ck_assert(begin(&c, &frames[0]));
    ck_assert(coalesce_add(&c, frames[1].bytes, frames[1].octets));
    ck_assert(c.closed);
    ck_assert(!coalesce_add(&c, frames[2].bytes, frames[2].octets));
    flow(4, 3 * SIZE);
    frames[1].octets += 10;
    resum(&frames[1]);
    ck_assert(begin(&c, &frames[0]));
    ck_assert(!coalesce_add(&c, frames[1].bytes, frames[1].octets));
    flow(4, 2 * SIZE);
    frames[0].bytes[34 + 13] = frames[1].bytes[34 + 13] = 0x10;
    resum(&frames[0]);
    ck_assert(begin(&c, &frames[0]));
    uint32_t added = 0;
    for (;; added++) {
        put16(frames[1].bytes + 38, c.next_sequence >> 16);
        put16(frames[1].bytes + 40, c.next_sequence & 0xffff);
        resum(&frames[1]);
        if (!coalesce_add(&c, frames[1].bytes, frames[1].octets))
            break;
    }
    ck_assert_uint_eq(added, (65535 - 52) / SIZE - 1);
    ck_assert_uint_le(c.octets, NETDRV_FRAME_MAX);
}
END_TEST

SUITE_RUN("coalesce", NULL, NULL, test_together, test_apart, test_not_first, test_ends)
