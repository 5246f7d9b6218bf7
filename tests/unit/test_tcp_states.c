// SPDX-License-Identifier: BSD-2-Clause
/* SEGMENT ARRIVES (RFC 9293 3.10.7) as two tables: every step by every state. Each cell is run with initial sequence
 * numbers that wrap at different places. What a cell says: first what goes out,
 *   -  nothing                                a  an ACK of all that the segment brought
 *   A  an ACK of what was received before     s  a SYN-ACK
 *   R  <SEQ=SEG.ACK><CTL=RST>                 r  <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>
 * then the state that follows, if it is another; X and a letter: it ended with 0: no error, Reset, Pipe or reFused.
 *   ?  not said here: TIME-WAIT may answer with an ACK or not */
#include <check.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_harness.h"

#define U TCP_FLAG_URG

static struct bench b;

enum base { UNA, MAX, NEXT = 0, EDGE };

struct row {
    const char *name;
    uint8_t flags;
    enum base seq_base; /* NEXT: what the peer sends next; EDGE: the first octet beyond the ring */
    int32_t seq;
    enum base ack_base; /* UNA: SND.UNA; MAX: all that was sent */
    int32_t ack;
    uint32_t length;
    uint32_t text;  /* octets taken in order, where text is taken */
    size_t counter; /* that moves by one in each state that the table says something of; 0: none is looked at */
    const char *cells[8];
};

#define COUNTS(name) offsetof(struct tcp_counters, name)

static const struct column {
    enum tcp_state state;
    uint32_t next, una, max; /* relative to the initial numbers */
} columns[] = {
    {TCP_SYN_RECEIVED, 1, 0, 1}, {TCP_ESTABLISHED, 1, 1, 1}, {TCP_FIN_WAIT_1, 1, 1, 2}, {TCP_FIN_WAIT_2, 1, 2, 2},
    {TCP_CLOSE_WAIT, 2, 1, 1},   {TCP_CLOSING, 2, 1, 2},     {TCP_LAST_ACK, 2, 1, 2},   {TCP_TIME_WAIT, 2, 2, 2},
};
#define COLUMNS (sizeof columns / sizeof columns[0])

