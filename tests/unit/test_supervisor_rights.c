// SPDX-License-Identifier: BSD-2-Clause
/* What was granted is what the registry says: the rows of the topology and nothing else, one writer for each object;
 * and what becomes of it when domains die, sessions end and entries are revoked. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "tests/unit/supervisor_harness.h"

#define TABLE(server, peer) ((uint8_t)((server)*SERVER_COUNT + (peer)))

static const struct registry_node *entry(enum server_id server, enum server_id peer, uint16_t index,
                                         uint16_t generation)
{
    return registry_entry(&s->registry, TABLE(server, peer), index, generation);
}

static const struct registry_node *pool_entry(const struct topology_pool *row)
{
    return entry(row->server, row->peer, s->server[row->owner].pool_index, s->server[row->owner].pool_generation);
}

static unsigned entries(void)
{
    unsigned count = 0;
    uint32_t position = 0;
    for (const struct registry_node *n; (n = registry_next(&s->registry, &position)) != NULL;)
        count += n->grant.form == REGISTRY_ENTRY;
    return count;
}

/* How many domains may write the object of this root. */
static unsigned writers(uint32_t root)
{
    const struct registry_node *top = registry_node(&s->registry, root), *n = NULL;
    unsigned count = 0;
    ck_assert_ptr_nonnull(top);
    while ((n = registry_walk(&s->registry, top, n)) != NULL)
        count += n->grant.holder < HOLDER_SUPERVISOR && (n->grant.rights & CAPABILITY_WRITE) != 0;
    return count;
}

static void every_row_is_there(void)
{
    for (unsigned i = 0; i < TOPOLOGY_POOLS; i++) {
        const struct registry_node *n = pool_entry(&topology_pool[i]);
        ck_assert_ptr_nonnull(n);
        ck_assert_uint_eq(n->grant.rights, CAPABILITY_READ);
        ck_assert_uint_eq(registry_parent(&s->registry, n)->grant.holder,
                          topology_pool[i].peer); /* domain i is server i */
    }
    for (unsigned i = 0; i < TOPOLOGY_RIGHTS; i++) {
        const struct topology_right *row = &topology_right[i];
        const struct registry_node *n = entry(row->server, row->peer, CAPABILITY_INDEX_PEER, 1);
        ck_assert_ptr_nonnull(n);
        ck_assert_uint_eq(n->grant.rights, row->rights);
        ck_assert_uint_eq(n->grant.protocol, row->protocol);
    }
    ck_assert_uint_eq(entries(), TOPOLOGY_POOLS + TOPOLOGY_RIGHTS);
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        if (id != SERVER_SOCKET)
            ck_assert_uint_eq(writers(s->server[id].pool_node), 1);
        ck_assert_uint_eq(writers(s->domain[id].status_node), 1);
        ck_assert_uint_eq(writers(s->domain[id].counter_node), 1);
    }
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++) {
        ck_assert_uint_eq(writers(s->channel[i].node[0]), 1);
        ck_assert_uint_eq(writers(s->channel[i].node[1]), 1);
    }
}

static void all_let_go(void)
{
    for (bool again = true; again;) {
        again = false;
        for (uint32_t i = 0; i < s->domain_count; i++) {
            again = again || s->domain[i].ack_epoch != 0;
            if (s->domain[i].ack_epoch != 0)
                domain_acknowledged(s, &s->domain[i], s->domain[i].ack_epoch);
        }
    }
}

static void come_back(uint32_t domain)
{
    all_let_go();
    s->domain[domain].state = DOMAIN_STANDBY;
    barrier_advance(s);
    ck_assert_int_eq(s->domain[domain].state, DOMAIN_GRANTED);
    s->domain[domain].state = DOMAIN_RUNNING;
    for (uint32_t i = 0; i < s->domain_count; i++)
        hear_all(i, 0);
}

START_TEST(the_rows_of_the_topology_and_no_more)
{
    start_all();
    every_row_is_there();
    uint32_t count = s->registry.count;
    for (unsigned round = 0; round < 3 * SERVER_COUNT; round++) {
        die(round % SERVER_COUNT);
        come_back(round % SERVER_COUNT);
        every_row_is_there();
        ck_assert_uint_eq(s->registry.count, count);
    }
}
END_TEST

