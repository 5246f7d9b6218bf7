// SPDX-License-Identifier: BSD-2-Clause
/* libbulkhead's datagrams, IPv6 addresses and options against a stack in a thread (fake_stack.h). Each test is a
 * process of its own. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "ipc/session.h"
#include "servers/client/bulkhead.h"
#include "tests/unit/fake_stack.h"
#include "tests/unit/suite.h"

#define PORT    53
#define LARGEST 65507

static struct fake_stack *fake;

static void setup(void)
{
    fake = fake_stack_start();
}

static void teardown(void)
{
    fake_stack_stop(fake);
}

#define FAILS(expression, error)                                                                                       \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        ck_assert_int_eq(expression, -1);                                                                              \
        ck_assert_int_eq(errno, error);                                                                                \
    } while (0)

static struct sockaddr_in at(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static struct sockaddr_in6 at6(const char *address, uint16_t port)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    ck_assert_int_eq(inet_pton(AF_INET6, address, &a.sin6_addr), 1);
    return a;
}

#define AT(port) (const struct sockaddr *)&(struct sockaddr_in[]){at(port)}[0], sizeof(struct sockaddr_in)
#define AT6(address, port)                                                                                             \
    (const struct sockaddr *)&(struct sockaddr_in6[]){at6(address, port)}[0], sizeof(struct sockaddr_in6)

static int server_at(int domain)
{
    int fd = bh_socket(domain, SOCK_DGRAM, 0);
    ck_assert_int_ge(fd, BH_DESCRIPTOR_BASE);
    ck_assert_int_eq(domain == AF_INET ? bh_bind(fd, AT(PORT)) : bh_bind(fd, AT6("::", PORT)), 0);
    return fd;
}

static int connected(void)
{
    int fd = bh_socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert_int_eq(bh_connect(fd, AT(PORT)), 0);
    return fd;
}

static void rings(uint32_t octets)
{
    ck_assert_int_eq(bh_set_option(BH_OPTION_UDP_SEND_SIZE, octets), 0);
    ck_assert_int_eq(bh_set_option(BH_OPTION_UDP_RECEIVE_SIZE, octets), 0);
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    return bh_getsockopt(fd, level, name, &value, &length) == 0 ? value : -errno;
}

static int set(int fd, int level, int name, int value)
{
    return bh_setsockopt(fd, level, name, &value, sizeof value);
}

/* ---- there and back ---- */
START_TEST(datagrams)
{
    static char data[1472], got[2000];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    rings(4096);
    int server = server_at(AF_INET), client = bh_socket(AF_INET, SOCK_DGRAM, 0);
    FAILS(bh_send(client, data, 1, 0), EDESTADDRREQ);
    FAILS(bh_sendto(client, data, 1, 0, AT(0)), EINVAL);
    for (size_t n = 0; n <= sizeof data; n += 1 + n % 97) { /* all the ways round the end of the ring */
        memset(data, (int)n, sizeof data);
        ck_assert_int_eq(bh_sendto(client, data, n, 0, AT(PORT)), n);
        ck_assert_int_eq(bh_recvfrom(server, got, sizeof got, 0, (struct sockaddr *)&from, &length), n);
        ck_assert_mem_eq(data, got, n);
        ck_assert_uint_eq(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
        ck_assert_int_eq(bh_sendto(server, data, n, 0, (struct sockaddr *)&from, sizeof from), n);
        ck_assert_int_eq(bh_recv(client, got, n / 2, MSG_TRUNC), n);
    }
    ck_assert_int_eq(bh_connect(client, AT(PORT)), 0);
    ck_assert_int_eq(bh_send(client, "hello", 5, 0), 5);
    ck_assert_int_eq(bh_recv(server, got, sizeof got, MSG_PEEK), 5);
    ck_assert_int_eq(bh_recv(server, got, sizeof got, 0), 5);
    FAILS(bh_recv(server, got, sizeof got, MSG_DONTWAIT), EAGAIN);
}
END_TEST

/* In rings that hold one such datagram wherever it falls, and in the default ones. */
static void largest(uint32_t ring)
{
    static char data[LARGEST + 1], got[LARGEST + 1];
    if (ring != 0)
        rings(ring);
    int server = server_at(AF_INET), client = connected();
    FAILS(bh_send(client, data, LARGEST + 1, 0), EMSGSIZE);
    FAILS(bh_datagram_reserve(client, LARGEST + 1, 0) == NULL ? -1 : 0, EMSGSIZE);
    for (int i = 1; i < 12; i++) { /* the places differ */
        for (size_t k = 0; k < sizeof data; k++)
            data[k] = (char)(k * 7 + k / 251 + (size_t)i);
        size_t n = (size_t)(LARGEST - (i & 1) * 9999);
        ck_assert_int_eq(bh_send(client, data, n, 0), n);
        ck_assert_int_eq(bh_recv(server, got, sizeof got, 0), n);
        ck_assert_mem_eq(data, got, n);
    }
}

START_TEST(largest_datagrams)
{
    largest(0);
}
END_TEST

START_TEST(largest_datagrams_in_small_rings)
{
    largest(128U << 10);
}
END_TEST

START_TEST(larger_than_the_ring)
{
    static char data[5000];
    rings(4096);
    int client = connected();
    ck_assert_int_eq(bh_send(client, data, 4096 - 32, 0), 4096 - 32);
    FAILS(bh_send(client, data, 4096 - 31, 0), EMSGSIZE);
}
END_TEST

/* A full ring: nobody writes over what has not been taken, and nobody is told that there is room when there is none for
 * what he wants to send. */
START_TEST(writable_means_room)
{
    static char data[3000], got[3000];
    rings(4096);
    int server = server_at(AF_INET), client = connected();
    struct pollfd p = {.fd = client, .events = POLLOUT};
    ck_assert_int_eq(bh_send(client, data, 2080, 0), 2080); /* with its head 2112 octets, more than half */
    ck_assert_int_eq(bh_poll(&p, 1, 5000), 1);
    fake_stack_stall(fake, true);
    memset(data, 'a', sizeof data);
    ck_assert_int_eq(bh_send(client, data, 1952, MSG_DONTWAIT), 1952); /* to the end of the ring: half is free still */
    ck_assert_int_eq(bh_poll(&p, 1, 0), 1);
    FAILS(bh_send(client, got, 2500, MSG_DONTWAIT), EAGAIN);
    ck_assert_int_eq(bh_poll(&p, 1, 0), 0);
    fake_stack_stall(fake, false);
    ck_assert_int_eq(bh_poll(&p, 1, 5000), 1);
    ck_assert_int_eq(p.revents, POLLOUT);
    ck_assert_int_eq(bh_send(client, got, 2500, MSG_DONTWAIT), 2500);
    ck_assert_int_eq(bh_recv(server, got, sizeof got, 0), 2080);
    ck_assert_int_eq(bh_recv(server, got, sizeof got, 0), 1952);
    ck_assert_mem_eq(got, data, 1952);
}
END_TEST

/* Nor is what has not been taken written over, whatever the sizes. */
START_TEST(full_ring)
{
    static uint8_t data[3000], got[3000];
    static int sent[400];
    int server, client, first = 0, next = 0;
    ck_assert_int_eq(bh_set_option(BH_OPTION_UDP_RECEIVE_SIZE, 64 << 10), 0);
    ck_assert_int_eq(bh_set_option(BH_OPTION_UDP_SEND_SIZE, 4096), 0);
    server = server_at(AF_INET);
    client = connected();
    while (next < 300) {
        fake_stack_stall(fake, true);
        for (;; next++) {
            sent[next] = (next * 97) % 2900;
            memset(data, next, (size_t)sent[next]);
            if (bh_send(client, data, (size_t)sent[next], MSG_DONTWAIT) < 0)
                break;
        }
        ck_assert_int_eq(errno, EAGAIN);
        fake_stack_stall(fake, false);
        for (; first < next; first++) {
            ck_assert_int_eq(bh_recv(server, got, sizeof got, 0), sent[first]);
            ck_assert(sent[first] == 0 || (got[0] == (uint8_t)first && got[sent[first] - 1] == (uint8_t)first));
        }
    }
}
END_TEST

/* ---- errors ---- */
START_TEST(refused_is_told_once)
{
    char got[10];
    int client = connected(), server;
    struct pollfd p = {.fd = client, .events = POLLIN};
    FAILS(bh_recv(client, got, sizeof got, MSG_DONTWAIT), EAGAIN);
    ck_assert_int_eq(bh_send(client, "x", 1, 0), 1);
    ck_assert_int_eq(bh_poll(&p, 1, 5000), 1);
    ck_assert_int_eq(p.revents, POLLIN | POLLERR);
    FAILS(bh_recv(client, got, sizeof got, 0), ECONNREFUSED);
    FAILS(bh_recv(client, got, sizeof got, MSG_DONTWAIT), EAGAIN);
    ck_assert_int_eq(bh_poll(&p, 1, 0), 0);
    ck_assert_int_eq(bh_send(client, "x", 1, 0), 1); /* told by the next call that sends */
    ck_assert_int_eq(bh_poll(&p, 1, 5000), 1);
    FAILS(bh_send(client, "x", 1, 0), ECONNREFUSED);
    ck_assert_int_eq(bh_send(client, "x", 1, 0), 1); /* by SO_ERROR */
    ck_assert_int_eq(bh_poll(&p, 1, 5000), 1);
    ck_assert_int_eq(option_of(client, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
    ck_assert_int_eq(option_of(client, SOL_SOCKET, SO_ERROR), 0);
    server = server_at(AF_INET);
    ck_assert_int_eq(bh_send(client, "x", 1, 0), 1);
    ck_assert_int_eq(bh_recv(server, got, sizeof got, 0), 1);
    ck_assert_int_eq(bh_poll(&p, 1, 0), 0);
}
END_TEST

static void *receive_blocked(void *argument)
{
    char got[10];
    ck_assert_int_eq(bh_recv(*(int *)argument, got, sizeof got, 0), -1);
    return (void *)(intptr_t)errno;
}

START_TEST(error_ends_a_wait)
{
    pthread_t thread;
    void *error;
    struct timespec t = {.tv_nsec = 20000000};
    int client = connected();
    ck_assert_int_eq(pthread_create(&thread, NULL, receive_blocked, &client), 0);
    nanosleep(&t, NULL);
    ck_assert_int_eq(bh_send(client, "x", 1, 0), 1);
    pthread_join(thread, &error);
    ck_assert_int_eq((intptr_t)error, ECONNREFUSED);
}
END_TEST

START_TEST(dissolved_association)
{
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    char got[10];
    int client = bh_socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert_int_eq(bh_connect(client, &nobody, sizeof nobody), 0); /* it had none */
    ck_assert_int_eq(bh_bind(client, (const struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET},
                             sizeof(struct sockaddr_in)),
                     0);
    ck_assert_int_eq(bh_connect(client, AT(PORT)), 0);
    ck_assert_int_eq(bh_getpeername(client, (struct sockaddr *)&name, &length), 0);
    ck_assert_uint_eq(ntohs(name.sin_port), PORT);
    ck_assert_int_eq(bh_getsockname(client, (struct sockaddr *)&name, &length), 0);
    ck_assert_uint_eq(name.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    uint16_t port = name.sin_port;
    ck_assert_int_eq(bh_send(client, "x", 1, 0), 1); /* refused, and nobody asks any more */
    struct pollfd p = {.fd = client};
    ck_assert_int_eq(bh_poll(&p, 1, 5000), 1);
    ck_assert_int_eq(bh_connect(client, &nobody, sizeof nobody), 0);
    FAILS(bh_getpeername(client, (struct sockaddr *)&name, &length), ENOTCONN);
    FAILS(bh_send(client, "x", 1, 0), EDESTADDRREQ);
    FAILS(bh_recv(client, got, sizeof got, MSG_DONTWAIT), EAGAIN);
    ck_assert_int_eq(bh_getsockname(client, (struct sockaddr *)&name, &length), 0);
    ck_assert_uint_eq(name.sin_addr.s_addr, 0);
    ck_assert_uint_eq(name.sin_port, port);
}
END_TEST

/* ---- without a copy ---- */
START_TEST(without_copy)
{
    struct sockaddr_in6 from;
    socklen_t length = sizeof from;
    struct iovec piece;
    int server = server_at(AF_INET6), client = bh_socket(AF_INET6, SOCK_DGRAM, 0);
    FAILS(bh_datagram_commit(client, 0, AT6("::1", PORT)), EINVAL);
    char *payload = bh_datagram_reserve(client, 1000, 0);
    ck_assert_ptr_nonnull(payload);
    memset(payload, 'a', 1000);
    FAILS(bh_datagram_commit(client, 1001, AT6("::1", PORT)), EINVAL);
    FAILS(bh_datagram_commit(client, 1000, NULL, 0), EDESTADDRREQ);
    ck_assert_int_eq(bh_datagram_commit(client, 999, AT6("::1", PORT)), 0);
    FAILS(bh_datagram_commit(client, 1, AT6("::1", PORT)), EINVAL);
    FAILS(bh_datagram_consume(server), EINVAL);
    ck_assert_int_eq(bh_datagram_peek(server, &piece, 0, (struct sockaddr *)&from, &length), 0);
    ck_assert_uint_eq(piece.iov_len, 999);
    ck_assert_int_eq(((char *)piece.iov_base)[998], 'a');
    ck_assert(IN6_IS_ADDR_LOOPBACK(&from.sin6_addr));
    ck_assert_int_eq(bh_datagram_peek(server, &piece, 0, NULL, NULL), 0); /* the same again */
    ck_assert_uint_eq(piece.iov_len, 999);
    ck_assert_int_eq(bh_datagram_consume(server), 0);
    FAILS(bh_datagram_consume(server), EINVAL);
    FAILS(bh_datagram_peek(server, &piece, MSG_DONTWAIT, NULL, NULL), EAGAIN);
}
END_TEST

START_TEST(other_calls_end_reservation_and_peek)
{
    struct iovec piece;
    char got[10];
    int server = server_at(AF_INET), client = connected(), stream = bh_socket(AF_INET, SOCK_STREAM, 0);
    char *payload = bh_datagram_reserve(client, 10, 0);
    ck_assert_ptr_nonnull(payload);
    memcpy(payload, "reserved", 8);
    ck_assert_int_eq(bh_send(client, "sent", 4, 0), 4);
    FAILS(bh_datagram_commit(client, 8, NULL, 0), EINVAL);
    ck_assert_int_eq(bh_send(client, "more", 4, 0), 4);
    ck_assert_int_eq(bh_datagram_peek(server, &piece, 0, NULL, NULL), 0);
    ck_assert_mem_eq(piece.iov_base, "sent", 4);
    ck_assert_int_eq(bh_recv(server, got, sizeof got, 0), 4);
    FAILS(bh_datagram_consume(server), EINVAL);
    ck_assert_int_eq(bh_recv(server, got, sizeof got, 0), 4);
    ck_assert_mem_eq(got, "more", 4);
    FAILS(bh_datagram_reserve(stream, 10, 0) == NULL ? -1 : 0, EOPNOTSUPP);
    FAILS(bh_datagram_peek(stream, &piece, 0, NULL, NULL), EOPNOTSUPP);
}
END_TEST

/* ---- IPv6 ---- */
START_TEST(dual_stack)
{
    struct sockaddr_in6 from;
    socklen_t length = sizeof from;
    char got[10];
    int server = server_at(AF_INET6), four = bh_socket(AF_INET, SOCK_DGRAM, 0),
        six = bh_socket(AF_INET6, SOCK_DGRAM, 0);
    FAILS(bh_sendto(four, "4", 1, 0, AT6("::1", PORT)), EAFNOSUPPORT);
    ck_assert_int_eq(bh_sendto(four, "4", 1, 0, AT(PORT)), 1);
    ck_assert_int_eq(bh_recvfrom(server, got, sizeof got, 0, (struct sockaddr *)&from, &length), 1);
    ck_assert_uint_eq(length, sizeof from);
    ck_assert_uint_eq(from.sin6_family, AF_INET6);
    struct sockaddr_in6 mapped = at6("::ffff:127.0.0.1", ntohs(from.sin6_port));
    ck_assert_mem_eq(&from, &mapped, sizeof from);
    ck_assert_int_eq(bh_sendto(server, "back", 4, 0, (struct sockaddr *)&from, sizeof from), 4);
    ck_assert_int_eq(bh_recv(four, got, sizeof got, 0), 4);
    ck_assert_int_eq(bh_sendto(six, "6", 1, 0, AT6("::", PORT)), 1); /* this host */
    ck_assert_int_eq(bh_recvfrom(server, got, sizeof got, 0, (struct sockaddr *)&from, &length), 1);
    ck_assert(IN6_IS_ADDR_LOOPBACK(&from.sin6_addr));
    ck_assert_int_eq(bh_sendto(six, "4", 1, 0, AT(PORT)), 1); /* as Linux: without the mapping, too */
    ck_assert_int_eq(bh_getsockname(server, (struct sockaddr *)&from, &length), 0);
    ck_assert(IN6_IS_ADDR_UNSPECIFIED(&from.sin6_addr));
}
END_TEST

START_TEST(v6_only)
{
    int fd = bh_socket(AF_INET6, SOCK_DGRAM, 0), four = bh_socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert_int_eq(option_of(fd, IPPROTO_IPV6, IPV6_V6ONLY), 0);
    ck_assert_int_eq(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1), 0);
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_V6_ONLY), 1);
    FAILS(bh_bind(fd, AT6("::ffff:127.0.0.1", PORT)), EINVAL);
    FAILS(bh_sendto(fd, "x", 1, 0, AT6("::ffff:127.0.0.1", PORT)), ENETUNREACH);
    FAILS(bh_connect(fd, AT6("::ffff:127.0.0.1", PORT)), ENETUNREACH);
    FAILS(bh_connect(fd, AT(PORT)), ENETUNREACH);
    ck_assert_int_eq(bh_bind(fd, AT6("::", PORT)), 0);
    FAILS(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0), EINVAL);
    FAILS(set(four, IPPROTO_IPV6, IPV6_V6ONLY, 1), ENOPROTOOPT);
}
END_TEST

