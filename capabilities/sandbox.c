// SPDX-License-Identifier: BSD-2-Clause
/* Theory of operation. One table of steps, in the order in which they are possible: the empty root needs CAP_SYS_ADMIN,
 * the bounding set and securebits CAP_SETPCAP, and what comes after needs nothing. Whatever fails is fatal: no domain
 * runs with half a sandbox. The filter comes last, so it need not allow any of this.
 *
 * Afterwards the process has: no file to name (an empty read-only root, no /proc), no interface (its network namespace
 * is new), nobody to signal (its PID namespace is new), no capability and no way to any, a bounded number of
 * descriptors, a bounded amount of memory beside what it was granted, no children, and the short list of system calls
 * that the supervisor's filter leaves. */
#include "capabilities/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIGNAL_STACK_OCTETS 32768 /* AVX-512 and AMX state make signal frames of up to 11 KiB */
#define DESCRIPTORS_MAX     1024
#define DATA_OCTETS_MAX     (64U << 20) /* of its own: all servers in one domain take 14 MiB */
#define STACK_OCTETS_MAX    (1U << 20)
#define CAPABILITIES_TRIED  64 /* the kernel says EINVAL beyond its last */

static uint8_t signal_stack[SIGNAL_STACK_OCTETS];

static sandbox_reporter *reporter;
static volatile sig_atomic_t dying; /* of which signal */

/* A fault of the report's own ends it: the second time there is nothing more to say. */
static void die(int signo, siginfo_t *info, void *context)
{
    if (dying == 0) {
        dying = signo;
        if (reporter != NULL)
            reporter(signo, info, context);
    }
    _exit(SANDBOX_EXIT_SIGNAL + dying);
}

void sandbox_last_words(sandbox_reporter *report)
{
    reporter = report;
}

void sandbox_handle_signals(void)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTERM};
    static const int ignored[] = {SIGPIPE, SIGINT, SIGHUP, SIGQUIT};
    stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_sigaction = die, .sa_flags = SA_ONSTACK | SA_NODEFER | SA_SIGINFO};
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
        sigaction(deadly[i], &action, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        sigaction(ignored[i], &ignore, NULL);
    sigset_t none; /* a mask survives exec */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A new file system of two inodes and one page, read-only, in the place of the root; the old one is let go. */
static int empty_root(void)
{
    static const char *const places[] = {"/tmp", "/usr", "/etc", "/dev"};
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    int error = ENOENT;
    for (size_t i = 0; i < sizeof places / sizeof places[0] && error != 0; i++)
        error = mount("none", places[i], "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                      "size=4096,nr_inodes=2,mode=0555") == 0 &&
                        chdir(places[i]) == 0
                    ? 0
                    : errno;
    if (error != 0)
        return -error;
    /* With both arguments the same the old root ends up on top of the new one and is detached from there. */
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return -errno;
    return 0;
}

static int drop_bounding_set(void)
{
    for (unsigned long c = 0; c < CAPABILITIES_TRIED; c++)
        if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
            return errno == EINVAL && c > CAP_SYS_ADMIN ? 0 : -errno;
    return 0;
}

static int lock_securebits(void)
{
    unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
                         SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    return prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0 ? -errno : 0;
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0)
        return -errno;
    return 0;
}

static int set_limits(void)
{
    static const struct {
        int resource;
        rlim_t most;
    } limits[] = {
        {RLIMIT_NOFILE, DESCRIPTORS_MAX},
        {RLIMIT_NPROC, 0},
        {RLIMIT_CORE, 0},
        {RLIMIT_FSIZE, 0}, /* nothing is written to a file: segments are mapped, the rest are pipes and devices */
        {RLIMIT_MEMLOCK, 0},
        {RLIMIT_MSGQUEUE, 0},
        {RLIMIT_DATA, DATA_OCTETS_MAX}, /* the filter leaves no way around it */
        {RLIMIT_STACK, STACK_OCTETS_MAX},
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct rlimit limit = {limits[i].most, limits[i].most};
        if (setrlimit((__rlimit_resource_t)limits[i].resource, &limit) < 0)
            return -errno;
    }
    return 0;
}

static int no_new_privileges(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static int not_dumpable(void)
{
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}

/* No domain outlives its supervisor. One that died before this line closed the control socket: the first read says so.
 */
static int die_with_parent(void)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? -errno : 0;
}

static int install_filter(int filter_fd)
{
    struct stat st;
    if (fstat(filter_fd, &st) < 0)
        return -errno;
    size_t count = (size_t)st.st_size / sizeof(struct sock_filter);
    if (st.st_size <= 0 || count == 0 || count > BPF_MAXINSNS || (size_t)st.st_size % sizeof(struct sock_filter) != 0)
        return -EINVAL;
    void *code = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, filter_fd, 0);
    if (code == MAP_FAILED)
        return -errno;
    struct sock_fprog program = {.len = (unsigned short)count, .filter = code};
    int result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
    munmap(code, (size_t)st.st_size);
    return result;
}

int sandbox_enter(int filter_fd, struct sandbox_failure *ret_failure)
{
    static const struct {
        const char *name;
        int (*step)(void);
    } steps[] = {
        {"empty root", empty_root},      {"bounding set", drop_bounding_set},
        {"securebits", lock_securebits}, {"capabilities", drop_capabilities},
        {"limits", set_limits},          {"no new privileges", no_new_privileges},
        {"not dumpable", not_dumpable},  {"parent death signal", die_with_parent},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        int result = steps[i].step();
        if (result < 0) {
            *ret_failure = (struct sandbox_failure){steps[i].name, -result};
            return result;
        }
    }
    int result = install_filter(filter_fd);
    if (result < 0)
        *ret_failure = (struct sandbox_failure){"filter", -result};
    return result;
}
