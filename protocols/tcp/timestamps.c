// SPDX-License-Identifier: BSD-2-Clause
/* Timestamps (RFC 7323 sections 3 to 5): our clock, what is kept of the peer's, and what is refused by it.
 *
 * Our clock ticks once a millisecond (5.4: between 1 ms and 1 s) from a start that is secret and different for each
 * four-tuple (7.1), so that it tells no one how long the machine has been up, nor which connections are of one host. It
 * is the same for every incarnation of the engine and for every connection of the four-tuple: a TIME-WAIT at the peer
 * can compare a new SYN with the old connection (RFC 6191).
 *
 * A segment passes check_timestamp() (input.c) before the first step of SEGMENT ARRIVES, and its timestamp is kept by
 * timestamp_take() when the fifth has found its ACK good. Deviates: 5.3 (R3) keeps it after the first; as Linux, so
 * that who guesses a sequence number cannot push TS.Recent forward and have the peer's own segments refused.
 *
 * One that was received before is answered with its own timestamp too (input.c says why).
 *
 * Round-trip times are rtt.c's. */
#include "protocols/base/siphash.h"
#include "protocols/tcp/tcp_internal.h"

#define TS_RECENT_LIFE_US (24ULL * 24 * 3600 * 1000000) /* 5.5: half of the clock's round, at its fastest */

uint32_t timestamp_clock(const struct tcp *t, uint64_t now_us, uint32_t ts_offset)
{
    (void)t;
    return (uint32_t)(now_us / TIMESTAMP_TICK_US) + ts_offset;
}

/* The input is of a length that no other use of the secret has, so the result says nothing of an ISN or a port. */
uint32_t timestamp_offset(const struct tcp *t, const struct tcp_identity *identity)
{
    struct {
        uint64_t addresses;
        char what[16];
    } input = {hash_addresses(t, &identity->local, identity->local_port, &identity->remote, identity->remote_port),
               "timestamps"};
    return (uint32_t)siphash(t->config.secret, &input, sizeof input);
}

/* 5.2, 5.5. Deviates: a TS.Recent of zero refuses nothing, as with Linux: there are peers whose SYN says zero and whose
 * next segment tells their true clock. */
bool timestamp_is_old(uint32_t tsval, uint32_t ts_recent, uint64_t ts_recent_at_us, uint64_t now_us)
{
    if (ts_recent == 0 || now_us - ts_recent_at_us > TS_RECENT_LIFE_US)
        return false;
    return (int32_t)(tsval - ts_recent) < 0;
}

/* Of a SYN: 3.2, only if both sides send the option. */
void timestamp_take_syn(const struct tcp *t, struct tcp_conn *c, uint64_t now_us, const struct segment *s)
{
    c->last_ack_sent = c->rcv_nxt;
    if (!s->timestamps || t->config.no_timestamps)
        return;
    c->flags |= TCP_CONN_TIMESTAMPS;
    c->ts_recent = s->tsval;
    c->ts_recent_at_us = now_us;
}

/* 4.3: of a segment that begins at what was acknowledged last or before, so that a delayed ACK echoes the first of
 * those that it is for. It has passed timestamp_is_old(). */
void timestamp_take(struct tcp_conn *c, uint64_t now_us, const struct segment *s)
{
    if (!(c->flags & TCP_CONN_TIMESTAMPS) || !s->timestamps || seq_after(s->seq, c->last_ack_sent))
        return;
    c->ts_recent = s->tsval;
    c->ts_recent_at_us = now_us;
}
