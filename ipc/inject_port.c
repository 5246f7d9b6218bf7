// SPDX-License-Identifier: BSD-2-Clause
#include "ipc/inject_port.h"

#include <stdio.h>
#include <string.h>

#define HELD_ROUNDS 32U /* a message that nothing follows goes out after so many */

/* ---- names ---- */
static const char *const operation_names[] = {
    [MESSAGE_SEND] = "send",
    [MESSAGE_RECEIVE] = "receive",
    [MESSAGE_RETURN] = "return",
    [MESSAGE_UNREACHABLE] = "unreachable",
    [MESSAGE_BIND] = "bind",
    [MESSAGE_LISTEN] = "listen",
    [MESSAGE_CONNECT] = "connect",
    [MESSAGE_CLOSE] = "close",
    [MESSAGE_ACCEPTED] = "accepted",
    [MESSAGE_OWNED] = "owned",
    [MESSAGE_OWNED_END] = "owned-end",
    [MESSAGE_SESSION_END] = "session-end",
    [MESSAGE_SET_OPTION] = "set-option",
    [MESSAGE_ANSWER] = "answer",
    [MESSAGE_ESTABLISHED] = "established",
    [MESSAGE_ALIVE] = "alive",
    [MESSAGE_LOST] = "lost",
    [MESSAGE_ALIVE_END] = "alive-end",
};
#define OPERATIONS (sizeof operation_names / sizeof operation_names[0])

static const char *operation_name(uint8_t operation)
{
    return operation < OPERATIONS && operation_names[operation] != NULL ? operation_names[operation] : "unknown";
}

/* What a field belongs to: which messages have it. */
enum family { OF_PACKETS = 1, OF_RETURNS = 2, OF_SOCKETS = 4, OF_ALL = 7 };

struct field {
    const char *name;
    uint8_t offset, octets;
    uint8_t families;
    bool names; /* it names something by a right or within bounds: what a forger changes */
};
#define FIELD(member, families, names)                                                                                 \
    {                                                                                                                  \
#member, (uint8_t)offsetof(struct message, member), (uint8_t)sizeof((struct message){0}.member), families,     \
            names                                                                                                      \
    }

static const struct field fields[] = {
    FIELD(operation, OF_ALL, false),
    FIELD(flags, OF_ALL, false),
    FIELD(slot_count, OF_ALL, false),
    FIELD(count, OF_ALL, false),
    FIELD(capability, OF_ALL, true),
    FIELD(generation, OF_ALL, true),
    FIELD(cookie, OF_PACKETS | OF_SOCKETS, false),
    FIELD(reference[0].pool, OF_PACKETS, true),
    FIELD(reference[0].generation, OF_PACKETS, true),
    FIELD(reference[0].offset, OF_PACKETS, true),
    FIELD(reference[0].length, OF_PACKETS, true),
    FIELD(reference[1].pool, OF_PACKETS, true),
    FIELD(reference[1].generation, OF_PACKETS, true),
    FIELD(reference[1].offset, OF_PACKETS, true),
    FIELD(reference[1].length, OF_PACKETS, true),
    FIELD(returned[0], OF_RETURNS, true),
    FIELD(returned[1], OF_RETURNS, true),
    FIELD(returned[11], OF_RETURNS, false),
    FIELD(socket.socket, OF_SOCKETS, true),
    FIELD(socket.session, OF_SOCKETS, true),
    FIELD(socket.connection, OF_SOCKETS, true),
    FIELD(socket.arena, OF_SOCKETS, true),
    FIELD(socket.slot, OF_SOCKETS, true),
    FIELD(socket.generation, OF_SOCKETS, true),
    FIELD(socket.listener, OF_SOCKETS, true),
    FIELD(socket.error, OF_SOCKETS, false),
    FIELD(socket.argument[0], OF_SOCKETS, false),
    FIELD(socket.argument[1], OF_SOCKETS, false),
    FIELD(socket.argument[2], OF_SOCKETS, false),
    FIELD(socket.argument[3], OF_SOCKETS, false),
    FIELD(source.family, OF_PACKETS | OF_SOCKETS, false),
    FIELD(source.octets[3], OF_PACKETS | OF_SOCKETS, false),
    FIELD(destination.family, OF_PACKETS | OF_SOCKETS, false),
    FIELD(destination.octets[3], OF_PACKETS | OF_SOCKETS, false),
    FIELD(source_port, OF_PACKETS | OF_SOCKETS, false),
    FIELD(destination_port, OF_PACKETS | OF_SOCKETS, false),
    FIELD(protocol, OF_PACKETS | OF_SOCKETS, false),
    FIELD(ttl, OF_PACKETS, false),
    FIELD(traffic_class, OF_PACKETS, false),
    FIELD(gso_type, OF_PACKETS, false),
    FIELD(gso_size, OF_PACKETS | OF_SOCKETS, false),
    FIELD(checksum_state, OF_PACKETS, false),
    FIELD(header_octets, OF_PACKETS, false),
    FIELD(checksum_start, OF_PACKETS | OF_SOCKETS, false),
    FIELD(checksum_offset, OF_PACKETS | OF_SOCKETS, false),
    FIELD(reserved1[0], OF_PACKETS | OF_SOCKETS, false),
};
#define FIELDS (sizeof fields / sizeof fields[0])

