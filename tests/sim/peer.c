// SPDX-License-Identifier: BSD-2-Clause
/* A third host on the link, which is not our engine: a small TCP over IPv4 that behaves as its temper says. It speaks
 * the protocol of stream.c, as its server or its client, so what a stack's application reads is what this peer sent in
 * sequence, and what the peer reads is judged here.
 *
 * Fair tempers are allowed or at least survivable, and a stream with such a peer must come to its end: ACKs of old,
 * ACKs in pieces, SACK blocks of what never was, data that was reported by SACK and thrown away (it keeps nothing that
 * comes out of order), windows that are taken back, text that overlaps in pieces of other sizes, a FIN before the text,
 * RSTs beside the window or not quite at its start, options without sense, text beyond the window. With the others (no
 * ACK at all, a window that stays closed, ACKs of what never came, a RST) the stream fails or comes to nothing; then
 * the application gives up, and nothing may be left. */
#include <stdlib.h>
#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/tcp/tcp_wire.h"
#include "tests/sim/app.h"

#define CONNECTIONS  32U
#define LINK_HEADER  14U
#define IP_HEADER    20U
#define TCP_HEADER   20U
#define OPTIONS_MOST 40U
#define TEXT_MOST    1400U
#define FRAME_MOST   (LINK_HEADER + IP_HEADER + TCP_HEADER + OPTIONS_MOST + TEXT_MOST)
#define VAIN         32U
#define VAIN_MOST    1024U
#define TURN_US      150000U /* most between two turns of a connection */
#define TYPE_ARP     0x0806U
#define PORT_CLIENT  20000U /* the first of those that it connects from */

enum temper {
    OLD_ACKS = 1 << 0,
    SPLIT_ACKS = 1 << 1,
    SACKS = 1 << 2,
    SHRINKS = 1 << 3,
    OVERLAPS = 1 << 4,
    FIN_EARLY = 1 << 5,
    RSTS_OUTSIDE = 1 << 6,
    OPTIONS_ODD = 1 << 7,
    BEYOND = 1 << 8,
    FAIR_COUNT = 9,
    NEVER_ACKS = 1 << 9,
    CLOSED_WINDOW = 1 << 10,
    OPTIMISTIC = 1 << 11,
    RESETS = 1 << 12,
    UNFAIR_COUNT = 4,
};

enum phase { PEER_FREE, PEER_SYN_SENT, PEER_SYN_RECEIVED, PEER_OPEN };

struct connection {
    enum phase phase;
    bool client;
    uint32_t stack, temper;
    uint16_t port, remote_port; /* ours, the stack's */
    uint32_t iss, snd_una, snd_nxt, edge, shift;
    uint32_t irs, rcv_nxt, seen; /* seen: highest sequence number that came */
    uint64_t turn_us;
    uint32_t vain; /* turns since something was acknowledged: it slows down, or a slow link would carry nothing else */
    uint8_t head[STREAM_HEAD];
    uint64_t content;
    uint32_t up, down, received, how;
    bool headed, fin_received;
};

struct sim_peer {
    struct sim *sim;
    uint64_t random;
    struct connection of[CONNECTIONS];
    uint32_t clients; /* begun */
};

static const uint8_t mac[6] = {2, 0, 0, 0, 0, 0xc8};
static const struct ip_address address = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 200}};

struct ip_address sim_peer_address(void)
{
    return address;
}

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}

static uint32_t word16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t word32(const uint8_t *at)
{
    return word16(at) << 16 | word16(at + 2);
}

