// SPDX-License-Identifier: BSD-2-Clause
/* Runs in a signal handler, on the handler's stack, over state that may be damaged: it calls nothing that is not
 * async-signal-safe, every loop is bounded, and what matters most is written first; a fault in here ends the process at
 * once (capabilities/sandbox.c), and the page says what was known by then. On the hot path it costs one store a server
 * and round (domain->running): messages are found again where they lie in the rings. */
#include "servers/domain/crash.h"

#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "capabilities/sandbox.h"
#include "ipc/crash.h"

#define STACK_OCTETS_MAX    (1U << 20) /* as the sandbox limits it */
#define FRAME_SEARCH_OCTETS 4096

/* The process's own: a signal handler is handed no pointer. */
static struct {
    struct domain *domain;
    uintptr_t stack_top;
} watched;

struct place { /* where it died */
    uintptr_t pc, sp, fp;
};

#if defined(__x86_64__)
static struct place registers_save(struct crash_page *page, const ucontext_t *context)
{
    const greg_t *r = context->uc_mcontext.gregs;
    for (unsigned i = 0; i <= REG_EFL; i++)
        page->registers[i] = (uint64_t)r[i];
    page->register_count = REG_EFL + 1;
    return (struct place){(uintptr_t)r[REG_RIP], (uintptr_t)r[REG_RSP], (uintptr_t)r[REG_RBP]};
}
#elif defined(__aarch64__)
static struct place registers_save(struct crash_page *page, const ucontext_t *context)
{
    const mcontext_t *m = &context->uc_mcontext;
    for (unsigned i = 0; i < 31; i++)
        page->registers[i] = m->regs[i];
    page->registers[31] = m->sp;
    page->registers[32] = m->pc;
    page->register_count = 33;
    return (struct place){m->pc, m->sp, m->regs[29]};
}
#else
static struct place registers_save(struct crash_page *page, const ucontext_t *context)
{
    (void)page, (void)context;
    return (struct place){0, 0, 0};
}
#endif

extern const char __executable_start[], etext[]; /* the linker's */

static bool is_code(uintptr_t address)
{
    return address > (uintptr_t)__executable_start && address < (uintptr_t)etext;
}

/* The C library keeps no frame pointer: if it died in there, the first thing on the stack that looks like a frame
 * record is our last caller's. */
static uintptr_t frame_find(const struct place *place)
{
    uintptr_t last = watched.stack_top - sizeof(uintptr_t);
    if (place->fp >= place->sp && place->fp <= watched.stack_top)
        return place->fp;
    for (uintptr_t at = (place->sp + 7) & ~(uintptr_t)7; at <= last && at - place->sp < FRAME_SEARCH_OCTETS; at += 8) {
        const uintptr_t *record = (const uintptr_t *)at;
        if (record[0] > at && record[0] <= watched.stack_top && record[0] % 8 == 0 && is_code(record[1]))
            return at;
    }
    return 0;
}

/* Frame records lie between the stack pointer and the top that we know, each above the one before. */
static void backtrace_save(struct crash_page *page, const struct place *place)
{
    uintptr_t low = place->sp, frame;
    page->frame[0] = place->pc;
    page->frame_count = 1;
    if (low > watched.stack_top || watched.stack_top - low > STACK_OCTETS_MAX)
        return;
    frame = frame_find(place);
    for (uint32_t i = 1; i < CRASH_FRAMES; i++) {
        if (frame < low || frame > watched.stack_top || frame % sizeof(uintptr_t) != 0)
            return;
        const uintptr_t *record = (const uintptr_t *)frame;
        if (record[1] == 0)
            return;
        page->frame[i] = record[1];
        page->frame_count = i + 1;
        low = frame + 1;
        frame = record[0];
    }
}

static void messages_save(struct crash_page *page, const struct domain *domain)
{
    for (uint32_t p = 0; p < domain->port_count && p < CRASH_PORTS; p++) {
        const struct domain_port *port = domain->port[p];
        struct crash_port *to = &page->port[p];
        to->server = port->server;
        to->peer = port->peer;
        to->messages = to->fresh = 0;
        if (port->port.attached)
            to->messages = ring_recent(&port->port.ring, to->message, CRASH_MESSAGES, &to->fresh);
        page->port_count = p + 1;
    }
}

/* What the message names, by our table: as any server would have looked at it. */
static bool packet_copy(struct crash_page *page, struct domain_port *port, const struct message *m)
{
    const struct message_reference *r = &m->reference[0];
    if ((m->operation != MESSAGE_SEND && m->operation != MESSAGE_RECEIVE) || r->length == 0)
        return false;
    const struct capability *c = capability_range(&port->port.table, r->pool, r->generation, r->offset, r->length);
    if (c == NULL || c->base == NULL)
        return false;
    uint32_t octets = r->length < CRASH_PACKET ? r->length : CRASH_PACKET;
    page->packet_server = port->server;
    page->packet_peer = port->peer;
    memcpy(page->packet, c->base + r->offset, octets);
    page->packet_octets = octets;
    return true;
}

/* The latest packet that the running server pulled in this burst. */
static void packet_save(struct crash_page *page, struct domain *domain)
{
    for (uint32_t p = 0; p < page->port_count && p < domain->port_count; p++) {
        const struct crash_port *from = &page->port[p];
        for (uint32_t i = 0; from->server == domain->running && i < from->fresh && i < CRASH_MESSAGES; i++) {
            if (packet_copy(page, domain->port[p], &from->message[i]))
                return;
        }
    }
}

static void last_words(int signo, const siginfo_t *info, const void *context)
{
    struct domain *domain = watched.domain;
    struct crash_page *page = domain != NULL ? domain->crash : NULL;
    if (page == NULL)
        return;
    page->register_count = page->frame_count = page->port_count = page->packet_octets = 0;
    page->signal = (uint32_t)signo;
    page->code = info->si_code;
    page->address = (uint64_t)(uintptr_t)info->si_addr;
    page->running = domain->running;
    struct place place = registers_save(page, context);
    __atomic_store_n(&page->incarnation, domain->incarnation, __ATOMIC_RELEASE);
    backtrace_save(page, &place);
    messages_save(page, domain);
    packet_save(page, domain);
}

void crash_watch(struct domain *domain, const void *stack_top)
{
    watched.domain = domain;
    watched.stack_top = (uintptr_t)stack_top;
    sandbox_last_words(last_words);
}
