// SPDX-License-Identifier: BSD-2-Clause
/* bulkhead-supervisor: what `bulkhead up` and `bulkhead lab` run. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "capabilities/policy_file.h"
#include "servers/supervisor/supervisor.h"

int main(int argc, char **argv)
{
    char error[OPTIONS_ERROR];
    int rest = argc;
    struct supervisor *s = calloc(1, sizeof *s);
    if (s == NULL)
        return EXIT_FAILURE;
    memory_populate(s);
    s->run_dir = s->lock = s->epoll = s->attach_epoll = s->signals = s->listener = s->device = s->manage_link = -1;
    s->manage.pidfd = -1;
    prober_init(s);
    wire_init(s);
    int result = options_parse(&s->options, argc, argv, &rest, error);
    if (result > 0)
        return EXIT_SUCCESS;
    if (result == 0 && rest < argc) {
        snprintf(error, sizeof error, "'%.60s' is too much: only options here", argv[rest]);
        result = -1;
    }
    bool usage = result < 0 && result != -EBADMSG;
    if (result == 0)
        result = policy_file_read(s->options.policy[0] != '\0' ? s->options.policy : NULL, &s->policy, error,
                                  sizeof error);
    if (result < 0) {
        options_one_line(error);
        fprintf(stderr, "bulkhead: %s\n", error);
        return usage ? OPTIONS_USAGE : EXIT_FAILURE;
    }
    if (supervisor_start(s, error) < 0) {
        options_one_line(error);
        fprintf(stderr, "bulkhead: %s\n", error);
        result = EXIT_FAILURE;
    } else {
        result = supervisor_run(s);
    }
    wire_close(s);
    rundir_close(s);
    return result;
}
