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
    uint64_t round_us;        /* when the receiver's round began; 0: none has */
    uint32_t round_consumed;  /* stream offset consumed to by then */
    uint32_t copied;          /* octets consumed in the round before */
    uint32_t rtt_us;          /* the least that was measured; 0: none was */
    uint32_t send_wanted, receive_wanted; /* octets; 0: what there is will do */
};

struct tcp_path { /* path.c, RFC 4821 */
    uint32_t probe_size;
};

struct tcp_sender {
    struct tcp_scoreboard board;
    struct tcp_hystart hystart;
    struct tcp_pacing pacing;
    struct tcp_autotune autotune;
    struct tcp_path path;
    uint64_t recovery_at_us; /* timers; 0: off. RACK's reordering timer, or the loss probe's */
    uint64_t pace_at_us;
    uint64_t path_at_us;
};

#endif