static enum family family_of(uint8_t operation)
{
    switch (operation) {
    case MESSAGE_RETURN:
        return OF_RETURNS;
    case MESSAGE_SEND:
    case MESSAGE_RECEIVE:
    case MESSAGE_UNREACHABLE:
        return OF_PACKETS;
    default:
        return OF_SOCKETS;
    }
}

/* ---- the plan ---- */
uint32_t inject_draw(uint64_t *random, uint32_t below)
{
    uint64_t z = *random += 0x9e3779b97f4a7c15ULL; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return (uint32_t)(((z >> 32) * below) >> 32);
}

void inject_plan_init(struct inject_plan *plan, enum inject_kind kind, uint64_t seed, uint32_t count,
                      void (*struck)(void *context, const char *text), void *context)
{
    *plan = (struct inject_plan){
        .kind = kind, .left = count != 0 ? count : 1, .random = seed, .struck = struck, .context = context};
    plan->skip = inject_draw(&plan->random, INJECT_AMONG);
}

bool inject_strike(struct inject_plan *plan, const char *text)
{
    if (inject_over(plan))
        return false;
    if (plan->left != INJECT_FOR_GOOD)
        plan->left--;
    plan->skip = inject_draw(&plan->random, INJECT_AMONG);
    if (!plan->told && plan->struck != NULL)
        plan->struck(plan->context, text);
    plan->told = true;
    return true;
}

/* What happened to the message, on this channel. */
static void strike(struct inject_port *inject, const struct message *message, const char *what)
{
    char text[INJECT_TEXT];
    snprintf(text, sizeof text, "%s to %s: %s: %s", inject->server, inject->peer, operation_name(message->operation),
             what);
    (void)inject_strike(inject->plan, text);
}

/* ---- below us ---- */
static bool inner_push(struct inject_port *inject, struct port *port, const struct message *message)
{
    port->wrapper = inject->inner_wrapper;
    bool done = inject->inner->push(port, message);
    port->wrapper = inject;
    return done;
}

static bool inner_pull(struct inject_port *inject, struct port *port, struct message *ret)
{
    port->wrapper = inject->inner_wrapper;
    bool done = inject->inner->pull(port, ret);
    port->wrapper = inject;
    return done;
}

bool inject_push(struct port *port, const struct message *message)
{
    return port_ring_operations.push(port, message);
}

static void remember(struct inject_port *inject, const struct message *message)
{
    inject->past[inject->past_count++ % INJECT_PAST] = *message;
}

/* A message pushed before there was a wrapper lies in our half still. Where they begin is told from their slot counts.
 */
