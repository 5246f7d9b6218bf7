// SPDX-License-Identifier: BSD-2-Clause
/* Who of the two lies when a domain accuses its neighbour.
 *
 * A domain that is faulty itself accuses as well as a sound one does. So it is not its word alone that counts: each end
 * of a channel keeps books in its half (ipc/ring.h): what it has said, how many loans came, how many it gave back. They
 * are looked at every TICK_US. Who is said to be silent, and has said something lately, or was not read, is not. Who is
 * said to keep what it was lent, and whose books have been moving or are even, does not. Who is said to name what it
 * may not, and has named only what was granted in all that still lies in its ring, read or not, did not. Who is said
 * to say what makes no sense has said it in what its reader has not given back, or did not: a reader gives nothing back
 * after such a message. A ring that can be read from where its reader is has no impossible index; nor is the writer's
 * impossible when it is the reader's own that went back, or further than anything was said. Then it is the accuser who
 * starts anew. Of other accusations there is no evidence: the accused one is at fault.
 *
 * Nobody accuses a nic that beats and gives back, and never reads its device. But the supervisor has the device, too:
 * when it has been readable at every look for DEVICE_LOOKS at which both had run, nic could have handed up what is
 * there, and ip has taken nothing meanwhile, it is nic that starts anew; not again before DEVICE_QUIET_US, as there may
 * be reasons that are not known here.
 *
 * A faulty domain can falsify its own books, and so have a neighbour replaced instead of itself; no more than its word
 * alone could before.
 *
 * Untrusted: the halves. Each word is read once and only compared. */
#include <poll.h>
#include <stddef.h>
#include <string.h>

#include "ipc/port.h"
#include "ipc/ring.h"
#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"

#define JUDGE_US      450000  /* two looks: who moved within is fine */
#define JUDGE_EVEN_US 1000000 /* whose books were even within keeps no single loan for long */

#define JUDGE_MESSAGES  16                            /* so many say something */
#define HEARD_MOST      (RING_SLOTS - RING_SLOTS / 8) /* what is being overwritten is not read */
#define ENDED_LEAST     8
#define DEVICE_LOOKS    10
#define DEVICE_ROUNDS   1 /* between two looks */
#define DEVICE_QUIET_US 30000000

