// SPDX-License-Identifier: BSD-2-Clause
/* bh_epoll_*() against a stack in a thread (fake_stack.h). Each test is a process of its own, so a session of its own.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "servers/client/bulkhead.h"
#include "tests/unit/fake_stack.h"
#include "tests/unit/suite.h"

#define PORT    80
#define LONG_MS 10000
#define MANY    4000 /* sockets in a set; SESSION_DESCRIPTORS has room for some more */

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

static int connect_start(int fd, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return bh_connect(fd, (struct sockaddr *)&a, sizeof a);
}

static int listener_at(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, BH_DESCRIPTOR_BASE);
    ck_assert_int_eq(bh_bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(bh_listen(fd, 4), 0);
    return fd;
}

static int listener(void)
{
    return listener_at(PORT);
}

static void pair_of(int lfd, int ret[2])
{
    ret[0] = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect_start(ret[0], PORT), 0);
    ret[1] = bh_accept4(lfd, NULL, NULL, SOCK_NONBLOCK);
    ck_assert_int_ge(ret[1], 0);
}

static void small_rings(uint32_t slots)
{
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_SLOTS, slots), 0);
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_SEND_SIZE, 4096), 0);
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_RECEIVE_SIZE, 4096), 0);
}

static int epoll_new(void)
{
    int fd = bh_epoll_create1(EPOLL_CLOEXEC);
    ck_assert_int_ge(fd, BH_DESCRIPTOR_BASE);
    return fd;
}

static int control(int epoll, int operation, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.fd = fd};
    return bh_epoll_ctl(epoll, operation, fd, &e);
}

static void add(int epoll, int fd, uint32_t events)
{
    ck_assert_int_eq(control(epoll, EPOLL_CTL_ADD, fd, events), 0);
}

/* The one event there is within the time; its descriptor is `fd`. */
static uint32_t event_of(int epoll, int fd, int timeout_ms)
{
    struct epoll_event e[4];
    ck_assert_int_eq(bh_epoll_wait(epoll, e, 4, timeout_ms), 1);
    ck_assert_int_eq(e[0].data.fd, fd);
    return e[0].events;
}

static void expect_none(int epoll)
{
    struct epoll_event e[4];
    ck_assert_int_eq(bh_epoll_wait(epoll, e, 4, 0), 0);
}

static void say(int fd)
{
    ck_assert_int_eq(bh_send(fd, "x", 1, 0), 1);
}

/* What was said has arrived there; by another way than the one that is tested. */
static void arrives(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ck_assert_int_eq(bh_poll(&p, 1, LONG_MS), 1);
}

static void hear(int fd)
{
    char octets[64];
    ck_assert_int_gt(bh_recv(fd, octets, sizeof octets, 0), 0);
}

/* ---- one instance ---- */
START_TEST(level)
{
    int fd[2], e = epoll_new();
    pair_of(listener(), fd);
    add(e, fd[1], EPOLLIN);
    expect_none(e);
    say(fd[0]);
    ck_assert_uint_eq(event_of(e, fd[1], LONG_MS), EPOLLIN);
    ck_assert_uint_eq(event_of(e, fd[1], 0), EPOLLIN); /* as long as it holds */
    hear(fd[1]);
    expect_none(e);
    say(fd[0]);
    ck_assert_uint_eq(event_of(e, fd[1], LONG_MS), EPOLLIN);
    hear(fd[1]);
    bh_shutdown(fd[0], SHUT_WR);
    ck_assert_uint_eq(event_of(e, fd[1], LONG_MS), EPOLLIN);
}
END_TEST

