// SPDX-License-Identifier: BSD-2-Clause
/* Fragments in and out, path MTUs. */
#include "tests/unit/ip_harness.h"

static const struct {
    const struct ip_address *us, *peer;
    uint32_t headers, most; /* octets of a fragment at an MTU of 1500 */
} families[] = {{&us, &peer, 20, 1480}, {&us6, &peer6, 48, 1448}};

/* ---- out ---- */

/* Takes all fragments of one packet from nic's ring, puts them together; the loans stay out. Their number. */
static uint32_t collect(unsigned family, uint8_t *ret, uint32_t *ret_length, uint32_t *cookies)
{
    uint8_t frame[2048];
    struct message m;
    uint32_t count = 0, expected = 0;
    bool more = true;
    for (; more; count++) {
        ck_assert(take(nic, MESSAGE_SEND, &m));
        uint32_t length = frame_of(&m, frame, sizeof frame) - 14 - families[family].headers, offset;
        if (family == 0) {
            uint16_t field = ip_port_at(frame, 20);
            offset = (field & IP4_FRAGMENT_OFFSET) * 8U;
            more = (field & IP4_FLAG_MORE_FRAGMENTS) != 0;
            ck_assert_int_eq(field & IP4_FLAG_DONT_FRAGMENT, 0);
            ck_assert_uint_eq(ip_port_at(frame, 16), 20 + length);
        } else {
            uint16_t field = ip_port_at(frame, 56);
            offset = field & 0xfff8U;
            more = (field & 1) != 0;
            ck_assert_int_eq(frame[20], IP_PROTOCOL_FRAGMENT);
            ck_assert_uint_eq(ip_port_at(frame, 18), 8 + length);
        }
        ck_assert_uint_eq(offset, expected);
        ck_assert(!more || length % 8 == 0);
        memcpy(ret + offset, frame + 14 + families[family].headers, length);
        expected += length;
        cookies[count] = (uint32_t)m.cookie;
    }
    *ret_length = expected;
    return count;
}

START_TEST(test_out)
{
    static uint8_t packet[70000];
    uint32_t cookies[200], length;
    know_peer();
    for (unsigned f = 0; f < 2; f++) {
        struct message m = datagram(families[f].us, families[f].peer, 65507);
        wire_send(udp, &m);
        burst();
        uint32_t count = collect(f, packet, &length, cookies);
        ck_assert_uint_eq(length, 65515);
        ck_assert_uint_eq(count, (65515 + families[f].most - 1) / families[f].most);
        ck_assert_mem_eq(packet, headers + 64, 8);
        ck_assert_mem_eq(packet + 8, arena, 65507);
        for (uint32_t i = 0; i < count; i++) {
            nobody_says_anything(); /* until the last is home */
            wire_return(nic, cookies[i]);
            burst();
        }
        returned(udp, 99);
        all_home();
    }
    ck_assert_uint_eq(ip->counters.fragmented, 2);
}
END_TEST

START_TEST(test_out_refused)
{
    know_peer();
    for (unsigned f = 0; f < 2; f++) {
        struct message m = datagram(families[f].us, families[f].peer, 1500), up;
        m.flags = MESSAGE_DONT_FRAGMENT;
        wire_send(udp, &m);
        burst();
        ck_assert(take(udp, MESSAGE_UNREACHABLE, &up));
        ck_assert_uint_eq(up.gso_size, 1500);
        ck_assert_int_eq(up.traffic_class, f == 0 ? ICMP_TYPE_UNREACHABLE : ICMP6_TYPE_PACKET_TOO_BIG);
        ck_assert_int_eq(up.ttl, f == 0 ? ICMP_CODE_FRAGMENTATION_NEEDED : 0);
        ck_assert(up.source_port == 53 && up.destination_port == 40000);
        returned(udp, 99);
        m.flags = 0;
        m.checksum_state = MESSAGE_CHECKSUM_PARTIAL; /* nobody can finish it piece by piece */
        m.checksum_offset = 6;
        wire_send(udp, &m);
        burst();
        returned(udp, 99);
        m = datagram(families[f].us, families[f].peer, 1460 - families[f].headers); /* fits: whole */
        m.checksum_state = MESSAGE_CHECKSUM_PARTIAL;
        m.checksum_offset = 6;
        wire_send(udp, &m);
        m = sent(false);
        ck_assert_int_eq(m.checksum_start, f == 0 ? 34 : 54);
        returned(udp, 99);
    }
    ck_assert_uint_eq(ip->counters.drop_too_long, 2);
    ck_assert_uint_eq(ip->counters.drop_send_fragment, 2);
    all_home();
}
END_TEST

