// SPDX-License-Identifier: BSD-2-Clause
/* The derivation tree: what may be derived, what a revocation takes and what it leaves, and random lives of it against
 * a model that is a list. */
#include "capabilities/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/suite.h"

#define NODES   24
#define HOLDERS 4

static struct registry_node nodes[NODES];
static struct registry r;

static void setup(void)
{
    memset(nodes, 0, sizeof nodes);
    registry_init(&r, nodes, NODES);
}

static struct registry_grant pool(uint16_t holder, uint32_t rights)
{
    return (struct registry_grant){.holder = holder,
                                   .form = REGISTRY_DESCRIPTOR,
                                   .type = CAPABILITY_POOL,
                                   .rights = rights,
                                   .object = 7,
                                   .length = 1000,
                                   .protocol = 0,
                                   .addresses = 3};
}

static uint32_t mint(uint16_t holder)
{
    struct registry_grant grant = pool(holder, CAPABILITY_READ | CAPABILITY_WRITE);
    uint16_t generation;
    uint32_t id;
    ck_assert(registry_index_take(&r, 16, &grant.index, &generation));
    ck_assert_int_eq(registry_mint(&r, REGISTRY_NONE, &grant, &id), REGISTRY_OK);
    return id;
}

static uint32_t derive(uint32_t parent, uint16_t holder)
{
    struct registry_grant grant = pool(holder, CAPABILITY_READ);
    uint32_t id;
    ck_assert_int_eq(registry_delegate(&r, parent, &grant, &id), REGISTRY_OK);
    return id;
}

static struct registry_grant entry(uint16_t holder, uint8_t table, uint16_t index)
{
    struct registry_grant grant = pool(holder, CAPABILITY_READ);
    grant.form = REGISTRY_ENTRY;
    grant.table = table;
    grant.index = index;
    grant.generation = r.generation[index];
    return grant;
}

static const struct {
    const char *name;
    struct registry_grant grant; /* instead of the parent's own: READ of octets 100 to 199, TCP, address 0 */
    enum registry_outcome outcome;
} rows[] = {
    {"the same", {.rights = CAPABILITY_READ, .offset = 100, .length = 100, .protocol = 6, .addresses = 1}, REGISTRY_OK},
    {"less of everything", {.offset = 150, .protocol = 6}, REGISTRY_OK},
    {"a right more",
     {.rights = CAPABILITY_READ | CAPABILITY_WRITE, .offset = 100, .protocol = 6},
     REGISTRY_REFUSED_RIGHTS},
    {"another right", {.rights = CAPABILITY_SEND, .offset = 100, .protocol = 6}, REGISTRY_REFUSED_RIGHTS},
    {"from before", {.offset = 99, .protocol = 6}, REGISTRY_REFUSED_RANGE},
    {"to beyond", {.offset = 100, .length = 101, .protocol = 6}, REGISTRY_REFUSED_RANGE},
    {"behind", {.offset = 201, .protocol = 6}, REGISTRY_REFUSED_RANGE},
    {"a length that wraps", {.offset = 150, .length = UINT64_MAX - 49, .protocol = 6}, REGISTRY_REFUSED_RANGE},
    {"another protocol", {.offset = 100, .protocol = 17}, REGISTRY_REFUSED_PROTOCOL},
    {"any protocol", {.offset = 100, .protocol = 0}, REGISTRY_REFUSED_PROTOCOL},
    {"another address", {.offset = 100, .protocol = 6, .addresses = 2}, REGISTRY_REFUSED_ADDRESSES},
    {"another object", {.offset = 100, .protocol = 6, .object = 1}, REGISTRY_REFUSED_OBJECT},
    {"another type", {.offset = 100, .protocol = 6, .type = CAPABILITY_LINK}, REGISTRY_REFUSED_OBJECT},
    {"an old generation",
     {.form = REGISTRY_ENTRY, .offset = 100, .protocol = 6, .index = 20, .generation = 9},
     REGISTRY_REFUSED_GENERATION},
    {"no such table",
     {.form = REGISTRY_ENTRY, .offset = 100, .protocol = 6, .index = 20, .generation = 1, .table = 32},
     REGISTRY_REFUSED_GENERATION},
    {"no such index",
     {.form = REGISTRY_ENTRY, .offset = 100, .protocol = 6, .index = REGISTRY_INDICES, .generation = 1},
     REGISTRY_REFUSED_GENERATION},
    {"an entry", {.form = REGISTRY_ENTRY, .offset = 100, .protocol = 6, .index = 20, .generation = 1}, REGISTRY_OK},
};

