// SPDX-License-Identifier: BSD-2-Clause
/* Who lets nothing through (conservation.c). The rings say what each server took, and what it said on; the device says
 * how much nic read and wrote. A packet counts as one that is to come out at the other end only if it is one that a
 * sound server would not drop: so what is looked at is not only the message but the headers that it names, at fixed
 * places, once, in a copy. A network that is silent, or full of strangers' frames, blames nobody.
 *
 * A buffer that came back holds the next packet soon. So of each ring one packet a look is looked at, the last one, and
 * it counts only if nothing was said while it was looked at: who said more will be looked at next time.
 *
 * It sees what is between two domains. Nothing is counted while anybody starts, or was not let run; nor while frames
 * are refused on purpose (poison).
 *
 * Untrusted: rings, pools. */
#include <ifaddrs.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

#define ETHER_OCTETS    14U
#define IP4_OCTETS      20U
#define IP6_OCTETS      40U
#define HEAD_OCTETS     (ETHER_OCTETS + IP6_OCTETS)
#define TRANSPORT_LEAST 8U
#define TRANSPORT_MOST  60U
#define TYPE_LEAST      0x0600U
#define TYPE_IP4        0x0800U
#define TYPE_ARP        0x0806U
#define TYPE_IP6        0x86ddU
#define PROTOCOL_TCP    6
#define PROTOCOL_UDP    17
#define CHECKSUM_TCP    16
#define CHECKSUM_UDP    6
#define FRAGMENT_MASK   0x3fffU /* more fragments, offset */

static const enum server_id ring[TRAFFIC_RINGS][2] = {
    [TRAFFIC_UP] = {SERVER_NIC, SERVER_IP},       [TRAFFIC_DOWN] = {SERVER_IP, SERVER_NIC},
    [TRAFFIC_FROM_TCP] = {SERVER_TCP, SERVER_IP}, [TRAFFIC_FROM_UDP] = {SERVER_UDP, SERVER_IP},
    [TRAFFIC_TO_TCP] = {SERVER_IP, SERVER_TCP},   [TRAFFIC_TO_UDP] = {SERVER_IP, SERVER_UDP},
};

struct look {
    struct supervisor *s;
    enum traffic_ring ring;
    uint32_t count[POINTS];
    uint32_t taken_down, said_up; /* all of them */
    bool up_known;
    uint32_t wire; /* of a transport's: for the wire, by the message alone */
    bool there;
    struct message last; /* packet that was taken from this ring, if any was since the last look */
};

static uint32_t be16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* ---- packets ---- */

struct packet { /* what a sound IP header says */
    const uint8_t *source, *destination;
    uint8_t family, protocol;
    uint32_t header, octets; /* of the header; of all of it */
};

static bool sum_is_right(const uint8_t *header)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < IP4_OCTETS; i += 2)
        sum += be16(header + i);
    return (sum & 0xffff) + (sum >> 16) == 0xffff;
}

/* Untrusted: frame. One without options, extension headers, and not in fragments. */
static bool packet_read(const uint8_t *frame, uint32_t octets, struct packet *ret)
{
    uint32_t type = be16(frame + 12);
    const uint8_t *h = frame + ETHER_OCTETS;
    if (type == TYPE_IP4 && octets >= ETHER_OCTETS + IP4_OCTETS && h[0] == 0x45 && sum_is_right(h) &&
        (be16(h + 6) & FRAGMENT_MASK) == 0)
        *ret = (struct packet){h + 12, h + 16, ADDRESS_IP4, h[9], IP4_OCTETS, be16(h + 2)};
    else if (type == TYPE_IP6 && octets >= ETHER_OCTETS + IP6_OCTETS && h[0] >> 4 == 6)
        *ret = (struct packet){h + 8, h + 24, ADDRESS_IP6, h[6], IP6_OCTETS, IP6_OCTETS + be16(h + 4)};
    else
        return false;
    return ret->octets >= ret->header + TRANSPORT_LEAST && ret->octets <= octets - ETHER_OCTETS;
}

static bool is_own(const struct supervisor *s, uint8_t family, const uint8_t *octets)
{
    for (uint32_t i = 0; i < s->options.address_count; i++)
        if (s->options.address[i].family == family &&
            memcmp(s->options.address[i].octets, octets, family == ADDRESS_IP6 ? 16 : 4) == 0)
            return true;
    return false;
}

/* Somebody else's, and one's only. */
static bool is_unicast(const struct supervisor *s, uint8_t family, const uint8_t *a)
{
    static const uint8_t zero[15];
    if (is_own(s, family, a))
        return false;
    if (family == ADDRESS_IP4)
        return a[0] != 0 && a[0] != 127 && a[0] < 224;
    return a[0] != 0xff && memcmp(a, zero, sizeof zero) != 0;
}

