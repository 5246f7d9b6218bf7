// SPDX-License-Identifier: BSD-2-Clause
#include "tests/unit/fake_stack.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/doorbell.h"
#include "ipc/segment.h"
#include "ipc/session.h"
#include "protocols/tcp/tcp.h"

#define BELLS        3
#define SOCKETS      SESSION_DESCRIPTORS
#define QUEUE        128 /* connections that wait at a listener */
#define NOBODY       UINT32_MAX
#define REFUSE_AFTER 8 /* arenas */
#define FAKE_OPTIONS (CONTROL_OPTION_RECEIVE_SIZE + 1)
#define PATH_MTU     1500

struct fake_arena {
    uint32_t transport, slots, send_size, receive_size, consumer;
    struct arena_app *app;
    struct arena_transport *words;
    uint32_t holder[ARENA_SLOTS_MAX]; /* socket + 1 */
};

struct fake_socket {
    bool used, listening, closed, reset, finished;
    uint32_t transport, descriptor, peer, generation;
    uint16_t port, remote_port;
    uint32_t arena, slot, slot_generation; /* arena NOBODY: none */
    uint32_t send_tail, receive_head, state, error, error_count, path_mtu;
    struct ip_address local, remote; /* family ADDRESS_NONE: none */
    uint32_t option[FAKE_OPTIONS];
    uint32_t queue[QUEUE], queued;
};

struct fake_stack {
    char folder[32], path[64];
    pthread_t thread;
    pthread_mutex_t lock;
    int listener, connection, bell_read[BELLS], bell_write[BELLS], control_pipe[2];
    int status_fd;
    struct status_page *status;
    struct session_control *control;
    struct session_answer *answer;
    struct doorbell to_session;
    struct fake_arena arena[SESSION_ARENAS];
    uint32_t arenas, generation, lie;
    uint16_t next_port;
    struct fake_socket socket[SOCKETS];
    uint32_t answered[SESSION_LANES];
    uint32_t option[FAKE_OPTIONS]; /* as last set, of any socket */
    int lose;
    bool stop, ended, hang_up, mute, stalled, news, undrained, pend;
    uint32_t app_flags, backlog;
    int refuse;
    uint32_t refuse_above;
};

static void must(bool good, const char *what)
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
    must(sendmsg(f->connection, &m, MSG_NOSIGNAL) == sizeof *a || errno == EPIPE,
         "answer"); /* EPIPE: it came too late */
}

static void hello(struct fake_stack *f, const int fd[2])
{
    void *control, *answer;
    int pipe_fd[2];
    must(segment_check(fd[0], segment_round(sizeof(struct session_control))) == 0, "control segment");
    must(segment_check(fd[1], segment_round(sizeof(struct session_answer))) == 0, "answer segment");
    must(segment_map(fd[0], sizeof(struct session_control), false, &control) == 0, "map");
    must(segment_map(fd[1], sizeof(struct session_answer), true, &answer) == 0, "map");
    must(pipe2(pipe_fd, O_NONBLOCK | O_CLOEXEC) == 0, "pipe");
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
    size_t send_octets = arena_send_octets(q->slots, q->send_size);
    size_t receive_octets = arena_receive_octets(q->slots, q->receive_size);
    must(segment_check(fd[0], send_octets) == 0 && segment_check(fd[1], receive_octets) == 0, "arena segments");
    must(segment_map(fd[0], send_octets, false, &app) == 0 && segment_map(fd[1], receive_octets, true, &words) == 0,
         "map");
    *r = (struct fake_arena){.transport = q->transport,
                             .slots = q->slots,
                             .send_size = q->send_size,
                             .receive_size = q->receive_size,
                             .app = app,
                             .words = words};
    __atomic_store_n(&r->words->free_slots, q->slots, __ATOMIC_RELEASE);
    f->arenas++;
    answer_send(f, &a, NULL, 0);
}

static void attach_message(struct fake_stack *f)
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
    must(n == sizeof q && c != NULL && c->cmsg_len == CMSG_LEN(sizeof fd) && q.magic == SESSION_MAGIC, "request");
    memcpy(fd, CMSG_DATA(c), sizeof fd);
    if (q.operation == ATTACH_HELLO)
        hello(f, fd);
    else
        arena(f, &q, fd);
    close(fd[0]);
    close(fd[1]);
}

