// SPDX-License-Identifier: BSD-2-Clause
/* Packets as the network may send them: a frame of some kind with any of its octets changed and, mostly, its checksums
 * mended afterwards, because no fuzzer finds those. */
#include "protocols/base/checksum.h"
#include "tests/fuzz/server_world.h"

#define ETHER 14U

enum kind { KIND_ARP, KIND_UDP, KIND_TCP, KIND_ICMP, KIND_FRAGMENT, KIND_ECHO6, KIND_NDP, KIND_MLD, KIND_CHAIN, KINDS };

struct maker {
    uint8_t *at;
    uint32_t room, octets;
};

static void put(struct maker *m, const void *octets, uint32_t count)
{
    uint32_t fits = count < m->room - m->octets ? count : m->room - m->octets;
    memcpy(m->at + m->octets, octets, fits);
    m->octets += fits;
}

static void put16(struct maker *m, uint32_t value)
{
    const uint8_t octets[] = {(uint8_t)(value >> 8), (uint8_t)value};
    put(m, octets, sizeof octets);
}

static void put32(struct maker *m, uint32_t value)
{
    put16(m, value >> 16);
    put16(m, value);
}

static void put_zeros(struct maker *m, uint32_t count)
{
    static const uint8_t zeros[256];
    put(m, zeros, count < sizeof zeros ? count : (uint32_t)sizeof zeros);
}

static void put_ports(struct maker *m, struct input *in, const struct world *w)
{
    uint8_t how = input_8(in);
    put16(m, how & 1 ? w->tcp.destination_port : 5000U + (how >> 1 & 3));
    put16(m, how & 1 ? w->tcp.source_port : 80U + (how >> 3 & 3));
}

static void put_tcp(struct maker *m, struct input *in, const struct world *w)
{
    static const uint8_t options[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7};
    put_ports(m, in, w);
    uint8_t octets = input_8(in) % 11 * 4;
    put32(m, w->tcp.acknowledgement + (uint32_t)(int8_t)input_8(in));
    put32(m, w->tcp.sequence + w->tcp.length + (uint32_t)(int8_t)input_8(in));
    put16(m, (uint32_t)(20 + octets) << 10 | input_8(in));
    put16(m, input_16(in));
    put32(m, 0);
    put(m, options, octets < sizeof options ? octets : sizeof options);
    put_zeros(m, octets > sizeof options ? octets - (uint32_t)sizeof options : 0);
    put_zeros(m, input_8(in));
}

static void put_udp(struct maker *m, struct input *in, const struct world *w)
{
    uint8_t octets;
    put_ports(m, in, w);
    octets = input_8(in);
    put16(m, 8U + octets);
    put16(m, 0);
    put_zeros(m, octets);
}

static void put_transport(struct maker *m, struct input *in, const struct world *w, enum kind kind)
{
    static const uint8_t ndp[] = {133, 134, 135, 136, 137, 130, 143, 128};
    uint8_t own[16] = {0xfd, 0x77, [15] = 2};
    switch (kind) {
    case KIND_TCP:
        put_tcp(m, in, w);
        break;
    case KIND_UDP:
    case KIND_FRAGMENT:
    case KIND_CHAIN:
        put_udp(m, in, w);
        break;
    case KIND_NDP:
    case KIND_MLD:
        put16(m, (uint32_t)ndp[input_8(in) % sizeof ndp] << 8);
        put16(m, 0);
        put32(m, (uint32_t)input_8(in) << 24);
        own[15] = input_8(in) % 4;
        put(m, own, sizeof own);
        put16(m, (input_8(in) % 6U) << 8 | 1);
        put(m, (const uint8_t[]){2, 0, 0, 0, 0, 1}, 6);
        break;
    default: /* echo, or an error that quotes something */
        put16(m, kind == KIND_ECHO6 ? (uint32_t)(input_8(in) % 5 * 32) << 8 : (uint32_t)(input_8(in) % 16) << 8 | 4);
        put16(m, 0);
        put32(m, input_16(in));
        put_zeros(m, input_8(in));
    }
}

/* Octets of the input over what was made: so that every field takes every value. */
static void spoil(struct maker *m, struct input *in, uint32_t from)
{
    for (unsigned n = input_8(in) % 8; n > 0 && m->octets > from; n--) {
        uint32_t at = from + input_16(in) % (m->octets - from);
        m->at[at] ^= input_8(in);
    }
}

static void set16(uint8_t *at, be16 value)
{
    memcpy(at, &value, sizeof value);
}

static void mend(uint8_t *ip, const struct packet *p, const struct ip_address *from, const struct ip_address *to)
{
    static const uint8_t where[256] = {[1] = 2, [6] = 16, [17] = 6, [58] = 2};
    uint32_t header = p->ip6 ? 40 : (ip[0] & 15U) * 4, octets = p->octets;
    if (!p->ip6 && header <= octets && header >= 20) {
        set16(ip + 10, (be16){0});
        set16(ip + 10, checksum_finish(checksum_add(0, ip, header)));
    }
    uint32_t at = where[p->protocol];
    if (at == 0 || p->transport_at + at + 2 > octets)
        return;
    uint32_t length = octets - p->transport_at;
    uint64_t sum = p->protocol == 1 ? 0 : checksum_pseudo_header(from, to, p->protocol, length);
    set16(ip + p->transport_at + at, (be16){0});
    set16(ip + p->transport_at + at, checksum_finish(checksum_add(sum, ip + p->transport_at, length)));
}

