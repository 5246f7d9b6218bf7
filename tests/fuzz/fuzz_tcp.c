// SPDX-License-Identifier: BSD-2-Clause
/* The TCP engine as a state machine: segments (aimed near the connection's state, so that they are not all out of
 * window), user calls and time steps in any order. What comes out must keep the invariants that the tcp server rests
 * on. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/base/wire.h"
#include "protocols/tcp/tcp.h"

#define CONNECTIONS 8
#define TIME_WAITS  4
#define RING        16384U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
    if (!condition)
        abort();
}

static void check_conn(const struct tcp_conn *c)
{
    if (c->state == TCP_CLOSED || c->state == TCP_LISTEN)
        return;
    check(c->send_end - c->send_acked <= c->send_size);
    check(c->receive_next - c->receive_consumed <= c->receive_size + 1); /* and a FIN */
    check((int32_t)(c->snd_max - c->snd_una) >= 0);
    check(c->range_count <= TCP_RANGES_MAX);
    for (uint32_t i = 0; i < c->range_count; i++) {
        check((int32_t)(c->range[i].start - c->rcv_nxt) > 0);
        check((int32_t)(c->range[i].end - c->range[i].start) > 0);
        check(i == 0 || (int32_t)(c->range[i].start - c->range[i - 1].end) > 0);
    }
}

static const struct ip_address ours = {.family = ADDRESS_IP4, .octets = {10, 0, 0, 2}};
static const struct ip_address theirs = {.family = ADDRESS_IP4, .octets = {10, 0, 0, 1}};

static uint32_t cookie, cookie_peer; /* of the last SYN-ACK that was a stateless reply */

static void input(struct tcp *t, uint64_t now, const uint8_t *d)
{
    struct tcp_segment_in meta = {.source = theirs,
                                  .destination = ours,
                                  .source_port = (uint16_t)(5000 + d[1] % 4),
                                  .destination_port = (uint16_t)(80 + d[2] % 2),
                                  .gso_size = (uint16_t)(d[3] & 1 ? 1460 : 0)};
    uint32_t index = tcp_lookup(t, &meta), made;
    const struct tcp_conn *c = index == TCP_NONE ? NULL : tcp_conn_at(t, index);
    uint32_t seq = (uint32_t)d[4] << 24, ack = (uint32_t)d[5] << 24;
    if (c != NULL && c->state != TCP_LISTEN) {
        seq = c->rcv_nxt + (uint32_t)(int8_t)d[4] * (d[3] & 2 ? 200 : 1);
        ack = c->snd_nxt + (uint32_t)(int8_t)d[5] * (d[3] & 4 ? 200 : 1);
        if (c->state == TCP_SYN_RECEIVED && c->identity.arena == UINT32_MAX)
            tcp_attach(t, index, 1, 1, 0, index, 1);
    } else { /* perhaps what a TIME-WAIT waits for, or the ACK of a cookie */
        const struct tcp_time_wait *r = tcp_time_wait_at(t, d[6] % TIME_WAITS);
        seq = d[3] & 32 ? r->rcv_nxt + (uint32_t)(int8_t)d[4] : seq;
        ack = d[3] & 32 ? r->snd_nxt : d[3] & 64 ? cookie + 1 : ack;
        seq = d[3] & 64 ? cookie_peer : seq;
    }
    uint8_t header[TCP_HEADER_MAX] = {0};
    uint8_t words = (uint8_t)(d[3] & 8 ? 5 + d[6] % 11 : 5);
    memcpy(header, &(be16){{(uint8_t)(meta.source_port >> 8), (uint8_t)meta.source_port}}, 2);
    memcpy(header + 2, &(be16){{0, (uint8_t)meta.destination_port}}, 2);
    be32 s = be32_make(seq), a = be32_make(ack);
    memcpy(header + 4, &s, 4);
    memcpy(header + 8, &a, 4);
    header[12] = (uint8_t)((d[3] & 0x80 ? d[6] : words) << 4);
    header[13] = d[7];
    header[14] = d[8];
    header[15] = d[9];
    for (unsigned i = 20; i < sizeof header; i++)
        header[i] = d[6 + i % 4];
    made = tcp_open_cookie(t, now, index, &meta, header, words * 4u);
    if (made != index) {
        check(tcp_conn_at(t, made)->state == TCP_SYN_RECEIVED);
        if (d[3] & 1)
            tcp_attach(t, made, 1, 1, 0, made, 1);
        index = made;
    }
    uint32_t length = words * 4u + (d[3] & 16 ? d[8] * 40u : d[8] % 4);
    struct tcp_placement place;
    if (tcp_input(t, now, index, &meta, header, words * 4u, length, &place) == TCP_INPUT_DONE && place.length > 0) {
        const struct tcp_conn *p = tcp_conn_at(t, place.conn);
        check(place.payload_offset + place.length <= length - (header[12] >> 4) * 4u);
        check(place.stream_offset + place.length - p->receive_consumed <= p->receive_size);
    }
}