/* ---- slots ---- */
static struct slot_transport *words_of(struct fake_stack *f, const struct fake_socket *k)
{
    return &f->arena[k->arena].words->slot[k->slot];
}

static void figures(const struct fake_stack *f, struct fake_socket *k, struct slot_transport *w)
{
    if (k->finished && !f->undrained)
        k->state |= SLOT_DRAINED;
    uint32_t state = (k->state & SLOT_CONNECTED) != 0 ? TCP_ESTABLISHED : TCP_SYN_SENT;
    w->tcp_kind = state | 2U << 8 | 7U << 20 | 5U << 16 | (TCP_KIND_TIMESTAMPS | TCP_KIND_SCALED) << 24;
    w->srtt_us = FAKE_RTT_US;
    w->rttvar_us = 55;
    w->rto_us = 200000;
    w->cwnd = 10 * FAKE_MSS;
    w->ssthresh = UINT32_MAX;
    w->retransmitted = 3;
    w->mss = FAKE_PEER_MSS << 16 | FAKE_MSS;
}

static void slot_ready(struct fake_arena *a, uint32_t slot)
{
    uint32_t producer = __atomic_load_n(&a->words->ready_producer, __ATOMIC_RELAXED);
    __atomic_store_n(&a->words->ready[producer % ARENA_SLOTS_MAX], slot, __ATOMIC_RELEASE);
    __atomic_store_n(&a->words->ready_producer, producer + 1, __ATOMIC_RELEASE);
}

static void publish(struct fake_stack *f, struct fake_socket *k)
{
    struct slot_transport *w = words_of(f, k);
    __atomic_store_n(&w->error, k->error, __ATOMIC_RELEASE);
    __atomic_store_n(&w->error_count, k->error_count, __ATOMIC_RELEASE);
    __atomic_store_n(&w->path_mtu, k->path_mtu, __ATOMIC_RELEASE);
    __atomic_store_n(&w->send_tail, k->send_tail, __ATOMIC_RELEASE);
    __atomic_store_n(&w->receive_head, k->receive_head, __ATOMIC_RELEASE);
    if (k->transport == SESSION_TCP)
        figures(f, k, w);
    __atomic_store_n(&w->state, k->state, __ATOMIC_RELEASE);
    __atomic_store_n(&w->generation, k->slot_generation, __ATOMIC_RELEASE);
    slot_ready(&f->arena[k->arena], k->slot);
    f->news = true;
}

static void accept_publish(struct fake_stack *f, const struct fake_socket *listener)
{
    __atomic_store_n(&f->answer->word[listener->descriptor].accept_ready, listener->queued, __ATOMIC_RELEASE);
    __atomic_store_n(&f->answer->ready[f->answer->ready_producer % SESSION_DESCRIPTORS], listener->descriptor,
                     __ATOMIC_RELEASE);
    __atomic_store_n(&f->answer->ready_producer, f->answer->ready_producer + 1, __ATOMIC_RELEASE);
    f->news = true;
}

static bool slot_take(struct fake_stack *f, uint32_t socket)
{
    struct fake_socket *k = &f->socket[socket];
    for (uint32_t i = 0; i < f->arenas; i++) {
        struct fake_arena *a = &f->arena[i];
        uint32_t send = k->option[CONTROL_OPTION_SEND_SIZE], receive = k->option[CONTROL_OPTION_RECEIVE_SIZE];
        bool fits = (send == 0 || send == a->send_size) && (receive == 0 || receive == a->receive_size);
        for (uint32_t s = 0; fits && a->transport == k->transport && s < a->slots; s++) {
            if (a->holder[s] != 0)
                continue;
            a->holder[s] = socket + 1;
            k->arena = i;
            k->slot = s;
            k->slot_generation = ++f->generation;
            __atomic_store_n(&a->words->free_slots, a->words->free_slots - 1, __ATOMIC_RELAXED);
            publish(f, k);
            return true;
        }
    }
    return false;
}

static void socket_end(struct fake_stack *f, struct fake_socket *k)
{
    if (k->arena != NOBODY) {
        struct fake_arena *a = &f->arena[k->arena];
        a->holder[k->slot] = 0;
        __atomic_store_n(&a->words->free_slots, a->words->free_slots + 1, __ATOMIC_RELAXED);
    }
    k->used = false;
}