static uint32_t word(const uint32_t *at)
{
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static const struct ring_half *half_of(struct channel_memory *channel, unsigned side)
{
    void *memory;
    if (channel->seen[side] == NULL && channel->half[side] >= 0 &&
        memory_watch(channel->half[side], sizeof(struct ring_half), &memory) == 0)
        channel->seen[side] = memory;
    return channel->seen[side];
}

const void *judge_forget(struct channel_memory *channel, unsigned side)
{
    const void *mapping = channel->seen[side];
    channel->seen[side] = NULL;
    channel->books[side] = (struct channel_books){0};
    return mapping;
}

static void look(struct channel_memory *channel, unsigned side, uint64_t now)
{
    const struct ring_half *half = half_of(channel, side);
    struct channel_books *books = &channel->books[side];
    if (half == NULL)
        return;
    uint32_t said = word(&half->producer), taken = word(&half->taken), given = word(&half->given);
    const struct ring_half *other = channel->seen[1 - side];
    if (other == NULL || said - word(&other->consumer) <= RING_SLOTS)
        books->produced = said;
    if (other == NULL || word(&other->producer) - word(&half->consumer) <= RING_SLOTS)
        books->consumed = word(&half->consumer);
    if (said != books->said || books->spoke_us == 0)
        books->spoke_us = now;
    if (taken == given || books->even_us == 0)
        books->even_us = now;
    if (given != books->given || taken == given || books->gave_us == 0)
        books->gave_us = now;
    books->said = said;
    books->given = given;
}

static bool is_readable(int device)
{
    struct pollfd p = {.fd = device, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && p.revents == POLLIN;
}

/* Whether nic's end of the channel lets it hand frames up: ip reads, and gives back. */
static bool has_way_up(const struct channel_memory *channel, unsigned nic)
{
    const struct ring_half *mine = channel->seen[nic], *other = channel->seen[1 - nic];
    uint32_t held = word(&other->taken) - word(&other->given);
    return word(&mine->producer) - word(&other->consumer) < RING_SLOTS / 2 && held < RECEIVE_BUFFERS / 2;
}

/* Whether its loop went round since the last look. */
static bool has_run(const struct domain *d, uint64_t *liveness)
{
    uint64_t before = *liveness;
    *liveness = d->status != NULL ? __atomic_load_n(&d->status->liveness, __ATOMIC_RELAXED) : 0;
    return *liveness - before >= DEVICE_ROUNDS && *liveness > before;
}

static void device_look(struct supervisor *s, struct channel_memory *channel, unsigned nic, uint64_t now)
{
    struct judge_device *j = &s->judge_device;
    struct domain *d = s->server[SERVER_NIC].domain;
    uint32_t taken = channel->seen[1 - nic] != NULL ? word(&channel->seen[1 - nic]->taken) : 0;
    bool ran[2] = {has_run(d, &j->liveness[0]), has_run(s->server[SERVER_IP].domain, &j->liveness[1])};
    if (!ran[0] || !ran[1])
        return; /* a look at who stands still, or is starved, is none */
    bool stalls = channel->seen[0] != NULL && channel->seen[1] != NULL && d->state == DOMAIN_RUNNING &&
                  s->server[SERVER_IP].domain->state == DOMAIN_RUNNING && taken == j->taken &&
                  has_way_up(channel, nic) && is_readable(s->device);
    j->looks = stalls ? j->looks + 1 : 0;
    j->taken = taken;
    if (j->looks < DEVICE_LOOKS || now < j->quiet_until_us)
        return;
    j->looks = 0;
    j->quiet_until_us = now + DEVICE_QUIET_US;
    health_lies(s, d, NULL, "does not read its device");
}

void judge_tick(struct supervisor *s, uint64_t now)
{
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS && s->device >= 0; i++)
        for (unsigned side = 0; side < 2; side++)
            if (topology_channel[i].end[side] == SERVER_NIC && topology_channel[i].end[1 - side] == SERVER_IP)
                device_look(s, &s->channel[i], side, now);
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++)
        for (unsigned side = 0; side < 2; side++)
            look(&s->channel[i], side, now);
}

/* Whether what `side` has said still lies there, a ring full: the other end takes nothing. */
static bool is_unread(const struct channel_memory *channel, unsigned side)
{
    const struct ring_half *mine = channel->seen[side], *other = channel->seen[1 - side];
    return mine != NULL && other != NULL &&
           word(&mine->producer) - word(&other->consumer) >= RING_SLOTS - MESSAGE_SLOTS_MAX;
}

/* Whether a neighbour that is sound would refuse it, by what was granted. Untrusted: m. */
static bool is_refused(const struct supervisor *s, enum server_id by, enum server_id of, const struct message *m)
{
    if (!port_message_ok(m) || !rights_name(s, by, of, m->capability, m->generation, 0, 0))
        return true;
    for (unsigned i = 0; i < 2 && (m->operation == MESSAGE_SEND || m->operation == MESSAGE_RECEIVE); i++) {
        const struct message_reference *r = &m->reference[i];
        if (r->length > 0 && !rights_name(s, by, of, r->pool, r->generation, r->offset, r->length))
            return true;
    }
    return false;
}

#define RECENT (RING_SLOTS / 4) /* the oldest may be overwritten any time */

/* What lies in the ring still, read or not: how much. */
static uint32_t recent_get(const struct ring_half *half, struct message ret[RECENT])
{
    uint32_t end = word(&half->producer), fresh;
    const struct ring view = {.peer = half, .tail = end, .released = end};
    return ring_recent(&view, ret, RECENT, &fresh);
}

