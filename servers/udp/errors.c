// SPDX-License-Identifier: BSD-2-Clause
/* Errors that come after the call that they are about. RFC 1122 4.1.3.3: UDP MUST pass ICMP errors to the application;
 * a connected socket hears of those that quote its own addresses and ports, by its slot's words. Of a socket without a
 * peer nobody could tell which datagram was meant: counted only, as Linux does without IP_RECVERR. */
#include <errno.h>

#include "protocols/ip4/ip4.h"
#include "servers/udp/udp_server.h"

enum { ICMP4_UNREACHABLE = 3, ICMP4_TIME_EXCEEDED = 11, ICMP4_PARAMETER = 12 };
enum { ICMP6_UNREACHABLE = 1, ICMP6_TOO_BIG = 2, ICMP6_TIME_EXCEEDED = 3, ICMP6_PARAMETER = 4 };

/* By code, as Linux translates them (icmp_err_convert, and for IPv6 icmpv6_err_convert). */
static const int unreachable4[] = {
    ENETUNREACH, EHOSTUNREACH, ENOPROTOOPT,  ECONNREFUSED, EMSGSIZE,     EOPNOTSUPP,   ENETUNREACH,  EHOSTDOWN,
    ENONET,      ENETUNREACH,  EHOSTUNREACH, ENETUNREACH,  EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH,
};
static const int unreachable6[] = {
    ENETUNREACH, EACCES, EHOSTUNREACH, EHOSTUNREACH, ECONNREFUSED, EACCES, EACCES,
};

static int by_code(const int *table, size_t count, uint8_t code)
{
    return code < count ? table[code] : EHOSTUNREACH;
}

/* 0: no such error. */
static int errno_of_icmp(uint8_t family, uint8_t type, uint8_t code)
{
    if (family == ADDRESS_IP4) {
        switch (type) {
        case ICMP4_UNREACHABLE:
            return by_code(unreachable4, sizeof unreachable4 / sizeof unreachable4[0], code);
        case ICMP4_TIME_EXCEEDED:
            return EHOSTUNREACH;
        case ICMP4_PARAMETER:
            return EPROTO;
        default:
            return 0;
        }
    }
    switch (type) {
    case ICMP6_UNREACHABLE:
        return by_code(unreachable6, sizeof unreachable6 / sizeof unreachable6[0], code);
    case ICMP6_TOO_BIG:
        return EMSGSIZE;
    case ICMP6_TIME_EXCEEDED:
        return EHOSTUNREACH;
    case ICMP6_PARAMETER:
        return EPROTO;
    default:
        return 0;
    }
}

/* RFC 791 3.2, RFC 8201 4: what every path carries; less is a lie. */
static uint32_t mtu_min(uint8_t family)
{
    return family == ADDRESS_IP4 ? 68 : 1280;
}

void udp_tell_error(struct udp_server *s, uint32_t endpoint, int error)
{
    struct slot_words *w = &s->endpoint[endpoint].words;
    w->error = (uint32_t)error;
    w->error_count++;
    s->counters.errors_told++;
    udp_touch(s, endpoint);
}

/* The connected socket that sent it; UDP_NONE: there is none. */
static uint32_t sender_of(const struct udp_server *s, const struct message *m)
{
    uint32_t binding = udp_lookup(s->engine, &m->destination, m->destination_port, &m->source, m->source_port);
    const struct udp_binding *b = binding != UDP_NONE ? udp_binding_at(s->engine, binding) : NULL;
    if (b == NULL || b->remote.family == ADDRESS_NONE || (s->endpoint[b->owner].flags & ENDPOINT_CLOSED))
        return UDP_NONE;
    return b->owner;
}

void udp_icmp_error(struct udp_server *s, const struct message *m)
{
    struct transport *t = &s->transport;
    if (capability_lookup(&t->ip->table, m->capability, m->generation, CAPABILITY_TRANSPORT, CAPABILITY_RECEIVE) ==
        NULL) {
        t->counters.drop_capability++;
        return;
    }
    int error = errno_of_icmp(m->source.family, m->traffic_class, m->ttl);
    if (m->protocol != IP_PROTOCOL_UDP || m->source.family != m->destination.family || error == 0) {
        t->counters.drop_unreachable++;
        return;
    }
    uint32_t endpoint = sender_of(s, m);
    if (endpoint == UDP_NONE) {
        s->counters.errors_unconnected++;
        return;
    }
    struct endpoint *e = &s->endpoint[endpoint];
    if (error == EMSGSIZE) {
        if (m->gso_size >= mtu_min(m->source.family) && m->gso_size < t->context->config->mtu)
            e->words.path_mtu = m->gso_size;
        udp_touch(s, endpoint);
        if (!udp_option(e, CONTROL_OPTION_DONT_FRAGMENT))
            return; /* ip takes the next ones apart */
    }
    udp_tell_error(s, endpoint, error);
}
