// SPDX-License-Identifier: BSD-2-Clause
/* What waits for a tcp that does not keep up, for how long, and at whose cost. */
#include "tests/unit/ip_harness.h"

#define WAITING 40U

/* tcp has all it may hold; it has not read it yet. */
static void fill(void)
{
    for (uint32_t i = 0; i < IP_LOANS_MAX; i++)
        packet_frame(i, IP_PROTOCOL_TCP, segment, sizeof segment);
    ck_assert_uint_eq(ip->held[SERVER_TCP], IP_LOANS_MAX);
}

static void wait_behind(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        packet_frame(IP_LOANS_MAX + i, IP_PROTOCOL_TCP, segment, sizeof segment);
    ck_assert_uint_eq(ip->waiting.count, count);
}

/* tcp takes `count` messages, those of buffers from `first` on, and gives them back if told to. */
static void taken(uint32_t first, uint32_t count, bool back)
{
    struct message m;
    for (uint32_t i = first; i < first + count; i++) {
        ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
        ck_assert_uint_eq(m.cookie, i); /* in order */
        if (back)
            wire_return(tcp, i);
    }
    burst();
}

static uint32_t home(void)
{
    struct message m;
    uint32_t count = 0;
    while (take(nic, MESSAGE_RETURN, &m))
        count += m.count;
    return count;
}

static uint32_t patience_goes(void)
{
    uint32_t steps = 0;
    for (; ip->waiting.patience_us > 0; steps++) {
        ck_assert_uint_le(server_ip.deadline_us(ip), now + IP_RETRY_US);
        now += IP_RETRY_US;
        burst();
    }
    return steps;
}

START_TEST(test_wait_in_order)
{
    fill();
    wait_behind(WAITING);
    ck_assert_uint_eq(home(), 0);
    taken(0, IP_LOANS_MAX, true);
    ck_assert_uint_eq(ip->waiting.count, 0);
    packet_frame(IP_LOANS_MAX + WAITING, IP_PROTOCOL_TCP, segment, sizeof segment);
    taken(IP_LOANS_MAX, WAITING + 1, true);
    ck_assert_uint_eq(home(), IP_LOANS_MAX + WAITING + 1);
    ck_assert_uint_eq(ip->counters.waited, WAITING);
    ck_assert_uint_eq(ip->counters.drop_no_transport, 0);
    all_home();
}
END_TEST

/* What nic says else, and what is for others, does not wait with it. */
START_TEST(test_others_do_not_wait)
{
    struct message m, out = good();
    know_peer();
    fill();
    wait_behind(WAITING);
    packet_frame(IP_LOANS_MAX + WAITING, IP_PROTOCOL_UDP, segment, sizeof segment);
    ck_assert(take(udp, MESSAGE_RECEIVE, &m));
    wire_return(udp, (uint32_t)m.cookie);
    burst();
    returned(nic, IP_LOANS_MAX + WAITING);
    wire_send(tcp, &out);
    (void)sent(false); /* tcp sends, and has its loan back */
    taken(0, IP_LOANS_MAX, true);
    returned(tcp, (uint32_t)out.cookie);
    taken(IP_LOANS_MAX, WAITING, true);
    ck_assert_uint_eq(home(), IP_LOANS_MAX + WAITING);
    all_home();
}
END_TEST

/* A tcp that hangs: once, and then no more until it gives something back. */
START_TEST(test_patience_ends)
{
    fill();
    wait_behind(WAITING);
    ck_assert_uint_le(patience_goes(), IP_PATIENCE_US / IP_RETRY_US);
    ck_assert_uint_eq(home(), WAITING);
    ck_assert_uint_eq(ip->counters.drop_no_transport, WAITING);
    now += 10 * SECOND;
    packet_frame(IP_LOANS_MAX, IP_PROTOCOL_TCP, segment, sizeof segment);
    returned(nic, IP_LOANS_MAX);
    taken(0, IP_LOANS_MAX, true);
    ck_assert_uint_eq(ip->waiting.patience_us, IP_PATIENCE_US);
    ck_assert_uint_eq(home(), IP_LOANS_MAX);
    fill();
    wait_behind(1);
    taken(0, IP_LOANS_MAX, true);
    taken(IP_LOANS_MAX, 1, true);
    ck_assert_uint_eq(home(), IP_LOANS_MAX + 1);
    all_home();
}
END_TEST

