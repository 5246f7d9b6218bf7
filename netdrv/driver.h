// SPDX-License-Identifier: BSD-2-Clause
/* What a driver is: frames in, frames out, with their offload fields. It keeps no queue and waits for nothing. */
#ifndef BULKHEAD_NETDRV_DRIVER_H
#define BULKHEAD_NETDRV_DRIVER_H

#include <stdint.h>
#include <sys/uio.h>

#include "ipc/message.h"

#define NETDRV_PARTS_MAX  2 /* pieces a frame to send is gathered from: headers, payload */
#define NETDRV_FRAME_MAX  (14U + 65535U)

struct netdrv_offload { /* fields as in struct message */
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
    NETDRV_NOTHING = 1,    /* receive: no frame is there */
    NETDRV_FULL = 2,       /* send: the device takes no more just now; the frame was not sent */
    NETDRV_MALFORMED = 3,  /* receive: offload fields that cannot be; the frame is lost. Send: the device refused it */
};

struct netdrv {
    const struct netdrv_operations *operations;
    int device;
};

struct netdrv_operations {
    /* One frame into `buffer` (NETDRV_FRAME_MAX octets). OK, NOTHING, MALFORMED, or a negative errno: the device is
     * broken. *ret_octets and *ret_offload only with OK; the offload fields are consistent with the length. */
    int (*receive)(struct netdrv *driver, uint8_t *buffer, uint32_t *ret_octets, struct netdrv_offload *ret_offload);
    /* One frame gathered from `count` parts. OK, FULL, MALFORMED, or a negative errno: the device is broken. */
    int (*send)(struct netdrv *driver, const struct netdrv_offload *offload, const struct iovec *part, unsigned count);
};

static inline void netdrv_init(struct netdrv *driver, const struct netdrv_operations *operations, int device)
{
    driver->operations = operations;
    driver->device = device;
}

extern const struct netdrv_operations netdrv_tap;

/* For the supervisor: opens (or makes) the TAP interface `name` of the current network namespace, with IFF_VNET_HDR,
 * checksum and TCP segmentation offload, non-blocking and close-on-exec. A descriptor or a negative errno. */
int netdrv_tap_open(const char *name) __attribute__((warn_unused_result));

#endif