/* clang-format off */
static const struct row rows[] = {
    /* first: the sequence number, at the edges of the four rows of RFC 9293 3.10.7.4 (their windows: the ring) */
    {"old by one octet, ACK of all", A, NEXT, -1, MAX, 0, 0, 0, COUNTS(drop_out_of_window),
        {"A", "A", "AF2", "A", "A", "-TW", "-X0", "A"}},
    {"old by two octets, ACK of all", A, NEXT, -2, MAX, 0, 0, 0, COUNTS(drop_out_of_window),
        {"A", "A", "A", "A", "A", "A", "A", "A"}},
    {"old by one octet, ACK of what was not sent", A, NEXT, -1, MAX, 1, 0, 0, COUNTS(drop_bad_ack),
        {"?", "A", "A", "A", "A", "A", "A", "?"}},
    {"old octet, ACK of all", A, NEXT, -1, MAX, 0, 1, 0, COUNTS(duplicates),
        {"A", "A", "AF2", "A", "A", "-TW", "-X0", "A"}},
    {"old, no text", A, NEXT, -1, UNA, 0, 0, 0, COUNTS(drop_out_of_window),
        {"A", "A", "A", "A", "A", "A", "A", "A"}},
    {"beyond, no text", A, EDGE, 1, MAX, 0, 0, 0, COUNTS(drop_out_of_window),
        {"A", "A", "A", "A", "A", "A", "A", "?"}},
    {"at the edge, no text", A, EDGE, 0, UNA, 0, 0, 0, 0,
        {"R", "-", "-", "-", "-", "-", "-", "?"}},
    {"old text", A, NEXT, -10, MAX, 0, 10, 0, COUNTS(duplicates),
        {"A", "A", "A", "A", "A", "A", "A", "A"}},
    {"text half old", A, NEXT, -10, UNA, 0, 20, 10, 0,
        {"R", "A", "A", "A", "-", "-", "-", "?"}},
    {"text beyond", A, EDGE, 0, MAX, 0, 10, 0, COUNTS(drop_out_of_window),
        {"A", "A", "A", "A", "A", "A", "A", "?"}},
    {"text far beyond", A, EDGE, 0x70000000, MAX, 0, 10, 0, COUNTS(drop_out_of_window),
        {"A", "A", "A", "A", "A", "A", "A", "A"}},
    {"text across the edge", A, EDGE, -5, UNA, 0, 10, 0, 0,
        {"R", "A", "A", "A", "-", "-", "-", "?"}},
    {"last octet of the window", A, EDGE, -1, UNA, 0, 1, 0, 0,
        {"R", "A", "A", "A", "-", "-", "-", "?"}},
    {"all of the window and more", A, NEXT, 0, UNA, 0, 65545, 65536, 0,
        {"R", "A", "A", "A", "-", "-", "-", "?"}},
    /* second: RST (RFC 5961 3.2) */
    {"RST, old", R, NEXT, -1, UNA, 0, 0, 0, COUNTS(drop_out_of_window),
        {"-", "-", "-", "-", "-", "-", "-", "-"}},
    {"RST, beyond", R, EDGE, 1, UNA, 0, 0, 0, COUNTS(drop_out_of_window),
        {"-", "-", "-", "-", "-", "-", "-", "-"}},
    {"RST, exact", R, NEXT, 0, UNA, 0, 0, 0, COUNTS(resets_in),
        {"-XR", "-XR", "-XR", "-XR", "-XP", "-X0", "-X0", "?"}},
    {"RST and all others, exact", R | S | A | F | U | P, NEXT, 0, UNA, 0, 0, 0, COUNTS(resets_in),
        {"-XR", "-XR", "-XR", "-XR", "-XP", "-X0", "-X0", "?"}},
    {"RST, next but one", R, NEXT, 1, UNA, 0, 0, 0, COUNTS(challenge_acks),
        {"A", "A", "A", "A", "A", "A", "A", "?"}},
    {"RST, at the edge", R, EDGE, 0, UNA, 0, 0, 0, COUNTS(drop_out_of_window),
        {"-", "-", "-", "-", "-", "-", "-", "?"}},
    {"RST, near the edge", R, EDGE, -16, UNA, 0, 0, 0, COUNTS(challenge_acks),
        {"A", "A", "A", "A", "A", "A", "A", "?"}},
    /* fourth: SYN (RFC 5961 4.2) */
    {"SYN, old", S, NEXT, -10, UNA, 0, 0, 0, COUNTS(drop_out_of_window),
        {"A", "A", "A", "A", "A", "A", "A", "A"}},
    {"SYN, in the window", S, NEXT, 5, UNA, 0, 0, 0, 0,
        {"-XR", "A", "A", "A", "A", "A", "A", "?"}},
    {"SYN-ACK, in the window", S | A, NEXT, 5, MAX, 0, 0, 0, 0,
        {"-XR", "A", "A", "A", "A", "A", "A", "A"}},
    {"SYN with text, beyond", S, EDGE, 0, UNA, 0, 10, 0, COUNTS(drop_out_of_window),
        {"A", "A", "A", "A", "A", "A", "A", "?"}},
    /* fifth: ACK */
    {"no ACK", 0, NEXT, 0, UNA, 0, 10, 0, COUNTS(drop_no_ack),
        {"-", "-", "-", "-", "-", "-", "-", "?"}},
    {"FIN without ACK", F, NEXT, 0, UNA, 0, 0, 0, COUNTS(drop_no_ack),
        {"-", "-", "-", "-", "-", "-", "-", "?"}},
    {"ACK of what was not sent", A, NEXT, 0, MAX, 1, 10, 0, COUNTS(drop_bad_ack),
        {"R", "A", "A", "A", "A", "A", "A", "?"}},
    {"ACK of half the space beyond", A, NEXT, 0, MAX, 0x7fffffff, 10, 0, COUNTS(drop_bad_ack),
        {"R", "A", "A", "A", "A", "A", "A", "?"}},
    {"ACK older than any window", A, NEXT, 0, UNA, -65536, 10, 0, COUNTS(drop_bad_ack),
        {"R", "A", "A", "A", "A", "A", "A", "?"}},
    {"ACK as old as the window", A, NEXT, 0, UNA, -65535, 0, 0, 0,
        {"R", "-", "-", "-", "-", "-", "-", "-"}},
    {"ACK, old", A, NEXT, 0, UNA, -1, 0, 0, 0,
        {"R", "-", "-", "-", "-", "-", "-", "-"}},
    {"ACK, the same", A, NEXT, 0, UNA, 0, 0, 0, 0,
        {"R", "-", "-", "-", "-", "-", "-", "-"}},
    {"ACK of all", A, NEXT, 0, MAX, 0, 0, 0, 0,
        {"-ES", "-", "-F2", "-", "-", "-TW", "-X0", "-"}},
    /* sixth and seventh: URG, text */
    {"text", A | P, NEXT, 0, UNA, 0, 10, 10, 0,
        {"R", "A", "A", "A", "-", "-", "-", "?"}},
    {"urgent text", A | U, NEXT, 0, UNA, 0, 10, 10, 0,
        {"R", "A", "A", "A", "-", "-", "-", "?"}},
    {"text and ACK of all", A, NEXT, 0, MAX, 0, 10, 10, 0,
        {"AES", "A", "AF2", "A", "-", "-TW", "-X0", "?"}},
    {"text out of order", A, NEXT, 10, UNA, 0, 10, 0, 0,
        {"R", "A", "A", "A", "-", "-", "-", "?"}},
    /* eighth: FIN */
    {"FIN", F | A, NEXT, 0, UNA, 0, 0, 0, 0,
        {"R", "aCW", "aCL", "aTW", "-", "-", "-", "?"}},
    {"FIN and ACK of all", F | A, NEXT, 0, MAX, 0, 0, 0, 0,
        {"aCW", "aCW", "aTW", "aTW", "-", "-TW", "-X0", "?"}},
    {"FIN, text and ACK of all", F | A, NEXT, 0, MAX, 0, 10, 10, 0,
        {"aCW", "aCW", "aTW", "aTW", "-", "-TW", "-X0", "?"}},
    {"FIN behind old text", F | A, NEXT, -5, MAX, 0, 5, 0, 0,
        {"aCW", "aCW", "aTW", "aTW", "-", "-TW", "-X0", "?"}},
    {"FIN, old", F | A, NEXT, -1, MAX, 0, 0, 0, COUNTS(drop_out_of_window),
        {"A", "A", "A", "A", "A", "A", "A", "A"}},
    {"FIN out of order", F | A, NEXT, 10, UNA, 0, 0, 0, 0,
        {"R", "A", "A", "A", "-", "-", "-", "?"}},
    {"FIN at the edge", F | A, EDGE, 0, UNA, 0, 0, 0, 0,
        {"R", "A", "A", "A", "-", "-", "-", "?"}},
    {"FIN beyond", F | A, EDGE, 1, MAX, 0, 0, 0, COUNTS(drop_out_of_window),
        {"A", "A", "A", "A", "A", "A", "A", "A"}},
};

