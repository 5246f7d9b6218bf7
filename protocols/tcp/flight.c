// SPDX-License-Identifier: BSD-2-Clause
/* The scoreboard (RFC 2018 5, RFC 6675 3, RFC 8985 5.1): what of the send stream is in flight, in the order of sequence
 * numbers and in the order of sending.
 *
 * A record is a range that went out at one time: a super-segment, or all that a burst sent at once. It is in flight,
 * SACKED or LOST, whole; it is split where a SACK or a retransmission ends within it, and melts with a neighbour that
 * is SACKED like itself, or is of the same sending. Only what is in flight is in the order of sending, so what RACK
 * walks over it takes out. Sending costs a step, an ACK a step for each record that it removes.
 *
 * Limits. The records are of one pool that all connections share; each has one of its own beside it, so that there is
 * always one to write to. One connection takes at most a quarter of the pool. At the limit what goes out joins the last
 * record, and a SACK that would need another one is not heeded: it is known less exactly what is in flight, and a
 * timeout finds what this hides. A peer that SACKs crumbs (CVE-2019-11477 to 11479) splits nothing: blocks count from
 * segment to segment as they were sent; and an ACK looks at so many records and no more (CVE-2018-5390), as an
 * undo does: what it does not come to is LOST still, and goes out again. */
#include "protocols/tcp/recovery.h"

#define FLIGHTS_OF_ONE_MIN 64U
#define FLIGHTS_OF_ONE_MAX 16384U
#define STEPS_OF_AN_UNDO   (4 * FLIGHTS_OF_ONE_MAX)

static uint32_t link_of(const struct tcp *t, const struct tcp_flight *f)
{
    return f != NULL ? (uint32_t)(f - t->flight) + 1 : 0;
}

static bool is_in_flight(const struct tcp_flight *f)
{
    return (f->flags & (TCP_FLIGHT_SACKED | TCP_FLIGHT_LOST)) == 0;
}

static uint32_t *account_of(struct tcp_scoreboard *b, const struct tcp_flight *f)
{
    if (f->flags & TCP_FLIGHT_SACKED)
        return &b->sacked;
    return (f->flags & TCP_FLIGHT_LOST) ? &b->lost : &b->in_flight;
}

/* ---- the pool ---- */
static uint32_t most_of_one(const struct tcp *t)
{
    uint32_t shared = t->config.flights - t->config.connections;
    return u32_min(u32_max(shared / 4, FLIGHTS_OF_ONE_MIN), FLIGHTS_OF_ONE_MAX);
}

static struct tcp_flight *record_new(struct tcp *t, const struct tcp_conn *c)
{
    struct tcp_scoreboard *b = board_of(t, c);
    struct tcp_flight *f = NULL;
    if (!b->own) {
        b->own = true;
        f = &t->flight[conn_index(t, c)];
    } else if (b->count < most_of_one(t) && t->flight_free != TCP_NONE) {
        f = &t->flight[t->flight_free];
        t->flight_free = f->next;
    } else if (b->count < most_of_one(t) && t->flight_fresh < t->config.flights) {
        f = &t->flight[t->flight_fresh++];
    } else {
        t->counters.flights_full++;
        return NULL;
    }
    b->count++;
    return f;
}

static void record_free(struct tcp *t, const struct tcp_conn *c, struct tcp_flight *f)
{
    struct tcp_scoreboard *b = board_of(t, c);
    uint32_t record = (uint32_t)(f - t->flight);
    *f = (struct tcp_flight){0};
    b->count--;
    if (record == conn_index(t, c)) {
        b->own = false;
        return;
    }
    f->next = t->flight_free;
    t->flight_free = record;
}

/* ---- the order of sending ---- */
static void time_insert(struct tcp *t, struct tcp_scoreboard *b, struct tcp_flight *after, struct tcp_flight *f)
{
    struct tcp_flight *newer = flight_at(t, after != NULL ? after->newer : b->oldest);
    f->older = link_of(t, after);
    f->newer = link_of(t, newer);
    *(after != NULL ? &after->newer : &b->oldest) = link_of(t, f);
    *(newer != NULL ? &newer->older : &b->newest) = link_of(t, f);
}

static void time_remove(struct tcp *t, struct tcp_scoreboard *b, const struct tcp_flight *f)
{
    *(f->older != 0 ? &flight_at(t, f->older)->newer : &b->oldest) = f->newer;
    *(f->newer != 0 ? &flight_at(t, f->newer)->older : &b->newest) = f->older;
}