static bool after(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

static bool now_and_then(struct sim_peer *p, const struct connection *c, uint32_t temper)
{
    return (c->temper & temper) != 0 && sim_chance(&p->random, 300);
}

/* ---- what it says ---- */
static uint32_t out_total(const struct connection *c)
{
    return c->client ? STREAM_HEAD + c->up : c->headed ? c->down : 0;
}

static uint8_t out_octet(const struct connection *c, uint32_t offset)
{
    if (!c->client)
        return app_octet(~c->content, offset);
    return offset < STREAM_HEAD ? c->head[offset] : app_octet(c->content, offset - STREAM_HEAD);
}

static uint32_t in_total(const struct connection *c)
{
    return c->client ? c->down : c->headed ? STREAM_HEAD + c->up : UINT32_MAX;
}

static bool may_fin(const struct connection *c)
{
    bool first = ((c->how & STREAM_SERVER_FIRST) != 0) != c->client;
    return (c->client || c->headed) && (first || (c->how & STREAM_AT_ONCE) != 0 || c->fin_received);
}

static uint32_t odd_options(struct sim_peer *p, const struct connection *c, uint8_t *at)
{
    static const uint8_t odd[][4] = {{253, 4, 0xf9, 0x89}, {19, 3, 1, 1}, {1, 1, 1, 1}, {0, 7, 7, 7}, {254, 2, 1, 0}};
    uint32_t octets = 0;
    if (now_and_then(p, c, OPTIONS_ODD)) {
        memcpy(at, odd[sim_below(&p->random, sizeof odd / sizeof *odd)], 4);
        octets = 4;
    }
    if (octets == 0 && now_and_then(p, c, SACKS)) {
        uint32_t blocks = 1 + sim_below(&p->random, 3);
        at[0] = at[1] = TCP_OPTION_NOP;
        at[2] = 5;
        at[3] = (uint8_t)(2 + 8 * blocks);
        for (uint32_t i = 0; i < blocks; i++) {
            uint32_t start = c->rcv_nxt + sim_below(&p->random, 20000) - 3000;
            put32(at + 4 + 8 * i, start);
            put32(at + 8 + 8 * i, start + sim_below(&p->random, 5000));
        }
        octets = 4 + 8 * blocks;
    }
    return octets;
}

static uint32_t syn_options(struct sim_peer *p, const struct connection *c, uint8_t *at)
{
    const uint8_t options[] = {2, 4, 1460 >> 8, 1460 & 255, 1, 3, 3, (uint8_t)(c->temper & 3), 1, 1, 4, 2};
    (void)p;
    memcpy(at, options, sizeof options);
    return (c->temper & SACKS) != 0 ? 12 : (c->temper & OVERLAPS) != 0 ? 4 : 8;
}

static uint32_t window_of(struct sim_peer *p, const struct connection *c)
{
    if ((c->temper & CLOSED_WINDOW) != 0 && c->received > 0)
        return 0;
    if (now_and_then(p, c, SHRINKS))
        return sim_below(&p->random, 3000);
    return 8000;
}

static void say(struct sim_peer *p, const struct connection *c, uint32_t seq, uint32_t ack, uint8_t flags,
                uint32_t offset, uint32_t count)
{
    uint8_t frame[FRAME_MOST];
    uint8_t *ip = frame + LINK_HEADER, *tcp = ip + IP_HEADER;
    const struct stack_config *config = &p->sim->stack[c->stack].config;
    memset(frame, 0, LINK_HEADER + IP_HEADER + TCP_HEADER);
    uint32_t options =
        (flags & TCP_FLAG_SYN) != 0 ? syn_options(p, c, tcp + TCP_HEADER) : odd_options(p, c, tcp + TCP_HEADER);
    uint32_t head = TCP_HEADER + options;
    memcpy(frame, config->mac.octets, 6);
    memcpy(frame + 6, mac, 6);
    put16(frame + 12, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, IP_HEADER + head + count);
    ip[8] = 64;
    ip[9] = 6;
    memcpy(ip + 12, address.octets, 4);
    memcpy(ip + 16, config->address[0].octets, 4);
    be16 sum = checksum_finish(checksum_add(0, ip, IP_HEADER));
    memcpy(ip + 10, &sum, sizeof sum);
    put16(tcp, c->port);
    put16(tcp + 2, c->remote_port);
    put32(tcp + 4, seq);
    put32(tcp + 8, ack);
    tcp[12] = (uint8_t)(head / 4 << 4);
    tcp[13] = flags;
    put16(tcp + 14, window_of(p, c));
    for (uint32_t i = 0; i < count; i++)
        tcp[head + i] = out_octet(c, offset + i);
    uint64_t pseudo = checksum_pseudo_header(&address, &config->address[0], 6, head + count);
    sum = checksum_finish(checksum_add(pseudo, tcp, head + count));
    memcpy(tcp + 16, &sum, sizeof sum);
    sim_link_say(p->sim->link, c->stack, frame, LINK_HEADER + IP_HEADER + head + count);
}

static void acknowledge(struct sim_peer *p, struct connection *c, uint32_t before)
{
    uint32_t ack = c->rcv_nxt;
    if ((c->temper & NEVER_ACKS) != 0)
        return;
    if ((c->temper & SPLIT_ACKS) != 0)
        for (uint32_t i = 1; i < 4 && c->rcv_nxt - before > 4; i++)
            say(p, c, c->snd_nxt, before + i * (c->rcv_nxt - before) / 4, TCP_FLAG_ACK, 0, 0);
    if (now_and_then(p, c, OLD_ACKS))
        say(p, c, c->snd_nxt, ack - sim_below(&p->random, 70000), TCP_FLAG_ACK, 0, 0);
    if (now_and_then(p, c, OPTIMISTIC))
        ack += sim_below(&p->random, sim_chance(&p->random, 500) ? c->seen - c->rcv_nxt + 1 : 30000);
    say(p, c, c->snd_nxt, ack, TCP_FLAG_ACK, 0, 0);
}

/* Some of what it has to say, from what was not acknowledged on. */
static void send_text(struct sim_peer *p, struct connection *c)
{
    uint32_t total = out_total(c), seq = c->snd_una, first = c->iss + 1;
    uint32_t edge = c->edge + ((c->temper & BEYOND) != 0 ? sim_below(&p->random, 20000) : 0);
    if (now_and_then(p, c, OVERLAPS) && seq != first)
        seq -= sim_below(&p->random, seq - first < 2000 ? seq - first : 2000);
    for (uint32_t i = 0; i < 8 && seq - first < total && after(edge, seq); i++) {
        uint32_t offset = seq - first, count = 1 + sim_below(&p->random, TEXT_MOST);
        count = count < total - offset ? count : total - offset;
        count = count < edge - seq ? count : edge - seq;
        say(p, c, seq, c->rcv_nxt, TCP_FLAG_ACK | TCP_FLAG_PSH, offset, count);
        seq += count;
        if (after(seq, c->snd_nxt))
            c->snd_nxt = seq;
    }
    if ((seq - first >= total || now_and_then(p, c, FIN_EARLY)) && may_fin(c) &&
        (c->snd_una == first + total || seq - first >= total || (c->temper & FIN_EARLY) != 0)) {
        say(p, c, first + total, c->rcv_nxt, TCP_FLAG_FIN | TCP_FLAG_ACK, 0, 0);
        if (seq == first + total)
            c->snd_nxt = first + total + 1;
    }
}

static void turn(struct sim_peer *p, struct connection *c)
{
    c->turn_us = p->sim->now_us + 1000 + sim_below(&p->random, TURN_US) * (1 + c->vain / VAIN);
    c->vain += c->vain < VAIN_MOST;
    if (c->phase == PEER_SYN_SENT) {
        say(p, c, c->iss, 0, TCP_FLAG_SYN, 0, 0);
        return;
    }
    if (c->phase == PEER_SYN_RECEIVED) {
        say(p, c, c->iss, c->rcv_nxt, TCP_FLAG_SYN | TCP_FLAG_ACK, 0, 0);
        return;
    }
    if (now_and_then(p, c, RSTS_OUTSIDE)) /* RFC 5961 3.2: not exactly at RCV.NXT, so not heeded */
        say(p, c, c->snd_una + (sim_chance(&p->random, 500) ? 5000000 : (uint32_t)-1), 0, TCP_FLAG_RST, 0, 0);
    if ((c->temper & RESETS) != 0 && c->received > 0 && sim_chance(&p->random, 100))
        say(p, c, c->snd_una, 0, TCP_FLAG_RST, 0, 0);
    send_text(p, c);
}

/* ---- what it hears ---- */
static void take_octet(struct sim_peer *p, struct connection *c, uint8_t octet)
{
    uint32_t offset = c->received++;
    if (!c->client && offset < STREAM_HEAD) {
        c->head[offset] = octet;
        if (c->received < STREAM_HEAD)
            return;
        memcpy(&c->content, c->head, sizeof c->content);
        memcpy(&c->up, c->head + 8, sizeof c->up);
        c->up &= 0xffffff;
        c->how = c->head[11];
        memcpy(&c->down, c->head + 12, sizeof c->down);
        c->headed = true;
        return;
    }
    uint8_t wanted = c->client ? app_octet(~c->content, offset) : app_octet(c->content, offset - STREAM_HEAD);
    if (offset >= in_total(c) || octet != wanted)
        sim_fail(p->sim, "%c sent its peer a wrong octet at %u (port %u to %u)", 'A' + c->stack, offset, c->remote_port,
                 c->port);
}

static void hear_text(struct sim_peer *p, struct connection *c, uint32_t seq, const uint8_t *text, uint32_t count,
                      bool fin)
{
    uint32_t before = c->rcv_nxt;
    if (after(seq + count, c->seen))
        c->seen = seq + count;
    for (uint32_t i = 0; i < count && !c->fin_received; i++)
        if (seq + i == c->rcv_nxt) {
            take_octet(p, c, text[i]);
            c->rcv_nxt++;
        }
    if (fin && seq + count == c->rcv_nxt && !c->fin_received) {
        c->fin_received = true;
        c->rcv_nxt++;
        if (c->received < in_total(c) && (c->client || c->headed) && (c->temper >> FAIR_COUNT) == 0)
            sim_fail(p->sim, "%c ends a stream after %u octets (port %u to %u)", 'A' + c->stack, c->received,
                     c->remote_port, c->port);
    }
    if (count > 0 || fin)
        acknowledge(p, c, before);
}

static void hear_ack(struct connection *c, uint32_t ack, uint32_t window)
{
    if (after(ack, c->snd_nxt) && c->phase == PEER_OPEN && ack == c->iss + 1 + out_total(c) + 1)
        c->snd_nxt = ack; /* a FIN that went before the text */
    if (after(ack, c->snd_una) && !after(ack, c->snd_nxt)) {
        c->vain = 0;
        c->snd_una = ack;
    }
    if (after(ack + (window << c->shift), c->edge))
        c->edge = ack + (window << c->shift);
}

static struct connection *connection_of(struct sim_peer *p, uint32_t stack, uint32_t port, uint32_t remote_port)
{
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        struct connection *c = &p->of[i];
        if (c->phase != PEER_FREE && c->stack == stack && c->port == port && c->remote_port == remote_port)
            return c;
    }
    return NULL;
}

