// SPDX-License-Identifier: BSD-2-Clause
/* Several threads on one socket, descriptors that are closed under a call and used again at once, against a stack in a
 * thread. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>

#include "servers/client/bulkhead.h"
#include "tests/unit/fake_stack.h"
#include "tests/unit/suite.h"

#define PORT    80
#define THREADS 4
#define ROUNDS  500

static struct fake_stack *fake;
static int lfd;

static int call_at(int (*call)(int, const struct sockaddr *, socklen_t), int fd, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return call(fd, (struct sockaddr *)&a, sizeof a);
}

static void setup(void)
{
    fake = fake_stack_start();
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_SEND_SIZE, 4096), 0);
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_RECEIVE_SIZE, 4096), 0);
    lfd = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(call_at(bh_bind, lfd, PORT), 0);
    ck_assert_int_eq(bh_listen(lfd, 16), 0);
}

static void teardown(void)
{
    fake_stack_stop(fake);
}

static void pair(int ret_fd[2])
{
    ret_fd[0] = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(call_at(bh_connect, ret_fd[0], PORT), 0);
    ret_fd[1] = bh_accept(lfd, NULL, NULL);
    ck_assert_int_ge(ret_fd[1], 0);
}

static void ms(long n)
{
    struct timespec t = {.tv_nsec = n * 1000000};
    nanosleep(&t, NULL);
}

/* ---- many pollers, one octet each time ---- */
struct pollers {
    int fd;
    unsigned got;   /* atomic */
    unsigned early; /* bh_poll() without a limit that said 0. Atomic */
};

static void *poll_and_take(void *argument)
{
    struct pollers *p = argument;
    for (;;) {
        char octet;
        struct pollfd set = {.fd = p->fd, .events = POLLIN};
        int n = bh_poll(&set, 1, -1);
        if (n == 0)
            __atomic_fetch_add(&p->early, 1, __ATOMIC_RELAXED);
        if (bh_recv(p->fd, &octet, 1, MSG_DONTWAIT) == 1)
            __atomic_fetch_add(&p->got, 1, __ATOMIC_RELEASE);
        else if (n == 1 && (set.revents & POLLHUP) != 0)
            return NULL;
    }
}

START_TEST(poll_without_a_limit_never_says_none)
{
    int fd[2];
    pthread_t thread[THREADS];
    pair(fd);
    struct pollers p = {.fd = fd[0]};
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, poll_and_take, &p), 0);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        ck_assert_int_eq(bh_send(fd[1], "x", 1, 0), 1);
        while (__atomic_load_n(&p.got, __ATOMIC_ACQUIRE) < i) /* the test's own limit ends it */
            sched_yield();
    }
    ck_assert_int_eq(bh_shutdown(fd[0], SHUT_RDWR), 0); /* POLLHUP, as Linux */
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(p.early, 0);
}
END_TEST

/* ---- a signal ends the wait of the thread that has it, whichever leads ---- */
static void nothing(int number)
{
    (void)number;
}

struct reading {
    int fd, error;
    ssize_t got;
};

static void *read_one(void *argument)
{
    struct reading *r = argument;
    char octet;
    r->got = bh_recv(r->fd, &octet, 1, 0);
    r->error = errno;
    return NULL;
}

START_TEST(a_signal_ends_any_wait)
{
    int fd[2];
    pthread_t thread[2];
    struct sigaction action = {.sa_handler = nothing};
    sigaction(SIGUSR1, &action, NULL);
    pair(fd);
    struct reading r[2] = {{.fd = fd[0]}, {.fd = fd[1]}};
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, read_one, &r[i]), 0);
        ms(30);
    }
    for (int i = 1; i >= 0; i--) { /* first the one that came last: it does not lead */
        struct timespec end;
        clock_gettime(CLOCK_REALTIME, &end);
        end.tv_sec += 5;
        pthread_kill(thread[i], SIGUSR1);
        ck_assert_int_eq(pthread_timedjoin_np(thread[i], NULL, &end), 0);
        ck_assert_int_eq((int)r[i].got, -1);
        ck_assert_int_eq(r[i].error, EINTR);
    }
}
END_TEST

/* ---- a descriptor that is closed under a call, and another socket's at once ---- */
struct closing {
    int fd, result, error;
};

static void *close_it(void *argument)
{
    struct closing *c = argument;
    c->result = bh_close(c->fd);
    c->error = errno;
    return NULL;
}

