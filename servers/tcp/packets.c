// SPDX-License-Identifier: BSD-2-Clause
#include <string.h>

#include "protocols/base/checksum.h"
#include "protocols/icmp/icmp6_wire.h"
#include "protocols/icmp/icmp_wire.h"
#include "protocols/ip4/ip4.h"
#include "servers/tcp/tcp_server.h"
#include "servers/work.h"

#define CHECKSUM_AT 16U

/* ---- in ---- */

/* A segment that establishes a connection which has no slot yet: it gets one of its listener's session. False: there
 * is none, the segment has to be dropped. What does not acknowledge our SYN costs no slot: the engine answers it. */
static bool slot_ready(struct tcp_server *s, uint32_t index, const struct transport_packet *p)
{
    struct transport *t = &s->transport;
    const struct tcp_conn *c = index != TCP_NONE ? tcp_conn_at(s->engine, index) : NULL;
    if (c == NULL || c->state != TCP_SYN_RECEIVED || c->identity.arena != UINT32_MAX)
        return true;
    if (!tcp_completes_handshake(s->engine, index, p->header, p->header_octets))
        return true;
    uint32_t from = c->listener < CONNECTIONS_MAX ? tcp_endpoint_of(s, c->listener) : TRANSPORT_NONE;
    if (from == TRANSPORT_NONE || !transport_session_open(t, t->endpoint[from].session))
        return false;
    uint32_t e = endpoint_new(t, t->endpoint[from].session, 0, TRANSPORT_NONE);
    if (e == TRANSPORT_NONE)
        return false;
    struct endpoint *child = &t->endpoint[e];
    const struct session_arena like = {.send_size = c->send_size, .receive_size = c->receive_size};
    if (!slot_take(t, e, &like) ||
        tcp_attach(s->engine, index, 0, child->session, child->arena, child->slot, child->generation) != TCP_CALL_OK) {
        endpoint_release(t, e);
        return false;
    }
    const struct session_arena *a = slot_arena(t, child);
    tcp_ring_limits(s->engine, index, a->receive_most, a->send_most);
    child->listener = t->endpoint[from].socket;
    child->options = t->endpoint[from].options;
    child->ttl = t->endpoint[from].ttl;
    child->traffic_class = t->endpoint[from].traffic_class;
    child->tuning = t->endpoint[from].tuning;
    tcp_options_apply(s, child, index);
    child->connection = index;
    s->endpoint_of[index] = (uint16_t)(e + 1);
    return true;
}

/* The one copy of payload: from the lender's buffer to its place in the receive ring. */
static void place(struct tcp_server *s, const struct transport_packet *p, const struct tcp_placement *at)
{
    uint32_t e = tcp_endpoint_of(s, at->conn);
    const struct session_arena *a = e != TRANSPORT_NONE ? slot_arena(&s->transport, &s->transport.endpoint[e]) : NULL;
    uint32_t from = (p->header[12] >> 4) * 4U + at->payload_offset;
    if (a == NULL || from > p->octets || at->length > p->octets - from || at->length > a->receive_most)
        return;
    uint8_t *ring = slot_receive_ring(a, s->transport.endpoint[e].slot);
    struct ring_shape shape = tcp_receive_ring(tcp_conn_at(s->engine, at->conn));
    if (shape.next_size > a->receive_most)
        return;
    for (uint32_t done = 0; done < at->length;) {
        uint32_t run = ring_run(&shape, at->stream_offset + done);
        uint32_t n = run < at->length - done ? run : at->length - done;
        transport_packet_copy(p, from + done, ring + ring_position(&shape, at->stream_offset + done), n);
        done += n;
    }
}

static void receive(struct tcp_server *s, uint64_t now_us, const struct message *m)
{
    struct transport *t = &s->transport;
    struct transport_packet p;
    if (!transport_packet_receive(t, m, &p) || !transport_checksum(t, m, &p))
        return;
    t->counters.received++;
    if (!tcp_works_on_segment(s, now_us, m, &p))
        return;
    const struct tcp_segment_in meta = {.source = m->source,
                                        .destination = m->destination,
                                        .source_port = m->source_port,
                                        .destination_port = m->destination_port,
                                        .ecn = m->traffic_class & 3,
                                        .gso_size = m->gso_size};
    uint32_t index = tcp_open_cookie(s->engine, now_us, tcp_lookup(s->engine, &meta), &meta, p.header, p.header_octets);
    if (!slot_ready(s, index, &p)) {
        t->counters.drop_no_slot++;
        return;
    }
    struct tcp_placement at = {.conn = TCP_NONE};
    enum tcp_input_result result = tcp_input(s->engine, now_us, index, &meta, p.header, p.header_octets, p.octets, &at);
    if (result == TCP_INPUT_DONE && at.conn != TCP_NONE && at.length > 0)
        place(s, &p, &at);
}