static uint32_t temper_draw(struct sim_peer *p, bool fair)
{
    uint32_t temper = (uint32_t)sim_random(&p->random) & (uint32_t)sim_random(&p->random) & ((1U << FAIR_COUNT) - 1);
    return fair ? temper : temper | 1U << (FAIR_COUNT + sim_below(&p->random, UNFAIR_COUNT));
}

static struct connection *connection_new(struct sim_peer *p, uint32_t stack, uint32_t port, uint32_t remote_port,
                                         bool fair)
{
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        if (p->of[i].phase != PEER_FREE)
            continue;
        p->of[i] = (struct connection){.stack = stack, .port = (uint16_t)port, .remote_port = (uint16_t)remote_port};
        p->of[i].iss = (uint32_t)sim_random(&p->random);
        p->of[i].snd_una = p->of[i].edge = p->of[i].iss;
        p->of[i].snd_nxt = p->of[i].iss + 1;
        p->of[i].temper = temper_draw(p, fair);
        return &p->of[i];
    }
    return NULL;
}

/* The scale that a SYN offers, if ours offers one as well. */
static uint32_t scale_of(const struct connection *c, const uint8_t *tcp)
{
    if ((c->temper & (SACKS | OVERLAPS)) == OVERLAPS)
        return 0;
    for (uint32_t at = TCP_HEADER, head = (tcp[12] >> 4) * 4U; at + 2 < head && tcp[at] != 0; at += tcp[at] == 1 ? 1
                                                                                                    : tcp[at + 1] > 0
                                                                                                        ? tcp[at + 1]
                                                                                                        : head)
        if (tcp[at] == TCP_OPTION_WINDOW_SCALE)
            return tcp[at + 2];
    return 0;
}

