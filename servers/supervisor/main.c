// SPDX-License-Identifier: BSD-2-Clause
/* bulkhead-supervisor: what `bulkhead up` and `bulkhead lab` run. */
#include <stdio.h>
#include <stdlib.h>

#include "servers/supervisor/supervisor.h"

int main(int argc, char **argv)
{
    char error[OPTIONS_ERROR];
    int rest = argc;
    struct supervisor *s = calloc(1, sizeof *s);
    if (s == NULL)
        return EXIT_FAILURE;
    s->run_dir = s->lock = s->epoll = s->attach_epoll = s->signals = s->listener = s->device = s->manage_link = -1;
    s->manage.pidfd = -1;
    wire_init(s);
    int result = options_parse(&s->options, argc, argv, &rest, error);
    if (result > 0)
        return EXIT_SUCCESS;
    if (result == 0 && rest < argc) {
        snprintf(error, sizeof error, "'%.60s' is too much: only options here", argv[rest]);
        result = -1;
    }
    if (result < 0) {
        options_one_line(error);
        fprintf(stderr, "bulkhead: %s\n", error);
        return OPTIONS_USAGE;
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
