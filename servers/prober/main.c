// SPDX-License-Identifier: BSD-2-Clause
/* bulkhead-prober RUNDIR, started by the supervisor with a socketpair as descriptor 3: attaches as any application,
 * gives up all else, and from then on makes one probe for each octet that it is sent, and reports it. It is believed as
 * little as a neighbour is: servers/supervisor/prober_link.c. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "servers/client/bulkhead.h"
#include "servers/client/session.h"
#include "servers/manage/sandbox.h"
#include "servers/prober/probe.h"
#include "servers/prober/walls.h"

#define SUPERVISOR_DESCRIPTOR 3
#define UNSERVED_MOST         4 /* requests in a row; each keeps one of libbulkhead's lanes: a new session is better */
#define SLOTS                 8
#define RING_OCTETS           4096

static int failed(const char *what, int error)
{
    fprintf(stderr, "bulkhead-prober: %s: %s\n", what, strerror(error));
    return EXIT_FAILURE;
}

static bool descriptor_is_seqpacket(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

static void on_alarm(int signo)
{
    (void)signo; /* it ends a wait, no more */
}

static int small(void)
{
    static const enum bh_option slots[] = {BH_OPTION_TCP_SLOTS, BH_OPTION_UDP_SLOTS};
    static const enum bh_option rings[] = {BH_OPTION_TCP_SEND_SIZE, BH_OPTION_TCP_RECEIVE_SIZE, BH_OPTION_UDP_SEND_SIZE,
                                           BH_OPTION_UDP_RECEIVE_SIZE};
    int result = 0;
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++)
        result |= bh_set_option(slots[i], SLOTS);
    for (size_t i = 0; i < sizeof rings / sizeof rings[0]; i++)
        result |= bh_set_option(rings[i], RING_OCTETS);
    return result;
}

/* What the stack has an address of. */
static int family(void)
{
    const struct session *s = session_current();
    for (uint32_t i = 0; i < s->address_count; i++)
        if (s->address[i].family == ADDRESS_IP4)
            return AF_INET;
    return AF_INET6;
}

/* Its first arena is not tcp's: who confuses an index with 0 is to be seen here, too. */
static int arenas_first(void)
{
    int result = arenas_provide(session_current(), SESSION_UDP, arenas_default(SESSION_UDP), 1);
    errno = -result;
    return result;
}

static int serve(void)
{
    struct prober prober;
    char octet;
    prober_init(&prober, family());
    while (prober.unserved < UNSERVED_MOST) {
        ssize_t n = recv(SUPERVISOR_DESCRIPTOR, &octet, sizeof octet, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return EXIT_SUCCESS; /* the supervisor has done with us */
        struct probe_report report;
        probe(&prober, &report);
        if (send(SUPERVISOR_DESCRIPTOR, &report, sizeof report, MSG_NOSIGNAL) < 0)
            return EXIT_FAILURE;
    }
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_alarm};
    if (argc != 2 || !descriptor_is_seqpacket(SUPERVISOR_DESCRIPTOR)) {
        fprintf(stderr, "bulkhead-prober: started by the supervisor only; use `bulkhead up`\n");
        return 2;
    }
    int result = sandbox_confine(argv[1], SUPERVISOR_DESCRIPTOR);
    if (result < 0)
        return failed("cannot make the run directory the only mount", -result);
    if (small() < 0 || sigaction(SIGALRM, &action, NULL) < 0 || bh_attach(argv[1]) < 0 || arenas_first() < 0)
        return failed("cannot attach", errno);
    result = walls_filter();
    if (result < 0)
        return failed("cannot install the system call filter", -result);
    _exit(serve());
}
