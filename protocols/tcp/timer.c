// SPDX-License-Identifier: BSD-2-Clause
/* Timers. The deadlines of a connection lie in its block (retransmit_at_us, ack_at_us, state_at_us, keep_at_us); a
 * binary heap over the connections that have one finds the next. A key in the heap may be earlier than the deadline
 * that it stands for, never later: deadlines mostly move into the future, which then costs nothing; the key
 * is mended when it comes to the top. */
#include "protocols/tcp/tcp_internal.h"

static uint64_t earlier(uint64_t a, uint64_t b) /* 0: off */
{
    return b != 0 && (a == 0 || b < a) ? b : a;
}

static uint64_t conn_deadline(const struct tcp *t, const struct tcp_conn *c)
{
    const struct tcp_sender *s = &t->sender[conn_index(t, c)];
    uint64_t of_block = earlier(earlier(c->retransmit_at_us, c->ack_at_us), earlier(c->state_at_us, c->keep_at_us));
    return earlier(of_block, earlier(s->recovery_at_us, s->pace_at_us));
}

static void heap_put(struct tcp *t, uint32_t position, struct tcp_timer timer)
{
    t->heap[position] = timer;
    t->side[timer.index].heap_position = position;
}

static void sift_up(struct tcp *t, uint32_t position, struct tcp_timer timer)
{
    while (position > 0) {
        uint32_t parent = (position - 1) / 2;
        if (t->heap[parent].at_us <= timer.at_us)
            break;
        heap_put(t, position, t->heap[parent]);
        position = parent;
    }
    heap_put(t, position, timer);
}

static void sift_down(struct tcp *t, uint32_t position, struct tcp_timer timer)
{
    for (;;) {
        uint32_t child = 2 * position + 1;
        if (child >= t->heap_count)
            break;
        if (child + 1 < t->heap_count && t->heap[child + 1].at_us < t->heap[child].at_us)
            child++;
        if (timer.at_us <= t->heap[child].at_us)
            break;
        heap_put(t, position, t->heap[child]);
        position = child;
    }
    heap_put(t, position, timer);
}

/* The deadlines of `c` have changed. */
void timer_sync(struct tcp *t, const struct tcp_conn *c)
{
    uint64_t at_us = conn_deadline(t, c);
    uint32_t index = conn_index(t, c), position = t->side[index].heap_position;
    if (at_us == 0 || (position != TCP_NONE && t->heap[position].at_us <= at_us))
        return;
    if (position == TCP_NONE)
        position = t->heap_count++;
    sift_up(t, position, (struct tcp_timer){at_us, index, 0});
}

void timer_remove(struct tcp *t, const struct tcp_conn *c)
{
    uint32_t position = t->side[conn_index(t, c)].heap_position;
    if (position == TCP_NONE)
        return;
    t->side[conn_index(t, c)].heap_position = TCP_NONE;
    struct tcp_timer last = t->heap[--t->heap_count];
    if (position == t->heap_count)
        return;
    if (position > 0 && t->heap[(position - 1) / 2].at_us > last.at_us)
        sift_up(t, position, last);
    else
        sift_down(t, position, last);
}

/* The key at the top is mended until it is that of its connection; every turn makes one key exact. */
void timer_settle(struct tcp *t)
{
    while (t->heap_count > 0) {
        struct tcp_timer top = t->heap[0];
        uint64_t at_us = conn_deadline(t, &t->conn[top.index]);
        if (at_us == top.at_us)
            return;
        if (at_us == 0) {
            timer_remove(t, &t->conn[top.index]);
        } else {
            top.at_us = at_us;
            sift_down(t, 0, top);
        }
    }
}

/* RFC 6298 5.4 to 5.7; RFC 9293 3.8.3 (R2). */
static void retransmission_timeout(struct tcp *t, uint64_t now_us, struct tcp_conn *c)
{
    if (conn_is_given_up(t, now_us, c)) {
        conn_give_up(t, c, false);
        return;
    }
    c->retransmits = (uint8_t)u32_min(c->retransmits + 1U, UINT8_MAX);
    t->counters.timeouts++;
    rtt_backed_off(t, c);
    c->retransmit_at_us = user_timeout_clamp(t, c, now_us, now_us + c->rto_us);
    if (!conn_is_synchronized(c)) {
        c->snd_nxt = c->iss;
        c->flags |= TCP_CONN_SYN_RESENT;
        return;
    }
    path_timeout(t, now_us, c);
    if (c->flags & TCP_CONN_SACK) {
        recovery_timed_out(t, c, now_us);
    } else {
        congestion_timeout(t, c, now_us);
        c->snd_nxt = c->snd_una;
    }
    if (c->snd_wnd == 0 && c->snd_una != conn_send_fin_seq(c)) /* the window was taken back */
        c->flags |= TCP_CONN_PERSIST | TCP_CONN_PROBE_NOW;
}

