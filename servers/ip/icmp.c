// SPDX-License-Identifier: BSD-2-Clause
/* ICMP and ICMPv6: echo, errors that others tell us, errors that we tell others. */
#include "servers/ip/ip.h"

#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/icmp/icmp6_wire.h"
#include "protocols/icmp/icmp_wire.h"

/* ---- in ---- */

/* A router says that a packet of ours was too long. What cannot be true is not told on; *ret_mtu is what holds now.
 * About TCP nothing is remembered here, and what is remembered does not bind TCP: its connections tell a forged report
 * by the sequence number (RFC 5927 7), and one about UDP must not get past that. */
static bool path_mtu(struct ip *ip, uint64_t now_us, const struct icmp_error *e, uint32_t quoted_octets,
                     uint32_t *ret_mtu)
{
    if (e->protocol == IP_PROTOCOL_TCP)
        return pmtu_check(&ip->pmtu, &e->destination, e->next_hop_mtu, quoted_octets, ret_mtu) == PMTU_LOWERED;
    bool lowered = pmtu_report(&ip->pmtu, now_us, &e->destination, e->next_hop_mtu, quoted_octets) == PMTU_LOWERED;
    *ret_mtu = pmtu_get(&ip->pmtu, now_us, &e->destination);
    return lowered || *ret_mtu < quoted_octets; /* an older report said so already: this may be another connection */
}

static void tell_error(struct ip *ip, uint64_t now_us, const struct icmp_error *e, uint32_t quoted_octets)
{
    struct message about = {.source = e->source,
                            .destination = e->destination,
                            .source_port = ip_port_at(e->quoted_octets, 0),
                            .destination_port = ip_port_at(e->quoted_octets, 2),
                            .protocol = e->protocol};
    uint32_t sequence = (uint32_t)ip_port_at(e->quoted_octets, 4) << 16 | ip_port_at(e->quoted_octets, 6), mtu = 0;
    enum server_id to;
    bool too_big = e->source.family == ADDRESS_IP6
                       ? e->type == ICMP6_TYPE_PACKET_TOO_BIG
                       : e->type == ICMP_TYPE_UNREACHABLE && e->code == ICMP_CODE_FRAGMENTATION_NEEDED;
    if (too_big && !path_mtu(ip, now_us, e, quoted_octets, &mtu))
        return;
    if (ip_transport_port(ip, e->protocol, &to) != NULL) /* else it was an echo of ours */
        ip_tell(ip, &about, sequence, e->type, e->code, mtu);
}

/* True: the loan is the reply's. */
static bool echo(struct ip *ip, uint64_t now_us, const struct ip_datagram *d, struct ip_packet *p,
                 const uint8_t *header, uint32_t offset, uint32_t length)
{
    if (ip->echoes >= IP_ECHOES) {
        ip->counters.drop_echo++;
        return false;
    }
    if (d->loan.origin == IP_ORIGIN_SLOT && !ip_slot_lend(ip, d->loan.cookie, SERVER_IP))
        return false;
    p->head_octets = ICMP_HEADER_LENGTH;
    memcpy(p->head, header, ICMP_HEADER_LENGTH);
    p->loan = d->loan;
    if (length > 0) {
        p->payload = d->reference;
        p->payload.offset += offset;
        p->payload.length = length;
    }
    ip_output_own(ip, now_us, p);
    return true;
}

bool ip_receive_icmp(struct ip *ip, uint64_t now_us, const struct ip_datagram *d)
{
    uint32_t length = d->reference.length;
    uint32_t captured = d->captured < ICMP_CAPTURE_MAX ? d->captured : ICMP_CAPTURE_MAX;
    uint64_t rest = checksum_add(0, d->payload + captured, length - captured);
    struct icmp_input_out out;
    switch (icmp_input(&ip->icmp, &d->ip4, d->head, captured, length, rest, &out)) {
    case ICMP_INPUT_REPLY: {
        struct ip_packet p = {.source = out.reply.ip4.source,
                              .destination = out.reply.ip4.destination,
                              .protocol = IP_PROTOCOL_ICMP,
                              .ttl = out.reply.ip4.ttl};
        return echo(ip, now_us, d, &p, out.reply.header, out.reply.payload_offset, out.reply.payload_length);
    }
    case ICMP_INPUT_ERROR:
        tell_error(ip, now_us, &out.error, ip_port_at(d->head, ICMP_HEADER_LENGTH + 2));
        return false;
    default:
        return false;
    }
}

