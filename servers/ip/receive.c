// SPDX-License-Identifier: BSD-2-Clause
/* From nic to the transports: headers are copied once, checked, and the payload named where it
 * lies. IPv6 is receive6.c's. */
#include "servers/ip/ip.h"

#include <string.h>

#include "protocols/ether/ether_wire.h"
#include "protocols/icmp/icmp6_wire.h"
#include "protocols/icmp/icmp_wire.h"
#include "servers/work.h"

/* ---- to a transport ---- */

/* nic speaks of the frame, the transport of its segment; a partial checksum counts only if it is
 * the transport's own. */
static void offload_up(const struct message *m, const struct ip_datagram *d, struct message *up)
{
    bool six = d->source.family == ADDRESS_IP6;
    uint32_t start = d->reference.offset - m->reference[0].offset;
    if (m->checksum_state == MESSAGE_CHECKSUM_VALID)
        up->checksum_state = MESSAGE_CHECKSUM_VALID;
    if (m->checksum_state == MESSAGE_CHECKSUM_PARTIAL && m->checksum_start == start) {
        up->checksum_state = MESSAGE_CHECKSUM_PARTIAL;
        up->checksum_offset = m->checksum_offset;
    }
    if ((m->gso_type == (six ? MESSAGE_GSO_TCP6 : MESSAGE_GSO_TCP4) && d->protocol == IP_PROTOCOL_TCP) ||
        (m->gso_type == MESSAGE_GSO_UDP && d->protocol == IP_PROTOCOL_UDP)) {
        up->gso_type = m->gso_type;
        up->gso_size = m->gso_size;
    }
}

static struct message up_of(const struct ip_datagram *d)
{
    uint32_t own = d->loan.origin == IP_ORIGIN_SLOT ? MESSAGE_COOKIE_OWN + IP_BUFFERS : 0;
    struct message up = {
        .operation = MESSAGE_RECEIVE,
        .capability = CAPABILITY_INDEX_PEER,
        .generation = 1,
        .cookie = own + d->loan.cookie,
        .reference = {d->reference},
        .source = d->source,
        .destination = d->destination,
        .source_port = ip_port_at(d->head, 0),
        .destination_port = ip_port_at(d->head, 2),
        .protocol = d->protocol,
        .ttl = d->ttl,
        .traffic_class = d->traffic_class,
    };
    if (d->message != NULL)
        offload_up(d->message, d, &up);
    return up;
}

/* True: the loan is taken care of. */
static bool to_transport(struct ip *ip, uint64_t now_us, const struct ip_datagram *d, enum server_id to)
{
    if (d->reference.length < IP_TRANSPORT_HEADER_MIN || d->captured < IP_TRANSPORT_HEADER_MIN) {
        if (d->source.family == ADDRESS_IP6)
            ip6_count(&ip->ip6_counters, IP6_DROP_short);
        else
            ip4_count(&ip->ip4_counters, IP4_DROP_short);
        return false;
    }
    struct message up = up_of(d);
    return ip_hand_up(ip, now_us, to, &d->loan, &up);
}

/* RFC 1122 3.2.2.1: SHOULD send "protocol unreachable"; RFC 8200 4: a parameter problem. */
static void no_protocol(struct ip *ip, uint64_t now_us, const struct ip_datagram *d)
{
    if (d->source.family == ADDRESS_IP6) {
        ip6_count(&ip->ip6_counters, IP6_DROP_protocol);
        ip_error6(ip, now_us, ICMP6_TYPE_PARAMETER_PROBLEM, ICMP6_CODE_NEXT_HEADER, d->ip6.protocol_at, &d->ip6,
                  d->group, d->packet, d->packet_captured);
        return;
    }
    ip4_count(&ip->ip4_counters, IP4_DROP_protocol);
    ip_error4(ip, now_us, ICMP_TYPE_UNREACHABLE, ICMP_CODE_PROTOCOL_UNREACHABLE, 0, &d->ip4, d->group, d->packet,
              d->packet_captured);
}

