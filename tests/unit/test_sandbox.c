// SPDX-License-Identifier: BSD-2-Clause
/* A process in namespaces of its own goes through the sandbox and tries what it should no longer be able to do: once
 * with a filter that allows everything, to see the other walls, and once with the filter that domains get. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capabilities/filter.h"
#include "capabilities/sandbox.h"
#include "tests/unit/suite.h"

#define HELD     0  /* the wall held */
#define OPEN     1  /* it did not */
#define NO_WALLS 99 /* the sandbox was refused */

typedef int probe(void);

static int allow_all(void)
{
    struct sock_filter allow = {.code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW};
    int fd = memfd_create("filter", MFD_CLOEXEC);
    ck_assert_int_eq(write(fd, &allow, sizeof allow), sizeof allow);
    return fd;
}

static void map_write(pid_t pid, const char *file, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int fd = open(path, O_WRONLY);
    ck_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static pid_t clone_into(unsigned long namespaces)
{
    return (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, NULL, NULL, NULL, NULL);
}

/* Runs a probe in the sandbox; its wait status. */
static int run(probe *tries, int filter, pid_t *ret_pid)
{
    const unsigned long apart = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
    int gate[2];
    char go = 0, map[48];
    unsigned uid = geteuid(), gid = getegid();
    ck_assert_int_eq(pipe(gate), 0);
    pid_t pid = clone_into(apart | CLONE_NEWUSER);
    bool user = pid >= 0;
    if (!user)
        pid = clone_into(apart);
    if (pid == 0) {
        struct sandbox_failure failure;
        if (read(gate[0], &go, 1) != 1)
            _exit(NO_WALLS);
        sandbox_handle_signals();
        if (sandbox_enter(filter, &failure) < 0) {
            fprintf(stderr, "sandbox: %s: %s\n", failure.step, strerror(failure.error));
            _exit(NO_WALLS);
        }
        _exit(tries());
    }
    ck_assert_msg(pid > 0, "no namespaces here: %s", strerror(errno));
    if (user) {
        snprintf(map, sizeof map, "0 %u 1\n", uid);
        map_write(pid, "uid_map", map);
        map_write(pid, "setgroups", "deny");
        snprintf(map, sizeof map, "0 %u 1\n", gid);
        map_write(pid, "gid_map", map);
    }
    ck_assert_int_eq(write(gate[1], &go, 1), 1);
    close(gate[0]);
    close(gate[1]);
    close(filter);
    if (ret_pid != NULL) {
        *ret_pid = pid;
        return 0;
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static int root_is_empty(void)
{
    DIR *root = opendir("/");
    if (root == NULL)
        return OPEN;
    for (struct dirent *e = readdir(root); e != NULL; e = readdir(root))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            return OPEN;
    return HELD;
}

static int nothing_can_be_made(void)
{
    return mkdir("/x", 0700) == 0 || open("/x", O_CREAT | O_WRONLY, 0600) >= 0 ? OPEN : HELD;
}

static int no_proc(void)
{
    return access("/proc/self", F_OK) == 0 || access("/..", F_OK) < 0 || access("/../etc", F_OK) == 0 ? OPEN : HELD;
}

static int no_mount(void)
{
    return mount("none", "/", "tmpfs", 0, NULL) == 0 || errno != EPERM ||
                   mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL) == 0
               ? OPEN
               : HELD;
}

static int no_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) < 0)
        return OPEN;
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        if (data[i].effective != 0 || data[i].permitted != 0 || data[i].inheritable != 0)
            return OPEN;
    for (unsigned long c = 0; c <= CAP_LAST_CAP; c++)
        if (prctl(PR_CAPBSET_READ, c, 0, 0, 0) > 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0) > 0)
            return OPEN;
    return HELD;
}

static int no_way_back(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 ||
                   unshare(CLONE_NEWNS) == 0 || prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) == 0
               ? OPEN
               : HELD;
}

static int limits_are_low(void)
{
    struct rlimit files, children, core, stack;
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_NPROC, &children);
    getrlimit(RLIMIT_CORE, &core);
    getrlimit(RLIMIT_STACK, &stack);
    return files.rlim_max > 1024 || children.rlim_max != 0 || core.rlim_max != 0 || stack.rlim_max > 1 << 20 ? OPEN
                                                                                                             : HELD;
}

