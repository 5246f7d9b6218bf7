// SPDX-License-Identifier: BSD-2-Clause
/* From the transports to nic, and what ip sends of itself: ICMP. */
#include "servers/ip/ip.h"

#include <string.h>

#include "protocols/ether/ether_wire.h"
#include "protocols/icmp/icmp_wire.h"

struct outgoing {
    uint8_t header[IP_TRANSPORT_HEADER_MAX]; /* the copy that counts */
    uint32_t header_length;
    uint32_t total_length; /* of the IP packet */
    struct ip_address next_hop;
};

static bool drop(uint64_t *counter)
{
    (*counter)++;
    return false;
}

static uint16_t port_at(const uint8_t *header, unsigned offset)
{
    return (uint16_t)((unsigned)header[offset] << 8 | header[offset + 1]);
}

/* Untrusted: m. Copies the transport header, once. */
static bool gather(struct ip *ip, struct capability_table *table, const struct message *m, struct outgoing *out)
{
    const struct message_reference *head = &m->reference[0], *body = &m->reference[1];
    if (head->length < IP_TRANSPORT_HEADER_MIN || head->length > IP_TRANSPORT_HEADER_MAX)
        return drop(&ip->counters.drop_send_field);
    const struct capability *c = capability_range(table, head->pool, head->generation, head->offset, head->length);
    if (c == NULL || c->base == NULL)
        return drop(&ip->counters.drop_reference);
    memcpy(out->header, c->base + head->offset, head->length);
    out->header_length = head->length;
    if (body->length > 0 && capability_range(table, body->pool, body->generation, body->offset, body->length) == NULL)
        return drop(&ip->counters.drop_reference);
    uint64_t total = (uint64_t)IP4_HEADER_MIN + head->length + body->length;
    if (total > 65535)
        return drop(&ip->counters.drop_send_offload);
    out->total_length = (uint32_t)total;
    return true;
}

/* What the transport right says: protocol, local address; and the message must say what the header
 * says. */
static bool check_right(struct ip *ip, const struct capability *right, const struct message *m,
                        const struct outgoing *out)
{
    if (m->protocol != right->protocol || m->source.family != ADDRESS_IP4 ||
        !capability_has_address(right, &m->source) || m->source_port != port_at(out->header, 0) ||
        m->destination_port != port_at(out->header, 2))
        return drop(&ip->counters.drop_send_field);
    return true;
}

static bool check_offload(struct ip *ip, const struct message *m, const struct outgoing *out)
{
    uint32_t mtu = ip->context.config->mtu;
    bool partial = m->checksum_state == MESSAGE_CHECKSUM_PARTIAL;
    bool ok = m->checksum_state <= MESSAGE_CHECKSUM_PARTIAL;
    if (partial)
        ok = ok && m->checksum_start == 0 && (uint32_t)m->checksum_offset + 2 <= out->header_length;
    if (m->gso_type == MESSAGE_GSO_NONE) /* RFC 1122 3.3.3: we do not fragment */
        ok = ok && out->total_length <= mtu;
    else
        ok = ok && partial && m->gso_size > 0 && IP4_HEADER_MIN + out->header_length + m->gso_size <= mtu &&
             m->gso_type == (m->protocol == IP_PROTOCOL_TCP ? MESSAGE_GSO_TCP4 : MESSAGE_GSO_UDP);
    return ok || drop(&ip->counters.drop_send_offload);
}

static bool check_destination(struct ip *ip, const struct message *m, struct outgoing *out)
{
    if (m->destination.family != ADDRESS_IP4 || ip4_classify(&ip->config, &m->destination) != IP4_CLASS_UNICAST)
        return drop(&ip->counters.drop_send_class);
    if (ip4_route(&ip->routes, &m->destination, &out->next_hop) != IP4_ROUTE_OK)
        return drop(&ip->counters.drop_no_route);
    return true;
}

static uint32_t sequence_of(const struct outgoing *out)
{
    return (uint32_t)port_at(out->header, 4) << 16 | port_at(out->header, 6);
}

static void forward(struct ip *ip, uint64_t now_us, enum server_id from, const struct message *m,
                    const struct outgoing *out)
{
    uint32_t buffer = pool_take(ip->pool);
    if (buffer == POOL_NONE) {
        ip->counters.drop_no_buffer++;
        ip_owe(ip, from, (uint32_t)m->cookie);
        return;
    }
    ip->out[buffer] = (struct ip_out){.origin = (uint8_t)from, .cookie = (uint32_t)m->cookie};
    struct ip4_header header = {
        .source = m->source,
        .destination = m->destination,
        .total_length = (uint16_t)out->total_length,
        .identification = ip->identification++,
        .protocol = m->protocol,
        .ttl = m->ttl != 0 ? m->ttl : (uint8_t)IP4_TTL_DEFAULT,
        .dscp = m->traffic_class >> 2,
        .ecn = m->traffic_class & 3,
        .dont_fragment = true, /* RFC 1191 3 */
    };
    ip_headers_build(ip, buffer, &header);
    memcpy(pool_buffer(ip->pool, buffer) + IP_HEADERS, out->header, out->header_length);

    struct message down = ip_send_message(ip, buffer, IP_HEADERS + out->header_length);
    down.reference[1] = m->reference[1];
    down.source = m->source;
    down.destination = m->destination;
    down.source_port = m->source_port;
    down.destination_port = m->destination_port;
    down.protocol = m->protocol;
    down.gso_type = m->gso_type;
    down.gso_size = m->gso_type != MESSAGE_GSO_NONE ? m->gso_size : 0;
    down.checksum_state = m->checksum_state;
    if (m->checksum_state == MESSAGE_CHECKSUM_PARTIAL) {
        down.checksum_start = IP_HEADERS;
        down.checksum_offset = m->checksum_offset;
    }
    ip_transmit(ip, now_us, buffer, &down, &out->next_hop, sequence_of(out));
}

