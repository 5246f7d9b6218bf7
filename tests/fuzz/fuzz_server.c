// SPDX-License-Identifier: BSD-2-Clause
/* Any bytes in any ring that a server reads: messages of its neighbours, the words of a channel itself, the words,
 * lanes, notify rings and records of its sessions' memory, packets in pools that are lent to it, what its device hands
 * out, what its store holds; in any order with time and with deaths of neighbours and of itself. One program a server.
 * Judged by ASan, UBSan     no access outside what was granted, no undefined behaviour an end          every round
 * ends, and after the last input the server comes to rest what it says    only operations that are its to say,
 * references only into what is there counters        every message with a capability that its sender has not is counted
 * as refused or dropped accounts        once its neighbours and sessions are gone, every buffer of its pool is home */
#include <unistd.h>

#include "protocols/tcp/ring.h"
#include "tests/fuzz/server_world.h"

static const uint8_t operations[] = {
    MESSAGE_SEND,      MESSAGE_RECEIVE,     MESSAGE_RETURN,     MESSAGE_UNREACHABLE, MESSAGE_BIND,
    MESSAGE_LISTEN,    MESSAGE_CONNECT,     MESSAGE_CLOSE,      MESSAGE_ACCEPTED,    MESSAGE_OWNED,
    MESSAGE_OWNED_END, MESSAGE_SESSION_END, MESSAGE_SET_OPTION, MESSAGE_ANSWER,      MESSAGE_ESTABLISHED,
    MESSAGE_ALIVE,     MESSAGE_LOST,        MESSAGE_ALIVE_END,
};

static enum server_id some_peer(struct input *in, const struct world *w)
{
    unsigned peer = input_8(in) % SERVER_COUNT;
    while (w->context.port[peer] == NULL)
        peer = (peer + 1) % SERVER_COUNT;
    return (enum server_id)peer;
}

/* ---- messages ---- */
static void some_address(struct input *in, struct ip_address *ret)
{
    static const struct ip_address known[] = {
        {.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}},
        {.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}},
        {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 2}},
        {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 1}},
        {.family = ADDRESS_IP4},
        {.family = ADDRESS_IP6},
        {.family = ADDRESS_NONE},
        {.family = ADDRESS_IP6, .octets = {0xfe, 0x80, [15] = 2}},
        {.family = ADDRESS_IP4, .octets = {127, 0, 0, 1}},
        {.family = ADDRESS_IP4, .octets = {255, 255, 255, 255}},
        {.family = ADDRESS_IP4, .octets = {10, 77, 0, 255}},
        {.family = ADDRESS_IP6, .octets = {[10] = 0xff, 0xff, 10, 77, 0, 1}},
        {.family = ADDRESS_IP4, .octets = {224, 0, 0, 1}},
        {.family = ADDRESS_IP6, .octets = {0xff, 2, [15] = 1}},
    };
    uint8_t which = input_8(in);
    if (which >= 0xf0)
        input_octets(in, ret, sizeof *ret);
    else
        *ret = known[which % (sizeof known / sizeof known[0])];
}

static void some_reference(struct input *in, const struct world *w, struct message_reference *ret)
{
    uint8_t how = input_8(in);
    unsigned owner = (how & 3) == 0 ? SERVER_NIC : (how & 3) == 1 ? SERVER_IP : FUZZ_SERVER;
    if (FUZZ_SERVER == SERVER_IP && (how & 3) == 2)
        owner = how & 4 ? SERVER_UDP : SERVER_TCP;
    ret->pool = world_pool_index((enum server_id)owner);
    ret->generation = (how & 0x40) != 0 ? input_16(in) : w->generation[owner];
    if ((how & 3) == 3) {
        ret->pool = (how & 0x80) != 0 ? input_16(in) : world_arena_index(how >> 2 & 1, how >> 3 & 1);
        ret->generation = (how & 0x40) != 0 ? input_16(in) : 1;
    }
    ret->offset = (how & 0x10) != 0 ? input_32(in) : (how & 0x20) != 0 ? input_16(in) : 0;
    ret->length = (how & 0x10) != 0 ? input_32(in) : input_16(in);
}