/* What the application says of a slot, if it is of this use. */
static bool app_words(struct fake_stack *f, const struct fake_socket *k, struct slot_app *ret)
{
    const struct slot_app *w = &f->arena[k->arena].app->slot[k->slot];
    ret->generation = __atomic_load_n(&w->generation, __ATOMIC_ACQUIRE);
    ret->flags = __atomic_load_n(&w->flags, __ATOMIC_ACQUIRE);
    ret->send_head = __atomic_load_n(&w->send_head, __ATOMIC_ACQUIRE);
    ret->receive_tail = __atomic_load_n(&w->receive_tail, __ATOMIC_ACQUIRE);
    return ret->generation == k->slot_generation;
}

static void octets_move(struct fake_stack *f, const struct fake_socket *from, uint32_t offset,
                        const struct fake_socket *to, uint32_t to_offset, uint32_t n)
{
    const struct fake_arena *a = &f->arena[from->arena], *b = &f->arena[to->arena];
    const uint8_t *source = (const uint8_t *)a->app + arena_send_offset(a->slots) + (size_t)from->slot * a->send_size;
    uint8_t *target = (uint8_t *)b->words + arena_receive_offset(b->slots) + (size_t)to->slot * b->receive_size;
    for (uint32_t i = 0; i < n; i++)
        target[(to_offset + i) & (b->receive_size - 1)] = source[(offset + i) & (a->send_size - 1)];
}

static bool stream_move(struct fake_stack *f, struct fake_socket *k)
{
    struct fake_socket *peer = k->peer == NOBODY ? NULL : &f->socket[k->peer];
    struct slot_app mine, theirs = {0};
    if (peer == NULL || !app_words(f, k, &mine))
        return false;
    uint32_t size = f->arena[peer->arena].receive_size;
    (void)app_words(f, peer, &theirs);
    if (theirs.generation != peer->slot_generation)
        theirs.receive_tail = 0; /* not accepted yet */
    uint32_t n = mine.send_head - k->send_tail, room = size - (peer->receive_head - theirs.receive_tail);
    n = n < room ? n : room;
    bool fin = n == mine.send_head - k->send_tail && ((mine.flags & SLOT_APP_SHUTDOWN) != 0 || k->closed);
    if (n == 0 && (!fin || (peer->state & SLOT_FIN) != 0))
        return false;
    octets_move(f, k, k->send_tail, peer, peer->receive_head, n);
    k->send_tail += n;
    peer->receive_head += n;
    peer->state |= fin ? SLOT_FIN : 0;
    k->finished = k->finished || fin;
    publish(f, k);
    publish(f, peer);
    return true;
}

static struct fake_socket *by_port(struct fake_stack *f, uint32_t transport, uint16_t port)
{
    for (uint32_t i = 0; i < SOCKETS; i++)
        if (f->socket[i].used && f->socket[i].transport == transport && f->socket[i].port == port &&
            (transport == SESSION_UDP || f->socket[i].listening))
            return &f->socket[i];
    return NULL;
}

static struct ip_address loopback(uint8_t family)
{
    return family == ADDRESS_IP6 ? (struct ip_address){.family = ADDRESS_IP6, .octets = {[15] = 1}}
                                 : (struct ip_address){.family = ADDRESS_IP4, .octets = {127, 0, 0, 1}};
}

/* As it arrives: from whom, with what the socket's options or the record itself say. */
static struct datagram_record record_received(const struct fake_socket *from, const struct datagram_record *sent)
{
    struct ip_address source = loopback(sent->port == 0 ? from->remote.family : sent->family);
    uint32_t ttl = from->option[CONTROL_OPTION_TTL] != 0 ? from->option[CONTROL_OPTION_TTL] : 64;
    struct datagram_record r = {.length = sent->length, .port = from->port, .family = source.family};
    r.ttl = sent->ttl != 0 ? sent->ttl : (uint8_t)ttl;
    r.traffic_class = (sent->flags & DATAGRAM_TRAFFIC_CLASS) != 0 ? sent->traffic_class
                                                                  : (uint8_t)from->option[CONTROL_OPTION_TRAFFIC_CLASS];
    memcpy(r.octets, source.octets, sizeof r.octets);
    return r;
}

