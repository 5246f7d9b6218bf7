// SPDX-License-Identifier: BSD-2-Clause
/* ICMPv6. Theory of operation: as icmp.c. The only state is the token bucket of errors sent. An echo reply is eight new
 * octets before the request's own payload, which stays where it lies and is summed once. The checksum covers a
 * pseudo-header (RFC 4443 2.3), whose addresses are those of the IPv6 header; a request to a group is answered from an
 * own address, so the reply's is made anew. Neighbour discovery is only verified and told apart.
 *
 * Left out: node information, other hosts' listener reports. Read RFC 4443 2.4 first. */
#include "protocols/icmp/icmp6.h"

#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/icmp/icmp6_wire.h"
#include "protocols/ip6/ip6_wire.h"
#include "protocols/ndp/ndp_wire.h"

void icmp6_init(struct icmp6 *t, const struct icmp6_config *config, uint64_t now_us)
{
    memset(t, 0, sizeof *t);
    t->config = *config;
    icmp_bucket_init(&t->bucket, config->errors_per_second, config->errors_burst, now_us);
}

static struct ip6_header header_make(const struct ip_address *source, const struct ip_address *destination,
                                     size_t length)
{
    return (struct ip6_header){
        .source = *source,
        .destination = *destination,
        .payload_length = (uint16_t)length,
        .transport_offset = IP6_HEADER_LENGTH,
        .protocol = IP_PROTOCOL_ICMP6,
        .hop_limit = IP6_HOP_LIMIT_DEFAULT,
    };
}

static uint64_t pseudo_sum(const struct ip6_header *ip6, size_t length)
{
    return checksum_pseudo_header(&ip6->source, &ip6->destination, IP_PROTOCOL_ICMP6, (uint32_t)length);
}

/* ---- input ---- */

/* RFC 4443 4.2: MUST answer, data included; SHOULD answer what came to a group, from an own address. */
static enum icmp6_input_result receive_echo(struct icmp6 *t, const struct ip6_header *ip6, const struct icmp6_wire *w,
                                            size_t length, uint64_t payload_sum, struct icmp6_reply *ret)
{
    if (w->code != 0)
        return ICMP6_DROP_code;
    const struct ip_address *source = &ip6->destination;
    if (ip6->multicast)
        source = ip6_source_select(t->config.ip6, &ip6->source);
    if (source == NULL)
        return ICMP6_DROP_no_address;
    ret->ip6 = header_make(source, &ip6->source, length);
    ret->ip6.dscp = ip6->dscp;
    struct icmp6_wire reply = {.type = ICMP6_TYPE_ECHO_REPLY, .parameter = w->parameter};
    uint64_t sum = payload_sum + pseudo_sum(&ret->ip6, length);
    reply.checksum = checksum_finish(checksum_add(sum, &reply, sizeof reply));
    memcpy(ret->header, &reply, sizeof reply);
    ret->payload_offset = ICMP6_HEADER_LENGTH;
    ret->payload_length = (uint32_t)(length - ICMP6_HEADER_LENGTH);
    t->counters.echo_requests_in++;
    t->counters.echo_replies_out++;
    return ICMP6_INPUT_REPLY;
}

static bool is_here(const struct icmp6 *t, const struct ip_address *address)
{
    enum ip6_class class = ip6_classify(t->config.ip6, address);
    return class == IP6_CLASS_OURS || class == IP6_CLASS_LOOPBACK;
}

/* We sent such a packet, and where the reporter is it can have come by: what is sent here never leaves, so that nobody
 * outside knows what became of it. */
static bool may_report(const struct icmp6 *t, const struct icmp_error *e)
{
    if (!is_here(t, &e->source))
        return false;
    bool leaves = ip6_classify(t->config.ip6, &e->source) != IP6_CLASS_LOOPBACK && !is_here(t, &e->destination);
    return leaves || is_here(t, &e->reporter);
}

static enum icmp6_input_result quote_parse(struct icmp6 *t, const uint8_t *quote, size_t length, struct icmp_error *ret)
{
    struct ip6_wire q;
    size_t offset = 0;
    if (length < sizeof q)
        return ICMP6_DROP_quote_short;
    memcpy(&q, quote, sizeof q);
    if (be32_get(q.version_class_flow) >> 28 != 6)
        return ICMP6_DROP_quote_header;
    if (!ip6_transport_find(quote, length, &ret->protocol, &offset)) /* cut off, or: */
        return q.next_header == IP_PROTOCOL_FRAGMENT && length >= sizeof q + sizeof(struct ip6_fragment_wire)
                   ? ICMP6_DROP_quote_fragment
                   : ICMP6_DROP_quote_short;
    if (length - offset < ICMP_QUOTE_OCTETS)
        return ICMP6_DROP_quote_short;
    ret->source = ip_address_from_ip6(q.source);
    ret->destination = ip_address_from_ip6(q.destination);
    if (!may_report(t, ret))
        return ICMP6_DROP_quote_source;
    memcpy(ret->quoted_octets, quote + offset, sizeof ret->quoted_octets);
    return ICMP6_INPUT_ERROR;
}