static void some_socket(struct input *in, const struct world_end *e, struct message_socket *ret)
{
    uint8_t how = input_8(in);
    if ((how & 1) != 0)
        *ret = e->seen.socket; /* as it was named last */
    else
        *ret = (struct message_socket){.socket = 0x10000U + input_8(in) % 8,
                                       .session = input_8(in) % 4,
                                       .connection = (how & 2) != 0 ? input_8(in) : UINT32_MAX,
                                       .arena = (how & 4) != 0 ? input_8(in) % 4 : UINT32_MAX,
                                       .slot = input_8(in) % 8,
                                       .generation = input_8(in),
                                       .listener = 0x10000U + input_8(in) % 8};
    ret->error = (how & 8) != 0 ? (int32_t)input_8(in) : 0;
    for (unsigned i = 0; i < 4 && (how & 16) != 0; i++)
        ret->argument[i] = input_8(in);
    if ((how & 32) != 0)
        ((uint32_t *)(void *)ret)[input_8(in) % (sizeof *ret / 4)] = input_32(in);
}

static void some_packet_fields(struct input *in, struct message *m)
{
    uint8_t how = input_8(in);
    m->protocol = how & 1                     ? input_8(in)
                  : FUZZ_SERVER == SERVER_UDP ? 17
                  : FUZZ_SERVER == SERVER_TCP ? 6
                  : how & 2                   ? 6
                                              : 17;
    m->ttl = how & 4 ? input_8(in) : 64;
    m->traffic_class = how & 8 ? input_8(in) : 0;
    if ((how & 16) == 0)
        return;
    m->gso_type = input_8(in) % 5;
    m->gso_size = input_16(in);
    m->checksum_state = input_8(in) % 4;
    m->header_octets = input_8(in);
    m->checksum_start = input_8(in);
    m->checksum_offset = input_8(in);
}

static void message_push(struct world *w, enum server_id peer, const struct message *m)
{
    struct world_end *e = &w->end[peer];
    bool lie = m->operation != MESSAGE_RETURN &&
               e->here.table.entry[m->capability % CAPABILITY_TABLE_MAX].type != CAPABILITY_POOL &&
               (m->capability != CAPABILITY_INDEX_PEER || m->generation != 1);
    uint64_t before = e->here.counters.pulled;
    if (!e->here.attached || !port_push(&e->there, m))
        return;
    port_flush(&e->there);
    if (!lie)
        return;
    bool pending = e->there.ring.head - e->here.ring.tail > 2; /* others were before it */
    world_turn(w, 1, true);
    e->lies += !pending && e->here.counters.pulled == before + 1;
}

static void message(struct world *w, struct input *in)
{
    enum server_id peer = some_peer(in, w);
    struct world_end *e = &w->end[peer];
    uint8_t how = input_8(in);
    struct message m = {.operation = operations[input_8(in) % sizeof operations],
                        .capability = (how & 0xc0) == 0xc0 ? input_16(in) : CAPABILITY_INDEX_PEER,
                        .generation = (how & 0x30) == 0x30 ? input_16(in) : 1,
                        .cookie = (how & 1) != 0 ? e->seen.cookie : input_8(in)};
    m.flags = m.operation == MESSAGE_SEND ? input_8(in) & 1 : 0;
    if (m.operation == MESSAGE_RETURN) {
        m.count = input_8(in) % (MESSAGE_RETURNS_MAX + 1);
        for (unsigned i = 0; i < m.count; i++)
            m.returned[i] = (how & 2) != 0 ? input_8(in) : e->loans.cookie[input_8(in) % WORLD_LOANS];
    } else if (m.operation < MESSAGE_BIND) {
        some_reference(in, w, &m.reference[0]);
        if ((how & 4) != 0)
            some_reference(in, w, &m.reference[1]);
        some_packet_fields(in, &m);
    } else {
        some_socket(in, e, &m.socket);
    }
    if ((how & 8) != 0) {
        m.source = e->seen.source;
        m.destination = e->seen.destination;
        m.source_port = e->seen.source_port;
        m.destination_port = e->seen.destination_port;
    } else {
        some_address(in, &m.source);
        some_address(in, &m.destination);
        m.source_port = input_8(in) % 4 + 80;
        m.destination_port = input_8(in) % 4 + 5000;
    }
    message_push(w, peer, &m);
}

