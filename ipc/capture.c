// SPDX-License-Identifier: BSD-2-Clause
#include "ipc/capture.h"

#include <string.h>

static uint64_t record_octets(uint32_t length)
{
    return sizeof(struct capture_record) + ((length + 7U) & ~7U);
}

/* ---- writer ---- */

void capture_writer_init(struct capture_writer *writer, struct capture_ring *ring, uint32_t snap, uint32_t incarnation)
{
    *writer = (struct capture_writer){.ring = ring, .snap = snap < CAPTURE_SNAP_MAX ? snap : CAPTURE_SNAP_MAX};
    writer->head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED) & ~7ULL;
    writer->sequence = __atomic_load_n(&ring->sequence, __ATOMIC_RELAXED);
    __atomic_store_n(&ring->incarnation, incarnation, __ATOMIC_RELEASE);
}

static void put(struct capture_writer *writer, uint64_t *at, const void *octets, uint32_t length)
{
    uint32_t start = (uint32_t)(*at % CAPTURE_OCTETS);
    uint32_t first = length < CAPTURE_OCTETS - start ? length : CAPTURE_OCTETS - start;
    memcpy(writer->ring->octets + start, octets, first);
    memcpy(writer->ring->octets, (const uint8_t *)octets + first, length - first);
    *at += length;
}

void capture_write(struct capture_writer *writer, uint64_t time_ns, uint32_t direction, const struct capture_part *part,
                   unsigned count)
{
    struct capture_record record = {.sequence = writer->sequence, .time_ns = time_ns, .direction = direction};
    for (unsigned i = 0; i < count; i++)
        record.original += part[i].length;
    record.length = record.original < writer->snap ? record.original : writer->snap;
    uint64_t at = writer->head, end = at + record_octets(record.length);
    __atomic_store_n(&writer->ring->claim, end, __ATOMIC_RELAXED); /* (F) */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    put(writer, &at, &record, sizeof record);
    uint32_t left = record.length;
    for (unsigned i = 0; i < count; i++) {
        uint32_t length = part[i].length < left ? part[i].length : left;
        if (length > 0)
            put(writer, &at, part[i].octets, length);
        left -= length;
    }
    writer->head = end;
    writer->sequence++;
    __atomic_store_n(&writer->ring->sequence, writer->sequence, __ATOMIC_RELAXED);
    __atomic_store_n(&writer->ring->head, end, __ATOMIC_RELEASE); /* (F) */
}

/* ---- reader ---- */

void capture_reader_init(struct capture_reader *reader, const struct capture_ring *ring)
{
    *reader = (struct capture_reader){.ring = ring};
    reader->tail = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
    reader->next = __atomic_load_n(&ring->sequence, __ATOMIC_RELAXED);
}

static void get(const struct capture_reader *reader, uint64_t at, void *octets, uint32_t length)
{
    uint32_t start = (uint32_t)(at % CAPTURE_OCTETS);
    uint32_t first = length < CAPTURE_OCTETS - start ? length : CAPTURE_OCTETS - start;
    memcpy(octets, reader->ring->octets + start, first);
    memcpy((uint8_t *)octets + first, reader->ring->octets, length - first);
}

/* The writer has not come round to what was copied from `at` on. */
static bool is_whole(const struct capture_reader *reader, uint64_t at)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&reader->ring->claim, __ATOMIC_RELAXED) - at <= CAPTURE_OCTETS; /* (f) */
}

bool capture_read(struct capture_reader *reader, struct capture_record *ret, uint8_t *buffer)
{
    uint64_t head = __atomic_load_n(&reader->ring->head, __ATOMIC_ACQUIRE); /* (f) */
    struct capture_record record;
    if (head == reader->tail)
        return false;
    if (head - reader->tail > CAPTURE_OCTETS || head - reader->tail < sizeof record) {
        reader->tail = head; /* overwritten: the numbers tell how many */
        return false;
    }
    get(reader, reader->tail, &record, sizeof record);
    bool fits = is_whole(reader, reader->tail) && record.length <= CAPTURE_SNAP_MAX &&
                record.length <= record.original && record_octets(record.length) <= head - reader->tail;
    if (fits)
        get(reader, reader->tail + sizeof record, buffer, record.length);
    if (!fits || !is_whole(reader, reader->tail)) {
        reader->tail = head;
        return false;
    }
    reader->tail += record_octets(record.length);
    reader->lost += record.sequence - reader->next;
    reader->next = record.sequence + 1;
    *ret = record;
    return true;
}

uint64_t capture_lost(const struct capture_reader *reader)
{
    uint64_t head = __atomic_load_n(&reader->ring->head, __ATOMIC_ACQUIRE);
    uint64_t behind = __atomic_load_n(&reader->ring->sequence, __ATOMIC_RELAXED) - reader->next;
    return reader->lost + (head == reader->tail ? behind : 0);
}

/* ---- the wrapper ---- */

static bool capture_push(struct port *port, const struct message *message)
{
    struct capture_port *capture = port->wrapper;
    port->wrapper = capture->inner_wrapper;
    bool done = capture->inner->push(port, message);
    port->wrapper = capture;
    if (done && capture->record != NULL)
        capture->record(capture, message, true);
    return done;
}

static bool capture_pull(struct port *port, struct message *ret)
{
    struct capture_port *capture = port->wrapper;
    port->wrapper = capture->inner_wrapper;
    bool done = capture->inner->pull(port, ret);
    port->wrapper = capture;
    if (done && capture->record != NULL)
        capture->record(capture, ret, false);
    return done;
}

static const struct port_operations capture_operations = {.push = capture_push, .pull = capture_pull};

void capture_wrap(struct port *port, struct capture_port *capture)
{
    capture->inner = port->operations;
    capture->inner_wrapper = port->wrapper;
    port->operations = &capture_operations;
    port->wrapper = capture;
}

bool capture_unwrap(struct port *port, struct capture_port *capture)
{
    capture->record = NULL;
    if (port->operations != &capture_operations || port->wrapper != capture)
        return false;
    port->operations = capture->inner;
    port->wrapper = capture->inner_wrapper;
    return true;
}