/* What the socket server and the transports are not asked about. */
START_TEST(errors_as_linux)
{
    int bound = bh_socket(AF_INET, SOCK_DGRAM, 0), six = bh_socket(AF_INET6, SOCK_DGRAM, 0);
    FAILS(bh_accept(bound, NULL, NULL), EOPNOTSUPP);
    ck_assert_int_eq(bh_bind(bound, AT(PORT)), 0);
    struct sockaddr_in far = at(PORT);
    far.sin_addr.s_addr = htonl(0xc0000201);
    FAILS(bh_sendto(bound, "x", 1, 0, (struct sockaddr *)&far, sizeof far), EINVAL);
    ck_assert_int_eq(bh_connect(six, AT6("::ffff:127.0.0.1", PORT)), 0); /* and then the other family */
    ck_assert_int_eq(bh_connect(six, &(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(struct sockaddr)), 0);
    ck_assert_int_eq(bh_connect(six, AT6("::1", PORT)), 0);
    int pair[2] = {bh_socket(AF_INET, SOCK_STREAM, 0), bh_socket(AF_INET, SOCK_STREAM, 0)};
    ck_assert_int_eq(bh_bind(pair[0], AT(PORT)), 0);
    ck_assert_int_eq(bh_listen(pair[0], 1), 0);
    ck_assert_int_eq(bh_connect(pair[1], AT(PORT)), 0);
    ck_assert_int_eq(bh_sendto(pair[1], "x", 1, 0, (struct sockaddr *)&far, sizeof far), 1);
    ck_assert_int_eq(bh_send(pair[1], "", 0, 0), 0);
    ck_assert_int_eq(bh_shutdown(pair[1], SHUT_WR), 0);
    FAILS(bh_send(pair[1], "", 0, 0), EPIPE);
}
END_TEST

START_TEST(addresses)
{
    struct sockaddr_in6 in = at6("fd77::1", PORT), link = at6("fe80::1", PORT);
    struct {
        struct sockaddr_in6 in;
        char guard[4];
    } got = {.guard = "same"};
    socklen_t length = 8;
    int fd = bh_socket(AF_INET6, SOCK_DGRAM, 0), bound = bh_socket(AF_INET6, SOCK_DGRAM, 0),
        stream = bh_socket(AF_INET6, SOCK_STREAM, 0);
    in.sin6_scope_id = 3;
    FAILS(bh_connect(fd, (struct sockaddr *)&in, sizeof in), EINVAL);
    link.sin6_scope_id = 3;
    ck_assert_int_eq(bh_connect(fd, (struct sockaddr *)&link, sizeof link), 0);
    in.sin6_scope_id = 0;
    ck_assert_int_eq(bh_connect(fd, (struct sockaddr *)&in, sizeof in - 4), 0);
    FAILS(bh_connect(fd, (struct sockaddr *)&in, sizeof in - 5), EINVAL);
    FAILS(bh_connect(fd, NULL, sizeof in), EFAULT);
    FAILS(bh_connect(fd, (struct sockaddr *)&in, 1), EINVAL);
    ck_assert_int_eq(bh_getpeername(fd, (struct sockaddr *)&got, &length), 0); /* cut off, and how long it was */
    ck_assert_uint_eq(length, sizeof got.in);
    ck_assert_mem_eq(&got, &in, 8);
    ck_assert_uint_eq(got.in.sin6_addr.s6_addr[0], 0);
    length = sizeof got;
    ck_assert_int_eq(bh_getpeername(fd, (struct sockaddr *)&got, &length), 0);
    ck_assert_uint_eq(length, sizeof got.in);
    ck_assert_mem_eq(got.guard, "same", 4);
    FAILS(bh_getpeername(fd, NULL, &length), EFAULT);
    FAILS(bh_getsockname(fd, (struct sockaddr *)&got, NULL), EFAULT);
    FAILS(bh_bind(bound, AT(PORT)), EINVAL);
    FAILS(bh_connect(stream, AT(PORT)), EAFNOSUPPORT);
    ck_assert_int_eq(bh_bind(bound, AT6("::1", PORT)), 0);
    FAILS(bh_sendto(bound, "x", 1, 0, AT6("::ffff:127.0.0.1", PORT)), ENETUNREACH);
}
END_TEST

START_TEST(streams_over_ip6)
{
    struct sockaddr_in6 name;
    socklen_t length = sizeof name;
    char got[10];
    int listener = bh_socket(AF_INET6, SOCK_STREAM, 0);
    ck_assert_int_eq(bh_bind(listener, AT6("::", 80)), 0);
    ck_assert_int_eq(bh_listen(listener, 4), 0);
    for (int i = 0; i < 2; i++) {
        int one = bh_socket(i == 0 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
        ck_assert_int_eq(i == 0 ? bh_connect(one, AT6("::1", 80)) : bh_connect(one, AT(80)), 0);
        int two = bh_accept(listener, (struct sockaddr *)&name, &length);
        ck_assert_int_ge(two, 0);
        ck_assert_uint_eq(length, sizeof name);
        ck_assert_int_eq(IN6_IS_ADDR_V4MAPPED(&name.sin6_addr), i);
        ck_assert_int_eq(option_of(two, SOL_SOCKET, SO_DOMAIN), AF_INET6);
        ck_assert_int_eq(bh_send(one, "x", 1, 0), 1);
        ck_assert_int_eq(bh_recv(two, got, sizeof got, 0), 1);
    }
}
END_TEST

/* ---- options ---- */
struct option_case {
    int level, name, first, value;
    uint32_t control, told;
};

START_TEST(options)
{
    static const struct option_case cases[] = {
        {SOL_SOCKET, SO_REUSEADDR, 0, 1, CONTROL_OPTION_REUSE_ADDRESS, 1},
        {SOL_SOCKET, SO_BROADCAST, 0, 1, CONTROL_OPTION_BROADCAST, 1},
        {SOL_SOCKET, SO_NO_CHECK, 0, 1, CONTROL_OPTION_NO_CHECK, 1},
        {IPPROTO_IP, IP_TTL, 64, 7, CONTROL_OPTION_TTL, 7},
        {IPPROTO_IP, IP_TOS, 0, 0xb8, CONTROL_OPTION_TRAFFIC_CLASS, 0xb8},
        {IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT, IP_PMTUDISC_DO, CONTROL_OPTION_DONT_FRAGMENT, 1},
        {IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_PMTUDISC_DONT, CONTROL_OPTION_DONT_FRAGMENT, 0},
        {IPPROTO_IPV6, IPV6_UNICAST_HOPS, 7, 255, CONTROL_OPTION_TTL, 255},
        {IPPROTO_IPV6, IPV6_TCLASS, 0xb8, 3, CONTROL_OPTION_TRAFFIC_CLASS, 3},
        {IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT, IPV6_PMTUDISC_WANT, CONTROL_OPTION_DONT_FRAGMENT, 0},
        {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 0, 1, 0, 0},
        {IPPROTO_IP, IP_RECVTOS, 0, 1, 0, 0},
        {SOL_SOCKET, SO_TYPE, SOCK_DGRAM, 0, 0, 0},
        {SOL_SOCKET, SO_DOMAIN, AF_INET6, 0, 0, 0},
        {SOL_SOCKET, SO_PROTOCOL, IPPROTO_UDP, 0, 0, 0},
        {SOL_SOCKET, SO_ACCEPTCONN, 0, 0, 0, 0},
        {SOL_SOCKET, SO_ERROR, 0, 0, 0, 0},
        {SOL_SOCKET, SO_RCVBUF, 256 << 10, 0, 0, 0},
        {SOL_SOCKET, SO_SNDBUF, 256 << 10, 0, 0, 0},
    };
    int fd = bh_socket(AF_INET6, SOCK_DGRAM, 0), four = bh_socket(AF_INET, SOCK_DGRAM, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct option_case *c = &cases[i];
        ck_assert_msg(option_of(fd, c->level, c->name) == c->first, "case %zu", i);
        if (c->value == 0 && c->control == 0)
            continue;
        ck_assert_msg(set(fd, c->level, c->name, c->value) == 0, "case %zu", i);
        ck_assert_msg(option_of(fd, c->level, c->name) == c->value, "case %zu", i);
        ck_assert_msg(c->control == 0 || fake_stack_option(fake, c->control) == c->told, "case %zu", i);
    }
    ck_assert_int_eq(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, -1), 0);
    ck_assert_int_eq(option_of(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 64);
    ck_assert_int_eq(bh_setsockopt(fd, IPPROTO_IP, IP_TOS, "\x10", 1), 0);
    ck_assert_int_eq(option_of(fd, IPPROTO_IP, IP_TOS), 16);
    ck_assert_int_eq(bh_setsockopt(fd, IPPROTO_IP, IP_TOS, NULL, 0), 0); /* nothing is 0 */
    ck_assert_int_eq(option_of(fd, IPPROTO_IP, IP_TOS), 0);
    FAILS(bh_setsockopt(fd, IPPROTO_IP, IP_TTL, NULL, 0), EINVAL);
    FAILS(bh_setsockopt(fd, IPPROTO_IP, IP_TOS, NULL, 4), EFAULT);
    FAILS(bh_setsockopt(fd, SOL_SOCKET, SO_BROADCAST, NULL, 0), EINVAL);
    ck_assert_int_eq(set(fd, SOL_SOCKET, SO_RCVBUF, 100), 0);
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_RCVBUF), 4096);
    FAILS(set(fd, IPPROTO_IP, IP_TTL, 0), EINVAL);
    FAILS(set(fd, IPPROTO_IP, IP_TTL, 256), EINVAL);
    FAILS(set(fd, IPPROTO_IP, IP_TOS, 256), EINVAL);
    FAILS(set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE), EINVAL);
    FAILS(set(fd, IPPROTO_TCP, TCP_NODELAY, 1), ENOPROTOOPT);
    FAILS(set(four, IPPROTO_IPV6, IPV6_TCLASS, 1), ENOPROTOOPT);
    FAILS(bh_setsockopt(fd, SOL_SOCKET, SO_BROADCAST, "\1", 1), EINVAL);
    FAILS(bh_setsockopt(fd, SOL_SOCKET, SO_BROADCAST, NULL, 4), EFAULT);
}
END_TEST

