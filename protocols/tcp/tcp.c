// SPDX-License-Identifier: BSD-2-Clause
/* TCP, theory of operation.
 *
 * The engine is a table of connection blocks and what is derived from them. Segments come in through
 * tcp_input(), users call tcp_connect() and so on; both change blocks and nothing else. tcp_poll() lets the
 * connections that may have something to send take turns, and is where the timers run. Everything that it
 * has given out is in the blocks already; tcp_next_touched() then says which blocks changed, so that the host
 * can commit them before anything leaves. Read RFC 9293 section 3.10 first; then, for what is wrapped round
 * it, RFC 6298 (timeout), 5681 and 6582 (congestion), 7323 (window scale, timestamps), 5961 (blind attacks),
 * 6528 (ISNs), 6056 (ports), 6191 (TIME-WAIT), 4987 (SYN cookies).
 *
 *   tcp.c         memory, the table, user calls         input.c    SEGMENT ARRIVES: any state but those below
 *   demux.c       segment to connection or listener     open.c     SEGMENT ARRIVES: CLOSED, LISTEN, SYN-SENT
 *   listener.c    children, backlog                     ack.c      ACKs of our data
 *   output.c      tcp_poll: what goes out next          options.c  header and options, in and out
 *   timer.c       deadlines and what happens at them    rtt.c      RFC 6298
 *   congestion.c  the congestion window                 reassembly.c  out-of-order ranges
 *   cubic.c       RFC 9438                              hystart.c  RFC 9406: the end of initial slow start
 *   pacing.c      the window, spread over the round trip   path.c   its MTU
 *   newreno.c     losses, with a peer that does not SACK (recovery.c with one that does)
 *   flight.c      what is in flight: the scoreboard     rack.c     RACK-TLP: what of it is lost
 *   ring.h        rings that grow in place              autotune.c  ... and how large they should be
 *   keepalive.c   when to give up; options              (the peer is silent, does not acknowledge, cannot be reached)
 *   isn.c         keyed hashes                          restart.c  blocks put back, peers of lost ones told
 *   time_wait.c   TIME-WAIT in compact records          cookie.c   SYN cookies
 *   timestamps.c  RFC 7323: clock, TS.Recent, PAWS      sack.c     what an ACK reports
 *   ecn.c         RFC 3168                              restart_check.c  which blocks can be put back
 *   resume.c      what goes out first after a restart
 *
 * States: those of RFC 9293. A FIN is formed, and the state changed, when it goes out, not when the user
 * calls: until then user_fin stands alone. A connection that ends goes to CLOSED and leaves the hash and
 * the heap at once; its index is free when this was reported and its RST, if one is due, was given out. So does
 * one in TIME-WAIT: a record of its own goes on for it.
 *
 * Payload: never seen. Input tells the host where a segment's payload belongs; what is below rcv_nxt, beyond the
 * ring, or at its ends in a held range is trimmed first. A segment fills all the holes that it covers: what is held
 * between them, which nobody has read yet, is written again. Output names a piece of the send ring that does not
 * cross its end.
 *
 * Timers of a connection: retransmission (or persist, never both), delayed ACK, keepalive, and one for states that end
 * by themselves (FIN-WAIT-2 after close). SYN-RECEIVED ends with its retransmissions.
 *
 * Limits: the table; that of TIME-WAITs (the oldest gives way); TCP_RANGES_MAX ranges; the backlog (then SYN
 * cookies); TCP_REPLIES stateless replies waiting; challenge ACKs per connection.
 *
 * Left out until later: urgent data (the pointer is ignored and the octets are data, as RFC 6093
 * suggests). */
#include "protocols/base/siphash.h"
#include "protocols/tcp/congestion.h"

/* ---- memory ---- */
struct layout {
    size_t conn, side, heap, bucket, time_wait, time_wait_side, time_wait_bucket, sender, flight, size;
    uint32_t connections, buckets, time_waits, time_wait_buckets, flights;
};