/* More fragments than buffers are free: it waits, and its transport with it; others and returns go on. */
START_TEST(test_kept)
{
    uint32_t cookies[IP_BUFFERS], lent = 0;
    struct message m;
    know_peer();
    for (uint32_t i = 0; i < 140; i++) {
        m = good();
        m.cookie = i;
        wire_send(tcp, &m);
        burst();
        while (take(nic, MESSAGE_SEND, &m))
            cookies[lent++] = (uint32_t)m.cookie;
    }
    ck_assert_uint_eq(lent, 140);
    m = datagram(&us, &peer, 65507); /* 45 fragments, and 36 buffers for transports */
    wire_send(udp, &m);
    burst();
    ck_assert(!wire_take(nic, &m));
    ck_assert(ip->kept[SERVER_UDP].present);
    ck_assert_uint_eq(server_ip.deadline_us(ip), now + IP_RETRY_US);
    m = datagram(&us, &us, 10); /* behind it: waits as well */
    wire_send(udp, &m);
    m = good(); /* what the kept one needs is not for others */
    wire_send(tcp, &m);
    nobody_says_anything();
    for (uint32_t i = 0; i < 10; i++) /* one of them is for tcp, which waits as well */
        wire_return(nic, cookies[i]);
    burst();
    ck_assert(!ip->kept[SERVER_UDP].present && !ip->kept[SERVER_TCP].present);
    for (uint32_t i = 0, fragments = 0; i < 46; i++) {
        ck_assert(take(nic, MESSAGE_SEND, &m));
        fragments += m.protocol == IP_PROTOCOL_UDP;
        ck_assert(i < 45 || fragments == 45);
    }
    ck_assert(take(udp, MESSAGE_RECEIVE, &m));
    ck_assert_uint_eq(ip->counters.drop_no_buffer, 0);
}
END_TEST

/* udp dies while it waits, and while its fragments are out. */
START_TEST(test_sender_dies)
{
    static uint8_t packet[70000];
    uint32_t cookies[200], length;
    know_peer();
    struct message m = datagram(&us, &peer, 5000);
    wire_send(udp, &m);
    burst();
    uint32_t count = collect(0, packet, &length, cookies);
    ip->kept[SERVER_UDP] = (struct ip_kept){.present = true, .message = m};
    port_detach(&udp->server);
    server_ip.peer_lost(ip, SERVER_UDP);
    ck_assert(!ip->kept[SERVER_UDP].present);
    wire_attach(udp);
    server_ip.peer_attached(ip, SERVER_UDP, now);
    for (uint32_t i = 0; i < count; i++)
        wire_return(nic, cookies[i]);
    nobody_says_anything();
    all_home();
}
END_TEST

/* ---- in ---- */

static void fragments_in(unsigned f, uint8_t protocol, uint32_t id, const uint8_t *bytes, uint32_t octets)
{
    for (uint32_t offset = 0; offset < octets; offset += 1440) {
        uint32_t length = octets - offset < 1440 ? octets - offset : 1440;
        fragment_frame(3, families[f].peer, protocol, id, offset, offset + length < octets, bytes + offset, length);
        if (offset + length < octets || protocol == IP_PROTOCOL_UDP || protocol == IP_PROTOCOL_TCP)
            returned(nic, 3); /* at once; behind the echo's fragments it is found there */
    }
}

