// SPDX-License-Identifier: BSD-2-Clause
/* Routes. Theory of operation: an array sorted by prefix length, so that the first match is the longest; hosts have a
 * handful. Metrics and next hops of equal cost are left out. Read RFC 1122 3.3.1 first. */
#include "protocols/ip/route.h"

#include <string.h>

uint8_t route_prefix_most(uint8_t family)
{
    return family == ADDRESS_IP4 ? 32 : family == ADDRESS_IP6 ? 128 : 0;
}

struct ip_address route_prefix(const struct ip_address *address, uint8_t prefix_length)
{
    struct ip_address prefix = {.family = address->family};
    uint32_t whole = prefix_length / 8U, bits = prefix_length % 8U;
    memcpy(prefix.octets, address->octets, whole);
    if (bits != 0)
        prefix.octets[whole] = (uint8_t)(address->octets[whole] & (0xff00U >> bits));
    return prefix;
}

static bool matches(const struct route *r, const struct ip_address *destination)
{
    uint32_t whole = r->prefix_length / 8U, bits = r->prefix_length % 8U;
    if (r->prefix.family != destination->family || memcmp(r->prefix.octets, destination->octets, whole) != 0)
        return false;
    return bits == 0 || ((r->prefix.octets[whole] ^ destination->octets[whole]) & (0xff00U >> bits) & 0xffU) == 0;
}

void route_table_init(struct route_table *table)
{
    memset(table, 0, sizeof *table);
}

static bool well_formed(const struct route *r)
{
    uint8_t family = r->prefix.family, most = route_prefix_most(family);
    if (most == 0 || r->prefix_length > most)
        return false;
    if (r->gateway.family != ADDRESS_NONE && r->gateway.family != family)
        return false;
    struct ip_address prefix = route_prefix(&r->prefix, r->prefix_length);
    return ip_address_equal(&prefix, &r->prefix);
}

enum route_result route_add(struct route_table *table, const struct route *route)
{
    if (!well_formed(route))
        return ROUTE_BAD;
    uint32_t at = 0;
    while (at < table->count && table->route[at].prefix_length > route->prefix_length)
        at++;
    for (uint32_t i = at; i < table->count; i++)
        if (table->route[i].prefix_length == route->prefix_length &&
            ip_address_equal(&table->route[i].prefix, &route->prefix))
            return ROUTE_EXISTS;
    if (table->count == ROUTES_MAX)
        return ROUTE_FULL;
    memmove(&table->route[at + 1], &table->route[at], (table->count - at) * sizeof table->route[0]);
    table->route[at] = *route;
    table->count++;
    return ROUTE_OK;
}

enum route_result route_find(const struct route_table *table, const struct ip_address *destination,
                             struct ip_address *ret_next_hop)
{
    for (uint32_t i = 0; i < table->count; i++) {
        const struct route *r = &table->route[i];
        if (!matches(r, destination))
            continue;
        *ret_next_hop = r->gateway.family == ADDRESS_NONE ? *destination : r->gateway;
        return ROUTE_OK;
    }
    return ROUTE_NONE;
}