static size_t align64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static struct layout layout_of(const struct tcp_config *config)
{
    struct layout l = {.connections = u32_max(1, u32_min(config->connections, 1U << 20)), .buckets = 16};
    while (l.buckets < l.connections)
        l.buckets *= 2;
    l.time_waits = u32_min(config->time_waits != 0 ? config->time_waits : 2 * l.connections, 1U << 20);
    l.time_wait_buckets = 16;
    while (l.time_wait_buckets < l.time_waits)
        l.time_wait_buckets *= 2;
    l.conn = align64(sizeof(struct tcp));
    l.side = align64(l.conn + l.connections * sizeof(struct tcp_conn));
    l.heap = align64(l.side + l.connections * sizeof(struct tcp_side));
    l.bucket = align64(l.heap + l.connections * sizeof(struct tcp_timer));
    l.time_wait = align64(l.bucket + l.buckets * sizeof(uint32_t));
    l.time_wait_side = align64(l.time_wait + l.time_waits * sizeof(struct tcp_time_wait));
    l.time_wait_bucket = align64(l.time_wait_side + l.time_waits * sizeof(struct tcp_time_wait_side));
    l.flights = l.connections + (config->flights != 0 ? u32_min(config->flights, 1U << 24) : 3 * l.connections + 4096);
    l.sender = align64(l.time_wait_bucket + l.time_wait_buckets * sizeof(uint32_t));
    l.flight = align64(l.sender + l.connections * sizeof(struct tcp_sender));
    l.size = align64(l.flight + l.flights * sizeof(struct tcp_flight));
    return l;
}

size_t tcp_size(const struct tcp_config *config)
{
    return layout_of(config).size;
}

static void config_defaults(struct tcp_config *c, uint32_t connections)
{
    c->connections = connections;
    if (c->time_wait_us == 0)
        c->time_wait_us = 60000000;
    if (c->rto_initial_us == 0)
        c->rto_initial_us = 1000000;
    if (c->rto_min_us == 0)
        c->rto_min_us = 200000;
    if (c->rto_max_us == 0)
        c->rto_max_us = 120000000;
    if (c->retries == 0)
        c->retries = 15;
    c->retries = u32_min(c->retries, 200);
    if (c->orphan_retries == 0)
        c->orphan_retries = 8; /* as Linux */
    c->orphan_retries = u32_min(c->orphan_retries, 200);
    if (c->congestion == TCP_CONGESTION_DEFAULT)
        c->congestion = TCP_CONGESTION_CUBIC;
}

struct tcp *tcp_init(void *memory, const struct tcp_config *config, uint64_t now_us)
{
    static const struct tcp_list empty = {TCP_NONE, TCP_NONE, 0};
    struct layout l = layout_of(config);
    struct tcp *t = memory;
    uint8_t *base = memory;
    t->config = *config;
    config_defaults(&t->config, l.connections);
    t->conn = (struct tcp_conn *)(base + l.conn);
    t->side = (struct tcp_side *)(base + l.side);
    t->heap = (struct tcp_timer *)(base + l.heap);
    t->bucket = (uint32_t *)(base + l.bucket);
    t->bucket_mask = l.buckets - 1;
    memset(t->bucket, 0xff, l.buckets * sizeof(uint32_t)); /* TCP_NONE */
    t->free = t->ready = t->touched = empty;
    t->config.time_waits = l.time_waits;
    t->time_wait.record = (struct tcp_time_wait *)(base + l.time_wait);
    t->time_wait.side = (struct tcp_time_wait_side *)(base + l.time_wait_side);
    t->time_wait.bucket = (uint32_t *)(base + l.time_wait_bucket);
    t->time_wait.bucket_mask = l.time_wait_buckets - 1;
    time_wait_init(t);
    t->config.flights = l.flights;
    t->sender = (struct tcp_sender *)(base + l.sender);
    t->flight = (struct tcp_flight *)(base + l.flight);
    t->flight_free = TCP_NONE;
    t->flight_fresh = l.connections; /* those before are the connections' own */
    t->started_us = now_us;
    t->next_ephemeral = (uint32_t)siphash(config->secret, &now_us, sizeof now_us);
    return t;
}

void tcp_warm(void *memory, const struct tcp_config *config, uint32_t connections)
{
    struct tcp *t = tcp_init(memory, config, 0);
    uint32_t n = u32_min(connections, t->config.connections);
    memset(t->conn, 0, n * sizeof *t->conn);
    memset(t->side, 0, n * sizeof *t->side);
    memset(t->heap, 0, n * sizeof *t->heap);
    memset(t->sender, 0, n * sizeof *t->sender);
    memset(t->flight, 0, n * sizeof *t->flight);
    memset(t->flight + t->flight_fresh, 0, u32_min(n, t->config.flights - t->flight_fresh) * sizeof *t->flight);
}

