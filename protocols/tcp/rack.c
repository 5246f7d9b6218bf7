// SPDX-License-Identifier: BSD-2-Clause
/* RACK-TLP (RFC 8985): what was sent before something that has arrived, and longer ago than a round trip and the
 * reordering that the path is known for, is lost, a retransmission like anything else. And so that there be ACKs to
 * tell that of the end of a flight, its last segment, or a new one, goes out once more as a probe before the
 * retransmission timer would. Section 6 is the first half of this file, section 7 the second.
 *
 * One timer for both (recovery_at_us): while something waits to be found lost, no probe is due. Times of sending are
 * the low 32 bits of microseconds: what is in flight so long that they would mislead is forgotten (FLIGHT_LIFE_US). */
#include "protocols/tcp/recovery.h"

#define MIN_RTT_WINDOW_US 300000000U /* as Linux: a longer path is noticed after so long */
#define REO_WND_PERSIST   16U        /* 6.2 step 4: recoveries that a wider window outlives */
#define PROBE_SLACK_US    2000U      /* as Linux: the timer of the peer ticks so */
#define PROBE_FIRST_US    1000000U   /* 7.2: as long as there is no SRTT */

bool rack_sent_after(uint32_t sent_us, uint32_t end, uint32_t than_us, uint32_t than_end)
{
    return seq_after(sent_us, than_us) || (sent_us == than_us && seq_after(end, than_end));
}

/* 6.2 step 2: a retransmission does not count if it was perhaps the original that arrived. Untrusted: tsecr (wire). */
static bool is_of_original(const struct tcp *t, const struct tcp_conn *c, const struct tcp_delivery *d,
                           const struct tcp_flight *f)
{
    uint32_t rtt_us = (uint32_t)d->now_us - f->sent_us;
    if (f->sends <= 1)
        return false;
    if ((c->flags & TCP_CONN_TIMESTAMPS) && d->segment->timestamps &&
        seq_before(d->segment->tsecr, timestamp_clock(t, d->now_us - rtt_us, c->ts_offset)))
        return true;
    return rtt_us < board_of(t, c)->rack.min_rtt_us;
}

/* Of `f` all before `end` has arrived, which was not known. */
void rack_delivered(struct tcp *t, struct tcp_conn *c, struct tcp_delivery *d, const struct tcp_flight *f, uint32_t end)
{
    const struct tcp_rack *r = &board_of(t, c)->rack;
    d->delivered += end - f->start;
    if (f->sends <= 1) {
        d->original |= !seq_after(end, c->recover);
        if (!d->measured || seq_after(f->sent_us, d->newest_sent_us))
            d->newest_sent_us = f->sent_us;
        if (!d->measured || seq_before(f->sent_us, d->oldest_sent_us))
            d->oldest_sent_us = f->sent_us;
        d->measured = true;
        d->reordered |= r->known && seq_before(end, r->fack); /* 6.2 step 3 */
    }
    if (!is_of_original(t, c, d, f) && (!d->any || rack_sent_after(f->sent_us, end, d->sent_us, d->end))) {
        d->any = true;
        d->sent_us = f->sent_us;
        d->end = end;
    }
    d->fack = d->delivered == end - f->start ? end : seq_max(d->fack, end);
}

static void min_rtt_update(struct tcp_rack *r, uint64_t now_us, uint32_t rtt_us)
{
    if (r->min_rtt_us != 0 && rtt_us > r->min_rtt_us && now_us - r->min_rtt_at_us < MIN_RTT_WINDOW_US)
        return;
    r->min_rtt_us = u32_max(rtt_us, 1);
    r->min_rtt_at_us = now_us;
}

/* 6.2 step 4: once a round trip the window widens while the peer gets things twice. What a loss probe brought twice
 * says nothing of reordering. */
static void dsack_round(struct tcp_conn *c, struct tcp_scoreboard *b, const struct tcp_delivery *d)
{
    struct tcp_rack *r = &b->rack;
    if (r->in_dsack_round && !seq_before(c->snd_una, r->dsack_round))
        r->in_dsack_round = false;
    if (!d->dsack || r->in_dsack_round || (b->probe.active && b->probe.is_retrans))
        return;
    r->in_dsack_round = true;
    r->dsack_round = c->snd_nxt;
    r->reo_wnd_mult = (uint8_t)u32_min(r->reo_wnd_mult + 1U, UINT8_MAX);
    r->reo_wnd_persist = REO_WND_PERSIST;
}

/* 6.2 steps 1 to 4, after all of an ACK was looked at. */
void rack_update(struct tcp *t, struct tcp_conn *c, struct tcp_delivery *d)
{
    struct tcp_scoreboard *b = board_of(t, c);
    struct tcp_rack *r = &b->rack;
    if (d->measured)
        min_rtt_update(r, d->now_us, (uint32_t)d->now_us - d->newest_sent_us);
    if (d->reordered)
        r->reordering_seen = true;
    if (d->now_us - r->known_at_us > FLIGHT_LIFE_US) /* what was sent since would seem to be older */
        r->known = false;
    if (d->any) {
        r->rtt_us = (uint32_t)d->now_us - d->sent_us;
        if (!r->known || rack_sent_after(d->sent_us, d->end, r->xmit_us, r->end_seq)) {
            r->xmit_us = d->sent_us;
            r->end_seq = d->end;
            r->known_at_us = d->now_us;
        }
        if (!r->known)
            r->fack = c->snd_una;
        r->known = true;
    }
    if (r->known)
        r->fack = seq_max(seq_max(r->fack, c->snd_una), d->delivered > 0 ? d->fack : c->snd_una);
    dsack_round(c, b, d);
}

