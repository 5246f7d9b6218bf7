// SPDX-License-Identifier: BSD-2-Clause
/* Who lets nothing through (conservation.c). The rings say what each server took, and what it said on; the device says
 * how much nic read and wrote. A packet counts as one that is to come out at the other end only if it is one that a
 * sound server would not drop: so what is looked at is not only the message but the headers that it names, at fixed
 * places, once, in a copy. A network that is silent, or full of strangers' frames, blames nobody.
 *
 * A buffer that came back holds the next packet soon. So of each ring one packet a look is looked at, the last one, and
 * it counts only if nothing was said while it was looked at: who said more will be looked at next time. So who says
 * what makes no sense in between is not seen, and who refuses that may be blamed in its place.
 * Names of what an application had may be gone by the time: then nothing is said about the packet.
 *
 * What carries a checksum is to be whole if nic's word on it is followed, and ip is to pass that word on: else transports
 * drop all that comes. A network that damages every packet costs nic a life, ever more rarely.
 *
 * It sees what is between two domains. Nothing is counted while anybody starts, or was not let run; nor while frames
 * are refused on purpose (poison).
 *
 * Untrusted: rings, pools. */
#include <fcntl.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

#define ETHER_OCTETS      14U
#define IP4_OCTETS        20U
#define IP6_OCTETS        40U
#define HEAD_OCTETS       (ETHER_OCTETS + IP6_OCTETS)
#define TRANSPORT_LEAST   8U
#define TRANSPORT_MOST    60U
#define TYPE_LEAST        0x0600U
#define TYPE_IP4          0x0800U
#define TYPE_ARP          0x0806U
#define TYPE_IP6          0x86ddU
#define PROTOCOL_TCP      6
#define PROTOCOL_UDP      17
#define CHECKSUM_TCP      16
#define CHECKSUM_UDP      6
#define INTERFACES_OCTETS 65536U /* of /proc/net/dev: some 500 of them */
#define SUMMED_OCTETS     2048U  /* whose checksum is looked at, at most */
#define QUESTIONS         8 /* for stations, at one look: whose answers are waited for may be more than ip can keep */
#define FRAGMENT_MASK     0x3fffU /* more fragments, offset */

static const enum server_id ring[TRAFFIC_RINGS][2] = {
    [TRAFFIC_UP] = {SERVER_NIC, SERVER_IP},       [TRAFFIC_DOWN] = {SERVER_IP, SERVER_NIC},
    [TRAFFIC_FROM_TCP] = {SERVER_TCP, SERVER_IP}, [TRAFFIC_FROM_UDP] = {SERVER_UDP, SERVER_IP},
    [TRAFFIC_TO_TCP] = {SERVER_IP, SERVER_TCP},   [TRAFFIC_TO_UDP] = {SERVER_IP, SERVER_UDP},
};

struct look {
    struct supervisor *s;
    enum traffic_ring ring;
    uint32_t count[POINTS];
    uint32_t taken_down, said_up, questions; /* all of them */
    bool up_known;
    uint32_t wire;       /* of a transport's: for the wire, by the message alone */
    bool there, gone;    /* gone: what was sent named what nobody has any more */
    struct message last; /* packet that was taken from this ring, if any was since the last look */
    struct message due;  /* the last one from nic, if a transport is to have it */
    uint32_t due_at;     /* where in it the transport's header is; 0: none is due */
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

/* Which of our addresses it is; STACK_ADDRESSES_MAX: none. */
static uint32_t own_index(const struct supervisor *s, uint8_t family, const uint8_t *octets)
{
    for (uint32_t i = 0; i < s->options.address_count; i++)
        if (s->options.address[i].family == family &&
            memcmp(s->options.address[i].octets, octets, family == ADDRESS_IP6 ? 16 : 4) == 0)
            return i;
    return STACK_ADDRESSES_MAX;
}

static bool is_own(const struct supervisor *s, uint8_t family, const uint8_t *octets)
{
    return own_index(s, family, octets) != STACK_ADDRESSES_MAX;
}

static uint32_t be32(const uint8_t *at)
{
    return be16(at) << 16 | be16(at + 2);
}

/* Of a network that one of ours is in: all of it (or its name, which some take for that). */
static bool is_broadcast(const struct supervisor *s, const uint8_t *a)
{
    for (uint32_t i = 0; i < s->options.address_count; i++) {
        uint8_t length = s->options.prefix_length[i];
        if (s->options.address[i].family != ADDRESS_IP4 || length == 0 || length > 30)
            continue;
        uint32_t hosts = UINT32_MAX >> length, mine = be32(s->options.address[i].octets);
        if ((be32(a) & ~hosts) == (mine & ~hosts) && ((be32(a) & hosts) == hosts || (be32(a) & hosts) == 0))
            return true;
    }
    return false;
}

/* Somebody else's, and one's only. */
static bool is_unicast(const struct supervisor *s, uint8_t family, const uint8_t *a)
{
    static const uint8_t zero[10];
    if (is_own(s, family, a))
        return false;
    if (family == ADDRESS_IP4)
        return a[0] != 0 && a[0] != 127 && a[0] < 224 && !is_broadcast(s, a);
    return a[0] != 0xff && memcmp(a, zero, sizeof zero) != 0; /* neither mapped, loopback, nor none */
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

static bool is_station(const uint8_t mac[6])
{
    static const uint8_t none[6];
    return (mac[0] & 1) == 0 && memcmp(mac, none, sizeof none) != 0;
}

static uint64_t sum_of(const uint8_t *octets, uint32_t length)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i + 1 < length; i += 2)
        sum += be16(octets + i);
    return length % 2 != 0 ? sum + ((uint64_t)octets[length - 1] << 8) : sum;
}