/* ---- lists of indices ---- */
void index_list_append(struct tcp *t, struct tcp_list *list, uint32_t index)
{
    t->side[index].list_prev = list->tail;
    t->side[index].list_next = TCP_NONE;
    if (list->tail != TCP_NONE)
        t->side[list->tail].list_next = index;
    else
        list->head = index;
    list->tail = index;
    list->count++;
}

void index_list_prepend(struct tcp *t, struct tcp_list *list, uint32_t index)
{
    t->side[index].list_prev = TCP_NONE;
    t->side[index].list_next = list->head;
    if (list->head != TCP_NONE)
        t->side[list->head].list_prev = index;
    else
        list->tail = index;
    list->head = index;
    list->count++;
}

void index_list_remove(struct tcp *t, struct tcp_list *list, uint32_t index)
{
    struct tcp_side *side = &t->side[index];
    if (side->list_prev != TCP_NONE)
        t->side[side->list_prev].list_next = side->list_next;
    else
        list->head = side->list_next;
    if (side->list_next != TCP_NONE)
        t->side[side->list_next].list_prev = side->list_prev;
    else
        list->tail = side->list_prev;
    list->count--;
}

void conn_ready(struct tcp *t, struct tcp_conn *c)
{
    uint32_t index = conn_index(t, c);
    if (t->side[index].ready)
        return;
    t->side[index].ready = 1;
    t->side[index].ready_next = TCP_NONE;
    if (t->ready.tail != TCP_NONE)
        t->side[t->ready.tail].ready_next = index;
    else
        t->ready.head = index;
    t->ready.tail = index;
}

void conn_touched(struct tcp *t, struct tcp_conn *c)
{
    uint32_t index = conn_index(t, c);
    if (t->side[index].touched)
        return;
    t->side[index].touched = 1;
    t->side[index].touched_next = TCP_NONE;
    if (t->touched.tail != TCP_NONE)
        t->side[t->touched.tail].touched_next = index;
    else
        t->touched.head = index;
    t->touched.tail = index;
}

void conn_changed(struct tcp *t, struct tcp_conn *c)
{
    conn_ready(t, c);
    conn_touched(t, c);
    timer_sync(t, c);
}

bool tcp_next_touched(struct tcp *t, uint32_t *ret_index)
{
    uint32_t index = t->touched.head;
    if (index == TCP_NONE)
        return false;
    t->touched.head = t->side[index].touched_next;
    if (t->touched.head == TCP_NONE)
        t->touched.tail = TCP_NONE;
    t->side[index].touched = 0;
    if (t->conn[index].state == TCP_CLOSED) {
        t->side[index].reported = 1;
        conn_release_if_done(t, &t->conn[index]);
    }
    *ret_index = index;
    return true;
}

/* ---- the table ---- */
static uint32_t free_count(const struct tcp *t)
{
    return t->free.count + t->config.connections - t->fresh;
}

/* Indices join the free list when they are wanted, so that a table costs the memory of what was in use at once. */
static void free_extend(struct tcp *t, uint32_t index)
{
    while (t->fresh <= index) {
        t->side[t->fresh].heap_position = TCP_NONE;
        index_list_append(t, &t->free, t->fresh++);
    }
}

struct tcp_conn *conn_allocate_at(struct tcp *t, uint32_t index)
{
    free_extend(t, index);
    struct tcp_conn *c = &t->conn[index];
    index_list_remove(t, &t->free, index);
    t->side[index].used = 1;
    t->side[index].reported = 0;
    t->side[index].orphan = ORPHAN_NONE;
    t->side[index].name = 0;
    t->side[index].child_head = TCP_NONE;
    memset(c, 0, sizeof *c);
    t->sender[index] = (struct tcp_sender){0};
    c->listener = TCP_NONE;
    return c;
}

