// SPDX-License-Identifier: BSD-2-Clause
/* `bulkhead capture`, in the domain: what a message of a channel looks like in a file. At nic, frames as ip and nic
 * hand them to each other (checksums and segments are the device's to finish, as in any capture on a host with
 * offloads); at tcp and udp towards ip, packets under an IP header made from the message's addresses; towards socket,
 * the messages themselves. Off, it costs nothing: the port has its own operations. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "ipc/capture.h"
#include "ipc/segment.h"
#include "servers/domain/state.h"

#define IP4_OCTETS    20U
#define IP6_OCTETS    40U
#define IP_MOST       65535U
#define DONT_FRAGMENT 0x40

struct domain_capture {
    struct capture_port wrapper; /* first */
    struct capture_writer writer;
    struct capture_ring *ring; /* NULL: off */
    const struct domain *domain;
    const struct domain_port *port;
    bool stays; /* could not be taken off the port */
};

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- where the octets lie ---- */

static bool in_table(const struct domain_port *port, const struct message_reference *r, struct capture_part *ret)
{
    const struct capability *c = &port->port.table.entry[r->pool % CAPABILITY_TABLE_MAX];
    if (r->pool >= CAPABILITY_TABLE_MAX || c->type != CAPABILITY_POOL || c->generation != r->generation ||
        c->base == NULL || r->offset > c->size || r->length > c->size - r->offset)
        return false;
    *ret = (struct capture_part){c->base + r->offset, r->length};
    return true;
}

static bool in_own_pool(const struct domain *domain, const struct message_reference *r, struct capture_part *ret)
{
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct domain_server *at = &domain->server[id];
        if (at->server == NULL || at->context.pool == NULL || at->context.pool_capability != r->pool ||
            at->context.pool_generation != r->generation)
            continue;
        uint64_t size =
            (uint64_t)at->server->pool_buffers * at->server->pool_buffer_octets + at->server->pool_extra_octets;
        if (r->offset > size || r->length > size - r->offset)
            return false;
        *ret = (struct capture_part){at->context.pool->base + r->offset, r->length};
        return true;
    }
    return false;
}

/* Untrusted: r, when pulled. Indices mean the same in all tables of the stack, so what we name to others is found in
 * ours. What cannot be found is captured as nothing. */
static struct capture_part part_of(const struct domain_capture *c, const struct message_reference *r, bool pushed)
{
    struct capture_part part = {"", 0};
    if (r->length == 0 || (!pushed && in_table(c->port, r, &part)) || in_own_pool(c->domain, r, &part))
        return part;
    for (uint32_t p = 0; pushed && p < c->domain->port_count; p++)
        if (in_table(c->domain->port[p], r, &part))
            return part;
    return part;
}

/* ---- what it looks like ---- */

