// SPDX-License-Identifier: BSD-2-Clause
/* Where applications attach: RUNDIR/attach. One connection is one session for as long as it is open. Requests have one
 * size and exactly two descriptors; anything else closes the connection. The answer is sent after the domains have
 * their grants. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"

#define REQUEST_FDS 2
#define ANSWER_FDS  7
#define BACKLOG     64

int attach_listen(struct supervisor *s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/attach", s->options.run_dir);
    if (length < 0 || (size_t)length >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    for (uint32_t i = 0; i < CONNECTIONS_ATTACHED; i++)
        s->connection[i] = (struct connection){.fd = -1, .session = -1};
    s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listener < 0)
        return -errno;
    /* the run directory says who may reach it */
    if (bind(s->listener, (struct sockaddr *)&address, sizeof address) < 0 || chmod(address.sun_path, 0666) < 0 ||
        listen(s->listener, BACKLOG) < 0)
        return -errno;
    return loop_watch(s, s->listener, WATCH_LISTENER, 0);
}

/* A free place; the longest silent one is put out for it. Every session has a place, so some of them never are. */
static uint32_t place_find(struct supervisor *s)
{
    uint32_t oldest = CONNECTIONS_ATTACHED;
    for (uint32_t i = 0; i < CONNECTIONS_ATTACHED; i++) {
        const struct connection *c = &s->connection[i];
        if (c->fd < 0)
            return i;
        if (c->session < 0 && (oldest == CONNECTIONS_ATTACHED || c->since_us < s->connection[oldest].since_us))
            oldest = i;
    }
    s->refused_attaches++;
    attach_close(s, oldest);
    return oldest;
}

void attach_accept(struct supervisor *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
        loop_unwatch(s, s->listener); /* it would be ready all the time */
        s->listener_off = true;
    }
    if (fd < 0)
        return;
    uint32_t place = place_find(s);
    s->connection[place] = (struct connection){.fd = fd, .session = -1, .since_us = now_us()};
    if (loop_watch(s, fd, WATCH_CONNECTION, place) < 0)
        attach_close(s, place);
}

void attach_tick(struct supervisor *s)
{
    if (s->listener_off && !s->stopping)
        s->listener_off = loop_watch(s, s->listener, WATCH_LISTENER, 0) < 0;
}

void attach_close(struct supervisor *s, uint32_t place)
{
    struct connection *c = &s->connection[place];
    if (c->fd < 0)
        return;
    int32_t session = c->session;
    for (uint32_t i = 0; i < REQUEST_FDS && c->held; i++)
        close(c->hello_fd[i]);
    loop_unwatch(s, c->fd);
    close(c->fd);
    *c = (struct connection){.fd = -1, .session = -1};
    if (session >= 0)
        session_ended(s, (uint32_t)session);
}

static int answer_send(int socket, const struct attach_answer *answer, const int *fd, uint32_t count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * ANSWER_FDS)];
    } ancillary = {0};
    struct iovec part = {(void *)answer, sizeof *answer};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = ancillary.space;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), fd, sizeof(int) * count);
    }
    return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* The doorbells of the session and of those who serve it: all stay valid across restarts, and other partitions. */
static uint32_t hello_descriptors(struct supervisor *s, uint32_t session, int fd[ANSWER_FDS])
{
    static const enum server_id served_by[] = {SERVER_SOCKET, SERVER_TCP, SERVER_UDP};
    uint32_t count = 0;
    uint32_t holder = HOLDER_SESSION(session);
    bool may = rights_have(s, s->session[session].bell_node, holder, CAPABILITY_RECEIVE) != NULL;
    fd[count++] = may ? pipe_reopen(s->session[session].bell_read, false) : -EACCES;
    for (unsigned i = 0; i < sizeof served_by / sizeof served_by[0]; i++) {
        const struct slot *slot = &s->slot[served_by[i]];
        may = rights_have(s, slot->bell_node, holder, CAPABILITY_SEND) != NULL &&
              rights_have(s, slot->status_node, holder, CAPABILITY_READ) != NULL;
        fd[count++] = may ? pipe_reopen(slot->bell_write, true) : -EACCES;
        fd[count++] = may ? segment_read_only(slot->status_fd) : -EACCES;
    }
    return count;
}

static struct attach_answer answer_new(void)
{
    return (struct attach_answer){.magic = SESSION_MAGIC, .operation = ATTACH_ANSWER};
}

static void answer_hello(struct supervisor *s, const struct connection *c, struct attach_answer *answer)
{
    answer->address_count = s->options.address_count;
    memcpy(answer->address, s->options.address, sizeof answer->address);
    int grants[ANSWER_FDS];
    uint32_t count = hello_descriptors(s, answer->session, grants);
    bool complete = true;
    for (uint32_t i = 0; i < count; i++)
        complete = complete && grants[i] >= 0;
    if (!complete || answer_send(c->fd, answer, grants, count) < 0)
        shutdown(c->fd, SHUT_RDWR); /* end of file follows, and with it the session's end */
    for (uint32_t i = 0; i < count; i++) {
        if (grants[i] >= 0)
            close(grants[i]);
    }
}