START_TEST(path_mtu)
{
    static char data[2000];
    struct sockaddr_in away = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(0x0a4d0001)};
    int client = bh_socket(AF_INET, SOCK_DGRAM, 0), six = bh_socket(AF_INET6, SOCK_DGRAM, 0);
    ck_assert_int_eq(option_of(client, IPPROTO_IP, IP_MTU), -ENOTCONN);
    ck_assert_int_eq(bh_connect(client, (struct sockaddr *)&away, sizeof away), 0);
    ck_assert_int_eq(bh_connect(six, AT6("fd77::1", PORT)), 0);
    ck_assert_int_eq(option_of(client, IPPROTO_IP, IP_MTU), 1500);
    ck_assert_int_eq(option_of(six, IPPROTO_IPV6, IPV6_MTU), 1500);
    ck_assert_int_eq(set(client, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO), 0);
    ck_assert_int_eq(set(six, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO), 0);
    (void)server_at(AF_INET);
    FAILS(bh_send(client, data, 1473, 0), EMSGSIZE);
    ck_assert_int_eq(bh_send(client, data, 1472, 0), 1472);
    FAILS(bh_send(six, data, 1453, 0), EMSGSIZE);
    ck_assert_int_eq(bh_send(six, data, 1452, 0), 1452);
    ck_assert_int_eq(set(client, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT), 0);
    ck_assert_int_eq(bh_send(client, data, 1473, 0), 1473);
    ck_assert_int_eq(set(client, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO), 0);
    ck_assert_int_eq(bh_connect(client, AT(PORT)), 0); /* here there is none */
    ck_assert_int_eq(bh_send(client, data, 2000, 0), 2000);
}
END_TEST