static void datagram_deliver(struct fake_stack *f, struct fake_socket *to, const struct datagram_record *record,
                             const uint8_t *payload, uint32_t octets)
{
    struct slot_app theirs;
    struct fake_arena *b = &f->arena[to->arena];
    uint8_t *target = (uint8_t *)b->words + arena_receive_offset(b->slots) + (size_t)to->slot * b->receive_size;
    if (!app_words(f, to, &theirs))
        return;
    uint32_t at = to->receive_head & (b->receive_size - 1), end = b->receive_size - at;
    uint32_t room = b->receive_size - (to->receive_head - theirs.receive_tail);
    if (room < octets + (octets > end ? end : 0))
        return;
    if (octets > end) {
        memset(target + at, 0xff, 4);
        to->receive_head += end;
        at = 0;
    }
    memcpy(target + at, record, sizeof *record);
    memcpy(target + at + sizeof *record, payload, record->length);
    to->receive_head += octets;
    publish(f, to);
}

static bool datagram_move(struct fake_stack *f, struct fake_socket *k)
{
    struct slot_app mine;
    struct datagram_record r;
    const struct fake_arena *a = &f->arena[k->arena];
    if (!app_words(f, k, &mine) || mine.send_head == k->send_tail)
        return false;
    const uint8_t *source = (const uint8_t *)a->app + arena_send_offset(a->slots) + (size_t)k->slot * a->send_size;
    uint32_t place = k->send_tail & (a->send_size - 1), left = a->send_size - place;
    memcpy(&r, source + place, left < sizeof r ? left : sizeof r);
    uint32_t octets = (uint32_t)sizeof r + ((r.length + DATAGRAM_STEP - 1) & ~(DATAGRAM_STEP - 1));
    if (r.length == DATAGRAM_WRAP) {
        k->send_tail += left;
        publish(f, k);
        return true;
    }
    must(octets <= left && octets <= mine.send_head - k->send_tail, "datagram record");
    must(r.port != 0 || k->remote.family != ADDRESS_NONE, "a datagram without destination");
    uint16_t port = r.port == 0 ? k->remote_port : r.port;
    struct fake_socket *to = by_port(f, SESSION_UDP, port);
    struct datagram_record out = record_received(k, &r);
    if (to != NULL && to->arena != NOBODY) {
        datagram_deliver(f, to, &out, source + place + sizeof r, octets);
    } else if (k->remote_port == port) { /* connected, and nobody there: ICMP says so */
        k->error = ECONNREFUSED;
        k->error_count++;
    }
    k->send_tail += octets;
    publish(f, k);
    return true;
}

/* ---- requests ---- */
static int connect_stream(struct fake_stack *f, uint32_t index, const struct control_request *q)
{
    struct fake_socket *k = &f->socket[index];
    struct fake_socket *listener = by_port(f, SESSION_TCP, q->port);
    k->remote = q->address;
    if (f->pend)
        return slot_take(f, index) ? EINPROGRESS : ENOBUFS;
    if (listener == NULL) {
        k->state = SLOT_ERROR | SLOT_CLOSED;
        k->error = ECONNREFUSED;
        return slot_take(f, index) ? EINPROGRESS : ENOBUFS;
    }
    uint32_t other = 0;
    while (other < SOCKETS && (f->socket[other].used || other == index))
        other++;
    if (other == SOCKETS || listener->queued == QUEUE || !slot_take(f, index))
        return ENOBUFS;
    struct fake_socket *child = &f->socket[other];
    *child = (struct fake_socket){.used = true,
                                  .transport = SESSION_TCP,
                                  .peer = index,
                                  .arena = NOBODY,
                                  .generation = ++f->generation,
                                  .state = SLOT_CONNECTED,
                                  .remote = loopback(q->address.family),
                                  .port = listener->port};
    memcpy(child->option, listener->option, sizeof child->option);
    if (!slot_take(f, other)) {
        child->used = false;
        f->arena[k->arena].holder[k->slot] = 0;
        k->arena = NOBODY;
        return ENOBUFS;
    }
    k->peer = other;
    k->state = SLOT_CONNECTED;
    publish(f, k);
    listener->queue[listener->queued++] = other;
    accept_publish(f, listener);
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
    accept_publish(f, listener);
    return 0;
}

