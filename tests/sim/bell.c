// SPDX-License-Identifier: BSD-2-Clause
/* Doorbells without a kernel: ipc/doorbell.c is the one of production, but what it writes to and reads from is a pipe
 * of the simulation's own, because half of a run's time went into asking the kernel whether a pipe has something. The
 * linker puts these before the C library's read() and write(); descriptors below SIM_BELL_FIRST are still its own. */
#include <unistd.h>

#include "tests/sim/sim.h"

#define SIM_BELL_FIRST 1000000
#define SIM_BELL_MOST  128

static struct {
    bool used;
    uint32_t octets;
} bell[SIM_BELL_MOST];

ssize_t __real_write(int fd, const void *octets, size_t count);
ssize_t __real_read(int fd, void *octets, size_t count);
ssize_t __wrap_write(int fd, const void *octets, size_t count);
ssize_t __wrap_read(int fd, void *octets, size_t count);

int sim_bell_new(struct sim *sim)
{
    for (int i = 0; i < SIM_BELL_MOST; i++) {
        if (bell[i].used)
            continue;
        bell[i].used = true;
        bell[i].octets = 0;
        return SIM_BELL_FIRST + i;
    }
    sim_fail(sim, "more than %d doorbells: old ones are not given back", SIM_BELL_MOST);
}

void sim_bell_free(struct sim *sim, int number)
{
    if (number < SIM_BELL_FIRST || !bell[number - SIM_BELL_FIRST].used)
        sim_fail(sim, "doorbell %d is given back and nobody has it", number);
    bell[number - SIM_BELL_FIRST].used = false;
}

bool sim_bell_rung(const struct sim *sim, int number)
{
    (void)sim;
    return bell[number - SIM_BELL_FIRST].octets > 0;
}

ssize_t __wrap_write(int fd, const void *octets, size_t count)
{
    if (fd < SIM_BELL_FIRST)
        return __real_write(fd, octets, count);
    bell[fd - SIM_BELL_FIRST].octets += (uint32_t)count;
    return (ssize_t)count;
}

ssize_t __wrap_read(int fd, void *octets, size_t count)
{
    if (fd < SIM_BELL_FIRST)
        return __real_read(fd, octets, count);
    uint32_t *left = &bell[fd - SIM_BELL_FIRST].octets;
    uint32_t taken = count < *left ? (uint32_t)count : *left;
    *left -= taken;
    return (ssize_t)taken;
}
