// SPDX-License-Identifier: BSD-2-Clause
/* The policy, where sockets are concerned (DESIGN section 5): the supervisor chose the rule when the session attached
 * and gives it with the session, to each incarnation anew. Quotas are not asked here: EMFILE is the answer to those. */
#include "capabilities/policy.h"
#include "servers/socket/socket_internal.h"

bool request_permitted(const struct session *session, uint32_t operation, uint8_t protocol,
                       const struct ip_address *address, uint16_t port)
{
    switch (operation) {
    case CONTROL_BIND:
    case CONTROL_LISTEN: /* also that of a socket that has no name yet: any address, port 0 */
        return policy_permits(&session->bind, protocol, address, port);
    case CONTROL_CONNECT:
        return policy_permits(&session->connect, protocol, address, port);
    default:
        return true;
    }
}
