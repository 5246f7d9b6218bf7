// SPDX-License-Identifier: BSD-2-Clause
#include "capabilities/registry.h"

#include <stddef.h>
#include <string.h>

#define NOWHERE REGISTRY_NODES_MAX

void registry_init(struct registry *r, struct registry_node *nodes, uint32_t capacity)
{
    *r = (struct registry){.node = nodes, .free = NOWHERE};
    r->capacity = capacity < REGISTRY_NODES_MAX ? capacity : REGISTRY_NODES_MAX;
    for (uint32_t i = 0; i < REGISTRY_INDICES; i++)
        r->generation[i] = 1;
}

/* ---- indices ---- */
static void generation_move(struct registry *r, uint16_t index)
{
    if (++r->generation[index] == 0) /* 0 is never granted */
        r->generation[index] = 1;
    r->refused[index] = 0;
}

bool registry_index_take(struct registry *r, uint16_t first, uint16_t *ret_index, uint16_t *ret_generation)
{
    for (uint32_t i = first; i < REGISTRY_INDICES; i++) {
        if (r->used[i])
            continue;
        r->used[i] = true;
        *ret_index = (uint16_t)i;
        *ret_generation = r->generation[i];
        return true;
    }
    return false;
}

void registry_index_free(struct registry *r, uint16_t index)
{
    if (index >= REGISTRY_INDICES || !r->used[index])
        return;
    generation_move(r, index);
    r->used[index] = false;
}

void registry_table_renew(struct registry *r, uint8_t table, uint16_t index)
{
    if (table < REGISTRY_TABLES && index < REGISTRY_INDICES && !r->used[index])
        r->refused[index] &= ~(1U << table);
}

/* ---- nodes ---- */
static struct registry_node *at(const struct registry *r, uint32_t slot)
{
    return slot < r->high ? &r->node[slot] : NULL;
}

static uint32_t slot_of(const struct registry *r, const struct registry_node *n)
{
    return (uint32_t)(n - r->node);
}

static struct registry_node *find(const struct registry *r, uint32_t id)
{
    struct registry_node *n = at(r, id % REGISTRY_NODES_MAX);
    return n != NULL && id != REGISTRY_NONE && n->id == id ? n : NULL;
}

const struct registry_node *registry_node(const struct registry *r, uint32_t id)
{
    return find(r, id);
}

static void attach(struct registry *r, struct registry_node *n, struct registry_node *parent)
{
    uint32_t slot = slot_of(r, n);
    n->parent = n->next = n->previous = NOWHERE;
    if (parent == NULL)
        return;
    n->parent = slot_of(r, parent);
    n->next = parent->child;
    if (parent->child != NOWHERE)
        r->node[parent->child].previous = slot;
    parent->child = slot;
}

static void detach(struct registry *r, struct registry_node *n)
{
    if (n->previous != NOWHERE)
        r->node[n->previous].next = n->next;
    else if (n->parent != NOWHERE)
        r->node[n->parent].child = n->next;
    if (n->next != NOWHERE)
        r->node[n->next].previous = n->previous;
    n->parent = n->next = n->previous = NOWHERE;
}

static struct registry_node *node_new(struct registry *r, struct registry_node *parent,
                                      const struct registry_grant *grant)
{
    uint32_t slot = r->free;
    if (slot != NOWHERE)
        r->free = r->node[slot].next;
    else if (r->high < r->capacity)
        slot = r->high++;
    else
        return NULL;
    struct registry_node *n = &r->node[slot];
    uint32_t use = (n->use + 1) % (UINT32_MAX >> REGISTRY_SLOT_BITS);
    use = use == 0 ? 1 : use; /* so that no id is 0 */
    *n = (struct registry_node){
        .grant = *grant, .id = use << REGISTRY_SLOT_BITS | slot, .use = use, .child = NOWHERE, .held = true};
    attach(r, n, parent);
    r->changes++;
    r->count++;
    return n;
}