START_TEST(a_pool_ends_with_its_owner)
{
    start_all();
    uint32_t object = s->server[SERVER_NIC].pool_object;
    uint16_t index = s->server[SERVER_NIC].pool_index, generation = s->server[SERVER_NIC].pool_generation;
    die(SERVER_NIC);
    ck_assert_ptr_null(entry(SERVER_TCP, SERVER_IP, index, generation)); /* stale from now on */
    lets_go(SERVER_IP, SERVER_BIT(SERVER_NIC), 1);
    to_domain *m = hear(SERVER_TCP);
    ck_assert_uint_eq(m->peer_lost->n_objects, 1);
    ck_assert_uint_eq(m->peer_lost->objects[0], object);
    ck_assert_ptr_nonnull(registry_node(&s->registry, s->server[SERVER_NIC].pool_node)); /* tcp still has it */
    domain_acknowledged(s, &s->domain[SERVER_TCP], m->peer_lost->epoch);
    bulkhead__control__to_domain__free_unpacked(m, NULL);
    lets_go(SERVER_UDP, SERVER_BIT(SERVER_NIC), 1);
    ck_assert_ptr_null(registry_node(&s->registry, s->server[SERVER_NIC].pool_node));
    come_back(SERVER_NIC);
    ck_assert_uint_ne(s->server[SERVER_NIC].pool_object, object);
    ck_assert_ptr_null(entry(SERVER_TCP, SERVER_IP, index, generation));
}
END_TEST

START_TEST(the_death_of_who_passes_on_takes_nothing_from_the_others)
{
    start_all();
    static const struct topology_pool row = {SERVER_NIC, SERVER_TCP, SERVER_IP};
    die(SERVER_IP);
    const struct registry_node *n = pool_entry(&row);
    ck_assert_ptr_nonnull(n);
    ck_assert_uint_eq(registry_parent(&s->registry, n)->grant.holder, SERVER_NIC);
    come_back(SERVER_IP);
    ck_assert_uint_eq(registry_parent(&s->registry, pool_entry(&row))->grant.holder, SERVER_IP);
}
END_TEST

/* The Revoke that `domain` hears, acknowledged if `answer`. */
static void hears_revoke(uint32_t domain, enum server_id peer, uint16_t index, uint16_t generation, bool answer)
{
    to_domain *m = hear(domain);
    ck_assert_ptr_nonnull(m);
    ck_assert_int_eq(m->what_case, BULKHEAD__CONTROL__TO_DOMAIN__WHAT_REVOKE);
    ck_assert_uint_eq(m->revoke->server, domain);
    ck_assert_uint_eq(m->revoke->peer, peer);
    ck_assert_uint_eq(m->revoke->index, index);
    ck_assert_uint_eq(m->revoke->generation, generation);
    domain_acknowledged(s, &s->domain[domain], m->revoke->epoch - 1);
    ck_assert_uint_ne(s->domain[domain].revoke_deadline_us, 0);
    if (answer)
        domain_acknowledged(s, &s->domain[domain], m->revoke->epoch);
    bulkhead__control__to_domain__free_unpacked(m, NULL);
}

START_TEST(a_revoked_entry_stays_out_until_its_object_is_another)
{
    start_all();
    static const struct topology_pool row = {SERVER_NIC, SERVER_UDP, SERVER_IP};
    uint32_t id = pool_entry(&row)->id, count = s->registry.count;
    uint16_t index = s->server[SERVER_NIC].pool_index, generation = s->server[SERVER_NIC].pool_generation;
    ck_assert_ptr_null(rights_revoke(s, id));
    ck_assert_ptr_null(pool_entry(&row));
    ck_assert_ptr_nonnull(rights_revoke(s, id)); /* once */
    hears_revoke(SERVER_UDP, SERVER_IP, index, generation, true);
    ck_assert_uint_eq(s->domain[SERVER_UDP].revoke_deadline_us, 0);
    ck_assert_uint_eq(s->registry.count, count - 1);
    die(SERVER_TCP);
    come_back(SERVER_TCP);
    die(SERVER_UDP);
    come_back(SERVER_UDP);
    ck_assert_ptr_null(pool_entry(&row));
    die(SERVER_NIC);
    come_back(SERVER_NIC);
    every_row_is_there();
}
END_TEST

