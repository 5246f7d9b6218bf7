// SPDX-License-Identifier: BSD-2-Clause
/* What the ports of a domain counted, shown in the counter page's row DOMAIN_COUNTERS: "tcp_ip_malformed" is what tcp
 * saw wrong in what ip sent. */
#include <stdio.h>

#include "servers/counters.h"
#include "servers/domain/state.h"

/* In the order of values(). */
static const char *const names[] = {
    "pushed",       "pulled",         "full",          "malformed", "refused_index", "refused_generation",
    "refused_type", "refused_rights", "refused_range",
};
#define NAMES (sizeof names / sizeof names[0])
_Static_assert(NAMES == 4 + CAPABILITY_REFUSALS, "one for each reason");
_Static_assert(NAMES * 2 * 5 <= STATUS_COUNTERS, "both ends of five channels");

static void name_ports(struct domain *domain, struct status_counter *page)
{
    for (; domain->ports_named < domain->port_count; domain->ports_named++) {
        const struct domain_port *port = domain->port[domain->ports_named];
        for (uint32_t i = 0; i < NAMES; i++) {
            char name[STATUS_COUNTER_NAME];
            snprintf(name, sizeof name, "%s_%s_%s", domain->table[port->server]->name,
                     domain->table[port->peer] != NULL ? domain->table[port->peer]->name : "none", names[i]);
            counters_name(page, domain->ports_named * (uint32_t)NAMES + i, name);
        }
    }
}

void counters_of_ports(struct domain *domain)
{
    struct status_counter *page = domain->counters->counter[DOMAIN_COUNTERS];
    name_ports(domain, page);
    uint32_t place = 0;
    for (uint32_t p = 0; p < domain->port_count; p++) {
        const struct port *port = &domain->port[p]->port;
        const uint64_t values[4] = {port->counters.pushed, port->counters.pulled, port->counters.full,
                                    port->counters.malformed};
        for (uint32_t i = 0; i < 4; i++)
            place = counters_value(page, place, values[i]);
        for (uint32_t i = 0; i < CAPABILITY_REFUSALS; i++)
            place = counters_value(page, place, port->table.refused[i]);
    }
}
