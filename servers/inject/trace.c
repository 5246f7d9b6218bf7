// SPDX-License-Identifier: BSD-2-Clause
/* Theory of operation. The process is seized, not attached to, so that it is never stopped for longer than it takes to
 * change a few octets; its signals are handed on as they come. While a BREAKPOINT stands in its code, a second process
 * of ours, the guard, holds the original octets in memory that both map, and waits on a pipe for the tracer's end: if
 * that comes while it is armed, the guard seizes the process itself, writes them back and lets go. So a tracer that is
 * killed at any moment leaves no BREAKPOINT behind (but one that it was just serving: that kills the process, by
 * SIGTRAP). */
#include "servers/inject/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GUARD_OCTETS   (4U << 20)
#define SEIZE_TRIES    200 /* the kernel takes a moment to let go of a dead tracer's */
#define SEIZE_WAIT_US  5000
#define SI_INT3        0x80 /* SI_KERNEL: what x86 says of int3 */
#define DEBUG(n)       (offsetof(struct user, u_debugreg) + (n) * sizeof(long))
#define DEBUG_WRITE    1UL /* of register 7, for each watchpoint */
#define DEBUG_ACCESS   3UL
#define DEBUG_OCTETS_8 8UL
#define POLL_NS        200000
#define TRACE_CALL     0x80 /* with SIGTRAP: PTRACE_O_TRACESYSGOOD */

struct guard {
    uint32_t armed;
    uint64_t address, octets;
    uint8_t bytes[GUARD_OCTETS];
};

uint64_t trace_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- memory and registers ---- */

static int memory_open(pid_t pid)
{
    char path[48];
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

bool trace_read(const struct tracee *tracee, uint64_t address, void *ret, size_t octets)
{
    return pread(tracee->memory, ret, octets, (off_t)address) == (ssize_t)octets;
}

bool trace_write(const struct tracee *tracee, uint64_t address, const void *bytes, size_t octets)
{
    return pwrite(tracee->memory, bytes, octets, (off_t)address) == (ssize_t)octets;
}

bool trace_registers(const struct tracee *tracee, struct user_regs_struct *ret)
{
    return ptrace(PTRACE_GETREGS, tracee->pid, NULL, ret) == 0;
}

bool trace_jump(const struct tracee *tracee, uint64_t address)
{
    return ptrace(PTRACE_POKEUSER, tracee->pid, offsetof(struct user, regs.rip), address) == 0;
}

/* Debug registers 0.. watch `address`, all of them for `access` (bits as in register 7) to eight octets. */
static bool watch(const struct tracee *tracee, const uint64_t *address, size_t count, unsigned long access)
{
    unsigned long control = 0;
    if (ptrace(PTRACE_POKEUSER, tracee->pid, DEBUG(7), 0UL) != 0 || count > TRACE_WATCHES)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (ptrace(PTRACE_POKEUSER, tracee->pid, DEBUG(i), address[i]) != 0)
            return false;
        control |= 1UL << 2 * i | (access | DEBUG_OCTETS_8) << (16 + 4 * i);
    }
    return count == 0 || (ptrace(PTRACE_POKEUSER, tracee->pid, DEBUG(6), 0UL) == 0 &&
                          ptrace(PTRACE_POKEUSER, tracee->pid, DEBUG(7), control) == 0);
}

bool trace_watch(const struct tracee *tracee, uint64_t address)
{
    return watch(tracee, &address, address != 0, DEBUG_ACCESS);
}

bool trace_watch_writes(const struct tracee *tracee, const uint64_t *address, size_t count)
{
    return watch(tracee, address, count, DEBUG_WRITE);
}

unsigned trace_watched(const struct tracee *tracee)
{
    errno = 0;
    long status = ptrace(PTRACE_PEEKUSER, tracee->pid, DEBUG(6), NULL);
    return errno != 0 ? 0 : (unsigned)status & ((1U << TRACE_WATCHES) - 1);
}

/* ---- the guard ---- */

static bool is_ours(const struct guard *guard, uint64_t pc)
{
    return pc > guard->address && pc - guard->address <= guard->octets;
}

static void guard_repair(struct tracee *tracee)
{
    struct user_regs_struct registers;
    int result = -1;
    for (int i = 0; i < SEIZE_TRIES && result != 0; i++) {
        result = (int)ptrace(PTRACE_SEIZE, tracee->pid, NULL, 0UL);
        if (result != 0 && errno == ESRCH)
            return;
        if (result != 0)
            usleep(SEIZE_WAIT_US);
    }
    enum trace_event event = result == 0 ? trace_stop(tracee) : TRACE_GONE;
    if (event == TRACE_GONE ||
        !trace_write(tracee, tracee->guard->address, tracee->guard->bytes, tracee->guard->octets))
        return;
    if (event == TRACE_BREAKPOINT && trace_registers(tracee, &registers) && is_ours(tracee->guard, registers.rip))
        trace_jump(tracee, registers.rip - 1);
    trace_watch(tracee, 0);
    ptrace(PTRACE_DETACH, tracee->pid, NULL, 0UL);
}

