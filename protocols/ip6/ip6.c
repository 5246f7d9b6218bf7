// SPDX-License-Identifier: BSD-2-Clause
/* IPv6. Theory of operation: ip6_parse() goes through the fixed header, form first (represent), then the addresses
 * (check_source, check_destination), so that whatever is wrong behind can be told to the source; then it walks the
 * chain of extension headers, one function per kind, until a header that is none of them: the transport's. What a
 * header's content says is obeyed on the way (RFC 8200 4), in the order in which it stands. A fragment ends the walk;
 * of a first one the rest of the chain is looked through (RFC 7112) but not obeyed: that comes when it is whole.
 *
 * Left out: routing headers (refused with segments left), jumbograms, authentication and encryption (they are protocols
 * that nobody takes), groups but the three kinds of ip6_classify(). Read RFC 8200 3 and 4 first, then RFC 4291 2. */
#include "protocols/ip6/ip6.h"

#include <string.h>

#include "protocols/ip6/ip6_wire.h"

#define PACKET_MAX 65535U /* octets behind the fixed header */

/* ---- addresses ---- */

static const struct ip_address loopback = {.family = ADDRESS_IP6, .octets = {[15] = 1}};
static const struct ip_address all_nodes = {.family = ADDRESS_IP6, .octets = {0xff, 0x02, [15] = 1}};
static const struct ip_address all_nodes_here = {.family = ADDRESS_IP6, .octets = {0xff, 0x01, [15] = 1}};

enum { SCOPE_INTERFACE = 1, SCOPE_LINK = 2, SCOPE_GLOBAL = 14 }; /* RFC 4291 2.7 */

struct ip_address ip_address_from_ip6(const uint8_t octets[16])
{
    struct ip_address a = {.family = ADDRESS_IP6};
    memcpy(a.octets, octets, sizeof a.octets);
    return a;
}

bool ip6_is_link_local(const struct ip_address *address)
{
    return address->family == ADDRESS_IP6 && address->octets[0] == 0xfe && (address->octets[1] & 0xc0) == 0x80;
}

bool ip6_is_multicast(const struct ip_address *address)
{
    return address->family == ADDRESS_IP6 && address->octets[0] == 0xff;
}

static unsigned common_bits(const struct ip_address *a, const struct ip_address *b)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < sizeof a->octets; i++, bits += 8) {
        unsigned differ = a->octets[i] ^ b->octets[i];
        if (differ == 0)
            continue;
        for (; (differ & 0x80) == 0; differ <<= 1)
            bits++;
        break;
    }
    return bits;
}

bool ip6_prefix_match(const struct ip_address *a, const struct ip_address *b, uint8_t prefix_length)
{
    unsigned wanted = prefix_length > 128 ? 128 : prefix_length;
    return common_bits(a, b) >= wanted;
}

struct ip_address ip6_solicited_node(const struct ip_address *address)
{
    struct ip_address group = {.family = ADDRESS_IP6, .octets = {0xff, 0x02, [11] = 1, [12] = 0xff}};
    memcpy(group.octets + 13, address->octets + 13, 3);
    return group;
}

struct ip_address ip6_all_nodes(void)
{
    return all_nodes;
}

struct mac_address ip6_multicast_mac(const struct ip_address *group)
{
    struct mac_address mac = {{0x33, 0x33}};
    memcpy(mac.octets + 2, group->octets + 12, 4);
    return mac;
}

struct ip_address ip6_link_local_of(const struct mac_address *station)
{
    const uint8_t *m = station->octets;
    return (struct ip_address){
        .family = ADDRESS_IP6,
        .octets = {0xfe, 0x80, [8] = (uint8_t)(m[0] ^ 2), m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}};
}

static bool is_mapped(const struct ip_address *a)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(a->octets, prefix, sizeof prefix) == 0;
}

static bool is_solicited_node(const struct ip6_config *config, const struct ip_address *group)
{
    for (uint32_t i = 0; i < config->own_count; i++) {
        struct ip_address own = ip6_solicited_node(&config->own[i].address);
        if (ip_address_equal(&own, group))
            return true;
    }
    return false;
}