START_TEST(no_more_than_the_parent_has)
{
    uint32_t top = mint(1), parent, id;
    struct registry_grant part = pool(1, CAPABILITY_READ);
    part.offset = part.length = 100;
    part.protocol = 6;
    part.addresses = 1;
    ck_assert_int_eq(registry_delegate(&r, top, &part, &parent), REGISTRY_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct registry_grant grant = rows[i].grant;
        uint32_t count = r.count;
        grant.object = grant.object != 0 ? grant.object : part.object;
        grant.type = grant.type != 0 ? grant.type : part.type;
        enum registry_outcome outcome = registry_delegate(&r, parent, &grant, &id);
        ck_assert_msg(outcome == rows[i].outcome, "%s: %d", rows[i].name, outcome);
        ck_assert_uint_eq(r.count, count + (outcome == REGISTRY_OK));
    }
}
END_TEST

struct taken {
    uint32_t count, id[NODES];
    uint16_t dead;
};

static void take(void *data, const struct registry_node *node)
{
    struct taken *taken = data;
    taken->id[taken->count++] = node->id;
    if (node->grant.holder == taken->dead)
        registry_given_back(&r, node->id);
    else
        registry_ask(&r, node->id, 5);
}

START_TEST(revocation_takes_all_below_and_nothing_beside)
{
    uint32_t top = mint(1), other = mint(1), left = derive(top, 1), middle = derive(top, 2), right = derive(top, 3),
             below = derive(middle, 3), lowest = derive(below, 2), aside = derive(right, 2), id;
    struct taken taken = {.dead = REGISTRY_ANYBODY};
    ck_assert_uint_eq(registry_revoke(&r, middle, take, &taken), 3);
    ck_assert_uint_eq(taken.count, 3);
    ck_assert_uint_eq(taken.id[0], lowest); /* children first */
    ck_assert_uint_eq(taken.id[1], below);
    ck_assert_uint_eq(taken.id[2], middle);
    const uint32_t stays[] = {top, other, left, right, aside};
    for (size_t i = 0; i < sizeof stays / sizeof stays[0]; i++)
        ck_assert(!registry_node(&r, stays[i])->revoked);
    struct registry_grant grant = pool(1, 0);
    ck_assert_int_eq(registry_delegate(&r, below, &grant, &id), REGISTRY_REFUSED_PARENT);
    ck_assert_uint_eq(registry_revoke(&r, middle, take, &taken), 0); /* once */
    ck_assert_uint_eq(registry_acknowledge(&r, 2, 4), 0);            /* an older question */
    ck_assert_uint_eq(registry_acknowledge(&r, 2, 5), 2);
    ck_assert_ptr_null(registry_node(&r, lowest));
    ck_assert_ptr_nonnull(registry_node(&r, middle)); /* 3 has not answered: what is below it is not gone */
    ck_assert_uint_eq(registry_acknowledge(&r, 3, 5), 1);
    ck_assert_ptr_null(registry_node(&r, middle));
    ck_assert_uint_eq(r.count, 5);
    id = derive(top, 2); /* in the slot of one of them */
    ck_assert_ptr_null(registry_node(&r, below));
    ck_assert_ptr_null(registry_node(&r, middle));
    ck_assert_ptr_nonnull(registry_node(&r, id));
}
END_TEST

