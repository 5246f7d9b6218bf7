// SPDX-License-Identifier: BSD-2-Clause
/* Rings that grow in place, against a model that knows each octet by its stream offset: what a position holds is
 * remembered, and an octet that is live has to be found where it was put. */
#include "protocols/tcp/ring.h"
#include "tests/unit/require.h"
#include "tests/unit/suite.h"

#define STEP  RING_STEP
#define MOST  (16 * STEP)
#define EMPTY UINT64_MAX

static const uint32_t starts[] = {0, 1, STEP, 0x7ffffff0, 0x80000000 - 3 * STEP, UINT32_MAX - 5 * STEP + 7, UINT32_MAX};

/* The writer puts octets [tail, head), out of order too; the reader finds them. Octets are counted in 64 bits here. */
struct model {
    struct ring_shape writer, reader; /* the reader's is what it was told last */
    uint64_t tail, head, edge;        /* edge: promised */
    uint32_t start;                   /* stream offset of octet 0 */
    uint64_t holds[MOST];             /* by position */
};

static uint32_t offset_of(const struct model *m, uint64_t octet)
{
    return m->start + (uint32_t)octet;
}

static void model_init(struct model *m, uint32_t size, uint32_t start)
{
    *m = (struct model){.writer = ring_make(size), .reader = ring_make(size), .start = start};
    m->edge = size;
    for (uint32_t i = 0; i < MOST; i++)
        m->holds[i] = EMPTY;
}

static bool is_live(const struct model *m, uint64_t octet)
{
    return octet != EMPTY && octet >= m->tail && octet < m->edge;
}

static void put(struct model *m, uint64_t octet)
{
    uint32_t at = ring_position(&m->writer, offset_of(m, octet));
    require(at < m->writer.next_size);
    require(!is_live(m, m->holds[at]) || m->holds[at] == octet);
    m->holds[at] = octet;
}

static void take(struct model *m, uint64_t octet)
{
    require(m->holds[ring_position(&m->reader, offset_of(m, octet))] == octet);
}

static void consume_to(struct model *m, uint64_t tail)
{
    for (; m->tail < tail; m->tail++)
        take(m, m->tail);
    (void)ring_settle(&m->writer, offset_of(m, m->tail));
    uint64_t edge = m->tail + ring_room(&m->writer, offset_of(m, m->tail));
    require(edge >= m->edge); /* a right edge is never taken back */
    m->edge = edge;
}

static void grow(struct model *m, uint32_t size)
{
    if (ring_grow(&m->writer, size, offset_of(m, m->edge)))
        m->reader = m->writer;
}

/* Octets up to the edge, those in the middle last, as after a loss. */
static void fill(struct model *m, uint32_t from_end)
{
    uint64_t hole = m->edge - (m->edge - m->head) / 2;
    for (uint64_t i = hole; i < m->edge - from_end && i < m->edge; i++)
        put(m, i);
    if (m->edge - m->head > 0 && hole > m->head) { /* held out of order while it grows */
        grow(m, m->writer.size * 2 <= MOST ? m->writer.size * 2 : 0);
        for (uint64_t i = m->head; i < hole; i++)
            put(m, i);
    }
    m->head = m->edge - from_end;
}

static void growth_with_octets_out_of_order(uint32_t start)
{
    static struct model m;
    model_init(&m, STEP, start);
    for (int round = 0; round < 200; round++) {
        uint32_t step = (uint32_t)(round * 37) % 300;
        fill(&m, step);
        if (round % 3 == 0)
            m.reader = m.writer; /* told of what is over */
        consume_to(&m, m.tail + (m.head - m.tail) * (uint64_t)(1 + round % 4) / 4);
    }
    ck_assert_uint_eq(m.writer.next_size, MOST);
    consume_to(&m, m.head);
    ck_assert_uint_gt(m.tail, 2 * MOST);
}

START_TEST(test_growth_with_octets_out_of_order)
{
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        growth_with_octets_out_of_order(starts[i]);
}
END_TEST