START_TEST(edge)
{
    int fd[2], e = epoll_new();
    pair_of(listener(), fd);
    say(fd[0]);
    arrives(fd[1]);
    add(e, fd[1], EPOLLIN | EPOLLET);
    ck_assert_uint_eq(event_of(e, fd[1], 0), EPOLLIN); /* what is there already is told */
    expect_none(e);
    say(fd[0]); /* more on top of what was not read is news */
    ck_assert_uint_eq(event_of(e, fd[1], LONG_MS), EPOLLIN);
    expect_none(e);
    ck_assert_int_eq(control(e, EPOLL_CTL_MOD, fd[1], EPOLLIN | EPOLLET), 0);
    ck_assert_uint_eq(event_of(e, fd[1], 0), EPOLLIN);
    hear(fd[1]);
    expect_none(e);
}
END_TEST

START_TEST(oneshot_and_mod)
{
    int fd[2], e = epoll_new();
    pair_of(listener(), fd);
    add(e, fd[1], EPOLLIN | EPOLLONESHOT);
    say(fd[0]);
    ck_assert_uint_eq(event_of(e, fd[1], LONG_MS), EPOLLIN);
    say(fd[0]);
    bh_shutdown(fd[0], SHUT_WR);
    expect_none(e);
    ck_assert_int_eq(control(e, EPOLL_CTL_MOD, fd[1], EPOLLOUT), 0);
    ck_assert_uint_eq(event_of(e, fd[1], 0), EPOLLOUT);
    ck_assert_int_eq(control(e, EPOLL_CTL_MOD, fd[1], EPOLLIN | EPOLLRDNORM), 0);
    ck_assert_uint_eq(event_of(e, fd[1], 0), EPOLLIN | EPOLLRDNORM);
    ck_assert_int_eq(bh_epoll_ctl(e, EPOLL_CTL_DEL, fd[1], NULL), 0);
    expect_none(e);
}
END_TEST

START_TEST(room_to_send)
{
    static char octets[20000];
    int fd[2], e = epoll_new();
    small_rings(4);
    pair_of(listener(), fd);
    bh_set_nonblocking(fd[0], true);
    add(e, fd[0], EPOLLOUT | EPOLLET);
    ck_assert_uint_eq(event_of(e, fd[0], 0), EPOLLOUT);
    ssize_t sent = 0, heard = 0, n;
    for (int i = 0; i < 50; i++) /* until neither side has room */
        if ((n = bh_send(fd[0], octets, sizeof octets, 0)) > 0)
            sent += n;
        else
            usleep(1000);
    while (bh_epoll_wait(e, &(struct epoll_event){0}, 1, 0) > 0)
        ; /* what was acknowledged on the way */
    while (heard < sent) {
        n = bh_recv(fd[1], octets, sizeof octets, MSG_DONTWAIT);
        heard += n > 0 ? n : 0;
    }
    ck_assert_uint_eq(event_of(e, fd[0], LONG_MS), EPOLLOUT);
}
END_TEST

/* What a socket goes through, without a doorbell of the stack for the parts that are our own doing. */
START_TEST(own_calls)
{
    int fd[2], lfd = listener(), e = epoll_new();
    fd[0] = bh_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    add(e, fd[0], EPOLLIN | EPOLLOUT);
    ck_assert_uint_eq(event_of(e, fd[0], 0), EPOLLOUT | EPOLLHUP); /* as Linux */
    ck_assert(connect_start(fd[0], PORT) == 0 || errno == EINPROGRESS);
    ck_assert_uint_eq(event_of(e, fd[0], LONG_MS), EPOLLOUT);
    ck_assert_int_eq(bh_epoll_ctl(e, EPOLL_CTL_DEL, fd[0], NULL), 0);
    add(e, lfd, EPOLLIN);
    ck_assert_uint_eq(event_of(e, lfd, LONG_MS), EPOLLIN);
    fd[1] = bh_accept4(lfd, NULL, NULL, SOCK_NONBLOCK);
    expect_none(e);
    add(e, fd[1], EPOLLIN | EPOLLRDHUP);
    expect_none(e);
    ck_assert_int_eq(bh_shutdown(fd[1], SHUT_RD), 0);
    ck_assert_uint_eq(event_of(e, fd[1], 0), EPOLLIN | EPOLLRDHUP);
    ck_assert_int_eq(bh_epoll_ctl(e, EPOLL_CTL_DEL, fd[1], NULL), 0);
    int udp = bh_socket(AF_INET, SOCK_DGRAM, 0);
    add(e, udp, EPOLLOUT);
    ck_assert_uint_eq(event_of(e, udp, 0), EPOLLOUT);
}
END_TEST

