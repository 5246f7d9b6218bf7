// SPDX-License-Identifier: BSD-2-Clause
/* The scoreboard against a model that knows each octet, and alone against SACKs of any kind in a pool that is too
 * small. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/tcp/recovery.h"
#include "tests/unit/suite.h"
#include "tests/unit/tcp_harness.h"

#define MSS    100U
#define SPAN   20000U /* octets of the stream that the model knows */
#define ORIGIN 0xffffe000U

static struct tcp *t;
static struct tcp_conn *c;
static uint64_t now_us, dice;

static struct octet { /* of the model */
    enum { UNSENT, IN_FLIGHT, SACKED, LOST, ACKED } state;
    uint32_t sent_us, sends;
    bool first; /* of a segment */
} model[SPAN + 1];

static uint32_t below(uint32_t n)
{
    dice = dice * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(dice >> 33) % n;
}

static void begin(uint32_t flights, uint64_t seed)
{
    struct tcp_config config = {.connections = 2, .mtu = 1500, .flights = flights, .secret = {1}};
    size_t size = tcp_size(&config);
    void *memory = aligned_alloc(64, size);
    memset(memory, 0, size);
    now_us = 0xfffff000U; /* the clock's low half wraps, too */
    dice = seed;
    t = tcp_init(memory, &config, now_us);
    c = conn_allocate_at(t, 1);
    c->flags = TCP_CONN_SACK;
    c->mss = MSS;
    c->snd_una = c->snd_nxt = c->snd_max = ORIGIN;
    memset(model, 0, sizeof model);
}

static uint32_t free_records(void)
{
    uint32_t n = t->config.flights - t->flight_fresh;
    for (uint32_t i = t->flight_free; i != TCP_NONE; i = t->flight[i].next)
        n++;
    return n;
}

static void end(void)
{
    flights_release(t, c);
    const struct tcp_scoreboard *b = board_of(t, c);
    ck_assert_uint_eq(b->count + b->in_flight + b->sacked + b->lost, 0);
    ck_assert(!b->own && b->first == 0 && b->last == 0 && b->oldest == 0 && b->newest == 0);
    ck_assert_uint_eq(free_records(), t->config.flights - t->config.connections);
    free(t);
}

/* What holds whatever the peer says. */
static void check_lists(void)
{
    const struct tcp_scoreboard *b = board_of(t, c);
    uint32_t octets[3] = {0}, count = 0, in_order = 0, at = c->snd_una, prev = 0, lost = 0;
    for (uint32_t i = b->first; i != 0; prev = i, i = t->flight[i - 1].next, count++) {
        const struct tcp_flight *f = &t->flight[i - 1];
        require(f->prev == prev && f->start == at && seq_before(f->start, f->end) && f->mss > 0 && f->flags < 3);
        octets[f->flags] += f->end - f->start;
        in_order += f->flags == 0;
        lost = lost == 0 && f->flags == TCP_FLIGHT_LOST ? i : lost;
        at = f->end;
    }
    require(b->last == prev && at == c->snd_nxt && count == b->count);
    require(flight_first_lost(t, c) == flight_at(t, lost));
    require(octets[0] == b->in_flight && octets[TCP_FLIGHT_SACKED] == b->sacked && octets[TCP_FLIGHT_LOST] == b->lost);
    prev = 0;
    for (uint32_t i = b->oldest; i != 0; prev = i, i = t->flight[i - 1].newer, in_order--) {
        const struct tcp_flight *f = &t->flight[i - 1];
        require(f->older == prev && f->flags == 0);
        require(prev == 0 || !seq_after(t->flight[prev - 1].sent_us, f->sent_us));
    }
    require(b->newest == prev && in_order == 0);
    uint32_t shared = count - b->own;
    require(free_records() + shared == t->config.flights - t->config.connections);
}

static void check_model(void)
{
    const struct tcp_scoreboard *b = board_of(t, c);
    const uint8_t flags[] = {[IN_FLIGHT] = 0, [SACKED] = TCP_FLIGHT_SACKED, [LOST] = TCP_FLIGHT_LOST};
    const struct tcp_flight *first_lost = flight_first_lost(t, c);
    bool lost = false;
    for (uint32_t i = b->first; i != 0; i = t->flight[i - 1].next) {
        const struct tcp_flight *f = &t->flight[i - 1];
        for (uint32_t seq = f->start; seq != f->end; seq++) {
            const struct octet *o = &model[seq - ORIGIN];
            require(o->state >= IN_FLIGHT && o->state <= LOST && flags[o->state] == f->flags);
            require(f->flags == TCP_FLIGHT_SACKED || (o->sent_us == f->sent_us && o->sends == f->sends));
        }
        if (!lost && f->flags == TCP_FLIGHT_LOST)
            require(f == first_lost);
        lost |= f->flags == TCP_FLIGHT_LOST;
    }
    require(lost || first_lost == NULL);
}

