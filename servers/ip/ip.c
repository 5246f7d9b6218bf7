// SPDX-License-Identifier: BSD-2-Clause
/* The ip server. Theory of operation.
 *
 * Between nic and the transports: Ethernet, ARP, IPv4, ICMP (the engines under protocols/),
 * routing. Payload stays where it lies; each hop is one message.
 *
 *   nic --RECEIVE--> headers copied, checked --RECEIVE--> tcp, udp      the loan comes back tcp ->
 * ip -> nic tcp, udp --SEND--> header copied, checked against the right, put behind ours in a
 * buffer of our pool
 *                      --(ARP)--> SEND --> nic                           the loan comes back nic ->
 * ip -> tcp
 *
 * Accounts: holder[] says for each of nic's buffers who has it (nobody, we, a transport); only that
 * one can give it back. out[] says for each of our buffers what is to be given back to whom when
 * nic returns it; an echo reply names nic's own buffer as payload, which therefore goes home after
 * it. What goes home waits in owed[] for room in the ring, so that nothing is ever lost for want of
 * room. Transports are read only while nic's ring and our pool have room (backpressure); nic is
 * always read, and what a transport has no room for is dropped and counted.
 *
 * Restarts: nothing is kept; neighbours are learned again. When nic dies, its buffers' accounts are
 * void; returns of old buffers may still lie in the transports' rings, so what the next nic sends
 * is dropped until each of these rings has been seen empty once, or a ring full was read (`barrier`): an old return can
 * never free a new buffer. When a transport dies, what it held goes home after the barrier, and
 * what it had sent goes out without anybody to return to.
 *
 * Limits: IP_* in ip.h. Left out, for now: local delivery (a packet to ourselves is a counted
 * drop), fragments, IPv6, more than one address. Read RFC 1122 3 first. */
#include "servers/ip/ip.h"

#include <errno.h>

#include "servers/counters.h"

static const enum server_id transports[] = {SERVER_TCP, SERVER_UDP};
#define TRANSPORTS (sizeof transports / sizeof transports[0])

static size_t ip_state_size(const struct stack_config *config)
{
    (void)config;
    return (sizeof(struct ip) + 63) & ~(size_t)63;
}

/* ---- counters ---- */

static void counters_place(struct status_counter *page)
{
    uint32_t place = 0;
#define X(name) place = counters_name(page, place, #name);
    IP_COUNTERS(X)
#undef X
#define X(name) place = counters_name(page, place, "ether_" #name);
    ETHER_COUNTERS(X)
#undef X
#define X(name) place = counters_name(page, place, "arp_" #name);
    ARP_COUNTERS(X)
#undef X
#define X(name) place = counters_name(page, place, "ip4_" #name);
    IP4_COUNTERS(X)
#undef X
#define X(name) place = counters_name(page, place, "icmp_" #name);
    ICMP_COUNTERS(X)
#undef X
    counters_name(page, place, "refused");
}

#define X(name) +1
_Static_assert(0 IP_COUNTERS(X) ETHER_COUNTERS(X) ARP_COUNTERS(X) IP4_COUNTERS(X) ICMP_COUNTERS(X) + 1 <=
                   STATUS_COUNTERS,
               "the page holds them all");
#undef X

static void ip_publish(void *state, uint64_t now_us)
{
    struct ip *ip = state;
    struct status_counter *page = ip->context.counter;
    uint32_t place = 0;
    (void)now_us;
    if (!ip->moved)
        return;
    ip->moved = false;
#define X(name) place = counters_value(page, place, ip->counters.name);
    IP_COUNTERS(X)
#undef X
#define X(name) place = counters_value(page, place, ip->ether_counters.name);
    ETHER_COUNTERS(X)
#undef X
#define X(name) place = counters_value(page, place, ip->arp.counters.name);
    ARP_COUNTERS(X)
#undef X
#define X(name) place = counters_value(page, place, ip->ip4_counters.name);
    IP4_COUNTERS(X)
#undef X
#define X(name) place = counters_value(page, place, ip->icmp.counters.name);
    ICMP_COUNTERS(X)
#undef X
    uint64_t refused = 0;
    for (unsigned i = 0; i < SERVER_COUNT; i++)
        if (ip->context.port[i] != NULL)
            refused += counters_refused(ip->context.port[i]->table.refused, CAPABILITY_REFUSALS);
    counters_value(page, place, refused);
}

