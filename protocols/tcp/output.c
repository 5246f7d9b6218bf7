// SPDX-License-Identifier: BSD-2-Clause
/* What goes out: tcp_poll() gives each ready connection its turn, and a turn is one segment (or super-segment).
 * In order of urgency: duplicate ACKs owed, the one segment of a fast retransmit, data and FIN at snd_nxt, a
 * window probe, a pure ACK. Whatever goes out carries the newest ACK and window. */
#include "protocols/tcp/recovery.h"

/* RFC 9293 3.8.6.2.2: the right edge moves by at least min(half the buffer, one segment), or stays; it is
 * never taken back (3.8.6: SHOULD NOT). Rounding to the scale is upward to the edge that was promised, so that
 * this is not taken back either; but not beyond what the ring holds: octets that are sent there and not taken
 * leave the peer's SND.NXT, where its RST is, outside a closed window. Then it is downward (RFC 7323 2.4: a peer
 * has to live with that), and what the peer has sent up to the promised edge is taken all the same. */
static uint16_t advertised_window(struct tcp_conn *c)
{
    uint32_t edge = conn_right_edge(c);
    if (!seq_after(edge, c->rcv_adv) || edge - c->rcv_adv < u32_min(c->receive_size / 2, c->rcv_mss))
        edge = c->rcv_adv;
    if (!seq_after(edge, c->rcv_nxt))
        return 0;
    uint32_t unit = 1U << c->receive_window_scale;
    uint32_t window = u32_min((edge - c->rcv_nxt) >> c->receive_window_scale, UINT16_MAX);
    if (seq_before(c->rcv_nxt + window * unit, c->rcv_adv)) {
        uint32_t up = (c->rcv_adv - c->rcv_nxt + unit - 1) >> c->receive_window_scale;
        bool fits = !seq_after(c->rcv_nxt + up * unit, conn_right_edge(c));
        return (uint16_t)u32_min(fits ? up : window, UINT16_MAX);
    }
    c->rcv_adv = c->rcv_nxt + window * unit;
    return (uint16_t)window;
}

/* After consumption, as Linux: worth an ACK of its own if it doubles the window the peer knows of, and the
 * silly window rule lets the edge move at all. A peer that is held up by the window never waits in vain:
 * what it knows is then less than half of the ring. */
bool window_update_due(const struct tcp_conn *c)
{
    uint32_t edge = conn_right_edge(c);
    if (!seq_after(edge, c->rcv_adv) || edge - c->rcv_adv < u32_min(c->receive_size / 2, c->rcv_mss))
        return false;
    uint32_t known = seq_after(c->rcv_adv, c->rcv_nxt) ? c->rcv_adv - c->rcv_nxt : 0;
    return edge - c->rcv_nxt >= 2 * known;
}

/* `octets` of options were written behind the header. */
static void header_extend(struct tcp_output *ret, uint32_t octets)
{
    ret->header_length = (uint8_t)(ret->header_length + octets);
    ret->header[12] = (uint8_t)(ret->header_length / 4 << 4);
}

/* RFC 7323 3.2: once agreed on, it MUST be in every segment, SHOULD be in an RST. RFC 2018 4: SHOULD be in all ACKs
 * while text is held out of order. A SYN's options are output_syn()'s. */
static void options_fill(const struct tcp *t, uint64_t now_us, const struct tcp_conn *c, struct tcp_output *ret)
{
    if (c->flags & TCP_CONN_TIMESTAMPS)
        header_extend(ret, options_write_timestamps(ret->header + ret->header_length,
                                                    timestamp_clock(t, now_us, c->ts_offset), c->ts_recent));
    if (conn_sack_blocks(c) > 0) {
        struct tcp_range block[TCP_SACK_BLOCKS_MAX];
        uint32_t count = sack_report(c, block);
        header_extend(ret, options_write_sack(ret->header + ret->header_length, block, count));
    }
}