START_TEST(test_in)
{
    static uint8_t bytes[65515];
    memcpy(bytes, arena, sizeof bytes);
    memcpy(bytes, segment, 8);
    for (unsigned f = 0; f < 2; f++) {
        struct message m;
        fragments_in(f, IP_PROTOCOL_UDP, 5, bytes, sizeof bytes);
        ck_assert(take(udp, MESSAGE_RECEIVE, &m));
        ck_assert_uint_ge(m.cookie, MESSAGE_COOKIE_OWN + IP_BUFFERS);
        ck_assert(m.reference[0].pool == POOL_IP && m.reference[0].length == sizeof bytes);
        ck_assert_mem_eq(at(&m.reference[0]), bytes, sizeof bytes);
        ck_assert(m.source_port == 40000 && m.destination_port == 80 && m.checksum_state == MESSAGE_CHECKSUM_NONE);
        ck_assert(ip_address_equal(&m.source, families[f].peer) && ip_address_equal(&m.destination, families[f].us));
        wire_return(tcp, (uint32_t)m.cookie); /* not tcp's */
        burst();
        ck_assert_uint_eq(ip->counters.drop_return, 2 * f + 1);
        wire_return(udp, (uint32_t)m.cookie);
        wire_return(udp, (uint32_t)m.cookie); /* twice */
        burst();
        ck_assert_uint_eq(ip->counters.drop_return, 2 * f + 2);
        all_home();
    }
}
END_TEST

/* Extension headers in the fragmentable part are read once it is whole. */
START_TEST(test_in_extension)
{
    uint8_t bytes[1448] = {IP_PROTOCOL_UDP, 0, 1, 4, 0, 0, 0, 0, 0x9c, 0x40, 0, 80};
    struct message m;
    fragments_in(1, IP_PROTOCOL_DESTINATION_OPTIONS, 6, bytes, sizeof bytes);
    returned(nic, 3);
    ck_assert(take(udp, MESSAGE_RECEIVE, &m));
    ck_assert(m.reference[0].length == sizeof bytes - 8 && m.source_port == 40000 && m.destination_port == 80);
    ck_assert_mem_eq(at(&m.reference[0]), bytes + 8, sizeof bytes - 8);
    wire_return(udp, (uint32_t)m.cookie);
    burst();
    all_home();
}
END_TEST

START_TEST(test_in_overlap)
{
    for (unsigned f = 0; f < 2; f++) {
        fragment_frame(3, families[f].peer, IP_PROTOCOL_UDP, 5, 0, true, segment, 16);
        returned(nic, 3);
        fragment_frame(3, families[f].peer, IP_PROTOCOL_UDP, 5, 8, true, segment, 16);
        returned(nic, 3);
        fragment_frame(3, families[f].peer, IP_PROTOCOL_UDP, 5, 16, false, segment, 16);
        returned(nic, 3);
        nobody_says_anything();
    }
    ck_assert_uint_eq(ip->reassembly.counters.drop_overlap, 2);
    ck_assert_uint_eq(ip->reassembly.counters.drop_discarded, 2);
}
END_TEST

START_TEST(test_in_share)
{
    struct message m;
    uint32_t got = 0;
    for (uint32_t i = 0; i < IP_SLOTS_UDP + 3; i++) {
        fragments_in(0, IP_PROTOCOL_UDP, i, arena, 3000);
        got += take(udp, MESSAGE_RECEIVE, &m);
    }
    ck_assert_uint_eq(got, IP_SLOTS_UDP);
    ck_assert_uint_eq(ip->counters.drop_slots, 3);
    fragments_in(0, IP_PROTOCOL_TCP, 1, arena, 3000); /* another has a share of its own */
    ck_assert(take(tcp, MESSAGE_RECEIVE, &m));
    wire_return(tcp, (uint32_t)m.cookie);
    burst();
    port_detach(&udp->server); /* and a dead one's come home */
    server_ip.peer_lost(ip, SERVER_UDP);
    wire_attach(udp);
    server_ip.peer_attached(ip, SERVER_UDP, now);
    ck_assert_uint_eq(ip->counters.reclaimed, IP_SLOTS_UDP);
    all_home();
}
END_TEST

/* A burst of datagrams in two fragments each is here before udp had a chance to take one. */
START_TEST(test_in_window)
{
    struct message m;
    for (unsigned f = 0; f < 2; f++) {
        uint32_t cookies[SERVER_BURST / 2];
        for (uint32_t i = 0; i < SERVER_BURST / 2; i++)
            fragments_in(f, IP_PROTOCOL_UDP, i, arena, 2000);
        for (uint32_t i = 0; i < SERVER_BURST / 2; i++) {
            ck_assert_msg(take(udp, MESSAGE_RECEIVE, &m), "datagram %u", i);
            cookies[i] = (uint32_t)m.cookie;
        }
        for (uint32_t i = 0; i < SERVER_BURST / 2; i++)
            wire_return(udp, cookies[i]);
        burst();
    }
    ck_assert_uint_eq(ip->counters.drop_slots, 0);
    all_home();
}
END_TEST

