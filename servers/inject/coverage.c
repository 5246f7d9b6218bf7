// SPDX-License-Identifier: BSD-2-Clause
/* The golden run: which instructions of our own code this process executes within a time. Each starts with a BREAKPOINT
 * until it is reached; whoever reaches one executes all up to the next transfer of control, so all of those are taken
 * out with it: a stop for each run of instructions, once. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "servers/inject/inject.h"
#include "servers/inject/trace.h"

enum { INSIDE = 0, START = 1, TRANSFER = 2, SEEN = 4 }; /* of each octet of the code */

struct coverage {
    uint64_t address; /* in the file, of the first function */
    size_t octets;    /* to the end of the last */
    uint8_t *mark, *original, *armed;
    size_t instructions, seen, stops;
};

static bool coverage_new(const struct image *image, csh decoder, struct coverage *ret)
{
    const struct image_function *last = &image->function[image->functions - 1];
    *ret = (struct coverage){.address = image->function[0].address};
    ret->octets = last->address + last->octets - ret->address;
    ret->mark = calloc(3, ret->octets);
    if (ret->mark == NULL)
        return false;
    ret->original = ret->mark + ret->octets;
    ret->armed = ret->original + ret->octets;
    for (uint32_t i = 0; i < image->functions; i++) {
        cs_insn *code = NULL;
        const struct image_function *f = &image->function[i];
        size_t count = f->own ? code_decode(decoder, image, f, &code) : 0;
        for (size_t k = 0; k < count; k++)
            ret->mark[code[k].address - ret->address] =
                (uint8_t)(START | (instruction_transfers(&code[k]) ? TRANSFER : 0));
        ret->instructions += count;
        if (count > 0)
            cs_free(code, count);
    }
    return true;
}

/* It is stopped. False: said why not. */
static bool coverage_arm(struct coverage *c, struct tracee *tracee, uint64_t bias)
{
    if (!trace_read(tracee, c->address + bias, c->original, c->octets)) {
        report(REPORT_REFUSED, "cannot read the code of the domain: %s", strerror(errno));
        return false;
    }
    memcpy(c->armed, c->original, c->octets);
    for (size_t i = 0; i < c->octets; i++)
        if ((c->mark[i] & START) != 0)
            c->armed[i] = BREAKPOINT;
    if (guard_arm(tracee, c->address + bias, c->original, c->octets) &&
        trace_write(tracee, c->address + bias, c->armed, c->octets))
        return true;
    report(REPORT_REFUSED, "cannot write the code of the domain: %s", strerror(errno));
    return false;
}

/* Marks the instruction that starts at `at`. Where the next one does; or, if control need not go on to it, the end. */
static bool run_next(struct coverage *c, size_t at, size_t *ret)
{
    size_t next = at + 1;
    while (next < c->octets && next - at < INSTRUCTION_OCTETS && (c->mark[next] & START) == 0)
        next++;
    c->seen += (c->mark[at] & SEEN) == 0;
    c->mark[at] |= SEEN;
    *ret = next;
    return (c->mark[at] & TRANSFER) == 0 && next < c->octets && (c->mark[next] & START) != 0;
}

/* It is stopped behind a BREAKPOINT. False: none of ours. */
static bool coverage_hit(struct coverage *c, struct tracee *tracee, uint64_t bias)
{
    struct user_regs_struct registers;
    if (!trace_registers(tracee, &registers))
        return false;
    uint64_t at = registers.rip - 1 - bias - c->address;
    if (at >= c->octets || (c->mark[at] & START) == 0)
        return false;
    size_t end = at;
    while (run_next(c, end, &end))
        ;
    c->stops++;
    return trace_write(tracee, registers.rip - 1, c->original + at, end - at) && trace_jump(tracee, registers.rip - 1);
}

/* Until the time is over or the process is. True: it lives, and is stopped. */
static bool coverage_run(struct coverage *c, struct tracee *tracee, uint64_t bias, uint64_t deadline_us)
{
    for (;;) {
        enum trace_event event = trace_wait(tracee, deadline_us);
        bool over = event == TRACE_TIMEOUT;
        if (over)
            event = trace_stop(tracee);
        if (event == TRACE_GONE)
            return false;
        if (event == TRACE_BREAKPOINT && !coverage_hit(c, tracee, bias))
            tracee->pending = SIGTRAP;
        if (over)
            return true;
        trace_go(tracee);
    }
}

static bool coverage_write(const struct coverage *c, const char *path)
{
    /* With the supervisor's rights, where somebody said: a new file, through no link. */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (fd >= 0 && file == NULL)
        close(fd);
    for (size_t i = 0; i < c->octets && file != NULL; i++)
        if ((c->mark[i] & SEEN) != 0)
            fprintf(file, "0x%" PRIx64 "\n", c->address + i);
    return file != NULL && fclose(file) == 0;
}

static void coverage_do(struct injection *injection, struct coverage *c, struct tracee *tracee, uint64_t bias)
{
    const char *path = injection->place + 3;
    if (trace_stop(tracee) == TRACE_GONE) {
        report(REPORT_REFUSED, "the domain ended first: try again");
        return;
    }
    if (!coverage_arm(c, tracee, bias))
        return;
    report(REPORT_PLACED, "coverage: looks for %" PRIu64 " ms which of %zu instructions '%s' runs",
           injection->timeout_us / 1000, c->instructions, injection->server);
    trace_go(tracee);
    bool lives = coverage_run(c, tracee, bias, trace_now_us() + injection->timeout_us);
    if (lives && !trace_write(tracee, c->address + bias, c->original, c->octets))
        lives = false;
    if (!lives)
        report(REPORT_EVENT, "coverage: the domain ended first, nothing is written");
    else if (!coverage_write(c, path))
        report(REPORT_EVENT, "coverage: cannot write %.80s: %s", path, strerror(errno));
    else
        report(REPORT_EVENT, "coverage: done, %zu of %zu instructions run, in %zu stops: %.80s", c->seen,
               c->instructions, c->stops, path);
}

void inject_coverage(struct injection *injection)
{
    struct image image;
    struct coverage coverage;
    struct tracee tracee;
    csh decoder;
    if (strncmp(injection->place, "to:/", 4) != 0) {
        report(REPORT_REFUSED, "coverage needs --place to:FILE");
        return;
    }
    if (faccessat(AT_FDCWD, injection->place + 3, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        report(REPORT_REFUSED, "%.80s is there already: remove it, or name another file", injection->place + 3);
        return;
    }
    if (!code_open(injection, true, &image, &decoder))
        return;
    if (!coverage_new(&image, decoder, &coverage)) {
        report(REPORT_REFUSED, "no memory for a golden run");
        return;
    }
    int result = trace_open(injection->pid, &tracee);
    if (result < 0) {
        report(REPORT_REFUSED, "cannot trace the domain: %s", strerror(-result));
        return;
    }
    coverage_do(injection, &coverage, &tracee, image.bias);
    trace_close(&tracee);
}
