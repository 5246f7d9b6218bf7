// SPDX-License-Identifier: BSD-2-Clause
/* The wire to another stack on this machine (netdrv/wire.c), the part before the frames: the first supervisor to come
 * makes PATH (a unix socket, mode 0600), the second connects, each says hello with two descriptors: its half of the
 * link, read-only, and the write end of its doorbell. Both halves are new with each link; the doorbell and what is
 * granted of it persist. So every page has one writer, the nic of its stack, and nothing of a dead stack is read again.
 * nic gets descriptors and never speaks on PATH.
 *
 * The connection then carries nothing; its end is the end of the other stack. Who lives offers the link again: it
 * listens, or connects to who listens already. What cannot be done at once is tried again at every tick.
 *
 * Trusted: the other supervisor's uid, which is ours by the kernel's word; all that it says is checked all the same.
 * What two supervisors do to the name PATH at one time is ordered by a lock on the folder that it is in. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"

#define HELLO_MAGIC 0x42485731U /* "BHW1" */
#define HELLO_FDS   2
#define HELLO_US    1000000 /* from connection to hello */
#define ANSWER_MS   500     /* how long a start waits to hear that the wire has two ends already */
#define BACKLOG     4
#define SOCKET_MODE 0600

struct hello {
    uint32_t magic;
    uint32_t half_octets; /* both count in the same frames, or there is no link */
    uint32_t slots, frame_octets;
};
static const struct hello hello_text = {
    .magic = HELLO_MAGIC,
    .half_octets = sizeof(struct frame_half),
    .slots = FRAME_RING_SLOTS,
    .frame_octets = FRAME_OCTETS_MAX,
};

static void descriptor_drop(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The other side has closed; a reset is an end too (it had not read what we said). */
static bool has_ended(int socket)
{
    char octet;
    ssize_t n = recv(socket, &octet, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static int address_of(const struct supervisor *s, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    return snprintf(ret->sun_path, sizeof ret->sun_path, "%s", s->options.wire_path) >= (int)sizeof ret->sun_path
               ? -ENAMETOOLONG
               : 0;
}

/* ---- the link comes and goes ---- */

static void link_tell(struct supervisor *s)
{
    struct domain *d = s->server[SERVER_NIC].domain;
    if (d != NULL && domain_lives(d))
        grant_device(s, d, true);
}

static void link_down(struct supervisor *s)
{
    struct wire_link *w = &s->wire;
    bool was_up = w->peer >= 0;
    if (w->socket >= 0)
        loop_unwatch(s, w->socket);
    descriptor_drop(&w->socket);
    descriptor_drop(&w->mine);
    descriptor_drop(&w->peer);
    descriptor_drop(&w->peer_bell);
    if (was_up)
        link_tell(s);
}

static int hello_send(int socket, int half, int bell)
{
    int fd[HELLO_FDS] = {segment_read_only(half), pipe_reopen(bell, true)};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof fd)];
    } ancillary = {0};
    struct iovec part = {(void *)(uintptr_t)&hello_text, sizeof hello_text};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.space, .msg_controllen = sizeof ancillary.space};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), fd, sizeof fd);
    int result = fd[0] < 0 ? fd[0] : fd[1] < 0 ? fd[1] : 0;
    if (result == 0 && sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        result = -errno;
    descriptor_drop(&fd[0]);
    descriptor_drop(&fd[1]);
    return result;
}

/* A connection, ours afterwards, becomes the link's; nothing is up before the other side's hello. */
static int link_begin(struct supervisor *s, int socket)
{
    struct wire_link *w = &s->wire;
    struct ucred who;
    socklen_t size = sizeof who;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.uid != geteuid()) {
        close(socket);
        return -EACCES;
    }
    w->socket = socket;
    w->since_us = now_us();
    w->mine = segment_create("wire", sizeof(struct frame_half));
    int result = w->mine < 0 ? w->mine : hello_send(socket, w->mine, w->bell_write);
    if (result == 0)
        result = loop_watch(s, socket, WATCH_WIRE, 0);
    if (result < 0)
        link_down(s);
    return result;
}

/* Untrusted: fd (the other supervisor). A half that it cannot resize and that we can only read; a doorbell that is a
 * pipe, of which we make an open file of our own. */
static bool hello_take(struct supervisor *s, const int fd[HELLO_FDS])
{
    struct wire_link *w = &s->wire;
    struct stat st;
    if (segment_check(fd[0], segment_round(sizeof(struct frame_half))) < 0 ||
        (fcntl(fd[0], F_GETFL) & O_ACCMODE) != O_RDONLY || fstat(fd[1], &st) < 0 || !S_ISFIFO(st.st_mode))
        return false;
    w->peer = fcntl(fd[0], F_DUPFD_CLOEXEC, 0);
    w->peer_bell = pipe_reopen(fd[1], true);
    return w->peer >= 0 && w->peer_bell >= 0;
}

/* Untrusted: all of it (the other supervisor). 1: a hello; 0: nothing yet; -1: the end, or nonsense. */
static int hello_receive(struct supervisor *s, int socket)
{
    union {
        struct cmsghdr header;
        char space[CMSG_LEN(sizeof(int) * HELLO_FDS)];
    } ancillary;
    struct hello hello;
    struct iovec part = {&hello, sizeof hello};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.space, .msg_controllen = sizeof ancillary.space};
    int fd[HELLO_FDS];
    ssize_t n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    size_t count = 0;
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); /* at most HELLO_FDS: the room was no larger */
        memcpy(fd, CMSG_DATA(header), count * sizeof(int));
    }
    bool sense = n == (ssize_t)sizeof hello && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 &&
                 count == HELLO_FDS && memcmp(&hello, &hello_text, sizeof hello) == 0 && s->wire.peer < 0 &&
                 hello_take(s, fd);
    for (size_t i = 0; i < count; i++)
        close(fd[i]);
    return sense ? 1 : -1;
}

