// SPDX-License-Identifier: BSD-2-Clause
/* The last step of everything that goes out: the neighbour's hardware address, and the packets that
 * wait for one; and what ARP and NDP themselves send and find out about our own addresses. */
#include "servers/ip/ip.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "protocols/ether/ether_wire.h"

/* ---- buffers to nic ---- */

static void give_up(struct ip *ip, uint32_t buffer)
{
    pool_put(ip->pool, buffer);
    ip_buffer_done(ip, buffer);
}

void ip_push(struct ip *ip, uint32_t buffer, const struct message *m, const struct mac_address *destination)
{
    memcpy(pool_buffer(ip->pool, buffer), destination->octets, sizeof destination->octets);
    if (port_space(ip->nic) >= IP_SPACE && pool_lend(ip->pool, buffer, SERVER_NIC)) {
        if (port_push(ip->nic, m)) {
            ip->counters.sent++;
            return;
        }
        (void)pool_return(ip->pool, buffer, SERVER_NIC);
    } else {
        pool_put(ip->pool, buffer);
    }
    if (ip->nic->attached)
        ip->counters.drop_no_buffer++;
    else
        ip->counters.drop_no_nic++;
    ip_buffer_done(ip, buffer);
}

/* ---- pending packets ---- */

static void pending_remove(struct ip *ip, uint32_t at)
{
    ip->pending_count--;
    memmove(&ip->pending[at], &ip->pending[at + 1], (ip->pending_count - at) * sizeof ip->pending[0]);
}

/* Makes room: at most IP_PENDING_NEIGHBOUR for one neighbour and IP_PENDING in all; the oldest
 * goes. */
static void pending_limit(struct ip *ip, const struct ip_address *next_hop)
{
    uint32_t same = 0, oldest = 0;
    for (uint32_t i = ip->pending_count; i-- > 0;) {
        if (ip_address_equal(&ip->pending[i].next_hop, next_hop)) {
            same++;
            oldest = i;
        }
    }
    if (same < IP_PENDING_NEIGHBOUR) {
        if (ip->pending_count < IP_PENDING)
            return;
        oldest = 0;
    }
    uint32_t buffer = ip->pending[oldest].buffer;
    pending_remove(ip, oldest);
    ip->counters.drop_pending++;
    give_up(ip, buffer);
}

/* An echo reply holds a frame that nic would receive the neighbour's answer into. */
static bool too_many_echoes(const struct ip *ip, uint32_t buffer)
{
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < ip->pending_count; i++)
        waiting += ip_buffer_origin(ip, ip->pending[i].buffer) == SERVER_NIC;
    return ip_buffer_origin(ip, buffer) == SERVER_NIC && waiting >= IP_PENDING_ECHO;
}

/* RFC 1122 2.3.2.2 and 3.3.1.3, RFC 4861 7.2.2: whoever sent it learns that the host cannot be reached. */
static void unresolved(struct ip *ip, uint32_t buffer, const struct message *m, uint32_t sequence)
{
    uint8_t origin = ip_buffer_origin(ip, buffer);
    ip->counters.drop_unresolved++;
    if (origin == SERVER_TCP || origin == SERVER_UDP)
        ip_tell_reason(ip, m, sequence, IP_REASON_HOST, 0);
    give_up(ip, buffer);
}

/* Both engines speak alike. */
static enum arp_lookup_result find(struct ip *ip, uint64_t now_us, const struct ip_address *next_hop,
                                   struct mac_address *ret)
{
    if (next_hop->family == ADDRESS_IP4) {
        if (ip4_classify(&ip->ip4_config, next_hop) != IP4_CLASS_BROADCAST)
            return arp_lookup(&ip->arp, now_us, next_hop, ret);
        memset(ret->octets, 0xff, sizeof ret->octets);
        return ARP_LOOKUP_FOUND;
    }
    switch (ndp_lookup(&ip->ndp, now_us, next_hop, ret)) {
    case NDP_LOOKUP_FOUND:
        return ARP_LOOKUP_FOUND;
    case NDP_LOOKUP_RESOLVING:
        return ARP_LOOKUP_RESOLVING;
    case NDP_LOOKUP_FAILED:
        break;
    }
    return ARP_LOOKUP_FAILED;
}

