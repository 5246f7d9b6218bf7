// SPDX-License-Identifier: BSD-2-Clause
/* Secrets at work: initial sequence numbers (RFC 6528), port offsets (RFC 6056), hash chains that nobody
 * outside can aim at. All are SipHash of the addresses and ports, keyed by config.secret. */
#include "protocols/base/siphash.h"
#include "protocols/tcp/tcp_internal.h"

uint64_t hash_addresses(const struct tcp *t, const struct ip_address *local, uint16_t local_port,
                        const struct ip_address *remote, uint16_t remote_port)
{
    struct {
        uint16_t local_port, remote_port;
        uint32_t family;
        uint8_t octets[32];
    } input = {local_port, remote_port, local->family, {0}};
    size_t length = local->family == ADDRESS_IP6 ? 16 : 4;
    memcpy(input.octets, local->octets, length);
    memcpy(input.octets + length, remote->octets, length);
    return siphash(t->config.secret, &input, 8 + 2 * length);
}

/* RFC 6528 3: ISN = M + F(localip, localport, remoteip, remoteport, secretkey), M a 4 us clock. */
uint32_t isn_make(const struct tcp *t, uint64_t now_us, const struct tcp_identity *identity)
{
    uint64_t f = hash_addresses(t, &identity->local, identity->local_port, &identity->remote, identity->remote_port);
    return (uint32_t)(now_us / 4) + (uint32_t)f;
}

/* RFC 6056 3.3.3: F(local IP, remote IP, remote port, secret). Another half of the hash than the ISN shows. */
uint32_t port_offset(const struct tcp *t, const struct tcp_identity *identity)
{
    return (uint32_t)(hash_addresses(t, &identity->local, 0, &identity->remote, identity->remote_port) >> 32);
}
