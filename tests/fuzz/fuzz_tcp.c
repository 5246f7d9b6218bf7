// SPDX-License-Identifier: BSD-2-Clause
/* The TCP engine as a state machine: segments (aimed near the connection's state, so that they are not all out of
 * window), user calls and time steps, from a millisecond to weeks, in any order. What comes out must keep the
 * invariants that the tcp server rests on; they are looked at after every step:
 *   blocks        SND.UNA <= SND.NXT <= SND.MAX, ranges in order, offsets within the rings
 *   accounts      each index is used or free, the listeners' counts are those of their children
 *   timers        the heap is one, no key is late, CLOSED has none
 *   no stall      what is still to be acknowledged, or sent, has a timer
 *   no spin       once tcp_poll() has nothing more the deadline lies ahead
 *   commit        a block or record that has changed was reported
 *   packets       fit the link, and 16 bits of length
 *   rings         a growth moves no octet that is live or promised; what is live has room; one is over when its tail
 *                 has reached the turn
 *   flights       sorted, disjoint, within [SND.UNA, SND.MAX], in one order by sequence number and one by time; what
 *                 they sum up to is what the scoreboard says; each record of the pool is free or one connection's
 *   restarts      what was reported last can all be put back into a new engine, unless octets of it were changed; then it
 *                 is refused, or does no harm
 * and at the end all is closed, time goes by, and nothing may be left. */
#include "protocols/base/wire.h"
#include "protocols/tcp/recovery.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tcp_invariants.h"

#define STEP 16 /* octets of input */
#define HEAD 4  /* and before them */

struct fuzz {
    struct tcp *t;
    void *memory;
    struct tcp_config config;
    uint64_t now;
    struct ip_address ours, theirs;
    uint32_t ring, most;
    uint32_t cookie, cookie_peer, cookie_tsval; /* of the last SYN-ACK that was a stateless reply */
    uint32_t tsval[CONNECTIONS];                /* sent last */
    struct tcp_conn conn[CONNECTIONS];          /* as reported last */
    struct tcp_time_wait time_wait[TIME_WAITS];
};

/* ---- what holds when there is nothing more to send ---- */
static void check_no_stall(const struct tcp *t, const struct tcp_conn *c)
{
    if (c->state < TCP_SYN_SENT)
        return;
    check(!(c->flags & (TCP_CONN_ACK_NOW | TCP_CONN_PROBE_NOW | TCP_CONN_KEEP_PROBE | TCP_CONN_RETRANSMIT_ONE)));
    check(!(c->flags & TCP_CONN_ECE) || (c->flags & TCP_CONN_ECN));
    check(c->acks_owed == 0 && (c->ack_owed == 0 || c->ack_at_us != 0));
    bool due = !conn_is_synchronized(c) || c->snd_una != c->snd_max || c->send_end != c->send_acked ||
               (c->user_fin && !c->fin_sent);
    bool paced = c->snd_una == c->snd_max && t->sender[conn_index(t, c)].pace_at_us != 0; /* then all is looked at */
    check(!due || c->retransmit_at_us != 0 || paced);
    check(c->state != TCP_FIN_WAIT_2 || !c->closed_by_user || c->state_at_us != 0);
    check(!c->options.keepalive || c->state < TCP_ESTABLISHED || c->keep_at_us != 0);
}