START_TEST(refused_and_reset)
{
    int fd[2], e = epoll_new(), lfd = listener();
    int lone = bh_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    add(e, lone, EPOLLOUT | EPOLLET);
    (void)event_of(e, lone, 0);
    ck_assert_int_eq(connect_start(lone, PORT + 1), -1); /* at once or later */
    if (errno == EINPROGRESS)
        ck_assert_uint_eq(event_of(e, lone, LONG_MS), EPOLLOUT | EPOLLERR | EPOLLHUP);
    else
        ck_assert_uint_eq(event_of(e, lone, 0), EPOLLOUT | EPOLLHUP); /* told: it may try again */
    ck_assert_int_eq(bh_close(lone), 0);
    pair_of(lfd, fd);
    add(e, fd[0], 0); /* errors come unasked */
    add(e, fd[1], EPOLLET);
    expect_none(e);
    fake_stack_reset_all(fake);
    struct epoll_event both[4];
    ck_assert_int_eq(bh_epoll_wait(e, both, 4, LONG_MS), 2);
    ck_assert_uint_eq(both[0].events, EPOLLERR | EPOLLHUP);
    ck_assert_uint_eq(both[1].events, EPOLLERR | EPOLLHUP);
    ck_assert_uint_eq(event_of(e, fd[0], 0), EPOLLERR | EPOLLHUP);
}
END_TEST

/* ---- sets ---- */
START_TEST(arguments)
{
    struct epoll_event got;
    int fd[2], e = epoll_new(), other = epoll_new(), lfd = listener();
    pair_of(lfd, fd);
    FAILS(bh_epoll_create1(1), EINVAL);
    add(e, fd[0], EPOLLIN);
    FAILS(control(e, EPOLL_CTL_ADD, fd[0], EPOLLIN), EEXIST);
    FAILS(control(e, EPOLL_CTL_MOD, fd[1], EPOLLIN), ENOENT);
    FAILS(control(e, EPOLL_CTL_DEL, fd[1], EPOLLIN), ENOENT);
    FAILS(control(e, 99, fd[0], EPOLLIN), EINVAL);
    FAILS(control(e, EPOLL_CTL_ADD, other, EPOLLIN), EINVAL);
    FAILS(control(e, EPOLL_CTL_ADD, e, EPOLLIN), EINVAL);
    FAILS(control(fd[0], EPOLL_CTL_ADD, fd[1], EPOLLIN), EINVAL);
    FAILS(control(e, EPOLL_CTL_ADD, fd[1] + 50, EPOLLIN), EBADF);
    FAILS(control(e + 50, EPOLL_CTL_ADD, fd[1], EPOLLIN), EBADF);
    FAILS(control(e, EPOLL_CTL_ADD, -1, EPOLLIN), EBADF);
    FAILS(control(e, EPOLL_CTL_ADD, fd[1], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT), EINVAL);
    add(e, fd[1], EPOLLIN | EPOLLEXCLUSIVE);
    FAILS(control(e, EPOLL_CTL_MOD, fd[1], EPOLLIN), EINVAL);
    FAILS(bh_epoll_ctl(e, EPOLL_CTL_MOD, fd[0], NULL), EFAULT);
    FAILS(bh_epoll_wait(e, &got, 0, 0), EINVAL);
    FAILS(bh_epoll_wait(e, NULL, 1, 0), EFAULT);
    FAILS(bh_epoll_wait(fd[0], &got, 1, 0), EINVAL);
    FAILS(bh_epoll_wait(0, &got, 1, 0), EINVAL);
    FAILS(bh_epoll_wait(-1, &got, 1, 0), EBADF);
    FAILS(bh_recv(e, &got, 1, 0), ENOTSOCK);
    struct pollfd p = {.fd = e, .events = POLLIN};
    ck_assert_int_eq(bh_poll(&p, 1, 0), 1);
    ck_assert_int_eq(p.revents, POLLNVAL);
    ck_assert_int_eq(bh_close(e), 0);
    FAILS(bh_epoll_wait(e, &got, 1, 0), EBADF);
    FAILS(bh_close(e), EBADF);
}
END_TEST

