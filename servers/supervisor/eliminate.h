// SPDX-License-Identifier: BSD-2-Clause
/* Which server is to blame when a probe fails, by elimination; no state but its own, no clock. */
#ifndef BULKHEAD_SERVERS_SUPERVISOR_ELIMINATE_H
#define BULKHEAD_SERVERS_SUPERVISOR_ELIMINATE_H

#include <stdbool.h>
#include <stdint.h>

#include "servers/prober/report.h"
#include "servers/topology/topology.h"

#define ELIMINATE_FAILURES 2       /* in a row, before somebody is blamed */
#define ELIMINATE_GUESS_US 2500000 /* of failures before the first guess: the neighbours may know better */
#define ELIMINATE_PAUSE_US 5000000 /* after a series of lives: doubled from series to series, ... */
#define ELIMINATE_MOST_US  640000000
#define ELIMINATE_CALM_US  60000000 /* ... until all was well for this long, and for as long as the last pause */

enum symptom {
    SYMPTOM_NONE,    /* all is well */
    SYMPTOM_REQUEST, /* the socket server does not answer */
    SYMPTOM_TCP,
    SYMPTOM_UDP,
    SYMPTOM_BOTH, /* what both need */
    SYMPTOM_UNKNOWN,
    SYMPTOMS
};

/* Who has to say something to whom for a probe to succeed. As masks: which rings are there to be seen, which moved. */
enum flow { FLOW_SOCKET_TCP, FLOW_TCP_SOCKET, FLOW_TCP_IP, FLOW_IP_TCP, FLOW_UDP_IP, FLOW_IP_UDP, FLOWS };
#define FLOW_BIT(flow) (1U << (flow))

struct elimination {
    enum symptom symptom;              /* of the failures */
    uint32_t failures;                 /* in a row */
    uint64_t since_us;                 /* the first of them */
    uint32_t tried;                    /* servers that have had a new life in this series */
    uint64_t quiet_until_us, pause_us; /* 0: none yet */
};

/* Untrusted: report. SYMPTOM_UNKNOWN: it says nothing. */
enum symptom eliminate_symptom(const struct probe_report *report);
bool eliminate_report_ok(const struct probe_report *report); /* Untrusted: report */
struct probe_evidence {                                      /* what the rings say of a probe */
    enum probe_stage stage;
    bool told;            /* tcp has told the socket server what it waits for at that stage */
    bool misled;          /* the socket server has handed out a slot that tcp has not named, but others; or not told tcp of it */
    bool kept;            /* ip keeps what it was lent for what fails */
    bool undelivered;     /* ip took packets for this host itself, and has delivered none, of what fails */
    uint32_t seen, moved; /* FLOW_BIT()s: who can be heard, and has said something since */
};

/* Whom they tell to be at fault: who keeps, or was told and said nothing on. 0: they tell nothing. */
uint32_t eliminate_hint(enum symptom symptom, const struct probe_evidence *evidence);
/* One more result, with the hint for it. `together[id]`: the servers of its domain, itself among them. The servers
 * whose domains are to have a new life now; 0: none. *ret_exhausted: everyone has had one, in vain. */
uint32_t eliminate(struct elimination *e, enum symptom symptom, uint32_t hint, const uint32_t together[SERVER_COUNT],
                   uint64_t now, bool *ret_exhausted);

#endif