static void note_output(struct fuzz *f, const struct tcp_output *out)
{
    uint32_t ip = f->ours.family == ADDRESS_IP6 ? 40 : 20, mtu = u32_max(f->config.mtu, ip + 20 + TCP_MSS_MIN);
    check(out->header_length >= 20 && out->header_length <= TCP_HEADER_MAX && out->header_length % 4 == 0);
    check(out->header[12] >> 4 == out->header_length / 4);
    check(ip + out->header_length + out->payload_length <= UINT16_MAX);
    check(ip + out->header_length + (out->gso_size != 0 ? out->gso_size : out->payload_length) <= mtu);
    bool timestamps = out->header_length >= 32 && out->header[20] == 1 && out->header[22] == 8;
    be32 word[3];
    memcpy(word, out->header + 4, 2 * sizeof word[0]);
    memcpy(word + 2, out->header + 24, sizeof word[2]); /* of a SYN, too: MSS, then this */
    if (out->conn == TCP_NONE) {
        if (out->header[13] & TCP_FLAG_SYN) {
            f->cookie = be32_get(word[0]);
            f->cookie_peer = be32_get(word[1]);
            memcpy(word + 2, out->header + 28, sizeof word[2]);
            f->cookie_tsval = be32_get(word[2]);
        }
        return;
    }
    const struct tcp_conn *c = tcp_conn_at(f->t, out->conn);
    check(out->ecn == ECN_NOT_ECT || (out->ecn == ECN_ECT0 && (c->flags & TCP_CONN_ECN) && out->payload_length > 0));
    if (timestamps)
        f->tsval[out->conn] = be32_get(word[2]);
    check((out->header[13] & (TCP_FLAG_SYN)) || timestamps == ((c->flags & TCP_CONN_TIMESTAMPS) != 0));
    if (out->payload_length == 0)
        return;
    struct ring_shape ring = tcp_send_ring(c);
    check(out->payload_length <= ring_run(&ring, out->stream_offset));
    check(!seq_after(out->stream_offset + out->payload_length, c->send_end));
    check(!seq_before(out->stream_offset, c->send_acked));
}

/* Segments that may go out at one time: where time stands still slow start comes to more than any number. */
static uint64_t segments_most(const struct tcp *t)
{
    uint64_t most = 10000;
    for (uint32_t i = 0; i < t->fresh; i++)
        if (conn_is_synchronized(&t->conn[i]))
            most += t->conn[i].cwnd / conn_segment_mss(&t->conn[i]);
    return most;
}

static void drain(struct fuzz *f)
{
    struct tcp *t = f->t;
    struct tcp_output out;
    for (uint64_t n = 0; tcp_poll(t, f->now, &out); n++) {
        check(n < 10000 || n < segments_most(t));
        note_output(f, &out);
    }
    check(tcp_deadline_us(t) > f->now);
    for (uint32_t i = 0; i < t->fresh; i++)
        check_no_stall(t, &t->conn[i]);
    check_engine(f->t);
    uint32_t index;
    for (int n = 0; tcp_next_touched(t, &index); n++) {
        check(n < 10000 && index < CONNECTIONS);
        f->conn[index] = t->conn[index];
    }
    for (uint32_t i = 0; i < t->fresh; i++)
        check(t->conn[i].state == TCP_CLOSED || memcmp(&f->conn[i], &t->conn[i], sizeof f->conn[i]) == 0);
    for (int n = 0; tcp_next_touched_time_wait(t, &index); n++) {
        check(n < 10000 && index < TIME_WAITS);
        f->time_wait[index] = *tcp_time_wait_at(t, index);
    }
    check(memcmp(f->time_wait, t->time_wait.record, sizeof f->time_wait) == 0);
}

/* ---- segments ---- */
static uint32_t put_timestamps(uint8_t *at, uint32_t tsval, uint32_t tsecr)
{
    return options_write_timestamps(at, tsval, tsecr);
}

/* Blocks that a peer may report: what is known to be in flight, a part of it, or anything near; below the ACK, too. */
static uint32_t put_sack(const struct fuzz *f, uint8_t *at, const uint8_t *d, const struct tcp_conn *c, uint32_t most)
{
    struct tcp_range block[TCP_SACK_BLOCKS_MAX];
    const struct tcp_scoreboard *b = board_of(f->t, c);
    uint32_t count = u32_min(d[12] & 7U, most), scale = d[12] & 8 ? 1 : u32_max(conn_segment_mss(c), 1);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t where = d[13 + i % 3], octets = d[13 + (i + 1) % 3];
        block[i].start = c->snd_una + (uint32_t)(int8_t)where * scale;
        block[i].end = block[i].start + (octets % 16U + 1) * scale;
        const struct tcp_flight *flight = flight_at(f->t, b->first);
        for (uint32_t n = where % 8U; flight != NULL && n > 0 && flight->next != 0; n--)
            flight = flight_at(f->t, flight->next);
        if ((d[12] & 16) != 0 && flight != NULL)
            block[i] = (struct tcp_range){flight->start, octets & 1 ? flight->start + flight->mss : flight->end};
        if ((d[12] & 32) != 0 && i == 0) /* a duplicate: below the ACK */
            block[i] = (struct tcp_range){c->snd_una - octets * scale, c->snd_una};
        if ((d[12] & 64) != 0)
            block[i].end += (uint32_t)octets << 24;
    }
    return count > 0 ? options_write_sack(at, block, count) : 0;
}

