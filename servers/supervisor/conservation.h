// SPDX-License-Identifier: BSD-2-Clause
/* Conservation of flow: what goes into a server that forwards comes out of it, or somebody is told why not (Bradley et
 * al., Detecting Disruptive Routers, S&P 1998). Who takes and takes, and lets nothing out, is at fault, however well it
 * beats. Pure: no state but its own, no clock. */
#ifndef BULKHEAD_SERVERS_SUPERVISOR_CONSERVATION_H
#define BULKHEAD_SERVERS_SUPERVISOR_CONSERVATION_H

#include <stdint.h>

#include "servers/topology/topology.h"

#define CONSERVATION_PAUSE_US 5000000 /* after a law's servers have all had a life: doubled from time to time, ... */
#define CONSERVATION_MOST_US  640000000
#define CONSERVATION_CALM_US  60000000 /* ... until all was well for this long */
#define CONSERVATION_NEXT_US  1000000  /* from one server of a law to the next */

/* Where packets are counted. Heard: taken by the one it was said to, and looked at. Said: whether taken or not. */
enum flow_point {
    POINT_ASKED_TCP, /* heard by ip: for the wire, by the rules */
    POINT_ASKED_UDP,
    POINT_SAYS_TCP, /* heard by ip: by the rules, wherever it goes */
    POINT_SAYS_UDP,
    POINT_MISASKED_TCP, /* by no rule: ip drops it */
    POINT_MISASKED_UDP,
    POINT_SENT, /* heard by nic: a frame */
    POINT_MISSENT,
    POINT_UNWRITTEN, /* heard by nic, and not written to the device */
    POINT_WRITTEN,   /* 1: all was */
    POINT_KEPT,      /* read from the device, and not said to ip */
    POINT_READ,      /* 1: all was */
    POINT_UP,        /* heard by ip: may be a frame */
    POINT_MISUP,     /* is none */
    POINT_DUE_TCP,   /* heard by ip: a packet that tcp is to have */
    POINT_DUE_UDP,
    POINT_DAMAGED, /* of those: fails its checksum, as nic has it */
    POINT_WHOLE,
    POINT_SAID_SENT,   /* by ip to nic, whatever it is */
    POINT_SAID_PACKET, /* a transport's */
    POINT_HANDED_TCP,  /* said to tcp, from the wire */
    POINT_HANDED_UDP,
    POINT_MISQUOTED, /* of those: with another word on its checksum than nic's */
    POINT_QUOTED,
    POINT_TOLD, /* said to a transport: a packet of its own came to nothing */
    POINTS
};
#define POINT(point) (1U << (point))

#define CONSERVATION_LAWS 12
struct conservation {
    struct {
        uint32_t count;             /* looks in a row at which something came to nothing */
        uint64_t since_us, last_us; /* the first of them, the last */
        uint32_t turn;              /* servers that had a life for it */
    } law[CONSERVATION_LAWS];
    uint64_t quiet_until_us, pause_us; /* 0: none yet */
};

/* One more look: how much at each point since the last one; `known`: of which points that is known. The server whose
 * domain is to have a new life, and why in a few words; SERVER_COUNT: none. */
enum server_id conservation_look(struct conservation *c, uint32_t known, const uint32_t count[POINTS], uint64_t now,
                                 const char **ret_why);
/* What was counted means nothing: somebody was replaced, or could not run. */
void conservation_forget(struct conservation *c);

#endif
