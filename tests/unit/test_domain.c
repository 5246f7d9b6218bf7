// SPDX-License-Identifier: BSD-2-Clause
/* The domain's loop: messages, sleep, the barrier, a capture, its sandbox. */
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/capture.h"
#include "ipc/segment.h"
#include "tests/unit/domain_harness.h"

/* ---- tests ---- */
START_TEST(messages_pass_between_processes_and_within)
{
    started();
    ck_assert_uint_eq(f.status->incarnation, 5);
    for (uint64_t i = 0; i < 2000; i++) {
        send_to_ip(i, 100, 50);
        comes_back(i);
    }
    ck_assert_uint_eq(value_of(SERVER_TCP, SAW_MESSAGE), 2000);
    ck_assert_uint_eq(*f.store, 2000);
}
END_TEST

START_TEST(liveness_moves_while_idle)
{
    started();
    until(liveness_beyond, __atomic_load_n(&f.status->liveness, __ATOMIC_RELAXED) + 2);
}
END_TEST

START_TEST(a_dead_peer_is_drained_and_let_go_and_its_successor_taken)
{
    started();
    uint32_t servers[] = {SERVER_NIC}, objects[] = {NIC_POOL};
    for (uint64_t i = 0; i < 100; i++)
        send_to_ip(i, 100, 50); /* published before its death: all of it is taken */
    SAY_(peer_lost, PEER_LOST, PeerLost, inner.epoch = 9, inner.n_servers = 1, inner.servers = servers,
         inner.n_objects = 1, inner.objects = objects);
    ck_assert_uint_eq(EXPECT(ACK), 9);
    ck_assert_uint_eq(value_of(SERVER_IP, SAW_LOST), 1);
    ck_assert_uint_eq(value_of(SERVER_TCP, SAW_LOST), 1);
    ck_assert_uint_eq(value_of(SERVER_TCP, SAW_MESSAGE), 100);

    uint8_t *fresh;
    channel_to_nic();
    pool(NIC_POOL + 100, SERVER_NIC, false, &fresh);
    fresh[7] = 0x42;
    send_to_ip(1, 7, 1); /* before it is attached: nobody looks */
    fence();
    until(liveness_beyond, __atomic_load_n(&f.status->liveness, __ATOMIC_RELAXED) + 1);
    ck_assert_uint_eq(value_of(SERVER_IP, SAW_REFUSED), 0);
    SAY_(peer_attached, PEER_ATTACHED, PeerAttached, inner.epoch = 10, inner.n_servers = 1, inner.servers = servers);
    ck_assert_uint_eq(EXPECT(ACK), 10);
    ck_assert_uint_eq(value_of(SERVER_IP, SAW_ATTACHED), 1);
    ck_assert_uint_eq(value_of(SERVER_TCP, SAW_ATTACHED), 1);
    /* the entry of the dead one's pool is gone: its index names nothing */
    until(ip_refused, 1);
}
END_TEST

START_TEST(a_new_pool_behind_the_same_index_works)
{
    started();
    uint32_t servers[] = {SERVER_NIC}, objects[] = {NIC_POOL};
    SAY_(peer_lost, PEER_LOST, PeerLost, inner.epoch = 1, inner.n_servers = 1, inner.servers = servers,
         inner.n_objects = 1, inner.objects = objects);
    EXPECT(ACK);
    channel_to_nic();
    uint8_t *fresh;
    pool(NIC_POOL + 100, SERVER_NIC, false, &fresh);
    fresh[7] = 0x42;
    pool_entry(SERVER_IP, SERVER_NIC, NIC_POOL + 100, 30, true);
    pool_entry(SERVER_TCP, SERVER_IP, NIC_POOL + 100, 30, true);
    pool_entry(SERVER_IP, SERVER_TCP, NIC_POOL + 100, 30, false);
    SAY_(peer_attached, PEER_ATTACHED, PeerAttached, inner.epoch = 2, inner.n_servers = 1, inner.servers = servers);
    EXPECT(ACK);
    send_to_ip(50, 7, 10);
    comes_back(50);
}
END_TEST

START_TEST(a_lying_ring_costs_its_channel_only)
{
    started();
    struct ring_half *half = f.nic.ring.mine;
    __atomic_store_n(&half->producer, 0x7fffffffU, __ATOMIC_RELEASE);
    doorbell_ring(&f.ring);
    ck_assert_uint_eq(EXPECT(CHANNEL_BROKEN), SERVER_NIC);
    until(liveness_beyond, __atomic_load_n(&f.status->liveness, __ATOMIC_RELAXED) + 2);
    struct pollfd p = {.fd = f.control, .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, 0), 0); /* said once */
}
END_TEST