static bool names_wrongly(const struct supervisor *s, const struct channel_memory *channel, unsigned side,
                          enum server_id by, enum server_id of)
{
    static struct message recent[RECENT];
    uint32_t count = recent_get(channel->seen[side], recent);
    for (uint32_t i = 0; i < count; i++)
        if (is_refused(s, by, of, &recent[i]))
            return true;
    return count < JUDGE_MESSAGES;
}

/* The message at slot `at`, of those up to `end`. 0: there cannot be one there; else its slots. */
static uint32_t message_at(const struct ring_half *half, uint32_t at, uint32_t end, struct message *ret)
{
    uint8_t octets[MESSAGE_SLOTS_MAX * MESSAGE_SLOT_OCTETS] = {0};
    memcpy(octets, half->slot[at % RING_SLOTS].octets, MESSAGE_SLOT_OCTETS);
    uint32_t count = octets[offsetof(struct message, slot_count)];
    if (count == 0 || count > MESSAGE_SLOTS_MAX || count > end - at)
        return 0;
    for (uint32_t i = 1; i < count; i++)
        memcpy(octets + i * MESSAGE_SLOT_OCTETS, half->slot[(at + i) % RING_SLOTS].octets, MESSAGE_SLOT_OCTETS);
    memcpy(ret, octets, sizeof *ret);
    return count;
}

static bool went_back(uint32_t now, uint32_t before)
{
    return (int32_t)(now - before) < 0;
}

/* Of two indices that cannot both be right: whether it is the one of `side`, its producer or its consumer. By what they
 * were when they were last looked at and could be; if that does not tell, it is. Both only ever go forward. */
static bool is_at_fault(const struct channel_memory *channel, unsigned side, bool producer)
{
    unsigned of_producer = producer ? side : 1 - side;
    uint32_t end = word(&channel->seen[of_producer]->producer), at = word(&channel->seen[1 - of_producer]->consumer);
    if (went_back(at, channel->books[1 - of_producer].consumed))
        return !producer;
    if (went_back(end, channel->books[of_producer].produced))
        return producer;
    if (!went_back(end, at))
        return producer; /* it went too far: the consumer did not go back */
    return at - end <= RING_SLOTS || !producer;
}

/* Whether what is not read yet can be read: from where the reader is, message by message. */
static bool is_impossible(const struct channel_memory *channel, unsigned side)
{
    const struct ring_half *mine = channel->seen[side], *other = channel->seen[1 - side];
    uint32_t at = word(&other->consumer), end = word(&mine->producer), count;
    struct message m;
    if (end - at > RING_SLOTS)
        return is_at_fault(channel, side, true);
    if (word(&other->producer) - word(&mine->consumer) > RING_SLOTS)
        return is_at_fault(channel, side, false);
    for (; at != end; at += count)
        if ((count = message_at(mine, at, end, &m)) == 0 || !port_message_ok(&m))
            return true; /* by its count of slots the next one cannot be found */
    return false;
}

#define SAID(operation) (1ULL << (operation))
#define SAID_DOWN       (SAID(MESSAGE_SEND) | SAID(MESSAGE_RETURN))
#define SAID_UP         (SAID(MESSAGE_RECEIVE) | SAID(MESSAGE_RETURN))
#define SAID_ERRORS     SAID(MESSAGE_UNREACHABLE)
#define SAID_BEAT       SAID(MESSAGE_RETURN)
#define SAID_REQUESTS                                                                                                  \
    (SAID(MESSAGE_BIND) | SAID(MESSAGE_LISTEN) | SAID(MESSAGE_CONNECT) | SAID(MESSAGE_CLOSE) |                         \
     SAID(MESSAGE_ACCEPTED) | SAID(MESSAGE_OWNED) | SAID(MESSAGE_OWNED_END) | SAID(MESSAGE_SESSION_END) |              \
     SAID(MESSAGE_SET_OPTION) | SAID_BEAT)
