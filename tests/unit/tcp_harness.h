// SPDX-License-Identifier: BSD-2-Clause
/* A host round the TCP engine for tests: rings for payload, bursts (poll, then drain what was touched), and
 * checks that every host relies on: a block never changes unreported, no payload is placed over what is
 * there or beyond the ring, none is sent from beyond what was made available.
 *
 * Two ways to use it: one engine and a scripted peer (inject, expect, expect_silence), or two engines and a
 * wire between them with seeded faults (struct wire). Time is a variable that the test moves. */
#ifndef BULKHEAD_TESTS_UNIT_TCP_HARNESS_H
#define BULKHEAD_TESTS_UNIT_TCP_HARNESS_H

#include <check.h>

#include "protocols/tcp/tcp.h"
#include "protocols/tcp/tcp_wire.h"
#include "tests/unit/require.h"

#define HARNESS_CONNECTIONS_MAX 64
#define HARNESS_RING_MAX (1U << 20)
#define HARNESS_START_US 1000000U

struct host {
    struct tcp *t;
    void *memory;
    struct tcp_config config;
    struct ip_address address;
    uint64_t now_us;
    struct tcp_conn shadow[HARNESS_CONNECTIONS_MAX]; /* as last reported */
    uint8_t *receive_ring[HARNESS_CONNECTIONS_MAX];
    uint8_t *send_ring[HARNESS_CONNECTIONS_MAX];
    struct tcp_time_wait *time_wait; /* as last reported */
    uint32_t ended;       /* CLOSED reported */
    uint32_t last_ended;  /* index */
    uint8_t last_error;
    bool attach;          /* give children a slot when they appear (default) */
};

void host_init(struct host *h, const uint8_t address[4], const struct tcp_config *config);
void host_fini(struct host *h); /* aborts all, asserts tcp_drained() */
bool host_poll(struct host *h, struct tcp_output *ret);
void host_drain(struct host *h); /* tcp_next_touched() until done, with the checks */
enum tcp_input_result host_input(struct host *h, const struct tcp_segment_in *meta, const uint8_t *header,
                                 uint32_t header_length, const uint8_t *payload, uint32_t payload_length);
const struct tcp_conn *host_conn(const struct host *h, uint32_t index);
uint32_t host_listen(struct host *h, uint16_t port, uint32_t backlog, uint32_t receive_size,
                     uint32_t send_size);
enum tcp_call_result host_connect(struct host *h, const struct ip_address *remote, uint16_t local_port,
                                  uint16_t remote_port, uint32_t receive_size, uint32_t send_size,
                                  uint32_t *ret_index);

/* ---- one engine, scripted peer ---- */
#define PEER_PORT 5000
#define OWN_PORT  80

struct bench {
    struct host h;
    struct ip_address peer;
    uint16_t peer_port, own_port;
    uint32_t irs, iss; /* of the peer; of ours, once it was seen */
    uint32_t conn, listener;
    uint32_t window;   /* that the peer puts into its segments, raw */
    uint32_t receive_size, send_size;
    uint32_t backlog;
    bool half_close;   /* states after a close are reached by tcp_shutdown_send(): text is taken still */
    uint16_t gso_size; /* of the next segment injected */
    uint8_t ecn;       /* likewise: its codepoint */
    uint8_t options[40]; /* of the next segment injected */
    uint32_t options_length;
    struct tcp_output seen; /* last segment expected */
};

void bench_init(struct bench *b, uint32_t irs);
void bench_init_with(struct bench *b, uint32_t irs, const struct tcp_config *config);
void bench_fini(struct bench *b);
/* When a connection of `h` begins with this sequence number. */
uint64_t host_time_of_iss(const struct host *h, const struct ip_address *remote, uint16_t local_port, uint16_t remote_port,
                          uint32_t iss);
void bench_choose_iss(struct bench *b, uint32_t iss); /* moves time to where the next connection has this one */
void bench_slow_acks(struct bench *b); /* the first ACKs are over that are not delayed (delayed_ack.c) */
void bench_state(struct bench *b, enum tcp_state state); /* constructor of each state but CLOSED */
bool bench_in_time_wait(const struct bench *b); /* whatever TIME-WAIT is kept in */
void bench_options(struct bench *b, const char *octets, uint32_t length);
/* Sequence numbers relative to the initial ones: the SYN is 0, the first octet 1. */
enum tcp_input_result inject(struct bench *b, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t length);
#define expect(b, flags, seq, ack, length) expect_at(b, flags, seq, ack, length, __FILE__, __LINE__)
#define expect_silence(b)                  expect_silence_at(b, __FILE__, __LINE__)
void expect_at(struct bench *b, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t length,
               const char *file, int line);
void expect_silence_at(struct bench *b, const char *file, int line);
uint32_t seen_window(const struct bench *b); /* raw */
uint32_t seen_ack(const struct bench *b);    /* absolute */
void advance(struct bench *b, uint64_t us);
enum tcp_state state_of(const struct bench *b);
const struct tcp_time_wait *time_wait_of(const struct bench *b); /* of the peer's port; NULL: none */
const struct tcp_conn *conn_of(const struct bench *b);
const struct tcp_counters *counters_of(const struct bench *b);
void make_available(struct bench *b, uint32_t octets); /* more to send */
void consume(struct bench *b, uint32_t octets);

#define F   TCP_FLAG_FIN
#define S   TCP_FLAG_SYN
#define R   TCP_FLAG_RST
#define P   TCP_FLAG_PSH
#define A   TCP_FLAG_ACK

/* ---- two engines ---- */
struct packet {
    struct packet *next;
    uint64_t at_us;
    struct tcp_segment_in meta;
    uint32_t header_length, payload_length;
    uint8_t header[TCP_HEADER_MAX];
    uint8_t payload[];
};

struct wire {
    struct host *end[2];
    struct packet *flying[2]; /* to end[i], by time */
    uint64_t now_us;
    uint64_t seed;
    uint32_t delay_us;
    uint32_t loss, duplicate, reorder; /* in 1000 */
    uint32_t mark; /* CE on so many of what is ECT */
    bool split; /* super-segments are cut up on the way, as by a NIC */
    uint64_t carried, lost;
};

void wire_init(struct wire *w, struct host *a, struct host *b, uint64_t seed);
void wire_fini(struct wire *w);
uint32_t wire_random(struct wire *w, uint32_t below);
/* One burst at each side, then time moves to the next event; false: nothing will happen any more, or the
 * next event is later than `until_us`. */
bool wire_step(struct wire *w, uint64_t until_us);

#endif
