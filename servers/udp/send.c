// SPDX-License-Identifier: BSD-2-Clause
/* To ip: records of the send rings, each a header of ours and the payload where the application wrote it. */
#include <errno.h>
#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/ip4/ip4.h"
#include "servers/addresses.h"
#include "servers/udp/udp_server.h"
#include "servers/work.h"

#define CHECKSUM_AT 6U
/* Payload that no path takes apart (RFC 1122 3.3.2: 576 octets, RFC 8200 5: 1280, less headers). Of more the checksum
 * is complete when it leaves us: ip may have to send it as fragments. */
#define WHOLE_MAX_IP4 548U
#define WHOLE_MAX_IP6 1232U
#define IP4_HEADER    20U
#define IP6_HEADER    40U

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
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* the copy is made here and not again */
    ret->octets = end;
    if (ret->record.length == DATAGRAM_WRAP)
        return end <= available ? RECORD_WRAP : RECORD_LIE;
    if (readable < sizeof ret->record || ret->record.length > DATAGRAM_MOST)
        return RECORD_LIE;
    ret->place = at + (uint32_t)sizeof ret->record;
    ret->octets = udp_record_octets(ret->record.length);
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
    return address_family_known(m->destination.family) && m->destination_port != 0 &&
           !ip_address_is_any(&m->destination) && !address_is_mapped(&m->destination);
}

/* Where it comes from; false: from nowhere that there is. */
static bool source(const struct udp_server *s, const struct udp_binding *b, struct message *m)
{
    const struct ip_address *from = &b->local;
    if (b->local.family != ADDRESS_NONE && b->local.family != m->destination.family)
        return false;
    if (ip_address_is_any(&b->local))
        from = address_source(s->transport.context->config, &m->destination);
    if (from == NULL)
        return false;
    m->source = *from;
    m->source_port = b->local_port;
    return true;
}

static bool refuse(struct udp_server *s, uint32_t endpoint, uint64_t *counter, int error)
{
    (*counter)++;
    if (error != 0)
        udp_tell_error(s, endpoint, error);
    return false;
}

/* Fills addresses, ports, TTL and flags. False: it cannot go; counted, and told where the application could not know.
 */
static bool envelope(struct udp_server *s, uint32_t endpoint, const struct datagram_record *r, struct message *m)
{
    struct endpoint *e = &s->endpoint[endpoint];
    const struct stack_config *config = s->transport.context->config;
    const struct udp_binding *b = udp_binding_at(s->engine, e->connection);
    if (b == NULL || (r->flags & ~DATAGRAM_TRAFFIC_CLASS) != 0 || !destination(b, r, m))
        return refuse(s, endpoint, &s->counters.drop_send_address, 0);
    const struct policy_list *may = &s->transport.context->session[e->session].connect;
    if (!policy_permits(may, IP_PROTOCOL_UDP, &m->destination, m->destination_port))
        return refuse(s, endpoint, &s->counters.drop_send_policy, EACCES);
    if (address_is_broadcast(config, &m->destination) && !udp_option(e, CONTROL_OPTION_BROADCAST))
        return refuse(s, endpoint, &s->counters.drop_send_broadcast, EACCES);
    if (!address_reaches(config, &b->local, &m->destination))
        return refuse(s, endpoint, &s->counters.drop_send_no_source, EINVAL);
    if (!source(s, b, m))
        return refuse(s, endpoint, &s->counters.drop_send_no_source, ENETUNREACH);
    uint32_t headers = (m->source.family == ADDRESS_IP4 ? IP4_HEADER : IP6_HEADER) + UDP_HEADER_LENGTH;
    bool whole = udp_option(e, CONTROL_OPTION_DONT_FRAGMENT);
    if (whole && headers + r->length > config->mtu && !address_is_ours(config, &m->destination)) {
        e->words.path_mtu = config->mtu;
        return refuse(s, endpoint, &s->counters.drop_send_too_big, EMSGSIZE);
    }
    m->flags = whole ? MESSAGE_DONT_FRAGMENT : 0;
    m->ttl = r->ttl != 0 ? r->ttl : e->ttl;
    if (m->ttl == 0 && address_is_multicast(&m->destination))
        m->ttl = 1; /* RFC 1112 6.1 */
    m->traffic_class = (r->flags & DATAGRAM_TRAFFIC_CLASS) != 0 ? r->traffic_class : e->traffic_class;
    return true;
}

/* The header, and how its checksum is meant. The payload may change under a sum that is taken of it: then it is wrong,
 * which harms the application's own datagram only. */
static void header_build(const struct endpoint *e, const struct udp_header *header, const uint8_t *payload,
                         struct message *m, uint8_t *ret_bytes)
{
    uint32_t octets = header->payload_length;
    bool ip4 = m->source.family == ADDRESS_IP4;
    if (ip4 && udp_option(e, CONTROL_OPTION_NO_CHECK)) {
        udp_build_unchecked(header, ret_bytes);
    } else if (octets <= (ip4 ? WHOLE_MAX_IP4 : WHOLE_MAX_IP6)) {
        udp_build_partial(&m->source, &m->destination, header, ret_bytes);
        m->checksum_state = MESSAGE_CHECKSUM_PARTIAL;
        m->checksum_offset = CHECKSUM_AT;
    } else {
        udp_build(&m->source, &m->destination, header, checksum_add(0, payload, octets), ret_bytes);
    }
}

static void send_datagram(struct udp_server *s, uint32_t endpoint, const struct session_arena *a,
                          const struct datagram_out *d)
{
    struct endpoint *e = &s->endpoint[endpoint];
    struct message m = {.checksum_state = MESSAGE_CHECKSUM_NONE};
    if (!envelope(s, endpoint, &d->record, &m))
        return;
    const struct udp_header header = {.source_port = m.source_port,
                                      .destination_port = m.destination_port,
                                      .payload_length = (uint16_t)d->record.length};
    uint8_t bytes[UDP_HEADER_LENGTH];
    header_build(e, &header, slot_send_ring(a, e->slot) + d->place, &m, bytes);
    udp_counters(s->engine)->datagrams_out++;
    transport_packet_send(&s->transport, &m, bytes, sizeof bytes, endpoint, s->side[endpoint].send_next, d->place,
                          d->record.length);
}

/* The next record of a socket; a lie costs it all that it has written so far. */
static void send_next(struct udp_server *s, uint32_t endpoint, const struct session_arena *a)
{
    struct udp_side *side = &s->side[endpoint];
    const struct server_context *context = s->transport.context;
    struct datagram_out d;
    switch (record_read(side, a, s->endpoint[endpoint].slot, &d)) {
    case RECORD_GOOD:
        if (server_works_on(context,
                            work_key_numbers(context, WORK_SEND, s->endpoint[endpoint].socket, side->send_next)))
            send_datagram(s, endpoint, a, &d);
        else
            s->transport.counters.drop_poison++;
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
    server_works_alone(s->transport.context);
    return turns > 0;
}
