// SPDX-License-Identifier: BSD-2-Clause
/* From nic to the transports: headers are copied once, checked, and the payload named where it
 * lies. */
#include "servers/ip/ip.h"

#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/ether/ether_wire.h"
#include "protocols/icmp/icmp_wire.h"

static uint16_t port_at(const uint8_t *header, unsigned offset)
{
    return (uint16_t)((unsigned)header[offset] << 8 | header[offset + 1]);
}

/* ---- to a transport ---- */

/* nic speaks of the frame, the transport of its segment; a partial checksum counts only if it is
 * the transport's own. */
static void offload_up(const struct message *m, const struct ip4_header *ip4, struct message *up)
{
    uint32_t start = ETHER_HEADER_LENGTH + ip4->header_length;
    if (m->checksum_state == MESSAGE_CHECKSUM_VALID)
        up->checksum_state = MESSAGE_CHECKSUM_VALID;
    if (m->checksum_state == MESSAGE_CHECKSUM_PARTIAL && m->checksum_start == start) {
        up->checksum_state = MESSAGE_CHECKSUM_PARTIAL;
        up->checksum_offset = m->checksum_offset;
    }
    if ((m->gso_type == MESSAGE_GSO_TCP4 && ip4->protocol == IP_PROTOCOL_TCP) ||
        (m->gso_type == MESSAGE_GSO_UDP && ip4->protocol == IP_PROTOCOL_UDP)) {
        up->gso_type = m->gso_type;
        up->gso_size = m->gso_size;
    }
}

/* True: the frame is lent on. */
static bool deliver(struct ip *ip, const struct ip_frame *frame, const struct ip4_header *ip4, struct port *port,
                    enum server_id to)
{
    const struct message_reference *r = &frame->message->reference[0];
    uint32_t offset = ETHER_HEADER_LENGTH + ip4->header_length;
    const uint8_t *header = frame->head + offset; /* header_length is within what was captured; see below */
    uint32_t octets = (uint32_t)ip4->total_length - ip4->header_length;
    uint32_t cookie = (uint32_t)frame->message->cookie;
    if (octets < IP_TRANSPORT_HEADER_MIN) {
        ip4_count(&ip->ip4_counters, IP4_DROP_short);
        return false;
    }
    if (ip->held[to] >= IP_LOANS_MAX || port_space(port) < IP_SPACE) {
        ip->counters.drop_no_transport++;
        return false;
    }
    struct message up = {
        .operation = MESSAGE_RECEIVE,
        .capability = CAPABILITY_INDEX_PEER,
        .generation = 1,
        .cookie = cookie,
        .reference = {{.pool = r->pool, .generation = r->generation, .offset = r->offset + offset, .length = octets}},
        .source = ip4->source,
        .destination = ip4->destination,
        .source_port = port_at(header, 0),
        .destination_port = port_at(header, 2),
        .protocol = ip4->protocol,
        .ttl = ip4->ttl,
        .traffic_class = (uint8_t)(ip4->dscp << 2 | ip4->ecn),
    };
    offload_up(frame->message, ip4, &up);
    if (!port_push(port, &up)) {
        ip->counters.drop_no_transport++;
        return false;
    }
    ip->holder[cookie] = (uint8_t)to;
    ip->held[to]++;
    if (to == SERVER_TCP)
        ip->counters.delivered_tcp++;
    else
        ip->counters.delivered_udp++;
    return true;
}
_Static_assert(IP_HEAD_MAX >= ETHER_HEADER_LENGTH + IP4_HEADER_MAX + IP_TRANSPORT_HEADER_MIN, "ports are captured");

/* ---- ICMP ---- */

static void tell_transport(struct ip *ip, const struct icmp_error *e)
{
    struct message about = {.source = e->source,
                            .destination = e->destination,
                            .source_port = port_at(e->quoted_octets, 0),
                            .destination_port = port_at(e->quoted_octets, 2),
                            .protocol = e->protocol};
    uint32_t sequence = (uint32_t)port_at(e->quoted_octets, 4) << 16 | port_at(e->quoted_octets, 6);
    ip_tell(ip, &about, sequence, e->type, e->code, e->next_hop_mtu);
}

