// SPDX-License-Identifier: BSD-2-Clause
/* `bulkhead campaign` is a program of its own, bench/faults/campaign.py: beneath this program's folder, in the
 * share/bulkhead beside it, or in the source tree that this program was built from. It finds the other programs in
 * BULKHEAD_BUILD. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "servers/cli/cli.h"
#include "servers/cli/paths.h"

#define DRIVER "bench/faults/campaign.py"

static bool driver_find(const char *folder, char *ret_path, size_t size)
{
    int n = snprintf(ret_path, size, "%s/" DRIVER, folder);
    return n < (int)size && access(ret_path, R_OK) == 0;
}

int cli_campaign(int argc, char **argv)
{
    char folder[PATH_MAX], shared[PATH_MAX], driver[PATH_MAX];
    char **command = calloc((size_t)argc + 3, sizeof *command);
    if (command == NULL)
        return cli_failed("campaign", "no memory");
    int result = cli_beside("", folder, sizeof folder);
    if (result < 0)
        return cli_failed("campaign", "cannot find the folder of this program: %s", strerror(-result));
    result = cli_beside("../share/bulkhead", shared, sizeof shared);
    if (!driver_find(folder, driver, sizeof driver) && (result < 0 || !driver_find(shared, driver, sizeof driver)) &&
        !driver_find(CLI_SOURCE_ROOT, driver, sizeof driver))
        return cli_failed("campaign", "no " DRIVER " in %s, nor in %s: build from a source tree that has it", folder,
                          CLI_SOURCE_ROOT);
    if (setenv("BULKHEAD_BUILD", folder, 1) < 0)
        return cli_failed("campaign", "no memory");
    command[0] = "python3";
    command[1] = "-B"; /* nothing is written into the source tree */
    command[2] = driver;
    memcpy(&command[3], &argv[1], (size_t)argc * sizeof *argv); /* with the NULL */
    execvp(command[0], command);
    return cli_failed("campaign", "cannot start python3: %s; install it", strerror(errno));
}
