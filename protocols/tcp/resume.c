// SPDX-License-Identifier: BSD-2-Clause
/* How a connection goes on that was put back after a restart (restart.c).
 *
 * What the last incarnation sent, and when, is not in the store but for its ends: [snd_una, snd_nxt) counts as sent
 * just before the restart, as neither SACKed nor lost, and as sent twice, so that no round trip is measured by it. Part
 * of it may never have left the host, or only its ACKs were lost; and nobody will send the peer's ACKs again. So at its
 * first turn every connection speaks: with the first segment that is not acknowledged, or with an ACK.
 *
 * That segment is a probe like RACK-TLP's (RFC 8985 7), at the other end: what it is answered with says what the peer
 * has. It was sent after all the rest, so when it is known to have arrived (its ACK, by its timestamp; or a D-SACK of
 * it: the peer had it already) RACK takes for lost what is not SACKed then, and that goes out within the one round
 * trip. It is no timeout: neither the window nor the RTO knows of it. Nor is the window reduced for the losses of that
 * episode: they are those of the host's death, and nothing of them is on the path, so what is to go out again
 * is not spread either (Deviates: RFC 5681 3.1, RFC 9937; a loss on the path among them is answered at the next one).
 * An episode that was under way has had its reduction: recovery ends, at ssthresh; after a timeout slow start goes on.
 *
 * A peer without SACK: when the probe is answered all that is left goes out again, as new, within the window.
 *
 * What the peer sent while nobody listened: the ACK tells where we are, and what is held beyond; a peer with RACK-TLP
 * sends its tail again after two round trips, and the SACK for that tells it the rest. One without SACK gets as many
 * duplicate ACKs as its fast retransmit wants (RFC 5681 3.2).
 *
 * The same serves when not we but what is below us on this host has died and is back, with all that it had of ours in
 * its hands: tcp_speak_again(). There is more that is known then, and all of it goes on counting. */
#include "protocols/tcp/restart.h"

static struct tcp_resume *resume_of(const struct tcp *t, const struct tcp_conn *c)
{
    return &t->sender[conn_index(t, c)].resume;
}

/* Of any size: a SACK may end anywhere in it. Sent so long ago that RACK need not wait for what the path may reorder.
 */
static void scoreboard_again(struct tcp *t, struct tcp_conn *c)
{
    struct tcp_scoreboard *b = board_of(t, c);
    uint64_t before_us = t->started_us - 1 - b->rack.min_rtt_us / 4;
    b->sent_at_us = t->started_us;
    flight_sent(t, c, before_us, c->snd_una, c->snd_nxt, 1);
}

static void sender_again(struct tcp *t, struct tcp_conn *c)
{
    struct tcp_sender *s = &t->sender[conn_index(t, c)];
    s->board.rack.rtt_us = c->srtt_us;
    s->board.rack.min_rtt_us = c->srtt_us / 2; /* half: what comes sooner answers something older */
    s->board.rack.min_rtt_at_us = t->started_us;
    s->autotune.rtt_us = c->srtt_us;
    s->usage.sent_us = c->received_at_us;
    s->usage.window_end = c->snd_una;
    path_begin(t, c);
}

/* The episode that was under way. */
static void episode_again(struct tcp_conn *c)
{
    if (c->flags & TCP_CONN_RECOVERY) {
        c->flags &= ~(uint32_t)TCP_CONN_RECOVERY;
        c->cwnd = u32_max(u32_min(c->ssthresh, u32_max(c->cwnd, c->snd_max - c->snd_una)), conn_send_mss(c));
    }
    if ((c->flags & TCP_CONN_LOSS) && !seq_before(c->snd_una, c->recover))
        c->flags &= ~(uint32_t)TCP_CONN_LOSS;
    if ((c->flags & (TCP_CONN_LOSS | TCP_CONN_SACK)) == TCP_CONN_LOSS)
        c->snd_nxt = c->snd_una;
}

/* Nothing is in flight; something is held back, by a closed window or a cork. */
static void persist_again(struct tcp *t, struct tcp_conn *c)
{
    bool holds = c->snd_nxt == c->snd_una && seq_after(conn_send_fin_seq(c), c->snd_una);
    if (!(c->flags & TCP_CONN_PERSIST) || !holds) {
        c->flags &= ~(uint32_t)TCP_CONN_PERSIST;
        c->retransmit_at_us = 0; /* what goes out first starts it */
        return;
    }
    if (conn_is_corked(c) && c->snd_wnd > 0)
        return;
    c->flags |= TCP_CONN_PROBE_NOW; /* the window may be open, and nobody says it again */
    uint64_t wait_us = (uint64_t)c->rto_us << c->probes;
    wait_us = wait_us < t->config.rto_max_us ? wait_us : t->config.rto_max_us;
    c->retransmit_at_us = user_timeout_clamp(t, c, t->started_us, t->started_us + wait_us);
}

void resume_begin(struct tcp *t, struct tcp_conn *c)
{
    struct tcp_resume *r = resume_of(t, c);
    sender_again(t, c);
    if (c->state == TCP_SYN_RECEIVED) { /* SYN-ACK again */
        c->snd_nxt = c->iss;
        c->retransmit_at_us = 0;
        c->flags &= ~(uint32_t)(TCP_CONN_PERSIST | TCP_CONN_RECOVERY | TCP_CONN_LOSS);
        return;
    }
    episode_again(c);
    persist_again(t, c);
    *r = (struct tcp_resume){.end = c->snd_max, .due = c->snd_nxt != c->snd_una, .excused = c->snd_max != c->snd_una};
    if (r->due && (c->flags & TCP_CONN_SACK))
        scoreboard_again(t, c);
    if (!(c->flags & TCP_CONN_SACK) && c->receive_next != 0 && !c->fin_received)
        c->acks_owed = u32_max(c->acks_owed, TCP_DUPLICATE_ACKS);
}

