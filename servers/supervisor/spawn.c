// SPDX-License-Identifier: BSD-2-Clause
/* A process in user, network, mount, PID, IPC and UTS namespaces of its own, with a control socket as descriptor 3 and
 * nothing else. Started as root, each domain has a uid of its own outside; inside it is 0, with capabilities over its
 * empty namespaces only, which its sandbox needs and then gives up. Where user namespaces are refused, root goes
 * without: the other namespaces and the uid are there all the same. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID)
#define NAMESPACES_OWN                                                                                                 \
    (CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) /* the child makes them: one of the net may wait for others' */
#define UID_FIRST  1879048192U                   /* of domain 0; a range that no distribution hands out */
#define EXIT_SPAWN 127
#define CONTROL_FD 3

static bool uid_is_mapped(uint32_t uid)
{
    FILE *map = fopen("/proc/self/uid_map", "re");
    if (map == NULL)
        return false;
    uint64_t inside, outside, count;
    bool found = false;
    while (!found && fscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3)
        found = uid >= inside && uid - inside < count;
    fclose(map);
    return found;
}

bool spawn_uid(uint32_t index, uint32_t *ret)
{
    bool own = geteuid() == 0 && uid_is_mapped(UID_FIRST + index);
    *ret = own ? UID_FIRST + index : geteuid();
    return own;
}

int spawn_cpu(enum placement placement, uint32_t n)
{
    cpu_set_t allowed;
    if (placement == PLACEMENT_NONE || sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        return -1;
    uint32_t count = (uint32_t)CPU_COUNT(&allowed);
    uint32_t wanted = placement == PLACEMENT_PACKED ? count - 1 : n % (count == 0 ? 1 : count);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && wanted-- == 0)
            return cpu;
    }
    return -1;
}

/* Whatever has become of the file since it was named: it is not waited for (a FIFO would be for ever). */
static int program_open_at(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    return -EACCES;
}

/* Beside our own executable, if it is no path; opened here, because the domain's uid may not be able to walk there. */
static int program_open(const char *program)
{
    char path[PATH_MAX];
    if (program[0] == '/')
        return program_open_at(program);
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n < 0)
        return -errno;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    size_t left = sizeof path - (size_t)(slash + 1 - path);
    if (snprintf(slash + 1, left, "%s", program) >= (int)left)
        return -ENAMETOOLONG;
    return program_open_at(path);
}

void spawn_slice(uint64_t ns)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime_ns, deadline_ns, period_ns;
    } attribute = {.size = sizeof attribute, .nice = getpriority(PRIO_PROCESS, 0), .runtime_ns = ns};
    if (sched_getscheduler(0) == SCHED_OTHER)
        (void)syscall(SYS_sched_setattr, 0, &attribute, 0);
}

/* Where it runs is no matter of safety. */
static void place(pid_t pid, int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    sched_setaffinity(pid, sizeof set, &set);
}

void process_place(const struct process *process, int cpu)
{
    if (process->pid > 0 && process->pidfd >= 0)
        place(process->pid, cpu);
}

/* ---- in the child ---- */

static int standard_descriptors(int *control, int *program)
{
    /* out of the way of 0 to 4 first */
    *control = fcntl(*control, F_DUPFD, 16);
    *program = fcntl(*program, F_DUPFD, 16);
    int null = open("/dev/null", O_RDWR);
    if (*control < 0 || *program < 0 || null < 0)
        return -1;
    for (int fd = 0; fd < CONTROL_FD; fd++) {
        if (dup2(null, fd) < 0)
            return -1;
    }
    if (dup2(*control, CONTROL_FD) < 0 || dup2(*program, CONTROL_FD + 1) < 0)
        return -1;
    *program = CONTROL_FD + 1;
    return fcntl(*program, F_SETFD, FD_CLOEXEC) < 0 ? -1 : (int)close_range(CONTROL_FD + 2, UINT_MAX, 0);
}

