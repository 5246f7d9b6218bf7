// SPDX-License-Identifier: BSD-2-Clause
/* Whether a session may do what it asks for: the one place where BIND, CONNECT and LISTEN are allowed or refused. */
#include <errno.h>

#include "servers/socket/socket_internal.h"

int request_permitted(const struct session *session, enum control_operation operation, enum session_transport protocol,
                      const struct ip_address *address, uint16_t port)
{
    (void)operation;
    (void)protocol;
    (void)address;
    (void)port; /* no port and no destination is privileged */
    return session->present && !session->ending ? 0 : EPERM;
}