/* Octets of the sender's own pool. Untrusted: r. False: it does not name any. */
static bool copy(const struct supervisor *s, enum server_id by, enum server_id to, const struct message_reference *r,
                 void *ret, uint32_t octets)
{
    const struct server_memory *m = &s->server[by];
    if (r->length < octets || r->pool != m->pool_index || r->generation != m->pool_generation ||
        !rights_name(s, to, by, r->pool, r->generation, r->offset, r->length))
        return false;
    return pread(m->pool, ret, octets, r->offset) == (ssize_t)octets;
}

/* ---- what is said ---- */

/* What the fields say that the kernel filled in, or a sound server. */
static bool fields_ok(const struct message *m, uint32_t octets)
{
    return m->gso_type <= MESSAGE_GSO_UDP && (m->gso_type == MESSAGE_GSO_NONE || m->gso_size > 0) &&
           m->checksum_state <= MESSAGE_CHECKSUM_VALID &&
           (m->checksum_state != MESSAGE_CHECKSUM_PARTIAL ||
            (uint32_t)m->checksum_start + m->checksum_offset + 2 <= octets);
}

/* A type, or the length of an IEEE 802.3 frame (bridges say so who they are). */
static bool type_is_sound(const uint8_t *head, uint32_t octets)
{
    uint32_t type = be16(head + 12);
    return type >= TYPE_LEAST || type <= octets - ETHER_OCTETS;
}

static void frame_up(struct look *l, const struct message *m)
{
    struct supervisor *s = l->s;
    const struct message_reference *r = &m->reference[0];
    uint8_t head[HEAD_OCTETS] = {0};
    uint32_t octets = r->length < HEAD_OCTETS ? r->length : HEAD_OCTETS;
    struct packet p;
    bool ok = octets >= ETHER_OCTETS && copy(s, SERVER_NIC, SERVER_IP, r, head, octets) && fields_ok(m, r->length) &&
              rights_name(s, SERVER_IP, SERVER_NIC, m->capability, m->generation, 0, 0);
    bool ours = memcmp(head, s->mac.octets, sizeof s->mac.octets) == 0;
    if (ok && !ours && (head[0] & 1) == 0)
        return; /* a stranger's, or what nobody sent */
    l->count[ok && type_is_sound(head, r->length) ? POINT_UP : POINT_MISUP]++;
    if (!ok || !ours || !packet_read(head, r->length, &p) || !is_own(s, p.family, p.destination) ||
        !is_unicast(s, p.family, p.source))
        return;
    l->count[POINT_DUE_TCP] += p.protocol == PROTOCOL_TCP;
    l->count[POINT_DUE_UDP] += p.protocol == PROTOCOL_UDP;
}

/* Whether the fields that nic acts upon fit the packet. */
static bool offload_ok(const struct message *m, const struct packet *p)
{
    uint32_t at = p->protocol == PROTOCOL_TCP ? CHECKSUM_TCP : CHECKSUM_UDP;
    bool transport = p->protocol == PROTOCOL_TCP || p->protocol == PROTOCOL_UDP;
    if (!transport || m->checksum_state != MESSAGE_CHECKSUM_PARTIAL)
        return m->gso_type == MESSAGE_GSO_NONE;
    return m->checksum_start == ETHER_OCTETS + p->header && m->checksum_offset == at;
}

static bool frame_is_sound(const struct supervisor *s, const struct message *m)
{
    const struct message_reference *r = &m->reference[0], *body = &m->reference[1];
    uint8_t head[HEAD_OCTETS] = {0};
    uint32_t octets = r->length < HEAD_OCTETS ? r->length : HEAD_OCTETS;
    struct packet p;
    if (octets < ETHER_OCTETS || !copy(s, SERVER_IP, SERVER_NIC, r, head, octets) || !fields_ok(m, UINT16_MAX) ||
        !rights_name(s, SERVER_NIC, SERVER_IP, m->capability, m->generation, 0, 0) ||
        memcmp(head + 6, s->mac.octets, sizeof s->mac.octets) != 0)
        return false;
    if (body->length > 0 &&
        !rights_name(s, SERVER_NIC, SERVER_IP, body->pool, body->generation, body->offset, body->length))
        return false;
    if (be16(head + 12) == TYPE_ARP)
        return true;
    if (be16(head + 12) == TYPE_IP4 && (be16(head + ETHER_OCTETS + 6) & FRAGMENT_MASK) != 0)
        return sum_is_right(head + ETHER_OCTETS);
    uint64_t all = (uint64_t)r->length + body->length;
    return all <= UINT16_MAX && packet_read(head, (uint32_t)all, &p) && p.octets == all - ETHER_OCTETS &&
           offload_ok(m, &p);
}