static void fill(const struct tcp *t, uint64_t now_us, const struct tcp_conn *c, uint32_t seq, uint8_t flags,
                 uint16_t window, struct tcp_output *ret)
{
    struct tcp_header h = {
        .source_port = be16_make(c->identity.local_port),
        .destination_port = be16_make(c->identity.remote_port),
        .sequence = be32_make(seq),
        .acknowledgement = be32_make((flags & TCP_FLAG_ACK) ? c->rcv_nxt : 0),
        .data_offset = sizeof h / 4 << 4,
        .flags = flags,
        .window = be16_make(window),
    };
    ret->conn = conn_index(t, c);
    ret->source = c->identity.local;
    ret->destination = c->identity.remote;
    ret->source_port = c->identity.local_port;
    ret->destination_port = c->identity.remote_port;
    ret->gso_size = 0;
    ret->ecn = 0;
    ret->header_length = sizeof h;
    ret->push = (flags & TCP_FLAG_PSH) != 0;
    ret->stream_offset = 0;
    ret->payload_length = 0;
    memcpy(ret->header, &h, sizeof h);
    if (!(flags & TCP_FLAG_SYN))
        options_fill(t, now_us, c, ret);
}

/* A segment of a synchronized connection: everything that is owed to the peer goes with it. */
static void emit(struct tcp *t, uint64_t now_us, struct tcp_conn *c, uint32_t seq, uint32_t length, uint8_t flags,
                 struct tcp_output *ret)
{
    uint32_t mss = conn_segment_mss(c);
    if (c->flags & TCP_CONN_ECE)
        flags |= TCP_FLAG_ECE;
    fill(t, now_us, c, seq, flags | TCP_FLAG_ACK, advertised_window(c), ret);
    c->last_ack_sent = c->rcv_nxt;
    if (length > 0) {
        ret->stream_offset = seq - c->iss - 1;
        ret->payload_length = length;
        ret->gso_size = (uint16_t)(length > mss ? mss : 0);
        t->counters.octets_out += length;
    }
    t->counters.segments_out++;
    sack_reported(t, c);
    ack_sent(t, now_us, c, length > 0);
}

static void arm_retransmission(struct tcp_conn *c, uint64_t now_us)
{
    if (c->retransmit_at_us != 0 && !(c->flags & TCP_CONN_PERSIST))
        return;
    if (c->flags & TCP_CONN_PERSIST)
        c->retransmits = 0;
    c->unacked_at_us = now_us;
    c->flags &= ~(uint32_t)TCP_CONN_PERSIST;
    c->probes = 0;
    c->retransmit_at_us = now_us + c->rto_us; /* RFC 6298 5.1 */
}

/* RFC 9293 3.10.4: the FIN is formed when all before it was segmentized; that is when the state changes. */
static void fin_goes_out(struct tcp_conn *c)
{
    if (c->fin_sent)
        return;
    c->fin_sent = 1;
    c->state = c->state == TCP_CLOSE_WAIT ? TCP_LAST_ACK : TCP_FIN_WAIT_1;
}

/* [seq, seq + length) and perhaps FIN, where seq is snd_nxt or, of what was sent already, snd_una. */
static void send_text(struct tcp *t, uint64_t now_us, struct tcp_conn *c, uint32_t seq, uint32_t length, bool fin,
                      struct tcp_output *ret)
{
    bool last = seq + length == conn_send_fin_seq(c);
    uint32_t mss = conn_segment_mss(c); /* emit() may make room: what is noted of the segment is noted before */
    uint32_t end = seq + length + (fin ? 1 : 0);
    uint8_t flags = (uint8_t)((fin ? TCP_FLAG_FIN : 0) | (last && length > 0 ? TCP_FLAG_PSH : 0)), ecn = ECN_NOT_ECT;
    if (length > 0 && !seq_before(seq, c->snd_max))
        flags |= ecn_new_text(c, &ecn);
    arm_retransmission(c, now_us); /* the loss probe is not later */
    if ((c->flags & TCP_CONN_SACK) && seq == c->snd_nxt)
        recovery_sent(t, c, now_us, seq, end, mss);
    emit(t, now_us, c, seq, length, flags, ret);
    ret->ecn = ecn;
    if (seq_before(seq, c->snd_max)) {
        t->counters.retransmits++;
        c->retransmitted++;
        rtt_resent(c);
        path_resent(t, c, seq, end);
    } else if (!(c->flags & TCP_CONN_SACK)) {
        rtt_start(c, now_us, end);
    }
    if (fin)
        fin_goes_out(c);
    if (length % mss != 0) {
        c->snd_sml = seq + length;
        c->flags &= ~(uint32_t)TCP_CONN_CORK_OVER; /* what comes next may wait again */
    }
    if (seq == c->snd_nxt)
        c->snd_nxt = end;
    c->snd_nxt = seq_max(c->snd_nxt, c->snd_una);
    c->snd_max = seq_max(c->snd_max, end);
    congestion_sent(t, c, now_us);
    pacing_sent(t, c, now_us, length);
}

