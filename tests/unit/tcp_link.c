// SPDX-License-Identifier: BSD-2-Clause
#include "tests/unit/tcp_link.h"

#include <stdlib.h>
#include <string.h>

#define PORT 80

static uint32_t random_below(struct link *l, uint32_t below)
{
    l->random = l->random * 6364136223846793005U + 1442695040888963407U;
    return below == 0 ? 0 : (uint32_t)((l->random >> 33) % below);
}

static void fifo_push(struct link_fifo *f, struct link_packet *p)
{
    p->next = NULL;
    if (f->tail != NULL)
        f->tail->next = p;
    else
        f->head = p;
    f->tail = p;
}

static struct link_packet *fifo_pop(struct link_fifo *f, uint64_t now_us)
{
    struct link_packet *p = f->head;
    if (p == NULL || p->at_us > now_us)
        return NULL;
    f->head = p->next;
    if (f->head == NULL)
        f->tail = NULL;
    return p;
}

static struct link_packet *packet_new(const struct tcp_output *o, uint32_t payload_length)
{
    struct link_packet *p = calloc(1, sizeof *p);
    p->meta = (struct tcp_segment_in){.source = o->source,
                                      .destination = o->destination,
                                      .source_port = o->source_port,
                                      .destination_port = o->destination_port};
    p->header_length = o->header_length;
    p->payload_length = payload_length;
    memcpy(p->header, o->header, o->header_length);
    return p;
}

/* The bottleneck takes it, or it is dropped. */
static void carry(struct link *l, const struct tcp_output *o, uint32_t offset, uint32_t length, bool last)
{
    uint32_t octets = length + o->header_length + 20;
    uint64_t start_us = l->free_us > l->now_us ? l->free_us : l->now_us;
    uint64_t held = (start_us - l->now_us) * l->config.rate / 1000000;
    if (held + octets > l->config.queue) {
        l->dropped++;
        return;
    }
    if (length > 0 && random_below(l, 10000) < l->config.loss) {
        l->lost++;
        return;
    }
    struct link_packet *p = packet_new(o, length);
    struct tcp_header h;
    memcpy(&h, p->header, sizeof h);
    h.sequence = be32_make(be32_get(h.sequence) + offset);
    if (!last)
        h.flags &= (uint8_t) ~(TCP_FLAG_FIN | TCP_FLAG_PSH);
    memcpy(p->header, &h, sizeof h);
    l->carried++;
    l->queued_us += start_us - l->now_us;
    l->free_us = start_us + ((uint64_t)octets * 1000000 + l->config.rate - 1) / l->config.rate;
    p->at_us = l->free_us + l->config.rtt_us / 2;
    fifo_push(&l->forward, p);
}

static void carry_cut(struct link *l, const struct tcp_output *o)
{
    uint32_t size = o->gso_size > 0 ? o->gso_size : o->payload_length;
    uint32_t at = 0;
    do {
        uint32_t length = o->payload_length - at < size ? o->payload_length - at : size;
        carry(l, o, at, length, at + length == o->payload_length);
        at += length;
    } while (at < o->payload_length);
}

static void carry_back(struct link *l, const struct tcp_output *o)
{
    struct link_packet *p = packet_new(o, o->payload_length);
    p->at_us = l->now_us + l->config.rtt_us / 2 + random_below(l, l->config.jitter_us + 1);
    if (l->backward.tail != NULL && p->at_us < l->backward.tail->at_us)
        p->at_us = l->backward.tail->at_us;
    fifo_push(&l->backward, p);
}

static void applications(struct link *l)
{
    for (uint32_t i = 0; i < l->config.flows; i++) {
        if (l->conn[i] == TCP_NONE)
            continue;
        const struct tcp_conn *c = host_conn(&l->sender, l->conn[i]);
        if (!l->stopped[i])
            tcp_send_available(l->sender.t, l->now_us, l->conn[i], c->send_acked + c->send_size);
    }
    for (uint32_t j = 0; j < l->receiver.config.connections; j++) {
        const struct tcp_conn *c = host_conn(&l->receiver, j);
        if (c->state < TCP_ESTABLISHED)
            continue;
        if (c->accept_pending)
            tcp_accepted(l->receiver.t, j);
        uint32_t flow = (uint32_t)c->identity.remote_port - 4000;
        require(flow < LINK_FLOWS);
        l->received[flow] += c->receive_next - c->receive_consumed;
        tcp_receive_consumed(l->receiver.t, l->now_us, j, c->receive_next);
    }
}

