// SPDX-License-Identifier: BSD-2-Clause
/* The nic server. Theory of operation.
 *
 * It moves frames between one device (netdrv/driver.h) and the channel to ip. A received frame lies
 * in a buffer of our pool that is lent to ip until its RETURN; with every buffer lent the device is
 * not read (and not waited for), so that the kernel's queue is where frames wait, and are lost. A
 * frame to send comes as two references: its headers are copied and checked against ip's link
 * right, the payload is gathered from where it lies, in one writev. What the device does not take
 * is lost, as on any link. What ip had when it died is the next one's, as far as it is TCP
 * (servers/lent.h). Nothing is kept over a restart of ours: the supervisor keeps the device, and a
 * fresh incarnation starts on a fresh pool.
 *
 * Each SEND is answered by one returned loan; messages are pulled only while that has room. Loans
 * are bounded on both sides, so an honest ip never fills a ring; one that does not read its ring is
 * not read.
 *
 * What the device cannot do is done here at the last moment (netdrv/segment.h): a super-frame goes
 * out as frames of the MTU, a partial checksum is finished. A driver that delays frames has a
 * deadline; one that has a link is asked for it each burst, and a change is a notice. TCP segments
 * that a device did not coalesce are put together within a burst (netdrv/coalesce.h). */
#include "servers/nic/nic.h"

#include <errno.h>

#include "servers/counters.h"

static size_t nic_state_size(const struct stack_config *config)
{
    (void)config;
    return (sizeof(struct nic) + 63) & ~(size_t)63;
}

static int nic_init(void *state, const struct server_context *context, uint64_t now_us)
{
    struct nic *nic = state;
    (void)now_us;
    if (context->pool == NULL || context->pool->buffer_octets < NETDRV_FRAME_MAX ||
        context->port[SERVER_IP] == NULL || !netdrv_init(&nic->driver, &context->driver, context->device))
        return -EINVAL;
    nic->context = *context;
    nic->ip = context->port[SERVER_IP];
    nic->pool = context->pool;
    nic->retry_us = UINT64_MAX;
    nic->link = NETDRV_LINK_UP;
    uint32_t place = 0;
#define X(name) place = counters_name(context->counter, place, #name);
    NIC_COUNTERS(X)
#undef X
    counters_name(context->counter, place, "refused_ip");
    nic->moved = true;
    return 0;
}

void nic_device_failed(struct nic *nic, uint64_t now_us)
{
    nic->counters.device_errors++;
    nic->broken_until_us = now_us + NIC_BROKEN_US;
}

/* Untrusted: m (from ip). */
static void loans_home(struct nic *nic, const struct message *m)
{
    if (capability_lookup(&nic->ip->table, m->capability, m->generation, CAPABILITY_LINK, 0) == NULL) {
        nic->counters.drop_link++;
        port_makes_no_sense(nic->ip);
        return;
    }
    for (unsigned i = 0; i < m->count; i++) {
        if (pool_return(nic->pool, m->returned[i], SERVER_IP))
            nic->counters.loans_home++;
        else
            nic->counters.drop_return++;
    }
}

static bool take_from_ip(struct nic *nic, uint64_t now_us)
{
    struct message m;
    bool moved = false;
    for (unsigned i = 0; i < SERVER_BURST; i++) {
        if (port_space(nic->ip) < NIC_SPACE) {
            if (nic->ip->attached)
                nic->retry_us = now_us + NIC_RETRY_US;
            break;
        }
        if (!port_pull(nic->ip, &m))
            break;
        moved = true;
        if (m.operation == MESSAGE_SEND) {
            nic_send(nic, now_us, &m);
        } else if (m.operation == MESSAGE_RETURN) {
            loans_home(nic, &m);
        } else {
            nic->counters.drop_operation++;
            port_foreign(nic->ip);
        }
    }
    return moved;
}

/* Tells of a link that came, went or broke. */
static void look_at_link(struct nic *nic)
{
    const struct netdrv *driver = &nic->driver;
    enum netdrv_link link = driver->operations->link != NULL ? driver->operations->link(driver) : NETDRV_LINK_UP;
    static const char *const texts[] = {[NETDRV_LINK_UP] = "the link is up",
                                        [NETDRV_LINK_DOWN] = "the link is down",
                                        [NETDRV_LINK_BROKEN] = "the other stack lied: the link is stopped"};
    if (link == nic->link)
        return;
    nic->link = link;
    nic->moved = true;
    nic->counters.links_up += link == NETDRV_LINK_UP;
    nic->counters.links_down += link == NETDRV_LINK_DOWN;
    nic->counters.links_broken += link == NETDRV_LINK_BROKEN;
    if (nic->context.notice != NULL)
        nic->context.notice(nic->context.domain, SERVER_NIC, texts[link]);
}