/* Largest super-segment. At most a quarter of the congestion window: a lost one must leave enough others in
 * flight to cause three duplicate ACKs. */
static uint32_t super_segment_limit(const struct tcp *t, const struct tcp_conn *c)
{
    uint32_t mss = conn_segment_mss(c);
    if (!t->config.gso || (c->flags & TCP_CONN_CWR)) /* CWR is for one segment alone */
        return mss;
    uint32_t quarter = u32_min(c->cwnd / 4, pacing_limit(t, c));
    if (quarter >= TCP_SUPER_SEGMENT_MAX)
        quarter = TCP_SUPER_SEGMENT_MAX;
    return quarter < 2 * mss ? mss : quarter - quarter % mss;
}

/* May a segment of less than one MSS, the rest of what there is, go out? Deviates: RFC 9293 3.7.4 (Nagle)
 * waits until all is acknowledged; as Linux, only a small segment waits for a small one (Minshall). */
static bool may_send_small(const struct tcp_conn *c)
{
    if (conn_is_corked(c))
        return false;
    return (c->flags & TCP_CONN_NODELAY) || c->user_fin || seq_before(c->snd_nxt, c->snd_max) ||
           !seq_after(c->snd_sml, c->snd_una);
}

/* Octets before the end of the send ring. */
static uint32_t conn_ring_room(const struct tcp_conn *c, uint32_t seq)
{
    return conn_send_run(c, seq - c->iss - 1);
}

/* Beyond snd_nxt. With SACK what is in flight counts against the congestion window (RFC 6675 5), without what is not
 * acknowledged. */
static uint32_t usable_window(struct tcp *t, struct tcp_conn *c)
{
    bool sack = c->flags & TCP_CONN_SACK;
    uint32_t edge = c->snd_una + (sack ? c->snd_wnd : u32_min(c->snd_wnd, congestion_window(c)));
    uint32_t usable = seq_after(edge, c->snd_nxt) ? edge - c->snd_nxt : 0;
    return sack ? u32_min(usable, recovery_room(t, c)) : usable;
}

/* How much may go out at snd_nxt now (RFC 9293 3.8.6.2.1, sender's silly window avoidance). `available` octets
 * are there and not sent; 0: nothing. */
static uint32_t sendable(struct tcp *t, struct tcp_conn *c, uint32_t available)
{
    uint32_t length = u32_min(available, usable_window(t, c));
    uint32_t ring = conn_ring_room(c, c->snd_nxt);
    uint32_t limit = super_segment_limit(t, c);
    if (length > ring) /* the end of the ring ends the segment */
        return u32_min(ring, limit);
    if (length >= limit)
        return limit;
    if (c->snd_nxt == c->snd_una && c->snd_nxt != c->snd_max) /* sent again first (RFC 6298 5.4): waits for nothing */
        return length;
    uint32_t mss = conn_segment_mss(c), small = length % mss;
    if (small == 0)
        return length;
    if (length == available && may_send_small(c))
        return length;
    if (length > mss)
        return length - small;
    bool window_limits = c->snd_wnd <= congestion_window(c);
    return length < available && window_limits && length >= c->snd_wnd_max / 2 ? length : 0;
}

