// SPDX-License-Identifier: BSD-2-Clause
/* The barrier after a death. Before the next incarnation gets anything writable, every survivor must have drained what
 * the dead one sent, detached its channels and forgotten its pools: nearest first, because who is near may still pass
 * on what names the dead one's buffers to who is further away. All of one distance are told at once.
 *
 * There is no list of barriers. What is to be done follows from the state: each survivor has the set of servers that it
 * still `known`s (of those that it can hold anything of: socket has nothing of ip's or nic's, tcp nothing of udp's);
 * whatever of them is dead it must be told of, in the order of the distance from the dead. So a death
 * in the midst of a barrier simply joins it, and a survivor that does not answer is killed and joins it too. When
 * nobody has anything left to forget, those in STANDBY get their grants. They start when those know of their pools who
 * will be told of buffers in them by somebody in between: nic's, at tcp and udp. */
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

/* Hops from the dead one to the nearest server of the domain. */
static uint32_t domain_distance(const struct domain *domain, uint32_t dead)
{
    uint32_t distance[SERVER_COUNT], least = UINT32_MAX;
    topology_distances(dead, distance);
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
    what.n_objects = rights_ask_lost(s, domain, lost, what.epoch, objects, SERVER_COUNT);
    domain->losing = lost;
    domain->ack_epoch = what.epoch;
    domain->ack_deadline_us = now_us() + health_hang_us(s);
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_LOST;
    message.peer_lost = &what;
    control_send(s, domain, &message, NULL, 0, 0);
}

/* Who is nearest to this dead one of those who still know it: a mask of domains. */
static uint32_t nearest_to(const struct supervisor *s, uint32_t dead)
{
    uint32_t mask = 0, least = UINT32_MAX;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (!domain_lives(&s->domain[i]) || (s->domain[i].known & dead) == 0)
            continue;
        uint32_t distance = domain_distance(&s->domain[i], dead);
        if (distance < least)
            mask = 0;
        if (distance <= least)
            mask |= 1U << i;
        least = distance < least ? distance : least;
    }
    return mask;
}

/* Tells those who are nearest of what they have lost; of several dead ones each by its own distance, because who is near
 * to one may be the far end of what another's buffers are passed along. False: nobody has anything to let go. */
static bool tell_next(struct supervisor *s)
{
    uint32_t dead = SERVERS_ALL & ~servers_alive(s), lost[SERVER_COUNT] = {0}, any = 0;
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        uint32_t nearest = (dead & SERVER_BIT(id)) != 0 ? nearest_to(s, SERVER_BIT(id)) : 0;
        for (uint32_t i = 0; i < s->domain_count; i++)
            lost[i] |= (nearest & (1U << i)) != 0 ? SERVER_BIT(id) : 0;
        any |= nearest;
    }
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (lost[i] != 0)
            tell_lost(s, &s->domain[i], lost[i]);
    }
    return any != 0;
}

void barrier_start(struct supervisor *s)
{
    Bulkhead__Control__Start what = BULKHEAD__CONTROL__START__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START;
    message.start = &what;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (domain_lives(&s->domain[i]) && s->domain[i].attach_epoch != 0)
            return;
    }
    for (uint32_t i = 0; i < s->domain_count; i++) {
        struct domain *d = &s->domain[i];
        if (d->state == DOMAIN_GRANTED && d->start_waits)
            control_send(s, d, &message, NULL, 0, 0);
        d->start_waits = false;
    }
}

void barrier_advance(struct supervisor *s)
{
    bool standby = false, all_standby = true;
    if (s->stopping || repartition_ends_all(s))
        return;
    barrier_start(s);
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (domain_lives(&s->domain[i]) && s->domain[i].ack_epoch != 0)
            return;
        standby = standby || s->domain[i].state == DOMAIN_STANDBY;
        all_standby = all_standby && s->domain[i].state == DOMAIN_STANDBY;
    }
    if (tell_next(s))
        return;
    /* the first time all start together, and those of another partition */
    bool together = !s->started || repartition_is_on(s);
    if (standby && (!together || all_standby || servers_alive(s) != 0))
        grant_standby(s);
}

void barrier_acknowledged(struct supervisor *s, struct domain *domain, uint64_t epoch)
{
    if (domain->attach_epoch != 0 && epoch == domain->attach_epoch) {
        domain->attach_epoch = 0;
        barrier_start(s);
    }
    if (domain->ack_epoch == 0 || epoch != domain->ack_epoch)
        return;
    domain->known &= ~domain->losing;
    domain->losing = 0;
    domain->ack_epoch = 0;
    barrier_advance(s);
}