static void burst(struct link *l)
{
    struct tcp_output o;
    applications(l);
    while (host_poll(&l->sender, &o))
        carry_cut(l, &o);
    host_drain(&l->sender);
    while (host_poll(&l->receiver, &o))
        carry_back(l, &o);
    host_drain(&l->receiver);
}

static void deliver(struct link_fifo *f, struct host *to)
{
    struct link_packet *p;
    while ((p = fifo_pop(f, to->now_us)) != NULL) {
        host_input(to, &p->meta, p->header, p->header_length, NULL, p->payload_length);
        free(p);
    }
}

static uint64_t next_event(const struct link *l)
{
    uint64_t at_us = tcp_deadline_us(l->sender.t), other_us = tcp_deadline_us(l->receiver.t);
    at_us = other_us < at_us ? other_us : at_us;
    if (l->forward.head != NULL && l->forward.head->at_us < at_us)
        at_us = l->forward.head->at_us;
    if (l->backward.head != NULL && l->backward.head->at_us < at_us)
        at_us = l->backward.head->at_us;
    return at_us;
}

void link_run(struct link *l, uint64_t for_us)
{
    uint64_t end_us = l->now_us + for_us;
    for (;;) {
        burst(l);
        uint64_t at_us = next_event(l);
        if (at_us < l->now_us)
            at_us = l->now_us;
        if (at_us > end_us)
            break;
        l->now_us = l->sender.now_us = l->receiver.now_us = at_us;
        deliver(&l->forward, &l->receiver);
        deliver(&l->backward, &l->sender);
    }
    l->now_us = l->sender.now_us = l->receiver.now_us = end_us;
}

void link_init(struct link *l, const struct link_config *config)
{
    static const uint8_t left[4] = {10, 0, 0, 1}, right[4] = {10, 0, 0, 2};
    *l = (struct link){.config = *config, .now_us = HARNESS_START_US, .random = config->seed};
    struct tcp_config c = {.connections = LINK_FLOWS + 1,
                           .mtu = 1500,
                           .secret = {(uint8_t)config->seed, 4},
                           .gso = config->gso,
                           .no_pacing = config->no_pacing,
                           .no_timestamps = config->no_timestamps};
    host_init(&l->sender, left, &c);
    host_init(&l->receiver, right, &c);
    host_listen(&l->receiver, PORT, LINK_FLOWS, config->ring, 65536);
    for (uint32_t i = 0; i < LINK_FLOWS; i++)
        l->conn[i] = TCP_NONE;
}

void link_start(struct link *l, uint32_t flow)
{
    l->stopped[flow] = false;
    if (l->conn[flow] != TCP_NONE)
        return;
    ck_assert_int_eq(host_connect(&l->sender, &l->receiver.address, (uint16_t)(4000 + flow), PORT, 65536,
                                  l->config.ring, &l->conn[flow]),
                     TCP_CALL_OK);
    tcp_set_options(l->sender.t, l->now_us, l->conn[flow],
                    &(struct tcp_options){.congestion = l->config.congestion[flow]});
}

void link_stop(struct link *l, uint32_t flow)
{
    l->stopped[flow] = true;
}

const struct tcp_conn *link_conn(const struct link *l, uint32_t flow)
{
    return host_conn(&l->sender, l->conn[flow]);
}

static void fifo_free(struct link_fifo *f)
{
    struct link_packet *p;
    while ((p = fifo_pop(f, UINT64_MAX)) != NULL)
        free(p);
}

void link_fini(struct link *l)
{
    fifo_free(&l->forward);
    fifo_free(&l->backward);
    host_fini(&l->sender);
    host_fini(&l->receiver);
}