START_TEST(a_generation_is_over_with_its_object)
{
    uint32_t top = mint(1), id, again;
    uint16_t index = registry_node(&r, top)->grant.index, next;
    struct registry_grant grant = entry(2, 3, index);
    ck_assert_int_eq(registry_delegate(&r, top, &grant, &id), REGISTRY_OK);
    ck_assert_ptr_nonnull(registry_entry(&r, 3, index, 1));
    ck_assert_ptr_null(registry_entry(&r, 4, index, 1));
    struct taken taken = {.dead = REGISTRY_ANYBODY};
    registry_revoke(&r, top, take, &taken);
    ck_assert_ptr_null(registry_entry(&r, 3, index, 1));
    uint32_t fresh = mint(1);
    next = registry_node(&r, fresh)->grant.index;
    ck_assert_uint_ne(next, index); /* somebody may still name the old one */
    registry_acknowledge(&r, 2, 5);
    registry_acknowledge(&r, 1, 5);
    again = mint(1);
    ck_assert_uint_eq(registry_node(&r, again)->grant.index, index);
    ck_assert_int_eq(registry_delegate(&r, again, &grant, &id), REGISTRY_REFUSED_GENERATION);
    grant.generation = 2;
    ck_assert_int_eq(registry_delegate(&r, again, &grant, &id), REGISTRY_OK);
    r.generation[40] = UINT16_MAX;
    r.used[40] = true;
    registry_index_free(&r, 40);
    ck_assert_uint_eq(r.generation[40], 1); /* never 0 */
}
END_TEST

START_TEST(what_was_revoked_in_a_table_stays_out_of_it)
{
    uint32_t top = mint(1), id;
    uint16_t index = registry_node(&r, top)->grant.index;
    struct registry_grant grant = entry(2, 3, index), beside = entry(2, 4, index), fixed = entry(2, 3, 1);
    ck_assert_int_eq(registry_delegate(&r, top, &grant, &id), REGISTRY_OK);
    registry_drop(&r, 2); /* a death is no revocation */
    ck_assert_int_eq(registry_delegate(&r, top, &grant, &id), REGISTRY_OK);
    struct taken taken = {.dead = 2};
    registry_revoke(&r, id, take, &taken);
    ck_assert_int_eq(registry_delegate(&r, top, &grant, &id), REGISTRY_REFUSED_GENERATION);
    ck_assert_int_eq(registry_delegate(&r, top, &beside, &id), REGISTRY_OK);
    registry_table_renew(&r, 3, index); /* not while the object is the same */
    ck_assert_int_eq(registry_delegate(&r, top, &grant, &id), REGISTRY_REFUSED_GENERATION);
    ck_assert_int_eq(registry_delegate(&r, top, &fixed, &id), REGISTRY_OK);
    registry_revoke(&r, id, take, &taken);
    ck_assert_int_eq(registry_delegate(&r, top, &fixed, &id), REGISTRY_REFUSED_GENERATION);
    registry_table_renew(&r, 3, 1);
    ck_assert_int_eq(registry_delegate(&r, top, &fixed, &id), REGISTRY_OK);
}
END_TEST

START_TEST(the_death_of_one_between_leaves_the_others)
{
    uint32_t top = mint(1), between = derive(top, 2), below = derive(between, 3), other = derive(top, 2), id;
    registry_drop(&r, 2);
    ck_assert_ptr_null(registry_node(&r, between));
    ck_assert_ptr_null(registry_node(&r, other));
    ck_assert_ptr_eq(registry_parent(&r, registry_node(&r, below)), registry_node(&r, top));
    between = derive(top, 2);
    ck_assert_int_eq(registry_adopt(&r, below, between), REGISTRY_OK);
    ck_assert_ptr_eq(registry_parent(&r, registry_node(&r, below)), registry_node(&r, between));
    ck_assert_int_eq(registry_adopt(&r, between, below), REGISTRY_REFUSED_PARENT); /* no rings */
    ck_assert_int_eq(registry_adopt(&r, top, below), REGISTRY_REFUSED_PARENT);
    registry_drop(&r, 1); /* the owner: the object is there until it is revoked */
    ck_assert_ptr_nonnull(registry_node(&r, top));
    struct registry_grant grant = pool(4, 0);
    ck_assert_int_eq(registry_delegate(&r, top, &grant, &id), REGISTRY_REFUSED_PARENT);
    struct taken taken = {.dead = 3};
    ck_assert_uint_eq(registry_revoke(&r, top, take, &taken), 3);
    ck_assert_uint_eq(taken.count, 2); /* nobody holds the root */
    ck_assert_uint_eq(r.count, 2);
    ck_assert_uint_eq(registry_acknowledge(&r, 2, 5), 1);
    ck_assert_uint_eq(r.count, 0);
}
END_TEST

