// SPDX-License-Identifier: BSD-2-Clause
/* The tcp server over its own deaths and those of others, when connections do not go on (test_server_tcp_resume.c: when they
 * do): what is kept, what is told, and to whom. */
#include "servers/tcp/tcp_server.h"
#include "tests/unit/server_tcp_peer.h"

/* What the socket server says after a restart: these sockets (0: none) are its, and no others. */
static void owned(const struct message *first, uint32_t first_socket, uint32_t second_socket)
{
    struct message m = {.operation = MESSAGE_OWNED};
    m.socket = first->socket;
    m.socket.socket = first_socket;
    if (first_socket != 0)
        harness_request(h, &m);
    m.socket = (struct message_socket){.socket = second_socket, .connection = NONE, .arena = NONE};
    if (second_socket != 0)
        harness_request(h, &m);
    m = (struct message){.operation = MESSAGE_OWNED_END};
    harness_request(h, &m);
    harness_turn(h);
}

/* The list of a new incarnation names the listener and the socket, and no more. */
static void alive_are(uint32_t first, uint32_t second)
{
    struct message told;
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert_uint_eq(told.socket.socket, first);
    if (second != 0) {
        ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
        ck_assert_uint_eq(told.socket.socket, second);
    }
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
}

/* The list names the listener, and the slot that is kept for whoever accepted `lost`. */
static void alive_is_unclaimed(const struct message *lost)
{
    struct message told;
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert_uint_eq(told.socket.socket, LISTENER);
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert_uint_eq(told.socket.socket, 0);
    ck_assert_uint_eq(told.socket.connection, lost->socket.connection);
    ck_assert_uint_eq(told.socket.arena, lost->socket.arena);
    ck_assert_uint_eq(told.socket.slot, lost->socket.slot);
    ck_assert_uint_eq(told.socket.generation, lost->socket.generation);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
}

static void alive_are_none(void)
{
    struct message told;
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
}

/* Another connection from the peer, as far as ESTABLISHED. */
static struct message establish(void)
{
    peer_connect();
    pump(4);
    struct message m;
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    return m;
}

START_TEST(test_restart)
{
    listen_answer();
    struct message m = accept_one();
    peer_write("lost", 4);
    pump(3);
    connect_to(4444); /* its SYN is out, nobody answered yet */
    peer.drop = 1;
    pump(1);
    harness_restart(h);
    harness_turn(h);
    ck_assert_uint_eq(words(&m)->generation, m.socket.generation);
    ck_assert_uint_eq(words(&m)->state, SLOT_ERROR | SLOT_CLOSED);
    ck_assert_uint_eq(words(&m)->error, ECONNRESET);
    ck_assert_uint_eq(words(&m)->receive_head, 4);
    struct message told;
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told));
    ck_assert_uint_eq(told.socket.socket, LISTENER);
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told)); /* until its CLOSE */
    ck_assert_uint_eq(told.socket.socket, CHILD);
    struct message second;
    ck_assert(harness_told(h, MESSAGE_ALIVE, &second)); /* the attempt goes on; here it ends refused */
    ck_assert_uint_eq(second.socket.socket, ACTIVE);
    pump(4);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->error, TCP_ERROR_RESET);
    while (port_pull(&h->socket_end, &second))
        ;
    close_socket(CHILD);
    m = accept_one(); /* the listener is there */
    ck_assert_uint_eq(m.socket.generation >> 16, 2);
    harness_restart(h); /* the block of the one that was told is gone */
    pump(3);
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), 1);
}
END_TEST

