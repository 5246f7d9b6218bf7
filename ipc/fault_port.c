// SPDX-License-Identifier: BSD-2-Clause
#include "ipc/fault_port.h"

#include <string.h>

static uint32_t draw(struct fault_port *fault, uint32_t below)
{
    uint64_t z = fault->random += 0x9e3779b97f4a7c15ULL; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return (uint32_t)(((z >> 32) * below) >> 32);
}

/* ---- held back ---- */
static void life_follow(struct fault_port *fault, const struct port *port)
{
    if (!port->attached || fault->attachments != port->attachments)
        fault->held_count = 0;
    fault->attachments = port->attachments;
}

/* Those whose time has come go out, in the order in which they came. Without room they wait. */
static void turn(struct fault_port *fault, struct port *port)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < fault->held_count; i++) {
        if (fault->held[i].turns > 0)
            fault->held[i].turns--;
        if (fault->held[i].turns == 0 && port_ring_operations.push(port, &fault->held[i].message))
            continue;
        fault->held[kept++] = fault->held[i];
    }
    fault->held_count = kept;
}

static bool hold(struct fault_port *fault, const struct message *message, uint32_t turns)
{
    if (fault->held_count == FAULT_HELD_MAX)
        return false;
    fault->held[fault->held_count].message = *message;
    fault->held[fault->held_count++].turns = turns;
    return true;
}

/* ---- harm ---- */
/* Past the checks of our own side. The slots are as many as the operation has; what they say is anything. */
static bool push_corrupt(struct fault_port *fault, struct port *port, const struct message *message)
{
    uint32_t head = port->ring.head;
    if (!port_ring_operations.push(port, message)) /* takes the place, and is never seen: nothing is published yet */
        return false;
    uint32_t bits = 1 + draw(fault, 8), slots = port->ring.head - head;
    for (uint32_t i = 0; i < bits; i++) {
        uint32_t bit = draw(fault, slots * MESSAGE_SLOT_OCTETS * 8);
        uint32_t slot = (head + bit / (MESSAGE_SLOT_OCTETS * 8)) % RING_SLOTS;
        uint32_t octet = bit / 8 % MESSAGE_SLOT_OCTETS;
        port->ring.mine->slot[slot].octets[octet] ^= (uint8_t)(1U << bit % 8);
    }
    fault->counters.corrupted++;
    return true;
}

enum harm { HARM_NONE, HARM_DROP, HARM_DUPLICATE, HARM_DELAY, HARM_REORDER, HARM_CORRUPT };

static enum harm harm_draw(struct fault_port *fault, uint8_t operation)
{
    const struct fault_chances *c = &fault->chances;
    const uint32_t chance[] = {0, c->drop, c->duplicate, c->delay, c->reorder, c->corrupt};
    uint32_t place = draw(fault, FAULT_ONE_IN);
    if (c->operations != 0 && (operation >= 64 || ((c->operations >> operation) & 1) == 0))
        return HARM_NONE;
    for (uint32_t i = HARM_DROP; i <= HARM_CORRUPT; i++) {
        if (place < chance[i])
            return (enum harm)i;
        place -= chance[i];
    }
    return HARM_NONE;
}

static bool pass(struct fault_port *fault, struct port *port, const struct message *message)
{
    bool pushed = port_ring_operations.push(port, message);
    fault->counters.passed += pushed;
    return pushed;
}

static bool do_harm(struct fault_port *fault, struct port *port, const struct message *message, enum harm harm)
{
    switch (harm) {
    case HARM_DROP:
        fault->counters.dropped++;
        return true;
    case HARM_DUPLICATE:
        if (!pass(fault, port, message))
            return false;
        fault->counters.duplicated += port_ring_operations.push(port, message);
        return true;
    case HARM_DELAY:
        if (!hold(fault, message, 2 + draw(fault, FAULT_DELAY_MAX - 1)))
            break;
        fault->counters.delayed++;
        return true;
    case HARM_REORDER:
        if (!hold(fault, message, 1))
            break;
        fault->counters.reordered++;
        return true;
    case HARM_CORRUPT:
        return push_corrupt(fault, port, message);
    default:
        break;
    }
    return pass(fault, port, message);
}

/* ---- the two operations ---- */
static bool fault_push(struct port *port, const struct message *message)
{
    struct fault_port *fault = port->wrapper;
    life_follow(fault, port);
    if (fault->stalled || !port->attached) {
        fault->counters.refused += fault->stalled;
        return false;
    }
    uint32_t waiting = fault->held_count; /* those go out after this one */
    bool pushed = do_harm(fault, port, message, harm_draw(fault, message->operation));
    uint32_t more = fault->held_count - waiting;
    fault->held_count = waiting;
    if (more == 0) {
        turn(fault, port);
    } else { /* itself held back: its turns begin with the next */
        const struct message copy = fault->held[waiting].message;
        uint32_t turns = fault->held[waiting].turns;
        turn(fault, port);
        fault->held[fault->held_count].message = copy;
        fault->held[fault->held_count++].turns = turns;
    }
    return pushed;
}

static bool fault_pull(struct port *port, struct message *ret)
{
    struct fault_port *fault = port->wrapper;
    life_follow(fault, port);
    if (fault->stalled)
        return false;
    turn(fault, port);
    return port_ring_operations.pull(port, ret);
}

static const struct port_operations fault_operations = {.push = fault_push, .pull = fault_pull};

void fault_port_init(struct fault_port *fault, struct port *port, const struct fault_chances *chances, uint64_t seed)
{
    *fault = (struct fault_port){.chances = *chances, .random = seed, .attachments = port->attachments};
    port->operations = &fault_operations;
    port->wrapper = fault;
}

void fault_port_remove(struct port *port)
{
    port->operations = &port_ring_operations;
    port->wrapper = NULL;
}
