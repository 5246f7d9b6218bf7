// SPDX-License-Identifier: BSD-2-Clause
/* TIME-WAIT, theory of operation. A connection that gets there ends: its block is free, and what the state still has
 * to know stands in a compact record (struct tcp_time_wait). Records have a table of their own with keyed hash chains,
 * and one queue in the order of their ends: all last equally long, so one that starts anew goes to the tail. When the
 * table is full the oldest gives way, counted. A segment that belongs to no connection is looked for here before it is
 * a listener's or nobody's; the steps of RFC 9293 3.10.7.4 for TIME-WAIT follow below, in the RFC's order.
 *
 * Ends: records that end within TIME_WAIT_GATHER_US of each other end together, so that a host that is idle otherwise
 * is not woken for each. 60 s, as Linux (Deviates: see struct tcp_config).
 *
 * One more kind (TCP_TIME_WAIT_COOKIE) stands for a connection that the peer closed first, whose cookie is good still
 * (cookie.c). It owes the peer nothing: all was acknowledged both ways, or the peer has reset it. So it only challenges
 * a SYN or an RST, gives way to a newer SYN also in a flood, and takes none of the second half of the table.
 *
 * Reuse: by the peer's SYN (RFC 6191 2), and by our own tcp_connect() (a port that has rested, with timestamps: as
 * Linux's tcp_tw_reuse). In both the new initial sequence number lies beyond the old connection's
 * (Deviates: but where it is another cookie).
 *
 * The memory is zero at first and links are one more than what they name, so that records never used cost nothing. */
#include "protocols/tcp/tcp_arrival.h"

/* ---- the table ---- */
static void list_append(struct tcp_time_waits *w, struct tcp_list *list, uint32_t record)
{
    struct tcp_time_wait_side *side = &w->side[record];
    side->list_prev = list->tail;
    side->list_next = TCP_NONE;
    if (list->tail != TCP_NONE)
        w->side[list->tail].list_next = record;
    else
        list->head = record;
    list->tail = record;
    list->count++;
}

static void list_prepend(struct tcp_time_waits *w, struct tcp_list *list, uint32_t record)
{
    struct tcp_time_wait_side *side = &w->side[record];
    side->list_prev = TCP_NONE;
    side->list_next = list->head;
    if (list->head != TCP_NONE)
        w->side[list->head].list_prev = record;
    else
        list->tail = record;
    list->head = record;
    list->count++;
}

static void list_remove(struct tcp_time_waits *w, struct tcp_list *list, uint32_t record)
{
    const struct tcp_time_wait_side *side = &w->side[record];
    if (side->list_prev != TCP_NONE)
        w->side[side->list_prev].list_next = side->list_next;
    else
        list->head = side->list_next;
    if (side->list_next != TCP_NONE)
        w->side[side->list_next].list_prev = side->list_prev;
    else
        list->tail = side->list_prev;
    list->count--;
}

void time_wait_init(struct tcp *t)
{
    static const struct tcp_list empty = {TCP_NONE, TCP_NONE, 0};
    t->time_wait.live = t->time_wait.free = t->time_wait.touched = empty;
}

static uint32_t *bucket_of(const struct tcp *t, const struct ip_address *local, uint16_t local_port,
                           const struct ip_address *remote, uint16_t remote_port)
{
    return &t->time_wait.bucket[hash_addresses(t, local, local_port, remote, remote_port) & t->time_wait.bucket_mask];
}

uint32_t time_wait_find(const struct tcp *t, const struct ip_address *local, uint16_t local_port,
                        const struct ip_address *remote, uint16_t remote_port)
{
    const struct tcp_time_waits *w = &t->time_wait;
    if (w->live.count == 0)
        return TCP_NONE;
    uint32_t link = *bucket_of(t, local, local_port, remote, remote_port);
    for (; link != 0; link = w->side[link - 1].hash_link) {
        const struct tcp_time_wait *r = &w->record[link - 1];
        if (r->local_port == local_port && r->remote_port == remote_port && ip_address_equal(&r->remote, remote) &&
            ip_address_equal(&r->local, local))
            return link - 1;
    }
    return TCP_NONE;
}

