// SPDX-License-Identifier: BSD-2-Clause
#include "servers/prober/walls.h"

#include <fcntl.h>
#include <seccomp.h>

#include "capabilities/filter.h"

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

int walls_filter(void)
{
    static const int commands[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS, F_GET_SEALS};
    return filter_calls_only(&(struct filter_calls){calls_allowed, sizeof calls_allowed / sizeof calls_allowed[0],
                                                    commands, sizeof commands / sizeof commands[0]});
}
