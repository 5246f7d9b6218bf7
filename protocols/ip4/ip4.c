// SPDX-License-Identifier: BSD-2-Clause
/* IPv4. Theory of operation: ip4_parse() goes through the header in the order of its fields, form
 * first (check_form, check_fragment), then the addresses (check_source, check_destination), then the options
 * (check_options: what is wrong with them may be told to the source); the first thing wrong is the reason of the drop.
 * Deviates: RFC 1122 3.2.1.8, 4.1.3.2: options MUST go up to transport, and be sent if it asks: they are checked,
 * passed over, and never sent. Multicast groups, reassembly, fragmentation and forwarding are left out. Read RFC
 * 791 3.1 and RFC 1122 3.2.1 first.
 */
#include "protocols/ip4/ip4.h"

#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/ip4/ip4_wire.h"

static uint32_t value(const struct ip_address *a)
{
    return (uint32_t)a->octets[0] << 24 | (uint32_t)a->octets[1] << 16 | (uint32_t)a->octets[2] << 8 | a->octets[3];
}

static uint32_t mask(uint8_t prefix_length)
{
    return prefix_length == 0 ? 0 : ~0U << (32 - prefix_length);
}

static bool is_link_broadcast(const struct ip_own_address *own, uint32_t address)
{
    if (own->prefix_length > 30)
        return false;
    uint32_t m = mask(own->prefix_length);
    return (address & m) == (value(&own->address) & m) && (address & ~m) == ~m;
}

enum ip4_class ip4_classify(const struct ip4_config *config, const struct ip_address *address)
{
    uint32_t a = value(address);
    for (uint32_t i = 0; i < config->own_count; i++)
        if (!config->own[i].tentative && ip_address_equal(address, &config->own[i].address))
            return IP4_CLASS_OURS;
    if (a == 0xffffffffU)
        return IP4_CLASS_BROADCAST;
    for (uint32_t i = 0; i < config->own_count; i++)
        if (is_link_broadcast(&config->own[i], a))
            return IP4_CLASS_BROADCAST;
    if (a >> 24 == 0)
        return IP4_CLASS_ZERO;
    if (a >> 24 == 127)
        return IP4_CLASS_LOOPBACK;
    if (a >> 28 == 14)
        return IP4_CLASS_MULTICAST;
    if (a >> 28 == 15)
        return IP4_CLASS_RESERVED;
    return IP4_CLASS_UNICAST;
}

const struct ip_address *ip4_source_select(const struct ip4_config *config, const struct ip_address *destination)
{
    static const struct ip_address loopback = {.family = ADDRESS_IP4, .octets = {127, 0, 0, 1}};
    const struct ip_address *found = NULL;
    bool on_link = false;
    if (value(destination) >> 24 == 127)
        return &loopback;
    for (uint32_t i = 0; i < config->own_count; i++) {
        const struct ip_own_address *own = &config->own[i];
        if (own->tentative)
            continue;
        if (ip_address_equal(&own->address, destination))
            return &own->address;
        bool same = ((value(&own->address) ^ value(destination)) & mask(own->prefix_length)) == 0;
        if (found == NULL || (same && !on_link)) {
            found = &own->address;
            on_link = same;
        }
    }
    return found;
}

/* ---- parse ---- */

static enum ip4_result check_form(const struct ip4_wire *w, const uint8_t *bytes, size_t captured, size_t available)
{
    size_t header_length = (size_t)(w->version_length & 15) * 4;
    size_t total_length = be16_get(w->total_length);
    if (w->version_length >> 4 != 4) /* RFC 1122 3.2.1.1: MUST silently discard */
        return IP4_DROP_version;
    if (header_length < sizeof *w || header_length > captured)
        return IP4_DROP_header_length;
    if (total_length < header_length || total_length > available)
        return IP4_DROP_total_length;
    be16 sum = checksum_finish(checksum_add(0, bytes, header_length));
    if (be16_get(sum) != 0) /* RFC 1122 3.2.1.2: MUST verify */
        return IP4_DROP_checksum;
    return IP4_OK;
}

/* Unknown options are passed over (RFC 1122 3.2.1.8). */
static enum ip4_result check_options(const uint8_t *options, size_t length, uint8_t *ret_pointer)
{
    for (size_t at = 0; at < length && options[at] != IP4_OPTION_END;) {
        if (options[at] == IP4_OPTION_NOP) {
            at++;
            continue;
        }
        if (length - at < 2 || options[at + 1] < 2 || options[at + 1] > length - at) {
            *ret_pointer = (uint8_t)(sizeof(struct ip4_wire) + at);
            return IP4_DROP_options;
        }
        /* Deviates: RFC 1122 3.2.1.8 (c), RFC 9293 3.9.2.1: MUST support; RFC 7126 4.3, 4.4: a danger. As Linux */
        if (options[at] == IP4_OPTION_LOOSE_SOURCE_ROUTE || options[at] == IP4_OPTION_STRICT_SOURCE_ROUTE)
            return IP4_DROP_source_route;
        at += options[at + 1];
    }
    return IP4_OK;
}

static enum ip4_result check_fragment(const struct ip4_header *h)
{
    uint32_t payload = (uint32_t)h->total_length - h->header_length;
    /* DF does not matter here (RFC 791 3.1): it forbids cutting further, and NFS servers and conntrack send it */
    if (h->more_fragments && (payload % 8 != 0 || payload == 0))
        return IP4_DROP_fragment_length;
    if ((uint32_t)h->fragment_offset + payload > 65535U - h->header_length)
        return IP4_DROP_fragment_overflow;
    return IP4_OK;
}