void ip_transmit(struct ip *ip, uint64_t now_us, uint32_t buffer, const struct message *m,
                 const struct ip_address *next_hop, uint32_t sequence)
{
    struct mac_address mac;
    switch (find(ip, now_us, next_hop, &mac)) {
    case ARP_LOOKUP_FOUND:
        ip_push(ip, buffer, m, &mac);
        break;
    case ARP_LOOKUP_RESOLVING: /* RFC 1122 2.3.2.2: SHOULD save at least one; RFC 4861 7.2.2: MUST */
        if (too_many_echoes(ip, buffer)) {
            ip->counters.drop_pending++;
            give_up(ip, buffer);
            break;
        }
        pending_limit(ip, next_hop);
        ip->pending[ip->pending_count++] =
            (struct ip_pending){.buffer = buffer, .sequence = sequence, .next_hop = *next_hop, .message = *m};
        break;
    case ARP_LOOKUP_FAILED:
        unresolved(ip, buffer, m, sequence);
        break;
    }
}

/* Each waiting packet is looked up again: sent, given up, or kept. */
static bool pending_recheck(struct ip *ip, uint64_t now_us)
{
    uint32_t count = ip->pending_count, kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct ip_pending *p = &ip->pending[i];
        struct mac_address mac;
        switch (find(ip, now_us, &p->next_hop, &mac)) {
        case ARP_LOOKUP_FOUND:
            ip_push(ip, p->buffer, &p->message, &mac);
            break;
        case ARP_LOOKUP_RESOLVING:
            if (kept != i)
                ip->pending[kept] = *p;
            kept++;
            break;
        case ARP_LOOKUP_FAILED:
            unresolved(ip, p->buffer, &p->message, p->sequence);
            break;
        }
    }
    ip->pending_count = kept;
    return kept != count;
}

void ip_pending_drop(struct ip *ip, enum server_id origin)
{
    for (uint32_t i = ip->pending_count; i-- > 0;) {
        uint32_t buffer = ip->pending[i].buffer;
        if (ip_buffer_origin(ip, buffer) != origin)
            continue;
        pending_remove(ip, i);
        give_up(ip, buffer);
    }
}

/* ---- our own addresses ---- */

static void tell_conflict(struct ip *ip, const struct own_event *e)
{
    char address[INET6_ADDRSTRLEN] = "", text[128];
    const uint8_t *m = e->station.octets;
    ip->counters.conflicts++;
    if (ip->context.notice == NULL)
        return;
    (void)inet_ntop(e->address.family == ADDRESS_IP6 ? AF_INET6 : AF_INET, e->address.octets, address, sizeof address);
    (void)snprintf(text, sizeof text, "address conflict: %s is also claimed by %02x:%02x:%02x:%02x:%02x:%02x%s",
                   address, m[0], m[1], m[2], m[3], m[4], m[5],
                   own_state_is_usable(e->state) ? "" : ": not used any more");
    ip->context.notice(ip->context.domain, SERVER_IP, text);
}

static void own_changed(struct ip *ip, const struct own_event *e)
{
    bool tentative = !own_state_is_usable(e->state);
    for (uint32_t i = 0; i < ip->ip4_config.own_count; i++)
        if (ip_address_equal(&ip->ip4_config.own[i].address, &e->address))
            ip->ip4_config.own[i].tentative = tentative;
    for (uint32_t i = 0; i < ip->ip6_config.own_count; i++)
        if (ip_address_equal(&ip->ip6_config.own[i].address, &e->address))
            ip->ip6_config.own[i].tentative = tentative;
    if (e->conflict)
        tell_conflict(ip, e);
    ip->recheck = true;
    ip->moved = true;
}

static void own_events(struct ip *ip)
{
    struct own_event e;
    while (arp_event(&ip->arp, &e)) /* ends: a flag an address, cleared by the call */
        own_changed(ip, &e);
    while (ndp_event(&ip->ndp, &e))
        own_changed(ip, &e);
}

