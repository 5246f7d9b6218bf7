// SPDX-License-Identifier: BSD-2-Clause
#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/ip4/ip4.h"
#include "servers/udp/udp_server.h"

#define CHECKSUM_AT 6U
#define PAYLOAD_MAX 65507U /* IPv4: 65535 less both headers */
#define IP4_AND_UDP 28U

static uint32_t record_octets(uint32_t payload)
{
    return ((uint32_t)sizeof(struct datagram_record) + payload + DATAGRAM_STEP - 1) & ~(DATAGRAM_STEP - 1);
}

/* ---- in ---- */

static void write_record(uint8_t *at, const struct message *m, const uint8_t *payload, uint32_t octets)
{
    struct datagram_record record = {.length = octets, .port = m->source_port, .family = m->source.family};
    memcpy(record.octets, m->source.octets, sizeof record.octets);
    memcpy(at, &record, sizeof record);
    memcpy(at + sizeof record, payload, octets);
}

/* The one copy: head and payload to the receive ring; a record that would cross its end goes to its start. */
static void deliver(struct udp_server *s, uint32_t endpoint, const struct message *m, const uint8_t *payload,
                    uint32_t octets)
{
    struct endpoint *e = &s->endpoint[endpoint];
    const struct session_arena *a = slot_arena(&s->transport, e);
    uint32_t need = record_octets(octets);
    if (a == NULL || need > a->receive_size) {
        s->counters.drop_receive_too_big++;
        return;
    }
    uint32_t at = e->words.receive_head & (a->receive_size - 1);
    uint32_t skip = a->receive_size - at < need ? a->receive_size - at : 0;
    if (!udp_room(s, endpoint, a->receive_size, skip + need)) {
        s->counters.drop_receive_full++;
        return;
    }
    uint8_t *ring = slot_receive_ring(a, e->slot);
    if (skip > 0) {
        uint32_t wrap = DATAGRAM_WRAP;
        memcpy(ring + at, &wrap, sizeof wrap);
        at = 0;
    }
    write_record(ring + at, m, payload, octets);
    e->words.receive_head += skip + need;
    udp_touch(s, endpoint);
}

/* RFC 1122 4.1.3.1: SHOULD send a Port Unreachable. ip, which has the right to, reads the datagram's head while it is
 * on loan to us: the loan goes back behind this message. */
static void nobody_here(struct udp_server *s, const struct message *m)
{
    struct transport *t = &s->transport;
    udp_counters(s->engine)->drop_no_port++;
    if (port_space(t->ip) < 2 + TRANSPORT_RETURN_SLOTS) {
        s->counters.drop_unreachable_full++;
        return;
    }
    struct message u = {.operation = MESSAGE_UNREACHABLE,
                        .capability = CAPABILITY_INDEX_PEER,
                        .generation = 1,
                        .cookie = m->cookie,
                        .reference = {m->reference[0]},
                        .source = m->destination,
                        .destination = m->source,
                        .source_port = m->destination_port,
                        .destination_port = m->source_port,
                        .protocol = IP_PROTOCOL_UDP,
                        .ttl = m->ttl,
                        .traffic_class = m->traffic_class};
    if (port_push(t->ip, &u))
        s->counters.unreachable_sent++;
}

static void receive(struct udp_server *s, const struct message *m)
{
    struct transport *t = &s->transport;
    struct udp_counters *count = udp_counters(s->engine);
    struct transport_packet p;
    struct udp_header header;
    if (!transport_packet_receive(t, m, &p))
        return;
    t->counters.received++;
    if (udp_parse(count, p.header, p.header_octets, p.octets, &header) != UDP_OK)
        return;
    const uint8_t *payload = p.bytes + UDP_HEADER_LENGTH;
    if (m->checksum_state == MESSAGE_CHECKSUM_NONE &&
        udp_verify(count, &m->source, &m->destination, p.header,
                   header.has_checksum ? checksum_add(0, payload, header.payload_length) : 0) != UDP_OK)
        return;
    uint32_t binding = udp_lookup(s->engine, &m->source, m->source_port, &m->destination, m->destination_port);
    const struct udp_binding *b = binding != UDP_NONE ? udp_binding_at(s->engine, binding) : NULL;
    if (b == NULL || (s->endpoint[b->owner].flags & ENDPOINT_CLOSED))
        nobody_here(s, m);
    else
        deliver(s, b->owner, m, payload, header.payload_length);
}

bool udp_packets_in(struct udp_server *s)
{
    struct transport *t = &s->transport;
    uint32_t budget = transport_receive_budget(t), taken = 0;
    struct message m;
    for (; taken < budget && port_pull(t->ip, &m); taken++) {
        if (m.operation == MESSAGE_RECEIVE) {
            receive(s, &m);
            transport_give_back(t, (uint32_t)m.cookie);
        } else if (m.operation == MESSAGE_UNREACHABLE) {
            t->counters.drop_unreachable++; /* errors of sockets: left out */
        } else if (!transport_loans_home(t, &m)) {
            t->counters.drop_operation++;
        }
    }
    return taken > 0;
}

/* ---- out ---- */

struct datagram_out {
    struct datagram_record record; /* the copy that counts */
    uint32_t place;                /* of the payload in the ring */
    uint32_t octets;               /* of ring that it takes */
};

