// SPDX-License-Identifier: BSD-2-Clause
/* The TCP server between a test that plays ip, socket server and application, and a second engine as the peer. */
#include "tests/unit/require.h"
#include "tests/unit/server_tcp_peer.h"

/* ---- tests ---- */
START_TEST(test_accept_and_data)
{
    ck_assert_int_eq(listen_answer().socket.error, 0);
    struct message m = accept_one();
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);

    peer_write("hello", 5);
    pump(3);
    ck_assert_uint_eq(words(&m)->receive_head, 5);
    ck_assert_mem_eq(harness_receive_ring(h, m.socket.arena, m.socket.slot), "hello", 5);

    uint8_t big[10000];
    for (uint32_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i * 7);
    for (unsigned round = 0; round < 5; round++) { /* round the ends of both rings */
        app_write(&m, big, sizeof big);
        settle();
        uint32_t at = round * (uint32_t)sizeof big;
        for (uint32_t i = 0; i < sizeof big; i++)
            require(peer.receive[(at + i) % PEER_RING] == big[i]);
        tcp_receive_consumed(peer.tcp, h->now_us, peer.conn, at + sizeof big);
        ck_assert_uint_eq(words(&m)->send_tail, at + sizeof big);

        peer_write(big, sizeof big);
        settle();
        uint8_t *ring = harness_receive_ring(h, m.socket.arena, m.socket.slot);
        for (uint32_t i = 0; i < sizeof big; i++)
            require(ring[(5 + at + i) % HARNESS_RECEIVE] == big[i]);
        ck_assert_uint_eq(words(&m)->receive_head, 5 + at + sizeof big);
        harness_app(h, 0, m.socket.slot)->receive_tail = 5 + at + sizeof big;
        harness_notify(h, 0, m.socket.slot);
        pump(2);
    }
    ck_assert_uint_eq(h->tx[0]->notify_producer, h->rx[0]->notify_consumer);
    close_socket(CHILD);
    pump(4);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    ck_assert(tcp_conn_at(peer.tcp, peer.conn)->fin_received);
}
END_TEST

START_TEST(test_loans_hold_the_tail)
{
    listen_answer();
    struct message m = accept_one();
    peer.keep_loans = true;
    app_write(&m, "0123456789", 10);
    settle(); /* acknowledged by now */
    ck_assert_mem_eq(peer.receive, "0123456789", 10);
    ck_assert_uint_eq(words(&m)->send_tail, 0);
    close_socket(CHILD);
    tcp_close(peer.tcp, h->now_us, peer.conn);
    pump(4);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1); /* the slot waits for its loan */
    peer.keep_loans = false;
    for (uint32_t i = 0; i < peer.kept_count; i++)
        harness_return(h, peer.kept[i]);
    peer.kept_count = 0;
    harness_turn(h);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_connect)
{
    struct tcp_identity id = {.local = them, .local_port = 80, .arena = NONE};
    uint32_t listener;
    ck_assert_int_eq(tcp_listen(peer.tcp, &id, 4, PEER_RING, PEER_RING, &listener), TCP_CALL_OK);
    uint32_t told = h->rx[0]->ready_producer;
    struct message m = connect_to(80);
    ck_assert_int_eq(m.socket.error, 0);
    ck_assert_uint_ge(m.source_port, 1024);
    ck_assert_uint_eq(h->rx[0]->ready_producer, told); /* a SYN is no news to who waits for its answer */
    take_slot(&m);
    struct message again = connect_to(80); /* idempotent */
    ck_assert_uint_eq(again.socket.connection, m.socket.connection);
    ck_assert_uint_eq(again.socket.generation, m.socket.generation);
    app_write(&m, "early", 5); /* before it is connected */
    pump(6);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED);
    ck_assert_mem_eq(peer.receive, "early", 5);
    tcp_close(peer.tcp, h->now_us, peer.conn);
    tcp_receive_consumed(peer.tcp, h->now_us, peer.conn, 5);
    pump(4);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED | SLOT_ERROR | SLOT_CLOSED); /* unread: reset */
    close_socket(ACTIVE);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_connect_refused)
{
    struct message m = connect_to(81);
    ck_assert_int_eq(m.socket.error, 0);
    pump(4);
    ck_assert_uint_eq(words(&m)->state, SLOT_ERROR | SLOT_CLOSED);
    ck_assert_uint_eq(words(&m)->error, ECONNREFUSED);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1); /* until it was closed */
    close_socket(ACTIVE);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_peer_closes)
{
    listen_answer();
    struct message m = accept_one();
    peer_write("bye", 3);
    tcp_shutdown_send(peer.tcp, h->now_us, peer.conn);
    pump(4);
    ck_assert_uint_eq(words(&m)->receive_head, 3);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED | SLOT_FIN);
    harness_app(h, 0, m.socket.slot)->flags = SLOT_APP_SHUTDOWN;
    app_write(&m, "bye too", 7);
    pump(4);
    ck_assert_mem_eq(peer.receive, "bye too", 7);
    ck_assert_uint_eq(words(&m)->state, SLOT_CONNECTED | SLOT_FIN | SLOT_DRAINED | SLOT_CLOSED);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1); /* "bye" may still be read */
    close_socket(CHILD);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_close_listener_with_waiting_child)
{
    listen_answer();
    peer_connect();
    pump(4);
    struct message m;
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    close_socket(LISTENER);
    pump(3);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_CLOSED);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_no_slot)
{
    listen_answer();
    struct tcp_identity id = {.local = them, .remote = us, .remote_port = PORT};
    for (unsigned i = 0; i < HARNESS_SLOTS + 1; i++)
        ck_assert_int_eq(tcp_connect(peer.tcp, h->now_us, &id, PEER_RING, PEER_RING, &peer.conn), TCP_CALL_OK);
    pump(4);
    ck_assert_uint_eq(h->rx[0]->free_slots, 0);
    struct message m;
    for (unsigned i = 0; i < HARNESS_SLOTS; i++)
        ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    ck_assert(!harness_told(h, MESSAGE_ESTABLISHED, &m));
    ck_assert_uint_ge(harness_counter(h, "drop_no_slot"), 1);
    harness_arena(h, 1, SESSION_TCP, 2); /* the application adds one; the peer's next try gets in */
    h->now_us += 2000000;
    pump(4);
    ck_assert_uint_eq(h->rx[1]->free_slots, 1);
}
END_TEST

