// SPDX-License-Identifier: BSD-2-Clause
/* The stack in a thread: who attaches, and the memory that comes with it. */
#include "tests/unit/fake_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/doorbell.h"
#include "ipc/segment.h"

void fake_must(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    abort();
}

/* ---- attach ---- */
static void answer_send(struct fake_stack *f, const struct attach_answer *a, const int *fd, int count)
{
    char control[256] = {0};
    struct iovec piece = {.iov_base = (void *)(uintptr_t)a, .iov_len = sizeof *a};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1};
    if (count > 0) {
        m.msg_control = control;
        m.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(c), fd, (size_t)count * sizeof(int));
    }
    fake_must(sendmsg(f->connection, &m, MSG_NOSIGNAL) == sizeof *a || errno == EPIPE,
              "answer"); /* EPIPE: it came too late */
}

static void hello(struct fake_stack *f, const int fd[2])
{
    void *control, *answer;
    int pipe_fd[2];
    fake_must(segment_check(fd[0], segment_round(sizeof(struct session_control))) == 0, "control segment");
    fake_must(segment_check(fd[1], segment_round(sizeof(struct session_answer))) == 0, "answer segment");
    fake_must(segment_map(fd[0], sizeof(struct session_control), false, &control) == 0, "map");
    fake_must(segment_map(fd[1], sizeof(struct session_answer), true, &answer) == 0, "map");
    fake_must(pipe2(pipe_fd, O_NONBLOCK | O_CLOEXEC) == 0, "pipe");
    f->control = control;
    f->answer = answer;
    f->to_session = (struct doorbell){.fd = pipe_fd[1], .sleep = &f->control->sleep};
    int give[1 + 2 * BELLS] = {pipe_fd[0]};
    for (int i = 0; i < BELLS; i++) {
        give[1 + 2 * i] = f->bell_write[i];
        give[2 + 2 * i] = f->status_fd;
    }
    struct attach_answer a = {.magic = SESSION_MAGIC, .operation = ATTACH_ANSWER, .session = 5};
    answer_send(f, &a, give, 1 + 2 * BELLS);
    close(pipe_fd[0]);
}

static void arena(struct fake_stack *f, const struct attach_request *q, const int fd[2])
{
    struct attach_answer a = {.magic = SESSION_MAGIC, .operation = ATTACH_ANSWER, .arena = f->arenas};
    struct fake_arena *r = &f->arena[f->arenas];
    void *app = NULL, *words = NULL;
    if (f->arenas == REFUSE_AFTER)
        a.error = ENOBUFS;
    if (f->refuse != 0 && q->slots > f->refuse_above)
        a.error = f->refuse;
    if (a.error != 0) {
        answer_send(f, &a, NULL, 0);
        return;
    }
    uint32_t send_most = q->send_most != 0 ? q->send_most : q->send_size;
    uint32_t receive_most = q->receive_most != 0 ? q->receive_most : q->receive_size;
    size_t send_octets = arena_send_octets(q->slots, send_most);
    size_t receive_octets = arena_receive_octets(q->slots, receive_most);
    fake_must(segment_check(fd[0], send_octets) == 0 && segment_check(fd[1], receive_octets) == 0, "arena segments");
    fake_must(segment_map(fd[0], send_octets, false, &app) == 0 &&
                  segment_map(fd[1], receive_octets, true, &words) == 0,
              "map");
    *r = (struct fake_arena){.transport = q->transport,
                             .slots = q->slots,
                             .send_size = q->send_size,
                             .receive_size = q->receive_size,
                             .send_most = send_most,
                             .receive_most = receive_most,
                             .app = app,
                             .words = words};
    __atomic_store_n(&r->words->free_slots, q->slots, __ATOMIC_RELEASE);
    f->arenas++;
    answer_send(f, &a, NULL, 0);
}

void fake_attach_message(struct fake_stack *f)
{
    struct attach_request q;
    char control[64];
    int fd[2] = {-1, -1};
    struct iovec piece = {.iov_base = &q, .iov_len = sizeof q};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(f->connection, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    fake_must(n == sizeof q && c != NULL && c->cmsg_len == CMSG_LEN(sizeof fd) && q.magic == SESSION_MAGIC, "request");
    memcpy(fd, CMSG_DATA(c), sizeof fd);
    if (q.operation == ATTACH_HELLO)
        hello(f, fd);
    else
        arena(f, &q, fd);
    close(fd[0]);
    close(fd[1]);
}