static void drain(struct tcp *t, uint64_t now)
{
    struct tcp_output out;
    for (int n = 0; tcp_poll(t, now, &out); n++) {
        check(n < 10000);
        check(out.header_length >= 20 && out.header_length <= TCP_HEADER_MAX && out.header_length % 4 == 0);
        if (out.conn == TCP_NONE && (out.header[13] & 2)) {
            be32 word[2];
            memcpy(word, out.header + 4, sizeof word);
            cookie = be32_get(word[0]);
            cookie_peer = be32_get(word[1]);
        }
        if (out.conn != TCP_NONE && out.payload_length > 0) {
            const struct tcp_conn *c = tcp_conn_at(t, out.conn);
            check((out.stream_offset & (c->send_size - 1)) + out.payload_length <= c->send_size);
            check(c->send_end - out.stream_offset >= out.payload_length);
        }
    }
    uint32_t index;
    for (int n = 0; tcp_next_touched(t, &index); n++) {
        check(n < 10000);
        check_conn(tcp_conn_at(t, index));
    }
    for (int n = 0; tcp_next_touched_time_wait(t, &index); n++) {
        check(n < 10000 && index < tcp_time_wait_records(t));
        const struct tcp_time_wait *r = tcp_time_wait_at(t, index);
        check(r->local.family == ADDRESS_NONE || (r->local_port != 0 && r->ends_at_us > 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(64) uint8_t memory[1 << 20];
    struct tcp_config config = {.connections = CONNECTIONS, .mtu = 1500, .gso = true, .time_waits = TIME_WAITS};
    cookie = cookie_peer = 0;
    check(tcp_size(&config) <= sizeof memory);
    uint64_t now = 1000000;
    memset(memory, 0, tcp_size(&config));
    struct tcp *t = tcp_init(memory, &config, now);
    struct tcp_identity listener = {.local = ours, .local_port = 80, .arena = UINT32_MAX};
    uint32_t index;
    check(tcp_listen(t, &listener, 3, RING, RING, &index) == TCP_CALL_OK);
    for (size_t at = 0; at + 10 <= size; at += 10) {
        const uint8_t *d = data + at;
        struct tcp_identity id = {.local = ours,
                                  .remote = theirs,
                                  .local_port = (uint16_t)(80 + d[2] % 2),
                                  .remote_port = (uint16_t)(5000 + d[1] % 4)};
        uint32_t i = d[1] % CONNECTIONS;
        const struct tcp_conn *c = tcp_conn_at(t, i);
        bool live = c->state != TCP_CLOSED && c->state != TCP_LISTEN;
        switch (d[0] % 13) {
        case 0:
            tcp_connect(t, now, &id, RING, RING, &index);
            break;
        case 1:
            if (live)
                tcp_send_available(t, now, i, d[3] & 1 ? c->send_end + d[4] * 64u : (uint32_t)d[4] << 24);
            break;
        case 2:
            if (live)
                tcp_receive_consumed(t, now, i, d[3] & 1 ? c->receive_next : c->receive_consumed + d[4]);
            break;
        case 3:
            if (live)
                tcp_shutdown_send(t, now, i);
            break;
        case 4:
            if (live)
                tcp_close(t, now, i);
            break;
        case 5:
            if (live)
                tcp_abort(t, now, i);
            break;
        case 6:
            now += (uint64_t)d[1] << (d[2] % 24);
            break;
        case 7:
            drain(t, now);
            break;
        case 8: {
            struct tcp_time_wait r = {.local = ours,
                                      .remote = theirs,
                                      .local_port = id.local_port,
                                      .remote_port = id.remote_port,
                                      .timestamps = d[3] & 3,
                                      .window_scale = d[4] % 16,
                                      .ends_at_us = (uint64_t)d[5] << (d[6] % 64)};
            check(tcp_restore_time_wait(t, d[7] % (TIME_WAITS + 1), &r) != TCP_CALL_OK ||
                  d[7] % (TIME_WAITS + 1) < TIME_WAITS);
            break;
        }
        default:
            input(t, now, d);
            if (d[0] & 0x80)
                drain(t, now);
        }
    }
    drain(t, now);
    return 0;
}