static uint32_t put_more_options(struct fuzz *f, uint8_t *at, const uint8_t *d, const struct tcp_conn *c)
{
    uint32_t octets = 0;
    int32_t step = (int8_t)d[7];
    if ((c->flags & TCP_CONN_TIMESTAMPS) && (d[6] & 7) != 7)
        octets =
            put_timestamps(at, d[6] & 8 ? (uint32_t)(f->now / 1000) + (uint32_t)step : c->ts_recent + (uint32_t)step,
                           f->tsval[conn_index(f->t, c)] + (d[6] & 16 ? (uint32_t)step : 0));
    return octets + put_sack(f, at + octets, d, c, octets > 0 ? 3 : TCP_SACK_BLOCKS_MAX);
}

/* Octets; d[6] says which. */
static uint32_t put_options(struct fuzz *f, uint8_t *at, const uint8_t *d, const struct tcp_conn *c)
{
    int32_t step = (int8_t)d[7];
    if (d[6] & 0x80) { /* any octets */
        uint32_t octets = (d[6] & 15) % 11 * 4;
        for (uint32_t i = 0; i < octets; i++)
            at[i] = d[6 + i % 6];
        return octets;
    }
    if (d[8] & TCP_FLAG_SYN) {
        struct syn_options o = {.mss = d[6] & 1 ? 1460 : d[7] * 256u,
                                .window_scale = d[6] & 2 ? d[6] >> 3 & 15 : -1,
                                .timestamps = (d[6] & 4) != 0,
                                .sack_permitted = (d[12] & 1) == 0,
                                .tsval = (uint32_t)(f->now / 1000) + (uint32_t)step};
        return options_write_syn(at, &o);
    }
    if (c != NULL && c->state >= TCP_SYN_SENT)
        return put_more_options(f, at, d, c);
    if ((d[3] & 64) && f->cookie_tsval != 0)
        return put_timestamps(at, (uint32_t)step, f->cookie_tsval);
    if (d[3] & 32)
        return put_timestamps(at, tcp_time_wait_at(f->t, d[1] % TIME_WAITS)->ts_recent + (uint32_t)step, 0);
    return 0;
}

static void aim(const struct fuzz *f, const uint8_t *d, const struct tcp_conn *c, uint32_t *seq, uint32_t *ack)
{
    int32_t by = (int8_t)d[4], also = (int8_t)d[5];
    *seq = (uint32_t)d[4] << 24;
    *ack = (uint32_t)d[5] << 24;
    if (c != NULL && c->state != TCP_LISTEN) {
        *seq = c->rcv_nxt + (uint32_t)(by * (d[3] & 2 ? 200 : 1));
        *ack = (d[3] & 64 ? c->snd_una : c->snd_max) + (uint32_t)(also * (d[3] & 4 ? 200 : 1));
        return;
    } /* perhaps what a TIME-WAIT waits for, or the ACK of a cookie */
    const struct tcp_time_wait *r = tcp_time_wait_at(f->t, d[1] % TIME_WAITS);
    if (d[3] & 64) {
        *seq = f->cookie_peer;
        *ack = f->cookie + 1;
    } else if (d[3] & 32) {
        *seq = r->rcv_nxt + (uint32_t)by;
        *ack = r->snd_nxt;
    }
}