void conn_release_if_done(struct tcp *t, struct tcp_conn *c)
{
    uint32_t index = conn_index(t, c);
    struct tcp_side *side = &t->side[index];
    if (!side->used || !side->reported || c->state != TCP_CLOSED || (c->flags & TCP_CONN_RST_NOW))
        return;
    side->used = 0;
    index_list_prepend(t, &t->free, index);
}

void conn_end(struct tcp *t, struct tcp_conn *c, enum tcp_error error)
{
    uint32_t index = conn_index(t, c);
    if (c->state == TCP_CLOSED)
        return;
    conn_refresh_offsets(c);
    if (conn_is_child(c))
        child_remove(t, c);
    timer_remove(t, c);
    demux_remove(t, index);
    c->state = TCP_CLOSED;
    c->error = (uint8_t)error;
    c->flags &= TCP_CONN_TIMESTAMPS; /* an RST still carries one */
    c->retransmit_at_us = c->ack_at_us = c->state_at_us = c->keep_at_us = 0;
    flights_release(t, c);
    t->sender[index].recovery_at_us = t->sender[index].pace_at_us = 0;
    c->range_count = 0;
    conn_touched(t, c);
}

void conn_reset(struct tcp *t, struct tcp_conn *c, enum tcp_error error)
{
    conn_end(t, c, error);
    c->flags |= TCP_CONN_RST_NOW;
    conn_ready(t, c);
}

enum tcp_farewell tcp_farewell(const struct tcp *t, uint32_t conn)
{
    uint32_t flags = t->conn[conn].state == TCP_CLOSED ? t->conn[conn].flags : 0;
    if (flags & TCP_CONN_RST_NOW)
        return TCP_FAREWELL_DUE;
    return flags & TCP_CONN_RST_SENT ? TCP_FAREWELL_SENT : TCP_FAREWELL_NONE;
}

void conn_time_wait(struct tcp *t, uint64_t now_us, struct tcp_conn *c, uint8_t flags)
{
    uint32_t record = time_wait_new(t, now_us, c, flags);
    if ((c->flags & TCP_CONN_ACK_NOW) || c->acks_owed > 0)
        time_wait_acknowledge(t, record);
    conn_end(t, c, TCP_ERROR_NONE);
}

void conn_last_acked(struct tcp *t, uint64_t now_us, struct tcp_conn *c)
{
    if (cookie_would_reopen(t, now_us, c) && time_wait_has_room(t))
        conn_time_wait(t, now_us, c, TCP_TIME_WAIT_COOKIE);
    else
        conn_end(t, c, TCP_ERROR_NONE);
}

void conn_fin_wait_2(struct tcp_conn *c, uint64_t now_us)
{
    c->state = TCP_FIN_WAIT_2;
    c->retransmit_at_us = 0;
    if (c->closed_by_user)
        c->state_at_us = now_us + TCP_ORPHAN_US;
}

/* ---- a new block ---- */
uint32_t conn_local_mss(const struct tcp *t, const struct tcp_conn *c)
{
    uint32_t headers = c->identity.remote.family == ADDRESS_IP6 ? 60 : 40;
    uint32_t mss = t->config.mtu > headers ? t->config.mtu - headers : 0;
    return u32_max(TCP_MSS_MIN, u32_min(mss, TCP_SUPER_SEGMENT_MAX));
}

/* In our SYN. */
uint32_t conn_offered_mss(const struct tcp *t, const struct tcp_conn *c)
{
    uint32_t mss = conn_local_mss(t, c), user = c->options.maximum_segment;
    return user == 0 ? mss : u32_min(mss, u32_max(user, TCP_MSS_MIN));
}

/* RFC 7323 2.2: so that the whole ring can be advertised, whatever it grows to. */
uint8_t conn_window_scale(uint32_t receive_most)
{
    uint8_t scale = 0;
    while (scale < TCP_WINDOW_SCALE_MAX && receive_most >> scale > UINT16_MAX)
        scale++;
    return scale;
}

void conn_init_send(struct tcp *t, struct tcp_conn *c, uint32_t iss)
{
    c->iss = c->snd_una = c->snd_nxt = c->snd_max = c->snd_sml = c->recover = iss;
    c->mss = TCP_MSS_DEFAULT;
    c->ts_offset = timestamp_offset(t, &c->identity);
    c->rto_us = t->config.rto_initial_us;
    c->rcv_mss = u32_min(TCP_MSS_DEFAULT, conn_local_mss(t, c));
    congestion_init(t, c);
}

