// SPDX-License-Identifier: BSD-2-Clause
/* The policy at the supervisor: who may attach, how often, with how much; and the rule that goes with the session. */
#include <errno.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "tests/unit/supervisor_harness.h"

static struct policy_rule *rule;

static void setup_rule(void)
{
    setup();
    start_all();
    rule = &s->policy.rule[0];
}

static void silence(void)
{
    for (uint32_t i = 0; i < s->domain_count; i++)
        hear_all(i, 0);
}

START_TEST(who_is_refused_hears_EACCES_and_everybody_an_event)
{
    rule->attach = false;
    ck_assert_int_eq(hello(application()), EACCES);
    ck_assert_uint_eq(s->policy_refusals, 1);
    ck_assert_uint_eq(s->event_count, 1);
    ck_assert_str_eq(s->event[0].kind, "refused");
    rule->attach = true;
    rule->uid = geteuid() + 1; /* nobody's rule */
    ck_assert_int_eq(hello(application()), EACCES);
    rule->uid = geteuid();
    rule->gid = getegid() + 1;
    ck_assert_int_eq(hello(application()), EACCES);
    rule->gid = getegid();
    ck_assert_int_eq(hello(application()), 0);
    ck_assert_uint_eq(s->policy_refusals, 3);
}
END_TEST

START_TEST(sessions_of_a_uid_are_counted)
{
    rule->limits.sessions = 2;
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(hello(application()), 0);
        silence();
    }
    ck_assert_int_eq(hello(application()), EDQUOT);
    s->session[0].uid++;
    ck_assert_int_eq(hello(application()), 0);
}
END_TEST

START_TEST(memory_of_a_session_is_counted)
{
    size_t arena = arena_send_octets(arena_request.slots, arena_request.send_size) +
                   arena_receive_octets(arena_request.slots, arena_request.receive_size);
    rule->limits.memory_octets = sizeof(struct session_control) + sizeof(struct session_answer) + arena;
    int fd = application(), passed[2];
    ck_assert_int_eq(hello(fd), 0);
    static const int expected[] = {0, EDQUOT};
    for (unsigned i = 0; i < 2; i++) {
        arena_pair(passed, &arena_request);
        ask(fd, &arena_request, sizeof arena_request, passed, 2);
        ck_assert_int_eq(answered(fd, NULL), expected[i]);
        pair_close(passed);
        silence();
    }
}
END_TEST

static void heard_rule(uint32_t domain)
{
    to_domain *m;
    unsigned sessions = 0;
    for (; (m = hear(domain)) != NULL; bulkhead__control__to_domain__free_unpacked(m, NULL)) {
        if (m->what_case != BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SESSION)
            continue;
        sessions++;
        ck_assert_uint_eq(m->session->socket_quota, 2);
        ck_assert_uint_eq(m->session->n_bind, POLICY_SPANS);
        ck_assert_uint_eq(m->session->bind[POLICY_SPANS - 1]->port_first, 65535);
        ck_assert_uint_eq(m->session->bind[POLICY_SPANS - 1]->prefix->prefix_length, 128);
        ck_assert_uint_eq(m->session->bind[POLICY_SPANS - 1]->prefix->octets.len, 16);
        ck_assert_uint_eq(m->session->n_connect, 0);
    }
    ck_assert_uint_eq(sessions, 1);
}

/* The longest that there is fits, and the rule is what held at attach. */
START_TEST(the_rule_goes_with_the_session_to_every_incarnation)
{
    rule->limits.sockets = 2;
    rule->connect.count = 0;
    rule->bind.count = POLICY_SPANS;
    for (unsigned i = 0; i < POLICY_SPANS; i++)
        rule->bind.span[i] = (struct policy_span){.protocol = 17,
                                                  .prefix_length = 128,
                                                  .port_first = 65535,
                                                  .port_last = 65535,
                                                  .prefix = {.family = ADDRESS_IP6, .octets = {0xff}}};
    ck_assert_int_eq(hello(application()), 0);
    heard_rule(SERVER_SOCKET);
    heard_rule(SERVER_UDP);
    silence();
    rule->limits.sockets = 9;
    die(SERVER_SOCKET);
    for (uint32_t i = 0; i < s->domain_count; i++) { /* twice round: by distance */
        for (uint32_t j = 0; j < s->domain_count; j++)
            domain_acknowledged(s, &s->domain[j], s->domain[j].ack_epoch);
    }
    s->domain[SERVER_SOCKET].state = DOMAIN_STANDBY;
    barrier_advance(s);
    heard_rule(SERVER_SOCKET);
}
END_TEST

SUITE_RUN("supervisor_policy", setup_rule, teardown, who_is_refused_hears_EACCES_and_everybody_an_event,
          sessions_of_a_uid_are_counted, memory_of_a_session_is_counted,
          the_rule_goes_with_the_session_to_every_incarnation)