/* RFC 1191 4, RFC 4443 3.2: about size, not reach. */
static bool about_size(const struct message *m)
{
    return m->source.family == ADDRESS_IP4 ? m->traffic_class == 3 && m->ttl == 4 : m->traffic_class == 2;
}

/* Type and code of ICMP and of ICMPv6 as what connect() says of it: POSIX as far as it names them, else as Linux
 * (icmp_err_convert, tab_unreach). Deviates: "source route failed" (EOPNOTSUPP there) is EHOSTUNREACH. */
static enum tcp_error reason_of(const struct message *m)
{
    static const uint8_t of4[] = {
        [0] = TCP_ERROR_NETWORK, [2] = TCP_ERROR_PROTOCOL, [3] = TCP_ERROR_REFUSED,
        [6] = TCP_ERROR_NETWORK, [9] = TCP_ERROR_NETWORK,  [11] = TCP_ERROR_NETWORK,
    };
    static const uint8_t of6[] = {
        [0] = TCP_ERROR_NETWORK,    [1] = TCP_ERROR_PROHIBITED, [4] = TCP_ERROR_REFUSED,
        [5] = TCP_ERROR_PROHIBITED, [6] = TCP_ERROR_PROHIBITED,
    };
    uint8_t reason = TCP_ERROR_NONE;
    if (m->source.family == ADDRESS_IP4 && m->traffic_class == ICMP_TYPE_UNREACHABLE && m->ttl < sizeof of4)
        reason = of4[m->ttl];
    if (m->source.family == ADDRESS_IP6 && m->traffic_class == ICMP6_TYPE_UNREACHABLE && m->ttl < sizeof of6)
        reason = of6[m->ttl];
    return reason != TCP_ERROR_NONE ? (enum tcp_error)reason : TCP_ERROR_UNREACHABLE;
}

/* Untrusted: m (from ip; what it quotes is the wire's). */
static void unreachable(struct tcp_server *s, uint64_t now_us, const struct message *m)
{
    struct transport *t = &s->transport;
    if (capability_lookup(&t->ip->table, m->capability, m->generation, CAPABILITY_TRANSPORT, CAPABILITY_RECEIVE) ==
        NULL) {
        t->counters.drop_capability++;
        return;
    }
    const struct tcp_segment_in meta = {.source = m->destination,
                                        .destination = m->source,
                                        .source_port = m->destination_port,
                                        .destination_port = m->source_port};
    if (!server_works_on(t->context, work_key_message(t->context, WORK_ERROR, m, m->cookie))) {
        t->counters.drop_poison++;
        return;
    }
    uint32_t index = tcp_lookup(s->engine, &meta);
    if (m->protocol != IP_PROTOCOL_TCP || index == TCP_NONE || tcp_conn_at(s->engine, index)->state == TCP_LISTEN) {
        t->counters.drop_unreachable++;
        return;
    }
    if (about_size(m))
        tcp_too_big(s->engine, now_us, index, (uint32_t)m->cookie, m->gso_size);
    else
        tcp_unreachable(s->engine, now_us, index, (uint32_t)m->cookie, reason_of(m));
}

/* What the recovery kept comes first. */
static bool next(struct tcp_server *s, struct message *ret)
{
    struct tcp_recovery *r = &s->recovery;
    if (r->kept_count == 0)
        return port_pull(s->transport.ip, ret);
    *ret = r->kept[r->kept_first++ % TCP_KEPT_MAX];
    r->kept_count--;
    return true;
}