/* Whether it would fail its checksum, if nic's word on that is followed (servers/transport/packets.c). Untrusted: m, p.
 */
static bool is_damaged(const struct supervisor *s, const struct message *m, const struct packet *p)
{
    uint8_t frame[SUMMED_OCTETS];
    uint32_t at = ETHER_OCTETS + p->header, length = p->octets - p->header;
    uint32_t field = at + (p->protocol == PROTOCOL_TCP ? CHECKSUM_TCP : CHECKSUM_UDP);
    if (m->checksum_state == MESSAGE_CHECKSUM_VALID ||
        (m->checksum_state == MESSAGE_CHECKSUM_PARTIAL && m->checksum_start == at))
        return false;
    if (at + length > sizeof frame || field + 2 > at + length ||
        !copy(s, SERVER_NIC, SERVER_IP, &m->reference[0], frame, at + length) ||
        (p->protocol == PROTOCOL_UDP && be16(frame + field) == 0))
        return false;
    uint32_t ends = 2 * (p->family == ADDRESS_IP6 ? 16U : 4U);
    uint64_t sum =
        sum_of(frame + at - ends, ends + length) + p->protocol + length; /* RFC 9293 3.1: with the pseudo-header */
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum != 0xffff;
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
    l->count[ok ? POINT_UP : POINT_MISUP]++;
    if (!ok || !ours || !is_station(head + 6) || !packet_read(head, r->length, &p) ||
        !is_unicast(s, p.family, p.source))
        return;
    uint32_t own = own_index(s, p.family, p.destination);
    if (own == STACK_ADDRESSES_MAX || (s->traffic.used & 1U << own) == 0)
        return; /* one that nothing ever came for may not be in use (yet), or another's */
    if (p.protocol != PROTOCOL_TCP && p.protocol != PROTOCOL_UDP)
        return;
    l->count[p.protocol == PROTOCOL_TCP ? POINT_DUE_TCP : POINT_DUE_UDP]++;
    l->count[is_damaged(s, m, &p) ? POINT_DAMAGED : POINT_WHOLE]++;
    l->due = *m;
    l->due_at = ETHER_OCTETS + p.header;
}

/* The packet that is due, as ip hands it on: whether it says of the checksum what nic said (servers/ip/receive.c). */
static void quote_look(struct look *l, const struct message *m)
{
    const struct message *due = &l->due;
    const struct message_reference *is = &m->reference[0], *was = &due->reference[0];
    if (l->due_at == 0 || is->pool != was->pool || is->generation != was->generation ||
        is->offset != was->offset + l->due_at)
        return;
    bool finished = due->checksum_state == MESSAGE_CHECKSUM_PARTIAL && due->checksum_start != l->due_at;
    uint8_t state = finished ? (uint8_t)MESSAGE_CHECKSUM_NONE : due->checksum_state;
    bool same =
        m->checksum_state == state && (state != MESSAGE_CHECKSUM_PARTIAL || m->checksum_offset == due->checksum_offset);
    l->count[same ? POINT_QUOTED : POINT_MISQUOTED]++;
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
    if (be16(head + 12) == TYPE_ARP)
        return true;
    if (be16(head + 12) == TYPE_IP4 && (be16(head + ETHER_OCTETS + 6) & FRAGMENT_MASK) != 0)
        return sum_is_right(head + ETHER_OCTETS);
    uint64_t all = (uint64_t)r->length + body->length;
    return all <= UINT16_MAX && packet_read(head, (uint32_t)all, &p) && p.octets == all - ETHER_OCTETS &&
           offload_ok(m, &p);
}

