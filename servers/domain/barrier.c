// SPDX-License-Identifier: BSD-2-Clause
/* The barrier after a death (DESIGN section 4), this domain's part. PeerLost: take all that the dead had published,
 * then let go of its channels, of what its servers are told is lost, and of its pools; the acknowledgement says that
 * nothing here can name them any more. PeerAttached: the next incarnation's channels, which lay staged, come into use.
 */
#include "servers/domain/state.h"

#define DRAIN_ROUNDS 64 /* a ring full is eight bursts; the living may go on sending meanwhile */

static bool listed(const uint32_t *servers, size_t count, enum server_id id)
{
    for (size_t i = 0; i < count; i++)
        if (servers[i] == (uint32_t)id)
            return true;
    return false;
}

static void detach(struct domain *domain, const Bulkhead__Control__PeerLost *m)
{
    for (uint32_t p = 0; p < domain->port_count; p++) {
        struct domain_port *port = domain->port[p];
        if (!listed(m->servers, m->n_servers, port->peer))
            continue;
        port_detach(&port->port);
        channel_unmap(&port->channel);
        channel_unmap(&port->staged);
    }
}

static void tell_lost(struct domain *domain, const Bulkhead__Control__PeerLost *m)
{
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct domain_server *at = &domain->server[id];
        for (size_t i = 0; at->server != NULL && at->server->peer_lost != NULL && i < m->n_servers; i++)
            if (m->servers[i] < SERVER_COUNT)
                at->server->peer_lost(at->state, (enum server_id)m->servers[i]);
    }
}

int barrier_peer_lost(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__PeerLost *m = message->what->peer_lost;
    for (int i = 0; domain->started && i < DRAIN_ROUNDS && domain_round(domain); i++)
        ;
    detach(domain, m);
    if (domain->started)
        tell_lost(domain, m);
    for (size_t i = 0; i < m->n_objects; i++)
        object_drop(domain, m->objects[i]);
    domain_settle(domain);
    return control_send_ack(&domain->control, m->epoch);
}

int barrier_peer_attached(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__PeerAttached *m = message->what->peer_attached;
    for (uint32_t p = 0; p < domain->port_count; p++)
        if (listed(m->servers, m->n_servers, domain->port[p]->peer))
            port_take_staged(domain, domain->port[p]);
    uint64_t now_us = domain_clock_us();
    for (uint32_t id = 0; id < SERVER_COUNT && domain->started; id++) {
        const struct domain_server *at = &domain->server[id];
        for (size_t i = 0; at->server != NULL && at->server->peer_attached != NULL && i < m->n_servers; i++)
            if (m->servers[i] < SERVER_COUNT)
                at->server->peer_attached(at->state, (enum server_id)m->servers[i], now_us);
    }
    domain_settle(domain);
    return control_send_ack(&domain->control, m->epoch);
}