bool tcp_packets_in(struct tcp_server *s, uint64_t now_us)
{
    struct transport *t = &s->transport;
    uint32_t budget = transport_receive_budget(t), taken = 0;
    struct message m;
    for (; taken < budget && next(s, &m); taken++) {
        server_works_alone(t->context);
        if (m.operation == MESSAGE_RECEIVE) {
            receive(s, now_us, &m);
            transport_give_back(t, &m);
        } else if (m.operation == MESSAGE_UNREACHABLE) {
            unreachable(s, now_us, &m);
        } else if (!transport_loans_home(t, &m)) {
            t->counters.drop_operation++;
            port_foreign(t->ip);
        }
    }
    return taken > 0;
}

/* More than ip may lend at once, and so never if it keeps to that, goes back unread. */
static void keep(struct tcp_server *s, const struct message *m)
{
    struct tcp_recovery *r = &s->recovery;
    if (r->kept_count < TCP_KEPT_MAX) {
        r->kept[(r->kept_first + r->kept_count++) % TCP_KEPT_MAX] = *m;
        return;
    }
    s->transport.counters.drop_recovering++;
    if (m->operation == MESSAGE_RECEIVE)
        transport_give_back(&s->transport, m);
}

void tcp_kept_forget(struct tcp_server *s, enum server_id peer)
{
    struct tcp_recovery *r = &s->recovery;
    for (uint32_t i = r->kept_count; i > 0; i--) {
        struct message m = r->kept[r->kept_first++ % TCP_KEPT_MAX];
        r->kept_count--;
        bool of_nic = m.operation == MESSAGE_RECEIVE && m.cookie < MESSAGE_COOKIE_OWN;
        if (peer != SERVER_IP && !(peer == SERVER_NIC && of_nic))
            keep(s, &m);
    }
}

/* While the recovery waits for header buffers loans come home. A thousand peers that it tells come again at once: their
 * SYNs are not to be lost. */
bool tcp_loans_in(struct tcp_server *s)
{
    struct transport *t = &s->transport;
    uint32_t budget = transport_receive_budget(t), taken = 0;
    struct message m;
    for (; taken < budget && port_pull(t->ip, &m); taken++)
        if (!transport_loans_home(t, &m))
            keep(s, &m);
    return taken > 0;
}

/* ---- out ---- */

static void send(struct tcp_server *s, struct tcp_output *o)
{
    be16 sum = checksum_fold(
        checksum_pseudo_header(&o->source, &o->destination, IP_PROTOCOL_TCP, o->header_length + o->payload_length));
    memcpy(o->header + CHECKSUM_AT, &sum, sizeof sum);
    uint8_t gso = o->destination.family == ADDRESS_IP6 ? MESSAGE_GSO_TCP6 : MESSAGE_GSO_TCP4;
    struct message m = {.flags = MESSAGE_DONT_FRAGMENT, /* RFC 1191 3 */
                        .source = o->source,
                        .destination = o->destination,
                        .source_port = o->source_port,
                        .destination_port = o->destination_port,
                        .gso_type = o->gso_size > 0 ? gso : MESSAGE_GSO_NONE,
                        .gso_size = o->gso_size,
                        .checksum_state = MESSAGE_CHECKSUM_PARTIAL,
                        .checksum_offset = CHECKSUM_AT};
    uint32_t e = o->conn != TCP_NONE ? tcp_endpoint_of(s, o->conn) : TRANSPORT_NONE;
    uint32_t place = 0;
    if (e != TRANSPORT_NONE) {
        m.ttl = s->transport.endpoint[e].ttl;
        m.traffic_class = (s->transport.endpoint[e].traffic_class & 0xfc) | o->ecn; /* those two bits are not the user's */
    }
    if (o->payload_length > 0 && o->conn != TCP_NONE) {
        struct ring_shape ring = tcp_send_ring(tcp_conn_at(s->engine, o->conn));
        place = ring_position(&ring, o->stream_offset);
    }
    transport_packet_send(&s->transport, &m, o->header, o->header_length, e, o->stream_offset, place,
                          o->payload_length);
}

bool tcp_packets_out(struct tcp_server *s, uint64_t now_us)
{
    struct tcp_output o;
    bool did = false;
    server_works_alone(s->transport.context);
    while (transport_can_send(&s->transport) && tcp_poll(s->engine, now_us, &o)) {
        if (tcp_works_on_output(s, now_us, &o))
            send(s, &o);
        server_works_alone(s->transport.context);
        did = true;
    }
    tcp_work_done(s);
    return did;
}