enum ip6_class ip6_classify(const struct ip6_config *config, const struct ip_address *address)
{
    if (ip6_is_multicast(address)) {
        bool joined = ip_address_equal(address, &all_nodes) || ip_address_equal(address, &all_nodes_here) ||
                      is_solicited_node(config, address);
        return joined ? IP6_CLASS_GROUP : IP6_CLASS_MULTICAST;
    }
    for (uint32_t i = 0; i < config->own_count; i++)
        if (ip_address_equal(address, &config->own[i].address))
            return config->own[i].tentative ? IP6_CLASS_TENTATIVE : IP6_CLASS_OURS;
    if (ip_address_is_any(address))
        return IP6_CLASS_UNSPECIFIED;
    if (ip_address_equal(address, &loopback))
        return IP6_CLASS_LOOPBACK;
    return is_mapped(address) ? IP6_CLASS_MAPPED : IP6_CLASS_UNICAST;
}

static int scope_of(const struct ip_address *a)
{
    if (ip6_is_multicast(a))
        return a->octets[1] & 15;
    return ip6_is_link_local(a) ? SCOPE_LINK : SCOPE_GLOBAL;
}

/* RFC 6724 5: is `a` a better source than `b`? */
static bool source_is_better(const struct ip_address *a, const struct ip_address *b, const struct ip_address *to)
{
    int scope = scope_of(to), of_a = scope_of(a), of_b = scope_of(b);
    if (of_a != of_b) /* rule 2 */
        return of_a < of_b ? of_a >= scope : of_b < scope;
    return common_bits(a, to) > common_bits(b, to); /* rule 8 */
}

const struct ip_address *ip6_source_select(const struct ip6_config *config, const struct ip_address *destination)
{
    const struct ip_address *found = NULL;
    if (ip_address_equal(destination, &loopback))
        return &loopback;
    for (uint32_t i = 0; i < config->own_count; i++) {
        const struct ip_own_address *own = &config->own[i];
        if (own->tentative)
            continue;
        if (ip_address_equal(&own->address, destination)) /* rule 1 */
            return &own->address;
        if (found == NULL || source_is_better(&own->address, found, destination))
            found = &own->address;
    }
    return found;
}

/* ---- parse: the fixed header ---- */

static struct ip6_header represent(const struct ip6_wire *w)
{
    uint32_t first = be32_get(w->version_class_flow);
    return (struct ip6_header){
        .source = ip_address_from_ip6(w->source),
        .destination = ip_address_from_ip6(w->destination),
        .flow_label = first & 0xfffffU,
        .payload_length = be16_get(w->payload_length),
        .transport_offset = sizeof *w,
        .protocol_at = offsetof(struct ip6_wire, next_header),
        .protocol = w->next_header,
        .hop_limit = w->hop_limit,
        .dscp = (uint8_t)(first >> 22 & 0x3f),
        .ecn = (uint8_t)(first >> 20 & 3),
    };
}

/* `unspecified` and `own` are decided when the protocol is known: check_protocol(). */
static enum ip6_result check_source(enum ip6_class class, bool turned)
{
    switch (class) {
    case IP6_CLASS_UNICAST:
    case IP6_CLASS_OURS:
    case IP6_CLASS_TENTATIVE:
    case IP6_CLASS_UNSPECIFIED:
        return IP6_OK;
    case IP6_CLASS_LOOPBACK: /* RFC 4291 2.5.3 */
        return turned ? IP6_OK : IP6_DROP_source_loopback;
    case IP6_CLASS_GROUP: /* RFC 4291 2.7: MUST NOT be a source */
    case IP6_CLASS_MULTICAST:
        return IP6_DROP_source_multicast;
    case IP6_CLASS_MAPPED:
        break;
    }
    return IP6_DROP_source_mapped;
}

static enum ip6_result check_destination(enum ip6_class class, const struct ip_address *destination, bool turned)
{
    switch (class) {
    case IP6_CLASS_OURS:
        return IP6_OK;
    case IP6_CLASS_GROUP: /* RFC 4291 2.7: interface-local is for what does not leave the host */
        return scope_of(destination) > SCOPE_INTERFACE || turned ? IP6_OK : IP6_DROP_destination_multicast;
    case IP6_CLASS_UNICAST:
        return IP6_DROP_not_ours;
    case IP6_CLASS_TENTATIVE:
        return IP6_DROP_destination_tentative;
    case IP6_CLASS_LOOPBACK:
        return turned ? IP6_OK : IP6_DROP_destination_loopback;
    case IP6_CLASS_MULTICAST:
        return IP6_DROP_destination_multicast;
    case IP6_CLASS_MAPPED:
        return IP6_DROP_destination_mapped;
    case IP6_CLASS_UNSPECIFIED:
        break;
    }
    return IP6_DROP_destination_unspecified;
}

