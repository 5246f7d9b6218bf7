// SPDX-License-Identifier: BSD-2-Clause
/* The bad network. Chances are counted over many frames with a fixed seed, so that a bound that holds once holds. */
#include "netdrv/impair.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/suite.h"

#define FRAMES 100000

static struct impair *impair;
static struct impair_entry *entries;

static void setup(void)
{
    impair = malloc(sizeof *impair);
    entries = malloc(IMPAIR_QUEUE_MAX * sizeof *entries);
}

static void teardown(void)
{
    free(entries);
    free(impair);
}

static struct impair_fate send_at(uint64_t now_us, uint32_t octets)
{
    struct impair_fate fate;
    impair_frame(impair, now_us, octets, 14, &fate);
    return fate;
}

/* Nothing is under way, and every handle is free, once. */
static void handles_free(void)
{
    bool seen[IMPAIR_QUEUE_MAX] = {false};
    ck_assert_uint_eq(impair->count, 0);
    for (uint32_t i = 0; i < IMPAIR_QUEUE_MAX; i++) {
        ck_assert(entries[i].handle < IMPAIR_QUEUE_MAX && !seen[entries[i].handle]);
        seen[entries[i].handle] = true;
    }
}

/* Frames one by one, each delivered before the next is sent; how many came. */
static uint32_t deliver_all(uint32_t frames)
{
    uint32_t handle, came = 0;
    for (uint32_t i = 0; i < frames; i++) {
        send_at(i, 1000);
        while (impair_due(impair, UINT64_MAX - 1, &handle))
            came++;
    }
    handles_free();
    return came;
}

static bool near(uint64_t value, uint64_t expected)
{
    return value > expected - expected / 10 && value < expected + expected / 10;
}

START_TEST(test_nothing)
{
    struct impair_config none = {0};
    uint32_t handle;
    ck_assert(!impair_active(&none));
    impair_init(impair, &none, entries, IMPAIR_QUEUE_MAX);
    ck_assert_uint_eq(impair_deadline_us(impair), UINT64_MAX);
    ck_assert(!impair_due(impair, UINT64_MAX, &handle));
    struct impair_fate fate = send_at(5, 60);
    ck_assert(fate.copies == 1 && fate.corrupt_bit == IMPAIR_NO_BIT);
    ck_assert_uint_eq(impair_deadline_us(impair), 5);
    ck_assert(impair_due(impair, 5, &handle) && handle == fate.handle[0]);
    ck_assert_uint_eq(deliver_all(FRAMES), FRAMES);
}
END_TEST

START_TEST(test_chances)
{
    struct impair_config c = {.loss = 10000, .duplicate = 20000, .corrupt = 5000, .reorder = 30000, .seed = 1};
    ck_assert(impair_active(&c));
    impair_init(impair, &c, entries, IMPAIR_QUEUE_MAX);
    uint32_t came = deliver_all(FRAMES);
    const struct impair_counters *n = &impair->counters;
    ck_assert_uint_eq(came, FRAMES - n->lost + n->duplicated);
    ck_assert(near(n->lost, FRAMES / 100));
    ck_assert(near(n->duplicated, FRAMES / 50));
    ck_assert(near(n->corrupted, FRAMES / 200));
    ck_assert(near(n->reordered, FRAMES * 3 / 100));
    ck_assert_uint_eq(n->full, 0);

    c = (struct impair_config){.loss = IMPAIR_ALL};
    impair_init(impair, &c, entries, IMPAIR_QUEUE_MAX);
    ck_assert_uint_eq(deliver_all(1000), 0);
}
END_TEST

/* The same seed, the same fates; another, others. */
START_TEST(test_seed)
{
    struct impair_config c = {.loss = 100000, .duplicate = 100000, .corrupt = 100000, .jitter_us = 1000, .seed = 7};
    struct impair_fate first[1000], again;
    unsigned different = 0;
    for (unsigned round = 0; round < 3; round++) {
        uint32_t handle;
        c.seed = round == 2 ? 8 : 7;
        impair_init(impair, &c, entries, IMPAIR_QUEUE_MAX);
        for (uint32_t i = 0; i < 1000; i++) {
            again = send_at(i * 100, 500);
            while (impair_due(impair, i * 100, &handle))
                ;
            if (round == 0)
                first[i] = again;
            else if (round == 1)
                ck_assert_mem_eq(&first[i], &again, sizeof again);
            else
                different += memcmp(&first[i], &again, sizeof again) != 0;
        }
    }
    ck_assert_uint_gt(different, 100);
}
END_TEST

