// SPDX-License-Identifier: BSD-2-Clause
/* The wire: two drivers on two halves in plain memory; frames both ways, wrap-around, a full ring, incarnations of
 * either side, a peer that lies about every word, and two threads that sleep. */
#include "netdrv/wire.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "netdrv/driver.h"
#include "tests/unit/require.h"
#include "tests/unit/suite.h"

static struct side {
    struct netdrv driver;
    struct netdrv_grant grant;
    struct frame_half *half;
    int bell[2];
} side[2];
static const struct netdrv_operations *const wire = &netdrv_wire;
static uint8_t *queue;

static void incarnate(unsigned i)
{
    memset(&side[i].driver, 0, sizeof side[i].driver);
    ck_assert(netdrv_init(&side[i].driver, &side[i].grant, side[i].bell[0]));
}

static void setup(void)
{
    queue = malloc(WIRE_QUEUE_OCTETS);
    for (unsigned i = 0; i < 2; i++) {
        side[i].half = aligned_alloc(64, sizeof *side[i].half);
        memset(side[i].half, 0, sizeof *side[i].half);
        ck_assert_int_eq(pipe2(side[i].bell, O_NONBLOCK), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        side[i].grant = (struct netdrv_grant){
            .kind = NETDRV_WIRE, .wire = {.mine = side[i].half, .peer = side[1 - i].half, .bell = side[1 - i].bell[1]}};
        incarnate(i);
    }
}

static void teardown(void)
{
    for (unsigned i = 0; i < 2; i++) {
        free(side[i].half);
        close(side[i].bell[0]);
        close(side[i].bell[1]);
    }
    free(queue);
}

/* The first octets say which frame it is. */
static int send_number(unsigned i, uint32_t number, uint32_t octets)
{
    static const struct netdrv_offload none;
    uint8_t head[20] = {0}, body[FRAME_OCTETS_MAX];
    memcpy(head, &number, sizeof number);
    head[12] = 8;
    memset(body, (int)number, sizeof body);
    struct iovec part[] = {{head, sizeof head}, {body, octets - sizeof head}};
    return wire->send(&side[i].driver, &none, part, 2);
}

/* The number of the next frame; UINT32_MAX none. */
static uint32_t receive_number(unsigned i)
{
    static uint8_t buffer[NETDRV_FRAME_MAX];
    struct netdrv_offload offload;
    uint32_t octets, number;
    if (wire->receive(&side[i].driver, buffer, &octets, &offload) != NETDRV_OK)
        return UINT32_MAX;
    memcpy(&number, buffer, sizeof number);
    for (uint32_t at = 20; at < octets; at++)
        require(buffer[at] == (number & 0xff));
    ck_assert_int_eq(offload.checksum_state, MESSAGE_CHECKSUM_NONE);
    ck_assert_int_eq(offload.gso_type, MESSAGE_GSO_NONE);
    return number;
}

static void flush(unsigned i)
{
    wire->flush(&side[i].driver);
}

START_TEST(test_both_ways_and_around)
{
    uint32_t number[2] = {0, 1000000}, expected[2] = {0, 1000000};
    for (unsigned round = 0; round < 5 * FRAME_RING_SLOTS; round += 7) {
        for (unsigned i = 0; i < 2; i++) {
            for (unsigned n = 0; n < 7; n++, number[i]++)
                ck_assert_int_eq(send_number(i, number[i], 20 + (number[i] * 37) % 2000), NETDRV_OK);
            flush(i);
        }
        for (unsigned i = 0; i < 2; i++) {
            for (unsigned n = 0; n < 7; n++)
                ck_assert_uint_eq(receive_number(1 - i), expected[i]++);
            ck_assert_uint_eq(receive_number(1 - i), UINT32_MAX);
            flush(1 - i);
        }
    }
    ck_assert_int_eq(wire->link(&side[0].driver), NETDRV_LINK_UP);
}
END_TEST

START_TEST(test_full)
{
    for (uint32_t i = 0; i < FRAME_RING_SLOTS; i++)
        ck_assert_int_eq(send_number(0, i, 60), NETDRV_OK);
    ck_assert_int_eq(send_number(0, 9999, 60), NETDRV_FULL);
    ck_assert_uint_eq(receive_number(1), UINT32_MAX); /* nothing before the flush */
    flush(0);
    ck_assert_uint_eq(receive_number(1), 0);
    ck_assert_int_eq(send_number(0, 9999, 60), NETDRV_FULL); /* not given back yet */
    flush(1);
    ck_assert_int_eq(send_number(0, FRAME_RING_SLOTS, 60), NETDRV_OK);
    flush(0);
    for (uint32_t i = 1; i <= FRAME_RING_SLOTS; i++)
        ck_assert_uint_eq(receive_number(1), i);
}
END_TEST

START_TEST(test_refused)
{
    static uint8_t bytes[4000];
    struct iovec part[] = {{bytes, 20}, {bytes, FRAME_OCTETS_MAX - 20}};
    struct netdrv_offload offload = {0};
    ck_assert_int_eq(wire->send(&side[0].driver, &offload, part, 2), NETDRV_OK);
    part[1].iov_len++;
    ck_assert_int_eq(wire->send(&side[0].driver, &offload, part, 2), NETDRV_MALFORMED);
    part[0].iov_len = FRAME_OCTETS_LEAST - 1;
    ck_assert_int_eq(wire->send(&side[0].driver, &offload, part, 1), NETDRV_MALFORMED);
    part[0].iov_len = 60;
    offload.checksum_state = MESSAGE_CHECKSUM_PARTIAL; /* it can none of these */
    ck_assert_int_eq(wire->send(&side[0].driver, &offload, part, 1), NETDRV_MALFORMED);
}
END_TEST

/* An incarnation that dies anywhere: what it published arrives, what it was writing does not, and the next goes on. */
START_TEST(test_restart)
{
    for (uint32_t i = 0; i < 700; i++) {
        ck_assert_int_eq(send_number(0, i, 60), NETDRV_OK);
        flush(0);
        ck_assert_uint_eq(receive_number(1), i);
        flush(1);
    }
    ck_assert_int_eq(send_number(0, 700, 60), NETDRV_OK);
    flush(0);
    ck_assert_int_eq(send_number(0, 7777, 60), NETDRV_OK); /* not published */
    incarnate(0);
    ck_assert_int_eq(send_number(0, 701, 60), NETDRV_OK);
    flush(0);
    ck_assert_uint_eq(receive_number(1), 700);
    incarnate(1); /* dies with a frame taken and not given back: it comes again */
    ck_assert_uint_eq(receive_number(1), 700);
    ck_assert_uint_eq(receive_number(1), 701);
    ck_assert_uint_eq(receive_number(1), UINT32_MAX);
    flush(1);
    incarnate(1);
    ck_assert_uint_eq(receive_number(1), UINT32_MAX);
    for (uint32_t i = 0; i < FRAME_RING_SLOTS; i++)
        ck_assert_int_eq(send_number(0, i, 60), NETDRV_OK);
    ck_assert_int_eq(send_number(0, 0, 60), NETDRV_FULL);
}
END_TEST

/* The sleep word of the dead is cleared by the next one, and only ever counts up. */
START_TEST(test_restart_asleep)
{
    ck_assert(!wire->pending(&side[1].driver));
    uint32_t word = side[1].half->sleep;
    ck_assert_uint_eq(word & 1, 1);
    incarnate(1);
    wire->begin(&side[1].driver);
    ck_assert_uint_gt(side[1].half->sleep, word);
    ck_assert_uint_eq(side[1].half->sleep & 1, 0);
}
END_TEST

/* ---- a peer that lies: side 1's words, as side 0 reads them ---- */

static void stopped(const char *what)
{
    ck_assert_msg(wire->link(&side[0].driver) == NETDRV_LINK_BROKEN, "%s", what);
    ck_assert_msg(receive_number(0) == UINT32_MAX, "%s", what);
    ck_assert_msg(send_number(0, 0, 60) == NETDRV_DOWN, "%s", what);
    ck_assert_msg(!wire->pending(&side[0].driver), "%s", what);
    flush(0);
}

START_TEST(test_lies_about_producer)
{
    static const uint32_t lies[] = {FRAME_RING_SLOTS + 1, UINT32_MAX, 0x80000000U, 3};
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        teardown();
        setup();
        for (uint32_t n = 0; n < 4; n++)
            ck_assert_int_eq(send_number(1, n, 60), NETDRV_OK);
        flush(1);
        for (uint32_t n = 0; n < 4; n++)
            ck_assert_uint_eq(receive_number(0), n);
        for (uint32_t n = 0; n < FRAME_RING_SLOTS; n++)
            side[1].half->slot[n].octets = 60; /* it is the index that is found out, not what lies there */
        side[1].half->producer = lies[i] == 3 ? 3 : side[1].half->producer + lies[i]; /* 3: it goes back */
        ck_assert_uint_eq(receive_number(0), UINT32_MAX);
        stopped("producer");
    }
}
END_TEST