/* ---- start ---- */

static int init_addresses(struct ip *ip, uint64_t now_us)
{
    const struct stack_config *config = ip->context.config;
    for (uint32_t i = 0; i < config->address_count; i++) {
        if (config->address[i].family != ADDRESS_IP4)
            continue;
        ip->config = (struct ip4_config){
            .own = {{.address = config->address[i], .prefix_length = config->prefix_length[i]}}, .own_count = 1};
        struct arp_config arp = {.mac = config->mac, .dad = DAD_OPTIMISTIC, .restarted = true, .own_count = 1};
        arp.own[0] = ip->config.own[0];
        struct icmp_config icmp = {.ip4 = &ip->config};
        arp_init(&ip->arp, &arp, now_us);
        icmp_init(&ip->icmp, &icmp, now_us);
        ip4_routes_init(&ip->routes);
        arp_announce(&ip->arp); /* RFC 5227 2.3: caches of an earlier holder of the address */
        return ip4_route_link(&ip->routes, &ip->config, &config->gateway[0]) == IP4_ROUTE_OK ? 0 : -EINVAL;
    }
    return -EINVAL;
}

static int ip_init(void *state, const struct server_context *context, uint64_t now_us)
{
    struct ip *ip = state;
    if (context->pool == NULL || context->pool->count > IP_BUFFERS || context->pool->buffer_octets < IP_BUFFER_OCTETS ||
        context->port[SERVER_NIC] == NULL)
        return -EINVAL;
    ip->context = *context;
    ip->nic = context->port[SERVER_NIC];
    ip->pool = context->pool;
    ip->retry_us = UINT64_MAX;
    for (unsigned i = 0; i < IP_COOKIES; i++)
        ip->holder[i] = IP_HOLDER_NONE;
    for (unsigned i = 0; i < IP_BUFFERS; i++)
        ip->out[i] = (struct ip_out){.origin = SERVER_IP};
    counters_place(context->counter);
    ip->moved = true;
    return init_addresses(ip, now_us);
}

/* ---- loans home ---- */

void ip_owe(struct ip *ip, enum server_id server, uint32_t cookie)
{
    struct ip_owed *owed = &ip->owed[server];
    struct port *port = ip->context.port[server];
    if (port == NULL || !port->attached)
        return;
    if (owed->count == IP_COOKIES) { /* more than it can have lent: it gave one twice */
        ip->counters.drop_cookie++;
        return;
    }
    owed->cookie[(owed->first + owed->count++) % IP_COOKIES] = cookie;
}

void ip_frame_done(struct ip *ip, uint32_t cookie)
{
    ip->holder[cookie] = IP_HOLDER_NONE;
    ip_owe(ip, SERVER_NIC, cookie);
}

static bool owed_flush(struct ip *ip, enum server_id server)
{
    struct ip_owed *owed = &ip->owed[server];
    struct port *port = ip->context.port[server];
    if (port == NULL || !port->attached)
        return true;
    while (owed->count > 0 && port_return(port, &owed->batch, owed->cookie[owed->first])) {
        owed->first = (owed->first + 1) % IP_COOKIES;
        owed->count--;
    }
    return owed->count == 0 && port_returns_flush(port, &owed->batch);
}

/* Untrusted: m (from nic). Our buffers. */
static void returned_by_nic(struct ip *ip, const struct message *m)
{
    if (capability_lookup(&ip->nic->table, m->capability, m->generation, CAPABILITY_LINK, 0) == NULL) {
        ip->counters.drop_right++;
        return;
    }
    for (unsigned i = 0; i < m->count; i++) {
        uint32_t buffer = m->returned[i];
        if (!pool_return(ip->pool, buffer, SERVER_NIC)) {
            ip->counters.drop_return++;
            continue;
        }
        ip->counters.loans_home++;
        ip_buffer_done(ip, buffer);
    }
}

