// SPDX-License-Identifier: BSD-2-Clause
/* What a domain is granted, and what is taken back: sessions, entries, and grants that make no sense. */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "tests/unit/domain_harness.h"

START_TEST(a_session_comes_and_goes)
{
    started();
    grant_session();
    grant_arena();
    until(tcp_saw_session, 2);
    pool_entry(SERVER_IP, SERVER_NIC, ARENA_OBJECT, 30, true); /* in the place of nic's pool: nic may name the arena */
    pool_entry(SERVER_TCP, SERVER_IP, ARENA_OBJECT, 30, true);
    fence();
    send_to_ip(1, 5, 1);
    comes_back(1);
    SAY_(session_ended, SESSION_ENDED, SessionEnded, inner.session = 3);
    ck_assert_uint_eq(EXPECT(SESSION_DONE), 3);
    SAY_(session_remove, SESSION_REMOVE, SessionRemove, inner.session = 3, inner.epoch = 12);
    ck_assert_uint_eq(EXPECT(ACK), 12);
    ck_assert_uint_eq(value_of(SERVER_TCP, SAW_REMOVED), 1);
    send_to_ip(2, 5, 1);
    until(ip_refused, 1);
    grant_session(); /* the place can be had again */
    until(tcp_saw_session, 3);
}
END_TEST

