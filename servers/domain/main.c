// SPDX-License-Identifier: BSD-2-Clause
/* bulkhead-domain: what the supervisor starts for every domain; it is told over descriptor 3 which servers it hosts.
 * Not for the command line. */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "servers/domain/domain.h"

int main(void)
{
    static const struct server *const table[SERVER_COUNT] = {
        [SERVER_NIC] = &server_nic, [SERVER_IP] = &server_ip,         [SERVER_TCP] = &server_tcp,
        [SERVER_UDP] = &server_udp, [SERVER_SOCKET] = &server_socket,
    };
    int type;
    socklen_t length = sizeof type;
    if (getsockopt(DOMAIN_CONTROL_FD, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_SEQPACKET) {
        fputs("bulkhead-domain: started by hand; use 'bulkhead up'\n", stderr);
        return 2;
    }
    _exit(domain_main(DOMAIN_CONTROL_FD, table));
}
