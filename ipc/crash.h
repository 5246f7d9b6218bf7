// SPDX-License-Identifier: BSD-2-Clause
/* What a domain says of its own death: a segment of its own, written by its signal handler, read by the supervisor when
 * the process is gone (DESIGN section 6, report). Nothing in it is trusted: counts are bounded by who reads them. */
#ifndef BULKHEAD_IPC_CRASH_H
#define BULKHEAD_IPC_CRASH_H

#include <stdint.h>

#include "ipc/message.h"

#define CRASH_REGISTERS 34
#define CRASH_FRAMES    32
#define CRASH_PORTS     10 /* both ends of all channels */
#define CRASH_MESSAGES  4  /* of each port, the latest first */
#define CRASH_PACKET    256
#define CRASH_SERVERS   5
#define CRASH_CANARY    4096 /* octet n of it is (uint8_t)(n * 151 + 43) */

struct crash_port {
    uint32_t server, peer; /* ids: pulled by, pushed by */
    uint32_t messages;
    uint32_t fresh; /* of these: not given back yet, so of the burst that died */
    struct message message[CRASH_MESSAGES];
};

#define CRASH_WORK_NONE 0          /* not in its turn */
#define CRASH_WORK_OWN  UINT64_MAX /* timers and the like: nothing that somebody sent */

struct crash_work { /* of one server; kept up to date while it lives: it tells of every death */
    _Alignas(64) uint64_t key; /* what it is working on, as the server names it; or CRASH_WORK_NONE, CRASH_WORK_OWN */
    uint64_t cleared; /* suspects that it has worked on since, and committed: a bit each, in the order in which it was told */
};

struct crash_page {
    uint32_t incarnation; /* whose death; written when the part up to `registers` is */
    uint32_t signal;
    int32_t code;     /* si_code */
    uint32_t running; /* id of the server whose burst it was, or beyond the last: none */
    uint64_t address; /* si_addr */
    uint32_t register_count, frame_count, port_count, packet_octets;
    uint32_t packet_server, packet_peer; /* the port that it came by */
    uint64_t registers[CRASH_REGISTERS];
    uint64_t frame[CRASH_FRAMES]; /* program counters, innermost first */
    struct crash_port port[CRASH_PORTS];
    uint8_t packet[CRASH_PACKET];
    struct crash_work work[CRASH_SERVERS]; /* by id of the server */
    uint64_t canary; /* address of CRASH_CANARY octets of private memory that nobody writes, 0: none (servers/domain/fault.c) */
    uint64_t reserved[7];
};
_Static_assert(sizeof(struct crash_page) % 8 == 0, "layout");

/* Names of the registers, in the order of `registers`. */
#if defined(__x86_64__)
#define CRASH_REGISTER_NAMES                                                                                           \
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp",      \
        "rip", "eflags"
#elif defined(__aarch64__)
#define CRASH_REGISTER_NAMES                                                                                           \
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",       \
        "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp", "pc"
#else
#define CRASH_REGISTER_NAMES "unknown"
#endif

#endif