static void input(struct fuzz *f, const uint8_t *d)
{
    struct tcp *t = f->t;
    struct tcp_segment_in meta = {.source = f->theirs,
                                  .destination = f->ours,
                                  .source_port = (uint16_t)(5000 + d[1] % 4),
                                  .destination_port = (uint16_t)(80 + d[2] % 2),
                                  .ecn = d[11] & 3,
                                  .gso_size = (uint16_t)(d[3] & 1 ? 1460 : 0)};
    uint32_t index = tcp_lookup(t, &meta), seq, ack;
    const struct tcp_conn *c = index == TCP_NONE ? NULL : tcp_conn_at(t, index);
    if (c != NULL && c->state == TCP_SYN_RECEIVED && (d[2] & 0x80))
        tcp_attach(t, index, 1, 1, 0, index, 1);
    aim(f, d, c, &seq, &ack);
    uint8_t header[TCP_HEADER_MAX] = {0};
    uint32_t length = 20 + put_options(f, header + 20, d, c);
    struct tcp_header h = {.source_port = be16_make(meta.source_port),
                           .destination_port = be16_make(meta.destination_port),
                           .sequence = be32_make(seq),
                           .acknowledgement = be32_make(ack),
                           .data_offset = (uint8_t)(d[2] & 64 ? d[9] : length / 4 << 4),
                           .flags = d[8],
                           .window = be16_make((uint16_t)(d[9] << 8 | (d[9] != 0 ? d[10] : d[10] % 4)))};
    memcpy(header, &h, sizeof h);
    uint32_t made = tcp_open_cookie(t, f->now, index, &meta, header, length);
    if (made != index) {
        check(tcp_conn_at(t, made)->state == TCP_SYN_RECEIVED);
        if (d[3] & 1)
            tcp_attach(t, made, 1, 1, 0, made, 1);
        index = made;
    }
    uint32_t octets = length + (d[3] & 16 ? d[10] * 40u : d[10] % 4);
    struct tcp_placement place;
    if (tcp_input(t, f->now, index, &meta, header, length, octets, &place) != TCP_INPUT_DONE || place.length == 0)
        return;
    const struct tcp_conn *p = tcp_conn_at(t, place.conn);
    check(place.payload_offset + place.length <= octets - (header[12] >> 4) * 4u);
    struct ring_shape ring = tcp_receive_ring(p);
    check(place.stream_offset + place.length - p->receive_consumed <= ring_room(&ring, p->receive_consumed));
}

/* ---- the user, the network, the host ---- */
static void restore_time_wait(struct fuzz *f, const uint8_t *d)
{
    struct tcp_time_wait r = {.local = f->ours,
                              .remote = f->theirs,
                              .local_port = (uint16_t)(80 + d[2] % 2),
                              .remote_port = (uint16_t)(5000 + d[1] % 4),
                              .flags = d[3] & 7,
                              .window_scale = d[4] % 16,
                              .ends_at_us = (uint64_t)d[5] << (d[6] % 64)};
    check(tcp_restore_time_wait(f->t, d[7] % (TIME_WAITS + 1), &r) != TCP_CALL_OK ||
          d[7] % (TIME_WAITS + 1) < TIME_WAITS);
}

/* A block of a connection in SYN-SENT as a hostile predecessor may have left it. */
static void restore(struct fuzz *f, const uint8_t *d)
{
    struct tcp_conn block = {.state = TCP_SYN_SENT,
                             .send_size = f->ring,
                             .receive_size = f->ring,
                             .identity = {.local = f->ours,
                                          .remote = f->theirs,
                                          .local_port = (uint16_t)(80 + d[2] % 2),
                                          .remote_port = (uint16_t)(5000 + d[1] % 4)}};
    block.snd_max = d[3] & 1;
    uint8_t *at = (uint8_t *)&block + offsetof(struct tcp_conn, user_fin);
    for (unsigned i = 0; i < 4; i++)
        at[d[4 + 2 * i] * 2u % (sizeof block - offsetof(struct tcp_conn, user_fin))] ^= d[5 + 2 * i];
    tcp_restore(f->t, d[1] % (CONNECTIONS + 1), &block);
}

