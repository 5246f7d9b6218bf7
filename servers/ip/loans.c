// SPDX-License-Identifier: BSD-2-Clause
/* Who holds what, and who gets it back; ip.c says how restarts settle these accounts. */
#include "servers/ip/ip.h"

/* ---- owed ---- */

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

bool ip_owed_flush(struct ip *ip, enum server_id server)
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

static void owed_forget(struct ip *ip, enum server_id server)
{
    ip->owed[server].first = ip->owed[server].count = 0;
    ip->owed[server].batch = (struct port_returns){0};
}

/* ---- done with ---- */

void ip_frame_done(struct ip *ip, uint32_t cookie)
{
    ip->holder[cookie] = IP_HOLDER_NONE;
    ip_owe(ip, SERVER_NIC, cookie);
}

static void slot_done(struct ip *ip, uint32_t slot)
{
    ip->slot_holder[slot] = IP_HOLDER_NONE;
    reassembly_release(&ip->reassembly, slot);
}

void ip_loan_done(struct ip *ip, const struct ip_loan *loan)
{
    struct ip_loan home = *loan;
    if (home.origin == IP_ORIGIN_GROUP) {
        struct ip_group *group = &ip->group[home.cookie];
        if (--group->references > 0)
            return;
        home = group->loan;
    }
    if (home.origin == SERVER_NIC)
        ip_frame_done(ip, home.cookie);
    else if (home.origin == IP_ORIGIN_SLOT)
        slot_done(ip, home.cookie);
    else if (home.origin == IP_ORIGIN_QUOTE)
        ip->quote_out[home.cookie] = false;
    else if (home.origin != SERVER_IP)
        ip_owe(ip, (enum server_id)home.origin, home.cookie);
}

uint8_t ip_buffer_origin(const struct ip *ip, uint32_t buffer)
{
    const struct ip_loan *loan = &ip->out[buffer];
    return loan->origin == IP_ORIGIN_GROUP ? ip->group[loan->cookie].loan.origin : loan->origin;
}

/* It answers an echo: what it names is nic's, or was reassembled. */
static bool is_echo(const struct ip *ip, uint32_t buffer)
{
    uint8_t origin = ip_buffer_origin(ip, buffer);
    return origin == SERVER_NIC || origin == IP_ORIGIN_SLOT;
}

void ip_buffer_done(struct ip *ip, uint32_t buffer)
{
    struct ip_loan loan = ip->out[buffer];
    ip->echoes -= is_echo(ip, buffer);
    ip->out[buffer] = (struct ip_loan){.origin = SERVER_IP};
    ip_loan_done(ip, &loan);
}

/* There are as many groups as buffers, and each is named by one at least: one is free. */
struct ip_loan ip_group_make(struct ip *ip, const struct ip_loan *loan, uint32_t references)
{
    uint32_t at = ip->group_next;
    for (uint32_t i = 0; i < IP_BUFFERS && ip->group[at].references > 0; i++)
        at = (at + 1) % IP_BUFFERS;
    ip->group_next = (at + 1) % IP_BUFFERS;
    ip->group[at] = (struct ip_group){.references = references, .loan = *loan};
    return (struct ip_loan){.origin = IP_ORIGIN_GROUP, .cookie = at};
}

/* ---- buffers ---- */

uint32_t ip_buffers_free(const struct ip *ip)
{
    uint32_t taken = ip->pool->count - ip->pool->free_count;
    uint32_t wire = taken - ip->pool->lent[SERVER_TCP] - ip->pool->lent[SERVER_UDP];
    return wire < IP_BUFFERS_WIRE ? IP_BUFFERS_WIRE - wire : 0;
}

uint32_t ip_buffers_promised(const struct ip *ip, uint8_t from)
{
    uint32_t promised = IP_RESERVED;
    for (unsigned i = 0; i < SERVER_COUNT; i++)
        if (i != from && ip->kept[i].present)
            promised += ip->kept[i].buffers;
    return promised;
}

uint32_t ip_buffer_take(struct ip *ip, const struct ip_loan *loan)
{
    uint32_t buffer = ip_buffers_free(ip) > 0 ? pool_take(ip->pool) : POOL_NONE;
    if (buffer == POOL_NONE)
        ip->counters.drop_no_buffer++;
    else
        ip->out[buffer] = *loan;
    ip->echoes += buffer != POOL_NONE && is_echo(ip, buffer);
    return buffer;
}

/* ---- returned ---- */

