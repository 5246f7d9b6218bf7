// SPDX-License-Identifier: BSD-2-Clause
/* Socket addresses and the stack's. Inside there are IPv4 and IPv6; a v4-mapped address (RFC 4291 2.5.5.2) is how an
 * AF_INET6 socket names IPv4, and exists here only. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "servers/client/session.h"

#define LENGTH_WITHOUT_SCOPE                                                                                           \
    ((socklen_t)offsetof(struct sockaddr_in6, sin6_scope_id)) /* RFC 2133's; Linux takes it, too */

static int read_in(const struct sockaddr *address, socklen_t length, struct ip_address *ret, uint16_t *ret_port)
{
    struct sockaddr_in in;
    uint8_t octets[4];
    if (length < sizeof in)
        return -EINVAL;
    memcpy(&in, address, sizeof in);
    memcpy(octets, &in.sin_addr, sizeof octets);
    *ret = ip_address_from_ip4(octets);
    *ret_port = ntohs(in.sin_port);
    return 0;
}

/* There is one link, so its number is neither asked for nor looked at; with an address of more than a link it is
 * nonsense. */
static bool scope_good(const struct sockaddr_in6 *in)
{
    const struct in6_addr *a = &in->sin6_addr;
    return in->sin6_scope_id == 0 || IN6_IS_ADDR_LINKLOCAL(a) || IN6_IS_ADDR_MC_LINKLOCAL(a) ||
           IN6_IS_ADDR_MC_NODELOCAL(a);
}

static int read_in6(const struct socket *k, const struct sockaddr *address, socklen_t length, struct ip_address *ret,
                    uint16_t *ret_port)
{
    struct sockaddr_in6 in = {0};
    if (length < LENGTH_WITHOUT_SCOPE)
        return -EINVAL;
    memcpy(&in, address, length < sizeof in ? length : sizeof in);
    if (!scope_good(&in))
        return -EINVAL;
    *ret_port = ntohs(in.sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr)) {
        *ret = ip_address_from_ip4(&in.sin6_addr.s6_addr[12]);
        return socket_option(k, OPTION_V6_ONLY) != 0 ? -ENETUNREACH : 0;
    }
    *ret = (struct ip_address){.family = ADDRESS_IP6};
    memcpy(ret->octets, &in.sin6_addr, sizeof ret->octets);
    return 0;
}

/* Linux lets a datagram socket of AF_INET6, and no stream, name IPv4 by a sockaddr_in. */
int address_read(const struct socket *k, const struct sockaddr *address, socklen_t length, struct ip_address *ret,
                 uint16_t *ret_port)
{
    if (address == NULL)
        return -EFAULT;
    if (length < sizeof(sa_family_t))
        return -EINVAL;
    if (address->sa_family == AF_INET6 && k->domain == AF_INET6)
        return read_in6(k, address, length, ret, ret_port);
    if (address->sa_family != AF_INET || (k->domain == AF_INET6 && k->transport == SESSION_TCP))
        return -EAFNOSUPPORT;
    if (k->domain == AF_INET6 && socket_option(k, OPTION_V6_ONLY) != 0)
        return -ENETUNREACH;
    return read_in(address, length, ret, ret_port);
}

int address_read_peer(const struct socket *k, const struct sockaddr *address, socklen_t length, struct ip_address *ret,
                      uint16_t *ret_port)
{
    int error = address_read(k, address, length, ret, ret_port);
    if (error == 0 && ip_address_is_any(ret) && ret->family == ADDRESS_IP4)
        *ret = ip_address_from_ip4((const uint8_t[4]){127, 0, 0, 1});
    else if (error == 0 && ip_address_is_any(ret))
        ret->octets[15] = 1;
    return error;
}

/* Untrusted: address (from the socket server, or udp's ring). A family that the domain cannot have is the
 * any-address. */
static struct sockaddr_in in_of(const struct ip_address *address, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (address->family == ADDRESS_IP4)
        memcpy(&in.sin_addr, address->octets, sizeof in.sin_addr);
    return in;
}

static struct sockaddr_in6 in6_of(const struct ip_address *address, uint16_t port)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (address->family == ADDRESS_IP6)
        memcpy(&in.sin6_addr, address->octets, sizeof in.sin6_addr);
    if (address->family == ADDRESS_IP4) {
        memcpy(&in.sin6_addr, mapped, sizeof mapped);
        memcpy(&in.sin6_addr.s6_addr[sizeof mapped], address->octets, 4);
    }
    return in;
}

void address_write(const struct socket *k, const struct ip_address *address, uint16_t port, struct sockaddr *ret,
                   socklen_t *length)
{
    struct sockaddr_in in = in_of(address, port);
    struct sockaddr_in6 in6 = in6_of(address, port);
    bool six = k->domain == AF_INET6;
    const void *from = six ? (const void *)&in6 : (const void *)&in;
    socklen_t size = six ? sizeof in6 : sizeof in;
    memcpy(ret, from, *length < size ? *length : size);
    *length = size;
}
