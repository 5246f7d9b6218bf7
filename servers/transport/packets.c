// SPDX-License-Identifier: BSD-2-Clause
/* Packets from and to ip: what is received is checked and its loan returned within the burst; what is sent goes out as
 * a header buffer of ours and a reference into the application's arena, both lent until ip returns the cookie. */
#include <string.h>

#include "protocols/base/checksum.h"
#include "servers/addresses.h"
#include "servers/transport/transport.h"

uint32_t transport_receive_budget(struct transport *t)
{
    uint32_t slots = port_space(t->ip);
    if (slots == 0)
        return 0; /* also: detached */
    uint32_t budget = (slots - 1) * MESSAGE_RETURNS_MAX + 1;
    return budget < SERVER_BURST ? budget : SERVER_BURST;
}

/* How much of [offset, offset + octets) lies in the first part. */
static uint32_t first_of(const struct transport_packet *p, uint32_t offset, uint32_t octets)
{
    uint32_t first = p->part[0].octets > offset ? p->part[0].octets - offset : 0;
    return first < octets ? first : octets;
}

void transport_packet_copy(const struct transport_packet *p, uint32_t offset, uint8_t *to, uint32_t octets)
{
    uint32_t first = first_of(p, offset, octets);
    if (first > 0)
        memcpy(to, p->part[0].bytes + offset, first);
    if (octets > first)
        memcpy(to + first, p->part[1].bytes + (offset + first - p->part[0].octets), octets - first);
}

/* RFC 1071 2 (B): octets that stand at odd places of what is summed add to its sum with the halves changed round. */
static uint64_t sum_at(uint32_t place, uint64_t sum)
{
    uint32_t folded = be16_get(checksum_fold(sum));
    return place % 2 == 0 ? sum : (folded << 8 | folded >> 8) & 0xffff;
}

uint64_t transport_packet_sum(const struct transport_packet *p, uint32_t offset, uint32_t octets)
{
    uint32_t first = first_of(p, offset, octets);
    uint64_t sum = first > 0 ? checksum_add(0, p->part[0].bytes + offset, first) : 0;
    if (octets > first) {
        const uint8_t *second = p->part[1].bytes + (offset + first - p->part[0].octets);
        sum += sum_at(first, checksum_add(0, second, octets - first));
    }
    return sum;
}

static bool checksum_good(const struct transport *t, const struct message *m, const struct transport_packet *p)
{
    if (m->checksum_state != MESSAGE_CHECKSUM_NONE)
        return true;
    uint64_t sum = checksum_pseudo_header(&m->source, &m->destination, t->operations->protocol, p->octets);
    sum = checksum_add(sum, p->header, p->header_octets);
    sum += sum_at(p->header_octets, transport_packet_sum(p, p->header_octets, p->octets - p->header_octets));
    return be16_get(checksum_finish(sum)) == 0;
}

static bool for_us(const struct transport *t, const struct message *m)
{
    const struct stack_config *config = t->context->config;
    if (m->source.family != m->destination.family)
        return false;
    return address_is_ours(config, &m->destination) ||
           (t->operations->broadcasts && address_is_broadcast(config, &m->destination));
}

/* Untrusted: r (two, from ip; the second may be empty). False: not ranges of buffers that we can read. */
static bool parts_find(struct transport *t, const struct message_reference *r, struct transport_packet *ret)
{
    for (uint32_t i = 0; i < 2 && (i == 0 || r[i].length > 0); i++) {
        const struct capability *pool =
            capability_range(&t->ip->table, r[i].pool, r[i].generation, r[i].offset, r[i].length);
        if (pool == NULL || pool->base == NULL)
            return false;
        ret->part[i].bytes = pool->base + r[i].offset;
        ret->part[i].octets = r[i].length;
    }
    return true;
}

bool transport_packet_receive(struct transport *t, const struct message *m, struct transport_packet *ret)
{
    struct transport_counters *count = &t->counters;
    const struct capability *c =
        capability_lookup(&t->ip->table, m->capability, m->generation, CAPABILITY_TRANSPORT, CAPABILITY_RECEIVE);
    if (c == NULL) {
        count->drop_capability++;
        return false;
    }
    const struct message_reference *r = m->reference;
    *ret = (struct transport_packet){0};
    if (!parts_find(t, r, ret)) {
        count->drop_range++;
        return false;
    }
    if (m->protocol != t->operations->protocol) {
        count->drop_protocol++;
        return false;
    }
    if (!for_us(t, m)) {
        count->drop_not_local++;
        return false;
    }
    if (r[0].length == 0 || (uint64_t)r[0].length + r[1].length > UINT16_MAX) {
        count->drop_length++;
        return false;
    }
    ret->octets = r[0].length + r[1].length;
    ret->header_octets = r[0].length < TRANSPORT_HEADER_MAX ? r[0].length : TRANSPORT_HEADER_MAX;
    memcpy(ret->header, ret->part[0].bytes, ret->header_octets);
    return true;
}

bool transport_checksum(struct transport *t, const struct message *m, const struct transport_packet *p)
{
    if (checksum_good(t, m, p))
        return true;
    t->counters.drop_checksum++;
    return false;
}

void transport_give_back(struct transport *t, const struct message *m)
{
    if (m->reference[1].length > 0) /* sent from here: whoever wrote it may sleep until there is room in its ring */
        port_hurry(t->ip);
    if (!port_return(t->ip, &t->returns, (uint32_t)m->cookie))
        t->counters.drop_return_full++; /* not within transport_receive_budget() */
}

