// SPDX-License-Identifier: BSD-2-Clause
/* UDP. Theory of operation: bindings lie in one array behind `struct udp`, with a free list and
 * hash chains over the local port; a chain begins with the last bound. Ports are compared on the
 * chain, so that a lookup costs what is bound to one port. Read RFC 768 and RFC 1122 4.1 first. */
#include "protocols/udp/udp.h"

#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/base/siphash.h"
#include "protocols/ip4/ip4.h"
#include "protocols/udp/udp_wire.h"

#define BUCKETS 1024U

struct udp {
    struct udp_config config;
    struct udp_counters counters;
    uint64_t salt;       /* with the secret, gives the next ephemeral port to try */
    uint64_t order;      /* of the last bound */
    uint32_t free_first; /* chain through `next` */
    uint32_t bucket[BUCKETS];
    struct udp_binding binding[];
};

/* ---- header ---- */

static enum udp_result parse(const uint8_t *bytes, size_t captured, size_t available, struct udp_header *ret)
{
    struct udp_wire w;
    if (captured < sizeof w || available < sizeof w)
        return UDP_DROP_short;
    memcpy(&w, bytes, sizeof w);
    size_t length = be16_get(w.length);
    if (length < sizeof w || length > available)
        return UDP_DROP_length;
    if (be16_get(w.destination_port) == 0)
        return UDP_DROP_port;
    *ret = (struct udp_header){.source_port = be16_get(w.source_port),
                               .destination_port = be16_get(w.destination_port),
                               .payload_length = (uint16_t)(length - sizeof w),
                               .has_checksum = be16_get(w.checksum) != 0};
    return UDP_OK;
}

static void count(struct udp_counters *counters, enum udp_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case UDP_DROP_##name:                                                                                              \
        counters->drop_##name++;                                                                                       \
        break;
        UDP_DROPS(X)
#undef X
    case UDP_OK:
    case UDP_RESULTS:
        break;
    }
}

enum udp_result udp_parse(struct udp_counters *counters, const uint8_t *bytes, size_t captured, size_t available,
                          struct udp_header *ret)
{
    enum udp_result result = parse(bytes, captured, available, ret);
    count(counters, result);
    if (result == UDP_OK)
        counters->datagrams_in++;
    return result;
}

enum udp_result udp_verify(struct udp_counters *counters, const struct ip_address *source,
                           const struct ip_address *destination, const uint8_t *bytes, uint64_t payload_sum)
{
    struct udp_wire w;
    memcpy(&w, bytes, sizeof w);
    enum udp_result result = UDP_OK;
    if (be16_get(w.checksum) == 0) {
        counters->without_checksum++;
        if (source->family != ADDRESS_IP4)
            result = UDP_DROP_checksum;
    } else {
        uint64_t sum = checksum_pseudo_header(source, destination, IP_PROTOCOL_UDP, be16_get(w.length));
        sum = checksum_add(sum + payload_sum, &w, sizeof w);
        if (be16_get(checksum_finish(sum)) != 0)
            result = UDP_DROP_checksum;
    }
    count(counters, result);
    return result;
}

static struct udp_wire wire_without_checksum(const struct udp_header *header)
{
    return (struct udp_wire){
        .source_port = be16_make(header->source_port),
        .destination_port = be16_make(header->destination_port),
        .length = be16_make((uint16_t)(UDP_HEADER_LENGTH + header->payload_length)),
    };
}

void udp_build(const struct ip_address *source, const struct ip_address *destination, const struct udp_header *header,
               uint64_t payload_sum, uint8_t *ret_bytes)
{
    struct udp_wire w = wire_without_checksum(header);
    uint64_t sum = checksum_pseudo_header(source, destination, IP_PROTOCOL_UDP,
                                          UDP_HEADER_LENGTH + (uint32_t)header->payload_length);
    w.checksum = checksum_finish(checksum_add(sum + payload_sum, &w, sizeof w));
    if (be16_get(w.checksum) == 0) /* RFC 768: zero is sent as all ones */
        w.checksum = be16_make(0xffff);
    memcpy(ret_bytes, &w, sizeof w);
}

