// SPDX-License-Identifier: BSD-2-Clause
/* The policy at the socket server: what a session's rule does not name is EACCES, also after a restart. */
#include <errno.h>

#include "tests/unit/socket_harness.h"
#include "tests/unit/suite.h"

static const struct ip_address elsewhere = {.family = ADDRESS_IP4, .octets = {192, 0, 2, 1}};

/* tcp: bind 8000 to 8080 and ports that the stack chooses; connect to theirs at 80. */
static void rule_narrow(void)
{
    session[0].bind = session[0].connect = (struct policy_list){.count = 0};
    session[0].bind.count = 2;
    session[0].bind.span[0] = (struct policy_span){.protocol = 6, .port_first = 8000, .port_last = 8080};
    session[0].bind.span[1] = (struct policy_span){.protocol = 6};
    session[0].connect.count = 1;
    session[0].connect.span[0] =
        (struct policy_span){.protocol = 6, .prefix = theirs, .prefix_length = 32, .port_first = 80, .port_last = 80};
}

static void refused(uint32_t operation, enum session_transport transport, struct ip_address address, uint16_t port)
{
    uint64_t before = server->counters.refused_by_policy;
    uint32_t s = new_socket(0, transport, 0);
    ck_assert_int_eq(call_error(naming(operation, s, address, port)), EACCES);
    ck_assert_uint_eq(server->counters.refused_by_policy, before + 1);
    ck_assert_int_eq(call_error(about(CONTROL_CLOSE, s)), 0);
    expect_silence(tcp); /* no transport hears of it */
    expect_silence(udp);
}

static void all_refusals(void)
{
    refused(CONTROL_BIND, SESSION_TCP, any4, 7999);
    refused(CONTROL_BIND, SESSION_TCP, any4, 8081);
    refused(CONTROL_BIND, SESSION_UDP, any4, 8080);
    refused(CONTROL_BIND, SESSION_UDP, any4, 0);
    refused(CONTROL_CONNECT, SESSION_TCP, theirs, 81);
    refused(CONTROL_CONNECT, SESSION_TCP, elsewhere, 80);
    refused(CONTROL_CONNECT, SESSION_UDP, theirs, 80);
}

START_TEST(what_the_rule_does_not_name_is_refused)
{
    rule_narrow();
    all_refusals();
    uint32_t s = new_socket(0, SESSION_TCP, 0);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, any4, 8000)), 0);
    s = new_socket(0, SESSION_TCP, 1);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, any4, 0)), 0);
    s = new_socket(0, SESSION_TCP, 2);
    struct control_request r = naming(CONTROL_CONNECT, s, theirs, 80);
    ask(0, 0, &r);
    expect(tcp, MESSAGE_CONNECT);
}
END_TEST

START_TEST(a_listener_needs_a_name_that_is_permitted)
{
    rule_narrow();
    session[0].bind.count = 1; /* no port 0 */
    uint32_t s = new_socket(0, SESSION_TCP, 0);
    ck_assert_int_eq(call_error(with(about(CONTROL_LISTEN, s), 5, 0)), EACCES);
    ck_assert_int_eq(call_error(naming(CONTROL_BIND, s, any4, 8080)), 0);
    struct control_request r = with(about(CONTROL_LISTEN, s), 5, 0);
    ask(0, 0, &r);
    expect(tcp, MESSAGE_LISTEN);
}
END_TEST

START_TEST(the_next_incarnation_refuses_too)
{
    rule_narrow();
    die_and_start();
    list_end(tcp);
    list_end(udp);
    all_refusals();
}
END_TEST

SUITE_RUN("server_socket_policy", setup, teardown, what_the_rule_does_not_name_is_refused,
          a_listener_needs_a_name_that_is_permitted, the_next_incarnation_refuses_too)