/* One segment that is larger than the others (path.c). */
static bool output_path_probe(struct tcp *t, uint64_t now_us, struct tcp_conn *c, uint32_t available,
                              struct tcp_output *ret)
{
    if (t->sender[conn_index(t, c)].path.high == 0)
        return false;
    uint32_t octets = path_probe_due(t, now_us, c, available, usable_window(t, c));
    if (octets == 0 || pacing_holds(t, c, now_us))
        return false;
    path_probe_sent(t, c, octets);
    send_text(t, now_us, c, c->snd_nxt, octets, false, ret);
    ret->gso_size = 0;
    return true;
}

static bool output_text(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret)
{
    uint32_t end = conn_send_fin_seq(c);
    if (seq_after(c->snd_nxt, end)) /* the FIN is out */
        return false;
    uint32_t available = end - c->snd_nxt;
    if (available > 0 && c->snd_una == c->snd_max)
        congestion_resume(t, c, now_us);
    if (available > 0 && output_path_probe(t, now_us, c, available, ret))
        return true;
    uint32_t length = available > 0 ? sendable(t, c, available) : 0;
    if (length > 0 && pacing_holds(t, c, now_us))
        return false;
    bool fin = c->user_fin && length == available;
    if (length == 0 && !fin)
        return false;
    send_text(t, now_us, c, c->snd_nxt, length, fin, ret);
    return true;
}

/* Nothing is in flight, something is there, and it could not be sent: the window is in the way, or a cork. */
static void arm_persist(struct tcp *t, uint64_t now_us, struct tcp_conn *c)
{
    if (t->sender[conn_index(t, c)].pace_at_us != 0) /* it waits for its turn only */
        return;
    if (c->retransmit_at_us != 0 || c->snd_nxt != c->snd_una || c->snd_nxt == conn_send_fin_seq(c) ||
        seq_after(c->snd_nxt, conn_send_fin_seq(c)))
        return;
    c->flags |= TCP_CONN_PERSIST;
    c->probes = 0;
    c->unacked_at_us = now_us;
    /* RFC 9293 3.8.6.1: SHOULD, first after one RTO */
    c->retransmit_at_us = now_us + (conn_is_corked(c) && c->snd_wnd > 0 ? TCP_CORK_US : c->rto_us);
    conn_touched(t, c);
    timer_sync(t, c);
}

/* One octet beyond a closed window, or what a silly window lets through. snd_nxt stays: the octet is not
 * taken for sent until it is acknowledged. */
static bool output_probe(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret)
{
    c->flags &= ~(uint32_t)TCP_CONN_PROBE_NOW;
    if (!(c->flags & TCP_CONN_PERSIST) || !seq_after(conn_send_fin_seq(c), c->snd_una) || c->snd_nxt != c->snd_una)
        return false;
    uint32_t available = conn_send_fin_seq(c) - c->snd_una;
    uint32_t ring = conn_ring_room(c, c->snd_una);
    uint32_t length = u32_min(u32_min(u32_max(c->snd_wnd, 1), conn_segment_mss(c)), u32_min(available, ring));
    emit(t, now_us, c, c->snd_una, length, length == available ? TCP_FLAG_PSH : 0, ret);
    c->snd_max = seq_max(c->snd_max, c->snd_una + length);
    c->rtt_start_us = 0;
    t->counters.zero_window_probes++;
    return true;
}

/* The one segment at snd_una that fast retransmit or a partial ACK asks for. */
static bool output_retransmit_one(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret)
{
    c->flags &= ~(uint32_t)TCP_CONN_RETRANSMIT_ONE;
    if (c->snd_una == c->snd_max)
        return false;
    uint32_t end = seq_min(conn_send_fin_seq(c), c->snd_max);
    uint32_t ring = conn_ring_room(c, c->snd_una);
    uint32_t length = seq_after(end, c->snd_una) ? u32_min(u32_min(end - c->snd_una, conn_segment_mss(c)), ring) : 0;
    bool fin = c->fin_sent && c->snd_una + length == conn_send_fin_seq(c);
    send_text(t, now_us, c, c->snd_una, length, fin, ret);
    t->counters.fast_retransmits++;
    return true;
}

