// SPDX-License-Identifier: BSD-2-Clause
/* What a transport had when it died: segments are its next incarnation's, in order, and not for ever. */
#include "tests/unit/ip_harness.h"

#define HELD 20U

static void dies(struct wire_pair *w, enum server_id id)
{
    port_detach(&w->server);
    server_ip.peer_lost(ip, id);
    burst();
}

static void lives(struct wire_pair *w, enum server_id id)
{
    wire_attach(w);
    server_ip.peer_attached(ip, id, now);
    burst();
}

/* Buffers as nic has them: used last is used first. */
static uint32_t buffer_of(uint32_t i)
{
    return (i * 7 + 5) % HELD;
}

static void takes(uint32_t from, uint32_t count)
{
    struct message m;
    for (uint32_t i = from; i < from + count; i++) {
        ck_assert_msg(take(tcp, MESSAGE_RECEIVE, &m), "only %u", i - from);
        ck_assert_uint_eq(m.cookie, buffer_of(i));
        ck_assert_uint_eq(m.reference[0].length, sizeof segment);
        ck_assert_uint_eq(m.reference[0].pool, POOL_NIC);
        ck_assert(ip_address_equal(&m.source, &peer) && ip_address_equal(&m.destination, &us));
    }
    ck_assert(!take(tcp, MESSAGE_RECEIVE, &m));
}

static uint32_t home(void)
{
    struct message m;
    uint32_t count = 0;
    burst();
    while (take(nic, MESSAGE_RETURN, &m))
        count += m.count;
    return count;
}

static void give(uint8_t protocol)
{
    for (uint32_t i = 0; i < HELD; i++)
        packet_frame(buffer_of(i), protocol, segment, sizeof segment);
}

START_TEST(test_in_order)
{
    give(IP_PROTOCOL_TCP);
    takes(0, HELD);
    for (uint32_t i = 0; i < 3; i++)
        wire_return(tcp, buffer_of(i)); /* it was done with these, and ip knows */
    ck_assert_uint_eq(home(), 3);
    dies(tcp, SERVER_TCP);
    ck_assert_uint_eq(home(), 0);
    lives(tcp, SERVER_TCP);
    takes(3, HELD - 3);
    ck_assert_uint_eq(ip->held[SERVER_TCP], HELD - 3);
    ck_assert_uint_eq(ip->counters.offered_again, HELD - 3);
    for (uint32_t i = 3; i < HELD; i++)
        wire_return(tcp, buffer_of(i));
    ck_assert_uint_eq(home(), HELD - 3);
    ck_assert_uint_eq(ip->counters.drop_return, 0);
    all_home();
}
END_TEST

/* tcp dies of them, it seems. */
START_TEST(test_not_for_ever)
{
    give(IP_PROTOCOL_TCP);
    takes(0, HELD);
    for (uint32_t life = 0; life < LENT_OFFERS_MAX; life++) {
        dies(tcp, SERVER_TCP);
        lives(tcp, SERVER_TCP);
        ck_assert_uint_eq(home(), 0);
        takes(0, HELD);
    }
    dies(tcp, SERVER_TCP);
    lives(tcp, SERVER_TCP);
    takes(0, 0);
    ck_assert_uint_eq(home(), HELD);
    ck_assert_uint_eq(ip->counters.reclaimed, HELD);
    ck_assert_uint_eq(ip->held[SERVER_TCP], 0);
    give(IP_PROTOCOL_TCP); /* the same buffers, other segments */
    dies(tcp, SERVER_TCP);
    lives(tcp, SERVER_TCP);
    takes(0, HELD);
    for (uint32_t i = 0; i < HELD; i++)
        wire_return(tcp, buffer_of(i));
    ck_assert_uint_eq(home(), HELD);
    all_home();
}
END_TEST

/* Twice is worse than never. */
START_TEST(test_datagrams_are_not)
{
    struct message m;
    give(IP_PROTOCOL_UDP);
    dies(udp, SERVER_UDP);
    lives(udp, SERVER_UDP);
    ck_assert(!take(udp, MESSAGE_RECEIVE, &m));
    ck_assert_uint_eq(home(), HELD);
    ck_assert_uint_eq(ip->counters.offered_again, 0);
    all_home();
}
END_TEST

/* They lay in its buffers. */
START_TEST(test_nic_dies_too)
{
    give(IP_PROTOCOL_TCP);
    dies(tcp, SERVER_TCP);
    dies(nic, SERVER_NIC);
    lives(nic, SERVER_NIC);
    lives(tcp, SERVER_TCP);
    takes(0, 0);
    ck_assert_uint_eq(ip->counters.offered_again + ip->counters.reclaimed, 0);
}
END_TEST

SUITE_RUN("ip_again", setup, teardown, test_in_order, test_not_for_ever, test_datagrams_are_not, test_nic_dies_too)
