// SPDX-License-Identifier: BSD-2-Clause
#include "capabilities/table.h"

#include <stddef.h>
#include <string.h>

void capability_table_init(struct capability_table *table, struct capability *entries)
{
    *table = (struct capability_table){.entry = entries};
}

bool capability_grant(struct capability_table *table, uint16_t index, const struct capability *capability)
{
    if (index >= CAPABILITY_TABLE_MAX)
        return false;
    table->entry[index] = *capability;
    if (index >= table->high)
        table->high = index + 1U;
    return true;
}

void capability_revoke(struct capability_table *table, uint16_t index)
{
    if (index < CAPABILITY_TABLE_MAX)
        memset(&table->entry[index], 0, sizeof table->entry[index]);
}

static const struct capability *refuse(struct capability_table *table, enum capability_refusal why)
{
    table->refused[why]++;
    return NULL;
}

const struct capability *capability_lookup(struct capability_table *table, uint16_t index, uint16_t generation,
                                           enum capability_type type, uint32_t rights)
{
    if (index >= CAPABILITY_TABLE_MAX || table->entry[index].type == CAPABILITY_NONE)
        return refuse(table, CAPABILITY_REFUSED_INDEX);
    const struct capability *c = &table->entry[index];
    if (c->generation != generation)
        return refuse(table, CAPABILITY_REFUSED_GENERATION);
    if (c->type != type)
        return refuse(table, CAPABILITY_REFUSED_TYPE);
    if ((c->rights & rights) != rights)
        return refuse(table, CAPABILITY_REFUSED_RIGHTS);
    return c;
}

const struct capability *capability_range(struct capability_table *table, uint16_t index, uint16_t generation,
                                          uint32_t offset, uint32_t length)
{
    const struct capability *c = capability_lookup(table, index, generation, CAPABILITY_POOL, CAPABILITY_READ);
    if (c != NULL && (offset > c->size || length > c->size - offset))
        return refuse(table, CAPABILITY_REFUSED_RANGE);
    return c;
}

bool capability_has_address(const struct capability *capability, const struct ip_address *address)
{
    for (unsigned i = 0; i < capability->address_count && i < CAPABILITY_ADDRESSES; i++)
        if (ip_address_equal(&capability->address[i], address))
            return true;
    return false;
}
