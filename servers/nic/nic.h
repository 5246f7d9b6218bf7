// SPDX-License-Identifier: BSD-2-Clause
/* The nic server, private to its folder and its tests. */
#ifndef BULKHEAD_SERVERS_NIC_NIC_H
#define BULKHEAD_SERVERS_NIC_NIC_H

#include <stdbool.h>
#include <stdint.h>

#include "netdrv/coalesce.h"
#include "servers/lent.h"
#include "servers/server.h"

#define NIC_BUFFERS       ((uint32_t)RECEIVE_BUFFERS)
#define NIC_BUFFER_OCTETS 65664U /* a frame of 64 KB; no multiple of a page, so that heads lie in different cache sets */
#define NIC_HEADER_MAX    256U   /* octets of a frame's headers that are copied and checked */
#define NIC_RETRY_US      200U   /* the ring to ip is full */
#define NIC_BROKEN_US     100000U /* between looks at a device that fails */
#define NIC_SPACE         6U     /* slots: two frames and a batch of returned loans */

/* One name for code, test and `bulkhead stat`. */
#define NIC_COUNTERS(X)                                                                            \
    X(frames_in) X(octets_in) X(super_frames_in) X(frames_out) X(octets_out) X(super_frames_out)   \
    X(coalesced_in)         /* frames that became part of the one before them */                   \
    X(segmented_out)        /* frames that super-frames became here, for want of an offload */     \
    X(loans_home) X(reclaimed) X(offered_again)                                                                     \
    X(drop_in_offload)      /* from the device, offload fields that cannot be */                   \
    X(drop_poison)          /* has killed this server twice in a row */                            \
    X(drop_in_short)        /* less than a link header */                                          \
    X(drop_in_no_loan)      /* ip holds its share */                                               \
    X(drop_operation)       /* from ip: neither SEND nor RETURN */                                 \
    X(drop_return)          /* a loan that ip does not hold */                                     \
    X(drop_link)            /* no right to this link */                                            \
    X(drop_reference)       /* outside of what ip may name, or not mapped here */                  \
    X(drop_header)          /* headers shorter than a link header, or longer than are copied */    \
    X(drop_source)          /* not the hardware address of the link right */                       \
    X(drop_type)            /* an ethertype that the link right does not have */                   \
    X(drop_length)          /* longer than the MTU, or than a super-frame */                       \
    X(drop_offload)         /* checksum or segmentation fields that do not fit the headers */      \
    X(drop_device_full) X(drop_device_refused) X(device_errors)                                    \
    X(drop_link_down)       /* no link: nobody at the other end, or the interface is down */       \
    X(drop_rest)            /* segments of a super-frame behind one that was dropped */            \
    X(drop_late)            /* delayed on purpose, and then there was no room or no link */        \
    X(links_up) X(links_down)                                                                      \
    X(links_broken)         /* the other stack's indices or lengths were impossible */             \
    X(impair_lost) X(impair_full) X(impair_reordered) X(impair_duplicated) X(impair_corrupted)

struct nic_counters {
#define X(name) uint64_t name;
    NIC_COUNTERS(X)
#undef X
};

struct nic {
    struct server_context context;
    struct port *ip;
    struct pool *pool;
    struct netdrv driver;
    struct port_returns returns;
    struct nic_counters counters;
    uint64_t broken_until_us; /* the device failed: not looked at before */
    uint64_t retry_us;        /* UINT64_MAX: nothing waits for room in the ring */
    enum netdrv_link link;    /* as last told */
    struct coalescer train;   /* within a burst: frames being put together, in train_buffer */
    uint32_t train_buffer;
    uint32_t lent_turn;
    struct lent lent[NIC_BUFFERS]; /* of those that ip has */
    bool moved;               /* counters since they were shown */
    uint8_t frame[NETDRV_FRAME_MAX]; /* segmentation: the frame being made */
};

/* ---- send.c: ip -> device ---- */
/* Untrusted: m (from ip; a private copy). Takes a SEND in full: sent or dropped, the loan goes back. */
void nic_send(struct nic *nic, uint64_t now_us, const struct message *m);

/* ---- receive.c: device -> ip ---- */
bool nic_receive(struct nic *nic, uint64_t now_us); /* up to a burst; true: something came */

/* ip's next incarnation is there: TCP's frames that the last one held go to it, all else goes home. */
void nic_offer_again(struct nic *nic);

void nic_device_failed(struct nic *nic, uint64_t now_us);

#endif