void ip_send(struct ip *ip, uint64_t now_us, enum server_id from, const struct message *m)
{
    struct outgoing out;
    struct capability_table *table = &ip->context.port[from]->table;
    const struct capability *right =
        capability_lookup(table, m->capability, m->generation, CAPABILITY_TRANSPORT, CAPABILITY_SEND);
    bool ok = right != NULL || drop(&ip->counters.drop_right);
    ok = ok && gather(ip, table, m, &out) && check_right(ip, right, m, &out) && check_offload(ip, m, &out) &&
         check_destination(ip, m, &out);
    if (ok)
        forward(ip, now_us, from, m, &out);
    else
        ip_owe(ip, from, (uint32_t)m->cookie);
}

/* ---- ICMP ---- */

/* A buffer with headers in it and `octets` behind them; POOL_NONE: none, counted. */
static uint32_t own_packet(struct ip *ip, const struct ip4_header *header, const uint8_t *bytes, uint32_t octets)
{
    uint32_t buffer = pool_take(ip->pool);
    if (buffer == POOL_NONE) {
        ip->counters.drop_no_buffer++;
        return POOL_NONE;
    }
    ip->out[buffer] = (struct ip_out){.origin = SERVER_IP};
    ip_headers_build(ip, buffer, header);
    memcpy(pool_buffer(ip->pool, buffer) + IP_HEADERS, bytes, octets);
    return buffer;
}

void ip_send_icmp(struct ip *ip, uint64_t now_us, const struct icmp_message *icmp)
{
    struct ip_address next_hop;
    if (ip4_route(&ip->routes, &icmp->ip4.destination, &next_hop) != IP4_ROUTE_OK) {
        ip->counters.drop_no_route++;
        return;
    }
    uint32_t buffer = own_packet(ip, &icmp->ip4, icmp->bytes, icmp->length);
    if (buffer == POOL_NONE)
        return;
    struct message m = ip_send_message(ip, buffer, IP_HEADERS + icmp->length);
    ip_transmit(ip, now_us, buffer, &m, &next_hop, 0);
}

void ip_send_echo_reply(struct ip *ip, uint64_t now_us, const struct icmp_reply *reply, const struct ip_frame *frame,
                        uint32_t icmp_offset)
{
    const struct message_reference *received = &frame->message->reference[0];
    uint32_t cookie = (uint32_t)frame->message->cookie, buffer = POOL_NONE;
    struct ip_address next_hop;
    if (reply->ip4.total_length > ip->context.config->mtu)
        ip->counters.drop_send_offload++;
    else if (ip4_route(&ip->routes, &reply->ip4.destination, &next_hop) != IP4_ROUTE_OK)
        ip->counters.drop_no_route++;
    else
        buffer = own_packet(ip, &reply->ip4, reply->header, sizeof reply->header);
    if (buffer == POOL_NONE) {
        ip_frame_done(ip, cookie);
        return;
    }
    struct message m = ip_send_message(ip, buffer, IP_HEADERS + sizeof reply->header);
    if (reply->payload_length > 0) { /* the frame stays lent to us until this is home */
        m.reference[1] = *received;
        m.reference[1].offset = received->offset + icmp_offset + reply->payload_offset;
        m.reference[1].length = reply->payload_length;
    }
    ip->out[buffer] = (struct ip_out){.origin = SERVER_NIC, .cookie = cookie};
    ip_transmit(ip, now_us, buffer, &m, &next_hop, 0);
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
    if (m->protocol != right->protocol || !capability_has_address(right, &m->source) ||
        m->source.family != ADDRESS_IP4 || m->destination.family != ADDRESS_IP4 || head->length < ICMP_QUOTE_OCTETS ||
        head->length > 65535U - IP4_HEADER_MIN) {
        ip->counters.drop_send_field++;
        return;
    }
    const struct capability *c = capability_range(table, head->pool, head->generation, head->offset, head->length);
    if (c == NULL || c->base == NULL) {
        ip->counters.drop_reference++;
        return;
    }
    /* the offending packet as far as it is told: what ICMP quotes is its addresses, protocol and
     * first octets */
    struct ip4_header offender = {
        .source = m->destination,
        .destination = m->source,
        .total_length = (uint16_t)(IP4_HEADER_MIN + head->length),
        .header_length = IP4_HEADER_MIN,
        .protocol = m->protocol,
        .ttl = m->ttl,
        .dscp = m->traffic_class >> 2,
        .ecn = m->traffic_class & 3,
    };
    uint8_t quote[IP4_HEADER_MIN + ICMP_QUOTE_OCTETS];
    ip4_build(&offender, quote);
    memcpy(quote + IP4_HEADER_MIN, c->base + head->offset, ICMP_QUOTE_OCTETS);
    struct icmp_message icmp;
    if (icmp_error(&ip->icmp, now_us, ICMP_TYPE_UNREACHABLE, ICMP_CODE_PORT_UNREACHABLE, 0, &offender, false, quote,
                   sizeof quote, &icmp) == ICMP_ERROR_SEND)
        ip_send_icmp(ip, now_us, &icmp);
}
