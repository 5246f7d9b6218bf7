// SPDX-License-Identifier: BSD-2-Clause
/* Options of streams, the sizes of rings, closing with patience, bh_ioctl(): libbulkhead against a stack in a thread.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <time.h>

#include "ipc/session.h"
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

#define FAILS(expression, error)                                                                                       \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        ck_assert_int_eq(expression, -1);                                                                              \
        ck_assert_int_eq(errno, error);                                                                                \
    } while (0)

static int call_at(int (*call)(int, const struct sockaddr *, socklen_t), int fd, uint16_t port)
{
    const struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return call(fd, (const struct sockaddr *)&a, sizeof a);
}

static int new_stream(void)
{
    int fd = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, BH_DESCRIPTOR_BASE);
    return fd;
}

static int listening(int fd)
{
    ck_assert_int_eq(call_at(bh_bind, fd, PORT), 0);
    ck_assert_int_eq(bh_listen(fd, 4), 0);
    return fd;
}

static int accepted(int lfd)
{
    int fd = bh_accept(lfd, NULL, NULL);
    ck_assert_int_ge(fd, BH_DESCRIPTOR_BASE);
    return fd;
}

static void pair(int ret[2])
{
    int lfd = listening(new_stream());
    ret[0] = new_stream();
    ck_assert_int_eq(call_at(bh_connect, ret[0], PORT), 0);
    ret[1] = accepted(lfd);
}

static int set(int fd, int level, int name, int value)
{
    return bh_setsockopt(fd, level, name, &value, sizeof value);
}

static int get(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    ck_assert_int_eq(bh_getsockopt(fd, level, name, &value, &length), 0);
    ck_assert_uint_eq(length, sizeof value);
    return value;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- numbers ---- */
static const struct {
    int level, name;
    uint32_t control; /* what the socket server is asked for; 0: nothing */
    int first, value, wrong[2];
} numbers[] = {
    {SOL_SOCKET, SO_KEEPALIVE, CONTROL_OPTION_KEEPALIVE, 0, 1, {0, 0}},
    {IPPROTO_TCP, TCP_KEEPIDLE, CONTROL_OPTION_KEEP_IDLE, 7200, 10, {0, 32768}},
    {IPPROTO_TCP, TCP_KEEPINTVL, CONTROL_OPTION_KEEP_INTERVAL, 75, 32767, {0, 32768}},
    {IPPROTO_TCP, TCP_KEEPCNT, CONTROL_OPTION_KEEP_COUNT, 9, 127, {0, 128}},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, CONTROL_OPTION_USER_TIMEOUT, 0, 30000, {-1, -2}},
    {IPPROTO_TCP, TCP_MAXSEG, CONTROL_OPTION_MAXIMUM_SEGMENT, 536, 1000, {87, 32768}},
    {IPPROTO_TCP, TCP_QUICKACK, 0, 1, 0, {0, 0}},
    {IPPROTO_TCP, TCP_CORK, 0, 0, 1, {0, 0}},
};

START_TEST(each_number)
{
    int fd = new_stream();
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        int level = numbers[i].level, name = numbers[i].name;
        ck_assert_msg(get(fd, level, name) == numbers[i].first, "row %zu", i);
        for (int w = 0; w < 2 && numbers[i].wrong[0] != numbers[i].wrong[1]; w++)
            FAILS(set(fd, level, name, numbers[i].wrong[w]), EINVAL);
        ck_assert_int_eq(set(fd, level, name, numbers[i].value), 0);
        ck_assert_int_eq(get(fd, level, name), numbers[i].value);
        FAILS(bh_setsockopt(fd, level, name, &numbers[i].value, 2), EINVAL);
        if (numbers[i].control != 0)
            ck_assert_uint_eq(fake_stack_option(fake, numbers[i].control), (uint32_t)numbers[i].value);
    }
    int lfd = listening(fd), other = new_stream();
    ck_assert_int_eq(call_at(bh_connect, other, PORT), 0);
    int got = accepted(lfd);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) { /* the listener's */
        int expected = numbers[i].name == TCP_MAXSEG ? (int)FAKE_MSS : numbers[i].value;
        ck_assert_msg(get(got, numbers[i].level, numbers[i].name) == expected, "row %zu", i);
    }
    ck_assert_int_eq(get(other, IPPROTO_TCP, TCP_KEEPCNT), 9);
}
END_TEST