/* Untrusted: m (from nic). Our buffers. */
void ip_returned_by_nic(struct ip *ip, const struct message *m)
{
    if (capability_lookup(&ip->nic->table, m->capability, m->generation, CAPABILITY_LINK, 0) == NULL) {
        ip->counters.drop_right++;
        port_makes_no_sense(ip->nic);
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

/* Untrusted: cookie. One of ours: a buffer with a header of what was sent here, or a reassembled datagram. */
static bool own_returned(struct ip *ip, enum server_id from, uint32_t cookie)
{
    uint32_t own = cookie - MESSAGE_COOKIE_OWN, slot = own - IP_BUFFERS;
    if (own < IP_BUFFERS) {
        if (!pool_return(ip->pool, own, from))
            return false;
        ip_buffer_done(ip, own);
        return true;
    }
    if (slot >= REASSEMBLY_DATAGRAMS || ip->slot_holder[slot] != from)
        return false;
    slot_done(ip, slot);
    return true;
}

/* Untrusted: cookie. One of nic's; a return to a nic that is dead is none at all. */
static bool frame_returned(struct ip *ip, enum server_id from, uint32_t cookie)
{
    if (ip->holder[cookie] != from)
        return (ip->barrier & 1U << from) != 0;
    ip->held[from]--;
    ip_frame_done(ip, cookie);
    return true;
}
_Static_assert(MESSAGE_COOKIE_OWN == IP_COOKIES, "a cookie is nic's or ours");

void ip_returned_by_transport(struct ip *ip, uint64_t now_us, enum server_id from, const struct message *m)
{
    struct capability_table *table = &ip->context.port[from]->table;
    if (capability_lookup(table, m->capability, m->generation, CAPABILITY_TRANSPORT, 0) == NULL) {
        ip->counters.drop_right++;
        port_makes_no_sense(ip->context.port[from]);
        return;
    }
    for (unsigned i = 0; i < m->count; i++) {
        uint32_t cookie = m->returned[i];
        if (!(cookie >= MESSAGE_COOKIE_OWN ? own_returned(ip, from, cookie) : frame_returned(ip, from, cookie)))
            ip->counters.drop_return++;
        else if (from == SERVER_TCP && cookie < MESSAGE_COOKIE_OWN)
            ip_patience_earned(ip, now_us);
    }
}

/* ---- restarts of others ---- */

/* What `server` lent and is still named by ours is nobody's. */
static void loans_orphan(struct ip *ip, enum server_id server)
{
    ip_pending_drop(ip, server);
    for (unsigned i = 0; i < IP_BUFFERS; i++) {
        if (server == SERVER_NIC) /* an echo of its own frame is nobody's now */
            ip->echoes -= ip_buffer_origin(ip, i) == server;
        if (ip->out[i].origin == server)
            ip->out[i].origin = SERVER_IP;
    }
    for (unsigned i = 0; i < IP_BUFFERS; i++) {
        if (ip->group[i].references > 0 && ip->group[i].loan.origin == server)
            ip->group[i].loan.origin = SERVER_IP;
    }
    owed_forget(ip, server);
}

/* Nothing of nic's is named or awaited any more; what it may still read of ours is ours again after the barrier. */
void ip_nic_lost(struct ip *ip)
{
    static const enum server_id transports[] = {SERVER_TCP, SERVER_UDP};
    loans_orphan(ip, SERVER_NIC);
    ip_waiting_forget(ip);
    for (unsigned i = 0; i < IP_COOKIES; i++)
        ip->holder[i] = IP_HOLDER_NONE;
    for (unsigned i = 0; i < sizeof transports / sizeof transports[0]; i++) {
        const struct port *port = ip->context.port[transports[i]];
        ip->held[transports[i]] = 0;
        if (port != NULL && port->attached) {
            ip->barrier |= (uint8_t)(1U << transports[i]);
            ip->barrier_left[transports[i]] = RING_SLOTS;
        }
    }
    ip->nic_lost_us = UINT64_MAX;
}

/* Everyone acknowledged: what `server` held of our buffers is ours again. */
static void buffers_reclaim(struct ip *ip, enum server_id server)
{
    for (uint32_t i = 0; i < IP_BUFFERS; i++) {
        if (!pool_return(ip->pool, i, server))
            continue;
        ip->counters.reclaimed++;
        ip_buffer_done(ip, i);
    }
}

void ip_nic_attached(struct ip *ip)
{
    buffers_reclaim(ip, SERVER_NIC);
}

/* What it sent and nic still reads goes on without anybody to return to. */
void ip_transport_lost(struct ip *ip, enum server_id transport)
{
    ip->kept[transport].present = false;
    loans_orphan(ip, transport);
}

void ip_transport_attached(struct ip *ip, enum server_id transport)
{
    for (uint32_t i = 0; i < REASSEMBLY_DATAGRAMS; i++) {
        if (ip->slot_holder[i] != transport)
            continue;
        slot_done(ip, i);
        ip->counters.reclaimed++;
    }
    buffers_reclaim(ip, transport);
    ip_offer_again(ip, transport);
    ip->barrier &= (uint8_t) ~(1U << transport); /* its ring is new */
}
