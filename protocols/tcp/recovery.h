// SPDX-License-Identifier: BSD-2-Clause
/* What flight.c, rack.c and recovery.c share. */
#ifndef BULKHEAD_PROTOCOLS_TCP_RECOVERY_H
#define BULKHEAD_PROTOCOLS_TCP_RECOVERY_H

#include "protocols/tcp/tcp_internal.h"

#define FLIGHT_LIFE_US  (1U << 30) /* a quarter of what sent_us can tell apart */

struct tcp_delivery { /* what one ACK says has arrived */
    const struct segment *segment;
    uint64_t now_us;
    uint32_t in_flight;    /* octets before it */
    uint32_t acked;        /* octets, cumulatively */
    uint32_t delivered;    /* octets that were not known to be there */
    uint32_t steps;        /* records that may still be looked at */
    bool duplicate;        /* as RFC 5681 2 defines it */
    bool echoed;           /* and that a CE came */
    bool original;         /* some of it, before `recover`, went out once only */
    bool resent_acked;     /* some of what is acknowledged cumulatively went out again */
    uint32_t fack;         /* end of the highest of it */
    bool any;              /* the newest of it: */
    uint32_t sent_us, end; /* when it went out, where it ends */
    bool measured;         /* of what went out once: */
    uint32_t newest_sent_us, oldest_sent_us;
    bool reordered; /* it went out once, and something beyond it had been delivered before */
    bool dsack;
    struct tcp_range duplicate_range; /* with dsack */
    uint32_t newly_lost;              /* octets */
};

static inline struct tcp_scoreboard *board_of(const struct tcp *t, const struct tcp_conn *c)
{
    return &t->sender[conn_index(t, c)].board;
}

static inline struct tcp_flight *flight_at(const struct tcp *t, uint32_t link) /* record + 1 */
{
    return link != 0 ? &t->flight[link - 1] : NULL;
}

/* flight.c; `mss` is that of the segments that went out, before their SACKs were taken off the connection. None of
 * these fails: where records are short it is known less exactly what is in flight (flights_full). */
void flight_sent(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t start, uint32_t end,
                 uint32_t mss); /* at the end of all */
void flight_resent(struct tcp *t, struct tcp_conn *c, uint64_t now_us, struct tcp_flight *f, uint32_t end,
                   uint32_t mss); /* up to there */
struct tcp_flight *flight_join(struct tcp *t, struct tcp_conn *c, struct tcp_flight *f);
struct tcp_flight *flight_split(struct tcp *t, struct tcp_conn *c, struct tcp_flight *f,
                                uint32_t at);                                  /* right; NULL: full */
void flight_lost(struct tcp *t, struct tcp_conn *c, struct tcp_flight *f);     /* which is in flight */
struct tcp_flight *flight_first_lost(struct tcp *t, struct tcp_conn *c);       /* NULL: nothing is lost */
void flights_acked(struct tcp *t, struct tcp_conn *c, struct tcp_delivery *d); /* all before snd_una */
/* [start, end) lies in [snd_una, snd_max]. */
void flights_sacked(struct tcp *t, struct tcp_conn *c, uint32_t start, uint32_t end, struct tcp_delivery *d);
void flights_forget_sacks(struct tcp *t, struct tcp_conn *c);  /* all that was SACKED is LOST */
void flights_forget_losses(struct tcp *t, struct tcp_conn *c); /* LOST is in flight again, mostly all */

/* rack.c */
bool rack_sent_after(uint32_t sent_us, uint32_t end, uint32_t than_us, uint32_t than_end);
void rack_delivered(struct tcp *t, struct tcp_conn *c, struct tcp_delivery *d, const struct tcp_flight *f,
                    uint32_t end);
void rack_update(struct tcp *t, struct tcp_conn *c, struct tcp_delivery *d);
uint32_t rack_detect(struct tcp *t, struct tcp_conn *c, uint64_t now_us); /* octets newly lost; sets the timer */
void rack_timed_out(struct tcp *t, struct tcp_conn *c, uint64_t now_us);
void rack_recovered(struct tcp *t, struct tcp_conn *c);
void probe_schedule(struct tcp *t, struct tcp_conn *c, uint64_t now_us);
bool probe_acked(struct tcp *t, struct tcp_conn *c, const struct tcp_delivery *d); /* true: it repaired a loss */

/* resume.c */
void resume_acked(struct tcp *t, struct tcp_conn *c, struct tcp_delivery *d);

/* recovery.c: lost text goes out; output.c does it */
uint32_t recovery_room(struct tcp *t, struct tcp_conn *c); /* octets that the window has room for */
void recovery_resent(struct tcp *t, struct tcp_conn *c, uint64_t now_us, struct tcp_flight *f, uint32_t end,
                     uint32_t mss);
void recovery_probed(struct tcp *t, struct tcp_conn *c, bool is_retrans); /* snd_nxt is past it */

#endif