bool conn_size_is_valid(uint32_t size)
{
    return size >= TCP_RING_MIN && size <= TCP_RING_MAX && (size & (size - 1)) == 0;
}

struct tcp_conn *conn_new(struct tcp *t, const struct tcp_identity *identity, enum tcp_state state,
                          uint32_t receive_size, uint32_t send_size)
{
    if (free_count(t) == 0)
        return NULL;
    struct tcp_conn *c = conn_allocate_at(t, t->free.head != TCP_NONE ? t->free.head : t->fresh);
    c->identity = *identity;
    c->state = (uint8_t)state;
    c->receive_size = c->receive_next_size = c->receive_most = receive_size;
    c->send_size = c->send_next_size = c->send_most = send_size;
    demux_insert(t, conn_index(t, c));
    return c;
}

/* The stream offsets that the host reads, from the sequence numbers. */
void conn_refresh_offsets(struct tcp_conn *c)
{
    if (c->snd_una != c->iss)
        c->send_acked = conn_fin_acked(c) ? c->send_end : c->snd_una - c->iss - 1;
    if (c->state >= TCP_SYN_RECEIVED)
        c->receive_next = c->rcv_nxt - c->irs - 1 - c->fin_received;
    struct ring_shape ring = tcp_send_ring(c);
    if (ring_settle(&ring, c->send_acked))
        c->send_size = ring.size;
}

/* ---- user calls (RFC 9293 3.10.1 to 3.10.5) ---- */
struct tcp_conn *conn_of_user(struct tcp *t, uint32_t index)
{
    if (index >= t->config.connections || t->conn[index].state == TCP_CLOSED)
        return NULL;
    return &t->conn[index];
}

enum tcp_call_result tcp_listen(struct tcp *t, const struct tcp_identity *identity, uint32_t backlog,
                                uint32_t receive_size, uint32_t send_size, uint32_t *ret_index)
{
    if (!conn_size_is_valid(receive_size) || !conn_size_is_valid(send_size))
        return TCP_CALL_BAD_STATE;
    if (demux_listener_conflicts(t, identity))
        return TCP_CALL_IN_USE;
    struct tcp_conn *c = conn_new(t, identity, TCP_LISTEN, receive_size, send_size);
    if (c == NULL)
        return TCP_CALL_TABLE_FULL;
    c->backlog = u32_min(backlog, t->config.connections);
    conn_touched(t, c);
    *ret_index = conn_index(t, c);
    return TCP_CALL_OK;
}

/* RFC 6056 3.3.3, algorithm 3. A port that a listener or a connection to the same peer has is passed over;
 * after TCP_PORT_PATIENCE of them one is taken whose connection has been in TIME-WAIT for a while, if it had timestamps
 * (as Linux; Deviates: RFC 6191 says so of the peer's SYN only, but our timestamp and ISN are larger then, too). */
static enum tcp_call_result choose_port(struct tcp *t, uint64_t now_us, struct tcp_identity *identity)
{
    uint32_t count = TCP_PORT_LAST - TCP_PORT_FIRST + 1, second_best = TCP_NONE;
    uint32_t offset = port_offset(t, identity);
    for (uint32_t i = 0; i < count && (i <= TCP_PORT_PATIENCE || second_best == TCP_NONE); i++) {
        uint16_t port = (uint16_t)(TCP_PORT_FIRST + (offset + t->next_ephemeral++) % count);
        uint32_t taken = demux_conn(t, &identity->local, port, &identity->remote, identity->remote_port);
        bool self = port == identity->remote_port && ip_address_equal(&identity->local, &identity->remote);
        if (self || demux_listener(t, &identity->local, port) != TCP_NONE)
            continue;
        if (taken != TCP_NONE)
            continue;
        uint32_t old = time_wait_find(t, &identity->local, port, &identity->remote, identity->remote_port);
        if (old == TCP_NONE) {
            identity->local_port = port;
            return TCP_CALL_OK;
        }
        if (second_best == TCP_NONE && time_wait_has_rested(t, now_us, old))
            second_best = port;
    }
    if (second_best == TCP_NONE)
        return TCP_CALL_NO_PORT;
    identity->local_port = (uint16_t)second_best;
    return TCP_CALL_OK;
}

