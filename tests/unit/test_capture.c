// SPDX-License-Identifier: BSD-2-Clause
/* The capture ring (a writer that waits for nobody, a reader that trusts nothing) and the wrapper around a port. */
#include <stdlib.h>
#include <string.h>

#include "ipc/capture.h"
#include "tests/unit/require.h"
#include "tests/unit/suite.h"

#define SNAP 65536U

static struct capture_ring *ring;
static struct capture_writer writer;
static struct capture_reader reader;
static struct capture_record record;
static uint8_t *buffer, *packet;

static void setup(void)
{
    ring = aligned_alloc(4096, sizeof *ring);
    memset(ring, 0, sizeof *ring);
    buffer = malloc(CAPTURE_SNAP_MAX);
    packet = malloc(SNAP);
    capture_writer_init(&writer, ring, SNAP, 1);
    capture_reader_init(&reader, ring);
}

static void teardown(void)
{
    free(ring);
    free(buffer);
    free(packet);
}

/* A packet of which each octet tells its number and place, in three parts. */
static void write_one(uint64_t number, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        packet[i] = (uint8_t)(number * 7 + i);
    struct capture_part part[] = {
        {packet, length / 3}, {packet + length / 3, length / 3}, {packet + length / 3 * 2, length - length / 3 * 2}};
    capture_write(&writer, 1000 + number, CAPTURE_INBOUND, part, 3);
}

static void expect_one(uint64_t number, uint32_t length)
{
    ck_assert(capture_read(&reader, &record, buffer));
    ck_assert_uint_eq(record.time_ns, 1000 + number);
    ck_assert_uint_eq(record.length, length);
    ck_assert_uint_eq(record.original, length);
    ck_assert_uint_eq(record.direction, CAPTURE_INBOUND);
    for (uint32_t i = 0; i < length; i++)
        require(buffer[i] == (uint8_t)(number * 7 + i));
}

START_TEST(test_each_comes_once)
{
    ck_assert(!capture_read(&reader, &record, buffer));
    for (uint64_t n = 0; n < 2000; n++) { /* many times round */
        uint32_t length = (uint32_t)(n * 37 % 9000);
        write_one(n, length);
        expect_one(n, length);
        ck_assert(!capture_read(&reader, &record, buffer));
    }
    ck_assert_uint_eq(capture_lost(&reader), 0);
}
END_TEST

START_TEST(test_overwritten_is_counted)
{
    write_one(0, 10);
    uint64_t count = CAPTURE_OCTETS / 1000 + 100;
    for (uint64_t n = 1; n < count; n++)
        write_one(n, 1000);
    ck_assert(!capture_read(&reader, &record, buffer));
    ck_assert_uint_eq(capture_lost(&reader), count); /* nothing came after, still they are lost */
    write_one(count, 33);
    expect_one(count, 33);
    ck_assert_uint_eq(reader.lost, count);
    ck_assert_uint_eq(capture_lost(&reader), count);
}
END_TEST

/* What is being overwritten while it is copied is not believed. */
START_TEST(test_torn_is_lost)
{
    write_one(0, 100);
    ring->claim = ring->head + CAPTURE_OCTETS; /* the writer is at it */
    ck_assert(!capture_read(&reader, &record, buffer));
    ck_assert_uint_eq(capture_lost(&reader), 1);
}
END_TEST

START_TEST(test_snap)
{
    capture_writer_init(&writer, ring, 60, 1);
    struct capture_part part[] = {{packet, 50}, {packet, 50}, {packet, 50}};
    capture_write(&writer, 1, CAPTURE_OUTBOUND, part, 3);
    ck_assert(capture_read(&reader, &record, buffer));
    ck_assert_uint_eq(record.length, 60);
    ck_assert_uint_eq(record.original, 150);
}
END_TEST

START_TEST(test_next_incarnation_goes_on)
{
    write_one(0, 100);
    capture_writer_init(&writer, ring, SNAP, 2);
    write_one(1, 200);
    expect_one(0, 100);
    expect_one(1, 200);
    ck_assert_uint_eq(capture_lost(&reader), 0);
    ck_assert_uint_eq(ring->incarnation, 2);
}
END_TEST