START_TEST(a_revoked_right_comes_back_with_its_channel)
{
    start_all();
    ck_assert_ptr_null(rights_revoke(s, entry(SERVER_IP, SERVER_TCP, CAPABILITY_INDEX_PEER, 1)->id));
    hears_revoke(SERVER_IP, SERVER_TCP, CAPABILITY_INDEX_PEER, 1, true);
    die(SERVER_UDP);
    come_back(SERVER_UDP);
    ck_assert_ptr_null(entry(SERVER_IP, SERVER_TCP, CAPABILITY_INDEX_PEER, 1));
    die(SERVER_TCP);
    come_back(SERVER_TCP);
    every_row_is_there();
}
END_TEST

START_TEST(only_entries_are_revoked_alone)
{
    start_all();
    uint32_t position = 0, refused = 0;
    for (const struct registry_node *n; (n = registry_next(&s->registry, &position)) != NULL;) {
        if (n->grant.form != REGISTRY_ENTRY) {
            ck_assert_ptr_nonnull(rights_revoke(s, n->id));
            refused++;
        }
    }
    ck_assert_uint_gt(refused, 20);
    ck_assert_ptr_nonnull(rights_revoke(s, 0));
    ck_assert_ptr_nonnull(rights_revoke(s, UINT32_MAX));
    every_row_is_there();
}
END_TEST

START_TEST(who_does_not_give_back_is_killed)
{
    start_all();
    struct domain *d = &s->domain[SERVER_IP];
    pid_t pid = victim(d);
    ck_assert_ptr_null(rights_revoke(s, entry(SERVER_IP, SERVER_TCP, CAPABILITY_INDEX_PEER, 1)->id));
    hears_revoke(SERVER_IP, SERVER_TCP, CAPABILITY_INDEX_PEER, 1, false);
    domain_deadlines(s, d, d->revoke_deadline_us - 1);
    ck_assert_int_eq(d->fault, FAULT_NONE);
    domain_deadlines(s, d, d->revoke_deadline_us);
    ck_assert_int_eq(d->fault, FAULT_HUNG);
    waitpid(pid, NULL, 0);
}
END_TEST

/* A machine that is away for a second is nobody's fault, and one that goes round has been let again. */
START_TEST(who_goes_round_may_be_late)
{
    start_all();
    struct domain *d = &s->domain[SERVER_IP];
    pid_t pid = victim(d);
    ck_assert_ptr_null(rights_revoke(s, entry(SERVER_IP, SERVER_TCP, CAPABILITY_INDEX_PEER, 1)->id));
    d->liveness.counter = 7; /* its page says otherwise by now */
    d->deadline_us = 0;      /* it has started */
    for (unsigned i = 0; i < LATE_MAX; i++) {
        domain_deadlines(s, d, d->revoke_deadline_us);
        ck_assert_int_eq(d->fault, FAULT_NONE);
    }
    domain_deadlines(s, d, d->revoke_deadline_us);
    ck_assert_int_eq(d->fault, FAULT_HUNG);
    waitpid(pid, NULL, 0);
}
END_TEST

START_TEST(nothing_is_left_of_a_session)
{
    start_all();
    uint32_t count = s->registry.count;
    for (unsigned round = 0; round < 3; round++) {
        int fd = application(), passed[2];
        ck_assert_int_eq(hello(fd), 0);
        arena_pair(passed, &arena_request);
        ask(fd, &arena_request, sizeof arena_request, passed, 2);
        ck_assert_int_eq(answered(fd, NULL), 0);
        pair_close(passed);
        const struct arena_memory arena = s->session[0].arena[0];
        ck_assert_uint_eq(arena.generation, round + 1);
        ck_assert_ptr_nonnull(entry(SERVER_NIC, SERVER_IP, arena.index, arena.generation));
        ck_assert_ptr_nonnull(entry(SERVER_IP, SERVER_TCP, arena.index, arena.generation));
        ck_assert_ptr_null(entry(SERVER_IP, SERVER_UDP, arena.index, arena.generation));
        ck_assert_uint_eq(writers(arena.app_node), 0); /* the application's alone */
        ck_assert_uint_eq(writers(arena.words_node), 1);
        if (round == 1) { /* the next incarnation has it too */
            uint32_t all = s->registry.count;
            die(SERVER_TCP);
            come_back(SERVER_TCP);
            ck_assert_uint_eq(s->registry.count, all);
        }
        hang_up(fd);
        for (uint32_t i = 0; i < s->domain_count; i++)
            hear_all(i, 0);
        remove_all(0);
        ck_assert_ptr_null(entry(SERVER_NIC, SERVER_IP, arena.index, arena.generation));
        ck_assert_uint_eq(s->registry.count, count);
    }
}
END_TEST

