// SPDX-License-Identifier: BSD-2-Clause
/* Neighbours that live, and do not serve. Theory of operation.
 *
 * A hang is found by the supervisor, an impossible index by the ring. Neither finds a neighbour whose loop goes round
 * but who says nothing more, keeps what it is lent, or goes on naming what it may not: its channel works, and its
 * service is gone for good. So each domain looks at its channels to others every WATCH_TICK_US, and each end of a
 * channel says a beat as often (a RETURN of nothing: no bell, one slot, seen by no server). A neighbour is accused, and
 * starts anew, that
 *
 *  is silent: neither a beat nor anything else has come for WATCH_SILENT ticks;
 *
 *  keeps: something is lent to it, and nothing came home for kept_limit() ticks at whose end it had taken all that was
 *  said to it; they are more towards the ends of the chain, so that he is blamed who keeps, and not who waits for him;
 *
 *  keeps one: others come home, and one does not for old_limit() such ticks;
 *
 *  lies on: in WATCH_LIES of the recent ticks, net of honest ones, it has named what it may not, or more often than
 *  WATCH_FLOOD in one: a stale name is said until it is known to be stale, so in a ring full of messages at most (not
 *  after a revocation on that channel: then an honest neighbour does).
 *
 * What no sound neighbour ever says, whatever happens around it (no message; no operation of that channel; loans home
 * in the name of a right that it has for good), is not waited for: the port takes nothing after it, and the round that
 * pulled it accuses (loop.c). What went with it, a loan or a request, would be missed for seconds otherwise.
 *
 * What is lent and what came home is counted by the port (ipc/port.c), from what really crossed: a domain that loses
 * its own messages sees nothing amiss, and does not accuse the other end of its own fault. Only ticks in which the
 * neighbour's liveness has moved count, so one who is stopped, starved or being replaced is left to the supervisor. In
 * a monolith nobody is there to be accused.
 *
 * A pool with no free buffer, and hardly one lent, for WATCH_BARE ticks is lost to its own server, and so are buffers
 * that the pool has lent and that never went out over the channel: the domain says so and ends. A fault that serves
 * some and not others is not seen here. */
#include <errno.h>

#include "servers/domain/state.h"

#define WATCH_SILENT   10 /* ticks */
#define WATCH_LIES     10
#define WATCH_FLOOD    (2 * RING_SLOTS) /* names refused in a tick */
#define WATCH_BARE     10
#define WATCH_MOVES    2  /* rounds of the neighbour that make a tick count */
#define KEPT_NIC       10 /* gives back at once */
#define KEPT_TRANSPORT 15 /* ... takes nothing while it cannot send, so once nic does and ip has said so */
#define KEPT_IP        22 /* ... once the others do, and once an address is resolved, or is not (3 s) */

/* Ticks in which the borrower could have given back a certain loan, while others came home. Longer than the limits
 * above, so that an address that is not resolved is nobody's fault; and much longer for ip, who waits for the others as
 * long as its own limit takes: on a busy channel most ticks do not count, on a quiet one all do. */
#define OLD_MORE    5
#define OLD_MORE_IP 30

/* Ticks. */
static uint32_t kept_limit(enum server_id borrower)
{
    return borrower == SERVER_NIC ? KEPT_NIC : borrower == SERVER_IP ? KEPT_IP : KEPT_TRANSPORT;
}

static uint32_t old_limit(enum server_id borrower)
{
    return kept_limit(borrower) + (borrower == SERVER_IP ? OLD_MORE_IP : OLD_MORE);
}

static uint64_t refusals(const struct port *port)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < CAPABILITY_REFUSALS; i++)
        sum += port->table.refused[i];
    return sum;
}

/* A new life of the channel, or one end of it just came: nothing is held against it. */
static void begin(struct domain_watch *watch, const struct domain_port *port, uint64_t liveness)
{
    *watch = (struct domain_watch){.attachments = port->port.attachments,
                                   .revoked = watch->revoked,
                                   .liveness = liveness,
                                   .heard = port->port.counters.heard,
                                   .returned = port->port.counters.returned,
                                   .refused = refusals(&port->port),
                                   .refused_before = refusals(&port->port),
                                   .strays_before = port->port.counters.strays};
}

static void beat(struct port *port)
{
    const struct message m = {.operation = MESSAGE_RETURN, .capability = CAPABILITY_INDEX_PEER, .generation = 1};
    if (port_has_space(port, 1))
        (void)port_push(port, &m);
}