START_TEST(test_lies_about_consumer)
{
    static const uint32_t lies[] = {FRAME_RING_SLOTS + 1, UINT32_MAX, 0x80000000U};
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        teardown();
        setup();
        for (uint32_t n = 0; n < FRAME_RING_SLOTS; n++)
            ck_assert_int_eq(send_number(0, n, 60), NETDRV_OK);
        flush(0);
        side[1].half->consumer = lies[i];
        ck_assert_int_eq(send_number(0, 0, 60), NETDRV_DOWN);
        stopped("consumer");
        incarnate(0); /* nor does a new incarnation believe it */
        stopped("consumer, from the start");
    }
}
END_TEST

START_TEST(test_lies_about_length)
{
    static const uint32_t lies[] = {0, FRAME_OCTETS_LEAST - 1, FRAME_OCTETS_MAX + 1, UINT32_MAX};
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        teardown();
        setup();
        ck_assert_int_eq(send_number(1, 0, 60), NETDRV_OK);
        flush(1);
        side[1].half->slot[0].octets = lies[i];
        ck_assert_uint_eq(receive_number(0), UINT32_MAX);
        stopped("length");
    }
}
END_TEST

/* Any words at all: never more than a ring full of frames, of any length that a frame can have. */
START_TEST(test_lies_at_random)
{
    static uint8_t buffer[NETDRV_FRAME_MAX];
    struct netdrv_offload offload;
    srandom(1);
    for (unsigned round = 0; round < 2000; round++) {
        uint32_t octets, taken = 0;
        for (unsigned n = 0; n < 20; n++)
            ((uint32_t *)side[1].half)[(unsigned)random() % (sizeof(struct frame_half) / 4)] = (uint32_t)random();
        side[1].half->producer = (uint32_t)random() % 600;
        side[1].half->consumer = (uint32_t)random() % 3;
        incarnate(0);
        while (wire->receive(&side[0].driver, buffer, &octets, &offload) == NETDRV_OK) {
            ck_assert(octets >= FRAME_OCTETS_LEAST && octets <= FRAME_OCTETS_MAX);
            ck_assert_uint_le(++taken, FRAME_RING_SLOTS);
        }
        (void)!send_number(0, round, 60);
    }
}
END_TEST

