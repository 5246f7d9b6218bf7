// SPDX-License-Identifier: BSD-2-Clause
/* Faults that a domain does to itself on the supervisor's word. What nic sends comes back over four hops, nic -> ip ->
 * tcp -> ip
 * -> nic; a fault of ip towards nic shows in what comes back. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "ipc/inject.h"
#include "ipc/segment.h"
#include "tests/unit/domain_harness.h"

#define QUIET_MS 60
#define FOR_GOOD UINT32_MAX
#define MANY     64

static char told[256]; /* the line of the latest Faulted */

static Bulkhead__Control__FromDomain *early; /* a Faulted that came before the fence */

/* It is in force; it may have struck already. */
static void fault(uint32_t server, uint32_t kind, uint32_t peer, uint64_t seed, uint32_t count)
{
    SAY_(fault, FAULT, Fault, inner.server = server, inner.kind = kind, inner.peer = peer, inner.seed = seed,
         inner.count = count);
    SAY_(peer_attached, PEER_ATTACHED, PeerAttached, inner.epoch = 99);
    Bulkhead__Control__FromDomain *m = hear();
    if (m->what_case == BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_FAULTED) {
        early = m;
        ck_assert_uint_eq(EXPECT(ACK), 99);
        return;
    }
    ck_assert_uint_eq(m->what_case, BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_ACK);
    bulkhead__control__from_domain__free_unpacked(m, NULL);
}

/* The next thing that the domain says is this. */
static void struck(uint32_t server, uint32_t kind)
{
    Bulkhead__Control__FromDomain *m = early != NULL ? early : hear();
    early = NULL;
    ck_assert_uint_eq(m->what_case, BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_FAULTED);
    ck_assert_uint_eq(m->faulted->server, server);
    ck_assert_uint_eq(m->faulted->kind, kind);
    snprintf(told, sizeof told, "%s", m->faulted->text);
    bulkhead__control__from_domain__free_unpacked(m, NULL);
}

static uint32_t reply_count(void)
{
    struct message m;
    uint32_t count = 0;
    while (nic_pull(&m))
        count++;
    port_flush(&f.nic);
    return count;
}

/* Messages that come back within a while of quiet: all there will be. */
static uint32_t replies(void)
{
    uint32_t count = 0;
    for (int quiet_ms = 0; quiet_ms < QUIET_MS; quiet_ms++) {
        uint32_t more = reply_count();
        if (more > 0)
            quiet_ms = 0;
        count += more;
        usleep(1000);
    }
    return count;
}

static void send_one(uint64_t cookie)
{
    send_to_ip(cookie, 100, 50);
    until(nic_has_message, 0);
}

/* ---- hangs ---- */
static uint64_t liveness(void)
{
    return __atomic_load_n(&f.status->liveness, __ATOMIC_RELAXED);
}

static void it_stands_still(uint32_t kind, bool asleep)
{
    char state = '?', path[64];
    fault(SERVER_IP, kind, SERVER_COUNT, 7, 0);
    for (uint64_t i = 0; i < 16; i++) /* each message is a round at least */
        send_to_ip(10 * i, 100, 50);
    struck(SERVER_IP, kind);
    uint64_t was = liveness();
    usleep(250000);
    ck_assert_uint_eq(liveness(), was);
    snprintf(path, sizeof path, "/proc/%d/stat", (int)f.child);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%*d %*s %c", &state), 1);
    fclose(file);
    ck_assert_int_eq(state, asleep ? 'S' : 'R');
    kill(f.child, SIGKILL);
    (void)status_of_end();
}

START_TEST(a_loop_does_not_end)
{
    started();
    it_stands_still(INJECT_LOOP, false);
}
END_TEST

START_TEST(a_block_sleeps_for_ever)
{
    started();
    it_stands_still(INJECT_BLOCK, true);
}
END_TEST

START_TEST(slow_is_slow_so_many_times)
{
    started();
    fault(SERVER_IP, INJECT_SLOW, SERVER_COUNT, 7, 2);
    struck(SERVER_IP, INJECT_SLOW);
    send_to_ip(1, 100, 50);
    comes_back(1);
    for (uint64_t i = 0; i < MANY; i++) { /* all works on */
        send_to_ip(i, 100, 50);
        comes_back(i);
    }
}
END_TEST

/* ---- messages ---- */
static const struct {
    const char *name;
    uint32_t kind, count;
    uint32_t least, most; /* of MANY replies */
} harms[] = {
    {"one is dropped", INJECT_DROP, 0, MANY - 1, MANY - 1},
    {"five are dropped", INJECT_DROP, 5, MANY - 5, MANY - 5},
    {"one comes twice", INJECT_DUPLICATE, 0, MANY + 1, MANY + 1},
    {"one comes again", INJECT_REPLAY, 0, MANY + 1, MANY + 1},
    {"three are out of order", INJECT_REORDER, 3, MANY, MANY},
    {"nothing more", INJECT_MUTE, 0, 0, INJECT_KINDS},
    {"nothing of three", INJECT_MUTE, 3, MANY - 3, MANY - 3},
    {"what comes is kept", INJECT_LEAK, 0, 0, INJECT_KINDS},
    {"two are kept", INJECT_LEAK, 2, MANY - 2, MANY - 2},
};

