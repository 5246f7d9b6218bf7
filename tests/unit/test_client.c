// SPDX-License-Identifier: BSD-2-Clause
/* libbulkhead against a stack in a thread (fake_stack.h). Each test is a process of its own, so a session of its own. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "servers/client/bulkhead.h"
#include "tests/unit/fake_stack.h"
#include "tests/unit/suite.h"

#define PORT 80

static struct fake_stack *fake;

static void setup(void)
{
    fake = fake_stack_start();
}

static void teardown(void)
{
    fake_stack_stop(fake);
}

static struct sockaddr_in at(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int connect_to(int fd, uint16_t port)
{
    struct sockaddr_in a = at(port);
    return bh_connect(fd, (struct sockaddr *)&a, sizeof a);
}

static int bind_to(int fd, uint16_t port)
{
    struct sockaddr_in a = at(port);
    return bh_bind(fd, (struct sockaddr *)&a, sizeof a);
}

static int listener(void)
{
    int fd = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, BH_DESCRIPTOR_BASE);
    ck_assert_int_eq(bind_to(fd, PORT), 0);
    ck_assert_int_eq(bh_listen(fd, 4), 0);
    return fd;
}

static void pair_of(int lfd, int ret[2])
{
    ret[0] = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect_to(ret[0], PORT), 0);
    ret[1] = bh_accept(lfd, NULL, NULL);
    ck_assert_int_ge(ret[1], 0);
}

static void small_rings(uint32_t slots)
{
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_SLOTS, slots), 0);
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_SEND_SIZE, 4096), 0);
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_RECEIVE_SIZE, 8192), 0);
}

#define FAILS(expression, error)                                                                   \
    do {                                                                                           \
        errno = 0;                                                                                 \
        ck_assert_int_eq(expression, -1);                                                          \
        ck_assert_int_eq(errno, error);                                                            \
    } while (0)

static uint8_t octet_at(size_t i)
{
    return (uint8_t)((i * 2654435761U) >> 16);
}

/* ---- streams ---- */
#define STREAM_OCTETS 3000000U

static void *pour(void *argument)
{
    static uint8_t data[STREAM_OCTETS];
    int fd = *(int *)argument;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = octet_at(i);
    ck_assert_int_eq(bh_send(fd, data, sizeof data, 0), STREAM_OCTETS);
    ck_assert_int_eq(bh_shutdown(fd, SHUT_WR), 0);
    return NULL;
}

START_TEST(stream_arrives_whole)
{
    static uint8_t got[10000];
    int fd[2];
    pthread_t thread;
    small_rings(4);
    int lfd = listener();
    pair_of(lfd, fd);
    ck_assert_int_eq(pthread_create(&thread, NULL, pour, &fd[0]), 0);
    size_t octets = 0;
    for (ssize_t n; (n = bh_recv(fd[1], got, 1 + octets % sizeof got, 0)) != 0; octets += (size_t)n) {
        ck_assert_int_gt(n, 0);
        for (ssize_t i = 0; i < n; i++)
            ck_assert_uint_eq(got[i], octet_at(octets + (size_t)i));
    }
    ck_assert_uint_eq(octets, STREAM_OCTETS);
    pthread_join(thread, NULL);
    FAILS(bh_send(fd[0], "x", 1, 0), EPIPE);
    ck_assert_int_eq(bh_send(fd[1], "back", 4, 0), 4); /* the other direction is open */
    ck_assert_int_eq(bh_recv(fd[0], got, sizeof got, MSG_PEEK), 4);
    ck_assert_int_eq(bh_recv(fd[0], got, sizeof got, 0), 4);
    bh_close(fd[0]);
    bh_close(fd[1]);
    ck_assert_int_eq(bh_close(lfd), 0);
    FAILS(bh_close(lfd), EBADF);
    ck_assert_uint_eq(fake_stack_sockets(fake), 0);
}
END_TEST

START_TEST(without_copy)
{
    struct iovec piece[2];
    int fd[2];
    small_rings(4);
    pair_of(listener(), fd);
    ck_assert_int_eq(bh_send_reserve(fd[0], piece, 0), 4096);
    FAILS(bh_send_commit(fd[0], 4097), EINVAL);
    memset(piece[0].iov_base, 'a', 3000);
    ck_assert_int_eq(bh_send_commit(fd[0], 3000), 0);
    FAILS(bh_send_commit(fd[0], 1097), EINVAL); /* of what was reserved 1096 are left */
    ck_assert_int_eq(bh_receive_peek(fd[1], piece, 0), 3000);
    ck_assert_int_eq(((char *)piece[0].iov_base)[2999], 'a');
    FAILS(bh_receive_consume(fd[1], 3001), EINVAL);
    ck_assert_int_eq(bh_receive_consume(fd[1], 3000), 0);
    struct pollfd p = {.fd = fd[0], .events = POLLOUT};
    ck_assert_int_eq(bh_poll(&p, 1, 1000), 1);
    ck_assert_int_ge(bh_send_reserve(fd[0], piece, 0), 1024);
    ck_assert_uint_eq(piece[0].iov_len, 1096); /* to the end of the ring, then its start */
    FAILS(bh_receive_peek(fd[1], piece, MSG_DONTWAIT), EAGAIN);
    bh_close(fd[0]);
    ck_assert_int_eq(bh_receive_peek(fd[1], piece, 0), 0);
}
END_TEST

