// SPDX-License-Identifier: BSD-2-Clause
/* A wrapper around a port that does a fault to its messages when its plan says so (ipc/inject.h): one fault, a number
 * of times, on messages that the plan's seed chooses among the next ones. It lies on the port's own operations or on
 * another wrapper, for good: when the plan is over it passes everything through. All ports of a server that are chosen
 * share its plan, so that the same messages in the same order have the same fault from the same seed. For evaluation;
 * fault_port.h is the one for tests that want a rate.
 *
 * A changed message is changed where it lies in our own half, past the checks of our own side: its envelope, too, is
 * then whatever it is, as a taken-over server's would be. */
#ifndef BULKHEAD_IPC_INJECT_PORT_H
#define BULKHEAD_IPC_INJECT_PORT_H

#include "ipc/inject.h"
#include "ipc/port.h"

#define INJECT_FOR_GOOD UINT32_MAX
#define INJECT_AMONG    8U  /* a strike is one of so many messages */
#define INJECT_PAST     16U /* messages kept for a replay */
#define INJECT_TEXT     144

struct inject_plan { /* of one server */
    enum inject_kind kind;
    uint32_t left; /* strikes; INJECT_FOR_GOOD: no end */
    uint32_t skip; /* messages to pass before the next */
    uint64_t random;
    bool told;                                       /* the first strike has been said */
    void (*struck)(void *context, const char *text); /* the first strike: what became what */
    void *context;
};

struct inject_port {
    const struct port_operations *inner;
    void *inner_wrapper;
    struct inject_plan *plan;  /* NULL: passes through */
    const char *server, *peer; /* their names */
    uint32_t attachments;      /* the life of the channel that `held` belongs to */
    uint32_t held_rounds;      /* rounds that `held` has waited for another message */
    bool holds;
    struct message held; /* goes out after the next one */
    uint32_t past_count; /* of all; the latest INJECT_PAST are in `past` */
    struct message past[INJECT_PAST];
};

uint32_t inject_draw(uint64_t *random, uint32_t below); /* 0 .. below-1; 0 for 0 */
/* A plan from now on; `count` 0: once. `struck` is called at the first strike, with one line. */
void inject_plan_init(struct inject_plan *plan, enum inject_kind kind, uint64_t seed, uint32_t count,
                      void (*struck)(void *context, const char *text), void *context);
/* One strike less, and said if it is the first. False: the plan is over, nothing happened. */
bool inject_strike(struct inject_plan *plan, const char *text);
static inline bool inject_over(const struct inject_plan *plan)
{
    return plan->kind == INJECT_NONE || plan->left == 0;
}

/* What it has pushed before it is wrapped and what still lies in the ring can be replayed, too. */
void inject_wrap(struct port *port, struct inject_port *inject);
/* Before each round: a message that was held back goes out when no other comes. */
void inject_round(struct port *port, struct inject_port *inject);
/* FLOOD: well-formed messages of random content until the ring is full. */
void inject_flood(struct port *port, struct inject_port *inject);
/* Past all wrappers. False: no space. */
bool inject_push(struct port *port, const struct message *message);

#endif
