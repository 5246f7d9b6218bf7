// SPDX-License-Identifier: BSD-2-Clause
/* A fault in the memory: one bit of an aligned word, or all of it, at a place by chance among the pages that are there.
 * A watchpoint of the processor's on the word tells what the victim's own instructions do with it first: read it
 * (activated) or write over it (not). What others read of it, the kernel included, no watchpoint of the victim's sees.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "servers/inject/inject.h"
#include "servers/inject/maps.h"
#include "servers/inject/trace.h"

#define PAGE       4096U
#define PAGES_MAX  (1U << 18)
#define PAGE_THERE (1ULL << 63 | 1ULL << 62) /* /proc/PID/pagemap: present or swapped */
#define WORD       8U
#define USED_TRIES 256

struct word {
    const struct map *map;
    uint64_t address, before, after;
};

static bool is_wanted(const struct injection *injection, const struct map *map, enum map_kind kinds)
{
    char name[MAPS_NAME];
    if ((map->kind & kinds) == 0)
        return false;
    if (kinds != MAP_STORE && kinds != MAP_POOL)
        return true;
    snprintf(name, sizeof name, "%s-%.16s", map_kind_name(kinds), injection->server); /* in a domain of several */
    return strcmp(map->name, name) == 0;
}

/* Addresses of pages that are there, of the live part only of a stack. */
static size_t pages_read(const struct injection *injection, const struct maps *maps, enum map_kind kinds, uint64_t sp,
                         uint64_t *ret)
{
    char path[48];
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/pagemap", injection->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (uint32_t i = 0; i < maps->count && fd >= 0; i++) {
        const struct map *map = &maps->map[i];
        uint64_t from = map->kind == MAP_STACK ? sp / PAGE * PAGE : map->start, entry;
        if (!is_wanted(injection, map, kinds))
            continue;
        for (; from < map->end && count < PAGES_MAX; from += PAGE)
            if (pread(fd, &entry, sizeof entry, (off_t)(from / PAGE * sizeof entry)) == (ssize_t)sizeof entry &&
                (entry & PAGE_THERE) != 0)
                ret[count++] = from;
    }
    if (fd >= 0)
        close(fd);
    return count;
}

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
        if (is_wanted(injection, &maps->map[i], kind) && offset < maps->map[i].end - maps->map[i].start)
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
    uint64_t *page = calloc(PAGES_MAX, sizeof *page);
    size_t count = page == NULL ? 0 : pages_read(injection, maps, kinds, sp, page);
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

static void await_access(struct tracee *tracee, const struct injection *injection, const struct image *image,
                         csh decoder, const struct word *word, const char *text)
{
    uint64_t start = trace_now_us();
    enum trace_event event;
    do { /* BREAKPOINT: its own */
        event = trace_wait(tracee, start + injection->timeout_us);
        if (event == TRACE_TIMEOUT)
            event = trace_stop(tracee);
        tracee->pending = event == TRACE_BREAKPOINT ? SIGTRAP : tracee->pending;
        if (event == TRACE_BREAKPOINT)
            trace_go(tracee);
    } while (event == TRACE_BREAKPOINT);
    char where[80];
    bool others = (word->map->kind & (MAP_POOL | MAP_RING | MAP_ARENA | MAP_OTHER)) != 0; /* may have read it, unseen */
    const char *not = others ? "activation unknown" : "not activated";
    if (event == TRACE_WATCHPOINT && was_read(tracee, decoder, image, word, where, sizeof where))
        report(REPORT_EVENT, "%s: activated after %.3f ms, read by %s: %s", injection->fault,
               (double)(trace_now_us() - start) / 1000, where, text);
    else if (event == TRACE_WATCHPOINT)
        report(REPORT_EVENT, "%s: %s, written over by %s: %s", injection->fault, not, where, text);
    else if (event == TRACE_GONE)
        report(REPORT_EVENT, "%s: activation unknown, the domain ended: %s", injection->fault, text);
    else
        report(REPORT_EVENT, "%s: %s, the domain did not touch it within %" PRIu64 " ms: %s", injection->fault, not,
               injection->timeout_us / 1000, text);
}

/* ---- the fault ---- */

static enum map_kind kinds_of(const char *fault)
{
    enum map_kind kind;
    if (strcmp(fault, "wild-write") == 0)
        return MAP_ANY;
    return map_kind_find(fault + 5, strlen(fault + 5), &kind) && kind != MAP_OTHER ? kind : 0;
}

/* It is stopped. False: said why not. */
static bool word_choose(struct injection *injection, const struct tracee *tracee, struct maps *maps, struct word *ret)
{
    struct user_regs_struct registers;
    enum map_kind kinds = kinds_of(injection->fault);
    if (maps_read(injection->pid, maps) < 0 || !trace_registers(tracee, &registers)) {
        report(REPORT_REFUSED, "cannot see what the domain has mapped: try again");
        return false;
    }
    bool given = injection->place[0] != '\0';
    *ret = (struct word){0};
    ret->address = given ? address_given(injection, maps) : address_any(injection, tracee, maps, kinds, registers.rsp);
    ret->map = map_of(maps, ret->address);
    bool there = ret->map != NULL && trace_read(tracee, ret->address, &ret->before, sizeof ret->before);
    if (!there && given)
        report(REPORT_REFUSED, "nothing writable is at '%.60s': stack:, heap:, store:, pool:, ring: or arena: and OFF",
               injection->place);
    else if (!there)
        report(REPORT_REFUSED, "'%s' has no such memory in use", injection->server);
    if (!there)
        return false;
    uint64_t random = random_next(&injection->random);
    ret->after = kinds == MAP_ANY ? random : ret->before ^ 1ULL << random % 64;
    return true;
}

static void word_damage(struct injection *injection, struct tracee *tracee, const struct image *image, csh decoder)
{
    static struct maps maps;
    struct word word;
    char text[160];
    if (!word_choose(injection, tracee, &maps, &word))
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
    if (!watched) {
        report(REPORT_EVENT, "%s: activation unknown, this machine has no watchpoints: %s", injection->fault, text);
        return;
    }
    trace_go(tracee);
    await_access(tracee, injection, image, decoder, &word, text);
}

void inject_memory(struct injection *injection)
{
    struct image image;
    struct tracee tracee;
    csh decoder;
    if (kinds_of(injection->fault) == 0) {
        report(REPORT_REFUSED, "no fault named '%.40s': see `bulkhead inject --help`", injection->fault);
        return;
    }
    if (!code_open(injection, &image, &decoder))
        return;
    int result = trace_open(injection->pid, &tracee);
    if (result < 0) {
        report(REPORT_REFUSED, "cannot trace the domain: %s", strerror(-result));
        return;
    }
    if (trace_stop(&tracee) == TRACE_GONE)
        report(REPORT_REFUSED, "the domain ended first: try again");
    else
        word_damage(injection, &tracee, &image, decoder);
    trace_close(&tracee);
}
