// SPDX-License-Identifier: BSD-2-Clause
/* From ip to the device: headers are copied, checked against the link right, and gathered with the
 * payload where it lies; or, where the device cannot segment, cut into frames here. */
#include "servers/nic/nic.h"

#include <string.h>

#include "netdrv/segment.h"
#include "protocols/ether/ether_wire.h"
#include "servers/work.h"

struct outgoing {
    uint8_t header[NIC_HEADER_MAX]; /* the copy that counts */
    uint32_t header_length;
    const uint8_t *payload;
    uint32_t payload_length;
    struct netdrv_offload offload;
};

/* Untrusted: m. The parts of the frame; headers copied once. */
static bool gather(struct nic *nic, const struct message *m, struct outgoing *out)
{
    const struct message_reference *head = &m->reference[0], *body = &m->reference[1];
    struct capability_table *table = &nic->ip->table;
    if (head->length < sizeof(struct ether_wire) || head->length > NIC_HEADER_MAX) {
        nic->counters.drop_header++;
        return false;
    }
    const struct capability *c = capability_range(table, head->pool, head->generation, head->offset, head->length);
    if (c == NULL || c->base == NULL) {
        nic->counters.drop_reference++;
        return false;
    }
    memcpy(out->header, c->base + head->offset, head->length);
    out->header_length = head->length;
    out->payload = NULL;
    out->payload_length = body->length;
    if (body->length == 0)
        return true;
    c = capability_range(table, body->pool, body->generation, body->offset, body->length);
    if (c == NULL || c->base == NULL) {
        nic->counters.drop_reference++;
        return false;
    }
    out->payload = c->base + body->offset;
    return true;
}

static bool works_on(struct nic *nic, const struct outgoing *out)
{
    uint64_t key = work_key_frame(&nic->context, WORK_SEND, out->header, out->header_length,
                                  out->header_length + out->payload_length);
    bool good = server_works_on(&nic->context, key);
    nic->counters.drop_poison += !good;
    return good;
}

/* The bit of the link right; 0: none has it. */
static uint8_t ethertype(uint16_t type)
{
    switch (type) {
    case ETHER_TYPE_IP4:
        return CAPABILITY_ETHER_IP4;
    case ETHER_TYPE_ARP:
        return CAPABILITY_ETHER_ARP;
    case ETHER_TYPE_IP6:
        return CAPABILITY_ETHER_IP6;
    default:
        return 0;
    }
}

/* What the link right says about the frame. */
static bool check_link(struct nic *nic, const struct capability *link, const struct outgoing *out)
{
    struct ether_wire w;
    memcpy(&w, out->header, sizeof w);
    if (memcmp(w.source, link->mac.octets, sizeof w.source) != 0) {
        nic->counters.drop_source++;
        return false;
    }
    if ((link->ethertypes & ethertype(be16_get(w.type))) == 0) {
        nic->counters.drop_type++;
        return false;
    }
    return true;
}

static bool check_length(struct nic *nic, const struct message *m, const struct outgoing *out)
{
    uint64_t most = sizeof(struct ether_wire) + (m->gso_type == MESSAGE_GSO_NONE ? nic->context.config->mtu : 65535U);
    if ((uint64_t)out->header_length + out->payload_length > most) {
        nic->counters.drop_length++;
        return false;
    }
    return true;
}

/* The fields that will be acted upon must say what the copied headers say. */
static bool check_offload(struct nic *nic, const struct message *m, struct outgoing *out)
{
    out->offload = (struct netdrv_offload){.gso_type = m->gso_type,
                                           .checksum_state = m->checksum_state,
                                           .header_octets = m->header_octets,
                                           .gso_size = m->gso_size,
                                           .checksum_start = m->checksum_start,
                                           .checksum_offset = m->checksum_offset};
    if (segment_offload_fits(&out->offload, out->header, out->header_length, nic->context.config->mtu))
        return true;
    nic->counters.drop_offload++;
    return false;
}

/* False: the rest of a super-frame need not be tried. */
static bool write_frame(struct nic *nic, uint64_t now_us, const struct netdrv_offload *offload,
                        const struct iovec *part, unsigned count)
{
    int result = nic->driver.operations->send(&nic->driver, offload, part, count);
    switch (result) {
    case NETDRV_OK:
        nic->counters.frames_out++;
        for (unsigned i = 0; i < count; i++)
            nic->counters.octets_out += part[i].iov_len;
        return true;
    case NETDRV_FULL:
        nic->counters.drop_device_full++;
        return false;
    case NETDRV_DOWN:
        nic->counters.drop_link_down++;
        return false;
    case NETDRV_MALFORMED:
        nic->counters.drop_device_refused++;
        return false;
    default:
        nic_device_failed(nic, now_us);
        return false;
    }
}

static void write_whole(struct nic *nic, uint64_t now_us, const struct outgoing *out)
{
    struct iovec part[NETDRV_PARTS_MAX] = {{(void *)(uintptr_t)out->header, out->header_length},
                                           {(void *)(uintptr_t)out->payload, out->payload_length}};
    if (write_frame(nic, now_us, &out->offload, part, out->payload_length > 0 ? 2 : 1) &&
        out->offload.gso_type != MESSAGE_GSO_NONE)
        nic->counters.super_frames_out++;
}

/* For a device that cannot. Once a frame is not taken the rest is lost with it: TCP sends on from there. */
static void write_segments(struct nic *nic, uint64_t now_us, const struct outgoing *out)
{
    static const struct netdrv_offload complete = {.checksum_state = MESSAGE_CHECKSUM_NONE};
    struct segmenter segmenter;
    if (!segment_begin(&segmenter, &out->offload, out->header, out->header_length, out->payload, out->payload_length)) {
        nic->counters.drop_offload++; /* it was looked at before */
        return;
    }
    for (uint32_t octets; (octets = segment_next(&segmenter, nic->frame)) > 0;) {
        struct iovec part = {nic->frame, octets};
        if (!write_frame(nic, now_us, &complete, &part, 1)) {
            nic->counters.drop_rest += segment_left(&segmenter);
            return;
        }
        nic->counters.segmented_out += out->offload.gso_type != MESSAGE_GSO_NONE;
    }
}

void nic_send(struct nic *nic, uint64_t now_us, const struct message *m)
{
    struct outgoing out;
    const struct capability *link =
        capability_lookup(&nic->ip->table, m->capability, m->generation, CAPABILITY_LINK, CAPABILITY_SEND);
    if (link == NULL)
        nic->counters.drop_link++;
    else if (gather(nic, m, &out) && works_on(nic, &out) && check_link(nic, link, &out) && check_length(nic, m, &out) &&
             check_offload(nic, m, &out))
        (netdrv_does(&nic->driver, &out.offload) ? write_whole : write_segments)(nic, now_us, &out);
    /* The caller left room: the batch can be sent. */
    (void)port_return(nic->ip, &nic->returns, (uint32_t)m->cookie);
}