static void hash_insert(struct tcp *t, uint32_t record)
{
    const struct tcp_time_wait *r = &t->time_wait.record[record];
    uint32_t *head = bucket_of(t, &r->local, r->local_port, &r->remote, r->remote_port);
    t->time_wait.side[record].hash_link = *head;
    *head = record + 1;
}

/* The chain is as long as the load of the table lets it be: about one. */
static void hash_remove(struct tcp *t, uint32_t record)
{
    const struct tcp_time_wait *r = &t->time_wait.record[record];
    uint32_t *at = bucket_of(t, &r->local, r->local_port, &r->remote, r->remote_port);
    while (*at != 0 && *at != record + 1)
        at = &t->time_wait.side[*at - 1].hash_link;
    if (*at == record + 1)
        *at = t->time_wait.side[record].hash_link;
}

static void touched(struct tcp_time_waits *w, uint32_t record)
{
    struct tcp_time_wait_side *side = &w->side[record];
    if (side->touched)
        return;
    side->touched = 1;
    side->touched_next = TCP_NONE;
    if (w->touched.tail != TCP_NONE)
        w->side[w->touched.tail].touched_next = record;
    else
        w->touched.head = record;
    w->touched.tail = record;
}

bool tcp_next_touched_time_wait(struct tcp *t, uint32_t *ret_record)
{
    struct tcp_time_waits *w = &t->time_wait;
    uint32_t record = w->touched.head;
    if (record == TCP_NONE)
        return false;
    w->touched.head = w->side[record].touched_next;
    if (w->touched.head == TCP_NONE)
        w->touched.tail = TCP_NONE;
    w->side[record].touched = 0;
    *ret_record = record;
    return true;
}

/* Records join the free list when they are wanted. */
static struct tcp_time_wait *allocate_at(struct tcp_time_waits *w, uint32_t record)
{
    while (w->fresh <= record)
        list_append(w, &w->free, w->fresh++);
    list_remove(w, &w->free, record);
    list_append(w, &w->live, record);
    w->side[record].used = 1;
    w->side[record].answer_at_us = 0;
    return &w->record[record];
}

void time_wait_end(struct tcp *t, uint32_t record)
{
    struct tcp_time_waits *w = &t->time_wait;
    hash_remove(t, record);
    list_remove(w, &w->live, record);
    list_prepend(w, &w->free, record);
    w->side[record].used = 0;
    memset(&w->record[record], 0, sizeof w->record[record]);
    touched(w, record);
}

/* A free one; the oldest gives way if there is none. */
static uint32_t allocate(struct tcp *t)
{
    struct tcp_time_waits *w = &t->time_wait;
    if (w->free.head == TCP_NONE && w->fresh == t->config.time_waits) {
        time_wait_end(t, w->live.head);
        t->counters.time_wait_reused++;
    }
    uint32_t record = w->free.head != TCP_NONE ? w->free.head : w->fresh;
    allocate_at(w, record);
    return record;
}

static uint16_t window_of(const struct tcp_conn *c)
{
    uint32_t open = seq_after(c->rcv_adv, c->rcv_nxt) ? c->rcv_adv - c->rcv_nxt : 0;
    return (uint16_t)u32_min(open >> c->receive_window_scale, UINT16_MAX);
}

/* `flags` beside what the connection says. */
uint32_t time_wait_new(struct tcp *t, uint64_t now_us, const struct tcp_conn *c, uint8_t flags)
{
    const struct tcp_identity *id = &c->identity;
    uint32_t record = allocate(t);
    t->time_wait.record[record] = (struct tcp_time_wait){
        .local = id->local,
        .remote = id->remote,
        .local_port = id->local_port,
        .remote_port = id->remote_port,
        .snd_nxt = c->snd_max,
        .rcv_nxt = c->rcv_nxt,
        .ts_recent = c->ts_recent,
        .ts_offset = c->ts_offset,
        .flags = flags | ((c->flags & TCP_CONN_TIMESTAMPS) ? TCP_TIME_WAIT_TIMESTAMPS : 0),
        .window_scale = c->receive_window_scale,
        .window = window_of(c),
        .ts_recent_at_us = c->ts_recent_at_us,
        .ends_at_us = now_us + t->config.time_wait_us,
    };
    hash_insert(t, record);
    touched(&t->time_wait, record);
    t->counters.time_waits++;
    return record;
}

