// SPDX-License-Identifier: BSD-2-Clause
/* See segment.h. The fields that differ between segments: of IPv4 total length, identification and checksum (RFC 791),
 * of IPv6 the payload length (RFC 8200), of TCP sequence number, flags and checksum (RFC 9293), of UDP length and
 * checksum (RFC 768). */
#include "netdrv/segment.h"

#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/ether/ether_wire.h"
#include "protocols/ip4/ip4_wire.h"
#include "protocols/tcp/tcp_wire.h"
#include "protocols/udp/udp_wire.h"

enum { PROTOCOL_HOP_BY_HOP = 0, PROTOCOL_TCP = 6, PROTOCOL_UDP = 17, PROTOCOL_ICMP6 = 58, PROTOCOL_DESTINATION = 60 };
enum { /* the IPv6 header, RFC 8200 3 */
       IP6_HEADER = 40,
       IP6_PAYLOAD_LENGTH = 4,
       IP6_NEXT_HEADER = 6,
       IP6_SOURCE = 8,
       IP6_DESTINATION = 24,
       IP6_EXTENSIONS_MAX = 4, /* that we walk over */
};
#define ICMP6_CHECKSUM 2U
#define ICMP6_HEADER   4U
#define GSO_LEAST      8U /* payload octets of a segment: bounds the frames that one message can become */

/* ---- headers ---- */

static bool transport_read(const uint8_t *header, uint32_t octets, struct segment_layout *l)
{
    uint32_t length;
    if (octets < l->transport)
        return false;
    uint32_t left = octets - l->transport;
    switch (l->protocol) {
    case PROTOCOL_TCP:
        if (left < sizeof(struct tcp_header))
            return false;
        length = (uint32_t)(header[l->transport + offsetof(struct tcp_header, data_offset)] >> 4) * 4;
        if (length < sizeof(struct tcp_header))
            return false;
        l->checksum = offsetof(struct tcp_header, checksum);
        break;
    case PROTOCOL_UDP:
        length = sizeof(struct udp_wire);
        l->checksum = offsetof(struct udp_wire, checksum);
        break;
    case PROTOCOL_ICMP6:
        length = ICMP6_HEADER;
        l->checksum = ICMP6_CHECKSUM;
        if (l->family != ADDRESS_IP6)
            return false;
        break;
    default:
        return false;
    }
    l->payload = (uint16_t)(l->transport + length);
    return left >= length;
}

static bool ip4_read(const uint8_t *header, uint32_t octets, struct segment_layout *l)
{
    struct ip4_wire w;
    if (octets < l->network + sizeof w)
        return false;
    memcpy(&w, header + l->network, sizeof w);
    uint32_t length = (w.version_length & 15U) * 4;
    if (w.version_length >> 4 != 4 || length < sizeof w ||
        (be16_get(w.fragment) & (IP4_FLAG_MORE_FRAGMENTS | IP4_FRAGMENT_OFFSET)) != 0)
        return false;
    l->protocol = w.protocol;
    l->transport = (uint16_t)(l->network + length);
    return transport_read(header, octets, l);
}

static bool ip6_read(const uint8_t *header, uint32_t octets, struct segment_layout *l)
{
    if (octets < l->network + (uint32_t)IP6_HEADER || header[l->network] >> 4 != 6)
        return false;
    uint8_t type = header[l->network + IP6_NEXT_HEADER];
    uint32_t at = l->network + (uint32_t)IP6_HEADER;
    for (unsigned i = 0; i < IP6_EXTENSIONS_MAX && (type == PROTOCOL_HOP_BY_HOP || type == PROTOCOL_DESTINATION); i++) {
        if (octets < at + 8)
            return false;
        type = header[at];
        at += 8 + header[at + 1] * 8U;
    }
    if (at > octets)
        return false;
    l->protocol = type;
    l->transport = (uint16_t)at;
    return transport_read(header, octets, l);
}

bool segment_layout_read(const uint8_t *header, uint32_t octets, struct segment_layout *ret)
{
    struct ether_wire w;
    struct segment_layout l = {.network = sizeof w};
    if (octets < sizeof w)
        return false;
    memcpy(&w, header, sizeof w);
    bool ok = false;
    if (be16_get(w.type) == ETHER_TYPE_IP4) {
        l.family = ADDRESS_IP4;
        ok = ip4_read(header, octets, &l);
    } else if (be16_get(w.type) == ETHER_TYPE_IP6) {
        l.family = ADDRESS_IP6;
        ok = ip6_read(header, octets, &l);
    }
    if (ok)
        *ret = l;
    return ok;
}

static bool gso_fits(uint8_t type, const struct segment_layout *l)
{
    switch (type) {
    case MESSAGE_GSO_TCP4:
        return l->family == ADDRESS_IP4 && l->protocol == PROTOCOL_TCP;
    case MESSAGE_GSO_TCP6:
        return l->family == ADDRESS_IP6 && l->protocol == PROTOCOL_TCP;
    case MESSAGE_GSO_UDP:
        return l->protocol == PROTOCOL_UDP;
    default:
        return false;
    }
}

bool segment_offload_fits(const struct netdrv_offload *offload, const uint8_t *header, uint32_t octets, uint32_t mtu)
{
    struct segment_layout l;
    if (offload->checksum_state == MESSAGE_CHECKSUM_NONE)
        return offload->gso_type == MESSAGE_GSO_NONE;
    if (offload->checksum_state != MESSAGE_CHECKSUM_PARTIAL || !segment_layout_read(header, octets, &l) ||
        offload->checksum_start != l.transport || offload->checksum_offset != l.checksum)
        return false;
    if (offload->gso_type == MESSAGE_GSO_NONE)
        return true;
    return gso_fits(offload->gso_type, &l) && offload->header_octets == octets && l.payload == octets &&
           offload->gso_size >= GSO_LEAST && octets - l.network + offload->gso_size <= mtu;
}