bool ip_deliver(struct ip *ip, uint64_t now_us, const struct ip_datagram *d)
{
    enum server_id to;
    if (ip_transport_port(ip, d->protocol, &to) != NULL)
        return to_transport(ip, now_us, d, to);
    if (d->source.family == ADDRESS_IP4 && d->protocol == IP_PROTOCOL_ICMP)
        return ip_receive_icmp(ip, now_us, d);
    if (d->source.family == ADDRESS_IP6 && d->protocol == IP_PROTOCOL_ICMP6)
        return ip_receive_icmp6(ip, now_us, d, &d->station);
    no_protocol(ip, now_us, d);
    return false;
}

/* ---- IPv4 ---- */

static void fragment4(struct ip *ip, uint64_t now_us, const struct ip_frame *frame, const struct ip4_header *ip4)
{
    uint32_t offset = ETHER_HEADER_LENGTH + ip4->header_length;
    struct reassembly_fragment f = {
        .source = ip4->source,
        .destination = ip4->destination,
        .identification = ip4->identification,
        .offset = ip4->fragment_offset,
        .length = (uint32_t)ip4->total_length - ip4->header_length,
        .header_octets = ip4->header_length,
        .more = ip4->more_fragments,
        .protocol = ip4->protocol,
        .ttl = ip4->ttl,
        .traffic_class = (uint8_t)(ip4->dscp << 2 | ip4->ecn),
    };
    ip_fragment(ip, now_us, &f, frame->base + offset, frame->head + ETHER_HEADER_LENGTH,
                frame->captured - ETHER_HEADER_LENGTH);
}

static struct ip_datagram datagram4(const struct ip_frame *frame, const struct ip4_header *ip4)
{
    const struct message_reference *r = &frame->message->reference[0];
    uint32_t offset = ETHER_HEADER_LENGTH + ip4->header_length;
    uint32_t length = (uint32_t)ip4->total_length - ip4->header_length;
    uint32_t captured = frame->captured > offset ? frame->captured - offset : 0;
    return (struct ip_datagram){
        .source = ip4->source,
        .destination = ip4->destination,
        .protocol = ip4->protocol,
        .ttl = ip4->ttl,
        .traffic_class = (uint8_t)(ip4->dscp << 2 | ip4->ecn),
        .group = frame->group || ip4->broadcast,
        .station = frame->station,
        .loan = {.origin = SERVER_NIC, .cookie = (uint32_t)frame->message->cookie},
        .reference = {.pool = r->pool, .generation = r->generation, .offset = r->offset + offset, .length = length},
        .payload = frame->base + offset,
        .head = frame->head + offset,
        .captured = captured < length ? captured : length,
        .packet = frame->head + ETHER_HEADER_LENGTH,
        .packet_captured = frame->captured - ETHER_HEADER_LENGTH,
        .message = frame->message,
        .ip4 = *ip4,
    };
}

/* True: the frame is not ours to give back any more. */
static bool receive_ip4(struct ip *ip, uint64_t now_us, const struct ip_frame *frame)
{
    struct ip4_header ip4;
    const uint8_t *packet = frame->head + ETHER_HEADER_LENGTH;
    uint32_t captured = frame->captured - ETHER_HEADER_LENGTH;
    switch (ip4_parse(&ip->ip4_counters, &ip->ip4_config, false, packet, captured, frame->length - ETHER_HEADER_LENGTH,
                      &ip4)) {
    case IP4_OK:
        break;
    case IP4_DROP_options: /* RFC 1122 3.2.2.5 */
        ip_error4(ip, now_us, ICMP_TYPE_PARAMETER_PROBLEM, ICMP_CODE_POINTER, ip4.pointer, &ip4, frame->group, packet,
                  captured);
        return false;
    default:
        return false;
    }
    /* RFC 1122 3.3.6: SHOULD silently discard unicast in a broadcast frame; 4.2.3.10: MUST for TCP
     * to a broadcast */
    if ((frame->group && !ip4.broadcast) || (ip4.broadcast && ip4.protocol == IP_PROTOCOL_TCP)) {
        ip->counters.drop_group++;
        return false;
    }
    if (ip4_is_fragment(&ip4)) {
        fragment4(ip, now_us, frame, &ip4);
        return false;
    }
    struct ip_datagram d = datagram4(frame, &ip4);
    return ip_deliver(ip, now_us, &d);
}
_Static_assert(IP_HEAD_FIRST >= ETHER_HEADER_LENGTH + IP4_HEADER_MAX + ICMP_CAPTURE_MAX, "ICMP is captured");
_Static_assert(IP_HEAD_FIRST >= ETHER_HEADER_LENGTH + IP4_HEADER_MAX + IP_TRANSPORT_HEADER_MIN, "ports are captured");
_Static_assert(IP_HEAD_FIRST % 2 == 0 && (ICMP_CAPTURE_MAX) % 2 == 0, "sums of parts");