static enum ip6_result check_addresses(const struct ip6_config *config, bool turned, struct ip6_header *h)
{
    enum ip6_class source = ip6_classify(config, &h->source);
    enum ip6_class destination = ip6_classify(config, &h->destination);
    enum ip6_result result = check_source(source, turned);
    if (result == IP6_OK)
        result = check_destination(destination, &h->destination, turned);
    h->source_own = !turned && (source == IP6_CLASS_OURS || source == IP6_CLASS_TENTATIVE);
    h->multicast = destination == IP6_CLASS_GROUP;
    return result;
}

/* ---- parse: the chain ---- */

struct walk {
    const uint8_t *bytes;
    size_t captured, end; /* of what is private, of the packet */
    size_t at;            /* the header `next` begins here */
    size_t next_at;       /* the octet that names it */
    uint8_t next;
    unsigned extensions;
    struct ip6_header *h;
    struct ip6_problem *problem;
};

static enum ip6_result problem(struct walk *w, enum ip6_result result, uint8_t code, size_t pointer)
{
    *w->problem = (struct ip6_problem){.called_for = true, .code = code, .pointer = (uint32_t)pointer};
    return result;
}

/* The extension header at w->at lies within packet, copy and limits. */
static enum ip6_result extension_check(struct walk *w, size_t *ret_length)
{
    size_t room = w->end - w->at;
    if (room < 8)
        return IP6_DROP_extension_truncated;
    if (w->extensions == IP6_EXTENSIONS_MAX || w->captured < w->at + 8)
        return IP6_DROP_extension_limit;
    size_t length = w->next == IP_PROTOCOL_FRAGMENT ? 8 : ((size_t)w->bytes[w->at + 1] + 1) * 8;
    if (length > room)
        return IP6_DROP_extension_truncated;
    if (w->captured < w->at + length || w->at + length > IP6_CAPTURE_MAX)
        return IP6_DROP_extension_limit;
    w->extensions++;
    *ret_length = length;
    return IP6_OK;
}

/* RFC 8200 4.2: what to do with an option that is not known stands in its type's high two bits. */
static enum ip6_result option_check(struct walk *w, size_t at)
{
    switch (w->bytes[at] >> 6) {
    case 0:
        return IP6_OK;
    case 1:
        return IP6_DROP_option_discard;
    case 2:
        return problem(w, IP6_DROP_option_unknown, 2, at);
    default: /* not if the destination is a group */
        return w->h->multicast ? IP6_DROP_option_unknown : problem(w, IP6_DROP_option_unknown, 2, at);
    }
}

static enum ip6_result options_check(struct walk *w, size_t length)
{
    size_t at = w->at + 2, end = w->at + length;
    for (unsigned options = 0; at < end;) {
        uint8_t type = w->bytes[at];
        if (type == IP6_OPTION_PAD1) {
            at++;
            continue;
        }
        if (end - at < 2 || w->bytes[at + 1] > end - at - 2)
            return problem(w, IP6_DROP_option_length, 0, end - at < 2 ? at : at + 1);
        if (type != IP6_OPTION_PADN) {
            if (++options > IP6_OPTIONS_MAX)
                return IP6_DROP_option_limit;
            enum ip6_result result = option_check(w, at);
            if (result != IP6_OK)
                return result;
        }
        at += 2U + w->bytes[at + 1];
    }
    return IP6_OK;
}

/* RFC 8200 4.4, RFC 5095 3: no routing type is spoken. */
static enum ip6_result routing_check(struct walk *w)
{
    size_t type_at = w->at + offsetof(struct ip6_extension_wire, routing_type);
    size_t left_at = w->at + offsetof(struct ip6_extension_wire, segments_left);
    return w->bytes[left_at] == 0 ? IP6_OK : problem(w, IP6_DROP_routing, 0, type_at);
}

/* Over the headers from `next` at `at` on, by their lengths alone. A fragment header ends the chain as a transport
 * does. */
static bool chain_skip(const uint8_t *bytes, size_t length, size_t *at, uint8_t *next)
{
    while (*next == IP_PROTOCOL_HOP_BY_HOP || *next == IP_PROTOCOL_ROUTING ||
           *next == IP_PROTOCOL_DESTINATION_OPTIONS) {
        if (*at > length || length - *at < 8)
            return false;
        *next = bytes[*at];
        *at += ((size_t)bytes[*at + 1] + 1) * 8;
    }
    return *at < length || (*at == length && *next == IP_PROTOCOL_NO_NEXT_HEADER);
}

