// SPDX-License-Identifier: BSD-2-Clause
/* #syscalls recvmsg sendmsg ppoll close */
#include "servers/domain/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_OCTETS 512 /* most that a domain says at once */
#define SEND_WAIT_S 1   /* a supervisor that reads nothing for so long is as good as dead */
#define LOG_OCTETS  160

static void *arena_allocate(void *data, size_t size)
{
    struct control *control = data;
    size_t rounded = (size + 15) & ~(size_t)15;
    if (size > CONTROL_ARENA_OCTETS || rounded > CONTROL_ARENA_OCTETS - control->arena_used)
        return NULL;
    void *memory = control->arena + control->arena_used;
    control->arena_used += rounded;
    return memory;
}

static void arena_free(void *data, void *memory)
{
    (void)data, (void)memory; /* all at once, at the next message */
}

static void descriptors_gather(struct msghdr *header, struct control_message *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (message->fd_count < CONTROL_DESCRIPTORS)
                message->fd[message->fd_count++] = fd;
            else
                close(fd);
        }
    }
}

int control_receive(struct control *control, bool wait, struct control_message *ret)
{
    union {
        struct cmsghdr align;
        uint8_t octets[CMSG_SPACE(CONTROL_DESCRIPTORS * sizeof(int))];
    } ancillary;
    struct iovec part = {control->datagram, sizeof control->datagram};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.octets, .msg_controllen = sizeof ancillary.octets};
    ssize_t n;
    do
        n = recvmsg(control->fd, &header, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? CONTROL_NOTHING : -errno;
    struct control_message message = {.fd_count = 0};
    descriptors_gather(&header, &message);
    ProtobufCAllocator allocator = {.alloc = arena_allocate, .free = arena_free, .allocator_data = control};
    control->arena_used = 0;
    if (n > 0 && (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0)
        message.what = bulkhead__control__to_domain__unpack(&allocator, (size_t)n, control->datagram);
    if (message.what == NULL) {
        control_release(&message);
        return n == 0 ? -EPIPE : -EBADMSG; /* no message of ours is empty */
    }
    *ret = message;
    return CONTROL_MESSAGE;
}

int control_batch_at(struct control *control, struct control_message *batch, size_t index, struct control_message *ret)
{
    const Bulkhead__Control__Batch *m = batch->what->batch;
    struct control_message message = {.fd_count = 0};
    size_t first = 0;
    if (index >= m->n_message || m->n_descriptors != m->n_message)
        return -EBADMSG;
    for (size_t i = 0; i < index; i++)
        first += m->descriptors[i];
    if (first > batch->fd_count || m->descriptors[index] > batch->fd_count - first)
        return -EBADMSG;
    if (index == 0)
        control->batch_used = control->arena_used;
    control->arena_used = control->batch_used;
    ProtobufCAllocator allocator = {.alloc = arena_allocate, .free = arena_free, .allocator_data = control};
    message.what = bulkhead__control__to_domain__unpack(&allocator, m->message[index].len, m->message[index].data);
    if (message.what == NULL || message.what->what_case == BULKHEAD__CONTROL__TO_DOMAIN__WHAT_BATCH)
        return -EBADMSG;
    for (; message.fd_count < m->descriptors[index]; message.fd_count++)
        message.fd[message.fd_count] = control_take(batch, (int32_t)(first + message.fd_count));
    *ret = message;
    return 0;
}

int control_take(struct control_message *message, int32_t index)
{
    if (index < 0 || (uint32_t)index >= message->fd_count)
        return -1;
    int fd = message->fd[index];
    message->fd[index] = -1;
    return fd;
}

void control_release(struct control_message *message)
{
    for (uint32_t i = 0; i < message->fd_count; i++)
        if (message->fd[i] >= 0)
            close(message->fd[i]);
    message->fd_count = 0;
}

static int send_now(struct control *control, const control_from_domain *message)
{
    uint8_t packed[SEND_OCTETS];
    if (bulkhead__control__from_domain__get_packed_size(message) > sizeof packed)
        return -EMSGSIZE;
    struct iovec part = {packed, bulkhead__control__from_domain__pack(message, packed)};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    return sendmsg(control->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int control_send(struct control *control, const control_from_domain *message)
{
    int result = send_now(control, message);
    if (result != -EAGAIN)
        return result;
    struct pollfd room = {.fd = control->fd, .events = POLLOUT};
    struct timespec most = {.tv_sec = SEND_WAIT_S};
    if (ppoll(&room, 1, &most, NULL) < 0)
        return -errno;
    return send_now(control, message);
}

int control_send_standby(struct control *control, const uint32_t *pool_octets, const uint64_t *store_octets,
                         const uint32_t *store_version, size_t count)
{
    Bulkhead__Control__Standby standby = BULKHEAD__CONTROL__STANDBY__INIT;
    standby.n_pool_octets = standby.n_store_octets = standby.n_store_version = count;
    standby.pool_octets = (uint32_t *)pool_octets;
    standby.store_octets = (uint64_t *)store_octets;
    standby.store_version = (uint32_t *)store_version;
    control_from_domain m = BULKHEAD__CONTROL__FROM_DOMAIN__INIT;
    m.what_case = BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_STANDBY;
    m.standby = &standby;
    return control_send(control, &m);
}

int control_send_ready(struct control *control, uint32_t incarnation)
{
    Bulkhead__Control__Ready ready = BULKHEAD__CONTROL__READY__INIT;
    ready.incarnation = incarnation;
    control_from_domain m = BULKHEAD__CONTROL__FROM_DOMAIN__INIT;
    m.what_case = BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_READY;
    m.ready = &ready;
    return control_send(control, &m);
}

int control_send_ack(struct control *control, uint64_t epoch)
{
    Bulkhead__Control__Ack ack = BULKHEAD__CONTROL__ACK__INIT;
    ack.epoch = epoch;
    control_from_domain m = BULKHEAD__CONTROL__FROM_DOMAIN__INIT;
    m.what_case = BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_ACK;
    m.ack = &ack;
    return control_send(control, &m);
}

int control_send_session_done(struct control *control, uint32_t session)
{
    Bulkhead__Control__SessionDone done = BULKHEAD__CONTROL__SESSION_DONE__INIT;
    done.session = session;
    control_from_domain m = BULKHEAD__CONTROL__FROM_DOMAIN__INIT;
    m.what_case = BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_SESSION_DONE;
    m.session_done = &done;
    return control_send(control, &m);
}

int control_send_broken(struct control *control, uint32_t server, uint32_t peer, const char *why)
{
    char text[LOG_OCTETS];
    snprintf(text, sizeof text, "%s", why);
    Bulkhead__Control__ChannelBroken broken = BULKHEAD__CONTROL__CHANNEL_BROKEN__INIT;
    broken.server = server;
    broken.peer = peer;
    broken.why = text;
    control_from_domain m = BULKHEAD__CONTROL__FROM_DOMAIN__INIT;
    m.what_case = BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_CHANNEL_BROKEN;
    m.channel_broken = &broken;
    return control_send(control, &m);
}

int control_send_faulted(struct control *control, uint32_t server, uint32_t kind, const char *what)
{
    char text[LOG_OCTETS];
    snprintf(text, sizeof text, "%s", what);
    Bulkhead__Control__Faulted faulted = BULKHEAD__CONTROL__FAULTED__INIT;
    faulted.server = server;
    faulted.kind = kind;
    faulted.text = text;
    control_from_domain m = BULKHEAD__CONTROL__FROM_DOMAIN__INIT;
    m.what_case = BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_FAULTED;
    m.faulted = &faulted;
    return control_send(control, &m);
}

void control_log(struct control *control, uint32_t level, uint32_t server, const char *text, int error)
{
    char line[LOG_OCTETS];
    if (error != 0)
        snprintf(line, sizeof line, "%s: %s", text, strerrordesc_np(error) != NULL ? strerrordesc_np(error) : "?");
    else
        snprintf(line, sizeof line, "%s", text);
    Bulkhead__Control__Log log = BULKHEAD__CONTROL__LOG__INIT;
    log.level = level;
    log.server = server;
    log.text = line;
    control_from_domain m = BULKHEAD__CONTROL__FROM_DOMAIN__INIT;
    m.what_case = BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_LOG;
    m.log = &log;
    (void)send_now(control, &m);
}