/* However many arenas there are: the pools of the next incarnations have their places. */
START_TEST(applications_cannot_take_what_a_restart_needs)
{
    start_all();
    uint32_t before = s->registry.count;
    int fd = application(), passed[2];
    ck_assert_int_eq(hello(fd), 0);
    uint32_t session = s->registry.count - before;
    for (unsigned i = 0; i < SESSION_ARENAS; i++) {
        struct attach_request request = arena_request;
        request.transport = i % SESSION_TRANSPORTS;
        request.slots = 1;
        arena_pair(passed, &request);
        ask(fd, &request, sizeof request, passed, 2);
        ck_assert_int_eq(answered(fd, NULL), 0);
        pair_close(passed);
        ck_assert_uint_ge(s->session[0].arena[i].index, CAPABILITY_INDEX_ARENA);
    }
    ck_assert_uint_le(before, 1024); /* nodes: what rights.c counts on */
    ck_assert_uint_le(session, 4 + 3 * SERVER_COUNT + 7);
    ck_assert_uint_le(s->registry.count - before - session, SESSION_ARENAS * 8);
    uint16_t index, generation;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        die(i);
        all_let_go(); /* the old pool's place is free, the next process not there yet */
        while (registry_index_take(&s->registry, CAPABILITY_INDEX_ARENA, &index, &generation))
            ; /* all the arenas that there can be, and those who wait for a place */
        come_back(i);
    }
}
END_TEST

/* All entries that a domain hears of, and in how many messages they come. */
static unsigned entries_heard(uint32_t domain, unsigned *ret_messages)
{
    unsigned count = 0;
    *ret_messages = 0;
    for (to_domain *m; (m = hear(domain)) != NULL; bulkhead__control__to_domain__free_unpacked(m, NULL)) {
        if (m->what_case != BULKHEAD__CONTROL__TO_DOMAIN__WHAT_CAPABILITIES)
            continue;
        count += (unsigned)m->capabilities->n_entry;
        ++*ret_messages;
    }
    return count;
}

/* A restart does not take longer by a message for each arena. */
START_TEST(entries_of_arenas_go_together)
{
    enum { SESSIONS = 4 };
    unsigned messages;
    start_all();
    for (unsigned session = 0; session < SESSIONS; session++) {
        int fd = application(), passed[2];
        ck_assert_int_eq(hello(fd), 0);
        for (unsigned i = 0; i < SESSION_ARENAS; i++) {
            struct attach_request request = arena_request;
            request.slots = 1;
            arena_pair(passed, &request);
            ask(fd, &request, sizeof request, passed, 2);
            ck_assert_int_eq(answered(fd, NULL), 0);
            pair_close(passed);
        }
    }
    for (uint32_t i = 0; i < s->domain_count; i++)
        hear_all(i, 0);
    die(SERVER_IP);
    all_let_go();
    for (uint32_t i = 0; i < s->domain_count; i++)
        hear_all(i, 0);
    s->domain[SERVER_IP].state = DOMAIN_STANDBY;
    barrier_advance(s);
    for (uint32_t i = SERVER_NIC; i <= SERVER_TCP; i++) { /* nic, ip, tcp: one table in each */
        ck_assert_uint_eq(entries_heard(i, &messages), SESSIONS * SESSION_ARENAS);
        ck_assert_uint_le(messages, 2);
    }
}
END_TEST

SUITE_RUN("supervisor_rights", setup, teardown, the_rows_of_the_topology_and_no_more, a_pool_ends_with_its_owner,
          the_death_of_who_passes_on_takes_nothing_from_the_others,
          a_revoked_entry_stays_out_until_its_object_is_another, a_revoked_right_comes_back_with_its_channel,
          only_entries_are_revoked_alone, who_does_not_give_back_is_killed, who_goes_round_may_be_late,
          nothing_is_left_of_a_session, applications_cannot_take_what_a_restart_needs, entries_of_arenas_go_together)
