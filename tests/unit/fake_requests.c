// SPDX-License-Identifier: BSD-2-Clause
/* The stack in a thread: what the lanes of the session ask for. */
#include "tests/unit/fake_internal.h"

#include <errno.h>
#include <string.h>

/* ---- requests ---- */
static int connect_stream(struct fake_stack *f, uint32_t index, const struct control_request *q)
{
    struct fake_socket *k = &f->socket[index];
    struct fake_socket *listener = fake_by_port(f, SESSION_TCP, q->port);
    k->remote = q->address;
    if (f->pend)
        return fake_slot_take(f, index) ? EINPROGRESS : ENOBUFS;
    if (listener == NULL) {
        k->state = SLOT_ERROR | SLOT_CLOSED;
        k->error = ECONNREFUSED;
        return fake_slot_take(f, index) ? EINPROGRESS : ENOBUFS;
    }
    uint32_t other = 0;
    while (other < SOCKETS && (f->socket[other].used || other == index))
        other++;
    if (other == SOCKETS || listener->queued == QUEUE || !fake_slot_take(f, index))
        return ENOBUFS;
    struct fake_socket *child = &f->socket[other];
    *child = (struct fake_socket){.used = true,
                                  .transport = SESSION_TCP,
                                  .peer = index,
                                  .arena = NOBODY,
                                  .generation = ++f->generation,
                                  .state = SLOT_CONNECTED,
                                  .remote = fake_loopback(q->address.family),
                                  .port = listener->port};
    memcpy(child->option, listener->option, sizeof child->option);
    if (!fake_slot_take(f, other)) {
        child->used = false;
        f->arena[k->arena].holder[k->slot] = 0;
        k->arena = NOBODY;
        return ENOBUFS;
    }
    k->peer = other;
    k->state = SLOT_CONNECTED;
    fake_publish(f, k);
    listener->queue[listener->queued++] = other;
    fake_accept_publish(f, listener);
    return EINPROGRESS;
}

static int accept_stream(struct fake_stack *f, struct fake_socket *listener, const struct control_request *q,
                         uint32_t *ret)
{
    if (listener->queued == 0)
        return EAGAIN;
    *ret = listener->queue[0];
    memmove(listener->queue, listener->queue + 1, --listener->queued * sizeof listener->queue[0]);
    f->socket[*ret].descriptor = q->argument[1];
    fake_accept_publish(f, listener);
    return 0;
}

static int socket_new(struct fake_stack *f, const struct control_request *q, uint32_t *ret)
{
    for (uint32_t i = 0; i < SOCKETS; i++) {
        fake_must(!f->socket[i].used || f->socket[i].closed || f->socket[i].descriptor != q->argument[1] ||
                      f->socket[i].peer != NOBODY,
                  "descriptor used twice");
        if (f->socket[i].used)
            continue;
        f->socket[i] = (struct fake_socket){.used = true,
                                            .transport = q->argument[0],
                                            .descriptor = q->argument[1],
                                            .peer = NOBODY,
                                            .arena = NOBODY,
                                            .generation = ++f->generation};
        *ret = i;
        return 0;
    }
    return ENFILE;
}

static int connect_datagrams(struct fake_stack *f, uint32_t index, const struct control_request *q)
{
    struct fake_socket *k = &f->socket[index];
    k->remote = q->address;
    k->remote_port = q->port;
    k->path_mtu = PATH_MTU;
    if (k->arena == NOBODY)
        return fake_slot_take(f, index) ? 0 : ENOBUFS;
    fake_publish(f, k);
    return 0;
}

static int option_set(struct fake_stack *f, struct fake_socket *k, const struct control_request *q)
{
    if (q->argument[0] == 0 || q->argument[0] >= FAKE_OPTIONS)
        return ENOPROTOOPT;
    k->option[q->argument[0]] = f->option[q->argument[0]] = q->argument[1];
    return 0;
}

static int request_about(struct fake_stack *f, const struct control_request *q, uint32_t *index)
{
    struct fake_socket *k = q->socket < SOCKETS ? &f->socket[q->socket] : NULL;
    if (k == NULL || !k->used || k->generation != q->generation)
        return EBADF;
    *index = q->socket;
    bool living = q->operation == CONTROL_BIND || q->operation == CONTROL_LISTEN || q->operation == CONTROL_CONNECT;
    if (living && k->transport == SESSION_TCP && (k->state & SLOT_CLOSED) != 0)
        return (int)k->error; /* the transport has let go of it */
    switch (q->operation) {
    case CONTROL_BIND:
        if (q->port != 0 && fake_by_port(f, k->transport, q->port) != NULL)
            return EADDRINUSE;
        k->port = q->port != 0 ? q->port : f->next_port++;
        k->local = q->address;
        return k->transport == SESSION_UDP && !fake_slot_take(f, q->socket) ? ENOBUFS : 0;
    case CONTROL_LISTEN:
        k->listening = true;
        f->backlog = q->argument[0];
        return 0;
    case CONTROL_CONNECT:
        k->port = k->port != 0 ? k->port : f->next_port++;
        if (k->transport == SESSION_TCP)
            return connect_stream(f, q->socket, q);
        return connect_datagrams(f, q->socket, q);
    case CONTROL_ACCEPT:
        return accept_stream(f, k, q, index);
    case CONTROL_CLOSE:
        k->closed = true;
        if (k->transport == SESSION_TCP && k->peer != NOBODY && !k->reset)
            fake_stream_move(f, k);
        if (k->transport == SESSION_UDP || k->peer == NOBODY || f->socket[k->peer].closed) {
            if (k->peer != NOBODY && k->transport == SESSION_TCP)
                fake_socket_end(f, &f->socket[k->peer]);
            fake_socket_end(f, k);
        }
        return 0;
    default:
        return q->operation == CONTROL_SET_OPTION ? option_set(f, k, q) : EINVAL;
    }
}

bool fake_lane(struct fake_stack *f, uint32_t i)
{
    uint32_t sequence = __atomic_load_n(&f->control->lane[i].sequence, __ATOMIC_ACQUIRE);
    if (sequence == f->answered[i])
        return false;
    if (f->lose > 0) {
        f->lose--;
        return false;
    }
    struct control_request q = f->control->lane[i].request;
    uint32_t index = 0;
    int error = q.operation == CONTROL_SOCKET ? socket_new(f, &q, &index) : request_about(f, &q, &index);
    struct fake_socket *k = &f->socket[index];
    struct control_answer a = {.error = error,
                               .socket = index,
                               .generation = k->generation,
                               .arena = k->arena,
                               .slot = k->slot,
                               .slot_generation = k->slot_generation,
                               .local_port = k->port};
    a.remote = k->remote.family != ADDRESS_NONE ? k->remote : fake_loopback(ADDRESS_IP4);
    a.local = k->remote.family != ADDRESS_NONE  ? fake_loopback(k->remote.family)
              : k->local.family != ADDRESS_NONE ? k->local
                                                : fake_loopback(ADDRESS_IP4);
    f->answer->lane[i].answer = a;
    __atomic_store_n(&f->answer->lane[i].sequence, sequence, __ATOMIC_RELEASE);
    f->answered[i] = sequence;
    f->news = true;
    return true;
}