/* Whoever is faster closes it; the other one, that lingered, is not to close what has the descriptor since. */
START_TEST(two_closes_that_linger)
{
    int fd[2], e = bh_epoll_create1(0);
    struct linger linger = {.l_onoff = 1, .l_linger = 20};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT};
    pthread_t thread;
    pair(fd);
    fake_stack_drain(fake, false);
    ck_assert_int_eq(bh_setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    ck_assert_int_eq(bh_send(fd[0], "x", 1, 0), 1);
    ck_assert_int_eq(bh_epoll_ctl(e, EPOLL_CTL_ADD, fd[0], &event), 0);
    struct closing slow = {.fd = fd[0]};
    ck_assert_int_eq(pthread_create(&thread, NULL, close_it, &slow), 0);
    ms(50);
    ck_assert_int_eq(bh_epoll_wait(e, &event, 1, 0), 0); /* it is in no set any more */
    linger.l_onoff = 0;
    ck_assert_int_eq(bh_setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    ck_assert_int_eq(bh_close(fd[0]), 0);
    int other = -1;
    for (int i = 0; i < 100 && other != fd[0]; i++) /* the descriptor is used again, soon */
        other = bh_socket(AF_INET, SOCK_STREAM, 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(slow.result, -1);
    ck_assert_int_eq(slow.error, EBADF);
    if (other == fd[0])
        ck_assert_int_eq(call_at(bh_connect, other, PORT), 0);
}
END_TEST

static void *read_all(void *argument)
{
    struct reading *r = argument;
    char octets[8];
    r->got = bh_recv(r->fd, octets, sizeof octets, MSG_WAITALL);
    r->error = errno;
    return NULL;
}

/* A call that began on one connection never goes on with the next one that has its descriptor. */
START_TEST(a_call_ends_with_its_socket)
{
    for (int i = 0; i < ROUNDS; i++) {
        int fd[2], next[2];
        pthread_t thread;
        pair(fd);
        struct reading r = {.fd = fd[0]};
        ck_assert_int_eq(pthread_create(&thread, NULL, read_all, &r), 0);
        ck_assert_int_eq(bh_send(fd[1], "1234", 4, 0), 4);
        if (i % 2 != 0)
            sched_yield();
        ck_assert_int_eq(bh_close(fd[0]), 0);
        pair(next);
        ck_assert_int_eq(bh_send(next[1], "abcdefgh", 8, 0), 8);
        for (int k = 0; k < 2; k++) /* a call that began late is one on the new socket */
            ck_assert_int_eq(bh_shutdown(next[k], SHUT_RD), 0);
        pthread_join(thread, NULL);
        ck_assert(r.got == 4 || r.got == 0 || r.got == 8 || (r.got < 0 && (r.error == EBADF || r.error == ENOTCONN)));
        bh_close(fd[1]);
        bh_close(next[0]);
        bh_close(next[1]);
    }
}
END_TEST

/* ---- an attempt to connect whose outcome nobody has asked for ---- */
static int attempt(uint16_t port)
{
    int fd = bh_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    fake_stack_pend(fake, true); /* so that this call does not say it */
    ck_assert_int_eq(call_at(bh_connect, fd, port), -1);
    ck_assert_int_eq(errno, EINPROGRESS);
    fake_stack_pend(fake, false);
    return fd;
}

START_TEST(an_outcome_waits_for_who_asks)
{
    struct sockaddr_in a;
    socklen_t length = sizeof a;
    int error = 0;
    int fd = attempt(PORT);
    fake_stack_reset_all(fake);
    struct pollfd set = {.fd = fd, .events = POLLOUT | POLLRDHUP};
    ck_assert_int_eq(bh_poll(&set, 1, 5000), 1);
    ck_assert_int_eq(set.revents, POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
    ck_assert_int_eq(bh_getpeername(fd, (struct sockaddr *)&a, &length), -1);
    ck_assert_int_eq(errno, ENOTCONN);
    ck_assert_int_eq(bh_shutdown(fd, SHUT_RDWR), -1);
    ck_assert_int_eq(errno, ENOTCONN);
    length = sizeof error;
    ck_assert_int_eq(bh_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
    ck_assert_int_ne(error, 0);
    ck_assert_int_eq(bh_poll(&set, 1, 0), 1);
    ck_assert_int_eq(set.revents, POLLOUT | POLLRDHUP | POLLHUP);
    ck_assert_int_eq((int)bh_recv(fd, &error, sizeof error, 0), 0);
}
END_TEST

/* Connected, and nobody has asked: what came in is there all the same. */
START_TEST(octets_before_the_outcome)
{
    int fd = bh_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), octets = -1;
    if (call_at(bh_connect, fd, PORT) != 0)
        ck_assert_int_eq(errno, EINPROGRESS);
    int peer = bh_accept(lfd, NULL, NULL);
    ck_assert_int_eq(bh_send(peer, "abc", 3, 0), 3);
    struct pollfd set = {.fd = fd, .events = POLLIN};
    ck_assert_int_eq(bh_poll(&set, 1, 5000), 1);
    ck_assert_int_eq(bh_ioctl(fd, FIONREAD, &octets), 0);
    ck_assert_int_eq(octets, 3);
}
END_TEST

/* A call for no octets: there has to be something to be had, as on Linux. */
START_TEST(reads_of_nothing)
{
    int fd[2];
    char octet;
    pair(fd);
    ck_assert_int_eq((int)bh_recv(fd[0], &octet, 0, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(bh_send(fd[1], "x", 1, 0), 1);
    ck_assert_int_eq((int)bh_recv(fd[0], &octet, 0, 0), 0);
    ck_assert_int_eq((int)bh_recv(fd[0], &octet, 1, 0), 1);
    ck_assert_int_eq(bh_shutdown(fd[1], SHUT_WR), 0);
    ck_assert_int_eq((int)bh_recv(fd[0], &octet, 0, 0), 0);
    fake_stack_reset_all(fake);
}
END_TEST

/* ---- what this process lacks for a moment ---- */
START_TEST(no_descriptors_for_an_arena)
{
    struct rlimit before, none;
    int size = 65536, fd = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bh_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert_int_eq(call_at(bh_connect, fd, PORT), -1);
    ck_assert_int_eq(errno, EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_int_eq(call_at(bh_connect, fd, PORT), 0);
}
END_TEST

SUITE_RUN("client_races", setup, teardown, a_signal_ends_any_wait, poll_without_a_limit_never_says_none,
          two_closes_that_linger, a_call_ends_with_its_socket, an_outcome_waits_for_who_asks, octets_before_the_outcome,
          reads_of_nothing, no_descriptors_for_an_arena)
