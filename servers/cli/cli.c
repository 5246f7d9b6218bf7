// SPDX-License-Identifier: BSD-2-Clause
#include "servers/cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "ipc/capture.h"

#define SECONDS_MAX 1000000000U

static void complain(const char *command, const char *format, va_list values)
{
    char line[512];
    vsnprintf(line, sizeof(line), format, values);
    fprintf(stderr, "bulkhead %s: %s\n", command, cli_printable(line));
}

int cli_failed(const char *command, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    complain(command, format, values);
    va_end(values);
    return CLI_FAILED;
}

int cli_wrong(const char *command, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    complain(command, format, values);
    va_end(values);
    return CLI_USAGE;
}

char *cli_printable(char *text)
{
    for (char *c = text; c != NULL && *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return text;
}

int cli_beside(const char *program, char *ret_path, unsigned size)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length < 0)
        return -errno;
    self[length] = '\0';
    *strrchr(self, '/') = '\0'; /* the kernel's word: absolute */
    int written = snprintf(ret_path, size, "%s%s%s", self, program[0] == '\0' ? "" : "/", program);
    return written >= (int)size ? -ENAMETOOLONG : 0;
}

static const struct {
    const char *name;
    enum cli_option option;
    int has_argument;
    const char *help;
} options_known[] = {
    {"run-dir", OPTION_RUN_DIR, required_argument,
     "--run-dir DIR    the stack's run directory (else BULKHEAD_RUN_DIR, else the default)"},
    {"json", OPTION_JSON, no_argument, "--json           JSON instead of text"},
    {"openmetrics", OPTION_OPENMETRICS, no_argument, "--openmetrics    OpenMetrics text"},
    {"all", OPTION_ALL, no_argument, "--all            also the counters that are zero"},
    {"follow", OPTION_FOLLOW, no_argument,
     "--follow         go on with new events; with --json one JSON document a line"},
    {"since", OPTION_SINCE, required_argument, "--since N        only events with a number above N"},
    {"signal", OPTION_SIGNAL, required_argument,
     "--signal S       name or number of the signal to die of (default KILL)"},
    {"write", OPTION_WRITE, required_argument, "-w, --write FILE where to; - is standard output"},
    {"count", OPTION_COUNT, required_argument, "--count N        ends after so many"},
    {"seconds", OPTION_SECONDS, required_argument, "--seconds S      ends after so long"},
    {"snap", OPTION_SNAP, required_argument, "--snap N         octets of each at most (default: all of it)"},
    {"dot", OPTION_DOT, no_argument, "--dot            a graph for `dot -Tpng`: boxes are holders, arrows grants"},
    {"revoke", OPTION_REVOKE, required_argument, "--revoke ID      take this entry of a table back, by its ID"},
    {"binary", OPTION_BINARY, required_argument,
     "--binary FILE    what it runs from now on; one that does not fit is refused, and nothing happens"},
};

#define OPTIONS_KNOWN (sizeof(options_known) / sizeof(options_known[0]))

void cli_help(const struct cli_command *command)
{
    printf("Usage: bulkhead %s %s\n%s\n\n", command->name, command->synopsis, command->summary);
    for (size_t i = 0; i < OPTIONS_KNOWN; i++)
        if ((command->options & options_known[i].option) != 0)
            printf("  %s\n", options_known[i].help);
    printf("  --help           this\n");
}

static bool number_parse(const char *text, uint64_t limit, uint64_t *ret_number)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number > limit)
        return false;
    *ret_number = number;
    return true;
}

static bool signal_parse(const char *text, uint32_t *ret_signal)
{
    uint64_t number = 0;
    if (number_parse(text, (uint64_t)SIGRTMAX, &number)) {
        *ret_signal = (uint32_t)number;
        return number > 0;
    }
    if (strncasecmp(text, "SIG", 3) == 0)
        text += 3;
    for (int signal = 1; signal < NSIG; signal++) {
        const char *name = sigabbrev_np(signal);
        if (name != NULL && strcasecmp(name, text) == 0) {
            *ret_signal = (uint32_t)signal;
            return true;
        }
    }
    return false;
}

/* NULL, or what is wrong with this option's value. */
static const char *option_take(struct cli_arguments *arguments, enum cli_option option, const char *value)
{
    switch (option) {
    case OPTION_RUN_DIR:
        if (value[0] != '/' || strlen(value) >= sizeof(arguments->run_dir))
            return "--run-dir needs an absolute path of at most 87 octets";
        strcpy(arguments->run_dir, value);
        return NULL;
    case OPTION_JSON:
        arguments->json = true;
        return NULL;
    case OPTION_OPENMETRICS:
        arguments->openmetrics = true;
        return NULL;
    case OPTION_ALL:
        arguments->all = true;
        return NULL;
    case OPTION_FOLLOW:
        arguments->follow = true;
        return NULL;
    case OPTION_SINCE:
        return number_parse(value, UINT64_MAX, &arguments->since) ? NULL : "--since needs an event's number, such as 0";
    case OPTION_WRITE:
        arguments->file = value;
        return NULL;
    case OPTION_COUNT:
        return number_parse(value, UINT64_MAX, &arguments->count) && arguments->count > 0
                   ? NULL
                   : "--count needs a number of packets, such as 10";
    case OPTION_SECONDS:
        return number_parse(value, SECONDS_MAX, &arguments->seconds) && arguments->seconds > 0
                   ? NULL
                   : "--seconds needs a number of seconds, such as 10";
    case OPTION_SNAP: {
        uint64_t snap = 0;
        if (!number_parse(value, CAPTURE_SNAP_MAX, &snap) || snap == 0)
            return "--snap needs a number of octets from 1 to 131072";
        arguments->snap = (uint32_t)snap;
        return NULL;
    }
    case OPTION_DOT:
        arguments->dot = true;
        return NULL;
    case OPTION_REVOKE: {
        uint64_t id = 0;
        if (!number_parse(value, UINT32_MAX, &id) || id == 0)
            return "--revoke needs the ID of a grant, as `bulkhead caps` shows it";
        arguments->revoke = (uint32_t)id;
        return NULL;
    }
    case OPTION_BINARY:
        arguments->binary = value;
        return NULL;
    case OPTION_SIGNAL:
        return signal_parse(value, &arguments->signal) ? NULL
                                                       : "--signal needs a signal's name or number, such as SEGV or 11";
    }
    return NULL;
}

