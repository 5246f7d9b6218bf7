// SPDX-License-Identifier: BSD-2-Clause
/* Theory of operation. An allow-list: whatever is not named kills the process (SIGSYS), because a domain that makes
 * such a call has been taken over or is broken, and restart is the one primitive. Arguments narrow the calls further:
 * memory is never executable and, unless it was granted, never shared (nor moved: a stack can be stretched so),
 * messages go to the control socket only, a signal goes to oneself only (PID 1 of its own namespace). So there is no
 * open, no socket, no ptrace or process_vm_*, no kill, no fcntl (F_SETFL would change another holder's pipe), no ioctl,
 * no clone, no exec. Rules form a binary tree: about 16 ns a call, and some 0.2 ms to install. */
#include "capabilities/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#define TREE_OPTIMISATION 2 /* SCMP_FLTATR_CTL_OPTIMIZE: binary tree sorted by call number */
#define OWN_PID           1
#define WITHOUT           SCMP_CMP_MASKED_EQ /* argument & x == 0 */
#define OWN_MEMORY        (MAP_TYPE | MAP_ANONYMOUS | MAP_GROWSDOWN)

struct rule {
    int call;
    uint32_t needs; /* 0: every domain */
    unsigned count;
    struct scmp_arg_cmp argument[2];
};

#define PLAIN(name)                                                                                                    \
    {                                                                                                                  \
        .call = SCMP_SYS(name)                                                                                         \
    }

static const struct rule rules[] = {
    /* rings, doorbells, sleep */
    PLAIN(read),
    PLAIN(write),
    PLAIN(ppoll),
    PLAIN(timerfd_create),
    PLAIN(timerfd_settime),
    PLAIN(close),
    PLAIN(clock_gettime),
    PLAIN(restart_syscall),
    /* the device */
    {.call = SCMP_SYS(readv), .needs = FILTER_DEVICE},
    {.call = SCMP_SYS(writev), .needs = FILTER_DEVICE},
    /* grants */
    {SCMP_SYS(sendmsg), 0, 1, {{0, SCMP_CMP_EQ, FILTER_CONTROL_FD}}},
    {SCMP_SYS(recvmsg), 0, 1, {{0, SCMP_CMP_EQ, FILTER_CONTROL_FD}}},
    PLAIN(fstat),
    {SCMP_SYS(newfstatat), 0, 1, {{3, SCMP_CMP_EQ, AT_EMPTY_PATH}}}, /* how some libcs spell fstat */
    /* memory */
    /* Memory of its own is private, so that RLIMIT_DATA counts it; it is no second stack, which that limit leaves out.
     */
    {SCMP_SYS(mmap), 0, 2, {{2, WITHOUT, PROT_EXEC, 0}, {3, WITHOUT, MAP_ANONYMOUS | MAP_GROWSDOWN, 0}}},
    {SCMP_SYS(mmap),
     0,
     2,
     {{2, WITHOUT, PROT_EXEC, 0}, {3, SCMP_CMP_MASKED_EQ, OWN_MEMORY, MAP_PRIVATE | MAP_ANONYMOUS}}},
    {SCMP_SYS(mprotect), 0, 1, {{2, WITHOUT, PROT_EXEC, 0}}},
    PLAIN(munmap),
    PLAIN(madvise),
    PLAIN(brk),
    /* the end */
    PLAIN(rt_sigprocmask),
    PLAIN(rt_sigreturn),
    PLAIN(getpid),
    PLAIN(gettid),
    {SCMP_SYS(tgkill), 0, 2, {{0, SCMP_CMP_EQ, OWN_PID}, {1, SCMP_CMP_EQ, OWN_PID}}},
    PLAIN(exit),
    PLAIN(exit_group),
};

static int rules_add(scmp_filter_ctx filter, uint32_t needs)
{
    int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, TREE_OPTIMISATION);
    for (size_t i = 0; result == 0 && i < sizeof rules / sizeof rules[0]; i++) {
        if ((rules[i].needs & ~needs) != 0)
            continue;
        result = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].call, rules[i].count, rules[i].argument);
    }
    return result;
}

static int filter_export(scmp_filter_ctx filter)
{
    int fd = memfd_create("filter", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int result = seccomp_export_bpf(filter, fd);
    if (result == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        result = -errno;
    if (result == 0)
        return fd;
    close(fd);
    return result;
}

int filter_create(uint32_t needs)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (filter == NULL)
        return -ENOMEM;
    int result = rules_add(filter, needs);
    if (result == 0)
        result = filter_export(filter);
    seccomp_release(filter);
    return result;
}