/* The four-tuple is free, or in TIME-WAIT and may be used again. */
static enum tcp_call_result claim_tuple(struct tcp *t, uint64_t now_us, struct tcp_identity *identity,
                                        uint32_t *ret_iss)
{
    if (identity->local_port == 0) {
        enum tcp_call_result r = choose_port(t, now_us, identity);
        if (r != TCP_CALL_OK)
            return r;
    }
    *ret_iss = isn_make(t, now_us, identity);
    if (demux_conn(t, &identity->local, identity->local_port, &identity->remote, identity->remote_port) != TCP_NONE)
        return TCP_CALL_IN_USE;
    uint32_t old = time_wait_find(t, &identity->local, identity->local_port, &identity->remote, identity->remote_port);
    if (old == TCP_NONE)
        return TCP_CALL_OK;
    if (!time_wait_has_rested(t, now_us, old))
        return TCP_CALL_IN_USE;
    if (!seq_after(*ret_iss, time_wait_floor(t, old)))
        *ret_iss = time_wait_floor(t, old);
    time_wait_end(t, old);
    t->counters.time_wait_reused++;
    return TCP_CALL_OK;
}

enum tcp_call_result tcp_connect(struct tcp *t, uint64_t now_us, const struct tcp_identity *identity,
                                 uint32_t receive_size, uint32_t send_size, uint32_t *ret_index)
{
    struct tcp_identity i = *identity;
    uint32_t iss;
    if (!conn_size_is_valid(receive_size) || !conn_size_is_valid(send_size))
        return TCP_CALL_BAD_STATE;
    if (free_count(t) == 0)
        return TCP_CALL_TABLE_FULL;
    enum tcp_call_result r = claim_tuple(t, now_us, &i, &iss);
    if (r != TCP_CALL_OK)
        return r;
    struct tcp_conn *c = conn_new(t, &i, TCP_SYN_SENT, receive_size, send_size);
    if (c == NULL)
        return TCP_CALL_TABLE_FULL;
    conn_init_send(t, c, iss);
    t->counters.connects++;
    conn_changed(t, c);
    *ret_index = conn_index(t, c);
    return TCP_CALL_OK;
}

void tcp_send_available(struct tcp *t, uint64_t now_us, uint32_t index, uint32_t end)
{
    (void)now_us;
    struct tcp_conn *c = conn_of_user(t, index);
    if (c == NULL || c->state == TCP_LISTEN || c->user_fin || end == c->send_end)
        return;
    struct ring_shape ring = tcp_send_ring(c);
    if (end - c->send_end > c->send_acked + ring_room(&ring, c->send_acked) - c->send_end)
        return;
    c->send_end = end;
    autotune_send(t, c);
    conn_changed(t, c);
}

void tcp_receive_consumed(struct tcp *t, uint64_t now_us, uint32_t index, uint32_t consumed)
{
    struct tcp_conn *c = conn_of_user(t, index);
    if (c == NULL || !conn_is_synchronized(c) || consumed == c->receive_consumed ||
        consumed - c->receive_consumed > c->receive_next - c->receive_consumed)
        return;
    c->receive_consumed = consumed;
    struct ring_shape ring = tcp_receive_ring(c);
    if (ring_settle(&ring, consumed))
        c->receive_size = ring.size;
    autotune_consumed(t, now_us, c);
    conn_touched(t, c);
    if (c->fin_received || !window_update_due(c))
        return;
    c->flags |= TCP_CONN_ACK_NOW;
    conn_ready(t, c);
}

enum tcp_call_result tcp_set_backlog(struct tcp *t, uint32_t index, uint32_t backlog)
{
    struct tcp_conn *c = conn_of_user(t, index);
    if (c == NULL || c->state != TCP_LISTEN)
        return TCP_CALL_BAD_STATE;
    c->backlog = u32_min(backlog, t->config.connections);
    conn_touched(t, c);
    return TCP_CALL_OK;
}

void tcp_shutdown_send(struct tcp *t, uint64_t now_us, uint32_t index)
{
    (void)now_us;
    struct tcp_conn *c = conn_of_user(t, index);
    if (c == NULL || c->state == TCP_LISTEN || c->user_fin)
        return;
    c->user_fin = 1;
    conn_changed(t, c);
}