START_TEST(test_lost_slot_is_kept_until_close)
{
    listen_answer();
    struct message m = accept_one();
    for (unsigned death = 0; death < 3; death++) {
        harness_restart(h);
        pump(4);
        alive_are(LISTENER, CHILD);
        owned(&m, CHILD, LISTENER);
        ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    }
    struct message other = establish();
    ck_assert_uint_ne(other.socket.slot, m.socket.slot);
    ck_assert_uint_ne(other.socket.connection, m.socket.connection);
    ck_assert_uint_eq(words(&m)->generation, m.socket.generation);
    ck_assert_uint_eq(words(&m)->error, ECONNRESET);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 2);
    close_socket(CHILD);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    harness_restart(h);
    pump(4);
    alive_is_unclaimed(&other); /* it was accepted by nobody */
    owned(&m, 0, LISTENER);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_lost_and_accepted_at_once)
{
    listen_answer();
    struct message m = establish(); /* accepted at the socket server; its ACCEPTED died with us */
    take_slot(&m);
    harness_restart(h);
    pump(2);
    alive_is_unclaimed(&m);
    owned(&m, CHILD, LISTENER);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    ck_assert_uint_eq(words(&m)->error, ECONNRESET);
    harness_restart(h); /* now with an owner */
    pump(2);
    alive_are(LISTENER, CHILD);
    ck_assert_uint_eq(words(&m)->error, ECONNRESET);
    owned(&m, 0, LISTENER); /* closed meanwhile */
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    struct message told;
    ck_assert(!harness_told(h, MESSAGE_ALIVE, &told));
}
END_TEST