/* Every bit behind what is spared can be hit, none before it, and nothing when all of it is spared. */
START_TEST(test_corruption)
{
    struct impair_config c = {.corrupt = IMPAIR_ALL, .seed = 3};
    struct impair_fate fate;
    bool hit[20 * 8] = {false};
    uint32_t handle;
    impair_init(impair, &c, entries, IMPAIR_QUEUE_MAX);
    for (unsigned i = 0; i < 2000; i++) {
        fate = send_at(i, 20);
        ck_assert_uint_ge(fate.corrupt_bit, 14 * 8);
        ck_assert_uint_lt(fate.corrupt_bit, 20 * 8);
        hit[fate.corrupt_bit] = true;
        while (impair_due(impair, i, &handle))
            ;
    }
    for (unsigned bit = 14 * 8; bit < 20 * 8; bit++)
        ck_assert_msg(hit[bit], "bit %u", bit);
    impair_frame(impair, 0, 20, 20, &fate);
    ck_assert_uint_eq(fate.corrupt_bit, IMPAIR_NO_BIT);
}
END_TEST

START_TEST(test_delay)
{
    struct impair_config c = {.delay_us = 5000};
    uint32_t handle;
    impair_init(impair, &c, entries, IMPAIR_QUEUE_MAX);
    struct impair_fate a = send_at(1000, 60), b = send_at(1001, 60);
    ck_assert(!impair_due(impair, 5999, &handle));
    ck_assert_uint_eq(impair_deadline_us(impair), 6000);
    ck_assert(impair_due(impair, 6000, &handle) && handle == a.handle[0]);
    ck_assert(!impair_due(impair, 6000, &handle));
    ck_assert(impair_due(impair, 6001, &handle) && handle == b.handle[0]);
}
END_TEST

/* Jitter stays in its bounds and keeps order; duplicates follow at once. */
START_TEST(test_jitter_keeps_order)
{
    struct impair_config c = {.delay_us = 5000, .jitter_us = 2000, .duplicate = 500000, .queue = 1024, .seed = 5};
    uint32_t order[IMPAIR_QUEUE_MAX], sent = 0, handle;
    uint64_t least = UINT64_MAX, most = 0;
    impair_init(impair, &c, entries, IMPAIR_QUEUE_MAX);
    for (uint64_t now = 0; now < 500; now++) {
        struct impair_fate fate = send_at(now, 60);
        for (uint32_t i = 0; i < fate.copies; i++)
            order[sent++] = fate.handle[i];
    }
    for (uint32_t i = 0; i < sent; i++) {
        uint64_t at = impair_deadline_us(impair);
        least = at < least ? at : least;
        most = at > most ? at : most;
        ck_assert(impair_due(impair, at, &handle));
        ck_assert_uint_eq(handle, order[i]);
    }
    ck_assert(least >= 3000 && least < 7000 && most > 6000 && most <= 7500);
}
END_TEST

/* A frame held back is overtaken by those behind it, which do not wait. */
START_TEST(test_reorder)
{
    struct impair_config c = {.reorder = IMPAIR_ALL};
    uint32_t handle;
    impair_init(impair, &c, entries, IMPAIR_QUEUE_MAX);
    struct impair_fate held = send_at(0, 60);
    impair->config.reorder = 0;
    struct impair_fate behind = send_at(1, 60);
    ck_assert(impair_due(impair, 1, &handle) && handle == behind.handle[0]);
    ck_assert(!impair_due(impair, IMPAIR_REORDER_US - 1, &handle));
    ck_assert(impair_due(impair, IMPAIR_REORDER_US, &handle) && handle == held.handle[0]);
}
END_TEST

/* 10 Mbit/s for a second of simulated time, with more offered: what comes is the rate and the bucket. */
START_TEST(test_rate)
{
    struct impair_config c = {.rate = 10000000, .queue = 100};
    uint64_t octets = 0;
    uint32_t handle;
    impair_init(impair, &c, entries, IMPAIR_QUEUE_MAX);
    for (uint64_t now = 0; now < 1000000; now += 100) {
        send_at(now, 1000);
        while (impair_due(impair, now, &handle))
            octets += 1000;
    }
    ck_assert_uint_ge(octets, 1250000 - 1000);
    ck_assert_uint_le(octets, 1250000 + IMPAIR_BUCKET_OCTETS);
    ck_assert_uint_gt(impair->counters.full, 0);
    ck_assert_uint_le(impair->count, 100);
}
END_TEST

START_TEST(test_queue)
{
    struct impair_config c = {.delay_us = 1000, .queue = 3, .duplicate = IMPAIR_ALL};
    uint32_t handle;
    impair_init(impair, &c, entries, IMPAIR_QUEUE_MAX);
    ck_assert_uint_eq(send_at(0, 60).copies, 2);
    ck_assert_uint_eq(send_at(0, 60).copies, 1); /* no room for its copy */
    ck_assert_uint_eq(send_at(0, 60).copies, 0);
    ck_assert_uint_eq(impair->counters.full, 1);
    ck_assert(impair_due(impair, 1000, &handle));
    ck_assert_uint_eq(send_at(0, 60).copies, 1);
    c.queue = UINT32_MAX; /* nonsense is bounded */
    c.loss = c.reorder = UINT32_MAX;
    c.delay_us = c.jitter_us = UINT32_MAX;
    c.rate = 1;
    impair_init(impair, &c, entries, IMPAIR_QUEUE_MAX);
    impair->config.loss = 0;
    for (unsigned i = 0; i < 2 * IMPAIR_QUEUE_MAX; i++)
        send_at(UINT64_MAX / 2000, 2044);
    ck_assert_uint_eq(impair->count, IMPAIR_QUEUE_MAX);
}
END_TEST

