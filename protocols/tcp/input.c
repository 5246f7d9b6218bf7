// SPDX-License-Identifier: BSD-2-Clause
/* SEGMENT ARRIVES (RFC 9293 3.10.7): tcp_input() sorts by state; the steps for the states from SYN-RECEIVED on
 * (3.10.7.4) follow here, one function each, in the RFC's order. */
#include "protocols/tcp/tcp_arrival.h"

/* RFC 5961 7: challenge ACKs are limited, for each connection alone. A limit that all share would tell whoever has a
 * connection of his own which guesses about others' were answered (CVE-2016-5696), and he could use it up. */
bool challenge_is_allowed(uint64_t now_us, uint64_t *not_before_us)
{
    if (now_us < *not_before_us)
        return false;
    *not_before_us = now_us + TCP_CHALLENGE_GAP_US;
    return true;
}

void challenge(struct arrival *a)
{
    if (!challenge_is_allowed(a->now_us, &a->c->challenge_at_us))
        return;
    a->t->counters.challenge_acks++;
    a->c->flags |= TCP_CONN_ACK_NOW;
    conn_changed(a->t, a->c);
}

/* An ACK in answer to a segment that is not acceptable. Segments without text are answered ten times a second,
 * so that two sides that disagree do not answer each other for ever. */
static void answer_unacceptable(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    if (a->s.payload_length == 0 && !(a->s.flags & TCP_FLAG_FIN)) {
        if (a->now_us < c->challenge_at_us)
            return;
        c->challenge_at_us = a->now_us + TCP_CHALLENGE_GAP_US;
    }
    c->flags |= TCP_CONN_ACK_NOW;
    conn_changed(a->t, c);
}

/* Is any of it in the window? The right edge is that of the ring: it was advertised, or could be. A FIN
 * takes no room. Deviates: a segment without text may lie just at the right edge (as Linux): it overtook
 * the data that fills the window. */
static bool is_acceptable(const struct tcp_conn *c, const struct segment *s)
{
    uint32_t edge = seq_max(conn_right_edge(c), c->rcv_nxt);
    uint32_t end = s->text + s->payload_length, last = end + ((s->flags & TCP_FLAG_FIN) ? 1 : 0);
    if (s->payload_length == 0) {
        if (last == s->seq)
            return !seq_before(s->seq, c->rcv_nxt) && !seq_after(s->seq, edge);
        return seq_after(last, c->rcv_nxt) && !seq_after(s->seq, edge);
    }
    if (edge == c->rcv_nxt) /* closed window: the ACK counts, the text does not */
        return s->seq == c->rcv_nxt;
    return seq_after(last, c->rcv_nxt) && seq_before(s->text, edge);
}

/* Before the first (RFC 7323 5.3 R1: protection against wrapped sequence numbers). Of an RST nothing is looked at (5.2:
 * MUST NOT). A segment without the option: SHOULD be dropped silently (3.2; Linux takes it); but for the SYN of a peer
 * that has forgotten the connection, which is to learn from a challenge that it is still there. */