#define SAID_NOTICES                                                                                                   \
    (SAID(MESSAGE_ANSWER) | SAID(MESSAGE_ESTABLISHED) | SAID(MESSAGE_ALIVE) | SAID(MESSAGE_LOST) |                     \
     SAID(MESSAGE_ALIVE_END) | SAID_BEAT)

/* What is ever said from one server to another. */
static const uint64_t said[SERVER_COUNT][SERVER_COUNT] = {
    [SERVER_NIC][SERVER_IP] = SAID_UP,
    [SERVER_IP][SERVER_NIC] = SAID_DOWN,
    [SERVER_IP][SERVER_TCP] = SAID_UP | SAID_ERRORS,
    [SERVER_IP][SERVER_UDP] = SAID_UP | SAID_ERRORS,
    [SERVER_TCP][SERVER_IP] = SAID_DOWN | SAID_ERRORS,
    [SERVER_UDP][SERVER_IP] = SAID_DOWN | SAID_ERRORS,
    [SERVER_TCP][SERVER_SOCKET] = SAID_NOTICES,
    [SERVER_UDP][SERVER_SOCKET] = SAID_NOTICES & ~SAID(MESSAGE_ESTABLISHED),
    [SERVER_SOCKET][SERVER_TCP] = SAID_REQUESTS,
    [SERVER_SOCKET][SERVER_UDP] = SAID_REQUESTS,
};

/* What a sound neighbour does not take: port_makes_no_sense(). Stale names of packets are no such thing. Untrusted: m.
 */
static bool makes_no_sense(const struct supervisor *s, enum server_id by, enum server_id of, const struct message *m)
{
    const uint64_t packets = SAID(MESSAGE_SEND) | SAID(MESSAGE_RECEIVE) | SAID_ERRORS;
    if (!port_message_ok(m) || (said[of][by] & SAID(m->operation)) == 0) /* known operations are below 64 */
        return true;
    bool lends = (said[of][by] & (SAID(MESSAGE_SEND) | SAID(MESSAGE_RECEIVE))) != 0;
    if (m->operation == MESSAGE_RETURN && m->count > 0 && !lends) /* more than a beat, where no loans are */
        return true;
    return (packets & SAID(m->operation)) == 0 && !rights_name(s, by, of, m->capability, m->generation, 0, 0);
}

/* In what its reader has not given back. */
static bool says_nonsense(const struct supervisor *s, const struct channel_memory *channel, unsigned side,
                          enum server_id by, enum server_id of)
{
    const struct ring_half *mine = channel->seen[side], *other = channel->seen[1 - side];
    struct message m;
    if (other == NULL)
        return true;
    uint32_t at = word(&other->consumer), end = word(&mine->producer), count;
    for (uint32_t left = RING_SLOTS; at != end && left > 0; at += count, left--)
        if ((count = message_at(mine, at, end, &m)) == 0 || makes_no_sense(s, by, of, &m))
            return true;
    return false;
}

/* NULL: there is none. */
static const struct channel_memory *channel_between(const struct supervisor *s, enum server_id by, enum server_id to,
                                                    unsigned *ret_side)
{
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++) {
        const enum server_id *end = topology_channel[i].end;
        *ret_side = end[0] == by ? 0 : 1;
        if (end[*ret_side] == by && end[1 - *ret_side] == to)
            return &s->channel[i];
    }
    return NULL;
}

static const struct ring_half *half_between(const struct supervisor *s, enum server_id by, enum server_id to,
                                            const struct channel_books **ret)
{
    unsigned side;
    const struct channel_memory *channel = channel_between(s, by, to, &side);
    if (channel == NULL)
        return NULL;
    *ret = &channel->books[side];
    return channel->seen[side];
}