static bool request_is_sound(const struct supervisor *s, enum server_id by, const struct message *m)
{
    const struct message_reference *r = &m->reference[0], *body = &m->reference[1];
    uint8_t ports[4];
    if (r->length < TRANSPORT_LEAST || r->length > TRANSPORT_MOST || !copy(s, by, SERVER_IP, r, ports, sizeof ports) ||
        !rights_name(s, SERVER_IP, by, m->capability, m->generation, 0, 0) ||
        m->source.family != m->destination.family || be16(ports) != m->source_port ||
        be16(ports + 2) != m->destination_port)
        return false;
    return body->length == 0 || rights_name(s, SERVER_IP, by, body->pool, body->generation, body->offset, body->length);
}

static void hear_taken(void *argument, const struct message *m)
{
    struct look *l = argument;
    bool up = l->ring == TRAFFIC_UP, from_transport = l->ring == TRAFFIC_FROM_TCP || l->ring == TRAFFIC_FROM_UDP;
    if (m->operation != (up ? MESSAGE_RECEIVE : MESSAGE_SEND))
        return;
    l->there = true;
    l->last = *m;
    l->taken_down += l->ring == TRAFFIC_DOWN;
    l->wire += from_transport && is_own(l->s, m->source.family, m->source.octets) &&
               is_unicast(l->s, m->destination.family, m->destination.octets);
}

/* Looks at the packet that was taken last. */
static void judge_last(struct look *l)
{
    const struct message *m = &l->last;
    bool tcp = l->ring == TRAFFIC_FROM_TCP;
    if (l->ring == TRAFFIC_UP)
        frame_up(l, m);
    else if (l->ring == TRAFFIC_DOWN)
        l->count[frame_is_sound(l->s, m) ? POINT_SENT : POINT_MISSENT]++;
    else if (request_is_sound(l->s, tcp ? SERVER_TCP : SERVER_UDP, m))
        l->count[tcp ? POINT_ASKED_TCP : POINT_ASKED_UDP] += l->wire;
    else
        l->count[tcp ? POINT_MISASKED_TCP : POINT_MISASKED_UDP]++;
}

static void hear_said(void *argument, const struct message *m)
{
    struct look *l = argument;
    bool to_tcp = l->ring == TRAFFIC_TO_TCP, to_transport = to_tcp || l->ring == TRAFFIC_TO_UDP;
    bool turned = m->cookie >= MESSAGE_COOKIE_OWN; /* or put together from fragments: then nobody is missed */
    l->count[POINT_SAID_SENT] += l->ring == TRAFFIC_DOWN && m->operation == MESSAGE_SEND;
    l->count[POINT_SAID_PACKET] += l->ring == TRAFFIC_DOWN && m->operation == MESSAGE_SEND &&
                                   (m->protocol == PROTOCOL_TCP || m->protocol == PROTOCOL_UDP);
    l->said_up += l->ring == TRAFFIC_UP && m->operation == MESSAGE_RECEIVE;
    l->count[POINT_TOLD] += to_transport && m->operation == MESSAGE_UNREACHABLE;
    l->count[to_tcp ? POINT_HANDED_TCP : POINT_HANDED_UDP] +=
        to_transport && m->operation == MESSAGE_RECEIVE && !turned;
}

/* ---- the device ---- */

/* What it says of nic: frames read, frames written. False: it is no interface, or down. */
static bool device_counts(const struct supervisor *s, uint64_t *ret_read, uint64_t *ret_written)
{
    struct ifaddrs *all, *i;
    bool found = false;
    if (s->options.driver != NETDRV_TAP || getifaddrs(&all) < 0)
        return false;
    for (i = all; i != NULL && !found; i = i->ifa_next) {
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_PACKET || i->ifa_data == NULL ||
            strcmp(i->ifa_name, s->options.device) != 0 || (i->ifa_flags & IFF_UP) == 0)
            continue;
        const struct rtnl_link_stats *stats = i->ifa_data;
        *ret_read = stats->tx_packets; /* the kernel's words: what it sends is what nic reads */
        *ret_written = stats->rx_packets;
        found = true;
    }
    freeifaddrs(all);
    return found;
}

/* Where `all` packets went in, `through` of them came out. */
static uint32_t compare(struct look *l, uint32_t all, uint64_t through, enum flow_point lost, enum flow_point whole)
{
    l->count[lost] = through < all ? all - (uint32_t)through : 0;
    l->count[whole] = all > 0 && through >= all;
    return POINT(lost) | POINT(whole);
}

