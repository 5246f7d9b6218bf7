// SPDX-License-Identifier: BSD-2-Clause
/* Loss recovery with a peer that SACKs. flight.c knows what is in flight, rack.c what of it is lost; here is what
 * is done about it.
 *
 *   open      what is in flight is held against the window, not what is not acknowledged: a SACK lets new text out
 * (that is limited transmit, RFC 3042) recovery  (TCP_CONN_RECOVERY) from the first loss until all that was sent before
 * it is acknowledged. ssthresh is lowered once; the window is what proportional rate reduction makes of each ACK (RFC
 * 9937), ssthresh at the end. Lost text goes first, then new. A retransmission that is lost is found like anything else
 *   loss      (TCP_CONN_LOSS) from a timeout on, likewise. Slow start; what was not SACKED and has had its time is lost
 *
 * A loss that was none is undone, the window is as it was: a timeout when text arrives that went out before it and was
 * not sent again (RFC 5682, the SACK-enhanced F-RTO), or an ACK echoes a timestamp from before it (RFC 4015); any
 * episode when the peer got twice all that went out again (RFC 2883, RFC 3708). A peer can lie about it, as it can
 * about what it received: it harms the path that it is on.
 *
 * SACKs are hints (RFC 2018 8): text stays in the ring until it is acknowledged, and a timeout whose first octet is
 * SACKED shows a peer that took it back: all SACKs are forgotten. */
#include "protocols/tcp/recovery.h"

#define STEPS_OF_AN_ACK 2048U /* records that one ACK may cost */
#define DSACK_REACH     (1U << 30)

/* ---- what the ACK says ---- */

/* RFC 2883 4: the first block lies below the ACK, or within the second. */
static bool is_dsack(const struct segment *s)
{
    struct tcp_range b = s->sack[0], around = s->sack[1];
    if (!seq_after(b.end, s->ack))
        return true;
    return s->sack_count > 1 && !seq_before(b.start, around.start) && !seq_after(b.end, around.end);
}

/* Of the octets that went out again in this episode so many were not needed. */
static void take_dsack(struct tcp *t, struct tcp_conn *c, struct tcp_delivery *d, struct tcp_range b)
{
    struct tcp_episode *r = &board_of(t, c)->recovery;
    t->counters.dsacks_in++;
    d->dsack = true;
    d->duplicate_range = b;
    if (r->undo_possible && !seq_before(b.start, r->undo_una))
        r->undo_resent -= u32_min(r->undo_resent, b.end - b.start);
}

/* Untrusted: segment->sack (wire). Blocks lie above their ACK and in what was sent; an old ACK's may be below snd_una
 * by now.
 */
static void take_blocks(struct tcp *t, struct tcp_conn *c, struct tcp_delivery *d)
{
    const struct segment *s = d->segment;
    for (uint32_t i = 0; i < s->sack_count; i++) {
        struct tcp_range b = s->sack[i];
        bool sound = seq_before(b.start, b.end) && !seq_after(b.end, c->snd_max);
        if (sound && i == 0 && is_dsack(s) && c->snd_max - b.start <= DSACK_REACH) {
            take_dsack(t, c, d, b);
        } else if (!sound || !seq_after(b.start, s->ack)) {
            t->counters.drop_sack++;
        } else if (seq_after(b.end, c->snd_una)) {
            uint32_t before = d->delivered;
            flights_sacked(t, c, seq_max(b.start, c->snd_una), b.end, d);
            t->counters.sacked += d->delivered != before;
        }
    }
}

/* RFC 6298 3 (Karn), RFC 7323 4.1: of what went out once, else what the peer echoes. As Linux, a sample of each ACK.
 * Untrusted: tsecr (wire): not from the future. */
static void take_rtt(struct tcp *t, struct tcp_conn *c, const struct tcp_delivery *d)
{
    struct tcp_rack *r = &board_of(t, c)->rack;
    bool round = d->now_us >= r->rtt_next_us;
    uint32_t newest_us = (uint32_t)d->now_us - d->newest_sent_us;
    uint32_t echo = timestamp_clock(t, d->now_us, c->ts_offset) - d->segment->tsecr;
    if (d->measured)
        congestion_rtt(t, c, d->now_us, newest_us);
    if (d->measured)
        rtt_sampled(t, c, d->now_us, d->resent_acked ? newest_us : (uint32_t)d->now_us - d->oldest_sent_us, round);
    else if (d->acked > 0 && d->resent_acked && (c->flags & TCP_CONN_TIMESTAMPS) && d->segment->timestamps &&
             echo <= t->config.rto_max_us / TIMESTAMP_TICK_US)
        rtt_sampled(t, c, d->now_us, echo * TIMESTAMP_TICK_US, round);
    else
        return;
    if (round)
        r->rtt_next_us = d->now_us + c->srtt_us;
}

