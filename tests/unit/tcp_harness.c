// SPDX-License-Identifier: BSD-2-Clause
#include "tests/unit/tcp_harness.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/tcp/tcp_internal.h"

static bool before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

/* ---- host ---- */
void host_init(struct host *h, const uint8_t address[4], const struct tcp_config *config)
{
    memset(h, 0, sizeof *h);
    h->config = *config;
    ck_assert_uint_le(config->connections, HARNESS_CONNECTIONS_MAX);
    size_t size = tcp_size(config);
    ck_assert_uint_eq(size % 64, 0);
    h->memory = aligned_alloc(64, size);
    memset(h->memory, 0, size);
    h->now_us = HARNESS_START_US;
    h->t = tcp_init(h->memory, config, h->now_us);
    h->address = ip_address_from_ip4(address);
    h->attach = true;
    h->time_wait = calloc(tcp_time_wait_records(h->t), sizeof *h->time_wait);
    for (uint32_t i = 0; i < config->connections; i++)
        h->shadow[i] = *tcp_conn_at(h->t, i);
    ck_assert(tcp_drained(h->t));
}

void host_fini(struct host *h)
{
    struct tcp_output out;
    for (uint32_t i = 0; i < h->config.connections; i++)
        tcp_abort(h->t, h->now_us, i);
    while (host_poll(h, &out))
        continue;
    host_drain(h);
    ck_assert(tcp_drained(h->t));
    h->now_us += 2 * (uint64_t)(h->config.time_wait_us != 0 ? h->config.time_wait_us : 60000000);
    ck_assert(!host_poll(h, &out)); /* TIME-WAITs end by themselves */
    host_drain(h);
    ck_assert(tcp_deadline_us(h->t) == UINT64_MAX);
    free(h->time_wait);
    for (uint32_t i = 0; i < HARNESS_CONNECTIONS_MAX; i++) {
        free(h->receive_ring[i]);
        free(h->send_ring[i]);
    }
    free(h->memory);
}

const struct tcp_conn *host_conn(const struct host *h, uint32_t index)
{
    return tcp_conn_at(h->t, index);
}

static void check_block(const struct tcp_conn *c)
{
    if (c->state < TCP_SYN_RECEIVED || c->state == TCP_CLOSED)
        return;
    require(!before(c->snd_nxt, c->snd_una) && !before(c->snd_max, c->snd_nxt));
    require(c->cwnd >= conn_send_mss(c) || c->options.maximum_segment != 0); /* which may have been raised */
    uint32_t at = c->rcv_nxt;
    for (uint32_t i = 0; i < c->range_count; i++) {
        require(before(at, c->range[i].start) && before(c->range[i].start, c->range[i].end));
        at = c->range[i].end;
    }
    struct ring_shape receive = tcp_receive_ring(c), send = tcp_send_ring(c);
    uint32_t room = ring_room(&receive, c->receive_consumed);
    require(!before(c->irs + 1 + c->receive_consumed + room, c->rcv_adv));
    require(c->receive_next - c->receive_consumed <= room);
    require(c->send_end - c->send_acked <= ring_room(&send, c->send_acked));
}

static void note_touched(struct host *h, uint32_t index)
{
    const struct tcp_conn *c = tcp_conn_at(h->t, index);
    check_block(c);
    if (c->state == TCP_CLOSED && h->shadow[index].state != TCP_CLOSED) {
        h->ended++;
        h->last_ended = index;
        h->last_error = c->error;
    }
    if (h->receive_ring[index] == NULL) {
        h->receive_ring[index] = calloc(1, HARNESS_RING_MAX);
        h->send_ring[index] = calloc(1, HARNESS_RING_MAX);
    }
    h->shadow[index] = *c;
}

