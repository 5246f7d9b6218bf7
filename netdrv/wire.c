// SPDX-License-Identifier: BSD-2-Clause
/* A wire between two stacks on one machine: two rings of frames in shared memory (ipc/frame_ring.h), one written by
 * each stack, and a doorbell each. Both supervisors have shaken hands; here are two halves and the peer's bell, or,
 * with nobody at the other end, none.
 *
 * The other stack is as hostile as any network, and its memory as any neighbour's: an impossible index or length breaks
 * the link until the supervisor brings another. A full ring, like a full queue, loses frames.
 *
 * Sending goes through the impairments (impair.h) if there are any: frames under way lie in private memory until they
 * are due. Frames of ARP, which has no checksum of its own, are not corrupted: on a real link the frame check sequence
 * is theirs, and only routers' memory corrupts behind it.
 *
 * Sleep: pending() makes our sleep word odd and looks at the peer's index again; begin() makes it even and empties the
 * doorbell. A new incarnation finds the word as the last one left it: it only ever counts up.
 *
 * No offload: frames are whole, their checksums complete, nothing that comes in has been verified.
 *
 * System calls: write of one octet to the peer's doorbell, read of our own. */
#include <string.h>

#include "netdrv/driver.h"
#include "protocols/ether/ether_wire.h"

static void wire_changed(struct netdrv *driver, const struct netdrv_grant *grant)
{
    struct wire *w = &driver->wire;
    const struct wire_grant *g = &grant->wire;
    w->linked = g->mine != NULL && g->peer != NULL;
    w->queue = impair_active(&g->impair) ? g->queue : NULL;
    struct impair_counters counters = w->impair.counters;
    w->late += w->impair.count; /* under way on a link that is no more */
    impair_init(&w->impair, &g->impair, w->under_way, IMPAIR_QUEUE_MAX);
    w->impair.counters = counters;
    w->asleep = w->linked; /* as it was left: begin() makes it even */
    if (!w->linked)
        return;
    frame_ring_init(&w->ring, g->mine, g->peer);
    w->bell = (struct doorbell){.fd = g->bell, .sleep = &g->peer->sleep};
}

static bool works(const struct wire *w)
{
    return w->linked && !w->ring.broken;
}

static void wire_begin(struct netdrv *driver)
{
    struct wire *w = &driver->wire;
    if (!w->asleep)
        return;
    w->asleep = false;
    doorbell_wake(&w->ring.mine->sleep);
    doorbell_drain(driver->device);
}

static bool wire_pending(struct netdrv *driver)
{
    struct wire *w = &driver->wire;
    if (!works(w))
        return false;
    w->asleep = true;
    doorbell_sleep(&w->ring.mine->sleep);
    return frame_ring_available(&w->ring) > 0;
}

static int wire_receive(struct netdrv *driver, uint8_t *buffer, uint32_t *ret_octets,
                        struct netdrv_offload *ret_offload)
{
    struct wire *w = &driver->wire;
    if (!works(w))
        return NETDRV_NOTHING;
    uint32_t octets = frame_ring_take(&w->ring, buffer);
    if (octets == 0)
        return NETDRV_NOTHING;
    *ret_octets = octets;
    *ret_offload = (struct netdrv_offload){.checksum_state = MESSAGE_CHECKSUM_NONE};
    return NETDRV_OK;
}

/* ---- sending ---- */

static uint32_t gather(uint8_t *to, const struct iovec *part, unsigned count)
{
    uint32_t octets = 0;
    for (unsigned i = 0; i < count; i++) {
        memcpy(to + octets, part[i].iov_base, part[i].iov_len);
        octets += (uint32_t)part[i].iov_len;
    }
    return octets;
}

static uint8_t *queued(struct wire *w, uint32_t handle)
{
    return w->queue + (size_t)handle * FRAME_OCTETS_MAX;
}

static void send_impaired(struct wire *w, uint64_t now_us, const struct iovec *part, unsigned count, uint32_t octets)
{
    const struct ether_wire *ether = part[0].iov_base; /* of octets: no alignment */
    bool spared = part[0].iov_len < sizeof *ether || be16_get(ether->type) == ETHER_TYPE_ARP;
    struct impair_fate fate;
    impair_frame(&w->impair, now_us, octets, spared ? octets : (uint32_t)sizeof *ether, &fate);
    for (uint32_t i = 0; i < fate.copies; i++) {
        uint8_t *frame = queued(w, fate.handle[i]);
        w->queued_octets[fate.handle[i]] = (uint16_t)gather(frame, part, count);
        if (fate.corrupt_bit != IMPAIR_NO_BIT)
            frame[fate.corrupt_bit / 8] ^= (uint8_t)(1U << fate.corrupt_bit % 8);
    }
}

static int wire_send(struct netdrv *driver, const struct netdrv_offload *offload, const struct iovec *part,
                     unsigned count)
{
    struct wire *w = &driver->wire;
    uint64_t octets = 0;
    for (unsigned i = 0; i < count; i++)
        octets += part[i].iov_len;
    if (offload->gso_type != MESSAGE_GSO_NONE || offload->checksum_state == MESSAGE_CHECKSUM_PARTIAL ||
        octets < FRAME_OCTETS_LEAST || octets > FRAME_OCTETS_MAX)
        return NETDRV_MALFORMED;
    if (!works(w))
        return NETDRV_DOWN;
    if (w->queue != NULL) {
        send_impaired(w, driver->now_us, part, count, (uint32_t)octets);
        return NETDRV_OK;
    }
    if (frame_ring_put(&w->ring, part, count))
        return NETDRV_OK;
    return w->ring.broken ? NETDRV_DOWN : NETDRV_FULL;
}

static void wire_flush(struct netdrv *driver)
{
    struct wire *w = &driver->wire;
    uint32_t handle;
    while (w->queue != NULL && impair_due(&w->impair, driver->now_us, &handle)) {
        struct iovec part = {queued(w, handle), w->queued_octets[handle]};
        if (!works(w) || !frame_ring_put(&w->ring, &part, 1))
            w->late++;
    }
    if (works(w) && frame_ring_flush(&w->ring))
        doorbell_ring(&w->bell);
}

static uint64_t wire_deadline_us(const struct netdrv *driver)
{
    return driver->wire.queue != NULL ? impair_deadline_us(&driver->wire.impair) : UINT64_MAX;
}

static enum netdrv_link wire_link(const struct netdrv *driver)
{
    const struct wire *w = &driver->wire;
    if (!w->linked)
        return NETDRV_LINK_DOWN;
    return w->ring.broken ? NETDRV_LINK_BROKEN : NETDRV_LINK_UP;
}

const struct netdrv_operations netdrv_wire = {.plain = true,
                                              .receive = wire_receive,
                                              .send = wire_send,
                                              .begin = wire_begin,
                                              .flush = wire_flush,
                                              .deadline_us = wire_deadline_us,
                                              .pending = wire_pending,
                                              .link = wire_link,
                                              .changed = wire_changed};
