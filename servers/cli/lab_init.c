// SPDX-License-Identifier: BSD-2-Clause
/* Theory of operation: pid 1 of the lab. It mounts what is private (a fresh /proc, memory as the run directory),
 * configures the network, starts the supervisor, waits until the stack runs, starts COMMAND, and from then on reaps and
 * forwards signals. When COMMAND ends it stops the supervisor and exits; the kernel then kills whatever else runs in
 * the lab, and the mounts, the device and the network go with their namespaces. Its own parent's death kills it
 * (PR_SET_PDEATHSIG), with the same effect. A signal from the terminal reaches COMMAND without its help; one sent by
 * somebody is forwarded, and COMMAND is killed if it still runs GRACE_US after SIGTERM or SIGHUP. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "servers/cli/cli.h"
#include "servers/cli/lab.h"

#define GRACE_US 3000000  /* for COMMAND after SIGTERM, for the supervisor to end */
#define START_US 20000000 /* for the stack to run */

struct init {
    struct lab *lab;
    int signals;          /* signalfd */
    pid_t supervisor;     /* 0: none */
    pid_t command;        /* 0: none */
    int status;           /* of COMMAND, as an exit status, once it ended */
    int signal;           /* somebody wants the lab to end by this */
    uint64_t deadline_us; /* when COMMAND is killed, or waiting for the supervisor ends; UINT64_MAX never */
};

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int mounts_make(const struct lab *lab, char ret_error[LAB_ERROR])
{
    static const unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    const char *step = "/";
    int result = mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    if (result == 0) {
        step = "a fresh /proc";
        result = mount("proc", "/proc", "proc", quiet, NULL);
    }
    if (result == 0) {
        step = "the run directory";
        result = mount("tmpfs", lab->run_dir, "tmpfs", quiet, "mode=0700,size=64m");
    }
    if (result < 0)
        snprintf(ret_error, LAB_ERROR,
                 "cannot mount %s: %s; in a container, start that with its /proc unmasked and mounts allowed", step,
                 strerror(errno));
    return result;
}

/* In the child that becomes COMMAND: of all the capabilities of pid 1 only these two, and over the lab's network only.
 */
static int network_capabilities_keep(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    static const unsigned kept[] = {CAP_NET_ADMIN, CAP_NET_RAW};
    if (syscall(SYS_capget, &header, sets) < 0)
        return -errno;
    sets[0].inheritable = sets[1].inheritable = 0;
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        sets[CAP_TO_INDEX(kept[i])].inheritable |= CAP_TO_MASK(kept[i]);
    if (syscall(SYS_capset, &header, sets) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0) < 0)
            return -errno;
    return 0;
}