START_TEST(test_session_end)
{
    listen_answer();
    accept_one();
    struct message m;
    harness_session_end(h);
    harness_turn(h);
    pump(4);
    ck_assert(harness_told(h, MESSAGE_LOST, &m));
    ck_assert_uint_eq(m.socket.connection, NONE);
    ck_assert_uint_eq(m.socket.socket, 0);
    ck_assert(!harness_told(h, MESSAGE_LOST, &m));
    ck_assert_int_eq(listen_answer().socket.error, ESHUTDOWN);
}
END_TEST

START_TEST(test_ip_restart)
{
    listen_answer();
    struct message m = accept_one();
    peer.keep_loans = true;
    peer.drop = 1;
    app_write(&m, "again", 5);
    pump(1);
    ck_assert_uint_eq(peer.kept_count, 1);
    h->server->peer_lost(h->state, SERVER_IP);
    h->server->peer_attached(h->state, SERVER_IP, h->now_us);
    peer.keep_loans = false;
    peer.kept_count = 0;
    ck_assert(pool_all_home(&h->pool));
    h->now_us += 3000000;
    settle();
    ck_assert_mem_eq(peer.receive, "again", 5); /* retransmitted */
    ck_assert_uint_eq(words(&m)->send_tail, 5);
}
END_TEST

