// SPDX-License-Identifier: BSD-2-Clause
/* Local delivery: what is sent to the stack's own addresses turns round in ip. */
#include "tests/unit/ip_harness.h"

static const struct {
    const char *name;
    const struct ip_address *source, *destination;
} pairs[] = {
    {"own", &us, &us},
    {"loopback", &loopback, &loopback},
    {"own to loopback", &us, &loopback},
    {"loopback to own", &loopback, &us},
    {"own, IPv6", &us6, &us6},
    {"loopback, IPv6", &loopback6, &loopback6},
};

static void is_turned(const struct message *m, const struct message *up)
{
    ck_assert(up->reference[0].pool == POOL_IP && up->reference[0].length == m->reference[0].length);
    ck_assert_mem_eq(at(&up->reference[0]), at(&m->reference[0]), m->reference[0].length);
    ck_assert_mem_eq(&up->reference[1], &m->reference[1], sizeof m->reference[1]);
    ck_assert_uint_ge(up->cookie, MESSAGE_COOKIE_OWN);
    ck_assert_int_eq(up->checksum_state, MESSAGE_CHECKSUM_PARTIAL);
    ck_assert(up->source_port == m->source_port && up->destination_port == m->destination_port);
    ck_assert(ip_address_equal(&up->source, &m->source) && ip_address_equal(&up->destination, &m->destination));
    ck_assert(up->protocol == m->protocol && up->gso_type == m->gso_type && up->gso_size == m->gso_size);
    ck_assert(up->traffic_class == m->traffic_class && up->ttl == (m->ttl != 0 ? m->ttl : 64));
}

START_TEST(test_turned)
{
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct message m = datagram(pairs[i].source, pairs[i].destination, 60000), up;
        m.ttl = (uint8_t)(i % 2 * 7);
        m.traffic_class = 0xb9;
        wire_send(udp, &m);
        burst();
        ck_assert_msg(take(udp, MESSAGE_RECEIVE, &up), "%s", pairs[i].name);
        is_turned(&m, &up);
        nobody_says_anything(); /* nic hears nothing, the loan is out */
        wire_return(udp, (uint32_t)up.cookie);
        burst();
        returned(udp, 99);
        wire_return(udp, (uint32_t)up.cookie); /* twice */
        burst();
        ck_assert_uint_eq(ip->counters.drop_return, i + 1);
        all_home();
    }
    ck_assert_uint_eq(ip->counters.delivered_here, sizeof pairs / sizeof pairs[0]);
}
END_TEST

START_TEST(test_super_segment_stays_whole)
{
    struct message m = good(), up;
    m.destination = us;
    m.reference[1].length = 60000;
    wire_send(tcp, &m);
    burst();
    ck_assert(take(tcp, MESSAGE_RECEIVE, &up));
    is_turned(&m, &up);
    ck_assert(up.gso_size == 1448 && up.reference[1].length == 60000);
    wire_return(udp, (uint32_t)up.cookie); /* not udp's to return */
    wire_return(tcp, (uint32_t)up.cookie);
    burst();
    returned(tcp, 77);
    ck_assert_uint_eq(ip->counters.drop_return, 1);
    all_home();
}
END_TEST

/* A loopback address never meets the wire, and a transport has no addresses but what its right names. */
START_TEST(test_refused)
{
    static const struct ip_address foreign = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 77}};
    struct message m = datagram(&loopback, &peer, 10);
    wire_send(udp, &m);
    m = datagram(&loopback6, &peer6, 10);
    wire_send(udp, &m);
    m = datagram(&foreign, &us, 10);
    wire_send(udp, &m);
    m = datagram(&us6, &us, 10);
    wire_send(udp, &m);
    m = datagram(&us, &us, 10);
    m.protocol = IP_PROTOCOL_TCP;
    wire_send(udp, &m);
    burst();
    ck_assert_uint_eq(ip->counters.drop_send_class, 2);
    ck_assert_uint_eq(ip->counters.drop_send_field, 3);
    ck_assert(take(udp, MESSAGE_RETURN, &m));
    ck_assert_int_eq(m.count, 5);
    nobody_says_anything();
    all_home();
}
END_TEST

/* A share of its own: it holds what it holds, drops the rest with a counter, and the wire does not notice. */
START_TEST(test_share)
{
    struct message m, up;
    uint32_t got = 0, home = 0;
    know_peer();
    for (uint32_t i = 0; i < IP_LOCAL_MAX + 50; i++) {
        m = datagram(&us, &us, 10);
        m.cookie = i;
        wire_send(udp, &m);
        burst();
        while (wire_take(udp, &up)) {
            got += up.operation == MESSAGE_RECEIVE;
            home += up.operation == MESSAGE_RETURN ? up.count : 0;
        }
    }
    ck_assert_uint_eq(got, IP_LOCAL_MAX);
    ck_assert_uint_eq(home, 50);
    ck_assert_uint_eq(ip->counters.drop_local_full, 50);
    ck_assert_uint_eq(ip_buffers_free(ip), IP_BUFFERS_WIRE);
    m = good();
    wire_send(tcp, &m);
    m = sent(false);
    returned(tcp, 77);
    for (uint32_t i = 0; i < IP_BUFFERS; i++)
        if (pool.holder[i] != 0)
            wire_return(udp, MESSAGE_COOKIE_OWN + i);
    burst();
    while (wire_take(udp, &up))
        home += up.count;
    ck_assert_uint_eq(home, IP_LOCAL_MAX + 50);
    all_home();
}
END_TEST

