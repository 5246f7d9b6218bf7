// SPDX-License-Identifier: BSD-2-Clause
/* Round-trip time and retransmission timeout (RFC 6298): one segment at a time is timed, on our own clock of
 * microseconds. Is it retransmitted, then which of the two was acknowledged is not known and nothing is learnt (Karn);
 * but with timestamps the ACK says it, to the millisecond, and so a sample comes of every window whatever is lost. With
 * SACK (flight.c) each ACK is a sample. As Linux the gains are those of RFC 6298 all the same, not those of RFC 7323
 * appendix G, so that one bad sample, that of the handshake above all, is soon forgotten; but RTTVAR becomes smaller
 * only once a round trip, or it would forget what varies more slowly. A peer that echoes what cannot be is
 * not believed: what was not said before the segment went out first, or is not said yet. */
#include "protocols/tcp/tcp_internal.h"

/* 2.2, 2.3. Deviates: 2.4 says SHOULD be at least 1 s; as Linux 200 ms are the least that is added to SRTT, so that on
 * a long and steady path, where RTTVAR is next to nothing, an ACK may still be delayed. SRTT in whole milliseconds. */
static uint32_t rto_from_estimate(const struct tcp *t, const struct tcp_conn *c)
{
    uint64_t margin = 4 * (uint64_t)c->rttvar_us;
    uint64_t rto = c->srtt_us - c->srtt_us % 1000 + (margin < t->config.rto_min_us ? t->config.rto_min_us : margin);
    return rto > t->config.rto_max_us ? t->config.rto_max_us : (uint32_t)rto;
}

void rtt_start(struct tcp_conn *c, uint64_t now_us, uint32_t end)
{
    if (c->rtt_start_us != 0)
        return;
    c->rtt_start_us = now_us > 0 ? now_us : 1; /* 0: nothing is timed */
    c->rtt_seq = end;
    c->flags &= ~(uint32_t)TCP_CONN_RTT_RESENT;
}

/* Something goes out again: perhaps what is being timed. Whether timestamps will help a SYN is not known yet. */
void rtt_resent(struct tcp_conn *c)
{
    if ((c->flags & TCP_CONN_TIMESTAMPS) || c->state == TCP_SYN_SENT)
        c->flags |= TCP_CONN_RTT_RESENT;
    else
        c->rtt_start_us = 0;
}

/* RFC 7323 4.1. Untrusted: s->tsecr (wire): not before the segment that is timed went out first, not after now. */
static bool measure_echo(const struct tcp *t, const struct tcp_conn *c, uint64_t now_us, const struct segment *s,
                         uint64_t *ret_us)
{
    if (!(c->flags & TCP_CONN_TIMESTAMPS) || !s->timestamps)
        return false;
    uint32_t now = timestamp_clock(t, now_us, c->ts_offset);
    uint32_t first = timestamp_clock(t, c->rtt_start_us, c->ts_offset);
    if (now - s->tsecr > now - first)
        return false;
    *ret_us = (uint64_t)(now - s->tsecr) * TIMESTAMP_TICK_US;
    return true;
}

static bool measure(const struct tcp *t, const struct tcp_conn *c, uint64_t now_us, const struct segment *s,
                    uint64_t *ret_us)
{
    if (c->flags & TCP_CONN_RTT_RESENT)
        return measure_echo(t, c, now_us, s, ret_us);
    *ret_us = now_us > c->rtt_start_us ? now_us - c->rtt_start_us : 0;
    return true;
}

/* RFC 6298 2.2, 2.3 */
static void take_sample(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint64_t sample_us, bool round)
{
    uint32_t r = sample_us > t->config.rto_max_us ? t->config.rto_max_us : u32_max(1, (uint32_t)sample_us);
    autotune_measured(t, c, r);
    if (c->srtt_us == 0) {
        c->srtt_us = r;
        c->rttvar_us = r / 2;
    } else {
        uint32_t difference = c->srtt_us > r ? c->srtt_us - r : r - c->srtt_us;
        if (round || difference > c->rttvar_us)
            c->rttvar_us = c->rttvar_us - c->rttvar_us / 4 + difference / 4;
        c->srtt_us = u32_max(1, c->srtt_us - c->srtt_us / 8 + r / 8);
    }
    c->rto_us = rto_from_estimate(t, c);
    if (!(c->flags & TCP_CONN_SACK)) /* else it has more samples than these (flight.c) */
        congestion_rtt(t, c, now_us, r);
}

static void rto_update(struct tcp *t, struct tcp_conn *c, uint64_t now_us, const struct segment *s)
{
    if (c->rtt_start_us != 0 && !seq_before(c->snd_una, c->rtt_seq)) {
        uint64_t sample_us;
        bool measured = measure(t, c, now_us, s, &sample_us);
        c->rtt_start_us = 0;
        c->flags &= ~(uint32_t)TCP_CONN_RTT_RESENT;
        if (measured) {
            take_sample(t, c, now_us, sample_us, true);
            return;
        }
    }
    /* Deviates: RFC 6298 5.7 keeps the backed-off value until the next sample; as Linux and BSD it goes back to the
     * estimate, if there is one, when new data is acknowledged. */
    if (c->retransmits > 0 && c->srtt_us > 0)
        c->rto_us = rto_from_estimate(t, c);
}

/* With SACK samples come from the scoreboard (recovery.c). `round`: a round trip after the last one that said so. */
void rtt_sampled(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t sample_us, bool round)
{
    take_sample(t, c, now_us, sample_us, round);
}

/* snd_una has moved, by leave of `s`. */
void rtt_acked(struct tcp *t, struct tcp_conn *c, uint64_t now_us, const struct segment *s)
{
    rto_update(t, c, now_us, s);
    if (c->flags & TCP_CONN_SYN_RESENT) { /* RFC 6298 5.7: MUST, when the handshake is over */
        c->rto_us = u32_max(c->rto_us, 3 * t->config.rto_initial_us);
        c->flags &= ~(uint32_t)TCP_CONN_SYN_RESENT;
    }
}

/* RFC 6298 5.5: "back off the timer". */
void rtt_backed_off(const struct tcp *t, struct tcp_conn *c)
{
    rtt_resent(c);
    c->rto_us = c->rto_us > t->config.rto_max_us / 2 ? t->config.rto_max_us : c->rto_us * 2;
}