/* A packet from nic to tcp between these addresses, of this family. */
static void send_packet(uint8_t family)
{
    struct message m = {.operation = MESSAGE_RECEIVE, .capability = 1, .generation = 1, .protocol = 6, .ttl = 9};
    m.source = (struct ip_address){.family = family, .octets = {10, 77, 0, 1}};
    m.destination = (struct ip_address){.family = family, .octets = {10, 77, 0, 2}};
    m.traffic_class = 0xa5;
    m.reference[0] = (struct message_reference){.pool = 30, .generation = 1, .offset = 100, .length = 50};
    ck_assert(port_push(&f.nic, &m));
    port_flush(&f.nic);
}

START_TEST(a_capture_has_packets)
{
    static const uint8_t four[] = {0x45, 0xa5, 0,  70, 0, 0,  0x40, 0, 9, 6,   0x5c,
                                   0x71, 10,   77, 0,  1, 10, 77,   0, 2, 0x42};
    static const uint8_t six[] = {0x6a, 0x50, 0, 0, 0, 50, 6, 9, 10, 77, 0, 1};
    static uint8_t octets[CAPTURE_SNAP_MAX];
    int fd;
    struct capture_reader reader;
    struct capture_record record;
    struct capture_ring *ring = shared(sizeof *ring, &fd);
    started();
    capture_reader_init(&reader, ring);
    SAY_(capture, CAPTURE, Capture, inner.server = SERVER_TCP, inner.peer = SERVER_IP, inner.on = true,
         inner.fd = give(fd), inner.snap = CAPTURE_SNAP_MAX);
    fence();
    ck_assert_uint_eq(ring->incarnation, 5);
    send_packet(ADDRESS_IP4);
    comes_back(0);
    send_packet(ADDRESS_IP6);
    comes_back(0);
    for (unsigned i = 0; i < 4; i++) { /* each was pulled, and pushed */
        ck_assert(capture_read(&reader, &record, octets));
        ck_assert_uint_eq(record.direction, CAPTURE_INBOUND);
        ck_assert_uint_eq(record.original, i < 2 ? 70 : 90);
        ck_assert_uint_eq(record.length, record.original);
        ck_assert_mem_eq(octets, i < 2 ? four : six, i < 2 ? sizeof four : sizeof six);
        ck_assert_uint_eq(octets[i < 2 ? 20 : 40], 0x42);
    }
    ck_assert(!capture_read(&reader, &record, octets));
    SAY_(capture, CAPTURE, Capture, inner.server = SERVER_TCP, inner.peer = SERVER_IP, inner.fd = -1);
    fence();
    send_packet(ADDRESS_IP4);
    comes_back(0);
    ck_assert(!capture_read(&reader, &record, octets));
    close(fd);
}
END_TEST

/* All of it once more with the filter that domains get: a call that it lacks ends the domain. */
START_TEST(the_same_in_its_sandbox)
{
    SAY_(stop, STOP, Stop, inner.base = inner.base);
    status_of_end();
    if (SANITIZED)
        return;
    setup_child(true);
    started();
    grant_session();
    grant_arena();
    for (uint64_t i = 0; i < 100; i++) {
        send_to_ip(i, 100, 50);
        comes_back(i);
    }
    until(liveness_beyond, __atomic_load_n(&f.status->liveness, __ATOMIC_RELAXED) + 2);
    SAY_(session_ended, SESSION_ENDED, SessionEnded, inner.session = 3);
    EXPECT(SESSION_DONE);
    SAY_(session_remove, SESSION_REMOVE, SessionRemove, inner.session = 3, inner.epoch = 12);
    EXPECT(ACK);
    uint32_t servers[] = {SERVER_NIC}, objects[] = {NIC_POOL};
    SAY_(peer_lost, PEER_LOST, PeerLost, inner.epoch = 9, inner.n_servers = 1, inner.servers = servers,
         inner.n_objects = 1, inner.objects = objects);
    EXPECT(ACK);
    SAY_(raise, RAISE, Raise, inner.signal = SIGSEGV);
    int status = status_of_end();
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGSEGV, "status %#x", (unsigned)status);
}
END_TEST

SUITE_RUN("domain", setup, teardown, messages_pass_between_processes_and_within, liveness_moves_while_idle,
          a_dead_peer_is_drained_and_let_go_and_its_successor_taken, a_new_pool_behind_the_same_index_works,
          a_lying_ring_costs_its_channel_only, a_capture_has_packets, the_same_in_its_sandbox)