/* ---- time ---- */
uint64_t time_wait_deadline_us(const struct tcp *t)
{
    const struct tcp_time_waits *w = &t->time_wait;
    return w->live.count > 0 ? w->record[w->live.head].ends_at_us + TIME_WAIT_GATHER_US : UINT64_MAX;
}

/* Each turn takes one record off the queue. */
void time_wait_expire(struct tcp *t, uint64_t now_us)
{
    const struct tcp_time_waits *w = &t->time_wait;
    if (time_wait_deadline_us(t) > now_us)
        return;
    while (w->live.count > 0 && w->record[w->live.head].ends_at_us <= now_us)
        time_wait_end(t, w->live.head);
}

bool time_wait_has_rested(const struct tcp *t, uint64_t now_us, uint32_t record)
{
    const struct tcp_time_wait *r = &t->time_wait.record[record];
    return (r->flags & TCP_TIME_WAIT_TIMESTAMPS) && r->ends_at_us + TCP_PORT_REST_US <= now_us + t->config.time_wait_us;
}

bool time_wait_has_room(const struct tcp *t)
{
    return t->time_wait.live.count < t->config.time_waits / 2;
}

bool time_wait_is_followed(const struct tcp_time_wait *r, uint32_t irs)
{
    return (r->flags & TCP_TIME_WAIT_COOKIE) && seq_after(irs, r->rcv_nxt);
}

uint32_t time_wait_floor(const struct tcp *t, uint32_t record)
{
    return t->time_wait.record[record].snd_nxt + UINT16_MAX;
}

/* ---- segments ---- */
void time_wait_acknowledge(struct tcp *t, uint32_t record)
{
    const struct tcp_time_wait *r = &t->time_wait.record[record];
    struct tcp_reply reply = {
        .source = r->local,
        .destination = r->remote,
        .source_port = r->local_port,
        .destination_port = r->remote_port,
        .seq = r->snd_nxt,
        .ack = r->rcv_nxt,
        .flags = TCP_FLAG_ACK,
        .window = r->window,
        .timestamps = (r->flags & TCP_TIME_WAIT_TIMESTAMPS) != 0,
        .ts_offset = r->ts_offset,
        .tsecr = r->ts_recent,
    };
    if (!reply_push(t, &reply)) /* what asked for it comes again */
        t->counters.drop_reply_queue++;
}

/* The FIN that brought the state about, again: it ends where it ended, and acknowledges no more than was sent. Who does
 * not know the sequence numbers can neither prolong the state nor push TS.Recent forward. */
static bool is_fin_again(const struct arrival *a, const struct tcp_time_wait *r)
{
    return (a->s.flags & (TCP_FLAG_FIN | TCP_FLAG_ACK | TCP_FLAG_SYN | TCP_FLAG_RST)) ==
               (TCP_FLAG_FIN | TCP_FLAG_ACK) &&
           a->s.text + a->s.payload_length + 1 == r->rcv_nxt && !seq_after(a->s.ack, r->snd_nxt);
}

/* RFC 9293 3.10.7.4, eighth: restart the 2 MSL time-out. The timestamp of a FIN that comes again is newer (RFC
 * 7323 4.3). */
static void restart(struct arrival *a, uint32_t record)
{
    struct tcp_time_waits *w = &a->t->time_wait;
    struct tcp_time_wait *r = &w->record[record];
    list_remove(w, &w->live, record);
    list_append(w, &w->live, record);
    r->ends_at_us = a->now_us + a->t->config.time_wait_us;
    if ((r->flags & TCP_TIME_WAIT_TIMESTAMPS) && a->s.timestamps) {
        r->ts_recent = a->s.tsval;
        r->ts_recent_at_us = a->now_us;
    }
    touched(w, record);
    a->result = TCP_INPUT_DONE;
}