bool ip_receive_icmp6(struct ip *ip, uint64_t now_us, const struct ip_datagram *d, const struct mac_address *station)
{
    uint32_t length = d->reference.length;
    uint32_t captured = d->captured < ICMP6_CAPTURE_MAX ? d->captured : ICMP6_CAPTURE_MAX;
    uint64_t rest = checksum_add(0, d->payload + captured, length - captured);
    struct icmp6_input_out out;
    struct ip_address resolved;
    switch (icmp6_input(&ip->icmp6, &d->ip6, d->head, captured, length, rest, &out)) {
    case ICMP6_INPUT_REPLY: {
        struct ip_packet p = {.source = out.reply.ip6.source,
                              .destination = out.reply.ip6.destination,
                              .protocol = IP_PROTOCOL_ICMP6,
                              .ttl = out.reply.ip6.hop_limit};
        return echo(ip, now_us, d, &p, out.reply.header, out.reply.payload_offset, out.reply.payload_length);
    }
    case ICMP6_INPUT_ERROR:
        tell_error(ip, now_us, &out.error, IP6_HEADER_LENGTH + ip_port_at(d->head, ICMP6_HEADER_LENGTH + 4));
        return false;
    case ICMP6_INPUT_NDP:
        if (ndp_input(&ip->ndp, now_us, &d->ip6, station, d->head, length, &resolved) == NDP_INPUT_RESOLVED)
            ip->recheck = true;
        return false;
    default:
        return false;
    }
}
_Static_assert(ICMP6_CAPTURE_MAX >= NDP_CAPTURE_MAX, "NDP is captured");
_Static_assert(ICMP_HEADER_LENGTH == ICMP6_HEADER_LENGTH, "echo() takes both");

/* ---- out ---- */

static void error_send(struct ip *ip, uint64_t now_us, struct ip_packet *p, const uint8_t *bytes, uint32_t octets)
{
    p->loan = (struct ip_loan){.origin = SERVER_IP};
    p->head_octets = octets;
    memcpy(p->head, bytes, octets);
    ip_output_own(ip, now_us, p);
}

void ip_error4(struct ip *ip, uint64_t now_us, uint8_t type, uint8_t code, uint8_t pointer,
               const struct ip4_header *ip4, bool group, const uint8_t *packet, uint32_t captured)
{
    struct icmp_message m;
    if (icmp_error(&ip->icmp, now_us, type, code, pointer, ip4, group, packet, captured, &m) != ICMP_ERROR_SEND)
        return;
    struct ip_packet p = {
        .source = m.ip4.source, .destination = m.ip4.destination, .protocol = IP_PROTOCOL_ICMP, .ttl = m.ip4.ttl};
    error_send(ip, now_us, &p, m.bytes, m.length);
}
_Static_assert(sizeof((struct icmp_message *)0)->bytes <= IP_PACKET_HEAD_MAX, "an error fits");

/* Where an error can lay what it quotes; IP_QUOTES: all are on their way. */
static uint32_t quote_place(const struct ip *ip)
{
    uint32_t place = 0;
    while (place < IP_QUOTES && ip->quote_out[place])
        place++;
    return place;
}

/* What does not fit behind the headers goes as payload, from a copy of our own: nobody's loan hangs on it. */
static void error_send_quoting(struct ip *ip, uint64_t now_us, struct ip_packet *p, uint32_t place,
                               const struct icmp6_message *m)
{
    uint32_t offset = IP_BUFFERS * IP_BUFFER_OCTETS + REASSEMBLY_DATAGRAMS * REASSEMBLY_BUFFER_OCTETS;
    offset += place * IP_QUOTE_OCTETS;
    ip->quote_out[place] = true;
    p->loan = (struct ip_loan){.origin = IP_ORIGIN_QUOTE, .cookie = place};
    p->head_octets = ICMP6_HEADER_LENGTH;
    memcpy(p->head, m->bytes, ICMP6_HEADER_LENGTH);
    p->payload = (struct message_reference){.pool = ip->context.pool_capability,
                                            .generation = ip->context.pool_generation,
                                            .offset = offset,
                                            .length = m->length - ICMP6_HEADER_LENGTH};
    memcpy(ip->pool->base + offset, m->bytes + ICMP6_HEADER_LENGTH, p->payload.length);
    ip_output_own(ip, now_us, p);
}

void ip_error6(struct ip *ip, uint64_t now_us, uint8_t type, uint8_t code, uint32_t parameter,
               const struct ip6_header *ip6, bool group, const uint8_t *packet, uint32_t captured)
{
    struct icmp6_message m;
    uint32_t place = quote_place(ip);
    /* RFC 4443 2.4 (c): as much as fits in 1280. Deviates: with IP_QUOTES errors on their way, what fits here */
    uint32_t quote = (place < IP_QUOTES ? ICMP6_ERROR_MAX : IP_PACKET_HEAD_MAX) - ICMP6_HEADER_LENGTH;
    if (icmp6_error(&ip->icmp6, now_us, type, code, parameter, ip6, group, packet, captured < quote ? captured : quote,
                    &m) != ICMP6_ERROR_SEND)
        return;
    struct ip_packet p = {.source = m.ip6.source,
                          .destination = m.ip6.destination,
                          .protocol = IP_PROTOCOL_ICMP6,
                          .ttl = m.ip6.hop_limit};
    if (m.length <= IP_PACKET_HEAD_MAX)
        error_send(ip, now_us, &p, m.bytes, m.length);
    else
        error_send_quoting(ip, now_us, &p, place, &m);
}

