// SPDX-License-Identifier: BSD-2-Clause
/* Errors that come after the call that they are about. RFC 1122 4.1.3.3: UDP MUST pass ICMP errors to the application;
 * a connected socket hears of those that quote its own addresses and ports, by its slot's words. Deviates: not of those
 * that may pass (RFC 1122 3.2.2.1: a route, a host that did not answer; 3.2.2.4: time exceeded), which are counted.
 * Linux tells them only who asks (IP_RECVERR), and programs take what they are told for the end. Of a socket without a
 * peer nobody could tell which datagram was meant: counted only, as Linux does without IP_RECVERR. */
#include <errno.h>

#include "protocols/ip4/ip4.h"
#include "servers/udp/udp_server.h"

enum { ICMP4_UNREACHABLE = 3, ICMP4_TIME_EXCEEDED = 11, ICMP4_PARAMETER = 12 };
enum { ICMP6_UNREACHABLE = 1, ICMP6_TOO_BIG = 2, ICMP6_TIME_EXCEEDED = 3, ICMP6_PARAMETER = 4 };

struct meaning {
    int error; /* 0: none that there is */
    bool hard; /* else it may have passed when the next datagram is sent */
};

/* By code, as Linux has them (icmp_err_convert, and for IPv6 icmpv6_err_convert). */
static const struct meaning unreachable4[] = {
    {ENETUNREACH, false},  {EHOSTUNREACH, false}, {ENOPROTOOPT, true},  {ECONNREFUSED, true},
    {EMSGSIZE, true},      {EOPNOTSUPP, false},   {ENETUNREACH, true},  {EHOSTDOWN, true},
    {ENONET, true},        {ENETUNREACH, true},   {EHOSTUNREACH, true}, {ENETUNREACH, false},
    {EHOSTUNREACH, false}, {EHOSTUNREACH, true},  {EHOSTUNREACH, true}, {EHOSTUNREACH, true},
};
static const struct meaning unreachable6[] = {
    {ENETUNREACH, false}, {EACCES, true}, {EHOSTUNREACH, false}, {EHOSTUNREACH, false},
    {ECONNREFUSED, true}, {EACCES, true}, {EACCES, true},
};

static struct meaning meaning4(uint8_t type, uint8_t code)
{
    switch (type) {
    case ICMP4_UNREACHABLE:
        return code < sizeof unreachable4 / sizeof unreachable4[0] ? unreachable4[code]
                                                                   : (struct meaning){EHOSTUNREACH, false};
    case ICMP4_TIME_EXCEEDED:
        return (struct meaning){EHOSTUNREACH, false};
    case ICMP4_PARAMETER:
        return (struct meaning){EPROTO, true};
    default:
        return (struct meaning){0};
    }
}

static struct meaning meaning6(uint8_t type, uint8_t code)
{
    switch (type) {
    case ICMP6_UNREACHABLE:
        return code < sizeof unreachable6 / sizeof unreachable6[0] ? unreachable6[code]
                                                                   : (struct meaning){EPROTO, true};
    case ICMP6_TOO_BIG:
        return (struct meaning){EMSGSIZE, true};
    case ICMP6_TIME_EXCEEDED:
        return (struct meaning){EHOSTUNREACH, false};
    case ICMP6_PARAMETER:
        return (struct meaning){EPROTO, true};
    default:
        return (struct meaning){0};
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
    bool ip4 = m->source.family == ADDRESS_IP4;
    struct meaning is = ip4 ? meaning4(m->traffic_class, m->ttl) : meaning6(m->traffic_class, m->ttl);
    if (m->protocol != IP_PROTOCOL_UDP || m->source.family != m->destination.family || is.error == 0) {
        t->counters.drop_unreachable++;
        return;
    }
    uint32_t endpoint = sender_of(s, m);
    if (endpoint == UDP_NONE) {
        s->counters.errors_unconnected++;
        return;
    }
    struct endpoint *e = &s->endpoint[endpoint];
    if (!is.hard) {
        s->counters.errors_soft++;
        return;
    }
    if (is.error == EMSGSIZE) {
        if (m->gso_size >= mtu_min(m->source.family) && m->gso_size < t->context->config->mtu)
            e->words.path_mtu = m->gso_size;
        udp_touch(s, endpoint);
        if (!udp_option(e, CONTROL_OPTION_DONT_FRAGMENT))
            return; /* ip takes the next ones apart */
    }
    udp_tell_error(s, endpoint, is.error);
}
