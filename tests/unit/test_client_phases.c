// SPDX-License-Identifier: BSD-2-Clause
/* Every call in every phase of a stream: a table of what Linux 6.18 says on its own loopback, asked there once by the
 * same calls on non-blocking sockets, against a stack in a thread. What differs is marked. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>

#include "servers/client/bulkhead.h"
#include "tests/unit/fake_stack.h"
#include "tests/unit/suite.h"

#define PORT   80
#define NOBODY 81
#define FRESH  4000 /* and those after it */

static struct fake_stack *fake;
static int lfd;
static uint16_t fresh;

static struct sockaddr_in at(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int bind_at(int fd, uint16_t port)
{
    struct sockaddr_in a = at(port);
    return bh_bind(fd, (struct sockaddr *)&a, sizeof a);
}

static int connect_at(int fd, uint16_t port)
{
    struct sockaddr_in a = at(port);
    return bh_connect(fd, (struct sockaddr *)&a, sizeof a);
}

static void setup(void)
{
    fake = fake_stack_start();
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_SEND_SIZE, 4096), 0);
    ck_assert_int_eq(bh_set_option(BH_OPTION_TCP_RECEIVE_SIZE, 4096), 0);
    fresh = FRESH;
    lfd = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind_at(lfd, PORT), 0);
    ck_assert_int_eq(bh_listen(lfd, 4), 0);
}

static void teardown(void)
{
    fake_stack_stop(fake);
}

/* ---- the calls ---- */
static int do_recv(int fd)
{
    char got;
    return (int)bh_recv(fd, &got, 1, 0);
}

static int do_send(int fd)
{
    return (int)bh_send(fd, "x", 1, 0);
}

static int do_shutdown(int fd)
{
    return bh_shutdown(fd, SHUT_RDWR);
}

static int do_accept(int fd)
{
    return bh_accept(fd, NULL, NULL);
}

static int do_listen(int fd)
{
    return bh_listen(fd, 1);
}

static int do_bind(int fd)
{
    return bind_at(fd, fresh++);
}

static int do_connect(int fd)
{
    return connect_at(fd, PORT);
}

static int do_getpeername(int fd)
{
    struct sockaddr_in a;
    socklen_t length = sizeof a;
    return bh_getpeername(fd, (struct sockaddr *)&a, &length);
}

