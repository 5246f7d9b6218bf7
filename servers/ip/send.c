// SPDX-License-Identifier: BSD-2-Clause
/* What transports send: looked at here, and handed to output.c or, if it is for this stack, to local.c. */
#include "servers/ip/ip.h"

#include <string.h>

#include "servers/work.h"

#define IP_OCTETS_MAX 65535U

static bool drop(uint64_t *counter)
{
    (*counter)++;
    return false;
}

/* Untrusted: m. Copies the transport header, once. */
static bool gather(struct ip *ip, struct capability_table *table, const struct message *m, struct ip_packet *p)
{
    const struct message_reference *head = &m->reference[0], *body = &m->reference[1];
    if (head->length < IP_TRANSPORT_HEADER_MIN || head->length > IP_TRANSPORT_HEADER_MAX)
        return drop(&ip->counters.drop_send_field);
    const struct capability *c = capability_range(table, head->pool, head->generation, head->offset, head->length);
    if (c == NULL || c->base == NULL)
        return drop(&ip->counters.drop_reference);
    memcpy(p->head, c->base + head->offset, head->length);
    p->head_octets = head->length;
    if (body->length > 0 && capability_range(table, body->pool, body->generation, body->offset, body->length) == NULL)
        return drop(&ip->counters.drop_reference);
    p->payload = *body;
    return true;
}

/* What the right says: protocol and local address; and the message must say what the header says. */
static bool check_right(struct ip *ip, const struct capability *right, const struct message *m, struct ip_packet *p)
{
    uint8_t family = m->source.family;
    bool ok = m->protocol == right->protocol && (family == ADDRESS_IP4 || family == ADDRESS_IP6) &&
              m->destination.family == family && m->source_port == ip_port_at(p->head, 0) &&
              m->destination_port == ip_port_at(p->head, 2);
    ok = ok && (capability_has_address(right, &m->source) || ip_classify(ip, &m->source) == IP_CLASS_LOOPBACK);
    if (!ok)
        return drop(&ip->counters.drop_send_field);
    p->source = m->source;
    p->destination = m->destination;
    p->source_port = m->source_port;
    p->destination_port = m->destination_port;
    p->sequence = (uint32_t)ip_port_at(p->head, 4) << 16 | ip_port_at(p->head, 6);
    p->protocol = m->protocol;
    p->ttl = m->ttl;
    p->traffic_class = m->traffic_class;
    return true;
}

static uint8_t gso_of(const struct ip_packet *p)
{
    if (p->protocol != IP_PROTOCOL_TCP)
        return MESSAGE_GSO_UDP;
    return p->source.family == ADDRESS_IP6 ? MESSAGE_GSO_TCP6 : MESSAGE_GSO_TCP4;
}

static bool check_offload(struct ip *ip, const struct message *m, struct ip_packet *p)
{
    uint32_t headers = p->source.family == ADDRESS_IP6 ? 0 : IP4_HEADER_MIN;
    bool partial = m->checksum_state == MESSAGE_CHECKSUM_PARTIAL;
    bool ok = m->checksum_state <= MESSAGE_CHECKSUM_PARTIAL &&
              (uint64_t)headers + p->head_octets + p->payload.length <= IP_OCTETS_MAX;
    if (partial)
        ok = ok && m->checksum_start == 0 && (uint32_t)m->checksum_offset + 2 <= p->head_octets;
    if (m->gso_type != MESSAGE_GSO_NONE)
        ok = ok && partial && m->gso_size > 0 && m->gso_type == gso_of(p);
    if (!ok)
        return drop(&ip->counters.drop_send_offload);
    p->checksum_state = m->checksum_state;
    p->checksum_offset = m->checksum_offset;
    p->gso_type = m->gso_type;
    p->gso_size = m->gso_type != MESSAGE_GSO_NONE ? m->gso_size : 0;
    /* TCP does its own path MTU discovery (RFC 1191 6, RFC 8201 5.4) */
    p->dont_fragment = (m->flags & MESSAGE_DONT_FRAGMENT) != 0 || m->protocol == IP_PROTOCOL_TCP;
    return true;
}

