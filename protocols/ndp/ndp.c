// SPDX-License-Identifier: BSD-2-Clause
/* Neighbour discovery. Theory of operation.
 *
 * Neighbours are kept in the table of protocols/ip/neighbour.h, each in a state of RFC 4861 7.3.2:
 *
 *   lookup of a stranger -> INCOMPLETE: NDP_MULTICAST_SOLICIT solicitations NDP_RETRANS_US apart, then FAILED for
 *                           NDP_FAILED_US (the negative cache), then forgotten
 *   a solicited answer, or a layer above that hears from it -> REACHABLE for NDP_REACHABLE_US, then STALE
 *   a solicitation from it, a change of its station         -> STALE
 *   lookup of a STALE    -> still used; DELAY for NDP_DELAY_US, then PROBE: NDP_UNICAST_SOLICIT solicitations to the
 *                           station, then forgotten, so that the next lookup asks everybody
 *
 * What concerns own addresses is in own.c, the groups that they need in listener.c.
 *
 * Deviates: RFC 4861 6.3 (MUST process router advertisements) and 8.3 (redirects): addresses and routes are configured;
 * both are counted and ignored. 6.3.4: reachable time is not randomised: no other host takes it from ours. RFC 4429 3.3
 * (MUST NOT solicit from an optimistic address): done when there is no other, but without our link-layer address, so
 * that nobody's cache is changed by it, which is what the rule protects.
 *
 * Left out: anycast, proxies, inverse discovery, SEND. Read RFC 4861 7 first, then RFC 4862 5.4. */
#include "protocols/ndp/ndp.h"

#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/ether/ether.h"
#include "protocols/icmp/icmp6_wire.h"
#include "protocols/ndp/ndp_internal.h"
#include "protocols/ndp/ndp_wire.h"

static const struct mac_address unknown;

static void entry_reachable(struct ndp *t, uint64_t now_us, struct neighbour *e)
{
    neighbour_schedule(&t->neighbours, e, NEIGHBOUR_REACHABLE, now_us + NDP_REACHABLE_US);
}

void ndp_init(struct ndp *t, const struct ndp_config *config, uint64_t now_us)
{
    memset(t, 0, sizeof *t);
    t->config = *config;
    neighbour_table_init(&t->neighbours, config->secret);
    if (t->config.own_count > IP_OWN_MAX)
        t->config.own_count = IP_OWN_MAX;
    for (size_t i = 0; i < t->config.own_count; i++) {
        t->own[i].claim.address = config->own[i].address;
        ndp_own_start(t, &t->own[i], now_us);
    }
}

/* ---- input ---- */

struct arrival { /* a solicitation or advertisement, checked */
    const struct ip6_header *ip6;
    const struct mac_address *station;
    struct ndp_wire w;
    struct ip_address target;
    struct mac_address address; /* of the option that belongs to the type */
    bool has_address;
    bool unspecified; /* no source */
};

static enum ndp_input_result option_take(const uint8_t *option, struct arrival *a)
{
    struct ndp_option_wire o;
    memcpy(&o, option, sizeof o);
    memcpy(a->address.octets, o.mac, sizeof o.mac);
    a->has_address = true;
    if (o.length != 1 || mac_address_is_group(&a->address) || mac_address_equal(&a->address, &unknown))
        return NDP_DROP_link_layer;
    return NDP_INPUT_DONE;
}

/* Options that are not known are passed over (4.6). */
static enum ndp_input_result options_parse(const uint8_t *message, size_t length, uint8_t wanted, struct arrival *a)
{
    for (size_t at = sizeof(struct ndp_wire); at < length; at += (size_t)message[at + 1] * 8) {
        if (length - at < 8 || message[at + 1] == 0 || (size_t)message[at + 1] * 8 > length - at)
            return NDP_DROP_option_length;
        if (message[at] != wanted || a->has_address)
            continue;
        enum ndp_input_result result = option_take(message + at, a);
        if (result != NDP_INPUT_DONE)
            return result;
    }
    return NDP_INPUT_DONE;
}

static bool is_solicited_node(const struct ip_address *group)
{
    struct ip_address same = ip6_solicited_node(group);
    return ip_address_equal(&same, group);
}

