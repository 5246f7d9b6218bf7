// SPDX-License-Identifier: BSD-2-Clause
/* SYN cookies (RFC 4987 3.6): while there is no room for another connection in SYN-RECEIVED, a SYN is answered and
 * forgotten. All that is to be known again when the handshake completes lies in the initial sequence number of the
 * SYN-ACK, which the peer's ACK brings back:
 *
 *     1 bit: parity of the step   3 bits: class of the peer's MSS   28 bits: hash of four-tuple, peer's ISN, step,
 * class
 *
 * A step lasts 64 s, and a cookie is good in its own and in the next. If the peer offers timestamps, six bits of our
 * TSval, which it echoes, say what window scale it offered, and whether SACK and ECN (as Linux does); else there is
 * none of these. The SYN-ACK is not sent again: the peer sends its SYN again. Text that overtakes that ACK has another
 * sequence number than its cookie says, cannot be told from a guess, and gets the RST of RFC 9293 3.10.7.2 (second), as
 * from Linux: the connection is lost, and half-open here if the ACK comes after all, which is the price of keeping
 * nothing (RFC 4987 3.6).
 *
 * A cookie may come again, with the first text, when its connection is over: a copy that was underway. The connection
 * would be opened once more, and its text be taken twice. So one that came of a cookie which is good still ends, when
 * the peer has closed first, in a TIME-WAIT here, too, for as long as that lasts. Not so one that was reset before, by
 * whomever: its peer knows that it is lost, and not how much of it was taken.
 *
 * Cookies are taken only while they were sent lately, so that guessing is worth trying at no other time; a new
 * incarnation takes those of the one before it. When the accept queue is full nothing is answered at all, neither a SYN
 * nor the ACK that would complete: the peer sends it again. */
#include "protocols/base/siphash.h"
#include "protocols/tcp/tcp_arrival.h"

#define COOKIE_STEP_US  64000000ULL
#define COOKIE_HASH     0x0fffffffU
#define COOKIE_CLASSES  8U
#define COOKIE_TS_BITS  63U /* of TSval: */
#define COOKIE_NO_SCALE 15U
#define COOKIE_SACK     16U
#define COOKIE_ECN      32U

/* The largest that the peer's MSS is not below counts; the first is below any. */
static const uint16_t classes_ip4[COOKIE_CLASSES] = {TCP_MSS_MIN, 536, 1220, 1360, 1400, 1440, 1460, 8960};
static const uint16_t classes_ip6[COOKIE_CLASSES] = {TCP_MSS_MIN, 536, 1220, 1340, 1380, 1420, 1440, 8940};

static const uint16_t *classes_of(const struct tcp_segment_in *meta)
{
    return meta->source.family == ADDRESS_IP6 ? classes_ip6 : classes_ip4;
}

static uint32_t class_of(const struct tcp_segment_in *meta, uint32_t mss)
{
    uint32_t class = COOKIE_CLASSES - 1;
    while (class > 0 && classes_of(meta)[class] > mss)
        class --;
    return class;
}

/* The input is of a length that no other use of the secret has. */
static uint32_t cookie_make(const struct tcp *t, const struct tcp_segment_in *meta, uint32_t irs, uint64_t step,
                            uint32_t class)
{
    struct {
        uint64_t addresses, step;
        uint32_t irs, class;
        char what[8];
    } input = {hash_addresses(t, &meta->destination, meta->destination_port, &meta->source, meta->source_port), step,
               irs, class, "cookie"};
    uint32_t hash = (uint32_t)siphash(t->config.secret, &input, sizeof input) & COOKIE_HASH;
    return (uint32_t)(step & 1) << 31 | class << 28 | hash;
}

/* The newest time not after `clock` that ends in `bits`. */
static uint32_t tsval_with(uint32_t clock, uint32_t bits)
{
    uint32_t tsval = (clock & ~COOKIE_TS_BITS) | bits;
    return seq_after(tsval, clock) ? tsval - (COOKIE_TS_BITS + 1) : tsval;
}

void cookie_send(struct arrival *a)
{
    struct tcp *t = a->t;
    const struct tcp_segment_in *m = a->meta;
    struct tcp_conn like = *a->c; /* what the connection will have of its listener */
    like.identity = identity_of_child(m);
    bool timestamps = a->s.timestamps && !t->config.no_timestamps;
    bool scale = timestamps && a->s.window_scale >= 0;
    struct tcp_reply r = {
        .source = m->destination,
        .destination = m->source,
        .source_port = m->destination_port,
        .destination_port = m->source_port,
        .seq = cookie_make(t, m, a->s.seq, a->now_us / COOKIE_STEP_US, class_of(m, syn_mss(&a->s, &m->source))),
        .ack = a->s.seq + 1,
        .flags = TCP_FLAG_SYN | TCP_FLAG_ACK,
        .window = (uint16_t)u32_min(like.receive_size, UINT16_MAX),
        .mss = (uint16_t)conn_offered_mss(t, &like),
        .window_scale = scale ? conn_window_scale(like.receive_most) : -1,
        .timestamps = timestamps,
        .tsecr = a->s.tsval,
        .sack_permitted = timestamps && a->s.sack_permitted && !t->config.no_sack,
    };
    bool ecn = timestamps && ecn_is_asked_for(t, &a->s);
    if (ecn)
        r.flags |= TCP_FLAG_ECE;
    uint32_t bits = (scale ? (uint32_t)a->s.window_scale : COOKIE_NO_SCALE) | (r.sack_permitted ? COOKIE_SACK : 0) |
                    (ecn ? COOKIE_ECN : 0);
    r.tsval = tsval_with(timestamp_clock(t, a->now_us, timestamp_offset(t, &like.identity)), bits);
    if (!reply_push(t, &r)) {
        t->counters.drop_reply_queue++;
        return;
    }
    t->counters.cookies_sent++;
    t->cookies_until_us = a->now_us + COOKIE_LIFE_US;
}

