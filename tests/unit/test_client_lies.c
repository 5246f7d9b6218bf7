// SPDX-License-Identifier: BSD-2-Clause
/* libbulkhead against a transport that lies in every word of an arena. */
#include <netinet/tcp.h>
#include <string.h>

#include "ipc/session.h"
#include "tests/unit/client_bench.h"

/* All that is handed out is of the slot's own ring, and readable to its end; the second piece begins where the ring
 * does. */
static void pieces_are_ours(const struct iovec piece[2])
{
    const uint8_t *ring = piece[1].iov_base, *first = piece[0].iov_base;
    ck_assert_uint_le(piece[1].iov_len, SLOT_RING_MAX);
    ck_assert(first >= ring && first + piece[0].iov_len <= ring + SLOT_RING_MAX);
}

/* What a socket says of itself when its transport lies. */
static void ask_of_itself(int fd)
{
    struct tcp_info info;
    char name[16];
    int octets;
    socklen_t length = sizeof octets;
    ck_assert_int_eq(bh_getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &octets, &length), 0);
    ck_assert_int_le(octets, (int)SLOT_RING_MAX);
    ck_assert_int_eq(bh_getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &octets, &length), 0);
    ck_assert_int_le(octets, (int)SLOT_RING_MAX);
    length = sizeof name;
    ck_assert_int_eq(bh_getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length), 0);
    ck_assert(strcmp(name, "reno") == 0 || strcmp(name, "cubic") == 0);
    length = sizeof info;
    ck_assert_int_eq(bh_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
}

START_TEST(lying_transport)
{
    static uint8_t data[50000];
    struct iovec piece[2];
    int fd[2];
    pair_of(listener(), fd);
    int udp = bh_socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = at(7);
    ck_assert_int_eq(bind_to(udp, 53), 0);
    for (uint32_t seed = 1; seed < 40; seed++) {
        fake_stack_lie(fake, seed);
        for (int i = 0; i < 40; i++) {
            (void)!bh_send(fd[0], data, sizeof data, MSG_DONTWAIT);
            (void)!bh_recv(fd[0], data, sizeof data, MSG_DONTWAIT);
            (void)!bh_sendto(udp, data, 100, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to);
            (void)!bh_recv(udp, data, sizeof data, MSG_DONTWAIT);
            if (bh_receive_peek(fd[1], piece, MSG_DONTWAIT) > 0) {
                pieces_are_ours(piece);
                memset(data, *(const uint8_t *)piece[0].iov_base, sizeof data);
            }
            if (bh_send_reserve(fd[1], piece, MSG_DONTWAIT) > 0) {
                pieces_are_ours(piece);
                memset(piece[1].iov_base, 1, piece[1].iov_len);
            }
            ask_of_itself(fd[1]);
            struct pollfd p = {.fd = fd[1], .events = POLLIN | POLLOUT};
            bh_poll(&p, 1, 0);
        }
    }
}
END_TEST

SUITE_RUN("client_lies", setup, teardown, lying_transport)
