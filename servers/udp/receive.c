// SPDX-License-Identifier: BSD-2-Clause
/* From ip: each datagram is copied once, as a record of the receive ring of the socket that it fits. */
#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/ip4/ip4.h"
#include "servers/addresses.h"
#include "servers/udp/udp_server.h"
#include "servers/work.h"

#define GSO_SEGMENTS_MAX 128U /* as Linux: UDP_MAX_SEGMENTS */

struct datagram_in {
    const struct message *m;
    const struct transport_packet *p;
    uint32_t at, octets; /* payload, from the start of the header */
};

static void write_record(uint8_t *at, const struct datagram_in *d)
{
    struct datagram_record record = {.length = d->octets,
                                     .port = d->m->source_port,
                                     .family = d->m->source.family,
                                     .ttl = d->m->ttl,
                                     .traffic_class = d->m->traffic_class};
    memcpy(record.octets, d->m->source.octets, sizeof record.octets);
    memcpy(at, &record, sizeof record);
    transport_packet_copy(d->p, d->at, at + sizeof record, d->octets);
}

static void receive_full(struct udp_server *s, uint32_t endpoint, uint64_t *counter)
{
    (*counter)++;
    s->endpoint[endpoint].words.receive_drops++;
    udp_touch(s, endpoint);
}

static void write_wrap(uint8_t *at)
{
    uint32_t wrap = DATAGRAM_WRAP;
    memcpy(at, &wrap, sizeof wrap);
}

/* A record of more than half of the ring may have too little before `at` as well as behind it, and no reading would
 * ever change that. The end is given up now, so that the next one begins at the start. */
static void give_up_end(struct udp_server *s, uint32_t endpoint, const struct session_arena *a, uint32_t at)
{
    struct endpoint *e = &s->endpoint[endpoint];
    uint32_t rest = a->receive_size - at;
    if (!udp_room(s, endpoint, a->receive_size, rest))
        return;
    write_wrap(slot_receive_ring(a, e->slot) + at);
    e->words.receive_head += rest;
}

/* The one copy: head and payload to the receive ring; a record that would cross its end goes to its start. */
static void deliver_one(struct udp_server *s, uint32_t endpoint, const struct datagram_in *d)
{
    struct endpoint *e = &s->endpoint[endpoint];
    const struct session_arena *a = slot_arena(&s->transport, e);
    uint32_t need = udp_record_octets(d->octets);
    if (a == NULL || need > a->receive_size) {
        receive_full(s, endpoint, &s->counters.drop_receive_too_big);
        return;
    }
    uint32_t at = e->words.receive_head & (a->receive_size - 1);
    uint32_t skip = a->receive_size - at < need ? a->receive_size - at : 0;
    if (!udp_room(s, endpoint, a->receive_size, skip + need)) {
        if (skip + need > a->receive_size)
            give_up_end(s, endpoint, a, at);
        receive_full(s, endpoint, &s->counters.drop_receive_full);
        return;
    }
    uint8_t *ring = slot_receive_ring(a, e->slot);
    if (skip > 0) {
        write_wrap(ring + at);
        at = 0;
    }
    write_record(ring + at, d);
    e->words.receive_head += skip + need;
    udp_touch(s, endpoint);
}

/* A super-datagram is one record for each datagram that it is made of. */
static void deliver(struct udp_server *s, uint32_t binding, const struct datagram_in *d)
{
    uint32_t endpoint = udp_binding_at(s->engine, binding)->owner;
    if (s->endpoint[endpoint].flags & ENDPOINT_CLOSED)
        return;
    uint32_t each = d->m->gso_type == MESSAGE_GSO_UDP ? d->m->gso_size : d->octets;
    struct datagram_in part = {.m = d->m, .p = d->p, .at = d->at};
    do {
        uint32_t left = d->at + d->octets - part.at;
        part.octets = left < each ? left : each;
        deliver_one(s, endpoint, &part);
        part.at += part.octets;
    } while (part.at < d->at + d->octets);
}