/* What a transport wants to be sent: a header in its pool, perhaps payload in an arena. */
static void packet_down(struct world *w, struct input *in, uint8_t how)
{
    enum server_id from = how & 1 ? SERVER_UDP : SERVER_TCP;
    uint32_t slot = (how >> 1 & 3) * 4096U, header = from == SERVER_UDP ? 8 : 20;
    struct packet p;
    packet_make(in, w, false, w->foreign[from] + slot, 4096, &p);
    struct message m = {.operation = MESSAGE_SEND,
                        .flags = input_8(in) & 1,
                        .capability = CAPABILITY_INDEX_PEER,
                        .generation = 1,
                        .cookie = input_8(in),
                        .reference = {{world_pool_index(from), w->generation[from], slot + p.transport_at, header}},
                        .protocol = from == SERVER_UDP ? 17 : 6,
                        .ttl = input_8(in),
                        .traffic_class = input_8(in),
                        .checksum_state = MESSAGE_CHECKSUM_PARTIAL,
                        .checksum_offset = from == SERVER_UDP ? 6 : 16};
    some_address(in, &m.source);
    some_address(in, &m.destination);
    if ((how & 8) != 0)
        m.reference[1] =
            (struct message_reference){world_arena_index(0, from == SERVER_UDP), 1, input_16(in), input_16(in)};
    if ((how & 16) != 0)
        some_packet_fields(in, &m);
    message_push(w, from, &m);
}

/* A packet where it belongs, and the message that names it. */
static void packet(struct world *w, struct input *in)
{
    uint8_t how = input_8(in);
    bool frame = FUZZ_SERVER == SERVER_IP;
    enum server_id owner = (how & 1) != 0 && FUZZ_SERVER != SERVER_IP ? SERVER_IP : SERVER_NIC;
    enum server_id peer = FUZZ_SERVER == SERVER_IP ? SERVER_NIC : SERVER_IP;
    if (FUZZ_SERVER == SERVER_SOCKET || w->foreign[owner] == NULL)
        return;
    if (FUZZ_SERVER == SERVER_IP && (how & 0x20) != 0) {
        packet_down(w, in, how);
        return;
    }
    uint32_t slot = (how >> 1 & 3) * 4096U;
    struct packet p;
    packet_make(in, w, frame, w->foreign[owner] + slot, 4096, &p);
    uint32_t skip = FUZZ_SERVER == SERVER_TCP || FUZZ_SERVER == SERVER_UDP ? p.transport_at : 0;
    struct message m = {.operation = MESSAGE_RECEIVE,
                        .capability = CAPABILITY_INDEX_PEER,
                        .generation = 1,
                        .cookie = input_8(in) + (owner == SERVER_IP ? MESSAGE_COOKIE_OWN : 0),
                        .reference = {{world_pool_index(owner), w->generation[owner], slot + skip, p.octets - skip}},
                        .source = {.family = p.ip6 ? ADDRESS_IP6 : ADDRESS_IP4, .octets = {10, 77, 0, 1}},
                        .destination = {.family = p.ip6 ? ADDRESS_IP6 : ADDRESS_IP4, .octets = {10, 77, 0, 2}},
                        .protocol = p.protocol,
                        .ttl = 64,
                        .traffic_class = input_8(in),
                        .checksum_state = how & 8 ? MESSAGE_CHECKSUM_NONE : MESSAGE_CHECKSUM_VALID};
    if (p.ip6) {
        m.source = (struct ip_address){.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 1}};
        m.destination = (struct ip_address){.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 2}};
    }
    const uint8_t *transport = w->foreign[owner] + slot + p.transport_at;
    m.source_port = (uint16_t)(transport[0] << 8 | transport[1]);
    m.destination_port = (uint16_t)(transport[2] << 8 | transport[3]);
    if ((how & 16) != 0)
        some_packet_fields(in, &m);
    if ((how & 64) != 0) /* payload where it was sent from */
        some_reference(in, w, &m.reference[1]);
    message_push(w, peer, &m);
}

/* The channel itself: any octets in the peer's half. */
static void channel(struct world *w, struct input *in)
{
    struct world_end *e = &w->end[some_peer(in, w)];
    uint8_t how = input_8(in);
    switch (how % 4) {
    case 0:
        input_octets(in, e->half[1].slot[input_16(in) % RING_SLOTS].octets, MESSAGE_SLOT_OCTETS);
        break;
    case 1:
        e->half[1]
            .slot[(e->here.ring.tail + input_8(in) % 8U) % RING_SLOTS]
            .octets[input_8(in) % MESSAGE_SLOT_OCTETS] ^= input_8(in);
        break;
    case 2:
        e->half[1].producer = how & 4 ? e->half[1].producer + input_8(in) : input_32(in);
        break;
    default:
        e->half[1].consumer = how & 4 ? e->half[1].consumer + input_8(in) : input_32(in);
    }
}