START_TEST(test_lost_and_session_ends)
{
    listen_answer();
    accept_one();
    harness_restart(h);
    pump(2);
    alive_are(LISTENER, CHILD);
    struct message m;
    harness_session_end(h);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_LOST, &m));
    ck_assert_uint_eq(m.socket.connection, NONE);
    harness_restart(h);
    pump(2);
    ck_assert_uint_eq(harness_counter(h, "restored"), 0);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_lost_with_its_session)
{
    listen_answer();
    accept_one();
    struct session_arena arena = h->session[0].arena[0];
    h->session[0].present = false; /* it went while we were dead */
    harness_restart(h);
    harness_turn(h);
    owned(&(struct message){0}, 0, 0);
    pump(2);
    h->session[0].present = true;
    h->session[0].arena[0] = arena;
    h->server->session_added(h->state, 0);
    pump(2);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

/* Listeners and attempts, too: from the first burst on the index may be another's. */
START_TEST(test_all_goes_with_its_session)
{
    listen_answer();
    connect_to(4444);
    struct session_arena arena = h->session[0].arena[0];
    h->session[0].present = false;
    harness_restart(h);
    harness_turn(h);
    h->session[0].present = true;
    h->session[0].arena[0] = arena;
    h->server->session_added(h->state, 0);
    pump(2);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    ck_assert_uint_eq(harness_counter(h, "endpoints"), 0);
    alive_are_none();
    harness_restart(h);
    harness_turn(h);
    ck_assert_uint_eq(harness_counter(h, "restored"), 0);
}
END_TEST

/* Death right after a session was removed: another one has its index by then. */
START_TEST(test_removed_session_leaves_the_store)
{
    listen_answer();
    accept_one();
    connect_to(4444);
    h->server->session_removed(h->state, 0);
    h->server->commit(h->state);
    harness_restart(h);
    harness_turn(h);
    pump(2);
    alive_are_none();
    ck_assert_uint_eq(harness_counter(h, "restored"), 0);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

/* The socket server's word about the last session of an index (it was ended by force while that was under way) does
 * nothing to the next one; nor is it lost if it is about this one, and the supervisor's comes later. */
START_TEST(test_session_end_comes_early)
{
    listen_answer();
    accept_one();
    struct message m = {.operation = MESSAGE_SESSION_END};
    harness_request(h, &m);
    harness_turn(h);
    pump(2);
    ck_assert(!harness_told(h, MESSAGE_LOST, &m));
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    ck_assert_int_eq(connect_to(4444).socket.error, 0);
    harness_session_ended(h);
    harness_turn(h);
    pump(4);
    ck_assert(harness_told(h, MESSAGE_LOST, &m));
    ck_assert_uint_eq(m.socket.connection, NONE);
    ck_assert(!harness_told(h, MESSAGE_LOST, &m));
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_unread_data_of_an_ended_connection)
{
    listen_answer();
    struct message m = accept_one();
    peer_write("bye", 3);
    tcp_shutdown_send(peer.tcp, h->now_us, peer.conn);
    pump(4);
    harness_app(h, 0, m.socket.slot)->flags = SLOT_APP_SHUTDOWN;
    app_write(&m, "bye too", 7);
    pump(4);
    const uint32_t over = SLOT_CONNECTED | SLOT_FIN | SLOT_DRAINED | SLOT_CLOSED;
    ck_assert_uint_eq(words(&m)->state, over);
    for (unsigned death = 0; death < 2; death++) {
        harness_restart(h);
        pump(2);
        alive_are(LISTENER, CHILD);
        owned(&m, CHILD, LISTENER);
        ck_assert_uint_eq(words(&m)->generation, m.socket.generation);
        ck_assert_uint_eq(words(&m)->state, over);
        ck_assert_uint_eq(words(&m)->error, 0);
        ck_assert_uint_eq(words(&m)->receive_head, 3);
    }
    struct message other = establish();
    ck_assert_uint_ne(other.socket.slot, m.socket.slot);
    peer_write("other", 5);
    pump(3);
    ck_assert_mem_eq(harness_receive_ring(h, 0, m.socket.slot), "bye", 3);
    ck_assert_mem_eq(harness_receive_ring(h, 0, other.socket.slot), "other", 5);
    close_socket(CHILD);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    harness_restart(h);
    pump(2);
    alive_is_unclaimed(&other);
}
END_TEST

/* As one who cannot see our SYN-ACK: the acknowledgement is a guess. */
static void blind_ack(uint16_t port, uint32_t ack, uint8_t flags)
{
    uint8_t segment[20] = {(uint8_t)(port >> 8),
                           (uint8_t)port,
                           PORT >> 8,
                           PORT & 0xff,
                           [8] = (uint8_t)(ack >> 24),
                           (uint8_t)(ack >> 16),
                           (uint8_t)(ack >> 8),
                           (uint8_t)ack,
                           5 << 4,
                           flags,
                           0xff,
                           0xff};
    segment[7] = flags == 0x10; /* after the SYN */
    struct message m = {.source = them,
                        .destination = us,
                        .source_port = port,
                        .destination_port = PORT,
                        .protocol = 6,
                        .checksum_state = MESSAGE_CHECKSUM_VALID};
    harness_receive(h, &m, segment, sizeof segment);
    harness_turn(h);
}

START_TEST(test_blind_ack_takes_no_slot)
{
    listen_answer();
    struct message m, reply;
    blind_ack(5555, 0, 0x02);
    uint32_t iss = 0;
    while (harness_sent(h, &reply)) {
        const uint8_t *header = harness_at(h, &reply.reference[0]);
        iss = (uint32_t)header[4] << 24 | (uint32_t)header[5] << 16 | (uint32_t)header[6] << 8 | header[7];
        harness_return(h, reply.cookie);
    }
    const uint32_t guesses[] = {0, iss, iss + 2, iss + 0x80000001};
    for (unsigned i = 0; i < sizeof guesses / sizeof guesses[0]; i++) {
        blind_ack(5555, guesses[i], 0x10);
        ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    }
    ck_assert_uint_eq(harness_counter(h, "slots_given"), 0);
    ck_assert(!harness_told(h, MESSAGE_ESTABLISHED, &m));
    blind_ack(5555, iss + 1, 0x10);
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
}
END_TEST

START_TEST(test_session_index_again)
{
    struct session_arena arena = h->session[0].arena[0];
    h->server->session_removed(h->state, 0);
    h->session[0].present = false;
    struct message m = {.operation = MESSAGE_SESSION_END};
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_LOST, &m)); /* nothing of it is here */
    ck_assert_uint_eq(m.socket.connection, NONE);
    h->session[0].present = true;
    h->session[0].arena[0] = arena;
    h->server->session_added(h->state, 0);
    ck_assert_int_eq(listen_answer().socket.error, 0);
}
END_TEST

/* The server dies with so many connections. */
static void lose_many(uint32_t count)
{
    harness_arena(h, 1, SESSION_TCP, count);
    listen_answer();
    for (uint32_t i = 0; i < count; i++) {
        struct message m = establish();
        m.operation = MESSAGE_ACCEPTED;
        m.socket.socket = CHILD + i;
        harness_request(h, &m);
        harness_turn(h);
    }
    harness_restart(h);
}