/* ---- proportional rate reduction ---- */

/* RFC 9937 6. Its share of what was delivered is rounded up to whole segments, which is what goes out: as if all were
 * counted in segments, as Linux does. */
static void prr_update(struct tcp *t, struct tcp_conn *c, uint32_t delivered, bool safe)
{
    const struct tcp_scoreboard *b = board_of(t, c);
    struct tcp_episode *r = &board_of(t, c)->recovery;
    uint32_t mss = conn_send_mss(c), send;
    if (r->excused) {
        c->cwnd = u32_max(c->ssthresh, mss);
        return;
    }
    r->prr_delivered += delivered;
    if (b->in_flight > c->ssthresh) {
        uint64_t allowed = ((uint64_t)r->prr_delivered * c->ssthresh + r->recover_fs - 1) / r->recover_fs;
        allowed = (allowed + mss - 1) / mss * mss;
        send = allowed > r->prr_out ? (uint32_t)(allowed - r->prr_out) : 0;
    } else {
        send = r->prr_delivered > r->prr_out ? r->prr_delivered - r->prr_out : 0;
        send = u32_max(send, delivered) + (safe ? mss : 0);
        send = u32_min(c->ssthresh - b->in_flight, send);
    }
    if (r->prr_out == 0)
        send = u32_max(send, mss); /* fast retransmit */
    c->cwnd = u32_max(b->in_flight + send, mss);
}

/* ---- episodes ---- */
static void episode_begin(struct tcp *t, struct tcp_conn *c, bool timed_out)
{
    struct tcp_scoreboard *b = board_of(t, c);
    b->probe = (struct tcp_loss_probe){0};
    b->recovery = (struct tcp_episode){.undo_una = c->snd_una, .undo_possible = true, .timed_out = timed_out};
}

/* RFC 8985 7.4. */
static void probe_repaired(struct tcp *t, struct tcp_conn *c, const struct tcp_delivery *d)
{
    congestion_confirmed(t, c);
    congestion_reduce(t, c, d->now_us);
    c->cwnd = u32_max(c->ssthresh, conn_send_mss(c));
}

/* Something is lost; `in_flight` octets were, before it was known. */
static void recovery_begin(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t in_flight)
{
    struct tcp_scoreboard *b = board_of(t, c);
    episode_begin(t, c, false);
    congestion_save(t, c);
    bool alone = b->lost <= t->sender[conn_index(t, c)].path.probe_octets;
    b->recovery.excused = resume_excuses(t, c);
    if ((path_probe_lost(t, now_us, c) && alone) || b->recovery.excused)
        c->ssthresh = u32_max(c->cwnd, 2 * conn_send_mss(c));
    else
        congestion_reduce(t, c, now_us);
    b->recovery.recover_fs = u32_max(in_flight, conn_send_mss(c));
    c->recover = c->snd_max;
    c->flags |= TCP_CONN_RECOVERY;
    t->counters.recoveries++;
}

static void recovery_end(struct tcp *t, struct tcp_conn *c)
{
    c->flags &= ~(uint32_t)TCP_CONN_RECOVERY;
    c->cwnd = u32_max(c->ssthresh, conn_send_mss(c)); /* RFC 9937 6 */
    if (board_of(t, c)->recovery.excused) /* slow start may go on */
        c->ssthresh = u32_max(c->ssthresh, t->sender[conn_index(t, c)].prior.ssthresh);
    rack_recovered(t, c);
}

/* ---- what was no loss ---- */
static void undo(struct tcp *t, struct tcp_conn *c)
{
    struct tcp_episode *r = &board_of(t, c)->recovery;
    if (r->timed_out)
        t->counters.spurious_timeouts++;
    else
        t->counters.spurious_recoveries++;
    congestion_restore(t, c);
    c->flags &= ~(uint32_t)(TCP_CONN_RECOVERY | TCP_CONN_LOSS);
    flights_forget_losses(t, c);
    *r = (struct tcp_episode){0};
}