START_TEST(test_lying_writer)
{
    static const struct {
        const char *name;
        uint64_t head;
        uint32_t length, original;
    } rows[] = {
        {"head far ahead", 1ULL << 60, 4, 4},
        {"head less than a record", 8, 4, 4},
        {"head went back", (uint64_t)-64, 4, 4},
        {"longer than the buffer", 4096, CAPTURE_SNAP_MAX + 1, UINT32_MAX},
        {"longest number", 4096, UINT32_MAX, UINT32_MAX},
        {"beyond the head", 64, 100, 100},
        {"more than there was", 4096, 100, 99},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memset(ring, 0, sizeof *ring);
        capture_reader_init(&reader, ring);
        struct capture_record lie = {.length = rows[i].length, .original = rows[i].original};
        memcpy(ring->octets, &lie, sizeof lie);
        ring->head = ring->claim = rows[i].head;
        ck_assert_msg(!capture_read(&reader, &record, buffer), "%s", rows[i].name);
        ck_assert_msg(!capture_read(&reader, &record, buffer), "%s, again", rows[i].name);
    }
}
END_TEST

/* ---- the wrapper ---- */

static struct ring_half halves[2];
static struct capability entries[2][CAPABILITY_TABLE_MAX];
static struct port port, other;
static unsigned pushed, pulled;
static struct message last;

static void note(struct capture_port *capture, const struct message *message, bool was_pushed)
{
    (void)capture;
    *(was_pushed ? &pushed : &pulled) += 1;
    last = *message;
}

static void ports(void)
{
    memset(halves, 0, sizeof halves);
    pushed = pulled = 0;
    port_init(&port, entries[0]);
    port_init(&other, entries[1]);
    port_attach(&port, &halves[0], &halves[1], NULL);
    port_attach(&other, &halves[1], &halves[0], NULL);
}

START_TEST(test_wrapper_sees_both_ways)
{
    struct capture_port capture = {.record = note};
    struct message m = {.operation = MESSAGE_SEND, .cookie = 7}, got;
    ports();
    capture_wrap(&port, &capture);
    ck_assert(port_push(&port, &m));
    ck_assert_uint_eq(pushed, 1);
    port_flush(&port);
    ck_assert(port_pull(&other, &got));
    ck_assert_uint_eq(got.cookie, 7);
    m.cookie = 8;
    ck_assert(port_push(&other, &m));
    port_flush(&other);
    ck_assert(!port_pull(&other, &got));
    ck_assert(port_pull(&port, &got));
    ck_assert_uint_eq(pulled, 1);
    ck_assert_uint_eq(last.cookie, 8);
    ck_assert(!port_pull(&port, &got));
    ck_assert_uint_eq(pulled, 1); /* nothing came, nothing is seen */
    port_detach(&port);
    ck_assert(!port_push(&port, &m));
    ck_assert_uint_eq(pushed, 1); /* refused, so it did not cross */
    ck_assert(capture_unwrap(&port, &capture));
    ck_assert_ptr_eq(port.operations, &port_ring_operations);
    ck_assert_ptr_null(port.wrapper);
}
END_TEST

START_TEST(test_wrappers_in_each_other)
{
    struct capture_port inner = {.record = note}, outer = {.record = note};
    struct message m = {.operation = MESSAGE_SEND};
    ports();
    capture_wrap(&port, &inner);
    capture_wrap(&port, &outer);
    ck_assert(port_push(&port, &m));
    ck_assert_uint_eq(pushed, 2);
    ck_assert(!capture_unwrap(&port, &inner)); /* it is not on top: it stays, and is silent */
    ck_assert(port_push(&port, &m));
    ck_assert_uint_eq(pushed, 3);
    ck_assert(capture_unwrap(&port, &outer));
    ck_assert(port_push(&port, &m));
    ck_assert_uint_eq(pushed, 3);
    ck_assert(capture_unwrap(&port, &inner));
    ck_assert_ptr_eq(port.operations, &port_ring_operations);
}
END_TEST

SUITE_RUN("capture", setup, teardown, test_each_comes_once, test_overwritten_is_counted, test_torn_is_lost, test_snap,
          test_next_incarnation_goes_on, test_lying_writer, test_wrapper_sees_both_ways, test_wrappers_in_each_other)