START_TEST(of_no_stream_or_not_at_all)
{
    int value = 1, u = bh_socket(AF_INET, SOCK_DGRAM, 0), fd = new_stream();
    socklen_t length = sizeof value;
    static const int tcp[] = {TCP_KEEPIDLE,     TCP_KEEPCNT, TCP_CORK,      TCP_MAXSEG,
                              TCP_USER_TIMEOUT, TCP_INFO,    TCP_CONGESTION};
    for (size_t i = 0; i < sizeof tcp / sizeof tcp[0]; i++) {
        FAILS(set(u, IPPROTO_TCP, tcp[i], 1), ENOPROTOOPT);
        FAILS(bh_getsockopt(u, IPPROTO_TCP, tcp[i], &value, &length), ENOPROTOOPT);
    }
    static const int not_here[] = {TCP_DEFER_ACCEPT, TCP_SYNCNT, TCP_LINGER2, TCP_WINDOW_CLAMP};
    for (size_t i = 0; i < sizeof not_here / sizeof not_here[0]; i++)
        FAILS(set(fd, IPPROTO_TCP, not_here[i], 1), ENOPROTOOPT);
    FAILS(set(fd, SOL_SOCKET, SO_REUSEPORT, 1), ENOPROTOOPT);
    FAILS(set(fd, SOL_SOCKET, SO_PRIORITY, 1), ENOPROTOOPT);
    FAILS(set(fd, IPPROTO_TCP, TCP_INFO, 1), ENOPROTOOPT);
    ck_assert_int_eq(set(u, SOL_SOCKET, SO_KEEPALIVE, 1), 0); /* kept, as Linux */
    ck_assert_int_eq(set(fd, SOL_SOCKET, SO_OOBINLINE, 0), 0);
    ck_assert_int_eq(get(fd, SOL_SOCKET, SO_OOBINLINE), 1);
}
END_TEST

static const char *congestion_of(int fd)
{
    static char name[16];
    socklen_t length = sizeof name;
    memset(name, 'x', sizeof name);
    ck_assert_int_eq(bh_getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length), 0);
    ck_assert_uint_eq(length, sizeof name);
    return name;
}

START_TEST(congestion_control_by_name)
{
    char name[16];
    socklen_t length = 2;
    int fd = new_stream();
    ck_assert_str_eq(congestion_of(fd), "cubic");
    ck_assert_int_eq(bh_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_CONGESTION), 1);
    ck_assert_str_eq(congestion_of(fd), "reno");
    ck_assert_int_eq(bh_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 6), 0); /* with its end, or without */
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_CONGESTION), 2);
    ck_assert_str_eq(congestion_of(fd), "cubic");
    FAILS(bh_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "renovation", 10), ENOENT);
    FAILS(bh_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3), ENOENT);
    FAILS(bh_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubi", 4), ENOENT);
    FAILS(bh_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "", 0), EINVAL);
    ck_assert_int_eq(bh_getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length), 0);
    ck_assert_uint_eq(length, 2);
    ck_assert_str_eq(congestion_of(fd), "cubic");
}
END_TEST

/* An attempt that failed leaves nothing at the server: options wait for the next one, and are all there then. */
START_TEST(options_survive_a_failed_connect)
{
    struct linger none = {.l_onoff = 1};
    int fd = new_stream();
    FAILS(call_at(bh_connect, fd, PORT), ECONNREFUSED);
    ck_assert_int_eq(set(fd, IPPROTO_TCP, TCP_KEEPCNT, 5), 0);
    ck_assert_int_eq(bh_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
    FAILS(set(fd, IPPROTO_TCP, TCP_MAXSEG, 87), EINVAL);
    ck_assert_int_eq(set(fd, SOL_SOCKET, SO_RCVBUF, 4096), 0);
    ck_assert_int_eq(bh_setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none), 0);
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_KEEP_COUNT), 0);
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_LINGER_RESET), 0);
    listening(new_stream());
    ck_assert_int_eq(call_at(bh_connect, fd, PORT), 0);
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_KEEP_COUNT), 5);
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_CONGESTION), 1);
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_LINGER_RESET), 1);
    ck_assert_int_eq(get(fd, SOL_SOCKET, SO_RCVBUF), 4096);
}
END_TEST

