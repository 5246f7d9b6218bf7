// SPDX-License-Identifier: BSD-2-Clause
/* libbulkhead against a stack in a thread (fake_stack.h). Each test is a process of its own, so a session of its own.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "servers/client/bulkhead.h"
#include "tests/unit/client_bench.h"
#include "tests/unit/require.h"

static void small_rings(uint32_t slots)
{
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_SLOTS, slots), 0);
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_SEND_SIZE, 4096), 0);
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_RECEIVE_SIZE, 8192), 0);
}

#define FAILS(expression, error)                                                                                       \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        ck_assert_int_eq(expression, -1);                                                                              \
        ck_assert_int_eq(errno, error);                                                                                \
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
            require(got[i] == octet_at(octets + (size_t)i));
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
    FAILS(connect_to(fd, 9), ECONNREFUSED); /* as often as one likes */
    int late = listener();                  /* until somebody listens */
    ck_assert_int_eq(connect_to(fd, 80), 0);
    ck_assert_int_eq(bh_send(fd, "x", 1, 0), 1);
    bh_close(late);
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

static void *accept_blocked(void *argument)
{
    ck_assert_int_eq(bh_accept(*(int *)argument, NULL, NULL), -1);
    return (void *)(intptr_t)errno;
}

static void *receive_blocked(void *argument)
{
    char got[8];
    ck_assert_int_eq(bh_recv(*(int *)argument, got, sizeof got, 0), -1);
    return (void *)(intptr_t)errno;
}

static void cold_start(bool slots)
{
    char got[8];
    int fd[2], lfd = listener(), datagrams[2];
    pair_of(lfd, fd);
    for (int i = 0; i < 2; i++) {
        datagrams[i] = bh_socket(AF_INET, SOCK_DGRAM, 0);
        ck_assert_int_eq(bind_to(datagrams[i], (uint16_t)(PORT + i)), 0);
    }
    ck_assert_int_eq(bh_send(fd[0], "data", 4, 0), 4);
    ck_assert_int_eq(bh_recv(fd[1], got, 2, 0), 2);
    pthread_t waits[3];
    ck_assert_int_eq(pthread_create(&waits[0], NULL, accept_blocked, &lfd), 0);
    ck_assert_int_eq(pthread_create(&waits[1], NULL, receive_blocked, &fd[0]), 0);
    ck_assert_int_eq(pthread_create(&waits[2], NULL, receive_blocked, &datagrams[0]), 0);
    usleep(20000);
    fake_stack_forget(fake, slots);
    for (int i = 0; i < 3; i++) {
        void *error;
        pthread_join(waits[i], &error);
        ck_assert_int_eq((intptr_t)error, ECONNRESET);
    }
    ck_assert_int_eq(bh_recv(fd[1], got, sizeof got, 0), 2); /* what had come first */
    FAILS(bh_recv(fd[1], got, sizeof got, 0), ECONNRESET);
    ck_assert_int_eq(bh_recv(fd[1], got, sizeof got, 0), 0);
    FAILS(bh_send(fd[0], "x", 1, 0), EPIPE);
    struct sockaddr_in to = at(PORT);
    FAILS(bh_sendto(datagrams[1], "x", 1, 0, (struct sockaddr *)&to, sizeof to), ECONNRESET);
    for (int i = 0; i < 2; i++) {
        FAILS(bh_sendto(datagrams[i], "x", 1, 0, (struct sockaddr *)&to, sizeof to), EBADF);
        FAILS(bh_recv(datagrams[i], got, sizeof got, 0), EBADF);
    }
    FAILS(bh_accept(lfd, NULL, NULL), EBADF);
    struct pollfd p[] = {{.fd = lfd}, {.fd = datagrams[0]}, {.fd = fd[0]}};
    ck_assert_int_eq(bh_poll(p, 3, 0), 3);
    ck_assert_int_eq(p[0].revents, POLLERR | POLLHUP);
    ck_assert_int_eq(p[1].revents, POLLERR | POLLHUP);
    ck_assert_int_eq(p[2].revents, POLLHUP);
    ck_assert_int_eq(bh_close(lfd) + bh_close(fd[0]) + bh_close(fd[1]) + bh_close(datagrams[0]), 0);
}

