// SPDX-License-Identifier: BSD-2-Clause
/* ARP. Theory of operation.
 *
 * Neighbours are kept in the table of protocols/ip/neighbour.h, in states that have the names of RFC 4861 7.3.2:
 *
 *   lookup of a stranger -> INCOMPLETE: ARP_TRIES broadcasts ARP_RETRY_US apart, then FAILED, for
 *                           ARP_FAILED_US (the negative cache), then forgotten
 *   heard from           -> REACHABLE for ARP_REACHABLE_US, then STALE
 *   lookup of a STALE    -> still used; PROBE: asked by unicast ARP_TRIES times (RFC 1122 2.3.2.1 (2)), then
 *                           INCOMPLETE: somebody else may have the address now
 *
 * Each own address goes through RFC 5227: TENTATIVE while it is probed (2.1.1), then PREFERRED, announced (2.3) and
 * defended (2.4); DUPLICATE, for good, if somebody had it first. An address in use is never given up, but defended at
 * most once in ARP_DEFEND_US (2.4 (c)): addresses here are configured and sockets are bound to them.
 *
 * Left out: proxy ARP. Read RFC 826 first, then RFC 5227 2. */
#include "protocols/arp/arp.h"

#include <string.h>

#include "protocols/arp/arp_wire.h"
#include "protocols/base/siphash.h"
#include "protocols/ether/ether.h"
#include "protocols/ether/ether_wire.h"

static const struct mac_address broadcast = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
static const struct mac_address unknown;

/* ---- own addresses ---- */

/* In [0, below_us). */
static uint64_t random_us(const struct arp *t, size_t own, uint64_t below_us)
{
    const struct arp_own *o = &t->own[own];
    uint8_t seed[] = {
        o->claim.address.octets[0], o->claim.address.octets[1], o->claim.address.octets[2], o->claim.address.octets[3],
        t->config.mac.octets[3],    t->config.mac.octets[4],    t->config.mac.octets[5],    o->probes};
    return siphash(t->config.secret, seed, sizeof seed) % below_us;
}

static void own_prefer(struct arp *t, struct arp_own *o, uint64_t now_us, bool announce)
{
    own_claim_enter(&o->claim, OWN_PREFERRED);
    o->announcements = announce ? ARP_ANNOUNCEMENTS : 0;
    o->at_us = announce ? now_us : UINT64_MAX;
    neighbour_ask_now(&t->neighbours, now_us); /* what had no sender to ask from */
}

void arp_init(struct arp *t, const struct arp_config *config, uint64_t now_us)
{
    memset(t, 0, sizeof *t);
    t->config = *config;
    neighbour_table_init(&t->neighbours, config->secret);
    if (t->config.own_count > IP_OWN_MAX)
        t->config.own_count = IP_OWN_MAX;
    for (size_t i = 0; i < t->config.own_count; i++) {
        struct arp_own *o = &t->own[i];
        o->claim.address = config->own[i].address;
        if (config->restarted || config->dad != DAD_ON) {
            own_prefer(t, o, now_us, !config->restarted && config->dad == DAD_OPTIMISTIC);
            continue;
        }
        o->probes = ARP_PROBES;
        o->at_us = now_us + random_us(t, i, ARP_PROBE_WAIT_US + 1);
    }
}

static struct arp_own *own_find(struct arp *t, const uint8_t ip4[4])
{
    for (size_t i = 0; i < t->config.own_count; i++)
        if (memcmp(t->own[i].claim.address.octets, ip4, 4) == 0)
            return &t->own[i];
    return NULL;
}

static bool same_link(const uint8_t a[4], const uint8_t b[4], uint8_t prefix_length)
{
    for (unsigned i = 0; i < 4 && prefix_length > 8 * i; i++) {
        unsigned bits = prefix_length - 8 * i;
        if (((a[i] ^ b[i]) & (bits >= 8 ? 0xffU : 0xffU << (8 - bits))) != 0)
            return false;
    }
    return true;
}

/* The own address to ask for `target` from: on its link, else any. NULL: none is usable. */
static const struct arp_own *own_for(const struct arp *t, const uint8_t target[4])
{
    const struct arp_own *any = NULL;
    for (size_t i = 0; i < t->config.own_count; i++) {
        const struct arp_own *o = &t->own[i];
        if (o->claim.state != OWN_PREFERRED)
            continue;
        if (same_link(o->claim.address.octets, target, t->config.own[i].prefix_length))
            return o;
        if (any == NULL)
            any = o;
    }
    return any;
}