/* 7.1.1 */
static enum ndp_input_result solicitation_check(const struct arrival *a)
{
    if (!a->unspecified)
        return a->ip6->source_own ? NDP_DROP_source : NDP_INPUT_DONE;
    if (!is_solicited_node(&a->ip6->destination))
        return NDP_DROP_destination;
    return a->has_address ? NDP_DROP_option_source : NDP_INPUT_DONE;
}

/* 7.1.2 */
static enum ndp_input_result advertisement_check(const struct arrival *a)
{
    if ((a->w.flags & NDP_FLAG_SOLICITED) != 0 && ip6_is_multicast(&a->ip6->destination))
        return NDP_DROP_solicited_multicast;
    return a->unspecified ? NDP_DROP_source : NDP_INPUT_DONE;
}

/* 7.1, what both have in common. */
static enum ndp_input_result check(const struct ndp *t, const uint8_t *message, size_t length, struct arrival *a)
{
    static const struct ip_address loopback = {.family = ADDRESS_IP6, .octets = {[15] = 1}};
    if (length < sizeof a->w)
        return NDP_DROP_short;
    memcpy(&a->w, message, sizeof a->w);
    bool solicitation = a->w.type == NDP_TYPE_NEIGHBOUR_SOLICITATION;
    a->target = ip_address_from_ip6(a->w.target);
    a->unspecified = ip_address_is_any(&a->ip6->source);
    if (a->ip6->hop_limit != 255)
        return NDP_DROP_hop_limit;
    if (a->w.code != 0)
        return NDP_DROP_code;
    if (ip6_is_multicast(&a->target) || ip_address_is_any(&a->target) || ip_address_equal(&a->target, &loopback))
        return NDP_DROP_target;
    enum ndp_input_result result =
        options_parse(message, length, solicitation ? NDP_OPTION_SOURCE : NDP_OPTION_TARGET, a);
    if (result != NDP_INPUT_DONE)
        return result;
    if (mac_address_equal(a->station, &t->config.mac) ||
        (a->has_address && mac_address_equal(&a->address, &t->config.mac)))
        return NDP_DROP_own;
    return solicitation ? solicitation_check(a) : advertisement_check(a);
}

static bool reply_queue(struct ndp *t, const struct ndp_own *own, const struct arrival *a, const struct neighbour *e)
{
    if (t->reply_count == NDP_REPLIES)
        return false;
    struct ndp_reply *r = &t->reply[(t->reply_first + t->reply_count++) % NDP_REPLIES];
    memcpy(r->destination, a->ip6->source.octets, sizeof r->destination);
    /* 7.2.4 would resolve a source that told no address; where its frame came from is as good */
    r->mac = e != NULL && neighbour_is_known(e) ? e->mac : *a->station;
    r->own = (uint8_t)(own - t->own);
    return true;
}

/* 7.2.3: a source that tells its address is known, but not that it is reachable. NULL with *ret_full: no room. */
static struct neighbour *source_learn(struct ndp *t, const struct arrival *a, bool *ret_full)
{
    struct neighbour *e = neighbour_find(&t->neighbours, a->ip6->source.octets);
    if (e == NULL) {
        e = neighbour_learn(&t->neighbours, a->ip6->source.octets, &t->counters.evicted);
        *ret_full = e == NULL;
        if (e == NULL)
            return NULL;
    } else if (neighbour_is_known(e) && mac_address_equal(&e->mac, &a->address)) {
        return e;
    }
    e->mac = a->address;
    t->counters.resolved++;
    neighbour_schedule(&t->neighbours, e, NEIGHBOUR_STALE, UINT64_MAX);
    return e;
}