static void put16(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

static uint32_t ip4_header(uint8_t h[IP6_OCTETS], const struct message *m, uint32_t length)
{
    uint32_t sum = 0, total = length + IP4_OCTETS < IP_MOST ? length + IP4_OCTETS : IP_MOST;
    memset(h, 0, IP4_OCTETS);
    h[0] = 0x45;
    h[1] = m->traffic_class;
    put16(h + 2, total);
    h[6] = DONT_FRAGMENT;
    h[8] = m->ttl != 0 ? m->ttl : 64;
    h[9] = m->protocol;
    memcpy(h + 12, m->source.octets, 4);
    memcpy(h + 16, m->destination.octets, 4);
    for (unsigned i = 0; i < IP4_OCTETS; i += 2)
        sum += (uint32_t)h[i] << 8 | h[i + 1];
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    put16(h + 10, ~sum & 0xffff);
    return IP4_OCTETS;
}

static uint32_t ip6_header(uint8_t h[IP6_OCTETS], const struct message *m, uint32_t length)
{
    memset(h, 0, IP6_OCTETS);
    h[0] = (uint8_t)(0x60 | m->traffic_class >> 4);
    h[1] = (uint8_t)(m->traffic_class << 4);
    put16(h + 4, length < IP_MOST ? length : IP_MOST);
    h[6] = m->protocol;
    h[7] = m->ttl != 0 ? m->ttl : 64;
    memcpy(h + 8, m->source.octets, 16);
    memcpy(h + 24, m->destination.octets, 16);
    return IP6_OCTETS;
}

static bool is_packet(const struct message *m)
{
    return m->operation == MESSAGE_SEND || m->operation == MESSAGE_RECEIVE;
}

static uint32_t direction(bool up)
{
    return up ? CAPTURE_INBOUND : CAPTURE_OUTBOUND;
}

static void record_frame(struct capture_port *wrapper, const struct message *m, bool pushed)
{
    struct domain_capture *c = (struct domain_capture *)wrapper;
    if (!is_packet(m))
        return;
    struct capture_part part[] = {part_of(c, &m->reference[0], pushed), part_of(c, &m->reference[1], pushed)};
    capture_write(&c->writer, clock_ns(), direction(m->operation == MESSAGE_RECEIVE), part, 2);
}

static void record_packet(struct capture_port *wrapper, const struct message *m, bool pushed)
{
    struct domain_capture *c = (struct domain_capture *)wrapper;
    uint8_t header[IP6_OCTETS];
    if (!is_packet(m))
        return;
    struct capture_part part[CAPTURE_PARTS] = {
        {header, 0}, part_of(c, &m->reference[0], pushed), part_of(c, &m->reference[1], pushed)};
    uint32_t length = part[1].length + part[2].length;
    bool six = m->destination.family == ADDRESS_IP6;
    part[0].length = six ? ip6_header(header, m, length) : ip4_header(header, m, length);
    capture_write(&c->writer, clock_ns(), direction(m->operation == MESSAGE_RECEIVE), part, CAPTURE_PARTS);
}

static void record_message(struct capture_port *wrapper, const struct message *m, bool pushed)
{
    struct domain_capture *c = (struct domain_capture *)wrapper;
    struct capture_part part = {m, sizeof *m};
    capture_write(&c->writer, clock_ns(), direction(pushed), &part, 1); /* we are the lower end */
}

/* ---- on and off ---- */

static struct domain_capture *capture_of(struct domain *domain, const struct domain_port *port, bool make)
{
    if (domain->capture == NULL && make)
        domain->capture = domain_memory(DOMAIN_PORTS * sizeof *domain->capture);
    for (uint32_t p = 0; domain->capture != NULL && p < domain->port_count; p++)
        if (domain->port[p] == port)
            return &domain->capture[p];
    return NULL;
}

static void capture_off(struct domain_port *port, struct domain_capture *c)
{
    if (c == NULL || c->ring == NULL)
        return;
    c->stays = !capture_unwrap(&port->port, &c->wrapper);
    segment_unmap(c->ring, sizeof *c->ring);
    c->ring = NULL;
}

int capture_set(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Capture *m = message->what->capture;
    struct domain_server *at = domain_server_at(domain, m->server);
    struct domain_port *port = at != NULL && m->peer < SERVER_COUNT ? at->port[m->peer] : NULL;
    if (port == NULL)
        return -EINVAL;
    struct domain_capture *c = capture_of(domain, port, m->on);
    capture_off(port, c);
    if (!m->on)
        return 0;
    if (c == NULL)
        return -ENOMEM;
    void *ring;
    int result = grant_map(message, m->fd, sizeof *c->ring, true, &ring);
    if (result != 0)
        return result;
    c->ring = ring;
    c->domain = domain;
    c->port = port;
    capture_writer_init(&c->writer, ring, m->snap, domain->incarnation);
    if (!c->stays)
        capture_wrap(&port->port, &c->wrapper);
    c->wrapper.record = m->server == SERVER_NIC ? record_frame : m->peer == SERVER_IP ? record_packet : record_message;
    return 0;
}