/* RFC 4443 2.4 (a), (d): MUST be told to the transport that the quoted packet names; errors of unknown type too. */
static enum icmp6_input_result receive_error(struct icmp6 *t, const struct ip6_header *ip6, const struct icmp6_wire *w,
                                             const uint8_t *quote, size_t length, struct icmp_error *ret)
{
    uint32_t parameter = be32_get(w->parameter);
    *ret = (struct icmp_error){.type = w->type, .code = w->code, .reporter = ip6->source};
    if (w->type == ICMP6_TYPE_PACKET_TOO_BIG) {
        if (parameter < IP6_MTU_MIN) /* RFC 8201 4: MUST discard */
            return ICMP6_DROP_too_small;
        ret->next_hop_mtu = (uint16_t)(parameter > UINT16_MAX ? UINT16_MAX : parameter);
    } else if (w->type == ICMP6_TYPE_PARAMETER_PROBLEM) {
        ret->pointer = parameter;
    }
    enum icmp6_input_result result = quote_parse(t, quote, length, ret);
    if (result == ICMP6_INPUT_ERROR)
        t->counters.errors_in++;
    return result;
}

static enum icmp6_input_result dispatch(struct icmp6 *t, const struct ip6_header *ip6, const struct icmp6_wire *w,
                                        const uint8_t *message, size_t captured, size_t length, uint64_t payload_sum,
                                        struct icmp6_input_out *ret)
{
    if ((w->type >= NDP_TYPE_ROUTER_SOLICITATION && w->type <= NDP_TYPE_REDIRECT) ||
        w->type == ICMP6_TYPE_LISTENER_QUERY) {
        t->counters.neighbour_in++;
        return ICMP6_INPUT_NDP;
    }
    if (ip6->source_own || ip_address_is_any(&ip6->source))
        return ICMP6_DROP_source;
    if (w->type <= ICMP6_TYPE_ERROR_LAST)
        return receive_error(t, ip6, w, message + sizeof *w, captured - sizeof *w, &ret->error);
    switch (w->type) {
    case ICMP6_TYPE_ECHO:
        return receive_echo(t, ip6, w, length, payload_sum, &ret->reply);
    case ICMP6_TYPE_ECHO_REPLY:
        return ICMP6_DROP_echo_reply;
    case ICMP6_TYPE_LISTENER_REPORT:
    case ICMP6_TYPE_LISTENER_DONE:
    case ICMP6_TYPE_LISTENER_REPORT2:
        return ICMP6_DROP_listener;
    default: /* RFC 4443 2.4 (b): MUST silently discard */
        return ICMP6_DROP_type;
    }
}

static enum icmp6_input_result receive(struct icmp6 *t, const struct ip6_header *ip6, const uint8_t *message,
                                       size_t captured, size_t length, uint64_t rest_sum, struct icmp6_input_out *ret)
{
    struct icmp6_wire w;
    if (captured < sizeof w || length < captured)
        return ICMP6_DROP_short;
    memcpy(&w, message, sizeof w);
    uint64_t payload_sum = checksum_add(rest_sum, message + sizeof w, captured - sizeof w);
    uint64_t sum = checksum_add(payload_sum + pseudo_sum(ip6, length), &w, sizeof w);
    if (be16_get(checksum_finish(sum)) != 0)
        return ICMP6_DROP_checksum;
    t->counters.messages_in++;
    return dispatch(t, ip6, &w, message, captured, length, payload_sum, ret);
}

enum icmp6_input_result icmp6_input(struct icmp6 *t, const struct ip6_header *ip6, const uint8_t *message,
                                    size_t captured, size_t length, uint64_t rest_sum, struct icmp6_input_out *ret)
{
    enum icmp6_input_result result = receive(t, ip6, message, captured, length, rest_sum, ret);
    switch (result) {
#define X(name)                                                                                                        \
    case ICMP6_DROP_##name:                                                                                            \
        t->counters.drop_##name++;                                                                                     \
        break;
        ICMP6_DROPS(X)
#undef X
    case ICMP6_INPUT_REPLY:
    case ICMP6_INPUT_ERROR:
    case ICMP6_INPUT_NDP:
    case ICMP6_INPUT_RESULTS:
        break;
    }
    return result;
}

/* ---- errors sent ---- */