static void hear_syn(struct sim_peer *p, struct connection *c, const uint8_t *tcp)
{
    c->irs = word32(tcp + 4);
    c->rcv_nxt = c->seen = c->irs + 1;
    c->shift = scale_of(c, tcp);
    c->turn_us = p->sim->now_us;
    if ((tcp[13] & TCP_FLAG_ACK) == 0) {
        c->phase = PEER_SYN_RECEIVED;
        return;
    }
    c->phase = PEER_OPEN;
    c->snd_una = c->iss + 1;
    c->edge = c->snd_una + word16(tcp + 14);
    say(p, c, c->snd_nxt, c->rcv_nxt, TCP_FLAG_ACK, 0, 0);
}

static void hear(struct sim_peer *p, uint32_t stack, const uint8_t *tcp, uint32_t octets)
{
    struct connection *c = connection_of(p, stack, word16(tcp + 2), word16(tcp));
    uint32_t flags = tcp[13], seq = word32(tcp + 4), head = (tcp[12] >> 4) * 4U;
    if (c == NULL && (flags & (TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST)) == TCP_FLAG_SYN)
        c = connection_new(p, stack, word16(tcp + 2), word16(tcp), word16(tcp + 2) == SIM_PORT);
    if (c == NULL) {
        const struct connection none = {
            .stack = stack, .port = (uint16_t)word16(tcp + 2), .remote_port = (uint16_t)word16(tcp)};
        if ((flags & (TCP_FLAG_RST | TCP_FLAG_ACK)) == TCP_FLAG_ACK)
            say(p, &none, word32(tcp + 8), 0, TCP_FLAG_RST, 0, 0);
        return;
    }
    if ((flags & TCP_FLAG_RST) != 0) {
        if (c->phase == PEER_OPEN && c->temper >> FAIR_COUNT == 0 && (c->how & STREAM_ODD) == 0 && p->sim->cold == 0 &&
            (p->sim->deaths == 0 || c->received > 0) && !sim_tcp_sent_cookies(p->sim) &&
            !(c->fin_received && c->snd_nxt == c->iss + 2 + out_total(c)))
            sim_fail(p->sim, "%c resets a fair peer (port %u to %u)", 'A' + stack, c->remote_port, c->port);
        c->phase = PEER_FREE;
        return;
    }
    if ((flags & TCP_FLAG_SYN) != 0) {
        if (c->phase == PEER_SYN_SENT || c->phase == PEER_FREE || c->irs == 0)
            hear_syn(p, c, tcp);
        return;
    }
    if ((flags & TCP_FLAG_ACK) == 0 || c->phase == PEER_SYN_SENT)
        return;
    c->phase = PEER_OPEN;
    hear_ack(c, word32(tcp + 8), word16(tcp + 14));
    hear_text(p, c, seq, tcp + head, octets - head, (flags & TCP_FLAG_FIN) != 0);
    if (c->vain < VAIN && c->turn_us > p->sim->now_us + 500 && after(c->edge, c->snd_nxt))
        c->turn_us = p->sim->now_us + 500;
}