/* RFC 7112 5: the whole chain is in the first fragment. */
static enum ip6_result first_fragment_check(struct walk *w)
{
    size_t length = w->captured < w->end ? w->captured : w->end;
    size_t at = w->h->fragment.data_offset;
    uint8_t next = w->h->fragment.next_header;
    if (!chain_skip(w->bytes, length, &at, &next))
        return at >= w->end || length == w->end ? problem(w, IP6_DROP_fragment_chain, 3, 0) : IP6_DROP_extension_limit;
    return next == IP_PROTOCOL_FRAGMENT ? IP6_DROP_fragment_repeated : IP6_OK;
}

/* RFC 8200 4.5. An atomic fragment (RFC 6946 4) is a packet like any other. */
static enum ip6_result fragment_check(struct walk *w)
{
    struct ip6_fragment_wire f;
    memcpy(&f, w->bytes + w->at, sizeof f);
    uint16_t offset_more = be16_get(f.offset_more);
    struct ip6_fragment *fragment = &w->h->fragment;
    if (w->h->fragment_header)
        return IP6_DROP_fragment_repeated;
    w->h->fragment_header = true;
    *fragment = (struct ip6_fragment){
        .identification = be32_get(f.identification),
        .offset = offset_more & IP6_FRAGMENT_OFFSET,
        .more = (offset_more & IP6_FRAGMENT_MORE) != 0,
        .next_header = f.next_header,
        .next_header_at = (uint16_t)w->next_at,
        .unfragmentable_length = (uint16_t)w->at,
        .data_offset = (uint16_t)(w->at + sizeof f),
    };
    if (fragment->offset == 0 && !fragment->more)
        return IP6_OK;
    size_t data = w->end - fragment->data_offset;
    if ((fragment->more && data % 8 != 0) || data == 0)
        return problem(w, IP6_DROP_fragment_length, 0, offsetof(struct ip6_wire, payload_length));
    if (w->at - sizeof(struct ip6_wire) + fragment->offset + data > PACKET_MAX)
        return problem(w, IP6_DROP_fragment_overflow, 0, w->at + offsetof(struct ip6_fragment_wire, offset_more));
    w->h->is_fragment = true;
    return fragment->offset == 0 ? first_fragment_check(w) : IP6_OK;
}

static enum ip6_result extension_obey(struct walk *w, size_t length)
{
    switch (w->next) {
    case IP_PROTOCOL_ROUTING:
        return routing_check(w);
    case IP_PROTOCOL_FRAGMENT:
        return fragment_check(w);
    default:
        return options_check(w, length);
    }
}

static bool is_extension(uint8_t next)
{
    return next == IP_PROTOCOL_HOP_BY_HOP || next == IP_PROTOCOL_ROUTING || next == IP_PROTOCOL_FRAGMENT ||
           next == IP_PROTOCOL_DESTINATION_OPTIONS;
}

static enum ip6_result chain_walk(struct walk *w)
{
    while (is_extension(w->next) && !w->h->is_fragment) {
        size_t length;
        if (w->next == IP_PROTOCOL_HOP_BY_HOP && w->at != sizeof(struct ip6_wire)) /* RFC 8200 4.1 */
            return problem(w, IP6_DROP_hop_by_hop, 1, w->next_at);
        enum ip6_result result = extension_check(w, &length);
        if (result == IP6_OK)
            result = extension_obey(w, length);
        if (result != IP6_OK)
            return result;
        w->next_at = w->at;
        w->next = w->bytes[w->at];
        w->at += length;
    }
    if (w->h->is_fragment)
        return IP6_OK;
    w->h->protocol = w->next;
    w->h->protocol_at = (uint16_t)w->next_at;
    w->h->transport_offset = (uint16_t)w->at;
    return w->next == IP_PROTOCOL_NO_NEXT_HEADER ? IP6_DROP_no_next_header : IP6_OK;
}

/* RFC 4862 5.4: no source, and another station with our address, are there in the detection of duplicates only. */
static enum ip6_result check_protocol(const struct ip6_header *h, bool turned)
{
    if (!h->is_fragment && h->protocol == IP_PROTOCOL_ICMP6)
        return IP6_OK;
    if (h->source_own)
        return IP6_DROP_source_own;
    return ip_address_is_any(&h->source) && !turned ? IP6_DROP_source_unspecified : IP6_OK;
}

