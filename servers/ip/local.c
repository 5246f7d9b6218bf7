// SPDX-License-Identifier: BSD-2-Clause
/* Local delivery: what is sent to this stack's own addresses turns round here and never touches nic (DESIGN section 4).
 * The addresses were checked as those of a received packet are (send.c); the transport header lies in a buffer of ours,
 * the payload where its sender wrote it. The taker is the transport that sent it, since each has a protocol of its own.
 * What is not taken is dropped, as a link would: waiting for a transport that waits for us would never end. */
#include "servers/ip/ip.h"

#include <string.h>

static struct message up_of(const struct ip *ip, const struct ip_packet *p, uint32_t buffer)
{
    struct message up = {
        .operation = MESSAGE_RECEIVE,
        .capability = CAPABILITY_INDEX_PEER,
        .generation = 1,
        .cookie = MESSAGE_COOKIE_OWN + buffer,
        .reference = {{.pool = ip->context.pool_capability,
                       .generation = ip->context.pool_generation,
                       .offset = pool_offset(ip->pool, buffer),
                       .length = p->head_octets}},
        .source = p->source,
        .destination = p->destination,
        .source_port = p->source_port,
        .destination_port = p->destination_port,
        .protocol = p->protocol,
        .ttl = p->ttl != 0 ? p->ttl : (uint8_t)IP4_TTL_DEFAULT,
        .traffic_class = p->traffic_class,
        .gso_type = p->gso_type,
        .gso_size = p->gso_size,
        .checksum_state = MESSAGE_CHECKSUM_PARTIAL, /* it never left this host */
        .checksum_offset = p->checksum_offset,
    };
    if (p->payload.length > 0)
        up.reference[1] = p->payload;
    return up;
}

static bool push_up(struct ip *ip, struct port *port, enum server_id to, const struct ip_packet *p)
{
    if (port_space(port) < IP_SPACE) {
        ip->counters.drop_no_transport++;
        return false;
    }
    uint32_t buffer = ip->pool->lent[to] < IP_LOCAL_MAX ? pool_take(ip->pool) : POOL_NONE;
    if (buffer == POOL_NONE) {
        ip->counters.drop_local_full++;
        return false;
    }
    memcpy(pool_buffer(ip->pool, buffer), p->head, p->head_octets);
    struct message up = up_of(ip, p, buffer);
    if (!pool_lend(ip->pool, buffer, to)) {
        pool_put(ip->pool, buffer);
        ip->counters.drop_local_full++;
        return false;
    }
    if (!port_push(port, &up)) {
        (void)pool_return(ip->pool, buffer, to);
        ip->counters.drop_no_transport++;
        return false;
    }
    ip->out[buffer] = p->loan;
    return true;
}

void ip_deliver_here(struct ip *ip, const struct ip_packet *p)
{
    enum server_id to;
    struct port *port = ip_transport_port(ip, p->protocol, &to);
    if (port != NULL && push_up(ip, port, to, p)) {
        ip->counters.delivered_here++;
        return;
    }
    if (port == NULL)
        ip->counters.drop_no_transport++;
    ip_loan_done(ip, &p->loan);
}