/* ---- the name ---- */

static int listen_at(struct supervisor *s, const struct sockaddr_un *address)
{
    struct wire_link *w = &s->wire;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    mode_t mask = umask(0777 & ~SOCKET_MODE);
    int result = bind(fd, (const struct sockaddr *)address, sizeof *address) < 0 ? -errno : 0;
    umask(mask);
    if (result == 0 && listen(fd, BACKLOG) < 0)
        result = -errno;
    if (result == 0)
        result = loop_watch(s, fd, WATCH_WIRE_LISTENER, 0);
    if (result < 0) {
        close(fd);
        return result;
    }
    w->listener = fd;
    return 0;
}

/* A socket of ours that nobody listens on is a dead stack's. */
static bool name_clear(const struct sockaddr_un *address)
{
    struct stat st;
    return lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_uid == geteuid() &&
           unlink(address->sun_path) == 0;
}

/* With the lock held. */
static int connect_or_listen(struct supervisor *s, const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0) {
        int result = link_begin(s, fd);
        return result == -EPIPE || result == -ECONNRESET ? -EBUSY : result; /* closed before it was read */
    }
    int error = errno;
    close(fd);
    if (error == ENOENT)
        return listen_at(s, address);
    if (error == ECONNREFUSED)
        return name_clear(address) ? listen_at(s, address) : -ENOTSOCK;
    return -error;
}

/* 0, also with a partner still to come; or a negative errno: -EAGAIN: not now. */
static int wire_try(struct supervisor *s)
{
    struct sockaddr_un address;
    char folder[sizeof address.sun_path];
    int result = address_of(s, &address);
    if (result < 0)
        return result;
    memcpy(folder, address.sun_path, sizeof folder);
    int lock = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0)
        return -errno;
    result = flock(lock, LOCK_EX | LOCK_NB) < 0 ? -EAGAIN : connect_or_listen(s, &address);
    close(lock);
    return result;
}

/* ---- events ---- */

void wire_accept(struct supervisor *s)
{
    struct wire_link *w = &s->wire;
    int fd = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (w->socket >= 0 && has_ended(w->socket))
        link_down(s); /* its end was not looked at yet */
    if (w->socket >= 0) {
        close(fd); /* a wire has two ends */
        return;
    }
    (void)link_begin(s, fd); /* a failure is this connection's end */
}

void wire_receive(struct supervisor *s)
{
    struct wire_link *w = &s->wire;
    int result = w->socket >= 0 ? hello_receive(s, w->socket) : 0;
    if (result > 0)
        link_tell(s);
    if (result >= 0)
        return;
    link_down(s);
    wire_tick(s);
}

void wire_tick(struct supervisor *s)
{
    struct wire_link *w = &s->wire;
    if (s->options.driver != NETDRV_WIRE || s->stopping)
        return;
    if (w->socket >= 0 && w->peer < 0 && now_us() - w->since_us > HELLO_US)
        link_down(s);
    if (w->socket < 0 && w->listener < 0)
        (void)wire_try(s); /* else at the next tick */
}

/* ---- the beginning and the end ---- */

static const char *advice(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return "its folder is not there: make it, or give another path";
    case EACCES:
    case EPERM:
        return "not allowed, or another user's: give a path of your own";
    case ENOTSOCK:
    case EPROTOTYPE:
    case EADDRINUSE:
        return "something else has that name: give another path";
    case EBUSY:
        return "two stacks are on it already: give another path";
    default:
        return strerror(error);
    }
}

/* Who connected hears at once if the wire has two ends already. */
static int first_answer(struct supervisor *s)
{
    struct pollfd answer = {.fd = s->wire.socket, .events = POLLIN};
    if (s->wire.socket < 0 || poll(&answer, 1, ANSWER_MS) != 1)
        return 0;
    return has_ended(s->wire.socket) ? -EBUSY : 0;
}

void wire_init(struct supervisor *s)
{
    s->wire = (struct wire_link){
        .listener = -1, .socket = -1, .bell_read = -1, .bell_write = -1, .mine = -1, .peer = -1, .peer_bell = -1};
}

int wire_open(struct supervisor *s, char ret_error[OPTIONS_ERROR])
{
    int ends[2];
    int result = pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0 ? -errno : 0;
    if (result == 0) {
        s->wire.bell_read = ends[0];
        s->wire.bell_write = ends[1];
        result = wire_try(s);
    }
    if (result == 0)
        result = first_answer(s);
    if (result < 0 && result != -EAGAIN) {
        snprintf(ret_error, OPTIONS_ERROR, "wire %.90s: %s", s->options.wire_path, advice(-result));
        return result;
    }
    return 0;
}

void wire_close(struct supervisor *s)
{
    struct wire_link *w = &s->wire;
    if (w->listener >= 0) {
        unlink(s->options.wire_path);
        loop_unwatch(s, w->listener);
    }
    descriptor_drop(&w->listener);
    if (w->socket >= 0)
        loop_unwatch(s, w->socket);
    descriptor_drop(&w->socket);
}