void host_drain(struct host *h)
{
    uint32_t index;
    while (tcp_next_touched(h->t, &index)) {
        require(index < h->config.connections);
        if (h->attach && tcp_conn_at(h->t, index)->state == TCP_SYN_RECEIVED &&
            tcp_conn_at(h->t, index)->identity.arena == UINT32_MAX)
            ck_assert_int_eq(tcp_attach(h->t, index, 7, 1, 0, index, 1), TCP_CALL_OK);
        note_touched(h, index);
    }
    while (tcp_next_touched_time_wait(h->t, &index))
        h->time_wait[index] = *tcp_time_wait_at(h->t, index);
    for (uint32_t i = 0; i < tcp_time_wait_records(h->t); i++)
        if (memcmp(&h->time_wait[i], tcp_time_wait_at(h->t, i), sizeof h->time_wait[i]) != 0)
            ck_abort_msg("record %u changed and was not reported", i);
    for (uint32_t i = 0; i < h->config.connections; i++) {
        if (tcp_conn_at(h->t, i)->state == TCP_CLOSED)
            continue;
        if (memcmp(&h->shadow[i], tcp_conn_at(h->t, i), sizeof h->shadow[i]) != 0)
            ck_abort_msg("block %u changed and was not reported", i);
    }
}

static bool in_range(const struct tcp_conn *c, uint32_t start, uint32_t end)
{
    bool found = false;
    for (uint32_t i = 0; i < c->range_count; i++)
        found |= !before(start, c->range[i].start) && !before(c->range[i].end, end);
    return found;
}

/* SACK's blocks: what is held and nothing else, but for the first, which may be a duplicate; a FIN is held, too. */
static void check_blocks(const struct tcp_conn *c, const struct tcp_output *out)
{
    uint32_t at = 20 + ((c->flags & TCP_CONN_TIMESTAMPS) ? 12 : 0);
    if (c->state < TCP_ESTABLISHED || (out->header[13] & (S | R)) || out->header_length <= at)
        return;
    require(memcmp(out->header + at, "\1\1\5", 3) == 0 && (c->flags & TCP_CONN_SACK));
    uint32_t count = (out->header[at + 3] - 2U) / 8;
    require(count > 0 && out->header_length == at + 4 + count * 8);
    for (uint32_t i = 0; i < count; i++) {
        be32 edge[2];
        memcpy(edge, out->header + at + 4 + (size_t)i * 8, sizeof edge);
        uint32_t start = be32_get(edge[0]), end = be32_get(edge[1]);
        bool fin = (c->flags & TCP_CONN_FIN_KNOWN) && end == c->fin_seq + 1;
        bool duplicate = i == 0 && !before(c->rcv_nxt, end);
        require(before(start, end) && (duplicate || in_range(c, start, fin ? end - 1 : end)));
    }
}

bool host_poll(struct host *h, struct tcp_output *ret)
{
    memset(ret, 0xee, sizeof *ret);
    if (!tcp_poll(h->t, h->now_us, ret))
        return false;
    require(ret->header_length >= 20);
    require(ret->header_length % 4 == 0);
    require(ret->header[12] >> 4 == ret->header_length / 4);
    if (ret->conn != TCP_NONE)
        check_blocks(host_conn(h, ret->conn), ret);
    if (ret->payload_length == 0)
        return true;
    const struct tcp_conn *c = host_conn(h, ret->conn);
    uint32_t end = ret->stream_offset + ret->payload_length;
    require(!before(ret->stream_offset, c->send_acked) && !before(c->send_end, end));
    struct ring_shape ring = tcp_send_ring(c);
    require(ret->payload_length <= ring_run(&ring, ret->stream_offset));
    require(ret->payload_length <= TCP_SUPER_SEGMENT_MAX);
    const struct tcp_path *path = &h->t->sender[ret->conn].path;
    bool probe = path->probe_size != 0 && ret->payload_length == path->probe_octets;
    uint32_t timestamps = (c->flags & TCP_CONN_TIMESTAMPS) ? 12 : 0; /* what is there beside them takes room, too */
    uint32_t mss = conn_send_mss(c) - (ret->header_length - 20U - timestamps);
    require(ret->gso_size == (ret->payload_length > mss && !probe ? mss : 0));
    require(h->config.gso || ret->gso_size == 0);
    return true;
}

static void check_placement(const struct tcp_conn *was, const struct tcp_placement *p, uint32_t payload_length)
{
    uint32_t start = was->irs + 1 + p->stream_offset, end = start + p->length;
    require(p->length > 0);
    require(p->payload_offset + p->length <= payload_length);
    if (was->state != TCP_SYN_SENT) {
        require(!before(start, was->rcv_nxt));
        require(!before(was->irs + 1 + was->receive_consumed + was->receive_size, end));
    }
    for (uint32_t i = 0; i < was->range_count; i++) { /* neither its first octet nor its last is there already */
        require(before(start, was->range[i].start) || !before(start, was->range[i].end));
        require(!before(was->range[i].start, end) || before(was->range[i].end, end));
    }
}

