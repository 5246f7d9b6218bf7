// SPDX-License-Identifier: BSD-2-Clause
/* What the prober says to the supervisor after each probe, over their socketpair: one datagram of this size. */
#ifndef BULKHEAD_SERVERS_PROBER_REPORT_H
#define BULKHEAD_SERVERS_PROBER_REPORT_H

#include <stdint.h>

#define PROBE_MAGIC 0x50524f42U

enum probe_outcome {
    PROBE_UNKNOWN, /* not asked, or refused for want of room: says nothing */
    PROBE_SERVED,
    PROBE_FAILED, /* wrongly served, refused, or not in time */
    PROBE_OUTCOMES
};

enum probe_stage { /* of the connection that failed: what did not happen */
                   PROBE_STAGE_UNKNOWN,
                   PROBE_STAGE_CALL, /* a call was not answered that the socket server has tcp's word for */
                   PROBE_STAGE_CONNECT,
                   PROBE_STAGE_ACCEPT, /* connected, and never accepted */
                   PROBE_STAGE_OCTETS, /* accepted: applications and tcp alone have to do with it */
                   PROBE_STAGES
};

enum probe_end { PROBE_END_CONNECTED, PROBE_END_ACCEPTED, PROBE_ENDS }; /* of a connection */
#define PROBE_END_BIT(end) (1U << (end))

struct probe_slot { /* ipc/session.h, as the socket server's answer to connect() or accept() had it */
    uint32_t arena, slot, generation;
};

struct probe_report {
    uint32_t magic, sequence;
    uint64_t began_us; /* CLOCK_MONOTONIC */
    uint32_t took_us;
    uint32_t late_us; /* what the longest wait of it took longer than was asked: the machine's doing */
    uint8_t request;  /* enum probe_outcome: the socket server answers */
    uint8_t tcp, udp; /* an octet went there and back */
    uint8_t stage;    /* enum probe_stage, where tcp is PROBE_FAILED */
    uint8_t handed;   /* PROBE_END_BIT()s: which ends of the last connection were handed a slot */
    uint8_t reserved[3];
    struct probe_slot slot[PROBE_ENDS];
};
_Static_assert(sizeof(struct probe_report) == 56, "no holes");

#endif