/* ---- no link, and another ---- */

START_TEST(test_link_changes)
{
    struct netdrv_grant none = side[0].grant;
    none.wire.mine = NULL;
    none.wire.peer = NULL;
    wire->changed(&side[0].driver, &none);
    ck_assert_int_eq(wire->link(&side[0].driver), NETDRV_LINK_DOWN);
    ck_assert_int_eq(send_number(0, 0, 60), NETDRV_DOWN);
    ck_assert_uint_eq(receive_number(0), UINT32_MAX);
    flush(0);
    wire->begin(&side[0].driver);
    ck_assert(!wire->pending(&side[0].driver));
    memset(side[0].half, 0, sizeof *side[0].half);
    memset(side[1].half, 0, sizeof *side[1].half);
    wire->changed(&side[0].driver, &side[0].grant);
    incarnate(1);
    ck_assert_int_eq(send_number(0, 5, 60), NETDRV_OK);
    flush(0);
    ck_assert_uint_eq(receive_number(1), 5);
}
END_TEST

/* ---- impaired ---- */

START_TEST(test_delayed)
{
    side[0].grant.wire.queue = queue;
    side[0].grant.wire.impair = (struct impair_config){.delay_us = 500};
    incarnate(0);
    side[0].driver.now_us = 1000;
    ck_assert_uint_eq(wire->deadline_us(&side[0].driver), UINT64_MAX);
    for (uint32_t i = 0; i < 10; i++)
        ck_assert_int_eq(send_number(0, i, 20 + i * 200), NETDRV_OK);
    flush(0);
    ck_assert_uint_eq(receive_number(1), UINT32_MAX);
    ck_assert_uint_eq(wire->deadline_us(&side[0].driver), 1500);
    side[0].driver.now_us = 1500;
    flush(0);
    for (uint32_t i = 0; i < 10; i++)
        ck_assert_uint_eq(receive_number(1), i);
    ck_assert_int_eq(send_number(0, 11, 60), NETDRV_OK);
    struct netdrv_grant none = side[0].grant;
    none.wire.mine = NULL;
    wire->changed(&side[0].driver, &none);
    ck_assert_uint_eq(side[0].driver.wire.late, 1); /* a drop is counted */
    ck_assert_uint_eq(wire->deadline_us(&side[0].driver), UINT64_MAX);
}
END_TEST

