// SPDX-License-Identifier: BSD-2-Clause
#include "servers/supervisor/options.h"

#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "protocols/ether/ether_wire.h"
#include "protocols/tcp/tcp.h"

#define DEFAULT_PARTITION "factored"
#define DEFAULT_DRIVER    "tap:bh0"
#define DEFAULT_ADDRESS   "10.77.0.2/24"
#define DEFAULT_ADDRESS6  "fd77::2/64"
#define DRIVER_TAP        "tap:"
#define DRIVER_WIRE       "wire:"
#define DEVICE_LETTERS    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

enum key {
    KEY_PARTITION = 256,
    KEY_DRIVER,
    KEY_ADDRESS,
    KEY_MTU,
    KEY_GATEWAY,
    KEY_ROUTE,
    KEY_DAD,
    KEY_ECN,
    KEY_CONGESTION,
    KEY_RECOVERY,
    KEY_STANDBY,
    KEY_HANG,
    KEY_PROBE,
    KEY_COMMIT,
    KEY_RUN_DIR,
    KEY_PLACEMENT,
    KEY_POLICY,
    KEY_LAST_SETTING = KEY_POLICY, /* what follows is for the command line only */
    KEY_CONFIG,
    KEY_READY_FD,
    KEY_HELP
};

static const struct argp_option options[] = {
    {"partition", KEY_PARTITION, "P", 0,
     "which servers share a domain: nic|ip|tcp|udp|socket (the default), any grouping "
     "with +, or factored, monolithic",
     0},
    {"driver", KEY_DRIVER, "tap:NAME|wire:PATH[,loss=1%,...]", 0,
     "the device, by default " DEFAULT_DRIVER "; or a wire to another stack on this machine, perhaps a bad one: what this "
     "side sends meets loss, delay, jitter, reorder, duplicate, corrupt, rate, queue (frames), backlog and burst (octets "
     "at the rate), by chance from seed",
     0},
    {"address", KEY_ADDRESS, "A/LEN", 0, "an address of the stack, by default " DEFAULT_ADDRESS " and " DEFAULT_ADDRESS6 "; may be repeated", 0},
    {"mtu", KEY_MTU, "OCTETS", 0,
     "of the device, 576 to 9000 (a wire: to 2030; below 1280 there is no IPv6), by default what it has", 0},
    {"gateway", KEY_GATEWAY, "A", 0, "where other networks are reached, by default nowhere; one of each family", 0},
    {"route", KEY_ROUTE, "P/LEN,A", 0, "a network that is reached by the gateway A; may be repeated", 0},
    {"dad", KEY_DAD, "on|optimistic|off", 0,
     "address conflict detection: probe before use (the default for an interface that is there already), use at once, "
     "announce and defend (the default for one of our own), or neither",
     0},
    {"ecn", KEY_ECN, "passive|on|off", 0,
     "explicit congestion notification for TCP: for peers that ask for it (the default), asked for too, or never", 0},
    {"congestion", KEY_CONGESTION, "cubic|reno", 0,
     "TCP's congestion control where an application does not choose (TCP_CONGESTION), by default cubic", 0},
    {"recovery", KEY_RECOVERY, "resume|listeners|none", 0,
     "what a restarted server goes on from: all (the default), its listeners but no connection, or nothing", 0},
    {"standby", KEY_STANDBY, "on|off", 0, "keep a started spare of each domain (the default), or start one when it is needed", 0},
    {"hang", KEY_HANG, "MS", 0, "a domain that does not move for so long is replaced: 200 to 60000, by default 1000", 0},
    {"probe", KEY_PROBE, "MS", 0,
     "how often it is tried whether users are served, by default 1000; who beats and serves nobody is replaced; 0: never", 0},
    {"commit", KEY_COMMIT, "on|off", 0,
     "for measurements: off keeps no state for the next incarnation, so that every restart loses what there was", 0},
    {"run-dir", KEY_RUN_DIR, "DIR", 0, "where the sockets are, by default $XDG_RUNTIME_DIR/bulkhead or /run/bulkhead",
     0},
    {"placement", KEY_PLACEMENT, "packed|spread|none", 0, "how domains are put on CPUs, by default packed", 0},
    {"policy", KEY_POLICY, "FILE", 0, "what applications may get, by default everybody everything within quotas", 0},
    {"config", KEY_CONFIG, "FILE", 0, "these options in a file, as in driver = \"tap:bh0\"; the command line wins", 0},
    {"ready-fd", KEY_READY_FD, "N", 0, "descriptor to write an octet to once the stack runs", 0},
    {"help", KEY_HELP, NULL, 0, "this list", -1},
    {0},
};

