// SPDX-License-Identifier: BSD-2-Clause
/* Theory of operation. A fault in memory that nobody reads before it is written over measures nothing ("inject on
 * read": Barbosa, Vinter, Folkesson and Karlsson, EDCC 2005). So the moment is chosen with the word:
 * - What a process reads itself (heap, stack): it goes instruction by instruction, some hundreds by the seed, until one
 * is about to read such memory. The word is what that one reads.
 * - What others read (pool, ring, arena): it is stopped behind its write, by a watchpoint on a word that is likely to
 * be written soon: the next slots of a ring; in a pool or an arena what changed within some milliseconds. What it has
 *   written it has not yet published, so that whoever is told of it reads the damage.
 * - What the kernel writes (the pool of nic): it is stopped at the end of the system call.
 * - A store: a committed block; memory.c ends the domain before it writes it again.
 * Bounded: all of it ends at the request's timeout. What is chosen is not known to be read: memory.c watches for that.
 */
#include "servers/inject/live.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ipc/ring.h"
#include "ipc/store.h"

#define PAGES_MAX         (1U << 18)
#define PAGE_THERE        (1ULL << 63 | 1ULL << 62) /* /proc/PID/pagemap: present or swapped */
#define STEPS             300U                      /* before the first that counts, less than this */
#define READS             8U
#define CODE_OCTETS       15U
#define STEPS_MAX         5000U /* it is slow meanwhile */
#define SKIPPED_US        300
#define ALONE_US          50000 /* for the first choice of a ring */
#define AHEAD             4U
#define DIFFERENCE_OCTETS (24U << 20)
#define DIFFERENCE_US     3000
#define DIFFERENCES       4096U
#define WRITTEN_US        30000
#define PARTS_MAX         8U

/* ---- where ---- */

bool live_wanted(const struct injection *injection, const struct map *map, enum map_kind kinds)
{
    char name[MAPS_NAME];
    if ((map->kind & kinds) == 0)
        return false;
    if (kinds != MAP_STORE && kinds != MAP_POOL)
        return true;
    snprintf(name, sizeof name, "%s-%.16s", map_kind_name(kinds), injection->server); /* in a domain of several */
    return strcmp(map->name, name) == 0;
}

uint64_t *live_pages(const struct injection *injection, const struct maps *maps, enum map_kind kinds, uint64_t sp,
                     size_t *ret_count)
{
    char path[48];
    size_t count = 0;
    uint64_t *ret = calloc(PAGES_MAX, sizeof *ret);
    snprintf(path, sizeof path, "/proc/%d/pagemap", injection->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (uint32_t i = 0; i < maps->count && fd >= 0 && ret != NULL; i++) {
        const struct map *map = &maps->map[i];
        uint64_t from = map->kind == MAP_STACK ? sp / PAGE * PAGE : map->start, entry;
        if (!live_wanted(injection, map, kinds))
            continue;
        for (; from < map->end && count < PAGES_MAX; from += PAGE)
            if (pread(fd, &entry, sizeof entry, (off_t)(from / PAGE * sizeof entry)) == (ssize_t)sizeof entry &&
                (entry & PAGE_THERE) != 0)
                ret[count++] = from;
    }
    if (fd >= 0)
        close(fd);
    *ret_count = count;
    return ret;
}

static bool is_there(const struct injection *injection, const struct maps *maps, enum map_kind kinds, uint64_t address)
{
    for (uint32_t i = 0; i < maps->count; i++)
        if (address >= maps->map[i].start && address < maps->map[i].end)
            return live_wanted(injection, &maps->map[i], kinds);
    return false;
}

/* Stopped, whatever comes in between; what was chosen lasts only if it is at the place still. */
static enum trace_event settle(struct tracee *tracee)
{
    enum trace_event event = trace_stop(tracee);
    if (event == TRACE_BREAKPOINT)
        tracee->pending = SIGTRAP; /* its own */
    return event == TRACE_GONE ? TRACE_GONE : TRACE_STOPPED;
}

/* ---- read by itself ---- */

struct access {
    uint64_t address;
    uint32_t octets; /* 0: it reads nothing */
    uint64_t pc, sp;
    bool calls; /* the system: that may take its time */
};

static uint64_t register_of(const struct user_regs_struct *r, x86_reg name)
{
    const struct {
        x86_reg name;
        uint64_t value;
    } all[] = {
        {X86_REG_RAX, r->rax}, {X86_REG_RBX, r->rbx}, {X86_REG_RCX, r->rcx}, {X86_REG_RDX, r->rdx},
        {X86_REG_RSI, r->rsi}, {X86_REG_RDI, r->rdi}, {X86_REG_RBP, r->rbp}, {X86_REG_RSP, r->rsp},
        {X86_REG_R8, r->r8},   {X86_REG_R9, r->r9},   {X86_REG_R10, r->r10}, {X86_REG_R11, r->r11},
        {X86_REG_R12, r->r12}, {X86_REG_R13, r->r13}, {X86_REG_R14, r->r14}, {X86_REG_R15, r->r15},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].name == name)
            return all[i].value;
    return 0;
}

