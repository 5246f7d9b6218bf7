// SPDX-License-Identifier: BSD-2-Clause
/* Rings that grow, as the tcp server sees them: an application that writes anything into the words that tell of it. */
#include "protocols/tcp/ring.h"
#include "tests/unit/server_tcp_peer.h"

#define PLACE  8U /* times the size that the rings begin with */
#define ROUNDS 30000U

static uint64_t random_state;

static uint32_t below(uint32_t n)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(random_state >> 33) % n;
}

static void setup_growing(void)
{
    h = harness_new(&server_tcp, SERVER_TCP, 6);
    harness_arena_place(h, 0, SESSION_TCP, HARNESS_SLOTS, PLACE);
    peer_new();
    harness_turn(h);
    ck_assert_uint_eq(reconciled().operation, MESSAGE_ALIVE_END);
}

/* A shape that may be taken, now and then nonsense. */
static uint32_t any_shape(uint32_t head)
{
    uint32_t size = HARNESS_SEND << below(4), next = HARNESS_SEND << below(5);
    const struct ring_shape shape = {.size = size, .next_size = next, .turn = (head + below(3) * size) & ~(size - 1)};
    const uint32_t words[] = {0, ring_word(&shape), ring_word(&shape), ring_word(&shape), below(UINT32_MAX)};
    return words[below(5)];
}

static void app_lies(const struct message *m)
{
    struct slot_app *app = harness_app(h, 0, m->socket.slot);
    const struct slot_transport *w = words(m);
    uint32_t tail = w->send_tail, head = w->receive_head;
    if (below(4) == 0)
        app->send_ring = any_shape(app->send_head);
    if (below(4) == 0)
        app->receive_granted = below(2) == 0 ? HARNESS_RECEIVE << below(6) : below(UINT32_MAX);
    app->send_head = below(8) == 0 ? tail + below(PLACE * HARNESS_SEND) : app->send_head + below(3000);
    app->receive_tail = below(8) == 0 ? head - below(PLACE * HARNESS_RECEIVE) : head;
    harness_notify(h, 0, m->socket.slot);
}

/* What lies behind the slot's own ring is nobody's: all zero in the other's place. */
static void check_neighbour(uint32_t slot)
{
    const uint8_t *ring = harness_receive_ring(h, 0, slot);
    for (uint32_t i = 0; i < PLACE * HARNESS_RECEIVE; i++)
        if (ring[i] != 0)
            ck_abort_msg("octet %u of the ring of slot %u was written", i, slot);
}

static void peer_talks(void)
{
    static const uint8_t text[3000] = {[0 ... 2999] = 0x5a};
    const struct tcp_conn *c = tcp_conn_at(peer.tcp, peer.conn);
    if (c->state != TCP_ESTABLISHED)
        return;
    uint32_t room = c->send_acked + PEER_RING - c->send_end, n = below(sizeof text);
    peer_write(text, n < room ? n : room);
    tcp_receive_consumed(peer.tcp, h->now_us, peer.conn, c->receive_next);
}

/* harness_at() looks that what goes out is of the arena, and here that it is of the slot. */
static void pump_checked(const struct message *m)
{
    struct message out;
    const uint8_t *ring = harness_send_ring(h, 0, m->socket.slot);
    peer_output();
    harness_turn(h);
    while (harness_sent(h, &out)) {
        const struct message_reference *r = &out.reference[1];
        if (r->length > 0) {
            const uint8_t *at = harness_at(h, r);
            ck_assert(at >= ring && at + r->length <= ring + PLACE * HARNESS_SEND);
        }
        peer_input(&out);
        harness_return(h, out.cookie);
    }
}

START_TEST(any_words)
{
    random_state = (uint64_t)_i + 1;
    listen_answer();
    struct message m = accept_one();
    for (uint32_t i = 0; i < ROUNDS; i++) {
        app_lies(&m);
        peer_talks();
        pump_checked(&m);
        if (i % 64 == 0)
            h->now_us += 5000;
    }
    ck_assert_uint_lt(m.socket.slot + 1, HARNESS_SLOTS);
    check_neighbour(m.socket.slot + 1);
    ck_assert_uint_gt(harness_counter(h, "tcp_rings_grown"), 0);
    ck_assert_uint_gt(harness_counter(h, "drop_send_ring"), 0);
    const struct ring_shape most = ring_make(PLACE * HARNESS_RECEIVE);
    struct ring_shape now;
    ck_assert(ring_of_word(words(&m)->receive_ring, most.size, &now));
    close_socket(CHILD);
    peer_talks();
    pump(4);
}
END_TEST

/* What a growth left behind, on either side, says nothing of the slot's next use; nor after a death in its middle. */
START_TEST(a_slot_begins_anew)
{
    listen_answer();
    struct message m = accept_one();
    const struct ring_shape small = ring_make(HARNESS_SEND), large = {HARNESS_SEND, 4 * HARNESS_SEND, HARNESS_SEND};
    app_write(&m, "first", 5);
    harness_app(h, 0, m.socket.slot)->send_ring = ring_word(&large);
    harness_notify(h, 0, m.socket.slot);
    pump(4);
    ck_assert_uint_eq(harness_counter(h, "tcp_rings_grown"), 1);
    if (_i == 1) {
        h->config.recovery = STACK_RECOVERY_LISTENERS;
        harness_restart(h);
        h->server->session_added(h->state, 0);
        pump(4);
        ck_assert_uint_eq(words(&m)->state, SLOT_ERROR | SLOT_CLOSED);
        reconciled();
    }
    close_socket(CHILD);
    pump(4);
    uint32_t slot = m.socket.slot;
    if (_i == 0)
        tcp_close(peer.tcp, h->now_us, peer.conn);
    settle();
    m = accept_one();
    ck_assert_uint_eq(m.socket.slot, slot);
    ck_assert_uint_eq(words(&m)->receive_ring, ring_word(&small));
    uint8_t all[HARNESS_SEND];
    memset(all, 0x77, sizeof all);
    app_write(&m, all, sizeof all);
    settle();
    ck_assert_uint_eq(words(&m)->send_tail, HARNESS_SEND);
    ck_assert_mem_eq(peer.receive, all, sizeof all);
    harness_app(h, 0, m.socket.slot)->send_head = 2 * HARNESS_SEND + 1; /* the small ring's limit holds */
    harness_notify(h, 0, m.socket.slot);
    ck_assert_uint_eq(harness_counter(h, "drop_send_head"), 1);
    close_socket(CHILD);
    pump(4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server_tcp_growth");
    TCase *tests = tcase_create("server_tcp_growth");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup_growing, teardown);
    tcase_add_loop_test(tests, any_words, 0, 4);
    tcase_add_loop_test(tests, a_slot_begins_anew, 0, 2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