/* ---- sessions ---- */
static void lane(const struct world *w, struct input *in, const struct world_session *m)
{
    struct control_lane_app *l = &m->control->lane[input_8(in) % SESSION_LANES];
    const struct control_lane_socket *answer = &m->answer->lane[l - m->control->lane];
    uint8_t how = input_8(in);
    l->request = (struct control_request){.operation = input_8(in) % 9,
                                          .socket = answer->answer.socket,
                                          .generation = answer->answer.generation,
                                          .argument = {input_8(in) % 20, input_8(in), how & 1 ? input_32(in) : 0},
                                          .port = how & 2 ? input_16(in) : 80 + input_8(in) % 4};
    some_address(in, &l->request.address);
    if ((how & 4) != 0) {
        l->request.socket = input_32(in);
        l->request.generation = input_8(in);
    } else if ((how & 8) != 0) { /* another lane's */
        l->request.socket = m->answer->lane[input_8(in) % SESSION_LANES].answer.socket;
        l->request.generation = m->answer->lane[input_8(in) % SESSION_LANES].answer.generation;
    }
    l->sequence = how & 16 ? input_32(in) : answer->sequence + 1;
    m->control->kick++;
    (void)w;
}

/* The application's part of rings that grow: as it should be, near it, or nonsense. */
static void rings(struct input *in, struct slot_app *s, const struct slot_transport *words)
{
    uint8_t how = input_8(in);
    struct ring_shape r;
    s->receive_granted = how & 1 ? input_32(in) : 4096U << (how >> 1 & 3);
    if (!ring_of_word(s->send_ring, RING_SIZE_MAX, &r))
        r = ring_make(4096);
    (void)ring_settle(&r, words->send_tail);
    (void)ring_grow(&r, r.next_size << (1 + (how >> 3 & 1)), s->send_head);
    s->send_ring = how & 16 ? input_32(in) : ring_word(&r);
    if ((how & 32) != 0)
        s->send_ring ^= 1U << input_8(in) % 32;
}

static void notify(struct input *in, struct arena_app *app, const struct arena_transport *words, uint32_t slots)
{
    uint32_t slot = input_8(in) % slots;
    uint8_t how = input_8(in);
    struct slot_app *s = &app->slot[slot];
    s->generation = how & 1 ? input_32(in) : words->slot[slot].generation;
    s->send_head = how & 2 ? input_32(in) : words->slot[slot].send_tail + input_16(in) % 4097;
    s->receive_tail = how & 4 ? input_32(in) : words->slot[slot].receive_head - input_8(in) % 2U * input_8(in);
    s->flags = how & 8 ? input_32(in) : 0;
    if ((how & 64) != 0)
        rings(in, s, &words->slot[slot]);
    app->notify[app->notify_producer % ARENA_SLOTS_MAX] = how & 16 ? input_32(in) : slot;
    app->notify_producer += how & 32 ? input_16(in) : 1;
}

/* A datagram to send, or nonsense, at the head of a slot's send ring. */
static void record(struct input *in, struct arena_app *app, const struct session_arena *a,
                   const struct arena_transport *words)
{
    uint32_t slot = input_8(in) % a->slots;
    uint8_t how = input_8(in);
    struct slot_app *s = &app->slot[slot];
    uint8_t *ring = (uint8_t *)app + arena_send_offset(a->slots) + (size_t)slot * a->send_most;
    struct datagram_record r = {.length = how & 1 ? input_32(in) : input_16(in) % 2048U,
                                .port = input_8(in) % 4 + 5000,
                                .ttl = how & 2 ? input_8(in) : 0,
                                .traffic_class = input_8(in),
                                .flags = how & 4 ? input_8(in) : 0};
    struct ip_address to;
    some_address(in, &to);
    r.family = to.family;
    memcpy(r.octets, to.octets, sizeof r.octets);
    uint32_t at = s->send_head & (a->send_size - 1) & ~(DATAGRAM_STEP - 1);
    memcpy(ring + at, &r, sizeof r < a->send_size - at ? sizeof r : a->send_size - at);
    s->generation = words->slot[slot].generation;
    s->send_head += ((uint32_t)sizeof r + r.length + DATAGRAM_STEP - 1) & ~(DATAGRAM_STEP - 1);
    app->notify[app->notify_producer++ % ARENA_SLOTS_MAX] = slot;
}

