// SPDX-License-Identifier: BSD-2-Clause
/* What each piece of work is named by, and what becomes of that which killed the server twice in a row (DESIGN section
 * 6): a segment is dropped and its connection reset, both ends told; nothing else is touched. */
#include "protocols/tcp/tcp_wire.h"
#include "servers/tcp/tcp_server.h"
#include "servers/work.h"

#define SEQ_AT   4U
#define ACK_AT   8U
#define FLAGS_AT 13U

static uint32_t field(const uint8_t *header, uint32_t at)
{
    return (uint32_t)header[at] << 24 | (uint32_t)header[at + 1] << 16 | (uint32_t)header[at + 2] << 8 | header[at + 3];
}

/* By where it begins: a segment that is sent again is the same one, whatever else it says. */
static uint64_t segment_key(const struct tcp_server *s, const struct message *m, const struct transport_packet *p)
{
    const struct work_flow flow = {&m->source, &m->destination, m->source_port, m->destination_port, 6};
    uint32_t kind = p->header[FLAGS_AT] & (TCP_FLAG_SYN | TCP_FLAG_FIN | TCP_FLAG_RST);
    bool payload = p->octets > (p->header[12] >> 4) * 4U;
    return work_key_flow(s->transport.context, WORK_RECEIVE, &flow,
                         (uint64_t)field(p->header, SEQ_AT) << 32 | kind << 1 | payload);
}

/* Its user has it until he closes it, the peer is sent an RST. */
static void connection_reset(struct tcp_server *s, uint64_t now_us, uint32_t connection)
{
    struct transport *t = &s->transport;
    uint32_t e = tcp_endpoint_of(s, connection);
    bool used = e != TRANSPORT_NONE && t->endpoint[e].socket != 0 && !(t->endpoint[e].flags & ENDPOINT_CLOSED);
    t->counters.reset_poison++;
    if (used && t->endpoint[e].arena != TRANSPORT_NONE) {
        t->operations->orphaned(t, now_us, e);
        endpoint_dirty(t, e, true);
    } else {
        tcp_abort(s->engine, now_us, connection);
    }
}

/* RFC 9293 3.10.7.1, by the fixed part of the header: the peer of a connection that is no more. */
static void segment_refuse(struct tcp_server *s, const struct message *m, const struct transport_packet *p)
{
    const uint8_t *h = p->header;
    uint8_t flags = h[FLAGS_AT];
    if (flags & TCP_FLAG_RST)
        return;
    uint32_t at = flags & TCP_FLAG_ACK ? field(h, ACK_AT) : 0;
    const struct tcp_conn lost = {.identity = {.local = m->destination,
                                               .remote = m->source,
                                               .local_port = m->destination_port,
                                               .remote_port = m->source_port},
                                  .state = TCP_ESTABLISHED,
                                  .snd_una = at,
                                  .snd_max = at,
                                  .rcv_nxt = field(h, SEQ_AT) + ((flags & TCP_FLAG_SYN) != 0)};
    (void)tcp_reset_lost(s->engine, &lost); /* no room for it: the next one that comes is answered */
}

bool tcp_works_on_segment(struct tcp_server *s, uint64_t now_us, const struct message *m,
                          const struct transport_packet *p)
{
    if (p->header_octets <= FLAGS_AT || server_works_on(s->transport.context, segment_key(s, m, p)))
        return true;
    const struct tcp_segment_in meta = {.source = m->source,
                                        .destination = m->destination,
                                        .source_port = m->source_port,
                                        .destination_port = m->destination_port};
    uint32_t connection = tcp_lookup(s->engine, &meta);
    s->transport.counters.drop_poison++;
    if (connection != TCP_NONE && tcp_conn_at(s->engine, connection)->state != TCP_LISTEN)
        connection_reset(s, now_us, connection);
    else
        segment_refuse(s, m, p);
    return false;
}

bool tcp_works_on_output(struct tcp_server *s, uint64_t now_us, const struct tcp_output *o)
{
    const struct work_flow flow = {&o->source, &o->destination, o->source_port, o->destination_port, 6};
    if (server_works_on(s->transport.context, work_key_flow(s->transport.context, WORK_SEND, &flow, 0)) ||
        (o->header[FLAGS_AT] & TCP_FLAG_RST) != 0)
        return true;
    s->transport.counters.drop_poison++;
    if (o->conn != TCP_NONE)
        connection_reset(s, now_us, o->conn);
    return false;
}

/* ---- timers and output, which the engine works on ---- */

void tcp_work_init(struct tcp_server *s)
{
    const struct server_work *work = s->transport.context->work;
    if (work == NULL || work->page == NULL)
        return;
    s->work = (struct tcp_work){.word = &work->page->key, .nobody = CRASH_WORK_OWN, .watched = s->suspect};
    for (uint32_t i = 0; i < work->suspects && i < SUSPECTS_MAX; i++)
        s->suspect[s->work.watched_count++] = work->suspect[i].poison ? 0 : work->suspect[i].key; /* 0: no key */
    tcp_tell_work(s->engine, &s->work);
}

void tcp_work_done(struct tcp_server *s)
{
    if (s->work.worked_on == 0)
        return;
    s->transport.context->work->touched |= s->work.worked_on;
    s->work.worked_on = 0;
}

static uint64_t poll_name(const struct tcp_server *s, const struct tcp_identity *id)
{
    const struct work_flow out = {&id->local, &id->remote, id->local_port, id->remote_port, 6};
    return work_key_flow(s->transport.context, WORK_POLL, &out, 0) / TCP_WORK_NAME_STEP * TCP_WORK_NAME_STEP;
}

/* One of its timers, or its output. */
static bool poll_is_poison(const struct tcp_server *s, uint64_t name)
{
    for (uint32_t kind = 0; s->work.watched_count > 0 && kind < TCP_WORK_KINDS; kind++)
        if (server_is_poison(s->transport.context, name + kind))
            return true;
    return false;
}

bool tcp_work_name(struct tcp_server *s, uint32_t connection)
{
    uint64_t name = poll_name(s, &tcp_conn_at(s->engine, connection)->identity);
    tcp_name(s->engine, connection, name);
    return !poll_is_poison(s, name);
}

bool tcp_works_on_restore(const struct tcp_server *s, const struct tcp_identity *id)
{
    const struct server_context *context = s->transport.context;
    const struct work_flow out = {&id->local, &id->remote, id->local_port, id->remote_port, 6};
    return server_works_on(context, work_key_flow(context, WORK_RESTORE, &out, 0)) &&
           !server_is_poison(context, work_key_flow(context, WORK_SEND, &out, 0)) &&
           !poll_is_poison(s, poll_name(s, id));
}