static void __attribute__((noreturn)) guard_run(struct tracee *tracee, int pipe)
{
    char octet;
    ssize_t n;
    do
        n = read(pipe, &octet, 1); /* nobody writes: it ends when the tracer does */
    while (n < 0 && errno == EINTR);
    if (__atomic_load_n(&tracee->guard->armed, __ATOMIC_ACQUIRE) != 0)
        guard_repair(tracee);
    _exit(0);
}

static int guard_start(struct tracee *tracee)
{
    int ends[2];
    tracee->guard = mmap(NULL, sizeof *tracee->guard, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tracee->guard == MAP_FAILED || pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    tracee->guard_pid = fork();
    if (tracee->guard_pid == 0) {
        close(ends[1]);
        guard_run(tracee, ends[0]);
    }
    close(ends[0]);
    tracee->guard_pipe = ends[1];
    return tracee->guard_pid < 0 ? -errno : 0;
}

bool guard_arm(struct tracee *tracee, uint64_t address, const void *bytes, size_t octets)
{
    if (octets > GUARD_OCTETS)
        return false;
    memcpy(tracee->guard->bytes, bytes, octets);
    tracee->guard->address = address;
    tracee->guard->octets = octets;
    __atomic_store_n(&tracee->guard->armed, 1, __ATOMIC_RELEASE);
    return true;
}

void guard_disarm(struct tracee *tracee)
{
    __atomic_store_n(&tracee->guard->armed, 0, __ATOMIC_RELEASE);
}

/* ---- stopping and going on ---- */

int trace_open(pid_t pid, struct tracee *ret)
{
    sigset_t child;
    *ret = (struct tracee){.pid = pid, .guard_pipe = -1};
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL); /* waited for */
    ret->memory = memory_open(pid);
    if (ret->memory < 0)
        return ret->memory;
    int result = guard_start(ret);
    if (result == 0 && ptrace(PTRACE_SEIZE, pid, NULL, 0UL) != 0)
        result = -errno;
    return result;
}

int trace_join(pid_t thread, struct tracee *ret)
{
    *ret = (struct tracee){.pid = thread, .memory = -1, .guard_pipe = -1};
    return ptrace(PTRACE_SEIZE, thread, NULL, 0UL) != 0 ? -errno : 0;
}

void trace_close(struct tracee *tracee)
{
    enum trace_event event = trace_stop(tracee);
    if (event != TRACE_GONE) {
        trace_watch(tracee, 0);
        if (event == TRACE_BREAKPOINT) /* none of ours: those are gone by now */
            tracee->pending = SIGTRAP;
        ptrace(PTRACE_DETACH, tracee->pid, NULL, (long)tracee->pending);
    }
    if (tracee->guard == NULL)
        return;
    guard_disarm(tracee);
    close(tracee->guard_pipe);
    waitpid(tracee->guard_pid, NULL, 0);
}

void trace_go(struct tracee *tracee)
{
    ptrace(PTRACE_CONT, tracee->pid, NULL, (long)tracee->pending);
    tracee->pending = 0;
    tracee->stopped = false;
}

static bool is_group_stop(int signo)
{
    return signo == SIGSTOP || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
}

/* What a stop means. TRACE_TIMEOUT: nothing to us; it is still stopped, `pending` is set. */
static enum trace_event stop_read(struct tracee *tracee, int status)
{
    siginfo_t info;
    int signo = WSTOPSIG(status);
    if (status >> 16 == PTRACE_EVENT_STOP)
        return TRACE_STOPPED;
    if (signo == SIGTRAP && ptrace(PTRACE_GETSIGINFO, tracee->pid, NULL, &info) == 0) {
        if (info.si_code == SI_INT3)
            return TRACE_BREAKPOINT;
        if (info.si_code == TRAP_HWBKPT)
            return TRACE_WATCHPOINT;
    }
    struct user_regs_struct registers;
    tracee->pending = signo;
    if (tracee->signal == 0 && trace_registers(tracee, &registers)) {
        tracee->signal = signo;
        tracee->signal_at = registers.rip;
    }
    return TRACE_TIMEOUT;
}