/* ---- frames ---- */

bool segment_begin(struct segmenter *s, const struct netdrv_offload *offload, const uint8_t *header,
                   uint32_t header_octets, const uint8_t *payload, uint32_t payload_octets)
{
    *s = (struct segmenter){.header = header,
                            .header_octets = header_octets,
                            .payload = payload,
                            .payload_octets = payload_octets,
                            .size = offload->gso_type != MESSAGE_GSO_NONE ? offload->gso_size : 0};
    return segment_layout_read(header, header_octets, &s->layout);
}

void segment_lengths_write(const struct segment_layout *l, uint8_t *frame, uint32_t octets)
{
    uint8_t *network = frame + l->network;
    if (l->protocol == PROTOCOL_UDP) {
        be16 length = be16_make((uint16_t)(octets - l->transport));
        memcpy(frame + l->transport + offsetof(struct udp_wire, length), &length, sizeof length);
    }
    if (l->family == ADDRESS_IP6) {
        be16 length = be16_make((uint16_t)(octets - l->network - IP6_HEADER));
        memcpy(network + IP6_PAYLOAD_LENGTH, &length, sizeof length);
        return;
    }
    struct ip4_wire w;
    memcpy(&w, network, sizeof w);
    w.total_length = be16_make((uint16_t)(octets - l->network));
    w.checksum = be16_make(0);
    memcpy(network, &w, sizeof w);
    w.checksum = checksum_finish(checksum_add(0, network, (size_t)(l->transport - l->network)));
    memcpy(network + offsetof(struct ip4_wire, checksum), &w.checksum, sizeof w.checksum);
}

static void identification_write(const struct segmenter *s, uint8_t *frame)
{
    uint8_t *at = frame + s->layout.network + offsetof(struct ip4_wire, identification);
    be16 identification;
    if (s->layout.family != ADDRESS_IP4)
        return;
    memcpy(&identification, at, sizeof identification);
    identification = be16_make((uint16_t)(be16_get(identification) + s->count));
    memcpy(at, &identification, sizeof identification);
}

static void tcp_write(const struct segmenter *s, uint8_t *frame, bool last)
{
    struct tcp_header t;
    memcpy(&t, frame + s->layout.transport, sizeof t);
    t.sequence = be32_make(be32_get(t.sequence) + s->done);
    if (!last)
        t.flags &= (uint8_t) ~(TCP_FLAG_FIN | TCP_FLAG_PSH);
    if (s->count > 0) /* RFC 3168 6.1.2: the first one tells */
        t.flags &= (uint8_t)~TCP_FLAG_CWR;
    memcpy(frame + s->layout.transport, &t, sizeof t);
}

static uint64_t pseudo_header(const struct segment_layout *l, const uint8_t *frame, uint32_t octets)
{
    struct ip_address source = {.family = l->family}, destination = {.family = l->family};
    bool six = l->family == ADDRESS_IP6;
    const uint8_t *network = frame + l->network;
    size_t length = six ? 16 : 4;
    memcpy(source.octets, network + (six ? (size_t)IP6_SOURCE : offsetof(struct ip4_wire, source)), length);
    memcpy(destination.octets, network + (six ? (size_t)IP6_DESTINATION : offsetof(struct ip4_wire, destination)),
           length);
    return checksum_pseudo_header(&source, &destination, l->protocol, octets - l->transport);
}

static void checksum_write(const struct segment_layout *l, uint8_t *frame, uint32_t octets)
{
    be16 sum = be16_make(0);
    uint8_t *field = frame + l->transport + l->checksum;
    memcpy(field, &sum, sizeof sum);
    sum = checksum_finish(
        checksum_add(pseudo_header(l, frame, octets), frame + l->transport, (size_t)(octets - l->transport)));
    if (l->protocol == PROTOCOL_UDP && be16_get(sum) == 0) /* RFC 768: a zero sum is sent as all ones */
        sum = be16_make(0xffff);
    memcpy(field, &sum, sizeof sum);
}

bool segment_checksum_right(const struct segment_layout *l, const uint8_t *frame, uint32_t octets)
{
    uint64_t sum = checksum_add(pseudo_header(l, frame, octets), frame + l->transport, (size_t)(octets - l->transport));
    return be16_get(checksum_finish(sum)) == 0;
}

uint32_t segment_left(const struct segmenter *s)
{
    uint32_t left = s->payload_octets - s->done;
    if (left == 0 || s->size == 0)
        return s->started ? 0 : 1;
    return (left + s->size - 1) / s->size;
}

uint32_t segment_next(struct segmenter *s, uint8_t *frame)
{
    uint32_t left = s->payload_octets - s->done;
    if (s->started && left == 0)
        return 0;
    uint32_t length = s->size == 0 || left < s->size ? left : s->size;
    uint32_t octets = s->header_octets + length;
    memcpy(frame, s->header, s->header_octets);
    if (length > 0)
        memcpy(frame + s->header_octets, s->payload + s->done, length);
    if (s->size > 0) {
        identification_write(s, frame);
        segment_lengths_write(&s->layout, frame, octets);
        if (s->layout.protocol == PROTOCOL_TCP)
            tcp_write(s, frame, length == left);
    }
    checksum_write(&s->layout, frame, octets);
    s->started = true;
    s->done += length;
    s->count++;
    return octets;
}
