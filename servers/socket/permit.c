// SPDX-License-Identifier: BSD-2-Clause
/* Whether a session may do what it asks for: the one place where BIND, CONNECT and LISTEN are allowed or refused. The policy's
 * rule (DESIGN section 5) was chosen by the supervisor when the session attached and comes with the session, to each
 * incarnation anew. Quotas are not asked here: EMFILE is the answer to those. */
#include <errno.h>

#include "capabilities/policy.h"
#include "protocols/ip4/ip4.h"
#include "servers/socket/socket_internal.h"

int request_permitted(const struct session *session, enum control_operation operation, enum session_transport transport,
                      const struct ip_address *address, uint16_t port)
{
    uint8_t protocol = transport == SESSION_TCP ? IP_PROTOCOL_TCP : IP_PROTOCOL_UDP;
    if (!session->present || session->ending)
        return EPERM;
    switch (operation) {
    case CONTROL_BIND:
    case CONTROL_LISTEN: /* also that of a socket that has no name yet: any address, port 0 */
        return policy_permits(&session->bind, protocol, address, port) ? 0 : EACCES;
    case CONTROL_CONNECT:
        return policy_permits(&session->connect, protocol, address, port) ? 0 : EACCES;
    default:
        return 0;
    }
}