START_TEST(parts_end_with_their_whole)
{
    uint32_t session = mint(1), arena;
    struct registry_grant grant = pool(1, CAPABILITY_WRITE);
    grant.object = 8;
    grant.index = 500;
    r.used[500] = true;
    ck_assert_int_eq(registry_mint(&r, session, &grant, &arena), REGISTRY_OK);
    struct taken taken = {.dead = 1};
    ck_assert_uint_eq(registry_revoke(&r, session, take, &taken), 2);
    ck_assert_uint_eq(r.count, 0);
    ck_assert(!r.used[500]);
    ck_assert_uint_eq(r.generation[500], 2);
    ck_assert_int_eq(registry_mint(&r, session, &grant, &arena), REGISTRY_REFUSED_PARENT);
}
END_TEST

START_TEST(there_is_an_end)
{
    uint32_t top = mint(1), id;
    while (r.count < NODES)
        derive(top, 2);
    struct registry_grant grant = pool(3, 0);
    ck_assert_int_eq(registry_delegate(&r, top, &grant, &id), REGISTRY_FULL);
    ck_assert_int_eq(registry_mint(&r, REGISTRY_NONE, &grant, &id), REGISTRY_FULL);
    registry_drop(&r, 2);
    ck_assert_uint_eq(r.count, 1);
    derive(top, 2);
    uint16_t index, generation;
    for (uint32_t i = 17; i < REGISTRY_INDICES; i++)
        ck_assert(registry_index_take(&r, 16, &index, &generation));
    ck_assert(!registry_index_take(&r, 16, &index, &generation));
}
END_TEST

/* ---- a model: a list, looked through from end to end for everything ---- */
struct model {
    uint32_t id, parent; /* ids; parent 0 of a root */
    uint32_t rights;
    uint16_t holder;
    bool there, root, held, revoked, asked;
};
static struct model model[2 * NODES];
static unsigned models;

static struct model *model_of(uint32_t id)
{
    for (unsigned i = models; i-- > 0;) {
        if (model[i].id == id && model[i].there)
            return &model[i];
    }
    return NULL;
}

static void model_settle(void)
{
    for (bool again = true; again;) {
        again = false;
        for (unsigned i = 0; i < models; i++) {
            bool parent = false;
            for (unsigned j = 0; j < models; j++)
                parent = parent || (model[j].there && model[j].parent == model[i].id);
            if (model[i].there && !model[i].held && !parent) {
                model[i].there = false;
                again = true;
            }
        }
    }
    unsigned kept = 0;
    for (unsigned i = 0; i < models; i++) {
        if (model[i].there)
            model[kept++] = model[i];
    }
    models = kept;
}

static bool model_below(uint32_t id, uint32_t top)
{
    while (id != top && id != 0)
        id = model_of(id)->parent;
    return id == top;
}

static void model_drop(uint16_t holder)
{
    for (unsigned i = 0; i < models; i++) {
        if (model[i].holder != holder || !model[i].held)
            continue;
        model[i].held = false;
        for (unsigned j = 0; j < models && !model[i].root; j++) {
            if (model[j].parent == model[i].id)
                model[j].parent = model[i].parent;
        }
    }
}