START_TEST(refused)
{
    int error = 0;
    socklen_t length = sizeof error;
    int fd = bh_socket(AF_INET, SOCK_STREAM, 0);
    FAILS(connect_to(fd, 9), ECONNREFUSED);
    FAILS(bh_recv(fd, &error, 1, 0), ENOTCONN);
    bh_close(fd);
    fd = bh_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    FAILS(connect_to(fd, 9), ECONNREFUSED); /* the stack in the thread knows at once */
    ck_assert_int_eq(bh_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
    ck_assert_int_eq(error, 0); /* it was told */
}
END_TEST

START_TEST(reset_is_told_once)
{
    char got[8];
    int fd[2], other[2];
    int lfd = listener();
    pair_of(lfd, fd);
    pair_of(lfd, other);
    ck_assert_int_eq(bh_send(fd[0], "data", 4, 0), 4);
    ck_assert_int_eq(bh_recv(fd[1], got, 2, 0), 2);
    fake_stack_reset_all(fake);
    ck_assert_int_eq(bh_recv(fd[1], got, sizeof got, 0), 2); /* what had come first */
    FAILS(bh_recv(fd[1], got, sizeof got, 0), ECONNRESET);
    ck_assert_int_eq(bh_recv(fd[1], got, sizeof got, 0), 0);
    FAILS(bh_send(fd[1], "x", 1, 0), EPIPE);
    FAILS(bh_send(fd[0], "x", 1, 0), ECONNRESET);
    FAILS(bh_send(fd[0], "x", 1, 0), EPIPE);
    struct pollfd p = {.fd = other[0], .events = POLLIN};
    ck_assert_int_eq(bh_poll(&p, 1, 0), 1);
    ck_assert_int_eq(p.revents, POLLIN | POLLERR | POLLHUP);
    int error = 0;
    socklen_t length = sizeof error;
    ck_assert_int_eq(bh_getsockopt(other[0], SOL_SOCKET, SO_ERROR, &error, &length), 0);
    ck_assert_int_eq(error, ECONNRESET);
    ck_assert_int_eq(bh_recv(other[0], got, sizeof got, 0), 0);
}
END_TEST

START_TEST(timeouts_and_nonblocking)
{
    char got;
    int fd[2];
    struct timeval limit = {.tv_usec = 20000};
    int lfd = listener();
    bh_set_nonblocking(lfd, true);
    FAILS(bh_accept(lfd, NULL, NULL), EAGAIN);
    bh_set_nonblocking(lfd, false);
    pair_of(lfd, fd);
    FAILS(bh_recv(fd[0], &got, 1, MSG_DONTWAIT), EAGAIN);
    ck_assert_int_eq(bh_setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    FAILS(bh_recv(fd[0], &got, 1, 0), EAGAIN);
    struct pollfd p = {.fd = fd[0], .events = POLLIN};
    ck_assert_int_eq(bh_poll(&p, 1, 5), 0);
    ssize_t sent = 0, n;
    static uint8_t data[100000];
    while ((n = bh_send(fd[0], data, sizeof data, MSG_DONTWAIT)) > 0)
        sent += n;
    ck_assert_int_ge(sent, 256 << 10);
    p.events = POLLOUT;
    ck_assert_int_eq(bh_poll(&p, 1, 0), 0);
}
END_TEST

/* ---- waiting ---- */
static void *send_later(void *argument)
{
    struct timespec t = {.tv_nsec = 20000000};
    nanosleep(&t, NULL);
    ck_assert_int_eq(bh_send(*(int *)argument, "x", 1, 0), 1);
    return NULL;
}

static void *write_later(void *argument)
{
    struct timespec t = {.tv_nsec = 20000000};
    nanosleep(&t, NULL);
    ck_assert_int_eq(write(*(int *)argument, "x", 1), 1);
    return NULL;
}

static void *receive_one(void *argument)
{
    char got;
    ck_assert_int_eq(bh_recv(*(int *)argument, &got, 1, 0), 1);
    return NULL;
}

START_TEST(poll_of_both_kinds)
{
    int fd[2], pipe_fd[2], blocked[2];
    char got;
    pthread_t thread, other;
    int lfd = listener();
    pair_of(lfd, fd);
    pair_of(lfd, blocked);
    ck_assert_int_eq(pipe(pipe_fd), 0);
    ck_assert_int_eq(pthread_create(&other, NULL, receive_one, &blocked[0]), 0); /* perhaps the poller, perhaps not */
    struct pollfd set[] = {{.fd = pipe_fd[0], .events = POLLIN}, {.fd = -1}, {.fd = fd[1], .events = POLLIN}};
    for (int round = 0; round < 10; round++) {
        pthread_create(&thread, NULL, send_later, &fd[0]);
        ck_assert_int_eq(bh_poll(set, 3, 5000), 1);
        ck_assert(set[2].revents == POLLIN && set[0].revents == 0);
        ck_assert_int_eq(bh_recv(fd[1], &got, 1, 0), 1);
        pthread_join(thread, NULL);
        pthread_create(&thread, NULL, write_later, &pipe_fd[1]);
        ck_assert_int_eq(bh_poll(set, 3, 5000), 1);
        ck_assert(set[0].revents == POLLIN && set[2].revents == 0);
        ck_assert_int_eq(read(pipe_fd[0], &got, 1), 1);
        pthread_join(thread, NULL);
    }
    ck_assert_int_eq(bh_send(blocked[1], "x", 1, 0), 1);
    pthread_join(other, NULL);
    struct pollfd bad = {.fd = BH_DESCRIPTOR_BASE + 4000, .events = POLLIN};
    ck_assert_int_eq(bh_poll(&bad, 1, 0), 1);
    ck_assert_int_eq(bad.revents, POLLNVAL);
}
END_TEST

#define THREADS 12
#define ROUNDS  60

static void *ping_pong(void *argument)
{
    int lfd = *(int *)argument;
    for (int i = 0; i < ROUNDS; i++) {
        int one = bh_socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_ge(one, 0);
        ck_assert_msg(connect_to(one, PORT) == 0, "connect: %s", strerror(errno));
        int two = bh_accept(lfd, NULL, NULL); /* perhaps another thread's */
        ck_assert_int_ge(two, 0);
        char octet = 'x';
        ck_assert_int_eq(bh_send(two, &octet, 1, 0), 1);
        ck_assert_int_eq(bh_recv(one, &octet, 1, 0), 1);
        ck_assert_int_eq(bh_close(one), 0);
        ck_assert_int_eq(bh_close(two), 0);
    }
    return NULL;
}

START_TEST(many_threads)
{
    pthread_t thread[THREADS];
    small_rings(16);
    int lfd = listener();
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, ping_pong, &lfd), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    ck_assert_int_eq(bh_close(lfd), 0);
    for (int i = 0; i < 1000 && fake_stack_sockets(fake) != 0; i++) {
        struct timespec t = {.tv_nsec = 1000000}; /* closes go without waiting */
        nanosleep(&t, NULL);
    }
    ck_assert_uint_eq(fake_stack_sockets(fake), 0);
}
END_TEST

START_TEST(lost_answers_are_asked_for_again)
{
    ck_assert_int_eq(bh_attach(NULL), 0);
    fake_stack_lose_answers(fake, 2);
    int fd = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bh_close(fd), 0);
}
END_TEST