bool resume_output(struct tcp *t, struct tcp_conn *c, uint32_t *ret_length, bool *ret_fin)
{
    struct tcp_resume *r = resume_of(t, c);
    if (!r->due)
        return false;
    r->due = false;
    if (c->snd_una == c->snd_nxt)
        return false;
    uint32_t end = seq_min(conn_send_fin_seq(c), c->snd_nxt);
    uint32_t text = seq_after(end, c->snd_una) ? end - c->snd_una : 0;
    uint32_t length = u32_min(text, conn_segment_mss(c));
    if (text > 0)
        length = u32_min(length, conn_send_run(c, c->snd_una - c->iss - 1));
    if ((c->flags & TCP_CONN_SACK) && board_of(t, c)->first != 0) /* it is one record's */
        length = u32_min(length, flight_at(t, board_of(t, c)->first)->end - c->snd_una);
    *ret_length = length;
    *ret_fin = c->fin_sent && c->snd_una + length == conn_send_fin_seq(c);
    return true;
}

/* It is about to go out: [snd_una, end). */
void resume_sent(struct tcp *t, uint64_t now_us, struct tcp_conn *c, uint32_t end)
{
    struct tcp_resume *r = resume_of(t, c);
    struct tcp_scoreboard *b = board_of(t, c);
    r->probe_start = c->snd_una;
    r->probe_end = end;
    r->sent_us = (uint32_t)now_us;
    r->probing = true;
    c->retransmit_at_us = 0; /* it has its time */
    if (!(c->flags & TCP_CONN_SACK) || b->first == 0)
        return;
    recovery_resent(t, c, now_us, flight_at(t, b->first), end, conn_segment_mss(c));
    probe_schedule(t, c, now_us); /* if it is not answered, or by a peer that says too little */
    b->probe = (struct tcp_loss_probe){.end_seq = end, .active = true};
}

/* An ACK has come; its blocks were looked at. A D-SACK of the probe says that it arrived, and nothing of reordering. */
void resume_acked(struct tcp *t, struct tcp_conn *c, struct tcp_delivery *d)
{
    struct tcp_resume *r = resume_of(t, c);
    if (r->probing && d->dsack && d->duplicate_range.start == r->probe_start) {
        if (!d->any || rack_sent_after(r->sent_us, r->probe_end, d->sent_us, d->end)) {
            d->any = true;
            d->sent_us = r->sent_us;
            d->end = r->probe_end;
        }
        d->dsack = false;
        r->probing = false;
    }
    if (!seq_before(c->snd_una, r->end))
        r->probing = r->excused = false;
}

/* An ACK of new data from a peer without SACK: is it the probe's? */
void resume_acked_in_order(struct tcp *t, uint64_t now_us, struct tcp_conn *c, const struct segment *s)
{
    struct tcp_resume *r = resume_of(t, c);
    if (!seq_before(c->snd_una, r->end))
        r->probing = r->excused = false;
    if (!r->probing || seq_before(c->snd_una, r->probe_end))
        return;
    uint32_t since_us = (uint32_t)now_us - r->sent_us;
    bool echoes = (c->flags & TCP_CONN_TIMESTAMPS) && s->timestamps;
    if (since_us < c->srtt_us / 2 ||
        (echoes && seq_before(s->tsecr, timestamp_clock(t, now_us - since_us, c->ts_offset))))
        return;
    r->probing = false;
    c->snd_nxt = c->snd_una;
}

bool resume_excuses(struct tcp *t, const struct tcp_conn *c)
{
    struct tcp_resume *r = resume_of(t, c);
    bool excused = r->excused;
    r->excused = false;
    return excused;
}

/* ---- when what is below us is back ---- */

static bool is_in_flight(const struct tcp_conn *c)
{
    return c->state == TCP_SYN_SENT || c->state == TCP_SYN_RECEIVED || c->snd_una != c->snd_nxt;
}

static void speak_again(struct tcp *t, struct tcp_conn *c)
{
    struct tcp_resume *r = resume_of(t, c);
    conn_ready(t, c);
    if (c->state == TCP_SYN_SENT || c->state == TCP_SYN_RECEIVED) {
        c->snd_nxt = c->iss;
        return;
    }
    c->flags |= TCP_CONN_ACK_NOW;
    if (c->snd_una != c->snd_nxt) {
        r->end = c->snd_max;
        r->due = r->excused = true;
    } else if ((c->flags & TCP_CONN_PERSIST) && !(conn_is_corked(c) && c->snd_wnd > 0)) {
        c->flags |= TCP_CONN_PROBE_NOW;
    }
    if (!(c->flags & TCP_CONN_SACK) && c->receive_next != 0 && !c->fin_received)
        c->acks_owed = u32_max(c->acks_owed, TCP_DUPLICATE_ACKS);
}

void tcp_speak_again(struct tcp *t)
{
    for (int in_flight = 1; in_flight >= 0; in_flight--) {
        for (uint32_t i = 0; i < t->fresh; i++) {
            struct tcp_conn *c = &t->conn[i];
            if (t->side[i].used && c->state != TCP_CLOSED && c->state != TCP_LISTEN && is_in_flight(c) == in_flight)
                speak_again(t, c);
        }
    }
}
