// SPDX-License-Identifier: BSD-2-Clause
/* From ip to the device: headers are copied, checked against the link right, and gathered with the
 * payload where it lies. */
#include "servers/nic/nic.h"

#include <string.h>

#include "protocols/ether/ether_wire.h"

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

/* What the link right says about the frame. */
static bool check_link(struct nic *nic, const struct capability *link, const struct outgoing *out)
{
    struct ether_wire w;
    memcpy(&w, out->header, sizeof w);
    if (memcmp(w.source, link->mac.octets, sizeof w.source) != 0) {
        nic->counters.drop_source++;
        return false;
    }
    uint16_t type = be16_get(w.type);
    if (type != ETHER_TYPE_IP4 && type != ETHER_TYPE_IP6 && type != ETHER_TYPE_ARP) {
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

/* The fields that the device will act upon must point into the copied headers. */
static bool check_offload(struct nic *nic, const struct message *m, struct outgoing *out)
{
    bool partial = m->checksum_state == MESSAGE_CHECKSUM_PARTIAL;
    bool ok = m->checksum_state <= MESSAGE_CHECKSUM_PARTIAL;
    if (partial)
        ok = ok && (uint32_t)m->checksum_start + m->checksum_offset + 2 <= out->header_length;
    if (m->gso_type != MESSAGE_GSO_NONE)
        ok = ok && partial && m->gso_type <= MESSAGE_GSO_UDP && m->gso_size > 0 &&
             m->header_octets == out->header_length;
    if (!ok) {
        nic->counters.drop_offload++;
        return false;
    }
    out->offload = (struct netdrv_offload){.gso_type = m->gso_type,
                                           .checksum_state = m->checksum_state,
                                           .header_octets = m->header_octets,
                                           .gso_size = m->gso_size,
                                           .checksum_start = m->checksum_start,
                                           .checksum_offset = m->checksum_offset};
    return true;
}

static void write_frame(struct nic *nic, uint64_t now_us, struct outgoing *out)
{
    struct iovec part[NETDRV_PARTS_MAX] = {{out->header, out->header_length},
                                           {(void *)(uintptr_t)out->payload, out->payload_length}};
    int result = nic->driver.operations->send(&nic->driver, &out->offload, part, out->payload_length > 0 ? 2 : 1);
    switch (result) {
    case NETDRV_OK:
        nic->counters.frames_out++;
        nic->counters.octets_out += out->header_length + out->payload_length;
        if (out->offload.gso_type != MESSAGE_GSO_NONE)
            nic->counters.super_frames_out++;
        break;
    case NETDRV_FULL:
        nic->counters.drop_device_full++;
        break;
    case NETDRV_MALFORMED:
        nic->counters.drop_device_refused++;
        break;
    default:
        nic_device_failed(nic, now_us);
    }
}

void nic_send(struct nic *nic, uint64_t now_us, const struct message *m)
{
    struct outgoing out;
    const struct capability *link =
        capability_lookup(&nic->ip->table, m->capability, m->generation, CAPABILITY_LINK, CAPABILITY_SEND);
    if (link == NULL)
        nic->counters.drop_link++;
    else if (gather(nic, m, &out) && check_link(nic, link, &out) && check_length(nic, m, &out) &&
             check_offload(nic, m, &out))
        write_frame(nic, now_us, &out);
    /* The caller left room: the batch can be sent. */
    (void)port_return(nic->ip, &nic->returns, (uint32_t)m->cookie);
}