/* RFC 4862 5.4.3, RFC 4861 7.2.3, 7.2.4 */
static enum ndp_input_result solicitation(struct ndp *t, uint64_t now_us, const struct arrival *a,
                                          struct ip_address *ret)
{
    struct ndp_own *own = ndp_own_find(t, a->w.target);
    struct neighbour *e = NULL;
    bool full = false;
    if (own == NULL)
        return NDP_DROP_not_ours;
    if (a->unspecified && own->claim.state == OWN_TENTATIVE)
        return ndp_own_conflict(t, now_us, own, a->station);
    if (!own_state_is_usable(own->claim.state))
        return NDP_DROP_tentative;
    if (a->has_address)
        e = source_learn(t, a, &full);
    if (!reply_queue(t, own, a, e))
        return NDP_DROP_reply_queue;
    if (full)
        return NDP_DROP_table_full;
    if (e == NULL)
        return NDP_INPUT_DONE;
    *ret = a->ip6->source;
    return NDP_INPUT_RESOLVED;
}

/* 7.2.5 */
static enum ndp_input_result advertisement(struct ndp *t, uint64_t now_us, const struct arrival *a,
                                           struct ip_address *ret)
{
    bool solicited = (a->w.flags & NDP_FLAG_SOLICITED) != 0, override = (a->w.flags & NDP_FLAG_OVERRIDE) != 0;
    struct ndp_own *own = ndp_own_find(t, a->w.target);
    if (own != NULL)
        return ndp_own_conflict(t, now_us, own, a->station);
    if (a->ip6->source_own)
        return NDP_DROP_source;
    struct neighbour *e = neighbour_find(&t->neighbours, a->w.target);
    if (e == NULL)
        return NDP_DROP_not_asked;
    bool lacking = !neighbour_is_known(e);
    bool differs = a->has_address && !mac_address_equal(&e->mac, &a->address);
    if (lacking && !a->has_address)
        return NDP_DROP_no_address;
    if (!lacking && differs && !override) { /* (I) */
        if (e->state == NEIGHBOUR_REACHABLE)
            neighbour_schedule(&t->neighbours, e, NEIGHBOUR_STALE, UINT64_MAX);
        return NDP_DROP_not_override;
    }
    if (a->has_address)
        e->mac = a->address;
    if (lacking)
        t->counters.resolved++;
    if (solicited)
        entry_reachable(t, now_us, e);
    else if (lacking || differs)
        neighbour_schedule(&t->neighbours, e, NEIGHBOUR_STALE, UINT64_MAX);
    *ret = a->target;
    return NDP_INPUT_RESOLVED;
}

static enum ndp_input_result receive(struct ndp *t, uint64_t now_us, struct arrival *a, const uint8_t *message,
                                     size_t length, struct ip_address *ret)
{
    if (length < sizeof(struct icmp6_wire))
        return NDP_DROP_short;
    if (length > NDP_CAPTURE_MAX)
        return NDP_DROP_long;
    if (a->ip6->fragment_header)
        return NDP_DROP_fragmented;
    switch (message[0]) {
    case NDP_TYPE_ROUTER_SOLICITATION:
    case NDP_TYPE_ROUTER_ADVERTISEMENT:
        return NDP_DROP_router;
    case NDP_TYPE_REDIRECT:
        return NDP_DROP_redirect;
    case ICMP6_TYPE_LISTENER_QUERY:
        return ndp_query(t, now_us, a->ip6, message, length);
    case NDP_TYPE_NEIGHBOUR_SOLICITATION:
    case NDP_TYPE_NEIGHBOUR_ADVERTISEMENT:
        break;
    default:
        return NDP_DROP_type;
    }
    enum ndp_input_result result = check(t, message, length, a);
    if (result != NDP_INPUT_DONE)
        return result;
    if (message[0] == NDP_TYPE_NEIGHBOUR_SOLICITATION) {
        t->counters.solicitations_in++;
        return solicitation(t, now_us, a, ret);
    }
    t->counters.advertisements_in++;
    return advertisement(t, now_us, a, ret);
}

enum ndp_input_result ndp_input(struct ndp *t, uint64_t now_us, const struct ip6_header *ip6,
                                const struct mac_address *station, const uint8_t *message, size_t length,
                                struct ip_address *ret)
{
    struct arrival a = {.ip6 = ip6, .station = station};
    enum ndp_input_result result = receive(t, now_us, &a, message, length, ret);
    switch (result) {
#define X(name)                                                                                                        \
    case NDP_DROP_##name:                                                                                              \
        t->counters.drop_##name++;                                                                                     \
        break;
        NDP_DROPS(X)
#undef X
    case NDP_INPUT_DONE:
    case NDP_INPUT_RESOLVED:
    case NDP_INPUT_RESULTS:
        break;
    }
    return result;
}

