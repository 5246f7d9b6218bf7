// SPDX-License-Identifier: BSD-2-Clause
/* `bulkhead lab`, in three parts: lab.c outside the lab (options, namespaces, signals), lab_init.c its pid 1, lab_net.c
 * the Linux host's side of the network. */
#ifndef BULKHEAD_SERVERS_CLI_LAB_H
#define BULKHEAD_SERVERS_CLI_LAB_H

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#define LAB_ERROR 256

struct lab {
    char **command;       /* argv of what runs inside */
    char **supervisor;    /* argv of the stack, ending in LAB_SUPERVISOR_OWN free places and a NULL */
    int supervisor_count; /* what it has before those */
    bool as_root;         /* the caller is uid 0 inside */
    bool user_namespace;
    uid_t uid; /* the caller's, outside */
    gid_t gid;
    char device[16];
    int mtu; /* of the device; 0: the default */
    char run_dir[64];
    char folder[PATH_MAX]; /* of the running executable */
    sigset_t mask;         /* the caller's: COMMAND gets it back */
};

#define LAB_SUPERVISOR_FIRST 2 /* --dad optimistic */
#define LAB_SUPERVISOR_OWN 7 /* --run-dir DIR --driver tap:NAME --ready-fd N, and argv's NULL */

/* Runs as pid 1 of the lab, its namespaces made and mapped; does not return. `parent` is the read end of a pipe that
 * gives one octet to begin, and end of file if the parent died before. */
_Noreturn void lab_init(struct lab *lab, int parent);

/* In a fresh network namespace: loopback and the TAP device, which stays when nobody has it open, up, with the host's
 * addresses 10.77.0.1/24 and fd77::1/64 (where the kernel has IPv6 and the MTU, 0 for the default, allows it). /proc
 * has to be the lab's. 0 or a negative errno, and the step that failed in ret_error. */
int lab_net_configure(const char *device, int mtu, uid_t owner, char ret_error[LAB_ERROR])
    __attribute__((warn_unused_result));

#endif
