// SPDX-License-Identifier: BSD-2-Clause
/* A traced process, and the guard that puts its code right if the tracer dies. x86-64. */
#ifndef BULKHEAD_SERVERS_INJECT_TRACE_H
#define BULKHEAD_SERVERS_INJECT_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#define BREAKPOINT 0xcc /* int3 */

enum trace_event {
    TRACE_STOPPED,    /* as asked */
    TRACE_BREAKPOINT, /* it has run a BREAKPOINT; its program counter is behind it */
    TRACE_WATCHPOINT,
    TRACE_TIMEOUT, /* it runs */
    TRACE_GONE,    /* it has ended, or another traces it */
};

struct guard; /* shared with its process */

struct tracee {
    pid_t pid;
    int memory; /* /proc/PID/mem */
    bool stopped;
    int pending; /* signal that it is given when it goes on */
    struct guard *guard;
    pid_t guard_pid;
    int guard_pipe;
};

/* Starts the guard and attaches; the process runs on. 0, or a negative errno. */
int trace_open(pid_t pid, struct tracee *ret) __attribute__((warn_unused_result));
/* Lets go: it runs on, whatever state it was in. */
void trace_close(struct tracee *tracee);
/* TRACE_STOPPED; or what it came upon first, BREAKPOINT or WATCHPOINT, and it is stopped there; or TRACE_GONE. */
enum trace_event trace_stop(struct tracee *tracee);
void trace_go(struct tracee *tracee); /* it is stopped */
/* What happens next, until `deadline_us` of the monotonic clock: TRACE_STOPPED never. */
enum trace_event trace_wait(struct tracee *tracee, uint64_t deadline_us);

bool trace_read(const struct tracee *tracee, uint64_t address, void *ret, size_t octets);
bool trace_write(const struct tracee *tracee, uint64_t address, const void *bytes, size_t octets);
bool trace_registers(const struct tracee *tracee, struct user_regs_struct *ret);
bool trace_jump(const struct tracee *tracee, uint64_t address);
/* A watchpoint on the aligned eight octets there, read or written; 0: none any more. False: the machine has none. */
bool trace_watch(const struct tracee *tracee, uint64_t address);

/* From now on, if this process ends, what is in `bytes` is written back there. False: too much. */
bool guard_arm(struct tracee *tracee, uint64_t address, const void *bytes, size_t octets);
void guard_disarm(struct tracee *tracee);

uint64_t trace_now_us(void);

#endif
