// SPDX-License-Identifier: BSD-2-Clause
/* Deaths: who lets go of what, in which order, before the next incarnation starts. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

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
    hear_nothing(SERVER_UDP); /* it has nothing of tcp's */
    ck_assert_int_eq(s->domain[SERVER_TCP].state, DOMAIN_GRANTED);
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 1);
    for (uint32_t i = 0; i < SERVER_COUNT; i++)
        ck_assert_uint_eq(hear_all(i, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_ATTACHED),
                          i != SERVER_TCP && i != SERVER_UDP);
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
    lets_go(SERVER_IP, SERVER_BIT(SERVER_UDP), 1);
    ck_assert_uint_eq(s->domain[SERVER_TCP].known & SERVER_BIT(SERVER_SOCKET), 0);
    hear_nothing(SERVER_TCP);
    lets_go(SERVER_NIC, SERVER_BIT(SERVER_UDP), 0);
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
    hear_nothing(SERVER_IP);
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
    hear_nothing(SERVER_SOCKET);
    s->domain[SERVER_NIC].state = DOMAIN_STANDBY;
    barrier_advance(s);
    ck_assert_int_eq(s->domain[SERVER_NIC].state, DOMAIN_GRANTED);
    ck_assert_uint_eq(hear_all(SERVER_NIC, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 0);
    for (uint32_t i = SERVER_IP; i < SERVER_COUNT; i++)
        ck_assert_uint_eq(hear_all(i, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_ATTACHED), i != SERVER_SOCKET);
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
    for (uint32_t i = SERVER_IP; i < SERVER_SOCKET; i++)
        lets_go(i, SERVER_BIT(SERVER_NIC), 1);
    s->domain[SERVER_NIC].state = DOMAIN_STANDBY;
    barrier_advance(s);
    barrier_acknowledged(s, &s->domain[SERVER_TCP], s->domain[SERVER_TCP].attach_epoch);
    hear_all(SERVER_NIC, 0);
    s->domain[SERVER_UDP].attach_epoch = 0; /* as domain_died() does */
    die(SERVER_UDP);
    ck_assert_uint_eq(hear_all(SERVER_NIC, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_START), 1);
}
END_TEST

static void say_stop(struct domain *d, bool with_descriptor)
{
    Bulkhead__Control__Stop stop = BULKHEAD__CONTROL__STOP__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP;
    message.stop = &stop;
    int fd = with_descriptor ? dup(0) : -1;
    control_send(s, d, &message, &fd, with_descriptor, 1);
}

/* Nothing before it is let out, then one datagram; what is too much for one goes before. Descriptors that were its to
 * close are closed. */
START_TEST(what_is_corked_goes_together)
{
    struct domain *d = &s->domain[SERVER_TCP];
    uint8_t octet;
    start_all();
    int before = descriptors();
    control_cork(d);
    for (unsigned i = 0; i < CORK_MESSAGES; i++)
        say_stop(d, i < 3);
    hear_nothing(SERVER_TCP);
    ck_assert_int_eq(descriptors(), before + 3);
    control_uncork(s, d);
    ck_assert_int_gt(recv(end[SERVER_TCP], &octet, 1, MSG_PEEK), 0);
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP), CORK_MESSAGES);
    ck_assert_int_eq(descriptors(), before);
    control_cork(d);
    for (unsigned i = 0; i < CORK_MESSAGES + 2; i++)
        say_stop(d, false);
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP), CORK_MESSAGES);
    control_uncork(s, d);
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP), 2);
    control_cork(d); /* as many descriptors as fit */
    for (unsigned i = 0; i < CONTROL_FDS_MAX - 1; i++)
        say_stop(d, true);
    hear_nothing(SERVER_TCP);
    say_stop(d, true);
    say_stop(d, true);
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP), CONTROL_FDS_MAX);
    control_uncork(s, d);
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP), 1);
    ck_assert_int_eq(descriptors(), before);
    say_stop(d, false); /* and one alone is itself */
    ck_assert_uint_eq(hear_all(SERVER_TCP, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_STOP), 1);
}
END_TEST

/* Once, and only if it is as large as it has to be. */
START_TEST(what_was_made_beforehand_is_used)
{
    struct server_memory *m = &s->server[SERVER_TCP];
    start_all();
    memory_prepare(s, SERVER_BIT(SERVER_TCP));
    int pool = m->pool_next, half = -1, count = descriptors();
    ck_assert_int_ge(pool, 0);
    ck_assert_int_lt(s->server[SERVER_IP].pool_next, 0);
    memory_prepare(s, SERVER_BIT(SERVER_TCP));
    ck_assert_int_eq(descriptors(), count);
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++) {
        const enum server_id *ends = topology_channel[i].end;
        bool its = ends[0] == SERVER_TCP || ends[1] == SERVER_TCP;
        ck_assert(its == (s->channel[i].next[0] >= 0) && its == (s->channel[i].next[1] >= 0));
        half = its ? s->channel[i].next[1] : half;
    }
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_TCP)), 0);
    ck_assert_int_eq(m->pool, pool);
    ck_assert_int_lt(m->pool_next, 0);
    bool used = false;
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++)
        used = used || s->channel[i].half[1] == half;
    ck_assert(used);
    memory_prepare(s, SERVER_BIT(SERVER_TCP));
    m->pool_octets *= 2; /* of another program */
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_TCP)), 0);
    ck_assert_int_eq(segment_check(m->pool, m->pool_octets), 0);
}
END_TEST

/* However many lives there are before somebody has the time to. */
START_TEST(what_is_replaced_goes_later)
{
    start_all();
    int count = descriptors(), pool = s->server[SERVER_TCP].pool;
    ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_TCP)), 0);
    ck_assert_int_ne(s->server[SERVER_TCP].pool, pool);
    ck_assert_int_ge(fcntl(pool, F_GETFD), 0);
    ck_assert_int_gt(descriptors(), count);
    memory_let_go(s);
    ck_assert_int_lt(fcntl(pool, F_GETFD), 0);
    ck_assert_int_eq(descriptors(), count);
    for (unsigned i = 0; i < 20; i++)
        ck_assert_int_eq(memory_renew(s, SERVER_BIT(SERVER_TCP)), 0);
    ck_assert_int_le(descriptors(), count + (int)(sizeof s->left.fd / sizeof s->left.fd[0]));
    memory_let_go(s);
    ck_assert_int_eq(descriptors(), count);
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
    tcase_add_test(tests, what_is_corked_goes_together);
    tcase_add_test(tests, what_was_made_beforehand_is_used);
    tcase_add_test(tests, what_is_replaced_goes_later);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