START_TEST(broadcast_wants_permission)
{
    struct sockaddr_in everyone = {
        .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_BROADCAST)};
    int fd = bh_socket(AF_INET, SOCK_DGRAM, 0);
    FAILS(bh_sendto(fd, "x", 1, 0, (struct sockaddr *)&everyone, sizeof everyone), EACCES);
    ck_assert_int_eq(set(fd, SOL_SOCKET, SO_BROADCAST, 1), 0);
    ck_assert_int_eq(bh_sendto(fd, "x", 1, 0, (struct sockaddr *)&everyone, sizeof everyone), 1);
}
END_TEST

/* ---- messages ---- */
struct message {
    struct msghdr head;
    struct iovec piece[2];
    char data[2][4];
    _Alignas(struct cmsghdr) char control[256];
    struct sockaddr_in6 name;
};

static struct msghdr *message_reset(struct message *m, size_t control)
{
    m->piece[0] = (struct iovec){.iov_base = m->data[0], .iov_len = 4};
    m->piece[1] = (struct iovec){.iov_base = m->data[1], .iov_len = 4};
    m->head = (struct msghdr){.msg_iov = m->piece,
                              .msg_iovlen = 2,
                              .msg_control = m->control,
                              .msg_controllen = control,
                              .msg_name = &m->name,
                              .msg_namelen = sizeof m->name};
    return &m->head;
}