static void model_compare(unsigned seed, unsigned step)
{
    uint32_t position = 0;
    model_settle();
    ck_assert_msg(r.count == models, "seed %u step %u: %u nodes, %u", seed, step, r.count, models);
    for (const struct registry_node *n; (n = registry_next(&r, &position)) != NULL;) {
        const struct model *m = model_of(n->id);
        const struct registry_node *parent = registry_parent(&r, n);
        ck_assert_msg(m != NULL && m->parent == (parent != NULL ? parent->id : 0) && m->held == n->held &&
                          m->revoked == n->revoked,
                      "seed %u step %u: node %x", seed, step, n->id);
    }
    for (unsigned i = 0; i < models; i++) { /* the walk meets exactly what is below */
        const struct registry_node *top = registry_node(&r, model[i].id), *n = NULL;
        unsigned met = 0, below = 0;
        while ((n = registry_walk(&r, top, n)) != NULL)
            met += model_below(n->id, top->id);
        for (unsigned j = 0; j < models; j++)
            below += model_below(model[j].id, top->id);
        ck_assert_msg(met == below, "seed %u step %u: %u met, %u below", seed, step, met, below);
    }
}

static void model_take(void *data, const struct registry_node *node)
{
    struct model *m = model_of(node->id);
    m->asked = *(unsigned *)data % 2 == 0;
    if (m->asked) {
        registry_ask(&r, node->id, 9);
    } else {
        m->held = false;
        registry_given_back(&r, node->id);
    }
}

static void model_step(unsigned *random)
{
    uint32_t position = rand_r(random) % NODES, id = 0;
    const struct registry_node *n = registry_next(&r, &position);
    uint16_t holder = (uint16_t)(rand_r(random) % HOLDERS);
    struct registry_grant grant = pool(holder, (uint32_t)rand_r(random) % 8);
    struct model made = {.there = true, .held = true, .holder = holder, .rights = grant.rights};
    const struct model *m = n != NULL ? model_of(n->id) : NULL;
    enum registry_outcome outcome = REGISTRY_FULL;
    switch (rand_r(random) % 16) {
    case 0:
        made.root = true;
        outcome = registry_mint(&r, REGISTRY_NONE, &grant, &id);
        break;
    case 1:
        registry_drop(&r, holder);
        model_drop(holder);
        break;
    case 2:
        registry_acknowledge(&r, holder, 9);
        for (unsigned i = 0; i < models; i++)
            model[i].held = model[i].held && !(model[i].asked && model[i].holder == holder);
        break;
    case 3:
        for (unsigned i = 0; i < models && m != NULL; i++)
            model[i].revoked = model[i].revoked || model_below(model[i].id, m->id);
        if (m != NULL)
            registry_revoke(&r, m->id, model_take, random);
        break;
    case 4: {
        uint32_t other = rand_r(random) % NODES;
        const struct registry_node *to = registry_next(&r, &other);
        if (n == NULL || to == NULL)
            break;
        struct model *from = model_of(n->id), *target = model_of(to->id);
        bool may = !from->revoked && !from->root && !target->revoked && target->held &&
                   (from->rights & ~target->rights) == 0 && !model_below(target->id, from->id);
        ck_assert_int_eq(registry_adopt(&r, n->id, to->id) == REGISTRY_OK, may);
        if (may)
            from->parent = target->id;
        break;
    }
    default:
        if (m == NULL)
            break;
        bool may = !m->revoked && m->held && (grant.rights & ~m->rights) == 0;
        made.parent = m->id;
        outcome = registry_delegate(&r, m->id, &grant, &id);
        ck_assert(outcome == (may ? models < NODES ? REGISTRY_OK : REGISTRY_FULL : outcome));
        ck_assert(may || (outcome != REGISTRY_OK && outcome != REGISTRY_FULL));
    }
    made.id = id;
    if (outcome == REGISTRY_OK)
        model[models++] = made;
}

START_TEST(random_lives_match_the_model)
{
    for (unsigned seed = 1; seed <= 40; seed++) {
        unsigned random = seed;
        setup();
        models = 0;
        for (unsigned step = 0; step < 500; step++) {
            model_step(&random);
            model_compare(seed, step);
        }
    }
}
END_TEST

SUITE_RUN("registry", setup, NULL, no_more_than_the_parent_has, revocation_takes_all_below_and_nothing_beside,
          a_generation_is_over_with_its_object, what_was_revoked_in_a_table_stays_out_of_it,
          the_death_of_one_between_leaves_the_others, parts_end_with_their_whole, there_is_an_end,
          random_lives_match_the_model)
