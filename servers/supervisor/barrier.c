// SPDX-License-Identifier: BSD-2-Clause
/* The barrier after a death. Before the next incarnation gets anything writable, every survivor must have drained what
 * the dead one sent, detached its channels and forgotten its pools: nearest first, because who is near may still pass
 * on what names the dead one's buffers to who is further away. All of one distance are told at once.
 *
 * There is no list of barriers. What is to be done follows from the state: each survivor has the set of servers that it
 * still `known`s; whatever of them is dead it must be told of, in the order of the distance from the dead. So a death
 * in the midst of a barrier simply joins it, and a survivor that does not answer is killed and joins it too. When
 * nobody has anything left to forget, those in STANDBY get their grants. */
#include "servers/supervisor/supervisor.h"

static uint32_t servers_alive(const struct supervisor *s)
{
    uint32_t alive = 0;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (domain_lives(&s->domain[i]))
            alive |= s->domain[i].servers;
    }
    return alive;
}

static uint32_t domain_distance(const struct domain *domain, const uint32_t distance[SERVER_COUNT])
{
    uint32_t least = UINT32_MAX;
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        if ((domain->servers & SERVER_BIT(id)) != 0 && distance[id] < least)
            least = distance[id];
    }
    return least;
}

static void tell_lost(struct supervisor *s, struct domain *domain, uint32_t lost)
{
    Bulkhead__Control__PeerLost what = BULKHEAD__CONTROL__PEER_LOST__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    uint32_t servers[SERVER_COUNT], objects[SERVER_COUNT];
    what.servers = servers;
    what.objects = objects;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        if ((lost & SERVER_BIT(id)) != 0)
            servers[what.n_servers++] = id;
    }
    what.epoch = ++s->epoch;
    what.n_objects = rights_ask_lost(s, domain, what.epoch, objects, SERVER_COUNT);
    domain->losing = lost;
    domain->ack_epoch = what.epoch;
    domain->ack_deadline_us = now_us() + ACKNOWLEDGE_US;
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_LOST;
    message.peer_lost = &what;
    control_send(s, domain, &message, NULL, 0, 0);
}

/* Tells those who are nearest of what they have lost. False: nobody has anything to let go. */
static bool tell_next(struct supervisor *s)
{
    uint32_t dead = SERVERS_ALL & ~servers_alive(s), lost = 0, nearest = UINT32_MAX;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (domain_lives(&s->domain[i]))
            lost |= s->domain[i].known & dead;
    }
    if (lost == 0)
        return false;
    uint32_t distance[SERVER_COUNT];
    topology_distances(lost, distance);
    for (uint32_t i = 0; i < s->domain_count; i++) {
        const struct domain *d = &s->domain[i];
        if (domain_lives(d) && (d->known & dead) != 0 && domain_distance(d, distance) < nearest)
            nearest = domain_distance(d, distance);
    }
    for (uint32_t i = 0; i < s->domain_count; i++) {
        struct domain *d = &s->domain[i];
        if (domain_lives(d) && (d->known & dead) != 0 && domain_distance(d, distance) == nearest)
            tell_lost(s, d, d->known & dead);
    }
    return true;
}

void barrier_advance(struct supervisor *s)
{
    bool standby = false, all_standby = true;
    if (s->stopping)
        return;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (domain_lives(&s->domain[i]) && s->domain[i].ack_epoch != 0)
            return;
        standby = standby || s->domain[i].state == DOMAIN_STANDBY;
        all_standby = all_standby && s->domain[i].state == DOMAIN_STANDBY;
    }
    if (tell_next(s))
        return;
    /* the first time all start together */
    if (standby && (s->started || all_standby || servers_alive(s) != 0))
        grant_standby(s);
}

void barrier_acknowledged(struct supervisor *s, struct domain *domain, uint64_t epoch)
{
    if (domain->ack_epoch == 0 || epoch != domain->ack_epoch)
        return;
    domain->known &= ~domain->losing;
    domain->losing = 0;
    domain->ack_epoch = 0;
    barrier_advance(s);
}