enum direction { DIRECTION_NONE, DIRECTION_WIRE, DIRECTION_HERE };

/* Where it goes, by what its addresses are to this stack. */
static enum direction check_addresses(struct ip *ip, const struct ip_packet *p)
{
    enum ip_class source = ip_classify(ip, &p->source), destination = ip_classify(ip, &p->destination);
    if (source == IP_CLASS_TENTATIVE) {
        struct message about = ip_message_of(p);
        ip->counters.drop_tentative++;
        ip_tell_reason(ip, &about, p->sequence, IP_REASON_HOST, 0);
        return DIRECTION_NONE;
    }
    if (destination == IP_CLASS_OURS || destination == IP_CLASS_LOOPBACK)
        return DIRECTION_HERE;
    /* RFC 1122 3.2.1.3 (g), RFC 4291 2.5.3: a loopback address never leaves the host */
    bool group = destination == IP_CLASS_BROADCAST && p->protocol == IP_PROTOCOL_UDP;
    if (source == IP_CLASS_OURS && (destination == IP_CLASS_UNICAST || group))
        return DIRECTION_WIRE;
    ip->counters.drop_send_class++;
    return DIRECTION_NONE;
}

static bool keep(struct ip *ip, enum server_id from, const struct message *m, uint32_t buffers)
{
    ip->kept[from] = (struct ip_kept){.present = true, .buffers = buffers, .message = *m};
    return false;
}

/* For one packet in one buffer. Those that another's kept packet waits for are not for it. */
static bool wire_room(struct ip *ip, enum server_id from)
{
    return port_space(ip->nic) >= IP_SPACE && ip_buffers_free(ip) > ip_buffers_promised(ip, (uint8_t)from);
}

static bool to_wire(struct ip *ip, uint64_t now_us, enum server_id from, const struct message *m,
                    const struct ip_packet *p)
{
    uint32_t mtu = 0, buffers = 0;
    if (!ip->nic->attached) {
        if (now_us < ip->nic_lost_us + IP_NIC_PATIENCE_US)
            return keep(ip, from, m, 0);
        ip->counters.drop_no_nic++;
        ip_loan_done(ip, &p->loan);
        return true;
    }
    if (!wire_room(ip, from))
        return keep(ip, from, m, 1);
    switch (ip_output(ip, now_us, p, &mtu, &buffers)) {
    case IP_OUTPUT_DONE:
        break;
    case IP_OUTPUT_LATER:
        return keep(ip, from, m, buffers);
    case IP_OUTPUT_TOO_LONG:
        ip->counters.drop_too_long++;
        struct message about = ip_message_of(p);
        ip_tell_reason(ip, &about, p->sequence, IP_REASON_TOO_BIG, mtu);
        ip_loan_done(ip, &p->loan);
        break;
    }
    return true;
}

bool ip_send(struct ip *ip, uint64_t now_us, enum server_id from, const struct message *m)
{
    struct ip_packet p = {.loan = {.origin = (uint8_t)from, .cookie = (uint32_t)m->cookie}};
    struct capability_table *table = &ip->context.port[from]->table;
    const struct capability *right =
        capability_lookup(table, m->capability, m->generation, CAPABILITY_TRANSPORT, CAPABILITY_SEND);
    enum direction direction = DIRECTION_NONE;
    uint32_t octets = m->reference[0].length + m->reference[1].length;
    bool ok = right != NULL || drop(&ip->counters.drop_right);
    if (!server_works_on(&ip->context, work_key_message(&ip->context, WORK_SEND, m, octets)))
        ok = drop(&ip->counters.drop_poison);
    if (ok && gather(ip, table, m, &p) && check_right(ip, right, m, &p) && check_offload(ip, m, &p))
        direction = check_addresses(ip, &p);
    if (direction == DIRECTION_WIRE)
        return to_wire(ip, now_us, from, m, &p);
    if (direction == DIRECTION_HERE)
        ip_deliver_here(ip, &p);
    else
        ip_loan_done(ip, &p.loan);
    return true;
}