START_TEST(cold_start_told_by_all)
{
    cold_start(true);
}
END_TEST

START_TEST(cold_start_told_by_words) /* the transport has nothing to tell any more */
{
    cold_start(false);
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

START_TEST(smaller_arenas_at_the_quota)
{
    static const int refusal[] = {ENOSPC, EDQUOT, ENOBUFS};
    int fd[2];
    small_rings(4);
    int lfd = listener();
    for (size_t i = 0; i < 3; i++) {
        fake_stack_refuse(fake, refusal[i], 4 >> i); /* it would ask for 8 */
        uint32_t arenas = fake_stack_arenas(fake);
        for (int n = 0; n < 20 && fake_stack_arenas(fake) == arenas; n++)
            pair_of(lfd, fd);
        ck_assert_uint_gt(fake_stack_arenas(fake), arenas);
    }
}
END_TEST

/* ---- waking one's own threads ---- */
struct blocked {
    ssize_t (*call)(int fd);
    int fd, error;
    ssize_t result;
    pthread_t thread;
};

static ssize_t blocked_receive(int fd)
{
    char got;
    return bh_recv(fd, &got, 1, 0);
}

static ssize_t blocked_accept(int fd)
{
    return bh_accept(fd, NULL, NULL);
}

static ssize_t blocked_poll(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return bh_poll(&p, 1, 20000) == 1 ? p.revents : -1;
}

static void *blocked_run(void *argument)
{
    struct blocked *b = argument;
    b->result = b->call(b->fd);
    b->error = errno;
    return NULL;
}

static void ms(long n)
{
    struct timespec t = {.tv_nsec = n * 1000000};
    nanosleep(&t, NULL);
}

static void block(struct blocked *b, ssize_t (*call)(int fd), int fd)
{
    *b = (struct blocked){.call = call, .fd = fd};
    ck_assert_int_eq(pthread_create(&b->thread, NULL, blocked_run, b), 0);
    ms(20);
}

static void unblocked(struct blocked *b, ssize_t result, int error)
{
    pthread_join(b->thread, NULL);
    ck_assert_int_eq(b->result, result);
    if (result < 0)
        ck_assert_int_eq(b->error, error);
}

START_TEST(shutdown_and_close_wake)
{
    int fd[4][2];
    struct blocked b[6];
    small_rings(16);
    int lfd = listener();
    for (int i = 0; i < 4; i++)
        pair_of(lfd, fd[i]);
    for (int round = 0; round < 2; round++) { /* the one that waits is the poller, then others */
        int *two = fd[2 * round], *other = fd[2 * round + 1];
        block(&b[0], blocked_receive, two[0]);
        if (round == 0) {
            ck_assert_int_eq(bh_shutdown(two[0], SHUT_RD), 0);
            unblocked(&b[0], 0, 0);
        }
        block(&b[1], blocked_accept, lfd);
        block(&b[2], blocked_receive, other[0]);
        block(&b[3], blocked_poll, other[1]);
        block(&b[4], blocked_receive, two[1]);
        ck_assert_int_eq(bh_shutdown(two[1], SHUT_RD), 0);
        unblocked(&b[4], 0, 0);
        ck_assert_int_eq(bh_close(other[0]), 0);
        unblocked(&b[2], -1, EBADF);
        unblocked(&b[3], POLLIN, 0); /* the peer's end of file */
        ck_assert_int_eq(bh_shutdown(lfd, SHUT_RDWR), 0);
        unblocked(&b[1], -1, EINVAL);
        FAILS(bh_accept(lfd, NULL, NULL), EINVAL);
        ck_assert_int_eq(bh_listen(lfd, 4), 0);
        if (round == 1) {
            ck_assert_int_eq(bh_shutdown(two[0], SHUT_RDWR), 0);
            unblocked(&b[0], 0, 0);
        }
    }
}
END_TEST

/* ---- refusals, lies, ends ---- */
START_TEST(arguments)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    int value = 1;
    socklen_t length = sizeof value;
    FAILS(bh_socket(AF_UNIX, SOCK_STREAM, 0), EAFNOSUPPORT);
    FAILS(bh_socket(AF_INET, SOCK_RAW, 0), ESOCKTNOSUPPORT);
    FAILS(bh_socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
    FAILS(bh_send(3, "x", 1, 0), EBADF);
    FAILS(bh_set_option(BH_OPTION_TCP_SEND_SIZE, 5000), EINVAL);
    int fd = bh_socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    FAILS(bh_connect(fd, (struct sockaddr *)&six, sizeof six), EAFNOSUPPORT);
    FAILS(bh_send(fd, "x", 1, MSG_OOB), EOPNOTSUPP);
    FAILS(bh_send(fd, "x", 1, 0), EPIPE);
    FAILS(bh_setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, sizeof value), ENOPROTOOPT);
    ck_assert_int_eq(bh_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof value), 0);
    value = 0;
    ck_assert_int_eq(bh_getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
    ck_assert_int_eq(value, 1);
    int two = listener();
    ck_assert_int_eq(bind_to(fd, 81), 0);
    FAILS(bind_to(fd, 82), EINVAL);
    FAILS(connect_to(two, 81), EISCONN);
    bh_close(two);
    ck_assert_int_ge(listener(), 0); /* its port is free at once */
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

START_TEST(stack_gone_unwaited)
{
    char got;
    int fd[2];
    pair_of(listener(), fd);
    FAILS(bh_recv(fd[0], &got, 1, MSG_DONTWAIT), EAGAIN);
    fake_stack_hang_up(fake);
    errno = 0;
    for (int i = 0; i < 200 && errno != ENETDOWN; i++, ms(5))
        ck_assert_int_eq(bh_recv(fd[0], &got, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, ENETDOWN);
    FAILS(bh_send(fd[1], "x", 1, 0), ENETDOWN);
}
END_TEST

START_TEST(stack_gone_unpolled)
{
    int fd[2];
    pair_of(listener(), fd);
    struct pollfd p = {.fd = fd[0], .events = POLLIN};
    fake_stack_hang_up(fake);
    for (int i = 0; i < 200 && bh_poll(&p, 1, 0) == 0; i++)
        ms(5);
    ck_assert_int_eq(p.revents, POLLERR | POLLHUP);
}
END_TEST

/* The bell breaks: 0 SIGPIPE as usual, 1 blocked, 2 blocked and one pending. */
static void bell_breaks(int how)
{
    sigset_t set, pending;
    int fd[2];
    pair_of(listener(), fd);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    if (how > 0)
        pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (how > 1)
        raise(SIGPIPE);
    fake_stack_die(fake);
    ck_assert_int_eq(bh_send(fd[0], "x", 1, 0), 1);
    FAILS(bh_send(fd[0], "x", 1, 0), ENETDOWN);
    sigpending(&pending);
    ck_assert_int_eq(sigismember(&pending, SIGPIPE), how > 1);
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    ck_assert_int_eq(sigismember(&set, SIGPIPE), how > 0);
}

START_TEST(no_pipe_signal)
{
    bell_breaks(0);
}
END_TEST

START_TEST(no_pipe_signal_blocked)
{
    bell_breaks(1);
}
END_TEST

START_TEST(pipe_signal_of_others_stays)
{
    bell_breaks(2);
}
END_TEST

START_TEST(late_attach_answer)
{
    ck_assert_int_eq(bh_attach(NULL), 0);
    fake_stack_mute(fake, true);
    FAILS(bh_socket(AF_INET, SOCK_STREAM, 0), ENETDOWN);
    fake_stack_mute(fake, false); /* the late answer is not taken for that to the next request */
    FAILS(bh_socket(AF_INET, SOCK_DGRAM, 0), ENETDOWN);
}
END_TEST

static void on_alarm(int number)
{
    (void)number;
}

/* A signal handler runs once, `after_ms` from now. */
static void alarm_in(long after_ms)
{
    struct sigaction a = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval t = {.it_value.tv_usec = after_ms * 1000};
    sigaction(SIGALRM, &a, NULL);
    setitimer(ITIMER_REAL, &t, NULL);
}

/* Closes what waits to be accepted; then there is only the listener. */
static void all_closed_but(int lfd)
{
    bh_set_nonblocking(lfd, true);
    for (int i = 0; i < 1000 && fake_stack_sockets(fake) != 1; i++, ms(1)) {
        int fd = bh_accept(lfd, NULL, NULL);
        if (fd >= 0)
            bh_close(fd);
        fd = bh_socket(AF_INET, SOCK_STREAM, 0); /* somebody has to look at the lanes */
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(bh_close(fd), 0);
    }
    ck_assert_uint_eq(fake_stack_sockets(fake), 1);
}

#define DEAF (1 << 30)

/* A server is down; a signal ends what waits for it, and nothing is left of it when the server is back. */
START_TEST(signal_ends_a_wait_for_a_server)
{
    int fd[2];
    int lfd = listener();
    pair_of(lfd, fd);
    int one = bh_socket(AF_INET, SOCK_STREAM, 0), two = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect_to(one, PORT), 0);
    ck_assert_uint_eq(fake_stack_sockets(fake), 6); /* the one not accepted yet, too */
    fake_stack_lose_answers(fake, DEAF);
    alarm_in(30);
    FAILS(bh_socket(AF_INET, SOCK_STREAM, 0), EINTR);
    alarm_in(30);
    FAILS(bh_accept(lfd, NULL, NULL), EINTR);
    alarm_in(30);
    FAILS(connect_to(two, PORT), EINTR);
    ck_assert_int_eq(bh_close(two), 0);
    fake_stack_lose_answers(fake, 0);
    ck_assert_int_eq(bh_close(one), 0);
    ck_assert_int_eq(bh_send(fd[0], "x", 1, 0), 1);
    ck_assert_int_eq(blocked_receive(fd[1]), 1);
    bh_close(fd[0]);
    bh_close(fd[1]);
    all_closed_but(lfd);
}
END_TEST

/* The same, in a thread that is not the one that sleeps on the doorbell. */
START_TEST(signal_ends_a_followers_wait)
{
    int fd[2];
    struct blocked b;
    sigset_t set;
    pair_of(listener(), fd);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    block(&b, blocked_receive, fd[0]);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    fake_stack_lose_answers(fake, DEAF);
    alarm_in(300);
    FAILS(bh_socket(AF_INET, SOCK_STREAM, 0), EINTR);
    ck_assert_int_eq(bh_send(fd[1], "x", 1, 0), 1);
    unblocked(&b, 1, 0);
}
END_TEST

/* A quick answer is not cut off by a signal. */
START_TEST(signals_do_not_hurt)
{
    struct itimerval t = {.it_value.tv_usec = 1000, .it_interval.tv_usec = 1000};
    alarm_in(10);
    setitimer(ITIMER_REAL, &t, NULL);
    ck_assert_int_eq(bh_attach(NULL), 0);
    for (int i = 0; i < 5; i++) {
        fake_stack_lose_answers(fake, 2); /* until it is asked again */
        int fd = bh_socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(bh_close(fd), 0);
    }
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
          cold_start_told_by_all, cold_start_told_by_words, timeouts_and_nonblocking, poll_of_both_kinds, many_threads,
          lost_answers_are_asked_for_again, arenas_are_added, smaller_arenas_at_the_quota, shutdown_and_close_wake,
          arguments, stack_gone, stack_gone_unwaited, stack_gone_unpolled, no_pipe_signal, no_pipe_signal_blocked,
          pipe_signal_of_others_stays, late_attach_answer, signal_ends_a_wait_for_a_server,
          signal_ends_a_followers_wait, signals_do_not_hurt, forked_child_has_nothing, no_stack)