static int run_dir_default(struct cli_arguments *arguments)
{
    const char *chosen = getenv("BULKHEAD_RUN_DIR");
    const char *wrong = NULL;
    if (chosen != NULL && chosen[0] != '\0')
        wrong = option_take(arguments, OPTION_RUN_DIR, chosen);
    else if (options_default_run_dir(arguments->run_dir) < 0)
        wrong = "XDG_RUNTIME_DIR is too long; give --run-dir";
    return wrong == NULL ? CLI_OK : cli_wrong(arguments->command, "%s", wrong);
}

static const char *const server_names[] = {"nic", "ip", "tcp", "udp", "socket", "manage"};

/* A server, or a domain by its servers' names joined with '+'. */
static bool server_known(const char *name)
{
    for (;;) {
        size_t length = strcspn(name, "+");
        bool known = false;
        for (size_t i = 0; i < sizeof(server_names) / sizeof(server_names[0]); i++)
            known = known || (strlen(server_names[i]) == length && strncmp(server_names[i], name, length) == 0);
        if (!known || name[length] == '\0')
            return known;
        name += length + 1;
    }
}

static int operands_take(const struct cli_command *command, int count, char **operand, struct cli_arguments *arguments)
{
    int most = command->takes_server || command->takes_channel || command->takes_partition;
    if (count > most)
        return cli_wrong(command->name, "unexpected argument %s; see `bulkhead %s --help`", operand[most],
                         command->name);
    if (command->takes_channel && count == 0)
        return cli_wrong(command->name, "name a channel: nic-ip, ip-tcp, ip-udp, tcp-socket or udp-socket");
    if (command->takes_channel)
        arguments->channel = operand[0];
    if (command->takes_partition && count == 0)
        return cli_wrong(command->name, "name a partition: factored, monolithic, or as nic+ip|tcp|udp+socket");
    if (command->takes_partition)
        arguments->partition = operand[0];
    if (!command->takes_server)
        return CLI_OK;
    if (count == 0)
        return cli_wrong(command->name, "name a server: nic, ip, tcp, udp, socket or manage");
    if (!server_known(operand[0]))
        return cli_wrong(command->name, "no server %s; name one of nic, ip, tcp, udp, socket, manage", operand[0]);
    arguments->server = operand[0];
    return CLI_OK;
}

static int options_take(const struct cli_command *command, int argc, char **argv, struct cli_arguments *arguments,
                        bool *ret_done)
{
    struct option accepted[OPTIONS_KNOWN + 2] = {{"help", no_argument, NULL, 'h'}};
    size_t count = 1;
    for (size_t i = 0; i < OPTIONS_KNOWN; i++)
        if ((command->options & options_known[i].option) != 0)
            accepted[count++] = (struct option){options_known[i].name, options_known[i].has_argument, NULL,
                                                (int)(options_known[i].option | 1 << 16)};
    const char *letters = (command->options & OPTION_WRITE) != 0 ? ":hw:" : ":h";
    opterr = 0;
    optind = 1;
    for (int found; (found = getopt_long(argc, argv, letters, accepted, NULL)) != -1;) {
        if (found == 'h') {
            cli_help(command);
            *ret_done = true;
            return CLI_OK;
        }
        if (found == ':')
            return cli_wrong(command->name, "%s needs a value; see `bulkhead %s --help`", argv[optind - 1],
                             command->name);
        if (found == '?')
            return cli_wrong(command->name, "unknown option %s; see `bulkhead %s --help`", argv[optind - 1],
                             command->name);
        enum cli_option option = found == 'w' ? OPTION_WRITE : (enum cli_option)(found & 0xffff);
        const char *wrong = option_take(arguments, option, optarg);
        if (wrong != NULL)
            return cli_wrong(command->name, "%s", wrong);
    }
    return CLI_OK;
}

int cli_parse(const struct cli_command *command, int argc, char **argv, struct cli_arguments *ret_arguments,
              bool *ret_done)
{
    *ret_done = false;
    *ret_arguments = (struct cli_arguments){.command = command->name, .signal = SIGKILL, .snap = CAPTURE_SNAP_MAX};
    int status = options_take(command, argc, argv, ret_arguments, ret_done);
    if (status != CLI_OK || *ret_done)
        return status;
    if (ret_arguments->json && ret_arguments->openmetrics)
        return cli_wrong(command->name, "choose one of --json and --openmetrics");
    if (ret_arguments->run_dir[0] == '\0')
        status = run_dir_default(ret_arguments);
    if (status != CLI_OK)
        return status;
    return operands_take(command, argc - optind, argv + optind, ret_arguments);
}