static enum ip6_result parse(struct ip6_counters *counters, const struct ip6_config *config, bool turned,
                             const uint8_t *bytes, size_t captured, size_t available, struct ip6_header *ret,
                             struct ip6_problem *ret_problem)
{
    struct ip6_wire wire;
    if (captured < sizeof wire || available < captured)
        return IP6_DROP_short;
    memcpy(&wire, bytes, sizeof wire);
    if (be32_get(wire.version_class_flow) >> 28 != 6)
        return IP6_DROP_version;
    struct ip6_header h = represent(&wire);
    if (h.payload_length > available - sizeof wire)
        return IP6_DROP_payload_length;
    enum ip6_result result = check_addresses(config, turned, &h);
    if (result != IP6_OK)
        return result;

    struct walk walk = {.bytes = bytes,
                        .captured = captured,
                        .end = sizeof wire + h.payload_length,
                        .at = sizeof wire,
                        .next_at = offsetof(struct ip6_wire, next_header),
                        .next = wire.next_header,
                        .h = &h,
                        .problem = ret_problem};
    result = chain_walk(&walk);
    if (walk.extensions != 0)
        counters->extensions_in++;
    if (result == IP6_OK)
        result = check_protocol(&h, turned);
    if (result == IP6_OK || ret_problem->called_for)
        *ret = h;
    if (result == IP6_OK && h.is_fragment)
        counters->fragments_in++;
    else if (result == IP6_OK && h.fragment_header)
        counters->atomic_fragments_in++;
    return result;
}

void ip6_count(struct ip6_counters *counters, enum ip6_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case IP6_DROP_##name:                                                                                              \
        counters->drop_##name++;                                                                                       \
        break;
        IP6_DROPS(X)
#undef X
    case IP6_OK:
    case IP6_RESULTS:
        counters->packets_in++;
        break;
    }
}

enum ip6_result ip6_parse(struct ip6_counters *counters, const struct ip6_config *config, bool turned,
                          const uint8_t *bytes, size_t captured, size_t available, struct ip6_header *ret,
                          struct ip6_problem *ret_problem)
{
    *ret_problem = (struct ip6_problem){0};
    enum ip6_result result = parse(counters, config, turned, bytes, captured, available, ret, ret_problem);
    ip6_count(counters, result);
    return result;
}

bool ip6_transport_find(const uint8_t *packet, size_t length, uint8_t *ret_protocol, size_t *ret_offset)
{
    if (length < sizeof(struct ip6_wire))
        return false;
    size_t at = sizeof(struct ip6_wire);
    uint8_t next = packet[offsetof(struct ip6_wire, next_header)];
    if (!chain_skip(packet, length, &at, &next))
        return false;
    if (next == IP_PROTOCOL_FRAGMENT) {
        struct ip6_fragment_wire f;
        if (length - at < sizeof f)
            return false;
        memcpy(&f, packet + at, sizeof f);
        if ((be16_get(f.offset_more) & IP6_FRAGMENT_OFFSET) != 0)
            return false;
        at += sizeof f;
        next = f.next_header;
        if (!chain_skip(packet, length, &at, &next) || next == IP_PROTOCOL_FRAGMENT)
            return false;
    }
    *ret_protocol = next;
    *ret_offset = at;
    return true;
}

/* ---- build ---- */

void ip6_build(const struct ip6_header *header, uint8_t *ret_bytes)
{
    uint32_t first = 6U << 28 | (uint32_t)(header->dscp & 0x3fU) << 22 | (uint32_t)(header->ecn & 3U) << 20 |
                     (header->flow_label & 0xfffffU);
    struct ip6_wire w = {
        .version_class_flow = be32_make(first),
        .payload_length = be16_make(header->payload_length),
        .next_header = header->protocol,
        .hop_limit = header->hop_limit,
    };
    memcpy(w.source, header->source.octets, sizeof w.source);
    memcpy(w.destination, header->destination.octets, sizeof w.destination);
    memcpy(ret_bytes, &w, sizeof w);
}

void ip6_fragment_build(const struct ip6_fragment *fragment, uint8_t *ret_bytes)
{
    unsigned offset_more = (fragment->offset & IP6_FRAGMENT_OFFSET) | (fragment->more ? IP6_FRAGMENT_MORE : 0);
    struct ip6_fragment_wire w = {
        .next_header = fragment->next_header,
        .offset_more = be16_make((uint16_t)offset_more),
        .identification = be32_make(fragment->identification),
    };
    memcpy(ret_bytes, &w, sizeof w);
}
_Static_assert(sizeof(struct ip6_wire) == IP6_HEADER_LENGTH, "one number");
_Static_assert(sizeof(struct ip6_fragment_wire) == IP6_FRAGMENT_HEADER_LENGTH, "one number");
