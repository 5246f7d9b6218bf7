// SPDX-License-Identifier: BSD-2-Clause
/* The run directory: whoever may reach it may attach and manage, so its mode is the authority. One supervisor at a
 * time. It may be a directory that was there before, with someone's files in it: only sockets are removed, and a lock
 * that is one of ours. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

#define LOCK_ATTEMPTS 8
#define LOCK_LINE     16

/* Sockets that are made in it, by the supervisor and by the manage server. */
static const char *const names[] = {"attach", "capture", "control", "status", "events"};

static int complain(char error[OPTIONS_ERROR], const char *dir, const char *what)
{
    snprintf(error, OPTIONS_ERROR, "run directory %s: %s", dir, what);
    return -EINVAL;
}

static int directory_open(struct supervisor *s, char error[OPTIONS_ERROR])
{
    const char *dir = s->options.run_dir;
    s->run_dir_made = mkdir(dir, 0700) == 0;
    if (!s->run_dir_made && errno != EEXIST)
        return complain(error, dir,
                        errno == EACCES || errno == EPERM ? "cannot be made: give --run-dir DIR, or set XDG_RUNTIME_DIR"
                                                          : strerror(errno));
    struct stat st;
    s->run_dir = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s->run_dir < 0 || fstat(s->run_dir, &st) < 0)
        return complain(error, dir, strerror(errno));
    if (st.st_uid != geteuid())
        return complain(error, dir, "belongs to someone else: give --run-dir DIR");
    if ((st.st_mode & 0022) != 0)
        return complain(error, dir, "others may write in it: chmod 700 it");
    return 0;
}

/* Empty, or a number and a newline: what a supervisor left there. */
static bool lock_is_ours(int fd)
{
    char line[LOCK_LINE + 1];
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_size > LOCK_LINE)
        return false;
    ssize_t n = pread(fd, line, LOCK_LINE, 0);
    if (n < 0)
        return false;
    line[n] = '\0';
    size_t digits = strspn(line, "0123456789");
    return n == 0 || (digits > 0 && digits + 1 == (size_t)n && line[digits] == '\n');
}

/* A lock that was removed by the one who held it, while we waited for nothing, locks nobody else out. */
static bool lock_is_in_place(const struct supervisor *s, int fd)
{
    struct stat held, named;
    return fstat(fd, &held) == 0 && fstatat(s->run_dir, "lock", &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

/* The lock, held; s->lock stays -1 on failure: what is in the directory is not ours. */
static int lock_take(struct supervisor *s, char error[OPTIONS_ERROR])
{
    const char *dir = s->options.run_dir, *why = "stacks come and go here: give --run-dir DIR";
    for (int i = 0; i < LOCK_ATTEMPTS; i++) {
        int fd = openat(s->run_dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (fd < 0)
            return complain(error, dir, strerror(errno));
        if (!lock_is_ours(fd))
            why = "'lock' in it is not a stack's: give --run-dir DIR";
        else if (flock(fd, LOCK_EX | LOCK_NB) < 0)
            why = "a stack runs here already: `bulkhead down`, or give --run-dir DIR";
        else if (lock_is_in_place(s, fd)) {
            s->lock = fd;
            return 0;
        } else {
            close(fd);
            continue;
        }
        close(fd);
        break;
    }
    return complain(error, dir, why);
}

static bool is_socket(const struct supervisor *s, const char *name, bool *ret_there)
{
    struct stat st;
    *ret_there = fstatat(s->run_dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    return *ret_there && S_ISSOCK(st.st_mode);
}

static void sockets_remove(const struct supervisor *s)
{
    bool there;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (is_socket(s, names[i], &there))
            unlinkat(s->run_dir, names[i], 0);
    }
}

int rundir_open(struct supervisor *s, char ret_error[OPTIONS_ERROR])
{
    bool there;
    char line[LOCK_LINE], text[64];
    int result = directory_open(s, ret_error);
    if (result == 0)
        result = lock_take(s, ret_error);
    if (result < 0)
        return result;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (is_socket(s, names[i], &there) || !there)
            continue;
        snprintf(text, sizeof text, "'%s' in it is not a stack's: give --run-dir DIR", names[i]);
        return complain(ret_error, s->options.run_dir, text);
    }
    int length = snprintf(line, sizeof line, "%d\n", getpid());
    if (ftruncate(s->lock, 0) < 0 || write(s->lock, line, (size_t)length) != length)
        return complain(ret_error, s->options.run_dir, strerror(errno));
    sockets_remove(s); /* left by one that was killed */
    return 0;
}

void rundir_close(struct supervisor *s)
{
    if (s->lock < 0)
        return;
    sockets_remove(s);
    unlinkat(s->run_dir, "lock", 0);
    if (s->run_dir_made)
        rmdir(s->options.run_dir);
    close(s->lock);
    close(s->run_dir);
}