static void answer_arp(struct sim_peer *p, uint32_t stack, const uint8_t *arp)
{
    uint8_t frame[42] = {0};
    memcpy(frame, arp + 8, 6);
    memcpy(frame + 6, mac, 6);
    put16(frame + 12, TYPE_ARP);
    memcpy(frame + 14, arp, 6);
    put16(frame + 20, 2);
    memcpy(frame + 22, mac, 6);
    memcpy(frame + 28, address.octets, 4);
    memcpy(frame + 32, arp + 8, 10);
    sim_link_say(p->sim->link, stack, frame, sizeof frame);
}

/* ---- with the rest of the simulation ---- */
bool sim_peer_frame(struct sim *sim, uint32_t stack, const uint8_t *frame, uint32_t octets)
{
    struct sim_peer *p = sim->peer;
    const uint8_t *at = frame + LINK_HEADER;
    if (p == NULL || octets < LINK_HEADER + 28)
        return false;
    if (word16(frame + 12) == TYPE_ARP) {
        if (word16(at + 6) != 1 || memcmp(at + 24, address.octets, 4) != 0)
            return false;
        answer_arp(p, stack, at);
        return true;
    }
    uint32_t head = (at[0] & 0x0f) * 4U, total = octets - LINK_HEADER;
    if (word16(frame + 12) != 0x0800 || memcmp(at + 16, address.octets, 4) != 0)
        return false;
    if (at[9] == 6 && total >= head + TCP_HEADER)
        hear(p, stack, at + head, total - head);
    return true;
}