/* After the rings. The points that are known. */
static uint32_t device_look(struct supervisor *s, struct look *l, uint32_t known)
{
    struct traffic *t = &s->traffic;
    uint64_t read = 0, written = 0, read_before = t->read, written_before = t->written;
    bool begun = t->device_begun;
    t->device_begun = device_counts(s, &read, &written);
    t->read = read;
    t->written = written;
    if (!begun || !t->device_begun)
        return 0;
    uint32_t more = 0;
    if ((known & POINT(POINT_SENT)) != 0 && l->count[POINT_MISSENT] == 0)
        more |= compare(l, l->taken_down, written - written_before, POINT_UNWRITTEN, POINT_WRITTEN);
    if (l->up_known)
        more |= compare(l, (uint32_t)(read - read_before), l->said_up, POINT_KEPT, POINT_READ);
    return more;
}

/* ---- a look ---- */

static const struct {
    uint32_t taken, said;
} points[TRAFFIC_RINGS] = {
    [TRAFFIC_UP] = {POINT(POINT_UP) | POINT(POINT_MISUP) | POINT(POINT_DUE_TCP) | POINT(POINT_DUE_UDP), 0},
    [TRAFFIC_DOWN] = {POINT(POINT_SENT) | POINT(POINT_MISSENT), POINT(POINT_SAID_SENT) | POINT(POINT_SAID_PACKET)},
    [TRAFFIC_FROM_TCP] = {POINT(POINT_ASKED_TCP) | POINT(POINT_MISASKED_TCP), 0},
    [TRAFFIC_FROM_UDP] = {POINT(POINT_ASKED_UDP) | POINT(POINT_MISASKED_UDP), 0},
    [TRAFFIC_TO_TCP] = {0, POINT(POINT_HANDED_TCP)},
    [TRAFFIC_TO_UDP] = {0, POINT(POINT_HANDED_UDP)},
};

/* Nothing was said behind it: its buffer is not in use again. */
static bool is_last(const struct supervisor *s, enum traffic_ring i, uint32_t taken)
{
    uint32_t said;
    return judge_said(s, ring[i][0], ring[i][1], &said) && said == taken;
}

static void last_look(struct supervisor *s, struct look *l, uint32_t taken)
{
    uint32_t before[POINTS];
    memcpy(before, l->count, sizeof before);
    if (!l->there || !is_last(s, l->ring, taken))
        return;
    judge_last(l);
    if (!is_last(s, l->ring, taken))
        memcpy(l->count, before, sizeof before);
}

/* The points that are known. */
static uint32_t rings_look(struct supervisor *s, struct look *l)
{
    struct traffic *t = &s->traffic;
    uint32_t known = 0, told = 0;
    for (unsigned i = 0; i < TRAFFIC_RINGS; i++) {
        l->ring = (enum traffic_ring)i;
        l->there = false;
        l->wire = 0;
        bool full = judge_is_full(s, ring[i][0], ring[i][1]);
        if (points[i].taken != 0 && judge_hear(s, ring[i][0], ring[i][1], true, &t->taken[i], hear_taken, l)) {
            known |= points[i].taken;
            last_look(s, l, t->taken[i]);
        }
        if (judge_hear(s, ring[i][0], ring[i][1], false, &t->said[i], hear_said, l) && !full) {
            known |= points[i].said;
            l->up_known |= i == TRAFFIC_UP;
        }
        told += i >= TRAFFIC_TO_TCP && (known & points[i].said) != 0;
    }
    return known | (told == 2 ? POINT(POINT_TOLD) : 0);
}

static bool refuses_on_purpose(const struct supervisor *s)
{
    return s->server[SERVER_NIC].health.suspects > 0 || s->server[SERVER_IP].health.suspects > 0;
}

void traffic_tick(struct supervisor *s, uint64_t now)
{
    struct traffic *t = &s->traffic;
    struct look l = {.s = s};
    const char *why = NULL;
    if (s->options.no_probe || !s->started || s->stopping)
        return;
    bool begun = t->begun && !health_has_reason(s, now - TICK_US, now) && !refuses_on_purpose(s);
    t->begun = true;
    uint32_t known = rings_look(s, &l);
    known |= device_look(s, &l, known);
    if (!begun) {
        conservation_forget(&t->conservation);
        return;
    }
    enum server_id id = conservation_look(&t->conservation, known, l.count, now, &why);
    if (id != SERVER_COUNT)
        health_unserved(s, s->server[id].domain, "the traffic", why);
}
