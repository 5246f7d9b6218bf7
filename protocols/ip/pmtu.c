// SPDX-License-Identifier: BSD-2-Clause
/* Path MTU. Theory of operation: a table of sets, chosen by a keyed hash of the destination; in a full set the entry
 * that would expire first gives way. An entry lowers the link's MTU until it expires; a larger one is then found by
 * sending (RFC 1191 6.3). Reports that raise are ignored (RFC 8201 4: MUST NOT). Read RFC 8201 4 and RFC 1191 7.1
 * first. */
#include "protocols/ip/pmtu.h"

#include <string.h>

#include "protocols/base/siphash.h"

/* RFC 1191 7.1 table 7-1, as far as it lies above the least that we believe */
static const uint16_t plateau[] = {65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006};
#define PLATEAUS (sizeof plateau / sizeof plateau[0])

void pmtu_init(struct pmtu *t, const struct pmtu_config *config)
{
    memset(t, 0, sizeof *t);
    t->config = *config;
}

static struct pmtu_entry *set_of(struct pmtu *t, const struct ip_address *destination)
{
    return t->entry[siphash(t->config.key, destination->octets, sizeof destination->octets) % PMTU_SETS];
}

static struct pmtu_entry *find(struct pmtu *t, uint64_t now_us, const struct ip_address *destination)
{
    struct pmtu_entry *set = set_of(t, destination);
    for (uint32_t i = 0; i < PMTU_WAYS; i++) {
        if (!ip_address_equal(&set[i].destination, destination))
            continue;
        if (set[i].expires_us > now_us)
            return &set[i];
        set[i] = (struct pmtu_entry){0};
        t->used--;
        t->counters.expired++;
    }
    return NULL;
}

uint32_t pmtu_get(struct pmtu *t, uint64_t now_us, const struct ip_address *destination)
{
    if (t->used == 0 || destination->family == ADDRESS_NONE)
        return t->config.link_mtu;
    const struct pmtu_entry *e = find(t, now_us, destination);
    return e != NULL ? e->mtu : t->config.link_mtu;
}

static void remember(struct pmtu *t, uint64_t now_us, const struct ip_address *destination, uint32_t mtu)
{
    struct pmtu_entry *e = find(t, now_us, destination);
    if (e == NULL) {
        struct pmtu_entry *set = set_of(t, destination);
        e = &set[0];
        for (uint32_t i = 1; i < PMTU_WAYS; i++)
            if (set[i].expires_us < e->expires_us)
                e = &set[i];
        if (e->destination.family == ADDRESS_NONE)
            t->used++;
        else
            t->counters.evicted++;
    }
    *e = (struct pmtu_entry){.destination = *destination, .mtu = mtu, .expires_us = now_us + PMTU_AGE_US};
}

/* RFC 1191 5: an old router does not say; the next plateau below the packet that did not pass. */
static uint32_t guess(uint32_t packet_octets)
{
    for (uint32_t i = 0; i < PLATEAUS; i++)
        if (plateau[i] < packet_octets)
            return plateau[i];
    return PMTU_IP4_MIN;
}

static enum pmtu_result judge(const struct ip_address *destination, uint32_t reported_mtu, uint32_t packet_octets,
                              uint32_t *ret_mtu)
{
    uint32_t least = destination->family == ADDRESS_IP4 ? PMTU_IP4_MIN : PMTU_IP6_MIN;
    uint32_t mtu = reported_mtu;
    if (destination->family != ADDRESS_IP4 && destination->family != ADDRESS_IP6)
        return PMTU_DROP_family;
    if (mtu == 0 && destination->family == ADDRESS_IP4)
        mtu = guess(packet_octets);
    if (mtu < least)
        return PMTU_DROP_too_small;
    if (mtu >= packet_octets)
        return PMTU_DROP_too_large;
    *ret_mtu = mtu;
    return PMTU_LOWERED;
}

static enum pmtu_result counted(struct pmtu *t, enum pmtu_result result)
{
    switch (result) {
#define X(name)                                                                                                        \
    case PMTU_DROP_##name:                                                                                             \
        t->counters.drop_##name++;                                                                                     \
        break;
        PMTU_DROPS(X)
#undef X
    case PMTU_LOWERED:
    case PMTU_RESULTS:
        t->counters.lowered++;
        break;
    }
    return result;
}

enum pmtu_result pmtu_report(struct pmtu *t, uint64_t now_us, const struct ip_address *destination,
                             uint32_t reported_mtu, uint32_t packet_octets)
{
    uint32_t mtu = 0;
    enum pmtu_result result = judge(destination, reported_mtu, packet_octets, &mtu);
    if (result == PMTU_LOWERED && mtu >= pmtu_get(t, now_us, destination))
        result = PMTU_DROP_too_large;
    if (result == PMTU_LOWERED)
        remember(t, now_us, destination, mtu);
    return counted(t, result);
}

enum pmtu_result pmtu_check(struct pmtu *t, const struct ip_address *destination, uint32_t reported_mtu,
                            uint32_t packet_octets, uint32_t *ret_mtu)
{
    enum pmtu_result result = judge(destination, reported_mtu, packet_octets, ret_mtu);
    if (result == PMTU_LOWERED && *ret_mtu >= t->config.link_mtu)
        result = PMTU_DROP_too_large;
    return result == PMTU_LOWERED ? result : counted(t, result);
}
