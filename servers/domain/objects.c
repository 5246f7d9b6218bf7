// SPDX-License-Identifier: BSD-2-Clause
/* Objects: the memory that entries of capability tables stand for. One object may stand in several tables of the
 * domain; it is mapped once. Entries and mappings may come in either order: an entry whose mapping is not there yet
 * names nothing (size 0), so no server can be led to a missing base.
 *
 * #syscalls munmap */
#include <errno.h>

#include "ipc/segment.h"
#include "servers/domain/state.h"

/* Entries that name the object follow its mapping; `memory` NULL revokes them. */
static void entries_follow(struct domain *domain, uint32_t id, const void *memory, uint32_t octets)
{
    for (uint32_t p = 0; p < domain->port_count; p++) {
        struct capability_table *table = &domain->port[p]->port.table;
        for (uint16_t i = 0; i < table->high; i++) {
            struct capability *entry = &table->entry[i];
            if (entry->type != CAPABILITY_POOL || entry->object != id)
                continue;
            if (memory == NULL) {
                capability_revoke(table, i);
            } else if (entry->base != NULL || entry->size == 0) {
                entry->base = memory;
                entry->size = octets;
            }
        }
    }
}

static struct domain_object *find(struct domain *domain, uint32_t id)
{
    for (uint32_t i = 0; i < domain->object_count; i++)
        if (domain->object[i].used && domain->object[i].id == id)
            return &domain->object[i];
    return NULL;
}

const struct domain_object *object_find(const struct domain *domain, uint32_t id)
{
    return find((struct domain *)domain, id);
}

static struct domain_object *free_place(struct domain *domain)
{
    for (uint32_t i = 0; i < domain->object_count; i++)
        if (!domain->object[i].used)
            return &domain->object[i];
    return domain->object_count < DOMAIN_OBJECTS ? &domain->object[domain->object_count++] : NULL;
}

int object_add(struct domain *domain, const struct domain_object *object)
{
    struct domain_object *known = find(domain, object->id);
    struct domain_object *place = known != NULL ? known : free_place(domain);
    if (place == NULL ||
        (known != NULL && known->memory != NULL && object->memory != NULL && known->octets != object->octets)) {
        segment_unmap(object->memory, object->octets);
        return place == NULL ? -ENOSPC : -EINVAL;
    }
    if (known != NULL && (object->memory == NULL || (known->memory != NULL && known->writable >= object->writable))) {
        segment_unmap(object->memory, object->octets);
        return 0;
    }
    struct domain_object old = *place;
    *place = *object;
    place->used = true;
    if (place->memory != NULL)
        entries_follow(domain, place->id, place->memory, place->octets);
    if (known != NULL)
        segment_unmap(old.memory, old.octets);
    return 0;
}

void object_drop(struct domain *domain, uint32_t id)
{
    struct domain_object *object = find(domain, id);
    entries_follow(domain, id, NULL, 0);
    if (object == NULL)
        return;
    segment_unmap(object->memory, object->octets);
    *object = (struct domain_object){.used = false};
}

void object_drop_session(struct domain *domain, uint32_t session)
{
    for (uint32_t i = 0; i < domain->object_count; i++)
        if (domain->object[i].used && domain->object[i].session == session)
            object_drop(domain, domain->object[i].id);
}