void udp_build_partial(const struct ip_address *source, const struct ip_address *destination,
                       const struct udp_header *header, uint8_t *ret_bytes)
{
    struct udp_wire w = wire_without_checksum(header);
    w.checksum = checksum_fold(checksum_pseudo_header(source, destination, IP_PROTOCOL_UDP,
                                                      UDP_HEADER_LENGTH + (uint32_t)header->payload_length));
    memcpy(ret_bytes, &w, sizeof w);
}

void udp_build_unchecked(const struct udp_header *header, uint8_t *ret_bytes)
{
    struct udp_wire w = wire_without_checksum(header);
    memcpy(ret_bytes, &w, sizeof w);
}

/* ---- the table ---- */

size_t udp_size(const struct udp_config *config)
{
    size_t octets = sizeof(struct udp) + config->bindings * sizeof(struct udp_binding);
    return (octets + 63) & ~(size_t)63;
}

struct udp *udp_init(void *memory, const struct udp_config *config, uint64_t now_us)
{
    struct udp *t = memory;
    memset(t, 0, udp_size(config));
    t->config = *config;
    t->salt = now_us;
    for (uint32_t i = 0; i < BUCKETS; i++)
        t->bucket[i] = UDP_NONE;
    for (uint32_t i = 0; i < config->bindings; i++)
        t->binding[i].next = i + 1 < config->bindings ? i + 1 : UDP_NONE;
    return t;
}

struct udp_counters *udp_counters(struct udp *t)
{
    return &t->counters;
}

/* Whether `b` is among the addresses of `a`; ADDRESS_NONE has those of both families. */
static bool covers(const struct ip_address *a, const struct ip_address *b)
{
    bool family = a->family == ADDRESS_NONE || b->family == ADDRESS_NONE || a->family == b->family;
    return family && ip_address_is_any(a);
}

static bool overlap(const struct ip_address *a, const struct ip_address *b)
{
    return covers(a, b) || covers(b, a) || ip_address_equal(a, b);
}

static bool in_use(const struct udp *t, const struct ip_address *local, uint16_t port, bool shared)
{
    for (uint32_t i = t->bucket[port % BUCKETS]; i != UDP_NONE; i = t->binding[i].next) {
        const struct udp_binding *b = &t->binding[i];
        if (b->local_port == port && !(shared && b->shared) && overlap(&b->local, local))
            return true;
    }
    return false;
}

/* RFC 6056 3.3.1: start at a port nobody can guess, go on from there. */
static uint16_t ephemeral_port(struct udp *t, const struct ip_address *local)
{
    uint32_t range = UDP_EPHEMERAL_MAX - UDP_EPHEMERAL_MIN + 1;
    t->salt++;
    uint32_t start = (uint32_t)(siphash(t->config.secret, &t->salt, sizeof t->salt) % range);
    for (uint32_t i = 0; i < range; i++) {
        uint16_t port = (uint16_t)(UDP_EPHEMERAL_MIN + (start + i) % range);
        if (!in_use(t, local, port, false))
            return port;
    }
    return 0;
}

/* Into its chain: before all that were bound earlier. */
static uint32_t insert(struct udp *t, const struct udp_binding *as)
{
    uint32_t index = t->free_first;
    t->free_first = t->binding[index].next;
    uint32_t *link = &t->bucket[as->local_port % BUCKETS];
    while (*link != UDP_NONE && t->binding[*link].order > as->order)
        link = &t->binding[*link].next;
    t->binding[index] = *as;
    t->binding[index].next = *link;
    *link = index;
    return index;
}

enum udp_call_result udp_bind(struct udp *t, const struct ip_address *local, uint16_t local_port, bool shared,
                              uint32_t owner, uint32_t *ret_index)
{
    if (t->free_first == UDP_NONE)
        return UDP_CALL_TABLE_FULL;
    if (local_port == 0) {
        local_port = ephemeral_port(t, local);
        if (local_port == 0)
            return UDP_CALL_NO_PORT;
    } else if (in_use(t, local, local_port, shared)) {
        return UDP_CALL_IN_USE;
    }
    const struct udp_binding b = {.bound = *local,
                                  .local = *local,
                                  .local_port = local_port,
                                  .owner = owner,
                                  .shared = shared,
                                  .order = ++t->order};
    *ret_index = insert(t, &b);
    return UDP_CALL_OK;
}

