// SPDX-License-Identifier: BSD-2-Clause
/* A fault in the memory: one bit of an aligned word, or all of it. Which word and when: live.c; a third of the wild
 * writes goes to any word of the pages that are there, as a wild pointer would. Whether it was met is told by the
 * processor's watchpoints, in the victim and in whoever else has the word mapped: the first instruction that reads it
 * (activated), or that of the victim's that writes over it; before anybody has read it, the fault is put in again
 * behind that, some times over. What the kernel reads of it no watchpoint sees. A store is read by the next life: with
 * the damage in a committed block the domain is ended before it does anything else.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "servers/inject/inject.h"
#include "servers/inject/live.h"
#include "servers/inject/maps.h"
#include "servers/inject/readers.h"
#include "servers/inject/trace.h"

#define USED_TRIES  256
#define STRIKES_MAX 16U
#define WILD_ONE_IN 3U /* of the wild writes goes anywhere */

enum way { WAY_CHANCE, WAY_READ, WAY_WRITTEN, WAY_RECEIVED, WAY_STORED };

struct word {
    const struct map *map;
    enum way way;
    uint64_t address, before, after;
    uint64_t reader; /* where the instruction is that is about to read it; 0: not known */
    unsigned strikes;
};

static const struct map *map_of(const struct maps *maps, uint64_t address)
{
    for (uint32_t i = 0; i < maps->count; i++)
        if (address >= maps->map[i].start && address < maps->map[i].end)
            return &maps->map[i];
    return NULL;
}

/* "store:0x1234": that far into the first of this kind. 0: there is none. */
static uint64_t address_given(const struct injection *injection, const struct maps *maps)
{
    enum map_kind kind;
    const char *colon = strchr(injection->place, ':');
    if (colon == NULL || !map_kind_find(injection->place, (size_t)(colon - injection->place), &kind))
        return 0;
    char *end;
    uint64_t offset = strtoull(colon + 1, &end, 0);
    for (uint32_t i = 0; i < maps->count && end != colon + 1 && *end == '\0'; i++)
        if (live_wanted(injection, &maps->map[i], kind) && offset < maps->map[i].end - maps->map[i].start)
            return (maps->map[i].start + offset) & ~(uint64_t)(WORD - 1);
    return 0;
}

