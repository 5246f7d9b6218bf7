// SPDX-License-Identifier: BSD-2-Clause
/* A fault in the code: a place is chosen, a BREAKPOINT put there; when the process comes upon it, the fault takes its
 * place and the process goes on into it: that is the activation. Who never comes there keeps its code. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "servers/inject/inject.h"
#include "servers/inject/trace.h"

#define TRIES        200000
#define CHOOSE_US    2000000 /* the request is to be answered */
#define OFFSETS_MAX  (1U << 20)
#define FUNCTION_MAX (64U << 10) /* octets of one function */

struct place {
    const struct image_function *function;
    cs_insn *code; /* of the function */
    size_t count, at;
    uint8_t octets[INSTRUCTION_OCTETS]; /* instead */
};

struct offsets { /* among which to choose; count 0: all of our own code */
    uint64_t *offset;
    size_t count;
};

bool code_open(const struct injection *injection, bool own, struct image *image, csh *ret_decoder)
{
    char error[IMAGE_ERROR];
    if (image_open(injection->pid, own, image, error) < 0)
        report(REPORT_REFUSED, "%s", error);
    else if (cs_open(CS_ARCH_X86, CS_MODE_64, ret_decoder) != CS_ERR_OK ||
             cs_option(*ret_decoder, CS_OPT_DETAIL, CS_OPT_ON) != CS_ERR_OK)
        report(REPORT_REFUSED, "libcapstone cannot decode x86-64 here");
    else
        return true;
    return false;
}

size_t code_decode(csh decoder, const struct image *image, const struct image_function *function, cs_insn **ret)
{
    const uint8_t *bytes =
        function->octets <= FUNCTION_MAX ? image_bytes(image, function->address, function->octets) : NULL;
    return bytes == NULL ? 0 : cs_disasm(decoder, bytes, function->octets, function->address, 0, ret);
}

/* ---- the place ---- */

/* "text:0x1234", "from:FILE" or nothing. False: said why not. */
static bool offsets_read(const char *place, struct offsets *ret)
{
    char line[64];
    ret->offset = calloc(OFFSETS_MAX, sizeof *ret->offset);
    if (ret->offset == NULL)
        return false;
    if (strncmp(place, "text:", 5) == 0) {
        char *end;
        ret->offset[ret->count++] = strtoull(place + 5, &end, 0);
        if (end == place + 5 || *end != '\0')
            report(REPORT_REFUSED, "'%.60s' is no place: write text:0x1234, as `bulkhead events` shows it", place);
        return end != place + 5 && *end == '\0';
    }
    if (strncmp(place, "from:", 5) != 0) {
        if (place[0] != '\0')
            report(REPORT_REFUSED, "'%.60s' is no place in code: write text:0x1234 or from:FILE", place);
        return place[0] == '\0';
    }
    FILE *file = fopen(place + 5, "re");
    while (file != NULL && ret->count < OFFSETS_MAX && fgets(line, sizeof line, file) != NULL) {
        char *end;
        uint64_t offset = strtoull(line, &end, 16);
        if (end != line)
            ret->offset[ret->count++] = offset;
    }
    if (file == NULL)
        report(REPORT_REFUSED, "cannot read %.80s: %s", place + 5, strerror(errno));
    else if (ret->count == 0)
        report(REPORT_REFUSED, "%.80s lists no offsets: write it with `bulkhead inject SERVER coverage`", place + 5);
    if (file != NULL)
        fclose(file);
    return ret->count > 0;
}

/* One octet of our own code, each as likely. */
static uint64_t offset_any(const struct image *image, uint64_t random)
{
    uint64_t at = random % image->own_octets;
    for (uint32_t i = 0; i < image->functions; i++) {
        const struct image_function *f = &image->function[i];
        if (f->own && at < f->octets)
            return f->address + at;
        at -= f->own ? f->octets : 0;
    }
    return 0;
}

/* Whether an instruction starts at the offset and the mutation has something for it. */
static bool place_suits(csh decoder, const struct image *image, enum mutation mutation, uint64_t offset,
                        uint64_t random, struct place *place)
{
    const struct image_function *function = image_function(image, offset);
    if (function == NULL)
        return false;
    if (function != place->function) {
        if (place->code != NULL)
            cs_free(place->code, place->count);
        *place = (struct place){.function = function};
        place->count = code_decode(decoder, image, function, &place->code);
    }
    for (size_t i = 0; i < place->count && place->code[i].address <= offset; i++) {
        place->at = i;
        if (place->code[i].address == offset)
            return mutation_make(decoder, mutation, place->code, place->count, i, random, place->octets);
    }
    return false;
}

