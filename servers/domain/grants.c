// SPDX-License-Identifier: BSD-2-Clause
/* Grants: what the supervisor gives to this domain, message by message. It is trusted, but a mistake of its must end in
 * an error here, so every index, size and length is checked. Descriptors of segments are closed once mapped.
 *
 * #syscalls mmap(no PROT_EXEC) munmap fstat close */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ipc/crash.h"
#include "ipc/segment.h"
#include "protocols/tcp/tcp.h"
#include "servers/domain/state.h"

int grant_map(struct control_message *message, int32_t index, size_t octets, bool writable, void **ret)
{
    int fd = control_take(message, index);
    if (fd < 0)
        return -EBADF;
    int result = segment_map(fd, octets, writable, ret);
    close(fd);
    return result;
}

bool grant_address(const Bulkhead__Control__Address *from, struct ip_address *ret)
{
    size_t length = from->family == ADDRESS_IP4 ? 4 : from->family == ADDRESS_IP6 ? 16 : 0;
    if (from->octets.len != length || (length == 0 && from->family != ADDRESS_NONE))
        return false;
    *ret = (struct ip_address){.family = (uint8_t)from->family};
    if (length > 0)
        memcpy(ret->octets, from->octets.data, length);
    return true;
}

static bool route_read(const Bulkhead__Control__Route *from, struct stack_route *ret)
{
    if (from->prefix == NULL || from->gateway == NULL || from->prefix->prefix_length > 128)
        return false;
    ret->prefix_length = (uint8_t)from->prefix->prefix_length;
    return grant_address(from->prefix, &ret->prefix) && grant_address(from->gateway, &ret->gateway);
}

static int config_read(const Bulkhead__Control__Configure *from, struct stack_config *ret)
{
    struct stack_config c = {.mtu = from->mtu};
    if (from->n_address > STACK_ADDRESSES_MAX || from->mac.len != sizeof c.mac.octets ||
        from->secret.len != sizeof c.secret)
        return -EINVAL;
    for (size_t i = 0; i < from->n_address; i++, c.address_count++) {
        c.prefix_length[i] = (uint8_t)from->address[i]->prefix_length;
        if (!grant_address(from->address[i], &c.address[i]) || from->address[i]->prefix_length > 128)
            return -EINVAL;
    }
    if (from->n_gateway > 2 || from->n_route > STACK_ROUTES_MAX || from->dad > STACK_DAD_OFF ||
        from->ecn > STACK_ECN_ON || from->congestion > TCP_CONGESTION_CUBIC ||
        from->recovery > STACK_RECOVERY_NONE)
        return -EINVAL;
    for (size_t i = 0; i < from->n_gateway; i++)
        if (!grant_address(from->gateway[i], &c.gateway[i]))
            return -EINVAL;
    for (size_t i = 0; i < from->n_route; i++, c.route_count++)
        if (!route_read(from->route[i], &c.route[i]))
            return -EINVAL;
    c.dad = (enum stack_dad)from->dad;
    c.ecn = (enum stack_ecn)from->ecn;
    c.congestion = (uint8_t)from->congestion;
    c.recovery = (enum stack_recovery)from->recovery;
    c.no_commit = from->no_commit;
    memcpy(c.mac.octets, from->mac.data, sizeof c.mac.octets);
    memcpy(c.secret, from->secret.data, sizeof c.secret);
    *ret = c;
    return 0;
}

/* What the servers here died of before. Those that are too many are passed over: they cost another death at most. */
static void suspects_read(struct domain *domain, const Bulkhead__Control__Configure *from)
{
    for (size_t i = 0; i < from->n_suspect; i++) {
        const Bulkhead__Control__Suspect *m = from->suspect[i];
        struct domain_server *at = domain_server_at(domain, m->server);
        if (at != NULL && at->work.suspects < SUSPECTS_MAX)
            at->work.suspect[at->work.suspects++] = (struct server_suspect){.key = m->key, .poison = m->poison};
    }
    if (from->n_suspect > 0)
        domain->poison_until_us = domain_clock_us() + POISON_US;
}

