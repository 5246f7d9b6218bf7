// SPDX-License-Identifier: BSD-2-Clause
/* The UDP server: datagrams in and out, names, a restart, an application that lies. */
#include "tests/unit/server_udp_peer.h"

START_TEST(test_receive)
{
    struct message m = bound(SOCKET, PORT);
    ck_assert_uint_eq(m.source_port, PORT);
    const uint8_t *payload;
    uint8_t bytes[1400];
    for (uint32_t i = 0; i < 40; i++) { /* round the ring more than twice */
        memset(bytes, (int)i, sizeof bytes);
        from_peer(PORT, bytes, (uint16_t)(sizeof bytes - i));
        struct datagram_record r = read_record(&m, &payload);
        ck_assert_uint_eq(r.length, sizeof bytes - i);
        ck_assert_uint_eq(r.port, 99);
        ck_assert_uint_eq(r.family, ADDRESS_IP4);
        ck_assert_mem_eq(r.octets, them.octets, 4);
        ck_assert_mem_eq(payload, bytes, r.length);
    }
    for (uint32_t i = 0; i < 20; i++) /* nobody reads */
        from_peer(PORT, bytes, sizeof bytes);
    ck_assert_uint_ge(harness_counter(h, "drop_receive_full"), 8);
    from_peer(PORT, "", 0);
    request(MESSAGE_CLOSE, SOCKET, 0, none, 0);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_send)
{
    struct message m = bound(SOCKET, 0), sent[3];
    ck_assert_uint_ge(m.source_port, 1024);
    uint8_t bytes[548];
    for (uint32_t i = 0; i < 80; i++) {
        memset(bytes, (int)i, sizeof bytes);
        write_record(&m, them, 53, bytes, sizeof bytes);
        harness_turn(h);
        ck_assert(harness_sent(h, &sent[0]));
        ck_assert(!harness_sent(h, &sent[1]));
        const uint8_t *header = harness_at(h, &sent[0].reference[0]);
        be16 pseudo = checksum_fold(checksum_pseudo_header(&us, &them, 17, sizeof bytes + 8));
        ck_assert_uint_eq(sent[0].reference[0].length, 8);
        ck_assert_uint_eq(sent[0].checksum_state, MESSAGE_CHECKSUM_PARTIAL);
        ck_assert_mem_eq(header + 6, &pseudo, 2);
        ck_assert_uint_eq((unsigned)(header[0] << 8 | header[1]), m.source_port);
        ck_assert_uint_eq(sent[0].checksum_offset, 6);
        ck_assert(ip_address_equal(&sent[0].source, &us));
        ck_assert_uint_eq(sent[0].reference[1].length, sizeof bytes);
        ck_assert_mem_eq(harness_at(h, &sent[0].reference[1]), bytes, sizeof bytes);
        harness_return(h, sent[0].cookie);
        harness_turn(h);
        ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->send_tail, harness_app(h, 0, m.socket.slot)->send_head);
    }
    uint32_t tail = harness_words(h, 0, m.socket.slot)->send_tail;
    for (uint32_t i = 0; i < 3; i++)
        write_record(&m, them, 53, "abc", 3);
    harness_turn(h);
    for (uint32_t i = 0; i < 3; i++)
        ck_assert(harness_sent(h, &sent[i]));
    harness_return(h, sent[1].cookie); /* out of order: the tail waits for the first */
    harness_return(h, sent[2].cookie);
    request(MESSAGE_CLOSE, SOCKET, 0, none, 0);
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->send_tail, tail);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    harness_return(h, sent[0].cookie);
    harness_turn(h);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_connected)
{
    struct message m = bound(SOCKET, PORT), sent;
    ck_assert_int_eq(request(MESSAGE_CONNECT, SOCKET, 0, them, 98).socket.error, 0);
    from_peer(PORT, "not from 98", 11);
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->receive_head, 0);
    write_record(&m, none, 0, "x", 1);
    harness_turn(h);
    while (harness_sent(h, &sent) && sent.operation == MESSAGE_UNREACHABLE)
        ;
    ck_assert_uint_eq(sent.operation, MESSAGE_SEND);
    ck_assert_uint_eq(sent.destination_port, 98);
    harness_return(h, sent.cookie);
    ck_assert_int_eq(request(MESSAGE_CONNECT, SOCKET, 0, none, 0).socket.error, 0); /* taken off */
    from_peer(PORT, "from anyone", 11);
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->receive_head, 48);
}
END_TEST