/* Some octets of one block are others: a pointer of the last incarnation had gone astray before the sum was made. */
static void astray(struct tcp_conn block[CONNECTIONS], const uint8_t *d)
{
    struct tcp_conn *b = &block[d[1] % CONNECTIONS];
    size_t most = offsetof(struct tcp_conn, range) + 4 * sizeof b->range[0];
    ((uint8_t *)b)[(d[5] * 256U + d[6]) % most] ^= d[7];
    ((uint8_t *)b)[(d[8] * 256U + d[9]) % most] ^= d[10];
    if (d[4] & 2) /* a whole field, mostly */
        memset((uint8_t *)b + (d[12] * 256U + d[13]) % (most / 4) * 4, d[14], 4);
}

/* The engine dies; another goes on from what was reported. What it reported is put back, all of it. */
static void die(struct fuzz *f, const uint8_t *d)
{
    static struct tcp_conn block[CONNECTIONS];
    struct tcp_time_wait time_wait[TIME_WAITS];
    bool whole = (d[4] & 1) == 0;
    memcpy(block, f->conn, sizeof block);
    memcpy(time_wait, f->time_wait, sizeof time_wait);
    if (!whole)
        astray(block, d);
    memset(f->memory, 0, tcp_size(&f->config));
    memset(f->conn, 0, sizeof f->conn);
    memset(f->time_wait, 0, sizeof f->time_wait);
    f->t = tcp_init(f->memory, &f->config, f->now);
    for (uint32_t n = 0; n < CONNECTIONS; n++) {
        uint32_t i = d[3] & 1 ? n : CONNECTIONS - 1 - n;
        if (block[i].state == TCP_CLOSED)
            continue;
        enum tcp_call_result r = tcp_restore(f->t, i, &block[i]);
        check(r == TCP_CALL_OK || !whole);
        if (r != TCP_CALL_OK)
            (void)tcp_reset_lost(f->t, &block[i]);
    }
    for (uint32_t i = 0; i < TIME_WAITS; i++)
        if (time_wait[i].local.family != ADDRESS_NONE)
            check(tcp_restore_time_wait(f->t, i, &time_wait[i]) == TCP_CALL_OK || !whole);
}

static void tune(struct fuzz *f, uint32_t i, const uint8_t *d)
{
    struct tcp_options o = {.nodelay = d[2] & 1,
                            .keepalive = d[2] >> 1 & 1,
                            .linger_reset = d[2] >> 2 & 1,
                            .keep_count = d[3],
                            .keep_idle_s = d[4],
                            .keep_interval_s = d[5],
                            .congestion = d[12] % 4,
                            .maximum_segment = (uint16_t)(d[2] & 8 ? d[6] * 16u : 0),
                            .user_timeout_ms = d[2] & 16 ? 1u << d[7] % 24 : 0};
    tcp_set_options(f->t, f->now, i, &o);
}

/* ---- rings that grow ---- */
/* [first, end) lies where it lay, in as many pieces as there were. */
static void check_unmoved(const struct ring_shape *was, const struct ring_shape *is, uint32_t first, uint32_t end)
{
    for (int n = 0; first != end; n++) {
        check(n < 4 && ring_position(was, first) == ring_position(is, first));
        first += u32_min(ring_run(was, first), end - first);
        check(ring_position(was, first - 1) == ring_position(is, first - 1));
    }
}

static void grant(struct fuzz *f, uint32_t i, const uint8_t *d)
{
    const struct tcp_conn *c = tcp_conn_at(f->t, i);
    struct ring_shape was = tcp_receive_ring(c);
    uint32_t edge = c->receive_consumed;
    if (conn_is_synchronized(c))
        edge = seq_max(conn_right_edge(c), c->rcv_adv) - c->irs - 1;
    tcp_receive_granted(f->t, i, d[3] & 4 ? (uint32_t)d[5] << d[6] % 25 : was.next_size << (1 + d[4] % 3));
    struct ring_shape is = tcp_receive_ring(c);
    check(is.next_size <= c->receive_most || is.next_size == was.next_size);
    check_unmoved(&was, &is, c->receive_consumed, edge);
}