enum tcp_input_result host_input(struct host *h, const struct tcp_segment_in *meta, const uint8_t *header,
                                 uint32_t header_length, const uint8_t *payload, uint32_t payload_length)
{
    struct tcp_placement p;
    struct tcp_conn was = {0};
    uint32_t found = tcp_lookup(h->t, meta);
    uint32_t index = tcp_open_cookie(h->t, h->now_us, found, meta, header, header_length);
    if (index != found)
        host_drain(h); /* a new connection, which gets its slot */
    if (index != TCP_NONE)
        was = *host_conn(h, index);
    enum tcp_input_result r =
        tcp_input(h->t, h->now_us, index, meta, header, header_length, header_length + payload_length, &p);
    if (p.conn == TCP_NONE)
        return r;
    require(r == TCP_INPUT_DONE);
    if (was.state == TCP_SYN_SENT)
        was.irs = host_conn(h, p.conn)->irs;
    check_placement(&was, &p, payload_length);
    uint32_t size = was.receive_size;
    for (uint32_t i = 0; payload != NULL && i < p.length; i++)
        h->receive_ring[p.conn][(p.stream_offset + i) & (size - 1)] = payload[p.payload_offset + i];
    return r;
}

uint32_t host_listen(struct host *h, uint16_t port, uint32_t backlog, uint32_t receive_size, uint32_t send_size)
{
    struct tcp_identity i = {.local = h->address, .local_port = port, .owner = 1};
    uint32_t index = TCP_NONE;
    ck_assert_int_eq(tcp_listen(h->t, &i, backlog, receive_size, send_size, &index), TCP_CALL_OK);
    return index;
}

enum tcp_call_result host_connect(struct host *h, const struct ip_address *remote, uint16_t local_port,
                                  uint16_t remote_port, uint32_t receive_size, uint32_t send_size, uint32_t *ret_index)
{
    struct tcp_identity i = {
        .local = h->address, .remote = *remote, .local_port = local_port, .remote_port = remote_port, .owner = 2};
    return tcp_connect(h->t, h->now_us, &i, receive_size, send_size, ret_index);
}

/* ---- bench ---- */
static const uint8_t own_address[4] = {10, 77, 0, 2}, peer_address[4] = {10, 77, 0, 1};

void bench_init_with(struct bench *b, uint32_t irs, const struct tcp_config *config)
{
    memset(b, 0, sizeof *b);
    host_init(&b->h, own_address, config);
    b->peer = ip_address_from_ip4(peer_address);
    b->peer_port = PEER_PORT;
    b->own_port = OWN_PORT;
    b->irs = irs;
    b->window = 65535;
    b->receive_size = b->send_size = 65536;
    b->backlog = 4;
    b->conn = b->listener = TCP_NONE;
}

void bench_init(struct bench *b, uint32_t irs)
{
    struct tcp_config config = {.connections = 16, .mtu = 1500, .secret = {1, 2, 3}};
    bench_init_with(b, irs, &config);
}

void bench_fini(struct bench *b)
{
    host_fini(&b->h);
}

const struct tcp_conn *conn_of(const struct bench *b)
{
    return host_conn(&b->h, b->conn);
}

const struct tcp_time_wait *time_wait_of(const struct bench *b)
{
    for (uint32_t i = 0; i < tcp_time_wait_records(b->h.t); i++) {
        const struct tcp_time_wait *r = tcp_time_wait_at(b->h.t, i);
        if (r->local_port == b->own_port && r->remote_port == b->peer_port && ip_address_equal(&r->remote, &b->peer) &&
            ip_address_equal(&r->local, &b->h.address))
            return r;
    }
    return NULL;
}

/* A connection in TIME-WAIT has given its block back. */
enum tcp_state state_of(const struct bench *b)
{
    if (conn_of(b)->state == TCP_CLOSED && time_wait_of(b) != NULL)
        return TCP_TIME_WAIT;
    return (enum tcp_state)conn_of(b)->state;
}

const struct tcp_counters *counters_of(const struct bench *b)
{
    return tcp_counters(b->h.t);
}

