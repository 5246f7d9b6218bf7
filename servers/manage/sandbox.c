// SPDX-License-Identifier: BSD-2-Clause
#include "servers/manage/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "capabilities/filter.h"

#define DESCRIPTORS_MAX 256

/* mkdir -p `path` (absolute) under the directory `root`. */
static int directories_make(int root, const char *path)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length < 2 || length >= sizeof(part))
        return -ENAMETOOLONG;
    memcpy(part, path + 1, length); /* relative, with its terminator */
    for (char *slash = part; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
        *slash = '\0';
        if (part[0] != '\0' && mkdirat(root, part, 0755) < 0 && errno != EEXIST)
            return -errno;
    }
    return mkdirat(root, part, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int line_write(const char *path, const char *line)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = write(fd, line, strlen(line)) < 0 ? -errno : 0;
    close(fd);
    return result;
}

/* Without CAP_SYS_ADMIN (a program whose uid is not 0 loses it when it is executed) a user namespace gives it back,
 * over what is made from here on only. */
static int mounts_unshare(void)
{
    if (unshare(CLONE_NEWNS) == 0)
        return 0;
    char uid[64], gid[64];
    snprintf(uid, sizeof(uid), "%u %u 1", geteuid(), geteuid());
    snprintf(gid, sizeof(gid), "%u %u 1", getegid(), getegid());
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return -errno;
    int result = line_write("/proc/self/setgroups", "deny");
    if (result == 0)
        result = line_write("/proc/self/uid_map", uid);
    if (result == 0)
        result = line_write("/proc/self/gid_map", gid);
    return result;
}

/* A tmpfs laid over run_dir holds a directory with run_dir's path, on which the real run_dir is put; then it is the
 * root. */
static int run_dir_becomes_root(const char *run_dir)
{
    int result = mounts_unshare();
    if (result < 0)
        return result;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    int tree = open_tree(AT_FDCWD, run_dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (tree < 0)
        return -errno;
    if (mount("tmpfs", run_dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,mode=0755") < 0)
        return -errno;
    int root = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return -errno;
    result = directories_make(root, run_dir);
    if (result < 0)
        return result;
    if (move_mount(tree, "", root, run_dir + 1, MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(root) < 0 ||
        syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return -errno;
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return -errno;
    close(root);
    close(tree);
    return 0;
}

static int privileges_drop(void)
{
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EPERM)
            return -errno; /* EPERM: had no CAP_SETPCAP; no_new_privs below makes the set moot */
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

static int limits_set(void)
{
    static const struct {
        int resource;
        rlim_t limit;
    } limits[] = {
        {RLIMIT_NOFILE, DESCRIPTORS_MAX},
        {RLIMIT_CORE, 0},
        {RLIMIT_MEMLOCK, 0},
    };
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        if (setrlimit((__rlimit_resource_t)limits[i].resource, &(struct rlimit){limits[i].limit, limits[i].limit}) < 0)
            return -errno;
    return 0;
}

int sandbox_confine(const char *run_dir, int keep_last)
{
    if (run_dir[0] != '/' || run_dir[1] == '\0')
        return -EINVAL;
    if (close_range((unsigned)keep_last + 1, UINT_MAX, 0) < 0)
        return -errno;
    int result = run_dir_becomes_root(run_dir);
    if (result == 0)
        result = privileges_drop();
    if (result == 0)
        result = limits_set();
    return result;
}

/* What is allowed whatever its arguments. Nothing here opens a path, makes a socket, a thread or a process. The last
 * line is what nanomsg's thread, and malloc in it, may still do to begin. */
// clang-format off
static const int calls_allowed[] = {
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(shutdown),
    SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(sendto),
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(close),
    SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_wait), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(eventfd2),
    SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(mremap), SCMP_SYS(munmap),
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(nanosleep),
    SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getrandom),
    SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
    SCMP_SYS(exit), SCMP_SYS(exit_group),
    SCMP_SYS(rseq), SCMP_SYS(set_robust_list), SCMP_SYS(sched_getaffinity),
};
// clang-format on

int sandbox_filter(void)
{
    static const int commands[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL};
    return filter_calls_only(&(struct filter_calls){calls_allowed, sizeof calls_allowed / sizeof calls_allowed[0],
                                                    commands, sizeof commands / sizeof commands[0]});
}