/* Is what the packet carries an error or a redirect, or, cut off or a later fragment of ICMPv6, maybe one? */
static bool may_be_error(const uint8_t *packet, size_t captured)
{
    uint8_t protocol;
    size_t offset;
    if (ip6_transport_find(packet, captured, &protocol, &offset))
        return protocol == IP_PROTOCOL_ICMP6 &&
               (offset >= captured || packet[offset] <= ICMP6_TYPE_ERROR_LAST || packet[offset] == NDP_TYPE_REDIRECT);
    size_t at = IP6_HEADER_LENGTH;
    uint8_t next = packet[offsetof(struct ip6_wire, next_header)];
    if (next == IP_PROTOCOL_FRAGMENT && captured > at)
        next = packet[at];
    return next == IP_PROTOCOL_ICMP6;
}

/* RFC 4443 2.4 (e), in its order, then (f). */
static enum icmp6_error_result check_sendable(struct icmp6 *t, uint64_t now_us, uint8_t type, uint8_t code,
                                              const struct ip6_header *ip6, bool link_group, const uint8_t *packet,
                                              size_t captured)
{
    enum ip6_class source = ip6_classify(t->config.ip6, &ip6->source);
    /* (e.3), (e.4): for path MTU of groups, and for an option that wants it (ip6_parse() has looked at its type) */
    bool even_to_groups =
        type == ICMP6_TYPE_PACKET_TOO_BIG || (type == ICMP6_TYPE_PARAMETER_PROBLEM && code == ICMP6_CODE_OPTION);
    if (captured < IP6_HEADER_LENGTH)
        return ICMP6_WITHHELD_about_truncated;
    if (may_be_error(packet, captured))
        return ICMP6_WITHHELD_about_error;
    if ((link_group || ip6_is_multicast(&ip6->destination)) && !even_to_groups)
        return ICMP6_WITHHELD_about_multicast;
    if (source != IP6_CLASS_UNICAST && source != IP6_CLASS_OURS && source != IP6_CLASS_LOOPBACK)
        return ICMP6_WITHHELD_about_bad_source;
    return icmp_bucket_take(&t->bucket, now_us) ? ICMP6_ERROR_SEND : ICMP6_WITHHELD_rate_limited;
}

/* RFC 4443 2.2 (a), (b). NULL: none. */
static const struct ip_address *source_for(const struct icmp6 *t, const struct ip6_header *ip6)
{
    enum ip6_class class = ip6_classify(t->config.ip6, &ip6->destination);
    if (class == IP6_CLASS_OURS || class == IP6_CLASS_LOOPBACK)
        return &ip6->destination;
    return ip6_source_select(t->config.ip6, &ip6->source);
}

static void error_build(struct icmp6_wire w, const struct ip_address *source, const struct ip_address *destination,
                        const uint8_t *packet, size_t captured, struct icmp6_message *ret)
{
    size_t room = sizeof ret->bytes - sizeof w;
    size_t quote = captured < room ? captured : room; /* RFC 4443 2.4 (c): MUST, as much as fits */
    ret->length = (uint32_t)(sizeof w + quote);
    ret->ip6 = header_make(source, destination, ret->length);
    uint64_t sum = checksum_add(pseudo_sum(&ret->ip6, ret->length), &w, sizeof w);
    w.checksum = checksum_finish(checksum_add(sum, packet, quote));
    memcpy(ret->bytes, &w, sizeof w);
    memcpy(ret->bytes + sizeof w, packet, quote);
}

static void count_error(struct icmp6_counters *c, uint8_t type)
{
    switch (type) {
    case ICMP6_TYPE_PACKET_TOO_BIG:
        c->too_bigs_out++;
        break;
    case ICMP6_TYPE_TIME_EXCEEDED:
        c->time_exceeded_out++;
        break;
    case ICMP6_TYPE_PARAMETER_PROBLEM:
        c->parameter_problems_out++;
        break;
    default:
        c->unreachables_out++;
        break;
    }
}

enum icmp6_error_result icmp6_error(struct icmp6 *t, uint64_t now_us, uint8_t type, uint8_t code, uint32_t parameter,
                                    const struct ip6_header *ip6, bool link_group, const uint8_t *packet,
                                    size_t captured, struct icmp6_message *ret)
{
    const struct ip_address *source = source_for(t, ip6);
    enum icmp6_error_result result = source == NULL
                                         ? ICMP6_WITHHELD_no_source
                                         : check_sendable(t, now_us, type, code, ip6, link_group, packet, captured);
    struct icmp6_wire w = {.type = type, .code = code, .parameter = be32_make(parameter)};
    switch (result) {
#define X(name)                                                                                                        \
    case ICMP6_WITHHELD_##name:                                                                                        \
        t->counters.withheld_##name++;                                                                                 \
        break;
        ICMP6_WITHHELD(X)
#undef X
    case ICMP6_ERROR_SEND:
    case ICMP6_ERROR_RESULTS:
        count_error(&t->counters, type);
        error_build(w, source, &ip6->source, packet, captured, ret);
        break;
    }
    return result;
}
