// SPDX-License-Identifier: BSD-2-Clause
#include "tests/unit/ip_harness.h"

#include <stdio.h>

const struct ip_address us = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}};
const struct ip_address peer = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}};
const struct ip_address us6 = {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 2}};
const struct ip_address peer6 = {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 1}};
const struct ip_address loopback = {.family = ADDRESS_IP4, .octets = {127, 0, 0, 1}};
const struct ip_address loopback6 = {.family = ADDRESS_IP6, .octets = {[15] = 1}};
const struct mac_address peer_mac = {{2, 0, 0, 0, 0, 1}};
const uint8_t segment[40] = {0x9c, 0x40, 0, 80, 1, 2, 3, 4};

struct stack_config config;
struct server_context context;
struct wire_pair *nic, *tcp, *udp;
struct pool pool;
struct ip *ip;
uint8_t frames[FRAMES * 2048], headers[4096], arena[100000];
uint64_t now;
char noticed[160];
static struct status_counter counter[STATUS_COUNTERS];

/* ---- life ---- */

static void flush(void)
{
    port_flush(&nic->server);
    port_flush(&tcp->server);
    port_flush(&udp->server);
}

void burst(void)
{
    for (int i = 0; i < 20 && server_ip.burst(ip, now); i++)
        flush();
    flush();
    server_ip.publish(ip, now);
}

static void notice(void *domain, enum server_id server, const char *text)
{
    (void)domain;
    ck_assert_int_eq(server, SERVER_IP);
    snprintf(noticed, sizeof noticed, "%s", text);
}

static void grant(struct wire_pair *w, uint16_t type, uint32_t rights, uint8_t protocol)
{
    struct capability c = {
        .type = type, .generation = 1, .rights = rights, .protocol = protocol, .mac = config.mac, .address_count = 0};
    for (uint32_t i = 0; i < config.address_count; i++)
        c.address[c.address_count++] = config.address[i];
    capability_grant(&w->server.table, CAPABILITY_INDEX_PEER, &c);
    wire_grant_pool(w, POOL_NIC, frames, sizeof frames);
    if (w == nic)
        return;
    wire_grant_pool(w, POOL_IP, pool.base, IP_BUFFERS * IP_BUFFER_OCTETS + server_ip.pool_extra_octets);
    wire_grant_pool(w, POOL_TCP, headers, sizeof headers);
    wire_grant_pool(w, ARENA, NULL, sizeof arena);
}

void start(void)
{
    now = SECOND;
    noticed[0] = 0;
    for (uint32_t i = 0; i < sizeof arena; i++)
        arena[i] = (uint8_t)(i * 7 + i / 251);
    pool_init(&pool, aligned_alloc(64, IP_BUFFERS * IP_BUFFER_OCTETS + server_ip.pool_extra_octets), IP_BUFFER_OCTETS,
              IP_BUFFERS);
    nic = wire_new();
    tcp = wire_new();
    udp = wire_new();
    grant(nic, CAPABILITY_LINK, CAPABILITY_RECEIVE, 0);
    grant(tcp, CAPABILITY_TRANSPORT, CAPABILITY_SEND, IP_PROTOCOL_TCP);
    grant(udp, CAPABILITY_TRANSPORT, CAPABILITY_SEND, IP_PROTOCOL_UDP);
    context = (struct server_context){.id = SERVER_IP,
                                      .config = &config,
                                      .incarnation = context.incarnation,
                                      .pool = &pool,
                                      .pool_capability = POOL_IP,
                                      .pool_generation = 1,
                                      .device = -1,
                                      .notice = notice,
                                      .counter = counter};
    context.port[SERVER_NIC] = &nic->server;
    context.port[SERVER_TCP] = &tcp->server;
    context.port[SERVER_UDP] = &udp->server;
    ip = aligned_alloc(64, server_ip.state_size(&config));
    memset(ip, 0, server_ip.state_size(&config));
    ck_assert_int_eq(server_ip.init(ip, &context, now), 0);
}

/* What ARP and NDP say at the start is their own tests' part. */
static void settle(void)
{
    struct message m;
    for (int i = 0; i < 10; i++, now += 5 * SECOND) {
        burst();
        while (take(nic, MESSAGE_SEND, &m))
            wire_return(nic, (uint32_t)m.cookie);
    }
    burst();
    nobody_says_anything();
}

void setup(void)
{
    config = (struct stack_config){.address = {us, us6},
                                   .prefix_length = {24, 64},
                                   .address_count = 2,
                                   .dad = STACK_DAD_OFF,
                                   .mac = {{2, 0, 0, 0, 0, 2}},
                                   .mtu = 1500};
    context.incarnation = 1;
    start();
    settle();
}

void teardown(void)
{
    free(pool.base);
    free(nic);
    free(tcp);
    free(udp);
    free(ip);
}