static void remember_ring(struct inject_port *inject, const struct port *port)
{
    const struct ring *ring = &port->ring;
    struct message found[INJECT_PAST];
    uint32_t count = 0, end = ring->head, slots = 0;
    while (ring->mine != NULL && count < INJECT_PAST && slots < RING_SLOTS - MESSAGE_SLOTS_MAX) {
        uint32_t length = sizeof(struct message) / MESSAGE_SLOT_OCTETS;
        const uint8_t *first = NULL;
        for (; length > 0; length--) {
            first = ring->mine->slot[(end - length) % RING_SLOTS].octets;
            if (first[offsetof(struct message, slot_count)] == length &&
                first[offsetof(struct message, operation)] != 0)
                break;
        }
        if (length == 0)
            break;
        found[count] = (struct message){0};
        for (uint32_t i = 0; i < length; i++)
            memcpy((uint8_t *)&found[count] + i * MESSAGE_SLOT_OCTETS,
                   ring->mine->slot[(end - length + i) % RING_SLOTS].octets, MESSAGE_SLOT_OCTETS);
        count++;
        end -= length;
        slots += length;
    }
    while (count > 0)
        remember(inject, &found[--count]);
}

static void life_follow(struct inject_port *inject, const struct port *port)
{
    if (!port->attached || inject->attachments != port->attachments)
        inject->holds = false;
    inject->attachments = port->attachments;
}

/* ---- what is done to a message ---- */
static uint8_t *octet_at(struct port *port, uint32_t head, uint32_t place)
{
    return &port->ring.mine->slot[(head + place / MESSAGE_SLOT_OCTETS) % RING_SLOTS]
                .octets[place % MESSAGE_SLOT_OCTETS];
}

static uint64_t field_get(struct port *port, uint32_t head, const struct field *field)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < field->octets; i++)
        ((uint8_t *)&value)[i] = *octet_at(port, head, field->offset + i);
    return value;
}

static void field_set(struct port *port, uint32_t head, const struct field *field, uint64_t value)
{
    for (uint32_t i = 0; i < field->octets; i++)
        *octet_at(port, head, field->offset + i) = ((const uint8_t *)&value)[i];
}

static uint64_t field_value(struct inject_plan *plan, const struct field *field, uint64_t old, bool forged)
{
    uint64_t mask = field->octets == 8 ? UINT64_MAX : ((uint64_t)1 << field->octets * 8) - 1;
    uint32_t how = forged ? 2 : inject_draw(&plan->random, 4);
    uint64_t value = (uint64_t)inject_draw(&plan->random, UINT32_MAX) << 32 | inject_draw(&plan->random, UINT32_MAX);
    value = how == 0 ? old + 1 : how == 1 ? old - 1 : value;
    return (value & mask) != (old & mask) ? value & mask : (old + 1) & mask;
}

/* A field of this message, by the seed. */
static const struct field *field_draw(struct inject_plan *plan, const struct message *message, uint32_t slots,
                                      bool names)
{
    uint32_t place[FIELDS], count = 0;
    for (uint32_t i = 0; i < FIELDS; i++) {
        const struct field *field = &fields[i];
        if ((field->families & family_of(message->operation)) != 0 && (field->names || !names) &&
            field->offset + field->octets <= slots * MESSAGE_SLOT_OCTETS)
            place[count++] = i;
    }
    return &fields[place[inject_draw(&plan->random, count)]]; /* all have a capability at least */
}

static bool push_changed(struct inject_port *inject, struct port *port, const struct message *message, bool forged)
{
    uint32_t head = port->ring.head;
    if (!inner_push(inject, port, message)) /* takes the place, and is not seen: nothing is published yet */
        return false;
    if (port->ring.head == head)
        return true; /* it went no further than a wrapper below us */
    char what[INJECT_TEXT / 2];
    const struct field *field = field_draw(inject->plan, message, port->ring.head - head, forged);
    uint64_t old = field_get(port, head, field), value = field_value(inject->plan, field, old, forged);
    field_set(port, head, field, value);
    snprintf(what, sizeof what, "%s %llu is %llu", field->name, (unsigned long long)old, (unsigned long long)value);
    strike(inject, message, what);
    return true;
}

