// SPDX-License-Identifier: BSD-2-Clause
/* Fragments in: copied to the reassembly area at once, so that nic has its buffer back; what is whole is handed on by
 * reference. The area lies behind the header buffers in our pool's segment, under the same capability. Fragments out
 * are output.c's. */
#include "servers/ip/ip.h"

#include <string.h>

#include "protocols/icmp/icmp6_wire.h"
#include "protocols/icmp/icmp_wire.h"

static uint32_t area_offset(uint32_t slot)
{
    return IP_BUFFERS * IP_BUFFER_OCTETS + slot * REASSEMBLY_BUFFER_OCTETS;
}

static uint32_t share_of(enum server_id holder)
{
    if (holder == SERVER_UDP)
        return IP_SLOTS_UDP;
    return holder == SERVER_TCP ? IP_SLOTS_TCP : IP_SLOTS_ECHO;
}

bool ip_slot_lend(struct ip *ip, uint32_t slot, enum server_id holder)
{
    uint32_t held = 0, most = share_of(holder);
    for (uint32_t i = 0; i < REASSEMBLY_DATAGRAMS; i++)
        held += ip->slot_holder[i] == holder;
    if (held >= most) {
        ip->counters.drop_slots++;
        return false;
    }
    ip->slot_holder[slot] = (uint8_t)holder;
    return true;
}

struct ip_datagram ip_reassembled(const struct ip *ip, const struct reassembly_output *whole, uint32_t offset)
{
    uint32_t at = area_offset(whole->buffer) + offset, length = whole->length - offset;
    const uint8_t *payload = ip->pool->base + at;
    return (struct ip_datagram){
        .source = whole->source,
        .destination = whole->destination,
        .protocol = whole->protocol,
        .ttl = whole->ttl,
        .traffic_class = whole->traffic_class,
        .loan = {.origin = IP_ORIGIN_SLOT, .cookie = whole->buffer},
        .reference = {.pool = ip->context.pool_capability,
                      .generation = ip->context.pool_generation,
                      .offset = at,
                      .length = length},
        .payload = payload,
        .head = payload, /* nobody but us writes there */
        .captured = length,
        .packet = whole->packet,
        .packet_captured = whole->packet_octets,
    };
}

static void reassembled4(struct ip *ip, uint64_t now_us, const struct reassembly_output *whole)
{
    struct ip_datagram d = ip_reassembled(ip, whole, 0);
    d.group = ip4_classify(&ip->ip4_config, &d.destination) == IP4_CLASS_BROADCAST;
    d.ip4 = (struct ip4_header){.source = d.source,
                                .destination = d.destination,
                                .total_length = (uint16_t)(IP4_HEADER_MIN + whole->length),
                                .header_length = (uint8_t)((whole->packet[0] & 15) * 4),
                                .protocol = d.protocol,
                                .ttl = d.ttl,
                                .dscp = d.traffic_class >> 2,
                                .ecn = d.traffic_class & 3,
                                .broadcast = d.group};
    if (!ip_deliver(ip, now_us, &d))
        ip_loan_done(ip, &d.loan);
}

void ip_fragment(struct ip *ip, uint64_t now_us, const struct reassembly_fragment *fragment, const uint8_t *payload,
                 const uint8_t *packet, uint32_t captured)
{
    struct reassembly_output whole;
    if (reassembly_input(&ip->reassembly, now_us, fragment, payload, packet, captured, &whole) != REASSEMBLY_COMPLETE)
        return;
    if (fragment->source.family == ADDRESS_IP6)
        ip_reassembled6(ip, now_us, &whole);
    else
        reassembled4(ip, now_us, &whole);
}

/* ---- time ---- */

static void expired4(struct ip *ip, uint64_t now_us, const struct reassembly_expired *e)
{
    struct ip4_header ip4;
    struct ip4_counters uncounted = {0}; /* it was counted when it came */
    if (ip4_parse(&uncounted, &ip->ip4_config, false, e->quote, e->quote_octets, UINT16_MAX, &ip4) == IP4_OK)
        ip_error4(ip, now_us, ICMP_TYPE_TIME_EXCEEDED, ICMP_CODE_REASSEMBLY, 0, &ip4, ip4.broadcast, e->quote,
                  e->quote_octets);
}

static void expired6(struct ip *ip, uint64_t now_us, const struct reassembly_expired *e)
{
    struct ip6_header ip6 = {.source = e->source, .destination = e->destination};
    ip_error6(ip, now_us, ICMP6_TYPE_TIME_EXCEEDED, ICMP6_CODE_REASSEMBLY, 0, &ip6, false, e->quote, e->quote_octets);
}

bool ip_fragments_poll(struct ip *ip, uint64_t now_us)
{
    struct reassembly_expired e;
    bool moved = false;
    while (reassembly_poll(&ip->reassembly, now_us, &e)) { /* ends: each is gone then */
        if (e.source.family == ADDRESS_IP6)
            expired6(ip, now_us, &e);
        else
            expired4(ip, now_us, &e);
        moved = true;
    }
    return moved;
}