/* Growth at each phase of a ring, by each factor, with each part of it consumed. */
static void growth_at_every_phase(uint32_t start)
{
    static struct model m;
    for (uint32_t phase = 0; phase < 2 * STEP; phase += 61) {
        for (uint32_t to = 2 * STEP; to <= MOST; to *= 2) {
            model_init(&m, STEP, start);
            for (uint64_t i = 0; i < STEP; i++)
                put(&m, i);
            m.head = m.edge;
            consume_to(&m, phase % (STEP + 1));
            grow(&m, to);
            ck_assert(ring_grows(&m.writer));
            uint32_t wait = m.writer.turn - offset_of(&m, m.edge);
            ck_assert_uint_lt(wait, STEP);
            while (m.tail < 3 * (uint64_t)to) { /* a reader with the word of the beginning is right to the end */
                for (; m.head < m.edge; m.head++)
                    put(&m, m.head);
                consume_to(&m, m.tail + 1 + (m.head - m.tail) * 2 / 3);
            }
            ck_assert_uint_eq(ring_room(&m.writer, offset_of(&m, m.tail)), to);
            ck_assert(!ring_grows(&m.writer));
        }
    }
}

START_TEST(test_growth_at_every_phase)
{
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        growth_at_every_phase(starts[i]);
}
END_TEST

static void runs_end_at_the_turn(uint32_t start)
{
    struct ring_shape r = ring_make(STEP);
    ck_assert(ring_grow(&r, 4 * STEP, start));
    ck_assert_uint_eq(ring_position(&r, r.turn), 0);
    ck_assert_uint_eq(ring_run(&r, r.turn), 4 * STEP);
    for (uint32_t before = 1; before <= STEP; before++) {
        require(ring_run(&r, r.turn - before) == before);
        require(ring_room(&r, r.turn - before) == STEP);
    }
    ck_assert(!ring_settle(&r, r.turn - 1));
    ck_assert(ring_settle(&r, r.turn));
    ck_assert(!ring_settle(&r, r.turn));
}

START_TEST(test_runs_end_at_the_turn)
{
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        runs_end_at_the_turn(starts[i]);
}
END_TEST

START_TEST(test_no_growth)
{
    struct ring_shape r = ring_make(4 * STEP);
    ck_assert(!ring_grow(&r, 4 * STEP, 0) && !ring_grow(&r, 2 * STEP, 0) && !ring_grow(&r, 12 * STEP, 0));
    ck_assert(!ring_grow(&r, 0, 0) && !ring_grow(&r, RING_SIZE_MAX * 2, 0));
    ck_assert(ring_grow(&r, 8 * STEP, 0));
    ck_assert(!ring_grow(&r, 16 * STEP, 0)); /* one is under way */
}
END_TEST

/* What a neighbour may say. */
START_TEST(test_words)
{
    struct ring_shape r = ring_make(STEP), got = {0};
    ck_assert(ring_grow(&r, 8 * STEP, 0x8123457));
    ck_assert(ring_of_word(ring_word(&r), 8 * STEP, &got));
    ck_assert(got.size == STEP && got.next_size == 8 * STEP && got.turn == r.turn);
    ck_assert(!ring_of_word(ring_word(&r), 4 * STEP, &got)); /* more than there is place for */
    ck_assert(!ring_of_word(0, MOST, &got));
    for (uint32_t word = 0; word < 1024; word++) {
        uint32_t size = word & 31, next = word >> 5;
        bool good = size >= 10 && next >= size && next <= 14;
        ck_assert_msg(ring_of_word(word | 7U << 20, MOST, &got) == good, "word %x", word);
        if (good)
            ck_assert_uint_lt(ring_position(&got, UINT32_MAX), MOST);
    }
}
END_TEST

SUITE_RUN("tcp_ring", NULL, NULL, test_growth_with_octets_out_of_order, test_growth_at_every_phase,
          test_runs_end_at_the_turn, test_no_growth, test_words)