/* Whether a SYN-ACK to the SYN `irs` from there carried `cookie` lately. */
static bool is_good(const struct tcp *t, uint64_t now_us, const struct tcp_segment_in *meta, uint32_t irs,
                    uint32_t cookie)
{
    if (t->config.no_cookies || now_us >= t->cookies_until_us)
        return false;
    uint64_t step = now_us / COOKIE_STEP_US;
    if ((step & 1) != cookie >> 31)
        step--;
    return cookie == cookie_make(t, meta, irs, step, cookie >> 28 & (COOKIE_CLASSES - 1));
}

/* Untrusted: s (wire). Whether it acknowledges a cookie that was sent to where it comes from. */
bool cookie_is_good(const struct tcp *t, uint64_t now_us, const struct tcp_segment_in *meta, const struct segment *s)
{
    return is_good(t, now_us, meta, s->seq - 1, s->ack - 1);
}

bool cookie_would_reopen(const struct tcp *t, uint64_t now_us, const struct tcp_conn *c)
{
    const struct tcp_identity *id = &c->identity;
    const struct tcp_segment_in meta = {.source = id->remote,
                                        .destination = id->local,
                                        .source_port = id->remote_port,
                                        .destination_port = id->local_port};
    return is_good(t, now_us, &meta, c->irs, c->iss);
}

/* The SYN that the ACK of a good cookie says there was. */
static struct segment syn_of(const struct tcp *t, const struct tcp_segment_in *meta, const struct segment *s)
{
    uint32_t class = (s->ack - 1) >> 28 & (COOKIE_CLASSES - 1), scale = s->tsecr & COOKIE_NO_SCALE;
    bool timestamps = s->timestamps && !t->config.no_timestamps;
    return (struct segment){
        .seq = s->seq - 1,
        .mss = classes_of(meta)[class],
        .window = s->window,
        .window_scale = timestamps && scale <= TCP_WINDOW_SCALE_MAX ? (int32_t)scale : -1,
        .timestamps = timestamps,
        .tsval = s->tsval,
        .sack_permitted = timestamps && (s->tsecr & COOKIE_SACK) != 0,
        .flags = timestamps && (s->tsecr & COOKIE_ECN) != 0 ? TCP_FLAG_SYN | TCP_FLAG_ECE | TCP_FLAG_CWR : TCP_FLAG_SYN,
    };
}

uint32_t tcp_open_cookie(struct tcp *t, uint64_t now_us, uint32_t listener, const struct tcp_segment_in *meta,
                         const uint8_t *header, uint32_t header_length)
{
    struct tcp_conn *l = listener < t->config.connections ? &t->conn[listener] : NULL;
    struct segment s;
    if (l == NULL || l->state != TCP_LISTEN || t->config.no_cookies || now_us >= t->cookies_until_us)
        return listener;
    if (segment_parse(header, header_length, header_length, &s) != SEGMENT_OK || !addresses_are_sane(l, meta) ||
        (s.flags & (TCP_FLAG_SYN | TCP_FLAG_RST | TCP_FLAG_ACK)) != TCP_FLAG_ACK)
        return listener;
    uint32_t old = time_wait_find(t, &meta->destination, meta->destination_port, &meta->source, meta->source_port);
    if (old != TCP_NONE && !time_wait_is_followed(&t->time_wait.record[old], s.seq - 1))
        return listener;
    if (!cookie_is_good(t, now_us, meta, &s)) {
        t->counters.drop_cookie++;
        return listener;
    }
    struct segment syn = syn_of(t, meta, &s);
    const uint32_t iss = s.ack - 1;
    struct tcp_conn *c = accept_queue_is_full(l) ? NULL : child_new(t, now_us, l, meta, &syn, &iss);
    if (c == NULL) /* arrives_listen() drops it */
        return listener;
    if (old != TCP_NONE) {
        time_wait_end(t, old);
        t->counters.time_wait_reused++;
    }
    c->snd_nxt = c->snd_max = c->iss + 1; /* the SYN-ACK is out */
    c->unacked_at_us = now_us;
    c->retransmit_at_us = now_us + c->rto_us;
    conn_changed(t, c);
    t->counters.cookies_taken++;
    return conn_index(t, c);
}
