// SPDX-License-Identifier: BSD-2-Clause
/* Making the session: the segments, the hello, the bells; and the end of it in a forked child. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "servers/client/bulkhead.h"
#include "servers/client/session.h"

#define ATTACH_TIMEOUT_S  5
#define HELLO_DESCRIPTORS (1 + 2 * TO_SERVERS)

static struct session *current; /* the one session of this process; atomic */
static pthread_mutex_t current_lock = PTHREAD_MUTEX_INITIALIZER;
static bool fork_handled;

/* The connection and the bells are the parent's: kept open here they would hide its death. Its memory is not mapped in
 * the child at all. Only calls that are safe between fork and exec. */
static void session_forked(void)
{
    struct session *s = current;
    current = NULL;
    pthread_mutex_init(&current_lock, NULL);
    if (s == NULL)
        return;
    close(s->attach_fd);
    close(s->doorbell_fd);
    close(s->wake_fd);
    for (int i = 0; i < TO_SERVERS; i++)
        close(s->bell[i].bell.fd);
    for (uint32_t i = 0; i < s->spare_wakes; i++)
        close(s->spare_wake[i]);
    epoll_forked(s);
}

static int attach_path(const char *run_dir, struct sockaddr_un *ret)
{
    const char *base = run_dir != NULL ? run_dir : getenv("BULKHEAD_RUN_DIR");
    const char *rest = "/attach";
    if (base == NULL) {
        base = getenv("XDG_RUNTIME_DIR");
        rest = "/bulkhead/attach";
    }
    if (base == NULL)
        base = "/run";
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(ret->sun_path, sizeof ret->sun_path, "%s%s", base, rest);
    return n < 0 || (size_t)n >= sizeof ret->sun_path ? -ENAMETOOLONG : 0;
}

