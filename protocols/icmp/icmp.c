// SPDX-License-Identifier: BSD-2-Clause
/* ICMP. Theory of operation: the only state is the token bucket of errors sent. An echo reply is
 * eight new octets before the request's own payload, which stays where it lies; its checksum is
 * made from the sum that was taken to verify the request, so that payload is read once. Redirect,
 * timestamp, source quench and address mask are not spoken. Read RFC 1122 3.2.2 first. */
#include "protocols/icmp/icmp.h"

#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/icmp/icmp_wire.h"
#include "protocols/ip4/ip4_wire.h"

#define SECOND_US         1000000U
#define ERRORS_PER_SECOND 1000U
#define ERRORS_BURST      50U

void icmp_init(struct icmp *t, const struct icmp_config *config, uint64_t now_us)
{
    memset(t, 0, sizeof *t);
    t->config = *config;
    icmp_bucket_init(&t->bucket, config->errors_per_second, config->errors_burst, now_us);
}

/* ---- the limit of errors ---- */

void icmp_bucket_init(struct icmp_bucket *bucket, uint32_t errors_per_second, uint32_t errors_burst, uint64_t now_us)
{
    uint32_t rate = errors_per_second == 0 ? ERRORS_PER_SECOND : errors_per_second;
    uint64_t cost_us = rate > SECOND_US ? 1 : SECOND_US / rate;
    uint64_t most_us = cost_us * (errors_burst == 0 ? ERRORS_BURST : errors_burst);
    *bucket = (struct icmp_bucket){.tokens_us = most_us, .most_us = most_us, .cost_us = cost_us, .refilled_us = now_us};
}

bool icmp_bucket_take(struct icmp_bucket *bucket, uint64_t now_us)
{
    uint64_t passed_us = now_us > bucket->refilled_us ? now_us - bucket->refilled_us : 0;
    bool full = passed_us >= bucket->most_us - bucket->tokens_us;
    bucket->tokens_us = full ? bucket->most_us : bucket->tokens_us + passed_us;
    bucket->refilled_us = now_us;
    if (bucket->tokens_us < bucket->cost_us)
        return false;
    bucket->tokens_us -= bucket->cost_us;
    return true;
}

/* ---- input ---- */

static struct ip4_header answer_to(const struct ip4_header *request, size_t message_length)
{
    return (struct ip4_header){
        .source = request->destination, /* RFC 1122 3.2.2.6: the specific destination */
        .destination = request->source,
        .total_length = (uint16_t)(IP4_HEADER_MIN + message_length),
        .header_length = IP4_HEADER_MIN,
        .protocol = IP_PROTOCOL_ICMP,
        .ttl = IP4_TTL_DEFAULT,
        .dont_fragment = true, /* with identification 0: RFC 6864 4.1 */
    };
}

/* RFC 1122 3.2.2.6: MUST answer, data included. */
static enum icmp_input_result receive_echo(struct icmp *t, const struct ip4_header *ip4, const struct icmp_wire *w,
                                           size_t length, uint64_t payload_sum, struct icmp_reply *ret)
{
    if (w->code != 0)
        return ICMP_DROP_code;
    if (ip4->broadcast)
        return ICMP_DROP_echo_broadcast;
    struct icmp_wire reply = {.type = ICMP_TYPE_ECHO_REPLY, .echo = w->echo};
    reply.checksum = checksum_finish(checksum_add(payload_sum, &reply, sizeof reply));
    memcpy(ret->header, &reply, sizeof reply);
    ret->ip4 = answer_to(ip4, length);
    ret->payload_offset = ICMP_HEADER_LENGTH;
    ret->payload_length = (uint32_t)(length - ICMP_HEADER_LENGTH);
    t->counters.echo_requests_in++;
    t->counters.echo_replies_out++;
    return ICMP_INPUT_REPLY;
}

static bool is_here(const struct icmp *t, const struct ip_address *address)
{
    enum ip4_class class = ip4_classify(t->config.ip4, address);
    return class == IP4_CLASS_OURS || class == IP4_CLASS_LOOPBACK;
}

/* We sent such a packet, and where `reporter` is it can have come by: what is sent here never leaves, so that nobody
 * outside knows what became of it. */