/* How much of `f`, which is lost, goes out again now; its FIN not counted. Within the peer's window. */
static uint32_t resendable(struct tcp *t, struct tcp_conn *c, const struct tcp_flight *f)
{
    uint32_t edge = seq_min(seq_min(f->end, conn_send_fin_seq(c)), c->snd_una + c->snd_wnd);
    uint32_t text = seq_after(edge, f->start) ? edge - f->start : 0;
    uint32_t mss = conn_segment_mss(c), room = recovery_room(t, c);
    if (board_of(t, c)->recovery.resend_now)
        room = u32_max(room, mss);
    if (room < u32_min(text, mss))
        return 0;
    if (room < text)
        text = room - room % mss;
    return u32_min(u32_min(text, super_segment_limit(t, c)), conn_ring_room(c, f->start));
}

/* What is lost, the first of it. */
static bool output_lost(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret)
{
    struct tcp_flight *f = flight_first_lost(t, c);
    if (f == NULL || (!board_of(t, c)->recovery.resend_now && pacing_holds(t, c, now_us)))
        return false;
    uint32_t length = resendable(t, c, f), start = f->start, mss = conn_segment_mss(c);
    bool fin = start + length == conn_send_fin_seq(c) && seq_after(f->end, start + length);
    if (length == 0 && !fin)
        return false;
    recovery_resent(t, c, now_us, f, start + length + (fin ? 1 : 0), mss);
    send_text(t, now_us, c, start, length, fin, ret);
    return true;
}

/* RFC 8985 7.3: a new segment, whatever the congestion window says, else the last one again. */
static bool output_loss_probe(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret)
{
    struct tcp_scoreboard *b = board_of(t, c);
    uint32_t mss = conn_segment_mss(c), edge = c->snd_una + c->snd_wnd, end = seq_min(conn_send_fin_seq(c), edge);
    b->probe.now = false;
    if ((c->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS | TCP_CONN_PERSIST)) || b->in_flight == 0 || b->sacked > 0)
        return false;
    if (seq_after(end, c->snd_nxt)) {
        uint32_t length = u32_min(u32_min(end - c->snd_nxt, mss), conn_ring_room(c, c->snd_nxt));
        bool fin = c->user_fin && c->snd_nxt + length == conn_send_fin_seq(c);
        send_text(t, now_us, c, c->snd_nxt, length, fin, ret);
        recovery_probed(t, c, false);
        return true;
    }
    struct tcp_flight *f = flight_at(t, b->last);
    if (f->start == conn_send_fin_seq(c)) /* a FIN alone says nothing if the text before it is lost */
        f = flight_join(t, c, f);
    uint32_t text_end = seq_min(f->end, conn_send_fin_seq(c)), length = text_end - f->start;
    bool fin = text_end != f->end;
    uint32_t piece = f->mss > 1 ? f->mss : mss; /* 1: of any size (resume.c) */
    if (length > piece) {
        length = length % piece != 0 ? length % piece : piece;
        f = flight_split(t, c, f, text_end - length);
    }
    if (f == NULL || length > mss || length > conn_ring_room(c, text_end - length))
        return false;
    recovery_resent(t, c, now_us, f, f->end, mss);
    send_text(t, now_us, c, text_end - length, length, fin, ret);
    recovery_probed(t, c, true);
    return true;
}

/* Of a segment without text. Not snd_nxt: that may be below what the peer has (after a timeout), and then
 * the ACK would not count there (two sides that time out together would never meet). Not beyond the window
 * either, as far as a rejected probe would reach. */
static uint32_t ack_seq(const struct tcp_conn *c)
{
    return seq_min(c->snd_max, seq_max(c->snd_una + c->snd_wnd, c->snd_nxt));
}

/* RFC 9293 3.8.4: <SEQ=SND.NXT-1>, of which nothing is new; without data, as Linux. */
static bool output_keepalive(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret)
{
    c->flags &= ~(uint32_t)TCP_CONN_KEEP_PROBE;
    if (c->snd_una != c->snd_max)
        return false;
    emit(t, now_us, c, c->snd_una - 1, 0, 0, ret);
    t->counters.keepalive_probes++;
    return true;
}