void attach_answer(struct supervisor *s, uint32_t session, bool hello)
{
    uint32_t place = 0;
    while (place < CONNECTIONS_ATTACHED &&
           (s->connection[place].fd < 0 || s->connection[place].session != (int32_t)session))
        place++;
    if (place == CONNECTIONS_ATTACHED)
        return; /* it has gone in the meantime */
    const struct connection *c = &s->connection[place];
    struct attach_answer answer = answer_new();
    answer.session = session;
    if (hello) {
        answer_hello(s, c, &answer);
        return;
    }
    answer.arena = s->session[session].arenas - 1;
    if (answer_send(c->fd, &answer, NULL, 0) < 0)
        shutdown(c->fd, SHUT_RDWR);
}

static bool refuse(struct supervisor *s, const struct connection *c, int error)
{
    struct attach_answer answer = answer_new();
    answer.error = error;
    s->refused_attaches++;
    return answer_send(c->fd, &answer, NULL, 0) == 0;
}

static bool hold(struct connection *c, const int fd[REQUEST_FDS])
{
    c->hello_fd[0] = fcntl(fd[0], F_DUPFD_CLOEXEC, 0);
    c->hello_fd[1] = fcntl(fd[1], F_DUPFD_CLOEXEC, 0);
    c->held = c->hello_fd[0] >= 0 && c->hello_fd[1] >= 0;
    for (uint32_t i = 0; i < REQUEST_FDS && !c->held; i++) {
        if (c->hello_fd[i] >= 0)
            close(c->hello_fd[i]);
    }
    return c->held;
}

static bool hello(struct supervisor *s, struct connection *c, const int fd[REQUEST_FDS])
{
    struct ucred who;
    socklen_t size = sizeof who;
    uint32_t id = 0;
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
        return refuse(s, c, errno);
    int error = session_new(s, fd, &who, &id);
    bool full = error == EDQUOT || error == ENOSPC;
    if (full && session_make_room(s, who.uid, error) && hold(c, fd))
        return true;
    if (error != 0)
        return refuse(s, c, error);
    c->session = (int32_t)id;
    session_fence(s, id);
    return true;
}

/* One that finds no place again waits again, or is refused. */
void attach_waiting(struct supervisor *s)
{
    s->place_freed = false;
    for (uint32_t place = 0; place < CONNECTIONS_ATTACHED; place++) {
        struct connection *c = &s->connection[place];
        if (!c->held)
            continue;
        const int fd[REQUEST_FDS] = {c->hello_fd[0], c->hello_fd[1]};
        c->held = false;
        bool sense = hello(s, c, fd);
        close(fd[0]);
        close(fd[1]);
        if (!sense)
            attach_close(s, place);
    }
}

/* Untrusted: request, fd. False: nonsense. */
static bool serve(struct supervisor *s, struct connection *c, const struct attach_request *request,
                  const int fd[REQUEST_FDS])
{
    bool of_hello = request->operation == ATTACH_HELLO; /* which has no rings */
    if (request->magic != SESSION_MAGIC || (of_hello && (request->send_most != 0 || request->receive_most != 0)))
        return false;
    if (request->operation == ATTACH_HELLO && c->session < 0 && !c->held)
        return hello(s, c, fd);
    if (request->operation != ATTACH_ARENA || c->session < 0)
        return false;
    int error = session_add_arena(s, (uint32_t)c->session, request, fd);
    return error == 0 || refuse(s, c, error);
}

static uint32_t descriptors_take(struct msghdr *message, int fd[REQUEST_FDS])
{
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return 0;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); /* at most REQUEST_FDS: the room was no larger */
    memcpy(fd, CMSG_DATA(header), count * sizeof(int));
    return (uint32_t)count;
}

/* Untrusted: all of it (application). */
void attach_receive(struct supervisor *s, uint32_t place)
{
    struct connection *c = &s->connection[place];
    union {
        struct cmsghdr header;
        char space[CMSG_LEN(sizeof(int) * REQUEST_FDS)];
    } ancillary;
    struct attach_request request;
    struct iovec part = {&request, sizeof request};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.space, .msg_controllen = sizeof ancillary.space};
    int fd[REQUEST_FDS];
    ssize_t n = recvmsg(c->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    uint32_t count = n >= 0 ? descriptors_take(&message, fd) : 0;
    bool whole =
        n == (ssize_t)sizeof request && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 && count == REQUEST_FDS;
    bool sense = whole && serve(s, c, &request, fd);
    for (uint32_t i = 0; i < count; i++)
        close(fd[i]);
    if (sense)
        return;
    if (n > 0)
        s->refused_attaches++;
    attach_close(s, place);
}