/* ---- the order of sequence numbers ---- */
static void sequence_insert(struct tcp *t, struct tcp_scoreboard *b, struct tcp_flight *after, struct tcp_flight *f)
{
    struct tcp_flight *next = flight_at(t, after != NULL ? after->next : b->first);
    f->prev = link_of(t, after);
    f->next = link_of(t, next);
    *(after != NULL ? &after->next : &b->first) = link_of(t, f);
    *(next != NULL ? &next->prev : &b->last) = link_of(t, f);
}

/* Out of both orders; hints to it go to `heir`. */
static void record_remove(struct tcp *t, struct tcp_conn *c, struct tcp_flight *f, struct tcp_flight *heir)
{
    struct tcp_scoreboard *b = board_of(t, c);
    uint32_t link = link_of(t, f);
    *account_of(b, f) -= f->end - f->start;
    if (is_in_flight(f))
        time_remove(t, b, f);
    *(f->prev != 0 ? &flight_at(t, f->prev)->next : &b->first) = f->next;
    *(f->next != 0 ? &flight_at(t, f->next)->prev : &b->last) = f->prev;
    if (b->sack_hint == link)
        b->sack_hint = link_of(t, heir);
    if (b->lost_hint == link)
        b->lost_hint = link_of(t, heir);
    record_free(t, c, f);
}

static void set_flags(struct tcp *t, struct tcp_conn *c, struct tcp_flight *f, uint8_t flags)
{
    struct tcp_scoreboard *b = board_of(t, c);
    bool was_in_flight = is_in_flight(f);
    *account_of(b, f) -= f->end - f->start;
    f->flags = flags;
    *account_of(b, f) += f->end - f->start;
    if (was_in_flight && !is_in_flight(f))
        time_remove(t, b, f);
}

/* `f` keeps what is before `at`; the other part, or NULL: there is no record. */
struct tcp_flight *flight_split(struct tcp *t, struct tcp_conn *c, struct tcp_flight *f, uint32_t at)
{
    struct tcp_scoreboard *b = board_of(t, c);
    struct tcp_flight *right = record_new(t, c);
    if (right == NULL)
        return NULL;
    *right = *f;
    right->start = f->end = at;
    sequence_insert(t, b, f, right);
    if (is_in_flight(f))
        time_insert(t, b, f, right);
    return right;
}

static bool melts(const struct tcp_flight *left, const struct tcp_flight *right)
{
    if (left->end != right->start || left->flags != right->flags)
        return false;
    if (left->flags & TCP_FLIGHT_SACKED)
        return true;
    return left->sent_us == right->sent_us && left->sends == right->sends && left->mss == right->mss &&
           (left->end - left->start) % left->mss == 0;
}

/* With the next one. */
static void melt(struct tcp *t, struct tcp_conn *c, struct tcp_flight *f)
{
    struct tcp_scoreboard *b = board_of(t, c);
    struct tcp_flight *next = flight_at(t, f->next);
    if (next == NULL || !melts(f, next))
        return;
    uint32_t end = next->end;
    record_remove(t, c, next, f);
    *account_of(b, f) += end - f->end;
    f->end = end;
}

static struct tcp_flight *melt_both(struct tcp *t, struct tcp_conn *c, struct tcp_flight *f)
{
    struct tcp_flight *prev = flight_at(t, f->prev);
    melt(t, c, f);
    if (prev == NULL || !melts(prev, f))
        return f;
    melt(t, c, prev);
    return prev;
}

/* With the one before, if both are in flight: they are to go out again as one. */
struct tcp_flight *flight_join(struct tcp *t, struct tcp_conn *c, struct tcp_flight *f)
{
    struct tcp_flight *prev = flight_at(t, f->prev);
    if (prev == NULL || !is_in_flight(prev) || !is_in_flight(f))
        return f;
    uint32_t end = f->end;
    record_remove(t, c, f, prev);
    board_of(t, c)->in_flight += end - prev->end;
    prev->end = end;
    return prev;
}

/* ---- sending ---- */

/* There is no record: the last one is to know it. */
static void join_last(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t end)
{
    struct tcp_scoreboard *b = board_of(t, c);
    struct tcp_flight *f = flight_at(t, b->last);
    if (f->flags & TCP_FLIGHT_SACKED) {
        set_flags(t, c, f, 0);
        time_insert(t, b, flight_at(t, b->newest), f);
    }
    *account_of(b, f) += end - f->end;
    f->end = end;
    if (!is_in_flight(f))
        return; /* LOST: it goes out again, the new part, too */
    f->sent_us = (uint32_t)now_us;
    time_remove(t, b, f);
    time_insert(t, b, flight_at(t, b->newest), f);
}