/* One that gives back as little as it can has a part of the time, and no more. */
START_TEST(test_patience_of_a_slow_one)
{
    uint64_t start, waited_us = 0;
    fill();
    wait_behind(WAITING);
    (void)patience_goes();
    (void)home();
    start = ip->waiting.earned_us = now;
    for (uint32_t i = 0; i < 10 * IP_LOANS_MAX; i++) {
        bool waits = ip->waiting.count > 0;
        now += IP_RETRY_US;
        waited_us += waits ? IP_RETRY_US : 0;
        burst();
        struct message m;
        ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
        wire_return(tcp, (uint32_t)m.cookie);
        burst();
        while (take(nic, MESSAGE_RETURN, &m))
            ;
        for (uint32_t cookie = 0, free = 2; cookie < IP_LOANS_MAX + WAITING && free > 0; cookie++) {
            if (ip->holder[cookie] != IP_HOLDER_NONE)
                continue;
            packet_frame(cookie, IP_PROTOCOL_TCP, segment, sizeof segment);
            free--;
        }
    }
    ck_assert_uint_gt(waited_us, 0);
    ck_assert_uint_le(waited_us, (now - start) / IP_PATIENCE_PART + 2 * IP_RETRY_US);
}
END_TEST

/* A nic that names more buffers than it has gets the rest back at once. */
START_TEST(test_room_ends)
{
    fill();
    wait_behind(IP_WAITING_MAX);
    packet_frame(IP_LOANS_MAX + IP_WAITING_MAX, IP_PROTOCOL_TCP, segment, sizeof segment);
    returned(nic, IP_LOANS_MAX + IP_WAITING_MAX);
    ck_assert_uint_eq(ip->counters.drop_no_transport, 1);
    (void)patience_goes();
    ck_assert_uint_eq(home(), IP_WAITING_MAX);
    taken(0, IP_LOANS_MAX, true);
    all_home();
}
END_TEST

/* A tcp that dies: what waits is the next one's. */
START_TEST(test_tcp_dies)
{
    fill();
    wait_behind(WAITING);
    port_detach(&tcp->server);
    server_ip.peer_lost(ip, SERVER_TCP);
    burst();
    ck_assert_uint_eq(ip->waiting.count, WAITING);
    wire_attach(tcp);
    server_ip.peer_attached(ip, SERVER_TCP, now);
    burst();
    taken(0, IP_LOANS_MAX, true); /* offered again */
    taken(IP_LOANS_MAX, WAITING, true);
    ck_assert_uint_eq(home(), IP_LOANS_MAX + WAITING);
    all_home();
}
END_TEST

/* A nic that dies: what waits lay in its buffers. */
START_TEST(test_nic_dies)
{
    fill();
    wait_behind(WAITING);
    port_detach(&nic->server);
    server_ip.peer_lost(ip, SERVER_NIC);
    ck_assert_uint_eq(ip->waiting.count, 0);
    taken(0, IP_LOANS_MAX, true);
    wire_attach(nic);
    server_ip.peer_attached(ip, SERVER_NIC, now);
    burst();
    struct message m;
    ck_assert(!take(tcp, MESSAGE_RECEIVE, &m));
    ck_assert_uint_eq(ip->held[SERVER_TCP], 0);
}
END_TEST

/* A tcp in another domain is told later, and takes what is in its ring first. */
START_TEST(test_nic_dies_and_tcp_is_elsewhere)
{
    uint32_t awake = 0;
    struct doorbell bell = {.fd = -1, .sleep = &awake};
    fill();
    wait_behind(WAITING);
    tcp->server.bell = &bell;
    port_detach(&nic->server);
    server_ip.peer_lost(ip, SERVER_NIC);
    burst();
    taken(0, IP_LOANS_MAX + WAITING, true);
    wire_attach(nic);
    server_ip.peer_attached(ip, SERVER_NIC, now);
    burst();
    ck_assert_uint_eq(ip->held[SERVER_TCP], 0);
    ck_assert_uint_eq(ip->counters.drop_return + ip->counters.drop_no_transport, 0);
    tcp->server.bell = NULL;
}
END_TEST

SUITE_RUN("ip_waiting", setup, teardown, test_wait_in_order, test_others_do_not_wait, test_patience_ends,
          test_patience_of_a_slow_one, test_room_ends, test_tcp_dies, test_nic_dies,
          test_nic_dies_and_tcp_is_elsewhere)
