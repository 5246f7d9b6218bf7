// SPDX-License-Identifier: BSD-2-Clause
/* The nic server on a socketpair that stands for a TAP device: one datagram a frame, struct
 * virtio_net_hdr before it. */
#include "servers/nic/nic.h"

#include <fcntl.h>
#include <linux/virtio_net.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "tests/unit/wire_pair.h"

#define POOL_NIC 16
#define POOL_IP  17
#define ARENA    18
#define UNMAPPED 19

static const struct stack_config config = {.mac = {{2, 0, 0, 0, 0, 2}}, .mtu = 1500};
static const uint8_t link_header[14] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0};
static const uint8_t tcp4_headers[54] = {2,
                                         0,
                                         0,
                                         0,
                                         0,
                                         1,
                                         2,
                                         0,
                                         0,
                                         0,
                                         0,
                                         2,
                                         8,
                                         0,
                                         0x45,
                                         0,
                                         0,
                                         0,
                                         0,
                                         1,
                                         0x40,
                                         0,
                                         64,
                                         6,
                                         0,
                                         0,
                                         10,
                                         77,
                                         0,
                                         2,
                                         10,
                                         77,
                                         0,
                                         1,
                                         /* TCP */ 0x1f,
                                         0x90,
                                         0x9c,
                                         0x40,
                                         0,
                                         0,
                                         0,
                                         1,
                                         0,
                                         0,
                                         0,
                                         1,
                                         0x50,
                                         0x19 /* FIN PSH ACK */,
                                         16,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0};

static struct server_context context;
static struct status_counter counter[STATUS_COUNTERS];
static struct wire_pair *ip;
static struct pool pool;
static struct nic *nic;
static int device[2];
static char noticed[100];
static uint8_t headers[4096], arena[70000];

static void notice(void *domain, enum server_id server, const char *text)
{
    (void)domain;
    ck_assert_int_eq(server, SERVER_NIC);
    snprintf(noticed, sizeof noticed, "%s", text);
}

static void setup(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, device), 0);
    for (int i = 0; i < 2; i++) {
        int octets = 1 << 20;
        fcntl(device[i], F_SETFL, O_NONBLOCK);
        setsockopt(device[i], SOL_SOCKET, SO_SNDBUF, &octets, sizeof octets);
    }
    pool_init(&pool, aligned_alloc(64, (size_t)NIC_BUFFERS * NIC_BUFFER_OCTETS), NIC_BUFFER_OCTETS, NIC_BUFFERS);
    ip = wire_new();
    struct capability link = {.type = CAPABILITY_LINK,
                              .generation = 1,
                              .rights = CAPABILITY_SEND,
                              .mac = config.mac,
                              .ethertypes = CAPABILITY_ETHER_IP4 | CAPABILITY_ETHER_ARP};
    capability_grant(&ip->server.table, CAPABILITY_INDEX_PEER, &link);
    wire_grant_pool(ip, POOL_NIC, pool.base, NIC_BUFFERS * NIC_BUFFER_OCTETS);
    wire_grant_pool(ip, POOL_IP, headers, sizeof headers);
    wire_grant_pool(ip, ARENA, arena, sizeof arena);
    wire_grant_pool(ip, UNMAPPED, NULL, 4096);
    context = (struct server_context){.id = SERVER_NIC,
                                      .config = &config,
                                      .pool = &pool,
                                      .pool_capability = POOL_NIC,
                                      .pool_generation = 1,
                                      .device = device[0],
                                      .driver = {.can = NETDRV_CAN_ALL},
                                      .notice = notice,
                                      .counter = counter};
    context.port[SERVER_IP] = &ip->server;
    nic = aligned_alloc(64, server_nic.state_size(&config));
    memset(nic, 0, server_nic.state_size(&config));
    ck_assert_int_eq(server_nic.init(nic, &context, 0), 0);
    memcpy(headers, tcp4_headers, sizeof tcp4_headers);
}

static void teardown(void)
{
    close(device[0]);
    close(device[1]);
    free(pool.base);
    free(ip);
    free(nic);
}

static void burst(void)
{
    for (int i = 0; i < 10 && server_nic.burst(nic, 1000); i++)
        port_flush(&ip->server);
    port_flush(&ip->server);
    server_nic.publish(nic, 1000);
}

