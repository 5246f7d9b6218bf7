// SPDX-License-Identifier: BSD-2-Clause
/* Each call is made by a child under the filter: allowed ones leave it alive, all others end it with SIGSYS. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "capabilities/filter.h"

#define SURVIVED   42
#define SPARE_FD   4 /* a socket that is not the control socket */
#define SEGMENT_FD 102

static void filter_enter(uint32_t needs)
{
    static struct sock_filter code[4096];
    int fd = filter_create(needs);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > (off_t)sizeof code ||
        pread(fd, code, (size_t)st.st_size, 0) != st.st_size)
        _exit(1);
    struct sock_fprog program = {.len = (unsigned short)((size_t)st.st_size / sizeof code[0]), .filter = code};
    int pair[2], segment = memfd_create("segment", MFD_CLOEXEC);
    if (ftruncate(segment, 4096) < 0 || dup2(segment, SEGMENT_FD) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0 || dup2(pair[0], 100) < 0 || dup2(pair[1], 101) < 0 ||
        dup2(100, FILTER_CONTROL_FD) < 0 || dup2(101, SPARE_FD) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        _exit(1);
}

static void call_memory(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p, 4096, PROT_READ) < 0 || munmap(p, 4096) < 0)
        _exit(1);
    free(malloc(1 << 20));
}
static void call_messages(void)
{
    char octet = 'x';
    struct iovec part = {&octet, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (sendmsg(FILTER_CONTROL_FD, &message, MSG_NOSIGNAL) != 1 || read(SPARE_FD, &octet, 1) != 1 ||
        write(SPARE_FD, &octet, 1) != 1 || recvmsg(FILTER_CONTROL_FD, &message, MSG_DONTWAIT) != 1)
        _exit(1);
}
static void call_sleep(void)
{
    struct pollfd fd = {.fd = FILTER_CONTROL_FD, .events = POLLIN};
    struct timespec zero = {0};
    if (ppoll(&fd, 1, &zero, NULL) != 0 || clock_gettime(CLOCK_MONOTONIC, &zero) < 0)
        _exit(1);
}
static void call_fstat(void)
{
    struct stat st;
    if (fstat(FILTER_CONTROL_FD, &st) < 0 || close(100) < 0)
        _exit(1);
}
static void call_readv(void)
{
    char octet;
    struct iovec part = {&octet, 1};
    if (write(FILTER_CONTROL_FD, "x", 1) != 1 || readv(SPARE_FD, &part, 1) != 1)
        _exit(1);
}
static void call_writev(void)
{
    struct iovec part = {(void *)"x", 1};
    if (writev(SPARE_FD, &part, 1) != 1)
        _exit(1);
}

static void call_open(void)
{
    open("/dev/null", O_RDONLY);
}
static void call_open_by_path(void)
{
    syscall(SYS_open, "/dev/null", O_RDONLY);
}
static void call_openat2(void)
{
    syscall(SYS_openat2, AT_FDCWD, "/dev/null", NULL, 0);
}
static void call_stat_path(void)
{
    struct stat st;
    fstatat(AT_FDCWD, "/", &st, AT_SYMLINK_NOFOLLOW);
}
static void call_socket(void)
{
    socket(AF_INET, SOCK_DGRAM, 0);
}
static void call_ptrace(void)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}
static void call_process_vm(void)
{
    syscall(SYS_process_vm_writev, getpid(), NULL, 0, NULL, 0, 0);
}
static void call_pidfd_getfd(void)
{
    syscall(SYS_pidfd_getfd, 3, 0, 0);
}
static void call_kill(void)
{
    syscall(SYS_kill, getpid(), 0);
}
static void call_tgkill_other(void)
{
    syscall(SYS_tgkill, getppid(), getppid(), 0);
}
static void call_set_flags(void)
{
    fcntl(SPARE_FD, F_SETFL, O_NONBLOCK);
}
static void call_ioctl(void)
{
    int n;
    ioctl(SPARE_FD, FIONREAD, &n);
}
static void call_mmap_executable(void)
{
    mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void call_mmap_shared(void)
{
    mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}
static void call_mmap_stack(void)
{
    mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0);
}
static void call_mmap_segment(void)
{
    if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, SEGMENT_FD, 0) == MAP_FAILED)
        _exit(1);
}
static void call_mremap(void)
{
    mremap((void *)((uintptr_t)call_open & ~(uintptr_t)4095), 4096, 8192, MREMAP_MAYMOVE);
}
static void call_mprotect_executable(void)
{
    mprotect((void *)((uintptr_t)call_open & ~(uintptr_t)4095), 4096, PROT_READ | PROT_EXEC);
}
static void call_send_elsewhere(void)
{
    send(SPARE_FD, "x", 1, MSG_NOSIGNAL);
}
static void call_receive_elsewhere(void)
{
    struct msghdr message = {0};
    recvmsg(SPARE_FD, &message, MSG_DONTWAIT);
}
static void call_clone(void)
{
    syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
}
static void call_exec(void)
{
    char *none[] = {NULL};
    execve("/bin/true", none, none);
}
static void call_memfd(void)
{
    memfd_create("x", 0);
}
static void call_unshare(void)
{
    unshare(CLONE_NEWUSER);
}
static void call_sigaction(void)
{
    signal(SIGSYS, SIG_IGN);
}