static uint32_t run_harm(uint32_t kind, uint64_t seed, uint32_t count, uint64_t *ret_sum)
{
    uint32_t received = 0, wrong = 0;
    uint64_t sum = 0, highest = 0;
    fault(SERVER_IP, kind, SERVER_NIC, seed, count);
    for (uint64_t i = 0; i < MANY; i++)
        send_to_ip(1000 + i, 100, 50);
    struct message m;
    for (int quiet_ms = 0; quiet_ms < QUIET_MS; quiet_ms++, usleep(1000)) {
        while (nic_pull(&m)) {
            quiet_ms = 0;
            sum = sum * 31 + m.cookie * 7 + m.reference[0].generation;
            wrong += m.cookie < highest;
            highest = m.cookie > highest ? m.cookie : highest;
            received++;
        }
        port_flush(&f.nic);
    }
    ck_assert_uint_eq(kind == INJECT_REORDER, wrong > 0 && kind != INJECT_REPLAY);
    struck(SERVER_IP, kind);
    *ret_sum = sum;
    return received;
}

START_TEST(messages_are_harmed_so_often_and_by_seed)
{
    uint64_t sum[3];
    for (size_t i = 0; i < sizeof harms / sizeof harms[0]; i++) {
        uint32_t received[3];
        for (uint32_t run = 0; run < 3; run++) {
            if (i > 0 || run > 0)
                setup();
            started();
            received[run] = run_harm(harms[i].kind, run < 2 ? 12345 : 777, harms[i].count, &sum[run]);
            ck_assert_msg(received[run] >= harms[i].least && received[run] <= harms[i].most, "%s: %u", harms[i].name,
                          received[run]);
            if (i + 1 < sizeof harms / sizeof harms[0] || run < 2)
                teardown();
        }
        ck_assert_msg(sum[0] == sum[1], "%s: the same seed, another fault", harms[i].name);
    }
}
END_TEST

/* Any field, the envelope too: the line tells which. Nothing of it harms the one who does it. */
static void change_by_seeds(uint32_t kind)
{
    uint32_t lines = 0;
    char before[sizeof told] = "";
    for (uint64_t seed = 1; seed <= 24; seed++) {
        started();
        fault(SERVER_IP, kind, SERVER_NIC, seed, 0);
        for (uint64_t i = 0; i < 8; i++)
            send_to_ip(50 + i, 100, 50);
        struck(SERVER_IP, kind);
        ck_assert_ptr_nonnull(strstr(told, "ip to nic: receive: "));
        ck_assert_ptr_nonnull(strstr(told, " is "));
        lines += strcmp(told, before) != 0;
        memcpy(before, told, sizeof before);
        uint32_t came = replies();
        ck_assert_uint_ge(came + f.nic.counters.malformed + 8 * f.nic.ring.broken, 7);
        ck_assert(liveness_beyond(0));
        if (seed < 24) {
            teardown();
            setup();
        }
    }
    ck_assert_uint_ge(lines, 20);
}

START_TEST(a_field_is_changed)
{
    change_by_seeds(INJECT_FIELD);
}
END_TEST

START_TEST(a_capability_is_forged)
{
    change_by_seeds(INJECT_FORGE);
}
END_TEST

/* Forged on the local channel to tcp: its table refuses it, as it would from another process. */
START_TEST(a_local_channel_has_the_same)
{
    started();
    fault(SERVER_IP, INJECT_DROP, SERVER_TCP, 3, 4);
    for (uint64_t i = 0; i < MANY; i++)
        send_to_ip(10 * i, 100, 50);
    ck_assert_uint_eq(replies(), MANY - 4);
    struck(SERVER_IP, INJECT_DROP);
    ck_assert_str_eq(told, "ip to tcp: receive: dropped");
    ck_assert_uint_eq(value_of(SERVER_TCP, SAW_MESSAGE), MANY - 4);
}
END_TEST

START_TEST(a_flood_comes_as_fast_as_it_is_taken)
{
    started();
    fault(SERVER_IP, INJECT_FLOOD, SERVER_NIC, 3, 3000);
    uint32_t count = replies();
    struck(SERVER_IP, INJECT_FLOOD);
    ck_assert_uint_eq(count + f.nic.counters.malformed, 3000);
    ck_assert_uint_eq(f.nic.counters.malformed, 0); /* well-formed */
    ck_assert(!f.nic.ring.broken);
    send_to_ip(1, 100, 50); /* it is over */
    comes_back(1);
}
END_TEST