START_TEST(test_no_port)
{
    struct message m;
    from_peer(PORT, "x", 1);
    ck_assert(port_pull(&h->ip_end, &m)); /* before the loan comes back */
    ck_assert_uint_eq(m.operation, MESSAGE_UNREACHABLE);
    ck_assert(ip_address_equal(&m.source, &us));
    ck_assert_uint_eq(m.source_port, PORT);
    ck_assert_uint_eq(m.destination_port, 99);
    ck_assert_uint_eq(m.reference[0].length, 9);
    ck_assert_uint_eq(harness_counter(h, "udp_drop_no_port"), 1);
}
END_TEST

START_TEST(test_names)
{
    bound(SOCKET, PORT);
    ck_assert_int_eq(request(MESSAGE_BIND, OTHER, PORT, none, 0).socket.error, EADDRINUSE);
    struct message m = request(MESSAGE_BIND, SOCKET, 1234, none, 0); /* repeated: what is there */
    ck_assert_int_eq(m.socket.error, 0);
    ck_assert_uint_eq(m.source_port, PORT);
    request(MESSAGE_CLOSE, SOCKET, 0, none, 0);
    bound(OTHER, PORT);
    for (uint32_t i = 0; i < HARNESS_SLOTS; i++)
        m = request(MESSAGE_BIND, 0x20010 + i, 0, none, 0);
    ck_assert_int_eq(m.socket.error, ENOBUFS);
    ck_assert_int_eq(request(MESSAGE_LISTEN, 0x30009, PORT, none, 0).socket.error, EOPNOTSUPP);
    ck_assert_int_eq(request(MESSAGE_BIND, 0, PORT, none, 0).socket.error, EINVAL);
}
END_TEST

START_TEST(test_restart)
{
    struct message m = bound(SOCKET, PORT), sent, told;
    const uint8_t *payload;
    request(MESSAGE_CONNECT, SOCKET, 0, them, 99);
    from_peer(PORT, "one", 3);
    write_record(&m, none, 0, "sent", 4);
    harness_turn(h);
    ck_assert(harness_sent(h, &sent));
    write_record(&m, none, 0, "not sent", 8);
    harness_restart(h);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert_uint_eq(told.socket.socket, SOCKET);
    ck_assert_uint_eq(told.socket.generation, m.socket.generation);
    ck_assert_uint_eq(told.source_port, PORT);
    ck_assert_uint_eq(told.destination_port, 99);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
    ck_assert(harness_sent(h, &sent));
    ck_assert_mem_eq(harness_at(h, &sent.reference[1]), "not sent", 8);
    ck_assert(!harness_sent(h, &told));
    harness_return(h, sent.cookie);
    from_peer(PORT, "two", 3);
    ck_assert_uint_eq(read_record(&m, &payload).length, 3);
    ck_assert_mem_eq(payload, "one", 3);
    ck_assert_uint_eq(read_record(&m, &payload).length, 3);
    ck_assert_mem_eq(payload, "two", 3);
    request(MESSAGE_CLOSE, SOCKET, 0, none, 0);
    harness_restart(h);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
}
END_TEST

/* Its session went while we were dead: the first burst is without it, and the index is another's next. */
START_TEST(test_session_went_meanwhile)
{
    struct message m = bound(SOCKET, PORT), told;
    struct session_arena arena = h->session[0].arena[0];
    struct slot_transport *words = harness_words(h, 0, m.socket.slot);
    h->session[0].present = false;
    harness_restart(h);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
    memset(words, 0, sizeof *words); /* the next one's memory is its own */
    h->session[0].present = true;
    h->session[0].arena[0] = arena;
    h->server->session_added(h->state, 0);
    harness_turn(h);
    ck_assert_uint_eq(words->generation, 0);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    m = bound(OTHER, PORT);
    harness_restart(h);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert_uint_eq(told.socket.socket, OTHER);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
}
END_TEST