/* ---- receive ---- */

static void frame_in(const struct virtio_net_hdr *h, size_t octets)
{
    static uint8_t frame[sizeof *h + 70000];
    memcpy(frame, h, sizeof *h);
    memcpy(frame + sizeof *h, link_header, sizeof link_header);
    ck_assert_int_eq(write(device[1], frame, sizeof *h + octets), (ssize_t)(sizeof *h + octets));
}

START_TEST(test_receive)
{
    struct virtio_net_hdr h = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                               .csum_start = 34,
                               .csum_offset = 16,
                               .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN,
                               .gso_size = 1448};
    struct message m;
    frame_in(&h, 60014);
    burst();
    ck_assert(wire_take(ip, &m));
    ck_assert_int_eq(m.operation, MESSAGE_RECEIVE);
    ck_assert_int_eq(m.capability, CAPABILITY_INDEX_PEER);
    ck_assert_int_eq(m.reference[0].pool, POOL_NIC);
    ck_assert_uint_eq(m.reference[0].length, 60014);
    ck_assert_mem_eq(pool.base + m.reference[0].offset, link_header, 14);
    ck_assert_int_eq(m.gso_type, MESSAGE_GSO_TCP4);
    ck_assert_int_eq(m.gso_size, 1448);
    ck_assert_int_eq(m.checksum_state, MESSAGE_CHECKSUM_PARTIAL);
    ck_assert_int_eq(m.checksum_start, 34);
    ck_assert_int_eq(m.checksum_offset, 16);
    ck_assert(!pool_all_home(&pool));
    wire_return(ip, (uint32_t)m.cookie);
    burst();
    ck_assert(pool_all_home(&pool));
    ck_assert_uint_eq(nic->counters.super_frames_in, 1);
    ck_assert_uint_eq(counter[0].value, 1);
    ck_assert_str_eq(counter[0].name, "frames_in");
}
END_TEST

START_TEST(test_receive_malformed)
{
    struct virtio_net_hdr plain = {0},
                          checksum = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 50, .csum_offset = 13},
                          size = {.gso_type = VIRTIO_NET_HDR_GSO_TCPV4}, type = {.gso_type = 77, .gso_size = 1};
    struct message m;
    frame_in(&plain, 13);
    burst();
    ck_assert_uint_eq(nic->counters.drop_in_short, 1);
    frame_in(&checksum, 64);
    frame_in(&size, 64);
    frame_in(&type, 64);
    frame_in(&plain, 0);
    burst();
    ck_assert_uint_eq(nic->counters.drop_in_offload, 4);
    ck_assert(!wire_take(ip, &m));
    ck_assert(pool_all_home(&pool));
}
END_TEST

START_TEST(test_no_buffer_no_device)
{
    struct virtio_net_hdr h = {0};
    struct message m;
    ck_assert(server_nic.wants_device(nic));
    for (unsigned i = 0; i < NIC_BUFFERS + 3; i++)
        frame_in(&h, 64);
    burst();
    ck_assert(!server_nic.wants_device(nic));
    for (unsigned i = 0; i < NIC_BUFFERS; i++)
        ck_assert(wire_take(ip, &m));
    ck_assert(!wire_take(ip, &m));
    wire_return(ip, (uint32_t)m.cookie);
    wire_return(ip, (uint32_t)m.cookie); /* once too often */
    wire_return(ip, 99999);
    burst();
    ck_assert_uint_eq(nic->counters.drop_return, 2);
    ck_assert(wire_take(ip, &m));
    server_nic.peer_lost(nic, SERVER_IP);
    port_detach(&ip->server);
    ck_assert(!server_nic.wants_device(nic));
    wire_attach(ip);
    server_nic.peer_attached(nic, SERVER_IP, 0);
    ck_assert(pool_all_home(&pool));
    burst(); /* the two frames that waited in the device */
    ck_assert(wire_take(ip, &m) && wire_take(ip, &m) && !wire_take(ip, &m));
}
END_TEST