/* What ip asks of the fields that it acts upon (servers/ip/send.c). */
static bool wish_ok(const struct message *m)
{
    uint32_t head = m->reference[0].length;
    bool partial = m->checksum_state == MESSAGE_CHECKSUM_PARTIAL;
    uint8_t tcp = m->source.family == ADDRESS_IP6 ? MESSAGE_GSO_TCP6 : MESSAGE_GSO_TCP4;
    uint8_t gso = m->protocol == PROTOCOL_TCP ? tcp : MESSAGE_GSO_UDP;
    if (m->checksum_state > MESSAGE_CHECKSUM_PARTIAL ||
        (uint64_t)head + m->reference[1].length + IP4_OCTETS > UINT16_MAX ||
        (partial && (m->checksum_start != 0 || (uint32_t)m->checksum_offset + 2 > head)))
        return false;
    return m->gso_type == MESSAGE_GSO_NONE || (partial && m->gso_size > 0 && m->gso_type == gso);
}

static bool request_is_sound(const struct supervisor *s, enum server_id by, const struct message *m)
{
    const struct message_reference *r = &m->reference[0];
    uint8_t ports[4];
    return r->length >= TRANSPORT_LEAST && r->length <= TRANSPORT_MOST &&
           copy(s, by, SERVER_IP, r, ports, sizeof ports) &&
           rights_name(s, SERVER_IP, by, m->capability, m->generation, 0, 0) &&
           m->protocol == (by == SERVER_TCP ? PROTOCOL_TCP : PROTOCOL_UDP) &&
           m->source.family == m->destination.family && be16(ports) == m->source_port &&
           be16(ports + 2) == m->destination_port && wish_ok(m);
}

/* Whether somebody has it still: an application's arena goes with it. */
static bool text_is_there(const struct supervisor *s, enum server_id by, enum server_id to, const struct message *m)
{
    const struct message_reference *r = &m->reference[1];
    return r->length == 0 || rights_name(s, to, by, r->pool, r->generation, r->offset, r->length);
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
    if (l->ring != TRAFFIC_UP && !text_is_there(l->s, ring[l->ring][0], ring[l->ring][1], m)) {
        l->gone |= l->ring == TRAFFIC_DOWN;
    } else if (l->ring == TRAFFIC_UP) {
        frame_up(l, m);
    } else if (l->ring == TRAFFIC_DOWN) {
        l->count[frame_is_sound(l->s, m) ? POINT_SENT : POINT_MISSENT]++;
    } else if (request_is_sound(l->s, tcp ? SERVER_TCP : SERVER_UDP, m)) {
        l->count[tcp ? POINT_SAYS_TCP : POINT_SAYS_UDP]++;
        l->count[tcp ? POINT_ASKED_TCP : POINT_ASKED_UDP] += l->wire;
    } else {
        l->count[tcp ? POINT_MISASKED_TCP : POINT_MISASKED_UDP]++;
    }
}

static void address_used(struct supervisor *s, const struct ip_address *a)
{
    uint32_t own = own_index(s, a->family, a->octets);
    if (own != STACK_ADDRESSES_MAX)
        s->traffic.used |= 1U << own;
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
    l->questions += l->ring == TRAFFIC_DOWN && m->operation == MESSAGE_SEND && m->protocol == 0;
    l->count[POINT_TOLD] += to_transport && m->operation == MESSAGE_UNREACHABLE;
    l->count[to_tcp ? POINT_HANDED_TCP : POINT_HANDED_UDP] +=
        to_transport && m->operation == MESSAGE_RECEIVE && !turned;
    if (to_transport && m->operation == MESSAGE_RECEIVE && !turned) {
        address_used(l->s, &m->destination);
        quote_look(l, m);
    }
}

/* ---- the device ---- */

/* Opened once, kept. */
static int descriptor(int *fd, int opened)
{
    if (*fd == 0)
        *fd = opened >= 0 ? opened : -1;
    return *fd;
}