/* ---- lies ---- */
START_TEST(test_application_lies)
{
    listen_answer();
    struct message m = accept_one();
    struct slot_app *app = harness_app(h, 0, m.socket.slot);
    static const struct {
        const char *counter;
        struct slot_app words; /* generation: added to the right one */
    } lies[] = {
        {"notify_stale", {.generation = 1, .send_head = 5}},
        {"drop_send_head", {.send_head = HARNESS_SEND + 1}},
        {"drop_send_head", {.send_head = UINT32_MAX}},
        {"drop_receive_tail", {.receive_tail = 1}},
        {"drop_receive_tail", {.receive_tail = UINT32_MAX}},
        {"drop_send_ring", {.send_ring = 1}},
        {"drop_send_ring", {.send_ring = UINT32_MAX}},
        {"drop_send_ring", {.send_ring = 31U << 5 | 31}},
        {"drop_send_ring", {.send_ring = 20U << 5 | 14}},
        {"drop_send_ring", {.send_ring = HARNESS_SEND | 14U << 5 | 14}},
    };
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        *app = lies[i].words;
        app->generation += m.socket.generation;
        uint64_t before = harness_counter(h, lies[i].counter);
        harness_notify(h, 0, m.socket.slot);
        ck_assert_uint_gt(harness_counter(h, lies[i].counter), before);
    }
    *app = (struct slot_app){.generation = m.socket.generation};
    harness_notify(h, 0, HARNESS_SLOTS);
    harness_notify(h, 0, UINT32_MAX);
    ck_assert_uint_eq(harness_counter(h, "drop_notify_slot"), 2);
    h->tx[0]->notify_producer += ARENA_SLOTS_MAX + 1;
    app_write(&m, "x", 0);
    app->send_head = 3;
    memcpy(harness_send_ring(h, 0, m.socket.slot), "yes", 3);
    pump(4);
    ck_assert_uint_eq(harness_counter(h, "notify_resync"), 1);
    ck_assert_mem_eq(peer.receive, "yes", 3); /* found by looking at every slot */
}
END_TEST

static void receive_lie(struct message lie, const char *counter)
{
    uint8_t segment[40] = {0};
    struct message m = {.source = them,
                        .destination = us,
                        .source_port = 1,
                        .destination_port = PORT,
                        .protocol = 6,
                        .checksum_state = MESSAGE_CHECKSUM_VALID};
    uint64_t before = harness_counter(h, counter);
    if (lie.protocol != 0)
        m.protocol = lie.protocol;
    if (lie.destination.family != 0)
        m.destination = lie.destination;
    m.checksum_state = lie.checksum_state;
    m.operation = MESSAGE_RECEIVE;
    m.capability = lie.capability;
    m.generation = 1;
    m.cookie = 3;
    memcpy(h->foreign + 64, segment, sizeof segment);
    m.reference[0] = lie.reference[0];
    ck_assert(port_push(&h->ip_end, &m));
    h->lent++;
    ck_assert_msg(harness_counter(h, counter) > before, "%s", counter);
}

START_TEST(test_ip_lies)
{
    struct message sent;
    const struct message_reference good = {HARNESS_POOL, 1, 64, 40};
    receive_lie((struct message){.capability = 2, .reference = {good}}, "drop_capability");
    receive_lie((struct message){.capability = HARNESS_POOL, .reference = {good}}, "drop_capability");
    receive_lie((struct message){.capability = 1, .reference = {{HARNESS_POOL + 1, 1, 64, 40}}}, "drop_range");
    receive_lie((struct message){.capability = 1, .reference = {{HARNESS_POOL, 2, 64, 40}}}, "drop_range");
    receive_lie((struct message){.capability = 1, .reference = {{HARNESS_POOL, 1, HARNESS_POOL_SIZE, 40}}},
                "drop_range");
    receive_lie((struct message){.capability = 1, .reference = {{HARNESS_POOL, 1, UINT32_MAX, 40}}}, "drop_range");
    receive_lie((struct message){.capability = 1, .reference = {{1, 1, 64, 40}}}, "drop_range");
    receive_lie((struct message){.capability = 1, .reference = {good}, .protocol = 17}, "drop_protocol");
    receive_lie((struct message){.capability = 1, .reference = {good}, .destination = them}, "drop_not_local");
    receive_lie((struct message){.capability = 1, .reference = {{HARNESS_POOL, 1, 64, 0}}}, "drop_length");
    receive_lie((struct message){.capability = 1, .reference = {good}}, "drop_checksum");
    receive_lie((struct message){.capability = 1, .reference = {good}, .checksum_state = MESSAGE_CHECKSUM_VALID},
                "tcp_drop_header");
    while (harness_sent(h, &sent))
        ck_abort_msg("an answer to a lie");
    harness_return(h, 0); /* never lent */
    harness_return(h, UINT32_MAX);
    ck_assert_uint_eq(harness_counter(h, "drop_return_unknown"), 2);
    h->ip.strict = true;
    struct message m = {.operation = MESSAGE_BIND, .capability = 1, .generation = 1};
    ck_assert(port_push(&h->ip_end, &m));
    ck_assert_uint_eq(harness_counter(h, "drop_operation"), 1);
    ck_assert(h->ip.senseless);
    h->ip.senseless = false;
    m = (struct message){.operation = MESSAGE_RETURN, .count = 1, .capability = 1, .generation = 2};
    ck_assert(port_push(&h->ip_end, &m));
    harness_turn(h);
    ck_assert(h->ip.senseless);
}
END_TEST

