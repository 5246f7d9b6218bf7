// SPDX-License-Identifier: BSD-2-Clause
/* How a server shows its counters: names once, at its start; values after a burst that moved something. The page is
 * shared, so it is written only. */
#ifndef BULKHEAD_SERVERS_COUNTERS_H
#define BULKHEAD_SERVERS_COUNTERS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ipc/doorbell.h"

/* Places a name; longer ones are cut. Returns the next place. */
static inline uint32_t counters_name(struct status_counter *page, uint32_t place, const char *name)
{
    if (place < STATUS_COUNTERS) {
        size_t length = strlen(name);
        if (length >= STATUS_COUNTER_NAME)
            length = STATUS_COUNTER_NAME - 1;
        memcpy(page[place].name, name, length);
        page[place].name[length] = 0;
    }
    return place + 1;
}

static inline uint32_t counters_value(struct status_counter *page, uint32_t place, uint64_t value)
{
    if (place < STATUS_COUNTERS)
        __atomic_store_n(&page[place].value, value, __ATOMIC_RELAXED);
    return place + 1;
}

/* What a neighbour's messages were refused for, all reasons together. */
static inline uint64_t counters_refused(const uint64_t *refused, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += refused[i];
    return sum;
}

#endif