/* 8 Mbit/s is an octet each microsecond. A buffer of 5,000 octets in front of it and 100 ms behind: what is delayed
 * does not fill the buffer, and what waits does. */
START_TEST(test_backlog)
{
    struct impair_config c = {.rate = 8000000, .backlog = 5000, .burst = 1000, .delay_us = 100000, .queue = 1024};
    uint32_t handle;
    impair_init(impair, &c, entries, IMPAIR_QUEUE_MAX);
    for (unsigned i = 0; i < 6; i++) /* one goes out, five wait */
        ck_assert_uint_eq(send_at(7, 1000).copies, 1);
    ck_assert_uint_eq(impair_backlog_octets(impair, 7), 5000);
    ck_assert_uint_eq(send_at(7, 60).copies, 0);
    ck_assert_uint_eq(impair->counters.full, 1);
    ck_assert_uint_eq(send_at(1007, 1001).copies, 0); /* room for 1,000 again */
    ck_assert_uint_eq(send_at(1007, 1000).copies, 1);
    ck_assert_uint_eq(impair_backlog_octets(impair, 1007), 5000);
    for (uint64_t now = 10007; now < 90007; now += 1000) /* at the rate: nothing waits, 87 are under way */
        ck_assert_uint_eq(send_at(now, 1000).copies, 1);
    ck_assert_uint_eq(impair_backlog_octets(impair, 90007), 0);
    ck_assert_uint_eq(impair->count, 87);
    ck_assert_uint_eq(impair->counters.full, 2);
    for (uint64_t i = 0; i < 7; i++) { /* each a millisecond behind the one before */
        ck_assert(!impair_due(impair, 100007 + i * 1000 - 1, &handle));
        ck_assert(impair_due(impair, 100007 + i * 1000, &handle));
    }
}
END_TEST

START_TEST(test_parse)
{
    struct impair_config c;
    char error[100];
    ck_assert(impair_parse("", &c, error, sizeof error) && !impair_active(&c));
    ck_assert(
        impair_parse("loss=1%,delay=5ms,jitter=1ms,reorder=2%,duplicate=1%,corrupt=0.1%,rate=100mbit,seed=42,queue=256",
                     &c, error, sizeof error));
    ck_assert(c.loss == 10000 && c.reorder == 20000 && c.duplicate == 10000 && c.corrupt == 1000);
    ck_assert(c.delay_us == 5000 && c.jitter_us == 1000 && c.rate == 100000000 && c.seed == 42 && c.queue == 256);
    ck_assert(impair_parse("delay=1.5s,rate=2.5gbit,loss=100%,jitter=7us", &c, error, sizeof error));
    ck_assert(c.delay_us == 1500000 && c.rate == 2500000000 && c.loss == IMPAIR_ALL && c.jitter_us == 7);
    ck_assert(impair_parse("backlog=125000,burst=1514", &c, error, sizeof error));
    ck_assert(c.backlog == 125000 && c.burst == 1514 && c.queue == 0);
    static const char *const wrong[] = {"loss",
                                        "loss=",
                                        "loss=1",
                                        "loss=101%",
                                        "loss=-1%",
                                        "loss=1%%",
                                        "los=1%",
                                        "losses=1%",
                                        "delay=5",
                                        "delay=11s",
                                        "delay=.5ms",
                                        "delay=5.ms",
                                        "delay=5 ms",
                                        "delay=0.5us",
                                        "rate=1kbit",
                                        "rate=101gbit",
                                        "rate=100",
                                        "seed=x",
                                        "seed=1.5",
                                        "seed=-1",
                                        "queue=0",
                                        "queue=1025",
                                        "backlog=0",
                                        "backlog=1000000001",
                                        "burst=1k",
                                        "loss=1%,",
                                        ",loss=1%",
                                        "loss=1%,,",
                                        "loss=1%,loss=2%",
                                        "=",
                                        ",",
                                        "seed=99999999999999999999"};
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        error[0] = 0;
        memset(&c, 0x55, sizeof c);
        ck_assert_msg(!impair_parse(wrong[i], &c, error, sizeof error), "%s", wrong[i]);
        ck_assert_msg(error[0] != 0 && strchr(error, '\n') == NULL, "%s", wrong[i]);
        ck_assert_uint_eq(c.loss, 0x55555555);
    }
}
END_TEST

SUITE_RUN("impair", setup, teardown, test_nothing, test_chances, test_seed, test_corruption, test_delay,
          test_jitter_keeps_order, test_reorder, test_rate, test_queue, test_backlog, test_parse)