void all_home(void)
{
    ck_assert(pool_all_home(&pool));
    for (unsigned i = 0; i < IP_COOKIES; i++)
        ck_assert_int_eq(ip->holder[i], IP_HOLDER_NONE);
    for (unsigned i = 0; i < REASSEMBLY_DATAGRAMS; i++) {
        ck_assert_int_eq(ip->slot_holder[i], IP_HOLDER_NONE);
        ck_assert_int_ne(ip->reassembly.datagram[i].state, REASSEMBLY_LENT);
    }
    for (unsigned i = 0; i < IP_BUFFERS; i++)
        ck_assert_uint_eq(ip->group[i].references, 0);
    for (unsigned i = 0; i < IP_QUOTES; i++)
        ck_assert(!ip->quote_out[i]);
    ck_assert_uint_eq(ip->echoes, 0);
    ck_assert_uint_eq(ip->held[SERVER_TCP] + ip->held[SERVER_UDP], 0);
}

/* ---- what ip says ---- */

bool take(struct wire_pair *w, uint8_t operation, struct message *ret)
{
    bool taken = wire_take(w, ret);
    if (taken)
        ck_assert_int_eq(ret->operation, operation);
    return taken;
}

void nobody_says_anything(void)
{
    struct message m;
    burst();
    ck_assert(!wire_take(nic, &m));
    ck_assert(!wire_take(tcp, &m));
    ck_assert(!wire_take(udp, &m));
}

struct message sent(bool keep)
{
    struct message m;
    burst();
    ck_assert(take(nic, MESSAGE_SEND, &m));
    if (!keep) {
        wire_return(nic, (uint32_t)m.cookie);
        burst();
    }
    return m;
}

const uint8_t *at(const struct message_reference *r)
{
    switch (r->pool) {
    case POOL_NIC:
        return frames + r->offset;
    case POOL_IP:
        return pool.base + r->offset;
    case POOL_TCP:
        return headers + r->offset;
    default:
        ck_assert_int_eq(r->pool, ARENA);
        return arena + r->offset;
    }
}

const uint8_t *bytes_of(const struct message *m)
{
    return at(&m->reference[0]);
}

void returned(struct wire_pair *w, uint32_t cookie)
{
    struct message m;
    ck_assert(take(w, MESSAGE_RETURN, &m));
    ck_assert_int_eq(m.count, 1);
    ck_assert_uint_eq(m.returned[0], cookie);
}

uint32_t frame_of(const struct message *m, uint8_t *ret, uint32_t size)
{
    uint32_t head = m->reference[0].length, body = m->reference[1].length;
    ck_assert_uint_le(head + body, size);
    memcpy(ret, at(&m->reference[0]), head);
    if (body > 0)
        memcpy(ret + head, at(&m->reference[1]), body);
    return head + body;
}

/* ---- frames from the wire ---- */

void frame_send(uint32_t cookie, uint32_t length)
{
    struct message m = {.operation = MESSAGE_RECEIVE,
                        .capability = CAPABILITY_INDEX_PEER,
                        .generation = 1,
                        .cookie = cookie,
                        .reference = {{POOL_NIC, 1, cookie * 2048, length}}};
    wire_send(nic, &m);
    burst();
}

static uint8_t *ether_frame(uint32_t cookie, uint16_t type)
{
    uint8_t *frame = frames + cookie * 2048;
    struct ether_header ether = {.destination = config.mac, .source = peer_mac, .type = type};
    ether_build(&ether, frame);
    return frame + ETHER_HEADER_LENGTH;
}

void packet_frame(uint32_t cookie, uint8_t protocol, const void *payload, uint32_t octets)
{
    uint8_t *packet = ether_frame(cookie, ETHER_TYPE_IP4);
    struct ip4_header h = {.source = peer,
                           .destination = us,
                           .total_length = (uint16_t)(20 + octets),
                           .protocol = protocol,
                           .ttl = 63,
                           .dscp = 4,
                           .ecn = 1};
    ip4_build(&h, packet);
    memcpy(packet + 20, payload, octets);
    frame_send(cookie, 34 + octets);
}

void packet6_frame(uint32_t cookie, uint8_t protocol, const void *payload, uint32_t octets)
{
    uint8_t *packet = ether_frame(cookie, ETHER_TYPE_IP6);
    struct ip6_header h = {.source = peer6,
                           .destination = us6,
                           .payload_length = (uint16_t)octets,
                           .protocol = protocol,
                           .hop_limit = 255,
                           .dscp = 4,
                           .ecn = 1};
    ip6_build(&h, packet);
    memcpy(packet + 40, payload, octets);
    frame_send(cookie, 54 + octets);
}

