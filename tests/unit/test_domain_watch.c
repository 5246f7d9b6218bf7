// SPDX-License-Identifier: BSD-2-Clause
/* Neighbours that live and do not serve are accused, others are not. The test is nic: its loop goes round as `lives`
 * says, and each step of STEP_MS it does what the row says. */
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/inject.h"
#include "tests/unit/domain_harness.h"

#define STEP_MS  20
#define STEPS    200
#define NO_ENTRY 999

static struct {
    const char *name;
    bool lives, beats, asks, takes, gives_back, lies, revoked;
    const char *accused; /* NULL: it is not */
    uint32_t keeps_one;  /* cookie */
    uint32_t instead;    /* cookie that it gives back in its place; 0: none */
} rows[] = {
    {"beats and serves", true, true, true, true, true, false, false, NULL, 0},
    {"beats, and nobody wants anything", true, true, false, true, true, false, false, NULL, 0},
    {"says nothing", true, false, false, true, false, false, false, ACCUSED_SILENT, 0},
    {"is stopped", false, false, false, false, false, false, false, NULL, 0},
    {"takes and keeps", true, true, true, true, false, false, false, ACCUSED_KEEPS, 0},
    {"keeps one, others come home", true, true, true, true, true, false, false, ACCUSED_KEEPS_ONE, 8 + 3},
    {"gives back another in its place", true, true, true, true, true, false, false,
     "gave back another loan than it had", 8 + 3, 999},
    {"takes nothing", true, true, true, false, false, false, false, NULL, 0},
    {"lies on and on", true, true, false, true, true, true, false, "goes on naming what it may not", 0},
    {"names what was revoked", true, true, false, true, true, true, true, NULL, 0},
};

static void beat(void)
{
    const struct message m = {.operation = MESSAGE_RETURN, .capability = 1, .generation = 1};
    ck_assert(port_push(&f.nic, &m));
}

static void step(uint32_t i, uint32_t n)
{
    struct message m, home = {.operation = MESSAGE_RETURN, .capability = 1, .generation = 1};
    if (rows[i].lives)
        __atomic_fetch_add(&f.nic_status->liveness, 1, __ATOMIC_RELAXED);
    if (rows[i].beats)
        beat();
    if (rows[i].asks && n % 8 == 0 && f.nic.lent < 16)
        send_to_ip(n, 100, 50);
    m = (struct message){.operation = MESSAGE_RECEIVE, .capability = 1, .generation = 1};
    m.reference[0] = (struct message_reference){.pool = NO_ENTRY, .generation = 1, .length = 4};
    if (rows[i].lies)
        ck_assert(port_push(&f.nic, &m));
    while (rows[i].takes && port_pull(&f.nic, &m))
        if (m.operation == MESSAGE_RECEIVE && (rows[i].keeps_one == 0 || m.cookie != rows[i].keeps_one))
            home.returned[home.count++] = (uint32_t)m.cookie;
        else if (m.operation == MESSAGE_RECEIVE && rows[i].instead != 0)
            home.returned[home.count++] = rows[i].instead;
    if (rows[i].gives_back && home.count > 0)
        ck_assert(port_push(&f.nic, &home));
    port_flush(&f.nic);
    usleep(STEP_MS * 1000);
}

/* What the domain says of its neighbour, if anything within the time. */
static void accusation(char *ret, size_t size)
{
    struct pollfd p = {.fd = f.control, .events = POLLIN};
    ret[0] = '\0';
    if (poll(&p, 1, 0) != 1)
        return;
    Bulkhead__Control__FromDomain *m = hear();
    ck_assert_uint_eq(m->what_case, BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_CHANNEL_BROKEN);
    ck_assert_uint_eq(m->channel_broken->server, SERVER_IP);
    ck_assert_uint_eq(m->channel_broken->peer, SERVER_NIC);
    snprintf(ret, size, "%s", m->channel_broken->why);
    bulkhead__control__from_domain__free_unpacked(m, NULL);
}

/* What no neighbour says that is sound: it is accused at once, and takes what it said not back: evidence. */
static const struct {
    const char *name;
    struct message m;
    uint8_t slot_count; /* as it is said; 0: what it is */
    const char *accused;
} nonsense[] = {
    {"too few slots", {.operation = MESSAGE_RECEIVE, .capability = 1, .generation = 1}, 1, ACCUSED_SENSE},
    {"a reserved octet",
     {.operation = MESSAGE_RECEIVE, .capability = 1, .generation = 1, .reserved1 = {1}},
     0,
     ACCUSED_SENSE},
    {"a stale name", {.operation = MESSAGE_RECEIVE, .capability = 1, .generation = 2}, 0, NULL},
};

START_TEST(nonsense_is_accused_at_once)
{
    char said[128] = "";
    started();
    uint32_t consumed = __atomic_load_n(&f.nic.ring.peer->consumer, __ATOMIC_ACQUIRE), head = f.nic.ring.head;
    ck_assert(port_push(&f.nic, &nonsense[_i].m));
    if (nonsense[_i].slot_count != 0)
        f.nic.ring.mine->slot[head % RING_SLOTS].octets[offsetof(struct message, slot_count)] = nonsense[_i].slot_count;
    port_flush(&f.nic);
    for (int i = 0; i < 50 && said[0] == '\0'; i++) { /* a good deal less than a tick */
        usleep(1000);
        accusation(said, sizeof said);
    }
    ck_assert_msg(strcmp(said, nonsense[_i].accused != NULL ? nonsense[_i].accused : "") == 0, "%s: '%s'",
                  nonsense[_i].name, said);
    bool released = __atomic_load_n(&f.nic.ring.peer->consumer, __ATOMIC_ACQUIRE) != consumed;
    ck_assert_msg(released == (nonsense[_i].accused == NULL), "%s", nonsense[_i].name);
}
END_TEST

START_TEST(who_does_not_serve_is_accused)
{
    char said[128] = "";
    started();
    if (rows[_i].revoked) {
        SAY_(revoke, REVOKE, Revoke, inner.epoch = 7, inner.server = SERVER_IP, inner.peer = SERVER_NIC,
             inner.index = NO_ENTRY, inner.generation = 1);
        EXPECT(ACK);
    }
    for (uint32_t n = 0; n < STEPS && said[0] == '\0'; n++) {
        step((uint32_t)_i, n);
        accusation(said, sizeof said);
    }
    ck_assert_msg(strcmp(said, rows[_i].accused != NULL ? rows[_i].accused : "") == 0, "%s: '%s'", rows[_i].name, said);
}
END_TEST

/* Whose buffers are all gone, and nobody has them, ends: the next incarnation has a fresh pool. */
START_TEST(a_lost_pool_is_the_end)
{
    started();
    SAY_(fault, FAULT, Fault, inner.server = SERVER_TCP, inner.kind = INJECT_EXHAUST, inner.peer = SERVER_COUNT);
    EXPECT(FAULTED);
    EXPECT(LOG);
    int status = status_of_end();
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), DOMAIN_EXIT_PROTOCOL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("domain_watch");
    TCase *tc = tcase_create("domain_watch");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, who_does_not_serve_is_accused, 0, sizeof rows / sizeof rows[0]);
    tcase_add_loop_test(tc, nonsense_is_accused_at_once, 0, sizeof nonsense / sizeof nonsense[0]);
    tcase_add_test(tc, a_lost_pool_is_the_end);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
