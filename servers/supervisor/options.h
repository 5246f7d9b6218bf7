// SPDX-License-Identifier: BSD-2-Clause
/* The options of `bulkhead up` and `bulkhead lab`, which hand them on to the supervisor as they are. */
#ifndef BULKHEAD_SERVERS_SUPERVISOR_OPTIONS_H
#define BULKHEAD_SERVERS_SUPERVISOR_OPTIONS_H

#include <stdint.h>

#include "netdrv/driver.h"
#include "servers/topology/topology.h"

#define OPTIONS_RUN_DIR 88 /* a socket's path has 107 octets: room for the names in it */
#define OPTIONS_DEVICE  16
#define OPTIONS_WIRE_PATH 100 /* a socket's path has 107 octets */
#define OPTIONS_PATH    256
#define OPTIONS_ADDRESSES_MAX (STACK_ADDRESSES_MAX - 1) /* the link-local one is added */
#define OPTIONS_ERROR   192
#define OPTIONS_MTU_LEAST 576
#define OPTIONS_MTU_LEAST6 1280 /* RFC 8200 5 */
#define OPTIONS_MTU_MOST 9000
#define OPTIONS_HANG_LEAST 200   /* ms */
#define OPTIONS_HANG_MOST  60000
#define OPTIONS_PROBE_LEAST 100
#define OPTIONS_PROBE_MOST  600000
#define OPTIONS_USAGE   2 /* exit status of wrong usage */

enum placement {
    PLACEMENT_PACKED, /* all domains on the last allowed CPU */
    PLACEMENT_SPREAD, /* round robin */
    PLACEMENT_NONE,   /* left to the scheduler */
};

struct options {
    struct partition partition;
    enum netdrv_kind driver;
    char device[OPTIONS_DEVICE]; /* name of the TAP interface */
    char wire_path[OPTIONS_WIRE_PATH];
    struct impair_config impair; /* of the wire */
    struct ip_address address[STACK_ADDRESSES_MAX];
    uint8_t prefix_length[STACK_ADDRESSES_MAX];
    uint32_t address_count;
    uint32_t mtu; /* IP octets of a frame; 0: the device's own, 1500 on a wire */
    struct ip_address gateway[2]; /* IPv4, IPv6 */
    struct stack_route route[STACK_ROUTES_MAX];
    uint32_t route_count;
    uint8_t congestion; /* enum tcp_congestion; 0: the default */
    enum stack_dad dad;
    enum stack_ecn ecn;
    enum stack_recovery recovery;
    bool no_commit, no_standby;
    bool no_probe;
    uint32_t probe_ms; /* how often the prober looks; 0: the default */
    uint32_t hang_ms; /* silence after which a domain hangs; 0: the default */
    bool dad_given; /* else what fits the device */
    char run_dir[OPTIONS_RUN_DIR];
    char config[OPTIONS_PATH]; /* files; empty: none */
    char policy[OPTIONS_PATH];
    enum placement placement;
    int ready_fd; /* one octet is written to it once the stack runs; -1 none */
};

/* Reads the options up to the first argument that is none (or past "--"); its index is *ret_rest (argc: none is left).
 * What the command line does not say the file of --config may; then defaults are filled in. 0; 1: --help was printed; or
 * with one line in ret_error -EINVAL: wrong usage, or -EBADMSG: a wrong file. */
int options_parse(struct options *ret, int argc, char **argv, int *ret_rest, char ret_error[OPTIONS_ERROR])
    __attribute__((warn_unused_result));

/* One option by its name, as if the command line had it. 0, -EINVAL with a line in ret_error, or -ENOENT: no such. */
int options_set(struct options *options, const char *name, const char *value, char ret_error[OPTIONS_ERROR])
    __attribute__((warn_unused_result));
/* config.c: all that the file says. 0, or a negative errno with "FILE:LINE: ..." in ret_error. */
int options_read_file(const char *path, struct options *options, char ret_error[OPTIONS_ERROR])
    __attribute__((warn_unused_result));

/* What stands in an error may be anybody's text: one line of printable ASCII is made of it. */
void options_one_line(char *text);

/* $XDG_RUNTIME_DIR/bulkhead, or /run/bulkhead. */
int options_default_run_dir(char ret[OPTIONS_RUN_DIR]) __attribute__((warn_unused_result));

#endif