/* ---- the cork ---- */
static uint32_t flags_after(uint32_t expected)
{
    double end = seconds() + 5;
    while (fake_stack_app_flags(fake) != expected && seconds() < end)
        ;
    return fake_stack_app_flags(fake);
}

START_TEST(cork)
{
    int fd[2];
    pair(fd);
    ck_assert_int_eq(bh_send(fd[0], "x", 1, 0), 1);
    ck_assert_uint_eq(flags_after(0), 0);
    ck_assert_int_eq(set(fd[0], IPPROTO_TCP, TCP_CORK, 1), 0);
    ck_assert_uint_eq(flags_after(SLOT_APP_CORK), SLOT_APP_CORK);
    ck_assert_int_eq(set(fd[0], IPPROTO_TCP, TCP_CORK, 0), 0);
    ck_assert_uint_eq(flags_after(0), 0);
    ck_assert_int_eq(set(fd[0], IPPROTO_TCP, TCP_CORK, 1), 0);
    ck_assert_int_eq(bh_shutdown(fd[0], SHUT_WR), 0);
    ck_assert_uint_eq(flags_after(SLOT_APP_CORK | SLOT_APP_SHUTDOWN), SLOT_APP_CORK | SLOT_APP_SHUTDOWN);
}
END_TEST

START_TEST(cork_before_the_connection)
{
    int fd = new_stream();
    listening(new_stream());
    ck_assert_int_eq(set(fd, IPPROTO_TCP, TCP_CORK, 1), 0);
    ck_assert_int_eq(call_at(bh_connect, fd, PORT), 0);
    ck_assert_int_eq(bh_send(fd, "x", 1, 0), 1);
    ck_assert_uint_eq(flags_after(SLOT_APP_CORK), SLOT_APP_CORK);
}
END_TEST

/* ---- closing ---- */
static void set_linger(int fd, int on, int s)
{
    struct linger l = {.l_onoff = on, .l_linger = s}, got = {0};
    socklen_t length = sizeof got;
    ck_assert_int_eq(bh_setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
    ck_assert_int_eq(bh_getsockopt(fd, SOL_SOCKET, SO_LINGER, &got, &length), 0);
    ck_assert_int_eq(got.l_onoff, on);
    ck_assert_int_eq(got.l_linger, on ? s : 0);
}

START_TEST(linger_values)
{
    int fd = new_stream(), u = bh_socket(AF_INET, SOCK_DGRAM, 0);
    FAILS(bh_setsockopt(fd, SOL_SOCKET, SO_LINGER, "abcd", 4), EINVAL);
    set_linger(fd, 1, 0);
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_LINGER_RESET), 1);
    set_linger(fd, 1, 9);
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_LINGER_RESET), 0);
    set_linger(fd, 0, 9);
    set_linger(u, 1, 0);
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_LINGER_RESET), 0); /* of no effect there */
}
END_TEST

static double close_seconds(int fd)
{
    double begin = seconds();
    ck_assert_int_eq(bh_close(fd), 0);
    return seconds() - begin;
}

static void *drain_later(void *argument)
{
    struct timespec t = {.tv_nsec = 200000000};
    (void)argument;
    nanosleep(&t, NULL);
    fake_stack_drain(fake, true);
    return NULL;
}

START_TEST(close_with_patience)
{
    int fd[2];
    pthread_t thread;
    pair(fd);
    set_linger(fd[0], 1, 20);
    set_linger(fd[1], 1, 1);
    ck_assert_int_eq(bh_set_nonblocking(fd[0], true), 0);
    fake_stack_drain(fake, false);
    ck_assert_int_eq(bh_send(fd[0], "x", 1, 0), 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, drain_later, NULL), 0);
    double took = close_seconds(fd[0]); /* until all is acknowledged, also of a non-blocking one */
    ck_assert_double_gt(took, 0.1);
    ck_assert_double_lt(took, 15);
    pthread_join(thread, NULL);
    fake_stack_drain(fake, false);
    char got;
    ck_assert_int_eq(bh_recv(fd[1], &got, 1, 0), 1);
    took = close_seconds(fd[1]); /* or the time is over */
    ck_assert_double_gt(took, 0.9);
    ck_assert_double_lt(took, 10);
}
END_TEST

