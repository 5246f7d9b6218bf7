// SPDX-License-Identifier: BSD-2-Clause
/* Reassembly. Theory of operation: a datagram collects pieces in a sorted list; no two overlap, so that it is whole
 * when the sum of their lengths is the length that the last piece told. Whatever contradicts what has come (overlap,
 * two ends, too many pieces) discards the datagram: its name stays until its time is up, so that the pieces still to
 * come do not begin another (RFC 5722 4). For want of a buffer the oldest gives way; one source has a few at most, and
 * gives way to itself. Buffers that are lent are not touched. Read RFC 8200 4.5 first. */
#include "protocols/ip/reassembly.h"

#include <string.h>

#define IP_OCTETS_MAX 65535U
#define ECN_MASK      3U
#define ECN_NOT_ECT   0U
#define ECN_CE        3U

void reassembly_init(struct reassembly *t, uint8_t *buffers)
{
    memset(t, 0, sizeof *t);
    t->buffers = buffers;
    t->deadline_us = UINT64_MAX;
}

/* ---- datagrams ---- */

static bool is_open(const struct reassembly_datagram *d)
{
    return d->state == REASSEMBLY_COLLECTING || d->state == REASSEMBLY_DISCARDING;
}

static bool same_datagram(const struct reassembly_fragment *a, const struct reassembly_fragment *b)
{
    return a->identification == b->identification && ip_address_equal(&a->source, &b->source) &&
           ip_address_equal(&a->destination, &b->destination) &&
           (a->source.family == ADDRESS_IP6 || a->protocol == b->protocol);
}

static bool is_it(const struct reassembly_datagram *d, const struct reassembly_fragment *f)
{
    return is_open(d) && same_datagram(&d->name, f);
}

/* The pieces of one come one behind the other, as a rule. */
static struct reassembly_datagram *find(struct reassembly *t, const struct reassembly_fragment *f)
{
    if (t->open == 0)
        return NULL;
    if (is_it(&t->datagram[t->latest], f))
        return &t->datagram[t->latest];
    for (uint32_t i = 0; i < REASSEMBLY_DATAGRAMS; i++)
        if (is_it(&t->datagram[i], f))
            return &t->datagram[i];
    return NULL;
}

/* An open one is so no more. */
static void close(struct reassembly *t, struct reassembly_datagram *d, enum reassembly_state state)
{
    d->state = (uint8_t)state;
    if (--t->open == 0)
        t->deadline_us = UINT64_MAX;
}

/* A place for a new one; NULL: all are lent. */
static struct reassembly_datagram *make_room(struct reassembly *t, const struct ip_address *source)
{
    struct reassembly_datagram *free = NULL, *oldest = NULL, *oldest_same = NULL;
    uint32_t same = 0;
    for (uint32_t i = 0; i < REASSEMBLY_DATAGRAMS; i++) {
        struct reassembly_datagram *d = &t->datagram[i];
        if (d->state == REASSEMBLY_FREE && free == NULL) /* the lowest: its memory is warm */
            free = d;
        if (!is_open(d))
            continue;
        if (oldest == NULL || d->expires_us < oldest->expires_us)
            oldest = d;
        if (!ip_address_equal(&d->name.source, source))
            continue;
        same++;
        if (oldest_same == NULL || d->expires_us < oldest_same->expires_us)
            oldest_same = d;
    }
    if (same >= REASSEMBLY_SOURCE_MAX) {
        t->counters.evicted_source++;
        return oldest_same;
    }
    if (free != NULL)
        return free;
    if (oldest != NULL)
        t->counters.evicted++;
    return oldest;
}

static struct reassembly_datagram *begin(struct reassembly *t, uint64_t now_us, const struct reassembly_fragment *f)
{
    struct reassembly_datagram *d = make_room(t, &f->source);
    if (d == NULL)
        return NULL;
    t->open += !is_open(d); /* else it gives way */
    t->latest = (uint32_t)(d - t->datagram);
    d->name = *f;
    d->expires_us = now_us + (f->source.family == ADDRESS_IP4 ? REASSEMBLY_IP4_US : REASSEMBLY_IP6_US);
    if (d->expires_us < t->deadline_us)
        t->deadline_us = d->expires_us;
    d->state = REASSEMBLY_COLLECTING;
    d->ecn = 0;
    d->first_seen = false;
    d->end = d->octets = d->pieces = d->quote_octets = 0;
    return d;
}