int grant_configure(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Configure *m = message->what->configure;
    if (domain->configured)
        return -EALREADY;
    void *status, *counters;
    int result = config_read(m, &domain->config);
    if (result == 0)
        result = grant_map(message, m->status_fd, sizeof *domain->status, true, &status);
    if (result == 0)
        result = grant_map(message, m->counter_fd, sizeof *domain->counters, true, &counters);
    if (result != 0)
        return result;
    domain->doorbell = control_take(message, m->doorbell_fd);
    if (domain->doorbell < 0)
        return -EBADF;
    void *crash;
    if (grant_map(message, m->crash_fd, sizeof *domain->crash, true, &crash) == 0)
        domain->crash = crash; /* without it, deaths are silent ones */
    for (uint32_t id = 0; id < SERVER_COUNT && domain->crash != NULL; id++) {
        domain->server[id].work.page = &domain->crash->work[id];
        domain->server[id].work.page->key = domain->server[id].work.page->cleared = 0;
    }
    suspects_read(domain, m);
    domain->status = status;
    domain->counters = counters;
    domain->incarnation = m->incarnation;
    __atomic_store_n(&domain->status->incarnation, m->incarnation, __ATOMIC_RELAXED);
    /* The word goes on from where it was: its values are what ringers remember. */
    doorbell_wake(&domain->status->sleep);
    domain->configured = true;
    return 0;
}

int grant_slot(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Slot *m = message->what->slot;
    void *status;
    if (!domain->configured || domain->started || domain->slot_count == DOMAIN_SLOTS)
        return -EINVAL;
    int result = grant_map(message, m->status_fd, sizeof *domain->status, true, &status);
    if (result != 0)
        return result;
    struct domain_slot slot = {.doorbell = control_take(message, m->doorbell_fd), .status = status};
    if (slot.doorbell < 0) {
        segment_unmap(status, sizeof *domain->status);
        return -EBADF;
    }
    doorbell_wake(&slot.status->sleep);
    domain->slot[domain->slot_count++] = slot;
    return 0;
}

int grant_bell(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Bell *m = message->what->bell;
    void *status;
    if (m->domain >= DOMAIN_BELLS)
        return -EINVAL;
    int result = grant_map(message, m->status_fd, sizeof(struct status_page), false, &status);
    if (result != 0)
        return result;
    int fd = control_take(message, m->fd);
    if (fd < 0) {
        segment_unmap(status, sizeof(struct status_page));
        return -EBADF;
    }
    struct domain_bell *bell = &domain->bell[m->domain];
    if (bell->present) {
        close(bell->bell.fd);
        segment_unmap(bell->status, sizeof(struct status_page));
    }
    const struct status_page *page = status;
    *bell = (struct domain_bell){.present = true, .status = status, .bell = {.fd = fd, .sleep = &page->sleep}};
    return 0;
}

/* The port of `server` (hosted here) for its channel with `peer`: made when the channel is first heard of, and there
 * for good. NULL: no such, or no memory. */
static struct domain_port *port_at(struct domain *domain, uint32_t server, uint32_t peer)
{
    struct domain_server *at = domain_server_at(domain, server);
    if (at == NULL || peer >= SERVER_COUNT || peer == server)
        return NULL;
    if (at->port[peer] != NULL)
        return at->port[peer];
    struct domain_port *port = domain_memory(sizeof *port);
    struct capability *entries = domain_memory(CAPABILITY_TABLE_MAX * sizeof *entries);
    if (port == NULL || entries == NULL || domain->port_count == DOMAIN_PORTS)
        return NULL;
    port->server = (enum server_id)server;
    port->peer = (enum server_id)peer;
    port_init(&port->port, entries);
    domain->port[domain->port_count++] = port;
    at->port[peer] = port;
    at->context.port[peer] = &port->port;
    return port;
}

void channel_unmap(struct domain_channel *channel)
{
    segment_unmap(channel->mine, sizeof *channel->mine);
    segment_unmap(channel->peer, sizeof *channel->peer);
    *channel = (struct domain_channel){.mine = NULL};
}

void port_take_staged(struct domain *domain, struct domain_port *port)
{
    if (port->staged.mine == NULL)
        return;
    port_detach(&port->port);
    channel_unmap(&port->channel);
    port->channel = port->staged;
    port->staged = (struct domain_channel){.mine = NULL};
    port->broken = false;
    uint32_t bell = port->channel.bell;
    port->port.strict = bell != DOMAIN_NOBODY && !port->watch.revoked;
    port_attach(&port->port, port->channel.mine, port->channel.peer,
                bell == DOMAIN_NOBODY ? NULL : &domain->bell[bell].bell);
}

