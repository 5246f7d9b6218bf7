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
    TRACE_NEXT,    /* one instruction further, or at the next end of a system call */
    TRACE_TIMEOUT, /* it runs */
    TRACE_GONE,    /* it has ended, or another traces it */
};

#define TRACE_WATCHES 4U /* of the processor */
#define TRACE_JOINED  16U

struct guard; /* shared with its process */

struct tracee {
    pid_t pid;
    int memory; /* /proc/PID/mem */
    bool stopped;
    int pending; /* signal that it is given when it goes on */
    int signal;  /* the first that came since this was 0, and where it was then */
    uint64_t signal_at;
    struct guard *guard;
    pid_t guard_pid;
    int guard_pipe;
};

/* Starts the guard and attaches; the process runs on. 0, or a negative errno. */
int trace_open(pid_t pid, struct tracee *ret) __attribute__((warn_unused_result));
/* The same for a thread that is only to be watched: without a guard, and no memory of it is seen. */
int trace_join(pid_t thread, struct tracee *ret) __attribute__((warn_unused_result));
/* Lets go: it runs on, whatever state it was in. */
void trace_close(struct tracee *tracee);
/* TRACE_STOPPED; or what it came upon first, BREAKPOINT or WATCHPOINT, and it is stopped there; or TRACE_GONE. */
enum trace_event trace_stop(struct tracee *tracee);
void trace_go(struct tracee *tracee); /* it is stopped */
/* What happens next, until `deadline_us` of the monotonic clock: TRACE_STOPPED never. */
enum trace_event trace_wait(struct tracee *tracee, uint64_t deadline_us);
/* The same of several, at most TRACE_JOINED + 1; whose event it is in *ret_which. */
enum trace_event trace_wait_any(struct tracee *const *tracee, size_t count, uint64_t deadline_us, size_t *ret_which);
/* It is stopped, and goes one instruction further; without a deadline (0) if that calls no system. TRACE_NEXT,
 * _BREAKPOINT or _WATCHPOINT: it is stopped there; else as trace_wait(). */
enum trace_event trace_step(struct tracee *tracee, uint64_t deadline_us);
/* It is stopped, and goes on to the next beginning or end of a system call, as trace_step(). */
enum trace_event trace_call(struct tracee *tracee, uint64_t deadline_us);

bool trace_read(const struct tracee *tracee, uint64_t address, void *ret, size_t octets);
bool trace_write(const struct tracee *tracee, uint64_t address, const void *bytes, size_t octets);
bool trace_registers(const struct tracee *tracee, struct user_regs_struct *ret);
bool trace_jump(const struct tracee *tracee, uint64_t address);
/* A watchpoint on the aligned eight octets there, read or written; 0: none any more. False: the machine has none. */
bool trace_watch(const struct tracee *tracee, uint64_t address);
/* The same on several, written only. Which of them it is stopped at: trace_watched(), as bits. */
bool trace_watch_writes(const struct tracee *tracee, const uint64_t *address, size_t count);
unsigned trace_watched(const struct tracee *tracee);

/* From now on, if this process ends, what is in `bytes` is written back there. False: too much. */
bool guard_arm(struct tracee *tracee, uint64_t address, const void *bytes, size_t octets);
void guard_disarm(struct tracee *tracee);

uint64_t trace_now_us(void);

#endif