/* As answer_unacceptable() of connections: what carries nothing is answered ten times a second. */
static void answer(struct arrival *a, uint32_t record)
{
    struct tcp_time_wait_side *side = &a->t->time_wait.side[record];
    if (a->t->time_wait.record[record].flags & TCP_TIME_WAIT_COOKIE)
        return;
    if (a->s.payload_length == 0 && !(a->s.flags & TCP_FLAG_FIN)) {
        if (a->now_us < side->answer_at_us)
            return;
        side->answer_at_us = a->now_us + TCP_CHALLENGE_GAP_US;
    }
    time_wait_acknowledge(a->t, record);
}

static void answer_by_challenge(struct arrival *a, uint32_t record)
{
    if (!challenge_is_allowed(a->now_us, &a->t->time_wait.side[record].answer_at_us))
        return;
    a->t->counters.challenge_acks++;
    time_wait_acknowledge(a->t, record);
}

/* RFC 9293 3.10.7.4 (MAY-2), RFC 6191 2: may a SYN that someone listens for end the TIME-WAIT? */
static bool is_reopening(const struct arrival *a, const struct tcp_time_wait *r)
{
    if (a->c == NULL || a->c->state != TCP_LISTEN ||
        (a->s.flags & (TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST)) != TCP_FLAG_SYN)
        return false;
    if (!a->s.timestamps)
        return seq_after(a->s.seq, r->rcv_nxt);
    if (!(r->flags & TCP_TIME_WAIT_TIMESTAMPS))
        return true;
    if (a->s.tsval == r->ts_recent)
        return seq_after(a->s.seq, r->rcv_nxt);
    return seq_after(a->s.tsval, r->ts_recent); /* compares like a sequence number (RFC 7323 5.2) */
}

/* The record stays if the listener has no room now: the SYN comes again. If it is kept for a cookie alone, a later SYN
 * gets another, as in the flood that the first was for; the record ends when that comes back (tcp_open_cookie()). */
static void reopen(struct arrival *a, uint32_t record)
{
    const struct tcp_time_wait *r = &a->t->time_wait.record[record];
    if (syns_are_full(a->t, a->c) && time_wait_is_followed(r, a->s.seq)) {
        arrives_listen(a, NULL);
        return;
    }
    uint32_t floor = time_wait_floor(a->t, record);
    arrives_listen(a, &floor);
    if (a->result != TCP_INPUT_DONE)
        return;
    time_wait_end(a->t, record);
    a->t->counters.time_wait_reused++;
}

/* RFC 7323 3.2, 5.3 (R1), before the first step. A SYN or RST is judged by its sequence number. */
static bool check_timestamp(struct arrival *a, uint32_t record)
{
    const struct tcp_time_wait *r = &a->t->time_wait.record[record];
    if (!(r->flags & TCP_TIME_WAIT_TIMESTAMPS) || (a->s.flags & (TCP_FLAG_RST | TCP_FLAG_SYN)))
        return true;
    if (!a->s.timestamps) {
        a->t->counters.drop_no_timestamp++;
        return false;
    }
    if (!timestamp_is_old(a->s.tsval, r->ts_recent, r->ts_recent_at_us, a->now_us))
        return true;
    a->t->counters.drop_paws++;
    answer(a, record);
    return false;
}

/* First, check sequence number. A FIN that comes again is not acceptable, being old, and is what this state waits for.
 */
static bool check_sequence(struct arrival *a, uint32_t record)
{
    const struct tcp_time_wait *r = &a->t->time_wait.record[record];
    uint32_t edge = r->rcv_nxt + ((uint32_t)r->window << r->window_scale);
    uint32_t end = a->s.text + a->s.payload_length + ((a->s.flags & TCP_FLAG_FIN) ? 1 : 0);
    bool acceptable = end == a->s.seq ? !seq_before(end, r->rcv_nxt) && !seq_after(end, edge)
                                      : seq_after(end, r->rcv_nxt) && seq_before(a->s.seq, edge);
    if (acceptable)
        return true;
    if (seq_after(end, r->rcv_nxt) || end == a->s.seq)
        a->t->counters.drop_out_of_window++;
    else
        a->t->counters.duplicates++;
    if (a->s.flags & TCP_FLAG_RST)
        return false;
    if (is_fin_again(a, r))
        restart(a, record);
    answer(a, record);
    return false;
}