static bool own_is_hopeless(const struct arp *t)
{
    for (size_t i = 0; i < t->config.own_count; i++)
        if (t->own[i].claim.state != OWN_DUPLICATE)
            return false;
    return true;
}

/* Another station claims the address: RFC 5227 2.1.1, 2.4 (c). */
static void own_conflict(struct arp *t, uint64_t now_us, struct arp_own *o, const uint8_t station[6])
{
    struct mac_address mac;
    memcpy(mac.octets, station, sizeof mac.octets);
    switch (own_claim_contest(&o->claim, now_us, ARP_DEFEND_US, &mac)) {
    case OWN_CONTEST_AGAIN:
        break;
    case OWN_CONTEST_LOST:
        o->at_us = UINT64_MAX;
        t->counters.duplicates++;
        break;
    case OWN_CONTEST_DEFEND:
        if (t->config.dad == DAD_OFF)
            break;
        if (o->announcements == 0)
            o->announcements = 1;
        o->at_us = now_us;
        break;
    }
}

bool arp_event(struct arp *t, struct own_event *ret)
{
    for (size_t i = 0; i < t->config.own_count; i++)
        if (own_claim_event(&t->own[i].claim, ret))
            return true;
    return false;
}

/* ---- input ---- */

static bool sender_may_be(const uint8_t ip4[4])
{
    return ip4[0] != 127 && ip4[0] < 224; /* zero: a probe, RFC 5227 2.1 */
}

static enum arp_input_result check(const struct arp *t, const struct arp_wire *w)
{
    struct mac_address sender;
    memcpy(sender.octets, w->sender_mac, sizeof sender.octets);
    if (be16_get(w->hardware) != ARP_HARDWARE_ETHERNET)
        return ARP_DROP_hardware;
    if (be16_get(w->protocol) != ETHER_TYPE_IP4)
        return ARP_DROP_protocol;
    if (w->hardware_length != 6 || w->protocol_length != 4)
        return ARP_DROP_lengths;
    if (be16_get(w->operation) != ARP_OPERATION_REQUEST && be16_get(w->operation) != ARP_OPERATION_REPLY)
        return ARP_DROP_operation;
    if (mac_address_is_group(&sender) || mac_address_equal(&sender, &unknown))
        return ARP_DROP_sender_mac;
    if (mac_address_equal(&sender, &t->config.mac))
        return ARP_DROP_own;
    if (!sender_may_be(w->sender_ip4))
        return ARP_DROP_sender_ip4;
    return ARP_INPUT_DONE;
}

static void merge(struct arp *t, uint64_t now_us, struct neighbour *e, const uint8_t mac[6])
{
    memcpy(e->mac.octets, mac, sizeof e->mac.octets);
    if (e->state != NEIGHBOUR_REACHABLE)
        t->counters.resolved++;
    neighbour_schedule(&t->neighbours, e, NEIGHBOUR_REACHABLE, now_us + ARP_REACHABLE_US);
}

static bool reply_queue(struct arp *t, const struct arp_own *own, const struct arp_wire *w)
{
    if (t->reply_count == ARP_REPLIES)
        return false;
    struct arp_reply *r = &t->reply[(t->reply_first + t->reply_count++) % ARP_REPLIES];
    memcpy(r->ip4, w->sender_ip4, sizeof r->ip4);
    memcpy(r->mac.octets, w->sender_mac, sizeof r->mac.octets);
    r->own = (uint8_t)(own - t->own);
    return true;
}

/* RFC 826, "Packet Reception": merge if known; add only if we are the target; then answer a
 * request. */
static enum arp_input_result receive(struct arp *t, uint64_t now_us, const struct arp_wire *w, struct ip_address *ret)
{
    static const uint8_t zero[4];
    bool request = be16_get(w->operation) == ARP_OPERATION_REQUEST;
    bool probe = memcmp(w->sender_ip4, zero, 4) == 0;
    bool full = false;
    struct neighbour *e = NULL;
    struct ip_address sender = ip_address_from_ip4(w->sender_ip4);
    struct arp_own *claimed = own_find(t, w->sender_ip4), *target = own_find(t, w->target_ip4);

