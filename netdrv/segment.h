// SPDX-License-Identifier: BSD-2-Clause
/* Checksums and segmentation in software, at the last moment, for devices that cannot (GSO): a packet with a partial
 * checksum is finished, a super-frame becomes frames of the MTU. Pure code on private bytes: headers are a checked
 * copy, the payload is copied once into the caller's frame and summed there, so that what changes under our hands (an
 * application's memory) still goes out with a checksum that fits it. */
#ifndef BULKHEAD_NETDRV_SEGMENT_H
#define BULKHEAD_NETDRV_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "netdrv/driver.h"

struct segment_layout { /* of a frame with a whole TCP, UDP or ICMPv6 header in it */
    uint8_t family;     /* ADDRESS_IP4, ADDRESS_IP6 */
    uint8_t protocol;
    uint16_t network; /* offsets in the frame */
    uint16_t transport;
    uint16_t payload;  /* ICMPv6: of what follows the checksum */
    uint16_t checksum; /* of the transport's checksum field, from `transport` */
};

struct segmenter { /* private */
    struct segment_layout layout;
    const uint8_t *header, *payload;
    uint32_t header_octets, payload_octets;
    uint32_t size; /* payload octets of one segment; 0: one frame, whatever it holds */
    uint32_t done, count;
    bool started;
};

/* Untrusted: header (a private copy), its length. False: no such headers, or not whole: a fragment, another protocol,
 * an IPv6 routing header (which changes what is summed). */
bool segment_layout_read(const uint8_t *header, uint32_t octets, struct segment_layout *ret);

/* Whether these offload fields say something true of the headers, whoever will act upon them: the checksum is the
 * transport's own; the kind of segmentation is that of ethertype and protocol; all headers are in `header` (and no
 * payload), and with gso_size octets of payload a segment fits `mtu`. */
bool segment_offload_fits(const struct netdrv_offload *offload, const uint8_t *header, uint32_t octets, uint32_t mtu);

/* Whether the transport's checksum, over all of the frame, is right. */
bool segment_checksum_right(const struct segment_layout *layout, const uint8_t *frame, uint32_t octets);
/* Lengths of IP (with the checksum of IPv4's header) and UDP for a frame of `octets`. */
void segment_lengths_write(const struct segment_layout *layout, uint8_t *frame, uint32_t octets);

/* `offload` fits (above) and asks for a checksum, at least. `header` and `payload` stay the caller's and must stay. */
bool segment_begin(struct segmenter *segmenter, const struct netdrv_offload *offload, const uint8_t *header,
                   uint32_t header_octets, const uint8_t *payload, uint32_t payload_octets);
/* Untrusted: payload (an application's memory). The next frame, complete with checksums, into `frame`
 * (header_octets + gso_size octets; header_octets + payload_octets if it is not segmented). Its length; 0: all are out.
 */
uint32_t segment_next(struct segmenter *segmenter, uint8_t *frame);
/* Frames that are still to come. */
uint32_t segment_left(const struct segmenter *segmenter);

#endif