/* ip takes nothing: the recovery waits without asking for another burst at once. */
START_TEST(test_restart_while_ip_is_full)
{
    enum {
        LOST = 600
    }; /* more than the engine's queue of RSTs, the pool of headers and the ring to ip have room for */
    lose_many(LOST);
    for (unsigned i = 0; i < 100; i++)
        harness_turn(h);
    ck_assert(!h->server->burst(h->state, h->now_us));
    ck_assert(!h->server->pending(h->state));
    harness_notify(h, 0, 0); /* not taken before the recovery is through: no reason to come back either */
    ck_assert(!h->server->pending(h->state));
    uint64_t deadline = h->server->deadline_us(h->state);
    ck_assert_uint_gt(deadline, h->now_us);
    ck_assert_uint_le(deadline, h->now_us + 250);
    pump(40); /* there is room */
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), LOST);
    ck_assert(!h->server->pending(h->state));
    ck_assert_uint_eq(h->rx[0]->free_slots + h->rx[1]->free_slots, HARNESS_SLOTS);
    for (uint32_t i = 0; i < 1024; i++)
        ck_assert_int_eq(tcp_conn_at(peer.tcp, i)->state, TCP_CLOSED);
    struct message told; /* what is told to the socket server waits for room, too */
    for (uint32_t alive = 0; alive < LOST + 1;) {
        if (!port_pull(&h->socket_end, &told))
            harness_turn(h);
        else
            alive += told.operation == MESSAGE_ALIVE;
    }
    owned(&told, 0, 0);
    ck_assert_uint_eq(h->rx[0]->free_slots + h->rx[1]->free_slots, HARNESS_SLOTS + LOST);
}
END_TEST

static uint32_t take_sent(uint64_t *ret_cookie, uint32_t most)
{
    struct message m;
    uint32_t count = 0;
    while (count < most && harness_sent(h, &m)) {
        peer_input(&m);
        ret_cookie[count++] = m.cookie;
    }
    return count;
}

/* ip takes it all, but has to find the neighbour first and gives no loan back. */
START_TEST(test_peers_told_by_and_by)
{
    enum { LOST = TCP_TOLD_MAX + 20 };
    uint64_t cookie[LOST];
    lose_many(LOST);
    for (unsigned i = 0; i < TCP_TELL_US / 100 / 2; i++)
        harness_turn(h);
    uint32_t sent = take_sent(cookie, LOST);
    ck_assert_uint_eq(sent, TCP_TOLD_MAX);
    for (unsigned i = 0; i < TCP_TELL_US / 100; i++)
        harness_turn(h);
    sent += take_sent(cookie + sent, LOST - sent); /* a neighbour that is away does not keep us from going on */
    ck_assert_uint_eq(sent, LOST);
    for (uint32_t i = 0; i < LOST; i++)
        harness_return(h, cookie[i]);
    pump(4);
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), LOST);
}
END_TEST

/* Who is told comes again at once, while others are being told. */
START_TEST(test_syn_while_recovering)
{
    enum { LOST = TCP_TOLD_MAX + 20 };
    uint64_t cookie[LOST];
    lose_many(LOST);
    harness_turn(h);
    harness_turn(h);
    uint32_t sent = take_sent(cookie, LOST);
    peer_connect();
    peer_output();
    for (unsigned i = 0; i < 10; i++)
        harness_turn(h);
    for (uint32_t i = 0; i < sent; i++)
        harness_return(h, cookie[i]);
    pump(10);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_ESTABLISHED);
    ck_assert_uint_eq(harness_counter(h, "drop_recovering"), 0);
}
END_TEST

