// SPDX-License-Identifier: BSD-2-Clause
/* The memory that outlives domains, and the indices by which it is named. The supervisor keeps a descriptor of all of
 * it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "ipc/ring.h"
#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"

int pipe_reopen(int fd, bool writable)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int copy = open(path, (writable ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
    return copy < 0 ? -errno : copy;
}

void memory_init(struct supervisor *s)
{
    rights_init(s);
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        s->server[id].pool = s->server[id].store = -1;
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++)
        s->channel[i].half[0] = s->channel[i].half[1] = -1;
}

static void descriptor_drop(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Nobody can name a buffer of the old pool any more: the barrier is behind us. */
static int pool_renew(struct supervisor *s, enum server_id id)
{
    struct server_memory *m = &s->server[id];
    descriptor_drop(&m->pool);
    rights_end(s, &m->pool_node);
    if (m->pool_octets == 0)
        return 0;
    char name[32];
    snprintf(name, sizeof name, "pool-%s", topology_server_name(id));
    m->pool = segment_create(name, m->pool_octets);
    if (m->pool < 0)
        return m->pool;
    m->pool_object = s->next_object++;
    if (!registry_index_take(&s->registry, CAPABILITY_INDEX_DYNAMIC, &m->pool_index, &m->pool_generation))
        return -ENOSPC;
    const struct registry_grant root = {.holder = (uint16_t)m->domain->index,
                                        .form = REGISTRY_DESCRIPTOR,
                                        .type = OBJECT_POOL,
                                        .part = {(uint8_t)id},
                                        .rights = CAPABILITY_READ | CAPABILITY_WRITE,
                                        .index = m->pool_index,
                                        .generation = m->pool_generation,
                                        .object = m->pool_object,
                                        .length = m->pool_octets};
    if (rights_mint(s, REGISTRY_NONE, &root, &m->pool_node))
        return 0;
    registry_index_free(&s->registry, m->pool_index);
    return -ENOSPC;
}

/* The store is made once, when its server first says how large, and kept, until its server cannot start from it. */
static int store_make(struct supervisor *s, enum server_id id)
{
    struct server_memory *m = &s->server[id];
    if (m->store >= 0 || m->store_octets == 0)
        return 0;
    char name[32];
    snprintf(name, sizeof name, "store-%s", topology_server_name(id));
    m->store = segment_create(name, m->store_octets);
    const struct registry_grant root = {.holder = HOLDER_SUPERVISOR,
                                        .type = OBJECT_STORE,
                                        .part = {(uint8_t)id},
                                        .rights = CAPABILITY_READ | CAPABILITY_WRITE,
                                        .length = m->store_octets};
    if (m->store >= 0 && !rights_mint(s, REGISTRY_NONE, &root, &m->store_node))
        return -ENOSPC;
    return m->store < 0 ? m->store : 0;
}

bool memory_forget_stores(struct supervisor *s, uint32_t servers)
{
    bool any = false;
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        struct server_memory *m = &s->server[id];
        if ((servers & SERVER_BIT(id)) == 0 || m->store < 0)
            continue;
        descriptor_drop(&m->store);
        rights_end(s, &m->store_node);
        any = true;
    }
    return any;
}

static int channel_renew(struct supervisor *s, unsigned index)
{
    struct channel_memory *channel = &s->channel[index];
    const enum server_id *end = topology_channel[index].end;
    for (unsigned side = 0; side < 2; side++) {
        descriptor_drop(&channel->half[side]);
        judge_forget(channel, side);
        rights_end(s, &channel->node[side]);
        if (s->server[end[0]].domain == s->server[end[1]].domain)
            continue;
        char name[32];
        snprintf(name, sizeof name, "ring-%s-%s", topology_server_name(end[side]), topology_server_name(end[1 - side]));
        channel->half[side] = segment_create(name, sizeof(struct ring_half));
        if (channel->half[side] < 0)
            return channel->half[side];
        const struct registry_grant root = {.holder = HOLDER_SUPERVISOR,
                                            .type = OBJECT_RING,
                                            .part = {(uint8_t)end[side], (uint8_t)end[1 - side]},
                                            .rights = CAPABILITY_READ | CAPABILITY_WRITE,
                                            .length = sizeof(struct ring_half)};
        if (!rights_mint(s, REGISTRY_NONE, &root, &channel->node[side]))
            return -ENOSPC;
    }
    return 0;
}

int memory_renew(struct supervisor *s, uint32_t fresh)
{
    int result = 0;
    for (unsigned id = 0; id < SERVER_COUNT && result == 0; id++) {
        if ((fresh & SERVER_BIT(id)) == 0)
            continue;
        result = pool_renew(s, (enum server_id)id);
        if (result == 0)
            result = store_make(s, (enum server_id)id);
    }
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS && result == 0; i++) {
        const enum server_id *end = topology_channel[i].end;
        if (((SERVER_BIT(end[0]) | SERVER_BIT(end[1])) & fresh) != 0)
            result = channel_renew(s, i);
    }
    return result;
}
