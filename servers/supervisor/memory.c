// SPDX-License-Identifier: BSD-2-Clause
/* The memory that outlives domains, and the indices by which it is named. The supervisor keeps a descriptor of all of
 * it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/ring.h"
#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"

#define PREPARED_OCTETS (256U << 10) /* of a segment whose pages are there beforehand */

void memory_populate(struct supervisor *s)
{
    uintptr_t begin = (uintptr_t)s & ~(uintptr_t)4095, end = ((uintptr_t)(s + 1) + 4095) & ~(uintptr_t)4095;
    (void)madvise((void *)begin, end - begin, MADV_POPULATE_WRITE); /* a refusal costs speed only */
}

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
        s->server[id].pool = s->server[id].pool_next = s->server[id].store = -1;
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++) {
        struct channel_memory *channel = &s->channel[i];
        channel->half[0] = channel->half[1] = channel->next[0] = channel->next[1] = -1;
    }
}

static void descriptor_drop(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void descriptor_leave(struct supervisor *s, int *fd)
{
    struct leftovers *left = &s->left;
    if (*fd >= 0 && left->fds < sizeof left->fd / sizeof left->fd[0]) {
        left->fd[left->fds++] = *fd;
        *fd = -1;
    }
    descriptor_drop(fd);
}

static void half_leave(struct supervisor *s, const void *half)
{
    struct leftovers *left = &s->left;
    if (half != NULL && left->halves < sizeof left->half / sizeof left->half[0])
        left->half[left->halves++] = half;
    else
        segment_unmap((void *)(uintptr_t)half, sizeof(struct ring_half));
}

void memory_let_go(struct supervisor *s)
{
    struct leftovers *left = &s->left;
    while (left->halves > 0)
        segment_unmap((void *)(uintptr_t)left->half[--left->halves], sizeof(struct ring_half));
    while (left->fds > 0)
        close(left->fd[--left->fds]);
}

static int pool_make(const struct supervisor *s, enum server_id id)
{
    char name[32];
    snprintf(name, sizeof name, "pool-%s", topology_server_name(id));
    return segment_create(name, s->server[id].pool_octets);
}

static int half_make(unsigned index, unsigned side)
{
    char name[32];
    const enum server_id *end = topology_channel[index].end;
    snprintf(name, sizeof name, "ring-%s-%s", topology_server_name(end[side]), topology_server_name(end[1 - side]));
    return segment_create(name, sizeof(struct ring_half));
}

/* Its pages too, unless they are many. Without them it is as good, only later. */
static int filled(int fd, size_t octets)
{
    if (fd >= 0 && octets <= PREPARED_OCTETS)
        (void)fallocate(fd, 0, 0, (off_t)segment_round(octets));
    return fd;
}

void memory_prepare(struct supervisor *s, uint32_t servers)
{
    memory_populate(s); /* its spare is another program by now */
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        struct server_memory *m = &s->server[id];
        if ((servers & SERVER_BIT(id)) == 0 || m->pool_octets == 0)
            continue;
        if (m->pool_next_octets != m->pool_octets)
            descriptor_drop(&m->pool_next);
        if (m->pool_next < 0)
            m->pool_next = filled(pool_make(s, (enum server_id)id), m->pool_octets);
        m->pool_next_octets = m->pool_octets;
    }
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++) {
        const enum server_id *end = topology_channel[i].end;
        bool wanted = ((SERVER_BIT(end[0]) | SERVER_BIT(end[1])) & servers) != 0 &&
                      s->server[end[0]].domain != s->server[end[1]].domain;
        for (unsigned side = 0; side < 2 && wanted; side++)
            if (s->channel[i].next[side] < 0)
                s->channel[i].next[side] = filled(half_make(i, side), sizeof(struct ring_half));
    }
}

/* Nobody can name a buffer of the old pool any more: the barrier is behind us. */
static int pool_renew(struct supervisor *s, enum server_id id)
{
    struct server_memory *m = &s->server[id];
    descriptor_leave(s, &m->pool);
    rights_end(s, &m->pool_node);
    if (m->pool_next_octets != m->pool_octets)
        descriptor_drop(&m->pool_next);
    if (m->pool_octets == 0)
        return 0;
    m->pool = m->pool_next >= 0 ? m->pool_next : pool_make(s, id);
    m->pool_next = -1;
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
        descriptor_leave(s, &channel->half[side]);
        half_leave(s, judge_forget(channel, side));
        rights_end(s, &channel->node[side]);
        if (s->server[end[0]].domain == s->server[end[1]].domain) {
            descriptor_drop(&channel->next[side]);
            continue;
        }
        channel->half[side] = channel->next[side] >= 0 ? channel->next[side] : half_make(index, side);
        channel->next[side] = -1;
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
