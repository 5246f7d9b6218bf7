// SPDX-License-Identifier: BSD-2-Clause
/* Requests that come twice, because an answer was lost: done is done, and refused stays refused. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "tests/unit/supervisor_harness.h"

static int manage; /* the manage server's end */

static void begin(void)
{
    int pair[2];
    setup();
    start_all();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    s->manage_link = pair[0];
    manage = pair[1];
}

static void ask_for(Bulkhead__Manage__Request *request)
{
    uint8_t octets[512];
    size_t size = bulkhead__manage__request__pack(request, octets);
    ck_assert_int_eq(send(manage, octets, size, 0), (ssize_t)size);
    manage_receive(s);
}

/* The error of the reply with this id, which is the next or comes after events; "none": there is no reply. */
static const char *reply_to(uint64_t id)
{
    static char error[EVENT_TEXT];
    uint8_t octets[4096];
    strcpy(error, "none");
    for (ssize_t n; (n = recv(manage, octets, sizeof octets, 0)) > 0;) {
        Bulkhead__Manage__ToManage *m = bulkhead__manage__to_manage__unpack(NULL, (size_t)n, octets);
        ck_assert_ptr_nonnull(m);
        if (m->reply != NULL && m->reply->id == id)
            strcpy(error, m->reply->error);
        bulkhead__manage__to_manage__free_unpacked(m, NULL);
    }
    return error;
}

static void kill_asked(uint64_t id, uint32_t signo)
{
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    Bulkhead__Manage__Kill what = BULKHEAD__MANAGE__KILL__INIT;
    what.server = (char *)(uintptr_t) "tcp";
    what.signal = signo;
    request.id = id;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_KILL;
    request.kill = &what;
    ask_for(&request);
}

START_TEST(refused_stays_refused)
{
    struct domain *d = &s->domain[SERVER_TCP];
    d->process.pidfd = -1;
    kill_asked(7, SIGKILL);
    ck_assert_str_ne(reply_to(7), "none");
    pid_t pid = victim(d);
    kill_asked(7, SIGKILL);
    ck_assert_ptr_nonnull(strstr(reply_to(7), "try again"));
    ck_assert_int_eq(d->fault, FAULT_NONE);
    kill_asked(8, SIGKILL);
    ck_assert_str_eq(reply_to(8), "");
    ck_assert_int_eq(d->fault, FAULT_KILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    d->process.pidfd = -1;
    kill_asked(8, SIGKILL); /* it is dead now, but that is what was asked for */
    ck_assert_str_eq(reply_to(8), "");
}
END_TEST

/* The refusal of one that is answered later. */
START_TEST(failed_stays_failed)
{
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    Bulkhead__Manage__Restart what = BULKHEAD__MANAGE__RESTART__INIT;
    struct domain *d = &s->domain[SERVER_TCP];
    pid_t pid = victim(d);
    what.server = (char *)(uintptr_t) "tcp";
    request.id = 9;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_RESTART;
    request.restart = &what;
    ask_for(&request);
    ask_for(&request); /* it is under way */
    ck_assert_str_eq(reply_to(9), "none");
    change_deadlines(s, now_us() + 60000000);
    ck_assert_ptr_nonnull(strstr(reply_to(9), "does not run"));
    ask_for(&request);
    ck_assert_ptr_nonnull(strstr(reply_to(9), "does not run"));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

/* Two of an id that says nothing are two. */
START_TEST(no_id_is_never_the_same)
{
    struct domain *d = &s->domain[SERVER_TCP];
    d->process.pidfd = -1;
    kill_asked(0, SIGKILL);
    ck_assert_str_ne(reply_to(0), "");
    pid_t pid = victim(d);
    kill_asked(0, SIGKILL);
    ck_assert_str_eq(reply_to(0), "");
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

SUITE_RUN("supervisor_manage", begin, teardown, refused_stays_refused, failed_stays_failed, no_id_is_never_the_same)