bool judge_keeps(const struct supervisor *s, enum server_id who, enum server_id of, uint64_t now)
{
    const struct channel_books *books;
    const struct ring_half *half = half_between(s, who, of, &books);
    return half != NULL && books->gave_us != 0 && now - books->gave_us >= JUDGE_EVEN_US &&
           word(&half->given) == books->given && word(&half->taken) != books->given;
}

bool judge_said(const struct supervisor *s, enum server_id by, enum server_id to, uint32_t *ret)
{
    const struct channel_books *books;
    const struct ring_half *half = half_between(s, by, to, &books);
    if (half != NULL)
        *ret = word(&half->producer);
    return half != NULL;
}

/* Untrusted: m. */
static bool names_slot(const struct message_socket *m, uint32_t session)
{
    return m->session == session && m->error == 0 && m->arena != UINT32_MAX;
}

static bool same_slot(const struct message_socket *a, const struct message_socket *b)
{
    return a->arena == b->arena && a->slot == b->slot && a->generation == b->generation;
}

bool judge_hear(const struct supervisor *s, enum server_id by, enum server_id to, bool taken, uint32_t *at,
                judge_listener *listener, void *argument)
{
    unsigned side;
    const struct channel_memory *channel = channel_between(s, by, to, &side);
    const struct ring_half *mine = channel != NULL ? channel->seen[side] : NULL;
    const struct ring_half *other = channel != NULL ? channel->seen[1 - side] : NULL;
    if (mine == NULL || other == NULL)
        return false;
    uint32_t consumed = word(&other->consumer), count;                  /* before the producer, which it never passes */
    uint32_t last = __atomic_load_n(&mine->producer, __ATOMIC_ACQUIRE); /* as ring.h's (a) */
    uint32_t end = taken ? consumed : last, first = *at, from = first;
    struct message m;
    *at = end;
    if (last - from > HEARD_MOST || end - from > last - from)
        return false;
    for (; from != end; from += count) {
        if ((count = message_at(mine, from, end, &m)) == 0)
            return false;
        listener(argument, &m);
    }
    return word(&mine->producer) - first <= RING_SLOTS; /* else some was overwritten meanwhile */
}

static void hear_more(void *argument, const struct message *m)
{
    bool *more = argument;
    *more |= m->operation != MESSAGE_RETURN || m->count > 0; /* a beat is a RETURN of nothing */
}

bool judge_spoke(const struct supervisor *s, enum server_id by, enum server_id to, uint32_t from)
{
    bool more = false;
    return !judge_hear(s, by, to, false, &from, hear_more, &more) || more;
}

struct heard { /* of what is listened for */
    uint8_t operation;
    uint32_t session;
    const struct message_socket *socket; /* NULL: any */
    bool told, named, named_others;
};

static void hear(void *argument, const struct message *m)
{
    struct heard *h = argument;
    if (m->operation != h->operation || m->socket.session != h->session)
        return;
    h->told = true;
    if (h->socket == NULL || !names_slot(&m->socket, h->session))
        return;
    bool same = same_slot(&m->socket, h->socket);
    h->named |= same;
    h->named_others |= !same;
}

bool judge_told(const struct supervisor *s, enum server_id by, enum server_id to, uint32_t from, uint8_t operation,
                uint32_t session)
{
    struct heard h = {.operation = operation, .session = session};
    (void)judge_hear(s, by, to, false, &from, hear, &h);
    return h.told;
}

bool judge_named_others(const struct supervisor *s, enum server_id by, enum server_id to, uint32_t from,
                        uint8_t operation, const struct message_socket *socket)
{
    struct heard h = {.operation = operation, .session = socket->session, .socket = socket};
    return judge_hear(s, by, to, false, &from, hear, &h) && h.named_others && !h.named;
}

