// SPDX-License-Identifier: BSD-2-Clause
/* Deaths: who lets go of what, in which order, before the next incarnation starts. */
#include <stdlib.h>

#include "ipc/segment.h"
#include "tests/unit/supervisor_harness.h"

START_TEST(nearest_let_go_first)
{
    start_all();
    uint32_t object = s->server[SERVER_TCP].pool_object;
    uint16_t generation = s->server[SERVER_TCP].pool_generation, index = s->server[SERVER_TCP].pool_index;
    s->domain[SERVER_TCP].incarnation++;
    die(SERVER_TCP);
    hear_nothing(SERVER_NIC);
    hear_nothing(SERVER_UDP);
    lets_go(SERVER_IP, SERVER_BIT(SERVER_TCP), 1);
    hear_nothing(SERVER_NIC);                          /* socket is as near, and has not acknowledged */
    lets_go(SERVER_SOCKET, SERVER_BIT(SERVER_TCP), 0); /* has nothing of its pool */
    s->domain[SERVER_TCP].state = DOMAIN_STANDBY;
    barrier_advance(s);
    ck_assert_int_eq(s->domain[SERVER_TCP].state, DOMAIN_STANDBY); /* not before everyone has let go */
    hear_nothing(SERVER_TCP);
    lets_go(SERVER_NIC, SERVER_BIT(SERVER_TCP), 0);
    lets_go(SERVER_UDP, SERVER_BIT(SERVER_TCP), 0);
    ck_assert_int_eq(s->domain[SERVER_TCP].state, DOMAIN_GRANTED);
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 1);
    for (uint32_t i = 0; i < SERVER_COUNT; i++)
        ck_assert_uint_eq(hear_all(i, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_ATTACHED), i == SERVER_TCP ? 0 : 1);
    ck_assert_uint_gt(s->server[SERVER_TCP].pool_object, object);
    ck_assert_uint_eq(s->server[SERVER_TCP].pool_index, index);
    ck_assert_uint_eq(s->server[SERVER_TCP].pool_generation, generation + 1);
}
END_TEST

START_TEST(a_second_death_joins_the_barrier)
{
    start_all();
    die(SERVER_SOCKET);
    lets_go(SERVER_TCP, SERVER_BIT(SERVER_SOCKET), 0);
    die(SERVER_UDP); /* it was told, and never answers */
    lets_go(SERVER_IP, SERVER_BIT(SERVER_SOCKET) | SERVER_BIT(SERVER_UDP), 1);
    ck_assert_uint_eq(s->domain[SERVER_TCP].known & SERVER_BIT(SERVER_SOCKET), 0);
    lets_go(SERVER_TCP, SERVER_BIT(SERVER_UDP), 0); /* as far from udp as nic */
    lets_go(SERVER_NIC, SERVER_BIT(SERVER_SOCKET) | SERVER_BIT(SERVER_UDP), 0);
    for (uint32_t i = SERVER_NIC; i <= SERVER_TCP; i++)
        ck_assert_uint_eq(s->domain[i].known & (SERVER_BIT(SERVER_UDP) | SERVER_BIT(SERVER_SOCKET)), 0);
    hear_all(SERVER_UDP, 0);
    s->domain[SERVER_SOCKET].state = DOMAIN_STANDBY;
    barrier_advance(s);
    ck_assert_int_eq(s->domain[SERVER_SOCKET].state, DOMAIN_GRANTED); /* it does not wait for udp's return */
    to_domain *m;
    for (; (m = hear(SERVER_SOCKET)) != NULL; bulkhead__control__to_domain__free_unpacked(m, NULL)) {
        if (m->what_case == BULKHEAD__CONTROL__TO_DOMAIN__WHAT_CHANNEL)
            ck_assert_uint_ne(m->channel->peer, SERVER_UDP);
    }
}
END_TEST