static const struct {
    const char *name;
    void (*call)(void);
    uint32_t needs;
    bool allowed;
} calls[] = {
    {"memory", call_memory, 0, true},
    {"messages", call_messages, 0, true},
    {"sleep", call_sleep, 0, true},
    {"fstat, close", call_fstat, 0, true},
    {"readv, device", call_readv, FILTER_DEVICE, true},
    {"writev, device", call_writev, FILTER_DEVICE, true},
    {"readv, no device", call_readv, 0, false},
    {"writev, no device", call_writev, 0, false},
    {"openat", call_open, 0, false},
    {"open", call_open_by_path, 0, false},
    {"openat2", call_openat2, 0, false},
    {"stat of a path", call_stat_path, 0, false},
    {"socket", call_socket, 0, false},
    {"ptrace", call_ptrace, 0, false},
    {"process_vm_writev", call_process_vm, 0, false},
    {"pidfd_getfd", call_pidfd_getfd, 0, false},
    {"kill", call_kill, 0, false},
    {"tgkill of another", call_tgkill_other, 0, false},
    {"F_SETFL", call_set_flags, 0, false},
    {"ioctl", call_ioctl, FILTER_DEVICE, false},
    {"mmap executable", call_mmap_executable, 0, false},
    {"mmap of a segment", call_mmap_segment, 0, true},
    {"mmap shared, of nothing", call_mmap_shared, 0, false},
    {"mmap of a stack", call_mmap_stack, 0, false},
    {"mremap", call_mremap, 0, false},
    {"mprotect executable", call_mprotect_executable, 0, false},
    {"send elsewhere", call_send_elsewhere, 0, false},
    {"recvmsg elsewhere", call_receive_elsewhere, 0, false},
    {"clone", call_clone, 0, false},
    {"execve", call_exec, 0, false},
    {"memfd_create", call_memfd, 0, false},
    {"unshare", call_unshare, 0, false},
    {"rt_sigaction", call_sigaction, 0, false},
};

START_TEST(call_is_allowed_or_deadly)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        filter_enter(calls[_i].needs);
        calls[_i].call();
        syscall(SYS_exit_group, SURVIVED);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (calls[_i].allowed)
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == SURVIVED, "%s: status %x", calls[_i].name, status);
    else
        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%s: status %x", calls[_i].name, status);
}
END_TEST

START_TEST(filter_is_small_and_sealed)
{
    int fd = filter_create(FILTER_DEVICE);
    struct stat st;
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_int_eq((size_t)st.st_size % sizeof(struct sock_filter), 0);
    ck_assert_uint_lt((size_t)st.st_size / sizeof(struct sock_filter), 128); /* 0.2 to 0.4 ms to install */
    ck_assert_int_lt(write(fd, "x", 1), 0);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("filter");
    TCase *tests = tcase_create("filter");
    tcase_add_loop_test(tests, call_is_allowed_or_deadly, 0, sizeof calls / sizeof calls[0]);
    tcase_add_test(tests, filter_is_small_and_sealed);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