/* TCP that an ip had when it died is the next one's, in order, so often; the rest goes home. */
START_TEST(test_ip_dies)
{
    struct virtio_net_hdr h = {0};
    struct message m;
    uint32_t cookie[3];
    static const uint8_t protocol[] = {6, 17, 6, 6};
    for (unsigned i = 0; i < sizeof protocol; i++) {
        frame_in(&h, 64 + i);
        burst();
        ck_assert(wire_take(ip, &m));
        pool_buffer(&pool, (uint32_t)m.cookie)[23] = protocol[i];
        if (i == 0)
            wire_return(ip, (uint32_t)m.cookie); /* done with: its buffer is the next one's */
        else
            cookie[i - 1] = (uint32_t)m.cookie;
        burst();
    }
    for (unsigned life = 0; life <= LENT_OFFERS_MAX; life++) {
        server_nic.peer_lost(nic, SERVER_IP);
        port_detach(&ip->server);
        wire_attach(ip);
        server_nic.peer_attached(nic, SERVER_IP, 0);
        burst();
        for (unsigned i = 1; i < 3 && life < LENT_OFFERS_MAX; i++) {
            ck_assert(wire_take(ip, &m));
            ck_assert_uint_eq(m.cookie, cookie[i]);
            ck_assert_uint_eq(m.reference[0].length, 64 + i + 1);
        }
        ck_assert(!wire_take(ip, &m));
    }
    ck_assert_uint_eq(nic->counters.offered_again, 2 * LENT_OFFERS_MAX);
    ck_assert_uint_eq(nic->counters.reclaimed, 3);
    ck_assert(pool_all_home(&pool));
}
END_TEST

/* ---- send ---- */

static struct message good(void)
{
    return (struct message){.operation = MESSAGE_SEND,
                            .capability = CAPABILITY_INDEX_PEER,
                            .generation = 1,
                            .cookie = 7,
                            .reference = {{POOL_IP, 1, 0, 54}, {ARENA, 1, 100, 3000}},
                            .gso_type = MESSAGE_GSO_TCP4,
                            .gso_size = 1448,
                            .header_octets = 54,
                            .checksum_state = MESSAGE_CHECKSUM_PARTIAL,
                            .checksum_start = 34,
                            .checksum_offset = 16};
}

START_TEST(test_send)
{
    uint8_t frame[70000];
    struct virtio_net_hdr h;
    struct message m = good();
    for (size_t i = 0; i < sizeof arena; i++)
        arena[i] = (uint8_t)(i * 13);
    wire_send(ip, &m);
    burst();
    ck_assert_int_eq(read(device[1], frame, sizeof frame), (ssize_t)sizeof h + 3054);
    memcpy(&h, frame, sizeof h);
    ck_assert(h.flags == VIRTIO_NET_HDR_F_NEEDS_CSUM && h.csum_start == 34 && h.csum_offset == 16);
    ck_assert(h.gso_type == VIRTIO_NET_HDR_GSO_TCPV4 && h.gso_size == 1448 && h.hdr_len == 54);
    ck_assert_mem_eq(frame + sizeof h, headers, 54);
    ck_assert_mem_eq(frame + sizeof h + 54, arena + 100, 3000);
    ck_assert(wire_take(ip, &m));
    ck_assert(m.operation == MESSAGE_RETURN && m.count == 1 && m.returned[0] == 7);
    ck_assert_uint_eq(nic->counters.frames_out, 1);
}
END_TEST