START_TEST(test_time_exceeded)
{
    know_peer();
    for (unsigned f = 0; f < 2; f++) {
        fragment_frame(3, families[f].peer, IP_PROTOCOL_UDP, 5, 0, true, arena, 800);
        returned(nic, 3);
        uint64_t wait = f == 0 ? REASSEMBLY_IP4_US : REASSEMBLY_IP6_US;
        ck_assert_uint_le(server_ip.deadline_us(ip), now + wait);
        now += wait;
        burst();
        struct message m;
        while (wire_take(nic, &m)) /* the neighbour may be asked anew meanwhile */
            if (m.operation == MESSAGE_SEND)
                wire_return(nic, (uint32_t)m.cookie);
    }
    ck_assert_uint_eq(ip->icmp.counters.time_exceeded_out, 1);
    ck_assert_uint_eq(ip->icmp6.counters.time_exceeded_out, 1);
}
END_TEST

/* ---- echo ---- */

static uint32_t slots_echoed(void)
{
    uint32_t count = 0;
    burst();
    for (uint32_t i = 0; i < REASSEMBLY_DATAGRAMS; i++)
        count += ip->slot_holder[i] == SERVER_IP;
    return count;
}

START_TEST(test_large_echo)
{
    static uint8_t request[60008], reply[70000];
    uint32_t cookies[200], length;
    know_peer();
    for (unsigned f = 0; f < 2; f++) {
        memcpy(request, arena, sizeof request);
        memset(request, 0, 8);
        request[0] = f == 0 ? ICMP_TYPE_ECHO : ICMP6_TYPE_ECHO;
        request[5] = 77;
        be16 sum = f == 0 ? checksum_finish(checksum_add(0, request, sizeof request))
                          : icmp6_sum(&peer6, &us6, request, sizeof request);
        memcpy(request + 2, &sum, 2);
        fragments_in(f, f == 0 ? IP_PROTOCOL_ICMP : IP_PROTOCOL_ICMP6, 9, request, sizeof request);
        uint32_t count = collect(f, reply, &length, cookies);
        returned(nic, 3);
        ck_assert_uint_eq(length, sizeof request);
        ck_assert_int_eq(reply[0], f == 0 ? ICMP_TYPE_ECHO_REPLY : ICMP6_TYPE_ECHO_REPLY);
        ck_assert_mem_eq(reply + 4, request + 4, sizeof request - 4);
        sum = f == 0 ? checksum_finish(checksum_add(0, reply, length)) : icmp6_sum(&us6, &peer6, reply, length);
        ck_assert_int_eq(be16_get(sum), 0);
        for (uint32_t i = 0; i < count; i++) {
            ck_assert_uint_eq(slots_echoed(), 1); /* until the last is home */
            wire_return(nic, cookies[i]);
        }
        nobody_says_anything();
        all_home();
    }
}
END_TEST

/* ---- path MTU ---- */

static void too_big_about(uint8_t protocol, unsigned f, uint32_t mtu, uint16_t quoted_octets)
{
    uint8_t m[80] = {0};
    uint32_t length;
    if (f == 0) {
        struct ip4_header q = {
            .source = us, .destination = peer, .total_length = quoted_octets, .protocol = protocol, .ttl = 64};
        m[0] = ICMP_TYPE_UNREACHABLE;
        m[1] = ICMP_CODE_FRAGMENTATION_NEEDED;
        m[6] = (uint8_t)(mtu >> 8);
        m[7] = (uint8_t)mtu;
        ip4_build(&q, m + 8);
        memcpy(m + 28, headers + 64, 8);
        length = 36;
        be16 sum = checksum_finish(checksum_add(0, m, length));
        memcpy(m + 2, &sum, 2);
    } else {
        struct ip6_header q = {.source = us6,
                               .destination = peer6,
                               .payload_length = (uint16_t)(quoted_octets - 40),
                               .protocol = protocol,
                               .hop_limit = 64};
        m[0] = ICMP6_TYPE_PACKET_TOO_BIG;
        m[6] = (uint8_t)(mtu >> 8);
        m[7] = (uint8_t)mtu;
        ip6_build(&q, m + 8);
        memcpy(m + 48, headers + 64, 8);
        length = 56;
        be16 sum = icmp6_sum(&peer6, &us6, m, length);
        memcpy(m + 2, &sum, 2);
    }
    if (f == 0)
        packet_frame(4, IP_PROTOCOL_ICMP, m, length);
    else
        packet6_frame(4, IP_PROTOCOL_ICMP6, m, length);
    returned(nic, 4);
}