START_TEST(closed_descriptors_leave)
{
    int fd[2], e[2] = {epoll_new(), epoll_new()}, lfd = listener();
    pair_of(lfd, fd);
    add(e[0], fd[1], EPOLLIN);
    add(e[1], fd[1], EPOLLIN);
    say(fd[0]);
    ck_assert_uint_eq(event_of(e[0], fd[1], LONG_MS), EPOLLIN);
    ck_assert_uint_eq(event_of(e[1], fd[1], LONG_MS), EPOLLIN);
    int old = fd[1];
    ck_assert_int_eq(bh_close(fd[1]), 0);
    bh_close(fd[0]);
    expect_none(e[0]);
    expect_none(e[1]);
    int seen = 0;
    for (int i = 0; i < 8; i++) { /* descriptors are used again: by none that was added */
        pair_of(lfd, fd);
        say(fd[0]);
        arrives(fd[1]);
        say(fd[1]);
        arrives(fd[0]);
        seen += fd[0] == old || fd[1] == old;
        expect_none(e[0]);
        if (seen == 1) {
            add(e[0], old, EPOLLIN);
            ck_assert_uint_eq(event_of(e[0], old, 0), EPOLLIN);
            break;
        }
    }
    ck_assert_int_eq(seen, 1);
}
END_TEST

/* Few asked for at a time: each has its turn. */
START_TEST(turns)
{
    int fd[6], e = epoll_new(), lfd = listener(), told[6] = {0};
    for (int i = 0; i < 6; i += 2) {
        pair_of(lfd, fd + i);
        say(fd[i]);
        arrives(fd[i + 1]);
        add(e, fd[i + 1], EPOLLIN);
    }
    for (int i = 0; i < 9; i++) {
        struct epoll_event got;
        ck_assert_int_eq(bh_epoll_wait(e, &got, 1, 0), 1);
        for (int j = 1; j < 6; j += 2)
            told[j] += got.data.fd == fd[j];
    }
    ck_assert_int_eq(told[1], 3);
    ck_assert_int_eq(told[3], 3);
    ck_assert_int_eq(told[5], 3);
}
END_TEST

START_TEST(descriptors_of_the_kernel)
{
    int fd[2], host[2], e = epoll_new();
    pair_of(listener(), fd);
    ck_assert_int_eq(pipe(host), 0);
    add(e, fd[1], EPOLLIN);
    add(e, host[0], EPOLLIN);
    FAILS(control(e, EPOLL_CTL_ADD, host[0], EPOLLIN), EEXIST);
    FAILS(control(e, EPOLL_CTL_MOD, host[1], EPOLLIN), ENOENT);
    FAILS(control(e, EPOLL_CTL_ADD, 999, EPOLLIN), EBADF);
    int file = open("/proc/self/exe", O_RDONLY);
    FAILS(control(e, EPOLL_CTL_ADD, file, EPOLLIN), EPERM);
    close(file);
    expect_none(e);
    ck_assert_int_eq(write(host[1], "x", 1), 1);
    ck_assert_uint_eq(event_of(e, host[0], LONG_MS), EPOLLIN);
    say(fd[0]);
    arrives(fd[1]);
    struct epoll_event both[2], one;
    ck_assert_int_eq(bh_epoll_wait(e, both, 2, 0), 2);
    int told[2] = {0};
    for (int i = 0; i < 10; i++) { /* neither kind keeps the other from being told */
        ck_assert_int_eq(bh_epoll_wait(e, &one, 1, 0), 1);
        told[bh_is_descriptor(one.data.fd)]++;
    }
    ck_assert_int_eq(told[0], 5);
    ck_assert_int_eq(told[1], 5);
    hear(fd[1]);
    ck_assert_uint_eq(event_of(e, host[0], 0), EPOLLIN);
    close(host[0]); /* leaves by itself */
    expect_none(e);
    close(host[1]);
}
END_TEST

