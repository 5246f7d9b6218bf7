// SPDX-License-Identifier: BSD-2-Clause
/* What the configuration of the stack says of an address: whether it is ours, whether it is a broadcast, and from which
 * of ours a packet to it goes. For the servers that name sockets; what may leave and arrive is ip's to check. */
#ifndef BULKHEAD_SERVERS_ADDRESSES_H
#define BULKHEAD_SERVERS_ADDRESSES_H

#include "servers/server.h"

static inline bool address_family_known(uint8_t family)
{
    return family == ADDRESS_IP4 || family == ADDRESS_IP6;
}

static inline uint32_t address_bits(uint8_t family)
{
    return family == ADDRESS_IP4 ? 32 : 128;
}

static inline bool address_is_loopback(const struct ip_address *a)
{
    static const uint8_t one[16] = {[15] = 1};
    return a->family == ADDRESS_IP4 ? a->octets[0] == 127
                                    : a->family == ADDRESS_IP6 && memcmp(a->octets, one, sizeof one) == 0;
}

static inline bool address_is_multicast(const struct ip_address *a)
{
    return a->family == ADDRESS_IP4 ? a->octets[0] >= 224 && a->octets[0] < 240
                                    : a->family == ADDRESS_IP6 && a->octets[0] == 0xff;
}

static inline bool address_is_link_local(const struct ip_address *a)
{
    return a->family == ADDRESS_IP6 && a->octets[0] == 0xfe && (a->octets[1] & 0xc0) == 0x80;
}

/* ::ffff:0:0/96: an application's way to write an IPv4 address, never one on the wire. */
static inline bool address_is_mapped(const struct ip_address *a)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return a->family == ADDRESS_IP6 && memcmp(a->octets, prefix, sizeof prefix) == 0;
}

/* Leading bits that are the same; of one family. */
static inline uint32_t address_common_bits(const struct ip_address *a, const struct ip_address *b)
{
    uint32_t bits = 0, most = address_bits(a->family);
    while (bits < most && a->octets[bits / 8] == b->octets[bits / 8])
        bits += 8;
    if (bits >= most)
        return most;
    return bits + (uint32_t)__builtin_clz((unsigned)(a->octets[bits / 8] ^ b->octets[bits / 8])) - 24;
}

static inline uint32_t address_count(const struct stack_config *config)
{
    return config->address_count < STACK_ADDRESSES_MAX ? config->address_count : STACK_ADDRESSES_MAX;
}

/* A configured one, or a loopback one of a family that the stack speaks. */
static inline bool address_is_ours(const struct stack_config *config, const struct ip_address *a)
{
    for (uint32_t i = 0; i < address_count(config); i++)
        if (ip_address_equal(&config->address[i], a) ||
            (config->address[i].family == a->family && address_is_loopback(a)))
            return true;
    return false;
}

/* A loopback address speaks to this host only (RFC 1122 3.2.1.3, RFC 4291 2.5.3). */
static inline bool address_reaches(const struct stack_config *config, const struct ip_address *from,
                                   const struct ip_address *to)
{
    return !address_is_loopback(from) || address_is_ours(config, to);
}

static inline bool address_is_subnet_broadcast(const struct ip_address *a, const struct ip_address *own,
                                               uint32_t prefix)
{
    if (own->family != ADDRESS_IP4 || prefix > 30 || address_common_bits(a, own) < prefix)
        return false;
    uint32_t value =
        (uint32_t)a->octets[0] << 24 | (uint32_t)a->octets[1] << 16 | (uint32_t)a->octets[2] << 8 | a->octets[3];
    return (value | (prefix == 0 ? 0 : UINT32_MAX << (32 - prefix))) == UINT32_MAX;
}

/* 255.255.255.255, or the last address of a network of ours. */
static inline bool address_is_broadcast(const struct stack_config *config, const struct ip_address *a)
{
    static const uint8_t ones[4] = {255, 255, 255, 255};
    if (a->family != ADDRESS_IP4)
        return false;
    if (memcmp(a->octets, ones, sizeof ones) == 0)
        return true;
    for (uint32_t i = 0; i < address_count(config); i++)
        if (address_is_subnet_broadcast(a, &config->address[i], config->prefix_length[i]))
            return true;
    return false;
}

static inline bool address_wants_link_local(const struct ip_address *to)
{
    return address_is_link_local(to) || (address_is_multicast(to) && (to->octets[1] & 15) <= 2);
}

/* How well one of ours suits; 0: not at all. RFC 6724 5, as far as one interface and no lifetimes leave it: the same
 * address, the right scope, the network that `to` is on, for IPv6 the longest matching prefix. */
static inline uint32_t address_source_score(const struct stack_config *config, uint32_t index,
                                            const struct ip_address *to)
{
    const struct ip_address *a = &config->address[index];
    if (a->family != to->family || ip_address_is_any(a))
        return 0;
    if (to->family == ADDRESS_IP6 && address_is_link_local(a) != address_wants_link_local(to))
        return 0;
    uint32_t bits = address_common_bits(a, to);
    uint32_t on_link = bits >= config->prefix_length[index] ? 256 : 0;
    return 1 + on_link + (on_link != 0 || to->family == ADDRESS_IP6 ? bits : 0);
}

/* The address that packets to `to` come from; NULL: none of ours does. Loopback answers itself. */
static inline const struct ip_address *address_source(const struct stack_config *config, const struct ip_address *to)
{
    const struct ip_address *best = NULL;
    uint32_t best_score = 0;
    if (address_is_loopback(to) && address_is_ours(config, to))
        return to;
    for (uint32_t i = 0; i < address_count(config); i++) {
        uint32_t score = address_source_score(config, i, to);
        if (score > best_score) {
            best_score = score;
            best = &config->address[i];
        }
    }
    return best;
}

#endif