START_TEST(close_without_patience)
{
    int fd[2];
    pair(fd);
    fake_stack_drain(fake, false);
    set_linger(fd[1], 1, 20);
    ck_assert_int_eq(bh_send(fd[0], "x", 1, 0), 1);
    struct pollfd p = {.fd = fd[1], .events = POLLIN};
    ck_assert_int_eq(bh_poll(&p, 1, 5000), 1);
    ck_assert_double_lt(close_seconds(fd[1]), 5); /* not read: it resets */
    ck_assert_double_lt(close_seconds(fd[0]), 5); /* nothing was asked for */
    int never = new_stream();
    set_linger(never, 1, 20);
    ck_assert_double_lt(close_seconds(never), 5);
}
END_TEST

/* ---- sizes ---- */
START_TEST(sizes_are_rounded)
{
    static const struct {
        int asked, given;
    } rows[] = {{-5, 4096},       {0, 4096},          {4096, 4096},        {4097, 8192},
                {100000, 131072}, {4 << 20, 4 << 20}, {INT32_MAX, 4 << 20}};
    int fd = new_stream(), rcvbuf = get(fd, SOL_SOCKET, SO_RCVBUF);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_int_eq(set(fd, SOL_SOCKET, SO_SNDBUF, rows[i].asked), 0);
        ck_assert_int_eq(get(fd, SOL_SOCKET, SO_SNDBUF), rows[i].given);
        ck_assert_int_eq(get(fd, SOL_SOCKET, SO_RCVBUF), rcvbuf);
    }
    ck_assert_uint_eq(fake_stack_arenas(fake), 1); /* of the default: nothing was needed yet */
}
END_TEST

static void expect_sizes(int fd, int send, int receive)
{
    ck_assert_int_eq(get(fd, SOL_SOCKET, SO_SNDBUF), send);
    ck_assert_int_eq(get(fd, SOL_SOCKET, SO_RCVBUF), receive);
}

START_TEST(sizes_side_by_side)
{
    int lfd = new_stream(), fd[3];
    ck_assert_int_eq(set(lfd, SOL_SOCKET, SO_SNDBUF, 16384), 0);
    ck_assert_int_eq(set(lfd, SOL_SOCKET, SO_RCVBUF, 8192), 0);
    listening(lfd);
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_SEND_SIZE), 16384);
    ck_assert_uint_eq(fake_stack_option(fake, CONTROL_OPTION_RECEIVE_SIZE), 8192);
    fd[0] = new_stream(); /* of the default, though there is more than one kind now */
    ck_assert_int_eq(call_at(bh_connect, fd[0], PORT), 0);
    expect_sizes(fd[0], 256 << 10, 256 << 10);
    fd[1] = new_stream();
    ck_assert_int_eq(set(fd[1], SOL_SOCKET, SO_RCVBUF, 4096), 0);
    ck_assert_int_eq(call_at(bh_connect, fd[1], PORT), 0);
    expect_sizes(fd[1], 256 << 10, 4096);
    ck_assert_int_eq(set(fd[1], SOL_SOCKET, SO_RCVBUF, 65536), 0); /* too late */
    expect_sizes(fd[1], 256 << 10, 4096);
    for (int i = 0; i < 2; i++) {
        int got = accepted(lfd);
        expect_sizes(got, 16384, 8192);
        ck_assert_int_eq(bh_send(fd[i], "x", 1, 0), 1);
        char c;
        ck_assert_int_eq(bh_recv(got, &c, 1, 0), 1);
    }
    ck_assert_uint_eq(fake_stack_arenas(fake), 3);
}
END_TEST