/* ---- lookup ---- */

enum ndp_lookup_result ndp_lookup(struct ndp *t, uint64_t now_us, const struct ip_address *address,
                                  struct mac_address *ret)
{
    if (address->family != ADDRESS_IP6 || ndp_own_is_hopeless(t))
        return NDP_LOOKUP_FAILED;
    if (ip6_is_multicast(address)) {
        *ret = ip6_multicast_mac(address);
        return NDP_LOOKUP_FOUND;
    }
    struct neighbour *e = neighbour_use(&t->neighbours, now_us, address->octets, &t->counters.evicted);
    if (e->state == NEIGHBOUR_STALE)
        neighbour_schedule(&t->neighbours, e, NEIGHBOUR_DELAY, now_us + NDP_DELAY_US);

    if (e->state == NEIGHBOUR_FAILED)
        return NDP_LOOKUP_FAILED;
    if (e->state == NEIGHBOUR_INCOMPLETE)
        return NDP_LOOKUP_RESOLVING;
    *ret = e->mac;
    return NDP_LOOKUP_FOUND;
}

void ndp_confirm(struct ndp *t, uint64_t now_us, const struct ip_address *address)
{
    struct neighbour *e = address->family == ADDRESS_IP6 ? neighbour_find(&t->neighbours, address->octets) : NULL;
    if (e != NULL && neighbour_is_known(e))
        entry_reachable(t, now_us, e);
}

/* ---- output ---- */

void ndp_message_build(const struct ip_address *source, const struct ip_address *destination,
                       const struct mac_address *station, struct ndp_wire w, uint8_t option,
                       const struct mac_address *own, struct ndp_output *ret)
{
    struct ndp_option_wire o = {.type = option, .length = 1};
    *ret = (struct ndp_output){.destination = station != NULL ? *station : ip6_multicast_mac(destination),
                               .length = (uint32_t)(sizeof w + (option != 0 ? sizeof o : 0))};
    ret->ip6 = (struct ip6_header){.source = *source,
                                   .destination = *destination,
                                   .payload_length = (uint16_t)ret->length,
                                   .transport_offset = IP6_HEADER_LENGTH,
                                   .protocol = IP_PROTOCOL_ICMP6,
                                   .hop_limit = 255};
    memcpy(o.mac, own->octets, sizeof o.mac);
    memcpy(ret->message, &w, sizeof w);
    if (option != 0)
        memcpy(ret->message + sizeof w, &o, sizeof o);
    uint64_t sum = checksum_pseudo_header(source, destination, IP_PROTOCOL_ICMP6, ret->length);
    be16 checksum = checksum_finish(checksum_add(sum, ret->message, ret->length));
    memcpy(ret->message + offsetof(struct ndp_wire, checksum), &checksum, sizeof checksum);
}

/* 7.2.2. False: there is no address to ask from yet; own_use() will have it asked. */
static bool solicit(struct ndp *t, uint64_t now_us, struct neighbour *e, struct ndp_output *ret)
{
    struct ip_address target = ip_address_from_ip6(e->key);
    const struct ndp_own *own = ndp_own_for(t, &target);
    e->at_us = now_us + NDP_RETRANS_US;
    if (own == NULL)
        return false;
    bool unicast = e->state == NEIGHBOUR_PROBE;
    struct ip_address destination = unicast ? target : ip6_solicited_node(&target);
    struct ndp_wire w = {.type = NDP_TYPE_NEIGHBOUR_SOLICITATION};
    memcpy(w.target, e->key, sizeof w.target);
    ndp_message_build(&own->claim.address, &destination, unicast ? &e->mac : NULL, w,
                      own->claim.state == OWN_OPTIMISTIC ? 0 : NDP_OPTION_SOURCE, &t->config.mac, ret);
    e->tries++;
    t->counters.solicitations_out++;
    return true;
}