struct parse {
    struct options *options;
    char *error;
    bool help;
    int rest;
    bool named[KEY_HELP - KEY_PARTITION]; /* given already, by key: the first --address replaces what the file has */
};

static int complain(struct parse *parse, const char *what, const char *value, const char *expected)
{
    snprintf(parse->error, OPTIONS_ERROR, "%s '%.60s': %s", what, value, expected);
    return EINVAL;
}

/* "a.b.c.d" or an IPv6 address. */
static bool address_read(const char *text, struct ip_address *ret)
{
    struct ip_address address = {0};
    if (inet_pton(AF_INET, text, address.octets) == 1)
        address.family = ADDRESS_IP4;
    else if (inet_pton(AF_INET6, text, address.octets) == 1)
        address.family = ADDRESS_IP6;
    else
        return false;
    *ret = address;
    return true;
}

/* "A/LEN", of `length` octets. */
static bool prefix_read(const char *value, size_t length, struct ip_address *ret, uint8_t *ret_length)
{
    char text[INET6_ADDRSTRLEN + 4];
    if (length >= sizeof text)
        return false;
    memcpy(text, value, length);
    text[length] = '\0';
    char *slash = strchr(text, '/'), *end = NULL;
    if (slash == NULL || slash[1] < '0' || slash[1] > '9')
        return false;
    *slash = '\0';
    unsigned long bits = strtoul(slash + 1, &end, 10);
    struct ip_address address;
    if (*end != '\0' || !address_read(text, &address) || bits > (address.family == ADDRESS_IP4 ? 32 : 128))
        return false;
    *ret = address;
    *ret_length = (uint8_t)bits;
    return true;
}

static int address_parse(struct parse *parse, const char *value)
{
    struct options *o = parse->options;
    struct ip_address address;
    uint8_t length;
    if (!prefix_read(value, strlen(value), &address, &length))
        return complain(parse, "--address", value, "write an address and a prefix length, as in " DEFAULT_ADDRESS);
    if (o->address_count == OPTIONS_ADDRESSES_MAX)
        return complain(parse, "--address", value, "too many addresses: at most 7");
    o->address[o->address_count] = address;
    o->prefix_length[o->address_count++] = length;
    return 0;
}

static int mtu_parse(struct parse *parse, const char *value)
{
    char *end = NULL;
    unsigned long octets = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || octets < OPTIONS_MTU_LEAST || octets > OPTIONS_MTU_MOST)
        return complain(parse, "--mtu", value, "write a number of octets from 576 to 9000");
    parse->options->mtu = (uint32_t)octets;
    return 0;
}

static int gateway_parse(struct parse *parse, const char *value)
{
    struct options *o = parse->options;
    struct ip_address address;
    if (!address_read(value, &address))
        return complain(parse, "--gateway", value, "write an IPv4 or IPv6 address");
    struct ip_address *gateway = &o->gateway[address.family == ADDRESS_IP6];
    if (gateway->family != ADDRESS_NONE)
        return complain(parse, "--gateway", value, "there is one of this family already: use --route for more");
    *gateway = address;
    return 0;
}

static int route_parse(struct parse *parse, const char *value)
{
    static const char expected[] = "write a network and its gateway, as in 192.0.2.0/24,10.77.0.1";
    struct options *o = parse->options;
    struct stack_route route = {0};
    const char *comma = strchr(value, ',');
    if (comma == NULL || !prefix_read(value, (size_t)(comma - value), &route.prefix, &route.prefix_length) ||
        !address_read(comma + 1, &route.gateway) || route.gateway.family != route.prefix.family)
        return complain(parse, "--route", value, expected);
    if (o->route_count == STACK_ROUTES_MAX)
        return complain(parse, "--route", value, "too many routes: at most 16");
    o->route[o->route_count++] = route;
    return 0;
}

static int dad_parse(struct parse *parse, const char *value)
{
    static const char *const names[] = {
        [STACK_DAD_ON] = "on", [STACK_DAD_OPTIMISTIC] = "optimistic", [STACK_DAD_OFF] = "off"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(value, names[i]) == 0) {
            parse->options->dad = (enum stack_dad)i;
            parse->options->dad_given = true;
            return 0;
        }
    }
    return complain(parse, "--dad", value, "write on, optimistic or off");
}

