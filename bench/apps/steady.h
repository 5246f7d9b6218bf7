// SPDX-License-Identifier: BSD-2-Clause
/* bh-steady: connections that are made once and have to last. Streams of both kinds carry a pattern by (stream,
 * direction, offset), checked octet by octet at both ends: bulk      both ends send as much as goes request
 * STEADY_REQUEST octets and then STEADY_ANSWER back, one round trip under way all the time Nothing is ever tried again:
 * whatever an end hears but data and the end of a stream that was asked for is a loss.
 *
 * Commands on stdin, a line each, are answered by one line of JSON on stdout:
 *   report    totals, and gaps (time in which a stream received nothing) since the mark
 *   mark      the same, and gaps are counted anew
 *   unsent    octets of the bulk streams that the peer has not acknowledged (--stack linux)
 *   streams   every stream
 *   stop      who connected sends no more and ends its streams, who listens waits until they have ended; then as
 * `streams`, and the program ends */
#ifndef BULKHEAD_BENCH_APPS_STEADY_H
#define BULKHEAD_BENCH_APPS_STEADY_H

#include "bench/apps/app.h"

#define STEADY_REQUEST 300U
#define STEADY_ANSWER  1200U
#define STEADY_HEAD    8U /* octets that the connecting end sends first: magic, kind, number */
#define STEADY_STREAMS 2048U
#define STEADY_NONE    UINT64_MAX

enum steady_kind { STEADY_BULK, STEADY_REQUESTS };
enum steady_wait { STEADY_EPOLL, STEADY_POLL, STEADY_BLOCK };

struct steady_stream { /* atomic: --wait block has a thread for each direction, and one that reports */
    const struct net *net;
    int fd;
    uint32_t number;
    enum steady_kind kind;
    bool connected;        /* by this end */
    _Atomic bool known;    /* its head has been here */
    _Atomic bool stopping; /* is to send no more than what is owed */
    _Atomic bool shut;     /* its sending side is closed */
    _Atomic bool ended;    /* the peer's is */
    _Atomic bool lost;
    bool closed;        /* the descriptor is */
    uint32_t waits_for; /* as the set knows it */
    uint16_t local_port;
    int error; /* of a loss; 0: an end of file before it was due */
    uint8_t head[STEADY_HEAD];
    _Atomic uint64_t sent, received;              /* heads included */
    _Atomic uint64_t wrong, first_wrong;          /* octets; offset in the stream */
    _Atomic uint64_t last_ns, gap_ns, longest_ns; /* received last; longest gap since the mark, and of all */
};

/* steady_stream.c */
void steady_stream_begin(struct steady_stream *s, const struct net *net, int fd, bool connected);
/* Sends and receives once, what goes. `flags` MSG_DONTWAIT or 0. False: there was nothing to do, or it would have
 * blocked. */
bool steady_send(struct steady_stream *s, int flags);
bool steady_receive(struct steady_stream *s, int flags);
bool steady_owes(const struct steady_stream *s); /* there is something to send */
bool steady_over(const struct steady_stream *s); /* both sides are closed, or it is lost */
void steady_finish(struct steady_stream *s);     /* closes its sending side, if it is to and owes nothing */
uint64_t steady_gap_ns(const struct steady_stream *s,
                       uint64_t now_ns); /* longest since the mark, the present one included */

/* steady_wait.c: the ways to wait for many streams at once */
struct steady_set {
    const struct net *net;
    enum steady_wait wait;
    int epoll;
    int listener; /* -1: none */
    struct steady_stream *stream;
    uint32_t count;
};

struct steady_ready {
    uint32_t id; /* of a stream, or one of these: */
    uint32_t events;
};
#define STEADY_STDIN    STEADY_STREAMS
#define STEADY_LISTENER (STEADY_STREAMS + 1U)
#define STEADY_READY    (STEADY_STREAMS + 2U)

void steady_set_begin(struct steady_set *set);
void steady_set_listener_closed(struct steady_set *set);
/* What this stream waits for now; nothing at all once it is over, and then its descriptor is closed. */
void steady_set_change(struct steady_set *set, struct steady_stream *s);
/* Waits at most 100 ms. Number of entries in `ret` (STEADY_READY of them). */
uint32_t steady_set_wait(struct steady_set *set, struct steady_ready *ret);
/* --wait block: threads for this stream, which end with it. */
void steady_threads(struct steady_stream *s);

#endif