#define ROW(counter_, ...)                                                                                             \
    do {                                                                                                               \
        struct message m = good(), back;                                                                               \
        __VA_ARGS__;                                                                                                   \
        uint64_t before = nic->counters.counter_;                                                                      \
        wire_send(ip, &m);                                                                                             \
        burst();                                                                                                       \
        ck_assert_msg(nic->counters.counter_ == before + 1, #counter_ ": " #__VA_ARGS__);                              \
        ck_assert_msg(wire_take(ip, &back) && back.operation == MESSAGE_RETURN && back.returned[0] == 7,               \
                      "the loan goes home: " #__VA_ARGS__);                                                            \
    } while (0)

START_TEST(test_send_refused)
{
    uint8_t frame[100];
    ROW(drop_link, m.capability = POOL_IP);
    ROW(drop_link, m.capability = 2);
    ROW(drop_link, m.capability = 65535);
    ROW(drop_link, m.generation = 2);
    ROW(drop_header, m.reference[0].length = 13);
    ROW(drop_header, m.reference[0].length = NIC_HEADER_MAX + 1);
    ROW(drop_header, m.reference[0].length = 0);
    ROW(drop_reference, m.reference[0].pool = 77);
    ROW(drop_reference, m.reference[0].generation = 9);
    ROW(drop_reference, m.reference[0].pool = UNMAPPED);
    ROW(drop_reference, m.reference[0].offset = sizeof headers - 53);
    ROW(drop_reference, m.reference[0].offset = UINT32_MAX);
    ROW(drop_reference, m.reference[1].pool = 77);
    ROW(drop_reference, m.reference[1].pool = UNMAPPED);
    ROW(drop_reference, m.reference[1].offset = sizeof arena - 2999);
    ROW(drop_length, m.gso_type = 0);
    ROW(drop_length, m.reference[1].length = 65535);
    ROW(drop_offload, m.checksum_state = MESSAGE_CHECKSUM_VALID);
    ROW(drop_offload, m.checksum_state = 3);
    ROW(drop_offload, m.checksum_state = MESSAGE_CHECKSUM_NONE); /* segmentation needs it */
    ROW(drop_offload, m.checksum_start = 40);
    ROW(drop_offload, m.checksum_offset = 65535);
    ROW(drop_offload, m.gso_size = 0);
    ROW(drop_offload, m.gso_type = MESSAGE_GSO_UDP + 1);
    ROW(drop_offload, m.gso_size = 7);
    ROW(drop_offload, m.gso_size = 1461); /* beyond the MTU */
    ROW(drop_offload, m.header_octets = 53);
    ROW(drop_offload, m.gso_type = MESSAGE_GSO_TCP6);
    ROW(drop_offload, m.gso_type = MESSAGE_GSO_UDP);
    ROW(drop_offload, m.checksum_start = 36);
    ROW(drop_offload, m.checksum_offset = 6);
    ROW(drop_offload, m.reference[0].length = 60, m.header_octets = 60); /* more than headers */
    ROW(drop_offload, headers[20] = 0x20);                               /* a fragment */
    headers[20] = 0x40;
    ROW(drop_offload, headers[14] = 0x46); /* options that are not there */
    headers[14] = 0x45;
    ROW(drop_offload, headers[14] = 0x65);
    headers[14] = 0x45;
    ROW(drop_offload, headers[23] = 17);
    headers[23] = 6;
    ROW(drop_offload, headers[46] = 0x40); /* a TCP header too short */
    headers[46] = 0x50;
    ROW(drop_source, headers[11] ^= 1);
    headers[11] ^= 1;
    ROW(drop_type, headers[12] = 0x86, headers[13] = 0xdd);
    ROW(drop_type, headers[12] = 0x81, headers[13] = 0);
    headers[12] = 8;
    ck_assert_int_eq(read(device[1], frame, sizeof frame), -1);
    ck_assert_uint_eq(nic->counters.frames_out, 0);

    struct message other = good();
    other.operation = MESSAGE_RECEIVE;
    ip->server.strict = true;
    wire_send(ip, &other);
    burst();
    ck_assert_uint_eq(nic->counters.drop_operation, 1);
    ck_assert(ip->server.senseless);
    ip->server.senseless = false;
    other = (struct message){.operation = MESSAGE_RETURN, .count = 1, .capability = 1, .generation = 2};
    wire_send(ip, &other);
    burst();
    ck_assert(ip->server.senseless);
}
END_TEST

/* The link right, not a constant, says which ethertypes may go out. */
START_TEST(test_ethertypes)
{
    static const struct {
        uint16_t type;
        uint8_t right;
    } rows[] = {{0x0800, CAPABILITY_ETHER_IP4}, {0x0806, CAPABILITY_ETHER_ARP}, {0x86dd, CAPABILITY_ETHER_IP6}};
    struct capability *link = &ip->entry[0][CAPABILITY_INDEX_PEER];
    for (unsigned type = 0; type < 3; type++) {
        for (unsigned right = 0; right < 3; right++) {
            uint64_t sent = nic->counters.frames_out, dropped = nic->counters.drop_type;
            struct message m = good(), back;
            m.gso_type = MESSAGE_GSO_NONE;
            m.checksum_state = MESSAGE_CHECKSUM_NONE;
            m.reference[1].length = 100;
            headers[12] = (uint8_t)(rows[type].type >> 8);
            headers[13] = (uint8_t)rows[type].type;
            link->ethertypes = rows[right].right;
            wire_send(ip, &m);
            burst();
            ck_assert_uint_eq(nic->counters.frames_out, sent + (type == right));
            ck_assert_uint_eq(nic->counters.drop_type, dropped + (type != right));
            ck_assert(wire_take(ip, &back));
        }
    }
}
END_TEST

/* A device that cannot: frames of the MTU, complete. test_gso.c looks at each field. */
START_TEST(test_software_segmentation)
{
    static const unsigned lengths[] = {54 + 1448, 54 + 1448, 54 + 104};
    uint8_t frame[2000];
    struct virtio_net_hdr h, none = {0};
    struct message m = good();
    nic->driver.can = 0;
    for (size_t i = 0; i < sizeof arena; i++)
        arena[i] = (uint8_t)(i * 13);
    wire_send(ip, &m);
    burst();
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(read(device[1], frame, sizeof frame), (ssize_t)sizeof h + lengths[i]);
        memcpy(&h, frame, sizeof h);
        ck_assert_mem_eq(&h, &none, sizeof h);
        ck_assert_mem_eq(frame + sizeof h + 54, arena + 100 + 1448 * i, lengths[i] - 54);
    }
    ck_assert_int_eq(read(device[1], frame, sizeof frame), -1);
    ck_assert_uint_eq(nic->counters.frames_out, 3);
    ck_assert_uint_eq(nic->counters.segmented_out, 3);
    ck_assert_uint_eq(nic->counters.super_frames_out, 0);
    ck_assert(wire_take(ip, &m) && m.operation == MESSAGE_RETURN && m.count == 1);
}
END_TEST

/* Which offloads a device has, and which message needs which. */
START_TEST(test_software_where_needed)
{
    static const struct {
        uint32_t can;
        uint64_t whole;
    } rows[] = {{0, 0},
                {NETDRV_CAN_CHECKSUM, 0},
                {NETDRV_CAN_CHECKSUM | NETDRV_CAN_TSO6 | NETDRV_CAN_USO, 0},
                {NETDRV_CAN_TSO4, 0},
                {NETDRV_CAN_CHECKSUM | NETDRV_CAN_TSO4, 1}};
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct message m = good(), back;
        uint64_t before = nic->counters.super_frames_out;
        nic->driver.can = rows[i].can;
        wire_send(ip, &m);
        burst();
        ck_assert_uint_eq(nic->counters.super_frames_out, before + rows[i].whole);
        ck_assert(wire_take(ip, &back));
    }
}
END_TEST

