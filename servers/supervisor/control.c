// SPDX-License-Identifier: BSD-2-Clause
/* Messages to and from a domain. Out: never blocks; what the socket does not take waits in a queue of its own
 * descriptors, and a domain that lets it grow without bound is killed. In: a domain may have been taken over, so its
 * messages are bounded in number and size, carry no descriptors, and name nothing that is not checked. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

typedef Bulkhead__Control__FromDomain from_domain;

struct outgoing {
    struct outgoing *next;
    uint32_t length, count;
    int fd[CONTROL_FDS_MAX];
    uint8_t octets[];
};

/* 0, or a negative errno: -EAGAIN no room. */
static int datagram_send(int socket, const uint8_t *octets, size_t length, const int *fd, uint32_t count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * CONTROL_FDS_MAX)];
    } ancillary = {0};
    struct iovec part = {(void *)octets, length};
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
    ssize_t n;
    do
        n = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? (errno == ENOBUFS || errno == ETOOMANYREFS ? -EAGAIN : -errno) : 0;
}

static void outgoing_free(struct outgoing *out)
{
    for (uint32_t i = 0; i < out->count; i++)
        close(out->fd[i]);
    free(out);
}

/* False: no memory or descriptors, or far too much waits. */
static bool enqueue(struct domain *domain, const uint8_t *octets, size_t length, const int *fd, uint32_t count)
{
    if (domain->queued >= QUEUE_MAX)
        return false;
    struct outgoing *out = malloc(sizeof *out + length);
    if (out == NULL)
        return false;
    *out = (struct outgoing){.length = (uint32_t)length};
    memcpy(out->octets, octets, length);
    for (; out->count < count; out->count++) {
        out->fd[out->count] = dup(fd[out->count]);
        if (out->fd[out->count] < 0) {
            outgoing_free(out);
            return false;
        }
    }
    *domain->queue_end = out;
    domain->queue_end = &out->next;
    domain->queued++;
    return true;
}

static int send_or_queue(struct supervisor *s, struct domain *domain, const uint8_t *octets, size_t length,
                         const int *fd, uint32_t count)
{
    int result = domain->queue == NULL ? datagram_send(domain->control, octets, length, fd, count) : -EAGAIN;
    if (result != -EAGAIN)
        return result;
    if (!enqueue(domain, octets, length, fd, count))
        return -ENOBUFS;
    loop_watch_output(s, domain->control, WATCH_CONTROL, domain->index, true);
    return 0;
}

/* 0, or the domain is killed: it cannot be without what was to be sent. */
static void sent(struct domain *domain, int result)
{
    if (result == 0 || result == -EPIPE || result == -ECONNRESET) /* a dead one's pidfd tells */
        return;
    snprintf(domain->last_words, sizeof domain->last_words, "cannot be given what it needs: %s", strerror(-result));
    domain_kill(domain, FAULT_GRANT);
}

static void owned_close(const int *fd, uint32_t count, uint64_t owned)
{
    for (uint32_t i = 0; i < count; i++) {
        if ((owned >> i & 1) != 0 && fd[i] >= 0)
            close(fd[i]);
    }
}

/* ---- several as one ---- */

static int cork_send(struct supervisor *s, struct domain *domain, const struct cork *c)
{
    uint8_t octets[CORK_OCTETS + CORK_MESSAGES * 8 + 16];
    Bulkhead__Control__Batch what = BULKHEAD__CONTROL__BATCH__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    ProtobufCBinaryData part[CORK_MESSAGES];
    uint32_t at = 0, count[CORK_MESSAGES];
    if (c->messages == 1)
        return send_or_queue(s, domain, c->packed, c->octets, c->fd, c->fds);
    for (uint32_t i = 0; i < c->messages; at += c->length[i++]) {
        part[i] = (ProtobufCBinaryData){c->length[i], (uint8_t *)c->packed + at};
        count[i] = c->count[i];
    }
    what.message = part;
    what.descriptors = count;
    what.n_message = what.n_descriptors = c->messages;
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_BATCH;
    message.batch = &what;
    size_t length = bulkhead__control__to_domain__get_packed_size(&message);
    if (length > sizeof octets)
        return -EMSGSIZE;
    bulkhead__control__to_domain__pack(&message, octets);
    return send_or_queue(s, domain, octets, length, c->fd, c->fds);
}

static void cork_empty(struct supervisor *s, struct domain *domain)
{
    struct cork *c = &domain->cork;
    if (c->messages == 0)
        return;
    sent(domain, domain->control < 0 ? -EPIPE : cork_send(s, domain, c));
    owned_close(c->fd, c->fds, c->owned);
    c->messages = c->octets = c->fds = 0;
    c->owned = 0;
}

