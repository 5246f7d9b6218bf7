// SPDX-License-Identifier: BSD-2-Clause
/* The own addresses of neighbour discovery. Theory of operation: each has a state of enum own_state and timers of its
 * own: for the reports that its solicited-node group has a listener (listener.c), the probes of RFC 4862 5.4, and
 * announcements (RFC 4861 7.2.6). TENTATIVE or OPTIMISTIC becomes PREFERRED when NDP_RETRANS_US have passed after the
 * last probe, and DUPLICATE, for good, when somebody objects. An address in use is never given up but defended at most
 * once in NDP_DEFEND_US: addresses here are configured and sockets are bound to them. Read RFC 4862 5.4 first. */
#include "protocols/ndp/ndp_internal.h"

#include <string.h>

#include "protocols/base/siphash.h"
#include "protocols/ndp/ndp_wire.h"

static const struct ip_address unspecified = {.family = ADDRESS_IP6};

/* In [0, most_us]. */
uint64_t ndp_random_us(const struct ndp *t, const struct ndp_own *o, uint64_t now_us, uint64_t most_us)
{
    uint8_t seed[16 + 6 + 8];
    memcpy(seed, o->claim.address.octets, 16);
    memcpy(seed + 16, t->config.mac.octets, 6);
    memcpy(seed + 22, &now_us, 8);
    return siphash(t->config.secret, seed, sizeof seed) % (most_us + 1);
}

/* Usable from now on: what had no address to ask from can be asked. */
static void own_use(struct ndp *t, struct ndp_own *o, uint64_t now_us, enum own_state state)
{
    own_claim_enter(&o->claim, state);
    neighbour_ask_now(&t->neighbours, now_us);
}

static void own_announce(struct ndp_own *o, uint8_t count, uint64_t at_us)
{
    if (o->announcements < count)
        o->announcements = count;
    if (o->announce_at_us > at_us)
        o->announce_at_us = at_us;
}

void ndp_own_start(struct ndp *t, struct ndp_own *o, uint64_t now_us)
{
    o->probe_at_us = o->announce_at_us = o->report_at_us = UINT64_MAX;
    if (t->config.restarted) {
        own_use(t, o, now_us, OWN_PREFERRED);
        return;
    }
    o->reports = NDP_REPORTS;
    o->joining = true;
    o->report_at_us = now_us;
    o->probes = NDP_DAD_TRANSMITS;
    switch (t->config.dad) {
    case DAD_ON: /* RFC 4862 5.4.2: SHOULD delay joining the group and the first probe */
        o->report_at_us = o->probe_at_us = now_us + ndp_random_us(t, o, now_us, NDP_DAD_DELAY_MAX_US);
        break;
    case DAD_OPTIMISTIC: /* the link is our own, or its owner knows */
        o->probe_at_us = now_us;
        own_use(t, o, now_us, OWN_OPTIMISTIC);
        own_announce(o, 1, now_us);
        break;
    case DAD_OFF:
        own_use(t, o, now_us, OWN_PREFERRED);
        break;
    }
}

struct ndp_own *ndp_own_find(struct ndp *t, const uint8_t ip6[16])
{
    for (size_t i = 0; i < t->config.own_count; i++)
        if (memcmp(t->own[i].claim.address.octets, ip6, 16) == 0)
            return &t->own[i];
    return NULL;
}

/* The own address to ask for `target` from: preferred before optimistic, then on its link (a link-local address for a
 * link-local one). NULL: none is usable. */
const struct ndp_own *ndp_own_for(const struct ndp *t, const struct ip_address *target)
{
    const struct ndp_own *found = NULL;
    unsigned most = 0;
    for (size_t i = 0; i < t->config.own_count; i++) {
        const struct ndp_own *o = &t->own[i];
        if (!own_state_is_usable(o->claim.state))
            continue;
        bool on_link = ip6_prefix_match(&o->claim.address, target, t->config.own[i].prefix_length);
        unsigned worth = 1U + (o->claim.state == OWN_PREFERRED ? 2U : 0U) + (on_link ? 1U : 0U);
        if (worth > most) {
            most = worth;
            found = o;
        }
    }
    return found;
}

bool ndp_own_is_hopeless(const struct ndp *t)
{
    for (size_t i = 0; i < t->config.own_count; i++)
        if (t->own[i].claim.state != OWN_DUPLICATE)
            return false;
    return true;
}

/* Another station claims the address: RFC 4862 5.4.5; what is in use is defended, now and then. */
enum ndp_input_result ndp_own_conflict(struct ndp *t, uint64_t now_us, struct ndp_own *o,
                                       const struct mac_address *station)
{
    switch (own_claim_contest(&o->claim, now_us, NDP_DEFEND_US, station)) {
    case OWN_CONTEST_AGAIN:
        break;
    case OWN_CONTEST_LOST:
        o->probe_at_us = o->announce_at_us = o->report_at_us = UINT64_MAX;
        t->counters.duplicates++;
        break;
    case OWN_CONTEST_DEFEND:
        if (t->config.dad != DAD_OFF)
            own_announce(o, 1, now_us);
        break;
    }
    return NDP_DROP_conflict;
}

bool ndp_event(struct ndp *t, struct own_event *ret)
{
    for (size_t i = 0; i < t->config.own_count; i++)
        if (own_claim_event(&t->own[i].claim, ret))
            return true;
    return false;
}

void ndp_announce(struct ndp *t)
{
    for (size_t i = 0; i < t->config.own_count; i++)
        if (own_state_is_usable(t->own[i].claim.state))
            own_announce(&t->own[i], NDP_ADVERTISEMENTS, 0);
}

/* ---- output ---- */

/* RFC 4862 5.4.2. False: nobody has objected, the address is ours. */
static bool probe_send(struct ndp *t, uint64_t now_us, struct ndp_own *o, struct ndp_output *ret)
{
    if (o->probes == 0) {
        o->probe_at_us = UINT64_MAX;
        own_use(t, o, now_us, OWN_PREFERRED);
        own_announce(o, 1, now_us);
        return false;
    }
    struct ip_address destination = ip6_solicited_node(&o->claim.address);
    struct ndp_wire w = {.type = NDP_TYPE_NEIGHBOUR_SOLICITATION};
    memcpy(w.target, o->claim.address.octets, sizeof w.target);
    ndp_message_build(&unspecified, &destination, NULL, w, 0, &t->config.mac, ret);
    o->probes--;
    o->probe_at_us = now_us + NDP_RETRANS_US;
    t->counters.probes_out++;
    return true;
}

static void announcement_send(struct ndp *t, uint64_t now_us, struct ndp_own *o, struct ndp_output *ret)
{
    struct ip_address everybody = ip6_all_nodes();
    ndp_advertise(t, o, &everybody, NULL, ret);
    o->announcements--;
    o->announce_at_us = o->announcements == 0 ? UINT64_MAX : now_us + NDP_RETRANS_US;
}

/* What an own address has to send, in this order: listener, probe, announcement. */
bool ndp_own_act(struct ndp *t, uint64_t now_us, struct ndp_own *o, struct ndp_output *ret)
{
    if (now_us >= o->report_at_us) {
        ndp_report_send(t, now_us, o, ret);
        return true;
    }
    if (now_us >= o->probe_at_us && probe_send(t, now_us, o, ret))
        return true;
    if (now_us >= o->announce_at_us) {
        announcement_send(t, now_us, o, ret);
        return true;
    }
    return false;
}
