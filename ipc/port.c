// SPDX-License-Identifier: BSD-2-Clause
#include "ipc/port.h"

#include <string.h>

#include "ipc/pool.h"

/* Returned loans travel without a doorbell, but for one in so many: a lender that sleeps with all its buffers out would
 * otherwise wait for its own timer. */
#define RETURNS_PER_RING 16
/* port_space() looks at the peer's index anew when it knows of fewer free slots than this; callers ask for less. */
#define SPACE_KNOWN (RING_SLOTS / 4)

/* What each operation is made of: slots, and whether it carries a count of returned cookies. 0: unknown. */
static const uint8_t slots_of[] = {
    [MESSAGE_SEND] = 2,       [MESSAGE_RECEIVE] = 2,   [MESSAGE_RETURN] = 1,      [MESSAGE_UNREACHABLE] = 2,
    [MESSAGE_BIND] = 2,       [MESSAGE_LISTEN] = 2,    [MESSAGE_CONNECT] = 2,     [MESSAGE_CLOSE] = 2,
    [MESSAGE_ACCEPTED] = 2,   [MESSAGE_OWNED] = 2,     [MESSAGE_OWNED_END] = 1,   [MESSAGE_SESSION_END] = 1,
    [MESSAGE_SET_OPTION] = 2, [MESSAGE_ANSWER] = 2,    [MESSAGE_ESTABLISHED] = 2, [MESSAGE_ALIVE] = 2,
    [MESSAGE_LOST] = 2,       [MESSAGE_ALIVE_END] = 1,
};

static uint32_t operation_slots(uint8_t operation)
{
    return operation < sizeof slots_of ? slots_of[operation] : 0;
}

/* What went out with this message. */
static void account_push(struct port *port, const struct message *m)
{
    if (m->operation == MESSAGE_RETURN) {
        port->returns_unrung += m->count;
        port->given += m->count;
    } else if (m->operation == MESSAGE_SEND || m->operation == MESSAGE_RECEIVE) {
        if (m->cookie >= PORT_COOKIES)
            return;
        port->lent += port->since[m->cookie] == 0;
        port->since[m->cookie] = port->tick;
    }
}

/* Untrusted: cookie. What was not lent does not come home. */
static void account_return(struct port *port, uint32_t cookie)
{
    if (cookie >= PORT_COOKIES)
        return;
    if (port->since[cookie] == 0) {
        port->counters.strays++;
        return;
    }
    port->lent--;
    port->since[cookie] = 0;
}

static bool ring_push(struct port *port, const struct message *message)
{
    uint32_t count = operation_slots(message->operation);
    if (!port->attached || count == 0)
        return false;
    struct message copy = *message;
    copy.slot_count = (uint8_t)count;
    if (!ring_put(&port->ring, &copy, count)) {
        port->counters.full++;
        return false;
    }
    port->counters.pushed++;
    account_push(port, message);
    if (message->operation != MESSAGE_RETURN)
        port->quiet_output = false;
    return true;
}

static bool flags_ok(const struct message *m)
{
    return (m->flags & ~(m->operation == MESSAGE_SEND ? MESSAGE_DONT_FRAGMENT : 0U)) == 0;
}

bool port_message_ok(const struct message *m)
{
    static const uint8_t zero[sizeof m->reserved1];
    return m->slot_count != 0 && m->slot_count == operation_slots(m->operation) && flags_ok(m) &&
           m->count <= (m->operation == MESSAGE_RETURN ? MESSAGE_RETURNS_MAX : 0) &&
           memcmp(m->reserved1, zero, sizeof zero) == 0;
}

static bool is_beat(const struct message *m)
{
    return m->operation == MESSAGE_RETURN && m->count == 0;
}

/* Untrusted: m. What comes in with it. */
static void account_pull(struct port *port, const struct message *m)
{
    port->taken += m->operation == MESSAGE_SEND || m->operation == MESSAGE_RECEIVE;
    if (m->operation != MESSAGE_RETURN)
        return;
    for (unsigned i = 0; i < m->count; i++)
        account_return(port, m->returned[i]);
    port->counters.returned += m->count;
}

static bool ring_pull(struct port *port, struct message *ret)
{
    if (!port->attached)
        return false;
    while (!port->senseless &&
           ring_take(&port->ring, ret)) { /* ends: a ring full at most, as nothing is released within */
        if (!port_message_ok(ret)) {
            port->counters.malformed++;
            port_makes_no_sense(port);
            continue;
        }
        port->counters.heard++;
        if (is_beat(ret))
            continue;
        account_pull(port, ret);
        port->counters.pulled++;
        return true;
    }
    return false;
}

const struct port_operations port_ring_operations = {.push = ring_push, .pull = ring_pull};

void port_init(struct port *port, struct capability *table_entries)
{
    *port = (struct port){.operations = &port_ring_operations, .quiet_output = true, .tick = 1};
    capability_table_init(&port->table, table_entries);
}

void port_attach(struct port *port, struct ring_half *mine, const struct ring_half *peer, struct doorbell *bell)
{
    ring_init(&port->ring, mine, peer);
    port->bell = bell;
    port->attached = true;
    port->senseless = false;
    port->attachments++;
    port->quiet_output = true;
    port->returns_unrung = 0;
    port->lent = port->taken = port->given = 0;
    memset(port->since, 0, sizeof port->since);
}

void port_detach(struct port *port)
{
    port->attached = false;
    port->bell = NULL;
    port->ring = (struct ring){0};
}

uint32_t port_space(struct port *port)
{
    return port->attached ? ring_space(&port->ring, SPACE_KNOWN) : 0;
}

bool port_has_space(struct port *port, uint32_t slots)
{
    return port->attached && ring_space(&port->ring, slots) >= slots;
}

bool port_pending(struct port *port)
{
    return port->attached && !port->senseless && ring_available(&port->ring) > 0;
}

void port_flush(struct port *port)
{
    if (!port->attached)
        return;
    ring_account(&port->ring, port->taken, port->given);
    if (!port->senseless)
        ring_release(&port->ring);
    if (!ring_flush(&port->ring) || port->bell == NULL)
        return;
    if (!port->quiet_output || port->returns_unrung >= RETURNS_PER_RING) {
        port->returns_unrung = 0;
        doorbell_ring(port->bell);
    }
    port->quiet_output = true;
}

uint32_t port_oldest(const struct port *port)
{
    uint32_t oldest = 0;
    for (uint32_t i = 0; i < PORT_COOKIES; i++) {
        uint32_t age = (uint16_t)(port->tick - port->since[i]);
        if (port->since[i] != 0 && age > oldest)
            oldest = age;
    }
    return oldest;
}

bool port_return(struct port *port, struct port_returns *returns, uint32_t cookie)
{
    struct message *m = &returns->message;
    if (m->count == MESSAGE_RETURNS_MAX && !port_returns_flush(port, returns))
        return false;
    m->returned[m->count++] = cookie;
    return true;
}

bool port_returns_flush(struct port *port, struct port_returns *returns)
{
    struct message *m = &returns->message;
    if (m->count == 0)
        return true;
    m->operation = MESSAGE_RETURN;
    m->capability = 1; /* the PEER entry of every table */
    m->generation = 1;
    if (!port_push(port, m))
        return false;
    *m = (struct message){0};
    return true;
}