static void word(struct input *in, void *base, size_t octets)
{
    uint32_t value = input_32(in), at = input_16(in) * 4U;
    if (at + sizeof value <= octets)
        memcpy((uint8_t *)base + at, &value, sizeof value);
}

static void session(struct world *w, struct input *in)
{
    uint8_t which = input_8(in), id = which & 1, t = which >> 1 & 1;
    const struct world_session *m = &w->memory[id];
    const struct session_arena *a = &w->session[id].arena[t];
    if (!w->session[id].present)
        return;
    switch (input_8(in) % 6) {
    case 0:
        lane(w, in, m);
        break;
    case 1:
        notify(in, m->app[t], m->words[t], a->slots);
        break;
    case 2:
        record(in, m->app[t], a, m->words[t]);
        break;
    case 3:
        word(in, m->control, sizeof *m->control);
        break;
    case 4:
        word(in, m->app[t], arena_send_octets(a->slots, a->send_most));
        break;
    default: /* what an application pays for it can always write, whoever else does */
        word(in, m->words[t], arena_receive_octets(a->slots, a->receive_most));
    }
}

/* ---- the rest ---- */
static void from_device(struct world *w, struct input *in)
{
    uint8_t octets[12 + 4096], how = input_8(in);
    if (world_device() < 0)
        return;
    struct packet p;
    memset(octets, 0, 12);
    for (unsigned i = 0; i < 10 && (how & 1) != 0; i++)
        octets[i] = input_8(in) & (how & 2 ? 0xff : 7);
    packet_make(in, w, true, octets + 12, how & 4 ? 4096 : 64, &p);
    uint32_t header = how & 8 ? 10 : 12;
    ssize_t n = write(world_device(), octets, how & 16 ? input_8(in) : header + p.octets);
    (void)n;
}

static void life(struct world *w, struct input *in)
{
    uint8_t what = input_8(in), which = input_8(in);
    switch (what % 8) {
    case 0:
        world_lose(w, (enum server_id)(which % SERVER_COUNT));
        break;
    case 1:
    case 2:
        world_attach(w, (enum server_id)(which % SERVER_COUNT));
        break;
    case 3:
        world_session_end(w, which % WORLD_SESSIONS);
        break;
    case 4:
        world_session_remove(w, which % WORLD_SESSIONS);
        break;
    case 5:
    case 6:
        world_session_add(w, which % WORLD_SESSIONS);
        break;
    default:
        if (w->store != NULL && (which & 1) != 0) { /* its last act was a wild write */
            ((uint8_t *)w->store)[input_32(in) % w->context.store_octets] ^= input_8(in);
            w->damaged = true;
        }
        world_restart(w);
    }
}

static void pass_time(struct world *w, struct input *in)
{
    static const uint64_t unit[] = {1, 100, 1000, 20000, 1000000, 30000000, 600000000};
    uint8_t which = input_8(in);
    uint64_t deadline = world_server->deadline_us != NULL ? world_server->deadline_us(w->state) : UINT64_MAX;
    if ((which & 1) != 0 && deadline > w->now_us && deadline < w->now_us + 10000000000)
        w->now_us = deadline;
    else
        w->now_us += unit[which / 2 % 7] * (1U + input_8(in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world *w;
    static void (*const steps[])(struct world * w, struct input * in) = {
        message, packet, message, packet, session, session, channel, message, from_device, life, session, pass_time};
    struct input in = {data, size};
    if (w == NULL)
        w = world_make();
    world_reset(w);
    for (unsigned n = 0; in.left > 0 && n < 256; n++) {
        uint8_t what = input_8(&in);
        steps[what % (sizeof steps / sizeof steps[0])](w, &in);
        if ((what & 0x80) == 0)
            world_turn(w, 4, (what & 0x40) == 0);
    }
    world_finish(w);
    return 0;
}