void flight_sent(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t start, uint32_t end, uint32_t mss)
{
    struct tcp_scoreboard *b = board_of(t, c);
    struct tcp_flight *last = flight_at(t, b->last);
    struct tcp_flight f = {.start = start, .end = end, .sent_us = (uint32_t)now_us, .sends = 1};
    f.mss = (uint16_t)mss;
    if (seq_before(start, c->snd_max)) /* it went out before, and was forgotten */
        f.sends = 2;
    if (last != NULL && melts(last, &f) && b->newest == b->last) {
        b->in_flight += end - start;
        last->end = end;
        return;
    }
    struct tcp_flight *record = record_new(t, c);
    if (record == NULL) {
        join_last(t, c, now_us, end);
        return;
    }
    *record = f;
    sequence_insert(t, b, last, record);
    time_insert(t, b, flight_at(t, b->newest), record);
    b->in_flight += end - start;
}

/* `f` is cut where what goes out again ends. Segments are smaller now if SACKs go along with them, so that may be
 * within one of those that went out: what is left of it is a record of its own, and those behind it begin where they
 * did. */
static bool cut_resent(struct tcp *t, struct tcp_conn *c, struct tcp_flight *f, uint32_t end)
{
    uint32_t sent = (end - f->start) % f->mss;
    struct tcp_flight *rest = flight_split(t, c, f, end);
    if (rest == NULL)
        return false;
    if (sent != 0 && seq_before(end + rest->mss - sent, rest->end))
        (void)flight_split(t, c, rest, end + rest->mss - sent);
    return true;
}

void flight_resent(struct tcp *t, struct tcp_conn *c, uint64_t now_us, struct tcp_flight *f, uint32_t end, uint32_t mss)
{
    struct tcp_scoreboard *b = board_of(t, c);
    if (seq_before(end, f->end) && !cut_resent(t, c, f, end))
        end = f->end;                      /* the rest goes for sent, until it is found lost again */
    set_flags(t, c, f, TCP_FLIGHT_SACKED); /* in no order for a moment */
    f->sent_us = (uint32_t)now_us;
    f->mss = (uint16_t)mss;
    f->sends = (uint8_t)u32_min(f->sends + 1U, UINT8_MAX);
    set_flags(t, c, f, 0);
    time_insert(t, b, flight_at(t, b->newest), f);
    (void)melt_both(t, c, f);
}

/* ---- losses ---- */
void flight_lost(struct tcp *t, struct tcp_conn *c, struct tcp_flight *f)
{
    struct tcp_scoreboard *b = board_of(t, c);
    const struct tcp_flight *hint = flight_at(t, b->lost_hint);
    bool only = b->lost == 0;
    set_flags(t, c, f, TCP_FLIGHT_LOST);
    if (hint != NULL ? seq_before(f->start, hint->start) : only) /* without a hint there may be others before it */
        b->lost_hint = link_of(t, f);
    (void)melt_both(t, c, f);
}

struct tcp_flight *flight_first_lost(struct tcp *t, struct tcp_conn *c)
{
    struct tcp_scoreboard *b = board_of(t, c);
    if (b->lost == 0)
        return NULL;
    struct tcp_flight *f = flight_at(t, b->lost_hint != 0 ? b->lost_hint : b->first);
    while (f != NULL && !(f->flags & TCP_FLIGHT_LOST))
        f = flight_at(t, f->next);
    b->lost_hint = link_of(t, f);
    return f;
}

void flights_forget_sacks(struct tcp *t, struct tcp_conn *c)
{
    struct tcp_scoreboard *b = board_of(t, c);
    for (struct tcp_flight *f = flight_at(t, b->first); f != NULL; f = flight_at(t, f->next))
        if (f->flags & TCP_FLIGHT_SACKED)
            set_flags(t, c, f, TCP_FLIGHT_LOST);
    b->lost_hint = 0;
}

/* The one after which `f` stands in the order of sending; NULL: it is the oldest. Neighbours were mostly sent one after
 * the other, so the place is looked for from that of the last one. */
static struct tcp_flight *place_in_time(struct tcp *t, const struct tcp_scoreboard *b, struct tcp_flight *from,
                                        const struct tcp_flight *f, uint32_t *steps)
{
    struct tcp_flight *at = from, *newer = flight_at(t, from != NULL ? from->newer : b->oldest);
    while (at != NULL && rack_sent_after(at->sent_us, at->end, f->sent_us, f->end)) {
        newer = at;
        at = flight_at(t, at->older);
        ++*steps;
    }
    while (newer != NULL && !rack_sent_after(newer->sent_us, newer->end, f->sent_us, f->end)) {
        at = newer;
        newer = flight_at(t, newer->newer);
        ++*steps;
    }
    return at;
}