/* As an earlier incarnation would have said it: pools, slots and capabilities of then. */
static bool push_replayed(struct inject_port *inject, struct port *port, const struct message *message)
{
    if (!inner_push(inject, port, message))
        return false;
    uint32_t known = inject->past_count < INJECT_PAST ? inject->past_count : INJECT_PAST;
    if (known == 0) {
        inject->plan->skip = 1; /* nothing has been said before this one */
        return true;
    }
    struct message old =
        inject->past[(inject->past_count - 1 - inject_draw(&inject->plan->random, known)) % INJECT_PAST];
    bool older = inject_draw(&inject->plan->random, 2) != 0;
    char what[INJECT_TEXT / 2];
    if (older && family_of(old.operation) == OF_PACKETS) {
        old.reference[0].generation--;
        old.reference[1].generation--;
    } else if (older && family_of(old.operation) == OF_SOCKETS) {
        old.socket.generation--;
    } else if (older) {
        old.generation--;
    }
    snprintf(what, sizeof what, "said again%s, cookie %llu", older ? " with a generation less" : "",
             (unsigned long long)old.cookie);
    if (inner_push(inject, port, &old))
        strike(inject, &old, what);
    return true;
}

static bool push_twice(struct inject_port *inject, struct port *port, const struct message *message)
{
    if (!inner_push(inject, port, message))
        return false;
    if (inner_push(inject, port, message))
        strike(inject, message, "said twice");
    return true;
}

/* No ringer of this domain wakes the peer from this sleep of its. */
static bool push_unheard(struct inject_port *inject, struct port *port, const struct message *message)
{
    if (!inner_push(inject, port, message))
        return false;
    struct doorbell *bell = port->bell;
    uint32_t word = bell != NULL ? __atomic_load_n(bell->sleep, __ATOMIC_RELAXED) : 0;
    if ((word & 1) == 0 || word == bell->rung_for)
        return true; /* no bell was due */
    bell->rung_for = word;
    strike(inject, message, "nobody was woken");
    return true;
}

static bool do_fault(struct inject_port *inject, struct port *port, const struct message *message)
{
    switch (inject->plan->kind) {
    case INJECT_FIELD:
        return push_changed(inject, port, message, false);
    case INJECT_FORGE:
        return push_changed(inject, port, message, true);
    case INJECT_DROP:
        strike(inject, message, "dropped");
        return true;
    case INJECT_DUPLICATE:
        return push_twice(inject, port, message);
    case INJECT_REORDER:
        if (inject->holds)
            return inner_push(inject, port, message);
        inject->held = *message;
        inject->holds = true;
        inject->held_rounds = 0;
        return true;
    case INJECT_REPLAY:
        return push_replayed(inject, port, message);
    case INJECT_LOST_BELL:
        return push_unheard(inject, port, message);
    default:
        return inner_push(inject, port, message);
    }
}

/* ---- the two operations ---- */
static void held_follow(struct inject_port *inject, struct port *port, const struct message *after)
{
    if (!inner_push(inject, port, &inject->held))
        return; /* no space: after the next */
    inject->holds = false;
    if (after != NULL)
        strike(inject, &inject->held, "said after the one that came after it");
}

static bool is_silent(const struct inject_port *inject, const struct message *message)
{
    enum inject_kind kind = inject->plan->kind;
    return kind == INJECT_MUTE || (kind == INJECT_LEAK && message->operation == MESSAGE_RETURN);
}

/* A beat of the channel is nothing that a server says: it is lost with all else, or not at all. */
static bool is_spared(const struct inject_port *inject, const struct message *message)
{
    return message->operation == MESSAGE_RETURN && message->count == 0 && inject->plan->kind != INJECT_MUTE;
}

