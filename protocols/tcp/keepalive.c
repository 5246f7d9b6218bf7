// SPDX-License-Identifier: BSD-2-Clause
/* When to give a connection up: a peer that is idle and may be gone (keepalive, RFC 9293 3.8.4), one that does not
 * acknowledge (user timeout, RFC 5482 and RFC 9293 3.8.3; ICMP's opinion, RFC 1122 4.2.3.9), and connections whose user
 * has left (orphans).
 *
 * The keepalive timer is not put back for every segment: it goes off after one idle time, finds out from received_at_us
 * how long the peer has really been silent, and is set to when that will be long enough. unacked_at_us is when what is
 * at snd_una went out first, or, since segments are not stamped one by one, when the ACK came that made it the first;
 * of a closed window: when it was found closed. */
#include "protocols/tcp/tcp_internal.h"

#define KEEP_IDLE_S     7200U /* RFC 9293 3.8.4: MUST be no less than two hours */
#define KEEP_INTERVAL_S 75U   /* as Linux */
#define KEEP_COUNT      9U

static uint64_t keep_idle_us(const struct tcp_conn *c)
{
    return (uint64_t)(c->options.keep_idle_s != 0 ? c->options.keep_idle_s : KEEP_IDLE_S) * 1000000;
}

static uint64_t keep_interval_us(const struct tcp_conn *c)
{
    return (uint64_t)(c->options.keep_interval_s != 0 ? c->options.keep_interval_s : KEEP_INTERVAL_S) * 1000000;
}

static bool keep_applies(const struct tcp_conn *c)
{
    return c->options.keepalive && c->state >= TCP_ESTABLISHED && c->state <= TCP_LAST_ACK;
}

void conn_heard(struct tcp_conn *c, uint64_t now_us)
{
    c->received_at_us = now_us;
    c->keep_probes = 0;
    c->soft_error = TCP_ERROR_NONE;
    if (c->keep_at_us == 0 && keep_applies(c))
        c->keep_at_us = now_us + keep_idle_us(c);
}

/* As Linux: one that is turned on waits a whole idle time; a new idle time counts from when the peer was heard. */
void keepalive_set(struct tcp_conn *c, uint64_t now_us, const struct tcp_options *old)
{
    if (!keep_applies(c)) {
        c->keep_at_us = 0;
        c->keep_probes = 0;
        return;
    }
    if (c->keep_at_us == 0 || !old->keepalive)
        c->keep_at_us = now_us + keep_idle_us(c);
    else if (old->keep_idle_s != c->options.keep_idle_s && c->received_at_us + keep_idle_us(c) > now_us)
        c->keep_at_us = c->received_at_us + keep_idle_us(c);
    else if (old->keep_idle_s != c->options.keep_idle_s)
        c->keep_at_us = now_us;
}

static bool nothing_is_sent(const struct tcp_conn *c)
{
    return c->snd_una == c->snd_max && c->send_end == c->send_acked;
}

/* What the peer answered while nobody listened it does not say again: the last probe goes out again, what is not
 * acknowledged has one RTO more, however long the host was dead. */
void keepalive_restored(struct tcp_conn *c, uint64_t now_us)
{
    uint64_t most_us = now_us + (keep_idle_us(c) > keep_interval_us(c) ? keep_idle_us(c) : keep_interval_us(c));
    if (!keep_applies(c)) {
        c->keep_at_us = 0;
    } else if (c->keep_probes > 0 && nothing_is_sent(c)) {
        c->flags |= TCP_CONN_KEEP_PROBE;
        c->keep_at_us = now_us + keep_interval_us(c);
    } else if (c->keep_at_us == 0 || c->keep_at_us > most_us) {
        c->keep_at_us = now_us + keep_idle_us(c);
    }
}

void patience_restored(struct tcp_conn *c, uint64_t now_us)
{
    uint64_t timeout_us = (uint64_t)c->options.user_timeout_ms * 1000;
    uint64_t wait_us = c->rto_us < timeout_us ? c->rto_us : timeout_us;
    if (c->unacked_at_us != 0 && c->unacked_at_us + timeout_us < now_us + wait_us && timeout_us != 0)
        c->unacked_at_us = now_us + wait_us - timeout_us;
}

/* RFC 9293 3.8.4: one probe without an answer MUST NOT be the end; as Linux `keep_count` of them are, or, if there is a
 * user timeout, that. */
static bool keep_is_over(const struct tcp_conn *c, uint64_t silent_us)
{
    if (c->options.user_timeout_ms != 0)
        return c->keep_probes > 0 && silent_us >= (uint64_t)c->options.user_timeout_ms * 1000;
    return c->keep_probes >= (c->options.keep_count != 0 ? c->options.keep_count : KEEP_COUNT);
}

void keepalive_timeout(struct tcp *t, uint64_t now_us, struct tcp_conn *c)
{
    c->keep_at_us = 0;
    if (!keep_applies(c))
        return;
    if (!nothing_is_sent(c)) { /* retransmission or persist timer see to it */
        c->keep_at_us = now_us + keep_idle_us(c);
        return;
    }
    uint64_t silent_us = now_us - c->received_at_us;
    if (silent_us < keep_idle_us(c)) {
        c->keep_at_us = c->received_at_us + keep_idle_us(c);
        return;
    }
    if (keep_is_over(c, silent_us)) {
        t->counters.keepalive_ended++;
        conn_reset(t, c, conn_give_up_reason(c));
        return;
    }
    c->keep_probes = (uint8_t)u32_min(c->keep_probes + 1U, UINT8_MAX);
    c->flags |= TCP_CONN_KEEP_PROBE;
    c->keep_at_us = now_us + keep_interval_us(c);
}