/* The number in the control data of that kind, or -1. */
static int control_of(struct message *m, int level, int type)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m->head); c != NULL; c = CMSG_NXTHDR(&m->head, c)) {
        int number = 0;
        if (c->cmsg_level == level && c->cmsg_type == type)
            return memcpy(&number, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0)), number;
    }
    return -1;
}

static void control_add(struct message *m, int level, int type, int number)
{
    struct cmsghdr *c = (struct cmsghdr *)(void *)(m->control + m->head.msg_controllen);
    *c = (struct cmsghdr){.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(sizeof number)};
    memcpy(CMSG_DATA(c), &number, sizeof number);
    m->head.msg_controllen += CMSG_SPACE(sizeof number);
}

START_TEST(messages)
{
    struct message m;
    int server = server_at(AF_INET6), client = bh_socket(AF_INET6, SOCK_DGRAM, 0);
    ck_assert_int_eq(set(server, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1), 0);
    ck_assert_int_eq(set(server, IPPROTO_IPV6, IPV6_RECVTCLASS, 1), 0);
    ck_assert_int_eq(set(server, IPPROTO_IP, IP_RECVTTL, 1), 0);
    ck_assert_int_eq(set(server, IPPROTO_IP, IP_RECVTOS, 1), 0);
    message_reset(&m, 0);
    m.name = at6("::1", PORT);
    memcpy(m.data[0], "four", 4);
    memcpy(m.data[1], "more", 4);
    control_add(&m, IPPROTO_IPV6, IPV6_HOPLIMIT, 9);
    control_add(&m, IPPROTO_IPV6, IPV6_TCLASS, 0x28);
    ck_assert_int_eq(bh_sendmsg(client, &m.head, 0), 8);
    memset(&m, 0, sizeof m);
    ck_assert_int_eq(bh_recvmsg(server, message_reset(&m, sizeof m.control), 0), 8);
    ck_assert_int_eq(m.head.msg_flags, 0);
    ck_assert_mem_eq(m.data[1], "more", 4);
    ck_assert_uint_eq(m.head.msg_namelen, sizeof m.name);
    ck_assert(IN6_IS_ADDR_LOOPBACK(&m.name.sin6_addr));
    ck_assert_int_eq(control_of(&m, IPPROTO_IPV6, IPV6_HOPLIMIT), 9);
    ck_assert_int_eq(control_of(&m, IPPROTO_IPV6, IPV6_TCLASS), 0x28);
    ck_assert_int_eq(control_of(&m, IPPROTO_IP, IP_TTL), -1);
    ck_assert_int_eq(bh_sendto(client, "much too long", 13, 0, AT6("::ffff:127.0.0.1", PORT)), 13);
    ck_assert_int_eq(bh_recvmsg(server, message_reset(&m, sizeof m.control), 0), 8);
    ck_assert_int_eq(m.head.msg_flags, MSG_TRUNC);
    ck_assert_int_eq(control_of(&m, IPPROTO_IP, IP_TTL), 64);
    ck_assert_int_eq(control_of(&m, IPPROTO_IP, IP_TOS), 0);
    ck_assert_int_eq(control_of(&m, IPPROTO_IPV6, IPV6_HOPLIMIT), -1);
    ck_assert_int_eq(bh_sendto(client, "x", 1, 0, AT6("::1", PORT)), 1);
    ck_assert_int_eq(bh_recvmsg(server, message_reset(&m, CMSG_SPACE(sizeof(int))), 0), 1);
    ck_assert_int_eq(m.head.msg_flags, MSG_CTRUNC);
    ck_assert_int_eq(control_of(&m, IPPROTO_IPV6, IPV6_HOPLIMIT), 64);
}
END_TEST