/* ---- loans ---- */

static void loan_add(struct transport *t, uint32_t buffer, uint32_t endpoint, uint32_t offset)
{
    struct loan *l = &t->loan[buffer];
    *l = (struct loan){.endpoint = endpoint, .offset = offset};
    t->loans++;
    t->counters.loans_out++;
    if (endpoint == TRANSPORT_NONE)
        return;
    struct endpoint *e = &t->endpoint[endpoint];
    l->next = e->loan_first;
    if (l->next != 0)
        t->loan[l->next - 1].previous = (uint16_t)(buffer + 1);
    e->loan_first = (uint16_t)(buffer + 1);
}

static void loan_remove(struct transport *t, uint32_t buffer)
{
    struct loan l = t->loan[buffer];
    t->loan[buffer] = (struct loan){.endpoint = TRANSPORT_NONE};
    if (l.endpoint == TRANSPORT_NONE)
        return;
    struct endpoint *e = &t->endpoint[l.endpoint];
    if (l.previous != 0)
        t->loan[l.previous - 1].next = l.next;
    else
        e->loan_first = l.next;
    if (l.next != 0)
        t->loan[l.next - 1].previous = l.previous;
    endpoint_dirty(t, l.endpoint, false);
    endpoint_try_release(t, l.endpoint);
}

/* Untrusted: cookie (from ip). */
static void loan_home(struct transport *t, uint32_t cookie)
{
    if (!pool_return(t->context->pool, cookie, SERVER_IP)) {
        t->counters.drop_return_unknown++;
        return;
    }
    t->loans--;
    t->counters.loans_home++;
    loan_remove(t, cookie);
}

bool transport_loans_home(struct transport *t, const struct message *m)
{
    if (m->operation != MESSAGE_RETURN)
        return false;
    if (capability_lookup(&t->ip->table, m->capability, m->generation, CAPABILITY_TRANSPORT, CAPABILITY_RECEIVE) ==
        NULL) {
        t->counters.drop_capability++;
        port_makes_no_sense(t->ip);
        return true;
    }
    for (uint32_t i = 0; i < m->count; i++)
        loan_home(t, m->returned[i]);
    return true;
}

void transport_reclaim(struct transport *t)
{
    for (uint32_t i = 0; i < t->endpoint_high; i++) {
        struct endpoint *e = &t->endpoint[i];
        if (!(e->flags & ENDPOINT_USED) || e->loan_first == 0)
            continue;
        while (e->loan_first != 0) {
            uint32_t buffer = e->loan_first - 1U;
            e->loan_first = t->loan[buffer].next;
            t->loan[buffer] = (struct loan){.endpoint = TRANSPORT_NONE};
        }
        endpoint_dirty(t, i, false);
        endpoint_try_release(t, i);
    }
    t->counters.reclaimed += pool_reclaim(t->context->pool, SERVER_IP);
    t->loans = 0;
}

/* ---- sending ---- */

bool transport_can_send(struct transport *t)
{
    const struct pool *pool = t->context->pool;
    bool can = pool->free_count > 0 && pool->lent[SERVER_IP] < pool->lent_cap &&
               port_space(t->ip) >= 2 + TRANSPORT_RETURN_SLOTS;
    t->blocked = !can;
    if (!can)
        t->blocked_us = t->now_us;
    return can;
}

static void refer_payload(struct transport *t, struct message *m, uint32_t endpoint, uint32_t place, uint32_t octets)
{
    const struct endpoint *e = &t->endpoint[endpoint];
    const struct session_arena *a = slot_arena(t, e);
    if (a == NULL || place > a->send_most || octets > a->send_most - place)
        return;
    size_t at = arena_send_offset(a->slots) + (size_t)e->slot * a->send_most + place;
    m->reference[1] = (struct message_reference){
        .pool = a->capability, .generation = a->capability_generation, .offset = (uint32_t)at, .length = octets};
}

void transport_packet_send(struct transport *t, struct message *m, const uint8_t *header, uint32_t header_octets,
                           uint32_t endpoint, uint32_t offset, uint32_t place, uint32_t payload_octets)
{
    struct pool *pool = t->context->pool;
    m->reference[1] = (struct message_reference){0};
    if (payload_octets > 0) {
        if (endpoint != TRANSPORT_NONE)
            refer_payload(t, m, endpoint, place, payload_octets);
        if (m->reference[1].length == 0) { /* its session has gone */
            t->counters.drop_no_slot++;
            return;
        }
    } else {
        endpoint = TRANSPORT_NONE;
    }
    uint32_t buffer = pool_take(pool);
    memcpy(pool_buffer(pool, buffer), header, header_octets);
    m->operation = MESSAGE_SEND;
    m->capability = CAPABILITY_INDEX_PEER;
    m->generation = 1;
    m->cookie = buffer;
    m->protocol = t->operations->protocol;
    m->header_octets = (uint8_t)header_octets;
    m->reference[0] = (struct message_reference){.pool = t->context->pool_capability,
                                                 .generation = t->context->pool_generation,
                                                 .offset = pool_offset(pool, buffer),
                                                 .length = header_octets};
    if (!pool_lend(pool, buffer, SERVER_IP)) {
        pool_put(pool, buffer);
        return;
    }
    if (!port_push(t->ip, m)) { /* a wrapper may refuse */
        pool_return(pool, buffer, SERVER_IP);
        return;
    }
    loan_add(t, buffer, endpoint, offset);
    t->counters.sent++;
}
