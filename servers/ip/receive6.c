// SPDX-License-Identifier: BSD-2-Clause
/* IPv6 from nic: extension headers are read on the private copy of the packet's beginning; a reassembled packet's are
 * read again, behind the first fragment's unfragmentable part (RFC 8200 4.5). */
#include "servers/ip/ip.h"

#include <string.h>

#include "protocols/icmp/icmp6_wire.h"
#include "protocols/ip6/ip6_wire.h"

#define IP6_OCTETS_MAX (IP6_HEADER_LENGTH + UINT16_MAX)

static void problem(struct ip *ip, uint64_t now_us, const struct ip6_problem *p, const struct ip6_header *ip6,
                    bool group, const uint8_t *packet, uint32_t captured)
{
    if (p->called_for)
        ip_error6(ip, now_us, ICMP6_TYPE_PARAMETER_PROBLEM, p->code, p->pointer, ip6, group, packet, captured);
}

static uint8_t traffic_class_of(const struct ip6_header *ip6)
{
    return (uint8_t)(ip6->dscp << 2 | ip6->ecn);
}

/* ---- fragments ---- */

static void fragment6(struct ip *ip, uint64_t now_us, const struct ip_frame *frame, const struct ip6_header *ip6)
{
    const struct ip6_fragment *f = &ip6->fragment;
    struct reassembly_fragment in = {
        .source = ip6->source,
        .destination = ip6->destination,
        .identification = f->identification,
        .offset = f->offset,
        .length = IP6_HEADER_LENGTH + (uint32_t)ip6->payload_length - f->data_offset,
        .header_octets = f->unfragmentable_length - IP6_HEADER_LENGTH,
        .more = f->more,
        .protocol = f->next_header,
        .ttl = ip6->hop_limit,
        .traffic_class = traffic_class_of(ip6),
    };
    ip_fragment(ip, now_us, &in, frame->base + ETHER_HEADER_LENGTH + f->data_offset, frame->head + ETHER_HEADER_LENGTH,
                frame->captured - ETHER_HEADER_LENGTH);
}

/* The beginning of the packet as it would have been unfragmented; its octets, 0: the first fragment is no such any
 * more. */
static uint32_t rebuild(struct ip *ip, const struct reassembly_output *whole, const uint8_t *payload,
                        uint8_t ret[IP6_CAPTURE_MAX], uint32_t *ret_unfragmentable)
{
    struct ip6_header first;
    struct ip6_problem ignored;
    struct ip6_counters uncounted = {0}; /* it was counted when it came */
    if (ip6_parse(&uncounted, &ip->ip6_config, false, whole->packet, whole->packet_octets, IP6_OCTETS_MAX, &first,
                  &ignored) != IP6_OK ||
        !first.is_fragment)
        return 0;
    uint32_t before = first.fragment.unfragmentable_length;
    uint32_t rest = whole->length < IP6_CAPTURE_MAX - before ? whole->length : IP6_CAPTURE_MAX - before;
    be16 length = be16_make((uint16_t)(before - IP6_HEADER_LENGTH + whole->length));
    memcpy(ret, whole->packet, before);
    memcpy(ret + offsetof(struct ip6_wire, payload_length), &length, sizeof length);
    ret[first.fragment.next_header_at] = first.fragment.next_header;
    memcpy(ret + before, payload, rest);
    *ret_unfragmentable = before;
    return before + rest;
}

void ip_reassembled6(struct ip *ip, uint64_t now_us, const struct reassembly_output *whole)
{
    struct ip_datagram d = ip_reassembled(ip, whole, 0);
    struct ip6_header ip6;
    struct ip6_problem p;
    uint8_t packet[IP6_CAPTURE_MAX];
    uint32_t before = 0, captured = rebuild(ip, whole, d.payload, packet, &before);
    enum ip6_result result = IP6_DROP_fragment_chain;
    if (captured > 0)
        result =
            ip6_parse(&ip->ip6_counters, &ip->ip6_config, false, packet, captured, before + whole->length, &ip6, &p);
    if (result == IP6_OK && !ip6.is_fragment && ip6.transport_offset >= before) {
        d = ip_reassembled(ip, whole, ip6.transport_offset - before);
        d.protocol = ip6.protocol;
        d.group = ip6.multicast;
        ip6.fragment_header = true; /* RFC 6980 */
        d.ip6 = ip6;
        d.packet = packet;
        d.packet_captured = captured;
        if (ip_deliver(ip, now_us, &d))
            return;
    } else if (captured > 0 && result != IP6_OK) {
        problem(ip, now_us, &p, &ip6, false, packet, captured);
    } else {
        ip6_count(&ip->ip6_counters, IP6_DROP_fragment);
    }
    ip_loan_done(ip, &d.loan);
}

