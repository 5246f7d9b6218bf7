// SPDX-License-Identifier: BSD-2-Clause
/* The run directory: whoever may reach it may attach and manage, so its mode is the authority. One supervisor at a
 * time. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

/* What is made in it, by the supervisor and by the manage server. */
static const char *const names[] = {"attach", "control", "status", "events", "lock"};

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

int rundir_open(struct supervisor *s, char ret_error[OPTIONS_ERROR])
{
    int result = directory_open(s, ret_error);
    if (result < 0)
        return result;
    s->lock = openat(s->run_dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock < 0)
        return complain(ret_error, s->options.run_dir, strerror(errno));
    if (flock(s->lock, LOCK_EX | LOCK_NB) < 0) {
        close(s->lock);
        s->lock = -1; /* what is in the directory belongs to the other one */
        return complain(ret_error, s->options.run_dir,
                        "a stack runs here already: `bulkhead down`, or give --run-dir DIR");
    }
    char line[16];
    int length = snprintf(line, sizeof line, "%d\n", getpid());
    if (ftruncate(s->lock, 0) < 0 || write(s->lock, line, (size_t)length) != length)
        return complain(ret_error, s->options.run_dir, strerror(errno));
    for (size_t i = 0; strcmp(names[i], "lock") != 0; i++)
        unlinkat(s->run_dir, names[i], 0); /* left by one that was killed */
    return 0;
}

void rundir_close(struct supervisor *s)
{
    if (s->lock < 0)
        return;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlinkat(s->run_dir, names[i], 0);
    if (s->run_dir_made)
        rmdir(s->options.run_dir);
    close(s->lock);
    close(s->run_dir);
}