    /* RFC 5227 2.1.1: another station's probe for what we are probing is a conflict as well */
    if (claimed == NULL && probe && request && target != NULL && target->claim.state == OWN_TENTATIVE)
        claimed = target;
    if (claimed != NULL) {
        own_conflict(t, now_us, claimed, w->sender_mac);
        return ARP_DROP_conflict;
    }
    bool for_us = target != NULL && target->claim.state == OWN_PREFERRED;
    if (!probe) {
        e = neighbour_find(&t->neighbours, sender.octets);
        if (e == NULL && for_us) {
            e = neighbour_learn(&t->neighbours, sender.octets, &t->counters.evicted);
            full = e == NULL;
        }
    }
    if (e != NULL)
        merge(t, now_us, e, w->sender_mac);
    if (for_us && request && !reply_queue(t, target, w))
        return ARP_DROP_reply_queue;
    if (full)
        return ARP_DROP_table_full;
    if (e != NULL) {
        *ret = sender;
        return ARP_INPUT_RESOLVED;
    }
    if (for_us)
        return ARP_INPUT_DONE;
    return target != NULL ? ARP_DROP_tentative : ARP_DROP_not_ours;
}

static void count_result(struct arp_counters *c, enum arp_input_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case ARP_DROP_##name:                                                                                              \
        c->drop_##name++;                                                                                              \
        break;
        ARP_DROPS(X)
#undef X
    case ARP_INPUT_DONE:
    case ARP_INPUT_RESOLVED:
    case ARP_INPUT_RESULTS:
        break;
    }
}

enum arp_input_result arp_input(struct arp *t, uint64_t now_us, const uint8_t *bytes, size_t length,
                                struct ip_address *ret)
{
    struct arp_wire w;
    enum arp_input_result result = ARP_DROP_short;
    if (length >= sizeof w) {
        memcpy(&w, bytes, sizeof w);
        result = check(t, &w);
    }
    if (result == ARP_INPUT_DONE) {
        if (be16_get(w.operation) == ARP_OPERATION_REQUEST)
            t->counters.requests_in++;
        else
            t->counters.replies_in++;
        result = receive(t, now_us, &w, ret);
    }
    count_result(&t->counters, result);
    return result;
}

/* ---- lookup ---- */

enum arp_lookup_result arp_lookup(struct arp *t, uint64_t now_us, const struct ip_address *address,
                                  struct mac_address *ret)
{
    if (address->family != ADDRESS_IP4 || own_is_hopeless(t))
        return ARP_LOOKUP_FAILED;
    struct ip_address key = ip_address_from_ip4(address->octets); /* a transport may have left anything behind */
    struct neighbour *e = neighbour_use(&t->neighbours, now_us, key.octets, &t->counters.evicted);
    if (e->state == NEIGHBOUR_STALE)
        neighbour_schedule(&t->neighbours, e, NEIGHBOUR_PROBE, now_us);

    if (e->state == NEIGHBOUR_FAILED)
        return ARP_LOOKUP_FAILED;
    if (e->state == NEIGHBOUR_INCOMPLETE)
        return ARP_LOOKUP_RESOLVING;
    *ret = e->mac;
    return ARP_LOOKUP_FOUND;
}

void arp_announce(struct arp *t)
{
    for (size_t i = 0; i < t->config.own_count; i++)
        if (t->own[i].claim.state == OWN_PREFERRED && t->own[i].announcements == 0) {
            t->own[i].announcements = 1;
            t->own[i].at_us = 0;
        }
}

/* ---- output ---- */

static void packet_build(const struct arp *t, uint16_t operation, const uint8_t sender_ip4[4],
                         const struct mac_address *target, const uint8_t target_ip4[4], struct arp_output *ret)
{
    struct arp_wire w = {.hardware = be16_make(ARP_HARDWARE_ETHERNET),
                         .protocol = be16_make(ETHER_TYPE_IP4),
                         .hardware_length = 6,
                         .protocol_length = 4,
                         .operation = be16_make(operation)};
    memcpy(w.sender_mac, t->config.mac.octets, sizeof w.sender_mac);
    memcpy(w.sender_ip4, sender_ip4, sizeof w.sender_ip4);
    memcpy(w.target_mac, target->octets, sizeof w.target_mac);
    memcpy(w.target_ip4, target_ip4, sizeof w.target_ip4);
    memcpy(ret->packet, &w, sizeof w);
}
_Static_assert(sizeof(struct arp_wire) == ARP_PACKET_LENGTH, "one number");