void ip_neighbours_init(struct ip *ip, uint64_t now_us)
{
    const struct stack_config *config = ip->context.config;
    bool restarted = ip->context.incarnation > 1;
    struct arp_config arp = {.mac = config->mac, .dad = (enum dad_mode)config->dad, .restarted = restarted};
    struct ndp_config ndp = {.mac = config->mac, .dad = (enum dad_mode)config->dad, .restarted = restarted};
    memcpy(arp.own, ip->ip4_config.own, sizeof arp.own);
    memcpy(ndp.own, ip->ip6_config.own, sizeof ndp.own);
    arp.own_count = ip->ip4_config.own_count;
    ndp.own_count = ip->ip6_config.own_count;
    memcpy(arp.secret, config->secret, sizeof arp.secret);
    memcpy(ndp.secret, config->secret, sizeof ndp.secret);
    arp_init(&ip->arp, &arp, now_us);
    ndp_init(&ip->ndp, &ndp, now_us);
    own_events(ip);
}
_Static_assert(STACK_DAD_ON == (int)DAD_ON && STACK_DAD_OPTIMISTIC == (int)DAD_OPTIMISTIC &&
                   STACK_DAD_OFF == (int)DAD_OFF,
               "one meaning");
_Static_assert(IP_OWN_MAX >= STACK_ADDRESSES_MAX, "all of one family");

void ip_neighbours_announce(struct ip *ip)
{
    arp_announce(&ip->arp);
    ndp_announce(&ip->ndp);
}

/* ---- what the engines send ---- */

static void frame_send(struct ip *ip, const struct mac_address *destination, uint16_t type,
                       const struct ip6_header *ip6, const uint8_t *bytes, uint32_t octets)
{
    static const struct ip_loan nobody = {.origin = SERVER_IP};
    struct ether_header ether = {.destination = *destination, .source = ip->context.config->mac, .type = type};
    uint32_t buffer = ip_buffer_take(ip, &nobody), at = ETHER_HEADER_LENGTH;
    if (buffer == POOL_NONE)
        return;
    uint8_t *frame = pool_buffer(ip->pool, buffer);
    ether_build(&ether, frame);
    if (ip6 != NULL) {
        ip6_build(ip6, frame + at);
        at += IP6_HEADER_LENGTH;
    }
    memcpy(frame + at, bytes, octets);
    struct message m = ip_send_message(ip, buffer, at + octets);
    ip_push(ip, buffer, &m, destination);
}
_Static_assert(ETHER_HEADER_LENGTH + IP6_HEADER_LENGTH + NDP_OUTPUT_MAX <= IP_BUFFER_OCTETS, "it fits");

static bool can_speak(const struct ip *ip)
{
    return ip->nic->attached && port_space(ip->nic) >= IP_SPACE && ip_buffers_free(ip) > 0;
}

static bool engines_poll(struct ip *ip, uint64_t now_us)
{
    struct arp_output arp;
    struct ndp_output ndp;
    bool moved = false;
    /* end: each poll is a queued reply, or a request that is then not due for a while */
    while (can_speak(ip) && arp_poll(&ip->arp, now_us, &arp)) {
        frame_send(ip, &arp.destination, ETHER_TYPE_ARP, NULL, arp.packet, sizeof arp.packet);
        moved = true;
    }
    while (can_speak(ip) && ndp_poll(&ip->ndp, now_us, &ndp)) {
        frame_send(ip, &ndp.destination, ETHER_TYPE_IP6, &ndp.ip6, ndp.message, ndp.length);
        moved = true;
    }
    return moved;
}

uint64_t ip_neighbours_deadline_us(const struct ip *ip)
{
    if (!can_speak(ip)) /* nic gives room, and wakes us with what it returns */
        return UINT64_MAX;
    uint64_t arp_us = arp_deadline_us(&ip->arp), ndp_us = ndp_deadline_us(&ip->ndp);
    return arp_us < ndp_us ? arp_us : ndp_us;
}

bool ip_neighbours_poll(struct ip *ip, uint64_t now_us)
{
    own_events(ip);
    if (!ip->nic->attached)
        return false;
    if (ip_neighbours_deadline_us(ip) <= now_us)
        ip->recheck = true; /* some may have failed */
    bool moved = engines_poll(ip, now_us);
    own_events(ip);
    if (ip->recheck && ip->pending_count > 0 && pending_recheck(ip, now_us))
        moved = true;
    ip->recheck = false;
    return moved;
}