void bench_options(struct bench *b, const char *octets, uint32_t length)
{
    memcpy(b->options, octets, length);
    b->options_length = length;
}

enum tcp_input_result inject(struct bench *b, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t length)
{
    struct tcp_segment_in meta = {.source = b->peer,
                                  .destination = b->h.address,
                                  .source_port = b->peer_port,
                                  .destination_port = b->own_port,
                                  .gso_size = b->gso_size,
                                  .ecn = b->ecn};
    uint8_t header[TCP_HEADER_MAX] = {0};
    uint32_t header_length = (uint32_t)sizeof(struct tcp_header) + b->options_length;
    struct tcp_header fixed = {
        .source_port = be16_make(b->peer_port),
        .destination_port = be16_make(b->own_port),
        .sequence = be32_make(b->irs + seq),
        .acknowledgement = be32_make((flags & A) ? b->iss + ack : 0),
        .data_offset = (uint8_t)(header_length / 4 << 4),
        .flags = flags,
        .window = be16_make((uint16_t)b->window),
    };
    memcpy(header, &fixed, sizeof fixed);
    memcpy(header + sizeof fixed, b->options, b->options_length);
    enum tcp_input_result r = host_input(&b->h, &meta, header, header_length, NULL, length);
    if (b->conn == TCP_NONE && (flags & S) && r == TCP_INPUT_DONE)
        b->conn = tcp_lookup(b->h.t, &meta);
    b->options_length = 0;
    b->gso_size = 0;
    b->ecn = 0;
    return r;
}

void expect_at(struct bench *b, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t length, const char *file, int line)
{
    struct tcp_header h;
    ck_assert_msg(host_poll(&b->h, &b->seen), "%s:%d: silence", file, line);
    memcpy(&h, b->seen.header, sizeof h);
    if (h.flags & S)
        b->iss = be32_get(h.sequence);
    uint32_t got_seq = be32_get(h.sequence) - b->iss;
    uint32_t got_ack = (h.flags & A) ? be32_get(h.acknowledgement) - b->irs : 0;
    bool good = (h.flags & ~P) == (flags & ~P) && got_seq == seq && got_ack == ack && b->seen.payload_length == length;
    ck_assert_msg(good, "%s:%d: flags %#x seq %u ack %u length %u, not flags %#x seq %u ack %u length %u", file, line,
                  h.flags, got_seq, got_ack, b->seen.payload_length, flags, seq, ack, length);
}

void expect_silence_at(struct bench *b, const char *file, int line)
{
    struct tcp_output out;
    struct tcp_header h = {0};
    bool spoke = host_poll(&b->h, &out);
    if (spoke)
        memcpy(&h, out.header, sizeof h);
    ck_assert_msg(!spoke, "%s:%d: flags %#x seq %u ack %u length %u, not silence", file, line, h.flags,
                  be32_get(h.sequence) - b->iss, be32_get(h.acknowledgement) - b->irs, out.payload_length);
    host_drain(&b->h);
}

uint32_t seen_window(const struct bench *b)
{
    struct tcp_header h;
    memcpy(&h, b->seen.header, sizeof h);
    return be16_get(h.window);
}

uint32_t seen_ack(const struct bench *b)
{
    struct tcp_header h;
    memcpy(&h, b->seen.header, sizeof h);
    return be32_get(h.acknowledgement);
}

void advance(struct bench *b, uint64_t us)
{
    b->h.now_us += us;
}

void make_available(struct bench *b, uint32_t octets)
{
    tcp_send_available(b->h.t, b->h.now_us, b->conn, conn_of(b)->send_end + octets);
}

void consume(struct bench *b, uint32_t octets)
{
    tcp_receive_consumed(b->h.t, b->h.now_us, b->conn, conn_of(b)->receive_consumed + octets);
}

static void bench_listen(struct bench *b)
{
    b->listener = host_listen(&b->h, OWN_PORT, b->backlog, b->receive_size, b->send_size);
    expect_silence(b);
}

static void bench_syn_sent(struct bench *b)
{
    ck_assert_int_eq(host_connect(&b->h, &b->peer, OWN_PORT, PEER_PORT, b->receive_size, b->send_size, &b->conn),
                     TCP_CALL_OK);
    expect(b, S, 0, 0, 0);
    expect_silence(b);
}

