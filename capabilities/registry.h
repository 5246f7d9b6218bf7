// SPDX-License-Identifier: BSD-2-Clause
/* The derivation tree of every capability that was granted (DESIGN section 5). It lives in private memory of the one
 * who grants: the supervisor. A node is one grant: who holds it, in what form (the authority itself, a descriptor, an
 * entry of a table), of which object, with which rights over which part. A root is minted for an object's owner; all
 * else is derived from a node that is there, with no more than that has.
 *
 * An end comes in one of two ways. registry_revoke() takes a node and everything below it: from then on nothing can be
 * derived there, its index is of another generation, and each node stays until its holder has given it back or died.
 * registry_drop() is the death of a holder: what it held is gone with its memory; what others had by way of it stays
 * theirs, and moves up to what it was derived from. A node is free once nobody holds it and nothing is below it.
 *
 * Limits: as many nodes as the owner has memory for; REGISTRY_INDICES indices, REGISTRY_TABLES tables. */
#ifndef BULKHEAD_CAPABILITIES_REGISTRY_H
#define BULKHEAD_CAPABILITIES_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "capabilities/table.h"

#define REGISTRY_INDICES   CAPABILITY_TABLE_MAX
#define REGISTRY_TABLES    32
#define REGISTRY_SLOT_BITS 15
#define REGISTRY_NODES_MAX (1U << REGISTRY_SLOT_BITS)
#define REGISTRY_NONE      0U /* no node's id */
#define REGISTRY_ANYBODY   UINT16_MAX

enum registry_form {
    REGISTRY_AUTHORITY = 0, /* what its holder has by being who it is */
    REGISTRY_DESCRIPTOR = 1,
    REGISTRY_ENTRY = 2, /* in a table: `table`, `index`, `generation` */
};

struct registry_grant {
    uint16_t holder; /* the owner's numbering, as those of type, part and table; not REGISTRY_ANYBODY */
    uint8_t form;    /* enum registry_form */
    uint8_t type;
    uint8_t part[2];            /* which object of its type */
    uint8_t table;              /* ENTRY: below REGISTRY_TABLES */
    uint8_t protocol;           /* 0: any */
    uint16_t index, generation; /* ENTRY, and objects that have an index of their own; else 0 */
    uint32_t rights;            /* enum capability_right */
    uint32_t addresses;         /* a mask over the owner's list */
    uint32_t object;
    uint64_t offset, length; /* of the object */
};

struct registry_node {
    struct registry_grant grant;
    uint32_t id;                            /* REGISTRY_NONE: free */
    uint32_t parent, child, next, previous; /* slots; REGISTRY_NODES_MAX: none. Free ones are linked by `next` */
    uint32_t use;                           /* of the slot: part of the id, so that a stale one finds nothing */
    bool root;                              /* minted: has `grant.index` to give back */
    bool held;                              /* its holder has it */
    bool revoked;                           /* ... and is to give it back */
    bool visiting;
    uint64_t epoch; /* the owner's: what the holder was asked with; 0: not asked */
};

struct registry {
    struct registry_node *node; /* owner's memory */
    uint32_t capacity, high;    /* slots from `high` on were never used */
    uint32_t free;              /* first free slot below `high` */
    uint32_t count;
    uint64_t changes; /* moves with every one */
    uint16_t generation[REGISTRY_INDICES]; /* that entries with this index may have now */
    bool used[REGISTRY_INDICES];
    uint32_t refused[REGISTRY_INDICES]; /* mask of tables in which this generation was revoked */
};

enum registry_outcome {
    REGISTRY_OK = 0,
    REGISTRY_REFUSED_PARENT, /* no such node, revoked, or nobody holds it */
    REGISTRY_REFUSED_RIGHTS, /* more than the parent has */
    REGISTRY_REFUSED_RANGE,
    REGISTRY_REFUSED_PROTOCOL,
    REGISTRY_REFUSED_ADDRESSES,
    REGISTRY_REFUSED_OBJECT,     /* another one than the parent's */
    REGISTRY_REFUSED_GENERATION, /* a stale one, or revoked in that table */
    REGISTRY_FULL,
    REGISTRY_OUTCOMES
};

void registry_init(struct registry *registry, struct registry_node *nodes, uint32_t capacity); /* zeroed nodes */

/* A free index from `first` on and its generation, never 0. False: none. */
bool registry_index_take(struct registry *registry, uint16_t first, uint16_t *ret_index, uint16_t *ret_generation);
/* One that no root was minted with is given back: a root gives its own. */
void registry_index_free(struct registry *registry, uint16_t index);
/* An index below those taken: its entries are made anew with their channel, under the generation that it has. */
void registry_table_renew(struct registry *registry, uint8_t table, uint16_t index);

/* A new object. `under`: a node whose revocation is to take this one too, or REGISTRY_NONE. REGISTRY_OK,
 * REFUSED_PARENT, FULL. The grant's index, if not 0, is the root's from now on. */
enum registry_outcome registry_mint(struct registry *registry, uint32_t under, const struct registry_grant *grant,
                                    uint32_t *ret_id) __attribute__((warn_unused_result));
/* All of enum registry_outcome; ret_id is untouched unless REGISTRY_OK. */
enum registry_outcome registry_delegate(struct registry *registry, uint32_t parent, const struct registry_grant *grant,
                                        uint32_t *ret_id) __attribute__((warn_unused_result));
/* Derived from `parent` from now on, with the same checks as delegating it; nothing changes if refused. */
enum registry_outcome registry_adopt(struct registry *registry, uint32_t id, uint32_t parent)
    __attribute__((warn_unused_result));

/* NULL: no such node (any more). */
const struct registry_node *registry_node(const struct registry *registry, uint32_t id);
/* The next of `top` and all below it, each before what is derived from it; NULL: `after` was the last. `after` NULL:
 * the first. */
const struct registry_node *registry_walk(const struct registry *registry, const struct registry_node *top,
                                          const struct registry_node *after);
/* How far below `top`, which is it or above it. */
uint32_t registry_depth(const struct registry *registry, const struct registry_node *top,
                        const struct registry_node *node);
const struct registry_node *registry_parent(const struct registry *registry, const struct registry_node *node);

/* Revokes it and all below; each calls `taken`, what is derived before what it was derived from, once. It may ask the
 * holder for it (registry_ask) or say that it was given back at once (registry_given_back); no more. Returns how many.
 */
typedef void registry_taken(void *data, const struct registry_node *node);
uint32_t registry_revoke(struct registry *registry, uint32_t id, registry_taken *taken, void *data);
void registry_ask(struct registry *registry, uint32_t id, uint64_t epoch);
/* A revoked one is no longer with its holder. */
void registry_given_back(struct registry *registry, uint32_t id);
/* All revoked ones that this holder was asked for with this epoch. Returns how many. */
uint32_t registry_acknowledge(struct registry *registry, uint16_t holder, uint64_t epoch);
/* The holder is dead. Roots of its are not revoked: who minted them says what becomes of the object. */
void registry_drop(struct registry *registry, uint16_t holder);

/* Untrusted: index, generation. The live entry of that table, or NULL. */
const struct registry_node *registry_entry(const struct registry *registry, uint8_t table, uint16_t index,
                                           uint16_t generation);
/* Every node in use, in no order: `*position` starts at 0. NULL: the end. */
const struct registry_node *registry_next(const struct registry *registry, uint32_t *position);

#endif
