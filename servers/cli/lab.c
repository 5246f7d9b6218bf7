// SPDX-License-Identifier: BSD-2-Clause
/* Theory of operation: this process stays outside. It makes the namespaces with one clone() whose child is the lab's
 * pid 1 (lab_init.c), maps the caller's ids, forwards signals and waits. The run directory is an empty directory on
 * which the lab mounts memory that only it sees; a helper that outlives everyone removes it when this process is gone,
 * however it went. */
#include "servers/cli/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "servers/cli/cli.h"
#include "servers/supervisor/options.h"

#define LAB_DEVICE "bh0"

static int help(void)
{
    printf(
        "Usage: bulkhead lab [UP-OPTIONS] [--as-root] -- COMMAND [ARGUMENTS]\n"
        "Runs COMMAND on a private Linux host, 10.77.0.1 and fd77::1 on " LAB_DEVICE ", beside a stack of its own at\n"
        "10.77.0.2, under your own uid with CAP_NET_ADMIN and CAP_NET_RAW. BULKHEAD_RUN_DIR is set, so that the other\n"
        "commands work inside. Nothing is left behind; the exit status is COMMAND's (128 + n: killed by signal n).\n\n"
        "  --as-root        COMMAND runs as uid 0 of the lab\n"
        "  --help           this\n"
        "  UP-OPTIONS       see `bulkhead up --help`; --run-dir, --driver and --ready-fd are the lab's own\n");
    return CLI_OK;
}

/* Options that the lab sets itself, as the shortest abbreviations that mean them. */
static const char *own_option(const char *argument)
{
    static const struct {
        const char *prefix, *name;
    } own[] = {{"--ru", "--run-dir"}, {"--rea", "--ready-fd"}, {"--dr", "--driver"}};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (strncmp(argument, own[i].prefix, strlen(own[i].prefix)) == 0)
            return own[i].name;
    return NULL;
}

/* Checks the options of `up` with the supervisor's own parser. */
static int up_options_check(struct lab *lab)
{
    struct options parsed;
    char error[OPTIONS_ERROR];
    int rest = 0;
    for (int i = 1; i < lab->supervisor_count; i++)
        if (own_option(lab->supervisor[i]) != NULL)
            return cli_wrong("lab", "%s is the lab's own; leave it out", own_option(lab->supervisor[i]));
    int result = options_parse(&parsed, lab->supervisor_count, lab->supervisor, &rest, error);
    if (result < 0)
        return result == -EBADMSG ? cli_failed("lab", "%s", error) : cli_wrong("lab", "%s", error);
    if (rest < lab->supervisor_count)
        return cli_wrong("lab", "write -- before the command; see `bulkhead lab --help`");
    lab->mtu = (int)parsed.mtu;
    return CLI_OK;
}

/* CLI_OK, or an exit status; *ret_done: help was printed. */
static int arguments_take(struct lab *lab, int argc, char **argv, bool *ret_done)
{
    lab->supervisor = calloc((size_t)argc + LAB_SUPERVISOR_FIRST + LAB_SUPERVISOR_OWN, sizeof(*lab->supervisor));
    if (lab->supervisor == NULL)
        return cli_failed("lab", "no memory");
    lab->supervisor[lab->supervisor_count++] = "bulkhead up";
    lab->supervisor[lab->supervisor_count++] = "--dad"; /* the TAP is made here: nobody else is on it; a later one wins */
    lab->supervisor[lab->supervisor_count++] = "optimistic";
    int i = 1;
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            *ret_done = true;
            return help();
        }
        if (strcmp(argv[i], "--as-root") == 0)
            lab->as_root = true;
        else
            lab->supervisor[lab->supervisor_count++] = argv[i];
    }
    int status = up_options_check(lab);
    if (status != CLI_OK)
        return status;
    if (i + 1 >= argc)
        return cli_wrong("lab", "name a command after --; see `bulkhead lab --help`");
    lab->command = &argv[i + 1];
    return CLI_OK;
}

static int tun_check(void)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        return CLI_OK;
    }
    if (errno == EACCES || errno == EPERM)
        return cli_failed(
            "lab", "not permitted to open /dev/net/tun; run `chmod 666 /dev/net/tun` as root (Debian's default)");
    return cli_failed(
        "lab", "no TAP devices (/dev/net/tun: %s); run `modprobe tun` as root, or pass the device into this container",
        strerror(errno));
}