/* Nobody holds it and nothing is below it: it goes, and then perhaps what it was derived from. */
static void settle(struct registry *r, struct registry_node *n)
{
    while (n != NULL && !n->held && !n->visiting && n->child == NOWHERE) {
        struct registry_node *parent = at(r, n->parent);
        if (n->root && n->grant.index != 0) {
            if (n->revoked) /* the generation has moved on already */
                r->used[n->grant.index] = false;
            else
                registry_index_free(r, n->grant.index);
        }
        detach(r, n);
        r->changes++;
        n->id = REGISTRY_NONE;
        n->next = r->free;
        r->free = slot_of(r, n);
        r->count--;
        n = parent;
    }
}

enum registry_outcome registry_mint(struct registry *r, uint32_t under, const struct registry_grant *grant,
                                    uint32_t *ret_id)
{
    struct registry_node *parent = find(r, under);
    if (under != REGISTRY_NONE && (parent == NULL || parent->revoked))
        return REGISTRY_REFUSED_PARENT;
    struct registry_node *n = node_new(r, parent, grant);
    if (n == NULL)
        return REGISTRY_FULL;
    n->root = true;
    *ret_id = n->id;
    return REGISTRY_OK;
}

static enum registry_outcome derivable(const struct registry *r, const struct registry_node *parent,
                                       const struct registry_grant *grant)
{
    if (parent == NULL || parent->revoked || !parent->held)
        return REGISTRY_REFUSED_PARENT;
    const struct registry_grant *has = &parent->grant;
    if (has->object != grant->object || has->type != grant->type)
        return REGISTRY_REFUSED_OBJECT;
    if ((grant->rights & ~has->rights) != 0)
        return REGISTRY_REFUSED_RIGHTS;
    if (grant->offset < has->offset || grant->offset - has->offset > has->length ||
        grant->length > has->length - (grant->offset - has->offset))
        return REGISTRY_REFUSED_RANGE;
    if (has->protocol != 0 && grant->protocol != has->protocol)
        return REGISTRY_REFUSED_PROTOCOL;
    if ((grant->addresses & ~has->addresses) != 0)
        return REGISTRY_REFUSED_ADDRESSES;
    if (grant->form != REGISTRY_ENTRY)
        return REGISTRY_OK;
    if (grant->table >= REGISTRY_TABLES || grant->index >= REGISTRY_INDICES ||
        grant->generation != r->generation[grant->index] || (r->refused[grant->index] & 1U << grant->table) != 0)
        return REGISTRY_REFUSED_GENERATION;
    return REGISTRY_OK;
}

enum registry_outcome registry_delegate(struct registry *r, uint32_t parent, const struct registry_grant *grant,
                                        uint32_t *ret_id)
{
    struct registry_node *from = find(r, parent);
    enum registry_outcome outcome = derivable(r, from, grant);
    if (outcome != REGISTRY_OK)
        return outcome;
    struct registry_node *n = node_new(r, from, grant);
    if (n == NULL)
        return REGISTRY_FULL;
    *ret_id = n->id;
    return REGISTRY_OK;
}

enum registry_outcome registry_adopt(struct registry *r, uint32_t id, uint32_t parent)
{
    struct registry_node *n = find(r, id), *to = find(r, parent), *old;
    if (n == NULL || n->revoked || n->root)
        return REGISTRY_REFUSED_PARENT;
    enum registry_outcome outcome = derivable(r, to, &n->grant);
    for (struct registry_node *above = to; above != NULL && outcome == REGISTRY_OK; above = at(r, above->parent))
        outcome = above == n ? REGISTRY_REFUSED_PARENT : REGISTRY_OK; /* nothing is derived from itself */
    if (outcome != REGISTRY_OK)
        return outcome;
    r->changes++;
    old = at(r, n->parent);
    detach(r, n);
    attach(r, n, to);
    settle(r, old);
    return REGISTRY_OK;
}

/* ---- looking ---- */
const struct registry_node *registry_walk(const struct registry *r, const struct registry_node *top,
                                          const struct registry_node *after)
{
    if (after == NULL)
        return top;
    if (after->child != NOWHERE)
        return &r->node[after->child];
    while (after != top && after->next == NOWHERE)
        after = &r->node[after->parent];
    return after == top ? NULL : &r->node[after->next];
}