/* Memory for a burst of connections is there when the listener begins; small rings, many of them. */
START_TEST(slots_for_a_backlog)
{
    int lfd = new_stream(), fd[100];
    ck_assert_int_eq(set(lfd, SOL_SOCKET, SO_SNDBUF, 16384), 0);
    ck_assert_int_eq(set(lfd, SOL_SOCKET, SO_RCVBUF, 16384), 0);
    ck_assert_int_eq(call_at(bh_bind, lfd, PORT), 0);
    ck_assert_int_eq(bh_listen(lfd, 1000), 0);
    uint32_t arenas = fake_stack_arenas(fake);
    ck_assert_uint_eq(arenas, 2); /* the default one, and one as large as that takes */
    for (int i = 0; i < 100; i++) {
        fd[i] = new_stream();
        ck_assert_int_eq(set(fd[i], SOL_SOCKET, SO_SNDBUF, 16384), 0);
        ck_assert_int_eq(set(fd[i], SOL_SOCKET, SO_RCVBUF, 16384), 0);
        ck_assert_int_eq(call_at(bh_connect, fd[i], PORT), 0);
    }
    for (int i = 0; i < 100; i++)
        expect_sizes(accepted(lfd), 16384, 16384);
    ck_assert_uint_eq(fake_stack_arenas(fake), arenas);
    ck_assert_int_eq(bh_listen(lfd, 7), 0);
    ck_assert_uint_eq(fake_stack_backlog(fake), 7);
}
END_TEST

/* What is refused for large rings may still be had for small ones. */
START_TEST(refused_by_size)
{
    int lfd = listening(new_stream()), fd = new_stream(), small = new_stream();
    fake_stack_refuse(fake, EDQUOT, 0);
    ck_assert_int_eq(set(fd, SOL_SOCKET, SO_RCVBUF, 4 << 20), 0);
    FAILS(call_at(bh_connect, fd, PORT), ENOBUFS);
    fake_stack_refuse(fake, 0, 0);
    ck_assert_int_eq(set(small, SOL_SOCKET, SO_RCVBUF, 4096), 0);
    ck_assert_int_eq(call_at(bh_connect, small, PORT), 0);
    ck_assert_int_ge(bh_accept(lfd, NULL, NULL), 0);
    FAILS(call_at(bh_connect, fd, PORT), ENOBUFS); /* it is not asked for again */
}
END_TEST