/* RFC 4015 3.2. Untrusted: tsecr (wire). Of an ACK that goes beyond what was sent again first. */
static bool echo_is_older(const struct tcp *t, const struct tcp_conn *c, const struct tcp_delivery *d)
{
    const struct tcp_episode *r = &board_of(t, c)->recovery;
    return d->acked > 0 && (c->flags & TCP_CONN_TIMESTAMPS) && d->segment->timestamps && r->resent_at_us != 0 &&
           seq_before(d->segment->tsecr, timestamp_clock(t, r->resent_at_us, c->ts_offset));
}

/* In recovery several things may be lost, and the first only late: the last ACK decides. */
static bool undo_is_due(const struct tcp *t, const struct tcp_conn *c, const struct tcp_delivery *d)
{
    const struct tcp_episode *r = &board_of(t, c)->recovery;
    if (!r->undo_possible)
        return false;
    if (d->dsack && r->resent_at_us != 0 && r->undo_resent == 0)
        return true;
    if (c->flags & TCP_CONN_LOSS)
        return echo_is_older(t, c, d);
    return (c->flags & TCP_CONN_RECOVERY) && !seq_before(c->snd_una, c->recover) && echo_is_older(t, c, d);
}

/* RFC 5682 3.1. True: the timeout was for nothing. */
static bool frto_step(struct tcp *t, struct tcp_conn *c, const struct tcp_delivery *d)
{
    struct tcp_episode *r = &board_of(t, c)->recovery;
    if (r->frto == 0)
        return false;
    if (d->original) /* step 3 b, and before it */
        return true;
    if (d->acked > 0)
        r->frto = r->frto == 1 && seq_before(c->snd_una, c->recover) ? 2 : 0; /* step 2 b: new text first */
    else if (d->duplicate || d->delivered > 0)
        r->frto = 0; /* steps 2 a, 3 a */
    return false;
}

/* ---- events ---- */
static void take_step(struct tcp *t, struct tcp_conn *c, const struct tcp_delivery *d)
{
    const struct tcp_scoreboard *b = board_of(t, c);
    bool over = !seq_before(c->snd_una, c->recover), was_open = false;
    if ((c->flags & TCP_CONN_RECOVERY) && over) {
        recovery_end(t, c);
    } else if (c->flags & TCP_CONN_LOSS) {
        if (d->delivered > 0)
            congestion_acked(t, c, d->now_us, d->echoed ? 0 : d->delivered, d->in_flight);
        if (over) {
            c->flags &= ~(uint32_t)TCP_CONN_LOSS;
            rack_recovered(t, c);
        }
    } else if (!(c->flags & TCP_CONN_RECOVERY)) {
        was_open = true;
        if (d->acked > 0)
            congestion_acked(t, c, d->now_us, d->echoed ? 0 : d->acked, d->in_flight);
    }
    bool lost = was_open ? d->newly_lost > 0 : b->lost > 0; /* what of the last episode is left begins a new one */
    if (!(c->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS)) && lost)
        recovery_begin(t, c, d->now_us, d->in_flight);
    if (c->flags & TCP_CONN_RECOVERY)
        prr_update(t, c, d->delivered, d->acked > 0 && d->newly_lost == 0);
}

/* An ACK has come: snd_una was `old_una`; rtt_acked() has seen it. Untrusted: s->sack, s->tsecr (wire). */
void recovery_acked(struct tcp *t, struct tcp_conn *c, uint64_t now_us, const struct segment *s, uint32_t old_una,
                    bool duplicate, bool echoed)
{
    struct tcp_scoreboard *b = board_of(t, c);
    struct tcp_delivery d = {.segment = s,
                             .now_us = now_us,
                             .in_flight = b->in_flight,
                             .acked = c->snd_una - old_una,
                             .steps = STEPS_OF_AN_ACK,
                             .duplicate = duplicate,
                             .echoed = echoed};
    flights_acked(t, c, &d);
    take_blocks(t, c, &d);
    resume_acked(t, c, &d);
    if (now_us - b->sent_at_us > FLIGHT_LIFE_US) { /* the host slept meanwhile: when things were sent is not known */
        d.any = d.measured = d.reordered = false;
        b->rack.known = false;
    }
    rack_update(t, c, &d);
    take_rtt(t, c, &d);
    if (probe_acked(t, c, &d) && !(c->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS)))
        probe_repaired(t, c, &d);
    if (undo_is_due(t, c, &d) || ((c->flags & TCP_CONN_LOSS) && frto_step(t, c, &d)))
        undo(t, c);
    d.newly_lost = rack_detect(t, c, now_us);
    take_step(t, c, &d);
    if (d.acked > 0 || b->sacked > 0)
        probe_schedule(t, c, now_us);
}