/* An episode of recovery is over. */
void rack_recovered(struct tcp *t, struct tcp_conn *c)
{
    struct tcp_rack *r = &board_of(t, c)->rack;
    if (r->reo_wnd_persist > 0 && --r->reo_wnd_persist == 0)
        r->reo_wnd_mult = 0;
}

static uint32_t reordering_window(const struct tcp *t, const struct tcp_conn *c)
{
    const struct tcp_scoreboard *b = board_of(t, c);
    if (!b->rack.reordering_seen && ((c->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS)) ||
                                     b->sacked > (TCP_DUPLICATE_ACKS - 1) * conn_send_mss(c))) /* as RFC 6675 counts */
        return 0;
    uint64_t window = (uint64_t)(b->rack.reo_wnd_mult + 1U) * (b->rack.min_rtt_us / 4);
    return window < c->srtt_us ? (uint32_t)window : c->srtt_us;
}

/* 6.2 step 5. What waits is in the order of sending, so the timer is for the first of it. */
uint32_t rack_detect(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    struct tcp_sender *s = &t->sender[conn_index(t, c)];
    struct tcp_rack *r = &s->board.rack;
    uint32_t before = s->board.lost, patience = r->rtt_us + reordering_window(t, c);
    if (r->waits)
        s->recovery_at_us = 0;
    r->waits = false;
    if (now_us - r->known_at_us > FLIGHT_LIFE_US) /* what is sent now would seem to be older */
        r->known = false;
    while (r->known && s->board.oldest != 0) {
        struct tcp_flight *f = flight_at(t, s->board.oldest);
        if (!rack_sent_after(r->xmit_us, r->end_seq, f->sent_us, f->end))
            break;
        int32_t remaining_us = (int32_t)(f->sent_us + patience - (uint32_t)now_us);
        if (remaining_us > 0) {
            s->recovery_at_us = now_us + (uint32_t)remaining_us;
            r->waits = true;
            break;
        }
        flight_lost(t, c, f);
        t->counters.rack_marked++;
    }
    return s->board.lost - before;
}

/* 6.3: the first, and all that has had its time. */
void rack_timed_out(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    struct tcp_scoreboard *b = board_of(t, c);
    struct tcp_flight *first = flight_at(t, b->first);
    uint32_t patience = b->rack.rtt_us + reordering_window(t, c);
    if (first != NULL && !(first->flags & (TCP_FLIGHT_SACKED | TCP_FLIGHT_LOST)))
        flight_lost(t, c, first);
    while (b->oldest != 0 && (int32_t)(flight_at(t, b->oldest)->sent_us + patience - (uint32_t)now_us) <= 0)
        flight_lost(t, c, flight_at(t, b->oldest));
}

/* ---- 7: tail loss probe ---- */

/* 7.2. After new text went out, and when some was acknowledged: nothing is lost or out of order as far as is known, and
 * no probe is out. */
void probe_schedule(struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    struct tcp_sender *s = &t->sender[conn_index(t, c)];
    struct tcp_scoreboard *b = &s->board;
    if (b->rack.waits)
        return;
    s->recovery_at_us = 0;
    if ((c->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS | TCP_CONN_PERSIST)) || b->in_flight == 0 || b->sacked > 0 ||
        b->lost > 0 || b->probe.active)
        return;
    uint64_t wait_us = c->srtt_us != 0 ? 2 * (uint64_t)c->srtt_us : PROBE_FIRST_US;
    wait_us += b->in_flight <= conn_send_mss(c) ? t->config.rto_min_us : PROBE_SLACK_US; /* its ACK may be delayed */
    s->recovery_at_us = now_us + wait_us;
    if (c->retransmit_at_us != 0 && c->retransmit_at_us < s->recovery_at_us)
        s->recovery_at_us = c->retransmit_at_us;
}

/* 7.4.2. True: the probe repaired a loss that nothing else has told of, which the window is to answer for. */
bool probe_acked(struct tcp *t, struct tcp_conn *c, const struct tcp_delivery *d)
{
    struct tcp_loss_probe *p = &board_of(t, c)->probe;
    if (!p->active || seq_before(c->snd_una, p->end_seq))
        return false;
    bool repaired = false;
    if (p->is_retrans && !(d->dsack && d->duplicate_range.end == p->end_seq)) {
        repaired = seq_after(c->snd_una, p->end_seq);
        bool both = d->duplicate && d->segment->sack_count == 0;
        if (!repaired && !both)
            return false;
    }
    p->active = false;
    return repaired;
}