/* ---- threads ---- */
struct later {
    int fd, microseconds;
    enum { SAY, CLOSE, WRITE, ADD, SHUT } what;
    int epoll;
};

static void *do_later(void *argument)
{
    const struct later *l = argument;
    usleep((useconds_t)l->microseconds);
    if (l->what == SAY)
        say(l->fd);
    else if (l->what == CLOSE)
        ck_assert_int_eq(bh_close(l->fd), 0);
    else if (l->what == SHUT)
        ck_assert_int_eq(bh_shutdown(l->fd, SHUT_RD), 0);
    else if (l->what == WRITE)
        ck_assert_int_eq(write(l->fd, "x", 1), 1);
    else
        add(l->epoll, l->fd, EPOLLIN);
    return NULL;
}

START_TEST(wakes_who_waits)
{
    struct epoll_event got;
    int fd[2], host[2], e = epoll_new();
    pthread_t thread;
    pair_of(listener(), fd);
    ck_assert_int_eq(pipe(host), 0);
    add(e, fd[1], EPOLLIN);
    struct later l = {.fd = fd[0], .microseconds = 20000, .what = SAY, .epoll = e};
    pthread_create(&thread, NULL, do_later, &l);
    ck_assert_uint_eq(event_of(e, fd[1], LONG_MS), EPOLLIN);
    pthread_join(thread, NULL);
    ck_assert_int_eq(bh_epoll_ctl(e, EPOLL_CTL_DEL, fd[1], NULL), 0);
    l = (struct later){.fd = fd[1], .microseconds = 20000, .what = ADD, .epoll = e}; /* ready as it comes */
    pthread_create(&thread, NULL, do_later, &l);
    ck_assert_uint_eq(event_of(e, fd[1], LONG_MS), EPOLLIN);
    pthread_join(thread, NULL);
    hear(fd[1]);
    add(e, host[0], EPOLLIN);
    l = (struct later){.fd = host[1], .microseconds = 20000, .what = WRITE};
    pthread_create(&thread, NULL, do_later, &l);
    ck_assert_uint_eq(event_of(e, host[0], LONG_MS), EPOLLIN);
    pthread_join(thread, NULL);
    close(host[0]);
    close(host[1]);
    l = (struct later){.fd = e, .microseconds = 20000, .what = CLOSE};
    pthread_create(&thread, NULL, do_later, &l);
    FAILS(bh_epoll_wait(e, &got, 1, LONG_MS), EBADF);
    pthread_join(thread, NULL);
    FAILS(bh_epoll_wait(e, &got, 1, LONG_MS), EBADF);
}
END_TEST

static void on_signal(int number)
{
    (void)number;
}

struct interrupted {
    int epoll, result, error;
    bool done; /* atomic */
};

static void *wait_for_signal(void *argument)
{
    struct interrupted *w = argument;
    struct epoll_event got;
    w->result = bh_epoll_wait(w->epoll, &got, 1, LONG_MS);
    w->error = errno;
    __atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
    return NULL;
}

/* Who sleeps on the doorbell, and who waits behind it. */
START_TEST(signal_ends_a_wait)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct interrupted w[2] = {{.epoll = epoll_new()}, {.epoll = epoll_new()}};
    pthread_t thread[2];
    int lfd = listener();
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < 2; i++) {
        add(w[i].epoll, lfd, EPOLLIN);
        pthread_create(&thread[i], NULL, wait_for_signal, &w[i]);
    }
    for (int i = 0; i < 2; i++) {
        while (!__atomic_load_n(&w[i].done, __ATOMIC_ACQUIRE)) { /* it may not wait yet */
            pthread_kill(thread[i], SIGUSR1);
            usleep(5000);
        }
        pthread_join(thread[i], NULL);
        ck_assert_int_eq(w[i].result, -1);
        ck_assert_int_eq(w[i].error, EINTR);
    }
}
END_TEST