static bool may_report(const struct icmp *t, const struct ip_address *reporter, const struct ip_address *source,
                       const struct ip_address *destination)
{
    if (!is_here(t, source))
        return false;
    bool leaves = ip4_classify(t->config.ip4, source) != IP4_CLASS_LOOPBACK && !is_here(t, destination);
    return leaves || is_here(t, reporter);
}

/* RFC 1122 3.2.2: MUST be told to the transport that the quoted header names. */
static enum icmp_input_result receive_error(struct icmp *t, const struct ip4_header *ip4, const struct icmp_wire *w,
                                            const uint8_t *quote, size_t length, struct icmp_error *ret)
{
    struct ip4_wire q;
    if (length < sizeof q + ICMP_QUOTE_OCTETS)
        return ICMP_DROP_quote_short;
    memcpy(&q, quote, sizeof q);
    size_t header_length = (size_t)(q.version_length & 15) * 4;
    if (q.version_length >> 4 != 4 || header_length < sizeof q)
        return ICMP_DROP_quote_header;
    if (header_length + ICMP_QUOTE_OCTETS > length)
        return ICMP_DROP_quote_short;
    if ((be16_get(q.fragment) & IP4_FRAGMENT_OFFSET) != 0)
        return ICMP_DROP_quote_fragment;
    struct ip_address source = ip_address_from_ip4(q.source), destination = ip_address_from_ip4(q.destination);
    if (!may_report(t, &ip4->source, &source, &destination))
        return ICMP_DROP_quote_source;

    *ret = (struct icmp_error){.type = w->type,
                               .code = w->code,
                               .protocol = q.protocol,
                               .reporter = ip4->source,
                               .source = source,
                               .destination = destination};
    if (w->type == ICMP_TYPE_UNREACHABLE && w->code == ICMP_CODE_FRAGMENTATION_NEEDED)
        ret->next_hop_mtu = be16_get(w->unreachable.next_hop_mtu);
    else if (w->type == ICMP_TYPE_PARAMETER_PROBLEM)
        ret->pointer = w->pointer[0];
    memcpy(ret->quoted_octets, quote + header_length, sizeof ret->quoted_octets);
    t->counters.errors_in++;
    return ICMP_INPUT_ERROR;
}

static enum icmp_input_result receive(struct icmp *t, const struct ip4_header *ip4, const uint8_t *message,
                                      size_t captured, size_t length, uint64_t rest_sum, struct icmp_input_out *ret)
{
    struct icmp_wire w;
    if (captured < sizeof w || length < captured)
        return ICMP_DROP_short;
    memcpy(&w, message, sizeof w);
    uint64_t payload_sum = checksum_add(rest_sum, message + sizeof w, captured - sizeof w);
    if (be16_get(checksum_finish(checksum_add(payload_sum, &w, sizeof w))) != 0)
        return ICMP_DROP_checksum;
    t->counters.messages_in++;
    switch (w.type) {
    case ICMP_TYPE_ECHO:
        return receive_echo(t, ip4, &w, length, payload_sum, &ret->reply);
    case ICMP_TYPE_ECHO_REPLY:
        return ICMP_DROP_echo_reply;
    case ICMP_TYPE_REDIRECT: /* Deviates: RFC 1122 3.2.2.2: MUST change the route; anybody on the link can send one */
        return ICMP_DROP_redirect;
    case ICMP_TYPE_UNREACHABLE:
        if (w.code > 15)
            return ICMP_DROP_code;
        break;
    case ICMP_TYPE_TIME_EXCEEDED:
    case ICMP_TYPE_PARAMETER_PROBLEM:
        break;
    default: /* RFC 1122 3.2.2: MUST be silently discarded; source quench RFC 6633 3 */
        return ICMP_DROP_type;
    }
    return receive_error(t, ip4, &w, message + sizeof w, captured - sizeof w, &ret->error);
}

enum icmp_input_result icmp_input(struct icmp *t, const struct ip4_header *ip4, const uint8_t *message, size_t captured,
                                  size_t length, uint64_t rest_sum, struct icmp_input_out *ret)
{
    enum icmp_input_result result = receive(t, ip4, message, captured, length, rest_sum, ret);
    switch (result) {
#define X(name)                                                                                                        \
    case ICMP_DROP_##name:                                                                                             \
        t->counters.drop_##name++;                                                                                     \
        break;
        ICMP_DROPS(X)
#undef X
    case ICMP_INPUT_REPLY:
    case ICMP_INPUT_ERROR:
    case ICMP_INPUT_RESULTS:
        break;
    }
    return result;
}