/* ---- pieces ---- */

/* Where a piece belongs; HELD, or why it does not. */
static enum reassembly_result place(const struct reassembly_datagram *d, uint32_t first, uint32_t end, uint32_t *ret_at)
{
    uint32_t low = 0, high = d->pieces;
    while (low < high) { /* the first that ends behind our beginning */
        uint32_t middle = (low + high) / 2;
        if (d->piece[middle].end <= first)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < d->pieces && d->piece[low].first < end)
        return d->piece[low].first == first && d->piece[low].end == end ? REASSEMBLY_DROP_duplicate
                                                                        : REASSEMBLY_DROP_overlap;
    if (d->pieces == REASSEMBLY_FRAGMENTS_MAX)
        return REASSEMBLY_DROP_too_many;
    *ret_at = low;
    return REASSEMBLY_HELD;
}

static bool end_contradicts(const struct reassembly_datagram *d, uint32_t end, bool more)
{
    if (d->end != 0)
        return end > d->end || (!more && end != d->end);
    return !more && d->pieces > 0 && d->piece[d->pieces - 1].end > end;
}

static void take_first(struct reassembly_datagram *d, const struct reassembly_fragment *f, const uint8_t *packet,
                       size_t packet_octets)
{
    d->first_seen = true;
    d->name.protocol = f->protocol;
    d->name.ttl = f->ttl;
    d->name.traffic_class = f->traffic_class;
    d->name.header_octets = f->header_octets;
    d->quote_octets = (uint32_t)(packet_octets < sizeof d->quote ? packet_octets : sizeof d->quote);
    memcpy(d->quote, packet, d->quote_octets);
}

static enum reassembly_result add(struct reassembly *t, struct reassembly_datagram *d,
                                  const struct reassembly_fragment *f, const uint8_t *payload)
{
    uint32_t end = f->offset + f->length, at = 0;
    enum reassembly_result result = place(d, f->offset, end, &at);
    if (result != REASSEMBLY_HELD)
        return result;
    if (end_contradicts(d, end, f->more))
        return REASSEMBLY_DROP_end;
    memmove(&d->piece[at + 1], &d->piece[at], (d->pieces - at) * sizeof d->piece[0]);
    d->piece[at] = (struct reassembly_piece){(uint16_t)f->offset, (uint16_t)end};
    d->pieces++;
    d->octets += f->length;
    d->ecn |= (uint8_t)(1U << (f->traffic_class & ECN_MASK));
    if (!f->more)
        d->end = end;
    memcpy(t->buffers + (size_t)(d - t->datagram) * REASSEMBLY_BUFFER_OCTETS + f->offset, payload, f->length);
    return REASSEMBLY_HELD;
}

static enum reassembly_result finish(struct reassembly *t, struct reassembly_datagram *d, struct reassembly_output *ret)
{
    uint8_t traffic_class = d->name.traffic_class;
    if (d->octets + d->name.header_octets > IP_OCTETS_MAX) { /* the first one's header is the longer */
        close(t, d, REASSEMBLY_FREE);
        return REASSEMBLY_DROP_overflow;
    }
    if ((d->ecn & 1U << ECN_CE) != 0) {
        if ((d->ecn & 1U << ECN_NOT_ECT) != 0) {
            close(t, d, REASSEMBLY_FREE);
            return REASSEMBLY_DROP_ecn;
        }
        traffic_class |= ECN_CE;
    }
    close(t, d, REASSEMBLY_LENT);
    t->counters.datagrams_out++;
    *ret = (struct reassembly_output){.source = d->name.source,
                                      .destination = d->name.destination,
                                      .buffer = (uint32_t)(d - t->datagram),
                                      .length = d->octets,
                                      .protocol = d->name.protocol,
                                      .ttl = d->name.ttl,
                                      .traffic_class = traffic_class,
                                      .packet_octets = d->quote_octets,
                                      .packet = d->quote};
    return REASSEMBLY_COMPLETE;
}