/* ---- packets ---- */

static struct ip_datagram datagram6(const struct ip_frame *frame, const struct ip6_header *ip6)
{
    const struct message_reference *r = &frame->message->reference[0];
    uint32_t offset = ETHER_HEADER_LENGTH + ip6->transport_offset, length = ip6_transport_length(ip6);
    uint32_t captured = frame->captured > offset ? frame->captured - offset : 0;
    return (struct ip_datagram){
        .source = ip6->source,
        .destination = ip6->destination,
        .protocol = ip6->protocol,
        .ttl = ip6->hop_limit,
        .traffic_class = traffic_class_of(ip6),
        .group = frame->group || ip6->multicast,
        .station = frame->station,
        .loan = {.origin = SERVER_NIC, .cookie = (uint32_t)frame->message->cookie},
        .reference = {.pool = r->pool, .generation = r->generation, .offset = r->offset + offset, .length = length},
        .payload = frame->base + offset,
        .head = frame->head + offset,
        .captured = captured < length ? captured : length,
        .packet = frame->head + ETHER_HEADER_LENGTH,
        .packet_captured = frame->captured - ETHER_HEADER_LENGTH,
        .message = frame->message,
        .ip6 = *ip6,
    };
}

/* The commonest packets have no extension headers, and of these a transport's header is enough. */
static void capture(struct ip_frame *frame)
{
    uint32_t at = ETHER_HEADER_LENGTH + (uint32_t)offsetof(struct ip6_wire, next_header);
    uint8_t next = frame->captured > at ? frame->head[at] : 0;
    if (next != IP_PROTOCOL_TCP && next != IP_PROTOCOL_UDP)
        ip_capture(frame, IP_HEAD_MAX);
}
_Static_assert(IP_HEAD_FIRST >= ETHER_HEADER_LENGTH + IP6_HEADER_LENGTH + IP_TRANSPORT_HEADER_MIN,
               "ports are captured");

bool ip_receive6(struct ip *ip, uint64_t now_us, struct ip_frame *frame)
{
    struct ip6_header ip6;
    struct ip6_problem p;
    capture(frame);
    const uint8_t *packet = frame->head + ETHER_HEADER_LENGTH;
    uint32_t captured = frame->captured - ETHER_HEADER_LENGTH;
    if (ip6_parse(&ip->ip6_counters, &ip->ip6_config, false, packet, captured, frame->length - ETHER_HEADER_LENGTH,
                  &ip6, &p) != IP6_OK) {
        if (p.called_for)
            ip_capture(frame, IP_HEAD_QUOTED);
        problem(ip, now_us, &p, &ip6, frame->group, packet, frame->captured - ETHER_HEADER_LENGTH);
        return false;
    }
    /* as with IPv4: a unicast packet in a group's frame is somebody's trick */
    if ((frame->group && !ip6.multicast) || (ip6.multicast && !ip6.is_fragment && ip6.protocol == IP_PROTOCOL_TCP)) {
        ip->counters.drop_group++;
        return false;
    }
    if (ip6.is_fragment) {
        fragment6(ip, now_us, frame, &ip6);
        return false;
    }
    if (ip6.protocol != IP_PROTOCOL_TCP && ip6.protocol != IP_PROTOCOL_UDP && ip6.protocol != IP_PROTOCOL_ICMP6)
        ip_capture(frame, IP_HEAD_QUOTED);
    struct ip_datagram d = datagram6(frame, &ip6);
    return ip_deliver(ip, now_us, &d);
}
