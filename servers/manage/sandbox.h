// SPDX-License-Identifier: BSD-2-Clause
/* The walls of the manage server. Unlike a server that carries packets it binds paths and has threads, so its walls go
 * up in two steps: the file system before the first socket (and thread), the system calls after the last. */
#ifndef BULKHEAD_SERVERS_MANAGE_SANDBOX_H
#define BULKHEAD_SERVERS_MANAGE_SANDBOX_H

/* Makes run_dir (absolute) the only mount but for an empty read-only root, the working directory "/"; drops every
 * capability, forbids new privileges, core dumps and tracing, closes descriptors above `keep_last`. Makes a mount
 * namespace of its own first (and a user namespace, without CAP_SYS_ADMIN), so that no other sees a change. 0 or a
 * negative errno. */
int sandbox_confine(const char *run_dir, int keep_last) __attribute__((warn_unused_result));

/* Allows every thread of the process only the system calls that nanomsg and the loop need from here on; another kills
 * the process. 0 or a negative errno. */
int sandbox_filter(void) __attribute__((warn_unused_result));

#endif