void fragment_frame(uint32_t cookie, const struct ip_address *from, uint8_t protocol, uint32_t identification,
                    uint32_t offset, bool more, const void *payload, uint32_t octets)
{
    bool six = from->family == ADDRESS_IP6;
    uint8_t *packet = ether_frame(cookie, six ? ETHER_TYPE_IP6 : ETHER_TYPE_IP4);
    uint32_t length = six ? 48 : 20;
    struct ip4_header h = {.source = *from,
                           .destination = us,
                           .total_length = (uint16_t)(20 + octets),
                           .identification = (uint16_t)identification,
                           .fragment_offset = (uint16_t)offset,
                           .more_fragments = more,
                           .protocol = protocol,
                           .ttl = 63};
    struct ip6_header h6 = {.source = *from,
                            .destination = us6,
                            .payload_length = (uint16_t)(8 + octets),
                            .protocol = IP_PROTOCOL_FRAGMENT,
                            .hop_limit = 63};
    struct ip6_fragment f = {
        .identification = identification, .offset = (uint16_t)offset, .more = more, .next_header = protocol};
    if (six) {
        ip6_build(&h6, packet);
        ip6_fragment_build(&f, packet + 40);
    } else {
        ip4_build(&h, packet);
    }
    memcpy(packet + length, payload, octets);
    frame_send(cookie, 14 + length + octets);
}

void arp_frame(uint16_t operation, uint32_t cookie)
{
    struct arp_wire w = {.hardware = be16_make(1),
                         .protocol = be16_make(ETHER_TYPE_IP4),
                         .hardware_length = 6,
                         .protocol_length = 4,
                         .operation = be16_make(operation)};
    memcpy(w.sender_mac, peer_mac.octets, 6);
    memcpy(w.sender_ip4, peer.octets, 4);
    memcpy(w.target_ip4, us.octets, 4);
    memcpy(ether_frame(cookie, ETHER_TYPE_ARP), &w, sizeof w);
    frame_send(cookie, 60);
}

be16 icmp6_sum(const struct ip_address *from, const struct ip_address *to, const void *bytes, uint32_t octets)
{
    return checksum_finish(checksum_add(checksum_pseudo_header(from, to, IP_PROTOCOL_ICMP6, octets), bytes, octets));
}

void advertisement_frame(uint32_t cookie)
{
    uint8_t bytes[32] = {NDP_TYPE_NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, NDP_FLAG_SOLICITED | NDP_FLAG_OVERRIDE};
    memcpy(bytes + 8, peer6.octets, 16);
    bytes[24] = NDP_OPTION_TARGET;
    bytes[25] = 1;
    memcpy(bytes + 26, peer_mac.octets, 6);
    be16 sum = icmp6_sum(&peer6, &us6, bytes, sizeof bytes);
    memcpy(bytes + 2, &sum, 2);
    packet6_frame(cookie, IP_PROTOCOL_ICMP6, bytes, sizeof bytes);
}

void know_peer(void)
{
    struct message m;
    struct mac_address mac;
    arp_frame(ARP_OPERATION_REPLY, 0);
    returned(nic, 0);
    ck_assert_int_eq(ndp_lookup(&ip->ndp, now, &peer6, &mac), NDP_LOOKUP_RESOLVING);
    sent(false);
    advertisement_frame(0);
    returned(nic, 0);
    burst();
    ck_assert(!wire_take(nic, &m));
    ck_assert_int_eq(ndp_lookup(&ip->ndp, now, &peer6, &mac), NDP_LOOKUP_FOUND);
}

/* ---- what transports send ---- */

struct message good(void)
{
    memcpy(headers, "\0\x50\x9c\x40\1\2\3\4", 8);
    return (struct message){.operation = MESSAGE_SEND,
                            .capability = CAPABILITY_INDEX_PEER,
                            .generation = 1,
                            .cookie = 77,
                            .reference = {{POOL_TCP, 1, 0, 32}, {ARENA, 1, 500, 5000}},
                            .source = us,
                            .destination = peer,
                            .source_port = 80,
                            .destination_port = 40000,
                            .protocol = IP_PROTOCOL_TCP,
                            .gso_type = MESSAGE_GSO_TCP4,
                            .gso_size = 1448,
                            .checksum_state = MESSAGE_CHECKSUM_PARTIAL,
                            .checksum_offset = 16};
}

struct message datagram(const struct ip_address *source, const struct ip_address *destination, uint32_t octets)
{
    memcpy(headers + 64, "\0\x35\x9c\x40\1\2\3\4", 8);
    return (struct message){.operation = MESSAGE_SEND,
                            .capability = CAPABILITY_INDEX_PEER,
                            .generation = 1,
                            .cookie = 99,
                            .reference = {{POOL_TCP, 1, 64, 8}, {ARENA, 1, 0, octets}},
                            .source = *source,
                            .destination = *destination,
                            .source_port = 53,
                            .destination_port = 40000,
                            .protocol = IP_PROTOCOL_UDP};
}