/* ---- errors sent ---- */

static bool is_icmp_error(uint8_t type)
{
    return type == ICMP_TYPE_UNREACHABLE || type == ICMP_TYPE_SOURCE_QUENCH || type == ICMP_TYPE_REDIRECT ||
           type == ICMP_TYPE_TIME_EXCEEDED || type == ICMP_TYPE_PARAMETER_PROBLEM;
}

/* RFC 1122 3.2.2: the MUST NOTs, in its order. */
static enum icmp_error_result check_sendable(struct icmp *t, uint64_t now_us, const struct ip4_header *ip4,
                                             bool link_group, const uint8_t *packet, size_t captured)
{
    enum ip4_class source = ip4_classify(t->config.ip4, &ip4->source);
    enum ip4_class destination = ip4_classify(t->config.ip4, &ip4->destination);
    /* a first fragment may be shorter than what RFC 792 quotes; then all there is */
    if (captured < ip4->header_length || captured < IP4_HEADER_MIN)
        return ICMP_WITHHELD_about_truncated;
    if (ip4->protocol == IP_PROTOCOL_ICMP &&
        (captured == ip4->header_length || is_icmp_error(packet[ip4->header_length])))
        return ICMP_WITHHELD_about_error;
    if (link_group || ip4->broadcast || destination == IP4_CLASS_BROADCAST || destination == IP4_CLASS_MULTICAST)
        return ICMP_WITHHELD_about_broadcast;
    if (ip4->fragment_offset != 0)
        return ICMP_WITHHELD_about_fragment;
    if (source != IP4_CLASS_UNICAST && source != IP4_CLASS_OURS && source != IP4_CLASS_LOOPBACK)
        return ICMP_WITHHELD_about_bad_source;
    return icmp_bucket_take(&t->bucket, now_us) ? ICMP_ERROR_SEND : ICMP_WITHHELD_rate_limited;
}

static void error_build(struct icmp_wire w, const struct ip4_header *ip4, const uint8_t *packet, size_t captured,
                        struct icmp_message *ret)
{
    size_t quote = (size_t)ip4->header_length + ICMP_QUOTE_OCTETS;
    if (quote > captured)
        quote = captured;
    if (quote > ip4->total_length)
        quote = ip4->total_length;
    w.checksum = checksum_finish(checksum_add(checksum_add(0, &w, sizeof w), packet, quote));
    memcpy(ret->bytes, &w, sizeof w);
    memcpy(ret->bytes + sizeof w, packet, quote);
    ret->length = (uint32_t)(sizeof w + quote);
    ret->ip4 = answer_to(ip4, ret->length);
}

static void error_send(struct icmp *t, uint8_t type, uint8_t code, uint16_t parameter, const struct ip4_header *ip4,
                       const uint8_t *packet, size_t captured, struct icmp_message *ret)
{
    struct icmp_wire w = {.type = type, .code = code};
    switch (type) {
    case ICMP_TYPE_TIME_EXCEEDED:
        t->counters.time_exceeded_out++;
        break;
    case ICMP_TYPE_PARAMETER_PROBLEM:
        w.pointer[0] = (uint8_t)parameter;
        t->counters.parameter_problems_out++;
        break;
    default:
        w.unreachable.next_hop_mtu = be16_make(parameter);
        t->counters.unreachables_out++;
        break;
    }
    error_build(w, ip4, packet, captured, ret);
}

enum icmp_error_result icmp_error(struct icmp *t, uint64_t now_us, uint8_t type, uint8_t code, uint16_t parameter,
                                  const struct ip4_header *ip4, bool link_group, const uint8_t *packet, size_t captured,
                                  struct icmp_message *ret)
{
    enum icmp_error_result result = check_sendable(t, now_us, ip4, link_group, packet, captured);
    switch (result) {
#define X(name)                                                                                                        \
    case ICMP_WITHHELD_##name:                                                                                         \
        t->counters.withheld_##name++;                                                                                 \
        break;
        ICMP_WITHHELD(X)
#undef X
    case ICMP_ERROR_SEND:
    case ICMP_ERROR_RESULTS:
        error_send(t, type, code, parameter, ip4, packet, captured, ret);
        break;
    }
    return result;
}
