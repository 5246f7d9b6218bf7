// SPDX-License-Identifier: BSD-2-Clause
/* The run directory: one stack at a time, and nothing in it is removed that no stack made. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"
#include "tests/unit/suite.h"

static struct supervisor *at_rundir(const char *path)
{
    struct supervisor *other = calloc(1, sizeof *other);
    other->lock = other->run_dir = -1;
    snprintf(other->options.run_dir, sizeof other->options.run_dir, "%s", path);
    return other;
}

static void file_make(const char *dir, const char *name, const char *text)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static bool there(const char *dir, const char *name)
{
    char path[96];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return lstat(path, &st) == 0;
}

static void socket_make(const char *dir, const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%.40s/%.20s", dir, name);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
}

START_TEST(files_of_others_are_left_alone)
{
    static const char *const names[] = {"attach", "control", "status", "events", "lock"};
    char dir[] = "/tmp/test_rundir-XXXXXX", error[OPTIONS_ERROR], path[96];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        file_make(dir, names[i], "precious");
        struct supervisor *other = at_rundir(dir);
        ck_assert_int_lt(rundir_open(other, error), 0);
        ck_assert_msg(strchr(error, '\n') == NULL && strstr(error, names[i]) != NULL, "%s", error);
        rundir_close(other);
        ck_assert_msg(there(dir, names[i]), "%s", names[i]);
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
        free(other);
    }
    rmdir(dir);
}
END_TEST

START_TEST(what_a_killed_stack_left_is_taken)
{
    char dir[] = "/tmp/test_rundir-XXXXXX", error[OPTIONS_ERROR];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    socket_make(dir, "attach");
    socket_make(dir, "control");
    file_make(dir, "lock", "12345\n");
    struct supervisor *one = at_rundir(dir), *two = at_rundir(dir);
    ck_assert_int_eq(rundir_open(one, error), 0);
    ck_assert(!there(dir, "attach") && !there(dir, "control"));
    socket_make(dir, "attach");
    ck_assert_int_lt(rundir_open(two, error), 0);
    ck_assert_msg(strstr(error, "runs here already") != NULL, "%s", error);
    rundir_close(two);
    ck_assert(there(dir, "attach"));
    rundir_close(one);
    ck_assert(!there(dir, "attach") && !there(dir, "lock"));
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

SUITE_RUN("rundir", NULL, NULL, files_of_others_are_left_alone, what_a_killed_stack_left_is_taken)