/* ... or is another's already: since before we started, or before our first burst. */
START_TEST(test_index_is_anothers)
{
    for (int since_start = 0; since_start < 2; since_start++) {
        struct message m = bound(SOCKET, PORT), told;
        struct slot_transport *words = harness_words(h, 0, m.socket.slot);
        h->session[0].generation++;
        h->session[0].present = !since_start;
        memset(words, 0, sizeof *words);
        harness_restart(h);
        h->session[0].present = true;
        if (since_start)
            h->server->session_added(h->state, 0);
        harness_turn(h);
        ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
        ck_assert_uint_eq(harness_counter(h, "drop_block_stale"), 1);
        ck_assert_uint_eq(words->generation, 0);
        ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
        harness_restart(h);
        harness_turn(h);
        ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
        ck_assert_uint_eq(harness_counter(h, "drop_block_stale"), 0);
    }
}
END_TEST

/* The socket server has it elsewhere. */
START_TEST(test_slot_disputed)
{
    struct message m = bound(SOCKET, PORT), owned = {.operation = MESSAGE_OWNED, .socket = m.socket};
    owned.socket.socket = SOCKET;
    harness_restart(h);
    harness_request(h, &owned);
    ck_assert_uint_eq(harness_counter(h, "endpoints"), 1);
    ck_assert_uint_eq(harness_counter(h, "drop_slot_disputed"), 0);
    owned.socket.slot++;
    harness_request(h, &owned);
    ck_assert_uint_eq(harness_counter(h, "drop_slot_disputed"), 1);
    ck_assert_uint_eq(harness_counter(h, "endpoints"), 0);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    while (port_pull(&h->socket_end, &owned))
        ;
    bound(OTHER, PORT); /* its name is free */
}
END_TEST

/* A socket server that has forgotten everything: the socket's application is told, and its slot is no other's. */
START_TEST(test_cold_socket_server)
{
    struct message m = bound(SOCKET, PORT), told;
    const struct slot_transport *words = harness_words(h, 0, m.socket.slot);
    const uint8_t *payload;
    from_peer(PORT, "one", 3);
    for (int life = 0; life < 2; life++) { /* ... over our own death, too */
        if (life == 1)
            harness_restart(h);
        h->server->peer_lost(h->state, SERVER_SOCKET);
        h->server->peer_attached(h->state, SERVER_SOCKET, h->now_us);
        harness_turn(h);
        if (life == 0)
            ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
        ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
        told = (struct message){.operation = MESSAGE_OWNED_END};
        told.socket.argument[0] = 1;
        if (life == 0)
            harness_request(h, &told);
        harness_turn(h);
        ck_assert_uint_eq(words->generation, m.socket.generation);
        ck_assert_uint_eq(words->state, SLOT_ERROR | SLOT_CLOSED);
        ck_assert_uint_eq(words->error, ECONNRESET);
        ck_assert_uint_eq(words->error_count, 1);
        ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    }
    ck_assert_uint_eq(read_record(&m, &payload).length, 3); /* what had come is there to be read */
    write_record(&m, them, 99, "x", 1);
    harness_turn(h);
    ck_assert(!harness_sent(h, &told));
    bound(SOCKET, PORT); /* id and name may be used again */
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 2);
    told = (struct message){.operation = MESSAGE_OWNED};
    told.socket.socket = SOCKET;
    told.socket.arena = UINT32_MAX;
    harness_request(h, &told);
    told = (struct message){.operation = MESSAGE_OWNED_END};
    harness_request(h, &told);
    harness_turn(h);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1); /* kept long enough */
}
END_TEST