bool judge_never_named(const struct supervisor *s, enum server_id by, enum server_id to, uint32_t from,
                       uint8_t operation, const struct message_socket *socket)
{
    struct heard h = {.operation = operation, .session = socket->session, .socket = socket};
    return judge_hear(s, by, to, false, &from, hear, &h) && !h.named;
}

struct within { /* packets from this host to itself */
    uint8_t operation;
    bool any;
};

static void hear_within(void *argument, const struct message *m)
{
    struct within *w = argument;
    bool self = m->source.family != ADDRESS_NONE && ip_address_equal(&m->source, &m->destination);
    w->any |= m->operation == w->operation && self;
}

bool judge_undelivered(const struct supervisor *s, enum server_id transport, uint32_t sent, uint32_t given,
                       uint64_t now)
{
    struct within out = {.operation = MESSAGE_SEND}, in = {.operation = MESSAGE_RECEIVE};
    return judge_hear(s, transport, SERVER_IP, true, &sent, hear_within, &out) && out.any &&
           judge_hear(s, SERVER_IP, transport, false, &given, hear_within, &in) && !in.any &&
           !judge_is_full(s, SERVER_IP, transport) && !judge_keeps(s, transport, SERVER_IP, now);
}

static bool is_established(const struct message *told, uint32_t count, uint32_t connection)
{
    for (uint32_t i = 0; i < count; i++)
        if (told[i].operation == MESSAGE_ESTABLISHED && told[i].socket.connection == connection)
            return true;
    return false;
}

bool judge_ends_all(const struct supervisor *s)
{
    static struct message told[RECENT], asked[RECENT];
    unsigned side;
    const struct channel_memory *channel = channel_between(s, SERVER_TCP, SERVER_SOCKET, &side);
    if (channel->seen[0] == NULL || channel->seen[1] == NULL)
        return false;
    uint32_t told_count = recent_get(channel->seen[side], told), ended = 0;
    uint32_t asked_count = recent_get(channel->seen[1 - side], asked);
    for (uint32_t i = 0; i < asked_count; i++) {
        if (asked[i].operation == MESSAGE_ACCEPTED)
            return false;
        ended += asked[i].operation == MESSAGE_CLOSE && is_established(told, told_count, asked[i].socket.connection);
    }
    return ended >= ENDED_LEAST;
}

bool judge_is_full(const struct supervisor *s, enum server_id by, enum server_id to)
{
    unsigned side;
    const struct channel_memory *channel = channel_between(s, by, to, &side);
    return channel == NULL || channel->seen[0] == NULL || channel->seen[1] == NULL ||
           word(&channel->seen[side]->producer) - word(&channel->seen[1 - side]->consumer) >= RING_SLOTS / 2;
}

bool judge_believes(struct supervisor *s, enum server_id accuser, enum server_id accused, const char *why, uint64_t now)
{
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++) {
        const enum server_id *end = topology_channel[i].end;
        unsigned side = end[0] == accused ? 0 : 1;
        struct channel_memory *channel = &s->channel[i];
        if (end[side] != accused || end[1 - side] != accuser || channel->seen[side] == NULL)
            continue;
        look(channel, side, now);
        const struct channel_books *books = &channel->books[side];
        if (strcmp(why, ACCUSED_SILENT) == 0)
            return now - books->spoke_us >= JUDGE_US && !is_unread(channel, side);
        if (strcmp(why, ACCUSED_RING) == 0)
            return channel->seen[1 - side] == NULL || is_impossible(channel, side);
        if (strcmp(why, ACCUSED_SENSE) == 0)
            return says_nonsense(s, channel, side, accuser, accused);
        if (strcmp(why, ACCUSED_NAMES) == 0)
            return names_wrongly(s, channel, side, accuser, accused);
        if (strcmp(why, ACCUSED_KEEPS) == 0)
            return now - books->gave_us >= JUDGE_US;
        return strcmp(why, ACCUSED_KEEPS_ONE) != 0 || now - books->even_us >= JUDGE_EVEN_US;
    }
    return true;
}