/* The descriptors that are not ours to close are there until all is sent. */
static void cork_add(struct supervisor *s, struct domain *domain, const uint8_t *octets, size_t length, const int *fd,
                     uint32_t count, uint32_t owned)
{
    struct cork *c = &domain->cork;
    if (c->messages == CORK_MESSAGES || length > sizeof c->packed - c->octets || count > CONTROL_FDS_MAX - c->fds)
        cork_empty(s, domain);
    memcpy(c->packed + c->octets, octets, length);
    for (uint32_t i = 0; i < count; i++) {
        c->owned |= (uint64_t)(owned >> i & 1) << (c->fds + i);
        c->fd[c->fds + i] = fd[i];
    }
    c->length[c->messages] = (uint32_t)length;
    c->count[c->messages++] = count;
    c->octets += (uint32_t)length;
    c->fds += count;
}

void control_cork(struct domain *domain)
{
    domain->cork.on = true;
}

void control_uncork(struct supervisor *s, struct domain *domain)
{
    cork_empty(s, domain);
    domain->cork.on = false;
}

void control_send(struct supervisor *s, struct domain *domain, const to_domain *message, const int *fd, uint32_t count,
                  uint32_t owned)
{
    uint8_t octets[CONTROL_OCTETS_MAX];
    int result = domain->control < 0 ? -EPIPE : 0;
    for (uint32_t i = 0; i < count && result == 0; i++)
        result = fd[i] < 0 ? fd[i] : 0;
    size_t length = bulkhead__control__to_domain__get_packed_size(message);
    if (result == 0 && length > sizeof octets)
        result = -EMSGSIZE;
    if (result == 0) {
        bulkhead__control__to_domain__pack(message, octets);
        if (domain->cork.on) {
            cork_add(s, domain, octets, length, fd, count, owned);
            return;
        }
        result = send_or_queue(s, domain, octets, length, fd, count);
    }
    owned_close(fd, count, owned);
    sent(domain, result);
}

void control_flush(struct supervisor *s, struct domain *domain)
{
    while (domain->queue != NULL) {
        struct outgoing *out = domain->queue;
        int result = datagram_send(domain->control, out->octets, out->length, out->fd, out->count);
        if (result == -EAGAIN)
            return;
        domain->queue = out->next;
        domain->queued--;
        outgoing_free(out);
    }
    domain->queue_end = &domain->queue;
    loop_watch_output(s, domain->control, WATCH_CONTROL, domain->index, false);
}

void control_close(struct supervisor *s, struct domain *domain)
{
    while (domain->queue != NULL) {
        struct outgoing *out = domain->queue;
        domain->queue = out->next;
        outgoing_free(out);
    }
    domain->queue_end = &domain->queue;
    domain->queued = 0;
    if (domain->control < 0)
        return;
    loop_unwatch(s, domain->control);
    close(domain->control);
    domain->control = -1;
}

int control_send_first(int socket, const to_domain *message, int fd)
{
    uint8_t octets[CONTROL_OCTETS_MAX];
    size_t length = bulkhead__control__to_domain__get_packed_size(message);
    if (length > sizeof octets)
        return -EMSGSIZE;
    bulkhead__control__to_domain__pack(message, octets);
    return datagram_send(socket, octets, length, &fd, 1);
}

bool control_standby_read(const struct domain *domain, const Bulkhead__Control__Standby *message,
                          struct server_needs ret[SERVER_COUNT])
{
    size_t count = (size_t)__builtin_popcount(domain->servers), at = 0;
    if (message->n_pool_octets != count || message->n_store_octets != count || message->n_store_version != count)
        return false;
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        if ((domain->servers & SERVER_BIT(id)) == 0)
            continue;
        if (message->pool_octets[at] > POOL_OCTETS_MAX || message->store_octets[at] > STORE_OCTETS_MAX)
            return false;
        ret[id] = (struct server_needs){.pool_octets = message->pool_octets[at],
                                        .store_octets = message->store_octets[at],
                                        .store_version = message->store_version[at]};
        at++;
    }
    return true;
}

static void log_event(struct supervisor *s, struct domain *domain, const char *kind, uint32_t server, const char *text)
{
    char copy[EVENT_TEXT];
    if (domain->logs_left == 0)
        return; /* the events of others are not to be pushed out */
    domain->logs_left--;
    text_copy(copy, sizeof copy, text, strlen(text));
    memcpy(domain->last_words, copy, sizeof copy);
    bool own = server < SERVER_COUNT && (domain->servers & SERVER_BIT(server)) != 0;
    event_add(s, kind, own ? topology_server_name((enum server_id)server) : domain->name, domain->incarnation, NULL, 0,
              "%s", copy);
}