static int memory_is_bounded(void)
{
    const size_t much = 65 << 20;
    if (mmap(NULL, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
        return OPEN;
    char *memory = mmap(NULL, much, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* costs nothing, */
    return memory == MAP_FAILED || mprotect(memory, much, PROT_READ | PROT_WRITE) == 0 ? OPEN : HELD; /* and stays so */
}

static int dies_with_parent(void)
{
    int signo = 0;
    prctl(PR_GET_PDEATHSIG, &signo);
    return signo == SIGKILL ? HELD : OPEN;
}

START_TEST(walls_without_the_filter)
{
    static const struct {
        const char *name;
        probe *tries;
    } walls[] = {
        {"root is empty", root_is_empty},
        {"nothing can be made", nothing_can_be_made},
        {"no /proc", no_proc},
        {"no mount", no_mount},
        {"no capabilities", no_capabilities},
        {"no way back", no_way_back},
        {"limits are low", limits_are_low},
        {"memory is bounded", memory_is_bounded},
        {"dies with its parent", dies_with_parent},
    };
    for (size_t i = 0; i < sizeof walls / sizeof walls[0]; i++) {
        int status = run(walls[i].tries, allow_all(), NULL);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == HELD, "%s: status %#x", walls[i].name,
                      (unsigned)status);
    }
}
END_TEST

static int try_open(void)
{
    return open("/", O_RDONLY) >= 0;
}
static int try_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}
static int try_fork(void)
{
    return fork() >= 0;
}
static int try_setfl(void)
{
    return fcntl(1, F_SETFL, 0);
}
static int try_ptrace(void)
{
    return (int)syscall(SYS_ptrace, 0, 0, 0, 0);
}
static int try_vm_write(void)
{
    return (int)syscall(SYS_process_vm_writev, 1, NULL, 0, NULL, 0, 0);
}
static int try_executable(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}

START_TEST(calls_beyond_the_filter_are_fatal)
{
    static probe *const calls[] = {try_open, try_socket, try_fork, try_setfl, try_ptrace, try_vm_write, try_executable};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        int status = run(calls[i], filter_create(0), NULL);
        bool killed = (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) ||
                      (WIFEXITED(status) && WEXITSTATUS(status) == SANDBOX_EXIT_SIGNAL + SIGSYS);
        ck_assert_msg(killed, "call %zu: status %#x", i, (unsigned)status);
    }
}
END_TEST

static int fault(void)
{
    volatile int *volatile nowhere = NULL;
    return *nowhere;
}
static int overflow(void)
{
    volatile char deep[65536];
    memset((void *)deep, 1, sizeof deep);
    return deep[0] == 1 ? overflow() + deep[1] : 0; /* it is */
}
static int trap(void)
{
    __builtin_trap();
}
static int hang(void)
{
    while (getpid() > 0)
        ;
    return OPEN;
}

START_TEST(a_fault_is_told_by_the_exit_status)
{
    static const struct {
        probe *tries;
        int signal;
    } faults[] = {{fault, SIGSEGV}, {overflow, SIGSEGV}, {trap, SIGILL}};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        int status = run(faults[i].tries, filter_create(0), NULL);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == SANDBOX_EXIT_SIGNAL + faults[i].signal,
                      "fault %zu: status %#x", i, (unsigned)status);
    }
}
END_TEST

START_TEST(a_signal_from_outside_ends_it)
{
    pid_t pid;
    int status = 0;
    signal(SIGTERM, SIG_DFL); /* not the handler of the test library */
    run(hang, filter_create(0), &pid);
    for (int ms = 0; ms < 10000 && waitpid(pid, &status, WNOHANG) == 0; ms++) {
        kill(pid, SIGTERM); /* until its handler is there, a PID 1 ignores it */
        usleep(1000);
    }
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == SANDBOX_EXIT_SIGNAL + SIGTERM, "status %#x",
                  (unsigned)status);
}
END_TEST

START_TEST(no_filter_no_sandbox)
{
    int status = run(root_is_empty, memfd_create("empty", MFD_CLOEXEC), NULL);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == NO_WALLS);
}
END_TEST

SUITE_RUN("sandbox", NULL, NULL, walls_without_the_filter, calls_beyond_the_filter_are_fatal,
          a_fault_is_told_by_the_exit_status, a_signal_from_outside_ends_it, no_filter_no_sandbox)