/* ---- frames ---- */

static void receive_arp(struct ip *ip, uint64_t now_us, const struct ip_frame *frame)
{
    struct ip_address resolved;
    if (arp_input(&ip->arp, now_us, frame->head + ETHER_HEADER_LENGTH, frame->captured - ETHER_HEADER_LENGTH,
                  &resolved) == ARP_INPUT_RESOLVED)
        ip->recheck = true;
}

static bool receive_frame(struct ip *ip, uint64_t now_us, struct ip_frame *frame)
{
    struct ether_header ether;
    if (ether_parse(&ip->ether_counters, &ip->context.config->mac, frame->head, frame->captured, &ether) != ETHER_OK)
        return false;
    frame->group = ether.group;
    frame->station = ether.source;
    switch (ether.type) {
    case ETHER_TYPE_IP4:
        return receive_ip4(ip, now_us, frame);
    case ETHER_TYPE_IP6:
        return ip_receive6(ip, now_us, frame);
    case ETHER_TYPE_ARP:
        receive_arp(ip, now_us, frame);
        return false;
    default:
        ip->counters.drop_ether_type++;
        return false;
    }
}

/* Untrusted: m. False: refused and counted. */
static bool capture(struct ip *ip, const struct message *m, struct ip_frame *ret)
{
    const struct message_reference *r = &m->reference[0];
    const struct capability *c = capability_range(&ip->nic->table, r->pool, r->generation, r->offset, r->length);
    if (c == NULL || c->base == NULL) {
        ip->counters.drop_reference++;
        return false;
    }
    ret->message = m;
    ret->base = c->base + r->offset;
    ret->length = r->length;
    ret->captured = 0;
    ip_capture(ret, IP_HEAD_FIRST);
    return true;
}

static bool works_on(struct ip *ip, const struct ip_frame *frame)
{
    uint64_t key = work_key_frame(&ip->context, WORK_RECEIVE, frame->head, frame->captured, frame->length);
    bool good = server_works_on(&ip->context, key);
    ip->counters.drop_poison += !good;
    return good;
}

void ip_capture(struct ip_frame *frame, uint32_t octets)
{
    uint32_t most = frame->length < octets ? frame->length : octets;
    if (most <= frame->captured)
        return;
    memcpy(frame->head + frame->captured, frame->base + frame->captured, most - frame->captured);
    frame->captured = most;
}

void ip_receive(struct ip *ip, uint64_t now_us, const struct message *m)
{
    if (m->cookie >= IP_COOKIES || ip->holder[m->cookie] != IP_HOLDER_NONE) {
        ip->counters.drop_cookie++;
        return;
    }
    uint32_t cookie = (uint32_t)m->cookie;
    ip->holder[cookie] = SERVER_IP;
    ip->counters.received++;
    struct ip_frame frame;
    if (capability_lookup(&ip->nic->table, m->capability, m->generation, CAPABILITY_LINK, CAPABILITY_RECEIVE) == NULL)
        ip->counters.drop_right++; /* and what was lent goes home: nic would be without it for good */
    else if (ip->barrier != 0)
        ip->counters.drop_barrier++;
    else if (capture(ip, m, &frame) && works_on(ip, &frame) && receive_frame(ip, now_us, &frame))
        return;
    ip_frame_done(ip, cookie);
}
