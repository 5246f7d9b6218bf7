// SPDX-License-Identifier: BSD-2-Clause
/* The stack in a thread: loopback TCP and UDP between the slots of the one session. */
#include "tests/unit/fake_internal.h"

#include <errno.h>
#include <string.h>

#include "protocols/tcp/tcp.h"

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

void fake_publish(struct fake_stack *f, struct fake_socket *k)
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

void fake_accept_publish(struct fake_stack *f, const struct fake_socket *listener)
{
    __atomic_store_n(&f->answer->word[listener->descriptor].accept_ready, listener->queued, __ATOMIC_RELEASE);
    __atomic_store_n(&f->answer->ready[f->answer->ready_producer % SESSION_DESCRIPTORS], listener->descriptor,
                     __ATOMIC_RELEASE);
    __atomic_store_n(&f->answer->ready_producer, f->answer->ready_producer + 1, __ATOMIC_RELEASE);
    f->news = true;
}

bool fake_slot_take(struct fake_stack *f, uint32_t socket)
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
            fake_publish(f, k);
            return true;
        }
    }
    return false;
}

void fake_socket_end(struct fake_stack *f, struct fake_socket *k)
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
    const uint8_t *source = (const uint8_t *)a->app + arena_send_offset(a->slots) + (size_t)from->slot * a->send_most;
    uint8_t *target = (uint8_t *)b->words + arena_receive_offset(b->slots) + (size_t)to->slot * b->receive_most;
    for (uint32_t i = 0; i < n; i++)
        target[(to_offset + i) & (b->receive_size - 1)] = source[(offset + i) & (a->send_size - 1)];
}

bool fake_stream_move(struct fake_stack *f, struct fake_socket *k)
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
    fake_publish(f, k);
    fake_publish(f, peer);
    return true;
}

struct fake_socket *fake_by_port(struct fake_stack *f, uint32_t transport, uint16_t port)
{
    for (uint32_t i = 0; i < SOCKETS; i++)
        if (f->socket[i].used && f->socket[i].transport == transport && f->socket[i].port == port &&
            (transport == SESSION_UDP || f->socket[i].listening))
            return &f->socket[i];
    return NULL;
}

struct ip_address fake_loopback(uint8_t family)
{
    return family == ADDRESS_IP6 ? (struct ip_address){.family = ADDRESS_IP6, .octets = {[15] = 1}}
                                 : (struct ip_address){.family = ADDRESS_IP4, .octets = {127, 0, 0, 1}};
}

/* As it arrives: from whom, with what the socket's options or the record itself say. */
static struct datagram_record record_received(const struct fake_socket *from, const struct datagram_record *sent)
{
    struct ip_address source = fake_loopback(sent->port == 0 ? from->remote.family : sent->family);
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
    uint8_t *target = (uint8_t *)b->words + arena_receive_offset(b->slots) + (size_t)to->slot * b->receive_most;
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
    fake_publish(f, to);
}

bool fake_datagram_move(struct fake_stack *f, struct fake_socket *k)
{
    struct slot_app mine;
    struct datagram_record r;
    const struct fake_arena *a = &f->arena[k->arena];
    if (!app_words(f, k, &mine) || mine.send_head == k->send_tail)
        return false;
    const uint8_t *source = (const uint8_t *)a->app + arena_send_offset(a->slots) + (size_t)k->slot * a->send_most;
    uint32_t place = k->send_tail & (a->send_size - 1), left = a->send_size - place;
    memcpy(&r, source + place, left < sizeof r ? left : sizeof r);
    uint32_t octets = (uint32_t)sizeof r + ((r.length + DATAGRAM_STEP - 1) & ~(DATAGRAM_STEP - 1));
    if (r.length == DATAGRAM_WRAP) {
        k->send_tail += left;
        fake_publish(f, k);
        return true;
    }
    fake_must(octets <= left && octets <= mine.send_head - k->send_tail, "datagram record");
    fake_must(r.port != 0 || k->remote.family != ADDRESS_NONE, "a datagram without destination");
    uint16_t port = r.port == 0 ? k->remote_port : r.port;
    struct fake_socket *to = fake_by_port(f, SESSION_UDP, port);
    struct datagram_record out = record_received(k, &r);
    if (to != NULL && to->arena != NOBODY) {
        datagram_deliver(f, to, &out, source + place + sizeof r, octets);
    } else if (k->remote_port == port) { /* connected, and nobody there: ICMP says so */
        k->error = ECONNREFUSED;
        k->error_count++;
    }
    k->send_tail += octets;
    fake_publish(f, k);
    return true;
}