static enum ip4_result check_source(enum ip4_class class, bool turned)
{
    switch (class) {
    case IP4_CLASS_UNICAST:
        return IP4_OK;
    case IP4_CLASS_OURS:
        return turned ? IP4_OK : IP4_DROP_source_own;
    case IP4_CLASS_LOOPBACK:
        return turned ? IP4_OK : IP4_DROP_source_loopback;
    case IP4_CLASS_BROADCAST:
        return IP4_DROP_source_broadcast;
    case IP4_CLASS_MULTICAST:
        return IP4_DROP_source_multicast;
    case IP4_CLASS_RESERVED:
        return IP4_DROP_source_reserved;
    case IP4_CLASS_ZERO:
        break;
    }
    return IP4_DROP_source_zero;
}

static enum ip4_result check_destination(enum ip4_class class, bool turned)
{
    switch (class) {
    case IP4_CLASS_OURS:
    case IP4_CLASS_BROADCAST:
        return IP4_OK;
    case IP4_CLASS_UNICAST:
        return IP4_DROP_not_ours;
    case IP4_CLASS_LOOPBACK: /* RFC 1122 3.2.1.3 (g): MUST NOT appear outside a host */
        return turned ? IP4_OK : IP4_DROP_destination_loopback;
    case IP4_CLASS_MULTICAST:
        return IP4_DROP_destination_multicast;
    case IP4_CLASS_RESERVED:
        return IP4_DROP_destination_reserved;
    case IP4_CLASS_ZERO:
        break;
    }
    return IP4_DROP_destination_zero;
}

static struct ip4_header represent(const struct ip4_wire *w)
{
    uint16_t fragment = be16_get(w->fragment);
    return (struct ip4_header){
        .source = ip_address_from_ip4(w->source),
        .destination = ip_address_from_ip4(w->destination),
        .total_length = be16_get(w->total_length),
        .identification = be16_get(w->identification),
        .fragment_offset = (uint16_t)((fragment & IP4_FRAGMENT_OFFSET) * 8),
        .header_length = (uint8_t)((w->version_length & 15) * 4),
        .protocol = w->protocol,
        .ttl = w->ttl,
        .dscp = w->service >> 2,
        .ecn = w->service & 3,
        .dont_fragment = (fragment & IP4_FLAG_DONT_FRAGMENT) != 0,
        .more_fragments = (fragment & IP4_FLAG_MORE_FRAGMENTS) != 0,
    };
}

static enum ip4_result parse(struct ip4_counters *counters, const struct ip4_config *config, bool turned,
                             const uint8_t *bytes, size_t captured, size_t available, struct ip4_header *ret)
{
    struct ip4_wire w;
    if (captured < sizeof w)
        return IP4_DROP_short;
    memcpy(&w, bytes, sizeof w);
    enum ip4_result result = check_form(&w, bytes, captured, available);
    if (result != IP4_OK)
        return result;

    struct ip4_header h = represent(&w);
    result = check_fragment(&h);
    if (result != IP4_OK)
        return result;
    result = check_source(ip4_classify(config, &h.source), turned);
    if (result != IP4_OK)
        return result;
    enum ip4_class destination = ip4_classify(config, &h.destination);
    result = check_destination(destination, turned);
    if (result != IP4_OK)
        return result;
    h.broadcast = destination == IP4_CLASS_BROADCAST;
    if (h.header_length > sizeof w) {
        counters->options_in++;
        result = check_options(bytes + sizeof w, h.header_length - sizeof w, &h.pointer);
    }
    if (result == IP4_OK || result == IP4_DROP_options)
        *ret = h;
    return result;
}

void ip4_count(struct ip4_counters *counters, enum ip4_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case IP4_DROP_##name:                                                                                              \
        counters->drop_##name++;                                                                                       \
        break;
        IP4_DROPS(X)
#undef X
    case IP4_OK:
    case IP4_RESULTS:
        counters->packets_in++;
        break;
    }
}

enum ip4_result ip4_parse(struct ip4_counters *counters, const struct ip4_config *config, bool turned,
                          const uint8_t *bytes, size_t captured, size_t available, struct ip4_header *ret)
{
    enum ip4_result result = parse(counters, config, turned, bytes, captured, available, ret);
    ip4_count(counters, result);
    return result;
}

/* ---- build ---- */

void ip4_build(const struct ip4_header *header, uint8_t *ret_bytes)
{
    unsigned fragment = header->fragment_offset / 8U;
    if (header->dont_fragment)
        fragment |= IP4_FLAG_DONT_FRAGMENT;
    if (header->more_fragments)
        fragment |= IP4_FLAG_MORE_FRAGMENTS;
    struct ip4_wire w = {
        .version_length = 0x40 | sizeof w / 4,
        .service = (uint8_t)(header->dscp << 2 | header->ecn),
        .total_length = be16_make(header->total_length),
        .identification = be16_make(header->identification),
        .fragment = be16_make((uint16_t)fragment),
        .ttl = header->ttl,
        .protocol = header->protocol,
    };
    memcpy(w.source, header->source.octets, sizeof w.source);
    memcpy(w.destination, header->destination.octets, sizeof w.destination);
    w.checksum = checksum_finish(checksum_add(0, &w, sizeof w));
    memcpy(ret_bytes, &w, sizeof w);
}
