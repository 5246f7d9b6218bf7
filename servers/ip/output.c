// SPDX-License-Identifier: BSD-2-Clause
/* What goes to the wire, from a transport or of our own: the way, the path MTU, IP headers, fragments. */
#include "servers/ip/ip.h"

#include <string.h>

#include "protocols/base/siphash.h"
#include "protocols/ether/ether_wire.h"

struct route_out {
    struct ip_address next_hop;
    uint32_t mtu;
    uint32_t ip_octets; /* of the IP header */
};

struct piece { /* of the fragmentable part */
    uint32_t offset;
    uint32_t length;
    uint32_t identification;
    bool fragment, more;
};

struct message ip_send_message(const struct ip *ip, uint32_t buffer, uint32_t header_octets)
{
    return (struct message){
        .operation = MESSAGE_SEND,
        .capability = CAPABILITY_INDEX_PEER,
        .generation = 1,
        .cookie = buffer,
        .reference = {{.pool = ip->context.pool_capability,
                       .generation = ip->context.pool_generation,
                       .offset = pool_offset(ip->pool, buffer),
                       .length = header_octets}},
        .header_octets = (uint8_t)header_octets,
    };
}
_Static_assert(IP_BUFFER_OCTETS - 1 <= UINT8_MAX, "header_octets");

struct message ip_message_of(const struct ip_packet *p)
{
    return (struct message){.source = p->source,
                            .destination = p->destination,
                            .source_port = p->source_port,
                            .destination_port = p->destination_port,
                            .protocol = p->protocol};
}

/* ---- headers ---- */

static uint32_t headers4(struct ip *ip, const struct ip_packet *p, const struct piece *piece, uint8_t *at)
{
    struct ip4_header h = {
        .source = p->source,
        .destination = p->destination,
        .total_length = (uint16_t)(IP4_HEADER_MIN + piece->length),
        .identification = (uint16_t)(piece->fragment ? piece->identification : ip->identification++),
        .fragment_offset = (uint16_t)piece->offset,
        .protocol = p->protocol,
        .ttl = p->ttl != 0 ? p->ttl : (uint8_t)IP4_TTL_DEFAULT,
        .dscp = p->traffic_class >> 2,
        .ecn = p->traffic_class & 3,
        .dont_fragment = !piece->fragment, /* RFC 1191 3 */
        .more_fragments = piece->more,
    };
    ip4_build(&h, at);
    return IP4_HEADER_MIN;
}

static uint32_t headers6(const struct ip_packet *p, const struct piece *piece, uint8_t *at)
{
    uint32_t fragment_octets = piece->fragment ? IP6_FRAGMENT_HEADER_LENGTH : 0;
    struct ip6_header h = {
        .source = p->source,
        .destination = p->destination,
        .payload_length = (uint16_t)(fragment_octets + piece->length),
        .protocol = piece->fragment ? IP_PROTOCOL_FRAGMENT : p->protocol,
        .hop_limit = p->ttl != 0 ? p->ttl : (uint8_t)IP6_HOP_LIMIT_DEFAULT,
        .dscp = p->traffic_class >> 2,
        .ecn = p->traffic_class & 3,
    };
    ip6_build(&h, at);
    if (piece->fragment) {
        struct ip6_fragment f = {.identification = piece->identification,
                                 .offset = (uint16_t)piece->offset,
                                 .next_header = p->protocol,
                                 .more = piece->more};
        ip6_fragment_build(&f, at + IP6_HEADER_LENGTH);
    }
    return IP6_HEADER_LENGTH + fragment_octets;
}

/* Fills a buffer with all headers of a piece; the message that sends it. */
static struct message piece_message(struct ip *ip, const struct ip_packet *p, const struct piece *piece,
                                    uint32_t buffer)
{
    bool six = p->source.family == ADDRESS_IP6;
    struct ether_header ether = {.source = ip->context.config->mac, .type = six ? ETHER_TYPE_IP6 : ETHER_TYPE_IP4};
    uint8_t *bytes = pool_buffer(ip->pool, buffer);
    uint32_t at = ETHER_HEADER_LENGTH, first = piece->offset == 0 ? p->head_octets : 0;
    ether_build(&ether, bytes);
    at += six ? headers6(p, piece, bytes + at) : headers4(ip, p, piece, bytes + at);
    memcpy(bytes + at, p->head, first);

    struct message m = ip_send_message(ip, buffer, at + first);
    m.reference[1] = p->payload;
    m.reference[1].length = piece->length - first;
    if (piece->offset > 0)
        m.reference[1].offset += piece->offset - p->head_octets;
    m.source = p->source;
    m.destination = p->destination;
    m.source_port = p->source_port;
    m.destination_port = p->destination_port;
    m.protocol = p->protocol;
    m.gso_type = p->gso_type;
    m.gso_size = p->gso_type != MESSAGE_GSO_NONE ? p->gso_size : 0;
    m.checksum_state = p->checksum_state;
    if (p->checksum_state == MESSAGE_CHECKSUM_PARTIAL) {
        m.checksum_start = (uint16_t)at;
        m.checksum_offset = p->checksum_offset;
    }
    return m;
}

/* ---- whole, in fragments ---- */

static void send_whole(struct ip *ip, uint64_t now_us, const struct ip_packet *p, const struct route_out *route)
{
    struct piece all = {.length = p->head_octets + p->payload.length};
    uint32_t buffer = ip_buffer_take(ip, &p->loan);
    if (buffer == POOL_NONE) {
        ip_loan_done(ip, &p->loan);
        return;
    }
    struct message m = piece_message(ip, p, &all, buffer);
    ip_transmit(ip, now_us, buffer, &m, &route->next_hop, p->sequence);
}