static void put_ip4(struct maker *m, struct input *in, enum kind kind, uint8_t protocol)
{
    uint32_t fragment = kind == KIND_FRAGMENT ? (uint32_t)(input_8(in) & 1) << 13 | (input_8(in) & 31U) : 0;
    put16(m, 0x4500);
    put16(m, 0);
    put16(m, kind == KIND_FRAGMENT ? input_8(in) & 3U : 1);
    put16(m, fragment);
    put16(m, 64U << 8 | protocol);
    put16(m, 0);
    put(m, (const uint8_t[]){10, 77, 0, 1, 10, 77, 0, 2}, 8);
}

static void put_ip6(struct maker *m, struct input *in, enum kind kind, uint8_t protocol)
{
    uint8_t address[16] = {0xfd, 0x77, [15] = 1};
    bool fragment = kind == KIND_CHAIN && (input_8(in) & 1) != 0;
    put32(m, 6U << 28);
    put16(m, 0);
    put16(m, (kind == KIND_CHAIN ? (fragment ? 44U : input_8(in) % 61U) : protocol) << 8 | 255);
    put(m, address, sizeof address);
    address[15] = 2;
    put(m, address, sizeof address);
    if (kind == KIND_CHAIN) {
        put16(m, (uint32_t)protocol << 8);
        put16(m, fragment ? (input_8(in) & 15U) << 3 | (input_8(in) & 1U) : 0x0104U);
        put32(m, input_8(in) & 3U);
    }
}

static void ip(struct maker *m, struct input *in, const struct world *w, enum kind kind, struct packet *ret)
{
    static const uint8_t protocols[KINDS] = {[KIND_UDP] = 17,   [KIND_TCP] = 6,  [KIND_ICMP] = 1, [KIND_FRAGMENT] = 17,
                                             [KIND_ECHO6] = 58, [KIND_NDP] = 58, [KIND_MLD] = 58, [KIND_CHAIN] = 17};
    uint32_t start = m->octets;
    uint8_t how = input_8(in);
    ret->ip6 = kind >= KIND_ECHO6 || ((how & 1) != 0 && kind != KIND_ICMP && kind != KIND_FRAGMENT);
    ret->protocol = protocols[kind];
    (ret->ip6 ? put_ip6 : put_ip4)(m, in, kind, protocols[kind]);
    ret->transport_at = m->octets - start;
    put_transport(m, in, w, kind);
    if ((how & 2) != 0)
        spoil(m, in, start);
    ret->octets = m->octets - start;
    uint32_t length = ret->ip6 ? ret->octets - 40 : ret->octets;
    if ((how & 4) == 0)
        set16(m->at + start + (ret->ip6 ? 4 : 2), be16_make((uint16_t)length));
    struct ip_address from = {.family = ADDRESS_IP4}, to = {.family = ADDRESS_IP4};
    memcpy(from.octets, m->at + start + 12, 4);
    memcpy(to.octets, m->at + start + 16, 4);
    if (ret->ip6) {
        from.family = to.family = ADDRESS_IP6;
        memcpy(from.octets, m->at + start + 8, 16);
        memcpy(to.octets, m->at + start + 24, 16);
    }
    if ((how & 8) == 0)
        mend(m->at + start, ret, &from, &to);
}

static void arp(struct maker *m, struct input *in)
{
    uint8_t how = input_8(in), last = input_8(in) % 4;
    put(m, (const uint8_t[]){0, 1, 8, 0, 6, 4, 0, how & 1 ? 2 : 1, 2, 0, 0, 0, 0, 1, 10, 77, 0}, 17);
    put(m, &last, 1);
    put(m, (const uint8_t[]){2, 0, 0, 0, 0, 2, 10, 77, 0, 2}, 10);
    if ((how & 2) != 0)
        spoil(m, in, ETHER);
}

void packet_make(struct input *in, const struct world *w, bool frame, uint8_t *at, uint32_t room, struct packet *ret)
{
    struct maker m = {at, room, 0};
    enum kind kind = (enum kind)(input_8(in) % KINDS);
    *ret = (struct packet){0};
    if (!frame && kind == KIND_ARP)
        kind = KIND_UDP;
    bool ip6 = kind >= KIND_ECHO6;
    if (frame) {
        put(&m, (const uint8_t[]){2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}, 12);
        put16(&m, kind == KIND_ARP ? 0x0806 : ip6 ? 0x86dd : 0x0800);
    }
    if (kind == KIND_ARP)
        arp(&m, in);
    else
        ip(&m, in, w, kind, ret);
    if (frame && kind != KIND_ARP && ret->ip6) /* of either family: which one was chosen within */
        set16(m.at + ETHER - 2, be16_make(0x86dd));
    ret->transport_at += frame ? ETHER : 0;
    ret->octets = m.octets;
}
