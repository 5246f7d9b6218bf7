// SPDX-License-Identifier: BSD-2-Clause
/* Captures (`bulkhead capture`): who owns the run directory connects to RUNDIR/capture and names a channel; the domain
 * at one of its ends is given a segment to write to, the asker the same one read-only. As long as the connection is
 * open: each incarnation of the domain is given it anew. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"

#define BACKLOG 8

int capture_listen(struct supervisor *s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/capture", s->options.run_dir);
    for (unsigned i = 0; i < CAPTURES_MAX; i++)
        s->capture[i] = (struct capture_memory){.fd = -1, .segment = -1};
    if (length < 0 || (size_t)length >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    s->capture_listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->capture_listener < 0 || bind(s->capture_listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        chmod(address.sun_path, 0600) < 0 || listen(s->capture_listener, BACKLOG) < 0)
        return -errno;
    return loop_watch(s, s->capture_listener, WATCH_CAPTURE_LISTENER, 0);
}

/* Where it is captured: nic, or the transport. Both references of its messages are mapped there. */
static unsigned capture_side(unsigned channel)
{
    const enum server_id *end = topology_channel[channel].end;
    return end[0] == SERVER_IP ? 1 : 0;
}

static enum server_id capture_server(unsigned channel)
{
    return topology_channel[channel].end[capture_side(channel)];
}

static enum server_id capture_peer(unsigned channel)
{
    return topology_channel[channel].end[1 - capture_side(channel)];
}

static void tell(struct supervisor *s, const struct capture_memory *c, bool on)
{
    Bulkhead__Control__Capture what = BULKHEAD__CONTROL__CAPTURE__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_CAPTURE;
    message.capture = &what;
    what.server = capture_server(c->channel);
    what.peer = capture_peer(c->channel);
    what.on = on;
    what.snap = c->snap;
    what.fd = on ? 0 : -1;
    struct domain *d = s->server[what.server].domain;
    bool granted = on && rights_have(s, c->node, d->index, CAPABILITY_READ | CAPABILITY_WRITE) != NULL;
    int fd = granted ? c->segment : -EACCES;
    control_send(s, d, &message, &fd, on ? 1 : 0, 0);
}

void capture_grant(struct supervisor *s, const struct domain *domain)
{
    for (unsigned i = 0; i < CAPTURES_MAX; i++)
        if (s->capture[i].segment >= 0 && s->server[capture_server(s->capture[i].channel)].domain == domain)
            tell(s, &s->capture[i], true);
}

void capture_close(struct supervisor *s, uint32_t index)
{
    struct capture_memory *c = &s->capture[index];
    if (c->segment >= 0) {
        if (domain_lives(s->server[capture_server(c->channel)].domain))
            tell(s, c, false);
        rights_end(s, &c->node);
        close(c->segment);
    }
    if (c->fd >= 0) {
        loop_unwatch(s, c->fd);
        close(c->fd);
    }
    *c = (struct capture_memory){.fd = -1, .segment = -1};
}

static bool owner_asks(int fd, pid_t *ret_pid)
{
    struct ucred who;
    socklen_t size = sizeof who;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || (who.uid != geteuid() && who.uid != 0))
        return false;
    *ret_pid = who.pid;
    return true;
}

void capture_accept(struct supervisor *s)
{
    int fd = accept4(s->capture_listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    uint32_t i = 0;
    if (fd < 0)
        return;
    while (i < CAPTURES_MAX && s->capture[i].fd >= 0)
        i++;
    pid_t pid = 0;
    if (i == CAPTURES_MAX || !owner_asks(fd, &pid) || loop_watch(s, fd, WATCH_CAPTURE, i) < 0) {
        close(fd);
        return;
    }
    s->capture[i] = (struct capture_memory){.fd = fd, .segment = -1, .pid = pid};
}

/* Untrusted: channel. An errno value, or 0. */
static int channel_find(const struct supervisor *s, const char name[CAPTURE_CHANNEL], uint32_t *ret)
{
    uint32_t channel = 0;
    if (memchr(name, '\0', CAPTURE_CHANNEL) == NULL || !topology_channel_find(name, &channel))
        return EINVAL;
    for (unsigned i = 0; i < CAPTURES_MAX; i++)
        if (s->capture[i].segment >= 0 && s->capture[i].channel == channel)
            return EBUSY;
    *ret = channel;
    return 0;
}

/* Untrusted: request. An errno value, or 0: capturing. */
static int begin(struct supervisor *s, struct capture_memory *c, const struct capture_request *request)
{
    int error = channel_find(s, request->channel, &c->channel);
    if (error == 0 && (request->snap == 0 || request->snap > CAPTURE_SNAP_MAX))
        error = EINVAL;
    if (error != 0)
        return error;
    c->snap = request->snap;
    c->segment = segment_create("capture", sizeof(struct capture_ring));
    if (c->segment < 0)
        return -c->segment;
    const struct registry_grant grant = {
        .holder = HOLDER_SUPERVISOR,
        .type = OBJECT_CAPTURE,
        .rights = CAPABILITY_READ | CAPABILITY_WRITE,
        .part = {(uint8_t)capture_server(c->channel), (uint8_t)capture_peer(c->channel)},
        .length = sizeof(struct capture_ring)};
    if (!rights_mint(s, REGISTRY_NONE, &grant, &c->node)) {
        close(c->segment);
        c->segment = -1;
        return ENOSPC;
    }
    if (domain_lives(s->server[capture_server(c->channel)].domain))
        tell(s, c, true); /* else with the grants of its next incarnation */
    return 0;
}

static enum capture_link link_of(uint32_t channel)
{
    if (capture_server(channel) == SERVER_NIC)
        return CAPTURE_ETHERNET;
    return capture_peer(channel) == SERVER_IP ? CAPTURE_RAW_IP : CAPTURE_MESSAGES;
}

/* False: the asker does not take it. */
static bool answer(const struct capture_memory *c, int error)
{
    struct capture_answer answer = {.magic = CAPTURE_MAGIC, .error = error};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } ancillary = {0};
    struct iovec part = {&answer, sizeof answer};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    int fd = error == 0 ? segment_read_only(c->segment) : -1;
    if (error == 0 && fd < 0)
        return false;
    if (fd >= 0) {
        answer.link = link_of(c->channel);
        message.msg_control = ancillary.space;
        message.msg_controllen = sizeof ancillary.space;
        ancillary.header =
            (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(&ancillary.header), &fd, sizeof fd);
    }
    bool sent = sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof answer;
    if (fd >= 0)
        close(fd);
    return sent;
}

/* Untrusted: all that comes. */
void capture_receive(struct supervisor *s, uint32_t index)
{
    struct capture_memory *c = &s->capture[index];
    struct capture_request request;
    ssize_t n = recv(c->fd, &request, sizeof request, MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != (ssize_t)sizeof request || request.magic != CAPTURE_MAGIC || c->segment >= 0) {
        capture_close(s, index);
        return;
    }
    int error = begin(s, c, &request);
    if (!answer(c, error))
        capture_close(s, index);
}