/* Both ends are here: private memory, no bell. Heard of once for either end or for both. */
static int channel_local(struct domain_port *one, struct domain_port *other, struct domain *domain)
{
    if (one == NULL || other == NULL)
        return -EINVAL;
    if (one->port.attached && other->port.attached)
        return 0;
    struct ring_half *halves[2] = {domain_memory(sizeof **halves), domain_memory(sizeof **halves)};
    if (halves[0] == NULL || halves[1] == NULL)
        return -ENOMEM;
    one->staged = (struct domain_channel){.mine = halves[0], .peer = halves[1], .bell = DOMAIN_NOBODY};
    other->staged = (struct domain_channel){.mine = halves[1], .peer = halves[0], .bell = DOMAIN_NOBODY};
    port_take_staged(domain, one);
    port_take_staged(domain, other);
    return 0;
}

int grant_channel(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Channel *m = message->what->channel;
    struct domain_port *port = port_at(domain, m->server, m->peer);
    if (m->local)
        return channel_local(port, port_at(domain, m->peer, m->server), domain);
    if (port == NULL)
        return -EINVAL;
    if (m->mine_fd < 0) /* there is such a channel, and its other end is down */
        return 0;
    if (m->peer_domain >= DOMAIN_BELLS || !domain->bell[m->peer_domain].present)
        return -ENOENT;
    void *mine, *peer;
    int result = grant_map(message, m->mine_fd, sizeof(struct ring_half), true, &mine);
    if (result != 0)
        return result;
    result = grant_map(message, m->peer_fd, sizeof(struct ring_half), false, &peer);
    if (result != 0) {
        segment_unmap(mine, sizeof(struct ring_half));
        return result;
    }
    channel_unmap(&port->staged);
    port->staged = (struct domain_channel){.mine = mine, .peer = peer, .bell = m->peer_domain};
    if (!domain->started) /* else with PeerAttached, when everything that goes with it is there */
        port_take_staged(domain, port);
    return 0;
}

static int entry_take(struct domain *domain, const Bulkhead__Control__Capability *m)
{
    struct domain_port *port = port_at(domain, m->server, m->peer);
    if (port == NULL || m->index >= CAPABILITY_TABLE_MAX || m->type >= CAPABILITY_TYPES || m->generation > UINT16_MAX ||
        m->protocol > UINT8_MAX || m->ethertypes > UINT8_MAX || m->n_address > CAPABILITY_ADDRESSES)
        return -EINVAL;
    struct capability entry = {.type = (uint16_t)m->type,
                               .generation = (uint16_t)m->generation,
                               .rights = m->rights,
                               .object = m->object,
                               .size = m->size,
                               .protocol = (uint8_t)m->protocol,
                               .ethertypes = (uint8_t)m->ethertypes};
    if (m->mac.len != 0 && m->mac.len != sizeof entry.mac.octets)
        return -EINVAL;
    if (m->mac.len > 0)
        memcpy(entry.mac.octets, m->mac.data, m->mac.len);
    for (size_t i = 0; i < m->n_address; i++, entry.address_count++)
        if (!grant_address(m->address[i], &entry.address[i]))
            return -EINVAL;
    if (entry.type == CAPABILITY_POOL && m->mapped) {
        const struct domain_object *object = object_find(domain, m->object);
        bool there = object != NULL && object->memory != NULL;
        entry.base = there ? object->memory : NULL;
        entry.size = there ? object->octets : 0; /* object_add() fills them in when it comes */
    }
    return capability_grant(&port->port.table, (uint16_t)m->index, &entry) ? 0 : -EINVAL;
}

int grant_capability(struct domain *domain, struct control_message *message)
{
    return entry_take(domain, message->what->capability);
}

int grant_capabilities(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Capabilities *m = message->what->capabilities;
    int result = 0;
    for (size_t i = 0; i < m->n_entry && result == 0; i++)
        result = entry_take(domain, m->entry[i]);
    return result;
}

/* Another generation is no business of ours: what stands there came later. */
int grant_revoke(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Revoke *m = message->what->revoke;
    struct domain_port *port = port_at(domain, m->server, m->peer);
    if (port == NULL || m->index >= CAPABILITY_TABLE_MAX || m->generation > UINT16_MAX)
        return -EINVAL;
    if (port->port.table.entry[m->index].generation == m->generation)
        capability_revoke(&port->port.table, (uint16_t)m->index);
    port->watch.revoked = true;
    port->port.strict = false; /* what a sound one says may be in that name */
    return control_send_ack(&domain->control, m->epoch);
}