START_TEST(times_out)
{
    struct epoll_event got;
    struct timespec a, b;
    int fd[2], e = epoll_new();
    pair_of(listener(), fd);
    add(e, fd[1], EPOLLIN);
    clock_gettime(CLOCK_MONOTONIC, &a);
    ck_assert_int_eq(bh_epoll_wait(e, &got, 1, 30), 0);
    clock_gettime(CLOCK_MONOTONIC, &b);
    ck_assert_int_ge((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000, 29);
}
END_TEST

#define ECHOERS 3
#define ROUNDS  200

struct echoer {
    int epoll;
    uint32_t events;
    int echoed;
};

/* Answers octet by octet until a peer finishes. */
static void *echo(void *argument)
{
    struct echoer *r = argument;
    for (;;) {
        struct epoll_event got[2];
        int n = bh_epoll_wait(r->epoll, got, 2, LONG_MS);
        if (n <= 0)
            return NULL;
        for (int i = 0; i < n; i++) {
            char octet;
            ssize_t k;
            while ((k = bh_recv(got[i].data.fd, &octet, 1, MSG_DONTWAIT)) == 1) {
                ck_assert_int_eq(bh_send(got[i].data.fd, &octet, 1, 0), 1);
                r->echoed++;
            }
            if ((r->events & EPOLLONESHOT) != 0) /* also at the end: every thread is to see one */
                ck_assert_int_eq(control(r->epoll, EPOLL_CTL_MOD, got[i].data.fd, r->events), 0);
            if (k == 0)
                return NULL;
        }
    }
}

/* An instance for each thread, as many servers have it: whoever drains the rings, each is woken for its own. */
static void instances_of_threads(uint32_t events)
{
    int fd[ECHOERS][2], lfd = listener();
    struct echoer r[ECHOERS] = {0};
    pthread_t thread[ECHOERS];
    for (int i = 0; i < ECHOERS; i++) {
        pair_of(lfd, fd[i]);
        r[i] = (struct echoer){.epoll = epoll_new(), .events = events};
        add(r[i].epoll, fd[i][1], events);
        ck_assert_int_eq(pthread_create(&thread[i], NULL, echo, &r[i]), 0);
    }
    for (int n = 0; n < ROUNDS; n++) {
        for (int i = 0; i < ECHOERS; i++)
            say(fd[i][0]);
        for (int i = 0; i < ECHOERS; i++)
            hear(fd[i][0]);
    }
    for (int i = 0; i < ECHOERS; i++) {
        bh_shutdown(fd[i][0], SHUT_WR);
        pthread_join(thread[i], NULL);
        ck_assert_int_eq(r[i].echoed, ROUNDS);
    }
}

START_TEST(threads_with_instances)
{
    instances_of_threads(EPOLLIN);
}
END_TEST

START_TEST(threads_with_instances_edge)
{
    instances_of_threads(EPOLLIN | EPOLLET);
}
END_TEST

START_TEST(threads_with_one_instance)
{
    int fd[ECHOERS][2], e = epoll_new(), lfd = listener();
    struct echoer r[ECHOERS] = {0};
    pthread_t thread[ECHOERS];
    for (int i = 0; i < ECHOERS; i++) {
        pair_of(lfd, fd[i]);
        add(e, fd[i][1], EPOLLIN | EPOLLONESHOT);
        r[i] = (struct echoer){.epoll = e, .events = EPOLLIN | EPOLLONESHOT};
    }
    for (int i = 0; i < ECHOERS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, echo, &r[i]), 0);
    for (int n = 0; n < ROUNDS; n++) {
        for (int i = 0; i < ECHOERS; i++)
            say(fd[i][0]);
        for (int i = 0; i < ECHOERS; i++)
            hear(fd[i][0]);
    }
    for (int i = 0; i < ECHOERS; i++)
        bh_shutdown(fd[i][0], SHUT_WR);
    int echoed = 0;
    for (int i = 0; i < ECHOERS; i++) {
        pthread_join(thread[i], NULL);
        echoed += r[i].echoed;
    }
    ck_assert_int_eq(echoed, ECHOERS * ROUNDS);
}
END_TEST