static enum reassembly_result input(struct reassembly *t, uint64_t now_us, const struct reassembly_fragment *f,
                                    const uint8_t *payload, const uint8_t *packet, size_t packet_octets,
                                    struct reassembly_output *ret)
{
    t->counters.fragments_in++;
    if (f->offset > IP_OCTETS_MAX || f->length > IP_OCTETS_MAX || f->header_octets > IP_OCTETS_MAX ||
        f->offset + f->length > IP_OCTETS_MAX - f->header_octets)
        return REASSEMBLY_DROP_overflow;
    if (f->length == 0 || f->offset % 8 != 0 || (f->more && f->length % 8 != 0))
        return REASSEMBLY_DROP_length;
    struct reassembly_datagram *d = find(t, f);
    if (d != NULL && d->state == REASSEMBLY_DISCARDING)
        return REASSEMBLY_DROP_discarded;
    if (d == NULL)
        d = begin(t, now_us, f);
    if (d == NULL)
        return REASSEMBLY_DROP_no_buffer;
    enum reassembly_result result = add(t, d, f, payload);
    if (result != REASSEMBLY_HELD) {
        if (result != REASSEMBLY_DROP_duplicate)
            d->state = REASSEMBLY_DISCARDING;
        return result;
    }
    if (f->offset == 0)
        take_first(d, f, packet, packet_octets);
    return d->end != 0 && d->octets == d->end ? finish(t, d, ret) : REASSEMBLY_HELD;
}

enum reassembly_result reassembly_input(struct reassembly *t, uint64_t now_us,
                                        const struct reassembly_fragment *fragment, const uint8_t *payload,
                                        const uint8_t *packet, size_t packet_octets, struct reassembly_output *ret)
{
    enum reassembly_result result = input(t, now_us, fragment, payload, packet, packet_octets, ret);
    switch (result) {
#define X(name)                                                                                                        \
    case REASSEMBLY_DROP_##name:                                                                                       \
        t->counters.drop_##name++;                                                                                     \
        break;
        REASSEMBLY_DROPS(X)
#undef X
    case REASSEMBLY_HELD:
    case REASSEMBLY_COMPLETE:
    case REASSEMBLY_RESULTS:
        break;
    }
    return result;
}

void reassembly_release(struct reassembly *t, uint32_t buffer)
{
    if (buffer < REASSEMBLY_DATAGRAMS && t->datagram[buffer].state == REASSEMBLY_LENT)
        t->datagram[buffer].state = REASSEMBLY_FREE;
}

/* ---- time ---- */

bool reassembly_poll(struct reassembly *t, uint64_t now_us, struct reassembly_expired *ret)
{
    if (now_us < t->deadline_us)
        return false;
    uint64_t earliest_us = UINT64_MAX;
    for (uint32_t i = 0; i < REASSEMBLY_DATAGRAMS; i++) {
        struct reassembly_datagram *d = &t->datagram[i];
        if (!is_open(d))
            continue;
        if (d->expires_us > now_us) {
            earliest_us = d->expires_us < earliest_us ? d->expires_us : earliest_us;
            continue;
        }
        bool tell = d->state == REASSEMBLY_COLLECTING && d->first_seen;
        t->counters.timed_out++;
        close(t, d, REASSEMBLY_FREE);
        if (!tell)
            continue;
        *ret = (struct reassembly_expired){
            .source = d->name.source, .destination = d->name.destination, .quote_octets = d->quote_octets};
        memcpy(ret->quote, d->quote, d->quote_octets);
        return true; /* the deadline is still past: the caller comes again */
    }
    t->deadline_us = earliest_us;
    return false;
}

uint64_t reassembly_deadline_us(const struct reassembly *t)
{
    return t->deadline_us;
}