static const struct column early_columns[] = {
    {TCP_CLOSED, 0, 0, 0}, {TCP_LISTEN, 0, 0, 0}, {TCP_SYN_SENT, 0, 0, 1},
};
#define EARLY_COLUMNS (sizeof early_columns / sizeof early_columns[0])

static const struct row early_rows[] = { /* UNA is our ISN, so is CLOSED's and LISTEN's MAX */
    {"SYN", S, NEXT, 0, UNA, 0, 0, 0, 0, {"r", "sSR", "sSR"}},
    {"SYN with text", S, NEXT, 0, UNA, 0, 10, 0, 0, {"r", "sSR", "sSR"}},
    {"SYN, FIN", S | F, NEXT, 0, UNA, 0, 0, 0, 0, {"r", "sSR", "sSR"}},
    {"SYN, URG, PSH", S | U | P, NEXT, 0, UNA, 0, 0, 0, 0, {"r", "sSR", "sSR"}},
    {"SYN-ACK", S | A, NEXT, 0, MAX, 0, 0, 0, 0, {"R", "R", "aES"}},
    {"SYN-ACK with text", S | A, NEXT, 0, MAX, 0, 10, 10, 0, {"R", "R", "aES"}},
    {"SYN-ACK, FIN", S | A | F, NEXT, 0, MAX, 0, 0, 0, 0, {"R", "R", "aCW"}},
    {"SYN-ACK of nothing", S | A, NEXT, 0, UNA, 0, 0, 0, 0, {"R", "R", "R"}},
    {"SYN-ACK of what was not sent", S | A, NEXT, 0, MAX, 1, 0, 0, 0, {"R", "R", "R"}},
    {"SYN-ACK, old", S | A, NEXT, 0, UNA, -1, 0, 0, 0, {"R", "R", "R"}},
    {"ACK", A, NEXT, 0, MAX, 0, 10, 0, 0, {"R", "R", "-"}},
    {"ACK of what was not sent", A, NEXT, 0, MAX, 1, 0, 0, 0, {"R", "R", "R"}},
    {"RST", R, NEXT, 0, UNA, 0, 0, 0, 0, {"-", "-", "-"}},
    {"RST, ACK", R | A, NEXT, 0, MAX, 0, 0, 0, 0, {"-", "-", "-XF"}},
    {"RST, ACK of nothing", R | A, NEXT, 0, UNA, 0, 0, 0, 0, {"-", "-", "-"}},
    {"RST, ACK of what was not sent", R | A, NEXT, 0, MAX, 1, 0, 0, 0, {"-", "-", "-"}},
    {"RST, SYN", R | S, NEXT, 0, UNA, 0, 0, 0, 0, {"-", "-", "-"}},
    {"RST, SYN, ACK", R | S | A, NEXT, 0, MAX, 0, 0, 0, 0, {"-", "-", "-XF"}},
    {"FIN", F, NEXT, 0, UNA, 0, 0, 0, 0, {"r", "-", "-"}},
    {"FIN, ACK", F | A, NEXT, 0, MAX, 0, 0, 0, 0, {"R", "R", "-"}},
    {"text", 0, NEXT, 0, UNA, 0, 10, 0, 0, {"r", "-", "-"}},
    {"no flag", 0, NEXT, 0, UNA, 0, 0, 0, 0, {"r", "-", "-"}},
};
/* clang-format on */