/* One who takes nothing may be blocked, by us even, and is not said to keep what still lies in the ring. */
static bool has_taken_all(struct port *port)
{
    return port_has_space(port, RING_SLOTS);
}

/* What came home in a message that was refused did so by the neighbour's books: they are no evidence then. */
static const char *kept_or_lied(const struct domain_port *port, uint64_t refused)
{
    const struct domain_watch *watch = &port->watch;
    uint32_t limit = kept_limit(port->peer);
    bool garbled = refused != watch->refused_before;
    if (watch->kept >= limit)
        return garbled ? "gives back nothing that can be read" : ACCUSED_KEEPS;
    if (port_oldest(&port->port) >= old_limit(port->peer) && port->port.counters.strays != watch->strays_before)
        return "gave back another loan than it had"; /* by its books they all came home */
    if (port_oldest(&port->port) >= old_limit(port->peer))
        return garbled ? "gave back a loan in what cannot be read, or not" : ACCUSED_KEEPS_ONE;
    return watch->lies >= WATCH_LIES ? ACCUSED_NAMES : NULL;
}

/* One tick on. What it is accused of; NULL: nothing. */
static const char *look_at(struct domain_port *port, uint64_t liveness)
{
    struct domain_watch *watch = &port->watch;
    struct port *p = &port->port;
    if (watch->attachments != p->attachments) {
        begin(watch, port, liveness);
        return NULL;
    }
    if (liveness - watch->liveness < WATCH_MOVES)
        return NULL;
    bool heard = p->counters.heard != watch->heard || port_pending(p);
    uint64_t refused = refusals(p);
    watch->silent = heard ? 0 : watch->silent + 1;
    if (p->lent == 0 || p->counters.returned != watch->returned)
        watch->kept = 0;
    else
        watch->kept += !port_pending(p) && has_taken_all(p);
    if (!port_pending(p) && has_taken_all(p))
        p->tick = p->tick == UINT16_MAX ? 1 : (uint16_t)(p->tick + 1);
    bool stalled =
        watch->lies > 0 && p->counters.heard == watch->heard; /* its lies block the ring that it is read from */
    if (refused - watch->refused > WATCH_FLOOD && !watch->revoked)
        watch->lies = WATCH_LIES;
    else if ((refused != watch->refused || (stalled && heard)) && !watch->revoked)
        watch->lies++;
    else
        watch->lies -= watch->lies > 0;
    watch->liveness = liveness;
    watch->heard = p->counters.heard;
    watch->returned = p->counters.returned;
    watch->refused = refused;
    return watch->silent >= WATCH_SILENT ? ACCUSED_SILENT : kept_or_lied(port, refused);
}

/* Whether more of the pool is lent than went out: it never comes home. Not asked of a channel on which something was
 * refused: what the neighbour gave back in that came home for the port, and not for the pool. */
static bool lends_nowhere(const struct domain_server *at, const struct pool *pool)
{
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct domain_port *port = at->port[id];
        if (port != NULL && port->port.attached && pool->lent[id] > port->port.lent &&
            refusals(&port->port) == port->watch.refused_before)
            return true;
    }
    return false;
}

/* True: a pool is lost. */
static bool pools_are_bare(struct domain *domain)
{
    bool lost = false;
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        struct domain_server *at = &domain->server[id];
        const struct pool *pool = at->server != NULL ? at->context.pool : NULL;
        bool bare =
            pool != NULL && ((pool->free_count == 0 && pool->lent_total <= pool->count / 8) || lends_nowhere(at, pool));
        at->bare = bare ? at->bare + 1 : 0;
        if (at->bare < WATCH_BARE)
            continue;
        control_log(&domain->control, 3, id, "its buffers are lost", 0);
        lost = true;
    }
    return lost;
}

int watch_tick(struct domain *domain)
{
    domain->watched_us = domain->now_us;
    for (uint32_t p = 0; p < domain->port_count; p++) {
        struct domain_port *port = domain->port[p];
        uint32_t bell = port->channel.bell;
        if (!port->port.attached || port->broken || bell == DOMAIN_NOBODY || domain->bell[bell].status == NULL)
            continue;
        const struct status_page *peer = domain->bell[bell].status;
        const char *why = look_at(port, __atomic_load_n(&peer->liveness, __ATOMIC_RELAXED));
        if (why != NULL)
            domain_accuse(domain, port, why);
        else
            beat(&port->port);
    }
    return pools_are_bare(domain) ? -ENOBUFS : 0;
}