/* RFC 7739 5.3: not to be guessed from what another destination got, and counted up. */
static uint32_t identification_next(struct ip *ip, const struct ip_packet *p)
{
    struct ip_address pair[2] = {p->source, p->destination};
    uint64_t hash = siphash(ip->context.config->secret, pair, sizeof pair);
    return (uint32_t)(hash >> 32) + ip->fragment_count[hash % IP_FRAGMENT_COUNTS]++;
}

static uint32_t piece_most(const struct ip_packet *p, const struct route_out *route)
{
    uint32_t headers = route->ip_octets + (p->source.family == ADDRESS_IP6 ? IP6_FRAGMENT_HEADER_LENGTH : 0);
    return (route->mtu - headers) & ~7U;
}

static void send_fragments(struct ip *ip, uint64_t now_us, const struct ip_packet *p, const struct route_out *route,
                           uint32_t count)
{
    uint32_t total = p->head_octets + p->payload.length, most = piece_most(p, route);
    struct piece piece = {.fragment = true, .identification = identification_next(ip, p)};
    struct ip_loan group = ip_group_make(ip, &p->loan, count);
    ip->counters.fragmented++;
    for (; piece.offset < total; piece.offset += piece.length) {
        piece.length = total - piece.offset < most ? total - piece.offset : most;
        piece.more = piece.offset + piece.length < total;
        uint32_t buffer = ip_buffer_take(ip, &group); /* there are enough: see ip_output() */
        if (buffer == POOL_NONE) {
            ip_loan_done(ip, &group);
            continue;
        }
        struct message m = piece_message(ip, p, &piece, buffer);
        ip->counters.fragments_out++;
        ip_transmit(ip, now_us, buffer, &m, &route->next_hop, p->sequence);
    }
}

/* ---- the way ---- */

static bool find_route(struct ip *ip, uint64_t now_us, const struct ip_packet *p, struct route_out *ret)
{
    ret->ip_octets = p->source.family == ADDRESS_IP6 ? IP6_HEADER_LENGTH : IP4_HEADER_MIN;
    ret->mtu = p->protocol == IP_PROTOCOL_TCP ? ip->context.config->mtu /* it knows each path itself: see path_mtu() */
                                              : pmtu_get(&ip->pmtu, now_us, &p->destination);
    if (ip_classify(ip, &p->destination) == IP_CLASS_BROADCAST) {
        ret->next_hop = p->destination;
        return true;
    }
    return route_find(&ip->routes, &p->destination, &ret->next_hop) == ROUTE_OK;
}

static void no_route(struct ip *ip, const struct ip_packet *p)
{
    ip->counters.drop_no_route++;
    if (p->loan.origin == SERVER_TCP || p->loan.origin == SERVER_UDP) {
        struct message about = ip_message_of(p);
        ip_tell_reason(ip, &about, p->sequence, IP_REASON_ROUTE, 0);
    }
    ip_loan_done(ip, &p->loan);
}

static bool fits(const struct ip_packet *p, const struct route_out *route)
{
    uint32_t payload = p->gso_type != MESSAGE_GSO_NONE ? p->gso_size : p->payload.length;
    return route->ip_octets + p->head_octets + payload <= route->mtu;
}

enum ip_output_result ip_output(struct ip *ip, uint64_t now_us, const struct ip_packet *p, uint32_t *ret_mtu,
                                uint32_t *ret_buffers)
{
    struct route_out route;
    if (!find_route(ip, now_us, p, &route)) {
        no_route(ip, p);
        return IP_OUTPUT_DONE;
    }
    if (fits(p, &route)) {
        send_whole(ip, now_us, p, &route);
        return IP_OUTPUT_DONE;
    }
    if (p->dont_fragment || p->gso_type != MESSAGE_GSO_NONE) {
        *ret_mtu = route.mtu;
        return IP_OUTPUT_TOO_LONG;
    }
    if (p->checksum_state != MESSAGE_CHECKSUM_NONE) {
        ip->counters.drop_send_fragment++;
        ip_loan_done(ip, &p->loan);
        return IP_OUTPUT_DONE;
    }
    uint32_t most = piece_most(p, &route);
    uint32_t count = (p->head_octets + p->payload.length + most - 1) / most;
    if (ip_buffers_free(ip) < count + ip_buffers_promised(ip, p->loan.origin) ||
        !port_has_space(ip->nic, 2 * count + IP_SPACE)) {
        *ret_buffers = count;
        return IP_OUTPUT_LATER;
    }
    send_fragments(ip, now_us, p, &route, count);
    return IP_OUTPUT_DONE;
}
/* The first fragment has all of the head, and something is left of the smallest path. */
_Static_assert(IP_PACKET_HEAD_MAX + IP4_HEADER_MIN <= PMTU_IP4_MIN, "a head fits");
_Static_assert((65535 + PMTU_IP4_MIN - 28 - 8) / (PMTU_IP4_MIN - 28) + IP_RESERVED + 1 <= IP_BUFFERS_WIRE,
               "enough at all: with one for TCP, which is never in fragments");

void ip_output_own(struct ip *ip, uint64_t now_us, const struct ip_packet *p)
{
    uint32_t mtu, buffers;
    switch (ip_output(ip, now_us, p, &mtu, &buffers)) {
    case IP_OUTPUT_DONE:
        return;
    case IP_OUTPUT_LATER:
        ip->counters.drop_no_buffer++;
        break;
    case IP_OUTPUT_TOO_LONG:
        ip->counters.drop_too_long++;
        break;
    }
    ip_loan_done(ip, &p->loan);
}
