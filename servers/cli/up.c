// SPDX-License-Identifier: BSD-2-Clause
/* `bulkhead up` is the supervisor: the program beside this one, with the same options. With --daemon it is left running
 * in the background once all domains run; what it says of a failed start goes to stderr as without. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "servers/cli/cli.h"

/* Takes --daemon out of the options. */
static bool daemon_asked(char **options, int *count)
{
    bool asked = false;
    int kept = 0;
    for (int i = 0; i < *count; i++) {
        if (strcmp(options[i], "--daemon") == 0)
            asked = true;
        else
            options[kept++] = options[i];
    }
    options[kept] = NULL;
    *count = kept;
    return asked;
}

static _Noreturn void run_in_background(const char *path, char **options)
{
    int null = open("/dev/null", O_RDWR);
    if (setsid() < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        _exit(cli_failed("up", "cannot go to the background: %s", strerror(errno)));
    execv(path, options);
    _exit(cli_failed("up", "cannot start %s: %s; build or install it", path, strerror(errno)));
}

/* Starts it and waits until it is ready, or has ended and said why. */
static int start_daemon(const char *path, char **options, int count)
{
    int ready[2];
    char number[16], byte;
    if (pipe(ready) < 0)
        return cli_failed("up", "no pipe: %s", strerror(errno));
    snprintf(number, sizeof number, "%d", ready[1]);
    memmove(&options[3], &options[1], (size_t)count * sizeof *options); /* with the NULL */
    options[1] = "--ready-fd";
    options[2] = number;
    pid_t pid = fork();
    if (pid < 0)
        return cli_failed("up", "no process: %s", strerror(errno));
    if (pid == 0) {
        close(ready[0]);
        run_in_background(path, options);
    }
    close(ready[1]);
    ssize_t n;
    while ((n = read(ready[0], &byte, 1)) < 0 && errno == EINTR)
        ;
    if (n == 1)
        return CLI_OK;
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : CLI_FAILED;
}

int cli_up(int argc, char **argv)
{
    char path[PATH_MAX];
    const char *run_dir = getenv("BULKHEAD_RUN_DIR");
    char **options = calloc((size_t)argc + 5, sizeof(*options));
    if (options == NULL)
        return cli_failed("up", "no memory");
    int count = 0;
    options[count++] = "bulkhead up";
    if (run_dir != NULL && run_dir[0] != '\0') { /* first, so that a --run-dir given goes over it */
        options[count++] = "--run-dir";
        options[count++] = (char *)(uintptr_t)run_dir;
    }
    memcpy(&options[count], &argv[1], (size_t)argc * sizeof(*argv)); /* with the NULL */
    int result = cli_beside("bulkhead-supervisor", path, sizeof(path));
    if (result < 0)
        return cli_failed("up", "cannot find the folder of this program: %s", strerror(-result));
    count += argc - 1;
    if (daemon_asked(options, &count))
        return start_daemon(path, options, count);
    execv(path, options);
    return cli_failed("up", "cannot start %s: %s; build or install it", path, strerror(errno));
}
