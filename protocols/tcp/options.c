// SPDX-License-Identifier: BSD-2-Clause
/* The header of a segment and its options, in and out. Later options (SACK, timestamps) have their place in
 * option_parse() and options_write_syn(). */
#include "protocols/tcp/tcp_internal.h"

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

/* MSS, and window scale unless it is negative. Octets written: a multiple of 4. */
uint32_t options_write_syn(uint8_t *at, uint32_t mss, int32_t window_scale)
{
    at[0] = TCP_OPTION_MSS;
    at[1] = TCP_OPTION_MSS_LENGTH;
    at[2] = (uint8_t)(mss >> 8);
    at[3] = (uint8_t)mss;
    if (window_scale < 0)
        return TCP_OPTION_MSS_LENGTH;
    at[4] = TCP_OPTION_NOP;
    at[5] = TCP_OPTION_WINDOW_SCALE;
    at[6] = TCP_OPTION_WINDOW_SCALE_LENGTH;
    at[7] = (uint8_t)window_scale;
    return 8;
}