static int ecn_parse(struct parse *parse, const char *value)
{
    static const char *const names[] = {
        [STACK_ECN_PASSIVE] = "passive", [STACK_ECN_OFF] = "off", [STACK_ECN_ON] = "on"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(value, names[i]) == 0) {
            parse->options->ecn = (enum stack_ecn)i;
            return 0;
        }
    }
    return complain(parse, "--ecn", value, "write passive, on or off");
}

static int congestion_parse(struct parse *parse, const char *value)
{
    static const char *const names[] = {[TCP_CONGESTION_RENO] = "reno", [TCP_CONGESTION_CUBIC] = "cubic"};
    for (unsigned i = TCP_CONGESTION_RENO; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(value, names[i]) == 0) {
            parse->options->congestion = (uint8_t)i;
            return 0;
        }
    }
    return complain(parse, "--congestion", value, "write cubic or reno");
}

static int recovery_parse(struct parse *parse, const char *value)
{
    static const char *const names[] = {[STACK_RECOVERY_RESUME] = "resume",
                                        [STACK_RECOVERY_LISTENERS] = "listeners",
                                        [STACK_RECOVERY_NONE] = "none"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(value, names[i]) == 0) {
            parse->options->recovery = (enum stack_recovery)i;
            return 0;
        }
    }
    return complain(parse, "--recovery", value, "write resume, listeners or none");
}

static int off_parse(struct parse *parse, const char *name, const char *value, bool *ret_off)
{
    bool off = strcmp(value, "off") == 0;
    if (!off && strcmp(value, "on") != 0)
        return complain(parse, name, value, "write on or off");
    *ret_off = off;
    return 0;
}

static int hang_parse(struct parse *parse, const char *value)
{
    char *end = NULL;
    unsigned long ms = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || ms < OPTIONS_HANG_LEAST || ms > OPTIONS_HANG_MOST)
        return complain(parse, "--hang", value, "write milliseconds, 200 to 60000");
    parse->options->hang_ms = (uint32_t)ms;
    return 0;
}

static int probe_parse(struct parse *parse, const char *value)
{
    char *end = NULL;
    unsigned long ms = strtoul(value, &end, 10);
    bool fits = ms == 0 || (ms >= OPTIONS_PROBE_LEAST && ms <= OPTIONS_PROBE_MOST);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || !fits)
        return complain(parse, "--probe", value, "write milliseconds, 100 to 600000, or 0 for never");
    parse->options->no_probe = ms == 0;
    parse->options->probe_ms = (uint32_t)ms;
    return 0;
}

static int tap_parse(struct parse *parse, const char *value, const char *name)
{
    struct options *o = parse->options;
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof o->device || strspn(name, DEVICE_LETTERS) != length)
        return complain(parse, "--driver", value, "write tap:NAME, NAME at most 15 letters, digits or _ . -");
    o->driver = NETDRV_TAP;
    snprintf(o->device, sizeof o->device, "%s", name);
    return 0;
}

/* PATH[,IMPAIRMENT=VALUE...] */
static int wire_parse(struct parse *parse, const char *value, const char *rest)
{
    struct options *o = parse->options;
    size_t length = strcspn(rest, ",");
    char why[OPTIONS_ERROR / 2];
    if (rest[0] != '/' || length < 2 || length >= sizeof o->wire_path)
        return complain(parse, "--driver", value,
                        "write wire:PATH, PATH absolute, without commas and at most 99 octets, as in wire:/tmp/wire");
    if (!impair_parse(rest + length + (rest[length] == ','), &o->impair, why, sizeof why)) {
        snprintf(parse->error, OPTIONS_ERROR, "--driver wire: %s", why);
        return EINVAL;
    }
    o->driver = NETDRV_WIRE;
    snprintf(o->wire_path, sizeof o->wire_path, "%.*s", (int)length, rest);
    return 0;
}

static int driver_parse(struct parse *parse, const char *value)
{
    if (strncmp(value, DRIVER_TAP, sizeof DRIVER_TAP - 1) == 0)
        return tap_parse(parse, value, value + sizeof DRIVER_TAP - 1);
    if (strncmp(value, DRIVER_WIRE, sizeof DRIVER_WIRE - 1) == 0)
        return wire_parse(parse, value, value + sizeof DRIVER_WIRE - 1);
    return complain(parse, "--driver", value, "write tap:NAME or wire:PATH, as in " DEFAULT_DRIVER " or wire:/tmp/wire");
}