/* ---- what is not acknowledged ---- */

/* RFC 1122 4.2.3.9: soft errors are not the reason to end it, but what to tell if it ends. */
enum tcp_error conn_give_up_reason(const struct tcp_conn *c)
{
    return c->soft_error != TCP_ERROR_NONE ? (enum tcp_error)c->soft_error : TCP_ERROR_TIMED_OUT;
}

/* The peer may still live if it has answered lately (`answers`); else nobody is there to be told. As Linux, which sends
 * a reset for an orphan that it gives up early, and none after the last retransmission (tcp_write_timeout()). */
void conn_give_up(struct tcp *t, struct tcp_conn *c, bool answers)
{
    if (c->closed_by_user)
        t->counters.orphans_ended++;
    if (answers)
        conn_reset(t, c, conn_give_up_reason(c));
    else
        conn_end(t, c, conn_give_up_reason(c));
}

uint32_t conn_retries(const struct tcp *t, const struct tcp_conn *c)
{
    if (c->state == TCP_SYN_SENT)
        return TCP_SYN_RETRIES;
    if (c->state == TCP_SYN_RECEIVED)
        return TCP_SYN_ACK_RETRIES;
    return c->closed_by_user ? t->config.orphan_retries : t->config.retries;
}

/* RFC 9293 3.8.3 (R2): MUST be configurable. As Linux it takes the place of the number of retransmissions, of which
 * there is always one; only a SYN has both limits. */
bool conn_is_given_up(struct tcp *t, uint64_t now_us, const struct tcp_conn *c)
{
    uint64_t timeout_us = (uint64_t)c->options.user_timeout_ms * 1000;
    bool counted = timeout_us == 0 || c->closed_by_user || !conn_is_synchronized(c);
    if (timeout_us != 0 && (c->retransmits > 0 || c->probes > 0) && now_us - c->unacked_at_us >= timeout_us) {
        t->counters.user_timeouts++;
        return true;
    }
    return counted && c->retransmits >= conn_retries(t, c);
}

/* The next try, at `at_us`, or when the user's patience ends; but what was sent just now (at `sent_us`) can be
 * answered. */
uint64_t user_timeout_clamp(const struct tcp *t, const struct tcp_conn *c, uint64_t sent_us, uint64_t at_us)
{
    uint64_t end_us = c->unacked_at_us + (uint64_t)c->options.user_timeout_ms * 1000;
    if (c->options.user_timeout_ms == 0 || c->unacked_at_us == 0)
        return at_us;
    if (end_us < sent_us + t->config.rto_min_us)
        end_us = sent_us + t->config.rto_min_us;
    return end_us < at_us ? end_us : at_us;
}

/* ---- what the user asks for ---- */

void tcp_set_options(struct tcp *t, uint64_t now_us, uint32_t index, const struct tcp_options *options)
{
    if (index >= t->config.connections || t->conn[index].state == TCP_CLOSED)
        return;
    struct tcp_conn *c = &t->conn[index];
    struct tcp_options old = c->options;
    c->options = *options;
    c->flags = (c->flags & ~(uint32_t)TCP_CONN_NODELAY) | (options->nodelay ? TCP_CONN_NODELAY : 0);
    keepalive_set(c, now_us, &old);
    congestion_changed(t, c, &old);
    if (c->retransmit_at_us != 0 && (c->retransmits > 0 || c->probes > 0))
        c->retransmit_at_us = user_timeout_clamp(t, c, now_us, c->retransmit_at_us);
    conn_changed(t, c);
}

/* As Linux, data that the cork holds back for TCP_CORK_US goes out all the same; so does all of it with the FIN. */
void tcp_set_cork(struct tcp *t, uint64_t now_us, uint32_t index, bool cork)
{
    (void)now_us;
    if (index >= t->config.connections || t->conn[index].state < TCP_SYN_SENT)
        return;
    struct tcp_conn *c = &t->conn[index];
    if (cork == ((c->flags & TCP_CONN_CORK) != 0))
        return;
    c->flags &= ~(uint32_t)(TCP_CONN_CORK | TCP_CONN_CORK_OVER);
    if (cork)
        c->flags |= TCP_CONN_CORK;
    conn_changed(t, c);
}

/* RFC 5927 4.1: the quoted sequence number must be of something in flight. RFC 5461 4.1: an attempt ends at once. */
void tcp_unreachable(struct tcp *t, uint64_t now_us, uint32_t index, uint32_t sequence, enum tcp_error why)
{
    (void)now_us;
    struct tcp_conn *c = index < t->config.connections ? &t->conn[index] : NULL;
    if (c == NULL || c->state < TCP_SYN_SENT || c->state == TCP_TIME_WAIT || seq_before(sequence, c->snd_una) ||
        seq_after(sequence, c->snd_max)) {
        t->counters.drop_unreachable++;
        return;
    }
    if (c->state == TCP_SYN_SENT) {
        conn_end(t, c, why);
        return;
    }
    t->counters.soft_errors++;
    c->soft_error = (uint8_t)why;
    conn_touched(t, c);
}