static bool output_with_sack(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret)
{
    const struct tcp_scoreboard *b = board_of(t, c);
    if (b->recovery.frto == 2 && output_text(t, now_us, c, ret)) /* RFC 5682 3.1 step 2 b */
        return true;
    if (output_lost(t, now_us, c, ret) || output_text(t, now_us, c, ret))
        return true;
    return b->probe.now && output_loss_probe(t, now_us, c, ret);
}

/* After a restart: the first segment that is not acknowledged (resume.c). */
static bool output_resumed(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret)
{
    uint32_t length;
    bool fin;
    if (!resume_output(t, c, &length, &fin))
        return false;
    uint64_t unacked_at_us = c->unacked_at_us; /* the user's patience goes on, too */
    resume_sent(t, now_us, c, c->snd_una + length + (fin ? 1 : 0));
    send_text(t, now_us, c, c->snd_una, length, fin, ret);
    if (unacked_at_us != 0) {
        c->unacked_at_us = unacked_at_us;
        c->retransmit_at_us = user_timeout_clamp(t, c, now_us, c->retransmit_at_us);
    }
    return true;
}

static bool output_synchronized(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret)
{
    if (t->sender[conn_index(t, c)].resume.due && output_resumed(t, now_us, c, ret))
        return true;
    if (c->acks_owed > 0) {
        c->acks_owed--;
        emit(t, now_us, c, ack_seq(c), 0, 0, ret);
        return true;
    }
    if ((c->flags & TCP_CONN_RETRANSMIT_ONE) && output_retransmit_one(t, now_us, c, ret))
        return true;
    if (c->flags & TCP_CONN_SACK) {
        if (output_with_sack(t, now_us, c, ret))
            return true;
    } else if (output_text(t, now_us, c, ret)) {
        return true;
    }
    if ((c->flags & TCP_CONN_PROBE_NOW) && output_probe(t, now_us, c, ret))
        return true;
    arm_persist(t, now_us, c);
    if ((c->flags & TCP_CONN_KEEP_PROBE) && output_keepalive(t, now_us, c, ret))
        return true;
    if (!(c->flags & TCP_CONN_ACK_NOW))
        return false;
    emit(t, now_us, c, ack_seq(c), 0, 0, ret);
    return true;
}

/* SYN in SYN-SENT, SYN-ACK in SYN-RECEIVED; their windows are never scaled (RFC 7323 2.2). */
static bool output_syn(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret)
{
    bool received = c->state == TCP_SYN_RECEIVED;
    if (c->snd_nxt != c->iss) {
        if (!received || !(c->flags & TCP_CONN_ACK_NOW))
            return false;
        emit(t, now_us, c, c->snd_nxt, 0, 0, ret);
        return true;
    }
    uint16_t window = (uint16_t)u32_min(c->receive_size, UINT16_MAX);
    uint8_t flags = (uint8_t)(TCP_FLAG_SYN | (received ? TCP_FLAG_ACK : 0) | ecn_syn_flags(t, c));
    fill(t, now_us, c, c->iss, flags, window, ret);
    bool scale = !received || (c->flags & TCP_CONN_WINDOW_SCALE);
    struct syn_options o = {
        .mss = conn_offered_mss(t, c),
        .window_scale = scale ? (int32_t)(received ? c->receive_window_scale : conn_window_scale(c->receive_most)) : -1,
        .timestamps = received ? (c->flags & TCP_CONN_TIMESTAMPS) != 0 : !t->config.no_timestamps,
        .tsval = timestamp_clock(t, now_us, c->ts_offset),
        .tsecr = received ? c->ts_recent : 0,
        .sack_permitted = received ? (c->flags & TCP_CONN_SACK) != 0 : !t->config.no_sack};
    header_extend(ret, options_write_syn(ret->header + ret->header_length, &o));
    if (c->snd_max == c->iss) {
        rtt_start(c, now_us, c->iss + 1);
    } else {
        t->counters.retransmits++;
        c->retransmitted++;
        rtt_resent(c);
    }
    c->snd_nxt = c->snd_max = c->iss + 1;
    c->flags &= ~(uint32_t)TCP_CONN_ACK_NOW;
    arm_retransmission(c, now_us);
    t->counters.segments_out++;
    return true;
}

