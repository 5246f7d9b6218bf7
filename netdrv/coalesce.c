// SPDX-License-Identifier: BSD-2-Clause
/* See coalesce.h. */
#include "netdrv/coalesce.h"

#include <stddef.h>
#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/ip4/ip4_wire.h"
#include "protocols/tcp/tcp_wire.h"

#define PROTOCOL_TCP  6
#define IP6_HEADER    40U
#define IP6_LENGTH_AT 4U
#define FLAGS_MAY     (TCP_FLAG_ACK | TCP_FLAG_PSH)
#define IP_OCTETS_MAX 65535U

static uint32_t sequence_of(const struct segment_layout *l, const uint8_t *frame)
{
    be32 sequence;
    memcpy(&sequence, frame + l->transport + offsetof(struct tcp_header, sequence), sizeof sequence);
    return be32_get(sequence);
}

static uint8_t flags_of(const struct segment_layout *l, const uint8_t *frame)
{
    return frame[l->transport + offsetof(struct tcp_header, flags)];
}

/* A length that is the frame's, a whole and unfragmentable IPv4 header, or one of IPv6. */
static bool network_fits(const struct segment_layout *l, const uint8_t *frame, uint32_t octets)
{
    const uint8_t *network = frame + l->network;
    if (l->family == ADDRESS_IP6) {
        be16 length;
        memcpy(&length, network + IP6_LENGTH_AT, sizeof length);
        return l->transport - l->network == IP6_HEADER && be16_get(length) == octets - l->transport;
    }
    struct ip4_wire w;
    memcpy(&w, network, sizeof w);
    return l->transport - l->network == sizeof w && be16_get(w.total_length) == octets - l->network &&
           (be16_get(w.fragment) & IP4_FLAG_DONT_FRAGMENT) != 0 &&
           be16_get(checksum_finish(checksum_add(0, network, sizeof w))) == 0;
}

/* A segment that may be one of several. */
static bool fits(const uint8_t *frame, uint32_t octets, struct segment_layout *ret)
{
    if (!segment_layout_read(frame, octets, ret) || ret->protocol != PROTOCOL_TCP || ret->payload >= octets ||
        !network_fits(ret, frame, octets))
        return false;
    uint8_t flags = flags_of(ret, frame);
    return (flags & ~FLAGS_MAY) == 0 && (flags & TCP_FLAG_ACK) != 0 && segment_checksum_right(ret, frame, octets);
}

/* Whether two ranges of the headers are alike. */
static bool alike(const uint8_t *a, const uint8_t *b, uint32_t from, uint32_t to)
{
    return memcmp(a + from, b + from, to - from) == 0;
}

/* Everything but lengths, sums, IPv4 identification, sequence number and PSH. */
static bool headers_alike(const struct segment_layout *l, const uint8_t *a, const uint8_t *b)
{
    uint32_t n = l->network, t = l->transport;
    bool network = l->family == ADDRESS_IP6 ? alike(a, b, 0, n + IP6_LENGTH_AT) && alike(a, b, n + IP6_LENGTH_AT + 2, t)
                                            : alike(a, b, 0, n + (uint32_t)offsetof(struct ip4_wire, total_length)) &&
                                                  alike(a, b, n + (uint32_t)offsetof(struct ip4_wire, fragment),
                                                        n + (uint32_t)offsetof(struct ip4_wire, checksum)) &&
                                                  alike(a, b, n + (uint32_t)offsetof(struct ip4_wire, source), t);
    return network && alike(a, b, t, t + (uint32_t)offsetof(struct tcp_header, sequence)) &&
           alike(a, b, t + (uint32_t)offsetof(struct tcp_header, acknowledgement),
                 t + (uint32_t)offsetof(struct tcp_header, flags)) &&
           alike(a, b, t + (uint32_t)offsetof(struct tcp_header, window),
                 t + (uint32_t)offsetof(struct tcp_header, checksum)) &&
           alike(a, b, t + (uint32_t)offsetof(struct tcp_header, urgent), l->payload);
}

bool coalesce_begin(struct coalescer *c, uint8_t *frame, uint32_t octets)
{
    struct segment_layout layout;
    if (!fits(frame, octets, &layout))
        return false;
    uint32_t length = octets - layout.payload;
    *c = (struct coalescer){.frame = frame,
                            .octets = octets,
                            .count = 1,
                            .next_sequence = sequence_of(&layout, frame) + length,
                            .size = (uint16_t)length,
                            .closed = (flags_of(&layout, frame) & TCP_FLAG_PSH) != 0,
                            .layout = layout};
    return true;
}

bool coalesce_add(struct coalescer *c, const uint8_t *frame, uint32_t octets)
{
    struct segment_layout layout;
    if (c->frame == NULL || c->closed || !fits(frame, octets, &layout))
        return false;
    uint32_t length = octets - layout.payload;
    if (memcmp(&layout, &c->layout, sizeof layout) != 0 || !headers_alike(&layout, c->frame, frame) ||
        sequence_of(&layout, frame) != c->next_sequence || length > c->size ||
        c->octets - layout.network + length > IP_OCTETS_MAX)
        return false;
    memcpy(c->frame + c->octets, frame + layout.payload, length);
    c->octets += length;
    c->count++;
    c->next_sequence += length;
    c->frame[layout.transport + offsetof(struct tcp_header, flags)] |= flags_of(&layout, frame);
    c->closed = length < c->size || (flags_of(&layout, frame) & TCP_FLAG_PSH) != 0;
    return true;
}

void coalesce_end(struct coalescer *c, uint32_t *ret_octets, struct netdrv_offload *ret_offload)
{
    *ret_octets = c->octets;
    *ret_offload = (struct netdrv_offload){.checksum_state = MESSAGE_CHECKSUM_VALID};
    if (c->count > 1) {
        ret_offload->gso_type = c->layout.family == ADDRESS_IP6 ? MESSAGE_GSO_TCP6 : MESSAGE_GSO_TCP4;
        ret_offload->gso_size = c->size;
        segment_lengths_write(&c->layout, c->frame, c->octets);
    }
    *c = (struct coalescer){.frame = NULL};
}
