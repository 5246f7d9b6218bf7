// SPDX-License-Identifier: BSD-2-Clause
/* System calls that no domain needs. Every one of them is to be the last that this process makes. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

static char came_back[64];

static const char *call(long number, long a, long b, long c, long d, long e, long f)
{
    snprintf(came_back, sizeof came_back, "came back with %ld", syscall(number, a, b, c, d, e, f));
    return came_back;
}

#define CALL(name, ...)                                                                                                \
    static const char *try_##name(const struct server_context *context)                                                \
    {                                                                                                                  \
        (void)context;                                                                                                 \
        return call(__VA_ARGS__);                                                                                      \
    }

#define TEXT(text) ((long)(const char *)(text))

CALL(open, SYS_open, TEXT("/etc/passwd"), O_RDONLY, 0, 0, 0, 0)
CALL(openat, SYS_openat, AT_FDCWD, TEXT("."), O_RDONLY, 0, 0, 0)
CALL(openat2, SYS_openat2, AT_FDCWD, TEXT("."), 0, 0, 0, 0)
CALL(socket, SYS_socket, 2, 2, 0, 0, 0, 0)
CALL(connect, SYS_connect, 3, 0, 0, 0, 0, 0)
CALL(sendto, SYS_sendto, 3, TEXT(came_back), 1, 0, 0, 0)
CALL(recvfrom, SYS_recvfrom, 3, TEXT(came_back), 1, 0x40, 0, 0)
CALL(socketpair, SYS_socketpair, 1, 1, 0, TEXT(came_back), 0, 0)
CALL(kill, SYS_kill, -1, SIGKILL, 0, 0, 0, 0)
CALL(tgkill, SYS_tgkill, 2, 2, SIGKILL, 0, 0, 0)
CALL(ptrace, SYS_ptrace, 16, 2, 0, 0, 0, 0)
CALL(process_vm_readv, SYS_process_vm_readv, 2, 0, 0, 0, 0, 0)
CALL(process_vm_writev, SYS_process_vm_writev, 2, 0, 0, 0, 0, 0)
CALL(pidfd_open, SYS_pidfd_open, 1, 0, 0, 0, 0, 0)
CALL(pidfd_getfd, SYS_pidfd_getfd, 3, 0, 0, 0, 0, 0)
CALL(fcntl_set_flags, SYS_fcntl, 3, F_SETFL, 0, 0, 0, 0)
CALL(fcntl_seals, SYS_fcntl, 3, F_ADD_SEALS, 0, 0, 0, 0)
CALL(ioctl, SYS_ioctl, 3, 0x5421, TEXT(came_back), 0, 0, 0)
CALL(clone, SYS_clone, SIGCHLD, 0, 0, 0, 0, 0)
CALL(clone3, SYS_clone3, 0, 0, 0, 0, 0, 0)
CALL(execve, SYS_execve, TEXT("/proc/self/exe"), 0, 0, 0, 0, 0)
CALL(unshare, SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0, 0)
CALL(setns, SYS_setns, 3, 0, 0, 0, 0, 0)
CALL(mount, SYS_mount, 0, TEXT("/"), 0, 0, 0, 0)
CALL(chroot, SYS_chroot, TEXT("."), 0, 0, 0, 0, 0)
CALL(prctl, SYS_prctl, 4, 1, 0, 0, 0, 0)
CALL(seccomp, SYS_seccomp, 1, 0, 0, 0, 0, 0)
CALL(memfd_create, SYS_memfd_create, TEXT("x"), 0, 0, 0, 0, 0)
CALL(dup, SYS_dup, 3, 0, 0, 0, 0, 0)
CALL(bpf, SYS_bpf, 0, 0, 0, 0, 0, 0)
CALL(io_uring, SYS_io_uring_setup, 1, 0, 0, 0, 0, 0)
CALL(userfaultfd, SYS_userfaultfd, 0, 0, 0, 0, 0, 0)
CALL(map_executable, SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
CALL(map_shared, SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
CALL(mremap, SYS_mremap, 0, 4096, 8192, 1, 0, 0)
CALL(protect_executable, SYS_mprotect, 0, 4096, PROT_READ | PROT_EXEC, 0, 0, 0)
CALL(setrlimit, SYS_prlimit64, 0, 7, 0, 0, 0, 0)
CALL(reboot, SYS_reboot, 0, 0, 0, 0, 0, 0)

#define ROW(name) {#name, try_##name}
const struct attack calls[] = {
    ROW(open), ROW(openat), ROW(openat2), ROW(socket), ROW(connect), ROW(sendto), ROW(recvfrom), ROW(socketpair), ROW(kill), ROW(tgkill), ROW(ptrace),
    ROW(process_vm_readv), ROW(process_vm_writev), ROW(pidfd_open), ROW(pidfd_getfd), ROW(fcntl_set_flags), ROW(fcntl_seals),
    ROW(ioctl), ROW(clone), ROW(clone3), ROW(execve), ROW(unshare), ROW(setns), ROW(mount), ROW(chroot), ROW(prctl),
    ROW(seccomp), ROW(memfd_create), ROW(dup), ROW(bpf), ROW(io_uring), ROW(userfaultfd), ROW(map_executable),
    ROW(map_shared), ROW(mremap), ROW(protect_executable), ROW(setrlimit), ROW(reboot),
};
const unsigned calls_count = sizeof calls / sizeof calls[0];