/* What was kept is of no use when its buffers are of a nic or an ip that died; of another's death it takes no harm. */
START_TEST(test_kept_and_deaths)
{
    static const struct {
        enum server_id dead;
        uint32_t left;
    } rows[] = {{SERVER_UDP, 2}, {SERVER_NIC, 1}, {SERVER_IP, 0}};
    struct tcp_server *s = h->state;
    s->recovery.kept_first = UINT32_MAX;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (i == 0) {
            s->recovery.kept_count = 2;
            s->recovery.kept[TCP_KEPT_MAX - 1] = (struct message){.operation = MESSAGE_RECEIVE, .cookie = 3};
            s->recovery.kept[0] = (struct message){.operation = MESSAGE_RECEIVE, .cookie = MESSAGE_COOKIE_OWN};
        }
        server_tcp.peer_lost(s, rows[i].dead);
        ck_assert_uint_eq(s->recovery.kept_count, rows[i].left);
        if (rows[i].left == 1)
            ck_assert_uint_eq(s->recovery.kept[s->recovery.kept_first % TCP_KEPT_MAX].cookie, MESSAGE_COOKIE_OWN);
    }
}
END_TEST

/* Its peer heard a reset, its application hears of it, and nobody else gets the slot. */
static void is_orphan(const struct message *m)
{
    const struct slot_transport *words = harness_words(h, 0, m->socket.slot);
    ck_assert_uint_eq(words->generation, m->socket.generation);
    ck_assert_uint_eq(words->state, SLOT_CONNECTED | SLOT_ERROR | SLOT_CLOSED);
    ck_assert_uint_eq(words->error, ECONNRESET);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS - 1);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_CLOSED);
    ck_assert(!tcp_conn_at(peer.tcp, peer.conn)->fin_received);
}

START_TEST(test_reconcile)
{
    listen_answer();
    struct message m = accept_one(), told;
    h->server->peer_lost(h->state, SERVER_SOCKET);
    h->server->peer_attached(h->state, SERVER_SOCKET, h->now_us);
    struct message owned = {.operation = MESSAGE_OWNED};
    owned.socket.socket = LISTENER;
    owned.socket.connection = owned.socket.arena = NONE;
    harness_request(h, &owned);
    owned.operation = MESSAGE_OWNED_END;
    owned.socket = (struct message_socket){0};
    harness_request(h, &owned);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ALIVE, &told)); /* CHILD was not owned */
    ck_assert_uint_eq(told.socket.socket, LISTENER);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
    pump(4);
    is_orphan(&m);
}
END_TEST

static void socket_again(uint32_t cold)
{
    struct message m = {.operation = MESSAGE_OWNED_END};
    m.socket.argument[0] = cold;
    h->server->peer_lost(h->state, SERVER_SOCKET);
    h->server->peer_attached(h->state, SERVER_SOCKET, h->now_us);
    harness_request(h, &m);
    harness_turn(h);
}

/* An application that ended while there was no socket server: its sockets are on no list, and what it wrote is sent all
 * the same, and its end of the stream; whoever comes first with the news. */
static void list_after_end(bool supervisor_first)
{
    listen_answer();
    struct message m = accept_one(), told;
    app_write(&m, "farewell", 8);
    peer.drop = 1; /* it is to be sent again */
    pump(1);
    if (supervisor_first)
        harness_session_ended(h);
    told = (struct message){.operation = MESSAGE_SESSION_END};
    if (!supervisor_first)
        harness_request(h, &told);
    socket_again(0);
    if (!supervisor_first)
        harness_session_ended(h);
    h->now_us += 500000;
    pump(4);
    const struct tcp_conn *c = tcp_conn_at(peer.tcp, peer.conn);
    ck_assert_uint_eq(c->receive_next, 8);
    ck_assert_uint_eq(c->state, TCP_CLOSE_WAIT);
    ck_assert_uint_eq(harness_counter(h, "orphaned"), 0);
}

START_TEST(test_list_after_a_session_has_ended)
{
    list_after_end(true);
}
END_TEST

START_TEST(test_list_before_a_session_has_ended)
{
    list_after_end(false);
}
END_TEST

/* A socket server that has forgotten everything: no slot is used twice, no end is a good one, nobody waits for ever. */
START_TEST(test_cold_socket_server)
{
    listen_answer();
    struct message m = accept_one(), told;
    socket_again(1);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told)); /* the listener is gone, the slot nobody's */
    pump(4);
    is_orphan(&m);
    ck_assert_uint_eq(harness_counter(h, "orphaned"), 1);
    peer_connect();
    pump(4);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_CLOSED); /* refused */
    is_orphan(&m);
    socket_again(1); /* still nobody's: it was kept long enough */
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