START_TEST(test_socket_lies)
{
    static const struct {
        uint8_t operation;
        struct message_socket socket;
        uint16_t port;
        int error;
    } lies[] = {
        {MESSAGE_LISTEN, {.socket = 0}, PORT, EINVAL},
        {MESSAGE_LISTEN, {.socket = 0x1ffff}, PORT, EINVAL},
        {MESSAGE_LISTEN, {.socket = LISTENER, .session = 1}, PORT, ESHUTDOWN},
        {MESSAGE_LISTEN, {.socket = LISTENER, .session = UINT32_MAX}, PORT, ESHUTDOWN},
        {MESSAGE_LISTEN, {.socket = LISTENER}, 0, EINVAL},
        {MESSAGE_CONNECT, {.socket = LISTENER}, 0, EAFNOSUPPORT},
        {MESSAGE_BIND, {.socket = LISTENER}, 0, EOPNOTSUPP},
        {MESSAGE_SET_OPTION, {.socket = LISTENER}, 0, ENOTCONN},
        {MESSAGE_CLOSE, {.socket = LISTENER, .connection = UINT32_MAX}, 0, 0},
        {MESSAGE_CLOSE, {.socket = 0, .connection = 7, .generation = 1}, 0, 0},
    };
    struct message m;
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        m = (struct message){.operation = lies[i].operation, .source_port = lies[i].port};
        m.socket = lies[i].socket;
        harness_request(h, &m);
        harness_turn(h);
        ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
        ck_assert_msg(m.socket.error == lies[i].error, "row %u: %d", i, m.socket.error);
    }
    m = (struct message){.operation = MESSAGE_ACCEPTED};
    m.socket = (struct message_socket){.socket = CHILD, .connection = 1, .generation = 9};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_LOST, &m));
    m = (struct message){.operation = MESSAGE_SESSION_END};
    m.socket.session = SESSIONS_MAX;
    harness_request(h, &m);
    ck_assert_uint_eq(harness_counter(h, "drop_request_session"), 1);
    m = (struct message){.operation = MESSAGE_SEND};
    h->socket.strict = true;
    harness_request(h, &m);
    ck_assert_uint_eq(harness_counter(h, "drop_operation"), 1);
    ck_assert(h->socket.senseless);
}
END_TEST

/* A connection that is made and reset before anyone can say so is accepted all the same, with its address. */
START_TEST(test_reset_before_it_was_told)
{
    listen_answer();
    peer_connect();
    uint16_t port = tcp_conn_at(peer.tcp, peer.conn)->identity.local_port;
    pump(1);
    peer_output(); /* the ACK of our SYN */
    tcp_abort(peer.tcp, h->now_us, peer.conn);
    pump(1); /* with it */
    struct message m;
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    ck_assert_uint_eq(m.destination_port, port);
    ck_assert(ip_address_equal(&m.destination, &them));
    ck_assert_uint_eq(words(&m)->state & (SLOT_ERROR | SLOT_CLOSED), SLOT_ERROR | SLOT_CLOSED);
    ck_assert_uint_eq(words(&m)->error, ECONNRESET);
    ck_assert(!harness_told(h, MESSAGE_ESTABLISHED, &m));
    m = (struct message){.operation = MESSAGE_ACCEPTED, .socket = m.socket};
    m.socket.socket = CHILD;
    harness_request(h, &m);
    harness_turn(h);
    close_socket(CHILD);
    pump(1);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

SUITE_RUN("server_tcp", setup, teardown, test_accept_and_data, test_loans_hold_the_tail, test_connect,
          test_connect_refused, test_peer_closes, test_close_listener_with_waiting_child, test_no_slot,
          test_reset_before_it_was_told, test_session_end, test_ip_restart, test_application_lies, test_ip_lies,
          test_socket_lies)