static uint64_t address_of(const struct user_regs_struct *r, const cs_insn *code, const x86_op_mem *memory)
{
    uint64_t address = (uint64_t)memory->disp + register_of(r, memory->index) * (uint64_t)memory->scale;
    address += memory->base == X86_REG_RIP ? r->rip + code->size : register_of(r, memory->base);
    return address + (memory->segment == X86_REG_FS ? r->fs_base : 0);
}

/* What the instruction is about to read. */
static struct access access_of(const struct user_regs_struct *r, const cs_insn *code)
{
    const cs_x86 *x86 = &code->detail->x86;
    if (code->id == X86_INS_RET || code->id == X86_INS_POP)
        return (struct access){.address = r->rsp, .octets = WORD};
    if (code->id == X86_INS_LEA || code->id == X86_INS_NOP)
        return (struct access){0};
    for (uint8_t i = 0; i < x86->op_count; i++) {
        const cs_x86_op *operand = &x86->operands[i];
        if (operand->type == X86_OP_MEM && (operand->access & CS_AC_READ) != 0)
            return (struct access){.address = address_of(r, code, &operand->mem), .octets = operand->size};
    }
    return (struct access){0};
}

static struct access access_next(const struct tracee *tracee, csh decoder)
{
    struct user_regs_struct registers;
    uint8_t octets[CODE_OCTETS];
    cs_insn *code = NULL;
    struct access access = {.calls = true};
    if (!trace_registers(tracee, &registers) || !trace_read(tracee, registers.rip, octets, sizeof octets))
        return access;
    if (cs_disasm(decoder, octets, sizeof octets, registers.rip, 1, &code) == 1) {
        access = access_of(&registers, code);
        access.calls = code->id == X86_INS_SYSCALL || (int64_t)registers.orig_rax >= 0; /* or goes on with one */
        cs_free(code, 1);
    }
    access.pc = registers.rip;
    access.sp = registers.rsp;
    return access;
}

/* The first word of what is read, or any of a longer read. */
static struct live live_of(struct injection *injection, const struct access *access)
{
    uint64_t at = access->address +
                  (access->octets > WORD ? random_next(&injection->random) % (access->octets / WORD) * WORD : 0);
    uint32_t bit = (uint32_t)(at % WORD * 8), bits = (access->octets < WORD ? access->octets : WORD) * 8;
    return (struct live){at / WORD * WORD, bit, bits < 64 - bit ? bits : 64 - bit, access->pc};
}

/* It is at one instruction still, which clears or copies much: that is not gone along with. */
static enum trace_event skip(struct tracee *tracee)
{
    trace_go(tracee);
    enum trace_event event = trace_wait(tracee, trace_now_us() + SKIPPED_US);
    if (event != TRACE_GONE)
        event = settle(tracee);
    return event == TRACE_GONE ? event : TRACE_NEXT;
}

enum trace_event live_read(struct injection *injection, struct tracee *tracee, csh decoder, const struct maps *maps,
                           enum map_kind kinds, struct live *ret)
{
    uint64_t end = trace_now_us() + injection->timeout_us, steps = random_next(&injection->random) % STEPS;
    uint64_t reads = random_next(&injection->random) % READS, last = 0;
    enum trace_event event = TRACE_NEXT;
    *ret = (struct live){0};
    for (uint64_t n = 0; n < STEPS_MAX && event == TRACE_NEXT && trace_now_us() < end; n++) {
        struct access access = access_next(tracee, decoder);
        bool counts = n >= steps && access.octets > 0 && is_there(injection, maps, kinds, access.address) &&
                      (kinds != MAP_STACK || access.address >= access.sp);
        if (counts && reads-- == 0) {
            *ret = live_of(injection, &access);
            return TRACE_STOPPED;
        }
        event = access.pc == last ? skip(tracee) : trace_step(tracee, access.calls ? end : 0);
        last = access.pc;
    }
    return event == TRACE_GONE ? event : settle(tracee);
}