/* On a wire: link down, up with a new grant, frames both ways, a lie, and each told. */
START_TEST(test_wire_link)
{
    struct frame_half *half[2] = {aligned_alloc(64, sizeof **half), aligned_alloc(64, sizeof **half)};
    struct frame_ring other;
    struct message m = good(), back;
    uint8_t frame[FRAME_OCTETS_MAX];
    int bell[2];
    ck_assert_int_eq(pipe(bell), 0);
    fcntl(bell[1], F_SETFL, O_NONBLOCK);
    memset(half[0], 0, sizeof *half[0]);
    memset(half[1], 0, sizeof *half[1]);
    memset(nic, 0, server_nic.state_size(&config));
    context.driver = (struct netdrv_grant){.kind = NETDRV_WIRE};
    ck_assert_int_eq(server_nic.init(nic, &context, 0), 0);
    noticed[0] = 0;
    wire_send(ip, &m);
    burst();
    ck_assert(wire_take(ip, &back) && back.operation == MESSAGE_RETURN);
    ck_assert_str_eq(noticed, "the link is down");
    ck_assert_uint_eq(nic->counters.drop_link_down, 1);
    ck_assert_uint_eq(nic->counters.drop_rest, 2);
    ck_assert(!server_nic.wants_device(nic) && !server_nic.pending(nic));

    context.driver.wire = (struct wire_grant){.mine = half[0], .peer = half[1], .bell = bell[1]};
    server_nic.device_changed(nic, &context.driver);
    ck_assert_str_eq(noticed, "the link is up");
    ck_assert(server_nic.wants_device(nic));
    frame_ring_init(&other, half[1], half[0]);
    half[1]->sleep = 1;
    wire_send(ip, &m);
    burst();
    ck_assert_uint_eq(frame_ring_available(&other), 3);
    ck_assert_uint_eq(frame_ring_take(&other, frame), 54 + 1448);
    while (frame_ring_take(&other, frame) > 0)
        ;
    ck_assert_int_eq(read(bell[0], frame, sizeof frame), 1); /* rung once */
    ck_assert(wire_take(ip, &back));

    ck_assert(!server_nic.pending(nic)); /* asleep */
    ck_assert_uint_eq(half[0]->sleep & 1, 1);
    struct iovec part = {(void *)(uintptr_t)tcp4_headers, sizeof tcp4_headers};
    ck_assert(frame_ring_put(&other, &part, 1));
    frame_ring_flush(&other);
    ck_assert(server_nic.pending(nic)); /* the second look */
    burst();
    ck_assert_uint_eq(half[0]->sleep & 1, 0);
    ck_assert(wire_take(ip, &back) && back.operation == MESSAGE_RECEIVE);
    ck_assert_uint_eq(back.reference[0].length, 54);
    ck_assert_int_eq(back.checksum_state, MESSAGE_CHECKSUM_NONE);

    for (unsigned i = 0; i < 2; i++) { /* our own three segments, sent back twice: each time one frame */
        wire_send(ip, &m);
        burst();
        ck_assert(wire_take(ip, &back));
        for (uint32_t octets; (octets = frame_ring_take(&other, frame)) > 0;) {
            part = (struct iovec){frame, octets};
            if ((frame[47] & 1) == 0) /* without the last: it has FIN and stays alone */
                ck_assert(frame_ring_put(&other, &part, 1));
        }
        frame_ring_flush(&other);
        burst();
        ck_assert(wire_take(ip, &back) && back.operation == MESSAGE_RECEIVE);
        ck_assert_uint_eq(back.reference[0].length, 54 + 2 * 1448);
        ck_assert(back.gso_type == MESSAGE_GSO_TCP4 && back.gso_size == 1448);
        ck_assert_int_eq(back.checksum_state, MESSAGE_CHECKSUM_VALID);
        ck_assert_mem_eq(pool.base + back.reference[0].offset + 54, arena + 100, 2 * 1448);
        ck_assert(!wire_take(ip, &back));
        ck_assert_uint_eq(nic->counters.coalesced_in, i + 1);
    }

    half[1]->producer += FRAME_RING_SLOTS + 1;
    burst();
    ck_assert_str_eq(noticed, "the other stack lied: the link is stopped");
    ck_assert_uint_eq(nic->counters.links_broken, 1);
    wire_send(ip, &m);
    burst();
    ck_assert_uint_eq(nic->counters.drop_link_down, 2);
    ck_assert(!server_nic.wants_device(nic));
    close(bell[0]);
    close(bell[1]);
    free(half[0]);
    free(half[1]);
}
END_TEST

START_TEST(test_device_fails)
{
    struct message m = good();
    close(device[1]);
    device[1] = -1;
    signal(SIGPIPE, SIG_IGN);
    wire_send(ip, &m);
    server_nic.burst(nic, 1000);
    port_flush(&ip->server);
    ck_assert_uint_ge(nic->counters.device_errors, 1);
    ck_assert(!server_nic.wants_device(nic));
    ck_assert_uint_eq(server_nic.deadline_us(nic), 1000 + NIC_BROKEN_US);
    ck_assert(wire_take(ip, &m) && m.operation == MESSAGE_RETURN);
    ck_assert(pool_all_home(&pool));
}
END_TEST

SUITE_RUN("nic", setup, teardown, test_receive, test_receive_malformed, test_no_buffer_no_device, test_ip_dies, test_send,
          test_send_refused, test_ethertypes, test_software_segmentation, test_software_where_needed, test_wire_link,
          test_device_fails)