/* Deviates: RFC 9293 3.8.6.1 (MUST-37) lets it stay open for ever, and a peer could so keep our memory when nobody is
 * left who would give up (RFC 6429 4). As Linux (tcp_probe_timer()) an orphan ends, answered or not, when the probes
 * are as far apart as they get: 204 s after a first RTO of 200 ms. */
static bool orphan_is_over(const struct tcp *t, const struct tcp_conn *c)
{
    return c->closed_by_user && (uint64_t)c->rto_us << c->probes >= t->config.rto_max_us;
}

/* RFC 9293 3.8.6.1: probes go on, further and further apart, as long as they are answered. */
static void persist_timeout(struct tcp *t, uint64_t now_us, struct tcp_conn *c)
{
    if (conn_is_corked(c) && c->snd_wnd > 0) { /* it was the cork that held it back */
        c->flags = (c->flags & ~(uint32_t)TCP_CONN_PERSIST) | TCP_CONN_CORK_OVER;
        c->retransmit_at_us = c->unacked_at_us = 0;
        return;
    }
    if (conn_is_given_up(t, now_us, c) || orphan_is_over(t, c)) {
        conn_give_up(t, c, c->closed_by_user);
        return;
    }
    c->retransmits = (uint8_t)u32_min(c->retransmits + 1U, UINT8_MAX);
    if (c->probes < 30)
        c->probes++;
    uint64_t interval = (uint64_t)c->rto_us << c->probes;
    interval = interval > t->config.rto_max_us ? t->config.rto_max_us : interval;
    c->retransmit_at_us = user_timeout_clamp(t, c, now_us, now_us + interval);
    c->flags |= TCP_CONN_PROBE_NOW;
}

static void work_on_timer(struct tcp *t, const struct tcp_conn *c, enum tcp_work_kind kind)
{
    work_on(t, conn_index(t, c), kind);
}

static void conn_timers_run(struct tcp *t, uint64_t now_us, struct tcp_conn *c)
{
    struct tcp_sender *s = &t->sender[conn_index(t, c)];
    if (c->ack_at_us != 0 && c->ack_at_us <= now_us) {
        work_on_timer(t, c, TCP_WORK_ACK_TIMER);
        ack_delayed(t, c);
    }
    if (s->recovery_at_us != 0 && s->recovery_at_us <= now_us) {
        work_on_timer(t, c, TCP_WORK_RECOVERY_TIMER);
        recovery_timer(t, c, now_us);
    }
    if (c->retransmit_at_us != 0 && c->retransmit_at_us <= now_us) {
        work_on_timer(t, c, TCP_WORK_RETRANSMISSION_TIMER);
        if (c->flags & TCP_CONN_PERSIST)
            persist_timeout(t, now_us, c);
        else
            retransmission_timeout(t, now_us, c);
    }
    if (s->pace_at_us <= now_us) /* its turn comes */
        s->pace_at_us = 0;
    if (c->keep_at_us != 0 && c->keep_at_us <= now_us) {
        work_on_timer(t, c, TCP_WORK_KEEPALIVE_TIMER);
        keepalive_timeout(t, now_us, c);
    }
    if (c->state_at_us != 0 && c->state_at_us <= now_us) { /* FIN-WAIT-2 of an orphan */
        work_on_timer(t, c, TCP_WORK_STATE_TIMER);
        t->counters.orphans_ended++;
        conn_end(t, c, TCP_ERROR_NONE);
    }
}

void timer_run(struct tcp *t, uint64_t now_us)
{
    time_wait_expire(t, now_us);
    while (t->heap_count > 0 && t->heap[0].at_us <= now_us) {
        struct tcp_timer top = t->heap[0];
        struct tcp_conn *c = &t->conn[top.index];
        if (conn_deadline(t, c) != 0 && conn_deadline(t, c) <= now_us) {
            conn_timers_run(t, now_us, c);
            conn_ready(t, c);
            conn_touched(t, c);
            work_on_nobody(t);
        }
        if (t->side[top.index].heap_position == TCP_NONE)
            continue;
        if (conn_deadline(t, c) == 0) {
            timer_remove(t, c);
        } else { /* still at the top: nothing else was put into the heap */
            top.at_us = conn_deadline(t, c);
            sift_down(t, 0, top);
        }
    }
}

uint64_t tcp_deadline_us(const struct tcp *t)
{
    if (t->ready.head != TCP_NONE || t->reply_count > 0)
        return 0;
    uint64_t time_wait = time_wait_deadline_us(t);
    return t->heap_count > 0 && t->heap[0].at_us < time_wait ? t->heap[0].at_us : time_wait;
}