static int socket_new(struct fake_stack *f, const struct control_request *q, uint32_t *ret)
{
    for (uint32_t i = 0; i < SOCKETS; i++) {
        must(!f->socket[i].used || f->socket[i].closed || f->socket[i].descriptor != q->argument[1] ||
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
        return slot_take(f, index) ? 0 : ENOBUFS;
    publish(f, k);
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
        if (q->port != 0 && by_port(f, k->transport, q->port) != NULL)
            return EADDRINUSE;
        k->port = q->port != 0 ? q->port : f->next_port++;
        k->local = q->address;
        return k->transport == SESSION_UDP && !slot_take(f, q->socket) ? ENOBUFS : 0;
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
            stream_move(f, k);
        if (k->transport == SESSION_UDP || k->peer == NOBODY || f->socket[k->peer].closed) {
            if (k->peer != NOBODY && k->transport == SESSION_TCP)
                socket_end(f, &f->socket[k->peer]);
            socket_end(f, k);
        }
        return 0;
    default:
        return q->operation == CONTROL_SET_OPTION ? option_set(f, k, q) : EINVAL;
    }
}

static bool lane(struct fake_stack *f, uint32_t i)
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
    a.remote = k->remote.family != ADDRESS_NONE ? k->remote : loopback(ADDRESS_IP4);
    a.local = k->remote.family != ADDRESS_NONE  ? loopback(k->remote.family)
              : k->local.family != ADDRESS_NONE ? k->local
                                                : loopback(ADDRESS_IP4);
    f->answer->lane[i].answer = a;
    __atomic_store_n(&f->answer->lane[i].sequence, sequence, __ATOMIC_RELEASE);
    f->answered[i] = sequence;
    f->news = true;
    return true;
}

/* ---- the loop ---- */
static void lie(struct fake_stack *f)
{
    unsigned seed = f->lie;
    for (uint32_t i = 0; i < f->arenas; i++) {
        struct fake_arena *a = &f->arena[i];
        for (uint32_t s = 0; s < a->slots; s++) {
            uint32_t *word = (uint32_t *)(void *)&a->words->slot[s];
            for (uint32_t w = 1; w < 7; w++) /* the generation stays, or nothing would be believed */
                __atomic_store_n(&word[w], (uint32_t)rand_r(&seed) * 2654435761U, __ATOMIC_RELEASE);
        }
        __atomic_store_n(&a->words->notify_consumer, (uint32_t)rand_r(&seed) * 2654435761U, __ATOMIC_RELEASE);
        for (uint32_t n = 0; n < ARENA_SLOTS_MAX; n++)
            __atomic_store_n(&a->words->ready[n], (uint32_t)rand_r(&seed) * 2654435761U, __ATOMIC_RELEASE);
        __atomic_store_n(&a->words->ready_producer, (uint32_t)rand_r(&seed) * 2654435761U, __ATOMIC_RELEASE);
    }
    for (uint32_t n = 0; f->answer != NULL && n < SESSION_DESCRIPTORS; n++) {
        __atomic_store_n(&f->answer->ready[n], (uint32_t)rand_r(&seed) * 2654435761U, __ATOMIC_RELEASE);
        __atomic_store_n(&f->answer->ready_producer, (uint32_t)rand_r(&seed) * 2654435761U, __ATOMIC_RELEASE);
    }
    f->lie = seed | 1;
    f->news = true;
}

static bool pass(struct fake_stack *f)
{
    bool did = false;
    f->news = false;
    for (uint32_t i = 0; f->control != NULL && i < SESSION_LANES; i++)
        did |= lane(f, i);
    for (uint32_t i = 0; !f->stalled && i < f->arenas; i++) {
        struct fake_arena *a = &f->arena[i];
        uint32_t producer = __atomic_load_n(&a->app->notify_producer, __ATOMIC_ACQUIRE);
        must(f->lie != 0 || producer - a->consumer <= a->slots, "more notices than slots");
        uint32_t from = a->consumer;
        a->consumer = producer;
        if (f->lie == 0)
            __atomic_store_n(&a->words->notify_consumer, producer, __ATOMIC_RELEASE);
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* (e) */
        for (; from != producer && producer - from <= ARENA_SLOTS_MAX; from++) {
            uint32_t slot = a->app->notify[from % ARENA_SLOTS_MAX];
            struct fake_socket *k = slot < a->slots && a->holder[slot] != 0 ? &f->socket[a->holder[slot] - 1] : NULL;
            did = true;
            if (k == NULL || !k->used || k->reset)
                continue;
            if (k->transport == SESSION_TCP)
                f->app_flags = a->app->slot[slot].flags;
            while (k->transport == SESSION_TCP ? stream_move(f, k) : datagram_move(f, k))
                ;
            if (k->peer != NOBODY && k->transport == SESSION_TCP)
                while (stream_move(f, &f->socket[k->peer])) /* it may have read: room for the other */
                    ;
        }
    }
    if (f->lie != 0)
        lie(f);
    if (f->news && f->control != NULL)
        doorbell_ring(&f->to_session);
    return did;
}

