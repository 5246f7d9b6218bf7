// SPDX-License-Identifier: BSD-2-Clause
/* From the device to ip: a frame is read into a buffer of the pool and lent. Where the device does not coalesce, TCP
 * segments of one burst that belong together are put together first. */
#include "servers/nic/nic.h"

#include "protocols/ether/ether_wire.h"
#include "servers/work.h"

/* The frame in `buffer` becomes ip's, unless it cannot be. False: the buffer is still ours. */
static bool hand_up(struct nic *nic, uint32_t buffer, uint32_t octets, const struct netdrv_offload *offload)
{
    if (octets < sizeof(struct ether_wire)) {
        nic->counters.drop_in_short++;
        return false;
    }
    if (!pool_lend(nic->pool, buffer, SERVER_IP)) {
        nic->counters.drop_in_no_loan++;
        return false;
    }
    struct message m = {
        .operation = MESSAGE_RECEIVE,
        .capability = CAPABILITY_INDEX_PEER,
        .generation = 1,
        .cookie = buffer,
        .reference = {{.pool = nic->context.pool_capability,
                       .generation = nic->context.pool_generation,
                       .offset = pool_offset(nic->pool, buffer),
                       .length = octets}},
        .gso_type = offload->gso_type,
        .gso_size = offload->gso_size,
        .checksum_state = offload->checksum_state,
        .checksum_start = offload->checksum_start,
        .checksum_offset = offload->checksum_offset,
    };
    if (!port_push(nic->ip, &m)) { /* there was room: the ring broke just now */
        (void)pool_return(nic->pool, buffer, SERVER_IP);
        nic->counters.drop_in_no_loan++;
        return true;
    }
    lent_note(&nic->lent[buffer], &nic->lent_turn, &m);
    nic->counters.frames_in++;
    nic->counters.octets_in += octets;
    if (offload->gso_type != MESSAGE_GSO_NONE)
        nic->counters.super_frames_in++;
    return true;
}

static void hand_up_or_keep(struct nic *nic, uint32_t buffer, uint32_t octets, const struct netdrv_offload *offload)
{
    if (!hand_up(nic, buffer, octets, offload))
        pool_put(nic->pool, buffer);
}

/* What was being put together goes up. */
static void train_end(struct nic *nic)
{
    uint32_t octets;
    struct netdrv_offload offload;
    if (nic->train.frame == NULL)
        return;
    coalesce_end(&nic->train, &octets, &offload);
    hand_up_or_keep(nic, nic->train_buffer, octets, &offload);
}

/* A frame of a device that leaves this to us: it joins those before it, begins another train, or goes up alone. */
static void train_take(struct nic *nic, uint32_t buffer, uint32_t octets, const struct netdrv_offload *offload)
{
    uint8_t *frame = pool_buffer(nic->pool, buffer);
    if (coalesce_add(&nic->train, frame, octets)) {
        nic->counters.coalesced_in++;
        pool_put(nic->pool, buffer);
        return;
    }
    train_end(nic);
    if (coalesce_begin(&nic->train, frame, octets))
        nic->train_buffer = buffer;
    else
        hand_up_or_keep(nic, buffer, octets, offload);
}

static bool works_on(struct nic *nic, const uint8_t *frame, uint32_t octets)
{
    bool good = server_works_on(&nic->context, work_key_frame(&nic->context, WORK_RECEIVE, frame, octets, octets));
    nic->counters.drop_poison += !good;
    return good;
}

/* False: nothing more to read now. */
static bool read_frame(struct nic *nic, uint64_t now_us, uint32_t buffer)
{
    uint32_t octets;
    struct netdrv_offload offload;
    const struct netdrv_operations *operations = nic->driver.operations;
    int result = operations->receive(&nic->driver, pool_buffer(nic->pool, buffer), &octets, &offload);
    switch (result) {
    case NETDRV_OK:
        if (!works_on(nic, pool_buffer(nic->pool, buffer), octets)) {
            pool_put(nic->pool, buffer);
            return true;
        }
        (operations->plain ? train_take : hand_up_or_keep)(nic, buffer, octets, &offload);
        return true;
    case NETDRV_MALFORMED:
        nic->counters.drop_in_offload++;
        pool_put(nic->pool, buffer);
        return true;
    case NETDRV_NOTHING:
        pool_put(nic->pool, buffer);
        return false;
    default:
        pool_put(nic->pool, buffer);
        nic_device_failed(nic, now_us);
        return false;
    }
}

bool nic_receive(struct nic *nic, uint64_t now_us)
{
    bool moved = false;
    if (!nic->ip->attached || now_us < nic->broken_until_us)
        return false;
    for (unsigned i = 0; i < SERVER_BURST; i++) {
        if (port_space(nic->ip) < NIC_SPACE) {
            nic->retry_us = now_us + NIC_RETRY_US;
            break;
        }
        uint32_t buffer = pool_take(nic->pool);
        if (buffer == POOL_NONE || !read_frame(nic, now_us, buffer))
            break;
        moved = true;
    }
    server_works_alone(&nic->context);
    train_end(nic);
    return moved;
}

/* ---- a new ip ---- */

static bool is_tcp(const struct nic *nic, uint32_t buffer)
{
    enum { PROTOCOL = 6, PROTOCOL_AT4 = 23, PROTOCOL_AT6 = 20 };
    const uint8_t *frame = pool_buffer(nic->pool, buffer);
    const struct ether_wire *ether = (const struct ether_wire *)frame;
    if (nic->lent[buffer].message.reference[0].length <= PROTOCOL_AT4)
        return false;
    uint16_t type = be16_get(ether->type);
    return (type == ETHER_TYPE_IP4 && frame[PROTOCOL_AT4] == PROTOCOL) ||
           (type == ETHER_TYPE_IP6 && frame[PROTOCOL_AT6] == PROTOCOL);
}

void nic_offer_again(struct nic *nic)
{
    uint32_t order[NIC_BUFFERS], count = 0;
    for (uint32_t i = 0; i < nic->pool->count && i < NIC_BUFFERS; i++)
        if (pool_is_lent(nic->pool, i, SERVER_IP))
            lent_order(nic->lent, order, count++, i);
    for (uint32_t i = 0; i < count; i++) {
        struct lent *lent = &nic->lent[order[i]];
        bool taken = is_tcp(nic, order[i]) && lent->offered++ < LENT_OFFERS_MAX && port_space(nic->ip) >= NIC_SPACE &&
                     port_push(nic->ip, &lent->message);
        nic->counters.offered_again += taken;
        if (!taken)
            nic->counters.reclaimed += pool_return(nic->pool, order[i], SERVER_IP);
    }
}