static int do_set(int fd)
{
    int on = 1;
    return bh_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

static int do_queued(int fd)
{
    int n;
    return bh_ioctl(fd, FIONREAD, &n);
}

static const struct {
    const char *name;
    int (*call)(int fd);
} calls[] = {
    {"recv", do_recv},     {"send", do_send},     {"shutdown", do_shutdown}, {"accept", do_accept},
    {"listen", do_listen}, {"bind", do_bind},     {"connect", do_connect},   {"getpeername", do_getpeername},
    {"set", do_set},       {"queued", do_queued},
};
#define CALLS (sizeof calls / sizeof calls[0])

/* ---- the phases ---- */
static int stream(void)
{
    int fd = bh_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ck_assert_int_ge(fd, BH_DESCRIPTOR_BASE);
    return fd;
}

static int bound(void)
{
    int fd = stream();
    ck_assert_int_eq(bind_at(fd, fresh++), 0);
    return fd;
}

static int listening(void)
{
    int fd = bound();
    ck_assert_int_eq(bh_listen(fd, 1), 0);
    return fd;
}

static int pending(void)
{
    int fd = stream();
    fake_stack_pend(fake, true);
    ck_assert_int_eq(connect_at(fd, PORT), -1);
    ck_assert_int_eq(errno, EINPROGRESS);
    fake_stack_pend(fake, false);
    return fd;
}

static int connected(void)
{
    int fd = stream();
    ck_assert(connect_at(fd, PORT) == 0 || errno == EINPROGRESS);
    int peer = bh_accept(lfd, NULL, NULL);
    ck_assert_int_ge(peer, 0);
    ck_assert_int_eq(do_getpeername(fd), 0);
    return fd; /* the peer stays open */
}

static int half_closed(void)
{
    int fd = connected();
    ck_assert_int_eq(bh_shutdown(fd, SHUT_WR), 0);
    return fd;
}

static int refused(void)
{
    int fd = stream();
    while (connect_at(fd, NOBODY) != -1 || errno != ECONNREFUSED)
        ck_assert(errno == EINPROGRESS || errno == EALREADY);
    return fd;
}

static int reset(void)
{
    int fd = connected();
    fake_stack_reset_all(fake);
    return fd;
}

static int reset_told(void)
{
    int fd = reset();
    ck_assert_int_eq(do_recv(fd), -1);
    ck_assert_int_eq(errno, ECONNRESET);
    return fd;
}

#define WAITS EINPROGRESS /* or done at once */
static const struct {
    const char *name;
    int (*make)(void);
    int error[CALLS];
} phases[] = {
    /* recv, send, shutdown, accept, listen, bind, connect, getpeername, set, queued */
    {"new", stream, {ENOTCONN, EPIPE, ENOTCONN, EINVAL, 0, 0, WAITS, ENOTCONN, 0, 0}},
    {"bound", bound, {ENOTCONN, EPIPE, ENOTCONN, EINVAL, 0, EINVAL, WAITS, ENOTCONN, 0, 0}},
    {"listening", listening, {ENOTCONN, EPIPE, 0, EAGAIN, 0, EINVAL, EISCONN, ENOTCONN, 0, EINVAL}},
    /* Deviates: Linux gives the attempt up at shutdown(), and says 0; POSIX has ENOTCONN. */
    {"pending", pending, {EAGAIN, EAGAIN, ENOTCONN, EINVAL, EINVAL, EINVAL, EALREADY, ENOTCONN, 0, 0}},
    {"connected", connected, {EAGAIN, 0, 0, EINVAL, EINVAL, EINVAL, EISCONN, 0, 0, 0}},
    {"half closed", half_closed, {EAGAIN, EPIPE, 0, EINVAL, EINVAL, EINVAL, EISCONN, 0, 0, 0}},
    {"refused", refused, {ENOTCONN, EPIPE, ENOTCONN, EINVAL, 0, 0, WAITS, ENOTCONN, 0, 0}},
    {"reset", reset, {ECONNRESET, ECONNRESET, ENOTCONN, EINVAL, EINVAL, EINVAL, EISCONN, ENOTCONN, 0, 0}},
    {"reset, told", reset_told, {0, EPIPE, ENOTCONN, EINVAL, EINVAL, EINVAL, EISCONN, ENOTCONN, 0, 0}},
};

START_TEST(table)
{
    for (size_t c = 0; c < CALLS; c++) {
        int fd = phases[_i].make();
        errno = 0;
        int result = calls[c].call(fd), error = result < 0 ? errno : 0, expected = phases[_i].error[c];
        bool good = error == expected || (expected == WAITS && error == 0);
        ck_assert_msg(good, "%s: %s: %s", phases[_i].name, calls[c].name, strerror(error));
        ck_assert_int_eq(bh_close(fd), 0);
    }
}
END_TEST

/* What becomes of an attempt is told once, by whoever asks first; then another one may be made. */
START_TEST(an_outcome_is_told_once)
{
    int fd = stream(), error = -1;
    socklen_t length = sizeof error;
    ck_assert_int_eq(connect_at(fd, NOBODY), -1);
    ck_assert(errno == EINPROGRESS || errno == ECONNREFUSED);
    if (errno == EINPROGRESS) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        ck_assert_int_eq(bh_poll(&p, 1, 5000), 1);
        ck_assert_int_eq(bh_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
        ck_assert_int_eq(error, ECONNREFUSED);
    }
    ck_assert_int_eq(bh_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
    ck_assert_int_eq(error, 0);
    fake_stack_pend(fake, true);
    ck_assert_int_eq(connect_at(fd, PORT), -1);
    ck_assert_int_eq(errno, EINPROGRESS);
    ck_assert_int_eq(connect_at(fd, PORT), -1);
    ck_assert_int_eq(errno, EALREADY);
    fake_stack_pend(fake, false);
    int other = stream();
    if (connect_at(other, PORT) != 0) { /* the first to hear of success says so, then it is connected */
        ck_assert_int_eq(errno, EINPROGRESS);
        struct pollfd p = {.fd = other, .events = POLLOUT};
        ck_assert_int_eq(bh_poll(&p, 1, 5000), 1);
        ck_assert_int_eq(connect_at(other, PORT), 0);
    }
    ck_assert_int_eq(connect_at(other, PORT), -1);
    ck_assert_int_eq(errno, EISCONN);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_phases");
    TCase *tc = tcase_create("client_phases");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, table, 0, sizeof phases / sizeof phases[0]);
    tcase_add_test(tc, an_outcome_is_told_once);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