/* True: the frame is kept, as payload of the reply. */
static bool receive_icmp(struct ip *ip, uint64_t now_us, const struct ip_frame *frame, const struct ip4_header *ip4)
{
    uint32_t offset = ETHER_HEADER_LENGTH + ip4->header_length;
    uint32_t length = (uint32_t)ip4->total_length - ip4->header_length;
    uint32_t captured = length < ICMP_CAPTURE_MAX ? length : ICMP_CAPTURE_MAX;
    uint64_t rest = checksum_add(0, frame->base + offset + captured, length - captured);
    struct icmp_input_out out;
    switch (icmp_input(&ip->icmp, ip4, frame->head + offset, captured, length, rest, &out)) {
    case ICMP_INPUT_REPLY:
        ip_send_echo_reply(ip, now_us, &out.reply, frame, offset);
        return true;
    case ICMP_INPUT_ERROR:
        tell_transport(ip, &out.error);
        return false;
    default:
        return false;
    }
}
_Static_assert(IP_HEAD_MAX >= ETHER_HEADER_LENGTH + IP4_HEADER_MAX + ICMP_CAPTURE_MAX, "ICMP is captured");

/* RFC 1122 3.2.2.1: SHOULD send "protocol unreachable". */
static void no_protocol(struct ip *ip, uint64_t now_us, const struct ip_frame *frame, const struct ip4_header *ip4,
                        bool link_group)
{
    struct icmp_message icmp;
    ip4_count(&ip->ip4_counters, IP4_DROP_protocol);
    if (icmp_error(&ip->icmp, now_us, ICMP_TYPE_UNREACHABLE, ICMP_CODE_PROTOCOL_UNREACHABLE, 0, ip4, link_group,
                   frame->head + ETHER_HEADER_LENGTH, frame->captured - ETHER_HEADER_LENGTH, &icmp) == ICMP_ERROR_SEND)
        ip_send_icmp(ip, now_us, &icmp);
}

/* ---- frames ---- */

/* True: the frame is not ours to give back any more. */
static bool receive_ip4(struct ip *ip, uint64_t now_us, const struct ip_frame *frame, bool link_group)
{
    struct ip4_header ip4;
    enum server_id to;
    if (ip4_parse(&ip->ip4_counters, &ip->config, false, frame->head + ETHER_HEADER_LENGTH,
                  frame->captured - ETHER_HEADER_LENGTH, frame->length - ETHER_HEADER_LENGTH, &ip4) != IP4_OK)
        return false;
    if (ip4_is_fragment(&ip4)) {
        ip4_count(&ip->ip4_counters, IP4_DROP_fragment);
        return false;
    }
    /* RFC 1122 3.3.6: SHOULD silently discard unicast in a broadcast frame; 4.2.3.10: MUST for TCP
     * to a broadcast */
    if ((link_group && !ip4.broadcast) || (ip4.broadcast && ip4.protocol == IP_PROTOCOL_TCP)) {
        ip->counters.drop_group++;
        return false;
    }
    if (ip4.protocol == IP_PROTOCOL_ICMP)
        return receive_icmp(ip, now_us, frame, &ip4);
    struct port *port = ip_transport_port(ip, ip4.protocol, &to);
    if (port != NULL)
        return deliver(ip, frame, &ip4, port, to);
    no_protocol(ip, now_us, frame, &ip4, link_group);
    return false;
}

static void receive_arp(struct ip *ip, uint64_t now_us, const struct ip_frame *frame)
{
    struct ip_address resolved;
    if (arp_input(&ip->arp, now_us, frame->head + ETHER_HEADER_LENGTH, frame->captured - ETHER_HEADER_LENGTH,
                  &resolved) == ARP_INPUT_RESOLVED)
        ip->recheck = true;
}

static bool receive_frame(struct ip *ip, uint64_t now_us, const struct ip_frame *frame)
{
    struct ether_header ether;
    if (ether_parse(&ip->ether_counters, &ip->context.config->mac, frame->head, frame->captured, &ether) != ETHER_OK)
        return false;
    switch (ether.type) {
    case ETHER_TYPE_IP4:
        return receive_ip4(ip, now_us, frame, ether.group);
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
    ret->captured = r->length < IP_HEAD_MAX ? r->length : IP_HEAD_MAX;
    memcpy(ret->head, ret->base, ret->captured);
    return true;
}

void ip_receive(struct ip *ip, uint64_t now_us, const struct message *m)
{
    if (capability_lookup(&ip->nic->table, m->capability, m->generation, CAPABILITY_LINK, CAPABILITY_RECEIVE) == NULL) {
        ip->counters.drop_right++;
        return;
    }
    if (m->cookie >= IP_COOKIES || ip->holder[m->cookie] != IP_HOLDER_NONE) {
        ip->counters.drop_cookie++;
        return;
    }
    uint32_t cookie = (uint32_t)m->cookie;
    ip->holder[cookie] = SERVER_IP;
    ip->counters.received++;
    struct ip_frame frame;
    if (ip->barrier != 0)
        ip->counters.drop_barrier++;
    else if (capture(ip, m, &frame) && receive_frame(ip, now_us, &frame))
        return;
    ip_frame_done(ip, cookie);
}