/* Second, check the RST bit: it ends the state, as with Linux. Deviates: RFC 1337 3 would ignore it; RFC 9293 and RFC
 * 5961 3.2 take one that is exactly at RCV.NXT. */
static bool check_reset(struct arrival *a, uint32_t record)
{
    if (!(a->s.flags & TCP_FLAG_RST))
        return true;
    if (a->s.seq != a->t->time_wait.record[record].rcv_nxt) {
        answer_by_challenge(a, record);
        return false;
    }
    a->t->counters.resets_in++;
    time_wait_end(a->t, record);
    a->result = TCP_INPUT_DONE;
    return false;
}

/* Fourth, check the SYN bit. Deviates: RFC 6191 2 drops it in silence; RFC 5961 4.2: MUST challenge, as Linux. */
static bool check_syn(struct arrival *a, uint32_t record)
{
    if (!(a->s.flags & TCP_FLAG_SYN))
        return true;
    answer_by_challenge(a, record);
    return false;
}

/* Fifth and eighth: the only thing that can arrive is the FIN again, which the first step found; text after it is no
 * text, and another FIN no FIN. */
static void check_rest(struct arrival *a, uint32_t record)
{
    if (!(a->s.flags & TCP_FLAG_ACK)) {
        a->t->counters.drop_no_ack++;
        return;
    }
    if (a->s.seq == a->t->time_wait.record[record].rcv_nxt && a->s.payload_length == 0 && !(a->s.flags & TCP_FLAG_FIN))
        return; /* an ACK is not answered by one, but (as Linux) if the peer has gone on behind its FIN */
    a->t->counters.drop_out_of_window++;
    answer(a, record);
}

/* False: it belongs to no TIME-WAIT. */
bool arrives_time_wait(struct arrival *a)
{
    const struct tcp_segment_in *m = a->meta;
    uint32_t record = time_wait_find(a->t, &m->destination, m->destination_port, &m->source, m->source_port);
    if (record == TCP_NONE)
        return false;
    if (is_reopening(a, &a->t->time_wait.record[record]))
        reopen(a, record);
    else if (check_timestamp(a, record) && check_sequence(a, record) && check_reset(a, record) && check_syn(a, record))
        check_rest(a, record);
    return true;
}

/* ---- looking, restart ---- */
const struct tcp_time_wait *tcp_time_wait_at(const struct tcp *t, uint32_t record)
{
    return &t->time_wait.record[record];
}

uint32_t tcp_time_wait_records(const struct tcp *t)
{
    return t->config.time_waits;
}

static bool is_sound(const struct tcp_time_wait *r)
{
    return (r->local.family == ADDRESS_IP4 || r->local.family == ADDRESS_IP6) && r->remote.family == r->local.family &&
           r->local_port != 0 && r->remote_port != 0 && (r->flags & ~(uint32_t)TCP_TIME_WAIT_FLAGS) == 0 &&
           r->window_scale <= TCP_WINDOW_SCALE_MAX;
}

/* It ends no later than one that starts now, and not before those put back already: so the queue stays in order. */
enum tcp_call_result tcp_restore_time_wait(struct tcp *t, uint32_t record, const struct tcp_time_wait *what)
{
    struct tcp_time_waits *w = &t->time_wait;
    if (!is_sound(what))
        return TCP_CALL_BAD_STATE;
    if (record >= t->config.time_waits || (record < w->fresh && w->side[record].used) ||
        time_wait_find(t, &what->local, what->local_port, &what->remote, what->remote_port) != TCP_NONE ||
        demux_conn(t, &what->local, what->local_port, &what->remote, what->remote_port) != TCP_NONE)
        return TCP_CALL_IN_USE;
    uint64_t ends = what->ends_at_us, last = t->started_us + t->config.time_wait_us;
    if (ends > last)
        ends = last;
    if (w->live.count > 0 && w->record[w->live.tail].ends_at_us > ends)
        ends = w->record[w->live.tail].ends_at_us;
    struct tcp_time_wait *r = allocate_at(w, record);
    *r = *what;
    r->ends_at_us = ends;
    hash_insert(t, record);
    touched(w, record);
    return TCP_CALL_OK;
}