/* ---- written, to be read by others ---- */

/* Until one of them is written; it is stopped then. */
static enum trace_event await_write(struct tracee *tracee, const uint64_t *address, size_t count, uint64_t end,
                                    struct live *ret)
{
    *ret = (struct live){0};
    if (count == 0 || !trace_watch_writes(tracee, address, count))
        return TRACE_STOPPED;
    trace_go(tracee);
    enum trace_event event = trace_wait(tracee, end);
    unsigned hit = event == TRACE_WATCHPOINT ? trace_watched(tracee) : 0;
    if (hit != 0)
        *ret = (struct live){address[__builtin_ctz(hit)], 0, 64, 0};
    event = event == TRACE_GONE ? event : settle(tracee);
    if (event != TRACE_GONE)
        trace_watch(tracee, 0);
    return event;
}

/* A word of one of the slots that are filled next. */
static uint64_t ring_ahead(struct injection *injection, const struct tracee *tracee, const struct map *map)
{
    uint32_t producer;
    if (!trace_read(tracee, map->start + offsetof(struct ring_half, producer), &producer, sizeof producer))
        return 0;
    uint64_t slot = (producer + random_next(&injection->random) % AHEAD) % RING_SLOTS;
    return map->start + offsetof(struct ring_half, slot) + slot * sizeof(struct ring_slot) +
           random_next(&injection->random) % (sizeof(struct ring_slot) / WORD) * WORD;
}

/* One of the rings, and if it is quiet all. */
static enum trace_event ring_written(struct injection *injection, struct tracee *tracee, const struct maps *maps,
                                     uint64_t end, struct live *ret)
{
    uint64_t address[TRACE_WATCHES];
    size_t count = 0;
    *ret = (struct live){0};
    for (uint32_t i = 0; i < maps->count && count < TRACE_WATCHES; i++)
        if (maps->map[i].kind == MAP_RING && strncmp(maps->map[i].name, "ring-", 5) == 0 &&
            maps->map[i].end - maps->map[i].start >= sizeof(struct ring_half))
            address[count++] = ring_ahead(injection, tracee, &maps->map[i]);
    if (count == 0)
        return TRACE_STOPPED;
    size_t first = random_next(&injection->random) % count;
    enum trace_event event = await_write(tracee, &address[first], 1, trace_now_us() + ALONE_US, ret);
    if (event == TRACE_GONE || ret->address != 0)
        return event;
    return await_write(tracee, address, count, end, ret);
}

struct look {
    uint64_t *page;
    size_t pages;
    uint8_t *octets[2];
};

static size_t look_take(const struct look *look, const struct tracee *tracee, int which)
{
    size_t done = 0;
    while (done < look->pages && trace_read(tracee, look->page[done], look->octets[which] + done * PAGE, PAGE))
        done++;
    return done;
}

/* Up to TRACE_WATCHES of the words that changed between the two looks. */
static size_t look_compare(const struct look *look, size_t pages, struct injection *injection, uint64_t *ret)
{
    size_t count = 0;
    for (size_t at = 0; at < pages * PAGE; at += WORD) {
        if (memcmp(look->octets[0] + at, look->octets[1] + at, WORD) == 0)
            continue;
        size_t place = count < TRACE_WATCHES ? count : random_next(&injection->random) % (count + 1);
        if (place < TRACE_WATCHES) /* each is kept with the same chance */
            ret[place] = look->page[at / PAGE] + at % PAGE;
        count++;
    }
    return count < TRACE_WATCHES ? count : TRACE_WATCHES;
}

static enum trace_event changed_written(struct injection *injection, struct tracee *tracee, const struct look *look,
                                        uint64_t end, struct live *ret)
{
    uint64_t address[TRACE_WATCHES];
    enum trace_event event = TRACE_STOPPED;
    while (event == TRACE_STOPPED && ret->address == 0 && trace_now_us() < end) {
        size_t pages = look_take(look, tracee, 0);
        trace_go(tracee);
        event = trace_wait(tracee, trace_now_us() + DIFFERENCE_US);
        event = event == TRACE_GONE ? event : settle(tracee);
        size_t again = event == TRACE_GONE ? 0 : look_take(look, tracee, 1);
        size_t count = look_compare(look, again < pages ? again : pages, injection, address);
        if (count > 0)
            event = await_write(tracee, address, count, trace_now_us() + WRITTEN_US, ret);
    }
    return event;
}

