// SPDX-License-Identifier: BSD-2-Clause
/* What a driver is: frames in, frames out, with their offload fields, and, if it delays them, a deadline. It waits for
 * nothing. In one burst: begin(); receive() and send() as often as wanted; flush(). */
#ifndef BULKHEAD_NETDRV_DRIVER_H
#define BULKHEAD_NETDRV_DRIVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ipc/message.h"
#include "netdrv/wire.h"

#define NETDRV_PARTS_MAX 2 /* pieces a frame to send is gathered from: headers, payload */
#define NETDRV_FRAME_MAX (14U + 65535U)

enum netdrv_kind { NETDRV_TAP = 0, NETDRV_WIRE = 1, NETDRV_KINDS };

enum netdrv_can { /* what a device does by itself on sending; the rest is done before it (segment.h) */
                  NETDRV_CAN_CHECKSUM = 1,
                  NETDRV_CAN_TSO4 = 2,
                  NETDRV_CAN_TSO6 = 4,
                  NETDRV_CAN_USO = 8,
                  NETDRV_CAN_ALL = 15,
};

struct netdrv_offload {     /* fields as in struct message */
    uint8_t gso_type;       /* enum message_gso */
    uint8_t checksum_state; /* enum message_checksum */
    uint8_t header_octets;  /* send: link to transport headers; receive: 0 */
    uint8_t reserved;
    uint16_t gso_size;
    uint16_t checksum_start; /* from the start of the frame */
    uint16_t checksum_offset;
};

enum netdrv_result {
    NETDRV_OK = 0,
    NETDRV_NOTHING = 1,   /* receive: no frame is there */
    NETDRV_FULL = 2,      /* send: the device takes no more just now; the frame was not sent */
    NETDRV_MALFORMED = 3, /* receive: offload fields that cannot be; the frame is lost. Send: the device refused it */
    NETDRV_DOWN = 4,      /* send: there is no link; the frame was not sent */
};

enum netdrv_link {
    NETDRV_LINK_UP,
    NETDRV_LINK_DOWN,
    NETDRV_LINK_BROKEN, /* the other side lied: nothing is read or written until there is a new link */
};

struct netdrv_grant { /* what a driver works on; all zero: TAP, without offload, descriptor apart */
    uint32_t kind;    /* enum netdrv_kind */
    uint32_t can;     /* enum netdrv_can, of the device */
    struct wire_grant wire;
};

struct netdrv {
    const struct netdrv_operations *operations;
    int device;      /* what is read and written (TAP); readable when there is something to receive */
    uint32_t can;    /* enum netdrv_can */
    uint64_t now_us; /* of the burst */
    struct wire wire;
};

struct netdrv_operations {
    bool plain; /* what is received is neither verified nor coalesced: worth doing in software (coalesce.h) */
    /* One frame into `buffer` (NETDRV_FRAME_MAX octets). OK, NOTHING, MALFORMED, or a negative errno: the device is
     * broken. *ret_octets and *ret_offload only with OK; the offload fields are consistent with the length. */
    int (*receive)(struct netdrv *driver, uint8_t *buffer, uint32_t *ret_octets, struct netdrv_offload *ret_offload);
    /* One frame gathered from `count` parts, asking for no more than `can` says. OK, FULL, DOWN, MALFORMED, or a
     * negative errno: the device is broken. */
    int (*send)(struct netdrv *driver, const struct netdrv_offload *offload, const struct iovec *part, unsigned count);
    /* All of these may be NULL: nothing to do. */
    void (*begin)(struct netdrv *driver); /* a burst begins; now_us is set */
    void (*flush)(struct netdrv *driver); /* lets out what was sent and is due, gives back what was received */
    uint64_t (*deadline_us)(const struct netdrv *driver); /* when a frame is due; UINT64_MAX never */
    /* Before its owner sleeps on `device`: from here on the device wakes it. True: there is something to receive
     * already (which `device` alone does not tell). */
    bool (*pending)(struct netdrv *driver);
    enum netdrv_link (*link)(const struct netdrv *driver); /* NULL: not known, taken as up */
    /* The grant has changed: another link, or none. */
    void (*changed)(struct netdrv *driver, const struct netdrv_grant *grant);
};

extern const struct netdrv_operations netdrv_tap, netdrv_wire;

/* False: no such kind, or a grant that cannot be. */
bool netdrv_init(struct netdrv *driver, const struct netdrv_grant *grant, int device);

/* Whether the device does what this offload asks for. */
static inline bool netdrv_does(const struct netdrv *driver, const struct netdrv_offload *offload)
{
    static const uint8_t needs[] = {[MESSAGE_GSO_NONE] = 0,
                                    [MESSAGE_GSO_TCP4] = NETDRV_CAN_TSO4,
                                    [MESSAGE_GSO_TCP6] = NETDRV_CAN_TSO6,
                                    [MESSAGE_GSO_UDP] = NETDRV_CAN_USO};
    uint32_t needed = offload->checksum_state == MESSAGE_CHECKSUM_PARTIAL ? NETDRV_CAN_CHECKSUM : 0;
    if (offload->gso_type < sizeof needs)
        needed |= needs[offload->gso_type];
    return (driver->can & needed) == needed;
}

/* For the supervisor: opens (or makes) the TAP interface `name` of the current network namespace, with IFF_VNET_HDR and
 * the offloads that this kernel has (both ways; *ret_can), non-blocking and close-on-exec. A descriptor or a negative
 * errno. */
int netdrv_tap_open(const char *name, uint32_t *ret_can) __attribute__((warn_unused_result));

#endif