START_TEST(bad_control_data)
{
    struct message m;
    int client = connected();
    static const struct {
        int level, type, number;
    } cases[] = {{SOL_SOCKET, SCM_RIGHTS, 0},
                 {IPPROTO_IP, IP_TTL, 0},
                 {IPPROTO_IP, IP_TTL, 256},
                 {IPPROTO_IPV6, IPV6_TCLASS, -2},
                 {IPPROTO_IP, IP_PKTINFO, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        message_reset(&m, 0);
        m.head.msg_name = NULL;
        control_add(&m, cases[i].level, cases[i].type, cases[i].number);
        FAILS(bh_sendmsg(client, &m.head, 0), EINVAL);
    }
    struct cmsghdr *first = (struct cmsghdr *)(void *)m.control;
    first->cmsg_len = 1; /* a length that cannot be, and one that is not there */
    FAILS(bh_sendmsg(client, &m.head, 0), EINVAL);
    first->cmsg_len = 4096;
    FAILS(bh_sendmsg(client, &m.head, 0), EINVAL);
}
END_TEST

START_TEST(several_at_once)
{
    struct mmsghdr m[8] = {0};
    struct iovec piece[8];
    char data[8][4] = {0};
    int server = server_at(AF_INET), client = connected();
    for (size_t i = 0; i < 8; i++) {
        data[i][0] = (char)('a' + i);
        piece[i] = (struct iovec){.iov_base = data[i], .iov_len = i % 4 + 1};
        m[i].msg_hdr = (struct msghdr){.msg_iov = &piece[i], .msg_iovlen = 1};
    }
    ck_assert_int_eq(bh_sendmmsg(client, m, 8, 0), 8);
    ck_assert_uint_eq(m[6].msg_len, 3);
    memset(data, 0, sizeof data);
    for (int got = 0; got < 8;) {
        int n = bh_recvmmsg(server, m + got, (unsigned)(8 - got), MSG_WAITFORONE, NULL);
        ck_assert_int_gt(n, 0);
        got += n;
    }
    for (size_t i = 0; i < 8; i++) {
        ck_assert_int_eq(data[i][0], (char)('a' + i));
        ck_assert_uint_eq(m[i].msg_len, i % 4 + 1);
    }
    FAILS(bh_recvmmsg(server, m, 8, MSG_DONTWAIT, NULL), EAGAIN);
}
END_TEST

/* ---- threads ---- */
#define SENDERS 3
#define EACH    1000

static uint32_t senders_done; /* atomic */

/* Uniform datagrams of many sizes. */
static void *send_many(void *argument)
{
    static uint8_t data[SENDERS][9000];
    int *number = argument, fd = number[0], me = number[1];
    for (int i = 0; i < EACH; i++) {
        size_t n = (size_t)(1 + (i * 131 + me * 7) % 8999);
        memset(data[me], i, n);
        ck_assert_int_eq(bh_send(fd, data[me], n, 0), n);
        if (i % 100 == 0)
            ck_assert_int_eq(set(fd, IPPROTO_IP, IP_TTL, 1 + i % 255), 0);
    }
    __atomic_fetch_add(&senders_done, 1, __ATOMIC_RELEASE);
    return NULL;
}

START_TEST(many_threads)
{
    static uint8_t got[9000];
    pthread_t thread[SENDERS];
    int argument[SENDERS][2];
    int server = server_at(AF_INET), client = connected();
    struct timeval limit = {.tv_usec = 20000};
    int received = 0, last = 0;
    senders_done = 0;
    ck_assert_int_eq(bh_setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    for (int i = 0; i < SENDERS; i++) {
        argument[i][0] = client;
        argument[i][1] = i;
        ck_assert_int_eq(pthread_create(&thread[i], NULL, send_many, argument[i]), 0);
    }
    while (!last) { /* until nothing comes any more that was sent; the test's own limit ends it, too */
        last = __atomic_load_n(&senders_done, __ATOMIC_ACQUIRE) == SENDERS;
        for (ssize_t n; (n = bh_recv(server, got, sizeof got, 0)) > 0; received++)
            for (ssize_t i = 1; i < n; i++)
                ck_assert_uint_eq(got[i], got[0]);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(thread[i], NULL);
    ck_assert_int_gt(received, 30); /* what one ring holds; the rest may have met a full one */
}
END_TEST

/* ---- lies ---- */
START_TEST(lying_transport)
{
    static uint8_t data[LARGEST];
    struct sockaddr_in6 from;
    struct iovec piece;
    rings(128U << 10);
    int fd = server_at(AF_INET6);
    for (uint32_t seed = 1; seed < 40; seed++) {
        fake_stack_lie(fake, seed);
        for (int i = 0; i < 40; i++) {
            socklen_t length = sizeof from;
            (void)!bh_sendto(fd, data, sizeof data, MSG_DONTWAIT, AT6("::1", 7));
            void *payload = bh_datagram_reserve(fd, sizeof data, MSG_DONTWAIT);
            if (payload != NULL)
                memset(payload, 1, sizeof data);
            (void)!bh_datagram_commit(fd, sizeof data, AT6("::1", 7));
            if (bh_datagram_peek(fd, &piece, MSG_DONTWAIT, (struct sockaddr *)&from, &length) == 0)
                memcpy(data, piece.iov_base, piece.iov_len <= sizeof data ? piece.iov_len : sizeof data);
            (void)!bh_datagram_consume(fd);
            (void)!bh_recv(fd, data, sizeof data, MSG_DONTWAIT);
            (void)option_of(fd, SOL_SOCKET, SO_ERROR);
            struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
            bh_poll(&p, 1, 0);
        }
    }
}
END_TEST

SUITE_RUN("client_datagram", setup, teardown, datagrams, largest_datagrams, largest_datagrams_in_small_rings,
          larger_than_the_ring, writable_means_room, full_ring, refused_is_told_once, error_ends_a_wait,
          dissolved_association, without_copy, other_calls_end_reservation_and_peek, dual_stack, v6_only,
          errors_as_linux, addresses, streams_over_ip6, options, path_mtu, broadcast_wants_permission, messages,
          bad_control_data, several_at_once, many_threads, lying_transport)