enum trace_event live_written(struct injection *injection, struct tracee *tracee, const struct maps *maps,
                              enum map_kind kinds, struct live *ret)
{
    uint64_t end = trace_now_us() + injection->timeout_us;
    if (kinds == MAP_RING)
        return ring_written(injection, tracee, maps, end, ret);
    struct look look = {0};
    look.page = live_pages(injection, maps, kinds, 0, &look.pages);
    look.pages = look.pages < DIFFERENCE_OCTETS / PAGE ? look.pages : DIFFERENCE_OCTETS / PAGE;
    for (int i = 0; i < 2; i++)
        look.octets[i] = malloc(look.pages * PAGE + 1);
    enum trace_event event = TRACE_STOPPED;
    *ret = (struct live){0};
    if (look.page != NULL && look.pages > 0 && look.octets[0] != NULL && look.octets[1] != NULL)
        event = changed_written(injection, tracee, &look, end, ret);
    free(look.octets[0]);
    free(look.octets[1]);
    free(look.page);
    return event;
}

/* ---- written by the kernel ---- */

/* An octet among the first `octets` of the parts; 0: it cannot be told. */
static uint64_t part_octet(const struct tracee *tracee, uint64_t parts, uint64_t count, uint64_t at)
{
    struct iovec part[PARTS_MAX];
    if (count == 0 || count > PARTS_MAX || !trace_read(tracee, parts, part, count * sizeof *part))
        return 0;
    for (uint64_t i = 0; i < count; i++) {
        if (at < part[i].iov_len)
            return (uint64_t)(uintptr_t)part[i].iov_base + at;
        at -= part[i].iov_len;
    }
    return 0;
}

static uint64_t received_octet(struct injection *injection, const struct tracee *tracee)
{
    struct user_regs_struct r;
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, tracee->pid, sizeof info, &info) <= 0 || info.op != PTRACE_SYSCALL_INFO_EXIT ||
        info.exit.is_error || info.exit.rval <= 0 || !trace_registers(tracee, &r))
        return 0;
    uint64_t at = random_next(&injection->random) % (uint64_t)info.exit.rval;
    return r.orig_rax == SYS_readv ? part_octet(tracee, r.rsi, r.rdx, at) : r.orig_rax == SYS_read ? r.rsi + at : 0;
}

enum trace_event live_received(struct injection *injection, struct tracee *tracee, const struct maps *maps,
                               enum map_kind kinds, struct live *ret)
{
    uint64_t end = trace_now_us() + injection->timeout_us;
    enum trace_event event = TRACE_NEXT;
    *ret = (struct live){0};
    while (event == TRACE_NEXT && trace_now_us() < end) {
        event = trace_call(tracee, end);
        uint64_t octet = event == TRACE_NEXT ? received_octet(injection, tracee) : 0;
        if (octet == 0 || !is_there(injection, maps, kinds, octet))
            continue;
        *ret = (struct live){octet / WORD * WORD, (uint32_t)(octet % WORD * 8), 8, 0};
        return TRACE_STOPPED;
    }
    return event == TRACE_GONE ? event : settle(tracee);
}

/* ---- kept ---- */

void live_stored(struct injection *injection, const struct tracee *tracee, const struct maps *maps, struct live *ret)
{
    *ret = (struct live){0};
    for (uint32_t i = 0; i < maps->count && ret->address == 0; i++) {
        const struct map *map = &maps->map[i];
        _Alignas(8) uint8_t header[64];
        if (!live_wanted(injection, map, MAP_STORE) || !trace_read(tracee, map->start, header, sizeof header))
            continue;
        size_t octets = map->end - map->start, extent = store_extent(header, octets), at;
        uint8_t *copy = aligned_alloc(64, (extent + 63) & ~(size_t)63);
        if (copy != NULL && trace_read(tracee, map->start, copy, extent) &&
            store_payload(copy, octets, random_next(&injection->random), &at))
            *ret = (struct live){map->start + at / WORD * WORD, (uint32_t)(at % WORD * 8), 8, 0};
        free(copy);
    }
}
