// SPDX-License-Identifier: BSD-2-Clause
/* `bulkhead up` is the supervisor: the program beside this one, with the same options. */
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "servers/cli/cli.h"

int cli_up(int argc, char **argv)
{
    char path[PATH_MAX];
    const char *run_dir = getenv("BULKHEAD_RUN_DIR");
    char **options = calloc((size_t)argc + 3, sizeof(*options));
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
    execv(path, options);
    return cli_failed("up", "cannot start %s: %s; build or install it", path, strerror(errno));
}