START_TEST(test_cold_and_restart)
{
    listen_answer();
    struct message m = accept_one(), told;
    socket_again(1);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
    pump(4);
    harness_restart(h);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ALIVE_END, &told));
    is_orphan(&m);
    harness_session_end(h);
    harness_turn(h);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
    ck_assert(harness_told(h, MESSAGE_LOST, &told));
}
END_TEST

/* Its peer must not take what it has for all there was. */
START_TEST(test_never_accepted)
{
    listen_answer();
    establish();
    socket_again(1);
    pump(4);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->error, TCP_ERROR_RESET);
    ck_assert(!tcp_conn_at(peer.tcp, peer.conn)->fin_received);
    ck_assert_uint_eq(h->rx[0]->free_slots, HARNESS_SLOTS);
}
END_TEST

/* Of the peer: a connection that we close first. Its last ACK is lost. */
static void into_time_wait(void)
{
    accept_one();
    close_socket(CHILD);
    pump(2);
    tcp_close(peer.tcp, h->now_us, peer.conn);
    peer_output();
    peer.drop = 1;
    pump(1);
    ck_assert_uint_eq(peer.drop, 0);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_LAST_ACK);
    ck_assert_uint_eq(harness_counter(h, "tcp_time_waits"), 1);
}

/* The ACK of its FIN was lost, and we died: the FIN that comes again is answered as if nothing had been. */
START_TEST(test_time_wait_goes_on)
{
    listen_answer();
    into_time_wait();
    for (unsigned death = 0; death < 2; death++)
        harness_restart(h);
    pump(2);
    h->now_us += 300000; /* the FIN comes again */
    pump(2);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_CLOSED);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->error, TCP_ERROR_NONE);
    ck_assert_uint_eq(harness_counter(h, "tcp_resets_out"), 0);
    ck_assert_uint_eq(harness_counter(h, "lost_at_restart"), 0);
}
END_TEST

/* ... and when its time is over it is gone from the store, too. */
START_TEST(test_time_wait_ends)
{
    listen_answer();
    into_time_wait();
    harness_restart(h);
    pump(2);
    h->now_us += 70 * 1000000ULL;
    harness_turn(h); /* before the peer has its turn */
    harness_restart(h);
    pump(4);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_CLOSED);
    ck_assert_uint_eq(harness_counter(h, "tcp_resets_out"), 1);
}
END_TEST

/* A connection that was no more than a cookie when we died is made by the next incarnation, with a slot. */
START_TEST(test_cookie_over_a_restart)
{
    struct message m = {.operation = MESSAGE_LISTEN, .source = {.family = ADDRESS_IP4}, .source_port = PORT};
    m.socket = (struct message_socket){.socket = LISTENER}; /* backlog 0 */
    harness_request(h, &m);
    harness_turn(h);
    ck_assert(harness_told(h, MESSAGE_ANSWER, &m));
    struct tcp_identity id = {.local = them, .remote = us, .remote_port = PORT};
    uint32_t first;
    ck_assert_int_eq(tcp_connect(peer.tcp, h->now_us, &id, PEER_RING, PEER_RING, &first), TCP_CALL_OK);
    peer.drop = 1;
    pump(1); /* the first waits in SYN-RECEIVED */
    ck_assert_int_eq(tcp_connect(peer.tcp, h->now_us, &id, PEER_RING, PEER_RING, &peer.conn), TCP_CALL_OK);
    pump(1);
    ck_assert_uint_eq(harness_counter(h, "tcp_cookies_sent"), 1);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_ESTABLISHED);
    harness_restart(h);
    pump(1);
    alive_are(LISTENER, 0);
    pump(3);
    ck_assert_uint_eq(harness_counter(h, "tcp_cookies_taken"), 1);
    ck_assert(harness_told(h, MESSAGE_ESTABLISHED, &m));
    ck_assert_uint_eq(m.destination_port, tcp_conn_at(peer.tcp, peer.conn)->identity.local_port);
    peer_write("here", 4);
    pump(2);
    ck_assert_uint_eq(words(&m)->receive_head, 4);
    ck_assert_int_eq(tcp_conn_at(peer.tcp, peer.conn)->state, TCP_ESTABLISHED);
}
END_TEST

