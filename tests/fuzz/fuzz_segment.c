// SPDX-License-Identifier: BSD-2-Clause
/* Any headers with any offload fields (a neighbour's), and any frames (the wire's): what is let through can be cut into
 * frames that fit, with right checksums, that carry the payload whole; frames put together never grow beyond their
 * buffer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "netdrv/coalesce.h"

#define MTU 1500U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t payload[70000], frame[NETDRV_FRAME_MAX], train[NETDRV_FRAME_MAX];

static void cut(const uint8_t *data, size_t size)
{
    struct netdrv_offload o;
    uint16_t length;
    uint8_t header[256];
    if (size < sizeof o + sizeof length)
        return;
    memcpy(&o, data, sizeof o);
    memcpy(&length, data + sizeof o, sizeof length);
    data += sizeof o + sizeof length;
    size -= sizeof o + sizeof length;
    uint32_t octets = size < sizeof header ? (uint32_t)size : (uint32_t)sizeof header;
    memcpy(header, data, octets);
    uint32_t most = o.gso_type == MESSAGE_GSO_NONE ? (octets < MTU ? MTU - octets : 0) : 65535U - octets;
    uint32_t total = length % (most + 1);
    struct segmenter s;
    if (!segment_offload_fits(&o, header, octets, MTU) || o.checksum_state != MESSAGE_CHECKSUM_PARTIAL)
        return;
    if (!segment_begin(&s, &o, header, octets, payload, total))
        abort(); /* it was let through */
    uint32_t done = 0, made, left = segment_left(&s);
    for (; (made = segment_next(&s, frame)) > 0; left--) {
        struct segment_layout l;
        if (made < octets || made > MTU + 14 || memcmp(frame + octets, payload + done, made - octets) != 0 ||
            segment_left(&s) != left - 1)
            abort();
        if (!segment_layout_read(frame, made, &l) || !segment_checksum_right(&l, frame, made))
            abort();
        done += made - octets;
    }
    if (done != total || left != 0)
        abort();
}

/* Each piece: a length octet pair, a frame. */
static void join(const uint8_t *data, size_t size)
{
    struct coalescer c = {.frame = NULL};
    struct netdrv_offload o;
    uint32_t made;
    while (size > 2) {
        uint32_t octets = (uint32_t)(data[0] << 8 | data[1]);
        data += 2;
        size -= 2;
        if (octets > size)
            octets = (uint32_t)size;
        memcpy(frame, data, octets);
        if (!coalesce_add(&c, frame, octets)) {
            if (c.frame != NULL)
                coalesce_end(&c, &made, &o);
            memcpy(train, data, octets);
            (void)coalesce_begin(&c, train, octets);
        }
        if (c.octets > sizeof train)
            abort();
        data += octets;
        size -= octets;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        cut(data + 1, size - 1);
    else
        join(data + 1, size - 1);
    return 0;
}