void tcp_close(struct tcp *t, uint64_t now_us, uint32_t index)
{
    struct tcp_conn *c = conn_of_user(t, index);
    if (c == NULL || c->closed_by_user)
        return;
    if (c->state == TCP_LISTEN) {
        listener_end(t, c);
        return;
    }
    c->closed_by_user = 1;
    c->user_fin = 1;
    if (c->options.linger_reset) {
        tcp_abort(t, now_us, index);
        return;
    }
    if (c->state == TCP_SYN_SENT) {
        conn_end(t, c, TCP_ERROR_NONE);
        return;
    }
    bool unread = c->receive_consumed != c->receive_next;
    if (unread && c->state >= TCP_ESTABLISHED && c->state <= TCP_CLOSE_WAIT) {
        conn_reset(t, c, TCP_ERROR_ABORTED); /* RFC 1122 4.2.2.13: SHOULD */
        return;
    }
    if (c->state == TCP_FIN_WAIT_2)
        c->state_at_us = now_us + TCP_ORPHAN_US;
    conn_changed(t, c);
}

void tcp_tell_work(struct tcp *t, struct tcp_work *work)
{
    t->work = work;
}

void tcp_name(struct tcp *t, uint32_t index, uint64_t name)
{
    t->side[index].name = name;
}

bool tcp_is_named(const struct tcp *t, uint32_t index)
{
    return t->side[index].name != 0;
}

void work_watched(struct tcp_work *work, uint64_t key)
{
    for (uint32_t i = 0; i < work->watched_count && i < 64; i++)
        if (work->watched[i] == key)
            work->worked_on |= (uint64_t)1 << i;
}

void tcp_abort(struct tcp *t, uint64_t now_us, uint32_t index)
{
    (void)now_us;
    struct tcp_conn *c = conn_of_user(t, index);
    if (c == NULL)
        return;
    if (c->state == TCP_LISTEN)
        listener_end(t, c);
    else if (c->state >= TCP_SYN_RECEIVED && c->state <= TCP_CLOSE_WAIT) /* RFC 9293 3.10.5 */
        conn_reset(t, c, TCP_ERROR_ABORTED);
    else
        conn_end(t, c, TCP_ERROR_ABORTED);
}

/* ---- looking ---- */
const struct tcp_conn *tcp_conn_at(const struct tcp *t, uint32_t index)
{
    return &t->conn[index];
}

void tcp_figures(const struct tcp *t, uint32_t index, struct tcp_figures *ret)
{
    const struct tcp_conn *c = &t->conn[index];
    const struct tcp_autotune *tune = &t->sender[index].autotune;
    *ret = (struct tcp_figures){.state = c->state,
                                .retransmits = c->retransmits,
                                .send_window_scale = c->send_window_scale,
                                .receive_window_scale = c->receive_window_scale,
                                .timestamps = (c->flags & TCP_CONN_TIMESTAMPS) != 0,
                                .sack = (c->flags & TCP_CONN_SACK) != 0,
                                .ecn = (c->flags & TCP_CONN_ECN) != 0,
                                .scaled = (c->flags & TCP_CONN_WINDOW_SCALE) != 0,
                                .srtt_us = c->srtt_us,
                                .rttvar_us = c->rttvar_us,
                                .rto_us = c->rto_us,
                                .congestion = (uint8_t)congestion_algorithm_of(t, c),
                                .cwnd = c->cwnd,
                                .ssthresh = c->ssthresh,
                                .retransmitted = c->retransmitted,
                                .mss = conn_send_mss(c),
                                .rcv_mss = c->rcv_mss,
                                .send_wanted = tune->send_wanted,
                                .receive_wanted = tune->receive_wanted};
}

bool tcp_send_drained(const struct tcp *t, uint32_t index)
{
    return conn_fin_acked(&t->conn[index]);
}

const struct tcp_counters *tcp_counters(const struct tcp *t)
{
    return &t->counters;
}

bool tcp_drained(const struct tcp *t)
{
    return free_count(t) == t->config.connections && t->heap_count == 0 && t->reply_count == 0 &&
           t->touched.head == TCP_NONE;
}
