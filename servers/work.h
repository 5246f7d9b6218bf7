// SPDX-License-Identifier: BSD-2-Clause
/* Keys for server_works_on(): what a server names so that it can be told apart, over its deaths, from what killed
 * nobody. A key names the thing as closely as it can and still be the same when it comes again: a segment by its flow
 * and sequence number, a datagram or frame by its flow and length, a request by its id. So what is cleared by having
 * gone well is that same thing, not another of its connection; and a key is that of one kind of work only. Hashes are
 * keyed with the stack's secret: nobody makes a stranger's traffic look like his. */
#ifndef BULKHEAD_SERVERS_WORK_H
#define BULKHEAD_SERVERS_WORK_H

#include <string.h>

#include "servers/server.h"

enum work_kind { WORK_RECEIVE = 1, WORK_SEND, WORK_ERROR, WORK_REQUEST, WORK_NOTICE, WORK_RESTORE, WORK_POLL };

static inline uint64_t work_mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
    return hash ^ hash >> 29;
}

static inline uint64_t work_begin(const struct server_context *context, enum work_kind kind)
{
    uint64_t secret;
    memcpy(&secret, context->config->secret, sizeof secret);
    return work_mix(secret, (uint64_t)kind);
}

static inline uint64_t work_end(uint64_t hash)
{
    return hash != CRASH_WORK_NONE && hash != CRASH_WORK_OWN ? hash : 1;
}

static inline uint64_t work_mix_address(uint64_t hash, const struct ip_address *a)
{
    uint64_t part[2];
    memcpy(part, a->octets, sizeof part);
    return work_mix(work_mix(hash, part[0]), part[1] ^ a->family);
}

struct work_flow {
    const struct ip_address *source, *destination;
    uint16_t source_port, destination_port;
    uint8_t protocol;
};

/* `what`: which of its packets, 0 any. */
static inline uint64_t work_key_flow(const struct server_context *context, enum work_kind kind,
                                     const struct work_flow *flow, uint64_t what)
{
    uint64_t hash = work_mix_address(work_begin(context, kind), flow->source);
    hash = work_mix_address(hash, flow->destination);
    hash = work_mix(hash, (uint64_t)flow->source_port << 32 | (uint64_t)flow->destination_port << 16 | flow->protocol);
    return work_end(work_mix(hash, what));
}

static inline uint64_t work_key_message(const struct server_context *context, enum work_kind kind,
                                        const struct message *m, uint64_t what)
{
    const struct work_flow flow = {&m->source, &m->destination, m->source_port, m->destination_port, m->protocol};
    return work_key_flow(context, kind, &flow, what);
}

static inline uint64_t work_key_numbers(const struct server_context *context, enum work_kind kind, uint64_t one,
                                        uint64_t other)
{
    return work_end(work_mix(work_mix(work_begin(context, kind), one), other));
}

#define WORK_FRAME_OCTETS 56U /* of a frame's head that its key looks at */

/* `frame`: private, or our own; `captured` octets of `length` are there. Address resolution and what else there is: all
 * of the head. IP: from the addresses on, the ports with them, but nothing of the header that is another's when it
 * comes again (identification, hop limit, checksums). */
static inline uint64_t work_key_frame(const struct server_context *context, enum work_kind kind, const uint8_t *frame,
                                      uint32_t captured, uint32_t length)
{
    enum { TYPE = 12, ADDRESSES4 = 26, PORTS4 = 34, ADDRESSES6 = 22, PORTS6 = 54 };
    uint8_t head[WORK_FRAME_OCTETS + 8] = {0};
    uint32_t octets = captured < WORK_FRAME_OCTETS ? captured : WORK_FRAME_OCTETS, from = 0;
    bool ip4 = octets > PORTS4 && frame[TYPE] == 0x08 && frame[TYPE + 1] == 0x00;
    bool ip6 = octets >= PORTS6 && frame[TYPE] == 0x86 && frame[TYPE + 1] == 0xdd;
    uint64_t hash = work_mix(work_begin(context, kind), length), part;
    if (ip4) {
        from = ADDRESSES4;
        octets = octets < PORTS4 + 4 ? octets : PORTS4 + 4;
        hash = work_mix(hash, frame[23]); /* protocol */
        if (frame[23] != 6 && frame[23] != 17)
            octets = PORTS4;
    } else if (ip6) {
        from = ADDRESSES6;
        hash = work_mix(hash, frame[20]); /* next header */
        if (frame[20] != 6 && frame[20] != 17)
            octets = PORTS6;
    }
    memcpy(head, frame + from, octets - from);
    for (uint32_t i = 0; i < octets - from; i += (uint32_t)sizeof part) {
        memcpy(&part, head + i, sizeof part);
        hash = work_mix(hash, part);
    }
    return work_end(hash);
}

#endif
