// SPDX-License-Identifier: BSD-2-Clause
/* What the subcommands of `bulkhead` share: options, one-line errors, exit statuses, printing of what others wrote. */
#ifndef BULKHEAD_SERVERS_CLI_CLI_H
#define BULKHEAD_SERVERS_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "servers/supervisor/options.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

enum cli_option { /* bits: which a command takes */
                  OPTION_RUN_DIR = 1 << 0,
                  OPTION_JSON = 1 << 1,
                  OPTION_OPENMETRICS = 1 << 2,
                  OPTION_ALL = 1 << 3,
                  OPTION_FOLLOW = 1 << 4,
                  OPTION_SINCE = 1 << 5,
                  OPTION_SIGNAL = 1 << 6,
                  OPTION_WRITE = 1 << 7,
                  OPTION_COUNT = 1 << 8,
                  OPTION_SECONDS = 1 << 9,
                  OPTION_SNAP = 1 << 10,
                  OPTION_DOT = 1 << 13,
                  OPTION_REVOKE = 1 << 14,
                  OPTION_BINARY = 1 << 15,
};

struct cli_arguments {
    const char *command;
    char run_dir[OPTIONS_RUN_DIR];
    bool json, openmetrics, all, follow;
    uint64_t since;
    uint32_t signal;
    bool dot;
    uint32_t revoke;
    const char *server;
    const char *binary;    /* restart */
    const char *partition; /* repartition */
    const char *channel, *file; /* capture */
    uint64_t count, seconds;    /* 0: no limit */
    uint32_t snap;
};

struct cli_command {
    const char *name;
    const char *synopsis; /* after the name */
    const char *summary;
    unsigned options; /* enum cli_option */
    bool takes_server;
    bool takes_channel;
    bool takes_partition;
    int (*run)(const struct cli_arguments *arguments); /* an exit status */
    int (*run_raw)(int argc, char **argv);             /* instead: parses for itself */
};

/* One line on stderr: "bulkhead COMMAND: ...". They return CLI_FAILED and CLI_USAGE. */
int cli_failed(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_wrong(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* CLI_OK, or the exit status after a message; *ret_done: help was printed, there is nothing more to do. */
int cli_parse(const struct cli_command *command, int argc, char **argv, struct cli_arguments *ret_arguments,
              bool *ret_done);
void cli_help(const struct cli_command *command);

/* Makes printable in place what a domain may have written: other bytes become '?'. NULL stays. */
char *cli_printable(char *text);

/* The directory of the running executable, and in it a program's path. 0 or a negative errno. */
int cli_beside(const char *program, char *ret_path, unsigned size) __attribute__((warn_unused_result));

int cli_ps(const struct cli_arguments *arguments);
int cli_stat(const struct cli_arguments *arguments);
int cli_events(const struct cli_arguments *arguments);
int cli_caps(const struct cli_arguments *arguments);
int cli_kill(const struct cli_arguments *arguments);
int cli_restart(const struct cli_arguments *arguments);
int cli_repartition(const struct cli_arguments *arguments);
int cli_down(const struct cli_arguments *arguments);
int cli_audit(const struct cli_arguments *arguments);
int cli_capture(const struct cli_arguments *arguments);
int cli_up(int argc, char **argv);
int cli_lab(int argc, char **argv);

#endif