/* What was closed here and its owner did not close is bound again by what the owner knows, where its application is. */
static void bind_again(bool connects, bool elsewhere)
{
    struct message m = bound(SOCKET, PORT), again, sent;
    const uint8_t *payload;
    from_peer(PORT, "one", 3);
    from_peer(PORT, "two", 3);
    ck_assert_uint_eq(read_record(&m, &payload).length, 3);
    write_record(&m, them, 99, "x", 1);
    harness_turn(h);
    ck_assert(harness_sent(h, &sent));
    harness_return(h, sent.cookie);
    request(MESSAGE_CLOSE, SOCKET, 0, none, 0);
    from_peer(PORT, "lost", 4);
    while (harness_sent(h, &sent)) /* nobody is there */
        ;
    write_record(&m, them, 99, "lost", 4);
    if (elsewhere) /* the slot is another's by now */
        ck_assert_uint_eq(request(MESSAGE_BIND, OTHER, PORT + 1, none, 0).socket.slot, m.socket.slot);
    harness_words(h, 0, m.socket.slot)->error = ECONNREFUSED; /* that nobody has asked for yet */
    harness_words(h, 0, m.socket.slot)->error_count = 3;
    asked_socket = m.socket;
    again = request(connects ? MESSAGE_CONNECT : MESSAGE_BIND, SOCKET, PORT, connects ? them : none, connects ? 99 : 0);
    asked_socket.generation = 0;
    ck_assert_int_eq(again.socket.error, elsewhere ? ENOBUFS : 0);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    if (elsewhere)
        return;
    ck_assert_uint_eq(again.socket.slot, m.socket.slot);
    ck_assert_uint_eq(again.socket.generation, m.socket.generation);
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->generation, m.socket.generation);
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->error, ECONNREFUSED);
    ck_assert_uint_eq(harness_words(h, 0, m.socket.slot)->error_count, 3);
    ck_assert(!harness_sent(h, &sent));
    from_peer(PORT, "three", 5);
    ck_assert_uint_eq(read_record(&m, &payload).length, 3);
    ck_assert_mem_eq(payload, "two", 3);
    ck_assert_uint_eq(read_record(&m, &payload).length, 5);
    ck_assert_mem_eq(payload, "three", 5);
    write_record(&m, connects ? none : them, connects ? 0 : 99, "four", 4);
    harness_turn(h);
    ck_assert(harness_sent(h, &sent));
    ck_assert_mem_eq(harness_at(h, &sent.reference[1]), "four", 4);
    harness_return(h, sent.cookie);
    ck_assert_uint_eq(harness_counter(h, "sockets_again"), 1);
    ck_assert_uint_eq(harness_counter(h, "drop_send_head") + harness_counter(h, "drop_receive_tail"), 0);
}

START_TEST(test_bound_again)
{
    bind_again(false, false);
}
END_TEST

START_TEST(test_connected_again)
{
    bind_again(true, false);
}
END_TEST

START_TEST(test_bound_again_elsewhere)
{
    bind_again(false, true);
}
END_TEST

/* The application wrote into what was ours to say of its slot, too: it hurts itself at most. */
START_TEST(test_bound_again_of_lies)
{
    static const uint32_t heads[] = {7, 0x80000000, HARNESS_RECEIVE + 16, UINT32_MAX};
    struct message m = bound(SOCKET, PORT);
    request(MESSAGE_CLOSE, SOCKET, 0, none, 0);
    for (uint32_t i = 0; i < 4; i++) {
        harness_words(h, 0, m.socket.slot)->receive_head = heads[i];
        *harness_app(h, 0, m.socket.slot) =
            (struct slot_app){.generation = m.socket.generation, .send_head = heads[i], .receive_tail = 3};
        asked_socket = m.socket;
        ck_assert_int_eq(request(MESSAGE_BIND, SOCKET, PORT, none, 0).socket.error, 0);
        asked_socket.generation = 0;
        from_peer(PORT, "one", 3);
        const struct slot_transport *words = harness_words(h, 0, m.socket.slot);
        ck_assert_uint_eq(words->receive_head % DATAGRAM_STEP, 0);
        ck_assert_uint_le(words->receive_head, HARNESS_RECEIVE);
        request(MESSAGE_CLOSE, SOCKET, 0, none, 0);
    }
    asked_socket = (struct message_socket){.arena = 0, .slot = HARNESS_SLOTS, .generation = 1};
    ck_assert_int_eq(request(MESSAGE_BIND, SOCKET, PORT, none, 0).socket.error, ENOBUFS);
    asked_socket = (struct message_socket){.arena = SESSION_ARENAS, .generation = 1};
    ck_assert_int_eq(request(MESSAGE_BIND, SOCKET, PORT, none, 0).socket.error, ENOBUFS);
    asked_socket.generation = 0;
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

/* The socket server's list is heard once on a channel: said again it would close all that is not on it. */
START_TEST(test_list_is_heard_once)
{
    struct message m = {.operation = MESSAGE_OWNED_END};
    harness_request(h, &m); /* ours, of the start */
    harness_turn(h);
    bound(SOCKET, PORT);
    ck_assert_uint_eq(harness_counter(h, "drop_list"), 0);
    m = (struct message){.operation = MESSAGE_OWNED_END};
    harness_request(h, &m);
    bound(OTHER, PORT + 1);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 2);
    ck_assert_uint_eq(harness_counter(h, "drop_list"), 1);
}
END_TEST