static bool gso_good(struct udp_server *s, const struct message *m, uint32_t octets)
{
    if (m->gso_type == MESSAGE_GSO_NONE)
        return true;
    if (m->gso_type != MESSAGE_GSO_UDP || m->gso_size == 0 || octets / m->gso_size > GSO_SEGMENTS_MAX) {
        s->counters.drop_receive_gso++;
        return false;
    }
    s->counters.gso_received++;
    return true;
}

/* RFC 1122 4.1.3.1: SHOULD send a Port Unreachable. ip, which has the right to, reads the datagram's head while it is
 * on loan to us: the loan goes back behind this message. */
static void nobody_here(struct udp_server *s, const struct message *m)
{
    struct transport *t = &s->transport;
    udp_counters(s->engine)->drop_no_port++;
    if (address_is_broadcast(t->context->config, &m->destination))
        return; /* RFC 1122 3.2.2: MUST NOT answer a broadcast */
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

static bool is_open(const struct udp_server *s, uint32_t binding)
{
    return binding != UDP_NONE && !(s->endpoint[udp_binding_at(s->engine, binding)->owner].flags & ENDPOINT_CLOSED);
}

static void find_and_deliver(struct udp_server *s, const struct datagram_in *d)
{
    const struct message *m = d->m;
    uint32_t binding = udp_lookup(s->engine, &m->source, m->source_port, &m->destination, m->destination_port);
    if (!is_open(s, binding)) {
        nobody_here(s, m);
        return;
    }
    if (!address_is_broadcast(s->transport.context->config, &m->destination)) {
        deliver(s, binding, d);
        return;
    }
    for (uint32_t i = UDP_NONE; (i = udp_next(s->engine, i, &m->source, m->source_port, &m->destination,
                                              m->destination_port)) != UDP_NONE;) /* as many as there are at most */
        deliver(s, i, d);
}

/* PARTIAL: the field holds but a part of the sum, and nobody but this host has had the bytes. */
static bool checksum_good(struct udp_server *s, const struct message *m, const struct transport_packet *p,
                          const struct udp_header *header)
{
    bool missing = !header->has_checksum && m->source.family == ADDRESS_IP6;
    if (m->checksum_state == MESSAGE_CHECKSUM_PARTIAL || (m->checksum_state == MESSAGE_CHECKSUM_VALID && !missing))
        return true;
    uint64_t sum = header->has_checksum ? transport_packet_sum(p, UDP_HEADER_LENGTH, header->payload_length) : 0;
    return udp_verify(udp_counters(s->engine), &m->source, &m->destination, p->header, sum) == UDP_OK;
}

static void receive(struct udp_server *s, const struct message *m)
{
    struct transport *t = &s->transport;
    struct transport_packet p;
    struct udp_header header;
    uint32_t octets = m->reference[0].length + m->reference[1].length;
    if (!server_works_on(t->context, work_key_message(t->context, WORK_RECEIVE, m, octets))) {
        t->counters.drop_poison++;
        return;
    }
    if (!transport_packet_receive(t, m, &p))
        return;
    t->counters.received++;
    if (udp_parse(udp_counters(s->engine), p.header, p.header_octets, p.octets, &header) != UDP_OK ||
        !checksum_good(s, m, &p, &header) || !gso_good(s, m, header.payload_length))
        return;
    const struct datagram_in d = {.m = m, .p = &p, .at = UDP_HEADER_LENGTH, .octets = header.payload_length};
    find_and_deliver(s, &d);
}

bool udp_packets_in(struct udp_server *s)
{
    struct transport *t = &s->transport;
    uint32_t budget = transport_receive_budget(t), taken = 0;
    struct message m;
    for (; taken < budget && port_pull(t->ip, &m); taken++) {
        if (m.operation == MESSAGE_RECEIVE) {
            receive(s, &m);
            transport_give_back(t, &m);
        } else if (m.operation == MESSAGE_UNREACHABLE) {
            if (server_works_on(t->context, work_key_message(t->context, WORK_ERROR, &m, m.cookie)))
                udp_icmp_error(s, &m);
            else
                t->counters.drop_poison++;
        } else if (!transport_loans_home(t, &m)) {
            t->counters.drop_operation++;
            port_foreign(t->ip);
        }
    }
    server_works_alone(t->context);
    return taken > 0;
}