static int run_dir_parse(struct parse *parse, const char *value)
{
    if (value[0] != '/' || value[1] == '\0')
        return complain(parse, "--run-dir", value, "write an absolute path");
    if (strlen(value) >= OPTIONS_RUN_DIR)
        return complain(parse, "--run-dir", value, "the path is too long for sockets in it: at most 87 octets");
    snprintf(parse->options->run_dir, OPTIONS_RUN_DIR, "%s", value);
    return 0;
}

static int placement_parse(struct parse *parse, const char *value)
{
    static const char *const names[] = {
        [PLACEMENT_PACKED] = "packed", [PLACEMENT_SPREAD] = "spread", [PLACEMENT_NONE] = "none"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(value, names[i]) == 0) {
            parse->options->placement = (enum placement)i;
            return 0;
        }
    }
    return complain(parse, "--placement", value, "write packed, spread or none");
}

static int ready_fd_parse(struct parse *parse, const char *value)
{
    char *end = NULL;
    unsigned long fd = strtoul(value, &end, 10);
    struct stat st;
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || fd > 65535 || fstat((int)fd, &st) < 0)
        return complain(parse, "--ready-fd", value, "write the number of an open descriptor");
    parse->options->ready_fd = (int)fd;
    return 0;
}

static int path_parse(struct parse *parse, const char *name, const char *value, char ret[OPTIONS_PATH])
{
    if (value[0] == '\0' || strlen(value) >= OPTIONS_PATH)
        return complain(parse, name, value, "write the name of a file, at most 255 octets");
    snprintf(ret, OPTIONS_PATH, "%s", value);
    return 0;
}

/* The first of an option that may be repeated. */
static void lists_clear(struct parse *parse, int key)
{
    struct options *o = parse->options;
    if (parse->named[key - KEY_PARTITION])
        return;
    parse->named[key - KEY_PARTITION] = true;
    if (key == KEY_ADDRESS)
        o->address_count = 0;
    else if (key == KEY_ROUTE)
        o->route_count = 0;
    else if (key == KEY_GATEWAY)
        o->gateway[0] = o->gateway[1] = (struct ip_address){.family = ADDRESS_NONE};
}

/* What a file may say too. */
static int setting_parse(struct parse *parse, int key, const char *value)
{
    struct options *o = parse->options;
    lists_clear(parse, key);
    switch (key) {
    case KEY_PARTITION:
        return partition_parse(value, &o->partition, parse->error, OPTIONS_ERROR) < 0 ? EINVAL : 0;
    case KEY_DRIVER:
        return driver_parse(parse, value);
    case KEY_ADDRESS:
        return address_parse(parse, value);
    case KEY_MTU:
        return mtu_parse(parse, value);
    case KEY_GATEWAY:
        return gateway_parse(parse, value);
    case KEY_ROUTE:
        return route_parse(parse, value);
    case KEY_DAD:
        return dad_parse(parse, value);
    case KEY_ECN:
        return ecn_parse(parse, value);
    case KEY_CONGESTION:
        return congestion_parse(parse, value);
    case KEY_RECOVERY:
        return recovery_parse(parse, value);
    case KEY_STANDBY:
        return off_parse(parse, "--standby", value, &o->no_standby);
    case KEY_COMMIT:
        return off_parse(parse, "--commit", value, &o->no_commit);
    case KEY_HANG:
        return hang_parse(parse, value);
    case KEY_PROBE:
        return probe_parse(parse, value);
    case KEY_RUN_DIR:
        return run_dir_parse(parse, value);
    case KEY_PLACEMENT:
        return placement_parse(parse, value);
    default:
        return path_parse(parse, "--policy", value, o->policy);
    }
}