/* An entry whose time has come: 7.3.3. True: *ret is to be sent. */
static bool entry_act(struct ndp *t, uint64_t now_us, struct neighbour *e, struct ndp_output *ret)
{
    switch ((enum neighbour_state)e->state) {
    case NEIGHBOUR_REACHABLE:
        neighbour_schedule(&t->neighbours, e, NEIGHBOUR_STALE, UINT64_MAX);
        return false;
    case NEIGHBOUR_DELAY:
        neighbour_schedule(&t->neighbours, e, NEIGHBOUR_PROBE, now_us);
        return solicit(t, now_us, e, ret);
    case NEIGHBOUR_PROBE:
        if (e->tries < NDP_UNICAST_SOLICIT)
            return solicit(t, now_us, e, ret);
        t->counters.failed++;
        neighbour_forget(&t->neighbours, e);
        return false;
    case NEIGHBOUR_INCOMPLETE:
        if (e->tries < NDP_MULTICAST_SOLICIT && !ndp_own_is_hopeless(t))
            return solicit(t, now_us, e, ret);
        t->counters.failed++;
        neighbour_schedule(&t->neighbours, e, NEIGHBOUR_FAILED, now_us + NDP_FAILED_US);
        return false;
    case NEIGHBOUR_FAILED:
        neighbour_forget(&t->neighbours, e);
        return false;
    case NEIGHBOUR_FREE:
    case NEIGHBOUR_STALE:
        break;
    }
    e->at_us = UINT64_MAX;
    return false;
}

/* 7.2.4, 7.2.6. RFC 4429 3.3: an optimistic address MUST NOT override. */
void ndp_advertise(struct ndp *t, const struct ndp_own *own, const struct ip_address *destination,
                   const struct mac_address *station, struct ndp_output *ret)
{
    struct ndp_wire w = {.type = NDP_TYPE_NEIGHBOUR_ADVERTISEMENT};
    w.flags = (uint8_t)((station != NULL ? NDP_FLAG_SOLICITED : 0) |
                        (own->claim.state == OWN_OPTIMISTIC ? 0 : NDP_FLAG_OVERRIDE));
    memcpy(w.target, own->claim.address.octets, sizeof w.target);
    ndp_message_build(&own->claim.address, destination, station, w, NDP_OPTION_TARGET, &t->config.mac, ret);
    t->counters.advertisements_out++;
}

static bool reply_send(struct ndp *t, struct ndp_output *ret)
{
    while (t->reply_count != 0) {
        const struct ndp_reply *r = &t->reply[t->reply_first];
        const struct ndp_own *own = &t->own[r->own];
        struct ip_address destination = ip_address_from_ip6(r->destination);
        bool probe = ip_address_is_any(&destination);
        t->reply_first = (t->reply_first + 1) % NDP_REPLIES;
        t->reply_count--;
        if (!own_state_is_usable(own->claim.state))
            continue;
        if (probe)
            destination = ip6_all_nodes();
        ndp_advertise(t, own, &destination, probe ? NULL : &r->mac, ret);
        return true;
    }
    return false;
}

bool ndp_poll(struct ndp *t, uint64_t now_us, struct ndp_output *ret)
{
    if (reply_send(t, ret))
        return true;
    for (size_t i = 0; i < t->config.own_count; i++)
        if (ndp_own_act(t, now_us, &t->own[i], ret))
            return true;
    struct neighbour *e;
    for (size_t at = 0; (e = neighbour_due(&t->neighbours, now_us, &at)) != NULL;)
        if (entry_act(t, now_us, e, ret))
            return true;
    return false;
}

uint64_t ndp_deadline_us(const struct ndp *t)
{
    if (t->reply_count != 0)
        return 0;
    uint64_t earliest_us = t->neighbours.deadline_us;
    for (size_t i = 0; i < t->config.own_count; i++) {
        const struct ndp_own *o = &t->own[i];
        uint64_t own_us = o->report_at_us < o->probe_at_us ? o->report_at_us : o->probe_at_us;
        own_us = o->announce_at_us < own_us ? o->announce_at_us : own_us;
        earliest_us = own_us < earliest_us ? own_us : earliest_us;
    }
    return earliest_us;
}