void recovery_timer(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    struct tcp_sender *s = &t->sender[conn_index(t, c)];
    struct tcp_scoreboard *b = &s->board;
    uint32_t in_flight = b->in_flight;
    s->recovery_at_us = 0;
    if (!b->rack.waits) {
        b->probe.now = true;
        c->retransmit_at_us = now_us + c->rto_us; /* RFC 8985 7.3 */
        return;
    }
    bool lost = rack_detect(t, c, now_us) > 0;
    if (lost && !(c->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS)))
        recovery_begin(t, c, now_us, in_flight);
    if (lost && (c->flags & TCP_CONN_RECOVERY))
        prr_update(t, c, 0, false);
}

/* The retransmission timer: c->retransmits counts it already. */
void recovery_timed_out(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    struct tcp_sender *s = &t->sender[conn_index(t, c)];
    struct tcp_scoreboard *b = &s->board;
    const struct tcp_flight *first = flight_at(t, b->first);
    bool again = c->retransmits > 1 || (c->flags & TCP_CONN_LOSS);
    bool reneged = first != NULL && first->start == c->snd_una && (first->flags & TCP_FLIGHT_SACKED);
    if (reneged) { /* RFC 2018 8 */
        t->counters.reneged++;
        flights_forget_sacks(t, c);
    }
    if (c->retransmits <= 1) {
        episode_begin(t, c, true);
        congestion_save(t, c);
    }
    congestion_timeout(t, c, now_us);
    rack_timed_out(t, c, now_us);
    b->probe = (struct tcp_loss_probe){0};
    b->rack.waits = false;
    s->recovery_at_us = 0;
    b->recovery.frto = !again && !reneged;
    b->recovery.resend_now = true;
    bool ancient = now_us - c->unacked_at_us > FLIGHT_LIFE_US; /* TCP_USER_TIMEOUT may be weeks */
    if (c->snd_wnd == 0 || b->first == 0 || ancient) {         /* or the window was taken back: it goes out as new */
        flights_release(t, c);
        c->snd_nxt = c->snd_una;
    }
}

/* ---- what output.c asks and tells ---- */
uint32_t recovery_room(struct tcp *t, struct tcp_conn *c)
{
    uint32_t window = congestion_window(c), in_flight = board_of(t, c)->in_flight;
    return window > in_flight ? window - in_flight : 0;
}

void recovery_sent(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t start, uint32_t end, uint32_t mss)
{
    struct tcp_scoreboard *b = board_of(t, c);
    if (b->first == 0)
        b->rack.known = false; /* nothing was sent before what arrived last, and that may be long ago */
    b->sent_at_us = now_us;
    flight_sent(t, c, now_us, start, end, mss);
    if (c->flags & TCP_CONN_RECOVERY)
        b->recovery.prr_out += end - start;
    probe_schedule(t, c, now_us);
}

void recovery_resent(struct tcp *t, struct tcp_conn *c, uint64_t now_us, struct tcp_flight *f, uint32_t end,
                     uint32_t mss)
{
    struct tcp_episode *r = &board_of(t, c)->recovery;
    uint32_t octets = end - f->start;
    bool first = f->start == c->snd_una;
    board_of(t, c)->sent_at_us = now_us;
    flight_resent(t, c, now_us, f, end, mss);
    r->resend_now = false;
    if (r->frto == 2)
        r->frto = 0; /* nothing new could be sent: RFC 5682 3.1 step 2 b */
    if (!(c->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS)))
        return;
    r->undo_resent += octets;
    if (r->resent_at_us == 0)
        r->resent_at_us = now_us;
    if (!(c->flags & TCP_CONN_RECOVERY))
        return;
    r->prr_out += octets;
    t->counters.fast_retransmits++;
    if (first) /* as Linux: what was just sent has its time */
        c->retransmit_at_us = now_us + c->rto_us;
}

void recovery_probed(struct tcp *t, struct tcp_conn *c, bool is_retrans)
{
    board_of(t, c)->probe = (struct tcp_loss_probe){.end_seq = c->snd_nxt, .active = true, .is_retrans = is_retrans};
    t->sender[conn_index(t, c)].recovery_at_us = 0;
    t->counters.loss_probes++;
}

void recovery_resend_all(struct tcp *t, struct tcp_conn *c)
{
    struct tcp_scoreboard *b = board_of(t, c);
    while (b->oldest != 0)
        flight_lost(t, c, flight_at(t, b->oldest));
    b->probe = (struct tcp_loss_probe){0};
    b->recovery.resend_now = b->lost > 0;
}