/* The ring of one that does not read: a counted drop, never a wait. */
START_TEST(test_full_ring)
{
    struct message filler = {.operation = MESSAGE_UNREACHABLE, .capability = 1, .generation = 1};
    while (port_space(&udp->server) >= IP_SPACE)
        ck_assert(port_push(&udp->server, &filler));
    struct message m = datagram(&us, &us, 10);
    wire_send(udp, &m);
    burst();
    ck_assert_uint_eq(ip->counters.drop_no_transport, 1);
    bool home = false;
    for (unsigned i = 0; i < 2; i++, burst())
        while (wire_take(udp, &m))
            home = home || (m.operation == MESSAGE_RETURN && m.returned[0] == 99);
    ck_assert(home);
    all_home();
}
END_TEST

/* Nobody listens there: the sender is told, without a packet. */
START_TEST(test_unreachable)
{
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct message m = datagram(pairs[i].source, pairs[i].destination, 10), up;
        bool six = m.source.family == ADDRESS_IP6;
        wire_send(udp, &m);
        burst();
        ck_assert(take(udp, MESSAGE_RECEIVE, &up));
        struct message ask = {.operation = MESSAGE_UNREACHABLE,
                              .capability = CAPABILITY_INDEX_PEER,
                              .generation = 1,
                              .reference = {up.reference[0]},
                              .source = up.destination,
                              .destination = up.source,
                              .source_port = up.destination_port,
                              .destination_port = up.source_port,
                              .protocol = IP_PROTOCOL_UDP,
                              .ttl = up.ttl};
        wire_send(udp, &ask);
        wire_return(udp, (uint32_t)up.cookie);
        burst();
        ck_assert(take(udp, MESSAGE_UNREACHABLE, &up));
        ck_assert(up.traffic_class == (six ? ICMP6_TYPE_UNREACHABLE : ICMP_TYPE_UNREACHABLE));
        ck_assert(up.ttl == (six ? (int)ICMP6_CODE_PORT_UNREACHABLE : (int)ICMP_CODE_PORT_UNREACHABLE));
        ck_assert(up.source_port == 53 && up.destination_port == 40000);
        ck_assert(ip_address_equal(&up.source, &m.source) && ip_address_equal(&up.destination, &m.destination));
        returned(udp, 99);
        nobody_says_anything();
    }
    all_home();
}
END_TEST

/* nic is dead: what goes to the wire waits a while, then is dropped; what goes here goes on. */
START_TEST(test_without_nic)
{
    struct message m = good(), up;
    know_peer();
    port_detach(&nic->server);
    server_ip.peer_lost(ip, SERVER_NIC);
    wire_send(tcp, &m);
    m = datagram(&us6, &us6, 100);
    wire_send(udp, &m);
    burst();
    ck_assert(take(udp, MESSAGE_RECEIVE, &up));
    ck_assert(!wire_take(tcp, &up)); /* it waits */
    ck_assert_uint_le(server_ip.deadline_us(ip), now + IP_RETRY_US);
    now += IP_NIC_PATIENCE_US;
    burst();
    ck_assert_uint_eq(ip->counters.drop_no_nic, 1);
    returned(tcp, 77);
    m = good();
    m.destination = us;
    wire_send(tcp, &m);
    burst();
    ck_assert(take(tcp, MESSAGE_RECEIVE, &up));
    ck_assert_uint_ge(up.cookie, MESSAGE_COOKIE_OWN);
}
END_TEST

START_TEST(test_nic_comes_back)
{
    struct message m = good();
    know_peer();
    port_detach(&nic->server);
    server_ip.peer_lost(ip, SERVER_NIC);
    wire_send(tcp, &m);
    burst();
    wire_attach(nic);
    server_ip.peer_attached(ip, SERVER_NIC, now);
    burst();
    do /* what waited goes out, among announcements */
        ck_assert(take(nic, MESSAGE_SEND, &m));
    while (m.protocol != IP_PROTOCOL_TCP);
    ck_assert_uint_eq(ip->counters.drop_no_nic, 0);
}
END_TEST

/* The transport dies holding what it sent itself. */
START_TEST(test_transport_dies)
{
    struct message m = datagram(&us, &us, 10);
    wire_send(udp, &m);
    burst();
    ck_assert(take(udp, MESSAGE_RECEIVE, &m));
    port_detach(&udp->server);
    server_ip.peer_lost(ip, SERVER_UDP);
    ck_assert_uint_eq(pool.lent[SERVER_UDP], 1); /* until everyone has acknowledged */
    wire_attach(udp);
    server_ip.peer_attached(ip, SERVER_UDP, now);
    ck_assert_uint_eq(ip->counters.reclaimed, 1);
    nobody_says_anything(); /* the next incarnation gets nothing of the dead one's back */
    all_home();
}
END_TEST

SUITE_RUN("ip_local", setup, teardown, test_turned, test_super_segment_stays_whole, test_refused, test_share,
          test_full_ring, test_unreachable, test_without_nic, test_nic_comes_back, test_transport_dies)
