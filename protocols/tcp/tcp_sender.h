// SPDX-License-Identifier: BSD-2-Clause
/* What the engine knows of a connection that a new incarnation does without: it is not in the store, lies beside the block
 * under the same index, and is all zero when a connection begins, or is put back after a restart. Each part belongs to
 * one file. */
#ifndef BULKHEAD_PROTOCOLS_TCP_TCP_SENDER_H
#define BULKHEAD_PROTOCOLS_TCP_TCP_SENDER_H

#include <stdbool.h>
#include <stdint.h>

struct tcp_flight { /* flight.c: a range of the send stream that went out at one time */
    uint32_t start, end; /* sequence numbers, [start, end) */
    uint32_t sent_us;    /* the low 32 bits of when it went out last */
    uint32_t prev, next;   /* in the order of sequence numbers; record + 1, 0: none */
    uint32_t older, newer; /* in the order of sending */
    uint8_t flags;       /* TCP_FLIGHT_* */
    uint8_t sends;       /* how often it went out */
    uint8_t reserved[2];
};

struct tcp_scoreboard { /* flight.c, rack.c, recovery.c */
    uint32_t first, last;    /* flights; record + 1 */
    uint32_t oldest, newest;
};

struct tcp_hystart { /* hystart.c, RFC 9406 */
    uint32_t round_end;
};

struct tcp_pacing { /* pacing.c */
    uint64_t next_us; /* when the next segment may go out */
};

struct tcp_autotune { /* autotune.c */
    uint32_t round_end;
};

struct tcp_path { /* path.c */
    uint32_t highest;      /* that the link and the peer take; octets of options and payload, as c->mss */
    uint32_t high;         /* the search goes up to this; 0: there was never any need */
    uint32_t probe_size;   /* that is under way; 0: none */
    uint32_t probe_octets; /* its payload */
    uint32_t probe_seq;
    uint32_t reported_mtu; /* by ICMP, and not believed yet; 0: none */
    uint32_t reported_seq; /* of the segment that it is about */
    bool full_acked;       /* a segment of this size has passed */
    uint64_t search_at_us; /* not before this */
};

struct tcp_sender {
    struct tcp_scoreboard board;
    struct tcp_hystart hystart;
    struct tcp_pacing pacing;
    struct tcp_autotune autotune;
    struct tcp_path path;
    uint64_t recovery_at_us; /* timers; 0: off. RACK's reordering timer, or the loss probe's */
    uint64_t pace_at_us;
};

#endif