/* Untrusted: m (from a transport). nic's buffers. */
static void returned_by_transport(struct ip *ip, enum server_id from, const struct message *m)
{
    struct capability_table *table = &ip->context.port[from]->table;
    if (capability_lookup(table, m->capability, m->generation, CAPABILITY_TRANSPORT, 0) == NULL) {
        ip->counters.drop_right++;
        return;
    }
    for (unsigned i = 0; i < m->count; i++) {
        uint32_t cookie = m->returned[i];
        if (cookie >= IP_COOKIES || ip->holder[cookie] != from) {
            if ((ip->barrier & 1U << from) == 0) /* else: of a nic that is dead */
                ip->counters.drop_return++;
            continue;
        }
        ip->held[from]--;
        ip_frame_done(ip, cookie);
    }
}

/* ---- telling transports ---- */

struct port *ip_transport_port(struct ip *ip, uint8_t protocol, enum server_id *ret)
{
    if (protocol != IP_PROTOCOL_TCP && protocol != IP_PROTOCOL_UDP)
        return NULL;
    *ret = protocol == IP_PROTOCOL_TCP ? SERVER_TCP : SERVER_UDP;
    return ip->context.port[*ret];
}

void ip_tell(struct ip *ip, const struct message *m, uint32_t sequence, uint8_t type, uint8_t code, uint16_t mtu)
{
    enum server_id to;
    struct port *port = ip_transport_port(ip, m->protocol, &to);
    struct message up = {
        .operation = MESSAGE_UNREACHABLE,
        .capability = CAPABILITY_INDEX_PEER,
        .generation = 1,
        .cookie = sequence,
        .source = m->source,
        .destination = m->destination,
        .source_port = m->source_port,
        .destination_port = m->destination_port,
        .protocol = m->protocol,
        .ttl = code,
        .traffic_class = type,
        .gso_size = mtu,
    };
    if (port == NULL || port_space(port) < IP_SPACE || !port_push(port, &up))
        ip->counters.drop_no_transport++;
}

/* ---- burst ---- */

static bool take_from_nic(struct ip *ip, uint64_t now_us)
{
    struct message m;
    bool moved = false;
    for (unsigned i = 0; i < SERVER_BURST && port_pull(ip->nic, &m); i++) {
        moved = true;
        if (m.operation == MESSAGE_RECEIVE)
            ip_receive(ip, now_us, &m);
        else if (m.operation == MESSAGE_RETURN)
            returned_by_nic(ip, &m);
        else
            ip->counters.drop_operation++;
    }
    return moved;
}

/* A transport is read only while what it sends can go on. */
static bool has_room(struct ip *ip, enum server_id from)
{
    return ip->nic->attached && port_space(ip->nic) >= IP_SPACE && ip->pool->free_count > IP_RESERVED &&
           ip->owed[from].count < IP_COOKIES;
}

static bool take_from_transport(struct ip *ip, uint64_t now_us, enum server_id from)
{
    struct port *port = ip->context.port[from];
    struct message m;
    bool moved = false;
    if (port == NULL)
        return false;
    for (unsigned i = 0; i < SERVER_BURST; i++) {
        if (!has_room(ip, from)) {
            if (port_pending(port) && ip->nic->attached)
                ip->retry_us = now_us + IP_RETRY_US;
            return moved;
        }
        if (!port_pull(port, &m)) {
            ip->barrier &= (uint8_t) ~(1U << from);
            return moved;
        }
        moved = true;
        if (ip->barrier_left[from] > 0 && --ip->barrier_left[from] == 0)
            ip->barrier &= (uint8_t) ~(1U << from);
        if (m.operation == MESSAGE_SEND)
            ip_send(ip, now_us, from, &m);
        else if (m.operation == MESSAGE_RETURN)
            returned_by_transport(ip, from, &m);
        else if (m.operation == MESSAGE_UNREACHABLE)
            ip_send_unreachable(ip, now_us, from, &m);
        else
            ip->counters.drop_operation++;
    }
    return moved;
}