START_TEST(arenas_are_added)
{
    int fd[40][2];
    small_rings(4);
    int lfd = listener();
    for (int i = 0; i < 40; i++)
        pair_of(lfd, fd[i]);
    for (int i = 0; i < 40; i++) {
        char got;
        ck_assert_int_eq(bh_send(fd[i][0], "x", 1, 0), 1);
        ck_assert_int_eq(bh_recv(fd[i][1], &got, 1, 0), 1);
    }
    ck_assert_uint_ge(fake_stack_arenas(fake), 4);
}
END_TEST

/* ---- datagrams ---- */
START_TEST(datagrams)
{
    static char data[1472], got[2000];
    struct sockaddr_in from, to = at(53);
    socklen_t length = sizeof from;
    ck_assert_int_eq(bh_set_option(BH_OPTION_UDP_SEND_SIZE, 4096), 0);
    ck_assert_int_eq(bh_set_option(BH_OPTION_UDP_RECEIVE_SIZE, 4096), 0);
    int server = bh_socket(AF_INET, SOCK_DGRAM, 0), client = bh_socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert_int_eq(bind_to(server, 53), 0);
    FAILS(bh_send(client, data, 1, 0), EDESTADDRREQ);
    FAILS(bh_sendto(client, data, 1473, 0, (struct sockaddr *)&to, sizeof to), EMSGSIZE);
    for (size_t n = 0; n <= sizeof data; n += 1 + n % 97) { /* all the ways round the end of the ring */
        memset(data, (int)n, sizeof data);
        ck_assert_int_eq(bh_sendto(client, data, n, 0, (struct sockaddr *)&to, sizeof to), n);
        ck_assert_int_eq(bh_recvfrom(server, got, sizeof got, 0, (struct sockaddr *)&from, &length), n);
        ck_assert_mem_eq(data, got, n);
        ck_assert_uint_eq(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
        ck_assert_int_eq(bh_sendto(server, data, n, 0, (struct sockaddr *)&from, sizeof from), n);
        ck_assert_int_eq(bh_recv(client, got, n / 2, MSG_TRUNC), n);
    }
    ck_assert_int_eq(connect_to(client, 53), 0);
    ck_assert_int_eq(bh_send(client, "hello", 5, 0), 5);
    ck_assert_int_eq(bh_recv(server, got, sizeof got, MSG_PEEK), 5);
    ck_assert_int_eq(bh_recv(server, got, sizeof got, 0), 5);
    FAILS(bh_recv(server, got, sizeof got, MSG_DONTWAIT), EAGAIN);
}
END_TEST

/* ---- refusals, lies, ends ---- */
START_TEST(arguments)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    int value = 1;
    socklen_t length = sizeof value;
    FAILS(bh_socket(AF_INET6, SOCK_STREAM, 0), EAFNOSUPPORT);
    FAILS(bh_socket(AF_INET, SOCK_RAW, 0), ESOCKTNOSUPPORT);
    FAILS(bh_socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
    FAILS(bh_send(3, "x", 1, 0), EBADF);
    FAILS(bh_set_option(BH_OPTION_TCP_SEND_SIZE, 5000), EINVAL);
    int fd = bh_socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    FAILS(bh_connect(fd, (struct sockaddr *)&six, sizeof six), EAFNOSUPPORT);
    FAILS(bh_send(fd, "x", 1, MSG_OOB), EOPNOTSUPP);
    FAILS(bh_send(fd, "x", 1, 0), ENOTCONN);
    FAILS(bh_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value), ENOPROTOOPT);
    ck_assert_int_eq(bh_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof value), 0);
    value = 0;
    ck_assert_int_eq(bh_getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
    ck_assert_int_eq(value, 1);
    int two = listener();
    ck_assert_int_eq(bind_to(fd, 81), 0);
    FAILS(bind_to(fd, 82), EINVAL);
    FAILS(connect_to(two, 81), EOPNOTSUPP);
    bh_close(two);
    ck_assert_int_ge(listener(), 0); /* its port is free at once */
}
END_TEST

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
            if (bh_receive_peek(fd[1], piece, MSG_DONTWAIT) > 0)
                memset(data, *(const uint8_t *)piece[0].iov_base, sizeof data);
            struct pollfd p = {.fd = fd[1], .events = POLLIN | POLLOUT};
            bh_poll(&p, 1, 0);
        }
    }
}
END_TEST

