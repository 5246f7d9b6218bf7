// SPDX-License-Identifier: BSD-2-Clause
/* A port is a server's end of a channel: push, pull, and the capability table that says what the other side may name.
 * Between domains the halves are segments; between servers of one domain they are private memory of that domain and
 * there is no bell: the same two operations, the same checks. Pushed messages are held until port_flush(), which the
 * domain loop calls after its servers have committed (rule 4). */
#ifndef BULKHEAD_IPC_PORT_H
#define BULKHEAD_IPC_PORT_H

#include "capabilities/table.h"
#include "ipc/doorbell.h"
#include "ipc/message.h"
#include "ipc/ring.h"

#define PORT_COOKIES 2048U /* of loans: all that servers use are below */

struct port_counters {
    uint64_t pushed, pulled, full, malformed;
    uint64_t heard;    /* messages that came, beats among them */
    uint64_t returned; /* loans that came home */
    uint64_t foreign;  /* well-formed, and nothing that is said on this channel */
    uint64_t strays;   /* cookies below PORT_COOKIES that came home and were not out */
};

struct port {
    const struct port_operations *operations; /* ring ports, or a wrapper around one */
    void *wrapper;                            /* of the wrapper's own */
    struct ring ring;
    struct capability_table table; /* what the peer may name in messages to us */
    struct doorbell *bell;         /* of the peer's domain; NULL: same domain */
    bool attached;                 /* false between the death of a peer and the next incarnation */
    bool strict;                   /* a peer that says what makes no sense is not listened to any more */
    bool senseless;                /* it has: what it said stays in the ring, as evidence */
    uint32_t attachments;          /* how often it was attached: wrappers tell one life of the channel from the next */
    bool quiet_output;             /* all that was pushed since the last flush were returned loans */
    uint32_t lent;                 /* packets of this life that went out and are not home, as far as messages tell */
    uint32_t returns_unrung;       /* returned loans that were flushed without ringing */
    uint32_t taken, given;         /* loans of this life that came, and that went back */
    uint16_t tick;                 /* of who watches the peer; never 0 */
    uint16_t since[PORT_COOKIES];  /* by cookie: the tick in which it was lent; 0: it is not */
    struct port_counters counters;
};

struct port_operations {
    bool (*push)(struct port *port, const struct message *message);
    bool (*pull)(struct port *port, struct message *ret);
};
extern const struct port_operations port_ring_operations;

void port_init(struct port *port, struct capability *table_entries);
void port_attach(struct port *port, struct ring_half *mine, const struct ring_half *peer, struct doorbell *bell);
void port_detach(struct port *port); /* drops everything pushed and not flushed, everything not pulled */

/* False: no space, or detached. slot_count is set here from the operation. */
static inline bool port_push(struct port *port, const struct message *message)
{
    return port->operations->push(port, message);
}
/* Untrusted: what the peer wrote. The message is a private copy whose envelope (slot count for its operation, reserved
 * octets, flags, count) has been checked; malformed ones are counted and skipped, and so are beats: a RETURN of
 * nothing, which says that somebody is there. False: none. */
static inline bool port_pull(struct port *port, struct message *ret)
{
    return port->operations->pull(port, ret);
}
/* Slots free for pushing (a message takes up to two today), exact when there are fewer than a quarter of the ring; 0
 * when detached. */
uint32_t port_space(struct port *port);
/* Whether so many slots are free, exactly. */
bool port_has_space(struct port *port, uint32_t slots);
bool port_pending(struct port *port); /* something to pull */
/* Publishes both indices; rings the peer's bell unless only returned loans went out (then every RING_RETURNS of them).
 */
void port_flush(struct port *port);
/* What was just pulled is nothing that a sound peer says, whatever has happened to its neighbours: no operation of this
 * channel, or loans that come home in the name of what it never had. What else went with it (a loan, a request) is
 * lost. */
static inline void port_makes_no_sense(struct port *port)
{
    port->senseless = port->strict;
}
static inline void port_foreign(struct port *port)
{
    port->counters.foreign++;
    port_makes_no_sense(port);
}
/* The next flush rings for returned loans, too: somebody waits for what they make free. */
static inline void port_hurry(struct port *port)
{
    port->quiet_output = false;
}

/* Untrusted: message. Slot count for its operation, flags, count, reserved octets. */
bool port_message_ok(const struct message *message);
/* How many ticks ago the oldest loan went out that is not home; 0: there is none. */
uint32_t port_oldest(const struct port *port);

/* Collects cookies and sends them home in RETURN messages of up to MESSAGE_RETURNS_MAX; the batch is sent when full and
 * at port_returns_flush(). False: no space now, keep the cookie and try again. */
struct port_returns {
    struct message message;
};
bool port_return(struct port *port, struct port_returns *returns, uint32_t cookie);
bool port_returns_flush(struct port *port, struct port_returns *returns);

#endif