START_TEST(a_pool_is_exhausted)
{
    started();
    fault(SERVER_TCP, INJECT_EXHAUST, SERVER_COUNT, 3, 0);
    struck(SERVER_TCP, INJECT_EXHAUST);
    ck_assert_str_eq(told, "takes the buffers of its pool");
    send_to_ip(1, 100, 50);
    comes_back(1);
}
END_TEST

START_TEST(sockets_are_asked_for)
{
    started();
    fault(SERVER_IP, INJECT_EXHAUST, SERVER_NIC, 3, 700); /* without a pool: from the peer */
    struck(SERVER_IP, INJECT_EXHAUST);
    ck_assert_uint_eq(replies(), 700);
}
END_TEST

static bool struck_before_the_fence(void)
{
    SAY_(peer_attached, PEER_ATTACHED, PeerAttached, inner.epoch = 99);
    Bulkhead__Control__FromDomain *m = hear();
    bool lost = m->what_case == BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_FAULTED;
    bulkhead__control__from_domain__free_unpacked(m, NULL);
    if (lost)
        ck_assert_uint_eq(EXPECT(ACK), 99);
    return lost;
}

/* Nobody is woken for what was said, nor for what comes after it, until the peer wakes of itself. */
START_TEST(a_bell_is_lost)
{
    char octets[8];
    started();
    __atomic_store_n(&f.nic_status->sleep, 1, __ATOMIC_SEQ_CST);
    fault(SERVER_IP, INJECT_LOST_BELL, SERVER_NIC, 0, 0);
    uint32_t rung = 0, sleeps = 0;
    bool lost = false;
    for (uint64_t i = 0; i < 16; i++) { /* asleep anew before each */
        uint32_t word = 2 * (uint32_t)i + 3;
        __atomic_store_n(&f.nic_status->sleep, word, __ATOMIC_SEQ_CST);
        sleeps++;
        send_one(10 * i);
        lost |= struck_before_the_fence();
        rung += read(f.bell[0], octets, sizeof octets) > 0;
        (void)reply_count();
        if (rung == sleeps)
            continue;
        send_one(10 * i + 5); /* still asleep: no bell either */
        break;
    }
    ck_assert(lost);
    ck_assert_uint_eq(rung + 1, sleeps);
    fence();
    ck_assert_int_le(read(f.bell[0], octets, sizeof octets), 0);
}
END_TEST

/* ---- what cannot be done ---- */
START_TEST(nonsense_is_a_log_and_no_death)
{
    static const struct {
        uint32_t server, kind, peer;
    } wrong[] = {{SERVER_NIC, INJECT_LOOP, SERVER_COUNT}, /* not here */
                 {99, INJECT_LOOP, SERVER_COUNT},
                 {SERVER_IP, 5, SERVER_COUNT},
                 {SERVER_IP, 999, SERVER_COUNT},
                 {SERVER_TCP, INJECT_DROP, SERVER_NIC}, /* no such channel */
                 {SERVER_TCP, INJECT_DROP, 77}};
    started();
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        SAY_(fault, FAULT, Fault, inner.server = wrong[i].server, inner.kind = wrong[i].kind,
             inner.peer = wrong[i].peer);
        EXPECT(LOG);
        send_to_ip(i, 100, 50);
        comes_back(i);
    }
}
END_TEST

START_TEST(a_fault_is_ended)
{
    started();
    fault(SERVER_IP, INJECT_DROP, SERVER_NIC, 1, FOR_GOOD);
    for (uint64_t i = 0; i < MANY; i++)
        send_to_ip(i, 100, 50);
    ck_assert_uint_lt(replies(), MANY - 4);
    struck(SERVER_IP, INJECT_DROP);
    fault(SERVER_IP, INJECT_NONE, SERVER_COUNT, 0, 0);
    for (uint64_t i = 0; i < MANY; i++)
        send_to_ip(i, 100, 50);
    ck_assert_uint_eq(replies(), MANY);
}
END_TEST

START_TEST(the_canary_is_there)
{
    started();
    ck_assert_uint_ne(f.crash->canary, 0);
    uint8_t seen[CRASH_CANARY];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", (int)f.child);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, (long)f.crash->canary, SEEK_SET), 0);
    ck_assert_uint_eq(fread(seen, 1, sizeof seen, file), sizeof seen);
    fclose(file);
    for (uint32_t n = 0; n < CRASH_CANARY; n++)
        ck_assert_uint_eq(seen[n], (uint8_t)(n * 151 + 43));
}
END_TEST

SUITE_RUN("domain_fault", setup, teardown, a_loop_does_not_end, a_block_sleeps_for_ever, slow_is_slow_so_many_times,
          messages_are_harmed_so_often_and_by_seed, a_field_is_changed, a_capability_is_forged,
          a_local_channel_has_the_same, a_flood_comes_as_fast_as_it_is_taken, a_pool_is_exhausted,
          sockets_are_asked_for, a_bell_is_lost, nonsense_is_a_log_and_no_death, a_fault_is_ended, the_canary_is_there)