/* Whether a domain accuses its neighbours more often than an honest one would have to. */
static bool accuses_too_much(struct domain *domain)
{
    uint64_t now = now_us();
    if (now - domain->accused_since_us > ACCUSATIONS_US) {
        domain->accused_since_us = now;
        domain->accusations = 0;
    }
    return ++domain->accusations > ACCUSATIONS_FREE;
}

/* A channel with impossible indices. Which of its ends lies nobody can tell for certain. The one that is said to lie
 * starts anew, its neighbour goes on: a liar cannot pull an honest server down with it. Whoever says so again and again
 * is replaced too, so that a false accuser ends its neighbours a few times at most, and then itself. */
static bool broken(struct supervisor *s, struct domain *domain, const Bulkhead__Control__ChannelBroken *message)
{
    if (message->server >= SERVER_COUNT || message->peer >= SERVER_COUNT ||
        (domain->servers & SERVER_BIT(message->server)) == 0 ||
        (topology_neighbours((enum server_id)message->server) & SERVER_BIT(message->peer)) == 0 ||
        !domain_lives(domain) || (domain->known & SERVER_BIT(message->peer)) == 0)
        return false;
    if (!domain_lives(s->server[message->peer].domain))
        return true; /* the dead one's channel: the barrier takes it away */
    char text[EVENT_TEXT];
    snprintf(text, sizeof text, "channel from %s: %.100s", topology_server_name((enum server_id)message->peer),
             message->why);
    log_event(s, domain, "broken", message->server, text);
    if (!judge_believes(s, (enum server_id)message->server, (enum server_id)message->peer, message->why, now_us())) {
        health_lies(s, domain, NULL, "its neighbour's books say otherwise");
        return true;
    }
    health_lies(s, s->server[message->peer].domain, domain, text);
    if (strcmp(message->why, ACCUSED_SENSE) != 0 && accuses_too_much(domain)) /* of that there is evidence */
        health_lies(s, domain, NULL, "accuses its neighbours again and again");
    return true;
}

/* Of the dead, and of those who are being killed for nonsense, these count and nothing else. */
static bool is_last_word(const from_domain *message)
{
    return message->what_case == BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_LOG ||
           message->what_case == BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_SESSION_DONE;
}

/* Untrusted: message. False: nonsense. */
static bool dispatch(struct supervisor *s, struct domain *domain, const from_domain *message)
{
    struct server_needs needs[SERVER_COUNT];
    if ((domain->state == DOMAIN_DOWN || health_lied(domain)) && !is_last_word(message))
        return true;
    switch (message->what_case) {
    case BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_STANDBY:
        if (domain->state != DOMAIN_SPAWNED || !control_standby_read(domain, message->standby, needs))
            return false;
        domain_needs(s, domain, needs);
        domain_standby(s, domain);
        return true;
    case BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_READY:
        if (domain->state != DOMAIN_GRANTED || message->ready->incarnation != domain->incarnation)
            return false;
        domain_ready(s, domain);
        return true;
    case BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_ACK:
        domain_acknowledged(s, domain, message->ack->epoch);
        return true;
    case BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_SESSION_DONE:
        if (message->session_done->session >= SESSIONS_MAX || (domain->servers & SERVER_BIT(SERVER_SOCKET)) == 0)
            return false;
        session_done(s, message->session_done->session);
        return true;
    case BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_CHANNEL_BROKEN:
        return broken(s, domain, message->channel_broken);
    case BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_LOG:
        log_event(s, domain, "log", message->log->server, message->log->text);
        return true;
    case BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_FAULTED:
        inject_struck(s, domain, message->faulted);
        return true;
    default:
        return false;
    }
}

/* Descriptors that a domain attaches are not received: there is no room for them, the kernel drops them. */
void control_receive(struct supervisor *s, struct domain *domain)
{
    uint8_t octets[CONTROL_OCTETS_MAX];
    for (unsigned i = 0; i < FROM_DOMAIN_BURST && domain->control >= 0; i++) {
        ssize_t n = recv(domain->control, octets, sizeof octets, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) { /* closed: it is dying, or wants to be rid of us */
            loop_unwatch(s, domain->control);
            domain_kill(domain, FAULT_NONE);
            return;
        }
        from_domain *message =
            (size_t)n <= sizeof octets ? bulkhead__control__from_domain__unpack(NULL, (size_t)n, octets) : NULL;
        bool sense = message != NULL && dispatch(s, domain, message);
        if (message != NULL)
            bulkhead__control__from_domain__free_unpacked(message, NULL);
        if (!sense) {
            health_lies(s, domain, NULL, "an impossible message to the supervisor");
            return;
        }
    }
}