/* Where the frames of a stack end, and arguments and environment begin (proc(5): startstack). */
static uint64_t stack_base(pid_t pid)
{
    char path[48], line[1024] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    const char *at = file != NULL && fgets(line, sizeof line, file) != NULL ? strrchr(line, ')') : NULL;
    for (unsigned field = 2; at != NULL && field < 28; field++)
        at = strchr(at + 1, ' ');
    if (file != NULL)
        fclose(file);
    return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

/* Eight equal octets are what memory is cleared with. */
static bool is_used(uint64_t word)
{
    return word != (word & 0xff) * 0x0101010101010101ULL;
}

/* A word that is used, if one is soon found: nobody reads the others. */
static uint64_t address_any(struct injection *injection, const struct tracee *tracee, const struct maps *maps,
                            enum map_kind kinds, uint64_t sp)
{
    uint64_t base = stack_base(injection->pid), address = 0, word = 0;
    if (kinds == MAP_STACK && base > sp)
        return (sp + random_next(&injection->random) % (base - sp)) & ~(uint64_t)(WORD - 1);
    size_t count;
    uint64_t *page = live_pages(injection, maps, kinds, sp, &count);
    for (unsigned i = 0; i < USED_TRIES && count > 0 && !is_used(word); i++) {
        address = page[random_next(&injection->random) % count] + random_next(&injection->random) % PAGE / WORD * WORD;
        if (!trace_read(tracee, address, &word, sizeof word))
            break;
    }
    free(page);
    return address;
}

/* ---- activation ---- */

/* What the instruction that ends where the program counter is does to memory: as libcapstone's access, 0 unknown. */
static unsigned access_before(csh decoder, const struct image *image, uint64_t pc)
{
    const struct image_function *function = image_function(image, pc - image->bias - 1);
    cs_insn *code = NULL;
    unsigned access = 0;
    size_t count = function == NULL ? 0 : code_decode(decoder, image, function, &code);
    for (size_t i = 0; i < count; i++) {
        if (code[i].address + code[i].size != pc - image->bias)
            continue;
        const cs_x86 *x86 = &code[i].detail->x86;
        for (uint8_t k = 0; k < x86->op_count; k++)
            access |= x86->operands[k].type == X86_OP_MEM ? x86->operands[k].access : 0;
    }
    if (count > 0)
        cs_free(code, count);
    return access;
}

/* It is stopped behind the access. */
static bool was_read(const struct tracee *tracee, csh decoder, const struct image *image, const struct word *word,
                     char *ret_where, size_t size)
{
    struct user_regs_struct registers;
    uint64_t now = word->after;
    snprintf(ret_where, size, "?");
    if (!trace_registers(tracee, &registers))
        return true;
    image_name(image, registers.rip - image->bias - 1, ret_where, size);
    unsigned access = access_before(decoder, image, registers.rip);
    bool changed = trace_read(tracee, word->address, &now, sizeof now) && now != word->after;
    return changed ? access == (CS_AC_READ | CS_AC_WRITE) : access != CS_AC_WRITE; /* the decoder errs at times */
}

/* It is stopped, the fault is in the word. What comes first: a read by whom in ret_where, TRACE_WATCHPOINT; the
 * victim's write over it, TRACE_NEXT; or _TIMEOUT or _GONE. */
static enum trace_event await_access(struct tracee *tracee, struct readers *readers, const struct image *image,
                                     csh decoder, const struct word *word, uint64_t end, char *ret_where, size_t size)
{
    struct tracee *all[1 + TRACE_JOINED] = {tracee};
    enum trace_event event;
    size_t which = 0, live = 1;
    for (; live <= readers->count; live++)
        all[live] = &readers->tracee[live - 1];
    trace_go(tracee);
    for (;;) {
        event = trace_wait_any(all, live, end, &which);
        if (event == TRACE_TIMEOUT)
            return trace_stop(tracee) == TRACE_GONE ? TRACE_GONE : event;
        if (event == TRACE_WATCHPOINT && which == 0)
            return was_read(tracee, decoder, image, word, ret_where, size) ? TRACE_WATCHPOINT : TRACE_NEXT;
        if (event == TRACE_WATCHPOINT) {
            reader_name(all[which], ret_where, size);
            return event;
        }
        if (event != TRACE_BREAKPOINT && which == 0)
            return TRACE_GONE;
        if (event == TRACE_BREAKPOINT) { /* its own */
            all[which]->pending = SIGTRAP;
            trace_go(all[which]);
        } else {
            all[which] = all[--live]; /* a reader has ended */
        }
    }
}

/* What is known of it. Others, or the kernel, may have read shared memory unseen. */
static void access_report(const struct injection *injection, const struct word *word, enum trace_event event,
                          uint64_t start, const char *where, const char *text)
{
    bool others = (word->map->kind & (MAP_FOR_OTHERS | MAP_OTHER)) != 0;
    const char *not = others ? "activation unknown" : "not activated";
    if (event == TRACE_WATCHPOINT)
        report(REPORT_EVENT, "%s: activated after %.3f ms, read by %s: %s", injection->fault,
               (double)(trace_now_us() - start) / 1000, where, text);
    else if (event == TRACE_NEXT)
        report(REPORT_EVENT, "%s: %s, written over by %s%s: %s", injection->fault, not, where,
               word->strikes > 1 ? " each time" : "", text);
    else if (event == TRACE_GONE)
        report(REPORT_EVENT, "%s: activation unknown, the domain ended: %s", injection->fault, text);
    else
        report(REPORT_EVENT, "%s: %s, nobody touched it within %" PRIu64 " ms: %s", injection->fault, not,
               injection->timeout_us / 1000, text);
}

/* It is stopped behind what has written over the fault: the same bits are other ones again. */
static bool strike_again(struct tracee *tracee, struct word *word)
{
    uint64_t bits = word->before ^ word->after;
    if (word->way == WAY_CHANCE || word->strikes >= STRIKES_MAX ||
        !trace_read(tracee, word->address, &word->before, sizeof word->before))
        return false;
    word->after = word->before ^ bits;
    word->strikes++;
    return trace_write(tracee, word->address, &word->after, sizeof word->after);
}

/* Its last signal came at the very instruction that was to read the word: a return to no address, say. */
static bool failed_reading(const struct tracee *tracee, const struct word *word)
{
    return word->reader != 0 && tracee->signal_at == word->reader && word->strikes == 1 &&
           (tracee->signal == SIGSEGV || tracee->signal == SIGBUS);
}

static void watch(struct tracee *tracee, const struct injection *injection, const struct image *image, csh decoder,
                  struct readers *readers, struct word *word, const char *text)
{
    char where[80] = "?";
    uint64_t start = trace_now_us();
    if ((word->map->kind & MAP_FOR_OTHERS) != 0)
        readers_watch(readers, word->map, word->address);
    tracee->signal = 0;
    enum trace_event event;
    do
        event = await_access(tracee, readers, image, decoder, word, start + injection->timeout_us, where, sizeof where);
    while (event == TRACE_NEXT && strike_again(tracee, word));
    readers_leave(readers);
    if (event == TRACE_GONE && failed_reading(tracee, word)) {
        image_name(image, word->reader - image->bias, where, sizeof where);
        event = TRACE_WATCHPOINT;
    }
    access_report(injection, word, event, start, where, text);
}

/* ---- the fault ---- */

static enum map_kind kinds_of(const char *fault)
{
    enum map_kind kind;
    if (strcmp(fault, "wild-write") == 0)
        return MAP_ANY;
    return map_kind_find(fault + 5, strlen(fault + 5), &kind) && kind != MAP_OTHER ? kind : 0;
}

static enum way way_of(struct injection *injection, enum map_kind kinds)
{
    if (injection->place[0] != '\0')
        return WAY_CHANCE;
    if (kinds == MAP_ANY)
        return random_next(&injection->random) % WILD_ONE_IN == 0 ? WAY_CHANCE : WAY_READ;
    if (kinds == MAP_STORE)
        return WAY_STORED;
    if (kinds == MAP_POOL && strcmp(injection->server, "nic") == 0)
        return WAY_RECEIVED;
    return kinds == MAP_HEAP || kinds == MAP_STACK ? WAY_READ : WAY_WRITTEN;
}

/* It is stopped, also afterwards; TRACE_GONE: it has ended. */
static enum trace_event word_find(struct injection *injection, struct tracee *tracee, csh decoder, struct maps *maps,
                                  enum map_kind kinds, enum way way, struct live *ret)
{
    struct user_regs_struct registers = {0};
    switch (way) {
    case WAY_READ:
        return live_read(injection, tracee, decoder, maps, kinds, ret);
    case WAY_WRITTEN:
        return live_written(injection, tracee, maps, kinds, ret);
    case WAY_RECEIVED:
        return live_received(injection, tracee, maps, kinds, ret);
    case WAY_STORED:
        live_stored(injection, tracee, maps, ret);
        return TRACE_STOPPED;
    default:
        trace_registers(tracee, &registers);
        *ret = (struct live){injection->place[0] != '\0' ? address_given(injection, maps)
                                                         : address_any(injection, tracee, maps, kinds, registers.rsp),
                             0, 64, 0};
        return TRACE_STOPPED;
    }
}

/* Said why not. */
static bool refused(const struct injection *injection, const struct maps *maps, enum map_kind kinds)
{
    bool has = false;
    for (uint32_t i = 0; i < maps->count; i++)
        has |= live_wanted(injection, &maps->map[i], kinds);
    if (injection->place[0] != '\0')
        report(REPORT_REFUSED, "nothing writable is at '%.60s': stack:, heap:, store:, pool:, ring: or arena: and OFF",
               injection->place);
    else if (has)
        report(REPORT_REFUSED, "'%s' used none of it for %" PRIu64 " ms: a load makes it do so", injection->server,
               injection->timeout_us / 1000);
    else
        report(REPORT_REFUSED, "'%s' has no such memory in use", injection->server);
    return false;
}

/* It is stopped. False: said why not. */
static bool word_choose(struct injection *injection, struct tracee *tracee, csh decoder, struct maps *maps,
                        struct word *ret)
{
    enum map_kind kinds = kinds_of(injection->fault);
    struct live live;
    *ret = (struct word){.way = way_of(injection, kinds), .strikes = 1};
    if (word_find(injection, tracee, decoder, maps, kinds, ret->way, &live) == TRACE_GONE) {
        report(REPORT_REFUSED, "the domain ended first: try again");
        return false;
    }
    ret->address = live.address;
    ret->reader = live.reader;
    ret->map = map_of(maps, ret->address);
    if (ret->map == NULL || !trace_read(tracee, ret->address, &ret->before, sizeof ret->before))
        return refused(injection, maps, kinds);
    uint64_t random = random_next(&injection->random);
    ret->after = kinds == MAP_ANY ? random : ret->before ^ 1ULL << (live.bit + random % live.bits);
    return true;
}

/* It is stopped, and the fault in a committed block of its store. */
static void end_with(const struct injection *injection, struct tracee *tracee, const char *text)
{
    if (kill(tracee->pid, SIGKILL) != 0) {
        report(REPORT_EVENT, "%s: not activated, the domain ended first: %s", injection->fault, text);
        return;
    }
    report(REPORT_EVENT, "%s: activated, the domain was killed, its next life begins with it: %s", injection->fault,
           text);
    tracee->stopped = false;
    waitpid(tracee->pid, NULL, __WALL); /* its parent is told of its end only when its tracer has let go */
}

static void word_damage(struct injection *injection, struct tracee *tracee, const struct image *image, csh decoder,
                        struct maps *maps, struct readers *readers)
{
    struct word word;
    char text[160];
    if (!word_choose(injection, tracee, decoder, maps, &word))
        return;
    snprintf(text, sizeof text, "%s:0x%" PRIx64 " (%s) 0x%" PRIx64 ": %016" PRIx64 " -> %016" PRIx64,
             map_kind_name(word.map->kind), word.address - word.map->start, word.map->name, word.address, word.before,
             word.after);
    if (!trace_write(tracee, word.address, &word.after, sizeof word.after)) {
        report(REPORT_REFUSED, "cannot write the memory of the domain: %s", strerror(errno));
        return;
    }
    bool watched = trace_watch(tracee, word.address);
    report(REPORT_PLACED, "%s: in place at %s", injection->fault, text);
    if (word.way == WAY_STORED)
        end_with(injection, tracee, text);
    else if (!watched)
        report(REPORT_EVENT, "%s: activation unknown, this machine has no watchpoints: %s", injection->fault, text);
    else
        watch(tracee, injection, image, decoder, readers, &word, text);
}

void inject_memory(struct injection *injection)
{
    static struct maps maps;
    static struct readers readers;
    struct image image;
    struct tracee tracee;
    csh decoder;
    if (kinds_of(injection->fault) == 0) {
        report(REPORT_REFUSED, "no fault named '%.40s': see `bulkhead inject --help`", injection->fault);
        return;
    }
    if (!code_open(injection, false, &image, &decoder))
        return;
    if (maps_read(injection->pid, &maps) < 0) {
        report(REPORT_REFUSED, "cannot see what the domain has mapped: try again");
        return;
    }
    readers_find(&readers, injection->pid, &maps, kinds_of(injection->fault) & MAP_FOR_OTHERS);
    int result = trace_open(injection->pid, &tracee);
    if (result < 0) {
        report(REPORT_REFUSED, "cannot trace the domain: %s", strerror(-result));
        return;
    }
    if (trace_stop(&tracee) == TRACE_GONE)
        report(REPORT_REFUSED, "the domain ended first: try again");
    else
        word_damage(injection, &tracee, &image, decoder, &maps, &readers);
    trace_close(&tracee);
}