static void bench_syn_received(struct bench *b)
{
    bench_listen(b);
    if (b->options_length == 0)
        bench_options(b, "\2\4\5\xb4", 4);
    inject(b, S, 0, 0, 0);
    expect(b, S | A, 0, 1, 0);
    expect_silence(b);
}

static void bench_established(struct bench *b)
{
    bench_syn_received(b);
    inject(b, A, 1, 1, 0);
    expect_silence(b);
    tcp_accepted(b->h.t, b->conn);
    host_drain(&b->h);
}

static void bench_close(struct bench *b)
{
    if (b->half_close)
        tcp_shutdown_send(b->h.t, b->h.now_us, b->conn);
    else
        tcp_close(b->h.t, b->h.now_us, b->conn);
}

static void bench_fin_wait_1(struct bench *b)
{
    bench_established(b);
    bench_close(b);
    expect(b, F | A, 1, 1, 0);
    expect_silence(b);
}

static void bench_close_wait(struct bench *b)
{
    bench_established(b);
    inject(b, F | A, 1, 1, 0);
    expect(b, A, 1, 2, 0);
    expect_silence(b);
}

bool bench_in_time_wait(const struct bench *b)
{
    return state_of(b) == TCP_TIME_WAIT;
}

/* RFC 6528: the ISN is a clock of 4 us and a hash; a scratch engine tells the hash. */
uint64_t host_time_of_iss(const struct host *h, const struct ip_address *remote, uint16_t local_port,
                          uint16_t remote_port, uint32_t iss)
{
    struct host scratch;
    uint32_t index;
    host_init(&scratch, own_address, &h->config);
    scratch.address = h->address;
    ck_assert_int_eq(host_connect(&scratch, remote, local_port, remote_port, TCP_RING_MIN, TCP_RING_MIN, &index),
                     TCP_CALL_OK);
    uint32_t now = host_conn(&scratch, index)->iss;
    host_fini(&scratch);
    return HARNESS_START_US + 4 * (uint64_t)(iss - now);
}

void bench_choose_iss(struct bench *b, uint32_t iss)
{
    b->h.now_us = host_time_of_iss(&b->h, &b->peer, b->own_port, b->peer_port, iss);
}

void bench_state(struct bench *b, enum tcp_state state)
{
    switch (state) {
    case TCP_CLOSED:
        break;
    case TCP_LISTEN:
        bench_listen(b);
        b->conn = b->listener;
        break;
    case TCP_SYN_SENT:
        bench_syn_sent(b);
        break;
    case TCP_SYN_RECEIVED:
        bench_syn_received(b);
        break;
    case TCP_ESTABLISHED:
        bench_established(b);
        break;
    case TCP_FIN_WAIT_1:
        bench_fin_wait_1(b);
        break;
    case TCP_FIN_WAIT_2:
        bench_fin_wait_1(b);
        inject(b, A, 1, 2, 0);
        break;
    case TCP_CLOSE_WAIT:
        bench_close_wait(b);
        break;
    case TCP_CLOSING:
        bench_fin_wait_1(b);
        inject(b, F | A, 1, 1, 0);
        expect(b, A, 2, 2, 0);
        break;
    case TCP_LAST_ACK:
        bench_close_wait(b);
        bench_close(b);
        expect(b, F | A, 1, 2, 0);
        break;
    case TCP_TIME_WAIT:
        bench_fin_wait_1(b);
        inject(b, F | A, 1, 2, 0);
        expect(b, A, 2, 2, 0);
        break;
    }
    expect_silence(b);
    if (state == TCP_TIME_WAIT)
        ck_assert(bench_in_time_wait(b));
    else if (state != TCP_CLOSED)
        ck_assert_int_eq(state_of(b), state);
}

/* ---- wire ---- */
void wire_init(struct wire *w, struct host *a, struct host *b, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->end[0] = a;
    w->end[1] = b;
    w->seed = seed * 0x9e3779b97f4a7c15U + 1;
    w->delay_us = 50;
    w->now_us = HARNESS_START_US;
}

void wire_fini(struct wire *w)
{
    for (int i = 0; i < 2; i++) {
        while (w->flying[i] != NULL) {
            struct packet *p = w->flying[i];
            w->flying[i] = p->next;
            free(p);
        }
    }
}

