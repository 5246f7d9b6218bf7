// SPDX-License-Identifier: BSD-2-Clause
/* Flows from one engine to another over a bottleneck: a rate, a queue that drops its tail, a delay. Super-segments are
 * cut up as by a NIC, ACKs come back over a path of their own with a little jitter (from a seed), senders always have
 * something to send and receivers take it at once. */
#ifndef BULKHEAD_TESTS_UNIT_TCP_LINK_H
#define BULKHEAD_TESTS_UNIT_TCP_LINK_H

#include "tests/unit/tcp_harness.h"

#define LINK_FLOWS 4

struct link_config {
    uint32_t rate;      /* octets a second */
    uint32_t queue;     /* octets */
    uint32_t rtt_us;    /* without the queue */
    uint32_t jitter_us; /* of ACKs */
    uint32_t ring;      /* of each flow */
    uint32_t loss;      /* of data, in 10000 */
    uint64_t seed;
    bool gso, no_pacing, no_timestamps;
    uint32_t flows;
    uint8_t congestion[LINK_FLOWS]; /* enum tcp_congestion */
};

struct link_packet {
    struct link_packet *next;
    uint64_t at_us;
    struct tcp_segment_in meta;
    uint32_t header_length, payload_length;
    uint8_t header[TCP_HEADER_MAX];
};

struct link_fifo {
    struct link_packet *head, *tail;
};

struct link {
    struct link_config config;
    struct host sender, receiver;
    struct link_fifo forward, backward;
    uint64_t now_us, free_us, random; /* free_us: when the bottleneck has sent all that it holds */
    uint32_t conn[LINK_FLOWS];        /* of the sender */
    bool stopped[LINK_FLOWS];
    uint64_t received[LINK_FLOWS];              /* octets */
    uint64_t carried, dropped, lost, queued_us; /* packets; sum of their waiting */
};

void link_init(struct link *l, const struct link_config *config);
void link_fini(struct link *l);
void link_start(struct link *l, uint32_t flow);
void link_stop(struct link *l, uint32_t flow); /* nothing more to send; until link_start() */
void link_run(struct link *l, uint64_t for_us);
const struct tcp_conn *link_conn(const struct link *l, uint32_t flow);

#endif