/* Ours and the peer's: both wrap at once, in text, in the window, where the sign changes. */
static const struct {
    uint32_t iss, irs;
} numbers[] = {
    {1, 2},          {0xffffffffU, 0xffffffffU}, {0xfffffffeU, 0x7ffffffeU}, {0x7fffffffU, 0xffff8000U},
    {0x80000000, 0}, {0x7ffffffeU, 0x7fff8000U},
};
#define NUMBERS (sizeof numbers / sizeof numbers[0])

static const char *state_names[] = {"CLOSED",     "LISTEN",     "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1",
                                    "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING",  "LAST-ACK",     "TIME-WAIT"};

struct cell { /* one run */
    const struct row *row;
    const struct column *column;
    const char *says;
    uint32_t seq, ack; /* of the segment */
};

#define cell_require(c, condition)                                                                                     \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg("\"%s\" in %s (ISS %#x, IRS %#x): %s", (c)->row->name, state_names[(c)->column->state],       \
                         b.iss, b.irs, #condition);                                                                    \
    } while (0)

/* Text is taken in order in the states that take it, and where the segment has led there; nowhere else. */
static uint32_t taken(const struct cell *c)
{
    enum tcp_state was = c->column->state;
    bool takes = was == TCP_ESTABLISHED || was == TCP_FIN_WAIT_1 || was == TCP_FIN_WAIT_2 ||
                 (was <= TCP_SYN_RECEIVED && (strcmp(c->says + 1, "ES") == 0 || strcmp(c->says + 1, "CW") == 0));
    return takes ? c->row->text : 0;
}

static void check_reply(const struct cell *c, char kind)
{
    struct tcp_output out;
    struct tcp_header h = {0};
    bool spoke = host_poll(&b.h, &out);
    if (kind == '-') {
        cell_require(c, !spoke);
        return;
    }
    cell_require(c, spoke && out.payload_length == 0);
    memcpy(&h, out.header, sizeof h);
    if (h.flags & S)
        b.iss = be32_get(h.sequence);
    uint32_t seq = be32_get(h.sequence), ack = be32_get(h.acknowledgement);
    uint32_t end = c->seq + c->row->length + ((c->row->flags & S) != 0) + ((c->row->flags & F) != 0);
    switch (kind) {
    case 'A':
        cell_require(c, h.flags == A && seq == b.iss + c->column->max && ack == b.irs + c->column->next + taken(c));
        break;
    case 'a':
        cell_require(c, h.flags == A && seq == b.iss + c->column->max && ack == b.irs + end);
        break;
    case 's':
        cell_require(c, h.flags == (S | A) && ack == b.irs + 1);
        break;
    case 'R':
        cell_require(c, h.flags == R && seq == b.iss + c->ack && out.conn == TCP_NONE);
        break;
    default:
        cell_require(c, h.flags == (R | A) && seq == 0 && ack == b.irs + end && out.conn == TCP_NONE);
        break;
    }
    cell_require(c, !host_poll(&b.h, &out));
}