static bool is_up(struct supervisor *s)
{
    struct ifreq request = {0};
    int *query = &s->traffic.query;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", s->options.device);
    int fd = *query != 0 ? *query : descriptor(query, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0;
}

/* What the kernel says that it received from it is what nic wrote, and what it sent is what nic read. False: it is no
 * interface, or down. No lock of the kernel's is waited for here, unlike with netlink. */
static bool device_counts(struct supervisor *s, uint64_t *ret_read, uint64_t *ret_written)
{
    static char text[INTERFACES_OCTETS];
    char name[IFNAMSIZ + 1];
    int *counters = &s->traffic.counters;
    if (s->options.driver != NETDRV_TAP || !is_up(s))
        return false;
    int fd = *counters != 0 ? *counters : descriptor(counters, open("/proc/net/dev", O_RDONLY | O_CLOEXEC));
    ssize_t n = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : -1;
    if (n < 0)
        return false;
    text[n] = '\0';
    snprintf(name, sizeof name, "%s:", s->options.device);
    for (const char *at = strstr(text, name); at != NULL; at = strstr(at + 1, name))
        if (at > text && (at[-1] == ' ' || at[-1] == '\n'))
            return sscanf(at + strlen(name), "%*u %" SCNu64 " %*u %*u %*u %*u %*u %*u %*u %" SCNu64, ret_written,
                          ret_read) == 2;
    return false;
}

/* Where `all` packets went in, `through` of them came out. */
static uint32_t compare(struct look *l, uint32_t all, uint64_t through, enum flow_point lost, enum flow_point whole)
{
    l->count[lost] = through < all ? all - (uint32_t)through : 0;
    l->count[whole] = through > 0 && through >= all; /* more: what was between rings and device at the last look */
    return POINT(lost) | POINT(whole);
}

/* After the rings. The points that are known. */
static uint32_t device_look(struct supervisor *s, struct look *l, uint32_t known)
{
    struct traffic *t = &s->traffic;
    uint64_t read = 0, written = 0, read_before = t->read, written_before = t->written;
    bool begun = t->device_begun;
    t->device_begun = ((known & POINT(POINT_SENT)) != 0 || l->up_known) && device_counts(s, &read, &written);
    t->read = read;
    t->written = written;
    if (!begun || !t->device_begun)
        return 0;
    uint32_t more = 0;
    if ((known & POINT(POINT_SENT)) != 0 && l->count[POINT_MISSENT] == 0 && !l->gone)
        more |= compare(l, l->taken_down, written - written_before, POINT_UNWRITTEN, POINT_WRITTEN);
    if (l->up_known)
        more |= compare(l, (uint32_t)(read - read_before), l->said_up, POINT_KEPT, POINT_READ);
    return more;
}

/* ---- a look ---- */

static const struct {
    uint32_t taken, said;
} points[TRAFFIC_RINGS] = {
    [TRAFFIC_UP] = {POINT(POINT_UP) | POINT(POINT_MISUP) | POINT(POINT_DUE_TCP) | POINT(POINT_DUE_UDP) |
                        POINT(POINT_DAMAGED) | POINT(POINT_WHOLE),
                    0},
    [TRAFFIC_DOWN] = {POINT(POINT_SENT) | POINT(POINT_MISSENT), POINT(POINT_SAID_SENT) | POINT(POINT_SAID_PACKET)},
    [TRAFFIC_FROM_TCP] = {POINT(POINT_SAYS_TCP) | POINT(POINT_ASKED_TCP) | POINT(POINT_MISASKED_TCP), 0},
    [TRAFFIC_FROM_UDP] = {POINT(POINT_SAYS_UDP) | POINT(POINT_ASKED_UDP) | POINT(POINT_MISASKED_UDP), 0},
    [TRAFFIC_TO_TCP] = {0, POINT(POINT_HANDED_TCP)},
    [TRAFFIC_TO_UDP] = {0, POINT(POINT_HANDED_UDP)},
};

static void hear_more(void *argument, const struct message *m)
{
    bool *more = argument;
    *more |= m->operation != MESSAGE_RETURN; /* those ring no bell, and may lie there for long */
}

/* Nothing was said behind it but what came home: its buffer is not in use again. */
static bool is_last(const struct supervisor *s, enum traffic_ring i, uint32_t taken)
{
    bool more = false;
    return judge_hear(s, ring[i][0], ring[i][1], false, &taken, hear_more, &more) && !more;
}

static void last_look(struct supervisor *s, struct look *l, uint32_t taken)
{
    uint32_t before[POINTS];
    memcpy(before, l->count, sizeof before);
    if (!l->there || !is_last(s, l->ring, taken))
        return;
    judge_last(l);
    if (is_last(s, l->ring, taken))
        return;
    memcpy(l->count, before, sizeof before);
    l->due_at = l->ring == TRAFFIC_UP ? 0 : l->due_at;
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
    l->count[POINT_SAID_PACKET] += l->questions / QUESTIONS;
    uint32_t both = POINT(POINT_TOLD) | POINT(POINT_MISQUOTED) | POINT(POINT_QUOTED);
    return known | (told == 2 ? both : 0);
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
    bool begun = t->looked_us != 0 && !health_has_reason(s, t->looked_us, now) && !refuses_on_purpose(s);
    t->looked_us = now;
    uint32_t known = rings_look(s, &l);
    if (!begun) {
        t->device_begun = false;
        conservation_forget(&t->conservation);
        return;
    }
    known |= device_look(s, &l, known);
    enum server_id id = conservation_look(&t->conservation, known, l.count, now, &why);
    if (id != SERVER_COUNT)
        health_unserved(s, s->server[id].domain, "the traffic", why);
}