/* Without a user namespace: capabilities are carried over the change of uid and the exec as ambient ones. */
static int become_uid(uint32_t uid)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (uid == 0)
        return 0;
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 ||
        setresuid(uid, uid, uid) < 0 || syscall(SYS_capget, &header, data) < 0)
        return -1;
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        data[i].effective = data[i].inheritable = data[i].permitted;
    if (syscall(SYS_capset, &header, data) < 0)
        return -1;
    static const unsigned long carried[] = {CAP_SYS_ADMIN, CAP_SETPCAP};
    for (unsigned i = 0; i < sizeof carried / sizeof carried[0]; i++) {
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, carried[i], 0, 0) < 0)
            return -1;
    }
    return 0;
}

static int become_root_inside(bool may_set_groups)
{
    if (may_set_groups && setgroups(0, NULL) < 0)
        return -1;
    return setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0 ? -1 : 0;
}

static void signals_reset(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;
    sigaction(SIGPIPE, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void __attribute__((noreturn)) child(const struct spawn_request *request, int program, int gate, bool user)
{
    char go;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || read(gate, &go, 1) != 1)
        _exit(EXIT_SPAWN); /* the supervisor died, or could not map our uid */
    if (unshare(NAMESPACES_OWN) < 0)
        _exit(EXIT_SPAWN);
    if ((user ? become_root_inside(go == 'g') : become_uid(request->uid)) < 0)
        _exit(EXIT_SPAWN);
    if (request->cpu >= 0 && !(request->settles && user))
        place(0, request->cpu);
    spawn_slice(0);
    int control = request->control;
    if (standard_descriptors(&control, &program) < 0)
        _exit(EXIT_SPAWN);
    signals_reset();
    char *argv[] = {(char *)request->program, (char *)request->argument, NULL};
    char *environment[] = {NULL};
    execveat(program, "", argv, environment, AT_EMPTY_PATH);
    _exit(EXIT_SPAWN);
}

/* ---- in the supervisor ---- */

static int proc_write(pid_t pid, const char *file, const char *text)
{
    char path[48];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return result;
}

static int user_map(pid_t pid, uint32_t uid)
{
    char uids[40], gids[40];
    bool own = uid != geteuid();
    snprintf(uids, sizeof uids, "0 %u 1\n", uid);
    snprintf(gids, sizeof gids, "0 %u 1\n", own ? uid : getegid());
    int result = proc_write(pid, "uid_map", uids);
    if (result == 0 && !own)
        result = proc_write(pid, "setgroups", "deny");
    return result == 0 ? proc_write(pid, "gid_map", gids) : result;
}

static pid_t clone_child(uint64_t flags, int *pidfd)
{
    struct clone_args arguments = {
        .flags = flags | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)pidfd, .exit_signal = SIGCHLD};
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

static const char *const namespace_files[NAMESPACES_HELD] = {"mnt", "net", "ipc"};

/* One that cannot be held is no matter: its end takes longer. */
static void namespace_hold(struct process *process, unsigned which)
{
    char path[48];
    if (process->namespaces.held[which] != 0)
        return;
    snprintf(path, sizeof path, "/proc/%d/ns/%s", process->pid, namespace_files[which]);
    process->namespaces.held[which] = open(path, O_RDONLY | O_CLOEXEC) + 1;
}

static void namespaces_leave(const struct namespaces *namespaces)
{
    for (unsigned i = 0; i < NAMESPACES_HELD; i++)
        if (namespaces->held[i] != 0)
            close(namespaces->held[i] - 1);
}

void process_hold(struct process *process)
{
    for (unsigned i = 0; i < NAMESPACES_HELD; i++)
        namespace_hold(process, i);
}

/* The child has them too, and is now the last. */
static void buried_leave(struct buried *buried)
{
    while (buried->count > 0) {
        siginfo_t info;
        uint32_t i = --buried->count;
        namespaces_leave(&buried->namespaces[i]);
        (void)waitid(P_PIDFD, (id_t)buried->pidfd[i], &info, WEXITED | WNOHANG);
        close(buried->pidfd[i]);
    }
}

static int spawn_with(const struct spawn_request *request, int program, bool user, struct process *ret)
{
    int gate[2], pidfd = -1;
    if (pipe2(gate, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = clone_child(NAMESPACES | (user ? CLONE_NEWUSER : 0), &pidfd);
    if (pid == 0) {
        close(gate[1]);
        child(request, program, gate[0], user);
    }
    struct process made = {.pid = pid, .pidfd = pidfd, .user_namespace = user};
    int result = pid < 0 ? -errno : 0;
    if (result == 0)
        namespace_hold(&made, 0); /* before its exec: that is there already */
    if (result == 0 && request->buried != NULL)
        buried_leave(request->buried);
    if (result == 0 && user)
        result = user_map(pid, request->uid);
    /* 'g': it may set its groups, since nobody denied it */
    if (result == 0 && write(gate[1], user && request->uid == geteuid() ? "x" : "g", 1) != 1)
        result = -errno;
    close(gate[0]);
    close(gate[1]);
    if (result < 0 && pid > 0) {
        char text[8];
        process_signal(&made, SIGKILL);
        process_reap(&made, text, sizeof text);
        return result;
    }
    if (result == 0)
        *ret = made;
    return result;
}

int spawn_process(const struct spawn_request *request, struct process *ret)
{
    int program = program_open(request->program);
    if (program < 0)
        return program;
    int result = spawn_with(request, program, true, ret);
    if (result < 0 && geteuid() == 0)
        result = spawn_with(request, program, false, ret);
    close(program);
    return result;
}

int spawn_beside(const char *const *argument, int control, struct process *ret)
{
    int program = program_open(argument[0]), pidfd = -1;
    if (program < 0)
        return program;
    pid_t parent = getpid(), pid = clone_child(0, &pidfd);
    if (pid == 0) {
        char *environment[] = {NULL};
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent ||
            standard_descriptors(&control, &program) < 0)
            _exit(EXIT_SPAWN);
        signals_reset();
        execveat(program, "", (char *const *)(uintptr_t)argument, environment, AT_EMPTY_PATH);
        _exit(EXIT_SPAWN);
    }
    int result = pid < 0 ? -errno : 0;
    close(program);
    if (result == 0)
        *ret = (struct process){.pid = pid, .pidfd = pidfd};
    return result;
}

void process_signal(const struct process *process, int signo)
{
    if (process->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, process->pidfd, signo, NULL, 0);
}

/* How it ended, in words; the signal, or 0. */
static int end_read(const struct process *process, int options, char *ret_text, size_t size)
{
    siginfo_t info = {0};
    int result, signo = 0;
    do
        result = waitid(P_PIDFD, (id_t)process->pidfd, &info, options);
    while (result < 0 && errno == EINTR);
    if (result == 0 && info.si_code != CLD_EXITED)
        signo = info.si_status;
    else if (result == 0 && info.si_status > 128 && info.si_status < 128 + 64) /* its last words said that it was one */
        signo = info.si_status - 128;
    if (result < 0)
        snprintf(ret_text, size, "ended");
    else if (signo != 0)
        snprintf(ret_text, size, "signal %s", sigabbrev_np(signo) ? sigabbrev_np(signo) : "?");
    else
        snprintf(ret_text, size, "exit status %d", info.si_status);
    return signo;
}

int process_reap(struct process *process, char *ret_text, size_t size)
{
    int signo = end_read(process, WEXITED, ret_text, size);
    close(process->pidfd);
    namespaces_leave(&process->namespaces);
    *process = (struct process){.pidfd = -1};
    return signo;
}

int process_bury(struct process *process, struct buried *buried, char *ret_text, size_t size)
{
    if (buried->count == BURIED_MAX)
        return process_reap(process, ret_text, size);
    int signo = end_read(process, WEXITED | WNOWAIT, ret_text, size);
    buried->namespaces[buried->count] = process->namespaces;
    buried->pidfd[buried->count++] = process->pidfd;
    *process = (struct process){.pidfd = -1};
    return signo;
}
