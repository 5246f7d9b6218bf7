// SPDX-License-Identifier: BSD-2-Clause
/* Whether a domain is what it was: its code and read-only data are the file's, its canary page is untouched, every
 * committed block of its stores has a good checksum. It is stopped meanwhile: some milliseconds at most. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/crash.h"
#include "ipc/store.h"
#include "servers/inject/inject.h"
#include "servers/inject/maps.h"
#include "servers/inject/trace.h"

#define CHUNK         65536U
#define FINDING       300
#define HEADER_OCTETS 64

struct findings {
    char wrong[FINDING]; /* empty: nothing */
    char looked[FINDING];
};

static void looked_add(struct findings *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void looked_add(struct findings *f, const char *format, ...)
{
    size_t used = strlen(f->looked);
    va_list values;
    va_start(values, format);
    vsnprintf(f->looked + used, sizeof f->looked - used, format, values);
    va_end(values);
}

static bool segment_verify(const struct tracee *tracee, const struct image *image, const struct image_segment *segment,
                           struct findings *f)
{
    static uint8_t now[CHUNK];
    const char *what = segment->executable ? "text" : "read-only data";
    char name[80];
    for (uint64_t at = 0; at < segment->octets; at += CHUNK) {
        size_t n = segment->octets - at < CHUNK ? segment->octets - at : CHUNK;
        if (!trace_read(tracee, segment->address + image->bias + at, now, n)) {
            snprintf(f->wrong, sizeof f->wrong, "%s cannot be read: %s", what, strerror(errno));
            return false;
        }
        if (memcmp(now, segment->bytes + at, n) == 0)
            continue;
        size_t i = 0;
        while (now[i] == segment->bytes[at + i])
            i++;
        image_name(image, segment->address + at + i, name, sizeof name);
        snprintf(f->wrong, sizeof f->wrong, "%s is not the file's at 0x%" PRIx64 " (%s): %02x, not %02x", what,
                 segment->address + at + i, name, now[i], segment->bytes[at + i]);
        return false;
    }
    looked_add(f, "%s %" PRIu64 " octets, ", what, segment->octets);
    return true;
}

static bool canary_verify(const struct tracee *tracee, uint64_t address, struct findings *f)
{
    uint8_t now[CRASH_CANARY];
    if (address == 0) {
        looked_add(f, "no canary page");
        return true;
    }
    if (!trace_read(tracee, address, now, sizeof now)) {
        snprintf(f->wrong, sizeof f->wrong, "the canary page at 0x%" PRIx64 " is gone", address);
        return false;
    }
    for (uint32_t i = 0; i < CRASH_CANARY; i++) {
        if (now[i] == (uint8_t)(i * 151 + 43))
            continue;
        snprintf(f->wrong, sizeof f->wrong, "canary page: octet %u is %02x, not %02x", i, now[i],
                 (uint8_t)(i * 151 + 43));
        return false;
    }
    looked_add(f, "canary page");
    return true;
}

/* The part of a store that was ever written; NULL: it cannot be read. *ret_octets is of all of it. */
static uint8_t *store_copy_new(const struct tracee *tracee, const struct map *map, size_t *ret_octets)
{
    _Alignas(8) uint8_t header[HEADER_OCTETS];
    *ret_octets = map->end - map->start;
    if (!trace_read(tracee, map->start, header, sizeof header))
        return NULL;
    size_t extent = store_extent(header, *ret_octets);
    uint8_t *copy = aligned_alloc(64, (extent + 63) & ~(size_t)63);
    if (copy == NULL || trace_read(tracee, map->start, copy, extent))
        return copy;
    free(copy);
    return NULL;
}

static bool store_map_verify(const struct tracee *tracee, const struct map *map, struct findings *f)
{
    size_t octets;
    uint32_t block = 0, good = 0;
    uint8_t *copy = store_copy_new(tracee, map, &octets);
    enum store_block result = copy == NULL ? STORE_BLOCK_CORRUPT : store_verify(copy, octets, &block, &good);
    free(copy);
    if (result == STORE_BLOCK_CORRUPT && (copy == NULL || block == STORE_HEADER))
        snprintf(f->wrong, sizeof f->wrong, "%.16s: its header is nonsense", map->name);
    else if (result == STORE_BLOCK_CORRUPT)
        snprintf(f->wrong, sizeof f->wrong, "%.16s: block %u fails its checksum", map->name, block);
    else
        looked_add(f, ", %.16s %u blocks", map->name, good);
    return result != STORE_BLOCK_CORRUPT;
}

static bool verify_all(const struct injection *injection, const struct tracee *tracee, const struct image *image,
                       struct findings *f)
{
    static struct maps maps;
    for (uint32_t i = 0; i < image->segments; i++)
        if (!segment_verify(tracee, image, &image->segment[i], f))
            return false;
    if (!canary_verify(tracee, injection->canary, f))
        return false;
    if (maps_read(injection->pid, &maps) < 0) {
        snprintf(f->wrong, sizeof f->wrong, "what it has mapped cannot be read");
        return false;
    }
    for (uint32_t i = 0; i < maps.count; i++)
        if (maps.map[i].kind == MAP_STORE && !store_map_verify(tracee, &maps.map[i], f))
            return false;
    return true;
}

void inject_verify(struct injection *injection)
{
    struct image image;
    struct tracee tracee;
    struct findings findings = {{0}, {0}};
    char error[IMAGE_ERROR];
    int result = image_open(injection->pid, false, &image, error);
    if (result < 0) {
        report(REPORT_REFUSED, "%s", error);
        return;
    }
    result = trace_open(injection->pid, &tracee);
    if (result < 0) {
        report(REPORT_REFUSED, "cannot trace the domain: %s", strerror(-result));
        return;
    }
    if (trace_stop(&tracee) == TRACE_GONE)
        report(REPORT_REFUSED, "the domain ended first: try again");
    else if (verify_all(injection, &tracee, &image, &findings))
        report(REPORT_DONE, "ok: %s", findings.looked);
    else
        report(REPORT_REFUSED, "damaged: %s", findings.wrong);
    trace_close(&tracee);
}