static bool check_timestamp(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    if (!(c->flags & TCP_CONN_TIMESTAMPS) || (a->s.flags & TCP_FLAG_RST))
        return true;
    if (!a->s.timestamps) {
        if ((a->s.flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == TCP_FLAG_SYN)
            return true;
        a->t->counters.drop_no_timestamp++;
        return false;
    }
    if (!timestamp_is_old(a->s.tsval, c->ts_recent, c->ts_recent_at_us, a->now_us))
        return true;
    a->t->counters.drop_paws++;
    (void)sack_note_duplicate(c, &a->s); /* as Linux: the original that was late is older than what was sent again */
    conn_changed(a->t, c);               /* also when it is not answered now */
    answer_unacceptable(a);
    return false;
}

/* A segment that was received before, whose ACK was lost or whose sender was hasty: the ACK that answers it echoes its
 * own timestamp (RFC 7323 4.3: SEG.SEQ <= Last.ACK.sent). With the old one the sender would measure its own waiting,
 * and wait the longer each time. Deviates: 5.3 R2 rejects it before; so what is looked at is as much as a segment in
 * the window must know: it lies within one window, and its ACK is good. */
static void take_timestamp_of_duplicate(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    bool near = seq_after(a->s.seq, c->rcv_nxt - c->receive_next_size);
    bool acks = (a->s.flags & (TCP_FLAG_ACK | TCP_FLAG_SYN | TCP_FLAG_RST)) == TCP_FLAG_ACK &&
                !seq_after(a->s.ack, c->snd_max) && !seq_before(a->s.ack, c->snd_una - c->snd_wnd_max);
    if (near && acks && conn_is_synchronized(c))
        timestamp_take(c, a->now_us, &a->s);
}

/* A SYN that comes again: our SYN-ACK was lost, or is slow. */
static bool is_repeated_syn(const struct tcp_conn *c, const struct segment *s)
{
    return c->state == TCP_SYN_RECEIVED && s->seq == c->irs &&
           (s->flags & (TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST)) == TCP_FLAG_SYN;
}

/* What is sent now can be answered before we give up: else a peer that was lucky with its last SYN is connected to
 * nobody in the same moment. As Linux (tcp_check_req()): an answer to a SYN is no retransmission, and puts off the next
 * one. RFC 6298 5.1: the timer runs from what was sent last. */
static void syn_ack_waits_again(const struct arrival *a)
{
    struct tcp_conn *c = a->c;
    uint64_t at_us = user_timeout_clamp(a->t, c, a->now_us, a->now_us + c->rto_us);
    if (at_us > c->retransmit_at_us)
        c->retransmit_at_us = at_us;
}

/* The SYN-ACK of a simultaneous open: its sequence number is old, its ACK counts. */
static bool is_simultaneous_syn_ack(const struct tcp_conn *c, const struct segment *s)
{
    return c->state == TCP_SYN_RECEIVED && s->seq == c->irs &&
           (s->flags & (TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST)) == (TCP_FLAG_SYN | TCP_FLAG_ACK);
}

/* Two sides that probed each other's closed window at once, and both took the octet, speak from one octet back from
 * then on: what they acknowledge counts, or they would never meet (draft-gont-tcpm-tcp-seq-validation 3; Deviates: RFC
 * 9293 3.10.7.4 drops it). */
static bool is_crossed_probe(const struct tcp_conn *c, const struct segment *s)
{
    return conn_is_synchronized(c) && s->seq == c->rcv_nxt - 1 && s->payload_length <= 1 &&
           (s->flags & (TCP_FLAG_ACK | TCP_FLAG_SYN | TCP_FLAG_FIN | TCP_FLAG_RST)) == TCP_FLAG_ACK &&
           seq_after(s->ack, c->snd_una);
}

/* First, check sequence number. */
static bool check_sequence(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    if (is_repeated_syn(c, &a->s)) {
        a->t->counters.duplicates++;
        if (c->snd_nxt != c->iss && a->now_us >= c->challenge_at_us) {
            c->challenge_at_us = a->now_us + TCP_CHALLENGE_GAP_US;
            c->snd_nxt = c->iss;
            c->flags |= TCP_CONN_SYN_RESENT;
            syn_ack_waits_again(a);
            conn_changed(a->t, c);
        }
        return false;
    }
    if (is_acceptable(c, &a->s) || is_simultaneous_syn_ack(c, &a->s))
        return true;
    if (a->s.payload_length > 0 && !seq_after(a->s.text + a->s.payload_length, c->rcv_nxt)) {
        a->t->counters.duplicates++;
        ack_duplicate(a->t, c);
        take_timestamp_of_duplicate(a);
    } else {
        a->t->counters.drop_out_of_window++;
    }
    if (a->s.flags & TCP_FLAG_RST)
        return false;
    (void)sack_note_duplicate(c, &a->s);
    conn_changed(a->t, c); /* also when it is not answered now */
    if (is_crossed_probe(c, &a->s) && !check_ack(a)) /* not to be taken, or all is over */
        return false;
    answer_unacceptable(a);
    return false;
}

/* Second, check the RST bit (RFC 5961 3.2: exactly at RCV.NXT, else MUST challenge; outside the window MUST drop in
 * silence). The window is the one that was advertised: the ring may be larger. */
static bool check_reset(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    if (!(a->s.flags & TCP_FLAG_RST))
        return true;
    if (a->s.seq != c->rcv_nxt && !seq_before(a->s.seq, c->rcv_adv)) {
        a->t->counters.drop_out_of_window++;
        return false;
    }
    if (a->s.seq != c->rcv_nxt) {
        challenge(a);
        return false;
    }
    a->t->counters.resets_in++;
    a->result = TCP_INPUT_DONE;
    if (c->state == TCP_SYN_RECEIVED)
        conn_end(a->t, c, (c->flags & TCP_CONN_PASSIVE) ? TCP_ERROR_RESET : TCP_ERROR_REFUSED);
    else if (c->state == TCP_LAST_ACK)
        conn_last_acked(a->t, a->now_us, c);
    else if (c->state >= TCP_CLOSING)
        conn_end(a->t, c, TCP_ERROR_NONE);
    else
        conn_end(a->t, c, c->state == TCP_CLOSE_WAIT ? TCP_ERROR_PIPE : TCP_ERROR_RESET);
    return false;
}

/* Fourth, check the SYN bit (third is security). RFC 5961 4.2: MUST challenge in any synchronized state. */
static bool check_syn(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    if (!(a->s.flags & TCP_FLAG_SYN))
        return true;
    if (is_simultaneous_syn_ack(c, &a->s))
        return true;
    if (c->state == TCP_SYN_RECEIVED && (c->flags & TCP_CONN_PASSIVE)) {
        conn_end(a->t, c, TCP_ERROR_RESET); /* back to LISTEN */
        a->result = TCP_INPUT_DONE;
        return false;
    }
    challenge(a);
    return false;
}

/* Sixth, check the URG bit: ignored (RFC 6093 5: SHOULD be in line). Deviates: RFC 9293 3.8.5: MUST tell the user. */

/* Takes off what is not to be written: below rcv_nxt, beyond the ring, beyond the FIN, at either end held already. What
 * is held in the midst is written again: a segment fills all the holes that it covers, for without SACK the peer takes
 * what it does not acknowledge for underway, and sends of each hole's rest nothing before a timeout. */
static bool trim_text(const struct tcp_conn *c, const struct segment *s, uint32_t *ret_start, uint32_t *ret_end)
{
    uint32_t start = seq_max(s->text, c->rcv_nxt);
    uint32_t end = seq_min(s->text + s->payload_length, seq_max(conn_right_edge(c), c->rcv_nxt));
    if (c->flags & TCP_CONN_FIN_KNOWN)
        end = seq_min(end, c->fin_seq);
    *ret_start = start;
    *ret_end = end;
    return seq_before(start, end) && ranges_trim(c, ret_start, ret_end);
}

/* RFC 5681 4.2: a duplicate ACK for every segment out of order; a super-segment is several of them. A peer with SACK
 * counts octets, not ACKs (RFC 6675 4). */
static void owe_duplicate_acks(struct arrival *a)
{
    uint32_t segments = 1;
    if (a->s.gso_size > 0 && !(a->c->flags & TCP_CONN_SACK))
        segments = (a->s.payload_length + a->s.gso_size - 1) / a->s.gso_size;
    a->c->acks_owed = u32_min(a->c->acks_owed + segments, TCP_ACKS_OWED_MAX);
}

/* `fresh` octets of it are new. */
static void place(struct arrival *a, uint32_t start, uint32_t end, uint32_t fresh)
{
    a->placement->conn = conn_index(a->t, a->c);
    a->placement->payload_offset = start - a->s.text;
    a->placement->stream_offset = start - a->c->irs - 1;
    a->placement->length = end - start;
    a->t->counters.octets_in += fresh;
}

static void take_out_of_order(struct arrival *a, uint32_t start, uint32_t end)
{
    a->t->counters.out_of_order++;
    owe_duplicate_acks(a);
    uint32_t fresh = end - start - ranges_held(a->c, start, end);
    if (!ranges_insert(a->c, start, end)) {
        a->t->counters.drop_ranges_full++;
        return;
    }
    sack_take(a->c, start);
    place(a, start, end, fresh);
}

static void take_in_order(struct arrival *a, uint32_t start, uint32_t end)
{
    struct tcp_conn *c = a->c;
    bool held = c->range_count > 0;
    place(a, start, end, end - start - ranges_held(c, start, end));
    c->rcv_nxt = end;
    ranges_advance(c);
    sack_advance(c);
    ack_text(a->t, a->now_us, c, end - start);
    if (held || end != a->s.text + a->s.payload_length)
        c->flags |= TCP_CONN_ACK_NOW; /* RFC 5681 4.2: SHOULD, when it fills a gap; or when cut short */
}

static bool receives_text(const struct tcp_conn *c)
{
    return c->state == TCP_ESTABLISHED || c->state == TCP_FIN_WAIT_1 || c->state == TCP_FIN_WAIT_2;
}

static void estimate_mss(struct arrival *a)
{
    uint32_t size = a->s.gso_size > 0 ? a->s.gso_size : a->s.payload_length;
    uint32_t options = (a->c->flags & TCP_CONN_TIMESTAMPS) ? TIMESTAMPS_OCTETS : 0;
    if (size > a->c->rcv_mss)
        a->c->rcv_mss = u32_min(size, conn_local_mss(a->t, a->c) - options);
}

/* Seventh, process the segment text. */
static bool process_text(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    uint32_t start, end;
    if (a->s.payload_length == 0 || !receives_text(c))
        return true;
    estimate_mss(a);
    if ((a->s.text != c->rcv_nxt || c->range_count > 0) && sack_note_duplicate(c, &a->s)) {
        ack_duplicate(a->t, c);
        c->flags |= TCP_CONN_ACK_NOW;
    }
    if (!trim_text(c, &a->s, &start, &end)) {
        if (conn_right_edge(c) == c->rcv_nxt) /* a window probe */
            a->t->counters.drop_out_of_window++;
        else
            a->t->counters.duplicates++;
        c->flags |= TCP_CONN_ACK_NOW;
        return true;
    }
    if (c->closed_by_user) { /* RFC 9293 3.6.1: SHOULD send an RST, the data would be lost; just where the peer waits */
        a->t->counters.drop_after_close++;
        conn_end(a->t, c, TCP_ERROR_ABORTED);
        reply_reset(a->t, a->meta, &a->s);
        return false;
    }
    if (start == c->rcv_nxt)
        take_in_order(a, start, end);
    else
        take_out_of_order(a, start, end);
    return true;
}

/* A FIN counts from where it is, also when text before it is missing; unless text was seen beyond. */
static void note_fin(struct tcp_conn *c, const struct segment *s)
{
    uint32_t at = s->text + s->payload_length;
    if (!(s->flags & TCP_FLAG_FIN) || (c->flags & TCP_CONN_FIN_KNOWN) || c->fin_received ||
        seq_before(at, c->rcv_nxt) || seq_after(at, seq_max(conn_right_edge(c), c->rcv_nxt)) ||
        (c->range_count > 0 && seq_after(c->range[c->range_count - 1].end, at)))
        return;
    c->fin_seq = at;
    c->flags |= TCP_CONN_FIN_KNOWN;
}

/* Eighth, check the FIN bit. */
static void process_fin(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    if (!receives_text(c))
        return;
    note_fin(c, &a->s);
    if ((a->s.flags & TCP_FLAG_FIN) && a->s.payload_length == 0 && c->rcv_nxt != c->fin_seq)
        c->flags |= TCP_CONN_ACK_NOW; /* out of order */
    if (!(c->flags & TCP_CONN_FIN_KNOWN) || c->rcv_nxt != c->fin_seq)
        return;
    c->rcv_nxt++;
    c->fin_received = 1;
    c->flags |= TCP_CONN_ACK_NOW;
    switch (c->state) {
    case TCP_ESTABLISHED:
        c->state = TCP_CLOSE_WAIT;
        break;
    case TCP_FIN_WAIT_1: /* our FIN is not acknowledged: that was looked at in the fifth step */
        c->state = TCP_CLOSING;
        break;
    default:
        conn_time_wait(a->t, a->now_us, c, 0);
        break;
    }
}

static void arrives_otherwise(struct arrival *a)
{
    if (!check_timestamp(a) || !check_sequence(a) || !check_reset(a) || !check_syn(a) || !check_ack(a))
        return;
    if (a->s.flags & TCP_FLAG_SYN) /* the SYN-ACK of a simultaneous open */
        a->c->flags |= TCP_CONN_ACK_NOW;
    timestamp_take(a->c, a->now_us, &a->s);
    ecn_received(a->t, a->c, &a->s);
    if (process_text(a))
        process_fin(a);
}

/* A segment that claims to come from where it goes (LAND) would be answered for ever: it is one only if its user has
 * connected a socket to itself. Nor is anything answered that is not from one host
 * to one host (RFC 9293 3.9.2.3: MUST ignore). */
bool addresses_are_sane(const struct tcp_conn *c, const struct tcp_segment_in *meta)
{
    const struct ip_address *pair[2] = {&meta->source, &meta->destination};
    if (meta->source_port == meta->destination_port && ip_address_equal(pair[0], pair[1]) &&
        (c == NULL || c->state <= TCP_LISTEN))
        return false;
    for (int i = 0; i < 2; i++) {
        uint8_t first = pair[i]->octets[0];
        if (ip_address_is_any(pair[i]) || (pair[i]->family == ADDRESS_IP4 && first >= 224) ||
            (pair[i]->family == ADDRESS_IP6 && first == 0xff))
            return false;
    }
    return meta->source_port != 0 && meta->destination_port != 0;
}

static void arrives(struct arrival *a)
{
    struct tcp_conn *c = a->c;
    if (c == NULL) {
        arrives_closed(a);
        return;
    }
    switch (c->state) {
    case TCP_CLOSED:
        arrives_closed(a);
        return;
    case TCP_LISTEN:
        arrives_listen(a, NULL);
        return;
    case TCP_SYN_SENT:
        if (arrives_syn_sent(a) && process_text(a))
            process_fin(a);
        break;
    default:
        arrives_otherwise(a);
        break;
    }
    if (a->result != TCP_INPUT_DONE || c->state == TCP_CLOSED)
        return;
    conn_refresh_offsets(c);
    conn_changed(a->t, c);
}

enum tcp_input_result tcp_input(struct tcp *t, uint64_t now_us, uint32_t index, const struct tcp_segment_in *meta,
                                const uint8_t *header, uint32_t header_length, uint32_t segment_length,
                                struct tcp_placement *ret)
{
    struct arrival a = {.t = t, .now_us = now_us, .meta = meta, .placement = ret};
    *ret = (struct tcp_placement){.conn = TCP_NONE};
    t->counters.segments_in++;
    switch (segment_parse(header, header_length, segment_length, &a.s)) {
    case SEGMENT_BAD_OPTIONS:
        t->counters.drop_options++;
        return TCP_INPUT_DROPPED;
    case SEGMENT_BAD_HEADER:
        t->counters.drop_header++;
        return TCP_INPUT_DROPPED;
    case SEGMENT_OK:
        break;
    }
    a.c = index < t->config.connections ? &t->conn[index] : NULL;
    if (!addresses_are_sane(a.c, meta)) {
        t->counters.drop_header++;
        return TCP_INPUT_DROPPED;
    }
    a.s.gso_size = meta->gso_size;
    a.s.ecn = meta->ecn;
    if ((a.c == NULL || a.c->state <= TCP_LISTEN) && arrives_time_wait(&a))
        return a.result;
    arrives(&a);
    return a.result;
}