static int attach_connect(const char *run_dir)
{
    struct sockaddr_un path;
    int error = attach_path(run_dir, &path);
    if (error != 0)
        return error;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct timeval limit = {.tv_sec = ATTACH_TIMEOUT_S};
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
        connect(fd, (const struct sockaddr *)&path, sizeof path) < 0) {
        error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

static int exchange_send(int fd, const struct attach_request *request, const int passed[2])
{
    union {
        struct cmsghdr head;
        char octets[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    struct iovec piece = {.iov_base = (void *)(uintptr_t)request, .iov_len = sizeof *request};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(2 * sizeof(int))};
    memcpy(CMSG_DATA(c), passed, 2 * sizeof(int));
    ssize_t n;
    do
        n = sendmsg(fd, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? (errno == EPIPE || errno == ECONNRESET ? -ENETDOWN : -errno) : 0;
}

/* Takes the answer and its descriptors, at most `limit`. Their number, or a negative errno with none open. */
static int exchange_receive(int fd, struct attach_answer *ret, int *ret_fd, int limit)
{
    union {
        struct cmsghdr head;
        char octets[CMSG_SPACE(HELLO_DESCRIPTORS * sizeof(int))];
    } control;
    struct attach_answer a = {0};
    struct iovec piece = {.iov_base = &a, .iov_len = sizeof a};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;
    do
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    int count = 0;
    bool good = n == sizeof a && (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 && a.magic == SESSION_MAGIC &&
                a.operation == ATTACH_ANSWER;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t got = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < got; i++) {
            int one;
            memcpy(&one, CMSG_DATA(c) + i * sizeof one, sizeof one);
            if (good && count < limit)
                ret_fd[count++] = one;
            else
                close(one);
        }
    }
    if (!good)
        return n == 0 ? -ENETDOWN : -EPROTO;
    *ret = a;
    return count;
}

static void close_all(const int *fd, int count)
{
    for (int i = 0; i < count; i++)
        close(fd[i]);
}

int session_exchange(struct session *s, const struct attach_request *request, const int fd[2],
                     struct attach_answer *ret)
{
    int none[1];
    int error = exchange_send(s->attach_fd, request, fd);
    if (error != 0 && error != -ENETDOWN)
        return error; /* it did not go: the two sides agree still */
    if (error == 0 && exchange_receive(s->attach_fd, ret, none, 0) == 0 && ret->error >= 0 && ret->error < 4096)
        return -ret->error;
    session_set_gone(s);
    shutdown(s->attach_fd, SHUT_RDWR); /* the supervisor takes everything back */
    session_wake(s);
    return -ENETDOWN;
}

static int never_block(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || ((flags & O_NONBLOCK) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
        return -errno;
    return 0;
}

/* The descriptors of the hello's answer: the doorbell, then bell and status page of each server. Owns all of fd
 * afterwards, also on failure. */
static int session_take_bells(struct session *s, const int fd[HELLO_DESCRIPTORS])
{
    int error = never_block(fd[0]);
    s->doorbell_fd = fd[0];
    for (int i = 0; i < TO_SERVERS; i++) {
        void *page = NULL;
        if (error == 0)
            error = never_block(fd[1 + 2 * i]);
        if (error == 0)
            error = segment_map(fd[2 + 2 * i], sizeof(struct status_page), false, &page);
        close(fd[2 + 2 * i]);
        const struct status_page *status = page;
        s->bell[i].bell = (struct doorbell){.fd = fd[1 + 2 * i], .sleep = status == NULL ? NULL : &status->sleep};
        pthread_mutex_init(&s->bell[i].lock, NULL);
    }
    return error;
}

static int session_hello(struct session *s, const int segment[2])
{
    struct attach_request hello = {.magic = SESSION_MAGIC, .operation = ATTACH_HELLO};
    struct attach_answer a;
    int fd[HELLO_DESCRIPTORS];
    int error = exchange_send(s->attach_fd, &hello, segment);
    if (error != 0)
        return error;
    int count = exchange_receive(s->attach_fd, &a, fd, HELLO_DESCRIPTORS);
    if (count < 0)
        return count;
    if (a.error != 0 || count != HELLO_DESCRIPTORS) {
        close_all(fd, count);
        return a.error > 0 && a.error < 4096 ? -a.error : -EPROTO;
    }
    s->id = a.session;
    uint32_t most = sizeof s->address / sizeof s->address[0];
    s->address_count = a.address_count < most ? a.address_count : most;
    memcpy(s->address, a.address, sizeof s->address);
    return session_take_bells(s, fd);
}

/* A segment of ours, its pages allocated. The descriptor is the caller's to close. */
static int segment_own(const char *name, size_t size, bool writable, void **ret)
{
    int fd = segment_create(name, size);
    if (fd < 0)
        return fd;
    int error = posix_fallocate(fd, 0, (off_t)segment_round(size));
    error = error != 0 ? -error : segment_map(fd, segment_round(size), writable, ret);
    if (error != 0) {
        close(fd);
        return error;
    }
    madvise(*ret, segment_round(size), MADV_DONTFORK);
    return fd;
}

static int session_segments(struct session *s)
{
    void *control = NULL, *answer = NULL;
    int fd[2];
    fd[0] = segment_own("bh-control", sizeof(struct session_control), true, &control);
    if (fd[0] < 0)
        return fd[0];
    fd[1] = segment_own("bh-answer", sizeof(struct session_answer), false, &answer);
    int error = fd[1] < 0 ? fd[1] : 0;
    if (error == 0) {
        s->control = control;
        s->answer = answer;
        error = session_hello(s, fd);
        close(fd[1]);
    }
    close(fd[0]);
    if (error != 0) {
        segment_unmap(control, segment_round(sizeof(struct session_control)));
        segment_unmap(answer, segment_round(sizeof(struct session_answer)));
    }
    return error;
}

static struct session *session_new(int attach_fd)
{
    size_t table = SESSION_DESCRIPTORS * sizeof(struct socket);
    struct session *s = calloc(1, sizeof *s);
    void *sockets = mmap(NULL, table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s == NULL || sockets == MAP_FAILED) {
        free(s);
        if (sockets != MAP_FAILED)
            munmap(sockets, table);
        return NULL;
    }
    s->attach_fd = attach_fd;
    s->doorbell_fd = -1;
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->socket = sockets;
    for (int i = 0; i < TO_SERVERS; i++)
        s->bell[i].bell.fd = -1;
    pthread_mutex_init(&s->attach_lock, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->epolls.lock, NULL);
    pthread_cond_init(&s->lane_free, NULL);
    for (uint32_t i = 0; i < SESSION_DESCRIPTORS; i++)
        s->free_descriptor[i] = (uint16_t)(SESSION_DESCRIPTORS - 1 - i);
    s->free_descriptors = SESSION_DESCRIPTORS;
    return s;
}

static void session_free(struct session *s)
{
    close(s->attach_fd);
    if (s->doorbell_fd >= 0)
        close(s->doorbell_fd);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    for (int i = 0; i < TO_SERVERS; i++) {
        if (s->bell[i].bell.fd >= 0)
            close(s->bell[i].bell.fd);
        if (s->bell[i].bell.sleep != NULL)
            segment_unmap((void *)(uintptr_t)s->bell[i].bell.sleep, sizeof(struct status_page));
    }
    munmap(s->socket, SESSION_DESCRIPTORS * sizeof(struct socket));
    free(s);
}

static int session_make(const char *run_dir)
{
    if (!fork_handled && pthread_atfork(NULL, NULL, session_forked) != 0)
        return -ENOMEM;
    fork_handled = true;
    int fd = attach_connect(run_dir);
    if (fd < 0)
        return fd;
    struct session *s = session_new(fd);
    if (s == NULL) {
        close(fd);
        return -ENOMEM;
    }
    int error = s->wake_fd < 0 ? -EMFILE : session_segments(s);
    if (error != 0) {
        session_free(s);
        return error;
    }
    __atomic_store_n(&current, s, __ATOMIC_RELEASE);
    return 0;
}

int session_attach(const char *run_dir)
{
    pthread_mutex_lock(&current_lock);
    int error = current != NULL ? 0 : session_make(run_dir);
    pthread_mutex_unlock(&current_lock);
    return error;
}

struct session *session_current(void)
{
    return __atomic_load_n(&current, __ATOMIC_ACQUIRE);
}

int session_get(struct session **ret)
{
    struct session *s = session_current();
    if (s == NULL) {
        int error = session_attach(NULL);
        if (error != 0)
            return error;
        s = session_current();
    }
    *ret = s;
    return 0;
}

int bh_attach(const char *run_dir)
{
    return (int)bh_result(session_attach(run_dir));
}
