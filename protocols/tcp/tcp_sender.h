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
    uint32_t round_end;           /* windowEnd */
    uint32_t min_us, last_min_us; /* currentRoundMinRTT, lastRoundMinRTT; UINT32_MAX: none yet */
    uint32_t css_baseline_us;
    uint8_t samples, css_rounds;
    uint8_t phase; /* HYSTART_* */
    uint8_t reserved;
};

struct tcp_pacing { /* pacing.c */
    uint64_t next_us; /* when the next segment may go out */
    uint32_t min_rtt_us; /* 0: not known */
    uint32_t reserved;
};

struct tcp_usage { /* congestion.c: how much of the window is used */
    uint64_t sent_us;    /* when something went out last */
    uint64_t looked_us;  /* when an ACK last said whether the window was used */
    uint64_t used_us;    /* since when `used` is counted; 0: nothing was sent yet */
    uint32_t window_end; /* sequence number: what was seen is of the window before it */
    uint32_t flight;     /* the most that was in flight in it */
    uint32_t used;       /* likewise, since used_us */
    uint32_t limited;    /* all of the window was in flight */
};

struct tcp_congestion_prior { /* congestion.c: as in the block, before the last reduction; cwnd 0: nothing is saved */
    uint32_t cwnd, ssthresh, cwnd_acked;
    uint32_t cubic_w_max, cubic_w_est, cubic_prior, cubic_k_ms, cubic_acked;
    uint64_t cubic_epoch_us;
};

struct tcp_autotune { /* autotune.c */
    uint32_t round_end;
};

struct tcp_path { /* path.c, RFC 4821 */
    uint32_t probe_size;
};

struct tcp_sender {
    struct tcp_scoreboard board;
    struct tcp_hystart hystart;
    struct tcp_pacing pacing;
    struct tcp_usage usage;
    struct tcp_congestion_prior prior;
    struct tcp_autotune autotune;
    struct tcp_path path;
    uint64_t recovery_at_us; /* timers; 0: off. RACK's reordering timer, or the loss probe's */
    uint64_t pace_at_us;
    uint64_t path_at_us;
};

#endif