/* Who waits on many slots is told of those where something is new, and of all by the next life. */
START_TEST(test_ready_ring)
{
    listen_answer();
    struct message m = accept_one();
    const struct arena_transport *rx = h->rx[0];
    uint32_t before = rx->ready_producer;
    pump(3);
    ck_assert_uint_eq(rx->ready_producer, before); /* nothing is new */
    peer_write("news", 4);
    pump(3);
    ck_assert_uint_eq(rx->ready_producer, before + 1);
    ck_assert_uint_eq(rx->ready[before % ARENA_SLOTS_MAX], m.socket.slot);
    harness_restart(h);
    harness_turn(h);
    uint32_t ahead = rx->ready_producer - before, behind = before - rx->ready_producer;
    ck_assert_uint_gt(ahead < behind ? ahead : behind, 1U << 20);
    ck_assert_uint_eq(rx->ready[(rx->ready_producer - 1) % ARENA_SLOTS_MAX], m.socket.slot);
}
END_TEST

static void store_full_of_time_waits(void)
{
    static uint8_t current[TCP_STORE_BLOCKS];
    struct store store;
    ck_assert_int_eq(
        store_open_kinds(&store, h->context.store, TCP_STORE_VERSION, sizeof(union tcp_stored), TCP_STORE_BLOCKS,
                         TCP_STORE_KINDS, current),
        0);
    for (uint32_t n = 0; n < TCP_TIME_WAITS; n += TCP_TIME_WAIT_GROUP) {
        union tcp_stored stored;
        memset(&stored, 0, sizeof stored);
        for (uint32_t i = 0; i < TCP_TIME_WAIT_GROUP && n + i < TCP_TIME_WAITS; i++)
            stored.time_wait[i] = (struct tcp_time_wait){.local = us,
                                                         .remote = them,
                                                         .local_port = PORT,
                                                         .remote_port = (uint16_t)(n + i + 1),
                                                         .window_scale = n + i == 10 ? 99 : 0,
                                                         .ends_at_us = h->now_us + 30 * 1000000ULL};
        store_put(&store, TCP_STORE_TIME_WAITS(n / TCP_TIME_WAIT_GROUP), &stored);
    }
    store_commit(&store);
}

/* All are put back but the one that is unsound, which leaves the store. */
START_TEST(test_full_of_time_waits)
{
    store_full_of_time_waits();
    for (uint64_t corrupt = 1; corrupt < 2; corrupt--) {
        harness_restart(h);
        harness_turn(h);
        const struct tcp_server *s = h->state;
        uint32_t there = 0;
        for (uint32_t i = 0; i < TCP_TIME_WAITS; i++)
            there += tcp_time_wait_at(s->engine, i)->remote_port == i + 1;
        ck_assert_uint_eq(there, TCP_TIME_WAITS - 1);
        ck_assert_uint_eq(harness_counter(h, "drop_block_corrupt"), corrupt);
    }
}
END_TEST

static void setup_listeners(void)
{
    setup();
    h->config.recovery = STACK_RECOVERY_LISTENERS;
}

SUITE_RUN("server_tcp_restart", setup_listeners, teardown, test_restart, test_ready_ring, test_lost_slot_is_kept_until_close,
          test_lost_and_accepted_at_once, test_lost_and_session_ends, test_lost_with_its_session,
          test_all_goes_with_its_session, test_session_end_comes_early, test_removed_session_leaves_the_store,
          test_unread_data_of_an_ended_connection, test_blind_ack_takes_no_slot, test_session_index_again,
          test_restart_while_ip_is_full, test_peers_told_by_and_by, test_syn_while_recovering, test_kept_and_deaths,
          test_reconcile, test_cold_socket_server, test_list_after_a_session_has_ended,
          test_list_before_a_session_has_ended, test_cold_and_restart, test_never_accepted, test_time_wait_goes_on,
          test_time_wait_ends, test_cookie_over_a_restart, test_full_of_time_waits)