const struct registry_node *registry_parent(const struct registry *r, const struct registry_node *node)
{
    return at(r, node->parent);
}

uint32_t registry_depth(const struct registry *r, const struct registry_node *top, const struct registry_node *node)
{
    uint32_t depth = 0;
    for (; node != top && node->parent != NOWHERE; node = &r->node[node->parent])
        depth++;
    return depth;
}

const struct registry_node *registry_next(const struct registry *r, uint32_t *position)
{
    while (*position < r->high) {
        const struct registry_node *n = &r->node[(*position)++];
        if (n->id != REGISTRY_NONE)
            return n;
    }
    return NULL;
}

const struct registry_node *registry_entry(const struct registry *r, uint8_t table, uint16_t index, uint16_t generation)
{
    const struct registry_node *n;
    for (uint32_t position = 0; (n = registry_next(r, &position)) != NULL;) {
        const struct registry_grant *g = &n->grant;
        if (g->form == REGISTRY_ENTRY && g->table == table && g->index == index && g->generation == generation &&
            n->held && !n->revoked)
            return n;
    }
    return NULL;
}

/* ---- ends ---- */
static struct registry_node *deepest(const struct registry *r, struct registry_node *n)
{
    while (n->child != NOWHERE)
        n = &r->node[n->child];
    return n;
}

static void mark_revoked(struct registry *r, struct registry_node *n)
{
    uint16_t index = n->grant.index;
    n->revoked = true;
    r->changes++;
    if (n->root && index != 0)
        generation_move(r, index);
    else if (n->grant.form == REGISTRY_ENTRY && n->grant.generation == r->generation[index])
        r->refused[index] |= 1U << n->grant.table;
}

uint32_t registry_revoke(struct registry *r, uint32_t id, registry_taken *taken, void *data)
{
    struct registry_node *top = find(r, id);
    uint32_t count = 0;
    if (top == NULL)
        return 0;
    for (struct registry_node *n = top; n != NULL; n = (struct registry_node *)registry_walk(r, top, n))
        n->visiting = true; /* none goes before its turn */
    for (struct registry_node *n = deepest(r, top), *then; n != NULL; n = then) {
        then = n == top ? NULL : n->next != NOWHERE ? deepest(r, &r->node[n->next]) : &r->node[n->parent];
        n->visiting = false;
        bool news = !n->revoked;
        if (news)
            mark_revoked(r, n);
        count += news;
        if (news && n->held && taken != NULL)
            taken(data, n);
        else
            settle(r, n);
    }
    return count;
}

void registry_ask(struct registry *r, uint32_t id, uint64_t epoch)
{
    struct registry_node *n = find(r, id);
    if (n != NULL && n->revoked)
        n->epoch = epoch;
}

void registry_given_back(struct registry *r, uint32_t id)
{
    struct registry_node *n = find(r, id);
    if (n == NULL || !n->revoked)
        return;
    n->held = false;
    settle(r, n);
}

uint32_t registry_acknowledge(struct registry *r, uint16_t holder, uint64_t epoch)
{
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < r->high && epoch != 0; slot++) {
        struct registry_node *n = &r->node[slot];
        if (n->id == REGISTRY_NONE || !n->held || !n->revoked || n->grant.holder != holder || n->epoch != epoch)
            continue;
        n->held = false;
        settle(r, n);
        count++;
    }
    return count;
}

/* What others had by way of it goes up to where that came from. */
static void children_up(struct registry *r, struct registry_node *n)
{
    struct registry_node *parent = at(r, n->parent);
    while (parent != NULL && n->child != NOWHERE) {
        struct registry_node *child = &r->node[n->child];
        r->changes++;
        detach(r, child);
        attach(r, child, parent);
    }
}

void registry_drop(struct registry *r, uint16_t holder)
{
    for (uint32_t slot = 0; slot < r->high; slot++) {
        struct registry_node *n = &r->node[slot];
        if (n->id == REGISTRY_NONE || n->grant.holder != holder || !n->held)
            continue;
        n->held = false;
        if (!n->root)
            children_up(r, n);
        settle(r, n);
    }
}