int grant_pool(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Pool *m = message->what->pool;
    struct domain_server *owner = m->writable ? domain_server_at(domain, m->owner) : NULL;
    void *memory;
    if ((m->writable && (owner == NULL || domain->started)) || m->index > UINT16_MAX || m->generation > UINT16_MAX)
        return -EINVAL;
    int result = grant_map(message, m->fd, m->octets, m->writable, &memory);
    if (result != 0)
        return result;
    struct domain_object object = {
        .id = m->object, .session = DOMAIN_NOBODY, .octets = m->octets, .writable = m->writable, .memory = memory};
    result = object_add(domain, &object);
    if (result != 0 || owner == NULL)
        return result;
    const struct server *server = owner->server;
    if (server->pool_buffers == 0 || server->pool_buffers > POOL_BUFFERS_MAX ||
        (uint64_t)server->pool_buffers * server->pool_buffer_octets + server->pool_extra_octets > m->octets)
        return -EINVAL;
    pool_init(&owner->pool, object_find(domain, m->object)->memory, server->pool_buffer_octets, server->pool_buffers);
    owner->context.pool = &owner->pool;
    owner->context.pool_capability = (uint16_t)m->index;
    owner->context.pool_generation = (uint16_t)m->generation;
    return 0;
}

int grant_store(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Store *m = message->what->store;
    struct domain_server *at = domain_server_at(domain, m->server);
    if (at == NULL || domain->started || at->context.store != NULL || at->server->store_size == NULL ||
        m->octets < at->server->store_size())
        return -EINVAL;
    at->context.store_octets = m->octets;
    return grant_map(message, m->fd, m->octets, true, &at->context.store);
}

static struct impair_config impair_read(const Bulkhead__Control__Impair *m)
{
    return (struct impair_config){.loss = m->loss,
                                  .reorder = m->reorder,
                                  .duplicate = m->duplicate,
                                  .corrupt = m->corrupt,
                                  .delay_us = m->delay_us,
                                  .jitter_us = m->jitter_us,
                                  .queue = m->queue,
                                  .rate = m->rate,
                                  .seed = m->seed,
                                  .backlog = m->backlog,
                                  .burst = m->burst};
}

static void wire_drop(struct wire_grant *wire)
{
    if (wire->mine == NULL)
        return;
    segment_unmap(wire->mine, sizeof *wire->mine);
    segment_unmap((void *)(uintptr_t)wire->peer, sizeof *wire->peer);
    close(wire->bell);
}

/* The other end of the wire, if there is one. `wire` is what it was; its memory for frames under way stays. 0, or a
 * negative errno. */
static int wire_grant_read(struct control_message *message, struct wire_grant *wire)
{
    const Bulkhead__Control__Device *m = message->what->device;
    void *mine = NULL, *peer = NULL;
    wire->mine = NULL;
    wire->peer = NULL;
    wire->bell = -1;
    if (m->impair != NULL)
        wire->impair = impair_read(m->impair);
    if (wire->queue == NULL && impair_active(&wire->impair))
        wire->queue = domain_memory(WIRE_QUEUE_OCTETS);
    if (wire->queue == NULL && impair_active(&wire->impair))
        return -ENOMEM;
    if (m->mine_fd < 0)
        return 0;
    int result = grant_map(message, m->mine_fd, sizeof *wire->mine, true, &mine);
    if (result == 0)
        result = grant_map(message, m->peer_fd, sizeof *wire->peer, false, &peer);
    wire->mine = mine;
    wire->peer = peer;
    wire->bell = result == 0 ? control_take(message, m->bell_fd) : -1;
    return result == 0 && wire->bell < 0 ? -EBADF : result;
}

int grant_device(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Device *m = message->what->device;
    struct domain_server *at = domain_server_at(domain, m->server);
    bool again = domain->started;
    if (at == NULL || m->kind >= NETDRV_KINDS || (at->context.device >= 0) != again ||
        (again && (at->server->device_changed == NULL || m->kind != NETDRV_WIRE)))
        return -EINVAL;
    struct server_context *c = &at->context;
    struct wire_grant old = c->driver.wire;
    c->driver.kind = m->kind;
    c->driver.can = m->can;
    int result = m->kind == NETDRV_WIRE ? wire_grant_read(message, &c->driver.wire) : 0;
    if (result != 0)
        return result;
    if (again) {
        at->server->device_changed(at->state, &c->driver);
        wire_drop(&old);
        return 0;
    }
    c->device = control_take(message, m->fd);
    return c->device < 0 ? -EBADF : 0;
}