START_TEST(stack_gone)
{
    char got;
    int fd[2];
    pair_of(listener(), fd);
    fake_stack_hang_up(fake);
    FAILS(bh_recv(fd[0], &got, 1, 0), ENETDOWN);
    FAILS(bh_socket(AF_INET, SOCK_STREAM, 0), ENETDOWN);
    ck_assert_int_eq(bh_close(fd[0]), 0);
}
END_TEST

START_TEST(forked_child_has_nothing)
{
    int fd[2], status;
    char got;
    pair_of(listener(), fd);
    pid_t child = fork();
    if (child == 0) {
        errno = 0;
        _exit(bh_send(fd[0], "x", 1, 0) == -1 && errno == EBADF ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(bh_send(fd[0], "x", 1, 0), 1);
    ck_assert_int_eq(bh_recv(fd[1], &got, 1, 0), 1);
}
END_TEST

START_TEST(no_stack)
{
    FAILS(bh_attach("/nowhere"), ENOENT);
    ck_assert_int_eq(bh_attach(NULL), 0);
}
END_TEST

SUITE_RUN("client", setup, teardown, stream_arrives_whole, without_copy, refused, reset_is_told_once,
          timeouts_and_nonblocking, poll_of_both_kinds, many_threads, lost_answers_are_asked_for_again, arenas_are_added,
          datagrams, arguments, lying_transport, stack_gone, forked_child_has_nothing, no_stack)
