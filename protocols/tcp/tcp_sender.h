// SPDX-License-Identifier: BSD-2-Clause
/* What the engine knows of a connection that a new incarnation does without: it is not in the store, lies beside the block
 * under the same index, and is all zero when a connection begins; of one that is put back after a restart resume.c fills
 * in what can be known. Each part belongs to one file. */
#ifndef BULKHEAD_PROTOCOLS_TCP_TCP_SENDER_H
#define BULKHEAD_PROTOCOLS_TCP_TCP_SENDER_H

#include <stdbool.h>
#include <stdint.h>

enum tcp_flight_flag {
    TCP_FLIGHT_SACKED = 1 << 0, /* the peer said that it has it */
    TCP_FLIGHT_LOST = 1 << 1,   /* not in flight any more: waits to go out again. Never both */
};

struct tcp_flight { /* flight.c: a range of the send stream that went out at one time; empty: the record is not used */
    uint32_t start, end;   /* sequence numbers, [start, end) */
    uint32_t sent_us;      /* the low 32 bits of when it went out last */
    uint32_t prev, next;   /* in the order of sequence numbers; record + 1, 0: none */
    uint32_t older, newer; /* in the order of sending, of those that are neither SACKED nor LOST */
    uint16_t mss;          /* payload of the segments that it was cut into; what the peer SACKs ends where one ends */
    uint8_t flags;         /* TCP_FLIGHT_* */
    uint8_t sends;         /* how often it went out */
};

struct tcp_rack { /* rack.c, RFC 8985 5.2 */
    uint64_t known_at_us; /* when xmit_us was taken */
    uint64_t min_rtt_at_us;
    uint64_t rtt_next_us;     /* RTTVAR does not become smaller before */
    uint32_t rtt_us, min_rtt_us; /* 0: not known */
    uint32_t xmit_us, end_seq;   /* of the segment sent last of those that were delivered; with `known` */
    uint32_t fack;               /* end of the highest one delivered; with `known` */
    uint32_t dsack_round;        /* with `in_dsack_round` */
    uint8_t reo_wnd_mult;        /* less 1 */
    uint8_t reo_wnd_persist;     /* recoveries */
    bool known, reordering_seen, in_dsack_round;
    bool waits; /* the timer is that of reordering, not of the loss probe */
};

struct tcp_loss_probe { /* rack.c, RFC 8985 7 */
    uint32_t end_seq;
    bool active, is_retrans;
    bool now; /* it is to go out */
};

struct tcp_episode { /* recovery.c */
    uint32_t prr_delivered, prr_out, recover_fs; /* RFC 9937 6 */
    uint32_t undo_una;      /* snd_una when the episode began; with undo_possible */
    uint32_t undo_resent;   /* octets that went out again in it and were not reported as duplicates */
    uint64_t resent_at_us;  /* when the first of them went out; 0: nothing did */
    bool undo_possible;
    bool timed_out;         /* it began with a timeout */
    bool excused;           /* the window stays as it was (resume.c) */
    bool resend_now;        /* the first lost segment goes out whatever the window says */
    uint8_t frto;           /* step of RFC 5682 3.1; 0: it is not looked at */
};

struct tcp_scoreboard { /* flight.c */
    uint64_t sent_at_us;      /* when something went out last */
    uint32_t first, last;     /* flights; record + 1 */
    uint32_t oldest, newest;
    uint32_t sack_hint;       /* where the last block was found; record + 1 */
    uint32_t lost_hint;       /* no LOST one lies before; record + 1 */
    uint32_t count;           /* of records */
    uint32_t in_flight, sacked, lost; /* octets: each record counts as one of these */
    bool own;                 /* the connection's own record is used */
    struct tcp_rack rack;
    struct tcp_loss_probe probe;
    struct tcp_episode recovery;
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
    uint64_t leaked_us;  /* when last */
    uint32_t filled;     /* octets in the bucket */
    uint32_t min_rtt_us; /* 0: not known */
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

struct tcp_quick { /* delayed_ack.c */
    uint64_t text_at_us; /* when text came in order last; 0: never */
    uint8_t left;        /* ACKs that are not delayed */
    bool interactive;    /* the user answers what comes: they are all the same */
};

struct tcp_autotune { /* autotune.c */
    uint64_t round_us;        /* when the receiver's round began; 0: none has */
    uint32_t round_consumed;  /* stream offset consumed to by then */
    uint32_t copied;          /* octets consumed in the round before */
    uint32_t rtt_us;          /* the least that was measured; 0: none was */
    uint32_t send_wanted, receive_wanted; /* octets; 0: what there is will do */
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
    bool suspected;        /* a black hole: the first probe is to say */
    uint64_t search_at_us; /* not before this */
};

struct tcp_resume { /* resume.c: of a connection that was put back */
    uint32_t end;         /* what was sent before it; with `excused` or `probing` */
    uint32_t probe_start, probe_end; /* the segment that went out first; with `probing` */
    uint32_t sent_us;     /* when, the low 32 bits */
    bool due;             /* it has not gone out yet */
    bool probing;         /* nothing has told yet that it arrived */
    bool excused;         /* no reduction for the first loss */
};

struct tcp_sender {
    struct tcp_scoreboard board;
    struct tcp_hystart hystart;
    struct tcp_pacing pacing;
    struct tcp_usage usage;
    struct tcp_congestion_prior prior;
    struct tcp_autotune autotune;
    struct tcp_quick quick;
    struct tcp_path path;
    struct tcp_resume resume;
    uint64_t recovery_at_us; /* timers; 0: off. RACK's reordering timer, or the loss probe's */
    uint64_t pace_at_us;
};

#endif