/* ---- writers that restart, lie, die ---- */
START_TEST(overtaken)
{
    int fd[2], other[2], e = epoll_new(), lfd = listener();
    pair_of(lfd, fd);
    pair_of(lfd, other);
    add(e, fd[1], EPOLLIN);
    expect_none(e);
    say(fd[0]);
    arrives(fd[1]);
    for (int i = 0; i < 2000; i++) { /* more entries than a ring has */
        say(other[0]);
        arrives(other[1]);
        hear(other[1]);
    }
    ck_assert_uint_eq(event_of(e, fd[1], 0), EPOLLIN);
    hear(fd[1]);
    expect_none(e);
}
END_TEST

START_TEST(cold_start)
{
    int fd[2], e = epoll_new(), lfd = listener();
    struct epoll_event got[4];
    pair_of(lfd, fd);
    add(e, lfd, EPOLLIN | EPOLLET);
    add(e, fd[0], EPOLLIN | EPOLLET);
    add(e, fd[1], EPOLLIN | EPOLLET);
    expect_none(e);
    fake_stack_forget(fake, false); /* the words of the socket server alone say so, all at once */
    ck_assert_int_eq(bh_epoll_wait(e, got, 4, LONG_MS), 3);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(got[i].events, EPOLLIN | EPOLLERR | EPOLLHUP);
}
END_TEST

START_TEST(lying_writer)
{
    int fd[8][2], e = epoll_new(), lfd = listener();
    struct epoll_event got[16];
    struct timespec start, now;
    for (int i = 0; i < 8; i++) {
        pair_of(lfd, fd[i]);
        add(e, fd[i][0], EPOLLIN | EPOLLOUT | EPOLLET);
        add(e, fd[i][1], EPOLLIN);
    }
    fake_stack_lie(fake, 7);
    clock_gettime(CLOCK_MONOTONIC, &start);
    int waits = 0;
    do {
        int n = bh_epoll_wait(e, got, 16, 5);
        ck_assert_int_ge(n, 0);
        for (int i = 0; i < n; i++)
            ck_assert(bh_is_descriptor(got[i].data.fd) && got[i].data.fd <= fd[7][1]);
        waits++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < 300);
    ck_assert_int_gt(waits, 20); /* each look is bounded */
    fake_stack_lie(fake, 0);
}
END_TEST

START_TEST(stack_gone)
{
    int fd[2], host[2], e = epoll_new(), empty = epoll_new(), lfd = listener();
    struct epoll_event got[4];
    pair_of(lfd, fd);
    ck_assert_int_eq(pipe(host), 0);
    add(e, lfd, EPOLLIN);
    add(e, fd[0], EPOLLIN | EPOLLET);
    add(e, fd[1], EPOLLIN);
    fake_stack_hang_up(fake);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(bh_epoll_wait(e, got, 4, -1), 3);
        for (int j = 0; j < 3; j++)
            ck_assert_uint_eq(got[j].events, EPOLLERR | EPOLLHUP);
    }
    FAILS(bh_epoll_wait(empty, got, 4, -1), ENETDOWN);
    FAILS(control(empty, EPOLL_CTL_ADD, lfd, EPOLLIN), ENETDOWN);
    ck_assert_int_eq(write(host[1], "x", 1), 1);
    add(empty, host[0], EPOLLIN);
    ck_assert_uint_eq(event_of(empty, host[0], -1), EPOLLIN);
    bh_close(lfd);
    ck_assert_int_eq(bh_epoll_wait(e, got, 4, -1), 2);
    close(host[0]);
    close(host[1]);
}
END_TEST