START_TEST(test_session_end)
{
    bound(SOCKET, PORT);
    struct message m;
    harness_session_end(h);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_LOST, &m));
    ck_assert_uint_eq(m.socket.connection, UINT32_MAX);
    ck_assert_int_eq(request(MESSAGE_BIND, OTHER, 0, none, 0).socket.error, ESHUTDOWN);
}
END_TEST

START_TEST(test_application_lies)
{
    static const struct {
        const char *counter;
        struct datagram_record record;
        uint32_t send_head, receive_tail;
    } lies[] = {
        {"drop_send_head", {0}, HARNESS_SEND + 16, 0},
        {"drop_send_head", {0}, 7, 0},
        {"drop_receive_tail", {0}, 0, 16},
        {"drop_receive_tail", {0}, 0, UINT32_MAX},
        {"drop_send_record", {.length = 17, .port = 1, .family = ADDRESS_IP4}, 48, 0},
        {"drop_send_record", {.length = UINT32_MAX - 1}, 32, 0},
        {"drop_send_record", {.length = UINT32_MAX - 40}, 32, 0},
        {"drop_send_record", {.length = DATAGRAM_WRAP}, 32, 0},
        {"drop_send_record", {.length = 0}, 16, 0},
        {"drop_send_record", {.length = 65508, .port = 1, .family = ADDRESS_IP4, .octets = {10}}, 1520, 0},
        {"drop_send_address", {.port = 1, .family = ADDRESS_IP6}, 32, 0},
        {"drop_send_address", {.port = 1, .family = ADDRESS_IP6, .octets = {[10] = 255, 255, 10}}, 32, 0},
        {"drop_send_address", {.port = 1, .family = 77}, 32, 0},
        {"drop_send_address", {.port = 1, .family = ADDRESS_IP4}, 32, 0},
        {"drop_send_address", {.port = 1, .family = ADDRESS_IP4, .octets = {10}, .flags = 2}, 32, 0},
        {"drop_send_address", {.port = 0}, 32, 0},
        {"drop_send_no_source", {.port = 1, .family = ADDRESS_IP6, .octets = {0xfd}}, 32, 0},
        {"drop_send_broadcast", {.port = 1, .family = ADDRESS_IP4, .octets = {10, 77, 0, 255}}, 32, 0},
    };
    for (uint32_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct message m = bound(SOCKET + 0x10000 * i, PORT), sent;
        struct slot_app *app = harness_app(h, 0, m.socket.slot);
        memcpy(harness_send_ring(h, 0, m.socket.slot), &lies[i].record, sizeof lies[i].record);
        app->send_head = lies[i].send_head;
        app->receive_tail = lies[i].receive_tail;
        uint64_t before = harness_counter(h, lies[i].counter);
        harness_notify(h, 0, m.socket.slot);
        ck_assert_msg(harness_counter(h, lies[i].counter) > before, "row %u: %s", i, lies[i].counter);
        ck_assert(!harness_sent(h, &sent));
        request(MESSAGE_CLOSE, SOCKET + 0x10000 * i, 0, none, 0);
        ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    }
}
END_TEST

/* A slot has the ring sizes that were asked for, or there is none. */
START_TEST(test_ring_sizes)
{
    static const struct {
        uint8_t send_log2, receive_log2;
        int error;
    } rows[] = {{14, 14, 0}, {12, 14, ENOBUFS}, {14, 12, ENOBUFS}, {0, 0, 0}, {31, 31, ENOBUFS}};
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        asked_ttl = message_tuning(0, 0, rows[i].send_log2, rows[i].receive_log2);
        struct message m = request(MESSAGE_BIND, SOCKET + i, (uint16_t)(PORT + i), none, 0);
        ck_assert_msg(m.socket.error == rows[i].error, "row %u", i);
    }
    asked_ttl = 0;
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 2);
}
END_TEST

SUITE_RUN("server_udp", setup, teardown, test_receive, test_send, test_connected, test_no_port, test_names,
          test_ring_sizes, test_restart, test_session_went_meanwhile, test_index_is_anothers, test_slot_disputed,
          test_cold_socket_server, test_session_end, test_application_lies, test_bound_again, test_connected_again,
          test_bound_again_elsewhere, test_bound_again_of_lies, test_list_is_heard_once)
