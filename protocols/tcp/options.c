// SPDX-License-Identifier: BSD-2-Clause
/* The header of a segment and its options, in and out. */
#include "protocols/tcp/tcp_internal.h"

static uint32_t read32(const uint8_t *at)
{
    be32 wire;
    memcpy(&wire, at, sizeof wire);
    return be32_get(wire);
}

static void write32(uint8_t *at, uint32_t value)
{
    be32 wire = be32_make(value);
    memcpy(at, &wire, sizeof wire);
}

/* Untrusted: option (wire). RFC 2018 3: a block is two sequence numbers, at least one is there. Of several options the last
 * counts. */
static bool sack_parse(const uint8_t *option, uint32_t length, struct segment *ret)
{
    uint32_t octets = length - TCP_OPTION_SACK_LENGTH, count = octets / SACK_BLOCK_OCTETS;
    if (count == 0 || count > TCP_SACK_BLOCKS_MAX || octets % SACK_BLOCK_OCTETS != 0)
        return false;
    ret->sack_count = (uint8_t)count;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *block = option + TCP_OPTION_SACK_LENGTH + (size_t)i * SACK_BLOCK_OCTETS;
        ret->sack[i] = (struct tcp_range){read32(block), read32(block + 4)};
    }
    return true;
}

/* Untrusted: option (wire), `length` octets of it, kind and length included. */
static bool option_parse(const uint8_t *option, uint32_t length, struct segment *ret)
{
    switch (option[0]) {
    case TCP_OPTION_MSS:
        if (length != TCP_OPTION_MSS_LENGTH)
            return false;
        ret->mss = (uint32_t)option[2] << 8 | option[3];
        return true;
    case TCP_OPTION_WINDOW_SCALE:
        if (length != TCP_OPTION_WINDOW_SCALE_LENGTH)
            return false;
        /* RFC 7323 2.3: MUST use 14 in place of a larger shift */
        ret->window_scale = option[2] > TCP_WINDOW_SCALE_MAX ? TCP_WINDOW_SCALE_MAX : option[2];
        return true;
    case TCP_OPTION_TIMESTAMPS:
        if (length != TCP_OPTION_TIMESTAMPS_LENGTH)
            return false;
        ret->timestamps = true;
        ret->tsval = read32(option + 2);
        ret->tsecr = read32(option + 6);
        return true;
    case TCP_OPTION_SACK_PERMITTED:
        if (length != TCP_OPTION_SACK_PERMITTED_LENGTH)
            return false;
        ret->sack_permitted = (ret->flags & TCP_FLAG_SYN) != 0; /* RFC 2018 2: MUST NOT be sent on non-SYN segments */
        return true;
    case TCP_OPTION_SACK:
        return sack_parse(option, length, ret);
    default:
        return true; /* RFC 9293 3.2: MUST ignore an option that it does not implement */
    }
}

/* Untrusted: options (wire). RFC 9293 3.2: MUST be prepared to handle an illegal option length. */
static bool options_parse(const uint8_t *options, uint32_t length, struct segment *ret)
{
    for (uint32_t at = 0; at < length;) {
        if (options[at] == TCP_OPTION_END)
            return true;
        if (options[at] == TCP_OPTION_NOP) {
            at++;
            continue;
        }
        if (length - at < 2)
            return false;
        uint32_t octets = options[at + 1];
        if (octets < 2 || octets > length - at || !option_parse(options + at, octets, ret))
            return false;
        at += octets;
    }
    return true;
}

/* Untrusted: header (wire), of which `header_length` octets are there. */
enum segment_result segment_parse(const uint8_t *header, uint32_t header_length, uint32_t segment_length,
                                  struct segment *ret)
{
    struct tcp_header h;
    if (header_length < sizeof h || header_length > segment_length)
        return SEGMENT_BAD_HEADER;
    memcpy(&h, header, sizeof h);
    uint32_t offset = (uint32_t)(h.data_offset >> 4) * 4;
    if (offset < sizeof h || offset > header_length)
        return SEGMENT_BAD_HEADER;
    struct segment s = {
        .seq = be32_get(h.sequence),
        .ack = be32_get(h.acknowledgement),
        .payload_length = segment_length - offset,
        .window = be16_get(h.window),
        .window_scale = -1,
        .flags = h.flags,
    };
    s.text = s.seq + ((h.flags & TCP_FLAG_SYN) ? 1 : 0);
    if (offset > sizeof h && !options_parse(header + sizeof h, offset - (uint32_t)sizeof h, &s))
        return SEGMENT_BAD_OPTIONS;
    *ret = s;
    return SEGMENT_OK;
}

/* Padded in front: the four-octet fields are aligned (RFC 7323 appendix A). */
uint32_t options_write_timestamps(uint8_t *at, uint32_t tsval, uint32_t tsecr)
{
    at[0] = TCP_OPTION_NOP;
    at[1] = TCP_OPTION_NOP;
    at[2] = TCP_OPTION_TIMESTAMPS;
    at[3] = TCP_OPTION_TIMESTAMPS_LENGTH;
    write32(at + 4, tsval);
    write32(at + 8, tsecr);
    return TIMESTAMPS_OCTETS;
}

/* RFC 2018 3. Padded in front likewise. */
uint32_t options_write_sack(uint8_t *at, const struct tcp_range *block, uint32_t count)
{
    at[0] = TCP_OPTION_NOP;
    at[1] = TCP_OPTION_NOP;
    at[2] = TCP_OPTION_SACK;
    at[3] = (uint8_t)(TCP_OPTION_SACK_LENGTH + count * SACK_BLOCK_OCTETS);
    for (uint32_t i = 0; i < count; i++) {
        write32(at + SACK_OCTETS + (size_t)i * SACK_BLOCK_OCTETS, block[i].start);
        write32(at + SACK_OCTETS + (size_t)i * SACK_BLOCK_OCTETS + 4, block[i].end);
    }
    return SACK_OCTETS + count * SACK_BLOCK_OCTETS;
}

static uint32_t write_sack_permitted(uint8_t *at)
{
    at[0] = TCP_OPTION_SACK_PERMITTED;
    at[1] = TCP_OPTION_SACK_PERMITTED_LENGTH;
    return TCP_OPTION_SACK_PERMITTED_LENGTH;
}

/* In the order of Linux: MSS, SACK-permitted (in place of the padding of what follows), timestamps, window scale. */
uint32_t options_write_syn(uint8_t *at, const struct syn_options *o)
{
    uint32_t n = TCP_OPTION_MSS_LENGTH;
    at[0] = TCP_OPTION_MSS;
    at[1] = TCP_OPTION_MSS_LENGTH;
    at[2] = (uint8_t)(o->mss >> 8);
    at[3] = (uint8_t)o->mss;
    if (o->sack_permitted && !o->timestamps) {
        at[n++] = TCP_OPTION_NOP;
        at[n++] = TCP_OPTION_NOP;
        n += write_sack_permitted(at + n);
    }
    if (o->timestamps) {
        uint8_t *padding = at + n;
        n += options_write_timestamps(at + n, o->tsval, o->tsecr);
        if (o->sack_permitted)
            (void)write_sack_permitted(padding);
    }
    if (o->window_scale >= 0) {
        at[n++] = TCP_OPTION_NOP;
        at[n++] = TCP_OPTION_WINDOW_SCALE;
        at[n++] = TCP_OPTION_WINDOW_SCALE_LENGTH;
        at[n++] = (uint8_t)o->window_scale;
    }
    return n;
}