/* ---- figures ---- */
START_TEST(figures)
{
    struct tcp_info info;
    socklen_t length = sizeof info;
    int fd[2];
    pair(fd);
    ck_assert_int_eq(bh_getsockopt(fd[0], IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    ck_assert_uint_eq(length, sizeof info);
    ck_assert_uint_eq(info.tcpi_state, 1); /* ESTABLISHED */
    ck_assert_uint_eq(info.tcpi_options, TCPI_OPT_TIMESTAMPS | TCPI_OPT_WSCALE);
    ck_assert_uint_eq(info.tcpi_snd_wscale, 7);
    ck_assert_uint_eq(info.tcpi_rcv_wscale, 5);
    ck_assert_uint_eq(info.tcpi_retransmits, 2);
    ck_assert_uint_eq(info.tcpi_rtt, FAKE_RTT_US);
    ck_assert_uint_eq(info.tcpi_rto, 200000);
    ck_assert_uint_eq(info.tcpi_snd_mss, FAKE_MSS);
    ck_assert_uint_eq(info.tcpi_rcv_mss, FAKE_PEER_MSS);
    ck_assert_uint_eq(info.tcpi_snd_cwnd, 10);
    ck_assert_uint_eq(info.tcpi_snd_ssthresh, INT32_MAX);
    ck_assert_uint_eq(info.tcpi_total_retrans, 3);
    length = 1; /* cut off, as Linux */
    memset(&info, 0xee, sizeof info);
    ck_assert_int_eq(bh_getsockopt(fd[0], IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    ck_assert_uint_eq(length, 1);
    ck_assert_uint_eq(info.tcpi_state, 1);
    ck_assert_uint_eq(info.tcpi_ca_state, 0xee);
    fake_stack_reset_all(fake);
    length = sizeof info;
    ck_assert_int_eq(bh_getsockopt(fd[0], IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    ck_assert_uint_eq(info.tcpi_state, 7); /* CLOSE */
}
END_TEST

START_TEST(figures_without_connection)
{
    struct tcp_info info;
    socklen_t length = sizeof info;
    int fd = new_stream();
    ck_assert_int_eq(bh_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    ck_assert_uint_eq(info.tcpi_state, 7);
    ck_assert_uint_eq(info.tcpi_snd_mss, 0);
    listening(fd);
    ck_assert_int_eq(call_at(bh_connect, new_stream(), PORT), 0);
    ck_assert_int_eq(bh_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    ck_assert_uint_eq(info.tcpi_state, 10);
    ck_assert_uint_eq(info.tcpi_unacked, 1); /* waits to be accepted */
}
END_TEST

/* ---- ioctl, receiving without the octets ---- */
struct later {
    int fd;
    const char *octets; /* NULL: no more is sent */
    pthread_t thread;
};

static void *send_later(void *argument)
{
    const struct later *l = argument;
    const struct timespec t = {.tv_nsec = 50000000};
    nanosleep(&t, NULL);
    if (l->octets == NULL)
        (void)bh_shutdown(l->fd, SHUT_WR);
    else
        (void)bh_send(l->fd, l->octets, strlen(l->octets), 0);
    return NULL;
}

static ssize_t peek_all(int fd, char *ret, size_t octets, int flags)
{
    return bh_recv(fd, ret, octets, MSG_PEEK | MSG_WAITALL | flags);
}

/* As Linux: all of it is waited for, and what is there when the wait ends is given. */
START_TEST(peeking_at_all)
{
    static char large[1 << 20];
    char got[16];
    struct timeval limit = {.tv_usec = 20000};
    int fd[2];
    pair(fd);
    FAILS(peek_all(fd[1], got, 6, MSG_DONTWAIT), EAGAIN);
    ck_assert_int_eq(bh_send(fd[0], "xabc", 4, 0), 4);
    ck_assert_int_eq(bh_recv(fd[1], got, 1, 0), 1);
    ck_assert_int_eq(peek_all(fd[1], got, 6, MSG_DONTWAIT), 3);
    struct later l = {.fd = fd[0], .octets = "def"};
    ck_assert_int_eq(pthread_create(&l.thread, NULL, send_later, &l), 0);
    ck_assert_int_eq(peek_all(fd[1], got, 6, 0), 6);
    ck_assert_mem_eq(got, "abcdef", 6);
    pthread_join(l.thread, NULL);
    ck_assert_int_eq(bh_setsockopt(fd[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    double start = seconds();
    ck_assert_int_eq(peek_all(fd[1], got, 9, 0), 6);
    ck_assert(seconds() - start >= 0.02);
    limit = (struct timeval){0};
    ck_assert_int_eq(bh_setsockopt(fd[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    ck_assert_int_eq(bh_recv(fd[1], got, 6, 0), 6);
    l = (struct later){.fd = fd[1]};
    ck_assert_int_eq(bh_send(fd[1], "ab", 2, 0), 2);
    ck_assert_int_eq(pthread_create(&l.thread, NULL, send_later, &l), 0);
    ck_assert_int_eq(peek_all(fd[0], got, 6, 0), 2); /* the end comes first */
    pthread_join(l.thread, NULL);
    while (bh_send(fd[0], large, sizeof large, MSG_DONTWAIT) > 0)
        ;
    ck_assert_int_ge(peek_all(fd[1], large, sizeof large, 0),
                     get(fd[1], SOL_SOCKET, SO_RCVBUF) / 4); /* no more comes */
}
END_TEST

/* As Linux: a negative time is none at all. */
START_TEST(no_time_at_all)
{
    static uint8_t large[1 << 20];
    struct timeval limit = {.tv_sec = -1};
    socklen_t length = sizeof limit;
    int fd[2], lfd = listening(new_stream());
    fd[0] = new_stream();
    ck_assert_int_eq(call_at(bh_connect, fd[0], PORT), 0);
    fd[1] = accepted(lfd);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(bh_setsockopt(fd[i], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
        ck_assert_int_eq(bh_setsockopt(fd[i], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), 0);
    }
    FAILS(bh_recv(fd[0], large, 1, 0), EAGAIN);
    while (bh_send(fd[0], large, sizeof large, 0) > 0)
        ;
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(bh_setsockopt(lfd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    FAILS(bh_accept(lfd, NULL, NULL), EAGAIN);
    ck_assert_int_eq(bh_getsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &limit, &length), 0);
    ck_assert_int_eq((int)limit.tv_sec, 0);
    limit = (struct timeval){.tv_sec = -1, .tv_usec = -1};
    FAILS(bh_setsockopt(lfd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), EDOM);
    limit = (struct timeval){.tv_usec = 1000000};
    FAILS(bh_setsockopt(lfd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), EDOM);
}
END_TEST

START_TEST(a_listener_shut_down)
{
    int lfd = listening(new_stream());
    ck_assert_int_eq(bh_shutdown(lfd, SHUT_WR), 0);
    ck_assert_uint_eq(fake_stack_backlog(fake), 4); /* nothing, as Linux */
    ck_assert_int_eq(bh_shutdown(lfd, SHUT_RD), 0);
    ck_assert_uint_eq(fake_stack_backlog(fake), 0);
    FAILS(bh_accept(lfd, NULL, NULL), EINVAL);
    ck_assert_int_eq(bh_listen(lfd, 0), 0);
    ck_assert_uint_eq(fake_stack_backlog(fake), 1);
    ck_assert_int_eq(call_at(bh_connect, new_stream(), PORT), 0);
    accepted(lfd);
}
END_TEST

START_TEST(what_is_queued)
{
    char got[8];
    int fd[2], n = -1, on = 1;
    pair(fd);
    ck_assert_int_eq(bh_send(fd[0], "abcdef", 6, 0), 6);
    ck_assert_int_eq(bh_recv(fd[1], got, 6, MSG_PEEK | MSG_WAITALL), 6);
    ck_assert_int_eq(bh_ioctl(fd[1], FIONREAD, &n), 0);
    ck_assert_int_eq(n, 6);
    ck_assert_int_eq(bh_ioctl(fd[0], SIOCOUTQ, &n), 0);
    ck_assert_int_eq(n, 0);
    fake_stack_stall(fake, true);
    ck_assert_int_eq(bh_send(fd[0], "abc", 3, 0), 3);
    ck_assert_int_eq(bh_ioctl(fd[0], SIOCOUTQ, &n), 0);
    ck_assert_int_eq(n, 3);
    fake_stack_stall(fake, false);
    ck_assert_int_eq(bh_recv(fd[1], NULL, 2, MSG_TRUNC), 2);
    ck_assert_int_eq(bh_recv(fd[1], got, 1, 0), 1);
    ck_assert_int_eq(got[0], 'c');
    ck_assert_int_eq(bh_ioctl(fd[1], FIONBIO, &on), 0);
    ck_assert_int_eq(bh_recv(fd[1], NULL, 100, MSG_TRUNC | MSG_PEEK) >= 3, 1);
    FAILS(bh_recv(fd[0], got, 1, MSG_OOB), EOPNOTSUPP);
    FAILS(bh_ioctl(fd[0], SIOCATMARK, &n), ENOTTY);
    FAILS(bh_ioctl(fd[0], FIONREAD, NULL), EFAULT);
    int lfd = new_stream();
    ck_assert_int_eq(bh_ioctl(lfd, FIONREAD, &n), 0);
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(bh_listen(lfd, 1), 0);
    FAILS(bh_ioctl(lfd, FIONREAD, &n), EINVAL);
    ck_assert_int_eq(bh_ioctl(lfd, FIONBIO, &on), 0);
    FAILS(bh_accept(lfd, NULL, NULL), EAGAIN);
}
END_TEST

START_TEST(next_datagram)
{
    int n = -1, a = bh_socket(AF_INET, SOCK_DGRAM, 0), b = bh_socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert_int_eq(bh_ioctl(a, FIONREAD, &n), 0);
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(call_at(bh_bind, a, PORT), 0);
    ck_assert_int_eq(call_at(bh_connect, b, PORT), 0);
    ck_assert_int_eq(bh_send(b, "abcde", 5, 0), 5);
    ck_assert_int_eq(bh_send(b, "abc", 3, 0), 3);
    struct pollfd p = {.fd = a, .events = POLLIN};
    ck_assert_int_eq(bh_poll(&p, 1, 5000), 1);
    ck_assert_int_eq(bh_ioctl(a, FIONREAD, &n), 0);
    ck_assert_int_eq(n, 5);
    ck_assert_int_eq(bh_ioctl(a, FIONREAD, &n), 0);
    ck_assert_int_eq(n, 5);
}
END_TEST

SUITE_RUN("client_options", setup, teardown, each_number, of_no_stream_or_not_at_all, congestion_control_by_name,
          options_survive_a_failed_connect, cork, cork_before_the_connection, linger_values, close_with_patience,
          close_without_patience, sizes_are_rounded, sizes_side_by_side, slots_for_a_backlog, refused_by_size, figures,
          figures_without_connection, peeking_at_all, no_time_at_all, a_listener_shut_down, what_is_queued,
          next_datagram)