/* ---- port unreachable, asked for by a transport ---- */

/* Untrusted: head (where the datagram that nobody takes lies; it is quoted, never looked at). */
static void unreachable4(struct ip *ip, uint64_t now_us, const struct message *m, const uint8_t *head)
{
    uint8_t quote[IP4_HEADER_MIN + ICMP_QUOTE_OCTETS];
    struct ip4_header offender = {
        .source = m->destination,
        .destination = m->source,
        .total_length = (uint16_t)(IP4_HEADER_MIN + m->reference[0].length),
        .header_length = IP4_HEADER_MIN,
        .protocol = m->protocol,
        .ttl = m->ttl,
        .dscp = m->traffic_class >> 2,
        .ecn = m->traffic_class & 3,
    };
    ip4_build(&offender, quote);
    memcpy(quote + IP4_HEADER_MIN, head, ICMP_QUOTE_OCTETS);
    ip_error4(ip, now_us, ICMP_TYPE_UNREACHABLE, ICMP_CODE_PORT_UNREACHABLE, 0, &offender, false, quote, sizeof quote);
}

static void unreachable6(struct ip *ip, uint64_t now_us, const struct message *m, const uint8_t *head)
{
    uint8_t quote[ICMP6_ERROR_MAX - ICMP6_HEADER_LENGTH];
    uint32_t most = sizeof quote - IP6_HEADER_LENGTH, length = m->reference[0].length;
    uint32_t quoted = length < most ? length : most;
    struct ip6_header offender = {
        .source = m->destination,
        .destination = m->source,
        .payload_length = (uint16_t)length,
        .protocol = m->protocol,
        .hop_limit = m->ttl,
        .dscp = m->traffic_class >> 2,
        .ecn = m->traffic_class & 3,
    };
    ip6_build(&offender, quote);
    memcpy(quote + IP6_HEADER_LENGTH, head, quoted);
    ip_error6(ip, now_us, ICMP6_TYPE_UNREACHABLE, ICMP6_CODE_PORT_UNREACHABLE, 0, &offender, false, quote,
              IP6_HEADER_LENGTH + quoted);
}

/* It was sent here: its sender is told without a packet. */
static void unreachable_here(struct ip *ip, const struct message *m)
{
    struct message about = {.source = m->destination,
                            .destination = m->source,
                            .source_port = m->destination_port,
                            .destination_port = m->source_port,
                            .protocol = m->protocol};
    ip_tell_reason(ip, &about, 0, IP_REASON_PORT, 0);
}

static bool unreachable_fields(struct ip *ip, const struct capability *right, const struct message *m)
{
    uint8_t family = m->source.family;
    if (m->protocol != right->protocol || (family != ADDRESS_IP4 && family != ADDRESS_IP6) ||
        m->destination.family != family || m->reference[0].length < ICMP_QUOTE_OCTETS ||
        m->reference[0].length > UINT16_MAX - IP4_HEADER_MIN)
        return false;
    return capability_has_address(right, &m->source) || ip_classify(ip, &m->source) == IP_CLASS_LOOPBACK;
}

void ip_send_unreachable(struct ip *ip, uint64_t now_us, enum server_id from, const struct message *m)
{
    struct capability_table *table = &ip->context.port[from]->table;
    const struct message_reference *head = &m->reference[0];
    const struct capability *right =
        capability_lookup(table, m->capability, m->generation, CAPABILITY_TRANSPORT, CAPABILITY_SEND);
    if (right == NULL) {
        ip->counters.drop_right++;
        return;
    }
    if (!unreachable_fields(ip, right, m)) {
        ip->counters.drop_send_field++;
        return;
    }
    enum ip_class to = ip_classify(ip, &m->destination);
    if (to == IP_CLASS_OURS || to == IP_CLASS_LOOPBACK) {
        unreachable_here(ip, m);
        return;
    }
    if ((ip->barrier & 1U << from) != 0 && head->pool != ip->context.pool_capability) {
        ip->counters.drop_barrier++; /* it may not have heard yet that the frame is gone with its nic */
        return;
    }
    const struct capability *c = capability_range(table, head->pool, head->generation, head->offset, head->length);
    if (c == NULL || c->base == NULL)
        ip->counters.drop_reference++;
    else if (m->source.family == ADDRESS_IP6)
        unreachable6(ip, now_us, m, c->base + head->offset);
    else
        unreachable4(ip, now_us, m, c->base + head->offset);
}
