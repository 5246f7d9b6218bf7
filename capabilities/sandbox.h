// SPDX-License-Identifier: BSD-2-Clause
/* What a domain's process does to itself before it reads a byte that anybody but the supervisor wrote (DESIGN rule 2).
 * It is PID 1 of fresh user, network, mount, PID, IPC and UTS namespaces when it comes here. */
#ifndef BULKHEAD_CAPABILITIES_SANDBOX_H
#define BULKHEAD_CAPABILITIES_SANDBOX_H

#include <signal.h>

#define SANDBOX_EXIT_SIGNAL 128 /* exit status of a domain that died of signal n: this + n */

struct sandbox_failure {
    const char *step; /* what was refused */
    int error;        /* errno value */
};

/* The signals that a domain may die of end it with status SANDBOX_EXIT_SIGNAL + signal, handled on a stack of their
 * own: a PID 1 ignores signals from outside that have no handler. */
void sandbox_handle_signals(void);
/* What a dying domain may still say: called in the handler, on its stack, once; then the process ends. */
typedef void sandbox_reporter(int signo, const siginfo_t *info, const void *context);
void sandbox_last_words(sandbox_reporter *report);
/* Gives up everything that was not granted: file systems, capabilities, limits, new privileges; last the filter in
 * `filter_fd` (struct sock_filter[], to be closed by the caller). There is no way back and none to go on after a
 * failure. 0, or a negative errno with *ret_failure set. */
int sandbox_enter(int filter_fd, struct sandbox_failure *ret_failure) __attribute__((warn_unused_result));

#endif
