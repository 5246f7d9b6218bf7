// SPDX-License-Identifier: BSD-2-Clause
#include "capabilities/policy.h"

#include <stddef.h>
#include <string.h>

const struct policy_rule *policy_match(const struct policy *policy, uint32_t uid, uint32_t gid)
{
    for (uint32_t i = 0; i < policy->count && i < POLICY_RULES; i++) {
        const struct policy_rule *rule = &policy->rule[i];
        if ((rule->uid == POLICY_ANY || rule->uid == uid) && (rule->gid == POLICY_ANY || rule->gid == gid))
            return rule;
    }
    return NULL;
}

static bool in_prefix(const struct policy_span *span, const struct ip_address *address)
{
    uint32_t whole = span->prefix_length / 8, rest = span->prefix_length % 8;
    if (span->prefix.family == ADDRESS_NONE)
        return true;
    if (span->prefix.family != address->family || span->prefix_length > 8 * sizeof address->octets ||
        memcmp(span->prefix.octets, address->octets, whole) != 0)
        return false;
    return rest == 0 || (span->prefix.octets[whole] ^ address->octets[whole]) >> (8 - rest) == 0;
}

bool policy_permits(const struct policy_list *list, uint8_t protocol, const struct ip_address *address, uint16_t port)
{
    for (uint32_t i = 0; i < list->count && i < POLICY_SPANS; i++) {
        const struct policy_span *span = &list->span[i];
        if ((span->protocol == 0 || span->protocol == protocol) && port >= span->port_first &&
            port <= span->port_last && in_prefix(span, address))
            return true;
    }
    return false;
}

void policy_list_all(struct policy_list *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->count = 1;
    ret->span[0].port_last = UINT16_MAX;
}