static const struct {
    const char *code;
    enum tcp_state state;
    enum tcp_error error;
} outcomes[] = {
    {"SR", TCP_SYN_RECEIVED, 0},
    {"ES", TCP_ESTABLISHED, 0},
    {"F2", TCP_FIN_WAIT_2, 0},
    {"CW", TCP_CLOSE_WAIT, 0},
    {"CL", TCP_CLOSING, 0},
    {"TW", TCP_TIME_WAIT, 0},
    {"X0", TCP_CLOSED, 0},
    {"XR", TCP_CLOSED, TCP_ERROR_RESET},
    {"XP", TCP_CLOSED, TCP_ERROR_PIPE},
    {"XF", TCP_CLOSED, TCP_ERROR_REFUSED},
};

static void check_state(const struct cell *c)
{
    enum tcp_state state = c->column->state;
    enum tcp_error error = TCP_ERROR_NONE;
    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++) {
        if (strcmp(c->says + 1, outcomes[i].code) == 0) {
            state = outcomes[i].state;
            error = outcomes[i].error;
        }
    }
    if (b.conn == TCP_NONE) /* CLOSED */
        return;
    if (state == TCP_TIME_WAIT) {
        cell_require(c, bench_in_time_wait(&b));
        return;
    }
    cell_require(c, state_of(&b) == state);
    cell_require(c, !bench_in_time_wait(&b));
    if (state == TCP_CLOSED)
        cell_require(c, b.h.last_ended == b.conn && b.h.last_error == error);
}

static uint64_t counter(const struct row *row)
{
    uint64_t value;
    memcpy(&value, (const uint8_t *)counters_of(&b) + row->counter, sizeof value);
    return value;
}

static void check_text(const struct cell *c)
{
    if (b.conn != TCP_NONE && c->column->state != TCP_TIME_WAIT && c->says[0] != 'R')
        cell_require(c, conn_of(&b)->receive_next == taken(c));
}

static void run_cell(const struct row *row, const struct column *column, const char *says, size_t n)
{
    struct cell c = {.row = row, .column = column, .says = says};
    if (says[0] == '?')
        return;
    bench_init(&b, numbers[n].irs);
    bench_choose_iss(&b, numbers[n].iss);
    b.half_close = true;
    bench_state(&b, column->state);
    if (column->state == TCP_LISTEN)
        b.conn = TCP_NONE; /* what comes of it */
    if (column->state >= TCP_SYN_SENT)
        cell_require(&c, b.iss == numbers[n].iss);
    c.seq = (row->seq_base == EDGE ? 1 + b.receive_size : column->next) + (uint32_t)row->seq;
    c.ack = (row->ack_base == MAX ? column->max : column->una) + (uint32_t)row->ack;
    uint64_t before = counter(row);
    inject(&b, row->flags, c.seq, c.ack, row->length);
    check_reply(&c, says[0]);
    host_drain(&b.h);
    check_state(&c);
    check_text(&c);
    if (row->counter != 0 && column->state != TCP_TIME_WAIT)
        cell_require(&c, counter(row) == before + 1);
    bench_fini(&b);
}

START_TEST(test_segment_arrives)
{
    for (size_t n = 0; n < NUMBERS; n++)
        for (size_t s = 0; s < COLUMNS; s++)
            run_cell(&rows[_i], &columns[s], rows[_i].cells[s], n);
}
END_TEST

START_TEST(test_segment_arrives_early)
{
    for (size_t n = 0; n < NUMBERS; n++)
        for (size_t s = 0; s < EARLY_COLUMNS; s++)
            run_cell(&early_rows[_i], &early_columns[s], early_rows[_i].cells[s], n);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tcp_states");
    TCase *tc = tcase_create("tcp_states");
    tcase_add_loop_test(tc, test_segment_arrives, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_loop_test(tc, test_segment_arrives_early, 0, (int)(sizeof early_rows / sizeof early_rows[0]));
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
