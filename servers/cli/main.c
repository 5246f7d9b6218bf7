// SPDX-License-Identifier: BSD-2-Clause
/* bulkhead COMMAND ...: the table of commands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "servers/cli/cli.h"

static const struct cli_command commands[] = {
    {"up", "[OPTIONS]",
     "Starts the stack, with --daemon in the background. `bulkhead up --help` lists the other options.",
     .run_raw = cli_up},
    {"down", "[--run-dir DIR]", "Stops the stack and waits until it is gone.", .options = OPTION_RUN_DIR,
     .run = cli_down},
    {"ps", "[--json] [--run-dir DIR]", "Shows the domains, their servers and what they cost.",
     .options = OPTION_RUN_DIR | OPTION_JSON, .run = cli_ps},
    {"stat", "[--all] [--json|--openmetrics] [--run-dir DIR]", "Shows the counters of every server.",
     .options = OPTION_RUN_DIR | OPTION_JSON | OPTION_OPENMETRICS | OPTION_ALL, .run = cli_stat},
    {"events", "[--since N] [--follow] [--json] [--run-dir DIR]", "Shows what happened: starts, deaths, recoveries.",
     .options = OPTION_RUN_DIR | OPTION_JSON | OPTION_FOLLOW | OPTION_SINCE, .run = cli_events},
    {"caps", "[--json|--dot|--revoke ID] [--run-dir DIR]", "Shows every grant, and what it was derived from.",
     .options = OPTION_RUN_DIR | OPTION_JSON | OPTION_DOT | OPTION_REVOKE, .run = cli_caps},
    {"kill", "SERVER [--signal S] [--run-dir DIR]", "Kills the domain of a server; the supervisor restarts it.",
     .options = OPTION_RUN_DIR | OPTION_SIGNAL, .takes_server = true, .run = cli_kill},
    {"restart", "SERVER [--binary FILE] [--run-dir DIR]",
     "Ends the domain of a server in order and starts its next incarnation.",
     .options = OPTION_RUN_DIR | OPTION_BINARY, .takes_server = true, .run = cli_restart},
    {"repartition", "PARTITION [--run-dir DIR]", "Groups the servers of a running stack into other domains.",
     .options = OPTION_RUN_DIR, .takes_partition = true, .run = cli_repartition},
    {"audit", "[--json] [--run-dir DIR]",
     "Compares what the kernel says of every domain with what it was granted; exit status 1 if they differ.",
     .options = OPTION_RUN_DIR | OPTION_JSON, .run = cli_audit},
    {"capture", "CHANNEL -w FILE [--count N] [--seconds S] [--snap N] [--run-dir DIR]",
     "Writes what crosses a channel as pcapng: nic-ip, ip-tcp, ip-udp, tcp-socket or udp-socket.",
     .options = OPTION_RUN_DIR | OPTION_WRITE | OPTION_COUNT | OPTION_SECONDS | OPTION_SNAP, .takes_channel = true,
     .run = cli_capture},
    {"lab", "[UP-OPTIONS] [--as-root] -- COMMAND...",
     "Runs COMMAND on a private Linux host (10.77.0.1) beside a stack of its own (10.77.0.2).", .run_raw = cli_lab},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int help(void)
{
    printf("Usage: bulkhead COMMAND [ARGUMENTS]\nA TCP/IP stack in watertight compartments.\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-11s %s\n", commands[i].name, commands[i].summary);
    printf("\n`bulkhead COMMAND --help` tells more.\n");
    return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "bulkhead: name a command; see `bulkhead --help`\n");
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help();
    const struct cli_command *command = NULL;
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, argv[1]) == 0)
            command = &commands[i];
    if (command == NULL) {
        fprintf(stderr, "bulkhead: no command %s; see `bulkhead --help`\n", cli_printable(argv[1]));
        return CLI_USAGE;
    }
    if (command->run_raw != NULL)
        return command->run_raw(argc - 1, argv + 1);
    struct cli_arguments arguments;
    bool done = false;
    int status = cli_parse(command, argc - 1, argv + 1, &arguments, &done);
    if (status == CLI_OK && !done)
        status = command->run(&arguments);
    if (fflush(stdout) != 0 && status == CLI_OK)
        return cli_failed(command->name, "cannot write the output");
    return status;
}