static void too_big(unsigned f, uint32_t mtu, uint16_t quoted_octets)
{
    too_big_about(IP_PROTOCOL_UDP, f, mtu, quoted_octets);
}

START_TEST(test_path_mtu)
{
    static uint8_t packet[70000];
    uint32_t cookies[200], length;
    know_peer();
    for (unsigned f = 0; f < 2; f++) {
        struct message m = datagram(families[f].us, families[f].peer, 1400), up;
        wire_send(udp, &m);
        m = sent(false); /* whole */
        returned(udp, 99);
        too_big(f, 1300, 1300); /* about a packet that would have passed: a lie */
        too_big(f, f == 0 ? 500 : 1000, 1428);
        nobody_says_anything();
        too_big(f, 1300, 1428);
        ck_assert(take(udp, MESSAGE_UNREACHABLE, &up));
        ck_assert_uint_eq(up.gso_size, 1300);
        m = datagram(families[f].us, families[f].peer, 1400);
        wire_send(udp, &m);
        burst();
        uint32_t count = collect(f, packet, &length, cookies);
        ck_assert_uint_eq(count, 2);
        wire_return(nic, cookies[0]);
        wire_return(nic, cookies[1]);
        burst();
        returned(udp, 99);
        too_big(f, 1300, 1428); /* said again, for another that was on its way */
        ck_assert(take(udp, MESSAGE_UNREACHABLE, &up));
        ck_assert_uint_eq(up.gso_size, 1300);
    }
    struct message m = good(); /* TCP is not bound by what was said about UDP: anybody may have said it */
    wire_send(tcp, &m);
    m = sent(false);
    returned(tcp, 77);
    all_home();
}
END_TEST

/* TCP tells a forged report from a true one by the sequence number: it is told, and nothing is remembered. */
START_TEST(test_path_mtu_of_tcp)
{
    know_peer();
    for (unsigned f = 0; f < 2; f++) {
        struct message m, up;
        too_big_about(IP_PROTOCOL_TCP, f, 1300, 1300); /* a lie */
        too_big_about(IP_PROTOCOL_TCP, f, f == 0 ? 500 : 1000, 1500);
        too_big_about(IP_PROTOCOL_TCP, f, 1500, 1600);
        nobody_says_anything();
        too_big_about(IP_PROTOCOL_TCP, f, 1300, 1500);
        ck_assert(take(tcp, MESSAGE_UNREACHABLE, &up));
        ck_assert_uint_eq(up.gso_size, 1300);
        m = datagram(families[f].us, families[f].peer, 1400);
        wire_send(udp, &m);
        m = sent(false); /* whole */
        returned(udp, 99);
    }
    all_home();
}
END_TEST

/* The most fragments that there can be, when what is known of nic's ring is old: they do not wait for ever. */
START_TEST(test_most_fragments)
{
    static uint8_t packet[70000];
    uint32_t cookies[200], length;
    know_peer();
    too_big(0, 576, 1500);
    struct message m;
    ck_assert(take(udp, MESSAGE_UNREACHABLE, &m));
    for (unsigned i = 0; i < 10; i++) {
        m = datagram(&us, &peer, 65507);
        wire_send(udp, &m);
        burst();
        uint32_t count = collect(0, packet, &length, cookies);
        ck_assert(count == 119 && length == 65515);
        for (uint32_t k = 0; k < count; k++)
            wire_return(nic, cookies[k]);
        burst();
        returned(udp, 99);
        for (unsigned k = 0; k < 10 * i; k++) {
            m = datagram(&us, &peer, 10);
            wire_send(udp, &m);
            sent(false);
            returned(udp, 99);
        }
    }
    all_home();
}
END_TEST

SUITE_RUN("ip_fragments", setup, teardown, test_out, test_out_refused, test_kept, test_sender_dies, test_in,
          test_in_extension, test_in_overlap, test_in_share, test_path_mtu_of_tcp, test_in_window, test_time_exceeded,
          test_large_echo, test_path_mtu, test_most_fragments)