static void *fake_run(void *argument)
{
    struct fake_stack *f = argument;
    for (;;) {
        struct pollfd set[BELLS + 3] = {{.fd = f->listener, .events = POLLIN},
                                        {.fd = f->connection, .events = POLLIN},
                                        {.fd = f->control_pipe[0], .events = POLLIN}};
        for (int i = 0; i < BELLS; i++)
            set[3 + i] = (struct pollfd){.fd = f->bell_read[i], .events = POLLIN};
        pthread_mutex_lock(&f->lock);
        doorbell_sleep(&f->status->sleep); /* (C) */
        bool busy = pass(f);
        bool stop = f->stop;
        int timeout_ms = busy ? 0 : f->lie != 0 ? 1 : -1;
        if (f->mute)
            set[1].fd = -1;
        pthread_mutex_unlock(&f->lock);
        if (stop)
            return NULL;
        poll(set, BELLS + 3, timeout_ms);
        doorbell_wake(&f->status->sleep);
        for (int i = 0; i < BELLS; i++)
            if (set[3 + i].revents != 0)
                doorbell_drain(f->bell_read[i]);
        if (set[2].revents != 0)
            doorbell_drain(f->control_pipe[0]);
        pthread_mutex_lock(&f->lock);
        if (set[0].revents != 0 && f->connection < 0)
            f->connection = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        if (f->hang_up && f->connection >= 0) {
            close(f->connection);
            f->connection = -1;
        } else if (f->connection >= 0 && !f->mute) {
            attach_message(f);
        }
        pthread_mutex_unlock(&f->lock);
    }
}