/* An application's memory that cannot be mapped costs its session and nobody else. */
START_TEST(a_session_without_memory_harms_nobody)
{
    started();
    int control, sealed, words, app;
    shared(sizeof(struct session_control), &control);
    sealed = memfd_create("answer", MFD_ALLOW_SEALING);
    ck_assert_int_eq(ftruncate(sealed, (off_t)segment_round(sizeof(struct session_answer))), 0);
    ck_assert_int_eq(fcntl(sealed, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    SAY_(session, SESSION, Session, inner.id = 3, inner.uid = 1000, inner.control_fd = give(control),
         inner.answer_fd = give(sealed), inner.bell_fd = give(f.session_bell[1]));
    EXPECT(LOG);
    until(tcp_saw_session, 1);
    shared(arena_send_octets(2, SLOT_RING_MIN), &app);
    words = memfd_create("words", MFD_ALLOW_SEALING);
    ck_assert_int_eq(ftruncate(words, (off_t)arena_receive_octets(2, SLOT_RING_MIN)), 0);
    ck_assert_int_eq(fcntl(words, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    SAY_(arena, ARENA, Arena, inner.session = 3, inner.transport = SESSION_TCP, inner.slots = 2,
         inner.send_size = SLOT_RING_MIN, inner.receive_size = SLOT_RING_MIN, inner.object = ARENA_OBJECT,
         inner.index = 40, inner.generation = 1, inner.app_fd = give(app), inner.transport_fd = give(words));
    EXPECT(LOG);
    SAY_(arena, ARENA, Arena, inner.session = 3, inner.arena = 1, inner.transport = SESSION_TCP, inner.slots = 2,
         inner.send_size = SLOT_RING_MIN, inner.receive_size = SLOT_RING_MIN, inner.object = ARENA_OBJECT + 1,
         inner.index = 41, inner.generation = 1, inner.app_fd = give(f.status_fd), inner.transport_fd = -1); /* short */
    EXPECT(LOG);
    send_to_ip(1, 100, 50);
    comes_back(1); /* all others are served */
    SAY_(session_ended, SESSION_ENDED, SessionEnded, inner.session = 3);
    ck_assert_uint_eq(EXPECT(SESSION_DONE), 3);
    SAY_(session_remove, SESSION_REMOVE, SessionRemove, inner.session = 3, inner.epoch = 12);
    ck_assert_uint_eq(EXPECT(ACK), 12);
    SAY_(session, SESSION, Session, inner.id = 3, inner.uid = 1000, inner.control_fd = -1, inner.answer_fd = -1,
         inner.bell_fd = -1); /* the supervisor had no descriptor left for it */
    EXPECT(LOG);
    until(tcp_saw_session, 2);
    fence();
    close(control);
    close(sealed);
    close(app);
    close(words);
}
END_TEST

static bool tcp_has_messages(uint64_t count)
{
    return value_of(SERVER_TCP, SAW_MESSAGE) == count;
}

static void entry_revoke(uint32_t server, enum server_id peer, uint32_t index, uint32_t generation)
{
    SAY_(revoke, REVOKE, Revoke, inner.server = server, inner.peer = peer, inner.index = index,
         inner.generation = generation, inner.epoch = 40 + generation);
}

START_TEST(a_revoked_entry_is_gone_when_it_is_acknowledged)
{
    started();
    entry_revoke(SERVER_IP, SERVER_NIC, 30, 2); /* another generation: what stands there came later */
    ck_assert_uint_eq(EXPECT(ACK), 42);
    send_to_ip(1, 100, 50);
    comes_back(1);
    entry_revoke(SERVER_IP, SERVER_NIC, 30, 1);
    ck_assert_uint_eq(EXPECT(ACK), 41);
    send_to_ip(2, 100, 50);
    until(ip_refused, 1);
    ck_assert_uint_eq(value_of(SERVER_TCP, SAW_MESSAGE), 1);
    pool_entry(SERVER_IP, SERVER_NIC, NIC_POOL, 30, true); /* granted anew */
    fence();
    send_to_ip(3, 100, 50);
    comes_back(3);
    entry_revoke(SERVER_IP, SERVER_TCP, 30, 1); /* one table's entry is not another's */
    ck_assert_uint_eq(EXPECT(ACK), 41);
    send_to_ip(4, 100, 50);
    until(tcp_has_messages, 3);
}
END_TEST

static void entries(uint32_t second_index)
{
    Bulkhead__Control__Capability entry[2], *pointer[] = {&entry[0], &entry[1]};
    for (unsigned i = 0; i < 2; i++) {
        entry[i] = (Bulkhead__Control__Capability)BULKHEAD__CONTROL__CAPABILITY__INIT;
        entry[i].server = i == 0 ? SERVER_IP : SERVER_TCP;
        entry[i].peer = i == 0 ? SERVER_NIC : SERVER_IP;
        entry[i].index = i == 0 ? 30 : second_index;
        entry[i].type = CAPABILITY_POOL;
        entry[i].generation = 1;
        entry[i].rights = CAPABILITY_READ;
        entry[i].object = NIC_POOL;
        entry[i].mapped = true;
    }
    SAY_(capabilities, CAPABILITIES, Capabilities, inner.n_entry = 2, inner.entry = pointer);
}

START_TEST(entries_that_come_together)
{
    started();
    entry_revoke(SERVER_IP, SERVER_NIC, 30, 1);
    EXPECT(ACK);
    entry_revoke(SERVER_TCP, SERVER_IP, 30, 1);
    EXPECT(ACK);
    entries(30);
    fence();
    send_to_ip(5, 100, 50);
    comes_back(5);
}
END_TEST

static void bad_among_entries(void)
{
    entries(CAPABILITY_TABLE_MAX);
}
static void bad_revoke_index(void)
{
    entry_revoke(SERVER_IP, SERVER_NIC, CAPABILITY_TABLE_MAX, 1);
}
static void bad_revoke_server(void)
{
    entry_revoke(SERVER_UDP, SERVER_IP, 30, 1);
}
static void bad_revoke_peer(void)
{
    entry_revoke(SERVER_IP, SERVER_COUNT, 30, 1);
}
static void bad_revoke_generation(void)
{
    entry_revoke(SERVER_IP, SERVER_NIC, 30, UINT16_MAX + 1);
}
static void bad_capability_index(void)
{
    pool_entry(SERVER_IP, SERVER_NIC, 1, CAPABILITY_TABLE_MAX, false);
}
static void bad_capability_server(void)
{
    pool_entry(SERVER_UDP, SERVER_IP, 1, 20, false);
}
static void bad_channel_self(void)
{
    SAY_(channel, CHANNEL, Channel, inner.server = SERVER_IP, inner.peer = SERVER_IP, inner.local = true);
}
static void bad_channel_bell(void)
{
    SAY_(channel, CHANNEL, Channel, inner.server = SERVER_IP, inner.peer = SERVER_NIC, inner.peer_domain = 15);
}
static void bad_configure_no_descriptor(void)
{
    SAY_(configure, CONFIGURE, Configure, inner.mtu = 1500);
}
static void bad_mtu_refused_by_server(void)
{
    configure(1400);
    pool(TCP_POOL, SERVER_TCP, true, NULL);
    store();
    start();
}
static void bad_start_unconfigured(void)
{
    start();
}
static void bad_arena(void)
{
    SAY_(arena, ARENA, Arena, inner.session = 3, inner.slots = ARENA_SLOTS_MAX + 1, inner.send_size = SLOT_RING_MIN,
         inner.receive_size = SLOT_RING_MIN, inner.app_fd = -1);
}
static void bad_session(void)
{
    SAY_(session, SESSION, Session, inner.id = SESSIONS_MAX);
}
static void bad_store_small(void)
{
    int fd;
    shared(STORE_SPACE, &fd);
    SAY_(store, STORE, Store, inner.server = SERVER_TCP, inner.fd = give(fd), inner.octets = STORE_SPACE / 2);
}
static void bad_pool_longer_than_its_segment(void)
{
    int fd;
    shared(POOL_OCTETS, &fd);
    SAY_(pool, POOL, Pool, inner.object = 5, inner.owner = SERVER_NIC, inner.fd = give(fd),
         inner.octets = 2 * POOL_OCTETS);
}

/* A batch of up to three messages, with so many descriptors each; the second number may lie. */
static void batch(const to_domain *const *message, size_t count, const uint32_t *descriptors, size_t descriptor_counts)
{
    static uint8_t packed[3][256];
    ProtobufCBinaryData part[3];
    for (size_t i = 0; i < count; i++)
        part[i] = (ProtobufCBinaryData){bulkhead__control__to_domain__pack(message[i], packed[i]), packed[i]};
    SAY_(batch, BATCH, Batch, inner.n_message = count, inner.message = part, inner.n_descriptors = descriptor_counts,
         inner.descriptors = (uint32_t *)descriptors);
}
static Bulkhead__Control__Start start_inner = BULKHEAD__CONTROL__START__INIT;
static const to_domain start_message = {.base = PROTOBUF_C_MESSAGE_INIT(&bulkhead__control__to_domain__descriptor),
                                        .what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START,
                                        {.start = &start_inner}};
static void bad_batch_descriptors(void)
{
    batch((const to_domain *const[]){&start_message}, 1, (const uint32_t[]){1}, 1);
}
static void bad_batch_counts(void)
{
    batch((const to_domain *const[]){&start_message}, 1, NULL, 0);
}
static void bad_batch_nested(void)
{
    Bulkhead__Control__Batch none = BULKHEAD__CONTROL__BATCH__INIT;
    to_domain nested = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    nested.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_BATCH;
    nested.batch = &none;
    batch((const to_domain *const[]){&nested}, 1, (const uint32_t[]){0}, 1);
}
static void bad_batch_nonsense(void)
{
    ProtobufCBinaryData part = {3, (uint8_t *)"\xff\xff\xff"};
    SAY_(batch, BATCH, Batch, inner.n_message = 1, inner.message = &part, inner.n_descriptors = 1,
         inner.descriptors = (uint32_t[]){0});
}

START_TEST(an_impossible_grant_ends_it_with_a_word)
{
    static void (*const bad[])(void) = {
        bad_capability_index,
        bad_capability_server,
        bad_channel_self,
        bad_channel_bell,
        bad_configure_no_descriptor,
        bad_mtu_refused_by_server,
        bad_start_unconfigured,
        bad_arena,
        bad_session,
        bad_store_small,
        bad_pool_longer_than_its_segment,
        bad_revoke_index,
        bad_revoke_server,
        bad_revoke_peer,
        bad_revoke_generation,
        bad_among_entries,
        bad_batch_descriptors,
        bad_batch_counts,
        bad_batch_nested,
        bad_batch_nonsense,
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (i > 0)
            setup();
        bad[i]();
        EXPECT(LOG);
        int status = status_of_end();
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), DOMAIN_EXIT_INIT);
    }
}
END_TEST

static int slot_bell[2];
static struct status_page *slot_status;

static void slot(void)
{
    int status_fd;
    slot_status = shared(sizeof *slot_status, &status_fd);
    ck_assert_int_eq(pipe2(slot_bell, O_CLOEXEC | O_NONBLOCK), 0);
    SAY_(slot, SLOT, Slot, inner.status_fd = give(status_fd), inner.doorbell_fd = give(slot_bell[0]));
    close(status_fd);
}

/* The ring is heard: nobody else reads it from the pipe. */
START_TEST(one_more_bell_wakes_it)
{
    int waiting = 1;
    grant_all();
    slot();
    start();
    ck_assert_uint_eq(EXPECT(READY), 5);
    for (unsigned ms = 0; ms < WAIT_MS && (__atomic_load_n(&slot_status->sleep, __ATOMIC_RELAXED) & 1) == 0; ms++)
        usleep(1000);
    uint32_t word = __atomic_load_n(&slot_status->sleep, __ATOMIC_RELAXED);
    ck_assert_int_eq(write(slot_bell[1], "", 1), 1);
    for (unsigned ms = 0; ms < WAIT_MS && waiting > 0; ms++, usleep(1000))
        ck_assert_int_eq(ioctl(slot_bell[0], FIONREAD, &waiting), 0);
    ck_assert_int_eq(waiting, 0);
    ck_assert_uint_ge(__atomic_load_n(&slot_status->sleep, __ATOMIC_RELAXED), word); /* it only counts up */
    slot();                                                                          /* too late: it has started */
    EXPECT(LOG);
    ck_assert_int_eq(WEXITSTATUS(status_of_end()), DOMAIN_EXIT_PROTOCOL);
}
END_TEST

/* Each message finds its own descriptors: the bell of the second slot is the one that is heard. */
START_TEST(a_batch_is_its_messages)
{
    int first[2], waiting = 1, status_fd[2];
    to_domain message[2] = {BULKHEAD__CONTROL__TO_DOMAIN__INIT, BULKHEAD__CONTROL__TO_DOMAIN__INIT};
    Bulkhead__Control__Slot one = BULKHEAD__CONTROL__SLOT__INIT;
    one.status_fd = 0;
    one.doorbell_fd = 1;
    grant_all();
    ck_assert_int_eq(pipe2(first, O_CLOEXEC | O_NONBLOCK), 0);
    ck_assert_int_eq(pipe2(slot_bell, O_CLOEXEC | O_NONBLOCK), 0);
    shared(sizeof(struct status_page), &status_fd[0]);
    slot_status = shared(sizeof *slot_status, &status_fd[1]);
    for (unsigned i = 0; i < 2; i++) {
        message[i].what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SLOT;
        message[i].slot = &one;
        give(status_fd[i]);
        give(i == 0 ? first[0] : slot_bell[0]);
    }
    batch((const to_domain *const[]){&message[0], &message[1], &start_message}, 3, (const uint32_t[]){2, 2, 0}, 3);
    ck_assert_uint_eq(EXPECT(READY), 5);
    for (unsigned ms = 0; ms < WAIT_MS && (__atomic_load_n(&slot_status->sleep, __ATOMIC_RELAXED) & 1) == 0; ms++)
        usleep(1000);
    ck_assert_uint_eq(__atomic_load_n(&slot_status->sleep, __ATOMIC_RELAXED) & 1, 1);
    ck_assert_int_eq(write(slot_bell[1], "", 1), 1);
    for (unsigned ms = 0; ms < WAIT_MS && waiting > 0; ms++, usleep(1000))
        ck_assert_int_eq(ioctl(slot_bell[0], FIONREAD, &waiting), 0);
    ck_assert_int_eq(waiting, 0);
}
END_TEST

SUITE_RUN("domain_grants", setup, teardown, one_more_bell_wakes_it, a_session_comes_and_goes,
          a_session_without_memory_harms_nobody, a_revoked_entry_is_gone_when_it_is_acknowledged,
          entries_that_come_together, a_batch_is_its_messages, an_impossible_grant_ends_it_with_a_word)