static error_t option_parse(int key, char *value, struct argp_state *state)
{
    struct parse *parse = state->input;
    if (key >= KEY_PARTITION && key <= KEY_LAST_SETTING)
        return setting_parse(parse, key, value);
    switch (key) {
    case KEY_CONFIG:
        return path_parse(parse, "--config", value, parse->options->config);
    case KEY_READY_FD:
        return ready_fd_parse(parse, value);
    case KEY_HELP:
        argp_help(state->root_argp, stdout, ARGP_HELP_STD_HELP & ~(unsigned)ARGP_HELP_EXIT_OK, state->name);
        parse->help = true;
        return ECANCELED;
    case ARGP_KEY_ARG: /* the first argument that is no option: what follows is the caller's */
        parse->rest = state->next - 1;
        state->next = state->argc;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {options, option_parse, NULL, "A TCP/IP stack in watertight compartments.",
                                 NULL,    NULL,         NULL};

int options_default_run_dir(char ret[OPTIONS_RUN_DIR])
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    if (base == NULL || base[0] != '/')
        base = "/run";
    return snprintf(ret, OPTIONS_RUN_DIR, "%s/bulkhead", base) >= OPTIONS_RUN_DIR ? -EINVAL : 0;
}

static bool ip6_fits(const struct options *o)
{
    return o->mtu == 0 || o->mtu >= OPTIONS_MTU_LEAST6;
}

static int mtu_check(struct parse *parse)
{
    const struct options *o = parse->options;
    char value[12];
    snprintf(value, sizeof value, "%u", o->mtu);
    if (o->driver == NETDRV_WIRE && o->mtu > FRAME_OCTETS_MAX - sizeof(struct ether_wire))
        return complain(parse, "--mtu", value, "a wire takes at most 2030");
    for (uint32_t i = 0; i < o->address_count && !ip6_fits(o); i++) {
        if (o->address[i].family == ADDRESS_IP6)
            return complain(parse, "--mtu", value, "IPv6 wants 1280: leave the IPv6 --address out");
    }
    return 0;
}

static int defaults_fill(struct parse *parse)
{
    struct options *o = parse->options;
    int result = 0;
    if (o->partition.count == 0)
        result = partition_parse(DEFAULT_PARTITION, &o->partition, parse->error, OPTIONS_ERROR);
    if (result == 0 && o->device[0] == '\0' && o->wire_path[0] == '\0')
        result = driver_parse(parse, DEFAULT_DRIVER);
    if (result == 0 && o->address_count == 0) {
        result = address_parse(parse, DEFAULT_ADDRESS);
        if (result == 0 && ip6_fits(o))
            result = address_parse(parse, DEFAULT_ADDRESS6);
    }
    if (result == 0)
        result = mtu_check(parse);
    if (result == 0 && o->run_dir[0] == '\0' && options_default_run_dir(o->run_dir) < 0)
        result = complain(parse, "XDG_RUNTIME_DIR", getenv("XDG_RUNTIME_DIR"), "too long: give --run-dir");
    return result;
}

void options_one_line(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~')
            *text = '?';
    }
}

int options_set(struct options *options_to, const char *name, const char *value, char ret_error[OPTIONS_ERROR])
{
    struct parse parse = {.options = options_to, .error = ret_error};
    memset(parse.named, true, sizeof parse.named); /* values of one setting add up */
    for (const struct argp_option *o = options; o->name != NULL; o++) {
        if (strcmp(o->name, name) == 0 && o->key <= KEY_LAST_SETTING)
            return -setting_parse(&parse, o->key, value);
    }
    return -ENOENT;
}

/* argp's own messages have two lines and its own exit: neither is wanted. 0, 1: help was printed, -EINVAL. */
static int command_line_read(struct parse *parse, int argc, char **argv)
{
    int index = 0;
    parse->error[0] = '\0';
    error_t error =
        argp_parse(&argp, argc, argv, ARGP_IN_ORDER | ARGP_NO_ERRS | ARGP_NO_HELP | ARGP_NO_EXIT, &index, parse);
    if (parse->help)
        return 1;
    if (error == 0)
        return 0;
    int at = index > 0 && index <= argc ? index - 1 : argc - 1;
    while (at > 1 && argv[at][0] != '-')
        at--;
    if (parse->error[0] == '\0')
        snprintf(parse->error, OPTIONS_ERROR, "'%.60s' is no option here or lacks its value: see --help", argv[at]);
    return -EINVAL;
}

int options_parse(struct options *ret, int argc, char **argv, int *ret_rest, char ret_error[OPTIONS_ERROR])
{
    struct options parsed = {.ready_fd = -1}, both = parsed;
    struct parse parse = {.options = &parsed, .error = ret_error, .rest = argc};
    int result = command_line_read(&parse, argc, argv);
    if (result == 0 && parsed.config[0] != '\0') { /* the file first, then the command line over it */
        struct parse again = {.options = &both, .error = ret_error, .rest = argc};
        result = options_read_file(parsed.config, &both, ret_error) < 0 ? -EBADMSG : 0;
        if (result == 0)
            result = command_line_read(&again, argc, argv);
        parsed = both;
    }
    if (result == 0)
        result = defaults_fill(&parse) != 0 ? -EINVAL : 0;
    if (result < 0)
        options_one_line(ret_error);
    if (result != 0)
        return result > 0 ? 1 : result == -EBADMSG ? -EBADMSG : -EINVAL;
    *ret_rest = parse.rest;
    *ret = parsed;
    return 0;
}