static void grow(struct fuzz *f, uint32_t i, const uint8_t *d)
{
    const struct tcp_conn *c = tcp_conn_at(f->t, i);
    struct ring_shape was = tcp_send_ring(c), said = was;
    if (d[3] & 4)
        said = (struct ring_shape){1U << d[4] % 31, 1U << d[5] % 31, (c->send_end + d[6] * 256U) & ~(RING_STEP - 1)};
    else
        (void)ring_grow(&said, u32_min(was.next_size, RING_SIZE_MAX / 8) << (1 + d[4] % 3),
                        c->send_end + (uint32_t)((int8_t)d[5] * 16));
    bool grown = tcp_send_grown(f->t, i, &said);
    struct ring_shape is = tcp_send_ring(c), settled = was;
    if (is.size != was.size) /* a growth that was over is noticed here, too */
        (void)ring_settle(&settled, c->send_acked);
    check(memcmp(&is, grown ? &said : &settled, sizeof is) == 0 && is.next_size <= u32_max(c->send_most, was.next_size));
    check_unmoved(&was, &is, c->send_acked, c->send_end);
}

static void cork(struct fuzz *f, uint32_t i, const uint8_t *d)
{
    if ((d[12] & 3) == 0)
        tcp_set_cork(f->t, f->now, i, d[3] & 1);
    else if ((d[12] & 3) == 3)
        tcp_ring_limits(f->t, i, f->ring << d[4] % 8, f->ring << d[5] % 8);
    else if (d[12] & 1)
        grant(f, i, d);
    else
        grow(f, i, d);
}

static void connect(struct fuzz *f, const struct tcp_identity *id)
{
    uint32_t index;
    if (tcp_connect(f->t, f->now, id, f->ring, f->ring, &index) == TCP_CALL_OK)
        tcp_ring_limits(f->t, index, f->most, f->most);
}

static void user(struct fuzz *f, const uint8_t *d)
{
    struct tcp *t = f->t;
    uint32_t i = d[1] % CONNECTIONS, index;
    const struct tcp_conn *c = tcp_conn_at(t, i);
    struct tcp_identity id = {.local = f->ours,
                              .remote = f->theirs,
                              .local_port = (uint16_t)(d[3] & 1 ? 0 : 80 + d[2] % 2),
                              .remote_port = (uint16_t)(5000 + d[1] % 4)};
    struct tcp_identity listener = {.local = f->ours, .local_port = (uint16_t)(80 + d[2] % 2), .arena = UINT32_MAX};
    bool listens = c->state == TCP_LISTEN;
    switch (d[11] % 16) {
    case 0:
        connect(f, &id);
        break;
    case 1:
        tcp_send_available(t, f->now, i, d[3] & 1 ? c->send_end + d[4] * 64u : (uint32_t)d[4] << 24);
        break;
    case 2:
        tcp_send_available(t, f->now, i, c->send_end + d[4]);
        break;
    case 3:
        tcp_receive_consumed(t, f->now, i, d[3] & 1 ? c->receive_next : c->receive_consumed + d[4]);
        break;
    case 4:
        tcp_shutdown_send(t, f->now, i);
        break;
    case 5:
        if (!listens || d[3] == 7)
            tcp_close(t, f->now, i);
        break;
    case 6:
        if (!listens)
            tcp_abort(t, f->now, i);
        break;
    case 7:
        tune(f, i, d);
        break;
    case 8:
        cork(f, i, d);
        break;
    case 9:
        tcp_accepted(t, i);
        break;
    case 10:
        tcp_unreachable(t, f->now, i, c->snd_una + (uint32_t)(int8_t)d[3], (enum tcp_error)(TCP_ERROR_UNREACHABLE));
        break;
    case 11:
        tcp_too_big(t, f->now, i, c->snd_una + (uint32_t)(int8_t)d[3], d[4] * 16u);
        break;
    case 12:
        restore_time_wait(f, d);
        break;
    case 13:
        if (d[3] & 0x80)
            die(f, d);
        else
            restore(f, d);
        break;
    case 14:
        (void)tcp_set_backlog(t, i, d[3] % 4);
        break;
    default:
        (void)tcp_listen(t, &listener, d[3] % 4, f->ring, f->ring, &index);
        break;
    }
}