uint32_t wire_random(struct wire *w, uint32_t below) /* xorshift64* */
{
    w->seed ^= w->seed >> 12;
    w->seed ^= w->seed << 25;
    w->seed ^= w->seed >> 27;
    return (uint32_t)((w->seed * 0x2545f4914f6cdd1dU) >> 33) % below;
}

static void wire_put(struct wire *w, int to, struct packet *p)
{
    p->at_us = w->now_us + w->delay_us;
    if (wire_random(w, 1000) < w->reorder)
        p->at_us += wire_random(w, 4 * w->delay_us + 1);
    struct packet **at = &w->flying[to];
    while (*at != NULL && (*at)->at_us <= p->at_us)
        at = &(*at)->next;
    p->next = *at;
    *at = p;
}

static struct packet *packet_new(const struct host *from, const struct tcp_output *out, uint32_t skip, uint32_t length)
{
    struct packet *p = malloc(sizeof *p + length);
    struct tcp_header h;
    *p = (struct packet){.meta = {.source = out->source,
                                  .destination = out->destination,
                                  .source_port = out->source_port,
                                  .destination_port = out->destination_port,
                                  .ecn = out->ecn},
                         .header_length = out->header_length,
                         .payload_length = length};
    memcpy(p->header, out->header, out->header_length);
    memcpy(&h, p->header, sizeof h);
    h.sequence = be32_make(be32_get(h.sequence) + skip);
    if (skip + length < out->payload_length)
        h.flags &= (uint8_t) ~(F | P);
    memcpy(p->header, &h, sizeof h);
    for (uint32_t i = 0; i < length; i++) {
        uint32_t offset = out->stream_offset + skip + i;
        p->payload[i] = from->send_ring[out->conn][offset & (host_conn(from, out->conn)->send_size - 1)];
    }
    return p;
}

static void wire_send(struct wire *w, int from, const struct tcp_output *out)
{
    uint32_t piece = w->split && out->gso_size > 0 ? out->gso_size : out->payload_length;
    uint32_t skip = 0;
    do {
        uint32_t length = out->payload_length - skip < piece ? out->payload_length - skip : piece;
        int copies = wire_random(w, 1000) < w->duplicate ? 2 : 1;
        for (int i = 0; i < copies; i++) {
            if (wire_random(w, 1000) < w->loss) {
                w->lost++;
                continue;
            }
            struct packet *p = packet_new(w->end[from], out, skip, length);
            p->meta.gso_size = w->split ? 0 : out->gso_size;
            if (p->meta.ecn == ECN_ECT0 && wire_random(w, 1000) < w->mark)
                p->meta.ecn = ECN_CE;
            w->carried++;
            wire_put(w, !from, p);
        }
        skip += length;
    } while (skip < out->payload_length);
}

static void wire_deliver(struct wire *w, int to)
{
    while (w->flying[to] != NULL && w->flying[to]->at_us <= w->now_us) {
        struct packet *p = w->flying[to];
        w->flying[to] = p->next;
        host_input(w->end[to], &p->meta, p->header, p->header_length, p->payload, p->payload_length);
        free(p);
    }
}

/* Now and then the port is full and the burst ends early, as with a real one. */
static void wire_burst(struct wire *w, int side)
{
    struct host *h = w->end[side];
    struct tcp_output out;
    uint32_t room = 1 + wire_random(w, 64);
    h->now_us = w->now_us;
    wire_deliver(w, side);
    while (room-- > 0 && host_poll(h, &out))
        wire_send(w, side, &out);
    host_drain(h);
}

bool wire_step(struct wire *w, uint64_t until_us)
{
    wire_burst(w, 0);
    wire_burst(w, 1);
    uint64_t next = UINT64_MAX;
    for (int i = 0; i < 2; i++) {
        uint64_t deadline = tcp_deadline_us(w->end[i]->t);
        next = deadline < next ? deadline : next;
        if (w->flying[i] != NULL && w->flying[i]->at_us < next)
            next = w->flying[i]->at_us;
    }
    if (next == UINT64_MAX || next > until_us)
        return false;
    if (next > w->now_us)
        w->now_us = next;
    return true;
}

void bench_slow_acks(struct bench *b)
{
    b->h.t->sender[b->conn].quick = (struct tcp_quick){.text_at_us = b->h.now_us};
}
