// SPDX-License-Identifier: BSD-2-Clause
/* Which connection or listener a segment belongs to: hash chains over identities, keyed so that nobody
 * outside can make them long. Listeners hang in the same buckets, under their local port alone. */
#include "protocols/tcp/tcp_internal.h"

static uint32_t *bucket_of(const struct tcp *t, const struct tcp_identity *i, bool listener)
{
    static const struct ip_address none;
    uint64_t h = listener ? hash_addresses(t, &none, i->local_port, &none, 0)
                          : hash_addresses(t, &i->local, i->local_port, &i->remote, i->remote_port);
    return &t->bucket[h & t->bucket_mask];
}

void demux_insert(struct tcp *t, uint32_t index)
{
    uint32_t *head = bucket_of(t, &t->conn[index].identity, t->conn[index].state == TCP_LISTEN);
    t->side[index].hash_next = *head;
    *head = index;
}

/* The chain is as long as the load of the table lets it be: about one. */
void demux_remove(struct tcp *t, uint32_t index)
{
    uint32_t *at = bucket_of(t, &t->conn[index].identity, t->conn[index].state == TCP_LISTEN);
    while (*at != TCP_NONE && *at != index)
        at = &t->side[*at].hash_next;
    if (*at == index)
        *at = t->side[index].hash_next;
}

uint32_t demux_conn(const struct tcp *t, const struct ip_address *local, uint16_t local_port,
                    const struct ip_address *remote, uint16_t remote_port)
{
    uint64_t h = hash_addresses(t, local, local_port, remote, remote_port);
    uint32_t index = t->bucket[h & t->bucket_mask];
    for (; index != TCP_NONE; index = t->side[index].hash_next) {
        const struct tcp_identity *i = &t->conn[index].identity;
        if (i->local_port == local_port && i->remote_port == remote_port && ip_address_equal(&i->remote, remote) &&
            ip_address_equal(&i->local, local))
            break;
    }
    return index;
}

/* ADDRESS_NONE stands for any address of any family, an all-zero address for any of its own. */
static bool listens_on(const struct ip_address *listening, const struct ip_address *address)
{
    if (ip_address_is_any(listening))
        return listening->family == ADDRESS_NONE || listening->family == address->family;
    return ip_address_equal(listening, address);
}

/* The listener for an address: the one on exactly this address before the one on any. */
uint32_t demux_listener(const struct tcp *t, const struct ip_address *local, uint16_t local_port)
{
    static const struct ip_address none;
    uint32_t found = TCP_NONE;
    uint64_t h = hash_addresses(t, &none, local_port, &none, 0);
    uint32_t index = t->bucket[h & t->bucket_mask];
    for (; index != TCP_NONE; index = t->side[index].hash_next) {
        const struct tcp_conn *c = &t->conn[index];
        if (c->state != TCP_LISTEN || c->identity.local_port != local_port || !listens_on(&c->identity.local, local))
            continue;
        if (!ip_address_is_any(&c->identity.local))
            return index;
        found = index;
    }
    return found;
}

/* Two listeners on one port conflict if some address would belong to both (as Linux without SO_REUSEADDR). */
bool demux_listener_conflicts(const struct tcp *t, const struct tcp_identity *identity)
{
    static const struct ip_address none;
    uint64_t h = hash_addresses(t, &none, identity->local_port, &none, 0);
    uint32_t index = t->bucket[h & t->bucket_mask];
    for (; index != TCP_NONE; index = t->side[index].hash_next) {
        const struct tcp_conn *c = &t->conn[index];
        if (c->state == TCP_LISTEN && c->identity.local_port == identity->local_port &&
            (listens_on(&c->identity.local, &identity->local) || listens_on(&identity->local, &c->identity.local)))
            return true;
    }
    return false;
}

uint32_t tcp_lookup(const struct tcp *t, const struct tcp_segment_in *meta)
{
    uint32_t index = demux_conn(t, &meta->destination, meta->destination_port, &meta->source, meta->source_port);
    return index != TCP_NONE ? index : demux_listener(t, &meta->destination, meta->destination_port);
}