static bool inject_port_push(struct port *port, const struct message *message)
{
    struct inject_port *inject = port->wrapper;
    life_follow(inject, port);
    if (!port->attached || inject->plan == NULL || inject_over(inject->plan) || is_spared(inject, message))
        return inner_push(inject, port, message);
    if (is_silent(inject, message)) {
        strike(inject, message, "not said");
        return true;
    }
    bool held = inject->holds, done;
    if (inject->plan->skip > 0) {
        done = inner_push(inject, port, message);
        inject->plan->skip -= done;
    } else {
        done = do_fault(inject, port, message);
    }
    if (done && held)
        held_follow(inject, port, message);
    if (done)
        remember(inject, message);
    return done;
}

/* LEAK: a loan that comes by is kept, and so is what comes home. */
static bool is_kept(const struct inject_port *inject, const struct message *message)
{
    return inject->plan != NULL && inject->plan->kind == INJECT_LEAK && !inject_over(inject->plan) &&
           (message->operation == MESSAGE_RETURN || message->operation == MESSAGE_SEND ||
            message->operation == MESSAGE_RECEIVE);
}

static bool inject_port_pull(struct port *port, struct message *ret)
{
    struct inject_port *inject = port->wrapper;
    while (inner_pull(inject, port, ret)) { /* ends: a ring full at most, as nothing is released within */
        if (!is_kept(inject, ret))
            return true;
        strike(inject, ret, "came and is kept");
    }
    return false;
}

static const struct port_operations inject_operations = {.push = inject_port_push, .pull = inject_port_pull};

void inject_wrap(struct port *port, struct inject_port *inject)
{
    inject->inner = port->operations;
    inject->inner_wrapper = port->wrapper;
    inject->attachments = port->attachments;
    inject->holds = false;
    inject->past_count = 0;
    remember_ring(inject, port);
    port->operations = &inject_operations;
    port->wrapper = inject;
}

void inject_round(struct port *port, struct inject_port *inject)
{
    life_follow(inject, port);
    if (!inject->holds || ++inject->held_rounds < HELD_ROUNDS)
        return;
    struct message late = inject->held;
    if (port_ring_operations.push(port, &late))
        inject->holds = false;
}

/* ---- flood ---- */
static struct message random_message(struct inject_plan *plan)
{
    struct message m = {0};
    uint8_t *octets = (uint8_t *)&m;
    for (uint32_t i = 0; i < sizeof m; i++)
        octets[i] = (uint8_t)inject_draw(&plan->random, 256);
    do
        m.operation = (uint8_t)inject_draw(&plan->random, OPERATIONS);
    while (operation_names[m.operation] == NULL);
    m.capability = m.generation = 1; /* the entry of every peer */
    return m;
}

/* Like one that was said before, but for one field; or random from end to end. */
static struct message flood_message(struct inject_port *inject)
{
    struct inject_plan *plan = inject->plan;
    uint32_t known = inject->past_count < INJECT_PAST ? inject->past_count : INJECT_PAST;
    struct message m = random_message(plan);
    if (known > 0 && inject_draw(&plan->random, 2) != 0) {
        const struct message random = m;
        m = inject->past[inject_draw(&plan->random, known)];
        const struct field *field = field_draw(plan, &m, sizeof m / MESSAGE_SLOT_OCTETS, false);
        memcpy((uint8_t *)&m + field->offset, (const uint8_t *)&random + field->offset, field->octets);
    }
    m.flags = 0;
    m.count = m.operation == MESSAGE_RETURN ? (uint8_t)(1 + inject_draw(&plan->random, MESSAGE_RETURNS_MAX)) : 0;
    memset(m.reserved1, 0, sizeof m.reserved1);
    return m;
}

void inject_flood(struct port *port, struct inject_port *inject)
{
    for (uint32_t i = 0; i < RING_SLOTS && port->attached && !inject_over(inject->plan); i++) {
        struct message m = flood_message(inject);
        if (!port_ring_operations.push(port, &m))
            break;
        strike(inject, &m, "a flood begins");
    }
}