static bool nic_burst(void *state, uint64_t now_us)
{
    struct nic *nic = state;
    struct netdrv *driver = &nic->driver;
    nic->retry_us = UINT64_MAX;
    driver->now_us = now_us;
    if (driver->operations->begin != NULL)
        driver->operations->begin(driver);
    if (now_us >= nic->broken_until_us)
        nic->broken_until_us = 0;
    bool moved = take_from_ip(nic, now_us);
    server_works_alone(&nic->context);
    if (nic_receive(nic, now_us))
        moved = true;
    if (driver->operations->flush != NULL)
        driver->operations->flush(driver);
    look_at_link(nic);
    if (!port_returns_flush(nic->ip, &nic->returns) && nic->ip->attached)
        nic->retry_us = now_us + NIC_RETRY_US;
    nic->moved = nic->moved || moved;
    return moved;
}

static void nic_publish(void *state, uint64_t now_us)
{
    struct nic *nic = state;
    (void)now_us;
    if (!nic->moved)
        return;
    const struct impair_counters *impair = &nic->driver.wire.impair.counters;
    nic->counters.impair_lost = impair->lost;
    nic->counters.impair_full = impair->full;
    nic->counters.impair_reordered = impair->reordered;
    nic->counters.impair_duplicated = impair->duplicated;
    nic->counters.impair_corrupted = impair->corrupted;
    nic->counters.drop_late = nic->driver.wire.late;
    uint32_t place = 0;
#define X(name) place = counters_value(nic->context.counter, place, nic->counters.name);
    NIC_COUNTERS(X)
#undef X
    counters_value(nic->context.counter, place, counters_refused(nic->ip->table.refused, CAPABILITY_REFUSALS));
    nic->moved = false;
}

static uint64_t nic_deadline_us(const void *state)
{
    const struct nic *nic = state;
    const struct netdrv *driver = &nic->driver;
    uint64_t at_us = nic->broken_until_us != 0 ? nic->broken_until_us : UINT64_MAX;
    if (nic->retry_us < at_us)
        at_us = nic->retry_us;
    uint64_t due_us = driver->operations->deadline_us != NULL ? driver->operations->deadline_us(driver) : UINT64_MAX;
    return due_us < at_us ? due_us : at_us;
}

static bool nic_wants_device(const void *state)
{
    const struct nic *nic = state;
    return nic->ip->attached && nic->pool->free_count > 0 && nic->broken_until_us == 0 &&
           nic->retry_us == UINT64_MAX && nic->link == NETDRV_LINK_UP;
}

static bool nic_pending(void *state)
{
    struct nic *nic = state;
    return nic->driver.operations->pending != NULL && nic_wants_device(nic) &&
           nic->driver.operations->pending(&nic->driver);
}

static void nic_device_changed(void *state, const struct netdrv_grant *grant)
{
    struct nic *nic = state;
    if (nic->driver.operations->changed == NULL)
        return;
    nic->driver.operations->changed(&nic->driver, grant);
    look_at_link(nic);
}

static void nic_peer_lost(void *state, enum server_id peer)
{
    struct nic *nic = state;
    if (peer == SERVER_IP)
        nic->returns = (struct port_returns){0}; /* of messages from the dead */
}

static void nic_peer_attached(void *state, enum server_id peer, uint64_t now_us)
{
    struct nic *nic = state;
    (void)now_us;
    if (peer == SERVER_IP)
        nic_offer_again(nic);
    nic->moved = true;
}

const struct server server_nic = {
    .name = "nic",
    .pool_buffers = NIC_BUFFERS,
    .pool_buffer_octets = NIC_BUFFER_OCTETS,
    .state_size = nic_state_size,
    .init = nic_init,
    .burst = nic_burst,
    .publish = nic_publish,
    .deadline_us = nic_deadline_us,
    .pending = nic_pending,
    .wants_device = nic_wants_device,
    .device_changed = nic_device_changed,
    .peer_lost = nic_peer_lost,
    .peer_attached = nic_peer_attached,
};
