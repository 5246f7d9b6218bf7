// SPDX-License-Identifier: BSD-2-Clause
/* Damage that an escaped fault would do to a domain, done on purpose where it has no effect of its own, so that a
 * campaign can show that it finds each kind. No event tells of it. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/crash.h"
#include "ipc/store.h"
#include "servers/inject/inject.h"
#include "servers/inject/maps.h"
#include "servers/inject/trace.h"

#define HEADER_OCTETS 64

/* Between two functions, where nothing runs; address in the file, 0: there is no such place. */
static uint64_t text_place(struct injection *injection, const struct image *image)
{
    uint32_t start = (uint32_t)(random_next(&injection->random) % image->functions);
    for (uint32_t n = 0; n + 1 < image->functions; n++) {
        uint32_t i = (start + n) % (image->functions - 1);
        uint64_t end = image->function[i].address + image->function[i].octets;
        if (image->function[i + 1].address > end + 1 && image->function[i + 1].address < end + 16)
            return end + 1;
    }
    return 0;
}

/* Address in the process. */
static uint64_t store_place(const struct injection *injection, const struct tracee *tracee)
{
    static struct maps maps;
    char name[MAPS_NAME];
    uint64_t found = 0;
    snprintf(name, sizeof name, "store-%.16s", injection->server);
    for (uint32_t i = 0; maps_read(injection->pid, &maps) == 0 && i < maps.count && found == 0; i++) {
        const struct map *map = &maps.map[i];
        _Alignas(8) uint8_t header[HEADER_OCTETS];
        if (map->kind != MAP_STORE || strcmp(map->name, name) != 0 ||
            !trace_read(tracee, map->start, header, sizeof header))
            continue;
        size_t octets = map->end - map->start, extent = store_extent(header, octets), at;
        uint8_t *copy = aligned_alloc(64, (extent + 63) & ~(size_t)63);
        if (copy != NULL && trace_read(tracee, map->start, copy, extent) && store_payload(copy, octets, 0, &at))
            found = map->start + at;
        free(copy);
    }
    return found;
}

/* Address in the process of what is damaged; 0: there is none. */
static uint64_t place_of(struct injection *injection, const struct tracee *tracee, const struct image *image,
                         const char *what)
{
    uint64_t at = 0;
    if (strcmp(what, "text") == 0)
        at = text_place(injection, image);
    else if (strcmp(what, "rodata") == 0 && image->unwind_octets > 0)
        at = image->unwind + random_next(&injection->random) % image->unwind_octets;
    else if (strcmp(what, "canary") == 0 && injection->canary != 0)
        return injection->canary + random_next(&injection->random) % CRASH_CANARY;
    else if (strcmp(what, "store") == 0)
        return store_place(injection, tracee);
    return at == 0 ? 0 : at + image->bias;
}

static void plant_memory(struct injection *injection, struct tracee *tracee, const struct image *image)
{
    uint8_t octet;
    uint64_t address = place_of(injection, tracee, image, injection->fault + 6);
    if (address == 0 || !trace_read(tracee, address, &octet, 1)) {
        report(REPORT_REFUSED, "'%s' has nothing to damage for %.40s", injection->server, injection->fault);
        return;
    }
    octet ^= 0x10;
    if (trace_write(tracee, address, &octet, 1))
        report(REPORT_DONE, "%s: done at 0x%" PRIx64, injection->fault, address - image->bias);
    else
        report(REPORT_REFUSED, "cannot write the memory of the domain: %s", strerror(errno));
}

static bool plant_signal(const struct injection *injection)
{
    int signo = strcmp(injection->fault, "plant-kill") == 0   ? SIGKILL
                : strcmp(injection->fault, "plant-stop") == 0 ? SIGSTOP
                                                              : 0;
    if (signo == 0)
        return false;
    if (kill(injection->pid, signo) == 0)
        report(REPORT_DONE, "%s: done", injection->fault);
    else
        report(REPORT_REFUSED, "cannot signal the domain: %s", strerror(errno));
    return true;
}

void inject_plant(struct injection *injection)
{
    static const char *const known[] = {"plant-text", "plant-rodata", "plant-canary", "plant-store"};
    struct image image;
    struct tracee tracee;
    char error[IMAGE_ERROR];
    bool found = false;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        found = found || strcmp(known[i], injection->fault) == 0;
    if (plant_signal(injection))
        return;
    if (!found) {
        report(REPORT_REFUSED, "no fault named '%.40s': see `bulkhead inject --help`", injection->fault);
        return;
    }
    if (image_open(injection->pid, false, &image, error) < 0) {
        report(REPORT_REFUSED, "%s", error);
        return;
    }
    int result = trace_open(injection->pid, &tracee);
    if (result < 0) {
        report(REPORT_REFUSED, "cannot trace the domain: %s", strerror(-result));
        return;
    }
    if (trace_stop(&tracee) == TRACE_GONE)
        report(REPORT_REFUSED, "the domain ended first: try again");
    else
        plant_memory(injection, &tracee, &image);
    trace_close(&tracee);
}
