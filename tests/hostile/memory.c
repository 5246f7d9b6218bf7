// SPDX-License-Identifier: BSD-2-Clause
/* Pages that belong to others, by the mappings that were granted: writing is death (SIGSEGV), more rights are refused. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

#define PAGE 4096U
#define DESCRIPTORS 64

static char result[96];

static struct port *some_port(const struct server_context *context)
{
    for (unsigned i = 0; i < SERVER_COUNT; i++)
        if (context->port[i] != NULL && context->port[i]->attached)
            return context->port[i];
    return NULL;
}

/* A buffer pool of somebody else's that is mapped here; NULL: none. */
static uint8_t *foreign_pool(const struct server_context *context)
{
    for (unsigned i = 0; i < SERVER_COUNT; i++) {
        const struct port *port = context->port[i];
        for (unsigned entry = 0; port != NULL && entry < CAPABILITY_TABLE_MAX; entry++) {
            const struct capability *c = &port->table.entry[entry];
            bool own = context->pool != NULL && c->base == context->pool->base;
            if (c->type == CAPABILITY_POOL && c->base != NULL && !own)
                return (uint8_t *)(uintptr_t)c->base;
        }
    }
    return NULL;
}

static const char *write_to(volatile uint8_t *at)
{
    if (at == NULL)
        return "nothing there to attack";
    *at = (uint8_t)(*at + 1);
    return "written";
}

static const char *make_writable(void *at)
{
    if (at == NULL)
        return "nothing there to attack";
    void *page = (void *)((uintptr_t)at & ~(uintptr_t)(PAGE - 1));
    if (mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0)
        return "writable";
    snprintf(result, sizeof result, "refused, %s", strerrorname_np(errno));
    return result;
}

static const char *write_pool(const struct server_context *context)
{
    return write_to(foreign_pool(context));
}

static const char *protect_pool(const struct server_context *context)
{
    return make_writable(foreign_pool(context));
}

static const char *write_ring(const struct server_context *context)
{
    const struct port *port = some_port(context);
    return write_to(port == NULL ? NULL : (uint8_t *)(uintptr_t)port->ring.peer->slot[3].octets);
}

static const char *protect_ring(const struct server_context *context)
{
    const struct port *port = some_port(context);
    return make_writable(port == NULL ? NULL : (void *)(uintptr_t)port->ring.peer);
}

static const char *write_sleep_word(const struct server_context *context)
{
    const struct port *port = some_port(context);
    return write_to(port == NULL || port->bell == NULL ? NULL : (uint8_t *)(uintptr_t)port->bell->sleep);
}

static const char *punch_pool(const struct server_context *context)
{
    uint8_t *at = foreign_pool(context);
    if (at == NULL)
        return "nothing there to attack";
    if (madvise(at, PAGE, MADV_REMOVE) == 0)
        return "written: a hole is there";
    snprintf(result, sizeof result, "refused, %s", strerrorname_np(errno));
    return result;
}

/* Every descriptor that is left, mapped shared and writable. Stores and segments of its own are gone once mapped. */
static const char *map_descriptors(const struct server_context *context)
{
    unsigned mapped = 0;
    (void)context;
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        mapped += mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED;
    snprintf(result, sizeof result, mapped == 0 ? "refused, all" : "writable: %u", mapped);
    return result;
}

/* The neighbour's doorbell full, and tried to be emptied: neither stops its owner. */
static const char *flood_bells(const struct server_context *context)
{
    uint8_t octets[4096] = {0};
    unsigned filled = 0, drained = 0;
    for (unsigned i = 0; i < SERVER_COUNT; i++) {
        if (context->port[i] == NULL || context->port[i]->bell == NULL)
            continue;
        int fd = context->port[i]->bell->fd;
        for (unsigned n = 0; n < 1024 && write(fd, octets, sizeof octets) > 0; n++)
            filled++;
        drained += read(fd, octets, sizeof octets) > 0;
    }
    snprintf(result, sizeof result, drained == 0 ? "refused, to drain; %u pages rung" : "drained %u", drained == 0 ? filled : drained);
    return result;
}

const struct attack memory[] = {
    {"write_pool", write_pool},   {"protect_pool", protect_pool},         {"write_ring", write_ring},
    {"protect_ring", protect_ring}, {"write_sleep_word", write_sleep_word}, {"punch_pool", punch_pool},
    {"map_descriptors", map_descriptors}, {"flood_bells", flood_bells},
};
const unsigned memory_count = sizeof memory / sizeof memory[0];