/* ---- the same to both ---- */
static void send_some(uint32_t length)
{
    uint32_t at = c->snd_nxt - ORIGIN;
    if (at + length > SPAN)
        return;
    flight_sent(t, c, now_us, c->snd_nxt, c->snd_nxt + length, MSS);
    for (uint32_t i = 0; i < length; i++)
        model[at + i] = (struct octet){IN_FLIGHT, (uint32_t)now_us, 1, i % MSS == 0};
    c->snd_nxt = c->snd_max = c->snd_nxt + length;
    model[c->snd_nxt - ORIGIN].first = true;
}

static uint32_t boundary(uint32_t at, int direction)
{
    while (!model[at].first)
        at += (uint32_t)direction;
    return at;
}

static uint32_t random_at(void)
{
    return c->snd_una - ORIGIN + below(c->snd_nxt - c->snd_una + 1);
}

static void acknowledge(uint32_t at)
{
    struct segment s = {0};
    struct tcp_delivery d = {.segment = &s, .now_us = now_us, .steps = 1000};
    uint32_t news = 0;
    for (uint32_t i = c->snd_una - ORIGIN; i < at; i++) {
        news += model[i].state != SACKED;
        model[i].state = ACKED;
    }
    c->snd_una = ORIGIN + at;
    flights_acked(t, c, &d);
    ck_assert_uint_eq(d.delivered, news);
}

static void sack(uint32_t from, uint32_t to)
{
    struct segment s = {0};
    struct tcp_delivery d = {.segment = &s, .now_us = now_us, .steps = 1000};
    uint32_t news = 0;
    flights_sacked(t, c, ORIGIN + from, ORIGIN + to, &d);
    for (uint32_t i = boundary(from, 1); to > from && i < boundary(to, -1); i++) {
        news += model[i].state != SACKED;
        model[i].state = SACKED;
    }
    ck_assert_uint_eq(d.delivered, news);
}

static void lose_oldest(void)
{
    struct tcp_flight *f = flight_at(t, board_of(t, c)->oldest);
    if (f == NULL)
        return;
    for (uint32_t seq = f->start; seq != f->end; seq++)
        model[seq - ORIGIN].state = LOST;
    flight_lost(t, c, f);
}

static void resend(void)
{
    struct tcp_flight *f = flight_first_lost(t, c);
    if (f == NULL)
        return;
    uint32_t from = f->start - ORIGIN, to = boundary(from + 1 + below(f->end - f->start), 1);
    to = to > f->end - ORIGIN ? f->end - ORIGIN : to;
    flight_resent(t, c, now_us, f, ORIGIN + to, MSS);
    for (uint32_t i = from; i < to; i++) {
        model[i].state = IN_FLIGHT;
        model[i].sent_us = (uint32_t)now_us;
        model[i].sends++;
    }
}

static void all_change(uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < SPAN; i++)
        if (model[i].state == from)
            model[i].state = to;
}

static void step(void)
{
    uint32_t from = random_at(), to = random_at();
    now_us += below(3);
    switch (below(12)) {
    case 0:
        acknowledge(boundary(c->snd_una - ORIGIN + below((c->snd_nxt - c->snd_una) / 4 + 1), -1));
        break;
    case 1:
    case 2:
        lose_oldest();
        break;
    case 3:
    case 4:
        resend();
        break;
    case 5:
        if (below(20) == 0) {
            flights_forget_losses(t, c);
            all_change(LOST, IN_FLIGHT);
        }
        break;
    case 6:
    case 7:
    case 8:
        if (from < to)
            sack(from, to - from > 1000 ? from + below(1000) : to);
        break;
    default:
        send_some(1 + below(8 * MSS));
        break;
    }
}

START_TEST(test_as_the_model)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        begin(4000, seed);
        model[0].first = true;
        for (int i = 0; i < 300; i++) {
            step();
            check_lists();
            check_model();
        }
        end();
    }
}
END_TEST

/* Whatever is SACKED, of whatever size, in a pool of a few records. */
START_TEST(test_pool_is_exhausted)
{
    uint64_t full = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        begin(1 + (uint32_t)seed % 8, seed);
        struct segment s = {0};
        for (int i = 0; i < 400; i++) {
            struct tcp_delivery d = {.segment = &s, .now_us = now_us += below(2), .steps = 1000};
            uint32_t from = c->snd_una + below(c->snd_nxt - c->snd_una + 1), before = board_of(t, c)->sacked;
            if (below(3) == 0 && c->snd_nxt - ORIGIN < SPAN)
                send_some(1 + below(8 * MSS));
            else if (below(4) == 0)
                lose_oldest();
            else if (below(4) == 0)
                resend();
            else if (below(20) == 0)
                flights_forget_sacks(t, c), lose_oldest();
            else if (below(8) == 0)
                c->snd_una = from, flights_acked(t, c, &d);
            else if (seq_before(from, c->snd_nxt))
                flights_sacked(t, c, from, from + 1 + below(c->snd_nxt - from), &d);
            ck_assert_uint_ge(board_of(t, c)->sacked + SPAN, before);
            check_lists();
        }
        full += t->counters.flights_full;
        end();
    }
    ck_assert_uint_gt(full, 1000);
}
END_TEST