void flights_forget_losses(struct tcp *t, struct tcp_conn *c)
{
    struct tcp_scoreboard *b = board_of(t, c);
    struct tcp_flight *from = NULL, *f = flight_at(t, b->first);
    uint32_t steps = 0;
    for (; f != NULL && b->lost > 0 && steps < STEPS_OF_AN_UNDO; f = flight_at(t, f->next)) {
        if (!(f->flags & TCP_FLIGHT_LOST))
            continue;
        struct tcp_flight *after = place_in_time(t, b, from, f, &steps);
        set_flags(t, c, f, 0);
        time_insert(t, b, after, f);
        from = f;
    }
    b->lost_hint = 0;
    if (b->lost > 0)
        t->counters.flights_full++;
}

/* ---- acknowledgement ---- */
void flights_acked(struct tcp *t, struct tcp_conn *c, struct tcp_delivery *d)
{
    struct tcp_scoreboard *b = board_of(t, c);
    for (struct tcp_flight *f = flight_at(t, b->first); f != NULL && seq_before(f->start, c->snd_una);) {
        uint32_t end = seq_min(f->end, c->snd_una);
        d->resent_acked |= f->sends > 1;
        if (!(f->flags & TCP_FLIGHT_SACKED))
            rack_delivered(t, c, d, f, end);
        if (end != f->end) {
            *account_of(b, f) -= end - f->start;
            f->start = end;
            return;
        }
        struct tcp_flight *next = flight_at(t, f->next);
        record_remove(t, c, f, next);
        f = next;
    }
}

/* The record that `seq` lies in, or the first beyond; from whichever of the first, the last and the hint is near. NULL:
 * there is none, or it is too far. */
static struct tcp_flight *find(struct tcp *t, struct tcp_conn *c, uint32_t seq, struct tcp_delivery *d)
{
    struct tcp_scoreboard *b = board_of(t, c);
    struct tcp_flight *f = flight_at(t, b->first), *last = flight_at(t, b->last), *hint = flight_at(t, b->sack_hint);
    if (f == NULL || !seq_before(seq, last->end))
        return NULL;
    if (!seq_before(seq, last->start))
        return last;
    if (hint != NULL && (!seq_before(seq, hint->start) || hint->start - seq < seq - f->start))
        f = hint;
    if (seq_before(f->start, seq) && last->start - seq < seq - f->start)
        f = last;
    while (d->steps > 0 && f->prev != 0 && seq_before(seq, f->start)) {
        f = flight_at(t, f->prev);
        d->steps--;
    }
    while (d->steps > 0 && f != NULL && !seq_after(f->end, seq)) {
        f = flight_at(t, f->next);
        d->steps--;
    }
    return d->steps > 0 ? f : NULL;
}

/* Of `f` what lies in [start, end) is delivered: whole segments, as they were sent. Returns the record to go on from.
 */
static struct tcp_flight *sack_record(struct tcp *t, struct tcp_conn *c, struct tcp_flight *f, uint32_t start,
                                      uint32_t end, struct tcp_delivery *d)
{
    uint32_t from = f->start, to = f->end;
    if (seq_before(from, start))
        from += (start - from + f->mss - 1) / f->mss * f->mss;
    if (seq_after(to, end))
        to = f->start + (end - f->start) / f->mss * f->mss;
    if ((f->flags & TCP_FLIGHT_SACKED) || !seq_before(from, to))
        return f;
    if (from != f->start) {
        struct tcp_flight *right = flight_split(t, c, f, from);
        if (right == NULL)
            return f;
        f = right;
    }
    if (to != f->end && flight_split(t, c, f, to) == NULL)
        return f;
    rack_delivered(t, c, d, f, f->end);
    set_flags(t, c, f, TCP_FLIGHT_SACKED);
    return melt_both(t, c, f);
}

void flights_sacked(struct tcp *t, struct tcp_conn *c, uint32_t start, uint32_t end, struct tcp_delivery *d)
{
    struct tcp_scoreboard *b = board_of(t, c);
    struct tcp_flight *f = find(t, c, start, d);
    while (f != NULL && seq_before(f->start, end) && d->steps > 0) {
        f = sack_record(t, c, f, start, end, d);
        b->sack_hint = link_of(t, f);
        f = flight_at(t, f->next);
        d->steps--;
    }
    if (d->steps == 0)
        t->counters.flights_full++;
}

void flights_release(struct tcp *t, struct tcp_conn *c)
{
    struct tcp_scoreboard *b = board_of(t, c);
    while (b->first != 0)
        record_remove(t, c, flight_at(t, b->first), NULL);
    b->probe = (struct tcp_loss_probe){0};
}