/* A directory, and the process that removes it when the write end of its pipe is closed: in *ret_keep. */
static int run_dir_make(struct lab *lab, int *ret_keep, pid_t *ret_remover)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    if (base == NULL || base[0] != '/' || strlen(base) > 32 || access(base, W_OK) < 0)
        base = "/tmp";
    int ends[2];
    snprintf(lab->run_dir, sizeof(lab->run_dir), "%s/bulkhead-XXXXXX", base);
    if (pipe2(ends, O_CLOEXEC) < 0 || mkdtemp(lab->run_dir) == NULL)
        return cli_failed("lab", "cannot make a directory in %s: %s; make that writable", base, strerror(errno));
    *ret_remover = fork();
    if (*ret_remover == 0) {
        char octet = 0;
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, NULL);
        prctl(PR_SET_NAME, "lab-remover", 0, 0, 0);
        setsid();
        dup2(ends[0], 0);
        close_range(1, UINT_MAX, 0); /* the caller's pipes, too: nobody waits for this process */
        while (read(0, &octet, 1) > 0)
            ;
        _exit(rmdir(lab->run_dir) < 0);
    }
    close(ends[0]);
    *ret_keep = ends[1];
    if (*ret_remover < 0) {
        rmdir(lab->run_dir);
        return cli_failed("lab", "cannot fork: %s", strerror(errno));
    }
    return CLI_OK;
}

static int line_write(pid_t pid, const char *file, const char *line)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = write(fd, line, strlen(line)) < 0 ? -errno : 0;
    close(fd);
    return result;
}

static int ids_map(const struct lab *lab, pid_t pid)
{
    char uid[64], gid[64];
    snprintf(uid, sizeof(uid), "%u %u 1", lab->as_root ? 0 : lab->uid, lab->uid);
    snprintf(gid, sizeof(gid), "%u %u 1", lab->as_root ? 0 : lab->gid, lab->gid);
    int result = line_write(pid, "setgroups", "deny");
    if (result == 0)
        result = line_write(pid, "uid_map", uid);
    if (result == 0)
        result = line_write(pid, "gid_map", gid);
    return result;
}

/* fork() into new namespaces. */
static pid_t namespaces_clone(struct lab *lab)
{
    unsigned long flags = CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | SIGCHLD;
    pid_t pid = -1;
    errno = EPERM;
    if (lab->uid == 0)
        pid = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, 0UL);
    if (pid < 0 && errno == EPERM) { /* an ordinary user, or a root without the capability */
        lab->user_namespace = true;
        pid = (pid_t)syscall(SYS_clone, flags | CLONE_NEWUSER, NULL, NULL, NULL, 0UL);
    }
    return pid;
}

/* The exit status of the lab. */
static int init_wait_end(pid_t init)
{
    sigset_t taken;
    siginfo_t info;
    int status = 0;
    sigprocmask(SIG_BLOCK, NULL, &taken);
    while (waitpid(init, &status, WNOHANG) == 0)
        if (sigwaitinfo(&taken, &info) > 0 && info.si_signo != SIGCHLD && info.si_code != SI_KERNEL)
            kill(init, info.si_signo); /* the terminal's reach COMMAND without help */
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int lab_run(struct lab *lab, int keep)
{
    int begin[2];
    if (pipe2(begin, O_CLOEXEC) < 0)
        return cli_failed("lab", "no pipe: %s", strerror(errno));
    pid_t init = namespaces_clone(lab);
    if (init == 0) {
        close(keep);
        close(begin[1]);
        lab_init(lab, begin[0]);
    }
    close(begin[0]);
    if (init < 0)
        return cli_failed("lab",
                          "no new namespaces here (%s); run `sysctl -w user.max_user_namespaces=10000 "
                          "kernel.unprivileged_userns_clone=1` as root, or run this as root",
                          strerror(errno));
    int result = lab->user_namespace ? ids_map(lab, init) : 0;
    if (result < 0)
        cli_failed("lab", "cannot map your ids into the lab: %s; run this as root", strerror(-result));
    else if (write(begin[1], "", 1) != 1)
        cli_failed("lab", "the lab ended at once: %s", strerror(errno));
    close(begin[1]);
    return init_wait_end(init);
}

/* Outside of everything: what happens once the arguments are right. */
static int lab_start(struct lab *lab)
{
    int status = tun_check();
    if (status != CLI_OK)
        return status;
    int result = cli_beside("", lab->folder, sizeof(lab->folder));
    if (result < 0)
        return cli_failed("lab", "cannot find the folder of this program: %s", strerror(-result));
    sigset_t taken;
    sigemptyset(&taken);
    static const int signals[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&taken, signals[i]);
    sigprocmask(SIG_SETMASK, &taken, &lab->mask);
    signal(SIGCHLD, SIG_DFL); /* a caller that ignores it would have children vanish */
    int keep = -1;
    pid_t remover = 0;
    status = run_dir_make(lab, &keep, &remover);
    if (status != CLI_OK)
        return status;
    status = lab_run(lab, keep);
    close(keep);
    while (waitpid(remover, NULL, 0) < 0 && errno == EINTR)
        ;
    return status;
}

int cli_lab(int argc, char **argv)
{
    struct lab lab = {.uid = geteuid(), .gid = getegid(), .device = LAB_DEVICE};
    bool done = false;
    int status = arguments_take(&lab, argc, argv, &done);
    if (status == CLI_OK && !done)
        status = lab_start(&lab);
    free(lab.supervisor);
    return status;
}