static bool ip_burst(void *state, uint64_t now_us)
{
    struct ip *ip = state;
    ip->retry_us = UINT64_MAX;
    bool moved = false;
    for (unsigned i = 0; i < TRANSPORTS; i++)
        moved |= take_from_transport(ip, now_us, transports[i]);
    moved |= take_from_nic(ip, now_us);
    moved |= ip_neighbours_poll(ip, now_us);
    for (unsigned i = 0; i < SERVER_COUNT; i++)
        if (!owed_flush(ip, (enum server_id)i))
            ip->retry_us = now_us + IP_RETRY_US;
    ip->moved |= moved;
    return moved;
}

static uint64_t ip_deadline_us(const void *state)
{
    const struct ip *ip = state;
    uint64_t arp_us = ip->nic->attached ? arp_deadline_us(&ip->arp) : UINT64_MAX;
    return arp_us < ip->retry_us ? arp_us : ip->retry_us;
}

/* ---- restarts of others ---- */

static void owed_forget(struct ip *ip, enum server_id server)
{
    ip->owed[server].first = ip->owed[server].count = 0;
    ip->owed[server].batch = (struct port_returns){0};
}

/* Nothing of nic's is named or awaited any more; what it may still read of ours is ours again after
 * the barrier. */
static void nic_lost(struct ip *ip)
{
    ip_pending_drop(ip, SERVER_NIC);
    for (unsigned i = 0; i < IP_BUFFERS; i++)
        if (ip->out[i].origin == SERVER_NIC)
            ip->out[i].origin = SERVER_IP;
    for (unsigned i = 0; i < IP_COOKIES; i++)
        ip->holder[i] = IP_HOLDER_NONE;
    for (unsigned i = 0; i < TRANSPORTS; i++) {
        const struct port *port = ip->context.port[transports[i]];
        ip->held[transports[i]] = 0;
        if (port != NULL && port->attached) {
            ip->barrier |= (uint8_t)(1U << transports[i]);
            ip->barrier_left[transports[i]] = RING_SLOTS;
        }
    }
    owed_forget(ip, SERVER_NIC);
}

/* What it sent and nic still reads goes on without anybody to return to. */
static void transport_lost(struct ip *ip, enum server_id transport)
{
    ip_pending_drop(ip, transport);
    for (unsigned i = 0; i < IP_BUFFERS; i++)
        if (ip->out[i].origin == transport)
            ip->out[i].origin = SERVER_IP;
    owed_forget(ip, transport);
}

static void ip_peer_lost(void *state, enum server_id peer)
{
    struct ip *ip = state;
    if (peer == SERVER_NIC)
        nic_lost(ip);
    else if (peer == SERVER_TCP || peer == SERVER_UDP)
        transport_lost(ip, peer);
    ip->moved = true;
}

static void nic_attached(struct ip *ip)
{
    for (unsigned i = 0; i < IP_BUFFERS; i++) {
        if (!ip->out[i].lent)
            continue;
        if (pool_return(ip->pool, i, SERVER_NIC))
            ip->counters.reclaimed++;
        ip_buffer_done(ip, i);
    }
    arp_announce(&ip->arp);
}

static void transport_attached(struct ip *ip, enum server_id transport)
{
    for (uint32_t i = 0; i < IP_COOKIES; i++) {
        if (ip->holder[i] != transport)
            continue;
        ip_frame_done(ip, i);
        ip->counters.reclaimed++;
    }
    ip->held[transport] = 0;
    ip->barrier &= (uint8_t) ~(1U << transport); /* its ring is new */
}

static void ip_peer_attached(void *state, enum server_id peer, uint64_t now_us)
{
    struct ip *ip = state;
    (void)now_us;
    if (peer == SERVER_NIC)
        nic_attached(ip);
    else if (peer == SERVER_TCP || peer == SERVER_UDP)
        transport_attached(ip, peer);
    ip->moved = true;
}

const struct server server_ip = {
    .name = "ip",
    .pool_buffers = IP_BUFFERS,
    .pool_buffer_octets = IP_BUFFER_OCTETS,
    .state_size = ip_state_size,
    .init = ip_init,
    .burst = ip_burst,
    .publish = ip_publish,
    .deadline_us = ip_deadline_us,
    .peer_lost = ip_peer_lost,
    .peer_attached = ip_peer_attached,
};