/* The peer of a connection that ended here: <SEQ=SND.NXT><ACK=RCV.NXT><CTL=RST,ACK>. */
static bool output_reset(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret)
{
    if (!(c->flags & TCP_CONN_RST_NOW))
        return false;
    c->flags &= ~(uint32_t)TCP_CONN_RST_NOW;
    c->flags |= TCP_CONN_RST_SENT;
    fill(t, now_us, c, c->snd_max, TCP_FLAG_RST | TCP_FLAG_ACK, 0, ret);
    t->counters.segments_out++;
    t->counters.resets_out++;
    conn_release_if_done(t, c);
    return true;
}

bool conn_output(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret)
{
    switch (c->state) {
    case TCP_CLOSED:
        return output_reset(t, now_us, c, ret);
    case TCP_LISTEN:
        return false;
    case TCP_SYN_SENT:
    case TCP_SYN_RECEIVED:
        return output_syn(t, now_us, c, ret);
    default:
        return output_synchronized(t, now_us, c, ret);
    }
}

bool reply_output(struct tcp *t, uint64_t now_us, struct tcp_output *ret)
{
    if (t->reply_count == 0)
        return false;
    const struct tcp_reply *r = &t->reply[t->reply_head];
    struct tcp_header h = {
        .source_port = be16_make(r->source_port),
        .destination_port = be16_make(r->destination_port),
        .sequence = be32_make(r->seq),
        .acknowledgement = be32_make(r->ack),
        .data_offset = sizeof h / 4 << 4,
        .flags = r->flags,
        .window = be16_make(r->window),
    };
    *ret = (struct tcp_output){
        .conn = TCP_NONE,
        .source = r->source,
        .destination = r->destination,
        .source_port = r->source_port,
        .destination_port = r->destination_port,
        .header_length = sizeof h,
    };
    memcpy(ret->header, &h, sizeof h);
    const struct syn_options syn = {.mss = r->mss,
                                    .window_scale = r->window_scale,
                                    .timestamps = r->timestamps,
                                    .tsval = r->tsval,
                                    .tsecr = r->tsecr,
                                    .sack_permitted = r->sack_permitted};
    if (r->flags & TCP_FLAG_SYN)
        header_extend(ret, options_write_syn(ret->header + ret->header_length, &syn));
    else if (r->timestamps)
        header_extend(ret, options_write_timestamps(ret->header + ret->header_length,
                                                    timestamp_clock(t, now_us, r->ts_offset), r->tsecr));
    t->reply_head = (t->reply_head + 1) & (TCP_REPLIES - 1);
    t->reply_count--;
    t->counters.segments_out++;
    t->counters.resets_out += (r->flags & TCP_FLAG_RST) != 0;
    return true;
}

/* Every turn of the loop takes one connection off the queue, or ends it. */
bool tcp_poll(struct tcp *t, uint64_t now_us, struct tcp_output *ret)
{
    if (t->orphans)
        orphans_settle(t);
    timer_run(t, now_us);
    if (reply_output(t, now_us, ret))
        return true;
    while (t->ready.head != TCP_NONE) {
        uint32_t index = t->ready.head;
        struct tcp_conn *c = &t->conn[index];
        t->ready.head = t->side[index].ready_next;
        if (t->ready.head == TCP_NONE)
            t->ready.tail = TCP_NONE;
        t->side[index].ready = 0;
        uint32_t flags = c->flags;
        work_on(t, index, TCP_WORK_OUTPUT);
        if (!conn_output(t, now_us, c, ret)) {
            if (c->flags != flags)
                conn_touched(t, c);
            continue;
        }
        if (c->state != TCP_CLOSED)
            conn_changed(t, c);
        return true;
    }
    work_on_nobody(t);
    timer_settle(t);
    return false;
}
