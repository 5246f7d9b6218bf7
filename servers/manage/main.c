// SPDX-License-Identifier: BSD-2-Clause
/* bulkhead-manage RUNDIR, started by the supervisor with the management socketpair as descriptor 3, in namespaces of
 * its own. The order matters: nanomsg's threads start with its first socket and its sockets are paths. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "servers/manage/manage.h"
#include "servers/manage/sandbox.h"

#define SUPERVISOR_DESCRIPTOR 3

static int failed(const char *what, int error)
{
    fprintf(stderr, "bulkhead-manage: %s: %s\n", what, strerror(-error));
    return EXIT_FAILURE;
}

static int descriptor_is_seqpacket(int fd)
{
    int type = 0;
    socklen_t size = sizeof(type);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

int main(int argc, char **argv)
{
    if (argc != 2 || !descriptor_is_seqpacket(SUPERVISOR_DESCRIPTOR)) {
        fprintf(stderr, "bulkhead-manage: started by the supervisor only; use `bulkhead up`\n");
        return 2;
    }
    struct manage *manage = calloc(1, sizeof(*manage));
    if (manage == NULL)
        return EXIT_FAILURE;
    int result = sandbox_confine(argv[1], SUPERVISOR_DESCRIPTOR);
    if (result < 0)
        return failed("cannot make the run directory the only mount", result);
    result = manage_open(manage, argv[1], SUPERVISOR_DESCRIPTOR);
    if (result < 0)
        return failed("cannot bind in the run directory", result);
    result = sandbox_filter();
    if (result < 0)
        return failed("cannot install the system call filter", result);
    result = manage_run(manage);
    _exit(result < 0 ? failed("stopped", result) : EXIT_SUCCESS); /* threads end with the process */
}