START_TEST(test_corrupted)
{
    static const struct netdrv_offload plain;
    static uint8_t buffer[NETDRV_FRAME_MAX];
    uint8_t sent[100] = {0};
    struct iovec part = {sent, sizeof sent};
    struct netdrv_offload offload;
    uint32_t octets;
    side[0].grant.wire.queue = queue;
    side[0].grant.wire.impair = (struct impair_config){.corrupt = IMPAIR_ALL, .duplicate = IMPAIR_ALL};
    incarnate(0);
    for (unsigned arp = 0; arp < 2; arp++) {
        sent[12] = 8;
        sent[13] = arp ? 6 : 0;
        ck_assert_int_eq(wire->send(&side[0].driver, &plain, &part, 1), NETDRV_OK);
        flush(0);
        for (unsigned copy = 0; copy < 2; copy++) {
            unsigned bits = 0;
            ck_assert_int_eq(wire->receive(&side[1].driver, buffer, &octets, &offload), NETDRV_OK);
            for (unsigned i = 0; i < sizeof sent; i++)
                bits += (unsigned)__builtin_popcount((unsigned)(buffer[i] ^ sent[i]));
            ck_assert_uint_eq(bits, arp ? 0 : 1);
            ck_assert_mem_eq(buffer, sent, 14);
        }
    }
}
END_TEST

/* ---- two threads that sleep whenever there is nothing: a lost wake-up hangs ---- */

#define PASSES 5000

static void nap(unsigned i)
{
    struct pollfd device = {.fd = side[i].bell[0], .events = POLLIN};
    if (!wire->pending(&side[i].driver))
        ck_assert_int_eq(poll(&device, 1, 10000), 1);
}

static void *echo(void *nothing)
{
    for (uint32_t n = 0; n < PASSES;) {
        wire->begin(&side[1].driver);
        uint32_t number = receive_number(1);
        if (number != UINT32_MAX) {
            ck_assert_uint_eq(number, n++);
            ck_assert_int_eq(send_number(1, number, 60), NETDRV_OK);
        }
        flush(1);
        if (number == UINT32_MAX)
            nap(1);
    }
    return nothing;
}

START_TEST(test_wake_up)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, echo, NULL), 0);
    for (uint32_t n = 0; n < PASSES; n++) {
        wire->begin(&side[0].driver);
        ck_assert_int_eq(send_number(0, n, 60), NETDRV_OK);
        flush(0);
        for (uint32_t number; (number = receive_number(0)) != n; wire->begin(&side[0].driver)) {
            ck_assert_uint_eq(number, UINT32_MAX);
            flush(0);
            nap(0);
        }
        flush(0);
    }
    pthread_join(thread, NULL);
}
END_TEST

SUITE_RUN("wire", setup, teardown, test_both_ways_and_around, test_full, test_refused, test_restart,
          test_restart_asleep, test_lies_about_producer, test_lies_about_consumer, test_lies_about_length,
          test_lies_at_random, test_link_changes, test_delayed, test_corrupted, test_wake_up)