/* nic's buffers go through ip to udp, which is a neighbour of socket: it lets go of each in its turn. */
START_TEST(each_death_has_its_own_distances)
{
    start_all();
    s->domain[SERVER_NIC].state = DOMAIN_DOWN;
    rights_died(s, &s->domain[SERVER_NIC]);
    die(SERVER_SOCKET);
    lets_go(SERVER_UDP, SERVER_BIT(SERVER_SOCKET), 0);
    lets_go(SERVER_TCP, SERVER_BIT(SERVER_SOCKET), 0);
    hear_nothing(SERVER_UDP);
    lets_go(SERVER_IP, SERVER_BIT(SERVER_NIC), 1);
    lets_go(SERVER_TCP, SERVER_BIT(SERVER_NIC), 1);
    lets_go(SERVER_UDP, SERVER_BIT(SERVER_NIC), 1);
    lets_go(SERVER_IP, SERVER_BIT(SERVER_SOCKET), 0);
    for (uint32_t i = SERVER_IP; i <= SERVER_UDP; i++)
        ck_assert_uint_eq(s->domain[i].known & (SERVER_BIT(SERVER_NIC) | SERVER_BIT(SERVER_SOCKET)), 0);
}
END_TEST

/* nic's buffers reach tcp and udp through ip: it starts when they know its pool. */
START_TEST(a_pool_is_known_before_its_owner_starts)
{
    start_all();
    die(SERVER_NIC);
    lets_go(SERVER_IP, SERVER_BIT(SERVER_NIC), 1);
    lets_go(SERVER_TCP, SERVER_BIT(SERVER_NIC), 1);
    lets_go(SERVER_UDP, SERVER_BIT(SERVER_NIC), 1);
    lets_go(SERVER_SOCKET, SERVER_BIT(SERVER_NIC), 0);
    s->domain[SERVER_NIC].state = DOMAIN_STANDBY;
    barrier_advance(s);
    ck_assert_int_eq(s->domain[SERVER_NIC].state, DOMAIN_GRANTED);
    ck_assert_uint_eq(hear_all(SERVER_NIC, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 0);
    for (uint32_t i = SERVER_IP; i < SERVER_COUNT; i++)
        ck_assert_uint_eq(hear_all(i, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_ATTACHED), 1);
    ck_assert_uint_eq(s->domain[SERVER_IP].attach_epoch, 0);
    ck_assert_uint_eq(s->domain[SERVER_SOCKET].attach_epoch, 0);
    barrier_acknowledged(s, &s->domain[SERVER_TCP], s->domain[SERVER_TCP].attach_epoch);
    hear_nothing(SERVER_NIC);
    barrier_acknowledged(s, &s->domain[SERVER_UDP], s->domain[SERVER_UDP].attach_epoch);
    ck_assert_uint_eq(hear_all(SERVER_NIC, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 1);
}
END_TEST

/* Nobody waits for the dead. */
START_TEST(a_start_does_not_wait_for_who_dies)
{
    start_all();
    die(SERVER_NIC);
    for (uint32_t i = SERVER_IP; i < SERVER_COUNT; i++)
        lets_go(i, SERVER_BIT(SERVER_NIC), i != SERVER_SOCKET);
    s->domain[SERVER_NIC].state = DOMAIN_STANDBY;
    barrier_advance(s);
    barrier_acknowledged(s, &s->domain[SERVER_TCP], s->domain[SERVER_TCP].attach_epoch);
    hear_all(SERVER_NIC, 0);
    s->domain[SERVER_UDP].attach_epoch = 0; /* as domain_died() does */
    die(SERVER_UDP);
    ck_assert_uint_eq(hear_all(SERVER_NIC, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervisor_barrier");
    TCase *tests = tcase_create("supervisor_barrier");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, nearest_let_go_first);
    tcase_add_test(tests, a_second_death_joins_the_barrier);
    tcase_add_test(tests, each_death_has_its_own_distances);
    tcase_add_test(tests, a_pool_is_known_before_its_owner_starts);
    tcase_add_test(tests, a_start_does_not_wait_for_who_dies);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