static void pass_time(struct fuzz *f, const uint8_t *d)
{
    static const uint64_t unit[] = {1, 1000, 20000, 1000000, 60000000, 3600000000, 86400000000};
    uint64_t deadline = tcp_deadline_us(f->t);
    if ((d[1] & 1) == 0)
        f->now += unit[d[2] % 7] * d[3];
    else if (deadline != UINT64_MAX && deadline > f->now)
        f->now = deadline;
    drain(f);
}

/* Everything ends by itself in the end. */
static void finish(struct fuzz *f)
{
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        tcp_close(f->t, f->now, i);
    for (int n = 0;; n++) {
        check(n < 20000);
        drain(f);
        if (tcp_deadline_us(f->t) == UINT64_MAX)
            break;
        f->now = tcp_deadline_us(f->t);
    }
    check(tcp_drained(f->t) && f->t->time_wait.live.count == 0 && f->t->syn_received == 0);
}

static void begin(struct fuzz *f, void *memory, size_t size, const uint8_t *d)

{
    static const uint32_t mtu[] = {1500, 576, 1280, 9000, 65535, 68, 1500, 1500};
    static const uint32_t ring[] = {16384, 1024, 1 << 20, 1 << 30};
    static const uint8_t ip4[2][4] = {{10, 0, 0, 2}, {10, 0, 0, 1}};
    uint8_t how = d[0], when = d[1], with = d[2];
    uint32_t index;
    f->config = (struct tcp_config){.connections = CONNECTIONS,
                                    .mtu = mtu[how & 7],
                                    .gso = (how & 8) == 0,
                                    .time_waits = TIME_WAITS,
                                    .no_timestamps = (when & 64) != 0,
                                    .no_cookies = (when & 128) != 0,
                                    .congestion = with & 1 ? TCP_CONGESTION_RENO : TCP_CONGESTION_DEFAULT,
                                    .ecn = (with >> 1 & 3) % 3,
                                    .no_sack = (with & 8) != 0,
                                    .no_pacing = (with & 16) == 0,
                                    .no_mtu_probing = (with & 32) != 0,
                                    .flights = with & 64 ? 4 : 128};
    f->ring = ring[how >> 4 & 3];
    f->most = u32_min(f->ring, RING_SIZE_MAX >> d[3] % 8) << d[3] % 8;
    f->ours = ip_address_from_ip4(ip4[0]);
    f->theirs = ip_address_from_ip4(ip4[1]);
    if (how & 64) {
        f->ours = (struct ip_address){.family = ADDRESS_IP6, .octets = {0xfd, 1, [15] = 2}};
        f->theirs = (struct ip_address){.family = ADDRESS_IP6, .octets = {0xfd, 1, [15] = 1}};
    }
    f->now = 1000000 + ((uint64_t)(when & 63) << 28); /* sequence numbers and timestamps near their wrap */
    check(tcp_size(&f->config) <= size);
    memset(memory, 0, tcp_size(&f->config));
    f->memory = memory;
    f->t = tcp_init(memory, &f->config, f->now);
    struct tcp_identity listener = {.local = f->ours, .local_port = 80, .arena = UINT32_MAX};
    check(tcp_listen(f->t, &listener, 3, f->ring, f->ring, &index) == TCP_CALL_OK);
    tcp_ring_limits(f->t, index, f->most, f->most);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(64) uint8_t memory[1 << 20];
    static struct fuzz f;
    memset(&f, 0, sizeof f);
    if (size < HEAD)
        return 0;
    begin(&f, memory, sizeof memory, data);
    for (size_t at = HEAD; at + STEP <= size; at += STEP) {
        const uint8_t *d = data + at;
        if (d[0] % 8 < 2)
            user(&f, d);
        else if (d[0] % 8 == 2)
            pass_time(&f, d);
        else
            input(&f, d);
        check_engine(f.t);
        if (d[0] & 0x80)
            drain(&f);
    }
    finish(&f);
    return 0;
}