/* CVE-2019-11478: every second octet. Nothing is split that was not two segments. */
START_TEST(test_crumbs)
{
    begin(100000, 1);
    struct segment s = {0};
    for (uint32_t i = 0; i < 20; i++, now_us++)
        send_some(10 * MSS);
    for (uint32_t at = 1; at < SPAN; at += 2) {
        struct tcp_delivery d = {.segment = &s, .now_us = now_us, .steps = 1000};
        flights_sacked(t, c, ORIGIN + at, ORIGIN + at + 1, &d);
        ck_assert_uint_eq(d.delivered, 0);
    }
    ck_assert_uint_eq(board_of(t, c)->count, 20);
    for (uint32_t at = MSS; at < SPAN; at += 2 * MSS) /* every second segment is well */
        sack(at, at + MSS);
    ck_assert_uint_eq(board_of(t, c)->sacked, SPAN / 2);
    check_lists();
    sack(0, SPAN);
    ck_assert_uint_eq(board_of(t, c)->count, 1);
    end();
}
END_TEST

/* One connection does not take all: the other still has its share. */
START_TEST(test_share_of_one)
{
    begin(400, 1);
    for (uint32_t i = 0; i < SPAN / MSS; i++, now_us++)
        send_some(MSS);
    ck_assert_uint_eq(board_of(t, c)->count, 100);
    ck_assert_uint_eq(board_of(t, c)->in_flight, SPAN);
    check_lists();
    end();
}
END_TEST

/* An ACK costs a bounded number of steps (CVE-2018-5390). */
START_TEST(test_steps)
{
    begin(100000, 1);
    for (uint32_t i = 0; i < SPAN / MSS; i++, now_us++)
        send_some(MSS);
    struct segment s = {0};
    struct tcp_delivery d = {.segment = &s, .now_us = now_us, .steps = 20};
    flights_sacked(t, c, ORIGIN + 100 * MSS, ORIGIN + 101 * MSS, &d); /* far from the ends */
    ck_assert_uint_eq(d.delivered, 0);
    ck_assert_uint_eq(t->counters.flights_full, 1);
    d.steps = 200;
    flights_sacked(t, c, ORIGIN + 100 * MSS, ORIGIN + 101 * MSS, &d);
    ck_assert_uint_eq(d.delivered, MSS);
    d.steps = 20;
    flights_sacked(t, c, ORIGIN + 102 * MSS, ORIGIN + 103 * MSS, &d); /* near the last */
    ck_assert_uint_eq(d.delivered, 2 * MSS);
    end();
}
END_TEST

/* Old and new by turns, as a peer makes them that SACKs every second segment, takes it back, and then says that it was
 * all for nothing: where each belongs in the order of sending is not looked for without end. The rest goes out again.
 */
START_TEST(test_undo_costs_are_bounded)
{
    static const uint32_t counts[] = {256, 16000};
    for (uint32_t n = 0; n < 2; n++) {
        begin(100000, 1);
        for (uint32_t i = 0; i < counts[n]; i++, now_us++)
            send_some(1);
        for (int twice = 0; twice < 2; twice++) {
            while (board_of(t, c)->oldest != 0)
                flight_lost(t, c, flight_at(t, board_of(t, c)->oldest));
            uint32_t i = board_of(t, c)->first;
            for (uint32_t k = 0; twice == 0 && i != 0; i = flight_at(t, i)->next, k++)
                if (k % 2 == 0)
                    flight_resent(t, c, now_us++, flight_at(t, i), flight_at(t, i)->end, MSS);
        }
        ck_assert_uint_eq(board_of(t, c)->lost, counts[n]);
        flights_forget_losses(t, c);
        check_lists();
        ck_assert_uint_eq(board_of(t, c)->in_flight + board_of(t, c)->lost, counts[n]);
        ck_assert_int_eq(board_of(t, c)->lost > 0, n == 1);
        ck_assert_uint_eq(t->counters.flights_full, n);
        end();
    }
}
END_TEST

/* Three segments are lost, and go out again smaller: what the peer SACKs late of the second and third is found. */
START_TEST(test_resent_smaller)
{
    begin(100, 1);
    send_some(3 * MSS);
    flight_lost(t, c, flight_at(t, board_of(t, c)->first));
    flight_resent(t, c, ++now_us, flight_first_lost(t, c), ORIGIN + MSS - 12, MSS - 12);
    check_lists();
    struct segment s = {0};
    struct tcp_delivery d = {.segment = &s, .now_us = now_us, .steps = 100};
    flights_sacked(t, c, ORIGIN + MSS, ORIGIN + 2 * MSS, &d);
    ck_assert_uint_eq(d.delivered, MSS);
    flights_sacked(t, c, ORIGIN + 2 * MSS, ORIGIN + 3 * MSS, &d);
    ck_assert_uint_eq(d.delivered, 2 * MSS);
    ck_assert_uint_eq(board_of(t, c)->lost, 12);
    ck_assert_uint_eq(board_of(t, c)->in_flight, MSS - 12);
    check_lists();
    end();
}
END_TEST

SUITE_RUN("tcp_flight", NULL, NULL, test_as_the_model, test_pool_is_exhausted, test_crumbs, test_share_of_one,
          test_steps, test_undo_costs_are_bounded, test_resent_smaller)