static _Noreturn void command_become(const struct lab *lab)
{
    int result = geteuid() == 0 ? 0 : network_capabilities_keep();
    if (result < 0)
        _exit(cli_failed("lab", "cannot keep the network capabilities: %s", strerror(-result)));
    sigprocmask(SIG_SETMASK, &lab->mask, NULL);
    execvp(lab->command[0], lab->command);
    cli_failed("lab", "cannot run %s: %s", lab->command[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

static void log_path(const struct lab *lab, char *ret_path, size_t size)
{
    snprintf(ret_path, size, "%s/supervisor.log", lab->run_dir);
}

static _Noreturn void supervisor_become(const struct lab *lab, int ready)
{
    char path[PATH_MAX], driver[32], number[16];
    snprintf(driver, sizeof(driver), "tap:%s", lab->device);
    snprintf(number, sizeof(number), "%d", ready);
    char *own[LAB_SUPERVISOR_OWN] = {
        "--run-dir", (char *)(uintptr_t)lab->run_dir, "--driver", driver, "--ready-fd", number, NULL};
    memcpy(&lab->supervisor[lab->supervisor_count], own, sizeof(own));
    log_path(lab, path, sizeof(path));
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    /* a group of its own: the terminal's signals are not for it */
    if (log < 0 || null < 0 || setpgid(0, 0) < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 ||
        fcntl(ready, F_SETFD, 0) < 0)
        _exit(CLI_FAILED);
    sigprocmask(SIG_SETMASK, &lab->mask, NULL);
    snprintf(path, sizeof(path), "%.*s/bulkhead-supervisor", PATH_MAX - 32, lab->folder);
    execv(path, lab->supervisor);
    fprintf(stderr, "cannot start %s: %s; build or install it\n", path, strerror(errno));
    _exit(CLI_FAILED);
}

static void children_reap(struct init *init)
{
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid == init->supervisor)
            init->supervisor = 0;
        if (pid == init->command) {
            init->command = 0;
            init->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
}

static void signal_take(struct init *init)
{
    struct signalfd_siginfo info;
    if (read(init->signals, &info, sizeof(info)) != sizeof(info))
        return;
    int signal = (int)info.ssi_signo;
    bool ends = signal == SIGTERM || signal == SIGHUP;
    if (signal == SIGCHLD) {
        children_reap(init);
        return;
    }
    if (init->command == 0) {
        init->signal = signal;
        return;
    }
    if (info.ssi_code != SI_KERNEL) /* the terminal's went to COMMAND as well */
        kill(init->command, signal);
    if (ends && init->deadline_us == UINT64_MAX)
        init->deadline_us = now_us() + GRACE_US;
}

/* Waits for a signal (and takes it) or for `other` (-1 none) to be readable: then true. */
static bool init_wait(struct init *init, int other)
{
    uint64_t now = now_us();
    int wait_ms = -1;
    if (init->deadline_us != UINT64_MAX)
        wait_ms = init->deadline_us <= now ? 0 : (int)((init->deadline_us - now) / 1000) + 1;
    struct pollfd fds[2] = {{.fd = init->signals, .events = POLLIN}, {.fd = other, .events = POLLIN}};
    poll(fds, 2, wait_ms);
    if (fds[0].revents != 0)
        signal_take(init);
    return fds[1].revents != 0;
}

/* The last line that the supervisor wrote. */
static void log_last_line(const struct lab *lab, char *ret_line, int size)
{
    char path[PATH_MAX], line[LAB_ERROR];
    log_path(lab, path, sizeof(path));
    snprintf(ret_line, (size_t)size, "it said nothing");
    FILE *log = fopen(path, "re");
    while (log != NULL && fgets(line, sizeof(line), log) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0')
            snprintf(ret_line, (size_t)size, "%s", line);
    }
    if (log != NULL)
        fclose(log);
}

/* CLI_OK when the stack runs. */
static int supervisor_start(struct init *init)
{
    int ready[2];
    char octet, line[LAB_ERROR];
    if (pipe2(ready, O_CLOEXEC) < 0)
        return cli_failed("lab", "no pipe: %s", strerror(errno));
    init->supervisor = fork();
    if (init->supervisor < 0)
        return cli_failed("lab", "cannot fork: %s", strerror(errno));
    if (init->supervisor == 0)
        supervisor_become(init->lab, ready[1]);
    close(ready[1]);
    init->deadline_us = now_us() + START_US;
    bool told = false;
    while (!told && init->signal == 0 && now_us() < init->deadline_us)
        told = init_wait(init, ready[0]);
    init->deadline_us = UINT64_MAX;
    bool runs = told && read(ready[0], &octet, 1) == 1;
    close(ready[0]);
    if (runs)
        return CLI_OK;
    if (init->signal != 0)
        return 128 + init->signal;
    log_last_line(init->lab, line, sizeof(line));
    return cli_failed("lab", "the stack did not start: %s", line);
}

static int command_run(struct init *init)
{
    init->command = fork();
    if (init->command < 0)
        return cli_failed("lab", "cannot fork: %s", strerror(errno));
    if (init->command == 0)
        command_become(init->lab);
    while (init->command != 0) {
        init_wait(init, -1);
        if (init->command != 0 && now_us() >= init->deadline_us) {
            kill(init->command, SIGKILL);
            init->deadline_us = UINT64_MAX;
        }
    }
    return init->status;
}

static void supervisor_stop(struct init *init)
{
    if (init->supervisor > 0)
        kill(init->supervisor, SIGTERM);
    init->deadline_us = now_us() + GRACE_US;
    while (init->supervisor > 0 && now_us() < init->deadline_us)
        init_wait(init, -1);
}

static int environment_set(const struct lab *lab)
{
    const char *path = getenv("PATH");
    size_t size = strlen(lab->folder) + (path == NULL ? 0 : strlen(path)) + 2;
    char *longer = malloc(size);
    if (longer == NULL)
        return -ENOMEM;
    snprintf(longer, size, "%s%s%s", lab->folder, path == NULL ? "" : ":", path == NULL ? "" : path);
    int result = setenv("PATH", longer, 1) < 0 || setenv("BULKHEAD_RUN_DIR", lab->run_dir, 1) < 0 ? -errno : 0;
    free(longer);
    return result;
}

_Noreturn void lab_init(struct lab *lab, int parent)
{
    struct init init = {.lab = lab, .deadline_us = UINT64_MAX};
    char octet, error[LAB_ERROR];
    sigset_t taken;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || read(parent, &octet, 1) != 1)
        _exit(CLI_FAILED); /* the parent is gone, or has said why */
    close(parent);
    if (mounts_make(lab, error) < 0 || lab_net_configure(lab->device, lab->mtu, geteuid(), error) < 0)
        _exit(cli_failed("lab", "%s", error));
    sigprocmask(SIG_BLOCK, NULL, &taken); /* lab.c blocked what is taken here */
    init.signals = signalfd(-1, &taken, SFD_CLOEXEC);
    if (init.signals < 0 || environment_set(lab) < 0)
        _exit(cli_failed("lab", "cannot prepare: %s", strerror(errno)));
    int status = supervisor_start(&init);
    if (status == CLI_OK)
        status = command_run(&init);
    supervisor_stop(&init);
    _exit(status);
}
