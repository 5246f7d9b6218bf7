// SPDX-License-Identifier: BSD-2-Clause
/* The last step of everything that goes out: the neighbour's hardware address, and the packets that
 * wait for one. */
#include "servers/ip/ip.h"

#include <string.h>

#include "protocols/ether/ether_wire.h"
#include "protocols/icmp/icmp_wire.h"

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

void ip_headers_build(struct ip *ip, uint32_t buffer, const struct ip4_header *header)
{
    struct ether_header ether = {.source = ip->context.config->mac, .type = ETHER_TYPE_IP4};
    uint8_t *bytes = pool_buffer(ip->pool, buffer);
    ether_build(&ether, bytes);
    ip4_build(header, bytes + ETHER_HEADER_LENGTH);
}

void ip_buffer_done(struct ip *ip, uint32_t buffer)
{
    struct ip_out *out = &ip->out[buffer];
    if (out->origin == SERVER_NIC)
        ip_frame_done(ip, out->cookie);
    else if (out->origin != SERVER_IP)
        ip_owe(ip, (enum server_id)out->origin, out->cookie);
    *out = (struct ip_out){.origin = SERVER_IP};
}

/* The buffer goes to nic, or is given up. */
static void push(struct ip *ip, uint32_t buffer, const struct message *m, const struct mac_address *destination)
{
    memcpy(pool_buffer(ip->pool, buffer), destination->octets, sizeof destination->octets);
    if (port_space(ip->nic) >= IP_SPACE && pool_lend(ip->pool, buffer, SERVER_NIC)) {
        if (port_push(ip->nic, m)) {
            ip->out[buffer].lent = true;
            ip->counters.sent++;
            return;
        }
        (void)pool_return(ip->pool, buffer, SERVER_NIC);
    } else {
        pool_put(ip->pool, buffer);
    }
    ip->counters.drop_no_buffer++;
    ip_buffer_done(ip, buffer);
}

static void give_up(struct ip *ip, uint32_t buffer)
{
    pool_put(ip->pool, buffer);
    ip_buffer_done(ip, buffer);
}

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
        waiting += ip->out[ip->pending[i].buffer].origin == SERVER_NIC;
    return ip->out[buffer].origin == SERVER_NIC && waiting >= IP_PENDING_ECHO;
}

/* RFC 1122 2.3.2.2 and 3.3.1.3: whoever sent it learns that the host cannot be reached. */
static void unresolved(struct ip *ip, uint32_t buffer, const struct message *m, uint32_t sequence)
{
    uint8_t origin = ip->out[buffer].origin;
    ip->counters.drop_unresolved++;
    if (origin == SERVER_TCP || origin == SERVER_UDP)
        ip_tell(ip, m, sequence, ICMP_TYPE_UNREACHABLE, ICMP_CODE_HOST_UNREACHABLE, 0);
    give_up(ip, buffer);
}

void ip_transmit(struct ip *ip, uint64_t now_us, uint32_t buffer, const struct message *m,
                 const struct ip_address *next_hop, uint32_t sequence)
{
    struct mac_address mac;
    switch (arp_lookup(&ip->arp, now_us, next_hop, &mac)) {
    case ARP_LOOKUP_FOUND:
        push(ip, buffer, m, &mac);
        break;
    case ARP_LOOKUP_RESOLVING: /* RFC 1122 2.3.2.2: SHOULD save at least one */
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
        switch (arp_lookup(&ip->arp, now_us, &p->next_hop, &mac)) {
        case ARP_LOOKUP_FOUND:
            push(ip, p->buffer, &p->message, &mac);
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

static void arp_send(struct ip *ip, const struct arp_output *arp)
{
    struct ether_header ether = {
        .destination = arp->destination, .source = ip->context.config->mac, .type = ETHER_TYPE_ARP};
    uint32_t buffer = pool_take(ip->pool);
    if (buffer == POOL_NONE) {
        ip->counters.drop_no_buffer++;
        return;
    }
    ip->out[buffer] = (struct ip_out){.origin = SERVER_IP};
    uint8_t *bytes = pool_buffer(ip->pool, buffer);
    ether_build(&ether, bytes);
    memcpy(bytes + ETHER_HEADER_LENGTH, arp->packet, sizeof arp->packet);
    struct message m = ip_send_message(ip, buffer, ETHER_HEADER_LENGTH + sizeof arp->packet);
    push(ip, buffer, &m, &arp->destination);
}

bool ip_neighbours_poll(struct ip *ip, uint64_t now_us)
{
    struct arp_output arp;
    bool moved = false;
    if (!ip->nic->attached)
        return false;
    if (arp_deadline_us(&ip->arp) <= now_us)
        ip->recheck = true; /* some may have failed */
    /* ends: each poll is a queued reply or a request that is then not due for ARP_RETRY_US */
    while (port_space(ip->nic) >= IP_SPACE && arp_poll(&ip->arp, now_us, &arp)) {
        arp_send(ip, &arp);
        moved = true;
    }
    if (ip->recheck && ip->pending_count > 0 && pending_recheck(ip, now_us))
        moved = true;
    ip->recheck = false;
    return moved;
}

void ip_pending_drop(struct ip *ip, enum server_id origin)
{
    for (uint32_t i = ip->pending_count; i-- > 0;) {
        uint32_t buffer = ip->pending[i].buffer;
        if (ip->out[buffer].origin != origin)
            continue;
        pending_remove(ip, i);
        give_up(ip, buffer);
    }
}