enum trace_event trace_stop(struct tracee *tracee)
{
    int status = 0;
    if (tracee->stopped)
        return TRACE_STOPPED;
    if (ptrace(PTRACE_INTERRUPT, tracee->pid, NULL, NULL) != 0 && errno == ESRCH)
        return TRACE_GONE;
    for (;;) {
        pid_t pid = waitpid(tracee->pid, &status, __WALL);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0 || !WIFSTOPPED(status))
            return TRACE_GONE;
        enum trace_event event = stop_read(tracee, status);
        tracee->stopped = true;
        if (event != TRACE_TIMEOUT)
            return event;
        trace_go(tracee);
    }
}

/* True: something that the caller waits for. */
static bool stop_serve(struct tracee *tracee, int status, enum trace_event *ret)
{
    if (!WIFSTOPPED(status)) {
        *ret = TRACE_GONE;
        return true;
    }
    *ret = stop_read(tracee, status);
    tracee->stopped = true;
    if (*ret == TRACE_STOPPED && is_group_stop(WSTOPSIG(status)))
        tracee->stopped = ptrace(PTRACE_LISTEN, tracee->pid, NULL, NULL) != 0; /* who stopped it wants it to stay so */
    else if (*ret == TRACE_STOPPED || *ret == TRACE_TIMEOUT)
        trace_go(tracee);
    else
        return true;
    return false;
}

enum trace_event trace_wait(struct tracee *tracee, uint64_t deadline_us)
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    for (;;) {
        int status = 0;
        enum trace_event event;
        pid_t pid = waitpid(tracee->pid, &status, __WALL | WNOHANG);
        if (pid < 0 && errno != EINTR)
            return TRACE_GONE;
        if (pid > 0 && stop_serve(tracee, status, &event))
            return event;
        if (pid > 0)
            continue;
        uint64_t now = trace_now_us();
        if (now >= deadline_us)
            return TRACE_TIMEOUT;
        struct timespec left = {(time_t)((deadline_us - now) / 1000000), (long)((deadline_us - now) % 1000000) * 1000};
        sigtimedwait(&child, NULL, &left);
    }
}

enum trace_event trace_wait_any(struct tracee *const *tracee, size_t count, uint64_t deadline_us, size_t *ret_which)
{
    static const struct timespec pause = {0, POLL_NS};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    for (;;) {
        for (size_t i = 0; i < count; i++) {
            enum trace_event event = trace_wait(tracee[i], 0);
            *ret_which = i;
            if (event != TRACE_TIMEOUT)
                return event;
        }
        if (trace_now_us() >= deadline_us)
            return TRACE_TIMEOUT;
        sigtimedwait(&child, NULL, &pause);
    }
}

/* ---- a little further ---- */

/* What the stop after a step is; TRACE_TIMEOUT: something else, on which it is to go on. */
static enum trace_event step_read(struct tracee *tracee, int status)
{
    if (!WIFSTOPPED(status))
        return TRACE_GONE;
    tracee->stopped = true;
    if (WSTOPSIG(status) == (SIGTRAP | TRACE_CALL))
        return TRACE_NEXT;
    enum trace_event event = stop_read(tracee, status);
    if (event == TRACE_TIMEOUT && tracee->pending == SIGTRAP) { /* TRAP_TRACE, or none of its own behind a call */
        tracee->pending = 0;
        return TRACE_NEXT;
    }
    return event == TRACE_STOPPED ? TRACE_TIMEOUT : event;
}

static enum trace_event go_to(struct tracee *tracee, enum __ptrace_request how, uint64_t deadline_us)
{
    static const struct timespec pause = {0, POLL_NS};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    for (;;) {
        if (tracee->stopped && ptrace(how, tracee->pid, NULL, (long)tracee->pending) != 0)
            return TRACE_GONE;
        tracee->pending = 0;
        tracee->stopped = false;
        int status = 0;
        pid_t pid = waitpid(tracee->pid, &status, deadline_us == 0 ? __WALL : __WALL | WNOHANG);
        if (pid < 0 && errno != EINTR)
            return TRACE_GONE;
        enum trace_event event = pid > 0 ? step_read(tracee, status) : TRACE_TIMEOUT;
        if (event != TRACE_TIMEOUT)
            return event;
        if (trace_now_us() >= deadline_us && !tracee->stopped)
            return TRACE_TIMEOUT;
        if (pid == 0)
            sigtimedwait(&child, NULL, &pause);
    }
}

enum trace_event trace_step(struct tracee *tracee, uint64_t deadline_us)
{
    return go_to(tracee, PTRACE_SINGLESTEP, deadline_us);
}

enum trace_event trace_call(struct tracee *tracee, uint64_t deadline_us)
{
    if (ptrace(PTRACE_SETOPTIONS, tracee->pid, NULL, (long)PTRACE_O_TRACESYSGOOD) != 0)
        return TRACE_GONE;
    return go_to(tracee, PTRACE_SYSCALL, deadline_us);
}
