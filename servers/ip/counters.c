// SPDX-License-Identifier: BSD-2-Clause
/* The counters of the server and of its engines: names once, values after each burst that moved something. */
#include "servers/counters.h"

#include "servers/ip/ip.h"

/* prefix, list, where the values are */
#define IP_ALL(G)                                                                                                      \
    G("", IP_COUNTERS, ip->counters)                                                                                   \
    G("ether_", ETHER_COUNTERS, ip->ether_counters)                                                                    \
    G("arp_", ARP_COUNTERS, ip->arp.counters)                                                                          \
    G("ndp_", NDP_COUNTERS, ip->ndp.counters)                                                                          \
    G("ip4_", IP4_COUNTERS, ip->ip4_counters)                                                                          \
    G("ip6_", IP6_COUNTERS, ip->ip6_counters)                                                                          \
    G("icmp_", ICMP_COUNTERS, ip->icmp.counters)                                                                       \
    G("icmp6_", ICMP6_COUNTERS, ip->icmp6.counters)                                                                    \
    G("pmtu_", PMTU_COUNTERS, ip->pmtu.counters)                                                                       \
    G("reassembly_", REASSEMBLY_COUNTERS, ip->reassembly.counters)

#define X(name)                 +1
#define G(prefix, list, values) list(X)
_Static_assert(0 IP_ALL(G) + 1 <= STATUS_COUNTERS, "the page holds them all");
#undef G
#undef X

static uint32_t place_name(struct status_counter *page, uint32_t place, const char *prefix, const char *name)
{
    char text[STATUS_COUNTER_NAME];
    size_t length = strlen(prefix), rest = strlen(name);
    if (rest > sizeof text - 1 - length)
        rest = sizeof text - 1 - length;
    memcpy(text, prefix, length);
    memcpy(text + length, name, rest);
    text[length + rest] = 0;
    return counters_name(page, place, text);
}

#define X(name)                 #name,
#define G(prefix, list, values) static const char *const names_##list[] = {list(X)};
IP_ALL(G)
#undef G
#undef X

void ip_counters_place(struct status_counter *page)
{
    uint32_t place = 0;
#define G(prefix, list, values)                                                                                        \
    for (size_t i = 0; i < sizeof names_##list / sizeof names_##list[0]; i++)                                          \
        place = place_name(page, place, prefix, names_##list[i]);
    IP_ALL(G)
#undef G
    counters_name(page, place, "refused");
}

void ip_publish(void *state, uint64_t now_us)
{
    struct ip *ip = state;
    struct status_counter *page = ip->context.counter;
    uint32_t place = 0;
    uint64_t refused = 0;
    (void)now_us;
    if (!ip->moved)
        return;
    ip->moved = false;
#define G(prefix, list, values)                                                                                        \
    _Static_assert(sizeof(values) == sizeof names_##list / sizeof names_##list[0] * sizeof(uint64_t), #list);          \
    for (size_t i = 0; i < sizeof(values) / sizeof(uint64_t); i++)                                                     \
        place = counters_value(page, place, ((const uint64_t *)&(values))[i]);
    IP_ALL(G)
#undef G
    for (unsigned i = 0; i < SERVER_COUNT; i++)
        if (ip->context.port[i] != NULL)
            refused += counters_refused(ip->context.port[i]->table.refused, CAPABILITY_REFUSALS);
    counters_value(page, place, refused);
}