enum record_result { RECORD_GOOD, RECORD_WRAP, RECORD_LIE };

/* Untrusted: the record at send_next (from the application), copied once. */
static enum record_result record_read(const struct udp_side *side, const struct session_arena *a, uint32_t slot,
                                      struct datagram_out *ret)
{
    uint32_t at = side->send_next & (a->send_size - 1);
    uint32_t end = a->send_size - at, available = side->send_head - side->send_next;
    uint32_t readable = end < sizeof ret->record ? end : (uint32_t)sizeof ret->record;
    memcpy(&ret->record, slot_send_ring(a, slot) + at, readable);
    ret->octets = end;
    if (ret->record.length == DATAGRAM_WRAP)
        return end <= available ? RECORD_WRAP : RECORD_LIE;
    if (readable < sizeof ret->record || ret->record.length > PAYLOAD_MAX)
        return RECORD_LIE;
    ret->place = at + (uint32_t)sizeof ret->record;
    ret->octets = record_octets(ret->record.length);
    return ret->octets <= end && ret->octets <= available ? RECORD_GOOD : RECORD_LIE;
}

/* Where it goes; false: nowhere that there is. */
static bool destination(const struct udp_binding *b, const struct datagram_record *r, struct message *m)
{
    if (r->port == 0) {
        m->destination = b->remote;
        m->destination_port = b->remote_port;
    } else {
        m->destination = (struct ip_address){.family = r->family};
        memcpy(m->destination.octets, r->octets, r->family == ADDRESS_IP4 ? 4 : 16);
        m->destination_port = r->port;
    }
    return m->destination.family == ADDRESS_IP4 && m->destination_port != 0 && !ip_address_is_any(&m->destination);
}

static void send_datagram(struct udp_server *s, uint32_t endpoint, const struct datagram_out *d)
{
    struct transport *t = &s->transport;
    const struct udp_binding *b = udp_binding_at(s->engine, s->endpoint[endpoint].connection);
    struct message m = {.checksum_state = MESSAGE_CHECKSUM_PARTIAL, .checksum_offset = CHECKSUM_AT};
    if (b == NULL || !destination(b, &d->record, &m)) {
        s->counters.drop_send_address++;
        return;
    }
    if (!policy_permits(&t->context->session[s->endpoint[endpoint].session].connect, IP_PROTOCOL_UDP, &m.destination,
                        m.destination_port)) {
        s->counters.drop_send_policy++;
        return;
    }
    if (d->record.length > t->context->config->mtu - IP4_AND_UDP) { /* nothing is fragmented yet */
        s->counters.drop_send_too_big++;
        return;
    }
    const struct ip_address *any = transport_local(t, m.destination.family);
    if (any == NULL) {
        s->counters.drop_send_address++;
        return;
    }
    m.source = ip_address_is_any(&b->local) ? *any : b->local;
    m.source_port = b->local_port;
    const struct udp_header header = {.source_port = m.source_port,
                                      .destination_port = m.destination_port,
                                      .payload_length = (uint16_t)d->record.length};
    uint8_t bytes[UDP_HEADER_LENGTH];
    udp_build_partial(&m.source, &m.destination, &header, bytes);
    udp_counters(s->engine)->datagrams_out++;
    transport_packet_send(t, &m, bytes, sizeof bytes, endpoint, s->side[endpoint].send_next, d->place,
                          d->record.length);
}

/* The next record of a socket; a lie costs it all that it has written so far. */
static void send_next(struct udp_server *s, uint32_t endpoint, const struct session_arena *a)
{
    struct udp_side *side = &s->side[endpoint];
    struct datagram_out d;
    switch (record_read(side, a, s->endpoint[endpoint].slot, &d)) {
    case RECORD_GOOD:
        send_datagram(s, endpoint, &d);
        side->send_next += d.octets;
        break;
    case RECORD_WRAP:
        side->send_next += d.octets;
        break;
    case RECORD_LIE:
        s->counters.drop_send_record++;
        side->send_next = side->send_head;
        break;
    }
    s->endpoint[endpoint].words.send_tail = side->send_next;
}

static void send_turn(struct udp_server *s, uint32_t endpoint)
{
    struct transport *t = &s->transport;
    struct udp_side *side = &s->side[endpoint];
    const struct endpoint *e = &s->endpoint[endpoint];
    const struct session_arena *a = e->flags & ENDPOINT_USED ? slot_arena(t, e) : NULL;
    if (a == NULL || side->send_next == side->send_head)
        return;
    for (uint32_t i = 0; i < UDP_TURN && side->send_next != side->send_head && transport_can_send(t); i++)
        send_next(s, endpoint, a);
    udp_touch(s, endpoint);
    if (side->send_next != side->send_head)
        udp_ready(s, endpoint);
    else
        endpoint_try_release(t, endpoint);
}

bool udp_packets_out(struct udp_server *s)
{
    uint32_t turns = 0;
    s->transport.blocked = false;
    for (; turns < SERVER_BURST && s->ready_first != 0 && transport_can_send(&s->transport); turns++) {
        uint32_t endpoint = s->ready_first - 1;
        s->ready_first = s->side[endpoint].ready_next;
        if (s->ready_first == 0)
            s->ready_last = 0;
        s->side[endpoint].ready = false;
        send_turn(s, endpoint);
    }
    return turns > 0;
}