/* A stream to a stack's server. */
static void begin_client(struct sim_peer *p)
{
    bool fair = sim_chance(&p->random, 600);
    struct connection *c =
        connection_new(p, sim_below(&p->random, SIM_STACKS), PORT_CLIENT + p->clients++, SIM_PORT, fair);
    if (c == NULL)
        return;
    c->client = true;
    c->phase = PEER_SYN_SENT;
    c->content = sim_random(&p->random);
    c->up = sim_below(&p->random, p->sim->scenario->peer_octets);
    c->down = sim_below(&p->random, p->sim->scenario->peer_octets);
    c->how = sim_below(&p->random, 4) | (fair ? 0 : STREAM_ODD);
    memcpy(c->head, &c->content, sizeof c->content);
    memcpy(c->head + 8, &c->up, sizeof c->up);
    c->head[11] = (uint8_t)c->how;
    memcpy(c->head + 12, &c->down, sizeof c->down);
    c->turn_us = p->sim->now_us + sim_below(&p->random, 3000000);
}

void sim_peer_begin(struct sim *sim)
{
    if (sim->scenario->peers == 0)
        return;
    sim->peer = calloc(1, sizeof *sim->peer);
    sim->peer->sim = sim;
    sim->peer->random = sim->scenario->seed ^ 0x70656572U;
    for (uint32_t i = 0; i < sim->scenario->peers; i++)
        begin_client(sim->peer);
}

uint64_t sim_peer_deadline(const struct sim *sim)
{
    uint64_t at_us = SIM_NEVER;
    for (uint32_t i = 0; sim->peer != NULL && i < CONNECTIONS; i++)
        if (sim->peer->of[i].phase != PEER_FREE && sim->peer->of[i].turn_us < at_us)
            at_us = sim->peer->of[i].turn_us;
    return at_us;
}

static bool is_over(const struct connection *c)
{
    return c->phase == PEER_OPEN && c->fin_received && c->snd_una == c->iss + 2 + out_total(c);
}

void sim_peer_step(struct sim *sim)
{
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        struct connection *c = &sim->peer->of[i];
        if (c->phase == PEER_FREE || c->turn_us > sim->now_us)
            continue;
        if (is_over(c) || (sim->peer_over && sim_chance(&sim->peer->random, 20)))
            c->phase = PEER_FREE;
        else
            turn(sim->peer, c);
    }
}

void sim_peer_end(struct sim *sim)
{
    for (uint32_t i = 0; sim->peer != NULL && i < CONNECTIONS; i++)
        sim->peer->of[i].phase = PEER_FREE;
}

bool sim_peer_done(const struct sim *sim)
{
    if (sim->deaths + sim->hangs > 0) /* it may be half-open for ever, and has no application that gives up */
        return true;
    for (uint32_t i = 0; sim->peer != NULL && i < CONNECTIONS; i++) {
        const struct connection *c = &sim->peer->of[i];
        if (c->phase != PEER_FREE && !is_over(c) && c->temper >> FAIR_COUNT == 0)
            return false;
    }
    return true;
}
