// SPDX-License-Identifier: BSD-2-Clause
/* Multicast listener reports (RFC 3810) of the solicited-node groups that neighbour discovery needs: without them a
 * switch that listens would keep solicitations from us. A group is reported when it is joined, NDP_REPORTS times, and
 * when a router asks. Deviates: RFC 3810 8.2: version 1 queries are answered in version 2. */
#include "protocols/ndp/ndp_internal.h"

#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/icmp/icmp6_wire.h"
#include "protocols/ndp/ndp_wire.h"

static const struct ip_address unspecified = {.family = ADDRESS_IP6};
static const struct ip_address all_listeners = {.family = ADDRESS_IP6, .octets = {0xff, 0x02, [15] = 0x16}};

/* RFC 3810 5.1.3: exponent and mantissa from 32768 on. */
static uint64_t response_delay_us(uint16_t code)
{
    uint64_t ms = code < 32768 ? code : (uint64_t)(0x1000U | (code & 0xfffU)) << ((code >> 12 & 7U) + 3U);
    return ms * 1000;
}

/* RFC 3810 6.2: an answer for each of our groups that it asks about, after a random delay. */
enum ndp_input_result ndp_query(struct ndp *t, uint64_t now_us, const struct ip6_header *ip6, const uint8_t *message,
                                size_t length)
{
    struct ndp_query_wire q;
    enum ndp_input_result result = NDP_DROP_query;
    if (length < sizeof q)
        return NDP_DROP_short;
    memcpy(&q, message, sizeof q);
    struct ip_address group = ip_address_from_ip6(q.group);
    if (ip6->hop_limit != 1 || !ip6_is_link_local(&ip6->source))
        return NDP_DROP_query;
    for (size_t i = 0; i < t->config.own_count; i++) {
        struct ndp_own *o = &t->own[i];
        struct ip_address own_group = ip6_solicited_node(&o->claim.address);
        if (!own_state_is_usable(o->claim.state) ||
            (!ip_address_is_any(&group) && !ip_address_equal(&group, &own_group)))
            continue;
        uint64_t at_us = now_us + ndp_random_us(t, o, now_us, response_delay_us(be16_get(q.response_delay)));
        if (o->reports == 0)
            o->reports = 1;
        if (at_us < o->report_at_us)
            o->report_at_us = at_us;
        result = NDP_INPUT_DONE;
    }
    if (result == NDP_INPUT_DONE)
        t->counters.queries_in++;
    return result;
}

/* RFC 3810 5.2, RFC 3590: from a link-local address, or none while there is none. */
void ndp_report_send(struct ndp *t, uint64_t now_us, struct ndp_own *o, struct ndp_output *ret)
{
    struct ip_address group = ip6_solicited_node(&o->claim.address), source = unspecified;
    for (size_t i = 0; i < t->config.own_count; i++)
        if (t->own[i].claim.state == OWN_PREFERRED && ip6_is_link_local(&t->own[i].claim.address))
            source = t->own[i].claim.address;
    struct ndp_report_wire w = {.next_header = IP_PROTOCOL_ICMP6,
                                .alert = {5, 2},
                                .padding = {1},
                                .type = ICMP6_TYPE_LISTENER_REPORT2,
                                .records = be16_make(1),
                                .record_type = o->joining ? NDP_RECORD_CHANGE_TO_EXCLUDE : NDP_RECORD_IS_EXCLUDE};
    memcpy(w.group, group.octets, sizeof w.group);
    size_t length = sizeof w - offsetof(struct ndp_report_wire, type);
    uint64_t sum = checksum_pseudo_header(&source, &all_listeners, IP_PROTOCOL_ICMP6, (uint32_t)length);
    w.checksum = checksum_finish(checksum_add(sum, &w.type, length));
    *ret = (struct ndp_output){.destination = ip6_multicast_mac(&all_listeners), .length = sizeof w};
    ret->ip6 = (struct ip6_header){.source = source,
                                   .destination = all_listeners,
                                   .payload_length = sizeof w,
                                   .transport_offset = IP6_HEADER_LENGTH,
                                   .protocol = IP_PROTOCOL_HOP_BY_HOP,
                                   .hop_limit = 1};
    memcpy(ret->message, &w, sizeof w);
    o->reports--;
    o->joining = o->joining && o->reports != 0;
    o->report_at_us = o->reports == 0 ? UINT64_MAX : now_us + NDP_REPORT_US;
    t->counters.reports_out++;
}