/* ---- from the test ---- */
struct fake_stack *fake_stack_start(void)
{
    struct fake_stack *f = calloc(1, sizeof *f);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    must(f != NULL, "memory");
    f->connection = -1;
    f->next_port = 40000;
    strcpy(f->folder, "/tmp/bh-fake-XXXXXX");
    must(mkdtemp(f->folder) != NULL, "mkdtemp");
    snprintf(f->path, sizeof f->path, "%s/attach", f->folder);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    must(bind(f->listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(f->listener, 4) == 0, "listen");
    for (int i = 0; i < BELLS; i++) {
        int fd[2];
        must(pipe2(fd, O_NONBLOCK | O_CLOEXEC) == 0, "pipe");
        f->bell_read[i] = fd[0];
        f->bell_write[i] = fd[1];
    }
    must(pipe2(f->control_pipe, O_NONBLOCK | O_CLOEXEC) == 0, "pipe");
    f->status_fd = segment_create("status", sizeof *f->status);
    void *status;
    must(segment_map(f->status_fd, sizeof *f->status, true, &status) == 0, "status page");
    f->status = status;
    pthread_mutex_init(&f->lock, NULL);
    setenv("BULKHEAD_RUN_DIR", f->folder, 1);
    must(pthread_create(&f->thread, NULL, fake_run, f) == 0, "thread");
    return f;
}

static void poke(struct fake_stack *f)
{
    must(write(f->control_pipe[1], "", 1) == 1, "poke");
}

static void end(struct fake_stack *f)
{
    if (f->ended)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_mutex_unlock(&f->lock);
    poke(f);
    pthread_join(f->thread, NULL);
    f->ended = true;
}

void fake_stack_die(struct fake_stack *f)
{
    end(f);
    for (int i = 0; i < BELLS; i++)
        close(f->bell_read[i]);
}

void fake_stack_mute(struct fake_stack *f, bool on)
{
    pthread_mutex_lock(&f->lock);
    f->mute = on;
    pthread_mutex_unlock(&f->lock);
    poke(f);
}

void fake_stack_stall(struct fake_stack *f, bool on)
{
    pthread_mutex_lock(&f->lock);
    f->stalled = on;
    pthread_mutex_unlock(&f->lock);
    poke(f);
}

void fake_stack_refuse(struct fake_stack *f, int error, uint32_t slots)
{
    pthread_mutex_lock(&f->lock);
    f->refuse = error;
    f->refuse_above = slots;
    pthread_mutex_unlock(&f->lock);
}

void fake_stack_stop(struct fake_stack *f)
{
    end(f);
    unlink(f->path);
    rmdir(f->folder);
    free(f);
}

void fake_stack_lie(struct fake_stack *f, uint32_t seed)
{
    pthread_mutex_lock(&f->lock);
    f->lie = seed;
    pthread_mutex_unlock(&f->lock);
    poke(f);
}

void fake_stack_reset_all(struct fake_stack *f)
{
    pthread_mutex_lock(&f->lock);
    for (uint32_t i = 0; i < SOCKETS; i++) {
        struct fake_socket *k = &f->socket[i];
        if (!k->used || k->transport != SESSION_TCP || k->arena == NOBODY)
            continue;
        k->state |= SLOT_ERROR | SLOT_CLOSED;
        k->error = ECONNRESET;
        k->reset = true;
        publish(f, k);
    }
    doorbell_ring(&f->to_session);
    pthread_mutex_unlock(&f->lock);
}

void fake_stack_forget(struct fake_stack *f, bool slots)
{
    pthread_mutex_lock(&f->lock);
    for (uint32_t i = 0; i < SESSION_DESCRIPTORS; i++)
        __atomic_store_n(&f->answer->word[i].error, ECONNRESET, __ATOMIC_RELEASE);
    __atomic_store_n(&f->answer->ready_producer, f->answer->ready_producer + SESSION_DESCRIPTORS, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < SOCKETS; i++) {
        struct fake_socket *k = &f->socket[i];
        if (k->used && k->arena != NOBODY && slots) {
            k->state |= SLOT_ERROR | SLOT_CLOSED;
            k->error = ECONNRESET;
            k->error_count++;
            publish(f, k);
        }
        k->generation += 100; /* what is asked about it is about no socket */
        k->reset = k->reset || k->transport == SESSION_TCP;
    }
    doorbell_ring(&f->to_session);
    pthread_mutex_unlock(&f->lock);
}

void fake_stack_hang_up(struct fake_stack *f)
{
    pthread_mutex_lock(&f->lock);
    f->hang_up = true;
    pthread_mutex_unlock(&f->lock);
    poke(f);
}

void fake_stack_lose_answers(struct fake_stack *f, int count)
{
    pthread_mutex_lock(&f->lock);
    f->lose = count;
    pthread_mutex_unlock(&f->lock);
}

uint32_t fake_stack_arenas(const struct fake_stack *f)
{
    return f->arenas;
}

uint32_t fake_stack_option(struct fake_stack *f, uint32_t option)
{
    pthread_mutex_lock(&f->lock);
    uint32_t value = f->option[option];
    pthread_mutex_unlock(&f->lock);
    return value;
}

uint32_t fake_stack_app_flags(struct fake_stack *f)
{
    pthread_mutex_lock(&f->lock);
    uint32_t flags = f->app_flags;
    pthread_mutex_unlock(&f->lock);
    return flags;
}

uint32_t fake_stack_backlog(struct fake_stack *f)
{
    pthread_mutex_lock(&f->lock);
    uint32_t backlog = f->backlog;
    pthread_mutex_unlock(&f->lock);
    return backlog;
}

void fake_stack_pend(struct fake_stack *f, bool on)
{
    pthread_mutex_lock(&f->lock);
    f->pend = on;
    pthread_mutex_unlock(&f->lock);
}

void fake_stack_drain(struct fake_stack *f, bool on)
{
    pthread_mutex_lock(&f->lock);
    f->undrained = !on;
    for (uint32_t i = 0; i < SOCKETS; i++)
        if (f->socket[i].used && f->socket[i].transport == SESSION_TCP && f->socket[i].arena != NOBODY)
            publish(f, &f->socket[i]);
    doorbell_ring(&f->to_session);
    pthread_mutex_unlock(&f->lock);
}

uint32_t fake_stack_sockets(struct fake_stack *f)
{
    uint32_t open = 0;
    pthread_mutex_lock(&f->lock);
    for (uint32_t i = 0; i < SOCKETS; i++)
        open += f->socket[i].used;
    pthread_mutex_unlock(&f->lock);
    return open;
}