/* False: said why not. */
static bool place_choose(struct injection *injection, csh decoder, const struct image *image, enum mutation mutation,
                         struct place *ret)
{
    struct offsets offsets = {0};
    uint64_t start = injection->random;
    *ret = (struct place){0};
    if (!offsets_read(injection->place, &offsets))
        return false;
    uint64_t until = trace_now_us() + CHOOSE_US;
    for (unsigned i = 0; i < (offsets.count == 1 ? 1 : TRIES) && trace_now_us() < until; i++) {
        uint64_t random = random_next(&injection->random);
        uint64_t offset = offsets.count > 0 ? offsets.offset[random % offsets.count] : offset_any(image, random);
        uint64_t what = start ^ offset; /* not of the search: at a place that is named it is the same */
        if (place_suits(decoder, image, mutation, offset, random_next(&what), ret)) {
            free(offsets.offset);
            return true;
        }
    }
    report(REPORT_REFUSED, "nothing at %.80s is an instruction that '%s' can change",
           injection->place[0] != '\0' ? injection->place : "any place", injection->fault);
    return false;
}

/* ---- the fault ---- */

static size_t octets_text(const uint8_t *octets, size_t count, char *ret, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < count && used + 3 < size; i++)
        used += (size_t)snprintf(ret + used, size - used, "%02x", octets[i]);
    return used;
}

/* "tcp_input+0x31 text:0x402345: 4889c3 mov rbx, rax -> 909090 nop" */
static void place_text(csh decoder, const struct image *image, const struct place *place, char *ret, size_t size)
{
    const cs_insn *from = &place->code[place->at];
    char name[80], old[40], new[40];
    cs_insn *to = NULL;
    image_name(image, from->address, name, sizeof name);
    octets_text(from->bytes, from->size, old, sizeof old);
    octets_text(place->octets, from->size, new, sizeof new);
    size_t count = cs_disasm(decoder, place->octets, from->size, from->address, 1, &to);
    snprintf(ret, size, "%s text:0x%" PRIx64 ": %s %s %.60s -> %s %s %.60s", name, from->address, old, from->mnemonic,
             from->op_str, new, count > 0 ? to->mnemonic : "(none)", count > 0 ? to->op_str : "");
    if (count > 0)
        cs_free(to, count);
}

/* It is stopped. Whether it came upon our BREAKPOINT; then the fault is in its place and its next instruction. */
static bool activate(struct tracee *tracee, uint64_t address, const uint8_t *octets, size_t count)
{
    struct user_regs_struct registers;
    if (!trace_registers(tracee, &registers) || registers.rip != address + 1)
        return false;
    bool done = trace_write(tracee, address, octets, count) && trace_jump(tracee, address);
    guard_disarm(tracee); /* from here on what stands there is to stay */
    return done;
}

static void await_activation(struct tracee *tracee, const struct injection *injection, const struct place *place,
                             uint64_t address, const char *text)
{
    const cs_insn *from = &place->code[place->at];
    uint64_t start = trace_now_us(), deadline = start + injection->timeout_us;
    enum trace_event event;
    bool active = false;
    do { /* what else traps is the process's own */
        event = trace_wait(tracee, deadline);
        if (event == TRACE_TIMEOUT)
            event = trace_stop(tracee);
        active = event == TRACE_BREAKPOINT && activate(tracee, address, place->octets, from->size);
        if (event == TRACE_BREAKPOINT && !active) {
            tracee->pending = SIGTRAP;
            trace_go(tracee);
        }
    } while (event == TRACE_BREAKPOINT && !active);
    if (active)
        report(REPORT_EVENT, "%s: activated after %.3f ms at %s", injection->fault,
               (double)(trace_now_us() - start) / 1000, text);
    else if (event == TRACE_GONE)
        report(REPORT_EVENT, "%s: not activated, the domain ended first: %s", injection->fault, text);
    else if (trace_write(tracee, address, from->bytes, from->size))
        report(REPORT_EVENT, "%s: not activated within %" PRIu64 " ms, taken back: %s", injection->fault,
               injection->timeout_us / 1000, text);
}

void inject_code(struct injection *injection, enum mutation mutation)
{
    static const uint8_t breakpoint = BREAKPOINT;
    struct image image;
    struct place place;
    struct tracee tracee;
    char text[400];
    csh decoder;
    bool own = injection->place[0] == '\0'; /* else the places are named: what is ours need not be looked for */
    if (!code_open(injection, own, &image, &decoder) || !place_choose(injection, decoder, &image, mutation, &place))
        return;
    const cs_insn *from = &place.code[place.at];
    uint64_t address = from->address + image.bias;
    uint8_t now[INSTRUCTION_OCTETS];
    place_text(decoder, &image, &place, text, sizeof text);
    int result = trace_open(injection->pid, &tracee);
    if (result < 0) {
        report(REPORT_REFUSED, "cannot trace the domain: %s", strerror(-result));
        return;
    }
    if (trace_stop(&tracee) == TRACE_GONE) {
        report(REPORT_REFUSED, "the domain ended first: try again");
    } else if (!trace_read(&tracee, address, now, from->size) || memcmp(now, from->bytes, from->size) != 0) {
        report(REPORT_REFUSED, "another fault is at this place already: %.200s", text);
    } else if (!guard_arm(&tracee, address, now, from->size) || !trace_write(&tracee, address, &breakpoint, 1)) {
        report(REPORT_REFUSED, "cannot write the code of the domain: %s", strerror(errno));
    } else {
        report(REPORT_PLACED, "%s: in place at %s", injection->fault, text);
        trace_go(&tracee);
        await_activation(&tracee, injection, &place, address, text);
    }
    trace_close(&tracee);
}