/* False: there is no address to ask from yet; own_prefer() will have it asked. */
static bool request_send(struct arp *t, uint64_t now_us, struct neighbour *e, struct arp_output *ret)
{
    bool unicast = e->state == NEIGHBOUR_PROBE;
    const struct arp_own *own = own_for(t, e->key);
    e->at_us = now_us + ARP_RETRY_US;
    if (own == NULL)
        return false;
    packet_build(t, ARP_OPERATION_REQUEST, own->claim.address.octets, unicast ? &e->mac : &unknown, e->key, ret);
    ret->destination = unicast ? e->mac : broadcast;
    e->tries++;
    t->counters.requests_out++;
    return true;
}

/* An entry whose time has come. True: *ret is to be sent. */
static bool entry_act(struct arp *t, uint64_t now_us, struct neighbour *e, struct arp_output *ret)
{
    switch ((enum neighbour_state)e->state) {
    case NEIGHBOUR_REACHABLE: /* not in use just now: asked when it is looked up */
        neighbour_schedule(&t->neighbours, e, NEIGHBOUR_STALE, UINT64_MAX);
        return false;
    case NEIGHBOUR_PROBE:
        if (e->tries >= ARP_TRIES)
            neighbour_schedule(&t->neighbours, e, NEIGHBOUR_INCOMPLETE, now_us);
        return request_send(t, now_us, e, ret);
    case NEIGHBOUR_INCOMPLETE:
        if (e->tries < ARP_TRIES && !own_is_hopeless(t))
            return request_send(t, now_us, e, ret);
        neighbour_schedule(&t->neighbours, e, NEIGHBOUR_FAILED, now_us + ARP_FAILED_US);
        t->counters.failed++;
        return false;
    case NEIGHBOUR_FAILED:
        neighbour_forget(&t->neighbours, e);
        return false;
    case NEIGHBOUR_FREE:
    case NEIGHBOUR_STALE:
    case NEIGHBOUR_DELAY: /* not entered here: a question by unicast costs no more than the wait */
        break;
    }
    e->at_us = UINT64_MAX;
    return false;
}

static bool reply_send(struct arp *t, struct arp_output *ret)
{
    if (t->reply_count == 0)
        return false;
    const struct arp_reply *r = &t->reply[t->reply_first];
    packet_build(t, ARP_OPERATION_REPLY, t->own[r->own].claim.address.octets, &r->mac, r->ip4, ret);
    ret->destination = r->mac;
    t->reply_first = (t->reply_first + 1) % ARP_REPLIES;
    t->reply_count--;
    t->counters.replies_out++;
    return true;
}

/* An own address whose time has come: RFC 5227 2.1.1 (probe), 2.3 (announce). True: *ret is to be sent. */
static void own_act(struct arp *t, uint64_t now_us, size_t own, struct arp_output *ret)
{
    static const uint8_t none[4];
    struct arp_own *o = &t->own[own];
    if (o->claim.state == OWN_TENTATIVE && o->probes == 0)
        own_prefer(t, o, now_us, true);
    if (o->claim.state == OWN_TENTATIVE) {
        packet_build(t, ARP_OPERATION_REQUEST, none, &unknown, o->claim.address.octets, ret);
        o->at_us =
            now_us + (--o->probes == 0 ? ARP_ANNOUNCE_WAIT_US
                                       : ARP_PROBE_MIN_US + random_us(t, own, ARP_PROBE_MAX_US - ARP_PROBE_MIN_US + 1));
        t->counters.probes_out++;
    } else {
        packet_build(t, ARP_OPERATION_REQUEST, o->claim.address.octets, &unknown, o->claim.address.octets, ret);
        o->at_us = --o->announcements == 0 ? UINT64_MAX : now_us + ARP_ANNOUNCE_INTERVAL_US;
        t->counters.announcements_out++;
    }
    ret->destination = broadcast;
}

bool arp_poll(struct arp *t, uint64_t now_us, struct arp_output *ret)
{
    if (reply_send(t, ret))
        return true;
    for (size_t i = 0; i < t->config.own_count; i++)
        if (now_us >= t->own[i].at_us) {
            own_act(t, now_us, i, ret);
            return true;
        }
    struct neighbour *e;
    for (size_t at = 0; (e = neighbour_due(&t->neighbours, now_us, &at)) != NULL;)
        if (entry_act(t, now_us, e, ret))
            return true;
    return false;
}

uint64_t arp_deadline_us(const struct arp *t)
{
    if (t->reply_count != 0)
        return 0;
    uint64_t earliest_us = t->neighbours.deadline_us;
    for (size_t i = 0; i < t->config.own_count; i++)
        if (t->own[i].at_us < earliest_us)
            earliest_us = t->own[i].at_us;
    return earliest_us;
}