/* ---- cost ---- */
static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Of MANY sockets 3 are ready: the best of many waits, beside the best of as many looks at the whole set. */
START_TEST(cost_follows_the_ready)
{
    static struct pollfd set[MANY];
    struct epoll_event got[8];
    int e = epoll_new();
    small_rings(16);
    for (int i = 0; i < MANY; i++) {
        set[i] = (struct pollfd){.fd = listener_at((uint16_t)(1000 + i)), .events = POLLIN};
        add(e, set[i].fd, EPOLLIN);
    }
    expect_none(e);
    for (int i = 0; i < 3; i++) {
        int fd = bh_socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_eq(connect_start(fd, (uint16_t)(1000 + i * 1300)), 0);
    }
    int64_t wait_ns = INT64_MAX, poll_ns = INT64_MAX;
    for (int i = 0; i < 50; i++) {
        int64_t a = now_ns();
        ck_assert_int_eq(bh_epoll_wait(e, got, 8, 0), 3);
        int64_t b = now_ns();
        ck_assert_int_eq(bh_poll(set, MANY, 0), 3);
        int64_t c = now_ns();
        wait_ns = b - a < wait_ns ? b - a : wait_ns;
        poll_ns = c - b < poll_ns ? c - b : poll_ns;
    }
    ck_assert_msg(wait_ns * 10 < poll_ns, "a wait takes %ld ns, a look at all %ld ns", (long)wait_ns, (long)poll_ns);
}
END_TEST

/* ---- bh_poll() of a large set: looked at again when something is new ---- */
#define LARGE 60

struct large {
    struct pollfd set[LARGE];
    int result;
};

static void *poll_large(void *argument)
{
    struct large *l = argument;
    l->result = bh_poll(l->set, LARGE, LONG_MS);
    return NULL;
}

/* Two threads wait with the same set: one of them is the poller, the other is woken by it. */
static void poll_meets(const struct pollfd *set, const struct later *what, int fd, short events)
{
    struct large l[2];
    pthread_t thread[2], other;
    for (int i = 0; i < 2; i++) {
        memcpy(l[i].set, set, sizeof l[i].set);
        pthread_create(&thread[i], NULL, poll_large, &l[i]);
    }
    pthread_create(&other, NULL, do_later, (void *)(uintptr_t)what);
    pthread_join(other, NULL);
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_int_eq(l[i].result, 1);
        for (int j = 0; j < LARGE; j++)
            ck_assert_int_eq(l[i].set[j].revents, set[j].fd == fd ? events : 0);
    }
}

START_TEST(poll_of_a_large_set)
{
    struct pollfd set[LARGE];
    int fd[2];
    small_rings(64);
    for (int i = 0; i < LARGE; i++)
        set[i] = (struct pollfd){.fd = listener_at((uint16_t)(PORT + i)), .events = POLLIN};
    pair_of(set[0].fd, fd);
    set[5].fd = fd[1];
    struct later l = {.fd = fd[0], .microseconds = 20000, .what = SAY};
    poll_meets(set, &l, fd[1], POLLIN);
    hear(fd[1]);
    l.what = SHUT;
    l.fd = fd[1];
    poll_meets(set, &l, fd[1], POLLIN);
    set[5].fd = -1;
    l.what = CLOSE;
    l.fd = set[9].fd;
    poll_meets(set, &l, l.fd, POLLNVAL);
}
END_TEST

SUITE_RUN("client_epoll", setup, teardown, level, edge, oneshot_and_mod, room_to_send, own_calls, refused_and_reset,
          arguments, closed_descriptors_leave, turns, descriptors_of_the_kernel, wakes_who_waits, signal_ends_a_wait,
          times_out, threads_with_instances, threads_with_instances_edge, threads_with_one_instance, overtaken,
          cold_start, lying_writer, stack_gone, poll_of_a_large_set, cost_follows_the_ready)