enum udp_call_result udp_restore(struct udp *t, const struct udp_binding *was, uint32_t *ret_index)
{
    bool peer = was->remote.family != ADDRESS_NONE;
    if (was->local_port == 0 || was->order == 0 || (peer && was->remote_port == 0))
        return UDP_CALL_BAD_STATE;
    if (t->free_first == UDP_NONE)
        return UDP_CALL_TABLE_FULL;
    *ret_index = insert(t, was);
    if (was->order > t->order)
        t->order = was->order;
    return UDP_CALL_OK;
}

const struct udp_binding *udp_binding_at(const struct udp *t, uint32_t index)
{
    if (index >= t->config.bindings || t->binding[index].local_port == 0)
        return NULL;
    return &t->binding[index];
}

enum udp_call_result udp_connect(struct udp *t, uint32_t index, const struct ip_address *local,
                                 const struct ip_address *remote, uint16_t remote_port)
{
    if (udp_binding_at(t, index) == NULL)
        return UDP_CALL_BAD_STATE;
    struct udp_binding *b = &t->binding[index];
    if (remote->family == ADDRESS_NONE) {
        b->local = b->bound;
        b->remote = (struct ip_address){0};
        b->remote_port = 0;
        return UDP_CALL_OK;
    }
    bool family = b->bound.family == ADDRESS_NONE || b->bound.family == remote->family;
    if (!family || remote_port == 0 || ip_address_is_any(remote))
        return UDP_CALL_BAD_STATE;
    if (ip_address_is_any(&b->bound)) {
        if (local->family != remote->family)
            return UDP_CALL_BAD_STATE;
        b->local = *local;
    }
    b->remote = *remote;
    b->remote_port = remote_port;
    return UDP_CALL_OK;
}

enum udp_call_result udp_unbind(struct udp *t, uint32_t index)
{
    if (udp_binding_at(t, index) == NULL)
        return UDP_CALL_BAD_STATE;
    uint32_t *link = &t->bucket[t->binding[index].local_port % BUCKETS];
    while (*link != index)
        link = &t->binding[*link].next;
    *link = t->binding[index].next;
    t->binding[index] = (struct udp_binding){.next = t->free_first};
    t->free_first = index;
    return UDP_CALL_OK;
}

/* 0: does not fit. */
static unsigned fit(const struct udp_binding *b, const struct ip_address *source, uint16_t source_port,
                    const struct ip_address *destination)
{
    unsigned score = 1;
    if (b->local.family != ADDRESS_NONE) {
        bool any = ip_address_is_any(&b->local);
        if (any ? b->local.family != destination->family : !ip_address_equal(&b->local, destination))
            return 0;
        score += any ? 1 : 2;
    }
    if (b->remote.family != ADDRESS_NONE) {
        if (b->remote_port != source_port || !ip_address_equal(&b->remote, source))
            return 0;
        score += 4;
    }
    return score;
}

uint32_t udp_lookup(const struct udp *t, const struct ip_address *source, uint16_t source_port,
                    const struct ip_address *destination, uint16_t destination_port)
{
    uint32_t best = UDP_NONE;
    unsigned best_score = 0;
    for (uint32_t i = t->bucket[destination_port % BUCKETS]; i != UDP_NONE; i = t->binding[i].next) {
        const struct udp_binding *b = &t->binding[i];
        if (b->local_port != destination_port)
            continue;
        unsigned score = fit(b, source, source_port, destination);
        if (score > best_score) {
            best_score = score;
            best = i;
        }
    }
    return best;
}

uint32_t udp_next(const struct udp *t, uint32_t previous, const struct ip_address *source, uint16_t source_port,
                  const struct ip_address *destination, uint16_t destination_port)
{
    uint32_t i = previous == UDP_NONE ? t->bucket[destination_port % BUCKETS] : t->binding[previous].next;
    while (i != UDP_NONE &&
           (t->binding[i].local_port != destination_port || fit(&t->binding[i], source, source_port, destination) == 0))
        i = t->binding[i].next;
    return i;
}
