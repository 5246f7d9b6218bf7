// SPDX-License-Identifier: BSD-2-Clause
#include "servers/prober/walls.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stddef.h>

/* What is allowed whatever its arguments: nothing opens a path or makes a socket, a thread or a process. */
// clang-format off
static const int calls_allowed[] = {
    SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(sendto), SCMP_SYS(shutdown),
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(close), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(eventfd2),
    SCMP_SYS(memfd_create), SCMP_SYS(ftruncate), SCMP_SYS(fchmod), SCMP_SYS(fallocate), SCMP_SYS(fstat), SCMP_SYS(newfstatat), /* arenas */
    SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(mremap), SCMP_SYS(munmap),
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(setitimer), SCMP_SYS(getrandom),
    SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigpending), SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(exit), SCMP_SYS(exit_group),
};
// clang-format on

static int rules_add(scmp_filter_ctx filter)
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < sizeof calls_allowed / sizeof calls_allowed[0]; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls_allowed[i], 0);
    static const int commands[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS, F_GET_SEALS};
    for (size_t i = 0; result == 0 && i < sizeof commands / sizeof commands[0]; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                                  SCMP_A1_32(SCMP_CMP_EQ, (scmp_datum_t)commands[i]));
    /* memory, but never executable */
    static const int maps[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
    for (size_t i = 0; result == 0 && i < sizeof maps / sizeof maps[0]; i++)
        result =
            seccomp_rule_add(filter, SCMP_ACT_ALLOW, maps[i], 1, SCMP_A2_64(SCMP_CMP_MASKED_EQ, 4 /* PROT_EXEC */, 0));
    return result;
}

int walls_filter(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (filter == NULL)
        return -ENOMEM;
    int result = rules_add(filter);
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result;
}
